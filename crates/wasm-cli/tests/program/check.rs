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
fn says_whether_there_is_anything_to_call() {
    let folder = Folder::new();
    let imports =
        "(import \"wasi:io/error@0.2.0\" (instance (export \"error\" (type (sub resource)))))";
    for (exports, told) in [
        ("", "takes no messages, has no exports to call\n"),
        (
            "(instance $empty) (export \"e\" (instance $empty))",
            "takes no messages, has exports to call\n",
        ),
    ] {
        let component = format!("(component {imports} {exports})");
        let file = folder.write("a.wasm", wat::parse_str(component).unwrap());
        let checked = program(["check", &file]);
        assert_eq!(checked.code, Some(0), "{checked:?}");
        assert!(checked.stdout.contains(told), "{checked:?}");
    }
}

#[test]
fn a_grant_of_what_is_not_imported_is_told() {
    let folder = Folder::new();
    let imports = "(import \"acme:shop/types@1.0.0\" (instance))";
    folder.write(
        "a.wasm",
        wat::parse_str(format!("(component {imports})")).unwrap(),
    );
    let manifest = "[component]\nid = \"demo/a/main\"\nwasm = \"a.wasm\"\n\
                    [resources]\nmemory = \"1MiB\"\nfuel = 1_000_000\ntimeout = \"5s\"\n\
                    [permissions]\nimports = [\"acme:shop/*\", \"acme:shop/catalogue\"]\n";
    let file = folder.write("a.toml", manifest);
    let checked = program(["check", &file]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    checked.complains(&[
        "warning: `acme:shop/catalogue` in `permissions.imports` of demo/a/main matches \
         nothing that it imports",
    ]);
    assert!(!checked.stderr.contains("shop/*"), "{checked:?}");
}

/// It is for a host that embeds it, which this program is not.
#[test]
fn what_another_host_must_provide_is_noted_if_it_is_granted() {
    let folder = Folder::new();
    let import = |name| {
        format!("(import \"acme:shop/{name}@1.0.0\" (instance (export \"f\" (func (result u32)))))")
    };
    let component = format!("(component {} {})", import("catalog"), import("till"));
    let component = wat::parse_str(component).unwrap();
    let plugin = |grants: &str| {
        let more = format!("[permissions]\nimports = [{grants}]\n[build]\ncommand = \"true\"\n");
        folder.component("a", wasm_fixtures::ECHO, &more);
        folder.write("a/component.wasm", &component);
        folder.path("a")
    };
    let granted = plugin("\"acme:shop/*\"");
    for command in ["check", "build"] {
        let ended = program([command, &granted]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.complains(&[
            "note: demo/a/main is for a host that embeds it: that must provide what this",
            "Component.toml:",
            "imports = [\"acme:shop/*\"]",
            "acme:shop/catalog@1.0.0",
            "acme:shop/till@1.0.0",
        ]);
        let told = "imports    2, 2 of which the embedding host must provide";
        assert!(ended.stdout.contains(told), "{ended:?}");
    }
    for command in [
        &["call", &granted, "f()"][..],
        &["run", &granted],
        &["up", &granted],
    ] {
        let ended = program(command);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        ended.complains(&["imports `acme:shop/catalog@1.0.0`, which this host does not provide"]);
    }
    let in_part = plugin("\"acme:shop/catalog\"");
    for command in ["check", "build"] {
        let ended = program([command, &in_part]);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        ended.complains(&[
            "imports `acme:shop/till@1.0.0`, which this host does not provide",
            "help: `imports = [\"acme:shop/till\"]` in [permissions] grants it",
        ]);
    }
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

#[test]
fn of_many_missing_folders_the_first_are_told() {
    let folder = Folder::new();
    let dirs = (0..150).map(|number| format!("{{ dir = \"d{number}\", access = \"read\" }}"));
    let dirs: Vec<String> = dirs.collect();
    let grants = format!("[permissions]\nwasi = [{}]\n", dirs.join(", "));
    folder.component("a", wasm_fixtures::ECHO, &grants);
    let checked = program(["check", &folder.path("a")]).expect(2, "");
    let told = checked.stderr.matches("is granted and is no folder");
    assert_eq!(told.count(), 100, "{}", checked.stderr);
    checked.complains(&["a/d99 is", "a/Component.toml has 50 more problems"]);
}

#[cfg(unix)]
#[test]
fn a_linked_component_is_named_and_where_it_is_allowed_taken() {
    let (folder, outside) = (Folder::new(), Folder::new());
    let more = "[permissions]\nwasi = [{ dir = \"tests\", access = \"read\" }]\n\
                [build]\ncommand = \"true\"\n";
    outside.component("echo", wasm_fixtures::ECHO, more);
    std::fs::create_dir(outside.path("echo/tests")).unwrap();
    outside.write("echo/tests/a.txt", "> x\nx\n");
    std::fs::create_dir(folder.path("app")).unwrap();
    let (app, echo) = (folder.path("app"), outside.path("echo"));
    std::os::unix::fs::symlink(&echo, folder.path("app/echo")).unwrap();
    // It gets as far as what cannot be deployed.
    let granted = "is granted a folder of this machine";
    for (arguments, code, told) in [
        (&["up"][..], 0, ""),
        (&["check"], 0, ""),
        (&["test"], 0, ""),
        (&["build"], 0, ""),
        (&["deploy", "--nats", "nats://127.0.0.1:1"], 2, granted),
    ] {
        let arguments = [arguments, &[&app]].concat();
        program(&arguments).expect(2, "").complains(&[
            "there is no Component.toml in ",
            "app/echo is a link to ",
            &format!("--allow-outside {echo} allows it"),
        ]);
        let allowed = program([&arguments[..], &["--allow-outside", &echo]].concat());
        assert_eq!(allowed.code, Some(code), "{arguments:?} {allowed:?}");
        allowed.complains(&[told]);
    }
}

#[cfg(unix)]
#[test]
fn a_manifest_that_is_no_file_is_named_by_every_command() {
    let folder = Folder::new();
    folder.component("a", wasm_fixtures::ECHO, "");
    std::fs::create_dir(folder.path("f")).unwrap();
    let (app, f) = (folder.0.path().display().to_string(), folder.path("f"));
    let manifest = folder.path("f/Component.toml");
    let told = |kind: &str| {
        let told = format!("f/Component.toml could not be loaded: {kind}");
        for arguments in [
            ["up", &app],
            ["up", &f],
            ["check", &app],
            ["check", &f],
            ["check", &manifest],
            ["build", &app],
            ["build", &f],
            ["test", &app],
            ["test", &f],
            ["run", &f],
            ["inspect", &f],
        ] {
            let ended = program(arguments);
            assert_eq!(ended.code, Some(2), "{arguments:?} {ended:?}");
            ended.complains(&[&told]);
        }
    };
    std::fs::create_dir(&manifest).unwrap();
    told("it is not a regular file but a folder");
    std::fs::remove_dir(&manifest).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&manifest).status();
    assert!(made.unwrap().success());
    told("it is not a regular file but a pipe (FIFO)");
    std::fs::remove_file(&manifest).unwrap();
    std::os::unix::fs::symlink("nowhere", &manifest).unwrap();
    told("it is a link to nowhere, where nothing is");
}

/// That of one with instances enough for more than a host has.
#[test]
fn one_that_could_never_be_woken_is_told_of() {
    let folder = Folder::new();
    let lazy = "concurrency = 1024\n[supervision]\nstart = \"on-message\"\n";
    folder.component("large", wasm_fixtures::ECHO, lazy);
    let manifest = folder.path("large/Component.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("1MiB", "4MiB")).unwrap();
    let app = folder.path("");
    let checked = program(["check", &app]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    checked.complains(&["the memory limits of demo/large/main add up to 4GiB, and `up` has 1GiB"]);
    program(["up", &app]).expect(2, "").complains(&[
        "demo/large/main cannot be loaded: a memory limit of 4GiB does not fit",
        "--max-memory",
    ]);
}
