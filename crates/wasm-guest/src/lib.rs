//! Write a component for airssys-wasm: a type, one trait, one macro.
//!
//! ```
//! use wasm_guest::{Component, Config, FromConfig, Message, Payload, Result, log, storage};
//!
//! struct Greeter {
//!     greeting: String,
//! }
//!
//! impl FromConfig for Greeter {
//!     fn from_config(config: &Config) -> Result<Self> {
//!         let greeting = config.text()?.unwrap_or("hello").to_owned();
//!         Ok(Self { greeting })
//!     }
//! }
//!
//! impl Component for Greeter {
//!     fn handle(&mut self, message: Message) -> Result<Option<Payload>> {
//!         let name = message.payload.text()?;
//!         let count = storage::get::<u64>(name)?.unwrap_or(0) + 1;
//!         storage::set(name, &count)?;
//!         log!(info, "{name} was greeted {count} times");
//!         Ok(Some(format!("{} {name}", self.greeting).into()))
//!     }
//! }
//!
//! wasm_guest::export!(Greeter);
//! # fn main() {}
//! ```
//!
//! Compiled for `wasm32-unknown-unknown` and encoded by `airssys-wasm build`, this is a
//! component that imports the contract `airssys:core@1.0.0` and nothing else. Compiled for
//! the developer's own machine, it is tested by `cargo test` against a host in memory; see
//! [`testing`].
//!
//! What a host can do for a component are functions: [`send`], [`request`], [`broadcast`],
//! [`storage`], [`log!`], [`now`], [`own_id`] and a few more. They are for use within the
//! calls of a component, and panic outside of them.
//!
//! # Failing
//!
//! Whatever fails is returned with `?`, as [`Error`] takes every [`std::error::Error`]. Whoever
//! sent the message is told its text, and the component goes on as it is. A panic is worse:
//! the host gives the instance up and starts another, if its manifest says so. The panic's
//! message is logged at level `error` first, which needs `log = "error"` or a more verbose
//! level in `[permissions]`; on a target with WASI it goes to standard error as well.
//!
//! # Features
//!
//! `json` adds JSON by serde: `Payload::json`, `Config::json` and `Json` for what is stored.

#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod bindings;
mod call;
mod clock;
mod component;
mod config;
mod directory;
mod error;
mod export;
mod health;
mod host;
mod id;
mod log;
mod macros;
mod message;
mod messaging;
mod payload;
mod pending;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub mod storage;

pub use clock::{now, sleep};
pub use component::{Component, FromConfig};
pub use config::Config;
pub use directory::{ComponentInfo, component_info, components, own_id};
pub use error::{Error, Result};
pub use health::HealthStatus;
pub use id::{ComponentId, InvalidComponentId, Target};
pub use log::LogLevel;
pub use message::{Answer, CorrelationId, Message, RequestError};
pub use messaging::{MessagingError, Request, broadcast, cancel, request, send};
pub use payload::Payload;

/// What the macros of this crate expand to; not for use by hand.
#[doc(hidden)]
pub mod __private {
    #[cfg(target_family = "wasm")]
    pub use crate::export::Exported;
    pub use crate::export::{Package, Packaged};
    pub use crate::log::log;
}

/// Compiles what the README shows.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
