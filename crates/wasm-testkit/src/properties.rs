//! Sequences of operations that no one would think of, run against an engine and
//! against [`ModelEngine`](crate::ModelEngine).
//!
//! [`Plan::check`] makes up sequences of loads, prepared ones included, messages,
//! callbacks, restarts, unloads, concurrent batches, calls that wait behind others and
//! are dropped at any point, and services that refuse, panic or hang, among components
//! that send to each other and share stores, and compares what comes of each operation: the kind of error with
//! what it names, answers, what each component sends, and in the usage state, memory,
//! calls, traps, timeouts and restarts. What a model cannot know, such as fuel consumed
//! and the texts of traps, is not compared. A sequence in which an engine differs is
//! made as short as it can be and printed as a Rust test to paste:
//!
//! ```
//! use std::sync::Arc;
//!
//! use wasm_core::HostServices;
//! use wasm_testkit::conformance::{Feature, Harness, Settings};
//! use wasm_testkit::properties::{Plan, Sequence, config, message};
//! use wasm_testkit::wasm_fixtures;
//! # use wasm_testkit::ModelEngine as MyEngine;
//!
//! struct Mine;
//!
//! impl Harness for Mine {
//!     type Engine = MyEngine;
//!
//!     fn engine(&self, services: HostServices, _: Settings) -> Arc<MyEngine> {
//!         Arc::new(MyEngine::new(services))
//!     }
//!
//!     fn features(&self) -> &[Feature] {
//!         &[Feature::Fuel]
//!     }
//! }
//!
//! // In a test: as many sequences as WASM_TESTKIT_CASES says.
//! # let few = || Plan { cases: 2, ..Plan::from_env() };
//! # few().check(&Mine);
//! # let _ = |_: ()| {
//! Plan::from_env().check(&Mine);
//! # };
//!
//! // What is printed looks like this.
//! Sequence::new()
//!     .load(0, wasm_fixtures::COUNTER, "demo/a/main", config(524288, None))
//!     .message(0, message("demo/a/main", "hello"))
//!     .restart(0)
//!     .message(0, message("demo/a/main", "hello"))
//!     .check(&Mine);
//! ```

pub mod strategies;

mod compare;
mod generate;
mod services;

use std::env;
use std::ffi::OsStr;
use std::fmt::{self, Debug, Display, Write};
use std::num::{NonZeroU32, NonZeroUsize};
use std::str::FromStr;
use std::time::Duration;

use proptest::strategy::Strategy;
use proptest::test_runner::{
    Config, FileFailurePersistence, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner,
};

use wasm_core::{
    ComponentConfig, ComponentId, ComponentMessage, LogLevel, MessagePayload, Permissions,
    ResourceLimits, Timestamp,
};
use wasm_fixtures::Fixture;

use crate::Time;
use crate::conformance::Harness;

pub use self::compare::Difference;
pub use self::generate::sequences;

/// Says how many sequences [`Plan::from_env`] runs.
pub const CASES_VARIABLE: &str = "WASM_TESTKIT_CASES";

/// Says with which seed [`Plan::from_env`] begins.
pub const SEED_VARIABLE: &str = "WASM_TESTKIT_SEED";

/// Says how many operations a sequence of [`Plan::from_env`] has.
pub const OPERATIONS_VARIABLE: &str = "WASM_TESTKIT_OPERATIONS";

/// How many components a sequence knows at a time.
pub const SLOTS: usize = 4;

/// Time per call of a component that does not hang: it takes none, and what comes of
/// it does not depend on how fast the machine is.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// How long a counterexample is made shorter and simpler at the most.
const MAX_SHRINK_MILLIS: u32 = 120_000;

/// How many sequences are run, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// How many sequences.
    pub cases: u32,
    /// Of the first sequence; the next ones have the numbers that follow.
    pub seed: u64,
    /// How many operations each has.
    pub operations: usize,
    /// What the engine's timers follow. Where they follow a clock that is paused,
    /// components hang more often, and so do services.
    pub time: Time,
}

impl Default for Plan {
    /// 64 sequences of 50 operations, always the same.
    fn default() -> Self {
        Self {
            cases: 64,
            seed: 0,
            operations: 50,
            time: Time::Real,
        }
    }
}

impl Plan {
    /// The default, except for what [`CASES_VARIABLE`], [`SEED_VARIABLE`] and
    /// [`OPERATIONS_VARIABLE`] say.
    ///
    /// # Panics
    /// If one of them is not a number, or there is nothing to run.
    #[must_use]
    pub fn from_env() -> Self {
        let default = Self::default();
        Self {
            cases: variable(CASES_VARIABLE).map_or(default.cases, NonZeroU32::get),
            seed: variable(SEED_VARIABLE).unwrap_or(default.seed),
            operations: variable(OPERATIONS_VARIABLE).map_or(default.operations, NonZeroUsize::get),
            time: default.time,
        }
    }

