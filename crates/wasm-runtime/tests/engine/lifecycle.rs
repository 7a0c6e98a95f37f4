use std::error::Error as StdError;
use std::sync::Arc;

use tempfile::tempdir;
use wasmtime::component::Val;

use wasm_core::{
    ComponentHandle, ComponentMessage, ComponentState, ComponentUsage, DirAccess, GuestError,
    HealthStatus, LifecycleError, Permissions, Trap, WasiGrant, WasmError,
};
use wasm_fixtures::{
    CALLBACK, CALLBACK_FAILS, COUNTER, ECHO, ENVELOPE, GUEST_ERROR, HEALTH, HELLO, INIT_CONFIG,
    SENDER, SHUTDOWN_FAILS, SLEEPER, STORED_COUNTER, TRAP, TRAP_EVERY_THIRD, TRAP_IN_CALLBACK,
    TRAP_IN_SHUTDOWN,
};
use wasm_runtime::WasmtimeEngine;

use crate::support::{
    GatedRouter, ask, config, engine, engine_with, id, load, message, permitted, poll_once, send,
    within,
};

fn state(engine: &WasmtimeEngine, handle: &ComponentHandle) -> ComponentState {
    engine.usage(handle).unwrap().state
}

fn is_not_found(error: &WasmError, of: &ComponentHandle) -> bool {
    matches!(error, WasmError::ComponentNotFound { handle } if handle == of)
}

/// What every method answers, `unload_component` excepted.
async fn errors_of_all_methods(engine: &WasmtimeEngine, to: &ComponentHandle) -> Vec<WasmError> {
    vec![
        engine
            .call_handle_message(to, message(to, "hi"))
            .await
            .unwrap_err(),
        engine
            .call_handle_callback(to, message(to, "hi"))
            .await
            .unwrap_err(),
        engine.health(to).await.unwrap_err(),
        engine.metadata(to).await.unwrap_err(),
        engine.call_export(to, "hello", &[]).await.unwrap_err(),
        engine.restart_component(to).await.unwrap_err(),
        engine.usage(to).unwrap_err(),
        engine.exports(to).unwrap_err(),
        engine.export_type(to, "hello").unwrap_err(),
    ]
}

#[tokio::test]
async fn state_lasts_from_message_to_message_and_ends_with_a_restart_while_counters_go_on() {
    let engine = engine();
    let counter = load(&engine, COUNTER, config()).await;
    for n in 1..=3 {
        assert_eq!(ask(&engine, &counter, "").await, n.to_string());
    }
    let before = engine.usage(&counter).unwrap();
    engine.restart_component(&counter).await.unwrap();
    let restarted = engine.usage(&counter).unwrap();
    assert_eq!(ask(&engine, &counter, "").await, "1");
    let after = engine.usage(&counter).unwrap();
    assert_eq!((before.calls, restarted.calls, after.calls), (3, 3, 4));
    assert_eq!((before.restarts, after.restarts), (0, 1));
    assert!(before.total_fuel < restarted.total_fuel, "{restarted:?}");
    assert!(restarted.total_fuel < after.total_fuel, "{after:?}");
}

#[tokio::test]
async fn usage_tells_what_each_call_took() {
    let engine = engine();
    let echo = load(&engine, ECHO, config()).await;
    let loaded = engine.usage(&echo).unwrap();
    assert_eq!((loaded.calls, loaded.state), (0, ComponentState::Ready));
    assert_eq!(
        (loaded.memory_bytes, loaded.peak_memory_bytes),
        (64 << 10, 64 << 10)
    );
    assert!(loaded.last_call_fuel > 0, "{loaded:?}");
    ask(&engine, &echo, "x".repeat(100_000)).await;
    let used = engine.usage(&echo).unwrap();
    assert_eq!(used.calls, 1);
    assert_eq!(used.total_fuel, loaded.total_fuel + used.last_call_fuel);
    assert!(used.memory_bytes >= 100_000, "{used:?}");
    assert_eq!(used.memory_bytes, used.peak_memory_bytes);
    engine.restart_component(&echo).await.unwrap();
    let fresh = engine.usage(&echo).unwrap();
    assert_eq!(fresh.memory_bytes, 64 << 10);
    assert_eq!(fresh.peak_memory_bytes, used.peak_memory_bytes);
}

