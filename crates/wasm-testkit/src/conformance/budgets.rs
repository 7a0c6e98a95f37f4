use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use wasm_core::{ComponentConfig, ComponentState, HostServices, Resource, Timestamp, WasmError};
use wasm_fixtures::{
    CALLBACK, DIRECTORY, ECHO, Fixture, GROW, GROW_FOREVER, GROW_SURVIVES, INIT_SENDS,
    MANY_MEMORIES, PAGE_BYTES, RECURSE_THEN_HOSTCALL, SENDER, SHUTDOWN_SENDS, SLEEP_FOREVER,
    SLEEPER, SPIN, SPIN_IN_HEALTH, SPIN_IN_POST_RETURN, SPIN_IN_REALLOC, SPIN_IN_SHUTDOWN, STORE,
    TABLE_BOMB, WASI_SLEEP,
};

use super::lab::{
    AMPLE, KIB, MIB, SHORT, all_permissions, around, begin, exceeded, fuelled, limited, timed,
    timed_out, tolerance, with_memory,
};
use super::probes::{GatedRouter, SlowRouter, Stuck};
use super::{Engine, Feature, Lab};
use crate::ManualClock;
use crate::suite::{Case, cases};

pub(super) fn cases<E: Engine + ?Sized>() -> Vec<Case<Lab<E>, Feature>> {
    cases!["budgets":
        "Every call starts with the full fuel and time of the component's `ResourceLimits`; time \
         counts from when the guest begins, not while the call waits for its turn." => [
            every_call_starts_with_the_full_time,
            waiting_for_a_turn_takes_no_time,
            waiting_for_a_turn_takes_no_time_of_any_call,
            every_call_starts_with_the_full_fuel needs Feature::Fuel,
            what_a_failed_instance_consumed_is_not_missing_after_a_restart needs Feature::Fuel,
        ],
        "Memory is a total over all memories and tables of the instance." => [
            one_memory_grows_to_the_limit,
            many_memories_share_the_limit,
            table_elements_count_as_memory,
            a_limit_between_two_pages_is_not_rounded_up,
        ],
        "This holds for every export and while instantiating." => [
            a_message_that_is_not_done_is_stopped_at_its_deadline,
            an_allocation_that_spins_is_stopped_at_its_deadline,
            a_post_return_that_spins_is_stopped_at_its_deadline,
            health_that_spins_is_stopped_at_its_deadline,
            a_shutdown_that_spins_is_stopped_at_its_deadline,
            a_restart_that_is_not_done_is_stopped_at_its_deadline,
            a_shutdown_that_spins_does_not_stop_a_restart,
            a_message_that_spins_runs_out_of_fuel needs Feature::Fuel,
            an_allocation_that_spins_runs_out_of_fuel needs Feature::Fuel,
            a_post_return_that_spins_runs_out_of_fuel needs Feature::Fuel,
            health_that_spins_runs_out_of_fuel needs Feature::Fuel,
            a_shutdown_that_spins_runs_out_of_fuel needs Feature::Fuel,
            a_message_that_does_not_fit_ends_at_the_memory_limit,
            a_callback_that_does_not_fit_ends_at_the_memory_limit,
            asking_for_memory_without_end_takes_time,
            asking_for_memory_without_end_takes_fuel needs Feature::Fuel,
        ],
        "A guest is never stopped before its time is up; on a machine that has time for it, it \
         is stopped within 10 ms after." => [
            a_deadline_comes_when_it_is_due,
            a_message_has_its_time_and_no_more,
            an_initialize_has_its_time_and_no_more,
            an_initialize_of_a_restart_has_its_time_and_no_more,
            a_shutdown_has_its_time_and_no_more,
        ],
        "`timeout` is wall-clock time per call; `fuel` is per call and roughly one per \
         WebAssembly instruction, `None` only if the operator asked for unmetered execution in \
         so many words." => [
            waiting_in_sleep_takes_time,
            waiting_in_a_service_takes_time,
            waiting_in_wasi_takes_time needs Feature::Wasi,
            unmetered_execution_consumes_all_it_wants,
        ],
        "Deadlines do not follow it: a clock turned by hand cannot give a component more time \
         than its limit." => [
            a_clock_that_stands_still_stops_no_deadline,
            a_clock_that_is_turned_on_brings_no_deadline_nearer,
        ],
        "A call needed more of something than its limit." => [
            a_denied_growth_says_how_much_it_would_have_been,
        ],
    ]
}

