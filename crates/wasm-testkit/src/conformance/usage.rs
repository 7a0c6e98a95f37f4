use std::sync::Arc;

use bytes::Bytes;

use wasm_core::{
    ComponentHandle, ComponentInfo, ComponentState, ComponentStorage, HealthStatus, MemoryStorage,
    WasmError,
};
use wasm_fixtures::{
    BAD_UTF8_RESULT, BIG_INITIAL_MEMORY, BROADCAST_STORM, CALLBACK, COUNTER, DIRECTORY, ECHO, GROW,
    GROW_SURVIVES, GUEST_ERROR, INIT_CONFIG, INIT_ONCE, INIT_SENDS, MANY_MEMORIES, PAGE_BYTES,
    RECURSE_THEN_HOSTCALL, SENDER, SHUTDOWN_SENDS, SPIN, SPIN_IN_HEALTH, SPIN_IN_SHUTDOWN, STORE,
    TRAP, TRAP_IN_CALLBACK,
};

use super::lab::{
    KIB, SHORT, all_permissions, config, fuelled, id, not_found, permitted, timed, until,
    with_memory,
};
use super::probes::GatedRouter;
use super::{Engine, Feature, Lab};
use crate::MemoryDirectory;
use crate::suite::{Case, cases};

pub(super) fn cases<E: Engine + ?Sized>() -> Vec<Case<Lab<E>, Feature>> {
    cases!["usage":
        "Answers at once, also while a call runs or the component has failed." => [
            usage_is_known_while_a_call_runs,
            usage_is_known_of_a_failed_component,
        ],
        "At once means that it waits for no guest and no service; its first poll need not be \
         enough." => [
            usage_is_known_while_components_come_and_go,
        ],
        "A call has begun once its guest is entered; until it ends, `usage` says \
         `ComponentState::Busy`." => [
            a_component_is_busy_from_a_calls_beginning_to_its_end,
        ],
        "`WasmError::ComponentNotFound` only." => [
            usage_of_what_is_not_there_is_not_found,
        ],
        "Where it is in its life." => [
            a_component_is_ready_busy_or_failed,
        ],
        "Memories and tables now, in bytes; 0 while it is failed." => [
            memory_is_what_the_instance_has,
            memory_grows_with_the_guest,
            tables_are_part_of_the_memory,
            what_a_guest_is_handed_takes_memory,
            what_a_guest_keeps_takes_memory,
        ],
        "The most that `memory_bytes` has been." => [
            the_peak_stays,
        ],
        "Fuel that the latest call consumed, `initialize` and `shutdown` included." => [
            the_same_call_takes_the_same_fuel needs Feature::Fuel,
            more_work_takes_more_fuel needs Feature::Fuel,
        ],
        "Fuel that all calls consumed, `initialize` and `shutdown` included." => [
            total_fuel_is_the_sum_of_all_calls needs Feature::Fuel,
            what_shutdown_consumed_is_part_of_the_total needs Feature::Fuel,
        ],
        "Calls that an embedder made and that reached the guest; without `initialize` and \
         `shutdown`." => [
            a_new_component_was_never_called,
            calls_of_every_kind_count,
            calls_that_reach_no_guest_do_not_count,
        ],
        "Calls, `initialize` included, that ended in a trap, out of fuel or at the memory \
         limit." => [
            traps_count_as_traps,
            traps_of_calls_of_every_kind_count,
            the_memory_limit_counts_as_a_trap,
            exhausted_fuel_counts_as_a_trap needs Feature::Fuel,
            an_error_of_the_guest_counts_as_nothing_but_a_call,
        ],
        "Calls, `initialize` included, that were stopped at their deadline." => [
            deadlines_count_as_timeouts,
            deadlines_of_calls_of_every_kind_count,
        ],
        "Times it was given a fresh instance." => [
            restarts_count,
        ],
    ]
}

async fn usage_is_known_while_a_call_runs<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let sender = bench.load(SENDER, permitted()).await;
    let running = bench.spawn_send(&sender, "demo/a/main hi");
    router.gate.entered(1).await;
    // The gate is closed: whoever waits for the call does so for ever.
    let usage = bench.usage(&sender).await;
    let expected = (ComponentState::Busy, 0);
    assert_eq!((usage.state, usage.calls), expected, "state and calls");
    assert!(usage.memory_bytes >= PAGE_BYTES, "{usage:?}");
    router.gate.open(1);
    let running = running.await;
    assert!(matches!(running, Ok(Ok(None))), "{running:?}");
}

