//! What JetStream is of all this: sequences, conditions on the last sequence of a subject,
//! messages that are known by their ids, and consumers.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::judge::{Judge, Message};
use crate::world::Broken;

/// Who owns a partition, as the stream has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) incarnation: Option<u64>,
    pub(crate) sequence: u64,
}

/// What a node asks for.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    Renew {
        expected: u64,
    },
    Claim {
        partition: u16,
        before: u64,
    },
    ReadDesk {
        partition: u16,
    },
    /// Written only if it was the last that was read.
    TakeDesk {
        partition: u16,
        read: u64,
        text: String,
    },
    /// What is being handled; the message that begins with it.
    Begin {
        partition: u16,
        fence: u64,
        place: u64,
        text: String,
    },
    Store {
        partition: u16,
        fence: u64,
        message: Message,
        place: u64,
    },
    /// What comes first in the stream from a place on, as a server has it that leads it, or does
    /// not know yet that another one does.
    Look {
        partition: u16,
        fence: u64,
        place: u64,
    },
    /// A consumer of its own under this claim: what is in the stream, from the beginning.
    Consume {
        partition: u16,
        fence: u64,
    },
    Bury {
        message: Message,
        place: u64,
        partition: u16,
        fence: u64,
        /// By the end of the node that had it, which may have handled it.
        is_interrupted: bool,
    },
    Acknowledge {
        partition: u16,
        fence: u64,
        place: u64,
    },
    GiveBack {
        partition: u16,
        fence: u64,
    },
}

#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Done(u64),
    Outdated,
    Desk {
        sequence: u64,
        text: String,
    },
    /// Its place, if there is one.
    Next(Option<u64>),
    /// A consumer, with places and what is there.
    Messages(u64, Vec<(u64, Message)>),
}

/// What has become of the stream of messages, in its order.
#[derive(Debug, Clone, Copy)]
enum Change {
    Stored(u16, u64, Message),
    Removed(u16, u64),
}

#[derive(Debug, Default)]
pub(crate) struct Server {
    sequence: u64,
    /// By node: its incarnation and the sequence of its latest renewal.
    pub(crate) nodes: BTreeMap<usize, (u64, u64)>,
    pub(crate) owners: BTreeMap<u16, Owner>,
    /// The last and the one before it.
    desks: BTreeMap<u16, [(u64, String); 2]>,
    /// By partition and place.
    mail: BTreeMap<(u16, u64), Message>,
    changes: Vec<Change>,
    /// By how many changes what answers a question is behind what leads.
    pub(crate) behind: usize,
    ids: BTreeSet<Message>,
    /// Under which claim each partition is consumed, and by which consumer.
    consumers: HashMap<u16, (u64, u64)>,
    /// What is new for a consumer.
    pub(crate) fresh: Vec<(u16, u64, Message)>,
    /// What it is told later, because its server was behind when it was made.
    pub(crate) late: Vec<(u64, Message)>,
    pub(crate) refused_writes: u64,
    pub(crate) takeovers: u64,
}

impl Server {
    fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// A producer stores a message, perhaps not for the first time.
    pub(crate) fn publish(&mut self, partition: u16, message: Message, broken: Option<Broken>) {
        let knows_ids = !matches!(broken, Some(Broken::NoDedupe | Broken::NoIds));
        if !self.ids.insert(message) && knows_ids {
            return;
        }
        let place = self.next();
        self.mail.insert((partition, place), message);
        self.changes.push(Change::Stored(partition, place, message));
        self.fresh.push((partition, place, message));
    }

    /// It starts again, and knows the ids of what is in its streams.
    pub(crate) fn restart(&mut self) {
        self.ids = self.mail.values().copied().collect();
    }

    /// Under which claim a partition is consumed, and by which consumer.
    pub(crate) fn consumer(&self, partition: u16) -> Option<(u64, u64)> {
        self.consumers.get(&partition).copied()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.mail.is_empty()
    }

    /// What is in the stream of a partition where a server is behind, and what it will hear of.
    fn consume(&mut self, partition: u16) -> Vec<(u64, Message)> {
        let known = self.changes.len().saturating_sub(self.behind);
        let (known, late) = self.changes.split_at(known);
        let mut mail = BTreeMap::new();
        for change in known {
            match *change {
                Change::Stored(to, place, message) if to == partition => {
                    mail.insert(place, message);
                }
                Change::Stored(..) => {}
                Change::Removed(of, place) => {
                    if of == partition {
                        mail.remove(&place);
                    }
                }
            }
        }
        let late = late.iter().filter_map(|change| match *change {
            Change::Stored(to, place, message) if to == partition => Some((place, message)),
            _ => None,
        });
        self.late = late.collect();
        mail.into_iter().collect()
    }

