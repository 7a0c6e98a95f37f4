use std::sync::Arc;

use tokio::time::Instant;

use wasm_core::{
    ComponentHandle, ComponentState, ComponentStorage, HostServices, LifecycleError, MemoryStorage,
    Resource, Trap, WasmError,
};
use wasm_fixtures::{
    BAD_POINTER_REALLOC, BAD_UTF8_RESULT, CALLBACK, CLOCK, COUNTER, DIRECTORY, ECHO, GROW,
    GROW_SURVIVES, GROW_THEN_TRAP, HUGE_STRING_RESULT, INIT_ONCE, INIT_SENDS, RANDOM_64M,
    RECURSE_FOREVER, SENDER, SHUTDOWN_FAILS, SPIN, SPIN_IN_SHUTDOWN, STORE, TRAP, TRAP_EVERY_THIRD,
    TRAP_IN_CALLBACK, TRAP_IN_SHUTDOWN,
};

use super::lab::{
    Bench, KIB, SHORT, begin, config, exceeded, failed_because, fuelled, id, permitted, timed,
    timed_out, until, with_memory,
};
use super::probes::{GatedRouter, PANIC, Panicking};
use super::{Engine, Feature, Lab};
use crate::suite::{Case, cases};

pub(super) fn cases<E: Engine + ?Sized>() -> Vec<Case<Lab<E>, Feature>> {
    cases!["failure":
        "A trap, exhausted fuel, a passed deadline, a denied growth that the guest did not \
         survive or a panic in a host function fails the instance, and nothing else: the call \
         ends with the cause, the instance is dropped, and further calls end in \
         `WasmError::ComponentFailed` until `restart_component`." => [
            a_trap_fails_the_instance,
            a_trap_in_a_callback_fails_the_instance,
            metadata_that_cannot_be_read_fails_the_instance,
            an_exhausted_stack_fails_the_instance,
            exhausted_fuel_fails_the_instance needs Feature::Fuel,
            a_passed_deadline_fails_the_instance,
            a_denied_growth_that_was_not_survived_fails_the_instance,
            a_denied_growth_that_was_survived_fails_nothing,
            a_panic_in_a_host_function_fails_the_instance needs Feature::HostPanics,
            a_panic_in_any_service_fails_the_instance needs Feature::HostPanics,
            a_panic_while_loading_fails_the_load needs Feature::HostPanics,
            an_answer_that_cannot_be_read_fails_the_instance,
            asking_wasi_for_too_much_fails_the_instance needs Feature::Wasi,
            a_failed_component_answers_nothing_and_says_why,
            calls_that_wait_when_the_instance_fails_are_not_made,
            what_a_failed_instance_held_is_freed,
            nothing_else_fails,
        ],
        "A growth that was denied is what a call ends with only if the guest gave up in the \
         same call, by `unreachable` or over something that the host refused: other traps, and \
         those of later calls, are told as what they are." => [
            another_trap_after_a_denied_growth_is_told_as_such,
            a_growth_that_was_denied_is_not_the_cause_of_a_later_trap,
        ],
        "Puts a fresh, initialized instance under the same handle, whether the old one has \
         failed or not; one that has not is shut down first, whatever its `shutdown` answers." => [
            a_failed_component_is_restarted,
            a_component_that_is_well_is_restarted,
            an_instance_that_is_well_is_shut_down_before_a_restart,
            a_failed_instance_is_not_shut_down,
            a_restart_goes_on_whatever_shutdown_answers,
        ],
        "Counters go on, memory starts anew." => [
            memory_starts_anew,
            each_instance_starts_anew,
            counters_go_on_over_a_restart,
        ],
        "As `load_component`; the component is failed then." => [
            a_restart_that_fails_leaves_the_component_failed,
            a_restart_that_has_failed_is_tried_again,
        ],
        "Takes its turn among the calls." => [
            a_restart_takes_its_turn,
            a_restart_that_waits_when_the_instance_fails_is_made,
        ],
    ]
}

