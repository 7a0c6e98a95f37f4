//! What the host knows of a running instance: the data of its store.

use std::fmt::{self, Debug};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use wasm_core::{
    Capability, CapabilityDenied, ComponentConfig, ComponentHandle, ComponentId, HostServices,
};

use super::bounded::contained;
use super::deadline::Deadline;
use super::limiter::WasmResourceLimiter;
use crate::lines::{LineBucket, Lines};
use crate::wasi::{
    Descriptors, Files, FilesView, HasAccount, HasFiles, HasSockets, HttpBudget, HttpCaller, Names,
    SocketPlaces, TraceContext, WasiShare, WasiState,
};

/// Whom a store belongs to, and what host functions may hold on to while they wait.
pub(crate) struct Guest {
    pub(crate) calls: wasm_core::guest::Guest,
    pub(crate) lines: Arc<Lines>,
    pub(crate) wasi: Arc<WasiShare>,
    /// Of the call that is running.
    pub(crate) deadline: Deadline,
    /// That each call is given. Unmetered execution is counted all the same.
    pub(super) fuel: u64,
    /// What the running call has sent and received.
    pub(crate) http: Arc<HttpBudget>,
    line_bucket: Arc<LineBucket>,
}

impl Guest {
    pub(crate) fn new(
        handle: ComponentHandle,
        config: Arc<ComponentConfig>,
        services: HostServices,
        wasi: WasiShare,
        line_bucket: Arc<LineBucket>,
    ) -> Self {
        let wasi = Arc::new(wasi);
        Self::of_instance(handle, config, services, wasi, line_bucket)
    }

    /// The same component, for another instance of it: what is counted for each call is the
    /// instance's own.
    pub(super) fn sibling(&self) -> Self {
        Self::of_instance(
            self.handle().clone(),
            Arc::clone(self.calls.shared_config()),
            self.calls.services().clone(),
            Arc::clone(&self.wasi),
            Arc::clone(&self.line_bucket),
        )
    }

    fn of_instance(
        handle: ComponentHandle,
        config: Arc<ComponentConfig>,
        services: HostServices,
        wasi: Arc<WasiShare>,
        line_bucket: Arc<LineBucket>,
    ) -> Self {
        let lines = Arc::new(Lines::new(Arc::clone(&line_bucket)));
        Self {
            deadline: Deadline::new(config.limits.timeout()),
            fuel: config.limits.fuel().unwrap_or(u64::MAX),
            calls: wasm_core::guest::Guest::new(handle, config, services, Arc::clone(&lines)),
            lines,
            wasi,
            http: Arc::default(),
            line_bucket,
        }
    }

    pub(crate) fn handle(&self) -> &ComponentHandle {
        self.calls.handle()
    }

    pub(crate) fn id(&self) -> &ComponentId {
        self.calls.id()
    }

    pub(crate) fn config(&self) -> &ComponentConfig {
        self.calls.config()
    }
}

impl HttpCaller for Guest {
    fn check(&self, capability: Capability) -> Result<(), CapabilityDenied> {
        self.calls.check(capability)
    }

    fn deadline(&self) -> Instant {
        self.deadline.at()
    }

    fn budget(&self) -> &Arc<HttpBudget> {
        &self.http
    }

    fn descriptors(&self) -> &Arc<Descriptors> {
        &self.wasi.descriptors
    }

    fn names(&self) -> &Names {
        &self.wasi.names
    }

    fn trace_context(&self) -> &TraceContext {
        &self.wasi.trace_context
    }
}

fn wasi_of(guest: &Arc<Guest>) -> Box<WasiState> {
    let caller: Arc<dyn HttpCaller> = Arc::clone(guest) as _;
    Box::new(WasiState::new(&guest.calls, &guest.lines, caller))
}

/// What host functions know of the instance that calls them: the data of its store. `T` is
/// the embedder's own, made anew for each instance.
pub struct HostState<T: 'static = ()> {
    pub(crate) guest: Arc<Guest>,
    pub(super) limiter: WasmResourceLimiter,
    pub(super) pace: Pace,
    pub(super) files: Files,
    /// Made when the guest first needs it, which most never do.
    pub(super) wasi: Option<Box<WasiState>>,
    pub(super) table: Contained<ResourceTable>,
    pub(super) counts_fuel: bool,
    pub(super) data: Contained<T>,
}

