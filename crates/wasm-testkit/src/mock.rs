//! An engine whose every call is answered by the test.
//!
//! [`pair`] gives an engine and the end at which its calls arrive. Nothing is
//! answered until the test does, so that it decides what happens at the same time,
//! in which order, and who is kept waiting:
//!
//! ```
//! use wasm_core::{ComponentHandle, ComponentId, ComponentMessage, RuntimeEngine};
//! use wasm_testkit::mock;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (engine, mut handle) = mock::pair();
//! let id = ComponentId::new("demo", "echo", "main")?;
//! let echo = ComponentHandle::new(id.clone(), 1);
//!
//! let message = ComponentMessage::new(id.clone(), id, "ping");
//! let caller = tokio::spawn(async move { engine.call_handle_message(&echo, message).await });
//!
//! let (_, message, answer) = handle.next_call().await.unwrap().expect_message();
//! assert_eq!(message.payload, "ping".into());
//! assert!(!caller.is_finished());
//! answer.ok(Some("pong".into()));
//! assert_eq!(caller.await??, Some("pong".into()));
//! # Ok(())
//! # }
//! ```
//!
//! [`scripted`] is for tests in which one call follows the other:
//!
//! ```
//! use wasm_core::{ComponentHandle, ComponentId, ComponentMessage, RuntimeEngine};
//! use wasm_testkit::mock::{self, Expectation};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let id = ComponentId::new("demo", "echo", "main")?;
//! let echo = ComponentHandle::new(id.clone(), 1);
//! let (engine, script) = mock::scripted([
//!     Expectation::message().to(&echo).with("ping").answers(Ok(Some("pong".into()))),
//!     Expectation::unload().to(&echo).answers(Ok(())),
//! ]);
//!
//! let message = ComponentMessage::new(id.clone(), id, "ping");
//! let answer = engine.call_handle_message(&echo, message).await?;
//! assert_eq!(answer, Some("pong".into()));
//! engine.unload_component(&echo).await?;
//! // Dropping the script does the same, so that a test cannot forget it.
//! script.verify();
//! # Ok(())
//! # }
//! ```

use std::collections::VecDeque;
use std::fmt::{self, Debug, Write};
use std::sync::{Arc, Mutex};
use std::thread;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use wasm_core::text::Quoted;
use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentId, ComponentMessage, ComponentMetadata,
    ComponentUsage, HealthStatus, MessagePayload, RuntimeEngine, WasmError,
};

use crate::Method;
use crate::lock::lock;

/// An engine and the end at which its calls arrive.
pub fn pair() -> (MockEngine, MockHandle) {
    let (calls, arriving) = mpsc::unbounded_channel();
    let engine = MockEngine {
        answerer: Answerer::Handle(calls),
    };
    (engine, MockHandle { calls: arriving })
}

/// An engine that is called exactly as the expectations say, in their order.
///
/// Keep the [`Script`] until the end of the test.
pub fn scripted(expectations: impl IntoIterator<Item = Expectation>) -> (MockEngine, Script) {
    let state = Arc::new(Mutex::new(ScriptState {
        expected: expectations.into_iter().collect(),
        met: Vec::new(),
        unexpected: Vec::new(),
    }));
    let engine = MockEngine {
        answerer: Answerer::Script(Arc::clone(&state)),
    };
    (engine, Script { state })
}

/// An engine without any components, made by [`pair`] or [`scripted`].
///
/// A call that nobody answers, because its [`Responder`] or the [`MockHandle`] is
/// gone or the script does not have it, ends in [`WasmError::Unsupported`]. Preparing a
/// component is not among the calls: there is nothing to do ahead of time here.
#[derive(Debug)]
pub struct MockEngine {
    answerer: Answerer,
}

enum Answerer {
    Handle(mpsc::UnboundedSender<Call>),
    Script(Arc<Mutex<ScriptState>>),
}

impl Debug for Answerer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handle(_) => "Handle",
            Self::Script(_) => "Script",
        })
    }
}

