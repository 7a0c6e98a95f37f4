//! What is counted, through the facade `metrics`. The names stand in the documentation
//! of the crate.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Histogram, SharedString, counter, histogram};

use wasm_core::ComponentId;

use crate::caught::isolated;
use crate::post::letter::LetterKind;
use crate::watch::dead_letter::DeadLetterCause;
use crate::watch::event::WithdrawnBecause;

/// As what it is told of that it panicked.
const RECORDER: &str = "the recorder of metrics";

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

/// Has the recorder of the embedder count.
fn record(work: impl FnOnce()) {
    isolated(RECORDER, work);
}

fn of_counter(register: impl FnOnce() -> Counter) -> Counter {
    isolated(RECORDER, register).unwrap_or_else(Counter::noop)
}

fn of_histogram(register: impl FnOnce() -> Histogram) -> Histogram {
    isolated(RECORDER, register).unwrap_or_else(Histogram::noop)
}

impl Meters {
    pub(crate) fn new(component: &ComponentId) -> Self {
        // A recorder keeps the labels of each of them.
        let shared = SharedString::from_shared(Arc::from(component.as_str()));
        let id = || shared.clone();
        let messages = |outcome: &'static str| {
            KINDS.map(|kind| {
                of_counter(|| counter!("wasm_messages_total", "component" => id(), "kind" => kind.as_str(), "outcome" => outcome))
            })
        };
        Self {
            handled: messages("answered"),
            guest_errors: messages("guest-error"),
            failed: messages("failed"),
            call_seconds: of_histogram(|| histogram!("wasm_call_seconds", "component" => id())),
            wait_seconds: of_histogram(|| histogram!("wasm_wait_seconds", "component" => id())),
            failures: of_counter(|| counter!("wasm_failures_total", "component" => id())),
            restarts: of_counter(|| counter!("wasm_restarts_total", "component" => id())),
            wakes: of_counter(|| counter!("wasm_wakes_total", "component" => id())),
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
        record(|| {
            counters[kind as usize].increment(1);
            self.wait_seconds.record(waited);
            self.call_seconds.record(took);
        });
    }

    pub(crate) fn failure(&self) {
        record(|| self.failures.increment(1));
    }

    pub(crate) fn restart(&self) {
        record(|| self.restarts.increment(1));
    }

    pub(crate) fn wake(&self) {
        record(|| self.wakes.increment(1));
    }
}

pub(crate) fn dead_letter(component: &ComponentId, cause: &DeadLetterCause) {
    let component = component.as_str().to_owned();
    let cause = cause.as_str();
    record(|| {
        counter!("wasm_dead_letters_total", "component" => component, "cause" => cause)
            .increment(1);
    });
}

/// A request that nobody waits for any more was taken out of the mailbox.
pub(crate) fn withdrawn(component: &ComponentId, because: WithdrawnBecause) {
    let component = component.as_str().to_owned();
    let because = because.as_str();
    record(|| {
        counter!("wasm_withdrawn_total", "component" => component, "because" => because)
            .increment(1);
    });
}

/// A dead letter was delivered again.
pub(crate) fn redelivered(component: &ComponentId) {
    let component = component.as_str().to_owned();
    record(|| counter!("wasm_redelivered_total", "component" => component).increment(1));
}

/// Why a message was not accepted; its sender is only told that a queue is full.
pub(crate) fn refused(component: &ComponentId, reason: &'static str) {
    let component = component.as_str().to_owned();
    record(|| {
        counter!("wasm_refused_total", "component" => component, "reason" => reason).increment(1);
    });
}

pub(crate) fn denied(component: &ComponentId, capability: &'static str) {
    let component = component.as_str().to_owned();
    record(|| {
        counter!("wasm_denied_total", "component" => component, "capability" => capability)
            .increment(1);
    });
}
