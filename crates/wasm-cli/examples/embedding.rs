//! An application of components inside a program of one's own.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use wasm_core::{ComponentId, ResourceLimits};
use wasm_host::{HostBuilder, HostLimits, RedbStorage, read_application};
use wasm_runtime::{EngineConfig, WasmtimeEngine};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let host = HostBuilder::new()
        .with_storage(Arc::new(RedbStorage::open("cafe.redb")?))
        .with_limits(HostLimits::default().with_memory_bytes(64 << 20))
        .start(|services| WasmtimeEngine::new(EngineConfig::default(), services).map(Arc::new))?;
    let ceiling = ResourceLimits::DEFAULT_MEMORY_CEILING_BYTES;
    let application = read_application(Path::new("examples/cafe"), ceiling)?;
    for loaded in host.load_all(application).await {
        loaded?;
    }

    let waiter = ComponentId::new("cafe", "waiter", "ada")?;
    let reply = host
        .request(&waiter, "order soup", Duration::from_secs(1))
        .await?;
    println!(
        "{}",
        String::from_utf8_lossy(reply.unwrap_or_default().as_bytes())
    );
    host.stop().await;
    Ok(())
}
