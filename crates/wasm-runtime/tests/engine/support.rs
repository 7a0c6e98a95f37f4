//! What the tests have in common: loading, sending, and services that can be held.

use std::fmt;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Metadata, Subscriber};

use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentId, ComponentMessage, ComponentPattern,
    CorrelationId, HostServices, LogLevel, MessagePayload, MessageRouter, MessagingError,
    Permissions, ResourceLimits, WasmError,
};
use wasm_fixtures::Fixture;
use wasm_runtime::{COMPONENT_TARGET, EngineConfig, WasmtimeEngine};

/// A test that takes this long hangs.
pub(crate) const HANG: Duration = Duration::from_secs(60);

pub(crate) fn id(text: &str) -> ComponentId {
    text.parse().unwrap()
}

/// Ample for every fixture that is meant to end.
pub(crate) fn limits() -> ResourceLimits {
    ResourceLimits::new(2 << 20, Duration::from_secs(20), Some(100_000_000)).unwrap()
}

pub(crate) fn config() -> ComponentConfig {
    ComponentConfig::new(limits())
}

/// Fuel without end: only the time is limited.
pub(crate) fn timed(timeout: Duration) -> ComponentConfig {
    ComponentConfig::new(ResourceLimits::new(2 << 20, timeout, None).unwrap())
}

/// Time without end, practically: only the fuel is limited.
pub(crate) fn fuelled(fuel: u64) -> ComponentConfig {
    ComponentConfig::new(ResourceLimits::new(2 << 20, HANG, Some(fuel)).unwrap())
}

pub(crate) fn with_memory(bytes: u64) -> ComponentConfig {
    let limits = ResourceLimits::new(bytes, HANG, Some(100_000_000)).unwrap();
    ComponentConfig::new(limits)
}

/// Everybody may be messaged, everything logged and 64 KiB stored; nothing of WASI.
pub(crate) fn all_permissions() -> Permissions {
    let everybody: Vec<ComponentPattern> = vec!["*/*/*".parse().unwrap()];
    let mut permissions = Permissions::default();
    permissions.send = everybody.clone();
    permissions.request = everybody.clone();
    permissions.broadcast = everybody;
    permissions.storage = Some(64 << 10);
    permissions.log = Some(LogLevel::Trace);
    permissions
}

pub(crate) fn permitted() -> ComponentConfig {
    config().with_permissions(all_permissions())
}

pub(crate) fn engine() -> WasmtimeEngine {
    engine_with(HostServices::default())
}

pub(crate) fn engine_with(services: HostServices) -> WasmtimeEngine {
    let config = EngineConfig::default().with_cache(COMPILED);
    WasmtimeEngine::new(config, services).unwrap()
}

/// What one test has compiled, none has to compile again.
pub(crate) const COMPILED: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/compiled");

pub(crate) fn bytes(fixture: Fixture) -> Bytes {
    Bytes::from_static(fixture.wasm)
}

/// Under which [`load`] loads it.
pub(crate) fn id_of(fixture: Fixture) -> ComponentId {
    ComponentId::new("demo", fixture.name, "main").unwrap()
}

pub(crate) async fn load(
    engine: &WasmtimeEngine,
    fixture: Fixture,
    config: ComponentConfig,
) -> ComponentHandle {
    try_load(engine, fixture, config).await.unwrap()
}

pub(crate) async fn try_load(
    engine: &WasmtimeEngine,
    fixture: Fixture,
    config: ComponentConfig,
) -> Result<ComponentHandle, WasmError> {
    engine
        .load_component(&id_of(fixture), bytes(fixture), config)
        .await
}

pub(crate) fn message(
    to: &ComponentHandle,
    payload: impl Into<MessagePayload>,
) -> ComponentMessage {
    ComponentMessage::new(id("test/sender/main"), to.id().clone(), payload)
}

/// Sends and reads the reply as text.
pub(crate) async fn send(
    engine: &WasmtimeEngine,
    to: &ComponentHandle,
    payload: impl Into<MessagePayload>,
) -> Result<Option<String>, WasmError> {
    let reply = engine.call_handle_message(to, message(to, payload)).await?;
    Ok(reply.map(|reply| String::from_utf8(reply.as_bytes().to_vec()).unwrap()))
}

