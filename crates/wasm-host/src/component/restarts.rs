use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use wasm_core::{RestartPolicy, Supervision};

/// The restarts of a component that still count.
///
/// Time spent waiting for a restart is left out, or long waits would make a component
/// that fails whenever it runs look like one that fails now and then.
#[derive(Debug, Clone, Default)]
pub(crate) struct Restarts {
    /// How long the component had been there, waits left out.
    times: VecDeque<Duration>,
    began: Option<Instant>,
    waited: Duration,
}

impl Restarts {
    /// How long to wait before the next restart; `None` when it is given up.
    pub(crate) fn next(&mut self, supervision: &Supervision, now: Instant) -> Option<Duration> {
        if supervision.restart == RestartPolicy::Never {
            return None;
        }
        let began = *self.began.get_or_insert(now);
        let there = now.duration_since(began).saturating_sub(self.waited);
        while let Some(first) = self.times.front()
            && there.saturating_sub(*first) >= supervision.within
        {
            self.times.pop_front();
        }
        let restarts = u32::try_from(self.times.len()).unwrap_or(u32::MAX);
        if restarts >= supervision.max_restarts {
            return None;
        }
        self.times.push_back(there);
        let doubled = 2u32.saturating_pow(restarts);
        let backoff = supervision.backoff.saturating_mul(doubled);
        let backoff = backoff.min(Supervision::MAX_BACKOFF);
        self.waited += backoff;
        Some(backoff)
    }

    /// Whether there was one that may still count.
    pub(crate) fn count_some(&self) -> bool {
        self.began.is_some()
    }

    pub(crate) fn forget(&mut self) {
        *self = Self::default();
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
    fn restarts_count_within_a_sliding_window_of_the_time_it_was_there() {
        let (mut restarts, start) = (Restarts::default(), Instant::now());
        let mut next = |millis| restarts.next(&supervision(2), start + millis * MILLI);
        assert_eq!(next(0), Some(50 * MILLI));
        // 50 ms of them it waited.
        assert_eq!(next(4_050), Some(100 * MILLI));
        assert_eq!(next(5_149), None);
        assert_eq!(next(5_150), Some(100 * MILLI));
        assert_eq!(next(9_249), None);
        assert_eq!(next(9_250), Some(100 * MILLI));
        assert_eq!(next(20_000), Some(50 * MILLI));
    }

    #[test]
    fn long_waits_do_not_make_failures_rare() {
        let (mut restarts, mut now) = (Restarts::default(), Instant::now());
        let mut count = 0;
        while let Some(wait) = restarts.next(&supervision(20), now) {
            (now, count) = (now + wait, count + 1);
        }
        assert_eq!(count, 20);
    }
}
