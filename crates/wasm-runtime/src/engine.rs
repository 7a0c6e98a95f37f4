use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::coop::{consume_budget, unconstrained};
use wasmtime::component::types::ComponentFunc;
use wasmtime::component::{Linker, Val};
use wasmtime::{Config, Engine};

use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentId, ComponentMessage, ComponentMetadata,
    ComponentState, ComponentUsage, Defect, HealthStatus, HostServices, MessagePayload,
    Preparation, RuntimeEngine, Trap, WasmError,
};

use crate::call::{Caller, Detached};
use crate::compiled::{CacheEntry, CompileCache, Compiled, find_function, function_names};
use crate::config::EngineConfig;
use crate::error::{cause, chain};
use crate::export::check_arguments;
use crate::host_fn::register_host_functions;
use crate::imports::{ImportAudit, exports_lifecycle};
use crate::lines::{LineBuckets, Lines};
use crate::store::{Guest, HostState, Meters, StoreManager};
use crate::wasi::HostAccount;

/// How often a running guest is looked at: the precision of a timeout, and how
/// long a guest keeps its thread from other tasks.
const TICK: Duration = Duration::from_millis(1);

/// Deep enough for the interpreters that come as components.
const GUEST_STACK_BYTES: usize = 512 << 10;

/// The guest's stack and 1.5 MiB for the host functions that it calls.
const FIBER_STACK_BYTES: usize = 2 << 20;

/// Frames of a call stack that an error keeps.
const MAX_FRAMES: usize = 32;

/// Counts for all engines of the process, so that a handle of one is unknown to
/// another.
static NEXT_HANDLE: AtomicU64 = AtomicU64::new(1);

/// Runs components on wasmtime.
///
/// Fuel and epochs are always on. Needs a tokio runtime with its timer enabled; calls
/// may be made from any of its tasks. Without the timer, a call that waits panics.
/// In a program built with `panic = "abort"`, a host function that panics ends the
/// program instead of the instance.
pub struct WasmtimeEngine {
    config: EngineConfig,
    linker: Arc<Linker<HostState>>,
    services: HostServices,
    compiled: CompileCache,
    line_buckets: LineBuckets,
    slots: RwLock<HashMap<u64, Arc<Slot>>>,
}

/// Where a loaded component lives.
struct Slot {
    guest: Arc<Guest>,
    compiled: Arc<CacheEntry>,
    meters: Arc<Meters>,
    unloaded: AtomicBool,
    /// Fair, so that calls take their turns in the order in which they came.
    occupant: Arc<Mutex<Occupant>>,
}

enum Occupant {
    Ready(Box<StoreManager>),
    Failed(Arc<WasmError>),
    /// With a call that has not come back.
    Away,
}

impl WasmtimeEngine {
    /// # Errors
    /// [`WasmError::EngineInitialization`] when wasmtime refuses this machine or no
    /// thread can be started.
    pub fn new(config: EngineConfig, services: HostServices) -> Result<Self, WasmError> {
        let engine = Engine::new(&wasmtime_config())
            .map_err(|error| initialization("wasmtime refused its configuration", error))?;
        start_ticker(&engine)?;
        let mut linker = Linker::new(&engine);
        register_host_functions(&mut linker)
            .map_err(|error| initialization("the host functions could not be linked", error))?;
        Ok(Self {
            compiled: CompileCache::new(config.clone()),
            line_buckets: LineBuckets::new(config.log_rate()),
            config,
            linker: Arc::new(linker),
            services,
            slots: RwLock::default(),
        })
    }

    /// The engine below, for making types and values that belong to it.
    pub fn engine(&self) -> &Engine {
        self.linker.engine()
    }

    /// What components can import.
    pub fn linker(&self) -> &Linker<HostState> {
        &self.linker
    }

    /// For adding an embedder's own interfaces, before anything is loaded: what is
    /// loaded already keeps the imports it was linked with.
    ///
    /// A host function that waits is dropped when the call's time is up. One that
    /// blocks its thread cannot be stopped by anyone.
    pub fn linker_mut(&mut self) -> &mut Linker<HostState> {
        self.compiled.clear();
        // While a compilation is still using the linker, it keeps the one it has.
        Arc::make_mut(&mut self.linker)
    }

