use std::fmt::{self, Debug};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use wasmtime::component::{
    ComponentNamedList, Func, Instance, Lift, Lower, ResourceTable, TypedFunc, Val,
};
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use wasm_core::text::PathText as _;
use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentId, ComponentMessage, ComponentMetadata,
    ComponentState, ComponentUsage, HealthStatus, HostServices, LIFECYCLE_INTERFACE,
    MessagePayload, WasmError,
};

use crate::abi::{WitComponentError, WitConfig, WitHealth, WitMessage, WitMetadata, WitWasmError};
use crate::bulk::most_in_bounds;
use crate::call::bounded;
use crate::compiled::Compiled;
use crate::error::{EndedCall, FailedCall};
use crate::limiter::{MAX_HOST_RESOURCES, MemoryMeter, WasmResourceLimiter, apply_limits};
use crate::lines::Lines;
use crate::wasi::{
    Descriptors, Files, FilesView, GuestOutput, HostAccount, NoHttp, Operations, Sockets,
    UnreadableDir, WasiGrants,
};

pub(crate) type InitializeFunc = TypedFunc<(WitConfig,), (Result<(), WitComponentError>,)>;
pub(crate) type HandleFunc = TypedFunc<(WitMessage,), (Result<Option<Bytes>, WitWasmError>,)>;
pub(crate) type CallbackFunc = TypedFunc<(WitMessage,), (Result<(), WitWasmError>,)>;
pub(crate) type MetadataFunc = TypedFunc<(), (WitMetadata,)>;
pub(crate) type HealthFunc = TypedFunc<(), (WitHealth,)>;
pub(crate) type ShutdownFunc = TypedFunc<(), (Result<(), WitComponentError>,)>;

/// Fuel after which the count in the store is brought up to date: what a guest
/// consumed in a loop is otherwise unknown when its deadline ends the loop. About a
/// millisecond's worth, so that the yield which comes with it is as rare as that of
/// the epoch.
const FUEL_INTERVAL: u64 = 1_000_000;

/// Whom a store belongs to: what stays the same over a restart, and what host
/// functions may hold on to while they wait.
pub(crate) struct Guest {
    pub(crate) calls: wasm_core::guest::Guest,
    pub(crate) lines: Arc<Lines>,
    pub(crate) operations: Arc<Operations>,
    pub(crate) descriptors: Arc<Descriptors>,
    pub(crate) account: HostAccount,
}

impl Guest {
    pub(crate) fn new(
        handle: ComponentHandle,
        config: ComponentConfig,
        services: HostServices,
        account: HostAccount,
        lines: Lines,
    ) -> Self {
        let lines = Arc::new(lines);
        Self {
            operations: Arc::new(Operations::new(handle.id().clone())),
            descriptors: Arc::new(Descriptors::new(handle.id().clone())),
            account,
            calls: wasm_core::guest::Guest::new(handle, config, services, Arc::clone(&lines)),
            lines,
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

/// What host functions know of the component that calls them: the data of its
/// store.
pub struct HostState {
    pub(crate) guest: Arc<Guest>,
    pub(crate) limiter: WasmResourceLimiter,
    deadline: Instant,
    pace: Pace,
    wasi: WasiCtx,
    files: Files,
    pub(crate) tcp: Sockets,
    http: WasiHttpCtx,
    http_hooks: NoHttp,
    outputs: Vec<Arc<GuestOutput>>,
    table: ResourceTable,
}

impl HostState {
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

    /// Time left to the running call. A host function that waits longer is
    /// cancelled, by dropping its future, together with the call.
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

impl HostState {
    pub(crate) fn files(&mut self) -> FilesView<'_> {
        FilesView {
            files: &mut self.files,
            table: &mut self.table,
        }
    }

    /// Adds up what the host holds for the instance, now that `item` has come to it.
    pub(crate) fn settle(&mut self, item: &'static str) -> wasmtime::Result<()> {
        self.guest.account.settle(&mut self.table, item)
    }
}

impl Debug for HostState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostState")
            .field("handle", self.handle())
            .finish_non_exhaustive()
    }
}

impl WasiView for HostState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for HostState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.http_hooks,
        }
    }
}

/// What was seen of a call while it was running, each time its epoch ended.
#[derive(Debug, Default, Clone, Copy)]
struct Pace {
    /// How often it gave way then.
    epoch_yields: u64,
    /// The fuel that it had left then, at the most.
    fuel_left: u64,
}

/// What is counted of a component, over all its instances; readable at any time.
#[derive(Debug)]
pub(crate) struct Meters {
    state: AtomicU8,
    pub(crate) memory: Arc<MemoryMeter>,
    last_call_fuel: AtomicU64,
    total_fuel: AtomicU64,
    pub(crate) calls: AtomicU64,
    traps: AtomicU64,
    timeouts: AtomicU64,
    pub(crate) restarts: AtomicU64,
}

