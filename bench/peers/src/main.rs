//! Bare wasmtime and the engine beside Extism, on one thread: how often a second an echo answers
//! 64 bytes, and how often a second one is made from what is compiled, answers, and is ended.
//!
//! ```text
//! cargo run --release --manifest-path bench/peers/Cargo.toml
//! ```
//!
//! prints a table, and nothing else on standard output.

#[path = "../../../crates/wasm-runtime/benches/bare/mod.rs"]
mod bare;
mod rounds;

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use extism::{CompiledPlugin, Manifest, Plugin, PluginBuilder, Wasm};
use tokio::runtime::Builder;
use wasm_core::{ComponentConfig, ComponentHandle, ComponentId, ComponentMessage};
use wasm_core::{HostServices, ResourceLimits};
use wasm_fixtures::ECHO;
use wasm_runtime::{EngineConfig, WasmtimeEngine};

use crate::bare::{Bare, bare_call, bare_message};
use crate::rounds::{Figures, rates};

const PAYLOAD: &[u8] = &[7; 64];

// The limits of a component, and of a plugin that has some.
const MEMORY_PAGES: u32 = 32;
const TIMEOUT: Duration = Duration::from_secs(1);
const FUEL: u64 = 1 << 40;

fn id(name: &str) -> ComponentId {
    ComponentId::new("bench", name, "main").expect("valid id")
}

async fn load(engine: &WasmtimeEngine) -> ComponentHandle {
    let limits = ResourceLimits::new(u64::from(MEMORY_PAGES) << 16, TIMEOUT, Some(FUEL));
    let config = ComponentConfig::new(limits.expect("in range"));
    let loaded = engine
        .load_component(&id("echo"), Bytes::from_static(ECHO.wasm), config)
        .await;
    loaded.expect("loads")
}

async fn call(engine: &WasmtimeEngine, handle: &ComponentHandle, message: &ComponentMessage) {
    let reply = engine.call_handle_message(handle, message.clone()).await;
    black_box(reply.expect("echo answers"));
}

/// Compiles the plugin, and finds that it answers.
fn compile(limited: bool) -> CompiledPlugin {
    let wasm = wat::parse_str(include_str!("echo.wat")).expect("valid text");
    let mut manifest = Manifest::new([Wasm::data(wasm)]);
    if limited {
        manifest = manifest.with_memory_max(MEMORY_PAGES).with_timeout(TIMEOUT);
    }
    let mut builder = PluginBuilder::new(manifest).with_cache_disabled();
    if limited {
        builder = builder.with_fuel_limit(FUEL);
    }
    let compiled = builder.compile().expect("valid plugin");
    let mut plugin = instantiate(&compiled);
    for asked in [PAYLOAD, b"words and the rest", b"rest"] {
        let answer: &[u8] = plugin.call("echo", asked).expect("echo answers");
        assert_eq!(answer, asked);
    }
    compiled
}

fn instantiate(compiled: &CompiledPlugin) -> Plugin {
    Plugin::new_from_compiled(compiled).expect("starts")
}

fn ask(plugin: &mut Plugin) {
    let answer: &[u8] = plugin.call("echo", PAYLOAD).expect("echo answers");
    black_box(answer);
}

async fn measure() -> [Figures; 2] {
    let settings = EngineConfig::default();
    let bare = Bare::new(&settings);
    let pre = bare.compile();
    let (mut store, function) = bare.instantiate(&pre).await;
    let payload = Bytes::from_static(PAYLOAD);
    let bare_message = bare_message(payload.clone());
    let engine = WasmtimeEngine::new(settings, HostServices::default()).expect("starts");
    let handle = load(&engine).await;
    let message = ComponentMessage::new(id("sender"), id("echo"), payload);
    let (limited, unlimited) = (compile(true), compile(false));
    let mut limited_plugin = instantiate(&limited);
    let mut unlimited_plugin = instantiate(&unlimited);
    let calls = rates(
        async || {
            black_box(bare_call(&mut store, &function, &bare_message).await);
        },
        async || call(&engine, &handle, &message).await,
        async || ask(&mut limited_plugin),
        async || ask(&mut unlimited_plugin),
    );
    let calls = calls.await;
    let instances = rates(
        async || bare.live(&pre, Some(&bare_message)).await,
        async || {
            let handle = load(&engine).await;
            call(&engine, &handle, &message).await;
            engine.unload_component(&handle).await.expect("shuts down");
        },
        async || ask(&mut instantiate(&limited)),
        async || ask(&mut instantiate(&unlimited)),
    );
    [calls, instances.await]
}

fn main() {
    let runtime = Builder::new_current_thread().enable_all().build();
    let figures = runtime.expect("starts").block_on(measure());
    let row = |what: &str, cell: &dyn Fn(&Figures) -> String| {
        let [calls, instances] = figures.each_ref().map(cell);
        println!("| {what} | {calls} | {instances} |");
    };
    let rate = |what: &str, rate: fn(&Figures) -> f64| {
        row(what, &|figures: &Figures| format!("{:.0}", rate(figures)));
    };
    let ratio = |what: &str, ratio: fn(&Figures) -> f64| {
        row(what, &|figures: &Figures| format!("{:.2}", ratio(figures)));
    };
    println!("| what | calls/s | instances/s |\n|---|---|---|");
    rate("bare wasmtime", |it| it.bare);
    rate("engine", |it| it.engine);
    rate("Extism with limits", |it| it.limited);
    rate("Extism without limits", |it| it.unlimited);
    ratio("bare wasmtime against Extism with limits", |it| {
        it.bare / it.limited
    });
    ratio("engine against Extism with limits", |it| {
        it.engine / it.limited
    });
    ratio("bare wasmtime against Extism without limits", |it| {
        it.bare / it.unlimited
    });
    ratio("engine against Extism without limits", |it| {
        it.engine / it.unlimited
    });
    ratio("the engine's advantage by that of bare wasmtime", |it| {
        it.engine / it.bare
    });
}