/// That a call which has just ended in `cause` has failed the instance, until it is
/// restarted.
async fn has_failed<E: Engine + ?Sized>(
    bench: &Bench<E>,
    handle: &ComponentHandle,
    cause: &WasmError,
) {
    assert!(cause.fails_instance(), "{cause}");
    assert_eq!(cause.component(), Some(handle.id()), "of whom: {cause}");
    let usage = bench.usage(handle).await;
    let expected = (ComponentState::Failed, 0);
    assert_eq!(
        (usage.state, usage.memory_bytes),
        expected,
        "state and memory after: {cause}"
    );
    for error in bench.errors_of_calls(handle).await {
        failed_because(&error, cause);
    }
    bench.restart(handle).await;
    let usage = bench.usage(handle).await;
    assert_eq!(
        (usage.state, usage.restarts),
        (ComponentState::Ready, 1),
        "state and restarts after a restart"
    );
}

async fn a_trap_fails_the_instance<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(TRAP, config()).await;
    let cause = bench.fail(&handle, "go").await;
    assert!(
        matches!(&cause, WasmError::Trapped { trap: Trap::Unreachable, export, .. }
            if &**export == "handle-message"),
        "{cause}"
    );
    has_failed(&bench, &handle, &cause).await;
    assert_eq!(bench.ask(&handle, "ok").await, "ok");
}

async fn a_trap_in_a_callback_fails_the_instance<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(TRAP_IN_CALLBACK, config()).await;
    let Err(cause) = bench.call_back(&handle, "").await else {
        panic!("a callback that traps was fine");
    };
    assert!(
        matches!(&cause, WasmError::Trapped { trap: Trap::Unreachable, export, .. }
            if &**export == "handle-callback"),
        "{cause}"
    );
    has_failed(&bench, &handle, &cause).await;
    assert_eq!(bench.ask(&handle, "hi").await, "hi");
}

async fn metadata_that_cannot_be_read_fails_the_instance<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(BAD_UTF8_RESULT, config()).await;
    let cause = match bench.engine.metadata(&handle).await {
        Ok(metadata) => panic!("what is not UTF-8 was read as {metadata:?}"),
        Err(error) => error,
    };
    assert!(
        matches!(&cause, WasmError::Trapped { export, .. } if &**export == "metadata"),
        "{cause}"
    );
    has_failed(&bench, &handle, &cause).await;
}

async fn an_exhausted_stack_fails_the_instance<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(RECURSE_FOREVER, config()).await;
    let cause = bench.fail(&handle, "go").await;
    assert!(
        matches!(
            cause,
            WasmError::Trapped {
                trap: Trap::StackOverflow,
                ..
            }
        ),
        "{cause}"
    );
    has_failed(&bench, &handle, &cause).await;
}

async fn exhausted_fuel_fails_the_instance<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(SPIN, fuelled(300_000)).await;
    let cause = bench.fail(&handle, "go").await;
    exceeded(&cause, Resource::Fuel, 300_000, "handle-message");
    has_failed(&bench, &handle, &cause).await;
}

async fn a_passed_deadline_fails_the_instance<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let config = timed(SHORT);
    let handle = bench.load(SPIN, config.clone()).await;
    let cause = bench.fail(&handle, "go").await;
    timed_out(&cause, &config, "handle-message");
    has_failed(&bench, &handle, &cause).await;
}

async fn a_denied_growth_that_was_not_survived_fails_the_instance<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(GROW, with_memory(512 * KIB)).await;
    let cause = bench.fail(&handle, "go").await;
    exceeded(&cause, Resource::Memory, 512 * KIB, "handle-message");
    has_failed(&bench, &handle, &cause).await;
    assert_eq!(bench.ask(&handle, "ok").await, "ok");
}

