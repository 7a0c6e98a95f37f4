//! Where a component of the model lives, whose turn it is, and what becomes of it when a call
//! does not come back.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::coop::unconstrained;

use wasm_core::{
    ComponentHandle, ComponentId, ComponentState, ComponentUsage, InstancePolicy,
    LIFECYCLE_INTERFACE, Resource, Trap, WasmError,
};
use wasm_fixtures::Lifecycle;

use super::call::{Detached, Run, Stop, bounded};
use super::instance::{Guest, Instance};
use crate::lock::lock;

/// Where a loaded component lives.
pub(super) struct Slot {
    pub(super) guest: Guest,
    /// A permit for each call that may run, given in the order in which calls asked; closed by
    /// unloading.
    turns: Arc<Semaphore>,
    /// As many, held by who has a turn, and then by who unloads.
    places: Arc<Semaphore>,
    home: Mutex<Home>,
}

/// The instances of a component that are in no call.
#[derive(Default)]
struct Home {
    #[expect(clippy::vec_box, reason = "an instance is moved twice in each call")]
    idle: Vec<Box<Instance>>,
    failure: Option<Arc<WasmError>>,
    /// Calls and restarts that are running.
    running: u32,
}

/// An export that runs.
pub(super) type Running<'a, R> = Pin<Box<dyn Future<Output = Run<R>> + Send + 'a>>;

impl Slot {
    /// With an instance that is ready for calls.
    pub(super) async fn load(guest: Guest) -> Result<Self, WasmError> {
        let permits = guest.config().concurrency() as usize;
        let slot = Self {
            guest,
            turns: Arc::new(Semaphore::new(permits)),
            places: Arc::new(Semaphore::new(permits)),
            home: Mutex::default(),
        };
        let instance = slot.start(0).await?;
        lock(&slot.home).idle.push(instance);
        Ok(slot)
    }

    pub(super) fn usage(&self) -> ComponentUsage {
        let mut usage = *lock(&self.guest.usage);
        let home = lock(&self.home);
        usage.state = match (home.running, &home.failure) {
            (0, None) => ComponentState::Ready,
            (0, Some(_)) => ComponentState::Failed,
            _ => ComponentState::Busy,
        };
        usage
    }

    /// The last call of the component: whoever waits for a turn finds it gone.
    pub(super) async fn unload(self: Arc<Self>) -> Result<(), WasmError> {
        self.turns.close();
        let component = self.guest.id().clone();
        detached(&component, async move {
            let _alone = permits(&self.places, self.guest.config().concurrency()).await;
            self.shut_all_down().await
        })
        .await
    }

    /// Shuts all instances down, of which none is in a call. The error is the first of them.
    async fn shut_all_down(&self) -> Result<(), WasmError> {
        let mut outcome = Ok(());
        while let Ok(Some(instance)) = self.take() {
            outcome = outcome.and(self.shut_down(instance).await);
        }
        outcome
    }

    /// Instantiates and, for a component that takes messages, initializes, for a message of so
    /// many hops.
    async fn start(&self, hops: u32) -> Result<Box<Instance>, WasmError> {
        let mut instance = Box::new(Instance::new(&self.guest));
        instance.guest.calls.due_to(hops);
        let Some(lifecycle) = self.guest.lifecycle else {
            return Ok(instance);
        };
        self.enter("instantiate", &mut instance, |instance| {
            Box::pin(instance.instantiate(lifecycle))
        })
        .await?;
        let initialized = self.enter("initialize", &mut instance, |instance| {
            Box::pin(instance.initialize(lifecycle))
        });
        match initialized.await? {
            Ok(()) => Ok(instance),
            Err(error) => Err(WasmError::InitializationFailed {
                component: self.guest.id().clone(),
                error,
            }),
        }
    }

    /// A component that takes no messages has nothing to shut down.
    async fn shut_down(&self, mut instance: Box<Instance>) -> Result<(), WasmError> {
        let Some(lifecycle) = self.guest.lifecycle else {
            return Ok(());
        };
        let shut_down = self.enter("shutdown", &mut instance, |instance| {
            Box::pin(instance.shutdown(lifecycle))
        });
        shut_down.await?.map_err(|error| WasmError::ShutdownFailed {
            component: self.guest.id().clone(),
            error,
        })
    }

