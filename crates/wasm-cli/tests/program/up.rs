mod escape;
#[cfg(unix)]
mod operated;
#[cfg(unix)]
mod reached;
#[cfg(unix)]
mod secrets;
#[cfg(unix)]
mod served;
#[cfg(unix)]
mod traced;
mod watch;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use wasm_fixtures::Fixture;

use crate::call::CARTS;
use crate::{CACHE, Ended, Folder, command, example, repository, with_input};

/// For what takes milliseconds, on a machine that does something else.
pub(crate) const LONG: Duration = Duration::from_secs(60);

impl Folder {
    /// The component `demo/NAME/main` in a folder of its own, with more lines for its
    /// manifest.
    pub(crate) fn component(&self, name: &str, fixture: Fixture, more: &str) {
        fs::create_dir_all(self.0.path().join(name)).unwrap();
        self.write(&format!("{name}/component.wasm"), fixture.wasm);
        self.manifest(name, &format!("demo/{name}/main"), more);
    }

    pub(crate) fn manifest(&self, name: &str, id: &str, more: &str) {
        let manifest = format!(
            "[component]\nid = \"{id}\"\nwasm = \"component.wasm\"\nversion = \"1.2.3\"\n\
             [resources]\nmemory = \"1MiB\"\nfuel = 1_000_000\ntimeout = \"5s\"\n{more}"
        );
        self.write(&format!("{name}/Component.toml"), manifest);
    }

    /// What becomes of these lines.
    fn up(&self, flags: &[&str], lines: &[&str]) -> Ended {
        let path = self.0.path().display().to_string();
        let mut input = lines.join("\n");
        input.push('\n');
        with_input([&["up", &path], flags].concat(), input.as_bytes())
    }

    pub(crate) fn start(&self, flags: &[&str]) -> Running {
        let path = self.0.path().display().to_string();
        Running::new(command([&["up", &path], flags].concat()))
    }

    /// At a terminal that can edit nothing, to which standard error goes too.
    #[cfg(target_os = "linux")]
    fn start_at_terminal(&self, flags: &[&str]) -> Running {
        let program = env!("CARGO_BIN_EXE_airssys-wasm");
        let line = format!(
            "'{program}' up '{}' {}",
            self.0.path().display(),
            flags.join(" ")
        );
        Self::at_terminal("dumb", &line)
    }

    /// At a terminal whose mode is shown afterwards. The id of the process is in `process`.
    #[cfg(target_os = "linux")]
    fn start_with_editor(&self) -> Running {
        let (program, folder) = (env!("CARGO_BIN_EXE_airssys-wasm"), self.0.path().display());
        Self::at_terminal(
            "xterm",
            &format!(
                "trap : INT; sh -c 'echo $$ > {folder}/process; exec {program} up {folder}'; \
                 code=$?; stty -a; exit $code"
            ),
        )
    }

    #[cfg(target_os = "linux")]
    fn at_terminal(term: &str, line: &str) -> Running {
        let mut command = Command::new("script");
        command
            .args(["-qefc", line, "/dev/null"])
            .env("NO_COLOR", "1")
            .env("TERM", term)
            .env(CACHE.0, CACHE.1);
        Running::new(command)
    }
}

#[test]
fn a_component_of_any_world_is_called() {
    let folder = Folder::new();
    folder.component("carts", wasm_fixtures::COUNTER, RESTARTED);
    folder.write("carts/component.wasm", wat::parse_str(CARTS).unwrap());
    folder.component("counter", wasm_fixtures::COUNTER, "");
    folder
        .up(
            &[],
            &[
                "call demo/carts/main a = cart(2)",
                "call demo/carts/main a.add(1)",
                "call demo/carts/main try-cart(1)",
                "call demo/counter/main health()",
                "demo/counter/main x",
                "call demo/carts/main a.total()",
                "call demo/carts/main f(",
                "call demo/nobody/main f()",
                "restart demo/carts/main",
                "call demo/carts/main a.add(1)",
                "call demo/carts/main a = cart(7)",
                "call demo/carts/main a.add(1)",
                "call demo/carts/main checkout(a)",
                "call demo/carts/main checkout(a)",
            ],
        )
        .expect(
            1,
            "demo/carts/main: 3\n\
             demo/carts/main: ok(resource)\n\
             demo/counter/main: healthy\n\
             demo/counter/main: 1\n\
             demo/carts/main: 8\n\
             demo/carts/main: 8\n",
        )
        .complains(&[
            "demo/carts/main has returned",
            "`a` has no method `total`",
            "this was line 6 of standard input",
            "this is not a call in WAVE",
            "no component demo/nobody/main is loaded",
            "of another instance, or of one that is gone",
            "and not a",
        ]);
}

/// The component has more time than whoever waits.
#[test]
fn a_call_is_waited_for_as_long_as_a_reply() {
    let folder = Folder::new();
    folder.component("loops", wasm_fixtures::COUNTER, "");
    let loops = r#"(component
        (core module $m (func (export "f") (loop $forever (br $forever))))
        (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "f")))
        (export "f" (func $f)))"#;
    folder.write("loops/component.wasm", wat::parse_str(loops).unwrap());
    folder.replace("loops", "fuel = 1_000_000", "fuel = \"unmetered\"");
    folder
        .up(&["--timeout", "100ms"], &["call demo/loops/main f()"])
        .expect(1, "")
        .complains(&["demo/loops/main has not answered within 100ms", "--timeout"]);
}

