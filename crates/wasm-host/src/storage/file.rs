//! The file of a store: opened again after a failure, and what failed it told.

use std::collections::HashMap;
use std::fmt::Display;
#[cfg(unix)]
use std::fs;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use redb::Database;

use wasm_core::StorageError;
use wasm_core::text::PathText as _;

use super::draft::create;
use super::open::{
    BACKUP, MISFIT, StorageConfig, StorageOpenError, close, guarded, look_at, open, tell_finding,
};
use super::retry::Retry;
pub(super) use super::retry::Work;
use crate::caught::caught;
use crate::lock::lock;

/// Different causes that the operator is told of before further ones are left out: what
/// is damaged may fail in a way of its own at each page.
const TOLD_CAUSES: usize = 16;

/// The database, and what became of it.
#[derive(Debug)]
pub(super) struct StoreFile {
    pub(super) path: PathBuf,
    config: StorageConfig,
    /// Of the file when it was opened first.
    identity: Option<Identity>,
    /// Its bytes when something was written last: redb goes on in a file that somebody has cut
    /// short, as if what it wrote were there.
    length: AtomicU64,
    state: RwLock<State>,
    /// redb refuses everything once the disk has failed it, and is to be opened again.
    /// Set only with `state` locked.
    failed: AtomicBool,
    retry: Mutex<Retry>,
    told: Mutex<Told>,
}

/// Causes of failures that the operator knows of.
#[derive(Debug, Default)]
struct Told {
    /// With what they failed first, reads above all.
    causes: HashMap<String, Work>,
    left_out: bool,
}

/// What tells a file from another that has its name.
type Identity = (u64, u64);

/// With how long it is; `None` where that is not known.
fn identity(path: &Path) -> Option<(Identity, u64)> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;

        let metadata = fs::metadata(path).ok()?;
        Some(((metadata.dev(), metadata.ino()), metadata.len()))
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
    /// It could not be opened again; the next call after a pause tries.
    Failed,
    Closed,
}

impl StoreFile {
    pub(super) fn open(path: &Path, config: StorageConfig) -> Result<Self, StorageOpenError> {
        if !look_at(path)? {
            create(path, &config)?;
        }
        let database = open(path, &config)?;
        let found = identity(path);
        Ok(Self {
            path: path.to_owned(),
            config,
            identity: found.map(|(identity, _)| identity),
            length: AtomicU64::new(found.map_or(0, |(_, length)| length)),
            state: RwLock::new(State::Open(database)),
            failed: AtomicBool::new(false),
            retry: Mutex::default(),
            told: Mutex::default(),
        })
    }

