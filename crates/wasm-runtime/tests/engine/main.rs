//! The contract of `RuntimeEngine`, on real components.
//!
//! One binary, because each that links wasmtime takes its time. The only times
//! asserted are bounds on a hang.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod abuse;
mod agreement;
mod allocation;
mod bombs;
mod cache;
mod cancellation;
mod compiler;
mod complexity;
mod concurrency;
mod embedding;
mod failures;
mod fetch;
mod held;
mod host_functions;
mod http;
mod imports;
mod lifecycle;
mod limits;
mod loader;
mod loading;
mod metering;
mod policies;
mod standard;
mod support;
mod wasi;
mod world;
