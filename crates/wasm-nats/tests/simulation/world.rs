//! A world: nodes, a server, producers, and what happens to them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Range;
use std::time::Duration;

use crate::judge::{Judge, Message, Tally, Violation, partition_of};
use crate::node::{Node, terms_of};
use crate::random::Random;
use crate::server::{Answer, Ask, Owner, Server};

pub(crate) const PARTITIONS: u16 = 3;
/// The last partition is in a pool of its own, and all that this node may own.
pub(crate) const POOLS: [Range<u16>; 2] = [0..2, 2..3];
pub(crate) const PINNED: u64 = 0;
pub(crate) const NODES: usize = 3;
const MESSAGES: u64 = 40;

/// How long things happen to nodes, and how long they have to come to rest afterwards.
const TROUBLE: Duration = Duration::from_secs(10);
const REST: Duration = Duration::from_secs(40);

/// By how many changes a server is behind those that lead, at most.
const BEHIND: u64 = 30;

const TICK: Duration = Duration::from_millis(10);

/// What a protocol leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Writes are stored whoever owns the partition.
    NoFence,
    /// A message that is published again is stored again, and handled again.
    NoDedupe,
    /// It is stored again, and only the owner of its partition knows it.
    NoIds,
    /// Messages are acknowledged when they come.
    AckTooEarly,
    /// What is being handled when the lease is over, and can store nothing, is acknowledged.
    AcksWhenOver,
    /// What was being handled is delivered like what waited.
    NoDesk,
    /// What was taken up is forgotten once it is acknowledged.
    NothingTaken,
    /// What a consumer has not given is taken off the desk.
    TrustsConsumer,
    /// What a server has nothing of is taken off the desk, although it may be behind.
    TrustsSilence,
    /// What a server that is behind says of a desk is taken for it.
    StaleDesk,
    /// What nobody can handle is a dead letter without being written down first.
    NeverBegun,
    /// Each takes the leases of others for as long as its own.
    OneLength,
    /// Leases go by a clock that people and daemons set.
    WallClock,
    /// Nodes own partitions of whatever pool.
    NoPins,
}

#[derive(Debug)]
enum Event {
    Tick(usize),
    /// A question reaches the server.
    Ask(Envelope<Ask>),
    /// An answer comes back.
    Answer(Envelope<Answer>),
    Node {
        to: usize,
        name: usize,
        record: (u64, u64),
    },
    Owner {
        to: usize,
        partition: u16,
        owner: Owner,
    },
    Message {
        to: usize,
        partition: u16,
        consumer: u64,
        place: u64,
        message: Message,
    },
    /// A producer tries to have a message stored.
    Publish {
        message: Message,
        attempt: u32,
    },
    Trouble,
    Restart(usize),
}

#[derive(Debug)]
struct Envelope<T> {
    node: usize,
    incarnation: u64,
    number: u64,
    /// By the clock of the node.
    asked: Duration,
    content: T,
}

struct Process {
    node: Option<Node>,
    /// By which its clock is fast or slow, in thousandths.
    rate: u64,
    /// How far its clock was set back, if it goes by one that can be.
    set_back: Duration,
    paused_until: Duration,
    cut_until: Duration,
    /// It is told nothing of other nodes until then, and reaches the server all the same.
    deaf_until: Duration,
    /// When what it has sent last arrives: a connection keeps the order.
    last_arrival: Duration,
    last_return: Duration,
    ticked: Duration,
}

pub(crate) struct World {
    random: Random,
    now: Duration,
    broken: Option<Broken>,
    events: BinaryHeap<Reverse<(Duration, u64)>>,
    contents: BTreeMap<u64, Event>,
    next_event: u64,
    processes: Vec<Process>,
    server: Server,
    server_down_until: Duration,
    /// Until when consumers are behind.
    behind_until: BTreeMap<u64, Duration>,
    judge: Judge,
    incarnations: u64,
    tally: Tally,
}

