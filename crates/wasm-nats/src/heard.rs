//! What happens on nodes, as it travels and as it is heard by all who listen to a connection.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use async_nats::{Message, Subscriber};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Mutex, broadcast};
use tokio::task::JoinHandle;

use wasm_core::{Clock, SystemClock};
use wasm_host::{Event, EventClass};

use crate::name::Names;

/// The longest text of an event that is told, in characters: a line for people, as long as the
/// reason of a dead letter that is kept.
const TEXT_CHARS: usize = 1_000;

/// The largest event that is read, in bytes. One with the longest text and id is smaller, even if
/// JSON has to escape every character of it.
const EVENT_BYTES: usize = 16 << 10;

/// Events that are kept for those who listen to a connection and are slower than what happens,
/// as many as a host keeps for its readers.
const KEPT: usize = 1_024;

/// Nodes of which it is known how many events they have told. It is begun anew when there are
/// more, which only those who are no nodes can bring about.
const NODES: usize = 4_096;

/// Something that happened on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventOfNode {
    /// On which; empty where events of any nodes were missed.
    pub node: String,
    /// When it was told, in milliseconds since 1970, by the clock of that node.
    pub at_millis: u64,
    /// What it was, as [`Event::kind`] says.
    pub kind: String,
    /// The component that it is about, if it is about one.
    pub component: Option<String>,
    /// One line for people, of at most 1,000 characters.
    pub text: String,
}

/// The same as it travels. Whose it is, the subject says: a node cannot tell of another that may
/// publish under its own name only.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The process.
    incarnation: String,
    /// How many the process has had to tell, with this one.
    number: u64,
    at_millis: u64,
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    component: Option<String>,
    text: String,
}

impl Record {
    pub(crate) fn new(event: &Event, incarnation: &str, number: u64) -> Self {
        Self {
            incarnation: incarnation.to_owned(),
            number,
            at_millis: now_millis(),
            kind: event.kind().to_owned(),
            component: event.component().map(ToString::to_string),
            text: event.to_string().chars().take(TEXT_CHARS).collect(),
        }
    }
}

impl EventOfNode {
    fn missed(node: String, events: u64) -> Self {
        let event = Event::Missed {
            events,
            class: EventClass::Other,
        };
        Self {
            node,
            at_millis: now_millis(),
            kind: event.kind().to_owned(),
            component: None,
            text: event.to_string(),
        }
    }
}

fn now_millis() -> u64 {
    SystemClock.now().as_millis()
}

/// How many events each node has told, by which it is known how many did not come.
#[derive(Debug, Default)]
struct Heard(HashMap<String, (String, u64)>);

impl Heard {
    /// How many events of this node are missing before this one.
    fn missing_before(&mut self, node: &str, record: &Record) -> u64 {
        if self.0.len() >= NODES && !self.0.contains_key(node) {
            self.0.clear();
        }
        let now = (record.incarnation.clone(), record.number);
        match self.0.insert(node.to_owned(), now) {
            Some((process, number)) if process == record.incarnation => {
                record.number.saturating_sub(number.saturating_add(1))
            }
            // The process before this one has ended.
            Some(_) => record.number.saturating_sub(1),
            // It is not known since when it tells.
            None => 0,
        }
    }

    /// What is told of a message, in order.
    fn hear(&mut self, message: &Message, names: &Names) -> Vec<EventOfNode> {
        if message.payload.len() > EVENT_BYTES {
            return Vec::new();
        }
        let record = serde_json::from_slice::<Record>(&message.payload);
        let (Some(node), Ok(record)) = (names.teller(&message.subject), record) else {
            return Vec::new();
        };
        let missing = self.missing_before(node, &record);
        let missed = (missing > 0).then(|| EventOfNode::missed(node.to_owned(), missing));
        let event = EventOfNode {
            node: node.to_owned(),
            at_millis: record.at_millis,
            kind: record.kind,
            component: record.component,
            text: record.text,
        };
        missed.into_iter().chain([event]).collect()
    }
}

