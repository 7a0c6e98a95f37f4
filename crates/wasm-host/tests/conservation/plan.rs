//! What an application is made of and what happens to it, all of it from a seed.

use std::fmt::{self, Display};
use std::time::Duration;

use wasm_core::{
    ComponentConfig, ComponentId, ComponentPattern, InstancePolicy, LogLevel, Permissions,
    ResourceLimits, RestartPolicy, StartPolicy, Supervision, SwapPolicy,
};
use wasm_host::{Component, HostLimits};
use wasm_testkit::wasm_fixtures::{
    BROADCASTER, CALLBACK, CALLBACK_FAILS, COUNTER, ECHO, Fixture, GUEST_ERROR, HELLO, INIT_FAILS,
    INIT_SENDS, SENDER, SHUTDOWN_BROADCASTS, SHUTDOWN_FAILS, SHUTDOWN_REQUESTS, SHUTDOWN_SENDS,
    SLEEP_FOREVER, SLEEPER, SPIN, SPIN_IN_HEALTH, SPIN_IN_INITIALIZE, SPIN_IN_SHUTDOWN, TRAP,
    TRAP_EVERY_THIRD, TRAP_IN_CALLBACK, TRAP_IN_INITIALIZE, TRAP_IN_SHUTDOWN, TRUNCATED,
};

use super::random::Random;

const MIB: u64 = 1 << 20;

/// The first is whom some send to by themselves; the one that is never loaded comes last.
const NAMES: [&str; 7] = ["sink", "a", "b", "c", "d", "e", "nobody"];

pub(crate) const NOBODY: usize = NAMES.len() - 1;

/// Whom it is about, by its place among the names.
pub(crate) type Slot = usize;

pub(crate) fn id(slot: Slot) -> ComponentId {
    ComponentId::new("demo", NAMES[slot], "main").unwrap()
}

/// An application, and what is done to it.
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) limits: HostLimits,
    pub(crate) faults: Faults,
    pub(crate) actions: Vec<Action>,
    pub(crate) end: End,
    /// Whether someone reads the events.
    pub(crate) listens: bool,
}

/// How many calls of a hundred do not go well.
#[derive(Clone, Copy)]
pub(crate) struct Faults {
    /// Of the engine: fail the instance.
    pub(crate) trap: u64,
    /// Of the engine: take longer.
    pub(crate) delay: u64,
    /// Of the router: take longer, before or after they are done.
    pub(crate) router_delay: u64,
    /// Of the store: fail.
    pub(crate) storage: u64,
}

/// A component as it is to be loaded; times in milliseconds of the plan.
#[derive(Clone, Copy)]
pub(crate) struct Build {
    pub(crate) fixture: Fixture,
    pub(crate) max_restarts: Option<u32>,
    pub(crate) backoff: u64,
    pub(crate) mailbox: u32,
    pub(crate) timeout: u64,
    pub(crate) metered: bool,
    pub(crate) permitted: bool,
    /// After how long it sleeps, if it does.
    pub(crate) idle: Option<u64>,
    /// Whether it starts on a message.
    pub(crate) lazy: bool,
    /// How many messages it handles at a time.
    pub(crate) concurrency: u32,
    /// Whether each message has an instance of its own.
    pub(crate) fresh: bool,
    /// Whether the version before may end first.
    pub(crate) pauses: bool,
}

/// How long the program stays for the outcome of what it does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    Waits,
    /// Goes on, and takes the outcome when it comes.
    InBackground,
    /// Drops the future after its first poll.
    Leaves,
}

