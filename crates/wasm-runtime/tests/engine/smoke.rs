use std::time::{Duration, Instant};
use wasm_core::{ComponentConfig, ResourceLimits, Permissions};
use wasm_fixtures::ALL;

use crate::support::{engine, send, try_load};

#[tokio::test]
async fn show() {
    let engine = engine();
    for fixture in ALL {
        let mut p = Permissions::default();
        p.storage = Some(65536);
        p.send = vec!["*/*/*".parse().unwrap()];
        p.log = Some(wasm_core::LogLevel::Trace);
        let config = ComponentConfig::new(ResourceLimits::new(512 << 10, Duration::from_millis(200), Some(100_000_000)).unwrap()).with_permissions(p);
        let start = Instant::now();
        match try_load(&engine, *fixture, config).await {
            Err(error) => println!("{}: LOAD {error} {:?}", fixture.name, start.elapsed()),
            Ok(handle) => {
                for text in ["ok", "100"] {
                    let start = Instant::now();
                    let r = send(&engine, &handle, text).await;
                    match r {
                      Ok(r) => println!("{}: {r:?} {:?}", fixture.name, start.elapsed()),
                      Err(e) => println!("{}: {e} {:?} {:?}", fixture.name, e.frames().iter().map(|f|f.to_string()).collect::<Vec<_>>(), start.elapsed()),
                    }
                }
                println!("   {:?} {:?}", engine.usage(&handle).unwrap(), engine.unload_component(&handle).await.map_err(|e| e.to_string()));
            }
        }
    }
}
