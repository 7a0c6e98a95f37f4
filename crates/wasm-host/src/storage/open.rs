//! From a path to a database that is known to be a store.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use redb::{Builder, Database, ReadableDatabase, TableDefinition, TableError, TableHandle};
use thiserror::Error;

use wasm_core::text::{Escaped, PathText as _};

use crate::caught::caught;

/// By owner and key: two texts, not one joined text, so that no key of one owner reads
/// like the id of another.
pub(super) const ENTRIES: TableDefinition<'_, (&str, &str), &[u8]> =
    TableDefinition::new("entries");

/// By owner: bytes of all keys and values, number of keys; what a key is charged besides
/// is not in it. It saves a quota check the sum over all entries. Who keeps nothing is
/// not in it.
pub(super) const USAGES: TableDefinition<'_, &str, (u64, u64)> = TableDefinition::new("usages");

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

/// How a store works.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StorageConfig {
    /// The memory for pages of the file that were read, and for those that are about to be
    /// written, in bytes, by default 16 MiB: more than that saves asking the system for pages
    /// that it most likely has, 0 keeps none.
    pub cache_bytes: usize,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            cache_bytes: CACHE_BYTES,
        }
    }
}

impl StorageConfig {
    /// Replaces [`cache_bytes`](Self::cache_bytes).
    #[must_use]
    pub fn with_cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    pub(super) fn builder(&self) -> Builder {
        let mut builder = Builder::new();
        builder.set_cache_size(self.cache_bytes);
        builder
    }
}

/// What an operator can do about damage.
pub(super) const BACKUP: &str = "replace it by a backup, or move it away to start empty";

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
        /// How that shows.
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
    /// Nothing is there after all, or what was there before: the disk fails, or is full.
    #[error("{} cannot be written: {source}", path.escaped())]
    Unwritten {
        /// As it was given.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
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

/// What is told of damage wherever redb finds it.
pub(super) const MISFIT: &str = "its pages do not fit together";

/// For who looks for the place in redb, and nobody else.
pub(super) fn tell_finding(text: &str) {
    tracing::debug!("component storage: redb finds: {}", Escaped::new(text));
}

/// redb asserts what a damaged file may break.
pub(super) fn guarded<T>(
    path: &Path,
    work: impl FnOnce() -> Result<T, redb::Error>,
) -> Result<T, StorageOpenError> {
    let owned = || path.to_owned();
    let damaged = |found: &str| {
        tell_finding(found);
        StorageOpenError::Damaged {
            path: owned(),
            found: MISFIT.to_owned(),
        }
    };
    let outcome = caught(work).map_err(|text| damaged(&text))?;
    outcome.map_err(|error| match error {
        redb::Error::DatabaseAlreadyOpen => StorageOpenError::Locked { path: owned() },
        redb::Error::UpgradeRequired(format) => StorageOpenError::OtherVersion {
            path: owned(),
            found: format!("redb's file format {format}"),
        },
        redb::Error::Corrupted(found) => damaged(&found),
        redb::Error::Io(error) => unusable(path, error),
        error => unusable(path, io::Error::other(error)),
    })
}

pub(super) fn unusable(path: &Path, source: io::Error) -> StorageOpenError {
    let path = path.to_owned();
    match source.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            StorageOpenError::Denied { path, source }
        }
        ErrorKind::InvalidData => StorageOpenError::Damaged {
            path,
            found: MISFIT.to_owned(),
        },
        ErrorKind::UnexpectedEof => StorageOpenError::Damaged {
            path,
            found: "it is cut short".to_owned(),
        },
        _ => StorageOpenError::Unusable { path, source },
    }
}

/// What is empty becomes a store.
pub(super) fn open(path: &Path, config: &StorageConfig) -> Result<Database, StorageOpenError> {
    let database = guarded(path, || Ok(config.builder().create(path)?))?;
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
pub(super) fn check_layout(path: &Path, database: &Database) -> Result<(), StorageOpenError> {
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
pub(super) fn look_at(path: &Path) -> Result<bool, StorageOpenError> {
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
pub(super) fn lay_out(database: &Database) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    transaction.open_table(ABOUT)?.insert(LAYOUT_KEY, LAYOUT)?;
    transaction.open_table(ENTRIES)?;
    transaction.open_table(USAGES)?;
    Ok(transaction.commit()?)
}

/// A database that panicked may do so again while it is dropped.
pub(super) fn close<T>(database: T) -> Result<(), String> {
    caught(|| drop(database))
}
