//! Where a component lives, whose turn it is, and what becomes of it when a call does not
//! come back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::coop::unconstrained;

use wasm_core::{ComponentId, ComponentUsage, InstancePolicy, Trap, WasmError};

use crate::call::{BoxedCall, Caller, Detached};
use crate::compile::Compiled;
use crate::compile::cache::CacheEntry;
use crate::instance::meters::Meters;
use crate::instance::state::Guest;
use crate::instance::{Instance, MakeData, Work};
use crate::lifecycle;

/// Where a loaded component lives.
pub(crate) struct Slot<T: 'static> {
    pub(crate) guest: Guest,
    compiled: Arc<CacheEntry<T>>,
    make_data: MakeData<T>,
    meters: Arc<Meters>,
    unloaded: AtomicBool,
    /// As many as there may be instances. Fair, so that calls take their turns in the order in
    /// which they came.
    turns: Semaphore,
    home: Mutex<Home<T>>,
}

/// The instances of a component that are not in a call.
struct Home<T: 'static> {
    idle: Vec<Box<Instance<T>>>,
    failure: Option<Arc<WasmError>>,
}

impl<T: Send + 'static> Slot<T> {
    /// With an instance that is ready for calls.
    pub(crate) async fn load(
        guest: Guest,
        compiled: Arc<CacheEntry<T>>,
        make_data: MakeData<T>,
    ) -> Result<Self, WasmError> {
        let slot = Self {
            turns: Semaphore::new(guest.config().concurrency() as usize),
            guest,
            compiled,
            make_data,
            meters: Arc::new(Meters::new()),
            unloaded: AtomicBool::new(false),
            home: Mutex::new(Home {
                idle: Vec::new(),
                failure: None,
            }),
        };
        let instance = slot.start().await?;
        slot.home().idle.push(instance);
        Ok(slot)
    }

    async fn start(&self) -> Result<Box<Instance<T>>, WasmError> {
        let compiled = self.compiled()?;
        let (pre, bytes) = (&compiled.pre, &compiled.bytes);
        let instance = Instance::new(pre, bytes, &self.guest, &self.meters, &self.make_data);
        let mut instance = Box::new(instance.await?);
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
        let last = async move {
            let turn = Turn::wait_for_all(self).await;
            turn.slot.shut_all_down().await
        };
        detached(&component, Box::pin(last)).await
    }

    /// Shuts all instances down of which none is in a call. The error is the first of them.
    async fn shut_all_down(&self) -> Result<(), WasmError> {
        let mut outcome = Ok(());
        while let Ok(Some(mut instance)) = self.take() {
            outcome = outcome.and(self.shut_down(&mut instance).await);
        }
        outcome
    }

    /// Whether a call that finds no instance has one made, and an instance that fails harms
    /// its own call only.
    fn is_renewed(&self) -> bool {
        let config = self.guest.config();
        config.instances == InstancePolicy::PerMessage || config.concurrency() > 1
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

    fn home(&self) -> MutexGuard<'_, Home<T>> {
        self.home.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An instance, which is not at home until it is put back; `None` if one is to be made.
    fn take(&self) -> Result<Option<Box<Instance<T>>>, WasmError> {
        let mut home = self.home();
        if let Some(instance) = home.idle.pop() {
            return Ok(Some(instance));
        }
        if home.failure.is_none() && self.is_renewed() {
            return Ok(None);
        }
        let abandoned = || Arc::new(abandoned(self.guest.id()));
        Err(WasmError::ComponentFailed {
            component: self.guest.id().clone(),
            source: Arc::clone(home.failure.get_or_insert_with(abandoned)),
        })
    }

    fn put_back(&self, instance: Box<Instance<T>>) {
        self.home().idle.push(instance);
    }

    fn fail(&self, error: &WasmError) {
        self.home().failure = Some(Arc::new(error.clone().kept()));
        self.meters.set_failed(true);
    }

    /// Tells the operator what nobody is told by an error.
    fn warn(&self, what: &str, error: &WasmError) {
        let text = format!("{what} failed: {error}");
        if let Some(line) = self.guest.lines.admit_uncounted(text) {
            tracing::warn!(component = %self.guest.handle(), "{line}");
        }
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

/// The right to be in a call of a component: the only one, or one of as many as there may be
/// instances.
struct Turn<T: Send + 'static> {
    slot: Arc<Slot<T>>,
    /// How many of the slot's turns these are: one, or all of them.
    count: u32,
    /// Whether an instance is away, in a call or in the making.
    is_running: bool,
}

impl<T: Send + 'static> Turn<T> {
    /// The turn, if nobody has it or waits for it.
    fn take(slot: &Arc<Slot<T>>) -> Option<Self> {
        let permit = slot.turns.try_acquire().ok()?;
        permit.forget();
        Some(Self::of(Arc::clone(slot), 1))
    }

    async fn wait(slot: Arc<Slot<T>>) -> Self {
        Self::wait_for(slot, 1).await
    }

    /// Nobody else is in a call then.
    async fn wait_for_all(slot: Arc<Slot<T>>) -> Self {
        let all = slot.guest.config().concurrency();
        Self::wait_for(slot, all).await
    }

    async fn wait_for(slot: Arc<Slot<T>>, count: u32) -> Self {
        // Without a look at tokio's budget for one poll: a call takes its place at its
        // first poll. The semaphore is never closed.
        if let Ok(permit) = unconstrained(slot.turns.acquire_many(count)).await {
            permit.forget();
        }
        Self::of(slot, count)
    }

    fn of(slot: Arc<Slot<T>>, count: u32) -> Self {
        Self {
            slot,
            count,
            is_running: false,
        }
    }

    fn is_of_loaded(&self) -> bool {
        !self.slot.unloaded.load(Ordering::Acquire)
    }

    async fn call<W: Work<T>>(mut self, work: W) -> Result<W::Output, WasmError> {
        if !self.is_of_loaded() {
            return Err(self.slot.not_found());
        }
        let taken = self.slot.take()?;
        self.begin();
        let mut instance = match taken {
            Some(instance) => instance,
            None => match Box::pin(self.slot.start()).await {
                Ok(instance) => instance,
                Err(error) => {
                    self.end();
                    return Err(error);
                }
            },
        };
        let outcome = work.perform(&mut instance).await;
        let slot = &self.slot;
        if !is_uncalled(&outcome) {
            slot.meters.count(&slot.meters.calls);
        }
        match &outcome {
            Err(error) if error.fails_instance() => {
                drop(instance);
                if !slot.is_renewed() {
                    slot.fail(error);
                }
            }
            _ if slot.guest.config().instances == InstancePolicy::PerMessage => {
                if let Err(error) = Box::pin(slot.shut_down(&mut instance)).await {
                    slot.warn("shutdown after a call", &error);
                }
            }
            _ => slot.put_back(instance),
        }
        self.end();
        outcome
    }

    async fn restart(mut self) -> Result<(), WasmError> {
        if !self.is_of_loaded() {
            return Err(self.slot.not_found());
        }
        self.begin();
        let slot = Arc::clone(&self.slot);
        if let Err(error) = slot.shut_all_down().await {
            slot.warn("shutdown before a restart", &error);
        }
        let started = slot.start().await;
        let outcome = match started {
            Ok(instance) => {
                slot.meters.count(&slot.meters.restarts);
                slot.put_back(instance);
                slot.home().failure = None;
                slot.meters.set_failed(false);
                Ok(())
            }
            Err(error) => {
                slot.fail(&error);
                Err(error)
            }
        };
        self.end();
        outcome
    }

    fn begin(&mut self) {
        self.is_running = true;
        self.slot.meters.begin();
    }

    fn end(&mut self) {
        self.is_running = false;
        self.slot.meters.end();
    }
}

