//! What a component can write is never an operator's input. The tests write what a
//! component with the grant could write, and look at what becomes of it.

use std::fs;
#[cfg(unix)]
use std::os::unix::fs::symlink;
use std::thread;
use std::time::Duration;

use crate::{Ended, Folder, program};

const WRITES_DATA: &str = "[permissions]\nwasi = [{ dir = \"data\", access = \"write\" }]\n";
/// Where the grant stands in the manifest of a component of these tests, and the line of
/// its file, and its id.
const GRANT: &str = "Component.toml:10:9";
const WASM: &str = "Component.toml:3:1";
const ID: &str = "Component.toml:2:1";

fn grants(dir: &str, access: &str) -> String {
    format!("[permissions]\nwasi = [{{ dir = \"{dir}\", access = \"{access}\" }}]\n")
}

impl Folder {
    /// `demo/a/main` may write `a/data`; `demo/b/main` is its neighbour.
    fn neighbours() -> Self {
        let folder = Self::new();
        folder.component("a", wasm_fixtures::ECHO, WRITES_DATA);
        folder.component("b", wasm_fixtures::COUNTER, "");
        fs::create_dir(folder.path("a/data")).unwrap();
        folder
    }

    /// `demo/NAME/main` in an application that lies in a folder.
    fn inner(&self, name: &str, more: &str) {
        let at = format!("app/{name}");
        self.component(&at, wasm_fixtures::COUNTER, "");
        self.manifest(&at, &format!("demo/{name}/main"), more);
    }

    /// A manifest as a component would write it: it grants the whole disk.
    fn planted(&self, at: &str) {
        fs::create_dir_all(self.path(at)).unwrap();
        let wide = grants("../../../../../../../..", "write");
        self.manifest(at, "demo/planted/main", &wide);
        fs::write(
            self.path(&format!("{at}/component.wasm")),
            wasm_fixtures::ECHO.wasm,
        )
        .unwrap();
    }

    pub(crate) fn replace(&self, manifest: &str, from: &str, to: &str) {
        let manifest = format!("{manifest}/Component.toml");
        let text = fs::read_to_string(self.path(&manifest)).unwrap();
        assert!(text.contains(from), "{text}");
        self.write(&manifest, text.replace(from, to));
    }

    #[track_caller]
    fn is_refused(&self, flags: &[&str], parts: &[&str]) {
        let ended = self.up(flags, &["demo/b/main x"]).expect(2, "");
        assert!(!ended.stderr.contains("main is loaded"), "{}", ended.stderr);
        ended.complains(parts);
    }

    #[track_caller]
    fn is_accepted(&self, flags: &[&str]) -> Ended {
        self.up(flags, &["demo/b/main x"])
            .expect(0, "demo/b/main: 1\n")
    }
}

#[test]
fn a_manifest_that_a_component_wrote_is_not_loaded() {
    let folder = Folder::neighbours();
    let mut running = folder.start(&["--watch"]);
    running.asks("demo/a/main x", "demo/a/main: x");
    folder.planted("a/data");
    running.says("a/data/Component.toml is not loaded: a component may write it");
    running.type_line("demo/planted/main x");
    running.says("no component demo/planted/main is loaded");
    // One below, or by another name, is not even looked for.
    folder.planted("a/data/deep/er");
    fs::rename(folder.path("a/data/deep"), folder.path("a/data/b")).unwrap();
    thread::sleep(Duration::from_secs(3));
    running.type_line("demo/planted/main x");
    running.says("no component demo/planted/main is loaded");
    running.asks("demo/b/main x", "demo/b/main: 1");
    running.type_line("quit");
    running.ends_with(1);

    // Nor is it after the program's end: its neighbours go on, whatever it wrote.
    folder.is_accepted(&[]).complains(&[
        "a/data/Component.toml is not loaded: a component may write it",
        GRANT,
    ]);
}

