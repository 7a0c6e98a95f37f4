use std::fs::{self, File};
use std::path::Path;

use tempfile::tempdir;

use wasm_core::{ComponentId, ComponentLoader, Defect, WasmError};
use wasm_fixtures::{CORE_MODULE, ECHO};
use wasm_runtime::{FileComponentLoader, read_component};
use wasm_testkit::MemoryLoader;

use crate::support::{ask, config, engine, id};

fn refused(error: &WasmError, at: &Path) -> String {
    match error {
        WasmError::LoadFailed { path, reason, .. } if path == at => reason.clone(),
        _ => panic!("{error:?}"),
    }
}

fn put(base: &Path, id: &ComponentId, bytes: &[u8]) {
    let dir = base.join(id.namespace()).join(id.name());
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(format!("{}.wasm", id.instance())), bytes).unwrap();
}

#[tokio::test]
async fn a_component_is_found_by_its_id_and_runs() {
    let base = tempdir().unwrap();
    let id = id("demo/echo/main.v1");
    put(base.path(), &id, ECHO.wasm);
    let loader = FileComponentLoader::new(base.path());
    assert_eq!(loader.path(&id), base.path().join("demo/echo/main.v1.wasm"));
    let bytes = loader.load_bytes(&id).await.unwrap();
    loader.validate(&id, &bytes).unwrap();
    let engine = engine();
    let handle = engine.load_component(&id, bytes, config()).await.unwrap();
    assert_eq!(ask(&engine, &handle, "hi").await, "hi");
}

#[tokio::test]
async fn what_cannot_be_read_is_told_with_its_path() {
    let base = tempdir().unwrap();
    let loader = FileComponentLoader::new(base.path());
    let missing = id("demo/missing/main");
    let error = loader.load_bytes(&missing).await.unwrap_err();
    let path = base.path().join("demo/missing/main.wasm");
    assert!(refused(&error, &path).contains("No such file"), "{error}");
    assert!(error.is_load_error(), "{error}");
    let WasmError::LoadFailed { source, .. } = &error else {
        panic!("{error:?}");
    };
    let kind = source
        .as_ref()
        .and_then(|cause| cause.downcast_ref::<std::io::Error>())
        .map(std::io::Error::kind);
    assert_eq!(kind, Some(std::io::ErrorKind::NotFound));

    let directory = base.path().join("demo/folder/main.wasm");
    fs::create_dir_all(&directory).unwrap();
    let error = loader
        .load_bytes(&id("demo/folder/main"))
        .await
        .unwrap_err();
    let reason = refused(&error, &directory);
    assert_eq!(reason, "it is not a regular file");
    // That is all there is to say: the system has refused nothing.
    assert!(
        matches!(error, WasmError::LoadFailed { source: None, .. }),
        "{error:?}"
    );

    // A file where a folder should be.
    fs::write(base.path().join("file"), "x").unwrap();
    let error = loader.load_bytes(&id("file/a/main")).await.unwrap_err();
    refused(&error, &base.path().join("file/a/main.wasm"));
}

#[tokio::test]
async fn a_device_or_a_pipe_is_not_waited_for() {
    for path in ["/dev/zero", "/dev/stdin"] {
        match read_component(Path::new(path), 1 << 20).await {
            Err(error) => {
                refused(&error, Path::new(path));
            }
            // Standard input may be a file.
            Ok(_) => assert_eq!(path, "/dev/stdin"),
        }
    }
}

#[tokio::test]
async fn a_file_that_is_too_large_is_not_read() {
    let base = tempdir().unwrap();
    let id = id("demo/huge/main");
    put(base.path(), &id, b"");
    let path = base.path().join("demo/huge/main.wasm");
    // Sparse: it takes no room, and would take minutes to read.
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(1 << 40).unwrap();
    let loader = FileComponentLoader::new(base.path());
    let error = loader.load_bytes(&id).await.unwrap_err();
    let reason = refused(&error, &path);
    assert_eq!(
        reason,
        "it has 1TiB, more than the 32MiB that are accepted (`max_bytes` of the loader, and \
         `max_component_bytes` in EngineConfig)"
    );

    let length = ECHO.wasm.len() as u64;
    put(base.path(), &id, ECHO.wasm);
    let exact = loader.clone().with_max_bytes(length);
    assert_eq!(exact.load_bytes(&id).await.unwrap(), ECHO.wasm);
    let short = loader.with_max_bytes(length - 1);
    let error = short.load_bytes(&id).await.unwrap_err();
    assert!(refused(&error, &path).contains("accepted"), "{error}");
}

#[tokio::test]
async fn every_id_stays_in_the_folder() {
    let base = tempdir().unwrap();
    let loader = FileComponentLoader::new(base.path());
    for text in ["a/b/c", "..a/b../...", "-/_/.a", "a.wasm/b/c.wasm"] {
        let path = loader.path(&id(text));
        let below = path.strip_prefix(base.path()).unwrap();
        assert_eq!(below, Path::new(&format!("{text}.wasm")));
        assert_eq!(below.components().count(), 3);
    }
    for text in [
        "../b/c",
        "a/../c",
        "a/b/..",
        "/etc/passwd",
        "a/b/c/d",
        "a\0/b/c",
        "a//c",
    ] {
        assert!(text.parse::<ComponentId>().is_err(), "{text:?}");
    }
}

#[tokio::test]
async fn what_a_loader_gives_is_looked_at_before_it_is_compiled() {
    let base = tempdir().unwrap();
    let (module, empty) = (id("demo/module/main"), id("demo/empty/main"));
    put(base.path(), &module, CORE_MODULE.wasm);
    put(base.path(), &empty, b"");
    let files = FileComponentLoader::new(base.path());
    let memory = MemoryLoader::new();
    memory.insert(module.clone(), CORE_MODULE.wasm);
    memory.insert(empty.clone(), "");
    let loaders: [&dyn ComponentLoader; 2] = [&files, &memory];
    for loader in loaders {
        for (id, expected) in [(&module, Defect::CoreModule), (&empty, Defect::Empty)] {
            let bytes = loader.load_bytes(id).await.unwrap();
            let error = loader.validate(id, &bytes).unwrap_err();
            assert!(
                matches!(&error, WasmError::InvalidComponent { defect, .. } if *defect == expected),
                "{error}"
            );
        }
    }
}
