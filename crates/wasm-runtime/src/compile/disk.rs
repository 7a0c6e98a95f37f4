//! Compiled code on disk, so that nothing is compiled twice.
//!
//! Loading native code is running it, so nothing is loaded that this user's engine did not
//! write: folder and key belong to this user alone, and beside each entry is a keyed digest of
//! all that is in it and of what it was compiled from. An entry that is not as it was written
//! is made anew.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use blake3::{Hash, Hasher};
use wasmtime::Engine;

use wasm_core::text::PathText as _;
use wasm_core::units::format_bytes;

use crate::compiler::Compilation;
use crate::compiler::artifact::Artifact;
use crate::config::CacheConfig;
use crate::regular::open_regular;

/// The file with the key.
const KEY: &str = "key";

const KEY_BYTES: usize = 32;

/// Entries are named by the digest of what they were compiled from, in hexadecimal digits.
const NAME_BYTES: usize = 64;

/// Beside each entry: its size, that of its metadata, and the keyed digest of all that it is.
const SEAL: &str = "seal";

const SEAL_BYTES: usize = 8 + 8 + 32;

/// What is being written, with random hexadecimal digits; nobody reads it, and what is left
/// of a process that died is removed.
const UNFINISHED: &str = "tmp-";

const UNFINISHED_DIGITS: usize = 32;

/// Longer than anybody takes to begin with a file and to lock it.
const ABANDONED_AFTER: Duration = Duration::from_secs(60);

/// Files that processes lock while they compile, so that others wait instead of compiling the
/// same: each entry has one of these, which stay.
const LOCKS: &str = "lock-";

/// A folder of compiled code.
pub(crate) struct DiskCache {
    folder: PathBuf,
    max_bytes: u64,
    key: [u8; KEY_BYTES],
}

/// What a component is compiled to depends on this and on nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Source(Hash);

impl Source {
    /// Of a component with this digest, by this engine.
    pub(crate) fn new(component: &Hash, engine: &Engine) -> Self {
        let mut hasher = SourceHasher(Hasher::new());
        // What is checked before compiling is a matter of this crate's release.
        hasher.0.update(env!("CARGO_PKG_VERSION").as_bytes());
        hasher.0.update(component.as_bytes());
        std::hash::Hash::hash(&engine.precompile_compatibility_hash(), &mut hasher);
        Self(hasher.0.finalize())
    }

    pub(super) fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    pub(super) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes.into())
    }
}

/// Takes in what wasmtime's settings feed to a hasher, none of it lost.
struct SourceHasher(Hasher);

impl std::hash::Hasher for SourceHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

