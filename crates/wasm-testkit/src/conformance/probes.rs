//! Services that a case can hold up, watch or break.
//!
//! | probe | in place of | does |
//! |---|---|---|
//! | [`GatedRouter`] | a router | holds up every message at its [`Gate`]; what waits there has begun |
//! | [`SlowRouter`] | a router | takes as long over the next message as it is told |
//! | [`Stuck`] | router, storage, directory | never answers |
//! | [`Panicking`] | every service | has a bug |

use std::future::pending;
use std::mem;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio::time::sleep;

use wasm_core::{
    Capability, CapabilityDenied, Clock, ComponentDirectory, ComponentHandle, ComponentId,
    ComponentInfo, ComponentMessage, ComponentStorage, CorrelationId, HostServices, MessageRouter,
    MessagingError, SecurityValidator, StorageError, StorageUsage, Timestamp,
};

use crate::lock::lock;

/// Counts who comes in and lets out only as many as it is told to.
#[derive(Debug)]
pub(super) struct Gate {
    entered: Semaphore,
    exits: Semaphore,
}

impl Gate {
    fn new() -> Self {
        Self {
            entered: Semaphore::new(0),
            exits: Semaphore::new(0),
        }
    }

    async fn pass(&self) {
        self.entered.add_permits(1);
        if let Ok(exit) = self.exits.acquire().await {
            exit.forget();
        }
    }

    /// Until so many more have come in.
    pub(super) async fn entered(&self, count: u32) {
        if let Ok(entered) = self.entered.acquire_many(count).await {
            entered.forget();
        }
    }

    /// Drives a call until it has come in.
    pub(super) async fn entered_by<F: Future + ?Sized>(&self, mut call: Pin<&mut F>) {
        tokio::select! {
            biased;
            _ = &mut call => panic!("a call that is held up was done"),
            () = self.entered(1) => {}
        }
    }

    pub(super) fn open(&self, count: usize) {
        self.exits.add_permits(count);
    }
}

/// A router that accepts what has passed its gate.
#[derive(Debug)]
pub(super) struct GatedRouter {
    pub(super) gate: Gate,
    arrived: Mutex<Vec<String>>,
    accepted: Mutex<Vec<String>>,
    inside: AtomicUsize,
    most_inside: AtomicUsize,
}

impl GatedRouter {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            gate: Gate::new(),
            arrived: Mutex::default(),
            accepted: Mutex::default(),
            inside: AtomicUsize::new(0),
            most_inside: AtomicUsize::new(0),
        })
    }

    /// Through which everybody passes unhindered.
    pub(super) fn open() -> Arc<Self> {
        let router = Self::new();
        router.gate.open(Semaphore::MAX_PERMITS);
        router
    }

    /// The payloads of all that came in, in order.
    pub(super) fn arrived(&self) -> Vec<String> {
        lock(&self.arrived).clone()
    }

    /// The payloads of those that were let out, in order.
    pub(super) fn accepted(&self) -> Vec<String> {
        lock(&self.accepted).clone()
    }

    /// The most calls that were in it at once.
    pub(super) fn most_inside(&self) -> usize {
        self.most_inside.load(Ordering::SeqCst)
    }

    pub(super) fn services(self: &Arc<Self>) -> HostServices {
        HostServices::default().with_router(self.clone())
    }

    async fn accept(&self, message: ComponentMessage) {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_inside.fetch_max(inside, Ordering::SeqCst);
        let text = String::from_utf8_lossy(message.payload.as_bytes()).into_owned();
        lock(&self.arrived).push(text.clone());
        self.gate.pass().await;
        // Also when it is open, so that others get a chance to come in.
        yield_now().await;
        self.inside.fetch_sub(1, Ordering::SeqCst);
        lock(&self.accepted).push(text);
    }
}

#[async_trait]
impl MessageRouter for GatedRouter {
    async fn send(
        &self,
        _: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), MessagingError> {
        self.accept(message).await;
        Ok(())
    }

    async fn request(
        &self,
        _: &ComponentHandle,
        message: ComponentMessage,
        _: Duration,
    ) -> Result<CorrelationId, MessagingError> {
        self.accept(message).await;
        Ok("request".into())
    }

    async fn cancel_request(
        &self,
        _: &ComponentHandle,
        _: &CorrelationId,
    ) -> Result<(), MessagingError> {
        Ok(())
    }
}

/// A router that takes its time.
#[derive(Debug)]
pub(super) struct SlowRouter {
    next_takes: Mutex<Duration>,
}

impl SlowRouter {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            next_takes: Mutex::default(),
        })
    }

    /// How long the next message takes; those after it take no time.
    pub(super) fn takes(&self, time: Duration) {
        *lock(&self.next_takes) = time;
    }

    pub(super) fn services(self: &Arc<Self>) -> HostServices {
        HostServices::default().with_router(self.clone())
    }

    async fn take(&self) {
        let time = mem::take(&mut *lock(&self.next_takes));
        if !time.is_zero() {
            sleep(time).await;
        }
    }
}

