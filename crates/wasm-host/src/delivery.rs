//! The task of one component: delivers what waits for it, one message after the
//! other, and does between two of them what operators and failures ask for.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, sleep_until};
use tracing::Instrument;

use wasm_core::{ComponentHandle, HealthStatus, MessagePayload, RuntimeEngine, WasmError};

use crate::component::Component;
use crate::dead_letter::{DeadLetterCause, LetterKind};
use crate::error::{HostError, kept, shorten_guest_error};
use crate::event::{Event, Reply};
use crate::limits::Reservation;
use crate::mailbox::{Closed, Letter};
use crate::metrics::Handling;
use crate::request::RequestError;
use crate::resident::{Command, Leaving, Resident};
use crate::status::Phase;
use crate::supervisor::Restarts;
use crate::switchboard::Switchboard;

pub(crate) struct Delivery<E: ?Sized> {
    pub(crate) engine: Arc<E>,
    pub(crate) board: Arc<Switchboard>,
    pub(crate) resident: Arc<Resident>,
    pub(crate) commands: mpsc::UnboundedReceiver<Command>,
    pub(crate) component: Component,
    /// Given back before anyone can see that the component is gone.
    pub(crate) reservation: Option<Reservation>,
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
    pub(crate) async fn run(self, loaded: oneshot::Sender<Result<ComponentHandle, HostError>>) {
        let Component {
            id, bytes, config, ..
        } = &self.component;
        let incarnation = self.resident.starts(&config.permissions);
        let load = self
            .engine
            .load_component(id, bytes.clone(), config.clone());
        let handle = match load.await {
            Ok(handle) => handle,
            Err(error) => {
                let error = kept(error);
                self.resident.did_not_start();
                self.board.requests.abandon(id, incarnation);
                let cause = DeadLetterCause::NotLoaded(Arc::clone(&error));
                self.close(Closed::Unloaded, &cause);
                // Whoever is told finds room for another.
                drop(self);
                // Whoever loaded it may be gone; there is nobody else to tell.
                let _ = loaded.send(Err(HostError::Engine(error)));
                return;
            }
        };
        self.resident.serves(handle.handle_id());
        self.resident.update(|record| {
            record.handle = Some(handle.clone());
            record.phase = Phase::Ready;
        });
        let component = id.clone();
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

    /// What waits becomes dead letters, and nothing more is taken.
    fn close(&self, why: Closed, cause: &DeadLetterCause) {
        for letter in self.resident.mailbox.close(why) {
            drop(self.board.give_up(&self.resident, letter, cause.clone()));
        }
    }
}

/// Whatever ends the task, a panic of the engine included, nobody waits for it in vain.
impl<E: ?Sized> Drop for Delivery<E> {
    fn drop(&mut self) {
        for letter in self.resident.mailbox.close(Closed::Unloaded) {
            let cause = DeadLetterCause::Unloaded;
            drop(self.board.give_up(&self.resident, letter, cause));
        }
        self.reservation = None;
        self.board.remove(&self.resident);
    }
}

/// The same, of a component that has an instance or had one.
struct Serving<E: ?Sized> {
    task: Delivery<E>,
    handle: ComponentHandle,
    state: State,
    restarts: Restarts,
}

impl<E: RuntimeEngine + ?Sized> Serving<E> {
    async fn run(mut self) {
        loop {
            let command = match self.state {
                State::Serving => tokio::select! {
                    biased;
                    command = self.task.commands.recv() => command,
                    letter = self.task.resident.mailbox.next() => {
                        self.deliver(letter).await;
                        // A mailbox that never runs empty must not keep others waiting.
                        consume_budget().await;
                        continue;
                    }
                },
                State::Waiting(until) => tokio::select! {
                    biased;
                    command = self.task.commands.recv() => command,
                    () = sleep_until(until) => {
                        self.restart().await;
                        continue;
                    }
                },
                State::Quarantined => self.task.commands.recv().await,
            };
            // Whoever gave a command may have gone since.
            match command {
                Some(Command::Unload(leaving, reply)) => {
                    let outcome = self.unload(leaving).await;
                    // Whoever is told finds room for another.
                    drop(self);
                    let _ = reply.send(outcome);
                    return;
                }
                Some(Command::Restart(reply)) => {
                    let _ = reply.send(self.restart_by_hand().await);
                }
                Some(Command::Swap(component, reservation, reply)) => {
                    let _ = reply.send(self.swap(*component, reservation).await);
                }
                Some(Command::Health(reply)) => {
                    let _ = reply.send(self.health().await);
                }
                Some(Command::Abandon) | None => return,
            }
        }
    }

