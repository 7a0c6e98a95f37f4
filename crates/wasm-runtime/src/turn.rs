//! One call of a component at a time: where it lives, whose turn it is, and what becomes of
//! it when a call does not come back.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Handle;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::coop::unconstrained;

use wasm_core::{ComponentId, ComponentState, ComponentUsage, Trap, WasmError};

use crate::call::Detached;
use crate::compile::Compiled;
use crate::compile::cache::CacheEntry;
use crate::instance::meters::Meters;
use crate::instance::state::Guest;
use crate::instance::{Instance, MakeData};
use crate::lifecycle;

/// Where a loaded component lives.
pub(crate) struct Slot<T: 'static> {
    pub(crate) guest: Arc<Guest>,
    compiled: Arc<CacheEntry<T>>,
    make_data: MakeData<T>,
    meters: Arc<Meters>,
    unloaded: AtomicBool,
    /// Fair, so that calls take their turns in the order in which they came.
    occupant: Arc<Mutex<Occupant<T>>>,
}

enum Occupant<T: 'static> {
    Ready(Box<Instance<T>>),
    Failed(Arc<WasmError>),
    /// With a call that has not come back.
    Away,
}

impl<T: Send + 'static> Slot<T> {
    /// With an instance that is ready for calls.
    pub(crate) async fn load(
        guest: Guest,
        compiled: Arc<CacheEntry<T>>,
        make_data: MakeData<T>,
    ) -> Result<Self, WasmError> {
        let slot = Self {
            guest: Arc::new(guest),
            compiled,
            make_data,
            meters: Arc::new(Meters::new()),
            unloaded: AtomicBool::new(false),
            occupant: Arc::new(Mutex::new(Occupant::Away)),
        };
        let instance = slot.start().await?;
        *slot.occupant.lock().await = Occupant::Ready(Box::new(instance));
        slot.meters.set_state(ComponentState::Ready);
        Ok(slot)
    }

    async fn start(&self) -> Result<Instance<T>, WasmError> {
        let compiled = self.compiled()?;
        let (pre, bytes) = (&compiled.pre, &compiled.bytes);
        let instance = Instance::new(pre, bytes, &self.guest, &self.meters, &self.make_data);
        let mut instance = instance.await?;
        lifecycle::initialize(&mut instance, compiled.lifecycle.as_ref()).await?;
        Ok(instance)
    }

    async fn shut_down(&self, instance: &mut Instance<T>) -> Result<(), WasmError> {
        lifecycle::shut_down(instance, self.compiled()?.lifecycle.as_ref()).await
    }

    /// The last call of the component: whoever waits for a turn finds it gone.
    pub(crate) async fn unload(self: Arc<Self>) -> Result<(), WasmError> {
        self.unloaded.store(true, Ordering::Release);
        let component = self.guest.id().clone();
        detached(&component, async move {
            let mut occupant = self.occupant.lock().await;
            match self.take(&mut occupant) {
                Ok(mut instance) => self.shut_down(&mut instance).await,
                Err(_) => Ok(()),
            }
        })
        .await
    }

    pub(crate) fn usage(&self) -> Result<ComponentUsage, WasmError> {
        let mut usage = self.meters.usage();
        usage.kept = self.compiled()?.kept;
        Ok(usage)
    }

    pub(crate) fn compiled(&self) -> Result<&Compiled<T>, WasmError> {
        self.compiled
            .get()
            .ok_or_else(|| abandoned(self.guest.id()))
    }

    /// Empties the slot, so that a call that never comes back leaves no store that
    /// must not be entered again.
    fn take(&self, occupant: &mut Occupant<T>) -> Result<Box<Instance<T>>, WasmError> {
        let cause = match mem::replace(occupant, Occupant::Away) {
            Occupant::Ready(instance) => return Ok(instance),
            Occupant::Failed(cause) => cause,
            Occupant::Away => Arc::new(abandoned(self.guest.id())),
        };
        *occupant = Occupant::Failed(Arc::clone(&cause));
        Err(WasmError::ComponentFailed {
            component: self.guest.id().clone(),
            source: cause,
        })
    }

    fn fail(&self, occupant: &mut Occupant<T>, error: &WasmError) {
        *occupant = Occupant::Failed(Arc::new(error.clone().kept()));
        self.meters.memory.set(0);
        self.meters.set_state(ComponentState::Failed);
    }

    pub(crate) fn not_found(&self) -> WasmError {
        WasmError::ComponentNotFound {
            handle: self.guest.handle().clone(),
        }
    }

    pub(crate) fn export_not_found(&self, export: &str) -> WasmError {
        WasmError::ExportNotFound {
            component: self.guest.id().clone(),
            export: export.into(),
        }
    }
}

