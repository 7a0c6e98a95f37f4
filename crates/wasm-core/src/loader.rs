use async_trait::async_trait;
use bytes::Bytes;

use crate::{ComponentId, Defect, WasmError};

/// Finds the bytes of components.
#[async_trait]
pub trait ComponentLoader: Send + Sync {
    /// The bytes of a component, as they are stored.
    ///
    /// # Errors
    /// [`WasmError::LoadFailed`] with the place that was looked at, when there is
    /// nothing, it cannot be read or it is larger than the loader allows.
    async fn load_bytes(&self, id: &ComponentId) -> Result<Bytes, WasmError>;

    /// Looks at what can be told without an engine; an engine validates in full.
    ///
    /// # Errors
    /// [`WasmError::InvalidComponent`] when the bytes cannot be a component.
    fn validate(&self, id: &ComponentId, bytes: &[u8]) -> Result<(), WasmError> {
        Defect::check_header(bytes).map_err(|defect| WasmError::invalid_component(id, defect))
    }
}
