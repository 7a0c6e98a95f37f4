//! Where a component lives, whose turn it is, and what becomes of it when a call does not
//! come back.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use smallvec::SmallVec;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::coop::unconstrained;

use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentId, ComponentState, ComponentUsage, InstancePolicy,
    Trap, WasmError,
};

use crate::call::{BoxedCall, Caller, Detached};
use crate::compile::Compiled;
use crate::compile::cache::CacheEntry;
use crate::error::Failure;
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
    policy: Policy,
    unloaded: AtomicBool,
    home: Mutex<Home<T>>,
}

/// What each call asks of the configuration, beside what else it needs.
#[derive(Debug, Clone, Copy)]
struct Policy {
    /// Whether a call that finds no instance has one made, and an instance that fails harms
    /// its own call only.
    renews: bool,
    /// Whether an instance is there for one call.
    per_call: bool,
}

impl Policy {
    fn of(config: &ComponentConfig) -> Self {
        Self {
            renews: config.renews_instances(),
            per_call: config.instances == InstancePolicy::PerMessage,
        }
    }
}

/// The instances of a component that are in no call, and who may be in one: all that a call
/// needs to know before and after it, behind one lock.
struct Home<T: 'static> {
    /// In boxes, because an instance is moved twice in each call.
    idle: SmallVec<[Box<Instance<T>>; 1]>,
    failure: Option<Arc<WasmError>>,
    /// Turns that nobody has: at first as many as there may be instances.
    free: u32,
    /// Those who came first are first.
    waiting: VecDeque<Waiting<T>>,
    /// Calls and restarts that are running.
    running: u32,
    /// Calls that have ended.
    calls: u64,
}

/// Who waits for so many turns, to whom they are sent.
struct Waiting<T: 'static> {
    count: u32,
    turns: oneshot::Sender<Turn<T>>,
}

impl<T: Send + 'static> Slot<T> {
    /// With an instance that is ready for calls.
    pub(crate) async fn load(
        guest: Guest,
        compiled: Arc<CacheEntry<T>>,
        make_data: MakeData<T>,
    ) -> Result<Self, Failure> {
        let slot = Self {
            home: Mutex::new(Home {
                idle: SmallVec::new(),
                failure: None,
                free: guest.config().concurrency(),
                waiting: VecDeque::new(),
                running: 0,
                calls: 0,
            }),
            policy: Policy::of(guest.config()),
            guest,
            compiled,
            make_data,
            meters: Arc::default(),
            unloaded: AtomicBool::new(false),
        };
        let instance = slot.start(0).await?;
        slot.home().idle.push(instance);
        Ok(slot)
    }

    /// For a message of so many hops.
    async fn start(&self, hops: u32) -> Result<Box<Instance<T>>, Failure> {
        let compiled = self.compiled()?;
        let (pre, bytes, make_data) = (&compiled.pre, &compiled.bytes, &self.make_data);
        let instance = Instance::new(pre, bytes, &self.guest, &self.meters, make_data, hops);
        let mut instance = Box::new(instance.await?);
        lifecycle::initialize(&mut instance, compiled.lifecycle.as_ref()).await?;
        Ok(instance)
    }

    async fn shut_down(&self, instance: &mut Instance<T>) -> Result<(), Failure> {
        lifecycle::shut_down(instance, self.compiled()?.lifecycle.as_ref()).await
    }

    /// The last call of the component: whoever waits for a turn finds it gone.
    pub(crate) async fn unload(self: Arc<Self>) -> Result<(), WasmError> {
        self.unloaded.store(true, Ordering::Release);
        let component = self.guest.id().clone();
        let last = async move {
            let mut turn = Turn::all(self).await?;
            turn.go_home();
            turn.slot.shut_all_down().await
        };
        detached(&component, Box::pin(last)).await
    }

    /// Shuts all instances down of which none is in a call. The error is the first of them.
    async fn shut_all_down(&self) -> Result<(), Failure> {
        let mut outcome = Ok(());
        while let Ok(Some(mut instance)) = self.take() {
            outcome = outcome.and(self.shut_down(&mut instance).await);
        }
        outcome
    }
}

