//! What a fixture may call: each function checks what the guest says, then the
//! permissions, then calls a service.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use wasm_core::{
    Capability, CapabilityDenied, ComponentId, ComponentInfo, ComponentMessage, ComponentStorage,
    CorrelationId, HealthStatus, LogLevel, MessagingError, StorageError, StorageUsage, Timestamp,
};

use super::call::{Run, Stop};
use super::instance::{Case, Guest, HOST_CALL_FUEL, Instance, bad_utf8};

/// Messages that one call may send, each recipient of a broadcast counted.
pub(super) const MESSAGES_PER_CALL: u32 = 1_024;

/// Bytes of payload that one call may send, those of a broadcast counted once.
pub(super) const SENT_BYTES_PER_CALL: u64 = 8 << 20;

/// What a component may wait for an answer, as [`OnMessage::Request`] says.
///
/// [`OnMessage::Request`]: wasm_fixtures::OnMessage::Request
const REQUEST_TIMEOUT: Duration = Duration::from_millis(1_000);

/// Components that are listed; a guest that may see more is shown the first.
const MAX_LISTED_COMPONENTS: usize = 1_024;

/// Entries asked of a directory at a time.
const DIRECTORY_PAGE: usize = 256;

/// Keys that are listed; where more match, it is an error.
const MAX_LISTED_KEYS: usize = 4_096;

const MAX_KEY_BYTES: usize = 1_024;

/// An id as a guest writes it, which need not be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    namespace: Bytes,
    name: Bytes,
    instance: Bytes,
}

impl Target {
    /// Reads `namespace/name/instance text`; what is not there is empty.
    pub(super) fn read(payload: &Bytes) -> (Self, Bytes) {
        let (namespace, rest) = cut(payload, b'/');
        let (name, rest) = cut(&rest, b'/');
        let (instance, text) = cut(&rest, b' ');
        let target = Self {
            namespace,
            name,
            instance,
        };
        (target, text)
    }

    /// Who is known to be one.
    pub(super) fn of(id: &ComponentId) -> Self {
        let segments = id.segments().each_ref();
        let [namespace, name, instance] =
            segments.map(|segment| Bytes::copy_from_slice(segment.as_bytes()));
        Self {
            namespace,
            name,
            instance,
        }
    }

    /// `demo/sink/main`.
    pub(super) fn sink() -> Self {
        Self::demo(b"sink")
    }

    /// `demo/NAME/main`.
    pub(super) fn demo(name: &'static [u8]) -> Self {
        Self {
            namespace: Bytes::from_static(b"demo"),
            name: Bytes::from_static(name),
            instance: Bytes::from_static(b"main"),
        }
    }

    /// As it reaches the host, which takes no string that is not UTF-8.
    fn lift(&self) -> Run<Result<ComponentId, String>> {
        let (namespace, name) = (utf8(&self.namespace)?, utf8(&self.name)?);
        let id = ComponentId::new(namespace, name, utf8(&self.instance)?);
        Ok(id.map_err(|error| error.to_string()))
    }
}

/// What comes before the first `byte`, and what comes after.
pub(super) fn cut(text: &Bytes, byte: u8) -> (Bytes, Bytes) {
    match text.iter().position(|found| *found == byte) {
        Some(at) => (text.slice(..at), text.slice(at + 1..)),
        None => (text.clone(), Bytes::new()),
    }
}

fn utf8(bytes: &[u8]) -> Run<&str> {
    std::str::from_utf8(bytes).map_err(|_| bad_utf8())
}

impl Guest {
    fn check(&self, capability: Capability) -> Result<(), CapabilityDenied> {
        let validator = &self.services.validator;
        let checked = if self.config.permissions.allows(&capability) {
            validator.validate(&self.handle, &capability)
        } else {
            Err(CapabilityDenied::not_granted(capability))
        };
        checked.inspect_err(|denied| validator.denied(&self.handle, denied))
    }

    /// The message as it goes to the router, if the component may send it.
    fn outgoing(
        &self,
        target: Result<ComponentId, String>,
        payload: Bytes,
        capability: fn(ComponentId) -> Capability,
    ) -> Result<ComponentMessage, MessagingError> {
        let target = target.map_err(MessagingError::InvalidMessage)?;
        self.check(capability(target.clone()))
            .map_err(|denied| MessagingError::DeliveryFailed(denied.to_string()))?;
        let message = ComponentMessage::new(self.id().clone(), target, payload);
        Ok(message.with_timestamp(self.services.clock.now()))
    }

    fn may_see(&self, id: &ComponentId) -> bool {
        id == self.id() || self.config.permissions.reaches(id)
    }

