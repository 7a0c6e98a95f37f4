//! The engine beside bare wasmtime, doing the same in the same run.
//!
//! `bare` is wasmtime with the engine's own settings and none of the protections around a
//! call.

mod bare;

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use tokio::runtime::Runtime;

use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentId, ComponentMessage, HostServices, ResourceLimits,
};
use wasm_fixtures::ECHO;
use wasm_runtime::{EngineConfig, WasmtimeEngine};

use crate::bare::{Bare, bare_call, bare_message};

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
            || Bare::new(&EngineConfig::default()),
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

/// A fresh instance of a component that is compiled already, initialized and shut down.
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
    let bare = Bare::new(&EngineConfig::default());
    let pre = bare.compile();
    group.bench_function("bare", |b| {
        b.iter(|| runtime.block_on(bare.live(&pre, None)));
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
    let bare = Bare::new(&EngineConfig::default());
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
    let bare = Bare::new(&EngineConfig::default());
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
