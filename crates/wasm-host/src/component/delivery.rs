//! The delivery of letters: the calls of the engine, and what is told of them.

use std::mem;
use std::pin::pin;
use std::sync::Arc;

use tokio::time::Instant;
use tracing::{Instrument, Span};

use wasm_core::{ComponentHandle, ComponentMessage, MessagePayload, RuntimeEngine, WasmError};

use crate::component::handled::{Ended, Outcome};
use crate::component::poll::{now_or_never, unpanicked};
use crate::component::task::Task;
use crate::error::kept;
use crate::post::answer::RequestError;
use crate::post::call::CallFuture;
use crate::post::letter::{Letter, LetterKind};
use crate::watch::dead_letter::DeadLetterCause;
use crate::watch::event::{Event, EventClass, Reply};
use crate::watch::metrics::Handling;

impl<E: RuntimeEngine + ?Sized + 'static> Task<E> {
    /// Has the engine handle a letter. Where it may handle several at a time, this does not wait
    /// until it has.
    pub(crate) async fn deliver(&mut self, mut letter: Box<Letter>) {
        let (Some(port), Some(handle)) = (&self.port, &self.handle) else {
            // Nothing is delivered without an instance.
            return self.resident.mailbox.put_back(letter);
        };
        let (incarnation, handle) = (port.incarnation, handle.clone());
        if letter.incarnation.is_some_and(|it| it != incarnation) {
            let cause = DeadLetterCause::RequesterGone;
            return self.shared.office.give_up(letter, cause);
        }
        let mut began = Instant::now();
        if !letter.is_wanted(began) {
            return self.shared.office.withdraw_unwanted(&letter);
        }
        if !self.shared.office.may_handle(&letter.message.recipient) {
            let cause = DeadLetterCause::Unloaded;
            return self.shared.office.give_up(letter, cause);
        }
        if let Some(ticket) = &letter.ticket {
            if !self.attend(ticket.begin()).await {
                // It was cancelled, or comes again.
                return letter.forget_reply();
            }
            began = Instant::now();
        }
        let span = letter.span.clone();
        // A callback that is delivered makes room for another request.
        letter.seat = None;
        let engine = Arc::clone(&self.shared.engine);
        let (message, kind) = (letter.message.clone(), letter.kind);
        let call = letter.call.as_ref().map(|call| call.begin(handle.clone()));
        let number = self.handled.add(letter);
        self.resident.progress.set_busy(true);
        let outcome = if self.recipe.config.concurrency() == 1 {
            let call = perform(&*engine, &handle, message, kind, call);
            let call = pin!(call.instrument(span.clone()));
            self.attend_within(span, call).await
        } else {
            let call = async move { perform(&*engine, &handle, message, kind, call).await };
            // Its first poll gives it its place among the calls of the component.
            let mut call = Box::pin(call.instrument(span));
            match now_or_never(call.as_mut()).await {
                Some(outcome) => outcome,
                None => return self.follow(number, began, call),
            }
        };
        let ended = Ended {
            number,
            began,
            outcome,
        };
        self.end(ended).await;
    }

    /// Waits for a call of the engine, in which the instance sends within this span. Nobody asks
    /// for one that nobody listens to.
    async fn attend_within<T>(&mut self, span: Span, call: impl Future<Output = T>) -> T {
        if span.is_disabled() {
            return self.attend(call).await;
        }
        if let Some(port) = &self.port {
            port.begin_handling(span);
        }
        let outcome = self.attend(call).await;
        if let Some(port) = &self.port {
            port.end_handling();
        }
        outcome
    }

    /// Goes on to other letters while a call runs.
    fn follow(
        &mut self,
        number: u64,
        began: Instant,
        call: impl Future<Output = Outcome> + Send + 'static,
    ) {
        self.running.spawn(async move {
            let outcome = call.await;
            Ended {
                number,
                began,
                outcome,
            }
        });
    }

    /// Tells what came of a letter.
    pub(crate) async fn end(&mut self, ended: Ended) {
        let Ended {
            number,
            began,
            outcome,
        } = ended;
        self.active = Instant::now();
        match outcome {
            Outcome::Message(outcome) => self.end_message(number, began, outcome),
            Outcome::Call(outcome) => self.end_call(number, began, outcome).await,
        }
    }

    /// Waits until nothing is handled any more.
    pub(crate) async fn settle(&mut self) {
        self.settle_to(0).await;
    }

    /// Waits until one more may be handled.
    pub(crate) async fn find_turn(&mut self) {
        self.settle_to(self.recipe.config.concurrency() as usize - 1)
            .await;
    }

    async fn settle_to(&mut self, left: usize) {
        while self.running.len() > left {
            let mut running = mem::take(&mut self.running);
            let ended = self.attend(running.join_next()).await;
            self.running = running;
            if let Some(ended) = ended.and_then(unpanicked) {
                self.end(ended).await;
            }
        }
    }

    /// The letter of a call that has ended.
    fn end_handling(&mut self, number: u64) -> Option<Box<Letter>> {
        let letter = self.handled.take(number);
        let is_busy = !self.handled.is_empty();
        self.resident.progress.set_busy(is_busy);
        letter
    }

    /// What became of the component is known before anyone is told of the message.
    fn end_message(
        &mut self,
        number: u64,
        began: Instant,
        outcome: Result<Option<MessagePayload>, WasmError>,
    ) {
        let Some(mut letter) = self.end_handling(number) else {
            return;
        };
        let answer = match outcome {
            Ok(reply) => {
                let bytes = reply.as_ref().map(MessagePayload::len);
                let told = || bytes.map_or(Reply::Nothing, Reply::Bytes);
                self.end_well(&letter, Handling::Answered, began, told);
                Ok(reply)
            }
            Err(WasmError::GuestError { component, error }) => {
                let error = error.kept();
                let told = || Reply::Error(error.clone());
                self.end_well(&letter, Handling::GuestError, began, told);
                let error = Arc::new(WasmError::GuestError { component, error });
                letter.has_gone_wrong(&error);
                Err(RequestError::Component(error))
            }
            // It had failed before, in a call that was not a message: this one never
            // reached it.
            Err(WasmError::ComponentFailed { source, .. }) => {
                self.resident.mailbox.put_back(letter);
                return self.fail_again(kept(WasmError::clone(&source)));
            }
            Err(error) => {
                let error = kept(error);
                self.lose(&error);
                return self.give_up(letter, began, error);
            }
        };
        if let Some(reply) = letter.reply.take() {
            reply.answer(answer);
        }
    }

    /// A call of the program has ended. What it ended in may be another component's error, and
    /// the failure of this one may have been kept from whoever called: the engine knows.
    async fn end_call(&mut self, number: u64, began: Instant, outcome: Result<(), WasmError>) {
        let failure = self.failure().await;
        let Some(letter) = self.end_handling(number) else {
            return;
        };
        if let Some(failure) = failure.filter(|_| self.is_serving()) {
            self.fail(failure);
        }
        match outcome {
            Ok(()) => {
                self.end_well(&letter, Handling::Answered, began, || Reply::Nothing);
                if let Some(call) = letter.call {
                    call.answer(Ok(()));
                }
            }
            Err(error) => self.give_up(letter, began, kept(error)),
        }
    }

    /// It was handled, and what it ended in is an answer.
    fn end_well(
        &self,
        letter: &Letter,
        handling: Handling,
        began: Instant,
        reply: impl FnOnce() -> Reply,
    ) {
        let (waited, took) = (began - letter.accepted, self.active - began);
        let meters = self.resident.meters();
        meters.handled(letter.kind, handling, waited, took);
        self.resident.progress.count_handled();
        let class = match handling {
            Handling::GuestError => EventClass::ErrorReply,
            Handling::Answered | Handling::Failed => EventClass::Handled,
        };
        self.shared.office.tell_many(class, || Event::Message {
            from: letter.message.sender.clone(),
            to: letter.message.recipient.clone(),
            kind: letter.kind,
            call: letter.call_name(),
            bytes: letter.message.payload.len(),
            reply: reply(),
            waited,
            took,
        });
    }

    /// It was handled, and ended in an error that is no answer.
    fn give_up(&self, letter: Box<Letter>, began: Instant, error: Arc<WasmError>) {
        let (waited, took) = (began - letter.accepted, self.active - began);
        let meters = self.resident.meters();
        meters.handled(letter.kind, Handling::Failed, waited, took);
        let cause = DeadLetterCause::Failed(error);
        self.shared.office.give_up(letter, cause);
    }
}

/// The engine's call for a letter; `call` is what is done in place of it.
async fn perform<E: RuntimeEngine + ?Sized>(
    engine: &E,
    handle: &ComponentHandle,
    message: ComponentMessage,
    kind: LetterKind,
    call: Option<Option<CallFuture>>,
) -> Outcome {
    match (call, kind) {
        (Some(Some(call)), _) => Outcome::Call(call.await),
        (Some(None), _) => Outcome::Call(Ok(())),
        (None, LetterKind::Callback) => {
            let ended = engine.call_handle_callback(handle, message).await;
            Outcome::Message(ended.map(|()| None))
        }
        (None, _) => Outcome::Message(engine.call_handle_message(handle, message).await),
    }
}
