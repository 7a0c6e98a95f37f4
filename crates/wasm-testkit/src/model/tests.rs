mod host;

use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::time::sleep;

use wasm_core::{
    Clock, ComponentInfo, CorrelationId, GuestError, LifecycleError, LimitsError, LogLevel,
    MemoryStorage, MessageRouter, MessagingError, Permissions, Timestamp,
};
use wasm_fixtures::{
    BIG_INITIAL_MEMORY, BROADCAST_STORM, BROADCASTER, CALLBACK, CALLBACK_FAILS, CLOCK, COUNTER,
    DIRECTORY, ECHO, ENVELOPE, Fixture, GROW, GROW_FOREVER, GROW_SURVIVES, GUEST_ERROR, HEALTH,
    HELLO, INIT_CONFIG, INIT_ONCE, INIT_SENDS, LOGGER, MANY_MEMORIES, OnHealth, OnInitialize,
    OnMetadata, OnShutdown, PING_PONG_LOOP, RECURSE_FOREVER, RECURSE_THEN_HOSTCALL, SELF_ID,
    SEND_FLOOD, SENDER, SHUTDOWN_FAILS, SLEEP_FOREVER, SLEEPER, SPIN, SPIN_IN_HEALTH,
    SPIN_IN_INITIALIZE, SPIN_IN_POST_RETURN, SPIN_IN_REALLOC, SPIN_IN_SHUTDOWN, SPIN_IN_START,
    STORAGE_FILL, STORE, STORED_COUNTER, TABLE_BOMB, TRAP, TRAP_EVERY_THIRD, TRAP_IN_CALLBACK,
    TRAP_IN_SHUTDOWN, WASI_SLEEP,
};

use super::*;
use crate::{ManualClock, MemoryDirectory, RecordingRouter, RecordingValidator, RouterCall};

const SHORT: Duration = Duration::from_millis(100);
const FUEL: u64 = 300_000;

fn id(text: &str) -> ComponentId {
    text.parse().unwrap()
}

fn engine() -> ModelEngine {
    ModelEngine::new(HostServices::default())
}

fn limited(memory: u64, timeout: Duration, fuel: Option<u64>) -> ComponentConfig {
    ComponentConfig::new(ResourceLimits::new(memory, timeout, fuel).unwrap())
}

fn config() -> ComponentConfig {
    limited(2 << 20, Duration::from_secs(20), Some(100_000_000))
}

fn with_memory(bytes: u64) -> ComponentConfig {
    limited(bytes, Duration::from_secs(20), Some(100_000_000))
}

fn timed() -> ComponentConfig {
    limited(2 << 20, SHORT, None)
}

fn fuelled() -> ComponentConfig {
    limited(2 << 20, Duration::from_secs(20), Some(FUEL))
}

fn permitted() -> ComponentConfig {
    let everyone = || vec!["*/*/*".parse().unwrap()];
    let mut permissions = Permissions::default();
    permissions.send = everyone();
    permissions.request = everyone();
    permissions.broadcast = everyone();
    permissions.storage = Some(64 << 10);
    permissions.log = Some(LogLevel::Trace);
    config().with_permissions(permissions)
}

async fn try_load(
    engine: &ModelEngine,
    fixture: Fixture,
    config: ComponentConfig,
) -> Result<ComponentHandle, WasmError> {
    let id = id(&format!("demo/{}/main", fixture.name));
    engine
        .load_component(&id, Bytes::from_static(fixture.wasm), config)
        .await
}

async fn load(engine: &ModelEngine, fixture: Fixture, config: ComponentConfig) -> ComponentHandle {
    try_load(engine, fixture, config).await.unwrap()
}

fn message(to: &ComponentHandle, payload: impl Into<MessagePayload>) -> ComponentMessage {
    ComponentMessage::new(id("test/sender/main"), to.id().clone(), payload)
}

async fn send(
    engine: &ModelEngine,
    to: &ComponentHandle,
    payload: impl Into<MessagePayload>,
) -> Result<Option<String>, WasmError> {
    let reply = engine.call_handle_message(to, message(to, payload)).await?;
    Ok(reply.map(|reply| String::from_utf8(reply.as_bytes().to_vec()).unwrap()))
}

async fn ask(engine: &ModelEngine, to: &ComponentHandle, payload: &'static str) -> String {
    send(engine, to, payload).await.unwrap().unwrap()
}

async fn usage(engine: &ModelEngine, of: &ComponentHandle) -> ComponentUsage {
    engine.usage(of).await.unwrap()
}

fn is_not_found(error: &WasmError, who: &ComponentHandle) -> bool {
    matches!(error, WasmError::ComponentNotFound { handle } if handle == who)
}

async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Accepts a message when it is let through.
struct GatedRouter {
    gate: Semaphore,
    accepted: Mutex<Vec<String>>,
}

impl GatedRouter {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            gate: Semaphore::new(0),
            accepted: Mutex::default(),
        })
    }

    fn engine(self: &Arc<Self>) -> ModelEngine {
        ModelEngine::new(HostServices::default().with_router(self.clone()))
    }

    fn accepted(&self) -> Vec<String> {
        lock(&self.accepted).clone()
    }
}

