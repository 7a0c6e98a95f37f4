use std::sync::Arc;
use std::time::Duration;

use wasm_core::{
    Capability, ComponentHandle, ComponentInfo, ComponentMessage, ComponentState, ComponentStorage,
    HealthStatus, HostServices, InstancePolicy, LifecycleError, LogLevel, MemoryStorage,
    MessagingError, StorageError, StorageUsage, Timestamp, WasmError,
};
use wasm_fixtures::{
    BROADCAST_STORM, BROADCASTER, CALLBACK, CLOCK, DIRECTORY, Fixture, INIT_SENDS, LOGGER, SELF_ID,
    SEND_FLOOD, SENDER, SHUTDOWN_BROADCASTS, SHUTDOWN_LOGS, SHUTDOWN_REQUESTS, SHUTDOWN_SENDS,
    SHUTDOWN_STORES, STORAGE_FILL, STORE,
};

use super::lab::{Bench, all_permissions, config, id, may, message, permitted, whom};
use super::{Engine, Feature, Lab};
use crate::suite::{Case, cases};
use crate::{
    Fault, Faulty, ManualClock, MemoryDirectory, Method, RecordingRouter, RecordingValidator,
    RouterCall,
};

pub(super) fn cases<E: Engine + ?Sized>() -> Vec<Case<Lab<E>, Feature>> {
    cases!["host":
        "An engine calls it from inside the sender's guest call, after it has checked the \
         sender's permissions; `message.sender` is always the id of `from`." => [
            a_message_is_sent_under_the_id_of_its_sender,
            every_instance_sends_under_its_own_handle,
            a_broadcast_is_handed_over_in_one_call,
            what_the_router_refuses_the_component_is_told,
            an_id_that_cannot_be_reaches_no_router,
        ],
        "What a guest sends while it handles a message or a callback has one more of the `hops` \
         than that, and so has what it sends in the `initialize` and the `shutdown` of an \
         instance that was made for it; what it sends in any other call has one." => [
            what_is_sent_about_a_message_has_come_further,
            what_is_sent_around_a_message_has_come_further needs Feature::Policies,
            what_is_sent_about_nothing_has_come_one_hop,
        ],
        "`from` is the handle that loading returns, already while `initialize` runs." => [
            what_initialize_sends_comes_from_the_handle_that_is_loaded,
        ],
        "Sends a message whose answer, error or timeout (wall clock, from now) comes to `from` \
         as exactly one callback with the returned id." => [
            a_request_is_made_under_the_id_that_the_router_gave,
        ],
        "Gives up a request of `from`: its callback will not come." => [
            a_request_is_cancelled_in_the_name_of_its_maker,
        ],
        "A request that a component makes during its `shutdown` is refused with \
         `MessagingError::InvalidMessage` and does not reach the router: whoever asked would \
         not be there for the answer." => [
            a_request_in_the_shutdown_of_an_unload_is_refused,
            a_request_in_the_shutdown_of_a_restart_is_refused,
        ],
        "Whatever else it may do, it may do then too." => [
            what_a_component_sends_in_its_shutdown_is_sent,
            what_a_component_broadcasts_in_its_shutdown_is_broadcast,
            what_a_component_logs_in_its_shutdown_is_logged,
            what_a_component_stores_in_its_shutdown_is_stored,
        ],
        "What a component may do. The default grants nothing." => [
            nothing_may_be_sent_by_default,
            nothing_may_be_stored_by_default,
            each_way_of_sending_needs_a_grant_of_its_own,
            one_recipient_that_is_not_granted_stops_a_broadcast,
        ],
        "A host call is allowed when the component's `Permissions` grant it *and* the validator \
         does not object." => [
            the_validator_is_asked_about_what_is_granted,
            the_validator_never_adds,
            one_recipient_that_was_taken_back_stops_a_broadcast,
        ],
        "The permissions are fixed at load; a validator can take them back while the component \
         runs, never add to them." => [
            the_validator_takes_back_while_the_component_runs,
            permissions_are_the_same_after_a_restart,
        ],
        "`CapabilityDenied` is told to the component as the error of its call; the component \
         goes on." => [
            a_component_goes_on_after_a_refusal,
        ],
        "Told of every refusal, its own and those by the permissions the component was loaded \
         with: for an audit." => [
            the_validator_is_told_what_the_permissions_refuse,
            the_validator_is_told_what_it_refused,
        ],
        "`owner` is stamped by the engine, never by the guest." => [
            storage_is_kept_under_the_id_of_the_component,
            storage_does_as_it_is_told,
        ],
        "Empty, too long or otherwise unfit." => [
            a_key_that_is_empty_is_invalid,
        ],
        "The cases of the contract's `storage-error`." => [
            what_the_storage_refuses_the_component_is_told,
        ],
        "Instances that share an id share their data." => [
            instances_of_one_id_share_their_data,
        ],
        "Bytes it may keep in the store, keys included; `None`: no store." => [
            the_quota_is_what_was_granted,
            a_store_is_filled_up_to_its_quota,
        ],
        "The most verbose level that is kept; `None`: its log lines are dropped." => [
            log_lines_are_checked_at_their_level,
        ],
        "What components are told when they ask for the time." => [
            the_time_is_that_of_the_clock,
            a_message_is_stamped_with_the_time_of_the_clock,
        ],
        "An engine shows a component only itself and those it may message; the directory itself \
         knows no permissions." => [
            a_component_sees_itself_and_whom_it_may_message,
            a_component_without_permissions_sees_itself_only,
            what_is_hidden_looks_like_what_is_not_there,
            however_many_are_hidden_the_others_are_seen,
        ],
        "Which component this is an instance of." => [
            a_component_knows_its_own_id,
        ],
        "No room in the recipient's mailbox, or none left in the sender's budget." => [
            messages_of_a_call_are_bounded needs Feature::MessageBudget,
            each_recipient_of_a_broadcast_counts needs Feature::MessageBudget,
        ],
    ]
}

