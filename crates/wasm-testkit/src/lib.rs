//! Tests code written against the traits of `wasm-core`, and proves what implements
//! them: engines and services that need no WebAssembly, and suites for those that do.
//!
//! | in place of | use |
//! |---|---|
//! | [`RuntimeEngine`](wasm_core::RuntimeEngine), its answers given by the test | [`mock::scripted`], [`mock::unordered`], [`mock::pair`] |
//! | [`RuntimeEngine`](wasm_core::RuntimeEngine), running the components of [`wasm_fixtures`] | [`ModelEngine`] |
//! | an engine, router, storage or loader that never fails | [`Faulty`] |
//! | [`ComponentLoader`](wasm_core::ComponentLoader) | [`MemoryLoader`] |
//! | [`ComponentStorage`](wasm_core::ComponentStorage) | [`MemoryStorage`] |
//! | [`ComponentDirectory`](wasm_core::ComponentDirectory) | [`MemoryDirectory`] |
//! | [`MessageRouter`](wasm_core::MessageRouter) | [`RecordingRouter`] |
//! | [`SecurityValidator`](wasm_core::SecurityValidator) | [`RecordingValidator`] |
//! | [`Clock`](wasm_core::Clock) | [`ManualClock`] |
//!
//! | to prove | use |
//! |---|---|
//! | an engine | [`conformance`] |
//! | an engine, in sequences of operations that no one would think of | [`properties`] |
//! | a storage, router, validator, directory, clock or loader | [`suites`] |
//!
//! What is in this table has the feature `prove`, which is on unless a package turns
//! `default-features` off.
//!
//! `docs/testing.md` in the repository is the guide to both, with whole programs.
//!
//! Each service keeps the contract of its trait and never waits. Share one between a
//! test and an engine in an [`Arc`](std::sync::Arc):
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use wasm_core::HostServices;
//! use wasm_testkit::{ManualClock, RecordingRouter};
//!
//! let clock = Arc::new(ManualClock::new());
//! let router = Arc::new(RecordingRouter::new());
//! let services = HostServices::default()
//!     .with_clock(clock.clone())
//!     .with_router(router.clone());
//!
//! clock.advance(Duration::from_secs(5));
//! assert_eq!(services.clock.now().seconds, 5);
//! assert_eq!(router.calls(), []);
//! ```

/// The example there is compiled, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod clock;
#[cfg(feature = "prove")]
pub mod conformance;
mod directory;
pub mod errors;
mod faults;
mod loader;
mod lock;
mod method;
pub mod mock;
mod model;
#[cfg(test)]
mod poll;
#[cfg(feature = "prove")]
pub mod properties;
mod router;
#[cfg(feature = "prove")]
mod suite;
#[cfg(feature = "prove")]
pub mod suites;
mod validator;

pub use clock::ManualClock;
pub use directory::MemoryDirectory;
pub use faults::{Fault, Faulty};
pub use loader::MemoryLoader;
pub use method::Method;
pub use model::{ModelEngine, OwnAnswer};
pub use router::{RecordingRouter, RouterCall};
#[cfg(feature = "prove")]
pub use suite::{Broken, Case, Conditions, Runner, Time};
pub use validator::RecordingValidator;
pub use wasm_core::MemoryStorage;
pub use wasm_fixtures;

/// Holds the examples of the guide to what is here.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/testing.md")]
struct Guide;
