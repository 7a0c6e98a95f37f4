//! What the cases have in common: loading, sending, and reading what comes of it.
//!
//! A case that means to find something out about calls that run must know that they
//! do. At its first poll a call takes its place in the queue; when it begins is the
//! engine's business. So:
//!
//! - [`begin`] polls once a call that cannot be done yet, and puts it in the queue;
//! - [`Gate::entered_by`](super::probes::Gate::entered_by) drives one until its guest is
//!   inside a service that holds it up: it has begun, and ends when the gate is opened;
//! - [`Bench::begun`] drives one that has no other end than its deadline until its guest
//!   runs;
//! - [`around`] gives moments just before and just after a deadline, as close to it as
//!   the clock of the case allows.
//!
//! [`Bench`]'s own methods are `async fn`s, which call the engine when they are polled.
//! Where the difference between calling and polling is meant, [`Bench::called`] calls it.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentId, ComponentMessage, ComponentPattern,
    ComponentState, ComponentUsage, GuestError, HostServices, LogLevel, MessagePayload,
    Permissions, Preparation, Resource, ResourceLimits, RuntimeEngine, WasmError,
};
use wasm_fixtures::Fixture;

use super::{Engine, Lab, Settings};

/// Enough for every fixture that is meant to end, and for the slowest machine.
pub(super) const AMPLE: Duration = Duration::from_secs(60);

/// For what has no other end than its deadline.
pub(super) const SHORT: Duration = Duration::from_millis(250);

/// How long after its deadline a guest is stopped at the latest.
const PRECISION: Duration = Duration::from_millis(10);

/// How long a guest with this limit works to be done before its deadline, and how long
/// to be stopped at it. On a clock that is paused they are next to it; on a real one,
/// far enough for a machine that has much else to do.
pub(super) fn around(limit: Duration) -> [Duration; 2] {
    if time_is_paused() {
        let instant = Duration::from_millis(1);
        [limit - instant, limit + PRECISION + instant]
    } else {
        [limit / 4, 3 * limit]
    }
}

/// How much later than `limit` a call may end that was stopped at its deadline.
pub(super) fn tolerance() -> Duration {
    if time_is_paused() {
        10 * PRECISION
    } else {
        Duration::from_millis(500)
    }
}

/// Whether the clock of tokio stands while a thread does not wait for it.
fn time_is_paused() -> bool {
    let now = Instant::now();
    thread::sleep(Duration::from_millis(1));
    Instant::now() == now
}

pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;

/// What every fixture but a recursing or spinning one does with ease.
const AMPLE_FUEL: u64 = 100_000_000;

pub(super) fn id(text: &str) -> ComponentId {
    match text.parse() {
        Ok(id) => id,
        Err(error) => panic!("{error}"),
    }
}

/// Under which [`Bench::load`] loads it.
pub(super) fn id_of(fixture: Fixture) -> ComponentId {
    id(&format!("demo/{}/main", fixture.name))
}

pub(super) fn bytes(fixture: Fixture) -> Bytes {
    Bytes::from_static(fixture.wasm)
}

pub(super) fn limited(memory_bytes: u64, timeout: Duration, fuel: Option<u64>) -> ComponentConfig {
    match ResourceLimits::new(memory_bytes, timeout, fuel) {
        Ok(limits) => ComponentConfig::new(limits),
        Err(error) => panic!("{error}"),
    }
}

/// Limits that nothing but a hostile component comes near, and no permissions.
pub(super) fn config() -> ComponentConfig {
    limited(2 * MIB, AMPLE, Some(AMPLE_FUEL))
}

/// Only the time is limited.
pub(super) fn timed(timeout: Duration) -> ComponentConfig {
    limited(2 * MIB, timeout, None)
}

/// Only the fuel is limited, practically.
pub(super) fn fuelled(fuel: u64) -> ComponentConfig {
    limited(2 * MIB, AMPLE, Some(fuel))
}

pub(super) fn with_memory(bytes: u64) -> ComponentConfig {
    limited(bytes, AMPLE, Some(AMPLE_FUEL))
}

