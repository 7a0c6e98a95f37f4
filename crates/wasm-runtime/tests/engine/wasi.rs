use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tempfile::{TempDir, tempdir};

use wasm_core::{
    Capability, ComponentConfig, ComponentHandle, ComponentState, DirAccess, GuestError,
    HealthStatus, HostServices, Permissions, Timestamp, Trap, WasiGrant, WasmError,
};
use wasm_fixtures::{RANDOM_64M, WASI_SLEEP};
use wasm_runtime::WasmtimeEngine;
use wasm_runtime::wasmtime::component::Val;
use wasm_testkit::{ManualClock, RecordingValidator};

use crate::support::{
    Line, Transcript, ask, config, engine, engine_with, id, load, permitted, poll_once, send,
    timed, within,
};

/// A component of another toolchain: wasi-libc and the generated bindings.
async fn load_c_echo(engine: &WasmtimeEngine, config: ComponentConfig) -> ComponentHandle {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/c-echo/echo.wasm");
    let bytes = Bytes::from(fs::read(path).unwrap());
    let id = id("demo/c-echo/main");
    engine.load_component(&id, bytes, config).await.unwrap()
}

fn granted(grants: impl IntoIterator<Item = WasiGrant>) -> ComponentConfig {
    let mut permissions = Permissions::default();
    permissions.wasi.extend(grants);
    config().with_permissions(permissions)
}

fn dir(host: PathBuf, access: DirAccess) -> WasiGrant {
    WasiGrant::Dir {
        guest: "/data".to_owned(),
        host,
        access,
        quota: None,
    }
}

/// `secret` beside the directory `granted`, in which are `file` and a link out.
fn two_rooms() -> (TempDir, PathBuf) {
    let house = tempdir().unwrap();
    let granted = house.path().join("granted");
    fs::create_dir(&granted).unwrap();
    fs::write(house.path().join("secret"), "the secret").unwrap();
    fs::write(granted.join("file"), "the content").unwrap();
    std::os::unix::fs::symlink("../secret", granted.join("link")).unwrap();
    std::os::unix::fs::symlink(house.path().join("secret"), granted.join("absolute")).unwrap();
    std::os::unix::fs::symlink("..", granted.join("up")).unwrap();
    (house, granted)
}

/// `ERRNO TEXT`, as wasi-libc and the component say it.
#[track_caller]
fn is_errno(reply: &str, allowed: &[u32]) {
    let number = reply.split(' ').next().unwrap().parse::<u32>();
    assert!(number.is_ok_and(|n| allowed.contains(&n)), "{reply}");
}

const ENOENT: u32 = 44;
const EPERM: u32 = 63;
const EROFS: u32 = 69;
const ENOTCAPABLE: u32 = 76;

#[tokio::test]
async fn a_component_of_another_toolchain_behaves_like_any_other() {
    let engine = engine();
    let echo = load_c_echo(&engine, permitted().with_env("GREETING", "hello")).await;
    for payload in ["hi", "", "\0\u{1}", &"x".repeat(100_000)] {
        assert_eq!(ask(&engine, &echo, payload.to_owned()).await, payload);
    }
    assert_eq!(ask(&engine, &echo, "whoami").await, "demo/c-echo/main");
    assert_eq!(ask(&engine, &echo, "config GREETING").await, "hello");
    assert_eq!(ask(&engine, &echo, "config OTHER").await, "unset");
    assert_eq!(ask(&engine, &echo, "put k v").await, "stored");
    assert_eq!(ask(&engine, &echo, "get k").await, "v");
    assert_eq!(ask(&engine, &echo, "get l").await, "none");
    assert_eq!(engine.health(&echo).await.unwrap(), HealthStatus::Healthy);
    let metadata = engine.metadata(&echo).await.unwrap();
    assert_eq!((&*metadata.name, metadata.stateful), ("c-echo", false));
    let error = send(&engine, &echo, "fail for me").await.unwrap_err();
    assert!(
        matches!(&error, WasmError::GuestError { error: GuestError::RuntimeError(text), .. }
            if text == "for me"),
        "{error}"
    );
    let error = send(&engine, &echo, "abort").await.unwrap_err();
    assert!(
        matches!(
            &error,
            WasmError::Trapped {
                trap: Trap::Unreachable,
                ..
            }
        ),
        "{error}"
    );
    engine.restart_component(&echo).await.unwrap();
    assert_eq!(ask(&engine, &echo, "get k").await, "v");
    engine.unload_component(&echo).await.unwrap();
}