/// Of what waits nearly as long as it may.
const LIMIT: Duration = Duration::from_secs(1);

fn millis(time: Duration) -> String {
    time.as_millis().to_string()
}

async fn every_call_starts_with_the_full_time<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let [nearly, _] = around(LIMIT);
    let sleeper = bench.load(SLEEPER, timed(LIMIT)).await;
    let start = Instant::now();
    for _ in 0..5 {
        assert_eq!(bench.ask(&sleeper, millis(nearly)).await, "awake");
    }
    let elapsed = start.elapsed();
    assert!(elapsed > LIMIT, "more than one call may take: {elapsed:?}");
}

async fn waiting_for_a_turn_takes_no_time<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let [nearly, _] = around(LIMIT);
    let sleeper = bench.load(SLEEPER, timed(LIMIT)).await;
    let start = Instant::now();
    let calls = [(); 5].map(|()| bench.spawn_send(&sleeper, millis(nearly)));
    for call in calls {
        match call.await {
            Ok(Ok(reply)) => assert_eq!(reply.as_deref(), Some("awake")),
            Ok(Err(error)) => panic!("a call that had to wait for its turn: {error}"),
            Err(error) => panic!("{error}"),
        }
    }
    let elapsed = start.elapsed();
    assert!(elapsed > LIMIT, "more than one call may take: {elapsed:?}");
}

async fn waiting_for_a_turn_takes_no_time_of_any_call<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let [nearly, _] = around(LIMIT);
    let sleeper = bench.load(SLEEPER, timed(LIMIT)).await;
    let start = Instant::now();
    let mut sleeps = Vec::new();
    for _ in 0..4 {
        let mut sleep = bench.called(&sleeper, millis(nearly));
        begin("a sleep behind others", sleep.as_mut()).await;
        sleeps.push(sleep);
    }
    let mut callback = Box::pin(bench.call_back(&sleeper, ""));
    let mut health = bench.engine.health(&sleeper);
    let mut metadata = bench.engine.metadata(&sleeper);
    let mut restart = bench.engine.restart_component(&sleeper);
    begin("a callback behind sleeps", callback.as_mut()).await;
    begin("health behind sleeps", health.as_mut()).await;
    begin("metadata behind sleeps", metadata.as_mut()).await;
    begin("a restart behind sleeps", restart.as_mut()).await;
    let outcomes = tokio::join!(callback, health, metadata, restart);
    let elapsed = start.elapsed();
    assert!(elapsed >= LIMIT, "all that one call may take: {elapsed:?}");
    let (callback, health, metadata, restart) = outcomes;
    let mut outcomes = vec![callback, health.map(drop), metadata.map(drop), restart];
    for sleep in sleeps {
        outcomes.push(sleep.await.map(drop));
    }
    for outcome in outcomes {
        if let Err(error) = outcome {
            panic!("a call that had to wait for its turn: {error}");
        }
    }
}

async fn every_call_starts_with_the_full_fuel<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let measured = bench.load(RECURSE_THEN_HOSTCALL, fuelled(u64::MAX)).await;
    assert_eq!(bench.ask(&measured, "500").await, "back");
    let one_call = bench.usage(&measured).await.last_call_fuel;
    assert!(one_call > 500, "{one_call} for a recursion of 500");
    // Enough for one, too little for two.
    let budget = one_call / 2 * 3;
    let handle = bench.load(RECURSE_THEN_HOSTCALL, fuelled(budget)).await;
    for _ in 0..50 {
        assert_eq!(bench.ask(&handle, "500").await, "back");
    }
    let error = bench.fail(&handle, "1000").await;
    exceeded(&error, Resource::Fuel, budget, "handle-message");
}

