//! How much a folder that was granted for writing may come to hold.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use rustix::fs::{Access, AtFlags, Dir, FileType, Mode, OFlags, accessat, fstat, openat, statat};
use rustix::io::Errno;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;

use wasm_core::text::Quoted;
use wasm_core::units::format_bytes;
use wasm_core::{ComponentId, WasiGrant};

use super::descriptors::PlacedDir;
use crate::lines::COMPONENT_TARGET;

/// What each file, folder and link counts besides its size: the block that a file
/// system rounds up to, its inode and its name. With it, a quota bounds their number
/// too.
pub(crate) const ENTRY_BYTES: u64 = WasiGrant::MIN_QUOTA_BYTES;

/// Bytes of the names of folders that wait to be looked into while others are, and what
/// each takes besides. A folder with more of them cannot be measured.
const MAX_WAITING_BYTES: usize = 8 << 20;

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
    /// Whatever its path leads to meanwhile.
    dir: Arc<PlacedDir>,
    usage: Mutex<Usage>,
}

#[derive(Debug, Default)]
struct Usage {
    /// Sizes and [`ENTRY_BYTES`] of everything in the folder; `None` until something
    /// is to be changed, and while it cannot be measured.
    bytes: Option<u64>,
    /// Why it could not be measured. It is full until it can.
    unmeasured: Option<String>,
    /// Folders by identity that take more than [`ENTRY_BYTES`] for the names in them, and
    /// how many bytes that is.
    large: HashMap<Identity, u64>,
    /// Open files by identity: how often each is open. One that is removed meanwhile
    /// takes its room until it is closed.
    open: HashMap<Identity, usize>,
}

impl Folder {
    fn of(dir: &Arc<PlacedDir>) -> io::Result<Arc<Self>> {
        let identity = identity(&dir.metadata()?);
        let mut folders = FOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = folders.get(&identity).and_then(Weak::upgrade) {
            return Ok(folder);
        }
        folders.retain(|_, folder| folder.strong_count() > 0);
        let folder = Arc::new(Self {
            dir: Arc::clone(dir),
            usage: Mutex::default(),
        });
        folders.insert(identity, Arc::downgrade(&folder));
        Ok(folder)
    }

    fn usage(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a folder that is no link.
fn open_folder(parent: impl AsFd, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// What is found in a folder.
#[derive(Default)]
struct Measured {
    bytes: u64,
    large: HashMap<Identity, u64>,
    /// Files that have several names, of which one is counted.
    linked: HashSet<Identity>,
    waiting_bytes: usize,
}

/// A folder that is looked into, and the folders in it that still have to be.
struct Level {
    identity: Identity,
    folders: Vec<CString>,
}

/// What a name takes that waits.
fn waiting_bytes(name: &CStr) -> usize {
    name.count_bytes() + size_of::<CString>() + 16
}

impl Measured {
    /// All that is in a folder. Not by paths, which may be longer than the system takes, and
    /// with one folder open at a time, however deep they are.
    fn of(root: &File, max_waiting_bytes: usize) -> Result<Self, String> {
        let mut measured = Self::default();
        let unreadable = |error: Errno| error.to_string();
        let mut here = open_folder(root, c".").map_err(unreadable)?;
        let own = fstat(&here).map_err(unreadable)?;
        measured.add_folder((own.st_dev, own.st_ino), own.st_size);
        let mut levels = vec![measured.look_into(&here, max_waiting_bytes)?];
        while let Some(level) = levels.last_mut() {
            if let Some(name) = level.folders.pop() {
                measured.waiting_bytes -= waiting_bytes(&name);
                if cannot_be_entered(&here, &name) {
                    continue;
                }
                let named =
                    |error: String| format!("{}: {error}", Quoted::new(&name.to_string_lossy()));
                match open_folder(&here, &name) {
                    Ok(dir) => {
                        let level = measured.look_into(&dir, max_waiting_bytes);
                        levels.push(level.map_err(named)?);
                        here = dir;
                    }
                    // It is gone.
                    Err(Errno::NOENT) => {}
                    Err(error) => return Err(named(error.to_string())),
                }
                continue;
            }
            levels.pop();
            if let Some(parent) = levels.last() {
                here = open_folder(&here, c"..").map_err(unreadable)?;
                let stat = fstat(&here).map_err(unreadable)?;
                if (stat.st_dev, stat.st_ino) != parent.identity {
                    return Err("a folder in it was moved meanwhile".to_owned());
                }
            }
        }
        Ok(measured)
    }

    fn look_into(&mut self, dir: &OwnedFd, max_waiting_bytes: usize) -> Result<Level, String> {
        let unreadable = |error: Errno| error.to_string();
        let own = fstat(dir).map_err(unreadable)?;
        let mut level = Level {
            identity: (own.st_dev, own.st_ino),
            folders: Vec::new(),
        };
        for entry in Dir::read_from(dir).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            self.bytes = self.bytes.saturating_add(ENTRY_BYTES);
            let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(unreadable(error)),
            };
            let identity = (stat.st_dev, stat.st_ino);
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    self.add_folder(identity, stat.st_size);
                    self.waiting_bytes += waiting_bytes(name);
                    if self.waiting_bytes > max_waiting_bytes {
                        return Err("it has too many folders beside each other".to_owned());
                    }
                    level.folders.push(name.to_owned());
                }
                FileType::RegularFile if stat.st_nlink == 1 || self.linked.insert(identity) => {
                    let bytes = u64::try_from(stat.st_size).unwrap_or_default();
                    self.bytes = self.bytes.saturating_add(bytes);
                }
                _ => {}
            }
        }
        Ok(level)
    }

    fn add_folder(&mut self, identity: Identity, size: i64) {
        let more = beyond_an_entry(u64::try_from(size).unwrap_or_default());
        if more > 0 {
            self.bytes = self.bytes.saturating_add(more);
            self.large.insert(identity, more);
        }
    }
}

