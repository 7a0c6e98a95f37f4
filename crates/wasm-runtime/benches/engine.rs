//! The engine beside bare wasmtime, doing the same in the same run.
//!
//! `bare` is wasmtime with the engine's own settings (fuel and epochs compiled in,
//! async) and none of the protections around a call: no fuel refilled, no deadline,
//! no registry, no turn-taking, no memory limit, no WASI.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use tokio::runtime::Runtime;
use wasmtime::component::{Component, ComponentType, InstancePre, Lift, Linker, Lower, TypedFunc};
use wasmtime::{Engine, Store};

use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentId, ComponentMessage, HostServices,
    LIFECYCLE_INTERFACE, ResourceLimits,
};
use wasm_fixtures::ECHO;
use wasm_runtime::{EngineConfig, WasmtimeEngine};

#[derive(Clone, ComponentType, Lower)]
#[component(record)]
struct Id {
    namespace: Arc<str>,
    name: Arc<str>,
    instance: Arc<str>,
}

#[derive(Clone, ComponentType, Lower)]
#[component(record)]
struct Timestamp {
    seconds: u64,
    nanoseconds: u32,
}

#[derive(Clone, ComponentType, Lower)]
#[component(record)]
struct Metadata {
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
struct Message {
    sender: Id,
    payload: Bytes,
    metadata: Metadata,
}

#[derive(ComponentType, Lift)]
#[component(variant)]
#[expect(dead_code, reason = "only its shape matters")]
enum WasmError {
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

type HandleMessage = TypedFunc<(Message,), (Result<Option<Bytes>, WasmError>,)>;

/// wasmtime, and nothing around it.
struct Bare {
    engine: Engine,
    linker: Linker<()>,
}

impl Bare {
    fn new() -> Self {
        let config = EngineConfig::default().wasmtime_config();
        let engine = Engine::new(&config).expect("valid settings");
        let linker = Linker::new(&engine);
        Self { engine, linker }
    }

    fn compile(&self) -> InstancePre<()> {
        let component = Component::from_binary(&self.engine, ECHO.wasm).expect("valid fixture");
        self.linker.instantiate_pre(&component).expect("no imports")
    }

