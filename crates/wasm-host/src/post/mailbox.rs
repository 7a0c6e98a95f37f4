//! What waits for a component.

use std::collections::VecDeque;
use std::mem;
use std::sync::Mutex;

use tokio::sync::Notify;

use wasm_core::MessagingError;

use crate::lock::lock;
use crate::post::answer::{ERROR_TYPE, RequestError, as_callback};
use crate::post::letter::{Letter, LetterKind, message_bytes};
use crate::post::traffic::ENVELOPE_BYTES;

/// What a mailbox may always hold, however much waits elsewhere: nobody's crowd keeps a
/// message from those who have few.
const OWN_BYTES: u64 = 64 << 10;

/// Letters for which an empty mailbox keeps room.
const KEPT_CAPACITY: usize = 256;

/// The queue of one component, bounded in messages and bytes. Callbacks always find
/// room: each has the seat of its request, of which there are only so many.
#[derive(Debug)]
pub(crate) struct Mailbox {
    max_bytes: u64,
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug)]
struct State {
    letters: VecDeque<Letter>,
    /// Without callbacks.
    messages: u32,
    max_messages: u32,
    bytes: u64,
    closed: Option<Closed>,
}

/// Why a mailbox takes nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    Unloaded,
    Quarantined,
    Stopped,
}

/// Why a letter was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    TooManyMessages,
    TooManyBytes,
    Closed(Closed),
}

impl Mailbox {
    pub(crate) fn new(max_messages: u32, max_bytes: u64) -> Self {
        Self {
            max_bytes,
            state: Mutex::new(State {
                letters: VecDeque::new(),
                messages: 0,
                max_messages,
                bytes: 0,
                closed: None,
            }),
            arrived: Notify::new(),
        }
    }

    pub(crate) fn push(&self, letter: Letter) -> Result<(), Refusal> {
        let mut state = lock(&self.state);
        if let Some(closed) = state.closed {
            return Err(Refusal::Closed(closed));
        }
        if state.messages >= state.max_messages {
            return Err(Refusal::TooManyMessages);
        }
        let bytes = state.bytes.saturating_add(letter.bytes());
        if bytes > self.max_bytes {
            return Err(Refusal::TooManyBytes);
        }
        state.push(letter);
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// Whether this message fits into what the mailbox may hold in any case.
    pub(crate) fn has_room_of_its_own(&self, message_bytes: usize) -> bool {
        let state = lock(&self.state);
        let envelopes = (state.letters.len() as u64 + 1) * ENVELOPE_BYTES;
        let messages = state.bytes + message_bytes as u64;
        envelopes + messages <= OWN_BYTES
    }

    /// An answer for which there is no room is replaced by an error that says so. Only
    /// a closed mailbox gives the letter back.
    pub(crate) fn push_callback(&self, mut letter: Letter) -> Result<(), Box<(Letter, Closed)>> {
        let mut state = lock(&self.state);
        if let Some(closed) = state.closed {
            return Err(Box::new((letter, closed)));
        }
        let bytes = state.bytes.saturating_add(letter.bytes());
        // An error is short, and says more than that there was no room for it.
        let is_error = letter.message.message_type.as_deref() == Some(ERROR_TYPE);
        if bytes > self.max_bytes && !is_error {
            let reason = format!(
                "the answer has {} bytes, for which the mailbox has no room",
                letter.message.payload.len()
            );
            let error = RequestError::Messaging(MessagingError::DeliveryFailed(reason));
            letter.message = as_callback(letter.message, Err(&error));
            letter.in_flight.shrink(message_bytes(&letter.message));
        }
        state.push(letter);
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// Puts back what was taken last and not delivered.
    pub(crate) fn push_front(&self, letter: Letter) {
        let mut state = lock(&self.state);
        state.add(&letter);
        state.letters.push_front(letter);
    }

    /// The next letter, once there is one. May be cancelled by dropping the future.
    pub(crate) async fn next(&self) -> Letter {
        loop {
            if let Some(letter) = lock(&self.state).pop() {
                return letter;
            }
            // A letter that came since left a permit behind.
            self.arrived.notified().await;
        }
    }

    /// From now on nothing is taken; what waits comes back.
    pub(crate) fn close(&self, why: Closed) -> VecDeque<Letter> {
        let mut state = lock(&self.state);
        state.closed = Some(why);
        (state.messages, state.bytes) = (0, 0);
        mem::take(&mut state.letters)
    }

    /// Opens it again, or just bounds it anew.
    pub(crate) fn open(&self, max_messages: u32) {
        let mut state = lock(&self.state);
        state.closed = None;
        state.max_messages = max_messages;
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.state).letters.len()
    }
}

impl State {
    fn push(&mut self, letter: Letter) {
        self.add(&letter);
        self.letters.push_back(letter);
    }

    fn add(&mut self, letter: &Letter) {
        self.messages += u32::from(letter.kind != LetterKind::Callback);
        self.bytes += letter.bytes();
    }

    fn pop(&mut self) -> Option<Letter> {
        let letter = self.letters.pop_front()?;
        self.messages -= u32::from(letter.kind != LetterKind::Callback);
        self.bytes -= letter.bytes();
        // A crowd that came once does not need its room for ever.
        if self.letters.is_empty() && self.letters.capacity() > KEPT_CAPACITY {
            self.letters = VecDeque::new();
        }
        Some(letter)
    }
}
