//! For every [`Clock`].

use std::convert::Infallible;
use std::sync::Arc;

use tokio::task::JoinSet;

use wasm_core::{Clock, Timestamp};

use crate::suite::{Case, cases};

/// A clock.
pub type Subject = Arc<dyn Clock>;

/// Every case.
pub fn cases() -> Vec<Case<Subject, Infallible>> {
    cases!["clock":
        "A moment, counted from the Unix epoch; `nanoseconds` is below 1,000,000,000." => [
            nanoseconds_are_less_than_a_second,
        ],
        "What components are told when they ask for the time." => [
            many_may_ask_at_once,
            it_answers_again_and_again,
        ],
    ]
}

#[track_caller]
fn is_a_time(now: Timestamp) {
    assert!(now.nanoseconds < 1_000_000_000, "{now:?}");
}

async fn nanoseconds_are_less_than_a_second(clock: Subject) {
    for _ in 0..1_000 {
        is_a_time(clock.now());
    }
}

async fn many_may_ask_at_once(clock: Subject) {
    let mut questions = JoinSet::new();
    for _ in 0..16 {
        let clock = Arc::clone(&clock);
        questions.spawn(async move { clock.now() });
    }
    questions.join_all().await.into_iter().for_each(is_a_time);
}

async fn it_answers_again_and_again(clock: Subject) {
    let (first, second) = (clock.now(), clock.now());
    // It may be turned, but not in between by much: both are of this day.
    let apart = first.seconds.abs_diff(second.seconds);
    assert!(apart < 24 * 60 * 60, "{first:?}, {second:?}");
}