async fn a_denied_growth_that_was_survived_fails_nothing<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(GROW_SURVIVES, with_memory(512 * KIB)).await;
    for _ in 0..3 {
        assert_eq!(bench.ask(&handle, "").await, "8");
    }
    // It has all the memory that it was not denied.
    assert_eq!(bench.ask(&handle, "x".repeat(400_000)).await, "8");
    let usage = bench.usage(&handle).await;
    assert_eq!((usage.state, usage.traps), (ComponentState::Ready, 0));
}

/// That `handle-message` was ended by this trap, and not by a limit.
#[track_caller]
fn trapped_by(error: &WasmError, expected: &Trap) {
    assert!(
        matches!(error, WasmError::Trapped { trap, export, .. }
            if trap == expected && &**export == "handle-message"),
        "{error}"
    );
}

async fn another_trap_after_a_denied_growth_is_told_as_such<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(GROW_THEN_TRAP, with_memory(512 * KIB)).await;
    let cause = bench.fail(&handle, "divide").await;
    trapped_by(&cause, &Trap::IntegerDivisionByZero);
    has_failed(&bench, &handle, &cause).await;
}

async fn a_growth_that_was_denied_is_not_the_cause_of_a_later_trap<E: Engine + ?Sized>(
    lab: Lab<E>,
) {
    let bench = lab.bench();
    let handle = bench.load(GROW_THEN_TRAP, with_memory(512 * KIB)).await;
    for _ in 0..2 {
        assert_eq!(bench.ask(&handle, "grow").await, "8");
    }
    let cause = bench.fail(&handle, "trap").await;
    trapped_by(&cause, &Trap::Unreachable);
    has_failed(&bench, &handle, &cause).await;
    // Nor of one in the instance after that in which it was denied.
    assert_eq!(bench.ask(&handle, "grow").await, "8");
    bench.restart(&handle).await;
    trapped_by(&bench.fail(&handle, "trap").await, &Trap::Unreachable);
}

#[track_caller]
fn is_host_panic(cause: &WasmError, text: &str) {
    assert!(
        matches!(cause, WasmError::Trapped { trap: Trap::HostPanic(message), .. }
            if message.contains(text)),
        "{cause}"
    );
}

async fn a_panic_in_a_host_function_fails_the_instance<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench_with(HostServices::default().with_router(Arc::new(Panicking)));
    let echo = bench.load(ECHO, config()).await;
    let handle = bench.load(SENDER, permitted()).await;
    let cause = bench.fail(&handle, "demo/a/main a bug in a service").await;
    is_host_panic(&cause, "a bug in a service");
    has_failed(&bench, &handle, &cause).await;
    assert_eq!(bench.ask(&echo, "hi").await, "hi");
}

async fn a_panic_in_any_service_fails_the_instance<E: Engine + ?Sized>(lab: Lab<E>) {
    let services = HostServices::default;
    for (services, fixture, payload) in [
        (
            services().with_storage(Arc::new(Panicking)),
            STORE,
            "get key",
        ),
        (
            services().with_directory(Arc::new(Panicking)),
            DIRECTORY,
            "",
        ),
        (services().with_clock(Arc::new(Panicking)), CLOCK, "time"),
        (
            services().with_validator(Arc::new(Panicking)),
            STORE,
            "get key",
        ),
    ] {
        let bench = lab.bench_with(services);
        let handle = bench.load(fixture, permitted()).await;
        let cause = bench.fail(&handle, payload).await;
        is_host_panic(&cause, PANIC);
        has_failed(&bench, &handle, &cause).await;
    }
}

async fn a_panic_while_loading_fails_the_load<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench_with(HostServices::default().with_router(Arc::new(Panicking)));
    let cause = bench.not_loaded(INIT_SENDS, permitted()).await;
    is_host_panic(&cause, "hello");
    let echo = bench.load(ECHO, config()).await;
    assert_eq!(bench.ask(&echo, "hi").await, "hi");
}

