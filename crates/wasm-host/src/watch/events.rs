//! What happens in a host, as it is read.

use crate::watch::event::Event;
use crate::watch::event_log::{Found, HandledMessages, MessageSwitch, Reader};

/// Events that are kept for a reader that is slower than what happens, of each class.
pub(crate) const KEPT_EVENTS: usize = 1024;

/// What happens in a host from now on, in order.
#[derive(Debug)]
pub struct Events {
    reader: Reader,
    stopped: bool,
}

impl Events {
    pub(crate) fn new(reader: Reader, stopped: bool) -> Self {
        Self { reader, stopped }
    }

    /// The same, but told of these messages only. While no reader is told of a message, there is
    /// no event of it at all, which spares each message some work and a lock.
    #[must_use]
    pub fn with_messages(self, messages: HandledMessages) -> Self {
        self.reader.message_switch().set(messages);
        self
    }

    /// With which that is changed while events are read.
    pub fn message_switch(&self) -> MessageSwitch {
        self.reader.message_switch().clone()
    }

    /// The next event; `None` after [`Event::Stopped`] or when the host is gone. May be
    /// cancelled by dropping the future: no event is lost.
    pub async fn next(&mut self) -> Option<Event> {
        if self.stopped {
            return None;
        }
        let found = self.reader.next().await;
        self.seen(found)
    }

    /// The next event if it has happened already.
    pub fn try_next(&mut self) -> Option<Event> {
        let found = self.reader.find();
        self.seen(found)
    }

    fn seen(&mut self, found: Found) -> Option<Event> {
        match found {
            Found::Event(event) => {
                self.stopped = matches!(*event, Event::Stopped);
                Some(*event)
            }
            Found::Missed(events, class) => Some(Event::Missed { events, class }),
            Found::Nothing | Found::End => None,
        }
    }
}
