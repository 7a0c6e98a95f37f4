use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::ResourceLimiter;

use crate::survey::{CORE_INSTANCES, MEMORIES, TABLES};

/// What a table element takes: wasmtime keeps one pointer for each.
const TABLE_ELEMENT_BYTES: u64 = size_of::<usize>() as u64;

/// Handles to resources, its own and the host's, that a component may hold at once.
pub(crate) const MAX_HANDLES: usize = 4096;

/// Resources that the host keeps for a component at once. Some are sockets or open
/// files, of which a process has 1,024 by default; others are buffers. Language
/// runtimes keep some dozens.
pub(crate) const MAX_HOST_RESOURCES: usize = 256;

/// Memory of all instances of a component, readable while they run.
#[derive(Debug, Default)]
pub(crate) struct MemoryMeter {
    now: AtomicU64,
    peak: AtomicU64,
}

impl MemoryMeter {
    pub(crate) fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: u64) {
        let before = self.now.fetch_add(bytes, Ordering::Relaxed);
        self.peak.fetch_max(before + bytes, Ordering::Relaxed);
    }

    fn subtract(&self, bytes: u64) {
        self.now.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Holds one instance to its memory limit, in total over all its memories and
/// tables.
#[derive(Debug)]
pub(crate) struct WasmResourceLimiter {
    limit: u64,
    used: u64,
    // The growth that was granted last, until it is known whether it succeeded.
    granted: u64,
    denied: Option<u64>,
    meter: Arc<MemoryMeter>,
}

impl WasmResourceLimiter {
    pub(crate) fn new(limit: u64, meter: Arc<MemoryMeter>) -> Self {
        Self {
            limit,
            used: 0,
            granted: 0,
            denied: None,
            meter,
        }
    }

    /// The latest total that was asked for and denied since the last call of this.
    pub(crate) fn take_denied(&mut self) -> Option<u64> {
        self.denied.take()
    }

    fn grow(&mut self, bytes: u64) -> bool {
        self.granted = 0;
        let wanted = self.used.saturating_add(bytes);
        if wanted > self.limit {
            self.denied = Some(wanted);
            return false;
        }
        self.granted = bytes;
        self.used = wanted;
        self.meter.add(bytes);
        true
    }

    /// A failure may be reported for a growth that was never asked about, so only
    /// what was granted is taken back, and only once.
    fn growth_failed(&mut self) {
        let granted = std::mem::take(&mut self.granted);
        self.used -= granted;
        self.meter.subtract(granted);
    }
}

/// What the instance had is the component's no more.
impl Drop for WasmResourceLimiter {
    fn drop(&mut self) {
        self.meter.subtract(self.used);
    }
}

impl ResourceLimiter for WasmResourceLimiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(desired.saturating_sub(current) as u64))
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.growth_failed();
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let elements = desired.saturating_sub(current) as u64;
        Ok(self.grow(elements.saturating_mul(TABLE_ELEMENT_BYTES)))
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.growth_failed();
        Ok(())
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES.most()
    }

    fn tables(&self) -> usize {
        TABLES.most()
    }

    fn memories(&self) -> usize {
        MEMORIES.most()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(limit: u64) -> (WasmResourceLimiter, Arc<MemoryMeter>) {
        let meter = Arc::new(MemoryMeter::default());
        (WasmResourceLimiter::new(limit, Arc::clone(&meter)), meter)
    }

    fn failure() -> wasmtime::Error {
        wasmtime::Error::msg("out of memory")
    }

    #[test]
    fn memories_and_tables_share_one_total() {
        let (mut limiter, meter) = limiter(1000);
        assert!(limiter.memory_growing(0, 600, None).unwrap());
        assert!(limiter.table_growing(0, 40, None).unwrap());
        assert_eq!(meter.now(), 920);
        assert!(!limiter.memory_growing(0, 100, None).unwrap());
        assert_eq!(limiter.take_denied(), Some(1020));
        assert_eq!(limiter.take_denied(), None);
        assert!(!limiter.table_growing(40, 51, None).unwrap());
        assert!(limiter.table_growing(40, 50, None).unwrap());
        assert_eq!((meter.now(), meter.peak()), (1000, 1000));
    }

    #[test]
    fn a_growth_that_failed_is_taken_back_once() {
        let (mut limiter, meter) = limiter(1000);
        assert!(limiter.memory_growing(0, 400, None).unwrap());
        assert!(limiter.memory_growing(400, 900, None).unwrap());
        limiter.memory_grow_failed(failure()).unwrap();
        assert_eq!((meter.now(), meter.peak()), (400, 900));
        limiter.memory_grow_failed(failure()).unwrap();
        limiter.table_grow_failed(failure()).unwrap();
        assert_eq!(meter.now(), 400);
        // There is as much room as before.
        assert!(limiter.memory_growing(400, 1000, None).unwrap());
        drop(limiter);
        assert_eq!(meter.now(), 0);
    }

    #[test]
    fn a_table_that_did_not_grow_takes_nothing() {
        let (mut limiter, meter) = limiter(1000);
        assert!(limiter.table_growing(0, 100, None).unwrap());
        assert_eq!(meter.now(), 800);
        limiter.table_grow_failed(failure()).unwrap();
        assert_eq!(meter.now(), 0);
    }

    #[test]
    fn a_denied_growth_has_nothing_to_take_back() {
        let (mut limiter, meter) = limiter(1000);
        assert!(limiter.memory_growing(0, 400, None).unwrap());
        assert!(!limiter.memory_growing(400, 2000, None).unwrap());
        limiter.memory_grow_failed(failure()).unwrap();
        assert_eq!(meter.now(), 400);
    }

    #[test]
    fn instances_add_up_and_give_back_what_they_had() {
        let (mut one, meter) = limiter(1000);
        let mut other = WasmResourceLimiter::new(1000, Arc::clone(&meter));
        assert!(one.memory_growing(0, 700, None).unwrap());
        assert!(other.memory_growing(0, 600, None).unwrap());
        assert_eq!((meter.now(), meter.peak()), (1300, 1300));
        drop(one);
        assert_eq!((meter.now(), meter.peak()), (600, 1300));
        drop(other);
        assert_eq!((meter.now(), meter.peak()), (0, 1300));
    }

    #[test]
    fn absurd_sizes_do_not_wrap() {
        let (mut limiter, _) = limiter(u64::MAX - 1);
        assert!(limiter.memory_growing(0, 4096, None).unwrap());
        assert!(!limiter.memory_growing(4096, usize::MAX, None).unwrap());
        assert!(!limiter.table_growing(0, usize::MAX, None).unwrap());
    }
}
