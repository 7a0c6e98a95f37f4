//! What instances of a component are made from, shared by all components that are made from
//! the same.

use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;

use wasm_core::{
    ComponentConfig, ComponentId, Permissions, Preparation, RuntimeEngine, Supervision,
};

use crate::component::Component;
use crate::component::budget::{Budget, KeptShare};
use crate::error::HostError;
use crate::lock::lock;

#[derive(Debug)]
pub(crate) struct Recipe {
    pub(crate) bytes: Bytes,
    pub(crate) config: ComponentConfig,
    pub(crate) supervision: Supervision,
    pub(crate) version: Option<String>,
    /// Those of the configuration, to be shared.
    pub(crate) permissions: Arc<Permissions>,
    prepared: Mutex<Option<Prepared>>,
}

/// Keeps compiled code while no component of this recipe has an instance.
#[derive(Debug)]
struct Prepared {
    _preparation: Preparation,
    _kept: KeptShare,
}

impl Recipe {
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.config.most_memory_bytes()
    }

    fn makes_the_same_as(&self, component: &Component) -> bool {
        let is_same_memory = self.bytes.as_ptr() == component.bytes.as_ptr()
            && self.bytes.len() == component.bytes.len();
        self.supervision == component.supervision
            && self.version == component.version
            && self.config == component.config
            && (is_same_memory || self.bytes == component.bytes)
    }

    pub(crate) fn is_prepared(&self) -> bool {
        lock(&self.prepared).is_some()
    }

    /// Has the engine prepare what is needed before an instance is made, and keeps it.
    pub(crate) async fn prepare<E: RuntimeEngine + ?Sized>(
        &self,
        engine: &E,
        id: &ComponentId,
        budget: &Arc<Budget>,
    ) -> Result<(), HostError> {
        if self.is_prepared() {
            return Ok(());
        }
        let preparation = engine
            .prepare_component(id, self.bytes.clone(), &self.config)
            .await?;
        let kept = budget
            .keep(preparation.kept())
            .map_err(|source| HostError::Budget {
                component: id.clone(),
                source,
            })?;
        // Of two who prepare it at a time, one is enough.
        lock(&self.prepared).get_or_insert(Prepared {
            _preparation: preparation,
            _kept: kept,
        });
        Ok(())
    }
}

/// Lets components that are loaded one after the other from the same share their recipe.
#[derive(Debug, Default)]
pub(crate) struct Recipes {
    latest: Mutex<Weak<Recipe>>,
}

impl Recipes {
    /// The id of a component, and its recipe.
    pub(crate) fn share(&self, component: Component) -> (ComponentId, Arc<Recipe>) {
        let mut latest = lock(&self.latest);
        if let Some(recipe) = latest.upgrade()
            && recipe.makes_the_same_as(&component)
        {
            return (component.id, recipe);
        }
        let recipe = Arc::new(Recipe {
            bytes: component.bytes,
            permissions: Arc::new(component.config.permissions.clone()),
            config: component.config,
            supervision: component.supervision,
            version: component.version,
            prepared: Mutex::default(),
        });
        *latest = Arc::downgrade(&recipe);
        (component.id, recipe)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use wasm_core::ResourceLimits;

    use super::*;

    #[test]
    fn components_that_are_made_from_the_same_share_a_recipe() {
        let limits = ResourceLimits::new(1 << 20, Duration::from_secs(1), None).unwrap();
        let component = |name: &str, bytes: &'static str| {
            let id = ComponentId::new("demo", name, "main").unwrap();
            Component::new(id, bytes, ComponentConfig::new(limits))
        };
        let recipes = Recipes::default();
        let (_, first) = recipes.share(component("a", "x"));
        let (id, second) = recipes.share(component("b", "x"));
        assert_eq!(id.name(), "b");
        assert!(Arc::ptr_eq(&first, &second));
        let mut others = [
            component("a", "y"),
            component("a", "x"),
            component("a", "x"),
        ];
        others[1].version = Some("2".to_owned());
        others[2].config = ComponentConfig::new(limits).with_env("A", "B");
        for other in others {
            let (_, other) = recipes.share(other);
            assert!(!Arc::ptr_eq(&first, &other), "{other:?}");
        }
    }
}
