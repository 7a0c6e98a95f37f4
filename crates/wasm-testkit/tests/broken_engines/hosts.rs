//! Services that a wrong engine puts between its components and the real ones, as values.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use wasm_core::{
    Capability, CapabilityDenied, ComponentDirectory, ComponentHandle, ComponentId, ComponentInfo,
    ComponentMessage, ComponentStorage, ComponentTimers, CorrelationId, HealthStatus, HostServices,
    MessageRouter, MessagingError, SecurityValidator, StorageError, StorageUsage, TimerError,
};
use wasm_testkit::Method;

type Boxed<F> = Box<F>;
type Denial = Result<(), CapabilityDenied>;
type CheckKey = dyn Fn(&str) -> Result<(), StorageError> + Send + Sync;
type OnRead = dyn Fn(&str, &[u8]) + Send + Sync;

/// A router in front of the real one.
pub(crate) struct Routed {
    real: Arc<dyn MessageRouter>,
    pub(crate) from: Boxed<dyn Fn(&ComponentHandle) -> ComponentHandle + Send + Sync>,
    pub(crate) alter: Boxed<dyn Fn(&mut ComponentMessage) + Send + Sync>,
    pub(crate) wait: Duration,
    pub(crate) one_by_one: bool,
    pub(crate) tell: Boxed<dyn Fn(Method, MessagingError) -> MessagingError + Send + Sync>,
    /// What is done once the router has accepted something.
    pub(crate) then: Boxed<dyn Fn(Method) -> Result<(), MessagingError> + Send + Sync>,
}

/// With the router changed so.
pub(crate) fn routed(services: HostServices, change: impl FnOnce(&mut Routed)) -> HostServices {
    let mut routed = Routed {
        real: services.router.clone(),
        from: Box::new(Clone::clone),
        alter: Box::new(|_| {}),
        wait: Duration::ZERO,
        one_by_one: false,
        tell: Box::new(|_, error| error),
        then: Box::new(|_| Ok(())),
    };
    change(&mut routed);
    services.with_router(Arc::new(routed))
}

#[async_trait]
impl MessageRouter for Routed {
    async fn send(
        &self,
        from: &ComponentHandle,
        mut message: ComponentMessage,
    ) -> Result<(), MessagingError> {
        (self.alter)(&mut message);
        let sent = self.real.send(&(self.from)(from), message).await;
        sent.map_err(|error| (self.tell)(Method::Send, error))?;
        (self.then)(Method::Send)
    }

    async fn request(
        &self,
        from: &ComponentHandle,
        mut message: ComponentMessage,
        timeout: Duration,
    ) -> Result<CorrelationId, MessagingError> {
        (self.alter)(&mut message);
        let (from, timeout) = ((self.from)(from), timeout + self.wait);
        let requested = self.real.request(&from, message, timeout).await;
        let request = requested.map_err(|error| (self.tell)(Method::Request, error))?;
        (self.then)(Method::Request)?;
        Ok(request)
    }

    async fn cancel_request(
        &self,
        from: &ComponentHandle,
        request: &CorrelationId,
    ) -> Result<(), MessagingError> {
        let cancelled = self.real.cancel_request(&(self.from)(from), request).await;
        cancelled.map_err(|error| (self.tell)(Method::CancelRequest, error))
    }

    async fn broadcast(
        &self,
        from: &ComponentHandle,
        mut messages: Vec<ComponentMessage>,
    ) -> Result<(), MessagingError> {
        messages.iter_mut().for_each(&self.alter);
        let from = (self.from)(from);
        if self.one_by_one {
            for message in messages {
                self.real.send(&from, message).await?;
            }
            return Ok(());
        }
        let sent = self.real.broadcast(&from, messages).await;
        sent.map_err(|error| (self.tell)(Method::Broadcast, error))?;
        (self.then)(Method::Broadcast)
    }
}

