//! What must hold whatever happens.

use std::collections::{BTreeMap, BTreeSet};

use crate::world::PARTITIONS;

/// Which message, of those that producers sent.
pub(crate) type Message = u64;

/// How many components there are in each partition.
pub(crate) const RECIPIENTS: u64 = 2;

pub(crate) fn partition_of(message: Message) -> u16 {
    (message % u64::from(PARTITIONS)) as u16
}

pub(crate) fn recipient_of(message: Message) -> u64 {
    message / u64::from(PARTITIONS) % RECIPIENTS
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Violation {
    /// Its effect is stored more than once, or although nobody could handle it.
    Twice { message: Message },
    /// It was accepted, and has neither an effect nor is it a dead letter.
    Lost { message: Message },
    /// Its effect is stored after that of one that came later.
    OutOfOrder { message: Message },
    /// Two nodes have the components of a partition, and neither is paused.
    TwoOwners { partition: u16 },
    /// A node has the components of a partition that it may not own.
    Misplaced { partition: u16 },
    /// It never comes to rest.
    Restless { open: usize },
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) crashes: u64,
    pub(crate) pauses: u64,
    pub(crate) takeovers: u64,
    pub(crate) refused_writes: u64,
    pub(crate) handled: u64,
    pub(crate) dead: u64,
    /// Answers of servers that were behind those that lead.
    pub(crate) behind: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.crashes += other.crashes;
        self.pauses += other.pauses;
        self.takeovers += other.takeovers;
        self.refused_writes += other.refused_writes;
        self.handled += other.handled;
        self.dead += other.dead;
        self.behind += other.behind;
    }
}

#[derive(Debug, Default)]
pub(crate) struct Judge {
    accepted: BTreeSet<Message>,
    /// By the claim under which it was handled, and where in the stream it was.
    effects: BTreeMap<Message, BTreeSet<(u64, u64)>>,
    dead: BTreeSet<Message>,
    /// Those that nobody could handle.
    unhandled: BTreeSet<Message>,
    /// The place of the latest, by partition and recipient.
    latest: BTreeMap<(u16, u64), u64>,
    pub(crate) violation: Option<Violation>,
}

impl Judge {
    fn find(&mut self, violation: Violation) {
        self.violation.get_or_insert(violation);
    }

    pub(crate) fn accepted(&mut self, message: Message) {
        self.accepted.insert(message);
    }

    /// A write that is tried again is the same one.
    pub(crate) fn stored(&mut self, partition: u16, message: Message, by: (u64, u64)) {
        let writes = self.effects.entry(message).or_default();
        if !writes.insert(by) {
            return;
        }
        if writes.len() > 1 || self.unhandled.contains(&message) {
            self.find(Violation::Twice { message });
        }
        let (_, place) = by;
        let to = (partition, recipient_of(message));
        let latest = self.latest.entry(to).or_default();
        if *latest > place {
            self.find(Violation::OutOfOrder { message });
        } else {
            *latest = place;
        }
    }

    /// A dead letter. Only of one that was interrupted there may be an effect, too.
    pub(crate) fn dead(&mut self, message: Message, is_interrupted: bool) {
        self.dead.insert(message);
        if !is_interrupted {
            self.unhandled.insert(message);
            if self.effects.contains_key(&message) {
                self.find(Violation::Twice { message });
            }
        }
    }

    pub(crate) fn two_owners(&mut self, partition: u16) {
        self.find(Violation::TwoOwners { partition });
    }

    pub(crate) fn misplaced(&mut self, partition: u16) {
        self.find(Violation::Misplaced { partition });
    }

    /// Those that are accepted and of which nothing has become yet.
    pub(crate) fn open(&self) -> usize {
        self.accepted
            .iter()
            .filter(|it| !self.is_settled(**it))
            .count()
    }

    fn is_settled(&self, message: Message) -> bool {
        self.effects.contains_key(&message) || self.dead.contains(&message)
    }

    pub(crate) fn verdict(
        mut self,
        is_at_rest: bool,
        mut tally: Tally,
    ) -> Result<Tally, Violation> {
        if is_at_rest && let Some(message) = self.accepted.iter().find(|it| !self.is_settled(**it))
        {
            let message = *message;
            self.find(Violation::Lost { message });
        }
        if !is_at_rest {
            let open = self.open();
            self.find(Violation::Restless { open });
        }
        tally.handled = self.effects.len() as u64;
        tally.dead = self.dead.len() as u64;
        self.violation.map_or(Ok(tally), Err)
    }
}
