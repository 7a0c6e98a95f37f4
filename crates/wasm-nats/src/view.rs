//! What a node sees of the others: who was heard of when, and who owns what.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::jetstream;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::division::Division;
use crate::protocol::balance::View;
use crate::protocol::lease::{Heard, Hearing, LENGTHS, Terms};
use crate::wire::is_deleted;

/// What a node says of itself with each renewal of its lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeRecord {
    /// Of the process.
    pub(crate) incarnation: String,
    /// How long its lease is.
    #[serde(default)]
    pub(crate) lease_millis: u64,
    /// It gives back all that it owns.
    #[serde(default)]
    pub(crate) is_leaving: bool,
    /// The patterns of which it owns components, unless it owns whatever there is.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(crate) only: Vec<String>,
}

/// How long the lease is that a record tells of. One that tells of none is not known to be
/// shorter than this node's own.
fn terms_of(lease_millis: u64, own: Terms) -> Terms {
    let length = Duration::from_millis(lease_millis);
    match LENGTHS.contains(&length) {
        true => Terms { length },
        false => own,
    }
}

impl NodeRecord {
    pub(crate) fn terms(&self, own: Terms) -> Terms {
        terms_of(self.lease_millis, own)
    }
}

/// Who owns a partition, or that nobody does since it was given back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OwnerRecord {
    /// The name of the node, for people.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) incarnation: Option<String>,
    /// How long its lease is.
    #[serde(default)]
    pub(crate) lease_millis: u64,
    /// Of the latest owner: it is to be deleted by the next.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) consumer: Option<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Watched {
    state: Mutex<State>,
    pub(crate) changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// By the names of nodes.
    nodes: HashMap<String, NodeRecord>,
    /// Where in the stream each node was heard of last.
    places: HashMap<String, u64>,
    /// When an incarnation was last heard of, be it that it owns something; `None` for one that
    /// has left, or is another by now.
    heard: HashMap<String, Option<Heard>>,
    hearing: Hearing,
    /// When this node last heard of a renewal of its own, and when the server had stored it, in
    /// nanoseconds of its clock.
    server_time: Option<(Duration, i128)>,
    owners: BTreeMap<u16, (u64, OwnerRecord)>,
}

/// How many incarnations that are gone are remembered besides those that count.
const REMEMBERED: usize = 64;

impl State {
    /// Forgets incarnations that have left, or are others by now, and are said to own nothing.
    fn forget_the_gone(&mut self) {
        let counts = self.nodes.len() + self.owners.len();
        if self.heard.len() <= 2 * counts + REMEMBERED {
            return;
        }
        let nodes = self.nodes.values().map(|it| &it.incarnation);
        let owners = self
            .owners
            .values()
            .filter_map(|it| it.1.incarnation.as_ref());
        let known: BTreeSet<_> = nodes.chain(owners).collect();
        self.heard
            .retain(|incarnation, _| known.contains(incarnation));
    }
}

impl Watched {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node has renewed its lease, or has left.
    pub(crate) fn hear_of_node(
        &self,
        message: &jetstream::Message,
        own: &str,
        terms: Terms,
        now: Duration,
    ) {
        let Some(node) = message.subject.rsplit('.').next() else {
            return;
        };
        let is_gone = message.headers.as_ref().is_some_and(is_deleted);
        let record = serde_json::from_slice::<NodeRecord>(&message.payload);
        let mut state = self.state();
        let place = message.info().map_or(0, |info| info.stream_sequence);
        let known = state.places.entry(node.to_owned()).or_default();
        if place <= *known {
            return;
        }
        *known = place;
        if record.as_ref().is_ok_and(|it| it.incarnation == own) {
            state.hearing.hear(now, terms);
            if let Ok(info) = message.info() {
                let published = info.published.unix_timestamp_nanos();
                state.server_time = Some((now, published));
            }
        }
        let before = match record.ok().filter(|_| !is_gone) {
            Some(record) => {
                let heard = Some(Heard {
                    last: now,
                    terms: record.terms(terms),
                });
                state.heard.insert(record.incarnation.clone(), heard);
                let before = state.nodes.insert(node.to_owned(), record.clone());
                before.filter(|before| *before != record)
            }
            None => state.nodes.remove(node),
        };
        let is_news = before.is_some();
        let now_there = state.nodes.get(node).map(|it| it.incarnation.clone());
        if let Some(before) = before.filter(|it| Some(&it.incarnation) != now_there.as_ref()) {
            state.heard.insert(before.incarnation, None);
        }
        state.forget_the_gone();
        drop(state);
        if is_news {
            self.changed.notify_one();
        }
    }

