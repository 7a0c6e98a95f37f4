use std::fmt::{self, Display};
use std::panic::Location;

use bytes::Bytes;
use tokio::sync::oneshot;

use wasm_core::text::{Escaped, Quoted};
use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentId, ComponentMessage, ComponentMetadata,
    ComponentUsage, HealthStatus, MessagePayload, Preparation, WasmError,
};

use super::methods::each_method;
use crate::Method;

/// Where the answer to a call goes. Dropped without one, it ends the call in
/// [`WasmError::Unsupported`].
#[derive(Debug)]
pub struct Responder<T> {
    answer: oneshot::Sender<Result<T, WasmError>>,
    place: &'static Location<'static>,
}

impl<T> Responder<T> {
    pub(super) fn new(
        answer: oneshot::Sender<Result<T, WasmError>>,
        place: &'static Location<'static>,
    ) -> Self {
        Self { answer, place }
    }

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

/// What the methods of an engine are given, as far as a call of them may be told apart.
trait Arguments {
    fn component(&self) -> &ComponentId;

    fn handle(&self) -> Option<&ComponentHandle> {
        None
    }

    fn message(&self) -> Option<&ComponentMessage> {
        None
    }

    fn source(&self) -> Option<(&Bytes, &ComponentConfig)> {
        None
    }
}

impl Arguments for ComponentHandle {
    fn component(&self) -> &ComponentId {
        self.id()
    }

    fn handle(&self) -> Option<&ComponentHandle> {
        Some(self)
    }
}

impl Arguments for (ComponentHandle, ComponentMessage) {
    fn component(&self) -> &ComponentId {
        self.0.id()
    }

    fn handle(&self) -> Option<&ComponentHandle> {
        Some(&self.0)
    }

    fn message(&self) -> Option<&ComponentMessage> {
        Some(&self.1)
    }
}

impl Arguments for (ComponentId, Bytes, ComponentConfig) {
    fn component(&self) -> &ComponentId {
        &self.0
    }

    fn source(&self) -> Option<(&Bytes, &ComponentConfig)> {
        Some((&self.1, &self.2))
    }
}

/// Defines [`Call`]: a line for each method of an engine.
macro_rules! calls {
    ($($method:ident, $name:literal: $variant:ident, $expected:ident, $expect:ident, ($($field:ident: $type:ty),+) -> $answer:ty;)+) => {
        /// One call of a [`MockEngine`](super::MockEngine): what it was given, and where
        /// its answer goes.
        #[derive(Debug)]
        #[non_exhaustive]
        pub enum Call {
            $(
                #[doc = concat!("A call of `", $name, "`.")]
                $variant(($($type),+), Responder<$answer>),
            )+
        }

        impl Call {
            /// Which method of the engine was called.
            pub fn method(&self) -> Method {
                match self {
                    $(Self::$variant(..) => Method::$method,)+
                }
            }

            /// Where it was called, if that is known.
            pub fn place(&self) -> Option<&'static Location<'static>> {
                let place = match self {
                    $(Self::$variant(_, answer) => answer.place,)+
                };
                // One in this crate is that of a wrapper, or of a method behind `dyn`.
                let here = file!().strip_suffix("call.rs")?;
                let here = here.strip_suffix(['/', '\\'])?.strip_suffix("mock")?;
                (!place.file().starts_with(here)).then_some(place)
            }

            fn arguments(&self) -> &dyn Arguments {
                match self {
                    $(Self::$variant(arguments, _) => arguments,)+
                }
            }

            $(
                #[doc = concat!("What `", $name, "` was given, and where its answer goes.")]
                ///
                /// # Panics
                /// If it is a call of another method.
                #[track_caller]
                pub fn $expect(self) -> ($($type,)+ Responder<$answer>) {
                    match self {
                        Self::$variant(($($field),+), answer) => ($($field,)+ answer),
                        other => panic!(
                            "expected `{}`, but came {other}, called {}",
                            Method::$method,
                            other.from()
                        ),
                    }
                }
            )+
        }
    };
}

each_method!(calls);

impl Call {
    /// Whom it is about.
    pub fn component(&self) -> &ComponentId {
        self.arguments().component()
    }

    /// The instance it is about; none of a load or a preparation.
    pub fn handle(&self) -> Option<&ComponentHandle> {
        self.arguments().handle()
    }

    /// What a message or callback hands over.
    pub fn message(&self) -> Option<&ComponentMessage> {
        self.arguments().message()
    }

    /// The bytes and configuration of a load or a preparation.
    pub fn source(&self) -> Option<(&Bytes, &ComponentConfig)> {
        self.arguments().source()
    }

    pub(super) fn from(&self) -> String {
        match self.place() {
            Some(place) => format!("at {place}"),
            None => "through `dyn` or another engine".to_owned(),
        }
    }
}

/// The method and its arguments, in the words of an expectation.
impl Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ", self.method())?;
        match self.handle() {
            Some(handle) => of_instance(handle).fmt(f)?,
            None => of_component(self.component()).fmt(f)?,
        }
        if let Some(message) = self.message() {
            let ComponentMessage {
                sender,
                correlation_id,
                reply_to,
                message_type,
                payload,
                ..
            } = message;
            write!(f, ", {}, {}", with_payload(payload), with_sender(sender))?;
            if let Some(id) = correlation_id {
                write!(f, ", {}", with_correlation_id(id.as_str()))?;
            }
            if let Some(id) = reply_to {
                write!(f, ", {}", with_reply_to(id))?;
            }
            if let Some(message_type) = message_type {
                write!(f, ", {}", with_message_type(message_type))?;
            }
        }
        if let Some((bytes, config)) = self.source() {
            write!(f, ", {}, {}", with_bytes(bytes), with_config(config))?;
        }
        Ok(())
    }
}

pub(super) fn of_component(id: &ComponentId) -> String {
    format!("of {id}")
}

pub(super) fn of_instance(handle: &ComponentHandle) -> String {
    format!("of {handle}")
}

pub(super) fn with_payload(payload: &MessagePayload) -> String {
    let payload = String::from_utf8_lossy(payload.as_bytes());
    format!("payload {}", Quoted::new(&payload))
}

pub(super) fn with_sender(id: &ComponentId) -> String {
    format!("sender {id}")
}

pub(super) fn with_correlation_id(id: &str) -> String {
    format!("correlation id {}", Quoted::new(id))
}

pub(super) fn with_reply_to(id: &ComponentId) -> String {
    format!("reply to {id}")
}

pub(super) fn with_message_type(message_type: &str) -> String {
    format!("message type {}", Quoted::new(message_type))
}

/// Those that are shown tell one component from another seldom, their number does.
pub(super) fn with_bytes(bytes: &[u8]) -> String {
    let beginning = &bytes[..bytes.len().min(16)];
    let shown = beginning.escape_ascii().to_string();
    format!("{} bytes \"{}\"", bytes.len(), Escaped::new(&shown))
}

pub(super) fn with_config(config: &ComponentConfig) -> String {
    format!("{config:?}")
}
