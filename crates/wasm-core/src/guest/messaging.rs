//! `host-messaging` of the contract.

use std::fmt::Display;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::Guest;
use crate::{Capability, ComponentId, ComponentMessage, CorrelationId, MessagingError};

/// A target is whatever the engine lifts an id to; one that cannot be an id is an
/// [`MessagingError::InvalidMessage`].
impl Guest {
    /// `send`: takes it from the call's budget, checks the target and the permission, and
    /// hands the message to the router.
    ///
    /// # Errors
    /// [`MessagingError::QueueFull`] when the call has sent as much as it may;
    /// [`MessagingError::InvalidMessage`] for what is no id;
    /// [`MessagingError::DeliveryFailed`] for what is not permitted; else the router's.
    pub async fn send<T>(&self, target: T, payload: Bytes) -> Result<(), MessagingError>
    where
        T: TryInto<ComponentId, Error: Display>,
    {
        self.take_messages(1, &payload)?;
        let message = self.outgoing(target, payload, Capability::Send)?;
        self.services.router.send(&self.handle, message).await
    }

    /// `request`, like [`send`](Self::send). In its last call a component makes none: the
    /// answer would come to nobody, or to the instance after a restart.
    ///
    /// # Errors
    /// As for [`send`](Self::send), and [`MessagingError::InvalidMessage`] in the last call.
    pub async fn request<T>(
        &self,
        target: T,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<CorrelationId, MessagingError>
    where
        T: TryInto<ComponentId, Error: Display>,
    {
        if self.is_shutting_down.load(Ordering::Relaxed) {
            let reason = "a component that shuts down is not there for the answer";
            return Err(MessagingError::InvalidMessage(reason.to_owned()));
        }
        self.take_messages(1, &payload)?;
        let message = self.outgoing(target, payload, Capability::Request)?;
        let router = &self.services.router;
        router.request(&self.handle, message, timeout).await
    }

    /// `cancel-request`: nothing has to be granted to take back what was.
    ///
    /// # Errors
    /// The router's.
    pub async fn cancel_request(&self, request: &CorrelationId) -> Result<(), MessagingError> {
        let router = &self.services.router;
        router.cancel_request(&self.handle, request).await
    }

    /// `broadcast`, like [`send`](Self::send): each recipient counts, before anything is
    /// done for it, and all are checked before anything is sent to any.
    ///
    /// # Errors
    /// As for [`send`](Self::send), of the first target at fault.
    pub async fn broadcast<T>(&self, targets: Vec<T>, payload: Bytes) -> Result<(), MessagingError>
    where
        T: TryInto<ComponentId, Error: Display>,
    {
        self.take_messages(targets.len(), &payload)?;
        let messages = targets
            .into_iter()
            .map(|target| self.outgoing(target, payload.clone(), Capability::Broadcast))
            .collect::<Result<Vec<_>, _>>()?;
        self.services.router.broadcast(&self.handle, messages).await
    }

    fn take_messages(&self, recipients: usize, payload: &Bytes) -> Result<(), MessagingError> {
        if self.budget.take_messages(recipients, payload.len()) {
            Ok(())
        } else {
            Err(MessagingError::QueueFull)
        }
    }

    /// The message as it goes to the router, with sender, time and hops, if the component may
    /// send it.
    fn outgoing<T>(
        &self,
        target: T,
        payload: Bytes,
        capability: fn(ComponentId) -> Capability,
    ) -> Result<ComponentMessage, MessagingError>
    where
        T: TryInto<ComponentId, Error: Display>,
    {
        let target: ComponentId = target
            .try_into()
            .map_err(|error| MessagingError::InvalidMessage(error.to_string()))?;
        self.check(capability(target.clone()))
            .map_err(|denied| MessagingError::DeliveryFailed(denied.to_string()))?;
        let message = ComponentMessage::new(self.id().clone(), target, payload);
        let hops = self.hops.load(Ordering::Relaxed).saturating_add(1);
        Ok(message.with_timestamp(self.now()).with_hops(hops))
    }
}
