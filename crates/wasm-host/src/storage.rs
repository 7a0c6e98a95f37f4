use std::collections::HashMap;
use std::fmt::{self, Debug, Display};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::mem;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redb::{
    Builder, Database, ReadableDatabase, ReadableTable, Table, TableDefinition, TableError,
    TableHandle,
};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use wasm_core::text::PathText as _;
use wasm_core::{ComponentId, ComponentStorage, StorageError, StorageUsage};

use crate::caught::caught;
use crate::lock::lock;

/// By owner and key: two texts, not one joined text, so that no key of one owner reads
/// like the id of another.
const ENTRIES: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("entries");

/// By owner: bytes of all keys and values, number of keys; what a key is charged besides
/// is not in it. It saves a quota check the sum over all entries. Who keeps nothing is
/// not in it.
const USAGES: TableDefinition<'_, &str, (u64, u64)> = TableDefinition::new("usages");

/// Tells a store from other databases in redb's format.
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("airssys-wasm storage");
const LAYOUT_KEY: &str = "layout";
/// To be raised when the tables above change their meaning.
const LAYOUT: u64 = 1;

/// How every file of redb starts, of any version.
const MAGIC: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";

/// redb would take 1 GiB. What is read again and again is inner pages and small values,
/// and what falls out is most likely still in the page cache of the system.
const CACHE_BYTES: usize = 16 << 20;

/// At the most so many writes share one commit: enough that waiting for the disk is a
/// small part of each, few enough that the first of them does not wait for long.
const BATCH_WRITES: usize = 256;

/// Nor are further writes added to a batch that has so many bytes: half of the cache is
/// what redb holds back before it starts to write out.
const BATCH_BYTES: usize = CACHE_BYTES / 4;

/// How long those who were answered together are given to write again. Otherwise every
/// other commit is for the one of them that was the fastest. A commit takes some
/// milliseconds.
const GATHERING: Duration = Duration::from_micros(100);

/// How many writes may wait to be taken up; further ones wait in their own futures.
const QUEUE_WRITES: usize = BATCH_WRITES;

/// Threads that read. A read that finds its pages in memory takes microseconds, and one
/// that waits for a disk is to hold up few others.
const READERS: usize = 4;

/// How many reads may wait to be taken up; further ones wait in their own futures.
const QUEUE_READS: usize = 256;

/// Different causes that the operator is told of before further ones are left out: what
/// is damaged may fail in a way of its own at each page.
const TOLD_CAUSES: usize = 16;

/// Keeps the data of components in one file, for longer than the process lasts.
///
/// The file takes at most about twice of the disk what the owners are charged, see
/// [`ComponentStorage::set`], and about 2 MiB for itself; its length, which doubles, may be
/// twice that where the filesystem knows holes. All work is done on five threads of the store's own:
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
/// then opens the file again, so that a store heals once the disk has room again; until
/// then reads may fail too. Whether a write that was answered with such an error is in
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
    /// crash for as long as it takes to read the whole file, a second or more per GiB.
    ///
    /// # Errors
    /// [`StorageOpenError`] names the file, what was found and what to do. What is not
    /// a store is left as it is.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StorageOpenError> {
        let path = path.as_ref();
        let database = open_or_create(path)?;
        let file = Arc::new(StoreFile {
            path: path.to_owned(),
            identity: identity(path),
            state: RwLock::new(State::Open(database)),
            failed: AtomicBool::new(false),
            told: Mutex::default(),
        });
        let abandoned = Arc::new(Abandoned::default());
        let (queue, jobs) = mpsc::channel(QUEUE_WRITES);
        let (reads, waiting) = mpsc::channel(QUEUE_READS);
        let waiting = Arc::new(Mutex::new(waiting));
        let writer = {
            let (file, abandoned) = (Arc::clone(&file), Arc::clone(&abandoned));
            let name = "component-storage".to_owned();
            Thread::start(path, name, move || write_all(&file, &abandoned, jobs))?
        };
        let reader = |n| {
            let waiting = Arc::clone(&waiting);
            let name = format!("component-read-{n}");
            Thread::start(path, name, move || read_all(&waiting))
        };
        let readers = (0..READERS).map(reader).collect::<Result<_, _>>()?;
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
    /// The store fails; [`StorageError::Io`] when it does while it is closed. The file is
    /// released all the same.
    pub async fn close(&self) -> Result<(), StorageError> {
        let written = self.write(&nobody(), Change::Nothing).await;
        let file = Arc::clone(&self.file);
        let closed = spawn_blocking(move || file.close()).await;
        written.and(closed.map_err(|error| self.file.failure(error))?)
    }

    /// Answered when the change, and every earlier one, is on the disk or refused.
    async fn write(&self, owner: &ComponentId, change: Change) -> Result<(), StorageError> {
        let Ok(place) = self.queue.reserve().await else {
            return Err(self.file.failure("the thread that writes is gone"));
        };
        let (answer, outcome) = oneshot::channel();
        place.send(Job {
            owner: owner.clone(),
            change,
            answer,
        });
        let pending = Pending {
            owner,
            outcome,
            abandoned: &self.abandoned,
            answered: false,
        };
        match pending.outcome().await {
            Some(outcome) => outcome,
            None => Err(self.file.failure("the thread that writes is gone")),
        }
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
        let gone = || self.file.failure("the threads that read are gone");
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
        outcome.await.unwrap_or_else(|_| Err(gone()))
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

/// The database, and what became of it.
#[derive(Debug)]
struct StoreFile {
    path: PathBuf,
    /// Of the file when it was opened first.
    identity: Option<Identity>,
    state: RwLock<State>,
    /// redb refuses everything once the disk has failed it, and is to be opened again.
    /// Set only with `state` locked.
    failed: AtomicBool,
    told: Mutex<Told>,
}

/// Causes of failures that the operator knows of.
#[derive(Debug, Default)]
struct Told {
    /// With what they failed first, reads above all.
    causes: HashMap<String, Work>,
    left_out: bool,
}

/// What failed. Writes that succeed say nothing of reads: they may be of other pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Reading,
    Writing,
}

