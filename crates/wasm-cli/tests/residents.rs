//! Ten thousand components of WebAssembly in one host.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasm_core::{ComponentConfig, ComponentId, ResourceLimits};
use wasm_fixtures::COUNTER;
use wasm_host::{Component, HostBuilder, HostLimits};
use wasm_runtime::{Allocation, EngineConfig, WasmtimeEngine};

const COMPONENTS: u64 = 10_000;
const TIMEOUT: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_components_are_told_and_stopped() {
    let limits = ResourceLimits::new(512 << 10, TIMEOUT, Some(1_000_000)).unwrap();
    let of_all = HostLimits::default()
        .with_components(COMPONENTS)
        .with_memory_bytes(COMPONENTS * limits.memory_bytes());
    let instances = u32::try_from(COMPONENTS).unwrap();
    let config = EngineConfig::default().with_allocation(Allocation::Pooled { instances });
    let host = HostBuilder::new()
        .with_limits(of_all)
        .start(|services| WasmtimeEngine::new(config, services).map(Arc::new))
        .unwrap();
    let ids: Vec<ComponentId> = (0..COMPONENTS)
        .map(|n| ComponentId::new("demo", "counter", &n.to_string()).unwrap())
        .collect();
    let component =
        |id: &ComponentId| Component::new(id.clone(), COUNTER.wasm, ComponentConfig::new(limits));
    for loaded in host.load_all(ids.iter().map(component)).await {
        loaded.unwrap();
    }
    host.broadcast(&ids, "one").unwrap();
    host.broadcast(&ids, "two").unwrap();
    host.drain(5 * TIMEOUT).await.unwrap();
    let (first, last) = (&ids[0], &ids[ids.len() - 1]);
    for id in [first, last] {
        let told = host.request(id, "three", TIMEOUT).await.unwrap();
        assert_eq!(told, Some("3".into()), "{id}");
    }
    host.broadcast(&ids, "four").unwrap();
    let began = Instant::now();
    host.stop().await;
    assert!(began.elapsed() < TIMEOUT + Duration::from_secs(1));
    assert_eq!(host.dead_letters().len(), 0);
    assert_eq!(host.status().await.len(), 0);
}
