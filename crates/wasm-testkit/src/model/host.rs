//! What a fixture may call: it lifts the arguments, calls the host as a guest of any engine
//! does, and lowers the result.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use wasm_core::{
    ComponentId, ComponentInfo, CorrelationId, InvalidComponentId, LogLevel, MessagingError,
    StorageError, StorageUsage, TimerError, Timestamp,
};

use super::call::{Run, Stop};
use super::instance::{Instance, bad_utf8};

/// Fuel of a call of a host function.
pub(super) const HOST_CALL_FUEL: u64 = 20;

/// What a component may wait for an answer, as [`OnMessage::Request`] says.
///
/// [`OnMessage::Request`]: wasm_fixtures::OnMessage::Request
const REQUEST_TIMEOUT: Duration = Duration::from_millis(1_000);

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
    fn lift(&self) -> Run<Lifted<'_>> {
        let (namespace, name) = (utf8(&self.namespace)?, utf8(&self.name)?);
        Ok(Lifted(namespace, name, utf8(&self.instance)?))
    }
}

struct Lifted<'a>(&'a str, &'a str, &'a str);

impl TryFrom<Lifted<'_>> for ComponentId {
    type Error = InvalidComponentId;

    fn try_from(Lifted(namespace, name, instance): Lifted<'_>) -> Result<Self, Self::Error> {
        Self::new(namespace, name, instance)
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

    pub(super) async fn send(
        &mut self,
        target: &Target,
        payload: Bytes,
    ) -> Run<Result<(), MessagingError>> {
        self.consume(HOST_CALL_FUEL)?;
        let (target, guest) = (target.lift()?, Arc::clone(&self.guest));
        let sent = self.host(guest.calls.send(target, payload)).await?;
        self.lower_messaging(sent)
    }

    pub(super) async fn request(
        &mut self,
        target: &Target,
        payload: Bytes,
    ) -> Run<Result<CorrelationId, MessagingError>> {
        self.consume(HOST_CALL_FUEL)?;
        let (target, guest) = (target.lift()?, Arc::clone(&self.guest));
        let request = guest.calls.request(target, payload, REQUEST_TIMEOUT);
        let requested = self.host(request).await?;
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
        let cancelled = self.host(guest.calls.cancel_request(&request)).await?;
        self.lower_messaging(cancelled)
    }

    pub(super) async fn broadcast(
        &mut self,
        targets: &[Target],
        payload: Bytes,
    ) -> Run<Result<(), MessagingError>> {
        self.consume(HOST_CALL_FUEL)?;
        let guest = Arc::clone(&self.guest);
        let targets: Vec<_> = targets.iter().map(Target::lift).collect::<Run<_>>()?;
        let sent = self.host(guest.calls.broadcast(targets, payload)).await?;
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
        self.guest.calls.log(level, utf8(message)?, &[]);
        Ok(())
    }

    pub(super) fn now(&mut self) -> Run<Timestamp> {
        self.consume(HOST_CALL_FUEL)?;
        Ok(self.guest.calls.now())
    }

    pub(super) async fn sleep(&mut self, millis: u64) -> Run<()> {
        self.consume(HOST_CALL_FUEL)?;
        self.host(sleep(Duration::from_millis(millis))).await
    }

    pub(super) async fn list_components(&mut self) -> Run<Vec<ComponentId>> {
        self.consume(HOST_CALL_FUEL)?;
        let guest = Arc::clone(&self.guest);
        let ids = self.host(guest.calls.list_components()).await?;
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
        let info = self.host(guest.calls.component_info(target.lift()?));
        let info = match info.await? {
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

    pub(super) async fn set_timer(
        &mut self,
        millis: u64,
        payload: Bytes,
    ) -> Run<Result<u64, TimerError>> {
        self.consume(HOST_CALL_FUEL)?;
        let guest = Arc::clone(&self.guest);
        let delay = Duration::from_millis(millis);
        let set = self.host(guest.calls.set_timer(delay, payload)).await?;
        self.lower_timer(set)
    }

    pub(super) async fn cancel_timer(&mut self, timer: u64) -> Run<Result<bool, TimerError>> {
        self.consume(HOST_CALL_FUEL)?;
        let guest = Arc::clone(&self.guest);
        let cancelled = self.host(guest.calls.cancel_timer(timer)).await?;
        self.lower_timer(cancelled)
    }

    /// An error comes with its text.
    fn lower_timer<T>(&mut self, outcome: Result<T, TimerError>) -> Run<Result<T, TimerError>> {
        if let Err(TimerError::Invalid(text) | TimerError::NotSet(text)) = &outcome {
            self.allocate(1, text.len())?;
        } else if let Err(TimerError::Denied(denied)) = &outcome {
            self.allocate(1, denied.to_string().len())?;
        }
        Ok(outcome)
    }

    pub(super) async fn storage_get(
        &mut self,
        key: &[u8],
    ) -> Run<Result<Option<Bytes>, StorageError>> {
        self.consume(HOST_CALL_FUEL)?;
        let (key, guest) = (utf8(key)?, Arc::clone(&self.guest));
        let value = self.host(guest.calls.get(key)).await?;
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
        let set = self.host(guest.calls.set(key, value)).await?;
        self.lower_storage(set)
    }

    pub(super) async fn storage_delete(&mut self, key: &[u8]) -> Run<Result<(), StorageError>> {
        self.consume(HOST_CALL_FUEL)?;
        let (key, guest) = (utf8(key)?, Arc::clone(&self.guest));
        let deleted = self.host(guest.calls.delete(key)).await?;
        self.lower_storage(deleted)
    }

    pub(super) async fn storage_exists(&mut self, key: &[u8]) -> Run<Result<bool, StorageError>> {
        self.consume(HOST_CALL_FUEL)?;
        let (key, guest) = (utf8(key)?, Arc::clone(&self.guest));
        let exists = self.host(guest.calls.exists(key)).await?;
        self.lower_storage(exists)
    }

    pub(super) async fn storage_list_keys(
        &mut self,
        prefix: &[u8],
    ) -> Run<Result<Vec<String>, StorageError>> {
        self.consume(HOST_CALL_FUEL)?;
        let (prefix, guest) = (utf8(prefix)?, Arc::clone(&self.guest));
        let keys = self.host(guest.calls.list_keys(prefix)).await?;
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
        let usage = self.host(guest.calls.storage_usage()).await?;
        self.lower_storage(usage)
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

/// An error of a host function, by the name of its case in the contract.
pub(super) trait Case {
    fn name(&self) -> &'static str;
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

impl Case for TimerError {
    fn name(&self) -> &'static str {
        match self {
            Self::TooMany => "too-many",
            Self::Invalid(_) => "invalid",
            Self::Denied(_) => "permission-denied",
            _ => "not-set",
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
