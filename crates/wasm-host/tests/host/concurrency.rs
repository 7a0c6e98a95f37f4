//! Components that handle several messages at a time, or each in an instance of its own.

use tokio::time::{Instant, sleep};

use wasm_core::{ComponentMessage, InstancePolicy, MessagingError};
use wasm_host::{Component, Event, Host, HostError, HostLimits, Phase, RequestError};
use wasm_testkit::ModelEngine;
use wasm_testkit::wasm_fixtures::{
    CALLBACK, COUNTER, ECHO, Fixture, PING_PONG_LOOP, SLEEPER, TRAP,
};

use crate::support::{
    SECOND, ask, causes, component, demo, host_with, is, last_callback, load, restarted, told,
    until,
};

/// Handles so many messages at a time.
fn several(name: &str, fixture: Fixture, concurrency: u32) -> Component {
    let mut several = component(name, fixture);
    several.config = several.config.with_concurrency(concurrency);
    several
}

/// Has an instance for each message.
fn fresh(name: &str, fixture: Fixture) -> Component {
    let mut fresh = component(name, fixture);
    fresh.config = fresh.config.with_instances(InstancePolicy::PerMessage);
    fresh
}

/// So many requests for `it`, each of which takes as many milliseconds.
async fn all(
    host: &Host<ModelEngine>,
    count: usize,
    millis: &str,
) -> Vec<Result<Option<String>, RequestError>> {
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..count {
        let (host, millis) = (host.clone(), millis.to_owned());
        asked.spawn(async move { ask(&host, "it", &millis).await });
    }
    asked.join_all().await
}

fn is_awake(answer: &Result<Option<String>, RequestError>) -> bool {
    matches!(answer, Ok(Some(text)) if text == "awake")
}

#[tokio::test(start_paused = true)]
async fn as_many_messages_are_handled_at_a_time_as_are_allowed() {
    let host = load(&[several("it", SLEEPER, 3)]).await;
    let began = Instant::now();
    let asked = tokio::spawn({
        let host = host.clone();
        async move { all(&host, 7, "1000").await }
    });
    sleep(SECOND / 2).await;
    let status = host.component(&demo("it")).await.unwrap();
    assert_eq!((status.phase, status.waiting), (Phase::Busy, 4));
    let answers = asked.await.unwrap();
    assert!(answers.iter().all(is_awake), "{answers:?}");
    assert_eq!(began.elapsed(), 3 * SECOND);
    let status = host.component(&demo("it")).await.unwrap();
    assert_eq!((status.phase, status.handled), (Phase::Ready, 7));
    assert_eq!(status.usage.unwrap().calls, 7);
}

