//! Sequences to try.

use std::ops::Range;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::any;
use proptest::sample::select;
use proptest::strategy::{BoxedStrategy, Just, NewTree, Strategy, Union, ValueTree};
use proptest::test_runner::TestRunner;
use proptest::{prop_compose, prop_oneof};

use wasm_core::{ComponentMessage, MessagePayload, ResourceLimits};
use wasm_fixtures::{
    ALL, Behaviour, Fixture, Lifecycle, OnCallback, OnHealth, OnInitialize, OnMessage, OnShutdown,
    Otherwise,
};

use super::sequence::{
    Call, Load, Operation, SLOTS, Sequence, Trouble, config, config_within, everything,
};
use super::strategies::{component_ids, messages_with, timestamps};
use crate::Time;
use crate::conformance::Feature;

/// Time per call of a component that hangs: each such call takes it all, and those
/// that end must do so on a machine that is busy with other things.
const SHORT_MILLIS: u64 = 1_000;

/// The same where time takes none.
const TIMEOUTS_MILLIS: &[u64] = &[250, 999, 1_000];

/// How long a guest is told to sleep then: less than it may, or 10 ms more, which is
/// how late an engine may be.
const SLEEPS_MILLIS: &[u64] = &[249, 261, 998, 1_011];

const ALL_SLOTS: [usize; SLOTS] = [0, 1, 2, 3];

/// Sequences of so many operations, at first a load for each slot, that shrink to
/// fewer. Without [`Feature::Fuel`], there are no components that only fuel ends;
/// without [`Feature::HostPanics`], no services that panic. In paused time, where it
/// takes none, more components hang, and services do.
pub fn sequences(
    operations: usize,
    features: &[Feature],
    time: Time,
) -> impl Strategy<Value = Sequence> + use<> {
    let world = World {
        metered: features.contains(&Feature::Fuel),
        panics: features.contains(&Feature::HostPanics),
        paused: time == Time::Paused,
    };
    Sequences {
        operations,
        first: (0..SLOTS)
            .map(|slot| loads(world, slot..slot + 1).boxed())
            .collect(),
        parts: Parts {
            loads: loads(world, 0..SLOTS).boxed(),
            messages: any_messages(world).boxed(),
            fitting: FITTING
                .map(|texts| messages_with(select(texts).prop_map(MessagePayload::from)).boxed()),
            told: [FITTING.len() - 1; SLOTS],
            world,
        },
    }
}

/// What may happen in a sequence.
#[derive(Debug, Clone, Copy)]
struct World {
    metered: bool,
    panics: bool,
    paused: bool,
}

#[derive(Debug)]
struct Sequences {
    operations: usize,
    first: Vec<BoxedStrategy<Operation>>,
    parts: Parts,
}

/// What operations are made of; costs much to make and little to clone.
#[derive(Debug, Clone)]
struct Parts {
    world: World,
    loads: BoxedStrategy<Operation>,
    messages: BoxedStrategy<ComponentMessage>,
    fitting: [BoxedStrategy<ComponentMessage>; FITTING.len()],
    /// Which of those fits the component that was loaded last.
    told: [usize; SLOTS],
}

impl Strategy for Sequences {
    type Tree = SequenceTree;
    type Value = Sequence;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        let mut parts = self.parts.clone();
        let mut steps = Vec::new();
        for place in 0..self.operations {
            let operation = match self.first.get(place) {
                Some(load) => load.new_tree(runner)?,
                None => any_operations(&parts).boxed().new_tree(runner)?,
            };
            if let Operation::Load(load) = operation.current() {
                parts.told[load.slot] = fitting(&load.fixture);
            }
            steps.push(Step {
                operation,
                kept: true,
            });
        }
        Ok(SequenceTree {
            steps,
            tried: 0,
            last: None,
        })
    }
}

/// Leaves out what it can, makes the rest simpler, and leaves out what became needless
/// by that: a vector of proptest has any length to begin with, or always the same.
struct SequenceTree {
    steps: Vec<Step>,
    /// How many steps were tried, those of all three rounds.
    tried: usize,
    last: Option<Change>,
}

struct Step {
    operation: BoxedTree,
    kept: bool,
}

type BoxedTree = <BoxedStrategy<Operation> as Strategy>::Tree;

enum Change {
    LeftOut(usize),
    Simplified(usize),
}

impl ValueTree for SequenceTree {
    type Value = Sequence;

    fn current(&self) -> Sequence {
        let kept = self.steps.iter().filter(|step| step.kept);
        let operations = kept.map(|step| step.operation.current());
        Sequence::from(operations.collect::<Vec<_>>())
    }

