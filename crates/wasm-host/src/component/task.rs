//! The task of one component: delivers what waits for it, one message after the
//! other, and does between two of them what operators and failures ask for.

use std::future::pending;
use std::mem;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, sleep_until};
use tracing::Instrument;

use wasm_core::{
    ComponentHandle, ComponentState, HealthStatus, MessagePayload, RuntimeEngine, WasmError,
};

use crate::component::Component;
use crate::component::resident::{Command, Leaving, Orders, Record, Resident};
use crate::component::restarts::Restarts;
use crate::component::status::Phase;
use crate::component::swap::{Prepared, Swap};
use crate::error::{HostError, kept};
use crate::limits::Reservation;
use crate::post::answer::RequestError;
use crate::post::letter::{Letter, LetterKind};
use crate::post::mailbox::Closed;
use crate::post::router::Switchboard;
use crate::watch::dead_letter::DeadLetterCause;
use crate::watch::event::{Event, Reply};
use crate::watch::metrics::Handling;

pub(crate) struct Delivery<E: ?Sized> {
    pub(crate) engine: Arc<E>,
    pub(crate) board: Arc<Switchboard>,
    pub(crate) resident: Arc<Resident>,
    pub(crate) orders: Orders,
    pub(crate) component: Component,
    /// Given back before anyone can see that the component is gone.
    pub(crate) reservation: Option<Reservation>,
    /// What the component handles right now.
    pub(crate) handling: Option<Letter>,
}

/// What a component is doing.
#[derive(Debug, Clone, Copy)]
enum State {
    Serving,
    /// Failed, and restarted at this time.
    Waiting(Instant),
    /// Failed for good.
    Quarantined,
}

impl<E: RuntimeEngine + ?Sized> Delivery<E> {
    /// Loads the component and serves it until it is unloaded.
    pub(crate) async fn run(mut self, loaded: oneshot::Sender<Result<ComponentHandle, HostError>>) {
        self.resident.starts();
        let component = self.component.clone();
        let mut reservation = self.reservation.take();
        let made = self.make(&component, reservation.as_mut()).await;
        self.reservation = reservation;
        let handle = match made {
            Ok(handle) => handle,
            Err(error) => {
                let cause = match &error {
                    HostError::Engine(error) => DeadLetterCause::NotLoaded(Arc::clone(error)),
                    _ => DeadLetterCause::Unloaded,
                };
                self.close(Closed::Unloaded, &cause);
                let swap = self.resident.swaps.close().await;
                // Whoever is told finds room for another.
                drop(self);
                drop(swap);
                // Whoever loaded it may be gone; there is nobody else to tell.
                let _ = loaded.send(Err(error));
                return;
            }
        };
        self.resident.serves(handle.handle_id());
        self.resident.update(|record| {
            record.handle = Some(handle.clone());
            record.phase = Phase::Ready;
        });
        let component = component.id;
        self.board.tell(|| Event::Loaded { component });
        let _ = loaded.send(Ok(handle.clone()));
        Serving {
            restarts: Restarts::default(),
            state: State::Serving,
            handle,
            task: self,
        }
        .run()
        .await;
    }

    /// Loads an instance that nothing is delivered to yet, and charges the reservation with
    /// what the engine keeps for it.
    async fn make(
        &self,
        component: &Component,
        reservation: Option<&mut Reservation>,
    ) -> Result<ComponentHandle, HostError> {
        let Component {
            id, bytes, config, ..
        } = component;
        let load = self
            .engine
            .load_component(id, bytes.clone(), config.clone());
        let handle = load
            .await
            .map_err(|error| HostError::Engine(self.not_made(error)))?;
        let usage = self.engine.usage(&handle).await;
        let kept = usage.map(|usage| usage.kept).unwrap_or_default();
        let charged = reservation.map_or(Ok(()), |reservation| reservation.keep(kept));
        if let Err(source) = charged {
            // Why is known already.
            let _ = self.engine.unload_component(&handle).await;
            self.abandon_requests(self.resident.did_not_start());
            return Err(HostError::Budget {
                component: id.clone(),
                source,
            });
        }
        Ok(handle)
    }

