//! What is counted, through the facade `metrics`. The names stand in the documentation
//! of the crate.

use std::time::Duration;

use metrics::{Counter, Histogram, counter, histogram};

use wasm_core::ComponentId;

use crate::post::letter::LetterKind;
use crate::watch::dead_letter::DeadLetterCause;
use crate::watch::event::WithdrawnBecause;

/// Those of one component. What happens for each message is looked up once.
#[derive(Debug)]
pub(crate) struct Meters {
    handled: [Counter; 5],
    guest_errors: [Counter; 5],
    failed: [Counter; 5],
    call_seconds: Histogram,
    wait_seconds: Histogram,
    failures: Counter,
    restarts: Counter,
    wakes: Counter,
}

/// What came of a message, for the metric.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Handling {
    Answered,
    GuestError,
    Failed,
}

const KINDS: [LetterKind; 5] = [
    LetterKind::Message,
    LetterKind::Request,
    LetterKind::Callback,
    LetterKind::Timer,
    LetterKind::Call,
];

impl Meters {
    pub(crate) fn new(component: &ComponentId) -> Self {
        let id = || component.as_str().to_owned();
        let messages = |outcome: &'static str| {
            KINDS.map(|kind| {
                counter!("wasm_messages_total", "component" => id(), "kind" => kind.as_str(), "outcome" => outcome)
            })
        };
        Self {
            handled: messages("answered"),
            guest_errors: messages("guest-error"),
            failed: messages("failed"),
            call_seconds: histogram!("wasm_call_seconds", "component" => id()),
            wait_seconds: histogram!("wasm_wait_seconds", "component" => id()),
            failures: counter!("wasm_failures_total", "component" => id()),
            restarts: counter!("wasm_restarts_total", "component" => id()),
            wakes: counter!("wasm_wakes_total", "component" => id()),
        }
    }

    pub(crate) fn handled(
        &self,
        kind: LetterKind,
        handling: Handling,
        waited: Duration,
        took: Duration,
    ) {
        let counters = match handling {
            Handling::Answered => &self.handled,
            Handling::GuestError => &self.guest_errors,
            Handling::Failed => &self.failed,
        };
        counters[kind as usize].increment(1);
        self.wait_seconds.record(waited);
        self.call_seconds.record(took);
    }

    pub(crate) fn failure(&self) {
        self.failures.increment(1);
    }

    pub(crate) fn restart(&self) {
        self.restarts.increment(1);
    }

    pub(crate) fn wake(&self) {
        self.wakes.increment(1);
    }
}

pub(crate) fn dead_letter(component: &ComponentId, cause: &DeadLetterCause) {
    let component = component.as_str().to_owned();
    counter!("wasm_dead_letters_total", "component" => component, "cause" => cause.as_str())
        .increment(1);
}

/// A request that nobody waits for any more was taken out of the mailbox.
pub(crate) fn withdrawn(component: &ComponentId, because: WithdrawnBecause) {
    let component = component.as_str().to_owned();
    counter!("wasm_withdrawn_total", "component" => component, "because" => because.as_str())
        .increment(1);
}

/// A dead letter was delivered again.
pub(crate) fn redelivered(component: &ComponentId) {
    let component = component.as_str().to_owned();
    counter!("wasm_redelivered_total", "component" => component).increment(1);
}

/// Why a message was not accepted; its sender is only told that a queue is full.
pub(crate) fn refused(component: &ComponentId, reason: &'static str) {
    let component = component.as_str().to_owned();
    counter!("wasm_refused_total", "component" => component, "reason" => reason).increment(1);
}

pub(crate) fn denied(component: &ComponentId, capability: &'static str) {
    let component = component.as_str().to_owned();
    counter!("wasm_denied_total", "component" => component, "capability" => capability)
        .increment(1);
}
