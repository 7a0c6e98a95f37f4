use std::fs::{self, File};

use crate::{Folder, command, limited, program, with_input};

const MANIFEST: &str = r#"[component]
id = "demo/echo/main"
wasm = "echo.wasm"

[resources]
memory = "1MiB"
fuel = 1_000_000
timeout = "5s"
"#;

/// The commands that take a component.
fn every_command(file: &str) -> [String; 4] {
    [
        format!("run {file} --message x $LIMITS"),
        format!("call {file} f() $LIMITS"),
        format!("check {file}"),
        format!("inspect {file}"),
    ]
}

/// Each refuses it, with the same words.
#[track_caller]
fn refused(file: &str, part: &str) {
    for arguments in [
        limited(&["run", file, "--message", "x"]),
        limited(&["call", file, "f()"]),
        vec!["check", file],
        vec!["inspect", file],
    ] {
        program(arguments).expect(2, "").complains(&[part]);
    }
}

/// Manifests beside a sound component, each with one thing changed.
fn mistaken_manifests(name: &str, changes: &[(&str, &str)]) {
    let folder = Folder::new();
    folder.fixture(wasm_fixtures::ECHO);
    let mut lines = Vec::new();
    for (i, (from, to)) in changes.iter().enumerate() {
        assert!(MANIFEST.contains(from));
        folder.write(&format!("{i}.toml"), MANIFEST.replace(from, to));
        lines.push(format!("run {i}.toml --message x"));
        lines.push(format!("check {i}.toml"));
    }
    folder.shows(name, &lines);
}

#[test]
fn files_that_are_no_components() {
    let folder = Folder::new();
    folder.write("empty.wasm", "");
    folder.write("header.wasm", b"\0asm\x0d");
    folder.write("text.wasm", "(component)");
    folder.write("prose.wasm", "Dear \u{1b}[31m engine");
    folder.fixture(wasm_fixtures::TRUNCATED);
    folder.fixture(wasm_fixtures::CORE_MODULE);
    File::create(folder.path("large.wasm"))
        .and_then(|file| file.set_len(200_000_000))
        .unwrap();
    // Within what is accepted, the first bytes tell.
    File::create(folder.path("zeros.wasm"))
        .and_then(|file| file.set_len(50_000_000))
        .unwrap();
    let files = [
        "empty.wasm",
        "header.wasm",
        "text.wasm",
        "prose.wasm",
        "truncated.wasm",
        "core-module.wasm",
        "large.wasm",
        "zeros.wasm",
        "/dev/zero",
    ];
    folder.shows("no-components", &files.map(every_command).concat());
}

#[test]
fn components_that_do_not_fit() {
    let folder = Folder::new();
    let mut lines = Vec::new();
    for fixture in [
        wasm_fixtures::HELLO,
        wasm_fixtures::MISSING_EXPORT,
        wasm_fixtures::WRONG_TYPE,
        wasm_fixtures::UNKNOWN_IMPORT,
        wasm_fixtures::INIT_FAILS,
        wasm_fixtures::BIG_INITIAL_MEMORY,
    ] {
        folder.fixture(fixture);
        let [run, call, check, _] = every_command(&format!("{}.wasm", fixture.name));
        lines.extend([run, call, check]);
    }
    folder.shows("unfit-components", &lines);
}

#[test]
fn an_unreadable_path() {
    let folder = Folder::new();
    let wasm = folder.fixture(wasm_fixtures::ECHO);
    fs::create_dir_all(folder.path("empty")).unwrap();
    fs::create_dir_all(folder.path("folder/Component.toml")).unwrap();
    let paths = ["nowhere/x.wasm", "empty", ".", "folder"];
    folder.shows("unreadable-paths", &paths.map(every_command).concat());

    let denied = {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&wasm, fs::Permissions::from_mode(0o000)).unwrap();
        File::open(&wasm).is_err()
    };
    // Root reads everything.
    if denied {
        refused(&wasm, "Permission denied");
    }
}

#[test]
fn the_file_that_a_manifest_names_is_missing() {
    mistaken_manifests("manifest-without-file", &[("echo.wasm", "other.wasm")]);
}

/// Each points at its line, with what there is and what may be.
#[test]
fn what_a_manifest_names_and_grants_is_not_there() {
    let folder = Folder::new();
    let place = |line: u32| format!("a/Component.toml:{line}:");
    for (more, line, parts) in [
        (
            "[config]\nfile = \"none\"\n",
            10,
            ["a/none cannot be read: No such file", ""],
        ),
        (
            "[config]\nfile = \"large\"\n",
            10,
            [
                "a/large has 1048577B, more than the 1MiB of memory",
                "`memory` in [resources]",
            ],
        ),
        (
            "[permissions]\nwasi = [\"stdout\",\n  { dir = \"none\", access = \"read\" }]\n",
            11,
            ["a/none is granted and is no folder", ""],
        ),
    ] {
        folder.component("a", wasm_fixtures::ECHO, more);
        folder.write("a/large", vec![b' '; (1 << 20) + 1]);
        for arguments in [
            ["check", &folder.path("a")],
            ["run", &folder.path("a")],
            ["up", &folder.path("")],
        ] {
            let ended = program(arguments).expect(2, "");
            ended.complains(&[parts[0], parts[1], &place(line)]);
        }
    }
}

