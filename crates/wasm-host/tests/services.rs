//! What a host gives its engine, held to the suites of every router and validator.

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentId, ComponentMessage, ComponentMetadata,
    ComponentState, ComponentUsage, HealthStatus, MessagePayload, MessageRouter, ResourceLimits,
    RuntimeEngine, WasmError,
};
use wasm_host::{Component, Host, HostBuilder};
use wasm_testkit::Runner;
use wasm_testkit::suites::router::{Feature, RouterBench};
use wasm_testkit::suites::{router, validator};

/// Keeps what is delivered, and handles messages only while the gate is open.
struct Gated {
    handles: AtomicU64,
    gate: watch::Sender<bool>,
    delivered: Mutex<HashMap<ComponentId, Vec<ComponentMessage>>>,
    callbacks: Mutex<HashMap<ComponentHandle, Vec<ComponentMessage>>>,
}

impl Gated {
    fn new() -> Self {
        Self {
            handles: AtomicU64::new(0),
            gate: watch::Sender::new(false),
            delivered: Mutex::default(),
            callbacks: Mutex::default(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl RuntimeEngine for Gated {
    async fn load_component(
        &self,
        id: &ComponentId,
        _: Bytes,
        _: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        let number = self.handles.fetch_add(1, Ordering::Relaxed);
        Ok(ComponentHandle::new(id.clone(), number))
    }

    async fn unload_component(&self, _: &ComponentHandle) -> Result<(), WasmError> {
        Ok(())
    }

    async fn call_handle_message(
        &self,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<Option<MessagePayload>, WasmError> {
        {
            let mut delivered = lock(&self.delivered);
            delivered
                .entry(handle.id().clone())
                .or_default()
                .push(message);
        }
        // The gate lives as long as the engine does.
        let _ = self.gate.subscribe().wait_for(|open| *open).await;
        Ok(None)
    }

    async fn call_handle_callback(
        &self,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), WasmError> {
        let mut callbacks = lock(&self.callbacks);
        callbacks.entry(handle.clone()).or_default().push(message);
        Ok(())
    }

    async fn restart_component(&self, _: &ComponentHandle) -> Result<(), WasmError> {
        Ok(())
    }

    async fn health(&self, _: &ComponentHandle) -> Result<HealthStatus, WasmError> {
        Ok(HealthStatus::Healthy)
    }

    async fn metadata(&self, _: &ComponentHandle) -> Result<ComponentMetadata, WasmError> {
        Ok(ComponentMetadata::default())
    }

    async fn usage(&self, _: &ComponentHandle) -> Result<ComponentUsage, WasmError> {
        Ok(ComponentUsage::new(ComponentState::Ready))
    }
}

struct Bench {
    host: Host<Gated>,
    router: Arc<dyn MessageRouter>,
}

impl Bench {
    fn new() -> Self {
        let engine = |_| Ok::<_, String>(Arc::new(Gated::new()));
        let host = HostBuilder::new()
            .start(engine)
            .expect("there is nothing to fail");
        let router = Arc::clone(&host.services().router);
        Self { host, router }
    }
}

#[async_trait]
impl RouterBench for Bench {
    fn router(&self) -> &dyn MessageRouter {
        &*self.router
    }

    async fn join(&self, id: &ComponentId) -> ComponentHandle {
        if let Some(there) = self.host.component(id).await.and_then(|found| found.handle) {
            return there;
        }
        let limits = ResourceLimits::new(1 << 20, Duration::from_secs(1), None);
        let config = ComponentConfig::new(limits.expect("they are in range"));
        let loaded = self.host.load(Component::new(id.clone(), "", config)).await;
        let handle = loaded.expect("the engine takes everything");
        handle.expect("it starts at once")
    }

    async fn take(&self, recipient: &ComponentId) -> Vec<ComponentMessage> {
        let engine = self.host.engine();
        engine.gate.send_replace(true);
        let drained = self.host.drain(Duration::from_secs(60)).await;
        drained.expect("nothing takes long");
        engine.gate.send_replace(false);
        lock(&engine.delivered)
            .remove(recipient)
            .unwrap_or_default()
    }

    async fn callbacks(&self, of: &ComponentHandle) -> Vec<ComponentMessage> {
        let callbacks = lock(&self.host.engine().callbacks);
        callbacks.get(of).cloned().unwrap_or_default()
    }
}

fn main() -> ExitCode {
    let features = [
        Feature::KnowsWhoIsThere,
        Feature::BoundedMailboxes,
        Feature::Callbacks,
    ];
    Runner::from_args()
        .suite("router", router::cases(), &features, || {
            router::Subject::new(Bench::new())
        })
        .suite("validator", validator::cases(), &[], || {
            Arc::clone(&Bench::new().host.services().validator)
        })
        .run()
}
