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
    let raised = program(["check", &big, "--memory-ceiling", "64MiB"]);
    assert_eq!(raised.code, Some(0), "{}", raised.stderr);
}