const NOW: Timestamp = Timestamp {
    seconds: 1_700_000_000,
    nanoseconds: 123_456_789,
};

/// An engine whose services are all watched.
struct Watched<E: ?Sized> {
    bench: Bench<E>,
    router: Arc<RecordingRouter>,
    validator: Arc<RecordingValidator>,
    directory: Arc<MemoryDirectory>,
    storage: Arc<Faulty<MemoryStorage, StorageError>>,
    clock: Arc<ManualClock>,
}

impl<E: Engine + ?Sized> Watched<E> {
    fn new(lab: &Lab<E>) -> Self {
        let router = Arc::new(RecordingRouter::new());
        let validator = Arc::new(RecordingValidator::new());
        let directory = Arc::new(MemoryDirectory::new());
        // What is made no later than at once is only noted.
        let noted = [
            Method::Get,
            Method::Set,
            Method::Delete,
            Method::Exists,
            Method::ListKeys,
            Method::Usage,
        ];
        let storage = noted.into_iter().fold(
            Faulty::new(Arc::new(MemoryStorage::new())),
            |storage, method| storage.on_every_call(method, Fault::Delay(Duration::ZERO)),
        );
        let storage = Arc::new(storage);
        let clock = Arc::new(ManualClock::new());
        clock.set(NOW);
        let services = HostServices::default()
            .with_router(router.clone())
            .with_validator(validator.clone())
            .with_directory(directory.clone())
            .with_storage(storage.clone())
            .with_clock(clock.clone());
        Self {
            bench: lab.bench_with(services),
            router,
            validator,
            directory,
            storage,
            clock,
        }
    }

    /// Who was refused what, as the validator was told.
    fn denied(&self) -> Vec<(ComponentHandle, Capability)> {
        let denials = self.validator.take_denials().into_iter();
        denials
            .map(|(handle, denied)| (handle, denied.capability))
            .collect()
    }

    /// How often the storage was called.
    fn storage_calls(&self) -> usize {
        self.storage.injected().len()
    }

    async fn stored(&self, owner: &str, key: &str) -> Option<String> {
        match self.storage.inner().get(&id(owner), key).await {
            Ok(value) => value.map(|value| String::from_utf8_lossy(&value).into_owned()),
            Err(error) => panic!("{error}"),
        }
    }
}

fn outgoing(from: &ComponentHandle, to: &str, text: &'static str) -> ComponentMessage {
    let message = ComponentMessage::new(from.id().clone(), id(to), text);
    message.with_timestamp(NOW).with_hops(1)
}

async fn a_message_is_sent_under_the_id_of_its_sender<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    let sender = host.bench.load(SENDER, permitted()).await;
    let reply = host.bench.tell(&sender, "demo/a/main hello there").await;
    assert_eq!(reply, None);
    let [RouterCall::Send { from, message }] = &host.router.take_calls()[..] else {
        panic!("the router was not called once to send");
    };
    assert_eq!(*from, sender);
    assert_eq!(message.sender, *sender.id());
    assert_eq!(message.recipient, id("demo/a/main"));
    assert_eq!(message.payload.as_bytes(), b"hello there");
}

async fn what_is_sent_about_a_message_has_come_further<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    let sender = host.bench.load(SENDER, permitted()).await;
    for hops in [5, 0, u32::MAX - 1] {
        let message = message(&sender, "demo/a/main hi").with_hops(hops);
        let sent = host.bench.engine.call_handle_message(&sender, message);
        let sent = sent.await;
        assert!(matches!(sent, Ok(None)), "{sent:?}");
        let [RouterCall::Send { message, .. }] = &host.router.take_calls()[..] else {
            panic!("the router was not called once to send");
        };
        assert_eq!(message.hops, hops + 1);
    }
}