async fn what_a_failed_instance_consumed_is_not_missing_after_a_restart<E: Engine + ?Sized>(
    lab: Lab<E>,
) {
    let bench = lab.bench();
    let handle = bench.load(SPIN, fuelled(300_000)).await;
    for _ in 0..3 {
        let error = bench.fail(&handle, "go").await;
        assert!(
            matches!(
                error,
                WasmError::ResourceLimitExceeded {
                    fuel_consumed: 300_000,
                    ..
                }
            ),
            "{error:?}"
        );
        bench.restart(&handle).await;
        assert_eq!(bench.ask(&handle, "ok").await, "ok");
    }
}

async fn grows_to<E: Engine + ?Sized>(lab: &Lab<E>, fixture: Fixture, limit: u64, pages: u64) {
    let bench = lab.bench();
    let handle = bench.load(fixture, with_memory(limit)).await;
    let grown = bench.ask(&handle, "").await;
    assert_eq!(grown, pages.to_string(), "pages within {limit} bytes");
    let usage = bench.usage(&handle).await;
    let bytes = usage.memory_bytes;
    // Small tables are part of the total.
    assert!(
        (pages * PAGE_BYTES..=limit).contains(&bytes),
        "{bytes} bytes for {pages} pages within {limit} bytes"
    );
    assert_eq!(
        usage.state,
        ComponentState::Ready,
        "after a growth was denied"
    );
}

async fn one_memory_grows_to_the_limit<E: Engine + ?Sized>(lab: Lab<E>) {
    for (limit, pages) in [(512 * KIB, 8), (MIB, 16), (4 * MIB, 64)] {
        grows_to(&lab, GROW_SURVIVES, limit, pages).await;
    }
}

async fn many_memories_share_the_limit<E: Engine + ?Sized>(lab: Lab<E>) {
    for (limit, pages) in [(512 * KIB, 8), (MIB, 16), (4 * MIB, 64)] {
        grows_to(&lab, MANY_MEMORIES, limit, pages).await;
    }
}

async fn a_limit_between_two_pages_is_not_rounded_up<E: Engine + ?Sized>(lab: Lab<E>) {
    grows_to(&lab, GROW_SURVIVES, 600_000, 9).await;
    grows_to(&lab, MANY_MEMORIES, 10 * PAGE_BYTES - 1, 9).await;
}

async fn table_elements_count_as_memory<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(TABLE_BOMB, with_memory(MIB)).await;
    let error = bench.fail(&handle, "go").await;
    exceeded(&error, Resource::Memory, MIB, "handle-message");
    let peak = bench.usage(&handle).await.peak_memory_bytes;
    assert!(
        (MIB / 2..=MIB).contains(&peak),
        "a table grew within 1 MiB, and at its peak all memory was {peak} bytes"
    );
}

async fn stopped_at_its_deadline<E: Engine + ?Sized>(lab: &Lab<E>, fixture: Fixture) {
    let bench = lab.bench();
    let config = timed(SHORT);
    let handle = bench.load(fixture, config.clone()).await;
    let error = bench.fail(&handle, "go").await;
    timed_out(&error, &config, "handle-message");
}

async fn a_message_that_is_not_done_is_stopped_at_its_deadline<E: Engine + ?Sized>(lab: Lab<E>) {
    stopped_at_its_deadline(&lab, SPIN).await;
}

async fn an_allocation_that_spins_is_stopped_at_its_deadline<E: Engine + ?Sized>(lab: Lab<E>) {
    stopped_at_its_deadline(&lab, SPIN_IN_REALLOC).await;
}

async fn a_post_return_that_spins_is_stopped_at_its_deadline<E: Engine + ?Sized>(lab: Lab<E>) {
    stopped_at_its_deadline(&lab, SPIN_IN_POST_RETURN).await;
}

async fn asking_for_memory_without_end_takes_time<E: Engine + ?Sized>(lab: Lab<E>) {
    stopped_at_its_deadline(&lab, GROW_FOREVER).await;
}

/// How often a machine that has much else to do is given another chance.
const CHANCES: usize = 5;

