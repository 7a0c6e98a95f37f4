//! The engine held to the contract, by itself and as the trait object that most
//! hosts hold.

use std::process::ExitCode;
use std::sync::Arc;

use wasm_core::HostServices;
use wasm_runtime::{EngineConfig, WasmtimeEngine};
use wasm_testkit::Runner;
use wasm_testkit::conformance::{Behind, Feature, Harness, Settings};

struct Wasmtime;

impl Harness for Wasmtime {
    type Engine = WasmtimeEngine;

    fn engine(&self, services: HostServices, settings: Settings) -> Arc<WasmtimeEngine> {
        let config = EngineConfig::default();
        let config = config.with_memory_ceiling_bytes(settings.memory_ceiling_bytes);
        Arc::new(WasmtimeEngine::new(config, services).expect("this machine runs wasmtime"))
    }

    fn features(&self) -> &[Feature] {
        &Feature::ALL
    }
}

fn main() -> ExitCode {
    Runner::from_args()
        .engine("WasmtimeEngine", Wasmtime)
        .engine("dyn WasmtimeEngine", Behind(Wasmtime))
        .run()
}
