//! What is counted, through the facade `metrics`. The names stand in the documentation
//! of the crate.

use std::sync::Arc;
use std::time::Duration;

use metrics::{
    Counter, Histogram, SharedString, Unit, counter, describe_counter, describe_histogram,
    histogram,
};

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

const COUNTERS: [(&str, &str); 9] = [
    (
        "wasm_messages_total",
        "Messages that were handled, by what came of them.",
    ),
    (
        "wasm_refused_total",
        "Messages for which there was no room.",
    ),
    (
        "wasm_dead_letters_total",
        "Messages that could not be handled, by why.",
    ),
    (
        "wasm_denied_total",
        "Attempts at what a component is not permitted.",
    ),
    ("wasm_failures_total", "Failures of a component."),
    ("wasm_restarts_total", "Restarts of a component."),
    ("wasm_wakes_total", "How often a component was woken."),
    (
        "wasm_redelivered_total",
        "Dead letters that were delivered again.",
    ),
    (
        "wasm_withdrawn_total",
        "Requests that were not handled, as nobody waited for them any more.",
    ),
];

const HISTOGRAMS: [(&str, &str); 2] = [
    (
        "wasm_wait_seconds",
        "How long messages waited to be handled.",
    ),
    ("wasm_call_seconds", "How long messages took to be handled."),
];

/// Tells the recorder of the embedder what is counted.
pub(crate) fn describe() {
    for (name, description) in COUNTERS {
        record(|| describe_counter!(name, description));
    }
    for (name, description) in HISTOGRAMS {
        record(|| describe_histogram!(name, Unit::Seconds, description));
    }
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
