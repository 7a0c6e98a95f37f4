//! An engine whose every call is answered by the test.
//!
//! | the test | with |
//! |---|---|
//! | says beforehand which calls come, in which order | [`scripted`] |
//! | says beforehand which calls come, in any order | [`unordered`] |
//! | answers each call when it has come | [`pair`] |
//!
//! An [`Expectation`] says which calls it stands for, how many of them, and what they
//! end in:
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
//!     Expectation::message().to(&echo).payload("ping").answers(Ok(Some("pong".into()))),
//!     Expectation::message()
//!         .times(2)
//!         .withf(|(_, message)| message.payload.len() > 10)
//!         .answers_with(|(_, message)| Ok(Some(message.payload))),
//!     Expectation::unload().to(&echo).answers(Ok(())),
//! ]);
//!
//! let ask = |question| ComponentMessage::new(id.clone(), id.clone(), question);
//! let answer = engine.call_handle_message(&echo, ask("ping")).await?;
//! assert_eq!(answer, Some("pong".into()));
//! for _ in 0..2 {
//!     let answer = engine.call_handle_message(&echo, ask("a longer question")).await?;
//!     assert_eq!(answer, Some("a longer question".into()));
//! }
//! engine.unload_component(&echo).await?;
//! // Dropping the script does the same, so that a test cannot forget it.
//! script.verify();
//! # Ok(())
//! # }
//! ```
//!
//! With [`pair`], nothing is answered until the test does, so that it decides what
//! happens at the same time, in which order, and who is kept waiting:
//!
//! ```
//! use wasm_core::{ComponentHandle, ComponentId, ComponentMessage, RuntimeEngine};
//! use wasm_testkit::mock;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (engine, mut calls) = mock::pair();
//! let id = ComponentId::new("demo", "echo", "main")?;
//! let echo = ComponentHandle::new(id.clone(), 1);
//!
//! let message = ComponentMessage::new(id.clone(), id, "ping");
//! let caller = tokio::spawn(async move { engine.call_handle_message(&echo, message).await });
//!
//! let (_, message, answer) = calls.next_call().await.expect_message();
//! assert_eq!(message.payload, "ping".into());
//! assert!(!caller.is_finished());
//! answer.ok(Some("pong".into()));
//! assert_eq!(caller.await??, Some("pong".into()));
//! # Ok(())
//! # }
//! ```

#[expect(unused_parens, reason = "where a macro writes a tuple of one")]
mod call;
#[expect(unused_parens, reason = "where a macro writes a tuple of one")]
mod expectation;
mod handle;
mod methods;
mod script;

use std::fmt::{self, Debug};
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::Bytes;
use tokio::sync::oneshot;

use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentId, ComponentMessage, ComponentMetadata,
    ComponentUsage, HealthStatus, MessagePayload, Preparation, RuntimeEngine, WasmError,
};

use self::handle::Calls;
use self::script::Plan;
use crate::lock::lock;

pub use self::call::{Call, Responder};
pub use self::expectation::{Expect, Expectation, Times};
pub use self::handle::MockHandle;
pub use self::script::Script;

/// An engine and the end at which its calls arrive.
pub fn pair() -> (MockEngine, MockHandle) {
    let calls = Arc::new(Calls::default());
    let engine = MockEngine {
        answerer: Answerer::Handle(Arc::clone(&calls)),
    };
    (engine, MockHandle::new(calls))
}

/// An engine that is called as the expectations say, in their order.
///
/// One that has come as often as it must makes way for the next as soon as a call fits
/// the next and not it; one that may come any number of times, or not at all, is passed
/// over alike. Keep the [`Script`] until the end of the test.
pub fn scripted(expectations: impl IntoIterator<Item = Expectation>) -> (MockEngine, Script) {
    planned(Plan::new(expectations, true))
}

/// An engine that is called as the expectations say, in any order.
///
/// Where several fit a call, it counts for the first of them that has not yet come as
/// often as it may. Keep the [`Script`] until the end of the test.
pub fn unordered(expectations: impl IntoIterator<Item = Expectation>) -> (MockEngine, Script) {
    planned(Plan::new(expectations, false))
}

fn planned(plan: Plan) -> (MockEngine, Script) {
    let plan = Arc::new(Mutex::new(plan));
    let engine = MockEngine {
        answerer: Answerer::Script(Arc::clone(&plan)),
    };
    (engine, Script::new(plan))
}

