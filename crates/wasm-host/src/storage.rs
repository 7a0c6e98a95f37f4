mod contents;
mod draft;
mod file;
mod open;
mod reader;
mod retry;
mod unchanged;
mod writer;

use std::fmt::{self, Debug};
use std::num::NonZero;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, available_parallelism};

use async_trait::async_trait;
use bytes::Bytes;
use redb::{Database, ReadableDatabase};
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use wasm_core::{ComponentId, ComponentStorage, StorageError, StorageUsage};

pub use self::contents::StoreContents;
pub use self::draft::StoreDraft;
use self::file::{StoreFile, Work, failure};
use self::open::{ENTRIES, USAGES};
pub use self::open::{StorageConfig, StorageOpenError};
pub use self::reader::{StoreReader, StoredEntry};
use self::writer::{Abandoned, BATCH_WRITES, Change, Job, Pending, write_all};
use crate::lock::lock;

/// How many writes may wait to be taken up; further ones wait in their own futures.
const QUEUE_WRITES: usize = BATCH_WRITES;

/// Threads that read, by how many processors there are. A read that finds its pages in memory
/// needs one of them for some microseconds, so that more threads would be of no use to it. One
/// that waits for a disk is to hold up few others, on a small machine, too.
fn readers(processors: usize) -> usize {
    processors.clamp(MIN_READERS, MAX_READERS)
}

const MIN_READERS: usize = 4;

/// As many reads as the usual disk is busy with at a time.
const MAX_READERS: usize = 32;

/// How many reads may wait to be taken up; further ones wait in their own futures.
const QUEUE_READS: usize = 256;

/// Keeps the data of components in one file, for longer than the process lasts.
///
/// The file takes at most about twice of the disk what the owners are charged, see
/// [`ComponentStorage::set`], and about 2 MiB for itself; its length, which doubles, may be
/// twice that where the filesystem knows holes. All work is done on threads of the store's own,
/// one that writes and as many that read as the machine has processors, 4 to 32 of them:
/// nothing else that waits for a disk or for input keeps it waiting.
///
/// What fails the store, and not just one write of a component, is told as a warning of
/// `tracing`, with the file's path, once per cause; what fails writes only, once until a
/// write succeeds again. A file that was removed or replaced while it is open takes no
/// more writes until it is back: they would be lost with the process.
///
/// A write that was answered with `Ok` is on the disk: neither `kill -9` nor a power
/// cut loses it, as far as the disk keeps what it promises. Writes that are made at the
/// same time share one wait for the disk, and its error when it fails. The next call
/// then opens the file again, so that a full disk can be read. It is opened once more, and
/// writes are tried, after 1 s, and after 2, 4 and so on up to 30 s until a write succeeds;
/// until then writes fail at once with the error of the one that failed, and so does all
/// when reads fail, too. Whether a write that was answered with such an error is in
/// the store is not known, but it is there whole or not at all.
///
/// A write whose future is dropped before it is handed over is not done; from then on
/// it is done, before any later call for the same owner. All methods need a tokio
/// runtime.
///
/// Dropping the store waits until all that was handed over is on the disk, and
/// releases the file. While it is open no other process, and no second store in this
/// one, can open it.
pub struct RedbStorage {
    file: Arc<StoreFile>,
    abandoned: Arc<Abandoned>,
    // Dropped before the writer, which ends when nobody can send any more.
    queue: mpsc::Sender<Job>,
    reads: mpsc::Sender<ReadJob>,
    _writer: Thread,
    _readers: Vec<Thread>,
}

type ReadJob = Box<dyn FnOnce() + Send>;

impl Debug for RedbStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStorage")
            .field("path", &self.file.path)
            .finish_non_exhaustive()
    }
}