#[derive(Clone)]
pub(crate) enum Action {
    Load(Slot, Build, Patience),
    Unload(Slot, Patience),
    Swap(Slot, Build, Patience),
    Restart(Slot, Patience),
    Health(Slot, Patience),
    Send(Slot, String),
    /// The same message so many times.
    Burst(Slot, String, u64),
    Broadcast(Vec<Slot>, String),
    /// With its time, and the time after which it is given up, if it is.
    Request(Slot, String, u64, Option<u64>),
    /// Tells a component, by default who made it, to cancel a request that some
    /// component made.
    Cancel(u64, Option<Slot>),
    /// The instance fails without a call of the host.
    Break(Slot),
    /// The engine unloads it without being asked by the host.
    Remove(Slot),
    Permit(Slot, bool),
    Sleep(u64),
    Yield(u64),
    Drain(u64),
    Status,
    TakeDeadLetters,
    /// Delivers the dead letters there are once more, up to so many.
    Redeliver(usize),
    /// Lets a component set a timer that is due after so long, and load it if it is not there.
    SetTimer(u64),
    /// Lets it take the latest one back.
    CancelTimer,
    Stop(Patience),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Whatever is on its way.
    Stops,
    /// Once nothing is on its way.
    DrainsAndStops,
    /// Unloads all, and fills the host up once more.
    ReloadsAndStops,
    /// Without a stop: what is on its way is gone.
    Drops,
}

impl End {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Stops => "stopped",
            Self::DrainsAndStops => "drained and stopped",
            Self::ReloadsAndStops => "reloaded and stopped",
            Self::Drops => "dropped",
        }
    }
}

impl Build {
    /// `scale` is the length of a millisecond of the plan.
    pub(crate) fn component(&self, id: ComponentId, scale: Duration) -> Component {
        let time = |millis: u64| scale * u32::try_from(millis).unwrap();
        let mut supervision = Supervision::default();
        supervision.mailbox = self.mailbox;
        if let Some(max_restarts) = self.max_restarts {
            supervision.restart = RestartPolicy::OnFailure;
            supervision.max_restarts = max_restarts;
            supervision.backoff = time(self.backoff);
        }
        supervision.idle = self.idle.map(time);
        if self.lazy {
            supervision.start = StartPolicy::OnMessage;
        }
        let fuel = self.metered.then_some(1_000_000);
        let limits = ResourceLimits::new(MIB, time(self.timeout), fuel).unwrap();
        if self.pauses {
            supervision.swap = SwapPolicy::Pause;
        }
        let instances = match self.fresh {
            true => InstancePolicy::PerMessage,
            false => InstancePolicy::Resident,
        };
        let config = ComponentConfig::new(limits)
            .with_permissions(permissions(self.permitted))
            .with_instances(instances)
            .with_concurrency(self.concurrency);
        Component::new(id, self.fixture.wasm, config).with_supervision(supervision)
    }

    /// One that is well-behaved.
    pub(crate) fn plain() -> Self {
        Self {
            fixture: ECHO,
            max_restarts: None,
            backoff: 0,
            mailbox: 4,
            timeout: 500,
            metered: true,
            permitted: true,
            idle: None,
            lazy: false,
            concurrency: 1,
            fresh: false,
            pauses: false,
        }
    }
}

/// To everything or nothing.
pub(crate) fn permissions(permitted: bool) -> Permissions {
    let mut permissions = Permissions::default();
    if permitted {
        let everyone: Vec<ComponentPattern> = vec!["*/*/*".parse().unwrap()];
        permissions.send.clone_from(&everyone);
        permissions.request.clone_from(&everyone);
        permissions.broadcast = everyone;
        permissions.log = Some(LogLevel::Trace);
    }
    permissions
}

impl Plan {
    /// Whether the host is stopped before the end.
    pub(crate) fn stops_early(&self) -> bool {
        self.actions
            .iter()
            .any(|action| matches!(action, Action::Stop(_)))
    }

    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let slots = 3 + random.index(4);
        let mut draft = Draft {
            fixtures: [ECHO; NAMES.len()],
            loaded: [false; NAMES.len()],
            slots,
            actions: Vec::new(),
            numbers: 0,
            random,
        };
        draft.act();
        let Draft {
            mut random,
            actions,
            ..
        } = draft;
        Self {
            seed,
            limits: limits(&mut random, slots as u64),
            faults: Faults {
                trap: random.pick(&[0, 0, 3, 10]),
                delay: random.pick(&[0, 0, 20, 50]),
                router_delay: random.pick(&[0, 0, 0, 30]),
                storage: random.pick(&[0, 0, 20]),
            },
            actions,
            end: random.weighted(&[
                (4, End::Stops),
                (4, End::DrainsAndStops),
                (2, End::ReloadsAndStops),
                (1, End::Drops),
            ]),
            listens: random.chance(40),
        }
    }
}

