//! Modules of wasm-smith in the shape of the contract, made into components, loaded and
//! called.

#![no_main]

use airssys_wasm_fuzz::contract::{component, shape};
use airssys_wasm_fuzz::{config, engine, finish, id, message, no_panic};
use arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use wasm_smith::{Config, Module};

fuzz_target!(|data: &[u8]| {
    let shaped = Config {
        module_shape: Some(shape().to_vec()),
        // What wasmtime is told not to accept here would only be refused.
        gc_enabled: false,
        exceptions_enabled: false,
        threads_enabled: false,
        shared_everything_threads_enabled: false,
        memory64_enabled: false,
        tail_call_enabled: true,
        custom_page_sizes_enabled: false,
        wide_arithmetic_enabled: false,
        max_memory32_bytes: 4 << 20,
        ..Config::default()
    };
    let Ok(module) = Module::new(shaped, &mut Unstructured::new(data)) else {
        return;
    };
    let Some(wasm) = component(module.to_bytes()) else {
        return;
    };
    let id = id("fuzz/smith/main");
    let engine = engine();
    let Some(handle) = no_panic(finish(engine.load_component(&id, wasm.into(), config()))) else {
        return;
    };
    no_panic(finish(
        engine.call_handle_message(&handle, message(&id, data.to_vec())),
    ));
    no_panic(finish(engine.restart_component(&handle)));
    no_panic(finish(
        engine.call_handle_callback(&handle, message(&id, "answer")),
    ));
    no_panic(finish(engine.metadata(&handle)));
    no_panic(finish(engine.health(&handle)));
    no_panic(finish(engine.unload_component(&handle)));
});