/// What tells a file from another that has its name.
type Identity = (u64, u64);

/// `None` where that is not known.
fn identity(path: &Path) -> Option<Identity> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;

        let metadata = fs::metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

#[derive(Debug)]
enum State {
    Open(Database),
    /// It could not be opened again; the next call tries.
    Failed,
    Closed,
}

impl StoreFile {
    fn with<T>(
        &self,
        what: Work,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StorageError> {
        if self.failed.load(Ordering::Acquire) {
            self.open_again(what)?;
        }
        let state = self.read_state();
        let State::Open(database) = &*state else {
            return Err(self.failure("it is closed"));
        };
        // redb asserts what a damaged file may break; that is no reason to lose the
        // thread that all writes of all components go through.
        let outcome = match caught(|| work(database)) {
            Ok(outcome) => outcome,
            Err(text) => {
                self.failed.store(true, Ordering::Release);
                self.tell_panic(what, &text);
                return Err(self.failure("it is damaged"));
            }
        };
        outcome.map_err(|error| {
            if wants_reopening(&error) {
                self.failed.store(true, Ordering::Release);
            }
            match &error {
                // What came before was told.
                redb::Error::PreviousIo => {}
                redb::Error::Io(error) => self.tell(what, error),
                redb::Error::Corrupted(found) => {
                    self.tell(what, format_args!("it is damaged ({found}): {BACKUP}"));
                }
                error => self.tell(what, error),
            }
            self.failure(error)
        })
    }

    /// Tells the operator what failed the store, once per cause: whoever asked may keep
    /// it to itself.
    fn tell(&self, what: Work, cause: impl Display) {
        let cause = cause.to_string();
        let mut told = lock(&self.told);
        if let Some(before) = told.causes.get_mut(&cause) {
            if what == Work::Reading {
                *before = what;
            }
            return;
        }
        if told.left_out {
            return;
        }
        let path = self.path.escaped();
        if told.causes.len() == TOLD_CAUSES {
            told.left_out = true;
            tracing::warn!("component storage failed: {path}: further causes are left out");
            return;
        }
        // In the message, for those who print nothing else.
        tracing::warn!("component storage failed: {path}: {cause}");
        told.causes.insert(cause, what);
    }

    /// A write is on the disk: what fails from now on is news again.
    fn heal(&self) {
        let mut told = lock(&self.told);
        let before = told.causes.len();
        told.causes.retain(|_, what| *what == Work::Reading);
        if told.causes.len() < before {
            told.left_out = false;
            tracing::info!("component storage works again: {}", self.path.escaped());
        }
    }

    /// Whether what is written is found under the path of the file.
    fn is_in_place(&self) -> bool {
        self.identity.is_none() || identity(&self.path) == self.identity
    }

    fn open_again(&self, what: Work) -> Result<(), StorageError> {
        let mut state = self.write_state();
        // Somebody else may have done it meanwhile.
        if !self.failed.load(Ordering::Acquire) || matches!(*state, State::Closed) {
            return Ok(());
        }
        // First of all the lock of the file is to be released.
        if let Err(text) = close(mem::replace(&mut *state, State::Failed)) {
            self.tell_panic(what, &text);
        }
        // A file without what was written to the one before is no store to go on with.
        if !self.is_in_place() {
            self.tell(what, REPLACED);
            return Err(self.failure(REPLACED));
        }
        let database =
            guarded(&self.path, || Ok(builder().open(&self.path)?)).map_err(|error| {
                self.tell(what, format_args!("it cannot be opened again: {error}"));
                // The whole error has the folders.
                self.failure("it cannot be opened again")
            })?;
        *state = State::Open(database);
        self.failed.store(false, Ordering::Release);
        Ok(())
    }

    fn close(&self) -> Result<(), StorageError> {
        let closed = close(mem::replace(&mut *self.write_state(), State::Closed));
        closed.map_err(|text| {
            self.tell_panic(Work::Writing, &text);
            self.failure("it is damaged")
        })
    }

    fn tell_panic(&self, what: Work, text: &str) {
        let damage = "it is damaged: its pages do not fit together";
        self.tell(what, format_args!("{damage} ({text}): {BACKUP}"));
    }

    /// Names the file but not its folders: components come to see it.
    fn failure(&self, cause: impl Display) -> StorageError {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        StorageError::Io(format!("{}: {cause}", Path::new(name).escaped()))
    }

    fn read_state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an operator can do about damage.
const BACKUP: &str = "replace it by a backup, or move it away to start empty";

/// What a write is answered with that would be lost with the process.
const REPLACED: &str = "it was removed or replaced while it is open: put it back, or restart";

/// A database that panicked may do so again while it is dropped.
fn close<T>(database: T) -> Result<(), String> {
    caught(|| drop(database))
}

fn wants_reopening(error: &redb::Error) -> bool {
    matches!(
        error,
        redb::Error::Io(_)
            | redb::Error::PreviousIo
            | redb::Error::DatabaseClosed
            | redb::Error::LockPoisoned(_)
    )
}

/// One write on its way to the writer.
#[derive(Debug)]
struct Job {
    owner: ComponentId,
    change: Change,
    answer: oneshot::Sender<Result<(), StorageError>>,
}

#[derive(Debug)]
enum Change {
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

/// Writes that were handed over but that nobody waits for any more, by owner.
///
/// Reads do not pass through the queue. One that comes after a dropped write must not
/// find the store as it was, and then again as the write left it; so it waits for those
/// of its owner that are still under way.
#[derive(Debug, Default)]
struct Abandoned(Mutex<HashMap<ComponentId, usize>>);

impl Abandoned {
    fn includes(&self, owner: &ComponentId) -> bool {
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
struct Pending<'a> {
    owner: &'a ComponentId,
    outcome: oneshot::Receiver<Result<(), StorageError>>,
    abandoned: &'a Abandoned,
    answered: bool,
}

impl Pending<'_> {
    /// `None` when the writer is gone.
    async fn outcome(mut self) -> Option<Result<(), StorageError>> {
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

fn write_all(file: &StoreFile, abandoned: &Abandoned, mut jobs: mpsc::Receiver<Job>) {
    let mut in_company = false;
    while let Some(first) = jobs.blocking_recv() {
        if in_company {
            thread::sleep(GATHERING);
        }
        let mut bytes = first.change.bytes();
        let mut batch = vec![first];
        while batch.len() < BATCH_WRITES
            && bytes < BATCH_BYTES
            && let Ok(next) = jobs.try_recv()
        {
            bytes += next.change.bytes();
            batch.push(next);
        }
        in_company = batch.len() > 1;
        let committed = if file.is_in_place() {
            file.with(Work::Writing, |database| commit(file, database, &batch))
        } else {
            file.tell(Work::Writing, REPLACED);
            Err(file.failure(REPLACED))
        };
        let outcomes = match committed {
            Ok(outcomes) => {
                file.heal();
                outcomes
            }
            Err(error) => batch.iter().map(|_| Err(error.clone())).collect(),
        };
        for (job, outcome) in batch.into_iter().zip(outcomes) {
            if job.answer.send(outcome).is_err() {
                abandoned.done(&job.owner);
            }
        }
    }
    // It has been told, and nobody is there to be answered.
    let _ = file.close();
}

/// Makes all changes that can be made, on disk when it returns, and tells what became
/// of each. An error is one of the store; nothing is then changed.
fn commit(
    file: &StoreFile,
    database: &Database,
    batch: &[Job],
) -> Result<Vec<Result<(), StorageError>>, redb::Error> {
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
                    Err(file.failure(error))
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
    Ok(outcomes)
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

/// Why a file cannot be used as a store.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StorageOpenError {
    /// Somebody else has it open.
    #[error(
        "{} is already open, in another process or in this one: \
         end that, or use another file",
        path.escaped()
    )]
    Locked {
        /// As it was given.
        path: PathBuf,
    },
    /// It holds something else. It was not touched.
    #[error(
        "{} is not a store of components but {found}: \
         use another file, or move this one away",
        path.escaped()
    )]
    NotAStore {
        /// As it was given.
        path: PathBuf,
        /// What it is.
        found: String,
    },
    /// It is a store, but parts of it are missing or changed.
    #[error(
        "{} is damaged ({found}): {BACKUP}",
        path.escaped()
    )]
    Damaged {
        /// As it was given.
        path: PathBuf,
        /// In the words of redb.
        found: String,
    },
    /// It is a store of a kind that this version does not know.
    #[error(
        "{} was made by another version ({found}): \
         use that version, or another file",
        path.escaped()
    )]
    OtherVersion {
        /// As it was given.
        path: PathBuf,
        /// Which, and which is known.
        found: String,
    },
    /// This process may not read and write it, or not create it.
    #[error(
        "{} may not be read and written ({source}): \
         grant both to the user that this process runs as, on its folder too",
        path.escaped()
    )]
    Denied {
        /// As it was given.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is not there, and cannot be created where there is no folder.
    #[error("{} cannot be created: there is no folder {}; create that first",
        path.escaped(), folder.escaped())]
    NoFolder {
        /// As it was given.
        path: PathBuf,
        /// What is missing.
        folder: PathBuf,
    },
    /// The system, or the disk, fails.
    #[error("{} cannot be opened: {source}", path.escaped())]
    Unusable {
        /// As it was given.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// redb asserts what a damaged file may break.
fn guarded<T>(
    path: &Path,
    work: impl FnOnce() -> Result<T, redb::Error>,
) -> Result<T, StorageOpenError> {
    let owned = || path.to_owned();
    let outcome = caught(work).map_err(|text| StorageOpenError::Damaged {
        path: owned(),
        found: format!("its pages do not fit together: {text}"),
    })?;
    outcome.map_err(|error| match error {
        redb::Error::DatabaseAlreadyOpen => StorageOpenError::Locked { path: owned() },
        redb::Error::UpgradeRequired(format) => StorageOpenError::OtherVersion {
            path: owned(),
            found: format!("redb's file format {format}"),
        },
        redb::Error::Corrupted(found) => StorageOpenError::Damaged {
            path: owned(),
            found,
        },
        redb::Error::Io(error) => unusable(path, error),
        error => unusable(path, io::Error::other(error)),
    })
}

fn unusable(path: &Path, source: io::Error) -> StorageOpenError {
    let path = path.to_owned();
    match source.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            StorageOpenError::Denied { path, source }
        }
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof => StorageOpenError::Damaged {
            path,
            found: source.to_string(),
        },
        _ => StorageOpenError::Unusable { path, source },
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn open_or_create(path: &Path) -> Result<Database, StorageOpenError> {
    if !look_at(path)? {
        create(path)?;
    }
    let database = guarded(path, || Ok(builder().create(path)?))?;
    match check_layout(path, &database) {
        Ok(()) => Ok(database),
        Err(error) => {
            // The error says more.
            let _ = close(database);
            Err(error)
        }
    }
}

/// Lays out what is empty.
fn check_layout(path: &Path, database: &Database) -> Result<(), StorageOpenError> {
    match guarded(path, || layout(database))? {
        Layout::Known => Ok(()),
        Layout::Empty => guarded(path, || lay_out(database)),
        Layout::Unknown(found) => Err(StorageOpenError::OtherVersion {
            path: path.to_owned(),
            found: format!("layout {found}; this one knows layout {LAYOUT}"),
        }),
        Layout::Foreign => Err(StorageOpenError::NotAStore {
            path: path.to_owned(),
            found: "a redb database of something else".to_owned(),
        }),
    }
}

/// Whether the file is there. What cannot be a store is told before anything opens it
/// for writing.
fn look_at(path: &Path) -> Result<bool, StorageOpenError> {
    let not_a_store = |found: &str| StorageOpenError::NotAStore {
        path: path.to_owned(),
        found: found.to_owned(),
    };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(unusable(path, error)),
    };
    if metadata.is_dir() {
        return Err(not_a_store("a folder"));
    }
    if !metadata.is_file() {
        return Err(not_a_store("no regular file"));
    }
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut start))
        .map_err(|error| unusable(path, error))?;
    // An empty file is as good as none.
    if start.is_empty() || start == MAGIC {
        Ok(true)
    } else {
        Err(not_a_store("a file of another kind"))
    }
}

