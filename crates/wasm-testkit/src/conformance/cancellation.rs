use tokio::task::yield_now;
use tokio::time::Instant;

use wasm_core::{ComponentState, WasmError};
use wasm_fixtures::{
    CALLBACK, COUNTER, ECHO, INIT_SENDS, SENDER, SLEEP_FOREVER, SPIN, SPIN_IN_HEALTH,
};

use super::lab::{SHORT, begin, bytes, config, id_of, message, permitted, poll_once, timed, until};
use super::probes::GatedRouter;
use super::{Engine, Feature, Lab};
use crate::suite::{Case, cases};

pub(super) fn cases<E: Engine + ?Sized>() -> Vec<Case<Lab<E>, Feature>> {
    cases!["cancellation":
        "Dropping the future of a call that has begun does no harm: the call ends in the \
         background within its deadline, its answer is discarded, and the component stays as \
         that call left it." => [
            a_dropped_call_ends_in_the_background,
            the_next_call_waits_for_a_dropped_one,
            the_effect_of_a_dropped_call_stays,
            the_answer_of_a_dropped_call_goes_to_nobody,
            a_dropped_call_that_computes_is_stopped_at_its_deadline,
            a_dropped_call_that_waits_is_stopped_at_its_deadline,
            a_dropped_health_is_stopped_at_its_deadline,
            a_dropped_call_is_counted,
        ],
        "A call that still waits for its turn is withdrawn, and the guest never sees it." => [
            a_waiting_call_that_is_dropped_is_never_made,
            a_waiting_call_of_any_kind_that_is_dropped_is_never_made,
            a_call_whose_turn_has_just_come_passes_it_on_when_dropped,
            a_call_that_was_never_polled_is_never_made,
        ],
        "A future that is kept without being polled holds nobody up either: once it has been \
         polled, its call takes place." => [
            a_running_call_that_is_not_polled_goes_on,
            a_waiting_call_that_is_not_polled_takes_its_turn,
            waiting_calls_of_all_kinds_that_are_not_polled_take_their_turns,
        ],
        "Dropping the future does not stop it." => [
            a_dropped_restart_goes_on,
            a_dropped_restart_that_waits_takes_its_turn,
        ],
    ]
}

async fn a_dropped_call_ends_in_the_background<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let sender = bench.load(SENDER, permitted()).await;
    let mut call = Box::pin(bench.send(&sender, "demo/a/main effect"));
    router.gate.entered_by(call.as_mut()).await;
    drop(call);
    assert_eq!(bench.state(&sender).await, ComponentState::Busy);
    assert_eq!(router.accepted(), [""; 0]);
    router.gate.open(1);
    // Nobody but the engine is there to drive it.
    until(async || bench.state(&sender).await == ComponentState::Ready).await;
    assert_eq!(router.accepted(), ["effect"]);
}

async fn the_next_call_waits_for_a_dropped_one<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let sender = bench.load(SENDER, permitted()).await;
    let mut call = Box::pin(bench.send(&sender, "demo/a/main 1"));
    router.gate.entered_by(call.as_mut()).await;
    drop(call);
    let mut next = Box::pin(bench.send(&sender, "demo/a/main 2"));
    for _ in 0..10 {
        begin("the next call", next.as_mut()).await;
        yield_now().await;
    }
    router.gate.open(2);
    let next = next.await;
    assert!(matches!(next, Ok(None)), "{next:?}");
    assert_eq!(router.accepted(), ["1", "2"]);
    assert_eq!(router.most_inside(), 1, "calls at once");
}

async fn the_effect_of_a_dropped_call_stays<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let callback = bench.load(CALLBACK, permitted()).await;
    if let Err(error) = bench.call_back(&callback, "kept").await {
        panic!("{error}");
    }
    let mut call = Box::pin(bench.send(&callback, "demo/a/main effect"));
    router.gate.entered_by(call.as_mut()).await;
    drop(call);
    router.gate.open(1);
    until(async || bench.state(&callback).await == ComponentState::Ready).await;
    // The instance is the same as before.
    assert_eq!(bench.ask(&callback, "last").await, "-|-|kept");
    let usage = bench.usage(&callback).await;
    assert_eq!((usage.state, usage.restarts), (ComponentState::Ready, 0));
    // Whether it had begun when it was dropped or not: it is made whole, or not at all.
    let counter = bench.load(COUNTER, config()).await;
    for _ in 0..3 {
        let mut call = Box::pin(bench.send(&counter, ""));
        poll_once(call.as_mut()).await;
    }
    let count = bench.ask(&counter, "").await;
    let calls = bench.usage(&counter).await.calls;
    assert_eq!(count, calls.to_string(), "as many as have reached it");
}

async fn the_answer_of_a_dropped_call_goes_to_nobody<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let echo = bench.load(ECHO, config()).await;
    for n in 0..20 {
        let mut call = Box::pin(bench.send(&echo, format!("dropped {n}")));
        poll_once(call.as_mut()).await;
        drop(call);
        let payload = format!("awaited {n}");
        assert_eq!(bench.ask(&echo, payload.clone()).await, payload);
    }
}

