//! What an engine does with what its services answer, and when it asks them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use wasm_core::{
    Capability, CapabilityDenied, ComponentHandle, ComponentId, ComponentInfo, ComponentMessage,
    ComponentState, ComponentStorage, CorrelationId, HealthStatus, HostServices, LifecycleError,
    MemoryStorage, MessageRouter, MessagingError, SecurityValidator, StorageError, StorageUsage,
    Timestamp, WasmError,
};
use wasm_fixtures::{
    BROADCASTER, CALLBACK, DIRECTORY, ENVELOPE, Fixture, INIT_SENDS, SEND_FLOOD, SENDER,
    SHUTDOWN_BROADCASTS, SHUTDOWN_SENDS, SHUTDOWN_STORES, STORE,
};

use super::lab::{config, id, id_of, may, message, permitted, whom};
use super::{Engine, Feature, Lab};
use crate::lock::lock;
use crate::suite::{Case, cases};
use crate::{Fault, Faulty, ManualClock, MemoryDirectory, Method, RecordingRouter, RouterCall};

pub(super) fn cases<E: Engine + ?Sized>() -> Vec<Case<Lab<E>, Feature>> {
    cases!["services":
        "A host call is allowed when the component's `Permissions` grant it *and* the validator \
         does not object." => [
            the_validator_is_asked_before_a_service_is_used,
            what_the_validator_refuses_reaches_no_service,
            what_is_not_granted_reaches_no_service,
            initialize_and_shutdown_may_do_what_is_granted_and_no_more,
        ],
        "It is asked at every host call of the contract's interfaces that needs a capability" => [
            the_validator_is_asked_at_every_host_call,
        ],
        "Which components a permission is about: a glob for each segment of an id, in which `*` \
         stands for any run of characters." => [
            a_star_stands_for_any_run_of_characters,
        ],
        "Why a message was not accepted; the cases of the contract's `messaging-error`." => [
            what_the_router_refuses_is_told_whatever_was_asked,
        ],
        "The cases of the contract's `storage-error`." => [
            what_the_storage_refuses_is_told_whatever_was_asked,
        ],
        "At most `limit` keys that start with `prefix` and come after `after`, in ascending \
         order of bytes." => [
            all_keys_are_listed,
        ],
        "Empty, too long or otherwise unfit." => [
            a_key_has_up_to_1024_bytes,
        ],
        "`owner` is stamped by the engine, never by the guest." => [
            what_is_stored_is_any_bytes,
        ],
        "An engine calls it from inside the sender's guest call, after it has checked the \
         sender's permissions; `message.sender` is always the id of `from`." => [
            what_is_sent_is_any_bytes,
            every_message_carries_the_id_of_its_sender_and_nothing_else,
        ],
        "What components are told when they ask for the time." => [
            each_message_of_a_call_is_stamped_with_its_own_time,
        ],
        "An engine shows a component only itself and those it may message; the directory itself \
         knows no permissions." => [
            all_whom_a_component_may_message_are_listed,
        ],
        "As last known; nobody is asked for it." => [
            every_condition_in_the_directory_is_told,
        ],
        "Calls `handle-callback` with the answer to a request that the component made." => [
            the_whole_envelope_of_a_callback_reaches_the_guest,
        ],
    ]
}

/// Services that write down who is called, in order.
struct Noted {
    notes: Mutex<Vec<&'static str>>,
    refuses: bool,
    storage: MemoryStorage,
    router: RecordingRouter,
}

impl Noted {
    fn new(refuses: bool) -> Arc<Self> {
        Arc::new(Self {
            notes: Mutex::default(),
            refuses,
            storage: MemoryStorage::new(),
            router: RecordingRouter::new(),
        })
    }

    fn services(self: &Arc<Self>) -> HostServices {
        HostServices::default()
            .with_router(self.clone())
            .with_storage(self.clone())
            .with_validator(self.clone())
    }

    fn note(&self, what: &'static str) {
        lock(&self.notes).push(what);
    }

    fn take_notes(&self) -> Vec<&'static str> {
        std::mem::take(&mut *lock(&self.notes))
    }
}

const ASKED: &str = "the validator is asked";
const TOLD: &str = "the validator is told";

