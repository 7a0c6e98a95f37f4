use crate::{Ended, Folder, command, ended, limited, program, repository, terminal};

#[test]
fn says_what_was_checked() {
    let lines = [
        "check examples/echo examples/hello examples/stored-counter/Component.toml",
        "check examples/echo/echo.wasm",
        "check examples/echo/echo.wasm $LIMITS",
    ];
    terminal(&repository(), "check", &lines);
}

#[test]
fn goes_on_after_a_problem() {
    let folder = Folder::new();
    folder.fixture(wasm_fixtures::TRUNCATED);
    folder.fixture(wasm_fixtures::ECHO);
    let lines = ["check truncated.wasm echo.wasm nowhere"];
    folder.shows("check-of-several", &lines);
}

#[cfg(unix)]
#[test]
fn a_file_can_be_called_anything() {
    let folder = Folder::new();
    folder.component("app", wasm_fixtures::ECHO, "");
    let name = "e\u{1b}[31m\nred.wasm";
    let escaped = "e\\u{1b}[31m\\u{a}red.wasm";
    for wasm in [wasm_fixtures::ECHO.wasm, wasm_fixtures::UNKNOWN_IMPORT.wasm] {
        folder.write(name, wasm);
        for arguments in [
            &["check", name][..],
            &["inspect", name],
            &["run", name, "-m", "x"],
            &["run", name, "-m", "x", "--memory", "1B"],
            &["call", name, "f()"],
            &["up", name],
            &["up", "app", "--data", name],
        ] {
            let output = command(arguments)
                .current_dir(folder.0.path())
                .output()
                .unwrap();
            let Ended { stdout, stderr, .. } = ended(&output);
            let text = stdout + &stderr;
            assert!(
                !text.contains('\u{1b}') && !text.contains("\nred"),
                "{text:?}"
            );
            assert!(
                text.contains(escaped) || arguments.contains(&"1B"),
                "{text:?}"
            );
        }
    }
    let renamed = folder.path("f\u{1b}[31m");
    std::fs::rename(folder.path("app"), &renamed).unwrap();
    let checked = program(["check", &renamed]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(!checked.stdout.contains('\u{1b}'), "{checked:?}");
    assert!(
        checked.stdout.contains("f\\u{1b}[31m/Component.toml: ok"),
        "{checked:?}"
    );
}

#[test]
fn nothing_is_run() {
    let folder = Folder::new();
    let fails = folder.fixture(wasm_fixtures::INIT_FAILS);
    assert_eq!(program(["check", &fails]).code, Some(0));
    assert_eq!(program(limited(&["run", &fails, "-m", "x"])).code, Some(2));
}

#[test]
fn an_initial_memory_over_the_limit_is_found_without_running() {
    let folder = Folder::new();
    folder.fixture(wasm_fixtures::BIG_INITIAL_MEMORY);
    let lines = [
        "check big-initial-memory.wasm",
        "check big-initial-memory.wasm --memory-ceiling 64MiB",
        "check big-initial-memory.wasm $LIMITS",
    ];
    folder.shows("check-of-memory", &lines);
}

#[test]
fn what_a_manifest_names_must_be_there() {
    let folder = Folder::new();
    folder.fixture(wasm_fixtures::ECHO);
    let manifest = "[component]\nid = \"demo/a/main\"\nwasm = \"echo.wasm\"\n\
                    [resources]\nmemory = \"1MiB\"\nfuel = 1_000_000\ntimeout = \"5s\"\n";
    let granted = "[permissions]\nwasi = [{ dir = \"data\", access = \"read\" }]\n";
    let configured = "[config]\nfile = \"echo.json\"\n";
    folder.write("granted.toml", format!("{manifest}{granted}"));
    folder.write("configured.toml", format!("{manifest}{configured}"));
    let lines = [
        "check granted.toml",
        "run granted.toml -m x",
        "check configured.toml",
        "run configured.toml -m x",
    ];
    folder.shows("check-of-missing-files", &lines);
    std::fs::create_dir(folder.path("data")).unwrap();
    folder.write("echo.json", "{}");
    folder.shows("check-of-files", &lines);
}

#[test]
fn several_are_held_apart() {
    let folder = Folder::new();
    let writes = "[permissions]\nwasi = [{ dir = \"data\", access = \"write\" }]\n";
    folder.component("a", wasm_fixtures::ECHO, writes);
    folder.component("b", wasm_fixtures::COUNTER, "");
    folder.component("c", wasm_fixtures::COUNTER, "");
    let data = folder.path("a/data");
    std::fs::create_dir(&data).unwrap();
    folder.write("a/data/b.wasm", wasm_fixtures::COUNTER.wasm);
    let manifest = folder.path("b/Component.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let text = text.replace("component.wasm", "../a/data/b.wasm");
    folder.write("b/Component.toml", text);
    let [a, b, c] = ["a", "b", "c"].map(|name| folder.path(name));
    assert_eq!(program(["check", &b]).code, Some(0));
    let checked = program(["check", &b, &c, &a]);
    assert_eq!(checked.code, Some(2));
    assert_eq!(
        checked.stdout.matches(": ok").count(),
        2,
        "{}",
        checked.stdout
    );
    checked.complains(&[
        "demo/a/main may write",
        "change the component of demo/b/main",
    ]);
}

#[test]
fn an_application_is_checked_as_it_is_run() {
    let folder = Folder::new();
    let sends = "[permissions]\nsend = [\"demo/b/*\", \"demo/missing/*\"]\n";
    folder.component("a", wasm_fixtures::SENDER, sends);
    folder.component("b", wasm_fixtures::HELLO, "");
    let app = folder.0.path().display().to_string();
    let checked = program(["check", &app]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(
        checked
            .stdout
            .ends_with(": ok, 2 components with up to 2MiB of memory\n"),
        "{}",
        checked.stdout
    );
    checked.complains(&[
        "`demo/missing/*` in `permissions.send` of demo/a/main matches no component here",
        "`demo/b/*` in `permissions.send` of demo/a/main matches only components that take no \
         messages",
    ]);
    // What `up` would refuse.
    let manifest = std::fs::read_to_string(folder.path("b/Component.toml")).unwrap();
    folder.write(
        "b/Component.toml",
        manifest.replace("demo/b/main", "demo/a/main"),
    );
    let checked = program(["check", &app]);
    assert_eq!(checked.code, Some(2));
    checked.complains(&["two components have the id demo/a/main"]);
}
