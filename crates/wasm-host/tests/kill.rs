//! `kill -9` while a process writes: what it was told is on the disk is there.
//!
//! `WASM_HOST_KILLS` is how often, `WASM_HOST_KILL_SEED` repeats the moments and writes
//! of a run, as far as the scheduler allows.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use libtest_mimic::{Arguments, Failed, Trial};
use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio::time::timeout;

use wasm_core::{ComponentId, ComponentStorage, StorageError, StorageUsage};
use wasm_host::RedbStorage;

/// Set for the process that is to be killed: file, round and seed.
const VICTIM: &str = "WASM_HOST_VICTIM";

const TASKS: u64 = 8;
/// Each task has its own keys, and shares an owner with another task.
const OWNERS: u64 = 4;
const KEYS_PER_TASK: u64 = 10;
const LONGEST_VALUE: u64 = 64 << 10;
/// Some writes are refused.
const QUOTA_BYTES: u64 = 80_000;

fn main() -> ExitCode {
    if let Ok(text) = env::var(VICTIM) {
        let outcome = write_until_killed(&text);
        eprintln!("{outcome:?}");
        return ExitCode::FAILURE;
    }
    let arguments = Arguments::from_args();
    let trial = Trial::test("acknowledged_writes_survive_a_kill", || {
        survive().map_err(Failed::from)
    });
    libtest_mimic::run(&arguments, vec![trial]).exit_code()
}

fn survive() -> Result<(), Box<dyn Error>> {
    let number = |name: &str, or: u64| env::var(name).map_or(Ok(or), |text| text.parse());
    let rounds = number("WASM_HOST_KILLS", 10)?;
    let now = SystemTime::UNIX_EPOCH.elapsed()?.as_nanos() as u64;
    let seed = number("WASM_HOST_KILL_SEED", now)?;
    println!("WASM_HOST_KILLS={rounds} WASM_HOST_KILL_SEED={seed}");
    let mut random = Random(seed);
    let mut tally = Tally::default();
    let mut folder = TempDir::new()?;
    let mut expected = Expected::default();
    for round in 0..rounds {
        if round > 0 && random.below(4) == 0 {
            folder = TempDir::new()?;
            expected = Expected::default();
        }
        let path = folder.path().join("store");
        tally.created += u64::from(!path.exists());
        kill_one(&path, round, &mut random, &mut expected, &mut tally)
            .and_then(|()| check(&path, &mut expected, &mut tally))
            .map_err(|error| format!("round {round}: {error}"))?;
    }
    println!("{tally:#?}");
    Ok(())
}

/// Numbers that look random: splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// One write of a task. Its value follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Op {
    round: u64,
    task: u64,
    sequence: u64,
    key: u64,
    /// `None` deletes.
    length: Option<u64>,
}

impl Op {
    fn owner(&self) -> ComponentId {
        owner(self.task % OWNERS)
    }

    fn key(&self) -> String {
        format!("task-{}/key-{}", self.task, self.key)
    }

    /// Who wrote it, what follows from that, and a checksum over both. Not shorter than
    /// what it takes to say so.
    fn value(&self) -> Option<Bytes> {
        let length = self.length? as usize;
        let (owner, key) = (self.owner(), self.key());
        let header = format!("{owner} {key} {} {}\n", self.round, self.sequence);
        let mut value = header.into_bytes();
        let mut filler = Random(checksum(&value));
        while value.len() < length {
            value.extend(filler.next().to_le_bytes());
        }
        value.extend(checksum(&value).to_le_bytes());
        Some(value.into())
    }
}

fn owner(number: u64) -> ComponentId {
    ComponentId::new("demo", &format!("owner-{number}"), "main").expect("it is an id")
}

/// FNV-1a.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

/// What a victim says of a write: before, and when it is told what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Begun,
    Done,
    Refused,
}