impl SecurityValidator for Noted {
    fn validate(&self, _: &ComponentHandle, asked: &Capability) -> Result<(), CapabilityDenied> {
        self.note(ASKED);
        if self.refuses {
            return Err(CapabilityDenied {
                capability: asked.clone(),
                reason: "not today".to_owned(),
            });
        }
        Ok(())
    }

    fn denied(&self, _: &ComponentHandle, _: &CapabilityDenied) {
        self.note(TOLD);
    }
}

#[async_trait]
impl MessageRouter for Noted {
    async fn send(
        &self,
        from: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), MessagingError> {
        self.note("send");
        self.router.send(from, message).await
    }

    async fn request(
        &self,
        from: &ComponentHandle,
        message: ComponentMessage,
        timeout: Duration,
    ) -> Result<CorrelationId, MessagingError> {
        self.note("request");
        self.router.request(from, message, timeout).await
    }

    async fn cancel_request(
        &self,
        from: &ComponentHandle,
        request: &CorrelationId,
    ) -> Result<(), MessagingError> {
        self.note("cancel");
        self.router.cancel_request(from, request).await
    }

    async fn broadcast(
        &self,
        from: &ComponentHandle,
        messages: Vec<ComponentMessage>,
    ) -> Result<(), MessagingError> {
        self.note("broadcast");
        self.router.broadcast(from, messages).await
    }
}

#[async_trait]
impl ComponentStorage for Noted {
    async fn get(&self, owner: &ComponentId, key: &str) -> Result<Option<Bytes>, StorageError> {
        self.note("storage");
        self.storage.get(owner, key).await
    }

    async fn set(
        &self,
        owner: &ComponentId,
        key: &str,
        value: Bytes,
        quota_bytes: u64,
    ) -> Result<(), StorageError> {
        self.note("storage");
        self.storage.set(owner, key, value, quota_bytes).await
    }

    async fn delete(&self, owner: &ComponentId, key: &str) -> Result<(), StorageError> {
        self.note("storage");
        self.storage.delete(owner, key).await
    }