    /// Runs an export under the limits.
    async fn enter<R, F>(
        &self,
        export: &'static str,
        instance: &mut Instance,
        run: F,
    ) -> Result<R, WasmError>
    where
        F: FnOnce(&mut Instance) -> Running<'_, R>,
    {
        let deadline = instance.begin_call();
        let outcome = bounded(deadline, run(instance)).await;
        self.ended(export, instance, outcome)
    }

    fn ended<R>(
        &self,
        export: &'static str,
        instance: &mut Instance,
        outcome: Run<R>,
    ) -> Result<R, WasmError> {
        let (fuel_consumed, denied) = instance.end_call();
        let mut usage = lock(&self.guest.usage);
        usage.last_call_fuel = fuel_consumed;
        usage.total_fuel = usage.total_fuel.saturating_add(fuel_consumed);
        let stop = match outcome {
            Ok(result) => return Ok(result),
            Err(stop) => stop,
        };
        match stop {
            Stop::Deadline => usage.timeouts += 1,
            Stop::OutOfFuel | Stop::Trap(_) => usage.traps += 1,
        }
        drop(usage);
        Err(self.error(export, stop, fuel_consumed, denied))
    }

    fn error(
        &self,
        export: &'static str,
        stop: Stop,
        fuel_consumed: u64,
        denied: Option<u64>,
    ) -> WasmError {
        let limits = &self.guest.config().limits;
        let component = self.guest.id().clone();
        let (export, frames) = (export.into(), Box::default());
        let (resource, limit, requested) = match stop {
            Stop::Deadline => {
                return WasmError::Timeout {
                    component,
                    export,
                    limit: limits.timeout(),
                    fuel_consumed,
                    frames,
                };
            }
            Stop::Trap(trap) if denied.is_none() || !may_follow_denial(&trap) => {
                return WasmError::Trapped {
                    component,
                    export,
                    trap,
                    frames,
                    fuel_consumed,
                    source: None,
                    last_words: None,
                };
            }
            Stop::Trap(_) => (Resource::Memory, limits.memory_bytes(), denied),
            Stop::OutOfFuel => (Resource::Fuel, limits.fuel().unwrap_or(u64::MAX), None),
        };
        WasmError::ResourceLimitExceeded {
            component,
            export,
            resource,
            limit,
            requested,
            charged_ahead: false,
            fuel_consumed,
            frames,
            source: None,
        }
    }

    /// An instance that is at home no more; `None` if one is to be made.
    fn take(&self) -> Result<Option<Box<Instance>>, WasmError> {
        let mut home = lock(&self.home);
        if let Some(instance) = home.idle.pop() {
            return Ok(Some(instance));
        }
        if home.failure.is_none() && self.guest.config().renews_instances() {
            return Ok(None);
        }
        let abandoned = || Arc::new(abandoned(self.guest.id()));
        Err(WasmError::ComponentFailed {
            component: self.guest.id().clone(),
            source: Arc::clone(home.failure.get_or_insert_with(abandoned)),
        })
    }

    fn begin(&self) {
        lock(&self.home).running += 1;
    }

    /// A call or a restart has ended, and the instance that is left of it goes home.
    fn end(&self, instance: Option<Box<Instance>>) {
        let mut home = lock(&self.home);
        home.idle.extend(instance);
        home.running -= 1;
    }

    fn fail(&self, error: &WasmError) {
        lock(&self.home).failure = Some(Arc::new(error.clone()));
    }
}

/// The right to be in a call of a component: one of as many as may run, or all of them.
pub(super) struct Turn {
    slot: Arc<Slot>,
    /// Whether a call or a restart has begun.
    is_running: bool,
    // Given back in this order.
    _places: OwnedSemaphorePermit,
    _turns: OwnedSemaphorePermit,
}

impl Turn {
    pub(super) async fn of(slot: Arc<Slot>) -> Result<Self, WasmError> {
        Self::take(slot, 1).await
    }

    /// All turns, so that nobody else is in a call.
    pub(super) async fn all(slot: Arc<Slot>) -> Result<Self, WasmError> {
        let count = slot.guest.config().concurrency();
        Self::take(slot, count).await
    }

    async fn take(slot: Arc<Slot>, count: u32) -> Result<Self, WasmError> {
        let turns = permits(&slot.turns, count).await;
        let places = match &turns {
            Some(_) => permits(&slot.places, count).await,
            None => None,
        };
        // It may have been unloaded between the two.
        let is_loaded = !slot.turns.is_closed();
        match turns.zip(places) {
            Some((turns, places)) if is_loaded => Ok(Self {
                slot,
                is_running: false,
                _places: places,
                _turns: turns,
            }),
            _ => Err(not_found(slot.guest.calls.handle())),
        }
    }

