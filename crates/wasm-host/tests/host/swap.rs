//! Replacing a component while messages arrive.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use wasm_core::{Permissions, ResourceLimits, SwapPolicy, WasmError};
use wasm_host::{Component, Event, Host, HostBuilder, HostError, HostLimits, Phase};
use wasm_testkit::wasm_fixtures::{
    CALLBACK, CORE_MODULE, COUNTER, ECHO, Fixture, INIT_FAILS, SENDER, SHUTDOWN_FAILS, SLEEPER,
    STORED_COUNTER, TRAP,
};
use wasm_testkit::{Fault, Faulty, Method, ModelEngine};

use crate::support::{SECOND, ask, component, demo, host_with, is, load, told, until};

#[tokio::test(start_paused = true)]
async fn what_waits_is_delivered_to_the_new_one() {
    let host = load(&[component("it", SLEEPER)]).await;
    let mut events = host.events();
    let asked = |text: &'static str| {
        let host = host.clone();
        tokio::spawn(async move { told(&host, "it", text).await })
    };
    let first = asked("100");
    tokio::task::yield_now().await;
    let second = asked("hello");
    tokio::task::yield_now().await;
    host.swap(component("it", ECHO).with_version("2"))
        .await
        .unwrap();
    // The old one ended its call; what waited was answered by the new one.
    assert_eq!(first.await.unwrap(), "awake");
    assert_eq!(second.await.unwrap(), "hello");
    until(&mut events, |e| matches!(e, Event::Swapped { .. })).await;
    let status = host.component(&demo("it")).await.unwrap();
    assert_eq!((status.version.as_deref(), status.swaps), (Some("2"), 1));
    assert_eq!(host.dead_letters().len(), 0);
}

/// With an engine that takes an hour for what it prepares first.
fn slow_to_prepare() -> Host<Faulty<ModelEngine, WasmError>> {
    slow(Method::PrepareComponent, HostLimits::default())
}

