//! An engine without WebAssembly: it knows the fixtures by their bytes and does what
//! their table says.

mod call;
mod exports;
mod host;
mod instance;
mod memory;
mod slot;

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::coop::consume_budget;

use wasm_core::guest::Guest as GuestCalls;
use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentId, ComponentMessage, ComponentMetadata,
    ComponentState, ComponentUsage, Defect, GuestError, HealthStatus, HostServices, MessagePayload,
    Preparation, ResourceLimits, RuntimeEngine, Unmet, WasmError,
};
use wasm_fixtures::{ALL, Behaviour, ECHO, Lifecycle, Refusal};

pub use self::instance::OwnAnswer;
use self::instance::{Guest, Instance, OnOwnMessage};
use self::slot::{Running, Slot, Turn, async_runtime, detached, not_found};

/// The size of the largest component that is accepted unless an engine is told
/// otherwise.
const MAX_COMPONENT_BYTES: u64 = 64 << 20;

/// Memories of one component.
const MAX_MEMORIES: u64 = 64;

/// Counts for all engines of the process, so that a handle of one is unknown to
/// another.
static NEXT_HANDLE: AtomicU64 = AtomicU64::new(1);

/// Runs the components of `wasm-fixtures` by their table instead of their code.
///
/// It keeps the whole contract of [`RuntimeEngine`] and calls its services as an
/// engine does, under the same permissions and budgets. Other bytes are
/// [`Defect::Malformed`], if not something else at first sight. Like a real engine
/// it needs a tokio runtime with a timer; deadlines follow tokio's clock, so a test
/// can pause it and need not wait for them.
///
/// Where a real engine is compared with it, these agree:
///
/// - the kind of each outcome, the component, export and resource that it names,
///   the limit, the memory that was asked for, and answers of the guest,
/// - in the usage: state, memory now and at peak, calls, traps, timeouts, restarts.
///
/// These are its own:
///
/// - *Fuel.* A call costs 100, an allocation in the guest (one for each text of a
///   message, one for an answer that is written) 30, a call of the host 20 and a
///   level of recursion 10. A loop without end consumes a unit in a nanosecond, so
///   that it is stopped by whichever budget is smaller; out of fuel it is at once.
/// - *Time.* Nothing but waiting takes any.
/// - *The stack* holds 10,000 levels.
/// - *Texts* in [`Defect`] and [`RefusedByHost`](wasm_core::Trap::RefusedByHost); there are no frames and no
///   sources.
/// - *Logs* go nowhere, but are checked like every use of the host.
/// - *Components that take no messages* have no memory, and nothing to call.
/// - *WASI* has no directories: what is granted of it is not looked at.
///
/// ```
/// use std::time::Duration;
///
/// use bytes::Bytes;
/// use wasm_core::{
///     ComponentConfig, ComponentId, ComponentMessage, HostServices, ResourceLimits,
///     RuntimeEngine,
/// };
/// use wasm_testkit::{ModelEngine, wasm_fixtures};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = ModelEngine::new(HostServices::default());
/// let id = ComponentId::new("demo", "counter", "main")?;
/// let limits = ResourceLimits::new(1 << 20, Duration::from_secs(1), Some(1_000_000))?;
/// let wasm = Bytes::from_static(wasm_fixtures::COUNTER.wasm);
/// let counter = engine.load_component(&id, wasm, ComponentConfig::new(limits)).await?;
///
/// let message = ComponentMessage::new(id.clone(), id, "hello");
/// let answer = engine.call_handle_message(&counter, message).await?;
/// assert_eq!(answer, Some("1".into()));
/// # Ok(())
/// # }
/// ```
pub struct ModelEngine {
    memory_ceiling_bytes: u64,
    max_component_bytes: u64,
    numbers: fn(u64) -> u64,
    services: HostServices,
    /// What was written by tests.
    own: HashMap<ComponentId, OnOwnMessage>,
    slots: RwLock<HashMap<u64, Arc<Slot>>>,
}

impl ModelEngine {
    /// With a memory ceiling of 4 MiB and components of up to 64 MiB.
    pub fn new(services: HostServices) -> Self {
        Self {
            memory_ceiling_bytes: ResourceLimits::DEFAULT_MEMORY_CEILING_BYTES,
            max_component_bytes: MAX_COMPONENT_BYTES,
            numbers: |count| count,
            services,
            own: HashMap::new(),
            slots: RwLock::default(),
        }
    }

    /// The largest memory limit with which a component may be loaded.
    #[must_use]
    pub fn with_memory_ceiling_bytes(mut self, bytes: u64) -> Self {
        self.memory_ceiling_bytes = bytes;
        self
    }

    /// The size of the largest component that is looked at.
    #[must_use]
    pub fn with_max_component_bytes(mut self, bytes: u64) -> Self {
        self.max_component_bytes = bytes;
        self
    }

    /// Numbers handles otherwise than 1, 2, 3 and so on, counted over all engines of the
    /// process: a handle has the number that `numbers` makes of its count, and no two
    /// counts may have the same.
    #[must_use]
    pub fn with_numbers(mut self, numbers: fn(u64) -> u64) -> Self {
        self.numbers = numbers;
        self
    }

