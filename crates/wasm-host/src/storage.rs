use std::collections::HashMap;
use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::mem;
use std::ops::Bound;
use std::panic::{self, AssertUnwindSafe};
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
use tokio::task;

use wasm_core::{ComponentId, ComponentStorage, StorageError, StorageUsage};

/// By owner and key: two texts, not one joined text, so that no key of one owner reads
/// like the id of another.
const ENTRIES: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("entries");

/// By owner: bytes of all keys and values, number of keys. It saves a quota check the
/// sum over all entries. Who keeps nothing is not in it.
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

/// Keeps the data of components in one file, for longer than the process lasts.
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
#[derive(Debug)]
pub struct RedbStorage {
    file: Arc<StoreFile>,
    abandoned: Arc<Abandoned>,
    // Dropped before the writer, which ends when nobody can send any more.
    queue: mpsc::Sender<Job>,
    _writer: Writer,
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
            state: RwLock::new(State::Open(database)),
            failed: AtomicBool::new(false),
        });
        let abandoned = Arc::new(Abandoned::default());
        let (queue, jobs) = mpsc::channel(QUEUE_WRITES);
        let writer = {
            let (file, abandoned) = (Arc::clone(&file), Arc::clone(&abandoned));
            thread::Builder::new()
                .name("component-storage".to_owned())
                .spawn(move || write_all(&file, &abandoned, jobs))
                .map_err(|source| StorageOpenError::Unusable {
                    path: path.to_owned(),
                    source,
                })?
        };
        Ok(Self {
            file,
            abandoned,
            queue,
            _writer: Writer(Some(writer)),
        })
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

    /// On a thread for blocking work. Most reads find their pages in memory and take less
    /// time than the 10 µs and more that it takes to hand them over. But one that does
    /// not waits for a disk, and one after a failure opens the whole file again; other
    /// tasks must not wait with it.
    async fn read<T: Send + 'static>(
        &self,
        owner: &ComponentId,
        work: impl FnOnce(&Database, &str) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StorageError> {
        if self.abandoned.includes(owner) {
            // That they failed is nothing to who reads.
            let _ = self.write(owner, Change::Nothing).await;
        }
        let (file, owner) = (Arc::clone(&self.file), owner.clone());
        task::spawn_blocking(move || file.with(|database| work(database, owner.as_str())))
            .await
            .unwrap_or_else(|error| Err(self.file.failure(error)))
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
            let (used_bytes, key_count) = usages.get(owner)?.map_or((0, 0), |row| row.value());
            Ok(StorageUsage {
                used_bytes,
                key_count,
            })
        })
        .await
    }
}

/// The database, and what became of it.
#[derive(Debug)]
struct StoreFile {
    path: PathBuf,
    state: RwLock<State>,
    /// redb refuses everything once the disk has failed it, and is to be opened again.
    /// Set only with `state` locked.
    failed: AtomicBool,
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
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StorageError> {
        if self.failed.load(Ordering::Acquire) {
            self.open_again()?;
        }
        let state = self.read_state();
        let State::Open(database) = &*state else {
            return Err(self.failure("it is closed"));
        };
        // redb asserts what a damaged file may break; that is no reason to lose the
        // thread that all writes of all components go through.
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| work(database)));
        let Ok(outcome) = outcome else {
            self.failed.store(true, Ordering::Release);
            return Err(self.failure("redb panicked"));
        };
        outcome.map_err(|error| {
            if wants_reopening(&error) {
                tracing::warn!(path = %self.path.display(), %error, "component storage failed");
                self.failed.store(true, Ordering::Release);
            }
            self.failure(error)
        })
    }

    fn open_again(&self) -> Result<(), StorageError> {
        let mut state = self.write_state();
        // Somebody else may have done it meanwhile.
        if !self.failed.load(Ordering::Acquire) || matches!(*state, State::Closed) {
            return Ok(());
        }
        // First of all the lock of the file is to be released.
        close(mem::replace(&mut *state, State::Failed));
        let database = guarded(&self.path, || Ok(builder().open(&self.path)?))
            .map_err(|error| self.failure(error))?;
        tracing::info!(path = %self.path.display(), "component storage opened again");
        *state = State::Open(database);
        self.failed.store(false, Ordering::Release);
        Ok(())
    }

    fn close(&self) {
        close(mem::replace(&mut *self.write_state(), State::Closed));
    }

    /// Names the file but not its folders: components come to see it.
    fn failure(&self, cause: impl Display) -> StorageError {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        StorageError::Io(format!("{}: {cause}", name.display()))
    }

    fn read_state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A database that panicked may do so again while it is dropped.
fn close(state: State) {
    let _ = panic::catch_unwind(AssertUnwindSafe(|| drop(state)));
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

/// Joins the thread that makes all changes.
#[derive(Debug)]
struct Writer(Option<JoinHandle<()>>);

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(writer) = self.0.take()
            && writer.join().is_err()
        {
            tracing::error!("the thread that writes component storage panicked");
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
        let outcomes = match file.with(|database| commit(file, database, &batch)) {
            Ok(outcomes) => outcomes,
            Err(error) => batch.iter().map(|_| Err(error.clone())).collect(),
        };
        for (job, outcome) in batch.into_iter().zip(outcomes) {
            if job.answer.send(outcome).is_err() {
                abandoned.done(&job.owner);
            }
        }
    }
    file.close();
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
            let wanted = others.saturating_add(entry_bytes(key, value));
            if wanted > *quota_bytes {
                return Err(Refusal::Quota);
            }
            entries.insert(entry, &**value)?;
            *used_bytes = wanted;
            *key_count += u64::from(replaced.is_none());
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
        path.display()
    )]
    Locked {
        /// As it was given.
        path: PathBuf,
    },
    /// It holds something else. It was not touched.
    #[error(
        "{} is not a store of components but {found}: \
         use another file, or move this one away",
        path.display()
    )]
    NotAStore {
        /// As it was given.
        path: PathBuf,
        /// What it is.
        found: String,
    },
    /// It is a store, but parts of it are missing or changed.
    #[error(
        "{} is damaged ({found}): replace it by a backup, or move it away to start empty",
        path.display()
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
        path.display()
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
        path.display()
    )]
    Denied {
        /// As it was given.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is not there, and cannot be created where there is no folder.
    #[error("{} cannot be created: there is no folder {}; create that first",
        path.display(), folder.display())]
    NoFolder {
        /// As it was given.
        path: PathBuf,
        /// What is missing.
        folder: PathBuf,
    },
    /// The system, or the disk, fails.
    #[error("{} cannot be opened: {source}", path.display())]
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
    let Ok(outcome) = panic::catch_unwind(AssertUnwindSafe(work)) else {
        return Err(StorageOpenError::Damaged {
            path: owned(),
            found: "redb panicked over it".to_owned(),
        });
    };
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
    let layout = guarded(path, || layout(&database))?;
    match layout {
        Layout::Known => Ok(database),
        Layout::Empty => {
            guarded(path, || lay_out(&database))?;
            Ok(database)
        }
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