impl World {
    pub(crate) fn new(seed: u64, broken: Option<Broken>) -> Self {
        let mut random = Random::new(seed);
        let processes = (0..NODES).map(|_| Process {
            node: None,
            rate: 980 + random.below(41),
            set_back: Duration::ZERO,
            paused_until: Duration::ZERO,
            cut_until: Duration::ZERO,
            deaf_until: Duration::ZERO,
            last_arrival: Duration::ZERO,
            last_return: Duration::ZERO,
            ticked: Duration::ZERO,
        });
        let processes = processes.collect();
        let mut world = Self {
            random,
            now: Duration::ZERO,
            broken,
            events: BinaryHeap::new(),
            contents: BTreeMap::new(),
            next_event: 0,
            processes,
            server: Server::default(),
            server_down_until: Duration::ZERO,
            behind_until: BTreeMap::new(),
            judge: Judge::default(),
            incarnations: 0,
            tally: Tally::default(),
        };
        for node in 0..NODES {
            let delay = world.random.millis(0, 300);
            world.at(delay, Event::Restart(node));
            world.at(delay, Event::Tick(node));
        }
        for message in 1..=MESSAGES {
            let when = Duration::from_millis(1_500 + message * 8_000 / MESSAGES);
            world.at(
                when,
                Event::Publish {
                    message,
                    attempt: 0,
                },
            );
        }
        world.at(Duration::from_millis(2_000), Event::Trouble);
        world
    }

    fn at(&mut self, when: Duration, event: Event) {
        let number = self.next_event;
        self.next_event += 1;
        self.events.push(Reverse((when, number)));
        self.contents.insert(number, event);
    }

    /// What came of it.
    pub(crate) fn run(mut self) -> Result<Tally, Violation> {
        let mut is_at_rest = false;
        while let Some(Reverse((when, number))) = self.events.pop() {
            self.now = when;
            if self.judge.violation.is_some() || when > TROUBLE + REST {
                break;
            }
            let event = self.contents.remove(&number).expect("it is there");
            self.happen(number, event);
            is_at_rest = when > TROUBLE && self.server.is_empty();
            if is_at_rest && self.judge.open() == 0 {
                break;
            }
            // What is in no stream and was not handled is lost.
            if is_at_rest && when > TROUBLE + REST / 2 {
                break;
            }
        }
        self.tally.refused_writes = self.server.refused_writes;
        self.tally.takeovers = self.server.takeovers;
        self.judge.verdict(is_at_rest, self.tally)
    }

    /// By the clock of a node.
    fn clock(&self, process: usize) -> Duration {
        let Process { rate, set_back, .. } = &self.processes[process];
        let micros = self.now.as_micros() as u64 * rate / 1_000;
        // It began some time before this world did.
        (Duration::from_micros(micros) + Duration::from_secs(100)).saturating_sub(*set_back)
    }

    fn happen(&mut self, number: u64, event: Event) {
        // What comes to a process that is paused waits for it, in its order.
        if let Event::Answer(Envelope { node: to, .. })
        | Event::Tick(to)
        | Event::Node { to, .. }
        | Event::Owner { to, .. }
        | Event::Message { to, .. } = &event
            && self.processes[*to].paused_until > self.now
        {
            let until = self.processes[*to].paused_until;
            self.events.push(Reverse((until, number)));
            self.contents.insert(number, event);
            return;
        }
        match event {
            Event::Tick(process) => self.tick(process),
            Event::Ask(asked) => self.ask(asked),
            Event::Answer(answered) => self.answer(answered),
            Event::Node { to, name, record } => {
                let now = self.clock(to);
                if let Some(node) = &mut self.processes[to].node {
                    node.hear_of_node((name, to), record, now);
                }
            }
            Event::Owner {
                to,
                partition,
                owner,
            } => {
                let now = self.clock(to);
                if let Some(node) = &mut self.processes[to].node {
                    node.hear_of_owner(partition, owner, now);
                }
            }
            Event::Message {
                to,
                partition,
                consumer,
                place,
                message,
            } => {
                if let Some(node) = &mut self.processes[to].node {
                    node.take_in((partition, consumer), (place, message));
                }
            }
            Event::Publish { message, attempt } => self.publish(message, attempt),
            Event::Trouble => self.trouble(),
            Event::Restart(process) => self.restart(process),
        }
    }

    fn restart(&mut self, process: usize) {
        self.incarnations += 1;
        let incarnation = self.incarnations * NODES as u64 + process as u64;
        let now = self.clock(process);
        // It waits until whoever has its name has been silent for long enough.
        let former = self.server.nodes.get(&process);
        let former = former.map_or(incarnation, |it| it.0);
        let enters = now + terms_of(former).silence();
        let node = Node::start(incarnation, enters, self.broken);
        self.processes[process].node = Some(node);
        // It reads what there is.
        let records: Vec<_> = self
            .server
            .nodes
            .iter()
            .map(|(name, it)| (*name, *it))
            .collect();
        for (name, record) in records {
            self.tell_node(process, name, record);
        }
        let owners: Vec<_> = self
            .server
            .owners
            .iter()
            .map(|(it, owner)| (*it, owner.clone()))
            .collect();
        for (partition, owner) in owners {
            self.tell_owner(process, partition, owner);
        }
    }

