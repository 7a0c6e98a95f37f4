//! A node: what it knows, what it has, and what it does about it. What it decides, it decides
//! with the code of real nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wasm_nats::protocol::balance::View;
use wasm_nats::protocol::desk::{Desk, Left};
use wasm_nats::protocol::lease::{Heard, Hearing, Lease, Terms};

use crate::judge::{Message, RECIPIENTS, recipient_of};
use crate::server::{Answer, Ask, Owner};
use crate::world::{Broken, NODES, PINNED, POOLS};

/// Of an incarnation, as it says itself with each renewal and claim: no two nodes need have been
/// started with the same.
pub(crate) fn terms_of(incarnation: u64) -> Terms {
    let millis = match (incarnation / NODES as u64) % 3 {
        0 => 1_700,
        _ => 1_000,
    };
    Terms {
        length: Duration::from_millis(millis),
    }
}

/// Whether all that it may own is the pool that is named.
fn is_pinned(incarnation: &str) -> bool {
    let incarnation = incarnation.parse::<u64>();
    incarnation.is_ok_and(|it| it % NODES as u64 == PINNED)
}

/// Who has sent all messages.
const SENDER: &str = "producer";

/// One in so many messages has nobody who can handle it.
const HOPELESS: u128 = 16;

/// What is asked again if there is no answer by then.
const PATIENCE: Duration = Duration::from_millis(250);

#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) fence: u64,
    stage: Stage,
    left: Desk,
    desk: Desk,
    /// Under which name messages come.
    consumer: Option<u64>,
    waiting: BTreeMap<u64, Message>,
    /// Places that have come, however often.
    come: BTreeSet<u64>,
    /// By recipient.
    handled: BTreeMap<u64, Handled>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// Reads what the owner before it has left, and takes it over.
    Taking,
    Serving,
    /// Ends what it handles.
    GivingBack,
    /// Has nothing of it any more, and says so.
    Given,
}

#[derive(Debug, Clone)]
struct Handled {
    place: u64,
    message: Message,
    is_hopeless: bool,
    /// When it is done, once it has begun.
    done: Option<Duration>,
    is_stored: bool,
}

/// A question under way.
#[derive(Debug, Clone)]
struct Asked {
    ask: Ask,
    until: Duration,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) incarnation: u64,
    terms: Terms,
    lease: Lease,
    renewed: Option<u64>,
    /// Since its process has been running.
    enters: Duration,
    next_renewal: Duration,
    heard: BTreeMap<u64, Option<Heard>>,
    hearing: Hearing,
    /// By their names, with where that was said.
    names: BTreeMap<usize, (u64, u64)>,
    owners: BTreeMap<u16, Owner>,
    claims: BTreeMap<u16, Claim>,
    asked: BTreeMap<u64, Asked>,
    next_ask: u64,
    broken: Option<Broken>,
    /// What is to be sent.
    pub(crate) outbox: Vec<(u64, Ask)>,
    handling: Duration,
}

impl Node {
    pub(crate) fn start(incarnation: u64, enters: Duration, broken: Option<Broken>) -> Self {
        let terms = terms_of(incarnation);
        Self {
            incarnation,
            terms,
            lease: Lease::new(terms),
            renewed: None,
            enters,
            next_renewal: Duration::ZERO,
            heard: BTreeMap::new(),
            hearing: Hearing::default(),
            names: BTreeMap::new(),
            owners: BTreeMap::new(),
            claims: BTreeMap::new(),
            asked: BTreeMap::new(),
            next_ask: 0,
            broken,
            outbox: Vec::new(),
            handling: Duration::ZERO,
        }
    }

    /// Whether it has the components of a partition, and may handle messages of it.
    pub(crate) fn serves(&self, partition: u16) -> bool {
        let claim = self.claims.get(&partition);
        claim.is_some_and(|claim| !matches!(claim.stage, Stage::Taking | Stage::Given))
    }