/// Like a message over which it fails.
#[test]
fn a_component_that_fails_in_a_call_is_restarted() {
    let folder = Folder::new();
    folder.component("crash", wasm_fixtures::COUNTER, RESTARTED);
    let crash = r#"(component
        (core module $m (func (export "f") unreachable))
        (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "f")))
        (export "f" (func $f)))"#;
    folder.write("crash/component.wasm", wat::parse_str(crash).unwrap());
    let mut running = folder.start(&[]);
    running.type_line("call demo/crash/main f()");
    running.says("demo/crash/main trapped in `f`");
    running.says("demo/crash/main was restarted");
    running.type_line("quit");
    running.ends_with(1);
}

const RESTARTED: &str = "[supervision]\nrestart = \"on-failure\"\nbackoff = \"1ms\"\n";
const SENDS: &str = "[permissions]\nsend = [\"demo/*/*\"]\nrequest = [\"demo/*/*\"]\n";
const STORES: &str = "[permissions]\nstorage = \"4KiB\"\n";

/// The program while it runs.
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Running {
    fn new(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            stdin: child.stdin.take(),
            stdout: lines_of(child.stdout.take().unwrap()),
            stderr: lines_of(child.stderr.take().unwrap()),
            child,
        }
    }

    pub(crate) fn type_line(&mut self, line: &str) {
        self.type_keys(&format!("{line}\n"));
    }

    fn type_keys(&mut self, keys: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(keys.as_bytes()).unwrap();
    }

    /// Types a line and looks at the reply.
    #[track_caller]
    pub(crate) fn asks(&mut self, line: &str, reply: &str) {
        self.type_line(line);
        assert_eq!(self.stdout.recv_timeout(LONG).as_deref(), Ok(reply));
    }

    /// Waits for a line of standard error.
    #[track_caller]
    pub(crate) fn says(&mut self, part: &str) {
        wait_for(&self.stderr, part);
    }

    /// Waits for a line of standard error, and gives those before it.
    #[track_caller]
    fn says_before(&mut self, part: &str) -> Vec<String> {
        let lines = std::iter::from_fn(|| {
            let line = self.stderr.recv_timeout(LONG).unwrap();
            (!line.contains(part)).then_some(line)
        });
        lines.collect()
    }

    /// Waits for a line of standard output.
    #[cfg(target_os = "linux")]
    #[track_caller]
    fn shows(&mut self, part: &str) {
        wait_for(&self.stdout, part);
    }

    /// Types a line; whether this is among what is shown up to a last line.
    #[cfg(target_os = "linux")]
    #[track_caller]
    fn tells(&mut self, line: &str, last: &str, part: &str) -> bool {
        self.type_line(line);
        let mut is_told = false;
        loop {
            let line = self.stdout.recv_timeout(LONG).unwrap();
            is_told |= line.contains(part);
            if line.starts_with(last) {
                return is_told;
            }
        }
    }

    #[cfg(unix)]
    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let kill = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(kill.success());
    }

    #[track_caller]
    pub(crate) fn ends_with(self, code: i32) {
        self.ends(code);
    }

    /// What standard error has had to say that nobody has looked at.
    #[track_caller]
    fn ends(mut self, code: i32) -> Vec<String> {
        let began = Instant::now();
        while began.elapsed() < LONG {
            if let Some(status) = self.child.try_wait().unwrap() {
                let lines = std::iter::from_fn(|| self.stderr.recv_timeout(LONG).ok());
                let stderr: Vec<String> = lines.collect();
                assert_eq!(status.code(), Some(code), "{stderr:#?}");
                return stderr;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("does not end");
    }
}

/// A test that fails, or has seen enough, leaves no process behind.
impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn wait_for(lines: &Receiver<String>, part: &str) {
    let began = Instant::now();
    let mut seen = Vec::new();
    while let Ok(line) = lines.recv_timeout(LONG.saturating_sub(began.elapsed())) {
        seen.push(line);
        if seen.last().is_some_and(|line| line.contains(part)) {
            return;
        }
    }
    panic!("{part:?} is not in {seen:#?}");
}

pub(crate) fn lines_of(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            if sender.send(line.unwrap()).is_err() {
                return;
            }
        }
    });
    lines
}

#[test]
fn components_talk_to_each_other_and_to_whoever_types() {
    let folder = Folder::new();
    folder.component("asker", wasm_fixtures::CALLBACK, SENDS);
    folder.component("sender", wasm_fixtures::SENDER, SENDS);
    folder.component("counter", wasm_fixtures::COUNTER, "");
    folder.component("envelope", wasm_fixtures::ENVELOPE, "");
    let ended = folder.up(
        &["--verbose"],
        &[
            "demo/counter/main",
            "demo/sender/main demo/counter/main two",
            "",
            "send demo/sender/main demo/counter/main three",
            "demo/counter/main four",
            "demo/asker/main demo/counter/main five",
            "demo/asker/main last",
            "demo/envelope/main  hello ",
        ],
    );
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines[..2], ["demo/counter/main: 1", "demo/counter/main: 4"]);
    // The callback was there before the next line was sent.
    assert_eq!(lines[3], format!("{}|-|5", lines[2]));
    let envelope = lines[4].strip_prefix("demo/envelope/main: local/airssys-wasm/up|");
    assert!(envelope.unwrap().ends_with("|-|7"), "{envelope:?}");
    assert_eq!(lines.len(), 5);
    ended.complains(&[
        "demo/counter/main is loaded\n",
        "demo/sender/main has no reply\n",
        "demo/sender/main -> demo/counter/main: message of 3B",
        "demo/counter/main -> demo/asker/main: callback of 1B",
    ]);
}