    fn simplify(&mut self) -> bool {
        let length = self.steps.len();
        while self.tried < 3 * length {
            let (round, place) = (self.tried / length, self.tried % length);
            let step = &mut self.steps[place];
            if round == 1 && step.kept && step.operation.simplify() {
                self.last = Some(Change::Simplified(place));
                return true;
            }
            self.tried += 1;
            if round != 1 && step.kept {
                step.kept = false;
                self.last = Some(Change::LeftOut(place));
                return true;
            }
        }
        false
    }

    fn complicate(&mut self) -> bool {
        match self.last {
            Some(Change::LeftOut(place)) => {
                self.last = None;
                self.steps[place].kept = true;
                true
            }
            Some(Change::Simplified(place)) => self.steps[place].operation.complicate(),
            None => false,
        }
    }
}

fn any_operations(parts: &Parts) -> impl Strategy<Value = Operation> + use<> {
    let slot = || 0..SLOTS;
    // In a batch, who is first at a store of two components is nobody's business.
    const PAIRS: [&[usize]; 4] = [&[0, 2], &[0, 3], &[1, 2], &[1, 3]];
    let batch = |place: usize| vec(calls(parts, PAIRS[place]), 1..6).prop_map(Operation::Batch);
    let held = |place: usize| held_batches(parts, PAIRS[place]);
    prop_oneof![
        16 => told(parts, &ALL_SLOTS)
            .prop_map(|(slot, message)| Operation::Call(Call::Message(slot, message))),
        8 => calls(parts, &ALL_SLOTS).prop_map(Operation::Call),
        2 => slot().prop_map(Operation::Usage),
        1 => slot().prop_map(Operation::Unload),
        4 => told(parts, &ALL_SLOTS)
            .prop_map(|(slot, message)| Operation::DropMessage(slot, message)),
        2 => prop_oneof![batch(0), batch(1), batch(2), batch(3)],
        8 => prop_oneof![held(0), held(1), held(2), held(3)],
        4 => (troubles(parts.world), calls(parts, &ALL_SLOTS))
            .prop_map(|(trouble, call)| Operation::Troubled(trouble, call)),
        4 => Just(Operation::Deliver),
        1 => timestamps().prop_map(Operation::SetClock),
        8 => parts.loads.clone(),
    ]
}

/// Mostly behind a call of each component that a service holds up.
fn held_batches(
    parts: &Parts,
    slots: &'static [usize],
) -> impl Strategy<Value = Operation> + use<> {
    let first = told(parts, slots).prop_map(|(slot, message)| Call::Message(slot, message));
    let calls = (vec(first, 0..3), vec(calls(parts, slots), 1..6)).prop_map(|(first, rest)| {
        let mut calls = first;
        calls.extend(rest);
        calls
    });
    (calls, vec(0_usize..7, 0..4)).prop_map(|(calls, mut dropped)| {
        dropped.retain(|place| *place < calls.len());
        dropped.sort_unstable();
        dropped.dedup();
        Operation::Held(calls, dropped)
    })
}

/// A message to one of these components, mostly one that it understands.
fn told(
    parts: &Parts,
    slots: &'static [usize],
) -> impl Strategy<Value = (usize, ComponentMessage)> + use<> {
    let parts = parts.clone();
    Union::new(slots.iter().map(move |slot| {
        let message = prop_oneof![
            2 => parts.fitting[parts.told[*slot]].clone(),
            1 => parts.messages.clone(),
        ];
        (Just(*slot), message)
    }))
}

/// What components understand, by what they do; the last is for all others.
const FITTING: [&[&str]; 9] = [
    &["demo/a/main hi", "demo/b/main", "demo/store/1 get a"],
    &["demo/a/main hi", "demo/b/main", "last", "cancel request-1"],
    &[
        "set a 1",
        "get a",
        "delete a",
        "exists a",
        "keys",
        "usage",
        "set b two words",
    ],
    &["", "demo/a/main", "demo/nobody/main"],
    &["time", ""],
    &["env", "limits", "data"],
    &["degraded", "unhealthy", "healthy"],
    &["ok", "no"],
    &["", "hello"],
];

/// The place in [`FITTING`] of what a component understands.
fn fitting(fixture: &Fixture) -> usize {
    match lifecycle(fixture).map(|known| known.message) {
        Some(OnMessage::Send | OnMessage::SendBack | OnMessage::Broadcast) => 0,
        Some(OnMessage::Request | OnMessage::LastCallback) => 1,
        Some(OnMessage::Store) => 2,
        Some(OnMessage::Directory) => 3,
        Some(OnMessage::Time) => 4,
        Some(OnMessage::Configuration) => 5,
        Some(OnMessage::SetHealth) => 6,
        Some(OnMessage::OkOr(_)) => 7,
        _ => FITTING.len() - 1,
    }
}

