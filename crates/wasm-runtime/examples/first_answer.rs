//! What a component of your own takes from its bytes to its first answer, when it was compiled
//! before: the median and the extremes of starts with an engine of their own.
//!
//! ```text
//! cargo run --release -p airssys-wasm-runtime --example first_answer -- FILE [MESSAGE]
//! ```

use std::env::args_os;
use std::error::Error;
use std::fs;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tempfile::tempdir;

use wasm_core::{ComponentConfig, ComponentId, ComponentMessage, HostServices, ResourceLimits};
use wasm_runtime::{EngineConfig, WasmtimeEngine};

const STARTS: usize = 21;

/// Enough for an interpreter that a component brings along.
const MEMORY_BYTES: u64 = 256 << 20;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = args_os().skip(1);
    let file = arguments
        .next()
        .ok_or("the file of a component is missing")?;
    let message = arguments.next().unwrap_or_else(|| "hello".into());
    let message = Bytes::from(message.into_encoded_bytes());
    let bytes = Bytes::from(fs::read(file)?);
    let folder = tempdir()?;
    let config = EngineConfig::default()
        .with_memory_ceiling_bytes(MEMORY_BYTES)
        .with_cache(folder.path().join("cache"));
    let compiling = Instant::now();
    answer(&config, &bytes, &message).await?;
    println!("compiled: {:.1?}", compiling.elapsed());
    let mut times = Vec::new();
    for _ in 0..STARTS {
        times.push(answer(&config, &bytes, &message).await?);
    }
    times.sort();
    println!(
        "compiled before: {:.1?} (of {STARTS}, from {:.1?} to {:.1?})",
        times[STARTS / 2],
        times[0],
        times[STARTS - 1]
    );
    Ok(())
}

/// From the bytes to the answer; the engine is there before.
async fn answer(
    config: &EngineConfig,
    bytes: &Bytes,
    message: &Bytes,
) -> Result<Duration, Box<dyn Error>> {
    let engine = WasmtimeEngine::new(config.clone(), HostServices::default())?;
    let id = ComponentId::new("demo", "first", "main")?;
    let limits = ResourceLimits::new(MEMORY_BYTES, Duration::from_secs(30), Some(1 << 40))?;
    let message = ComponentMessage::new(id.clone(), id.clone(), message.clone());
    let began = Instant::now();
    let handle = engine
        .load_component(&id, bytes.clone(), ComponentConfig::new(limits))
        .await?;
    engine.call_handle_message(&handle, message).await?;
    let took = began.elapsed();
    engine.unload_component(&handle).await?;
    Ok(took)
}
