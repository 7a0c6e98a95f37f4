use std::sync::Arc;

use tokio::task::yield_now;
use tokio::time::Instant;

use wasm_core::{ComponentHandle, ComponentState, LifecycleError, ResourceLimits, Trap, WasmError};
use wasm_fixtures::{
    COUNTER, ECHO, SENDER, SHUTDOWN_FAILS, SPIN, SPIN_IN_SHUTDOWN, TRAP, TRAP_IN_SHUTDOWN,
};

use super::lab::{
    SHORT, all_permissions, begin, config, id, not_found, permitted, poll_once, timed, timed_out,
    until,
};
use super::probes::GatedRouter;
use super::{Engine, Feature, Lab};
use crate::suite::{Case, cases};

pub(super) fn cases<E: Engine + ?Sized>() -> Vec<Case<Lab<E>, Feature>> {
    cases!["unloading":
        "Lets the running call end, withdraws the waiting ones, calls `shutdown` and frees \
         everything." => [
            unloading_lets_the_running_call_end,
            unloading_lets_a_dropped_call_end,
            unloading_withdraws_the_waiting_calls,
            unloading_waits_no_longer_than_a_deadline,
            unloading_frees_everything,
            unloading_a_failed_component_is_fine,
        ],
        "An engine that is dropped drops its components without calling their `shutdown`." => [
            a_dropped_engine_frees_its_components_at_once,
        ],
        "An unknown handle is fine." => [
            unloading_twice_is_fine,
            unloading_what_was_never_loaded_is_fine,
        ],
        "From the first poll on, further calls are `WasmError::ComponentNotFound`." => [
            nothing_knows_the_handle_after_unloading,
            nothing_knows_the_handle_while_unloading,
        ],
        "Dropping the future does not stop the unloading." => [
            a_dropped_unload_goes_on,
        ],
        "What `shutdown` ended with." => [
            an_error_of_shutdown_is_told,
            a_trap_in_shutdown_is_told,
        ],
        "The component is unloaded all the same." => [
            a_component_is_unloaded_whatever_shutdown_answers,
        ],
        "Every call ends in `WasmError::ComponentNotFound`, except for `unload_component`." => [
            a_handle_that_was_never_given_is_not_found,
            a_handle_of_another_id_is_not_found,
        ],
    ]
}

async fn unloading_lets_the_running_call_end<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let sender = bench.load(SENDER, permitted()).await;
    let running = bench.spawn_send(&sender, "demo/a/main hi");
    router.gate.entered(1).await;
    let mut unload = bench.engine.unload_component(&sender);
    for _ in 0..10 {
        begin("an unload beside a call", unload.as_mut()).await;
        yield_now().await;
    }
    router.gate.open(1);
    let unloaded = unload.await;
    assert!(matches!(unloaded, Ok(())), "{unloaded:?}");
    assert_eq!(router.accepted(), ["hi"]);
    let running = running.await;
    assert!(matches!(running, Ok(Ok(None))), "{running:?}");
}

async fn unloading_lets_a_dropped_call_end<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let sender = bench.load(SENDER, permitted()).await;
    let mut call = Box::pin(bench.send(&sender, "demo/a/main hi"));
    router.gate.entered_by(call.as_mut()).await;
    drop(call);
    let mut unload = bench.engine.unload_component(&sender);
    for _ in 0..10 {
        begin("an unload beside a call", unload.as_mut()).await;
        yield_now().await;
    }
    router.gate.open(1);
    let unloaded = unload.await;
    assert!(matches!(unloaded, Ok(())), "{unloaded:?}");
    assert_eq!(router.accepted(), ["hi"]);
}