#[tokio::test]
async fn what_is_not_granted_fails_inside_the_guest() {
    let (_house, granted) = two_rooms();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let engine = engine();
    let config = permitted().with_env("HOME", "/root");
    let echo = load_c_echo(&engine, config).await;
    let file = granted.join("file");
    for path in [
        "/etc/passwd",
        "file",
        "../file",
        "/",
        ".",
        file.to_str().unwrap(),
    ] {
        for command in [format!("open {path}"), format!("write {path} text")] {
            let reply = ask(&engine, &echo, command).await;
            is_errno(&reply, &[8, ENOENT, EPERM, ENOTCAPABLE]);
        }
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "the content");
    for name in ["HOME", "PATH"] {
        let value = ask(&engine, &echo, format!("getenv {name}")).await;
        assert_eq!(value, "unset");
    }
    let reply = ask(&engine, &echo, format!("connect 127.0.0.1 {port}")).await;
    assert!(reply.contains("access-denied"), "{reply}");
    let reply = ask(&engine, &echo, "connect localhost 80").await;
    assert!(reply.starts_with("lookup: "), "{reply}");
    let usage = engine.usage(&echo).unwrap();
    assert_eq!((usage.state, usage.traps), (ComponentState::Ready, 0));
}

/// As a request that it may not send is.
#[tokio::test]
async fn what_is_not_granted_of_the_network_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let port = address.port();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = other.local_addr().unwrap().port();
    let validator = Arc::new(RecordingValidator::new());
    let services = HostServices::default().with_validator(Arc::clone(&validator) as _);
    let engine = engine_with(services);
    let denials = || -> Vec<Capability> {
        let denials = validator.take_denials();
        denials.into_iter().map(|(_, it)| it.capability).collect()
    };
    let connects = granted([WasiGrant::Connect(address)]);
    let none = load_c_echo(&engine, config()).await;
    let connect = format!("connect 127.0.0.1 {port}");
    assert_eq!(
        ask(&engine, &none, connect.clone()).await,
        "socket: access-denied"
    );
    assert_eq!(denials(), [Capability::TcpSocket]);
    let looked_up = ask(&engine, &none, "connect a.example.com 80").await;
    assert_eq!(looked_up, "lookup: permanent-resolver-failure");
    assert_eq!(denials(), [Capability::LookUp("a.example.com".to_owned())]);
    engine.unload_component(&none).await.unwrap();
    let one = load_c_echo(&engine, connects).await;
    assert_eq!(ask(&engine, &one, connect.clone()).await, "connected");
    assert_eq!(denials(), []);
    let elsewhere = ask(&engine, &one, format!("connect 127.0.0.1 {other}")).await;
    assert!(elsewhere.ends_with("access-denied"), "{elsewhere}");
    let elsewhere = Capability::Connect(([127, 0, 0, 1], other).into());
    assert_eq!(denials(), [elsewhere]);
    // What was granted can be taken back.
    validator.revoke(Capability::Connect(address));
    let revoked = ask(&engine, &one, connect.clone()).await;
    assert!(revoked.ends_with("access-denied"), "{revoked}");
    assert_eq!(denials(), [Capability::Connect(address)]);
}

