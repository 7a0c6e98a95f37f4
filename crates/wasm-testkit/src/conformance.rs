//! Proves that an engine keeps the contract of [`RuntimeEngine`].
//!
//! Each [`Case`] proves one sentence of the contract, with components whose
//! behaviour is known ([`wasm_fixtures`]) and services that hold calls up, and
//! quotes the sentence when it does not hold. A case is given nothing but the trait
//! and an engine of its own.
//!
//! To prove an engine, implement [`Harness`] and give it to a [`Runner`] in a test
//! target with `harness = false`:
//!
//! ```no_run,standalone_crate
//! use std::process::ExitCode;
//! use std::sync::Arc;
//!
//! use wasm_core::HostServices;
//! use wasm_testkit::conformance::{Behind, Feature, Harness, Settings};
//! use wasm_testkit::Runner;
//! # use wasm_testkit::ModelEngine as MyEngine;
//!
//! #[derive(Clone)]
//! struct Mine;
//!
//! impl Harness for Mine {
//!     type Engine = MyEngine;
//!
//!     fn engine(&self, services: HostServices, settings: Settings) -> Arc<MyEngine> {
//! #       let _ = settings;
//!         Arc::new(MyEngine::new(services))
//!     }
//!
//!     fn features(&self) -> &[Feature] {
//!         &[Feature::Fuel, Feature::HostPanics]
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     Runner::from_args()
//!         .engine("mine", Mine)
//!         .engine("mine as dyn", Behind(Mine))
//!         .run()
//! }
//! ```

mod bounds;
mod budgets;
mod cancellation;
mod crowds;
mod exports;
mod failure;
mod host_functions;
mod isolation;
mod lab;
mod loading;
mod messages;
mod order;
mod policies;
mod probes;
mod services;
mod spending;
mod timers;
mod unloading;
mod usage;

use std::fmt::{self, Debug};
use std::sync::Arc;

use wasm_core::{HostServices, ResourceLimits, RuntimeEngine};

use crate::suite::{Case, Runner};

/// How the suite comes by engines.
pub trait Harness: Send + Sync + 'static {
    /// What is proven; `dyn RuntimeEngine` is fine.
    type Engine: RuntimeEngine + ?Sized + 'static;

    /// A fresh engine, made inside a tokio runtime.
    fn engine(&self, services: HostServices, settings: Settings) -> Arc<Self::Engine>;

    /// What it can do of what the contract leaves to an engine. A case that needs
    /// more is reported as ignored.
    fn features(&self) -> &[Feature];
}

/// What not every engine can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Feature {
    /// Counts fuel, and stops a guest that has none left.
    Fuel,
    /// Lets its operator raise [`Settings::memory_ceiling_bytes`].
    MemoryCeiling,
    /// Bounds the messages, and the bytes of them, that one call may send.
    MessageBudget,
    /// Survives a service that panics.
    HostPanics,
    /// Links WASI 0.2.
    Wasi,
    /// Runs others beside guests that compute, however many these are.
    Parallel,
    /// Has components with an instance for each call, and with several calls at a time.
    Policies,
}

impl Feature {
    /// Every one of them.
    pub const ALL: [Self; 7] = [
        Self::Fuel,
        Self::MemoryCeiling,
        Self::MessageBudget,
        Self::HostPanics,
        Self::Wasi,
        Self::Parallel,
        Self::Policies,
    ];
}

/// How an engine is to be set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// The largest memory limit that is granted. Other than
    /// [`DEFAULT_MEMORY_CEILING_BYTES`](ResourceLimits::DEFAULT_MEMORY_CEILING_BYTES)
    /// only where [`Feature::MemoryCeiling`] is declared.
    pub memory_ceiling_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            memory_ceiling_bytes: ResourceLimits::DEFAULT_MEMORY_CEILING_BYTES,
        }
    }
}

/// The engines of another harness as `Arc<dyn RuntimeEngine>`, which is how most
/// hosts hold them.
#[derive(Debug, Clone, Copy)]
pub struct Behind<H>(pub H);

impl<H> Harness for Behind<H>
where
    H: Harness,
    H::Engine: Sized,
{
    type Engine = dyn RuntimeEngine;

    fn engine(&self, services: HostServices, settings: Settings) -> Arc<dyn RuntimeEngine> {
        self.0.engine(services, settings)
    }

    fn features(&self) -> &[Feature] {
        self.0.features()
    }
}

/// What a case asks of its engine's type.
trait Engine: RuntimeEngine + 'static {}

impl<E: RuntimeEngine + ?Sized + 'static> Engine for E {}

type Make<E> = dyn Fn(HostServices, Settings) -> Arc<E> + Send + Sync;

/// What a case is given: engines, as many as it needs.
pub struct Lab<E: ?Sized> {
    make: Arc<Make<E>>,
}

impl<E: RuntimeEngine + ?Sized + 'static> Lab<E> {
    /// Whose engines `harness` makes.
    pub fn new<H: Harness<Engine = E>>(harness: Arc<H>) -> Self {
        Self {
            make: Arc::new(move |services, settings| harness.engine(services, settings)),
        }
    }
}

impl<E: ?Sized> Debug for Lab<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lab").finish_non_exhaustive()
    }
}

/// Every case, by theme.
pub fn cases<E: RuntimeEngine + ?Sized + 'static>() -> Vec<Case<Lab<E>, Feature>> {
    [
        loading::cases(),
        budgets::cases(),
        order::cases(),
        policies::cases(),
        messages::cases(),
        failure::cases(),
        cancellation::cases(),
        unloading::cases(),
        usage::cases(),
        host_functions::cases(),
        isolation::cases(),
        exports::cases(),
        crowds::cases(),
        services::cases(),
        bounds::cases(),
        spending::cases(),
        timers::cases(),
    ]
    .concat()
}

impl Runner {
    /// Adds [`cases`], run on the engines of `harness`.
    #[must_use]
    pub fn engine<H: Harness>(self, name: &str, harness: H) -> Self {
        let harness = Arc::new(harness);
        let features = harness.features().to_vec();
        self.suite(name, cases::<H::Engine>(), &features, move || {
            Lab::new(Arc::clone(&harness))
        })
    }
}
