//! Runs the program as a user does and looks at what it prints and how it ends.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod author;
mod bad_input;
mod call;
mod check;
mod compiled;
mod docs;
mod examples;
mod inspect;
mod limits;
mod remote;
mod run;
#[cfg(unix)]
mod stalled;
mod up;

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use wasm_fixtures::Fixture;

/// Limits for a bare component that it has no trouble with.
const LIMITS: [&str; 6] = ["--memory", "1MiB", "--fuel", "1_000_000", "--timeout", "5s"];

/// What the program printed and how it ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    #[track_caller]
    fn expect(self, code: i32, stdout: &str) -> Self {
        assert_eq!(
            (self.code, self.stdout.as_str()),
            (Some(code), stdout),
            "stderr: {}",
            self.stderr
        );
        self
    }

    #[track_caller]
    fn complains(&self, parts: &[&str]) {
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} in: {}", self.stderr);
        }
    }

    fn shown(&self) -> String {
        let mut shown = String::new();
        for line in self.stdout.split_inclusive('\n') {
            // How large code becomes is another matter on every machine.
            match line
                .strip_prefix("  host       ")
                .and_then(|line| line.split_once(" outside"))
            {
                Some((_, after)) => shown += &format!("  host       [SIZE] outside{after}"),
                None => shown += line,
            }
        }
        if !self.stderr.is_empty() {
            shown += "--- standard error\n";
        }
        for line in self.stderr.split_inclusive('\n') {
            // How far it came by then is another matter in every run.
            match line.split_once(", having consumed ") {
                Some((before, after)) if before.contains("not done within") => {
                    let after = after.trim_start_matches(|c: char| c.is_ascii_digit() || c == '_');
                    shown += &format!("{before}, having consumed [FUEL]{after}");
                }
                _ => shown += line,
            }
        }
        match self.code {
            Some(0) => {}
            Some(code) => shown += &format!("--- exit code {code}\n"),
            None => shown += "--- ended by a signal\n",
        }
        shown
    }
}

/// What one test has compiled, none has to compile again.
const CACHE: (&str, &str) = (
    "AIRSSYS_WASM_CACHE",
    concat!(env!("CARGO_TARGET_TMPDIR"), "/compiled"),
);

fn command<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_airssys-wasm"));
    command
        .args(arguments)
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE")
        .env_remove("COLUMNS")
        .env_remove("RUST_BACKTRACE")
        .env(CACHE.0, CACHE.1);
    command
}

fn program<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Ended {
    with_input(arguments, b"")
}

fn with_input<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>, input: &[u8]) -> Ended {
    let mut child = command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // The program may end without reading it all, and may write before it has.
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    ended(&output)
}

fn ended(output: &Output) -> Ended {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!stderr.contains("panicked at"), "{stderr}");
    assert!(
        !stderr.contains('\u{1b}'),
        "colours without a terminal: {stderr}"
    );
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr,
    }
}

/// Types each line in this folder and compares what a terminal would show with the
/// snapshot of this name. In a line, `'` quotes an argument, and `$LIMITS` stands for
/// [`LIMITS`].
#[track_caller]
fn terminal(folder: &Path, name: &str, lines: &[impl AsRef<str>]) {
    // Commands that end alike stand above their end together.
    let mut shown: Vec<(String, String)> = Vec::new();
    for line in lines.iter().map(AsRef::as_ref) {
        let mut arguments = Vec::new();
        for (i, part) in line.split('\'').enumerate() {
            if i % 2 == 1 {
                arguments.push(part);
                continue;
            }
            for word in part.split_whitespace() {
                match word {
                    "$LIMITS" => arguments.extend(LIMITS),
                    word => arguments.push(word),
                }
            }
        }
        let output = command(arguments).current_dir(folder).output().unwrap();
        let end = ended(&output).shown();
        let prompt = format!("$ airssys-wasm {line}\n");
        match shown.last_mut() {
            Some((prompts, same)) if *same == end => *prompts += &prompt,
            _ => shown.push((prompt, end)),
        }
    }
    let shown: Vec<String> = shown
        .iter()
        .map(|(prompts, end)| format!("{prompts}{end}"))
        .collect();
    let shown = shown.join("\n");
    let here = folder.canonicalize().unwrap().display().to_string();
    assert!(!shown.contains(&here), "not the same elsewhere: {shown}");

    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, shown));
}

/// Arguments of one test, with the limits of a bare component at the end.
fn limited<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [arguments, &LIMITS].concat()
}

fn example(name: &str) -> String {
    repository()
        .join("examples")
        .join(name)
        .display()
        .to_string()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A folder that is gone after the test.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// See [`terminal`].
    #[track_caller]
    fn shows(&self, name: &str, lines: &[impl AsRef<str>]) {
        terminal(self.0.path(), name, lines);
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        fs::write(self.0.path().join(name), content).unwrap();
        self.path(name)
    }

    fn fixture(&self, fixture: Fixture) -> String {
        self.write(&format!("{}.wasm", fixture.name), fixture.wasm)
    }
}

#[test]
fn every_command_explains_itself_with_examples() {
    for command in [
        "run", "up", "serve", "call", "inspect", "check", "compile", "cache", "data", "new",
        "build", "test", "ps", "request", "send", "restart", "events", "dead", "deploy",
        "rollback", "undeploy", "nodes",
    ] {
        let lines = [format!("{command} -h"), format!("{command} --help")];
        terminal(&repository(), &format!("help-{command}"), &lines);

        let help = program([command, "--help"]);
        let example = format!("airssys-wasm {command} ");
        let (_, examples) = help.stdout.split_once("Examples:").unwrap();
        assert!(examples.contains(&example), "{examples}");
        // A terminal of 80 columns shows the examples as they are written.
        for line in examples.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
    terminal(&repository(), "help", &["--help"]);
    let version = program(["--version"]);
    version.expect(0, concat!("airssys-wasm ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[cfg(target_os = "linux")]
#[test]
fn help_that_cannot_be_written_has_failed() {
    for asked in ["--help", "--version"] {
        let full = fs::File::create("/dev/full").unwrap();
        let ended = ended(&command([asked]).stdout(full).output().unwrap());
        ended
            .expect(1, "")
            .complains(&["error: standard output cannot be written: "]);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = command([asked]).stdout(writer).output().unwrap();
        assert_eq!((ended.status.code(), ended.stderr), (Some(0), Vec::new()));
    }
}

#[test]
fn a_wrong_command_line_is_bad_input() {
    let lines = [
        "walk",
        "run",
        "run x --memory 2",
        "run x --fuel 0",
        "run x --timeout 5",
        "run x --allow fly=high",
        "run x --allow log=loud",
        "run x --allow wasi=stdin",
        "run x --env A",
        "run x --id a/../c",
        "check x --memory-ceiling 5GiB",
    ];
    terminal(&repository(), "wrong-command-lines", &lines);
}

#[test]
fn colours_are_for_those_who_want_them() {
    let missing = ["run", "nowhere.wasm"];
    let forced = command(missing)
        .env("CLICOLOR_FORCE", "1")
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&forced.stderr).contains("\u{1b}["));
    let refused = command(missing).env("NO_COLOR", "1").output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&refused.stderr),
        "error: nowhere.wasm cannot be read: No such file or directory (os error 2)\n"
    );
}