async fn an_answer_that_cannot_be_read_fails_the_instance<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    for fixture in [HUGE_STRING_RESULT, BAD_UTF8_RESULT, BAD_POINTER_REALLOC] {
        let handle = bench.load(fixture, config()).await;
        let cause = bench.fail(&handle, "go").await;
        assert!(
            matches!(cause, WasmError::Trapped { .. }),
            "{}: {cause}",
            fixture.name
        );
        has_failed(&bench, &handle, &cause).await;
    }
}

async fn asking_wasi_for_too_much_fails_the_instance<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(RANDOM_64M, config()).await;
    let cause = bench.fail(&handle, "go").await;
    assert!(matches!(cause, WasmError::Trapped { .. }), "{cause}");
    has_failed(&bench, &handle, &cause).await;
}

async fn a_failed_component_answers_nothing_and_says_why<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(TRAP, config()).await;
    let cause = bench.fail(&handle, "go").await;
    for _ in 0..3 {
        for error in bench.errors_of_calls(&handle).await {
            failed_because(&error, &cause);
            let text = error.to_string();
            assert!(text.contains(&cause.to_string()), "{text}");
        }
    }
    assert_eq!(bench.usage(&handle).await.calls, 1, "calls of the guest");
}

async fn calls_that_wait_when_the_instance_fails_are_not_made<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let config = timed(SHORT);
    let handle = bench.load(SPIN, config.clone()).await;
    let mut running = Box::pin(bench.send(&handle, "go"));
    begin("a message that is never done", running.as_mut()).await;
    let mut waiting = Box::pin(bench.send(&handle, "ok"));
    begin("a message behind it", waiting.as_mut()).await;
    let (running, waiting) = tokio::join!(running, waiting);
    let Err(cause) = running else {
        panic!("a message that is never done was answered");
    };
    timed_out(&cause, &config, "handle-message");
    match waiting {
        Ok(reply) => panic!("a failed instance answered {reply:?}"),
        Err(error) => failed_because(&error, &cause),
    }
    assert_eq!(bench.usage(&handle).await.calls, 1);
}

async fn what_a_failed_instance_held_is_freed<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(TRAP, config()).await;
    assert_ne!(bench.usage(&handle).await.memory_bytes, 0);
    bench.fail(&handle, "go").await;
    assert_eq!(bench.usage(&handle).await.memory_bytes, 0);
    bench.restart(&handle).await;
    assert_ne!(bench.usage(&handle).await.memory_bytes, 0);
}

async fn nothing_else_fails<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    // Of the same id and bytes, and of others.
    let handle = bench.load(TRAP, config()).await;
    let twin = bench.load(TRAP, config()).await;
    let counter = bench.load(COUNTER, config()).await;
    assert_eq!(bench.ask(&counter, "").await, "1");
    bench.fail(&handle, "go").await;
    assert_eq!(bench.ask(&twin, "ok").await, "ok");
    assert_eq!(bench.ask(&counter, "").await, "2");
    let usage = bench.usage(&twin).await;
    assert_eq!((usage.state, usage.traps), (ComponentState::Ready, 0));
    assert_eq!(bench.usage(&counter).await.restarts, 0);
}

async fn a_failed_component_is_restarted<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(TRAP, config()).await;
    for restarts in 1..=3 {
        bench.fail(&handle, "go").await;
        bench.restart(&handle).await;
        assert_eq!(bench.ask(&handle, "ok").await, "ok");
        assert_eq!(bench.usage(&handle).await.restarts, restarts);
    }
}

async fn a_component_that_is_well_is_restarted<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(ECHO, config()).await;
    for restarts in 1..=3 {
        bench.restart(&handle).await;
        assert_eq!(bench.ask(&handle, "hi").await, "hi");
        assert_eq!(bench.usage(&handle).await.restarts, restarts);
    }
}