/// Sends what must be answered.
#[track_caller]
pub(crate) fn ask(
    engine: &WasmtimeEngine,
    to: &ComponentHandle,
    payload: impl Into<MessagePayload>,
) -> impl Future<Output = String> {
    let payload = payload.into();
    async move {
        match send(engine, to, payload).await {
            Ok(Some(reply)) => reply,
            Ok(None) => panic!("{to} answered nothing"),
            Err(error) => panic!("{to} did not answer: {error}"),
        }
    }
}

/// Fails a test that hangs instead of letting it hang.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    match timeout(HANG, future).await {
        Ok(output) => output,
        Err(_) => panic!("this hangs"),
    }
}

/// Polls once; what it answers, if it does.
pub(crate) async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

/// Small, repeatable and good enough to choose by.
pub(crate) struct XorShift(u64);

impl XorShift {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// Counts who comes in and lets out only as many as it is told to.
#[derive(Debug)]
pub(crate) struct Gate {
    entered: Semaphore,
    exits: Semaphore,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self {
            entered: Semaphore::new(0),
            exits: Semaphore::new(0),
        }
    }

    pub(crate) async fn pass(&self) {
        self.entered.add_permits(1);
        self.exits.acquire().await.unwrap().forget();
    }

    /// Until so many more have come in.
    pub(crate) async fn entered(&self, count: u32) {
        within(self.entered.acquire_many(count))
            .await
            .unwrap()
            .forget();
    }

    pub(crate) fn open(&self, count: usize) {
        self.exits.add_permits(count);
    }
}

/// A router that accepts what has passed its gate.
#[derive(Debug)]
pub(crate) struct GatedRouter {
    pub(crate) gate: Gate,
    accepted: Mutex<Vec<String>>,
}

impl GatedRouter {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            gate: Gate::new(),
            accepted: Mutex::default(),
        })
    }

    /// The payloads, in order.
    pub(crate) fn accepted(&self) -> Vec<String> {
        self.accepted.lock().unwrap().clone()
    }

    pub(crate) fn services(self: &Arc<Self>) -> HostServices {
        HostServices::default().with_router(self.clone())
    }

    async fn accept(&self, message: ComponentMessage) {
        self.gate.pass().await;
        let text = String::from_utf8(message.payload.as_bytes().to_vec()).unwrap();
        self.accepted.lock().unwrap().push(text);
    }
}

#[async_trait]
impl MessageRouter for GatedRouter {
    async fn send(
        &self,
        _: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), MessagingError> {
        self.accept(message).await;
        Ok(())
    }

    async fn request(
        &self,
        _: &ComponentHandle,
        message: ComponentMessage,
        _: Duration,
    ) -> Result<CorrelationId, MessagingError> {
        self.accept(message).await;
        Ok("request".into())
    }

    async fn cancel_request(
        &self,
        _: &ComponentHandle,
        _: &CorrelationId,
    ) -> Result<(), MessagingError> {
        Ok(())
    }
}

/// One event under `COMPONENT_TARGET`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Line {
    pub(crate) severity: String,
    pub(crate) component: String,
    pub(crate) level: Option<String>,
    pub(crate) stream: Option<String>,
    pub(crate) message: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "component" => self.component = text,
            "level" => self.level = Some(text),
            "stream" => self.stream = Some(text),
            "message" => self.message = text,
            other => panic!("an event has a field {other}"),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

/// Keeps what components say on this thread while its guard lives.
#[derive(Debug, Clone, Default)]
pub(crate) struct Transcript {
    lines: Arc<Mutex<Vec<Line>>>,
}

impl Transcript {
    pub(crate) fn start() -> (Self, DefaultGuard) {
        let transcript = Self::default();
        let guard = tracing::subscriber::set_default(transcript.clone());
        (transcript, guard)
    }

    pub(crate) fn take(&self) -> Vec<Line> {
        mem::take(&mut *self.lines.lock().unwrap())
    }

    pub(crate) fn take_messages(&self) -> Vec<String> {
        self.take().into_iter().map(|line| line.message).collect()
    }
}

impl Subscriber for Transcript {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == COMPONENT_TARGET
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line {
            severity: event.metadata().level().to_string(),
            ..Line::default()
        };
        event.record(&mut line);
        self.lines.lock().unwrap().push(line);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