#[tokio::test]
async fn health_and_metadata_are_calls_and_a_missing_export_is_none() {
    let engine = engine();
    let health = load(&engine, HEALTH, config()).await;
    for (told, status) in [
        ("", HealthStatus::Healthy),
        ("degraded", HealthStatus::Degraded),
        ("unhealthy", HealthStatus::Unhealthy),
        ("who knows", HealthStatus::Unknown),
        ("healthy", HealthStatus::Healthy),
    ] {
        if !told.is_empty() {
            assert_eq!(send(&engine, &health, told).await.unwrap(), None);
        }
        assert_eq!(engine.health(&health).await.unwrap(), status);
    }
    engine.metadata(&health).await.unwrap();
    assert_eq!(engine.usage(&health).unwrap().calls, 4 + 5 + 1);
    let hello = load(&engine, HELLO, config()).await;
    let error = send(&engine, &hello, "hi").await.unwrap_err();
    assert!(
        matches!(&error, WasmError::ExportNotFound { export, .. }
            if &**export == "airssys:core/component-lifecycle@1.0.0#handle-message"),
        "{error}"
    );
    assert_eq!(engine.usage(&hello).unwrap().calls, 0);
}

#[tokio::test]
async fn initialize_is_given_environment_data_and_limits() {
    let engine = engine();
    let given = config()
        .with_env("B", "1")
        .with_env("A", "two words")
        .with_env("B", "3")
        .with_config_data("{\"k\": 1}");
    let handle = load(&engine, INIT_CONFIG, given).await;
    for _ in 0..2 {
        assert_eq!(
            ask(&engine, &handle, "env").await,
            "B=1\nA=two words\nB=3\n"
        );
        assert_eq!(ask(&engine, &handle, "").await, "{\"k\": 1}");
        let limits = ask(&engine, &handle, "limits").await;
        assert_eq!(limits.trim_end(), "2097152 20000 100000000");
        engine.restart_component(&handle).await.unwrap();
    }
    let handle = load(&engine, INIT_CONFIG, config()).await;
    assert_eq!(send(&engine, &handle, "").await.unwrap(), None);
    assert_eq!(ask(&engine, &handle, "env").await, "");
}

#[tokio::test]
async fn the_envelope_reaches_the_guest_whole() {
    let engine = engine();
    let handle = load(&engine, ENVELOPE, config()).await;
    let bare = message(&handle, "12345");
    let full = bare
        .clone()
        .with_correlation_id("c-1")
        .with_reply_to(id("a/b/c"))
        .with_message_type("text/plain")
        .with_timestamp(wasm_core::Timestamp {
            seconds: 7,
            nanoseconds: 1_002,
        });
    for (message, shown) in [
        (bare, "test/sender/main|-|-|0.000000000|-|5"),
        (full, "test/sender/main|c-1|a/b/c|7.000001002|text/plain|5"),
    ] {
        let reply = engine.call_handle_message(&handle, message).await.unwrap();
        assert_eq!(reply, Some(shown.to_owned().into()));
    }
}

#[tokio::test]
async fn an_error_of_the_guest_keeps_it_ready() {
    let engine = engine();
    let handle = load(&engine, GUEST_ERROR, config()).await;
    for _ in 0..3 {
        let error = send(&engine, &handle, "fail").await.unwrap_err();
        assert!(
            matches!(&error, WasmError::GuestError { error: GuestError::RuntimeError(text), .. }
                if text == "as asked"),
            "{error}"
        );
        assert!(error.is_guest_error() && !error.fails_instance(), "{error}");
        assert_eq!(state(&engine, &handle), ComponentState::Ready);
        assert_eq!(ask(&engine, &handle, "ok").await, "ok");
    }
    let usage = engine.usage(&handle).unwrap();
    assert_eq!((usage.calls, usage.traps), (6, 0));
}

