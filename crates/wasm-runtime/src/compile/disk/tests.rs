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
    let bytes = setting.compilation.artifact.bytes();
    assert_eq!(setting.known(&small), Some(bytes));
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
