//! How a message travels: what its envelope says as JSON, and then its payload.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use wasm_core::{ComponentId, ComponentMessage, Timestamp};

/// What travels besides the payload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Envelope {
    from: String,
    to: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    correlation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    reply_to: Option<String>,
    seconds: u64,
    nanoseconds: u32,
    hops: u32,
    /// By whom it was sent, and which message of theirs it is.
    #[serde(flatten)]
    pub(crate) sent_as: SentAs,
    /// Of a request.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) asks: Option<Asks>,
}

/// What is the same of two messages only if one of them is the other, stored again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SentAs {
    /// The node that sent it, while it was this process.
    pub(crate) origin: String,
    /// How many it had sent to the partition, with this one; 0 where nobody has counted.
    #[serde(default)]
    pub(crate) number: u64,
}

impl SentAs {
    pub(crate) fn as_pair(&self) -> (&str, u64) {
        (&self.origin, self.number)
    }
}

/// What a request says of the answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Asks {
    /// How long somebody waits for it.
    pub(crate) millis: u64,
}

impl Envelope {
    pub(crate) fn new(message: &ComponentMessage, sent_as: SentAs, asks: Option<Asks>) -> Self {
        Self {
            from: message.sender.to_string(),
            to: message.recipient.to_string(),
            kind: message.message_type.as_deref().map(str::to_owned),
            correlation: message
                .correlation_id
                .as_ref()
                .map(|it| it.as_str().to_owned()),
            reply_to: message.reply_to.as_ref().map(ToString::to_string),
            seconds: message.timestamp.seconds,
            nanoseconds: message.timestamp.nanoseconds,
            hops: message.hops,
            sent_as,
            asks,
        }
    }

    pub(crate) fn message(&self, payload: Bytes) -> Option<ComponentMessage> {
        let (from, to): (ComponentId, _) = (self.from.parse().ok()?, self.to.parse().ok()?);
        let mut message = ComponentMessage::new(from, to, payload)
            .with_hops(self.hops)
            .with_timestamp(Timestamp {
                seconds: self.seconds,
                nanoseconds: self.nanoseconds,
            });
        message.message_type = self.kind.as_deref().map(Into::into);
        message.correlation_id = self.correlation.clone().map(Into::into);
        message.reply_to = match &self.reply_to {
            Some(id) => Some(id.parse().ok()?),
            None => None,
        };
        Some(message)
    }
}

/// The bytes of a message.
pub(crate) fn seal<T: Serialize>(envelope: &T, payload: &[u8]) -> Result<Bytes, serde_json::Error> {
    let envelope = serde_json::to_vec(envelope)?;
    let mut bytes = BytesMut::with_capacity(4 + envelope.len() + payload.len());
    // Of a few kilobytes.
    bytes.put_u32(envelope.len() as u32);
    bytes.put_slice(&envelope);
    bytes.put_slice(payload);
    Ok(bytes.freeze())
}

/// Envelope and payload, unless this is nothing that a node has sent.
pub(crate) fn open<T: for<'de> Deserialize<'de>>(mut bytes: Bytes) -> Option<(T, Bytes)> {
    if bytes.len() < 4 {
        return None;
    }
    let length = bytes.get_u32() as usize;
    if length > bytes.len() {
        return None;
    }
    let envelope = bytes.split_to(length);
    Some((serde_json::from_slice(&envelope).ok()?, bytes))
}

/// A message of a component, with what else its envelope says.
pub(crate) fn open_message(bytes: Bytes) -> Option<(Envelope, ComponentMessage)> {
    let (envelope, payload) = open::<Envelope>(bytes)?;
    let message = envelope.message(payload)?;
    Some((envelope, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_as_it_was_sent() {
        let id = |text: &str| text.parse::<ComponentId>().unwrap();
        let bare = ComponentMessage::new(id("a/b/c"), id("d/e/f"), "");
        let full = ComponentMessage::new(id("a/b/c"), id("d/e/f"), vec![0, 255, b'\n'])
            .with_message_type("text/\r\nplain é")
            .with_correlation_id("c\0")
            .with_reply_to(id("g/h/i"))
            .with_hops(3)
            .with_timestamp(Timestamp {
                seconds: 5,
                nanoseconds: 6,
            });
        for message in [bare, full] {
            let asks = message.reply_to.as_ref().map(|_| Asks { millis: 7 });
            let sent_as = SentAs {
                origin: "n1".to_owned(),
                number: 8,
            };
            let envelope = Envelope::new(&message, sent_as.clone(), asks);
            let sealed = seal(&envelope, message.payload.as_bytes()).unwrap();
            let (opened, arrived) = open_message(sealed).unwrap();
            assert_eq!(arrived, message);
            assert_eq!(opened.sent_as, sent_as);
            assert_eq!(opened.asks.is_some(), message.reply_to.is_some());
        }
    }

    #[test]
    fn what_no_node_has_sent_is_no_message() {
        for bytes in [
            b"".as_slice(),
            b"abc",
            b"\xff\xff\xff\xff{}",
            b"\0\0\0\x02{}",
            b"\0\0\0\x02[]",
        ] {
            assert!(open_message(Bytes::from_static(bytes)).is_none());
        }
    }
}