fn limits(random: &mut Random, slots: u64) -> HostLimits {
    // A swap needs room for one more; sometimes there is none.
    let components = slots + random.below(4);
    let mut limits = HostLimits::default()
        .with_components(components)
        .with_memory_bytes((components + 4) * MIB)
        .with_dead_letters(usize::MAX, u64::MAX);
    if random.chance(25) {
        limits.hops = random.pick(&[0, 1, 2, 3]);
    }
    if random.chance(25) {
        limits.open_requests = random.pick(&[0, 1, 2, 3]);
    }
    if random.chance(20) {
        limits.queued_bytes = random.pick(&[300, 600, 1_200, 3_000]);
    }
    if random.chance(20) {
        limits.mailbox_bytes = random.pick(&[8, 30, 100]);
    }
    limits
}

type Step = fn(&mut Draft);

struct Draft {
    random: Random,
    slots: usize,
    /// What each will be, if all goes well.
    fixtures: [Fixture; NAMES.len()],
    loaded: [bool; NAMES.len()],
    actions: Vec<Action>,
    /// Of the texts so far, so that no two are the same.
    numbers: u64,
}

impl Draft {
    fn act(&mut self) {
        for slot in 0..self.slots {
            if self.random.chance(90) {
                self.load(slot);
            }
        }
        let actions = self.actions.len() + 20 + self.random.index(40);
        while self.actions.len() < actions {
            let next = self.random.weighted(NEXT);
            next(self);
        }
    }

    fn load(&mut self, slot: Slot) {
        let build = self.build();
        self.fixtures[slot] = build.fixture;
        self.loaded[slot] = true;
        let patience = self.patience(70);
        self.actions.push(Action::Load(slot, build, patience));
    }

    fn swap(&mut self) {
        let slot = self.someone();
        let mut build = self.build();
        if self.random.chance(30) {
            let fails = [
                INIT_FAILS,
                TRUNCATED,
                TRAP_IN_INITIALIZE,
                SPIN_IN_INITIALIZE,
            ];
            build.fixture = self.random.pick(&fails);
        } else {
            self.fixtures[slot] = build.fixture;
        }
        let patience = self.patience(40);
        self.actions.push(Action::Swap(slot, build, patience));
    }

    fn build(&mut self) -> Build {
        let random = &mut self.random;
        // Each ends within the window in which restarts count, so that one that can
        // never be restarted is given up.
        let (max_restarts, backoff) = random.pick(&[
            (None, 0),
            (Some(0), 1),
            (Some(1), 5),
            (Some(1), 900),
            (Some(3), 20),
            (Some(3), 300),
            (Some(10), 1),
            (Some(10), 1),
        ]);
        let fixture = random.weighted(FIXTURES);
        let mut build = Build {
            fixture,
            max_restarts,
            backoff,
            mailbox: random.pick(&[1, 2, 4, 16, 64, 1_024]),
            timeout: random.pick(&[50, 200, 500, 3_000]),
            metered: random.chance(80),
            permitted: random.chance(95),
            idle: random.pick(&[None, None, None, Some(1), Some(20), Some(1_000)]),
            lazy: random.chance(20),
            concurrency: random.pick(&[1, 1, 1, 1, 1, 1, 2, 3]),
            fresh: random.chance(12),
            pauses: random.chance(40),
        };
        if [SHUTDOWN_SENDS, SHUTDOWN_BROADCASTS]
            .iter()
            .any(|sender| sender.name == fixture.name)
        {
            // One that sends to itself whenever it falls asleep would never come to rest.
            build.idle = None;
        }
        build
    }