impl RedbStorage {
    /// Opens the store in this file, or creates it. Blocks, for a few commits, or after a
    /// crash within a second or so of a write for as long as it takes to read the whole file,
    /// a second or more per GiB.
    ///
    /// # Errors
    /// [`StorageOpenError`] names the file, what was found and what to do. What is not
    /// a store is left as it is.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StorageOpenError> {
        Self::open_with(path, StorageConfig::default())
    }

    /// The same, with another memory for what was read.
    ///
    /// # Errors
    /// As those of [`open`](Self::open).
    pub fn open_with(
        path: impl AsRef<Path>,
        config: StorageConfig,
    ) -> Result<Self, StorageOpenError> {
        let path = path.as_ref();
        let file = Arc::new(StoreFile::open(path, config)?);
        let abandoned = Arc::new(Abandoned::default());
        let (queue, jobs) = mpsc::channel(QUEUE_WRITES);
        let (reads, waiting) = mpsc::channel(QUEUE_READS);
        let waiting = Arc::new(Mutex::new(waiting));
        let writer = {
            let (file, abandoned) = (Arc::clone(&file), Arc::clone(&abandoned));
            let name = "component-storage".to_owned();
            let runtime = Builder::new_current_thread().enable_time().build();
            let runtime = runtime.map_err(|source| StorageOpenError::Unusable {
                path: path.to_owned(),
                source,
            })?;
            let write = move || write_all(&file, &abandoned, jobs, &runtime);
            Thread::start(path, name, write)?
        };
        let reader = |n| {
            let waiting = Arc::clone(&waiting);
            let name = format!("component-read-{n}");
            Thread::start(path, name, move || read_all(&waiting))
        };
        let processors = available_parallelism().map_or(1, NonZero::get);
        let readers = (0..readers(processors)).map(reader);
        let readers = readers.collect::<Result<_, _>>()?;
        Ok(Self {
            file,
            abandoned,
            queue,
            reads,
            _writer: writer,
            _readers: readers,
        })
    }

    /// Waits until all that was handed over is on the disk, and releases the file, as
    /// dropping the store does, and tells how that went. What comes later fails. Dropping
    /// the future before it is ready leaves the store open or has it closed.
    ///
    /// # Errors
    /// The store fails; [`StorageError::Io`] when it does while it is closed, with the path of the
    /// file as it was given. The file is released all the same.
    pub async fn close(&self) -> Result<(), StorageError> {
        let written = self.write(&nobody(), Change::Nothing).await;
        let file = Arc::clone(&self.file);
        let closed = spawn_blocking(move || file.close()).await;
        let closed = closed.unwrap_or_else(|error| Err(failure(error)));
        written
            .and(closed)
            .map_err(|error| self.file.in_full(error))
    }

    /// Answered when the change, and every earlier one, is on the disk or refused.
    async fn write(&self, owner: &ComponentId, change: Change) -> Result<(), StorageError> {
        let Ok(place) = self.queue.reserve().await else {
            return Err(failure("the thread that writes is gone"));
        };
        let (answer, outcome) = oneshot::channel();
        place.send(Job {
            owner: owner.clone(),
            change,
            answer,
        });
        let pending = Pending::new(owner, outcome, &self.abandoned);
        let outcome = tokio::select! {
            biased;
            outcome = pending.outcome() => outcome,
            // What is sent in the moment in which the thread panics is never looked at.
            () = self.queue.closed() => None,
        };
        outcome.unwrap_or_else(|| Err(failure("the thread that writes is gone")))
    }

    /// On a thread that reads. Most reads find their pages in memory and take less time
    /// than the 10 µs and more that it takes to hand them over. But one that does not
    /// waits for a disk, and one after a failure opens the whole file again; other tasks
    /// must not wait with it.
    async fn read<T: Send + 'static>(
        &self,
        owner: &ComponentId,
        work: impl FnOnce(&Database, &str) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StorageError> {
        if self.abandoned.includes(owner) {
            // That they failed is nothing to who reads.
            let _ = self.write(owner, Change::Nothing).await;
        }
        let gone = || failure("the threads that read are gone");
        let place = self.reads.reserve().await.map_err(|_| gone())?;
        let (answer, outcome) = oneshot::channel();
        let (file, owner) = (Arc::clone(&self.file), owner.clone());
        place.send(Box::new(move || {
            // Whoever asked may have gone since.
            if !answer.is_closed() {
                let work = |database: &Database| work(database, owner.as_str());
                let _ = answer.send(file.with(Work::Reading, work));
            }
        }));
        tokio::select! {
            biased;
            outcome = outcome => outcome.unwrap_or_else(|_| Err(gone())),
            () = self.reads.closed() => Err(gone()),
        }
    }
}

/// Whom nothing belongs to.
fn nobody() -> ComponentId {
    ComponentId::new("local", "nobody", "main").expect("these are segments")
}

