//! The host's clock.

use std::time::Duration;

use crate::host;

/// The time since the Unix epoch, by the clock of the host. Nothing has to be granted for it.
///
/// ```
/// use std::time::Duration;
/// use wasm_guest::{now, testing::Host};
///
/// let host = Host::new("demo/waiter/main").with_time(Duration::from_secs(5));
/// assert_eq!(host.within(now), Duration::from_secs(5));
/// ```
pub fn now() -> Duration {
    host::now()
}

/// Waits within the running call. It counts for the call's `timeout` and delays all messages
/// that wait for this component.
///
/// ```
/// use std::time::Duration;
/// use wasm_guest::{now, sleep, testing::Host};
///
/// let host = Host::new("demo/waiter/main");
/// let before = host.within(now);
/// host.within(|| sleep(Duration::from_millis(20)));
/// assert_eq!(host.within(now) - before, Duration::from_millis(20));
/// ```
pub fn sleep(duration: Duration) {
    host::sleep(duration);
}
