use crate::{Folder, example, limited, program};

#[test]
fn says_what_was_checked() {
    let ended = program(["check", &example("echo")]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    for part in [
        "echo/Component.toml: ok\n",
        "  manifest   demo/echo/main, memory 1MiB, fuel 1_000_000, timeout 250ms\n",
        "  component  ",
        "takes messages\n",
        "all provided\n",
        "  memory     starts with ",
    ] {
        assert!(ended.stdout.contains(part), "{part:?} in: {}", ended.stdout);
    }
}

#[test]
fn goes_on_after_a_problem() {
    let folder = Folder::new();
    let truncated = folder.fixture(wasm_fixtures::TRUNCATED);
    let echo = folder.fixture(wasm_fixtures::ECHO);
    let ended = program(["check", &truncated, &echo, "/nowhere"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stdout.contains("echo.wasm: ok\n"), "{}", ended.stdout);
    ended.complains(&["truncated.wasm", "/nowhere cannot be read"]);
}

#[test]
fn a_bare_component_needs_no_limits_to_be_checked() {
    let folder = Folder::new();
    let echo = folder.fixture(wasm_fixtures::ECHO);
    let ended = program(["check", &echo]);
    assert!(
        ended.stdout.contains("limits     none given"),
        "{}",
        ended.stdout
    );
    let ended = program(limited(&["check", &echo]));
    assert!(!ended.stdout.contains("none given"), "{}", ended.stdout);
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
    let big = folder.fixture(wasm_fixtures::BIG_INITIAL_MEMORY);
    program(["check", &big])
        .expect(2, "")
        .complains(&["starts with 64MiB of memories and tables, more than its limit of 4MiB"]);
    assert!(!program(["check", &big]).stderr.contains("given by"));
    let raised = program(["check", &big, "--memory-ceiling", "64MiB"]);
    assert_eq!(raised.code, Some(0), "{}", raised.stderr);
}

#[test]
fn what_a_manifest_names_must_be_there() {
    let folder = Folder::new();
    folder.fixture(wasm_fixtures::ECHO);
    let manifest = "[component]\nid = \"demo/a/main\"\nwasm = \"echo.wasm\"\n\
                    [resources]\nmemory = \"1MiB\"\nfuel = 1_000_000\ntimeout = \"5s\"\n";
    let granted = "[permissions]\nwasi = [{ dir = \"data\", access = \"read\" }]\n";
    let path = folder.write("Component.toml", format!("{manifest}{granted}"));
    program(["check", &path])
        .expect(2, "")
        .complains(&["data is granted and is no folder", "Component.toml"]);
    program(["run", &path, "-m", "x"])
        .expect(2, "")
        .complains(&["data"]);
    std::fs::create_dir(folder.path("data")).unwrap();
    assert_eq!(program(["check", &path]).code, Some(0));
    program(["run", &path, "-m", "x"]).expect(0, "x\n");

    let configured = "[config]\nfile = \"echo.json\"\n";
    let path = folder.write("Component.toml", format!("{manifest}{configured}"));
    program(["check", &path])
        .expect(2, "")
        .complains(&["echo.json cannot be read: No such file"]);
    folder.write("echo.json", "{}");
    assert_eq!(program(["check", &path]).code, Some(0));
}