/// Everybody may be messaged, everything logged and 64 KiB stored.
pub(super) fn all_permissions() -> Permissions {
    let mut permissions = Permissions::default();
    permissions.send = whom("*/*/*");
    permissions.request = whom("*/*/*");
    permissions.broadcast = whom("*/*/*");
    permissions.storage = Some(64 * KIB);
    permissions.log = Some(LogLevel::Trace);
    permissions
}

pub(super) fn whom(pattern: &str) -> Vec<ComponentPattern> {
    match pattern.parse() {
        Ok(pattern) => vec![pattern],
        Err(error) => panic!("{error}"),
    }
}

pub(super) fn permitted() -> ComponentConfig {
    config().with_permissions(all_permissions())
}

pub(super) fn may(change: impl FnOnce(&mut Permissions)) -> ComponentConfig {
    let mut permissions = Permissions::default();
    change(&mut permissions);
    config().with_permissions(permissions)
}

pub(super) fn message(
    to: &ComponentHandle,
    payload: impl Into<MessagePayload>,
) -> ComponentMessage {
    ComponentMessage::new(id("test/sender/main"), to.id().clone(), payload)
}

impl<E: RuntimeEngine + ?Sized + 'static> Lab<E> {
    pub(super) fn bench(&self) -> Bench<E> {
        self.bench_with(HostServices::default())
    }

    pub(super) fn bench_with(&self, services: HostServices) -> Bench<E> {
        self.bench_of(services, Settings::default())
    }

    pub(super) fn bench_of(&self, services: HostServices, settings: Settings) -> Bench<E> {
        Bench {
            engine: (self.make)(services, settings),
        }
    }
}

/// An engine to be tried. What a case takes for granted panics when it does not hold.
pub(super) struct Bench<E: ?Sized> {
    pub(super) engine: Arc<E>,
}

impl<E: ?Sized> Clone for Bench<E> {
    fn clone(&self) -> Self {
        Self {
            engine: Arc::clone(&self.engine),
        }
    }
}

/// A call of the engine that was made, but not polled.
pub(super) type Called<'a> =
    Pin<Box<dyn Future<Output = Result<Option<MessagePayload>, WasmError>> + Send + 'a>>;

