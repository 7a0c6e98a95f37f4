use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;

use wasm_core::{
    ComponentHandle, ComponentId, Defect, HostServices, LifecycleError, LimitsError, Resource,
    ResourceLimits, Trap, WasmError,
};
use wasm_fixtures::{
    BIG_INITIAL_MEMORY, CORE_MODULE, COUNTER, ECHO, Fixture, GROW_SURVIVES, HELLO, INIT_FAILS,
    INIT_SENDS, MINIMAL, MISSING_EXPORT, NESTED_INSTANCES, OTHER_WORLD, SELF_ID, SENDER,
    SPIN_IN_INITIALIZE, SPIN_IN_START, THOUSAND_MODULES, TRAP_IN_INITIALIZE, TRUNCATED,
    UNKNOWN_IMPORT, WRONG_TYPE,
};

use super::lab::{
    AMPLE, KIB, MIB, SHORT, begin, bytes, config, exceeded, fuelled, id, id_of, message, permitted,
    poll_once, timed, timed_out, until, with_memory,
};
use super::probes::GatedRouter;
use super::{Engine, Feature, Lab, Settings};
use crate::suite::{Case, cases};

pub(super) fn cases<E: Engine + ?Sized>() -> Vec<Case<Lab<E>, Feature>> {
    cases!["loading":
        "The same id and bytes may be loaded any number of times; each is an instance of its \
         own, with a number that the engine never gives again." => [
            a_handle_carries_the_id_that_was_loaded,
            the_same_id_and_bytes_are_two_instances,
            instances_of_one_id_have_limits_and_permissions_of_their_own,
            numbers_are_never_given_again,
            numbers_are_unique_among_loads_at_once,
        ],
        "A component that does not export `component-lifecycle` is loaded without \
         `initialize`." => [
            a_component_without_a_lifecycle_is_loaded,
        ],
        "If any step fails or the future is dropped, nothing is left behind." => [
            a_load_that_fails_leaves_nothing_behind,
            a_load_that_is_dropped_leaves_nothing_behind,
        ],
        "One for which `WasmError::is_load_error` holds, or a trap or a limit: an initial memory \
         over the limit, a start function or `initialize` that goes wrong." => [
            bytes_that_are_no_component_are_told_apart,
            a_truncated_component_is_malformed,
            a_core_module_is_no_component,
            an_incomplete_lifecycle_is_named,
            an_export_of_another_type_is_named,
            an_import_nobody_provides_is_named,
            too_many_instances_are_too_complex,
            an_initialize_that_refuses_is_quoted,
            an_initialize_that_traps_fails_the_load,
            every_refusal_is_a_load_error_of_the_component,
            an_initial_memory_over_the_limit_is_refused_with_its_size,
        ],
        "Of several things that are wrong, any one is told." => [
            of_several_things_that_are_wrong_any_one_is_told,
        ],
        "Does ahead of time what loading does before it runs any of the component." => [
            preparing_runs_nothing_of_a_component,
            preparing_loads_nothing_and_changes_nothing_that_is_loaded,
        ],
        "While what is returned is held, loads of the same bytes skip that, whatever their ids \
         and configurations." => [
            what_is_prepared_is_loaded_under_any_id_and_configuration,
            what_was_prepared_is_loaded_for_its_bytes_only,
        ],
        "Calls and loads go on meanwhile." => [
            calls_and_loads_go_on_while_a_component_is_prepared,
        ],
        "Dropping the future leaves nothing behind." => [
            a_preparation_that_is_dropped_leaves_nothing_behind,
        ],
        "The one that `load_component` would end in, where that is known without running the \
         component." => [
            preparing_refuses_with_the_words_of_loading,
            what_is_refused_with_one_configuration_is_loaded_with_another,
        ],
        "4 MiB: what an engine grants at the most, unless its operator raised the ceiling." => [
            memory_limits_reach_up_to_the_ceiling,
            a_raised_ceiling_is_granted needs Feature::MemoryCeiling,
        ],
        "Validates, links, instantiates and calls `initialize`, all under the limits." => [
            a_start_function_that_spins_is_stopped_at_its_deadline,
            an_initialize_that_spins_is_stopped_at_its_deadline,
            a_start_function_that_spins_runs_out_of_fuel needs Feature::Fuel,
            an_initialize_that_spins_runs_out_of_fuel needs Feature::Fuel,
        ],
    ]
}