    async fn list_keys(
        &self,
        owner: &ComponentId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StorageError> {
        self.note("storage");
        self.storage.list_keys(owner, prefix, after, limit).await
    }

    async fn usage(&self, owner: &ComponentId) -> Result<StorageUsage, StorageError> {
        self.note("storage");
        self.storage.usage(owner).await
    }
}

/// Each use of a service that needs a capability, and the service.
const USES: [(Fixture, &str, &str); 9] = [
    (SENDER, "demo/a/main hi", "send"),
    (CALLBACK, "demo/a/main hi", "request"),
    (BROADCASTER, "demo/a/main hi", "broadcast"),
    (STORE, "set a 1", "storage"),
    (STORE, "get a", "storage"),
    (STORE, "exists a", "storage"),
    (STORE, "keys", "storage"),
    (STORE, "usage", "storage"),
    (STORE, "delete a", "storage"),
];

async fn the_validator_is_asked_before_a_service_is_used<E: Engine + ?Sized>(lab: Lab<E>) {
    let noted = Noted::new(false);
    let bench = lab.bench_with(noted.services());
    for (fixture, payload, service) in USES {
        let handle = bench.load(fixture, permitted()).await;
        bench.tell(&handle, payload).await;
        assert_eq!(noted.take_notes(), [ASKED, service], "{payload}");
    }
}

async fn what_the_validator_refuses_reaches_no_service<E: Engine + ?Sized>(lab: Lab<E>) {
    let noted = Noted::new(true);
    let bench = lab.bench_with(noted.services());
    for (fixture, payload, _) in USES {
        let handle = bench.load(fixture, permitted()).await;
        bench.refusal(&handle, payload).await;
        assert_eq!(noted.take_notes(), [ASKED, TOLD], "{payload}");
    }
}

async fn what_is_not_granted_reaches_no_service<E: Engine + ?Sized>(lab: Lab<E>) {
    let noted = Noted::new(false);
    let bench = lab.bench_with(noted.services());
    for (fixture, payload, _) in USES {
        let handle = bench.load(fixture, config()).await;
        bench.refusal(&handle, payload).await;
        let mut notes = noted.take_notes();
        // What is not granted may be asked about or not.
        notes.retain(|note| *note != ASKED);
        assert_eq!(notes, [TOLD], "{payload}");
    }
}

async fn initialize_and_shutdown_may_do_what_is_granted_and_no_more<E: Engine + ?Sized>(
    lab: Lab<E>,
) {
    for (refuses, config) in [(true, permitted()), (false, config())] {
        let noted = Noted::new(refuses);
        let bench = lab.bench_with(noted.services());
        let refused = bench.not_loaded(INIT_SENDS, config.clone()).await;
        assert!(
            matches!(&refused, WasmError::InitializationFailed {
                error: LifecycleError::InitializationFailed(case), ..
            } if case == "delivery-failed"),
            "{refused}"
        );
        for (fixture, refusal) in [
            (SHUTDOWN_SENDS, "delivery-failed"),
            (SHUTDOWN_BROADCASTS, "delivery-failed"),
            (SHUTDOWN_STORES, "io-error"),
        ] {
            let handle = bench.load(fixture, config.clone()).await;
            bench.restart(&handle).await;
            let outcome = bench.engine.unload_component(&handle).await;
            assert!(
                matches!(&outcome, Err(WasmError::ShutdownFailed {
                    error: LifecycleError::ShutdownFailed(case), ..
                }) if case == refusal),
                "{}: {outcome:?}",
                fixture.name
            );
        }
        let mut notes = noted.take_notes();
        notes.retain(|note| *note != ASKED && *note != TOLD);
        assert_eq!(notes, [""; 0], "services that were used");
    }
}

async fn the_validator_is_asked_at_every_host_call<E: Engine + ?Sized>(lab: Lab<E>) {
    let noted = Noted::new(false);
    let bench = lab.bench_with(noted.services());
    let twice = bench.load(INIT_SENDS, permitted()).await;
    assert_eq!(noted.take_notes(), [ASKED, "send", ASKED, "request"]);
    bench.restart(&twice).await;
    assert_eq!(noted.take_notes(), [ASKED, "send", ASKED, "request"]);
    let broadcaster = bench.load(BROADCASTER, permitted()).await;
    let recipients = "demo/a/main,demo/b/main,demo/a/main hi";
    for _ in 0..2 {
        bench.tell(&broadcaster, recipients).await;
        let notes = noted.take_notes();
        assert_eq!(notes, [ASKED, ASKED, ASKED, "broadcast"]);
    }
}

async fn a_star_stands_for_any_run_of_characters<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = Arc::new(RecordingRouter::new());
    let bench = lab.bench_with(HostServices::default().with_router(router.clone()));
    for (pattern, granted, refused) in [
        (
            "demo/task*/main",
            ["demo/task-7/main", "demo/task/main"],
            ["demo/a-task/main", "demo/tas/main"],
        ),
        (
            "demo/*er/main",
            ["demo/worker/main", "demo/er/main"],
            ["demo/workers/main", "demo/e/main"],
        ),
        (
            "d*o/w*k*r/m*n",
            ["demo/worker/main", "do/wkr/mn"],
            ["demo/worke/main", "demo/worker/mains"],
        ),
        (
            "demo/*/*",
            ["demo/a/main", "demo/b/7"],
            ["demo2/a/main", "dem/a/main"],
        ),
    ] {
        let sender = bench.load(SENDER, may(|p| p.send = whom(pattern))).await;
        for to in granted {
            assert_eq!(bench.tell(&sender, format!("{to} hi")).await, None);
            let [RouterCall::Send { message, .. }] = &router.take_calls()[..] else {
                panic!("{pattern} grants {to}");
            };
            assert_eq!(message.recipient, id(to));
        }
        for to in refused {
            let told = bench.refusal(&sender, format!("{to} hi")).await;
            assert_eq!(told, "delivery-failed", "{pattern} does not grant {to}");
            assert_eq!(router.take_calls(), []);
        }
    }
}

