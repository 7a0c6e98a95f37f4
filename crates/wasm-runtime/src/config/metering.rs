//! By what a guest that does not end is stopped.

use wasm_core::{LimitsError, ResourceLimits};

/// By what a guest that does not end is stopped. Its time is limited with either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Metering {
    /// By its fuel and by its time. Fuel is the same on every machine and however busy it is, and
    /// is what usage tells of computing; counting it makes code that computes take 1.1 to 1.7
    /// times as long as with [`Time`](Self::Time) (the bench `ratios`).
    #[default]
    FuelAndTime,
    /// By its time alone, which wasmtime's epochs tell the code at each loop and call. No fuel is
    /// counted: usage and errors have 0, and a component whose limits have fuel is not loaded
    /// ([`LimitsError::FuelNotCounted`]). One `memory.fill` or its like is not interrupted: it may
    /// go on for as long as it takes to fill all memory that the component may have.
    Time,
}

impl Metering {
    /// Whether these limits can be kept.
    pub(crate) fn check(self, limits: &ResourceLimits) -> Result<(), LimitsError> {
        match (self, limits.fuel()) {
            (Self::Time, Some(found)) => Err(LimitsError::FuelNotCounted { found }),
            _ => Ok(()),
        }
    }
}
