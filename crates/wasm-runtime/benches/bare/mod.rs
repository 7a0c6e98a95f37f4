//! wasmtime with the engine's own settings, and nothing around it: no fuel refilled, no
//! deadline, no registry, no turn-taking, no memory limit, no WASI.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentType, Instance, InstancePre, Lift, Linker, Lower,
    TypedFunc,
};
use wasmtime::{Engine, Store};

use wasm_core::LIFECYCLE_INTERFACE;
use wasm_runtime::EngineConfig;

#[derive(Clone, ComponentType, Lower)]
#[component(record)]
pub(crate) struct Id {
    namespace: Arc<str>,
    name: Arc<str>,
    instance: Arc<str>,
}

#[derive(Clone, ComponentType, Lower)]
#[component(record)]
pub(crate) struct Timestamp {
    seconds: u64,
    nanoseconds: u32,
}

#[derive(Clone, ComponentType, Lower)]
#[component(record)]
pub(crate) struct Metadata {
    #[component(name = "correlation-id")]
    correlation_id: Option<Arc<str>>,
    #[component(name = "reply-to")]
    reply_to: Option<Id>,
    timestamp: Timestamp,
    #[component(name = "content-type")]
    content_type: Option<Arc<str>>,
}

#[derive(Clone, ComponentType, Lower)]
#[component(record)]
pub(crate) struct Message {
    sender: Id,
    payload: Bytes,
    metadata: Metadata,
}

#[derive(ComponentType, Lift)]
#[component(variant)]
#[expect(dead_code, reason = "only its shape matters")]
pub(crate) enum WasmError {
    #[component(name = "component-not-found")]
    ComponentNotFound(String),
    #[component(name = "instantiation-failed")]
    InstantiationFailed(String),
    #[component(name = "export-not-found")]
    ExportNotFound(String),
    #[component(name = "timeout")]
    Timeout,
    #[component(name = "resource-limit-exceeded")]
    ResourceLimitExceeded(String),
    #[component(name = "invalid-component")]
    InvalidComponent(String),
    #[component(name = "runtime-error")]
    RuntimeError(String),
}

pub(crate) type HandleMessage = TypedFunc<(Message,), (Result<Option<Bytes>, WasmError>,)>;

#[derive(Clone, ComponentType, Lower)]
#[component(record)]
pub(crate) struct Limits {
    #[component(name = "max-memory-bytes")]
    max_memory_bytes: u64,
    #[component(name = "max-execution-time-ms")]
    max_execution_time_ms: u64,
    #[component(name = "max-fuel")]
    max_fuel: Option<u64>,
}

#[derive(Clone, ComponentType, Lower)]
#[component(record)]
pub(crate) struct Config {
    #[component(name = "env-vars")]
    env_vars: Vec<(String, String)>,
    #[component(name = "config-data")]
    config_data: Option<Bytes>,
    #[component(name = "resource-limits")]
    resource_limits: Limits,
}

#[derive(ComponentType, Lift)]
#[component(variant)]
#[expect(dead_code, reason = "only its shape matters")]
pub(crate) enum ComponentError {
    #[component(name = "initialization-failed")]
    InitializationFailed(String),
    #[component(name = "already-initialized")]
    AlreadyInitialized,
    #[component(name = "not-initialized")]
    NotInitialized,
    #[component(name = "shutdown-failed")]
    ShutdownFailed(String),
    #[component(name = "invalid-state")]
    InvalidState(String),
}

type Initialize = TypedFunc<(Config,), (Result<(), ComponentError>,)>;
type Shutdown = TypedFunc<(), (Result<(), ComponentError>,)>;

/// wasmtime, and nothing around it.
pub(crate) struct Bare {
    pub(crate) engine: Engine,
    linker: Linker<()>,
}

impl Bare {
    pub(crate) fn new(config: &EngineConfig) -> Self {
        let config = config.wasmtime_config();
        let engine = Engine::new(&config).expect("valid settings");
        let linker = Linker::new(&engine);
        Self { engine, linker }
    }

    pub(crate) fn compile(&self, bytes: &[u8]) -> InstancePre<()> {
        self.link(&Component::from_binary(&self.engine, bytes).expect("valid"))
    }

    pub(crate) fn link(&self, component: &Component) -> InstancePre<()> {
        self.linker.instantiate_pre(component).expect("no imports")
    }

    /// A fresh instance, and its function that answers.
    pub(crate) async fn instantiate(&self, pre: &InstancePre<()>) -> (Store<()>, HandleMessage) {
        let (mut store, instance) = self.begin(pre).await;
        let function = index(pre, "handle-message");
        let function = instance.get_typed_func(&mut store, function);
        (store, function.expect("typed as in the contract"))
    }

    /// An instance that is initialized, answers if it is given a message, and is shut down.
    pub(crate) async fn live(&self, pre: &InstancePre<()>, message: Option<&Message>) {
        let (mut store, instance) = self.begin(pre).await;
        let initialize: Initialize = instance
            .get_typed_func(&mut store, index(pre, "initialize"))
            .expect("typed as in the contract");
        let shutdown: Shutdown = instance
            .get_typed_func(&mut store, index(pre, "shutdown"))
            .expect("typed as in the contract");
        let config = Config {
            env_vars: Vec::new(),
            config_data: None,
            resource_limits: Limits {
                max_memory_bytes: 2 << 20,
                max_execution_time_ms: 1000,
                max_fuel: Some(1 << 40),
            },
        };
        let initialized = initialize.call_async(&mut store, (config,)).await;
        assert!(initialized.expect("does not trap").0.is_ok());
        if let Some(message) = message {
            let function = instance
                .get_typed_func(&mut store, index(pre, "handle-message"))
                .expect("typed as in the contract");
            bare_call(&mut store, &function, message).await;
        }
        let shut_down = shutdown.call_async(&mut store, ()).await;
        assert!(shut_down.expect("does not trap").0.is_ok());
    }

    async fn begin(&self, pre: &InstancePre<()>) -> (Store<()>, Instance) {
        let mut store = Store::new(&self.engine, ());
        store.set_fuel(u64::MAX).expect("fuel is on");
        store.set_epoch_deadline(u64::MAX / 2);
        let instance = pre.instantiate_async(&mut store).await.expect("starts");
        (store, instance)
    }
}

fn index(pre: &InstancePre<()>, function: &str) -> ComponentExportIndex {
    let component = pre.component();
    let interface = component.get_export_index(None, LIFECYCLE_INTERFACE);
    let index = component.get_export_index(interface.as_ref(), function);
    index.expect("exported")
}

pub(crate) fn bare_message(payload: Bytes) -> Message {
    Message {
        sender: Id {
            namespace: "bench".into(),
            name: "sender".into(),
            instance: "main".into(),
        },
        payload,
        metadata: Metadata {
            correlation_id: None,
            reply_to: None,
            timestamp: Timestamp {
                seconds: 0,
                nanoseconds: 0,
            },
            content_type: None,
        },
    }
}

pub(crate) async fn bare_call(
    store: &mut Store<()>,
    function: &HandleMessage,
    message: &Message,
) -> usize {
    let called = function.call_async(store, (message.clone(),)).await;
    let (reply,) = called.expect("echo does not trap");
    reply.ok().flatten().expect("echo answers").len()
}
