use std::fs::{self, File};

use wasm_fixtures::Fixture;

use crate::{Folder, limited, program};

const MANIFEST: &str = r#"[component]
id = "demo/echo/main"
wasm = "echo.wasm"

[resources]
memory = "1MiB"
fuel = 1_000_000
timeout = "5s"
"#;

/// Every command that takes a component refuses it with exit code 2 and the same
/// words, and prints nothing on standard output.
#[track_caller]
fn refused(file: &str, parts: &[&str]) {
    program(limited(&["run", file, "--message", "x"]))
        .expect(2, "")
        .complains(parts);
    program(limited(&["call", file, "f()"]))
        .expect(2, "")
        .complains(parts);
    program(["check", file]).expect(2, "").complains(parts);
    program(["inspect", file]).expect(2, "").complains(parts);
}

/// As [`refused`], by every command that does more than look at the bytes.
#[track_caller]
fn not_loaded(fixture: Fixture, parts: &[&str]) {
    let folder = Folder::new();
    let file = folder.fixture(fixture);
    program(limited(&["run", &file, "--message", "x"]))
        .expect(2, "")
        .complains(parts);
    program(limited(&["call", &file, "f()"]))
        .expect(2, "")
        .complains(parts);
    program(["check", &file]).expect(2, "").complains(parts);
}

/// A manifest beside a sound component, with one thing changed.
#[track_caller]
fn manifest_refused(from: &str, to: &str, parts: &[&str]) {
    let folder = Folder::new();
    folder.fixture(wasm_fixtures::ECHO);
    assert!(MANIFEST.contains(from));
    folder.write("Component.toml", MANIFEST.replace(from, to));
    let path = folder.path("");
    program(["run", &path, "--message", "x"])
        .expect(2, "")
        .complains(parts);
    program(["check", &path]).expect(2, "").complains(parts);
}

#[test]
fn an_empty_file() {
    let folder = Folder::new();
    let file = folder.write("empty.wasm", "");
    refused(
        &file,
        &[
            "error: local/empty/main is not a component",
            "it is empty",
            "empty.wasm",
        ],
    );
}

#[test]
fn a_truncated_file() {
    let folder = Folder::new();
    let file = folder.fixture(wasm_fixtures::TRUNCATED);
    refused(
        &file,
        &[
            "truncated.wasm",
            "it is damaged or not supported",
            "offset 0x",
        ],
    );
    let file = folder.write("header.wasm", b"\0asm\x0d");
    refused(&file, &["the header is cut short after 5 of 8 bytes"]);
}

#[test]
fn text_instead_of_binary() {
    let folder = Folder::new();
    let file = folder.write("text.wasm", "(component)");
    refused(
        &file,
        &[
            "it is the WebAssembly text format",
            "`wasm-tools parse` converts",
        ],
    );
    let file = folder.write("prose.wasm", "Dear \u{1b}[31m engine");
    refused(
        &file,
        &["it is not WebAssembly: it begins with \"Dear \\u{1b}[31m"],
    );
}

#[test]
fn a_core_module() {
    let folder = Folder::new();
    let file = folder.fixture(wasm_fixtures::CORE_MODULE);
    refused(
        &file,
        &["it is a core module; only components are accepted"],
    );
}

#[test]
fn a_component_of_another_world() {
    let folder = Folder::new();
    let file = folder.fixture(wasm_fixtures::HELLO);
    program(limited(&["run", &file, "--message", "x"]))
        .expect(2, "")
        .complains(&[
            "does not export `airssys:core/component-lifecycle@1.0.0`, so it takes no messages",
            "hello.wasm",
            "airssys-wasm call ",
        ]);
    not_loaded(
        wasm_fixtures::MISSING_EXPORT,
        &["exports `component-lifecycle` without `handle-callback`"],
    );
    not_loaded(
        wasm_fixtures::WRONG_TYPE,
        &["its export `handle-message` has another type"],
    );
}

