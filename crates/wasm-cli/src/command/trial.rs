//! Conversations with a component, held as they are written down.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueHint};
use serde_json::Value;
use tokio::task::block_in_place;

use wasm_core::manifest::ComponentManifest;
use wasm_core::text::{Escaped, PathText as _};
use wasm_core::units::{format_bytes, format_duration, parse_duration};
use wasm_host::open_regular_file;

use crate::input::application::manifests_at;
use crate::input::files::{not_loaded, read_text, replace, unreadable};
use crate::input::flags::parse_ceiling;
use crate::output;
use crate::output::outcome::{Stop, block_on};
use crate::output::reply::shown;
use crate::output::report::Report;

/// How often is looked whether a conversation has ended.
const PAUSE: Duration = Duration::from_millis(5);

const EXAMPLES: &str = "\
Examples:
  airssys-wasm test
  airssys-wasm test examples/greeter-rust
  airssys-wasm test --bless";

const DETAILS: &str = "\
A conversation is a file tests/*.txt beside a Component.toml. Each line that
begins with `> ` is sent as a message, `>` alone is an empty one, and `>0x00ff`
one in hexadecimal, without line feeds. What stands below it is expected: the
reply as `run` prints it, `error: ...` for a failure, or nothing. Lines that
begin with # are passed over, and so are empty ones below a reply; a line of a
reply that begins with >, # or \\ has a \\ in front. Every conversation has a
fresh component, whose storage is empty; one that hangs ends by `timeout` of
[resources], and at the latest by --limit.

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
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "4MiB",
        value_parser = parse_ceiling
    )]
    memory_ceiling: u64,

    /// Folder or file outside of PATH that manifests may name (repeatable)
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    allow_outside: Vec<PathBuf>,
}

impl Test {
    pub(crate) fn execute(self) -> Result<ExitCode, Stop> {
        block_on(self.run())
    }

