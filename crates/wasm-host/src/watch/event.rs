use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::Duration;

use wasm_core::text::{Escaped, Quoted};
use wasm_core::units::format_bytes;
use wasm_core::{Capability, ComponentId, ComponentPattern, GuestError, WasmError};

use crate::post::letter::LetterKind;
use crate::watch::dead_letter::DeadLetterCause;

/// Something that happened in a host. Printed, it is one line for an operator.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A component was loaded and takes messages.
    Loaded {
        /// Which.
        component: ComponentId,
    },
    /// A component could not be loaded, or not be replaced by another version.
    NotLoaded {
        /// Which.
        component: ComponentId,
        /// What preparing or loading it ended in.
        error: Arc<WasmError>,
    },
    /// A component has handled a message; one that it failed over is a
    /// [`Failed`](Self::Failed) and a [`DeadLetter`](Self::DeadLetter).
    Message {
        /// Who sent it.
        from: ComponentId,
        /// Who handled it.
        to: ComponentId,
        /// What it was.
        kind: LetterKind,
        /// Of a call, its name.
        call: Option<Arc<str>>,
        /// Of its payload.
        bytes: usize,
        /// What the component answered it with.
        reply: Reply,
        /// From when it was accepted to when the call began.
        waited: Duration,
        /// The call.
        took: Duration,
    },
    /// A component asked for what it may not do. Log lines that are not kept are none
    /// of these.
    Denied {
        /// Which.
        component: ComponentId,
        /// What it asked for.
        capability: Capability,
        /// What it may do of this kind, for those capabilities that are about others.
        granted: Vec<ComponentPattern>,
        /// As the component was told.
        reason: String,
    },
    /// A component was denied more than is told one by one: within a second, 16 different
    /// capabilities once each. A validator is told of every denial, see
    /// [`SecurityValidator::denied`](wasm_core::SecurityValidator::denied).
    DenialsLeftOut {
        /// Which.
        component: ComponentId,
        /// How many others there were.
        denials: u64,
    },
    /// A component's instance is gone.
    Failed {
        /// Which.
        component: ComponentId,
        /// Why.
        error: Arc<WasmError>,
    },
    /// It has a fresh instance.
    Restarted {
        /// Which.
        component: ComponentId,
    },
    /// It had nothing to do for as long as its manifest says, and its instance was shut down.
    Slept {
        /// Which.
        component: ComponentId,
        /// What its `shutdown` ended with, if not well.
        error: Option<Arc<WasmError>>,
    },
    /// There was a message for it, or an operator asked for it, and it has an instance again.
    Woke {
        /// Which.
        component: ComponentId,
    },
    /// It has said so often in a row that it is unhealthy that it is restarted.
    Unhealthy {
        /// Which.
        component: ComponentId,
        /// How often it said so.
        answers: u32,
    },
    /// It was replaced by another version.
    Swapped {
        /// Which.
        component: ComponentId,
    },
    /// It will not be restarted; an operator may.
    Quarantined {
        /// Which.
        component: ComponentId,
        /// The error of its last failure.
        error: Arc<WasmError>,
    },
    /// A message was given up; [`Host::dead_letters`](crate::Host::dead_letters) has it
    /// whole.
    DeadLetter {
        /// Who sent it.
        from: ComponentId,
        /// Whom it was for.
        to: ComponentId,
        /// What it was.
        kind: LetterKind,
        /// Of a call, its name.
        call: Option<Arc<str>>,
        /// Of its payload.
        bytes: usize,
        /// Why it was not handled.
        cause: DeadLetterCause,
    },
    /// A request was not handled, because nobody waited for its answer any more when its turn
    /// had not come yet.
    Withdrawn {
        /// Who made it.
        from: ComponentId,
        /// Whom it was for.
        to: ComponentId,
        /// Of its payload.
        bytes: usize,
        /// Why nobody waited.
        because: WithdrawnBecause,
        /// From when it was accepted.
        waited: Duration,
    },
    /// A dead letter is delivered once more.
    Redelivered {
        /// The number that it had.
        number: u64,
        /// Who sent it.
        from: ComponentId,
        /// Whom it is for.
        to: ComponentId,
    },
    /// What a component may do was changed.
    PermissionsChanged {
        /// Which.
        component: ComponentId,
    },
    /// A component is gone. An error is that of its `shutdown`.
    Unloaded {
        /// Which.
        component: ComponentId,
        /// What its `shutdown` ended with, if not well.
        error: Option<Arc<WasmError>>,
    },
    /// The task of a component has ended before its time: the engine panicked, or the
    /// async runtime is gone.
    Abandoned {
        /// Which.
        component: ComponentId,
    },
    /// The host has stopped; nothing comes after this.
    Stopped,
    /// The reader was too slow, and some events were not kept for it, of those that it reads:
    /// there are at most 1,024 of messages, 1,024 of messages that were answered with an
    /// error, 1,024 of dead letters, withdrawn requests and denials, and 1,024 others, which
    /// together have [`HostLimits::event_bytes`](crate::HostLimits::event_bytes).
    Missed {
        /// How many.
        events: u64,
        /// Of which class all of them were.
        class: EventClass,
    },
}

