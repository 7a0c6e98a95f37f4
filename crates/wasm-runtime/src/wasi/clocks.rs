//! Clocks that tell whole milliseconds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

use wasm_core::Clock;

/// A clock this coarse still serves schedulers and logs, and is of little use for
/// measuring what a neighbour does to the caches.
const CLOCK_RESOLUTION: Duration = Duration::from_millis(1);

pub(super) struct CoarseWallClock(pub(super) Arc<dyn Clock>);

impl HostWallClock for CoarseWallClock {
    fn resolution(&self) -> Duration {
        CLOCK_RESOLUTION
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.0.now().as_millis())
    }
}

pub(super) struct CoarseMonotonicClock(pub(super) Instant);

impl HostMonotonicClock for CoarseMonotonicClock {
    fn resolution(&self) -> u64 {
        CLOCK_RESOLUTION.as_nanos() as u64
    }

    fn now(&self) -> u64 {
        // From one tick on: Go's runtime takes a clock at zero for a broken one.
        let ticks = 1 + self.0.elapsed().as_nanos() / CLOCK_RESOLUTION.as_nanos();
        (ticks * CLOCK_RESOLUTION.as_nanos()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_tell_whole_milliseconds() {
        let wall = CoarseWallClock(Arc::new(wasm_core::SystemClock));
        assert_eq!(wall.now().subsec_nanos() % 1_000_000, 0);
        assert_eq!(wall.resolution(), CLOCK_RESOLUTION);
        let monotonic = CoarseMonotonicClock(Instant::now());
        assert_eq!(monotonic.resolution(), 1_000_000);
        assert_eq!(monotonic.now() % monotonic.resolution(), 0);
        assert!(monotonic.now() >= monotonic.resolution());
        let earlier = Instant::now().checked_sub(Duration::from_secs(10));
        let ticking = CoarseMonotonicClock(earlier.unwrap());
        let seconds = Duration::from_nanos(ticking.now()).as_secs();
        assert!((10..20).contains(&seconds), "{seconds}");
    }
}