    /// Rather one that is loaded, and now and then one that never is.
    fn someone(&mut self) -> Slot {
        if self.random.chance(3) {
            return NOBODY;
        }
        let mut slot = self.random.index(self.slots);
        for _ in 0..3 {
            if !self.loaded[slot] {
                slot = self.random.index(self.slots);
            }
        }
        slot
    }

    /// Rather one that does as it is told.
    fn recipient(&mut self) -> Slot {
        let mut slot = self.someone();
        for _ in 0..2 {
            if !sends(&self.fixtures[slot]) {
                slot = self.someone();
            }
        }
        slot
    }

    /// What makes sense to this component, as far as that is known.
    fn text(&mut self, slot: Slot, depth: u32) -> String {
        let fixture = self.fixtures[slot];
        if depth > 0 && sends(&fixture) {
            let next = self.someone();
            let text = self.text(next, depth - 1);
            let mut ids = id(next).to_string();
            if fixture.name == BROADCASTER.name {
                for _ in 0..self.random.below(3) {
                    ids = format!("{ids},{}", id(self.someone()));
                }
            }
            return format!("{ids} {text}");
        }
        if fixture.name == SLEEPER.name {
            return self
                .random
                .pick(&["1", "5", "20", "100", "600", "2500"])
                .to_owned();
        }
        if self.random.chance(50) {
            return "ok".to_owned();
        }
        self.numbers += 1;
        format!("t{}", self.numbers)
    }

    fn message(&mut self) -> (Slot, String) {
        let slot = self.recipient();
        let depth = self.random.below(5) as u32;
        (slot, self.text(slot, depth))
    }

    fn patience(&mut self, waits: u64) -> Patience {
        if self.random.chance(waits) {
            return Patience::Waits;
        }
        self.random.pick(&[
            Patience::InBackground,
            Patience::InBackground,
            Patience::Leaves,
        ])
    }
}

fn sends(fixture: &Fixture) -> bool {
    [SENDER, CALLBACK, BROADCASTER]
        .iter()
        .any(|sender| sender.name == fixture.name)
}

const FIXTURES: &[(u64, Fixture)] = &[
    (14, CALLBACK),
    (10, SENDER),
    (6, BROADCASTER),
    (6, ECHO),
    (6, TRAP_EVERY_THIRD),
    (4, SLEEPER),
    (4, COUNTER),
    (3, TRAP),
    (3, GUEST_ERROR),
    (2, SPIN),
    (2, SLEEP_FOREVER),
    (2, TRAP_IN_SHUTDOWN),
    (1, TRAP_IN_CALLBACK),
    (1, CALLBACK_FAILS),
    (1, SHUTDOWN_FAILS),
    (1, SPIN_IN_SHUTDOWN),
    (1, SPIN_IN_HEALTH),
    (1, HELLO),
    (1, INIT_FAILS),
    (2, INIT_SENDS),
    (2, SHUTDOWN_SENDS),
    (1, SHUTDOWN_BROADCASTS),
    (1, SHUTDOWN_REQUESTS),
];

