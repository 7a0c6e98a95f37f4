use std::ffi::OsString;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};
use std::thread;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueHint, value_parser};
use tokio::sync::mpsc;

use wasm_core::text::{EscapedPath, MARK, without_mark};

use crate::input::files::read_file;
use crate::output::report::Report;

const TEXT: &str = "message";
const FILE: &str = "message-file";

/// The messages of a command line, in the order in which they were typed.
#[derive(Debug, Clone, Default)]
pub(crate) struct MessageArgs {
    given: Vec<Given>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Given {
    Text(OsString),
    File(PathBuf),
}

/// A message and where it comes from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) payload: Vec<u8>,
    /// For people: `--message`, the name of a file, a line of standard input.
    pub(crate) origin: String,
}

impl MessageArgs {
    /// Standard input is to be read instead.
    pub(crate) fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// Reads all of them, so that nothing is sent when one cannot be read; each is
    /// at most as large as the memory of the component, or `too_large` says that it is.
    pub(crate) async fn read(
        self,
        memory_bytes: u64,
        too_large: impl Fn(&Path) -> Report,
    ) -> Result<Vec<Message>, Report> {
        let mut messages = Vec::new();
        for given in self.given {
            messages.push(match given {
                Given::Text(text) => Message {
                    payload: text.into_encoded_bytes(),
                    origin: "--message".to_owned(),
                },
                Given::File(file) => Message {
                    payload: read_file(&file, memory_bytes, || too_large(&file)).await?,
                    origin: EscapedPath(&file).to_string(),
                },
            });
        }
        Ok(messages)
    }
}

