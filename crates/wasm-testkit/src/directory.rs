use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Mutex;

use async_trait::async_trait;

use wasm_core::{ComponentDirectory, ComponentId, ComponentInfo};

use crate::lock::lock;

/// A directory of the components it was told of.
#[derive(Debug, Default)]
pub struct MemoryDirectory {
    components: Mutex<BTreeMap<ComponentId, ComponentInfo>>,
}

impl MemoryDirectory {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a component, or replaces the entry with the same id.
    pub fn insert(&self, info: ComponentInfo) {
        lock(&self.components).insert(info.id.clone(), info);
    }

    /// Removes a component; one that is not there is fine.
    pub fn remove(&self, id: &ComponentId) {
        lock(&self.components).remove(id);
    }
}

#[async_trait]
impl ComponentDirectory for MemoryDirectory {
    async fn list(&self, after: Option<&ComponentId>, limit: usize) -> Vec<ComponentId> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        lock(&self.components)
            .range((start, Bound::Unbounded))
            .map(|(id, _)| id.clone())
            .take(limit)
            .collect()
    }

    async fn info(&self, id: &ComponentId) -> Option<ComponentInfo> {
        lock(&self.components).get(id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use wasm_core::HealthStatus;

    use super::*;
    use crate::poll::now;

    fn id(name: &str) -> ComponentId {
        ComponentId::new("demo", name, "main").unwrap()
    }

    fn info(name: &str, health: HealthStatus) -> ComponentInfo {
        ComponentInfo {
            id: id(name),
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            health,
        }
    }

    #[test]
    fn ids_come_in_pages_ascending_each_once() {
        let directory = MemoryDirectory::new();
        for name in ["c", "a", "b", "a"] {
            directory.insert(info(name, HealthStatus::Healthy));
        }
        assert_eq!(now(directory.list(None, 2)), [id("a"), id("b")]);
        assert_eq!(now(directory.list(Some(&id("b")), 2)), [id("c")]);
        assert_eq!(now(directory.list(Some(&id("aa")), 1)), [id("b")]);
        assert_eq!(now(directory.list(Some(&id("c")), 9)), []);
        assert_eq!(now(directory.list(None, 0)), []);
    }

    #[test]
    fn the_latest_entry_counts() {
        let directory = MemoryDirectory::new();
        directory.insert(info("a", HealthStatus::Healthy));
        directory.insert(info("a", HealthStatus::Degraded));
        assert_eq!(
            now(directory.info(&id("a"))),
            Some(info("a", HealthStatus::Degraded))
        );
        directory.remove(&id("a"));
        directory.remove(&id("b"));
        assert_eq!(now(directory.info(&id("a"))), None);
        assert_eq!(now(directory.list(None, 9)), []);
    }
}