#[tokio::test]
async fn a_granted_directory_can_be_read() {
    let (_house, granted_dir) = two_rooms();
    let engine = engine();
    let config = granted([dir(granted_dir.clone(), DirAccess::Read)]);
    let echo = load_c_echo(&engine, config).await;
    assert_eq!(ask(&engine, &echo, "read /data/file").await, "the content");
    assert_eq!(
        ask(&engine, &echo, "read /data/./file").await,
        "the content"
    );
    is_errno(&ask(&engine, &echo, "read /data/other").await, &[ENOENT]);
    let denied = [EPERM, EROFS, ENOTCAPABLE, 2];
    let reply = ask(&engine, &echo, "write /data/file changed").await;
    is_errno(&reply, &denied);
    let reply = ask(&engine, &echo, "write /data/new text").await;
    is_errno(&reply, &denied);
    assert_eq!(fs::read(granted_dir.join("file")).unwrap(), b"the content");
    assert!(!granted_dir.join("new").exists());
}

#[tokio::test]
async fn a_directory_granted_for_writing_can_be_changed() {
    let (_house, granted_dir) = two_rooms();
    let engine = engine();
    let config = granted([dir(granted_dir.clone(), DirAccess::Write)]);
    let echo = load_c_echo(&engine, config).await;
    for (path, text) in [("/data/file", "changed"), ("/data/new", "two words")] {
        let reply = ask(&engine, &echo, format!("write {path} {text}")).await;
        assert_eq!(reply, "written");
        assert_eq!(ask(&engine, &echo, format!("read {path}")).await, text);
        let on_host = granted_dir.join(path.trim_start_matches("/data/"));
        assert_eq!(fs::read_to_string(on_host).unwrap(), text);
    }
}

#[tokio::test]
async fn there_is_no_way_out_of_a_granted_directory() {
    let (house, granted_dir) = two_rooms();
    let engine = engine();
    for access in [DirAccess::Read, DirAccess::Write] {
        let config = granted([dir(granted_dir.clone(), access)]);
        let echo = load_c_echo(&engine, config).await;
        let secret = house.path().join("secret");
        for path in [
            "/data/../secret",
            "/data/link",
            "/data/absolute",
            "/data/up/secret",
            "/data/./../granted/../secret",
            "/data//../secret",
            secret.to_str().unwrap(),
        ] {
            let reply = ask(&engine, &echo, format!("read {path}")).await;
            is_errno(&reply, &[2, ENOENT, EPERM, ENOTCAPABLE]);
            let reply = ask(&engine, &echo, format!("write {path} mine")).await;
            is_errno(&reply, &[2, ENOENT, EPERM, EROFS, ENOTCAPABLE]);
        }
        assert_eq!(fs::read_to_string(&secret).unwrap(), "the secret");
        let usage = engine.usage(&echo).unwrap();
        assert_eq!((usage.state, usage.traps), (ComponentState::Ready, 0));
    }
}

#[tokio::test]
async fn a_granted_directory_that_is_not_there_is_an_error_with_its_path() {
    let house = tempdir().unwrap();
    let nowhere = house.path().join("nowhere");
    let engine = engine();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/c-echo/echo.wasm");
    let bytes = Bytes::from(fs::read(path).unwrap());
    let config = granted([dir(nowhere.clone(), DirAccess::Read)]);
    let id = id("demo/c-echo/main");
    let loaded = engine.load_component(&id, bytes, config).await;
    let error = loaded.unwrap_err();
    assert!(
        matches!(&error, WasmError::InstantiationFailed { reason, source: Some(_), .. }
            if reason.contains(nowhere.to_str().unwrap()) && reason.contains("`wasi` in [permissions]")),
        "{error}"
    );
}

#[tokio::test]
async fn the_environment_is_that_of_the_configuration_and_only_when_granted() {
    let engine = engine();
    let with_env = granted([WasiGrant::Env]).with_env("GREETING", "hello");
    let echo = load_c_echo(&engine, with_env).await;
    assert_eq!(ask(&engine, &echo, "getenv GREETING").await, "hello");
    assert_eq!(ask(&engine, &echo, "getenv PATH").await, "unset");
    let echo = load_c_echo(&engine, config().with_env("GREETING", "hello")).await;
    assert_eq!(ask(&engine, &echo, "getenv GREETING").await, "unset");
}