async fn a_handle_carries_the_id_that_was_loaded<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    for text in ["demo/echo/main", "a.b/c-d_e/F"] {
        let handle = bench.load_as(&id(text), ECHO, config()).await;
        assert_eq!(*handle.id(), id(text), "the id of the handle");
    }
}

async fn the_same_id_and_bytes_are_two_instances<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let one = bench.load(COUNTER, config()).await;
    let two = bench.load(COUNTER, config()).await;
    assert_ne!(one, two, "two handles of one id");
    for (handle, count) in [(&one, "1"), (&one, "2"), (&two, "1"), (&one, "3")] {
        assert_eq!(bench.ask(handle, "").await, count, "the count of {handle}");
    }
    bench.unload(&one).await;
    assert_eq!(
        bench.ask(&two, "").await,
        "2",
        "after the other was unloaded"
    );
}

async fn instances_of_one_id_have_limits_and_permissions_of_their_own<E: Engine + ?Sized>(
    lab: Lab<E>,
) {
    let bench = lab.bench_with(GatedRouter::open().services());
    let small = bench.load(GROW_SURVIVES, with_memory(512 * KIB)).await;
    let large = bench.load(GROW_SURVIVES, with_memory(MIB)).await;
    for (handle, pages) in [(&small, "8"), (&large, "16"), (&small, "8")] {
        assert_eq!(bench.ask(handle, "").await, pages, "pages of {handle}");
    }
    let may = bench.load(SENDER, permitted()).await;
    let may_not = bench.load(SENDER, config()).await;
    for _ in 0..2 {
        assert_eq!(bench.tell(&may, "demo/a/main hi").await, None);
        let told = bench.refusal(&may_not, "demo/a/main hi").await;
        assert_eq!(told, "delivery-failed");
    }
}

async fn numbers_are_never_given_again<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let mut numbers = HashSet::new();
    let mut given = |handle: &ComponentHandle| {
        let new = numbers.insert(handle.handle_id());
        assert!(new, "{handle} has a number that was given before");
    };
    let kept = bench.load(ECHO, config()).await;
    given(&kept);
    for _ in 0..5 {
        bench.not_loaded(INIT_FAILS, config()).await;
        let handle = bench.load(COUNTER, config()).await;
        given(&handle);
        bench.restart(&handle).await;
        bench.unload(&handle).await;
    }
    assert_eq!(bench.ask(&kept, "hi").await, "hi");
}

async fn numbers_are_unique_among_loads_at_once<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let mut loads = JoinSet::new();
    for n in 0..24 {
        let bench = bench.clone();
        loads.spawn(async move {
            if n % 3 == 0 {
                bench.not_loaded(TRUNCATED, config()).await;
            }
            bench.load(MINIMAL, config()).await.handle_id()
        });
    }
    let numbers: HashSet<u64> = loads.join_all().await.into_iter().collect();
    assert_eq!(numbers.len(), 24, "different numbers");
}

async fn a_component_without_a_lifecycle_is_loaded<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    for fixture in [MINIMAL, HELLO, OTHER_WORLD] {
        let handle = bench.load(fixture, config()).await;
        bench.restart(&handle).await;
        bench.unload(&handle).await;
        bench.is_unknown(&handle).await;
    }
}

/// What loads badly, each in a way of its own.
const BAD: [Fixture; 10] = [
    TRUNCATED,
    CORE_MODULE,
    MISSING_EXPORT,
    WRONG_TYPE,
    UNKNOWN_IMPORT,
    BIG_INITIAL_MEMORY,
    THOUSAND_MODULES,
    NESTED_INSTANCES,
    INIT_FAILS,
    TRAP_IN_INITIALIZE,
];

async fn a_load_that_fails_leaves_nothing_behind<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let alone = Arc::strong_count(&router);
    for fixture in BAD {
        bench.not_loaded(fixture, config()).await;
        until(async || Arc::strong_count(&router) == alone).await;
    }
    // Near which a number would be that was given to one of them.
    let next = bench.load(ECHO, config()).await;
    for fixture in BAD {
        bench.knows_nobody_near(&next, &id_of(fixture)).await;
    }
}

