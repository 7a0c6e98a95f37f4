//! The records and variants of the contract's WIT, as wasmtime passes them.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::{ComponentType, Lift, Lower};

use wasm_core::{
    ComponentConfig, ComponentId, ComponentInfo, ComponentMessage, ComponentMetadata, GuestError,
    HealthStatus, InvalidComponentId, LifecycleError, LogLevel, MessagingError, StorageError,
    TimerError, Timestamp,
};

#[derive(Debug, Clone, ComponentType, Lift, Lower)]
#[component(record)]
pub(crate) struct WitComponentId {
    namespace: Arc<str>,
    name: Arc<str>,
    instance: Arc<str>,
}

impl From<&ComponentId> for WitComponentId {
    fn from(id: &ComponentId) -> Self {
        let [namespace, name, instance] = id.segments().clone();
        Self {
            namespace,
            name,
            instance,
        }
    }
}

impl TryFrom<WitComponentId> for ComponentId {
    type Error = InvalidComponentId;

    fn try_from(id: WitComponentId) -> Result<Self, Self::Error> {
        Self::new(&id.namespace, &id.name, &id.instance)
    }
}

#[derive(Debug, Clone, Copy, ComponentType, Lift, Lower)]
#[component(record)]
pub(crate) struct WitTimestamp {
    seconds: u64,
    nanoseconds: u32,
}

impl From<Timestamp> for WitTimestamp {
    fn from(timestamp: Timestamp) -> Self {
        Self {
            seconds: timestamp.seconds,
            nanoseconds: timestamp.nanoseconds,
        }
    }
}

#[derive(Debug, Clone, ComponentType, Lower)]
#[component(record)]
pub(crate) struct WitMessageMetadata {
    #[component(name = "correlation-id")]
    correlation_id: Option<Arc<str>>,
    #[component(name = "reply-to")]
    reply_to: Option<WitComponentId>,
    timestamp: WitTimestamp,
    #[component(name = "content-type")]
    content_type: Option<Arc<str>>,
}

#[derive(Debug, Clone, ComponentType, Lower)]
#[component(record)]
pub(crate) struct WitMessage {
    sender: WitComponentId,
    payload: Bytes,
    metadata: WitMessageMetadata,
}

impl From<ComponentMessage> for WitMessage {
    fn from(message: ComponentMessage) -> Self {
        Self {
            sender: (&message.sender).into(),
            payload: message.payload.into_bytes(),
            metadata: WitMessageMetadata {
                correlation_id: message.correlation_id.map(Into::into),
                reply_to: message.reply_to.as_ref().map(Into::into),
                timestamp: message.timestamp.into(),
                content_type: message.message_type,
            },
        }
    }
}

#[derive(Debug, Clone, ComponentType, Lower)]
#[component(record)]
pub(crate) struct WitLimits {
    #[component(name = "max-memory-bytes")]
    max_memory_bytes: u64,
    #[component(name = "max-execution-time-ms")]
    max_execution_time_ms: u64,
    #[component(name = "max-fuel")]
    max_fuel: Option<u64>,
}

#[derive(Debug, Clone, ComponentType, Lower)]
#[component(record)]
pub(crate) struct WitConfig {
    #[component(name = "env-vars")]
    env_vars: Vec<(String, String)>,
    #[component(name = "config-data")]
    config_data: Option<Bytes>,
    #[component(name = "resource-limits")]
    resource_limits: WitLimits,
}

impl From<&ComponentConfig> for WitConfig {
    fn from(config: &ComponentConfig) -> Self {
        let limits = &config.limits;
        Self {
            env_vars: config
                .variables()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            config_data: config.config_data.clone().map(Into::into),
            resource_limits: WitLimits {
                max_memory_bytes: limits.memory_bytes(),
                max_execution_time_ms: limits.timeout().as_millis() as u64,
                max_fuel: limits.fuel(),
            },
        }
    }
}

#[derive(Debug, Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "lifting reads the discriminant")]
pub(crate) enum WitLogLevel {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

impl From<WitLogLevel> for LogLevel {
    fn from(level: WitLogLevel) -> Self {
        match level {
            WitLogLevel::Trace => Self::Trace,
            WitLogLevel::Debug => Self::Debug,
            WitLogLevel::Info => Self::Info,
            WitLogLevel::Warn => Self::Warn,
            WitLogLevel::Error => Self::Error,
        }
    }
}

#[derive(Debug, Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "lifting reads the discriminant")]
pub(crate) enum WitHealth {
    #[component(name = "healthy")]
    Healthy,
    #[component(name = "degraded")]
    Degraded,
    #[component(name = "unhealthy")]
    Unhealthy,
    #[component(name = "unknown")]
    Unknown,
}

impl From<WitHealth> for HealthStatus {
    fn from(health: WitHealth) -> Self {
        match health {
            WitHealth::Healthy => Self::Healthy,
            WitHealth::Degraded => Self::Degraded,
            WitHealth::Unhealthy => Self::Unhealthy,
            WitHealth::Unknown => Self::Unknown,
        }
    }
}

#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(crate) struct WitMetadata {
    name: String,
    version: String,
    description: String,
    author: String,
    license: String,
    #[component(name = "supported-operations")]
    supported_operations: Vec<String>,
    stateful: bool,
}

impl From<WitMetadata> for ComponentMetadata {
    fn from(metadata: WitMetadata) -> Self {
        Self {
            name: metadata.name,
            version: metadata.version,
            description: metadata.description,
            author: metadata.author,
            license: metadata.license,
            supported_operations: metadata.supported_operations,
            stateful: metadata.stateful,
        }
    }
}

#[derive(Debug, Clone, ComponentType, Lower)]
#[component(record)]
pub(crate) struct WitComponentInfo {
    id: WitComponentId,
    name: String,
    version: String,
    health: String,
}

