use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use thiserror::Error;

use wasm_core::KeptMemory;
use wasm_core::units::{format_bytes, format_count};

use crate::lock::lock;

/// What all components of a host may use together.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostLimits {
    /// Components loaded at a time; one that is being swapped counts twice.
    pub components: u64,
    /// The memory limits of all loaded components added up, in bytes.
    pub memory_bytes: u64,
    /// What the engine keeps for all loaded components besides their instances, in bytes:
    /// code, types and names, as [`KeptMemory`] tells, once for those that share it.
    pub kept_bytes: u64,
    /// What waits in one mailbox, payloads and message types, in bytes. How many messages
    /// may wait is said by the component's [`Supervision`](wasm_core::Supervision).
    pub mailbox_bytes: u64,
    /// All messages that wait or are being handled, in bytes, with 256 for the envelope
    /// of each. A mailbox that holds less than 64 KiB has room all the same.
    pub queued_bytes: u64,
    /// How many components a message may pass on its way, each of which sent it on:
    /// what ends a loop.
    pub hops: u32,
    /// Requests of one component whose callbacks it has not been handed yet.
    pub open_requests: usize,
    /// Dead letters that are kept; the oldest go first.
    pub dead_letters: usize,
    /// Payloads, message types and errors of dead letters, in bytes, with 256 for the
    /// envelope of each. An error takes up to [16 KiB](wasm_core::WasmError::MAX_KEPT_BYTES).
    /// A letter that is larger than all may be together is kept without its payload and
    /// message type, or not at all if that does not suffice.
    pub dead_letter_bytes: u64,
    /// Events that wait for one who reads them, in bytes; there are at most 1,024. The
    /// oldest go first, and who has not read them is told how many
    /// [were missed](crate::Event::Missed).
    pub event_bytes: u64,
}

impl Default for HostLimits {
    /// 1,024 components with 1 GiB of memory, and as much kept for them; 16 MiB in a mailbox and 256 MiB in all;
    /// 64 hops, more than a chain of components is long that someone thought of; 256
    /// open requests; 1,024 dead letters of up to 16 MiB; 4 MiB of events.
    fn default() -> Self {
        Self {
            components: 1_024,
            memory_bytes: 1 << 30,
            kept_bytes: 1 << 30,
            mailbox_bytes: 16 << 20,
            queued_bytes: 256 << 20,
            hops: 64,
            open_requests: 256,
            dead_letters: 1_024,
            dead_letter_bytes: 16 << 20,
            event_bytes: 4 << 20,
        }
    }
}

impl HostLimits {
    /// Replaces [`components`](Self::components).
    #[must_use]
    pub fn with_components(mut self, components: u64) -> Self {
        self.components = components;
        self
    }

    /// Replaces [`memory_bytes`](Self::memory_bytes).
    #[must_use]
    pub fn with_memory_bytes(mut self, bytes: u64) -> Self {
        self.memory_bytes = bytes;
        self
    }

    /// Replaces [`kept_bytes`](Self::kept_bytes).
    #[must_use]
    pub fn with_kept_bytes(mut self, bytes: u64) -> Self {
        self.kept_bytes = bytes;
        self
    }

    /// Replaces [`mailbox_bytes`](Self::mailbox_bytes).
    #[must_use]
    pub fn with_mailbox_bytes(mut self, bytes: u64) -> Self {
        self.mailbox_bytes = bytes;
        self
    }

    /// Replaces [`queued_bytes`](Self::queued_bytes).
    #[must_use]
    pub fn with_queued_bytes(mut self, bytes: u64) -> Self {
        self.queued_bytes = bytes;
        self
    }

    /// Replaces [`hops`](Self::hops).
    #[must_use]
    pub fn with_hops(mut self, hops: u32) -> Self {
        self.hops = hops;
        self
    }

    /// Replaces [`open_requests`](Self::open_requests).
    #[must_use]
    pub fn with_open_requests(mut self, requests: usize) -> Self {
        self.open_requests = requests;
        self
    }

