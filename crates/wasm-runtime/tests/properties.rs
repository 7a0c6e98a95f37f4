//! The engine against the model, in sequences of operations that nobody wrote.

use std::sync::Arc;

use wasm_core::HostServices;
use wasm_runtime::{EngineConfig, WasmtimeEngine};
use wasm_testkit::conformance::{Feature, Harness, Settings};
use wasm_testkit::properties::Plan;

/// What one sequence has compiled, none has to compile again.
const COMPILED: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/compiled");

struct Wasmtime;

impl Harness for Wasmtime {
    type Engine = WasmtimeEngine;

    fn engine(&self, services: HostServices, settings: Settings) -> Arc<WasmtimeEngine> {
        let config = EngineConfig::default().with_cache(COMPILED);
        let config = config.with_memory_ceiling_bytes(settings.memory_ceiling_bytes);
        Arc::new(WasmtimeEngine::new(config, services).expect("this machine runs wasmtime"))
    }

    fn features(&self) -> &[Feature] {
        &Feature::ALL
    }
}

#[test]
fn it_is_like_the_model() {
    Plan::from_env().check(&Wasmtime);
}
