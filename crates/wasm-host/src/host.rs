use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentId, ComponentLoader, ComponentMessage, HealthStatus,
    HostServices, MessagePayload, MessagingError, Permissions, RuntimeEngine, Supervision,
    WasmError,
};

use crate::component::Component;
use crate::component::resident::{Command, Leaving, Resident};
use crate::component::status::ComponentStatus;
use crate::component::task::Delivery;
use crate::error::HostError;
use crate::limits::Budget;
use crate::post::answer::RequestError;
use crate::post::call::Call;
use crate::post::requests::Requester;
use crate::post::router::Switchboard;
use crate::watch::dead_letter::DeadLetter;
use crate::watch::event::Event;
use crate::watch::events::Events;

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
    board: Arc<Switchboard>,
    services: HostServices,
    loader: Option<Arc<dyn ComponentLoader>>,
    budget: Arc<Budget>,
    /// Runs everything of the host, whoever asks for it.
    runtime: Handle,
    /// Ends requests that are overdue.
    expiry: JoinHandle<()>,
}

impl<E: RuntimeEngine + ?Sized> Clone for Host<E> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<E: RuntimeEngine + ?Sized> Drop for Inner<E> {
    fn drop(&mut self) {
        self.expiry.abort();
        self.board.stop();
        for resident in self.board.residents() {
            // One that is gone has nothing to abandon.
            let _ = resident.leaving.send(Leaving::Abandoned);
        }
    }
}