    fn ask(&mut self, ask: Ask, now: Duration) {
        let number = self.next_ask;
        self.next_ask += 1;
        let until = now + PATIENCE;
        self.outbox.push((number, ask.clone()));
        self.asked.insert(number, Asked { ask, until });
    }

    fn is_broken(&self, how: Broken) -> bool {
        self.broken == Some(how)
    }

    fn is_asking(&self, is_it: impl Fn(&Ask) -> bool) -> bool {
        self.asked.values().any(|asked| is_it(&asked.ask))
    }

    /// Another node, or this, has renewed its lease.
    pub(crate) fn hear_of_node(
        &mut self,
        (name, own): (usize, usize),
        (incarnation, sequence): (u64, u64),
        now: Duration,
    ) {
        if name == own {
            self.renewed = self.renewed.max(Some(sequence));
            if incarnation == self.incarnation {
                self.hearing.hear(now, self.terms);
            }
            return;
        }
        let known = self.names.get(&name).map_or(0, |it| it.1);
        if sequence <= known {
            return;
        }
        let heard = self.heard_of(incarnation, now);
        self.heard.insert(incarnation, Some(heard));
        if let Some((before, _)) = self.names.insert(name, (incarnation, sequence))
            && before != incarnation
        {
            self.heard.insert(before, None);
        }
    }

    fn heard_of(&self, incarnation: u64, now: Duration) -> Heard {
        let terms = match self.broken {
            Some(Broken::OneLength) => self.terms,
            _ => terms_of(incarnation),
        };
        Heard { last: now, terms }
    }

    pub(crate) fn hear_of_owner(&mut self, partition: u16, owner: Owner, now: Duration) {
        if let Some(incarnation) = owner.incarnation {
            let heard = Some(self.heard_of(incarnation, now));
            self.heard.entry(incarnation).or_insert(heard);
        }
        let known = self.owners.entry(partition).or_default();
        if owner.sequence > known.sequence {
            *known = owner;
        }
    }

    /// A message has come from the stream.
    pub(crate) fn take_in(
        &mut self,
        (partition, consumer): (u16, u64),
        (place, message): (u64, Message),
    ) {
        let Some(claim) = self.claims.get_mut(&partition) else {
            return;
        };
        // What comes of a consumer of which it does not know all that came before is not next.
        if claim.consumer != Some(consumer) || !claim.come.insert(place) {
            return;
        }
        claim.waiting.insert(place, message);
        let fence = claim.fence;
        if self.broken == Some(Broken::AckTooEarly) {
            let ask = Ask::Acknowledge {
                partition,
                fence,
                place,
            };
            self.outbox.push((u64::MAX, ask));
        }
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Duration, handling: Duration) {
        self.handling = handling;
        self.ask_again(now);
        let is_due = now >= self.enters && now >= self.next_renewal;
        if is_due && !self.is_asking(|ask| matches!(ask, Ask::Renew { .. })) {
            self.next_renewal = now + self.terms.renewal();
            let expected = self.renewed.unwrap_or(0);
            self.ask(Ask::Renew { expected }, now);
        }
        let lost: Vec<_> = self
            .claims
            .iter()
            .filter(|(partition, claim)| {
                let known = self.owners.get(partition);
                known.is_some_and(|owner| owner.sequence > claim.fence)
            })
            .map(|(partition, _)| *partition)
            .collect();
        for partition in lost {
            self.claims.remove(&partition);
        }
        if !self.lease.is_held(now) {
            if self.is_broken(Broken::AcksWhenOver) {
                self.acknowledge_all();
            }
            self.claims.clear();
            return;
        }
        self.balance(now);
        let serving: Vec<_> = self.claims.keys().copied().collect();
        for partition in serving {
            self.serve(partition, now);
        }
    }

    fn acknowledge_all(&mut self) {
        for (partition, claim) in &self.claims {
            for handled in claim.handled.values() {
                let ask = Ask::Acknowledge {
                    partition: *partition,
                    fence: claim.fence,
                    place: handled.place,
                };
                self.outbox.push((u64::MAX, ask));
            }
        }
    }

