//! How much a folder that was granted for writing may come to hold.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;

use wasm_core::units::format_bytes;
use wasm_core::{ComponentId, WasiGrant};

/// What each file, folder and link counts besides its size: the block that a file
/// system rounds up to, its inode and its name. With it, a quota bounds their number
/// too.
pub(crate) const ENTRY_BYTES: u64 = WasiGrant::MIN_QUOTA_BYTES;

/// Which file on which device.
type Identity = (u64, u64);

#[cfg(unix)]
fn identity(metadata: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

#[cfg(unix)]
fn links(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(metadata)
}

/// Folders in use, so that all who were granted the same one share its count.
static FOLDERS: LazyLock<Mutex<HashMap<Identity, Weak<Folder>>>> = LazyLock::new(Mutex::default);

/// What a granted folder holds, counted by those to whom it was granted with a quota.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    usage: Mutex<Usage>,
}

#[derive(Debug, Default)]
struct Usage {
    /// Sizes and [`ENTRY_BYTES`] of everything in the folder; `None` until something
    /// is to be changed.
    bytes: Option<u64>,
    /// Open files by identity: how often each is open. One that is removed meanwhile
    /// takes its room until it is closed.
    open: HashMap<Identity, usize>,
}

impl Folder {
    fn of(path: &Path, dir: &File) -> io::Result<Arc<Self>> {
        let identity = identity(&dir.metadata()?);
        let mut folders = FOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = folders.get(&identity).and_then(Weak::upgrade) {
            return Ok(folder);
        }
        folders.retain(|_, folder| folder.strong_count() > 0);
        let folder = Arc::new(Self {
            path: path.to_owned(),
            usage: Mutex::default(),
        });
        folders.insert(identity, Arc::downgrade(&folder));
        Ok(folder)
    }

    fn usage(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes and entries in a folder; no more of it is looked at once it is above `most`.
fn measure(path: &Path, most: u64) -> u64 {
    let mut bytes = 0u64;
    let mut linked = HashSet::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        // What cannot be read counts as what its own folder says of it.
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            bytes = bytes.saturating_add(ENTRY_BYTES);
            if bytes > most {
                return bytes;
            }
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.is_file()
                && (links(&metadata) == 1 || linked.insert(identity(&metadata)))
            {
                bytes = bytes.saturating_add(metadata.len());
            }
        }
    }
    bytes
}

/// The quota of one grant.
#[derive(Debug)]
pub(crate) struct Quota {
    component: ComponentId,
    guest_path: String,
    limit: u64,
    folder: Arc<Folder>,
    told: AtomicBool,
}

impl Quota {
    pub(crate) fn new(
        component: &ComponentId,
        guest_path: &str,
        limit: u64,
        path: &Path,
        dir: &File,
    ) -> io::Result<Self> {
        Ok(Self {
            component: component.clone(),
            guest_path: guest_path.to_owned(),
            limit,
            folder: Folder::of(path, dir)?,
            told: AtomicBool::new(false),
        })
    }

    /// Whether what is in the one folder is in the other, too.
    pub(crate) fn shares_folder(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.folder, &other.folder)
    }

    /// The count of the folder, which changes only with what is done meanwhile. The
    /// first time, the folder is measured.
    pub(crate) fn count(&self) -> Count<'_> {
        let mut usage = self.folder.usage();
        if usage.bytes.is_none() {
            usage.bytes = Some(measure(&self.folder.path, self.limit));
        }
        Count { quota: self, usage }
    }

    /// Takes back [`Count::open`], without waiting for an operation that is going on; `false`
    /// when there is one.
    pub(crate) fn try_close(&self, file: &File) -> bool {
        use std::sync::TryLockError;
        let usage = match self.folder.usage.try_lock() {
            Ok(usage) => usage,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        Self::closed(usage, file);
        true
    }

    /// Takes back [`Count::open`].
    pub(crate) fn close(&self, file: &File) {
        Self::closed(self.folder.usage(), file);
    }

    fn closed(mut usage: MutexGuard<'_, Usage>, file: &File) {
        let Ok(metadata) = file.metadata() else {
            return;
        };
        let identity = identity(&metadata);
        let Some(open) = usage.open.get_mut(&identity) else {
            return;
        };
        *open -= 1;
        if *open == 0 {
            usage.open.remove(&identity);
            if links(&metadata) == 0 {
                usage.shrink(metadata.len());
            }
        }
    }

    fn tell(&self, used: u64) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                target: crate::COMPONENT_TARGET, component = %self.component,
                "its folder {} is full: {} of {} are used, with {} for each file, folder and link \
                 (`quota` of the grant, by `wasi` in [permissions])",
                wasm_core::text::Quoted::new(&self.guest_path),
                format_bytes(used), format_bytes(self.limit), format_bytes(ENTRY_BYTES)
            );
        }
    }
}

impl Usage {
    fn grow(&mut self, by: u64) {
        self.bytes = self.bytes.map(|bytes| bytes.saturating_add(by));
    }

    fn shrink(&mut self, by: u64) {
        self.bytes = self.bytes.map(|bytes| bytes.saturating_sub(by));
    }
}

/// What a folder holds, while nobody else who was granted it changes anything in it.
pub(crate) struct Count<'a> {
    quota: &'a Quota,
    usage: MutexGuard<'a, Usage>,
}

impl Count<'_> {
    /// # Errors
    /// [`ErrorCode::Quota`] when the folder has no room for so many bytes more.
    pub(crate) fn check(&self, more: u64) -> Result<(), ErrorCode> {
        let used = self.usage.bytes.unwrap_or_default();
        if more == 0 || used.saturating_add(more) <= self.quota.limit {
            return Ok(());
        }
        self.quota.tell(used);
        Err(ErrorCode::Quota)
    }

    /// Counts `file` as open until [`Quota::close`].
    pub(crate) fn open(&mut self, file: &File) -> io::Result<()> {
        let identity = identity(&file.metadata()?);
        *self.usage.open.entry(identity).or_default() += 1;
        Ok(())
    }

    pub(crate) fn add_entry(&mut self) {
        self.usage.grow(ENTRY_BYTES);
    }

    /// A name of `before` is gone.
    pub(crate) fn remove_entry(&mut self, before: &Removed) {
        self.usage.shrink(ENTRY_BYTES);
        if before.was_last_name && !self.usage.open.contains_key(&before.identity) {
            self.usage.shrink(before.bytes);
        }
    }

    pub(crate) fn resize(&mut self, before: u64, after: u64) {
        self.usage.grow(after.saturating_sub(before));
        self.usage.shrink(before.saturating_sub(after));
    }
}

/// What is known of a name before it is removed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Removed {
    pub(crate) identity: Identity,
    pub(crate) bytes: u64,
    pub(crate) was_last_name: bool,
}