const STATES: [ComponentState; 3] = [
    ComponentState::Ready,
    ComponentState::Busy,
    ComponentState::Failed,
];

impl Meters {
    pub(crate) fn new() -> Self {
        Self {
            state: AtomicU8::new(1),
            memory: Arc::default(),
            last_call_fuel: AtomicU64::new(0),
            total_fuel: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            traps: AtomicU64::new(0),
            timeouts: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
        }
    }

    pub(crate) fn state(&self) -> ComponentState {
        STATES[usize::from(self.state.load(Ordering::Relaxed))]
    }

    pub(crate) fn set_state(&self, state: ComponentState) {
        let index = STATES.iter().position(|s| *s == state).unwrap_or(0);
        self.state.store(index as u8, Ordering::Relaxed);
    }

    pub(crate) fn count(&self, counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn fuel(&self, consumed: u64) {
        self.last_call_fuel.store(consumed, Ordering::Relaxed);
        self.total_fuel.fetch_add(consumed, Ordering::Relaxed);
    }

    fn failure(&self, error: &WasmError, ended: EndedCall) {
        let fuel_consumed = match error {
            WasmError::Timeout { fuel_consumed, .. } => {
                self.count(&self.timeouts);
                *fuel_consumed
            }
            WasmError::Trapped { fuel_consumed, .. }
            | WasmError::ResourceLimitExceeded { fuel_consumed, .. } => {
                self.count(&self.traps);
                *fuel_consumed
            }
            _ => ended.fuel_consumed,
        };
        self.fuel(fuel_consumed);
    }

    pub(crate) fn usage(&self) -> ComponentUsage {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut usage = ComponentUsage::new(self.state());
        usage.memory_bytes = self.memory.now();
        usage.peak_memory_bytes = self.memory.peak();
        usage.last_call_fuel = load(&self.last_call_fuel);
        usage.total_fuel = load(&self.total_fuel);
        usage.calls = load(&self.calls);
        usage.traps = load(&self.traps);
        usage.timeouts = load(&self.timeouts);
        usage.restarts = load(&self.restarts);
        usage
    }
}

/// Names an export of `component-lifecycle` in full, as errors show it.
pub(crate) fn lifecycle_export(function: &str) -> String {
    format!("{LIFECYCLE_INTERFACE}#{function}")
}

struct Lifecycle {
    initialize: InitializeFunc,
    handle_message: HandleFunc,
    handle_callback: CallbackFunc,
    metadata: MetadataFunc,
    health: HealthFunc,
    shutdown: ShutdownFunc,
}

/// One store, one instance and its state.
///
/// After an error for which [`WasmError::fails_instance`] holds it must be
/// dropped: wasmtime does not enter such a store again.
pub(crate) struct StoreManager {
    store: Store<HostState>,
    instance: Instance,
    lifecycle: Option<Lifecycle>,
    /// Of the component, shared.
    bytes: Bytes,
    meters: Arc<Meters>,
}

impl StoreManager {
    /// Instantiates and, for a component that takes messages, initializes.
    pub(crate) async fn start(
        compiled: &Compiled,
        guest: &Arc<Guest>,
        meters: &Arc<Meters>,
    ) -> Result<Self, WasmError> {
        let mut store = new_store(compiled, guest, meters)?;
        guest.calls.begin_instance();
        let budget = begin_call(&mut store);
        let deadline = store.data().deadline;
        let mut pauses = 0;
        let outcome = bounded(deadline, &mut pauses, async {
            let instance = compiled.pre.instantiate_async(&mut store).await?;
            let lifecycle = typed_lifecycle(compiled, &instance, &mut store)?;
            Ok((instance, lifecycle))
        })
        .await;
        let ended = end_call(&mut store, budget, pauses);
        let failed = FailedCall {
            component: guest.id(),
            bytes: &compiled.bytes,
            export: "instantiate",
            limits: &guest.config().limits,
            ended,
        };
        let error = match outcome {
            Ok(Ok((instance, lifecycle))) => {
                meters.fuel(ended.fuel_consumed);
                let mut manager = Self {
                    store,
                    instance,
                    lifecycle,
                    bytes: compiled.bytes.clone(),
                    meters: Arc::clone(meters),
                };
                manager.initialize().await?;
                return Ok(manager);
            }
            Ok(Err(error)) => failed.instantiation(error),
            Err(interrupted) => failed.interrupted(interrupted),
        };
        meters.failure(&error, ended);
        Err(error)
    }