/// Timers in front of the real ones.
pub(crate) struct Timed {
    real: Arc<dyn ComponentTimers>,
    pub(crate) delay: fn(Duration) -> Duration,
    pub(crate) payload: fn(Bytes) -> Bytes,
    pub(crate) timer: fn(u64) -> u64,
    pub(crate) cancelled: fn(bool) -> bool,
    pub(crate) tell: fn(TimerError) -> TimerError,
}

/// With the timers changed so.
pub(crate) fn timed(services: HostServices, change: impl FnOnce(&mut Timed)) -> HostServices {
    let mut timed = Timed {
        real: services.timers.clone(),
        delay: |delay| delay,
        payload: |payload| payload,
        timer: |timer| timer,
        cancelled: |was_to_come| was_to_come,
        tell: |error| error,
    };
    change(&mut timed);
    services.with_timers(Arc::new(timed))
}

#[async_trait]
impl ComponentTimers for Timed {
    async fn set(
        &self,
        of: &ComponentHandle,
        delay: Duration,
        payload: Bytes,
    ) -> Result<u64, TimerError> {
        let set = self
            .real
            .set(of, (self.delay)(delay), (self.payload)(payload));
        set.await.map(self.timer).map_err(self.tell)
    }

    async fn cancel(&self, of: &ComponentHandle, timer: u64) -> Result<bool, TimerError> {
        let cancelled = self.real.cancel(of, timer).await;
        cancelled.map(self.cancelled).map_err(self.tell)
    }
}

/// A storage in front of the real one.
pub(crate) struct Stored {
    real: Arc<dyn ComponentStorage>,
    pub(crate) owner: fn(&ComponentId) -> ComponentId,
    pub(crate) quota: fn(u64) -> u64,
    pub(crate) value: fn(Bytes) -> Bytes,
    /// Keys that are listed at most.
    pub(crate) keys: usize,
    pub(crate) check_key: Box<CheckKey>,
    /// What is done with a value that was read under a key.
    pub(crate) read: Box<OnRead>,
    pub(crate) tell: fn(Method, StorageError) -> StorageError,
    /// Whether a store that cannot be read seems to be empty to this.
    pub(crate) hides: Option<Method>,
    /// What is done once the storage has done its part.
    pub(crate) then: Boxed<dyn Fn() -> Result<(), StorageError> + Send + Sync>,
}

/// With the storage changed so.
pub(crate) fn stored(services: HostServices, change: impl FnOnce(&mut Stored)) -> HostServices {
    let mut stored = Stored {
        real: services.storage.clone(),
        owner: Clone::clone,
        quota: |quota| quota,
        value: |value| value,
        keys: usize::MAX,
        check_key: Box::new(|_| Ok(())),
        read: Box::new(|_, _| {}),
        tell: |_, error| error,
        hides: None,
        then: Box::new(|| Ok(())),
    };
    change(&mut stored);
    services.with_storage(Arc::new(stored))
}

impl Stored {
    fn end<T: Default>(
        &self,
        method: Method,
        outcome: Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        if self.hides == Some(method) && outcome.is_err() {
            return Ok(T::default());
        }
        let done = outcome.map_err(|error| (self.tell)(method, error))?;
        (self.then)()?;
        Ok(done)
    }
}

#[async_trait]
impl ComponentStorage for Stored {
    async fn get(&self, owner: &ComponentId, key: &str) -> Result<Option<Bytes>, StorageError> {
        (self.check_key)(key)?;
        let value = self.real.get(&(self.owner)(owner), key).await;
        if let Ok(Some(value)) = &value {
            (self.read)(key, value);
        }
        self.end(Method::Get, value)
    }

    async fn set(
        &self,
        owner: &ComponentId,
        key: &str,
        value: Bytes,
        quota_bytes: u64,
    ) -> Result<(), StorageError> {
        (self.check_key)(key)?;
        let (owner, value) = ((self.owner)(owner), (self.value)(value));
        let set = self.real.set(&owner, key, value, (self.quota)(quota_bytes));
        self.end(Method::Set, set.await)
    }

