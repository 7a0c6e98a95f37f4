//! Which components the application has, on whatever node they are.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;

use wasm_core::{ComponentDirectory, ComponentId, ComponentInfo, HealthStatus};

#[derive(Debug, Default)]
pub(crate) struct Roster(RwLock<BTreeSet<ComponentId>>);

impl Roster {
    pub(crate) fn set(&self, ids: impl IntoIterator<Item = ComponentId>) {
        let ids = ids.into_iter().collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = ids;
    }

    pub(crate) fn has(&self, id: &ComponentId) -> bool {
        let ids = self.0.read().unwrap_or_else(PoisonError::into_inner);
        ids.contains(id)
    }

    /// At most so many after this one, in order.
    pub(crate) fn list(&self, after: Option<&ComponentId>, limit: usize) -> Vec<ComponentId> {
        let ids = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let ids = ids.range::<ComponentId, _>((after, Bound::Unbounded));
        ids.take(limit).cloned().collect()
    }

    /// Those of a partition, or of several.
    pub(crate) fn of(&self, is_in: impl Fn(&ComponentId) -> bool) -> Vec<ComponentId> {
        let ids = self.0.read().unwrap_or_else(PoisonError::into_inner);
        ids.iter().filter(|id| is_in(id)).cloned().collect()
    }
}

/// What components can learn of those of all nodes: of one of this node what the host knows, of
/// another that it is there.
pub(crate) struct Everyone {
    pub(crate) roster: Arc<Roster>,
    pub(crate) here: Arc<dyn ComponentDirectory>,
}

#[async_trait]
impl ComponentDirectory for Everyone {
    async fn list(&self, after: Option<&ComponentId>, limit: usize) -> Vec<ComponentId> {
        self.roster.list(after, limit)
    }

    async fn info(&self, id: &ComponentId) -> Option<ComponentInfo> {
        if let Some(info) = self.here.info(id).await {
            return Some(info);
        }
        self.roster.has(id).then(|| ComponentInfo {
            id: id.clone(),
            name: id.name().to_owned(),
            version: String::new(),
            health: HealthStatus::Unknown,
        })
    }
}