impl<E: Engine + ?Sized> Bench<E> {
    /// Calls the engine, and leaves it to others to poll.
    pub(super) fn called<'a>(
        &'a self,
        to: &'a ComponentHandle,
        payload: impl Into<MessagePayload>,
    ) -> Called<'a> {
        self.engine.call_handle_message(to, message(to, payload))
    }

    /// Drives a call that nothing ends yet until its guest has been entered.
    pub(super) async fn begun<F: Future + ?Sized>(
        &self,
        of: &ComponentHandle,
        mut call: Pin<&mut F>,
    ) {
        tokio::select! {
            biased;
            _ = &mut call => panic!("a call of {of} that nothing ends was done"),
            () = until(async || self.state(of).await == ComponentState::Busy) => {}
        }
    }

    pub(super) async fn try_load(
        &self,
        fixture: Fixture,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        let engine = &self.engine;
        engine
            .load_component(&id_of(fixture), bytes(fixture), config)
            .await
    }

    pub(super) async fn load(&self, fixture: Fixture, config: ComponentConfig) -> ComponentHandle {
        self.load_as(&id_of(fixture), fixture, config).await
    }

    pub(super) async fn load_as(
        &self,
        id: &ComponentId,
        fixture: Fixture,
        config: ComponentConfig,
    ) -> ComponentHandle {
        let loaded = self.engine.load_component(id, bytes(fixture), config);
        match loaded.await {
            Ok(handle) => handle,
            Err(error) => panic!("{} did not load: {error}", fixture.name),
        }
    }

    pub(super) async fn not_loaded(&self, fixture: Fixture, config: ComponentConfig) -> WasmError {
        match self.try_load(fixture, config).await {
            Ok(handle) => panic!("{} was loaded as {handle}", fixture.name),
            Err(error) => error,
        }
    }

    pub(super) async fn prepare(&self, fixture: Fixture, config: ComponentConfig) -> Preparation {
        let (id, engine) = (id_of(fixture), &self.engine);
        match engine.prepare_component(&id, bytes(fixture), &config).await {
            Ok(prepared) => prepared,
            Err(error) => panic!("{} was not prepared: {error}", fixture.name),
        }
    }

    /// Sends a message and reads the reply as text.
    pub(super) async fn send(
        &self,
        to: &ComponentHandle,
        payload: impl Into<MessagePayload>,
    ) -> Result<Option<String>, WasmError> {
        let message = message(to, payload);
        let reply = self.engine.call_handle_message(to, message).await?;
        Ok(reply.map(|reply| String::from_utf8_lossy(reply.as_bytes()).into_owned()))
    }

    /// The same in a task of its own.
    pub(super) fn spawn_send(
        &self,
        to: &ComponentHandle,
        payload: impl Into<MessagePayload>,
    ) -> JoinHandle<Result<Option<String>, WasmError>> {
        let (bench, to, payload) = (self.clone(), to.clone(), payload.into());
        tokio::spawn(async move { bench.send(&to, payload).await })
    }

    /// Sends what must be answered, be it with `none`.
    pub(super) async fn tell(
        &self,
        to: &ComponentHandle,
        payload: impl Into<MessagePayload>,
    ) -> Option<String> {
        match self.send(to, payload).await {
            Ok(reply) => reply,
            Err(error) => panic!("{to} did not answer: {error}"),
        }
    }

    /// Sends what must be answered with something.
    pub(super) async fn ask(
        &self,
        to: &ComponentHandle,
        payload: impl Into<MessagePayload>,
    ) -> String {
        match self.tell(to, payload).await {
            Some(reply) => reply,
            None => panic!("{to} answered `none`"),
        }
    }

    /// Sends what must not be answered.
    pub(super) async fn fail(
        &self,
        to: &ComponentHandle,
        payload: impl Into<MessagePayload>,
    ) -> WasmError {
        match self.send(to, payload).await {
            Ok(reply) => panic!("{to} answered {reply:?} instead of failing"),
            Err(error) => error,
        }
    }

    /// Sends what the guest must answer with an error, and reads that: mostly the
    /// name of the case with which a host function refused.
    pub(super) async fn refusal(
        &self,
        to: &ComponentHandle,
        payload: impl Into<MessagePayload>,
    ) -> String {
        match self.fail(to, payload).await {
            WasmError::GuestError {
                error: GuestError::RuntimeError(text),
                ..
            } => text,
            error => panic!("{to} failed instead of answering with an error: {error}"),
        }
    }

    pub(super) async fn call_back(
        &self,
        to: &ComponentHandle,
        payload: impl Into<MessagePayload>,
    ) -> Result<(), WasmError> {
        let message = message(to, payload);
        self.engine.call_handle_callback(to, message).await
    }

    pub(super) async fn restart(&self, handle: &ComponentHandle) {
        if let Err(error) = self.engine.restart_component(handle).await {
            panic!("{handle} did not restart: {error}");
        }
    }

    pub(super) async fn unload(&self, handle: &ComponentHandle) {
        if let Err(error) = self.engine.unload_component(handle).await {
            panic!("{handle} was not unloaded without an error: {error}");
        }
    }

    pub(super) async fn usage(&self, handle: &ComponentHandle) -> ComponentUsage {
        match self.engine.usage(handle).await {
            Ok(usage) => usage,
            Err(error) => panic!("the usage of {handle} is not known: {error}"),
        }
    }

    pub(super) async fn state(&self, handle: &ComponentHandle) -> ComponentState {
        self.usage(handle).await.state
    }

    /// What every method answers that does not answer otherwise, `unload_component`
    /// and `usage` excepted.
    pub(super) async fn errors_of_calls(&self, to: &ComponentHandle) -> Vec<WasmError> {
        let engine = &self.engine;
        let outcomes = [
            engine
                .call_handle_message(to, message(to, "ok"))
                .await
                .map(drop),
            engine.call_handle_callback(to, message(to, "ok")).await,
            engine.health(to).await.map(drop),
            engine.metadata(to).await.map(drop),
        ];
        let failed = |(name, outcome): (&str, Result<(), WasmError>)| match outcome {
            Ok(()) => panic!("{name} of {to} was answered"),
            Err(error) => error,
        };
        let names = ["a message", "a callback", "health", "metadata"];
        names.into_iter().zip(outcomes).map(failed).collect()
    }

    /// That nobody knows the handle.
    pub(super) async fn is_unknown(&self, handle: &ComponentHandle) {
        let mut errors = self.errors_of_calls(handle).await;
        match self.engine.restart_component(handle).await {
            Ok(()) => panic!("{handle} was restarted"),
            Err(error) => errors.push(error),
        }
        match self.engine.usage(handle).await {
            Ok(usage) => panic!("{handle} has a usage: {usage:?}"),
            Err(error) => errors.push(error),
        }
        for error in errors {
            not_found(&error, handle);
        }
    }

    /// That nothing is found under this id and the numbers around that of `handle`,
    /// which is of another id or was given for it.
    pub(super) async fn knows_nobody_near(&self, handle: &ComponentHandle, id: &ComponentId) {
        for distance in 0..=40_u64 {
            let number = handle.handle_id().wrapping_add(distance).wrapping_sub(20);
            let guessed = ComponentHandle::new(id.clone(), number);
            if guessed == *handle {
                continue;
            }
            match self.engine.usage(&guessed).await {
                Ok(usage) => panic!("{guessed} was left behind: {usage:?}"),
                Err(error) => not_found(&error, &guessed),
            }
        }
    }
}