    /// Tells which imports of a component this engine does not provide. The
    /// [`linker`](Self::linker) is asked, as it is when the component is loaded; the
    /// component's code is not compiled.
    ///
    /// # Errors
    /// [`WasmError::InvalidComponent`] if the part of the component that imports cannot
    /// be read, or needs too much; [`WasmError::InstantiationFailed`] if the compiler
    /// fails.
    pub async fn audit_imports(
        &self,
        id: &ComponentId,
        bytes: Bytes,
    ) -> Result<ImportAudit, WasmError> {
        self.check_bytes(id, &bytes)?;
        self.compiled.audit(id, bytes, &self.linker).await
    }

    /// Whether a component with exports of these names takes messages: whether one of
    /// them is a release of [`LIFECYCLE_INTERFACE`](wasm_core::LIFECYCLE_INTERFACE)
    /// that this engine finds.
    pub fn takes_messages<'a>(&self, exports: impl IntoIterator<Item = &'a str>) -> bool {
        exports_lifecycle(self.engine(), exports.into_iter())
    }

    /// See [`RuntimeEngine::prepare_component`].
    ///
    /// # Errors
    /// As documented there: all but those of instantiation and `initialize` are known.
    pub async fn prepare_component(
        &self,
        id: &ComponentId,
        bytes: Bytes,
        config: &ComponentConfig,
    ) -> Result<Preparation, WasmError> {
        let compiled = self.compile(id, bytes, config).await?;
        Ok(Preparation::new(compiled))
    }

    /// See [`RuntimeEngine::load_component`].
    ///
    /// # Errors
    /// As documented there.
    pub async fn load_component(
        &self,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        let compiled = self.compile(id, bytes, &config).await?;
        let number = NEXT_HANDLE.fetch_add(1, Ordering::Relaxed);
        let handle = ComponentHandle::new(id.clone(), number);
        let account = HostAccount::new(self.config.max_held_bytes());
        let lines = Lines::new(self.line_buckets.of(id));
        let guest = Guest::new(
            handle.clone(),
            config,
            self.services.clone(),
            account,
            lines,
        );
        let slot = Slot {
            guest: Arc::new(guest),
            compiled,
            meters: Arc::new(Meters::new()),
            unloaded: AtomicBool::new(false),
            occupant: Arc::new(Mutex::new(Occupant::Away)),
        };
        let store = slot.start().await?;
        *slot.occupant.lock().await = Occupant::Ready(Box::new(store));
        slot.meters.set_state(ComponentState::Ready);
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        slots.insert(number, Arc::new(slot));
        Ok(handle)
    }

    /// See [`RuntimeEngine::unload_component`].
    ///
    /// # Errors
    /// As documented there.
    pub async fn unload_component(&self, handle: &ComponentHandle) -> Result<(), WasmError> {
        async_runtime()?;
        let removed = {
            let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
            match slots.get(&handle.handle_id()) {
                Some(slot) if slot.guest.handle() == handle => slots.remove(&handle.handle_id()),
                _ => None,
            }
        };
        let Some(slot) = removed else {
            return Ok(());
        };
        slot.unloaded.store(true, Ordering::Release);
        detached(handle.id(), async move {
            let mut occupant = slot.occupant.lock().await;
            match slot.take(&mut occupant) {
                Ok(mut store) => store.shutdown().await,
                Err(_) => Ok(()),
            }
        })
        .await
    }

    /// See [`RuntimeEngine::call_handle_message`].
    ///
    /// # Errors
    /// As documented there.
    pub async fn call_handle_message(
        &self,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<Option<MessagePayload>, WasmError> {
        self.call(handle, |store| Box::pin(store.handle_message(message)))
            .await
    }

    /// See [`RuntimeEngine::call_handle_callback`].
    ///
    /// # Errors
    /// As documented there.
    pub async fn call_handle_callback(
        &self,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), WasmError> {
        self.call(handle, |store| Box::pin(store.handle_callback(message)))
            .await
    }

    /// See [`RuntimeEngine::restart_component`].
    ///
    /// # Errors
    /// As documented there.
    pub async fn restart_component(&self, handle: &ComponentHandle) -> Result<(), WasmError> {
        let slot = self.slot(handle)?;
        detached(handle.id(), async move {
            let mut turn = Turn::of(slot).await?;
            turn.restart().await
        })
        .await
    }

    /// See [`RuntimeEngine::health`].
    ///
    /// # Errors
    /// As documented there.
    pub async fn health(&self, handle: &ComponentHandle) -> Result<HealthStatus, WasmError> {
        self.call(handle, |store| Box::pin(store.health())).await
    }

    /// See [`RuntimeEngine::metadata`].
    ///
    /// # Errors
    /// As documented there.
    pub async fn metadata(&self, handle: &ComponentHandle) -> Result<ComponentMetadata, WasmError> {
        self.call(handle, |store| Box::pin(store.metadata())).await
    }

    /// See [`RuntimeEngine::usage`]; here it needs no waiting.
    ///
    /// # Errors
    /// [`WasmError::ComponentNotFound`].
    pub fn usage(&self, handle: &ComponentHandle) -> Result<ComponentUsage, WasmError> {
        let slot = self.slot(handle)?;
        let mut usage = slot.meters.usage();
        usage.kept = slot.compiled()?.kept;
        Ok(usage)
    }

    /// Full names of the functions that a component exports: `function` or
    /// `interface#function`, as [`call_export`](Self::call_export) takes them.
    ///
    /// # Errors
    /// [`WasmError::ComponentNotFound`].
    pub fn exports(&self, handle: &ComponentHandle) -> Result<Vec<String>, WasmError> {
        let slot = self.slot(handle)?;
        Ok(function_names(slot.compiled()?.component(), self.engine()))
    }

    /// The parameters and results of an export.
    ///
    /// # Errors
    /// [`WasmError::ComponentNotFound`] or [`WasmError::ExportNotFound`].
    pub fn export_type(
        &self,
        handle: &ComponentHandle,
        export: &str,
    ) -> Result<ComponentFunc, WasmError> {
        let slot = self.slot(handle)?;
        let found = find_function(slot.compiled()?.component(), export);
        found
            .map(|(ty, _)| ty)
            .ok_or_else(|| slot.export_not_found(export))
    }

    /// Calls any export by its full name, as a call like any other: under the
    /// limits, in order, with the same consequences.
    ///
    /// # Errors
    /// [`WasmError::ExportNotFound`]; [`WasmError::InvalidArguments`], without
    /// calling the guest; else as
    /// [`call_handle_message`](RuntimeEngine::call_handle_message).
    pub async fn call_export(
        &self,
        handle: &ComponentHandle,
        export: &str,
        args: &[Val],
    ) -> Result<Vec<Val>, WasmError> {
        let slot = self.slot(handle)?;
        let Some((ty, index)) = find_function(slot.compiled()?.component(), export) else {
            return Err(slot.export_not_found(export));
        };
        check_arguments(&ty, args).map_err(|reason| WasmError::InvalidArguments {
            component: handle.id().clone(),
            export: export.into(),
            reason,
        })?;
        let (export, args, results) = (export.to_owned(), args.to_vec(), ty.results().len());
        self.call(handle, move |store| {
            Box::pin(async move { store.call_export(&export, &index, &args, results).await })
        })
        .await
    }

    async fn compile(
        &self,
        id: &ComponentId,
        bytes: Bytes,
        config: &ComponentConfig,
    ) -> Result<Arc<CacheEntry>, WasmError> {
        let ceiling = self.config.memory_ceiling_bytes();
        let checked = config.limits.check_ceiling(ceiling);
        checked.map_err(|source| WasmError::InvalidLimits {
            component: id.clone(),
            source,
        })?;
        self.check_bytes(id, &bytes)?;
        self.compiled.compiled(id, bytes, &self.linker).await
    }

    /// What can be told at once.
    fn check_bytes(&self, id: &ComponentId, bytes: &[u8]) -> Result<(), WasmError> {
        let limit = self.config.max_component_bytes();
        let length = bytes.len() as u64;
        let header = if length > limit {
            Err(Defect::TooLarge {
                bytes: length,
                limit,
            })
        } else {
            Defect::check_header(bytes)
        };
        header.map_err(|defect| WasmError::invalid_component(id, defect))?;
        async_runtime().map(drop)
    }

    fn slot(&self, handle: &ComponentHandle) -> Result<Arc<Slot>, WasmError> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots
            .get(&handle.handle_id())
            .filter(|slot| slot.guest.handle() == handle)
            .cloned()
            .ok_or_else(|| WasmError::ComponentNotFound {
                handle: handle.clone(),
            })
    }

    /// Waits for its turn, which is withdrawn if the caller is gone by then, and makes
    /// the call.
    async fn call<R, F>(&self, handle: &ComponentHandle, call: F) -> Result<R, WasmError>
    where
        R: Send + 'static,
        F: FnOnce(&mut StoreManager) -> GuestCall<'_, R> + Send + 'static,
    {
        let slot = self.slot(handle)?;
        let caller = Caller::default();
        let watch = caller.watch();
        let outcome = detached(handle.id(), async move {
            let mut turn = Turn::of(slot).await?;
            if watch.is_gone() {
                return Err(turn.slot.not_found());
            }
            turn.call(call).await
        })
        .await;
        // A task that calls without a break leaves its thread to others now and then;
        // afterwards, because a call takes its place in the queue at its first poll.
        consume_budget().await;
        outcome
    }
}

