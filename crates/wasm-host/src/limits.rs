use thiserror::Error;

use wasm_core::units::{format_bytes, format_count};

/// What all components of a host may use together.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostLimits {
    /// Components that have an instance at a time; one that is being swapped counts twice,
    /// and one that sleeps does not count. A message for one that sleeps waits until there
    /// is room for its instance, for up to 10 seconds.
    pub components: u64,
    /// Components that are there, with an instance or without.
    pub registered: u64,
    /// The memory limits of all components that have an instance added up, in bytes.
    pub memory_bytes: u64,
    /// What the engine keeps for all components besides their instances, in bytes:
    /// code, types and names, as [`KeptMemory`](wasm_core::KeptMemory) tells, once for those that share it.
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
    /// Dead letters that are kept; the oldest of the recipient that has the most go first.
    pub dead_letters: usize,
    /// Payloads, message types and errors of dead letters, in bytes, with 256 for the
    /// envelope of each. An error takes up to [16 KiB](wasm_core::WasmError::MAX_KEPT_BYTES).
    /// A letter that is larger than all may be together is kept without its payload and
    /// message type, or not at all if that does not suffice.
    pub dead_letter_bytes: u64,
    /// Events that wait for one who reads them, in bytes; there are at most 1,024 of messages
    /// that were handled, 1,024 of those that were answered with an error, 1,024 of dead letters,
    /// withdrawn requests and denials, and 1,024 others. The oldest go first, in this order; the
    /// latest of each stays. Who has not read them is told how many [were missed](crate::Event::Missed).
    pub event_bytes: u64,
}

impl Default for HostLimits {
    /// 1,024 components with an instance and 1 GiB of memory, and as much kept for them;
    /// 1,000,000 that are there; 16 MiB in a mailbox and 256 MiB in all; 64 hops, more than a chain of components is long that someone thought of; 256
    /// open requests; 1,024 dead letters of up to 16 MiB; 4 MiB of events.
    fn default() -> Self {
        Self {
            components: 1_024,
            registered: 1_000_000,
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

    /// Replaces [`registered`](Self::registered).
    #[must_use]
    pub fn with_registered(mut self, components: u64) -> Self {
        self.registered = components;
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
    /// [`HostLimits::registered`].
    #[error(
        "{} components are there, with an instance or without, as many as this host may have \
         (`registered` in HostLimits, `--max-registered`)",
        format_count(*limit)
    )]
    Registered {
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
