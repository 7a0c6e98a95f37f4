//! What arrives at a component.

use std::error::Error;
use std::fmt::{self, Display};
use std::time::Duration;

use crate::id::ComponentId;
use crate::payload::Payload;

/// Tells one request from all others.
pub type CorrelationId = String;

/// The content type of an answer that tells why there is none.
#[cfg(any(test, target_family = "wasm"))]
const ERROR_TYPE: &str = "application/vnd.airssys.messaging-error";

/// A message that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// Who sent it. The host vouches for it.
    pub sender: ComponentId,
    /// What it carries.
    pub payload: Payload,
    /// Set if it is a request, to which the reply is the answer.
    pub correlation_id: Option<CorrelationId>,
    /// Who is to get the answer, if that is not the sender.
    pub reply_to: Option<ComponentId>,
    /// When it was sent, since the Unix epoch.
    pub timestamp: Duration,
    /// Of what kind the payload is, if the host knows.
    pub content_type: Option<String>,
}

impl Message {
    /// A message with nothing but sender and payload, sent at the epoch.
    ///
    /// ```
    /// use wasm_guest::Message;
    ///
    /// let sender = "demo/ann/main".parse().unwrap();
    /// let message = Message::new(sender, "hello");
    /// assert_eq!(message.payload, "hello");
    /// ```
    pub fn new(sender: ComponentId, payload: impl Into<Payload>) -> Self {
        Self {
            sender,
            payload: payload.into(),
            correlation_id: None,
            reply_to: None,
            timestamp: Duration::ZERO,
            content_type: None,
        }
    }
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// Which request it was.
    pub request: CorrelationId,
    /// Who was asked.
    pub sender: ComponentId,
    /// The reply, which is empty if there was none; or why there is no answer.
    pub outcome: Result<Payload, RequestError>,
    /// When it was sent, since the Unix epoch.
    pub timestamp: Duration,
}

#[cfg(any(test, target_family = "wasm"))]
impl Answer {
    /// The callback of the contract as what it stands for.
    pub(crate) fn of(callback: Message) -> Self {
        let failed = callback.content_type.as_deref() == Some(ERROR_TYPE);
        let outcome = match failed {
            false => Ok(callback.payload),
            true => Err(RequestError::of(
                callback.payload.text().unwrap_or_default(),
            )),
        };
        Self {
            request: callback.correlation_id.unwrap_or_default(),
            sender: callback.sender,
            outcome,
            timestamp: callback.timestamp,
        }
    }
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// Nobody answered in time.
    TimedOut,
    /// It could not be delivered, or whoever was asked failed over it; the reason.
    Failed(String),
}

#[cfg(any(test, target_family = "wasm"))]
impl RequestError {
    fn of(text: &str) -> Self {
        let (case, reason) = text.split_once(':').unwrap_or((text, ""));
        match case {
            "correlation-timeout" => Self::TimedOut,
            "delivery-failed" => Self::Failed(reason.trim_start().to_owned()),
            _ => Self::Failed(text.to_owned()),
        }
    }
}

impl Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("the request was not answered in time"),
            Self::Failed(reason) => write!(f, "the request failed: {reason}"),
        }
    }
}

impl Error for RequestError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(payload: &str, content_type: Option<&str>) -> Answer {
        let mut callback = Message::new("a/b/c".parse().unwrap(), payload);
        callback.correlation_id = Some("r1".to_owned());
        callback.content_type = content_type.map(str::to_owned);
        Answer::of(callback)
    }

    #[test]
    fn an_answer_is_what_the_callback_says() {
        assert_eq!(answer("4", None).outcome, Ok("4".into()));
        assert_eq!(answer("4", Some("text/plain")).outcome, Ok("4".into()));
        assert_eq!(answer("4", None).request, "r1");
        for (payload, error) in [
            ("correlation-timeout", RequestError::TimedOut),
            (
                "delivery-failed: why: so",
                RequestError::Failed("why: so".to_owned()),
            ),
            ("queue-full", RequestError::Failed("queue-full".to_owned())),
        ] {
            assert_eq!(answer(payload, Some(ERROR_TYPE)).outcome, Err(error));
        }
    }

    #[test]
    fn it_is_told_why_there_is_none() {
        let failed = RequestError::Failed("gone".to_owned());
        assert_eq!(failed.to_string(), "the request failed: gone");
        assert_eq!(
            RequestError::TimedOut.to_string(),
            "the request was not answered in time"
        );
    }
}
