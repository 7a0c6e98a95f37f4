//! What is counted of a component.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use wasm_core::{ComponentState, ComponentUsage, WasmError};

use super::failure::EndedCall;
use super::limiter::MemoryMeter;

/// What is counted of a component, over all its instances; readable at any time.
#[derive(Debug)]
pub(crate) struct Meters {
    /// Calls that are running, and restarts.
    running: AtomicU32,
    is_failed: AtomicBool,
    pub(crate) memory: Arc<MemoryMeter>,
    last_call_fuel: AtomicU64,
    total_fuel: AtomicU64,
    pub(crate) calls: AtomicU64,
    traps: AtomicU64,
    timeouts: AtomicU64,
    pub(crate) restarts: AtomicU64,
}

impl Meters {
    pub(crate) fn new() -> Self {
        Self {
            running: AtomicU32::new(0),
            is_failed: AtomicBool::new(false),
            memory: Arc::default(),
            last_call_fuel: AtomicU64::new(0),
            total_fuel: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            traps: AtomicU64::new(0),
            timeouts: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
        }
    }

    fn state(&self) -> ComponentState {
        if self.running.load(Ordering::Relaxed) > 0 {
            ComponentState::Busy
        } else if self.is_failed.load(Ordering::Relaxed) {
            ComponentState::Failed
        } else {
            ComponentState::Ready
        }
    }

    pub(crate) fn begin(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn set_failed(&self, is_failed: bool) {
        self.is_failed.store(is_failed, Ordering::Relaxed);
    }

    pub(crate) fn count(&self, counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn fuel(&self, consumed: u64) {
        self.last_call_fuel.store(consumed, Ordering::Relaxed);
        self.total_fuel.fetch_add(consumed, Ordering::Relaxed);
    }

    pub(super) fn failure(&self, error: &WasmError, ended: EndedCall) {
        let fuel_consumed = match error {
            WasmError::Timeout { fuel_consumed, .. } => {
                self.count(&self.timeouts);
                *fuel_consumed
            }
            WasmError::Trapped { fuel_consumed, .. }
            | WasmError::ResourceLimitExceeded { fuel_consumed, .. } => {
                self.count(&self.traps);
                *fuel_consumed
            }
            _ => ended.fuel_consumed,
        };
        self.fuel(fuel_consumed);
    }

    pub(crate) fn usage(&self) -> ComponentUsage {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut usage = ComponentUsage::new(self.state());
        usage.memory_bytes = self.memory.now();
        usage.peak_memory_bytes = self.memory.peak();
        usage.last_call_fuel = load(&self.last_call_fuel);
        usage.total_fuel = load(&self.total_fuel);
        usage.calls = load(&self.calls);
        usage.traps = load(&self.traps);
        usage.timeouts = load(&self.timeouts);
        usage.restarts = load(&self.restarts);
        usage
    }
}