    /// Replaces [`dead_letters`](Self::dead_letters) and
    /// [`dead_letter_bytes`](Self::dead_letter_bytes).
    #[must_use]
    pub fn with_dead_letters(mut self, letters: usize, bytes: u64) -> Self {
        self.dead_letters = letters;
        self.dead_letter_bytes = bytes;
        self
    }

    /// Replaces [`event_bytes`](Self::event_bytes).
    #[must_use]
    pub fn with_event_bytes(mut self, bytes: u64) -> Self {
        self.event_bytes = bytes;
        self
    }
}

/// A budget of the whole process that one more component would exceed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BudgetExceeded {
    /// [`HostLimits::components`].
    #[error(
        "{} components are loaded, as many as this host may have \
         (`components` in HostLimits, `--max-components`)",
        format_count(*limit)
    )]
    Components {
        /// How many there may be.
        limit: u64,
    },
    /// [`HostLimits::memory_bytes`].
    #[error(
        "a memory limit of {} does not fit: {} of {} are given to the components that are \
         loaded (`memory_bytes` in HostLimits, `--max-memory`)",
        format_bytes(*requested), format_bytes(*in_use), format_bytes(*limit)
    )]
    Memory {
        /// The component's memory limit, in bytes.
        requested: u64,
        /// Those of the components that are loaded, in bytes.
        in_use: u64,
        /// What all may have together, in bytes.
        limit: u64,
    },
    /// [`HostLimits::kept_bytes`].
    #[error(
        "the {} that are kept for its code and types do not fit: {} of {} are kept for the \
         components that are loaded (`kept_bytes` in HostLimits, `--max-kept`)",
        format_bytes(*requested), format_bytes(*in_use), format_bytes(*limit)
    )]
    Kept {
        /// What the engine keeps for it, in bytes.
        requested: u64,
        /// What it keeps for the components that are loaded, in bytes.
        in_use: u64,
        /// What all may have together, in bytes.
        limit: u64,
    },
}

/// What is given to the components that are loaded.
#[derive(Debug)]
pub(crate) struct Budget {
    components: u64,
    memory_bytes: u64,
    kept_bytes: u64,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    components: u64,
    memory_bytes: u64,
    kept_bytes: u64,
    /// How many components share what is kept, by its number.
    sharers: HashMap<u64, u64>,
}

impl Used {
    /// What is kept that nobody has been charged for yet.
    fn uncharged(&self, kept: KeptMemory) -> u64 {
        match self.sharers.contains_key(&kept.shared_as) {
            true => 0,
            false => kept.bytes,
        }
    }

    fn charge(&mut self, kept: KeptMemory) {
        self.kept_bytes += self.uncharged(kept);
        if kept.shared_as != 0 {
            *self.sharers.entry(kept.shared_as).or_default() += 1;
        }
    }

    fn give_back(&mut self, kept: KeptMemory) {
        if let Some(sharers) = self.sharers.get_mut(&kept.shared_as) {
            *sharers -= 1;
            if *sharers > 0 {
                return;
            }
            self.sharers.remove(&kept.shared_as);
        }
        self.kept_bytes -= kept.bytes;
    }
}

/// The share of one component, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    memory_bytes: u64,
    kept: KeptMemory,
}

impl Budget {
    pub(crate) fn new(limits: &HostLimits) -> Arc<Self> {
        Arc::new(Self {
            components: limits.components,
            memory_bytes: limits.memory_bytes,
            kept_bytes: limits.kept_bytes,
            used: Mutex::default(),
        })
    }

    pub(crate) fn reserve(
        self: &Arc<Self>,
        memory_bytes: u64,
    ) -> Result<Reservation, BudgetExceeded> {
        let mut used = lock(&self.used);
        if used.components >= self.components {
            let limit = self.components;
            return Err(BudgetExceeded::Components { limit });
        }
        used.memory_bytes = self.with_memory(used.memory_bytes, memory_bytes)?;
        used.components += 1;
        Ok(Reservation {
            budget: Arc::clone(self),
            memory_bytes,
            kept: KeptMemory::default(),
        })
    }

