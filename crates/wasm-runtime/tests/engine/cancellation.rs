use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use wasm_core::{ComponentState, Trap, WasmError};
use wasm_fixtures::{
    CALLBACK, COUNTER, ECHO, SENDER, SLEEP_FOREVER, SLEEPER, SPIN, SPIN_IN_INITIALIZE,
};

use crate::support::{
    GatedRouter, all_permissions, ask, config, engine, engine_with, load, message, permitted,
    poll_once, send, timed, try_load, within,
};

#[tokio::test]
async fn a_dropped_call_ends_in_the_background_and_its_effect_stays() {
    let router = GatedRouter::new();
    let engine = engine_with(router.services());
    let callback = load(&engine, CALLBACK, permitted()).await;
    engine
        .call_handle_callback(&callback, message(&callback, "kept"))
        .await
        .unwrap();
    let mut call = Box::pin(send(&engine, &callback, "demo/a/main effect"));
    assert!(poll_once(call.as_mut()).await.is_none());
    router.gate.entered(1).await;
    drop(call);
    let usage = engine.usage(&callback).unwrap();
    assert_eq!((usage.state, usage.calls), (ComponentState::Busy, 1));
    // The next call waits for it.
    let mut next = Box::pin(send(&engine, &callback, "last"));
    assert!(poll_once(next.as_mut()).await.is_none());
    assert_eq!(router.accepted(), [""; 0]);
    router.gate.open(1);
    // What the instance remembers outlives the dropped call.
    assert_eq!(within(next).await.unwrap().as_deref(), Some("-|-|kept"));
    assert_eq!(router.accepted(), ["effect"]);
    let usage = engine.usage(&callback).unwrap();
    assert_eq!((usage.state, usage.calls), (ComponentState::Ready, 3));
}

#[tokio::test]
async fn state_outlives_dropped_calls() {
    let engine = engine();
    let counter = load(&engine, COUNTER, config()).await;
    for _ in 0..3 {
        let mut call = Box::pin(send(&engine, &counter, ""));
        poll_once(call.as_mut()).await;
    }
    // On a busy machine one of them may have had to wait, and was withdrawn.
    let count = ask(&engine, &counter, "").await;
    let calls = engine.usage(&counter).unwrap().calls;
    assert_eq!(count, calls.to_string());
    assert!((2..=4).contains(&calls), "{calls}");
}

#[tokio::test]
async fn a_dropped_sleeper_wakes_up_before_the_next_call() {
    let engine = engine();
    let sleeper = load(&engine, SLEEPER, config()).await;
    let mut call = Box::pin(send(&engine, &sleeper, "50"));
    assert!(poll_once(call.as_mut()).await.is_none());
    drop(call);
    assert_eq!(within(ask(&engine, &sleeper, "0")).await, "awake");
    assert_eq!(engine.usage(&sleeper).unwrap().calls, 2);
}

#[tokio::test]
async fn a_dropped_call_ends_within_its_deadline_and_what_it_ended_with_is_kept() {
    let engine = engine();
    for fixture in [SPIN, SLEEP_FOREVER] {
        let handle = load(&engine, fixture, timed(Duration::from_millis(100))).await;
        let mut call = Box::pin(send(&engine, &handle, "go"));
        assert!(poll_once(call.as_mut()).await.is_none());
        drop(call);
        let error = within(send(&engine, &handle, "ok")).await.unwrap_err();
        assert!(
            matches!(&error, WasmError::ComponentFailed { source, .. }
                if matches!(**source, WasmError::Timeout { .. })),
            "{error}"
        );
        engine.restart_component(&handle).await.unwrap();
        assert_eq!(ask(&engine, &handle, "ok").await, "ok");
    }
}

#[tokio::test]
async fn a_call_that_waits_for_its_turn_is_withdrawn_when_dropped() {
    let router = GatedRouter::new();
    let engine = engine_with(router.services());
    let sender = load(&engine, SENDER, permitted()).await;
    let call = |text: &'static str| Box::pin(send(&engine, &sender, text));
    let (mut first, mut second, mut third) = (
        call("demo/a/main 1"),
        call("demo/a/main 2"),
        call("demo/a/main 3"),
    );
    assert!(poll_once(first.as_mut()).await.is_none());
    assert!(poll_once(second.as_mut()).await.is_none());
    assert!(poll_once(third.as_mut()).await.is_none());
    drop(second);
    router.gate.open(3);
    let (first, third) = within(async { tokio::join!(first, third) }).await;
    assert_eq!((first.unwrap(), third.unwrap()), (None, None));
    assert_eq!(router.accepted(), ["1", "3"]);
    assert_eq!(engine.usage(&sender).unwrap().calls, 2);
}

