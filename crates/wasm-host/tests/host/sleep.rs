//! Components that have no instance until there is something to do.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use wasm_core::{HealthStatus, MessagingError, Permissions, RestartPolicy, StartPolicy, WasmError};
use wasm_host::{Component, Event, Host, HostBuilder, HostError, HostLimits, Phase};
use wasm_testkit::wasm_fixtures::{
    CALLBACK, COUNTER, ECHO, Fixture, HEALTH, INIT_FAILS, INIT_ONCE, SHUTDOWN_FAILS, SLEEPER,
    STORED_COUNTER, TRAP, TRUNCATED,
};
use wasm_testkit::{Fault, Faulty, Method, ModelEngine};

use crate::support::{
    SECOND, ask, causes, component, demo, everything, host, host_with, is, last_callback, load,
    told, until,
};

/// Starts on a message.
fn lazy(name: &str, fixture: Fixture) -> Component {
    let mut lazy = component(name, fixture);
    lazy.supervision.start = StartPolicy::OnMessage;
    lazy
}

/// Starts on a message, and sleeps after a second without one.
fn sleepy(name: &str, fixture: Fixture) -> Component {
    let mut sleepy = lazy(name, fixture);
    sleepy.supervision.idle = Some(SECOND);
    sleepy
}

#[tokio::test(start_paused = true)]
async fn a_component_without_a_message_has_no_instance() {
    let host = load(&[sleepy("it", COUNTER)]).await;
    let mut events = host.events();
    let status = host.component(&demo("it")).await.unwrap();
    assert_eq!(status.phase, Phase::Asleep);
    assert!(status.handle.is_none() && status.usage.is_none());
    assert_eq!(told(&host, "it", "").await, "1");
    sleep(SECOND / 2).await;
    assert_eq!(told(&host, "it", "").await, "2");
    // Each message puts the sleep off.
    sleep(SECOND * 3 / 4).await;
    assert!(is(&host, "it", Phase::Ready).await);
    sleep(SECOND / 2).await;
    assert!(is(&host, "it", Phase::Asleep).await);
    // What it had in memory is gone with its instance.
    assert_eq!(told(&host, "it", "").await, "1");
    let status = host.component(&demo("it")).await.unwrap();
    assert_eq!((status.handled, status.failures), (3, 0));
    sleep(2 * SECOND).await;
    let mut seen = Vec::new();
    while let Some(event) = events.try_next() {
        match event {
            Event::Woke { .. } | Event::Slept { .. } => seen.push(event.to_string()),
            Event::Message { .. } => {}
            other => panic!("{other}"),
        }
    }
    let (woke, sleeps) = ("demo/it/main woke", "demo/it/main sleeps");
    assert_eq!(seen, [woke, sleeps, woke, sleeps]);
}

#[tokio::test(start_paused = true)]
async fn what_instances_have_used_adds_up() {
    let it = sleepy("it", COUNTER);
    let host = load(std::slice::from_ref(&it)).await;
    let used = async || {
        let status = host.component(&demo("it")).await.unwrap();
        status.usage.unwrap_or_else(|| panic!("{status:?}"))
    };
    let mut before = None;
    for round in 1..=3 {
        assert_eq!(told(&host, "it", "").await, "1");
        host.restart(&demo("it")).await.unwrap();
        let awake = used().await;
        assert_eq!((awake.calls, awake.restarts), (round, round));
        assert!(awake.memory_bytes > 0);
        sleep(2 * SECOND).await;
        assert!(is(&host, "it", Phase::Asleep).await);
        let asleep = used().await;
        assert_eq!((asleep.calls, asleep.restarts), (round, round));
        assert_eq!(asleep.memory_bytes, 0);
        assert_eq!(asleep.peak_memory_bytes, awake.peak_memory_bytes);
        assert!(before.replace(asleep.total_fuel) < Some(asleep.total_fuel));
    }
    // So it does where another version follows.
    for round in 4..=5 {
        assert_eq!(told(&host, "it", "").await, "1");
        host.swap(it.clone()).await.unwrap();
        let swapped = used().await;
        assert_eq!((swapped.calls, swapped.restarts), (round, 3));
    }
}