    async fn visible_components(&self) -> Vec<ComponentId> {
        let mut visible = Vec::new();
        let mut after: Option<ComponentId> = None;
        while visible.len() < MAX_LISTED_COMPONENTS {
            let directory = &self.services.directory;
            let page = directory.list(after.as_ref(), DIRECTORY_PAGE).await;
            let Some(last) = page.last() else { break };
            after = Some(last.clone());
            visible.extend(page.into_iter().filter(|id| self.may_see(id)));
        }
        visible.truncate(MAX_LISTED_COMPONENTS);
        if let Err(place) = visible.binary_search(self.id()) {
            visible.insert(place, self.id().clone());
        }
        visible
    }

    /// `None` for what is not there and for what is not to be seen.
    async fn component_info(&self, id: ComponentId) -> Result<ComponentInfo, String> {
        let not_found = || format!("no component {id} is loaded");
        if !self.may_see(&id) {
            return Err(not_found());
        }
        if let Some(info) = self.services.directory.info(&id).await {
            return Ok(info);
        }
        if id != *self.id() {
            return Err(not_found());
        }
        Ok(ComponentInfo {
            name: id.name().to_owned(),
            version: String::new(),
            health: HealthStatus::Unknown,
            id,
        })
    }

    /// The store, if the component may use it.
    fn storage(&self) -> Result<&dyn ComponentStorage, StorageError> {
        self.check(Capability::Storage)
            .map_err(|denied| StorageError::Io(denied.to_string()))?;
        Ok(&*self.services.storage)
    }

    /// The same, if the key is one.
    fn storage_with(&self, key: &str) -> Result<&dyn ComponentStorage, StorageError> {
        let storage = self.storage()?;
        if (1..=MAX_KEY_BYTES).contains(&key.len()) {
            return Ok(storage);
        }
        let length = key.len();
        let reason = format!("it has {length} bytes; a key has 1 to {MAX_KEY_BYTES}");
        Err(StorageError::InvalidKey(reason))
    }

    fn quota_bytes(&self) -> u64 {
        self.config.permissions.storage.unwrap_or(0)
    }

    async fn list_keys(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let limit = MAX_LISTED_KEYS + 1;
        let storage = self.storage()?;
        let keys = storage.list_keys(self.id(), prefix, None, limit).await?;
        if keys.len() > MAX_LISTED_KEYS {
            let reason = format!("more than {MAX_LISTED_KEYS} keys match; ask for a longer prefix");
            return Err(StorageError::Io(reason));
        }
        Ok(keys)
    }
}

/// Each is called as `handle-message` calls it, and ends with the call.
impl Instance {
    /// Calls a service on behalf of the guest. A guest that comes back too late is
    /// stopped then.
    async fn host<T>(&mut self, service: impl Future<Output = T>) -> Run<T> {
        let output = service.await;
        if Instant::now() >= self.deadline {
            return Err(Stop::Deadline);
        }
        Ok(output)
    }

    /// Takes messages to `recipients` that share a payload from what the call may
    /// still send.
    fn take_messages(&mut self, recipients: usize, payload: &Bytes) -> Result<(), MessagingError> {
        let messages = u32::try_from(recipients)
            .ok()
            .and_then(|recipients| self.messages_left.checked_sub(recipients));
        let bytes = self.sent_bytes_left.checked_sub(payload.len() as u64);
        let left = messages.zip(bytes).ok_or(MessagingError::QueueFull)?;
        (self.messages_left, self.sent_bytes_left) = left;
        Ok(())
    }

    fn is_there_for_an_answer(&self) -> Result<(), MessagingError> {
        if self.shuts_down {
            let reason = "a component that shuts down is not there for the answer";
            return Err(MessagingError::InvalidMessage(reason.to_owned()));
        }
        Ok(())
    }

    pub(super) async fn send(
        &mut self,
        target: &Target,
        payload: Bytes,
    ) -> Run<Result<(), MessagingError>> {
        self.consume(HOST_CALL_FUEL)?;
        let (target, guest) = (target.lift()?, Arc::clone(&self.guest));
        let message = self
            .take_messages(1, &payload)
            .and_then(|()| guest.outgoing(target, payload, Capability::Send));
        let sent = match message {
            Ok(message) => {
                let router = &guest.services.router;
                self.host(router.send(&guest.handle, message)).await?
            }
            Err(error) => Err(error),
        };
        self.lower_messaging(sent)
    }

