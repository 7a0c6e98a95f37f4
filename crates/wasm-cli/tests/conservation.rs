//! Nothing that a host accepts is lost, and nothing happens twice: with WebAssembly, in
//! the time that it takes. Here because this crate alone has both host and engine.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../wasm-host/tests/conservation/mod.rs"]
mod conservation;

use std::sync::Arc;

use wasm_core::{HostServices, RuntimeEngine};
use wasm_runtime::{EngineConfig, WasmtimeEngine};

use conservation::{Setting, Time, holds};

fn wasmtime(services: HostServices) -> Arc<dyn RuntimeEngine> {
    // What one application has compiled, none has to compile again.
    let compiled = concat!(env!("CARGO_TARGET_TMPDIR"), "/compiled");
    let config = EngineConfig::default().with_cache(compiled);
    Arc::new(WasmtimeEngine::new(config, services).unwrap())
}

#[test]
fn nothing_is_lost_on_wasmtime() {
    holds(
        "nothing_is_lost_on_wasmtime",
        Setting::new(wasmtime, Time::Real(1)),
        40,
    );
}

#[test]
fn nothing_is_lost_on_wasmtime_among_threads() {
    let setting = Setting::new(wasmtime, Time::Real(3));
    holds("nothing_is_lost_on_wasmtime_among_threads", setting, 20);
}

#[test]
#[ignore = "minutes"]
fn nothing_is_lost_in_200_applications_on_wasmtime() {
    let setting = Setting::new(wasmtime, Time::Real(2));
    holds(
        "nothing_is_lost_in_200_applications_on_wasmtime",
        setting,
        200,
    );
}