#[async_trait]
impl MessageRouter for GatedRouter {
    async fn send(
        &self,
        _: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), MessagingError> {
        self.gate.acquire().await.unwrap().forget();
        let text = String::from_utf8(message.payload.as_bytes().to_vec());
        lock(&self.accepted).push(text.unwrap());
        Ok(())
    }

    async fn request(
        &self,
        from: &ComponentHandle,
        message: ComponentMessage,
        _: Duration,
    ) -> Result<CorrelationId, MessagingError> {
        self.send(from, message).await.map(|()| "c-1".into())
    }

    async fn cancel_request(
        &self,
        _: &ComponentHandle,
        _: &CorrelationId,
    ) -> Result<(), MessagingError> {
        Ok(())
    }
}

fn is_refused_as(error: &WasmError, refusal: Refusal) -> bool {
    let defect = match (refusal, error) {
        (Refusal::UnknownImport { interface, .. }, WasmError::ImportNotFound { import, .. }) => {
            return import == interface;
        }
        (_, WasmError::InvalidComponent { defect, .. }) => defect,
        _ => return false,
    };
    match (refusal, defect) {
        (Refusal::Malformed, Defect::Malformed { .. })
        | (Refusal::CoreModule, Defect::CoreModule) => true,
        (
            Refusal::IncompleteLifecycle { missing },
            Defect::IncompleteLifecycle { missing: found },
        ) => *found == [missing],
        (Refusal::WrongType { export }, Defect::WrongExportType { export: found, .. }) => {
            found == export
        }
        (Refusal::TooManyInstances { instances }, Defect::TooComplex { found, limit, .. }) => {
            *found == u64::from(instances) && limit < found
        }
        _ => false,
    }
}

#[tokio::test]
async fn every_fixture_loads_or_is_refused_as_told() {
    let engine = engine();
    for fixture in ALL {
        let outcome = try_load(&engine, *fixture, fuelled()).await;
        match (fixture.behaviour, outcome) {
            (Behaviour::Refused(refusal), Err(error)) => {
                assert!(is_refused_as(&error, refusal), "{error}");
                assert!(error.is_load_error(), "{error}");
            }
            (Behaviour::Exports(_), Ok(handle)) => {
                let error = send(&engine, &handle, "hi").await.unwrap_err();
                assert!(
                    matches!(&error, WasmError::ExportNotFound { export, .. }
                        if &**export == "airssys:core/component-lifecycle@1.0.0#handle-message"),
                    "{error}"
                );
                engine.restart_component(&handle).await.unwrap();
                let usage = usage(&engine, &handle).await;
                assert_eq!((usage.calls, usage.restarts), (0, 1));
                engine.unload_component(&handle).await.unwrap();
            }
            (Behaviour::Component(lifecycle), Err(error)) => {
                if lifecycle.initial_memory_bytes > 2 << 20 {
                    assert!(
                        matches!(&error, WasmError::ResourceLimitExceeded {
                            resource: Resource::Memory, requested: Some(requested), export, ..
                        } if *requested == lifecycle.initial_memory_bytes
                            && &**export == "instantiate"),
                        "{error}"
                    );
                } else {
                    initialized_as(&error, lifecycle.initialize);
                }
            }
            (Behaviour::Component(lifecycle), Ok(handle)) => {
                behaves(&engine, &handle, lifecycle).await;
            }
            (behaviour, outcome) => panic!("{}: {behaviour:?}, {outcome:?}", fixture.name),
        }
    }
}

#[track_caller]
fn initialized_as(error: &WasmError, initialize: OnInitialize) {
    let as_told = match (initialize, error) {
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
            OnInitialize::Spin,
            WasmError::ResourceLimitExceeded {
                resource, export, ..
            },
        ) => (*resource, &**export) == (Resource::Fuel, "initialize"),
        (
            OnInitialize::SpinBefore,
            WasmError::ResourceLimitExceeded {
                resource, export, ..
            },
        ) => (*resource, &**export) == (Resource::Fuel, "instantiate"),
        _ => false,
    };
    assert!(as_told, "{error}");
}

fn of(fixture: Fixture) -> Lifecycle {
    match fixture.behaviour {
        Behaviour::Component(lifecycle) => lifecycle,
        behaviour => panic!("{behaviour:?}"),
    }
}