async fn a_deadline_comes_when_it_is_due<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    for (fixture, in_health) in [
        (SPIN, false),
        (SLEEP_FOREVER, false),
        (SPIN_IN_HEALTH, true),
    ] {
        let handle = bench.load(fixture, timed(SHORT)).await;
        let mut late = Vec::new();
        loop {
            let start = Instant::now();
            if in_health {
                drop(bench.engine.health(&handle).await);
            } else {
                bench.fail(&handle, "go").await;
            }
            let elapsed = start.elapsed();
            let name = fixture.name;
            assert!(
                elapsed >= SHORT,
                "{name} was stopped after {elapsed:?} of {SHORT:?}"
            );
            if elapsed <= SHORT + tolerance() {
                break;
            }
            late.push(elapsed);
            assert!(
                late.len() < CHANCES,
                "{name} was stopped after {late:?} of {SHORT:?}"
            );
            bench.restart(&handle).await;
        }
    }
}

/// How long a call takes of the time that it has.
struct Taken {
    takes: Duration,
    config: ComponentConfig,
}

/// Long enough that the deadline of another call would come first.
fn ends_in_time() -> Taken {
    let [takes, _] = around(LIMIT);
    let config = timed(LIMIT).with_permissions(all_permissions());
    Taken { takes, config }
}

/// Within the second that it would have been stopped in, were deadlines whole seconds.
fn ends_too_late() -> Taken {
    let [_, takes] = around(SHORT);
    let config = timed(SHORT).with_permissions(all_permissions());
    Taken { takes, config }
}

async fn a_message_has_its_time_and_no_more<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let (before, after) = (ends_in_time(), ends_too_late());
    let sleeper = bench.load(SLEEPER, before.config).await;
    assert_eq!(bench.ask(&sleeper, millis(before.takes)).await, "awake");
    let sleeper = bench.load(SLEEPER, after.config.clone()).await;
    let error = bench.fail(&sleeper, millis(after.takes)).await;
    timed_out(&error, &after.config, "handle-message");
}

async fn an_initialize_has_its_time_and_no_more<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = SlowRouter::new();
    let bench = lab.bench_with(router.services());
    let (before, after) = (ends_in_time(), ends_too_late());
    router.takes(before.takes);
    bench.load(INIT_SENDS, before.config).await;
    router.takes(after.takes);
    let error = bench.not_loaded(INIT_SENDS, after.config.clone()).await;
    timed_out(&error, &after.config, "initialize");
}

async fn an_initialize_of_a_restart_has_its_time_and_no_more<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = SlowRouter::new();
    let bench = lab.bench_with(router.services());
    let (before, after) = (ends_in_time(), ends_too_late());
    let handle = bench.load(INIT_SENDS, before.config).await;
    router.takes(before.takes);
    bench.restart(&handle).await;
    let handle = bench.load(INIT_SENDS, after.config.clone()).await;
    router.takes(after.takes);
    match bench.engine.restart_component(&handle).await {
        Ok(()) => panic!("an `initialize` that takes {:?} was fine", after.takes),
        Err(error) => timed_out(&error, &after.config, "initialize"),
    }
}

async fn a_shutdown_has_its_time_and_no_more<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = SlowRouter::new();
    let bench = lab.bench_with(router.services());
    let (before, after) = (ends_in_time(), ends_too_late());
    let handle = bench.load(SHUTDOWN_SENDS, before.config).await;
    router.takes(before.takes);
    bench.unload(&handle).await;
    let handle = bench.load(SHUTDOWN_SENDS, after.config.clone()).await;
    router.takes(after.takes);
    match bench.engine.unload_component(&handle).await {
        Ok(()) => panic!("a `shutdown` that takes {:?} was fine", after.takes),
        Err(error) => timed_out(&error, &after.config, "shutdown"),
    }
}

async fn waiting_in_sleep_takes_time<E: Engine + ?Sized>(lab: Lab<E>) {
    stopped_at_its_deadline(&lab, SLEEP_FOREVER).await;
}

async fn waiting_in_wasi_takes_time<E: Engine + ?Sized>(lab: Lab<E>) {
    stopped_at_its_deadline(&lab, WASI_SLEEP).await;
}