#[tokio::test]
async fn a_failed_component_says_why_until_it_is_restarted() {
    let engine = engine();
    let trap = load(&engine, TRAP, config()).await;
    assert_eq!(ask(&engine, &trap, "ok").await, "ok");
    let cause = send(&engine, &trap, "go").await.unwrap_err();
    assert!(
        matches!(&cause, WasmError::Trapped { trap: Trap::Unreachable, export, .. }
            if &**export == "handle-message"),
        "{cause}"
    );
    let failures = [
        send(&engine, &trap, "ok").await.unwrap_err(),
        engine
            .call_handle_callback(&trap, message(&trap, ""))
            .await
            .unwrap_err(),
        engine.health(&trap).await.unwrap_err(),
        engine.metadata(&trap).await.unwrap_err(),
    ];
    for failure in failures {
        let WasmError::ComponentFailed { source, component } = &failure else {
            panic!("{failure}");
        };
        assert_eq!(component, trap.id());
        assert_eq!(source.to_string(), cause.to_string());
        assert!(
            failure.to_string().contains(&cause.to_string()),
            "{failure}"
        );
        assert_eq!(failure.frames(), cause.frames());
        // Down to what wasmtime said.
        let said_by_wasmtime = failure.source().and_then(StdError::source);
        assert!(said_by_wasmtime.is_some(), "{failure:?}");
    }
    let usage = engine.usage(&trap).unwrap();
    let expected = (ComponentState::Failed, 2, 1, 0);
    assert_eq!(
        (usage.state, usage.calls, usage.traps, usage.memory_bytes),
        expected
    );
    engine.restart_component(&trap).await.unwrap();
    assert_eq!(ask(&engine, &trap, "ok").await, "ok");
}

#[tokio::test]
async fn every_instance_counts_for_itself_how_often_it_was_called() {
    let engine = engine();
    let handle = load(&engine, TRAP_EVERY_THIRD, config()).await;
    for round in 1..=3 {
        for _ in 0..2 {
            assert_eq!(ask(&engine, &handle, "hi").await, "hi");
        }
        let error = send(&engine, &handle, "hi").await.unwrap_err();
        assert!(matches!(error, WasmError::Trapped { .. }), "{error}");
        engine.restart_component(&handle).await.unwrap();
        let usage = engine.usage(&handle).unwrap();
        assert_eq!((usage.traps, usage.restarts), (round, round));
    }
}

#[tokio::test]
async fn callbacks_end_as_the_guest_ends_them() {
    let engine = engine();
    let callback = load(&engine, CALLBACK, permitted()).await;
    assert_eq!(send(&engine, &callback, "last").await.unwrap(), None);
    let answer = |to: &ComponentHandle| -> ComponentMessage {
        message(to, "answer")
            .with_correlation_id("c-9")
            .with_message_type("text/x")
    };
    engine
        .call_handle_callback(&callback, answer(&callback))
        .await
        .unwrap();
    assert_eq!(ask(&engine, &callback, "last").await, "c-9|text/x|answer");

    let fails = load(&engine, CALLBACK_FAILS, config()).await;
    let error = engine.call_handle_callback(&fails, answer(&fails)).await;
    let error = error.unwrap_err();
    assert!(
        matches!(&error, WasmError::GuestError { error: GuestError::RuntimeError(text), .. }
            if text == "unwanted"),
        "{error}"
    );
    assert_eq!(send(&engine, &fails, "").await.unwrap(), None);

    let traps = load(&engine, TRAP_IN_CALLBACK, config()).await;
    let error = engine.call_handle_callback(&traps, answer(&traps)).await;
    let error = error.unwrap_err();
    assert!(
        matches!(&error, WasmError::Trapped { trap: Trap::Unreachable, export, .. }
            if &**export == "handle-callback"),
        "{error}"
    );
    assert_eq!(state(&engine, &traps), ComponentState::Failed);
    engine.restart_component(&traps).await.unwrap();
    assert_eq!(ask(&engine, &traps, "hi").await, "hi");
}