/// What is the embedder's or has things of the embedder's: if it panics when it is dropped,
/// the instance has ended all the same, and whoever ended it goes on.
pub(super) struct Contained<T>(Option<T>);

impl<T> Contained<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Some(value))
    }
}

impl<T> Deref for Contained<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("it is taken when it is dropped")
    }
}

impl<T> DerefMut for Contained<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("it is taken when it is dropped")
    }
}

impl<T> Drop for Contained<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        contained(|| drop(value));
    }
}

/// What was seen of a call while it was running, each time its epoch ended.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Pace {
    /// How often it gave way then.
    pub(super) epoch_yields: u64,
    /// The fuel that it had left then, at the most.
    pub(super) fuel_left: u64,
}

impl<T> HostState<T> {
    /// Who is calling.
    pub fn handle(&self) -> &ComponentHandle {
        self.guest.handle()
    }

    /// What it was loaded with.
    pub fn config(&self) -> &ComponentConfig {
        self.guest.config()
    }

    /// What the engine was given to serve it with.
    pub fn services(&self) -> &HostServices {
        self.guest.calls.services()
    }

    /// The embedder's data of this instance.
    pub fn data(&self) -> &T {
        &self.data
    }

    /// The embedder's data of this instance.
    pub fn data_mut(&mut self) -> &mut T {
        &mut self.data
    }

    /// Time left to the running call. A host function that waits longer is
    /// cancelled, by dropping its future, together with the call.
    pub fn time_left(&self) -> Duration {
        let end = self.guest.deadline.at();
        end.saturating_duration_since(Instant::now())
    }

    fn wasi(&mut self) -> (&mut WasiState, &mut ResourceTable) {
        let guest = &self.guest;
        let wasi = self.wasi.get_or_insert_with(|| wasi_of(guest));
        (wasi, &mut self.table)
    }

    /// All that a host function of the embedder works with.
    pub fn view(&mut self) -> HostView<'_, T> {
        HostView {
            time_left: self.time_left(),
            handle: self.guest.handle(),
            data: &mut self.data,
            table: &mut self.table,
        }
    }
}

/// What a host function of the embedder works with: `bindgen!` has the embedder implement
/// its traits for `HostView<'_, T>`.
#[non_exhaustive]
pub struct HostView<'a, T> {
    /// The embedder's data of the instance that calls.
    pub data: &'a mut T,
    /// The resources of the host that the instance has handles of. At most 256 at once, each
    /// of which counts 1 KiB of what the host holds for the instance.
    pub table: &'a mut ResourceTable,
    /// Who is calling.
    pub handle: &'a ComponentHandle,
    /// Time left to the running call. A host function that waits longer is cancelled, by
    /// dropping its future, together with the call.
    pub time_left: Duration,
}

impl<T: Send + 'static> HasFiles for HostState<T> {
    fn files(&mut self) -> FilesView<'_> {
        FilesView {
            files: &mut self.files,
            table: &mut self.table,
        }
    }
}

impl<T: Send + 'static> HasAccount for HostState<T> {
    fn settle(&mut self, item: &'static str) -> wasmtime::Result<()> {
        self.guest.wasi.account.settle(&mut self.table, item)
    }
}

impl<T: Send + 'static> HasSockets for HostState<T> {
    fn may(&self, capability: Capability) -> bool {
        self.guest.calls.check(capability).is_ok()
    }

    fn places(&mut self) -> (&Descriptors, &mut SocketPlaces) {
        let guest = &self.guest;
        let wasi = self.wasi.get_or_insert_with(|| wasi_of(guest));
        (&guest.wasi.descriptors, &mut wasi.sockets)
    }
}

impl<T> Debug for HostState<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostState")
            .field("handle", self.handle())
            .finish_non_exhaustive()
    }
}

impl<T: Send + 'static> WasiView for HostState<T> {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let (wasi, table) = self.wasi();
        WasiCtxView {
            ctx: &mut wasi.context,
            table,
        }
    }
}

impl<T: Send + 'static> WasiHttpView for HostState<T> {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let (wasi, table) = self.wasi();
        WasiHttpCtxView {
            ctx: &mut wasi.http,
            table,
            hooks: &mut wasi.http_hooks,
        }
    }
}
