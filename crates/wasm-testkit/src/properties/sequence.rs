//! What a sequence consists of, and how a test writes one.

use std::time::Duration;

use wasm_core::{
    ComponentConfig, ComponentId, ComponentMessage, LogLevel, MessagePayload, Permissions,
    ResourceLimits, Timestamp,
};
use wasm_fixtures::Fixture;

/// How many components a sequence knows at a time.
pub const SLOTS: usize = 4;

/// Time per call of a component that does not hang: it takes none, and what comes of
/// it does not depend on how fast the machine is.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// Operations, one after the other.
///
/// A component is known by its slot, a number below [`SLOTS`]: the latest that was
/// loaded there without an error, also once it is unloaded. Others panic when run.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Sequence {
    operations: Vec<Operation>,
}

/// One step of a [`Sequence`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// See [`Sequence::load`].
    Load(Box<Load>),
    /// See [`Sequence::unload`].
    Unload(usize),
    /// See [`Sequence::usage`].
    Usage(usize),
    /// See [`Sequence::drop_message`].
    DropMessage(usize, ComponentMessage),
    /// See [`Sequence::batch`].
    Batch(Vec<Call>),
    /// See [`Sequence::held`].
    Held(Vec<Call>, Vec<usize>),
    /// See [`Sequence::troubled`].
    Troubled(Trouble, Call),
    /// See [`Sequence::deliver`].
    Deliver,
    /// See [`Sequence::set_clock`].
    SetClock(Timestamp),
    /// Waits for a call to end.
    Call(Call),
}

/// What [`Sequence::load`] does.
#[derive(Debug, Clone)]
pub struct Load {
    /// Under which the component is known from now on.
    pub slot: usize,
    /// Which.
    pub fixture: Fixture,
    /// Its id.
    pub id: ComponentId,
    /// What it is loaded with.
    pub config: ComponentConfig,
    /// Whether it is prepared first, and the preparation kept until it is loaded.
    pub prepared: bool,
}

impl PartialEq for Load {
    fn eq(&self, other: &Self) -> bool {
        let all = |load: &Self| (load.slot, load.fixture.name, load.prepared);
        (all(self), &self.id, &self.config) == (all(other), &other.id, &other.config)
    }
}

impl Eq for Load {}

/// What takes its turn among the calls of the component in a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are the methods of the engine")]
pub enum Call {
    Message(usize, ComponentMessage),
    Callback(usize, ComponentMessage),
    Restart(usize),
    Health(usize),
    Metadata(usize),
}

impl Call {
    pub(super) fn slot(&self) -> usize {
        match self {
            Self::Message(slot, _) | Self::Callback(slot, _) => *slot,
            Self::Restart(slot) | Self::Health(slot) | Self::Metadata(slot) => *slot,
        }
    }
}

/// How a service that a component calls goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The validator takes back what it is asked about.
    Denial,
    /// A router answers `queue-full`, a storage `io-error`.
    Refusal,
    /// A router, storage or directory panics.
    Panic,
    /// A router, storage or directory never answers.
    Hang,
}

impl Sequence {
    /// Without any operation.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What it does.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Loads a component and, if it works, leaves what was in the slot to itself.
    ///
    /// # Panics
    /// If `id` is not an id, or there is no such slot.
    #[must_use]
    pub fn load(self, slot: usize, fixture: Fixture, id: &str, config: ComponentConfig) -> Self {
        self.load_with(slot, fixture, id, config, false)
    }

    /// The same, and prepares the component first. An engine that refuses to prepare it
    /// must refuse to load it in the same way.
    ///
    /// # Panics
    /// If `id` is not an id, or there is no such slot.
    #[must_use]
    pub fn load_prepared(
        self,
        slot: usize,
        fixture: Fixture,
        id: &str,
        config: ComponentConfig,
    ) -> Self {
        self.load_with(slot, fixture, id, config, true)
    }

    fn load_with(
        self,
        slot: usize,
        fixture: Fixture,
        id: &str,
        config: ComponentConfig,
        prepared: bool,
    ) -> Self {
        assert!(slot < SLOTS, "there are {SLOTS} slots");
        self.then(Operation::Load(Box::new(Load {
            slot,
            fixture,
            id: parse_id(id),
            config,
            prepared,
        })))
    }

    /// Sends a message and waits for the answer.
    #[must_use]
    pub fn message(self, slot: usize, message: ComponentMessage) -> Self {
        self.then(Operation::Call(Call::Message(slot, message)))
    }

    /// Sends the answer to a request and waits.
    #[must_use]
    pub fn callback(self, slot: usize, message: ComponentMessage) -> Self {
        self.then(Operation::Call(Call::Callback(slot, message)))
    }

