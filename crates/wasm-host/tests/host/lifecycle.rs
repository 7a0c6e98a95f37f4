//! Loading, unloading, stopping.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use wasm_core::{HostServices, MessagingError, RuntimeEngine, Supervision, WasmError};
use wasm_host::{Event, HostBuilder, HostError, HostLimits, Phase, RequestError};
use wasm_testkit::wasm_fixtures::{
    CALLBACK, COUNTER, ECHO, INIT_FAILS, INIT_SENDS, SHUTDOWN_FAILS, SLEEP_FOREVER, SLEEPER,
    SPIN_IN_SHUTDOWN, TRAP_IN_SHUTDOWN, TRUNCATED,
};
use wasm_testkit::{MemoryLoader, ModelEngine};

use crate::support::{
    SECOND, TIMEOUT, ask, causes, component, config, demo, host, host_with, load, start, told,
    until,
};

#[tokio::test(start_paused = true)]
async fn a_host_has_one_component_of_each_id() {
    let host = load(&[component("echo", ECHO)]).await;
    let again = host.load(component("echo", COUNTER)).await.unwrap_err();
    assert_eq!(again.to_string(), "demo/echo/main is already loaded");
    assert_eq!(told(&host, "echo", "hello").await, "hello");
    host.unload(&demo("echo")).await.unwrap();
    host.load(component("echo", COUNTER)).await.unwrap();
    assert_eq!(told(&host, "echo", "hello").await, "1");
}

