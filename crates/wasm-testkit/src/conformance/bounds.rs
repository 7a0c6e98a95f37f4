//! The order in which an engine looks at what a guest asks of its host, and what it is bounded
//! by.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use wasm_core::{
    ComponentHandle, ComponentInfo, ComponentState, ComponentStorage, HealthStatus, HostServices,
    MemoryStorage, StorageError,
};
use wasm_fixtures::{
    ALARM, BROADCAST_STORM, BROADCASTER, CALLBACK, DIRECTORY, OBEDIENT, SEND_FLOOD, SENDER, STORE,
};

use super::lab::{
    Bench, KIB, MIB, all_permissions, config, id, id_of, may, permitted, whom, with_memory,
};
use super::probes::GatedRouter;
use super::{Engine, Feature, Lab};
use crate::suite::{Case, cases};
use crate::{
    Fault, Faulty, MemoryDirectory, Method, RecordingRouter, RecordingValidator, RouterCall,
};

pub(super) fn cases<E: Engine + ?Sized>() -> Vec<Case<Lab<E>, Feature>> {
    cases!["bounds":
        "`send`: takes it from the call's budget, checks the target and the permission, and \
         hands the message to the router." => [
            nobody_is_asked_about_a_message_over_the_budget needs Feature::MessageBudget,
        ],
        "`broadcast`, like `send`: each recipient counts, before anything is done for it, and \
         all are checked before anything is sent to any." => [
            nobody_is_asked_about_a_broadcast_over_the_budget needs Feature::MessageBudget,
        ],
        "Bytes of payload that one call may send, those of a broadcast counted once" => [
            the_payload_of_a_broadcast_counts_once,
        ],
        "Sends each of the messages, which share their payload" => [
            who_is_named_twice_is_sent_two,
        ],
        "`cancel-request`: nothing has to be granted to take back what was." => [
            a_request_is_cancelled_whatever_is_granted,
        ],
        "Each checks the permission, then the key, and asks the component's own part of the \
         store." => [
            what_is_not_granted_is_denied_whatever_the_key,
        ],
        "Keys that are listed; where more match, it is an error, because a list cut short would \
         look complete." => [
            no_list_of_keys_is_cut_short,
        ],
        "`set-timer`: checks the permission and the bounds, and sets it." => [
            what_is_not_granted_is_denied_whatever_the_timer,
        ],
        "Components that are listed; a guest that may see more is shown the first in order of \
         their ids." => [
            of_too_many_components_the_first_are_listed,
        ],
        "`get-component-metadata`; the component itself is there even if the directory does not \
         know it." => [
            a_component_is_there_for_itself,
        ],
        "A call has begun once its guest is entered; until it ends, `usage` says \
         `ComponentState::Busy`." => [
            a_component_is_busy_while_it_has_turns_left needs Feature::Policies,
        ],
        "Puts a fresh, initialized instance under the same handle, whether the old one has \
         failed or not; one that has not is shut down first" => [
            every_instance_is_shut_down_before_a_restart needs Feature::Policies,
            a_shutdown_that_goes_wrong_before_a_restart_stops_no_other needs Feature::Policies,
        ],
        "Each of several instances is shut down, whatever the `shutdown` of another ends in." => [
            a_shutdown_that_goes_wrong_in_an_unload_stops_no_other needs Feature::Policies,
        ],
    ]
}

/// Keys that a component may list at a time.
const MAX_KEYS: usize = 4_096;

/// Components that it is shown.
const MAX_COMPONENTS: usize = 1_024;

async fn nobody_is_asked_about_a_message_over_the_budget<E: Engine + ?Sized>(lab: Lab<E>) {
    let (router, validator) = <(Arc<RecordingRouter>, Arc<RecordingValidator>)>::default();
    let services = HostServices::default();
    let services = services.with_router(router.clone());
    let bench = lab.bench_with(services.with_validator(validator.clone()));
    let flood = bench.load(SEND_FLOOD, permitted()).await;
    bench.ask(&flood, "").await;
    let (asked, sent) = (validator.questions().len(), router.take_calls().len());
    assert_eq!(asked, sent, "messages asked about, of those that were sent");
}

async fn nobody_is_asked_about_a_broadcast_over_the_budget<E: Engine + ?Sized>(lab: Lab<E>) {
    let validator = Arc::new(RecordingValidator::new());
    let bench = lab.bench_with(HostServices::default().with_validator(validator.clone()));
    for config in [permitted(), config()] {
        let storm = bench.load(BROADCAST_STORM, config).await;
        assert_eq!(bench.refusal(&storm, "").await, "queue-full");
        assert_eq!(validator.questions(), [], "what the validator was asked");
        assert_eq!(validator.denials(), [], "what the validator was told");
    }
}