    /// Lets `on_message` be what a component does about a message: whatever is loaded as
    /// `id` is it, whatever its bytes.
    ///
    /// The rest is that of [`ECHO`]: its other exports answer well, and memory and fuel
    /// are needed for the message and its reply. An error is one of the guest's, and a
    /// panic traps it as one of a host function does. All instances call the one closure,
    /// so that what it remembers outlives them.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use wasm_core::{
    ///     ComponentConfig, ComponentId, ComponentMessage, GuestError, HostServices,
    ///     ResourceLimits, RuntimeEngine,
    /// };
    /// use wasm_testkit::ModelEngine;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let id = ComponentId::new("demo", "doorman", "main")?;
    /// let engine = ModelEngine::new(HostServices::default()).with(&id, |message| {
    ///     match message.payload.as_bytes() {
    ///         b"friend" => Ok(Some("welcome".into())),
    ///         _ => Err(GuestError::RuntimeError("who goes there?".to_owned())),
    ///     }
    /// });
    /// let limits = ResourceLimits::new(1 << 20, Duration::from_secs(1), None)?;
    /// let config = ComponentConfig::new(limits);
    /// let doorman = engine.load_component(&id, "any bytes".into(), config).await?;
    ///
    /// let ask = |word| ComponentMessage::new(id.clone(), id.clone(), word);
    /// let answer = engine.call_handle_message(&doorman, ask("friend")).await?;
    /// assert_eq!(answer, Some("welcome".into()));
    /// let error = engine.call_handle_message(&doorman, ask("foe")).await.unwrap_err();
    /// assert!(error.is_guest_error());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with(
        mut self,
        id: &ComponentId,
        on_message: impl Fn(&ComponentMessage) -> Result<Option<MessagePayload>, GuestError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let on_message: OnOwnMessage = Arc::new(move |_, message| {
            let answer = on_message(&message);
            Box::pin(async move { answer })
        });
        self.own.insert(id.clone(), on_message);
        self
    }

    /// As [`with`](Self::with), for a component that calls its host: `on_message` is given the
    /// component's side of the host, on which it may call whatever a guest may import.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Duration;
    ///
    /// use wasm_core::{ComponentId, HostServices};
    /// use wasm_testkit::ModelEngine;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let id = ComponentId::new("demo", "alarm", "main")?;
    /// let engine = ModelEngine::new(HostServices::default()).with_host(&id, |host, message| {
    ///     Box::pin(async move {
    ///         let payload = message.payload.into_bytes();
    ///         let set = host.set_timer(Duration::from_secs(60), payload).await;
    ///         Ok(set.ok().map(|timer| timer.to_string().into()))
    ///     })
    /// });
    /// # drop(engine);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_host(
        mut self,
        id: &ComponentId,
        on_message: impl Fn(Arc<GuestCalls>, ComponentMessage) -> OwnAnswer + Send + Sync + 'static,
    ) -> Self {
        self.own.insert(id.clone(), Arc::new(on_message));
        self
    }

    /// What an engine does before it runs any of the component; `None` is one that
    /// takes no messages.
    fn validate(
        &self,
        id: &ComponentId,
        bytes: &[u8],
        config: &ComponentConfig,
    ) -> Result<Option<Lifecycle>, WasmError> {
        let checked = config.limits.check_ceiling(self.memory_ceiling_bytes);
        checked.map_err(|source| WasmError::InvalidLimits {
            component: id.clone(),
            source,
        })?;
        let bytes = match self.own.contains_key(id) {
            true => ECHO.wasm,
            false => bytes,
        };
        let invalid = |defect| WasmError::invalid_component(id, defect);
        let (length, limit) = (bytes.len() as u64, self.max_component_bytes);
        if length > limit {
            let bytes = length;
            return Err(invalid(Defect::TooLarge { bytes, limit }));
        }
        Defect::check_header(bytes).map_err(invalid)?;
        let malformed = |reason: &str| {
            invalid(Defect::Malformed {
                reason: reason.to_owned(),
            })
        };
        let Some(fixture) = ALL.iter().find(|fixture| fixture.wasm == bytes) else {
            return Err(malformed("it is none of the components of wasm-fixtures"));
        };
        let refusal = match fixture.behaviour {
            Behaviour::Component(lifecycle) => return Ok(Some(lifecycle)),
            Behaviour::Exports(_) => return Ok(None),
            Behaviour::Refused(refusal) => refusal,
        };
        Err(match refusal {
            Refusal::Malformed => malformed("unexpected end"),
            Refusal::CoreModule => invalid(Defect::CoreModule),
            Refusal::IncompleteLifecycle { missing } => invalid(Defect::IncompleteLifecycle {
                missing: vec![missing.to_owned()],
            }),
            Refusal::WrongType { export } => invalid(Defect::WrongExportType {
                export: export.to_owned(),
                reason: "its parameters or results are others".to_owned(),
            }),
            Refusal::UnknownImport { interface, .. } => WasmError::ImportNotFound {
                component: id.clone(),
                import: interface.to_owned(),
                reason: Unmet::Missing,
                others: 0,
                or_more: false,
                source: None,
            },
            Refusal::TooManyInstances { instances } => invalid(Defect::TooComplex {
                what: "memories",
                found: u64::from(instances),
                limit: MAX_MEMORIES,
            }),
        })
    }

    fn slot(&self, handle: &ComponentHandle) -> Result<Arc<Slot>, WasmError> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots
            .get(&handle.handle_id())
            .filter(|slot| slot.guest.calls.handle() == handle)
            .cloned()
            .ok_or_else(|| not_found(handle))
    }

    /// Waits for its turn, which is withdrawn if the caller is gone by then, and makes
    /// the call.
    async fn call<R, F>(
        &self,
        handle: &ComponentHandle,
        export: &'static str,
        hops: u32,
        call: F,
    ) -> Result<R, WasmError>
    where
        R: Send + 'static,
        F: FnOnce(&mut Instance, Lifecycle) -> Running<'_, R> + Send + 'static,
    {
        let slot = self.slot(handle)?;
        let caller = Arc::new(());
        let watch = Arc::downgrade(&caller);
        let outcome = detached(handle.id(), async move {
            let mut turn = Turn::of(slot).await?;
            if watch.strong_count() == 0 {
                return Err(not_found(turn.handle()));
            }
            turn.call(export, hops, call).await
        })
        .await;
        // A task that calls without a break leaves its thread to others now and then;
        // afterwards, because a call takes its place in the queue at its first poll.
        consume_budget().await;
        outcome
    }
}

