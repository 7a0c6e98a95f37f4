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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::poll::now;

    struct Fixed(&'static [u8]);

    #[async_trait]
    impl ComponentLoader for Fixed {
        async fn load_bytes(&self, _: &ComponentId) -> Result<Bytes, WasmError> {
            Ok(Bytes::from_static(self.0))
        }
    }

    #[test]
    fn validation_looks_at_the_header() {
        let id = ComponentId::new("demo", "a", "main").unwrap();
        for (bytes, problem) in [
            (b"\0asm\x0d\0\x01\0".as_slice(), None),
            (
                b"",
                Some("demo/a/main is not a component that can be run: it is empty"),
            ),
            (
                b"#!/bin/sh",
                Some(
                    "demo/a/main is not a component that can be run: it is not WebAssembly: it \
                     begins with \"#!/bin/sh\" instead of 00 61 73 6d",
                ),
            ),
        ] {
            let loader: Arc<dyn ComponentLoader> = Arc::new(Fixed(bytes));
            let loaded = now(loader.load_bytes(&id)).unwrap();
            assert_eq!(loaded, bytes);
            let outcome = loader.validate(&id, &loaded);
            let found = outcome.err().map(|error| error.to_string());
            assert_eq!(found.as_deref(), problem);
        }
    }
}