#[test]
fn a_folder_with_another_component_cannot_be_written() {
    for (dir, second) in [
        ("../b", &format!("b/{ID}")),
        ("..", &format!("a/{ID}")),
        (".", &format!("a/{ID}")),
        ("../../app", &format!("a/{ID}")),
    ] {
        let around = Folder::new();
        around.inner("a", &grants(dir, "write"));
        around.inner("b", "");
        let app = around.path("app");
        program(["up", &app]).expect(2, "").complains(&[
            "may write",
            "and so change",
            &format!("a/{GRANT}"),
            second,
        ]);
    }
}

/// Whoever put it there: a component may have. One that cannot be read keeps nobody from
/// starting; one that can decides over a component, and the application is refused.
#[test]
fn a_manifest_in_a_folder_that_another_may_write_is_not_trusted() {
    let folder = Folder::neighbours();
    folder.manifest("a", "demo/a/main", &grants("../shared", "write"));
    fs::create_dir(folder.path("shared")).unwrap();
    let told = [
        "shared/Component.toml is not loaded: a component may write it",
        GRANT,
    ];
    folder.write("shared/Component.toml", "junk");
    folder.is_accepted(&[]).complains(&told);
    // It may be told again, but not as an error.
    let mut running = folder.start(&["--watch"]);
    running.says(told[0]);
    folder.write("shared/Component.toml", "other junk");
    running.asks("demo/b/main x", "demo/b/main: 1");
    folder.planted("shared");
    thread::sleep(Duration::from_secs(3));
    running.type_line("demo/planted/main x");
    running.says("no component demo/planted/main is loaded");
    running.type_line("quit");
    running.ends_with(1);
    // It asks for what no manifest gets, so it would not be loaded if it were trusted.
    folder.is_accepted(&[]).complains(&told);
    folder.manifest("shared", "demo/planted/main", "");
    folder.is_refused(
        &[],
        &[
            "demo/a/main may write",
            &format!("a/{GRANT}"),
            &format!("shared/{ID}"),
        ],
    );
}

#[test]
fn a_component_that_another_can_replace_is_refused() {
    let folder = Folder::neighbours();
    let moved = folder.path("a/data/b.wasm");
    fs::rename(folder.path("b/component.wasm"), &moved).unwrap();
    folder.replace("b", "component.wasm", "../a/data/b.wasm");
    folder.is_refused(
        &[],
        &[
            "demo/a/main may write",
            "change the component of demo/b/main",
            &format!("a/{GRANT}"),
            &format!("b/{WASM}: wasm = \"../a/data/b.wasm\""),
        ],
    );
    // Not there yet is no better.
    fs::remove_file(moved).unwrap();
    folder.is_refused(&[], &["change the component of demo/b/main"]);
    // Nor is one of its own.
    folder.replace("b", "../a/data/b.wasm", "component.wasm");
    folder.fixture_at("b/component.wasm");
    folder.replace("a", "component.wasm", "data/../component.wasm");
    folder.is_refused(
        &[],
        &["change its own component", "a/data/../component.wasm"],
    );
}

impl Folder {
    fn fixture_at(&self, name: &str) {
        self.write(name, wasm_fixtures::COUNTER.wasm);
    }
}

#[test]
fn configuration_that_a_component_can_write_is_refused() {
    let folder = Folder::neighbours();
    folder.write("a/data/b.json", "{}");
    folder.manifest(
        "b",
        "demo/b/main",
        "[config]\nfile = \"../a/data/b.json\"\n",
    );
    folder.is_refused(
        &[],
        &[
            "change the configuration of demo/b/main",
            &format!("a/{GRANT}"),
            "b/Component.toml:10:1: file = \"../a/data/b.json\"",
        ],
    );
}

/// Its manifest decides over its environment, too.
#[test]
fn a_component_cannot_write_its_own_environment() {
    let folder = Folder::neighbours();
    folder.manifest(
        "a",
        "demo/a/main",
        &format!("{}[env]\nHOME = \"/\"\n", grants(".", "write")),
    );
    folder.is_refused(&[], &["demo/a/main may write", "change its own manifest"]);
    let alone = program(["run", &folder.path("a"), "-m", "x"]);
    alone.expect(2, "").complains(&["change its own manifest"]);
}

