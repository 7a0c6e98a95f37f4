use std::sync::Arc;

use thiserror::Error;

use wasm_core::{ComponentId, GuestError, LifecycleError, Trap, WasmError};

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
    /// The id under which the program around the host sends.
    #[error("{0} is the program itself, and no component can be loaded under that id")]
    Reserved(ComponentId),
    /// All components together would have more than the process gives them.
    #[error("{component} cannot be loaded: {source}")]
    Budget {
        /// Which could not be loaded.
        component: ComponentId,
        /// Which budget, and what mends it.
        source: BudgetExceeded,
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

impl From<WasmError> for HostError {
    fn from(error: WasmError) -> Self {
        Self::Engine(kept(error))
    }
}

/// How much is kept of a text that a guest answered with, in bytes: it can be as long
/// as its memory, and errors are kept in dead letters, events and states.
const KEPT_TEXT_BYTES: usize = 4 << 10;

/// An error as it may be kept for long.
pub(crate) fn kept(mut error: WasmError) -> Arc<WasmError> {
    match &mut error {
        WasmError::GuestError { error, .. } => shorten_guest_error(error),
        WasmError::InitializationFailed { error, .. } | WasmError::ShutdownFailed { error, .. } => {
            shorten_lifecycle_error(error);
        }
        WasmError::Trapped {
            trap: Trap::HostPanic(text) | Trap::RefusedByHost(text) | Trap::Other(text),
            ..
        } => shorten(text),
        _ => {}
    }
    Arc::new(error)
}

pub(crate) fn shorten_guest_error(error: &mut GuestError) {
    match error {
        GuestError::ComponentNotFound(text)
        | GuestError::InstantiationFailed(text)
        | GuestError::ExportNotFound(text)
        | GuestError::ResourceLimitExceeded(text)
        | GuestError::InvalidComponent(text)
        | GuestError::RuntimeError(text) => shorten(text),
        GuestError::Timeout => {}
    }
}

fn shorten_lifecycle_error(error: &mut LifecycleError) {
    match error {
        LifecycleError::InitializationFailed(text)
        | LifecycleError::ShutdownFailed(text)
        | LifecycleError::InvalidState(text) => shorten(text),
        LifecycleError::AlreadyInitialized | LifecycleError::NotInitialized => {}
    }
}

fn shorten(text: &mut String) {
    if text.len() > KEPT_TEXT_BYTES {
        text.truncate(text.floor_char_boundary(KEPT_TEXT_BYTES));
        text.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_text_the_beginning_is_kept() {
        let component = ComponentId::new("demo", "a", "main").unwrap();
        let long = "é".repeat(1 << 20);
        let guest = GuestError::RuntimeError(long.clone());
        let lifecycle = LifecycleError::InitializationFailed(long);
        let errors = [
            WasmError::GuestError {
                component: component.clone(),
                error: guest,
            },
            WasmError::InitializationFailed {
                component,
                error: lifecycle,
            },
        ];
        for error in errors {
            let text = match &*kept(error) {
                WasmError::GuestError {
                    error: GuestError::RuntimeError(text),
                    ..
                }
                | WasmError::InitializationFailed {
                    error: LifecycleError::InitializationFailed(text),
                    ..
                } => text.clone(),
                other => panic!("{other}"),
            };
            assert_eq!(text, "é".repeat(KEPT_TEXT_BYTES / 2));
        }
    }
}
