//! The engine beside bare wasmtime, which has the engine's own settings and none of what is
//! around a call.
//!
//! `cargo bench --workspace --bench ratios` prints a table; with `-- calls`, `kernels`,
//! `cold`, `instances`, `residents` or `threads` only those parts of it. Each figure is of one operation.

mod bare;
mod cold;
mod turns;

use std::env;
use std::fs;
use std::hint::black_box;
use std::process::exit;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};
use wasmtime::Store;
use wasmtime::component::{Component, Instance, Linker, TypedFunc, Val};

use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentId, ComponentMessage, HostServices, InstancePolicy,
    ResourceLimits, RuntimeEngine,
};
use wasm_fixtures::{ECHO, HELLO};
use wasm_runtime::{
    Allocation, Bindings, EngineConfig, GuestCall, HostState, Metering, Profile, WasmtimeEngine,
};

use crate::bare::{Bare, bare_call, bare_message};
use crate::turns::{ROUND, ROUNDS, compare, head, median, row};

fn id(name: &str) -> ComponentId {
    ComponentId::new("bench", name, "main").expect("valid id")
}

fn config() -> ComponentConfig {
    let limits = ResourceLimits::new(2 << 20, Duration::from_secs(1), Some(1 << 40));
    ComponentConfig::new(limits.expect("in range"))
}

fn engine(config: EngineConfig) -> WasmtimeEngine {
    WasmtimeEngine::new(config, HostServices::default()).expect("starts")
}

async fn load(engine: &WasmtimeEngine, bytes: &Bytes, config: ComponentConfig) -> ComponentHandle {
    let loaded = engine
        .load_component(&id("echo"), bytes.clone(), config)
        .await;
    loaded.expect("loads")
}

fn calls(runtime: &Runtime) {
    let engine = engine(EngineConfig::default());
    let bytes = Bytes::from_static(ECHO.wasm);
    let handle = runtime.block_on(load(&engine, &bytes, config()));
    let bare = Bare::new(&EngineConfig::default());
    let (mut store, function) = runtime.block_on(bare.instantiate(&bare.compile(ECHO.wasm)));
    for (size, name) in [
        (0, "0 B"),
        (64, "64 B"),
        (1 << 10, "1 KiB"),
        (4 << 10, "4 KiB"),
        (16 << 10, "16 KiB"),
        (64 << 10, "64 KiB"),
    ] {
        let payload = Bytes::from(vec![7; size]);
        let ours = ComponentMessage::new(id("sender"), id("echo"), payload.clone());
        let bare_message = bare_message(payload);
        compare(
            runtime,
            &format!("a call with {name}"),
            async || {
                let reply = engine.call_handle_message(&handle, ours.clone()).await;
                black_box(reply.expect("echo answers"));
            },
            async || {
                black_box(bare_call(&mut store, &function, &bare_message).await);
            },
        );
        if size == 64 {
            let engine: &dyn RuntimeEngine = &engine;
            compare(
                runtime,
                "the same through `dyn RuntimeEngine`",
                async || {
                    let reply = engine.call_handle_message(&handle, ours.clone()).await;
                    black_box(reply.expect("echo answers"));
                },
                async || {
                    black_box(bare_call(&mut store, &function, &bare_message).await);
                },
            );
        }
    }
}

/// The exports of a world that has one function.
struct Hello(TypedFunc<(), (u32,)>);

impl Bindings<()> for Hello {
    fn bind(store: &mut Store<HostState<()>>, instance: &Instance) -> wasmtime::Result<Self> {
        instance.get_typed_func(store, "hello").map(Self)
    }
}

fn typed_calls(runtime: &Runtime) {
    let engine = engine(EngineConfig::default());
    let handle = runtime.block_on(load(&engine, &Bytes::from_static(HELLO.wasm), config()));
    let bare = Bare::new(&EngineConfig::default());
    let component = Component::from_binary(&bare.engine, HELLO.wasm).expect("valid fixture");
    let mut store = Store::new(&bare.engine, ());
    store.set_fuel(u64::MAX).expect("fuel is on");
    store.set_epoch_deadline(u64::MAX / 2);
    let instance = Linker::new(&bare.engine);
    let instance = runtime.block_on(instance.instantiate_async(&mut store, &component));
    let instance = instance.expect("starts");
    let function = instance.get_typed_func::<(), (u32,)>(&mut store, "hello");
    let function = function.expect("typed");
    compare(
        runtime,
        "a typed call of another world, without arguments",
        async || {
            let call = engine.call(&handle, "hello", |call: GuestCall<'_, (), Hello>| {
                Box::pin(call.bindings.0.call_async(call.store, ()))
            });
            black_box(call.await.expect("answers"));
        },
        async || {
            black_box(function.call_async(&mut store, ()).await.expect("answers"));
        },
    );
}