/// With an engine that takes so long for its first instance.
fn slow_to_load(delay: Duration) -> Host<Faulty<ModelEngine, WasmError>> {
    let slow = Fault::Delay(delay);
    let engine = |services| {
        let engine = Faulty::new(Arc::new(ModelEngine::new(services)));
        Ok::<_, String>(Arc::new(engine.on_call(Method::LoadComponent, 1, slow)))
    };
    HostBuilder::new().start(engine).unwrap()
}

#[tokio::test(start_paused = true)]
async fn messages_wait_while_a_component_wakes_and_keep_their_order() {
    let host = slow_to_load(SECOND);
    host.load(lazy("it", COUNTER)).await.unwrap();
    let id = demo("it");
    let asked = || host.request(&id, "", 9 * SECOND);
    let began = Instant::now();
    let (first, second, third) = tokio::join!(asked(), asked(), asked());
    for (answer, count) in [(first, "1"), (second, "2"), (third, "3")] {
        assert_eq!(answer.unwrap(), Some(count.into()));
    }
    assert_eq!(began.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_a_day() {
    let day = 24 * 3_600 * SECOND;
    let host = slow_to_load(2 * day);
    host.load(lazy("it", COUNTER)).await.unwrap();
    let began = Instant::now();
    let late = host.request(&demo("it"), "", 7 * day).await;
    let late = late.unwrap_err().to_string();
    assert!(late.ends_with("was not answered in time"), "{late}");
    assert_eq!(began.elapsed(), day);
    // It wakes for nothing, and nothing is handled.
    sleep(2 * day).await;
    assert_eq!(host.component(&demo("it")).await.unwrap().handled, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_outlives_sleep() {
    let host = load(&[sleepy("it", STORED_COUNTER)]).await;
    for count in 1..=3 {
        assert_eq!(told(&host, "it", "").await, count.to_string());
        sleep(2 * SECOND).await;
        assert!(is(&host, "it", Phase::Asleep).await);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_sleeps_while_an_answer_is_to_come() {
    let host = load(&[sleepy("asker", CALLBACK), component("sleeper", SLEEPER)]).await;
    let request = told(&host, "asker", "demo/sleeper/main 1900").await;
    sleep(SECOND * 3 / 2).await;
    assert!(is(&host, "asker", Phase::Ready).await);
    assert!(last_callback(&host, "asker").await.starts_with(&request));
    sleep(2 * SECOND).await;
    assert!(is(&host, "asker", Phase::Asleep).await);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_fails_is_a_failure_like_any_other() {
    let mut once = sleepy("once", INIT_ONCE);
    once.supervision.restart = RestartPolicy::OnFailure;
    once.supervision.max_restarts = 1;
    let host = load(&[once, sleepy("fails", INIT_FAILS)]).await;
    let error = ask(&host, "fails", "hello").await.unwrap_err();
    assert!(error.to_string().contains("is quarantined"), "{error}");
    assert!(is(&host, "fails", Phase::Quarantined).await);
    assert_eq!(causes(&host.take_dead_letters()), ["quarantined"]);
    // It initializes once only, as it remembers in its storage.
    assert_eq!(told(&host, "once", "ok").await, "ok");
    sleep(2 * SECOND).await;
    let error = ask(&host, "once", "ok").await.unwrap_err();
    assert!(error.to_string().contains("did not initialize"), "{error}");
    let status = host.component(&demo("once")).await.unwrap();
    assert_eq!((status.phase, status.failures), (Phase::Quarantined, 2));
    let storage = &host.services().storage;
    storage.delete(&demo("once"), "begun").await.unwrap();
    host.restart(&demo("once")).await.unwrap();
    assert_eq!(told(&host, "once", "ok").await, "ok");
    let used = host.component(&demo("once")).await.unwrap().usage.unwrap();
    assert_eq!((used.calls, used.restarts), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_loaded_is_known_before_there_is_a_message() {
    let host = host();
    let refused = host.load(lazy("it", TRUNCATED)).await.unwrap_err();
    assert!(
        matches!(&refused, HostError::Engine(error) if error.is_load_error()),
        "{refused}"
    );
    assert_eq!(host.status().await.len(), 0);
    assert_eq!(host.load(lazy("it", ECHO)).await.unwrap(), None);
    let again = host.load(lazy("it", ECHO)).await.unwrap_err();
    assert!(matches!(again, HostError::AlreadyLoaded(_)), "{again}");
}

#[tokio::test(start_paused = true)]
async fn sleep_gives_budgets_back_and_instances_alone_are_counted() {
    let host = host_with(HostLimits::default().with_components(1).with_registered(3));
    for name in ["a", "b", "c"] {
        host.load(sleepy(name, ECHO)).await.unwrap();
    }
    let refused = host.load(lazy("d", ECHO)).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "demo/d/main cannot be loaded: 3 components are there, with an instance or without, as \
         many as this host may have (`registered` in HostLimits, `--max-registered`)"
    );
    let began = Instant::now();
    for name in ["a", "b", "c", "a"] {
        // Whoever has nothing to do makes room.
        assert_eq!(told(&host, name, "hello").await, "hello");
    }
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    let phases: Vec<_> = host.status().await.iter().map(|it| it.phase).collect();
    assert_eq!(phases, [Phase::Ready, Phase::Asleep, Phase::Asleep]);
    host.unload(&demo("b")).await.unwrap();
    host.load(lazy("d", ECHO)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_message_waits_for_room_for_so_long() {
    let host = host_with(HostLimits::default().with_components(1));
    host.load(component("busy", ECHO)).await.unwrap();
    host.load(lazy("it", ECHO)).await.unwrap();
    let began = Instant::now();
    let asked = host.request(&demo("it"), "hello", 60 * SECOND).await;
    let error = asked.unwrap_err();
    assert_eq!(began.elapsed(), 10 * SECOND);
    assert!(
        error
            .to_string()
            .contains("its recipient slept and could not be woken: 1 components are loaded"),
        "{error}"
    );
    host.take_dead_letters();
    host.send(&demo("it"), "hello").unwrap();
    sleep(11 * SECOND).await;
    assert_eq!(causes(&host.dead_letters()), ["no-room"]);
    // It is not to blame.
    assert!(is(&host, "it", Phase::Asleep).await);
    let asked = {
        let host = host.clone();
        tokio::spawn(async move { told(&host, "it", "hello").await })
    };
    sleep(SECOND).await;
    host.unload(&demo("busy")).await.unwrap();
    assert_eq!(asked.await.unwrap(), "hello");
}

/// It would wait for what never comes, and keep others from being awake meanwhile.
#[tokio::test(start_paused = true)]
async fn what_never_has_room_is_refused_before_there_is_a_message() {
    let limits = HostLimits::default().with_memory_bytes(2 << 20);
    let host = host_with(limits);
    let large = |concurrency| {
        let mut large = lazy("large", ECHO);
        large.config = large.config.with_concurrency(concurrency);
        large
    };
    let refused = host.load(large(3)).await.unwrap_err().to_string();
    assert!(
        refused.contains("cannot be loaded: a memory limit of 3MiB does not fit"),
        "{refused}"
    );
    host.load(large(2)).await.unwrap();
    assert_eq!(told(&host, "large", "hello").await, "hello");
}

/// Each is awake as another version, and makes room for the next.
#[tokio::test(start_paused = true)]
async fn more_than_there_is_room_for_are_replaced_while_they_sleep() {
    let host = host_with(HostLimits::default().with_components(2));
    host.load(component("awake", ECHO)).await.unwrap();
    let names = ["a", "b", "c", "d"];
    for name in names {
        host.load(sleepy(name, ECHO)).await.unwrap();
    }
    let began = Instant::now();
    for name in names {
        host.swap(sleepy(name, COUNTER)).await.unwrap();
    }
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    for name in names {
        assert_eq!(told(&host, name, "").await, "1");
    }
    // So it is where none of them may be put to sleep, because each was awake for its swap alone.
    let host = host_with(HostLimits::default().with_components(2));
    for name in names {
        host.load(lazy(name, ECHO)).await.unwrap();
    }
    let mut events = host.events();
    let [a, b, c, d] = names.map(|name| host.swap(lazy(name, COUNTER)));
    let (a, b, c, d) = tokio::join!(a, b, c, d);
    for swapped in [a, b, c, d] {
        swapped.unwrap();
    }
    for name in names {
        let status = host.component(&demo(name)).await.unwrap();
        assert_eq!((status.phase, status.swaps), (Phase::Asleep, 1), "{name}");
    }
    let mut seen = Vec::new();
    while let Some(event) = events.try_next() {
        seen.push(event.to_string());
    }
    assert_eq!(seen.len(), 2 * names.len(), "{seen:?}");
    assert_eq!(told(&host, "a", "").await, "1");
    // What waits for it is delivered to the instance that was made for the swap.
    let host = slow_to_load(SECOND);
    host.load(lazy("it", ECHO)).await.unwrap();
    let (id, mut events) = (demo("it"), host.events());
    let swapped = host.swap(lazy("it", COUNTER));
    let waits = async {
        sleep(SECOND / 2).await;
        host.request(&id, "", 9 * SECOND).await
    };
    let (swapped, waits) = tokio::join!(swapped, waits);
    swapped.unwrap();
    assert_eq!(waits.unwrap(), Some("1".into()));
    while let Some(event) = events.try_next() {
        assert!(!matches!(event, Event::Slept { .. }), "{event}");
    }
    // One that is to be there from its start is.
    let host = load(&[lazy("it", ECHO)]).await;
    host.swap(component("it", COUNTER)).await.unwrap();
    assert!(is(&host, "it", Phase::Ready).await);
    // Where nobody makes room, it waits as long as a message does.
    let host = host_with(HostLimits::default().with_components(1));
    host.load(component("awake", ECHO)).await.unwrap();
    host.load(sleepy("a", ECHO)).await.unwrap();
    let began = Instant::now();
    let refused = host.swap(sleepy("a", COUNTER)).await.unwrap_err();
    assert!(matches!(refused, HostError::Budget { .. }), "{refused}");
    assert_eq!(began.elapsed(), 10 * SECOND);
}

/// An event of each, of which a reader in the same thread hears in time.
#[tokio::test(start_paused = true)]
async fn no_event_is_missed_of_many_that_come_and_go_at_a_time() {
    let host = host();
    let mut events = host.events();
    let reading = tokio::spawn(async move {
        let mut counts = (0, 0);
        while let Some(event) = events.next().await {
            match event {
                Event::Loaded { .. } => counts.0 += 1,
                Event::Unloaded { .. } => counts.1 += 1,
                Event::Missed { .. } => panic!("{event}"),
                _ => {}
            }
        }
        counts
    });
    let many = (0..5_000).map(|n| lazy(&n.to_string(), ECHO));
    let loaded = host.load_all(many).await;
    assert!(loaded.iter().all(Result::is_ok));
    host.stop().await;
    assert_eq!(reading.await.unwrap(), (5_000, 5_000));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_prepared_was_never_there() {
    let host = host();
    let mut events = host.events();
    host.load(lazy("it", TRUNCATED)).await.unwrap_err();
    host.stop().await;
    let mut seen = Vec::new();
    while let Some(event) = events.next().await {
        seen.push(event);
    }
    assert!(
        matches!(seen[..], [Event::NotLoaded { .. }, Event::Stopped]),
        "{seen:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn one_that_sleeps_is_changed_like_any_other() {
    let host = load(&[sleepy("it", HEALTH)]).await;
    let id = demo("it");
    // Permissions are those of its next instance.
    let refused = host.set_permissions(&id, {
        let mut wider = everything();
        wider.storage = Some(u64::MAX);
        wider
    });
    assert!(matches!(refused, Err(HostError::Widened { .. })));
    host.set_permissions(&id, Permissions::default()).unwrap();
    assert_eq!(host.permissions(&id).unwrap(), Permissions::default());
    assert_eq!(host.health(&id).await.unwrap(), HealthStatus::Healthy);
    assert_eq!(host.permissions(&id).unwrap(), Permissions::default());
    sleep(2 * SECOND).await;
    let status = host.component(&id).await.unwrap();
    assert_eq!(
        (status.phase, status.health),
        (Phase::Asleep, HealthStatus::Healthy)
    );
    host.restart(&id).await.unwrap();
    assert!(is(&host, "it", Phase::Ready).await);
    sleep(2 * SECOND).await;
    host.swap(sleepy("it", COUNTER).with_version("2"))
        .await
        .unwrap();
    assert_eq!(told(&host, "it", "").await, "1");
    sleep(2 * SECOND).await;
    let status = host.component(&id).await.unwrap();
    assert_eq!((status.version.as_deref(), status.swaps), (Some("2"), 1));
    host.unload(&id).await.unwrap();
    assert!(host.component(&id).await.is_none());
    let gone = host.send(&id, "hello").unwrap_err();
    assert_eq!(gone, MessagingError::TargetNotFound(id));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_that_fails_is_told_and_the_component_sleeps_all_the_same() {
    let host = load(&[sleepy("it", SHUTDOWN_FAILS)]).await;
    let mut events = host.events();
    ask(&host, "it", "hello").await.unwrap();
    let seen = until(&mut events, |e| matches!(e, Event::Slept { .. })).await;
    let slept = seen.last().map(ToString::to_string).unwrap();
    assert!(slept.contains("still busy"), "{slept}");
    ask(&host, "it", "hello").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn failures_are_remembered_over_a_sleep() {
    let mut trap = sleepy("it", TRAP);
    trap.supervision.restart = RestartPolicy::OnFailure;
    trap.supervision.max_restarts = 1;
    trap.supervision.within = 3_600 * SECOND;
    let host = load(&[trap]).await;
    ask(&host, "it", "poison").await.unwrap_err();
    sleep(5 * SECOND).await;
    let status = host.component(&demo("it")).await.unwrap();
    assert_eq!((status.phase, status.failures), (Phase::Asleep, 1));
    let cause = status.cause.unwrap().to_string();
    assert!(cause.contains("trapped"), "{cause}");
    ask(&host, "it", "poison").await.unwrap_err();
    assert!(is(&host, "it", Phase::Quarantined).await);
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_those_that_sleep() {
    let host = load(&[sleepy("a", ECHO), sleepy("b", SLEEPER)]).await;
    let mut events = host.events();
    // What waits is delivered, and its recipient is woken for it.
    host.send(&demo("b"), "100").unwrap();
    host.stop().await;
    assert_eq!(host.status().await.len(), 0);
    let seen = until(&mut events, |e| matches!(e, Event::Stopped)).await;
    let unloaded = |e: &&Event| matches!(e, Event::Unloaded { .. });
    assert_eq!(seen.iter().filter(unloaded).count(), 2);
    assert_eq!(host.dead_letters().len(), 0);
    assert_eq!(Arc::strong_count(host.engine()), 1);
}

#[tokio::test(start_paused = true)]
async fn a_component_that_sleeps_has_no_task() {
    let host = host();
    // One is the host's own.
    let tasks = || {
        let alive = tokio::runtime::Handle::current().metrics();
        alive.num_alive_tasks() - 1
    };
    for n in 0..100 {
        host.load(sleepy(&format!("c{n}"), ECHO)).await.unwrap();
    }
    assert_eq!(tasks(), 0);
    for n in 0..100 {
        assert_eq!(told(&host, &format!("c{n}"), "hello").await, "hello");
    }
    assert_eq!(tasks(), 100);
    sleep(2 * SECOND).await;
    assert_eq!(tasks(), 0);
}

/// On several threads, where a message can come in the moment in which its recipient falls
/// asleep.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_message_that_comes_while_its_recipient_falls_asleep_is_delivered() {
    let host = host();
    for name in ["a", "b"] {
        let mut it = lazy(name, STORED_COUNTER);
        it.supervision.idle = Some(Duration::from_millis(1));
        host.load(it).await.unwrap();
    }
    let asking = ["a", "b"].map(|name| {
        let host = host.clone();
        tokio::spawn(async move {
            for count in 1..=300_u64 {
                assert_eq!(told(&host, name, "").await, count.to_string());
                // About as long as it takes to fall asleep.
                sleep(Duration::from_micros(800 + count % 7 * 100)).await;
            }
        })
    });
    for asking in asking {
        asking.await.unwrap();
    }
    assert_eq!(host.dead_letters().len(), 0);
}