async fn a_dropped_call_that_computes_is_stopped_at_its_deadline<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(SPIN, timed(SHORT)).await;
    let mut call = Box::pin(bench.send(&handle, "go"));
    bench.begun(&handle, call.as_mut()).await;
    drop(call);
    until(async || bench.state(&handle).await == ComponentState::Failed).await;
    let error = bench.fail(&handle, "ok").await;
    assert!(
        matches!(&error, WasmError::ComponentFailed { source, .. }
            if matches!(**source, WasmError::Timeout { .. })),
        "{error}"
    );
    bench.restart(&handle).await;
    assert_eq!(bench.ask(&handle, "ok").await, "ok");
}

async fn a_dropped_call_that_waits_is_stopped_at_its_deadline<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(SLEEP_FOREVER, timed(SHORT)).await;
    let start = Instant::now();
    let mut call = Box::pin(bench.send(&handle, "go"));
    bench.begun(&handle, call.as_mut()).await;
    drop(call);
    let error = bench.fail(&handle, "ok").await;
    assert!(start.elapsed() >= SHORT, "stopped before its deadline");
    assert!(
        matches!(&error, WasmError::ComponentFailed { source, .. }
            if matches!(**source, WasmError::Timeout { .. })),
        "{error}"
    );
    assert_eq!(bench.usage(&handle).await.timeouts, 1);
}

async fn a_dropped_health_is_stopped_at_its_deadline<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(SPIN_IN_HEALTH, timed(SHORT)).await;
    let mut health = bench.engine.health(&handle);
    bench.begun(&handle, health.as_mut()).await;
    drop(health);
    assert_eq!(bench.state(&handle).await, ComponentState::Busy);
    let error = bench.fail(&handle, "hi").await;
    assert!(
        matches!(&error, WasmError::ComponentFailed { source, .. }
            if matches!(**source, WasmError::Timeout { .. })),
        "{error}"
    );
    assert_eq!(bench.usage(&handle).await.timeouts, 1);
}

async fn a_dropped_call_is_counted<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let sender = bench.load(SENDER, permitted()).await;
    let mut call = Box::pin(bench.send(&sender, "demo/a/main hi"));
    router.gate.entered_by(call.as_mut()).await;
    drop(call);
    router.gate.open(1);
    if let Err(error) = bench.engine.health(&sender).await {
        panic!("{error}");
    }
    assert_eq!(bench.usage(&sender).await.calls, 2);
}

async fn a_waiting_call_that_is_dropped_is_never_made<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let sender = bench.load(SENDER, permitted()).await;
    let mut calls: Vec<_> = (0..4)
        .map(|n| Box::pin(bench.send(&sender, format!("demo/a/main {n}"))))
        .collect();
    for call in &mut calls {
        begin("a call that is held up", call.as_mut()).await;
    }
    drop(calls.remove(2));
    drop(calls.remove(1));
    router.gate.open(4);
    for call in calls {
        let outcome = call.await;
        assert!(matches!(outcome, Ok(None)), "{outcome:?}");
    }
    // Behind whatever is left.
    assert_eq!(bench.tell(&sender, "demo/a/main last").await, None);
    assert_eq!(router.accepted(), ["0", "3", "last"]);
    assert_eq!(bench.usage(&sender).await.calls, 3);
}

async fn a_waiting_call_of_any_kind_that_is_dropped_is_never_made<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let callback = bench.load(CALLBACK, permitted()).await;
    let running = bench.spawn_send(&callback, "demo/a/main question");
    router.gate.entered(1).await;
    let mut kept = Box::pin(bench.call_back(&callback, "kept"));
    begin("a callback behind a call", kept.as_mut()).await;
    let mut health = bench.engine.health(&callback);
    begin("health behind a call", health.as_mut()).await;
    let mut metadata = bench.engine.metadata(&callback);
    begin("metadata behind a call", metadata.as_mut()).await;
    drop((metadata, health, kept));
    router.gate.open(1);
    let running = running.await;
    assert!(matches!(running, Ok(Ok(Some(_)))), "{running:?}");
    // Behind whatever is left.
    assert_eq!(bench.tell(&callback, "last").await, None);
    assert_eq!(bench.usage(&callback).await.calls, 2);
}

async fn a_call_whose_turn_has_just_come_passes_it_on_when_dropped<E: Engine + ?Sized>(
    lab: Lab<E>,
) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let sender = bench.load(SENDER, permitted()).await;
    let mut first = Box::pin(bench.send(&sender, "demo/a/main 1"));
    let mut second = Box::pin(bench.send(&sender, "demo/a/main 2"));
    begin("a call that is held up", first.as_mut()).await;
    begin("the call behind it", second.as_mut()).await;
    router.gate.open(9);
    let outcome = first.await;
    assert!(matches!(outcome, Ok(None)), "{outcome:?}");
    // The second is next but was not polled since: whether it had begun is the
    // engine's business, not that it holds up the third.
    drop(second);
    assert_eq!(bench.tell(&sender, "demo/a/main 3").await, None);
    let accepted = router.accepted();
    assert_eq!(accepted.first().map(String::as_str), Some("1"));
    assert_eq!(accepted.last().map(String::as_str), Some("3"));
    let calls = bench.usage(&sender).await.calls;
    assert_eq!(calls, accepted.len() as u64, "calls of {accepted:?}");
}