impl Args for MessageArgs {
    fn augment_args(command: Command) -> Command {
        command
            .arg(
                Arg::new(TEXT)
                    .long(TEXT)
                    .short('m')
                    .value_name("TEXT")
                    .help("Message to send (repeatable)")
                    .action(ArgAction::Append)
                    .allow_hyphen_values(true)
                    .value_parser(value_parser!(OsString)),
            )
            .arg(
                Arg::new(FILE)
                    .long(FILE)
                    .value_name("FILE")
                    .help("File that is one message as a whole (repeatable)")
                    .action(ArgAction::Append)
                    .value_hint(ValueHint::FilePath)
                    .value_parser(value_parser!(PathBuf)),
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for MessageArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given: Vec<(usize, Given)> = indexed::<OsString>(matches, TEXT)
            .map(|(index, text)| (index, Given::Text(text)))
            .chain(
                indexed::<PathBuf>(matches, FILE).map(|(index, file)| (index, Given::File(file))),
            )
            .collect();
        given.sort_by_key(|(index, _)| *index);
        Ok(Self {
            given: given.into_iter().map(|(_, given)| given).collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn indexed<'m, T: Clone + Send + Sync + 'static>(
    matches: &'m ArgMatches,
    id: &str,
) -> impl Iterator<Item = (usize, T)> + 'm {
    let indices = matches.indices_of(id).into_iter().flatten();
    let values = matches.get_many::<T>(id).into_iter().flatten();
    indices.zip(values.cloned())
}

/// Reads one message per line, no further than it is asked to.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    input: R,
    max_bytes: usize,
    number: u64,
}

/// A line that is not a message, because it is longer than `max_bytes`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong {
    /// Counted from 1.
    pub(crate) line: u64,
}

/// A line of standard input, or what is wrong with it.
pub(crate) type Typed = io::Result<Result<Message, TooLong>>;

/// Reads the lines of standard input on a thread of its own, up to two ahead: whoever
/// types may take hours, and nothing else is to wait for that thread.
pub(crate) fn typed_lines(max_bytes: u64) -> mpsc::Receiver<Typed> {
    on_a_thread(move |lines| forward_lines(max_bytes, lines))
}

/// Hands on the lines of standard input until they end.
pub(super) fn forward_lines(max_bytes: u64, lines: &mpsc::Sender<Typed>) {
    let mut input = Lines::new(io::stdin().lock(), max_bytes);
    while let Some(line) = input.next().transpose() {
        let is_last = line.is_err();
        if lines.blocking_send(line).is_err() || is_last {
            return;
        }
    }
}

/// What `read` hands on, from a thread for which nothing waits.
pub(super) fn on_a_thread(
    read: impl FnOnce(&mpsc::Sender<Typed>) + Send + 'static,
) -> mpsc::Receiver<Typed> {
    let (sender, lines) = mpsc::channel(1);
    let failed = sender.clone();
    let reader = thread::Builder::new().name("standard input".to_owned());
    let started = reader.spawn(move || read(&sender));
    if let Err(error) = started {
        // The channel is empty.
        let _ = failed.try_send(Err(error));
    }
    lines
}

pub(crate) fn unreadable_input(error: &io::Error) -> Report {
    Report::error(format!("standard input cannot be read: {error}"))
}

impl<R: BufRead> Lines<R> {
    /// No more than `max_bytes` of a line are kept in memory.
    pub(crate) fn new(input: R, max_bytes: u64) -> Self {
        Self {
            input,
            max_bytes: usize::try_from(max_bytes).unwrap_or(usize::MAX),
            number: 0,
        }
    }

    /// The next line without its end, LF or CR LF; `None` at the end of the input.
    /// After a line that is too long, the next is read as if nothing had happened.
    pub(crate) fn next(&mut self) -> io::Result<Option<Result<Message, TooLong>>> {
        let mut line = Vec::new();
        let mut too_long = false;
        let mut ended = false;
        let mut any = false;
        let mark = if self.number == 0 { MARK.len() } else { 0 };
        while !ended {
            let available = match self.input.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                available => available?,
            };
            if available.is_empty() {
                break;
            }
            any = true;
            let end = available.iter().position(|byte| *byte == b'\n');
            let part = &available[..end.unwrap_or(available.len())];
            // Its CR may be one more than fits, and so may the mark of the first.
            too_long |= line.len() + part.len() > self.max_bytes.saturating_add(1 + mark);
            if !too_long {
                line.extend_from_slice(part);
            }
            ended = end.is_some();
            let consumed = part.len() + usize::from(ended);
            self.input.consume(consumed);
        }
        if !any {
            return Ok(None);
        }
        self.number += 1;
        if ended && line.last() == Some(&b'\r') {
            line.pop();
        }
        if self.number == 1 {
            line = without_mark(line);
        }
        if too_long || line.len() > self.max_bytes {
            return Ok(Some(Err(TooLong { line: self.number })));
        }
        Ok(Some(Ok(Message {
            payload: line,
            origin: format!("line {} of standard input", self.number),
        })))
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        messages: MessageArgs,
    }

    #[test]
    fn messages_keep_the_order_in_which_they_were_typed() {
        let arguments = [
            "x",
            "--message",
            "one",
            "--message-file=two",
            "-m",
            "-three",
            "--message",
            "",
        ];
        let program = Program::try_parse_from(arguments).unwrap();
        assert_eq!(
            program.messages.given,
            [
                Given::Text("one".into()),
                Given::File("two".into()),
                Given::Text("-three".into()),
                Given::Text("".into()),
            ]
        );
        assert!(Program::try_parse_from(["x"]).unwrap().messages.is_empty());
    }

    /// Everything that `input` gives, with buffers of every size.
    fn lines(input: &[u8], max_bytes: u64) -> Vec<Result<Vec<u8>, u64>> {
        let read = |capacity| {
            let mut lines = Lines::new(BufReader::with_capacity(capacity, input), max_bytes);
            let mut all = Vec::new();
            while let Some(line) = lines.next().unwrap() {
                all.push(line.map(|m| m.payload).map_err(|e| e.line));
            }
            all
        };
        let all = read(1);
        for capacity in 2..16 {
            assert_eq!(read(capacity), all, "{input:?} by {capacity}");
        }
        all
    }

    fn ok(text: &[u8]) -> Result<Vec<u8>, u64> {
        Ok(text.to_vec())
    }

    #[test]
    fn lines_end_in_one_way_or_another() {
        assert_eq!(lines(b"", 10), []);
        assert_eq!(lines(b"\n", 10), [ok(b"")]);
        assert_eq!(lines(b"a\nb\n", 10), [ok(b"a"), ok(b"b")]);
        assert_eq!(lines(b"a\r\n\r\nb", 10), [ok(b"a"), ok(b""), ok(b"b")]);
        assert_eq!(lines(b"a\rb\r", 10), [ok(b"a\rb\r")]);
        assert_eq!(lines(b"\xff\0\n", 10), [ok(b"\xff\0")]);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped() {
        assert_eq!(
            lines(b"1234\n12345\n1234\r\n12345\r\nx\n123456789", 4),
            [ok(b"1234"), Err(2), ok(b"1234"), Err(4), ok(b"x"), Err(6)]
        );
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        assert_eq!(lines(b"\xef\xbb\xbfa\r\nb\n", 10), [ok(b"a"), ok(b"b")]);
        assert_eq!(lines(b"\xef\xbb\xbf", 10), [ok(b"")]);
        assert_eq!(lines(b"\xef\xbb\xbf1234\n", 4), [ok(b"1234")]);
        let second = b"a\n\xef\xbb\xbfb\n";
        assert_eq!(lines(second, 10), [ok(b"a"), ok(b"\xef\xbb\xbfb")]);
        // Not text, and not a mark.
        assert_eq!(lines(b"\xef\xbb\xbf\xff", 10), [ok(b"\xef\xbb\xbf\xff")]);
        assert_eq!(lines(b"\xef\xbb", 10), [ok(b"\xef\xbb")]);
    }

    #[tokio::test]
    async fn messages_are_read_before_any_is_sent() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("message");
        // As it is, whatever it begins with.
        let content = b"\xef\xbb\xbf in full";
        std::fs::write(&file, content).unwrap();
        let too_large = |file: &Path| Report::error(format!("{} is large", file.display()));
        let args = |file: PathBuf| MessageArgs {
            given: vec![Given::Text("a".into()), Given::File(file)],
        };
        let messages = args(file.clone()).read(11, too_large).await.unwrap();
        assert_eq!(messages[1].payload, content);
        let report = args(file.clone()).read(10, too_large).await;
        let report = report.unwrap_err().to_string();
        assert!(report.contains("message is large"), "{report}");
        let nowhere = args("/nowhere".into());
        let report = nowhere.read(9, too_large).await.unwrap_err().to_string();
        assert!(
            report.contains("/nowhere cannot be read: No such file"),
            "{report}"
        );
    }
}