    pub(super) async fn request(
        &mut self,
        target: &Target,
        payload: Bytes,
    ) -> Run<Result<CorrelationId, MessagingError>> {
        self.consume(HOST_CALL_FUEL)?;
        let (target, guest) = (target.lift()?, Arc::clone(&self.guest));
        let message = self
            .is_there_for_an_answer()
            .and_then(|()| self.take_messages(1, &payload))
            .and_then(|()| guest.outgoing(target, payload, Capability::Request));
        let requested = match message {
            Ok(message) => {
                let router = &guest.services.router;
                let request = router.request(&guest.handle, message, REQUEST_TIMEOUT);
                self.host(request).await?
            }
            Err(error) => Err(error),
        };
        if let Ok(correlation) = &requested {
            self.allocate(1, correlation.as_str().len())?;
        }
        self.lower_messaging(requested)
    }

    pub(super) async fn cancel_request(
        &mut self,
        request: &[u8],
    ) -> Run<Result<(), MessagingError>> {
        self.consume(HOST_CALL_FUEL)?;
        let (request, guest) = (CorrelationId::from(utf8(request)?), Arc::clone(&self.guest));
        let router = &guest.services.router;
        let cancelled = self.host(router.cancel_request(&guest.handle, &request));
        let cancelled = cancelled.await?;
        self.lower_messaging(cancelled)
    }

    /// Checks all before it sends any; each recipient counts.
    pub(super) async fn broadcast(
        &mut self,
        targets: &[Target],
        payload: Bytes,
    ) -> Run<Result<(), MessagingError>> {
        self.consume(HOST_CALL_FUEL)?;
        let guest = Arc::clone(&self.guest);
        let targets: Vec<_> = targets.iter().map(Target::lift).collect::<Run<_>>()?;
        let messages: Result<Vec<_>, _> =
            self.take_messages(targets.len(), &payload).and_then(|()| {
                targets
                    .into_iter()
                    .map(|target| guest.outgoing(target, payload.clone(), Capability::Broadcast))
                    .collect()
            });
        let sent = match messages {
            Ok(messages) => {
                let router = &guest.services.router;
                self.host(router.broadcast(&guest.handle, messages)).await?
            }
            Err(error) => Err(error),
        };
        self.lower_messaging(sent)
    }

    pub(super) fn self_id(&mut self) -> Run<ComponentId> {
        self.consume(HOST_CALL_FUEL)?;
        let id = self.guest.id().clone();
        self.lower_id(&id)?;
        Ok(id)
    }

    /// What is logged goes nowhere: who may log is all there is to see.
    pub(super) fn log(&mut self, level: LogLevel, message: &[u8]) -> Run<()> {
        self.consume(HOST_CALL_FUEL)?;
        utf8(message)?;
        // Refused and dropped look the same to the guest.
        let _ = self.guest.check(Capability::Log(level));
        Ok(())
    }

    pub(super) fn now(&mut self) -> Run<Timestamp> {
        self.consume(HOST_CALL_FUEL)?;
        Ok(self.guest.services.clock.now())
    }

    pub(super) async fn sleep(&mut self, millis: u64) -> Run<()> {
        self.consume(HOST_CALL_FUEL)?;
        self.host(sleep(Duration::from_millis(millis))).await
    }

    pub(super) async fn list_components(&mut self) -> Run<Vec<ComponentId>> {
        self.consume(HOST_CALL_FUEL)?;
        let guest = Arc::clone(&self.guest);
        let ids = self.host(guest.visible_components()).await?;
        self.allocate(4, ids.len() * 24)?;
        ids.iter().try_for_each(|id| self.lower_id(id))?;
        Ok(ids)
    }

