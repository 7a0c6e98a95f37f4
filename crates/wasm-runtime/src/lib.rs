//! [`RuntimeEngine`](wasm_core::RuntimeEngine) on wasmtime.
//!
//! Components get what their limits and permissions say and nothing else: fuel,
//! time and memory are enforced on every export and while instantiating; WASI is
//! linked so that components load, and grants nothing by itself but coarse clocks and
//! random numbers, at most 64 KiB at a time.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use wasm_core::{ComponentConfig, ComponentId, ComponentMessage, HostServices, ResourceLimits};
//! use wasm_runtime::{EngineConfig, WasmtimeEngine};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = WasmtimeEngine::new(EngineConfig::default(), HostServices::default())?;
//! let limits = ResourceLimits::new(2 << 20, Duration::from_millis(250), Some(10_000_000))?;
//! let id = ComponentId::new("demo", "echo", "main")?;
//! let bytes = std::fs::read("echo.wasm")?.into();
//! let echo = engine.load_component(&id, bytes, ComponentConfig::new(limits)).await?;
//!
//! let message = ComponentMessage::new(id.clone(), id, "hello");
//! let reply = engine.call_handle_message(&echo, message).await?;
//! assert_eq!(reply, Some("hello".into()));
//! # Ok(())
//! # }
//! ```

/// The example there is compiled, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod call;
mod compile;
mod compiler;
mod config;
mod engine;
mod error;
mod http;
mod instance;
mod interface;
mod lifecycle;
mod lines;
mod loader;
mod registry;
mod regular;
mod standard;
mod survey;
mod ticker;
mod turn;
mod wasi;

pub use compile::disk::CacheUsage;
pub use compile::exports::resources_in;
pub use compile::imports::ImportAudit;
pub use compile::shipped::add_compiled;
pub use compiler::child::compile_for_parent;
pub use compiler::{Compiler, CompilerLimits, CompilerProcess, count_component};
pub use config::{Allocation, EngineConfig, LogRate, Metering, Profile};
pub use engine::WasmtimeEngine;
pub use http::{
    HttpBody, HttpOutcome, HttpPending, HttpResponder, HttpScheme, Incomplete, http_exchange,
};
pub use instance::state::{HostState, HostView};
pub use instance::{Bindings, GuestCall, GuestFuture, GuestResource};
pub use interface::{HasView, HostInterface, View};
pub use lines::COMPONENT_TARGET;
pub use loader::{FileComponentLoader, read_component};
pub use survey::ComponentNeeds;
/// The release whose types [`WasmtimeEngine::call_export`] and
/// [`WasmtimeEngine::linker`] take and give.
pub use wasmtime;
/// The release that goes with it.
pub use wasmtime_wasi;