#[test]
fn an_import_nobody_provides() {
    not_loaded(
        wasm_fixtures::UNKNOWN_IMPORT,
        &[
            "imports `acme:db/query@1.0.0`, which this host does not provide",
            "airssys-wasm inspect",
        ],
    );
}

#[test]
fn an_initialize_that_fails() {
    let folder = Folder::new();
    let file = folder.fixture(wasm_fixtures::INIT_FAILS);
    program(limited(&["run", &file, "--message", "x"]))
        .expect(2, "")
        .complains(&["did not initialize: initialization-failed \"no configuration\""]);
}

#[test]
fn two_hundred_megabytes_of_zeros() {
    let folder = Folder::new();
    let file = folder.path("zeros.wasm");
    File::create(&file).unwrap().set_len(200_000_000).unwrap();
    refused(
        &file,
        &["zeros.wasm", "more than the 64MiB that are accepted"],
    );
    // Within what is accepted, the first bytes tell.
    File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(50_000_000)
        .unwrap();
    refused(
        &file,
        &["it is not WebAssembly: it begins with 00 00 00 00"],
    );
}

#[test]
fn an_unreadable_path() {
    let folder = Folder::new();
    refused(
        "/nowhere/x.wasm",
        &["error: /nowhere/x.wasm cannot be read: No such file"],
    );
    refused(&folder.path(""), &["has no Component.toml"]);
    let wasm = folder.fixture(wasm_fixtures::ECHO);
    refused(
        &folder.path(""),
        &["has no Component.toml", "airssys-wasm inspect --manifest"],
    );
    fs::create_dir(folder.path("Component.toml")).unwrap();
    refused(
        &folder.path(""),
        &["Component.toml", "it is not a regular file"],
    );

    let denied = {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&wasm, fs::Permissions::from_mode(0o000)).unwrap();
        File::open(&wasm).is_err()
    };
    // Root reads everything.
    if denied {
        refused(&wasm, &["echo.wasm", "Permission denied"]);
    }
}

#[test]
fn devices_and_pipes_are_no_components() {
    refused(
        "/dev/zero",
        &["/dev/zero could not be loaded: it is not a regular file"],
    );
}

#[test]
fn the_file_that_a_manifest_names_is_missing() {
    manifest_refused(
        "echo.wasm",
        "other.wasm",
        &["other.wasm could not be loaded: No such file or directory"],
    );
}

#[test]
fn ids_that_are_none() {
    for (id, found) in [
        ("demo/../main", "the name \\\"..\\\" is at fault"),
        ("demo/a/b/c", "found \"demo/a/b/c\""),
        ("demo", "found \"demo\""),
        ("/etc/passwd/x", "found \"/etc/passwd/x\""),
        ("demo/a\\u001b[31m/main", "\\u{1b}[31m"),
        ("demo/a\\nb/main", "\\u{a}"),
        ("demo/größe/main", "größe"),
        ("demo//main", "found \"demo//main\""),
    ] {
        manifest_refused(
            "demo/echo/main",
            id,
            &[
                "Component.toml:2:6",
                "2 | id = ",
                "component.id",
                &found.replace("\\\"", "\""),
            ],
        );
    }
}

