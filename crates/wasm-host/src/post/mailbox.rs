//! What waits for a component.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::mem;
use std::sync::Mutex;

use tokio::time::Instant;

use wasm_core::MessagingError;

use crate::lock::lock;
use crate::post::answer::{ERROR_TYPE, RequestError, as_callback};
use crate::post::bell::Bell;
use crate::post::letter::{Letter, LetterKind, message_bytes};
use crate::post::traffic::ENVELOPE_BYTES;

/// What a mailbox may always hold, however much waits elsewhere: nobody's crowd keeps a
/// message from those who have few.
const OWN_BYTES: u64 = 64 << 10;

/// Letters for which an empty mailbox keeps room.
const KEPT_CAPACITY: usize = 256;

/// Deadlines of letters that are gone, of which so many may stay.
const KEPT_DEADLINES: usize = 64;

/// The queue of one component, bounded in messages and bytes. Callbacks always find
/// room: each has the seat of its request, of which there are only so many.
#[derive(Debug)]
pub(crate) struct Mailbox {
    max_bytes: u64,
    state: Mutex<State>,
    /// Wakes the task of the component.
    bell: Bell,
}

/// Where a letter lies in its mailbox; later ones have higher places.
pub(crate) type Place = u64;

#[derive(Debug)]
struct State {
    /// In the order of their places; of those that were withdrawn, the places are left.
    letters: VecDeque<(Place, Option<Box<Letter>>)>,
    next: Place,
    withdrawn: usize,
    /// Until when somebody waits for the answers to the requests among them, and some more
    /// that are not among them any more.
    deadlines: BinaryHeap<Reverse<(Instant, Place)>>,
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
    /// Its component sleeps, and will have another mailbox when it wakes.
    Asleep,
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
                next: 0,
                withdrawn: 0,
                deadlines: BinaryHeap::new(),
                messages: 0,
                max_messages,
                bytes: 0,
                closed: None,
            }),
            bell: Bell::default(),
        }
    }

    /// Where the letter lies, or why it comes back.
    pub(crate) fn push(&self, letter: Box<Letter>) -> Result<Place, (Box<Letter>, Refusal)> {
        let mut state = lock(&self.state);
        if let Some(refusal) = state.refusal(&letter, self.max_bytes) {
            return Err((letter, refusal));
        }
        let place = state.push(letter);
        drop(state);
        self.ring();
        Ok(place)
    }

    /// Whether this message fits into what the mailbox may hold in any case.
    pub(crate) fn has_room_of_its_own(&self, message_bytes: usize) -> bool {
        let state = lock(&self.state);
        let envelopes = (state.len() as u64 + 1) * ENVELOPE_BYTES;
        let messages = state.bytes + message_bytes as u64;
        envelopes + messages <= OWN_BYTES
    }

    /// An answer for which there is no room is replaced by an error that says so. Only
    /// a closed mailbox gives the letter back.
    pub(crate) fn push_callback(
        &self,
        mut letter: Box<Letter>,
    ) -> Result<(), (Box<Letter>, Closed)> {
        let mut state = lock(&self.state);
        if let Some(closed) = state.closed {
            return Err((letter, closed));
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
        self.ring();
        Ok(())
    }

    /// Puts back what was taken and not delivered, into its place among the others.
    pub(crate) fn put_back(&self, letter: Box<Letter>) {
        lock(&self.state).put_back(letter);
    }

    /// Takes a letter out that was not delivered yet, if it is there.
    pub(crate) fn withdraw(&self, place: Place) -> Option<Box<Letter>> {
        lock(&self.state).withdraw(place)
    }

    /// Takes out the requests for whose answers nobody waits any longer.
    pub(crate) fn withdraw_late(&self) -> Vec<Letter> {
        let now = Instant::now();
        let mut state = lock(&self.state);
        let mut late = Vec::new();
        while let Some(Reverse((deadline, place))) = state.deadlines.peek().copied()
            && deadline <= now
        {
            state.deadlines.pop();
            late.extend(state.withdraw(place).map(|letter| *letter));
        }
        late
    }

    /// Until when somebody waits for the answer to the first request that is late.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let state = lock(&self.state);
        let first = state.deadlines.peek().filter(|_| state.len() > 0);
        first.map(|Reverse((deadline, _))| *deadline)
    }

    /// The next letter, if there is one.
    pub(crate) fn pop(&self) -> Option<Box<Letter>> {
        lock(&self.state).pop()
    }

    /// The same, or what there is once the bell rings. May be cancelled by dropping the
    /// future.
    pub(crate) async fn next(&self) -> Option<Box<Letter>> {
        if let Some(letter) = self.pop() {
            return Some(letter);
        }
        self.rung().await;
        self.pop()
    }

    /// Ends when the bell rings, as it does for each letter, and has rung since the last time.
    pub(crate) async fn rung(&self) {
        self.bell.rung().await;
    }

    /// Wakes the task of the component, for whatever else there is to do.
    pub(crate) fn ring(&self) {
        self.bell.ring();
    }

    /// From now on nothing is taken; what waits comes back. One whose component sleeps stays
    /// as it is.
    pub(crate) fn close(&self, why: Closed) -> impl Iterator<Item = Box<Letter>> + use<> {
        let mut state = lock(&self.state);
        if state.closed != Some(Closed::Asleep) {
            state.closed = Some(why);
        }
        let letters = state.take_all();
        letters.into_iter().filter_map(|(_, letter)| letter)
    }

    /// Everything that waits.
    pub(crate) fn take_all(&self) -> impl Iterator<Item = Box<Letter>> + use<> {
        let letters = lock(&self.state).take_all();
        letters.into_iter().filter_map(|(_, letter)| letter)
    }

    /// Takes nothing more because its component sleeps, unless something waits; whether that
    /// is so.
    pub(crate) fn close_if_empty(&self) -> bool {
        let mut state = lock(&self.state);
        if state.len() > 0 || state.closed.is_some() {
            return false;
        }
        state.closed = Some(Closed::Asleep);
        true
    }

    /// Takes letters again, because its component does not sleep after all.
    pub(crate) fn reopen(&self) {
        lock(&self.state).closed = None;
    }

    pub(crate) fn is_asleep(&self) -> bool {
        lock(&self.state).closed == Some(Closed::Asleep)
    }

    /// Opens it again, or just bounds it anew.
    pub(crate) fn open(&self, max_messages: u32) {
        let mut state = lock(&self.state);
        state.closed = None;
        state.max_messages = max_messages;
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.state).len()
    }
}

