//! What there is, as JSON.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use wasm_core::{ComponentUsage, Permissions};
use wasm_host::{ComponentStatus, DeadLetter};

use crate::cluster::{ClusterDeadLetter, ClusterNode};

/// Components, in the order of their ids.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ComponentList {
    pub(crate) components: Vec<ComponentView>,
    /// What `after` is to be for those that come after these; absent when there are no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

/// A component at one moment.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ComponentView {
    /// `namespace/name/instance`.
    id: String,
    /// As its manifest says.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// `starting`, `ready`, `busy`, `asleep`, `restarting`, `swapping`, `quarantined` or
    /// `unloading`.
    phase: String,
    /// As it said when it was last asked: `healthy`, `degraded`, `unhealthy` or `unknown`.
    health: String,
    /// Messages that wait for it.
    waiting: usize,
    /// Messages that it has handled.
    handled: u64,
    /// How often it failed.
    failures: u64,
    /// How often it was replaced by another version.
    swaps: u64,
    /// Of its latest failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    /// What it has used; absent before there is an instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageView>,
    /// What it may do now; only where one component is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    permissions: Option<PermissionsView>,
    /// What it was loaded with, up to which they can be given back; as above.
    #[serde(skip_serializing_if = "Option::is_none")]
    granted: Option<PermissionsView>,
}

/// What a component has used since it was loaded.
#[derive(Debug, Serialize, JsonSchema)]
struct UsageView {
    /// Its memories and tables now, in bytes.
    memory_bytes: u64,
    /// The most that they have been.
    peak_memory_bytes: u64,
    /// Fuel of the latest call.
    last_call_fuel: u64,
    /// Fuel of all calls.
    total_fuel: u64,
    calls: u64,
    traps: u64,
    timeouts: u64,
    restarts: u64,
    /// Memory of the host that is kept for its code and types, in bytes.
    kept_bytes: u64,
}

impl ComponentView {
    pub(crate) fn new(status: &ComponentStatus) -> Self {
        Self {
            id: status.id.to_string(),
            version: status.version.clone(),
            phase: status.phase.to_string(),
            health: status.health.to_string(),
            waiting: status.waiting,
            handled: status.handled,
            failures: status.failures,
            swaps: status.swaps,
            cause: status.cause.as_ref().map(ToString::to_string),
            usage: status.usage.as_ref().map(UsageView::new),
            permissions: None,
            granted: None,
        }
    }

    pub(crate) fn with_permissions(
        mut self,
        in_force: Option<&Permissions>,
        granted: Option<&Permissions>,
    ) -> Self {
        self.permissions = in_force.map(PermissionsView::new);
        self.granted = granted.map(PermissionsView::new);
        self
    }
}

impl UsageView {
    fn new(usage: &ComponentUsage) -> Self {
        Self {
            memory_bytes: usage.memory_bytes,
            peak_memory_bytes: usage.peak_memory_bytes,
            last_call_fuel: usage.last_call_fuel,
            total_fuel: usage.total_fuel,
            calls: usage.calls,
            traps: usage.traps,
            timeouts: usage.timeouts,
            restarts: usage.restarts,
            kept_bytes: usage.kept.bytes,
        }
    }
}

/// What a component may do, as `[permissions]` of a manifest has it. What is absent is denied.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PermissionsView {
    /// Whom it may send messages to, such as `demo/*/*`.
    send: Vec<String>,
    /// Whom it may send requests to.
    request: Vec<String>,
    /// Whom its broadcasts may reach.
    broadcast: Vec<String>,
    /// Bytes that it may keep in the store; the quota itself cannot be changed.
    storage: Option<u64>,
    /// The most verbose level that is kept.
    log: Option<String>,
    /// Where it may send HTTP requests, such as `https://api.example.com`.
    http: Vec<String>,
    /// Which interfaces of the embedder it may use, such as `acme:shop/*`.
    imports: Vec<String>,
    /// How much it was granted through WASI, which is not changed here.
    #[serde(skip_deserializing)]
    wasi: usize,
}

