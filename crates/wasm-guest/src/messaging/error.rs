//! Why a message was not sent.

use std::error::Error;
use std::fmt::{self, Display};

use crate::id::{ComponentId, InvalidComponentId};
use crate::message::CorrelationId;

/// Why a message was not sent: the cases of the contract's `messaging-error`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessagingError {
    /// It is not permitted, or cannot be delivered; the reason.
    DeliveryFailed(String),
    /// The request was not answered in time.
    CorrelationTimeout(CorrelationId),
    /// No id, or nothing that can be sent now; the reason.
    InvalidMessage(String),
    /// The recipient has no room, or the call has sent as much as it may.
    QueueFull,
    /// There is no such component.
    TargetNotFound(ComponentId),
}

impl Display for MessagingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeliveryFailed(reason) => write!(f, "delivery failed: {reason}"),
            Self::CorrelationTimeout(id) => write!(f, "request {id} was not answered in time"),
            Self::InvalidMessage(reason) => write!(f, "invalid message: {reason}"),
            Self::QueueFull => f.write_str("queue full"),
            Self::TargetNotFound(id) => write!(f, "no component {id}"),
        }
    }
}

impl Error for MessagingError {}

impl From<InvalidComponentId> for MessagingError {
    fn from(error: InvalidComponentId) -> Self {
        Self::InvalidMessage(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_says_what_it_is() {
        for (error, text) in [
            (
                MessagingError::DeliveryFailed("why".to_owned()),
                "delivery failed: why",
            ),
            (
                MessagingError::CorrelationTimeout("r1".to_owned()),
                "request r1 was not answered in time",
            ),
            (
                MessagingError::InvalidMessage("why".to_owned()),
                "invalid message: why",
            ),
            (MessagingError::QueueFull, "queue full"),
            (
                MessagingError::TargetNotFound("a/b/c".parse().unwrap()),
                "no component a/b/c",
            ),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }
}
