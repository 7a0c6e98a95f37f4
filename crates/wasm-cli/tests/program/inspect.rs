use std::fs;

use crate::{Folder, example, program};

#[test]
fn tells_what_a_message_component_is() {
    let folder = Folder::new();
    let file = folder.fixture(wasm_fixtures::STORED_COUNTER);
    let ended = program(["inspect", &file]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    for part in [
        "takes messages",
        "imports\n",
        "airssys:core/storage@1.0.0",
        "provided, permission: storage\n",
        "    get: func(key: string) -> result<option<storage-value>, storage-error>\n",
        "exports\n  airssys:core/component-lifecycle@1.0.0\n",
        "    health: func() -> health-status\n",
        "needs at the least\n  memory     64.0KiB (memories 64KiB, tables 16B)",
        "a Component.toml to begin with\n",
        "  id = \"local/stored-counter/main\"\n",
        "  memory = \"512KiB\"\n",
        "  storage = \"1MiB\"\n",
    ] {
        assert!(ended.stdout.contains(part), "{part:?} in: {}", ended.stdout);
    }
}

#[test]
fn tells_what_another_component_is() {
    let folder = Folder::new();
    let ended = program(["inspect", &folder.fixture(wasm_fixtures::HELLO)]);
    assert!(
        ended.stdout.contains("takes no messages"),
        "{}",
        ended.stdout
    );
    assert!(
        ended.stdout.contains("exports\n  hello: func() -> u32\n"),
        "{}",
        ended.stdout
    );
    assert!(
        ended.stdout.contains("imports\n  nothing\n"),
        "{}",
        ended.stdout
    );
    let ended = program(["inspect", &folder.fixture(wasm_fixtures::UNKNOWN_IMPORT)]);
    assert_eq!(ended.code, Some(0));
    let missing = ended
        .stdout
        .lines()
        .find(|line| line.contains("acme:db/query@1.0.0"))
        .unwrap();
    assert!(missing.ends_with("not provided by this host"), "{missing}");
}

#[test]
fn the_manifest_alone_runs_the_component() {
    let folder = Folder::new();
    for fixture in [wasm_fixtures::ECHO, wasm_fixtures::STORED_COUNTER] {
        let wasm = folder.fixture(fixture);
        let printed = program(["inspect", &wasm, "--manifest"]);
        assert_eq!((printed.code, printed.stderr.as_str()), (Some(0), ""));
        let manifest = folder.write("Component.toml", &printed.stdout);
        let ended = program(["run", &manifest, "-m", "1"]);
        ended.expect(0, "1\n");
    }
    let big = folder.fixture(wasm_fixtures::BIG_INITIAL_MEMORY);
    let printed = program(["inspect", &big, "--manifest"]);
    let manifest = folder.write("Component.toml", &printed.stdout);
    assert_eq!(program(["run", &manifest, "-m", "x"]).code, Some(2));
    program(["run", &manifest, "-m", "x", "--memory-ceiling", "96MiB"]).expect(0, "");
}

#[test]
fn a_manifest_that_does_not_do_comes_with_a_warning() {
    let folder = Folder::new();
    let file = folder.fixture(wasm_fixtures::UNKNOWN_IMPORT);
    let printed = program(["inspect", &file, "--manifest"]);
    assert_eq!(printed.code, Some(0));
    printed.complains(&["warning: this host does not provide everything"]);
    assert!(
        printed
            .stdout
            .starts_with("# This host does not provide acme:db/query@1.0.0.")
    );
}

#[test]
fn a_folder_stands_for_its_component() {
    for path in [example("echo"), example("echo/Component.toml")] {
        let ended = program(["inspect", &path]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(
            ended.stdout.contains("echo.wasm: a component of "),
            "{}",
            ended.stdout
        );
        assert!(!ended.stdout.contains("to begin with"), "{}", ended.stdout);
    }
}

#[test]
fn types_are_shown_where_they_are_wanted() {
    let definition =
        "    component-id: record { namespace: string, name: string, instance: string }\n";
    let ended = program(["inspect", &example("echo"), "--types"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains(definition), "{}", ended.stdout);
    let ended = program(["inspect", &example("echo")]);
    assert!(!ended.stdout.contains(definition), "{}", ended.stdout);
}

/// The tools for WIT panic on the one and overflow their stack on the other.
#[test]
fn a_valid_component_may_be_unlike_any_other() {
    let folder = Folder::new();
    let odd = "(component (import \"unlocked-dep=<a:b>\" (func))
        (core module $m) (export \"m\" (core module $m)))";
    let file = folder.write("odd.wasm", wat::parse_str(odd).unwrap());
    let ended = program(["inspect", &file]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    for part in [
        "unlocked-dep=<a:b>",
        "not provided by this host",
        "  m: core module\n",
    ] {
        assert!(ended.stdout.contains(part), "{part:?} in: {}", ended.stdout);
    }

    let cyclic = r#"(component
        (import "a:a/one" (instance $one (export "t" (type (sub resource)))))
        (alias export $one "t" (type $t))
        (import "b:b/two" (instance $two
            (export "t" (type (eq $t))) (export "u" (type (sub resource)))))
        (alias export $two "u" (type $u))
        (import "a:a/three" (instance (export "u" (type (eq $u))))))"#;
    let file = folder.write("cyclic.wasm", wat::parse_str(cyclic).unwrap());
    let ended = program(["inspect", &file, "--types"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}

#[test]
fn looks_at_what_other_toolchains_made() {
    let c_echo = example("c-echo");
    if fs::metadata(format!("{c_echo}/echo.wasm")).is_err() {
        return;
    }
    let ended = program(["inspect", &c_echo]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert!(!ended.stdout.contains("not provided"), "{}", ended.stdout);
    assert!(
        ended.stdout.contains("permission: wasi ("),
        "{}",
        ended.stdout
    );
}