#[test]
fn what_is_granted_below_a_writable_folder_is_refused() {
    let folder = Folder::neighbours();
    fs::create_dir(folder.path("a/data/in")).unwrap();
    folder.manifest("b", "demo/b/main", &grants("../a/data/in", "read"));
    folder.is_refused(
        &[],
        &[
            "change the granted folder of demo/b/main",
            &format!("a/{GRANT}"),
            &format!("b/{GRANT}"),
        ],
    );
    // The same folder is shared: what is in it is data.
    for access in ["read", "write"] {
        folder.manifest("b", "demo/b/main", &grants("../a/data", access));
        folder.is_accepted(&[]);
    }
}

#[test]
fn paths_do_not_lead_out_of_the_application() {
    let around = Folder::new();
    around.inner("a", "");
    around.write("outside.wasm", wasm_fixtures::COUNTER.wasm);
    around.write("outside.json", "{}");
    let app = around.path("app");
    let outside = around.path("");
    let wasm = "component.wasm\"";
    for (from, to, place) in [
        (wasm, "../../outside.wasm\"", WASM),
        (wasm, "../a/../../outside.wasm\"", WASM),
        (
            "timeout = \"5s\"\n",
            "timeout = \"5s\"\n[config]\nfile = \"../../outside.json\"\n",
            "Component.toml:10:1",
        ),
        (
            "timeout = \"5s\"\n",
            "timeout = \"5s\"\n[permissions]\nwasi = [{ dir = \"../..\", access = \"read\" }]\n",
            GRANT,
        ),
    ] {
        around.manifest("app/a", "demo/a/main", "");
        around.replace("app/a", from, to);
        let refused = program(["up", &app]).expect(2, "");
        refused.complains(&[
            "is outside of",
            "the folder of the application",
            place,
            "--allow-outside",
        ]);
        let allowed = program(["up", &app, "--allow-outside", &outside]);
        allowed.expect(0, "");
        let alone = ["check", &around.path("app/a")];
        program(alone).complains(&["is outside of", place, "--allow-outside"]);
        let allowed = program([&alone[..], &["--allow-outside", &outside]].concat());
        assert_eq!(allowed.code, Some(0), "{}", allowed.stderr);
    }
    let nowhere = program(["up", &app, "--allow-outside", "nowhere"]);
    nowhere
        .expect(2, "")
        .complains(&["nowhere cannot be read", "named by --allow-outside"]);
}

#[cfg(unix)]
#[test]
fn links_do_not_lead_out_of_the_application() {
    let around = Folder::new();
    around.inner("a", "");
    fs::rename(
        around.path("app/a/component.wasm"),
        around.path("outside.wasm"),
    )
    .unwrap();
    symlink("../../outside.wasm", around.path("app/a/component.wasm")).unwrap();
    let app = around.path("app");
    let refused = program(["up", &app]).expect(2, "");
    refused.complains(&["a/component.wasm is outside of", WASM]);
    fs::remove_file(around.path("app/a/component.wasm")).unwrap();
    fs::rename(
        around.path("outside.wasm"),
        around.path("app/a/component.wasm"),
    )
    .unwrap();

    // A manifest, and a granted folder.
    fs::rename(
        around.path("app/a/Component.toml"),
        around.path("outside.toml"),
    )
    .unwrap();
    symlink("../../outside.toml", around.path("app/a/Component.toml")).unwrap();
    let refused = program(["up", &app]).expect(2, "");
    refused.complains(&["a/Component.toml is outside of", ID]);
    fs::remove_file(around.path("app/a/Component.toml")).unwrap();
    around.manifest("app/a", "demo/a/main", &grants("data", "read"));
    symlink("/", around.path("app/a/data")).unwrap();
    let refused = program(["up", &app]).expect(2, "");
    refused.complains(&["a/data is outside of", "it leads to /", GRANT]);
}