/// Events are kept apart by how often they come, so that many of one class push out none of
/// those that matter more, which come after it here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventClass {
    /// A message was handled, and not answered with an error.
    Handled,
    /// A message was answered with an error.
    ErrorReply,
    /// What was asked for was not done: a message was given up or withdrawn, or a component was
    /// denied something. A component brings that about as often as it likes.
    Refused,
    /// Everything else.
    Other,
}

impl EventClass {
    /// All of them, in their order.
    pub const ALL: [Self; 4] = [Self::Handled, Self::ErrorReply, Self::Refused, Self::Other];

    /// Whether these are messages that were handled.
    pub fn is_of_messages(self) -> bool {
        match self {
            Self::Handled | Self::ErrorReply => true,
            Self::Refused | Self::Other => false,
        }
    }
}

/// Why nobody waits for the answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WithdrawnBecause {
    /// Its time was up.
    TimedOut,
    /// Who made it has given it up or is gone.
    GivenUp,
}

impl WithdrawnBecause {
    /// As a word, for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TimedOut => "timed-out",
            Self::GivenUp => "given-up",
        }
    }
}

/// What a component answered a message with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Nothing; a callback is never answered with more.
    Nothing,
    /// So many bytes, which go to whoever made the request.
    Bytes(usize),
    /// An error; of a long text the first 4 KiB.
    Error(GuestError),
}

impl Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loaded { component } => write!(f, "{component} is loaded"),
            Self::NotLoaded { error, .. } => write!(f, "{error}"),
            Self::DenialsLeftOut { component, denials } => {
                write!(f, "{component} was denied {denials} more times")
            }
            Self::Failed { component, error } => write!(f, "{component} has failed: {error}"),
            Self::Restarted { component } => write!(f, "{component} was restarted"),
            Self::Slept { component, error } => match error {
                Some(error) => write!(f, "{component} sleeps; {error}"),
                None => write!(f, "{component} sleeps"),
            },
            Self::Woke { component } => write!(f, "{component} woke"),
            Self::Unhealthy { component, answers } => write!(
                f,
                "{component} said {answers} times in a row that it is unhealthy, and is restarted"
            ),
            Self::Swapped { component } => write!(f, "{component} was replaced"),
            Self::Quarantined { component, .. } => {
                write!(
                    f,
                    "{component} is quarantined: it has failed and is not restarted"
                )
            }
            Self::PermissionsChanged { component } => {
                write!(f, "the permissions of {component} were changed")
            }
            Self::Unloaded { component, error } => match error {
                Some(error) => write!(f, "{component} is unloaded; {error}"),
                None => write!(f, "{component} is unloaded"),
            },
            Self::Abandoned { component } => {
                write!(f, "{component} is gone: its task has ended before its time")
            }
            Self::Stopped => write!(f, "the host has stopped"),
            Self::Missed { events, class } if class.is_of_messages() => write!(
                f,
                "events of {events} messages that were handled were missed"
            ),
            Self::Missed { events, .. } => write!(f, "{events} events were missed"),
            Self::Message { .. }
            | Self::Denied { .. }
            | Self::DeadLetter { .. }
            | Self::Withdrawn { .. }
            | Self::Redelivered { .. } => self.fmt_of_message(f),
        }
    }
}

impl Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => write!(f, "handled"),
            Self::Bytes(bytes) => write!(f, "answered with {}", format_bytes(*bytes as u64)),
            Self::Error(error) => write!(f, "answered with an error: {error}"),
        }
    }
}