#[test]
fn what_is_handled_well_is_no_news() {
    let folder = Folder::new();
    folder.component("sender", wasm_fixtures::SENDER, SENDS);
    folder.component("error", wasm_fixtures::GUEST_ERROR, "");
    let lines = [
        "demo/sender/main demo/error/main ok",
        "demo/sender/main demo/error/main go",
    ];
    let ended = folder.up(&[], &lines).expect(0, "");
    assert!(
        !ended.stderr.contains("message of 2B, answered with 2B"),
        "{}",
        ended.stderr
    );
    ended
        .complains(&["demo/sender/main -> demo/error/main: message of 2B, answered with an error"]);
}

#[test]
fn a_failure_is_reported_and_its_neighbours_go_on() {
    let folder = Folder::new();
    folder.component("trap", wasm_fixtures::TRAP, RESTARTED);
    folder.component("fragile", wasm_fixtures::TRAP, "");
    folder.component("echo", wasm_fixtures::ECHO, "");
    folder.component("error", wasm_fixtures::GUEST_ERROR, "");
    let ended = folder.up(
        &[],
        &[
            "demo/trap/main go",
            "demo/trap/main ok",
            "demo/error/main go",
            "demo/fragile/main go",
            "demo/fragile/main ok",
            "dead",
            "restart demo/fragile/main",
            "demo/fragile/main ok",
            "demo/echo/main hello",
        ],
    );
    let (demo, up) = ("demo/trap/main trapped in", "local/airssys-wasm/up");
    let stdout = ended.stdout.clone();
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines[0], "demo/trap/main: ok");
    let dead = format!("1: request from {up} to demo/trap/main, \"go\": {demo}");
    assert!(lines[1].starts_with(&dead), "{lines:#?}");
    assert!(
        lines[2].contains("to demo/fragile/main, \"go\": "),
        "{lines:#?}"
    );
    assert_eq!(
        lines[lines.len() - 2..],
        ["demo/fragile/main: ok", "demo/echo/main: hello"]
    );
    assert_eq!(ended.code, Some(1));
    ended.complains(&[
        "error: demo/trap/main trapped in `handle-message`: `unreachable` was executed\n",
        "where it was, innermost first",
        "this was line 1 of standard input",
        "demo/trap/main was restarted\n",
        "error: demo/error/main answered with an error",
        "demo/fragile/main is quarantined",
        "its last failure: demo/fragile/main trapped in",
        "`restart demo/fragile/main` gives it a fresh start",
        "demo/fragile/main was restarted\n",
    ]);
    // The error has said it.
    assert!(!ended.stderr.contains("has failed:"), "{}", ended.stderr);
}

#[test]
fn a_wrong_line_says_what_is_right() {
    let folder = Folder::new();
    folder.component("echo", wasm_fixtures::ECHO, "");
    folder.component("sleeper", wasm_fixtures::SLEEPER, "");
    let ended = folder.up(
        &["--timeout", "100ms"],
        &[
            "demo/ecoh/main x",
            "demo/echo x",
            "pss",
            "restart demo/nobody/main",
            "demo/sleeper/main 4000",
            "restart demo/sleeper/main",
            "dead",
            "help",
            "demo/echo/main x",
            "quit",
            "demo/echo/main never",
        ],
    );
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(
        ended.stdout.starts_with("namespace/name/instance TEXT"),
        "{}",
        ended.stdout
    );
    assert!(
        ended.stdout.ends_with("\ndemo/echo/main: x\n"),
        "{}",
        ended.stdout
    );
    ended.complains(&[
        "error: no component demo/ecoh/main is loaded",
        "demo/sleeper/main\n",
        "this was line 1 of standard input",
        "did you mean demo/echo/main?",
        "component id \"demo/echo\" has 2 segments",
        "did you mean `ps`?",
        "no component demo/nobody/main is loaded",
        "demo/sleeper/main has not answered within 100ms",
        "--timeout waits longer",
        "demo/sleeper/main is busy, and was not restarted within 100ms",
        "there are no dead letters",
    ]);
}

#[test]
fn a_message_that_does_not_fit_is_not_sent() {
    let folder = Folder::new();
    folder.component("echo", wasm_fixtures::ECHO, "");
    let too_much = format!("demo/echo/main {}", "x".repeat((1 << 20) + 1));
    let far_too_much = "x".repeat(5 << 20);
    let lines = [&too_much, &far_too_much, "demo/echo/main x"];
    folder
        .up(&[], &lines)
        .expect(1, "demo/echo/main: x\n")
        .complains(&[
            "more than 1MiB is not sent to demo/",
            "a line is longer than any message can be",
            "this was line 2 of standard input",
        ]);
}

#[test]
fn everything_that_is_wrong_is_said_before_anything_runs() {
    let folder = Folder::new();
    folder.component("a", wasm_fixtures::ECHO, "");
    folder.component("b", wasm_fixtures::ECHO, "");
    folder.manifest("b", "demo/a/main", "");
    folder.component(
        "c",
        wasm_fixtures::ECHO,
        "[supervision]\nrestart = \"maybe\"\n",
    );
    folder.component(
        "d",
        wasm_fixtures::ECHO,
        "[permissions]\nfly = true\nlog = \"loud\"\n",
    );
    folder.component("e", wasm_fixtures::ECHO, "");
    fs::remove_file(folder.path("e/component.wasm")).unwrap();
    let ended = folder.up(&[], &["demo/a/main x"]).expect(2, "");
    ended.complains(&[
        "error: two components have the id demo/a/main\n",
        "b/Component.toml\n",
        "the other is",
        "a/Component.toml\n",
        "`supervision.restart`",
        "`permissions.fly`",
        "`permissions.log`",
        "e/component.wasm could not be loaded: No such file",
        "e/Component.toml:3:1\n",
    ]);
    assert!(!ended.stderr.contains("is loaded"), "{}", ended.stderr);
}

