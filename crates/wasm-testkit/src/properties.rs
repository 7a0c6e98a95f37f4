//! Sequences of operations that no one would think of, run against an engine and
//! against [`ModelEngine`](crate::ModelEngine).
//!
//! [`Plan::check`] makes up sequences of loads, prepared ones included, messages,
//! callbacks, restarts, unloads, concurrent batches, calls that wait behind others and
//! are dropped at any point, and services that refuse, panic or hang, among components
//! that send to each other and share stores, and compares what comes of each operation: the
//! kind of error with what it names, answers, what each component sends, and in the usage state, memory,
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

mod code;
mod compare;
mod generate;
mod sequence;
mod services;

use std::env;
use std::ffi::OsStr;
use std::fmt::{self, Display};
use std::num::{NonZeroU32, NonZeroUsize};
use std::panic::resume_unwind;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use proptest::strategy::Strategy;
use proptest::test_runner::{
    Config, FileFailurePersistence, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner,
};

use crate::Time;
use crate::conformance::Harness;

pub use self::compare::Difference;
pub use self::generate::sequences;
pub use self::sequence::{
    Call, Load, Operation, SLOTS, Sequence, TIMEOUT, Trouble, config, config_within, everything,
    message,
};

/// Says how many sequences [`Plan::from_env`] runs.
pub const CASES_VARIABLE: &str = "WASM_TESTKIT_CASES";

/// Says with which seed [`Plan::from_env`] begins.
pub const SEED_VARIABLE: &str = "WASM_TESTKIT_SEED";

/// Says how many operations a sequence of [`Plan::from_env`] has.
pub const OPERATIONS_VARIABLE: &str = "WASM_TESTKIT_OPERATIONS";

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
    /// without [`Feature::Fuel`](crate::conformance::Feature::Fuel) among components that need
    /// no limit to end. As many sequences are run at a time as there are processors, each
    /// with an engine of its own.
    ///
    /// # Errors
    /// The first sequence that differs, made as short as it can be.
    ///
    /// # Panics
    /// As the harness does.
    pub fn run<H: Harness>(&self, harness: &H) -> Result<(), Box<Counterexample>> {
        let at_a_time = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let next = AtomicU32::new(0);
        let first = Mutex::new(None);
        thread::scope(|scope| {
            let threads: Vec<_> = (0..at_a_time)
                .map(|_| scope.spawn(|| self.run_next(&next, &first, harness)))
                .collect();
            for thread in threads {
                thread.join().unwrap_or_else(|panic| resume_unwind(panic));
            }
        });
        let first = first.into_inner().unwrap_or_else(PoisonError::into_inner);
        first.map_or(Ok(()), |(_, found)| Err(found))
    }

    /// One sequence after the other, until there is none before the first that differs.
    fn run_next<H: Harness>(
        &self,
        next: &AtomicU32,
        first: &Mutex<Option<(u32, Box<Counterexample>)>>,
        harness: &H,
    ) {
        let sequences = sequences(self.operations, harness.features(), self.time);
        let first = || first.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let case = next.fetch_add(1, Ordering::Relaxed);
            let end = first().as_ref().map_or(self.cases, |(case, _)| *case);
            if case >= end {
                return;
            }
            let seed = self.seed.wrapping_add(case.into());
            if let Err(found) = self.run_one(seed, &sequences, harness) {
                let mut first = first();
                if first.as_ref().is_none_or(|(other, _)| case < *other) {
                    *first = Some((case, found));
                }
            }
        }
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
