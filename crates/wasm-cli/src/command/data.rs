//! What components have stored, as text: out of a file of data, into one, and looked through.

use std::io::{self, BufRead, BufReader, ErrorKind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use clap::{Args, Subcommand, ValueHint};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};

use wasm_core::text::PathText as _;
use wasm_core::units::{format_bytes, format_count};
use wasm_core::{ComponentId, ComponentStorage as _, StorageError};
use wasm_host::RedbStorage;

use crate::output;
use crate::output::outcome::{FAILED, Stop, block_on};
use crate::output::report::{Report, aside};

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

`import` fills a file that is not there yet, or is empty; whatever quotas are,
all is taken in. `check` reads everything that there is.

Exit codes:
  0  all went well
  1  `check` has found something; the store failed
  2  bad input: a file that is not there, no store or in use; lines that are no
     export, of which nothing is taken in once one is wrong";

/// Keys that are asked for at a time.
const PAGE: usize = 1_000;
/// Writes that wait for the disk together.
const WRITES: usize = 256;
/// The release of the format.
const FORMAT: u64 = 1;
/// Lines that are read ahead.
const LINES: usize = 64;

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
    Import(File),
    /// Read everything, and tell what is not in order
    Check(File),
}

#[derive(Debug, Args)]
struct File {
    /// That of `up --data`
    #[arg(value_hint = ValueHint::FilePath)]
    file: PathBuf,
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
                Action::Export(File { file }) => export(open(file, false).await?).await,
                Action::Import(File { file }) => import(file).await,
                Action::Check(File { file }) => check(file).await,
            }
        })
    }
}

/// One that is not there yet is made only if it is to be filled.
async fn open(file: PathBuf, may_be_new: bool) -> Result<RedbStorage, Report> {
    let opened = spawn_blocking(move || {
        match file.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound && !may_be_new => {
                return Err(Report::error(format!("{} is not there", file.escaped())));
            }
            _ => {}
        }
        RedbStorage::open(&file).map_err(|error| Report::error(error.to_string()))
    });
    let lost = |error| Report::error(format!("the file was not opened: {error}"));
    opened.await.map_err(lost)?
}