async fn a_load_that_is_dropped_leaves_nothing_behind<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let before = bench.load(ECHO, config()).await;
    let alone = Arc::strong_count(&router);
    // Dropped after so many polls: somewhere between the first step and the last.
    for polls in 0..20 {
        let day = timed(ResourceLimits::MAX_TIMEOUT);
        let mut load = Box::pin(bench.try_load(SPIN_IN_INITIALIZE, day));
        for _ in 0..polls {
            begin("a load that never ends", load.as_mut()).await;
            yield_now().await;
        }
        drop(load);
        until(async || Arc::strong_count(&router) == alone).await;
    }
    for polls in 0..20 {
        let mut load = Box::pin(bench.try_load(COUNTER, config()));
        for _ in 0..polls {
            if let Some(loaded) = poll_once(load.as_mut()).await {
                match loaded {
                    Ok(handle) => bench.unload(&handle).await,
                    Err(error) => panic!("{error}"),
                }
                load = Box::pin(bench.try_load(COUNTER, config()));
                break;
            }
            yield_now().await;
        }
        drop(load);
        until(async || Arc::strong_count(&router) == alone).await;
    }
    let after = bench.load(ECHO, config()).await;
    for fixture in [SPIN_IN_INITIALIZE, COUNTER] {
        for near in [&before, &after] {
            bench.knows_nobody_near(near, &id_of(fixture)).await;
        }
    }
}

/// What fails when it is run, and only then.
const FAILS_WHEN_RUN: [Fixture; 4] = [
    INIT_FAILS,
    TRAP_IN_INITIALIZE,
    SPIN_IN_INITIALIZE,
    SPIN_IN_START,
];

async fn preparing_runs_nothing_of_a_component<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::open();
    let bench = lab.bench_with(router.services());
    for fixture in FAILS_WHEN_RUN {
        // Two of them would take all of it.
        let day = timed(ResourceLimits::MAX_TIMEOUT);
        let prepared = timeout(AMPLE, bench.prepare(fixture, day)).await;
        assert!(
            prepared.map(drop).is_ok(),
            "{} was run for {AMPLE:?}",
            fixture.name
        );
    }
    let _prepared = bench.prepare(INIT_SENDS, permitted()).await;
    assert_eq!(router.accepted(), Vec::<String>::new(), "what was sent");
}

async fn preparing_loads_nothing_and_changes_nothing_that_is_loaded<E: Engine + ?Sized>(
    lab: Lab<E>,
) {
    let bench = lab.bench();
    let loaded = bench.load(COUNTER, config()).await;
    assert_eq!(bench.ask(&loaded, "").await, "1");
    let prepared = bench.prepare(COUNTER, config()).await;
    bench.knows_nobody_near(&loaded, &id_of(COUNTER)).await;
    assert_eq!(bench.ask(&loaded, "").await, "2", "while it is prepared");
    drop(prepared);
    assert_eq!(bench.ask(&loaded, "").await, "3", "afterwards");
}

async fn what_is_prepared_is_loaded_under_any_id_and_configuration<E: Engine + ?Sized>(
    lab: Lab<E>,
) {
    let bench = lab.bench();
    let prepared = bench.prepare(GROW_SURVIVES, with_memory(2 * MIB)).await;
    let small = with_memory(512 * KIB);
    let other = bench
        .load_as(&id("demo/other/main"), GROW_SURVIVES, small)
        .await;
    let large = bench.load(GROW_SURVIVES, with_memory(MIB)).await;
    for (handle, pages) in [(&other, "8"), (&large, "16")] {
        assert_eq!(bench.ask(handle, "").await, pages, "pages of {handle}");
    }
    drop(prepared);
    let later = bench.load(GROW_SURVIVES, with_memory(MIB)).await;
    for handle in [&later, &large] {
        assert_eq!(bench.ask(handle, "").await, "16", "pages of {handle}");
    }
}

async fn what_was_prepared_is_loaded_for_its_bytes_only<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let id = id("demo/main/main");
    let prepared = bench
        .engine
        .prepare_component(&id, bytes(ECHO), &config())
        .await;
    assert!(prepared.is_ok(), "{prepared:?}");
    let counter = bench.load_as(&id, COUNTER, config()).await;
    assert_eq!(bench.ask(&counter, "hi").await, "1");
    let echo = bench.load_as(&id, ECHO, config()).await;
    assert_eq!(bench.ask(&echo, "hi").await, "hi");
    let truncated = bench.engine.load_component(&id, bytes(TRUNCATED), config());
    let outcome = truncated.await;
    assert!(
        matches!(&outcome, Err(WasmError::InvalidComponent { component, .. }) if *component == id),
        "{outcome:?}"
    );
}

