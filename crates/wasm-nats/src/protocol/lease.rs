//! How long a node may go on, and when another may take its place.
//!
//! Points in time are those of the monotonic clock of the node that reads them, as the time
//! since some beginning; no two nodes compare theirs. A node counts its own lease from before it
//! asked for it, and the lease of another from after it learnt of it, and longer: so the owner
//! is always the first for whom it is over. Each node says how long its lease is; no other
//! assumes that it is as long as its own.

use std::ops::RangeInclusive;
use std::time::Duration;

/// How long the lease of a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// From one renewal on.
    pub length: Duration,
}

/// The shortest and the longest that a lease may be.
pub const LENGTHS: RangeInclusive<Duration> =
    RangeInclusive::new(Duration::from_secs(1), Duration::from_secs(5 * 60));

impl Terms {
    /// How often a lease is renewed.
    pub fn renewal(self) -> Duration {
        self.length / 5
    }

    /// How long before its end an owner that could not renew stops its components.
    pub fn margin(self) -> Duration {
        self.length / 4
    }

    /// How long nothing may have been heard of a node before others take its place: clocks may
    /// not run alike.
    pub fn silence(self) -> Duration {
        self.length + self.length / 10
    }
}

/// The lease of this node.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    terms: Terms,
    /// When the latest renewal was asked for that was granted.
    renewed: Option<Duration>,
    /// Since when it has been held without a gap.
    since: Option<Duration>,
}

impl Lease {
    /// Not held yet.
    pub fn new(terms: Terms) -> Self {
        Self {
            terms,
            renewed: None,
            since: None,
        }
    }

    /// A renewal was granted that was asked for at this time.
    pub fn grant(&mut self, asked: Duration) {
        if !self.is_held(asked) {
            self.since = Some(asked);
        }
        self.renewed = self.renewed.max(Some(asked));
    }

    /// It is given up, or was another's all along.
    pub fn end(&mut self) {
        (self.renewed, self.since) = (None, None);
    }

    /// When components must be stopped unless it is renewed; `None` when it is not held.
    pub fn stops(&self) -> Option<Duration> {
        let length = self.terms.length - self.terms.margin();
        self.renewed.map(|renewed| renewed + length)
    }

    /// Whether components may run.
    pub fn is_held(&self, now: Duration) -> bool {
        self.stops().is_some_and(|stops| now < stops)
    }

    /// Whether it has been held without a gap since then: what was claimed meanwhile nobody has
    /// taken over.
    pub fn is_held_since(&self, then: Duration, now: Duration) -> bool {
        self.is_held(now) && self.since.is_some_and(|since| since <= then)
    }
}

/// Whether a node would hear of others. It hears of its own renewals the same way, after those of
/// all others that came before: as long as these come, none of another's is missing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hearing {
    last: Option<Duration>,
    since: Option<Duration>,
}

impl Hearing {
    /// A renewal of its own has come back.
    pub fn hear(&mut self, now: Duration, terms: Terms) {
        if !self.is_there(now, terms) {
            self.since = Some(now);
        }
        self.last = Some(now);
    }

    /// Whether one has come that is not long ago.
    fn is_there(&self, now: Duration, terms: Terms) -> bool {
        let last = self.last;
        last.is_some_and(|last| now.saturating_sub(last) <= terms.length / 2)
    }

    /// Since when it would have heard of others without a gap, if it would now.
    pub fn since(&self, now: Duration, terms: Terms) -> Option<Duration> {
        self.since.filter(|_| self.is_there(now, terms))
    }
}

/// What a node has heard of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// When it last heard of a renewal.
    pub last: Duration,
    /// Of the lease of the other.
    pub terms: Terms,
}

impl Heard {
    /// Whether the lease of the other is over for sure. It must have been silent for as long as
    /// this node, whose own terms these are, would have heard of it.
    pub fn is_over(self, now: Duration, hearing: &Hearing, own: Terms) -> bool {
        let Some(since) = hearing.since(now, own) else {
            return false;
        };
        now.saturating_sub(self.last.max(since)) >= self.terms.silence()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms {
        length: Duration::from_secs(4),
    };

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn an_owner_stops_before_others_may_begin() {
        let mut owner = Lease::new(TERMS);
        assert!(!owner.is_held(at(0)));
        // Asked for at 1,000, which another hears of at once.
        owner.grant(at(1_000));
        let heard = Heard {
            last: at(1_000),
            terms: TERMS,
        };
        let other = |now: u64| {
            let mut hearing = Hearing::default();
            (0..=now)
                .step_by(800)
                .for_each(|own| hearing.hear(at(own), TERMS));
            hearing
        };
        let stopped = (1_000..).find(|now| !owner.is_held(at(*now)));
        let over = (1_000..).find(|now| heard.is_over(at(*now), &other(*now), TERMS));
        assert_eq!((stopped, over), (Some(4_000), Some(5_400)));
    }

    #[test]
    fn who_could_not_hear_has_not_heard_that_a_lease_is_over() {
        let heard = Heard {
            last: at(0),
            terms: TERMS,
        };
        let mut hearing = Hearing::default();
        assert!(!heard.is_over(at(100_000), &hearing, TERMS));
        // Away until 60,000: only from then on would it have heard of the other.
        for own in [0, 60_000, 62_000, 64_000] {
            hearing.hear(at(own), TERMS);
            assert!(!heard.is_over(at(own), &hearing, TERMS), "{own}");
        }
        assert!(!heard.is_over(at(64_399), &hearing, TERMS));
        assert!(heard.is_over(at(64_400), &hearing, TERMS));
        // What has come to it so far may not be all.
        assert!(!heard.is_over(at(66_001), &hearing, TERMS));
    }

    #[test]
    fn a_lease_is_as_long_as_its_owner_says() {
        let length = Duration::from_secs(10);
        let heard = Heard {
            last: at(0),
            terms: Terms { length },
        };
        let mut hearing = Hearing::default();
        (0..=11_000)
            .step_by(800)
            .for_each(|own| hearing.hear(at(own), TERMS));
        assert!(!heard.is_over(at(10_999), &hearing, TERMS));
        assert!(heard.is_over(at(11_000), &hearing, TERMS));
    }

    #[test]
    fn a_late_answer_does_not_shorten_a_lease() {
        let mut own = Lease::new(TERMS);
        own.grant(at(2_000));
        own.grant(at(1_000));
        assert_eq!(own.stops(), Some(at(5_000)));
        assert_eq!(
            (own.is_held(at(4_999)), own.is_held(at(5_000))),
            (true, false)
        );
        assert!(own.is_held_since(at(2_500), at(3_000)));
        // There was a gap from 5,000 on.
        own.grant(at(6_000));
        assert!(!own.is_held_since(at(2_500), at(6_500)));
        own.end();
        assert!(!own.is_held(at(6_500)));
    }
}
