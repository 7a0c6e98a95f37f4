//! The lease of this node by its own clock.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::protocol::lease::{Lease, Terms};

/// For how long this node may own anything.
#[derive(Debug)]
pub(crate) struct Tenure {
    /// From which points in time are counted.
    beginning: Instant,
    lease: Mutex<Lease>,
    /// It is over earlier than it was to be.
    pub(crate) ended: Notify,
}

impl Tenure {
    /// Of a node that owns nothing yet.
    pub(crate) fn new(terms: Terms) -> Self {
        Self {
            beginning: Instant::now(),
            lease: Mutex::new(Lease::new(terms)),
            ended: Notify::new(),
        }
    }

    fn lease(&self) -> MutexGuard<'_, Lease> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Duration {
        self.beginning.elapsed()
    }

    /// A renewal was granted that was asked for at this time.
    pub(crate) fn grant(&self, asked: Duration) {
        self.lease().grant(asked);
    }

    /// Another process has it.
    pub(crate) fn end(&self) {
        self.lease().end();
        self.ended.notify_one();
    }

    pub(crate) fn is_held(&self) -> bool {
        self.lease().is_held(self.now())
    }

    /// Whether it has been held without a gap since then.
    pub(crate) fn is_held_since(&self, then: Duration) -> bool {
        self.lease().is_held_since(then, self.now())
    }

    /// When everything must have ended unless it is renewed until then; `None` if it is not held.
    pub(crate) fn stops(&self) -> Option<Instant> {
        let lease = *self.lease();
        let stops = lease.stops().filter(|_| lease.is_held(self.now()))?;
        Some(self.beginning + stops)
    }
}