#[test]
fn what_nobody_sees_is_spelled_out() {
    let folder = Folder::new();
    folder.component("a", wasm_fixtures::ECHO, "");
    let manifest = fs::read_to_string(folder.path("a/Component.toml")).unwrap();
    folder.write(
        "a/Component.toml",
        manifest.replace("\"1MiB\"", "\"1\u{200b}MiB\""),
    );
    let ended = program(["check", &folder.path("a")]).expect(2, "");
    ended.complains(&[
        "found \"1\\u{200b}MiB\"",
        "memory = \"1\\u{200b}MiB\"\n",
        "          ^^^^^^^^^^^^^^\n",
    ]);
    folder.component("a", wasm_fixtures::ECHO, "");
    let ended = with_input(["up", &folder.path("")], "qu\u{200b}it\n".as_bytes());
    ended
        .expect(1, "")
        .complains(&["\"qu\\u{200b}it\" is neither"]);
}

#[test]
fn ids_that_are_none() {
    let ids = [
        "demo/../main",
        "demo/a/b/c",
        "demo",
        "/etc/passwd/x",
        "demo/a\\u001b[31m/main",
        "demo/a\\nb/main",
        "demo/größe/main",
        "demo//main",
    ];
    mistaken_manifests("manifest-ids", &ids.map(|id| ("demo/echo/main", id)));
}

#[test]
fn memory_out_of_range() {
    let sizes = [
        "0B", "1B", "1TiB", "1024GiB", "4GiB", "5MiB", "2mib", "lots",
    ];
    mistaken_manifests("manifest-memory", &sizes.map(|size| ("1MiB", size)));
}

#[test]
fn limits_out_of_range() {
    let folder = Folder::new();
    folder.fixture(wasm_fixtures::ECHO);
    let lines = [
        "run echo.wasm --memory=0B --fuel=1 --timeout=1s -m x",
        "run echo.wasm --memory=1024GiB --fuel=1 --timeout=1s -m x",
        "run echo.wasm --memory=1MiB --fuel=0 --timeout=1s -m x",
        "run echo.wasm --memory=1MiB --fuel=1 --timeout=0s -m x",
        "run echo.wasm --memory=1MiB -m x",
        "call echo.wasm health()",
    ];
    folder.shows("limits-out-of-range", &lines);
}

#[test]
fn typos_in_keys() {
    let changes = [
        ("memory =", "memroy ="),
        // Everything is told at once.
        (
            "fuel = 1_000_000",
            "fuel = 1_000_000\ntimout = \"5s\"\ncpu = 1",
        ),
        ("[resources]", "[resource]"),
        ("fuel = ", "fuel == "),
    ];
    mistaken_manifests("manifest-typos", &changes);
}

#[test]
fn a_manifest_that_is_no_text() {
    let folder = Folder::new();
    folder.write("odd.toml", b"[component]\nid = \"\xff\"\n");
    File::create(folder.path("large.toml"))
        .and_then(|file| file.set_len(2 << 20))
        .unwrap();
    folder.shows("manifest-no-text", &["check odd.toml", "check large.toml"]);
}

#[test]
fn messages_and_configuration_that_cannot_be_read() {
    let folder = Folder::new();
    folder.fixture(wasm_fixtures::ECHO);
    File::create(folder.path("large"))
        .and_then(|file| file.set_len(2 << 20))
        .unwrap();
    let lines = [
        // Nothing is sent if not everything can be.
        "run echo.wasm -m x --message-file nowhere $LIMITS",
        "run echo.wasm -m x --message-file large $LIMITS",
        "run echo.wasm -m x --message-file . $LIMITS",
        "run echo.wasm -m x --config large $LIMITS",
    ];
    folder.shows("unreadable-messages", &lines);
}

/// It is told before anything is loaded, and where.
#[test]
fn an_id_of_the_host_itself_is_no_components() {
    for id in ["local/airssys-wasm/up", "host/timers/main"] {
        let folder = Folder::new();
        folder.component("a", wasm_fixtures::ECHO, "");
        folder.component("b", wasm_fixtures::ECHO, "");
        folder.manifest("b", id, "");
        let (whole, one) = (folder.path(""), folder.path("b"));
        for arguments in [["check", &whole], ["check", &one], ["up", &whole]] {
            program(arguments).complains(&[
                &format!("{id} is the host itself, and no component can be loaded under that id"),
                "b/Component.toml:2:1\n",
                "2 | id = ",
            ]);
            assert_eq!(program(arguments).code, Some(2), "{arguments:?}");
        }
    }
}

#[test]
fn a_name_cannot_steer_the_terminal() {
    let folder = Folder::new();
    let file = folder.write("\u{1b}[31m\n\u{200b}\u{ad}\u{3164}.wasm", "");
    refused(&file, "\\u{1b}[31m\\u{a}\\u{200b}\\u{ad}\\u{3164}.wasm");
}

#[test]
fn an_argument_cannot_steer_the_terminal_in_colours_either() {
    let typed = command(["ru\u{1b}[31m\u{202e}\nn"])
        .env("CLICOLOR_FORCE", "1")
        .output()
        .unwrap();
    let told = String::from_utf8(typed.stderr).unwrap();
    assert!(told.contains("\'\u{1b}["), "{told}");
    assert!(
        told.contains("mru\\u{1b}[31m\\u{202e}\\u{a}n\u{1b}["),
        "{told}"
    );
}

#[cfg(unix)]
#[test]
fn an_argument_that_is_no_text_is_named() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    let bytes = OsStr::from_bytes(b"1\xffM\x1b");
    program(["run".as_ref(), "x".as_ref(), "--memory".as_ref(), bytes])
        .expect(2, "")
        .complains(&["files may be: '1\\xffM\\u{1b}'\n\nUsage: airssys-wasm run"]);
}