async fn preparing_refuses_with_the_words_of_loading<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let too_much = with_memory(64 * MIB);
    let bad = BAD.map(|fixture| (fixture, config()));
    for (fixture, config) in bad.into_iter().chain([(ECHO, too_much)]) {
        // Whose name is not in what the next one is told.
        let other = id("demo/other/main");
        let preparing = bench
            .engine
            .prepare_component(&other, bytes(fixture), &config);
        drop(preparing.await);
        let loading = bench.not_loaded(fixture, config.clone()).await;
        let id = id_of(fixture);
        let preparing = bench.engine.prepare_component(&id, bytes(fixture), &config);
        // Not all is known before it is run.
        if let Err(preparing) = preparing.await {
            assert_eq!(
                preparing.to_string(),
                loading.to_string(),
                "preparing {} and loading it",
                fixture.name
            );
            assert_eq!(preparing.component(), Some(&id), "who is refused");
        }
    }
}

async fn what_is_refused_with_one_configuration_is_loaded_with_another<E: Engine + ?Sized>(
    lab: Lab<E>,
) {
    let bench = lab.bench();
    let (id, too_much) = (id_of(ECHO), with_memory(64 * MIB));
    for _ in 0..2 {
        let refused = bench.engine.prepare_component(&id, bytes(ECHO), &too_much);
        // Or found out when it is loaded.
        drop(refused.await);
        bench.not_loaded(ECHO, too_much.clone()).await;
        let echo = bench.load(ECHO, config()).await;
        assert_eq!(bench.ask(&echo, "hi").await, "hi");
    }
}

async fn calls_and_loads_go_on_while_a_component_is_prepared<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let counter = bench.load(COUNTER, config()).await;
    let mut preparing = Box::pin(bench.prepare(ECHO, config()));
    // Some engines are done at once.
    let mut prepared = poll_once(preparing.as_mut()).await;
    assert_eq!(bench.ask(&counter, "").await, "1");
    let other = bench.load(SELF_ID, config()).await;
    assert_eq!(bench.ask(&other, "").await, "demo/self-id/main");
    if prepared.is_none() {
        prepared = Some(preparing.await);
    }
    let echo = bench.load(ECHO, config()).await;
    assert_eq!(bench.ask(&echo, "hi").await, "hi");
    drop(prepared);
}

async fn a_preparation_that_is_dropped_leaves_nothing_behind<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let counter = bench.load(COUNTER, config()).await;
    let alone = Arc::strong_count(&router);
    // Dropped after so many polls: somewhere between the first step and the last.
    for polls in 0..20 {
        let mut preparing = Box::pin(bench.prepare(ECHO, config()));
        for _ in 0..polls {
            if poll_once(preparing.as_mut()).await.is_some() {
                break;
            }
            yield_now().await;
        }
        drop(preparing);
        until(async || Arc::strong_count(&router) == alone).await;
    }
    let _prepared = bench.prepare(ECHO, config()).await;
    let echo = bench.load(ECHO, config()).await;
    assert_eq!(bench.ask(&echo, "hi").await, "hi");
    assert_eq!(bench.ask(&counter, "").await, "1");
}

async fn defect<E: Engine + ?Sized>(lab: &Lab<E>, bytes: &'static [u8]) -> Defect {
    let bench = lab.bench();
    let id = id("demo/bytes/main");
    let bytes = Bytes::from_static(bytes);
    let loaded = bench.engine.load_component(&id, bytes, config()).await;
    match loaded {
        Err(WasmError::InvalidComponent {
            component, defect, ..
        }) => {
            assert_eq!(component, id, "which component is invalid");
            defect
        }
        Err(error) => panic!("the component should be invalid, but: {error}"),
        Ok(handle) => panic!("what is no component was loaded as {handle}"),
    }
}

