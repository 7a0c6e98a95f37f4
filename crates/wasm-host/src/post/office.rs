//! What the stations of a message share: the limits, the clock, how much is on its way, and
//! where is told what becomes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wasm_core::{Clock, ComponentId, ComponentMessage, MessagingError, Timestamp, WasmError};

use crate::caught::isolated;
use crate::error::{HostError, kept};
use crate::limits::HostLimits;
use crate::post::answer::RequestError;
use crate::post::carrier::Carrier;
use crate::post::letter::{Letter, LetterKind};
use crate::post::traffic::Traffic;
use crate::watch::dead_letter::{DeadLetter, DeadLetterCause, DeadLetters};
use crate::watch::event::{Event, EventClass, WithdrawnBecause};
use crate::watch::event_log::EventLog;
use crate::watch::events::{Events, KEPT_EVENTS};
use crate::watch::metrics;

pub(crate) struct Office {
    /// As whom the program around the host sends.
    pub(crate) program: ComponentId,
    pub(crate) limits: HostLimits,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) dead_letters: DeadLetters,
    /// Of a host that is one of several.
    pub(crate) carrier: Option<Arc<dyn Carrier>>,
    clock: Arc<dyn Clock>,
    events: EventLog,
    /// The program sends nothing more, and nothing is loaded.
    stopping: AtomicBool,
    /// The last event was told.
    stopped: AtomicBool,
}

impl Office {
    pub(crate) fn new(program: ComponentId, limits: HostLimits, clock: Arc<dyn Clock>) -> Self {
        Self {
            program,
            traffic: Traffic::new(limits.queued_bytes),
            dead_letters: DeadLetters::new(limits.dead_letters, limits.dead_letter_bytes),
            events: EventLog::new(KEPT_EVENTS, limits.event_bytes),
            carrier: None,
            limits,
            clock,
            stopping: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        }
    }

    pub(crate) fn with_carrier(mut self, carrier: Option<Arc<dyn Carrier>>) -> Self {
        self.carrier = carrier;
        self
    }

    /// Whether no other host may have this component by now.
    pub(crate) fn may_handle(&self, id: &ComponentId) -> bool {
        let carrier = self.carrier.as_deref();
        carrier.is_none_or(|carrier| {
            isolated("the carrier", || carrier.may_handle(id)).unwrap_or(false)
        })
    }

    /// By the embedder's clock. One that panics must not take along whoever asks: a task
    /// that ends overdue requests, or one that is ending already.
    pub(crate) fn now(&self) -> Timestamp {
        isolated("the clock", || self.clock.now()).unwrap_or_default()
    }

    pub(crate) fn begin_stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn check_running(&self) -> Result<(), MessagingError> {
        if self.is_stopping() {
            let reason = HostError::Stopped.to_string();
            return Err(MessagingError::DeliveryFailed(reason));
        }
        Ok(())
    }

    pub(crate) fn events(&self) -> Events {
        Events::new(self.events.reader(), self.stopped.load(Ordering::Acquire))
    }

    /// Tells of the end once, however often a host is stopped.
    pub(crate) fn tell_stopped(&self) {
        if !self.stopped.swap(true, Ordering::AcqRel) {
            self.tell(|| Event::Stopped);
        }
    }

    /// Makes an event only when somebody reads them.
    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        self.tell_many(EventClass::Other, event);
    }

    /// The same of an event of which a component may cause any number.
    pub(crate) fn tell_many(&self, class: EventClass, event: impl FnOnce() -> Event) {
        self.events.tell(class, event);
    }

    /// Tells that an instance could not be made; of what.
    pub(crate) fn tell_not_loaded(
        &self,
        component: &ComponentId,
        error: WasmError,
    ) -> Arc<WasmError> {
        let error = kept(error);
        self.tell(|| Event::NotLoaded {
            component: component.clone(),
            error: Arc::clone(&error),
        });
        error
    }

    /// A message becomes a dead letter; who waits for its answer is told.
    /// A timer that was not begun is none, but comes again, and so does what another host
    /// keeps for a recipient that leaves this one.
    pub(crate) fn give_up(&self, mut letter: Box<Letter>, cause: DeadLetterCause) {
        let leaves = cause.is_of_leaving();
        let ticket = letter.ticket.as_ref();
        if ticket.is_some_and(|ticket| ticket.comes_again(leaves)) {
            return letter.forget_reply();
        }
        self.give_up_for_good(letter, cause);
    }

    /// The same of one that does not come again.
    pub(crate) fn give_up_for_good(&self, mut letter: Box<Letter>, cause: DeadLetterCause) {
        if let Some(ticket) = &letter.ticket {
            ticket.bury(cause.as_str(), &cause.to_string());
        }
        letter.has_gone_wrong(&cause);
        let error = || match &cause {
            DeadLetterCause::Failed(error) => RequestError::Component(Arc::clone(error)),
            cause => MessagingError::DeliveryFailed(cause.to_string()).into(),
        };
        if let Some(reply) = letter.reply.take() {
            reply.answer(Err(error()));
        }
        if let Some(call) = letter.call.take() {
            call.answer(Err(error()));
        }
        let redeliveries = letter.redeliveries;
        self.add_dead(DeadLetter {
            redeliveries,
            ..DeadLetter::new(letter.message, letter.kind, cause, self.now())
        });
    }

    /// A message becomes a dead letter that another process was handling.
    pub(crate) fn bury(&self, message: ComponentMessage, kind: LetterKind, cause: DeadLetterCause) {
        self.add_dead(DeadLetter::new(message, kind, cause, self.now()));
    }

    fn add_dead(&self, dead: DeadLetter) {
        metrics::dead_letter(&dead.message.recipient, &dead.cause);
        self.tell_many(EventClass::Refused, || Event::DeadLetter {
            from: dead.message.sender.clone(),
            to: dead.message.recipient.clone(),
            kind: dead.kind,
            call: dead.call_name(),
            bytes: dead.payload_bytes,
            cause: dead.cause.clone(),
        });
        self.dead_letters.add(dead);
    }

    /// Tells of the denials that were not told one by one.
    pub(crate) fn tell_denials(&self, component: &ComponentId, denials: u64) {
        if denials > 0 {
            let component = component.clone();
            self.tell_many(EventClass::Refused, || Event::DenialsLeftOut {
                component,
                denials,
            });
        }
    }

    /// A letter is not handled, because nobody waits for what comes of it.
    pub(crate) fn withdraw_unwanted(&self, letter: &Letter) {
        let Some(reply) = &letter.reply else {
            // A call, whose caller is gone.
            return;
        };
        if !reply.is_late() {
            return self.withdraw(letter, WithdrawnBecause::GivenUp);
        }
        self.withdraw(letter, WithdrawnBecause::TimedOut);
        letter.time_out();
    }

    /// A request that nobody waits for any more is not handled.
    pub(crate) fn withdraw(&self, letter: &Letter, because: WithdrawnBecause) {
        if let Some(ticket) = &letter.ticket {
            ticket.give_up();
        }
        metrics::withdrawn(&letter.message.recipient, because);
        self.tell_many(EventClass::Refused, || Event::Withdrawn {
            from: letter.message.sender.clone(),
            to: letter.message.recipient.clone(),
            bytes: letter.message.payload.len(),
            because,
            waited: letter.accepted.elapsed(),
        });
    }
}
