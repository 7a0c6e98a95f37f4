//! Applications as they lie in folders.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use wasm_core::{DirAccess, HostServices, ResourceLimits, RestartPolicy, WasiGrant};
use wasm_host::{
    ApplicationErrors, ApplicationFolder, ApplicationProblem, Component, HostBuilder, Separation,
    read_application,
};
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
        [
            "d/Component.toml:9:1: ",
            "d/none cannot be read: No such file",
        ],
        ["e/Component.toml is not UTF-8 text", ""],
        [
            "f/Component.toml:3:1: ",
            "f/it.wasm cannot be read: it is not a regular file",
        ],
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
    assert_eq!(
        problems(folder.path()),
        ["Component.toml:3:1: it.wasm is larger than 64MiB"]
    );
    let file = fs::File::create(folder.path().join("Component.toml")).unwrap();
    file.set_len((1 << 20) + 1).unwrap();
    assert_eq!(
        problems(folder.path()),
        ["Component.toml is larger than 1MiB"]
    );
}

/// Such as `lost+found`. Root reads everything, so it is not tried for it.
#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_read_is_left_out() {
    use std::os::unix::fs::PermissionsExt;

    let folder = TempDir::new().unwrap();
    write(
        &folder.path().join("a"),
        &manifest("demo/a/main", ""),
        ECHO.wasm,
    );
    let locked = folder.path().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read_dir(&locked).is_ok() {
        eprintln!("not tried: this user may read every folder");
        return;
    }
    assert_eq!(read(folder.path()).unwrap().len(), 1);
    fs::remove_dir_all(folder.path().join("a")).unwrap();
    let told = problems(folder.path());
    assert!(told[0].contains("locked cannot be read"), "{told:?}");
}

fn grants(dir: &str, access: &str) -> String {
    format!("[permissions]\nwasi = [{{ dir = \"{dir}\", access = \"{access}\" }}]\n")
}

#[test]
fn what_a_component_can_write_is_no_part_of_an_application() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let at = |name: &str| root.join(name);
    write(
        &at("a"),
        &manifest("demo/a/main", &grants("data", "write")),
        ECHO.wasm,
    );
    write(&at("b"), &manifest("demo/b/main", ""), ECHO.wasm);
    // What it left there the last time, however wrong.
    write(&at("a/data"), "wasm = ", b"");
    let ids = |components: Vec<Component>| -> Vec<String> {
        let ids = components.iter().map(|component| component.id.to_string());
        ids.collect()
    };
    assert_eq!(ids(read(&root).unwrap()), ["demo/a/main", "demo/b/main"]);

    // Two may share what is data.
    write(
        &at("b"),
        &manifest("demo/b/main", &grants("../a/data", "read")),
        ECHO.wasm,
    );
    let shared = read(&root).unwrap();
    let [WasiGrant::Dir { host, access, .. }] = &shared[1].config.permissions.wasi[..] else {
        panic!("{shared:?}");
    };
    assert_eq!((host, *access), (&at("a/data"), DirAccess::Read));

    let same = "a/Component.toml:9:9: demo/a/main may write";
    for (rest, second) in [
        (grants("../a/data/in", "read"), "b/Component.toml:9:9"),
        (
            "[config]\nfile = \"../a/data/c\"\n".to_owned(),
            "b/Component.toml:9:1",
        ),
    ] {
        fs::create_dir_all(at("a/data/in")).unwrap();
        write(&at("b"), &manifest("demo/b/main", &rest), ECHO.wasm);
        let told = problems(&root);
        assert_eq!(told.len(), 1, "{told:#?}");
        assert!(told[0].starts_with(same), "{told:#?}");
        assert!(told[0].contains(second), "{told:#?}");
    }
    write(&at("b"), &manifest("demo/b/main", ""), ECHO.wasm);
    write(
        &at("a"),
        &manifest("demo/a/main", &grants("../b", "write")),
        ECHO.wasm,
    );
    fs::remove_dir_all(at("a/data")).unwrap();
    let error = read(&root).unwrap_err();
    let [ApplicationProblem::Overlap(overlap)] = error.problems() else {
        panic!("{error}");
    };
    assert_eq!(overlap.writer.as_str(), "demo/a/main");
    assert_eq!(overlap.component.as_str(), "demo/b/main");
    assert_eq!(overlap.folder, at("b"));
    assert_eq!(
        (overlap.grant.key.as_str(), overlap.grant.place.line),
        ("permissions.wasi[0]", 9)
    );
    assert_eq!(
        (overlap.line.key.as_str(), overlap.line.place.line),
        ("component.id", 2)
    );
}