    /// What waits becomes dead letters, and nothing more is taken.
    fn close(&self, why: Closed, cause: &DeadLetterCause) {
        for letter in self.resident.mailbox.close(why) {
            self.board.give_up(&self.resident, letter, cause.clone());
        }
    }

    /// There is no instance any more.
    fn instance_is_gone(&self) {
        self.abandon_requests(self.resident.is_gone());
    }

    /// An instance that should have been made was not.
    fn not_made(&self, error: WasmError) -> Arc<WasmError> {
        self.abandon_requests(self.resident.did_not_start());
        self.board.tell_not_loaded(&self.resident, error)
    }
}

impl<E: ?Sized> Delivery<E> {
    /// Nobody is there to be answered.
    fn abandon_requests(&self, of_instance: Option<u64>) {
        if let Some(incarnation) = of_instance {
            self.board.requests.abandon(&self.resident.id, incarnation);
        }
    }
}

/// Whatever ends the task, a panic of the engine included, nobody waits for it in vain.
impl<E: ?Sized> Drop for Delivery<E> {
    fn drop(&mut self) {
        let resident = &self.resident;
        let _swap = resident.swaps.close_now();
        let waiting = resident.mailbox.close(Closed::Unloaded);
        let instances = [resident.is_gone(), resident.did_not_start()];
        if instances.iter().any(Option::is_some) {
            let component = resident.id.clone();
            self.board.tell(|| Event::Abandoned { component });
        }
        for instance in instances {
            self.abandon_requests(instance);
        }
        for letter in self.handling.take().into_iter().chain(waiting) {
            let cause = DeadLetterCause::Abandoned;
            self.board.give_up(resident, letter, cause);
        }
        self.board.tell_denials(resident);
        self.reservation = None;
        self.board.remove(resident);
    }
}

/// The same, of a component that has an instance or had one.
struct Serving<E: ?Sized> {
    task: Delivery<E>,
    handle: ComponentHandle,
    state: State,
    restarts: Restarts,
}

/// What comes next.
enum Next {
    Leave(Leaving),
    Obey(Command),
    Deliver(Letter),
    Restart,
    Swap(Box<Swap>, Prepared),
    TellDenials,
}

impl<E: RuntimeEngine + ?Sized> Serving<E> {
    async fn run(mut self) {
        loop {
            // Whoever asked for something may have gone since.
            match self.next().await {
                Next::Leave(Leaving::Unloaded(reply)) => {
                    let outcome = self
                        .unload(Closed::Unloaded, DeadLetterCause::Unloaded)
                        .await;
                    let _ = reply.send(outcome);
                    return;
                }
                Next::Leave(Leaving::Stopped(reply)) => {
                    let outcome = self.unload(Closed::Stopped, DeadLetterCause::Stopped).await;
                    let _ = reply.send(outcome);
                    return;
                }
                Next::Leave(Leaving::Abandoned) => return self.task.instance_is_gone(),
                Next::Obey(command) => self.obey(command).await,
                Next::Deliver(letter) => {
                    self.deliver(letter).await;
                    // A mailbox that never runs empty must not keep others waiting.
                    consume_budget().await;
                }
                Next::Restart => self.restart().await,
                Next::Swap(swap, prepared) => self.swap(*swap, prepared).await,
                Next::TellDenials => self.task.board.tell_denials(&self.task.resident),
            }
        }
    }

    /// Leaving overtakes everything, commands overtake messages.
    async fn next(&mut self) -> Next {
        let resident = &self.task.resident;
        let orders = &mut self.task.orders;
        let denials_due = resident.denials_due();
        let (serves, restart_at) = match self.state {
            State::Serving => (true, None),
            State::Waiting(until) => (false, Some(until)),
            State::Quarantined => (false, None),
        };
        tokio::select! {
            biased;
            leaving = orders.leaving.recv() => Next::Leave(leaving.unwrap_or(Leaving::Abandoned)),
            Some(command) = orders.commands.recv() => Next::Obey(command),
            (swap, prepared) = resident.swaps.prepared() => Next::Swap(Box::new(swap), prepared),
            () = until(denials_due) => Next::TellDenials,
            () = until(restart_at) => Next::Restart,
            letter = resident.mailbox.next(), if serves => Next::Deliver(letter),
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Restart(reply) if !reply.is_closed() => {
                let _ = reply.send(self.restart_by_hand().await);
            }
            Command::Health(reply) if !reply.is_closed() => {
                let _ = reply.send(self.health().await);
            }
            Command::Restart(_) | Command::Health(_) => {}
        }
    }