    pub(super) fn with<T>(
        &self,
        what: Work,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StorageError> {
        if self.failed.load(Ordering::Acquire) {
            self.open_again(what)?;
        }
        let state = self.read_state();
        let State::Open(database) = &*state else {
            return Err(failure("the store is closed"));
        };
        if what == Work::Writing
            && let Some(error) = lock(&self.retry).refuses_to_write(Instant::now())
        {
            return Err(error);
        }
        // redb asserts what a damaged file may break; that is no reason to lose the
        // thread that all writes of all components go through.
        let outcome = match caught(|| work(database)) {
            Ok(outcome) => outcome,
            Err(text) => return Err(self.fail(what, self.damage(what, &text))),
        };
        outcome.map_err(|error| {
            let failure = match &error {
                // What came before was told, and says more.
                redb::Error::PreviousIo => {
                    self.failed.store(true, Ordering::Release);
                    let before = lock(&self.retry).failure();
                    return before.unwrap_or_else(|| failure(error));
                }
                redb::Error::Corrupted(found) => self.damage(what, found),
                redb::Error::Io(error) => self.told(what, error),
                error => self.told(what, error),
            };
            match wants_reopening(&error) {
                true => self.fail(what, failure),
                false => failure,
            }
        })
    }

    /// The same of what writes, whatever comes of it: the file is as long as that leaves it.
    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StorageError> {
        let outcome = self.with(Work::Writing, work);
        if !matches!(*self.read_state(), State::Closed) {
            self.take_length();
        }
        outcome
    }

    /// From now on the file is to be opened again before anything else is done with it.
    fn fail(&self, what: Work, error: StorageError) -> StorageError {
        lock(&self.retry).failed(what, error.clone());
        self.failed.store(true, Ordering::Release);
        error
    }

    /// Tells the operator what failed the store, once per cause: whoever asked may keep
    /// it to itself.
    pub(super) fn tell(&self, what: Work, cause: impl Display) {
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
    pub(super) fn heal(&self) {
        lock(&self.retry).succeeded();
        let mut told = lock(&self.told);
        let before = told.causes.len();
        told.causes.retain(|_, what| *what == Work::Reading);
        if told.causes.len() < before {
            told.left_out = false;
            // Whoever was warned wants to know.
            tracing::warn!("component storage works again: {}", self.path.escaped());
        }
    }

    /// Whether what was written is found under the path of the file.
    pub(super) fn is_in_place(&self) -> bool {
        let Some(ours) = self.identity else {
            return true;
        };
        identity(&self.path).is_some_and(|(identity, length)| {
            identity == ours && length >= self.length.load(Ordering::Acquire)
        })
    }

    /// The file is as long as it is because of what was done here.
    fn take_length(&self) {
        if let Some((_, length)) = identity(&self.path) {
            self.length.store(length, Ordering::Release);
        }
    }

    fn open_again(&self, what: Work) -> Result<(), StorageError> {
        let mut state = self.write_state();
        // Somebody else may have done it meanwhile.
        if !self.failed.load(Ordering::Acquire) || matches!(*state, State::Closed) {
            return Ok(());
        }
        if let Some(error) = lock(&self.retry).refuses_to_open(Instant::now()) {
            return Err(error);
        }
        let opened = self.open_instead(&mut state, what);
        let mut retry = lock(&self.retry);
        if let Err(error) = &opened {
            retry.failed(what, error.clone());
        }
        retry.opened(Instant::now());
        opened
    }

    fn open_instead(&self, state: &mut State, what: Work) -> Result<(), StorageError> {
        // What closes it may make it shorter.
        let is_in_place = self.is_in_place();
        // First of all the lock of the file is to be released.
        if let Err(text) = close(mem::replace(state, State::Failed)) {
            self.damage(what, &text);
        }
        // A file without what was written to the one before is no store to go on with.
        if !is_in_place {
            self.tell(what, REPLACED);
            return Err(failure(REPLACED));
        }
        let open = || guarded(&self.path, || Ok(self.config.builder().open(&self.path)?));
        let opened = open().and_then(|database| {
            // What the failed write took of the disk is given back when the file is closed:
            // on one that is full, that is room for what frees more.
            let _ = close(database);
            open()
        });
        let database = opened.map_err(|error| {
            self.tell(what, format_args!("it cannot be opened again: {error}"));
            // The whole error names the file.
            failure("the store cannot be opened again")
        })?;
        *state = State::Open(database);
        self.take_length();
        self.failed.store(false, Ordering::Release);
        Ok(())
    }

    pub(super) fn close(&self) -> Result<(), StorageError> {
        let closed = close(mem::replace(&mut *self.write_state(), State::Closed));
        // What closes it makes it shorter, and so may whoever opens it next.
        self.length.store(0, Ordering::Release);
        closed.map_err(|text| self.damage(Work::Writing, &text))
    }

    fn told(&self, what: Work, cause: impl Display) -> StorageError {
        self.tell(what, &cause);
        failure(cause)
    }

    /// Told in other words than those of redb, which are about its pages and its types.
    fn damage(&self, what: Work, found: &str) -> StorageError {
        tell_finding(found);
        self.tell(what, format_args!("it is damaged ({MISFIT}): {BACKUP}"));
        failure("the store is damaged")
    }

    /// As those are told who gave the path.
    pub(super) fn in_full(&self, error: StorageError) -> StorageError {
        match error {
            StorageError::Io(cause) => {
                StorageError::Io(format!("{}: {cause}", self.path.escaped()))
            }
            error => error,
        }
    }

    fn read_state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without the name of the file: components come to see it.
pub(super) fn failure(cause: impl Display) -> StorageError {
    StorageError::Io(cause.to_string())
}

/// What a write is answered with that would be lost with the process.
pub(super) const REPLACED: &str =
    "the file was removed, replaced or cut short while it is open: put it back, or restart";

fn wants_reopening(error: &redb::Error) -> bool {
    matches!(
        error,
        redb::Error::Io(_) | redb::Error::DatabaseClosed | redb::Error::LockPoisoned(_)
    )
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::time::Duration;

    use tempfile::tempdir;

    use super::*;

    fn open(path: &Path) -> StoreFile {
        StoreFile::open(path, StorageConfig::default()).unwrap()
    }

    fn full(_: &Database) -> Result<(), redb::Error> {
        Err(redb::Error::Io(ErrorKind::StorageFull.into()))
    }

    fn works(_: &Database) -> Result<(), redb::Error> {
        Ok(())
    }

    fn is_not_called(_: &Database) -> Result<(), redb::Error> {
        panic!("it is called")
    }

    #[test]
    fn a_store_that_fails_is_left_alone_for_a_while() {
        let folder = tempdir().unwrap();
        let file = open(&folder.path().join("store.redb"));
        let failure = file.with(Work::Writing, full);
        let Err(StorageError::Io(text)) = &failure else {
            panic!("{failure:?}");
        };
        assert!(!text.contains("store.redb"), "{text}");
        // It is opened again at once for who reads.
        assert_eq!(file.with(Work::Reading, works), Ok(()));
        // A pause that lasts as long as this test.
        let later = Instant::now() + Duration::from_secs(3_600);
        lock(&file.retry).opened(later);
        assert_eq!(file.with(Work::Writing, is_not_called), failure);
        assert_eq!(file.with(Work::Reading, works), Ok(()));
        // What fails now fails all.
        let error = file.with(Work::Reading, full);
        assert_eq!(error, failure);
        assert_eq!(file.with(Work::Reading, is_not_called), failure);
        assert_eq!(file.with(Work::Writing, is_not_called), failure);
        assert!(file.failed.load(Ordering::Acquire), "it was opened again");
        // Once it is over, and a write has succeeded, nothing is left of it.
        *lock(&file.retry) = Retry::default();
        assert_eq!(file.with(Work::Writing, works), Ok(()));
        file.heal();
        assert_eq!(file.with(Work::Writing, works), Ok(()));
    }

    #[test]
    fn so_many_causes_are_told() {
        let folder = tempdir().unwrap();
        let file = open(&folder.path().join("store.redb"));
        for cause in 0..100 {
            file.tell(Work::Writing, cause);
        }
        let told = lock(&file.told);
        assert_eq!((told.causes.len(), told.left_out), (16, true));
    }
}