type GuestCall<'a, R> = Pin<Box<dyn Future<Output = Result<R, WasmError>> + Send + 'a>>;

impl Slot {
    async fn start(&self) -> Result<StoreManager, WasmError> {
        StoreManager::start(self.compiled()?, &self.guest, &self.meters).await
    }

    fn compiled(&self) -> Result<&Compiled, WasmError> {
        self.compiled
            .get()
            .ok_or_else(|| abandoned(self.guest.id()))
    }

    /// Empties the slot, so that a call that never comes back leaves no store that
    /// must not be entered again.
    fn take(&self, occupant: &mut Occupant) -> Result<Box<StoreManager>, WasmError> {
        let cause = match mem::replace(occupant, Occupant::Away) {
            Occupant::Ready(store) => return Ok(store),
            Occupant::Failed(cause) => cause,
            Occupant::Away => Arc::new(abandoned(self.guest.id())),
        };
        *occupant = Occupant::Failed(Arc::clone(&cause));
        Err(WasmError::ComponentFailed {
            component: self.guest.id().clone(),
            source: cause,
        })
    }

    fn fail(&self, occupant: &mut Occupant, error: &WasmError) {
        *occupant = Occupant::Failed(Arc::new(error.clone().kept()));
        self.meters.memory.set(0);
        self.meters.set_state(ComponentState::Failed);
    }

