//! The delivery of one letter: the call of the engine, and what is told of it.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::Instrument;

use wasm_core::{ComponentHandle, MessagePayload, RuntimeEngine, WasmError};

use crate::component::resident::Record;
use crate::component::status::Phase;
use crate::component::task::Task;
use crate::error::kept;
use crate::post::answer::RequestError;
use crate::post::letter::{Letter, LetterKind};
use crate::watch::dead_letter::DeadLetterCause;
use crate::watch::event::{Event, Reply};
use crate::watch::metrics::Handling;

/// What the engine's call for a letter ended with; of a call of the program, whether it did.
enum Outcome {
    Message(Result<Option<MessagePayload>, WasmError>),
    Call(Result<(), WasmError>),
}

impl<E: RuntimeEngine + ?Sized> Task<E> {
    pub(crate) async fn deliver(&mut self, mut letter: Box<Letter>) {
        let (Some(port), Some(handle)) = (self.port.clone(), self.handle.clone()) else {
            // Nothing is delivered without an instance.
            return self.resident.mailbox.push_front(letter);
        };
        if letter
            .incarnation
            .is_some_and(|incarnation| incarnation != port.incarnation)
        {
            let cause = DeadLetterCause::RequesterGone;
            return self.shared.office.give_up(letter, cause);
        }
        if !letter.is_wanted() {
            return self.shared.office.withdraw_unwanted(&letter);
        }
        if let Some(ticket) = &letter.ticket
            && !self.attend(ticket.begin()).await
        {
            // It was cancelled, or comes again.
            return;
        }
        let began = Instant::now();
        port.begin_handling(letter.hops, letter.span.clone());
        self.resident.update(|record| record.phase = Phase::Busy);
        // A callback that is delivered makes room for another request.
        letter.seat = None;
        let outcome = self.call(handle, letter).await;
        let Some(letter) = self.handling.take() else {
            return;
        };
        port.end_handling();
        match outcome {
            Outcome::Message(outcome) => self.end_message(letter, began, outcome),
            Outcome::Call(outcome) => self.end_call(letter, began, outcome).await,
        }
        self.active = Instant::now();
    }

    /// Has the engine handle a letter, which is kept where it is not lost if the engine panics.
    async fn call(&mut self, handle: ComponentHandle, letter: Box<Letter>) -> Outcome {
        let engine = Arc::clone(&self.shared.engine);
        let (message, span) = (letter.message.clone(), letter.span.clone());
        let kind = letter.kind;
        let call = letter.call.as_ref().map(|call| call.begin(handle.clone()));
        self.handling = Some(letter);
        match (call, kind) {
            (Some(Some(call)), _) => Outcome::Call(self.attend(call.instrument(span)).await),
            (Some(None), _) => Outcome::Call(Ok(())),
            (None, LetterKind::Callback) => {
                let call = engine.call_handle_callback(&handle, message);
                let ended = self.attend(call.instrument(span)).await;
                Outcome::Message(ended.map(|()| None))
            }
            (None, _) => {
                let call = engine.call_handle_message(&handle, message);
                Outcome::Message(self.attend(call.instrument(span)).await)
            }
        }
    }

    /// What became of the component is known before anyone is told of the message.
    fn end_message(
        &mut self,
        mut letter: Box<Letter>,
        began: Instant,
        outcome: Result<Option<MessagePayload>, WasmError>,
    ) {
        let answer = match outcome {
            Ok(reply) => {
                let bytes = reply.as_ref().map(MessagePayload::len);
                let told = bytes.map_or(Reply::Nothing, Reply::Bytes);
                self.end_well(&letter, Handling::Answered, began, told);
                Ok(reply)
            }
            Err(WasmError::GuestError { component, error }) => {
                let error = error.kept();
                let told = Reply::Error(error.clone());
                self.end_well(&letter, Handling::GuestError, began, told);
                let error = Arc::new(WasmError::GuestError { component, error });
                Err(RequestError::Component(error))
            }
            // It had failed before, in a call that was not a message: this one never
            // reached it.
            Err(WasmError::ComponentFailed { source, .. }) => {
                self.resident.mailbox.push_front(letter);
                return self.fail(kept(WasmError::clone(&source)));
            }
            Err(error) => {
                let error = kept(error);
                let is_gone = matches!(*error, WasmError::ComponentNotFound { .. });
                if error.fails_instance() || is_gone {
                    self.fail(Arc::clone(&error));
                }
                return self.give_up(letter, began, error);
            }
        };
        if let Some(reply) = letter.reply.take() {
            reply.answer(answer);
        }
    }

    /// A call of the program has ended. What it ended in may be another component's error, and
    /// the failure of this one may have been kept from whoever called: the engine knows.
    async fn end_call(
        &mut self,
        letter: Box<Letter>,
        began: Instant,
        outcome: Result<(), WasmError>,
    ) {
        // Where it is not lost if the engine panics.
        self.handling = Some(letter);
        let failure = self.failure().await;
        let Some(letter) = self.handling.take() else {
            return;
        };
        if let Some(failure) = failure {
            self.fail(failure);
        }
        match outcome {
            Ok(()) => {
                self.end_well(&letter, Handling::Answered, began, Reply::Nothing);
                if let Some(call) = letter.call {
                    call.answer(Ok(()));
                }
            }
            Err(error) => self.give_up(letter, began, kept(error)),
        }
    }

    /// It was handled, and what it ended in is an answer.
    fn end_well(&self, letter: &Letter, handling: Handling, began: Instant, reply: Reply) {
        let (waited, took) = (began - letter.accepted, began.elapsed());
        let meters = self.resident.meters();
        meters.handled(letter.kind, handling, waited, took);
        self.resident.update(|record| {
            record.counts.handled += 1;
            record.end_handling();
        });
        self.shared.office.tell(|| Event::Message {
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

    /// It was handled, and ended in an error that is no answer.
    fn give_up(&self, letter: Box<Letter>, began: Instant, error: Arc<WasmError>) {
        let (waited, took) = (began - letter.accepted, began.elapsed());
        let meters = self.resident.meters();
        meters.handled(letter.kind, Handling::Failed, waited, took);
        self.resident.update(Record::end_handling);
        let cause = DeadLetterCause::Failed(error);
        self.shared.office.give_up(letter, cause);
    }
}
