//! Whoever does not read what the program prints, or does not write what it reads, stops
//! neither its components nor its end.

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::up::{LONG, lines_of};
use crate::{CACHE, Folder, command, example, program};

const LOGS: &str = "[permissions]\nlog = \"trace\"\n";
/// More than a pipe holds, and more than the program keeps.
const MANY: usize = 30;
/// Of what may be logged.
const ANY: [&str; 4] = ["--log-lines", "1000000", "--log-bytes", "1GiB"];

/// The program, whose output nobody reads until a test does.
struct Stalled {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
}

impl Stalled {
    fn start(arguments: &[&str]) -> Self {
        let mut child = command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            child,
        }
    }

    fn types(&mut self, lines: &str) {
        self.stdin
            .as_mut()
            .unwrap()
            .write_all(lines.as_bytes())
            .unwrap();
    }

    /// Types so much that the program cannot read all of it, and comes to what stalls it.
    fn types_on(&mut self, lines: String) {
        let mut stdin = self.stdin.take().unwrap();
        thread::spawn(move || {
            let _ = stdin.write_all(lines.as_bytes());
            // Its end would be another reason to end.
            thread::sleep(LONG);
        });
        thread::sleep(Duration::from_secs(2));
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let kill = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(kill.success());
    }

    /// It ends long before any reader comes.
    #[track_caller]
    fn ends_with(&mut self, code: i32) {
        let began = Instant::now();
        while began.elapsed() < LONG {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert_eq!(status.code(), Some(code));
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("it does not end");
    }

    fn rest_of_stderr(&mut self) -> String {
        let mut text = String::new();
        let mut stderr = self.stderr.take().unwrap();
        stderr.read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A component that answers, two that log, and one that computes until its time is up.
fn noisy() -> Folder {
    let folder = Folder::new();
    folder.component("echo", wasm_fixtures::ECHO, "");
    folder.component("spin", wasm_fixtures::SPIN, "");
    let manifest = fs::read_to_string(folder.path("spin/Component.toml")).unwrap();
    let manifest = manifest
        .replace("5s", "300ms")
        .replace("1_000_000", "\"unmetered\"");
    folder.write("spin/Component.toml", manifest);
    let flood = with_lines(wasm_fixtures::LOG_FLOOD.wasm);
    for name in ["first", "second"] {
        folder.component(name, wasm_fixtures::LOG_FLOOD, LOGS);
        folder.write(&format!("{name}/component.wasm"), &flood);
        let manifest = fs::read_to_string(folder.path(&format!("{name}/Component.toml"))).unwrap();
        let manifest = manifest.replace("1_000_000", "10_000_000");
        folder.write(&format!("{name}/Component.toml"), manifest);
    }
    folder
}

/// The component that logs 100,000 lines in answer to a message, with 300 of them: more than a
/// call may write, and no more work than it takes to show that.
fn with_lines(flood: &[u8]) -> Vec<u8> {
    // `i32.const 100000`, and `i32.const 300` in as many bytes.
    let (many, few) = ([0x41, 0xa0, 0x8d, 0x06], [0x41, 0xac, 0x82, 0x00]);
    let places: Vec<_> = (0..flood.len())
        .filter(|at| flood[*at..].starts_with(&many))
        .collect();
    let [place] = places[..] else {
        panic!("the number of its lines is at {places:?}");
    };
    let mut bytes = flood.to_vec();
    bytes[place..][..few.len()].copy_from_slice(&few);
    bytes
}

fn logging() -> String {
    "send demo/first/main x\nsend demo/second/main x\n".repeat(MANY)
}

#[test]
fn who_does_not_read_the_log_stops_no_component() {
    let folder = noisy();
    let path = folder.path("");
    // Events go where the log does.
    let flags = [&["up", &path, "--verbose", "--timeout", "5s"], &ANY[..]].concat();
    let mut program = Stalled::start(&flags);
    let replies = lines_of(program.stdout.take().unwrap());
    program.types("demo/echo/main before\n");
    assert_eq!(
        replies.recv_timeout(LONG).as_deref(),
        Ok("demo/echo/main: before")
    );
    program.types(&logging());
    // Its report comes when its time is up, and the next line after that.
    program.types("demo/spin/main x\ndemo/echo/main after\n");
    assert_eq!(
        replies.recv_timeout(LONG).as_deref(),
        Ok("demo/echo/main: after")
    );
    program.signal("-TERM");
    program.ends_with(0);
}

#[test]
fn what_was_not_read_is_counted_once_somebody_reads() {
    let folder = noisy();
    let path = folder.path("");
    let flags = [&["up", &path], &ANY[..]].concat();
    let mut program = Stalled::start(&flags);
    let replies = lines_of(program.stdout.take().unwrap());
    program.types(&logging());
    program.types("demo/echo/main x\n");
    assert_eq!(
        replies.recv_timeout(LONG).as_deref(),
        Ok("demo/echo/main: x")
    );
    // All were handled, and 256 lines and a warning came of each.
    let logged = 2 * MANY * 257;
    program.stdin = None;
    let text = program.rest_of_stderr();
    program.ends_with(0);
    let count = |line: &str| -> Option<usize> {
        let rest = line.strip_prefix("… ")?;
        let (count, _) = rest.split_once(" log line")?;
        Some(count.replace('_', "").parse().unwrap())
    };
    let dropped: usize = text.lines().filter_map(count).sum();
    assert!(dropped > 0, "{}", text.len());
    let written = text
        .lines()
        .filter(|line| line.starts_with("[demo/"))
        .count();
    // What the program itself says may be among them.
    let all = written + dropped;
    assert!(
        (logged..logged + 20).contains(&all),
        "{written} + {dropped}"
    );
}

#[test]
fn replies_that_nobody_reads_hold_up_no_signal() {
    let replies = format!("demo/echo/main {}\n", "x".repeat(1000)).repeat(300);
    let errors = format!("no/such/x {}\n", "y".repeat(300)).repeat(2000);
    for (signal, lines) in [("-INT", &replies), ("-TERM", &replies), ("-TERM", &errors)] {
        let mut program = Stalled::start(&["up", &example("echo"), "--stay"]);
        program.types_on(lines.clone());
        program.signal(signal);
        program.ends_with(0);
    }
    let mut program = Stalled::start(&["run", &example("echo")]);
    program.types_on(format!("{}\n", "x".repeat(1000)).repeat(300));
    program.signal("-INT");
    program.ends_with(130);
}

#[test]
fn nothing_is_read_and_the_program_ends() {
    let folder = noisy();
    let path = folder.path("");
    let flags = [&["up", &path, "--verbose"], &ANY[..]].concat();
    for signal in ["-INT", "-TERM"] {
        let mut program = Stalled::start(&flags);
        let echo = format!("demo/echo/main {}\n", "x".repeat(1000)).repeat(200);
        program.types_on(logging() + &echo);
        program.signal(signal);
        program.ends_with(0);
    }
}

#[test]
fn events_are_told_while_nobody_reads_the_replies() {
    let folder = Folder::new();
    folder.component("echo", wasm_fixtures::ECHO, "");
    folder.component("other", wasm_fixtures::ECHO, "");
    let path = folder.path("");
    let mut program = Stalled::start(&["up", &path, "--watch"]);
    let said = lines_of(program.stderr.take().unwrap());
    program.types_on(format!("demo/echo/main {}\n", "x".repeat(1000)).repeat(300));
    folder.write("other/component.wasm", wasm_fixtures::COUNTER.wasm);
    let began = Instant::now();
    loop {
        let line = said.recv_timeout(LONG).unwrap();
        if line == "demo/other/main was replaced" {
            break;
        }
        assert!(began.elapsed() < LONG, "{line}");
    }
    program.signal("-TERM");
    program.ends_with(0);
}

/// As two components at one pipe, which a terminal is too.
#[test]
fn what_is_read_from_one_pipe_is_in_order() {
    let folder = Folder::new();
    folder.component("echo", wasm_fixtures::ECHO, "");
    let program = env!("CARGO_BIN_EXE_airssys-wasm");
    let line = format!("'{program}' up '{}' --verbose 2>&1", folder.path(""));
    let mut child = Command::new("sh")
        .args(["-c", &line])
        .env(CACHE.0, CACHE.1)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for n in 0..50 {
        writeln!(stdin, "demo/echo/main {n}").unwrap();
        writeln!(stdin, "no/such/component").unwrap();
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let kinds: Vec<char> = text
        .lines()
        .filter_map(|line| match line {
            _ if line.starts_with("demo/echo/main: ") => Some('r'),
            _ if line.starts_with("error: ") => Some('e'),
            _ => None,
        })
        .collect();
    assert_eq!(kinds.iter().collect::<String>(), "re".repeat(50), "{text}");
}

#[test]
fn a_file_that_nobody_writes_holds_up_no_signal() {
    let folder = Folder::new();
    let config = folder.pipe("config");
    let echo = example("echo");
    for (arguments, signal) in [
        (&["run", &echo, "--message-file", &config][..], "-INT"),
        (&["run", &echo, "--config", &config, "-m", "x"], "-TERM"),
        (&["call", &echo, "--config", &config, "metadata()"], "-INT"),
        (&["check", &echo, "--config", &config], "-TERM"),
    ] {
        let mut program = Stalled::start(arguments);
        thread::sleep(Duration::from_millis(500));
        assert_eq!(program.child.try_wait().unwrap(), None, "{arguments:?}");
        program.signal(signal);
        program.ends_with(130);
    }
}

impl Folder {
    /// A named pipe that nobody writes.
    fn pipe(&self, name: &str) -> String {
        let pipe = self.path(name);
        let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        pipe
    }
}

/// What is written by hand on the command line may be one.
#[test]
fn a_manifest_names_no_pipe() {
    let config = "[config]\nfile = \"config\"\n";
    for (pipe, more, said, line) in [
        ("config", config, "config cannot be read", ":10:1\n"),
        (
            "component.wasm",
            "",
            "component.wasm could not be loaded",
            ":3:1\n",
        ),
    ] {
        let folder = Folder::new();
        folder.component("a", wasm_fixtures::ECHO, more);
        let _ = fs::remove_file(folder.path(&format!("a/{pipe}")));
        folder.pipe(&format!("a/{pipe}"));
        let (app, component) = (folder.path(""), folder.path("a"));
        for arguments in [
            &["up", &app][..],
            &["up", &app, "--watch"],
            &["check", &component],
            &["run", &component, "-m", "x"],
            &["call", &component, "metadata()"],
        ] {
            let said = format!("{said}: it is not a regular file");
            let line = format!("a/Component.toml{line}");
            let ended = program(arguments).expect(2, "");
            ended.complains(&[&said, &line]);
        }
    }
}

#[test]
fn a_pipe_in_the_place_of_configuration_holds_up_no_reload() {
    let folder = Folder::new();
    folder.component(
        "a",
        wasm_fixtures::INIT_CONFIG,
        "[config]\nfile = \"config\"\n",
    );
    folder.write("a/config", "one");
    folder.component("b", wasm_fixtures::COUNTER, "");
    let mut running = folder.start(&["--watch"]);
    running.asks("demo/a/main x", "demo/a/main: one");
    fs::remove_file(folder.path("a/config")).unwrap();
    folder.pipe("a/config");
    running.says("a/config cannot be read: it is not a regular file");
    running.says("a/Component.toml:10:1");
    running.says("demo/a/main goes on as it was");
    folder.write("b/component.wasm", wasm_fixtures::ECHO.wasm);
    running.says("demo/b/main was replaced");
    // One that is new.
    folder.component("c", wasm_fixtures::ECHO, "[config]\nfile = \"config\"\n");
    running.says("c/config cannot be read");
    fs::remove_file(folder.path("a/config")).unwrap();
    folder.write("a/config", "two");
    running.says("demo/a/main was replaced");
    running.asks("demo/a/main x", "demo/a/main: two");
    running.type_line("quit");
    running.ends_with(0);
}
