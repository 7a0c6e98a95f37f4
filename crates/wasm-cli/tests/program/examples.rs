use std::fs;

use crate::{example, program, repository, with_input};

#[test]
fn examples_are_copies_of_fixtures() {
    for fixture in [
        wasm_fixtures::ECHO,
        wasm_fixtures::COUNTER,
        wasm_fixtures::STORED_COUNTER,
        wasm_fixtures::SPIN,
        wasm_fixtures::HELLO,
    ] {
        let name = fixture.name;
        let copy = format!("examples/{name}/{name}.wasm");
        assert!(
            fs::read(repository().join(&copy)).unwrap() == fixture.wasm,
            "run: cp crates/wasm-fixtures/wasm/{name}.wasm {copy}"
        );
    }
}

#[test]
fn echo_answers_hello() {
    let ended = program(["run", &example("echo"), "--message", "hello"]).expect(0, "hello\n");
    assert_eq!(ended.stderr, "");
}

#[test]
fn hello_is_42() {
    program(["call", &example("hello"), "hello()"]).expect(0, "42\n");
}

#[test]
fn counters_count() {
    for name in ["counter", "stored-counter"] {
        with_input(["run", &example(name)], b"a\nb\nc\n").expect(0, "1\n2\n3\n");
    }
}

#[test]
fn spin_is_stopped_and_restarted() {
    program([
        "run",
        &example("spin"),
        "--message",
        "go",
        "--message",
        "ok",
    ])
    .expect(1, "ok\n")
    .complains(&[
        "not done within 100ms",
        "timeout = \"100ms\"",
        "this was message 1 (--message)",
        "demo/spin/main failed and is restarted",
    ]);
}

#[test]
fn every_example_can_be_loaded() {
    let folders = fs::read_dir(repository().join("examples")).unwrap();
    let mut paths: Vec<_> = folders.map(|entry| entry.unwrap().path()).collect();
    // One is a crate that uses components, not a component.
    paths.retain(|path| path.is_dir() && !path.join("Cargo.toml").exists());
    paths.sort();
    assert!(paths.len() >= 5, "{paths:?}");
    let mut arguments = vec!["check".into()];
    arguments.extend(paths.iter().map(|path| path.as_os_str().to_owned()));
    let checked = program(arguments);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    assert_eq!(
        checked.stdout.matches("Component.toml: ok\n").count(),
        paths.len()
    );
}
