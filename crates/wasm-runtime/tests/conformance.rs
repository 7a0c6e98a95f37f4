//! The engine held to the contract, by itself and as the trait object that most
//! hosts hold.

use std::env;
use std::process::ExitCode;
use std::sync::Arc;

use wasm_core::HostServices;
use wasm_runtime::{Allocation, EngineConfig, Profile, WasmtimeEngine};
use wasm_testkit::Runner;
use wasm_testkit::conformance::{Behind, Feature, Harness, Settings};

/// What one case has compiled, none has to compile again.
const COMPILED: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/compiled");

/// An engine so configured.
struct Wasmtime(EngineConfig);

impl Harness for Wasmtime {
    type Engine = WasmtimeEngine;

    fn engine(&self, services: HostServices, settings: Settings) -> Arc<WasmtimeEngine> {
        let ceiling = settings.memory_ceiling_bytes;
        let config = self.0.clone().with_memory_ceiling_bytes(ceiling);
        Arc::new(WasmtimeEngine::new(config, services).expect("this machine runs wasmtime"))
    }

    fn features(&self) -> &[Feature] {
        &Feature::ALL
    }
}

fn main() -> ExitCode {
    let by_default = || Wasmtime(EngineConfig::default().with_cache(COMPILED));
    let mut runner = Runner::from_args()
        .engine("WasmtimeEngine", by_default())
        .engine("dyn WasmtimeEngine", Behind(by_default()));
    // Each case of these compiles what it loads, which takes longer than the rest of it.
    if env::var_os("EVERY_PROFILE").is_some() {
        let on_demand = EngineConfig::default().with_allocation(Allocation::OnDemand);
        let dense = |config: EngineConfig| Wasmtime(config.with_profile(Profile::Density));
        runner = runner
            .engine("dense", dense(EngineConfig::default()))
            .engine("on demand", Wasmtime(on_demand.clone()))
            .engine("dense on demand", dense(on_demand));
    }
    runner.run()
}