async fn bytes_that_are_no_component_are_told_apart<E: Engine + ?Sized>(lab: Lab<E>) {
    assert_eq!(defect(&lab, b"").await, Defect::Empty);
    assert_eq!(defect(&lab, b"(component)").await, Defect::Text);
    let script = Defect::NotWasm {
        first_bytes: b"#!/bin/sh".to_vec(),
    };
    assert_eq!(defect(&lab, b"#!/bin/sh").await, script);
    assert_eq!(defect(&lab, b"\0asm\x01\0\0\0").await, Defect::CoreModule);
    let future = Defect::UnknownVersion {
        version: [0x0e, 0, 1, 0],
    };
    assert_eq!(defect(&lab, b"\0asm\x0e\0\x01\0").await, future);
}

async fn a_truncated_component_is_malformed<E: Engine + ?Sized>(lab: Lab<E>) {
    let defect = defect(&lab, TRUNCATED.wasm).await;
    assert!(
        matches!(&defect, Defect::Malformed { reason } if !reason.is_empty()),
        "{defect:?}"
    );
}

async fn a_core_module_is_no_component<E: Engine + ?Sized>(lab: Lab<E>) {
    let defect = defect(&lab, CORE_MODULE.wasm).await;
    assert_eq!(defect, Defect::CoreModule);
}

async fn an_incomplete_lifecycle_is_named<E: Engine + ?Sized>(lab: Lab<E>) {
    let defect = defect(&lab, MISSING_EXPORT.wasm).await;
    let missing = vec!["handle-callback".to_owned()];
    assert_eq!(defect, Defect::IncompleteLifecycle { missing });
}

async fn an_export_of_another_type_is_named<E: Engine + ?Sized>(lab: Lab<E>) {
    let defect = defect(&lab, WRONG_TYPE.wasm).await;
    assert!(
        matches!(&defect, Defect::WrongExportType { export, .. } if export == "handle-message"),
        "{defect:?}"
    );
}

async fn an_import_nobody_provides_is_named<E: Engine + ?Sized>(lab: Lab<E>) {
    let error = lab.bench().not_loaded(UNKNOWN_IMPORT, config()).await;
    assert!(
        matches!(&error, WasmError::ImportNotFound { component, import, .. }
            if *component == id_of(UNKNOWN_IMPORT) && import.contains("acme:db/query@1.0.0")),
        "{error}"
    );
}

async fn too_many_instances_are_too_complex<E: Engine + ?Sized>(lab: Lab<E>) {
    for (fixture, instances) in [(THOUSAND_MODULES, 1_000), (NESTED_INSTANCES, 1 << 30)] {
        let defect = defect(&lab, fixture.wasm).await;
        assert!(
            matches!(&defect, Defect::TooComplex { found, limit, .. }
                if *found == instances && *limit < instances),
            "{}: {defect:?}",
            fixture.name
        );
    }
}

async fn an_initialize_that_refuses_is_quoted<E: Engine + ?Sized>(lab: Lab<E>) {
    let error = lab.bench().not_loaded(INIT_FAILS, config()).await;
    assert!(
        matches!(&error, WasmError::InitializationFailed {
            error: LifecycleError::InitializationFailed(text), ..
        } if text == "no configuration"),
        "{error}"
    );
}

async fn an_initialize_that_traps_fails_the_load<E: Engine + ?Sized>(lab: Lab<E>) {
    let error = lab.bench().not_loaded(TRAP_IN_INITIALIZE, config()).await;
    assert!(
        matches!(&error, WasmError::Trapped { trap: Trap::Unreachable, export, component, .. }
            if &**export == "initialize" && *component == id_of(TRAP_IN_INITIALIZE)),
        "{error}"
    );
}

async fn every_refusal_is_a_load_error_of_the_component<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let mut refused: Vec<(ComponentId, WasmError)> = Vec::new();
    for fixture in BAD {
        let error = bench.not_loaded(fixture, config()).await;
        if !matches!(fixture.name, "trap-in-initialize" | "big-initial-memory") {
            assert!(error.is_load_error(), "{}: {error}", fixture.name);
        }
        refused.push((id_of(fixture), error));
    }
    let above = with_memory(5 * MIB);
    refused.push((id_of(ECHO), bench.not_loaded(ECHO, above).await));
    for (id, error) in refused {
        assert_eq!(error.component(), Some(&id), "of whom it is said: {error}");
    }
}