#[test]
fn all_are_loaded_or_the_program_ends() {
    let folder = Folder::new();
    folder.component("good", wasm_fixtures::ECHO, "");
    folder.component("refuses", wasm_fixtures::INIT_FAILS, "");
    folder.component("lacks", wasm_fixtures::UNKNOWN_IMPORT, "");
    let ended = folder.up(&[], &["demo/good/main x"]).expect(2, "");
    ended.complains(&[
        "error: demo/lacks/main",
        "acme:db/query@1.0.0",
        "error: demo/refuses/main",
    ]);
    let said = ended.stderr.matches("no configuration").count();
    assert_eq!(said, 1, "{}", ended.stderr);
}

#[test]
fn many_are_loaded_in_one_line() {
    let folder = Folder::new();
    for i in 0..30 {
        folder.component(&format!("c{i}"), wasm_fixtures::ECHO, "");
    }
    let ended = folder
        .up(&[], &["demo/c7/main x"])
        .expect(0, "demo/c7/main: x\n");
    ended.complains(&["30 components are loaded\n"]);
    assert!(!ended.stderr.contains("is loaded"), "{}", ended.stderr);
}

#[test]
fn a_folder_without_components_is_a_mistake() {
    let folder = Folder::new();
    folder
        .up(&[], &[])
        .expect(2, "")
        .complains(&["there is no Component.toml in "]);
    let file = folder.write("file", "");
    with_input(["up", &file], b"")
        .expect(2, "")
        .complains(&["file is no folder"]);
    let nowhere = folder.path("nowhere");
    with_input(["up", &nowhere], b"")
        .expect(2, "")
        .complains(&["nowhere cannot be read"]);
}

#[test]
fn all_components_together_have_limits() {
    let folder = Folder::new();
    folder.component("a", wasm_fixtures::ECHO, "");
    folder.component("b", wasm_fixtures::ECHO, "");
    for (flag, limit) in [
        ("--max-components", "1"),
        ("--max-memory", "1MiB"),
        ("--max-kept", "1KiB"),
    ] {
        let ended = folder.up(&[flag, limit], &["demo/a/main x"]).expect(2, "");
        ended.complains(&["/main cannot be loaded", flag, "/Component.toml"]);
    }
    folder
        .up(&["--max-memory", "2MiB"], &["demo/b/main x"])
        .expect(0, "demo/b/main: x\n");
    let ended = folder
        .up(&["--memory-ceiling", "512KiB"], &[])
        .expect(2, "");
    ended.complains(&[
        "a/Component.toml",
        "b/Component.toml",
        "--memory-ceiling SIZE raises",
    ]);
}

#[test]
fn a_message_goes_only_so_far() {
    let folder = Folder::new();
    folder.component("a", wasm_fixtures::SENDER, SENDS);
    folder.component("b", wasm_fixtures::SENDER, SENDS);
    folder.component("c", wasm_fixtures::COUNTER, "");
    let lines = ["demo/a/main demo/b/main demo/c/main x", "demo/c/main"];
    folder.up(&[], &lines).expect(0, "demo/c/main: 2\n");
    let ended = folder
        .up(&["--max-hops", "1"], &lines)
        .expect(0, "demo/c/main: 1\n");
    ended.complains(&["demo/a/main -> demo/b/main: message of 13B, answered with an error"]);
}

#[test]
fn a_table_shows_how_the_components_are() {
    let folder = Folder::new();
    let long = "x".repeat(64);
    folder.component("counter", wasm_fixtures::COUNTER, "");
    folder.component("trap", wasm_fixtures::TRAP, "");
    folder.component(&long, wasm_fixtures::ECHO, "");
    let ended = folder.up(
        &[],
        &[
            "demo/counter/main",
            "demo/counter/main",
            "demo/trap/main go",
            "restart demo/trap/main",
            "ps",
        ],
    );
    let table: Vec<Vec<&str>> = ended
        .stdout
        .lines()
        .skip(2)
        .map(|line| line.split_whitespace().collect())
        .collect();
    let [header, counter, trap, other] = table.as_slice() else {
        panic!("{}", ended.stdout);
    };
    assert_eq!(header[..4], ["COMPONENT", "STATE", "HEALTH", "HANDLED"]);
    assert_eq!(
        counter[..6],
        ["demo/counter/main", "ready", "-", "2", "0", "0"]
    );
    assert_eq!(counter[7], "64KiB");
    assert_eq!(trap[..6], ["demo/trap/main", "ready", "-", "0", "0", "1"]);
    assert!(
        other[0].starts_with("demo/xxx") && other[0].ends_with("xxx/main"),
        "{other:?}"
    );
    assert!(other[0].contains('…'), "{other:?}");
    for line in ended.stdout.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let told = folder.up(&[], &["demo/trap/main go", "ps demo/trap/main", "ps a/b/c"]);
    for line in [
        "component         demo/trap/main\n",
        "version           1.2.3\n",
        "state             quarantined\n",
        "failures          1\n",
        "restarts          0\n",
        "last failure      demo/trap/main trapped in",
    ] {
        assert!(told.stdout.contains(line), "{line}: {}", told.stdout);
    }
    assert_eq!(told.code, Some(1));
    told.complains(&["no component a/b/c is loaded"]);
}

