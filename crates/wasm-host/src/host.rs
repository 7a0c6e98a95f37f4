use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, timeout, timeout_at};

use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentId, ComponentLoader, ComponentMessage, HealthStatus,
    HostServices, MessagePayload, MessagingError, Permissions, RuntimeEngine, StartPolicy,
    StorageError, Supervision, WasmError,
};

use crate::component::Component;
use crate::component::budget::Budget;
use crate::component::dormant::Dormant;
use crate::component::orders::{Command, Leaving};
use crate::component::poll::now_or_never;
use crate::component::recipe::{Recipe, Recipes};
use crate::component::registry::{Registry, Roused, There};
use crate::component::resident::{Assignment, Resident};
use crate::component::sleepers::Sleepers;
use crate::component::status::{ComponentStatus, Phase, summed};
use crate::component::task::{ROOM_PATIENCE, Shared, Task};
use crate::error::HostError;
use crate::post::answer::RequestError;
use crate::post::arrival::{Arrival, NotTaken};
use crate::post::call::{Call, PendingCall};
use crate::post::mailbox::Closed;
use crate::post::office::Office;
use crate::post::router::Router;
use crate::post::timers::{Timers, timers_owner};
use crate::watch::dead_letter::{DeadLetter, DeadLetterCause};
use crate::watch::event::Event;
use crate::watch::events::Events;
use crate::watch::metrics;

/// How long a host that stops goes on delivering what waits; a call that has begun by
/// then has its own time besides.
const GRACE: Duration = Duration::from_secs(1);

/// Components that talk, remember and recover.
///
/// Made by [`HostBuilder`](crate::HostBuilder). Clones are the same host; when the last
/// one is dropped without [`stop`](Self::stop), its tasks end, and its components go
/// with the engine, without their `shutdown`.
///
/// Methods that change a component take effect between two messages. Dropping their
/// futures does not stop what they began; what waits for its turn is not begun then.
pub struct Host<E: RuntimeEngine + ?Sized> {
    inner: Arc<Inner<E>>,
}

struct Inner<E: RuntimeEngine + ?Sized> {
    engine: Arc<E>,
    office: Arc<Office>,
    registry: Arc<Registry>,
    router: Arc<Router>,
    services: HostServices,
    loader: Option<Arc<dyn ComponentLoader>>,
    budget: Arc<Budget>,
    sleepers: Arc<Sleepers>,
    recipes: Recipes,
    timers: Arc<Timers>,
    /// Delivers timers that are due.
    clerk: JoinHandle<()>,
    /// Runs everything of the host, whoever asks for it.
    runtime: Handle,
}

/// What comes of a load that has begun.
enum Loading {
    Done,
    UnderWay(oneshot::Receiver<Result<Option<ComponentHandle>, HostError>>),
}

/// What came of each of several components, still to come: see [`Host::load_all`].
pub type LoadingAll<'a> =
    Pin<Box<dyn Future<Output = Vec<Result<Option<ComponentHandle>, HostError>>> + Send + 'a>>;

impl<E: RuntimeEngine + ?Sized> Clone for Host<E> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<E: RuntimeEngine + ?Sized> Drop for Inner<E> {
    fn drop(&mut self) {
        self.clerk.abort();
        self.registry.stop();
        self.registry.close();
        for resident in self.registry.residents() {
            // One that is gone has nothing to abandon.
            let _ = resident.leave(Leaving::Abandoned);
        }
    }
}