    async fn deliver(&mut self, letter: Letter) {
        let resident = Arc::clone(&self.task.resident);
        let is_callback = letter.kind == LetterKind::Callback;
        if is_callback && resident.serving() != Some(letter.incarnation) {
            let cause = DeadLetterCause::RequesterGone;
            return drop(self.task.board.give_up(&resident, letter, cause));
        }
        let began = Instant::now();
        resident.handles(letter.hops, letter.span.clone());
        resident.update(|record| record.phase = Phase::Busy);
        let message = letter.message.clone();
        let engine = &self.task.engine;
        let outcome = if is_callback {
            let call = engine.call_handle_callback(&self.handle, message);
            call.instrument(letter.span.clone()).await.map(|()| None)
        } else {
            let call = engine.call_handle_message(&self.handle, message);
            call.instrument(letter.span.clone()).await
        };
        resident.handled();
        resident.update(|record| record.phase = Phase::Ready);
        match outcome {
            Ok(reply) => {
                self.handled(&letter, Handling::Answered, began, reply_of(reply.as_ref()));
                self.answer(&letter, Ok(reply));
            }
            Err(WasmError::GuestError { component, error }) => {
                let mut told = error.clone();
                shorten_guest_error(&mut told);
                let reply = Reply::Error(told);
                self.handled(&letter, Handling::GuestError, began, reply);
                let error = Arc::new(WasmError::GuestError { component, error });
                self.answer(&letter, Err(RequestError::Component(error)));
            }
            // It had failed before, in a call that was not a message: this one never
            // reached it.
            Err(WasmError::ComponentFailed { source, .. }) => {
                resident.mailbox.push_front(letter);
                self.fail(source);
            }
            Err(error) => {
                let (waited, took) = (began - letter.accepted, began.elapsed());
                let failed = Handling::Failed;
                resident.meters.handled(letter.kind, failed, waited, took);
                let error = kept(error);
                let cause = DeadLetterCause::Failed(Arc::clone(&error));
                // Until it is told what became of the component.
                let _in_flight = self.task.board.give_up(&resident, letter, cause);
                let is_gone = matches!(*error, WasmError::ComponentNotFound { .. });
                if error.fails_instance() || is_gone {
                    self.fail(error);
                }
            }
        }
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
        if let Some(incarnation) = resident.is_gone() {
            self.task.board.requests.abandon(&resident.id, incarnation);
        }
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
        if let Some(incarnation) = resident.is_gone() {
            self.task.board.requests.abandon(&resident.id, incarnation);
        }
        let incarnation = resident.starts(&resident.permissions());
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
                resident.did_not_start();
                self.task.board.requests.abandon(&resident.id, incarnation);
                self.fail(kept(error));
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

    /// The old instance has ended its call and is idle while the new one is made. Until
    /// that is done, it can go on.
    async fn swap(
        &mut self,
        component: Component,
        reservation: Reservation,
    ) -> Result<(), HostError> {
        let resident = Arc::clone(&self.task.resident);
        let before = resident.record().phase;
        resident.update(|record| record.phase = Phase::Swapping);
        let incarnation = resident.starts(&component.config.permissions);
        let Component {
            id, bytes, config, ..
        } = &component;
        let load = self
            .task
            .engine
            .load_component(id, bytes.clone(), config.clone());
        let handle = match load.await {
            Ok(handle) => handle,
            Err(error) => {
                resident.did_not_start();
                self.task.board.requests.abandon(&resident.id, incarnation);
                resident.update(|record| record.phase = before);
                return Err(error.into());
            }
        };
        let old = std::mem::replace(&mut self.handle, handle);
        // Its last words are said as the old one, with the old one's permissions.
        let shutdown = self.task.engine.unload_component(&old).await;
        if let Some(incarnation) = resident.is_gone() {
            self.task.board.requests.abandon(&resident.id, incarnation);
        }
        resident.set_permissions(component.config.permissions.clone());
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

    async fn unload(&mut self, leaving: Leaving) -> Result<(), HostError> {
        let resident = Arc::clone(&self.task.resident);
        resident.update(|record| record.phase = Phase::Unloading);
        let (closed, cause) = match leaving {
            Leaving::Unloaded => (Closed::Unloaded, DeadLetterCause::Unloaded),
            Leaving::Stopped => (Closed::Stopped, DeadLetterCause::Stopped),
        };
        self.task.close(closed, &cause);
        let shutdown = self.task.engine.unload_component(&self.handle).await;
        if let Some(incarnation) = resident.is_gone() {
            self.task.board.requests.abandon(&resident.id, incarnation);
        }
        self.task.reservation = None;
        self.task.board.remove(&resident);
        let error = shutdown.err().map(kept);
        let component = resident.id.clone();
        let event = Event::Unloaded {
            component,
            error: error.clone(),
        };
        self.task.board.tell(|| event);
        error.map_or(Ok(()), |error| Err(HostError::Engine(error)))
    }
}

fn reply_of(reply: Option<&MessagePayload>) -> Reply {
    reply.map_or(Reply::Nothing, |reply| Reply::Bytes(reply.len()))
}
