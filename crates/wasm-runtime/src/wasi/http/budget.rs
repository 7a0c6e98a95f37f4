//! How much a call may send and receive over HTTP.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Requests of one call.
pub(crate) const MAX_REQUESTS: u32 = 64;

/// Bodies of all requests and responses of one call, in bytes: ten times what an interpreter
/// of Python takes to load.
pub(crate) const MAX_BODY_BYTES: u64 = 64 << 20;

/// What the running call of an instance has sent and received.
#[derive(Debug, Default)]
pub(crate) struct HttpBudget {
    requests: AtomicU32,
    bytes: AtomicU64,
}

impl HttpBudget {
    /// Gives the call that begins all there is.
    pub(crate) fn refill(&self) {
        self.requests.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
    }

    /// Whether there is one more request.
    pub(super) fn take_request(&self) -> bool {
        self.requests.fetch_add(1, Ordering::Relaxed) < MAX_REQUESTS
    }

    /// Whether there is room for so many bytes of a body.
    pub(super) fn take_bytes(&self, bytes: usize) -> bool {
        let before = self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        before.saturating_add(bytes as u64) <= MAX_BODY_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_so_much_and_the_next_as_much() {
        let budget = HttpBudget::default();
        for _ in 0..2 {
            budget.refill();
            assert!((0..MAX_REQUESTS).all(|_| budget.take_request()));
            assert!(!budget.take_request());
            assert!(budget.take_bytes(MAX_BODY_BYTES as usize));
            assert!(!budget.take_bytes(1));
        }
    }
}
