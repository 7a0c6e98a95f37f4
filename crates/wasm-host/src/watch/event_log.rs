//! Events on their way to their readers: kept until each has read them, but no more of
//! them than some count and some bytes.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::lock::lock;
use crate::watch::event::{Event, EventClass as Class};

/// Which of the messages that components have handled a reader of events is told of
/// ([`Event::Message`]). One that a component failed over was not handled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum HandledMessages {
    /// Every one.
    #[default]
    All,
    /// Those that were answered with an error ([`Reply::Error`](crate::Reply::Error)).
    Errors,
    /// None.
    None,
}

/// Where a host tells what happens; the events of each class have a queue of their own. Dropping it ends its readers' waiting.
#[derive(Debug)]
pub(crate) struct EventLog(Arc<Shared>);

/// One of those who read a log, from when it began to.
#[derive(Debug)]
pub(crate) struct Reader(MessageSwitch);

/// Says which handled messages a reader of events is told of, while it reads.
#[derive(Debug, Clone)]
pub struct MessageSwitch {
    shared: Arc<Shared>,
    /// Of the reader.
    number: u64,
}

/// What a reader finds.
#[derive(Debug)]
pub(crate) enum Found {
    Event(Box<Event>),
    /// So many of a class were not kept until this reader came to them.
    Missed(u64, Class),
    /// Nothing yet.
    Nothing,
    /// Nothing, and nothing more to come.
    End,
}

#[derive(Debug)]
struct Shared {
    /// Of each class.
    max_events: usize,
    /// Of all together.
    max_bytes: u64,
    /// How many read each class, as far as is known without the lock: nobody who tells waits
    /// for others when nobody reads.
    readers: [AtomicUsize; Class::ALL.len()],
    log: Mutex<Log>,
    /// There is an event, or the end.
    told: Notify,
}

#[derive(Debug, Default)]
struct Log {
    queues: [Queue; Class::ALL.len()],
    /// How many events there were, of all classes.
    told: u64,
    /// Where each reader reads next in the queues that it reads.
    readers: HashMap<u64, [Option<u64>; Class::ALL.len()]>,
    next_reader: u64,
    ended: bool,
}

/// The events of one class, each of which has a place in it.
#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Kept>,
    bytes: u64,
    /// The place of the first of them.
    first: u64,
}

#[derive(Debug)]
struct Kept {
    event: Event,
    bytes: u64,
    /// Which it was of those of all classes.
    number: u64,
}

impl HandledMessages {
    fn includes(self, class: Class) -> bool {
        match class {
            Class::Handled => self == Self::All,
            Class::ErrorReply => self != Self::None,
            Class::Refused | Class::Other => true,
        }
    }
}

impl EventLog {
    pub(crate) fn new(max_events: usize, max_bytes: u64) -> Self {
        Self(Arc::new(Shared {
            max_events,
            max_bytes,
            readers: Default::default(),
            log: Mutex::default(),
            told: Notify::new(),
        }))
    }

    /// A reader of what is told from now on.
    pub(crate) fn reader(&self) -> Reader {
        let mut log = lock(&self.0.log);
        let number = log.next_reader;
        log.next_reader += 1;
        let places = log.queues.each_ref().map(|queue| Some(queue.end()));
        log.readers.insert(number, places);
        self.0.count_readers(&log);
        Reader(MessageSwitch {
            shared: Arc::clone(&self.0),
            number,
        })
    }

    /// Keeps an event for those who read its class, if somebody does. The latest one is kept in
    /// any case; where it does not fit, the oldest go.
    pub(crate) fn tell(&self, class: Class, event: impl FnOnce() -> Event) {
        let readers = &self.0.readers[class as usize];
        if readers.load(Ordering::Acquire) == 0 {
            return;
        }
        // Made without the lock: that may take a while.
        let event = event();
        debug_assert_eq!(event.class(), class, "{event}");
        let bytes = event.size_bytes() as u64;
        let mut log = lock(&self.0.log);
        if readers.load(Ordering::Acquire) == 0 {
            return;
        }
        let number = log.told;
        log.told += 1;
        log.queues[class as usize].add(Kept {
            event,
            bytes,
            number,
        });
        log.make_room(class, self.0.max_events, self.0.max_bytes);
        drop(log);
        self.0.told.notify_waiters();
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        lock(&self.0.log).ended = true;
        self.0.told.notify_waiters();
    }
}