impl<T: 'static> Slot<T> {
    pub(crate) fn usage(&self) -> Result<ComponentUsage, WasmError> {
        let mut usage = {
            let home = self.home();
            let state = match (home.running, &home.failure) {
                (0, None) => ComponentState::Ready,
                (0, Some(_)) => ComponentState::Failed,
                _ => ComponentState::Busy,
            };
            let mut usage = ComponentUsage::new(state);
            usage.calls = home.calls;
            usage
        };
        self.meters.add_to(&mut usage);
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

    /// An instance that is at home no more; `None` if one is to be made.
    fn take(&self) -> Result<Option<Box<Instance<T>>>, WasmError> {
        let mut home = self.home();
        if let Some(instance) = home.idle.pop() {
            return Ok(Some(instance));
        }
        if home.failure.is_none() && self.policy.renews {
            return Ok(None);
        }
        let abandoned = || Arc::new(abandoned(self.guest.id()));
        Err(WasmError::ComponentFailed {
            component: self.guest.id().clone(),
            source: Arc::clone(home.failure.get_or_insert_with(abandoned)),
        })
    }

    fn fail(&self, error: &WasmError) {
        self.home().failure = Some(Arc::new(error.clone().kept()));
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
struct Turn<T: 'static> {
    slot: Arc<Slot<T>>,
    /// How many of the slot's turns these are: one, or all of them; none once they were given
    /// back.
    count: u32,
    /// That was at home when the turn was taken.
    instance: Option<Box<Instance<T>>>,
    /// Whether a call or a restart has begun.
    is_running: bool,
}

impl<T: 'static> Turn<T> {
    /// So many turns, or the place in the queue of who waits for them.
    fn take(slot: Arc<Slot<T>>, count: u32) -> Result<Self, oneshot::Receiver<Self>> {
        let mut home = slot.home();
        if !home.waiting.is_empty() || home.free < count {
            let (turns, turn) = oneshot::channel();
            home.waiting.push_back(Waiting { count, turns });
            return Err(turn);
        }
        home.free -= count;
        let instance = home.idle.pop();
        let is_running = instance.is_some();
        home.running += u32::from(is_running);
        drop(home);
        Ok(Self {
            slot,
            count,
            instance,
            is_running,
        })
    }

    /// All turns, so that nobody else is in a call.
    async fn all(slot: Arc<Slot<T>>) -> Result<Self, Failure> {
        let (component, count) = (slot.guest.id().clone(), slot.guest.config().concurrency());
        match Self::take(slot, count) {
            Ok(turn) => Ok(turn),
            Err(turn) => Self::wait(turn, &component).await,
        }
    }

    async fn wait(turn: oneshot::Receiver<Self>, component: &ComponentId) -> Result<Self, Failure> {
        // Without a look at tokio's budget for one poll: who has waited long enough goes on.
        // Turns are sent as long as the slot is there.
        let turn = unconstrained(turn).await;
        turn.map_err(|_| abandoned(component).into())
    }

    fn is_of_loaded(&self) -> bool {
        !self.slot.unloaded.load(Ordering::Acquire)
    }

    /// Lets the instance go home with which no call was begun.
    fn go_home(&mut self) {
        if let Some(instance) = self.instance.take() {
            let mut home = self.slot.home();
            home.idle.push(instance);
            home.running -= 1;
            self.is_running = false;
        }
    }

    fn begin(&mut self) {
        self.is_running = true;
        self.slot.home().running += 1;
    }

    /// Gives everything back at once.
    fn end(&mut self, instance: Option<Box<Instance<T>>>, is_call: bool) {
        let mut home = self.slot.home();
        home.idle.extend(instance);
        home.running -= 1;
        home.calls += u64::from(is_call);
        self.is_running = false;
        home.free += self.count;
        self.count = 0;
        if !home.waiting.is_empty() {
            drop(home);
            pass_on(&self.slot);
        }
    }
}

impl<T: Send + 'static> Turn<T> {
    async fn call<W: Work<T>>(mut self, work: W) -> Result<W::Output, Failure> {
        if !self.is_of_loaded() {
            return Err(self.slot.not_found().into());
        }
        let hops = work.hops();
        let mut instance = match self.instance.take() {
            Some(instance) => instance,
            None => Box::pin(self.instance(hops)).await?,
        };
        if self.slot.policy.renews {
            let is_made_for_it = self.slot.policy.per_call;
            let calls = &instance.guest().calls;
            calls.due_to(if is_made_for_it { hops } else { 0 });
        }
        let outcome = work.perform(&mut instance).await;
        let slot = &self.slot;
        let at_home = match &outcome {
            Err(error) if error.fails_instance() => {
                drop(instance);
                if !slot.policy.renews {
                    slot.fail(error);
                }
                None
            }
            Ok(output) if W::ends_instance(output) => {
                drop(instance);
                None
            }
            _ if slot.policy.per_call => {
                if let Err(error) = Box::pin(slot.shut_down(&mut instance)).await {
                    slot.warn("shutdown after a call", &error);
                }
                None
            }
            _ => Some(instance),
        };
        self.end(at_home, !is_uncalled(&outcome));
        outcome
    }

    /// The instance that came home meanwhile, or a new one.
    async fn instance(&mut self, hops: u32) -> Result<Box<Instance<T>>, Failure> {
        let taken = self.slot.take()?;
        self.begin();
        match taken {
            Some(instance) => Ok(instance),
            None => {
                let started = self.slot.start(hops).await;
                if started.is_err() {
                    self.end(None, false);
                }
                started
            }
        }
    }

    async fn restart(mut self) -> Result<(), Failure> {
        self.go_home();
        if !self.is_of_loaded() {
            return Err(self.slot.not_found().into());
        }
        self.begin();
        let slot = Arc::clone(&self.slot);
        if let Err(error) = slot.shut_all_down().await {
            slot.warn("shutdown before a restart", &error);
        }
        match slot.start(0).await {
            Ok(instance) => {
                slot.meters.restarted();
                slot.home().failure = None;
                self.end(Some(instance), false);
                Ok(())
            }
            Err(error) => {
                slot.fail(&error);
                self.end(None, false);
                Err(error)
            }
        }
    }
}