#[cfg(target_os = "linux")]
#[test]
fn health_is_shown_once_it_was_asked() {
    let folder = Folder::new();
    let health = "[supervision]\nhealth = \"1ms\"\n";
    folder.component("health", wasm_fixtures::HEALTH, health);
    let mut running = folder.start(&[]);
    running.type_line("demo/health/main degraded");
    // It is asked in its own time.
    while !running.tells(
        "ps demo/health/main",
        "last failure",
        "health            degraded",
    ) {
        thread::sleep(Duration::from_millis(5));
    }
    running.type_line("ps");
    running.shows("demo/health/main  ready  degraded");
    running.type_line("quit");
    running.ends_with(0);
}

#[test]
fn a_dead_letter_is_taken_again() {
    let folder = Folder::new();
    folder.component("a", wasm_fixtures::TRAP, "");
    let ended = folder.up(
        &[],
        &[
            "send demo/a/main poison",
            "dead",
            "redeliver 1",
            "restart demo/a/main",
            "redeliver 1",
            "dead",
            "redeliver 2",
            "redeliver two",
        ],
    );
    assert_eq!(ended.code, Some(1));
    let lines: Vec<_> = ended.stdout.lines().collect();
    assert!(lines[0].starts_with("1: message from"), "{lines:#?}");
    assert!(
        lines[1].starts_with("2: message from") && lines[1].contains(", delivered again: "),
        "{lines:#?}"
    );
    ended.complains(&[
        // Whoever is quarantined takes none.
        "dead letter 1 is not accepted",
        "dead letter 2 cannot be delivered again: it was delivered again before",
        "and this is \"two\"",
    ]);
}

#[test]
fn the_others_run_without_one_that_does_not_load() {
    let folder = Folder::new();
    folder.component("a", wasm_fixtures::ECHO, "");
    folder.component("b", wasm_fixtures::INIT_FAILS, "");
    folder.component("c", wasm_fixtures::ECHO, "");
    folder.replace("c", "memory", "memmory");
    let line = ["demo/a/main hello"];
    let all = folder.up(&[], &line);
    assert_eq!((all.code, &*all.stdout), (Some(2), ""));
    let some = folder.up(&["--keep-going"], &["demo/b/main x", line[0]]);
    assert_eq!(some.code, Some(1));
    assert_eq!(some.stdout, "demo/a/main: hello\n");
    some.complains(&[
        "`resources.memmory`: unknown key",
        "demo/b/main did not initialize",
        "no component demo/b/main is loaded",
        "standard input has ended",
    ]);
    // Nobody is left.
    let folder = Folder::new();
    folder.component("b", wasm_fixtures::INIT_FAILS, "");
    assert_eq!(folder.up(&["--keep-going"], &line).code, Some(2));
}

#[test]
fn what_is_stored_is_kept_where_a_file_is_given() {
    let folder = Folder::new();
    folder.component("counter", wasm_fixtures::STORED_COUNTER, STORES);
    let line = ["demo/counter/main"];
    for _ in 0..2 {
        let ended = folder.up(&[], &line).expect(0, "demo/counter/main: 1\n");
        ended.complains(&[
            "demo/counter/main store is lost at the end",
            "--data FILE keeps it",
        ]);
    }
    let data = folder.path("data");
    for count in 1..=3 {
        let expected = format!("demo/counter/main: {count}\n");
        let ended = folder.up(&["--data", &data], &line).expect(0, &expected);
        assert!(!ended.stderr.contains("lost"), "{}", ended.stderr);
    }
    let other = folder.write("other", "something else");
    let ended = folder.up(&["--data", &other], &line).expect(2, "");
    ended.complains(&[&other, "given by --data"]);
    assert_eq!(fs::read_to_string(other).unwrap(), "something else");
}

#[test]
fn a_damaged_store_is_told_without_a_panic() {
    let folder = Folder::new();
    folder.component("counter", wasm_fixtures::STORED_COUNTER, STORES);
    let data = folder.path("data");
    let line = ["demo/counter/main"];
    folder
        .up(&["--data", &data], &line)
        .expect(0, "demo/counter/main: 1\n");
    let whole = fs::read(&data).unwrap();
    let used: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    let mut damaged = false;
    for (n, at) in used.iter().copied().step_by(7).enumerate() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (n % 8);
        fs::write(&data, bytes).unwrap();
        let ended = folder.up(&["--data", &data], &line);
        // Where redb panicked; that nothing is printed of it is looked at for every run.
        damaged = ended.stderr.contains("its pages do not fit together");
        if damaged {
            ended.complains(&[&data, "is damaged"]);
            break;
        }
    }
    assert!(
        damaged,
        "redb panicked over none of {} files",
        used.len() / 7
    );
}

#[test]
fn a_component_is_replaced_when_its_files_change() {
    let folder = Folder::new();
    folder.component("a", wasm_fixtures::COUNTER, "");
    let mut running = folder.start(&["--watch"]);
    running.asks("demo/a/main x", "demo/a/main: 1");
    folder.write("a/component.wasm", wasm_fixtures::ECHO.wasm);
    running.says("demo/a/main was replaced");
    running.asks("demo/a/main x", "demo/a/main: x");

    // What cannot be loaded leaves the old one where it is.
    folder.write("a/component.wasm", wasm_fixtures::TRUNCATED.wasm);
    running.says("error: demo/a/main");
    running.says("demo/a/main goes on as it was");
    running.asks("demo/a/main y", "demo/a/main: y");
    folder.manifest("a", "demo/a/main", "wrong = 1\n");
    running.says("`resources.wrong`");
    running.says("demo/a/main goes on as it was");
    running.asks("demo/a/main z", "demo/a/main: z");

    folder.write("a/component.wasm", wasm_fixtures::SELF_ID.wasm);
    folder.manifest("a", "demo/a/main", "");
    running.says("demo/a/main was replaced");
    running.asks("demo/a/main", "demo/a/main: demo/a/main");

    // Another id is another component.
    folder.manifest("a", "demo/b/main", "");
    running.says("demo/a/main is unloaded");
    running.asks("demo/b/main", "demo/b/main: demo/b/main");
    running.stdin = None;
    running.ends_with(0);
}