impl MessageSwitch {
    /// From now on the reader is told of these. What it has not read of others is no longer
    /// there for it, and not missed either. Does nothing once the reader is gone.
    pub fn set(&self, messages: HandledMessages) {
        let mut log = lock(&self.shared.log);
        let log = &mut *log;
        let Some(places) = log.readers.get_mut(&self.number) else {
            return;
        };
        for ((class, queue), place) in Class::ALL.into_iter().zip(&log.queues).zip(places) {
            let next = place.unwrap_or(queue.end());
            *place = messages.includes(class).then_some(next);
        }
        log.drop_what_was_read();
        self.shared.count_readers(log);
    }
}

impl Reader {
    pub(crate) fn message_switch(&self) -> &MessageSwitch {
        &self.0
    }

    /// The next event, a number of missed ones, or the end, once there is one of them.
    /// May be cancelled by dropping the future: no event is lost.
    pub(crate) async fn next(&mut self) -> Found {
        loop {
            let mut told = pin!(self.0.shared.told.notified());
            told.as_mut().enable();
            match self.find() {
                Found::Nothing => told.await,
                found => return found,
            }
        }
    }

    /// What there is now. That some were missed is found before the first after them.
    pub(crate) fn find(&self) -> Found {
        let mut log = lock(&self.0.shared.log);
        let log = &mut *log;
        let Some(places) = log.readers.get_mut(&self.0.number) else {
            return Found::End;
        };
        let queues = Class::ALL.into_iter().zip(&log.queues).zip(places);
        let first = queues.filter_map(|((class, queue), place)| {
            let place = place.as_mut()?;
            Some((queue.from(*place)?, queue.first, place, class))
        });
        let Some((kept, first, place, class)) = first.min_by_key(|(kept, ..)| kept.number) else {
            return match log.ended {
                true => Found::End,
                false => Found::Nothing,
            };
        };
        if *place < first {
            let missed = first - *place;
            *place = first;
            return Found::Missed(missed, class);
        }
        *place += 1;
        let event = Box::new(kept.event.clone());
        log.drop_what_was_read();
        Found::Event(event)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut log = lock(&self.0.shared.log);
        log.readers.remove(&self.0.number);
        log.drop_what_was_read();
        self.0.shared.count_readers(&log);
    }
}

impl Shared {
    fn count_readers(&self, log: &Log) {
        for (class, readers) in self.readers.iter().enumerate() {
            let reading = log
                .readers
                .values()
                .filter(|places| places[class].is_some());
            readers.store(reading.count(), Ordering::Release);
        }
    }
}

impl Log {
    /// After an event of this class was added. The latest of each class is kept in any case, so
    /// that who has missed some finds that out.
    fn make_room(&mut self, class: Class, max_events: usize, max_bytes: u64) {
        let queue = &mut self.queues[class as usize];
        while queue.events.len() > max_events.max(1) {
            queue.drop_first();
        }
        let mut bytes: u64 = self.queues.iter().map(|queue| queue.bytes).sum();
        for queue in &mut self.queues[..=class as usize] {
            while bytes > max_bytes && queue.events.len() > 1 {
                bytes -= queue.drop_first();
            }
        }
    }

    fn drop_what_was_read(&mut self) {
        for (class, queue) in self.queues.iter_mut().enumerate() {
            let slowest = self
                .readers
                .values()
                .filter_map(|places| places[class])
                .min();
            while queue.first < slowest.unwrap_or(queue.end()) {
                queue.drop_first();
            }
        }
    }
}

