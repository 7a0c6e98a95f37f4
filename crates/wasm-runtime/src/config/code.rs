//! What compiled code depends on.

use std::num::NonZeroUsize;

use wasmtime::{Config, WasmBacktraceDetails};

/// Deep enough for the interpreters that come as components.
const GUEST_STACK_BYTES: usize = 512 << 10;

/// The guest's stack and 1.5 MiB for the host functions that it calls.
pub(super) const FIBER_STACK_BYTES: usize = 2 << 20;

/// Frames of a call stack that an error keeps.
const MAX_FRAMES: usize = 32;

/// A page of a memory, in bytes.
pub(super) const WASM_PAGE_BYTES: u64 = 64 << 10;

/// All that a memory of 32 bits can be. Where so much is reserved, code does not check where
/// it reads and writes: what lies beyond cannot be reached, or is not mapped.
pub(super) const WHOLE_MEMORY_BYTES: u64 = 4 << 30;

/// The choices of a configuration that change the code which a component is compiled to: a
/// compiler in a process of its own has to know them, and code of other choices is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CodeSettings {
    /// Address space that each memory has.
    pub(crate) reservation_bytes: u64,
    /// Whether code counts what it executes.
    pub(crate) counts_fuel: bool,
}

impl CodeSettings {
    pub(crate) fn wasmtime_config(self) -> Config {
        let mut config = Config::new();
        config
            .consume_fuel(self.counts_fuel)
            .epoch_interruption(true)
            // Components here are synchronous; with it on, a call costs more than twice
            // as much.
            .concurrency_support(false)
            // wasmtime reports the failed growth of a table of 64 bits without having asked for
            // it, which would be taken for the failure of the growth before.
            .wasm_memory64(false)
            .max_wasm_stack(GUEST_STACK_BYTES)
            .async_stack_size(FIBER_STACK_BYTES)
            .memory_reservation(self.reservation_bytes)
            // The environment has no say in it: a compiler in a process of its own has none, and
            // looking up lines of source is work that a stranger's component decides on.
            .wasm_backtrace_details(WasmBacktraceDetails::Disable)
            .wasm_backtrace_max_frames(NonZeroUsize::new(MAX_FRAMES));
        if self.reservation_bytes < WHOLE_MEMORY_BYTES {
            // No memory grows beyond what is reserved for it, and accesses are checked: a
            // guard that only saves some of the checks need not be large.
            config
                .memory_may_move(false)
                .memory_guard_size(WASM_PAGE_BYTES);
        }
        config
    }
}