#[tokio::test(start_paused = true)]
async fn the_program_is_not_to_be_impersonated() {
    let host = host();
    let mut impostor = component("echo", ECHO);
    impostor.id = host.program_id().clone();
    let refused = host.load(impostor).await.unwrap_err();
    assert!(matches!(refused, HostError::Reserved(_)), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn of_a_load_that_fails_nothing_is_left() {
    let limits = HostLimits::default().with_components(1);
    let host = host_with(limits);
    for fixture in [TRUNCATED, INIT_FAILS] {
        let refused = host.load(component("it", fixture)).await.unwrap_err();
        assert!(
            matches!(&refused, HostError::Engine(e) if e.is_load_error()),
            "{refused}"
        );
        assert_eq!(host.status().await.len(), 0);
    }
    host.load(component("it", ECHO)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_to_a_component_that_does_not_load_is_told_of() {
    let host = host();
    // The load is polled first, so that the mailbox is there for the request.
    let (loaded, asked) = tokio::join!(
        host.load(component("it", INIT_FAILS)),
        ask(&host, "it", "hello")
    );
    loaded.unwrap_err();
    assert_eq!(
        asked.unwrap_err().to_string(),
        "delivery failed: its recipient was not loaded: demo/it/main did not initialize: \
         initialization-failed \"no configuration\""
    );
    assert_eq!(causes(&host.dead_letters()), ["not-loaded"]);
}

#[tokio::test(start_paused = true)]
async fn components_that_are_loaded_together_can_message_each_other_from_the_start() {
    let host = host();
    let loaded = host
        .load_all([component("first", INIT_SENDS), component("sink", COUNTER)])
        .await;
    for handle in loaded {
        handle.unwrap();
    }
    host.drain(SECOND).await.unwrap();
    let callback = told(&host, "first", "last").await;
    assert!(callback.ends_with("|-|2"), "{callback}");
}

#[tokio::test(start_paused = true)]
async fn budgets_of_the_process_are_checked_before_anything_is_instantiated() {
    let limits = HostLimits::default()
        .with_components(2)
        .with_memory_bytes(3 << 20);
    let host = host_with(limits);
    host.load(component("a", ECHO)).await.unwrap();
    host.load(component("b", ECHO)).await.unwrap();
    let refused = host.load(component("c", ECHO)).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "demo/c/main cannot be loaded: 2 components are loaded, as many as this host may have \
         (`components` in HostLimits, `--max-components`)"
    );
    host.unload(&demo("a")).await.unwrap();
    host.load(component("c", ECHO)).await.unwrap();
    let host = host_with(HostLimits::default().with_memory_bytes(1 << 20));
    host.load(component("a", ECHO)).await.unwrap();
    let refused = host.load(component("b", ECHO)).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "demo/b/main cannot be loaded: a memory limit of 1MiB does not fit: 1MiB of 1MiB are \
         given to the components that are loaded (`memory_bytes` in HostLimits, `--max-memory`)"
    );
}

#[tokio::test(start_paused = true)]
async fn a_component_is_loaded_by_its_id() {
    let loader = MemoryLoader::new();
    loader.insert(demo("echo"), ECHO.wasm);
    let host = start(HostBuilder::new().with_loader(Arc::new(loader)));
    let load = |name: &'static str| {
        let host = host.clone();
        async move {
            host.load_by_id(demo(name), config(), Supervision::default())
                .await
        }
    };
    load("echo").await.unwrap();
    assert_eq!(told(&host, "echo", "hello").await, "hello");
    let missing = load("nobody").await.unwrap_err();
    assert!(
        matches!(&missing, HostError::Engine(e) if matches!(**e, WasmError::LoadFailed { .. })),
        "{missing}"
    );
    let without = crate::support::host();
    let id = demo("echo");
    let refused = without
        .load_by_id(id, config(), Supervision::default())
        .await
        .unwrap_err();
    assert!(matches!(refused, HostError::NoLoader(_)), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn an_engine_behind_a_pointer_serves_as_well() {
    let model = |services: HostServices| {
        Ok::<_, String>(Arc::new(ModelEngine::new(services)) as Arc<dyn RuntimeEngine>)
    };
    let host = HostBuilder::new().start(model).unwrap();
    host.load(component("echo", ECHO)).await.unwrap();
    assert_eq!(told(&host, "echo", "hello").await, "hello");
}

#[tokio::test(start_paused = true)]
async fn an_unload_calls_shutdown_and_tells_what_it_said() {
    let host = load(&[component("it", SHUTDOWN_FAILS)]).await;
    let mut events = host.events();
    let said = host.unload(&demo("it")).await.unwrap_err();
    assert!(said.to_string().contains("still busy"), "{said}");
    let gone = host.unload(&demo("it")).await.unwrap_err();
    assert!(matches!(gone, HostError::NotLoaded(_)), "{gone}");
    let told = until(&mut events, |e| matches!(e, Event::Unloaded { .. })).await;
    assert!(told[0].to_string().contains("still busy"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_delivers_what_waits_and_ends_every_task() {
    let host = load(&[component("sleeper", SLEEPER), component("counter", COUNTER)]).await;
    let mut events = host.events();
    for _ in 0..5 {
        host.send(&demo("counter"), "").unwrap();
        host.send(&demo("sleeper"), "400").unwrap();
    }
    let began = Instant::now();
    host.stop().await;
    // 0.4 and 0.8 and 1.2 s are the calls that began within the second.
    assert_eq!(began.elapsed(), Duration::from_millis(1_200));
    let seen = until(&mut events, |e| matches!(e, Event::Stopped)).await;
    assert!(events.next().await.is_none());
    let handled = seen
        .iter()
        .filter(|e| matches!(e, Event::Message { .. }))
        .count();
    assert_eq!(handled, 5 + 3);
    assert_eq!(causes(&host.dead_letters()), ["stopped", "stopped"]);
    assert_eq!(host.status().await.len(), 0);
    let stopped = MessagingError::DeliveryFailed("the host has stopped".to_owned());
    assert_eq!(host.send(&demo("counter"), ""), Err(stopped.clone()));
    let asked = host
        .request(&demo("counter"), "", SECOND)
        .await
        .unwrap_err();
    assert!(matches!(asked, RequestError::Messaging(e) if e == stopped));
    assert!(matches!(
        host.load(component("a", ECHO)).await,
        Err(HostError::Stopped)
    ));
    host.stop().await;
    // The engine is held by the host alone: no task has it any more.
    assert_eq!(Arc::strong_count(host.engine()), 1);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_that_goes_wrong_in_a_stop_keeps_no_other_component() {
    let host = load(&[
        component("a", SHUTDOWN_FAILS),
        component("b", TRAP_IN_SHUTDOWN),
        component("c", SHUTDOWN_FAILS),
        component("d", SPIN_IN_SHUTDOWN),
        component("e", ECHO),
        component("f", TRAP_IN_SHUTDOWN),
    ])
    .await;
    let mut events = host.events();
    host.stop().await;
    let seen = until(&mut events, |e| matches!(e, Event::Stopped)).await;
    let mut unloaded: Vec<_> = seen
        .iter()
        .filter_map(|event| match event {
            Event::Unloaded { component, error } => Some((component.name(), error.is_some())),
            _ => None,
        })
        .collect();
    unloaded.sort();
    let expected = [true, true, true, true, false, true];
    assert_eq!(
        unloaded,
        ["a", "b", "c", "d", "e", "f"]
            .into_iter()
            .zip(expected)
            .collect::<Vec<_>>()
    );
    assert_eq!(Arc::strong_count(host.engine()), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_nobody_longer_than_its_time() {
    let host = load(&[
        component("sleeper", SLEEP_FOREVER),
        component("spinner", SPIN_IN_SHUTDOWN),
        component("asker", CALLBACK),
    ])
    .await;
    let asked = {
        let host = host.clone();
        tokio::spawn(async move { ask(&host, "sleeper", "sleep").await })
    };
    tokio::task::yield_now().await;
    told(&host, "asker", "demo/sleeper/main hello").await;
    let began = Instant::now();
    host.stop().await;
    assert!(began.elapsed() <= TIMEOUT + SECOND, "{:?}", began.elapsed());
    let error = asked.await.unwrap().unwrap_err();
    assert!(
        matches!(&error, RequestError::Component(e) if e.is_limit_error()),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_dropped_ends_its_tasks() {
    let host = load(&[component("sleeper", SLEEPER)]).await;
    host.send(&demo("sleeper"), "100").unwrap();
    tokio::task::yield_now().await;
    let engine = Arc::downgrade(host.engine());
    let mut events = host.events();
    drop(host);
    sleep(SECOND).await;
    assert_eq!(engine.strong_count(), 0);
    until(&mut events, |e| matches!(e, Event::Message { .. })).await;
    assert!(events.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_component_whose_load_nobody_waits_for_is_loaded() {
    let host = host();
    {
        let load = host.load(component("echo", ECHO));
        let _ = tokio::time::timeout(Duration::ZERO, load).await;
    }
    assert_eq!(told(&host, "echo", "hello").await, "hello");
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_components_live_in_one_host() {
    const COMPONENTS: u64 = 10_000;
    let limits = HostLimits::default()
        .with_components(COMPONENTS)
        .with_memory_bytes(COMPONENTS << 20);
    let host = host_with(limits);
    let name = |n: u64| format!("c{n}");
    let loaded = host
        .load_all((0..COMPONENTS).map(|n| component(&name(n), COUNTER)))
        .await;
    assert!(loaded.iter().all(Result::is_ok));
    let all: Vec<_> = (0..COMPONENTS).map(|n| demo(&name(n))).collect();
    host.broadcast(&all, "one").unwrap();
    host.broadcast(&all, "two").unwrap();
    let began = Instant::now();
    host.stop().await;
    assert!(began.elapsed() <= TIMEOUT + SECOND, "{:?}", began.elapsed());
    assert_eq!(host.dead_letters().len(), 0);
    assert_eq!(host.status().await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_status_tells_where_each_is() {
    let host = load(&[
        component("sleeper", SLEEPER).with_version("1.0"),
        component("echo", ECHO),
    ])
    .await;
    for _ in 0..3 {
        host.send(&demo("sleeper"), "100").unwrap();
    }
    tokio::task::yield_now().await;
    let status = host.status().await;
    let found: Vec<_> = status
        .iter()
        .map(|s| (s.id.name(), s.phase, s.waiting))
        .collect();
    assert_eq!(
        found,
        [("echo", Phase::Ready, 0), ("sleeper", Phase::Busy, 2)]
    );
    assert_eq!(status[1].version.as_deref(), Some("1.0"));
    assert!(status[1].usage.is_some_and(|usage| usage.memory_bytes > 0));
}