async fn usage_is_known_of_a_failed_component<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(TRAP, config()).await;
    bench.fail(&handle, "go").await;
    let usage = bench.usage(&handle).await;
    assert_eq!(
        (usage.state, usage.memory_bytes, usage.traps, usage.calls),
        (ComponentState::Failed, 0, 1, 1),
        "state, memory, traps and calls"
    );
    assert!(usage.peak_memory_bytes >= PAGE_BYTES, "{usage:?}");
}

async fn usage_of_what_is_not_there_is_not_found<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let echo = bench.load(ECHO, config()).await;
    bench.unload(&echo).await;
    match bench.engine.usage(&echo).await {
        Ok(usage) => panic!("{usage:?}"),
        Err(error) => not_found(&error, &echo),
    }
}

async fn a_component_is_ready_busy_or_failed<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let sender = bench.load(SENDER, permitted()).await;
    assert_eq!(bench.state(&sender).await, ComponentState::Ready);
    let running = bench.spawn_send(&sender, "demo/a/main hi");
    router.gate.entered(1).await;
    assert_eq!(bench.state(&sender).await, ComponentState::Busy);
    router.gate.open(1);
    let running = running.await;
    assert!(matches!(running, Ok(Ok(None))), "{running:?}");
    assert_eq!(bench.state(&sender).await, ComponentState::Ready);
    bench.fail(&sender, vec![b'x'; 3 << 20]).await;
    assert_eq!(bench.state(&sender).await, ComponentState::Failed);
    bench.restart(&sender).await;
    assert_eq!(bench.state(&sender).await, ComponentState::Ready);
}

async fn memory_is_what_the_instance_has<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    for (fixture, pages) in [(ECHO, 1), (MANY_MEMORIES, 4)] {
        let handle = bench.load(fixture, config()).await;
        let usage = bench.usage(&handle).await;
        // Imports of host functions may take a small table.
        let expected = pages * PAGE_BYTES..pages * PAGE_BYTES + KIB;
        assert!(expected.contains(&usage.memory_bytes), "{usage:?}");
    }
    bench.not_loaded(BIG_INITIAL_MEMORY, config()).await;
}

async fn memory_grows_with_the_guest<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let echo = bench.load(ECHO, config()).await;
    for length in [100_000, 300_000] {
        bench.ask(&echo, "x".repeat(length)).await;
        let usage = bench.usage(&echo).await;
        assert!(usage.memory_bytes >= length as u64, "{usage:?}");
    }
    // What is freed after a call is there for the next.
    let grown = bench.usage(&echo).await.memory_bytes;
    for _ in 0..10 {
        bench.ask(&echo, "x".repeat(300_000)).await;
    }
    assert_eq!(bench.usage(&echo).await.memory_bytes, grown);
    let grown = bench.load(GROW_SURVIVES, with_memory(512 * KIB)).await;
    bench.ask(&grown, "").await;
    let usage = bench.usage(&grown).await;
    assert_eq!(usage.memory_bytes, 512 * KIB);
}

async fn tables_are_part_of_the_memory<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench_with(GatedRouter::open().services());
    // A host function that takes more than numbers is called through a table.
    for fixture in [
        INIT_SENDS,
        INIT_ONCE,
        STORE,
        CALLBACK,
        SENDER,
        SHUTDOWN_SENDS,
    ] {
        let handle = bench.load(fixture, permitted()).await;
        let bytes = bench.usage(&handle).await.memory_bytes;
        assert!(bytes > PAGE_BYTES, "{}: {bytes} bytes", fixture.name);
    }
    let without = bench.load(ECHO, permitted()).await;
    let bytes = bench.usage(&without).await.memory_bytes;
    assert_eq!(bytes, PAGE_BYTES, "of a memory and no table");
}

