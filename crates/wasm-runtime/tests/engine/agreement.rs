//! What native tests accept, the engine accepts: a component of `wasm-guest` is answered by the
//! host in memory of its tests as by the engine, for any sequence of what it can call.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Runtime;

use wasm_core::{
    ComponentConfig, ComponentDirectory, ComponentHandle, ComponentId, ComponentInfo,
    ComponentMessage, CorrelationId, HealthStatus, HostServices, MessageRouter, MessagingError,
    Permissions, ResourceLimits,
};
use wasm_guest::testing::Host;
use wasm_runtime::{EngineConfig, WasmtimeEngine};

use crate::support::{HANG, ask, id};

#[path = "../../../../examples/puppet/src/lib.rs"]
mod puppet;

use puppet::Puppet;

/// Made of the same source; `scripts/components.sh` makes it anew.
const PUPPET: &[u8] = include_bytes!("../../../../examples/puppet/puppet.wasm");

/// Those that are there.
const OTHERS: [&str; 5] = [
    "demo/a/main",
    "demo/b-1/main",
    "demo/b/main",
    "demo/b/other",
    "other/a/main",
];

const NOBODY: &str = "demo/nobody/main";

/// What is no id, nobody's, or that of the first component.
const STRANGE: [&str; 4] = ["demo/../main", "demo//main", NOBODY, "demo/me/0"];

const MEMORY: u64 = 32 << 20;

/// One of those that are there, who has no room for messages.
const FULL: &str = "demo/b/other";

/// Knows who is there, who takes messages and which requests are open.
#[derive(Default)]
struct Others {
    requests: AtomicU64,
    open: Mutex<BTreeSet<String>>,
}

impl Others {
    /// For another component.
    fn begin(&self) {
        self.requests.store(0, Ordering::Relaxed);
        self.open.lock().unwrap().clear();
    }
}

fn delivered(message: &ComponentMessage) -> Result<(), MessagingError> {
    match message.recipient.as_str() {
        FULL => Err(MessagingError::QueueFull),
        NOBODY => Err(MessagingError::TargetNotFound(message.recipient.clone())),
        _ => Ok(()),
    }
}

#[async_trait]
impl MessageRouter for Others {
    async fn send(
        &self,
        _: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), MessagingError> {
        delivered(&message)
    }

    async fn request(
        &self,
        _: &ComponentHandle,
        message: ComponentMessage,
        _: Duration,
    ) -> Result<CorrelationId, MessagingError> {
        delivered(&message)?;
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let id = format!("request-{number}");
        self.open.lock().unwrap().insert(id.clone());
        Ok(id.as_str().into())
    }

    async fn cancel_request(
        &self,
        _: &ComponentHandle,
        request: &CorrelationId,
    ) -> Result<(), MessagingError> {
        match self.open.lock().unwrap().remove(request.as_str()) {
            true => Ok(()),
            false => Err(MessagingError::InvalidMessage(format!(
                "no open request {request}"
            ))),
        }
    }
}

#[async_trait]
impl ComponentDirectory for Others {
    async fn list(&self, after: Option<&ComponentId>, limit: usize) -> Vec<ComponentId> {
        let mut all: Vec<ComponentId> = OTHERS.into_iter().map(id).collect();
        all.sort();
        all.retain(|id| Some(id) > after);
        all.truncate(limit);
        all
    }

    async fn info(&self, id: &ComponentId) -> Option<ComponentInfo> {
        OTHERS.contains(&id.as_str()).then(|| ComponentInfo {
            id: id.clone(),
            name: id.name().to_owned(),
            version: String::new(),
            health: HealthStatus::Unknown,
        })
    }
}

fn target() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        2 => proptest::sample::select(&OTHERS[..]),
        1 => proptest::sample::select(&STRANGE[..]),
    ]
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => proptest::sample::select(vec!["a", "a/1", "a/2", "b", "ü", "-"]).prop_map(str::to_owned),
        1 => (1023..1026usize).prop_map(|length| "k".repeat(length)),
    ]
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 0..600usize, 1 => Just(4 << 20)]
}