fn troubles(world: World) -> impl Strategy<Value = Trouble> {
    let possible = [
        (Trouble::Denial, true),
        (Trouble::Refusal, true),
        (Trouble::Panic, world.panics),
        (Trouble::Hang, world.paused),
    ];
    let possible = possible.into_iter().filter(|(_, possible)| *possible);
    select(possible.map(|(trouble, _)| trouble).collect::<Vec<_>>())
}

fn calls(parts: &Parts, slots: &'static [usize]) -> impl Strategy<Value = Call> + use<> {
    let slot = || select(slots);
    prop_oneof![
        4 => told(parts, slots).prop_map(|(slot, message)| Call::Message(slot, message)),
        2 => (slot(), parts.messages.clone()).prop_map(|(slot, message)| Call::Callback(slot, message)),
        2 => slot().prop_map(Call::Restart),
        1 => slot().prop_map(Call::Health),
        1 => slot().prop_map(Call::Metadata),
    ]
}

prop_compose! {
    fn loads(world: World, slots: Range<usize>)(
        (fixture, end) in fixtures(world),
        prepared in any::<bool>(),
        slot in slots,
        id in component_ids(),
        memory_bytes in prop_oneof![
            20 => Just(ResourceLimits::MIN_MEMORY_BYTES),
            20 => ResourceLimits::MIN_MEMORY_BYTES..=ResourceLimits::DEFAULT_MEMORY_CEILING_BYTES,
            1 => Just(ResourceLimits::DEFAULT_MEMORY_CEILING_BYTES + 1),
        ],
        // What spins ends soon, and what does not has enough.
        (little, plenty) in (200_000_u64..1_000_000, option::of(1_000_000_000_u64..1 << 40)),
        storage in option::weighted(0.8, 0_u64..20_000),
        data in option::weighted(0.2, small_payloads(world)),
        millis in select(TIMEOUTS_MILLIS),
        env in vec(("[A-Z_]{1,8}", "[ -~]{0,8}"), 0..2),
    ) -> Operation {
        // Of two things that are wrong, an engine tells any one.
        let memory_bytes = if lifecycle(&fixture).is_some() {
            memory_bytes
        } else {
            memory_bytes.min(ResourceLimits::DEFAULT_MEMORY_CEILING_BYTES)
        };
        let mut config = match end {
            End::Itself => config(memory_bytes, plenty.filter(|_| world.metered)),
            End::Fuel => config(memory_bytes, Some(little)),
            End::Deadline if world.paused => config_within(millis, memory_bytes, None),
            End::Deadline => config_within(SHORT_MILLIS, memory_bytes, None),
        };
        config.config_data = data;
        config.env = env;
        if let Some(quota) = storage {
            config = config.with_permissions(everything(quota));
        }
        let id = if stores(&fixture) {
            // Neighbours share a store, and are never in one batch.
            format!("demo/store/{}", slot / 2).parse().expect("it is an id")
        } else {
            id
        };
        Operation::Load(Box::new(Load { slot, fixture, id, config, prepared }))
    }
}

/// What brings the calls of a fixture to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Itself,
    Fuel,
    Deadline,
}

/// What works, what talks to others, what does not load, and, as each of its calls
/// takes time, seldom what hangs.
fn fixtures(world: World) -> impl Strategy<Value = (Fixture, End)> {
    let one_of = |is_one: &dyn Fn(&Fixture, End) -> bool| {
        let known = ALL
            .iter()
            .filter_map(|fixture| Some((*fixture, end(fixture)?)));
        let fixtures: Vec<_> = known
            .filter(|(fixture, end)| is_one(fixture, *end))
            .collect();
        (0..fixtures.len()).prop_map(move |place| fixtures[place])
    };
    let ends = |end| end == End::Itself || end == End::Fuel && world.metered;
    let hangs = one_of(&|_, end| end != End::Itself);
    prop_oneof![
        800 => one_of(&|fixture, end| lifecycle(fixture).is_some() && ends(end)),
        400 => one_of(&|fixture, _| talks(fixture) || stores(fixture)),
        400 => one_of(&|fixture, end| ends(end) && listens(fixture)),
        100 => one_of(&|fixture, _| lifecycle(fixture).is_none()),
        if world.paused { 100 } else { 1 } => hangs.prop_map(|(fixture, _)| (fixture, End::Deadline)),
    ]
}

