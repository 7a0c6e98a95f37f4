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

#[cfg(unix)]
#[test]
fn what_is_compiled_is_not_overwritten() {
    let folder = Folder::new();
    folder.fixture(wasm_fixtures::ECHO);
    std::fs::create_dir(folder.path("app")).unwrap();
    let manifest = "[component]\nid = \"demo/echo/main\"\nwasm = \"echo.wasm\"\n\n[resources]\n\
                    memory = \"1MiB\"\nfuel = 1\ntimeout = \"1s\"\n";
    std::fs::write(folder.path("app/Component.toml"), manifest).unwrap();
    std::os::unix::fs::symlink("echo.wasm", folder.path("link.wasm")).unwrap();
    std::fs::write(folder.path("app/echo.wasm"), wasm_fixtures::ECHO.wasm).unwrap();
    let content = || {
        let files = ["echo.wasm", "app/echo.wasm", "app/Component.toml"];
        files.map(|file| std::fs::read(folder.path(file)).unwrap())
    };
    let before = content();
    for (path, output) in [
        ("echo.wasm", "echo.wasm"),
        ("link.wasm", "echo.wasm"),
        ("echo.wasm", "link.wasm"),
        ("app", "app/echo.wasm"),
        ("app", "app/Component.toml"),
    ] {
        let arguments = ["compile", path, "-o", output];
        let compiled = match path {
            "app" => with_cache(&folder, "here", &arguments),
            _ => with_cache(&folder, "here", &limited(&arguments)),
        };
        assert_eq!(compiled.code, Some(2), "{compiled:?}");
        let told = format!("error: {output} is what is compiled, and stays as it is\n");
        assert!(compiled.stderr.starts_with(&told), "{compiled:?}");
        assert!(content() == before, "{output}");
    }
}

/// wasmtime says itself that this variable is of use.
#[test]
fn what_is_compiled_does_not_depend_on_the_environment() {
    let folder = Folder::new();
    folder.fixture(wasm_fixtures::ECHO);
    let run = || {
        let mut run = command(limited(&["run", "echo.wasm", "-m", "hi"]));
        run.current_dir(folder.0.path())
            .env(CACHE.0, folder.path("here"));
        run
    };
    for _ in 0..2 {
        let answered = run().env("WASMTIME_BACKTRACE_DETAILS", "1").output();
        let answered = ended(&answered.unwrap());
        assert_eq!((answered.code, &*answered.stdout), (Some(0), "hi\n"));
    }
}

/// As some that start programs have it.
#[cfg(unix)]
#[test]
fn who_ignores_the_ends_of_processes_can_wait_for_a_compiler() {
    let folder = Folder::new();
    folder.fixture(wasm_fixtures::ECHO);
    let run = limited(&["run", "echo.wasm", "-m", "hi", "--no-cache"]);
    let output = std::process::Command::new("env")
        .arg("--ignore-signal=CHLD")
        .arg(env!("CARGO_BIN_EXE_airssys-wasm"))
        .args(run)
        .current_dir(folder.0.path())
        .output();
    let answered = ended(&output.unwrap());
    assert_eq!((answered.code, &*answered.stdout), (Some(0), "hi\n"));
}

/// A folder lies where it is to be.
#[test]
fn what_cannot_be_read_is_told_once() {
    let folder = Folder::new();
    folder.fixture(wasm_fixtures::ECHO);
    let run = limited(&["run", "echo.wasm", "-m", "hi"]);
    let first = with_cache(&folder, "here", &run);
    assert_eq!((first.code, &*first.stderr), (Some(0), ""));
    for entry in std::fs::read_dir(folder.path("here")).unwrap() {
        let entry = entry.unwrap().path();
        if entry.file_name().unwrap().len() == 64 {
            std::fs::remove_file(&entry).unwrap();
            std::fs::create_dir(&entry).unwrap();
        }
    }
    let second = with_cache(&folder, "here", &run);
    assert_eq!((second.code, &*second.stdout), (Some(0), "hi\n"));
    let told = second.stderr.matches("is compiled anew").count();
    assert_eq!(told, 1, "{second:?}");
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
