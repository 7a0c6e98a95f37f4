//! What is known of a component.

use crate::health::HealthStatus;
use crate::id::ComponentId;

/// What is known of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ComponentInfo {
    /// Which component.
    pub id: ComponentId,
    /// Its name, as it says itself.
    pub name: String,
    /// Its version, as it says itself; empty if it does not.
    pub version: String,
    /// How it does.
    pub health: HealthStatus,
}