impl From<ComponentInfo> for WitComponentInfo {
    fn from(info: ComponentInfo) -> Self {
        Self {
            id: (&info.id).into(),
            name: info.name,
            version: info.version,
            health: info.health.to_string(),
        }
    }
}

#[derive(Debug, Clone, ComponentType, Lift)]
#[component(variant)]
pub(crate) enum WitWasmError {
    #[component(name = "component-not-found")]
    ComponentNotFound(String),
    #[component(name = "instantiation-failed")]
    InstantiationFailed(String),
    #[component(name = "export-not-found")]
    ExportNotFound(String),
    #[component(name = "timeout")]
    Timeout,
    #[component(name = "resource-limit-exceeded")]
    ResourceLimitExceeded(String),
    #[component(name = "invalid-component")]
    InvalidComponent(String),
    #[component(name = "runtime-error")]
    RuntimeError(String),
}

impl From<WitWasmError> for GuestError {
    fn from(error: WitWasmError) -> Self {
        match error {
            WitWasmError::ComponentNotFound(text) => Self::ComponentNotFound(text),
            WitWasmError::InstantiationFailed(text) => Self::InstantiationFailed(text),
            WitWasmError::ExportNotFound(text) => Self::ExportNotFound(text),
            WitWasmError::Timeout => Self::Timeout,
            WitWasmError::ResourceLimitExceeded(text) => Self::ResourceLimitExceeded(text),
            WitWasmError::InvalidComponent(text) => Self::InvalidComponent(text),
            WitWasmError::RuntimeError(text) => Self::RuntimeError(text),
        }
    }
}

#[derive(Debug, Clone, ComponentType, Lift, Lower)]
#[component(variant)]
pub(crate) enum WitComponentError {
    #[component(name = "initialization-failed")]
    InitializationFailed(String),
    #[component(name = "already-initialized")]
    AlreadyInitialized,
    #[component(name = "not-initialized")]
    NotInitialized,
    #[component(name = "shutdown-failed")]
    ShutdownFailed(String),
    #[component(name = "invalid-state")]
    InvalidState(String),
}

impl From<WitComponentError> for LifecycleError {
    fn from(error: WitComponentError) -> Self {
        match error {
            WitComponentError::InitializationFailed(text) => Self::InitializationFailed(text),
            WitComponentError::AlreadyInitialized => Self::AlreadyInitialized,
            WitComponentError::NotInitialized => Self::NotInitialized,
            WitComponentError::ShutdownFailed(text) => Self::ShutdownFailed(text),
            WitComponentError::InvalidState(text) => Self::InvalidState(text),
        }
    }
}

#[derive(Debug, Clone, ComponentType, Lower)]
#[component(variant)]
pub(crate) enum WitMessagingError {
    #[component(name = "delivery-failed")]
    DeliveryFailed(String),
    #[component(name = "correlation-timeout")]
    CorrelationTimeout(String),
    #[component(name = "invalid-message")]
    InvalidMessage(String),
    #[component(name = "queue-full")]
    QueueFull,
    #[component(name = "target-not-found")]
    TargetNotFound(WitComponentId),
}

impl From<MessagingError> for WitMessagingError {
    fn from(error: MessagingError) -> Self {
        match error {
            MessagingError::DeliveryFailed(text) => Self::DeliveryFailed(text),
            MessagingError::CorrelationTimeout(id) => Self::CorrelationTimeout(id.as_str().into()),
            MessagingError::InvalidMessage(text) => Self::InvalidMessage(text),
            MessagingError::QueueFull => Self::QueueFull,
            MessagingError::TargetNotFound(id) => Self::TargetNotFound((&id).into()),
            other => Self::DeliveryFailed(other.to_string()),
        }
    }
}

#[derive(Debug, Clone, ComponentType, Lower)]
#[component(variant)]
pub(crate) enum WitStorageError {
    #[component(name = "not-found")]
    NotFound(String),
    #[component(name = "already-exists")]
    AlreadyExists(String),
    #[component(name = "quota-exceeded")]
    QuotaExceeded,
    #[component(name = "invalid-key")]
    InvalidKey(String),
    #[component(name = "io-error")]
    IoError(String),
}

impl From<StorageError> for WitStorageError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::NotFound(text) => Self::NotFound(text),
            StorageError::AlreadyExists(text) => Self::AlreadyExists(text),
            StorageError::QuotaExceeded => Self::QuotaExceeded,
            StorageError::InvalidKey(text) => Self::InvalidKey(text),
            StorageError::Io(text) => Self::IoError(text),
            other => Self::IoError(other.to_string()),
        }
    }
}

#[derive(Debug, Clone, ComponentType, Lower)]
#[component(variant)]
pub(crate) enum WitTimerError {
    #[component(name = "too-many")]
    TooMany,
    #[component(name = "invalid")]
    Invalid(String),
    #[component(name = "permission-denied")]
    PermissionDenied(String),
    #[component(name = "not-set")]
    NotSet(String),
}

impl From<TimerError> for WitTimerError {
    fn from(error: TimerError) -> Self {
        match error {
            TimerError::TooMany => Self::TooMany,
            TimerError::Invalid(text) => Self::Invalid(text),
            TimerError::Denied(denied) => Self::PermissionDenied(denied.to_string()),
            TimerError::NotSet(text) => Self::NotSet(text),
            other => Self::NotSet(other.to_string()),
        }
    }
}

#[derive(Debug, Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub(crate) struct WitStorageUsage {
    #[component(name = "used-bytes")]
    pub(crate) used_bytes: u64,
    #[component(name = "quota-bytes")]
    pub(crate) quota_bytes: u64,
    #[component(name = "key-count")]
    pub(crate) key_count: u64,
}
