//! How the files of an application are watched, and found.

use std::fs::{self, File, FileTimes};
#[cfg(unix)]
use std::os::unix::fs::symlink;
#[cfg(unix)]
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

#[cfg(target_os = "linux")]
use super::LONG;
use crate::Folder;

/// A look for new manifests comes within this time.
const SEARCH: Duration = Duration::from_secs(3);

#[test]
fn a_reload_without_a_change_is_none() {
    let folder = Folder::new();
    folder.component("a", wasm_fixtures::COUNTER, "");
    let mut running = folder.start(&["--watch"]);
    running.asks("demo/a/main x", "demo/a/main: 1");
    folder.write("a/component.wasm", wasm_fixtures::COUNTER.wasm);
    let manifest = fs::read_to_string(folder.path("a/Component.toml")).unwrap();
    folder.write("a/Component.toml", format!("# as it was\n{manifest}"));
    thread::sleep(SEARCH);
    running.asks("demo/a/main x", "demo/a/main: 2");
    // An error knows the line that the limit has now.
    folder.write("a/Component.toml", manifest.replace("5s", "6s"));
    running.says("demo/a/main was replaced");
    running.asks("demo/a/main x", "demo/a/main: 1");
    running.type_line("quit");
    running.ends_with(0);
}

/// As copies that keep the time make it, and builds that set it.
#[test]
fn a_file_of_the_same_size_and_time_is_another() {
    let folder = Folder::new();
    folder.component("a", wasm_fixtures::COUNTER, "");
    // Larger than any of these.
    let size = 16 << 10;
    let times = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
    let write = |name: &str, wasm: &[u8]| {
        folder.write(name, padded(wasm, size));
        let file = File::options().write(true).open(folder.path(name)).unwrap();
        file.set_times(times).unwrap();
    };
    write("a/component.wasm", wasm_fixtures::COUNTER.wasm);
    let mut running = folder.start(&["--watch"]);
    running.asks("demo/a/main x", "demo/a/main: 1");
    write("a/next", wasm_fixtures::ECHO.wasm);
    fs::rename(folder.path("a/next"), folder.path("a/component.wasm")).unwrap();
    running.says("demo/a/main was replaced");
    running.asks("demo/a/main x", "demo/a/main: x");

    #[cfg(unix)]
    {
        // A link that leads elsewhere.
        fs::create_dir_all(folder.path(".store")).unwrap();
        write(".store/v1", wasm_fixtures::COUNTER.wasm);
        symlink("../.store/v1", folder.path("a/next")).unwrap();
        fs::rename(folder.path("a/next"), folder.path("a/component.wasm")).unwrap();
        running.says("demo/a/main was replaced");
        running.asks("demo/a/main x", "demo/a/main: 1");
    }
    // Written over in place.
    write("a/component.wasm", wasm_fixtures::SELF_ID.wasm);
    running.says("demo/a/main was replaced");
    running.asks("demo/a/main x", "demo/a/main: demo/a/main");
    running.type_line("quit");
    running.ends_with(0);
}

/// With a custom section at its end that makes it as large as this.
fn padded(wasm: &[u8], size: usize) -> Vec<u8> {
    let mut padded = wasm.to_vec();
    // The section's number, its length in five bytes, and an empty name.
    let content = size - wasm.len() - 6;
    padded.push(0);
    let mut length = content;
    for i in 0..5 {
        let more = if i < 4 { 0x80 } else { 0 };
        padded.push((length & 0x7f) as u8 | more);
        length >>= 7;
    }
    padded.push(0);
    padded.extend(vec![b'x'; content - 1]);
    padded
}

/// `demo/a/main`, which counts, and `demo/b/main`, under a watcher.
#[cfg(unix)]
fn watched() -> (Folder, super::Running) {
    let folder = Folder::new();
    folder.component("a", wasm_fixtures::COUNTER, "");
    folder.component("b", wasm_fixtures::ECHO, "");
    let mut running = folder.start(&["--watch"]);
    running.asks("demo/a/main x", "demo/a/main: 1");
    (folder, running)
}

/// A component that comes now is found.
#[cfg(unix)]
#[track_caller]
fn goes_on(folder: &Folder, running: &mut super::Running, name: &str) {
    folder.component(name, wasm_fixtures::ECHO, "");
    running.says(&format!("demo/{name}/main is loaded"));
}

#[cfg(unix)]
fn pipe(folder: &Folder, at: &str) {
    let status = Command::new("mkfifo").arg(folder.path(at)).status();
    assert!(status.unwrap().success());
}

