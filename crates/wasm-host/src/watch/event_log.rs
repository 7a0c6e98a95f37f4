//! Events on their way to their readers: kept until each has read them, but no more of
//! them than some count and some bytes.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::lock::lock;
use crate::watch::event::Event;

/// Where a host tells what happens. Dropping it ends its readers' waiting.
#[derive(Debug)]
pub(crate) struct EventLog(Arc<Shared>);

/// One of those who read a log, from when it began to.
#[derive(Debug)]
pub(crate) struct Reader {
    shared: Arc<Shared>,
    number: u64,
}

/// What a reader finds.
#[derive(Debug)]
pub(crate) enum Found {
    Event(Box<Event>),
    /// So many were not kept until this reader came to them.
    Missed(u64),
    /// Nothing yet.
    Nothing,
    /// Nothing, and nothing more to come.
    End,
}

#[derive(Debug)]
struct Shared {
    max_events: usize,
    max_bytes: u64,
    /// How many read, as far as is known without the lock: nobody who tells waits for others
    /// when nobody reads.
    readers: AtomicUsize,
    log: Mutex<Log>,
    /// There is an event, or the end.
    told: Notify,
}

#[derive(Debug, Default)]
struct Log {
    /// With what each takes, in bytes.
    events: VecDeque<(Event, u64)>,
    bytes: u64,
    /// The number of the first of them.
    first: u64,
    /// The number of the event that each reader reads next.
    readers: HashMap<u64, u64>,
    next_reader: u64,
    ended: bool,
}

impl EventLog {
    pub(crate) fn new(max_events: usize, max_bytes: u64) -> Self {
        Self(Arc::new(Shared {
            max_events,
            max_bytes,
            readers: AtomicUsize::new(0),
            log: Mutex::default(),
            told: Notify::new(),
        }))
    }

    /// A reader of what is told from now on.
    pub(crate) fn reader(&self) -> Reader {
        let mut log = lock(&self.0.log);
        let number = log.next_reader;
        log.next_reader += 1;
        let next = log.end();
        log.readers.insert(number, next);
        self.0.readers.store(log.readers.len(), Ordering::Release);
        Reader {
            shared: Arc::clone(&self.0),
            number,
        }
    }

    /// Keeps an event for those who read, if somebody does. The latest one is kept in any
    /// case; where it does not fit, the oldest go.
    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        if self.0.readers.load(Ordering::Acquire) == 0 {
            return;
        }
        // Made without the lock: that may take a while.
        let event = event();
        let bytes = event.size_bytes() as u64;
        let mut log = lock(&self.0.log);
        if log.readers.is_empty() {
            return;
        }
        log.bytes += bytes;
        log.events.push_back((event, bytes));
        while log.events.len() > 1
            && (log.events.len() > self.0.max_events || log.bytes > self.0.max_bytes)
        {
            log.drop_first();
        }
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

impl Reader {
    /// The next event, a number of missed ones, or the end, once there is one of them.
    /// May be cancelled by dropping the future: no event is lost.
    pub(crate) async fn next(&mut self) -> Found {
        loop {
            let mut told = pin!(self.shared.told.notified());
            told.as_mut().enable();
            match self.find() {
                Found::Nothing => told.await,
                found => return found,
            }
        }
    }

    /// What there is now.
    pub(crate) fn find(&self) -> Found {
        let mut log = lock(&self.shared.log);
        let Some(next) = log.readers.get(&self.number).copied() else {
            return Found::End;
        };
        if next < log.first {
            let first = log.first;
            log.readers.insert(self.number, first);
            return Found::Missed(first - next);
        }
        let place = usize::try_from(next - log.first).unwrap_or(usize::MAX);
        let Some((event, _)) = log.events.get(place) else {
            return if log.ended {
                Found::End
            } else {
                Found::Nothing
            };
        };
        let event = Box::new(event.clone());
        log.readers.insert(self.number, next + 1);
        log.drop_what_was_read();
        Found::Event(event)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut log = lock(&self.shared.log);
        log.readers.remove(&self.number);
        self.shared
            .readers
            .store(log.readers.len(), Ordering::Release);
        log.drop_what_was_read();
    }
}

impl Log {
    /// The number of the event that comes next.
    fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    fn drop_first(&mut self) {
        if let Some((_, bytes)) = self.events.pop_front() {
            self.bytes -= bytes;
            self.first += 1;
        }
    }

    fn drop_what_was_read(&mut self) {
        let slowest = self.readers.values().min().copied();
        while self.first < slowest.unwrap_or(self.end()) {
            self.drop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::timeout;

    use wasm_core::{ComponentId, Trap, WasmError};

    use super::*;
    use crate::error::kept;

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

    /// What a reader finds until there is nothing: `.` for an event, or how many it missed.
    fn read(reader: &Reader) -> String {
        let mut text = String::new();
        loop {
            match reader.find() {
                Found::Event(_) => text.push('.'),
                Found::Missed(events) => text.push_str(&format!("({events})")),
                Found::Nothing => return text,
                Found::End => return text + "end",
            }
        }
    }

    fn kept_bytes(log: &EventLog) -> u64 {
        lock(&log.0.log).bytes
    }

    #[test]
    fn each_reader_finds_what_was_told_since_it_began() {
        let log = EventLog::new(9, u64::MAX);
        log.tell(|| unreachable!("nobody reads"));
        let first = log.reader();
        log.tell(small);
        let second = log.reader();
        log.tell(small);
        assert_eq!(read(&second), ".");
        assert_eq!(read(&first), "..");
        assert_eq!(kept_bytes(&log), 0);
        log.tell(small);
        drop(log);
        assert_eq!(read(&first), ".end");
        assert_eq!(read(&second), ".end");
    }

    #[test]
    fn a_slow_reader_misses_what_there_are_too_many_of() {
        let log = EventLog::new(3, u64::MAX);
        let (slow, fast) = (log.reader(), log.reader());
        for _ in 0..5 {
            log.tell(small);
            assert_eq!(read(&fast), ".");
        }
        assert_eq!(read(&slow), "(2)...");
        log.tell(small);
        log.tell(small);
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
            log.tell(large);
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
        log.tell(large);
        log.tell(|| Event::Stopped);
        assert_eq!(read(&reader), "(1).");
    }

    #[tokio::test]
    async fn a_reader_waits_for_what_comes() {
        let log = Arc::new(EventLog::new(9, u64::MAX));
        let mut reader = log.reader();
        let waiting = timeout(Duration::from_millis(10), reader.next()).await;
        assert!(waiting.is_err(), "{waiting:?}");
        let teller = Arc::clone(&log);
        let telling = tokio::spawn(async move { teller.tell(small) });
        assert!(matches!(reader.next().await, Found::Event(_)));
        telling.await.unwrap();
        drop(log);
        assert!(matches!(reader.next().await, Found::End));
    }
}