impl Debug for ModelEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelEngine")
            .field("memory_ceiling_bytes", &self.memory_ceiling_bytes)
            .field("max_component_bytes", &self.max_component_bytes)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl RuntimeEngine for ModelEngine {
    async fn prepare_component(
        &self,
        id: &ComponentId,
        bytes: Bytes,
        config: &ComponentConfig,
    ) -> Result<Preparation, WasmError> {
        self.validate(id, &bytes, config)?;
        Ok(Preparation::default())
    }

    async fn load_component(
        &self,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        let lifecycle = self.validate(id, &bytes, &config)?;
        async_runtime()?;
        let number = (self.numbers)(NEXT_HANDLE.fetch_add(1, Ordering::Relaxed));
        let handle = ComponentHandle::new(id.clone(), number);
        let services = self.services.clone();
        let slot = Slot::load(Guest {
            // Who may log is all there is to see: what is logged goes nowhere.
            calls: Arc::new(GuestCalls::new(handle.clone(), config, services, ())),
            lifecycle,
            own: self.own.get(id).cloned(),
            usage: Arc::new(Mutex::new(ComponentUsage::new(ComponentState::Ready))),
        })
        .await?;
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        slots.insert(number, Arc::new(slot));
        Ok(handle)
    }

    async fn unload_component(&self, handle: &ComponentHandle) -> Result<(), WasmError> {
        async_runtime()?;
        let Ok(slot) = self.slot(handle) else {
            return Ok(());
        };
        let removed = {
            let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
            slots.remove(&handle.handle_id())
        };
        if removed.is_none() {
            return Ok(());
        }
        slot.unload().await
    }

    async fn call_handle_message(
        &self,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<Option<MessagePayload>, WasmError> {
        let hops = message.hops;
        let answer = self.call(handle, "handle-message", hops, |instance, lifecycle| {
            Box::pin(instance.handle_message(lifecycle, message))
        });
        answer.await?.map_err(|error| WasmError::GuestError {
            component: handle.id().clone(),
            error,
        })
    }

    async fn call_handle_callback(
        &self,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), WasmError> {
        let hops = message.hops;
        let answer = self.call(handle, "handle-callback", hops, |instance, lifecycle| {
            Box::pin(instance.handle_callback(lifecycle, message))
        });
        answer.await?.map_err(|error| WasmError::GuestError {
            component: handle.id().clone(),
            error,
        })
    }

    async fn restart_component(&self, handle: &ComponentHandle) -> Result<(), WasmError> {
        let slot = self.slot(handle)?;
        detached(handle.id(), async move {
            Turn::all(slot).await?.restart().await
        })
        .await
    }

    async fn health(&self, handle: &ComponentHandle) -> Result<HealthStatus, WasmError> {
        self.call(handle, "health", 0, |instance, lifecycle| {
            Box::pin(instance.health(lifecycle))
        })
        .await
    }

    async fn metadata(&self, handle: &ComponentHandle) -> Result<ComponentMetadata, WasmError> {
        self.call(handle, "metadata", 0, |instance, lifecycle| {
            Box::pin(instance.metadata(lifecycle))
        })
        .await
    }

    async fn usage(&self, handle: &ComponentHandle) -> Result<ComponentUsage, WasmError> {
        Ok(self.slot(handle)?.usage())
    }
}

#[cfg(test)]
mod tests;
