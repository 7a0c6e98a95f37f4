//! The latest events of a host, kept so that who comes back may go on where it was.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::sleep;

use wasm_host::{Event, EventClass, Events, HandledMessages, MessageSwitch};

use crate::told::Told;

/// Events that are kept of each class, as by the host: one that comes often must not drive out
/// the rest.
const KEPT: usize = 1_024;

/// Messages are told for at least so long after the last who read them is gone, and at most
/// twice as long: who has lost a connection comes back sooner.
const PATIENCE: Duration = Duration::from_secs(60);

/// Events of a host as they are read over and over; messages from when somebody reads them.
pub(crate) struct EventRing {
    /// Tells events of this process from those of another.
    epoch: u64,
    kept: Mutex<Kept>,
    /// Says whether the host tells of messages.
    switch: MessageSwitch,
    /// Wakes those who read messages, too.
    every: watch::Sender<Latest>,
    /// Wakes those who do not, and are not to be woken for each message.
    others: watch::Sender<Latest>,
}

/// The number of the latest event, and whether it was the last.
#[derive(Debug, Clone, Copy, Default)]
struct Latest {
    number: u64,
    has_ended: bool,
}

#[derive(Default)]
struct Kept {
    /// The number of the latest.
    number: u64,
    /// Messages are told now.
    has_messages: bool,
    /// Somebody began to read them since that was last looked at.
    is_asked: bool,
    classes: PerClass<Class>,
}

/// By the number of each class.
type PerClass<T> = [T; EventClass::ALL.len()];

#[derive(Default)]
struct Class {
    entries: VecDeque<Arc<Entry>>,
    /// The number of the latest that is not kept any more.
    dropped: u64,
}

/// One of them.
pub(crate) struct Entry {
    pub(crate) number: u64,
    at_ms: u64,
    pub(crate) event: Event,
    text: OnceLock<Bytes>,
}

impl Entry {
    /// As one event of a stream, made when the first reader comes to it.
    pub(crate) fn text(&self, epoch: u64) -> Bytes {
        let text = self.text.get_or_init(|| {
            let told = Told::new(&self.event, self.at_ms);
            sse(Some((epoch, self.number)), told.kind, &told)
        });
        text.clone()
    }
}

/// As one event of a stream.
pub(crate) fn sse(id: Option<(u64, u64)>, kind: &str, data: &impl serde::Serialize) -> Bytes {
    let data = serde_json::to_string(data).unwrap_or_default();
    let id = id.map_or_else(String::new, |(epoch, number)| {
        format!("id: {epoch:x}-{number}\n")
    });
    format!("{id}event: {kind}\ndata: {data}\n\n").into()
}

/// Where a reader is.
pub(crate) struct Position {
    /// Of the latest that it has read, of each class that it reads.
    read: PerClass<Option<u64>>,
    latest: watch::Receiver<Latest>,
}

/// What a reader finds.
pub(crate) enum Found {
    Event(Arc<Entry>),
    /// Some that it has not read are not kept any more.
    Missed,
    /// Nothing more comes.
    End,
}