    /// Looks for a sequence in which the engines of `harness` differ from the model,
    /// without [`Feature::Fuel`](crate::conformance::Feature::Fuel) among components that need no limit to end.
    ///
    /// # Errors
    /// The shortest sequence that was found.
    pub fn run<H: Harness>(&self, harness: &H) -> Result<(), Box<Counterexample>> {
        let sequences = sequences(self.operations, harness.features(), self.time);
        for case in 0..self.cases {
            let seed = self.seed.wrapping_add(case.into());
            self.run_one(seed, &sequences, harness)?;
        }
        Ok(())
    }

    fn run_one<H: Harness>(
        &self,
        seed: u64,
        sequences: &impl Strategy<Value = Sequence>,
        harness: &H,
    ) -> Result<(), Box<Counterexample>> {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let config = Config {
            failure_persistence: None::<FileFailurePersistence>.map(|never| Box::new(never) as _),
            // The largest number would stand for some small one.
            max_shrink_iters: u32::MAX - 1,
            max_shrink_time: MAX_SHRINK_MILLIS,
            ..Config::default()
        };
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(config, rng);
        let tree = sequences.new_tree(&mut runner);
        let tree = tree.expect("nothing that is generated is rejected");
        let outcome = runner.run_one(tree, |sequence| {
            let compared = sequence.compare_in(self.time, harness);
            compared.map_err(|difference| TestCaseError::fail(difference.to_string()))
        });
        match outcome {
            Ok(_) => Ok(()),
            Err(TestError::Fail(reason, sequence)) => Err(Box::new(Counterexample {
                seed,
                operations: self.operations,
                sequence,
                difference: reason.message().to_owned(),
            })),
            Err(TestError::Abort(reason)) => panic!("sequence {seed} was not run: {reason}"),
        }
    }

    /// [`run`](Self::run) for a test.
    ///
    /// # Panics
    /// With the counterexample, if there is one.
    pub fn check<H: Harness>(&self, harness: &H) {
        if let Err(counterexample) = self.run(harness) {
            panic!("{counterexample}");
        }
    }
}

fn variable<T: FromStr>(name: &str) -> Option<T> {
    env::var_os(name).map(|value| number(name, &value))
}

fn number<T: FromStr>(name: &str, value: &OsStr) -> T {
    let number = value.to_str().and_then(|text| text.parse().ok());
    number.unwrap_or_else(|| panic!("{name} is not a number that fits: {value:?}"))
}

/// A sequence in which an engine is not like the model; prints as a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counterexample {
    /// With which it was found, before it was made shorter.
    pub seed: u64,
    /// How many it had then.
    pub operations: usize,
    /// As short as it could be made.
    pub sequence: Sequence,
    /// What differs at its end.
    pub difference: String,
}

impl Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            operations,
            sequence,
            difference,
        } = self;
        write!(
            f,
            "the engine is not like the model: {difference}\n\n\
             Found with {CASES_VARIABLE}=1 {SEED_VARIABLE}={seed} \
             {OPERATIONS_VARIABLE}={operations}; as a test, with the harness of the \
             engine:\n\n{sequence}"
        )
    }
}

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
    fn slot(&self) -> usize {
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

    /// Runs it on a fresh engine of `harness` and on a model.
    ///
    /// # Errors
    /// The first operation of which they do not make the same.
    pub fn compare<H: Harness>(&self, harness: &H) -> Result<(), Difference> {
        self.compare_in(Time::Real, harness)
    }

    /// [`compare`](Self::compare), with the engine on this clock.
    ///
    /// # Errors
    /// The first operation of which they do not make the same.
    pub fn compare_in<H: Harness>(&self, time: Time, harness: &H) -> Result<(), Difference> {
        compare::compare(self, harness, time)
    }

    /// [`compare`](Self::compare) for a test.
    ///
    /// # Panics
    /// With the difference, if there is one.
    pub fn check<H: Harness>(&self, harness: &H) {
        if let Err(difference) = self.compare(harness) {
            panic!("the engine is not like the model: {difference}");
        }
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

/// The same as [`Display`], which is the form to read.
impl Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// As a test, to be pasted next to a harness `Mine`.
impl Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut steps = String::new();
        for operation in &self.operations {
            writeln!(steps, "        {operation}")?;
        }
        f.write_str("#[test]\nfn behaves_like_the_model() {\n")?;
        let mut names = vec!["Sequence"];
        let helpers = [
            ("Call", "Call::"),
            ("Trouble", "Trouble::"),
            ("config", " config("),
            ("config_within", " config_within("),
            ("everything", "(everything("),
            ("message", " message("),
        ];
        let used = helpers
            .into_iter()
            .filter(|(_, use_of)| steps.contains(use_of));
        names.extend(used.map(|(name, _)| name));
        names.sort_unstable();
        match &names[..] {
            [only] => writeln!(f, "    use wasm_testkit::properties::{only};")?,
            all => writeln!(
                f,
                "    use wasm_testkit::properties::{{{}}};",
                all.join(", ")
            )?,
        }
        if steps.contains(" wasm_fixtures::") {
            f.write_str("    use wasm_testkit::wasm_fixtures;\n")?;
        }
        write!(f, "\n    Sequence::new()\n{steps}")?;
        f.write_str("        .check(&Mine);\n}\n")
    }
}

