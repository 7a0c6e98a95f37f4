use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, yield_now};
use tokio::time::interval;
use wasmtime::component::Val;

use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentState, LIFECYCLE_INTERFACE, Resource,
    ResourceLimits, WasmError,
};
use wasm_fixtures::{
    CALLBACK, COUNTER, ECHO, GROW, GROW_FOREVER, GROW_SURVIVES, HELLO, MANY_INSTANCES,
    MANY_MEMORIES, RECURSE_THEN_HOSTCALL, SLEEPER, SPIN, SPIN_IN_HEALTH, SPIN_IN_INITIALIZE,
    SPIN_IN_POST_RETURN, SPIN_IN_REALLOC, SPIN_IN_SHUTDOWN, SPIN_IN_START, TABLE_BOMB,
};
use wasm_runtime::WasmtimeEngine;

use crate::support::{
    ask, config, engine, fuelled, id, load, message, send, timed, try_load, with_memory, within,
};

const SHORT: Duration = Duration::from_millis(100);

/// Makes resources of its own and keeps a handle to each.
#[tokio::test]
async fn a_component_holds_so_many_handles() {
    let text = r#"(component
        (type $thing (resource (rep i32)))
        (core func $new (canon resource.new $thing))
        (core module $m
            (import "" "new" (func $new (param i32) (result i32)))
            (func (export "make") (param $left i32)
                (loop $more
                    (drop (call $new (i32.const 1)))
                    (local.set $left (i32.sub (local.get $left) (i32.const 1)))
                    (br_if $more (local.get $left)))))
        (core instance $i (instantiate $m (with "" (instance (export "new" (func $new))))))
        (func (export "make") (param "left" u32) (canon lift (core func $i "make"))))"#;
    let engine = engine();
    let id = id("demo/handles/main");
    let wasm = wat::parse_str(text).unwrap();
    let loading = engine.load_component(&id, wasm.into(), config());
    let handle = loading.await.unwrap();
    let make = async |count| {
        engine
            .call_export(&handle, "make", &[Val::U32(count)])
            .await
    };
    make(4_000).await.unwrap();
    let error = make(200).await.unwrap_err();
    assert!(matches!(error, WasmError::Trapped { .. }), "{error:?}");
    assert!(error.to_string().contains("handle"), "{error}");
}

/// A component that is called all along from a task of its own, and that would
/// notice anything that happened to it: each of its answers is the next number.
struct Neighbour {
    answers: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Neighbour {
    async fn of(engine: &Arc<WasmtimeEngine>) -> Self {
        let handle = load(engine, COUNTER, config()).await;
        let (answers, stop) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (engine, counted, stopped) = (Arc::clone(engine), answers.clone(), stop.clone());
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let expected = counted.load(Ordering::Relaxed) + 1;
                assert_eq!(ask(&engine, &handle, "").await, expected.to_string());
                counted.store(expected, Ordering::Relaxed);
                yield_now().await;
            }
            let usage = engine.usage(&handle).unwrap();
            let calls = counted.load(Ordering::Relaxed);
            assert_eq!((usage.calls, usage.restarts), (calls, 0));
            assert_eq!((usage.traps, usage.timeouts), (0, 0));
        });
        Self {
            answers,
            stop,
            task,
        }
    }

    /// Until it has been answered again.
    async fn goes_on(&self) {
        let before = self.answers.load(Ordering::Relaxed);
        within(async {
            while self.answers.load(Ordering::Relaxed) == before && !self.task.is_finished() {
                yield_now().await;
            }
        })
        .await;
    }

    async fn never_noticed(self) {
        self.goes_on().await;
        self.stop.store(true, Ordering::Relaxed);
        within(self.task).await.unwrap();
    }
}

