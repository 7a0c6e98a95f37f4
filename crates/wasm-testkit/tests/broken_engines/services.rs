//! Engines that serve their components badly.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use wasm_core::{
    Capability, CapabilityDenied, ComponentConfig, ComponentHandle, ComponentId, ComponentMessage,
    ComponentStorage, CorrelationId, HostServices, MessageRouter, MessagingError,
    SecurityValidator, StorageError, StorageUsage, WasmError,
};

use crate::wrapper::{Defect, Inner};

/// A router between the engine and the real one.
struct Between {
    real: Arc<dyn MessageRouter>,
    alter: fn(&mut ComponentMessage),
    one_by_one: bool,
    wait: Duration,
}

#[async_trait]
impl MessageRouter for Between {
    async fn send(
        &self,
        from: &ComponentHandle,
        mut message: ComponentMessage,
    ) -> Result<(), MessagingError> {
        (self.alter)(&mut message);
        self.real.send(from, message).await
    }

    async fn request(
        &self,
        from: &ComponentHandle,
        mut message: ComponentMessage,
        timeout: Duration,
    ) -> Result<CorrelationId, MessagingError> {
        (self.alter)(&mut message);
        self.real.request(from, message, timeout + self.wait).await
    }

    async fn cancel_request(
        &self,
        from: &ComponentHandle,
        request: &CorrelationId,
    ) -> Result<(), MessagingError> {
        self.real.cancel_request(from, request).await
    }

    async fn broadcast(
        &self,
        from: &ComponentHandle,
        mut messages: Vec<ComponentMessage>,
    ) -> Result<(), MessagingError> {
        if !self.one_by_one {
            messages.iter_mut().for_each(self.alter);
            return self.real.broadcast(from, messages).await;
        }
        for message in messages {
            self.real.send(from, message).await?;
        }
        Ok(())
    }
}

fn between(
    services: HostServices,
    alter: fn(&mut ComponentMessage),
    one_by_one: bool,
    wait: Duration,
) -> HostServices {
    let real = services.router.clone();
    services.with_router(Arc::new(Between {
        real,
        alter,
        one_by_one,
        wait,
    }))
}

pub(crate) fn alters_what_is_sent(
    services: HostServices,
    alter: fn(&mut ComponentMessage),
) -> HostServices {
    between(services, alter, false, Duration::ZERO)
}

pub(crate) fn broadcasts_one_by_one(services: HostServices) -> HostServices {
    between(services, |_| {}, true, Duration::ZERO)
}

pub(crate) fn waits_longer_for_answers(services: HostServices) -> HostServices {
    between(services, |_| {}, false, Duration::from_secs(1))
}

/// Gives a component its handle when it is loaded, and none before.
pub(crate) struct NamesLate {
    loading: Arc<AtomicBool>,
}

impl NamesLate {
    pub(crate) fn new(services: HostServices) -> (HostServices, Self) {
        let loading = Arc::new(AtomicBool::new(false));
        let router = Arc::new(Nameless {
            real: services.router.clone(),
            loading: loading.clone(),
        });
        (services.with_router(router), Self { loading })
    }
}

#[async_trait]
impl Defect for NamesLate {
    async fn load(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        self.loading.store(true, Ordering::SeqCst);
        let loaded = inner.load_component(id, bytes, config).await;
        self.loading.store(false, Ordering::SeqCst);
        loaded
    }
}

/// The router of [`NamesLate`].
struct Nameless {
    real: Arc<dyn MessageRouter>,
    loading: Arc<AtomicBool>,
}

impl Nameless {
    fn known(&self, from: &ComponentHandle) -> ComponentHandle {
        if self.loading.load(Ordering::SeqCst) {
            return ComponentHandle::new(from.id().clone(), u64::MAX);
        }
        from.clone()
    }
}

