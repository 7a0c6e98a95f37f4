//! Any sequence of host calls with any arguments.

#![no_main]

use std::sync::OnceLock;

use airssys_wasm_fuzz::contract::driver;
use airssys_wasm_fuzz::{config, engine, finish, id, message, no_panic};
use libfuzzer_sys::fuzz_target;
use wasm_core::ComponentHandle;

fn loaded() -> &'static ComponentHandle {
    static LOADED: OnceLock<ComponentHandle> = OnceLock::new();
    LOADED.get_or_init(|| {
        let id = id("fuzz/driver/main");
        let loading = engine().load_component(&id, driver().into(), config());
        finish(loading).expect("the driver loads")
    })
}

fuzz_target!(|data: &[u8]| {
    // As long as it fits below the driver's heap.
    if data.len() > 16 << 10 {
        return;
    }
    let handle = loaded();
    let calling = engine().call_handle_message(handle, message(handle.id(), data.to_vec()));
    if no_panic(finish(calling)).is_none() {
        finish(engine().restart_component(handle)).expect("it starts again");
    }
});