const NEXT: &[(u64, Step)] = &[
    (22, |draft| {
        let (slot, text) = draft.message();
        draft.actions.push(Action::Send(slot, text));
    }),
    (5, |draft| {
        let (slot, text) = draft.message();
        let times = 2 + draft.random.below(6);
        draft.actions.push(Action::Burst(slot, text, times));
    }),
    (4, |draft| {
        let (slot, text) = draft.message();
        let mut to = vec![slot];
        for _ in 0..draft.random.below(3) {
            to.push(draft.someone());
        }
        draft.actions.push(Action::Broadcast(to, text));
    }),
    (15, |draft| {
        let (slot, text) = draft.message();
        let timeout = draft.random.pick(&[0, 5, 50, 300, 2_000]);
        let gives_up = draft
            .random
            .chance(25)
            .then(|| draft.random.pick(&[0, 3, 100]));
        draft
            .actions
            .push(Action::Request(slot, text, timeout, gives_up));
    }),
    (6, |draft| {
        let which = draft.random.next();
        let someone = draft.random.chance(15).then(|| draft.someone());
        draft.actions.push(Action::Cancel(which, someone));
    }),
    (14, |draft| {
        let millis = draft
            .random
            .pick(&[0, 1, 3, 10, 30, 100, 400, 1_100, 4_000]);
        draft.actions.push(Action::Sleep(millis));
    }),
    (8, |draft| {
        let times = 1 + draft.random.below(4);
        draft.actions.push(Action::Yield(times));
    }),
    (5, |draft| {
        let mut slot = draft.random.index(draft.slots);
        if draft.loaded[slot] && draft.random.chance(90) {
            let gone = (0..draft.slots).find(|slot| !draft.loaded[*slot]);
            slot = gone.unwrap_or(slot);
        }
        if !draft.loaded[slot] || draft.random.chance(20) {
            draft.load(slot);
        }
    }),
    (3, |draft| {
        let (slot, patience) = (draft.someone(), draft.patience(40));
        draft.loaded[slot] = false;
        draft.actions.push(Action::Unload(slot, patience));
    }),
    (5, |draft| {
        // A request that may still be open when it is cancelled.
        let asks = |slot: &Slot| draft.fixtures[*slot].name == CALLBACK.name;
        let Some(asker) = (0..draft.slots).find(asks) else {
            return;
        };
        let next = draft.someone();
        let text = draft.text(next, 1);
        draft
            .actions
            .push(Action::Send(asker, format!("{} {text}", id(next))));
        let times = draft.random.below(5);
        draft.actions.push(Action::Yield(times));
        // Now and then by one whose request it is not.
        let other = (asker + 1..draft.slots)
            .find(|slot| draft.fixtures[*slot].name == CALLBACK.name)
            .filter(|_| draft.random.chance(30));
        draft.actions.push(Action::Cancel(0, other));
    }),
    (6, Draft::swap),
    (5, |draft| {
        let (slot, patience) = (draft.someone(), draft.patience(40));
        draft.actions.push(Action::Restart(slot, patience));
    }),
    (3, |draft| {
        let (slot, patience) = (draft.someone(), draft.patience(40));
        draft.actions.push(Action::Health(slot, patience));
    }),
    (3, |draft| {
        let slot = draft.someone();
        draft.actions.push(Action::Break(slot));
    }),
    (1, |draft| {
        let slot = draft.someone();
        draft.actions.push(Action::Remove(slot));
    }),
    (2, |draft| {
        let (slot, permitted) = (draft.someone(), draft.random.chance(60));
        draft.actions.push(Action::Permit(slot, permitted));
    }),
    (1, |draft| {
        let millis = draft.random.pick(&[0, 50, 1_000]);
        draft.actions.push(Action::Drain(millis));
    }),
    (1, |draft| draft.actions.push(Action::Status)),
    (2, |draft| draft.actions.push(Action::TakeDeadLetters)),
    (4, |draft| {
        let letters = 1 + draft.random.index(3);
        draft.actions.push(Action::Redeliver(letters));
    }),
    (5, |draft| {
        let millis = draft.random.pick(&[0, 1, 10, 100, 1_000, 1_000_000]);
        draft.actions.push(Action::SetTimer(millis));
    }),
    (2, |draft| draft.actions.push(Action::CancelTimer)),
    (1, |draft| {
        // Most applications are stopped at the end only.
        if draft.random.chance(20) {
            let patience = draft.patience(40);
            draft.actions.push(Action::Stop(patience));
        }
    }),
];

impl Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Faults {
            trap,
            delay,
            router_delay,
            storage,
        } = self.faults;
        let HostLimits {
            components,
            mailbox_bytes,
            queued_bytes,
            hops,
            open_requests,
            ..
        } = &self.limits;
        writeln!(
            f,
            "seed {}: {components} components at the most, mailboxes of {mailbox_bytes} bytes, \
             {queued_bytes} bytes queued, {hops} hops, {open_requests} open requests",
            self.seed
        )?;
        writeln!(
            f,
            "faults: {trap} % traps, {delay} % delays, {router_delay} % delays of the router, \
             {storage} % failures of the store"
        )?;
        for (number, action) in self.actions.iter().enumerate() {
            writeln!(f, "{number:3}. {action}")?;
        }
        match self.end {
            End::Stops => writeln!(f, "then stops"),
            End::DrainsAndStops => writeln!(f, "then drains and stops"),
            End::ReloadsAndStops => writeln!(f, "then unloads all, fills the host up and stops"),
            End::Drops => writeln!(f, "then drops the host"),
        }
    }
}

