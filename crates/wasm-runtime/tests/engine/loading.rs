use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;

use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentMetadata, Defect, HealthStatus, HostServices,
    LifecycleError, LimitsError, MessagingError, Resource, ResourceLimits, Trap, WasmError,
};
use wasm_fixtures::{
    ALL, BIG_INITIAL_MEMORY, Behaviour, CORE_MODULE, COUNTER, ECHO, Fixture, HELLO, INIT_FAILS,
    INIT_ONCE, INIT_SENDS, Lifecycle, METADATA, MINIMAL, MISSING_EXPORT, OTHER_WORLD, OnHealth,
    OnInitialize, OnMetadata, OnShutdown, Refusal, SPIN_IN_START, THOUSAND_MODULES,
    TRAP_IN_INITIALIZE, TRUNCATED, UNKNOWN_IMPORT, WRONG_TYPE,
};
use wasm_runtime::{EngineConfig, WasmtimeEngine};
use wasm_testkit::RecordingRouter;

use crate::support::{
    GatedRouter, HANG, XorShift, ask, config, engine, engine_with, fuelled, id, id_of, load,
    message, permitted, send, try_load, with_memory, within,
};

/// Loading stops a guest that spins by its fuel.
const FUEL: u64 = 300_000;

/// Under limits that are small in every way.
async fn load_bytes(
    engine: &WasmtimeEngine,
    bytes: impl Into<Bytes>,
) -> Result<ComponentHandle, WasmError> {
    let id = id("demo/bytes/main");
    let limits = ResourceLimits::new(2 << 20, Duration::from_millis(500), Some(FUEL));
    let config = ComponentConfig::new(limits.unwrap());
    within(engine.load_component(&id, bytes.into(), config)).await
}

fn defect(outcome: Result<ComponentHandle, WasmError>) -> Defect {
    match outcome {
        Err(WasmError::InvalidComponent { defect, .. }) => defect,
        other => panic!("{other:?}"),
    }
}

fn is_refused_as(error: &WasmError, refusal: Refusal) -> bool {
    match (refusal, error) {
        (Refusal::Malformed, WasmError::InvalidComponent { defect, .. }) => {
            matches!(defect, Defect::Malformed { reason } if !reason.is_empty())
        }
        (Refusal::CoreModule, WasmError::InvalidComponent { defect, .. }) => {
            *defect == Defect::CoreModule
        }
        (Refusal::IncompleteLifecycle { missing }, WasmError::InvalidComponent { defect, .. }) => {
            *defect
                == Defect::IncompleteLifecycle {
                    missing: vec![missing.to_owned()],
                }
        }
        (Refusal::WrongType { export }, WasmError::InvalidComponent { defect, .. }) => {
            matches!(defect, Defect::WrongExportType { export: found, reason }
                if found == export && !reason.is_empty())
        }
        (Refusal::UnknownImport { interface, .. }, WasmError::ImportNotFound { import, .. }) => {
            import == interface
        }
        (Refusal::TooManyInstances { instances }, WasmError::InvalidComponent { defect, .. }) => {
            matches!(defect, Defect::TooComplex { found, limit, .. }
                if *found == u64::from(instances) && limit < found)
        }
        _ => false,
    }
}

fn is_initialized_as(error: &WasmError, initialize: OnInitialize) -> bool {
    match (initialize, error) {
        (OnInitialize::Fails(text), WasmError::InitializationFailed { error, .. }) => {
            *error == LifecycleError::InitializationFailed(text.to_owned())
        }
        // What they need was not granted.
        (OnInitialize::FailsAgain(_), WasmError::InitializationFailed { error, .. }) => {
            *error == LifecycleError::InitializationFailed("io-error".to_owned())
        }
        (OnInitialize::Sends, WasmError::InitializationFailed { error, .. }) => {
            *error == LifecycleError::InitializationFailed("delivery-failed".to_owned())
        }
        (OnInitialize::Trap, WasmError::Trapped { trap, export, .. }) => {
            (trap, &**export) == (&Trap::Unreachable, "initialize")
        }
        (
            OnInitialize::Spin | OnInitialize::SpinBefore,
            WasmError::ResourceLimitExceeded {
                resource, export, ..
            },
        ) => {
            let before = initialize == OnInitialize::SpinBefore;
            let stopped_in = if before { "instantiate" } else { "initialize" };
            (*resource, &**export) == (Resource::Fuel, stopped_in)
        }
        _ => false,
    }
}

