//! The host in memory does as every host does: for any sequence of what a guest can call, it
//! answers as the code of wasm-core that engines perform these calls with; and it reads a
//! manifest as wasm-core does.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use proptest::prelude::*;

use wasm_core::guest::Guest;
use wasm_core::manifest::ComponentManifest;
use wasm_core::{
    ComponentConfig, ComponentDirectory, ComponentHandle, ComponentId, ComponentInfo,
    ComponentMessage, HealthStatus, HostServices, MessageRouter, ResourceLimits,
};
use wasm_guest::testing::Host;
use wasm_guest::{LogLevel, MessagingError, log, storage};

const SECOND: Duration = Duration::from_secs(1);

/// What a guest calls.
#[derive(Debug, Clone)]
enum Step {
    Send(&'static str, usize),
    Request(&'static str, usize),
    Cancel(u64),
    Broadcast(Vec<&'static str>, usize),
    Set(String, usize),
    Get(String),
    Delete(String),
    Exists(String),
    Keys(&'static str),
    Usage,
    Components,
    Info(&'static str),
    OwnId,
}

/// Those that are there, and what is none, not permitted or nobody.
const IDS: [&str; 8] = [
    "demo/a/main",
    "demo/b-1/main",
    "demo/b/main",
    "demo/b/other",
    "other/a/main",
    "demo/../main",
    "demo//main",
    "demo/me/main",
];

fn id() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(&IDS[..])
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => proptest::sample::select(vec!["a", "a/1", "a/2", "b", "ü"]).prop_map(str::to_owned),
        1 => Just(String::new()),
        1 => (1023..1026usize).prop_map(|length| "k".repeat(length)),
    ]
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 0..600usize, 1 => Just(4 << 20)]
}

fn step() -> impl Strategy<Value = Step> {
    // Many recipients of little, or few of much: the budgets are of both.
    let broadcast = prop_oneof![
        8 => (proptest::collection::vec(id(), 0..4), size()),
        1 => (0..600usize).prop_map(|size| (vec!["demo/a/main"; 1000], size)),
    ];
    prop_oneof![
        (id(), size()).prop_map(|(to, size)| Step::Send(to, size)),
        (id(), size()).prop_map(|(to, size)| Step::Request(to, size)),
        (0..6u64).prop_map(Step::Cancel),
        broadcast.prop_map(|(to, size)| Step::Broadcast(to, size)),
        (key(), 0..400usize).prop_map(|(key, size)| Step::Set(key, size)),
        key().prop_map(Step::Get),
        key().prop_map(Step::Delete),
        key().prop_map(Step::Exists),
        proptest::sample::select(vec!["", "a", "a/", "z"]).prop_map(Step::Keys),
        Just(Step::Usage),
        Just(Step::Components),
        id().prop_map(Step::Info),
        Just(Step::OwnId),
    ]
}

/// What was granted: `""` grants nothing.
#[derive(Debug, Clone)]
struct Grants {
    send: &'static str,
    request: &'static str,
    broadcast: &'static str,
    storage: Option<u64>,
}

fn grants() -> impl Strategy<Value = Grants> {
    let pattern = || proptest::sample::select(vec!["", "*/*/*", "demo/*/main", "demo/b*/*"]);
    let storage = proptest::option::of(prop_oneof![Just(1000u64), Just(1 << 20)]);
    (pattern(), pattern(), pattern(), storage).prop_map(|(send, request, broadcast, storage)| {
        Grants {
            send,
            request,
            broadcast,
            storage,
        }
    })
}

/// One of those that are there, who has no room for messages, and one who is gone.
const FULL: &str = "demo/b/other";
const GONE: &str = "demo/b-1/main";

/// Knows who is there, who takes messages and which requests are open.
#[derive(Default)]
struct Others {
    requests: AtomicU64,
    open: Mutex<BTreeSet<String>>,
}

fn delivered(message: &ComponentMessage) -> Result<(), wasm_core::MessagingError> {
    match message.recipient.as_str() {
        FULL => Err(wasm_core::MessagingError::QueueFull),
        GONE => Err(wasm_core::MessagingError::TargetNotFound(
            message.recipient.clone(),
        )),
        _ => Ok(()),
    }
}

#[async_trait]
impl MessageRouter for Others {
    async fn send(
        &self,
        _: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), wasm_core::MessagingError> {
        delivered(&message)
    }

    async fn request(
        &self,
        _: &ComponentHandle,
        message: ComponentMessage,
        _: Duration,
    ) -> Result<wasm_core::CorrelationId, wasm_core::MessagingError> {
        delivered(&message)?;
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let id = format!("request-{number}");
        self.open.lock().unwrap().insert(id.clone());
        Ok(id.as_str().into())
    }

    async fn cancel_request(
        &self,
        _: &ComponentHandle,
        request: &wasm_core::CorrelationId,
    ) -> Result<(), wasm_core::MessagingError> {
        match self.open.lock().unwrap().remove(request.as_str()) {
            true => Ok(()),
            false => Err(wasm_core::MessagingError::InvalidMessage(format!(
                "no open request {request}"
            ))),
        }
    }
}

fn those_there() -> impl Iterator<Item = &'static str> {
    IDS.into_iter().take(5)
}

#[async_trait]
impl ComponentDirectory for Others {
    async fn list(&self, after: Option<&ComponentId>, limit: usize) -> Vec<ComponentId> {
        let mut all: Vec<ComponentId> = those_there().map(|id| id.parse().unwrap()).collect();
        all.sort();
        all.retain(|id| Some(id) > after);
        all.truncate(limit);
        all
    }

