//! Short makers of errors, one for each kind of [`WasmError`]: for what a mock answers,
//! or a fault is.
//!
//! What a test seldom cares about is left out: there are no frames and no sources, no
//! fuel was consumed, and calls were those of `handle-message`.
//!
//! ```
//! use std::time::Duration;
//!
//! use wasm_core::{ComponentId, Trap};
//! use wasm_testkit::errors;
//! use wasm_testkit::mock::Expectation;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let id = ComponentId::new("demo", "a", "main")?;
//! let late = errors::timeout(&id, Duration::from_millis(100));
//! assert!(late.fails_instance());
//! let trapped = errors::trapped(&id, Trap::Unreachable);
//! Expectation::message().of(&id).answers(Err(errors::component_failed(&id, trapped)));
//! # Ok(())
//! # }
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use wasm_core::{
    ComponentHandle, ComponentId, Defect, GuestError, LifecycleError, LimitsError, Resource, Trap,
    Unmet, WasmError,
};

/// The export of calls that are not said to be of another.
const EXPORT: &str = "handle-message";

/// A [`WasmError::EngineInitialization`].
pub fn engine_initialization(reason: impl Into<String>) -> WasmError {
    let reason = reason.into();
    WasmError::EngineInitialization {
        reason,
        source: None,
    }
}

/// A [`WasmError::ComponentNotFound`].
pub fn component_not_found(handle: &ComponentHandle) -> WasmError {
    let handle = handle.clone();
    WasmError::ComponentNotFound { handle }
}

/// A [`WasmError::LoadFailed`] of what should be at `path`.
pub fn load_failed(path: impl Into<PathBuf>, reason: impl Into<String>) -> WasmError {
    WasmError::LoadFailed {
        path: path.into(),
        reason: reason.into(),
        source: None,
    }
}

/// A [`WasmError::InvalidComponent`].
pub fn invalid_component(id: &ComponentId, defect: Defect) -> WasmError {
    WasmError::invalid_component(id, defect)
}

/// A [`WasmError::InvalidLimits`].
pub fn invalid_limits(id: &ComponentId, source: LimitsError) -> WasmError {
    let component = id.clone();
    WasmError::InvalidLimits { component, source }
}

/// A [`WasmError::ImportNotFound`] of an import that the host does not know.
pub fn import_not_found(id: &ComponentId, import: impl Into<String>) -> WasmError {
    WasmError::ImportNotFound {
        component: id.clone(),
        import: import.into(),
        reason: Unmet::Missing,
        others: 0,
        or_more: false,
        source: None,
    }
}

/// A [`WasmError::ExportNotFound`].
pub fn export_not_found(id: &ComponentId, export: &str) -> WasmError {
    WasmError::ExportNotFound {
        component: id.clone(),
        export: export.into(),
    }
}

/// A [`WasmError::InstantiationFailed`].
pub fn instantiation_failed(id: &ComponentId, reason: impl Into<String>) -> WasmError {
    WasmError::InstantiationFailed {
        component: id.clone(),
        reason: reason.into(),
        source: None,
    }
}

/// A [`WasmError::InitializationFailed`] with the case `initialization-failed` and this
/// text.
pub fn initialization_failed(id: &ComponentId, text: impl Into<String>) -> WasmError {
    WasmError::InitializationFailed {
        component: id.clone(),
        error: LifecycleError::InitializationFailed(text.into()),
    }
}

/// A [`WasmError::Trapped`].
pub fn trapped(id: &ComponentId, trap: Trap) -> WasmError {
    WasmError::Trapped {
        component: id.clone(),
        export: EXPORT.into(),
        trap,
        frames: Box::default(),
        fuel_consumed: 0,
        source: None,
        last_words: None,
    }
}

/// A [`WasmError::Timeout`] after `limit`.
pub fn timeout(id: &ComponentId, limit: Duration) -> WasmError {
    WasmError::Timeout {
        component: id.clone(),
        export: EXPORT.into(),
        limit,
        fuel_consumed: 0,
        frames: Box::default(),
    }
}

/// A [`WasmError::ResourceLimitExceeded`], the limit in the resource's unit.
pub fn resource_limit_exceeded(id: &ComponentId, resource: Resource, limit: u64) -> WasmError {
    WasmError::ResourceLimitExceeded {
        component: id.clone(),
        export: EXPORT.into(),
        resource,
        limit,
        requested: None,
        charged_ahead: false,
        fuel_consumed: 0,
        frames: Box::default(),
        source: None,
    }
}

/// A [`WasmError::ComponentFailed`] over an earlier error.
pub fn component_failed(id: &ComponentId, cause: WasmError) -> WasmError {
    WasmError::ComponentFailed {
        component: id.clone(),
        source: Arc::new(cause),
    }
}

/// A [`WasmError::GuestError`] with the case `runtime-error` and this text.
pub fn guest_error(id: &ComponentId, text: impl Into<String>) -> WasmError {
    WasmError::GuestError {
        component: id.clone(),
        error: GuestError::RuntimeError(text.into()),
    }
}

/// A [`WasmError::ShutdownFailed`] with the case `shutdown-failed` and this text.
pub fn shutdown_failed(id: &ComponentId, text: impl Into<String>) -> WasmError {
    WasmError::ShutdownFailed {
        component: id.clone(),
        error: LifecycleError::ShutdownFailed(text.into()),
    }
}

/// A [`WasmError::InvalidArguments`].
pub fn invalid_arguments(id: &ComponentId, reason: impl Into<String>) -> WasmError {
    WasmError::InvalidArguments {
        component: id.clone(),
        export: EXPORT.into(),
        reason: reason.into(),
    }
}

/// A [`WasmError::Unsupported`].
pub fn unsupported(what: impl Into<String>) -> WasmError {
    WasmError::Unsupported { what: what.into() }
}