async fn what_a_guest_is_handed_takes_memory<E: Engine + ?Sized>(lab: Lab<E>) {
    let storage = Arc::new(MemoryStorage::new());
    let directory = Arc::new(MemoryDirectory::new());
    let services = GatedRouter::open().services();
    let services = services.with_storage(storage.clone());
    let bench = lab.bench_with(services.with_directory(directory.clone()));
    let takes = async |handle: &ComponentHandle, least: usize| {
        let bytes = bench.usage(handle).await.memory_bytes;
        assert!(bytes >= least as u64, "{handle}: {bytes} of {least} bytes");
    };

    // 16 bytes for a pair of texts.
    let variables = (0..10_000).fold(config(), |config, _| config.with_env("", ""));
    let handle = bench.load(INIT_CONFIG, variables).await;
    takes(&handle, 160_000).await;

    // 8 bytes for a text, its own, and once more in the answer.
    let store = bench.load(STORE, permitted()).await;
    for n in 0..4_000 {
        let key = format!("{n:04}");
        let set = storage.set(store.id(), &key, Bytes::new(), u64::MAX);
        assert_eq!(set.await, Ok(()), "the storage of the case");
    }
    assert_eq!(bench.ask(&store, "keys").await.len(), 20_000);
    takes(&store, 32_000 + 16_000 + 20_000).await;

    // 24 bytes for an id, its texts, and once more in the answer.
    for n in 0..1_000 {
        directory.insert(ComponentInfo {
            id: id(&format!("many/components/{n:04}")),
            name: String::new(),
            version: String::new(),
            health: HealthStatus::Unknown,
        });
    }
    let asks = bench.load(DIRECTORY, permitted()).await;
    assert!(bench.ask(&asks, "").await.len() > 20_000, "the ids listed");
    takes(&asks, 24_000 + 18_000 + 20_000 + 4_096).await;

    // The same for each recipient of a broadcast.
    let storm = bench.load(BROADCAST_STORM, permitted()).await;
    drop(bench.send(&storm, "").await);
    takes(&storm, 240_000).await;
}

async fn what_a_guest_keeps_takes_memory<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let kept = vec![b'x'; 300_000];
    let callback = bench.load(CALLBACK, permitted()).await;
    if let Err(error) = bench.call_back(&callback, kept.clone()).await {
        panic!("{error}");
    }
    let configured = config().with_config_data(kept);
    let configured = bench.load(INIT_CONFIG, configured).await;
    for handle in [callback, configured] {
        // Whatever comes of it.
        drop(bench.send(&handle, vec![b'x'; 500_000]).await);
        let usage = bench.usage(&handle).await;
        assert!(usage.memory_bytes >= 800_000, "{handle}: {usage:?}");
    }
}

async fn the_peak_stays<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let grow = bench.load(GROW, with_memory(512 * KIB)).await;
    let usage = bench.usage(&grow).await;
    assert_eq!(usage.peak_memory_bytes, usage.memory_bytes, "at first");
    bench.fail(&grow, "go").await;
    bench.restart(&grow).await;
    let usage = bench.usage(&grow).await;
    assert_eq!(usage.peak_memory_bytes, 512 * KIB, "the most it ever had");
    assert!(usage.memory_bytes < 512 * KIB, "{usage:?}");
}

async fn the_same_call_takes_the_same_fuel<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let counter = bench.load(COUNTER, config()).await;
    assert_ne!(
        bench.usage(&counter).await.last_call_fuel,
        0,
        "of `initialize`"
    );
    let mut fuel = Vec::new();
    for _ in 0..3 {
        bench.ask(&counter, "").await;
        fuel.push(bench.usage(&counter).await.last_call_fuel);
    }
    assert_ne!(fuel[0], 0);
    assert_eq!(fuel, [fuel[0]; 3]);
}

async fn more_work_takes_more_fuel<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(RECURSE_THEN_HOSTCALL, config()).await;
    let mut before = 0;
    for depth in ["10", "100", "1000"] {
        bench.ask(&handle, depth).await;
        let fuel = bench.usage(&handle).await.last_call_fuel;
        assert!(
            fuel > before,
            "{fuel} for a depth of {depth}, {before} for less"
        );
        before = fuel;
    }
    bench.ask(&handle, "2000").await;
    let more = bench.usage(&handle).await.last_call_fuel - before;
    assert!(more >= 2_000, "{more} for 1000 calls, each with its return");
}