/// Filled by a component, they would take long to look through.
#[test]
fn folders_of_data_are_looked_through_in_part() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let dirs = r#"[permissions]
        wasi = [
            { dir = "data/1", access = "write" },
            { dir = "data/2", access = "write" },
        ]"#;
    write(&root, &manifest("demo/a/main", dirs), ECHO.wasm);
    fs::create_dir_all(root.join("data/1")).unwrap();
    write(&root.join("data/2/in"), "", b"");
    for number in 0..4095 {
        fs::write(root.join(format!("data/1/{number}")), "").unwrap();
    }
    let application = ApplicationFolder::open(&root).unwrap();
    let left_out = || application.find_manifests().unwrap().left_out.len();
    assert_eq!(left_out(), 1);
    fs::write(root.join("data/1/more"), "").unwrap();
    assert_eq!(left_out(), 0);
}

/// A component cannot keep the application from starting by what it leaves behind.
#[test]
fn what_a_component_leaves_in_a_shared_folder_is_no_mistake_of_the_operator() {
    let home = TempDir::new().unwrap();
    let shared = home.path().join("shared");
    let own = home.path().join("own");
    fs::create_dir_all(&shared).unwrap();
    let text = manifest("demo/own/main", &grants("../shared", "write"));
    write(&own, &text, ECHO.wasm);
    fs::write(shared.join("Component.toml"), "junk").unwrap();
    let read_again = read(home.path()).unwrap();
    assert_eq!(read_again.len(), 1);
    // The same where nobody may write is a mistake.
    let other = home.path().join("other");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("Component.toml"), "junk").unwrap();
    assert_eq!(problems(home.path()).len(), 1);
}

/// Of a file with several names, none may lie where a component can write it.
#[test]
#[ignore = "makes 50,000 files"]
fn a_folder_with_too_many_files_holds_any_of_them() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let at = |name: &str| root.join(name);
    write(
        &at("a"),
        &manifest("demo/a/main", &grants("data", "write")),
        ECHO.wasm,
    );
    write(&at("b"), &manifest("demo/b/main", ""), ECHO.wasm);
    fs::create_dir(at("a/data")).unwrap();
    fs::hard_link(at("b/it.wasm"), at("elsewhere")).unwrap();
    for number in 0..50_000 {
        fs::write(at("a/data").join(number.to_string()), "").unwrap();
    }
    assert_eq!(read(&root).unwrap().len(), 2);
    fs::write(at("a/data/more"), "").unwrap();
    let error = read(&root).unwrap_err();
    let [ApplicationProblem::Overlap(overlap)] = error.problems() else {
        panic!("{error}");
    };
    assert_eq!(overlap.hard_link, Some(at("a/data")));
}

#[test]
fn an_application_stays_in_its_folder_unless_more_is_allowed() {
    let (folder, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let app = folder.path().join("app");
    fs::write(folder.path().join("it.wasm"), ECHO.wasm).unwrap();
    let text = manifest("demo/a/main", "").replace("it.wasm", "../../it.wasm");
    write(&app.join("a"), &text, b"");
    let told = problems(&app);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].starts_with("a/Component.toml:3:1: "), "{told:#?}");
    assert!(told[0].contains("which is outside of"), "{told:#?}");
    let application = ApplicationFolder::open(&app).unwrap();
    let ceiling = ResourceLimits::DEFAULT_MEMORY_CEILING_BYTES;
    let elsewhere = application.clone().allow_outside(other.path()).unwrap();
    assert!(matches!(
        elsewhere.read(ceiling).unwrap_err().problems(),
        [ApplicationProblem::Outside { .. }]
    ));
    let wider = application.allow_outside(folder.path()).unwrap();
    assert_eq!(wider.read(ceiling).unwrap().len(), 1);
}

#[test]
fn a_folder_of_many_components_is_checked_in_little_time() {
    let folder = TempDir::new().unwrap();
    for i in 0..200 {
        let at = folder.path().join(format!("c{i}"));
        let text = manifest(&format!("demo/c{i}/main"), &grants("data", "write"));
        write(&at, &text, b"");
        fs::create_dir(at.join("data")).unwrap();
    }
    let began = std::time::Instant::now();
    assert_eq!(read(folder.path()).unwrap().len(), 200);
    // Each is compared with what is granted, not each with each other.
    assert!(began.elapsed() < Duration::from_secs(60));
    let application = ApplicationFolder::open(folder.path()).unwrap();
    let more = application.find_more_manifests(&Separation::new()).unwrap();
    assert_eq!(more.manifests.len(), 200);
}
