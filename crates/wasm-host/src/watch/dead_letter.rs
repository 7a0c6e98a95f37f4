use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::{self, Display};
use std::mem;
use std::sync::{Arc, Mutex};

use wasm_core::{ComponentId, ComponentMessage, MessagePayload, Timestamp, WasmError};

use crate::limits::BudgetExceeded;
use crate::lock::lock;
use crate::post::letter::{LetterKind, message_bytes};
use crate::post::traffic::ENVELOPE_BYTES;

/// A message that was accepted and could not be handled.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Which of the host's it is: they are counted from 1, and no number is given twice. Zero
    /// for one that is kept nowhere.
    pub number: u64,
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
    /// How often it had been a dead letter before and was
    /// [delivered again](crate::Host::redeliver).
    pub redeliveries: u32,
}

impl DeadLetter {
    pub(crate) fn new(
        message: ComponentMessage,
        kind: LetterKind,
        cause: DeadLetterCause,
        timestamp: Timestamp,
    ) -> Self {
        Self {
            number: 0,
            redeliveries: 0,
            payload_bytes: message.payload.len(),
            message,
            kind,
            cause,
            timestamp,
        }
    }
}

impl DeadLetter {
    /// Of a call, its name.
    pub(crate) fn call_name(&self) -> Option<Arc<str>> {
        match self.kind {
            LetterKind::Call => self.message.message_type.clone(),
            _ => None,
        }
    }

    /// Why it cannot be delivered again, if it cannot.
    pub(crate) fn obstacle(&self) -> Option<&'static str> {
        match self.kind {
            LetterKind::Callback => Some("it is an answer, for which nobody waits any more"),
            LetterKind::Call => Some("it was a call of the program, which can call again"),
            LetterKind::Message | LetterKind::Request | LetterKind::Timer
                if self.redeliveries > 0 =>
            {
                Some("it was delivered again before")
            }
            LetterKind::Message | LetterKind::Request | LetterKind::Timer => (self.payload_bytes
                > self.message.payload.len())
            .then_some("it was too large to be kept with its payload"),
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
    /// It came from another host, and this one can never give it to its recipient: what is in
    /// its way.
    Undeliverable(Arc<str>),
    /// Its recipient was unloaded before its turn came.
    Unloaded,
    /// The instance that made the request is gone.
    RequesterGone,
    /// The host stopped before its turn came.
    Stopped,
    /// The process ended while a timer was handled, or before it was written down that it was:
    /// it may have been handled, and is not handled again.
    Interrupted,
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
            Self::Undeliverable(reason) => reason.len(),
            Self::NoRoom(_)
            | Self::Unloaded
            | Self::RequesterGone
            | Self::Stopped
            | Self::Interrupted
            | Self::Abandoned => 0,
        }
    }

    /// Whether it is that its recipient leaves the host, which may go on on another.
    pub(crate) fn is_of_leaving(&self) -> bool {
        matches!(self, Self::Unloaded | Self::Stopped | Self::Abandoned)
    }

    /// The cause as a word, for metrics and lists.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Failed(_) => "failed",
            Self::Quarantined(_) => "quarantined",
            Self::NotLoaded(_) => "not-loaded",
            Self::NoRoom(_) => "no-room",
            Self::Undeliverable(_) => "undeliverable",
            Self::Unloaded => "unloaded",
            Self::RequesterGone => "requester-gone",
            Self::Stopped => "stopped",
            Self::Interrupted => "interrupted",
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
            Self::Undeliverable(reason) => f.write_str(reason),
            Self::Unloaded => f.write_str("its recipient was unloaded"),
            Self::RequesterGone => f.write_str("the instance that made the request is gone"),
            Self::Stopped => f.write_str("the host stopped"),
            Self::Interrupted => {
                f.write_str("the process ended while it was handled, or just afterwards")
            }
            Self::Abandoned => f.write_str("the task of its recipient has ended"),
        }
    }
}

/// Those that are kept, within bounds of their number and size. Where there are too many, the
/// oldest goes of the recipient that has the most, so that nobody's push out those of the
/// others.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    max_letters: usize,
    max_bytes: u64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// By their numbers, the oldest first.
    letters: BTreeMap<u64, DeadLetter>,
    bytes: u64,
    latest: u64,
    shares: HashMap<ComponentId, Share>,
    /// The recipients, by how many letters each has, and by how many bytes.
    by_letters: BTreeSet<(usize, ComponentId)>,
    by_bytes: BTreeSet<(u64, ComponentId)>,
}