    fn not_found(&self) -> WasmError {
        WasmError::ComponentNotFound {
            handle: self.guest.handle().clone(),
        }
    }

    fn export_not_found(&self, export: &str) -> WasmError {
        WasmError::ExportNotFound {
            component: self.guest.id().clone(),
            export: export.into(),
        }
    }
}

/// The one call that a component is in.
struct Turn {
    slot: Arc<Slot>,
    occupant: OwnedMutexGuard<Occupant>,
}

impl Turn {
    async fn of(slot: Arc<Slot>) -> Result<Self, WasmError> {
        // Without a look at tokio's budget for one poll: a call takes its place at its
        // first poll, and one that need not wait is not sent to another thread.
        let occupant = unconstrained(Arc::clone(&slot.occupant).lock_owned()).await;
        if slot.unloaded.load(Ordering::Acquire) {
            return Err(slot.not_found());
        }
        Ok(Self { slot, occupant })
    }

    async fn call<R, F>(&mut self, call: F) -> Result<R, WasmError>
    where
        F: FnOnce(&mut StoreManager) -> GuestCall<'_, R>,
    {
        let Self { slot, occupant } = self;
        let mut store = slot.take(occupant)?;
        slot.meters.set_state(ComponentState::Busy);
        let outcome = call(&mut store).await;
        if !matches!(outcome, Err(WasmError::ExportNotFound { .. })) {
            slot.meters.count(&slot.meters.calls);
        }
        match &outcome {
            Err(error) if error.fails_instance() => {
                drop(store);
                slot.fail(occupant, error);
            }
            _ => self.put_back(store),
        }
        outcome
    }

    async fn restart(&mut self) -> Result<(), WasmError> {
        let Self { slot, occupant } = self;
        slot.meters.set_state(ComponentState::Busy);
        if let Ok(mut store) = slot.take(occupant)
            && let Err(error) = store.shutdown().await
        {
            let text = format!("shutdown before a restart failed: {error}");
            if let Some(line) = slot.guest.lines.admit_uncounted(text) {
                tracing::warn!(component = %slot.guest.handle(), "{line}");
            }
        }
        match slot.start().await {
            Ok(store) => {
                slot.meters.count(&slot.meters.restarts);
                self.put_back(Box::new(store));
                Ok(())
            }
            Err(error) => {
                slot.fail(occupant, &error);
                Err(error)
            }
        }
    }