impl MockEngine {
    async fn call<T>(&self, call: impl FnOnce(Responder<T>) -> Call) -> Result<T, WasmError> {
        let (answer, answered) = oneshot::channel();
        let call = call(Responder { answer });
        let method = call.method();
        match &self.answerer {
            // If it cannot be sent, it is dropped, and its responder with it.
            Answerer::Handle(calls) => drop(calls.send(call)),
            Answerer::Script(script) => lock(script).answer(call),
        }
        answered.await.unwrap_or_else(|_| {
            Err(WasmError::Unsupported {
                what: format!("the mock engine was not told what to answer `{method}`"),
            })
        })
    }
}

/// Where the calls of a [`MockEngine`] arrive, in the order in which their futures
/// were first polled.
#[derive(Debug)]
pub struct MockHandle {
    calls: mpsc::UnboundedReceiver<Call>,
}

impl MockHandle {
    /// Waits for the next call, without end if none comes; `None` when there will be
    /// none, because the engine is gone.
    pub async fn next_call(&mut self) -> Option<Call> {
        self.calls.recv().await
    }

    /// The next call, if there is one already.
    pub fn try_next_call(&mut self) -> Option<Call> {
        self.calls.try_recv().ok()
    }
}

/// One call of a [`MockEngine`]: what it was given, and where its answer goes.
#[derive(Debug)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the parameters are those of the trait")]
pub enum Call {
    Load {
        id: ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
        answer: Responder<ComponentHandle>,
    },
    Unload {
        handle: ComponentHandle,
        answer: Responder<()>,
    },
    Message {
        handle: ComponentHandle,
        message: ComponentMessage,
        answer: Responder<Option<MessagePayload>>,
    },
    Callback {
        handle: ComponentHandle,
        message: ComponentMessage,
        answer: Responder<()>,
    },
    Restart {
        handle: ComponentHandle,
        answer: Responder<()>,
    },
    Health {
        handle: ComponentHandle,
        answer: Responder<HealthStatus>,
    },
    Metadata {
        handle: ComponentHandle,
        answer: Responder<ComponentMetadata>,
    },
    Usage {
        handle: ComponentHandle,
        answer: Responder<ComponentUsage>,
    },
}