/// Held while an entry is made that others wait for.
pub(crate) struct EntryLock(#[expect(dead_code, reason = "closing it unlocks it")] Option<File>);

impl DiskCache {
    /// Makes folder and key if there are none. `None` where they cannot be used, which is told
    /// once.
    pub(crate) fn open(config: &CacheConfig) -> Option<Self> {
        match Self::try_open(config) {
            Ok(cache) => Some(cache),
            Err(error) => {
                warn(&config.folder, &error);
                None
            }
        }
    }

    pub(super) fn try_open(config: &CacheConfig) -> io::Result<Self> {
        let folder = config.folder.clone();
        make_folder(&folder).map_err(|error| match folder.symlink_metadata() {
            Ok(there) if !there.is_dir() && !there.is_symlink() => {
                io::ErrorKind::NotADirectory.into()
            }
            _ => error,
        })?;
        check_owned(&fs::symlink_metadata(&folder)?, "it", true)?;
        let path = folder.join(KEY);
        let key = read_key(&folder, &path).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.escaped()))
        })?;
        Ok(Self {
            folder,
            max_bytes: config.max_bytes,
            key,
        })
    }

    /// Waits for whoever makes the same entry. Without a lock where there can be none: then it
    /// is made more than once.
    pub(crate) fn lock(&self, source: Source) -> EntryLock {
        let name = format!("{LOCKS}{:02x}", source.0.as_bytes()[0]);
        let path = self.folder.join(name);
        let file = open_regular(&path, private().create(true).write(true));
        EntryLock(file.ok().filter(locked_in_time))
    }

    /// What was compiled from this earlier, if it is all there. Why it is compiled anew is
    /// told.
    pub(crate) fn read(&self, source: Source) -> Option<Compilation> {
        let path = self.entry(source).escaped().to_string();
        self.try_read(source)
            .inspect_err(|error| match error.kind() {
                // Another process may be replacing it just now: nothing to tell anybody.
                io::ErrorKind::NotFound | io::ErrorKind::Other => {
                    tracing::debug!("{path} is compiled anew: {error}");
                }
                _ => tracing::warn!("{path} is compiled anew: {error}"),
            })
            .ok()
    }

    /// The same, for whoever looks again before anything is compiled.
    pub(crate) fn try_read(&self, source: Source) -> io::Result<Compilation> {
        let path = self.entry(source);
        // Whoever may only read it can use it all the same.
        let file = open_regular(&path, File::options().read(true))?;
        let compilation = self.authentic(source, &path, &file)?;
        // The least recently used are removed first.
        let _ = file.set_modified(SystemTime::now());
        Ok(compilation)
    }

    fn authentic(&self, source: Source, path: &Path, file: &File) -> io::Result<Compilation> {
        let metadata = file.metadata()?;
        check_owned(&metadata, "it", false)?;
        let mut seal = [0; SEAL_BYTES];
        open_regular(&path.with_extension(SEAL), File::options().read(true))
            .map_err(|error| io::Error::new(error.kind(), format!("its seal: {error}")))?
            .read_exact(&mut seal)
            .map_err(|_| io::Error::other("its seal is not as it was written"))?;
        let Seal {
            bytes,
            metadata_bytes,
            digest,
        } = Seal::parse(&seal);
        let changed = || io::Error::other("it is not as it was written");
        // One that has grown may take hours to digest.
        if metadata.len() != bytes {
            return Err(changed());
        }
        // Digests are compared in constant time.
        if self.digest(source, metadata_bytes, path, file)? != digest {
            return Err(changed());
        }
        Ok(Compilation {
            artifact: Artifact::cached(file.try_clone()?, path.to_owned(), bytes),
            metadata_bytes,
        })
    }

    /// The keyed digest of an entry, computed on all processors if it is large.
    fn digest(
        &self,
        source: Source,
        metadata_bytes: u64,
        path: &Path,
        file: &File,
    ) -> io::Result<Hash> {
        let mut hasher = Hasher::new_keyed(&self.key);
        hasher.update(source.0.as_bytes());
        hasher.update(&metadata_bytes.to_le_bytes());
        hasher.update_mmap_rayon(open_path(path, file))?;
        Ok(hasher.finalize())
    }

    /// Keeps what was compiled. What cannot be kept is told once.
    pub(crate) fn write(&self, source: Source, compilation: &Compilation) {
        if compilation.artifact.bytes() > self.max_bytes {
            return;
        }
        if let Err(error) = self.keep(source, compilation) {
            warn(&self.folder, &error);
        }
    }

    /// The same, for whoever wants to know what went wrong.
    pub(super) fn keep(&self, source: Source, compilation: &Compilation) -> io::Result<()> {
        let unfinished = self
            .folder
            .join(format!("{UNFINISHED}{:0UNFINISHED_DIGITS$x}", random()));
        let written = self.write_entry(source, compilation, &unfinished);
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
            let _ = fs::remove_file(unfinished.with_extension(SEAL));
        }
        self.shrink();
        written
    }

    fn write_entry(
        &self,
        source: Source,
        compilation: &Compilation,
        unfinished: &Path,
    ) -> io::Result<()> {
        check_file_size(compilation.artifact.bytes())?;
        let mut file = private()
            .create_new(true)
            .read(true)
            .write(true)
            .open(unfinished)?;
        // Whoever is ended meanwhile does not have it any more.
        let _ = file.try_lock_shared();
        compilation.artifact.write_to(&mut file)?;
        let metadata_bytes = compilation.metadata_bytes;
        let seal = Seal {
            bytes: compilation.artifact.bytes(),
            metadata_bytes,
            digest: self.digest(source, metadata_bytes, unfinished, &file)?,
        };
        let sealed = unfinished.with_extension(SEAL);
        let mut sealing = private().create_new(true).write(true).open(&sealed)?;
        sealing.write_all(&seal.to_bytes())?;
        let entry = self.entry(source);
        fs::rename(unfinished, &entry)?;
        fs::rename(sealed, entry.with_extension(SEAL))
    }

    /// Removes the least recently used until all fit, and what nobody finished.
    fn shrink(&self) {
        let Ok(files) = fs::read_dir(&self.folder) else {
            return;
        };
        let mut entries = Vec::new();
        for file in files.flatten() {
            let Ok(metadata) = file.metadata() else {
                continue;
            };
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            if is_entry(&file.file_name()) {
                entries.push((used, metadata.len(), file.path()));
            }
        }
        remove_unfinished(&self.folder);
        entries.sort();
        let mut all: u64 = entries.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in entries {
            if all <= self.max_bytes {
                break;
            }
            if remove_entry(&path).is_ok() {
                all -= bytes;
            }
        }
    }

    fn entry(&self, source: Source) -> PathBuf {
        self.folder.join(source.0.to_hex().as_str())
    }
}