    async fn delete(&self, owner: &ComponentId, key: &str) -> Result<(), StorageError> {
        (self.check_key)(key)?;
        let deleted = self.real.delete(&(self.owner)(owner), key).await;
        self.end(Method::Delete, deleted)
    }

    async fn exists(&self, owner: &ComponentId, key: &str) -> Result<bool, StorageError> {
        (self.check_key)(key)?;
        let exists = self.real.exists(&(self.owner)(owner), key).await;
        self.end(Method::Exists, exists)
    }

    async fn list_keys(
        &self,
        owner: &ComponentId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StorageError> {
        let (owner, limit) = ((self.owner)(owner), limit.min(self.keys));
        let keys = self.real.list_keys(&owner, prefix, after, limit).await;
        self.end(Method::ListKeys, keys)
    }

    async fn usage(&self, owner: &ComponentId) -> Result<StorageUsage, StorageError> {
        let usage = self.real.usage(&(self.owner)(owner)).await;
        self.end(Method::Usage, usage)
    }
}

/// A validator in front of the real one.
pub(crate) struct Validated<F, G> {
    real: Arc<dyn SecurityValidator>,
    validate: F,
    denied: G,
}

/// With a validator that is asked and told like this.
pub(crate) fn validated<F, G>(services: HostServices, validate: F, denied: G) -> HostServices
where
    F: Fn(&dyn SecurityValidator, &ComponentHandle, &Capability) -> Denial + Send + Sync + 'static,
    G: Fn(&dyn SecurityValidator, &ComponentHandle, &CapabilityDenied) + Send + Sync + 'static,
{
    let real = services.validator.clone();
    services.with_validator(Arc::new(Validated {
        real,
        validate,
        denied,
    }))
}

/// With a validator that is asked like this.
pub(crate) fn asked<F>(services: HostServices, validate: F) -> HostServices
where
    F: Fn(&dyn SecurityValidator, &ComponentHandle, &Capability) -> Denial + Send + Sync + 'static,
{
    validated(services, validate, |real, handle, denied| {
        real.denied(handle, denied);
    })
}

impl<F, G> SecurityValidator for Validated<F, G>
where
    F: Fn(&dyn SecurityValidator, &ComponentHandle, &Capability) -> Denial + Send + Sync,
    G: Fn(&dyn SecurityValidator, &ComponentHandle, &CapabilityDenied) + Send + Sync,
{
    fn validate(&self, component: &ComponentHandle, capability: &Capability) -> Denial {
        (self.validate)(&*self.real, component, capability)
    }

    fn denied(&self, component: &ComponentHandle, denied: &CapabilityDenied) {
        (self.denied)(&*self.real, component, denied);
    }
}

/// A directory in front of the real one.
pub(crate) struct Listed {
    real: Arc<dyn ComponentDirectory>,
    pub(crate) one_page: bool,
    pub(crate) health: fn(HealthStatus) -> HealthStatus,
}

/// With the directory changed so.
pub(crate) fn listed(services: HostServices, change: impl FnOnce(&mut Listed)) -> HostServices {
    let mut listed = Listed {
        real: services.directory.clone(),
        one_page: false,
        health: |health| health,
    };
    change(&mut listed);
    services.with_directory(Arc::new(listed))
}

#[async_trait]
impl ComponentDirectory for Listed {
    async fn list(&self, after: Option<&ComponentId>, limit: usize) -> Vec<ComponentId> {
        if self.one_page && after.is_some() {
            return Vec::new();
        }
        self.real.list(after, limit).await
    }

    async fn info(&self, id: &ComponentId) -> Option<ComponentInfo> {
        let mut info = self.real.info(id).await?;
        info.health = (self.health)(info.health);
        Some(info)
    }
}
