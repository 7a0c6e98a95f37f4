//! Whoever has the components of an application.

use async_trait::async_trait;

use wasm_core::{AfterCrash, ComponentId};

/// Loads components into the host of this node, and unloads them, when the node is told to by
/// the partitions that it owns.
#[async_trait]
pub trait Tenants: Send + Sync + 'static {
    /// All components of the application, on whatever node they are. Every node must have the
    /// same.
    fn ids(&self) -> Vec<ComponentId>;

    /// Loads these. What cannot be loaded is told by whoever has the components; what is sent
    /// to it becomes a dead letter.
    async fn load(&self, ids: Vec<ComponentId>);

    /// Unloads these, which waits for their running calls.
    async fn unload(&self, ids: Vec<ComponentId>);

    /// Of all components those that could not be loaded, and may be by now.
    fn missing(&self) -> Vec<ComponentId> {
        Vec::new()
    }

    /// Whether it is not known yet which components there are, because another version of the
    /// application is being fetched: nobody is missing meanwhile.
    fn is_changing(&self) -> bool {
        false
    }

    /// How many messages a component handles at a time
    /// ([`ComponentConfig::concurrency`](wasm_core::ComponentConfig::concurrency)): twice as many
    /// are given to the host, and 32 at the least. 1 unless it is said.
    fn concurrency(&self, id: &ComponentId) -> u32 {
        let _ = id;
        1
    }

    /// What becomes of a message that a node was handling when it died.
    fn after_crash(&self, id: &ComponentId) -> AfterCrash;
}
