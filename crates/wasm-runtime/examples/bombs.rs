//! What loading bombs costs a host: `cargo run --example bombs -- [--in-process] [KIND...]`.
//!
//! Each of [`wasm_fixtures::bombs`] at three sizes is loaded by a fresh host, a process
//! of its own, which is this program again. That host keeps another component, which it
//! calls all along, and compiles in a child unless it is told otherwise. Linux only, for
//! what is read from `/proc`. `scripts/bombs.sh` builds and runs it.

use std::env;
use std::error::Error;
use std::fs;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentId, ComponentMessage, Defect, HostServices,
    ResourceLimits, WasmError,
};
use wasm_fixtures::ECHO;
use wasm_fixtures::bombs::{self, Bomb, MEDIUM_BYTES, Outcome, SMALL_BYTES};
use wasm_runtime::{Compiler, CompilerProcess, EngineConfig, WasmtimeEngine};

/// By how much a host may grow.
const MOST_GROWTH_BYTES: u64 = 64 << 20;

/// How long a neighbour may wait for its answer.
const LONGEST_WAIT: Duration = Duration::from_millis(50);

/// How often the neighbour is called, and the compiler looked at.
const PERIOD: Duration = Duration::from_millis(2);

type Failure = Box<dyn Error>;

fn main() -> Result<ExitCode, Failure> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["--one", kind, bytes, place] => {
            let bomb = bombs::ALL.iter().find(|bomb| bomb.kind == *kind);
            let bomb = bomb.ok_or_else(|| format!("there is no bomb {kind}"))?;
            println!("{}", one(bomb, bytes.parse()?, *place == "in-process")?);
            Ok(ExitCode::SUCCESS)
        }
        ["--in-process", kinds @ ..] => all(kinds, "in-process"),
        kinds => all(kinds, "child"),
    }
}