    fn ask_again(&mut self, now: Duration) {
        let late: Vec<_> = self
            .asked
            .iter()
            .filter(|(_, asked)| asked.until <= now)
            .map(|(number, _)| *number)
            .collect();
        for number in late {
            let Some(asked) = self.asked.remove(&number) else {
                continue;
            };
            let is_of_a_claim = match asked.ask {
                // Its answer is an old one's by now.
                Ask::Renew { .. } | Ask::Claim { .. } => false,
                Ask::ReadDesk { partition } | Ask::TakeDesk { partition, .. } => {
                    self.claims.contains_key(&partition)
                }
                Ask::Begin {
                    partition, fence, ..
                }
                | Ask::Store {
                    partition, fence, ..
                }
                | Ask::Consume { partition, fence }
                | Ask::Look {
                    partition, fence, ..
                }
                | Ask::Bury {
                    partition, fence, ..
                }
                | Ask::Acknowledge {
                    partition, fence, ..
                }
                | Ask::GiveBack { partition, fence } => self
                    .claims
                    .get(&partition)
                    .is_some_and(|claim| claim.fence == fence),
            };
            if is_of_a_claim {
                self.ask(self.brought_up_to_date(asked.ask), now);
            }
        }
    }

    /// As it is asked again: what else has begun meanwhile is on the desk, too.
    fn brought_up_to_date(&self, mut ask: Ask) -> Ask {
        if let Ask::Begin {
            partition, text, ..
        } = &mut ask
            && let Some(claim) = self.claims.get(partition)
        {
            *text = claim.desk.as_text();
        }
        ask
    }

    fn balance(&mut self, now: Duration) {
        let heard = self.heard.iter();
        let alive = heard.filter(|(_, heard)| {
            heard.is_some_and(|heard| !heard.is_over(now, &self.hearing, self.terms))
        });
        let mut nodes: BTreeSet<_> = alive.map(|(it, _)| it.to_string()).collect();
        let own = self.incarnation.to_string();
        nodes.insert(own.clone());
        let owners = self.owners.iter().filter_map(|(partition, owner)| {
            let incarnation = owner.incarnation?;
            Some((*partition, incarnation.to_string()))
        });
        let pinned = nodes
            .iter()
            .filter(|it| is_pinned(it) && !self.is_broken(Broken::NoPins));
        let only = pinned.map(|it| (it.clone(), BTreeSet::from([1])));
        let view = View {
            pools: POOLS.to_vec(),
            only: only.collect(),
            nodes,
            leaving: BTreeSet::new(),
            owners: owners.collect(),
        };
        let plan = view.plan_with(&own, |it| self.claims.contains_key(&it));
        for partition in plan.claim {
            let is_claiming = self.is_asking(
                |ask| matches!(ask, Ask::Claim { partition: it, .. } if *it == partition),
            );
            if !is_claiming && !self.claims.contains_key(&partition) {
                let before = self.owners.get(&partition).map_or(0, |it| it.sequence);
                self.ask(Ask::Claim { partition, before }, now);
            }
        }
        for partition in plan.release {
            match self.claims.get_mut(&partition) {
                Some(claim) if claim.stage == Stage::Serving => claim.stage = Stage::GivingBack,
                Some(_) => {}
                None => {
                    let fence = self.owners.get(&partition).map_or(0, |it| it.sequence);
                    self.ask(Ask::GiveBack { partition, fence }, now);
                }
            }
        }
    }

    fn serve(&mut self, partition: u16, now: Duration) {
        let Some(claim) = self.claims.get_mut(&partition) else {
            return;
        };
        let fence = claim.fence;
        if matches!(claim.stage, Stage::Taking | Stage::Given) {
            return;
        }
        if claim.stage == Stage::GivingBack && claim.handled.is_empty() {
            claim.stage = Stage::Given;
            return self.ask(Ask::GiveBack { partition, fence }, now);
        }
        for recipient in 0..RECIPIENTS {
            self.serve_one(partition, recipient, now);
        }
    }