impl Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(slot, build, patience) => {
                write!(f, "load {} as {build}{patience}", NAMES[*slot])
            }
            Self::Unload(slot, patience) => write!(f, "unload {}{patience}", NAMES[*slot]),
            Self::Swap(slot, build, patience) => {
                write!(f, "swap {} for {build}{patience}", NAMES[*slot])
            }
            Self::Restart(slot, patience) => write!(f, "restart {}{patience}", NAMES[*slot]),
            Self::Health(slot, patience) => write!(f, "health of {}{patience}", NAMES[*slot]),
            Self::Send(slot, text) => write!(f, "send to {}: {text}", NAMES[*slot]),
            Self::Burst(slot, text, times) => {
                write!(f, "send {times} times to {}: {text}", NAMES[*slot])
            }
            Self::Broadcast(slots, text) => {
                let names: Vec<_> = slots.iter().map(|slot| NAMES[*slot]).collect();
                write!(f, "broadcast to {}: {text}", names.join(", "))
            }
            Self::Request(slot, text, timeout, gives_up) => {
                write!(f, "request of {} within {timeout} ms: {text}", NAMES[*slot])?;
                match gives_up {
                    Some(after) => write!(f, " (given up after {after} ms)"),
                    None => Ok(()),
                }
            }
            Self::Cancel(which, None) => write!(f, "let it cancel request {which}"),
            Self::Cancel(which, Some(slot)) => {
                write!(f, "let {} cancel request {which}", NAMES[*slot])
            }
            Self::Break(slot) => write!(f, "break the instance of {}", NAMES[*slot]),
            Self::Remove(slot) => write!(f, "remove {} from the engine", NAMES[*slot]),
            Self::Permit(slot, true) => write!(f, "permit {} everything", NAMES[*slot]),
            Self::Permit(slot, false) => write!(f, "permit {} nothing", NAMES[*slot]),
            Self::Sleep(millis) => write!(f, "sleep {millis} ms"),
            Self::Yield(times) => write!(f, "yield {times} times"),
            Self::Drain(millis) => write!(f, "drain within {millis} ms"),
            Self::Status => write!(f, "status"),
            Self::TakeDeadLetters => write!(f, "take the dead letters"),
            Self::Redeliver(letters) => write!(f, "deliver up to {letters} dead letters again"),
            Self::SetTimer(millis) => write!(f, "let it set a timer for {millis} ms"),
            Self::CancelTimer => write!(f, "let it take the latest timer back"),
            Self::Stop(patience) => write!(f, "stop{patience}"),
        }
    }
}

impl Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (mailbox {}, {} ms",
            self.fixture.name, self.mailbox, self.timeout
        )?;
        if !self.metered {
            f.write_str(", no fuel limit")?;
        }
        if !self.permitted {
            f.write_str(", permitted nothing")?;
        }
        if let Some(idle) = self.idle {
            write!(f, ", asleep after {idle} ms")?;
        }
        if self.lazy {
            f.write_str(", started on a message")?;
        }
        if self.concurrency > 1 {
            write!(f, ", {} at a time", self.concurrency)?;
        }
        if self.fresh {
            f.write_str(", an instance for each message")?;
        }
        if self.pauses {
            f.write_str(", after a pause")?;
        }
        match self.max_restarts {
            Some(times) => write!(f, ", {times} restarts after {} ms)", self.backoff),
            None => write!(f, ", never restarted)"),
        }
    }
}

impl Display for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waits => "",
            Self::InBackground => ", in the background",
            Self::Leaves => ", dropped after the first poll",
        })
    }
}
