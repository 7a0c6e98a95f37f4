//! Components with an instance for each call, and with several at a time.

use std::sync::Arc;
use std::time::Duration;

use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentState, InstancePolicy, ResourceLimits, Trap,
    WasmError,
};
use wasm_fixtures::{COUNTER, SHUTDOWN_FAILS, SLEEPER, SPIN_IN_INITIALIZE, TRAP_EVERY_THIRD};
use wasm_runtime::WasmtimeEngine;

use crate::support::{config, engine, load, message, send, try_load, within};

fn per_message() -> ComponentConfig {
    config().with_instances(InstancePolicy::PerMessage)
}

async fn told(engine: &WasmtimeEngine, handle: &ComponentHandle, text: &str) -> String {
    let reply = send(engine, handle, text.to_owned()).await.unwrap();
    reply.unwrap_or_default()
}

#[tokio::test]
async fn each_message_has_an_instance_of_its_own() {
    let engine = engine();
    let resident = load(&engine, COUNTER, config()).await;
    let counter = load(&engine, COUNTER, per_message()).await;
    for n in ["1", "2", "3"] {
        assert_eq!(told(&engine, &resident, "x").await, n);
        assert_eq!(told(&engine, &counter, "x").await, "1");
    }
    let usage = engine.usage(&counter).unwrap();
    assert_eq!((usage.calls, usage.restarts), (3, 0));
    assert_eq!(
        (usage.memory_bytes, usage.state),
        (0, ComponentState::Ready)
    );
    assert!(usage.peak_memory_bytes > 0);
    let one = engine.usage(&resident).unwrap();
    assert!(usage.total_fuel > one.total_fuel, "initialized each time");
}

#[tokio::test]
async fn a_crash_harms_its_own_message() {
    let engine = engine();
    for renewed in [per_message(), config().with_concurrency(2)] {
        let handle = load(&engine, TRAP_EVERY_THIRD, renewed).await;
        for n in 1..=9 {
            match send(&engine, &handle, "x").await {
                Ok(_) => {}
                Err(WasmError::Trapped { trap, .. }) => {
                    assert_eq!((n % 3, trap), (0, Trap::Unreachable));
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(engine.usage(&handle).unwrap().state, ComponentState::Ready);
    }
}

#[tokio::test]
async fn what_keeps_it_from_starting_is_known_when_it_is_loaded() {
    let limits = ResourceLimits::new(1 << 20, Duration::from_millis(20), None).unwrap();
    let config = ComponentConfig::new(limits).with_instances(InstancePolicy::PerMessage);
    let loaded = try_load(&engine(), SPIN_IN_INITIALIZE, config).await;
    assert!(
        matches!(loaded, Err(WasmError::Timeout { .. })),
        "{loaded:?}"
    );
}

#[tokio::test]
async fn a_shutdown_that_fails_costs_no_answer() {
    let engine = engine();
    let handle = load(&engine, SHUTDOWN_FAILS, per_message()).await;
    for _ in 0..3 {
        assert!(send(&engine, &handle, "x").await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_calls_run_at_a_time_as_are_allowed() {
    const CALLS: u32 = 20;
    for policy in [InstancePolicy::Resident, InstancePolicy::PerMessage] {
        let engine = Arc::new(engine());
        let several = config().with_instances(policy).with_concurrency(CALLS);
        let sleeper = load(&engine, SLEEPER, several).await;
        let calls = |count: u32| {
            let calls = (0..count).map(|_| {
                let (engine, sleeper) = (Arc::clone(&engine), sleeper.clone());
                // Practically forever.
                tokio::spawn(async move {
                    let message = message(&sleeper, "3000");
                    engine.call_handle_message(&sleeper, message).await
                })
            });
            calls.collect::<Vec<_>>()
        };
        let all = u64::from(CALLS) * engine.usage(&sleeper).unwrap().memory_bytes;
        // Each of them has an instance, which the next one will not have.
        let running = calls(CALLS);
        within(async {
            while engine.usage(&sleeper).unwrap().memory_bytes < all {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        let waiting = calls(1);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(engine.usage(&sleeper).unwrap().memory_bytes, all);
        for call in running.iter().chain(&waiting) {
            call.abort();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restart_and_unload_wait_for_all_calls() {
    let engine = Arc::new(engine());
    let sleeper = load(&engine, SLEEPER, config().with_concurrency(3)).await;
    let all = 3 * engine.usage(&sleeper).unwrap().memory_bytes;
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let (engine, sleeper) = (Arc::clone(&engine), sleeper.clone());
            tokio::spawn(async move {
                let message = message(&sleeper, "500");
                engine.call_handle_message(&sleeper, message).await
            })
        })
        .collect();
    within(async {
        while engine.usage(&sleeper).unwrap().memory_bytes < all {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    engine.restart_component(&sleeper).await.unwrap();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let usage = engine.usage(&sleeper).unwrap();
    assert_eq!((usage.restarts, usage.calls), (1, 3));
    // One is made anew, the others as they are needed.
    assert_eq!(3 * usage.memory_bytes, usage.peak_memory_bytes);
    engine.unload_component(&sleeper).await.unwrap();
}
