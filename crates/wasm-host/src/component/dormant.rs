//! A component that has no instance and no task: all that is kept of it.

use std::sync::Arc;

use wasm_core::{ComponentId, ComponentUsage, HealthStatus, Permissions, WasmError};

use crate::component::recipe::Recipe;
use crate::component::restarts::Restarts;
use crate::error::HostError;

#[derive(Debug)]
pub(crate) struct Dormant {
    pub(crate) id: ComponentId,
    pub(crate) recipe: Arc<Recipe>,
    /// If others than those of the recipe are in force.
    pub(crate) permissions: Option<Arc<Permissions>>,
    pub(crate) counts: Counts,
    /// By all its instances, if there were any.
    pub(crate) used: Option<Box<ComponentUsage>>,
    pub(crate) health: HealthStatus,
    /// Of its latest failure.
    pub(crate) cause: Option<Arc<WasmError>>,
    /// Those that still count.
    pub(crate) restarts: Option<Box<Restarts>>,
}

/// What happened to a component since it was loaded.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) handled: u64,
    pub(crate) failures: u64,
    pub(crate) swaps: u64,
}

impl Dormant {
    pub(crate) fn new(id: ComponentId, recipe: Arc<Recipe>) -> Self {
        Self {
            id,
            recipe,
            permissions: None,
            counts: Counts::default(),
            used: None,
            health: HealthStatus::Unknown,
            cause: None,
            restarts: None,
        }
    }

    /// Replaces what it may do, which is never more than it was loaded with.
    pub(crate) fn set_permissions(&mut self, permissions: Permissions) -> Result<(), HostError> {
        let loaded_with = &self.recipe.permissions;
        HostError::check_narrower(&self.id, &permissions, loaded_with)?;
        self.permissions = Some(Arc::new(permissions.narrowed_to(loaded_with)));
        Ok(())
    }

    /// What it may do once it has an instance.
    pub(crate) fn permissions(&self) -> Arc<Permissions> {
        match &self.permissions {
            Some(permissions) => Arc::clone(permissions),
            None => Arc::clone(&self.recipe.permissions),
        }
    }
}
