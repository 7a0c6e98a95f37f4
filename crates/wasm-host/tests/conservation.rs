//! Nothing that a host accepts is lost, and nothing happens twice.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "conservation/broken.rs"]
mod broken;
#[path = "conservation/mod.rs"]
mod conservation;

use std::sync::Arc;

use broken::{
    BrokenEngine, BrokenRouter, BrokenStorage, BrokenTimers, EngineFlaw, RouterFlaw, TimersFlaw,
};
use conservation::timers::model;
use conservation::{Redelivery, Setting, Time, holds, run};

fn on_model(time: Time) -> Setting {
    let mut setting = Setting::new(|services| Arc::new(model(services)), time);
    setting.has_alarm = true;
    setting
}

/// What happens to applications, often enough to be worth anything.
const HAPPENS: &[&str] = &[
    "cancelled",
    "dead: callback, failed",
    "dead: callback, quarantined",
    "dead: callback, requester-gone",
    "dead: callback, unloaded",
    "dead: message, failed",
    "dead: message, quarantined",
    "dead: message, stopped",
    "dead: message, unloaded",
    "dead: request, failed",
    "dead: request, quarantined",
    "dead: request, unloaded",
    "handled: callback",
    "handled: message",
    "handled: request",
    "last word: Yes",
    "request: No",
    "request: abandoned",
    "request: in a failed initialize",
    "request: in initialize",
    "redelivered",
    "renewed",
    "restarted",
    "several at a time",
    "slept",
    "withdrawn: AskerGone",
    "withdrawn: GivenUp",
    "withdrawn: TimedOut",
    "swap: engine",
    "swap: ok",
    "swap: superseded",
    "timer: came",
    "timer: kept",
    "timer: refused",
    "timer: taken back",
    "unload: engine",
    "woke",
];

#[test]
fn nothing_is_lost_on_the_model() {
    const APPLICATIONS: u64 = 1_000;

    let tally = holds(
        "nothing_is_lost_on_the_model",
        on_model(Time::Paused),
        APPLICATIONS,
    );
    if tally["applications"] < APPLICATIONS {
        return;
    }
    for what in HAPPENS {
        assert!(
            tally.contains_key(*what),
            "{what} never happened: {tally:?}"
        );
    }
}

/// With what a single thread never sees: an answer that comes while its request is
/// being made, an unload during a send.
#[test]
fn nothing_is_lost_among_threads() {
    holds("nothing_is_lost_among_threads", on_model(Time::Real(3)), 20);
}

/// Some application must break the property, in these words among others.
fn is_caught(setting: Setting, words: &str) {
    let says_so = |seed| {
        let broken = run(seed, &setting).err();
        broken.is_some_and(|broken| broken.wrong.iter().any(|wrong| wrong.contains(words)))
    };
    assert!((0..500).any(says_so), "not caught: {words}");
}

macro_rules! caught {
    (router: $($flaw:ident => $words:literal as $test:ident,)*) => {$(
        #[test]
        fn $test() {
            let mut setting = on_model(Time::Paused);
            setting.router = |own| Arc::new(BrokenRouter::new(own, RouterFlaw::$flaw));
            is_caught(setting, $words);
        }
    )*};
    (engine: $($flaw:ident => $words:literal as $test:ident,)*) => {$(
        #[test]
        fn $test() {
            let mut setting = on_model(Time::Paused);
            setting.around = |engine| Arc::new(BrokenEngine::new(engine, EngineFlaw::$flaw));
            is_caught(setting, $words);
        }
    )*};
}

caught! {
    router:
    SendsTwice => "not conserved" as a_message_that_is_sent_twice_is_caught,
    Loses => "not conserved" as a_message_that_is_lost_is_caught,
    RefusesWhatItTakes => "accepted No" as a_message_that_is_taken_and_refused_is_caught,
    SwapsTwo => "out of order" as an_overtaken_message_is_caught,
    AltersThePayload => "nobody sent" as an_altered_message_is_caught,
    CancelsNothing => "though cancelled" as a_request_that_is_not_cancelled_is_caught,
    CancelsWhatIsOver => "though cancelled" as a_callback_before_a_cancellation_is_caught,
}

caught! {
    engine:
    LosesMessages => "not conserved" as a_message_that_is_not_handled_is_caught,
    LosesCallbacks => "not called back" as a_missing_callback_is_caught,
    RepeatsMessages => "not conserved" as a_message_that_is_handled_twice_is_caught,
    RepeatsCallbacks => "more than once" as a_second_callback_is_caught,
    RepeatsOldCallbacks => "another instance" as a_callback_of_another_instance_is_caught,
    TriesAgain => "failed over" as a_message_that_is_tried_again_is_caught,
    Overlaps => "during its" as two_calls_at_a_time_are_caught,
    Hangs => "does not end" as a_call_without_end_is_caught,
    StopsLate => "stopping took" as a_stop_that_takes_too_long_is_caught,
    LeavesATask => "outlive" as a_task_that_stays_is_caught,
    LosesWhatWakes => "not conserved" as a_message_that_is_lost_when_it_wakes_is_caught,
    WakesTwice => "never ended" as a_component_that_wakes_twice_is_caught,
    SleepsOverRequests => "another instance" as a_component_that_sleeps_over_requests_is_caught,
    LosesBesideOthers => "not conserved" as a_message_that_is_lost_beside_others_is_caught,
    MixesAnswers => "the wrong outcome" as answers_that_are_mixed_up_are_caught,
    RepeatsRedelivered => "not conserved" as a_dead_letter_that_is_delivered_twice_is_caught,
    RepeatsTimers => "neither came once" as a_timer_that_is_delivered_twice_is_caught,
    LosesTimers => "neither came once" as a_timer_that_is_not_delivered_is_caught,
}

macro_rules! caught_timers {
    ($($flaw:ident => $words:literal as $test:ident,)*) => {$(
        #[test]
        fn $test() {
            let mut setting = on_model(Time::Paused);
            setting.timers = |own| Arc::new(BrokenTimers::new(own, TimersFlaw::$flaw));
            is_caught(setting, $words);
        }
    )*};
}

caught_timers! {
    Loses => "neither came once nor is kept" as a_timer_that_is_lost_is_caught,
    SetsTwo => "that nobody set" as a_timer_that_comes_twice_is_caught,
    ComesEarly => "came early" as a_timer_that_comes_early_is_caught,
    CancelsNothing => "came though taken back" as a_timer_that_is_not_taken_back_is_caught,
}

#[test]
fn a_store_that_forgets_timers_is_caught() {
    let mut setting = on_model(Time::Paused);
    setting.storage = |own| Arc::new(BrokenStorage(own));
    is_caught(setting, "neither came once nor is kept");
}

#[test]
fn a_dead_letter_that_is_delivered_and_kept_is_caught() {
    let mut setting = on_model(Time::Paused);
    setting.redelivery = Redelivery::Keeps;
    is_caught(setting, "not conserved");
}

#[test]
fn a_dead_letter_that_is_lost_when_it_is_delivered_again_is_caught() {
    let mut setting = on_model(Time::Paused);
    setting.redelivery = Redelivery::Loses;
    is_caught(setting, "not conserved");
}