async fn waiting_in_a_service_takes_time<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench_with(Stuck::services());
    let config = timed(SHORT).with_permissions(all_permissions());
    for (fixture, payload) in [
        (SENDER, "demo/a/main hi"),
        (CALLBACK, "demo/a/main hi"),
        (STORE, "get key"),
        (DIRECTORY, ""),
    ] {
        let handle = bench.load(fixture, config.clone()).await;
        let error = bench.fail(&handle, payload).await;
        timed_out(&error, &config, "handle-message");
        let usage = bench.usage(&handle).await;
        assert_eq!((usage.timeouts, usage.state), (1, ComponentState::Failed));
        bench.restart(&handle).await;
    }
}

async fn health_stops<E: Engine + ?Sized>(lab: &Lab<E>, config: ComponentConfig) -> WasmError {
    let bench = lab.bench();
    let handle = bench.load(SPIN_IN_HEALTH, config).await;
    let error = match bench.engine.health(&handle).await {
        Ok(health) => panic!("a health that never comes is {health}"),
        Err(error) => error,
    };
    assert_eq!(bench.state(&handle).await, ComponentState::Failed);
    error
}

async fn health_that_spins_is_stopped_at_its_deadline<E: Engine + ?Sized>(lab: Lab<E>) {
    let config = timed(SHORT);
    let error = health_stops(&lab, config.clone()).await;
    timed_out(&error, &config, "health");
}

async fn health_that_spins_runs_out_of_fuel<E: Engine + ?Sized>(lab: Lab<E>) {
    let error = health_stops(&lab, fuelled(300_000)).await;
    exceeded(&error, Resource::Fuel, 300_000, "health");
}

async fn shutdown_stops<E: Engine + ?Sized>(lab: &Lab<E>, config: ComponentConfig) -> WasmError {
    let bench = lab.bench();
    let handle = bench.load(SPIN_IN_SHUTDOWN, config).await;
    let error = match bench.engine.unload_component(&handle).await {
        Ok(()) => panic!("a shutdown that never returns was fine"),
        Err(error) => error,
    };
    bench.is_unknown(&handle).await;
    error
}

async fn a_shutdown_that_spins_is_stopped_at_its_deadline<E: Engine + ?Sized>(lab: Lab<E>) {
    let config = timed(SHORT);
    let error = shutdown_stops(&lab, config.clone()).await;
    timed_out(&error, &config, "shutdown");
}

async fn a_restart_that_is_not_done_is_stopped_at_its_deadline<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let config = timed(SHORT).with_permissions(all_permissions());
    router.gate.open(2);
    let handle = bench.load(INIT_SENDS, config.clone()).await;
    // Now the gate is closed.
    match bench.engine.restart_component(&handle).await {
        Ok(()) => panic!("an `initialize` that is never done was fine"),
        Err(error) => timed_out(&error, &config, "initialize"),
    }
    let usage = bench.usage(&handle).await;
    assert_eq!(
        (usage.state, usage.restarts),
        (ComponentState::Failed, 0),
        "state and restarts"
    );
    router.gate.open(2);
    bench.restart(&handle).await;
}

async fn a_shutdown_that_spins_runs_out_of_fuel<E: Engine + ?Sized>(lab: Lab<E>) {
    let error = shutdown_stops(&lab, fuelled(300_000)).await;
    exceeded(&error, Resource::Fuel, 300_000, "shutdown");
}

async fn a_shutdown_that_spins_does_not_stop_a_restart<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(SPIN_IN_SHUTDOWN, timed(SHORT)).await;
    for _ in 0..2 {
        bench.restart(&handle).await;
        assert_eq!(bench.ask(&handle, "hi").await, "hi");
    }
}

async fn runs_out_of_fuel<E: Engine + ?Sized>(lab: &Lab<E>, fixture: Fixture) {
    let bench = lab.bench();
    let handle = bench.load(fixture, fuelled(300_000)).await;
    let error = bench.fail(&handle, "go").await;
    exceeded(&error, Resource::Fuel, 300_000, "handle-message");
    let text = error.to_string();
    for part in ["300_000", "`fuel` in [resources]"] {
        assert!(text.contains(part), "{text}");
    }
}