impl<E: RuntimeEngine + ?Sized + 'static> Host<E> {
    pub(crate) fn start(
        engine: Arc<E>,
        router: Arc<Router>,
        timers: Arc<Timers>,
        services: HostServices,
        loader: Option<Arc<dyn ComponentLoader>>,
    ) -> Self {
        let office = Arc::clone(&router.office);
        let runtime = Handle::current();
        let clerk = {
            let router = Arc::clone(&router);
            let deliver = move |message, ticket| router.send_from_timer(message, ticket);
            runtime.spawn(Arc::clone(&timers).run(deliver))
        };
        let inner = Arc::new(Inner {
            engine,
            registry: Arc::clone(&router.registry),
            router,
            services,
            loader,
            budget: Budget::new(&office.limits),
            office,
            sleepers: Arc::new(Sleepers::new()),
            recipes: Recipes::default(),
            timers,
            clerk,
            runtime,
        });
        // The engine holds the router, which holds the registry: it must not hold the host.
        let host = Arc::downgrade(&inner);
        inner
            .registry
            .wake_with(move |assignment| match host.upgrade() {
                Some(inner) => drop(inner.runtime.spawn(inner.task(assignment).run())),
                None => abandon(&assignment.resident),
            });
        Self { inner }
    }

    /// The engine that runs the components.
    pub fn engine(&self) -> &Arc<E> {
        &self.inner.engine
    }

    /// What the engine calls on behalf of components.
    pub fn services(&self) -> &HostServices {
        &self.inner.services
    }

    /// As whom [`send`](Self::send) and [`request`](Self::request) send.
    pub fn program_id(&self) -> &ComponentId {
        &self.inner.office.program
    }

    /// Loads a component. From the first poll on it can be sent messages, which wait
    /// until it is initialized. One that starts [on a message](StartPolicy::OnMessage) is
    /// prepared and gets no instance yet.
    ///
    /// Returned is the instance, which is another one once the component has slept.
    ///
    /// # Errors
    /// [`HostError::AlreadyLoaded`], [`HostError::Reserved`], [`HostError::Budget`],
    /// [`HostError::Stopped`]; [`HostError::Engine`] with what loading ended in, and
    /// nothing is left behind then; [`HostError::Abandoned`].
    pub async fn load(&self, component: Component) -> Result<Option<ComponentHandle>, HostError> {
        let id = component.id.clone();
        self.begin_load(component)?.end(id).await
    }

    /// Loads components side by side, each of which can be sent messages by the others
    /// from the start; what came of each, in this order.
    ///
    /// What is returned keeps nothing of an iterator that borrows.
    pub fn load_all(&self, components: impl IntoIterator<Item = Component>) -> LoadingAll<'_> {
        let components: Vec<_> = components.into_iter().collect();
        Box::pin(async move {
            let mut begun = Vec::with_capacity(components.len());
            for component in components {
                begun.push((component.id.clone(), self.begin_load(component)));
                // Whoever follows the events in the same task has to keep up.
                consume_budget().await;
            }
            let mut loaded = Vec::with_capacity(begun.len());
            for (id, load) in begun {
                loaded.push(match load {
                    Ok(load) => load.end(id).await,
                    Err(error) => Err(error),
                });
            }
            loaded
        })
    }

    /// Loads the component that the host's loader has under this id.
    ///
    /// # Errors
    /// As [`load`](Self::load); [`HostError::NoLoader`].
    pub async fn load_by_id(
        &self,
        id: ComponentId,
        config: ComponentConfig,
        supervision: Supervision,
    ) -> Result<Option<ComponentHandle>, HostError> {
        let Some(loader) = &self.inner.loader else {
            return Err(HostError::NoLoader(id));
        };
        let bytes: Bytes = loader.load_bytes(&id).await?;
        loader.validate(&id, &bytes)?;
        self.load(Component::new(id, bytes, config).with_supervision(supervision))
            .await
    }

    /// What is returned only waits for the loading, which goes on without it.
    fn begin_load(&self, component: Component) -> Result<Loading, HostError> {
        let inner = &self.inner;
        if component.id == inner.office.program || component.id == timers_owner() {
            return Err(HostError::Reserved(component.id));
        }
        if inner.registry.contains(&component.id) {
            return Err(HostError::AlreadyLoaded(component.id));
        }
        let (id, recipe) = inner.recipes.share(component);
        let memory_bytes = recipe.memory_bytes();
        let of_budget = |source| HostError::Budget {
            component: id.clone(),
            source,
        };
        if recipe.supervision.start == StartPolicy::OnMessage {
            // Whoever waited for what never comes would keep others from being awake.
            inner.budget.has_so_much(memory_bytes).map_err(of_budget)?;
            return self.begin_asleep(id, &recipe);
        }
        let reservation = inner.budget.reserve(memory_bytes).map_err(of_budget)?;
        let assignment = inner.registry.admit(Dormant::new(id, recipe))?;
        let (loaded, outcome) = oneshot::channel();
        let task = inner.task(assignment);
        inner.runtime.spawn(task.load(reservation, loaded));
        Ok(Loading::UnderWay(outcome))
    }

    /// Takes in a component without an instance, once its recipe is prepared.
    fn begin_asleep(&self, id: ComponentId, recipe: &Arc<Recipe>) -> Result<Loading, HostError> {
        let inner = &self.inner;
        let dormant = Dormant::new(id.clone(), Arc::clone(recipe));
        inner.registry.admit_asleep(dormant)?;
        if recipe.is_prepared() {
            inner.office.tell(|| Event::Loaded { component: id });
            return Ok(Loading::Done);
        }
        let (loaded, outcome) = oneshot::channel();
        let (host, recipe) = (self.clone(), Arc::clone(recipe));
        inner.runtime.spawn(async move {
            // Whoever loaded it may be gone; there is nobody else to tell.
            let _ = loaded.send(host.prepare_asleep(id, &recipe).await);
        });
        Ok(Loading::UnderWay(outcome))
    }

    async fn prepare_asleep(
        &self,
        id: ComponentId,
        recipe: &Recipe,
    ) -> Result<Option<ComponentHandle>, HostError> {
        let inner = &self.inner;
        let prepared = recipe.prepare(&*inner.engine, &id, &inner.budget).await;
        match prepared {
            Ok(()) => {
                inner.office.tell(|| Event::Loaded { component: id });
                Ok(None)
            }
            Err(error) => {
                if let HostError::Engine(error) = &error {
                    let error = Arc::clone(error);
                    let component = id.clone();
                    inner.office.tell(|| Event::NotLoaded { component, error });
                }
                if let Some(Err(_)) = inner.registry.remove_asleep(&id) {
                    // A message has woken it meanwhile; it may be gone, too.
                    let _ = self.unload(&id).await;
                }
                Err(error)
            }
        }
    }

    /// Lets a component end its call, turns what waits for it into dead letters, calls
    /// `shutdown` and frees everything.
    ///
    /// # Errors
    /// [`HostError::NotLoaded`]; [`HostError::Engine`] with what `shutdown` ended in,
    /// and the component is unloaded all the same.
    pub async fn unload(&self, id: &ComponentId) -> Result<(), HostError> {
        let not_loaded = || HostError::NotLoaded(id.clone());
        loop {
            let there = self.inner.registry.remove_asleep(id);
            let Err(resident) = there.ok_or_else(not_loaded)? else {
                self.inner.tell_unloaded(id.clone());
                return Ok(());
            };
            let (reply, left) = oneshot::channel();
            if resident.leave(Leaving::Unloaded(reply))
                && let Ok(outcome) = left.await
            {
                return outcome;
            }
            // Its task has ended, perhaps because it sleeps.
            if !resident.mailbox.is_asleep() {
                return Err(not_loaded());
            }
        }
    }

    /// Replaces a component by another of its id while messages arrive. The old one goes
    /// on while the engine prepares the new one, then ends its call; the new one is
    /// loaded and initialized; the old one's `shutdown` is called; what waits is
    /// delivered to the new one, in order. Requests that the old one made are not
    /// answered to the new one, which does not know them. Where the old one sleeps and the new
    /// one [starts on a message](wasm_core::StartPolicy::OnMessage), an instance of the new one
    /// is made to know that it starts, and ended again unless a message waits for it.
    ///
    /// The new one has permissions of its own; if they are
    /// [set](Self::set_permissions) while the swap is under way, those that were set.
    ///
    /// # Errors
    /// [`HostError::NotLoaded`], [`HostError::Stopped`]; [`HostError::NoRoomForBoth`], because
    /// for a while there are both unless the new one's
    /// [`Supervision::swap`](wasm_core::Supervision::swap) lets the old one end first, and
    /// [`HostError::Budget`] if even that is not enough, or if there is no old one, as of a
    /// component that sleeps, and no room for the new one either after as long as a message waits
    /// for it; [`HostError::Engine`] with what preparing or loading ended in;
    /// [`HostError::Superseded`] when another swap of this component is asked for while this one is
    /// prepared. The old one goes on as it was then.
    pub async fn swap(&self, component: Component) -> Result<(), HostError> {
        let inner = &self.inner;
        let (id, recipe) = inner.recipes.share(component);
        let patience = Instant::now() + ROOM_PATIENCE;
        loop {
            let roused = self.changeable(&id)?;
            let resident = &roused.resident;
            let set = resident.permissions_set();
            let (budget, engine) = (&inner.budget, Arc::clone(&inner.engine));
            let begun = resident
                .swaps
                .begin(&id, &recipe, set, budget, engine, &inner.runtime);
            let resident = Arc::clone(resident);
            drop(roused);
            let swapped = match begun {
                Ok(swapped) => {
                    resident.mailbox.ring();
                    swapped.await.map_err(|_| self.gone(&resident))
                }
                // There is none that it would be beside: it waits as a message for it would.
                Err(HostError::NoRoomForBoth { component, source }) if !resident.is_there() => {
                    if self.waits_for_room(&recipe, patience).await {
                        continue;
                    }
                    Err(HostError::Budget { component, source })
                }
                Err(error) => Err(error),
            };
            match swapped {
                Err(HostError::NotLoaded(_)) if resident.mailbox.is_asleep() => {}
                Err(error) => return Err(error),
                Ok(swapped) => return swapped,
            }
        }
    }

    /// Has those that may sleep make room for an instance; whether there was some in time.
    async fn waits_for_room(&self, recipe: &Recipe, until: Instant) -> bool {
        let Inner {
            budget, sleepers, ..
        } = &*self.inner;
        let memory_bytes = recipe.memory_bytes();
        let room = budget.room(memory_bytes, || sleepers.make_room());
        budget.has_so_much(memory_bytes).is_ok() && timeout_at(until, room).await.is_ok()
    }

    /// Gives a component a fresh instance, in quarantine, asleep or neither, and forgets how
    /// often it was restarted.
    ///
    /// # Errors
    /// [`HostError::NotLoaded`]; [`HostError::Engine`] with what the restart ended in.
    pub async fn restart(&self, id: &ComponentId) -> Result<(), HostError> {
        self.command(id, Command::Restart).await?
    }

    /// Asks a component how it is, between two messages; one that sleeps is woken. What it
    /// says is shown to other components until it is asked again or has another instance.
    ///
    /// # Errors
    /// [`HostError::NotLoaded`]; [`HostError::Engine`] with what the call ended in.
    pub async fn health(&self, id: &ComponentId) -> Result<HealthStatus, HostError> {
        self.command(id, Command::Health).await?
    }

    /// Replaces what a component may do, from its next host call on: what it was loaded with
    /// is taken back or given back. To grant more, [`swap`](Self::swap) it. The quota of
    /// its storage and what it may do through WASI stay as they were loaded.
    ///
    /// # Errors
    /// [`HostError::NotLoaded`]; [`HostError::Widened`] for permissions that grant more than
    /// it was loaded with, and nothing is changed then.
    pub fn set_permissions(
        &self,
        id: &ComponentId,
        permissions: Permissions,
    ) -> Result<(), HostError> {
        let set = self
            .inner
            .registry
            .change(id, |dormant| dormant.set_permissions(permissions.clone()));
        match set.ok_or_else(|| HostError::NotLoaded(id.clone()))? {
            Ok(set) => set?,
            Err(resident) => resident.set_permissions(permissions)?,
        }
        let component = id.clone();
        self.inner
            .office
            .tell(|| Event::PermissionsChanged { component });
        Ok(())
    }

    /// What a component may do now: what it was loaded with, less what was taken back;
    /// `None` when it is not loaded. A validator of the embedder may deny more.
    pub fn permissions(&self, id: &ComponentId) -> Option<Permissions> {
        let permissions = self.inner.registry.with(id, |there| match there {
            There::Awake(resident) => resident.permissions(),
            There::Asleep(dormant) => dormant.permissions(),
        })?;
        Some(Permissions::clone(&permissions))
    }

    /// What a component was loaded with, up to which its
    /// [permissions](Self::set_permissions) can be given back; `None` when it is not loaded.
    pub fn granted(&self, id: &ComponentId) -> Option<Permissions> {
        let granted = self.inner.registry.with(id, |there| match there {
            There::Awake(resident) => resident.loaded_with(),
            There::Asleep(dormant) => Arc::clone(&dormant.recipe.permissions),
        })?;
        Some(Permissions::clone(&granted))
    }

    fn changeable(&self, id: &ComponentId) -> Result<Roused<'_>, HostError> {
        if self.inner.office.is_stopping() && self.inner.registry.contains(id) {
            return Err(HostError::Stopped);
        }
        let roused = self.inner.registry.rouse(id);
        roused.ok_or_else(|| HostError::NotLoaded(id.clone()))
    }

    /// Tells the task of a component, which is woken for it.
    async fn command<T>(
        &self,
        id: &ComponentId,
        command: fn(oneshot::Sender<T>) -> Command,
    ) -> Result<T, HostError> {
        loop {
            let (reply, answer) = oneshot::channel();
            let roused = self.changeable(id)?;
            let resident = Arc::clone(&roused.resident);
            let mut sending = pin!(resident.command(command(reply)));
            let is_sent = now_or_never(sending.as_mut()).await;
            // One that slept begins now, also if there is no room for the command yet: others,
            // who found it awake, may have taken that.
            drop(roused);
            let is_sent = match is_sent {
                Some(is_sent) => is_sent,
                None => sending.await,
            };
            if is_sent && let Ok(outcome) = answer.await {
                return Ok(outcome);
            }
            if !resident.mailbox.is_asleep() {
                return Err(self.gone(&resident));
            }
        }
    }

    /// What is told of a component whose task has ended.
    fn gone(&self, resident: &Resident) -> HostError {
        match self.inner.office.is_stopping() {
            true => HostError::Stopped,
            false => HostError::NotLoaded(resident.id.clone()),
        }
    }

    /// Sends a message on behalf of the program to a component of this host, also where this is
    /// one of several. Permissions do not apply to it.
    ///
    /// # Errors
    /// As [`MessageRouter::send`](wasm_core::MessageRouter::send).
    pub fn send(
        &self,
        to: &ComponentId,
        payload: impl Into<MessagePayload>,
    ) -> Result<(), MessagingError> {
        let message = self.message(to, payload);
        self.inner.router.send_from_program(message)
    }

    /// As [`send`](Self::send), with what else the envelope says, such as a message type and
    /// a correlation id by which it is found in logs. Its sender and its time are set here.
    ///
    /// # Errors
    /// As those of [`send`](Self::send).
    pub fn send_message(&self, message: ComponentMessage) -> Result<(), MessagingError> {
        self.inner.router.send_from_program(self.stamped(message))
    }

    /// As [`send_message`](Self::send_message), to wherever the recipient is: a host that has a
    /// [carrier](crate::HostBuilder::with_carrier) hands it to that.
    ///
    /// # Errors
    /// As those of [`send`](Self::send), and those of the carrier.
    pub async fn dispatch(&self, message: ComponentMessage) -> Result<(), MessagingError> {
        let message = self.stamped(message);
        self.inner.router.dispatch_from_program(message).await
    }

    /// Takes in a message from another host, as [`send`](Self::send) does those of the
    /// program: it is handled, becomes a dead letter, or is put back.
    ///
    /// # Errors
    /// [`NotTaken`]; it is put back then, and its reply is forgotten.
    pub fn post(&self, arrival: Arrival) -> Result<(), NotTaken> {
        self.inner.router.take_in(arrival)
    }

    /// Makes a message from another host a dead letter that its recipient is not given, such as
    /// one that another process was handling when it ended. Whoever waits for an answer is told.
    pub fn bury(&self, arrival: Arrival, cause: DeadLetterCause) {
        self.inner.router.bury(arrival, cause);
    }

    /// Reads from the store the timers of components that `come` to this host from another,
    /// before they are loaded. Those that were being handled there are dead letters.
    ///
    /// # Errors
    /// Those of the store; then some may be read, and it is to be tried again.
    pub async fn adopt_timers(
        &self,
        come: impl Fn(&ComponentId) -> bool + Send + Sync,
    ) -> Result<(), StorageError> {
        self.inner.timers.adopt(&come).await
    }

    /// Forgets the timers of components that have left this host for another, and leaves them
    /// in the store.
    pub fn release_timers(&self, leaves: impl Fn(&ComponentId) -> bool) {
        self.inner.timers.release(&leaves);
    }

    /// The same for many, which share the payload; on an error the others are sent all
    /// the same.
    ///
    /// # Errors
    /// The first error of any recipient.
    pub fn broadcast(
        &self,
        to: &[ComponentId],
        payload: impl Into<MessagePayload>,
    ) -> Result<(), MessagingError> {
        let payload = payload.into();
        let mut outcome = Ok(());
        for id in to {
            outcome = outcome.and(self.send(id, payload.clone()));
        }
        outcome
    }

    /// Sends a message and waits for the answer, at most for `timeout` (wall clock, up
    /// to one day). Dropping the future gives the request up.
    ///
    /// # Errors
    /// [`RequestError::Messaging`] when it is not accepted, gets lost or is not answered
    /// in time; [`RequestError::Component`] when the component answers with an error or
    /// fails over it.
    pub async fn request(
        &self,
        to: &ComponentId,
        payload: impl Into<MessagePayload>,
        timeout: Duration,
    ) -> Result<Option<MessagePayload>, RequestError> {
        let message = self.message(to, payload);
        let router = &self.inner.router;
        let asking = router.request_from_program(message, timeout).await?;
        asking.answered().await
    }

    /// As [`request`](Self::request), with what else the envelope says; see
    /// [`send_message`](Self::send_message). A correlation id that is set is kept, and one
    /// that nobody can guess is made otherwise. A [carrier](crate::HostBuilder::with_carrier) may
    /// refuse an id under which another request waits.
    ///
    /// # Errors
    /// As those of [`request`](Self::request).
    pub async fn request_message(
        &self,
        message: ComponentMessage,
        timeout: Duration,
    ) -> Result<Option<MessagePayload>, RequestError> {
        let message = self.stamped(message);
        let router = &self.inner.router;
        let asking = router.request_from_program(message, timeout).await?;
        asking.answered().await
    }

    /// Calls exports of a component, whatever its world: `call` is given the engine and the
    /// handle of the instance when its turn among the component's messages has come, and what
    /// it ends with is counted, told of and supervised like the handling of a message. `name`
    /// is what events and dead letters call it. Permissions do not apply to it.
    ///
    /// A panic of `call` harms nobody, and is an error to whoever called. If the component
    /// has failed by the end of it, it is restarted or not as after a message.
    ///
    /// It waits as long as the messages before it take. As long as `call` has not ended, the
    /// component handles nothing else, and unloading, replacing and restarting it and
    /// [`stop`](Self::stop) wait as they do for a message: what `call` waits for besides the
    /// engine, such as another call of the same component, is its own affair and without a
    /// limit. Dropping the future withdraws a call that has not begun, and ends `call` at its
    /// next wait; a call of the engine that it has begun ends as the engine's calls do.
    ///
    /// ```ignore
    /// let price = host
    ///     .call(&id, "price", |engine, shop| async move {
    ///         engine.call(&shop, "price", price_of_tea).await
    ///     })
    ///     .await?;
    /// ```
    ///
    /// # Errors
    /// [`RequestError::Messaging`] when it is not accepted, as [`send`](Self::send) tells, or
    /// the component is gone before its turn, or `call` panics; [`RequestError::Component`] with what `call`
    /// ended in.
    pub async fn call<F, R>(
        &self,
        to: &ComponentId,
        name: &str,
        call: impl FnOnce(Arc<E>, ComponentHandle) -> F + Send + 'static,
    ) -> Result<R, RequestError>
    where
        F: Future<Output = Result<R, WasmError>> + Send + 'static,
        R: Send + 'static,
    {
        self.submit_call(to, name, call)?.ended().await
    }

    /// Hands a [call](Self::call) in and does not wait for it. Dropping what is returned
    /// withdraws the call, unless it is [released](PendingCall::release).
    ///
    /// # Errors
    /// It is not accepted, as [`send`](Self::send) tells.
    pub fn submit_call<F, R>(
        &self,
        to: &ComponentId,
        name: &str,
        call: impl FnOnce(Arc<E>, ComponentHandle) -> F + Send + 'static,
    ) -> Result<PendingCall<R>, RequestError>
    where
        F: Future<Output = Result<R, WasmError>> + Send + 'static,
        R: Send + 'static,
    {
        let message = self.message(to, "").with_message_type(name);
        let engine = Arc::clone(&self.inner.engine);
        let (call, pending) = Call::new(move |handle| call(engine, handle));
        self.inner.router.call_from_program(message, call)?;
        Ok(pending)
    }

    fn message(&self, to: &ComponentId, payload: impl Into<MessagePayload>) -> ComponentMessage {
        let office = &self.inner.office;
        ComponentMessage::new(office.program.clone(), to.clone(), payload)
            .with_timestamp(office.now())
    }

    /// From the program, now.
    fn stamped(&self, mut message: ComponentMessage) -> ComponentMessage {
        let office = &self.inner.office;
        message.sender = office.program.clone();
        message.with_timestamp(office.now())
    }

    /// How many instances there are, or room is kept for; one that is being swapped counts
    /// twice.
    pub fn instances(&self) -> u64 {
        self.inner.budget.components()
    }

    /// Every loaded component, in the order of their ids.
    pub async fn status(&self) -> Vec<ComponentStatus> {
        let mut status = Vec::new();
        for id in self.inner.registry.list(None, usize::MAX) {
            status.extend(self.component(&id).await);
        }
        status
    }

    /// The ids of at most `limit` components, in order, that come after this one.
    pub fn ids(&self, after: Option<&ComponentId>, limit: usize) -> Vec<ComponentId> {
        self.inner.registry.list(after, limit)
    }

    /// One of them; `None` when it is not loaded.
    pub async fn component(&self, id: &ComponentId) -> Option<ComponentStatus> {
        let mut status = self.inner.registry.with(id, |there| match there {
            There::Awake(resident) => status_of_resident(resident),
            There::Asleep(dormant) => status_of_dormant(dormant),
        })?;
        if let Some(handle) = &status.handle {
            let usage = self.inner.engine.usage(handle).await.ok();
            status.usage = usage.map(|usage| summed(usage, status.usage.as_ref()));
        }
        Some(status)
    }

    /// What happens from now on, with every message that is handled unless the reader
    /// [wants fewer](Events::with_messages). One that is more than 1,024 events behind misses
    /// the oldest. Messages count apart, and so do those that are answered with an error, and
    /// dead letters with withdrawn requests and denials: of what else happens no number of them
    /// makes it miss any.
    pub fn events(&self) -> Events {
        self.inner.office.events()
    }

    /// The latest messages that could not be handled, oldest first. Where there are more than
    /// [`HostLimits`](crate::HostLimits) keeps, the oldest of the recipient that has the most
    /// goes.
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.inner.office.dead_letters.list()
    }

    /// The same, and forgets them.
    pub fn take_dead_letters(&self) -> Vec<DeadLetter> {
        self.inner.office.dead_letters.take()
    }

    /// Delivers a dead letter once more, as a message in the name of its sender: who waited
    /// for an answer waits no longer. If it fails again, it is a dead letter of another number
    /// that was redelivered once, and is not delivered a third time. Both are in memory, whatever
    /// the message was: if the process ends before it was handled, it is gone.
    ///
    /// # Errors
    /// [`HostError::NoDeadLetter`]; [`HostError::NotRedeliverable`] for a callback, a call, one
    /// that is kept without its payload or was redelivered before;
    /// [`HostError::NotRedelivered`] when it is not accepted, and then it stays a dead letter.
    pub fn redeliver(&self, number: u64) -> Result<(), HostError> {
        let office = &self.inner.office;
        let taken = office.dead_letters.take_if(number, |dead| {
            let dead = dead.ok_or(HostError::NoDeadLetter(number))?;
            match dead.obstacle() {
                Some(reason) => Err(HostError::NotRedeliverable { number, reason }),
                None => Ok(()),
            }
        });
        let dead = taken?.ok_or(HostError::NoDeadLetter(number))?;
        if let Err(source) = self.inner.router.redeliver(&dead) {
            office.dead_letters.put_back(dead);
            return Err(HostError::NotRedelivered { number, source });
        }
        metrics::redelivered(&dead.message.recipient);
        office.tell(|| Event::Redelivered {
            number,
            from: dead.message.sender.clone(),
            to: dead.message.recipient.clone(),
        });
        Ok(())
    }

    /// Waits until no message waits and none is being handled. Messages are still
    /// accepted.
    ///
    /// # Errors
    /// [`HostError::NotDrained`] when there still are some after `within`.
    pub async fn drain(&self, within: Duration) -> Result<(), HostError> {
        let traffic = &self.inner.office.traffic;
        timeout(within, traffic.quiet())
            .await
            .map_err(|_| HostError::NotDrained {
                messages: traffic.letters(),
            })
    }

    /// Takes nothing from the program any more, goes on delivering what waits for up to
    /// a second, then lets running calls end, turns what still waits into dead letters
    /// and unloads every component: at the latest a second and the longest `timeout` of
    /// a component after the first poll, and its `shutdown` besides. Afterwards no task
    /// of the host is left. What a [`call`](Self::call) of the program waits for is not in
    /// that time. A host that has stopped is fine; one whose stop was dropped
    /// takes nothing, and is to be stopped again.
    pub async fn stop(&self) {
        let inner = &self.inner;
        inner.registry.stop();
        // What is late becomes a dead letter.
        let _ = self.drain(GRACE).await;
        for id in inner.registry.close() {
            inner.tell_unloaded(id);
            consume_budget().await;
        }
        let mut leaving = Vec::new();
        for resident in inner.registry.residents() {
            let (reply, left) = oneshot::channel();
            if resident.leave(Leaving::Stopped(reply)) {
                leaving.push(left);
            }
        }
        for left in leaving {
            // What a shutdown ends in is told as an event.
            let _ = left.await;
        }
        inner.clerk.abort();
        // What cannot be removed is a dead letter of the next host.
        inner.timers.remove_over().await;
        // Not by whoever is the first to stop, who may not stay until the end.
        inner.office.tell_stopped();
    }
}

