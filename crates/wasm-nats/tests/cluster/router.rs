//! The suite of every router, on a host that is one of several.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use libtest_mimic::Trial;
use tokio::sync::watch;
use tokio::time::sleep;

use wasm_core::{
    AfterCrash, ComponentConfig, ComponentHandle, ComponentId, ComponentMessage, ComponentMetadata,
    ComponentState, ComponentUsage, HealthStatus, MessagePayload, MessageRouter, ResourceLimits,
    RuntimeEngine, WasmError,
};
use wasm_host::{Component, Host, HostBuilder};
use wasm_nats::{Connection, Node, Tenants};
use wasm_testkit::suites::router::{self, Feature, RouterBench};

use crate::member::{SECOND, Setup, eventually};
use crate::server::{NEEDED, program};
use crate::storage::server;

/// After so long without anything new, all has come.
const QUIET: Duration = Duration::from_millis(300);

/// Keeps what is delivered, and handles messages only while the gate is open.
struct Gated {
    handles: AtomicU64,
    gate: watch::Sender<bool>,
    delivered: Mutex<HashMap<ComponentId, Vec<ComponentMessage>>>,
    callbacks: Mutex<HashMap<ComponentHandle, Vec<ComponentMessage>>>,
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
        let id = handle.id().clone();
        lock(&self.delivered).entry(id).or_default().push(message);
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

/// Whoever has joined.
struct Joined {
    host: Host<Gated>,
    ids: Mutex<Vec<ComponentId>>,
}

#[async_trait]
impl Tenants for Joined {
    fn ids(&self) -> Vec<ComponentId> {
        lock(&self.ids).clone()
    }

    async fn load(&self, ids: Vec<ComponentId>) {
        for id in ids {
            let limits = ResourceLimits::new(1 << 20, SECOND, None).unwrap();
            let component = Component::new(id, "", ComponentConfig::new(limits));
            self.host.load(component).await.unwrap();
        }
    }

    async fn unload(&self, ids: Vec<ComponentId>) {
        for id in ids {
            let _ = self.host.unload(&id).await;
        }
    }

    fn after_crash(&self, _: &ComponentId) -> AfterCrash {
        AfterCrash::DeadLetter
    }
}

struct Bench {
    joined: Arc<Joined>,
    node: Node,
    router: Arc<dyn MessageRouter>,
}

impl Bench {
    async fn new(url: String, app: String) -> Self {
        let mut setup = Setup::new(url, Vec::new());
        (setup.partitions, setup.app) = (4, app);
        let connection = Connection::open(setup.config("only")).await.unwrap();
        let engine = Gated {
            handles: AtomicU64::new(0),
            gate: watch::Sender::new(false),
            delivered: Mutex::default(),
            callbacks: Mutex::default(),
        };
        let builder = connection.build(HostBuilder::new());
        let host = builder
            .start(|_| Ok::<_, String>(Arc::new(engine)))
            .unwrap();
        let router = Arc::clone(&host.services().router);
        let joined = Arc::new(Joined {
            host: host.clone(),
            ids: Mutex::default(),
        });
        let tenants = Arc::clone(&joined) as Arc<dyn Tenants>;
        let node = Node::start(connection, host, tenants).await.unwrap();
        eventually("all is owned", async || node.owned().len() == 4).await;
        Self {
            joined,
            node,
            router,
        }
    }
}

#[async_trait]
impl RouterBench for Bench {
    fn router(&self) -> &dyn MessageRouter {
        &*self.router
    }

    async fn join(&self, id: &ComponentId) -> ComponentHandle {
        let host = &self.joined.host;
        if host.component(id).await.is_none() {
            lock(&self.joined.ids).push(id.clone());
            self.node.refresh().await;
        }
        let there = host.component(id).await;
        there.and_then(|there| there.handle).unwrap()
    }

    async fn take(&self, recipient: &ComponentId) -> Vec<ComponentMessage> {
        let engine = self.joined.host.engine();
        engine.gate.send_replace(true);
        let count = || lock(&engine.delivered).get(recipient).map_or(0, Vec::len);
        let mut before = count();
        loop {
            sleep(QUIET).await;
            if count() == before {
                break;
            }
            before = count();
        }
        engine.gate.send_replace(false);
        lock(&engine.delivered)
            .remove(recipient)
            .unwrap_or_default()
    }

    async fn callbacks(&self, of: &ComponentHandle) -> Vec<ComponentMessage> {
        sleep(QUIET).await;
        let callbacks = lock(&self.joined.host.engine().callbacks);
        callbacks.get(of).cloned().unwrap_or_default()
    }
}

/// What fills up is the stream, whose bound is of all that wait, be it at the host.
const FEATURES: [Feature; 2] = [Feature::KnowsWhoIsThere, Feature::Callbacks];

pub(crate) fn trials() -> Vec<Trial> {
    let is_missing = program().is_none();
    let cases = router::cases().into_iter();
    let trials = cases.map(|case| {
        let is_left_out = case.needs().is_some_and(|it| !FEATURES.contains(&it));
        let trial = Trial::test(format!("suite::{}", case.name()), move || {
            if is_missing {
                return Err(NEEDED.into());
            }
            case.run(Default::default(), subject).map_err(Into::into)
        });
        match is_missing {
            true => trial.with_kind(NEEDED).with_ignored_flag(true),
            false => trial.with_ignored_flag(is_left_out),
        }
    });
    trials.collect()
}

fn subject() -> router::Subject {
    let (url, app, runtime) = server();
    // The case runs in a runtime already, which ends with it.
    std::thread::scope(|scope| {
        let made = scope.spawn(|| runtime.block_on(Bench::new(url, app)));
        router::Subject::new(made.join().expect("a node"))
    })
}