/// On stderr, which has no buffer: a line is written by one call, which a pipe takes
/// whole, and keeps when the writer is killed.
fn say(word: Word, op: &Op) {
    let Op {
        task,
        sequence,
        key,
        length,
        ..
    } = op;
    let length = length.map_or(-1, |length| length as i64);
    let line = format!("{word:?} {task} {sequence} {key} {length}\n");
    io::stderr()
        .write_all(line.as_bytes())
        .expect("somebody listens");
}

/// `None` when it says something else, such as why it panics.
fn heard(line: &str, round: u64) -> Option<(Word, Op)> {
    let parts: Vec<&str> = line.split(' ').collect();
    let [word, task, sequence, key, length] = parts[..] else {
        return None;
    };
    let word = match word {
        "Begun" => Word::Begun,
        "Done" => Word::Done,
        "Refused" => Word::Refused,
        _ => return None,
    };
    let number = |text: &str| text.parse::<u64>().ok();
    let op = Op {
        round,
        task: number(task)?,
        sequence: number(sequence)?,
        key: number(key)?,
        length: length.parse().ok(),
    };
    Some((word, op))
}

fn write_until_killed(text: &str) -> Result<(), Box<dyn Error>> {
    let [round, seed, path] = text.splitn(3, ' ').collect::<Vec<_>>()[..] else {
        return Err(text.into());
    };
    let (round, seed) = (round.parse()?, seed.parse()?);
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let storage = Arc::new(RedbStorage::open(path)?);
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| tokio::spawn(write(Arc::clone(&storage), round, task, seed)))
            .collect();
        for task in tasks {
            task.await?;
        }
        Ok(())
    })
}

async fn write(storage: Arc<RedbStorage>, round: u64, task: u64, seed: u64) {
    let mut random = Random(seed ^ (task << 32));
    for sequence in 0.. {
        let length = match random.below(10) {
            0 | 1 => None,
            2..=6 => Some(random.below(200)),
            7 | 8 => Some(random.below(5_000)),
            _ => Some(random.below(LONGEST_VALUE)),
        };
        let op = Op {
            round,
            task,
            sequence,
            key: random.below(KEYS_PER_TASK),
            length,
        };
        let (owner, key) = (op.owner(), op.key());
        say(Word::Begun, &op);
        let call = async {
            match op.value() {
                Some(value) => storage.set(&owner, &key, value, QUOTA_BYTES).await,
                None => storage.delete(&owner, &key).await,
            }
        };
        let patience = match random.below(20) {
            0 => Duration::from_micros(random.below(3_000)),
            _ => Duration::from_secs(60),
        };
        match timeout(patience, call).await {
            Ok(Ok(())) => say(Word::Done, &op),
            Ok(Err(StorageError::QuotaExceeded)) => say(Word::Refused, &op),
            Ok(Err(error)) => panic!("{error}"),
            // Given up: done, or not, with nobody told.
            Err(_) => {}
        }
    }
}

/// What a key may hold: the last write that was acknowledged, and those begun since.
#[derive(Debug, Default)]
struct Candidates {
    known: Option<Op>,
    since: Vec<Op>,
}

#[derive(Debug, Default)]
struct Expected(BTreeMap<(u64, u64), Candidates>);

impl Expected {
    fn hear(&mut self, word: Word, op: Op) {
        let candidates = self.0.entry((op.task, op.key)).or_default();
        match word {
            Word::Begun => candidates.since.push(op),
            Word::Done => {
                candidates.known = Some(op);
                candidates
                    .since
                    .retain(|begun| begun.sequence > op.sequence);
            }
            Word::Refused => candidates.since.retain(|begun| *begun != op),
        }
    }
}

#[derive(Debug, Default)]
struct Tally {
    kills: u64,
    /// How many of them of a process that had to create the file.
    created: u64,
    acknowledged: u64,
    refused: u64,
    /// Writes that were found, though nobody had been told that they are done.
    unheard: u64,
    longest_opening: Duration,
}