    fn tick(&mut self, process: usize) {
        let next = self.now + TICK;
        self.at(next, Event::Tick(process));
        let (now, handling) = (self.clock(process), self.random.millis(1, 150));
        let Some(node) = &mut self.processes[process].node else {
            return;
        };
        node.tick(now, handling);
        self.processes[process].ticked = self.now;
        self.send(process);
        self.check_owners(process);
    }

    /// Nobody else has what this has, who is not paused.
    fn check_owners(&mut self, process: usize) {
        let is_awake = |it: &Process| it.paused_until <= self.now && self.now - it.ticked <= TICK;
        let serves =
            |it: &Process, partition| it.node.as_ref().is_some_and(|it| it.serves(partition));
        for partition in 0..PARTITIONS {
            if !serves(&self.processes[process], partition) {
                continue;
            }
            let others = self.processes.iter().enumerate();
            let mut others = others.filter(|(other, it)| *other != process && is_awake(it));
            if others.any(|(_, it)| serves(it, partition)) {
                self.judge.two_owners(partition);
            }
            if process as u64 == PINNED && !POOLS[1].contains(&partition) {
                self.judge.misplaced(partition);
            }
        }
    }

    /// Puts what a node has to say on its way.
    fn send(&mut self, process: usize) {
        let asked = self.clock(process);
        let Some(node) = &mut self.processes[process].node else {
            return;
        };
        let incarnation = node.incarnation;
        for (number, content) in std::mem::take(&mut node.outbox) {
            let latency = self.random.millis(1, 15);
            let (from, is_cut) = self.reaches(process);
            if is_cut && self.random.happens(500) || self.random.happens(20) {
                continue;
            }
            let last = self.processes[process].last_arrival;
            let arrives = (from + latency).max(last);
            self.processes[process].last_arrival = arrives;
            let envelope = Envelope {
                node: process,
                incarnation,
                number,
                asked,
                content,
            };
            self.at(arrives, Event::Ask(envelope));
        }
    }

    /// When something that is sent now leaves, and whether that is later because the network is
    /// cut.
    fn reaches(&self, process: usize) -> (Duration, bool) {
        let cut_until = self.processes[process].cut_until;
        (self.now.max(cut_until), cut_until > self.now)
    }

    fn ask(&mut self, asked: Envelope<Ask>) {
        if self.server_down_until > self.now {
            return;
        }
        let Envelope {
            node: process,
            incarnation,
            number,
            asked: at,
            content,
        } = asked;
        let is_about = match &content {
            Ask::Renew { .. } => Some(None),
            Ask::Claim { partition, .. } | Ask::GiveBack { partition, .. } => {
                Some(Some(*partition))
            }
            _ => None,
        };
        let consumed = match &content {
            Ask::Consume { partition, .. } => Some(*partition),
            _ => None,
        };
        self.server.behind = match self.random.happens(300) {
            true => 1 + self.random.below(BEHIND) as usize,
            false => 0,
        };
        let answer = self.server.answer(
            (process, incarnation),
            content,
            &mut self.judge,
            self.broken,
        );
        if let (Some(about), Answer::Done(_)) = (is_about, &answer) {
            self.tell_all(process, about);
        }
        if self.random.happens(20) {
            return;
        }
        let latency = self.random.millis(1, 15);
        let (from, is_cut) = self.reaches(process);
        if is_cut && self.random.happens(500) {
            return;
        }
        let returns = (from + latency).max(self.processes[process].last_return);
        self.processes[process].last_return = returns;
        let consumer = match &answer {
            Answer::Messages(consumer, _) => Some(*consumer),
            _ => None,
        };
        let envelope = Envelope {
            node: process,
            incarnation,
            number,
            asked: at,
            content: answer,
        };
        self.at(returns, Event::Answer(envelope));
        if let (Some(partition), Some(consumer)) = (consumed, consumer) {
            self.deliver_late(process, (partition, consumer), returns);
        }
    }