async fn what_is_sent_around_a_message_has_come_further<E: Engine + ?Sized>(lab: Lab<E>) {
    for fixture in [INIT_SENDS, SHUTDOWN_SENDS] {
        let host = Watched::new(&lab);
        let config = permitted().with_instances(InstancePolicy::PerMessage);
        let handle = host.bench.load(fixture, config).await;
        // What the first instance sends in its `initialize` is due to no message.
        host.router.take_calls();
        let mut sent = Vec::new();
        for _ in 0..2 {
            let message = message(&handle, "").with_hops(5);
            let told = host.bench.engine.call_handle_message(&handle, message);
            let told = told.await;
            assert!(told.is_ok(), "{told:?}");
            for call in host.router.take_calls() {
                match call {
                    RouterCall::Send { message, .. } | RouterCall::Request { message, .. } => {
                        sent.push(message.hops);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        assert!(!sent.is_empty(), "{} sent nothing", fixture.name);
        assert!(sent.iter().all(|hops| *hops == 6), "{sent:?}");
    }
}

async fn what_is_sent_about_nothing_has_come_one_hop<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    let sender = host.bench.load(SHUTDOWN_SENDS, permitted()).await;
    let message = message(&sender, "").with_hops(5);
    let told = host
        .bench
        .engine
        .call_handle_message(&sender, message)
        .await;
    assert!(told.is_ok(), "{told:?}");
    host.bench.unload(&sender).await;
    let [RouterCall::Send { message, .. }] = &host.router.take_calls()[..] else {
        panic!("the router was not called once to send");
    };
    assert_eq!(message.hops, 1);
}

async fn every_instance_sends_under_its_own_handle<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    let one = host.bench.load(SENDER, permitted()).await;
    let two = host.bench.load(SENDER, permitted()).await;
    for handle in [&two, &one] {
        host.bench.tell(handle, "demo/a/main hi").await;
        let [RouterCall::Send { from, .. }] = &host.router.take_calls()[..] else {
            panic!("the router was not called once to send");
        };
        assert_eq!(from, handle);
    }
}

async fn what_initialize_sends_comes_from_the_handle_that_is_loaded<E: Engine + ?Sized>(
    lab: Lab<E>,
) {
    let host = Watched::new(&lab);
    let from = host.bench.load(INIT_SENDS, permitted()).await;
    let hello = RouterCall::Send {
        from: from.clone(),
        message: outgoing(&from, "demo/sink/main", "hello"),
    };
    let question = RouterCall::Request {
        from: from.clone(),
        message: outgoing(&from, "demo/sink/main", "question"),
        timeout: Duration::from_secs(1),
    };
    assert_eq!(host.router.take_calls(), [hello.clone(), question.clone()]);
    host.bench.restart(&from).await;
    assert_eq!(host.router.take_calls(), [hello, question]);
    let answer = message(&from, "answer").with_correlation_id("request-2");
    if let Err(error) = host.bench.engine.call_handle_callback(&from, answer).await {
        panic!("{error}");
    }
    assert_eq!(host.bench.ask(&from, "last").await, "request-2|-|answer");
}

async fn a_broadcast_is_handed_over_in_one_call<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    let from = host.bench.load(BROADCASTER, permitted()).await;
    let reply = host.bench.tell(&from, "demo/a/main,demo/b/main hi").await;
    assert_eq!(reply, None);
    let messages = ["demo/a/main", "demo/b/main"].map(|to| outgoing(&from, to, "hi"));
    let messages = messages.to_vec();
    let expected = [RouterCall::Broadcast { from, messages }];
    assert_eq!(host.router.take_calls(), expected);
}

async fn what_the_router_refuses_the_component_is_told<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    let sender = host.bench.load(SENDER, permitted()).await;
    for (error, case) in [
        (MessagingError::QueueFull, "queue-full"),
        (
            MessagingError::DeliveryFailed("lost".to_owned()),
            "delivery-failed",
        ),
        (
            MessagingError::InvalidMessage("odd".to_owned()),
            "invalid-message",
        ),
        (
            MessagingError::CorrelationTimeout("c".into()),
            "correlation-timeout",
        ),
        (
            MessagingError::TargetNotFound(id("demo/a/main")),
            "target-not-found",
        ),
    ] {
        host.router.fail_next(error);
        let told = host.bench.refusal(&sender, "demo/a/main hi").await;
        assert_eq!(told, case);
    }
    assert_eq!(host.bench.state(&sender).await, ComponentState::Ready);
}

async fn an_id_that_cannot_be_reaches_no_router<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    let sender = host.bench.load(SENDER, permitted()).await;
    let long = format!("demo/{}/main hi", "x".repeat(65));
    for bad in ["demo/../main hi", "demo//main hi", "d\ne/a/main hi", &long] {
        let told = host.bench.refusal(&sender, bad.to_owned()).await;
        assert_eq!(told, "invalid-message", "sent to {bad:?}");
    }
    assert_eq!(host.router.take_calls(), []);
}