    async fn deliver(&mut self, mut letter: Letter) {
        let resident = Arc::clone(&self.task.resident);
        let is_callback = letter.kind == LetterKind::Callback;
        if is_callback && resident.serving() != letter.incarnation {
            let cause = DeadLetterCause::RequesterGone;
            return self.task.board.give_up(&resident, letter, cause);
        }
        if letter.call.as_ref().is_some_and(|call| !call.is_wanted()) {
            return;
        }
        let began = Instant::now();
        resident.handles(letter.hops, letter.span.clone());
        resident.update(|record| record.phase = Phase::Busy);
        // A callback that is delivered makes room for another request.
        letter.seat = None;
        let (message, span) = (letter.message.clone(), letter.span.clone());
        let handle = &self.handle;
        let call = letter.call.as_ref().map(|call| call.begin(handle.clone()));
        self.task.handling = Some(letter);
        let engine = &self.task.engine;
        let outcome = if let Some(call) = call {
            let outcome = match call {
                Some(call) => call.instrument(span).await,
                None => Ok(()),
            };
            return self.called(outcome, began).await;
        } else if is_callback {
            let call = engine.call_handle_callback(handle, message);
            call.instrument(span).await.map(|()| None)
        } else {
            let call = engine.call_handle_message(handle, message);
            call.instrument(span).await
        };
        let Some(letter) = self.task.handling.take() else {
            return;
        };
        resident.handled();
        // What became of the component is known before anyone is told of the message.
        match outcome {
            Ok(reply) => {
                self.is_ready();
                self.handled(&letter, Handling::Answered, began, reply_of(reply.as_ref()));
                self.answer(&letter, Ok(reply));
            }
            Err(WasmError::GuestError { component, error }) => {
                self.is_ready();
                let error = error.kept();
                let told = Reply::Error(error.clone());
                self.handled(&letter, Handling::GuestError, began, told);
                let error = Arc::new(WasmError::GuestError { component, error });
                self.answer(&letter, Err(RequestError::Component(error)));
            }
            // It had failed before, in a call that was not a message: this one never
            // reached it.
            Err(WasmError::ComponentFailed { source, .. }) => {
                resident.mailbox.push_front(letter);
                self.fail(kept(WasmError::clone(&source)));
            }
            Err(error) => {
                let error = kept(error);
                let is_gone = matches!(*error, WasmError::ComponentNotFound { .. });
                if error.fails_instance() || is_gone {
                    self.fail(Arc::clone(&error));
                } else {
                    self.is_ready();
                }
                self.give_up(letter, began, error);
            }
        }
    }

    /// A call of the program has ended. What it ended in may be another component's error, and
    /// the failure of this one may have been kept from whoever called: the engine knows.
    async fn called(&mut self, outcome: Result<(), WasmError>, began: Instant) {
        let failure = self.failure().await;
        let Some(letter) = self.task.handling.take() else {
            return;
        };
        let resident = Arc::clone(&self.task.resident);
        resident.handled();
        match &failure {
            Some(failure) => self.fail(Arc::clone(failure)),
            None => self.is_ready(),
        }
        match outcome {
            Ok(()) => {
                self.handled(&letter, Handling::Answered, began, Reply::Nothing);
                if let Some(call) = letter.call {
                    call.answer(Ok(()));
                }
            }
            Err(error) => self.give_up(letter, began, kept(error)),
        }
    }

