//! Compiled code that is kept on disk.

use std::fs;
use std::path::Path;
use std::thread;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use wasm_core::{DirAccess, HostServices, Permissions, WasiGrant, WasmError};
use wasm_fixtures::{COUNTER, ECHO, HELLO};
use wasm_runtime::{
    CacheUsage, Compiler, CompilerProcess, EngineConfig, Profile, WasmtimeEngine, add_compiled,
};

use crate::support::{config, load, message, try_load};

const ENGINES: usize = 20;

/// A compiler that leaves a file for each component that it compiles.
fn counted_compiler(house: &TempDir) -> Compiler {
    use std::os::unix::fs::PermissionsExt;
    let script = house.path().join("compiler");
    let counted = house.path().join("counted");
    fs::create_dir(&counted).unwrap();
    let text = format!(
        "#!/bin/sh\nmktemp {}/XXXXXX >/dev/null\nexec {} \"$@\"\n",
        counted.display(),
        env!("CARGO_BIN_EXE_airssys-wasm-compiler")
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    Compiler::Process(CompilerProcess::new(script))
}

fn count(house: &TempDir) -> usize {
    fs::read_dir(house.path().join("counted")).unwrap().count()
}

fn cached(folder: &Path) -> EngineConfig {
    EngineConfig::default().with_cache(folder)
}

fn engine(config: EngineConfig) -> WasmtimeEngine {
    WasmtimeEngine::new(config, HostServices::default()).unwrap()
}

async fn answers(engine: &WasmtimeEngine) {
    let echo = load(engine, ECHO, config()).await;
    let reply = engine
        .call_handle_message(&echo, message(&echo, "hello"))
        .await;
    assert_eq!(reply.unwrap(), Some("hello".into()));
}

#[test]
fn engines_that_start_at_once_compile_once() {
    let house = tempfile::tempdir().unwrap();
    let config = cached(&house.path().join("code")).with_compiler(counted_compiler(&house));
    thread::scope(|scope| {
        for _ in 0..ENGINES {
            scope.spawn(|| {
                let runtime = Runtime::new().unwrap();
                runtime.block_on(async { answers(&engine(config.clone())).await });
            });
        }
    });
    assert_eq!(count(&house), 1);
    let usage = CacheUsage::of(&house.path().join("code")).unwrap();
    assert_eq!(usage.entries, 1);
}

/// A machine that compiles nothing.
#[tokio::test]
async fn compiled_code_is_taken_along_in_a_file() {
    let house = tempfile::tempdir().unwrap();
    let (here, there) = (house.path().join("here"), house.path().join("there"));
    let file = house.path().join("echo.code");
    let first = engine(cached(&here).with_compiler(counted_compiler(&house)));
    let bytes = Bytes::from_static(ECHO.wasm);
    let early = first.write_compiled(bytes.clone(), &file).await;
    let early = early.unwrap_err().to_string();
    assert_eq!(early, "the cache of compiled code does not have it");
    answers(&first).await;
    let written = first.write_compiled(bytes, &file).await.unwrap();
    assert_eq!(add_compiled(&file, &there).unwrap(), written);
    let other = cached(&there).with_compiler(Compiler::Process(CompilerProcess::new("/none")));
    answers(&engine(other)).await;
    assert_eq!(count(&house), 1);
}

/// What was prepared runs without being kept, so that nothing else says that it is not.
#[tokio::test]
async fn whether_code_is_kept_can_be_asked() {
    let house = tempfile::tempdir().unwrap();
    let bytes = Bytes::from_static(ECHO.wasm);
    let said = async |config| {
        let checked = engine(config).check_kept(bytes.clone()).await;
        checked.map_err(|error| error.to_string())
    };
    let cached = cached(&house.path().join("code"));
    let none = said(EngineConfig::default()).await;
    assert_eq!(none, Err("no cache is configured".to_owned()));
    let early = said(cached.clone()).await;
    let not_there = "the cache of compiled code does not have it";
    assert_eq!(early, Err(not_there.to_owned()));
    answers(&engine(cached.clone())).await;
    assert_eq!(said(cached).await, Ok(()));
}

#[tokio::test]
async fn a_damaged_file_adds_nothing() {
    let house = tempfile::tempdir().unwrap();
    let (here, there) = (house.path().join("here"), house.path().join("there"));
    let file = house.path().join("echo.code");
    let first = engine(cached(&here));
    answers(&first).await;
    let bytes = Bytes::from_static(ECHO.wasm);
    first.write_compiled(bytes, &file).await.unwrap();
    let whole = fs::read(&file).unwrap();
    let refused = |content: &[u8]| {
        fs::write(&file, content).unwrap();
        add_compiled(&file, &there).unwrap_err().to_string()
    };
    let foreign = "it is no file that `compile --output` wrote";
    assert_eq!(refused(ECHO.wasm), foreign);
    assert_eq!(refused(&whole[..90]), foreign);
    let middle = whole.len() / 2;
    for at in (24..200).chain([middle, whole.len() - 1]) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        assert_eq!(refused(&flipped), "it is damaged", "byte {at}");
    }
    assert_eq!(refused(&whole[..whole.len() - 1]), "it is damaged");
    assert!(!there.exists());
}