async fn an_instance_that_is_well_is_shut_down_before_a_restart<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    // Its shutdown takes all the time that it is given.
    let handle = bench.load(SPIN_IN_SHUTDOWN, timed(SHORT)).await;
    let start = Instant::now();
    bench.restart(&handle).await;
    let elapsed = start.elapsed();
    assert!(elapsed >= SHORT, "shutdown was given {elapsed:?}");
}

/// Lets an instance fail whose `handle-message` echoes.
async fn exhaust_memory<E: Engine + ?Sized>(bench: &Bench<E>, handle: &ComponentHandle) {
    let error = bench.fail(handle, vec![b'x'; 3 << 20]).await;
    exceeded(&error, Resource::Memory, 2 << 20, "handle-message");
}

async fn a_failed_instance_is_not_shut_down<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(TRAP_IN_SHUTDOWN, config()).await;
    exhaust_memory(&bench, &handle).await;
    bench.restart(&handle).await;
    assert_eq!(bench.usage(&handle).await.traps, 1, "traps, all told");
    exhaust_memory(&bench, &handle).await;
    // There is no instance left that could trap in its shutdown.
    bench.unload(&handle).await;
}

async fn a_restart_goes_on_whatever_shutdown_answers<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let fails = bench.load(SHUTDOWN_FAILS, config()).await;
    bench.restart(&fails).await;
    assert_eq!(bench.tell(&fails, "").await, None);
    let traps = bench.load(TRAP_IN_SHUTDOWN, config()).await;
    bench.restart(&traps).await;
    assert_eq!(bench.ask(&traps, "hi").await, "hi");
    assert_eq!(bench.state(&traps).await, ComponentState::Ready);
}

async fn memory_starts_anew<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let counter = bench.load(COUNTER, config()).await;
    let fresh = bench.usage(&counter).await.memory_bytes;
    for _ in 0..3 {
        for count in ["1", "2", "3"] {
            assert_eq!(bench.ask(&counter, "").await, count);
        }
        bench.restart(&counter).await;
    }
    let echo = bench.load(ECHO, config()).await;
    bench.ask(&echo, "x".repeat(200_000)).await;
    bench.restart(&echo).await;
    assert_eq!(bench.usage(&echo).await.memory_bytes, fresh);
}

async fn each_instance_starts_anew<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(TRAP_EVERY_THIRD, config()).await;
    for _ in 0..3 {
        for text in ["one", "two"] {
            assert_eq!(bench.ask(&handle, text).await, text);
        }
        let error = bench.fail(&handle, "three").await;
        assert!(matches!(error, WasmError::Trapped { .. }), "{error}");
        bench.restart(&handle).await;
    }
}

async fn counters_go_on_over_a_restart<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(TRAP, config()).await;
    let mut before = bench.usage(&handle).await;
    for round in 1..=3 {
        bench.ask(&handle, "ok").await;
        bench.fail(&handle, "go").await;
        bench.restart(&handle).await;
        let usage = bench.usage(&handle).await;
        assert_eq!(
            (usage.calls, usage.traps, usage.restarts),
            (2 * round, round, round),
            "calls, traps and restarts"
        );
        assert!(usage.total_fuel >= before.total_fuel, "{usage:?}");
        assert!(
            usage.peak_memory_bytes >= before.peak_memory_bytes,
            "{usage:?}"
        );
        before = usage;
    }
}

/// Restarts what initializes only once.
async fn fail_to_restart<E: Engine + ?Sized>(
    bench: &Bench<E>,
    handle: &ComponentHandle,
) -> WasmError {
    let Err(error) = bench.engine.restart_component(handle).await else {
        panic!("{handle} was restarted although `initialize` refused");
    };
    assert!(
        matches!(&error, WasmError::InitializationFailed {
            component, error: LifecycleError::InitializationFailed(text)
        } if component == handle.id() && text == "begun before"),
        "{error}"
    );
    error
}

