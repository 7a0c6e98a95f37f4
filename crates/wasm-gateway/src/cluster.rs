//! The other hosts, if this one is one of several: what is told of all of them.

use std::fmt::{self, Display};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Serialize;

/// Knows all hosts that share the components of this one. How they know of each other is not this
/// crate's affair.
#[async_trait]
pub trait Cluster: Send + Sync + 'static {
    /// How they are, this one among them, in the order of their names.
    ///
    /// # Errors
    /// [`ClusterError`].
    async fn nodes(&self) -> Result<Vec<ClusterNode>, ClusterError>;

    /// The latest messages that none of them could have handled, at most so many, the oldest
    /// first.
    ///
    /// # Errors
    /// [`ClusterError`].
    async fn dead_letters(&self, limit: usize) -> Result<Vec<ClusterDeadLetter>, ClusterError>;

    /// What happens on all of them from now on, but for messages that were handled.
    ///
    /// # Errors
    /// [`ClusterError`].
    async fn events(&self) -> Result<Box<dyn ClusterEvents>, ClusterError>;
}

/// Events of all hosts of a [`Cluster`], one after the other.
#[async_trait]
pub trait ClusterEvents: Send + 'static {
    /// The next; `None` when there are no more. Dropping the future must lose none. For those that
    /// were missed there is one of the kind `missed`.
    async fn next(&mut self) -> Option<ClusterEvent>;
}

/// Why it is not known how the other hosts are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterError(String);

impl ClusterError {
    /// In one line.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ClusterError {}

/// One of the hosts.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct ClusterNode {
    /// Its name.
    pub node: String,
    /// How many partitions it owns, into which components are divided.
    pub partitions: usize,
    /// The patterns whose components it has, unless it has whatever there is.
    pub only: Vec<String>,
    /// How many components there are that no running node may have, as far as it sees.
    pub homeless: usize,
    /// Some of these.
    pub first_homeless: Vec<String>,
    /// Its components, in the order of their ids.
    pub components: Vec<ClusterComponent>,
}

/// A component of one of the hosts.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct ClusterComponent {
    /// `namespace/name/instance`.
    pub id: String,
    /// `starting`, `ready`, `busy`, `asleep`, `restarting`, `swapping`, `quarantined` or
    /// `unloading`.
    pub phase: String,
    /// As it said when it was last asked: `healthy`, `degraded`, `unhealthy` or `unknown`.
    pub health: String,
    /// Messages that wait for it there.
    pub waiting: u64,
    /// Messages that it has handled there.
    pub handled: u64,
    /// How often it failed there.
    pub failures: u64,
    /// What it has used there; absent before there is an instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<ClusterUsage>,
}

/// What a component of one of the hosts has used there.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct ClusterUsage {
    /// Its memories and tables now, in bytes.
    pub memory_bytes: u64,
    /// Fuel of all calls.
    pub total_fuel: u64,
}

/// A message that could not be handled on one of the hosts. What it says is not told.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct ClusterDeadLetter {
    /// Larger than those of all before it.
    pub number: u64,
    /// On which.
    pub node: String,
    /// Who sent it.
    pub from: String,
    /// Whom it was for.
    pub to: String,
    /// The type of the message, as far as its first `?`: what follows in that of an HTTP request
    /// may be a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_type: Option<String>,
    /// Of the payload.
    pub bytes: u64,
    /// Why it was not handled, as a word.
    pub cause: String,
    /// The same as a sentence.
    pub text: String,
    /// When it was given up, in milliseconds since 1970.
    pub at: u64,
}

/// Something that happened on one of the hosts.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct ClusterEvent {
    /// On which; empty where events of any of them were missed.
    pub node: String,
    /// What it was, such as `failed` or `dead-letter`.
    pub kind: String,
    /// When it was told, in milliseconds since 1970, by the clock of that host.
    pub at: u64,
    /// One line for people.
    pub text: String,
    /// The component that it is about: of a message, the one that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
}
