use std::fmt::{self, Debug, Display};
use std::sync::Arc;

use bytes::Bytes;

use crate::{ComponentId, Timestamp};

/// Ties an answer to the request it answers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CorrelationId(Arc<str>);

impl CorrelationId {
    /// The text as it travels in the envelope.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for CorrelationId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for CorrelationId {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<CorrelationId> for Arc<str> {
    fn from(id: CorrelationId) -> Self {
        id.0
    }
}

impl Display for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&crate::text::Escaped::new(&self.0), f)
    }
}

/// The bytes of a message; clones share them.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct MessagePayload(Bytes);

impl MessagePayload {
    /// No bytes; allocates nothing.
    pub const fn empty() -> Self {
        Self(Bytes::new())
    }

    /// Borrows from the binary; allocates nothing.
    pub const fn from_static(bytes: &'static [u8]) -> Self {
        Self(Bytes::from_static(bytes))
    }

    /// The content.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// In bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The shared buffer itself.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

#[cfg(feature = "json")]
impl MessagePayload {
    /// Writes `value` as compact JSON.
    ///
    /// # Errors
    /// When `T` refuses to be serialized or has map keys that are not strings.
    pub fn from_json<T: serde::Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::to_vec(value).map(Self::from)
    }

    /// Reads the whole payload as one JSON document.
    ///
    /// # Errors
    /// When the payload is not JSON, has something after it, or does not fit `T`;
    /// the error tells line and column.
    pub fn to_json<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.0)
    }
}

macro_rules! payload_from {
    ($($source:ty),*) => {$(
        impl From<$source> for MessagePayload {
            fn from(bytes: $source) -> Self {
                Self(bytes.into())
            }
        }
    )*};
}

payload_from!(Bytes, Vec<u8>, String, &'static [u8], &'static str);

impl From<MessagePayload> for Bytes {
    fn from(payload: MessagePayload) -> Self {
        payload.0
    }
}

impl AsRef<[u8]> for MessagePayload {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Payloads may be large and secret: only the length is shown.
impl Debug for MessagePayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessagePayload({} bytes)", self.0.len())
    }
}

/// A message and its envelope.
///
/// `sender` is set by the host and can be trusted; a component cannot write it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ComponentMessage {
    /// Who sent it.
    pub sender: ComponentId,
    /// Whom it is for. Routers deliver by it; an engine that is given a message
    /// delivers it to the handle it was called with.
    pub recipient: ComponentId,
    /// What it says.
    pub payload: MessagePayload,
    /// The message's type, which the component reads as `content-type`.
    pub message_type: Option<Arc<str>>,
    /// Set on a request and on the callback that answers it.
    pub correlation_id: Option<CorrelationId>,
    /// Who wants the answer, when that is not the sender.
    pub reply_to: Option<ComponentId>,
    /// When it was sent, by the host's clock.
    pub timestamp: Timestamp,
    /// How many components have sent it on: one more than the message in whose handling it
    /// was sent, and 0 of what a program sends. Components do not see it; a router refuses
    /// what has gone too far.
    pub hops: u32,
}

impl ComponentMessage {
    /// A message without type, correlation id and reply-to, sent at the epoch by a program.
    pub fn new(
        sender: ComponentId,
        recipient: ComponentId,
        payload: impl Into<MessagePayload>,
    ) -> Self {
        Self {
            sender,
            recipient,
            payload: payload.into(),
            message_type: None,
            correlation_id: None,
            reply_to: None,
            timestamp: Timestamp::default(),
            hops: 0,
        }
    }

    /// Sets [`message_type`](Self::message_type).
    #[must_use]
    pub fn with_message_type(mut self, message_type: impl Into<Arc<str>>) -> Self {
        self.message_type = Some(message_type.into());
        self
    }

    /// Sets [`correlation_id`](Self::correlation_id).
    #[must_use]
    pub fn with_correlation_id(mut self, id: impl Into<CorrelationId>) -> Self {
        self.correlation_id = Some(id.into());
        self
    }

