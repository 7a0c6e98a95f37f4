//! The host beside its engine alone, doing the same in the same run, on one thread.
//!
//! `engine` calls the component directly; `host` goes through the mailbox, the task of
//! the component, and the table of open requests.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::{Builder, Runtime};

use wasm_core::{ComponentConfig, ComponentHandle, ComponentId, ComponentMessage, ResourceLimits};
use wasm_fixtures::ECHO;
use wasm_host::{Component, Host, HostBuilder};
use wasm_runtime::{EngineConfig, WasmtimeEngine};

const TIMEOUT: Duration = Duration::from_secs(10);

/// As many as fit into a mailbox.
const MESSAGES: u64 = 1_000;

/// Of each message, in bytes.
const PAYLOAD: &[u8] = &[7; 64];

struct Bench {
    runtime: Runtime,
    host: Host<WasmtimeEngine>,
    handle: ComponentHandle,
}

impl Bench {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a thread is to be had");
        let (host, handle) = runtime.block_on(async {
            let engine =
                |services| WasmtimeEngine::new(EngineConfig::default(), services).map(Arc::new);
            let host = HostBuilder::new().start(engine).expect("it can be set up");
            let id = ComponentId::new("demo", "echo", "main").expect("it is an id");
            let limits = ResourceLimits::new(1 << 20, TIMEOUT, Some(10_000_000));
            let config = ComponentConfig::new(limits.expect("they are in range"));
            let echo = Component::new(id, ECHO.wasm, config);
            let handle = host.load(echo).await.expect("it loads");
            let handle = handle.expect("it starts at once");
            (host, handle)
        });
        Self {
            runtime,
            host,
            handle,
        }
    }

    fn message(&self) -> ComponentMessage {
        let id = self.handle.id();
        ComponentMessage::new(id.clone(), id.clone(), PAYLOAD)
    }

    async fn call(&self) {
        let engine = self.host.engine();
        let called = engine.call_handle_message(&self.handle, self.message());
        black_box(called.await.expect("it answers"));
    }
}

/// One request, its answer awaited.
fn request(criterion: &mut Criterion) {
    let bench = Bench::new();
    let mut group = criterion.benchmark_group("request");
    group.bench_function("engine", |b| {
        b.iter(|| bench.runtime.block_on(bench.call()));
    });
    group.bench_function("host", |b| {
        b.iter(|| {
            let asked = bench.host.request(bench.handle.id(), PAYLOAD, TIMEOUT);
            black_box(bench.runtime.block_on(asked).expect("it answers"))
        });
    });
    group.finish();
}

/// Messages one after the other, until all are handled.
fn messages(criterion: &mut Criterion) {
    let bench = Bench::new();
    let mut group = criterion.benchmark_group("messages");
    group.throughput(Throughput::Elements(MESSAGES));
    group.bench_function("engine", |b| {
        b.iter(|| {
            bench.runtime.block_on(async {
                for _ in 0..MESSAGES {
                    bench.call().await;
                }
            });
        });
    });
    group.bench_function("host", |b| {
        b.iter(|| {
            bench.runtime.block_on(async {
                for _ in 0..MESSAGES {
                    let sent = bench.host.send(bench.handle.id(), PAYLOAD);
                    sent.expect("the mailbox has room");
                }
                bench.host.drain(TIMEOUT).await.expect("it keeps up");
            });
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(5));
    targets = request, messages
}
criterion_main!(benches);