    async fn run(self) -> Result<ExitCode, Stop> {
        let mut failed = 0;
        let mut held = 0;
        let (_, manifests) = manifests_at(&self.path, &self.allow_outside)?;
        for manifest in manifests {
            let max_bytes = ComponentManifest::MAX_BYTES;
            open_regular_file(&manifest)
                .map_err(|error| not_loaded(&manifest, max_bytes, error.into()))?;
            for file in conversations(&manifest)? {
                let written = read_text(&file).map_err(|error| unreadable(&file, &error))?;
                let conversation =
                    Conversation::read(&written).map_err(|report| report.at(file.escaped()))?;
                let answers = block_in_place(|| self.ask(&manifest, &file, &conversation))?;
                held += 1;
                let shown = file.escaped();
                let differs = conversation.difference(&answers);
                let told = match differs {
                    None => format!("{shown}: ok\n"),
                    Some(_) if self.bless => {
                        let said = conversation.with(&answers);
                        replace(&file, said.as_bytes()).map_err(|error| {
                            Report::error(format!("{shown} cannot be written: {error}"))
                        })?;
                        format!("{shown}: written anew\n")
                    }
                    Some(difference) => {
                        failed += 1;
                        format!("{shown}: differs\n{difference}")
                    }
                };
                output::print(told).await?;
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

    /// What a component answers to each message, run by this program once more, which can
    /// be ended.
    fn ask(
        &self,
        manifest: &Path,
        file: &Path,
        conversation: &Conversation<'_>,
    ) -> Result<Vec<String>, Report> {
        let unstarted = |error| Report::error(format!("airssys-wasm cannot be started: {error}"));
        let program = std::env::current_exe().map_err(unstarted)?;
        let mut command = Command::new(program);
        command.arg("run").arg(manifest).arg("--json");
        command.args(["--memory-ceiling", &format_bytes(self.memory_ceiling)]);
        for outside in &self.allow_outside {
            command.arg("--allow-outside").arg(outside);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(unstarted)?;
        let messages = conversation.messages();
        let stdin = child.stdin.take();
        let stdout = child.stdout.take();
        thread::spawn(move || {
            // One that could not be loaded reads none of it.
            stdin.map(|mut stdin| stdin.write_all(&messages))
        });
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
        if answers.len() != conversation.exchanges.len() {
            let told = format!("{} could not be held", file.escaped());
            return Err(Report::error(told).with_note("the component was not loaded; see above"));
        }
        Ok(answers)
    }
}

/// A conversation as it is written down.
struct Conversation<'t> {
    /// Comments before the first message.
    head: Vec<&'t str>,
    exchanges: Vec<Exchange<'t>>,
}

/// A message, and the lines below it.
struct Exchange<'t> {
    line: &'t str,
    sent: Vec<u8>,
    below: Vec<&'t str>,
}

impl<'t> Conversation<'t> {
    /// # Errors
    /// If it sends nothing, or a line stands where it has no meaning.
    fn read(written: &'t str) -> Result<Self, Report> {
        let mut head = Vec::new();
        let mut exchanges: Vec<Exchange<'t>> = Vec::new();
        for (number, line) in (1..).zip(written.lines()) {
            if line.starts_with('>') {
                let sent = sent(line).map_err(|told| {
                    Report::error(format!("line {number} is no message: {told}"))
                        .with_help("a line that begins with `> ` is sent")
                })?;
                let below = Vec::new();
                exchanges.push(Exchange { line, sent, below });
            } else if let Some(exchange) = exchanges.last_mut() {
                exchange.below.push(line);
            } else if is_passed_over(line) {
                head.push(line);
            } else {
                let told = format!("line {number} stands before the first message");
                return Err(Report::error(told).with_help(
                    "a line that begins with `> ` is sent, one that begins with # is a comment",
                ));
            }
        }
        match exchanges.is_empty() {
            true => {
                Err(Report::error("it sends nothing")
                    .with_help("a line that begins with `> ` is sent"))
            }
            false => Ok(Self { head, exchanges }),
        }
    }

    /// As the lines of `run`'s standard input.
    fn messages(&self) -> Vec<u8> {
        let mut lines = Vec::new();
        for exchange in &self.exchanges {
            lines.extend_from_slice(&exchange.sent);
            lines.push(b'\n');
        }
        lines
    }

    /// How the answers differ from those that are expected, if they do.
    fn difference(&self, answers: &[String]) -> Option<String> {
        let (mut expected, mut said) = (Vec::new(), Vec::new());
        for (exchange, answer) in self.exchanges.iter().zip(answers) {
            expected.push(exchange.line);
            expected.extend(exchange.expected());
            said.push(exchange.line);
            said.extend(without_blank_end(answer.lines().collect()));
        }
        (expected != said).then(|| difference(&expected, &said))
    }

    /// What would have been written for these answers: comments and empty lines stay.
    fn with(&self, answers: &[String]) -> String {
        let mut lines = self.head.clone();
        for (exchange, answer) in self.exchanges.iter().zip(answers) {
            lines.push(exchange.line);
            lines.extend(without_blank_end(answer.lines().collect()));
            let below = exchange.below.iter();
            let replied = below.clone().rposition(|line| !is_passed_over(line));
            let end = replied.map_or(0, |last| last + 1);
            let kept = below.enumerate().filter(|(index, line)| {
                line.starts_with('#') || (*index >= end && is_passed_over(line))
            });
            lines.extend(kept.map(|(_, line)| *line));
        }
        lines.iter().flat_map(|line| [line, "\n"]).collect()
    }
}

impl<'t> Exchange<'t> {
    fn expected(&self) -> Vec<&'t str> {
        let lines = self.below.iter().filter(|line| !line.starts_with('#'));
        without_blank_end(lines.copied().collect())
    }
}

/// What a line sends.
fn sent(line: &str) -> Result<Vec<u8>, String> {
    let is_line = |bytes: &[u8]| !bytes.contains(&b'\n') && !bytes.ends_with(b"\r");
    match (line.strip_prefix("> "), line.strip_prefix(">0x")) {
        (Some(text), _) => Ok(text.as_bytes().to_vec()),
        (None, Some(digits)) => unhex(digits)
            .filter(|bytes| is_line(bytes))
            .ok_or_else(|| "`>0x` has pairs of hexadecimal digits, and no line feed".to_owned()),
        (None, None) if line == ">" => Ok(Vec::new()),
        (None, None) => Err("there is no space behind its `>`".to_owned()),
    }
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes().chunks(2);
    let bytes = digits.map(|pair| match pair {
        [high, low] => {
            let digit = |byte: &u8| char::from(*byte).to_digit(16);
            u8::try_from(16 * digit(high)? + digit(low)?).ok()
        }
        _ => None,
    });
    bytes.collect()
}

fn is_passed_over(line: &str) -> bool {
    line.starts_with('#') || line.trim().is_empty()
}

fn without_blank_end(mut lines: Vec<&str>) -> Vec<&str> {
    while lines.pop_if(|line| line.trim().is_empty()).is_some() {}
    lines
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
    let entries = fs::read_dir(&folder).map_err(|error| unreadable(&folder, &error))?;
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
fn difference(expected: &[&str], said: &[&str]) -> String {
    let mut shown = String::new();
    let mut line = |mark: char, text: &str| {
        let text = Escaped::new(text);
        shown.push_str(&format!("  {mark} {text}\n"));
    };
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

    fn compared(written: &str, answers: &[&str]) -> Option<String> {
        let answers: Vec<_> = answers.iter().map(|text| (*text).to_owned()).collect();
        let read = Conversation::read(written).unwrap();
        let differs = read.difference(&answers);
        // What is blessed does not differ any more.
        let blessed = read.with(&answers);
        let again = Conversation::read(&blessed).unwrap();
        assert_eq!(again.difference(&answers), None, "{blessed}");
        assert_eq!(again.with(&answers), blessed);
        differs
    }

    #[test]
    fn what_differs_is_marked() {
        let written = "> a\none\n> b\ntwo\n";
        let differs = compared(written, &["one\n", "2\n2\u{1b}b\n"]);
        assert_eq!(
            differs.as_deref(),
            Some("    > a\n    one\n    > b\n  - two\n  + 2\n  + 2\\u{1b}b\n")
        );
        // What nobody sees, too.
        let differs = compared("> a\none\u{200b}\n", &["one\n"]);
        assert_eq!(
            differs.as_deref(),
            Some("    > a\n  - one\\u{200b}\n  + one\n")
        );
        let differs = compared(written, &["one\n", ""]);
        assert_eq!(differs.map(|shown| shown.matches('+').count()), Some(0));
    }

    #[test]
    fn what_nobody_sees_makes_no_difference() {
        for written in [
            "> a\none\n> b\ntwo",
            "> a\r\none\r\n> b\r\ntwo\r\n",
            "# Said.\n\n> a\none\n\n# More.\n> b\ntwo\n \n",
        ] {
            assert_eq!(compared(written, &["one\n", "two\n"]), None, "{written}");
        }
        // An empty reply is a line of its own.
        assert_eq!(compared("> a\n> b\n\n", &["\n", ""]), None);
        assert!(compared("> a\none\n\ntwo\n", &["one\ntwo\n"]).is_some());
    }

    #[test]
    fn comments_and_empty_lines_stay() {
        let read = Conversation::read("# 1\n\n> a\nold\n# 2\nold\n\n# 3\n> \n").unwrap();
        let said = read.with(&["new\n".to_owned(), "more\n".to_owned()]);
        assert_eq!(said, "# 1\n\n> a\nnew\n# 2\n\n# 3\n> \nmore\n");
    }

    #[test]
    fn what_is_sent_is_known() {
        let read = Conversation::read("> a b\n>\n> \n>0x00fF\n").unwrap();
        assert_eq!(read.messages(), b"a b\n\n\n\0\xff\n");
        for (wrong, told) in [
            ("hello\n> a\n", "line 1 stands before the first message"),
            ("# a\n>b\n", "line 2 is no message: there is no space"),
            (">0x0\n", "pairs of hexadecimal digits"),
            (">0x0a\n", "no line feed"),
            (">0xzz\n", "pairs of hexadecimal digits"),
            ("# Nobody speaks.\n", "it sends nothing"),
        ] {
            let report = Conversation::read(wrong).err().unwrap().to_string();
            assert!(report.contains(told), "{report}");
        }
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