/// Code that computes: one function that calls itself, and one that reads and writes memory in
/// a loop.
const KERNELS: &str = r#"(component
    (core module $m
        (memory 4)
        (func $calls (export "calls") (param i32) (result i32)
            (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
                (then (local.get 0))
                (else (i32.add
                    (call $calls (i32.sub (local.get 0) (i32.const 1)))
                    (call $calls (i32.sub (local.get 0) (i32.const 2)))))))
        (func (export "memory") (param $left i32) (result i32)
            (local $at i32) (local $sum i32)
            (loop $more
                (local.set $at (i32.and
                    (i32.mul (local.get $left) (i32.const 2654435761))
                    (i32.const 0x3fffc)))
                (local.set $sum (i32.add (local.get $sum) (i32.load (local.get $at))))
                (i32.store (local.get $at) (local.get $left))
                (local.set $left (i32.sub (local.get $left) (i32.const 1)))
                (br_if $more (local.get $left)))
            (local.get $sum)))
    (core instance $i (instantiate $m))
    (func (export "calls") (param "n" u32) (result u32)
        (canon lift (core func $i "calls")))
    (func (export "memory") (param "n" u32) (result u32)
        (canon lift (core func $i "memory"))))"#;

/// What protections cost code that computes, beside code without any.
fn kernels(runtime: &Runtime) {
    let wasm = Bytes::from(wat::parse_str(KERNELS).expect("valid text"));
    let mut plain = wasmtime::Config::new();
    plain.concurrency_support(false);
    let plain = wasmtime::Engine::new(&plain).expect("starts");
    let component = Component::from_binary(&plain, &wasm).expect("valid component");
    let mut store = Store::new(&plain, ());
    let linker = Linker::new(&plain);
    let instance = runtime.block_on(linker.instantiate_async(&mut store, &component));
    let instance = instance.expect("starts");
    let unmetered = ResourceLimits::new(2 << 20, Duration::from_secs(1), None);
    let unmetered = ComponentConfig::new(unmetered.expect("in range"));
    for (metering, stops) in [
        (Metering::FuelAndTime, "fuel and time"),
        (Metering::Time, "time alone"),
    ] {
        for (profile, name) in [(Profile::Speed, ""), (Profile::Density, ", dense")] {
            let config = EngineConfig::default()
                .with_metering(metering)
                .with_profile(profile);
            let engine = engine(config);
            let handle = runtime.block_on(load(&engine, &wasm, unmetered.clone()));
            for (kernel, n) in [("calls", 20), ("memory", 100_000)] {
                let function = instance.get_typed_func::<(u32,), (u32,)>(&mut store, kernel);
                let function = function.expect("typed");
                compare(
                    runtime,
                    &format!("code of {kernel}, stopped by {stops}{name}"),
                    async || {
                        let arguments = [Val::U32(n)];
                        let results = engine.call_export(&handle, kernel, &arguments).await;
                        black_box(results.expect("computes"));
                    },
                    async || {
                        let result = function.call_async(&mut store, (n,)).await;
                        black_box(result.expect("computes"));
                    },
                );
            }
        }
    }
}

fn instances(runtime: &Runtime, profile: Profile, name: &str) {
    let config_of_engine = EngineConfig::default().with_profile(profile);
    let engine = engine(config_of_engine.clone());
    let bytes = Bytes::from_static(ECHO.wasm);
    let kept = runtime.block_on(load(&engine, &bytes, config()));
    let bare = Bare::new(&config_of_engine);
    let pre = bare.compile(ECHO.wasm);
    let payload = Bytes::from(vec![7; 64]);
    let ours = ComponentMessage::new(id("sender"), id("echo"), payload.clone());
    let message = bare_message(payload);
    compare(
        runtime,
        &format!("a fresh instance, loaded and unloaded{name}"),
        async || {
            let handle = load(&engine, &bytes, config()).await;
            engine.unload_component(&handle).await.expect("shuts down");
        },
        async || bare.live(&pre, None).await,
    );
    compare(
        runtime,
        &format!("a restart{name}"),
        async || engine.restart_component(&kept).await.expect("starts"),
        async || bare.live(&pre, None).await,
    );
    let per_message = config().with_instances(InstancePolicy::PerMessage);
    let per_message = runtime.block_on(load(&engine, &bytes, per_message));
    compare(
        runtime,
        &format!("a call in an instance of its own{name}"),
        async || {
            let reply = engine.call_handle_message(&per_message, ours.clone()).await;
            black_box(reply.expect("echo answers"));
        },
        async || bare.live(&pre, Some(&message)).await,
    );
}

