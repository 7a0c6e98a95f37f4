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
mod tests {
    use wasm_fixtures::HELLO;

    use super::*;
    use crate::config::EngineConfig;

    struct Setting {
        folder: tempfile::TempDir,
        engine: Engine,
        source: Source,
        compilation: Compilation,
    }

    impl Setting {
        fn new() -> Self {
            let engine = Engine::new(&EngineConfig::default().wasmtime_config()).unwrap();
            let code = engine.precompile_component(HELLO.wasm).unwrap();
            Self {
                folder: tempfile::tempdir().unwrap(),
                source: Source::new(&blake3::hash(HELLO.wasm), &engine),
                engine,
                compilation: Compilation {
                    artifact: Artifact::in_memory(code),
                    metadata_bytes: 7,
                },
            }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("code")
        }

        fn open(&self, max_bytes: u64) -> io::Result<DiskCache> {
            DiskCache::try_open(&CacheConfig {
                folder: self.path(),
                max_bytes,
            })
        }

        fn cache(&self) -> DiskCache {
            self.open(1 << 30).unwrap()
        }

        /// How much code there is in the cache, in bytes.
        fn known(&self, cache: &DiskCache) -> Option<u64> {
            let known = cache.read(self.source);
            known.map(|known| known.artifact.bytes())
        }

        fn other_source(&self, n: u8) -> Source {
            Source::new(&blake3::hash(&[n]), &self.engine)
        }
    }