/// The one call that a component is in.
pub(crate) struct Turn<T: Send + 'static> {
    pub(crate) slot: Arc<Slot<T>>,
    occupant: OwnedMutexGuard<Occupant<T>>,
}

/// A call of an instance, in its turn.
pub(crate) type InstanceCall<'a, R> =
    Pin<Box<dyn Future<Output = Result<R, WasmError>> + Send + 'a>>;

impl<T: Send + 'static> Turn<T> {
    pub(crate) async fn of(slot: Arc<Slot<T>>) -> Result<Self, WasmError> {
        // Without a look at tokio's budget for one poll: a call takes its place at its
        // first poll, and one that need not wait is not sent to another thread.
        let occupant = unconstrained(Arc::clone(&slot.occupant).lock_owned()).await;
        if slot.unloaded.load(Ordering::Acquire) {
            return Err(slot.not_found());
        }
        Ok(Self { slot, occupant })
    }

    pub(crate) async fn call<R, F>(&mut self, call: F) -> Result<R, WasmError>
    where
        F: FnOnce(&mut Instance<T>) -> InstanceCall<'_, R>,
    {
        let Self { slot, occupant } = self;
        let mut instance = slot.take(occupant)?;
        slot.meters.set_state(ComponentState::Busy);
        let outcome = call(&mut instance).await;
        if !is_uncalled(&outcome) {
            slot.meters.count(&slot.meters.calls);
        }
        match &outcome {
            Err(error) if error.fails_instance() => {
                drop(instance);
                slot.fail(occupant, error);
            }
            _ => self.put_back(instance),
        }
        outcome
    }

    pub(crate) async fn restart(&mut self) -> Result<(), WasmError> {
        let Self { slot, occupant } = self;
        slot.meters.set_state(ComponentState::Busy);
        if let Ok(mut instance) = slot.take(occupant)
            && let Err(error) = slot.shut_down(&mut instance).await
        {
            let text = format!("shutdown before a restart failed: {error}");
            if let Some(line) = slot.guest.lines.admit_uncounted(text) {
                tracing::warn!(component = %slot.guest.handle(), "{line}");
            }
        }
        match slot.start().await {
            Ok(instance) => {
                slot.meters.count(&slot.meters.restarts);
                self.put_back(Box::new(instance));
                Ok(())
            }
            Err(error) => {
                slot.fail(occupant, &error);
                Err(error)
            }
        }
    }

    fn put_back(&mut self, instance: Box<Instance<T>>) {
        *self.occupant = Occupant::Ready(instance);
        self.slot.meters.set_state(ComponentState::Ready);
    }
}

/// Whether the guest was not called at all.
fn is_uncalled<R>(outcome: &Result<R, WasmError>) -> bool {
    matches!(
        outcome,
        Err(WasmError::ExportNotFound { .. } | WasmError::InvalidArguments { .. })
    )
}

pub(crate) fn async_runtime() -> Result<Handle, WasmError> {
    Handle::try_current().map_err(|error| WasmError::Unsupported {
        what: format!("running components outside of a tokio runtime ({error})"),
    })
}

/// Makes a call end whatever becomes of its caller, on the runtime where it began.
pub(crate) async fn detached<R: Send + 'static>(
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
impl<T: Send + 'static> Drop for Turn<T> {
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
        last_words: None,
    }
}
