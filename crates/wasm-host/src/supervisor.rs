use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use wasm_core::{RestartPolicy, Supervision};

/// The restarts of a component that still count.
#[derive(Debug, Default)]
pub(crate) struct Restarts {
    times: VecDeque<Instant>,
}

impl Restarts {
    /// How long to wait before the next restart; `None` when it is given up.
    pub(crate) fn next(&mut self, supervision: &Supervision, now: Instant) -> Option<Duration> {
        if supervision.restart == RestartPolicy::Never {
            return None;
        }
        while let Some(first) = self.times.front()
            && now.duration_since(*first) >= supervision.within
        {
            self.times.pop_front();
        }
        let restarts = u32::try_from(self.times.len()).unwrap_or(u32::MAX);
        if restarts >= supervision.max_restarts {
            return None;
        }
        self.times.push_back(now);
        let doubled = 2u32.saturating_pow(restarts);
        let backoff = supervision.backoff.saturating_mul(doubled);
        Some(backoff.min(Supervision::MAX_BACKOFF))
    }

    pub(crate) fn forget(&mut self) {
        self.times.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supervision(max_restarts: u32) -> Supervision {
        let mut supervision = Supervision::default();
        supervision.restart = RestartPolicy::OnFailure;
        supervision.max_restarts = max_restarts;
        supervision
    }

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn what_is_never_restarted_is_given_up_at_once() {
        let now = Instant::now();
        assert_eq!(Restarts::default().next(&Supervision::default(), now), None);
        assert_eq!(Restarts::default().next(&supervision(0), now), None);
    }

    #[test]
    fn the_wait_doubles_until_there_were_too_many() {
        let (mut restarts, now) = (Restarts::default(), Instant::now());
        let waits = [0, 1, 2, 3].map(|_| restarts.next(&supervision(3), now));
        let expected = [Some(50 * MILLI), Some(100 * MILLI), Some(200 * MILLI), None];
        assert_eq!(waits, expected);
        restarts.forget();
        assert_eq!(restarts.next(&supervision(3), now), Some(50 * MILLI));
    }

    #[test]
    fn the_wait_ends_growing_at_five_seconds() {
        let (mut restarts, now) = (Restarts::default(), Instant::now());
        let last = (0..100)
            .map(|_| restarts.next(&supervision(1000), now))
            .last();
        assert_eq!(last, Some(Some(5000 * MILLI)));
    }

    #[test]
    fn restarts_count_within_a_sliding_window() {
        let (mut restarts, start) = (Restarts::default(), Instant::now());
        let mut next = |millis| restarts.next(&supervision(2), start + millis * MILLI);
        assert_eq!(next(0), Some(50 * MILLI));
        assert_eq!(next(4000), Some(100 * MILLI));
        assert_eq!(next(4999), None);
        assert_eq!(next(5000), Some(100 * MILLI));
        assert_eq!(next(8999), None);
        assert_eq!(next(9000), Some(100 * MILLI));
        assert_eq!(next(20_000), Some(50 * MILLI));
    }
}
