//! What is counted of a component.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wasm_core::{ComponentUsage, WasmError};

use super::failure::EndedCall;
use super::limiter::MemoryMeter;

/// What is counted of a component, over all its instances; readable at any time.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    pub(crate) memory: Arc<MemoryMeter>,
    last_call_fuel: AtomicU64,
    total_fuel: AtomicU64,
    traps: AtomicU64,
    timeouts: AtomicU64,
    restarts: AtomicU64,
}

impl Meters {
    pub(crate) fn restarted(&self) {
        count(&self.restarts);
    }

    pub(super) fn fuel(&self, consumed: u64) {
        self.last_call_fuel.store(consumed, Ordering::Relaxed);
        self.total_fuel.fetch_add(consumed, Ordering::Relaxed);
    }

    pub(super) fn failure(&self, error: &WasmError, ended: EndedCall) {
        let fuel_consumed = match error {
            WasmError::Timeout { fuel_consumed, .. } => {
                count(&self.timeouts);
                *fuel_consumed
            }
            WasmError::Trapped { fuel_consumed, .. }
            | WasmError::ResourceLimitExceeded { fuel_consumed, .. } => {
                count(&self.traps);
                *fuel_consumed
            }
            _ => ended.fuel_consumed,
        };
        self.fuel(fuel_consumed);
    }

    pub(crate) fn add_to(&self, usage: &mut ComponentUsage) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        usage.memory_bytes = self.memory.now();
        usage.peak_memory_bytes = self.memory.peak();
        usage.last_call_fuel = load(&self.last_call_fuel);
        usage.total_fuel = load(&self.total_fuel);
        usage.traps = load(&self.traps);
        usage.timeouts = load(&self.timeouts);
        usage.restarts = load(&self.restarts);
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
