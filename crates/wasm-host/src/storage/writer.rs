//! Writes on their way to the disk, many at a time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use redb::{Database, ReadableTable, Table};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use wasm_core::{ComponentId, StorageError, StorageUsage};

use super::file::{REPLACED, StoreFile, Work, failure};
use super::open::{ENTRIES, USAGES};

/// At the most so many writes share one commit: enough that waiting for the disk is a
/// small part of each, few enough that the first of them does not wait for long.
pub(super) const BATCH_WRITES: usize = 256;

/// Nor are further writes added to a batch that has so many bytes, whatever cache there is: of
/// that of 16 MiB half is what redb holds back before it starts to write out.
const BATCH_BYTES: usize = 4 << 20;

/// How long those who were answered together are given to write again. Otherwise every
/// other commit is for the one of them that was the fastest. A commit takes some
/// milliseconds.
const GATHERING: Duration = Duration::from_micros(100);

/// After so long without a write, the store is written down once more, with which of its
/// pages are free: after a crash it is open at once then, without reading the whole file.
///
/// With each commit that would be too dear. It takes 0.1 ms for a small file and 0.5 ms more for
/// each GiB, without what the disk takes: up to a fifth of a commit that takes 10 ms, and
/// several times one that a fast disk keeps at once.
const QUIET: Duration = Duration::from_secs(1);

/// One write on its way to the writer.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) owner: ComponentId,
    pub(super) change: Change,
    pub(super) answer: oneshot::Sender<Result<(), StorageError>>,
}

#[derive(Debug)]
pub(super) enum Change {
    Set {
        key: String,
        value: Bytes,
        quota_bytes: u64,
    },
    Delete {
        key: String,
    },
    /// To learn that all earlier ones are done.
    Nothing,
}

impl Change {
    fn bytes(&self) -> usize {
        match self {
            Self::Set { key, value, .. } => key.len() + value.len(),
            Self::Delete { key } => key.len(),
            Self::Nothing => 0,
        }
    }
}

/// Writes that were handed over but that nobody waits for any more, by owner.
///
/// Reads do not pass through the queue. One that comes after a dropped write must not
/// find the store as it was, and then again as the write left it; so it waits for those
/// of its owner that are still under way.
#[derive(Debug, Default)]
pub(super) struct Abandoned(Mutex<HashMap<ComponentId, usize>>);

impl Abandoned {
    pub(super) fn includes(&self, owner: &ComponentId) -> bool {
        self.owners().contains_key(owner)
    }

    fn done(&self, owner: &ComponentId) {
        let mut owners = self.owners();
        if let Some(count) = owners.get_mut(owner) {
            *count -= 1;
            if *count == 0 {
                owners.remove(owner);
            }
        }
    }

    fn owners(&self) -> MutexGuard<'_, HashMap<ComponentId, usize>> {
        // No code that could panic runs between two related changes.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A write that was handed over.
pub(super) struct Pending<'a> {
    owner: &'a ComponentId,
    outcome: oneshot::Receiver<Result<(), StorageError>>,
    abandoned: &'a Abandoned,
    answered: bool,
}

impl<'a> Pending<'a> {
    pub(super) fn new(
        owner: &'a ComponentId,
        outcome: oneshot::Receiver<Result<(), StorageError>>,
        abandoned: &'a Abandoned,
    ) -> Self {
        Self {
            owner,
            outcome,
            abandoned,
            answered: false,
        }
    }

    /// `None` when the writer is gone.
    pub(super) async fn outcome(mut self) -> Option<Result<(), StorageError>> {
        let outcome = (&mut self.outcome).await;
        self.answered = true;
        outcome.ok()
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        // Closed while the owners are locked: the writer, which finds that it cannot
        // answer, takes off only what was put there.
        let mut owners = self.abandoned.owners();
        self.outcome.close();
        if self.outcome.try_recv().is_err() {
            *owners.entry(self.owner.clone()).or_default() += 1;
        }
    }
}

fn gather(first: Job, jobs: &mut mpsc::Receiver<Job>) -> Vec<Job> {
    let mut bytes = first.change.bytes();
    let mut batch = vec![first];
    while batch.len() < BATCH_WRITES
        && bytes < BATCH_BYTES
        && let Ok(next) = jobs.try_recv()
    {
        bytes += next.change.bytes();
        batch.push(next);
    }
    batch
}

/// Writes a batch and answers it; whether the disk has anything new.
fn write(file: &StoreFile, abandoned: &Abandoned, batch: Vec<Job>) -> bool {
    let committed = if file.is_in_place() {
        file.write(|database| commit(database, &batch))
    } else {
        file.tell(Work::Writing, REPLACED);
        Err(failure(REPLACED))
    };
    let (outcomes, is_written) = match committed {
        Ok(committed) => committed,
        Err(error) => (batch.iter().map(|_| Err(error.clone())).collect(), false),
    };
    if is_written {
        file.heal();
    }
    for (job, outcome) in batch.into_iter().zip(outcomes) {
        if job.answer.send(outcome).is_err() {
            abandoned.done(&job.owner);
        }
    }
    is_written
}