/// A component can make links in a folder that it may write.
#[cfg(unix)]
#[test]
fn links_into_a_writable_folder_are_not_followed() {
    let folder = Folder::neighbours();
    folder.planted("a/data/planted");
    symlink("a/data/planted", folder.path("c")).unwrap();
    let accepted = folder.is_accepted(&[]);
    accepted.complains(&["c is not loaded: a component may write it", GRANT]);
    fs::remove_file(folder.path("c")).unwrap();
    // A manifest alone, without and with --watch.
    fs::create_dir(folder.path("c")).unwrap();
    let link = folder.path("c/Component.toml");
    symlink("../a/data/planted/Component.toml", &link).unwrap();
    let accepted = folder.is_accepted(&[]);
    accepted.complains(&["c/Component.toml is not loaded: a component may write it"]);
    fs::remove_file(&link).unwrap();
    let mut running = folder.start(&["--watch"]);
    running.asks("demo/b/main x", "demo/b/main: 1");
    symlink("../a/data/planted/Component.toml", &link).unwrap();
    folder.component("d", wasm_fixtures::ECHO, "");
    running.says("demo/d/main is loaded");
    running.type_line("demo/planted/main x");
    running.says("no component demo/planted/main is loaded");
    running.type_line("quit");
    running.ends_with(1);
    fs::remove_file(&link).unwrap();

    // Through the folder and out again.
    fs::rename(folder.path("b/component.wasm"), folder.path("b/real.wasm")).unwrap();
    symlink("../../b/real.wasm", folder.path("a/data/link")).unwrap();
    symlink("../a/data/link", folder.path("b/component.wasm")).unwrap();
    folder.is_refused(&[], &["change the component of demo/b/main", GRANT, WASM]);
}

/// As on a file system that takes `DATA` for `data`.
#[cfg(unix)]
#[test]
fn a_writable_folder_is_known_by_whatever_name() {
    let folder = Folder::neighbours();
    symlink("data", folder.path("a/DATA")).unwrap();
    folder.write("a/data/b.wasm", wasm_fixtures::COUNTER.wasm);
    folder.replace("b", "component.wasm", "../a/DATA/b.wasm");
    folder.is_refused(&[], &["change the component of demo/b/main"]);
    folder.replace("b", "../a/DATA/b.wasm", "component.wasm");
    folder.manifest("a", "demo/a/main", &grants("DATA", "write"));
    folder.planted("a/data");
    for name in ["Component.TOML", "component.toml"] {
        fs::copy(
            folder.path("a/data/Component.toml"),
            folder.path(&format!("a/{name}")),
        )
        .unwrap();
    }
    let accepted = folder.is_accepted(&[]);
    assert!(
        !accepted.stderr.contains("demo/planted/main"),
        "{}",
        accepted.stderr
    );
}

/// While it runs, the program has seen what a component could write.
#[cfg(unix)]
#[test]
fn what_comes_out_of_a_writable_folder_is_not_trusted() {
    let folder = Folder::neighbours();
    fs::create_dir(folder.path("a/data/sub")).unwrap();
    folder.manifest("a/data/sub", "demo/moved/main", "");
    folder.fixture_at("a/data/sub/component.wasm");
    let mut running = folder.start(&["--watch"]);
    running.asks("demo/b/main x", "demo/b/main: 1");
    thread::sleep(Duration::from_secs(3));
    fs::rename(folder.path("a/data/sub"), folder.path("moved")).unwrap();
    running.says("what was in that folder as sub");
    running.type_line("demo/moved/main x");
    running.says("no component demo/moved/main is loaded");

    // A file that had another name there.
    let other = folder.path("a/data/other");
    fs::hard_link(folder.path("b/component.wasm"), &other).unwrap();
    running.says("a/data/other (a hard link)");
    thread::sleep(Duration::from_secs(3));
    fs::write(&other, wasm_fixtures::ECHO.wasm).unwrap();
    fs::remove_file(&other).unwrap();
    running.says("what was in that folder as other");
    running.asks("demo/b/main x", "demo/b/main: 2");
    // One that is new is.
    fs::remove_file(folder.path("b/component.wasm")).unwrap();
    folder.write("b/component.wasm", wasm_fixtures::ECHO.wasm);
    running.says("demo/b/main was replaced");
    running.type_line("quit");
    running.ends_with(1);
}

