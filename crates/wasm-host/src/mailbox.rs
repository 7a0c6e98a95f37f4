//! What waits for a component.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::Instant;
use tracing::Span;

use wasm_core::{ComponentMessage, MessagingError};

use crate::call::Call;
use crate::dead_letter::LetterKind;
use crate::lock::lock;
use crate::request::{ERROR_TYPE, RequestError, as_callback};

/// What a message takes besides its [bytes](message_bytes), roughly: the ids and the
/// correlation id of a request.
pub(crate) const ENVELOPE_BYTES: u64 = 256;

/// The correlation ids that a host makes.
const CORRELATION_ID_BYTES: usize = 32;

/// Of what a message holds at any length: its payload, its type, and a correlation id
/// that is longer than those that a host makes.
pub(crate) fn message_bytes(message: &ComponentMessage) -> usize {
    let type_bytes = message.message_type.as_ref().map_or(0, |text| text.len());
    let id_bytes = message.correlation_id.as_ref().map_or(0, |id| {
        id.as_str().len().saturating_sub(CORRELATION_ID_BYTES)
    });
    message.payload.len() + type_bytes + id_bytes
}

/// What a mailbox may always hold, however much waits elsewhere: nobody's crowd keeps a
/// message from those who have few.
const OWN_BYTES: u64 = 64 << 10;

/// Letters for which an empty mailbox keeps room.
const KEPT_CAPACITY: usize = 256;

/// A message on its way.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) message: ComponentMessage,
    pub(crate) kind: LetterKind,
    /// The instance that made the request, on a callback.
    pub(crate) incarnation: Option<u64>,
    /// How many components sent it on.
    pub(crate) hops: u32,
    /// From acceptance to the end of the call.
    pub(crate) span: Span,
    pub(crate) accepted: Instant,
    /// Counted for as long as the letter is somewhere.
    pub(crate) in_flight: InFlight,
    /// Of the request that a callback answers: it counts as open until its callback
    /// is delivered.
    pub(crate) seat: Option<OwnedSemaphorePermit>,
    /// What is done in place of delivering the message, for a call.
    pub(crate) call: Option<Call>,
}

impl Letter {
    fn bytes(&self) -> u64 {
        message_bytes(&self.message) as u64
    }
}

/// Every message of a host that was accepted and not yet handled.
#[derive(Debug)]
pub(crate) struct Traffic {
    letters: AtomicU64,
    bytes: AtomicU64,
    max_bytes: u64,
    quiet: Notify,
}

/// A message's share of the traffic, for as long as this lives.
#[derive(Debug)]
pub(crate) struct InFlight {
    traffic: Arc<Traffic>,
    bytes: u64,
}

impl Traffic {
    pub(crate) fn new(max_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            letters: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            max_bytes,
            quiet: Notify::new(),
        })
    }

    /// `None` when there is no room for one more.
    pub(crate) fn admit(self: &Arc<Self>, message_bytes: usize) -> Option<InFlight> {
        let bytes = message_bytes as u64 + ENVELOPE_BYTES;
        let add = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.max_bytes);
        self.bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, add)
            .ok()?;
        Some(self.count(bytes))
    }

    /// For what must arrive and is bounded otherwise.
    pub(crate) fn admit_always(self: &Arc<Self>, message_bytes: usize) -> InFlight {
        let bytes = message_bytes as u64 + ENVELOPE_BYTES;
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.count(bytes)
    }

    fn count(self: &Arc<Self>, bytes: u64) -> InFlight {
        self.letters.fetch_add(1, Ordering::AcqRel);
        InFlight {
            traffic: Arc::clone(self),
            bytes,
        }
    }

    pub(crate) fn letters(&self) -> u64 {
        self.letters.load(Ordering::Acquire)
    }

    /// Ends once nothing waits and nothing is being handled.
    pub(crate) async fn quiet(&self) {
        loop {
            let quiet = self.quiet.notified();
            tokio::pin!(quiet);
            quiet.as_mut().enable();
            if self.letters() == 0 {
                return;
            }
            quiet.await;
        }
    }
}

impl InFlight {
    /// The message was replaced by a shorter one.
    fn shrink(&mut self, message_bytes: usize) {
        let bytes = message_bytes as u64 + ENVELOPE_BYTES;
        let freed = self.bytes.saturating_sub(bytes);
        self.bytes -= freed;
        self.traffic.bytes.fetch_sub(freed, Ordering::AcqRel);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.traffic.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        if self.traffic.letters.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.traffic.quiet.notify_waiters();
        }
    }
}

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