impl EventRing {
    /// For the events that a switch belongs to.
    pub(crate) fn new(switch: MessageSwitch) -> Self {
        switch.set(HandledMessages::None);
        Self {
            epoch: now_ms(),
            kept: Mutex::default(),
            switch,
            every: watch::Sender::default(),
            others: watch::Sender::default(),
        }
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Keeps what happens, until nothing more does.
    pub(crate) async fn keep(self: Arc<Self>, mut events: Events) {
        let adding = async {
            while let Some(event) = events.next().await {
                self.add(event);
            }
        };
        tokio::select! {
            () = adding => {}
            () = self.leave_out_unread() => {}
        }
        for told in [&self.every, &self.others] {
            told.send_modify(|latest| latest.has_ended = true);
        }
    }

    /// Has messages told no longer whenever nobody has read them for a while. Does not end.
    async fn leave_out_unread(&self) {
        loop {
            self.every.closed().await;
            self.lock().is_asked = false;
            sleep(PATIENCE).await;
            let mut kept = self.lock();
            // Who begins to read them does so under the same lock.
            if !kept.is_asked && self.every.is_closed() {
                kept.has_messages = false;
                self.switch.set(HandledMessages::None);
            }
        }
    }

    fn add(&self, event: Event) {
        let of = event.class();
        let mut kept = self.lock();
        kept.number += 1;
        let number = kept.number;
        let class = &mut kept.classes[of as usize];
        class.entries.push_back(Arc::new(Entry {
            number,
            at_ms: now_ms(),
            event,
            text: OnceLock::new(),
        }));
        if class.entries.len() > KEPT
            && let Some(oldest) = class.entries.pop_front()
        {
            class.dropped = oldest.number;
        }
        drop(kept);
        self.every.send_modify(|latest| latest.number = number);
        if !of.is_of_messages() {
            self.others.send_modify(|latest| latest.number = number);
        }
    }

    /// After the event of this number of this process, or from now on; after 0, everything that
    /// is kept.
    pub(crate) fn position(&self, after: Option<u64>, with_messages: bool) -> Position {
        let mut kept = self.lock();
        let latest = match with_messages {
            true => {
                if kept.begin_messages() {
                    self.switch.set(HandledMessages::All);
                }
                self.every.subscribe()
            }
            false => self.others.subscribe(),
        };
        let number = after.map_or(kept.number, |after| after.min(kept.number));
        // Who begins before the first has been told already what that means.
        let begin = |class: &Class| if number == 0 { class.dropped } else { number };
        let read = EventClass::ALL.map(|of| {
            let is_read = with_messages || !of.is_of_messages();
            is_read.then(|| begin(&kept.classes[of as usize]))
        });
        Position { read, latest }
    }

    /// What comes next for a reader. May be cancelled by dropping the future: nothing is lost.
    pub(crate) async fn next(&self, position: &mut Position) -> Found {
        loop {
            let has_ended = position.latest.borrow_and_update().has_ended;
            if let Some(found) = self.find(position) {
                return found;
            }
            if has_ended || position.latest.changed().await.is_err() {
                return Found::End;
            }
        }
    }

    fn find(&self, position: &mut Position) -> Option<Found> {
        let kept = self.lock();
        let mut has_missed = false;
        let mut next: Option<(&Arc<Entry>, &mut u64)> = None;
        for (class, read) in kept.classes.iter().zip(&mut position.read) {
            let Some(number) = read else { continue };
            if class.dropped > *number {
                *number = class.dropped;
                has_missed = true;
            }
            if let Some(entry) = class.after(*number)
                && next
                    .as_ref()
                    .is_none_or(|(first, _)| entry.number < first.number)
            {
                next = Some((entry, number));
            }
        }
        if has_missed {
            return Some(Found::Missed);
        }
        let (entry, number) = next?;
        *number = entry.number;
        Some(Found::Event(Arc::clone(entry)))
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Somebody reads messages; whether they are told only from now on. Those before have a
    /// number, so that who goes on after an earlier event is told that it has missed some.
    fn begin_messages(&mut self) -> bool {
        self.is_asked = true;
        if self.has_messages {
            return false;
        }
        self.has_messages = true;
        self.number += 1;
        for of in EventClass::ALL {
            if of.is_of_messages() {
                self.classes[of as usize] = Class {
                    entries: VecDeque::new(),
                    dropped: self.number,
                };
            }
        }
        true
    }
}

impl Class {
    /// The first that has a higher number.
    fn after(&self, number: u64) -> Option<&Arc<Entry>> {
        let place = self.entries.partition_point(|entry| entry.number <= number);
        self.entries.get(place)
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use wasm_core::{ComponentConfig, ComponentId, ResourceLimits};
    use wasm_host::{Component, HostBuilder};
    use wasm_testkit::ModelEngine;
    use wasm_testkit::wasm_fixtures::ECHO;

    use super::*;

    /// Of a host of which nothing is told.
    fn ring() -> EventRing {
        let engine = |services| Ok::<_, String>(Arc::new(ModelEngine::new(services)));
        let host = HostBuilder::new().start(engine).unwrap();
        EventRing::new(host.events().message_switch())
    }

    fn restarted() -> Event {
        let component = ComponentId::new("demo", "a", "main").unwrap();
        Event::Restarted { component }
    }

    async fn numbers(ring: &EventRing, position: &mut Position, count: usize) -> Vec<Option<u64>> {
        let mut numbers = Vec::new();
        while numbers.len() < count {
            numbers.push(match ring.next(position).await {
                Found::Event(entry) => Some(entry.number),
                Found::Missed => None,
                Found::End => panic!("the end, after {numbers:?}"),
            });
        }
        numbers
    }

    #[tokio::test]
    async fn a_reader_goes_on_after_what_it_has_read() {
        let ring = ring();
        let _reading = ring.position(None, true);
        (0..3).for_each(|_| ring.add(restarted()));
        let mut from_now = ring.position(None, true);
        let mut after_the_first = ring.position(Some(2), true);
        assert_eq!(
            numbers(&ring, &mut after_the_first, 2).await,
            [Some(3), Some(4)]
        );
        ring.add(restarted());
        assert_eq!(numbers(&ring, &mut from_now, 1).await, [Some(5)]);
    }

    #[tokio::test]
    async fn who_was_away_for_long_is_told_that_it_missed_some() {
        let ring = ring();
        (0..KEPT + 10).for_each(|_| ring.add(restarted()));
        let mut position = ring.position(Some(4), false);
        assert_eq!(
            numbers(&ring, &mut position, 3).await,
            [None, Some(11), Some(12)]
        );
    }

    /// A component brings refusals as often as it likes.
    #[tokio::test]
    async fn events_push_out_those_of_their_class_only() {
        let ring = ring();
        let component = ComponentId::new("demo", "a", "main").unwrap();
        let denied = Event::DenialsLeftOut {
            component,
            denials: 1,
        };
        let missed = |class| Event::Missed { events: 1, class };
        let flood = |event: Event| (0..=KEPT).for_each(|_| ring.add(event.clone()));
        ring.add(restarted());
        let mut position = ring.position(Some(0), true);
        ring.add(missed(EventClass::ErrorReply));
        flood(denied);
        flood(missed(EventClass::Refused));
        flood(missed(EventClass::Handled));
        let mut found = Vec::new();
        while let Some(next) = ring.find(&mut position) {
            found.push(match next {
                Found::Event(entry) => Some(entry.number),
                Found::Missed | Found::End => None,
            });
        }
        // That messages are told from now on has a number, too.
        assert_eq!(found[..3], [None, Some(1), Some(3)]);
        assert_eq!(found.len(), 3 + 2 * KEPT);
        assert_eq!(found.last(), Some(&Some(ring.lock().number)));
    }

    #[tokio::test(start_paused = true)]
    async fn messages_are_told_while_somebody_reads_them_and_a_while_longer() {
        let engine = |services| Ok::<_, String>(Arc::new(ModelEngine::new(services)));
        let host = HostBuilder::new().start(engine).unwrap();
        let limits = ResourceLimits::new(1 << 20, PATIENCE, None).unwrap();
        let id = ComponentId::new("demo", "echo", "main").unwrap();
        let echo = Component::new(id.clone(), ECHO.wasm, ComponentConfig::new(limits));
        host.load(echo).await.unwrap();
        let events = host.events();
        let ring = Arc::new(EventRing::new(events.message_switch()));
        let keeping = tokio::spawn(Arc::clone(&ring).keep(events));
        let ask = || host.request(&id, "x", PATIENCE);
        ask().await.unwrap();
        let mut position = ring.position(None, true);
        ask().await.unwrap();
        assert_eq!(numbers(&ring, &mut position, 1).await, [Some(2)]);
        drop(position);
        ask().await.unwrap();
        let mut position = ring.position(Some(2), true);
        assert_eq!(numbers(&ring, &mut position, 1).await, [Some(3)]);
        drop(position);
        sleep(3 * PATIENCE).await;
        ask().await.unwrap();
        let mut position = ring.position(Some(3), true);
        ask().await.unwrap();
        assert_eq!(numbers(&ring, &mut position, 2).await, [None, Some(5)]);
        keeping.abort();
    }

    #[tokio::test]
    async fn a_number_that_has_not_come_yet_is_now() {
        let ring = ring();
        ring.add(restarted());
        let mut position = ring.position(Some(u64::MAX), false);
        ring.add(restarted());
        assert_eq!(numbers(&ring, &mut position, 1).await, [Some(2)]);
    }
}