async fn what_the_router_refuses_is_told_whatever_was_asked<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = Arc::new(RecordingRouter::new());
    let bench = lab.bench_with(HostServices::default().with_router(router.clone()));
    let text = || "as told".to_owned();
    for (error, case) in [
        (MessagingError::QueueFull, "queue-full"),
        (MessagingError::DeliveryFailed(text()), "delivery-failed"),
        (MessagingError::InvalidMessage(text()), "invalid-message"),
        (
            MessagingError::CorrelationTimeout("c".into()),
            "correlation-timeout",
        ),
        (
            MessagingError::TargetNotFound(id("demo/a/main")),
            "target-not-found",
        ),
    ] {
        for (fixture, payload) in [
            (SENDER, "demo/a/main hi"),
            (BROADCASTER, "demo/a/main,demo/b/main hi"),
            (CALLBACK, "demo/a/main hi"),
            (CALLBACK, "cancel request-1"),
        ] {
            let handle = bench.load(fixture, permitted()).await;
            router.fail_next(error.clone());
            let told = bench.refusal(&handle, payload).await;
            assert_eq!(told, case, "{} {payload}", fixture.name);
            assert_eq!(bench.state(&handle).await, ComponentState::Ready);
        }
    }
}

async fn what_the_storage_refuses_is_told_whatever_was_asked<E: Engine + ?Sized>(lab: Lab<E>) {
    let text = || "as told".to_owned();
    for (error, case) in [
        (StorageError::NotFound(text()), "not-found"),
        (StorageError::AlreadyExists(text()), "already-exists"),
        (StorageError::QuotaExceeded, "quota-exceeded"),
        (StorageError::InvalidKey(text()), "invalid-key"),
        (StorageError::Io(text()), "io-error"),
    ] {
        let mut storage = Faulty::new(Arc::new(MemoryStorage::new()));
        for method in [
            Method::Set,
            Method::Get,
            Method::Delete,
            Method::Exists,
            Method::ListKeys,
            Method::Usage,
        ] {
            storage = storage.on_every_call(method, Fault::Fail(error.clone()));
        }
        let bench = lab.bench_with(HostServices::default().with_storage(Arc::new(storage)));
        let store = bench.load(STORE, permitted()).await;
        for command in ["set a 1", "get a", "exists a", "delete a", "keys", "usage"] {
            assert_eq!(bench.refusal(&store, command).await, case, "{command}");
        }
        assert_eq!(bench.state(&store).await, ComponentState::Ready);
    }
}

async fn all_keys_are_listed<E: Engine + ?Sized>(lab: Lab<E>) {
    let storage = Arc::new(MemoryStorage::new());
    let bench = lab.bench_with(HostServices::default().with_storage(storage.clone()));
    let store = bench.load(STORE, permitted()).await;
    let keys: Vec<String> = (0..2_000).map(|n| format!("key/{n:04}")).collect();
    // In no order, and another beside them.
    for key in keys.iter().rev().map(String::as_str).chain(["other"]) {
        let set = storage.set(store.id(), key, Bytes::new(), u64::MAX);
        assert_eq!(set.await, Ok(()), "the storage of the case");
    }
    let lines = |keys: &[String]| {
        keys.iter()
            .map(|key| format!("{key}\n"))
            .collect::<String>()
    };
    for (command, expected) in [
        ("keys key/", lines(&keys)),
        ("keys", lines(&keys) + "other\n"),
        ("keys key/19", lines(&keys[1_900..])),
        ("keys key/1999", lines(&keys[1_999..])),
        ("keys nothing", String::new()),
    ] {
        let told = bench.ask(&store, command).await;
        assert!(
            told == expected,
            "{command}: {} keys were listed, not {}",
            told.lines().count(),
            expected.lines().count()
        );
    }
}

async fn a_key_has_up_to_1024_bytes<E: Engine + ?Sized>(lab: Lab<E>) {
    let storage = Arc::new(MemoryStorage::new());
    let bench = lab.bench_with(HostServices::default().with_storage(storage.clone()));
    let store = bench.load(STORE, permitted()).await;
    // Bytes, and not characters.
    for (longest, too_long) in [
        ("k".repeat(1_024), "k".repeat(1_025)),
        ("é".repeat(512), "é".repeat(513)),
    ] {
        assert_eq!(bench.tell(&store, format!("set {longest} v")).await, None);
        assert_eq!(bench.ask(&store, format!("get {longest}")).await, "v");
        assert_eq!(bench.ask(&store, format!("exists {longest}")).await, "true");
        assert_eq!(bench.tell(&store, format!("delete {longest}")).await, None);
        for command in ["set", "get", "exists", "delete"] {
            let told = bench
                .refusal(&store, format!("{command} {too_long} v"))
                .await;
            assert_eq!(told, "invalid-key", "{command}");
        }
    }
    let kept = storage.list_keys(&id_of(STORE), "", None, 9).await;
    assert_eq!(kept, Ok(Vec::new()), "what is stored");
}

