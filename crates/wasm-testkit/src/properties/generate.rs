//! Sequences to try.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::any;
use proptest::sample::select;
use proptest::strategy::{Just, Strategy};
use proptest::{prop_compose, prop_oneof};

use wasm_core::{ComponentMessage, MessagePayload, ResourceLimits};
use wasm_fixtures::{
    ALL, BROADCAST_STORM, Behaviour, Fixture, LOG_FLOOD, Lifecycle, OnHealth, OnInitialize,
    OnMessage, OnShutdown, Otherwise, SEND_FLOOD,
};

use super::strategies::{component_ids, messages_with};
use super::{Call, Load, Operation, SLOTS, Sequence, config, everything};

/// Sequences of up to so many operations, loads at first; unless the engine meters
/// fuel, without components that only fuel ends.
pub fn sequences(operations: usize, metered: bool) -> impl Strategy<Value = Sequence> {
    let loading = operations.clamp(1, SLOTS);
    let loads = loads(metered).prop_map(|load| Operation::Load(Box::new(load)));
    let parts = (
        vec(
            any_operations(metered),
            0..=operations.saturating_sub(loading),
        ),
        vec(loads, 1..=loading),
    );
    parts.prop_map(|(others, mut operations)| {
        operations.extend(others);
        Sequence::from(operations)
    })
}

fn any_operations(metered: bool) -> impl Strategy<Value = Operation> {
    let slot = || 0..SLOTS;
    prop_oneof![
        16 => (slot(), any_messages())
            .prop_map(|(slot, message)| Operation::Call(Call::Message(slot, message))),
        8 => calls().prop_map(Operation::Call),
        2 => slot().prop_map(Operation::Usage),
        1 => slot().prop_map(Operation::Unload),
        4 => (slot(), any_messages())
            .prop_map(|(slot, message)| Operation::DropMessage(slot, message)),
        4 => vec(calls(), 2..6).prop_map(Operation::Batch),
        8 => loads(metered).prop_map(|load| Operation::Load(Box::new(load))),
    ]
}

fn calls() -> impl Strategy<Value = Call> {
    let slot = || 0..SLOTS;
    prop_oneof![
        4 => (slot(), any_messages()).prop_map(|(slot, message)| Call::Message(slot, message)),
        2 => (slot(), any_messages()).prop_map(|(slot, message)| Call::Callback(slot, message)),
        2 => slot().prop_map(Call::Restart),
        1 => slot().prop_map(Call::Health),
        1 => slot().prop_map(Call::Metadata),
    ]
}

prop_compose! {
    fn loads(metered: bool)(
        (fixture, slot) in (fixtures(metered), 0..SLOTS),
        id in component_ids(),
        memory_bytes in prop_oneof![
            20 => Just(ResourceLimits::MIN_MEMORY_BYTES),
            20 => ResourceLimits::MIN_MEMORY_BYTES..=ResourceLimits::DEFAULT_MEMORY_CEILING_BYTES,
            1 => Just(ResourceLimits::DEFAULT_MEMORY_CEILING_BYTES + 1),
        ],
        // What spins ends soon, and what does not has enough.
        (little, plenty) in (200_000_u64..1_000_000, option::of(1_000_000_000_u64..1 << 40)),
        storage in option::of(0_u64..20_000),
        data in option::weighted(0.2, small_payloads()),
        env in vec(("[A-Z_]{1,8}", "[ -~]{0,8}"), 0..2),
    ) -> Load {
        let fuel = match ends(&fixture) {
            true if metered => plenty,
            true => None,
            false => Some(little),
        };
        let mut config = config(memory_bytes, fuel);
        config.config_data = data;
        config.env = env;
        if let Some(quota) = storage {
            config = config.with_permissions(everything(quota));
        }
        // In a batch, who is first at a store of two components is nobody's business.
        let id = if stores(&fixture) {
            format!("demo/store/{slot}").parse().expect("it is an id")
        } else {
            id
        };
        Load { slot, fixture, id, config }
    }
}

/// Whose behaviour is known to the end: without those that wait, that take more fuel
/// than anyone would give here, or that ask of WASI what not every engine has.
fn fixtures(metered: bool) -> impl Strategy<Value = Fixture> {
    let floods = [LOG_FLOOD, SEND_FLOOD, BROADCAST_STORM].map(|fixture| fixture.name);
    let fixtures = ALL.iter().copied().filter(move |fixture| {
        let waits = lifecycle(fixture).is_some_and(|lifecycle| {
            matches!(
                lifecycle.message,
                OnMessage::Sleep
                    | OnMessage::OkOr(
                        Otherwise::SleepForever
                            | Otherwise::WaitInWasi
                            | Otherwise::AskForRandomBytes(_)
                    )
            )
        });
        !waits && !floods.contains(&fixture.name) && (metered || ends(fixture))
    });
    let (working, refused): (Vec<Fixture>, Vec<Fixture>) =
        fixtures.partition(|fixture| lifecycle(fixture).is_some());
    let one_of =
        |fixtures: Vec<Fixture>| (0..fixtures.len()).prop_map(move |place| fixtures[place]);
    prop_oneof![8 => one_of(working), 1 => one_of(refused)]
}

/// Whether every call of it comes to an end by itself.
fn ends(fixture: &Fixture) -> bool {
    lifecycle(fixture).is_none_or(|lifecycle| {
        let spins = matches!(
            lifecycle.message,
            OnMessage::SpinInRealloc
                | OnMessage::OkOr(
                    Otherwise::Spin | Otherwise::SpinAfterEcho | Otherwise::GrowForever
                )
        );
        !spins
            && !matches!(
                lifecycle.initialize,
                OnInitialize::Spin | OnInitialize::SpinBefore
            )
            && lifecycle.health != OnHealth::Spin
            && lifecycle.shutdown != OnShutdown::Spin
    })
}

fn stores(fixture: &Fixture) -> bool {
    lifecycle(fixture).is_some_and(|lifecycle| {
        matches!(
            lifecycle.message,
            OnMessage::CountInStorage | OnMessage::Store | OnMessage::FillStorage
        )
    })
}

fn lifecycle(fixture: &Fixture) -> Option<Lifecycle> {
    match fixture.behaviour {
        Behaviour::Component(lifecycle) => Some(lifecycle),
        Behaviour::Exports(_) | Behaviour::Refused(_) => None,
    }
}

fn any_messages() -> impl Strategy<Value = ComponentMessage> {
    let large = (any::<u8>(), 1_usize..800_000);
    messages_with(prop_oneof![
        12 => small_payloads(),
        1 => large.prop_map(|(byte, length)| vec![byte; length].into()),
    ])
}

/// Mostly what some fixture understands. Numbers are small or large: how deep a
/// stack is, is the engine's.
fn small_payloads() -> impl Strategy<Value = MessagePayload> {
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
        "cancel c-1",
        "demo/a/main hello",
        "demo/a/main,demo/b/main hello",
        "demo/a/main",
        "not an id",
    ];
    prop_oneof![
        4 => select(UNDERSTOOD).prop_map(MessagePayload::from),
        1 => vec(any::<u8>(), 0..48).prop_map(MessagePayload::from),
    ]
}
