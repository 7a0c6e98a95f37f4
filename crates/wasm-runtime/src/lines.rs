//! How many lines a component may write, over its log and its standard streams: so many
//! in one call, and so many in a second, whatever becomes of its instances meanwhile.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use wasm_core::guest::GuestLog;
use wasm_core::units::{format_bytes, format_count};
use wasm_core::{Capability, CapabilityDenied, ComponentId, LogLevel};

use crate::config::LogRate;

/// The `tracing` target of everything that components say: log lines, with a field
/// `level`, and lines of their standard streams, with a field `stream`; both with
/// a field `component`.
pub const COMPONENT_TARGET: &str = "airssys::component";

/// Lines that one call may write to its log and its standard streams together.
const LINES_PER_CALL: u32 = 256;

/// How often a component that writes too much is told of.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// The lines of one instance after the other, so that a flood of them costs the guest
/// its fuel and the operator nothing.
#[derive(Debug)]
pub(crate) struct Lines {
    /// In this call.
    written: AtomicU32,
    /// Whether lines were dropped, of this instance or perhaps of the one before it, that may
    /// have to be told of: a call of a component that keeps to its rate takes no lock and
    /// reads no clock.
    has_dropped: AtomicBool,
    bucket: Arc<LineBucket>,
}

impl Lines {
    pub(crate) fn new(bucket: Arc<LineBucket>) -> Self {
        Self {
            written: AtomicU32::new(0),
            has_dropped: AtomicBool::new(true),
            bucket,
        }
    }

    /// Whose they are.
    pub(crate) fn component(&self) -> &ComponentId {
        &self.bucket.component
    }

    /// For the next call.
    pub(crate) fn reset(&self) {
        self.written.store(0, Ordering::Relaxed);
        if self.has_dropped.load(Ordering::Relaxed) {
            self.has_dropped
                .store(self.bucket.tell(), Ordering::Relaxed);
        }
    }

    /// The line that `text` makes, if it may be written. It is not made for nothing
    /// more often than a call may write lines.
    pub(crate) fn admit(&self, text: impl FnOnce() -> String) -> Option<String> {
        // Saturates in practice: 2^32 lines take longer than any deadline.
        match self.written.fetch_add(1, Ordering::Relaxed) {
            n if n < LINES_PER_CALL => self.admit_uncounted(text()),
            n if n == LINES_PER_CALL => {
                let text =
                    format!("more than {LINES_PER_CALL} lines in one call; the rest is dropped");
                if let Some(text) = self.admit_uncounted(text) {
                    warn(&self.bucket.component, &text);
                }
                None
            }
            _ => None,
        }
    }

    /// A line about the component that is not of its call.
    pub(crate) fn admit_uncounted(&self, text: String) -> Option<String> {
        let is_admitted = self.bucket.take(text.len());
        if !is_admitted {
            self.has_dropped.store(true, Ordering::Relaxed);
        }
        is_admitted.then_some(text)
    }
}

impl GuestLog for Lines {
    fn write(&self, level: LogLevel, line: &dyn Fn() -> String) {
        let Some(line) = self.admit(line) else {
            return;
        };
        let component = self.component();
        macro_rules! event {
            ($macro:ident) => {
                tracing::$macro!(target: COMPONENT_TARGET, %component, level = %level, "{line}")
            };
        }
        match level {
            LogLevel::Trace => event!(trace),
            LogLevel::Debug => event!(debug),
            LogLevel::Info => event!(info),
            LogLevel::Warn => event!(warn),
            LogLevel::Error => event!(error),
        }
    }

    /// A line that is not kept is no news.
    fn denied(&self, denied: &CapabilityDenied) {
        if matches!(denied.capability, Capability::Log(_)) {
            return;
        }
        let component = self.component();
        if let Some(line) = self.admit(|| denied.to_string()) {
            tracing::warn!(target: COMPONENT_TARGET, %component, level = "warn", "{line}");
        }
    }
}

/// What the components of an engine may still write. A component that is loaded once
/// more while it is there, as for a swap, has what the other left.
#[derive(Debug)]
pub(crate) struct LineBuckets {
    rate: LogRate,
    buckets: Mutex<Buckets>,
}

#[derive(Debug, Default)]
struct Buckets {
    by_component: HashMap<ComponentId, Weak<LineBucket>>,
    /// As many were there when those of nobody were last removed.
    swept: usize,
}

impl LineBuckets {
    pub(crate) fn new(rate: LogRate) -> Self {
        Self {
            rate,
            buckets: Mutex::default(),
        }
    }

    pub(crate) fn of(&self, component: &ComponentId) -> Arc<LineBucket> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let known = buckets.by_component.get(component);
        if let Some(bucket) = known.and_then(Weak::upgrade) {
            return bucket;
        }
        // Whenever there are twice as many, so that one more costs the same however many there
        // are.
        if buckets.by_component.len() >= 2 * buckets.swept + 16 {
            let is_used = |_: &ComponentId, bucket: &mut Weak<_>| bucket.strong_count() > 0;
            buckets.by_component.retain(is_used);
            buckets.swept = buckets.by_component.len();
        }
        let bucket = Arc::new(LineBucket::new(component.clone(), self.rate));
        let known = Arc::downgrade(&bucket);
        buckets.by_component.insert(component.clone(), known);
        bucket
    }
}

