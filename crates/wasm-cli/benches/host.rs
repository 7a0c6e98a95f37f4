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
    let (engine, id) = (host.engine(), handle.id());
    let message = ComponentMessage::new(id.clone(), id.clone(), PAYLOAD);
    let call = async || {
        let called = engine.call_handle_message(&handle, message.clone());
        black_box(called.await.expect("it answers"));
    };
    head("host", "engine alone");
    compare(
        &runtime,
        "a request and its answer",
        async || {
            let asked = host.request(id, PAYLOAD, TIMEOUT);
            black_box(asked.await.expect("it answers"));
        },
        call,
    );
    compare(
        &runtime,
        "1,000 messages, until all are handled",
        async || {
            for _ in 0..MESSAGES {
                let sent = host.send(id, PAYLOAD);
                sent.expect("the mailbox has room");
            }
            host.drain(TIMEOUT).await.expect("it keeps up");
        },
        async || {
            for _ in 0..MESSAGES {
                call().await;
            }
        },
    );
}