/// What can be said of any loaded fixture.
async fn behaves(engine: &WasmtimeEngine, handle: &ComponentHandle, lifecycle: Lifecycle) {
    let usage = engine.usage(handle).unwrap();
    // Calls of some host functions go through a table of a few elements.
    let table_bytes = usage.memory_bytes - lifecycle.initial_memory_bytes;
    assert!(table_bytes < 1024, "{handle}: {usage:?}");
    let health = engine.health(handle).await;
    match lifecycle.health {
        OnHealth::Healthy | OnHealth::AsTold | OnHealth::AsStored => {
            assert_eq!(health.unwrap(), HealthStatus::Healthy, "{handle}");
        }
        OnHealth::Spin => {
            assert!(health.unwrap_err().is_limit_error(), "{handle}");
            engine.restart_component(handle).await.unwrap();
        }
    }
    let metadata = engine.metadata(handle).await;
    match lifecycle.metadata {
        OnMetadata::Usual | OnMetadata::AsStored => {
            let expected = ComponentMetadata {
                name: METADATA.name.to_owned(),
                version: METADATA.version.to_owned(),
                description: METADATA.description.to_owned(),
                author: METADATA.author.to_owned(),
                license: METADATA.license.to_owned(),
                supported_operations: METADATA
                    .supported_operations
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
                stateful: lifecycle.stateful,
            };
            assert_eq!(metadata.unwrap(), expected, "{handle}");
        }
        OnMetadata::BadUtf8 => {
            let error = metadata.unwrap_err();
            assert!(
                matches!(&error, WasmError::Trapped { trap: Trap::RefusedByHost(why), .. }
                    if why.contains("utf-8")),
                "{error}"
            );
            engine.restart_component(handle).await.unwrap();
        }
    }
    let shutdown = engine.unload_component(handle).await;
    match lifecycle.shutdown {
        OnShutdown::Ok | OnShutdown::Logs | OnShutdown::AsStored => shutdown.unwrap(),
        OnShutdown::Fails(text) => not_shut_down(&shutdown, text),
        OnShutdown::Requests => not_shut_down(&shutdown, "invalid-message"),
        // None of these is permitted.
        OnShutdown::Stores => not_shut_down(&shutdown, "io-error"),
        OnShutdown::Sends | OnShutdown::Broadcasts => not_shut_down(&shutdown, "delivery-failed"),
        OnShutdown::Spends(words) => {
            not_shut_down(&shutdown, &"d".repeat(words.split(' ').count()));
        }
        OnShutdown::Trap => assert!(
            matches!(shutdown, Err(WasmError::Trapped { trap: Trap::Unreachable, export, .. })
                if &*export == "shutdown")
        ),
        OnShutdown::Spin => assert!(
            matches!(shutdown, Err(WasmError::ResourceLimitExceeded { resource: Resource::Fuel, export, .. })
                if &*export == "shutdown")
        ),
    }
}

#[track_caller]
fn not_shut_down(outcome: &Result<(), WasmError>, text: &str) {
    assert!(
        matches!(outcome, Err(WasmError::ShutdownFailed {
            error: LifecycleError::ShutdownFailed(said), ..
        }) if said == text),
        "{outcome:?}"
    );
}

