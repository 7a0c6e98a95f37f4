//! A store that is made whole before it has its name.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::mem;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redb::{Database, WriteTransaction};

use wasm_core::ComponentId;

use super::open::{
    ENTRIES, StorageConfig, StorageOpenError, USAGES, close, guarded, lay_out, unusable,
};

/// A new store beside the place where it is to be: it is there whole, or not at all. One that is
/// dropped leaves nothing.
pub struct StoreDraft {
    path: PathBuf,
    /// Where it lies until then.
    draft: PathBuf,
    database: Option<Database>,
    /// Of everything that is added.
    transaction: Option<WriteTransaction>,
    /// As those of a store.
    usages: BTreeMap<ComponentId, (u64, u64)>,
}

impl Debug for StoreDraft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreDraft")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl StoreDraft {
    /// An empty one of the store that is to be at `path`. This and what follows blocks.
    ///
    /// # Errors
    /// [`StorageOpenError`] names `path`, and what keeps files from being made there.
    pub fn new(path: impl AsRef<Path>) -> Result<Self, StorageOpenError> {
        Self::with(path.as_ref(), &StorageConfig::default())
    }

    fn with(path: &Path, config: &StorageConfig) -> Result<Self, StorageOpenError> {
        let folder = folder(path);
        if !folder.is_dir() {
            return Err(StorageOpenError::NoFolder {
                path: path.to_owned(),
                folder: folder.to_owned(),
            });
        }
        let number = getrandom::u64().map_err(|error| unusable(path, io::Error::other(error)))?;
        let begin = format!(".{}.", path.file_name().unwrap_or_default().display());
        remove_abandoned(folder, &begin);
        let draft = folder.join(format!("{begin}{number:016x}{END}"));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&draft)
            .map_err(|error| unusable(path, error))?;
        // From here on it is removed when anything fails.
        let mut made = Self {
            path: path.to_owned(),
            draft,
            database: None,
            transaction: None,
            usages: BTreeMap::new(),
        };
        made.database = Some(made.write(|| Ok(config.builder().create_file(file)?))?);
        made.write(|| made.database.as_ref().map_or(Ok(()), lay_out))?;
        Ok(made)
    }

    /// Takes in these, whatever quotas are. A key that the same component has already is replaced;
    /// what is returned is the place among these of the first such key.
    ///
    /// # Errors
    /// The disk fails, or is full.
    pub fn add<'a>(
        &mut self,
        entries: impl IntoIterator<Item = (&'a ComponentId, &'a str, &'a [u8])>,
    ) -> Result<Option<usize>, StorageOpenError> {
        let mut usages = mem::take(&mut self.usages);
        let mut first_replaced = None;
        if self.transaction.is_none()
            && let Some(database) = &self.database
        {
            self.transaction = Some(self.write(|| {
                let mut transaction = database.begin_write()?;
                transaction.set_two_phase_commit(true);
                Ok(transaction)
            })?);
        }
        if let Some(transaction) = &self.transaction {
            self.write(|| {
                let mut table = transaction.open_table(ENTRIES)?;
                for (place, (owner, key, value)) in entries.into_iter().enumerate() {
                    let replaced = table.insert((owner.as_str(), key), value)?;
                    let (bytes, keys) = usages.entry(owner.clone()).or_default();
                    match replaced {
                        Some(old) => {
                            *bytes -= old.value().len() as u64;
                            first_replaced.get_or_insert(place);
                        }
                        None => (*bytes, *keys) = (*bytes + key.len() as u64, *keys + 1),
                    }
                    *bytes += value.len() as u64;
                }
                Ok(())
            })?;
        }
        self.usages = usages;
        Ok(first_replaced)
    }

    /// Has it take its place, where nothing is.
    ///
    /// # Errors
    /// The disk fails, or is full; [`StorageOpenError::Unwritten`] when something is there.
    pub fn put(mut self) -> Result<(), StorageOpenError> {
        self.finish()?;
        // A link never replaces. Where links are unknown a name that is taken is seen before.
        let linked = fs::hard_link(&self.draft, &self.path);
        let put = match linked {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(error),
            Err(_) if self.path.symlink_metadata().is_ok() => Err(ErrorKind::AlreadyExists.into()),
            Err(_) => fs::rename(&self.draft, &self.path),
            Ok(()) => Ok(()),
        };
        put.map_err(|error| unwritten(&self.path, error))?;
        self.keep_name()
    }

    /// Has it take the place of the file that is there, for those who may use that.
    ///
    /// # Errors
    /// The disk fails, or is full.
    pub fn replace(mut self) -> Result<(), StorageOpenError> {
        self.finish()?;
        fs::metadata(&self.path)
            .and_then(|there| fs::set_permissions(&self.draft, there.permissions()))
            .and_then(|()| fs::rename(&self.draft, &self.path))
            .map_err(|error| unwritten(&self.path, error))?;
        self.keep_name()
    }

    fn finish(&mut self) -> Result<(), StorageOpenError> {
        if let Some(transaction) = self.transaction.take() {
            let usages = mem::take(&mut self.usages);
            self.write(|| {
                let mut rows = transaction.open_table(USAGES)?;
                for (owner, usage) in usages {
                    rows.insert(owner.as_str(), usage)?;
                }
                drop(rows);
                Ok(transaction.commit()?)
            })?;
        }
        // What it may still write is not needed.
        let _ = close(self.database.take());
        Ok(())
    }

    /// Without it a power cut may lose the name of a file whose content is safe.
    fn keep_name(&self) -> Result<(), StorageOpenError> {
        #[cfg(unix)]
        fs::File::open(folder(&self.path))
            .and_then(|folder| folder.sync_all())
            .map_err(|error| unwritten(&self.path, error))?;
        Ok(())
    }

    fn write<T>(
        &self,
        work: impl FnOnce() -> Result<T, redb::Error>,
    ) -> Result<T, StorageOpenError> {
        guarded(&self.path, work).map_err(|error| match error {
            StorageOpenError::Unusable { path, source } => {
                StorageOpenError::Unwritten { path, source }
            }
            error => error,
        })
    }
}

