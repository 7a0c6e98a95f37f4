use std::collections::VecDeque;
use std::fmt::{self, Display};
use std::sync::{Arc, Mutex};

use wasm_core::{ComponentMessage, MessagePayload, Timestamp, WasmError};

use crate::lock::lock;

/// A message that was accepted and could not be handled.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DeadLetter {
    /// As it was to be delivered; without its payload if that is larger than
    /// [`HostLimits::dead_letter_bytes`](crate::HostLimits::dead_letter_bytes).
    pub message: ComponentMessage,
    /// Of the payload, kept or not.
    pub payload_bytes: usize,
    /// What it was.
    pub kind: LetterKind,
    /// Why it was not handled.
    pub cause: DeadLetterCause,
    /// When it was given up, by the host's clock.
    pub timestamp: Timestamp,
}

impl DeadLetter {
    pub(crate) fn new(
        message: ComponentMessage,
        kind: LetterKind,
        cause: DeadLetterCause,
        timestamp: Timestamp,
    ) -> Self {
        Self {
            payload_bytes: message.payload.len(),
            message,
            kind,
            cause,
            timestamp,
        }
    }
}

/// What is delivered to a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LetterKind {
    /// A message that nobody waits for.
    Message,
    /// A message whose sender waits for an answer.
    Request,
    /// The answer to a request.
    Callback,
}

impl LetterKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Request => "request",
            Self::Callback => "callback",
        }
    }
}

impl Display for LetterKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a message was not handled.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum DeadLetterCause {
    /// The call that should handle it ended in this error, which may have failed the
    /// component. It is not delivered again.
    Failed(Arc<WasmError>),
    /// Its recipient had failed for good, with this error, before its turn came.
    Quarantined(Arc<WasmError>),
    /// Its recipient could not be loaded, with this error.
    NotLoaded(Arc<WasmError>),
    /// Its recipient was unloaded before its turn came.
    Unloaded,
    /// The instance that made the request is gone.
    RequesterGone,
    /// The host stopped before its turn came.
    Stopped,
    /// The recipient's task ended while it was handled or waited: the engine panicked, or
    /// the async runtime is gone.
    Abandoned,
}

impl DeadLetterCause {
    /// The cause as a word, for metrics and lists.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Failed(_) => "failed",
            Self::Quarantined(_) => "quarantined",
            Self::NotLoaded(_) => "not-loaded",
            Self::Unloaded => "unloaded",
            Self::RequesterGone => "requester-gone",
            Self::Stopped => "stopped",
            Self::Abandoned => "abandoned",
        }
    }
}

impl Display for DeadLetterCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "{error}"),
            Self::Quarantined(error) => write!(f, "its recipient is quarantined: {error}"),
            Self::NotLoaded(error) => write!(f, "its recipient was not loaded: {error}"),
            Self::Unloaded => f.write_str("its recipient was unloaded"),
            Self::RequesterGone => f.write_str("the instance that made the request is gone"),
            Self::Stopped => f.write_str("the host stopped"),
            Self::Abandoned => f.write_str("the task of its recipient has ended"),
        }
    }
}

/// The latest of them.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    max_letters: usize,
    max_bytes: u64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    letters: VecDeque<DeadLetter>,
    bytes: u64,
}

fn bytes_of(letter: &DeadLetter) -> u64 {
    letter.message.payload.len() as u64
}

impl DeadLetters {
    pub(crate) fn new(max_letters: usize, max_bytes: u64) -> Self {
        Self {
            max_letters,
            max_bytes,
            kept: Mutex::default(),
        }
    }

    pub(crate) fn add(&self, mut letter: DeadLetter) {
        if bytes_of(&letter) > self.max_bytes {
            letter.message.payload = MessagePayload::empty();
        }
        let mut kept = lock(&self.kept);
        kept.bytes += bytes_of(&letter);
        kept.letters.push_back(letter);
        while kept.letters.len() > self.max_letters || kept.bytes > self.max_bytes {
            let Some(oldest) = kept.letters.pop_front() else {
                return;
            };
            kept.bytes -= bytes_of(&oldest);
        }
    }

    pub(crate) fn list(&self) -> Vec<DeadLetter> {
        lock(&self.kept).letters.iter().cloned().collect()
    }

    pub(crate) fn take(&self) -> Vec<DeadLetter> {
        let mut kept = lock(&self.kept);
        kept.bytes = 0;
        kept.letters.drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_core::ComponentId;

    fn letter(text: &'static str) -> DeadLetter {
        let id = ComponentId::new("demo", "a", "main").unwrap();
        DeadLetter::new(
            ComponentMessage::new(id.clone(), id, text),
            LetterKind::Message,
            DeadLetterCause::Stopped,
            Timestamp::default(),
        )
    }

    fn texts(letters: &[DeadLetter]) -> Vec<&[u8]> {
        letters
            .iter()
            .map(|l| l.message.payload.as_bytes())
            .collect()
    }

    #[test]
    fn the_oldest_go_first() {
        let dead = DeadLetters::new(2, 6);
        for text in ["a", "b", "c"] {
            dead.add(letter(text));
        }
        assert_eq!(texts(&dead.list()), [b"b", b"c"]);
        dead.add(letter("12345"));
        assert_eq!(texts(&dead.list()), [b"c".as_slice(), b"12345"]);
        // One that is larger than all together does not drive the others out.
        dead.add(letter("larger than all"));
        assert_eq!(texts(&dead.list()), [b"12345".as_slice(), b""]);
        assert_eq!(dead.take()[1].payload_bytes, 15);
        assert_eq!(dead.take().len(), 0);
    }
}