async fn loads_as_told(engine: &WasmtimeEngine, fixture: Fixture) {
    let outcome = within(try_load(engine, fixture, fuelled(FUEL))).await;
    let limit = fuelled(FUEL).limits.memory_bytes();
    match (fixture.behaviour, outcome) {
        (Behaviour::Refused(refusal), Err(error)) => {
            assert!(is_refused_as(&error, refusal), "{error}");
            assert!(error.is_load_error() && !error.fails_instance(), "{error}");
            assert_eq!(error.component(), Some(&id_of(fixture)));
        }
        (Behaviour::Exports(exports), Ok(handle)) => {
            let mut found = engine.exports(&handle).unwrap();
            found.sort();
            assert_eq!(found, exports, "{}", fixture.name);
            let error = send(engine, &handle, "hi").await.unwrap_err();
            assert!(
                matches!(&error, WasmError::ExportNotFound { export, .. }
                    if export.ends_with("component-lifecycle@1.0.0#handle-message")),
                "{error}"
            );
            engine.unload_component(&handle).await.unwrap();
        }
        (Behaviour::Component(lifecycle), Err(error)) if lifecycle.initial_memory_bytes > limit => {
            assert!(
                matches!(&error, WasmError::ResourceLimitExceeded {
                    resource: Resource::Memory, requested: Some(requested), export, ..
                } if *requested == lifecycle.initial_memory_bytes && &**export == "instantiate"),
                "{error}"
            );
            assert!(
                error.to_string().contains("`memory` in [resources]"),
                "{error}"
            );
        }
        (Behaviour::Component(lifecycle), Err(error)) => {
            assert!(is_initialized_as(&error, lifecycle.initialize), "{error}");
        }
        (Behaviour::Component(lifecycle), Ok(handle)) => {
            let initializes = [OnInitialize::Ok, OnInitialize::AsStored];
            assert!(
                initializes.contains(&lifecycle.initialize),
                "{}",
                fixture.name
            );
            behaves(engine, &handle, lifecycle).await;
        }
        (behaviour, outcome) => panic!("{}: {behaviour:?}, {outcome:?}", fixture.name),
    }
}