    fn serve_one(&mut self, partition: u16, recipient: u64, now: Duration) {
        let Some(claim) = self.claims.get_mut(&partition) else {
            return;
        };
        let fence = claim.fence;
        if let Some(handled) = claim.handled.get_mut(&recipient) {
            if handled.done.is_some_and(|done| done <= now) && !handled.is_stored {
                handled.is_stored = true;
                let ask = Ask::Store {
                    partition,
                    fence,
                    message: handled.message,
                    place: handled.place,
                };
                self.ask(ask, now);
            }
            return;
        }
        if claim.stage == Stage::GivingBack {
            return;
        }
        let mut its = claim.waiting.iter();
        let next = its.find(|(_, message)| recipient_of(**message) == recipient);
        let Some((place, message)) = next.map(|(place, message)| (*place, *message)) else {
            return;
        };
        claim.waiting.remove(&place);
        let is_interrupted = claim.left.left(place) == Left::Interrupted;
        // What is interrupted is the one that was taken up.
        let is_again = !is_interrupted && claim.desk.is_again(place, (SENDER, message));
        let forgets = matches!(self.broken, Some(Broken::NothingTaken | Broken::NoDedupe));
        if is_again && !forgets {
            let ask = Ask::Acknowledge {
                partition,
                fence,
                place,
            };
            return self.ask(ask, now);
        }
        // At times there is nobody who can handle it.
        let is_hopeless = self.handling.as_millis().is_multiple_of(HOPELESS);
        let handled = Handled {
            place,
            message,
            is_hopeless,
            done: None,
            is_stored: false,
        };
        claim.handled.insert(recipient, handled);
        if is_hopeless && self.broken == Some(Broken::NeverBegun) {
            return self.ask(Self::hopeless((partition, fence), (place, message)), now);
        }
        if is_interrupted && self.broken != Some(Broken::NoDesk) {
            let ask = Ask::Bury {
                message,
                place,
                partition,
                fence,
                is_interrupted,
            };
            return self.ask(ask, now);
        }
        claim.desk.begin(place, (SENDER, message));
        let text = claim.desk.as_text();
        let ask = Ask::Begin {
            partition,
            fence,
            place,
            text,
        };
        self.ask(ask, now);
    }

    /// An answer, perhaps to a question that was asked again since.
    pub(crate) fn hear(&mut self, number: u64, answer: &Answer, asked_at: Duration, now: Duration) {
        let Some(Asked { ask, .. }) = self.asked.remove(&number) else {
            return;
        };
        match (ask, answer) {
            (Ask::Renew { .. }, Answer::Done(sequence)) => {
                self.renewed = self.renewed.max(Some(*sequence));
                self.lease.grant(asked_at);
            }
            (Ask::Claim { partition, .. }, Answer::Done(fence)) => {
                let owner = Owner {
                    incarnation: Some(self.incarnation),
                    sequence: *fence,
                };
                self.hear_of_owner(partition, owner, now);
                if !self.lease.is_held_since(asked_at, now) {
                    // Another may have taken it over. It is claimed again.
                    return;
                }
                self.claims.insert(
                    partition,
                    Claim {
                        fence: *fence,
                        stage: Stage::Taking,
                        left: Desk::default(),
                        desk: Desk::default(),
                        consumer: None,
                        waiting: BTreeMap::new(),
                        come: BTreeSet::new(),
                        handled: BTreeMap::new(),
                    },
                );
                self.ask(Ask::ReadDesk { partition }, now);
            }
            (Ask::ReadDesk { partition }, Answer::Desk { sequence, text }) => {
                if let Some(claim) = self.claims.get_mut(&partition) {
                    let desk = Desk::parse(text.as_bytes()).expect("a desk");
                    (claim.left, claim.desk) = (desk.clone(), desk);
                    let (read, text) = (*sequence, text.clone());
                    let ask = Ask::TakeDesk {
                        partition,
                        read,
                        text,
                    };
                    self.ask(ask, now);
                }
            }
            (Ask::TakeDesk { partition, .. }, Answer::Done(_)) => {
                if let Some(claim) = self.claims.get(&partition) {
                    let fence = claim.fence;
                    self.ask(Ask::Consume { partition, fence }, now);
                }
            }
            (Ask::Consume { partition, fence }, Answer::Messages(consumer, messages)) => {
                if let Some(claim) = self.claims.get_mut(&partition)
                    && claim.fence == fence
                {
                    (claim.stage, claim.consumer) = (Stage::Serving, Some(*consumer));
                }
                for (place, message) in messages {
                    self.take_in((partition, *consumer), (*place, *message));
                }
                self.tidy_the_desk(partition, now);
            }
            (ask, answer) => self.hear_of_message(&ask, answer, now),
        }
    }