impl PermissionsView {
    pub(crate) fn new(permissions: &Permissions) -> Self {
        fn texts<T: ToString>(patterns: &[T]) -> Vec<String> {
            patterns.iter().map(ToString::to_string).collect()
        }
        Self {
            send: texts(&permissions.send),
            request: texts(&permissions.request),
            broadcast: texts(&permissions.broadcast),
            storage: permissions.storage,
            log: permissions.log.map(|level| level.to_string()),
            http: texts(&permissions.http),
            imports: texts(&permissions.imports),
            wasi: permissions.wasi.len(),
        }
    }

    /// These in place of those in force, of which what concerns WASI stays; or what is no
    /// permission.
    pub(crate) fn into_permissions(self, in_force: &Permissions) -> Result<Permissions, String> {
        fn parsed<T: std::str::FromStr<Err: ToString>>(texts: &[String]) -> Result<Vec<T>, String> {
            let parsed = texts.iter().map(|text| text.parse());
            parsed
                .collect::<Result<_, T::Err>>()
                .map_err(|error| error.to_string())
        }
        let mut permissions = Permissions::default();
        permissions.send = parsed(&self.send)?;
        permissions.request = parsed(&self.request)?;
        permissions.broadcast = parsed(&self.broadcast)?;
        permissions.storage = self.storage;
        let log = self.log.map(|level| level.parse()).transpose();
        permissions.log = log.map_err(|error: wasm_core::InvalidLogLevel| error.to_string())?;
        permissions.http = parsed(&self.http)?;
        permissions.imports = parsed(&self.imports)?;
        permissions.wasi.clone_from(&in_force.wasi);
        Ok(permissions)
    }
}

/// Messages that could not be handled, the oldest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DeadLetterList {
    pub(crate) dead_letters: Vec<DeadLetterView>,
}

/// A message that could not be handled. What it says is read by its number.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DeadLetterView {
    /// By which it is delivered again.
    number: u64,
    from: String,
    to: String,
    /// `message`, `request`, `callback`, `timer` or `call`.
    kind: String,
    /// The type of the message, as far as its first `?`: what follows in that of an HTTP
    /// request may be a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    message_type: Option<String>,
    /// Of the payload.
    bytes: usize,
    /// Why it was not handled, as a word.
    cause: String,
    /// The same as a sentence.
    text: String,
    /// When it was given up, in milliseconds since 1970.
    at: u64,
    /// How often it was a dead letter before.
    redeliveries: u32,
}

impl DeadLetterView {
    pub(crate) fn new(letter: &DeadLetter) -> Self {
        let message = &letter.message;
        Self {
            number: letter.number,
            from: message.sender.to_string(),
            to: message.recipient.to_string(),
            kind: letter.kind.to_string(),
            message_type: message.message_type.as_deref().map(without_query),
            bytes: letter.payload_bytes,
            cause: letter.cause.as_str().to_owned(),
            text: letter.cause.to_string(),
            at: letter.timestamp.as_millis(),
            redeliveries: letter.redeliveries,
        }
    }
}

pub(crate) fn without_query(message_type: &str) -> String {
    let end = message_type.find('?').unwrap_or(message_type.len());
    message_type[..end].to_owned()
}

/// All hosts of which this is one, in the order of their names.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct NodeList {
    pub(crate) nodes: Vec<ClusterNode>,
}

/// The latest messages that none of the hosts could have handled, the oldest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct NodeDeadLetterList {
    pub(crate) dead_letters: Vec<ClusterDeadLetter>,
}

/// What came of something that was done.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Done {
    /// `loaded`, `swapped`, `restarted`, `unloaded`, `redelivered` or `permissions-changed`.
    pub(crate) done: &'static str,
    /// What did not go well beside that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) warning: Option<String>,
}