/// Waits for a lock, but not for ever: whoever has it may have been stopped.
fn locked_in_time(file: &File) -> bool {
    let began = Instant::now();
    while began.elapsed() < LOCK_PATIENCE {
        match file.try_lock() {
            Ok(()) => return true,
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(_)) => return false,
        }
    }
    false
}

/// As long as the largest components that are known take to be compiled on a slow machine.
const LOCK_PATIENCE: Duration = Duration::from_secs(60);

const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// What a cache of compiled code has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheUsage {
    /// Compiled components.
    pub entries: u64,
    /// What they take on disk, in bytes.
    pub bytes: u64,
}

impl CacheUsage {
    /// Counts the entries of a cache's folder. One that is not there has none.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let mut usage = Self::default();
        for (_, bytes) in entries(folder)? {
            usage.entries += 1;
            usage.bytes += bytes;
        }
        Ok(usage)
    }

    /// Removes all entries of a cache's folder, and tells what they were. What engines that
    /// were ended left there goes, too; whatever else is in the folder stays, and engines that
    /// use it go on.
    ///
    /// # Errors
    /// The folder cannot be read, or an entry not be removed.
    pub fn clear(folder: &Path) -> io::Result<Self> {
        let mut removed = Self::default();
        remove_unfinished(folder);
        for (path, bytes) in entries(folder)? {
            match remove_entry(&path) {
                Ok(()) => {
                    removed.entries += 1;
                    removed.bytes += bytes;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }
}

fn entries(folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let files = match fs::read_dir(folder) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let entries = files.flatten().filter(|file| is_entry(&file.file_name()));
    let with_size = entries.map(|file| {
        let bytes = file.metadata().map_or(0, |metadata| metadata.len());
        (file.path(), bytes)
    });
    Ok(with_size.collect())
}

fn is_entry(name: &OsStr) -> bool {
    is_hexadecimal(name.as_encoded_bytes(), NAME_BYTES)
}

fn is_hexadecimal(name: &[u8], digits: usize) -> bool {
    name.len() == digits && name.iter().all(u8::is_ascii_hexdigit)
}

/// Removes what processes that were ended left, and nothing that somebody may still be writing.
fn remove_unfinished(folder: &Path) {
    for file in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = file.path();
        let name = path.file_stem().unwrap_or_default().as_encoded_bytes();
        let random = name.strip_prefix(UNFINISHED.as_bytes());
        let is_unfinished = random.is_some_and(|random| is_hexadecimal(random, UNFINISHED_DIGITS))
            && path.extension().is_none_or(|extension| extension == SEAL);
        if is_unfinished && is_abandoned(&path) {
            let _ = fs::remove_file(path);
        }
    }
}

fn is_abandoned(path: &Path) -> bool {
    let Ok(file) = open_regular(path, File::options().read(true)) else {
        return false;
    };
    let modified = file.metadata().and_then(|metadata| metadata.modified());
    let age = modified.map(|modified| modified.elapsed());
    matches!(age, Ok(Ok(age)) if age > ABANDONED_AFTER) && file.try_lock().is_ok()
}

fn remove_entry(path: &Path) -> io::Result<()> {
    // One without its seal is none.
    let _ = fs::remove_file(path.with_extension(SEAL));
    fs::remove_file(path)
}

/// What is beside an entry.
struct Seal {
    bytes: u64,
    metadata_bytes: u64,
    digest: Hash,
}

impl Seal {
    fn parse(seal: &[u8; SEAL_BYTES]) -> Self {
        let (mut bytes, mut metadata_bytes, mut digest) = ([0; 8], [0; 8], [0; 32]);
        bytes.copy_from_slice(&seal[..8]);
        metadata_bytes.copy_from_slice(&seal[8..16]);
        digest.copy_from_slice(&seal[16..]);
        Self {
            bytes: u64::from_le_bytes(bytes),
            metadata_bytes: u64::from_le_bytes(metadata_bytes),
            digest: digest.into(),
        }
    }

    fn to_bytes(&self) -> [u8; SEAL_BYTES] {
        let mut seal = [0; SEAL_BYTES];
        seal[..8].copy_from_slice(&self.bytes.to_le_bytes());
        seal[8..16].copy_from_slice(&self.metadata_bytes.to_le_bytes());
        seal[16..].copy_from_slice(self.digest.as_bytes());
        seal
    }
}

/// A path to a file that is open: on Linux whatever has its name by now.
fn open_path(path: &Path, file: &File) -> PathBuf {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        let _ = path;
        PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = file;
        path.to_owned()
    }
}