    /// Otherwise the name of the case.
    pub(super) async fn component_info(
        &mut self,
        target: &Target,
    ) -> Run<Result<ComponentInfo, &'static str>> {
        self.consume(HOST_CALL_FUEL)?;
        let guest = Arc::clone(&self.guest);
        let info = match target.lift()? {
            Ok(id) => self.host(guest.component_info(id)).await?,
            Err(error) => Err(error),
        };
        let info = match info {
            Ok(info) => info,
            Err(text) => {
                self.allocate(1, text.len())?;
                return Ok(Err("invalid-state"));
            }
        };
        self.lower_id(&info.id)?;
        for text in [&info.name, &info.version, &info.health.to_string()] {
            self.allocate(1, text.len())?;
        }
        Ok(Ok(info))
    }

    pub(super) async fn storage_get(
        &mut self,
        key: &[u8],
    ) -> Run<Result<Option<Bytes>, StorageError>> {
        self.consume(HOST_CALL_FUEL)?;
        let (key, guest) = (utf8(key)?, Arc::clone(&self.guest));
        let value = match guest.storage_with(key) {
            Ok(storage) => self.host(storage.get(guest.id(), key)).await?,
            Err(error) => Err(error),
        };
        if let Ok(Some(value)) = &value {
            self.allocate(1, value.len())?;
        }
        self.lower_storage(value)
    }

    pub(super) async fn storage_set(
        &mut self,
        key: &[u8],
        value: Bytes,
    ) -> Run<Result<(), StorageError>> {
        self.consume(HOST_CALL_FUEL)?;
        let (key, guest) = (utf8(key)?, Arc::clone(&self.guest));
        let set = match guest.storage_with(key) {
            Ok(storage) => {
                let set = storage.set(guest.id(), key, value, guest.quota_bytes());
                self.host(set).await?
            }
            Err(error) => Err(error),
        };
        self.lower_storage(set)
    }

    pub(super) async fn storage_delete(&mut self, key: &[u8]) -> Run<Result<(), StorageError>> {
        self.consume(HOST_CALL_FUEL)?;
        let (key, guest) = (utf8(key)?, Arc::clone(&self.guest));
        let deleted = match guest.storage_with(key) {
            Ok(storage) => self.host(storage.delete(guest.id(), key)).await?,
            Err(error) => Err(error),
        };
        self.lower_storage(deleted)
    }

    pub(super) async fn storage_exists(&mut self, key: &[u8]) -> Run<Result<bool, StorageError>> {
        self.consume(HOST_CALL_FUEL)?;
        let (key, guest) = (utf8(key)?, Arc::clone(&self.guest));
        let exists = match guest.storage_with(key) {
            Ok(storage) => self.host(storage.exists(guest.id(), key)).await?,
            Err(error) => Err(error),
        };
        self.lower_storage(exists)
    }

    pub(super) async fn storage_list_keys(
        &mut self,
        prefix: &[u8],
    ) -> Run<Result<Vec<String>, StorageError>> {
        self.consume(HOST_CALL_FUEL)?;
        let (prefix, guest) = (utf8(prefix)?, Arc::clone(&self.guest));
        let keys = self.host(guest.list_keys(prefix)).await?;
        if let Ok(keys) = &keys {
            self.allocate(4, keys.len() * 8)?;
            for key in keys {
                self.allocate(1, key.len())?;
            }
        }
        self.lower_storage(keys)
    }

    /// With the quota in bytes.
    pub(super) async fn storage_usage(&mut self) -> Run<Result<(StorageUsage, u64), StorageError>> {
        self.consume(HOST_CALL_FUEL)?;
        let guest = Arc::clone(&self.guest);
        let usage = match guest.storage() {
            Ok(storage) => self.host(storage.usage(guest.id())).await?,
            Err(error) => Err(error),
        };
        self.lower_storage(usage.map(|usage| (usage, guest.quota_bytes())))
    }

    /// An error comes with its text.
    fn lower_messaging<T>(
        &mut self,
        outcome: Result<T, MessagingError>,
    ) -> Run<Result<T, MessagingError>> {
        match &outcome {
            Ok(_) | Err(MessagingError::QueueFull) => {}
            Err(MessagingError::TargetNotFound(id)) => self.lower_id(id)?,
            Err(MessagingError::CorrelationTimeout(id)) => self.allocate(1, id.as_str().len())?,
            Err(MessagingError::DeliveryFailed(text) | MessagingError::InvalidMessage(text)) => {
                self.allocate(1, text.len())?;
            }
            Err(other) => self.allocate(1, other.to_string().len())?,
        }
        Ok(outcome)
    }

    fn lower_storage<T>(
        &mut self,
        outcome: Result<T, StorageError>,
    ) -> Run<Result<T, StorageError>> {
        match &outcome {
            Ok(_) | Err(StorageError::QuotaExceeded) => {}
            Err(
                StorageError::NotFound(text)
                | StorageError::AlreadyExists(text)
                | StorageError::InvalidKey(text)
                | StorageError::Io(text),
            ) => self.allocate(1, text.len())?,
            Err(other) => self.allocate(1, other.to_string().len())?,
        }
        Ok(outcome)
    }
}

impl Case for MessagingError {
    fn name(&self) -> &'static str {
        match self {
            Self::CorrelationTimeout(_) => "correlation-timeout",
            Self::InvalidMessage(_) => "invalid-message",
            Self::QueueFull => "queue-full",
            Self::TargetNotFound(_) => "target-not-found",
            _ => "delivery-failed",
        }
    }
}

impl Case for StorageError {
    fn name(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "not-found",
            Self::AlreadyExists(_) => "already-exists",
            Self::QuotaExceeded => "quota-exceeded",
            Self::InvalidKey(_) => "invalid-key",
            _ => "io-error",
        }
    }
}
