//! Conversations with a component, held as they are written down.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueHint};
use serde_json::Value;
use tokio::task::block_in_place;

use wasm_core::text::PathText as _;
use wasm_core::units::{format_duration, parse_duration};

use crate::application::manifests_at;
use crate::outcome::{Stop, block_on};
use crate::output;
use crate::report::Report;
use crate::run::shown;

/// How often is looked whether a conversation has ended.
const PAUSE: Duration = Duration::from_millis(5);

const EXAMPLES: &str = "\
Examples:
  airssys-wasm test
  airssys-wasm test examples/greeter-rust
  airssys-wasm test --bless";

const DETAILS: &str = "\
A conversation is a file tests/*.txt beside a Component.toml. Each line that
begins with `> ` is sent as a message, and what stands below it is expected:
the reply as `run` prints it, `error: ...` for a failure, or nothing. Lines that
begin with # are passed over; a line of a reply that begins with >, # or \\ has a
\\ in front. Every conversation has a fresh component, whose storage is empty;
one that hangs ends by `timeout` of [resources], and at the latest by --limit.

Exit codes:
  0  all went as written
  1  one did not
  2  bad input: a component could not be loaded, or there is no conversation";

/// Hold the conversations that are written down beside components
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DETAILS}"))]
pub(crate) struct Test {
    /// Folder with a Component.toml, in it or below
    #[arg(value_name = "PATH", default_value = ".", value_hint = ValueHint::AnyPath)]
    path: PathBuf,

    /// Write what was said in place of what was expected
    #[arg(long)]
    bless: bool,

    /// Longest time for one conversation
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "60s",
        value_parser = parse_duration
    )]
    limit: Duration,

    /// Largest memory limit of a manifest
    #[arg(long, value_name = "SIZE", default_value = "4MiB")]
    memory_ceiling: String,
}

impl Test {
    pub(crate) fn execute(self) -> Result<ExitCode, Stop> {
        block_on(self.run())
    }

