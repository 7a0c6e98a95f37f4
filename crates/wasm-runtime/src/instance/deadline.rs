//! When the running call has to end.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What instants are counted from.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The clock was not read in this call.
const UNREAD: u64 = u64::MAX;

/// The end of the time that the running call has, known once somebody asks: reading the clock
/// costs a call that ends in a microsecond a twentieth of it.
///
/// A call that computes is asked after when its epoch ends, a call that waits when it first
/// does. The time before that is given away, which is two ticks at the most, unless a host
/// function blocks its thread.
#[derive(Debug)]
pub(crate) struct Deadline {
    timeout: Duration,
    /// Nanoseconds since [`START`].
    at: AtomicU64,
}

impl Deadline {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            at: AtomicU64::new(UNREAD),
        }
    }

    /// Gives the call that begins its whole time.
    pub(crate) fn begin(&self) {
        self.at.store(UNREAD, Ordering::Relaxed);
    }

    /// When the call has to end. One call of an instance runs at a time, so nobody else sets
    /// it meanwhile.
    pub(crate) fn at(&self) -> Instant {
        let start = *START;
        let at = self.at.load(Ordering::Relaxed);
        if at != UNREAD {
            return start + Duration::from_nanos(at);
        }
        let at = start.elapsed().saturating_add(self.timeout).as_nanos();
        // Saturates after five centuries.
        let at = u64::try_from(at).unwrap_or(UNREAD - 1);
        self.at.store(at, Ordering::Relaxed);
        start + Duration::from_nanos(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_counted_from_when_it_is_first_asked_for() {
        let deadline = Deadline::new(Duration::from_secs(10));
        let before = Instant::now();
        let at = deadline.at();
        assert!(at >= before + Duration::from_secs(10), "{at:?}");
        assert_eq!(deadline.at(), at);
        deadline.begin();
        assert!(deadline.at() >= at);
    }

    #[test]
    fn the_longest_time_does_not_wrap() {
        let deadline = Deadline::new(Duration::MAX);
        assert!(deadline.at() > Instant::now() + Duration::from_secs(1 << 32));
    }
}
