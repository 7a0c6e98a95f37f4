//! What operators do besides: data moved, logs read by programs, commands over TLS.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::Running;
use crate::{Folder, command, ended, program, with_input};

const STORES: &str = "[permissions]\nstorage = \"64KiB\"\nlog = \"info\"\n";

/// Otherwise it has one for each processor.
#[cfg(target_os = "linux")]
#[test]
fn it_has_as_many_threads_as_it_is_told() {
    const VARIABLE: &str = "TOKIO_WORKER_THREADS";

    let folder = Folder::new();
    folder.component("echo", wasm_fixtures::ECHO, "");
    let path = folder.path("");
    let threads = |count: usize| {
        let mut up = command(["up", &path]);
        up.env(VARIABLE, count.to_string());
        let mut running = Running::new(up);
        running.asks("demo/echo/main one", "demo/echo/main: one");
        let tasks = fs::read_dir(format!("/proc/{}/task", running.child.id()));
        let count = tasks.unwrap().count();
        running.type_line("quit");
        running.ends_with(0);
        count
    };
    // Some threads besides come and go.
    assert!(threads(1) + 20 < threads(40));

    for wrong in ["0", "many", "100000"] {
        let mut up = command(["up", &path]);
        let output = up.env(VARIABLE, wrong).stdin(Stdio::null()).output();
        ended(&output.unwrap()).expect(2, "").complains(&[
            &format!("{VARIABLE} is \"{wrong}\""),
            "a number of threads from 1 to 1024",
        ]);
    }
}

#[test]
fn data_is_exported_imported_and_checked() {
    let folder = Folder::new();
    folder.component("counter", wasm_fixtures::STORED_COUNTER, STORES);
    let (old, new) = (folder.path("old.redb"), folder.path("new.redb"));
    let up = |data: &str, count: &str| {
        let ended = with_input(
            ["up", &folder.path("counter"), "--data", data],
            b"demo/counter/main x\n",
        );
        ended.expect(0, &format!("demo/counter/main: {count}\n"));
    };
    up(&old, "1");
    up(&old, "2");
    let exported = program(["data", "export", &old]);
    assert_eq!(exported.code, Some(0), "{}", exported.stderr);
    assert!(
        exported
            .stdout
            .starts_with("{\"airssys-wasm-data\":1}\n{\"component\":\"demo/counter/main\"")
    );
    assert!(
        exported.stdout.ends_with("{\"entries\":1}\n"),
        "{}",
        exported.stdout
    );
    let imported = with_input(["data", "import", &new], exported.stdout.as_bytes());
    assert_eq!(imported.code, Some(0), "{}", imported.stderr);
    imported.complains(&["1 entry is in"]);
    up(&new, "3");
    let again = program(["data", "check", &new]);
    assert_eq!(again.code, Some(0));
    assert!(
        again
            .stdout
            .contains("new.redb: ok\n  demo/counter/main: 1 keys, "),
        "{}",
        again.stdout
    );

    // Nothing is mixed, and nothing is taken in by half.
    let full = with_input(["data", "import", &old], exported.stdout.as_bytes());
    full.expect(2, "").complains(&["old.redb has data already"]);
    let half = exported.stdout.replace("{\"entries\":1}\n", "");
    let third = folder.path("third.redb");
    let cut = with_input(["data", "import", &third], half.as_bytes());
    cut.expect(2, "")
        .complains(&["no export: it ends before its last line"]);
    assert!(fs::symlink_metadata(&third).is_err());
    for action in ["export", "check"] {
        program(["data", action, &third])
            .expect(2, "")
            .complains(&["third.redb is not there"]);
        let other = folder.write("text", "text");
        program(["data", action, &other])
            .expect(2, "")
            .complains(&["is not a store of components"]);
    }
}

/// With the bound that a value has, which is within the memory of who stored it.
#[test]
fn a_line_that_is_longer_than_any_value_is_not_read() {
    let folder = Folder::new();
    let file = folder.path("store.redb");
    let export = |bytes: usize| {
        let value = "\\u0001".repeat(bytes);
        format!(
            "{{\"airssys-wasm-data\":1}}\n\
             {{\"component\":\"a/b/c\",\"key\":\"k\",\"text\":\"{value}\"}}\n\
             {{\"entries\":1}}\n"
        )
    };
    let import = ["data", "import", &file, "--memory-ceiling", "512KiB"];
    let refused = with_input(import, export(520 << 10).as_bytes());
    refused.expect(2, "").complains(&[
        "standard input is no export: a line has more than 3088KiB, the most that a component \
         with 512KiB of memory can store under a key",
        "this was line 2",
        "--memory-ceiling SIZE allows more",
    ]);
    assert!(!fs::exists(&file).unwrap());
    with_input(import, export(512 << 10).as_bytes()).expect(0, "");
    // Whatever it is, no more of it is read.
    let mut endless = command(["data", "import", &folder.path("other.redb")]);
    endless.stdin(fs::File::open("/dev/zero").unwrap());
    ended(&endless.output().unwrap())
        .expect(2, "")
        .complains(&["a line has more than 24592KiB", "this was line 1"]);
}