/// Makes an empty store under another name and links it to its own. redb's own way of
/// creating leaves behind, when it is killed in the middle, a file that it then takes
/// for something else.
fn create(path: &Path) -> Result<(), StorageOpenError> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return Err(StorageOpenError::NoFolder {
            path: path.to_owned(),
            folder: folder.to_owned(),
        });
    }
    let number = getrandom::u64().map_err(|error| unusable(path, io::Error::other(error)))?;
    let name = path.file_name().unwrap_or_default();
    let draft = folder.join(format!(".{}.{number:016x}.new", name.display()));
    let drafted = draft_at(&draft, path);
    // A link, which never replaces: of two that create at the same time both then open
    // what the first has made, and one is told that it is open. Where links are unknown
    // the file is still missing, and redb creates it.
    if drafted.is_ok() {
        let _ = fs::hard_link(&draft, path);
    }
    let _ = fs::remove_file(&draft);
    drafted?;
    // Without it a power cut may lose the name of a file whose content is safe.
    #[cfg(unix)]
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| unusable(path, error))?;
    Ok(())
}

fn draft_at(draft: &Path, path: &Path) -> Result<(), StorageOpenError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(draft)
        .map_err(|error| unusable(path, error))?;
    guarded(path, || {
        let database = builder().create_file(file)?;
        lay_out(&database)
    })
}

