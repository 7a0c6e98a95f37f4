use std::fs;
use std::path::{Path, PathBuf};

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
fn counters_count() {
    for name in ["counter", "stored-counter"] {
        with_input(["run", &example(name)], b"a\nb\nc\n").expect(0, "1\n2\n3\n");
    }
}

#[test]
fn components_in_rust_say_what_is_written_down() {
    // One of them knows nothing but the WIT.
    for name in ["greeter-rust", "greeter-plain", "puppet"] {
        let tested = program(["test", &example(name)]);
        assert_eq!(tested.code, Some(0), "{}{}", tested.stdout, tested.stderr);
        assert!(tested.stdout.ends_with(".txt: ok\n"), "{}", tested.stdout);
    }
}

#[test]
fn every_example_can_be_loaded() {
    let folders = |of: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(of).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.is_dir()).collect()
    };
    let mut paths = folders(&repository().join("examples"));
    // An application has its components in folders of their own.
    for within in paths.clone() {
        paths.extend(folders(&within));
    }
    paths.retain(|path| path.join("Component.toml").exists());
    paths.sort();
    assert!(paths.len() >= 12, "{paths:?}");
    let mut arguments = vec!["check".into()];
    arguments.extend(paths.iter().map(|path| path.as_os_str().to_owned()));
    let checked = program(arguments);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    assert_eq!(
        checked.stdout.matches("Component.toml: ok\n").count(),
        paths.len()
    );
}
