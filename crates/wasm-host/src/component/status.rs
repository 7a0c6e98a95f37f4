use std::fmt::{self, Display};
use std::sync::Arc;

use wasm_core::{ComponentHandle, ComponentId, ComponentUsage, HealthStatus, WasmError};

/// Where a component is in its life with a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Being loaded.
    Starting,
    /// Waiting for a message.
    Ready,
    /// Handling one.
    Busy,
    /// Without an instance until there is a message for it.
    Asleep,
    /// Failed, and waiting to be restarted.
    Restarting,
    /// Being replaced by another version.
    Swapping,
    /// Failed for good, until an operator restarts or replaces it.
    Quarantined,
    /// On its way out.
    Unloading,
}

impl Phase {
    /// Every one there is.
    pub const ALL: &[Self] = &[
        Self::Starting,
        Self::Ready,
        Self::Busy,
        Self::Asleep,
        Self::Restarting,
        Self::Swapping,
        Self::Quarantined,
        Self::Unloading,
    ];
}

impl Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Busy => "busy",
            Self::Asleep => "asleep",
            Self::Restarting => "restarting",
            Self::Swapping => "swapping",
            Self::Quarantined => "quarantined",
            Self::Unloading => "unloading",
        })
    }
}

/// A component at one moment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ComponentStatus {
    /// Which.
    pub id: ComponentId,
    /// Its instance in the engine; `None` before there is one.
    pub handle: Option<ComponentHandle>,
    /// As the manifest says.
    pub version: Option<String>,
    /// Where it is in its life.
    pub phase: Phase,
    /// As it said when it was last asked, at the interval of its manifest or by [`Host::health`](crate::Host::health).
    pub health: HealthStatus,
    /// Messages, requests and callbacks that wait for it.
    pub waiting: usize,
    /// Those that it has handled, errors as answers included.
    pub handled: u64,
    /// How often it failed.
    pub failures: u64,
    /// How often it was replaced by another version.
    pub swaps: u64,
    /// Of its latest failure.
    pub cause: Option<Arc<WasmError>>,
    /// What the engine has counted, over all instances since the component was loaded, but for
    /// what `shutdown` of one took that has slept or was replaced; `None` before the first.
    pub usage: Option<ComponentUsage>,
}

/// What an instance has used together with those before it.
pub(crate) fn summed(usage: ComponentUsage, earlier: Option<&ComponentUsage>) -> ComponentUsage {
    let Some(earlier) = earlier else {
        return usage;
    };
    let mut sum = usage;
    sum.peak_memory_bytes = sum.peak_memory_bytes.max(earlier.peak_memory_bytes);
    for (counter, before) in [
        (&mut sum.total_fuel, earlier.total_fuel),
        (&mut sum.calls, earlier.calls),
        (&mut sum.traps, earlier.traps),
        (&mut sum.timeouts, earlier.timeouts),
        (&mut sum.restarts, earlier.restarts),
    ] {
        *counter = counter.saturating_add(before);
    }
    sum
}