/// One of several that take what waits in turn.
fn read_all(waiting: &Mutex<mpsc::Receiver<ReadJob>>) {
    loop {
        let next = lock(waiting).blocking_recv();
        let Some(read) = next else { return };
        read();
    }
}

#[async_trait]
impl ComponentStorage for RedbStorage {
    async fn get(&self, owner: &ComponentId, key: &str) -> Result<Option<Bytes>, StorageError> {
        let key = key.to_owned();
        self.read(owner, move |database, owner| {
            let entries = database.begin_read()?.open_table(ENTRIES)?;
            let value = entries.get((owner, key.as_str()))?;
            // Copied: what refers to a page keeps a whole snapshot from being reused.
            Ok(value.map(|value| Bytes::copy_from_slice(value.value())))
        })
        .await
    }

    async fn set(
        &self,
        owner: &ComponentId,
        key: &str,
        value: Bytes,
        quota_bytes: u64,
    ) -> Result<(), StorageError> {
        let key = key.to_owned();
        let change = Change::Set {
            key,
            value,
            quota_bytes,
        };
        self.write(owner, change).await
    }

    async fn delete(&self, owner: &ComponentId, key: &str) -> Result<(), StorageError> {
        let key = key.to_owned();
        self.write(owner, Change::Delete { key }).await
    }

    async fn exists(&self, owner: &ComponentId, key: &str) -> Result<bool, StorageError> {
        let key = key.to_owned();
        self.read(owner, move |database, owner| {
            let entries = database.begin_read()?.open_table(ENTRIES)?;
            Ok(entries.get((owner, key.as_str()))?.is_some())
        })
        .await
    }

    async fn list_keys(
        &self,
        owner: &ComponentId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StorageError> {
        let prefix = prefix.to_owned();
        let after = after.map(str::to_owned);
        self.read(owner, move |database, owner| {
            let start = match after.as_deref() {
                Some(after) if after >= prefix.as_str() => Bound::Excluded((owner, after)),
                _ => Bound::Included((owner, prefix.as_str())),
            };
            let entries = database.begin_read()?.open_table(ENTRIES)?;
            let mut keys = Vec::new();
            let mut found = entries.range::<(&str, &str)>((start, Bound::Unbounded))?;
            while keys.len() < limit {
                let Some(entry) = found.next().transpose()? else {
                    break;
                };
                let (whose, key) = entry.0.value();
                if whose != owner || !key.starts_with(&prefix) {
                    break;
                }
                keys.push(key.to_owned());
            }
            Ok(keys)
        })
        .await
    }

    async fn usage(&self, owner: &ComponentId) -> Result<StorageUsage, StorageError> {
        self.read(owner, |database, owner| {
            let usages = database.begin_read()?.open_table(USAGES)?;
            let (bytes, keys) = usages.get(owner)?.map_or((0, 0), |row| row.value());
            Ok(StorageUsage::of(bytes, keys))
        })
        .await
    }
}

/// A thread that ends when nobody can hand it anything any more, and is waited for.
struct Thread(Option<JoinHandle<()>>);

impl Thread {
    fn start(
        path: &Path,
        name: String,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<Self, StorageOpenError> {
        let started = thread::Builder::new().name(name).spawn(work);
        match started {
            Ok(thread) => Ok(Self(Some(thread))),
            Err(source) => Err(StorageOpenError::Unusable {
                path: path.to_owned(),
                source,
            }),
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take()
            && thread.join().is_err()
        {
            tracing::error!("a thread of component storage panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

    use super::*;

    #[test]
    fn so_much_waits_for_a_store() {
        let folder = tempdir().unwrap();
        let storage = RedbStorage::open(folder.path().join("store.redb")).unwrap();
        assert_eq!(storage.queue.max_capacity(), 256);
        assert_eq!(storage.reads.max_capacity(), 256);
    }

    #[test]
    fn so_many_threads_read() {
        for (processors, so_many) in [(1, 4), (4, 4), (5, 5), (32, 32), (200, 32)] {
            assert_eq!(readers(processors), so_many);
        }
        let folder = tempdir().unwrap();
        let storage = RedbStorage::open(folder.path().join("store.redb")).unwrap();
        let processors = available_parallelism().map_or(1, NonZero::get);
        assert_eq!(storage._readers.len(), readers(processors));
    }
}
