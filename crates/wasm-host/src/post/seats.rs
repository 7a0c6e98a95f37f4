//! How many requests of an instance may be open.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The seats of one instance, one for each request that is open and for each callback that
/// waits.
#[derive(Debug)]
pub(crate) struct Seats {
    max: usize,
    taken: AtomicUsize,
}

/// One of them, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Seat(Arc<Seats>);

impl Seats {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            taken: AtomicUsize::new(0),
        })
    }

    /// `None` when all are taken.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Seat> {
        let one_more = |taken: usize| (taken < self.max).then_some(taken + 1);
        self.taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more)
            .ok()?;
        Some(Seat(Arc::clone(self)))
    }

    pub(crate) fn are_free(&self) -> bool {
        self.taken.load(Ordering::Acquire) == 0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }
}