/// Every byte that there is, over and over.
fn any_bytes(length: usize) -> Vec<u8> {
    (0..=255).cycle().take(length).collect()
}

async fn what_is_stored_is_any_bytes<E: Engine + ?Sized>(lab: Lab<E>) {
    let storage = Arc::new(MemoryStorage::new());
    let bench = lab.bench_with(HostServices::default().with_storage(storage.clone()));
    let store = bench.load(STORE, permitted()).await;
    for length in [0, 1, 256, 60_000] {
        let value = any_bytes(length);
        let command = [b"set k ", &value[..]].concat();
        assert_eq!(bench.tell(&store, command).await, None);
        let stored = storage.get(store.id(), "k").await;
        assert!(
            stored == Ok(Some(value.clone().into())),
            "{length} bytes stored"
        );
        let message = message(&store, "get k");
        match bench.engine.call_handle_message(&store, message).await {
            Ok(Some(reply)) => assert!(reply.as_bytes() == value, "{length} bytes read"),
            other => panic!("{length} bytes were read as {other:?}"),
        }
    }
}

async fn what_is_sent_is_any_bytes<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = Arc::new(RecordingRouter::new());
    let bench = lab.bench_with(HostServices::default().with_router(router.clone()));
    for fixture in [SENDER, BROADCASTER, CALLBACK] {
        let handle = bench.load(fixture, permitted()).await;
        for length in [0, 1, 256, 60_000] {
            let payload = any_bytes(length);
            let command = [b"demo/a/main ", &payload[..]].concat();
            if let Err(error) = bench.send(&handle, command).await {
                panic!("{length} bytes: {error}");
            }
            let sent = router.take_calls();
            let message = match &sent[..] {
                [RouterCall::Send { message, .. } | RouterCall::Request { message, .. }] => message,
                [RouterCall::Broadcast { messages, .. }] => &messages[0],
                _ => panic!("the router was not called once to send {length} bytes"),
            };
            assert!(message.payload.as_bytes() == payload, "{length} bytes sent");
        }
    }
}

async fn every_message_carries_the_id_of_its_sender_and_nothing_else<E: Engine + ?Sized>(
    lab: Lab<E>,
) {
    let (router, clock) = (
        Arc::new(RecordingRouter::new()),
        Arc::new(ManualClock::new()),
    );
    let now = Timestamp {
        seconds: 9,
        nanoseconds: 8,
    };
    clock.set(now);
    let services = HostServices::default();
    let bench = lab.bench_with(services.with_router(router.clone()).with_clock(clock));
    for fixture in [SENDER, CALLBACK, BROADCASTER] {
        let from = bench.load(fixture, permitted()).await;
        bench.tell(&from, "demo/a/main hi").await;
        let message = ComponentMessage::new(from.id().clone(), id("demo/a/main"), "hi");
        let message = message.with_timestamp(now).with_hops(1);
        let expected = match fixture.name {
            "sender" => RouterCall::Send { from, message },
            "callback" => RouterCall::Request {
                from,
                message,
                timeout: Duration::from_secs(1),
            },
            _ => RouterCall::Broadcast {
                from,
                messages: vec![message],
            },
        };
        assert_eq!(router.take_calls(), [expected]);
    }
}

/// A router that turns a clock on by a second with each message.
struct Turning {
    clock: Arc<ManualClock>,
    sent: Mutex<Vec<u64>>,
}

impl Turning {
    fn turn(&self, message: &ComponentMessage) {
        lock(&self.sent).push(message.timestamp.seconds);
        self.clock.advance(Duration::from_secs(1));
    }
}

#[async_trait]
impl MessageRouter for Turning {
    async fn send(
        &self,
        _: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), MessagingError> {
        self.turn(&message);
        if message.timestamp.seconds > 20 {
            return Err(MessagingError::QueueFull);
        }
        Ok(())
    }