fn kill_one(
    path: &Path,
    round: u64,
    random: &mut Random,
    expected: &mut Expected,
    tally: &mut Tally,
) -> Result<(), Box<dyn Error>> {
    let text = format!("{round} {} {}", random.next(), path.display());
    let mut victim = Command::new(env::current_exe()?)
        .env(VICTIM, text)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let output = victim.stderr.take().ok_or("it has no output")?;
    let writes = Arc::new(AtomicBool::new(false));
    let listener = {
        let writes = Arc::clone(&writes);
        thread::spawn(move || {
            let lines = BufReader::new(output).lines();
            lines
                .inspect(|_| writes.store(true, Ordering::Release))
                .collect::<Result<Vec<String>, _>>()
        })
    };
    // One in three is killed while it starts, creates, or repairs what the last kill left.
    if random.below(3) > 0 {
        while !writes.load(Ordering::Acquire) && victim.try_wait()?.is_none() {
            thread::sleep(Duration::from_micros(100));
        }
        thread::sleep(Duration::from_micros(random.below(400_000)));
    } else {
        thread::sleep(Duration::from_micros(random.below(40_000)));
    }
    let ended = victim.try_wait()?;
    victim.kill()?;
    victim.wait()?;
    let lines = listener.join().map_err(|_| "the listener panicked")??;
    let mut complaints = Vec::new();
    for line in lines {
        let Some((word, op)) = heard(&line, round) else {
            complaints.push(line);
            continue;
        };
        expected.hear(word, op);
        tally.acknowledged += u64::from(word == Word::Done);
        tally.refused += u64::from(word == Word::Refused);
    }
    if ended.is_some() || !complaints.is_empty() {
        let complaints = complaints.join("\n");
        return Err(format!("before it was killed ({ended:?}): {complaints}").into());
    }
    tally.kills += 1;
    Ok(())
}

/// Whether the store holds what it may, which from now on is all that it may.
fn check(path: &Path, expected: &mut Expected, tally: &mut Tally) -> Result<(), Box<dyn Error>> {
    let opening = Instant::now();
    let storage = RedbStorage::open(path)?;
    tally.longest_opening = tally.longest_opening.max(opening.elapsed());
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut keys: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    let mut wrong = String::new();
    for candidates in expected.0.values_mut() {
        let Some(any) = candidates.known.or(candidates.since.first().copied()) else {
            continue;
        };
        let found = runtime.block_on(storage.get(&any.owner(), &any.key()))?;
        let may_be = candidates.known.iter().map(|op| (Some(*op), op.value()));
        let never = candidates.known.is_none().then_some((None, None));
        let since = candidates.since.iter().map(|op| (Some(*op), op.value()));
        let all: Vec<_> = never.into_iter().chain(may_be).chain(since).collect();
        let Some(position) = all.iter().position(|(_, value)| *value == found) else {
            let bytes = found.map(|value| value.len());
            writeln!(
                wrong,
                "{}: {bytes:?} bytes, not of {candidates:?}",
                any.key()
            )?;
            continue;
        };
        tally.unheard += u64::from(position > 0);
        candidates.known = all[position].0;
        candidates.since.clear();
        if found.is_some() {
            keys.entry(any.task % OWNERS).or_default().insert(any.key());
        }
    }
    for number in 0..OWNERS {
        let owner = owner(number);
        let listed = runtime.block_on(storage.list_keys(&owner, "", None, usize::MAX))?;
        let mut bytes = 0;
        for key in &listed {
            let value = runtime.block_on(storage.get(&owner, key))?;
            bytes += key.len() + value.map_or(0, |value| value.len());
        }
        let expected: Vec<String> = keys.remove(&number).into_iter().flatten().collect();
        if listed != expected {
            writeln!(wrong, "{owner} has {listed:?}, and not {expected:?}")?;
        }
        let usage = runtime.block_on(storage.usage(&owner))?;
        if usage != StorageUsage::of(bytes as u64, listed.len() as u64) {
            writeln!(
                wrong,
                "{owner}: {usage:?} for {bytes} bytes, {} keys",
                listed.len()
            )?;
        }
        if usage.used_bytes > QUOTA_BYTES {
            writeln!(wrong, "{owner}: {usage:?} is more than its quota")?;
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.into())
    }
}
