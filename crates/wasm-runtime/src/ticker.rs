//! The clock by which running guests are looked at.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use wasmtime::Engine;

use wasm_core::WasmError;

/// How often a running guest is looked at: the precision of a timeout, and how
/// long a guest keeps its thread from other tasks.
const TICK: Duration = Duration::from_millis(1);

/// Advances the epoch until the engine and all its stores are gone.
///
/// A thread of its own, because a task could be starved by the very guest that it
/// should stop.
pub(crate) fn start_ticker(engine: &Engine) -> Result<(), WasmError> {
    let engine = engine.weak();
    let tick = move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(TICK);
        }
    };
    let spawned = thread::Builder::new()
        .name("wasm-epoch".to_owned())
        .spawn(tick);
    spawned
        .map(drop)
        .map_err(|error| WasmError::EngineInitialization {
            reason: format!("the thread that stops guests could not be started: {error}"),
            source: Some(Arc::new(error)),
        })
}