/// Unless it takes more fuel than anyone would give here, or asks of WASI or of its
/// router what not every engine has.
fn end(fixture: &Fixture) -> Option<End> {
    let Some(lifecycle) = lifecycle(fixture) else {
        return Some(End::Itself);
    };
    if lifecycle.callback == OnCallback::Fetch {
        return None;
    }
    let spins = matches!(
        lifecycle.initialize,
        OnInitialize::Spin | OnInitialize::SpinBefore
    ) || lifecycle.health == OnHealth::Spin
        || lifecycle.shutdown == OnShutdown::Spin;
    match lifecycle.message {
        OnMessage::LogFlood { .. }
        | OnMessage::SendFlood { .. }
        | OnMessage::BroadcastStorm { .. }
        | OnMessage::Spend
        | OnMessage::OkOr(Otherwise::WaitInWasi | Otherwise::AskForRandomBytes(_)) => None,
        OnMessage::Sleep | OnMessage::OkOr(Otherwise::SleepForever) => Some(End::Deadline),
        OnMessage::SpinInRealloc
        | OnMessage::OkOr(Otherwise::Spin | Otherwise::SpinAfterEcho | Otherwise::GrowForever) => {
            Some(End::Fuel)
        }
        _ if spins => Some(End::Fuel),
        _ => Some(End::Itself),
    }
}

fn talks(fixture: &Fixture) -> bool {
    lifecycle(fixture).is_some_and(|lifecycle| {
        lifecycle.initialize == OnInitialize::Sends
            || matches!(
                lifecycle.shutdown,
                OnShutdown::Requests | OnShutdown::Sends | OnShutdown::Broadcasts
            )
            || matches!(
                lifecycle.message,
                OnMessage::Send
                    | OnMessage::SendBack
                    | OnMessage::Broadcast
                    | OnMessage::Request
                    | OnMessage::Directory
                    | OnMessage::Time
            )
    })
}

/// Whether it makes a difference to call it back.
fn listens(fixture: &Fixture) -> bool {
    lifecycle(fixture).is_some_and(|lifecycle| lifecycle.callback != OnCallback::Ok)
}

fn stores(fixture: &Fixture) -> bool {
    lifecycle(fixture).is_some_and(|lifecycle| {
        matches!(lifecycle.initialize, OnInitialize::FailsAgain(_))
            || lifecycle.shutdown == OnShutdown::Stores
            || matches!(
                lifecycle.message,
                OnMessage::AsStored
                    | OnMessage::CountInStorage
                    | OnMessage::Store
                    | OnMessage::FillStorage
            )
    })
}

fn lifecycle(fixture: &Fixture) -> Option<Lifecycle> {
    match fixture.behaviour {
        Behaviour::Component(lifecycle) => Some(lifecycle),
        Behaviour::Exports(_) | Behaviour::Refused(_) => None,
    }
}

fn any_messages(world: World) -> impl Strategy<Value = ComponentMessage> {
    let large = (any::<u8>(), 1_usize..800_000);
    messages_with(prop_oneof![
        12 => small_payloads(world),
        1 => large.prop_map(|(byte, length)| vec![byte; length].into()),
    ])
}

/// Mostly what some fixture understands. Numbers are small or large: how deep a
/// stack is, is the engine's.
fn small_payloads(world: World) -> impl Strategy<Value = MessagePayload> {
    const UNDERSTOOD: &[&str] = &[
        "ok",
        "no",
        "",
        "0",
        "7",
        "99999999",
        "set a 1",
        "set b two words",
        "get a",
        "get b",
        "delete a",
        "exists a",
        "keys",
        "keys a",
        "usage",
        "env",
        "limits",
        "data",
        "time",
        "healthy",
        "degraded",
        "unhealthy",
        "last",
        "cancel request-1",
        "demo/a/main",
        "not an id",
    ];
    const IDS: &[&str] = &["demo/a/main", "demo/b/main", "demo/store/0", "demo/store/1"];
    let letter = (vec(select(IDS), 1..3), select(UNDERSTOOD));
    prop_oneof![
        4 => select(UNDERSTOOD).prop_map(MessagePayload::from),
        if world.paused { 2 } else { 0 } => select(SLEEPS_MILLIS)
            .prop_map(|millis| millis.to_string().into()),
        2 => letter.prop_map(|(ids, text)| format!("{} {text}", ids.join(",")).into()),
        1 => vec(any::<u8>(), 0..48).prop_map(MessagePayload::from),
    ]
}
