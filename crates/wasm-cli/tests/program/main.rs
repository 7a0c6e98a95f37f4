//! Runs the program as a user does and looks at what it prints and how it ends.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod bad_input;
mod call;
mod check;
mod examples;
mod inspect;
mod run;

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
}

fn command<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_airssys-wasm"));
    command
        .args(arguments)
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE")
        .env_remove("RUST_BACKTRACE");
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
    assert!(!stderr.contains("panicked"), "{stderr}");
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
    for command in ["run", "call", "inspect", "check"] {
        let help = program([command, "--help"]);
        assert_eq!(help.code, Some(0));
        assert!(help.stdout.contains("Usage:"), "{}", help.stdout);
        let example = format!("airssys-wasm {command} ");
        let (_, examples) = help.stdout.split_once("Examples:").unwrap();
        assert!(examples.contains(&example), "{examples}");
        // A terminal of 80 columns shows the examples as they are written.
        for line in examples.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
    let version = program(["--version"]);
    version.expect(0, concat!("airssys-wasm ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn a_wrong_command_line_is_bad_input() {
    program(["walk"])
        .expect(2, "")
        .complains(&["unrecognized subcommand 'walk'"]);
    program(["run"]).expect(2, "").complains(&["<PATH>"]);
    program(["run", "x", "--memory", "2"])
        .expect(2, "")
        .complains(&[
            "\"2\" is not a size such as \"512KiB\" or \"2MiB\"",
            "--memory",
        ]);
    program(["run", "x", "--allow", "fly=high"])
        .expect(2, "")
        .complains(&["\"fly\" is not a key of [permissions]"]);
    program(["run", "x", "--id", "a/../c"])
        .expect(2, "")
        .complains(&["the name \"..\" of a component id is not allowed"]);
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