    async fn initialize(&mut self) -> Result<(), WasmError> {
        let Some(lifecycle) = &self.lifecycle else {
            return Ok(());
        };
        let function = lifecycle.initialize;
        let config = WitConfig::from(self.store.data().config());
        let (outcome,) = self.call("initialize", function, (config,)).await?;
        outcome.map_err(|error| WasmError::InitializationFailed {
            component: self.id(),
            error: error.into(),
        })
    }

    pub(crate) async fn handle_message(
        &mut self,
        message: ComponentMessage,
    ) -> Result<Option<MessagePayload>, WasmError> {
        let function = self.lifecycle("handle-message")?.handle_message;
        let (outcome,) = self
            .call("handle-message", function, (message.into(),))
            .await?;
        let reply = outcome.map_err(|error| self.guest_error(error))?;
        Ok(reply.map(MessagePayload::from))
    }

    pub(crate) async fn handle_callback(
        &mut self,
        message: ComponentMessage,
    ) -> Result<(), WasmError> {
        let function = self.lifecycle("handle-callback")?.handle_callback;
        let (outcome,) = self
            .call("handle-callback", function, (message.into(),))
            .await?;
        outcome.map_err(|error| self.guest_error(error))
    }

    pub(crate) async fn health(&mut self) -> Result<HealthStatus, WasmError> {
        let function = self.lifecycle("health")?.health;
        let (health,) = self.call("health", function, ()).await?;
        Ok(health.into())
    }

    pub(crate) async fn metadata(&mut self) -> Result<ComponentMetadata, WasmError> {
        let function = self.lifecycle("metadata")?.metadata;
        let (metadata,) = self.call("metadata", function, ()).await?;
        Ok(metadata.into())
    }

    /// A component that takes no messages has nothing to shut down.
    pub(crate) async fn shutdown(&mut self) -> Result<(), WasmError> {
        let Some(lifecycle) = &self.lifecycle else {
            return Ok(());
        };
        let function = lifecycle.shutdown;
        self.store.data().guest.calls.begin_shutdown();
        let (outcome,) = self.call("shutdown", function, ()).await?;
        outcome.map_err(|error| WasmError::ShutdownFailed {
            component: self.id(),
            error: error.into(),
        })
    }

    /// Calls any export with values that are known to fit it.
    pub(crate) async fn call_export(
        &mut self,
        export: &str,
        index: &wasmtime::component::ComponentExportIndex,
        args: &[Val],
        results: usize,
    ) -> Result<Vec<Val>, WasmError> {
        let Some(function) = self.instance.get_func(&mut self.store, index) else {
            return Err(self.export_not_found(export));
        };
        let mut values = vec![Val::Bool(false); results];
        let budget = begin_call(&mut self.store);
        let deadline = self.store.data().deadline;
        let mut pauses = 0;
        let call = call_untyped(&mut self.store, function, args, &mut values);
        let outcome = bounded(deadline, &mut pauses, call).await;
        self.finish(export, (budget, pauses), outcome)?;
        Ok(values)
    }

    async fn call<P, R>(
        &mut self,
        export: &str,
        function: TypedFunc<P, R>,
        params: P,
    ) -> Result<R, WasmError>
    where
        P: ComponentNamedList + Lower + Send + Sync,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        let budget = begin_call(&mut self.store);
        let deadline = self.store.data().deadline;
        let mut pauses = 0;
        let call = function.call_async(&mut self.store, params);
        let outcome = bounded(deadline, &mut pauses, call).await;
        self.finish(export, (budget, pauses), outcome)
    }

    fn finish<R>(
        &mut self,
        export: &str,
        (budget, pauses): (u64, u64),
        outcome: Result<wasmtime::Result<R>, crate::call::Interrupted>,
    ) -> Result<R, WasmError> {
        let ended = end_call(&mut self.store, budget, pauses);
        let guest = &self.store.data().guest;
        let failed = FailedCall {
            component: guest.id(),
            bytes: &self.bytes,
            export,
            limits: &guest.config().limits,
            ended,
        };
        let error = match outcome {
            Ok(Ok(result)) => {
                self.meters.fuel(ended.fuel_consumed);
                return Ok(result);
            }
            Ok(Err(error)) => failed.error(error),
            Err(interrupted) => failed.interrupted(interrupted),
        };
        self.meters.failure(&error, ended);
        Err(error)
    }

    fn id(&self) -> ComponentId {
        self.store.data().guest.id().clone()
    }

    fn lifecycle(&self, function: &str) -> Result<&Lifecycle, WasmError> {
        self.lifecycle
            .as_ref()
            .ok_or_else(|| self.export_not_found(&lifecycle_export(function)))
    }

    fn export_not_found(&self, export: &str) -> WasmError {
        WasmError::ExportNotFound {
            component: self.id(),
            export: export.into(),
        }
    }