/// The letters of one recipient.
#[derive(Debug, Default)]
struct Share {
    numbers: BTreeSet<u64>,
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
        kept.latest += 1;
        letter.number = kept.latest;
        kept.insert(letter);
        kept.fit(self.max_letters, self.max_bytes);
    }

    pub(crate) fn list(&self) -> Vec<DeadLetter> {
        lock(&self.kept).letters.values().cloned().collect()
    }

    pub(crate) fn take(&self) -> Vec<DeadLetter> {
        let mut kept = lock(&self.kept);
        let latest = kept.latest;
        let taken = mem::take(&mut *kept);
        kept.latest = latest;
        taken.letters.into_values().collect()
    }

    /// Takes one out if `may` says so; the letter, or what `may` says instead.
    pub(crate) fn take_if<X>(
        &self,
        number: u64,
        may: impl FnOnce(Option<&DeadLetter>) -> Result<(), X>,
    ) -> Result<Option<DeadLetter>, X> {
        let mut kept = lock(&self.kept);
        may(kept.letters.get(&number))?;
        Ok(kept.remove(number))
    }

    /// Puts one back under the number that it had.
    pub(crate) fn put_back(&self, letter: DeadLetter) {
        let mut kept = lock(&self.kept);
        kept.insert(letter);
        kept.fit(self.max_letters, self.max_bytes);
    }
}

impl Kept {
    fn insert(&mut self, letter: DeadLetter) {
        self.bytes += bytes_of(&letter);
        self.change_share(&letter, true);
        self.letters.insert(letter.number, letter);
    }

    fn remove(&mut self, number: u64) -> Option<DeadLetter> {
        let letter = self.letters.remove(&number)?;
        self.bytes -= bytes_of(&letter);
        self.change_share(&letter, false);
        Some(letter)
    }

    /// Removes letters until the others fit.
    fn fit(&mut self, max_letters: usize, max_bytes: u64) {
        loop {
            let most = if self.letters.len() > max_letters {
                self.by_letters.last().map(|(_, id)| id.clone())
            } else if self.bytes > max_bytes {
                self.by_bytes.last().map(|(_, id)| id.clone())
            } else {
                return;
            };
            let Some(oldest) = most.and_then(|id| self.oldest_of(&id)) else {
                return;
            };
            self.remove(oldest);
        }
    }

    fn oldest_of(&self, id: &ComponentId) -> Option<u64> {
        self.shares.get(id)?.numbers.first().copied()
    }

    fn change_share(&mut self, letter: &DeadLetter, is_added: bool) {
        let id = &letter.message.recipient;
        let share = self.shares.entry(id.clone()).or_default();
        self.by_letters.remove(&(share.numbers.len(), id.clone()));
        self.by_bytes.remove(&(share.bytes, id.clone()));
        if is_added {
            share.numbers.insert(letter.number);
            share.bytes += bytes_of(letter);
        } else {
            share.numbers.remove(&letter.number);
            share.bytes -= bytes_of(letter);
        }
        if share.numbers.is_empty() {
            self.shares.remove(id);
        } else {
            self.by_letters.insert((share.numbers.len(), id.clone()));
            self.by_bytes.insert((share.bytes, id.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use wasm_core::{Trap, WasmFrame};

    use super::*;
    use crate::error::kept;

    fn letter(text: &'static str) -> DeadLetter {
        let id = ComponentId::new("demo", "a", "main").unwrap();
        DeadLetter {
            number: 0,
            redeliveries: 0,
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
    fn nobodys_letters_push_out_those_of_others() {
        let to = |name: &str, text: &'static str| {
            let mut letter = letter(text);
            letter.message.recipient = ComponentId::new("demo", name, "main").unwrap();
            letter
        };
        let few = DeadLetters::new(6, u64::MAX);
        few.add(to("quiet", "1"));
        few.add(to("calm", "2"));
        for _ in 0..100 {
            few.add(to("loud", "x"));
        }
        assert_eq!(texts(&few.list())[..3], [b"1".as_slice(), b"2", b"x"]);
        assert_eq!(few.list().len(), 6);
        // A second one that is loud shares the room with the first.
        for _ in 0..100 {
            few.add(to("noisy", "y"));
        }
        let kept = few.take();
        assert_eq!(texts(&kept).concat(), b"12xxyy");
        let numbers: Vec<_> = kept.iter().map(|it| it.number).collect();
        assert_eq!(numbers, [1, 2, 101, 102, 201, 202]);
        let small = DeadLetters::new(999, 4 * ENVELOPE_BYTES + 400);
        small.add(to("quiet", "1"));
        for _ in 0..100 {
            small.add(to("loud", Box::leak("x".repeat(300).into_boxed_str())));
        }
        let kept = small.list();
        assert_eq!(kept.len(), 3);
        assert_eq!(texts(&kept)[0], b"1");
        small.add(to("quiet", "2"));
        let numbers: Vec<_> = small.list().iter().map(|it| it.number).collect();
        assert_eq!(numbers, [1, 101, 102]);
        assert_eq!(small.take().len(), 3);
        let kept = lock(&small.kept);
        assert_eq!((kept.bytes, kept.shares.len()), (0, 0));
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