async fn behaves(engine: &ModelEngine, handle: &ComponentHandle, lifecycle: Lifecycle) {
    let usage = usage(engine, handle).await;
    assert_eq!(usage.state, ComponentState::Ready);
    let tables = usage.memory_bytes - lifecycle.initial_memory_bytes;
    assert!(tables < 1_024, "{handle}: {usage:?}");
    let health = engine.health(handle).await;
    match lifecycle.health {
        OnHealth::Healthy | OnHealth::AsTold | OnHealth::AsStored => {
            assert_eq!(health.unwrap(), HealthStatus::Healthy);
        }
        OnHealth::Spin => {
            assert!(health.unwrap_err().is_limit_error(), "{handle}");
            engine.restart_component(handle).await.unwrap();
        }
    }
    let metadata = engine.metadata(handle).await;
    match lifecycle.metadata {
        OnMetadata::Usual | OnMetadata::AsStored => {
            let metadata = metadata.unwrap();
            assert_eq!(
                (&*metadata.name, metadata.stateful),
                ("fixture", lifecycle.stateful)
            );
        }
        OnMetadata::BadUtf8 => {
            let error = metadata.unwrap_err();
            assert!(
                matches!(
                    &error,
                    WasmError::Trapped {
                        trap: Trap::RefusedByHost(_),
                        ..
                    }
                ),
                "{error}"
            );
        }
    }
    let shutdown = engine.unload_component(handle).await;
    match (lifecycle.shutdown, shutdown) {
        (OnShutdown::Ok | OnShutdown::Logs | OnShutdown::AsStored, Ok(())) => {}
        (OnShutdown::Fails(text), Err(WasmError::ShutdownFailed { error, .. })) => {
            assert_eq!(error, LifecycleError::ShutdownFailed(text.to_owned()));
        }
        (OnShutdown::Requests, Err(WasmError::ShutdownFailed { error, .. })) => {
            let refused = "invalid-message".to_owned();
            assert_eq!(error, LifecycleError::ShutdownFailed(refused));
        }
        (
            OnShutdown::Sends | OnShutdown::Broadcasts,
            Err(WasmError::ShutdownFailed { error, .. }),
        ) => {
            let not_permitted = "delivery-failed".to_owned();
            assert_eq!(error, LifecycleError::ShutdownFailed(not_permitted));
        }
        (OnShutdown::Stores, Err(WasmError::ShutdownFailed { error, .. })) => {
            let not_permitted = "io-error".to_owned();
            assert_eq!(error, LifecycleError::ShutdownFailed(not_permitted));
        }
        (OnShutdown::Trap, Err(WasmError::Trapped { export, .. })) => {
            assert_eq!(&*export, "shutdown");
        }
        (OnShutdown::Spin, Err(error)) => assert!(error.is_limit_error(), "{error}"),
        (told, outcome) => panic!("{handle}: {told:?}, {outcome:?}"),
    }
}

#[tokio::test]
async fn other_bytes_are_told_apart_by_their_header() {
    let engine = engine().with_max_component_bytes(ECHO.wasm.len() as u64);
    let refused = async |bytes: &[u8]| {
        let bytes = Bytes::copy_from_slice(bytes);
        match engine.load_component(&id("a/b/c"), bytes, config()).await {
            Err(WasmError::InvalidComponent { defect, .. }) => defect,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(b"").await, Defect::Empty);
    assert_eq!(refused(b"(component)").await, Defect::Text);
    let unknown = refused(b"\0asm\x0d\0\x01\0\0").await;
    assert!(matches!(unknown, Defect::Malformed { .. }), "{unknown}");
    let (bytes, limit) = (1 << 20, ECHO.wasm.len() as u64);
    let large = refused(&vec![0; 1 << 20]).await;
    assert_eq!(large, Defect::TooLarge { bytes, limit });
    load(&engine, ECHO, config()).await;
}

#[tokio::test]
async fn the_ceiling_is_the_operators() {
    let error = try_load(&engine(), ECHO, with_memory(5 << 20)).await;
    let expected = LimitsError::Memory {
        found: 5 << 20,
        ceiling: 4 << 20,
    };
    assert!(
        matches!(&error, Err(WasmError::InvalidLimits { source, .. }) if *source == expected),
        "{error:?}"
    );
    let raised = engine().with_memory_ceiling_bytes(128 << 20);
    let big = load(&raised, BIG_INITIAL_MEMORY, with_memory(65 << 20)).await;
    assert_eq!(send(&raised, &big, "").await.unwrap(), None);
    assert_eq!(usage(&raised, &big).await.memory_bytes, 64 << 20);
}

#[tokio::test]
async fn numbers_are_never_given_again() {
    let engine = engine();
    let one = load(&engine, COUNTER, config()).await;
    assert_eq!(ask(&engine, &one, "").await, "1");
    engine.unload_component(&one).await.unwrap();
    let two = load(&engine, COUNTER, config()).await;
    assert_ne!(one, two);
    assert_eq!(ask(&engine, &two, "").await, "1");
    let foreign = ComponentHandle::new(id("a/b/c"), two.handle_id());
    engine.unload_component(&foreign).await.unwrap();
    let error = send(&engine, &foreign, "").await.unwrap_err();
    assert!(is_not_found(&error, &foreign), "{error}");
    assert_eq!(ask(&engine, &two, "").await, "2");
}

#[tokio::test]
async fn what_a_fixture_says_of_itself_and_its_message() {
    let engine = engine();
    let echo = load(&engine, ECHO, config()).await;
    assert_eq!(ask(&engine, &echo, "hi").await, "hi");
    let self_id = load(&engine, SELF_ID, config()).await;
    assert_eq!(ask(&engine, &self_id, "").await, "demo/self-id/main");
    let given = config()
        .with_env("B", "1")
        .with_env("A", "two words")
        .with_config_data("{}");
    let shown = load(&engine, INIT_CONFIG, given).await;
    assert_eq!(ask(&engine, &shown, "env").await, "B=1\nA=two words\n");
    assert_eq!(
        ask(&engine, &shown, "limits").await,
        "2097152 20000 100000000"
    );
    assert_eq!(ask(&engine, &shown, "").await, "{}");
    let envelope = load(&engine, ENVELOPE, config()).await;
    assert_eq!(
        ask(&engine, &envelope, "12345").await,
        "test/sender/main|-|-|0.000000000|-|5"
    );
    let full = message(&envelope, "")
        .with_correlation_id("c-1")
        .with_reply_to(id("a/b/c"))
        .with_message_type("text/plain")
        .with_timestamp(Timestamp {
            seconds: 7,
            nanoseconds: 1_002,
        });
    let reply = engine.call_handle_message(&envelope, full).await.unwrap();
    let shown = "test/sender/main|c-1|a/b/c|7.000001002|text/plain|0";
    assert_eq!(reply, Some(shown.into()));
    let health = load(&engine, HEALTH, config()).await;
    for (told, status) in [
        ("degraded", HealthStatus::Degraded),
        ("unhealthy", HealthStatus::Unhealthy),
        ("?", HealthStatus::Unknown),
        ("healthy", HealthStatus::Healthy),
    ] {
        assert_eq!(send(&engine, &health, told).await.unwrap(), None);
        assert_eq!(engine.health(&health).await.unwrap(), status);
    }
    assert_eq!(usage(&engine, &health).await.calls, 8);
}

#[tokio::test]
async fn a_component_of_ones_own_does_what_its_test_says() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let watched = Arc::clone(&seen);
    let own = id("demo/own/main");
    let engine = engine().with(&own, move |message| {
        lock(&watched).push(message.clone());
        match message.payload.as_bytes() {
            b"nothing" => Ok(None),
            b"no" => Err(GuestError::Timeout),
            b"much" => Ok(Some(vec![0; 1 << 20].into())),
            b"panic" => panic!("as asked"),
            _ => Ok(Some("yes".into())),
        }
    });
    let small = with_memory(512 << 10);
    let handle = engine.load_component(&own, Bytes::new(), small.clone());
    let handle = handle.await.unwrap();
    assert_eq!(ask(&engine, &handle, "?").await, "yes");
    assert_eq!(lock(&seen)[0], message(&handle, "?"));
    assert_eq!(send(&engine, &handle, "nothing").await.unwrap(), None);
    assert_eq!(engine.health(&handle).await.unwrap(), HealthStatus::Healthy);
    let error = send(&engine, &handle, "no").await.unwrap_err();
    assert!(error.is_guest_error(), "{error}");
    assert_eq!(usage(&engine, &handle).await.state, ComponentState::Ready);
    let error = send(&engine, &handle, "much").await.unwrap_err();
    assert!(error.is_limit_error(), "{error}");
    engine.restart_component(&handle).await.unwrap();
    let error = send(&engine, &handle, "panic").await.unwrap_err();
    assert!(
        matches!(&error, WasmError::Trapped { trap: Trap::HostPanic(text), .. }
            if text == "as asked"),
        "{error}"
    );
    // Others are what their bytes say.
    let other = id("demo/other/main");
    let loaded = engine.load_component(&other, Bytes::new(), small);
    let error = loaded.await.unwrap_err();
    assert!(error.is_load_error(), "{error}");
}

