use std::time::Duration;

use thiserror::Error;

use crate::units::{format_bytes, format_count, format_duration};

/// What one component may use: memory in total, time and fuel per call.
///
/// There are no defaults: a limit nobody chose protects nobody. Values outside
/// the constants below cannot be constructed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResourceLimits {
    memory_bytes: u64,
    timeout: Duration,
    fuel: Option<u64>,
}

impl ResourceLimits {
    /// 512 KiB: less does not hold the stack and data of common toolchains.
    pub const MIN_MEMORY_BYTES: u64 = 512 << 10;
    /// 4 MiB: what an engine grants at the most, unless its operator raised the ceiling.
    pub const DEFAULT_MEMORY_CEILING_BYTES: u64 = 4 << 20;
    /// 4 GiB: what 32-bit WebAssembly can address; no ceiling can be above it.
    pub const MAX_MEMORY_BYTES: u64 = 4 << 30;
    /// 1 ms: the resolution at which engines stop a guest.
    pub const MIN_TIMEOUT: Duration = Duration::from_millis(1);
    /// One day: a longer wait for one call is not a limit.
    pub const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

    /// `memory_bytes` is the total over all memories and tables of the instance;
    /// `timeout` is wall-clock time per call; `fuel` is per call and roughly one
    /// per WebAssembly instruction, `None` only if the operator asked for
    /// unmetered execution in so many words.
    ///
    /// # Errors
    /// [`LimitsError`] names the first limit that is out of range.
    pub fn new(
        memory_bytes: u64,
        timeout: Duration,
        fuel: Option<u64>,
    ) -> Result<Self, LimitsError> {
        if !(Self::MIN_MEMORY_BYTES..=Self::MAX_MEMORY_BYTES).contains(&memory_bytes) {
            return Err(LimitsError::Memory {
                found: memory_bytes,
                ceiling: Self::MAX_MEMORY_BYTES,
            });
        }
        if !(Self::MIN_TIMEOUT..=Self::MAX_TIMEOUT).contains(&timeout) {
            return Err(LimitsError::Timeout { found: timeout });
        }
        if fuel == Some(0) {
            return Err(LimitsError::NoFuel);
        }
        Ok(Self {
            memory_bytes,
            timeout,
            fuel,
        })
    }

    /// Checks the memory limit against what an operator allows.
    ///
    /// # Errors
    /// [`LimitsError::Memory`] when the limit is above `ceiling_bytes`.
    pub fn check_ceiling(&self, ceiling_bytes: u64) -> Result<(), LimitsError> {
        if self.memory_bytes <= ceiling_bytes {
            return Ok(());
        }
        Err(LimitsError::Memory {
            found: self.memory_bytes,
            ceiling: ceiling_bytes,
        })
    }

    /// Total over all memories and tables of an instance, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Wall-clock time per call.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Per call; `None` when execution is unmetered.
    pub fn fuel(&self) -> Option<u64> {
        self.fuel
    }
}

/// A limit that is out of range.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LimitsError {
    /// Below the minimum or above what may be granted.
    #[error(
        "a memory limit of {} is not allowed: it must be {} to {} (`memory` in [resources])",
        format_bytes(*found), format_bytes(ResourceLimits::MIN_MEMORY_BYTES), format_bytes(*ceiling)
    )]
    Memory {
        /// The limit asked for, in bytes.
        found: u64,
        /// The largest that is allowed, in bytes.
        ceiling: u64,
    },
    /// Not between 1 ms and one day.
    #[error(
        "a timeout of {} is not allowed: it must be {} to {} (`timeout` in [resources])",
        format_duration(*found),
        format_duration(ResourceLimits::MIN_TIMEOUT),
        format_duration(ResourceLimits::MAX_TIMEOUT)
    )]
    Timeout {
        /// The timeout asked for.
        found: Duration,
    },
    /// A budget with which nothing runs.
    #[error(
        "a fuel limit of 0 is not allowed: it must be 1 to {}, or \"unmetered\" (`fuel` in [resources])",
        format_count(u64::MAX)
    )]
    NoFuel,
    /// The engine stops a guest by the time alone, and counts no fuel.
    #[error(
        "a fuel limit of {} cannot be kept: this engine counts no fuel, so it must be \"unmetered\" (`fuel` in [resources])",
        format_count(*found)
    )]
    FuelNotCounted {
        /// The limit asked for.
        found: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{every, snapshot};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn keeps_what_is_in_range() {
        for bytes in [512 << 10, 4 << 20, 4 << 30] {
            let limits = ResourceLimits::new(bytes, SECOND, Some(1)).unwrap();
            assert_eq!(
                (limits.memory_bytes(), limits.timeout(), limits.fuel()),
                (bytes, SECOND, Some(1))
            );
        }
        assert_eq!(
            ResourceLimits::new(1 << 20, SECOND, None).unwrap().fuel(),
            None
        );
    }

    #[test]
    fn refuses_memory_out_of_range() {
        for found in [0, 1, (512 << 10) - 1, (4 << 30) + 1, 1 << 40, u64::MAX] {
            assert_eq!(
                ResourceLimits::new(found, SECOND, None),
                Err(LimitsError::Memory {
                    found,
                    ceiling: 4 << 30
                })
            );
        }
    }

    #[test]
    fn refuses_times_that_are_no_limit() {
        for found in [
            Duration::ZERO,
            Duration::from_micros(999),
            Duration::from_secs(86_401),
            Duration::MAX,
        ] {
            assert_eq!(
                ResourceLimits::new(1 << 20, found, None),
                Err(LimitsError::Timeout { found })
            );
        }
    }

    #[test]
    fn no_fuel_is_refused() {
        assert_eq!(
            ResourceLimits::new(1 << 20, SECOND, Some(0)),
            Err(LimitsError::NoFuel)
        );
    }

    #[test]
    fn the_ceiling_is_the_operators() {
        let limits = ResourceLimits::new(5 << 20, SECOND, None).unwrap();
        assert_eq!(limits.check_ceiling(5 << 20), Ok(()));
        assert_eq!(
            limits.check_ceiling(ResourceLimits::DEFAULT_MEMORY_CEILING_BYTES),
            Err(LimitsError::Memory {
                found: 5 << 20,
                ceiling: 4 << 20
            })
        );
    }

    #[test]
    fn errors_say_what_is_allowed() {
        let errors = every!(
            LimitsError,
            Memory {
                found: 5 << 20,
                ceiling: 4 << 20
            },
            Timeout {
                found: Duration::ZERO
            },
            NoFuel,
            FuelNotCounted { found: 1_000_000 },
        );
        snapshot("limits-error", errors);
    }
}