    /// Restarts the component.
    #[must_use]
    pub fn restart(self, slot: usize) -> Self {
        self.then(Operation::Call(Call::Restart(slot)))
    }

    /// Asks the component for its health.
    #[must_use]
    pub fn health(self, slot: usize) -> Self {
        self.then(Operation::Call(Call::Health(slot)))
    }

    /// Asks the component for its metadata.
    #[must_use]
    pub fn metadata(self, slot: usize) -> Self {
        self.then(Operation::Call(Call::Metadata(slot)))
    }

    /// Sends a message, but stops waiting once the call has begun, and then asks for
    /// the health, which waits for its end.
    #[must_use]
    pub fn drop_message(self, slot: usize, message: ComponentMessage) -> Self {
        self.then(Operation::DropMessage(slot, message))
    }

    /// Makes calls at once, begun in this order, and waits for all. Not to components
    /// with one id: who is first at their store is not determined.
    #[must_use]
    pub fn batch(self, calls: impl Into<Vec<Call>>) -> Self {
        self.then(Operation::Batch(calls.into()))
    }

    /// Makes calls at once as [`batch`](Self::batch) does, while routers and stores hold
    /// up whoever calls them, so that the calls behind those wait. Once all that can has
    /// been done, drops those of `dropped`, places in `calls`, that wait in a service or
    /// behind one that does; lets the services go on; and waits for the others.
    #[must_use]
    pub fn held(self, calls: impl Into<Vec<Call>>, dropped: impl Into<Vec<usize>>) -> Self {
        self.then(Operation::Held(calls.into(), dropped.into()))
    }

    /// Makes a call in which the first service that is called goes wrong.
    #[must_use]
    pub fn troubled(self, trouble: Trouble, call: Call) -> Self {
        self.then(Operation::Troubled(trouble, call))
    }

    /// Hands over what components have sent since, each message to every slot that has
    /// its recipient's id, and the answer to a request to who made it.
    #[must_use]
    pub fn deliver(self) -> Self {
        self.then(Operation::Deliver)
    }

    /// Sets the clock that components are told the time by, at first the epoch.
    #[must_use]
    pub fn set_clock(self, now: Timestamp) -> Self {
        self.then(Operation::SetClock(now))
    }

    /// Unloads the component.
    #[must_use]
    pub fn unload(self, slot: usize) -> Self {
        self.then(Operation::Unload(slot))
    }

    /// Asks the engine for the usage, as is done for every slot at the end.
    #[must_use]
    pub fn usage(self, slot: usize) -> Self {
        self.then(Operation::Usage(slot))
    }

    fn then(mut self, operation: Operation) -> Self {
        self.operations.push(operation);
        self
    }
}

impl From<Vec<Operation>> for Sequence {
    fn from(operations: Vec<Operation>) -> Self {
        Self { operations }
    }
}

/// What a component of a sequence is loaded with: no permissions, and [`TIMEOUT`].
///
/// # Panics
/// If a limit is out of range.
pub fn config(memory_bytes: u64, fuel: Option<u64>) -> ComponentConfig {
    config_of(TIMEOUT, memory_bytes, fuel)
}

/// The same with another timeout, for a component that hangs.
///
/// # Panics
/// If a limit is out of range.
pub fn config_within(millis: u64, memory_bytes: u64, fuel: Option<u64>) -> ComponentConfig {
    config_of(Duration::from_millis(millis), memory_bytes, fuel)
}

fn config_of(timeout: Duration, memory_bytes: u64, fuel: Option<u64>) -> ComponentConfig {
    let limits = ResourceLimits::new(memory_bytes, timeout, fuel);
    ComponentConfig::new(limits.expect("the limits are in range"))
}

/// Messages to everybody, every log level, and a store for this many bytes.
pub fn everything(storage: u64) -> Permissions {
    let everybody = || vec!["*/*/*".parse().expect("it is a pattern")];
    let mut permissions = Permissions::default();
    permissions.send = everybody();
    permissions.request = everybody();
    permissions.broadcast = everybody();
    permissions.storage = Some(storage);
    permissions.log = Some(LogLevel::Trace);
    permissions
}

/// A message from this sender, whose recipient is the same.
///
/// # Panics
/// If `sender` is not an id.
pub fn message(sender: &str, payload: impl Into<MessagePayload>) -> ComponentMessage {
    let sender = parse_id(sender);
    ComponentMessage::new(sender.clone(), sender, payload)
}

fn parse_id(text: &str) -> ComponentId {
    let id = text.parse();
    id.unwrap_or_else(|error| panic!("{error}"))
}