async fn a_request_is_made_under_the_id_that_the_router_gave<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    let from = host.bench.load(CALLBACK, permitted()).await;
    for request in ["request-1", "request-2"] {
        let made = host.bench.ask(&from, "demo/a/main question").await;
        assert_eq!(made, request);
        let expected = RouterCall::Request {
            from: from.clone(),
            message: outgoing(&from, "demo/a/main", "question"),
            timeout: Duration::from_secs(1),
        };
        assert_eq!(host.router.take_calls(), [expected]);
    }
}

async fn a_request_is_cancelled_in_the_name_of_its_maker<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    let maker = host.bench.load(CALLBACK, permitted()).await;
    let other = host.bench.load(CALLBACK, permitted()).await;
    host.bench.ask(&maker, "demo/a/main question").await;
    let told = host.bench.refusal(&other, "cancel request-1").await;
    assert_eq!(told, "invalid-message", "a cancellation by somebody else");
    assert_eq!(host.bench.tell(&maker, "cancel request-1").await, None);
    let told = host.bench.refusal(&maker, "cancel request-1").await;
    assert_eq!(told, "invalid-message", "a second cancellation");
}

async fn a_request_in_the_shutdown_of_an_unload_is_refused<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    let asks = host.bench.load(SHUTDOWN_REQUESTS, permitted()).await;
    let outcome = host.bench.engine.unload_component(&asks).await;
    assert!(
        matches!(&outcome, Err(WasmError::ShutdownFailed {
            component, error: LifecycleError::ShutdownFailed(case),
        }) if component == asks.id() && case == "invalid-message"),
        "{outcome:?}"
    );
    assert_eq!(host.router.take_calls(), []);
}

async fn a_request_in_the_shutdown_of_a_restart_is_refused<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    let asks = host.bench.load(SHUTDOWN_REQUESTS, permitted()).await;
    // The second time it is an instance that came from a restart.
    for _ in 0..2 {
        host.bench.restart(&asks).await;
        assert_eq!(host.router.take_calls(), []);
        assert_eq!(host.bench.ask(&asks, "hi").await, "hi");
    }
}

async fn what_a_component_sends_in_its_shutdown_is_sent<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    let from = host.bench.load(SHUTDOWN_SENDS, permitted()).await;
    let bye = [RouterCall::Send {
        from: from.clone(),
        message: outgoing(&from, "demo/sink/main", "bye"),
    }];
    host.bench.restart(&from).await;
    assert_eq!(host.router.take_calls(), bye, "in a restart");
    host.bench.unload(&from).await;
    assert_eq!(host.router.take_calls(), bye, "in an unload");
}

async fn what_a_component_broadcasts_in_its_shutdown_is_broadcast<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    let from = host.bench.load(SHUTDOWN_BROADCASTS, permitted()).await;
    let bye = [RouterCall::Broadcast {
        from: from.clone(),
        messages: ["demo/sink/main", "demo/drain/main"]
            .map(|to| outgoing(&from, to, "bye"))
            .into(),
    }];
    host.bench.restart(&from).await;
    assert_eq!(host.router.take_calls(), bye, "in a restart");
    host.bench.unload(&from).await;
    assert_eq!(host.router.take_calls(), bye, "in an unload");
}

/// As far as the validator can tell.
async fn what_a_component_logs_in_its_shutdown_is_logged<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    let from = host.bench.load(SHUTDOWN_LOGS, permitted()).await;
    let bye = [(from.clone(), Capability::Log(LogLevel::Info))];
    host.bench.restart(&from).await;
    assert_eq!(host.validator.take_questions(), bye, "in a restart");
    host.bench.unload(&from).await;
    assert_eq!(host.validator.take_questions(), bye, "in an unload");
}

async fn what_a_component_stores_in_its_shutdown_is_stored<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    let store = host.bench.load(SHUTDOWN_STORES, permitted()).await;
    let owner = store.id().to_string();
    host.bench.restart(&store).await;
    assert_eq!(host.stored(&owner, "ended").await.as_deref(), Some("bye"));
    let deleted = host.storage.inner().delete(store.id(), "ended").await;
    assert_eq!(deleted, Ok(()));
    host.bench.unload(&store).await;
    assert_eq!(host.stored(&owner, "ended").await.as_deref(), Some("bye"));
}

async fn nothing_may_be_sent_by_default<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    for fixture in [SENDER, BROADCASTER, CALLBACK] {
        let handle = host.bench.load(fixture, config()).await;
        let told = host.bench.refusal(&handle, "demo/a/main hi").await;
        assert_eq!(told, "delivery-failed", "by {handle}");
        assert_eq!(host.router.take_calls(), []);
    }
}

