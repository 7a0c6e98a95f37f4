//! Dead letters of all nodes, in a stream of their own.

use async_nats::header::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::envelope::{Envelope, seal};
use crate::mail::{Dead, Mail};
use crate::name::Names;
use crate::wire::Wire;

/// What is kept of a dead letter before its payload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DeadRecord {
    envelope: Envelope,
    cause: String,
    reason: String,
    /// Where it became one.
    node: String,
    /// In the stream of messages.
    place: u64,
    payload_bytes: usize,
    #[serde(skip)]
    payload: bytes::Bytes,
    #[serde(skip)]
    subject_of: Option<wasm_core::ComponentId>,
}

impl DeadRecord {
    pub(crate) fn new(mail: &Mail, dead: &Dead, node: &str) -> Self {
        Self {
            envelope: mail.envelope.clone(),
            cause: dead.cause.to_owned(),
            reason: dead.reason.chars().take(1_000).collect(),
            node: node.to_owned(),
            place: mail.place,
            payload_bytes: mail.message.payload.len(),
            payload: mail.message.payload.clone().into_bytes(),
            subject_of: Some(mail.message.recipient.clone()),
        }
    }

    /// Whether it is stored, once however often it is tried and by whom.
    pub(crate) async fn keep(&self, wire: &Wire, names: &Names) -> bool {
        let Some(to) = &self.subject_of else {
            return true;
        };
        let Ok(bytes) = seal(self, &self.payload) else {
            return true;
        };
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", format!("mail-{}", self.place).as_str());
        wire.publish(&names.dead(to), headers, bytes).await.is_ok()
    }
}