#[async_trait]
impl MessageRouter for SlowRouter {
    async fn send(&self, _: &ComponentHandle, _: ComponentMessage) -> Result<(), MessagingError> {
        self.take().await;
        Ok(())
    }

    async fn request(
        &self,
        _: &ComponentHandle,
        _: ComponentMessage,
        _: Duration,
    ) -> Result<CorrelationId, MessagingError> {
        self.take().await;
        Ok("request".into())
    }

    async fn cancel_request(
        &self,
        _: &ComponentHandle,
        _: &CorrelationId,
    ) -> Result<(), MessagingError> {
        Ok(())
    }
}

/// Services that never answer.
#[derive(Debug)]
pub(super) struct Stuck;

impl Stuck {
    pub(super) fn services() -> HostServices {
        HostServices::default()
            .with_router(Arc::new(Self))
            .with_storage(Arc::new(Self))
            .with_directory(Arc::new(Self))
    }
}

#[async_trait]
impl MessageRouter for Stuck {
    async fn send(&self, _: &ComponentHandle, _: ComponentMessage) -> Result<(), MessagingError> {
        pending().await
    }

    async fn request(
        &self,
        _: &ComponentHandle,
        _: ComponentMessage,
        _: Duration,
    ) -> Result<CorrelationId, MessagingError> {
        pending().await
    }

    async fn cancel_request(
        &self,
        _: &ComponentHandle,
        _: &CorrelationId,
    ) -> Result<(), MessagingError> {
        pending().await
    }
}

#[async_trait]
impl ComponentStorage for Stuck {
    async fn get(&self, _: &ComponentId, _: &str) -> Result<Option<Bytes>, StorageError> {
        pending().await
    }

    async fn set(&self, _: &ComponentId, _: &str, _: Bytes, _: u64) -> Result<(), StorageError> {
        pending().await
    }

    async fn delete(&self, _: &ComponentId, _: &str) -> Result<(), StorageError> {
        pending().await
    }

    async fn list_keys(
        &self,
        _: &ComponentId,
        _: &str,
        _: Option<&str>,
        _: usize,
    ) -> Result<Vec<String>, StorageError> {
        pending().await
    }

    async fn usage(&self, _: &ComponentId) -> Result<StorageUsage, StorageError> {
        pending().await
    }
}

#[async_trait]
impl ComponentDirectory for Stuck {
    async fn list(&self, _: Option<&ComponentId>, _: usize) -> Vec<ComponentId> {
        pending().await
    }

    async fn info(&self, _: &ComponentId) -> Option<ComponentInfo> {
        pending().await
    }
}

/// What services with a bug panic with, routers excepted.
pub(super) const PANIC: &str = "out of paper";

/// Services with a bug: they panic, a router with the payload as message.
#[derive(Debug)]
pub(super) struct Panicking;

#[async_trait]
impl MessageRouter for Panicking {
    async fn send(
        &self,
        _: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), MessagingError> {
        // Without the report on standard error that `panic!` would make.
        resume_unwind(Box::new(
            String::from_utf8_lossy(message.payload.as_bytes()).into_owned(),
        ))
    }

    async fn request(
        &self,
        _: &ComponentHandle,
        _: ComponentMessage,
        _: Duration,
    ) -> Result<CorrelationId, MessagingError> {
        Err(MessagingError::QueueFull)
    }

    async fn cancel_request(
        &self,
        _: &ComponentHandle,
        _: &CorrelationId,
    ) -> Result<(), MessagingError> {
        Err(MessagingError::QueueFull)
    }
}

#[async_trait]
impl ComponentStorage for Panicking {
    async fn get(&self, _: &ComponentId, _: &str) -> Result<Option<Bytes>, StorageError> {
        resume_unwind(Box::new(PANIC))
    }

    async fn set(&self, _: &ComponentId, _: &str, _: Bytes, _: u64) -> Result<(), StorageError> {
        resume_unwind(Box::new(PANIC))
    }

    async fn delete(&self, _: &ComponentId, _: &str) -> Result<(), StorageError> {
        resume_unwind(Box::new(PANIC))
    }

    async fn list_keys(
        &self,
        _: &ComponentId,
        _: &str,
        _: Option<&str>,
        _: usize,
    ) -> Result<Vec<String>, StorageError> {
        resume_unwind(Box::new(PANIC))
    }

    async fn usage(&self, _: &ComponentId) -> Result<StorageUsage, StorageError> {
        resume_unwind(Box::new(PANIC))
    }
}

#[async_trait]
impl ComponentDirectory for Panicking {
    async fn list(&self, _: Option<&ComponentId>, _: usize) -> Vec<ComponentId> {
        resume_unwind(Box::new(PANIC))
    }

    async fn info(&self, _: &ComponentId) -> Option<ComponentInfo> {
        resume_unwind(Box::new(PANIC))
    }
}

impl Clock for Panicking {
    fn now(&self) -> Timestamp {
        resume_unwind(Box::new(PANIC))
    }
}

impl SecurityValidator for Panicking {
    fn validate(&self, _: &ComponentHandle, _: &Capability) -> Result<(), CapabilityDenied> {
        resume_unwind(Box::new(PANIC))
    }
}