/// What one component may still write. It holds what may be written in a second, and is
/// filled as the time goes by.
#[derive(Debug)]
pub(crate) struct LineBucket {
    component: ComponentId,
    rate: LogRate,
    level: Mutex<Level>,
}

#[derive(Debug)]
struct Level {
    lines: f64,
    /// Below zero after a line that was longer than what was left.
    bytes: f64,
    filled: Instant,
    /// Lines that were not told of yet.
    dropped: u64,
    told: Option<Instant>,
}

/// What is to be told of what was dropped.
#[derive(Debug, PartialEq, Eq)]
enum Dropped {
    /// Lines from now on.
    Beginning,
    Lines(u64),
}

impl LineBucket {
    fn new(component: ComponentId, rate: LogRate) -> Self {
        Self {
            component,
            rate,
            level: Mutex::new(Level {
                lines: f64::from(rate.lines()),
                bytes: rate.bytes() as f64,
                filled: Instant::now(),
                dropped: 0,
                told: None,
            }),
        }
    }

    /// Whether a line of so many bytes may be written.
    fn take(&self, bytes: usize) -> bool {
        let mut level = self.level();
        let (is_taken, dropped) = level.take(bytes, &self.rate, Instant::now());
        drop(level);
        self.warn(dropped);
        is_taken
    }

    /// Tells how many lines were dropped, if that is due. Returns whether there are any that
    /// are still to be told of.
    fn tell(&self) -> bool {
        let mut level = self.level();
        let due = level.due(Instant::now());
        let is_left = level.dropped > 0;
        drop(level);
        self.warn(due);
        is_left
    }

    /// Without a lock: whoever takes it in may take long.
    fn warn(&self, dropped: Option<Dropped>) {
        let Some(dropped) = dropped else {
            return;
        };
        let lines = format_count(u64::from(self.rate.lines()));
        let bytes = format_bytes(self.rate.bytes());
        let text = match dropped {
            Dropped::Beginning => {
                format!("more than {lines} lines or {bytes} in a second; the rest is dropped")
            }
            Dropped::Lines(dropped) => format!(
                "{} lines were dropped: more than {lines} lines or {bytes} a second",
                format_count(dropped)
            ),
        };
        warn(&self.component, &text);
    }

    fn level(&self) -> MutexGuard<'_, Level> {
        self.level.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LineBucket {
    fn drop(&mut self) {
        let dropped = self.level().dropped;
        if dropped > 0 {
            self.warn(Some(Dropped::Lines(dropped)));
        }
    }
}

impl Level {
    fn take(&mut self, bytes: usize, rate: &LogRate, now: Instant) -> (bool, Option<Dropped>) {
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        let most = f64::from(rate.lines());
        self.lines = (self.lines + elapsed * most).min(most);
        let most = rate.bytes() as f64;
        self.bytes = (self.bytes + elapsed * most).min(most);
        if self.lines >= 1.0 && self.bytes > 0.0 {
            self.lines -= 1.0;
            self.bytes -= bytes as f64;
            return (true, self.due(now));
        }
        self.dropped += 1;
        if self.dropped == 1 && !self.is_told(now) {
            // This one is counted with those that come after it.
            self.told = Some(now);
            return (false, Some(Dropped::Beginning));
        }
        (false, self.due(now))
    }

    fn due(&mut self, now: Instant) -> Option<Dropped> {
        if self.dropped == 0 || self.is_told(now) {
            return None;
        }
        self.told = Some(now);
        Some(Dropped::Lines(std::mem::take(&mut self.dropped)))
    }

