//! The host beside its engine alone, on one thread: a message passes the mailbox and the task of
//! its component, and the answer to a request comes back.
//!
//! `cargo bench --workspace --bench host` prints a table.

#[path = "../../wasm-runtime/benches/turns/mod.rs"]
mod turns;

use std::env;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use wasm_core::{ComponentConfig, ComponentHandle, ComponentId, ComponentMessage, ResourceLimits};
use wasm_fixtures::ECHO;
use wasm_host::{Component, Host, HostBuilder};
use wasm_runtime::{EngineConfig, WasmtimeEngine};

use crate::turns::{compare, head};

const TIMEOUT: Duration = Duration::from_secs(10);

/// As many as fit into a mailbox.
const MESSAGES: u64 = 1_000;

/// Of each message, in bytes.
const PAYLOAD: &[u8] = &[7; 64];

/// As long as those that the host makes.
const CORRELATION_ID: &str = "0123456789abcdef0123456789abcdef";

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
}

fn main() {
    // A bench that is tested runs nothing.
    if env::args().any(|argument| argument == "--test") {
        return;
    }
    let Bench {
        runtime,
        host,
        handle,
    } = Bench::new();
    let id = handle.id();
    let message = ComponentMessage::new(id.clone(), id.clone(), PAYLOAD);
    let calls = async |message: &ComponentMessage| {
        let (engine, handle) = (Arc::clone(host.engine()), handle.clone());
        let message = message.clone();
        in_a_task(async move {
            for _ in 0..MESSAGES {
                let called = engine.call_handle_message(&handle, message.clone());
                black_box(called.await.expect("it answers"));
            }
        })
        .await;
    };
    head("host", "engine alone");
    compare(
        &runtime,
        "1,000 requests, each after the answer to the one before",
        async || {
            let (host, id) = (host.clone(), handle.id().clone());
            in_a_task(async move {
                for _ in 0..MESSAGES {
                    let asked = host.request(&id, PAYLOAD, TIMEOUT);
                    black_box(asked.await.expect("it answers"));
                }
            })
            .await;
        },
        // As the host has it handle a request.
        async || calls(&message.clone().with_correlation_id(CORRELATION_ID)).await,
    );
    compare(
        &runtime,
        "1,000 messages, until all are handled",
        async || {
            let (host, id) = (host.clone(), handle.id().clone());
            in_a_task(async move {
                for _ in 0..MESSAGES {
                    host.send(&id, PAYLOAD).expect("the mailbox has room");
                }
                host.drain(TIMEOUT).await.expect("it keeps up");
            })
            .await;
        },
        async || calls(&message).await,
    );
}

/// As whoever asks a component is: the future that a runtime blocks on is no task, and each time
/// it waits, the operating system is asked what else there is.
async fn in_a_task(work: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(work).await.expect("it ends");
}