async fn unloading_withdraws_the_waiting_calls<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let sender = bench.load(SENDER, permitted()).await;
    let running = bench.spawn_send(&sender, "demo/a/main 0");
    router.gate.entered(1).await;
    let mut waiting = Vec::new();
    for n in 1..4 {
        let mut call = Box::pin(bench.send(&sender, format!("demo/a/main {n}")));
        begin("a call behind another", call.as_mut()).await;
        waiting.push(call);
    }
    let mut restart = bench.engine.restart_component(&sender);
    begin("a restart behind a call", restart.as_mut()).await;
    let mut unload = bench.engine.unload_component(&sender);
    begin("an unload beside a call", unload.as_mut()).await;
    router.gate.open(9);
    let (unloaded, restarted) = tokio::join!(unload, restart);
    assert!(matches!(unloaded, Ok(())), "{unloaded:?}");
    match restarted {
        Ok(()) => panic!("a restart behind an unload was made"),
        Err(error) => not_found(&error, &sender),
    }
    for call in waiting {
        match call.await {
            Ok(reply) => panic!("a call behind an unload was answered with {reply:?}"),
            Err(error) => not_found(&error, &sender),
        }
    }
    let running = running.await;
    assert!(matches!(running, Ok(Ok(None))), "{running:?}");
    assert_eq!(router.accepted(), ["0"], "what the guest saw");
}

async fn unloading_waits_no_longer_than_a_deadline<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let config = timed(SHORT).with_permissions(all_permissions());
    let sender = bench.load(SENDER, config.clone()).await;
    let running = bench.spawn_send(&sender, "demo/a/main hi");
    router.gate.entered(1).await;
    // The gate stays closed: only the deadline ends the call.
    bench.unload(&sender).await;
    match running.await {
        Ok(Err(error)) => timed_out(&error, &config, "handle-message"),
        other => panic!("{other:?}"),
    }
}

async fn unloading_frees_everything<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::open();
    let bench = lab.bench_with(router.services());
    let alone = Arc::strong_count(&router);
    for fixture in [ECHO, TRAP, SPIN, SHUTDOWN_FAILS] {
        let handle = bench.load(fixture, timed(SHORT)).await;
        // However it ends.
        drop(bench.send(&handle, "go").await);
        drop(bench.engine.unload_component(&handle).await);
        until(async || Arc::strong_count(&router) == alone).await;
    }
}

async fn unloading_a_failed_component_is_fine<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let trap = bench.load(TRAP, config()).await;
    bench.fail(&trap, "go").await;
    bench.unload(&trap).await;
    bench.is_unknown(&trap).await;
}

async fn a_dropped_engine_frees_its_components_at_once<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let alone = Arc::strong_count(&router);
    let bench = lab.bench_with(router.services());
    // Their shutdown would take a day.
    for fixture in [SPIN_IN_SHUTDOWN, ECHO] {
        let day = timed(ResourceLimits::MAX_TIMEOUT);
        bench.load(fixture, day).await;
    }
    let start = Instant::now();
    drop(bench);
    until(async || Arc::strong_count(&router) == alone).await;
    assert!(start.elapsed() < ResourceLimits::MAX_TIMEOUT / 2);
}

async fn unloading_twice_is_fine<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let echo = bench.load(ECHO, config()).await;
    for _ in 0..3 {
        bench.unload(&echo).await;
    }
    // Also while the first is under way.
    let sender = bench.load(SENDER, permitted()).await;
    let running = bench.spawn_send(&sender, "demo/a/main hi");
    router.gate.entered(1).await;
    let mut first = bench.engine.unload_component(&sender);
    begin("an unload beside a call", first.as_mut()).await;
    let mut second = bench.engine.unload_component(&sender);
    let second_outcome = poll_once(second.as_mut()).await;
    router.gate.open(1);
    let second = match second_outcome {
        Some(outcome) => outcome,
        None => second.await,
    };
    let first = first.await;
    assert!(
        matches!((&first, &second), (Ok(()), Ok(()))),
        "{first:?}, {second:?}"
    );
    drop(running.await);
}

async fn unloading_what_was_never_loaded_is_fine<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let counter = bench.load(COUNTER, config()).await;
    let number = counter.handle_id();
    for unknown in [
        ComponentHandle::new(counter.id().clone(), number.wrapping_add(1)),
        ComponentHandle::new(counter.id().clone(), !number),
        ComponentHandle::new(id("other/one/main"), number),
    ] {
        bench.unload(&unknown).await;
    }
    assert_eq!(bench.ask(&counter, "").await, "1");
}

