//! The services of a sequence: they hold up whoever calls them while they are closed,
//! and go wrong when they are told to.

use std::collections::HashMap;
use std::future::pending;
use std::mem;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use wasm_core::{
    Capability, CapabilityDenied, ComponentDirectory, ComponentHandle, ComponentId, ComponentInfo,
    ComponentMessage, ComponentStorage, CorrelationId, HealthStatus, HostServices, MemoryStorage,
    MessageRouter, MessagingError, SecurityValidator, StorageError, StorageUsage,
};

use super::sequence::Trouble;
use crate::lock::lock;
use crate::{ManualClock, MemoryDirectory, RecordingRouter};

/// What a service with a bug panics with.
const PANIC: &str = "a bug in a service";

/// Whom every directory knows, besides those that are hidden.
pub(super) const KNOWN: [&str; 4] = ["demo/a/main", "demo/b/main", "demo/store/0", "demo/store/1"];

/// What components of a sequence may call, the clock excepted.
#[derive(Debug)]
pub(super) struct Services {
    /// One for each component: who of two is the first to send, or to be given the
    /// number of a request, is nobody's business.
    routers: Mutex<HashMap<ComponentHandle, Arc<RecordingRouter>>>,
    storage: MemoryStorage,
    directory: MemoryDirectory,
    closed: watch::Sender<bool>,
    /// Who is held up since they were closed.
    held: Mutex<Vec<ComponentId>>,
    trouble: Mutex<Option<Trouble>>,
}

impl Services {
    pub(super) fn new() -> Arc<Self> {
        let directory = MemoryDirectory::new();
        for known in KNOWN {
            let id: ComponentId = known.parse().expect("it is an id");
            directory.insert(ComponentInfo {
                name: format!("the {}", id.name()),
                version: "1.2.3".to_owned(),
                health: HealthStatus::Degraded,
                id,
            });
        }
        Arc::new(Self {
            routers: Mutex::default(),
            storage: MemoryStorage::new(),
            directory,
            closed: watch::Sender::new(false),
            held: Mutex::default(),
            trouble: Mutex::default(),
        })
    }

    pub(super) fn with_clock(self: &Arc<Self>, clock: &Arc<ManualClock>) -> HostServices {
        HostServices::default()
            .with_clock(clock.clone())
            .with_router(self.clone())
            .with_storage(self.clone())
            .with_directory(self.clone())
            .with_validator(self.clone())
    }

    pub(super) fn router_of(&self, from: &ComponentHandle) -> Arc<RecordingRouter> {
        Arc::clone(lock(&self.routers).entry(from.clone()).or_default())
    }

    /// Routers and stores hold up whoever calls them from now on.
    pub(super) fn close(&self) {
        lock(&self.held).clear();
        self.closed.send_replace(true);
    }

    /// Who has come since they were closed.
    pub(super) fn held(&self) -> Vec<ComponentId> {
        lock(&self.held).clone()
    }

    pub(super) fn open(&self) {
        self.closed.send_replace(false);
    }

    /// The next service that is called goes wrong like this.
    pub(super) fn prepare(&self, trouble: Trouble) {
        *lock(&self.trouble) = Some(trouble);
    }

    /// What was prepared and did not come about.
    pub(super) fn calm(&self) {
        *lock(&self.trouble) = None;
    }

    /// Whether the service refuses what it is asked for.
    async fn refuses(&self) -> bool {
        let trouble = {
            let mut trouble = lock(&self.trouble);
            if *trouble == Some(Trouble::Denial) {
                return false;
            }
            mem::take(&mut *trouble)
        };
        match trouble {
            Some(Trouble::Panic) => resume_unwind(Box::new(PANIC)),
            Some(Trouble::Hang) => pending().await,
            trouble => trouble == Some(Trouble::Refusal),
        }
    }

    async fn pass(&self, who: &ComponentId) {
        let mut closed = self.closed.subscribe();
        if *closed.borrow() {
            lock(&self.held).push(who.clone());
            // It is never gone before those who call.
            let _ = closed.wait_for(|closed| !closed).await;
        }
    }

    async fn router(&self, from: &ComponentHandle) -> Result<Arc<RecordingRouter>, MessagingError> {
        self.pass(from.id()).await;
        if self.refuses().await {
            return Err(MessagingError::QueueFull);
        }
        Ok(self.router_of(from))
    }

    async fn storage_of(&self, owner: &ComponentId) -> Result<&MemoryStorage, StorageError> {
        self.pass(owner).await;
        if self.refuses().await {
            return Err(StorageError::Io("as told".to_owned()));
        }
        Ok(&self.storage)
    }
}

#[async_trait]
impl MessageRouter for Services {
    async fn send(
        &self,
        from: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), MessagingError> {
        self.router(from).await?.send(from, message).await
    }

    async fn request(
        &self,
        from: &ComponentHandle,
        message: ComponentMessage,
        timeout: Duration,
    ) -> Result<CorrelationId, MessagingError> {
        let router = self.router(from).await?;
        router.request(from, message, timeout).await
    }

    async fn cancel_request(
        &self,
        from: &ComponentHandle,
        request: &CorrelationId,
    ) -> Result<(), MessagingError> {
        self.router(from).await?.cancel_request(from, request).await
    }

    async fn broadcast(
        &self,
        from: &ComponentHandle,
        messages: Vec<ComponentMessage>,
    ) -> Result<(), MessagingError> {
        self.router(from).await?.broadcast(from, messages).await
    }
}

#[async_trait]
impl ComponentStorage for Services {
    async fn get(&self, owner: &ComponentId, key: &str) -> Result<Option<Bytes>, StorageError> {
        self.storage_of(owner).await?.get(owner, key).await
    }

    async fn set(
        &self,
        owner: &ComponentId,
        key: &str,
        value: Bytes,
        quota: u64,
    ) -> Result<(), StorageError> {
        let storage = self.storage_of(owner).await?;
        storage.set(owner, key, value, quota).await
    }

    async fn delete(&self, owner: &ComponentId, key: &str) -> Result<(), StorageError> {
        self.storage_of(owner).await?.delete(owner, key).await
    }

    async fn list_keys(
        &self,
        owner: &ComponentId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StorageError> {
        let storage = self.storage_of(owner).await?;
        storage.list_keys(owner, prefix, after, limit).await
    }

    async fn usage(&self, owner: &ComponentId) -> Result<StorageUsage, StorageError> {
        self.storage_of(owner).await?.usage(owner).await
    }
}

/// It is not told who asks, so that it holds up nobody.
#[async_trait]
impl ComponentDirectory for Services {
    async fn list(&self, after: Option<&ComponentId>, limit: usize) -> Vec<ComponentId> {
        // It cannot refuse.
        self.refuses().await;
        self.directory.list(after, limit).await
    }

    async fn info(&self, id: &ComponentId) -> Option<ComponentInfo> {
        self.refuses().await;
        self.directory.info(id).await
    }
}

impl SecurityValidator for Services {
    fn validate(
        &self,
        _: &ComponentHandle,
        capability: &Capability,
    ) -> Result<(), CapabilityDenied> {
        let mut trouble = lock(&self.trouble);
        if *trouble == Some(Trouble::Denial) {
            *trouble = None;
            return Err(CapabilityDenied::not_granted(capability.clone()));
        }
        Ok(())
    }
}
