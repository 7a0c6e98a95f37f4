//! How many components fit into this process, what each takes once it has answered a message,
//! and what is said of the next one.
//!
//! ```sh
//! cargo build --workspace --release --example residents
//! target/release/examples/residents 15000 dense
//! ```

use std::fs;
use std::time::Duration;

use bytes::Bytes;

use wasm_core::{ComponentConfig, ComponentId, ComponentMessage, HostServices, ResourceLimits};
use wasm_fixtures::ECHO;
use wasm_runtime::{Allocation, EngineConfig, Profile, WasmtimeEngine};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let wanted: u32 = arguments.next().map_or(Ok(15_000), |text| text.parse())?;
    let profile = match arguments.next().as_deref() {
        Some("dense") => Profile::Density,
        _ => Profile::Speed,
    };
    let config = EngineConfig::default()
        .with_profile(profile)
        .with_allocation(Allocation::Pooled { instances: wanted });
    let engine = WasmtimeEngine::new(config, HostServices::default())?;
    let limits = ResourceLimits::new(2 << 20, Duration::from_secs(1), Some(1 << 40))?;
    let bytes = Bytes::from_static(ECHO.wasm);
    let (mappings, memory) = (mappings()?, resident_kib()?);
    let mut residents = Vec::new();
    while residents.len() < wanted as usize {
        let id = ComponentId::new("demo", "echo", &residents.len().to_string())?;
        let config = ComponentConfig::new(limits);
        match engine.load_component(&id, bytes.clone(), config).await {
            Ok(resident) => {
                let message = ComponentMessage::new(id.clone(), id, "hello");
                engine.call_handle_message(&resident, message).await?;
                residents.push(resident);
            }
            Err(error) => {
                println!("the next one is refused: {error}");
                break;
            }
        }
    }
    let count = residents.len() as f64;
    println!(
        "{count} residents, each {:.2} mappings besides its stack's, {:.1} KiB",
        (crate::mappings()? - mappings) as f64 / count,
        (resident_kib()? - memory) as f64 / count
    );
    Ok(())
}

fn mappings() -> Result<usize, std::io::Error> {
    Ok(fs::read_to_string("/proc/self/maps")?.lines().count())
}

fn resident_kib() -> Result<u64, Box<dyn std::error::Error>> {
    let pages = fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = pages.split(' ').nth(1).unwrap_or("0").parse()?;
    Ok(pages * 4)
}
