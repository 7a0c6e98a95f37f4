//! What the fuzz targets share: an engine, and components made for it.

pub mod contract;

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::time::timeout;
use wasm_core::{
    ComponentConfig, ComponentId, ComponentMessage, ComponentPattern, HostServices, LogLevel,
    MemoryStorage, MessagePayload, Permissions, ResourceLimits, Trap, WasmError,
};
use wasm_runtime::{EngineConfig, WasmtimeEngine};

/// What takes this long hangs: a component's own time is far shorter.
const HANG: Duration = Duration::from_secs(20);

/// One for the process, as is the engine: starting them costs more than what is fuzzed.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .expect("a thread can be started")
    })
}

pub fn engine() -> &'static Arc<WasmtimeEngine> {
    static ENGINE: OnceLock<Arc<WasmtimeEngine>> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let services = HostServices::default().with_storage(Arc::new(MemoryStorage::new()));
        let engine = WasmtimeEngine::new(EngineConfig::default(), services);
        Arc::new(engine.expect("wasmtime accepts this machine"))
    })
}

pub fn id(text: &str) -> ComponentId {
    text.parse().expect("the id is well-formed")
}

/// Everything that a component can be permitted without a folder or a network, and
/// limits that end an execution soon.
pub fn config() -> ComponentConfig {
    let limits = ResourceLimits::new(2 << 20, Duration::from_millis(200), Some(2_000_000));
    let everybody: Vec<ComponentPattern> = vec!["*/*/*".parse().expect("a pattern")];
    let mut permissions = Permissions::default();
    permissions.send = everybody.clone();
    permissions.request = everybody.clone();
    permissions.broadcast = everybody;
    permissions.storage = Some(64 << 10);
    permissions.log = Some(LogLevel::Trace);
    ComponentConfig::new(limits.expect("the limits are in range")).with_permissions(permissions)
}

pub fn message(to: &ComponentId, payload: impl Into<MessagePayload>) -> ComponentMessage {
    ComponentMessage::new(id("fuzz/sender/main"), to.clone(), payload)
}

/// Runs it to its end, and fails if there is none.
pub fn finish<F: Future>(future: F) -> F::Output {
    runtime().block_on(async {
        match timeout(HANG, future).await {
            Ok(output) => output,
            Err(_) => panic!("this hangs"),
        }
    })
}

/// A component may fail in any way but one: that a host function panics is the host's
/// fault.
pub fn no_panic<T>(ended: Result<T, WasmError>) -> Option<T> {
    if let Err(WasmError::Trapped {
        trap: trap @ Trap::HostPanic(_),
        ..
    }) = &ended
    {
        panic!("{trap}");
    }
    // What is told of an error must not panic either.
    ended.inspect_err(|error| drop(error.to_string())).ok()
}