impl Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(load) => {
                let Load {
                    slot,
                    fixture,
                    id,
                    config,
                    prepared,
                } = &**load;
                let constant = fixture.name.to_uppercase().replace('-', "_");
                let config = Code(config);
                let load = if *prepared { "load_prepared" } else { "load" };
                write!(
                    f,
                    ".{load}({slot}, wasm_fixtures::{constant}, \"{id}\", {config})"
                )
            }
            Self::Unload(slot) => write!(f, ".unload({slot})"),
            Self::Usage(slot) => write!(f, ".usage({slot})"),
            Self::DropMessage(slot, message) => {
                write!(f, ".drop_message({slot}, {})", Code(message))
            }
            Self::Batch(calls) => write!(f, ".batch({})", Code(calls)),
            Self::Held(calls, dropped) => write!(f, ".held({}, {dropped:?})", Code(calls)),
            Self::Troubled(trouble, call) => {
                write!(f, ".troubled(Trouble::{trouble:?}, Call::{})", Code(call))
            }
            Self::Deliver => f.write_str(".deliver()"),
            Self::SetClock(now) => write!(f, ".set_clock({})", Code(now)),
            Self::Call(call) => {
                let code = Code(call).to_string();
                // The methods are named as the cases, in lower case.
                let (first, rest) = code.split_at(1);
                write!(f, ".{}{rest}", first.to_lowercase())
            }
        }
    }
}

/// An expression of Rust.
struct Code<'a, T>(&'a T);

impl Display for Code<'_, Vec<Call>> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (place, call) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}Call::{}", Code(call))?;
        }
        f.write_str("]")
    }
}

impl Display for Code<'_, Call> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Call::Message(slot, message) => write!(f, "Message({slot}, {})", Code(message)),
            Call::Callback(slot, message) => write!(f, "Callback({slot}, {})", Code(message)),
            Call::Restart(slot) => write!(f, "Restart({slot})"),
            Call::Health(slot) => write!(f, "Health({slot})"),
            Call::Metadata(slot) => write!(f, "Metadata({slot})"),
        }
    }
}

impl Display for Code<'_, ComponentMessage> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.0;
        let (sender, payload) = (message.sender.as_str(), Code(&message.payload));
        write!(f, "message({sender:?}, {payload})")?;
        if let Some(content_type) = &message.message_type {
            write!(f, ".with_message_type({content_type:?})")?;
        }
        if let Some(correlation) = &message.correlation_id {
            write!(f, ".with_correlation_id({:?})", correlation.as_str())?;
        }
        if let Some(reply_to) = &message.reply_to {
            write!(
                f,
                ".with_reply_to({:?}.parse().unwrap())",
                reply_to.as_str()
            )?;
        }
        if message.timestamp != Timestamp::default() {
            write!(f, ".with_timestamp({})", Code(&message.timestamp))?;
        }
        Ok(())
    }
}

impl Display for Code<'_, Timestamp> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Timestamp {
            seconds,
            nanoseconds,
        } = self.0;
        write!(
            f,
            "wasm_core::Timestamp {{ seconds: {seconds}, nanoseconds: {nanoseconds} }}"
        )
    }
}

impl Display for Code<'_, MessagePayload> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.as_bytes();
        match (bytes, str::from_utf8(bytes)) {
            ([first, .., last], _)
                if bytes.len() > 64 && bytes.iter().all(|byte| byte == first) =>
            {
                write!(f, "vec![{last}; {}]", bytes.len())
            }
            (_, Ok(text)) => write!(f, "{text:?}"),
            (_, Err(_)) => write!(f, "vec!{bytes:?}"),
        }
    }
}

impl Display for Code<'_, ComponentConfig> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = self.0;
        let limits = &config.limits;
        let (memory_bytes, fuel) = (limits.memory_bytes(), limits.fuel());
        match limits.timeout() {
            TIMEOUT => write!(f, "config({memory_bytes}, {fuel:?})")?,
            other => {
                let millis = other.as_millis();
                write!(f, "config_within({millis}, {memory_bytes}, {fuel:?})")?;
            }
        }
        for (name, value) in &config.env {
            write!(f, ".with_env({name:?}, {value:?})")?;
        }
        if let Some(data) = &config.config_data {
            write!(f, ".with_config_data({})", Code(data))?;
        }
        if let Some(quota) = config.permissions.storage {
            write!(f, ".with_permissions(everything({quota}))")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_taken_as_it_is() {
        assert_eq!(number::<NonZeroU32>(CASES_VARIABLE, "7".as_ref()).get(), 7);
        assert_eq!(number::<u64>(SEED_VARIABLE, "0".as_ref()), 0);
    }

    #[test]
    #[should_panic(expected = "WASM_TESTKIT_CASES is not a number that fits: \"0\"")]
    fn no_sequences_prove_nothing() {
        number::<NonZeroU32>(CASES_VARIABLE, "0".as_ref());
    }
}