    fn guest_error(&self, error: WitWasmError) -> WasmError {
        WasmError::GuestError {
            component: self.id(),
            error: error.into(),
        }
    }
}

async fn call_untyped(
    store: &mut Store<HostState>,
    function: Func,
    args: &[Val],
    results: &mut [Val],
) -> wasmtime::Result<()> {
    function.call_async(store, args, results).await
}

fn new_store(
    compiled: &Compiled,
    guest: &Arc<Guest>,
    meters: &Meters,
) -> Result<Store<HostState>, WasmError> {
    let wasi = WasiGrants::new(guest, guest.account).map_err(|UnreadableDir { path, error }| {
        WasmError::InstantiationFailed {
            component: guest.id().clone(),
            reason: format!(
                "the directory {} cannot be opened: {} (`wasi` in [permissions])",
                path.escaped(),
                error
            ),
            source: Some(Arc::new(error)),
        }
    })?;
    let mut table = ResourceTable::new();
    table.set_max_capacity(MAX_HOST_RESOURCES);
    let limits = &guest.config().limits;
    let state = HostState {
        guest: Arc::clone(guest),
        limiter: WasmResourceLimiter::new(limits.memory_bytes(), Arc::clone(&meters.memory)),
        deadline: Instant::now(),
        pace: Pace::default(),
        wasi: wasi.context,
        files: wasi.files,
        tcp: Sockets::default(),
        http: NoHttp::context(),
        http_hooks: NoHttp,
        outputs: wasi.outputs,
        table,
    };
    let mut store = Store::new(compiled.pre.engine(), state);
    apply_limits(&mut store, limits);
    // Each tick of the epoch a running guest gives way to other tasks, until its
    // time is up. `YieldCustom`, because wasmtime's own yield wakes itself at once
    // and starves the executor.
    store.epoch_deadline_callback(|mut store| {
        if Instant::now() >= store.data().deadline {
            return Ok(UpdateDeadline::Interrupt);
        }
        let fuel_left = store.get_fuel()?;
        let pace = &mut store.data_mut().pace;
        pace.epoch_yields += 1;
        pace.fuel_left = fuel_left;
        Ok(UpdateDeadline::YieldCustom(
            1,
            Box::pin(tokio::task::yield_now()),
        ))
    });
    Ok(store)
}

fn typed_lifecycle(
    compiled: &Compiled,
    instance: &Instance,
    store: &mut Store<HostState>,
) -> wasmtime::Result<Option<Lifecycle>> {
    let Some(exports) = &compiled.lifecycle else {
        return Ok(None);
    };
    Ok(Some(Lifecycle {
        initialize: instance.get_typed_func(&mut *store, exports.initialize)?,
        handle_message: instance.get_typed_func(&mut *store, exports.handle_message)?,
        handle_callback: instance.get_typed_func(&mut *store, exports.handle_callback)?,
        metadata: instance.get_typed_func(&mut *store, exports.metadata)?,
        health: instance.get_typed_func(&mut *store, exports.health)?,
        shutdown: instance.get_typed_func(&mut *store, exports.shutdown)?,
    }))
}

/// Gives the call its full budgets and returns that of fuel.
fn begin_call(store: &mut Store<HostState>) -> u64 {
    // Unmetered execution is counted all the same.
    let budget = store.data().config().limits.fuel().unwrap_or(u64::MAX);
    // These fail only on an engine that counts no fuel.
    let _ = store.set_fuel(budget);
    let _ = store.fuel_async_yield_interval(Some(FUEL_INTERVAL));
    // A whole tick at the least, so that few calls that end in microseconds give way.
    store.set_epoch_deadline(2);
    let state = store.data_mut();
    state.deadline = Instant::now() + state.config().limits.timeout();
    state.pace = Pace {
        epoch_yields: 0,
        fuel_left: budget,
    };
    state.guest.calls.begin_call();
    state.guest.lines.reset();
    state.limiter.take_denied();
    budget
}

/// What is known of a call that has ended.
fn end_call(store: &mut Store<HostState>, budget: u64, pauses: u64) -> EndedCall {
    let consumed = |left: u64| budget - left.min(budget);
    let fuel_consumed = consumed(store.get_fuel().unwrap_or(0));
    for output in &store.data().outputs {
        output.end_line();
    }
    let state = store.data_mut();
    // Whenever it did not give way because of the epoch, it may have done so because of
    // its fuel.
    let fuel_yields = pauses.saturating_sub(state.pace.epoch_yields);
    EndedCall {
        fuel_consumed,
        fuel_seen: consumed(state.pace.fuel_left),
        most_in_bounds: most_in_bounds(
            fuel_yields,
            FUEL_INTERVAL,
            state.guest.config().limits.memory_bytes(),
        ),
        denied: state.limiter.take_denied(),
    }
}
