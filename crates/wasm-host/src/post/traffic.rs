//! Everything that is on its way in a host.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// What a message takes besides its [bytes](crate::post::letter::message_bytes), roughly: the ids and the
/// correlation id of a request.
pub(crate) const ENVELOPE_BYTES: u64 = 256;

/// Every message of a host that was accepted and not yet handled.
#[derive(Debug)]
pub(crate) struct Traffic {
    letters: AtomicU64,
    bytes: AtomicU64,
    max_bytes: u64,
    quiet: Notify,
}

/// A message's share of the traffic, for as long as this lives.
#[derive(Debug)]
pub(crate) struct InFlight {
    traffic: Arc<Traffic>,
    bytes: u64,
}

impl Traffic {
    pub(crate) fn new(max_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            letters: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            max_bytes,
            quiet: Notify::new(),
        })
    }

    /// `None` when there is no room for one more.
    pub(crate) fn admit(self: &Arc<Self>, message_bytes: usize) -> Option<InFlight> {
        let bytes = message_bytes as u64 + ENVELOPE_BYTES;
        let add = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.max_bytes);
        self.bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, add)
            .ok()?;
        Some(self.count(bytes))
    }

    /// For what must arrive and is bounded otherwise.
    pub(crate) fn admit_always(self: &Arc<Self>, message_bytes: usize) -> InFlight {
        let bytes = message_bytes as u64 + ENVELOPE_BYTES;
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.count(bytes)
    }

    fn count(self: &Arc<Self>, bytes: u64) -> InFlight {
        self.letters.fetch_add(1, Ordering::AcqRel);
        InFlight {
            traffic: Arc::clone(self),
            bytes,
        }
    }

    pub(crate) fn letters(&self) -> u64 {
        self.letters.load(Ordering::Acquire)
    }

    /// Ends once nothing waits and nothing is being handled.
    pub(crate) async fn quiet(&self) {
        loop {
            let quiet = self.quiet.notified();
            tokio::pin!(quiet);
            quiet.as_mut().enable();
            if self.letters() == 0 {
                return;
            }
            quiet.await;
        }
    }
}

impl InFlight {
    /// The message was replaced by a shorter one.
    pub(crate) fn shrink(&mut self, message_bytes: usize) {
        let bytes = message_bytes as u64 + ENVELOPE_BYTES;
        let freed = self.bytes.saturating_sub(bytes);
        self.bytes -= freed;
        self.traffic.bytes.fetch_sub(freed, Ordering::AcqRel);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.traffic.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        if self.traffic.letters.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.traffic.quiet.notify_waiters();
        }
    }
}