impl Queue {
    /// The place of the event that comes next.
    fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// The event at this place, or the first after it that is kept.
    fn from(&self, place: u64) -> Option<&Kept> {
        let index = place.saturating_sub(self.first);
        self.events
            .get(usize::try_from(index).unwrap_or(usize::MAX))
    }

    fn add(&mut self, kept: Kept) {
        self.bytes += kept.bytes;
        self.events.push_back(kept);
    }

    /// How many bytes it took.
    fn drop_first(&mut self) -> u64 {
        let bytes = self.events.pop_front().map_or(0, |kept| kept.bytes);
        self.first += 1;
        self.bytes -= bytes;
        bytes
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::timeout;

    use wasm_core::{ComponentId, GuestError, Trap, WasmError};

    use super::*;
    use crate::error::kept;
    use crate::post::letter::LetterKind;
    use crate::watch::event::Reply;

    fn id() -> ComponentId {
        ComponentId::new("demo", "a", "main").unwrap()
    }

    fn small() -> Event {
        Event::Loaded { component: id() }
    }

    fn large() -> Event {
        Event::Failed {
            component: id(),
            error: kept(WasmError::Trapped {
                component: id(),
                export: "f".into(),
                trap: Trap::HostPanic("x".repeat(1 << 20)),
                frames: Box::default(),
                fuel_consumed: 0,
                source: None,
                last_words: None,
            }),
        }
    }

    fn handled(reply: Reply) -> Event {
        Event::Message {
            from: id(),
            to: id(),
            kind: LetterKind::Message,
            call: None,
            bytes: 0,
            reply,
            waited: Duration::ZERO,
            took: Duration::ZERO,
        }
    }

    /// Tells of so many messages that were handled.
    fn tell_handled(log: &EventLog, count: usize) {
        for _ in 0..count {
            log.tell(Class::Handled, || handled(Reply::Nothing));
        }
    }

    fn tell_error_reply(log: &EventLog) {
        let error = GuestError::Timeout;
        log.tell(Class::ErrorReply, || handled(Reply::Error(error)));
    }

    /// What a reader finds until there is nothing: `m` for a message that was handled, `e` for
    /// one that was answered with an error, `d` for denials, `.` for another event, or how many it
    /// missed.
    fn read(reader: &Reader) -> String {
        let mut text = String::new();
        loop {
            match reader.find() {
                Found::Event(event) => text.push(match *event {
                    Event::Message {
                        reply: Reply::Error(_),
                        ..
                    } => 'e',
                    Event::Message { .. } => 'm',
                    Event::DenialsLeftOut { .. } => 'd',
                    _ => '.',
                }),
                Found::Missed(events, _) => text.push_str(&format!("({events})")),
                Found::Nothing => return text,
                Found::End => return text + "end",
            }
        }
    }

    fn tell_denials(log: &EventLog, count: usize) {
        for _ in 0..count {
            log.tell(Class::Refused, || Event::DenialsLeftOut {
                component: id(),
                denials: 1,
            });
        }
    }

    fn kept_bytes(log: &EventLog) -> u64 {
        lock(&log.0.log)
            .queues
            .iter()
            .map(|queue| queue.bytes)
            .sum()
    }

    #[test]
    fn each_reader_finds_what_was_told_since_it_began() {
        let log = EventLog::new(9, u64::MAX);
        log.tell(Class::Other, || unreachable!("nobody reads"));
        let first = log.reader();
        log.tell(Class::Other, small);
        let second = log.reader();
        log.tell(Class::Other, small);
        assert_eq!(read(&second), ".");
        assert_eq!(read(&first), "..");
        assert_eq!(kept_bytes(&log), 0);
        log.tell(Class::Other, small);
        drop(log);
        assert_eq!(read(&first), ".end");
        assert_eq!(read(&second), ".end");
    }

    #[test]
    fn a_slow_reader_misses_what_there_are_too_many_of() {
        let log = EventLog::new(3, u64::MAX);
        let (slow, fast) = (log.reader(), log.reader());
        for _ in 0..5 {
            log.tell(Class::Other, small);
            assert_eq!(read(&fast), ".");
        }
        assert_eq!(read(&slow), "(2)...");
        log.tell(Class::Other, small);
        log.tell(Class::Other, small);
        drop(slow);
        assert_eq!(read(&fast), "..");
        assert_eq!(kept_bytes(&log), 0);
    }

    #[test]
    fn a_slow_reader_leaves_few_bytes_behind() {
        let max_bytes = 64 << 10;
        let log = EventLog::new(1_024, max_bytes);
        let slow = log.reader();
        for _ in 0..1_000 {
            log.tell(Class::Other, large);
            assert!(kept_bytes(&log) <= max_bytes, "{}", kept_bytes(&log));
        }
        let found = read(&slow);
        let events = found.matches('.').count();
        assert!((8..=16).contains(&events), "{found}");
        assert!(
            found.starts_with(&format!("({})", 1_000 - events)),
            "{found}"
        );
        assert_eq!(kept_bytes(&log), 0);
    }

    #[test]
    fn the_latest_event_is_kept_in_any_case() {
        let log = EventLog::new(0, 0);
        let reader = log.reader();
        log.tell(Class::Other, large);
        log.tell(Class::Other, || Event::Stopped);
        assert_eq!(read(&reader), "(1).");
    }

    #[test]
    fn messages_push_out_messages_only() {
        let log = EventLog::new(3, u64::MAX);
        let (both, errors, others) = (log.reader(), log.reader(), log.reader());
        errors.message_switch().set(HandledMessages::Errors);
        others.message_switch().set(HandledMessages::None);
        tell_handled(&log, 1_000);
        log.tell(Class::Other, small);
        tell_handled(&log, 1_000);
        tell_error_reply(&log);
        log.tell(Class::Other, large);
        tell_handled(&log, 2);
        assert_eq!(read(&others), "..");
        assert_eq!(read(&errors), ".e.");
        assert_eq!(read(&both), ".(1999)me.mm");
        assert_eq!(kept_bytes(&log), 0);
    }

    #[test]
    fn what_is_refused_pushes_out_nothing_else_and_messages_do_not_push_it_out() {
        let log = EventLog::new(3, u64::MAX);
        let (all, others) = (log.reader(), log.reader());
        others.message_switch().set(HandledMessages::None);
        tell_handled(&log, 1);
        tell_denials(&log, 1);
        log.tell(Class::Other, small);
        tell_error_reply(&log);
        tell_denials(&log, 1_000);
        log.tell(Class::Other, small);
        tell_denials(&log, 1);
        tell_handled(&log, 1_000);
        assert_eq!(read(&others), ".(999)dd.d");
        assert_eq!(read(&all), ".e(999)dd.d(998)mmm");
        assert_eq!(kept_bytes(&log), 0);
    }

    #[test]
    fn each_class_that_was_missed_is_told_where_it_goes_on() {
        let log = EventLog::new(2, u64::MAX);
        let reader = log.reader();
        tell_handled(&log, 5);
        (0..5).for_each(|_| tell_error_reply(&log));
        tell_denials(&log, 5);
        (0..5).for_each(|_| log.tell(Class::Other, small));
        assert_eq!(read(&reader), "(3)mm(3)ee(3)dd(3)..");
        tell_handled(&log, 3);
        assert_eq!(read(&reader), "(1)mm");
    }

    #[test]
    fn bytes_are_taken_from_messages_first() {
        let max_bytes = 64 << 10;
        let log = EventLog::new(1_024, max_bytes);
        let reader = log.reader();
        log.tell(Class::Other, small);
        tell_handled(&log, 500);
        assert!(kept_bytes(&log) <= max_bytes, "{}", kept_bytes(&log));
        let kept = lock(&log.0.log).queues[Class::Handled as usize]
            .events
            .len();
        log.tell(Class::Other, large);
        tell_handled(&log, 1);
        let left = lock(&log.0.log).queues[Class::Handled as usize]
            .events
            .len();
        assert!(1 < left && left < kept && kept < 500, "{left} {kept}");
        let missed = 501 - left;
        let messages = "m".repeat(left - 1);
        assert_eq!(read(&reader), format!(".({missed}){messages}.m"));
    }

    #[test]
    fn what_is_refused_takes_bytes_of_messages_and_none_of_other_events() {
        let log = EventLog::new(1_024, 0);
        let reader = log.reader();
        log.tell(Class::Other, large);
        log.tell(Class::Other, small);
        tell_handled(&log, 1);
        tell_denials(&log, 100);
        assert_eq!(read(&reader), "(1).m(99)d");
        let log = EventLog::new(1_024, 64 << 10);
        let reader = log.reader();
        log.tell(Class::Other, small);
        tell_handled(&log, 10);
        tell_denials(&log, 500);
        assert!(kept_bytes(&log) <= 64 << 10, "{}", kept_bytes(&log));
        let found = read(&reader);
        let kept = found.matches('d').count();
        let missed = 500 - kept;
        let denials = "d".repeat(kept);
        assert_eq!(found, format!(".(9)m({missed}){denials}"));
    }

    #[test]
    fn a_message_takes_the_room_of_no_other_event() {
        let log = EventLog::new(1_024, 0);
        let reader = log.reader();
        log.tell(Class::Other, large);
        tell_error_reply(&log);
        tell_handled(&log, 100);
        assert_eq!(read(&reader), ".e(99)m");
        tell_handled(&log, 100);
        tell_error_reply(&log);
        tell_error_reply(&log);
        assert_eq!(read(&reader), "(99)m(1)e");
        assert_eq!(kept_bytes(&log), 0);
    }

    #[test]
    fn what_nobody_wants_is_not_made() {
        let log = EventLog::new(9, u64::MAX);
        let (first, second) = (log.reader(), log.reader());
        let unmade = |class| log.tell(class, || unreachable!("nobody reads {class:?}"));
        first.message_switch().set(HandledMessages::None);
        second.message_switch().set(HandledMessages::Errors);
        unmade(Class::Handled);
        tell_error_reply(&log);
        second.message_switch().set(HandledMessages::None);
        unmade(Class::Handled);
        unmade(Class::ErrorReply);
        assert_eq!(kept_bytes(&log), 0);
        log.tell(Class::Other, small);
        assert_eq!((read(&first), read(&second)), (".".into(), ".".into()));
        first.message_switch().set(HandledMessages::All);
        tell_handled(&log, 1);
        assert_eq!((read(&first), read(&second)), ("m".into(), String::new()));
        drop(first);
        unmade(Class::Handled);
        drop(second);
        unmade(Class::Other);
    }

    #[test]
    fn what_is_no_longer_wanted_is_neither_told_nor_missed() {
        let log = EventLog::new(3, u64::MAX);
        let reader = log.reader();
        let switch = reader.message_switch().clone();
        tell_handled(&log, 10);
        switch.set(HandledMessages::None);
        assert_eq!(read(&reader), "");
        switch.set(HandledMessages::All);
        tell_handled(&log, 1);
        // Said again, it changes nothing.
        switch.set(HandledMessages::All);
        tell_handled(&log, 1);
        assert_eq!(read(&reader), "mm");
        drop(reader);
        switch.set(HandledMessages::All);
        log.tell(Class::Handled, || unreachable!("the reader is gone"));
    }

    #[tokio::test]
    async fn a_reader_waits_for_what_comes() {
        let log = Arc::new(EventLog::new(9, u64::MAX));
        let mut reader = log.reader();
        let waiting = timeout(Duration::from_millis(10), reader.next()).await;
        assert!(waiting.is_err(), "{waiting:?}");
        let teller = Arc::clone(&log);
        let telling = tokio::spawn(async move { teller.tell(Class::Other, small) });
        assert!(matches!(reader.next().await, Found::Event(_)));
        telling.await.unwrap();
        drop(log);
        assert!(matches!(reader.next().await, Found::End));
    }
}