#[test]
fn memory_out_of_range() {
    for memory in [
        "0B", "1B", "1TiB", "1024GiB", "4GiB", "5MiB", "2mib", "lots",
    ] {
        manifest_refused(
            "1MiB",
            memory,
            &[
                "error: `resources.memory`: found \"",
                "from 512KiB to 4MiB",
                "Component.toml:6:10",
                "6 | memory = \"",
                "  |          ^^",
            ],
        );
    }
    manifest_refused(
        "1MiB",
        "5MiB",
        &["--memory-ceiling SIZE raises the ceiling"],
    );
    let folder = Folder::new();
    let echo = folder.fixture(wasm_fixtures::ECHO);
    for memory in ["0B", "1024GiB"] {
        program([
            "run",
            &echo,
            "--memory",
            memory,
            "--fuel=1",
            "--timeout=1s",
            "-m",
            "x",
        ])
        .expect(2, "")
        .complains(&[
            "it must be 512KiB to 4MiB",
            "the limit was given by --memory",
        ]);
    }
    program([
        "run",
        &echo,
        "--memory=1MiB",
        "--fuel=0",
        "--timeout=1s",
        "-m",
        "x",
    ])
    .expect(2, "")
    .complains(&["is not a whole number from 1"]);
    program([
        "run",
        &echo,
        "--memory=1MiB",
        "--fuel=1",
        "--timeout=0s",
        "-m",
        "x",
    ])
    .expect(2, "")
    .complains(&["must be 1ms to 24h", "the limit was given by --timeout"]);
}

#[test]
fn a_typo_in_a_key() {
    manifest_refused(
        "memory =",
        "memroy =",
        &[
            "error: `resources.memroy`: unknown key",
            "Component.toml:6:1",
            "6 | memroy = \"1MiB\"",
            "  | ^^^^^^",
            "= help: did you mean `memory`?",
        ],
    );
    // Everything is told at once.
    let twice = "fuel = 1_000_000\ntimout = \"5s\"\ncpu = 1";
    manifest_refused(
        "fuel = 1_000_000",
        twice,
        &[
            "`resources.timout`: unknown key",
            "`resources.cpu`: unknown key",
        ],
    );
    manifest_refused("[resources]", "[resource]", &["did you mean [resources]?"]);
    manifest_refused("fuel = ", "fuel == ", &["not TOML", "Component.toml:7:"]);
}

#[test]
fn a_manifest_that_is_no_text() {
    let folder = Folder::new();
    let file = folder.write("Component.toml", b"[component]\nid = \"\xff\"\n");
    program(["check", &file])
        .expect(2, "")
        .complains(&["a manifest is UTF-8 text", "Component.toml:2"]);
    File::create(&file).unwrap().set_len(2 << 20).unwrap();
    program(["check", &file])
        .expect(2, "")
        .complains(&["more than the 1MiB that are accepted"]);
}

#[test]
fn limits_of_a_bare_component_are_required() {
    let folder = Folder::new();
    let echo = folder.fixture(wasm_fixtures::ECHO);
    program(["run", &echo, "--memory", "1MiB", "-m", "x"])
        .expect(2, "")
        .complains(&[
            "a bare component needs its limits: --fuel and --timeout are missing",
            "for example --memory 2MiB --fuel 10_000_000 --timeout 250ms",
            "`airssys-wasm inspect --manifest ",
        ]);
}

#[test]
fn messages_and_configuration_that_cannot_be_read() {
    let folder = Folder::new();
    let echo = folder.fixture(wasm_fixtures::ECHO);
    // Nothing is sent if not everything can be.
    program(limited(&[
        "run",
        &echo,
        "-m",
        "x",
        "--message-file",
        "/nowhere",
    ]))
    .expect(2, "")
    .complains(&["/nowhere cannot be read: No such file"]);
    let large = folder.path("large");
    File::create(&large).unwrap().set_len(2 << 20).unwrap();
    for flag in ["--message-file", "--config"] {
        program(limited(&["run", &echo, "-m", "x", flag, &large]))
            .expect(2, "")
            .complains(&["is larger than the 1MiB of memory that the component may have"]);
    }
    program(limited(&[
        "run",
        &echo,
        "-m",
        "x",
        "--message-file",
        &folder.path(""),
    ]))
    .expect(2, "")
    .complains(&["Is a directory"]);
}

#[test]
fn a_name_cannot_steer_the_terminal() {
    let folder = Folder::new();
    let file = folder.write("\u{1b}[31m\n.wasm", "");
    refused(&file, &["\\u{1b}[31m\\u{a}.wasm"]);
}
