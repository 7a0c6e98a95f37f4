use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::Semaphore;

use wasm_core::{
    CorrelationId, GuestError, LifecycleError, MemoryStorage, MessageRouter, MessagingError,
    Permissions, Resource, Trap,
};
use wasm_fixtures::{
    CALLBACK, COUNTER, DIRECTORY, Fixture, INIT_ONCE, OnInitialize, PING_PONG_LOOP,
    RECURSE_THEN_HOSTCALL, SENDER, SLEEPER, SPIN, STORE, TRAP_EVERY_THIRD,
};

use super::*;
use crate::lock::lock;
use crate::{RecordingRouter, RouterCall};

// What the contract says of every engine is proven by `tests/conformance.rs`; this is
// about the fixtures, the figures and the limits of this one.

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

fn permitted() -> ComponentConfig {
    let everyone = || vec!["*/*/*".parse().unwrap()];
    let mut permissions = Permissions::default();
    permissions.send = everyone();
    permissions.request = everyone();
    permissions.broadcast = everyone();
    permissions.storage = Some(64 << 10);
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

#[tokio::test]
async fn every_fixture_loads_or_is_refused_as_told() {
    let engine = engine();
    let config = limited(2 << 20, Duration::from_secs(20), Some(300_000));
    for fixture in ALL {
        let outcome = try_load(&engine, *fixture, config.clone()).await;
        let loads = match fixture.behaviour {
            Behaviour::Refused(_) => false,
            Behaviour::Exports(_) => true,
            Behaviour::Component(lifecycle) => {
                lifecycle.initial_memory_bytes <= 2 << 20
                    && matches!(
                        lifecycle.initialize,
                        OnInitialize::Ok | OnInitialize::AsStored
                    )
            }
        };
        assert_eq!(outcome.is_ok(), loads, "{}: {outcome:?}", fixture.name);
        let Ok(handle) = outcome else { continue };
        let taken = send(&engine, &handle, "ok").await;
        let found = matches!(taken, Err(WasmError::ExportNotFound { .. }));
        let takes_none = matches!(fixture.behaviour, Behaviour::Exports(_));
        assert_eq!(found, takes_none, "{}: {taken:?}", fixture.name);
    }
}

#[tokio::test]
async fn the_largest_component_is_the_operators() {
    let size = SPIN.wasm.len() as u64;
    let engine = engine().with_max_component_bytes(size);
    load(&engine, SPIN, config()).await;
    let engine = engine.with_max_component_bytes(size - 1);
    let error = try_load(&engine, SPIN, config()).await.unwrap_err();
    let too_large = Defect::TooLarge {
        bytes: size,
        limit: size - 1,
    };
    assert!(
        matches!(&error, WasmError::InvalidComponent { defect, .. } if *defect == too_large),
        "{error}"
    );
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

#[tokio::test(start_paused = true)]
async fn a_loop_consumes_a_unit_of_fuel_in_a_nanosecond() {
    let engine = engine();
    let timeout = Duration::from_millis(100);
    for (fuel, consumed) in [
        (None, 100_000_000),
        (Some(u64::MAX), 100_000_000),
        (Some(100_000_001), 100_000_000),
        (Some(100_000_000), 100_000_000),
        (Some(300_000), 300_000),
    ] {
        let spin = load(&engine, SPIN, limited(2 << 20, timeout, fuel)).await;
        let error = send(&engine, &spin, "go").await.unwrap_err();
        let out_of_fuel = fuel == Some(consumed);
        match error {
            WasmError::Timeout { fuel_consumed, .. } if !out_of_fuel => {
                assert_eq!(fuel_consumed, consumed);
            }
            WasmError::ResourceLimitExceeded {
                resource: Resource::Fuel,
                fuel_consumed,
                ..
            } if out_of_fuel => assert_eq!(fuel_consumed, consumed),
            error => panic!("{fuel:?}: {error:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_at_the_deadline_comes_too_late() {
    let engine = engine();
    let timed = limited(2 << 20, Duration::from_millis(100), None);
    let sleeper = load(&engine, SLEEPER, timed).await;
    assert_eq!(ask(&engine, &sleeper, "99").await, "awake");
    let error = send(&engine, &sleeper, "100").await.unwrap_err();
    assert!(matches!(error, WasmError::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn the_stack_holds_10_000_levels() {
    let engine = engine();
    let deep = load(&engine, RECURSE_THEN_HOSTCALL, config()).await;
    assert_eq!(ask(&engine, &deep, "10000").await, "back");
    let error = send(&engine, &deep, "10001").await.unwrap_err();
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

#[tokio::test]
async fn what_initialize_may_not_store_fails_the_load() {
    let storage = Arc::new(MemoryStorage::new());
    let engine = ModelEngine::new(HostServices::default().with_storage(storage));
    let mut too_small = permitted();
    too_small.permissions.storage = Some(4);
    for (config, case) in [(config(), "io-error"), (too_small, "quota-exceeded")] {
        let error = try_load(&engine, INIT_ONCE, config).await.unwrap_err();
        assert!(
            matches!(&error, WasmError::InitializationFailed {
                error: LifecycleError::InitializationFailed(text), ..
            } if text == case),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_component_traps_at_every_third_message() {
    let engine = engine();
    let third = load(&engine, TRAP_EVERY_THIRD, config()).await;
    for round in 1..=2 {
        assert_eq!(ask(&engine, &third, "1").await, "1");
        assert_eq!(ask(&engine, &third, "2").await, "2");
        send(&engine, &third, "3").await.unwrap_err();
        engine.restart_component(&third).await.unwrap();
        let usage = usage(&engine, &third).await;
        assert_eq!((usage.traps, usage.restarts), (round, round));
    }
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
async fn a_task_that_calls_without_a_break_leaves_its_thread_to_others() {
    let engine = engine();
    let counter = load(&engine, COUNTER, config()).await;
    let other = tokio::spawn(async {});
    while !other.is_finished() {
        send(&engine, &counter, "").await.unwrap();
    }
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
async fn a_message_is_sent_back() {
    let router = Arc::new(RecordingRouter::new());
    let engine = ModelEngine::new(HostServices::default().with_router(router.clone()));
    let loops = load(&engine, PING_PONG_LOOP, permitted()).await;
    assert_eq!(send(&engine, &loops, "ball").await.unwrap(), None);
    let calls = router.take_calls();
    assert!(
        matches!(&calls[..], [RouterCall::Send { message, .. }]
            if message.recipient == id("test/sender/main") && message.payload == "ball".into()),
        "{calls:?}"
    );
}

#[tokio::test]
async fn texts_of_a_guest_are_utf_8_and_those_for_it_take_memory() {
    let storage = Arc::new(MemoryStorage::new());
    let engine = ModelEngine::new(HostServices::default().with_storage(storage));
    let store = load(&engine, STORE, permitted()).await;
    let error = send(&engine, &store, &b"get \xff"[..]).await.unwrap_err();
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
    // What is wrong with this name fits in no page that it left.
    let directory = load(&engine, DIRECTORY, permitted()).await;
    let (page, table) = (64 << 10, 16);
    let name = "\0".repeat(4 * page - 5_300);
    let error = send(&engine, &directory, name).await.unwrap_err();
    assert!(
        matches!(&error, WasmError::GuestError { error: GuestError::RuntimeError(case), .. }
            if case == "invalid-state"),
        "{error}"
    );
    let memory_bytes = usage(&engine, &directory).await.memory_bytes;
    assert_eq!(memory_bytes, 5 * page as u64 + table);
}