/// Defines a method that takes a call for one of a certain kind.
macro_rules! expect {
    ($(#[$doc:meta])* $name:ident: $variant:ident { $($field:ident: $type:ty),* }) => {
        $(#[$doc])*
        ///
        /// # Panics
        /// If it is another call.
        #[track_caller]
        pub fn $name(self) -> ($($type,)*) {
            match self {
                Self::$variant { $($field),* } => ($($field,)*),
                other => panic!(
                    "expected `{}`, but came {}",
                    Kind::$variant.method(),
                    other.describe()
                ),
            }
        }
    };
}

impl Call {
    /// Which method of the engine was called.
    pub fn method(&self) -> Method {
        self.kind().method()
    }

    /// Whom it is about.
    pub fn component(&self) -> &ComponentId {
        match self {
            Self::Load { id, .. } => id,
            Self::Unload { handle, .. }
            | Self::Message { handle, .. }
            | Self::Callback { handle, .. }
            | Self::Restart { handle, .. }
            | Self::Health { handle, .. }
            | Self::Metadata { handle, .. }
            | Self::Usage { handle, .. } => handle.id(),
        }
    }

    expect! {
        /// A call of `load_component`.
        expect_load: Load {
            id: ComponentId,
            bytes: Bytes,
            config: ComponentConfig,
            answer: Responder<ComponentHandle>
        }
    }

    expect! {
        /// A call of `unload_component`.
        expect_unload: Unload { handle: ComponentHandle, answer: Responder<()> }
    }

    expect! {
        /// A call of `call_handle_message`.
        expect_message: Message {
            handle: ComponentHandle,
            message: ComponentMessage,
            answer: Responder<Option<MessagePayload>>
        }
    }

    expect! {
        /// A call of `call_handle_callback`.
        expect_callback: Callback {
            handle: ComponentHandle,
            message: ComponentMessage,
            answer: Responder<()>
        }
    }

    expect! {
        /// A call of `restart_component`.
        expect_restart: Restart { handle: ComponentHandle, answer: Responder<()> }
    }

    expect! {
        /// A call of `health`.
        expect_health: Health { handle: ComponentHandle, answer: Responder<HealthStatus> }
    }

    expect! {
        /// A call of `metadata`.
        expect_metadata: Metadata {
            handle: ComponentHandle,
            answer: Responder<ComponentMetadata>
        }
    }

    expect! {
        /// A call of `usage`.
        expect_usage: Usage { handle: ComponentHandle, answer: Responder<ComponentUsage> }
    }

    fn handle(&self) -> Option<&ComponentHandle> {
        match self {
            Self::Load { .. } => None,
            Self::Unload { handle, .. }
            | Self::Message { handle, .. }
            | Self::Callback { handle, .. }
            | Self::Restart { handle, .. }
            | Self::Health { handle, .. }
            | Self::Metadata { handle, .. }
            | Self::Usage { handle, .. } => Some(handle),
        }
    }

    fn payload(&self) -> Option<&MessagePayload> {
        match self {
            Self::Message { message, .. } | Self::Callback { message, .. } => {
                Some(&message.payload)
            }
            _ => None,
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Load { .. } => Kind::Load,
            Self::Unload { .. } => Kind::Unload,
            Self::Message { .. } => Kind::Message,
            Self::Callback { .. } => Kind::Callback,
            Self::Restart { .. } => Kind::Restart,
            Self::Health { .. } => Kind::Health,
            Self::Metadata { .. } => Kind::Metadata,
            Self::Usage { .. } => Kind::Usage,
        }
    }

    fn describe(&self) -> String {
        describe(
            self.kind(),
            Some(self.component()),
            self.handle(),
            self.payload(),
        )
    }
}

/// The variants of [`Call`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Load,
    Unload,
    Message,
    Callback,
    Restart,
    Health,
    Metadata,
    Usage,
}

impl Kind {
    fn method(self) -> Method {
        match self {
            Self::Load => Method::LoadComponent,
            Self::Unload => Method::UnloadComponent,
            Self::Message => Method::CallHandleMessage,
            Self::Callback => Method::CallHandleCallback,
            Self::Restart => Method::RestartComponent,
            Self::Health => Method::Health,
            Self::Metadata => Method::Metadata,
            Self::Usage => Method::Usage,
        }
    }
}

/// As much as is known: `call_handle_message of demo/a/main#1 with "ping"`.
fn describe(
    kind: Kind,
    component: Option<&ComponentId>,
    handle: Option<&ComponentHandle>,
    payload: Option<&MessagePayload>,
) -> String {
    let mut text = format!("`{}`", kind.method());
    // Writing into a string cannot fail.
    let _ = match (handle, component) {
        (Some(handle), _) => write!(text, " of {handle}"),
        (None, Some(component)) => write!(text, " of {component}"),
        (None, None) => Ok(()),
    };
    if let Some(payload) = payload {
        let payload = String::from_utf8_lossy(payload.as_bytes());
        let _ = write!(text, " with {}", Quoted::new(&payload));
    }
    text
}

/// Where the answer to a call goes. Dropped without one, it ends the call in
/// [`WasmError::Unsupported`].
#[derive(Debug)]
pub struct Responder<T> {
    answer: oneshot::Sender<Result<T, WasmError>>,
}

impl<T> Responder<T> {
    /// Ends the call. A caller that is gone does not notice.
    pub fn answer(self, outcome: Result<T, WasmError>) {
        // The answer comes back when there is nobody to take it.
        drop(self.answer.send(outcome));
    }

    /// Ends the call well.
    pub fn ok(self, result: T) {
        self.answer(Ok(result));
    }

    /// Ends the call in an error.
    pub fn fail(self, error: WasmError) {
        self.answer(Err(error));
    }

    /// Whether the caller has dropped the future of its call.
    pub fn is_cancelled(&self) -> bool {
        self.answer.is_closed()
    }

    /// Waits until the caller has dropped the future of its call.
    pub async fn cancelled(&mut self) {
        self.answer.closed().await;
    }
}

/// A call that a script expects, with its answer.
pub struct Expectation {
    expected: Expected,
    answer: Box<dyn FnOnce(Call) + Send>,
}

#[derive(Debug)]
struct Expected {
    kind: Kind,
    component: Option<ComponentId>,
    handle: Option<ComponentHandle>,
    payload: Option<MessagePayload>,
}

/// An [`Expectation`] that still lacks its answer.
///
/// Any call of the method meets it, whatever is not said of it.
#[must_use]
pub struct Expect<T> {
    expected: Expected,
    responder: fn(Call) -> Option<Responder<T>>,
}

/// Defines what expects a call of a certain kind.
macro_rules! expectation {
    ($(#[$doc:meta])* $name:ident: $variant:ident($type:ty)) => {
        $(#[$doc])*
        pub fn $name() -> Expect<$type> {
            Expect {
                expected: Expected {
                    kind: Kind::$variant,
                    component: None,
                    handle: None,
                    payload: None,
                },
                responder: |call| match call {
                    Call::$variant { answer, .. } => Some(answer),
                    _ => None,
                },
            }
        }
    };
}

impl Expectation {
    expectation! {
        /// A call of `load_component`.
        load: Load(ComponentHandle)
    }

    expectation! {
        /// A call of `unload_component`.
        unload: Unload(())
    }

    expectation! {
        /// A call of `call_handle_message`.
        message: Message(Option<MessagePayload>)
    }

    expectation! {
        /// A call of `call_handle_callback`.
        callback: Callback(())
    }

    expectation! {
        /// A call of `restart_component`.
        restart: Restart(())
    }

    expectation! {
        /// A call of `health`.
        health: Health(HealthStatus)
    }

    expectation! {
        /// A call of `metadata`.
        metadata: Metadata(ComponentMetadata)
    }

    expectation! {
        /// A call of `usage`.
        usage: Usage(ComponentUsage)
    }
}

impl<T: Send + 'static> Expect<T> {
    /// About this component, in whichever instance.
    pub fn of(mut self, component: &ComponentId) -> Self {
        self.expected.component = Some(component.clone());
        self
    }

    /// To this instance; nothing to expect of a load.
    pub fn to(mut self, handle: &ComponentHandle) -> Self {
        self.expected.handle = Some(handle.clone());
        self
    }

    /// With a message of this payload; only to be expected of a message or callback.
    pub fn with(mut self, payload: impl Into<MessagePayload>) -> Self {
        self.expected.payload = Some(payload.into());
        self
    }

    /// What the call ends in.
    pub fn answers(self, outcome: Result<T, WasmError>) -> Expectation {
        let responder = self.responder;
        Expectation {
            expected: self.expected,
            answer: Box::new(move |call| {
                if let Some(responder) = responder(call) {
                    responder.answer(outcome);
                }
            }),
        }
    }
}

impl Expected {
    fn is_met_by(&self, call: &Call) -> bool {
        fn fits<T: PartialEq>(expected: &Option<T>, found: Option<&T>) -> bool {
            expected.is_none() || expected.as_ref() == found
        }
        self.kind == call.kind()
            && fits(&self.component, Some(call.component()))
            && fits(&self.handle, call.handle())
            && fits(&self.payload, call.payload())
    }

    fn describe(&self) -> String {
        let (component, handle) = (self.component.as_ref(), self.handle.as_ref());
        describe(self.kind, component, handle, self.payload.as_ref())
    }
}

impl Debug for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expectation({})", self.expected.describe())
    }
}