impl<E: RuntimeEngine + ?Sized + 'static> Host<E> {
    pub(crate) fn start(
        engine: Arc<E>,
        board: Arc<Switchboard>,
        services: HostServices,
        loader: Option<Arc<dyn ComponentLoader>>,
    ) -> Self {
        let runtime = Handle::current();
        let expiry = {
            let board = Arc::clone(&board);
            runtime.spawn(async move { board.expire().await })
        };
        Self {
            inner: Arc::new(Inner {
                budget: Budget::new(&board.limits),
                engine,
                board,
                services,
                loader,
                runtime,
                expiry,
            }),
        }
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
        &self.inner.board.program
    }

    /// Loads a component. From the first poll on it can be sent messages, which wait
    /// until it is initialized.
    ///
    /// # Errors
    /// [`HostError::AlreadyLoaded`], [`HostError::Reserved`], [`HostError::Budget`],
    /// [`HostError::Stopped`]; [`HostError::Engine`] with what loading ended in, and
    /// nothing is left behind then; [`HostError::Abandoned`].
    pub async fn load(&self, component: Component) -> Result<ComponentHandle, HostError> {
        self.begin_load(component)?.await
    }

    /// Loads components side by side, each of which can be sent messages by the others
    /// from the start; what came of each, in this order.
    pub async fn load_all(
        &self,
        components: impl IntoIterator<Item = Component>,
    ) -> Vec<Result<ComponentHandle, HostError>> {
        let begun: Vec<_> = components
            .into_iter()
            .map(|component| self.begin_load(component))
            .collect();
        let mut loaded = Vec::with_capacity(begun.len());
        for load in begun {
            loaded.push(match load {
                Ok(load) => load.await,
                Err(error) => Err(error),
            });
        }
        loaded
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
    ) -> Result<ComponentHandle, HostError> {
        let Some(loader) = &self.inner.loader else {
            return Err(HostError::NoLoader(id));
        };
        let bytes: Bytes = loader.load_bytes(&id).await?;
        loader.validate(&id, &bytes)?;
        self.load(Component::new(id, bytes, config).with_supervision(supervision))
            .await
    }

    /// What is returned only waits for the loading, which goes on without it.
    fn begin_load(
        &self,
        component: Component,
    ) -> Result<impl Future<Output = Result<ComponentHandle, HostError>> + use<E>, HostError> {
        let board = &self.inner.board;
        let id = component.id.clone();
        if id == board.program {
            return Err(HostError::Reserved(id));
        }
        if board.resident(&id).is_some() {
            return Err(HostError::AlreadyLoaded(id));
        }
        let reserved = self
            .inner
            .budget
            .reserve(component.config.limits.memory_bytes());
        let reservation = reserved.map_err(|source| HostError::Budget {
            component: id.clone(),
            source,
        })?;
        let (resident, orders) = Resident::new(&component, &board.limits);
        board.admit(Arc::clone(&resident))?;
        let task = Delivery {
            engine: Arc::clone(&self.inner.engine),
            board: Arc::clone(board),
            resident,
            orders,
            component,
            reservation: Some(reservation),
            handling: None,
        };
        let (loaded, outcome) = oneshot::channel();
        self.inner.runtime.spawn(task.run(loaded));
        Ok(async move { outcome.await.unwrap_or(Err(HostError::Abandoned(id))) })
    }

    /// Lets a component end its call, turns what waits for it into dead letters, calls
    /// `shutdown` and frees everything.
    ///
    /// # Errors
    /// [`HostError::NotLoaded`]; [`HostError::Engine`] with what `shutdown` ended in,
    /// and the component is unloaded all the same.
    pub async fn unload(&self, id: &ComponentId) -> Result<(), HostError> {
        let resident = self.resident(id)?;
        let (reply, left) = oneshot::channel();
        let leaving = Leaving::Unloaded(reply);
        let sent = resident.leaving.send(leaving);
        // Once it is gone, its task is too.
        sent.map_err(|_| HostError::NotLoaded(id.clone()))?;
        left.await.map_err(|_| HostError::NotLoaded(id.clone()))?
    }

    /// Replaces a component by another of its id while messages arrive. The old one goes
    /// on while the engine prepares the new one, then ends its call; the new one is
    /// loaded and initialized; the old one's `shutdown` is called; what waits is
    /// delivered to the new one, in order. Requests that the old one made are not
    /// answered to the new one, which does not know them.
    ///
    /// The new one has permissions of its own; if they are
    /// [set](Self::set_permissions) while the swap is under way, those that were set.
    ///
    /// # Errors
    /// [`HostError::NotLoaded`], [`HostError::Stopped`]; [`HostError::Budget`], because
    /// for a while there are both; [`HostError::Engine`] with what preparing or loading
    /// ended in; [`HostError::Superseded`] when another swap of this component is asked
    /// for while this one is prepared. The old one goes on as it was then.
    pub async fn swap(&self, component: Component) -> Result<(), HostError> {
        let resident = self.changeable(&component.id)?;
        let inner = &self.inner;
        let swapped = resident.swaps.begin(
            component,
            resident.permissions_set(),
            &inner.budget,
            Arc::clone(&inner.engine),
            &inner.runtime,
        )?;
        swapped.await.map_err(|_| self.gone(&resident))?
    }

    /// Gives a component a fresh instance, in quarantine or not, and forgets how often
    /// it was restarted.
    ///
    /// # Errors
    /// [`HostError::NotLoaded`]; [`HostError::Engine`] with what the restart ended in.
    pub async fn restart(&self, id: &ComponentId) -> Result<(), HostError> {
        let resident = self.changeable(id)?;
        self.command(&resident, Command::Restart).await?
    }

    /// Asks a component how it is, between two messages. What it says is shown to other
    /// components until it is asked again or has another instance.
    ///
    /// # Errors
    /// [`HostError::NotLoaded`]; [`HostError::Engine`] with what the call ended in.
    pub async fn health(&self, id: &ComponentId) -> Result<HealthStatus, HostError> {
        let resident = self.changeable(id)?;
        self.command(&resident, Command::Health).await?
    }

    /// Replaces what a component may do, from its next host call on. It never gets more
    /// than it was loaded with: to grant more, [`swap`](Self::swap) it. The quota of
    /// its storage and what it may do through WASI stay as they were loaded.
    ///
    /// # Errors
    /// [`HostError::NotLoaded`].
    pub fn set_permissions(
        &self,
        id: &ComponentId,
        permissions: Permissions,
    ) -> Result<(), HostError> {
        self.resident(id)?.set_permissions(permissions);
        let component = id.clone();
        self.inner
            .board
            .tell(|| Event::PermissionsChanged { component });
        Ok(())
    }

    /// What a component may do now; `None` when it is not loaded.
    pub fn permissions(&self, id: &ComponentId) -> Option<Permissions> {
        let resident = self.inner.board.resident(id)?;
        Some(resident.permissions())
    }

    fn resident(&self, id: &ComponentId) -> Result<Arc<Resident>, HostError> {
        let resident = self.inner.board.resident(id);
        resident.ok_or_else(|| HostError::NotLoaded(id.clone()))
    }

    fn changeable(&self, id: &ComponentId) -> Result<Arc<Resident>, HostError> {
        let resident = self.resident(id)?;
        match self.inner.board.is_stopping() {
            true => Err(HostError::Stopped),
            false => Ok(resident),
        }
    }

    async fn command<T>(
        &self,
        resident: &Resident,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, HostError> {
        let (reply, answer) = oneshot::channel();
        let sent = resident.commands.send(command(reply)).await;
        sent.map_err(|_| self.gone(resident))?;
        answer.await.map_err(|_| self.gone(resident))
    }

    /// What is told of a component whose task has ended.
    fn gone(&self, resident: &Resident) -> HostError {
        match self.inner.board.is_stopping() {
            true => HostError::Stopped,
            false => HostError::NotLoaded(resident.id.clone()),
        }
    }

    /// Sends a message on behalf of the program. Permissions do not apply to it.
    ///
    /// # Errors
    /// As [`MessageRouter::send`](wasm_core::MessageRouter::send).
    pub fn send(
        &self,
        to: &ComponentId,
        payload: impl Into<MessagePayload>,
    ) -> Result<(), MessagingError> {
        let message = self.message(to, payload);
        self.inner.board.send_from_program(message)
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
        let board = &self.inner.board;
        let (answer, answered) = oneshot::channel();
        let requester = Requester::Program(answer);
        let request = board.request_from_program(message, requester, timeout)?;
        let given_up = GiveUp(|| drop(board.requests.close(&request)));
        let outcome = answered.await.unwrap_or_else(|_| Err(stopped()));
        drop(given_up);
        outcome
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
        let message = self.message(to, "").with_message_type(name);
        let engine = Arc::clone(&self.inner.engine);
        let (call, answer) = Call::new(move |handle| call(engine, handle));
        self.inner.board.call_from_program(message, call)?;
        answer.get().await.unwrap_or_else(|| Err(stopped()))
    }

    fn message(&self, to: &ComponentId, payload: impl Into<MessagePayload>) -> ComponentMessage {
        let board = &self.inner.board;
        ComponentMessage::new(board.program.clone(), to.clone(), payload)
            .with_timestamp(board.now())
    }

    /// Every loaded component, in the order of their ids.
    pub async fn status(&self) -> Vec<ComponentStatus> {
        let mut status = Vec::new();
        for resident in self.inner.board.residents() {
            status.push(self.status_of(&resident).await);
        }
        status
    }

    /// One of them; `None` when it is not loaded.
    pub async fn component(&self, id: &ComponentId) -> Option<ComponentStatus> {
        let resident = self.inner.board.resident(id)?;
        Some(self.status_of(&resident).await)
    }

    async fn status_of(&self, resident: &Resident) -> ComponentStatus {
        let record = resident.record();
        let usage = match &record.handle {
            Some(handle) => self.inner.engine.usage(handle).await.ok(),
            None => None,
        };
        ComponentStatus {
            id: resident.id.clone(),
            handle: record.handle,
            version: record.version,
            phase: record.phase,
            health: record.health,
            waiting: resident.mailbox.len(),
            handled: record.handled,
            failures: record.failures,
            swaps: record.swaps,
            cause: record.cause,
            usage,
        }
    }

    /// What happens from now on. A reader that is more than 1,024 events behind misses
    /// the oldest.
    pub fn events(&self) -> Events {
        self.inner.board.events()
    }

    /// The latest messages that could not be handled, oldest first.
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.inner.board.dead_letters.list()
    }

    /// The same, and forgets them.
    pub fn take_dead_letters(&self) -> Vec<DeadLetter> {
        self.inner.board.dead_letters.take()
    }

    /// Waits until no message waits and none is being handled. Messages are still
    /// accepted.
    ///
    /// # Errors
    /// [`HostError::NotDrained`] when there still are some after `within`.
    pub async fn drain(&self, within: Duration) -> Result<(), HostError> {
        let traffic = &self.inner.board.traffic;
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
        let board = &self.inner.board;
        board.stop();
        // What is late becomes a dead letter.
        let _ = self.drain(GRACE).await;
        let mut leaving = Vec::new();
        for resident in board.residents() {
            let (reply, left) = oneshot::channel();
            if resident.leaving.send(Leaving::Stopped(reply)).is_ok() {
                leaving.push(left);
            }
        }
        for left in leaving {
            // What a shutdown ends in is told as an event.
            let _ = left.await;
        }
        self.inner.expiry.abort();
        // Not by whoever is the first to stop, who may not stay until the end.
        board.tell_stopped();
    }
}

/// What is told of a request that ends with the host.
fn stopped() -> RequestError {
    MessagingError::DeliveryFailed(HostError::Stopped.to_string()).into()
}

/// Runs when it is dropped.
struct GiveUp<F: FnMut()>(F);

impl<F: FnMut()> Drop for GiveUp<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
