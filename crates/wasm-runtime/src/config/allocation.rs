//! Where instances have their memory.

use wasmtime::{Enabled, PoolingAllocationConfig};

use crate::survey::{CORE_INSTANCES, MEMORIES, TABLE_ELEMENTS, TABLES};

/// Where instances have their memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Allocation {
    /// In a pool that is reserved when the engine is made, so that making an instance maps
    /// nothing: a fresh instance costs a fraction. The address space is taken at once, memory
    /// only as it is used. One more instance than there is room for is an error.
    Pooled {
        /// Room for so many instances at a time, each of which has one memory and four
        /// tables; those that have more take the room of several.
        instances: u32,
    },
    /// Mapped for each instance, for a process that has little address space, or no use for
    /// the same room twice.
    OnDemand,
}

impl Default for Allocation {
    /// A pool of 1,000 instances.
    fn default() -> Self {
        Self::Pooled { instances: 1000 }
    }
}

/// What is dear: time or address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Profile {
    /// 4 GiB of address space for each memory, so that code need not check where it reads and
    /// writes. Code that computes takes two thirds of the time that it takes with
    /// [`Density`](Self::Density); there is room for about 30,000 memories in a process.
    #[default]
    Speed,
    /// As much address space for each memory as the memory ceiling allows. Page tables are
    /// smaller, so that many instances that are called in turn are reached faster, and take
    /// 8 KiB less of the kernel's memory each. An instance takes five of the mappings of which
    /// Linux gives a process 65,530 by default (`vm.max_map_count`), here as there.
    Density,
}

/// Tables of an instance: those of its code, and those by which toolchains link it.
const TABLES_EACH: u32 = 4;

/// What is zeroed by hand when an instance is given up, rather than given back to the
/// operating system and faulted in again: the pages of a small component.
const KEPT_MEMORY_BYTES: usize = 64 << 10;

/// A page of tables, for the same reason.
const KEPT_TABLE_BYTES: usize = 4 << 10;

/// What wasmtime knows of an instance lies on the heap, and the survey has bounded it: more
/// than that bound.
const INSTANCE_BYTES: usize = 1 << 30;

pub(super) fn pool(instances: u32, memory_bytes: u64) -> PoolingAllocationConfig {
    let most = |limit: usize| u32::try_from(limit).unwrap_or(u32::MAX);
    // However few they are: there is room for the largest that is accepted.
    let memories = instances.max(most(MEMORIES.most()));
    let tables = instances.saturating_mul(TABLES_EACH);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_memories(memories)
        .total_tables(tables.max(most(TABLES.most())))
        .total_stacks(instances)
        // These take no room of their own, and the survey has bounded them for each component.
        .total_core_instances(instances.saturating_mul(most(CORE_INSTANCES.most())))
        .max_core_instances_per_component(most(CORE_INSTANCES.most()))
        .max_memories_per_component(most(MEMORIES.most()))
        .max_memories_per_module(most(MEMORIES.most()))
        .max_tables_per_component(most(TABLES.most()))
        .max_tables_per_module(most(TABLES.most()))
        .max_component_instance_size(INSTANCE_BYTES)
        .max_core_instance_size(INSTANCE_BYTES)
        .table_elements(TABLE_ELEMENTS.most())
        .max_memory_size(usize::try_from(memory_bytes).unwrap_or(usize::MAX))
        .linear_memory_keep_resident(KEPT_MEMORY_BYTES)
        .table_keep_resident(KEPT_TABLE_BYTES)
        // Where Linux tells which pages were written, others need not be zeroed.
        .pagemap_scan(Enabled::Auto);
    pool
}