#[test]
fn components_come_and_go_with_their_manifests() {
    let folder = Folder::new();
    folder.component("a", wasm_fixtures::ECHO, "");
    let mut running = folder.start(&["--watch"]);
    running.asks("demo/a/main x", "demo/a/main: x");
    folder.component("b", wasm_fixtures::ECHO, "");
    running.says("demo/b/main is loaded");
    running.asks("demo/b/main x", "demo/b/main: x");
    folder.component("c", wasm_fixtures::ECHO, "");
    folder.manifest("c", "demo/b/main", "");
    running.says("two components have the id demo/b/main");
    // Taken up once the id is free.
    folder.manifest("b", "demo/other/main", "");
    running.says("demo/b/main is unloaded");
    running.says("demo/b/main is loaded");
    running.asks("demo/b/main y", "demo/b/main: y");
    fs::rename(folder.path("b"), folder.path("a-new-name")).unwrap();
    running.says("demo/other/main is unloaded");
    running.says("demo/other/main is loaded");
    running.asks("demo/other/main z", "demo/other/main: z");
    fs::remove_dir_all(folder.path("a")).unwrap();
    running.says("demo/a/main is unloaded");
    running.type_line("demo/a/main x");
    running.says("no component demo/a/main is loaded");
    running.stdin = None;
    running.ends_with(1);
}

/// Sixty functions, each with almost as many loops within each other as are accepted: half a
/// minute of a processor, in a file that is large enough for that.
fn slow_to_compile() -> Vec<u8> {
    let function = format!("(func {}{})", "loop ".repeat(3_500), "end ".repeat(3_500));
    let module = function.repeat(60);
    let mut wasm = wat::parse_str(format!("(component (core module {module}))")).unwrap();
    // A section of 8 MiB without a name, which means nothing.
    wasm.extend([0, 0x80, 0x80, 0x80, 0x04]);
    wasm.extend(vec![0; 8 << 20]);
    wasm
}

#[test]
fn what_takes_long_to_compile_holds_up_no_other() {
    let folder = Folder::new();
    folder.component("a", wasm_fixtures::HELLO, "");
    folder.component("b", wasm_fixtures::COUNTER, "");
    let mut running = folder.start(&["--watch"]);
    running.asks("demo/b/main x", "demo/b/main: 1");
    folder.write("a/component.wasm", slow_to_compile());
    running.says("compiling demo/a/main");
    folder.write("b/component.wasm", wasm_fixtures::ECHO.wasm);
    folder.component("c", wasm_fixtures::ECHO, "");
    let mut said = running.says_before("demo/b/main was replaced");
    if !said
        .iter()
        .any(|line| line.contains("demo/c/main is loaded"))
    {
        said.extend(running.says_before("demo/c/main is loaded"));
    }
    assert!(
        !said.iter().any(|line| line.contains("demo/a/main")),
        "{said:?}"
    );
    running.asks("demo/b/main y", "demo/b/main: y");
    running.asks("demo/c/main z", "demo/c/main: z");
    running.type_line("quit");
    running.ends_with(0);
}

#[test]
fn a_clash_is_told_once() {
    let folder = Folder::new();
    folder.component("a", wasm_fixtures::COUNTER, "");
    let mut running = folder.start(&["--watch"]);
    running.asks("demo/a/main x", "demo/a/main: 1");
    folder.component("b", wasm_fixtures::ECHO, "");
    running.says("demo/b/main is loaded");
    folder.manifest("b", "demo/a/main", "");
    running.says("two components have the id demo/a/main");
    running.says("demo/b/main goes on as it was");
    // It is tried again, and is in the way as before.
    folder.component("c", wasm_fixtures::ECHO, "");
    let said = running.says_before("demo/c/main is loaded");
    assert!(said.is_empty(), "{said:?}");
    folder.write("a/component.wasm", wasm_fixtures::ECHO.wasm);
    let said = running.says_before("demo/a/main was replaced");
    assert!(said.is_empty(), "{said:?}");
    // What is said anew is told anew.
    folder.manifest("b", "demo/c/main", "");
    running.says("two components have the id demo/c/main");
    folder.manifest("b", "demo/a/main", "");
    running.says("two components have the id demo/a/main");
    fs::remove_dir_all(folder.path("a")).unwrap();
    running.says("demo/a/main is loaded");
    running.type_line("quit");
    running.ends_with(0);
}

#[test]
fn components_exchange_their_ids() {
    let folder = Folder::new();
    folder.component("a", wasm_fixtures::COUNTER, "");
    folder.component("b", wasm_fixtures::ECHO, "");
    folder.component("c", wasm_fixtures::SELF_ID, "");
    let mut running = folder.start(&["--watch"]);
    running.asks("demo/a/main x", "demo/a/main: 1");
    // Told at first, because it could stay so.
    folder.manifest("a", "demo/b/main", "");
    running.says("two components have the id demo/b/main");
    folder.manifest("b", "demo/c/main", "");
    running.says("two components have the id demo/c/main");
    folder.manifest("c", "demo/a/main", "");
    for _ in 0..3 {
        running.says("is loaded");
    }
    running.asks("demo/a/main x", "demo/a/main: demo/a/main");
    running.asks("demo/b/main x", "demo/b/main: 1");
    running.asks("demo/c/main x", "demo/c/main: x");
    running.type_line("quit");
    running.ends_with(0);
}

