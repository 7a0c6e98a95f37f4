use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;

use wasm_core::{ComponentId, ComponentLoader, WasmError};

use crate::lock::lock;

/// A loader of the bytes it was given.
///
/// It hands out what it has, be it a component or not.
#[derive(Debug, Default)]
pub struct MemoryLoader {
    components: Mutex<HashMap<ComponentId, Bytes>>,
}

impl MemoryLoader {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `bytes` where `id` is looked for, in place of what was there.
    pub fn insert(&self, id: ComponentId, bytes: impl Into<Bytes>) {
        lock(&self.components).insert(id, bytes.into());
    }

    /// Removes a component's bytes; one that is not there is fine.
    pub fn remove(&self, id: &ComponentId) {
        lock(&self.components).remove(id);
    }
}

#[async_trait]
impl ComponentLoader for MemoryLoader {
    async fn load_bytes(&self, id: &ComponentId) -> Result<Bytes, WasmError> {
        lock(&self.components)
            .get(id)
            .cloned()
            .ok_or_else(|| WasmError::LoadFailed {
                path: Path::new("memory").join(format!("{id}.wasm")),
                reason: "there is no such component".to_owned(),
                source: None,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::now;

    fn id(name: &str) -> ComponentId {
        ComponentId::new("demo", name, "main").unwrap()
    }

    #[test]
    fn it_gives_back_what_it_was_given() {
        let loader = MemoryLoader::new();
        let bytes = Bytes::from_static(b"\0asm\x0d\0\x01\0");
        loader.insert(id("a"), bytes.clone());
        loader.insert(id("b"), Vec::new());
        let loaded = now(loader.load_bytes(&id("a"))).unwrap();
        assert_eq!(loaded, bytes);
        assert_eq!(loaded.as_ptr(), bytes.as_ptr());
        assert_eq!(loader.validate(&id("a"), &loaded).ok(), Some(()));
        assert_eq!(now(loader.load_bytes(&id("b"))).unwrap(), Bytes::new());
        loader.insert(id("b"), "new");
        assert_eq!(now(loader.load_bytes(&id("b"))).unwrap(), "new");
    }

    #[test]
    fn a_missing_component_is_a_load_error_with_its_place() {
        let loader = MemoryLoader::new();
        loader.insert(id("a"), "bytes");
        loader.remove(&id("a"));
        loader.remove(&id("a"));
        let error = now(loader.load_bytes(&id("a"))).unwrap_err();
        assert!(error.is_load_error(), "{error}");
        assert_eq!(
            error.to_string(),
            "memory/demo/a/main.wasm could not be loaded: there is no such component"
        );
    }
}