#[tokio::test]
async fn restarting_a_healthy_component_shuts_it_down_whatever_that_answers() {
    let engine = engine();
    let fails = load(&engine, SHUTDOWN_FAILS, config()).await;
    engine.restart_component(&fails).await.unwrap();
    assert_eq!(send(&engine, &fails, "").await.unwrap(), None);

    let traps = load(&engine, TRAP_IN_SHUTDOWN, config()).await;
    engine.restart_component(&traps).await.unwrap();
    // The trap is how one sees that `shutdown` was called.
    let usage = engine.usage(&traps).unwrap();
    assert_eq!((usage.traps, usage.restarts, usage.calls), (1, 1, 0));
    assert_eq!(ask(&engine, &traps, "hi").await, "hi");
}

#[tokio::test]
async fn unloading_answers_what_shutdown_ended_with_and_unloads_all_the_same() {
    let engine = engine();
    let fails = load(&engine, SHUTDOWN_FAILS, config()).await;
    let error = engine.unload_component(&fails).await.unwrap_err();
    assert!(
        matches!(&error, WasmError::ShutdownFailed {
            error: LifecycleError::ShutdownFailed(text), component,
        } if text == "still busy" && component == fails.id()),
        "{error}"
    );
    let traps = load(&engine, TRAP_IN_SHUTDOWN, config()).await;
    let error = engine.unload_component(&traps).await.unwrap_err();
    assert!(
        matches!(&error, WasmError::Trapped { export, .. } if &**export == "shutdown"),
        "{error}"
    );
    for handle in [fails, traps] {
        let error = send(&engine, &handle, "").await.unwrap_err();
        assert!(is_not_found(&error, &handle), "{error}");
    }
    // A failed instance is not there to be shut down.
    let trap = load(&engine, TRAP, config()).await;
    send(&engine, &trap, "go").await.unwrap_err();
    engine.unload_component(&trap).await.unwrap();
}

#[tokio::test]
async fn after_unloading_nothing_knows_the_handle() {
    let engine = engine();
    let echo = load(&engine, ECHO, config()).await;
    engine.unload_component(&echo).await.unwrap();
    for error in errors_of_all_methods(&engine, &echo).await {
        assert!(is_not_found(&error, &echo), "{error}");
    }
    engine.unload_component(&echo).await.unwrap();
}

#[tokio::test]
async fn a_handle_that_was_never_given_is_fine_to_unload_and_else_not_found() {
    let engine = engine();
    let echo = load(&engine, ECHO, config()).await;
    let number = echo.handle_id();
    for unknown in [
        ComponentHandle::new(echo.id().clone(), number + 1),
        ComponentHandle::new(echo.id().clone(), u64::MAX),
        ComponentHandle::new(id("other/one/main"), number),
    ] {
        engine.unload_component(&unknown).await.unwrap();
        for error in errors_of_all_methods(&engine, &unknown).await {
            assert!(is_not_found(&error, &unknown), "{error}");
        }
    }
    assert_eq!(ask(&engine, &echo, "hi").await, "hi");
}

#[tokio::test]
async fn unloading_lets_the_running_call_end_and_withdraws_the_waiting_ones() {
    let router = GatedRouter::new();
    let engine = Arc::new(engine_with(router.services()));
    let sender = load(&engine, SENDER, permitted()).await;
    let mut calls = Vec::new();
    for n in 0..4 {
        let (engine, sender) = (Arc::clone(&engine), sender.clone());
        let text = format!("demo/a/main {n}");
        calls.push(tokio::spawn(
            async move { send(&engine, &sender, text).await },
        ));
        if n == 0 {
            router.gate.entered(1).await;
        }
    }
    while state(&engine, &sender) != ComponentState::Busy {
        tokio::task::yield_now().await;
    }
    let mut unload = Box::pin(engine.unload_component(&sender));
    assert!(poll_once(unload.as_mut()).await.is_none());
    let error = engine.usage(&sender).unwrap_err();
    assert!(is_not_found(&error, &sender), "{error}");
    router.gate.open(10);
    within(unload).await.unwrap();
    let mut outcomes = Vec::new();
    for call in calls {
        outcomes.push(within(call).await.unwrap());
    }
    assert_eq!(outcomes.remove(0).unwrap(), None);
    for outcome in outcomes {
        let error = outcome.unwrap_err();
        assert!(is_not_found(&error, &sender), "{error}");
    }
    assert_eq!(router.accepted(), ["0"]);
}