const STORE_COMMANDS: [&str; 6] = ["set a 1", "get a", "exists a", "delete a", "keys", "usage"];

async fn nothing_may_be_stored_by_default<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    let store = host.bench.load(STORE, config()).await;
    for command in STORE_COMMANDS {
        let told = host.bench.refusal(&store, command).await;
        assert_eq!(told, "io-error", "{command}");
    }
    assert_eq!(host.storage_calls(), 0, "calls of the storage");
}

async fn each_way_of_sending_needs_a_grant_of_its_own<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    let demo = || whom("demo/*/main");
    let cases: [(Fixture, _, _); 3] = [
        (
            SENDER,
            may(|p| p.send = demo()),
            may(|p| (p.request, p.broadcast) = (demo(), demo())),
        ),
        (
            BROADCASTER,
            may(|p| p.broadcast = demo()),
            may(|p| (p.send, p.request) = (demo(), demo())),
        ),
        (
            CALLBACK,
            may(|p| p.request = demo()),
            may(|p| (p.send, p.broadcast) = (demo(), demo())),
        ),
    ];
    for (fixture, granted, others) in cases {
        let handle = host.bench.load(fixture, granted).await;
        host.bench.tell(&handle, "demo/a/main hi").await;
        assert_eq!(host.router.take_calls().len(), 1, "calls for {handle}");
        let told = host.bench.refusal(&handle, "other/a/main hi").await;
        assert_eq!(told, "delivery-failed", "{handle} to whom it may not");
        let handle = host.bench.load(fixture, others).await;
        let told = host.bench.refusal(&handle, "demo/a/main hi").await;
        assert_eq!(told, "delivery-failed", "{handle} without the grant");
        assert_eq!(host.router.take_calls(), []);
    }
}

async fn one_recipient_that_is_not_granted_stops_a_broadcast<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    let config = may(|p| p.broadcast = whom("demo/*/*"));
    let broadcaster = host.bench.load(BROADCASTER, config).await;
    let told = host
        .bench
        .refusal(&broadcaster, "demo/a/main,other/b/main hi")
        .await;
    assert_eq!(told, "delivery-failed");
    assert_eq!(host.router.take_calls(), []);
}

/// What needs each of the capabilities that a refusal shows of.
fn uses() -> [(Fixture, &'static str, Capability); 4] {
    let target = || id("demo/a/main");
    [
        (SENDER, "demo/a/main hi", Capability::Send(target())),
        (CALLBACK, "demo/a/main hi", Capability::Request(target())),
        (
            BROADCASTER,
            "demo/a/main hi",
            Capability::Broadcast(target()),
        ),
        (STORE, "get key", Capability::Storage),
    ]
}

async fn the_validator_is_asked_about_what_is_granted<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    for (fixture, payload, capability) in uses() {
        let handle = host.bench.load(fixture, permitted()).await;
        host.bench.tell(&handle, payload).await;
        let questions = host.validator.take_questions();
        assert_eq!(questions, [(handle, capability)]);
    }
}

async fn the_validator_never_adds<E: Engine + ?Sized>(lab: Lab<E>) {
    // Nothing is revoked: it would allow everything.
    let host = Watched::new(&lab);
    let sender = host
        .bench
        .load(SENDER, may(|p| p.send = whom("demo/b/main")))
        .await;
    let told = host.bench.refusal(&sender, "demo/a/main hi").await;
    assert_eq!(told, "delivery-failed");
    assert_eq!(host.router.take_calls(), []);
    let store = host.bench.load(STORE, config()).await;
    assert_eq!(
        host.bench.refusal(&store, "set key value").await,
        "io-error"
    );
}

async fn one_recipient_that_was_taken_back_stops_a_broadcast<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    let broadcaster = host.bench.load(BROADCASTER, permitted()).await;
    let revoked = Capability::Broadcast(id("demo/b/main"));
    host.validator.revoke(revoked.clone());
    let told = host
        .bench
        .refusal(&broadcaster, "demo/a/main,demo/b/main hi")
        .await;
    assert_eq!(told, "delivery-failed");
    assert_eq!(host.router.take_calls(), []);
    assert_eq!(host.denied(), [(broadcaster, revoked)]);
}

async fn permissions_are_the_same_after_a_restart<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    let sender = host
        .bench
        .load(SENDER, may(|p| p.send = whom("demo/a/*")))
        .await;
    let quota = Some(ten_bytes_in_a_key());
    let store = host.bench.load(STORE, may(|p| p.storage = quota)).await;
    for _ in 0..2 {
        assert_eq!(host.bench.tell(&sender, "demo/a/main hi").await, None);
        let told = host.bench.refusal(&sender, "demo/b/main hi").await;
        assert_eq!(told, "delivery-failed");
        assert_eq!(host.bench.tell(&store, "set k 123456789").await, None);
        let told = host.bench.refusal(&store, "set l ").await;
        assert_eq!(told, "quota-exceeded");
        host.bench.restart(&sender).await;
        host.bench.restart(&store).await;
    }
}