async fn a_running_call_that_is_not_polled_goes_on<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let sender = bench.load(SENDER, permitted()).await;
    let mut call = Box::pin(bench.send(&sender, "demo/a/main kept"));
    router.gate.entered_by(call.as_mut()).await;
    router.gate.open(2);
    assert_eq!(bench.tell(&sender, "demo/a/main next").await, None);
    assert_eq!(router.accepted(), ["kept", "next"]);
    // It has ended in the meantime, and says so when it is asked.
    let outcome = call.await;
    assert!(matches!(outcome, Ok(None)), "{outcome:?}");
}

async fn a_waiting_call_that_is_not_polled_takes_its_turn<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let sender = bench.load(SENDER, permitted()).await;
    let running = bench.spawn_send(&sender, "demo/a/main 1");
    router.gate.entered(1).await;
    let mut waiting = Box::pin(bench.send(&sender, "demo/a/main 2"));
    begin("a call behind another", waiting.as_mut()).await;
    router.gate.open(3);
    assert_eq!(bench.tell(&sender, "demo/a/main 3").await, None);
    assert_eq!(router.accepted(), ["1", "2", "3"]);
    for outcome in [
        running.await.map_err(|error| error.to_string()),
        Ok(waiting.await),
    ] {
        assert!(matches!(outcome, Ok(Ok(None))), "{outcome:?}");
    }
}

async fn waiting_calls_of_all_kinds_that_are_not_polled_take_their_turns<E: Engine + ?Sized>(
    lab: Lab<E>,
) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let callback = bench.load(CALLBACK, permitted()).await;
    let running = bench.spawn_send(&callback, "demo/a/main question");
    router.gate.entered(1).await;
    let mut health = bench.engine.health(&callback);
    begin("health behind a call", health.as_mut()).await;
    let mut metadata = bench.engine.metadata(&callback);
    begin("metadata behind a call", metadata.as_mut()).await;
    let mut restart = bench.engine.restart_component(&callback);
    begin("a restart behind a call", restart.as_mut()).await;
    let mut kept = Box::pin(bench.call_back(&callback, "kept"));
    begin("a callback behind a restart", kept.as_mut()).await;
    router.gate.open(1);
    // Only this one is driven.
    assert_eq!(bench.ask(&callback, "last").await, "-|-|kept");
    let usage = bench.usage(&callback).await;
    assert_eq!((usage.calls, usage.restarts), (5, 1), "calls and restarts");
    let outcomes = tokio::join!(running, health, metadata, restart, kept);
    assert!(
        matches!(&outcomes, (Ok(Ok(Some(_))), Ok(_), Ok(_), Ok(()), Ok(()))),
        "{outcomes:?}"
    );
}

async fn a_call_that_was_never_polled_is_never_made<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::open();
    let bench = lab.bench_with(router.services());
    let counter = bench.load(COUNTER, config()).await;
    // The engine is called, and what it returns is never polled.
    drop(bench.called(&counter, ""));
    let callback = message(&counter, "");
    drop(bench.engine.call_handle_callback(&counter, callback));
    drop(bench.engine.restart_component(&counter));
    drop(bench.engine.unload_component(&counter));
    drop(bench.engine.health(&counter));
    drop(bench.engine.metadata(&counter));
    let (id, sends) = (id_of(INIT_SENDS), bytes(INIT_SENDS));
    drop(bench.engine.load_component(&id, sends, permitted()));
    assert_eq!(bench.ask(&counter, "").await, "1");
    let usage = bench.usage(&counter).await;
    assert_eq!((usage.calls, usage.restarts), (1, 0));
    assert_eq!(router.accepted(), [""; 0], "what was sent");
}

async fn a_dropped_restart_goes_on<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let counter = bench.load(COUNTER, config()).await;
    assert_eq!(bench.ask(&counter, "").await, "1");
    let mut restart = bench.engine.restart_component(&counter);
    poll_once(restart.as_mut()).await;
    drop(restart);
    assert_eq!(
        bench.ask(&counter, "").await,
        "1",
        "the count of a fresh instance"
    );
    assert_eq!(bench.usage(&counter).await.restarts, 1);
}

async fn a_dropped_restart_that_waits_takes_its_turn<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let callback = bench.load(CALLBACK, permitted()).await;
    if let Err(error) = bench.call_back(&callback, "kept").await {
        panic!("{error}");
    }
    let running = bench.spawn_send(&callback, "demo/a/main hi");
    router.gate.entered(1).await;
    let mut restart = bench.engine.restart_component(&callback);
    begin("a restart beside a call", restart.as_mut()).await;
    drop(restart);
    router.gate.open(1);
    let running = running.await;
    assert!(matches!(running, Ok(Ok(Some(_)))), "{running:?}");
    until(async || bench.usage(&callback).await.restarts == 1).await;
    assert_eq!(bench.tell(&callback, "last").await, None);
}
