//! What components have stored, as text: out of a file of data, into one, and looked through.

use std::io::{self, BufRead, BufReader, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use clap::{Args, Subcommand, ValueHint};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::{block_in_place, spawn_blocking, yield_now};

use wasm_core::ComponentId;
use wasm_core::text::{Escaped, PathText as _, Quoted, without_mark};
use wasm_core::units::{format_bytes, format_count};
use wasm_host::{StorageOpenError, StoreDraft, StoreReader};

use crate::input::flags::parse_ceiling;
use crate::output;
use crate::output::outcome::{FAILED, Stop, block_on};
use crate::output::report::{Report, aside, size};

const EXAMPLES: &str = "\
Examples:
  airssys-wasm data export shop.redb > shop.jsonl
  airssys-wasm data import new.redb < shop.jsonl
  airssys-wasm data check shop.redb";

const DETAILS: &str = "\
The file is that of `up --data`, which must not be running: a file is open once.

An export is lines of JSON. The first says what it is, and the last how many
entries there are, so that one that was cut short is not taken for the whole:
  {\"airssys-wasm-data\":1}
  {\"component\":\"demo/till/main\",\"key\":\"total\",\"text\":\"4\"}
  {\"component\":\"demo/till/main\",\"key\":\"seal\",\"hex\":\"00ff\"}
  {\"entries\":2}
Timers are kept as entries of host/timers/main.

`import` fills a file that is not there yet, or is empty: with all of the
export, whatever quotas are, or with nothing.

`check` and `export` read all of the file first, do not change it, and find
whatever has changed in it by accident: an export is of what was stored. They do
not find that it is an older copy, or was changed by somebody who hides it.

Exit codes:
  0  all went well
  1  the file is damaged; `check` has found something; the disk failed
  2  bad input: a file that is not there, no store or in use; lines that are no
     export, of which nothing is taken in once one is wrong";

/// The release of the format.
const FORMAT: u64 = 1;
/// So many bytes of lines, or one line, are taken in at a time before Ctrl-C is looked at.
const PART_BYTES: usize = 256 << 10;
/// Of a line besides its value: what is in each, an id, and a key of 1 KiB.
const ENTRY_BYTES: u64 = 16 << 10;
/// A byte of a text that is written as `\u0000`.
const ESCAPED_BYTES: u64 = 6;

/// Move what components have stored, or look through it
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DETAILS}"))]
pub(crate) struct Data {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print everything that there is
    Export(File),
    /// Take in what was exported, from standard input
    Import(Import),
    /// Read everything, and tell whether it is what was stored
    Check(File),
}

#[derive(Debug, Args)]
struct File {
    /// That of `up --data`
    #[arg(value_hint = ValueHint::FilePath)]
    file: PathBuf,
}

#[derive(Debug, Args)]
struct Import {
    #[command(flatten)]
    into: File,

    /// Largest memory limit of the components whose data it is, as that of `up`
    ///
    /// What a component stored at once fitted into its memory. A line that is longer than such
    /// a value makes it is not read.
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "4MiB",
        value_parser = parse_ceiling
    )]
    memory_ceiling: u64,
}

/// A line of an export.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Line {
    First {
        #[serde(rename = "airssys-wasm-data")]
        format: u64,
    },
    Text {
        component: String,
        key: String,
        text: String,
    },
    Hex {
        component: String,
        key: String,
        hex: String,
    },
    Last {
        entries: u64,
    },
}

impl Data {
    pub(crate) fn execute(self) -> Result<ExitCode, Stop> {
        block_on(async {
            match self.action {
                Action::Export(File { file }) => export(file).await,
                Action::Import(Import {
                    into: File { file },
                    memory_ceiling,
                }) => import(file, memory_ceiling).await,
                Action::Check(File { file }) => check(file).await,
            }
        })
    }
}

/// A file that is there, once it is known to be whole.
async fn open(file: &Path) -> Result<Arc<StoreReader>, Stop> {
    if is_missing(file) {
        return Err(Report::error(format!("{} is not there", file.escaped())).into());
    }
    let file = file.to_owned();
    blocking(move || StoreReader::open(file).map(Arc::new)).await
}

fn is_missing(file: &Path) -> bool {
    let found = file.symlink_metadata();
    found.is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageOpenError> + Send + 'static,
) -> Result<T, Stop> {
    let lost = |error| Report::error(format!("the file was not read: {error}"));
    spawn_blocking(work)
        .await
        .map_err(lost)?
        .map_err(|error| stop(&error))
}

fn stop(error: &StorageOpenError) -> Stop {
    let report = Report::error(error.to_string());
    match error {
        StorageOpenError::Damaged { .. } | StorageOpenError::Unwritten { .. } => {
            Stop::Failed(report)
        }
        _ => Stop::BadInput(report.into()),
    }
}

async fn export(file: PathBuf) -> Result<ExitCode, Stop> {
    let reader = open(&file).await?;
    output::print(line(&Line::First { format: FORMAT })).await?;
    let mut entries = 0;
    let mut last: Option<(String, String)> = None;
    loop {
        let reader = Arc::clone(&reader);
        let part = blocking(move || {
            let after = last.as_ref().map(|(owner, key)| (&**owner, &**key));
            reader.entries(after)
        });
        let part = part.await?;
        let Some((owner, key, _)) = part.last() else {
            break;
        };
        last = Some((owner.clone(), key.clone()));
        entries += part.len() as u64;
        let lines = part
            .into_iter()
            .map(|(owner, key, value)| line(&entry(&owner, key, &value)));
        output::print(lines.collect()).await?;
    }
    output::print(line(&Line::Last { entries })).await?;
    Ok(ExitCode::SUCCESS)
}

fn entry(component: &str, key: String, value: &[u8]) -> Line {
    let component = component.to_owned();
    match std::str::from_utf8(value) {
        Ok(text) => Line::Text {
            component,
            key,
            text: text.to_owned(),
        },
        Err(_) => Line::Hex {
            component,
            key,
            hex: value.iter().map(|byte| format!("{byte:02x}")).collect(),
        },
    }
}

fn line(line: &Line) -> String {
    let text = serde_json::to_string(line).unwrap_or_default();
    format!("{text}\n")
}

async fn import(file: PathBuf, memory_ceiling: u64) -> Result<ExitCode, Stop> {
    // Who names a file that has data is told before all of the export is read.
    there(&file).await?;
    let mut draft = block_in_place(|| StoreDraft::new(&file)).map_err(|error| stop(&error))?;
    let entries = take_in(&mut draft, memory_ceiling).await?;
    // Others may have written there meanwhile.
    let put = match there(&file).await? {
        There::Nothing => block_in_place(|| draft.put()),
        There::Empty { _store } => block_in_place(|| draft.replace()),
    };
    put.map_err(|error| stop(&error))?;
    let count = format_count(entries);
    let entries = match count.as_str() {
        "1" => "entry is",
        _ => "entries are",
    };
    aside(format!("{count} {entries} in {}", file.escaped()));
    Ok(ExitCode::SUCCESS)
}

/// What an import may take the place of.
enum There {
    Nothing,
    /// Without entries: nobody else writes some meanwhile, as a store is locked for as long as
    /// this is there.
    Empty {
        _store: Option<Arc<StoreReader>>,
    },
}

async fn there(file: &Path) -> Result<There, Stop> {
    if is_missing(file) {
        return Ok(There::Nothing);
    }
    if file
        .symlink_metadata()
        .is_ok_and(|found| found.is_file() && found.len() == 0)
    {
        return Ok(There::Empty { _store: None });
    }
    if file.is_symlink() {
        let told = format!("{} is a link", file.escaped());
        return Err(Report::error(told).with_help("name the file itself").into());
    }
    let reader = open(file).await?;
    let asked = Arc::clone(&reader);
    if blocking(move || asked.entries(None)).await?.is_empty() {
        let _store = Some(reader);
        return Ok(There::Empty { _store });
    }
    Err(
        Report::error(format!("{} has data already", file.escaped()))
            .with_help("name a file that is not there yet, or move this one away")
            .into(),
    )
}

/// Takes in all entries of an export that is whole, a part of its lines after the other, and
/// tells how many these are.
async fn take_in(draft: &mut StoreDraft, memory_ceiling: u64) -> Result<u64, Stop> {
    let max_bytes = ESCAPED_BYTES * memory_ceiling + ENTRY_BYTES;
    let mut parts = parts_of_input(max_bytes);
    let mut reading = Reading::default();
    let mut number = 0;
    while let Some(lines) = parts.recv().await {
        let mut entries = Vec::new();
        let mut wrong = None;
        for line in lines {
            number += 1;
            match reading.line(line, number, max_bytes, memory_ceiling) {
                Ok(entry) => entries.extend(entry),
                Err(report) => {
                    // A key before it that is there twice is told first.
                    wrong = Some(report);
                    break;
                }
            }
        }
        // Here and not on another thread, so that Ctrl-C in between drops the draft.
        let all = entries.iter();
        let all = all.map(|entry| (&entry.component, &*entry.key, &*entry.value));
        let replaced = block_in_place(|| draft.add(all)).map_err(|error| stop(&error))?;
        if let Some(entry) = replaced.and_then(|place| entries.get(place)) {
            return Err(entry.is_there_twice().into());
        }
        if let Some(report) = wrong {
            return Err(report.into());
        }
        yield_now().await;
    }
    match reading.is_whole {
        true => Ok(reading.entries),
        false => Err(no_export(number + 1, "it ends before its last line").into()),
    }
}

/// Lines of standard input; of one that is longer than this, one byte more.
fn parts_of_input(max_bytes: u64) -> mpsc::Receiver<Vec<io::Result<Vec<u8>>>> {
    let (sender, parts) = mpsc::channel(1);
    // Nobody waits for it: it ends with its input, or with the program.
    std::thread::spawn(move || {
        let mut input = BufReader::new(io::stdin().lock());
        loop {
            let part = next_lines(&mut input, max_bytes);
            if part.is_empty() || sender.blocking_send(part).is_err() {
                return;
            }
        }
    });
    parts
}

/// The next lines, none at the end. More are not waited for: what is wrong with these is told
/// before somebody writes others.
fn next_lines(input: &mut BufReader<impl io::Read>, max_bytes: u64) -> Vec<io::Result<Vec<u8>>> {
    let mut lines = Vec::new();
    let mut bytes = 0;
    while let Some(line) = next_line(input, max_bytes).transpose() {
        bytes += line.as_ref().map_or(PART_BYTES, Vec::len);
        lines.push(line);
        if bytes >= PART_BYTES || input.buffer().is_empty() {
            break;
        }
    }
    lines
}

/// The next line; of one that is longer than this, one byte more.
fn next_line(input: &mut impl BufRead, max_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let read = input.take(max_bytes + 1).read_until(b'\n', &mut line)?;
    Ok((read > 0).then_some(line))
}

fn too_long(line: u64, max_bytes: u64, memory_ceiling: u64) -> Report {
    let (most, ceiling) = (size(max_bytes), size(memory_ceiling));
    let reason = format!(
        "a line has more than {most}, the most that a component with {ceiling} of memory can \
         store under a key"
    );
    no_export(line, &reason).with_help("--memory-ceiling SIZE allows more, as that of `up`")
}

fn no_export(line: u64, reason: &str) -> Report {
    Report::error(format!("standard input is no export: {reason}"))
        .with_note(format!("this was line {line}; nothing was taken in"))
        .with_help("`airssys-wasm data export FILE` prints one")
}

/// What a component has stored under a key.
struct Entry {
    /// Where it was read.
    line: u64,
    component: ComponentId,
    key: String,
    value: Bytes,
}

impl Entry {
    fn is_there_twice(&self) -> Report {
        let (component, key) = (&self.component, Quoted::new(&self.key));
        no_export(self.line, &format!("{component} has the key {key} twice"))
    }
}

#[derive(Default)]
struct Reading {
    has_begun: bool,
    /// How many there were so far.
    entries: u64,
    is_whole: bool,
}

impl Reading {
    /// What is in a line, if that is an entry.
    fn line(
        &mut self,
        line: io::Result<Vec<u8>>,
        number: u64,
        max_bytes: u64,
        memory_ceiling: u64,
    ) -> Result<Option<Entry>, Report> {
        let text = line.map_err(|error| no_export(number, &error.to_string()))?;
        if text.len() as u64 > max_bytes {
            return Err(too_long(number, max_bytes, memory_ceiling));
        }
        self.add(text, number)
            .map_err(|reason| no_export(number, &reason))
    }

    fn add(&mut self, mut text: Vec<u8>, line: u64) -> Result<Option<Entry>, String> {
        if !self.has_begun {
            text = without_mark(text);
        }
        let read = serde_json::from_slice(&text);
        let read: Line = read.map_err(|_| "it is no line of one".to_owned())?;
        let (component, key, value) = match read {
            Line::First { format: FORMAT } if !self.has_begun => {
                self.has_begun = true;
                return Ok(None);
            }
            Line::First { format } if !self.has_begun => {
                return Err(format!(
                    "its format is {format}, and this program knows {FORMAT}"
                ));
            }
            _ if !self.has_begun => return Err("its first line is not there".to_owned()),
            _ if self.is_whole => return Err("it goes on after its last line".to_owned()),
            Line::First { .. } => return Err("it begins twice".to_owned()),
            Line::Text {
                component,
                key,
                text,
            } => (component, key, text.into()),
            Line::Hex {
                component,
                key,
                hex,
            } => (component, key, bytes_of(&hex)?),
            Line::Last { entries } if entries == self.entries => {
                self.is_whole = true;
                return Ok(None);
            }
            Line::Last { entries } => {
                let found = self.entries;
                return Err(format!("it has {found} entries, and should have {entries}"));
            }
        };
        let component = component.parse::<ComponentId>();
        let component = component.map_err(|error| error.to_string())?;
        self.entries += 1;
        Ok(Some(Entry {
            line,
            component,
            key,
            value,
        }))
    }
}

fn bytes_of(hex: &str) -> Result<Bytes, String> {
    let digits = hex.as_bytes().chunks(2);
    let bytes = digits.map(|pair| {
        let pair = std::str::from_utf8(pair)
            .ok()
            .filter(|pair| pair.len() == 2)?;
        let is_plain = pair.bytes().all(|byte| byte.is_ascii_hexdigit());
        u8::from_str_radix(pair, 16).ok().filter(|_| is_plain)
    });
    let bytes: Option<Vec<u8>> = bytes.collect();
    bytes
        .map(Bytes::from)
        .ok_or_else(|| "its `hex` is no hexadecimal".to_owned())
}

async fn check(file: PathBuf) -> Result<ExitCode, Stop> {
    let shown = file.escaped();
    let reader = open(&file).await?;
    let contents = blocking(move || reader.contents()).await?;
    let mut text = String::new();
    for (owner, (bytes, keys)) in &contents.owners {
        let (keys, bytes) = (format_count(*keys), format_bytes(*bytes));
        let owner = Escaped::new(owner);
        text += &format!("  {owner}: {keys} keys, {bytes}\n");
    }
    if contents.problems.is_empty() {
        output::print(format!("{shown}: ok\n{text}")).await?;
        return Ok(ExitCode::SUCCESS);
    }
    output::print(format!("{shown}: not in order\n{text}")).await?;
    for problem in contents.problems {
        Report::error(format!("{shown}: {problem}")).tell().await;
    }
    Ok(ExitCode::from(FAILED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<bool, String> {
        let mut reading = Reading::default();
        text.lines()
            .try_for_each(|line| reading.add(line.into(), 1).map(drop))?;
        Ok(reading.is_whole)
    }

    #[test]
    fn an_export_is_whole_or_none() {
        let first = "{\"airssys-wasm-data\":1}";
        let entry = "{\"component\":\"a/b/c\",\"key\":\"k\",\"text\":\"v\"}";
        let hex = "{\"component\":\"a/b/c\",\"key\":\"k\",\"hex\":\"00ff\"}";
        let other = hex.replace("\"k\"", "\"l\"");
        let last = |entries| format!("{{\"entries\":{entries}}}");
        assert_eq!(
            read(&format!("{first}\n{entry}\n{other}\n{}", last(2))),
            Ok(true)
        );
        assert_eq!(read(&format!("\u{feff}{first}\n{}", last(0))), Ok(true));
        assert_eq!(read(&format!("{first}\n{entry}")), Ok(false));
        for (text, reason) in [
            (entry.to_owned(), "first line"),
            (format!("{first}\n{first}"), "twice"),
            (
                format!("{first}\n{entry}\n{}", last(2)),
                "1 entries, and should have 2",
            ),
            (
                format!("{first}\n{}\n{entry}", last(0)),
                "after its last line",
            ),
            ("{\"airssys-wasm-data\":2}".to_owned(), "its format is 2"),
            (
                format!("{first}\n{}", entry.replace("a/b/c", "a b")),
                "namespace/name/instance",
            ),
            (
                format!("{first}\n{}", hex.replace("00ff", "0f0")),
                "no hexadecimal",
            ),
            (
                format!("{first}\n{}", hex.replace("00ff", "+1")),
                "no hexadecimal",
            ),
            (format!("{first}\nnonsense"), "no line of one"),
            (format!("{first}\n\u{feff}{entry}"), "no line of one"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