async fn a_message_that_spins_runs_out_of_fuel<E: Engine + ?Sized>(lab: Lab<E>) {
    runs_out_of_fuel(&lab, SPIN).await;
}

async fn an_allocation_that_spins_runs_out_of_fuel<E: Engine + ?Sized>(lab: Lab<E>) {
    runs_out_of_fuel(&lab, SPIN_IN_REALLOC).await;
}

async fn a_post_return_that_spins_runs_out_of_fuel<E: Engine + ?Sized>(lab: Lab<E>) {
    runs_out_of_fuel(&lab, SPIN_IN_POST_RETURN).await;
}

async fn asking_for_memory_without_end_takes_fuel<E: Engine + ?Sized>(lab: Lab<E>) {
    runs_out_of_fuel(&lab, GROW_FOREVER).await;
}

#[track_caller]
fn did_not_fit(error: &WasmError, in_export: &str) {
    exceeded(error, Resource::Memory, 512 * KIB, in_export);
    assert!(
        matches!(error, WasmError::ResourceLimitExceeded { requested: Some(requested), .. }
            if *requested > MIB),
        "a payload of 1 MiB was asked for, but: {error}"
    );
}

async fn a_message_that_does_not_fit_ends_at_the_memory_limit<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let echo = bench.load(ECHO, with_memory(512 * KIB)).await;
    let error = bench.fail(&echo, vec![b'x'; 1 << 20]).await;
    did_not_fit(&error, "handle-message");
}

async fn a_callback_that_does_not_fit_ends_at_the_memory_limit<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let callback = bench.load(CALLBACK, with_memory(512 * KIB)).await;
    match bench.call_back(&callback, vec![b'x'; 1 << 20]).await {
        Ok(()) => panic!("a callback of 1 MiB fits into 512 KiB"),
        Err(error) => did_not_fit(&error, "handle-callback"),
    }
}

async fn unmetered_execution_consumes_all_it_wants<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(RECURSE_THEN_HOSTCALL, timed(AMPLE)).await;
    for _ in 0..50 {
        assert_eq!(bench.ask(&handle, "1000").await, "back");
    }
}

async fn a_clock_that_stands_still_stops_no_deadline<E: Engine + ?Sized>(lab: Lab<E>) {
    let clock = Arc::new(ManualClock::new());
    let bench = lab.bench_with(HostServices::default().with_clock(clock));
    let config = timed(SHORT);
    for fixture in [SPIN, SLEEP_FOREVER] {
        let handle = bench.load(fixture, config.clone()).await;
        let error = bench.fail(&handle, "go").await;
        timed_out(&error, &config, "handle-message");
    }
}

async fn a_clock_that_is_turned_on_brings_no_deadline_nearer<E: Engine + ?Sized>(lab: Lab<E>) {
    let clock = Arc::new(ManualClock::new());
    let bench = lab.bench_with(HostServices::default().with_clock(clock.clone()));
    let sleeper = bench.load(SLEEPER, timed(Duration::from_secs(20))).await;
    let mut call = Box::pin(bench.send(&sleeper, "2000"));
    bench.begun(&sleeper, call.as_mut()).await;
    clock.set(Timestamp {
        seconds: 1_000_000,
        nanoseconds: 0,
    });
    match call.await {
        Ok(reply) => assert_eq!(reply.as_deref(), Some("awake")),
        Err(error) => panic!("a sleep of 2 s of 20 s: {error}"),
    }
}

async fn a_denied_growth_says_how_much_it_would_have_been<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let limit = 512 * KIB;
    let handle = bench.load(GROW, limited(limit, AMPLE, None)).await;
    let error = bench.fail(&handle, "go").await;
    exceeded(&error, Resource::Memory, limit, "handle-message");
    assert!(
        matches!(&error, WasmError::ResourceLimitExceeded { requested: Some(requested), .. }
            if (limit + 1..=limit + PAGE_BYTES).contains(requested)),
        "{error:?}"
    );
    let text = error.to_string();
    for part in ["512KiB", "`memory` in [resources]"] {
        assert!(text.contains(part), "{text}");
    }
    let usage = bench.usage(&handle).await;
    assert_eq!(usage.state, ComponentState::Failed);
}
