//! `host-timers` of the contract.

use std::time::Duration;

use bytes::Bytes;

use super::Guest;
use crate::{Capability, TimerError};

/// What a timer carries at the most: a note of what is to be done, not the data for it.
const MAX_TIMER_BYTES: usize = 4 << 10;

/// As far ahead as a timer may be: some ten years.
const MAX_DELAY: Duration = Duration::from_secs(3_650 * 24 * 60 * 60);

/// Nothing has to be granted but storage, where timers are kept.
impl Guest {
    /// `set-timer`: checks the permission and the bounds, and sets it.
    ///
    /// # Errors
    /// [`TimerError::Denied`] without storage; [`TimerError::Invalid`] for a delay of more than
    /// ten years or a payload of more than 4 KiB; else those of the service.
    pub async fn set_timer(&self, delay: Duration, payload: Bytes) -> Result<u64, TimerError> {
        self.check(Capability::Storage)?;
        if delay > MAX_DELAY {
            let days = MAX_DELAY.as_secs() / (24 * 60 * 60);
            let reason = format!("a timer is due within {days} days");
            return Err(TimerError::Invalid(reason));
        }
        if payload.len() > MAX_TIMER_BYTES {
            let length = payload.len();
            let reason = format!("its payload has {length} bytes; one has up to {MAX_TIMER_BYTES}");
            return Err(TimerError::Invalid(reason));
        }
        self.services.timers.set(&self.handle, delay, payload).await
    }

    /// `cancel-timer`: nothing has to be granted to take back what was.
    ///
    /// # Errors
    /// Those of the service.
    pub async fn cancel_timer(&self, timer: u64) -> Result<bool, TimerError> {
        self.services.timers.cancel(&self.handle, timer).await
    }
}
