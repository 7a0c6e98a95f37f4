//! What is being handled: written down before it is, so that whoever takes the place of a node
//! that died knows what that may have handled.

use std::collections::BTreeSet;

use super::taken::Taken;

/// Places of messages in the stream that began to be handled, or to become dead letters, and are
/// not known to be over; and what else was taken up lately.
///
/// A message is acknowledged once it was handled or is a dead letter, and leaves the desk once
/// that is confirmed, never before: one that is on the desk and still in the stream when another
/// node takes over may have been handled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desk {
    begun: BTreeSet<u64>,
    /// It outlasts what is on the desk.
    pub taken: Taken,
}

/// What a node that takes over does with a message that is still in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It waited.
    Deliver,
    /// It was being handled, or had just been.
    Interrupted,
}

impl Desk {
    /// As it was written down.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(text).ok()?.lines();
        let begun = lines.next().unwrap_or_default();
        let begun = begun.split_ascii_whitespace().map(str::parse);
        let begun = begun.collect::<Result<_, _>>().ok()?;
        let taken = Taken::parse(lines)?;
        Some(Self { begun, taken })
    }

    /// To be written down: the places, and a line for each sender of what was taken up.
    pub fn as_text(&self) -> String {
        let places: Vec<_> = self.begun.iter().map(u64::to_string).collect();
        let mut text = places.join(" ");
        self.taken.write(&mut text);
        text
    }

    /// The message at this place, which has this number of its sender's, begins to be handled
    /// once this is written down.
    pub fn begin(&mut self, place: u64, (sender, number): (&str, u64)) {
        self.begun.insert(place);
        self.taken.insert(sender, number);
    }

    /// Whether the message at this place is one that was taken up at another, and is to be thrown
    /// away.
    pub fn is_again(&self, place: u64, (sender, number): (&str, u64)) -> bool {
        !self.has_begun(place) && self.taken.contains(sender, number)
    }

    /// It is confirmed that it is not in the stream any more.
    pub fn acknowledged(&mut self, place: u64) {
        self.begun.remove(&place);
    }

    /// Whether the message at this place has begun to be handled, or to become a dead letter.
    pub fn has_begun(&self, place: u64) -> bool {
        self.begun.contains(&place)
    }

    /// The places of all that has begun.
    pub fn begun(&self) -> impl Iterator<Item = u64> {
        self.begun.iter().copied()
    }

    /// What becomes of a message that is found in the stream by whoever takes over.
    pub fn left(&self, place: u64) -> Left {
        match self.has_begun(place) {
            true => Left::Interrupted,
            false => Left::Deliver,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_is_read_again() {
        let mut desk = Desk::default();
        assert_eq!(Desk::parse(b""), Some(desk.clone()));
        for (number, place) in [7, 3, u64::MAX].into_iter().enumerate() {
            desk.begin(place, ("a", number as u64 + 1));
        }
        desk.begin(4, ("b", 9));
        desk.acknowledged(4);
        desk.acknowledged(7);
        assert_eq!(desk.as_text(), "3 18446744073709551615\na 1-3\nb 9-9");
        let read = Desk::parse(desk.as_text().as_bytes()).unwrap();
        assert_eq!(read, desk);
        assert_eq!(
            (read.left(3), read.left(7)),
            (Left::Interrupted, Left::Deliver)
        );
        assert_eq!(desk.begun().collect::<Vec<_>>(), [3, u64::MAX]);
        desk.acknowledged(3);
        assert_eq!(desk.as_text(), "18446744073709551615\na 1-3\nb 9-9");
        for wrong in [
            b"3,4".as_slice(),
            b"-1",
            b"\xff",
            b"3\n\n",
            b"3\na 1",
            b"\na 2-1",
        ] {
            assert_eq!(Desk::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn what_is_stored_anew_after_it_was_taken_up_is_told_from_what_is_on_the_desk() {
        let mut desk = Desk::default();
        desk.begin(7, ("a", 1));
        assert!(!desk.is_again(7, ("a", 1)));
        assert!(desk.is_again(8, ("a", 1)));
        assert!(!desk.is_again(8, ("a", 2)) && !desk.is_again(8, ("b", 1)));
        desk.acknowledged(7);
        let desk = Desk::parse(desk.as_text().as_bytes()).unwrap();
        assert!(desk.is_again(8, ("a", 1)));
    }
}
