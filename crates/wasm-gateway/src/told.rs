//! Events as JSON.

use schemars::JsonSchema;
use serde::Serialize;

use wasm_core::ComponentId;
use wasm_host::{Event, LetterKind, Reply};

/// Something that happened in a host.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Told {
    /// What it was, such as `failed` or `dead-letter`.
    pub(crate) kind: &'static str,
    /// When it was told, in milliseconds since 1970.
    at: u64,
    /// One line for people.
    text: String,
    /// The component that it is about: of a message, the one that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<String>,
    /// Who sent the message that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    /// What is said of a message that was handled.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<ToldMessage>,
}

/// A message that a component has handled.
#[derive(Debug, Serialize, JsonSchema)]
struct ToldMessage {
    /// `message`, `request`, `callback`, `timer` or `call`.
    kind: String,
    /// Of its payload.
    bytes: usize,
    /// `nothing`, `bytes` or `error`.
    reply: &'static str,
    /// From when it was accepted to when the call began, in microseconds.
    waited_us: u64,
    /// The call, in microseconds.
    took_us: u64,
}

impl Told {
    pub(crate) fn new(event: &Event, at: u64) -> Self {
        Self {
            kind: event.kind(),
            at,
            text: event.to_string(),
            component: event.component().map(ToString::to_string),
            from: event.sender().map(ToString::to_string),
            message: message_of(event),
        }
    }
}

/// Whether it has to do with this component.
pub(crate) fn is_about(event: &Event, id: &ComponentId) -> bool {
    event.component() == Some(id) || event.sender() == Some(id)
}

fn message_of(event: &Event) -> Option<ToldMessage> {
    let Event::Message {
        kind,
        bytes,
        reply,
        waited,
        took,
        ..
    } = event
    else {
        return None;
    };
    let kind: LetterKind = *kind;
    Some(ToldMessage {
        kind: kind.to_string(),
        bytes: *bytes,
        reply: match reply {
            Reply::Nothing => "nothing",
            Reply::Bytes(_) => "bytes",
            Reply::Error(_) => "error",
        },
        waited_us: waited.as_micros() as u64,
        took_us: took.as_micros() as u64,
    })
}