fn printed(stream: &str, message: &str) -> Line {
    Line {
        severity: "INFO".to_owned(),
        component: "demo/c-echo/main".to_owned(),
        level: None,
        stream: Some(stream.to_owned()),
        message: message.to_owned(),
    }
}

#[tokio::test]
async fn standard_streams_are_kept_line_by_line_when_granted() {
    let (transcript, _guard) = Transcript::start();
    let engine = engine();
    let echo = load_c_echo(&engine, granted([WasiGrant::Stdout, WasiGrant::Stderr])).await;
    for (command, line) in [
        ("print hello there", printed("stdout", "hello there")),
        ("eprint oh no", printed("stderr", "oh no")),
        ("print \u{1b}[31mred", printed("stdout", "\\u{1b}[31mred")),
    ] {
        assert_eq!(ask(&engine, &echo, command).await, "printed");
        assert_eq!(transcript.take(), [line]);
    }
    assert_eq!(
        ask(&engine, &echo, "print one\ntwo\r\n\nthree").await,
        "printed"
    );
    assert_eq!(transcript.take_messages(), ["one", "two", "", "three"]);

    let only_errors = load_c_echo(&engine, granted([WasiGrant::Stderr])).await;
    assert_eq!(ask(&engine, &only_errors, "print hello").await, "printed");
    assert_eq!(transcript.take(), []);
    assert_eq!(ask(&engine, &only_errors, "eprint hello").await, "printed");
    assert_eq!(transcript.take(), [printed("stderr", "hello")]);
}

async fn load_panics(engine: &WasmtimeEngine, config: ComponentConfig) -> ComponentHandle {
    let bytes = wat::parse_str(include_str!("panics.wat")).unwrap();
    let id = id("demo/panics/main");
    engine
        .load_component(&id, bytes.into(), config)
        .await
        .unwrap()
}

