//! Any bytes, loaded by an engine that compiles in its own process: the bounds of
//! counting alone must hold.

#![no_main]

use airssys_wasm_fuzz::{config, engine, finish, id, no_panic};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (id, config) = (id("fuzz/bytes/main"), config());
    let loading = engine().load_component(&id, data.to_vec().into(), config);
    if let Some(handle) = no_panic(finish(loading)) {
        no_panic(finish(engine().unload_component(&handle)));
    }
});
