//! What a component sees of the others.

use std::fmt::Display;

use super::Guest;
use crate::{ComponentId, ComponentInfo, HealthStatus};

/// Components that are listed; a guest that may see more is shown the first in order of
/// their ids.
const MAX_LISTED_COMPONENTS: usize = 1024;

/// Entries asked of a directory at a time.
const PAGE: usize = 256;

impl Guest {
    /// `list-components`: itself and whom it may message, in order. That someone exists is
    /// not for everyone to know.
    pub async fn list_components(&self) -> Vec<ComponentId> {
        let mut visible = Vec::new();
        let mut after: Option<ComponentId> = None;
        while visible.len() < MAX_LISTED_COMPONENTS {
            let page = self.services.directory.list(after.as_ref(), PAGE).await;
            let Some(last) = page.last() else { break };
            after = Some(last.clone());
            visible.extend(page.into_iter().filter(|id| self.may_see(id)));
        }
        visible.truncate(MAX_LISTED_COMPONENTS);
        if let Err(place) = visible.binary_search(self.id()) {
            visible.insert(place, self.id().clone());
        }
        visible
    }

    /// `get-component-metadata`; the component itself is there even if the directory does
    /// not know it.
    ///
    /// # Errors
    /// The reason, in words: what is no id, and what is not there, which looks the same as
    /// what is not to be seen.
    pub async fn component_info<T>(&self, id: T) -> Result<ComponentInfo, String>
    where
        T: TryInto<ComponentId, Error: Display>,
    {
        let id: ComponentId = id.try_into().map_err(|error| error.to_string())?;
        let not_found = || format!("no component {id} is loaded");
        if !self.may_see(&id) {
            return Err(not_found());
        }
        if let Some(info) = self.services.directory.info(&id).await {
            return Ok(info);
        }
        if id != *self.id() {
            return Err(not_found());
        }
        Ok(ComponentInfo {
            name: id.name().to_owned(),
            version: String::new(),
            health: HealthStatus::Unknown,
            id,
        })
    }

    fn may_see(&self, id: &ComponentId) -> bool {
        id == self.id() || self.config.permissions.reaches(id)
    }
}