#[cfg(unix)]
#[test]
fn an_odd_entry_does_not_end_a_watcher() {
    let (folder, mut running) = watched();
    fs::create_dir(folder.path("f")).unwrap();
    pipe(&folder, "f/Component.toml");
    running.says("f/Component.toml could not be loaded: it is not a regular file");
    goes_on(&folder, &mut running, "c");
    running.type_line("quit");
    running.ends_with(0);
}

/// A manifest that becomes something else, and a component.
#[cfg(unix)]
#[test]
fn what_becomes_odd_does_not_end_a_watcher() {
    let (folder, mut running) = watched();
    fs::remove_file(folder.path("a/Component.toml")).unwrap();
    pipe(&folder, "a/Component.toml");
    running.says("a/Component.toml could not be loaded: it is not a regular file");
    running.says("demo/a/main goes on as it was");
    fs::remove_file(folder.path("a/Component.toml")).unwrap();
    fs::create_dir(folder.path("a/Component.toml")).unwrap();
    running.says("a/Component.toml could not be loaded: it is not a regular file");
    fs::remove_dir(folder.path("a/Component.toml")).unwrap();
    symlink("nowhere", folder.path("a/Component.toml")).unwrap();
    running.says("a/Component.toml could not be loaded: it is a link to nowhere");
    running.asks("demo/a/main x", "demo/a/main: 2");
    fs::remove_file(folder.path("a/Component.toml")).unwrap();
    folder.manifest("a", "demo/a/main", "");
    fs::remove_file(folder.path("a/component.wasm")).unwrap();
    pipe(&folder, "a/component.wasm");
    running.says("a/component.wasm could not be loaded: it is not a regular file");
    running.asks("demo/a/main x", "demo/a/main: 3");
    goes_on(&folder, &mut running, "d");
    running.type_line("quit");
    running.ends_with(0);
}

#[cfg(unix)]
#[test]
fn permissions_in_another_order_replace_nothing() {
    let sends = |to: &str| format!("[permissions]\nsend = [{to}]\n");
    let (folder, mut running) = watched();
    folder.manifest("a", "demo/a/main", &sends("\"demo/b/*\", \"demo/c/*\""));
    running.says("demo/a/main was replaced");
    running.asks("demo/a/main x", "demo/a/main: 1");
    folder.manifest(
        "a",
        "demo/a/main",
        &sends("\"demo/c/*\", \"demo/b/*\", \"demo/c/x\""),
    );
    goes_on(&folder, &mut running, "c");
    goes_on(&folder, &mut running, "d");
    running.asks("demo/a/main x", "demo/a/main: 2");
    folder.manifest("a", "demo/a/main", &sends("\"demo/c/*\""));
    running.says("demo/a/main was replaced");
    running.type_line("quit");
    running.ends_with(0);
}

/// Where there is no room for both versions, the old one ends before the new one is tried.
#[test]
fn what_becomes_of_a_version_that_ended_for_another_is_told() {
    let full = ["--watch", "--max-components", "1"];
    let pause = "[permissions]\nstorage = \"64KiB\"\n[supervision]\nswap = \"pause\"\n";
    let folder = Folder::new();
    folder.component("a", wasm_fixtures::COUNTER, pause);
    let mut running = folder.start(&full);
    running.asks("demo/a/main x", "demo/a/main: 1");
    folder.write("a/component.wasm", wasm_fixtures::TRAP_IN_INITIALIZE.wasm);
    running.says("error: demo/a/main trapped in `initialize`");
    running.says("demo/a/main goes on in its old version, without what it had in memory");
    running.asks("demo/a/main x", "demo/a/main: 1");
    // One that cannot be compiled ends nothing.
    folder.write("a/component.wasm", wasm_fixtures::TRUNCATED.wasm);
    running.says("demo/a/main goes on as it was");
    running.asks("demo/a/main x", "demo/a/main: 2");
    running.type_line("quit");
    running.ends_with(0);

    folder.component("a", wasm_fixtures::INIT_ONCE, pause);
    let mut running = folder.start(&full);
    running.says("demo/a/main is loaded");
    folder.write("a/component.wasm", wasm_fixtures::TRAP_IN_INITIALIZE.wasm);
    running.says("demo/a/main is quarantined");
    folder.write("a/component.wasm", wasm_fixtures::ECHO.wasm);
    let said = running.says_before("demo/a/main was replaced");
    assert!(!said.concat().contains("goes on"), "{said:?}");
    running.type_line("quit");
    running.ends_with(0);
}