async fn a_restart_that_fails_leaves_the_component_failed<E: Engine + ?Sized>(lab: Lab<E>) {
    let storage = Arc::new(MemoryStorage::new());
    let bench = lab.bench_with(HostServices::default().with_storage(storage));
    let well = bench
        .load_as(&id("demo/well/main"), INIT_ONCE, permitted())
        .await;
    let trapped = bench
        .load_as(&id("demo/trapped/main"), INIT_ONCE, permitted())
        .await;
    bench.fail(&trapped, "go").await;
    for handle in [well, trapped] {
        let cause = fail_to_restart(&bench, &handle).await;
        let usage = bench.usage(&handle).await;
        assert_eq!(
            (usage.state, usage.memory_bytes, usage.restarts),
            (ComponentState::Failed, 0, 0),
            "state, memory and restarts of {handle}"
        );
        // The latest cause, whatever the component failed of before.
        for error in bench.errors_of_calls(&handle).await {
            failed_because(&error, &cause);
        }
    }
}

async fn a_restart_that_has_failed_is_tried_again<E: Engine + ?Sized>(lab: Lab<E>) {
    let storage = Arc::new(MemoryStorage::new());
    let bench = lab.bench_with(HostServices::default().with_storage(storage.clone()));
    let handle = bench.load(INIT_ONCE, permitted()).await;
    for _ in 0..2 {
        fail_to_restart(&bench, &handle).await;
    }
    if let Err(error) = storage.delete(handle.id(), "begun").await {
        panic!("{error}");
    }
    bench.restart(&handle).await;
    assert_eq!(bench.ask(&handle, "ok").await, "ok");
    let usage = bench.usage(&handle).await;
    assert_eq!((usage.state, usage.restarts), (ComponentState::Ready, 1));
}

async fn a_restart_takes_its_turn<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let callback = bench.load(CALLBACK, permitted()).await;
    if let Err(error) = bench.call_back(&callback, "kept").await {
        panic!("{error}");
    }
    let running = bench.spawn_send(&callback, "demo/a/main hi");
    router.gate.entered(1).await;
    let mut restart = bench.engine.restart_component(&callback);
    begin("a restart beside a call", restart.as_mut()).await;
    let mut after = Box::pin(bench.send(&callback, "last"));
    begin("a message after a restart", after.as_mut()).await;
    assert_eq!(bench.usage(&callback).await.restarts, 0);
    router.gate.open(1);
    let (restart, after) = tokio::join!(restart, after);
    assert!(matches!(restart, Ok(())), "{restart:?}");
    assert!(matches!(after, Ok(None)), "{after:?}");
    until(async || running.is_finished()).await;
    assert_eq!(bench.usage(&callback).await.restarts, 1);
}

async fn a_restart_that_waits_when_the_instance_fails_is_made<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let config = timed(SHORT);
    let handle = bench.load(SPIN, config.clone()).await;
    let mut running = Box::pin(bench.send(&handle, "go"));
    begin("a message that is never done", running.as_mut()).await;
    let mut before = Box::pin(bench.send(&handle, "ok"));
    begin("a message before a restart", before.as_mut()).await;
    let mut restart = bench.engine.restart_component(&handle);
    begin("a restart behind a call", restart.as_mut()).await;
    let mut after = Box::pin(bench.send(&handle, "ok"));
    begin("a message after a restart", after.as_mut()).await;
    let (running, before, restart, after) = tokio::join!(running, before, restart, after);
    let Err(cause) = running else {
        panic!("a message that is never done was answered");
    };
    timed_out(&cause, &config, "handle-message");
    match before {
        Ok(reply) => panic!("a failed instance answered {reply:?}"),
        Err(error) => failed_because(&error, &cause),
    }
    assert!(matches!(restart, Ok(())), "{restart:?}");
    assert!(
        matches!(&after, Ok(Some(reply)) if reply == "ok"),
        "{after:?}"
    );
}
