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
