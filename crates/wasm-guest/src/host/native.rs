//! The host of the test that runs.

use std::time::Duration;

use crate::directory::ComponentInfo;
use crate::id::ComponentId;
use crate::log::LogLevel;
use crate::message::CorrelationId;
use crate::messaging::MessagingError;
use crate::payload::Payload;
use crate::storage::{StorageError, StorageUsage};
use crate::testing::world::{World, current};

pub(crate) fn send(to: ComponentId, payload: Payload) -> Result<(), MessagingError> {
    current(|world| world.send(to, payload))
}

pub(crate) fn request(
    to: ComponentId,
    payload: Payload,
    timeout: Duration,
) -> Result<CorrelationId, MessagingError> {
    current(|world| world.request(to, payload, timeout))
}

pub(crate) fn cancel(request: &str) -> Result<(), MessagingError> {
    current(|world| world.cancel(request))
}

pub(crate) fn broadcast(to: Vec<ComponentId>, payload: &Payload) -> Result<(), MessagingError> {
    current(|world| world.broadcast(to, payload))
}

pub(crate) fn own_id() -> ComponentId {
    current(|world| world.id.clone())
}

pub(crate) fn log(level: LogLevel, text: &str, context: &[(&str, String)]) {
    current(|world| world.log(level, text, context));
}

pub(crate) fn now() -> Duration {
    current(|world| world.now)
}

pub(crate) fn sleep(duration: Duration) {
    current(|world| world.now += duration);
}

pub(crate) fn components() -> Vec<ComponentId> {
    current(|world| world.components())
}

pub(crate) fn component_info(id: ComponentId) -> Result<ComponentInfo, String> {
    current(|world| world.component_info(id))
}

pub(crate) fn get(key: &str) -> Result<Option<Vec<u8>>, StorageError> {
    current(|world| world.get(key))
}

pub(crate) fn set(key: &str, value: Vec<u8>) -> Result<(), StorageError> {
    current(|world| world.set(key, value))
}

pub(crate) fn delete(key: &str) -> Result<(), StorageError> {
    current(|world| world.delete(key))
}

pub(crate) fn exists(key: &str) -> Result<bool, StorageError> {
    current(|world| Ok(world.get(key)?.is_some()))
}

pub(crate) fn keys(prefix: &str) -> Result<Vec<String>, StorageError> {
    current(|world| world.keys(prefix))
}

pub(crate) fn storage_usage() -> Result<StorageUsage, StorageError> {
    current(World::storage_usage)
}
