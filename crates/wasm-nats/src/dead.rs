//! Dead letters of all nodes, in a stream of their own.

use async_nats::header::HeaderMap;
use async_nats::jetstream::message::StreamMessage;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use wasm_core::{ComponentId, ComponentMessage};

use crate::connect::{Connection, NatsError};
use crate::envelope::{Envelope, open, seal};
use crate::mail::{Dead, Mail};
use crate::name::Names;
use crate::wire::Wire;

/// The longest text of an error that is kept, in characters.
const REASON_CHARS: usize = 1_000;

/// The largest payload that is kept. Of one that is larger, so much of its beginning.
const PAYLOAD_BYTES: usize = 64 << 10;

/// What is kept of a dead letter before its payload.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    envelope: Envelope,
    cause: String,
    reason: String,
    /// Where it became one.
    node: String,
    /// In the stream of messages.
    place: u64,
    /// Of the whole payload.
    #[serde(default)]
    payload_bytes: u64,
}

/// A dead letter that is to be kept.
#[derive(Debug)]
pub(crate) struct Kept {
    to: ComponentId,
    place: u64,
    bytes: Bytes,
}

impl Kept {
    /// `None` for what cannot be written.
    pub(crate) fn new(mail: &Mail, dead: &Dead, node: &str) -> Option<Self> {
        let record = Record {
            envelope: mail.envelope.clone(),
            cause: dead.cause.to_owned(),
            reason: dead.reason.chars().take(REASON_CHARS).collect(),
            node: node.to_owned(),
            place: mail.place,
            payload_bytes: mail.message.payload.len() as u64,
        };
        let payload = mail.message.payload.as_bytes();
        let bytes = seal(&record, &payload[..payload.len().min(PAYLOAD_BYTES)]).ok()?;
        Some(Self {
            to: mail.message.recipient.clone(),
            place: mail.place,
            bytes,
        })
    }

    /// Whether it is stored: once, however often it is tried and by whom.
    pub(crate) async fn store(&self, wire: &Wire, names: &Names) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", format!("mail-{}", self.place).as_str());
        let subject = names.dead(&self.to);
        let published = wire.publish(&subject, headers, self.bytes.clone()).await;
        published.is_ok()
    }
}

/// A dead letter of any node.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LostLetter {
    /// Larger than those of all before it.
    pub number: u64,
    /// What could not be handled, with at most 64 KiB of its payload.
    pub message: ComponentMessage,
    /// How many bytes its payload had.
    pub payload_bytes: u64,
    /// Why, as [`DeadLetterCause::as_str`](wasm_host::DeadLetterCause::as_str) says.
    pub cause: String,
    /// The same in words.
    pub reason: String,
    /// On which node it became one.
    pub node: String,
    /// When it was given up, in milliseconds since 1970, by the clock of the server.
    pub at_millis: u64,
}

impl Connection {
    /// The latest dead letters of all nodes, the oldest first.
    ///
    /// # Errors
    /// [`NatsError::Stream`] when they cannot be read.
    pub async fn latest_dead_letters(&self, limit: usize) -> Result<Vec<LostLetter>, NatsError> {
        let info = self.dead.get_info().await;
        let info = info.map_err(|error| NatsError::Stream {
            name: self.names.dead_stream(),
            reason: error.to_string(),
        })?;
        let after = info.state.last_sequence.saturating_sub(limit as u64);
        self.dead_letters(after, limit).await
    }

    /// Dead letters of all nodes, at most so many of those after this number, the oldest first.
    ///
    /// # Errors
    /// [`NatsError::Stream`] when they cannot be read.
    pub async fn dead_letters(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<LostLetter>, NatsError> {
        let subjects = self.names.dead_subjects();
        let mut letters = Vec::new();
        let mut after = after;
        while letters.len() < limit {
            let next = self.wire.next(&self.dead, &subjects, after + 1).await;
            let next = next.map_err(|error| NatsError::Stream {
                name: self.names.dead_stream(),
                reason: error.to_string(),
            })?;
            let Some(next) = next else {
                break;
            };
            after = next.sequence;
            letters.extend(read(next));
        }
        Ok(letters)
    }
}

fn read(stored: StreamMessage) -> Option<LostLetter> {
    let (record, payload) = open::<Record>(stored.payload)?;
    let at_millis = stored.time.unix_timestamp_nanos() / 1_000_000;
    Some(LostLetter {
        number: stored.sequence,
        at_millis: u64::try_from(at_millis).unwrap_or_default(),
        payload_bytes: record.payload_bytes.max(payload.len() as u64),
        message: record.envelope.message(payload)?,
        cause: record.cause,
        reason: record.reason,
        node: record.node,
    })
}