async fn export(storage: RedbStorage) -> Result<ExitCode, Stop> {
    let contents = storage.contents().await.map_err(|error| failed(&error))?;
    output::print(line(&Line::First { format: FORMAT })).await?;
    let mut entries = 0;
    for owner in contents.owners.keys() {
        let component: ComponentId = owner.parse().map_err(|_| {
            Stop::Failed(Report::error(format!(
                "{owner:?} is no component, and has data"
            )))
        })?;
        let mut after: Option<String> = None;
        loop {
            let keys = storage.list_keys(&component, "", after.as_deref(), PAGE);
            let keys = keys.await.map_err(|error| failed(&error))?;
            let Some(last) = keys.last().cloned() else {
                break;
            };
            let mut lines = String::new();
            for key in keys {
                let value = storage.get(&component, &key).await;
                let value = value.map_err(|error| failed(&error))?.unwrap_or_default();
                lines += &line(&entry(owner, key, &value));
                entries += 1;
            }
            output::print(lines).await?;
            after = Some(last);
        }
    }
    output::print(line(&Line::Last { entries })).await?;
    close(&storage).await?;
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

async fn import(file: PathBuf) -> Result<ExitCode, Stop> {
    let shown = file.escaped().to_string();
    // Before anything is written: what is cut short is not taken in by half.
    let entries = read_export().await?;
    let count = entries.len() as u64;
    let storage = Arc::new(open(file, true).await?);
    let contents = storage.contents().await.map_err(|error| failed(&error))?;
    if !contents.owners.is_empty() {
        return Err(Report::error(format!("{shown} has data already"))
            .with_help("name a file that is not there yet, or move this one away")
            .into());
    }
    let mut writes = JoinSet::new();
    for (component, key, value) in entries {
        if writes.len() >= WRITES {
            written(writes.join_next().await)?;
        }
        let storage = Arc::clone(&storage);
        writes.spawn(async move { storage.set(&component, &key, value, u64::MAX).await });
    }
    while let Some(outcome) = writes.join_next().await {
        written(Some(outcome))?;
    }
    close(&storage).await?;
    aside(format!("{} entries are in {shown}", format_count(count)));
    Ok(ExitCode::SUCCESS)
}

type Written = Result<Result<(), StorageError>, tokio::task::JoinError>;

fn written(outcome: Option<Written>) -> Result<(), Stop> {
    match outcome {
        Some(Ok(Err(error))) => Err(failed(&error)),
        Some(Err(error)) => Err(Stop::Failed(Report::error(error.to_string()))),
        _ => Ok(()),
    }
}

type Entry = (ComponentId, String, Bytes);

/// All entries of an export that is whole.
async fn read_export() -> Result<Vec<Entry>, Stop> {
    let (sender, mut lines) = mpsc::channel(LINES);
    // Nobody waits for it: it ends with its input, or with the program.
    std::thread::spawn(move || {
        for line in BufReader::new(io::stdin()).lines() {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    let mut reading = Reading::default();
    let mut number = 0;
    while let Some(text) = lines.recv().await {
        number += 1;
        let text = text.map_err(|error| no_export(number, &error.to_string()))?;
        reading
            .add(&text)
            .map_err(|reason| no_export(number, &reason))?;
    }
    match reading.is_whole {
        true => Ok(reading.entries),
        false => Err(no_export(number + 1, "it ends before its last line").into()),
    }
}

fn no_export(line: u64, reason: &str) -> Report {
    Report::error(format!("standard input is no export: {reason}"))
        .with_note(format!("this was line {line}; nothing was taken in"))
        .with_help("`airssys-wasm data export FILE` prints one")
}

#[derive(Default)]
struct Reading {
    has_begun: bool,
    entries: Vec<Entry>,
    is_whole: bool,
}

impl Reading {
    fn add(&mut self, text: &str) -> Result<(), String> {
        let line: Line =
            serde_json::from_str(text).map_err(|_| "it is no line of one".to_owned())?;
        match line {
            Line::First { format: FORMAT } if !self.has_begun => self.has_begun = true,
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
            } => self.entry(&component, key, text.into())?,
            Line::Hex {
                component,
                key,
                hex,
            } => self.entry(&component, key, bytes_of(&hex)?)?,
            Line::Last { entries } if entries == self.entries.len() as u64 => self.is_whole = true,
            Line::Last { entries } => {
                let found = self.entries.len();
                return Err(format!("it has {found} entries, and should have {entries}"));
            }
        }
        Ok(())
    }

    fn entry(&mut self, component: &str, key: String, value: Bytes) -> Result<(), String> {
        let component = component.parse::<ComponentId>();
        let component = component.map_err(|error| error.to_string())?;
        self.entries.push((component, key, value));
        Ok(())
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
    let shown = file.escaped().to_string();
    let storage = open(file, false).await?;
    let contents = storage.contents().await.map_err(|error| failed(&error))?;
    let mut text = String::new();
    for (owner, (bytes, keys)) in &contents.owners {
        let (keys, bytes) = (format_count(*keys), format_bytes(*bytes));
        text += &format!("  {owner}: {keys} keys, {bytes}\n");
    }
    close(&storage).await?;
    if contents.problems.is_empty() {
        output::print(format!("{shown}: ok\n{text}")).await?;
        return Ok(ExitCode::SUCCESS);
    }
    output::print(format!("{shown}: not in order\n{text}")).await?;
    for problem in contents.problems {
        Report::error(problem).tell().await;
    }
    Ok(ExitCode::from(FAILED))
}

async fn close(storage: &RedbStorage) -> Result<(), Stop> {
    storage.close().await.map_err(|error| failed(&error))
}

fn failed(error: &StorageError) -> Stop {
    Stop::Failed(Report::error(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<bool, String> {
        let mut reading = Reading::default();
        text.lines().try_for_each(|line| reading.add(line))?;
        Ok(reading.is_whole)
    }

    #[test]
    fn an_export_is_whole_or_none() {
        let first = "{\"airssys-wasm-data\":1}";
        let entry = "{\"component\":\"a/b/c\",\"key\":\"k\",\"text\":\"v\"}";
        let hex = "{\"component\":\"a/b/c\",\"key\":\"k\",\"hex\":\"00ff\"}";
        let last = |entries| format!("{{\"entries\":{entries}}}");
        assert_eq!(
            read(&format!("{first}\n{entry}\n{hex}\n{}", last(2))),
            Ok(true)
        );
        assert_eq!(read(&format!("{first}\n{}", last(0))), Ok(true));
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
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