    fn desk(&self, partition: u16) -> [(u64, String); 2] {
        self.desks.get(&partition).cloned().unwrap_or_default()
    }

    fn write_desk(&mut self, partition: u16, text: String) -> u64 {
        let sequence = self.next();
        let [last, _] = self.desk(partition);
        self.desks.insert(partition, [(sequence, text), last]);
        sequence
    }

    fn fence(&self, partition: u16) -> u64 {
        self.owners
            .get(&partition)
            .map_or(0, |owner| owner.sequence)
    }

    fn holds(&mut self, partition: u16, fence: u64, broken: Option<Broken>) -> bool {
        let holds = self.fence(partition) == fence || broken == Some(Broken::NoFence);
        self.refused_writes += u64::from(!holds);
        holds
    }

    pub(crate) fn answer(
        &mut self,
        (node, incarnation): (usize, u64),
        ask: Ask,
        judge: &mut Judge,
        broken: Option<Broken>,
    ) -> Answer {
        match ask {
            Ask::Renew { expected } => {
                let last = self.nodes.get(&node).map_or(0, |it| it.1);
                if last != expected {
                    return Answer::Outdated;
                }
                let sequence = self.next();
                self.nodes.insert(node, (incarnation, sequence));
                Answer::Done(sequence)
            }
            Ask::Claim { partition, before } => {
                if self.fence(partition) != before {
                    return Answer::Outdated;
                }
                let sequence = self.next();
                let former = self.owners.insert(
                    partition,
                    Owner {
                        incarnation: Some(incarnation),
                        sequence,
                    },
                );
                let is_taken = former.is_some_and(|it| it.incarnation.is_some());
                self.takeovers += u64::from(is_taken);
                Answer::Done(sequence)
            }
            Ask::ReadDesk { partition } => {
                let [last, before] = self.desk(partition);
                let (sequence, text) = match self.behind {
                    0 => last,
                    _ => before,
                };
                Answer::Desk { sequence, text }
            }
            Ask::TakeDesk {
                partition,
                read,
                text,
            } => {
                let [(sequence, _), _] = self.desk(partition);
                if sequence != read && broken != Some(Broken::StaleDesk) {
                    return Answer::Outdated;
                }
                Answer::Done(self.write_desk(partition, text))
            }
            Ask::Begin {
                partition,
                fence,
                text,
                ..
            } => {
                if !self.holds(partition, fence, broken) {
                    return Answer::Outdated;
                }
                Answer::Done(self.write_desk(partition, text))
            }
            Ask::Store {
                partition,
                fence,
                message,
                place,
            } => {
                if !self.holds(partition, fence, broken) {
                    return Answer::Outdated;
                }
                judge.stored(partition, message, (fence, place));
                Answer::Done(self.next())
            }
            Ask::Consume { partition, fence } => {
                // Consumers of later claims are not replaced by those of earlier ones.
                if self
                    .consumers
                    .get(&partition)
                    .is_some_and(|it| it.0 > fence)
                {
                    return Answer::Outdated;
                }
                let consumer = self.next();
                self.consumers.insert(partition, (fence, consumer));
                Answer::Messages(consumer, self.consume(partition))
            }
            Ask::Look { place, .. } => {
                let known = self.changes.len().saturating_sub(self.behind);
                let mut places: BTreeSet<_> = BTreeSet::new();
                for change in &self.changes[..known] {
                    match *change {
                        Change::Stored(_, place, _) => places.insert(place),
                        Change::Removed(_, place) => places.remove(&place),
                    };
                }
                Answer::Next(places.range(place..).next().copied())
            }
            Ask::Bury {
                message,
                is_interrupted,
                ..
            } => {
                judge.dead(message, is_interrupted);
                Answer::Done(0)
            }
            Ask::Acknowledge {
                partition,
                fence,
                place,
            } => {
                // Under the name of another consumer it is nothing.
                if self
                    .consumers
                    .get(&partition)
                    .is_some_and(|it| it.0 == fence)
                {
                    self.mail.remove(&(partition, place));
                    self.changes.push(Change::Removed(partition, place));
                }
                Answer::Done(0)
            }
            Ask::GiveBack { partition, fence } => {
                if self.fence(partition) != fence {
                    return Answer::Outdated;
                }
                let sequence = self.next();
                let owner = Owner {
                    incarnation: None,
                    sequence,
                };
                self.owners.insert(partition, owner);
                Answer::Done(sequence)
            }
        }
    }
}