/// Whatever part of the export that is, and whatever is wrong with the lines after it.
#[test]
fn a_key_that_is_exported_twice_is_told_with_its_line() {
    let folder = Folder::new();
    let file = folder.path("store.redb");
    let entry =
        |key: usize| format!("{{\"component\":\"a/b/c\",\"key\":\"{key}\",\"text\":\"v\"}}\n");
    for (others, rest) in [(1, "{\"entries\":1}\n"), (2_000, "nonsense\n")] {
        let mut export = "{\"airssys-wasm-data\":1}\n".to_owned();
        export.extend((0..others).map(entry));
        export += &entry(0);
        export += rest;
        let refused = with_input(["data", "import", &file], export.as_bytes());
        refused.expect(2, "").complains(&[
            "standard input is no export: a/b/c has the key \"0\" twice",
            &format!("this was line {}; nothing was taken in", others + 2),
        ]);
        assert_eq!(fs::read_dir(folder.path("")).unwrap().count(), 0);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_import_does_not_have_all_of_the_export_in_memory() {
    const ENTRIES: usize = 96;

    let folder = Folder::new();
    let mut import = Running::new(command(["data", "import", &folder.path("store.redb")]));
    import.type_line("{\"airssys-wasm-data\":1}");
    let value = "x".repeat(1 << 20);
    for key in 0..ENTRIES {
        import.type_line(&format!(
            "{{\"component\":\"a/b/c\",\"key\":\"{key}\",\"text\":\"{value}\"}}"
        ));
    }
    let status = fs::read_to_string(format!("/proc/{}/status", import.child.id())).unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: usize = most.unwrap().trim_end_matches("kB").trim().parse().unwrap();
    assert!(kib < ENTRIES << 10, "{kib} KiB");
    import.type_line(&format!("{{\"entries\":{ENTRIES}}}"));
    drop(import.stdin.take());
    import.says("96 entries are in");
    import.ends_with(0);
}

/// A file that has data is told before an export is waited for, and one that comes by some
/// meanwhile keeps it.
#[test]
fn data_that_is_there_is_told_before_and_after_an_export_is_read() {
    let folder = Folder::new();
    let file = folder.path("store.redb");
    let export = "{\"airssys-wasm-data\":1}\n\
                  {\"component\":\"a/b/c\",\"key\":\"k\",\"text\":\"v\"}\n\
                  {\"entries\":1}\n";
    fs::write(&file, "").unwrap();
    let mut late = command(["data", "import", &file]);
    late.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut late = late.spawn().unwrap();
    // Until its draft lies there, it has not looked.
    let has_begun = (0..1_000).any(|_| {
        thread::sleep(Duration::from_millis(10));
        fs::read_dir(folder.path("")).unwrap().count() == 2
    });
    assert!(has_begun);
    with_input(["data", "import", &file], export.as_bytes()).expect(0, "");
    let mut input = late.stdin.take().unwrap();
    // Nothing reads it any more if it has ended, which is told below.
    let _ = input.write_all(export.replace("\"v\"", "\"late\"").as_bytes());
    drop(input);
    ended(&late.wait_with_output().unwrap())
        .expect(2, "")
        .complains(&["store.redb has data already"]);
    program(["data", "export", &file]).expect(0, export);

    // Neither this nor what is wrong with a line is told only once there are more lines.
    let other = folder.path("other.redb");
    for (file, line, told) in [
        (&file, "", "store.redb has data already"),
        (&other, "nonsense", "it is no line of one"),
    ] {
        let mut waiting = Running::new(command(["data", "import", file]));
        if !line.is_empty() {
            waiting.type_line(line);
        }
        waiting.says(told);
        waiting.ends_with(2);
    }
}

#[test]
fn that_storage_works_again_is_told_as_its_failure_was() {
    let folder = Folder::new();
    folder.component("counter", wasm_fixtures::STORED_COUNTER, STORES);
    let (data, away) = (folder.path("data.redb"), folder.path("away"));
    let mut running = folder.start(&["--data", &data, "--stay"]);
    running.asks("demo/counter/main x", "demo/counter/main: 1");
    fs::rename(&data, &away).unwrap();
    running.type_line("demo/counter/main x");
    running.says("component storage failed: ");
    fs::rename(&away, &data).unwrap();
    // Writes are tried again after a second.
    thread::sleep(Duration::from_millis(1_500));
    running.asks("demo/counter/main x", "demo/counter/main: 2");
    running.says("component storage works again: ");
    running.type_line("quit");
    running.ends_with(1);
}

/// More events than are kept for one who does not listen.
#[test]
fn many_come_and_go_without_a_word_that_is_missed() {
    let folder = Folder::new();
    let lazy = "[supervision]\nstart = \"on-message\"\n";
    for i in 0..1_200 {
        folder.component(&format!("c{i}"), wasm_fixtures::ECHO, lazy);
    }
    let ended = folder
        .up(&[], &["demo/c7/main x"])
        .expect(0, "demo/c7/main: x\n");
    ended.complains(&["1200 components are loaded\n"]);
    assert!(!ended.stderr.contains("missed"), "{}", ended.stderr);
}

/// The clock by which guests are looked at is a thread, which then sleeps for longer.
#[cfg(target_os = "linux")]
#[test]
fn nothing_ticks_while_no_guest_runs() {
    let folder = Folder::new();
    folder.component("spin", wasm_fixtures::SPIN, "");
    folder.replace("spin", "1_000_000", "\"unmetered\"");
    folder.replace("spin", "5s", "100ms");
    let mut running = folder.start(&["--stay"]);
    running.says("demo/spin/main is loaded");
    let threads = format!("/proc/{}/task", running.child.id());
    let ticker = fs::read_dir(threads).unwrap().find_map(|thread| {
        let thread = thread.unwrap().path();
        let name = fs::read_to_string(thread.join("comm")).ok()?;
        (name.trim() == "wasm-epoch").then_some(thread)
    });
    let ticker = ticker.unwrap().join("status");
    let ticks = || {
        let status = fs::read_to_string(&ticker).unwrap();
        let ticks = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        ticks.unwrap().trim().parse::<u64>().unwrap()
    };
    thread::sleep(Duration::from_millis(500));
    let before = ticks();
    thread::sleep(Duration::from_secs(1));
    let idle = ticks() - before;
    assert!((1..100).contains(&idle), "{idle}");
    // And it is awake when it is needed.
    running.type_line("demo/spin/main x");
    running.says("demo/spin/main was stopped in `handle-message`: not done within");
    running.signal("-TERM");
    running.ends_with(0);
}

#[test]
fn a_value_that_has_changed_is_neither_in_order_nor_exported() {
    let folder = Folder::new();
    let export = "{\"airssys-wasm-data\":1}\n\
                  {\"component\":\"demo/a/main\",\"key\":\"k\",\"text\":\"ten thousand\"}\n\
                  {\"entries\":1}\n";
    let file = folder.path("store.redb");
    with_input(["data", "import", &file], export.as_bytes()).expect(0, "");
    program(["data", "export", &file]).expect(0, export);
    let mut bytes = fs::read(&file).unwrap();
    let places = bytes.windows(12).enumerate();
    let places: Vec<_> = places
        .filter(|(_, bytes)| bytes == b"ten thousand")
        .collect();
    let at: Vec<_> = places.into_iter().map(|(at, _)| at).collect();
    at.iter().for_each(|at| bytes[*at + 2] = b'x');
    fs::write(&file, &bytes).unwrap();
    for action in ["check", "export"] {
        program(["data", action, &file]).expect(1, "").complains(&[
            "store.redb is damaged (what is in its pages is not what was written)",
            "replace it by a backup",
        ]);
        assert!(fs::read(&file).unwrap() == bytes, "{action} has changed it");
    }
}

/// A full disk is made by a limit on the length of files, which a shell can set.
#[cfg(unix)]
#[test]
fn nothing_stays_of_an_import_without_room() {
    let folder = Folder::new();
    let file = folder.path("data/new.redb");
    fs::create_dir(folder.path("data")).unwrap();
    let export = folder.path("export");
    let value = "x".repeat(3_000);
    let mut text = "{\"airssys-wasm-data\":1}\n".to_owned();
    for n in 0..3_000 {
        text += &format!("{{\"component\":\"a/b/c\",\"key\":\"{n}\",\"text\":\"{value}\"}}\n");
    }
    fs::write(&export, text + "{\"entries\":3000}\n").unwrap();
    let limited = "trap '' XFSZ; ulimit -f 8192; exec \"$1\" data import \"$2\" < \"$3\"";
    let program = env!("CARGO_BIN_EXE_airssys-wasm");
    for is_there in [false, true] {
        if is_there {
            fs::write(&file, "").unwrap();
        }
        let mut shell = Command::new("sh");
        shell.args(["-c", limited, "sh", program, &file, &export]);
        ended(&shell.output().unwrap())
            .expect(1, "")
            .complains(&["data/new.redb cannot be written: File too large"]);
        let left = fs::read_dir(folder.path("data")).unwrap().count();
        assert_eq!(left, usize::from(is_there));
    }
    assert_eq!(fs::metadata(&file).unwrap().len(), 0);
    let mut import = command(["data", "import", &file]);
    import.stdin(fs::File::open(&export).unwrap());
    ended(&import.output().unwrap())
        .expect(0, "")
        .complains(&["3_000 entries are in"]);
    let left = fs::read_dir(folder.path("data")).unwrap().count();
    assert_eq!(left, 1);
}

#[test]
fn a_file_that_is_in_use_is_left_alone() {
    let folder = Folder::new();
    folder.component("counter", wasm_fixtures::STORED_COUNTER, STORES);
    let data = folder.path("data.redb");
    let path = folder.path("counter");
    let mut running = Running::new(command(["up", &path, "--data", &data, "--stay"]));
    running.says("demo/counter/main is loaded");
    program(["data", "export", &data])
        .expect(2, "")
        .complains(&["is already open"]);
    running.signal("-TERM");
    running.ends_with(0);
}

#[test]
fn standard_error_is_json_if_it_is_to_be() {
    let folder = Folder::new();
    folder.component("logger", wasm_fixtures::LOGGER, STORES);
    let flags = ["up", &folder.path("logger"), "--log-format", "json"];
    let ended = with_input(flags, b"demo/logger/main hello\nnonsense\n");
    let mut levels = Vec::new();
    for line in ended.stderr.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["at"].is_u64() && line["message"].is_string(), "{line}");
        levels.push(line["level"].as_str().unwrap().to_owned());
        if line["component"] == "demo/logger/main" {
            assert!(
                line["message"].as_str().unwrap().contains("hello"),
                "{line}"
            );
        }
    }
    for level in ["error", "info", "warn"] {
        assert!(
            levels.iter().any(|it| it == level),
            "{level} in {}",
            ended.stderr
        );
    }
    assert!(ended.stderr.contains("\"component\":\"demo/logger/main\""));
    program(["up", ".", "--log-format", "xml"])
        .expect(2, "")
        .complains(&["'xml'"]);
}