    /// A partition has been claimed or given back.
    pub(crate) fn hear_of_owner(&self, message: &jetstream::Message, own: Terms, now: Duration) {
        let partition = message.subject.rsplit('.').next();
        let Some(partition) = partition.and_then(|it| it.parse().ok()) else {
            return;
        };
        let Ok(info) = message.info() else {
            return;
        };
        let record = serde_json::from_slice(&message.payload).unwrap_or_default();
        self.set_owner((partition, info.stream_sequence), record, own, now);
    }

    pub(crate) fn set_owner(
        &self,
        (partition, sequence): (u16, u64),
        record: OwnerRecord,
        own: Terms,
        now: Duration,
    ) {
        let mut state = self.state();
        // Of one that has not been heard of by itself, this is the first that is known.
        if let Some(incarnation) = &record.incarnation
            && !state.heard.contains_key(incarnation)
        {
            let heard = Some(Heard {
                last: now,
                terms: terms_of(record.lease_millis, own),
            });
            state.heard.insert(incarnation.clone(), heard);
        }
        // What this node has written itself comes twice.
        let known = state.owners.get(&partition).map_or(0, |it| it.0);
        if sequence > known {
            state.owners.insert(partition, (sequence, record));
        }
        drop(state);
        self.changed.notify_one();
    }

    /// How long ago the server stored something, by its own clock: at most, because what it tells
    /// of its time is on its way for a moment. Nothing if it has not told of it yet.
    pub(crate) fn age(&self, stored: i128, now: Duration) -> Duration {
        let Some((heard, published)) = self.state().server_time else {
            return Duration::ZERO;
        };
        let since = now.saturating_sub(heard).as_nanos();
        let age = published - stored + i128::try_from(since).unwrap_or(0);
        Duration::from_nanos(age.clamp(0, u64::MAX.into()) as u64)
    }

    /// The last that is known of a partition: what a claim of it must come after.
    pub(crate) fn owner(&self, partition: u16) -> (u64, OwnerRecord) {
        let state = self.state();
        state.owners.get(&partition).cloned().unwrap_or_default()
    }

    /// Where each partition is, by the names of nodes.
    pub(crate) fn places(&self) -> BTreeMap<u16, String> {
        let state = self.state();
        let named = state.owners.iter();
        named
            .filter_map(|(partition, (_, record))| Some((*partition, record.node.clone()?)))
            .collect()
    }

    /// What a node decides by: itself and those whose leases are not over.
    pub(crate) fn view(
        &self,
        division: &Division,
        (incarnation, only): (&str, &[String]),
        terms: Terms,
        now: Duration,
    ) -> View {
        let state = self.state();
        let others = state.heard.iter();
        let mut nodes: BTreeSet<_> = others
            .filter(|(_, heard)| {
                heard.is_some_and(|heard| !heard.is_over(now, &state.hearing, terms))
            })
            .map(|(incarnation, _)| incarnation.clone())
            .collect();
        nodes.insert(incarnation.to_owned());
        let leaving = state.nodes.values().filter(|it| it.is_leaving);
        let leaving = leaving.map(|it| it.incarnation.clone()).collect();
        let pinned = state.nodes.values().filter(|it| !it.only.is_empty());
        let pools = |it: &NodeRecord| (it.incarnation.clone(), division.pools_of(&it.only));
        let mut pinned: BTreeMap<_, _> = pinned.map(pools).collect();
        if !only.is_empty() {
            pinned.insert(incarnation.to_owned(), division.pools_of(only));
        }
        let owners = state.owners.iter();
        View {
            pools: division.pools(),
            only: pinned,
            nodes,
            leaving,
            owners: owners
                .filter_map(|(partition, (_, record))| {
                    Some((*partition, record.incarnation.clone()?))
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_count_by_the_clock_of_the_server() {
        let watched = Watched::default();
        let second = Duration::from_secs(1);
        let at = |seconds: i128| seconds * 1_000_000_000;
        // It has not told of its time yet.
        assert_eq!(watched.age(at(5), 100 * second), Duration::ZERO);
        watched.state().server_time = Some((100 * second, at(1_000)));
        assert_eq!(watched.age(at(990), 100 * second), 10 * second);
        assert_eq!(watched.age(at(990), 103 * second), 13 * second);
        // Stored since then.
        assert_eq!(watched.age(at(1_002), 101 * second), Duration::ZERO);
    }

    #[test]
    fn who_is_gone_and_owns_nothing_is_forgotten() {
        let mut state = State::default();
        for n in 0..1_000 {
            state.heard.insert(format!("old{n}"), None);
        }
        let incarnation = Some("old7".to_owned());
        let record = OwnerRecord {
            incarnation,
            ..OwnerRecord::default()
        };
        state.owners.insert(3, (1, record));
        state.forget_the_gone();
        assert_eq!(state.heard.keys().collect::<Vec<_>>(), ["old7"]);
    }
}