/// The same for the first call of any method.
fn slow(method: Method, limits: HostLimits) -> Host<Faulty<ModelEngine, WasmError>> {
    let hour = Fault::Delay(3_600 * SECOND);
    let engine = move |services| {
        let engine = Faulty::new(Arc::new(ModelEngine::new(services)));
        Ok::<_, String>(Arc::new(engine.on_call(method, 1, hour)))
    };
    HostBuilder::new()
        .with_limits(limits)
        .start(engine)
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_old_one_serves_while_the_new_one_is_prepared() {
    let host = slow_to_prepare();
    host.load(component("it", COUNTER)).await.unwrap();
    let swapping = {
        let host = host.clone();
        tokio::spawn(async move { host.swap(component("it", ECHO)).await })
    };
    for count in 1..=10 {
        let told = host.request(&demo("it"), "hello", SECOND).await.unwrap();
        assert_eq!(told, Some(count.to_string().into()));
        sleep(60 * SECOND).await;
    }
    swapping.await.unwrap().unwrap();
    let told = host.request(&demo("it"), "hello", SECOND).await.unwrap();
    assert_eq!(told, Some("hello".into()));
}

#[tokio::test(start_paused = true)]
async fn a_later_swap_takes_the_place_of_one_that_is_prepared() {
    let host = slow_to_prepare();
    host.load(component("it", COUNTER)).await.unwrap();
    let began = Instant::now();
    let version = |version: &str| component("it", ECHO).with_version(version);
    let (first, second) = tokio::join!(host.swap(version("1")), async {
        sleep(SECOND).await;
        host.swap(version("2")).await
    });
    let error = first.unwrap_err();
    assert!(matches!(error, HostError::Superseded(_)), "{error}");
    second.unwrap();
    let status = host.component(&demo("it")).await.unwrap();
    assert_eq!((status.version.as_deref(), status.swaps), (Some("2"), 1));
    assert_eq!(began.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_later_swap_takes_the_room_of_the_one_before() {
    let limits = HostLimits::default().with_components(2);
    let host = slow(Method::PrepareComponent, limits.with_memory_bytes(4 << 20));
    let sized = |memory_bytes| {
        let mut sized = component("it", ECHO);
        sized.config.limits = ResourceLimits::new(memory_bytes, SECOND, None).unwrap();
        sized
    };
    host.load(sized(1 << 20)).await.unwrap();
    let mut first = pin!(host.swap(sized(2 << 20)));
    timeout(SECOND, &mut first).await.unwrap_err();
    let refused = host.swap(sized(4 << 20)).await.unwrap_err();
    assert!(
        matches!(refused, HostError::NoRoomForBoth { .. }),
        "{refused}"
    );
    // That has not harmed the one before.
    timeout(SECOND, &mut first).await.unwrap_err();
    host.swap(sized(3 << 20)).await.unwrap();
    let error = first.await.unwrap_err();
    assert!(matches!(error, HostError::Superseded(_)), "{error}");
    // The room of both is free again.
    let mut other = component("other", ECHO);
    other.config.limits = ResourceLimits::new(1 << 20, SECOND, None).unwrap();
    host.load(other).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn swaps_that_wait_for_a_call_take_the_room_of_one() {
    let limits = HostLimits::default().with_components(3);
    let host = slow(Method::CallHandleMessage, limits);
    host.load(component("it", COUNTER)).await.unwrap();
    host.send(&demo("it"), "").unwrap();
    sleep(SECOND).await;
    for _ in 0..20 {
        let given_up = host.swap(component("it", ECHO));
        timeout(SECOND, given_up).await.unwrap_err();
    }
    host.load(component("other", ECHO)).await.unwrap();
    host.drain(3_600 * SECOND).await.unwrap();
    sleep(SECOND).await;
    let status = host.component(&demo("it")).await.unwrap();
    assert_eq!(status.swaps, 1);
}

#[tokio::test(start_paused = true)]
async fn who_is_told_that_a_component_is_gone_can_load_it_again() {
    let host = slow(Method::UnloadComponent, HostLimits::default());
    host.load(component("it", SLEEPER)).await.unwrap();
    host.send(&demo("it"), "1000").unwrap();
    sleep(SECOND / 2).await;
    let it = demo("it");
    let (unloaded, loaded) = tokio::join!(host.unload(&it), async {
        let swapped = host.swap(component("it", ECHO)).await.unwrap_err();
        assert!(matches!(swapped, HostError::NotLoaded(_)), "{swapped}");
        host.load(component("it", COUNTER)).await
    });
    unloaded.unwrap();
    loaded.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_swap_that_nobody_waits_for_takes_place() {
    let host = slow_to_prepare();
    host.load(component("it", COUNTER)).await.unwrap();
    let mut kept = pin!(host.swap(component("it", ECHO).with_version("1")));
    timeout(SECOND, &mut kept).await.unwrap_err();
    sleep(3_600 * SECOND).await;
    let version = host.component(&demo("it")).await.unwrap().version;
    assert_eq!(version.as_deref(), Some("1"), "kept without being polled");
    for later in ["2", "3"] {
        let swap = host.swap(component("it", ECHO).with_version(later));
        swap.await.unwrap();
    }
    let host = slow_to_prepare();
    host.load(component("it", COUNTER)).await.unwrap();
    let dropped = host.swap(component("it", ECHO).with_version("1"));
    timeout(SECOND, dropped).await.unwrap_err();
    sleep(3_600 * SECOND).await;
    let version = host.component(&demo("it")).await.unwrap().version;
    assert_eq!(version.as_deref(), Some("1"), "dropped");
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_back_while_a_version_is_prepared_stays_so() {
    let host = slow_to_prepare();
    for loaded in [component("it", SENDER), component("sink", COUNTER)] {
        host.load(loaded).await.unwrap();
    }
    for revoked in [true, false] {
        let (swapped, ()) = tokio::join!(host.swap(component("it", SENDER)), async {
            if revoked {
                sleep(SECOND).await;
                let nothing = Permissions::default();
                host.set_permissions(&demo("it"), nothing).unwrap();
            }
        });
        swapped.unwrap();
        let sent = ask(&host, "it", "demo/sink/main hi").await;
        assert_eq!(sent.is_err(), revoked, "{sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_preparation_holds_nobody_up_who_leaves() {
    for stops in [false, true] {
        let host = slow_to_prepare();
        host.load(component("it", COUNTER)).await.unwrap();
        let engine = Arc::downgrade(host.engine());
        let began = Instant::now();
        let (swapped, ()) = tokio::join!(host.swap(component("it", ECHO)), async {
            if stops {
                host.stop().await;
            } else {
                host.unload(&demo("it")).await.unwrap();
            }
        });
        let error = swapped.unwrap_err();
        let is_right = match stops {
            true => matches!(error, HostError::Stopped),
            false => matches!(error, HostError::NotLoaded(_)),
        };
        assert!(is_right, "{error}");
        assert!(began.elapsed() <= SECOND, "{:?}", began.elapsed());
        drop(host);
        if stops {
            assert!(engine.upgrade().is_none(), "a task has outlived the host");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_prepared_leaves_the_old_one_as_it_was() {
    let host = load(&[component("it", COUNTER)]).await;
    let mut events = host.events();
    assert_eq!(told(&host, "it", "").await, "1");
    let refused = host.swap(component("it", CORE_MODULE)).await.unwrap_err();
    assert!(
        matches!(&refused, HostError::Engine(error) if error.is_load_error()),
        "{refused}"
    );
    until(&mut events, |e| matches!(e, Event::NotLoaded { .. })).await;
    assert_eq!(told(&host, "it", "").await, "2");
    host.swap(component("it", ECHO)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn no_message_is_lost_or_answered_twice_under_load() {
    const SENDERS: usize = 4;
    const EACH: usize = 500;
    let host = load(&[component("it", STORED_COUNTER)]).await;
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let host = host.clone();
            tokio::spawn(async move {
                let mut answers = Vec::new();
                for _ in 0..EACH {
                    answers.push(told(&host, "it", "").await.parse::<usize>().unwrap());
                    sleep(Duration::from_millis(1)).await;
                }
                answers
            })
        })
        .collect();
    let mut swaps = 0;
    while !senders.iter().all(tokio::task::JoinHandle::is_finished) {
        host.swap(component("it", STORED_COUNTER)).await.unwrap();
        swaps += 1;
        sleep(Duration::from_millis(7)).await;
    }
    assert!(swaps > 10, "{swaps}");
    let mut all = Vec::new();
    for sender in senders {
        let answers = sender.await.unwrap();
        assert!(answers.is_sorted(), "the order of a sender");
        all.extend(answers);
    }
    all.sort_unstable();
    assert_eq!(all, (1..=SENDERS * EACH).collect::<Vec<_>>());
    assert_eq!(host.dead_letters().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_initialize_leaves_the_old_one_as_it_was() {
    let host = load(&[component("it", COUNTER)]).await;
    assert_eq!(told(&host, "it", "").await, "1");
    let refused = host.swap(component("it", INIT_FAILS)).await.unwrap_err();
    assert!(
        refused.to_string().contains("did not initialize"),
        "{refused}"
    );
    assert_eq!(told(&host, "it", "").await, "2");
    let status = host.component(&demo("it")).await.unwrap();
    assert_eq!((status.phase, status.swaps), (Phase::Ready, 0));
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_shut_down_well_is_replaced_all_the_same() {
    let host = load(&[component("it", SHUTDOWN_FAILS)]).await;
    host.swap(component("it", ECHO)).await.unwrap();
    assert_eq!(told(&host, "it", "hello").await, "hello");
}

#[tokio::test(start_paused = true)]
async fn a_new_version_has_permissions_of_its_own() {
    let host = load(&[component("it", SENDER), component("sink", COUNTER)]).await;
    ask(&host, "it", "demo/sink/main hi").await.unwrap();
    let mut fewer = component("it", SENDER);
    fewer.config.permissions = Permissions::default();
    host.swap(fewer).await.unwrap();
    ask(&host, "it", "demo/sink/main hi").await.unwrap_err();
    host.swap(component("it", SENDER)).await.unwrap();
    ask(&host, "it", "demo/sink/main hi").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_quarantined_component_is_replaced() {
    let host = load(&[component("it", TRAP)]).await;
    ask(&host, "it", "poison").await.unwrap_err();
    assert!(is(&host, "it", Phase::Quarantined).await);
    host.swap(component("it", ECHO)).await.unwrap();
    assert_eq!(told(&host, "it", "hello").await, "hello");
}

#[tokio::test(start_paused = true)]
async fn answers_to_the_old_version_are_not_for_the_new_one() {
    let host = load(&[component("it", CALLBACK), component("sleeper", SLEEPER)]).await;
    told(&host, "it", "demo/sleeper/main 100").await;
    host.swap(component("it", CALLBACK)).await.unwrap();
    host.drain(SECOND).await.unwrap();
    assert_eq!(ask(&host, "it", "last").await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn for_a_moment_there_are_both() {
    let host = host_with(HostLimits::default().with_components(1));
    host.load(component("it", ECHO)).await.unwrap();
    // Before anything is prepared: that would be refused for another reason.
    let refused = host.swap(component("it", CORE_MODULE)).await.unwrap_err();
    assert!(
        matches!(refused, HostError::NoRoomForBoth { .. }),
        "{refused}"
    );
    let refused = host.swap(component("it", ECHO)).await.unwrap_err();
    assert!(
        matches!(refused, HostError::NoRoomForBoth { .. }),
        "{refused}"
    );
    let host = host_with(HostLimits::default().with_components(2));
    host.load(component("it", ECHO)).await.unwrap();
    for _ in 0..3 {
        host.swap(component("it", ECHO)).await.unwrap();
    }
    let nobody = host.swap(component("nobody", ECHO)).await.unwrap_err();
    assert!(matches!(nobody, HostError::NotLoaded(_)), "{nobody}");
}

/// Ends the old version first where there is no room for both.
fn pausing(name: &str, fixture: Fixture) -> Component {
    let mut pausing = component(name, fixture);
    pausing.supervision.swap = SwapPolicy::Pause;
    pausing
}

#[tokio::test(start_paused = true)]
async fn a_full_host_is_told_how_to_swap() {
    let host = host_with(HostLimits::default().with_components(1));
    host.load(component("it", ECHO)).await.unwrap();
    let refused = host.swap(component("it", COUNTER)).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "demo/it/main cannot be replaced while it runs: 1 components are loaded, as many as \
         this host may have (`components` in HostLimits, `--max-components`); or let the old \
         version end first (`swap = \"pause\"` in [supervision])"
    );
}

#[tokio::test(start_paused = true)]
async fn a_full_host_swaps_where_a_pause_is_allowed() {
    let limits = HostLimits::default().with_components(1);
    let host = host_with(limits.with_memory_bytes(2 << 20));
    host.load(component("it", SLEEPER)).await.unwrap();
    let mut events = host.events();
    let id = demo("it");
    // What is handled ends, what waits is for the new version.
    let handled = host.request(&id, "1000", 9 * SECOND);
    let swapped = async {
        sleep(SECOND / 2).await;
        let waits = host.request(&id, "hello", 9 * SECOND);
        let (waits, swapped) = tokio::join!(waits, host.swap(pausing("it", ECHO)));
        swapped.unwrap();
        waits.unwrap()
    };
    let (handled, waited) = tokio::join!(handled, swapped);
    assert_eq!(handled.unwrap(), Some("awake".into()));
    assert_eq!(waited, Some("hello".into()));
    let seen = until(&mut events, |event| matches!(event, Event::Swapped { .. })).await;
    let failed = seen
        .iter()
        .any(|event| matches!(event, Event::Failed { .. }));
    assert!(!failed, "{seen:?}");
    // Twice as large as the old one, and as the host, and back.
    for (memory_bytes, fits) in [(2 << 20, true), (4 << 20, false), (1 << 20, true)] {
        let mut sized = pausing("it", COUNTER);
        sized.config.limits = ResourceLimits::new(memory_bytes, SECOND, None).unwrap();
        let swapped = host.swap(sized).await;
        match swapped {
            Ok(()) => assert!(fits),
            Err(error) => assert!(
                matches!(error, HostError::Budget { .. }) && !fits,
                "{error}"
            ),
        }
        assert!(is(&host, "it", Phase::Ready).await);
        told(&host, "it", "").await;
    }
    host.unload(&id).await.unwrap();
    host.load(component("other", ECHO)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_old_version_comes_back_when_the_new_one_does_not_start() {
    let host = host_with(HostLimits::default().with_components(1));
    host.load(component("it", COUNTER)).await.unwrap();
    assert_eq!(told(&host, "it", "").await, "1");
    for fixture in [INIT_FAILS, CORE_MODULE] {
        let error = host.swap(pausing("it", fixture)).await.unwrap_err();
        assert!(matches!(error, HostError::Engine(_)), "{error}");
    }
    // The pause cost it what it had in memory; what cannot be prepared cost nothing.
    assert_eq!(told(&host, "it", "").await, "1");
    assert_eq!(told(&host, "it", "").await, "2");
    let status = host.component(&demo("it")).await.unwrap();
    assert_eq!((status.swaps, status.failures), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_quarantined_stays_so_when_the_new_version_does_not_start() {
    let host = host_with(HostLimits::default().with_components(1));
    host.load(component("it", TRAP)).await.unwrap();
    ask(&host, "it", "poison").await.unwrap_err();
    host.swap(pausing("it", INIT_FAILS)).await.unwrap_err();
    assert!(is(&host, "it", Phase::Quarantined).await);
    ask(&host, "it", "ok").await.unwrap_err();
    host.swap(pausing("it", ECHO)).await.unwrap();
    assert_eq!(told(&host, "it", "hello").await, "hello");
}