/// Each in a process of its own, and a table of them.
fn all(kinds: &[&str], place: &str) -> Result<ExitCode, Failure> {
    let largest = usize::try_from(EngineConfig::default().max_component_bytes())?;
    println!(
        "| bomb | file | ends with | host grows by | neighbour waits (before) | child's peak | CPU | time | left over | |"
    );
    println!("|---|--:|---|--:|--:|--:|--:|--:|--:|---|");
    let (mut loaded, mut failed) = (0, 0);
    for bomb in bombs::ALL {
        if !kinds.is_empty() && !kinds.contains(&bomb.kind) {
            continue;
        }
        for bytes in [SMALL_BYTES, MEDIUM_BYTES, largest] {
            let output = Command::new(env::current_exe()?)
                .args(["--one", bomb.kind, &bytes.to_string(), place])
                .output()?;
            loaded += 1;
            let row = String::from_utf8_lossy(&output.stdout);
            let row = row.trim_end();
            if output.status.success() {
                println!("{row}");
            } else {
                let said = String::from_utf8_lossy(&output.stderr);
                let said = said.lines().last().unwrap_or_default();
                println!(
                    "| {}-{bytes} | | {}: {said} | | | | | | | HOST LOST |",
                    bomb.kind, output.status
                );
            }
            failed += u32::from(!row.ends_with("| ok |"));
        }
    }
    println!("\n{loaded} bombs, {failed} not bounded");
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Loads one and tells what that took, as a row of the table.
fn one(bomb: &Bomb, bytes: usize, in_process: bool) -> Result<String, Failure> {
    let wasm = bomb.of_bytes(bytes);
    let size = wasm.len();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()?;
    let config = if in_process {
        EngineConfig::default()
    } else {
        EngineConfig::default().with_compiler(Compiler::Process(CompilerProcess::new(compiler()?)))
    };
    let engine = Arc::new(WasmtimeEngine::new(config, HostServices::default())?);
    let limits = ResourceLimits::new(2 << 20, Duration::from_secs(60), Some(100_000_000))?;
    let config = ComponentConfig::new(limits);
    let id: ComponentId = "demo/neighbour/main".parse()?;
    let neighbour =
        runtime.block_on(engine.load_component(&id, ECHO.wasm.into(), config.clone()))?;

    let waits = Arc::new(Waits::default());
    runtime.spawn(call_all_along(engine.clone(), neighbour, waits.clone()));
    thread::sleep(Duration::from_millis(300));
    let before_it = waits.longest();
    let peak = Arc::new(AtomicU64::new(0));
    watch_children(peak.clone());

    // The peak of the process counts from here.
    fs::write("/proc/self/clear_refs", "5")?;
    let held = status_bytes("self", "VmRSS:");
    let cpu_before = cpu()?;
    let began = Instant::now();
    let id: ComponentId = "demo/bomb/main".parse()?;
    let preparing = engine.prepare_component(&id, wasm.into(), &config);
    let ended = runtime.block_on(preparing).map(drop);
    let took = began.elapsed();
    let cpu = cpu()?.saturating_sub(cpu_before);
    let grown = status_bytes("self", "VmHWM:").saturating_sub(held);
    let longest = waits.longest();
    if waits.failed.load(Ordering::Relaxed) {
        return Err("the neighbour failed".into());
    }
    let left = children().len();

    let told = outcome(bomb.outcome, &ended);
    let mut wrong = Vec::new();
    if !told {
        wrong.push("OUTCOME");
    }
    if grown > MOST_GROWTH_BYTES {
        wrong.push("MEMORY");
    }
    if longest > LONGEST_WAIT {
        wrong.push("WAIT");
    }
    if left > 0 {
        wrong.push("LEFT OVER");
    }
    let verdict = if wrong.is_empty() {
        "ok".to_owned()
    } else {
        wrong.join(", ")
    };
    Ok(format!(
        "| {}-{bytes} | {size} | {} | {} MiB | {:.1} ms ({:.1} ms) | {} MiB | {:.2} s | {:.2} s | {left} | {verdict} |",
        bomb.kind,
        short(&ended),
        grown >> 20,
        millis(longest),
        millis(before_it),
        peak.load(Ordering::Relaxed) >> 20,
        cpu.as_secs_f64(),
        took.as_secs_f64(),
    ))
}

/// The helper, which is built beside this example's folder.
fn compiler() -> Result<std::path::PathBuf, Failure> {
    let path = env::current_exe()?.with_file_name("");
    let helper = path
        .parent()
        .ok_or("there is no folder above")?
        .join("airssys-wasm-compiler");
    if !helper.exists() {
        return Err(format!("{} is not built", helper.display()).into());
    }
    Ok(helper)
}

#[derive(Default)]
struct Waits {
    longest_micros: AtomicU64,
    /// When the call that is under way began: one that hangs counts as well.
    under_way: Mutex<Option<Instant>>,
    failed: AtomicBool,
}

impl Waits {
    /// Since the last time this was asked.
    fn longest(&self) -> Duration {
        let ended = Duration::from_micros(self.longest_micros.swap(0, Ordering::Relaxed));
        let began = *self
            .under_way
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        ended.max(began.map_or(Duration::ZERO, |began| began.elapsed()))
    }

    fn note(&self, began: Option<Instant>) {
        *self
            .under_way
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = began;
    }
}

async fn call_all_along(engine: Arc<WasmtimeEngine>, to: ComponentHandle, waits: Arc<Waits>) {
    loop {
        let began = Instant::now();
        waits.note(Some(began));
        let message = ComponentMessage::new(to.id().clone(), to.id().clone(), "hello");
        let reply = engine.call_handle_message(&to, message).await;
        waits.note(None);
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        waits.longest_micros.fetch_max(micros, Ordering::Relaxed);
        if reply.ok() != Some(Some("hello".into())) {
            waits.failed.store(true, Ordering::Relaxed);
            return;
        }
        tokio::time::sleep(PERIOD).await;
    }
}

fn watch_children(peak: Arc<AtomicU64>) {
    thread::spawn(move || {
        loop {
            for child in children() {
                peak.fetch_max(status_bytes(&child, "VmHWM:"), Ordering::Relaxed);
            }
            thread::sleep(PERIOD);
        }
    });
}

/// The processes whose parent is this one.
fn children() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    tasks
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|pids| {
            pids.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
}

/// A line of `/proc/PID/status` that is in KiB; zero of a process that has ended.
fn status_bytes(process: &str, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    kib.map_or(0, |kib: u64| kib << 10)
}

/// Of this process and of its children that were waited for.
fn cpu() -> Result<Duration, Failure> {
    /// What `/proc` counts in, on every Linux.
    const TICKS_PER_SECOND: u64 = 100;
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, after_name) = stat.rsplit_once(')').ok_or("stat has no name")?;
    let fields = after_name.split_whitespace().skip(11).take(4);
    let ticks: u64 = fields.map(|field| field.parse::<u64>().unwrap_or(0)).sum();
    Ok(Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// Whether it ended as its row in the table of bombs says.
fn outcome(expected: Outcome, ended: &Result<(), WasmError>) -> bool {
    let defect = match ended {
        Err(WasmError::InvalidComponent { defect, .. }) => Some(defect),
        _ => None,
    };
    match expected {
        Outcome::Malformed => matches!(defect, Some(Defect::Malformed { .. })),
        Outcome::Bounded => {
            ended.is_ok() || !matches!(defect, None | Some(Defect::Malformed { .. }))
        }
        Outcome::Refused => ended.is_err(),
    }
}

fn short(ended: &Result<(), WasmError>) -> String {
    let text = match ended {
        Ok(()) => "accepted".to_owned(),
        Err(WasmError::InvalidComponent { defect, .. }) => defect.to_string(),
        Err(error) => error.to_string(),
    };
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|c| *c != '|').take(100).collect()
}