impl<T> Debug for Expect<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expect({})", self.expected.describe())
    }
}

/// Fails the test, when it is dropped, if its [`MockEngine`] was not called as
/// expected, and tells what was expected and what came. In a test that has already
/// failed it only tells.
#[derive(Debug)]
pub struct Script {
    state: Arc<Mutex<ScriptState>>,
}

#[derive(Debug)]
struct ScriptState {
    expected: VecDeque<Expectation>,
    met: Vec<String>,
    unexpected: Vec<Surprise>,
}

/// A call that was not the next in the script.
#[derive(Debug)]
struct Surprise {
    came: String,
    instead_of: Option<String>,
}

impl Script {
    /// Does now what dropping does.
    ///
    /// # Panics
    /// If a call was not expected or one that was did not come.
    #[track_caller]
    pub fn verify(self) {
        // Here, so that the panic names the caller's line.
        let complaint = lock(&self.state).take_complaint();
        if let Some(complaint) = complaint {
            panic!("{complaint}");
        }
    }
}

impl ScriptState {
    fn answer(&mut self, call: Call) {
        let came = call.describe();
        let met = self
            .expected
            .pop_front_if(|next| next.expected.is_met_by(&call));
        if let Some(met) = met {
            self.met.push(came);
            (met.answer)(call);
            return;
        }
        // What was expected instead stays the next.
        let instead_of = self.expected.front().map(|next| next.expected.describe());
        self.unexpected.push(Surprise { came, instead_of });
    }