/// Gives the turn to the next. A call that is dropped midway, as by the shutdown of its
/// runtime, takes its instance with it.
impl<T: Send + 'static> Drop for Turn<T> {
    fn drop(&mut self) {
        if self.is_running {
            if !self.slot.is_renewed() {
                self.slot.fail(&abandoned(self.slot.guest.id()));
            }
            self.end();
        }
        self.slot.turns.add_permits(self.count as usize);
    }
}

/// Makes a call in its turn. One that has to wait for it is withdrawn if its caller is gone
/// by then.
pub(crate) async fn call<T, W>(slot: Arc<Slot<T>>, work: W) -> Result<W::Output, WasmError>
where
    T: Send + 'static,
    W: Work<T>,
{
    let component = slot.guest.id().clone();
    let caller = Caller::default();
    detached(&component, boxed_call(slot, work, &caller)).await
}

/// Everything that a call needs is in one place from here on, and moved no more.
fn boxed_call<T, W>(
    slot: Arc<Slot<T>>,
    work: W,
    caller: &Caller,
) -> BoxedCall<Result<W::Output, WasmError>>
where
    T: Send + 'static,
    W: Work<T>,
{
    if let Some(turn) = Turn::take(&slot) {
        return Box::pin(turn.call(work));
    }
    let watch = caller.watch();
    Box::pin(async move {
        let turn = Turn::wait(slot).await;
        if watch.is_gone() {
            return Err(turn.slot.not_found());
        }
        turn.call(work).await
    })
}

pub(crate) async fn restart<T: Send + 'static>(slot: Arc<Slot<T>>) -> Result<(), WasmError> {
    let component = slot.guest.id().clone();
    let restart = async move { Turn::wait_for_all(slot).await.restart().await };
    detached(&component, Box::pin(restart)).await
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
async fn detached<R: Send + 'static>(
    component: &ComponentId,
    call: BoxedCall<Result<R, WasmError>>,
) -> Result<R, WasmError> {
    let ended = Detached::new(async_runtime()?, call).await;
    ended.unwrap_or_else(|_| {
        Err(WasmError::ComponentFailed {
            component: component.clone(),
            source: Arc::new(abandoned(component)),
        })
    })
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