async fn an_initial_memory_over_the_limit_is_refused_with_its_size<E: Engine + ?Sized>(
    lab: Lab<E>,
) {
    let error = lab.bench().not_loaded(BIG_INITIAL_MEMORY, config()).await;
    exceeded(&error, Resource::Memory, 2 * MIB, "instantiate");
    assert!(
        matches!(&error, WasmError::ResourceLimitExceeded { requested: Some(requested), .. }
            if *requested == 64 * MIB),
        "{error:?}"
    );
    let text = error.to_string();
    assert!(text.contains("`memory` in [resources]"), "{text}");
}

async fn of_several_things_that_are_wrong_any_one_is_told<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let too_much = with_memory(64 * MIB);
    for fixture in [TRUNCATED, CORE_MODULE, MISSING_EXPORT, WRONG_TYPE] {
        let error = bench.not_loaded(fixture, too_much.clone()).await;
        assert!(
            matches!(
                error,
                WasmError::InvalidLimits { .. } | WasmError::InvalidComponent { .. }
            ),
            "{} with a limit of 64 MiB: {error}",
            fixture.name
        );
        assert_eq!(error.component(), Some(&id_of(fixture)), "{error}");
    }
}

#[track_caller]
fn above_ceiling(error: &WasmError, found: u64, ceiling: u64) {
    assert!(
        matches!(error, WasmError::InvalidLimits { source, .. }
            if *source == LimitsError::Memory { found, ceiling }),
        "{found} bytes are above a ceiling of {ceiling}, but: {error}"
    );
}

async fn memory_limits_reach_up_to_the_ceiling<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    for memory_bytes in [512 * KIB, 4 * MIB] {
        let handle = bench.load(ECHO, with_memory(memory_bytes)).await;
        assert_eq!(bench.ask(&handle, "hi").await, "hi");
    }
    for memory_bytes in [4 * MIB + 1, ResourceLimits::MAX_MEMORY_BYTES] {
        let error = bench.not_loaded(ECHO, with_memory(memory_bytes)).await;
        above_ceiling(&error, memory_bytes, 4 * MIB);
    }
}

async fn a_raised_ceiling_is_granted<E: Engine + ?Sized>(lab: Lab<E>) {
    let settings = Settings {
        memory_ceiling_bytes: 80 * MIB,
    };
    let bench = lab.bench_of(HostServices::default(), settings);
    let big = bench.load(BIG_INITIAL_MEMORY, with_memory(65 * MIB)).await;
    let message = message(&big, "");
    let reply = bench.engine.call_handle_message(&big, message).await;
    assert!(matches!(reply, Ok(None)), "{reply:?}");
    assert_eq!(bench.usage(&big).await.memory_bytes, 64 * MIB);
    let error = bench.not_loaded(ECHO, with_memory(81 * MIB)).await;
    above_ceiling(&error, 81 * MIB, 80 * MIB);
}

async fn stopped_at_its_deadline<E: Engine + ?Sized>(lab: &Lab<E>, fixture: Fixture, export: &str) {
    let config = timed(SHORT);
    let error = lab.bench().not_loaded(fixture, config.clone()).await;
    timed_out(&error, &config, export);
}

async fn a_start_function_that_spins_is_stopped_at_its_deadline<E: Engine + ?Sized>(lab: Lab<E>) {
    stopped_at_its_deadline(&lab, SPIN_IN_START, "instantiate").await;
}

async fn an_initialize_that_spins_is_stopped_at_its_deadline<E: Engine + ?Sized>(lab: Lab<E>) {
    stopped_at_its_deadline(&lab, SPIN_IN_INITIALIZE, "initialize").await;
}

async fn a_start_function_that_spins_runs_out_of_fuel<E: Engine + ?Sized>(lab: Lab<E>) {
    let error = lab
        .bench()
        .not_loaded(SPIN_IN_START, fuelled(300_000))
        .await;
    exceeded(&error, Resource::Fuel, 300_000, "instantiate");
}

async fn an_initialize_that_spins_runs_out_of_fuel<E: Engine + ?Sized>(lab: Lab<E>) {
    let error = lab
        .bench()
        .not_loaded(SPIN_IN_INITIALIZE, fuelled(300_000))
        .await;
    exceeded(&error, Resource::Fuel, 300_000, "initialize");
}
