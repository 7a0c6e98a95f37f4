//! An engine that stops guests by their time alone.

use std::time::Duration;

use wasm_core::{ComponentConfig, HostServices, LimitsError, ResourceLimits, Trap, WasmError};
use wasm_fixtures::{
    COUNTER, Fixture, GROW, SPIN, SPIN_IN_INITIALIZE, SPIN_IN_POST_RETURN, SPIN_IN_REALLOC,
    SPIN_IN_START, TRAP_EVERY_THIRD,
};
use wasm_runtime::{EngineConfig, Metering, Profile, WasmtimeEngine};

use crate::support::{ask, fuelled, load, send, try_load, within};

const SHORT: Duration = Duration::from_millis(200);

fn engine(profile: Profile) -> WasmtimeEngine {
    let config = EngineConfig::default()
        .with_profile(profile)
        .with_metering(Metering::Time);
    WasmtimeEngine::new(config, HostServices::default()).unwrap()
}

fn unmetered(timeout: Duration) -> ComponentConfig {
    ComponentConfig::new(ResourceLimits::new(1 << 20, timeout, None).unwrap())
}

#[tokio::test]
async fn every_loop_ends_with_the_time_and_harms_nobody() {
    for profile in [Profile::Speed, Profile::Density] {
        let engine = engine(profile);
        let neighbour = load(&engine, COUNTER, unmetered(Duration::from_secs(60))).await;
        let timed_out = |fixture: Fixture, outcome: Result<(), WasmError>| match outcome {
            Err(WasmError::Timeout { fuel_consumed, .. }) => assert_eq!(fuel_consumed, 0),
            other => panic!("{}: {other:?}", fixture.name),
        };
        for fixture in [SPIN_IN_START, SPIN_IN_INITIALIZE] {
            let loaded = within(try_load(&engine, fixture, unmetered(SHORT))).await;
            timed_out(fixture, loaded.map(drop));
        }
        for (n, fixture) in [SPIN, SPIN_IN_POST_RETURN, SPIN_IN_REALLOC]
            .into_iter()
            .enumerate()
        {
            let handle = load(&engine, fixture, unmetered(SHORT)).await;
            let answer = within(send(&engine, &handle, "x")).await;
            timed_out(fixture, answer.map(drop));
            assert_eq!(ask(&engine, &neighbour, "").await, (n + 1).to_string());
        }
    }
}

#[tokio::test]
async fn a_guest_that_spins_leaves_its_thread_to_others() {
    let engine = engine(Profile::Speed);
    let spinner = load(&engine, SPIN, unmetered(Duration::from_millis(500))).await;
    let neighbour = load(&engine, COUNTER, unmetered(Duration::from_secs(60))).await;
    let (spun, ()) = tokio::join!(send(&engine, &spinner, "x"), async {
        for n in 1..=20_u32 {
            assert_eq!(ask(&engine, &neighbour, "").await, n.to_string());
        }
    });
    assert!(matches!(spun, Err(WasmError::Timeout { .. })), "{spun:?}");
}

#[tokio::test]
async fn no_fuel_is_counted_and_memory_and_traps_are_as_ever() {
    let engine = engine(Profile::Speed);
    let handle = load(
        &engine,
        TRAP_EVERY_THIRD,
        unmetered(Duration::from_secs(60)),
    )
    .await;
    for _ in 0..2 {
        send(&engine, &handle, "x").await.unwrap();
    }
    match send(&engine, &handle, "x").await {
        Err(WasmError::Trapped {
            trap,
            fuel_consumed,
            ..
        }) => {
            assert_eq!((trap, fuel_consumed), (Trap::Unreachable, 0));
        }
        other => panic!("{other:?}"),
    }
    let usage = engine.usage(&handle).unwrap();
    assert_eq!((usage.calls, usage.total_fuel), (3, 0));
    let grows = load(&engine, GROW, unmetered(Duration::from_secs(60))).await;
    let grown = within(send(&engine, &grows, "x")).await;
    assert!(
        matches!(
            grown,
            Err(WasmError::ResourceLimitExceeded {
                fuel_consumed: 0,
                ..
            })
        ),
        "{grown:?}"
    );
}

#[tokio::test]
async fn a_limit_of_fuel_is_refused_because_it_could_not_be_kept() {
    let engine = engine(Profile::Speed);
    let error = try_load(&engine, COUNTER, fuelled(5_000_000))
        .await
        .unwrap_err();
    let WasmError::InvalidLimits { source, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*source, LimitsError::FuelNotCounted { found: 5_000_000 });
    assert!(
        error.to_string().contains("`fuel` in [resources]"),
        "{error}"
    );
}