impl Event {
    /// What it was, as a word that stays the same: the name of the case, such as `failed` or
    /// `dead-letter`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Loaded { .. } => "loaded",
            Self::NotLoaded { .. } => "not-loaded",
            Self::Message { .. } => "message",
            Self::Denied { .. } => "denied",
            Self::DenialsLeftOut { .. } => "denials-left-out",
            Self::Failed { .. } => "failed",
            Self::Restarted { .. } => "restarted",
            Self::Slept { .. } => "slept",
            Self::Woke { .. } => "woke",
            Self::Unhealthy { .. } => "unhealthy",
            Self::Swapped { .. } => "swapped",
            Self::Quarantined { .. } => "quarantined",
            Self::DeadLetter { .. } => "dead-letter",
            Self::Withdrawn { .. } => "withdrawn",
            Self::Redelivered { .. } => "redelivered",
            Self::PermissionsChanged { .. } => "permissions-changed",
            Self::Unloaded { .. } => "unloaded",
            Self::Abandoned { .. } => "abandoned",
            Self::Stopped => "stopped",
            Self::Missed { .. } => "missed",
        }
    }

    /// With which others it is kept.
    pub fn class(&self) -> EventClass {
        match self {
            Self::Message {
                reply: Reply::Error(_),
                ..
            } => EventClass::ErrorReply,
            Self::Message { .. } => EventClass::Handled,
            Self::DeadLetter { .. }
            | Self::Withdrawn { .. }
            | Self::Denied { .. }
            | Self::DenialsLeftOut { .. } => EventClass::Refused,
            Self::Missed { class, .. } => *class,
            _ => EventClass::Other,
        }
    }

    /// The component that it is about: of a message, the one that it is for.
    pub fn component(&self) -> Option<&ComponentId> {
        match self {
            Self::Message { to, .. }
            | Self::DeadLetter { to, .. }
            | Self::Withdrawn { to, .. }
            | Self::Redelivered { to, .. } => Some(to),
            Self::Loaded { component }
            | Self::NotLoaded { component, .. }
            | Self::Denied { component, .. }
            | Self::DenialsLeftOut { component, .. }
            | Self::Failed { component, .. }
            | Self::Restarted { component }
            | Self::Slept { component, .. }
            | Self::Woke { component }
            | Self::Unhealthy { component, .. }
            | Self::Swapped { component }
            | Self::Quarantined { component, .. }
            | Self::PermissionsChanged { component }
            | Self::Unloaded { component, .. }
            | Self::Abandoned { component } => Some(component),
            Self::Stopped | Self::Missed { .. } => None,
        }
    }

    /// Who sent the message that it is about.
    pub fn sender(&self) -> Option<&ComponentId> {
        match self {
            Self::Message { from, .. }
            | Self::DeadLetter { from, .. }
            | Self::Withdrawn { from, .. }
            | Self::Redelivered { from, .. } => Some(from),
            _ => None,
        }
    }

    /// The line of what is about a message or another call of the host.
    fn fmt_of_message(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message {
                from,
                to,
                kind,
                call,
                bytes,
                reply,
                took,
                ..
            } => {
                write!(f, "{from} -> {to}: ")?;
                match call {
                    Some(call) => write!(f, "call of {}, ", Quoted::new(call))?,
                    None => write!(f, "{kind} of {}, ", format_bytes(*bytes as u64))?,
                }
                write!(f, "{reply}, in {took:.1?}")
            }
            Self::Denied {
                component,
                capability,
                granted,
                reason,
            } => {
                let reason = Escaped::new(reason);
                write!(f, "{component} was denied: {capability}: {reason}")?;
                let patterns: Vec<String> = granted.iter().map(ToString::to_string).collect();
                if !patterns.is_empty() {
                    write!(f, " (granted: {})", patterns.join(", "))?;
                }
                Ok(())
            }
            _ => self.fmt_of_undelivered(f),
        }
    }

    /// The line of what is about a message that was not handled.
    fn fmt_of_undelivered(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeadLetter {
                from,
                to,
                kind,
                call,
                cause,
                ..
            } => {
                write!(f, "dead letter: ")?;
                match call {
                    Some(call) => write!(f, "call of {}", Quoted::new(call))?,
                    None => write!(f, "{kind}")?,
                }
                write!(f, " from {from} to {to}: {cause}")
            }
            Self::Withdrawn {
                from, to, because, ..
            } => {
                let because = match because {
                    WithdrawnBecause::TimedOut => "its time was up",
                    WithdrawnBecause::GivenUp => "it was given up",
                };
                write!(f, "request from {from} to {to} was not handled: {because}")
            }
            Self::Redelivered { number, from, to } => {
                let dead = format_args!("dead letter {number} from {from} to {to}");
                write!(f, "{dead} is delivered again")
            }
            _ => Ok(()),
        }
    }

    /// What the event takes in memory, roughly, in bytes.
    pub(crate) fn size_bytes(&self) -> usize {
        let below = match self {
            Self::NotLoaded { error, .. }
            | Self::Failed { error, .. }
            | Self::Quarantined { error, .. }
            | Self::Slept {
                error: Some(error), ..
            }
            | Self::Unloaded {
                error: Some(error), ..
            } => error.size_bytes(),
            Self::Message {
                reply: Reply::Error(error),
                ..
            } => error.text().map_or(0, str::len),
            Self::Denied {
                granted, reason, ..
            } => granted.len() * ID_BYTES + reason.len(),
            Self::Message {
                call: Some(call), ..
            } => call.len(),
            Self::DeadLetter { cause, call, .. } => {
                cause.size_bytes() + call.as_ref().map_or(0, |call| call.len())
            }
            _ => 0,
        };
        size_of::<Self>() + 2 * ID_BYTES + below
    }
}

/// What the text of an id takes at the most, roughly.
const ID_BYTES: usize = 3 * (ComponentId::MAX_SEGMENT_BYTES + 1);
