//! What is measured under one name and one set of labels.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use metrics::atomics::AtomicU64;
use metrics::{GaugeFn, HistogramFn};

/// Upper bounds of durations in histograms, in seconds: a call of a guest may take microseconds,
/// and a wait in a mailbox seconds.
pub const DURATION_BUCKETS: &[f64] = &[
    0.000_01, 0.000_03, 0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0,
];

/// What the name of a histogram of durations ends with. Of others only the sum and the number is
/// known.
const OF_DURATIONS: &str = "_seconds";

/// Shared with those who measure it.
#[derive(Clone)]
pub(crate) enum Value {
    Counter(Arc<AtomicU64>),
    /// The bits of a number with a fraction.
    Gauge(Arc<AtomicU64>),
    Histogram(Arc<Buckets>),
}

/// How many values there were up to each bound, and their sum.
pub(crate) struct Buckets {
    bounds: &'static [f64],
    /// Of the values up to each bound that are above the one before it. After the last bound
    /// come those above all.
    counts: [AtomicU64; DURATION_BUCKETS.len() + 1],
    /// The bits of a number with a fraction.
    sum: AtomicU64,
}

impl Value {
    pub(crate) fn counter(_: &str) -> Self {
        Self::Counter(Arc::default())
    }

    pub(crate) fn gauge(_: &str) -> Self {
        Self::Gauge(Arc::default())
    }

    /// By its name.
    pub(crate) fn histogram(name: &str) -> Self {
        let bounds = match name.ends_with(OF_DURATIONS) {
            true => DURATION_BUCKETS,
            false => &[],
        };
        Self::Histogram(Arc::new(Buckets {
            bounds,
            counts: Default::default(),
            sum: AtomicU64::default(),
        }))
    }

    /// What Prometheus calls it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Counter(_) => "counter",
            Self::Gauge(_) => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }

    /// Whether somebody has a handle, with which it may change at any time. Without, all that
    /// was measured with former handles is seen.
    pub(crate) fn is_held(&mut self) -> bool {
        match self {
            Self::Counter(value) | Self::Gauge(value) => Arc::get_mut(value).is_none(),
            Self::Histogram(value) => Arc::get_mut(value).is_none(),
        }
    }
}

impl Buckets {
    /// How many values there were up to each bound, and how many in all.
    pub(crate) fn up_to(&self) -> (Vec<(f64, u64)>, u64) {
        let mut count = 0;
        let mut up_to_next = |place: usize| {
            count += self.counts[place].load(Ordering::Acquire);
            count
        };
        let bounds = self.bounds.iter().enumerate();
        let up_to = bounds
            .map(|(place, bound)| (*bound, up_to_next(place)))
            .collect();
        (up_to, up_to_next(self.bounds.len()))
    }

    pub(crate) fn sum(&self) -> f64 {
        f64::from_bits(self.sum.load(Ordering::Acquire))
    }
}

impl HistogramFn for Buckets {
    fn record(&self, value: f64) {
        self.record_many(value, 1);
    }

    fn record_many(&self, value: f64, count: usize) {
        let place = self.bounds.iter().position(|bound| value <= *bound);
        let above_all = self.bounds.len();
        self.counts[place.unwrap_or(above_all)].fetch_add(count as u64, Ordering::Release);
        GaugeFn::increment(&self.sum, value * count as f64);
    }
}