/// What an export ends in that is given a text to write to standard error.
async fn end_of(
    engine: &WasmtimeEngine,
    component: &ComponentHandle,
    export: &str,
    text: &str,
) -> (Trap, Option<Box<str>>) {
    let text = Val::String(text.into());
    let args = if export == "wordless" {
        &[][..]
    } else {
        &[text]
    };
    let error = engine
        .call_export(component, export, args)
        .await
        .unwrap_err();
    engine.restart_component(component).await.unwrap();
    match error {
        WasmError::Trapped {
            trap, last_words, ..
        } => (trap, last_words),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_trap_carries_the_last_words_whether_or_not_they_are_printed() {
    let (transcript, _guard) = Transcript::start();
    let engine = engine();
    let message = "\nthread '<unnamed>' panicked at src/lib.rs:3:5:\nno tea\nnote: run with …\n";
    let mut printed = Vec::new();
    for grants in [vec![], vec![WasiGrant::Stderr]] {
        let panics = load_panics(&engine, granted(grants)).await;
        for export in ["panic", "leave"] {
            let (_, words) = end_of(&engine, &panics, export, message).await;
            assert_eq!(words.as_deref(), Some(message.trim()), "{export}");
        }
        printed.push(transcript.take_messages().len());
        engine.unload_component(&panics).await.unwrap();
    }
    assert_eq!(printed, [0, 8]);
}

#[tokio::test]
async fn last_words_are_those_of_the_call_and_bounded() {
    let engine = engine();
    let panics = load_panics(&engine, granted([])).await;
    let (_, words) = end_of(&engine, &panics, "panic", &"x".repeat(2_000)).await;
    assert_eq!(words.unwrap().len(), 1_024);
    let (_, words) = end_of(&engine, &panics, "panic", " \n ").await;
    assert_eq!(words, None);
    // Nor are they those of an earlier call.
    let said = [Val::String("hello".into())];
    engine.call_export(&panics, "say", &said).await.unwrap();
    let (trap, words) = end_of(&engine, &panics, "wordless", "").await;
    assert_eq!((trap, words), (Trap::Unreachable, None));
    // Whoever reads where there is nothing does not know of it.
    let (trap, words) = end_of(&engine, &panics, "miss", "hello").await;
    assert_eq!((trap, words), (Trap::MemoryOutOfBounds, None));
}

#[tokio::test]
async fn a_flood_on_standard_output_is_cut_like_one_of_log_lines() {
    let (transcript, _guard) = Transcript::start();
    let engine = engine();
    let echo = load_c_echo(&engine, granted([WasiGrant::Stdout])).await;
    let flood = format!("print {}", "x\n".repeat(2000));
    for _ in 0..2 {
        assert_eq!(ask(&engine, &echo, flood.clone()).await, "printed");
        let mut lines = transcript.take();
        let last = lines.pop().unwrap();
        assert_eq!((lines.len(), &*last.severity), (256, "WARN"));
        assert!(lines.iter().all(|line| *line == printed("stdout", "x")));
    }
}

#[tokio::test]
async fn a_granted_address_and_no_other_can_be_connected_to() {
    let (allowed, other) = (
        TcpListener::bind("127.0.0.1:0").unwrap(),
        TcpListener::bind("127.0.0.1:0").unwrap(),
    );
    let address = allowed.local_addr().unwrap();
    let engine = engine();
    let echo = load_c_echo(&engine, granted([WasiGrant::Connect(address)])).await;
    let port = address.port();
    let connect = format!("connect 127.0.0.1 {port}");
    assert_eq!(ask(&engine, &echo, connect).await, "connected");
    allowed.accept().unwrap();
    let elsewhere = other.local_addr().unwrap().port();
    for denied in [
        format!("connect 127.0.0.1 {elsewhere}"),
        format!("connect 127.0.0.2 {port}"),
    ] {
        let reply = ask(&engine, &echo, denied).await;
        assert_eq!(reply, "connect: access-denied");
    }
    other.set_nonblocking(true).unwrap();
    let nobody = other.accept().unwrap_err();
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
    let reply = ask(&engine, &echo, "connect localhost 80").await;
    assert!(reply.starts_with("lookup: "), "{reply}");
}

#[tokio::test]
async fn randomness_is_random_and_bounded() {
    let engine = engine();
    let echo = load_c_echo(&engine, config()).await;
    let (one, two) = (
        ask(&engine, &echo, "random").await,
        ask(&engine, &echo, "random").await,
    );
    assert_eq!((one.len(), two.len()), (16, 16));
    assert_ne!(one, two);
    let greedy = load(&engine, RANDOM_64M, config()).await;
    let error = send(&engine, &greedy, "go").await.unwrap_err();
    assert!(
        matches!(
            &error,
            WasmError::Trapped {
                trap: Trap::RefusedByHost(_),
                ..
            }
        ),
        "{error:?}"
    );
    // It was refused, not made and then not fitted in.
    let peak = engine.usage(&greedy).unwrap().peak_memory_bytes;
    assert!(peak < 2 * (64 << 10), "{peak}");
    engine.restart_component(&greedy).await.unwrap();
    assert_eq!(ask(&engine, &greedy, "ok").await, "ok");
}

#[tokio::test]
async fn the_wall_clock_is_that_of_the_host_in_whole_milliseconds() {
    let clock = Arc::new(ManualClock::new());
    clock.set(Timestamp {
        seconds: 1_700_000_000,
        nanoseconds: 123_456_789,
    });
    let engine = engine_with(HostServices::default().with_clock(clock));
    let echo = load_c_echo(&engine, config()).await;
    assert_eq!(ask(&engine, &echo, "time").await, "1700000000.123000000");
}

#[tokio::test]
async fn a_call_dropped_while_it_waits_in_wasi_holds_nobody_up() {
    let engine = engine();
    let limits = timed(Duration::from_millis(100));
    let waiting = load(&engine, WASI_SLEEP, limits).await;
    let mut call = Box::pin(send(&engine, &waiting, "go"));
    assert!(poll_once(call.as_mut()).await.is_none());
    drop(call);
    within(engine.restart_component(&waiting)).await.unwrap();
    assert_eq!(ask(&engine, &waiting, "ok").await, "ok");
    assert_eq!(engine.usage(&waiting).unwrap().timeouts, 1);
}