async fn the_validator_takes_back_while_the_component_runs<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    let store = host.bench.load(STORE, permitted()).await;
    host.bench.tell(&store, "set key value").await;
    host.validator.revoke(Capability::Storage);
    let calls = host.storage_calls();
    for command in STORE_COMMANDS {
        let told = host.bench.refusal(&store, command).await;
        assert_eq!(told, "io-error", "{command}");
        assert_eq!(
            host.storage_calls(),
            calls,
            "calls of the storage: {command}"
        );
    }
    host.validator.restore_everything();
    assert_eq!(host.bench.ask(&store, "get key").await, "value");
    let sender = host.bench.load(SENDER, permitted()).await;
    host.validator.revoke(Capability::Send(id("demo/a/main")));
    let told = host.bench.refusal(&sender, "demo/a/main hi").await;
    assert_eq!(told, "delivery-failed");
    assert_eq!(host.router.take_calls(), []);
    assert_eq!(host.bench.tell(&sender, "demo/b/main hi").await, None);
}

async fn a_component_goes_on_after_a_refusal<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    let callback = host.bench.load(CALLBACK, config()).await;
    if let Err(error) = host.bench.call_back(&callback, "kept").await {
        panic!("{error}");
    }
    for _ in 0..20 {
        host.bench.refusal(&callback, "demo/a/main hi").await;
    }
    assert_eq!(host.bench.ask(&callback, "last").await, "-|-|kept");
    let usage = host.bench.usage(&callback).await;
    assert_eq!((usage.state, usage.traps), (ComponentState::Ready, 0));
}

async fn the_validator_is_told_what_the_permissions_refuse<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    for (fixture, payload, capability) in uses() {
        let handle = host.bench.load(fixture, config()).await;
        host.bench.refusal(&handle, payload).await;
        assert_eq!(host.denied(), [(handle, capability)]);
        assert_eq!(host.router.take_calls(), []);
        assert_eq!(host.storage_calls(), 0, "calls of the storage");
    }
    let config = may(|p| p.log = Some(LogLevel::Warn));
    let logger = host.bench.load(LOGGER, config).await;
    host.bench.tell(&logger, "a line").await;
    let level = |level| (logger.clone(), Capability::Log(level));
    let dropped = [LogLevel::Trace, LogLevel::Debug, LogLevel::Info];
    assert_eq!(host.denied(), dropped.map(level));
}

async fn the_validator_is_told_what_it_refused<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    for (fixture, payload, capability) in uses() {
        let handle = host.bench.load(fixture, permitted()).await;
        host.bench.tell(&handle, payload).await;
        assert_eq!(host.denied(), [], "what {handle} was allowed");
        host.validator.revoke(capability.clone());
        let calls = host.storage_calls();
        host.router.take_calls();
        host.bench.refusal(&handle, payload).await;
        assert_eq!(host.router.take_calls(), [], "what {handle} was refused");
        assert_eq!(host.storage_calls(), calls, "what {handle} was refused");
        assert_eq!(host.denied(), [(handle, capability)]);
    }
    let logger = host.bench.load(LOGGER, permitted()).await;
    host.validator.revoke(Capability::Log(LogLevel::Error));
    host.bench.tell(&logger, "a line").await;
    let error = Capability::Log(LogLevel::Error);
    assert_eq!(host.denied(), [(logger, error)]);
}

async fn storage_is_kept_under_the_id_of_the_component<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    for owner in ["demo/a/main", "demo/a/two", "demo/b/main"] {
        let store = host.bench.load_as(&id(owner), STORE, permitted()).await;
        assert_eq!(host.bench.tell(&store, "get key").await, None, "of {owner}");
        host.bench.tell(&store, format!("set key of-{owner}")).await;
    }
    for owner in ["demo/a/main", "demo/a/two", "demo/b/main"] {
        let expected = format!("of-{owner}");
        assert_eq!(host.stored(owner, "key").await, Some(expected));
    }
}

async fn storage_does_as_it_is_told<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    let store = host.bench.load(STORE, permitted()).await;
    for (command, reply) in [
        ("get a", None),
        ("exists a", Some("false")),
        ("set b/2 two", None),
        ("set a one", None),
        ("set b/1 ", None),
        ("set b/2 deux", None),
        ("get a", Some("one")),
        ("get b/2", Some("deux")),
        ("get b/1", Some("")),
        ("exists b/1", Some("true")),
        ("keys b/", Some("b/1\nb/2\n")),
        ("keys", Some("a\nb/1\nb/2\n")),
        ("usage", Some("782 65536 3")),
        ("delete b/2", None),
        ("delete b/2", None),
        ("keys b/", Some("b/1\n")),
        ("usage", Some("519 65536 2")),
    ] {
        let told = host.bench.tell(&store, command).await;
        assert_eq!(told.as_deref(), reply, "{command}");
    }
}