    async fn run(self) -> Result<ExitCode, Stop> {
        let mut failed = 0;
        let mut held = 0;
        for manifest in manifests_at(&self.path)? {
            for file in conversations(&manifest)? {
                let written = fs::read_to_string(&file).map_err(|error| {
                    Report::error(format!("{} cannot be read: {error}", file.escaped()))
                })?;
                let said = block_in_place(|| self.hold(&manifest, &file, &written))?;
                held += 1;
                let shown = file.escaped();
                if said == written {
                    output::print(format!("{shown}: ok\n")).await?;
                } else if self.bless {
                    fs::write(&file, &said).map_err(|error| {
                        Report::error(format!("{shown} cannot be written: {error}"))
                    })?;
                    output::print(format!("{shown}: written anew\n")).await?;
                } else {
                    failed += 1;
                    output::print(format!("{shown}: differs\n{}", difference(&written, &said)))
                        .await?;
                }
            }
        }
        if held == 0 {
            let told = format!("{} has no conversations", self.path.escaped());
            return Err(Report::error(told)
                .with_help("write `> ann` into tests/greets.txt beside the Component.toml, then --bless it")
                .into());
        }
        if failed > 0 {
            return Err(Stop::Failed(
                Report::error(format!("{failed} of {held} conversations differ"))
                    .with_help("--bless writes down what was said"),
            ));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// What a file would say if all went as it is written.
    fn hold(&self, manifest: &Path, file: &Path, written: &str) -> Result<String, Report> {
        let sent: Vec<&str> = written
            .lines()
            .filter_map(|line| line.strip_prefix("> "))
            .collect();
        if sent.is_empty() {
            return Err(Report::error(format!("{} sends nothing", file.escaped()))
                .with_help("a line that begins with `> ` is sent"));
        }
        let answers = self.ask(manifest, file, &sent)?;
        let mut answers = answers.into_iter();
        let mut said = String::new();
        for line in written.lines() {
            if line.starts_with('#') {
                said.push_str(line);
                said.push('\n');
            } else if line.starts_with("> ") {
                said.push_str(line);
                said.push('\n');
                said.push_str(&answers.next().unwrap_or_default());
            }
        }
        Ok(said)
    }

    /// What a component answers to each message, run by this program once more, which can
    /// be ended.
    fn ask(&self, manifest: &Path, file: &Path, sent: &[&str]) -> Result<Vec<String>, Report> {
        let unstarted = |error| Report::error(format!("airssys-wasm cannot be started: {error}"));
        let program = std::env::current_exe().map_err(unstarted)?;
        let mut command = Command::new(program);
        command.arg("run").arg(manifest).arg("--json");
        command.args(["--memory-ceiling", &self.memory_ceiling]);
        for message in sent {
            command.arg(format!("--message={message}"));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(unstarted)?;
        let stdout = child.stdout.take();
        let reader = thread::spawn(move || {
            let mut text = String::new();
            stdout.map(|mut stdout| stdout.read_to_string(&mut text));
            text
        });
        if !has_ended_within(&mut child, self.limit) {
            let limit = format_duration(self.limit);
            return Err(
                Report::error(format!("{} did not end within {limit}", file.escaped())).with_help(
                    "--limit gives it longer; `timeout` in [resources] ends a single message",
                ),
            );
        }
        let said = reader.join().unwrap_or_default();
        let answers: Vec<_> = said.lines().filter_map(answer).collect();
        if answers.len() != sent.len() {
            let told = format!("{} could not be held", file.escaped());
            return Err(Report::error(told).with_note("the component was not loaded; see above"));
        }
        Ok(answers)
    }
}

/// Whether it ended by itself; else it is ended.
fn has_ended_within(child: &mut Child, limit: Duration) -> bool {
    let began = Instant::now();
    loop {
        match child.try_wait() {
            Ok(None) if began.elapsed() < limit => thread::sleep(PAUSE),
            Ok(None) | Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
            Ok(Some(_)) => return true,
        }
    }
}

/// The files of a component, in order of their names.
fn conversations(manifest: &Path) -> Result<Vec<PathBuf>, Report> {
    let folder = manifest.parent().unwrap_or(Path::new("")).join("tests");
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let unreadable = |error| Report::error(format!("{} cannot be read: {error}", folder.escaped()));
    let entries = fs::read_dir(&folder).map_err(unreadable)?;
    let mut files: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    Ok(files)
}

/// What `run --json` prints of one message, as a conversation has it.
fn answer(line: &str) -> Option<String> {
    let said = said(line)?;
    let lines = said.split_inclusive('\n').map(|line| {
        let could_be_sent = line.starts_with(['>', '#', '\\']);
        if could_be_sent {
            format!("\\{line}")
        } else {
            line.to_owned()
        }
    });
    Some(lines.collect())
}

fn said(line: &str) -> Option<String> {
    let answer: Value = serde_json::from_str(line).ok()?;
    if let Some(error) = answer.get("error") {
        let message = error.get("message")?.as_str()?;
        // How far it came by then is another matter in every run.
        let message = message
            .split(", having consumed ")
            .next()
            .unwrap_or(message);
        return Some(format!("error: {message}\n"));
    }
    Some(match answer.get("reply")? {
        Value::Null => String::new(),
        reply => match (reply.get("text"), reply.get("hex")) {
            (Some(text), _) => format!("{}\n", shown(text.as_str()?.as_bytes())),
            (None, hex) => format!("0x{}\n", hex?.as_str()?),
        },
    })
}

/// Lines that both have are shown once; those that only one has, with a mark.
fn difference(expected: &str, said: &str) -> String {
    let (expected, said): (Vec<_>, Vec<_>) = (expected.lines().collect(), said.lines().collect());
    let mut shown = String::new();
    let mut line = |mark: char, text: &str| shown.push_str(&format!("  {mark} {text}\n"));
    let (mut e, mut s) = (0, 0);
    while e < expected.len() || s < said.len() {
        if e < expected.len() && s < said.len() && expected[e] == said[s] {
            line(' ', expected[e]);
            (e, s) = (e + 1, s + 1);
            continue;
        }
        // Up to the next line that both have, which is mostly the next message.
        let (next_e, next_s) = (e..expected.len())
            .find_map(|i| {
                let j = (s..said.len()).find(|j| said[*j] == expected[i])?;
                Some((i, j))
            })
            .unwrap_or((expected.len(), said.len()));
        expected[e..next_e].iter().for_each(|text| line('-', text));
        said[s..next_s].iter().for_each(|text| line('+', text));
        (e, s) = (next_e, next_s);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_marked() {
        let expected = "> a\none\n> b\ntwo\n";
        let said = "> a\none\n> b\n2\n2b\n";
        assert_eq!(
            difference(expected, said),
            "    > a\n    one\n    > b\n  - two\n  + 2\n  + 2b\n"
        );
        assert_eq!(difference(said, said).matches('+').count(), 0);
        assert_eq!(difference("", "a\n"), "  + a\n");
    }

    #[test]
    fn an_answer_is_written_as_it_is_printed() {
        for (line, written) in [
            (r#"{"reply":{"text":"hello"}}"#, "hello\n"),
            (r#"{"reply":{"hex":"00ff"}}"#, "0x00ff\n"),
            (r#"{"reply":null}"#, ""),
            (
                r##"{"reply":{"text":"a\n# b\n> c\n\\d"}}"##,
                "a\n\\# b\n\\> c\n\\\\d\n",
            ),
            (
                r#"{"error":{"message":"not done within 1s, having consumed 5 fuel"}}"#,
                "error: not done within 1s\n",
            ),
        ] {
            assert_eq!(answer(line).as_deref(), Some(written));
        }
        assert_eq!(answer("no json"), None);
    }
}