/// Gives the turn to the next. A call that is dropped midway, as by the shutdown of its
/// runtime, takes its instance with it.
impl<T: 'static> Drop for Turn<T> {
    fn drop(&mut self) {
        self.go_home();
        if self.is_running {
            if !self.slot.policy.renews {
                self.slot.fail(&abandoned(self.slot.guest.id()));
            }
            self.end(None, false);
        } else if self.count > 0 {
            self.slot.home().free += self.count;
            self.count = 0;
            pass_on(&self.slot);
        }
    }
}

/// Sends turns that are free to those who wait for them, in their order, and to nobody who
/// does so no more.
fn pass_on<T: 'static>(slot: &Arc<Slot<T>>) {
    loop {
        let mut home = slot.home();
        let free = home.free;
        let Some(next) = home.waiting.pop_front_if(|next| next.count <= free) else {
            return;
        };
        home.free -= next.count;
        drop(home);
        let turn = Turn {
            slot: Arc::clone(slot),
            count: next.count,
            instance: None,
            is_running: false,
        };
        if let Err(mut unwanted) = next.turns.send(turn) {
            slot.home().free += unwanted.count;
            unwanted.count = 0;
        }
    }
}

/// Takes the turn of a call, or its place in the queue; what is returned makes the call. One
/// that has to wait is withdrawn if its caller is gone when its turn comes.
pub(crate) fn call<'a, T, W>(
    handle: &'a ComponentHandle,
    slot: Arc<Slot<T>>,
    work: W,
) -> Result<Lasting<'a, W::Output>, WasmError>
where
    T: Send + 'static,
    W: Work<T>,
{
    let runtime = async_runtime()?;
    let caller = Caller::default();
    let call = boxed_call(slot, handle.id(), work, &caller);
    Ok(Lasting {
        call: Detached::new(runtime, call),
        component: handle.id(),
        _caller: caller,
    })
}

/// A call that ends whatever becomes of its caller, on the runtime where it began.
pub(crate) struct Lasting<'a, R> {
    call: Detached<Result<R, Failure>>,
    component: &'a ComponentId,
    /// Gone with this.
    _caller: Caller,
}

impl<R: Send + 'static> Future for Lasting<'_, R> {
    type Output = Result<R, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ended = ready!(Pin::new(&mut self.call).poll(cx));
        Poll::Ready(ended.unwrap_or_else(|_| {
            Err(Box::new(WasmError::ComponentFailed {
                component: self.component.clone(),
                source: Arc::new(abandoned(self.component)),
            }))
        }))
    }
}

/// Everything that a call needs is in one place from here on, and moved no more.
fn boxed_call<T, W>(
    slot: Arc<Slot<T>>,
    component: &ComponentId,
    work: W,
    caller: &Caller,
) -> BoxedCall<Result<W::Output, Failure>>
where
    T: Send + 'static,
    W: Work<T>,
{
    match Turn::take(slot, 1) {
        Ok(turn) => Box::pin(turn.call(work)),
        Err(turn) => {
            let (component, watch) = (component.clone(), caller.watch());
            Box::pin(async move {
                let turn = Turn::wait(turn, &component).await?;
                if watch.is_gone() {
                    return Err(turn.slot.not_found().into());
                }
                turn.call(work).await
            })
        }
    }
}

pub(crate) async fn restart<T: Send + 'static>(slot: Arc<Slot<T>>) -> Result<(), WasmError> {
    let component = slot.guest.id().clone();
    let restart = async move { Turn::all(slot).await?.restart().await };
    detached(&component, Box::pin(restart)).await
}

/// Whether the guest was not called at all.
fn is_uncalled<R>(outcome: &Result<R, Failure>) -> bool {
    outcome.as_ref().is_err_and(|error| {
        matches!(
            **error,
            WasmError::ExportNotFound { .. } | WasmError::InvalidArguments { .. }
        )
    })
}

pub(crate) fn async_runtime() -> Result<Handle, WasmError> {
    Handle::try_current().map_err(|error| WasmError::Unsupported {
        what: format!("running components outside of a tokio runtime ({error})"),
    })
}

/// Makes a call last that nobody withdraws.
async fn detached<R: Send + 'static>(
    component: &ComponentId,
    call: BoxedCall<Result<R, Failure>>,
) -> Result<R, WasmError> {
    let lasting = Lasting {
        call: Detached::new(async_runtime()?, call),
        component,
        _caller: Caller::default(),
    };
    lasting.await.map_err(|error| *error)
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