    /// Why the instance is gone, if it is.
    async fn failure(&self) -> Option<Arc<WasmError>> {
        let engine = &self.task.engine;
        match engine.usage(&self.handle).await {
            Ok(usage) if usage.state != ComponentState::Failed => None,
            // One that has failed says why without being called.
            Ok(_) => match engine.health(&self.handle).await {
                Err(WasmError::ComponentFailed { source, .. }) => {
                    Some(kept(WasmError::clone(&source)))
                }
                Err(error) if error.fails_instance() => Some(kept(error)),
                _ => None,
            },
            Err(error) => matches!(error, WasmError::ComponentNotFound { .. }).then(|| kept(error)),
        }
    }

    fn is_ready(&self) {
        let ready = |record: &mut Record| record.phase = Phase::Ready;
        self.task.resident.update(ready);
    }

    /// It was handled, and ended in an error that is no answer.
    fn give_up(&self, letter: Letter, began: Instant, error: Arc<WasmError>) {
        let (waited, took) = (began - letter.accepted, began.elapsed());
        let resident = &self.task.resident;
        resident
            .meters
            .handled(letter.kind, Handling::Failed, waited, took);
        let cause = DeadLetterCause::Failed(error);
        self.task.board.give_up(resident, letter, cause);
    }

    fn handled(&self, letter: &Letter, handling: Handling, began: Instant, reply: Reply) {
        let (waited, took) = (began - letter.accepted, began.elapsed());
        let resident = &self.task.resident;
        resident.meters.handled(letter.kind, handling, waited, took);
        resident.update(|record| record.handled += 1);
        self.task.board.tell(|| Event::Message {
            from: letter.message.sender.clone(),
            to: letter.message.recipient.clone(),
            kind: letter.kind,
            call: letter.call_name(),
            bytes: letter.message.payload.len(),
            reply,
            waited,
            took,
        });
    }

    fn answer(&self, letter: &Letter, outcome: Result<Option<MessagePayload>, RequestError>) {
        if let (LetterKind::Request, Some(request)) = (letter.kind, &letter.message.correlation_id)
        {
            self.task.board.settle(request, outcome);
        }
    }

    /// The instance is gone, and its open requests with it.
    fn fail(&mut self, error: Arc<WasmError>) {
        let resident = Arc::clone(&self.task.resident);
        self.task.instance_is_gone();
        resident.meters.failure();
        let supervision = &self.task.component.supervision;
        let backoff = self.restarts.next(supervision, Instant::now());
        resident.update(|record| {
            record.failures += 1;
            record.cause = Some(Arc::clone(&error));
            record.health = HealthStatus::Unhealthy;
            record.phase = match backoff {
                Some(_) => Phase::Restarting,
                None => Phase::Quarantined,
            };
        });
        let component = resident.id.clone();
        let cause = Arc::clone(&error);
        self.task.board.tell(|| Event::Failed {
            component,
            error: cause,
        });
        self.state = match backoff {
            Some(backoff) => State::Waiting(Instant::now() + backoff),
            None => {
                self.quarantine(error);
                State::Quarantined
            }
        };
    }

    fn quarantine(&self, error: Arc<WasmError>) {
        let cause = DeadLetterCause::Quarantined(Arc::clone(&error));
        self.task.close(Closed::Quarantined, &cause);
        let component = self.task.component.id.clone();
        let event = || Event::Quarantined { component, error };
        self.task.board.tell(event);
    }

    async fn restart(&mut self) {
        let resident = Arc::clone(&self.task.resident);
        // An instance that has not failed ends here.
        self.task.instance_is_gone();
        resident.starts();
        match self.task.engine.restart_component(&self.handle).await {
            Ok(()) => {
                resident.serves(self.handle.handle_id());
                resident.meters.restart();
                resident.update(|record| {
                    record.phase = Phase::Ready;
                    record.health = HealthStatus::Unknown;
                });
                let component = resident.id.clone();
                self.task.board.tell(|| Event::Restarted { component });
                self.state = State::Serving;
            }
            Err(error) => {
                let error = self.task.not_made(error);
                self.fail(error);
            }
        }
    }