impl State {
    fn len(&self) -> usize {
        self.letters.len() - self.withdrawn
    }

    fn refusal(&self, letter: &Letter, max_bytes: u64) -> Option<Refusal> {
        if let Some(closed) = self.closed {
            return Some(Refusal::Closed(closed));
        }
        if self.messages >= self.max_messages {
            return Some(Refusal::TooManyMessages);
        }
        let bytes = self.bytes.saturating_add(letter.bytes());
        (bytes > max_bytes).then_some(Refusal::TooManyBytes)
    }

    fn push(&mut self, mut letter: Box<Letter>) -> Place {
        let place = self.next;
        letter.place = place;
        self.add(place, &letter);
        self.next += 1;
        self.letters.push_back((place, Some(letter)));
        place
    }

    fn put_back(&mut self, letter: Box<Letter>) {
        let place = letter.place;
        let before = self.letters.partition_point(|it| it.0 < place);
        self.add(place, &letter);
        self.letters.insert(before, (place, Some(letter)));
    }

    fn add(&mut self, place: Place, letter: &Letter) {
        if let Some(reply) = &letter.reply {
            self.deadlines.push(Reverse((reply.deadline(), place)));
            self.tidy_deadlines();
        }
        self.messages += u32::from(letter.kind != LetterKind::Callback);
        self.bytes += letter.bytes();
    }

    fn subtract(&mut self, letter: &Letter) {
        self.messages -= u32::from(letter.kind != LetterKind::Callback);
        self.bytes -= letter.bytes();
    }

    fn pop(&mut self) -> Option<Box<Letter>> {
        loop {
            let Some((_, letter)) = self.letters.pop_front() else {
                // A crowd that came once does not need its room for ever.
                if self.letters.capacity() > KEPT_CAPACITY {
                    self.letters = VecDeque::new();
                }
                return None;
            };
            match letter {
                Some(letter) => {
                    self.subtract(&letter);
                    return Some(letter);
                }
                None => self.withdrawn -= 1,
            }
        }
    }

    fn withdraw(&mut self, place: Place) -> Option<Box<Letter>> {
        let index = self.letters.binary_search_by_key(&place, |it| it.0).ok()?;
        let letter = self.letters[index].1.take()?;
        self.withdrawn += 1;
        self.subtract(&letter);
        self.tidy();
        Some(letter)
    }