    fn with_memory(&self, in_use: u64, requested: u64) -> Result<u64, BudgetExceeded> {
        let limit = self.memory_bytes;
        if requested > limit.saturating_sub(in_use) {
            return Err(BudgetExceeded::Memory {
                requested,
                in_use,
                limit,
            });
        }
        Ok(in_use + requested)
    }
}

impl Reservation {
    /// The same share with another memory; on an error it is as it was.
    pub(crate) fn resize(&mut self, memory_bytes: u64) -> Result<(), BudgetExceeded> {
        let mut used = lock(&self.budget.used);
        let in_use = used.memory_bytes - self.memory_bytes;
        used.memory_bytes = self.budget.with_memory(in_use, memory_bytes)?;
        self.memory_bytes = memory_bytes;
        Ok(())
    }

    /// Adds what the engine keeps for the component, which is known once it is loaded; on an
    /// error it is as it was.
    pub(crate) fn keep(&mut self, kept: KeptMemory) -> Result<(), BudgetExceeded> {
        let mut used = lock(&self.budget.used);
        let (requested, in_use) = (used.uncharged(kept), used.kept_bytes);
        let limit = self.budget.kept_bytes;
        if requested > limit.saturating_sub(in_use) {
            return Err(BudgetExceeded::Kept {
                requested,
                in_use,
                limit,
            });
        }
        used.charge(kept);
        self.kept = kept;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut used = lock(&self.budget.used);
        used.components -= 1;
        used.memory_bytes -= self.memory_bytes;
        used.give_back(self.kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_given_out_once_and_taken_back() {
        let limits = HostLimits::default()
            .with_components(2)
            .with_memory_bytes(3 << 20);
        let budget = Budget::new(&limits);
        let first = budget.reserve(2 << 20).unwrap();
        let error = budget.reserve(2 << 20).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a memory limit of 2MiB does not fit: 2MiB of 3MiB are given to the components that \
             are loaded (`memory_bytes` in HostLimits, `--max-memory`)"
        );
        let second = budget.reserve(1 << 20).unwrap();
        let error = budget.reserve(0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "2 components are loaded, as many as this host may have (`components` in HostLimits, \
             `--max-components`)"
        );
        drop(first);
        let third = budget.reserve(2 << 20).unwrap();
        drop((second, third));
        assert_eq!(lock(&budget.used).components, 0);
        assert_eq!(lock(&budget.used).memory_bytes, 0);
    }

    #[test]
    fn what_is_kept_is_charged_once_for_all_that_share_it() {
        let limits = HostLimits::default().with_kept_bytes(70);
        let budget = Budget::new(&limits);
        let kept = |bytes, shared_as| KeptMemory { bytes, shared_as };
        let in_use = || lock(&budget.used).kept_bytes;
        let mut first = budget.reserve(10).unwrap();
        let mut second = budget.reserve(10).unwrap();
        first.keep(kept(30, 7)).unwrap();
        second.keep(kept(30, 7)).unwrap();
        assert_eq!(in_use(), 30);
        let mut third = budget.reserve(10).unwrap();
        let error = third.keep(kept(41, 8)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the 41B that are kept for its code and types do not fit: 30B of 70B are kept for \
             the components that are loaded (`kept_bytes` in HostLimits, `--max-kept`)"
        );
        third.keep(kept(20, 0)).unwrap();
        let mut fourth = budget.reserve(0).unwrap();
        fourth.keep(kept(20, 0)).unwrap();
        assert_eq!(in_use(), 70, "what has no number is not shared");
        drop((first, third, fourth));
        assert_eq!(in_use(), 30, "the second one still has it");
        drop(second);
        assert_eq!(in_use(), 0);
    }
}
