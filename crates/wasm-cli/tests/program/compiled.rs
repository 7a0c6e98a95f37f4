use crate::{CACHE, Ended, Folder, command, ended, limited};

fn with_cache(folder: &Folder, cache: &str, arguments: &[&str]) -> Ended {
    let output = command(arguments)
        .env(CACHE.0, folder.path(cache))
        .current_dir(folder.0.path())
        .output();
    ended(&output.unwrap())
}

/// To a machine that compiles nothing.
#[test]
fn compiled_code_is_taken_along_in_a_file() {
    let folder = Folder::new();
    folder.fixture(wasm_fixtures::ECHO);
    let compile = limited(&["compile", "echo.wasm", "--output", "echo.code"]);
    let compiled = with_cache(&folder, "here", &compile);
    assert_eq!(compiled.code, Some(0), "{compiled:?}");
    assert!(compiled.stdout.contains("\necho.code: "), "{compiled:?}");
    let added = with_cache(&folder, "there", &["cache", "--add", "echo.code"]);
    assert!(added.stdout.starts_with("echo.code: added "), "{added:?}");
    let run = ["run", "echo.wasm", "-m", "hi", "--compile-memory", "1KiB"];
    let refused = with_cache(&folder, "nowhere", &limited(&run));
    assert_eq!(refused.code, Some(2), "{refused:?}");
    let answered = with_cache(&folder, "there", &limited(&run));
    assert_eq!((answered.code, &*answered.stdout), (Some(0), "hi\n"));
}

#[test]
fn what_is_no_compiled_code_is_not_added() {
    let folder = Folder::new();
    folder.fixture(wasm_fixtures::ECHO);
    let added = with_cache(&folder, "there", &["cache", "--add", "echo.wasm"]);
    assert_eq!(added.code, Some(2), "{added:?}");
    assert_eq!(
        added.stderr,
        "error: echo.wasm is not added: it is no file that `compile --output` wrote\n"
    );
    let two = limited(&["compile", "echo.wasm", "echo.wasm", "-o", "echo.code"]);
    let two = with_cache(&folder, "there", &two);
    assert_eq!(two.code, Some(2), "{two:?}");
    assert!(
        two.stderr.contains("--output is for one component"),
        "{two:?}"
    );
}

#[test]
fn what_is_compiled_and_not_kept_is_told() {
    let folder = Folder::new();
    folder.fixture(wasm_fixtures::ECHO);
    for (cache, said) in [
        (
            "/dev/null",
            "echo.wasm is compiled, but not kept in /dev/null: ",
        ),
        (
            "./caches",
            "error: there is no cache to compile into: ./caches, which AIRSSYS_WASM_CACHE names, is \
             not an absolute path\n",
        ),
        (
            "",
            "error: there is no cache to compile into: AIRSSYS_WASM_CACHE is empty\n",
        ),
    ] {
        let mut compile = command(limited(&["compile", "echo.wasm"]));
        let compile = compile.env(CACHE.0, cache).current_dir(folder.0.path());
        let compiled = ended(&compile.output().unwrap());
        assert_eq!((compiled.code, &*compiled.stdout), (Some(2), ""), "{cache}");
        assert!(compiled.stderr.contains(said), "{compiled:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_in_the_place_of_compiled_code_is_not_waited_for() {
    let folder = Folder::new();
    let mut make = std::process::Command::new("mkfifo");
    let made = make.arg("f.fifo").current_dir(folder.0.path()).status();
    assert!(made.unwrap().success());
    let added = with_cache(&folder, "there", &["cache", "--add", "f.fifo"]);
    assert_eq!(
        (added.code, &*added.stderr),
        (
            Some(2),
            "error: f.fifo is not added: it is not a regular file\n"
        )
    );
}
