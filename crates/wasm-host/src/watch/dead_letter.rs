use std::collections::VecDeque;
use std::fmt::{self, Display};
use std::sync::{Arc, Mutex};

use wasm_core::{ComponentMessage, MessagePayload, Timestamp, WasmError};

use crate::limits::BudgetExceeded;
use crate::lock::lock;
use crate::post::letter::{Letter, LetterKind, message_bytes};
use crate::post::traffic::ENVELOPE_BYTES;

/// A message that was accepted and could not be handled.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DeadLetter {
    /// As it was to be delivered; without its payload and type if it is larger than
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
    pub(crate) fn new(letter: Letter, cause: DeadLetterCause, timestamp: Timestamp) -> Self {
        Self {
            payload_bytes: letter.message.payload.len(),
            message: letter.message,
            kind: letter.kind,
            cause,
            timestamp,
        }
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
    /// Its recipient slept, and there was no room for its instance within 10 seconds.
    NoRoom(BudgetExceeded),
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
    /// What its error takes, in bytes. Letters may share one, which then counts for each
    /// of them.
    pub(crate) fn size_bytes(&self) -> usize {
        match self {
            Self::Failed(error) | Self::Quarantined(error) | Self::NotLoaded(error) => {
                error.size_bytes()
            }
            Self::NoRoom(_)
            | Self::Unloaded
            | Self::RequesterGone
            | Self::Stopped
            | Self::Abandoned => 0,
        }
    }

    /// The cause as a word, for metrics and lists.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Failed(_) => "failed",
            Self::Quarantined(_) => "quarantined",
            Self::NotLoaded(_) => "not-loaded",
            Self::NoRoom(_) => "no-room",
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
            Self::NoRoom(exceeded) => {
                write!(f, "its recipient slept and could not be woken: {exceeded}")
            }
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
    let bytes = message_bytes(&letter.message) + letter.cause.size_bytes();
    bytes as u64 + ENVELOPE_BYTES
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
            letter.message.message_type = None;
        }
        // Nor does it drive the others out if it is still too large.
        if bytes_of(&letter) > self.max_bytes {
            return;
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
    use wasm_core::{ComponentId, Trap, WasmFrame};

    use super::*;
    use crate::error::kept;

    fn letter(text: &'static str) -> DeadLetter {
        let id = ComponentId::new("demo", "a", "main").unwrap();
        DeadLetter {
            message: ComponentMessage::new(id.clone(), id, text),
            payload_bytes: text.len(),
            kind: LetterKind::Message,
            cause: DeadLetterCause::Stopped,
            timestamp: Timestamp::default(),
        }
    }

    fn texts(letters: &[DeadLetter]) -> Vec<&[u8]> {
        letters
            .iter()
            .map(|l| l.message.payload.as_bytes())
            .collect()
    }

    /// The largest that a hostile component can have kept: it failed with all that an
    /// error holds.
    fn failed_letter() -> DeadLetter {
        let mut letter = letter("");
        let id = letter.message.sender.clone();
        let frame = WasmFrame::new(Some("m".repeat(90_000)), Some("f".repeat(90_000)), 0, None);
        let error = WasmError::Trapped {
            component: id,
            export: "handle-message".into(),
            trap: Trap::RefusedByHost("x".repeat(1 << 20)),
            frames: vec![frame; 32].into(),
            fuel_consumed: 0,
            source: Some(Arc::new(std::io::Error::other("y".repeat(1 << 20)))),
            last_words: None,
        };
        letter.cause = DeadLetterCause::Failed(kept(error));
        letter
    }

    #[test]
    fn the_oldest_go_first() {
        let dead = DeadLetters::new(2, 2 * ENVELOPE_BYTES + 6);
        for text in ["a", "b", "c"] {
            dead.add(letter(text));
        }
        assert_eq!(texts(&dead.list()), [b"b", b"c"]);
        dead.add(letter("123456"));
        assert_eq!(texts(&dead.list()), [b"123456"]);
        dead.add(letter(""));
        assert_eq!(texts(&dead.list()), [b"123456".as_slice(), b""]);
        assert_eq!(dead.take()[0].payload_bytes, 6);
        assert_eq!(dead.take().len(), 0);
    }

    #[test]
    fn one_that_is_larger_than_all_together_does_not_drive_the_others_out() {
        let dead = DeadLetters::new(9, 2 * ENVELOPE_BYTES + 6);
        dead.add(letter("123456"));
        let mut large = letter(Box::leak("x".repeat(1_000).into_boxed_str()));
        large.message.message_type = Some("t".repeat(1_000).into());
        dead.add(large);
        assert_eq!(texts(&dead.list()), [b"123456".as_slice(), b""]);
        assert_eq!(dead.list()[1].payload_bytes, 1_000);
        assert_eq!(dead.list()[1].message.message_type, None);
        // What its error takes cannot be left out.
        dead.add(failed_letter());
        assert_eq!(dead.list().len(), 2);
    }

    #[test]
    fn message_types_and_errors_count() {
        let dead = DeadLetters::new(1_024, 1 << 20);
        for n in 0..1_024 {
            let mut letter = if n % 2 == 0 {
                failed_letter()
            } else {
                letter("")
            };
            letter.message.message_type = Some("t".repeat(4 << 10).into());
            dead.add(letter);
            assert!(lock(&dead.kept).bytes <= 1 << 20);
        }
        let kept = dead.take();
        let bytes: u64 = kept.iter().map(bytes_of).sum();
        assert!(((1 << 19)..=(1 << 20)).contains(&bytes), "{bytes}");
        // Some 10 KiB for a letter on average.
        assert!((50..200).contains(&kept.len()), "{}", kept.len());
        for letter in &kept {
            let error = match &letter.cause {
                DeadLetterCause::Failed(error) => error.size_bytes(),
                _ => 0,
            };
            assert!(error <= WasmError::MAX_KEPT_BYTES, "{error} bytes");
        }
    }
}
