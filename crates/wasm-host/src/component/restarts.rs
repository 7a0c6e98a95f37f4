use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use wasm_core::{RestartPolicy, Supervision};

/// The restarts of a component that still count.
///
/// Only time that it serves counts, or long waits for a restart, and starts that take long to
/// fail, would make a component that fails whenever it runs look like one that fails now and
/// then.
#[derive(Debug, Clone, Default)]
pub(crate) struct Restarts {
    /// How long the component had served.
    times: VecDeque<Duration>,
    served: Duration,
    /// Since when it serves, or `None` after a failure.
    since: Option<Instant>,
}

impl Restarts {
    /// How long to wait before the next restart; `None` when it is given up.
    pub(crate) fn next(&mut self, supervision: &Supervision, now: Instant) -> Option<Duration> {
        if supervision.restart == RestartPolicy::Never {
            return None;
        }
        let restarts = self.count(supervision, now);
        (restarts < supervision.max_restarts).then(|| self.add(supervision, restarts))
    }

    /// How long to leave one alone that is restarted without a failure: it counts, and is never
    /// given up.
    pub(crate) fn rest(&mut self, supervision: &Supervision, now: Instant) -> Duration {
        let restarts = self.count(supervision, now);
        self.add(supervision, restarts)
    }

    /// How many restarts there were in the time that counts.
    fn count(&mut self, supervision: &Supervision, now: Instant) -> u32 {
        self.count_served(now);
        while let Some(first) = self.times.front()
            && self.served.saturating_sub(*first) >= supervision.within
        {
            self.times.pop_front();
        }
        u32::try_from(self.times.len()).unwrap_or(u32::MAX)
    }

    fn add(&mut self, supervision: &Supervision, restarts: u32) -> Duration {
        self.times.push_back(self.served);
        let doubled = 2u32.saturating_pow(restarts);
        let backoff = supervision.backoff.saturating_mul(doubled);
        backoff.min(Supervision::MAX_BACKOFF)
    }

    /// It serves from now on, or still does: asleep it does not fail.
    pub(crate) fn serves(&mut self, now: Instant) {
        self.count_served(now);
        self.since = Some(now);
    }

    fn count_served(&mut self, now: Instant) {
        if let Some(since) = self.since.take() {
            self.served += now.saturating_duration_since(since);
        }
    }

    /// Whether there was one that may still count.
    pub(crate) fn count_some(&self) -> bool {
        !self.times.is_empty()
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
        // Until when it serves, and when it does again.
        let mut next = |until, again| {
            let next = restarts.next(&supervision(2), start + until * MILLI);
            restarts.serves(start + again * MILLI);
            next
        };
        assert_eq!(next(0, 50), Some(50 * MILLI));
        // 50 ms of them it did not serve.
        assert_eq!(next(4_050, 4_150), Some(100 * MILLI));
        assert_eq!(next(5_149, 5_149), None);
        assert_eq!(next(5_150, 5_250), Some(100 * MILLI));
        assert_eq!(next(9_249, 9_249), None);
        assert_eq!(next(9_250, 9_350), Some(100 * MILLI));
        assert_eq!(next(20_000, 20_050), Some(50 * MILLI));
    }

    /// However long it waits, and however long each start takes before it fails.
    #[test]
    fn what_never_serves_is_given_up() {
        for start in [0, 1, 3_000, 86_400_000] {
            let (mut restarts, mut now) = (Restarts::default(), Instant::now());
            let mut count = 0;
            while let Some(wait) = restarts.next(&supervision(20), now) {
                (now, count) = (now + wait + start * MILLI, count + 1);
            }
            assert_eq!(count, 20, "{start}");
        }
    }
}
