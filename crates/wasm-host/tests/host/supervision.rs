//! Failures, and what comes after them.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use wasm_core::{ComponentState, HealthStatus, MessagingError, RestartPolicy, Supervision};
use wasm_host::{Event, HostError, LetterKind, Phase, RequestError};
use wasm_testkit::wasm_fixtures::{
    CALLBACK, COUNTER, ECHO, HEALTH, INIT_ONCE, OBEDIENT, SHUTDOWN_REQUESTS, SLEEPER, SPIN,
    SPIN_IN_HEALTH, STORED_COUNTER, TRAP, TRAP_EVERY_THIRD, TRAP_IN_CALLBACK,
};

use crate::support::{SECOND, ask, causes, component, demo, is, load, restarted, told, until};

fn supervised(max_restarts: u32, backoff_ms: u64) -> Supervision {
    let mut supervision = Supervision::default();
    supervision.restart = RestartPolicy::OnFailure;
    supervision.max_restarts = max_restarts;
    supervision.backoff = Duration::from_millis(backoff_ms);
    supervision
}

#[tokio::test(start_paused = true)]
async fn a_component_that_fails_is_restarted_and_serves_what_waits() {
    let host = load(&[restarted("third", TRAP_EVERY_THIRD)]).await;
    let mut events = host.events();
    let texts = ["1", "2", "3", "4", "5"];
    for text in texts {
        host.send(&demo("third"), text).unwrap();
    }
    host.drain(SECOND).await.unwrap();
    assert_eq!(causes(&host.dead_letters()), ["failed"]);
    assert_eq!(host.dead_letters()[0].message.payload.as_bytes(), b"3");
    let status = host.component(&demo("third")).await.unwrap();
    assert_eq!((status.handled, status.failures), (4, 1));
    let usage = status.usage.unwrap();
    assert_eq!(
        (usage.state, usage.restarts, usage.traps),
        (ComponentState::Ready, 1, 1)
    );
    until(&mut events, |e| matches!(e, Event::Failed { .. })).await;
    until(&mut events, |e| matches!(e, Event::Restarted { .. })).await;
}