#[cfg(unix)]
#[test]
fn a_file_with_a_name_in_a_writable_folder_is_refused() {
    for name in ["component.wasm", "Component.toml"] {
        let folder = Folder::neighbours();
        fs::create_dir(folder.path("a/data/deep")).unwrap();
        let other = folder.path("a/data/deep/other");
        fs::hard_link(folder.path(&format!("b/{name}")), other).unwrap();
        folder.is_refused(
            &[],
            &["of demo/b/main", "deep/other (a hard link)", GRANT, "b/"],
        );
    }
    // Several names elsewhere are how some tools install files.
    let folder = Folder::neighbours();
    fs::hard_link(folder.path("b/component.wasm"), folder.path("other")).unwrap();
    folder.is_accepted(&[]);
}

#[test]
fn what_all_store_is_granted_to_none() {
    let folder = Folder::neighbours();
    let inside = folder.path("a/data/shop.redb");
    for access in ["read", "write"] {
        folder.manifest("a", "demo/a/main", &grants("data", access));
        folder.is_refused(
            &["--data", &inside],
            &[
                "shop.redb lies in",
                "granted to demo/a/main",
                GRANT,
                "--data",
            ],
        );
    }
    let beside = folder.path("shop.redb");
    folder.is_accepted(&["--data", &beside]);
    #[cfg(unix)]
    {
        fs::hard_link(&beside, &inside).unwrap();
        folder.is_refused(&["--data", &beside], &["granted to demo/a/main"]);
    }
}

#[test]
fn a_swap_is_held_apart_too() {
    let folder = Folder::neighbours();
    folder.write("a/data/b.wasm", wasm_fixtures::ECHO.wasm);
    let mut running = folder.start(&["--watch"]);
    running.asks("demo/b/main x", "demo/b/main: 1");
    folder.replace("b", "component.wasm", "../a/data/b.wasm");
    running.says("change the component of demo/b/main");
    running.says("demo/b/main goes on as it was");
    running.asks("demo/b/main x", "demo/b/main: 2");
    folder.replace("b", "../a/data/b.wasm", "component.wasm");

    // One that could write its neighbour, new or not, stays out.
    folder.component("c", wasm_fixtures::ECHO, &grants("../b", "write"));
    running.says("demo/c/main may write");
    running.type_line("demo/c/main x");
    running.says("no component demo/c/main is loaded");
    folder.manifest("a", "demo/a/main", &grants("../b", "write"));
    running.says("demo/a/main may write");
    running.says("demo/a/main goes on as it was");

    // What could be written once is not trusted later.
    folder.manifest("a", "demo/a/main", "");
    running.says("demo/a/main was replaced");
    folder.replace("b", "component.wasm", "../a/data/b.wasm");
    running.says("change the component of demo/b/main");
    running.asks("demo/b/main x", "demo/b/main: 3");
    running.stdin = None;
    running.ends_with(1);
}

/// What builds a component is a program of the operator's, which no component may choose.
#[cfg(unix)]
#[test]
fn a_command_that_a_component_may_write_is_not_run() {
    let folder = Folder::neighbours();
    folder.manifest("a", "demo/a/main", &grants("../inbox", "write"));
    fs::create_dir_all(folder.path("inbox/evil")).unwrap();
    let command = "[build]\ncommand = \"echo > pwned\"";
    folder.manifest("inbox/evil", "demo/evil/main", command);
    let app = folder.path("");
    let told = [
        "demo/a/main may write",
        "and so change the manifest of demo/evil/main",
        GRANT,
    ];
    for arguments in [
        vec!["build", &app],
        vec!["up", &app, "--build"],
        vec!["up", &app, "--build", "--keep-going"],
    ] {
        let ended = program(&arguments);
        assert_ne!(ended.code, Some(0), "{arguments:?}");
        ended.complains(&told);
        let pwned = folder.0.path().join("inbox/evil/pwned");
        assert!(!pwned.exists(), "{arguments:?}");
    }
    // Nor is one that comes later, whatever else it says.
    fs::remove_dir_all(folder.path("inbox/evil")).unwrap();
    let mut running = folder.start(&["--build", "--watch"]);
    running.asks("demo/b/main x", "demo/b/main: 1");
    fs::create_dir_all(folder.path("inbox/evil")).unwrap();
    folder.manifest("inbox/evil", "demo/evil/main", command);
    running.says("inbox/evil/Component.toml is not loaded: a component may write it");
    thread::sleep(Duration::from_secs(3));
    assert!(!folder.0.path().join("inbox/evil/pwned").exists());
    running.type_line("quit");
    running.ends_with(0);
}