async fn the_payload_of_a_broadcast_counts_once<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = Arc::new(RecordingRouter::new());
    let bench = lab.bench_with(HostServices::default().with_router(router.clone()));
    let config = with_memory(4 * MIB).with_permissions(all_permissions());
    let broadcaster = bench.load(BROADCASTER, config).await;
    // To so many, it is more than any one of them may be sent.
    let targets = ["demo/a/main"; 16].join(",");
    let payload = "p".repeat(600 * KIB as usize);
    assert_eq!(
        bench
            .tell(&broadcaster, format!("{targets} {payload}"))
            .await,
        None
    );
    assert_eq!(router.take_calls().len(), 1);
}

async fn who_is_named_twice_is_sent_two<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = Arc::new(RecordingRouter::new());
    let bench = lab.bench_with(HostServices::default().with_router(router.clone()));
    let broadcaster = bench.load(BROADCASTER, permitted()).await;
    let twice = "demo/a/main,demo/a/main,demo/b/main,demo/a/main hi";
    assert_eq!(bench.tell(&broadcaster, twice).await, None);
    let calls = router.take_calls();
    let [RouterCall::Broadcast { messages, .. }] = &calls[..] else {
        panic!("it was not broadcast: {calls:?}");
    };
    let recipients = messages.iter().map(|message| message.recipient.name());
    let recipients: Vec<_> = recipients.collect();
    assert_eq!(recipients, ["a", "a", "b", "a"]);
}

async fn a_request_is_cancelled_whatever_is_granted<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = Arc::new(RecordingRouter::new());
    let bench = lab.bench_with(HostServices::default().with_router(router.clone()));
    let maker = bench.load(CALLBACK, config()).await;
    router.take_calls();
    // There is no such request, and that is for the router to say.
    let told = bench.refusal(&maker, "cancel request-1").await;
    assert_eq!(told, "invalid-message");
    let may_ask = bench.load(CALLBACK, may(|p| p.request = whom("demo/a/*")));
    let may_ask = may_ask.await;
    assert_eq!(
        bench.ask(&may_ask, "demo/a/main question").await,
        "request-1"
    );
    assert_eq!(bench.tell(&may_ask, "cancel request-1").await, None);
}

async fn what_is_not_granted_is_denied_whatever_the_key<E: Engine + ?Sized>(lab: Lab<E>) {
    let validator = Arc::new(RecordingValidator::new());
    let bench = lab.bench_with(HostServices::default().with_validator(validator.clone()));
    let store = bench.load(STORE, config()).await;
    for key in [String::new(), "k".repeat(1_025), "key".to_owned()] {
        for command in ["set", "get", "exists", "delete"] {
            let told = bench.refusal(&store, format!("{command} {key} v")).await;
            let length = key.len();
            assert_eq!(told, "io-error", "{command} with a key of {length} bytes");
            assert_eq!(validator.take_denials().len(), 1, "denials that are told");
        }
    }
}

async fn no_list_of_keys_is_cut_short<E: Engine + ?Sized>(lab: Lab<E>) {
    let storage = Arc::new(MemoryStorage::new());
    let bench = lab.bench_with(HostServices::default().with_storage(storage.clone()));
    let store = bench.load(STORE, permitted()).await;
    for key in (0..=MAX_KEYS).map(|n| format!("key/{n:04}")) {
        let set = storage.set(store.id(), &key, Bytes::new(), u64::MAX);
        assert_eq!(set.await, Ok(()), "the storage of the case");
    }
    assert_eq!(bench.refusal(&store, "keys key/").await, "io-error");
    let last = format!("key/{MAX_KEYS:04}");
    let deleted = storage.delete(store.id(), &last).await;
    assert_eq!(deleted, Ok(()), "the storage of the case");
    let listed = bench.ask(&store, "keys key/").await.lines().count();
    assert_eq!(listed, MAX_KEYS, "keys that were listed");
}

async fn what_is_not_granted_is_denied_whatever_the_timer<E: Engine + ?Sized>(lab: Lab<E>) {
    let validator = Arc::new(RecordingValidator::new());
    let bench = lab.bench_with(HostServices::default().with_validator(validator.clone()));
    let alarm = bench.load(ALARM, config()).await;
    let too_long = format!("10 {}", "a".repeat(5 * KIB as usize));
    for command in [&too_long, "18446744073709551615 late", "10 tea"] {
        let told = bench.refusal(&alarm, command.to_owned()).await;
        let command = command.get(..20).unwrap_or(command);
        assert_eq!(told, "permission-denied", "{command}");
        assert_eq!(validator.take_denials().len(), 1, "denials that are told");
    }
}

async fn of_too_many_components_the_first_are_listed<E: Engine + ?Sized>(lab: Lab<E>) {
    let directory = Arc::new(MemoryDirectory::new());
    let bench = lab.bench_with(HostServices::default().with_directory(directory.clone()));
    for n in 0..2 * MAX_COMPONENTS {
        directory.insert(ComponentInfo {
            id: id(&format!("many/worker/{n:04}")),
            name: String::new(),
            version: String::new(),
            health: HealthStatus::Healthy,
        });
    }
    let config = may(|p| p.send = whom("many/worker/*"));
    let handle = bench.load(DIRECTORY, config).await;
    let listed = bench.ask(&handle, "").await;
    let own = format!("{}\n", id_of(DIRECTORY));
    let others = (0..MAX_COMPONENTS).map(|n| format!("many/worker/{n:04}\n"));
    let expected: String = std::iter::once(own).chain(others).collect();
    assert!(
        listed == expected,
        "{} are listed, of which the last is {:?}",
        listed.lines().count(),
        listed.lines().last()
    );
}

