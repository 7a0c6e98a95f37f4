//! The contract between a host and the WebAssembly components it runs.
//!
//! A component is untrusted code in the component model's binary format that
//! exports [`component-lifecycle`](LIFECYCLE_INTERFACE) and imports at most what
//! [`WIT`] offers. Whoever runs it implements or uses [`RuntimeEngine`]; what the
//! component calls back into are the services in [`HostServices`].
//!
//! This crate does no I/O and knows no engine. Code against the traits depends on
//! nothing else.
//!
//! | to | see |
//! |---|---|
//! | run components | [`RuntimeEngine`], [`ComponentConfig`], [`ResourceLimits`] |
//! | give them a world | [`MessageRouter`], [`ComponentStorage`], [`ComponentDirectory`], [`ComponentTimers`], [`Clock`] |
//! | decide what they may do | [`Permissions`], [`SecurityValidator`] |
//! | write an engine | [`guest`], for what its guests call |
//! | understand what went wrong | [`WasmError`] |
//! | read `Component.toml` | `manifest`, with the feature of that name |
//! | put JSON into payloads | [`MessagePayload`], with the feature `json` |

/// The example there is compiled, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod binary;
#[cfg(test)]
mod catalogue;
mod clock;
mod config;
mod directory;
mod engine;
mod error;
pub mod guest;
mod http;
mod id;
mod import;
mod kept;
mod limits;
mod loader;
mod log;
#[cfg(feature = "manifest")]
pub mod manifest;
mod message;
mod permissions;
#[cfg(test)]
mod poll;
mod preparation;
mod router;
mod secret;
mod security;
mod services;
mod storage;
mod supervision;
pub mod text;
mod timers;
pub mod units;
mod usage;
mod wit;

pub use binary::Defect;
pub use clock::{Clock, SystemClock, Timestamp};
pub use config::{ComponentConfig, InstancePolicy};
pub use directory::{ComponentDirectory, ComponentInfo};
pub use engine::RuntimeEngine;
pub use error::{Cause, GuestError, LifecycleError, Resource, Trap, WasmError, WasmFrame};
pub use http::{HttpOrigin, HttpPath, HttpPattern, HttpRoute, InvalidHttpPath, InvalidHttpPattern};
pub use id::{ComponentHandle, ComponentId, InvalidComponentId};
pub use import::{Unmet, UnmetImport};
pub use limits::{LimitsError, ResourceLimits};
pub use loader::ComponentLoader;
pub use log::{InvalidLogLevel, LogLevel};
pub use message::{ComponentMessage, CorrelationId, MessagePayload};
pub use permissions::{
    Capability, ComponentPattern, DirAccess, ImportPattern, InvalidImportPattern, InvalidPattern,
    Permissions, WasiGrant,
};
pub use preparation::Preparation;
pub use router::{MessageRouter, MessagingError, NoOtherComponents};
pub use secret::Secret;
pub use security::{CapabilityDenied, PermissionsOnly, SecurityValidator};
pub use services::HostServices;
pub use storage::{ComponentStorage, MemoryStorage, StorageError, StorageUsage};
pub use supervision::{AfterCrash, RestartPolicy, StartPolicy, Supervision, SwapPolicy};
pub use timers::{ComponentTimers, NoTimers, TIMER_TYPE, TimerError};
pub use usage::{ComponentMetadata, ComponentState, ComponentUsage, HealthStatus, KeptMemory};
pub use wit::{LIFECYCLE_INTERFACE, TIMERS_INTERFACE, TIMERS_WIT, WIT};