    fn is_told(&self, now: Instant) -> bool {
        self.told
            .is_some_and(|told| now.saturating_duration_since(told) < TOLD_EVERY)
    }
}

fn warn(component: &ComponentId, text: &str) {
    tracing::warn!(target: COMPONENT_TARGET, %component, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(rate: LogRate) -> Lines {
        let component = "demo/a/main".parse().unwrap();
        Lines::new(LineBuckets::new(rate).of(&component))
    }

    #[test]
    fn a_call_has_so_many_lines() {
        let lines = lines(LogRate::default());
        let text = || "x".to_owned();
        for _ in 0..256 {
            assert_eq!(lines.admit(text), Some(text()));
        }
        for _ in 0..2 {
            assert_eq!(lines.admit(|| panic!("made for nothing")), None);
        }
        lines.reset();
        assert_eq!(lines.admit(text), Some(text()));
    }

    #[test]
    fn a_second_has_so_many_lines_and_bytes() {
        let began = Instant::now();
        let level = || Level {
            lines: 10.0,
            bytes: 100.0,
            filled: began,
            dropped: 0,
            told: None,
        };
        let rate = LogRate::new(10, 100);
        let after = |ms| began + Duration::from_millis(ms);

        let mut many = level();
        for _ in 0..10 {
            assert_eq!(many.take(1, &rate, began), (true, None));
        }
        assert_eq!(
            many.take(1, &rate, began),
            (false, Some(Dropped::Beginning))
        );
        assert_eq!(many.take(1, &rate, after(99)), (false, None));
        assert_eq!(many.take(1, &rate, after(100)), (true, None));
        assert_eq!(many.take(1, &rate, after(101)), (false, None));
        // Told once a second, whether the line is written or not.
        assert_eq!(
            many.take(1, &rate, after(1000)),
            (true, Some(Dropped::Lines(3)))
        );
        // An idle time saves nothing up.
        for _ in 0..10 {
            assert_eq!(many.take(1, &rate, after(60_000)), (true, None));
        }
        assert!(!many.take(1, &rate, after(60_000)).0);

        let mut long = level();
        assert_eq!(long.take(150, &rate, began), (true, None));
        assert_eq!(
            long.take(1, &rate, began),
            (false, Some(Dropped::Beginning))
        );
        assert_eq!(long.take(1, &rate, after(500)), (false, None));
        assert_eq!(long.due(after(999)), None);
        assert_eq!(long.due(after(1000)), Some(Dropped::Lines(2)));
        assert_eq!(long.take(1, &rate, after(1001)), (true, None));
    }

    #[test]
    fn of_a_flood_that_goes_on_is_told_once_a_second() {
        let began = Instant::now();
        let after = |ms| began + Duration::from_millis(ms);
        let rate = LogRate::new(1, 1000);
        let mut level = Level {
            lines: 0.0,
            bytes: 1000.0,
            filled: began,
            dropped: 0,
            told: None,
        };
        // Nothing is written: a line is due when a second has passed without any.
        for (ms, told) in [(100, Some(Dropped::Beginning)), (200, None), (1_099, None)] {
            level.lines = 0.0;
            assert_eq!(level.take(1, &rate, after(ms)), (false, told), "{ms}");
        }
        level.lines = 0.0;
        let told = Some(Dropped::Lines(4));
        assert_eq!(level.take(1, &rate, after(1_100)), (false, told));
        // The first after that is no beginning.
        level.lines = 0.0;
        assert_eq!(level.take(1, &rate, after(1_200)), (false, None));
    }

    #[test]
    fn a_second_has_1000_lines_of_256_kib_unless_it_is_said_otherwise() {
        let began = Instant::now();
        let rate = LogRate::default();
        let taken = |bytes: usize| {
            let mut level = Level {
                lines: f64::from(rate.lines()),
                bytes: rate.bytes() as f64,
                filled: began,
                dropped: 0,
                told: None,
            };
            let lines = (0..5000).filter(|_| level.take(bytes, &rate, began).0);
            lines.count()
        };
        assert_eq!(taken(1), 1000);
        assert_eq!(taken(1 << 10), 256);
    }

    #[test]
    fn a_component_has_one_bucket_as_long_as_it_is_there() {
        let buckets = LineBuckets::new(LogRate::default());
        let [a, b] = ["demo/a/main", "demo/b/main"].map(|id| id.parse().unwrap());
        let first = buckets.of(&a);
        assert!(Arc::ptr_eq(&first, &buckets.of(&a)));
        assert!(!Arc::ptr_eq(&first, &buckets.of(&b)));
        drop(first);
        for n in 0..1000 {
            buckets.of(&format!("demo/c/{n}").parse().unwrap());
        }
        let known = buckets.buckets.lock().unwrap().by_component.len();
        assert!(known < 50, "{known} of which none is used");
    }

    #[test]
    fn buckets_of_nobody_are_no_more_than_those_of_somebody_and_a_few() {
        let buckets = LineBuckets::new(LogRate::default());
        let of = |name: &str, n| buckets.of(&format!("demo/{name}/{n}").parse().unwrap());
        let used: Vec<_> = (0..20).map(|n| of("used", n)).collect();
        for n in 0..1000 {
            of("unused", n);
        }
        let known = buckets.buckets.lock().unwrap().by_component.len();
        assert!(known <= 2 * used.len() + 16, "{known}");
        for (n, bucket) in used.iter().enumerate() {
            assert!(Arc::ptr_eq(bucket, &of("used", n)), "{n}");
        }
    }

    /// A call of a component that keeps to its rate does not look.
    #[test]
    fn it_is_known_whether_lines_were_dropped() {
        let lines = lines(LogRate::new(1, 100));
        let has_dropped = || lines.has_dropped.load(Ordering::Relaxed);
        // Perhaps of the instance before.
        assert!(has_dropped());
        lines.reset();
        assert!(!has_dropped());
        assert!(lines.admit_uncounted("one".to_owned()).is_some());
        assert!(!has_dropped());
        assert!(lines.admit_uncounted("two".to_owned()).is_none());
        assert!(has_dropped());
    }

    #[test]
    fn what_was_dropped_is_left_to_be_told_until_it_is_due() {
        let rate = LogRate::new(1, 100);
        let bucket = LineBucket::new("demo/a/main".parse().unwrap(), rate);
        assert!(bucket.take(1));
        assert!(!bucket.tell());
        // It is told that lines are dropped from now on, and for a second not how many.
        assert!(!bucket.take(1));
        assert!(bucket.tell());
    }
}