    /// Sets [`reply_to`](Self::reply_to).
    #[must_use]
    pub fn with_reply_to(mut self, reply_to: ComponentId) -> Self {
        self.reply_to = Some(reply_to);
        self
    }

    /// Sets [`timestamp`](Self::timestamp).
    #[must_use]
    pub fn with_timestamp(mut self, timestamp: Timestamp) -> Self {
        self.timestamp = timestamp;
        self
    }

    /// Sets [`hops`](Self::hops).
    #[must_use]
    pub fn with_hops(mut self, hops: u32) -> Self {
        self.hops = hops;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_of_a_payload_share_its_bytes() {
        let payload = MessagePayload::from(vec![1, 2, 3]);
        let clone = payload.clone();
        assert_eq!(payload.as_bytes().as_ptr(), clone.as_bytes().as_ptr());
        assert_eq!(clone.into_bytes(), Bytes::from_static(&[1, 2, 3]));
    }

    #[test]
    fn payloads_come_from_what_holds_bytes() {
        let payload = MessagePayload::from_static(b"hi");
        for same in [
            MessagePayload::from("hi"),
            MessagePayload::from("hi".to_owned()),
            MessagePayload::from(b"hi".as_slice()),
            MessagePayload::from(Bytes::from_static(b"hi")),
        ] {
            assert_eq!(same, payload);
        }
        assert_eq!(Bytes::from(payload), Bytes::from_static(b"hi"));
    }

    #[test]
    fn a_correlation_id_is_its_text() {
        let id = CorrelationId::from("c\n1".to_owned());
        assert_eq!(id.as_str(), "c\n1");
        assert_eq!(id.to_string(), "c\\u{a}1");
        assert_eq!(id, CorrelationId::from("c\n1"));
        assert_eq!(&*Arc::<str>::from(id), "c\n1");
    }

    #[test]
    fn an_empty_payload_has_no_bytes() {
        assert!(MessagePayload::empty().is_empty());
        assert_eq!(MessagePayload::empty(), MessagePayload::from(Vec::new()));
        let payload = MessagePayload::from_static(b"abc");
        assert_eq!((payload.len(), payload.is_empty()), (3, false));
    }

    #[test]
    fn debug_output_keeps_the_content_to_itself() {
        let payload = MessagePayload::from("secret");
        assert_eq!(format!("{payload:?}"), "MessagePayload(6 bytes)");
    }

    #[test]
    fn the_envelope_keeps_what_was_set() {
        let [a, b, c] = ["a", "b", "c"].map(|n| ComponentId::new("demo", n, "main").unwrap());
        let timestamp = Timestamp {
            seconds: 1,
            nanoseconds: 2,
        };
        let message = ComponentMessage::new(a.clone(), b.clone(), "hi")
            .with_message_type("text/plain")
            .with_correlation_id("c-1")
            .with_reply_to(c.clone())
            .with_timestamp(timestamp);
        assert_eq!((message.sender, message.recipient), (a, b));
        assert_eq!(message.payload.as_ref(), b"hi");
        assert_eq!(message.message_type.as_deref(), Some("text/plain"));
        assert_eq!(message.correlation_id, Some(CorrelationId::from("c-1")));
        assert_eq!((message.reply_to, message.timestamp), (Some(c), timestamp));
    }

    #[cfg(feature = "json")]
    #[test]
    fn json_goes_in_and_out() {
        let payload = MessagePayload::from_json(&vec![1, 2]).unwrap();
        assert_eq!(payload.as_bytes(), b"[1,2]");
        assert_eq!(payload.to_json::<Vec<u8>>().unwrap(), [1, 2]);
        let error = MessagePayload::from("[1,")
            .to_json::<Vec<u8>>()
            .unwrap_err();
        assert_eq!((error.line(), error.column()), (1, 3));
        assert!(
            MessagePayload::from("[1] 2")
                .to_json::<Vec<u8>>()
                .unwrap_err()
                .is_syntax()
        );
    }
}
