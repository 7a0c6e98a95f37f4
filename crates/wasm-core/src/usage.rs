use std::fmt::{self, Display};

/// Where a loaded component is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ComponentState {
    /// Waiting for a call.
    Ready,
    /// Inside a call.
    Busy,
    /// Its instance is gone; calls fail until it is restarted.
    Failed,
}

impl Display for ComponentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ready => "ready",
            Self::Busy => "busy",
            Self::Failed => "failed",
        })
    }
}

/// What a component has used since it was loaded; counters go on over a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ComponentUsage {
    /// Where it is in its life.
    pub state: ComponentState,
    /// Memories and tables now, in bytes; 0 while it is failed.
    pub memory_bytes: u64,
    /// The most that `memory_bytes` has been.
    pub peak_memory_bytes: u64,
    /// Fuel that the latest call consumed, `initialize` and `shutdown` included.
    pub last_call_fuel: u64,
    /// Fuel that all calls consumed, `initialize` and `shutdown` included.
    pub total_fuel: u64,
    /// Calls that an embedder made and that reached the guest; without
    /// `initialize` and `shutdown`.
    pub calls: u64,
    /// Calls, `initialize` included, that ended in a trap, out of fuel or at the
    /// memory limit.
    pub traps: u64,
    /// Calls, `initialize` included, that were stopped at their deadline.
    pub timeouts: u64,
    /// Times it was given a fresh instance.
    pub restarts: u64,
    /// Host memory that is kept for it besides its instance.
    pub kept: KeptMemory,
}

/// Host memory that an engine keeps as long as a component is loaded, whether or not it has
/// an instance: the component itself, compiled code and data, and what is known of types,
/// exports and names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeptMemory {
    /// How much it is, in bytes; zero for an engine that does not tell.
    pub bytes: u64,
    /// Components that were loaded from the same bytes share what is kept, and have the same
    /// number here. Zero is nobody's: such memory is not shared.
    pub shared_as: u64,
}

impl ComponentUsage {
    /// Nothing used yet.
    pub fn new(state: ComponentState) -> Self {
        Self {
            state,
            memory_bytes: 0,
            peak_memory_bytes: 0,
            last_call_fuel: 0,
            total_fuel: 0,
            calls: 0,
            traps: 0,
            timeouts: 0,
            restarts: 0,
            kept: KeptMemory::default(),
        }
    }
}

/// What a component says of its own condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HealthStatus {
    /// All is well.
    Healthy,
    /// It works, with restrictions.
    Degraded,
    /// It does not work.
    Unhealthy,
    /// It cannot tell.
    Unknown,
}

impl Display for HealthStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
            Self::Unknown => "unknown",
        })
    }
}

/// What a component says of itself; nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(
    missing_docs,
    reason = "the fields are the record of the contract, named as there"
)]
pub struct ComponentMetadata {
    pub name: String,
    pub version: String,
    pub description: String,
    pub author: String,
    pub license: String,
    pub supported_operations: Vec<String>,
    pub stateful: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_health_print_in_columns() {
        let states = [
            ComponentState::Ready,
            ComponentState::Busy,
            ComponentState::Failed,
        ];
        assert_eq!(
            states.map(|state| format!("{state:7}|")),
            ["ready  |", "busy   |", "failed |"]
        );
        let healths = [
            HealthStatus::Healthy,
            HealthStatus::Degraded,
            HealthStatus::Unhealthy,
            HealthStatus::Unknown,
        ];
        assert_eq!(
            healths.map(|health| health.to_string()),
            ["healthy", "degraded", "unhealthy", "unknown"]
        );
    }

    #[test]
    fn a_new_component_has_used_nothing() {
        let usage = ComponentUsage::new(ComponentState::Busy);
        let expected = ComponentUsage {
            state: ComponentState::Busy,
            memory_bytes: 0,
            peak_memory_bytes: 0,
            last_call_fuel: 0,
            total_fuel: 0,
            calls: 0,
            traps: 0,
            timeouts: 0,
            restarts: 0,
            kept: KeptMemory::default(),
        };
        assert_eq!(usage, expected);
    }
}