/// A line that the puppet is told.
fn line() -> impl Strategy<Value = String> {
    // Many recipients of little, or few of much: the budgets are of both.
    let broadcast = prop_oneof![
        8 => (vec(target(), 0..4), size()),
        1 => (0..600usize).prop_map(|size| (vec!["demo/a/main"; 1000], size)),
    ];
    prop_oneof![
        (target(), size()).prop_map(|(to, size)| format!("send {to} {size}")),
        (target(), size()).prop_map(|(to, size)| format!("request {to} {size}")),
        (0..6u64).prop_map(|number| format!("cancel request-{number}")),
        broadcast.prop_map(|(to, size)| {
            let mut words = vec!["broadcast".to_owned(), size.to_string()];
            words.extend(to.into_iter().map(str::to_owned));
            words.join(" ")
        }),
        (key(), 0..400usize).prop_map(|(key, size)| format!("set {key} {size}")),
        (
            proptest::sample::select(vec!["get", "delete", "exists", "keys"]),
            key()
        )
            .prop_map(|(what, key)| format!("{what} {key}")),
        proptest::sample::select(vec!["usage", "components", "own-id"]).prop_map(str::to_owned),
        target().prop_map(|of| format!("info {of}")),
    ]
}

#[derive(Debug, Clone)]
struct Grants {
    /// `""` grants nothing.
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

fn in_memory(own_id: &str, grants: &Grants) -> Host {
    let mut host = OTHERS
        .into_iter()
        .fold(Host::new(own_id), Host::with_component);
    let gone = NOBODY.parse().unwrap();
    host.refuse(FULL, wasm_guest::MessagingError::QueueFull);
    host.refuse(NOBODY, wasm_guest::MessagingError::TargetNotFound(gone));
    if !grants.send.is_empty() {
        host = host.with_send(grants.send);
    }
    if !grants.request.is_empty() {
        host = host.with_request(grants.request);
    }
    if !grants.broadcast.is_empty() {
        host = host.with_broadcast(grants.broadcast);
    }
    match grants.storage {
        Some(quota) => host.with_storage(quota),
        None => host,
    }
}

fn config(grants: &Grants) -> ComponentConfig {
    let patterns = |pattern: &str| match pattern {
        "" => Vec::new(),
        pattern => vec![pattern.parse().unwrap()],
    };
    let mut permissions = Permissions::default();
    permissions.send = patterns(grants.send);
    permissions.request = patterns(grants.request);
    permissions.broadcast = patterns(grants.broadcast);
    permissions.storage = grants.storage;
    let limits = ResourceLimits::new(MEMORY, HANG, None).unwrap();
    ComponentConfig::new(limits).with_permissions(permissions)
}

/// Each case is a component of its own, whose messages are what it calls of its host. The
/// engine is one, which compiles it once.
#[test]
fn a_component_is_answered_natively_as_in_the_engine() {
    let others = Arc::new(Others::default());
    let services = HostServices::default()
        .with_router(others.clone())
        .with_directory(others.clone());
    let engine = EngineConfig::default().with_memory_ceiling_bytes(MEMORY);
    let engine = WasmtimeEngine::new(engine, services).unwrap();
    let runtime = Runtime::new().unwrap();
    let cases = AtomicU64::new(0);
    let nothing = Grants {
        send: "",
        request: "",
        broadcast: "",
        storage: None,
    };
    let (own_id, bytes) = (id("demo/me/main"), Bytes::from_static(PUPPET));
    let nothing = config(&nothing);
    // As long as this is there, so is what it was compiled to.
    let preparing = engine.prepare_component(&own_id, bytes, &nothing);
    let _prepared = runtime.block_on(preparing).unwrap();
    let case = (grants(), vec(vec(line(), 1..12), 1..6));
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::with_cases(40)
    });
    let outcome = runner.run(&case, |(grants, messages)| {
        let own_id = format!("demo/me/{}", cases.fetch_add(1, Ordering::Relaxed));
        let host = in_memory(&own_id, &grants);
        let mut native = host.start::<Puppet>().unwrap();
        others.begin();
        let own_id = id(&own_id);
        let bytes = Bytes::from_static(PUPPET);
        let loading = engine.load_component(&own_id, bytes, config(&grants));
        let handle = runtime.block_on(loading).unwrap();
        for lines in messages {
            let told = lines.join("\n");
            let by_host = native.handle(told.as_str()).unwrap().unwrap();
            let by_engine = runtime.block_on(ask(&engine, &handle, told));
            prop_assert_eq!(by_host.text().unwrap(), by_engine);
        }
        runtime.block_on(engine.unload_component(&handle)).unwrap();
        Ok(())
    });
    outcome.unwrap();
}