    async fn request(
        &self,
        _: &ComponentHandle,
        message: ComponentMessage,
        _: Duration,
    ) -> Result<CorrelationId, MessagingError> {
        self.turn(&message);
        Ok("request".into())
    }

    async fn cancel_request(
        &self,
        _: &ComponentHandle,
        _: &CorrelationId,
    ) -> Result<(), MessagingError> {
        Ok(())
    }
}

async fn each_message_of_a_call_is_stamped_with_its_own_time<E: Engine + ?Sized>(lab: Lab<E>) {
    let clock = Arc::new(ManualClock::new());
    let turning = Arc::new(Turning {
        clock: clock.clone(),
        sent: Mutex::default(),
    });
    let services = HostServices::default();
    let bench = lab.bench_with(services.with_router(turning.clone()).with_clock(clock));
    bench.load(INIT_SENDS, permitted()).await;
    let flood = bench.load(SEND_FLOOD, permitted()).await;
    assert_eq!(bench.ask(&flood, "").await, "19 queue-full");
    let expected: Vec<u64> = (0..=21).collect();
    assert_eq!(*lock(&turning.sent), expected, "seconds of the clock");
}

async fn the_whole_envelope_of_a_callback_reaches_the_guest<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(ENVELOPE, config()).await;
    assert_eq!(bench.tell(&handle, "last").await, None, "before the first");
    let whole = message(&handle, "12345")
        .with_correlation_id("c-1")
        .with_reply_to(id("a/b/c"))
        .with_message_type("text/plain")
        .with_timestamp(Timestamp {
            seconds: 7,
            nanoseconds: 1_002,
        });
    for (answer, shown) in [
        (whole, "test/sender/main|c-1|a/b/c|7.000001002|text/plain|5"),
        (message(&handle, ""), "test/sender/main|-|-|0.000000000|-|0"),
    ] {
        if let Err(error) = bench.engine.call_handle_callback(&handle, answer).await {
            panic!("{error}");
        }
        assert_eq!(bench.ask(&handle, "last").await, shown);
    }
}

fn entry(id: ComponentId, health: HealthStatus) -> ComponentInfo {
    ComponentInfo {
        name: "as it calls itself".to_owned(),
        version: "0.1.0-beta".to_owned(),
        health,
        id,
    }
}

async fn all_whom_a_component_may_message_are_listed<E: Engine + ?Sized>(lab: Lab<E>) {
    let directory = Arc::new(MemoryDirectory::new());
    let bench = lab.bench_with(HostServices::default().with_directory(directory.clone()));
    let mut ids = vec![id_of(DIRECTORY)];
    for n in 0..600 {
        ids.push(id(&format!("many/worker/{n}")));
        directory.insert(entry(ids[n + 1].clone(), HealthStatus::Healthy));
        // Others are among them.
        let other = id(&format!("many/secret/{n}"));
        directory.insert(entry(other, HealthStatus::Healthy));
    }
    ids.sort();
    let config = may(|p| p.request = whom("many/worker/*"));
    let handle = bench.load(DIRECTORY, config).await;
    let listed = bench.ask(&handle, "").await;
    let expected: String = ids.iter().map(|id| format!("{id}\n")).collect();
    assert!(
        listed == expected,
        "{} of {} are listed",
        listed.lines().count(),
        ids.len()
    );
}

async fn every_condition_in_the_directory_is_told<E: Engine + ?Sized>(lab: Lab<E>) {
    let directory = Arc::new(MemoryDirectory::new());
    let bench = lab.bench_with(HostServices::default().with_directory(directory.clone()));
    let handle = bench.load(DIRECTORY, permitted()).await;
    for (health, shown) in [
        (HealthStatus::Healthy, "healthy"),
        (HealthStatus::Degraded, "degraded"),
        (HealthStatus::Unhealthy, "unhealthy"),
        (HealthStatus::Unknown, "unknown"),
    ] {
        directory.insert(entry(id("demo/a/main"), health));
        let told = bench.ask(&handle, "demo/a/main").await;
        let expected = format!("demo/a/main|as it calls itself|0.1.0-beta|{shown}");
        assert_eq!(told, expected);
    }
}