#[async_trait]
impl MessageRouter for Nameless {
    async fn send(
        &self,
        from: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), MessagingError> {
        self.real.send(&self.known(from), message).await
    }

    async fn request(
        &self,
        from: &ComponentHandle,
        message: ComponentMessage,
        timeout: Duration,
    ) -> Result<CorrelationId, MessagingError> {
        self.real.request(&self.known(from), message, timeout).await
    }

    async fn cancel_request(
        &self,
        from: &ComponentHandle,
        request: &CorrelationId,
    ) -> Result<(), MessagingError> {
        self.real.cancel_request(&self.known(from), request).await
    }

    async fn broadcast(
        &self,
        from: &ComponentHandle,
        messages: Vec<ComponentMessage>,
    ) -> Result<(), MessagingError> {
        self.real.broadcast(&self.known(from), messages).await
    }
}

/// A validator between the engine and the real one.
struct Audit {
    real: Arc<dyn SecurityValidator>,
    times: fn(&CapabilityDenied) -> usize,
}

impl SecurityValidator for Audit {
    fn validate(
        &self,
        component: &ComponentHandle,
        capability: &Capability,
    ) -> Result<(), CapabilityDenied> {
        self.real.validate(component, capability)
    }

    fn denied(&self, component: &ComponentHandle, denied: &CapabilityDenied) {
        for _ in 0..(self.times)(denied) {
            self.real.denied(component, denied);
        }
    }
}

/// Tells the validator of a refusal this many times.
pub(crate) fn tells_of_refusals(
    services: HostServices,
    times: fn(&CapabilityDenied) -> usize,
) -> HostServices {
    let real = services.validator.clone();
    services.with_validator(Arc::new(Audit { real, times }))
}

/// Whether it was the permissions that did not grant it.
pub(crate) fn is_not_granted(denied: &CapabilityDenied) -> bool {
    *denied == CapabilityDenied::not_granted(denied.capability.clone())
}

/// A storage between the engine and the real one.
struct Store {
    real: Arc<dyn ComponentStorage>,
    owner: fn(&ComponentId) -> ComponentId,
    quota: fn(u64) -> u64,
}

#[async_trait]
impl ComponentStorage for Store {
    async fn get(&self, owner: &ComponentId, key: &str) -> Result<Option<Bytes>, StorageError> {
        self.real.get(&(self.owner)(owner), key).await
    }

    async fn set(
        &self,
        owner: &ComponentId,
        key: &str,
        value: Bytes,
        quota_bytes: u64,
    ) -> Result<(), StorageError> {
        let (owner, quota_bytes) = ((self.owner)(owner), (self.quota)(quota_bytes));
        self.real.set(&owner, key, value, quota_bytes).await
    }

    async fn delete(&self, owner: &ComponentId, key: &str) -> Result<(), StorageError> {
        self.real.delete(&(self.owner)(owner), key).await
    }

    async fn list_keys(
        &self,
        owner: &ComponentId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StorageError> {
        let owner = (self.owner)(owner);
        self.real.list_keys(&owner, prefix, after, limit).await
    }

    async fn usage(&self, owner: &ComponentId) -> Result<StorageUsage, StorageError> {
        self.real.usage(&(self.owner)(owner)).await
    }
}

fn stores(
    services: HostServices,
    owner: fn(&ComponentId) -> ComponentId,
    quota: fn(u64) -> u64,
) -> HostServices {
    let real = services.storage.clone();
    services.with_storage(Arc::new(Store { real, owner, quota }))
}

/// Forgets the last segment of an id.
pub(crate) fn shares_storage(services: HostServices) -> HostServices {
    let owner = |id: &ComponentId| ComponentId::new(id.namespace(), id.name(), "any").unwrap();
    stores(services, owner, |quota| quota)
}

pub(crate) fn grants_a_larger_quota(services: HostServices) -> HostServices {
    stores(services, Clone::clone, |quota| {
        quota.saturating_add(1 << 10)
    })
}