/// A file larger than this process may write would end it.
#[cfg(unix)]
fn check_file_size(bytes: u64) -> io::Result<()> {
    use rustix::process::{Resource, getrlimit};
    check_size(bytes, getrlimit(Resource::Fsize).current)
}

fn check_size(bytes: u64, most: Option<u64>) -> io::Result<()> {
    match most {
        Some(most) if bytes > most => Err(io::Error::other(format!(
            "an entry of {} is larger than this process may write (`ulimit -f`)",
            format_bytes(bytes)
        ))),
        _ => Ok(()),
    }
}

#[cfg(not(unix))]
fn check_file_size(_: u64) -> io::Result<()> {
    Ok(())
}

/// Makes a key if there is none, and another one if a part of it is missing, as where there was
/// no room for it: what was sealed with that is made anew. A file that has more is another's.
fn read_key(folder: &Path, path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    if !path.try_exists()? {
        // Another process may have been first, whose key stays.
        match place_key(folder, |unfinished| fs::hard_link(unfinished, path)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    if let Some(key) = key_in(path)? {
        return Ok(key);
    }
    tracing::warn!(
        "{} is not as it was written: it is replaced, and everything is compiled anew",
        path.escaped()
    );
    place_key(folder, |unfinished| fs::rename(unfinished, path))?;
    key_in(path)?.ok_or_else(|| io::Error::other("it is not as it was written"))
}

/// `None` if it has less than a key.
fn key_in(path: &Path) -> io::Result<Option<[u8; KEY_BYTES]>> {
    let file = open_regular(path, File::options().read(true))?;
    check_owned(&file.metadata()?, "its key", true)?;
    let mut key = Vec::new();
    file.take(KEY_BYTES as u64 + 1).read_to_end(&mut key)?;
    if key.len() > KEY_BYTES {
        let told = "it is not a cache's key, and stays (another folder has room for one)";
        return Err(io::Error::other(told));
    }
    Ok(key.try_into().ok())
}

fn place_key(folder: &Path, place: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    check_file_size(KEY_BYTES as u64)?;
    let unfinished = folder.join(format!("{UNFINISHED}{:0UNFINISHED_DIGITS$x}", random()));
    let placed = write_key(&unfinished).and_then(|()| place(&unfinished));
    let _ = fs::remove_file(&unfinished);
    placed
}

fn write_key(path: &Path) -> io::Result<()> {
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    let mut file = private().create_new(true).write(true).open(path)?;
    file.write_all(&key)?;
    file.sync_all()
}

fn random() -> u128 {
    let mut bytes = [0; 16];
    // Names that are taken are refused when the file is made.
    let _ = getrandom::fill(&mut bytes);
    u128::from_le_bytes(bytes)
}

#[cfg(unix)]
fn make_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

#[cfg(not(unix))]
fn make_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

/// For files that only this user may read.
fn private() -> OpenOptions {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "there are no modes"))]
    let mut options = File::options();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// That it is this user's, and that nobody else can change it, or even read it.
#[cfg(unix)]
fn check_owned(metadata: &fs::Metadata, what: &str, is_secret: bool) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    if metadata.is_symlink() {
        return Err(io::Error::other(format!("{what} is a link")));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other(format!("{what} belongs to another user")));
    }
    let others = if is_secret { 0o077 } else { 0o022 };
    if metadata.mode() & others != 0 {
        return Err(io::Error::other(format!(
            "others may read or write {what} (`chmod go=` keeps them out)"
        )));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_owned(_: &fs::Metadata, _: &str, _: bool) -> io::Result<()> {
    Ok(())
}

/// Once in a process, because it would be said of each component.
fn warn(folder: &Path, error: &io::Error) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing::warn!(
            "compiled code is not kept in {}: {error}; everything works, and is compiled each \
             time",
            folder.escaped()
        );
    });
}

#[cfg(test)]
mod tests;