/// An engine without any components, made by [`pair`], [`scripted`] or [`unordered`].
///
/// A call that is in no script panics, with what came, from where, and what was expected
/// instead. Where the panic does not reach the test, as in a task, the [`Script`] fails
/// it. The place of a call that came through `dyn RuntimeEngine` or another engine is not
/// known: the backtrace of the panic, with `RUST_BACKTRACE=1`, has it.
///
/// A call that nobody can answer any more, because its [`Responder`], the [`MockHandle`]
/// or the [`Script`] is gone, ends in [`WasmError::Unsupported`].
#[derive(Debug)]
pub struct MockEngine {
    answerer: Answerer,
}

enum Answerer {
    Handle(Arc<Calls>),
    Script(Arc<Mutex<Plan>>),
}

impl Debug for Answerer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handle(_) => "Handle",
            Self::Script(_) => "Script",
        })
    }
}

impl Drop for MockEngine {
    fn drop(&mut self) {
        if let Answerer::Handle(calls) = &self.answerer {
            calls.end();
        }
    }
}

impl MockEngine {
    async fn call<T>(
        &self,
        place: &'static Location<'static>,
        call: impl FnOnce(Responder<T>) -> Call,
    ) -> Result<T, WasmError> {
        let (answer, answered) = oneshot::channel();
        let call = call(Responder::new(answer, place));
        let method = call.method();
        match &self.answerer {
            Answerer::Handle(calls) => calls.put(call),
            Answerer::Script(plan) => {
                let met = lock(plan).meet(&call);
                match met {
                    Ok(Some(behaviour)) => behaviour.answer(call).await,
                    Ok(None) => drop(call),
                    // A panic during a panic would abort the test.
                    Err(_) if thread::panicking() => drop(call),
                    Err(complaint) => panic!("{complaint}"),
                }
            }
        }
        answered.await.unwrap_or_else(|_| {
            Err(WasmError::Unsupported {
                what: format!("the mock engine was not told what to answer `{method}`"),
            })
        })
    }
}

type Answering<'a, T> = Pin<Box<dyn Future<Output = Result<T, WasmError>> + Send + 'a>>;

/// Writes a method as `async_trait` would, but for `track_caller`: by the time its future
/// is polled, nobody knows who made it.
macro_rules! method {
    ($name:ident($first:ident: $first_type:ty $(, $more:ident: $more_type:ty)*): $variant:ident -> $answer:ty) => {
        #[track_caller]
        fn $name<'a, 'b, 'c>(
            &'a self,
            $first: &'b $first_type
            $(, $more: $more_type)*
        ) -> Answering<'c, $answer>
        where
            'a: 'c,
            'b: 'c,
            Self: 'c,
        {
            let place = Location::caller();
            Box::pin(self.call(place, |answer| {
                Call::$variant(($first.clone() $(, $more)*), answer)
            }))
        }
    };
}

impl RuntimeEngine for MockEngine {
    #[track_caller]
    fn prepare_component<'a, 'b, 'c, 'd>(
        &'a self,
        id: &'b ComponentId,
        bytes: Bytes,
        config: &'c ComponentConfig,
    ) -> Answering<'d, Preparation>
    where
        'a: 'd,
        'b: 'd,
        'c: 'd,
        Self: 'd,
    {
        let place = Location::caller();
        Box::pin(self.call(place, |answer| {
            Call::Prepare((id.clone(), bytes, config.clone()), answer)
        }))
    }

    method!(load_component(id: ComponentId, bytes: Bytes, config: ComponentConfig): Load -> ComponentHandle);
    method!(unload_component(handle: ComponentHandle): Unload -> ());
    method!(call_handle_message(handle: ComponentHandle, message: ComponentMessage): Message -> Option<MessagePayload>);
    method!(call_handle_callback(handle: ComponentHandle, message: ComponentMessage): Callback -> ());
    method!(restart_component(handle: ComponentHandle): Restart -> ());
    method!(health(handle: ComponentHandle): Health -> HealthStatus);
    method!(metadata(handle: ComponentHandle): Metadata -> ComponentMetadata);
    method!(usage(handle: ComponentHandle): Usage -> ComponentUsage);
}
