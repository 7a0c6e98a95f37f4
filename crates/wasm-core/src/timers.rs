use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use thiserror::Error;

use crate::text::Escaped;
use crate::{CapabilityDenied, ComponentHandle};

/// The content type of a message that a timer sends.
pub const TIMER_TYPE: &str = "application/vnd.airssys.timer";

/// Sends components messages of their own, later.
///
/// An engine calls it from inside the component's guest call, after it has checked the
/// permission and the bounds. A timer belongs to the component, not to the instance that set
/// it: it is kept where the component's data is kept, and outlives restarts, replacements, sleep
/// and the process. When it is due it is delivered once, or is a dead letter that tells why
/// not.
#[async_trait]
pub trait ComponentTimers: Send + Sync {
    /// Sets a timer that is due after `delay` at the earliest; its number, which is no other's
    /// of the component. Once this is answered, the timer is kept. A future that is dropped
    /// sets one or none.
    ///
    /// # Errors
    /// [`TimerError::TooMany`], and [`TimerError::NotSet`] when it cannot be kept.
    async fn set(
        &self,
        of: &ComponentHandle,
        delay: Duration,
        payload: Bytes,
    ) -> Result<u64, TimerError>;

    /// Takes a timer of the component back; whether it was still to come.
    ///
    /// # Errors
    /// [`TimerError::NotSet`] when this cannot be kept, and the timer may come then.
    async fn cancel(&self, of: &ComponentHandle, timer: u64) -> Result<bool, TimerError>;
}

/// Why a timer was not set or not taken back; the cases of the contract's `timer-error`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TimerError {
    /// The component has as many as it may.
    #[error("the component has as many timers as it may")]
    TooMany,
    /// The delay or the payload is out of bounds.
    #[error("invalid timer: {}", Escaped::new(.0))]
    Invalid(String),
    /// It was not granted storage, where timers are kept.
    #[error(transparent)]
    Denied(#[from] CapabilityDenied),
    /// It could not be kept, or there are no timers.
    #[error("the timer is not set: {}", Escaped::new(.0))]
    NotSet(String),
}

/// Those of a host without timers.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTimers;

#[async_trait]
impl ComponentTimers for NoTimers {
    async fn set(&self, _: &ComponentHandle, _: Duration, _: Bytes) -> Result<u64, TimerError> {
        Err(TimerError::NotSet("this host has no timers".to_owned()))
    }

    async fn cancel(&self, _: &ComponentHandle, _: u64) -> Result<bool, TimerError> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{every, snapshot};
    use crate::poll::now;
    use crate::{Capability, ComponentId};

    #[test]
    fn without_timers_none_is_set() {
        let id = ComponentId::new("demo", "a", "main").unwrap();
        let of = ComponentHandle::new(id, 1);
        let set = now(NoTimers.set(&of, Duration::ZERO, Bytes::new()));
        assert!(matches!(set, Err(TimerError::NotSet(_))), "{set:?}");
        assert_eq!(now(NoTimers.cancel(&of, 1)), Ok(false));
    }

    #[test]
    fn errors_say_what_happened_on_one_line() {
        let errors = every!(
            TimerError,
            TooMany,
            Invalid("too\nlong".to_owned()),
            Denied(CapabilityDenied::not_granted(Capability::Storage)),
            NotSet("no\nspace".to_owned()),
        );
        snapshot("timer-error", errors);
    }
}