    pub(super) fn handle(&self) -> &ComponentHandle {
        self.slot.guest.calls.handle()
    }

    /// Of a message, with its hops.
    pub(super) async fn call<R, F>(
        &mut self,
        export: &'static str,
        hops: u32,
        call: F,
    ) -> Result<R, WasmError>
    where
        F: FnOnce(&mut Instance, Lifecycle) -> Running<'_, R>,
    {
        let slot = Arc::clone(&self.slot);
        let taken = slot.take()?;
        self.begin();
        let Some(lifecycle) = slot.guest.lifecycle else {
            self.end(taken);
            return Err(WasmError::ExportNotFound {
                component: slot.guest.id().clone(),
                export: format!("{LIFECYCLE_INTERFACE}#{export}").into(),
            });
        };
        let mut instance = match taken {
            Some(instance) => instance,
            None => slot.start(hops).await.inspect_err(|_| self.end(None))?,
        };
        let is_made_for_it = slot.guest.config().instances == InstancePolicy::PerMessage;
        instance
            .guest
            .calls
            .due_to(if is_made_for_it { hops } else { 0 });
        let entered = slot.enter(export, &mut instance, |instance| call(instance, lifecycle));
        let outcome = entered.await;
        lock(&slot.guest.usage).calls += 1;
        let at_home = match &outcome {
            Ok(_) if is_made_for_it => {
                // Whatever it answers.
                let _ = slot.shut_down(instance).await;
                None
            }
            Ok(_) => Some(instance),
            Err(error) => {
                drop(instance);
                if !slot.guest.config().renews_instances() {
                    slot.fail(error);
                }
                None
            }
        };
        self.end(at_home);
        outcome
    }

    pub(super) async fn restart(&mut self) -> Result<(), WasmError> {
        let slot = Arc::clone(&self.slot);
        self.begin();
        // Whatever they answer.
        let _ = slot.shut_all_down().await;
        match slot.start(0).await {
            Ok(instance) => {
                lock(&slot.guest.usage).restarts += 1;
                lock(&slot.home).failure = None;
                self.end(Some(instance));
                Ok(())
            }
            Err(error) => {
                slot.fail(&error);
                self.end(None);
                Err(error)
            }
        }
    }

    fn begin(&mut self) {
        self.is_running = true;
        self.slot.begin();
    }

    fn end(&mut self, instance: Option<Box<Instance>>) {
        self.is_running = false;
        self.slot.end(instance);
    }
}

/// A call that is dropped midway, as by the shutdown of its runtime, takes its
/// instance with it.
impl Drop for Turn {
    fn drop(&mut self) {
        if self.is_running {
            if !self.slot.guest.config().renews_instances() {
                self.slot.fail(&abandoned(self.slot.guest.id()));
            }
            self.end(None);
        }
    }
}

/// So many at once, in the order in which they are asked for; `None` once it is closed.
async fn permits(of: &Arc<Semaphore>, count: u32) -> Option<OwnedSemaphorePermit> {
    // A task that has done much already must stand in line all the same.
    let permits = unconstrained(Arc::clone(of).acquire_many_owned(count)).await;
    permits.ok()
}

/// Whether a guest may have ended so because it was denied memory: toolchains abort
/// then, or hand the host a pointer to nothing.
fn may_follow_denial(trap: &Trap) -> bool {
    matches!(trap, Trap::Unreachable | Trap::RefusedByHost(_))
}

pub(super) fn not_found(handle: &ComponentHandle) -> WasmError {
    WasmError::ComponentNotFound {
        handle: handle.clone(),
    }
}

/// What is said of a call that nobody can end any more.
fn abandoned(component: &ComponentId) -> WasmError {
    WasmError::Trapped {
        component: component.clone(),
        export: "(unknown)".into(),
        trap: Trap::Other("the async runtime that ran the call was shut down".to_owned()),
        frames: Box::default(),
        fuel_consumed: 0,
        source: None,
        last_words: None,
    }
}

pub(super) fn async_runtime() -> Result<Handle, WasmError> {
    Handle::try_current().map_err(|error| WasmError::Unsupported {
        what: format!("running components outside of a tokio runtime ({error})"),
    })
}

/// Makes a call end whatever becomes of its caller, on the runtime where it began.
pub(super) async fn detached<R: Send + 'static>(
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