    /// Whatever became of the component before.
    async fn restart_by_hand(&mut self) -> Result<(), HostError> {
        let resident = Arc::clone(&self.task.resident);
        self.restarts.forget();
        resident.update(|record| record.phase = Phase::Restarting);
        resident
            .mailbox
            .open(self.task.component.supervision.mailbox);
        self.restart().await;
        match self.state {
            State::Serving => Ok(()),
            State::Waiting(_) | State::Quarantined => {
                let cause = resident.record().cause;
                Err(cause.map_or(HostError::NotLoaded(resident.id.clone()), HostError::Engine))
            }
        }
    }

    async fn swap(&mut self, swap: Swap, prepared: Prepared) {
        match prepared {
            Ok(_prepared) => {
                let set = swap.permissions_set;
                let replaced = self.replace(swap.component, set, swap.reservation).await;
                let _ = swap.reply.send(replaced);
            }
            Err(error) => {
                let error = self.task.board.tell_not_loaded(&self.task.resident, error);
                swap.fail(HostError::Engine(error));
            }
        }
    }

    /// The old instance has ended its call and is idle while the new one is made. Until
    /// that is done, it can go on.
    async fn replace(
        &mut self,
        component: Component,
        permissions_set: u64,
        mut reservation: Reservation,
    ) -> Result<(), HostError> {
        let resident = Arc::clone(&self.task.resident);
        let mut before = Phase::Swapping;
        resident.update(|record| mem::swap(&mut record.phase, &mut before));
        resident.starts_as(&component.config.permissions, permissions_set);
        let made = self.task.make(&component, Some(&mut reservation)).await;
        let handle = made.inspect_err(|_| {
            resident.update(|record| record.phase = before);
        })?;
        let old = mem::replace(&mut self.handle, handle);
        // Its last words are said as the old one, with the old one's permissions.
        let shutdown = self.task.engine.unload_component(&old).await;
        self.task.instance_is_gone();
        resident.serves(self.handle.handle_id());
        resident.mailbox.open(component.supervision.mailbox);
        resident.update(|record| {
            record.handle = Some(self.handle.clone());
            record.phase = Phase::Ready;
            record.version.clone_from(&component.version);
            record.health = HealthStatus::Unknown;
            record.swaps += 1;
        });
        self.restarts.forget();
        self.state = State::Serving;
        self.task.component = component;
        self.task.reservation = Some(reservation);
        if let Err(error) = shutdown {
            tracing::warn!(component = %resident.id, "replaced: {error}");
        }
        let component = resident.id.clone();
        self.task.board.tell(|| Event::Swapped { component });
        Ok(())
    }

    async fn health(&mut self) -> Result<HealthStatus, HostError> {
        let asked = self.task.engine.health(&self.handle).await;
        match asked {
            Ok(health) => {
                self.task.resident.update(|record| record.health = health);
                Ok(health)
            }
            Err(error) => {
                let error = kept(error);
                let serving = matches!(self.state, State::Serving);
                if serving && error.fails_instance() {
                    self.fail(Arc::clone(&error));
                }
                Err(HostError::Engine(error))
            }
        }
    }

    async fn unload(self, closed: Closed, cause: DeadLetterCause) -> Result<(), HostError> {
        let resident = Arc::clone(&self.task.resident);
        resident.update(|record| record.phase = Phase::Unloading);
        self.task.close(closed, &cause);
        let swap = resident.swaps.close().await;
        let shutdown = self.task.engine.unload_component(&self.handle).await;
        self.task.instance_is_gone();
        let error = shutdown.err().map(kept);
        self.task.board.tell_denials(&resident);
        self.task.board.tell(|| Event::Unloaded {
            component: resident.id.clone(),
            error: error.clone(),
        });
        // Whoever is told finds room for another.
        drop(self);
        drop(swap);
        error.map_or(Ok(()), |error| Err(HostError::Engine(error)))
    }
}

/// Never, without a time.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

fn reply_of(reply: Option<&MessagePayload>) -> Reply {
    reply.map_or(Reply::Nothing, |reply| Reply::Bytes(reply.len()))
}
