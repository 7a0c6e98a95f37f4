use std::sync::{Arc, Mutex};

use wasm_core::ComponentUsage;
use wasm_fixtures::{
    Lifecycle, OnCallback, OnInitialize, OnMessage, OnShutdown, Otherwise, PAGE_BYTES,
};

use crate::lock::lock;

/// Where the heap of every fixture starts.
const HEAP_START: u64 = 0x1000;

/// What a table element takes.
pub(super) const TABLE_ELEMENT_BYTES: u64 = 8;

/// The memories and tables of one instance, and the allocator that all fixtures
/// share: it hands out one block after the other and frees all at once. The usage of the
/// component has those of all its instances that are there.
#[derive(Debug)]
pub(super) struct Memory {
    limit: u64,
    used: u64,
    /// What the heap may take without growing, as if all memories were one.
    room: u64,
    heap: u64,
    /// Where the heap starts over after each call.
    kept: u64,
    denied: Option<u64>,
    usage: Arc<Mutex<ComponentUsage>>,
}

/// A growth that the limit does not allow; the total is kept for
/// [`Memory::take_denied`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Denied;

impl Memory {
    /// None yet.
    pub(super) fn new(limit: u64, usage: Arc<Mutex<ComponentUsage>>) -> Self {
        Self {
            limit,
            used: 0,
            room: 0,
            heap: HEAP_START,
            kept: HEAP_START,
            denied: None,
            usage,
        }
    }

    /// What there is before the first instruction.
    pub(super) fn instantiate(&mut self, lifecycle: &Lifecycle) -> Result<(), Denied> {
        self.room = lifecycle.initial_memory_bytes;
        self.grow(self.room)?;
        self.grow(table_elements(lifecycle) * TABLE_ELEMENT_BYTES)
    }

    /// The latest total that was asked for and denied since the last call of this.
    pub(super) fn take_denied(&mut self) -> Option<u64> {
        self.denied.take()
    }

    /// The number of pages in all memories, once each in turn has grown until one
    /// was denied.
    pub(super) fn grow_in_turn(&mut self) -> u64 {
        while self.grow(PAGE_BYTES).is_ok() {
            self.room = self.used;
        }
        self.used / PAGE_BYTES
    }

    pub(super) fn grow(&mut self, bytes: u64) -> Result<(), Denied> {
        let wanted = self.used.saturating_add(bytes);
        if wanted > self.limit {
            self.denied = Some(wanted);
            return Err(Denied);
        }
        self.used = wanted;
        let mut usage = lock(&self.usage);
        usage.memory_bytes += bytes;
        usage.peak_memory_bytes = usage.peak_memory_bytes.max(usage.memory_bytes);
        Ok(())
    }

    /// Makes room on the heap, which grows by whole pages.
    pub(super) fn allocate(&mut self, align: u64, size: u64) -> Result<(), Denied> {
        let end = self.heap.next_multiple_of(align).saturating_add(size);
        let missing = end.div_ceil(PAGE_BYTES).saturating_mul(PAGE_BYTES);
        let missing = missing.saturating_sub(self.room);
        self.grow(missing)?;
        self.room += missing;
        self.heap = end;
        Ok(())
    }

    /// What was allocated since the last call of [`keep`](Self::keep) is free.
    pub(super) fn free(&mut self) {
        self.heap = self.kept;
    }

    /// What is allocated stays.
    pub(super) fn keep(&mut self) {
        self.kept = self.heap;
    }

    /// The heap starts with this many bytes that stay, and with nothing else.
    pub(super) fn keep_only(&mut self, bytes: u64) {
        self.kept = HEAP_START + bytes;
        self.free();
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        lock(&self.usage).memory_bytes -= self.used;
    }
}

/// A host function that is handed or returns more than numbers is called through a
/// table, in which each has one element.
fn table_elements(lifecycle: &Lifecycle) -> u64 {
    let of_initialize = match lifecycle.initialize {
        OnInitialize::FailsAgain(_) | OnInitialize::Sends => 2,
        _ => 0,
    };
    let of_message = match lifecycle.message {
        OnMessage::Store => 6,
        OnMessage::Timers => 4,
        OnMessage::Spend => 3,
        OnMessage::AsStored
        | OnMessage::CountInStorage
        | OnMessage::Request
        | OnMessage::Directory => 2,
        OnMessage::SelfId
        | OnMessage::Send
        | OnMessage::SendBack
        | OnMessage::Broadcast
        | OnMessage::Log
        | OnMessage::Time
        | OnMessage::LogFlood { .. }
        | OnMessage::LogControlCharacters
        | OnMessage::SendFlood { .. }
        | OnMessage::BroadcastStorm { .. }
        | OnMessage::FillStorage
        | OnMessage::OkOr(Otherwise::GrowTableUntilDenied | Otherwise::AskForRandomBytes(_)) => 1,
        _ => 0,
    };
    let of_shutdown = match lifecycle.shutdown {
        OnShutdown::Requests
        | OnShutdown::Sends
        | OnShutdown::Broadcasts
        | OnShutdown::Logs
        | OnShutdown::Stores => 1,
        _ => 0,
    };
    let of_callback = match lifecycle.callback {
        OnCallback::Fetch => 5,
        _ => 0,
    };
    of_initialize + of_message + of_callback + of_shutdown
}