#[test]
fn the_variable_of_the_log_says_what_is_shown() {
    let folder = Folder::new();
    folder.component("logger", wasm_fixtures::LOGGER, STORES);
    let run = |directives: &str| {
        let mut run = command(["run", &folder.path("logger"), "-m", "hello"]);
        let output = run.env("RUST_LOG", directives).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(run("").contains("hello"));
    let off = run("airssys::component=off");
    assert!(!off.contains("hello"), "{off}");
    let unknown = run("warn,a=loud");
    assert!(
        unknown.contains("\"a=loud\" in RUST_LOG is not understood"),
        "{unknown}"
    );
    assert!(unknown.contains("hello"));
}

#[test]
fn commands_speak_tls() {
    let folder = Folder::new();
    folder.component("echo", wasm_fixtures::ECHO, "");
    let (cert, key) = (folder.path("it.pem"), folder.path("it.key"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-nodes", "-days", "1", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", &key, "-out", &cert])
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success());
    let flags = [
        "--listen",
        "127.0.0.1:0",
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
    ];
    let mut running = folder.start(&flags);
    let address = running.listens();
    let port = address.rsplit(':').next().unwrap();
    let ask = |host: &str, trusted: &str| {
        let host = format!("https://{host}:{port}");
        let mut ask = command(["request", "demo/echo/main", "hi", "--host", &host]);
        let ask = ask.env("SSL_CERT_FILE", trusted).env_remove("SSL_CERT_DIR");
        let output = ask.output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            output.stderr,
        )
    };
    let (code, stdout, _) = ask("localhost", &cert);
    assert_eq!((code, stdout.as_str()), (Some(0), "hi\n"));
    let nobody = folder.write("nobody.pem", "");
    for (host, trusted) in [("localhost", &nobody), ("127.0.0.1", &cert)] {
        let (code, stdout, stderr) = ask(host, trusted);
        assert_eq!((code, stdout.as_str()), (Some(2), ""));
        let stderr = String::from_utf8(stderr).unwrap();
        assert!(stderr.contains("certificate"), "{stderr}");
    }
    running.signal("-TERM");
    running.ends_with(0);
}
