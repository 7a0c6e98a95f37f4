//! How messages leave this node: each is stored in a stream before it is accepted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_nats::header::HeaderMap;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use wasm_core::{ComponentId, ComponentMessage, MessagingError};
use wasm_host::{Carried, Carrier, ReplyTo};

use crate::answers::Answers;
use crate::claim::Claims;
use crate::envelope::{Asks, Envelope, SentAs, seal};
use crate::name::Names;
use crate::roster::Roster;
use crate::sent::Sent;
use crate::wire::{PublishError, Wire};

/// Up to which place of the stream everything has been handed to the host, by partition.
#[derive(Debug, Default)]
pub(crate) struct Arrived(Mutex<HashMap<u16, u64>>);

impl Arrived {
    pub(crate) fn set(&self, partition: u16, place: Option<u64>) {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match place {
            Some(place) => places.insert(partition, place),
            None => places.remove(&partition),
        };
    }

    fn get(&self, partition: u16) -> u64 {
        let places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.get(&partition).copied().unwrap_or(0)
    }
}

/// Carries messages to the stream.
pub(crate) struct NatsCarrier {
    pub(crate) wire: Wire,
    pub(crate) names: Names,
    /// Of this node, while it is this process.
    pub(crate) incarnation: String,
    pub(crate) claims: Arc<Claims>,
    pub(crate) answers: Arc<Answers>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) sent: Sent,
    pub(crate) arrived: Arc<Arrived>,
    /// How many messages were sent to each partition, those that were refused among them.
    pub(crate) numbers: Mutex<HashMap<u16, u64>>,
}

impl NatsCarrier {
    async fn store(
        &self,
        message: &ComponentMessage,
        asks: Option<Asks>,
    ) -> Result<(), MessagingError> {
        let to = &message.recipient;
        if !self.roster.has(to) {
            return Err(MessagingError::TargetNotFound(to.clone()));
        }
        // What is not this node's any more says nothing more to others.
        let from = &message.sender;
        if self.roster.has(from) && !self.claims.has(from) {
            let reason = format!("this node does not own {from} any more");
            return Err(MessagingError::DeliveryFailed(reason));
        }
        let size = self.wire.check_size(message.payload.len());
        size.map_err(|error| refused(&error))?;
        let partition = self.claims.partition_of(to);
        let number = self.next_number(partition);
        let sent_as = SentAs {
            origin: self.incarnation.clone(),
            number,
        };
        let envelope = Envelope::new(message, sent_as, asks);
        let sealed = seal(&envelope, message.payload.as_bytes());
        let bytes = sealed.map_err(|error| MessagingError::InvalidMessage(error.to_string()))?;
        let mut headers = HeaderMap::new();
        // However often it is tried, it is stored once, by a server that has heard of it.
        let id = format!("{}-{partition}-{number}", self.incarnation);
        headers.insert("Nats-Msg-Id", id.as_str());
        self.publish((partition, to), headers, bytes).await
    }

    fn next_number(&self, partition: u16) -> u64 {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let number = numbers.entry(partition).or_default();
        *number += 1;
        *number
    }

    async fn publish(
        &self,
        (partition, to): (u16, &ComponentId),
        headers: HeaderMap,
        bytes: Bytes,
    ) -> Result<(), MessagingError> {
        let subject = self.names.mail(partition, to);
        let leaving = self.sent.leave(to);
        let published = self.wire.publish(&subject, headers, bytes).await;
        let place = published.map_err(|error| refused(&error))?;
        leaving.stored(place);
        Ok(())
    }
}

/// What the sender is told.
fn refused(error: &PublishError) -> MessagingError {
    match error {
        PublishError::Full => MessagingError::QueueFull,
        PublishError::TooLarge { .. } => MessagingError::InvalidMessage(error.to_string()),
        PublishError::Unconfirmed => MessagingError::DeliveryFailed(format!(
            "{error}, and the message may arrive all the same"
        )),
        error => MessagingError::DeliveryFailed(error.to_string()),
    }
}

#[async_trait]
impl Carrier for NatsCarrier {
    /// A request to a component of this node ends with this process, whoever handles it: it
    /// needs no stream, unless it would overtake what is in there.
    fn carries(&self, message: &ComponentMessage, is_request: bool, is_here: bool) -> bool {
        let to = &message.recipient;
        if !is_request || !is_here || !self.claims.has(to) {
            return true;
        }
        let arrived = || self.arrived.get(self.claims.partition_of(to));
        !self.sent.has_arrived(to, arrived)
    }

    fn may_handle(&self, id: &ComponentId) -> bool {
        self.claims.has(id)
    }

    async fn send(&self, message: ComponentMessage) -> Result<(), MessagingError> {
        self.store(&message, None).await
    }

    async fn request(
        &self,
        message: ComponentMessage,
        reply: ReplyTo,
    ) -> Result<Box<dyn Carried>, MessagingError> {
        let Some(id) = message.correlation_id.clone() else {
            reply.forget();
            let reason = "a request without a correlation id".to_owned();
            return Err(MessagingError::InvalidMessage(reason));
        };
        let left = reply.deadline().saturating_duration_since(Instant::now());
        let millis = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        // Whoever answers may be faster than the stream.
        let waiting = self.answers.expect(id.clone(), reply).map_err(|reply| {
            reply.forget();
            MessagingError::InvalidMessage(format!(
                "another request with the correlation id {id} waits for its answer: each needs \
                 one of its own"
            ))
        })?;
        self.store(&message, Some(Asks { millis })).await?;
        Ok(Box::new(waiting))
    }
}