#[tokio::test(start_paused = true)]
async fn memory_is_lost_in_a_restart_and_storage_is_not() {
    let host = load(&[
        restarted("counter", COUNTER),
        restarted("stored", STORED_COUNTER),
    ])
    .await;
    for name in ["counter", "stored"] {
        assert_eq!(told(&host, name, "").await, "1");
        host.restart(&demo(name)).await.unwrap();
    }
    assert_eq!(told(&host, "counter", "").await, "1");
    assert_eq!(told(&host, "stored", "").await, "2");
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_an_answer_is_told_of_the_failure_at_once() {
    let trap = component("trap", TRAP).with_supervision(supervised(3, 1_000));
    let host = load(&[trap, component("asker", CALLBACK)]).await;
    let began = Instant::now();
    ask(&host, "trap", "poison").await.unwrap_err();
    assert_eq!(began.elapsed(), Duration::ZERO);
    // What comes while it waits is served afterwards.
    assert_eq!(told(&host, "trap", "ok").await, "ok");
    assert_eq!(began.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_wait_before_a_restart_doubles() {
    let trap = component("trap", TRAP).with_supervision(supervised(3, 100));
    let host = load(&[trap]).await;
    for wait in [100, 200, 400] {
        let began = Instant::now();
        ask(&host, "trap", "poison").await.unwrap_err();
        assert!(is(&host, "trap", Phase::Restarting).await);
        assert_eq!(told(&host, "trap", "ok").await, "ok");
        assert_eq!(began.elapsed(), Duration::from_millis(wait));
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_too_often_is_quarantined() {
    let trap = component("trap", TRAP).with_supervision(supervised(2, 10));
    let host = load(&[trap]).await;
    let mut events = host.events();
    for _ in 0..2 {
        ask(&host, "trap", "poison").await.unwrap_err();
        assert_eq!(told(&host, "trap", "ok").await, "ok");
    }
    let (killed, behind) = tokio::join!(ask(&host, "trap", "poison"), ask(&host, "trap", "ok"));
    assert!(matches!(killed, Err(RequestError::Component(e)) if e.fails_instance()));
    assert_eq!(
        behind.unwrap_err().to_string(),
        "delivery failed: its recipient is quarantined: demo/trap/main trapped in \
         `handle-message`: `unreachable` was executed"
    );
    assert!(is(&host, "trap", Phase::Quarantined).await);
    // The component was known to be lost before anyone was told of the message.
    assert_eq!(
        causes(&host.dead_letters()),
        ["failed", "failed", "quarantined", "failed"]
    );
    until(&mut events, |e| matches!(e, Event::Quarantined { .. })).await;
    let refused = MessagingError::DeliveryFailed(
        "demo/trap/main is quarantined: it has failed and is not restarted".to_owned(),
    );
    assert_eq!(host.send(&demo("trap"), "ok"), Err(refused));
    host.restart(&demo("trap")).await.unwrap();
    assert_eq!(told(&host, "trap", "ok").await, "ok");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_never_restarted_is_quarantined_at_once() {
    let host = load(&[component("trap", TRAP)]).await;
    ask(&host, "trap", "poison").await.unwrap_err();
    assert!(is(&host, "trap", Phase::Quarantined).await);
    assert_eq!(
        ask(&host, "trap", "ok").await.unwrap_err().to_string(),
        "delivery failed: demo/trap/main is quarantined: it has failed and is not restarted"
    );
}

#[tokio::test(start_paused = true)]
async fn failures_that_are_far_apart_do_not_add_up() {
    let trap = component("trap", TRAP).with_supervision(supervised(1, 10));
    let host = load(&[trap]).await;
    for _ in 0..5 {
        ask(&host, "trap", "poison").await.unwrap_err();
        assert_eq!(told(&host, "trap", "ok").await, "ok");
        sleep(5 * SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_is_exceeded_is_a_failure_like_any() {
    let host = load(&[restarted("spin", SPIN)]).await;
    let asked = ask(&host, "spin", "go").await.unwrap_err();
    assert!(
        matches!(&asked, RequestError::Component(e) if e.is_limit_error()),
        "{asked}"
    );
    assert_eq!(told(&host, "spin", "ok").await, "ok");
}

#[tokio::test(start_paused = true)]
async fn a_restart_that_fails_counts_as_a_failure() {
    let once = component("once", INIT_ONCE).with_supervision(supervised(3, 10));
    let host = load(&[once]).await;
    ask(&host, "once", "poison").await.unwrap_err();
    sleep(SECOND).await;
    let status = host.component(&demo("once")).await.unwrap();
    assert_eq!((status.phase, status.failures), (Phase::Quarantined, 4));
    let cause = status.cause.unwrap().to_string();
    assert!(cause.contains("did not initialize"), "{cause}");
    let restarted = host.restart(&demo("once")).await.unwrap_err();
    assert!(
        restarted.to_string().contains("did not initialize"),
        "{restarted}"
    );
    // Once what it stumbled over is away, it starts again.
    let storage = &host.services().storage;
    storage.delete(&demo("once"), "begun").await.unwrap();
    host.restart(&demo("once")).await.unwrap();
    assert_eq!(told(&host, "once", "ok").await, "ok");
}

#[tokio::test(start_paused = true)]
async fn answers_are_not_for_the_next_instance() {
    let host = load(&[restarted("asker", CALLBACK), component("sleeper", SLEEPER)]).await;
    let request = told(&host, "asker", "demo/sleeper/main 500").await;
    host.restart(&demo("asker")).await.unwrap();
    host.drain(SECOND).await.unwrap();
    assert_eq!(ask(&host, "asker", "last").await.unwrap(), None);
    let cancel = ask(&host, "asker", &format!("cancel {request}"))
        .await
        .unwrap_err();
    assert!(cancel.to_string().contains("invalid-message"), "{cancel}");
}

#[tokio::test(start_paused = true)]
async fn what_an_instance_asks_at_its_end_is_not_answered_to_the_next() {
    let host = load(&[
        component("it", SHUTDOWN_REQUESTS),
        component("sink", COUNTER),
    ])
    .await;
    let mut events = host.events();
    host.restart(&demo("it")).await.unwrap();
    host.drain(SECOND).await.unwrap();
    assert_eq!(told(&host, "it", "hello").await, "hello");
    let seen = until(&mut events, |e| matches!(e, Event::Message { .. })).await;
    assert!(
        matches!(&seen[..], [Event::Restarted { .. }, Event::Message { to, kind, .. }]
            if *to == demo("it") && *kind == LetterKind::Request),
        "{seen:?}"
    );
    assert_eq!(told(&host, "sink", "").await, "1");
    assert_eq!(causes(&host.dead_letters()), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_over_a_callback_is_restarted() {
    // Its callback traps; who makes the request for it is the router's caller.
    let host = load(&[
        restarted("fragile", TRAP_IN_CALLBACK),
        component("echo", ECHO),
    ])
    .await;
    let handle = host
        .component(&demo("fragile"))
        .await
        .unwrap()
        .handle
        .unwrap();
    let message = wasm_core::ComponentMessage::new(demo("fragile"), demo("echo"), "hello");
    let router = &host.services().router;
    router.request(&handle, message, SECOND).await.unwrap();
    host.drain(SECOND).await.unwrap();
    sleep(SECOND).await;
    assert_eq!(causes(&host.dead_letters()), ["failed"]);
    assert_eq!(told(&host, "fragile", "hello").await, "hello");
}

#[tokio::test(start_paused = true)]
async fn health_is_asked_for_and_remembered() {
    let host = load(&[
        component("health", HEALTH),
        restarted("spin", SPIN_IN_HEALTH),
    ])
    .await;
    ask(&host, "health", "degraded").await.unwrap();
    assert_eq!(
        host.health(&demo("health")).await.unwrap(),
        HealthStatus::Degraded
    );
    let status = host.component(&demo("health")).await.unwrap();
    assert_eq!(status.health, HealthStatus::Degraded);
    let spun = host.health(&demo("spin")).await.unwrap_err();
    assert!(
        matches!(&spun, HostError::Engine(e) if e.is_limit_error()),
        "{spun}"
    );
    assert!(is(&host, "spin", Phase::Restarting).await);
    assert_eq!(told(&host, "spin", "hello").await, "hello");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_unhealthy_for_so_long_is_restarted() {
    let mut health = component("health", HEALTH);
    health.supervision.health = Some(SECOND);
    let host = load(&[health]).await;
    let mut events = host.events();
    let phase = || async { host.component(&demo("health")).await.unwrap().health };
    assert_eq!(phase().await, HealthStatus::Unknown);
    sleep(SECOND * 3 / 2).await;
    assert_eq!(phase().await, HealthStatus::Healthy);
    ask(&host, "health", "unhealthy").await.unwrap();
    sleep(2 * SECOND).await;
    assert_eq!(phase().await, HealthStatus::Unhealthy);
    // It recovers before it has said so three times.
    ask(&host, "health", "healthy").await.unwrap();
    sleep(SECOND).await;
    ask(&host, "health", "unhealthy").await.unwrap();
    sleep(2 * SECOND).await;
    let is_restart = |e: &Event| matches!(e, Event::Restarted { .. } | Event::Unhealthy { .. });
    let mut restarts = Vec::new();
    while let Some(event) = events.try_next() {
        restarts.extend(is_restart(&event).then(|| event.to_string()));
    }
    assert_eq!(restarts, [""; 0]);
    let seen = until(&mut events, |e| matches!(e, Event::Restarted { .. })).await;
    assert_eq!(
        seen[0].to_string(),
        "demo/health/main said 3 times in a row that it is unhealthy, and is restarted"
    );
    // It is another instance, and well.
    sleep(SECOND * 3 / 2).await;
    assert_eq!(phase().await, HealthStatus::Healthy);
    let status = host.component(&demo("health")).await.unwrap();
    assert_eq!((status.phase, status.failures), (Phase::Ready, 0));
    assert_eq!(status.usage.unwrap().restarts, 1);
}

/// As after a failure, the wait doubles.
#[tokio::test(start_paused = true)]
async fn one_that_stays_unhealthy_is_not_restarted_all_the_time() {
    let mut sick = component("sick", OBEDIENT);
    sick.supervision.health = Some(Duration::from_millis(1));
    let host = load(&[]).await;
    let (storage, id) = (&host.services().storage, demo("sick"));
    let says_unhealthy = storage.set(&id, "health", "fail 2".into(), u64::MAX);
    says_unhealthy.await.unwrap();
    host.load(sick).await.unwrap();
    let mut counts = Vec::new();
    for _ in 0..4 {
        sleep(5 * SECOND).await;
        let usage = host.component(&demo("sick")).await.unwrap().usage;
        counts.push(usage.unwrap().restarts);
    }
    let more = counts.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(
        more.clone().all(|more| (1..12).contains(&more)),
        "{counts:?}"
    );
    assert!(is(&host, "sick", Phase::Ready).await);
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_over_its_health_is_restarted() {
    let mut spin = restarted("spin", SPIN_IN_HEALTH);
    spin.supervision.health = Some(SECOND);
    let host = load(&[spin]).await;
    let mut events = host.events();
    let seen = until(&mut events, |e| matches!(e, Event::Restarted { .. })).await;
    assert!(matches!(seen[0], Event::Failed { .. }), "{seen:?}");
    assert_eq!(told(&host, "spin", "hello").await, "hello");
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_was_no_message_costs_no_message() {
    let host = load(&[restarted("spin", SPIN_IN_HEALTH)]).await;
    let handle = host.component(&demo("spin")).await.unwrap().handle.unwrap();
    // Behind the host's back.
    use wasm_core::RuntimeEngine;
    host.engine().health(&handle).await.unwrap_err();
    assert_eq!(told(&host, "spin", "hello").await, "hello");
    assert_eq!(host.dead_letters().len(), 0);
}