    fn hopeless((partition, fence): (u16, u64), (place, message): (u64, Message)) -> Ask {
        Ask::Bury {
            message,
            place,
            partition,
            fence,
            is_interrupted: false,
        }
    }

    /// What else is on it was acknowledged, unless the server that has the messages is behind.
    fn tidy_the_desk(&mut self, partition: u16, now: Duration) {
        let Some(claim) = self.claims.get_mut(&partition) else {
            return;
        };
        let fence = claim.fence;
        let mut doubtful: Vec<_> = claim.desk.begun().collect();
        doubtful.retain(|place| !claim.come.contains(place));
        for place in doubtful {
            if self.broken == Some(Broken::TrustsConsumer) {
                if let Some(claim) = self.claims.get_mut(&partition) {
                    claim.desk.acknowledged(place);
                }
                continue;
            }
            let ask = Ask::Look {
                partition,
                fence,
                place,
            };
            self.ask(ask, now);
        }
    }

    fn hear_of_message(&mut self, ask: &Ask, answer: &Answer, now: Duration) {
        let (Ask::Begin {
            partition, fence, ..
        }
        | Ask::Store {
            partition, fence, ..
        }
        | Ask::Bury {
            partition, fence, ..
        }
        | Ask::Acknowledge {
            partition, fence, ..
        }
        | Ask::Look {
            partition, fence, ..
        }
        | Ask::GiveBack { partition, fence }) = ask
        else {
            // A claim or a renewal that came too late.
            if let Ask::TakeDesk { partition, .. } | Ask::Consume { partition, .. } = ask {
                self.claims.remove(partition);
            }
            return;
        };
        let (partition, fence) = (*partition, *fence);
        let handling = now + self.handling;
        let Some(claim) = self.claims.get_mut(&partition) else {
            return;
        };
        if claim.fence != fence {
            return;
        }
        if matches!(answer, Answer::Outdated) || matches!(ask, Ask::GiveBack { .. }) {
            self.claims.remove(&partition);
            return;
        }
        match ask {
            Ask::Begin { place, .. } => {
                let mut handled = claim.handled.values_mut();
                match handled.find(|it| it.place == *place) {
                    Some(handled) if handled.is_hopeless => {
                        let letter = (handled.place, handled.message);
                        self.ask(Self::hopeless((partition, fence), letter), now);
                    }
                    Some(handled) => {
                        handled.done.get_or_insert(handling);
                    }
                    None => {}
                }
            }
            Ask::Look { place, .. } => {
                let is_gone = match answer {
                    Answer::Next(Some(next)) => next > place,
                    _ => self.broken == Some(Broken::TrustsSilence),
                };
                if is_gone {
                    claim.desk.acknowledged(*place);
                }
            }
            Ask::Store { place, .. } | Ask::Bury { place, .. } => {
                let ask = Ask::Acknowledge {
                    partition,
                    fence,
                    place: *place,
                };
                self.ask(ask, now);
            }
            Ask::Acknowledge { place, .. } => {
                claim.desk.acknowledged(*place);
                claim.handled.retain(|_, it| it.place != *place);
            }
            _ => {}
        }
    }
}