async fn total_fuel_is_the_sum_of_all_calls<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(ECHO, config()).await;
    let mut total = bench.usage(&handle).await.total_fuel;
    for length in [0, 10, 10_000] {
        bench.ask(&handle, "x".repeat(length)).await;
        let usage = bench.usage(&handle).await;
        total += usage.last_call_fuel;
        assert_eq!(usage.total_fuel, total, "after {length} bytes");
    }
    bench.restart(&handle).await;
    let usage = bench.usage(&handle).await;
    let initialize = usage.last_call_fuel;
    assert!(usage.total_fuel >= total + initialize, "{usage:?}");
}

async fn what_shutdown_consumed_is_part_of_the_total<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(SPIN_IN_SHUTDOWN, fuelled(300_000)).await;
    let before = bench.usage(&handle).await;
    bench.restart(&handle).await;
    let after = bench.usage(&handle).await;
    assert_eq!(
        after.total_fuel,
        before.total_fuel + 300_000 + after.last_call_fuel,
        "fuel of all calls: before, of `shutdown` and of `initialize`"
    );
}

async fn a_new_component_was_never_called<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let echo = bench.load(ECHO, config()).await;
    let usage = bench.usage(&echo).await;
    let counters = [usage.calls, usage.traps, usage.timeouts, usage.restarts];
    assert_eq!(counters, [0; 4], "calls, traps, timeouts and restarts");
    assert_eq!(usage.state, ComponentState::Ready);
}

async fn calls_of_every_kind_count<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let echo = bench.load(ECHO, config()).await;
    bench.ask(&echo, "hi").await;
    assert_eq!(bench.usage(&echo).await.calls, 1, "after a message");
    if let Err(error) = bench.call_back(&echo, "").await {
        panic!("{error}");
    }
    assert_eq!(bench.usage(&echo).await.calls, 2, "after a callback");
    if let Err(error) = bench.engine.health(&echo).await {
        panic!("{error}");
    }
    assert_eq!(bench.usage(&echo).await.calls, 3, "after health");
    if let Err(error) = bench.engine.metadata(&echo).await {
        panic!("{error}");
    }
    assert_eq!(bench.usage(&echo).await.calls, 4, "after metadata");
    bench.restart(&echo).await;
    assert_eq!(bench.usage(&echo).await.calls, 4, "after a restart");
}

async fn calls_that_reach_no_guest_do_not_count<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let trap = bench.load(TRAP, config()).await;
    bench.fail(&trap, "go").await;
    for _ in 0..3 {
        let error = bench.fail(&trap, "ok").await;
        assert!(
            matches!(error, WasmError::ComponentFailed { .. }),
            "{error}"
        );
    }
    let usage = bench.usage(&trap).await;
    assert_eq!((usage.calls, usage.traps), (1, 1), "calls and traps");
}

async fn traps_count_as_traps<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let trap = bench.load(TRAP, config()).await;
    for traps in 1..=3 {
        bench.fail(&trap, "go").await;
        let usage = bench.usage(&trap).await;
        assert_eq!((usage.traps, usage.timeouts), (traps, 0));
        bench.restart(&trap).await;
    }
}

async fn traps_of_calls_of_every_kind_count<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let callback = bench.load(TRAP_IN_CALLBACK, config()).await;
    if let Ok(()) = bench.call_back(&callback, "").await {
        panic!("a callback that traps was fine");
    }
    let metadata = bench.load(BAD_UTF8_RESULT, config()).await;
    if let Ok(metadata) = bench.engine.metadata(&metadata).await {
        panic!("what is not UTF-8 was read as {metadata:?}");
    }
    for handle in [callback, metadata] {
        let usage = bench.usage(&handle).await;
        let counted = (usage.calls, usage.traps, usage.timeouts);
        assert_eq!(counted, (1, 1, 0), "calls, traps and timeouts of {handle}");
    }
}

async fn the_memory_limit_counts_as_a_trap<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let grow = bench.load(GROW, with_memory(512 * KIB)).await;
    bench.fail(&grow, "go").await;
    let usage = bench.usage(&grow).await;
    assert_eq!((usage.traps, usage.timeouts), (1, 0));
}

async fn exhausted_fuel_counts_as_a_trap<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let spin = bench.load(SPIN, fuelled(300_000)).await;
    bench.fail(&spin, "go").await;
    let usage = bench.usage(&spin).await;
    assert_eq!((usage.traps, usage.timeouts), (1, 0));
    assert_eq!(usage.last_call_fuel, 300_000);
}