#[tokio::test]
async fn what_is_kept_is_of_other_bytes_or_other_settings_no_use() {
    let house = tempfile::tempdir().unwrap();
    let config_of_engine =
        cached(&house.path().join("code")).with_compiler(counted_compiler(&house));
    answers(&engine(config_of_engine.clone())).await;
    load(&engine(config_of_engine.clone()), HELLO, config()).await;
    assert_eq!(count(&house), 2);
    answers(&engine(
        config_of_engine.clone().with_profile(Profile::Density),
    ))
    .await;
    assert_eq!(count(&house), 3);
    answers(&engine(config_of_engine)).await;
    assert_eq!(count(&house), 3);
}

#[tokio::test]
async fn what_is_damaged_is_compiled_anew_and_replaced() {
    let house = tempfile::tempdir().unwrap();
    let code = house.path().join("code");
    let config = cached(&code).with_compiler(counted_compiler(&house));
    answers(&engine(config.clone())).await;
    for file in fs::read_dir(&code).unwrap().flatten() {
        // Entry and seal, but not the key.
        if file.file_name() != "key" {
            fs::write(file.path(), b"damaged").unwrap();
        }
    }
    answers(&engine(config.clone())).await;
    assert_eq!(count(&house), 2);
    answers(&engine(config)).await;
    assert_eq!(count(&house), 2);
}

/// As by what tidies up folders of caches, while a service runs for months.
#[tokio::test]
async fn a_folder_that_is_removed_meanwhile_is_made_again() {
    let house = tempfile::tempdir().unwrap();
    let code = house.path().join("code");
    let config = cached(&code).with_compiler(counted_compiler(&house));
    let long_running = engine(config.clone());
    answers(&long_running).await;
    fs::remove_dir_all(&code).unwrap();
    // With a key of its own.
    load(&engine(config.clone()), HELLO, crate::support::config()).await;
    load(&long_running, COUNTER, crate::support::config()).await;
    assert_eq!(count(&house), 3);
    for fixture in [HELLO, COUNTER] {
        load(&engine(config.clone()), fixture, crate::support::config()).await;
    }
    assert_eq!(count(&house), 3);
}

#[tokio::test]
async fn a_cache_that_cannot_be_used_keeps_nothing_from_running() {
    let house = tempfile::tempdir().unwrap();
    let file = house.path().join("file");
    fs::write(&file, "no folder").unwrap();
    answers(&engine(cached(&file))).await;
    answers(&engine(cached(&file.join("below")))).await;
    answers(&engine(cached(Path::new("/proc/nowhere")))).await;
}

/// What is granted now could be where another engine keeps its key later.
#[tokio::test]
async fn no_component_comes_near_a_cache_that_is_not_there_yet() {
    let house = tempfile::tempdir().unwrap();
    let later = house.path().join("caches/airssys/code");
    let engine = engine(EngineConfig::default().with_guarded(&later));
    let caches = house.path().join("caches");
    let aside = house.path().join("aside");
    for folder in [&caches, &aside] {
        fs::create_dir(folder).unwrap();
    }
    for (host, is_refused) in [
        (caches, true),
        (house.path().to_owned(), true),
        (aside, false),
    ] {
        let mut permissions = Permissions::default();
        permissions.wasi = vec![WasiGrant::Dir {
            guest: "data".to_owned(),
            host: host.clone(),
            access: DirAccess::Write,
            quota: None,
        }];
        let loaded = try_load(&engine, ECHO, config().with_permissions(permissions)).await;
        assert_eq!(loaded.is_err(), is_refused, "{host:?}: {loaded:?}");
    }
}

#[tokio::test]
async fn no_component_comes_near_the_cache() {
    let house = tempfile::tempdir().unwrap();
    let code = house.path().join("above/code");
    let engine = engine(cached(&code));
    load(&engine, ECHO, config()).await;
    fs::create_dir(code.join("below")).unwrap();
    std::os::unix::fs::symlink(&code, house.path().join("link")).unwrap();
    for (host, access) in [
        (code.clone(), DirAccess::Read),
        (code.join("below"), DirAccess::Write),
        (house.path().join("above"), DirAccess::Read),
        (house.path().join("link"), DirAccess::Write),
        ("/".into(), DirAccess::Read),
    ] {
        let mut permissions = Permissions::default();
        permissions.wasi = vec![WasiGrant::Dir {
            guest: "data".to_owned(),
            host: host.clone(),
            access,
            quota: None,
        }];
        let loaded = try_load(&engine, ECHO, config().with_permissions(permissions)).await;
        match loaded {
            Err(WasmError::InstantiationFailed { reason, .. }) => {
                assert!(reason.contains("the cache of compiled code in"), "{reason}");
            }
            other => panic!("{host:?}: {other:?}"),
        }
    }
}