impl<E: RuntimeEngine + ?Sized + 'static> Inner<E> {
    fn task(&self, assignment: Assignment) -> Task<E> {
        let shared = Shared {
            engine: Arc::clone(&self.engine),
            office: Arc::clone(&self.office),
            registry: Arc::clone(&self.registry),
            budget: Arc::clone(&self.budget),
            sleepers: Arc::clone(&self.sleepers),
        };
        Task::new(shared, assignment)
    }

    /// One that had no instance.
    fn tell_unloaded(&self, component: ComponentId) {
        let error = None;
        self.office.tell(|| Event::Unloaded { component, error });
    }
}

impl Loading {
    async fn end(self, id: ComponentId) -> Result<Option<ComponentHandle>, HostError> {
        match self {
            Self::Done => Ok(None),
            Self::UnderWay(outcome) => outcome.await.unwrap_or(Err(HostError::Abandoned(id))),
        }
    }
}

/// A component that is woken when its host is gone never gets its task.
fn abandon(resident: &Resident) {
    // Whoever waits for an answer is told when the letters are dropped.
    drop(resident.mailbox.close(Closed::Stopped));
    resident.orders.close();
}

fn status_of_resident(resident: &Resident) -> ComponentStatus {
    let record = resident.record();
    ComponentStatus {
        id: resident.id.clone(),
        handle: record.handle,
        version: record.version,
        phase: record.phase,
        health: record.health,
        waiting: resident.mailbox.len(),
        handled: record.counts.handled,
        failures: record.counts.failures,
        swaps: record.counts.swaps,
        cause: record.cause,
        usage: record.used.map(|used| *used),
    }
}

fn status_of_dormant(dormant: &Dormant) -> ComponentStatus {
    ComponentStatus {
        id: dormant.id.clone(),
        handle: None,
        version: dormant.recipe.version.clone(),
        phase: Phase::Asleep,
        health: dormant.health,
        waiting: 0,
        handled: dormant.counts.handled,
        failures: dormant.counts.failures,
        swaps: dormant.counts.swaps,
        cause: dormant.cause.clone(),
        usage: dormant.used.as_deref().copied(),
    }
}