enum Layout {
    Known,
    /// No tables at all.
    Empty,
    Unknown(u64),
    Foreign,
}

fn layout(database: &Database) -> Result<Layout, redb::Error> {
    let transaction = database.begin_read()?;
    match transaction.open_table(ABOUT) {
        Ok(about) => {
            let found = about.get(LAYOUT_KEY)?.map_or(0, |layout| layout.value());
            Ok(if found == LAYOUT {
                Layout::Known
            } else {
                Layout::Unknown(found)
            })
        }
        Err(TableError::TableDoesNotExist(_)) => {
            let mut tables = transaction
                .list_tables()?
                .map(|table| table.name().to_owned());
            let multimaps = transaction.list_multimap_tables()?;
            Ok(if tables.next().is_none() && multimaps.count() == 0 {
                Layout::Empty
            } else {
                Layout::Foreign
            })
        }
        Err(TableError::Storage(error)) => Err(error.into()),
        // It has our name and another shape.
        Err(_) => Ok(Layout::Unknown(0)),
    }
}

/// All tables, so that reads find them.
fn lay_out(database: &Database) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    transaction.open_table(ABOUT)?.insert(LAYOUT_KEY, LAYOUT)?;
    transaction.open_table(ENTRIES)?;
    transaction.open_table(USAGES)?;
    Ok(transaction.commit()?)
}

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

    use super::*;

    #[test]
    fn so_much_waits_for_a_store_and_so_much_is_told_of_it() {
        let folder = tempdir().unwrap();
        let storage = RedbStorage::open(folder.path().join("store.redb")).unwrap();
        assert_eq!(storage.queue.max_capacity(), 256);
        assert_eq!(storage.reads.max_capacity(), 256);
        for cause in 0..100 {
            storage.file.tell(Work::Writing, cause);
        }
        let told = lock(&storage.file.told);
        assert_eq!((told.causes.len(), told.left_out), (16, true));
    }
}