    async fn instantiate(&self, pre: &InstancePre<()>) -> (Store<()>, HandleMessage) {
        let mut store = Store::new(&self.engine, ());
        store.set_fuel(u64::MAX).expect("fuel is on");
        store.set_epoch_deadline(u64::MAX / 2);
        let instance = pre.instantiate_async(&mut store).await.expect("starts");
        let component = pre.component();
        let interface = component
            .get_export_index(None, LIFECYCLE_INTERFACE)
            .expect("exported");
        let function = component
            .get_export_index(Some(&interface), "handle-message")
            .expect("exported");
        let function = instance
            .get_typed_func(&mut store, function)
            .expect("typed as in the contract");
        (store, function)
    }
}

fn bare_message(payload: Bytes) -> Message {
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

async fn bare_call(store: &mut Store<()>, function: &HandleMessage, message: &Message) -> usize {
    let called = function.call_async(store, (message.clone(),)).await;
    let (reply,) = called.expect("echo does not trap");
    reply.ok().flatten().expect("echo answers").len()
}

fn id(name: &str) -> ComponentId {
    ComponentId::new("bench", name, "main").expect("valid id")
}

fn config() -> ComponentConfig {
    let limits = ResourceLimits::new(2 << 20, Duration::from_secs(1), Some(1 << 40));
    ComponentConfig::new(limits.expect("in range"))
}

fn engine() -> WasmtimeEngine {
    WasmtimeEngine::new(EngineConfig::default(), HostServices::default()).expect("starts")
}

async fn load(engine: &WasmtimeEngine) -> ComponentHandle {
    let bytes = Bytes::from_static(ECHO.wasm);
    let loaded = engine.load_component(&id("echo"), bytes, config()).await;
    loaded.expect("loads")
}

async fn call(
    engine: &WasmtimeEngine,
    handle: &ComponentHandle,
    message: &ComponentMessage,
) -> usize {
    let called = engine.call_handle_message(handle, message.clone()).await;
    called.expect("echo answers").expect("with a reply").len()
}

/// From bytes to the first answer.
fn cold(c: &mut Criterion) {
    let runtime = Runtime::new().expect("starts");
    let mut group = c.benchmark_group("cold");
    group.sample_size(20);
    let message = ComponentMessage::new(id("sender"), id("echo"), "hello");
    group.bench_function("engine", |b| {
        // A new engine each time, because one engine compiles the same bytes once.
        b.iter_batched(
            engine,
            |engine| {
                runtime.block_on(async {
                    let handle = load(&engine).await;
                    black_box(call(&engine, &handle, &message).await);
                });
                engine
            },
            BatchSize::PerIteration,
        );
    });
    let message = bare_message(Bytes::from_static(b"hello"));
    group.bench_function("bare", |b| {
        b.iter_batched(
            Bare::new,
            |bare| {
                runtime.block_on(async {
                    let pre = bare.compile();
                    let (mut store, function) = bare.instantiate(&pre).await;
                    black_box(bare_call(&mut store, &function, &message).await);
                });
                bare
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// A fresh instance of a component that is compiled already, `initialize` included
/// for the engine.
fn instantiate(c: &mut Criterion) {
    let runtime = Runtime::new().expect("starts");
    let mut group = c.benchmark_group("instantiate");
    let engine = engine();
    let _kept = runtime.block_on(load(&engine));
    group.bench_function("engine", |b| {
        b.iter(|| {
            runtime.block_on(async {
                let handle = load(&engine).await;
                engine.unload_component(&handle).await.expect("shuts down");
            });
        });
    });
    let bare = Bare::new();
    let pre = bare.compile();
    group.bench_function("bare", |b| {
        b.iter(|| runtime.block_on(async { drop(bare.instantiate(&pre).await) }));
    });
    group.finish();
}

/// The first call of an instance. The engine's has been through `initialize`, so
/// its memory is touched already.
fn first_call(c: &mut Criterion) {
    let runtime = Runtime::new().expect("starts");
    let mut group = c.benchmark_group("first-call");
    let engine = engine();
    let _kept = runtime.block_on(load(&engine));
    let message = ComponentMessage::new(id("sender"), id("echo"), "hello");
    group.bench_function("engine", |b| {
        b.iter_custom(|iterations| {
            runtime.block_on(async {
                let mut elapsed = Duration::ZERO;
                for _ in 0..iterations {
                    let handle = load(&engine).await;
                    let start = Instant::now();
                    black_box(call(&engine, &handle, &message).await);
                    elapsed += start.elapsed();
                    engine.unload_component(&handle).await.expect("shuts down");
                }
                elapsed
            })
        });
    });
    let bare = Bare::new();
    let pre = bare.compile();
    let message = bare_message(Bytes::from_static(b"hello"));
    group.bench_function("bare", |b| {
        b.iter_custom(|iterations| {
            runtime.block_on(async {
                let mut elapsed = Duration::ZERO;
                for _ in 0..iterations {
                    let (mut store, function) = bare.instantiate(&pre).await;
                    let start = Instant::now();
                    black_box(bare_call(&mut store, &function, &message).await);
                    elapsed += start.elapsed();
                }
                elapsed
            })
        });
    });
    group.finish();
}

/// Later calls, with all protections on against none.
fn later_calls(c: &mut Criterion) {
    let runtime = Runtime::new().expect("starts");
    let mut group = c.benchmark_group("call");
    let engine = engine();
    let handle = runtime.block_on(load(&engine));
    let bare = Bare::new();
    let (mut store, function) = runtime.block_on(bare.instantiate(&bare.compile()));
    for size in [0, 64, 64 << 10] {
        let payload = Bytes::from(vec![7; size]);
        let message = ComponentMessage::new(id("sender"), id("echo"), payload.clone());
        group.bench_function(BenchmarkId::new("engine", size), |b| {
            b.iter_custom(|iterations| {
                runtime.block_on(async {
                    let start = Instant::now();
                    for _ in 0..iterations {
                        black_box(call(&engine, &handle, &message).await);
                    }
                    start.elapsed()
                })
            });
        });
        let message = bare_message(payload);
        group.bench_function(BenchmarkId::new("bare", size), |b| {
            b.iter_custom(|iterations| {
                runtime.block_on(async {
                    let start = Instant::now();
                    for _ in 0..iterations {
                        black_box(bare_call(&mut store, &function, &message).await);
                    }
                    start.elapsed()
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, cold, instantiate, first_call, later_calls);
criterion_main!(benches);
