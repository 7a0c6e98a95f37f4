//! What becomes of a request, and how a component is told.

use std::sync::Arc;

use thiserror::Error;

use wasm_core::text::Escaped;
use wasm_core::{ComponentMessage, MessagePayload, MessagingError, WasmError};

/// The content type of a callback that tells of an error.
pub const ERROR_TYPE: &str = "application/vnd.airssys.messaging-error";

/// The longest text of an error that a callback carries, in characters: it may quote
/// the component that failed.
const REASON_CHARS: usize = 1000;

/// Why a request has no answer.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// It was not accepted, got lost or was not answered in time.
    #[error(transparent)]
    Messaging(#[from] MessagingError),
    /// The component answered with an error, or failed over it.
    #[error(transparent)]
    Component(Arc<WasmError>),
}

impl RequestError {
    /// The error case of the contract and its text.
    fn as_payload(&self) -> MessagePayload {
        match self {
            Self::Messaging(MessagingError::CorrelationTimeout(_)) => "correlation-timeout".into(),
            Self::Messaging(MessagingError::DeliveryFailed(reason)) => {
                format!("delivery-failed: {}", Escaped::prose(REASON_CHARS, reason)).into()
            }
            other => {
                let reason = other.to_string();
                format!("delivery-failed: {}", Escaped::prose(REASON_CHARS, &reason)).into()
            }
        }
    }
}

/// The callback with this outcome, in the envelope of `callback`.
pub(crate) fn as_callback(
    mut callback: ComponentMessage,
    outcome: Result<Option<MessagePayload>, &RequestError>,
) -> ComponentMessage {
    match outcome {
        Ok(reply) => callback.payload = reply.unwrap_or_default(),
        Err(error) => {
            callback.payload = error.as_payload();
            callback.message_type = Some(ERROR_TYPE.into());
        }
    }
    callback
}

/// What became of a request: the reply, if the component gave one, or why there is none.
pub type Outcome = Result<Option<MessagePayload>, RequestError>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_callback_says_of_an_error_is_short() {
        let long = "x".repeat(10_000);
        let error = RequestError::Messaging(MessagingError::DeliveryFailed(long));
        let payload = error.as_payload();
        let letters = payload.as_bytes().iter().filter(|byte| **byte == b'x');
        assert_eq!(letters.count(), 1000);
    }
}