    fn take_all(&mut self) -> VecDeque<(Place, Option<Box<Letter>>)> {
        (self.messages, self.bytes, self.withdrawn) = (0, 0, 0);
        self.deadlines.clear();
        mem::take(&mut self.letters)
    }

    /// Deadlines of what is not there any more never are the most of all.
    fn tidy_deadlines(&mut self) {
        if self.deadlines.len() <= 2 * self.len() + KEPT_DEADLINES {
            return;
        }
        let letters = &self.letters;
        self.deadlines.retain(|Reverse((_, place))| {
            let index = letters.binary_search_by_key(place, |it| it.0);
            index.is_ok_and(|index| letters[index].1.is_some())
        });
    }

    /// Places of what was withdrawn never are the most of all.
    fn tidy(&mut self) {
        if self.withdrawn > self.letters.len() / 2 {
            self.letters.retain(|(_, letter)| letter.is_some());
            self.withdrawn = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing::Span;

    use wasm_core::{ComponentId, ComponentMessage};

    use super::*;
    use crate::post::traffic::Traffic;

    fn letter(text: &str) -> Box<Letter> {
        let id = ComponentId::new("demo", "a", "main").unwrap();
        let message = ComponentMessage::new(id.clone(), id, text.to_owned());
        Box::new(Letter {
            in_flight: Traffic::new(u64::MAX).admit_always(0),
            message,
            kind: LetterKind::Message,
            place: 0,
            incarnation: None,
            redeliveries: 0,
            span: Span::none(),
            accepted: Instant::now(),
            reply: None,
            seat: None,
            ticket: None,
            call: None,
        })
    }

    fn text(letter: &Letter) -> &str {
        std::str::from_utf8(letter.message.payload.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_withdrawn_makes_room_and_the_rest_keeps_its_order() {
        let mailbox = Mailbox::new(4, 100);
        let places: Vec<_> = ["a", "b", "c", "d"]
            .map(|text| mailbox.push(letter(text)).unwrap())
            .into();
        let full = mailbox.push(letter("e")).unwrap_err();
        assert_eq!(full.1, Refusal::TooManyMessages);
        assert_eq!(text(&mailbox.withdraw(places[1]).unwrap()), "b");
        assert!(mailbox.withdraw(places[1]).is_none());
        mailbox.push(letter("e")).unwrap();
        let first = mailbox.pop().unwrap();
        assert_eq!(text(&first), "a");
        assert!(mailbox.withdraw(places[0]).is_none());
        mailbox.put_back(first);
        assert_eq!(text(&mailbox.withdraw(places[0]).unwrap()), "a");
        assert_eq!(text(&mailbox.withdraw(places[2]).unwrap()), "c");
        assert_eq!(mailbox.len(), 2);
        for expected in ["d", "e"] {
            assert_eq!(text(&mailbox.pop().unwrap()), expected);
        }
        assert!(mailbox.close_if_empty());
    }

    #[test]
    fn what_is_put_back_has_its_place_again() {
        let mailbox = Mailbox::new(4, 100);
        let places = ["a", "b", "c", "d"].map(|text| mailbox.push(letter(text)).unwrap());
        let [a, b, c] = [(); 3].map(|()| mailbox.pop().unwrap());
        for taken in [a, c, b] {
            mailbox.put_back(taken);
        }
        assert_eq!(text(&mailbox.withdraw(places[1]).unwrap()), "b");
        for expected in ["a", "c", "d"] {
            assert_eq!(text(&mailbox.pop().unwrap()), expected);
        }
    }

    #[test]
    fn what_is_withdrawn_leaves_little_behind() {
        let mailbox = Mailbox::new(4, 100);
        let first = mailbox.push(letter("a")).unwrap();
        for _ in 0..1_000 {
            let place = mailbox.push(letter("b")).unwrap();
            mailbox.withdraw(place).unwrap();
            assert!(lock(&mailbox.state).letters.len() <= 4);
        }
        assert!(!mailbox.close_if_empty());
        mailbox.withdraw(first).unwrap();
        assert!(mailbox.close_if_empty() && mailbox.is_asleep());
        assert_eq!(mailbox.close(Closed::Stopped).count(), 0);
        assert!(mailbox.is_asleep());
    }
}