#[cfg(unix)]
#[test]
fn sources_that_a_component_may_write_are_not_built() {
    let build = |sources: &str| format!("[build]\ncommand = \"echo > pwned\"\n{sources}");
    let named = build("sources = [\"src\"]");
    let elsewhere = build("sources = [\"../shared/src\"]");
    let default = build("");
    for (dir, b, is_named) in [
        ("../b/src", &named, true),
        ("../b/src/deep/er", &named, true),
        ("../shared", &elsewhere, true),
        ("../shared/src/inner", &elsewhere, true),
        ("../b/src", &default, false),
        // Where tools are, or what they read and write besides.
        ("../b/target", &named, false),
        ("../b/wit", &named, false),
        ("../b/.venv/bin", &named, false),
        ("../.cargo", &named, false),
        ("../node_modules", &elsewhere, false),
        ("../shared/src/.venv", &elsewhere, true),
    ] {
        let folder = Folder::neighbours();
        folder.manifest("a", "demo/a/main", &grants(dir, "write"));
        folder.manifest("b", "demo/b/main", b);
        fs::create_dir_all(folder.path("b/src")).unwrap();
        fs::create_dir_all(folder.path("shared/src")).unwrap();
        fs::create_dir_all(folder.path(&format!("a/{dir}"))).unwrap();
        let told = [
            "demo/a/main may write",
            "and so change the sources of demo/b/main",
            &format!("a/{GRANT}"),
        ];
        folder.is_refused(&["--build"], &told);
        program(["build", &folder.path("")]).complains(&told);
        assert!(!folder.0.path().join("b/pwned").exists(), "{dir}");
        // What only runs is not made of them, unless the manifest says what it is made of.
        match is_named {
            true => folder.is_refused(&[], &told),
            false => drop(folder.is_accepted(&[])),
        }
    }
}

/// A folder of data may lie beside sources.
#[cfg(unix)]
#[test]
fn sources_that_nobody_may_write_are_built() {
    for sources in ["", "sources = [\"src\"]\n", "sources = [\".\"]\n"] {
        let folder = Folder::neighbours();
        let build = format!("{WRITES_DATA}[build]\ncommand = \"true\"\n{sources}");
        folder.manifest("a", "demo/a/main", &build);
        fs::create_dir_all(folder.path("a/src")).unwrap();
        let ended = folder.is_accepted(&["--build"]);
        ended.complains(&["a/component.wasm: "]);
    }
}

#[cfg(unix)]
#[test]
fn sources_lie_in_the_application_when_they_are_built() {
    let around = Folder::new();
    let build = "[build]\nsources = [\"../../outside\"]\ncommand = \"echo > ran\"\n";
    around.inner("b", build);
    fs::create_dir(around.path("outside")).unwrap();
    let app = around.path("app");
    let ran = around.0.path().join("app/b/ran");
    let outside = around.path("outside");
    for command in ["up", "build"] {
        let flags: &[&str] = if command == "up" { &["--build"] } else { &[] };
        let arguments = [&[command, &app], flags].concat();
        let refused = program(&arguments);
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        refused.complains(&[
            "outside is outside of",
            "Component.toml:10:12",
            "--allow-outside",
        ]);
        assert!(!ran.exists());
        let ended = program([&arguments[..], &["--allow-outside", &outside]].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        fs::remove_file(&ran).unwrap();
    }
    assert_eq!(program(["up", &app]).code, Some(0));
}
