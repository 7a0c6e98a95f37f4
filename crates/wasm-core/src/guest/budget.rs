use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Messages that one call may send, each recipient of a broadcast counted.
const MESSAGES_PER_CALL: u32 = 1024;

/// Bytes of payload that one call may send, those of a broadcast counted once: twice
/// what a component can hold under the usual ceiling.
const SENT_BYTES_PER_CALL: u64 = 8 << 20;

/// What the running call may still send.
#[derive(Debug, Default)]
pub(super) struct Budget {
    messages_left: AtomicU32,
    sent_bytes_left: AtomicU64,
}

impl Budget {
    pub(super) fn refill(&self) {
        self.messages_left
            .store(MESSAGES_PER_CALL, Ordering::Relaxed);
        self.sent_bytes_left
            .store(SENT_BYTES_PER_CALL, Ordering::Relaxed);
    }

    /// Takes messages to `recipients` that share `bytes` of payload. Where one of the
    /// budgets does not have as much left, nothing is taken from either.
    #[must_use]
    pub(super) fn take_messages(&self, recipients: usize, bytes: usize) -> bool {
        // One call of a component runs at a time, so nobody changes these in between.
        let messages = self.messages_left.load(Ordering::Relaxed);
        let payload = self.sent_bytes_left.load(Ordering::Relaxed);
        let left = u32::try_from(recipients)
            .ok()
            .and_then(|recipients| messages.checked_sub(recipients))
            .zip(payload.checked_sub(bytes as u64));
        let Some((messages, payload)) = left else {
            return false;
        };
        self.messages_left.store(messages, Ordering::Relaxed);
        self.sent_bytes_left.store(payload, Ordering::Relaxed);
        true
    }
}
