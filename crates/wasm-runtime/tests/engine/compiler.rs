//! Compiling in a process of its own.

use std::path::PathBuf;
use std::time::Duration;

use wasm_core::{Defect, HostServices, WasmError};
use wasm_fixtures::{ALL, ECHO};
use wasm_runtime::{Compiler, CompilerLimits, CompilerProcess, EngineConfig, WasmtimeEngine};

use crate::complexity::{function, padded};
use crate::support::{config, engine, id, message, within};

fn process() -> CompilerProcess {
    CompilerProcess::new(env!("CARGO_BIN_EXE_airssys-wasm-compiler"))
}

fn engine_of(process: CompilerProcess) -> WasmtimeEngine {
    let config = EngineConfig::default().with_compiler(Compiler::Process(process));
    WasmtimeEngine::new(config, HostServices::default()).unwrap()
}

async fn outcome(engine: &WasmtimeEngine, wasm: Vec<u8>) -> Result<(), WasmError> {
    let id = id("demo/stranger/main");
    let prepared = within(engine.prepare_component(&id, wasm.into(), &config())).await;
    prepared.map(drop)
}

async fn defect(engine: &WasmtimeEngine, wasm: Vec<u8>) -> Defect {
    match outcome(engine, wasm).await {
        Err(WasmError::InvalidComponent { defect, .. }) => defect,
        other => panic!("{other:?}"),
    }
}

