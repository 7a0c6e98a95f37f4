//! The imports of the contract.

// As in a test, where the host keeps what it is given.
#![allow(clippy::needless_pass_by_value)]

use std::time::Duration;

use crate::bindings::airssys::core::errors as contract;
use crate::bindings::airssys::core::{host_messaging, host_services, storage};
use crate::directory::ComponentInfo;
use crate::health::HealthStatus;
use crate::id::ComponentId;
use crate::log::LogLevel;
use crate::message::CorrelationId;
use crate::messaging::MessagingError;
use crate::payload::Payload;
use crate::storage::{StorageError, StorageUsage};

pub(crate) fn send(to: ComponentId, payload: Payload) -> Result<(), MessagingError> {
    Ok(host_messaging::send(&to.into(), payload.as_bytes())?)
}

pub(crate) fn request(
    to: ComponentId,
    payload: Payload,
    timeout: Duration,
) -> Result<CorrelationId, MessagingError> {
    let timeout = millis(timeout);
    Ok(host_messaging::request(
        &to.into(),
        payload.as_bytes(),
        timeout,
    )?)
}

pub(crate) fn cancel(request: &str) -> Result<(), MessagingError> {
    Ok(host_messaging::cancel_request(request)?)
}

pub(crate) fn broadcast(to: Vec<ComponentId>, payload: &Payload) -> Result<(), MessagingError> {
    let to: Vec<_> = to.into_iter().map(Into::into).collect();
    Ok(host_messaging::broadcast(&to, payload.as_bytes())?)
}

pub(crate) fn own_id() -> ComponentId {
    host_messaging::self_id().into()
}

pub(crate) fn log(level: LogLevel, text: &str, context: &[(&str, String)]) {
    if context.is_empty() {
        return host_services::log(level.into(), text, None);
    }
    let context: Vec<_> = context
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect();
    host_services::log(level.into(), text, Some(&context));
}

pub(crate) fn now() -> Duration {
    host_services::current_time().into()
}

pub(crate) fn sleep(duration: Duration) {
    host_services::sleep_millis(millis(duration));
}

pub(crate) fn components() -> Vec<ComponentId> {
    let components = host_services::list_components();
    components.into_iter().map(Into::into).collect()
}

pub(crate) fn component_info(id: ComponentId) -> Result<ComponentInfo, String> {
    let info = host_services::get_component_metadata(&id.into()).map_err(reason)?;
    Ok(ComponentInfo {
        id: info.id.into(),
        name: info.name,
        version: info.version,
        health: match &*info.health {
            "healthy" => HealthStatus::Healthy,
            "degraded" => HealthStatus::Degraded,
            "unhealthy" => HealthStatus::Unhealthy,
            _ => HealthStatus::Unknown,
        },
    })
}

fn reason(error: contract::ComponentError) -> String {
    match error {
        contract::ComponentError::InvalidState(reason)
        | contract::ComponentError::InitializationFailed(reason)
        | contract::ComponentError::ShutdownFailed(reason) => reason,
        contract::ComponentError::AlreadyInitialized => "already initialized".to_owned(),
        contract::ComponentError::NotInitialized => "not initialized".to_owned(),
    }
}

pub(crate) fn get(key: &str) -> Result<Option<Vec<u8>>, StorageError> {
    Ok(storage::get(key)?)
}

pub(crate) fn set(key: &str, value: Vec<u8>) -> Result<(), StorageError> {
    Ok(storage::set(key, &value)?)
}

pub(crate) fn delete(key: &str) -> Result<(), StorageError> {
    Ok(storage::delete(key)?)
}

pub(crate) fn exists(key: &str) -> Result<bool, StorageError> {
    Ok(storage::exists(key)?)
}

pub(crate) fn keys(prefix: &str) -> Result<Vec<String>, StorageError> {
    let prefix = (!prefix.is_empty()).then_some(prefix);
    Ok(storage::list_keys(prefix)?)
}

pub(crate) fn storage_usage() -> Result<StorageUsage, StorageError> {
    let usage = storage::usage()?;
    Ok(StorageUsage {
        used_bytes: usage.used_bytes,
        quota_bytes: usage.quota_bytes,
        key_count: usage.key_count,
    })
}

/// A part of a millisecond counts as a whole one: nothing is over before its time.
fn millis(duration: Duration) -> u64 {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    u64::try_from(millis).unwrap_or(u64::MAX)
}

impl From<contract::MessagingError> for MessagingError {
    fn from(error: contract::MessagingError) -> Self {
        match error {
            contract::MessagingError::DeliveryFailed(reason) => Self::DeliveryFailed(reason),
            contract::MessagingError::CorrelationTimeout(id) => Self::CorrelationTimeout(id),
            contract::MessagingError::InvalidMessage(reason) => Self::InvalidMessage(reason),
            contract::MessagingError::QueueFull => Self::QueueFull,
            contract::MessagingError::TargetNotFound(id) => Self::TargetNotFound(id.into()),
        }
    }
}

impl From<contract::StorageError> for StorageError {
    fn from(error: contract::StorageError) -> Self {
        match error {
            contract::StorageError::NotFound(key) => Self::NotFound(key),
            contract::StorageError::AlreadyExists(key) => Self::AlreadyExists(key),
            contract::StorageError::QuotaExceeded => Self::QuotaExceeded,
            contract::StorageError::InvalidKey(reason) => Self::InvalidKey(reason),
            contract::StorageError::IoError(reason) => Self::Io(reason),
        }
    }
}
