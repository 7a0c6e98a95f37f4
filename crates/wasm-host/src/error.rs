use std::sync::Arc;

use thiserror::Error;

use wasm_core::{ComponentId, MessagingError, Permissions, WasmError};

use crate::limits::BudgetExceeded;

/// Why a host cannot do as asked with a component.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum HostError {
    /// The id is taken; [`Host::swap`](crate::Host::swap) replaces a component.
    #[error("{0} is already loaded")]
    AlreadyLoaded(ComponentId),
    /// There is no such component.
    #[error("no component {0} is loaded")]
    NotLoaded(ComponentId),
    /// The id under which the program around the host sends, or its timers are kept.
    #[error("{0} is the host itself, and no component can be loaded under that id")]
    Reserved(ComponentId),
    /// All components together would have more than the process gives them.
    #[error("{component} cannot be loaded: {source}")]
    Budget {
        /// Which could not be loaded.
        component: ComponentId,
        /// Which budget, and what mends it.
        source: BudgetExceeded,
    },
    /// There is no room for the old version and the new one at a time.
    #[error(
        "{component} cannot be replaced while it runs: {source}; or let the old version end \
         first (`swap = \"pause\"` in [supervision])"
    )]
    NoRoomForBoth {
        /// Which was to be replaced.
        component: ComponentId,
        /// Which budget, and what mends it.
        source: BudgetExceeded,
    },
    /// Permissions that were to be set grant more than the component was loaded with.
    #[error(
        "{component} was not loaded with `{excess}`: what it was granted can be taken back and \
         given back, and it is replaced by one with a wider manifest to be granted more \
         (Host::swap)"
    )]
    Widened {
        /// Whose permissions they were to be.
        component: ComponentId,
        /// The first thing that it was not granted, as a manifest says it.
        excess: String,
    },
    /// There is no dead letter of this number: it was taken, delivered again or pushed out.
    #[error("there is no dead letter {0}")]
    NoDeadLetter(u64),
    /// A dead letter that cannot be delivered again.
    #[error("dead letter {number} cannot be delivered again: {reason}")]
    NotRedeliverable {
        /// Its number.
        number: u64,
        /// What is against it.
        reason: &'static str,
    },
    /// A dead letter was not accepted again.
    #[error("dead letter {number} is not accepted: {source}")]
    NotRedelivered {
        /// Its number, which it keeps.
        number: u64,
        /// What its recipient, or the host, has against it.
        source: MessagingError,
    },
    /// The engine or the loader could not.
    #[error(transparent)]
    Engine(Arc<WasmError>),
    /// The host was made without a loader.
    #[error("{0} cannot be loaded by its id: the host has no loader (HostBuilder::with_loader)")]
    NoLoader(ComponentId),
    /// Still busy when the time was up.
    #[error("not drained when the time was up: {messages} still on the way")]
    NotDrained {
        /// How many wait or are being handled.
        messages: u64,
    },
    /// Its task has ended while it was loaded or changed: the engine panicked, or the async
    /// runtime is gone.
    #[error("the task of {0} has ended before its time")]
    Abandoned(ComponentId),
    /// While the new version was prepared, another swap was asked for, which takes its
    /// place.
    #[error("the swap of {0} was superseded by a later one")]
    Superseded(ComponentId),
    /// The host has stopped or is about to.
    #[error("the host has stopped")]
    Stopped,
}

impl HostError {
    /// Fails when `permissions` grant something that `granted` does not.
    pub(crate) fn check_narrower(
        component: &ComponentId,
        permissions: &Permissions,
        granted: &Permissions,
    ) -> Result<(), Self> {
        match permissions.excess(granted) {
            Some(excess) => Err(Self::Widened {
                component: component.clone(),
                excess,
            }),
            None => Ok(()),
        }
    }
}

impl From<WasmError> for HostError {
    fn from(error: WasmError) -> Self {
        Self::Engine(kept(error))
    }
}

/// An error as it may be kept for long, whatever the engine put into it.
pub(crate) fn kept(error: WasmError) -> Arc<WasmError> {
    Arc::new(error.kept())
}