async fn failure(engine: &WasmtimeEngine) -> String {
    match outcome(engine, ECHO.wasm.to_vec()).await {
        Err(WasmError::InstantiationFailed { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

/// What takes seconds and hundreds of megabytes to compile: functions with almost as many
/// values to keep across branches as are accepted.
fn slow() -> Vec<u8> {
    let body = function(900, &" loop local.get 0 br_if 0 end".repeat(900));
    let module = body.repeat(6);
    let wasm = wat::parse_str(format!("(component (core module {module}))")).unwrap();
    padded(wasm, 8 << 20)
}

#[tokio::test]
async fn what_a_process_compiles_runs() {
    let engine = engine_of(process());
    let id = id("demo/echo/main");
    let load = engine.load_component(&id, ECHO.wasm.into(), config());
    let echo = within(load).await.unwrap();
    let reply = engine.call_handle_message(&echo, message(&echo, "hello"));
    assert_eq!(within(reply).await.unwrap(), Some("hello".into()));
}

#[tokio::test]
#[ignore = "compiles every fixture twice: .ci/run"]
async fn it_says_of_every_fixture_what_this_process_says() {
    let (inside, outside) = (engine(), engine_of(process()));
    for fixture in ALL {
        let said = |outcome: Result<(), WasmError>| outcome.map_err(|error| error.to_string());
        let (expected, found) = tokio::join!(
            outcome(&inside, fixture.wasm.to_vec()),
            outcome(&outside, fixture.wasm.to_vec()),
        );
        assert_eq!(said(found), said(expected), "{}", fixture.name);
    }
}

#[tokio::test]
async fn a_component_that_takes_too_much_memory_is_refused() {
    let limits = CompilerLimits::default().with_memory_bytes(48 << 20);
    let engine = engine_of(process().with_limits(limits));
    let found = defect(&engine, slow()).await;
    let expected = Defect::CostlyToCompile {
        what: "memory",
        limit: "48MiB".into(),
        setting: "memory",
    };
    assert_eq!(found, expected);
    assert_eq!(
        outcome(&engine, ECHO.wasm.to_vec())
            .await
            .map_err(|e| e.to_string()),
        Ok(())
    );
}

#[tokio::test]
async fn a_component_that_takes_too_long_is_refused() {
    let limits = CompilerLimits::default().with_timeout(Duration::from_millis(1));
    let engine = engine_of(process().with_limits(limits));
    let expected = Defect::CostlyToCompile {
        what: "time",
        limit: "1ms".into(),
        setting: "timeout",
    };
    assert_eq!(defect(&engine, slow()).await, expected);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_component_that_takes_too_much_of_the_processor_is_refused() {
    let limits = CompilerLimits::default().with_cpu(Duration::from_secs(1));
    let engine = engine_of(process().with_limits(limits));
    let expected = Defect::CostlyToCompile {
        what: "processor time",
        limit: "1s".into(),
        setting: "cpu",
    };
    assert_eq!(defect(&engine, slow()).await, expected);
}

#[tokio::test]
async fn what_would_be_kept_is_bounded() {
    let config = |bytes| {
        EngineConfig::default()
            .with_max_host_bytes(bytes)
            .with_compiler(Compiler::Process(process()))
    };
    let engine = |bytes| WasmtimeEngine::new(config(bytes), HostServices::default()).unwrap();
    let Defect::HostMemory {
        bytes: Some(bytes),
        limit,
    } = defect(&engine(100 << 10), ECHO.wasm.to_vec()).await
    else {
        panic!("it is not refused for what it keeps");
    };
    assert!(bytes > limit, "{bytes}");
    let exactly = outcome(&engine(bytes), ECHO.wasm.to_vec()).await;
    assert_eq!(exactly.map_err(|error| error.to_string()), Ok(()));
    let less = defect(&engine(bytes - 1), ECHO.wasm.to_vec()).await;
    let limit = bytes - 1;
    let bytes = Some(bytes);
    assert_eq!(less, Defect::HostMemory { bytes, limit });
    // So much is not even written.
    let unwritten = defect(&engine(1 << 10), ECHO.wasm.to_vec()).await;
    let limit = 1 << 10;
    assert_eq!(unwritten, Defect::HostMemory { bytes: None, limit });
}

#[tokio::test]
async fn a_compiler_that_is_none_is_named() {
    let missing = failure(&engine_of(CompilerProcess::new("no/such/compiler"))).await;
    assert!(
        missing.starts_with("the compiler no/such/compiler could not be started: ")
            && missing.ends_with("(`with_compiler` in EngineConfig)"),
        "{missing}"
    );
    let silent = failure(&engine_of(CompilerProcess::new("true"))).await;
    assert_eq!(
        silent,
        "the compiler ended without a result (exit status: 0)"
    );
    let talks = CompilerProcess::new("sh").with_argument("-c");
    let talks = talks.with_argument("printf 'compiled 1\\nhm\\n' >&2; exit 3");
    let talks = failure(&engine_of(talks)).await;
    assert_eq!(
        talks,
        "the compiler ended without a result (exit status: 3): compiled 1\\u{a}hm"
    );
    let lies = CompilerProcess::new("sh").with_argument("-c");
    let lies = lies.with_argument("echo no code; echo compiled 1 >&2");
    let lies = failure(&engine_of(lies)).await;
    assert!(
        lies.starts_with("what the compiler made cannot be loaded: "),
        "{lies}"
    );
}

/// Whatever it says, and in however many words.
#[cfg(unix)]
#[tokio::test]
async fn a_compiler_is_listened_to_for_so_long() {
    let talks = |script: &str| {
        let shell = CompilerProcess::new("sh").with_argument("-c");
        engine_of(shell.with_argument(script))
    };
    let little = "head -c 60000 /dev/zero | tr '\\0' x >&2; exit 3";
    let said = failure(&talks(little)).await;
    let (status, said) = said.split_once(": 3): ").unwrap();
    assert!(status.ends_with("exit status"), "{status}");
    assert_eq!(said, format!("{}…", "x".repeat(500)));
    // What it says then is not waited for.
    let much = "head -c 70000 /dev/zero | tr '\\0' x >&2; sleep 10; exit 3";
    let said = failure(&talks(much)).await;
    assert!(said.contains("SIGKILL"), "{said}");
    // As by a system whose memory is used up.
    assert_eq!(
        failure(&talks("kill -KILL $$")).await,
        "the compiler ended without a result (signal: 9 (SIGKILL)), as where the system has no \
         memory left"
    );
}

/// By its report, or by the signal that ended it.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_ended_a_compiler_is_told() {
    let costly = |what, limit: &str, setting| Defect::CostlyToCompile {
        what,
        limit: limit.into(),
        setting,
    };
    let memory = costly("memory", "1GiB", "memory");
    let kept = Defect::HostMemory {
        bytes: None,
        limit: 256 << 20,
    };
    let of_allocation = "echo 'memory allocation of 64 bytes failed' >&2; kill -ABRT $$";
    for (script, expected) in [
        ("echo out-of-memory >&2; exit 1", &memory),
        (of_allocation, &memory),
        ("echo file-too-large >&2; exit 1", &kept),
        ("kill -XFSZ $$", &kept),
        ("kill -XCPU $$", &costly("processor time", "1min", "cpu")),
        (
            "echo malformed it ends early >&2; exit 1",
            &Defect::Malformed {
                reason: "it ends early".to_owned(),
            },
        ),
    ] {
        let shell = CompilerProcess::new("sh").with_argument("-c");
        let engine = engine_of(shell.with_argument(script));
        assert_eq!(
            &defect(&engine, ECHO.wasm.to_vec()).await,
            expected,
            "{script}"
        );
    }
    // Neither that alone nor aborting alone means that there was no memory.
    for (script, said) in [
        (
            "echo 'memory allocation of 64 bytes failed' >&2; exit 1",
            "exit status: 1",
        ),
        ("kill -ABRT $$", "SIGABRT"),
    ] {
        let shell = CompilerProcess::new("sh").with_argument("-c");
        let reason = failure(&engine_of(shell.with_argument(script))).await;
        assert!(reason.contains(said), "{script}: {reason}");
    }
}

/// Where the signal is ignored with which the system ends it otherwise.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_compiler_that_can_write_no_more_says_so() {
    let script = format!(
        "trap '' XFSZ; exec {} \"$@\"",
        env!("CARGO_BIN_EXE_airssys-wasm-compiler")
    );
    let shell = CompilerProcess::new("sh").with_argument("-c");
    let shell = shell.with_argument(script).with_argument("compiler");
    let config = EngineConfig::default()
        .with_max_host_bytes(1 << 10)
        .with_compiler(Compiler::Process(shell));
    let engine = WasmtimeEngine::new(config, HostServices::default()).unwrap();
    let (bytes, limit) = (None, 1 << 10);
    let found = defect(&engine, ECHO.wasm.to_vec()).await;
    assert_eq!(found, Defect::HostMemory { bytes, limit });
}

/// As a user who types its name finds out.
#[test]
fn a_compiler_without_an_engine_says_what_it_is_for() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_airssys-wasm-compiler"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("an engine, which starts it"), "{said}");
}

/// Three that take long, of four that may be compiled at a time, hold up nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_behind_a_component_that_takes_long() {
    // They go on when this test is over, and would take the processors from others.
    let limits = CompilerLimits::default().with_cpu(Duration::from_secs(1));
    let engine = engine_of(process().with_processes(4).with_limits(limits));
    let slow = slow();
    let long: Vec<_> = (0..3)
        .map(|i| {
            // Each with bytes of its own, or they would wait for one compilation.
            let mut wasm = slow.clone();
            wasm.extend([0, 3, 1, b'n', i]);
            let engine = &engine;
            async move { outcome(engine, wasm).await }
        })
        .collect();
    let echo = outcome(&engine, ECHO.wasm.to_vec());
    tokio::select! {
        biased;
        () = async {
            let [a, b, c] = long.try_into().ok().unwrap();
            tokio::select! { _ = a => {}, _ = b => {}, _ = c => {} }
        } => panic!("what takes long was done first"),
        done = echo => assert_eq!(done.map_err(|error| error.to_string()), Ok(())),
    }
}

/// The tests of what a compiler gives up, which the kernel has to support.
#[cfg(target_os = "linux")]
mod confined {
    use super::*;

    fn children() -> Vec<u32> {
        let own = PathBuf::from("/proc/self/task");
        let tasks = std::fs::read_dir(own).unwrap();
        let children = tasks.map(|task| {
            let file = task.unwrap().path().join("children");
            std::fs::read_to_string(file).unwrap_or_default()
        });
        let text: String = children.collect();
        text.split_whitespace()
            .map(|child| child.parse().unwrap())
            .collect()
    }

    #[tokio::test]
    async fn nothing_is_left_of_a_compiler() {
        // By which it is told from those of other tests: it is an argument of the compiler.
        const CPU_SECONDS: u64 = 47;
        let limits = CompilerLimits::default()
            .with_timeout(Duration::from_millis(200))
            .with_cpu(Duration::from_secs(CPU_SECONDS));
        let engine = engine_of(process().with_limits(limits));
        let is_compiler = |child: &u32| {
            let command = std::fs::read_to_string(format!("/proc/{child}/cmdline"));
            command.is_ok_and(|command| {
                let cpu = format!("\0{CPU_SECONDS}\0");
                command.contains("wasm-compiler") && command.contains(&cpu)
            })
        };
        let begun = async {
            while !children().iter().any(is_compiler) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let (what, ()) = tokio::join!(defect(&engine, slow()), within(begun));
        assert!(matches!(what, Defect::CostlyToCompile { .. }), "{what:?}");
        let mut compilers = children();
        let left = async {
            loop {
                compilers.retain(is_compiler);
                if compilers.is_empty() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(left).await;
    }
}

/// It is not damaged; wherever it is compiled, the same is said.
#[tokio::test]
async fn what_the_engine_does_not_run_is_named() {
    let in_process = engine();
    let of_its_own = engine_of(process());
    for (text, name) in [
        ("(core module (tag))", "exceptions"),
        ("(core module (type (struct)))", "garbage collection"),
        ("(core module (memory 1 1 shared))", "threads"),
        ("(core module (memory 1 (pagesize 1)))", "custom page sizes"),
        (
            "(core module (func (param i64 i64) (result i64 i64)
               local.get 0 local.get 1 i64.mul_wide_u))",
            "wide arithmetic",
        ),
        (
            "(type (list u8 4))",
            "lists of fixed length in the component model",
        ),
        (
            "(type (func async))",
            "asynchronous functions of the component model",
        ),
    ] {
        let wasm = wat::parse_str(format!("(component {text})")).unwrap();
        for engine in [&in_process, &of_its_own] {
            match defect(engine, wasm.clone()).await {
                Defect::Unsupported { proposals, .. } => {
                    assert!(proposals.contains(&name), "{text}: {proposals:?}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }
    // What is wrong with or without it is damaged.
    let damaged = "(component (core module (tag) (func (result i32))))";
    let defect = defect(&in_process, wat::parse_str(damaged).unwrap()).await;
    assert!(matches!(defect, Defect::Malformed { .. }), "{defect:?}");
}
