//! Resources that calls were told to keep, by their names.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::component::{ResourceAny, ResourceType};

use wasm_core::ComponentHandle;

/// Whose methods can be called by which name; `None` for what was given away.
pub(crate) type Types = BTreeMap<String, Option<ResourceType>>;

/// What is said of a name that was used once more.
pub(super) fn given_away(name: &str) -> String {
    format!("what was kept as `{name}` was given away by an earlier call")
}

/// What is kept for later calls of one instance.
#[derive(Debug, Default)]
pub(crate) struct Names(BTreeMap<String, (ResourceType, ResourceAny)>);

impl Names {
    pub(crate) fn types(&self) -> Types {
        let types = self
            .0
            .iter()
            .map(|(name, (ty, _))| (name.clone(), Some(*ty)));
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

    /// What was given away is gone.
    pub(super) fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }
}

/// The names that belong to a component, for calls that may be under way at the same time.
#[derive(Debug, Default, Clone)]
pub(crate) struct SharedNames(Arc<Mutex<Option<(ComponentHandle, Names)>>>);

impl SharedNames {
    /// For a call, in its turn. What another component of the same id had returned is gone.
    pub(super) fn take(&self, handle: &ComponentHandle) -> Names {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let names = taken.filter(|(of, _)| of == handle);
        names.map(|(_, names)| names).unwrap_or_default()
    }

    /// For the next one.
    pub(super) fn put(&self, handle: ComponentHandle, names: Names) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((handle, names));
    }
}
