use async_trait::async_trait;

use crate::{ComponentId, HealthStatus, NoOtherComponents};

/// Which components a component can learn of.
///
/// An engine shows a component only itself and those it may message; the
/// directory itself knows no permissions.
#[async_trait]
pub trait ComponentDirectory: Send + Sync {
    /// At most `limit` ids after `after`, ascending, each once.
    async fn list(&self, after: Option<&ComponentId>, limit: usize) -> Vec<ComponentId>;

    /// `None` when no such component is loaded.
    async fn info(&self, id: &ComponentId) -> Option<ComponentInfo>;
}

/// A directory's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentInfo {
    /// Who it is.
    pub id: ComponentId,
    /// As it calls itself.
    pub name: String,
    /// As it or its manifest says.
    pub version: String,
    /// As last known; nobody is asked for it.
    pub health: HealthStatus,
}

#[async_trait]
impl ComponentDirectory for NoOtherComponents {
    async fn list(&self, _: Option<&ComponentId>, _: usize) -> Vec<ComponentId> {
        Vec::new()
    }

    async fn info(&self, _: &ComponentId) -> Option<ComponentInfo> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::now;

    #[test]
    fn a_component_on_its_own_finds_nobody() {
        let id = ComponentId::new("demo", "a", "main").unwrap();
        assert_eq!(now(NoOtherComponents.list(None, usize::MAX)), []);
        assert_eq!(now(NoOtherComponents.list(Some(&id), 1)), []);
        assert_eq!(now(NoOtherComponents.info(&id)), None);
    }
}