impl Drop for StoreDraft {
    fn drop(&mut self) {
        let _ = close(self.transaction.take());
        let _ = close(self.database.take());
        let _ = fs::remove_file(&self.draft);
    }
}

/// What the names of drafts end with.
const END: &str = ".new";

/// One that is younger may belong to a process that is about to lock it.
const ABANDONED: Duration = Duration::from_secs(10);

/// Removes drafts that processes left behind which were killed.
fn remove_abandoned(folder: &Path, begin: &str) {
    let is_number = |text: &str| text.len() == 16 && u64::from_str_radix(text, 16).is_ok();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix(begin)?.strip_suffix(END));
        if number.is_some_and(is_number) {
            // What cannot be removed harms nobody.
            let _ = remove_if_abandoned(&entry.path());
        }
    }
}

fn remove_if_abandoned(draft: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(draft)?;
    let age = metadata.modified()?.elapsed().unwrap_or_default();
    if metadata.is_file() && age >= ABANDONED && fs::File::open(draft)?.try_lock().is_ok() {
        fs::remove_file(draft)?;
    }
    Ok(())
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

fn unwritten(path: &Path, source: io::Error) -> StorageOpenError {
    let path = path.to_owned();
    StorageOpenError::Unwritten { path, source }
}

/// Makes an empty store. redb's own way of creating leaves behind, when it is killed in the
/// middle, a file that it then takes for something else.
pub(super) fn create(path: &Path, config: &StorageConfig) -> Result<(), StorageOpenError> {
    match StoreDraft::with(path, config)?.put() {
        // Of two that create at the same time both then open what the first has made, and one
        // is told that it is open.
        Err(StorageOpenError::Unwritten { source, .. })
            if source.kind() == ErrorKind::AlreadyExists =>
        {
            Ok(())
        }
        made => made,
    }
}
