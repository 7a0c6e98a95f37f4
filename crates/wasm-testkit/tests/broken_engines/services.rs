//! Engines that serve their components badly.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use wasm_core::{
    Capability, CapabilityDenied, ComponentConfig, ComponentDirectory, ComponentHandle,
    ComponentId, ComponentInfo, ComponentMessage, ComponentStorage, CorrelationId, HostServices,
    MessageRouter, MessagingError, Permissions, SecurityValidator, StorageError, StorageUsage,
    WasmError,
};

use crate::permissions;
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

/// What components were loaded with, kept where a validator looks it up.
#[derive(Default)]
struct Granted {
    of_ids: HashMap<ComponentId, Permissions>,
    restarted: HashSet<ComponentHandle>,
}

/// Grants everything, and leaves it to a validator to take back what was not granted.
pub(crate) struct LooksUpPermissions {
    granted: Arc<Mutex<Granted>>,
    also_of_restarted: bool,
}

impl LooksUpPermissions {
    /// By id: those that the latest instance was loaded with.
    pub(crate) fn by_id(services: HostServices) -> (HostServices, Self) {
        Self::new(services, true)
    }

    /// Until a restart.
    pub(crate) fn until_a_restart(services: HostServices) -> (HostServices, Self) {
        Self::new(services, false)
    }

    fn new(services: HostServices, also_of_restarted: bool) -> (HostServices, Self) {
        let granted = Arc::new(Mutex::new(Granted::default()));
        let validator = Arc::new(LookedUp {
            real: services.validator.clone(),
            granted: granted.clone(),
        });
        let defect = Self {
            granted,
            also_of_restarted,
        };
        (services.with_validator(validator), defect)
    }
}

#[async_trait]
impl Defect for LooksUpPermissions {
    async fn load(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        let own = config.permissions.clone();
        {
            let mut granted = self.granted.lock().unwrap();
            granted.of_ids.insert(id.clone(), own);
        }
        let config = config.with_permissions(permissions());
        inner.load_component(id, bytes, config).await
    }

    async fn restart(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        inner.restart_component(handle).await?;
        if !self.also_of_restarted {
            let mut granted = self.granted.lock().unwrap();
            granted.restarted.insert(handle.clone());
        }
        Ok(())
    }
}

/// The validator of [`LooksUpPermissions`].
struct LookedUp {
    real: Arc<dyn SecurityValidator>,
    granted: Arc<Mutex<Granted>>,
}

impl SecurityValidator for LookedUp {
    fn validate(
        &self,
        component: &ComponentHandle,
        capability: &Capability,
    ) -> Result<(), CapabilityDenied> {
        {
            let granted = self.granted.lock().unwrap();
            let allows = |own: &Permissions| own.allows(capability);
            if !granted.restarted.contains(component)
                && !granted.of_ids.get(component.id()).is_some_and(allows)
            {
                return Err(CapabilityDenied::not_granted(capability.clone()));
            }
        }
        self.real.validate(component, capability)
    }

    fn denied(&self, component: &ComponentHandle, denied: &CapabilityDenied) {
        self.real.denied(component, denied);
    }
}

/// A validator that is not asked about all.
struct Spared {
    real: Arc<dyn SecurityValidator>,
}

impl SecurityValidator for Spared {
    fn validate(
        &self,
        component: &ComponentHandle,
        capability: &Capability,
    ) -> Result<(), CapabilityDenied> {
        match capability {
            // Who comes second in the suite.
            Capability::Broadcast(to) if to.name() == "b" => Ok(()),
            _ => self.real.validate(component, capability),
        }
    }

    fn denied(&self, component: &ComponentHandle, denied: &CapabilityDenied) {
        self.real.denied(component, denied);
    }
}

/// Asks about the first recipient of a broadcast.
pub(crate) fn asks_about_the_first(services: HostServices) -> HostServices {
    let real = services.validator.clone();
    services.with_validator(Arc::new(Spared { real }))
}

/// A directory that has one page.
struct FirstPage {
    real: Arc<dyn ComponentDirectory>,
}

#[async_trait]
impl ComponentDirectory for FirstPage {
    async fn list(&self, after: Option<&ComponentId>, limit: usize) -> Vec<ComponentId> {
        match after {
            None => self.real.list(None, limit).await,
            Some(_) => Vec::new(),
        }
    }

    async fn info(&self, id: &ComponentId) -> Option<ComponentInfo> {
        self.real.info(id).await
    }
}

/// Shows what is to be seen of the first page.
pub(crate) fn reads_one_page(services: HostServices) -> HostServices {
    let real = services.directory.clone();
    services.with_directory(Arc::new(FirstPage { real }))
}

pub(crate) fn takes_every_refusal_for_io(services: HostServices) -> HostServices {
    let real = services.storage.clone();
    services.with_storage(Arc::new(Vague { real }))
}

/// A storage that says only that it went wrong.
struct Vague {
    real: Arc<dyn ComponentStorage>,
}

fn vague<T>(outcome: Result<T, StorageError>) -> Result<T, StorageError> {
    outcome.map_err(|error| StorageError::Io(error.to_string()))
}

#[async_trait]
impl ComponentStorage for Vague {
    async fn get(&self, owner: &ComponentId, key: &str) -> Result<Option<Bytes>, StorageError> {
        vague(self.real.get(owner, key).await)
    }

    async fn set(
        &self,
        owner: &ComponentId,
        key: &str,
        value: Bytes,
        quota_bytes: u64,
    ) -> Result<(), StorageError> {
        vague(self.real.set(owner, key, value, quota_bytes).await)
    }

    async fn delete(&self, owner: &ComponentId, key: &str) -> Result<(), StorageError> {
        vague(self.real.delete(owner, key).await)
    }

    async fn list_keys(
        &self,
        owner: &ComponentId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StorageError> {
        vague(self.real.list_keys(owner, prefix, after, limit).await)
    }

    async fn usage(&self, owner: &ComponentId) -> Result<StorageUsage, StorageError> {
        vague(self.real.usage(owner).await)
    }
}