#[tokio::test]
async fn every_fixture_loads_or_is_refused_as_told_and_leaves_nothing_behind() {
    let router = GatedRouter::new();
    let engine = engine_with(router.services());
    let alone = Arc::strong_count(&router);
    for fixture in ALL {
        loads_as_told(&engine, *fixture).await;
        assert_eq!(Arc::strong_count(&router), alone, "{}", fixture.name);
        for number in 0..=2 * ALL.len() as u64 {
            let guessed = ComponentHandle::new(id_of(*fixture), number);
            let error = engine.usage(&guessed).unwrap_err();
            assert!(
                matches!(error, WasmError::ComponentNotFound { .. }),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn what_initialize_is_granted_lets_it_load() {
    let router = Arc::new(RecordingRouter::new());
    let engine = engine_with(HostServices::default().with_router(router.clone()));
    for fixture in [INIT_ONCE, INIT_SENDS] {
        let Behaviour::Component(lifecycle) = fixture.behaviour else {
            panic!("{}", fixture.name);
        };
        let handle = load(&engine, fixture, permitted()).await;
        behaves(&engine, &handle, lifecycle).await;
    }
    router.fail_next(MessagingError::QueueFull);
    for (fixture, initialize) in [
        (INIT_ONCE, OnInitialize::Fails("begun before")),
        (INIT_SENDS, OnInitialize::Fails("queue-full")),
    ] {
        let error = try_load(&engine, fixture, permitted()).await.unwrap_err();
        assert!(is_initialized_as(&error, initialize), "{error}");
    }
}

#[tokio::test]
async fn each_refusal_says_what_is_at_fault_in_words() {
    let engine = engine();
    for (fixture, words) in [
        (
            CORE_MODULE,
            "it is a core module; only components are accepted",
        ),
        (
            TRUNCATED,
            "demo/truncated/main is not a component that can be run",
        ),
        (
            MISSING_EXPORT,
            "`component-lifecycle` without `handle-callback`",
        ),
        (WRONG_TYPE, "its export `handle-message` has another type"),
        (
            UNKNOWN_IMPORT,
            "imports `acme:db/query@1.0.0`, which this host does not provide",
        ),
        (BIG_INITIAL_MEMORY, "asked for 64MiB of at most 2MiB"),
        (BIG_INITIAL_MEMORY, "(`memory` in [resources])"),
        (THOUSAND_MODULES, "it needs more than "),
        (
            INIT_FAILS,
            "did not initialize: initialization-failed \"no configuration\"",
        ),
        (
            TRAP_IN_INITIALIZE,
            "trapped in `initialize`: `unreachable` was executed",
        ),
        (SPIN_IN_START, "was stopped in `instantiate`: out of fuel"),
        (SPIN_IN_START, "(`fuel` in [resources])"),
    ] {
        let outcome = within(try_load(&engine, fixture, fuelled(FUEL))).await;
        let text = outcome.unwrap_err().to_string();
        assert!(text.contains(words), "{text}");
    }
}

#[tokio::test]
async fn preparing_finds_what_loading_would_without_running_anything() {
    let engine = engine();
    for fixture in ALL {
        let bytes = Bytes::from_static(fixture.wasm);
        let outcome = engine
            .prepare_component(&id_of(*fixture), bytes, &fuelled(FUEL))
            .await
            .map(drop);
        match fixture.behaviour {
            Behaviour::Refused(refusal) => {
                let error = outcome.unwrap_err();
                assert!(is_refused_as(&error, refusal), "{error}");
            }
            _ => outcome.unwrap(),
        }
    }
}

#[tokio::test]
async fn the_same_id_and_bytes_loaded_twice_are_two_instances() {
    let engine = engine();
    let one = load(&engine, COUNTER, config()).await;
    assert_eq!(ask(&engine, &one, "").await, "1");
    let two = load(&engine, COUNTER, config()).await;
    assert_eq!(ask(&engine, &two, "").await, "1");
    engine.unload_component(&one).await.unwrap();
    assert_eq!(ask(&engine, &two, "").await, "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn numbers_are_unique_and_never_given_again() {
    let engine = Arc::new(engine());
    let mut numbers = HashSet::new();
    for _ in 0..20 {
        let mut loads = tokio::task::JoinSet::new();
        for n in 0..10 {
            let engine = Arc::clone(&engine);
            loads.spawn(async move {
                if n % 3 == 0 {
                    let failed = try_load(&engine, INIT_FAILS, config()).await;
                    assert!(matches!(
                        failed,
                        Err(WasmError::InitializationFailed { .. })
                    ));
                }
                load(&engine, MINIMAL, config()).await
            });
        }
        for handle in within(loads.join_all()).await {
            assert!(numbers.insert(handle.handle_id()), "{handle}");
            engine.unload_component(&handle).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_component_without_exports_loads() {
    let engine = engine();
    let minimal = load(&engine, MINIMAL, config()).await;
    assert_eq!(engine.exports(&minimal).unwrap(), [""; 0]);
    let error = engine.call_export(&minimal, "run", &[]).await.unwrap_err();
    assert!(
        matches!(&error, WasmError::ExportNotFound { export, .. } if &**export == "run"),
        "{error}"
    );
    assert_eq!(engine.usage(&minimal).unwrap().memory_bytes, 0);
    for fixture in [HELLO, OTHER_WORLD] {
        let handle = load(&engine, fixture, config()).await;
        engine.unload_component(&handle).await.unwrap();
    }
}

#[tokio::test]
async fn memory_above_the_ceiling_is_refused_until_the_ceiling_is_raised() {
    let engine = engine();
    let five = with_memory(5 << 20);
    let error = try_load(&engine, ECHO, five.clone()).await.unwrap_err();
    let expected = LimitsError::Memory {
        found: 5 << 20,
        ceiling: 4 << 20,
    };
    assert!(
        matches!(&error, WasmError::InvalidLimits { source, component }
            if *source == expected && *component == id_of(ECHO)),
        "{error}"
    );
    assert!(error.is_load_error(), "{error}");
    assert!(
        error.to_string().contains("`memory` in [resources]"),
        "{error}"
    );
    load(&engine, ECHO, with_memory(4 << 20)).await;

    let raised = EngineConfig::default().with_memory_ceiling_bytes(128 << 20);
    let engine = WasmtimeEngine::new(raised, Default::default()).unwrap();
    load(&engine, ECHO, five).await;
    let big = load(&engine, BIG_INITIAL_MEMORY, with_memory(65 << 20)).await;
    assert_eq!(send(&engine, &big, "").await.unwrap(), None);
    assert_eq!(engine.usage(&big).unwrap().memory_bytes, 64 << 20);
    let error = try_load(&engine, ECHO, with_memory(129 << 20)).await;
    let error = error.unwrap_err();
    assert!(matches!(error, WasmError::InvalidLimits { .. }), "{error}");
}

#[test]
fn absurd_limits_cannot_even_be_written_down() {
    for bytes in [0, 1, (512 << 10) - 1, 1 << 40, u64::MAX] {
        let limits = ResourceLimits::new(bytes, HANG, Some(1));
        assert!(
            matches!(limits, Err(LimitsError::Memory { found, .. }) if found == bytes),
            "{limits:?}"
        );
    }
}

#[tokio::test]
async fn bytes_that_are_no_component_are_told_apart() {
    let engine = engine();
    assert_eq!(defect(load_bytes(&engine, "").await), Defect::Empty);
    let text = load_bytes(&engine, "(component)").await;
    assert_eq!(defect(text), Defect::Text);
    let prose = load_bytes(&engine, "Dear Sir or Madam").await;
    let first_bytes = b"Dear Sir or Mada".to_vec();
    assert_eq!(defect(prose), Defect::NotWasm { first_bytes });
    let zeros = load_bytes(&engine, vec![0; 1 << 20]).await;
    let first_bytes = vec![0; 16];
    assert_eq!(defect(zeros), Defect::NotWasm { first_bytes });
    let version = load_bytes(&engine, &b"\0asm\x09\0\x01\0"[..]).await;
    let found = [9, 0, 1, 0];
    assert_eq!(defect(version), Defect::UnknownVersion { version: found });
    // The empty component is one all the same.
    let empty = load_bytes(&engine, &b"\0asm\x0d\0\x01\0"[..]).await;
    assert_eq!(engine.exports(&empty.unwrap()).unwrap(), [""; 0]);
}

#[tokio::test]
async fn bytes_that_are_too_many_are_not_parsed() {
    let engine = engine();
    let zeros = load_bytes(&engine, vec![0; 200 << 20]).await;
    let too_large = Defect::TooLarge {
        bytes: 200 << 20,
        limit: 32 << 20,
    };
    assert_eq!(defect(zeros), too_large);

    let length = ECHO.wasm.len() as u64;
    for (limit, fits) in [(length - 1, false), (length, true)] {
        let config = EngineConfig::default().with_max_component_bytes(limit);
        let engine = WasmtimeEngine::new(config, Default::default()).unwrap();
        let outcome = load_bytes(&engine, ECHO.wasm).await;
        if fits {
            assert_eq!(ask(&engine, &outcome.unwrap(), "hi").await, "hi");
        } else {
            let bytes = length;
            assert_eq!(defect(outcome), Defect::TooLarge { bytes, limit });
        }
    }
}

#[tokio::test]
async fn a_component_cut_short_anywhere_is_refused() {
    let engine = engine();
    // No section begins or ends at multiples of it alone.
    for length in (1..ECHO.wasm.len()).step_by(5) {
        match load_bytes(&engine, &ECHO.wasm[..length]).await {
            Err(WasmError::InvalidComponent { defect, .. }) => {
                assert!(
                    matches!(defect, Defect::Malformed { .. }),
                    "{length}: {defect}"
                );
            }
            // Cut between sections it is a component of less.
            Ok(handle) => {
                assert!(length >= 8, "{length}");
                engine.unload_component(&handle).await.unwrap();
            }
            Err(error) => panic!("{length}: {error}"),
        }
    }
}

#[tokio::test]
async fn a_component_with_any_byte_changed_does_no_harm() {
    let engine = engine();
    let neighbour = load(&engine, COUNTER, config()).await;
    let fixtures: Vec<&Fixture> = ALL.iter().filter(|f| f.wasm.len() < 20_000).collect();
    let mut random = XorShift::new(2_026);
    let mut loaded = 0;
    for _ in 0..400 {
        let mut bytes = fixtures[random.below(fixtures.len())].wasm.to_vec();
        let place = random.below(bytes.len());
        bytes[place] ^= 1 + random.below(255) as u8;
        match load_bytes(&engine, bytes).await {
            Err(error) => assert!(error.is_load_error() || error.fails_instance(), "{error}"),
            Ok(handle) => {
                loaded += 1;
                // Whatever it answers, it answers.
                let call = engine.call_handle_message(&handle, message(&handle, "go"));
                let _ = within(call).await;
                let _ = within(engine.health(&handle)).await;
                let _ = within(engine.metadata(&handle)).await;
                let _ = within(engine.unload_component(&handle)).await;
            }
        }
    }
    assert!(loaded > 0);
    assert_eq!(ask(&engine, &neighbour, "").await, "1");
}

/// Bytes that tell when nobody holds them any more.
struct Watched(Vec<u8>, Arc<AtomicBool>);

impl AsRef<[u8]> for Watched {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.1.store(true, Ordering::Release);
    }
}

fn watched(fixture: Fixture) -> (Bytes, Arc<AtomicBool>) {
    let freed = Arc::new(AtomicBool::new(false));
    let bytes = Bytes::from_owner(Watched(fixture.wasm.to_vec(), freed.clone()));
    (bytes, freed)
}

#[tokio::test]
async fn the_bytes_of_what_failed_to_load_or_was_unloaded_are_freed() {
    let engine = engine();
    for fixture in [TRUNCATED, CORE_MODULE, UNKNOWN_IMPORT, INIT_FAILS, ECHO] {
        let (bytes, freed) = watched(fixture);
        if let Ok(handle) = load_bytes(&engine, bytes).await {
            engine.unload_component(&handle).await.unwrap();
        }
        assert!(freed.load(Ordering::Acquire), "{}", fixture.name);
    }
}

#[tokio::test]
async fn a_handle_of_another_engine_is_not_found() {
    let (here, there) = (engine(), engine());
    let mine = load(&here, ECHO, config()).await;
    let foreign = load(&there, COUNTER, config()).await;
    let error = send(&here, &foreign, "hi").await.unwrap_err();
    assert!(matches!(&error, WasmError::ComponentNotFound { handle } if *handle == foreign));
    here.unload_component(&foreign).await.unwrap();
    assert_eq!(ask(&here, &mine, "hi").await, "hi");
    assert_eq!(ask(&there, &foreign, "").await, "1");
}

/// It is valid, and nothing of it failed to be parsed.
#[tokio::test]
async fn what_cannot_be_compiled_is_told_by_its_cause() {
    let text = r#"(component (component $c) (export "c" (component $c)))"#;
    let loaded = load_bytes(&engine(), wat::parse_str(text).unwrap()).await;
    let Defect::Malformed { reason } = defect(loaded) else {
        panic!("it is a valid component");
    };
    assert!(reason.starts_with("exporting a component"), "{reason}");
}