/// Sends what ends badly, restarts, and sees the next message answered.
async fn ordeal(engine: &WasmtimeEngine, handle: &ComponentHandle) -> WasmError {
    let error = within(send(engine, handle, "go")).await.unwrap_err();
    let again = send(engine, handle, "ok").await.unwrap_err();
    assert!(
        matches!(&again, WasmError::ComponentFailed { source, .. }
            if source.to_string() == error.to_string()),
        "{again}"
    );
    let usage = engine.usage(handle).unwrap();
    assert_eq!(
        (usage.state, usage.memory_bytes),
        (ComponentState::Failed, 0)
    );
    engine.restart_component(handle).await.unwrap();
    assert_eq!(ask(engine, handle, "ok").await, "ok");
    assert_eq!(engine.usage(handle).unwrap().state, ComponentState::Ready);
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unmetered_guest_that_spins_is_stopped_at_its_deadline_and_nobody_else_notices() {
    let engine = Arc::new(engine());
    let neighbour = Neighbour::of(&engine).await;
    let spin = load(&engine, SPIN, timed(SHORT)).await;
    neighbour.goes_on().await;
    let error = ordeal(&engine, &spin).await;
    let WasmError::Timeout {
        limit,
        fuel_consumed,
        export,
        ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!((*limit, &**export), (SHORT, "handle-message"));
    // However busy the machine, it got a millisecond or two of the hundred.
    assert!(*fuel_consumed >= 1_000_000, "{fuel_consumed}");
    let text = error.to_string();
    let consumed = wasm_core::units::format_count(*fuel_consumed);
    for part in [
        "100ms",
        &consumed,
        "`timeout` in [resources]",
        "demo/spin/main",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let usage = engine.usage(&spin).unwrap();
    assert_eq!((usage.timeouts, usage.traps, usage.restarts), (1, 0, 1));
    assert!(usage.total_fuel > *fuel_consumed, "{usage:?}");
    neighbour.never_noticed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_spins_runs_out_of_fuel_and_nobody_else_notices() {
    let engine = Arc::new(engine());
    let neighbour = Neighbour::of(&engine).await;
    let spin = load(&engine, SPIN, fuelled(1_000_000)).await;
    neighbour.goes_on().await;
    let error = ordeal(&engine, &spin).await;
    assert!(
        matches!(
            &error,
            WasmError::ResourceLimitExceeded {
                resource: Resource::Fuel,
                limit: 1_000_000,
                requested: None,
                fuel_consumed: 1_000_000,
                ..
            }
        ),
        "{error:?}"
    );
    let text = error.to_string();
    for part in ["1_000_000", "`fuel` in [resources]", "handle-message"] {
        assert!(text.contains(part), "{text}");
    }
    let usage = engine.usage(&spin).unwrap();
    assert_eq!((usage.timeouts, usage.traps, usage.restarts), (0, 1, 1));
    neighbour.never_noticed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_grows_is_stopped_at_its_memory_limit_and_nobody_else_notices() {
    let engine = Arc::new(engine());
    let neighbour = Neighbour::of(&engine).await;
    let grow = load(&engine, GROW, with_memory(512 << 10)).await;
    neighbour.goes_on().await;
    let error = ordeal(&engine, &grow).await;
    const ASKED_FOR: u64 = (512 << 10) + (64 << 10);
    assert!(
        matches!(
            &error,
            WasmError::ResourceLimitExceeded {
                resource: Resource::Memory,
                limit: 524_288,
                requested: Some(ASKED_FOR),
                ..
            }
        ),
        "{error:?}"
    );
    let text = error.to_string();
    for part in ["576KiB", "512KiB", "`memory` in [resources]"] {
        assert!(text.contains(part), "{text}");
    }
    let usage = engine.usage(&grow).unwrap();
    assert_eq!((usage.traps, usage.peak_memory_bytes), (1, 512 << 10));
    neighbour.never_noticed().await;
}

#[tokio::test]
async fn the_frames_of_a_deadline_tell_where_the_guest_was() {
    let engine = engine();
    let spin = load(&engine, SPIN, timed(Duration::from_millis(50))).await;
    let mut told = 0;
    for _ in 0..10 {
        let error = within(send(&engine, &spin, "go")).await.unwrap_err();
        assert!(matches!(error, WasmError::Timeout { .. }), "{error}");
        if let Some(innermost) = error.frames().first() {
            assert_eq!(innermost.function.as_deref(), Some("handle-message"));
            told += 1;
        }
        engine.restart_component(&spin).await.unwrap();
    }
    // On a busy machine the timer may come first, which knows no frames.
    assert!(told >= 6, "{told}");
}

#[tokio::test]
async fn every_call_has_the_full_fuel() {
    let engine = engine();
    let measured = load(&engine, RECURSE_THEN_HOSTCALL, fuelled(u64::MAX)).await;
    assert_eq!(ask(&engine, &measured, "500").await, "back");
    let one_call = engine.usage(&measured).unwrap().last_call_fuel;
    assert!(one_call > 1_000, "{one_call}");
    let budget = one_call * 10 / 6;
    let handle = load(&engine, RECURSE_THEN_HOSTCALL, fuelled(budget)).await;
    for _ in 0..100 {
        assert_eq!(ask(&engine, &handle, "500").await, "back");
    }
    let usage = engine.usage(&handle).unwrap();
    assert_eq!((usage.last_call_fuel, usage.calls), (one_call, 100));
    assert!(usage.total_fuel >= 100 * one_call, "{usage:?}");
    // The measure is right: twice the depth is too much.
    let error = send(&engine, &handle, "1000").await.unwrap_err();
    assert!(
        matches!(error, WasmError::ResourceLimitExceeded { resource: Resource::Fuel, limit, .. }
            if limit == budget),
        "{error}"
    );
}

#[tokio::test]
async fn every_call_has_the_full_time() {
    let engine = engine();
    let limit = Duration::from_millis(1500);
    let sleeper = load(&engine, SLEEPER, timed(limit)).await;
    let start = Instant::now();
    for _ in 0..4 {
        assert_eq!(ask(&engine, &sleeper, "500").await, "awake");
    }
    assert!(start.elapsed() > limit);
}

#[tokio::test]
async fn time_counts_from_when_the_guest_begins_not_while_the_call_waits() {
    let engine = engine();
    let limit = Duration::from_millis(1500);
    let sleeper = load(&engine, SLEEPER, timed(limit)).await;
    let sleep = || ask(&engine, &sleeper, "500");
    let answers = tokio::join!(sleep(), sleep(), sleep(), sleep());
    for answer in [answers.0, answers.1, answers.2, answers.3] {
        assert_eq!(answer, "awake");
    }
}

/// What ends a guest that spins: too little fuel, or too little time.
fn short_budgets() -> [ComponentConfig; 2] {
    [fuelled(300_000), timed(SHORT)]
}

#[track_caller]
fn stopped(error: &WasmError, config: &ComponentConfig, in_export: &str) {
    match (error, config.limits.fuel()) {
        (WasmError::Timeout { export, limit, .. }, None) => {
            assert_eq!((&**export, *limit), (in_export, SHORT));
        }
        (
            WasmError::ResourceLimitExceeded {
                export,
                resource: Resource::Fuel,
                limit,
                ..
            },
            Some(fuel),
        ) => assert_eq!((&**export, *limit), (in_export, fuel)),
        _ => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn spinning_while_loading_is_bounded() {
    let engine = engine();
    for config in short_budgets() {
        for (fixture, export) in [
            (SPIN_IN_START, "instantiate"),
            (SPIN_IN_INITIALIZE, "initialize"),
        ] {
            let outcome = within(try_load(&engine, fixture, config.clone())).await;
            stopped(&outcome.unwrap_err(), &config, export);
        }
    }
}

#[tokio::test]
async fn spinning_around_a_message_is_bounded() {
    let engine = engine();
    for config in short_budgets() {
        for fixture in [SPIN, SPIN_IN_REALLOC, SPIN_IN_POST_RETURN] {
            let handle = load(&engine, fixture, config.clone()).await;
            let error = within(send(&engine, &handle, "go")).await.unwrap_err();
            stopped(&error, &config, "handle-message");
            let usage = engine.usage(&handle).unwrap();
            assert_eq!(usage.state, ComponentState::Failed, "{}", fixture.name);
        }
    }
}

#[tokio::test]
async fn spinning_in_health_is_bounded_however_it_is_called() {
    let engine = engine();
    for config in short_budgets() {
        let handle = load(&engine, SPIN_IN_HEALTH, config.clone()).await;
        let error = within(engine.health(&handle)).await.unwrap_err();
        stopped(&error, &config, "health");
        engine.restart_component(&handle).await.unwrap();
        assert_eq!(ask(&engine, &handle, "hi").await, "hi");
        let export = format!("{LIFECYCLE_INTERFACE}#health");
        let error = within(engine.call_export(&handle, &export, &[])).await;
        stopped(&error.unwrap_err(), &config, &export);
    }
}

#[tokio::test]
async fn spinning_in_shutdown_is_bounded_and_stops_neither_unload_nor_restart() {
    let engine = engine();
    for config in short_budgets() {
        let handle = load(&engine, SPIN_IN_SHUTDOWN, config.clone()).await;
        within(engine.restart_component(&handle)).await.unwrap();
        assert_eq!(ask(&engine, &handle, "hi").await, "hi");
        let error = within(engine.unload_component(&handle)).await.unwrap_err();
        stopped(&error, &config, "shutdown");
        let gone = send(&engine, &handle, "hi").await.unwrap_err();
        assert!(
            matches!(gone, WasmError::ComponentNotFound { .. }),
            "{gone}"
        );
    }
}

#[tokio::test]
async fn a_message_or_callback_that_does_not_fit_ends_at_the_memory_limit() {
    let engine = engine();
    let huge = || vec![b'x'; 1 << 20];
    let echo = load(&engine, ECHO, with_memory(512 << 10)).await;
    let error = send(&engine, &echo, huge()).await.unwrap_err();
    let callback = load(&engine, CALLBACK, with_memory(512 << 10)).await;
    let outcome = engine.call_handle_callback(&callback, message(&callback, huge()));
    for (error, in_export) in [
        (error, "handle-message"),
        (outcome.await.unwrap_err(), "handle-callback"),
    ] {
        assert!(
            matches!(&error, WasmError::ResourceLimitExceeded {
                export, resource: Resource::Memory, limit: 524_288, requested: Some(requested), ..
            } if &**export == in_export && *requested > 1 << 20),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn memory_is_a_total_over_all_memories_and_core_instances() {
    let engine = engine();
    // Neither a whole number of pages nor a round one for four memories.
    for (limit, pages) in [(512 << 10, 8), (1 << 20, 16), (600_000, 9), (2 << 20, 32)] {
        for fixture in [GROW_SURVIVES, MANY_MEMORIES, MANY_INSTANCES] {
            let handle = load(&engine, fixture, with_memory(limit)).await;
            if fixture.name == MANY_INSTANCES.name {
                let grown = engine.call_export(&handle, "grow", &[]).await.unwrap();
                assert_eq!(grown, [Val::U32(pages)]);
            } else {
                let grown = ask(&engine, &handle, "").await;
                assert_eq!(grown, pages.to_string(), "{}", fixture.name);
            }
            let usage = engine.usage(&handle).unwrap();
            let used = u64::from(pages) << 16;
            assert_eq!(
                (usage.memory_bytes, usage.peak_memory_bytes, usage.state),
                (used, used, ComponentState::Ready),
                "{}",
                fixture.name
            );
        }
    }
}

#[tokio::test]
async fn table_elements_count_as_memory() {
    let engine = engine();
    let handle = load(&engine, TABLE_BOMB, with_memory(1 << 20)).await;
    let error = send(&engine, &handle, "go").await.unwrap_err();
    let WasmError::ResourceLimitExceeded {
        resource: Resource::Memory,
        requested: Some(requested),
        ..
    } = error
    else {
        panic!("{error}");
    };
    // Each step is 1,024 elements.
    assert!(
        requested > 1 << 20 && requested <= (1 << 20) + 1024 * 8,
        "{requested}"
    );
    let peak = engine.usage(&handle).unwrap().peak_memory_bytes;
    assert_eq!(peak, requested - 1024 * 8);
}

#[tokio::test]
async fn asking_for_memory_over_and_over_costs_fuel_and_time() {
    let engine = engine();
    for config in short_budgets() {
        let handle = load(&engine, GROW_FOREVER, config.clone()).await;
        let error = within(send(&engine, &handle, "go")).await.unwrap_err();
        stopped(&error, &config, "handle-message");
        let peak = engine.usage(&handle).unwrap().peak_memory_bytes;
        assert!(peak <= config.limits.memory_bytes(), "{peak}");
    }
}

/// How often a timer of 1 ms came while the guest span.
async fn ticks_beside(config: ComponentConfig) -> u32 {
    let engine = engine();
    let spin = load(&engine, SPIN, config).await;
    let ticks = Arc::new(AtomicU64::new(0));
    let counted = ticks.clone();
    let ticker = tokio::spawn(async move {
        let mut interval = interval(Duration::from_millis(1));
        loop {
            interval.tick().await;
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let error = within(send(&engine, &spin, "go")).await.unwrap_err();
    assert!(error.is_limit_error(), "{error}");
    ticker.abort();
    ticks.load(Ordering::Relaxed) as u32
}

#[tokio::test]
async fn a_guest_that_spins_unmetered_does_not_starve_its_thread() {
    let ticks = ticks_beside(timed(Duration::from_millis(400))).await;
    assert!(ticks > 20, "{ticks}");
}

#[tokio::test]
async fn a_guest_that_spins_metered_does_not_starve_its_thread() {
    let limits = ResourceLimits::new(2 << 20, Duration::from_millis(400), Some(u64::MAX));
    let ticks = ticks_beside(ComponentConfig::new(limits.unwrap())).await;
    assert!(ticks > 20, "{ticks}");
}

#[tokio::test]
async fn a_call_by_name_has_the_limits_of_any_call() {
    let engine = engine();
    let error = try_load(&engine, SPIN_IN_START, fuelled(1)).await;
    stopped(&error.unwrap_err(), &fuelled(1), "instantiate");
    let handle = load(&engine, HELLO, fuelled(1)).await;
    let error = engine.call_export(&handle, "hello", &[]).await;
    stopped(&error.unwrap_err(), &fuelled(1), "hello");
    assert_eq!(engine.usage(&handle).unwrap().state, ComponentState::Failed);
}

#[tokio::test]
async fn the_longest_deadline_is_no_obstacle() {
    let engine = engine();
    let limits = ResourceLimits::new(4 << 20, ResourceLimits::MAX_TIMEOUT, None).unwrap();
    let sleeper = load(&engine, SLEEPER, ComponentConfig::new(limits)).await;
    assert_eq!(within(ask(&engine, &sleeper, "1")).await, "awake");
    let shortest = ResourceLimits::new(512 << 10, ResourceLimits::MIN_TIMEOUT, None).unwrap();
    // It may or may not be enough, but it is neither a panic nor a hang.
    for _ in 0..20 {
        match within(try_load(&engine, SPIN, ComponentConfig::new(shortest))).await {
            Ok(handle) => {
                let error = within(send(&engine, &handle, "go")).await.unwrap_err();
                assert!(matches!(error, WasmError::Timeout { .. }), "{error}");
            }
            Err(error) => assert!(matches!(error, WasmError::Timeout { .. }), "{error}"),
        }
    }
}