#[tokio::test]
async fn calls_that_are_kept_without_being_polled_hold_nobody_up() {
    let router = GatedRouter::new();
    let engine = engine_with(router.services());
    let sender = load(&engine, SENDER, permitted()).await;
    let mut running = Box::pin(send(&engine, &sender, "demo/a/main 1"));
    let mut waiting = Box::pin(send(&engine, &sender, "demo/a/main 2"));
    assert!(poll_once(running.as_mut()).await.is_none());
    assert!(poll_once(waiting.as_mut()).await.is_none());
    router.gate.open(9);
    let third = within(send(&engine, &sender, "demo/a/main 3")).await;
    assert_eq!(third.unwrap(), None);
    assert_eq!(router.accepted(), ["1", "2", "3"]);
    // They have ended in the meantime, and say so when asked.
    assert_eq!(running.await.unwrap(), None);
    assert_eq!(waiting.await.unwrap(), None);
}

#[tokio::test]
async fn a_dropped_load_leaves_nothing_behind() {
    let router = GatedRouter::new();
    let engine = engine_with(router.services());
    let alone = Arc::strong_count(&router);
    // Dropped while it compiles.
    let mut load_echo = Box::pin(try_load(&engine, ECHO, config()));
    assert!(poll_once(load_echo.as_mut()).await.is_none());
    drop(load_echo);
    assert_eq!(Arc::strong_count(&router), alone);
    // Dropped while it runs `initialize`.
    let endless = timed(Duration::from_secs(3600));
    let mut spin = Box::pin(try_load(&engine, SPIN_IN_INITIALIZE, endless));
    within(async {
        while Arc::strong_count(&router) == alone {
            assert!(poll_once(spin.as_mut()).await.is_none());
            tokio::task::yield_now().await;
        }
    })
    .await;
    for _ in 0..3 {
        assert!(poll_once(spin.as_mut()).await.is_none());
    }
    drop(spin);
    assert_eq!(Arc::strong_count(&router), alone);
    let echo = load(&engine, ECHO, config()).await;
    assert_eq!(ask(&engine, &echo, "hi").await, "hi");
}

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn a_runtime_shut_down_during_a_call_leaves_a_failed_component_that_says_so() {
    let router = GatedRouter::new();
    let engine = Arc::new(engine_with(router.services()));
    let first = runtime();
    let config = permitted();
    let callback = first.block_on(load(&engine, CALLBACK, config));
    let task = first.spawn({
        let (engine, callback) = (Arc::clone(&engine), callback.clone());
        async move { send(&engine, &callback, "demo/a/main hi").await }
    });
    first.block_on(router.gate.entered(1));
    // The task is dropped here, and so is where its call would go on.
    first.shutdown_timeout(Duration::from_secs(10));
    drop(task);

    let second = runtime();
    let error = second.block_on(within(send(&engine, &callback, "last")));
    let error = error.unwrap_err();
    assert!(
        matches!(&error, WasmError::ComponentFailed { source, .. }
            if matches!(&**source, WasmError::Trapped { trap: Trap::Other(why), .. }
                if why.contains("runtime"))),
        "{error}"
    );
    let usage = engine.usage(&callback).unwrap();
    assert_eq!(
        (usage.state, usage.memory_bytes),
        (ComponentState::Failed, 0)
    );
    // Another runtime does as well, for dropped calls too.
    second.block_on(async {
        engine.restart_component(&callback).await.unwrap();
        let mut call = Box::pin(send(&engine, &callback, "demo/a/main hi"));
        assert!(poll_once(call.as_mut()).await.is_none());
        drop(call);
        router.gate.open(1);
        assert_eq!(
            within(send(&engine, &callback, "last")).await.unwrap(),
            None
        );
        assert_eq!(router.accepted(), ["hi"]);
    });
}

#[test]
fn a_component_outlives_the_runtime_that_loaded_it() {
    let engine = Arc::new(engine());
    let config = timed(Duration::from_secs(20)).with_permissions(all_permissions());
    let sleeper = runtime().block_on(load(&engine, SLEEPER, config));
    let second = runtime();
    second.block_on(async {
        assert_eq!(ask(&engine, &sleeper, "1").await, "awake");
        let mut call = Box::pin(send(&engine, &sleeper, "20"));
        assert!(poll_once(call.as_mut()).await.is_none());
        drop(call);
        assert_eq!(within(ask(&engine, &sleeper, "1")).await, "awake");
        engine.unload_component(&sleeper).await.unwrap();
    });
}