async fn a_component_is_there_for_itself<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(DIRECTORY, config()).await;
    let told = bench.ask(&handle, "demo/directory/main").await;
    assert_eq!(told, "demo/directory/main|directory||unknown");
}

async fn a_component_is_busy_while_it_has_turns_left<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let sender = bench.load(SENDER, permitted().with_concurrency(2)).await;
    let mut call = Box::pin(bench.send(&sender, "demo/a/main 1"));
    router.gate.entered_by(call.as_mut()).await;
    assert_eq!(bench.state(&sender).await, ComponentState::Busy);
    router.gate.open(1);
    let outcome = call.await;
    assert!(matches!(outcome, Ok(None)), "{outcome:?}");
    assert_eq!(bench.state(&sender).await, ComponentState::Ready);
}

async fn every_instance_is_shut_down_before_a_restart<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let storage = Arc::new(MemoryStorage::new());
    let bench = lab.bench_with(router.services().with_storage(storage.clone()));
    for export in ["handle-message", "shutdown"] {
        let sends = Bytes::from_static(b"send");
        let owner = id_of(OBEDIENT);
        let set = storage.set(&owner, export, sends, u64::MAX);
        assert_eq!(set.await, Ok(()), "the storage of the case");
    }
    let handle = bench.load(OBEDIENT, permitted().with_concurrency(2)).await;
    let mut calls = [1, 2].map(|n| Box::pin(bench.send(&handle, n.to_string())));
    // Both are in the router at a time, and so in two instances.
    for call in &mut calls {
        router.gate.entered_by(call.as_mut()).await;
    }
    router.gate.open(usize::from(u16::MAX));
    for call in calls {
        let outcome = call.await;
        assert!(matches!(outcome, Ok(Some(_))), "{outcome:?}");
    }
    bench.restart(&handle).await;
    let last_words = router.accepted().split_off(2);
    assert_eq!(last_words, ["shutdown"; 2], "what was sent in shutdowns");
}

/// A component with three instances, each of which does this in its `shutdown`, and a storage
/// that notes whenever one of them asks what to do.
async fn three_that_go_wrong<E: Engine + ?Sized>(
    lab: &Lab<E>,
    command: &'static str,
) -> (
    Bench<E>,
    ComponentHandle,
    Arc<Faulty<MemoryStorage, StorageError>>,
) {
    let router = GatedRouter::new();
    let noted = Fault::Delay(Duration::ZERO);
    let memory = Arc::new(MemoryStorage::new());
    let storage = Arc::new(Faulty::new(memory).on_every_call(Method::Get, noted));
    let bench = lab.bench_with(router.services().with_storage(storage.clone()));
    let owner = id_of(OBEDIENT);
    for (export, command) in [("handle-message", "send"), ("shutdown", command)] {
        let command = Bytes::from_static(command.as_bytes());
        let set = storage.set(&owner, export, command, u64::MAX);
        assert_eq!(set.await, Ok(()), "the storage of the case");
    }
    let handle = bench.load(OBEDIENT, permitted().with_concurrency(3)).await;
    let mut calls = [1, 2, 3].map(|n| Box::pin(bench.send(&handle, n.to_string())));
    // All are in the router at a time, and so in three instances.
    for call in &mut calls {
        router.gate.entered_by(call.as_mut()).await;
    }
    router.gate.open(3);
    for call in calls {
        let outcome = call.await;
        assert!(matches!(outcome, Ok(Some(_))), "{outcome:?}");
    }
    (bench, handle, storage)
}

async fn a_shutdown_that_goes_wrong_before_a_restart_stops_no_other<E: Engine + ?Sized>(
    lab: Lab<E>,
) {
    for command in ["fail 3", "trap"] {
        let (bench, handle, storage) = three_that_go_wrong(&lab, command).await;
        let before = storage.injected().len();
        bench.restart(&handle).await;
        // The last one is the new instance, in its `initialize`.
        let asked = storage.injected().len() - before - 1;
        assert_eq!(asked, 3, "instances whose `shutdown` was called: {command}");
    }
}

async fn a_shutdown_that_goes_wrong_in_an_unload_stops_no_other<E: Engine + ?Sized>(lab: Lab<E>) {
    for command in ["fail 3", "trap"] {
        let (bench, handle, storage) = three_that_go_wrong(&lab, command).await;
        let before = storage.injected().len();
        if let Ok(()) = bench.engine.unload_component(&handle).await {
            panic!("the shutdown of {handle} was fine: {command}");
        }
        let asked = storage.injected().len() - before;
        assert_eq!(asked, 3, "instances whose `shutdown` was called: {command}");
    }
}
