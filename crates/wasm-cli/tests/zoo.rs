//! Every component that misbehaves, beside one that does not and is called all along.
//!
//! What takes minutes is ignored here and run by `scripts/zoo.sh`, which prints a table.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use wasm_core::{
    ComponentConfig, ComponentId, ComponentMessage, ComponentPattern, HostServices, LogLevel,
    Permissions, ResourceLimits, WasmError,
};
use wasm_fixtures::{ALL, Behaviour, COUNTER, ECHO, Fixture, TRAP};
use wasm_host::{Component, Host, HostBuilder, HostLimits};
use wasm_runtime::{EngineConfig, WasmtimeEngine};

/// What takes this long hangs: the longest time of a component here is a second, and it
/// is loaded, called three times and unloaded.
const HANG: Duration = Duration::from_secs(60);

/// Memory for the largest limits, above what an engine grants by default.
const CEILING_BYTES: u64 = 64 << 20;

/// A name for people, and limits.
type Limits = (&'static str, ResourceLimits);

/// As little as is allowed, with fuel for a small answer.
fn smallest() -> Limits {
    let limits = ResourceLimits::new(
        ResourceLimits::MIN_MEMORY_BYTES,
        ResourceLimits::MIN_TIMEOUT,
        Some(100_000),
    );
    ("smallest", limits.unwrap())
}

fn usual() -> Limits {
    let limits = ResourceLimits::new(2 << 20, Duration::from_millis(250), Some(10_000_000));
    ("usual", limits.unwrap())
}

/// All that the engine's ceiling allows, and no fuel: only the time ends it, which is a
/// second here instead of a day.
fn largest() -> Limits {
    let limits = ResourceLimits::new(CEILING_BYTES, Duration::from_secs(1), None);
    ("largest", limits.unwrap())
}

fn permitted(limits: ResourceLimits) -> ComponentConfig {
    let everybody: Vec<ComponentPattern> = vec!["*/*/*".parse().unwrap()];
    let mut permissions = Permissions::default();
    permissions.send = everybody.clone();
    permissions.request = everybody.clone();
    permissions.broadcast = everybody;
    permissions.storage = Some(64 << 10);
    permissions.log = Some(LogLevel::Error);
    ComponentConfig::new(limits).with_permissions(permissions)
}

fn host() -> Arc<Host<WasmtimeEngine>> {
    let config = EngineConfig::default().with_memory_ceiling_bytes(CEILING_BYTES);
    let limits = HostLimits::default().with_memory_bytes(2 << 30);
    let host = HostBuilder::new()
        .with_limits(limits)
        .start(|services| WasmtimeEngine::new(config, services).map(Arc::new));
    Arc::new(host.unwrap())
}

/// Asks one component over and over, and keeps how long each answer took.
async fn bystander(host: Arc<Host<WasmtimeEngine>>, stop: Arc<AtomicBool>) -> Vec<Duration> {
    let id: ComponentId = "demo/bystander/main".parse().unwrap();
    let mut waits = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let asked = waits.len().to_string();
        let began = Instant::now();
        let reply = host.request(&id, asked.clone(), HANG).await;
        waits.push(began.elapsed());
        assert_eq!(
            reply.unwrap(),
            Some(asked.into()),
            "every message is answered"
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    waits
}

/// The wait that 99 of 100 do not exceed.
fn p99(waits: &mut [Duration]) -> Duration {
    waits.sort_unstable();
    waits[waits.len() * 99 / 100]
}

/// What a bystander waited, and by how much the slowest of each fixture's calls exceeded
/// its time.
struct Visit {
    waits: Vec<Duration>,
    overshoot: Duration,
}

/// Loads each fixture, calls it three times and unloads it.
async fn visit(fixtures: &[Fixture], limits: ResourceLimits) -> Visit {
    let host = host();
    let component =
        |id: &ComponentId, wasm: &'static [u8], config| Component::new(id.clone(), wasm, config);
    let (_, ordinary) = usual();
    for (id, wasm) in [
        ("demo/bystander/main", ECHO.wasm),
        // Whom floods are sent to.
        ("demo/sink/main", COUNTER.wasm),
    ] {
        let id = id.parse().unwrap();
        let config = ComponentConfig::new(ordinary);
        host.load(component(&id, wasm, config)).await.unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let watching = tokio::spawn(bystander(host.clone(), stop.clone()));
    let mut overshoot = Duration::ZERO;
    for fixture in fixtures {
        let id = ComponentId::new("zoo", fixture.name, "main").unwrap();
        let visited = async {
            let loaded = host
                .load(component(&id, fixture.wasm, permitted(limits)))
                .await;
            if loaded.is_err() {
                return;
            }
            for _ in 0..3 {
                let began = Instant::now();
                // How it ends is the business of the engine's own tests.
                let ended = host.request(&id, "go", HANG).await;
                if ended.is_err() {
                    overshoot = overshoot.max(began.elapsed().saturating_sub(limits.timeout()));
                }
            }
            // Its shutdown may fail; it is gone all the same.
            drop(host.unload(&id).await);
            assert!(host.component(&id).await.is_none(), "{id} is gone");
        };
        let visited = timeout(HANG, visited).await;
        assert!(visited.is_ok(), "{} hangs", fixture.name);
    }
    stop.store(true, Ordering::Relaxed);
    let waits = watching.await.unwrap();
    assert!(!waits.is_empty());
    timeout(HANG, host.stop()).await.unwrap();
    Visit { waits, overshoot }
}

fn hostile() -> Vec<Fixture> {
    // Those that do as they are told do no harm either, and are there for comparison.
    ALL.iter()
        .copied()
        .filter(|fixture| !matches!(fixture.behaviour, Behaviour::Exports(_)))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_zoo_costs_a_bystander_no_message() {
    let (_, limits) = usual();
    visit(&hostile(), limits).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: scripts/zoo.sh"]
async fn the_zoo_at_every_limit() {
    let mut idle = visit(&[ECHO; 50], usual().1).await.waits;
    let idle = p99(&mut idle);
    println!("| limits | components | bystander's calls | p99 | to idle | longest | overshoot |");
    println!("|---|--:|--:|--:|--:|--:|--:|");
    for (name, limits) in [smallest(), usual(), largest()] {
        let fixtures = hostile();
        let Visit {
            mut waits,
            overshoot,
        } = visit(&fixtures, limits).await;
        let (p99, longest) = (p99(&mut waits), waits[waits.len() - 1]);
        println!(
            "| {name} | {} | {} | {p99:.1?} | {:.1} | {longest:.1?} | {overshoot:.1?} |",
            fixtures.len(),
            waits.len(),
            p99.as_secs_f64() / idle.as_secs_f64(),
        );
    }
}

/// Memory in KiB, mappings, descriptors and threads of this process.
#[derive(Debug, Clone, Copy)]
struct Held {
    memory_kib: u64,
    mappings: usize,
    descriptors: usize,
    threads: usize,
}

fn held() -> Held {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let memory = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    Held {
        memory_kib: memory.split_whitespace().next().unwrap().parse().unwrap(),
        mappings: fs::read_to_string("/proc/self/maps")
            .unwrap()
            .lines()
            .count(),
        descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
        threads: fs::read_dir("/proc/self/task").unwrap().count(),
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: scripts/zoo.sh"]
async fn a_hundred_thousand_loads_leave_nothing() {
    const LOADS: u64 = 100_000;
    let engine = WasmtimeEngine::new(EngineConfig::default(), HostServices::default()).unwrap();
    let config = ComponentConfig::new(usual().1);
    let id: ComponentId = "demo/visitor/main".parse().unwrap();
    let message = || ComponentMessage::new(id.clone(), id.clone(), "go");
    let mut early = None;
    for load in 1..=LOADS {
        let crashes = load % 10 == 0;
        let wasm = if crashes { TRAP.wasm } else { ECHO.wasm };
        let handle = engine
            .load_component(&id, wasm.into(), config.clone())
            .await
            .unwrap();
        let reply = engine.call_handle_message(&handle, message()).await;
        assert_eq!(
            matches!(reply, Err(WasmError::Trapped { .. })),
            crashes,
            "{load}"
        );
        let unloaded = engine.unload_component(&handle).await;
        assert!(crashes || unloaded.is_ok(), "{unloaded:?}");
        if load % (LOADS / 10) == 0 {
            let held = held();
            println!("{load} loads: {held:?}");
            early.get_or_insert(held);
        }
    }
    let (early, late) = (early.unwrap(), held());
    // A MiB and a few of the others are what an allocator and the test's own threads vary by.
    assert!(
        late.memory_kib < early.memory_kib + 1_024 * 4,
        "{early:?} {late:?}"
    );
    assert!(late.mappings < early.mappings + 16, "{early:?} {late:?}");
    assert!(
        late.descriptors < early.descriptors + 4,
        "{early:?} {late:?}"
    );
    assert!(late.threads < early.threads + 4, "{early:?} {late:?}");
}