    /// What went wrong, if anything did, and forgets it.
    fn take_complaint(&mut self) -> Option<String> {
        let complaint = self.complaint();
        self.unexpected.clear();
        self.expected.clear();
        complaint
    }

    fn complaint(&self) -> Option<String> {
        if self.unexpected.is_empty() && self.expected.is_empty() {
            return None;
        }
        let mut text = "the mock engine was not called as expected".to_owned();
        for Surprise { came, instead_of } in &self.unexpected {
            let instead_of = instead_of.as_deref().unwrap_or("nothing");
            text += &format!("\n  expected {instead_of}, but came {came}");
        }
        for missing in &self.expected {
            text += &format!("\n  never came: {}", missing.expected.describe());
        }
        for met in &self.met {
            text += &format!("\n  came as expected: {met}");
        }
        Some(text)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let Some(complaint) = lock(&self.state).take_complaint() else {
            return;
        };
        if thread::panicking() {
            eprintln!("{complaint}");
        } else {
            panic!("{complaint}");
        }
    }
}

#[async_trait]
impl RuntimeEngine for MockEngine {
    async fn load_component(
        &self,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        self.call(|answer| Call::Load {
            id: id.clone(),
            bytes,
            config,
            answer,
        })
        .await
    }

    async fn unload_component(&self, handle: &ComponentHandle) -> Result<(), WasmError> {
        let handle = handle.clone();
        self.call(|answer| Call::Unload { handle, answer }).await
    }