/// A commit of nothing else.
fn save_free_pages(database: &Database) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    transaction.set_quick_repair(true);
    Ok(transaction.commit()?)
}

/// Until nobody can hand over anything any more. The `runtime`, in which nothing else runs, tells
/// the time.
pub(super) fn write_all(
    file: &StoreFile,
    abandoned: &Abandoned,
    mut jobs: mpsc::Receiver<Job>,
    runtime: &Runtime,
) {
    let mut in_company = false;
    // What redb had to find out while it opened the file is worth keeping, too.
    let mut is_saved = false;
    loop {
        let next = match is_saved {
            true => Ok(jobs.blocking_recv()),
            false => runtime.block_on(async { timeout(QUIET, jobs.recv()).await }),
        };
        let Ok(next) = next else {
            // What fails was told, and is tried again after the next write.
            is_saved = true;
            if file.is_in_place() {
                let _ = file.write(save_free_pages);
            }
            continue;
        };
        let Some(first) = next else { break };
        if in_company {
            thread::sleep(GATHERING);
        }
        let batch = gather(first, &mut jobs);
        in_company = batch.len() > 1;
        is_saved &= !write(file, abandoned, batch);
    }
    // It has been told, and nobody is there to be answered.
    let _ = file.close();
}

/// Makes all changes that can be made, on disk when it returns, and tells what became
/// of each, and whether there were any. An error is one of the store; nothing is then changed.
fn commit(
    database: &Database,
    batch: &[Job],
) -> Result<(Vec<Result<(), StorageError>>, bool), redb::Error> {
    let mut transaction = database.begin_write()?;
    // The checksums that redb relies on otherwise are no match for somebody who chooses
    // what is written, and components do.
    transaction.set_two_phase_commit(true);
    let mut outcomes = Vec::with_capacity(batch.len());
    let mut changed = false;
    {
        let mut entries = transaction.open_table(ENTRIES)?;
        let mut rows = transaction.open_table(USAGES)?;
        let mut usages = HashMap::new();
        for job in batch {
            let owner = job.owner.as_str();
            if !usages.contains_key(owner) {
                let row = rows.get(owner)?.map_or((0, 0), |row| row.value());
                usages.insert(owner, row);
            }
            let Some(usage) = usages.get_mut(owner) else {
                continue;
            };
            outcomes.push(match make(&mut entries, usage, owner, &job.change) {
                Ok(made) => {
                    changed |= made;
                    Ok(())
                }
                Err(Refusal::Quota) => Err(StorageError::QuotaExceeded),
                // Found before anything is changed, and no fault of the others.
                Err(Refusal::Store(error @ redb::StorageError::ValueTooLarge(_))) => {
                    Err(failure(error))
                }
                Err(Refusal::Store(error)) => return Err(error.into()),
            });
        }
        for (owner, usage) in usages {
            if usage == (0, 0) {
                rows.remove(owner)?;
            } else {
                rows.insert(owner, usage)?;
            }
        }
    }
    if changed {
        transaction.commit()?;
    } else {
        transaction.abort()?;
    }
    Ok((outcomes, changed))
}

enum Refusal {
    Quota,
    Store(redb::StorageError),
}

impl From<redb::StorageError> for Refusal {
    fn from(error: redb::StorageError) -> Self {
        Self::Store(error)
    }
}

/// Whether there was anything to do.
fn make(
    entries: &mut Table<'_, (&str, &str), &[u8]>,
    (used_bytes, key_count): &mut (u64, u64),
    owner: &str,
    change: &Change,
) -> Result<bool, Refusal> {
    let entry_bytes = |key: &str, value: &[u8]| (key.len() + value.len()) as u64;
    match change {
        Change::Set {
            key,
            value,
            quota_bytes,
        } => {
            let entry = (owner, key.as_str());
            let replaced = entries.get(entry)?.map(|old| entry_bytes(key, old.value()));
            let others = used_bytes.saturating_sub(replaced.unwrap_or(0));
            let bytes = others.saturating_add(entry_bytes(key, value));
            let keys = *key_count + u64::from(replaced.is_none());
            if StorageUsage::of(bytes, keys).used_bytes > *quota_bytes {
                return Err(Refusal::Quota);
            }
            entries.insert(entry, &**value)?;
            (*used_bytes, *key_count) = (bytes, keys);
            Ok(true)
        }
        Change::Delete { key } => {
            let Some(old) = entries.remove((owner, key.as_str()))? else {
                return Ok(false);
            };
            *used_bytes = used_bytes.saturating_sub(entry_bytes(key, old.value()));
            *key_count = key_count.saturating_sub(1);
            Ok(true)
        }
        Change::Nothing => Ok(false),
    }
}
