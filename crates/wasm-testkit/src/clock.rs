use std::sync::Mutex;
use std::time::Duration;

use wasm_core::{Clock, Timestamp};

use crate::lock::lock;

/// A clock that stands still until it is turned.
#[derive(Debug, Default)]
pub struct ManualClock {
    now: Mutex<Timestamp>,
}

impl ManualClock {
    /// At the epoch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Turns it to `now`, which may lie before what it showed.
    pub fn set(&self, now: Timestamp) {
        *lock(&self.now) = now;
    }

    /// Turns it on; it stops at the last moment a [`Timestamp`] can hold.
    pub fn advance(&self, by: Duration) {
        let mut now = lock(&self.now);
        *now = Duration::new(now.seconds, now.nanoseconds)
            .saturating_add(by)
            .into();
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *lock(&self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timestamp(seconds: u64, nanoseconds: u32) -> Timestamp {
        Timestamp {
            seconds,
            nanoseconds,
        }
    }

    #[test]
    fn it_moves_only_when_turned() {
        let clock = ManualClock::new();
        assert_eq!(clock.now(), timestamp(0, 0));
        clock.advance(Duration::from_millis(1_600));
        clock.advance(Duration::from_millis(400));
        assert_eq!(clock.now(), timestamp(2, 0));
        clock.set(timestamp(1, 999_999_999));
        assert_eq!(clock.now(), timestamp(1, 999_999_999));
        clock.advance(Duration::from_nanos(2));
        assert_eq!(clock.now(), timestamp(2, 1));
    }

    #[test]
    fn it_stops_at_the_end_of_time() {
        let clock = ManualClock::new();
        clock.advance(Duration::MAX);
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now(), timestamp(u64::MAX, 999_999_999));
    }
}