#[tokio::test(start_paused = true)]
async fn a_crash_harms_only_its_own_message() {
    // Neither is ever restarted.
    for it in [several("it", SLEEPER, 2), fresh("it", SLEEPER)] {
        let host = load(&[it]).await;
        let (mut events, id) = (host.events(), demo("it"));
        // Longer than a call may take.
        let late = host.request(&id, "5000", 9 * SECOND);
        let in_time = async {
            sleep(SECOND).await;
            ask(&host, "it", "1500").await
        };
        let (late, in_time) = tokio::join!(late, in_time);
        let late = late.unwrap_err();
        assert!(matches!(late, RequestError::Component(_)), "{late}");
        assert!(is_awake(&in_time), "{in_time:?}");
        assert_eq!(causes(&host.take_dead_letters()), ["failed"]);
        let status = host.component(&demo("it")).await.unwrap();
        assert_eq!(
            (status.phase, status.failures, status.handled),
            (Phase::Ready, 1, 1)
        );
        let seen = until(&mut events, |event| matches!(event, Event::Message { .. })).await;
        let failed = |event: &&Event| matches!(event, Event::Failed { .. });
        assert_eq!(seen.iter().filter(failed).count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn each_message_may_have_an_instance_of_its_own() {
    let host = load(&[fresh("counter", COUNTER), fresh("it", TRAP)]).await;
    for _ in 0..3 {
        assert_eq!(told(&host, "counter", "").await, "1");
        assert!(ask(&host, "it", "x").await.is_err());
        assert_eq!(told(&host, "it", "ok").await, "ok");
    }
    let status = host.component(&demo("it")).await.unwrap();
    assert_eq!((status.phase, status.failures), (Phase::Ready, 3));
}

#[tokio::test(start_paused = true)]
async fn a_restart_waits_for_all_that_is_handled() {
    let host = load(&[several("it", SLEEPER, 2)]).await;
    let began = Instant::now();
    let restarted = async {
        sleep(SECOND / 2).await;
        host.restart(&demo("it")).await.unwrap();
        began.elapsed()
    };
    let (answers, restarted) = tokio::join!(all(&host, 3, "1000"), restarted);
    assert!(answers.iter().all(is_awake), "{answers:?}");
    // The third one is handled by what comes after.
    assert_eq!((restarted, began.elapsed()), (SECOND, 2 * SECOND));
    let status = host.component(&demo("it")).await.unwrap();
    assert_eq!(status.usage.unwrap().restarts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_version_waits_for_all_that_is_handled() {
    let host = load(&[several("it", SLEEPER, 2)]).await;
    let swapped = async {
        sleep(SECOND / 2).await;
        host.swap(component("it", ECHO)).await.unwrap();
    };
    let (answers, ()) = tokio::join!(all(&host, 3, "1000"), swapped);
    let awake = answers.iter().filter(|answer| is_awake(answer)).count();
    assert_eq!(awake, 2, "{answers:?}");
    // The new version answered the third.
    let echoed =
        |answer: &Result<Option<String>, _>| matches!(answer, Ok(Some(text)) if text == "1000");
    assert!(answers.iter().any(echoed), "{answers:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_handled_ends_before_a_component_is_unloaded() {
    let host = load(&[several("it", SLEEPER, 2)]).await;
    let unloaded = async {
        sleep(SECOND / 2).await;
        host.unload(&demo("it")).await.unwrap();
    };
    let (answers, ()) = tokio::join!(all(&host, 3, "1000"), unloaded);
    let awake = answers.iter().filter(|answer| is_awake(answer)).count();
    assert_eq!(awake, 2, "{answers:?}");
    assert_eq!(causes(&host.take_dead_letters()), ["unloaded"]);
}

#[tokio::test(start_paused = true)]
async fn nobody_sleeps_over_what_is_handled() {
    let mut it = several("it", SLEEPER, 3);
    it.supervision.idle = Some(SECOND);
    let host = load(&[it]).await;
    let (asked, ()) = tokio::join!(all(&host, 2, "1900"), async {
        sleep(SECOND * 3 / 2).await;
        assert!(is(&host, "it", Phase::Busy).await);
    });
    assert!(asked.iter().all(is_awake), "{asked:?}");
    sleep(2 * SECOND).await;
    assert!(is(&host, "it", Phase::Asleep).await);
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_is_told_in_time() {
    let host = load(&[several("it", SLEEPER, 2), component("asker", CALLBACK)]).await;
    let (began, id) = (Instant::now(), demo("it"));
    let first = host.request(&id, "1900", SECOND / 2);
    let second = host.request(&id, "1800", SECOND);
    // There is no turn for it.
    let third = host.request(&id, "0", SECOND / 4);
    let (first, second, third) = tokio::join!(first, second, third);
    for late in [first, second, third] {
        let late = late.unwrap_err();
        let timed_out = RequestError::Messaging(MessagingError::CorrelationTimeout("".into()));
        assert_eq!(
            std::mem::discriminant(&late),
            std::mem::discriminant(&timed_out),
            "{late}"
        );
    }
    assert_eq!(began.elapsed(), SECOND);
    // Nor did the third one take one later.
    host.drain(9 * SECOND).await.unwrap();
    assert_eq!(host.component(&demo("it")).await.unwrap().handled, 2);
    // A callback comes for one that is not late.
    told(&host, "asker", "demo/it/main 100").await;
    assert!(last_callback(&host, "asker").await.ends_with("|awake"));
}

#[tokio::test(start_paused = true)]
async fn circles_end_where_several_are_handled_at_a_time() {
    let mut handled = Vec::new();
    for concurrency in [1, 4] {
        let host = host_with(HostLimits::default().with_hops(10));
        for name in ["a", "b"] {
            let circling = several(name, PING_PONG_LOOP, concurrency);
            host.load(circling).await.unwrap();
        }
        let a = host.component(&demo("a")).await.unwrap().handle.unwrap();
        for _ in 0..4 {
            let ball = ComponentMessage::new(demo("a"), demo("b"), "ball").with_hops(1);
            host.services().router.send(&a, ball).await.unwrap();
        }
        host.drain(9 * SECOND).await.unwrap();
        let mut count = 0;
        for name in ["a", "b"] {
            count += host.component(&demo(name)).await.unwrap().handled;
        }
        handled.push(count);
    }
    assert_eq!(handled, [40, 40]);
}

#[tokio::test(start_paused = true)]
async fn the_memory_of_all_instances_is_reserved() {
    let host = host_with(HostLimits::default().with_memory_bytes(4 << 20));
    let error = host.load(several("it", ECHO, 5)).await.unwrap_err();
    assert!(matches!(error, HostError::Budget { .. }), "{error}");
    host.load(several("it", ECHO, 4)).await.unwrap();
    host.unload(&demo("it")).await.unwrap();
    host.load(restarted("it", ECHO)).await.unwrap();
}