/// A folder becomes a file; a name is no text; a link leads in a circle.
#[cfg(unix)]
#[test]
fn odd_folders_do_not_end_a_watcher() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let (folder, mut running) = watched();
    fs::remove_dir_all(folder.path("b")).unwrap();
    folder.write("b", "a file");
    running.says("demo/b/main is unloaded");
    let odd = folder.0.path().join(OsStr::from_bytes(b"\xff\xfe"));
    fs::create_dir(&odd).unwrap();
    symlink("circle", folder.path("circle")).unwrap();
    running.says("circle is a link that cannot be followed: too many links");
    for i in 0..3000 {
        fs::create_dir_all(folder.path(&format!("f/{i}"))).unwrap();
    }
    goes_on(&folder, &mut running, "e");
    fs::copy(folder.path("e/component.wasm"), odd.join("component.wasm")).unwrap();
    let manifest = fs::read_to_string(folder.path("e/Component.toml")).unwrap();
    let manifest = manifest.replace("demo/e/main", "demo/odd/main");
    fs::write(odd.join("Component.toml"), manifest).unwrap();
    running.says("demo/odd/main is loaded");
    running.type_line("quit");
    running.ends_with(0);
}

/// Root reads everything, so it is skipped for it; a unit test injects the error.
#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_read_is_told_once() {
    use std::os::unix::fs::PermissionsExt;

    let folder = Folder::new();
    folder.component("a", wasm_fixtures::ECHO, "");
    let locked = folder.path("locked");
    let lock = || fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    fs::create_dir(&locked).unwrap();
    lock();
    if fs::read_dir(&locked).is_ok() {
        return;
    }
    fs::remove_dir(&locked).unwrap();
    let mut running = folder.start(&["--watch"]);
    running.asks("demo/a/main x", "demo/a/main: x");
    fs::create_dir(&locked).unwrap();
    lock();
    running.says("locked cannot be read: Permission denied");
    folder.component("b", wasm_fixtures::ECHO, "");
    running.says("demo/b/main is loaded");
    running.type_line("quit");
    running.ends_with(0);
}

/// As `lost+found`. Root reads everything, so it is skipped for it.
#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_read_keeps_nothing_from_starting() {
    use std::os::unix::fs::PermissionsExt;

    let folder = Folder::new();
    folder.component("a", wasm_fixtures::ECHO, "");
    let locked = folder.path("lost+found");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read_dir(&locked).is_ok() {
        return;
    }
    for flags in [&[][..], &["--watch"]] {
        let ended = folder.up(flags, &["demo/a/main x"]);
        let ended = ended.expect(0, "demo/a/main: x\n");
        ended.complains(&["warning: ", "lost+found cannot be read: Permission denied"]);
    }
}

#[test]
fn a_component_that_is_too_deep_is_named() {
    let folder = Folder::new();
    folder.component("a", wasm_fixtures::ECHO, "");
    let deep = ["d"; 17].join("/");
    folder.component(&deep, wasm_fixtures::ECHO, "");
    let told = format!("{deep}/Component.toml is left out: it is more than 16 folders down");
    let ended = folder.up(&[], &["demo/a/main x"]);
    ended.expect(0, "demo/a/main: x\n").complains(&[&told]);
    fs::remove_dir_all(folder.path("a")).unwrap();
    let ended = folder.up(&[], &[]).expect(2, "");
    ended.complains(&["there is no Component.toml", &told]);
}

#[cfg(unix)]
#[test]
fn folders_that_are_links_are_followed_or_named() {
    let folder = Folder::new();
    folder.component(".versions/v1", wasm_fixtures::COUNTER, "");
    folder.manifest(".versions/v1", "demo/a/main", "");
    symlink(".versions/v1", folder.path("a")).unwrap();
    symlink(folder.0.path(), folder.path(".versions/v1/up")).unwrap();
    let ended = folder.up(&[], &["demo/a/main x"]);
    let ended = ended.expect(0, "demo/a/main: 1\n");
    assert!(!ended.stderr.contains("link"), "{}", ended.stderr);

    let outside = Folder::new();
    outside.component("b", wasm_fixtures::ECHO, "");
    let beside = outside.path("b");
    symlink(&beside, folder.path("b")).unwrap();
    symlink("nowhere", folder.path("c")).unwrap();
    let ended = folder.up(&[], &["demo/a/main x"]);
    ended.expect(0, "demo/a/main: 1\n").complains(&[
        "note: ",
        "b is a link to ",
        "outside of the application, and is not followed",
        &format!("--allow-outside {beside} allows it"),
        "c is a link that cannot be followed",
    ]);
    let flags = ["--allow-outside", &beside];
    folder
        .up(&flags, &["demo/b/main x"])
        .expect(0, "demo/b/main: x\n");

    // Where there is nothing else, it is why.
    fs::remove_file(folder.path("a")).unwrap();
    folder.up(&[], &[]).expect(2, "").complains(&[
        "there is no Component.toml in",
        "b is a link to ",
        "c is a link that cannot be followed",
    ]);
}