#[tokio::test]
async fn an_error_of_the_guest_keeps_it_ready() {
    let engine = engine();
    let handle = load(&engine, GUEST_ERROR, config()).await;
    let error = send(&engine, &handle, "fail").await.unwrap_err();
    assert!(
        matches!(&error, WasmError::GuestError { error: GuestError::RuntimeError(text), .. }
            if text == "as asked"),
        "{error}"
    );
    let fails = load(&engine, CALLBACK_FAILS, config()).await;
    let error = engine
        .call_handle_callback(&fails, message(&fails, ""))
        .await;
    assert!(
        matches!(&error, Err(error) if error.is_guest_error()),
        "{error:?}"
    );
    for handle in [handle, fails] {
        let usage = usage(&engine, &handle).await;
        assert_eq!((usage.state, usage.traps), (ComponentState::Ready, 0));
    }
}

#[tokio::test]
async fn a_failed_component_says_why_until_it_is_restarted() {
    let engine = engine();
    let trap = load(&engine, TRAP, config()).await;
    let cause = send(&engine, &trap, "go").await.unwrap_err();
    assert!(
        matches!(&cause, WasmError::Trapped { trap: Trap::Unreachable, export, .. }
            if &**export == "handle-message"),
        "{cause}"
    );
    let failure = engine.health(&trap).await.unwrap_err();
    assert!(
        matches!(&failure, WasmError::ComponentFailed { source, .. }
            if source.to_string() == cause.to_string()),
        "{failure}"
    );
    let failed = usage(&engine, &trap).await;
    assert_eq!(
        (failed.state, failed.memory_bytes),
        (ComponentState::Failed, 0)
    );
    assert_eq!((failed.calls, failed.traps), (1, 1));
    engine.restart_component(&trap).await.unwrap();
    assert_eq!(ask(&engine, &trap, "ok").await, "ok");

    let third = load(&engine, TRAP_EVERY_THIRD, config()).await;
    for round in 1..=2 {
        assert_eq!(ask(&engine, &third, "1").await, "1");
        assert_eq!(ask(&engine, &third, "2").await, "2");
        send(&engine, &third, "3").await.unwrap_err();
        engine.restart_component(&third).await.unwrap();
        let usage = usage(&engine, &third).await;
        assert_eq!((usage.traps, usage.restarts), (round, round));
    }
    let in_callback = load(&engine, TRAP_IN_CALLBACK, config()).await;
    let callback = engine.call_handle_callback(&in_callback, message(&in_callback, ""));
    let error = callback.await.unwrap_err();
    assert!(
        matches!(&error, WasmError::Trapped { export, .. } if &**export == "handle-callback"),
        "{error}"
    );
}