#[test]
fn what_takes_no_messages_replaces_nothing_that_does() {
    let folder = Folder::new();
    folder.component("a", wasm_fixtures::ECHO, "");
    folder.component("b", wasm_fixtures::HELLO, "");
    let mut running = folder.start(&["--watch"]);
    running.asks("demo/a/main x", "demo/a/main: x");
    folder.write("a/component.wasm", wasm_fixtures::HELLO.wasm);
    running.says("demo/a/main takes messages, and what would replace it takes none");
    running.says("demo/a/main goes on as it was");
    running.asks("demo/a/main y", "demo/a/main: y");
    folder.write("b/component.wasm", wasm_fixtures::OTHER_WORLD.wasm);
    running.says("demo/b/main was replaced");
    folder.write("b/component.wasm", wasm_fixtures::ECHO.wasm);
    running.says("demo/b/main was replaced");
    running.asks("demo/b/main z", "demo/b/main: z");
    running.type_line("quit");
    running.ends_with(0);
}

#[cfg(unix)]
#[test]
fn a_store_that_fails_when_it_is_closed_is_a_failure() {
    let folder = Folder::new();
    folder.component("counter", wasm_fixtures::STORED_COUNTER, STORES);
    let data = folder.path("data");
    let mut running = folder.start(&["--data", &data]);
    running.asks("demo/counter/main", "demo/counter/main: 1");
    fs::remove_file(&data).unwrap();
    running.type_line("quit");
    running.says("what components store may be lost: ");
    running.says("the file was given by --data");
    running.ends_with(1);
}

#[test]
fn without_watch_files_may_change() {
    let folder = Folder::new();
    folder.component("a", wasm_fixtures::ECHO, "");
    let mut running = folder.start(&[]);
    running.asks("demo/a/main x", "demo/a/main: x");
    fs::remove_dir_all(folder.path("a")).unwrap();
    thread::sleep(Duration::from_millis(1500));
    running.asks("demo/a/main y", "demo/a/main: y");
    running.type_line("quit");
    running.ends_with(0);
}

/// With its input still open, whose end would end it, too.
#[cfg(unix)]
#[test]
fn a_signal_ends_it_cleanly() {
    let folder = Folder::new();
    folder.component("a", wasm_fixtures::ECHO, "");
    folder.component("fails", wasm_fixtures::SHUTDOWN_FAILS, "");
    for signal in ["-INT", "-TERM"] {
        let mut running = folder.start(&[]);
        running.asks("demo/a/main x", "demo/a/main: x");
        running.signal(signal);
        running.says("stopping");
        running.says("still busy");
        running.ends_with(0);
    }
}

#[cfg(unix)]
#[test]
fn a_second_signal_waits_for_nothing() {
    let folder = Folder::new();
    folder.component("a", wasm_fixtures::ECHO, "");
    folder.component("sleeper", wasm_fixtures::SLEEPER, "");
    let manifest = fs::read_to_string(folder.path("sleeper/Component.toml")).unwrap();
    folder.write("sleeper/Component.toml", manifest.replace("5s", "1h"));
    for signal in ["-INT", "-TERM"] {
        let mut running = folder.start(&["--timeout", "1h"]);
        running.asks("demo/a/main x", "demo/a/main: x");
        running.type_line("demo/sleeper/main 3000000");
        thread::sleep(Duration::from_millis(200));
        running.signal(signal);
        running.says("stopping");
        running.says("waiting for demo/sleeper/main, which has 1h for a call");
        running.signal(signal);
        running.ends_with(130);
    }
}