/// Whether nobody here can reach what is in a folder, to change it or to measure it.
fn cannot_be_entered(parent: &OwnedFd, name: &CStr) -> bool {
    accessat(parent, name, Access::EXEC_OK, AtFlags::EACCESS) == Err(Errno::ACCESS)
}

/// What a folder of this size takes besides [`ENTRY_BYTES`]. Where names are many it is more,
/// and some file systems never give it back as long as the folder is there.
fn beyond_an_entry(size: u64) -> u64 {
    size.saturating_sub(ENTRY_BYTES)
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
        dir: &Arc<PlacedDir>,
    ) -> io::Result<Self> {
        Ok(Self {
            component: component.clone(),
            guest_path: guest_path.to_owned(),
            limit,
            folder: Folder::of(dir)?,
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
        if usage.bytes.is_none() && usage.unmeasured.is_none() {
            usage.measure(&self.folder.dir);
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

    /// That there is no room for so many bytes.
    fn tell(&self, usage: &Usage, more: u64) {
        if self.told.swap(true, Ordering::Relaxed) {
            return;
        }
        let guest_path = Quoted::new(&self.guest_path);
        if let Some(reason) = &usage.unmeasured {
            tracing::warn!(
                target: COMPONENT_TARGET, component = %self.component,
                "its folder {guest_path} counts as full, because it cannot be measured: {reason} \
                 (`quota` of the grant, by `wasi` in [permissions])"
            );
        } else {
            tracing::warn!(
                target: COMPONENT_TARGET, component = %self.component,
                "its folder {guest_path} has no room for {} more: {} of {} are used, with {} for \
                 each file, folder and link (`quota` of the grant, by `wasi` in [permissions])",
                format_bytes(more),
                format_bytes(usage.bytes.unwrap_or_default()),
                format_bytes(self.limit), format_bytes(ENTRY_BYTES)
            );
        }
    }
}

impl Usage {
    /// To the end: all who were granted the folder share the count, whatever their limits.
    fn measure(&mut self, dir: &File) {
        match Measured::of(dir, MAX_WAITING_BYTES) {
            Ok(measured) => {
                self.bytes = Some(measured.bytes);
                self.large = measured.large;
                self.unmeasured = None;
            }
            Err(reason) => self.unmeasured = Some(reason),
        }
    }

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
    pub(crate) fn check(&mut self, more: u64) -> Result<(), ErrorCode> {
        if more == 0 {
            return Ok(());
        }
        // What is open may have been removed since, and would not be found.
        if self.usage.bytes.is_none() && self.usage.open.is_empty() {
            self.usage.measure(&self.quota.folder.dir);
        }
        match self.usage.bytes {
            Some(used) if used.saturating_add(more) <= self.quota.limit => Ok(()),
            _ => {
                self.quota.tell(&self.usage, more);
                Err(ErrorCode::Quota)
            }
        }
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

    /// The folder has this size by now.
    pub(crate) fn resize_folder(&mut self, identity: Identity, size: u64) {
        let after = beyond_an_entry(size);
        let before = match after {
            0 => self.usage.large.remove(&identity),
            _ => self.usage.large.insert(identity, after),
        };
        self.resize(before.unwrap_or_default(), after);
    }

    /// A name of `before` is gone.
    pub(crate) fn remove_entry(&mut self, before: &Removed) {
        self.usage.shrink(ENTRY_BYTES);
        if let Some(bytes) = self.usage.large.remove(&before.identity) {
            self.usage.shrink(bytes);
        }
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use tempfile::{TempDir, tempdir};

    use super::*;
    use crate::wasi::descriptors::Descriptors;

    fn measured(folder: &Path, max_waiting_bytes: usize) -> Result<u64, String> {
        let root = File::open(folder).unwrap();
        Measured::of(&root, max_waiting_bytes).map(|measured| measured.bytes)
    }

    /// An empty folder with a quota of that many bytes.
    fn folder(limit: u64) -> (TempDir, Quota) {
        let component: ComponentId = "demo/files/main".parse().unwrap();
        let folder = tempdir().unwrap();
        let place = Descriptors::new(component.clone()).take().unwrap();
        let dir = PlacedDir::new(File::open(folder.path()).unwrap(), place);
        let quota = Quota::new(&component, "/data", limit, &Arc::new(dir)).unwrap();
        (folder, quota)
    }

    fn used(quota: &Quota) -> Option<u64> {
        quota.count().usage.bytes
    }

    #[test]
    fn a_folder_holds_entries_and_what_is_in_files() {
        let folder = tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let bytes = || measured(folder.path(), 1 << 20).unwrap();
        assert_eq!(bytes(), 0);
        fs::write(path("five"), "hello").unwrap();
        assert_eq!(bytes(), ENTRY_BYTES + 5);
        fs::create_dir_all(path("sub/sub")).unwrap();
        fs::write(path("sub/sub/three"), "bye").unwrap();
        assert_eq!(bytes(), 4 * ENTRY_BYTES + 5 + 3);
        // Another name of a file has nothing in it, and a link leads nowhere.
        fs::hard_link(path("five"), path("sub/again")).unwrap();
        symlink("five", path("link")).unwrap();
        symlink("sub", path("loop")).unwrap();
        assert_eq!(bytes(), 7 * ENTRY_BYTES + 5 + 3);
    }

    /// For each of them that waits its name, and what that takes besides.
    #[test]
    fn so_many_folders_wait_to_be_looked_into() {
        let folder = tempdir().unwrap();
        for name in ["a/x", "b", "c"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let each = 1 + size_of::<CString>() + 16;
        // The one in the first waits in the place of that.
        assert_eq!(measured(folder.path(), 3 * each), Ok(4 * ENTRY_BYTES));
        assert_eq!(
            measured(folder.path(), 3 * each - 1),
            Err("it has too many folders beside each other".to_owned())
        );
    }

    /// Those of a folder that is looked into wait besides those next to it.
    #[test]
    fn folders_wait_at_every_level() {
        let folder = tempdir().unwrap();
        for outer in ["a", "b", "c"] {
            for inner in ["x", "y", "z"] {
                fs::create_dir_all(folder.path().join(outer).join(inner)).unwrap();
            }
        }
        let each = 1 + size_of::<CString>() + 16;
        assert_eq!(
            measured(folder.path(), (2 + 3) * each),
            Ok(12 * ENTRY_BYTES)
        );
        assert!(measured(folder.path(), (2 + 3) * each - 1).is_err());
        // None of them takes more than its entry.
        let root = File::open(folder.path()).unwrap();
        let large = Measured::of(&root, 1 << 20).unwrap().large;
        assert!(large.is_empty(), "{large:?}");
    }

    #[test]
    fn only_folders_are_opened_as_such() {
        let folder = tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        symlink("sub", folder.path().join("link")).unwrap();
        let root = File::open(folder.path()).unwrap();
        let opened = |name| open_folder(&root, name).map(drop);
        assert_eq!(opened(c"sub"), Ok(()));
        assert_eq!(opened(c"file"), Err(Errno::NOTDIR));
        assert!(opened(c"link").is_err());
    }

    #[test]
    fn a_folder_has_room_up_to_its_quota() {
        let (_folder, quota) = folder(100);
        let mut count = quota.count();
        count.check(100).unwrap();
        assert!(matches!(count.check(101), Err(ErrorCode::Quota)));
        count.resize(0, 60);
        count.check(40).unwrap();
        assert!(matches!(count.check(41), Err(ErrorCode::Quota)));
        // What takes no room is possible all the same.
        count.resize(60, 200);
        count.check(0).unwrap();
        count.resize(200, 100);
        assert!(matches!(count.check(1), Err(ErrorCode::Quota)));
        drop(count);
        assert_eq!(used(&quota), Some(100));
    }

    #[test]
    fn a_file_that_is_open_takes_its_room_until_it_is_closed() {
        let (folder, quota) = folder(1 << 20);
        let path = folder.path().join("file");
        fs::write(&path, "hello").unwrap();
        let file = File::open(&path).unwrap();
        assert_eq!(used(&quota), Some(ENTRY_BYTES + 5));
        for _ in 0..2 {
            quota.count().open(&file).unwrap();
        }
        let metadata = file.metadata().unwrap();
        fs::remove_file(&path).unwrap();
        quota.count().remove_entry(&Removed {
            identity: identity(&metadata),
            bytes: 5,
            was_last_name: true,
        });
        assert_eq!(used(&quota), Some(5));
        quota.close(&file);
        assert_eq!(used(&quota), Some(5));
        quota.close(&file);
        assert_eq!(used(&quota), Some(0));
    }

    #[test]
    fn a_file_that_still_has_a_name_takes_its_room_after_it_is_closed() {
        let (folder, quota) = folder(1 << 20);
        let path = folder.path().join("file");
        fs::write(&path, "hello").unwrap();
        let file = File::open(&path).unwrap();
        quota.count().open(&file).unwrap();
        // Somebody is at it: it can be tried again.
        let count = quota.count();
        assert!(!quota.try_close(&file));
        drop(count);
        assert!(quota.try_close(&file));
        assert_eq!(used(&quota), Some(ENTRY_BYTES + 5));
        assert!(quota.folder.usage().open.is_empty());
    }

    #[test]
    fn what_is_not_open_is_gone_with_its_last_name() {
        let (folder, quota) = folder(1 << 20);
        let removed = |was_last_name| Removed {
            identity: (7, 7),
            bytes: 5,
            was_last_name,
        };
        for name in ["a", "b"] {
            fs::write(folder.path().join(name), "hello").unwrap();
        }
        let mut count = quota.count();
        count.remove_entry(&removed(false));
        assert_eq!(count.usage.bytes, Some(ENTRY_BYTES + 10));
        count.remove_entry(&removed(true));
        assert_eq!(count.usage.bytes, Some(5));
        count.add_entry();
        assert_eq!(count.usage.bytes, Some(ENTRY_BYTES + 5));
    }

    /// Some file systems give folders more room the more names are in them.
    #[test]
    fn a_large_folder_takes_more_than_an_entry() {
        let (_folder, quota) = folder(1 << 20);
        let mut count = quota.count();
        let here = (7, 7);
        for (size, used) in [
            (ENTRY_BYTES, 0),
            (ENTRY_BYTES + 100, 100),
            (ENTRY_BYTES + 30, 30),
            (10, 0),
            (ENTRY_BYTES + 1, 1),
        ] {
            count.resize_folder(here, size);
            assert_eq!(count.usage.bytes, Some(used), "{size}");
            // It is known as long as it is large.
            assert_eq!(count.usage.large.contains_key(&here), used > 0, "{size}");
        }
        count.add_entry();
        count.remove_entry(&Removed {
            identity: here,
            bytes: 0,
            was_last_name: true,
        });
        assert_eq!(count.usage.bytes, Some(0));
    }

    #[test]
    fn all_who_were_granted_a_folder_share_its_count_as_long_as_it_is_used() {
        let (one, quota) = folder(1 << 20);
        let again = Quota {
            limit: 5,
            folder: Folder::of(&quota.folder.dir).unwrap(),
            component: quota.component.clone(),
            guest_path: "/again".to_owned(),
            told: AtomicBool::new(false),
        };
        assert!(quota.shares_folder(&again));
        let (_other, of_other) = folder(1 << 20);
        assert!(!quota.shares_folder(&of_other));
        let identity = identity(&fs::metadata(one.path()).unwrap());
        let is_known = || FOLDERS.lock().unwrap().contains_key(&identity);
        assert!(is_known());
        drop((quota, again));
        // The next one sweeps.
        let _next = folder(1 << 20);
        assert!(!is_known());
    }
}
