use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment, counted from the Unix epoch; `nanoseconds` is below 1,000,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Whole seconds.
    pub seconds: u64,
    /// The rest.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// The duration since the epoch in milliseconds, rounded down.
    pub fn as_millis(self) -> u64 {
        self.seconds
            .saturating_mul(1000)
            .saturating_add(u64::from(self.nanoseconds / 1_000_000))
    }
}

impl From<Duration> for Timestamp {
    fn from(since_epoch: Duration) -> Self {
        Self {
            seconds: since_epoch.as_secs(),
            nanoseconds: since_epoch.subsec_nanos(),
        }
    }
}

/// What components are told when they ask for the time.
///
/// Deadlines do not follow it: a clock turned by hand cannot give a component
/// more time than its limit.
pub trait Clock: Send + Sync {
    /// Never before the epoch.
    fn now(&self) -> Timestamp;
}

/// The clock of the operating system; a time before the epoch reads as the epoch.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_round_down_and_saturate() {
        let timestamp = Timestamp::from(Duration::new(12, 3_999_999));
        assert_eq!(timestamp.as_millis(), 12_003);
        let late = Timestamp {
            seconds: u64::MAX,
            nanoseconds: 999_999_999,
        };
        assert_eq!(late.as_millis(), u64::MAX);
    }

    #[test]
    fn the_system_clock_is_past_2020() {
        assert!(SystemClock.now().seconds > 1_577_836_800);
    }
}
