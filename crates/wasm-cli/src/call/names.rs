//! Resources that calls were told to keep, by their names.

use std::collections::BTreeMap;

use wasmtime::component::{ResourceAny, ResourceType};

/// Whose methods can be called by which name.
pub(crate) type Types = BTreeMap<String, ResourceType>;

/// What is kept for later calls of one instance.
#[derive(Debug, Default, Clone)]
pub(crate) struct Names(BTreeMap<String, (ResourceType, ResourceAny)>);

impl Names {
    pub(crate) fn types(&self) -> Types {
        let types = self.0.iter().map(|(name, (ty, _))| (name.clone(), *ty));
        types.collect()
    }

    pub(super) fn get(&self, name: &str) -> Option<ResourceAny> {
        self.0.get(name).map(|(_, resource)| *resource)
    }

    /// What had the name before loses it.
    pub(super) fn keep(
        &mut self,
        name: String,
        ty: ResourceType,
        resource: ResourceAny,
    ) -> Option<ResourceAny> {
        let before = self.0.insert(name, (ty, resource));
        before.map(|(_, resource)| resource)
    }

    /// It was given away.
    pub(super) fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }
}