/// What happens on all nodes from now on; of each node in order.
#[derive(Debug)]
pub struct EventsOfNodes {
    receiver: broadcast::Receiver<EventOfNode>,
    /// Goes on for as long as somebody listens.
    _hearing: Arc<Hearing>,
}

impl EventsOfNodes {
    /// The next event; `None` when the connection is closed for good. May be cancelled by
    /// dropping the future: no event is lost.
    ///
    /// Of those for which the reader was too slow, or that did not come over the network, an
    /// event of the kind `missed` says how many: 1,024 are kept, for all who listen to one
    /// connection. What did not come is known with the next event of the same node.
    pub async fn next(&mut self) -> Option<EventOfNode> {
        match self.receiver.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(events)) => Some(EventOfNode::missed(String::new(), events)),
            Err(RecvError::Closed) => None,
        }
    }
}

/// Those who listen to a connection, who share one subscription.
#[derive(Debug, Default)]
pub(crate) struct Listeners(Mutex<Weak<Hearing>>);

impl Listeners {
    /// One more; the first subscribes.
    pub(crate) async fn add<E>(
        &self,
        names: &Names,
        subscribe: impl Future<Output = Result<Subscriber, E>>,
    ) -> Result<EventsOfNodes, E> {
        let mut latest = self.0.lock().await;
        if let Some(events) = latest.upgrade().and_then(Hearing::listen) {
            return Ok(events);
        }
        let (hearing, events) = Hearing::start(subscribe.await?, names.clone());
        *latest = Arc::downgrade(&hearing);
        Ok(events)
    }
}

#[derive(Debug)]
struct Hearing {
    told: broadcast::WeakSender<EventOfNode>,
    task: JoinHandle<()>,
}

impl Hearing {
    fn start(mut subscriber: Subscriber, names: Names) -> (Arc<Self>, EventsOfNodes) {
        let (sender, receiver) = broadcast::channel(KEPT);
        let told = sender.downgrade();
        let task = tokio::spawn(async move {
            let mut heard = Heard::default();
            while let Some(message) = subscriber.next().await {
                for event in heard.hear(&message, &names) {
                    // Whoever listened may have gone.
                    let _ = sender.send(event);
                }
            }
        });
        let hearing = Arc::new(Self { told, task });
        let events = EventsOfNodes {
            receiver,
            _hearing: Arc::clone(&hearing),
        };
        (hearing, events)
    }

    /// Nothing once the connection is closed for good.
    fn listen(self: Arc<Self>) -> Option<EventsOfNodes> {
        let receiver = self.told.upgrade()?.subscribe();
        Some(EventsOfNodes {
            receiver,
            _hearing: self,
        })
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(incarnation: &str, number: u64) -> Record {
        Record {
            incarnation: incarnation.to_owned(),
            number,
            at_millis: 0,
            kind: "restarted".to_owned(),
            component: None,
            text: String::new(),
        }
    }

    #[test]
    fn what_did_not_come_is_counted() {
        let mut heard = Heard::default();
        for (node, incarnation, number, missing) in [
            ("a", "x", 7, 0),
            ("a", "x", 8, 0),
            ("b", "y", 1, 0),
            ("a", "x", 11, 2),
            ("b", "y", 2, 0),
            // It was started again.
            ("a", "z", 1, 0),
            ("b", "w", 4, 3),
            // Nothing that a node sends.
            ("b", "w", 4, 0),
            ("b", "w", 0, 0),
            ("b", "w", u64::MAX, u64::MAX - 1),
            ("b", "w", 1, 0),
        ] {
            let found = heard.missing_before(node, &record(incarnation, number));
            assert_eq!(found, missing, "{node} {incarnation} {number}");
        }
    }

    #[test]
    fn who_is_no_node_has_little_kept_of_it() {
        let mut heard = Heard::default();
        for n in 0..3 * NODES {
            heard.missing_before(&format!("n{n}"), &record("x", 1));
        }
        assert!(heard.0.len() <= NODES, "{}", heard.0.len());
    }
}