/// The sources here are what the component is copied from.
#[cfg(unix)]
#[test]
fn components_are_built_when_their_sources_change() {
    let folder = Folder::new();
    let build = "[build]\nsources = [\"src\"]\n\
                 command = \"cp src/made component.wasm\"";
    folder.component("a", wasm_fixtures::HELLO, build);
    fs::create_dir(folder.path("a/src")).unwrap();
    folder.write("a/src/made", wasm_fixtures::COUNTER.wasm);
    let mut running = folder.start(&["--watch", "--build"]);
    running.says("a/component.wasm: ");
    running.asks("demo/a/main x", "demo/a/main: 1");
    // What is built from what was not changed is not built again.
    thread::sleep(SEARCH);
    running.asks("demo/a/main x", "demo/a/main: 2");
    folder.write("a/src/made", "no component");
    running.says("a/component.wasm is no component: it is no WebAssembly");
    running.says("a/Component.toml was not built");
    folder.write("a/src/made", wasm_fixtures::ECHO.wasm);
    running.says("demo/a/main was replaced");
    running.asks("demo/a/main x", "demo/a/main: x");
    // One that comes later, without a component yet.
    fs::create_dir_all(folder.path("b/src")).unwrap();
    folder.write("b/src/made", wasm_fixtures::ECHO.wasm);
    let manifest = fs::read_to_string(folder.path("a/Component.toml")).unwrap();
    folder.write("b/Component.toml", manifest.replace("/a/", "/b/"));
    running.says("demo/b/main is loaded");
    running.asks("demo/b/main x", "demo/b/main: x");
    running.type_line("quit");
    running.ends_with(0);
}

/// A command that writes among its sources, beside data that change with every message.
#[cfg(unix)]
#[test]
fn what_a_build_and_a_store_write_is_no_reason_to_build() {
    let (folder, elsewhere) = (Folder::new(), Folder::new());
    let builds = elsewhere.path("builds");
    let build = format!(
        "[permissions]\nstorage = \"1MiB\"\n\
         wasi = [{{ dir = \"data\", access = \"write\" }}]\n[build]\n\
         command = \"cp src/made component.wasm; echo x >> '{builds}'; date +%N > out.js\""
    );
    folder.component("a", wasm_fixtures::HELLO, &build);
    fs::create_dir_all(folder.path("a/src")).unwrap();
    fs::create_dir_all(folder.path("a/tests")).unwrap();
    fs::create_dir_all(folder.path("a/data")).unwrap();
    folder.write("a/src/made", wasm_fixtures::STORED_COUNTER.wasm);
    let data = folder.path("a/d.redb");
    let mut running = folder.start(&["--watch", "--build", "--data", &data]);
    let count = || fs::read_to_string(&builds).unwrap().lines().count();
    for number in 1..5 {
        running.asks("demo/a/main x", &format!("demo/a/main: {number}"));
        folder.write("a/tests/a.txt", number.to_string());
        folder.write("a/data/a.txt", number.to_string());
        thread::sleep(SEARCH / 2);
    }
    // Once, and once more because something was written meanwhile.
    assert_eq!(count(), 2);
    running.type_line("quit");
    running.ends_with(0);
}

#[test]
fn what_cannot_be_built_first_is_bad_input() {
    let folder = Folder::new();
    folder.component("a", wasm_fixtures::ECHO, "[build]\ncommand = \"exit 3\"");
    let lines = ["up . --build", "up . --build --keep-going"];
    folder.shows("up-build", &lines);
    // One that has no sources is what its file is.
    folder.component("a", wasm_fixtures::ECHO, "");
    folder
        .up(&["--build"], &["demo/a/main x"])
        .expect(0, "demo/a/main: x\n");
}

/// Others want threads, too: files of components are read on some of those.
#[cfg(target_os = "linux")]
#[test]
fn many_that_change_at_a_time_take_few_threads() {
    const MANY: usize = 300;

    let folder = Folder::new();
    let lazy = "[supervision]\nstart = \"on-message\"\n";
    let make = |more: &str| {
        for number in 0..MANY {
            folder.component(&format!("c{number}"), wasm_fixtures::ECHO, more);
        }
    };
    make(lazy);
    let mut running = folder.start(&["--watch", "--stay"]);
    running.says("300 components are loaded");
    make(&format!("{lazy}mailbox = 7\n"));
    let threads = format!("/proc/{}/task", running.child.id());
    let mut most = 0;
    let mut replaced = 0;
    while replaced < MANY {
        most = most.max(fs::read_dir(&threads).unwrap().count());
        let line = running.stderr.recv_timeout(LONG).unwrap();
        replaced += usize::from(line.contains("was replaced"));
    }
    assert!(most < 100, "{most}");
    running.type_line("quit");
    running.ends_with(0);
}
