//! A store that is read as it lies there.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::ops::Bound;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use redb::{Database, ReadableDatabase};

use wasm_core::text::PathText as _;

use super::contents::{StoreContents, contents};
use super::open::{
    ENTRIES, StorageConfig, StorageOpenError, check_layout, close, guarded, look_at, unusable,
};
use super::unchanged::Unchanged;

/// So many bytes of keys and values are read at a time, or one entry.
const PART_BYTES: usize = 256 << 10;

/// A store that is known to be whole: every page that is in use has the checksum with which it
/// was written.
///
/// The file is not changed: what a crash has left to be repaired is repaired in memory. It may
/// be one that this process may not write. As long as it is open here nobody can open it as a
/// [`RedbStorage`](crate::RedbStorage).
///
/// Checksums show what has changed by accident. They do not show what somebody has changed who
/// wrote the checksums anew, that the file is an older copy of itself, nor what has changed in
/// pages that are not in use.
#[derive(Debug)]
pub struct StoreReader {
    path: PathBuf,
    /// `None` once it is closed.
    database: Option<Database>,
    is_repaired: bool,
}

/// Why there is no file to read, which may be at the other end of a link.
fn missing(path: &Path) -> io::Error {
    let why = match fs::read_link(path) {
        Ok(to) => format!("it is a link to {}, which is not there", to.escaped()),
        Err(_) => "there is no such file".to_owned(),
    };
    io::Error::new(ErrorKind::NotFound, why)
}

/// Whose it is, its key and its value.
pub type StoredEntry = (String, String, Bytes);

impl StoreReader {
    /// Opens the store in this file and reads all of it, a second or more per GiB. This and what
    /// follows blocks.
    ///
    /// # Errors
    /// [`StorageOpenError`] names the file, what was found and what to do;
    /// [`StorageOpenError::Damaged`] when what is in it is not what was written.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StorageOpenError> {
        let path = path.as_ref();
        if !look_at(path)? {
            return Err(unusable(path, missing(path)));
        }
        let file = File::open(path).map_err(|error| unusable(path, error))?;
        if file.metadata().is_ok_and(|metadata| metadata.len() == 0) {
            return Err(StorageOpenError::NotAStore {
                path: path.to_owned(),
                found: "an empty file".to_owned(),
            });
        }
        let builder = StorageConfig::default().builder();
        let database = guarded(path, || {
            Ok(builder.create_with_backend(Unchanged::new(file)?)?)
        })?;
        // From here on it is closed when anything fails.
        let mut reader = Self {
            path: path.to_owned(),
            database: Some(database),
            is_repaired: false,
        };
        reader.verify()?;
        if let Some(database) = &reader.database {
            check_layout(path, database)?;
        }
        Ok(reader)
    }

    fn verify(&mut self) -> Result<(), StorageOpenError> {
        let Some(database) = &mut self.database else {
            return Ok(());
        };
        let whole = guarded(&self.path, || Ok(database.check_integrity()?));
        self.is_repaired = !whole.map_err(|error| match error {
            // redb tells of how it commits.
            StorageOpenError::Damaged { path, .. } => StorageOpenError::Damaged {
                path,
                found: "what is in its pages is not what was written".to_owned(),
            },
            error => error,
        })?;
        Ok(())
    }

    /// Everything that the store has, counted, and whether it is in order.
    ///
    /// # Errors
    /// A part of it cannot be read.
    pub fn contents(&self) -> Result<StoreContents, StorageOpenError> {
        let mut found = self.read(contents)?;
        if self.is_repaired {
            let told = "it is wrong about which of its pages are in use, so that a write may \
                        destroy data: export it, and import that into another file";
            found.problems.insert(0, told.to_owned());
        }
        Ok(found)
    }

    /// Entries that come after this one, of this owner and this key, in order: those that are read
    /// at a time, none once there are no more.
    ///
    /// # Errors
    /// A part of it cannot be read.
    pub fn entries(
        &self,
        after: Option<(&str, &str)>,
    ) -> Result<Vec<StoredEntry>, StorageOpenError> {
        self.read(|database| {
            let table = database.begin_read()?.open_table(ENTRIES)?;
            let start = after.map_or(Bound::Unbounded, Bound::Excluded);
            let mut found = Vec::new();
            let mut bytes = 0;
            for entry in table.range::<(&str, &str)>((start, Bound::Unbounded))? {
                let (key, value) = entry?;
                let (owner, key) = key.value();
                let value = Bytes::copy_from_slice(value.value());
                bytes += owner.len() + key.len() + value.len();
                found.push((owner.to_owned(), key.to_owned(), value));
                if bytes >= PART_BYTES {
                    break;
                }
            }
            Ok(found)
        })
    }

    fn read<T: Default>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StorageOpenError> {
        let Some(database) = &self.database else {
            return Ok(T::default());
        };
        guarded(&self.path, || work(database))
    }
}

impl Drop for StoreReader {
    fn drop(&mut self) {
        let _ = close(self.database.take());
    }
}