/// One call each, round robin, and what each takes of memory.
fn residents(runtime: &Runtime, count: u32, profile: Profile, name: &str) {
    let instances = Allocation::Pooled { instances: count };
    let config_of_engine = EngineConfig::default()
        .with_allocation(instances)
        .with_profile(profile);
    let payload = Bytes::from(vec![7; 64]);
    let message = ComponentMessage::new(id("sender"), id("echo"), payload.clone());
    let bytes = Bytes::from_static(ECHO.wasm);
    let engine = engine(config_of_engine.clone());
    // What the first one makes is shared.
    let mut handles = vec![runtime.block_on(load(&engine, &bytes, config()))];
    let before = resident_bytes();
    runtime.block_on(async {
        for _ in 1..count {
            handles.push(load(&engine, &bytes, config()).await);
        }
    });
    let each = resident_bytes().saturating_sub(before) as f64 / f64::from(count - 1);
    eprintln!("{count} residents{name}: {:.1} KiB each", each / 1024.0);

    let bare = Bare::new(&config_of_engine);
    let pre = bare.compile(ECHO.wasm);
    let mut stores = Vec::new();
    runtime.block_on(async {
        for _ in 0..count {
            stores.push(bare.instantiate(&pre).await);
        }
    });
    let bare_message = bare_message(payload);
    let (mut next, mut next_bare) = (0, 0);
    compare(
        runtime,
        &format!("one call each of {count} residents{name}"),
        async || {
            next = (next + 1) % handles.len();
            let reply = engine
                .call_handle_message(&handles[next], message.clone())
                .await;
            black_box(reply.expect("echo answers"));
        },
        async || {
            next_bare = (next_bare + 1) % stores.len();
            let (store, function) = &mut stores[next_bare];
            black_box(bare_call(store, function, &bare_message).await);
        },
    );
}

fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0_u64) * 4096
}

/// Calls a second of two threads together, beside those of one.
fn threads() {
    const COMPONENTS: usize = 1000;
    let engine = engine(EngineConfig::default());
    let bytes = Bytes::from_static(ECHO.wasm);
    let runtime = runtime();
    let handles: Vec<_> = runtime.block_on(async {
        let mut handles = Vec::new();
        for _ in 0..COMPONENTS {
            handles.push(load(&engine, &bytes, config()).await);
        }
        handles
    });
    let message = ComponentMessage::new(id("sender"), id("echo"), vec![7; 64]);
    let work = |handles: &[ComponentHandle]| {
        Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("starts")
            .block_on(async {
                let began = Instant::now();
                let mut calls = 0_u32;
                while began.elapsed() < ROUND {
                    for handle in handles {
                        let reply = engine.call_handle_message(handle, message.clone()).await;
                        black_box(reply.expect("echo answers"));
                        calls += 1;
                    }
                }
                f64::from(calls) / began.elapsed().as_secs_f64()
            })
    };
    let (first, second) = handles.split_at(COMPONENTS / 2);
    let (mut ones, mut twos) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ones.push(work(&handles));
        twos.push(thread::scope(|scope| {
            let other = scope.spawn(|| work(second));
            work(first) + other.join().expect("no panic")
        }));
    }
    let (one, two) = (median(&mut ones), median(&mut twos));
    row(
        "calls a second of 1,000 components, two threads beside one",
        &format!("{two:.0}"),
        &format!("{one:.0}"),
        two / one,
    );
}

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("starts")
}

fn main() {
    // Cargo adds flags of its own.
    let asked: Vec<_> = env::args().skip(1).collect();
    if asked.iter().any(|argument| argument == "--test") {
        exit(0);
    }
    let parts: Vec<_> = asked.iter().filter(|it| !it.starts_with("--")).collect();
    let is_asked = |part: &str| parts.is_empty() || parts.iter().any(|it| *it == part);
    let runtime = runtime();
    head("engine", "bare wasmtime");
    if is_asked("calls") {
        calls(&runtime);
        typed_calls(&runtime);
    }
    if is_asked("kernels") {
        kernels(&runtime);
    }
    if is_asked("cold") {
        cold::compiled(&runtime);
        cold::kept(&runtime);
    }
    if is_asked("instances") {
        instances(&runtime, Profile::Speed, "");
        instances(&runtime, Profile::Density, ", dense");
    }
    if is_asked("residents") {
        for (profile, name) in [(Profile::Speed, ""), (Profile::Density, ", dense")] {
            for count in [10, 100, 1_000, 5_000] {
                residents(&runtime, count, profile, name);
            }
        }
    }
    if is_asked("threads") {
        threads();
    }
}