    async fn info(&self, id: &ComponentId) -> Option<ComponentInfo> {
        those_there()
            .any(|there| there == id.as_str())
            .then(|| ComponentInfo {
                id: id.clone(),
                name: id.name().to_owned(),
                version: String::new(),
                health: HealthStatus::Unknown,
            })
    }
}

fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future waits"),
    }
}

/// As an engine lifts it: three texts that need not be an id.
struct Lifted(&'static str);

impl TryFrom<Lifted> for ComponentId {
    type Error = wasm_core::InvalidComponentId;

    fn try_from(Lifted(text): Lifted) -> Result<Self, Self::Error> {
        text.parse()
    }
}

fn messaging(error: &wasm_core::MessagingError) -> String {
    let ours = match error.clone() {
        wasm_core::MessagingError::DeliveryFailed(why) => MessagingError::DeliveryFailed(why),
        wasm_core::MessagingError::InvalidMessage(why) => MessagingError::InvalidMessage(why),
        wasm_core::MessagingError::QueueFull => MessagingError::QueueFull,
        wasm_core::MessagingError::TargetNotFound(id) => {
            MessagingError::TargetNotFound(id.as_str().parse().unwrap())
        }
        other => panic!("{other} is of no router here"),
    };
    format!("{ours:?}")
}

fn stored(error: &wasm_core::StorageError) -> String {
    let ours = match error.clone() {
        wasm_core::StorageError::InvalidKey(why) => storage::StorageError::InvalidKey(why),
        wasm_core::StorageError::Io(why) => storage::StorageError::Io(why),
        wasm_core::StorageError::QuotaExceeded => storage::StorageError::QuotaExceeded,
        other => panic!("{other} is of no store here"),
    };
    format!("{ours:?}")
}

fn told<T: std::fmt::Debug, E>(outcome: Result<T, E>, error: impl Fn(&E) -> String) -> String {
    match outcome {
        Ok(value) => format!("{value:?}"),
        Err(found) => error(&found),
    }
}

fn in_core(guest: &Guest, step: &Step) -> String {
    let bytes = |size: &usize| Bytes::from(vec![b'x'; *size]);
    let ids = |ids: Vec<ComponentId>| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    match step {
        Step::Send(to, size) => told(now(guest.send(Lifted(to), bytes(size))), messaging),
        Step::Request(to, size) => {
            let request = now(guest.request(Lifted(to), bytes(size), SECOND));
            told(request.map(|id| id.as_str().to_owned()), messaging)
        }
        Step::Cancel(number) => {
            let id = format!("request-{number}");
            told(now(guest.cancel_request(&id.as_str().into())), messaging)
        }
        Step::Broadcast(to, size) => {
            let to = to.iter().map(|to| Lifted(to)).collect();
            told(now(guest.broadcast(to, bytes(size))), messaging)
        }
        Step::Set(key, size) => told(now(guest.set(key, bytes(size))), stored),
        Step::Get(key) => {
            let value = now(guest.get(key));
            told(value.map(|value| value.map(|value| value.to_vec())), stored)
        }
        Step::Delete(key) => told(now(guest.delete(key)), stored),
        Step::Exists(key) => told(now(guest.exists(key)), stored),
        Step::Keys(prefix) => told(now(guest.list_keys(prefix)), stored),
        Step::Usage => {
            let usage = now(guest.storage_usage());
            let usage = usage.map(|(usage, quota)| (usage.used_bytes, quota, usage.key_count));
            told(usage, stored)
        }
        Step::Components => format!("{:?}", ids(now(guest.list_components()))),
        Step::Info(id) => {
            let info = now(guest.component_info(Lifted(id)));
            told(
                info.map(|info| (info.id.to_string(), info.name)),
                String::clone,
            )
        }
        Step::OwnId => guest.id().to_string(),
    }
}

fn in_memory(step: &Step) -> String {
    let bytes = |size: &usize| vec![b'x'; *size];
    fn shown<E: std::fmt::Debug>(error: &E) -> String {
        format!("{error:?}")
    }
    match step {
        Step::Send(to, size) => told(wasm_guest::send(*to, bytes(size)), shown),
        Step::Request(to, size) => {
            let request = wasm_guest::request(*to, bytes(size), SECOND);
            told(request.map(|request| request.id().to_owned()), shown)
        }
        Step::Cancel(number) => told(wasm_guest::cancel(&format!("request-{number}")), shown),
        Step::Broadcast(to, size) => {
            let sent = wasm_guest::broadcast(to.iter().copied(), bytes(size));
            told(sent, shown)
        }
        Step::Set(key, size) => told(storage::set(key, &bytes(size)), shown),
        Step::Get(key) => told(storage::get::<Vec<u8>>(key), shown),
        Step::Delete(key) => told(storage::delete(key), shown),
        Step::Exists(key) => told(storage::exists(key), shown),
        Step::Keys(prefix) => told(storage::keys(prefix), shown),
        Step::Usage => {
            let usage = storage::usage();
            let usage = usage.map(|usage| (usage.used_bytes, usage.quota_bytes, usage.key_count));
            told(usage, shown)
        }
        Step::Components => {
            let ids = wasm_guest::components();
            let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
            format!("{ids:?}")
        }
        Step::Info(id) => {
            let info = wasm_guest::component_info(*id);
            told(
                info.map(|info| (info.id.to_string(), info.name)),
                ToString::to_string,
            )
        }
        Step::OwnId => wasm_guest::own_id().to_string(),
    }
}

fn hosts(grants: &Grants) -> (Guest, Host) {
    let mut host = those_there().fold(Host::new("demo/me/main"), Host::with_component);
    host.refuse(FULL, MessagingError::QueueFull);
    let gone = MessagingError::TargetNotFound(GONE.parse().unwrap());
    host.refuse(GONE, gone);
    let mut permissions = wasm_core::Permissions::default();
    if !grants.send.is_empty() {
        host = host.with_send(grants.send);
        permissions.send.push(grants.send.parse().unwrap());
    }
    if !grants.request.is_empty() {
        host = host.with_request(grants.request);
        permissions.request.push(grants.request.parse().unwrap());
    }
    if !grants.broadcast.is_empty() {
        host = host.with_broadcast(grants.broadcast);
        permissions
            .broadcast
            .push(grants.broadcast.parse().unwrap());
    }
    if let Some(quota) = grants.storage {
        host = host.with_storage(quota);
        permissions.storage = Some(quota);
    }
    let limits = ResourceLimits::new(1 << 20, SECOND, None).unwrap();
    let others = Arc::new(Others::default());
    let guest = Guest::new(
        ComponentHandle::new("demo/me/main".parse().unwrap(), 1),
        ComponentConfig::new(limits).with_permissions(permissions),
        HostServices::default()
            .with_router(others.clone())
            .with_directory(others),
        (),
    );
    (guest, host)
}

proptest! {
    /// Calls of a component, each with what it calls of its host.
    #[test]
    fn a_guest_is_answered_as_by_an_engine(
        grants in grants(),
        calls in proptest::collection::vec(proptest::collection::vec(step(), 1..12), 1..6),
    ) {
        let (guest, host) = hosts(&grants);
        for steps in calls {
            guest.begin_call();
            let by_core: Vec<_> = steps.iter().map(|step| in_core(&guest, step)).collect();
            let by_host: Vec<_> = host.within(|| steps.iter().map(in_memory).collect());
            prop_assert_eq!(by_host, by_core);
        }
    }
}

#[test]
fn a_list_of_keys_ends_where_that_of_every_host_does() {
    let host = Host::new("demo/me/main").with_storage(u64::MAX);
    for key in 0..4096 {
        host.store(&key.to_string(), "");
    }
    assert_eq!(host.within(|| storage::keys("")).unwrap().len(), 4096);
    host.store("one more", "");
    let refused = host.within(|| storage::keys("")).unwrap_err();
    assert!(refused.to_string().contains("more than 4096 keys match"));
}

#[test]
fn so_many_requests_are_open_as_in_every_host() {
    let host = Host::new("demo/me/main").with_request("*/*/*");
    let ask = || wasm_guest::request("demo/a/main", "", SECOND).map(drop);
    let accepted = (0..1000)
        .take_while(|_| host.within(ask) != Err(MessagingError::QueueFull))
        .count();
    assert_eq!(accepted, wasm_host::HostLimits::default().open_requests);
}

#[test]
fn a_line_is_kept_at_the_levels_that_are_granted() {
    for granted in wasm_levels() {
        let host = Host::new("demo/me/main").with_log(granted);
        host.within(|| {
            log!(trace, "trace");
            log!(debug, "debug");
            log!(info, "info");
            log!(warn, "warn");
            log!(error, "error");
        });
        let kept = host.logged();
        for level in wasm_levels() {
            let granted: wasm_core::LogLevel = granted.as_str().parse().unwrap();
            let mut permissions = wasm_core::Permissions::default();
            permissions.log = Some(granted);
            let capability = wasm_core::Capability::Log(level.as_str().parse().unwrap());
            let line = format!("{level}: {level}");
            assert_eq!(
                kept.contains(&line),
                permissions.allows(&capability),
                "{line}"
            );
        }
    }
}

fn wasm_levels() -> [LogLevel; 5] {
    [
        LogLevel::Trace,
        LogLevel::Debug,
        LogLevel::Info,
        LogLevel::Warn,
        LogLevel::Error,
    ]
}

const MANIFEST: &str = r#"
[component]
id = "demo/me/main"
wasm = "me.wasm"

[resources]
memory = "1MiB"
fuel = "unmetered"
timeout = "1s"

[env]
SECOND = "2"
FIRST = "1"

[config]
text = "good day"
"#;

#[test]
fn a_manifest_is_read_as_by_every_host() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("Component.toml");
    for permissions in [
        "",
        "send = [\"demo/*/*\", \"other/a*/main\"]",
        "request = [\"demo/a/main\"]\nbroadcast = []",
        "storage = \"1.5KiB\"",
        "storage = \"1MiB\"\nlog = \"warn\"",
        // What neither reads.
        "send = \"demo/*/*\"",
        "send = [\"demo/*\"]",
        "send = [5]",
        "storage = 5",
        "storage = \"much\"",
        "log = \"loud\"",
        "log = [",
    ] {
        let text = format!("{MANIFEST}\n[permissions]\n{permissions}\n");
        std::fs::write(&file, &text).unwrap();
        let by_core = ComponentManifest::parse(&text, &file, 4 << 20);
        let by_host = Host::load(&file);
        assert_eq!(by_host.is_ok(), by_core.is_ok(), "{permissions}");
        let (Ok(manifest), Ok(host)) = (by_core, by_host) else {
            continue;
        };
        assert_eq!(
            host.within(wasm_guest::own_id).to_string(),
            manifest.id.to_string()
        );
        let asked = |send: &str| {
            let _ = host.within(|| wasm_guest::send(send, "").is_ok());
            host.denied().is_empty()
        };
        let allows = |target: &str| {
            let target = wasm_core::Capability::Send(target.parse().unwrap());
            manifest.permissions.allows(&target)
        };
        for target in those_there() {
            assert_eq!(asked(target), allows(target), "{permissions} {target}");
        }
        let quota = host
            .within(storage::usage)
            .ok()
            .map(|usage| usage.quota_bytes);
        assert_eq!(quota, manifest.permissions.storage, "{permissions}");
    }
}

#[test]
fn the_contract_is_that_of_every_host() {
    assert_eq!(include_str!("../wit/core.wit"), wasm_core::WIT);
}