async fn a_key_that_is_empty_is_invalid<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    let store = host.bench.load(STORE, permitted()).await;
    for command in ["set  v", "get  ", "exists  ", "delete  "] {
        let told = host.bench.refusal(&store, command).await;
        assert_eq!(told, "invalid-key", "{command:?}");
    }
}

async fn what_the_storage_refuses_the_component_is_told<E: Engine + ?Sized>(lab: Lab<E>) {
    let text = || "as told".to_owned();
    for (error, case) in [
        (StorageError::NotFound(text()), "not-found"),
        (StorageError::AlreadyExists(text()), "already-exists"),
        (StorageError::QuotaExceeded, "quota-exceeded"),
        (StorageError::InvalidKey(text()), "invalid-key"),
        (StorageError::Io(text()), "io-error"),
    ] {
        let mut storage = Faulty::new(Arc::new(MemoryStorage::new()));
        for method in [Method::Set, Method::Get, Method::Delete, Method::ListKeys] {
            storage = storage.on_every_call(method, Fault::Fail(error.clone()));
        }
        let services = HostServices::default().with_storage(Arc::new(storage));
        let bench = lab.bench_with(services);
        let store = bench.load(STORE, permitted()).await;
        for command in ["set a 1", "get a", "delete a", "keys"] {
            assert_eq!(bench.refusal(&store, command).await, case, "{command}");
        }
        assert_eq!(bench.state(&store).await, ComponentState::Ready);
    }
}

async fn instances_of_one_id_share_their_data<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    let one = host.bench.load(STORE, permitted()).await;
    let two = host.bench.load(STORE, permitted()).await;
    host.bench.tell(&one, "set key value").await;
    assert_eq!(host.bench.ask(&two, "get key").await, "value");
    // It is not the instance's memory: a restart does not touch it.
    host.bench.restart(&one).await;
    assert_eq!(host.bench.ask(&one, "get key").await, "value");
    host.bench.unload(&two).await;
    assert_eq!(host.bench.ask(&one, "get key").await, "value");
}

/// A quota for ten bytes of one key and its value.
fn ten_bytes_in_a_key() -> u64 {
    StorageUsage::of(10, 1).used_bytes
}

async fn the_quota_is_what_was_granted<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    let quota = ten_bytes_in_a_key();
    let store = host
        .bench
        .load(STORE, may(|p| p.storage = Some(quota)))
        .await;
    let told = host.bench.refusal(&store, "set k 1234567890").await;
    assert_eq!(told, "quota-exceeded");
    assert_eq!(host.bench.tell(&store, "set k 123456789").await, None);
    assert_eq!(host.bench.refusal(&store, "set l ").await, "quota-exceeded");
    let usage = format!("{quota} {quota} 1");
    assert_eq!(host.bench.ask(&store, "usage").await, usage);
}

async fn a_store_is_filled_up_to_its_quota<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    // 1,024 bytes each and a key of one or two, with what each key takes besides, in 64 KiB.
    let fill = host.bench.load(STORAGE_FILL, permitted()).await;
    assert_eq!(host.bench.ask(&fill, "").await, "51 quota-exceeded");
    assert_eq!(host.bench.ask(&fill, "").await, "51 quota-exceeded");
}

async fn log_lines_are_checked_at_their_level<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    for (least, kept) in [
        (None, &LogLevel::ALL[5..]),
        (Some(LogLevel::Error), &LogLevel::ALL[4..]),
        (Some(LogLevel::Info), &LogLevel::ALL[2..]),
        (Some(LogLevel::Trace), &LogLevel::ALL[..]),
    ] {
        let config = may(|p| p.log = least);
        let permissions = config.permissions.clone();
        let logger = host.bench.load(LOGGER, config).await;
        assert_eq!(host.bench.tell(&logger, "a line").await, None);
        let mut asked = host.validator.take_questions();
        // What is not granted may be asked about or not: the answer is the same.
        asked.retain(|(_, capability)| permissions.allows(capability));
        let level = |level: &LogLevel| (logger.clone(), Capability::Log(*level));
        assert_eq!(asked, kept.iter().map(level).collect::<Vec<_>>());
    }
}

async fn the_time_is_that_of_the_clock<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    let clock = host.bench.load(CLOCK, config()).await;
    for (seconds, nanoseconds, time, millis) in [
        (
            1_700_000_000,
            123_456_789,
            "1700000000.123456789",
            "1700000000123",
        ),
        (0, 0, "0.000000000", "0"),
        (7, 999_999_999, "7.999999999", "7999"),
    ] {
        host.clock.set(Timestamp {
            seconds,
            nanoseconds,
        });
        assert_eq!(host.bench.ask(&clock, "time").await, time);
        assert_eq!(host.bench.ask(&clock, "").await, millis);
    }
}