    fn put_back(&mut self, store: Box<StoreManager>) {
        *self.occupant = Occupant::Ready(store);
        self.slot.meters.set_state(ComponentState::Ready);
    }
}

fn async_runtime() -> Result<Handle, WasmError> {
    Handle::try_current().map_err(|error| WasmError::Unsupported {
        what: format!("running components outside of a tokio runtime ({error})"),
    })
}

/// Makes a call end whatever becomes of its caller, on the runtime where it began.
async fn detached<R: Send + 'static>(
    component: &ComponentId,
    call: impl Future<Output = Result<R, WasmError>> + Send + 'static,
) -> Result<R, WasmError> {
    let ended = Detached::new(async_runtime()?, call).await;
    ended.unwrap_or_else(|_| {
        Err(WasmError::ComponentFailed {
            component: component.clone(),
            source: Arc::new(abandoned(component)),
        })
    })
}

/// A call that is dropped midway, as by the shutdown of its runtime, takes its store
/// with it.
impl Drop for Turn {
    fn drop(&mut self) {
        let meters = &self.slot.meters;
        if meters.state() == ComponentState::Busy {
            meters.memory.set(0);
            meters.set_state(ComponentState::Failed);
        }
    }
}

/// What is said of a call that nobody can end any more.
fn abandoned(component: &ComponentId) -> WasmError {
    WasmError::Trapped {
        component: component.clone(),
        export: "(unknown)".into(),
        trap: Trap::Other("the async runtime that ran the call was shut down".into()),
        frames: Box::default(),
        fuel_consumed: 0,
        source: None,
    }
}

/// The same in a compiler of its own, or its code would not be taken back.
pub(crate) fn wasmtime_config() -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .epoch_interruption(true)
        // Components here are synchronous; with it on, a call costs more than twice
        // as much.
        .concurrency_support(false)
        .max_wasm_stack(GUEST_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(MAX_FRAMES));
    config
}

fn initialization(what: &str, error: wasmtime::Error) -> WasmError {
    WasmError::EngineInitialization {
        reason: format!("{what}: {}", chain(&error)),
        source: Some(cause(error)),
    }
}

/// Advances the epoch until the engine and all its stores are gone.
///
/// A thread of its own, because a task could be starved by the very guest that it
/// should stop.
fn start_ticker(engine: &Engine) -> Result<(), WasmError> {
    let engine = engine.weak();
    let tick = move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(TICK);
        }
    };
    let spawned = thread::Builder::new()
        .name("wasm-epoch".to_owned())
        .spawn(tick);
    spawned
        .map(drop)
        .map_err(|error| WasmError::EngineInitialization {
            reason: format!("the thread that stops guests could not be started: {error}"),
            source: Some(Arc::new(error)),
        })
}

impl Debug for WasmtimeEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmtimeEngine")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl RuntimeEngine for WasmtimeEngine {
    async fn prepare_component(
        &self,
        id: &ComponentId,
        bytes: Bytes,
        config: &ComponentConfig,
    ) -> Result<Preparation, WasmError> {
        Self::prepare_component(self, id, bytes, config).await
    }

    async fn load_component(
        &self,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        Self::load_component(self, id, bytes, config).await
    }

    async fn unload_component(&self, handle: &ComponentHandle) -> Result<(), WasmError> {
        Self::unload_component(self, handle).await
    }

    async fn call_handle_message(
        &self,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<Option<MessagePayload>, WasmError> {
        Self::call_handle_message(self, handle, message).await
    }

    async fn call_handle_callback(
        &self,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), WasmError> {
        Self::call_handle_callback(self, handle, message).await
    }

    async fn restart_component(&self, handle: &ComponentHandle) -> Result<(), WasmError> {
        Self::restart_component(self, handle).await
    }

    async fn health(&self, handle: &ComponentHandle) -> Result<HealthStatus, WasmError> {
        Self::health(self, handle).await
    }

    async fn metadata(&self, handle: &ComponentHandle) -> Result<ComponentMetadata, WasmError> {
        Self::metadata(self, handle).await
    }

    async fn usage(&self, handle: &ComponentHandle) -> Result<ComponentUsage, WasmError> {
        Self::usage(self, handle)
    }
}