#[tokio::test]
async fn unloading_frees_what_the_component_held() {
    let router = GatedRouter::new();
    let engine = engine_with(router.services());
    let alone = Arc::strong_count(&router);
    for fixture in [ECHO, TRAP] {
        let handle = load(&engine, fixture, config()).await;
        assert!(Arc::strong_count(&router) > alone);
        let _ = send(&engine, &handle, "go").await;
        engine.unload_component(&handle).await.unwrap();
        assert_eq!(Arc::strong_count(&router), alone, "{}", fixture.name);
    }
}

#[tokio::test]
async fn a_dropped_unload_goes_on() {
    let router = GatedRouter::new();
    let engine = Arc::new(engine_with(router.services()));
    let alone = Arc::strong_count(&router);
    let sender = load(&engine, SENDER, permitted()).await;
    let running = tokio::spawn({
        let (engine, sender) = (Arc::clone(&engine), sender.clone());
        async move { send(&engine, &sender, "demo/a/main hi").await }
    });
    router.gate.entered(1).await;
    let mut unload = Box::pin(engine.unload_component(&sender));
    assert!(poll_once(unload.as_mut()).await.is_none());
    drop(unload);
    router.gate.open(1);
    assert_eq!(within(running).await.unwrap().unwrap(), None);
    within(async {
        while Arc::strong_count(&router) > alone {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // One that was never polled has not begun.
    let echo = load(&engine, ECHO, config()).await;
    drop(engine.unload_component(&echo));
    assert_eq!(ask(&engine, &echo, "hi").await, "hi");
}

#[tokio::test]
async fn a_restart_takes_its_turn_and_goes_on_when_dropped() {
    let router = GatedRouter::new();
    let engine = Arc::new(engine_with(router.services()));
    let callback = load(&engine, CALLBACK, permitted()).await;
    engine
        .call_handle_callback(&callback, message(&callback, "kept"))
        .await
        .unwrap();
    let mut running = Box::pin(send(&engine, &callback, "demo/a/main hi"));
    assert!(poll_once(running.as_mut()).await.is_none());
    router.gate.entered(1).await;
    let mut restart = Box::pin(engine.restart_component(&callback));
    assert!(poll_once(restart.as_mut()).await.is_none());
    drop(restart);
    let mut after = Box::pin(send(&engine, &callback, "last"));
    assert!(poll_once(after.as_mut()).await.is_none());
    assert_eq!(engine.usage(&callback).unwrap().restarts, 0);
    router.gate.open(1);
    let (first, second) = within(async { tokio::join!(running, after) }).await;
    assert_eq!(first.unwrap().as_deref(), Some("request"));
    // What was kept went with the old instance.
    assert_eq!(second.unwrap(), None);
    assert_eq!(engine.usage(&callback).unwrap().restarts, 1);
}

#[tokio::test]
async fn a_restart_that_fails_leaves_the_component_failed_with_that_cause() {
    let dir = tempdir().unwrap();
    let granted = dir.path().join("granted");
    std::fs::create_dir(&granted).unwrap();
    let mut permissions = Permissions::default();
    permissions.wasi.push(WasiGrant::Dir {
        guest: "/data".into(),
        host: granted.clone(),
        access: DirAccess::Read,
        quota: None,
    });
    let engine = engine();
    let counter = load(&engine, COUNTER, config().with_permissions(permissions)).await;
    assert_eq!(ask(&engine, &counter, "").await, "1");
    std::fs::remove_dir(&granted).unwrap();
    for _ in 0..2 {
        let error = engine.restart_component(&counter).await.unwrap_err();
        assert!(
            matches!(&error, WasmError::InstantiationFailed { reason, .. }
                if reason.contains("granted") && reason.contains("`wasi` in [permissions]")),
            "{error}"
        );
        let failed = send(&engine, &counter, "").await.unwrap_err();
        assert!(
            matches!(&failed, WasmError::ComponentFailed { source, .. }
                if source.to_string() == error.to_string()),
            "{failed}"
        );
        let usage = engine.usage(&counter).unwrap();
        assert_eq!(
            (usage.state, usage.memory_bytes),
            (ComponentState::Failed, 0)
        );
        // It was given no fresh instance.
        assert_eq!(usage.restarts, 0);
    }
    std::fs::create_dir(&granted).unwrap();
    engine.restart_component(&counter).await.unwrap();
    assert_eq!(ask(&engine, &counter, "").await, "1");
    assert_eq!(engine.usage(&counter).unwrap().restarts, 1);
}

#[tokio::test]
async fn instances_of_one_id_share_storage_but_not_memory() {
    let engine = engine();
    let one = load(&engine, COUNTER, config()).await;
    let two = load(&engine, COUNTER, config()).await;
    assert_eq!(one.id(), two.id());
    assert_ne!(one, two);
    for (handle, count) in [(&one, "1"), (&one, "2"), (&two, "1"), (&one, "3")] {
        assert_eq!(ask(&engine, handle, "").await, count);
    }
    let one = load(&engine, STORED_COUNTER, permitted()).await;
    let two = load(&engine, STORED_COUNTER, permitted()).await;
    for (handle, count) in [(&one, "1"), (&two, "2"), (&one, "3")] {
        assert_eq!(ask(&engine, handle, "").await, count);
    }
    engine.restart_component(&one).await.unwrap();
    assert_eq!(ask(&engine, &one, "").await, "4");
}

#[tokio::test]
async fn usage_answers_at_once_while_a_call_runs() {
    let router = GatedRouter::new();
    let engine = engine_with(router.services());
    let sender = load(&engine, SENDER, permitted()).await;
    let mut call = Box::pin(send(&engine, &sender, "demo/a/main hi"));
    assert!(poll_once(call.as_mut()).await.is_none());
    let busy: ComponentUsage = engine.usage(&sender).unwrap();
    assert_eq!((busy.state, busy.calls), (ComponentState::Busy, 0));
    assert!(busy.memory_bytes >= 64 << 10, "{busy:?}");
    router.gate.open(1);
    assert_eq!(within(call).await.unwrap(), None);
    let usage = engine.usage(&sender).unwrap();
    assert_eq!((usage.state, usage.calls), (ComponentState::Ready, 1));
}

#[tokio::test]
async fn a_component_without_a_lifecycle_lives_and_is_unloaded_like_any_other() {
    let engine = engine();
    let hello = load(&engine, HELLO, config()).await;
    let call = || engine.call_export(&hello, "hello", &[]);
    assert_eq!(call().await.unwrap(), [Val::U32(42)]);
    engine.restart_component(&hello).await.unwrap();
    assert_eq!(call().await.unwrap(), [Val::U32(42)]);
    for (error, function) in [
        (engine.health(&hello).await.unwrap_err(), "health"),
        (engine.metadata(&hello).await.unwrap_err(), "metadata"),
    ] {
        assert!(
            matches!(&error, WasmError::ExportNotFound { export, .. } if export.ends_with(function)),
            "{error}"
        );
    }
    engine.unload_component(&hello).await.unwrap();
    assert!(is_not_found(&call().await.unwrap_err(), &hello));
}

#[tokio::test]
async fn sleeping_is_no_failure() {
    let engine = engine();
    let sleeper = load(&engine, SLEEPER, config()).await;
    assert_eq!(ask(&engine, &sleeper, "20").await, "awake");
    assert_eq!(state(&engine, &sleeper), ComponentState::Ready);
}