async fn a_message_is_stamped_with_the_time_of_the_clock<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    let sender = host.bench.load(SENDER, permitted()).await;
    for seconds in [5, 3] {
        let now = Timestamp {
            seconds,
            nanoseconds: 7,
        };
        host.clock.set(now);
        host.bench.tell(&sender, "demo/a/main hi").await;
        let [RouterCall::Send { message, .. }] = &host.router.take_calls()[..] else {
            panic!("the router was not called once to send");
        };
        assert_eq!(message.timestamp, now);
    }
}

fn entry(of: &str, health: HealthStatus) -> ComponentInfo {
    let id = id(of);
    ComponentInfo {
        name: format!("the {}", id.name()),
        version: "1.2.3".to_owned(),
        health,
        id,
    }
}

async fn a_component_sees_itself_and_whom_it_may_message<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    for (id, health) in [
        ("demo/b/main", HealthStatus::Degraded),
        ("demo/a/main", HealthStatus::Healthy),
        ("secret/x/main", HealthStatus::Healthy),
        ("demo/directory/main", HealthStatus::Unhealthy),
    ] {
        host.directory.insert(entry(id, health));
    }
    for config in [
        may(|p| p.send = whom("demo/a/*")),
        may(|p| p.request = whom("demo/a/*")),
        may(|p| p.broadcast = whom("demo/a/*")),
    ] {
        let directory = host.bench.load(DIRECTORY, config).await;
        let seen = host.bench.ask(&directory, "").await;
        assert_eq!(seen, "demo/a/main\ndemo/directory/main\n");
        let info = host.bench.ask(&directory, "demo/a/main").await;
        assert_eq!(info, "demo/a/main|the a|1.2.3|healthy");
        let info = host.bench.ask(&directory, "demo/directory/main").await;
        assert_eq!(info, "demo/directory/main|the directory|1.2.3|unhealthy");
    }
}

async fn a_component_without_permissions_sees_itself_only<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    let other = entry("demo/a/main", HealthStatus::Healthy);
    host.directory.insert(other);
    let directory = host.bench.load(DIRECTORY, config()).await;
    let seen = host.bench.ask(&directory, "").await;
    assert_eq!(seen, "demo/directory/main\n");
}

async fn what_is_hidden_looks_like_what_is_not_there<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    let hidden = entry("secret/x/main", HealthStatus::Healthy);
    host.directory.insert(hidden);
    let config = may(|p| p.send = whom("demo/*/*"));
    let directory = host.bench.load(DIRECTORY, config).await;
    for other in ["secret/x/main", "demo/nobody/main", "demo/../main"] {
        let told = host.bench.refusal(&directory, other).await;
        assert_eq!(told, "invalid-state", "{other}");
    }
}

async fn however_many_are_hidden_the_others_are_seen<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    for n in 0..2_000 {
        let hidden = format!("a-secret/x{n}/main");
        host.directory.insert(entry(&hidden, HealthStatus::Healthy));
    }
    let other = entry("demo/other/main", HealthStatus::Healthy);
    host.directory.insert(other);
    let config = may(|p| p.send = whom("demo/*/*"));
    let directory = host.bench.load(DIRECTORY, config).await;
    let seen = host.bench.ask(&directory, "").await;
    assert_eq!(seen, "demo/directory/main\ndemo/other/main\n");
}

async fn a_component_knows_its_own_id<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    for text in ["demo/self-id/main", "a.b/c-d_e/F"] {
        let handle = bench.load_as(&id(text), SELF_ID, config()).await;
        assert_eq!(bench.ask(&handle, "").await, text);
    }
}

async fn messages_of_a_call_are_bounded<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    let flood = host.bench.load(SEND_FLOOD, permitted()).await;
    // Each call has the same budget, however many were sent before.
    let first = host.bench.ask(&flood, "").await;
    let sent = host.router.take_calls().len();
    assert_eq!(first, format!("{sent} queue-full"));
    assert!(sent < 100_000, "{sent} messages in one call");
    assert_eq!(host.bench.ask(&flood, "").await, first);
    assert_eq!(host.router.take_calls().len(), sent);
}

async fn each_recipient_of_a_broadcast_counts<E: Engine + ?Sized>(lab: Lab<E>) {
    let host = Watched::new(&lab);
    let config = config().with_permissions(all_permissions());
    let storm = host.bench.load(BROADCAST_STORM, config).await;
    assert_eq!(host.bench.refusal(&storm, "").await, "queue-full");
    assert_eq!(host.router.take_calls(), []);
}