async fn an_error_of_the_guest_counts_as_nothing_but_a_call<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(GUEST_ERROR, config()).await;
    for _ in 0..3 {
        bench.refusal(&handle, "fail").await;
    }
    let usage = bench.usage(&handle).await;
    assert_eq!((usage.calls, usage.traps, usage.timeouts), (3, 0, 0));
}

async fn deadlines_count_as_timeouts<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let spin = bench.load(SPIN, timed(SHORT)).await;
    for timeouts in 1..=2 {
        bench.fail(&spin, "go").await;
        let usage = bench.usage(&spin).await;
        assert_eq!((usage.timeouts, usage.traps), (timeouts, 0));
        bench.restart(&spin).await;
    }
}

async fn deadlines_of_calls_of_every_kind_count<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let health = bench.load(SPIN_IN_HEALTH, timed(SHORT)).await;
    if let Ok(health) = bench.engine.health(&health).await {
        panic!("a health that never comes is {health}");
    }
    // Its `initialize` passes the gate once and no more.
    router.gate.open(2);
    let config = timed(SHORT).with_permissions(all_permissions());
    let restart = bench.load(INIT_SENDS, config).await;
    if let Ok(()) = bench.engine.restart_component(&restart).await {
        panic!("an `initialize` that is never done was fine");
    }
    for (handle, calls) in [(health, 1), (restart, 0)] {
        let usage = bench.usage(&handle).await;
        let counted = (usage.calls, usage.timeouts, usage.traps);
        assert_eq!(
            counted,
            (calls, 1, 0),
            "calls, timeouts and traps of {handle}"
        );
    }
}

async fn restarts_count<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let trap = bench.load(TRAP, config()).await;
    for restarts in [1, 3] {
        bench.restart(&trap).await;
        assert_eq!(bench.usage(&trap).await.restarts, restarts);
        bench.fail(&trap, "go").await;
        assert_eq!(bench.usage(&trap).await.restarts, restarts);
        bench.restart(&trap).await;
        assert_eq!(bench.usage(&trap).await.restarts, restarts + 1);
    }
}

async fn usage_is_known_while_components_come_and_go<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let echo = bench.load(ECHO, config()).await;
    // One is held up while it is loaded, one while it is restarted, one while it is
    // shut down.
    let mut load = Box::pin(bench.try_load(INIT_SENDS, permitted()));
    router.gate.entered_by(load.as_mut()).await;
    let restarted = bench.load(SHUTDOWN_SENDS, permitted()).await;
    let mut restart = bench.engine.restart_component(&restarted);
    router.gate.entered_by(restart.as_mut()).await;
    let unloaded = bench.load(SHUTDOWN_SENDS, permitted()).await;
    let mut unload = bench.engine.unload_component(&unloaded);
    router.gate.entered_by(unload.as_mut()).await;
    assert_eq!(bench.state(&echo).await, ComponentState::Ready);
    assert_eq!(bench.state(&restarted).await, ComponentState::Busy);
    match bench.engine.usage(&unloaded).await {
        Ok(usage) => panic!("{usage:?}"),
        Err(error) => not_found(&error, &unloaded),
    }
    router.gate.open(9);
    let outcomes = tokio::join!(load, restart, unload);
    assert!(matches!(outcomes, (Ok(_), Ok(()), Ok(()))), "{outcomes:?}");
}

async fn a_component_is_busy_from_a_calls_beginning_to_its_end<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let health = bench.load(SPIN_IN_HEALTH, timed(SHORT)).await;
    let mut call = bench.engine.health(&health);
    bench.begun(&health, call.as_mut()).await;
    match call.await {
        Ok(health) => panic!("a health that never comes is {health}"),
        Err(error) => assert!(error.fails_instance(), "{error}"),
    }
    assert_eq!(bench.state(&health).await, ComponentState::Failed);
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let callback = bench.load(CALLBACK, permitted()).await;
    let mut call = Box::pin(bench.send(&callback, "demo/a/main hi"));
    router.gate.entered_by(call.as_mut()).await;
    // Also when nobody waits for it any more.
    drop(call);
    assert_eq!(bench.state(&callback).await, ComponentState::Busy);
    router.gate.open(1);
    until(async || bench.state(&callback).await != ComponentState::Busy).await;
    assert_eq!(bench.state(&callback).await, ComponentState::Ready);
}
