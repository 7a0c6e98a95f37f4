//! Applications as they lie in folders.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use wasm_core::{HostServices, ResourceLimits, RestartPolicy};
use wasm_host::{ApplicationErrors, Component, HostBuilder, read_application};
use wasm_testkit::ModelEngine;
use wasm_testkit::wasm_fixtures::{ECHO, INIT_CONFIG};

fn manifest(id: &str, rest: &str) -> String {
    format!(
        "[component]\nid = \"{id}\"\nwasm = \"it.wasm\"\n[resources]\nmemory = \"1MiB\"\n\
         fuel = 1_000_000\ntimeout = \"1s\"\n{rest}"
    )
}

fn write(folder: &Path, text: &str, wasm: &[u8]) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("Component.toml"), text).unwrap();
    fs::write(folder.join("it.wasm"), wasm).unwrap();
}

fn read(folder: &Path) -> Result<Vec<Component>, ApplicationErrors> {
    read_application(folder, ResourceLimits::DEFAULT_MEMORY_CEILING_BYTES)
}

/// What was found, without the folder it was found in.
fn problems(folder: &Path) -> Vec<String> {
    let folder_name = format!("{}/", folder.display());
    let errors = read(folder).unwrap_err().to_string();
    let lines = errors.replace(&folder_name, "");
    lines.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_folder_is_an_application() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let supervised = "[supervision]\nrestart = \"on-failure\"\n[config]\nfile = \"data\"\n";
    write(
        &at("b/deep/er"),
        &manifest("demo/config/main", supervised),
        INIT_CONFIG.wasm,
    );
    fs::write(at("b/deep/er/data"), "from a file").unwrap();
    write(&at("a"), &manifest("demo/echo/main", ""), ECHO.wasm);
    write(&at(".hidden"), "not read", b"");
    let application = read(folder.path()).unwrap();
    let ids: Vec<&str> = application.iter().map(|c| c.id.as_str()).collect();
    assert_eq!(ids, ["demo/echo/main", "demo/config/main"]);
    let restarts: Vec<_> = application.iter().map(|c| c.supervision.restart).collect();
    assert_eq!(restarts, [RestartPolicy::Never, RestartPolicy::OnFailure]);
    let model = |services: HostServices| Ok::<_, String>(Arc::new(ModelEngine::new(services)));
    let host = HostBuilder::new().start(model).unwrap();
    for loaded in host.load_all(application.clone()).await {
        loaded.unwrap();
    }
    let config = application[1].id.clone();
    let told = host
        .request(&config, "data", Duration::from_secs(1))
        .await
        .unwrap();
    assert_eq!(told, Some("from a file".into()));
    host.stop().await;
}

#[test]
fn every_problem_of_every_manifest_is_told() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(&at("a"), &manifest("demo/a/main", ""), ECHO.wasm);
    write(&at("b"), &manifest("demo/a/main", ""), ECHO.wasm);
    write(&at("c"), &manifest("demo/c", "typo = 1\n"), ECHO.wasm);
    write(
        &at("d"),
        &manifest("demo/d/main", "[config]\nfile = \"none\"\n"),
        ECHO.wasm,
    );
    fs::create_dir(at("e")).unwrap();
    fs::write(at("e/Component.toml"), [0xff]).unwrap();
    write(&at("f"), &manifest("demo/f/main", ""), ECHO.wasm);
    fs::remove_file(at("f/it.wasm")).unwrap();
    fs::create_dir(at("f/it.wasm")).unwrap();
    let told = problems(folder.path());
    assert_eq!(told.len(), 6, "{told:#?}");
    for (problem, parts) in told.iter().zip([
        [
            "a/Component.toml and b/Component.toml are both demo/a/main",
            "another `id`",
        ],
        ["c/Component.toml:2:", "`component.id`"],
        ["c/Component.toml:8:", "typo"],
        ["d/none cannot be read", "No such file"],
        ["e/Component.toml is not UTF-8 text", ""],
        ["f/it.wasm cannot be read", "it is not a regular file"],
    ]) {
        assert!(parts.iter().all(|part| problem.contains(part)), "{problem}");
    }
}

#[test]
fn a_folder_without_manifests_is_no_application() {
    let folder = TempDir::new().unwrap();
    let told = problems(folder.path());
    assert!(
        told[0].starts_with("there is no Component.toml in "),
        "{told:?}"
    );
    let told = problems(&folder.path().join("nowhere"));
    assert!(told[0].contains("nowhere cannot be read: "), "{told:?}");
}

#[test]
fn a_file_that_is_something_else_is_not_read_into_memory() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), &manifest("demo/a/main", ""), b"");
    let wasm = fs::File::create(folder.path().join("it.wasm")).unwrap();
    wasm.set_len((64 << 20) + 1).unwrap();
    assert_eq!(problems(folder.path()), ["it.wasm is larger than 64MiB"]);
}