#[tokio::test]
async fn a_healthy_component_is_shut_down_before_a_restart_whatever_that_answers() {
    let engine = engine();
    let fails = load(&engine, SHUTDOWN_FAILS, config()).await;
    engine.restart_component(&fails).await.unwrap();
    let traps = load(&engine, TRAP_IN_SHUTDOWN, config()).await;
    engine.restart_component(&traps).await.unwrap();
    let usage = usage(&engine, &traps).await;
    assert_eq!((usage.traps, usage.restarts, usage.calls), (1, 1, 0));
    let counter = load(&engine, COUNTER, config()).await;
    assert_eq!(ask(&engine, &counter, "").await, "1");
    engine.restart_component(&counter).await.unwrap();
    assert_eq!(ask(&engine, &counter, "").await, "1");
}

#[track_caller]
fn stopped(error: &WasmError, config: &ComponentConfig, in_export: &str) {
    match (error, config.limits.fuel()) {
        (
            WasmError::Timeout {
                export,
                limit,
                fuel_consumed,
                ..
            },
            None,
        ) => {
            assert_eq!((&**export, *limit), (in_export, SHORT));
            assert_eq!(*fuel_consumed, 100_000_000);
        }
        (
            WasmError::ResourceLimitExceeded {
                export,
                resource: Resource::Fuel,
                limit,
                requested: None,
                fuel_consumed: FUEL,
                ..
            },
            Some(fuel),
        ) => assert_eq!((&**export, *limit), (in_export, fuel)),
        _ => panic!("{error:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn who_loops_is_stopped_by_fuel_or_time() {
    let engine = engine();
    for config in [timed(), fuelled()] {
        for (fixture, export) in [
            (SPIN_IN_START, "instantiate"),
            (SPIN_IN_INITIALIZE, "initialize"),
        ] {
            let outcome = try_load(&engine, fixture, config.clone()).await;
            stopped(&outcome.unwrap_err(), &config, export);
        }
        for fixture in [SPIN, SPIN_IN_REALLOC, SPIN_IN_POST_RETURN, GROW_FOREVER] {
            let handle = load(&engine, fixture, config.clone()).await;
            let error = send(&engine, &handle, "go").await.unwrap_err();
            stopped(&error, &config, "handle-message");
            let usage = usage(&engine, &handle).await;
            let timeouts = u64::from(config.limits.fuel().is_none());
            assert_eq!((usage.timeouts, usage.traps), (timeouts, 1 - timeouts));
        }
        let health = load(&engine, SPIN_IN_HEALTH, config.clone()).await;
        stopped(
            &engine.health(&health).await.unwrap_err(),
            &config,
            "health",
        );
        let shutdown = load(&engine, SPIN_IN_SHUTDOWN, config.clone()).await;
        engine.restart_component(&shutdown).await.unwrap();
        let error = engine.unload_component(&shutdown).await.unwrap_err();
        stopped(&error, &config, "shutdown");
    }
    // Whichever is smaller.
    let both = limited(2 << 20, SHORT, Some(u64::MAX));
    let spin = load(&engine, SPIN, both).await;
    let error = send(&engine, &spin, "go").await.unwrap_err();
    assert!(matches!(error, WasmError::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn every_call_has_the_full_fuel() {
    let engine = engine();
    let measured = load(&engine, RECURSE_THEN_HOSTCALL, config()).await;
    assert_eq!(ask(&engine, &measured, "500").await, "back");
    let one_call = usage(&engine, &measured).await.last_call_fuel;
    let budget = one_call * 10 / 6;
    let limits = limited(2 << 20, SHORT, Some(budget));
    let handle = load(&engine, RECURSE_THEN_HOSTCALL, limits).await;
    for _ in 0..10 {
        assert_eq!(ask(&engine, &handle, "500").await, "back");
    }
    let usage = usage(&engine, &handle).await;
    assert_eq!((usage.last_call_fuel, usage.calls), (one_call, 10));
    assert!(usage.total_fuel >= 10 * one_call, "{usage:?}");
    let error = send(&engine, &handle, "1000").await.unwrap_err();
    assert!(
        matches!(error, WasmError::ResourceLimitExceeded { resource: Resource::Fuel, limit, .. }
            if limit == budget),
        "{error}"
    );
    for (fixture, payload) in [(RECURSE_FOREVER, "go"), (RECURSE_THEN_HOSTCALL, "40000")] {
        let handle = load(&engine, fixture, config()).await;
        let error = send(&engine, &handle, payload).await.unwrap_err();
        assert!(
            matches!(
                &error,
                WasmError::Trapped {
                    trap: Trap::StackOverflow,
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_stopped_at_the_deadline_and_each_call_has_all_of_it() {
    let engine = engine();
    for fixture in [SLEEP_FOREVER, WASI_SLEEP] {
        let handle = load(&engine, fixture, timed()).await;
        let error = send(&engine, &handle, "go").await.unwrap_err();
        assert!(
            matches!(&error, WasmError::Timeout { limit: SHORT, .. }),
            "{error}"
        );
        engine.restart_component(&handle).await.unwrap();
        assert_eq!(ask(&engine, &handle, "ok").await, "ok");
    }
    let sleeper = load(&engine, SLEEPER, timed()).await;
    let sleep = || ask(&engine, &sleeper, "80");
    let answers = tokio::join!(sleep(), sleep(), sleep());
    assert_eq!(answers, ("awake".into(), "awake".into(), "awake".into()));
    // A guest that sleeps until its deadline comes too late.
    let error = send(&engine, &sleeper, "100").await.unwrap_err();
    assert!(matches!(error, WasmError::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn memory_is_a_total() {
    let engine = engine();
    for (limit, pages) in [(512 << 10, 8), (1 << 20, 16), (600_000, 9), (2 << 20, 32)] {
        for fixture in [GROW_SURVIVES, MANY_MEMORIES] {
            let handle = load(&engine, fixture, with_memory(limit)).await;
            assert_eq!(ask(&engine, &handle, "").await, pages.to_string());
            let usage = usage(&engine, &handle).await;
            let used = pages << 16;
            assert_eq!(
                (usage.memory_bytes, usage.peak_memory_bytes, usage.state),
                (used, used, ComponentState::Ready)
            );
        }
    }
    let asked_for = |error: WasmError| match error {
        WasmError::ResourceLimitExceeded {
            resource: Resource::Memory,
            requested: Some(requested),
            ..
        } => requested,
        other => panic!("{other:?}"),
    };
    let grow = load(&engine, GROW, with_memory(512 << 10)).await;
    let error = send(&engine, &grow, "go").await.unwrap_err();
    assert_eq!(asked_for(error), 576 << 10);
    let bomb = load(&engine, TABLE_BOMB, with_memory(1 << 20)).await;
    let error = send(&engine, &bomb, "go").await.unwrap_err();
    let requested = asked_for(error);
    assert!(
        requested > 1 << 20 && requested <= (1 << 20) + 8_192,
        "{requested}"
    );
    let peak = usage(&engine, &bomb).await.peak_memory_bytes;
    assert_eq!(peak, requested - 8_192);
}

#[tokio::test]
async fn a_message_that_does_not_fit_ends_at_the_memory_limit_and_others_need_no_more() {
    let engine = engine();
    let echo = load(&engine, ECHO, with_memory(512 << 10)).await;
    // As much as fits beside the envelope, and a byte more.
    let envelope = 0x1000 + 104 + "testsendermain".len();
    let room = (512 << 10) - envelope;
    for _ in 0..3 {
        let reply = send(&engine, &echo, vec![b'x'; room]).await.unwrap();
        assert_eq!(reply.map(|reply| reply.len()), Some(room));
    }
    assert_eq!(usage(&engine, &echo).await.memory_bytes, 512 << 10);
    let error = send(&engine, &echo, vec![b'x'; room + 1])
        .await
        .unwrap_err();
    assert!(
        matches!(&error, WasmError::ResourceLimitExceeded {
            resource: Resource::Memory, requested: Some(requested), export, ..
        } if *requested == 576 << 10 && &**export == "handle-message"),
        "{error:?}"
    );
    let callback = load(&engine, CALLBACK, with_memory(512 << 10)).await;
    let huge = message(&callback, vec![b'x'; 1 << 20]);
    let error = engine.call_handle_callback(&callback, huge).await;
    assert!(
        matches!(&error, Err(WasmError::ResourceLimitExceeded { export, .. })
            if &**export == "handle-callback"),
        "{error:?}"
    );
    let large = config().with_env("LARGE", "x".repeat(3 << 20));
    let error = try_load(&engine, ECHO, large).await.unwrap_err();
    assert!(
        matches!(&error, WasmError::ResourceLimitExceeded { export, .. }
            if &**export == "initialize"),
        "{error:?}"
    );
}

#[tokio::test]
async fn calls_take_turns_in_the_order_of_their_first_poll() {
    let router = GatedRouter::new();
    let engine = router.engine();
    let sender = load(&engine, SENDER, permitted()).await;
    let call = |text: &'static str| Box::pin(send(&engine, &sender, text));
    let (mut one, mut two, mut three) = (
        call("demo/a/main 1"),
        call("demo/a/main 2"),
        call("demo/a/main 3"),
    );
    for call in [&mut two, &mut three, &mut one] {
        assert_eq!(poll_once(call.as_mut()).await.map(Result::ok), None);
    }
    assert_eq!(usage(&engine, &sender).await.state, ComponentState::Busy);
    // A call that waits is withdrawn.
    drop(three);
    router.gate.add_permits(2);
    let (one, two) = tokio::join!(one, two);
    assert_eq!((one.unwrap(), two.unwrap()), (None, None));
    assert_eq!(router.accepted(), ["2", "1"]);
    assert_eq!(usage(&engine, &sender).await.calls, 2);
}

#[tokio::test]
async fn a_task_that_has_done_much_stands_in_line_all_the_same() {
    let router = GatedRouter::new();
    let engine = Arc::new(router.engine());
    let sender = load(&engine, SENDER, permitted()).await;
    let call = |n: usize| {
        let (engine, sender) = (Arc::clone(&engine), sender.clone());
        async move { send(&engine, &sender, format!("demo/a/main {n}")).await }
    };
    // Within one poll of this task, which has a budget for 128 waits.
    let mut calls: Vec<_> = (0..300).map(|n| Box::pin(call(n))).collect();
    for call in &mut calls {
        assert_eq!(poll_once(call.as_mut()).await.map(Result::ok), None);
    }
    let late = tokio::spawn(call(300));
    tokio::task::yield_now().await;
    router.gate.add_permits(301);
    for call in calls {
        assert_eq!(call.await.unwrap(), None);
    }
    assert_eq!(late.await.unwrap().unwrap(), None);
    let expected: Vec<String> = (0..=300).map(|n| n.to_string()).collect();
    assert_eq!(router.accepted(), expected);
}

#[tokio::test]
async fn calls_to_others_go_on_meanwhile() {
    let router = GatedRouter::new();
    let engine = router.engine();
    let sender = load(&engine, SENDER, permitted()).await;
    let counter = load(&engine, COUNTER, config()).await;
    let mut running = pin!(send(&engine, &sender, "demo/a/main hi"));
    assert_eq!(poll_once(running.as_mut()).await.map(Result::ok), None);
    assert_eq!(ask(&engine, &counter, "").await, "1");
    router.gate.add_permits(1);
    assert_eq!(running.await.unwrap(), None);
}

#[tokio::test]
async fn a_dropped_call_ends_in_the_background_and_its_effect_stays() {
    let router = GatedRouter::new();
    let engine = router.engine();
    let callback = load(&engine, CALLBACK, permitted()).await;
    let kept = message(&callback, "kept");
    engine.call_handle_callback(&callback, kept).await.unwrap();
    let mut call = Box::pin(send(&engine, &callback, "demo/a/main effect"));
    assert_eq!(poll_once(call.as_mut()).await.map(Result::ok), None);
    drop(call);
    let mut next = pin!(send(&engine, &callback, "last"));
    assert_eq!(poll_once(next.as_mut()).await.map(Result::ok), None);
    router.gate.add_permits(1);
    assert_eq!(next.await.unwrap().as_deref(), Some("-|-|kept"));
    assert_eq!(router.accepted(), ["effect"]);
    assert_eq!(usage(&engine, &callback).await.calls, 3);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_ends_within_its_deadline_and_what_it_ended_with_is_kept() {
    let engine = engine();
    for fixture in [SPIN, SLEEP_FOREVER] {
        let handle = load(&engine, fixture, timed()).await;
        let mut call = Box::pin(send(&engine, &handle, "go"));
        assert_eq!(poll_once(call.as_mut()).await.map(Result::ok), None);
        drop(call);
        let error = send(&engine, &handle, "ok").await.unwrap_err();
        assert!(
            matches!(&error, WasmError::ComponentFailed { source, .. }
                if matches!(**source, WasmError::Timeout { .. })),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_call_that_is_not_polled_holds_nobody_up() {
    let router = GatedRouter::new();
    let engine = router.engine();
    let sender = load(&engine, SENDER, permitted()).await;
    let call = |text: &'static str| Box::pin(send(&engine, &sender, text));
    let (mut running, mut waiting) = (call("demo/a/main 1"), call("demo/a/main 2"));
    assert_eq!(poll_once(running.as_mut()).await.map(Result::ok), None);
    assert_eq!(poll_once(waiting.as_mut()).await.map(Result::ok), None);
    router.gate.add_permits(3);
    assert_eq!(send(&engine, &sender, "demo/a/main 3").await.unwrap(), None);
    assert_eq!(router.accepted(), ["1", "2", "3"]);
    assert_eq!(running.await.unwrap(), None);
    assert_eq!(waiting.await.unwrap(), None);
}

#[tokio::test]
async fn a_task_that_calls_without_a_break_leaves_its_thread_to_others() {
    let engine = engine();
    let counter = load(&engine, COUNTER, config()).await;
    let other = tokio::spawn(async {});
    while !other.is_finished() {
        send(&engine, &counter, "").await.unwrap();
    }
}

#[tokio::test]
async fn a_handle_of_another_engine_is_not_found() {
    let (here, there) = (engine(), engine());
    load(&here, COUNTER, config()).await;
    let foreign = load(&there, COUNTER, config()).await;
    let error = send(&here, &foreign, "").await.unwrap_err();
    assert!(is_not_found(&error, &foreign), "{error}");
}

#[tokio::test]
async fn unloading_waits_for_the_running_call_only_and_withdraws_the_others() {
    let router = GatedRouter::new();
    let engine = router.engine();
    let sender = load(&engine, SENDER, permitted()).await;
    let call = |text: &'static str| Box::pin(send(&engine, &sender, text));
    let (mut running, mut waiting) = (call("demo/a/main 1"), call("demo/a/main 2"));
    assert_eq!(poll_once(running.as_mut()).await.map(Result::ok), None);
    assert_eq!(poll_once(waiting.as_mut()).await.map(Result::ok), None);
    let mut unload = Box::pin(engine.unload_component(&sender));
    assert_eq!(poll_once(unload.as_mut()).await.map(Result::ok), None);
    let error = engine.usage(&sender).await.unwrap_err();
    assert!(is_not_found(&error, &sender), "{error}");
    router.gate.add_permits(9);
    // The one that waits is not polled, and is in nobody's way.
    let (running, unloaded) = tokio::join!(running, unload);
    assert_eq!((running.unwrap(), unloaded.unwrap()), (None, ()));
    let error = waiting.await.unwrap_err();
    assert!(is_not_found(&error, &sender), "{error}");
    assert_eq!(router.accepted(), ["1"]);
    engine.unload_component(&sender).await.unwrap();
}

#[tokio::test]
async fn a_dropped_unload_goes_on() {
    let router = GatedRouter::new();
    let engine = router.engine();
    let alone = Arc::strong_count(&router);
    let sender = load(&engine, SENDER, permitted()).await;
    let mut running = Box::pin(send(&engine, &sender, "demo/a/main 1"));
    assert_eq!(poll_once(running.as_mut()).await.map(Result::ok), None);
    let mut unload = Box::pin(engine.unload_component(&sender));
    assert_eq!(poll_once(unload.as_mut()).await.map(Result::ok), None);
    drop(unload);
    router.gate.add_permits(1);
    assert_eq!(running.await.unwrap(), None);
    while Arc::strong_count(&router) > alone {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_restart_takes_its_turn_and_goes_on_when_dropped() {
    let router = GatedRouter::new();
    let engine = router.engine();
    let callback = load(&engine, CALLBACK, permitted()).await;
    let kept = message(&callback, "kept");
    engine.call_handle_callback(&callback, kept).await.unwrap();
    let mut running = Box::pin(send(&engine, &callback, "demo/a/main hi"));
    assert_eq!(poll_once(running.as_mut()).await.map(Result::ok), None);
    let mut restart = Box::pin(engine.restart_component(&callback));
    assert_eq!(poll_once(restart.as_mut()).await.map(Result::ok), None);
    drop(restart);
    let after = send(&engine, &callback, "last");
    router.gate.add_permits(1);
    let (first, second) = tokio::join!(running, after);
    assert_eq!(first.unwrap().as_deref(), Some("c-1"));
    assert_eq!(second.unwrap(), None);
    assert_eq!(usage(&engine, &callback).await.restarts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_load_leaves_nothing_behind() {
    let router = GatedRouter::new();
    let engine = router.engine();
    let alone = Arc::strong_count(&router);
    let mut spin = Box::pin(try_load(&engine, SPIN_IN_INITIALIZE, timed()));
    assert_eq!(poll_once(spin.as_mut()).await.map(Result::ok), None);
    drop(spin);
    sleep(2 * SHORT).await;
    assert_eq!(Arc::strong_count(&router), alone);
}

#[test]
fn a_runtime_shut_down_during_a_call_leaves_a_failed_component() {
    let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
    let router = GatedRouter::new();
    let engine = Arc::new(router.engine());
    let first = runtime();
    let callback = first.block_on(load(&engine, CALLBACK, permitted()));
    let task = first.spawn({
        let (engine, callback) = (Arc::clone(&engine), callback.clone());
        async move { send(&engine, &callback, "demo/a/main hi").await }
    });
    first.block_on(tokio::task::yield_now());
    drop((first, task));
    runtime().block_on(async {
        let error = send(&engine, &callback, "last").await.unwrap_err();
        assert!(
            matches!(&error, WasmError::ComponentFailed { source, .. }
                if matches!(**source, WasmError::Trapped { trap: Trap::Other(_), .. })),
            "{error}"
        );
        assert_eq!(
            usage(&engine, &callback).await.state,
            ComponentState::Failed
        );
        engine.restart_component(&callback).await.unwrap();
        assert_eq!(send(&engine, &callback, "last").await.unwrap(), None);
    });
    let outside = crate::poll::now(send(&engine, &callback, "last"));
    assert!(
        matches!(outside, Err(WasmError::Unsupported { .. })),
        "{outside:?}"
    );
}

#[tokio::test]
async fn a_panic_of_the_host_fails_the_instance_only() {
    struct Broken;

    impl Clock for Broken {
        fn now(&self) -> Timestamp {
            panic!("no clock here")
        }
    }

    let engine = ModelEngine::new(HostServices::default().with_clock(Arc::new(Broken)));
    let clock = load(&engine, CLOCK, config()).await;
    let error = send(&engine, &clock, "").await.unwrap_err();
    assert!(
        matches!(&error, WasmError::Trapped { trap: Trap::HostPanic(text), .. }
            if text == "no clock here"),
        "{error}"
    );
    let echo = load(&engine, ECHO, config()).await;
    assert_eq!(ask(&engine, &echo, "hi").await, "hi");
}
