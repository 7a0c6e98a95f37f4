use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use wasm_core::{ComponentHandle, ComponentMessage, CorrelationId, MessageRouter, MessagingError};

use crate::RecordingRouter;
use crate::lock::lock;

/// A router for each component: who of two is the first to send, or to be given the
/// number of a request, is nobody's business.
#[derive(Debug, Default)]
pub(super) struct Post(Mutex<HashMap<ComponentHandle, Arc<RecordingRouter>>>);

impl Post {
    pub(super) fn of(&self, from: &ComponentHandle) -> Arc<RecordingRouter> {
        Arc::clone(lock(&self.0).entry(from.clone()).or_default())
    }
}

#[async_trait]
impl MessageRouter for Post {
    async fn send(
        &self,
        from: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), MessagingError> {
        self.of(from).send(from, message).await
    }

    async fn request(
        &self,
        from: &ComponentHandle,
        message: ComponentMessage,
        timeout: Duration,
    ) -> Result<CorrelationId, MessagingError> {
        self.of(from).request(from, message, timeout).await
    }

    async fn cancel_request(
        &self,
        from: &ComponentHandle,
        request: &CorrelationId,
    ) -> Result<(), MessagingError> {
        self.of(from).cancel_request(from, request).await
    }

    async fn broadcast(
        &self,
        from: &ComponentHandle,
        messages: Vec<ComponentMessage>,
    ) -> Result<(), MessagingError> {
        self.of(from).broadcast(from, messages).await
    }
}