    async fn call_handle_message(
        &self,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<Option<MessagePayload>, WasmError> {
        let handle = handle.clone();
        self.call(|answer| Call::Message {
            handle,
            message,
            answer,
        })
        .await
    }

    async fn call_handle_callback(
        &self,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), WasmError> {
        let handle = handle.clone();
        self.call(|answer| Call::Callback {
            handle,
            message,
            answer,
        })
        .await
    }

    async fn restart_component(&self, handle: &ComponentHandle) -> Result<(), WasmError> {
        let handle = handle.clone();
        self.call(|answer| Call::Restart { handle, answer }).await
    }

    async fn health(&self, handle: &ComponentHandle) -> Result<HealthStatus, WasmError> {
        let handle = handle.clone();
        self.call(|answer| Call::Health { handle, answer }).await
    }

    async fn metadata(&self, handle: &ComponentHandle) -> Result<ComponentMetadata, WasmError> {
        let handle = handle.clone();
        self.call(|answer| Call::Metadata { handle, answer }).await
    }

    async fn usage(&self, handle: &ComponentHandle) -> Result<ComponentUsage, WasmError> {
        let handle = handle.clone();
        self.call(|answer| Call::Usage { handle, answer }).await
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::time::Duration;

    use wasm_core::{ComponentState, ResourceLimits};

    use super::*;
    use crate::poll::now;

    fn handle(number: u64) -> ComponentHandle {
        ComponentHandle::new(ComponentId::new("demo", "a", "main").unwrap(), number)
    }

    fn message(text: &'static str) -> ComponentMessage {
        let id = handle(1).id().clone();
        ComponentMessage::new(id.clone(), id, text)
    }

    fn config() -> ComponentConfig {
        ComponentConfig::new(ResourceLimits::new(1 << 20, Duration::from_secs(1), None).unwrap())
    }

    fn failed() -> WasmError {
        WasmError::ComponentNotFound { handle: handle(1) }
    }

    #[tokio::test]
    async fn every_call_arrives_with_its_parameters_and_gets_its_answer() {
        let (engine, mut calls) = pair();
        let config = config();
        let one = handle(1);
        let all = async {
            let loaded = engine.load_component(one.id(), Bytes::from("wasm"), config.clone());
            assert_eq!(loaded.await.unwrap(), one);
            let reply = engine.call_handle_message(&one, message("m")).await;
            assert_eq!(reply.unwrap(), Some("r".into()));
            engine
                .call_handle_callback(&one, message("c"))
                .await
                .unwrap();
            engine.restart_component(&one).await.unwrap();
            assert_eq!(engine.health(&one).await.unwrap(), HealthStatus::Degraded);
            let metadata = engine.metadata(&one).await.unwrap();
            assert_eq!(metadata, ComponentMetadata::default());
            let usage = engine.usage(&one).await.unwrap();
            assert_eq!(usage.state, ComponentState::Failed);
            engine.unload_component(&one).await.unwrap_err()
        };
        let answering = async {
            let mut methods = Vec::new();
            let mut next = async || {
                let call = calls.next_call().await.unwrap();
                assert_eq!(call.component(), one.id());
                methods.push(call.method().to_string());
                call
            };
            let (id, bytes, given, answer) = next().await.expect_load();
            assert_eq!(
                (&id, &*bytes, given),
                (one.id(), &b"wasm"[..], config.clone())
            );
            answer.ok(one.clone());
            let (to, given, answer) = next().await.expect_message();
            assert_eq!((&to, given), (&one, message("m")));
            answer.ok(Some("r".into()));
            let (to, given, answer) = next().await.expect_callback();
            assert_eq!((&to, given), (&one, message("c")));
            answer.ok(());
            next().await.expect_restart().1.ok(());
            next().await.expect_health().1.ok(HealthStatus::Degraded);
            next()
                .await
                .expect_metadata()
                .1
                .ok(ComponentMetadata::default());
            let usage = ComponentUsage::new(ComponentState::Failed);
            next().await.expect_usage().1.ok(usage);
            next().await.expect_unload().1.fail(failed());
            methods
        };
        let (error, methods) = tokio::join!(all, answering);
        assert!(
            matches!(error, WasmError::ComponentNotFound { .. }),
            "{error}"
        );
        let expected = [
            "load_component",
            "call_handle_message",
            "call_handle_callback",
            "restart_component",
            "health",
            "metadata",
            "usage",
            "unload_component",
        ];
        assert_eq!(methods, expected);
        drop(engine);
        assert!(calls.next_call().await.is_none());
    }

    #[tokio::test]
    async fn calls_wait_and_are_answered_in_whichever_order() {
        let (engine, mut calls) = pair();
        assert!(calls.try_next_call().is_none());
        let engine = Arc::new(engine);
        let ask = |text| {
            let engine = Arc::clone(&engine);
            tokio::spawn(async move { engine.call_handle_message(&handle(1), message(text)).await })
        };
        let (one, two) = (ask("one"), ask("two"));
        let (_, first, answer_one) = calls.next_call().await.unwrap().expect_message();
        let (_, second, answer_two) = calls.next_call().await.unwrap().expect_message();
        assert_eq!((first, second), (message("one"), message("two")));
        answer_two.ok(Some("2".into()));
        assert_eq!(two.await.unwrap().unwrap(), Some("2".into()));
        assert!(!one.is_finished());
        answer_one.ok(None);
        assert_eq!(one.await.unwrap().unwrap(), None);
    }

    #[tokio::test]
    async fn a_responder_sees_that_its_caller_is_gone() {
        let (engine, mut calls) = pair();
        let caller = tokio::spawn(async move { engine.health(&handle(1)).await });
        let (_, mut answer) = calls.next_call().await.unwrap().expect_health();
        assert!(!answer.is_cancelled());
        caller.abort();
        answer.cancelled().await;
        assert!(answer.is_cancelled());
        answer.ok(HealthStatus::Healthy);
    }

    #[test]
    fn a_call_that_nobody_can_answer_ends() {
        let (engine, calls) = pair();
        drop(calls);
        let error = now(engine.health(&handle(1))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "not supported by this engine: the mock engine was not told what to answer `health`"
        );
    }

    #[test]
    #[should_panic(expected = "expected `health`, but came `metadata` of demo/a/main#1")]
    fn expecting_another_call_says_what_came() {
        let (answer, _) = oneshot::channel();
        let handle = handle(1);
        let answer = Responder { answer };
        Call::Metadata { handle, answer }.expect_health();
    }

    #[test]
    fn a_script_answers_what_it_expects() {
        let (engine, script) = scripted([
            Expectation::load()
                .of(handle(1).id())
                .answers(Ok(handle(1))),
            Expectation::message().answers(Err(failed())),
            Expectation::callback()
                .to(&handle(1))
                .with("c")
                .answers(Ok(())),
        ]);
        let config = config();
        let loaded = now(engine.load_component(handle(1).id(), Bytes::new(), config)).unwrap();
        assert_eq!(loaded, handle(1));
        let error = now(engine.call_handle_message(&loaded, message("any"))).unwrap_err();
        assert!(
            matches!(error, WasmError::ComponentNotFound { .. }),
            "{error}"
        );
        now(engine.call_handle_callback(&loaded, message("c"))).unwrap();
        script.verify();
    }

    /// With what it panics.
    fn complaint(test: impl FnOnce()) -> String {
        let panic = catch_unwind(AssertUnwindSafe(test)).unwrap_err();
        *panic.downcast::<String>().unwrap()
    }

    #[test]
    fn a_script_that_was_not_followed_says_what_was_expected_and_what_came() {
        let (engine, script) = scripted([
            Expectation::health().answers(Ok(HealthStatus::Healthy)),
            Expectation::message()
                .to(&handle(1))
                .with("ping")
                .answers(Ok(None)),
            Expectation::unload().answers(Ok(())),
        ]);
        assert_eq!(
            now(engine.health(&handle(7))).unwrap(),
            HealthStatus::Healthy
        );
        for _ in 0..2 {
            let error = now(engine.call_handle_message(&handle(1), message("pong"))).unwrap_err();
            assert!(matches!(error, WasmError::Unsupported { .. }), "{error}");
        }
        assert_eq!(
            now(engine.call_handle_message(&handle(1), message("ping"))).unwrap(),
            None
        );
        let text = complaint(|| script.verify());
        let expected = "the mock engine was not called as expected
  expected `call_handle_message` of demo/a/main#1 with \"ping\", but came \
             `call_handle_message` of demo/a/main#1 with \"pong\"
  expected `call_handle_message` of demo/a/main#1 with \"ping\", but came \
             `call_handle_message` of demo/a/main#1 with \"pong\"
  never came: `unload_component`
  came as expected: `health` of demo/a/main#7
  came as expected: `call_handle_message` of demo/a/main#1 with \"ping\"";
        assert_eq!(text, expected);
        let (engine, script) = scripted([]);
        now(engine.unload_component(&handle(1))).unwrap_err();
        let text = complaint(|| drop(script));
        assert!(
            text.ends_with("expected nothing, but came `unload_component` of demo/a/main#1"),
            "{text}"
        );
    }

    #[test]
    fn a_test_that_fails_elsewhere_fails_for_its_own_reason() {
        let text = complaint(|| {
            let (_engine, _script) = scripted([Expectation::health().answers(Err(failed()))]);
            panic!("{}", "its own reason");
        });
        assert_eq!(text, "its own reason");
    }
}
