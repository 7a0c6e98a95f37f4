//! The engine held to the contract, by itself and as the trait object that most
//! hosts hold.

use std::env;
use std::process::ExitCode;
use std::sync::Arc;

use wasm_core::HostServices;
use wasm_runtime::{Allocation, EngineConfig, Profile, WasmtimeEngine};
use wasm_testkit::Runner;
use wasm_testkit::conformance::{Behind, Feature, Harness, Settings};

/// Where its instances have their memory.
struct Wasmtime(Allocation, Profile);

impl Harness for Wasmtime {
    type Engine = WasmtimeEngine;

    fn engine(&self, services: HostServices, settings: Settings) -> Arc<WasmtimeEngine> {
        let config = EngineConfig::default()
            .with_allocation(self.0)
            .with_profile(self.1);
        let config = config.with_memory_ceiling_bytes(settings.memory_ceiling_bytes);
        Arc::new(WasmtimeEngine::new(config, services).expect("this machine runs wasmtime"))
    }

    fn features(&self) -> &[Feature] {
        &Feature::ALL
    }
}

fn main() -> ExitCode {
    let by_default = || Wasmtime(Allocation::default(), Profile::default());
    let mut runner = Runner::from_args()
        .engine("WasmtimeEngine", by_default())
        .engine("dyn WasmtimeEngine", Behind(by_default()));
    // Each takes as long as the others.
    if env::var_os("EVERY_PROFILE").is_some() {
        let on_demand = Allocation::OnDemand;
        runner = runner
            .engine("dense", Wasmtime(Allocation::default(), Profile::Density))
            .engine("on demand", Wasmtime(on_demand, Profile::Speed))
            .engine("dense on demand", Wasmtime(on_demand, Profile::Density));
    }
    runner.run()
}