    fn flip(path: &Path, at: usize) {
        let mut bytes = fs::read(path).unwrap();
        bytes[at] ^= 1 << (at % 8);
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn what_was_written_is_read_and_runs() {
        let setting = Setting::new();
        assert!(setting.cache().read(setting.source).is_none());
        setting.cache().write(setting.source, &setting.compilation);
        let read = setting.cache().read(setting.source).unwrap();
        assert_eq!(read.metadata_bytes, 7);
        assert_eq!(read.artifact.bytes(), setting.compilation.artifact.bytes());
        read.artifact.load(&setting.engine).unwrap();
        let usage = CacheUsage::of(&setting.path()).unwrap();
        assert_eq!((usage.entries, usage.bytes), (1, read.artifact.bytes()));
        assert_eq!(CacheUsage::clear(&setting.path()).unwrap(), usage);
        assert!(setting.cache().read(setting.source).is_none());
        assert_eq!(
            CacheUsage::of(&setting.path()).unwrap(),
            CacheUsage::default()
        );
    }

    #[test]
    fn a_folder_that_is_not_there_has_no_entries() {
        let setting = Setting::new();
        let none = CacheUsage::default();
        assert_eq!(CacheUsage::of(&setting.path()).unwrap(), none);
        assert_eq!(CacheUsage::clear(&setting.path()).unwrap(), none);
        fs::write(setting.path(), "no folder").unwrap();
        let error = CacheUsage::of(&setting.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn an_entry_that_cannot_be_removed_is_an_error() {
        let setting = Setting::new();
        // It is named like an entry, and is a folder.
        let folder = setting.cache().entry(setting.source);
        fs::create_dir_all(folder.join("x")).unwrap();
        assert!(CacheUsage::clear(&setting.path()).is_err());
        assert!(folder.is_dir());
    }

    #[test]
    fn an_entry_may_be_as_large_as_any_file_of_this_process() {
        assert!(check_size(100, None).is_ok());
        assert!(check_size(100, Some(100)).is_ok());
        let error = check_size(101, Some(100)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "an entry of 101B is larger than this process may write (`ulimit -f`)"
        );
    }

    #[test]
    fn nothing_is_read_of_which_a_bit_was_changed() {
        let setting = Setting::new();
        let cache = setting.cache();
        cache.write(setting.source, &setting.compilation);
        let entry = cache.entry(setting.source);
        let seal = entry.with_extension(SEAL);
        for (path, step) in [(&seal, 1), (&entry, 13)] {
            let length = fs::metadata(path).unwrap().len() as usize;
            assert!(length >= SEAL_BYTES);
            for at in (0..length).step_by(step) {
                flip(path, at);
                assert!(cache.read(setting.source).is_none(), "{path:?}, byte {at}");
                flip(path, at);
            }
        }
        let bytes = setting.compilation.artifact.bytes();
        assert_eq!(setting.known(&cache), Some(bytes));
        let whole = fs::read(&entry).unwrap();
        for length in [0, 1, whole.len() / 2, whole.len() - 1] {
            fs::write(&entry, &whole[..length]).unwrap();
            assert!(cache.read(setting.source).is_none(), "{length} bytes");
        }
        fs::write(&entry, [&whole[..], b"x"].concat()).unwrap();
        assert!(cache.read(setting.source).is_none());
        fs::write(&entry, &whole).unwrap();
        assert_eq!(setting.known(&cache), Some(bytes));
        fs::remove_file(&seal).unwrap();
        assert!(cache.read(setting.source).is_none());
    }

    #[test]
    fn an_entry_is_good_for_its_own_source_and_key_only() {
        let setting = Setting::new();
        let cache = setting.cache();
        cache.write(setting.source, &setting.compilation);
        let (entry, other) = (cache.entry(setting.source), setting.other_source(1));
        for extension in ["", SEAL] {
            fs::copy(
                entry.with_extension(extension),
                cache.entry(other).with_extension(extension),
            )
            .unwrap();
        }
        assert!(cache.read(other).is_none());
        fs::write(setting.path().join(KEY), [3; KEY_BYTES]).unwrap();
        assert!(setting.cache().read(setting.source).is_none());
    }

    /// As one is that was written when the disk was full.
    #[test]
    fn a_damaged_key_is_replaced() {
        let setting = Setting::new();
        for length in [0, KEY_BYTES - 1] {
            setting.cache().write(setting.source, &setting.compilation);
            let read = setting.cache().read(setting.source);
            assert_eq!(read.map(|read| read.metadata_bytes), Some(7));
            fs::write(setting.path().join(KEY), vec![3; length]).unwrap();
            assert!(setting.cache().read(setting.source).is_none(), "{length}");
        }
        let left = fs::read_dir(setting.path()).unwrap().flatten();
        let names: Vec<_> = left.map(|file| file.file_name()).collect();
        assert_eq!(names.len(), 3, "{names:?}");
    }

    #[test]
    fn why_there_is_no_key_is_told() {
        let setting = Setting::new();
        let file = setting.folder.path().join("file");
        fs::write(&file, "no folder").unwrap();
        let error = read_key(&file, &setting.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn what_is_unfinished_has_a_name_of_its_own() {
        assert_ne!(random(), random());
    }

    /// As where the folder is one of somebody's own.
    #[test]
    fn what_is_no_key_stays() {
        let setting = Setting::new();
        drop(setting.cache());
        let key = setting.path().join(KEY);
        let content = [7; KEY_BYTES + 1];
        fs::write(&key, content).unwrap();
        let error = setting.open(1 << 30).err().unwrap().to_string();
        assert!(error.contains("it is not a cache's key"), "{error}");
        assert_eq!(fs::read(&key).unwrap(), content);
    }

    #[test]
    fn what_has_grown_is_refused_at_once() {
        let setting = Setting::new();
        let cache = setting.cache();
        cache.write(setting.source, &setting.compilation);
        let entry = File::options()
            .write(true)
            .open(cache.entry(setting.source));
        entry.unwrap().set_len(1 << 42).unwrap();
        let began = Instant::now();
        assert!(cache.read(setting.source).is_none());
        assert!(began.elapsed() < Duration::from_secs(30));
        cache.write(setting.source, &setting.compilation);
        let shipped = setting.folder.path().join("shipped");
        super::super::shipped::write(&cache, setting.source, &shipped).unwrap();
        let file = File::options().write(true).open(&shipped).unwrap();
        file.set_len(1 << 42).unwrap();
        let error = super::super::shipped::add_compiled(&shipped, &setting.path()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "it has 4398046510976B of code, more than the 1GiB that a cache keeps"
        );
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    #[cfg(unix)]
    #[test]
    fn what_may_only_be_read_is_read() {
        use std::os::unix::fs::PermissionsExt;
        let setting = Setting::new();
        let cache = setting.cache();
        cache.write(setting.source, &setting.compilation);
        let entry = cache.entry(setting.source);
        fs::set_permissions(&entry, fs::Permissions::from_mode(0o400)).unwrap();
        let read = cache.read(setting.source);
        assert_eq!(read.map(|read| read.metadata_bytes), Some(7));
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_folder_is_told() {
        let setting = Setting::new();
        fs::write(setting.path(), "").unwrap();
        let error = setting.open(1 << 30).err().unwrap();
        assert_eq!(error.to_string(), "not a directory");
        // A link that leads nowhere is something else.
        fs::remove_file(setting.path()).unwrap();
        std::os::unix::fs::symlink("nowhere", setting.path()).unwrap();
        let error = setting.open(1 << 30).err().unwrap();
        assert_ne!(error.kind(), io::ErrorKind::NotADirectory);
    }

    /// What processes left that were ended in the middle, and what looks much like it.
    #[test]
    fn what_is_abandoned_is_removed_and_nothing_else() {
        let setting = Setting::new();
        let cache = setting.cache();
        let hours_ago = SystemTime::now() - Duration::from_secs(2 * 3600);
        let make = |name: &str| {
            let path = setting.path().join(name);
            fs::write(&path, "x").unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(hours_ago).unwrap();
            (path, file)
        };
        let random = "0123456789abcdef0123456789abcdef";
        let others = ["tmp-1", "tmp-mine.txt"].map(make);
        let (still_written, file) = make(&format!("{UNFINISHED}{}", random.replace('0', "1")));
        file.lock_shared().unwrap();
        let just_begun = setting
            .path()
            .join(format!("{UNFINISHED}{}", random.replace('0', "2")));
        fs::write(&just_begun, "x").unwrap();
        let remove: [fn(&Setting, &DiskCache); 2] = [
            |setting, cache| cache.write(setting.source, &setting.compilation),
            |setting, _| {
                CacheUsage::clear(&setting.path()).unwrap();
            },
        ];
        for remove in remove {
            let names = [
                format!("{UNFINISHED}{random}"),
                format!("{UNFINISHED}{random}.{SEAL}"),
            ];
            let abandoned = names.map(|name| make(&name).0);
            remove(&setting, &cache);
            assert!(abandoned.iter().all(|path| !path.exists()));
            assert!(others.iter().all(|(path, _)| path.exists()));
            assert!(still_written.exists() && just_begun.exists());
        }
    }

    #[cfg(unix)]
    #[test]
    fn no_pipe_in_the_place_of_a_file_is_waited_for() {
        use std::process::Command;
        use std::sync::mpsc::channel;
        let setting = Setting::new();
        let cache = setting.cache();
        cache.write(setting.source, &setting.compilation);
        let bytes = setting.compilation.artifact.bytes();
        let entry = cache.entry(setting.source);
        let (seal, key) = (entry.with_extension(SEAL), setting.path().join(KEY));
        let lock = setting
            .path()
            .join(format!("{LOCKS}{:02x}", setting.source.0.as_bytes()[0]));
        let (sender, done) = channel();
        thread::spawn(move || {
            for path in [&entry, &seal, &lock] {
                let _ = fs::remove_file(path);
                assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
                let _lock = cache.lock(setting.source);
                assert!(
                    path == &lock || cache.read(setting.source).is_none(),
                    "{path:?}"
                );
                cache.write(setting.source, &setting.compilation);
                assert_eq!(setting.known(&cache), Some(bytes), "{path:?}");
            }
            fs::remove_file(&key).unwrap();
            assert!(Command::new("mkfifo").arg(&key).status().unwrap().success());
            let error = setting.open(1 << 30).err().unwrap().to_string();
            assert_eq!(
                error,
                format!("{}: it is not a regular file", key.display())
            );
            let error = super::super::shipped::add_compiled(&key, &setting.path()).unwrap_err();
            assert_eq!(error.to_string(), "it is not a regular file");
            sender.send(()).unwrap();
        });
        done.recv_timeout(Duration::from_secs(60)).unwrap();
    }

    #[test]
    fn settings_of_an_engine_are_told_apart() {
        let setting = Setting::new();
        let dense = EngineConfig::default().with_profile(crate::Profile::Density);
        let dense = Engine::new(&dense.wasmtime_config()).unwrap();
        let digest = blake3::hash(HELLO.wasm);
        assert_eq!(Source::new(&digest, &setting.engine), setting.source);
        assert_ne!(Source::new(&digest, &dense), setting.source);
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_others_may_use_is_not_used() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let setting = Setting::new();
        drop(setting.cache());
        for mode in [0o755, 0o770, 0o702] {
            fs::set_permissions(setting.path(), fs::Permissions::from_mode(mode)).unwrap();
            let error = setting.open(1 << 30).err().unwrap();
            assert!(
                error.to_string().contains("others may read or write it"),
                "{error}"
            );
        }
        fs::set_permissions(setting.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let key = setting.path().join(KEY);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        let error = setting.open(1 << 30).err().unwrap();
        assert!(error.to_string().contains("its key"), "{error}");
        let link = CacheConfig {
            folder: setting.folder.path().join("link"),
            max_bytes: 1 << 30,
        };
        symlink(setting.path(), &link.folder).unwrap();
        let error = DiskCache::try_open(&link).err().unwrap();
        assert!(error.to_string().contains("it is a link"), "{error}");
    }

    #[test]
    fn the_least_recently_used_make_room() {
        let by_default = EngineConfig::default().with_cache("code");
        assert_eq!(by_default.cache().unwrap().max_bytes, 1 << 30);
        let setting = Setting::new();
        let each = setting.compilation.artifact.bytes();
        let cache = setting.open(2 * each).unwrap();
        let sources = [1, 2, 3].map(|n| setting.other_source(n));
        let hours_ago = |n: u64| SystemTime::now() - Duration::from_secs(3600 * n);
        for (source, hours) in [(sources[0], 3), (sources[1], 2)] {
            cache.write(source, &setting.compilation);
            let entry = File::options()
                .write(true)
                .open(cache.entry(source))
                .unwrap();
            entry.set_modified(hours_ago(hours)).unwrap();
        }
        // Used just now, so the other one goes.
        assert!(cache.read(sources[0]).is_some());
        cache.write(sources[2], &setting.compilation);
        let there = sources.map(|source| cache.read(source).is_some());
        assert_eq!(there, [true, false, true]);
    }

    #[test]
    fn as_many_make_room_as_have_to() {
        let setting = Setting::new();
        for n in 1..=3 {
            let source = setting.other_source(n);
            setting.cache().write(source, &setting.compilation);
        }
        let small = setting.open(setting.compilation.artifact.bytes()).unwrap();
        small.write(setting.source, &setting.compilation);
        assert_eq!(CacheUsage::of(&setting.path()).unwrap().entries, 1);
        assert!(small.read(setting.source).is_some());
    }

    #[test]
    fn an_entry_larger_than_the_cache_pushes_nothing_out() {
        let setting = Setting::new();
        setting
            .cache()
            .write(setting.other_source(1), &setting.compilation);
        let small = setting
            .open(setting.compilation.artifact.bytes() - 1)
            .unwrap();
        small.write(setting.source, &setting.compilation);
        assert!(small.read(setting.source).is_none());
        let read = small.read(setting.other_source(1));
        assert_eq!(read.map(|read| read.metadata_bytes), Some(7));
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_behind() {
        let setting = Setting::new();
        let cache = setting.cache();
        // A folder in the place of the entry.
        fs::create_dir_all(cache.entry(setting.source).join("x")).unwrap();
        cache.write(setting.source, &setting.compilation);
        let left: Vec<_> = fs::read_dir(setting.path()).unwrap().flatten().collect();
        let names: Vec<_> = left.iter().map(fs::DirEntry::file_name).collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }
}