#[track_caller]
pub(super) fn not_found(error: &WasmError, of: &ComponentHandle) {
    assert!(
        matches!(error, WasmError::ComponentNotFound { handle } if handle == of),
        "{of} should not be found, but: {error}"
    );
}

/// That the error says the component failed earlier, and of `cause`.
#[track_caller]
pub(super) fn failed_because(error: &WasmError, cause: &WasmError) {
    let WasmError::ComponentFailed { component, source } = error else {
        panic!("the component should have failed, but: {error}");
    };
    assert_eq!(Some(component), cause.component(), "who has failed");
    assert_eq!(
        source.to_string(),
        cause.to_string(),
        "why {component} failed"
    );
}

/// That the guest was stopped at the deadline of `config` in `export`.
#[track_caller]
pub(super) fn timed_out(error: &WasmError, config: &ComponentConfig, in_export: &str) {
    let WasmError::Timeout { limit, export, .. } = error else {
        panic!("`{in_export}` should end at its deadline, but: {error}");
    };
    let expected = (config.limits.timeout(), in_export);
    assert_eq!((*limit, &**export), expected, "limit and export");
}

/// That the guest was stopped at a limit of fuel or memory in `export`.
#[track_caller]
pub(super) fn exceeded(error: &WasmError, expected: Resource, limit: u64, in_export: &str) {
    let WasmError::ResourceLimitExceeded {
        resource,
        limit: found,
        export,
        ..
    } = error
    else {
        panic!("`{in_export}` should end at the limit of {expected:?}, but: {error}");
    };
    assert_eq!(
        (*resource, *found, &**export),
        (expected, limit, in_export),
        "resource, limit and export"
    );
}

/// Polls once; what it answers, if it does.
pub(super) async fn poll_once<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

/// Polls once what cannot be done yet: it has its place in the queue, and may have
/// begun.
pub(super) async fn begin<F: Future + ?Sized>(what: &str, future: Pin<&mut F>) {
    assert!(
        poll_once(future).await.is_none(),
        "{what} was done when it was polled for the first time"
    );
}

/// Looks again and again until it holds, less and less often; if it never does, the
/// case hangs.
pub(super) async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let mut pause = Duration::from_millis(1);
    while !holds().await {
        sleep(pause).await;
        pause *= 2;
    }
}