    fn answer(&mut self, answered: Envelope<Answer>) {
        let Envelope {
            node: process,
            incarnation,
            number,
            asked,
            content,
        } = answered;
        let now = self.clock(process);
        let Some(node) = &mut self.processes[process].node else {
            return;
        };
        if node.incarnation == incarnation {
            node.hear(number, &content, asked, now);
            self.send(process);
        }
    }

    fn tell_all(&mut self, process: usize, about: Option<u16>) {
        for to in 0..NODES {
            match about {
                None => {
                    let record = self.server.nodes[&process];
                    self.tell_node(to, process, record);
                }
                Some(partition) => {
                    let owner = self.server.owners[&partition].clone();
                    self.tell_owner(to, partition, owner);
                }
            }
        }
    }

    fn told_at(&mut self, to: usize) -> Duration {
        let latency = self.random.millis(1, 30);
        let at = (self.reaches(to).0 + latency).max(self.processes[to].last_return);
        self.processes[to].last_return = at;
        at
    }

    fn tell_node(&mut self, to: usize, name: usize, record: (u64, u64)) {
        let at = self.told_at(to).max(self.processes[to].deaf_until);
        self.processes[to].last_return = at;
        self.at(at, Event::Node { to, name, record });
    }

    fn tell_owner(&mut self, to: usize, partition: u16, owner: Owner) {
        let at = self.told_at(to);
        self.at(
            at,
            Event::Owner {
                to,
                partition,
                owner,
            },
        );
    }

    /// Producers go on until they are told that it is stored.
    fn publish(&mut self, message: Message, attempt: u32) {
        let partition = partition_of(message);
        let is_up = self.server_down_until <= self.now;
        let arrives = is_up && !self.random.happens(50);
        if arrives {
            self.server.publish(partition, message, self.broken);
            self.deliver();
        }
        if arrives && !self.random.happens(100) {
            self.judge.accepted(message);
            return;
        }
        // What it published may be handled by then, and the server have started again.
        let again = self.now + self.random.millis(50, 1_500);
        let attempt = attempt + 1;
        self.at(again, Event::Publish { message, attempt });
    }

    /// What is new goes to whoever consumes the partition.
    fn deliver(&mut self) {
        for (partition, place, message) in std::mem::take(&mut self.server.fresh) {
            let Some((fence, consumer)) = self.server.consumer(partition) else {
                continue;
            };
            let owner = &self.server.owners[&partition];
            let to = self.processes.iter().position(|it| {
                let node = it.node.as_ref();
                node.is_some_and(|node| Some(node.incarnation) == owner.incarnation)
            });
            // Otherwise whoever comes next finds it in the stream.
            let Some(to) = to.filter(|_| owner.sequence == fence) else {
                continue;
            };
            let behind_until = self.behind_until.get(&consumer);
            let at = behind_until.copied().unwrap_or_default();
            let at = at.max(self.told_at(to));
            let message = Event::Message {
                to,
                partition,
                consumer,
                place,
                message,
            };
            self.at(at, message);
        }
    }

    /// What a consumer does not have yet comes once its server has it, before all else.
    fn deliver_late(&mut self, to: usize, (partition, consumer): (u16, u64), told: Duration) {
        let late = std::mem::take(&mut self.server.late);
        if late.is_empty() {
            return;
        }
        self.tally.behind += 1;
        let until = told + self.random.millis(100, 2_000);
        self.behind_until.insert(consumer, until);
        for (place, message) in late {
            let message = Event::Message {
                to,
                partition,
                consumer,
                place,
                message,
            };
            self.at(until, message);
        }
    }

    fn trouble(&mut self) {
        if self.now > TROUBLE {
            return;
        }
        let process = self.random.below(NODES as u64) as usize;
        let (now, length) = (self.now, self.random.millis(100, 3_500));
        match self.random.below(12) {
            0..=2 => {
                if self.processes[process].node.take().is_some() {
                    self.tally.crashes += 1;
                    self.at(now + length, Event::Restart(process));
                }
            }
            3..=5 => {
                self.tally.pauses += 1;
                let paused = &mut self.processes[process].paused_until;
                *paused = (now + length).max(*paused);
            }
            6 | 7 => self.processes[process].cut_until = now + length,
            8 => {
                self.server_down_until = now + length / 2;
                self.server.restart();
            }
            9 | 10 => self.processes[process].deaf_until = now + length,
            _ => {
                if self.broken == Some(Broken::WallClock) {
                    self.processes[process].set_back += length;
                }
            }
        }
        let next = now + self.random.millis(100, 1_200);
        self.at(next, Event::Trouble);
    }
}
