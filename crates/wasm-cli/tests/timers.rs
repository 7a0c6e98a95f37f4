//! Timers of a component on wasmtime: each comes once, not early, and leaves what it stores,
//! however often the process is killed in between.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::env;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use tokio::time::sleep;

use wasm_core::{ComponentConfig, ComponentId, ComponentStorage, ResourceLimits};
use wasm_host::{Component, Host, HostBuilder, RedbStorage};
use wasm_runtime::{EngineConfig, WasmtimeEngine};

/// Set for the process that is to be killed: the round and the file.
const VICTIM: &str = "WASM_TIMER_VICTIM";

const PATIENCE: Duration = Duration::from_secs(60);

fn alarm() -> ComponentId {
    "demo/alarm/main".parse().unwrap()
}

async fn start(storage: &Arc<RedbStorage>) -> Host<WasmtimeEngine> {
    let host = HostBuilder::new()
        .with_storage(Arc::clone(storage) as Arc<_>)
        .start(|services| WasmtimeEngine::new(EngineConfig::default(), services).map(Arc::new))
        .unwrap();
    let limits = ResourceLimits::new(1 << 20, Duration::from_secs(5), Some(10_000_000)).unwrap();
    let mut config = ComponentConfig::new(limits);
    config.permissions.storage = Some(64 << 20);
    let wasm = wasm_fixtures::ALARM.wasm;
    host.load(Component::new(alarm(), wasm, config))
        .await
        .unwrap();
    host
}

fn now_millis() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// The answer to a request.
async fn told(host: &Host<WasmtimeEngine>, text: String) -> Result<String, String> {
    let reply = host.request(&alarm(), text, PATIENCE).await;
    let reply = reply.map_err(|error| error.to_string())?.unwrap();
    Ok(String::from_utf8(reply.as_bytes().to_vec()).unwrap())
}

/// Sets a timer that is due after so many milliseconds; its name, which ends in when it is due.
/// `None` if the component has too many.
async fn set(host: &Host<WasmtimeEngine>, delay: u64, name: &str) -> Option<String> {
    let name = format!("{name}-{}", now_millis() + delay);
    match told(host, format!("{delay} {name}")).await {
        Ok(_) => Some(name),
        Err(error) => {
            assert!(error.contains("too-many"), "{error}");
            None
        }
    }
}

/// Waits until none is left.
async fn all_come(host: &Host<WasmtimeEngine>, storage: &RedbStorage) {
    let timers = ComponentId::new("host", "timers", "main").unwrap();
    let left = async || storage.list_keys(&timers, "", None, 1).await.unwrap();
    while !left().await.is_empty() {
        sleep(Duration::from_millis(10)).await;
    }
    host.drain(PATIENCE).await.unwrap();
}

/// Whether the timer of this name came, which it did once and not early.
async fn came(storage: &RedbStorage, name: &str) -> bool {
    let Some(times) = storage.get(&alarm(), name).await.unwrap() else {
        return false;
    };
    let times = String::from_utf8(times.to_vec()).unwrap();
    let due: u64 = name.rsplit('-').next().unwrap().parse().unwrap();
    let times: Vec<u64> = times
        .split_whitespace()
        .map(|time| time.parse().unwrap())
        .collect();
    assert_eq!(times.len(), 1, "{name} came at {times:?}");
    assert!(times[0] >= due, "{name} came at {times:?}");
    true
}

#[tokio::test]
async fn a_timer_comes_once_and_is_taken_back() {
    let folder = TempDir::new().unwrap();
    let storage = Arc::new(RedbStorage::open(folder.path().join("store")).unwrap());
    let host = start(&storage).await;
    let name = set(&host, 30, "once").await.unwrap();
    assert!(!came(&storage, &name).await);
    let other = told(&host, "3600000 never".to_owned()).await.unwrap();
    assert_eq!(
        told(&host, format!("cancel {other}")).await.unwrap(),
        "true"
    );
    assert_eq!(
        told(&host, format!("cancel {other}")).await.unwrap(),
        "false"
    );
    all_come(&host, &storage).await;
    assert!(came(&storage, &name).await);
    assert_eq!(storage.get(&alarm(), "never").await.unwrap(), None);
    // What is out of bounds is refused by name.
    let refused = told(&host, format!("{} late", u64::MAX)).await.unwrap_err();
    assert!(refused.contains("invalid"), "{refused}");
    host.stop().await;
}

#[test]
fn each_timer_comes_once_whenever_the_process_is_killed() {
    survive(10);
}

#[test]
#[ignore = "two minutes"]
fn each_timer_comes_once_over_200_kills() {
    survive(200);
}

/// Is killed by the tests above, and does nothing without them.
#[test]
fn victim() {
    let Ok(text) = env::var(VICTIM) else {
        return;
    };
    let (round, path) = text.split_once(' ').unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let storage = Arc::new(RedbStorage::open(path).unwrap());
        let host = start(&storage).await;
        for number in 0_u64.. {
            if let Some(name) = set(&host, number * 7 % 40, &format!("{round}-{number}")).await {
                eprintln!("set {name}");
            }
        }
    });
}

fn survive(kills: usize) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    let mut set = BTreeSet::new();
    for round in 0..kills {
        set.extend(kill_one(&path, round));
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let missing = runtime.block_on(async {
        let storage = Arc::new(RedbStorage::open(&path).unwrap());
        let host = start(&storage).await;
        all_come(&host, &storage).await;
        let mut missing = 0;
        for name in &set {
            missing += usize::from(!came(&storage, name).await);
        }
        host.stop().await;
        missing
    });
    println!(
        "{kills} kills: {} timers were set, {missing} were being handled when the process was \
         killed",
        set.len()
    );
    assert!(!set.is_empty() && missing <= kills, "{missing} are missing");
}

/// The timers that were set before the process was killed, as it said.
fn kill_one(path: &Path, round: usize) -> Vec<String> {
    let mut victim = Command::new(env::current_exe().unwrap())
        .args(["victim", "--exact", "--nocapture"])
        .env(VICTIM, format!("{round} {}", path.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = BufReader::new(victim.stderr.take().unwrap());
    let listening = thread::spawn(move || {
        let lines = stderr.lines().map_while(Result::ok);
        lines.collect::<Vec<_>>()
    });
    let micros = SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_micros();
    thread::sleep(Duration::from_millis(250 + u64::from(micros % 400)));
    victim.kill().unwrap();
    victim.wait().unwrap();
    let lines = listening.join().unwrap();
    lines
        .iter()
        .map(|line| {
            let name = line.strip_prefix("set ");
            name.unwrap_or_else(|| panic!("round {round}: {lines:?}"))
                .to_owned()
        })
        .collect()
}