/// Whoever types learns how a component is that does not answer, and who does.
#[cfg(target_os = "linux")]
#[test]
fn a_terminal_waits_for_nobody() {
    let folder = Folder::new();
    folder.component("a", wasm_fixtures::ECHO, "");
    folder.component("sleeper", wasm_fixtures::SLEEPER, "");
    let manifest = fs::read_to_string(folder.path("sleeper/Component.toml")).unwrap();
    folder.write("sleeper/Component.toml", manifest.replace("5s", "1h"));
    let mut running = folder.start_at_terminal(&["--timeout", "1h"]);
    running.shows("`help` shows more");
    running.type_line("demo/sleeper/main 3000000");
    running.shows("waiting for demo/sleeper/main; other lines are taken");
    running.type_line("ps");
    running.shows("demo/sleeper/main  busy");
    running.type_line("restart demo/sleeper/main");
    running.shows("waiting for demo/sleeper/main; other lines are taken");
    running.type_line("demo/a/main hello");
    running.shows("demo/a/main: hello");
    // Ctrl-C, as the terminal has it.
    running.type_line("\u{3}");
    running.shows("waiting for demo/sleeper/main, which has 1h for a call");
    running.type_line("\u{3}");
    running.ends_with(130);
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_late_at_a_terminal_names_its_line() {
    let folder = Folder::new();
    folder.component("counter", wasm_fixtures::COUNTER, "");
    folder.component("sleeper", wasm_fixtures::SLEEPER, "");
    let mut running = folder.start_at_terminal(&["--timeout", "2s"]);
    running.shows("`help` shows more");
    running.type_line("demo/sleeper/main 3000");
    running.shows("waiting for demo/sleeper/main; other lines are taken");
    running.type_line("demo/counter/main a\nsend demo/counter/main b\ndemo/counter/main c");
    running.shows("demo/counter/main: 1");
    running.shows("demo/counter/main: 3");
    running.shows("demo/sleeper/main has not answered within 2s");
    running.shows("this was \"demo/sleeper/main 3000\"");
    // What is not there by then is not waited for.
    running.type_line("demo/sleeper/main 4000");
    running.shows("waiting for demo/sleeper/main; other lines are taken");
    running.type_line("quit");
    running.shows("demo/sleeper/main has not answered");
    running.ends_with(1);
}

/// However it ends, the terminal is as it was.
#[cfg(target_os = "linux")]
#[test]
fn a_line_is_edited_at_a_terminal_that_is_given_back() {
    let folder = Folder::new();
    folder.component("echo", wasm_fixtures::ECHO, "");
    for end in [
        "quit\r",
        "\u{4}",
        "\u{3}",
        "not sent yet, TERM",
        "nor this, INT",
    ] {
        let mut running = folder.start_with_editor();
        running.shows("`help` shows more");
        // Completed, and a letter between two others; then the line before.
        running.type_keys("demo/e\tab\u{1b}[Dc\r");
        running.shows("demo/echo/main: acb");
        running.type_keys("\u{1b}[A\r");
        running.shows("demo/echo/main: acb");
        running.type_keys(end);
        if let Some((_, signal)) = end.split_once(", ") {
            // It is being edited by then.
            thread::sleep(Duration::from_millis(200));
            let id = fs::read_to_string(folder.path("process")).unwrap();
            let kill = Command::new("kill")
                .args(["-s", signal, id.trim()])
                .status();
            assert!(kill.unwrap().success());
        }
        running.shows("isig icanon iexten echo echoe");
        running.ends_with(0);
    }
}

#[test]
fn a_restart_that_fails_is_reported_once() {
    let folder = Folder::new();
    folder.component("once", wasm_fixtures::INIT_ONCE, STORES);
    let ended = folder.up(&[], &["restart demo/once/main"]).expect(1, "");
    ended.complains(&[
        "error: demo/once/main did not initialize",
        "demo/once/main is quarantined",
        "this was line 1 of standard input",
    ]);
    let told = ended.stderr.matches("did not initialize").count();
    assert_eq!(told, 1, "{}", ended.stderr);
}

#[test]
fn quit_ends_what_would_stay() {
    let folder = Folder::new();
    folder.component("a", wasm_fixtures::ECHO, "");
    folder
        .up(&["--stay"], &["demo/a/main x", "quit"])
        .expect(0, "demo/a/main: x\n");
}

#[test]
fn the_end_of_input_waits_for_what_is_on_its_way() {
    let folder = Folder::new();
    folder.component("sleeper", wasm_fixtures::SLEEPER, "");
    let ended = folder
        .up(&["--verbose"], &["send demo/sleeper/main 1500"])
        .expect(0, "");
    ended.complains(&["local/airssys-wasm/up -> demo/sleeper/main: message of 4B, answered"]);
}

#[cfg(unix)]
#[test]
fn it_stays_when_it_is_told_to() {
    let folder = Folder::new();
    folder.component("a", wasm_fixtures::ECHO, "");
    let mut running = folder.start(&["--stay", "--watch"]);
    running.asks("demo/a/main x", "demo/a/main: x");
    running.stdin = None;
    thread::sleep(Duration::from_millis(200));
    folder.write("a/component.wasm", wasm_fixtures::COUNTER.wasm);
    running.says("demo/a/main was replaced");
    running.signal("-INT");
    running.ends_with(0);
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let folder = Folder::new();
    folder.component("a", wasm_fixtures::ECHO, "");
    let mut child = command(["up", &folder.0.path().display().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    drop(child.stdout.take());
    while stdin.write_all(b"demo/a/main x\n").is_ok() {}
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_examples_are_an_application() {
    let lines = "demo/echo/main hello\ndemo/counter/main x\ndemo/stored-counter/main x\n";
    let ended = with_input(["up", &example("")], lines.as_bytes());
    ended.expect(
        0,
        "demo/echo/main: hello\ndemo/counter/main: 1\ndemo/stored-counter/main: 1\n",
    );
}

/// What the README of the cafe says is typed, replied, logged and reported, all of it, by the
/// components of either language.
#[test]
fn a_day_in_the_cafe_is_as_it_is_told() {
    for cafe in ["cafe", "cafe-rust"] {
        a_day_in(cafe);
    }
}

#[track_caller]
fn a_day_in(cafe: &str) {
    let readme = repository().join("examples/cafe/README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let readme = readme.replace("cafe/", &format!("{cafe}/"));
    let (mut typed, mut replies, mut aside) = (Vec::new(), String::new(), Vec::new());
    for block in readme.split("```text\n").skip(1) {
        let (block, _) = block.split_once("```").unwrap();
        for line in block.lines() {
            if let Some(line) = line.strip_prefix("> ") {
                typed.push(line);
                continue;
            }
            let (to, _) = typed.last().unwrap().split_once(' ').unwrap();
            if line.starts_with(&format!("{to}: ")) {
                replies += &format!("{line}\n");
            } else {
                aside.push(line);
            }
        }
    }
    assert!(typed.len() > 10 && aside.len() > 10, "{typed:?} {aside:?}");
    let mut input = typed.join("\n");
    input.push('\n');
    let ended = with_input(["up", &example(cafe)], input.as_bytes()).expect(1, &replies);
    // Not what is said at the beginning, and below an error.
    let is_of_the_day = |line: &&str| {
        let of_component = !line.starts_with(' ') && line.contains(&format!("{cafe}/"));
        // With how long it took, where it took long.
        let of_loading = line.contains(" is loaded") || line.starts_with("compiling ");
        of_component && !of_loading && !line.starts_with("note: ")
    };
    let mut said: Vec<&str> = ended.stderr.lines().filter(is_of_the_day).collect();
    // Components do not wait for each other.
    said.sort_unstable();
    aside.sort_unstable();
    assert_eq!(said, aside);
}