async fn nothing_knows_the_handle_after_unloading<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let echo = bench.load(ECHO, config()).await;
    let twin = bench.load(ECHO, config()).await;
    bench.unload(&echo).await;
    bench.is_unknown(&echo).await;
    let again = bench.load(ECHO, config()).await;
    bench.is_unknown(&echo).await;
    for handle in [&twin, &again] {
        assert_eq!(bench.ask(handle, "hi").await, "hi");
    }
}

async fn nothing_knows_the_handle_while_unloading<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let sender = bench.load(SENDER, permitted()).await;
    let running = bench.spawn_send(&sender, "demo/a/main hi");
    router.gate.entered(1).await;
    let mut unload = bench.engine.unload_component(&sender);
    begin("an unload beside a call", unload.as_mut()).await;
    bench.is_unknown(&sender).await;
    router.gate.open(1);
    let (unloaded, running) = tokio::join!(unload, running);
    assert!(matches!(unloaded, Ok(())), "{unloaded:?}");
    assert!(matches!(running, Ok(Ok(None))), "{running:?}");
}

async fn a_dropped_unload_goes_on<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let alone = Arc::strong_count(&router);
    let sender = bench.load(SENDER, permitted()).await;
    let running = bench.spawn_send(&sender, "demo/a/main hi");
    router.gate.entered(1).await;
    let mut unload = bench.engine.unload_component(&sender);
    begin("an unload beside a call", unload.as_mut()).await;
    drop(unload);
    bench.is_unknown(&sender).await;
    router.gate.open(1);
    let running = running.await;
    assert!(matches!(running, Ok(Ok(None))), "{running:?}");
    until(async || Arc::strong_count(&router) == alone).await;
}

async fn an_error_of_shutdown_is_told<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(SHUTDOWN_FAILS, config()).await;
    let outcome = bench.engine.unload_component(&handle).await;
    assert!(
        matches!(&outcome, Err(WasmError::ShutdownFailed {
            component, error: LifecycleError::ShutdownFailed(text),
        }) if component == handle.id() && text == "still busy"),
        "{outcome:?}"
    );
}

async fn a_trap_in_shutdown_is_told<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(TRAP_IN_SHUTDOWN, config()).await;
    let outcome = bench.engine.unload_component(&handle).await;
    assert!(
        matches!(&outcome, Err(WasmError::Trapped {
            component, export, trap: Trap::Unreachable, ..
        }) if component == handle.id() && &**export == "shutdown"),
        "{outcome:?}"
    );
}

async fn a_component_is_unloaded_whatever_shutdown_answers<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    for fixture in [SHUTDOWN_FAILS, TRAP_IN_SHUTDOWN] {
        let handle = bench.load(fixture, config()).await;
        if let Ok(()) = bench.engine.unload_component(&handle).await {
            panic!("the shutdown of {handle} was fine");
        }
        bench.is_unknown(&handle).await;
        bench.unload(&handle).await;
    }
}

async fn a_handle_that_was_never_given_is_not_found<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let echo = bench.load(ECHO, config()).await;
    let number = echo.handle_id();
    for number in [number.wrapping_add(1), number.wrapping_sub(1), !number] {
        let unknown = ComponentHandle::new(echo.id().clone(), number);
        bench.is_unknown(&unknown).await;
    }
    assert_eq!(bench.state(&echo).await, ComponentState::Ready);
}

async fn a_handle_of_another_id_is_not_found<E: Engine + ?Sized>(lab: Lab<E>) {
    let (here, there) = (lab.bench(), lab.bench());
    let mine = here.load(ECHO, config()).await;
    let foreign = there.load(COUNTER, config()).await;
    // With the number of a component that is there.
    let forged = ComponentHandle::new(foreign.id().clone(), mine.handle_id());
    here.is_unknown(&forged).await;
    here.unload(&forged).await;
    assert_eq!(here.ask(&mine, "hi").await, "hi");
    assert_eq!(there.ask(&foreign, "").await, "1");
}
