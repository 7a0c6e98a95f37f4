//! The durable storage: held to the suite of its trait, closed and opened again, and
//! given files that it cannot use.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::env;
use std::fmt::{self, Debug};
use std::fs::{self, File, OpenOptions, Permissions};
use std::future::poll_fn;
use std::io::{Seek, SeekFrom, Write};
use std::panic::{set_hook, take_hook};
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any};
use proptest::sample::select;
use proptest::strategy::{Just, Strategy};
use proptest::{prop_assert_eq, prop_oneof, proptest};
use redb::{Database, ReadableDatabase, ReadableTableMetadata, TableDefinition};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinSet, spawn_blocking, unconstrained};
use tokio::time::timeout;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use wasm_core::{ComponentId, ComponentStorage, MemoryStorage, StorageError, StorageUsage};
use wasm_host::{
    RedbStorage, StorageConfig, StorageOpenError, StoreDraft, StoreReader, StoredEntry,
    is_panic_caught,
};
use wasm_testkit::Conditions;
use wasm_testkit::suites::storage;

const NO_QUOTA: u64 = u64::MAX;

fn id(name: &str) -> ComponentId {
    ComponentId::new("demo", name, "main").expect("it is an id")
}

/// The messages of all events in this process, whatever thread they come from.
#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Subscriber for &'static Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        struct Message(String);

        impl Visit for Message {
            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }

        let mut message = Message(event.metadata().level().to_string());
        event.record(&mut message);
        self.0.lock().unwrap().push(message.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Log")
    }
}

/// From now on, what is told of each store is known. Other than in a program, nothing is
/// printed of it.
fn log() -> &'static Log {
    static LOG: OnceLock<&'static Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log: &'static Log = Box::leak(Box::default());
        tracing::subscriber::set_global_default(log).expect("nobody else has set one");
        log
    })
}

/// What was told of the store in this file, failures only.
fn told(path: &Path) -> Vec<String> {
    let prefix = format!("component storage failed: {}: ", path.display());
    let log = log().0.lock().unwrap();
    log.iter()
        .filter_map(|line| line.strip_prefix(&prefix))
        .map(str::to_owned)
        .collect()
}

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("threads are to be had")
}

fn open(path: &Path) -> RedbStorage {
    RedbStorage::open(path).unwrap_or_else(|error| panic!("{error}"))
}

/// What is told of a file that cannot be opened, which is then as it was.
fn refusal(path: &Path) -> StorageOpenError {
    let before = fs::read(path).ok();
    let error = RedbStorage::open(path).expect_err("it cannot be opened");
    assert_eq!(fs::read(path).ok(), before, "{error}");
    let text = error.to_string();
    assert!(text.starts_with(&path.display().to_string()), "{text}");
    error
}

async fn set(storage: &RedbStorage, owner: &str, key: &str, value: impl Into<Bytes>) {
    let outcome = storage.set(&id(owner), key, value.into(), NO_QUOTA).await;
    assert_eq!(outcome, Ok(()), "setting {key:?} of {owner}");
}

/// All are under way at the same time, in this order.
async fn all_at_once<'a, T>(
    calls: impl Iterator<Item = Pin<Box<dyn Future<Output = T> + Send + 'a>>>,
) -> Vec<T> {
    let mut calls: Vec<_> = calls.collect();
    let mut outcomes = Vec::new();
    poll_fn(|cx| {
        calls.retain_mut(|call| match call.as_mut().poll(cx) {
            Poll::Pending => true,
            Poll::Ready(outcome) => {
                outcomes.push(outcome);
                false
            }
        });
        if calls.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    outcomes
}

#[test]
fn it_keeps_the_contract() {
    let folder = Arc::new(TempDir::new().unwrap());
    let files = Arc::new(AtomicU64::new(0));
    let mut broken = Vec::new();
    for case in storage::cases() {
        let (folder, files) = (Arc::clone(&folder), Arc::clone(&files));
        let outcome = case.run(Conditions::default(), move || {
            let number = files.fetch_add(1, Ordering::Relaxed);
            Arc::new(open(&folder.path().join(number.to_string()))) as storage::Subject
        });
        broken.extend(outcome.err().map(|broken| broken.to_string()));
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert_eq!(files.load(Ordering::Relaxed), storage::cases().len() as u64);
}

#[tokio::test]
async fn what_was_written_is_there_when_it_is_opened_again() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    let large: Bytes = (0..=255).cycle().take(3_000_000).collect();
    let first = open(&path);
    set(&first, "a", "k", "v").await;
    set(&first, "a", "", "").await;
    set(&first, "a", "gone", "v").await;
    first.delete(&id("a"), "gone").await.unwrap();
    set(&first, "b", "k", large.clone()).await;
    drop(first);

    let again = open(&path);
    assert_eq!(again.get(&id("a"), "k").await, Ok(Some("v".into())));
    assert_eq!(again.get(&id("a"), "gone").await, Ok(None));
    assert_eq!(again.get(&id("b"), "k").await, Ok(Some(large)));
    let keys = again.list_keys(&id("a"), "", None, 9).await.unwrap();
    assert_eq!(keys, ["", "k"]);
    let usage = again.usage(&id("a")).await.unwrap();
    assert_eq!(usage, StorageUsage::of(2, 2));
    let quota = StorageUsage::of(8, 2).used_bytes;
    let refused = again.set(&id("a"), "k", "too long".into(), quota).await;
    assert_eq!(refused, Err(StorageError::QuotaExceeded));
    // Nothing but the store is left beside it.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// What is in memory is still found when the file has lost it.
#[tokio::test]
async fn pages_are_kept_in_as_much_memory_as_is_said() {
    let default = StorageConfig::default().cache_bytes;
    for (cache_bytes, is_found) in [(default, true), (0, false)] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("store");
        let config = StorageConfig::default().with_cache_bytes(cache_bytes);
        let storage = RedbStorage::open_with(&path, config).unwrap();
        let owner = id("a");
        let mut found = Vec::new();
        for n in 0..50 {
            set(&storage, "a", &n.to_string(), vec![7; 20_000]).await;
        }
        for n in 0..100 {
            if n == 50 {
                let file = OpenOptions::new().write(true).open(&path).unwrap();
                file.set_len(8_192).unwrap();
            }
            let value = storage.get(&owner, &(n % 50).to_string()).await;
            found.push(matches!(value, Ok(Some(_))));
        }
        assert_eq!(found[..50], [true; 50]);
        assert_eq!(found[50..], [is_found; 50], "{cache_bytes}");
    }
}

#[tokio::test]
async fn only_one_store_has_a_file_open() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    let first = open(&path);
    let error = RedbStorage::open(&path).expect_err("it is open");
    assert!(
        matches!(error, StorageOpenError::Locked { .. }),
        "{error:?}"
    );
    let expected = format!(
        "{} is already open, in another process or in this one: end that, or use another file",
        path.display()
    );
    assert_eq!(error.to_string(), expected);
    set(&first, "a", "k", "v").await;
    for _ in 0..20 {
        drop(open(&folder.path().join("other")));
    }
}

#[test]
fn of_two_that_create_it_at_once_one_has_it() {
    for _ in 0..10 {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("store");
        let attempts = [(); 4].map(|()| {
            let path = path.clone();
            std::thread::spawn(move || RedbStorage::open(path))
        });
        let outcomes = attempts.map(|attempt| attempt.join().unwrap());
        let opened = outcomes.iter().filter(|outcome| outcome.is_ok());
        assert_eq!(opened.count(), 1, "{outcomes:?}");
        for outcome in &outcomes {
            if let Err(error) = outcome {
                assert!(
                    matches!(error, StorageOpenError::Locked { .. }),
                    "{error:?}"
                );
            }
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

#[test]
fn what_is_no_store_is_left_as_it_is() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");

    for content in [
        &b"x"[..],
        b"redb",
        b"not a store, but long enough",
        &[0; 8192],
    ] {
        fs::write(&path, content).unwrap();
        let error = refusal(&path);
        assert!(
            matches!(error, StorageOpenError::NotAStore { .. }),
            "{error:?}"
        );
    }
    let error = refusal(folder.path());
    assert_eq!(
        error.to_string(),
        format!(
            "{} is not a store of components but a folder: use another file, or move this one away",
            folder.path().display()
        )
    );

    let missing = folder.path().join("missing").join("store");
    let error = refusal(&missing);
    assert_eq!(
        error.to_string(),
        format!(
            "{} cannot be created: there is no folder {}; create that first",
            missing.display(),
            folder.path().join("missing").display()
        )
    );
}

#[test]
fn an_empty_file_becomes_a_store() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    File::create(&path).unwrap();
    drop(open(&path));
    drop(open(&path));
}

#[test]
fn other_databases_of_redb_are_told_apart() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    let insert = |table: &str| {
        let table = TableDefinition::<&str, u64>::new(table);
        let database = Database::create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction
            .open_table(table)
            .unwrap()
            .insert("layout", 7)
            .unwrap();
        transaction.commit().unwrap();
    };
    insert("something else");
    let error = RedbStorage::open(&path).unwrap_err();
    assert!(
        matches!(error, StorageOpenError::NotAStore { .. }),
        "{error:?}"
    );
    insert("airssys-wasm storage");
    let error = RedbStorage::open(&path).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{} was made by another version (layout 7; this one knows layout 1): \
             use that version, or another file",
            path.display()
        )
    );
}

/// A store with some content, closed.
fn filled(path: &Path) {
    runtime().block_on(async {
        let storage = open(path);
        for n in 0..50 {
            set(&storage, "a", &n.to_string(), vec![7; 20_000]).await;
        }
    });
}

#[test]
fn a_truncated_file_is_damaged() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    filled(&path);
    let length = fs::metadata(&path).unwrap().len();
    for kept in [length - 1, length - 4096, length / 2, 4096, 321, 100, 9] {
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(kept).unwrap();
        drop(file);
        let error = refusal(&path);
        assert!(
            matches!(error, StorageOpenError::Damaged { .. }),
            "{kept} of {length} bytes: {error:?}"
        );
        assert!(
            error.to_string().contains("replace it by a backup"),
            "{error}"
        );
    }
}

#[test]
fn a_file_with_changed_bytes_is_damaged_or_still_of_use() {
    let folder = TempDir::new().unwrap();
    let whole = folder.path().join("whole");
    filled(&whole);
    let path = folder.path().join("store");
    let length = fs::metadata(&whole).unwrap().len();
    for offset in (0..400)
        .step_by(16)
        .chain((4096..length).step_by(16 * 4096))
    {
        fs::copy(&whole, &path).unwrap();
        let mut file = OpenOptions::new().write(true).open(&path).unwrap();
        file.seek(SeekFrom::Start(offset)).unwrap();
        file.write_all(&[0xA5; 8]).unwrap();
        drop(file);
        let storage = match RedbStorage::open(&path) {
            Ok(storage) => storage,
            Err(
                StorageOpenError::NotAStore { .. }
                | StorageOpenError::Damaged { .. }
                | StorageOpenError::OtherVersion { .. },
            ) => continue,
            Err(error) => panic!("at {offset}: {error:?}"),
        };
        // Whatever comes of it, it is an answer of a store that goes on.
        runtime().block_on(async {
            let (owner, keys) = (id("a"), (0..50).map(|n| n.to_string()));
            let keys: Vec<String> = keys.collect();
            for key in &keys {
                let _ = storage.get(&owner, key).await;
            }
            let _ = storage.list_keys(&owner, "", None, 99).await;
            let write = |key| storage.set(&owner, key, "v".into(), NO_QUOTA);
            for outcome in all_at_once(keys.iter().map(|key| write(key))).await {
                if let Err(error) = outcome {
                    assert!(
                        !error.to_string().contains("is gone"),
                        "at {offset}: {error}"
                    );
                }
            }
        });
    }
}

/// Everything that a store has, if it is known to be what was stored.
fn all_of(path: &Path) -> Result<Vec<StoredEntry>, StorageOpenError> {
    let reader = StoreReader::open(path)?;
    assert_eq!(reader.contents()?.problems, [""; 0]);
    let (mut all, mut last) = (Vec::<StoredEntry>::new(), None);
    loop {
        let after = last
            .as_ref()
            .map(|(owner, key): &(String, String)| (&**owner, &**key));
        let part = reader.entries(after)?;
        let Some((owner, key, _)) = part.last() else {
            return Ok(all);
        };
        last = Some((owner.clone(), key.clone()));
        all.extend(part);
    }
}

#[cfg(unix)]
#[test]
fn it_says_what_is_not_there_to_be_read() {
    let folder = TempDir::new().unwrap();
    let (nowhere, link) = (folder.path().join("nowhere"), folder.path().join("link"));
    std::os::unix::fs::symlink(&nowhere, &link).unwrap();
    let told = |path| StoreReader::open(path).unwrap_err().to_string();
    let (missing, dangling) = (told(&nowhere), told(&link));
    assert!(missing.ends_with("there is no such file"), "{missing}");
    let named = nowhere.display();
    let expected = format!("it is a link to {named}, which is not there");
    assert!(dangling.ends_with(&expected), "{dangling}");
    // Nothing was made.
    assert!(!nowhere.exists());
}

#[test]
fn a_value_that_has_changed_is_found_and_the_file_is_left_as_it_is() {
    let folder = TempDir::new().unwrap();
    let (path, crashed) = (folder.path().join("store"), folder.path().join("crashed"));
    let values: Vec<_> = (0..6_u8)
        .map(|n| vec![0xC0 + n; 100 + 3_000 * n as usize])
        .collect();
    let storage = open(&path);
    runtime().block_on(async {
        for (n, value) in values.iter().enumerate() {
            set(&storage, "a", &format!("{n:02}"), value.clone()).await;
        }
    });
    fs::copy(&path, &crashed).unwrap();
    drop(storage);
    let expected = values.iter().enumerate().map(|(n, value)| {
        (
            "demo/a/main".to_owned(),
            format!("{n:02}"),
            Bytes::from(value.clone()),
        )
    });
    let expected: Vec<_> = expected.collect();
    for path in [&path, &crashed] {
        let whole = fs::read(path).unwrap();
        assert_eq!(all_of(path).unwrap(), expected);
        for value in &values {
            // The last in the file is in use, if any is: they were written in order.
            let mut places = (0..whole.len()).rev();
            let at = places.find(|at| whole[*at..].starts_with(value)).unwrap();
            for at in [at, at + value.len() / 2, at + value.len() - 1] {
                let mut bytes = whole.clone();
                bytes[at] ^= 1;
                fs::write(path, &bytes).unwrap();
                let found = all_of(path);
                let is_damaged = matches!(found, Err(StorageOpenError::Damaged { .. }));
                assert!(
                    is_damaged,
                    "at {at}: {:?}",
                    found.map(|all| all == expected)
                );
                assert!(fs::read(path).unwrap() == bytes, "it was changed");
            }
        }
    }
}

#[test]
fn a_draft_is_a_store_once_it_is_put_and_nothing_before() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    let names = || fs::read_dir(folder.path()).unwrap().count();
    let fill = || {
        let mut draft = StoreDraft::new(&path).unwrap();
        let (a, b) = (id("a"), id("b"));
        let value = vec![7; 300_000];
        let replaced = draft.add([(&a, "k", &value[..]), (&b, "k", b"")]);
        assert_eq!(replaced.unwrap(), None);
        let replaced = draft.add([(&a, "l", &value[..]), (&a, "k", b"new"), (&a, "k", b"new")]);
        assert_eq!(replaced.unwrap(), Some(1));
        draft
    };
    drop(fill());
    assert_eq!(names(), 0);
    fill().put().unwrap();
    let found = all_of(&path).unwrap();
    let found = found
        .iter()
        .map(|(owner, key, value)| (&**owner, &**key, value.len()));
    let expected = [
        ("demo/a/main", "k", 3),
        ("demo/a/main", "l", 300_000),
        ("demo/b/main", "k", 0),
    ];
    assert_eq!(found.collect::<Vec<_>>(), expected);
    // What is there is replaced only by who says so.
    let error = fill().put().unwrap_err();
    assert!(
        matches!(error, StorageOpenError::Unwritten { .. }),
        "{error:?}"
    );
    StoreDraft::new(&path).unwrap().replace().unwrap();
    assert_eq!(all_of(&path).unwrap(), []);
    assert_eq!(names(), 1);
}

#[cfg(unix)]
#[test]
fn a_file_that_may_not_be_used_is_denied() {
    use std::os::unix::fs::PermissionsExt;

    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    drop(open(&path));
    for mode in [0o000, 0o400] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        if OpenOptions::new().write(true).open(&path).is_ok() {
            eprintln!("not tried: this user may use every file");
            return;
        }
        let error = refusal(&path);
        assert!(
            matches!(error, StorageOpenError::Denied { .. }),
            "{error:?}"
        );
    }
    fs::set_permissions(folder.path(), Permissions::from_mode(0o500)).unwrap();
    let error = refusal(&folder.path().join("other"));
    assert!(
        matches!(error, StorageOpenError::Denied { .. }),
        "{error:?}"
    );
    fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_owners_write_at_once() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    let storage = Arc::new(open(&path));
    let mut writers = JoinSet::new();
    for n in 0..300 {
        let storage = Arc::clone(&storage);
        writers.spawn(async move {
            let owner = format!("owner-{n}");
            for key in ["a", "b", "c"] {
                set(&storage, &owner, key, owner.clone()).await;
            }
            storage.delete(&id(&owner), "b").await.unwrap();
        });
    }
    writers.join_all().await;
    drop(storage);
    let storage = open(&path);
    for n in 0..300 {
        let owner = format!("owner-{n}");
        let keys = storage.list_keys(&id(&owner), "", None, 9).await;
        assert_eq!(keys, Ok(vec!["a".to_owned(), "c".to_owned()]));
        let expected = StorageUsage::of(2 * (1 + owner.len() as u64), 2);
        assert_eq!(storage.usage(&id(&owner)).await, Ok(expected));
    }
}

#[tokio::test]
async fn an_owner_that_deleted_everything_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    let storage = open(&path);
    set(&storage, "a", "k", "v").await;
    storage.delete(&id("a"), "k").await.unwrap();
    drop(storage);
    let database = Database::open(&path).unwrap();
    let transaction = database.begin_read().unwrap();
    let usages = TableDefinition::<&str, (u64, u64)>::new("usages");
    let usages = transaction.open_table(usages).unwrap();
    assert!(usages.is_empty().unwrap());
}

#[tokio::test]
async fn writes_of_one_owner_keep_their_order() {
    let folder = TempDir::new().unwrap();
    let storage = open(&folder.path().join("store"));
    let owner = id("a");
    // More than fit into one batch, or into the queue.
    let writes =
        (0..1000_u64).map(|n| storage.set(&owner, "k", n.to_be_bytes().to_vec().into(), NO_QUOTA));
    let outcomes = all_at_once(writes).await;
    assert!(outcomes.iter().all(Result::is_ok));
    let last = storage.get(&owner, "k").await.unwrap().unwrap();
    assert_eq!(*last, 999_u64.to_be_bytes());
}

#[tokio::test]
async fn a_refused_write_does_not_hold_up_the_others_of_its_batch() {
    let folder = TempDir::new().unwrap();
    let storage = open(&folder.path().join("store"));
    let (a, b) = (id("a"), id("b"));
    let quota = StorageUsage::of(10, 1).used_bytes;
    let outcomes = tokio::join!(
        storage.set(&a, "1", "12345678".into(), quota),
        storage.set(&a, "2", "12345678".into(), quota),
        storage.set(&b, "1", "12345678".into(), quota),
        storage.delete(&a, "1"),
        storage.set(&a, "3", "12345678".into(), quota),
    );
    let refused = Err(StorageError::QuotaExceeded);
    assert_eq!(outcomes, (Ok(()), refused, Ok(()), Ok(()), Ok(())));
    let keys = storage.list_keys(&a, "", None, 9).await;
    assert_eq!(keys, Ok(vec!["3".to_owned()]));
}

#[tokio::test]
async fn a_dropped_write_is_done_before_what_comes_after_it() {
    let folder = TempDir::new().unwrap();
    let storage = open(&folder.path().join("store"));
    let owner = id("a");
    for n in 0..50_u64 {
        let mut write = storage.set(&owner, "k", n.to_be_bytes().to_vec().into(), NO_QUOTA);
        let polled = poll_fn(|cx| Poll::Ready(write.as_mut().poll(cx))).await;
        assert!(polled.is_pending(), "nothing is on disk that fast");
        drop(write);
        let value = storage.get(&owner, "k").await.unwrap().unwrap();
        assert_eq!(*value, n.to_be_bytes());
    }
}

#[tokio::test]
async fn dropping_it_finishes_what_was_handed_over_and_releases_the_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    let owner = id("a");
    for round in 0..20 {
        let storage = open(&path);
        let keys: Vec<String> = (0..100).map(|n| format!("{round}-{n}")).collect();
        let mut calls: Vec<_> = keys
            .iter()
            .map(|key| storage.set(&owner, key, "v".into(), NO_QUOTA))
            .collect();
        let mut read = storage.get(&owner, "k");
        // Tokio would have the task give way after a hundred or so.
        unconstrained(poll_fn(|cx| {
            for call in &mut calls {
                assert!(call.as_mut().poll(cx).is_pending());
            }
            let _ = read.as_mut().poll(cx);
            Poll::Ready(())
        }))
        .await;
        drop((calls, read));
        drop(storage);
        let usage = open(&path).usage(&owner).await.unwrap();
        assert_eq!(usage.key_count, 100 * (round + 1));
    }
}

/// Whether redb would read all of this file first if its process was killed now: told of a
/// copy, which may have been made in the middle of a commit.
fn would_be_read_whole(path: &Path) -> bool {
    let copy = path.with_extension("copy");
    fs::copy(path, &copy).unwrap();
    let opened = Database::builder()
        .set_repair_callback(redb::RepairSession::abort)
        .open(&copy);
    opened.is_err()
}

fn wait_until_not_read_whole(path: &Path) {
    let began = Instant::now();
    while would_be_read_whole(path) {
        assert!(began.elapsed() < Duration::from_secs(60), "it still would");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_was_quiet_for_a_while_is_not_read_whole_after_a_crash() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    let storage = open(&path);
    for _ in 0..2 {
        runtime().block_on(set(&storage, "a", "k", "v"));
        wait_until_not_read_whole(&path);
    }
    let again = open(&path.with_extension("copy"));
    let found = runtime().block_on(again.get(&id("a"), "k"));
    assert_eq!(found, Ok(Some("v".into())));
}

#[test]
fn what_was_read_whole_once_is_not_read_again_after_the_next_crash() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    filled(&path);
    let database = Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let table = TableDefinition::<&str, u64>::new("another");
    transaction.open_table(table).unwrap();
    transaction.commit().unwrap();
    assert!(would_be_read_whole(&path));
    let crashed = folder.path().join("crashed");
    fs::copy(&path, &crashed).unwrap();
    let _storage = open(&crashed);
    wait_until_not_read_whole(&crashed);
}

#[test]
fn it_takes_no_runtime_to_drop_it() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    let storage = open(&path);
    runtime().block_on(set(&storage, "a", "k", "v"));
    drop(storage);
    drop(open(&path));
}

#[test]
fn closing_tells_how_it_went_and_releases_the_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    runtime().block_on(async {
        let storage = open(&path);
        set(&storage, "a", "k", "v").await;
        assert_eq!(storage.close().await, Ok(()));
        let again = open(&path);
        assert_eq!(again.get(&id("a"), "k").await, Ok(Some("v".into())));
        let late = storage.get(&id("a"), "k").await;
        let closed = StorageError::Io("the store is closed".into());
        assert_eq!(late, Err(closed));
        // Whoever gave the path is told it.
        let closed = format!("{}: the store is closed", path.display());
        assert_eq!(storage.close().await, Err(StorageError::Io(closed)));
        // What was written would be lost.
        #[cfg(unix)]
        {
            fs::remove_file(&path).unwrap();
            let Err(StorageError::Io(text)) = again.close().await else {
                panic!("a store without its file was closed well");
            };
            assert!(text.contains("removed, replaced or cut short"), "{text}");
        }
    });
}

/// Set for a process that may not make a file longer than some megabytes.
const LITTLE_ROOM: &str = "WASM_HOST_LITTLE_ROOM";

/// A full disk is made by a limit on the length of files, which a shell can set.
#[cfg(unix)]
#[test]
fn a_full_disk_is_survived() {
    run_with_little_room(&[
        "sh",
        "-c",
        "trap '' XFSZ; ulimit -f 8192; exec \"$@\"",
        "sh",
    ]);
}

/// By a small one, where whoever runs this may mount it for themselves. What is in the middle
/// of a file may have no place on it, which a limit on its length does not show.
#[cfg(target_os = "linux")]
#[test]
fn a_small_disk_that_is_full_is_survived() {
    let for_themselves = ["unshare", "--map-root-user", "--mount"];
    let may = std::process::Command::new(for_themselves[0])
        .args(&for_themselves[1..])
        .args(["sh", "-c", "mount -t tmpfs tmpfs /mnt"])
        .output();
    if may.is_ok_and(|may| may.status.success()) {
        let mounted = format!("mount -t tmpfs -o size=3m tmpfs \"${LITTLE_ROOM}\"; exec \"$@\"");
        let shell = ["sh", "-c", &mounted, "sh"];
        run_with_little_room(&[&for_themselves[..], &shell].concat());
    }
}

#[cfg(unix)]
fn run_with_little_room(runs_it: &[&str]) {
    let folder = TempDir::new().unwrap();
    let child = std::process::Command::new(runs_it[0])
        .args(&runs_it[1..])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "with_little_room", "--ignored", "--nocapture"])
        .env(LITTLE_ROOM, folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout) + String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "a_full_disk_is_survived runs it"]
fn with_little_room() {
    let Some(folder) = env::var_os(LITTLE_ROOM) else {
        return;
    };
    let path = Path::new(&folder).join("store");
    log();
    runtime().block_on(async {
        let storage = open(&path);
        let owner = id("a");
        let mut written = 0;
        let error = loop {
            let value = vec![1; 100_000].into();
            match storage
                .set(&owner, &written.to_string(), value, NO_QUOTA)
                .await
            {
                Ok(()) => written += 1,
                Err(error) => break error,
            }
            assert!(written < 1000, "the disk does not get full");
        };
        let StorageError::Io(text) = error else {
            panic!("{error}");
        };
        eprintln!("after {written}: {text}");
        let told = told(&path);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("(os error "), "{told:?}");

        // All that was acknowledged is there, and counted.
        let usage = storage.usage(&owner).await.unwrap();
        assert_eq!(usage.key_count, written);
        for n in 0..written {
            let value = storage.get(&owner, &n.to_string()).await.unwrap();
            assert_eq!(value.unwrap().len(), 100_000);
        }
        // Whoever makes room goes on, once writes are tried again.
        let began = Instant::now();
        while let Err(error) = storage.delete(&owner, "0").await {
            assert_eq!(error, StorageError::Io(text.clone()));
            assert!(began.elapsed() < Duration::from_secs(60), "{error}");
            std::thread::sleep(Duration::from_millis(20));
        }
        for n in 1..written {
            storage.delete(&owner, &n.to_string()).await.unwrap();
        }
        set(&storage, "a", "k", "v").await;
        drop(storage);
        let again = open(&path);
        assert_eq!(again.get(&owner, "k").await, Ok(Some("v".into())));
        assert_eq!(again.usage(&owner).await.unwrap().key_count, 1);
    });
}

/// Set for a process that uses damaged files: the folder, and the first bit to flip.
const DAMAGED: &str = "WASM_HOST_DAMAGED";

/// Flips one bit after the other of a small store, and uses what comes of it.
#[test]
fn what_damage_does_is_told_once_and_panics_are_not_printed() {
    let folder = TempDir::new().unwrap();
    runtime().block_on(async {
        let storage = open(&folder.path().join("whole"));
        for n in 0..9 {
            set(&storage, "a", &n.to_string(), vec![7; 3_000]).await;
        }
    });
    let (mut next, mut seen) = (0, Vec::new());
    loop {
        // In a process of its own: where redb panics while it cleans up after a panic,
        // nobody can catch that.
        let child = std::process::Command::new(env::current_exe().unwrap())
            .args(["--exact", "with_damaged_files", "--ignored", "--nocapture"])
            .env(DAMAGED, folder.path())
            .env("RUST_BACKTRACE", "0")
            .env("FIRST", next.to_string())
            .output()
            .unwrap();
        let out = String::from_utf8_lossy(&child.stdout);
        let err = String::from_utf8_lossy(&child.stderr);
        let words = out
            .lines()
            .filter_map(|line| line.strip_prefix("damaged: "));
        seen.extend(words.map(str::to_owned));
        let of_one = |line: &&String| line.starts_with("at ");
        if child.status.success() {
            assert_eq!(err, "", "something is printed");
            break;
        }
        assert!(
            err.contains("panic in a destructor during cleanup"),
            "{err}{out}"
        );
        next = seen.iter().filter(of_one).count();
        seen.push("ended".to_owned());
    }
    let count = |word: &str| seen.iter().filter(|line| *line == word).count();
    let counted = ["not opened", "failed", "caught", "ended"].map(|word| (word, count(word)));
    eprintln!("{counted:?}");
    // Or this has shown nothing.
    for (word, times) in &counted[..3] {
        assert!(*times > 0, "{word}: none of {counted:?}");
    }
}

#[test]
#[ignore = "what_damage_does_is_told_once_and_panics_are_not_printed runs it"]
fn with_damaged_files() {
    let (Some(folder), Ok(first)) = (env::var_os(DAMAGED), env::var("FIRST")) else {
        return;
    };
    log();
    let print = take_hook();
    set_hook(Box::new(move |panic| {
        if is_panic_caught() {
            println!("damaged: caught");
        } else {
            print(panic);
        }
    }));
    let path = Path::new(&folder).join("store");
    let whole = fs::read(path.with_file_name("whole")).unwrap();
    // Neither what is not in use nor the values, which have no shape.
    let places = (0..whole.len()).filter(|at| ![0, 7].contains(&whole[*at]));
    let places = places.step_by(37).enumerate();
    for (n, at) in places.skip(first.parse().unwrap()) {
        println!("damaged: at {at}");
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (n % 8);
        fs::write(&path, &bytes).unwrap();
        let Ok(storage) = RedbStorage::open(&path) else {
            println!("damaged: not opened");
            continue;
        };
        log().0.lock().unwrap().clear();
        let owner = id("a");
        let errors = runtime().block_on(async {
            let mut errors = 0;
            for _ in 0..3 {
                let written = storage.set(&owner, "0", "v".into(), NO_QUOTA).await;
                let read = storage.get(&owner, "5").await;
                errors += usize::from(written.is_err()) + usize::from(read.is_err());
            }
            errors
        });
        let told = told(&path);
        if errors > 0 {
            println!("damaged: failed");
            assert!(!told.is_empty(), "at {at}: nothing of {errors} errors");
        }
        // Nothing of what redb asserts, and what to do.
        for line in &told {
            let is_plain = line.ends_with("move it away to start empty");
            assert!(is_plain && !line.contains('`'), "at {at}: {line}");
        }
        let mut once = told.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), told.len(), "at {at}: {told:?}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_is_removed_takes_no_writes_until_it_is_back() {
    log();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    let away = folder.path().join("away");
    let storage = open(&path);
    let owner = id("a");
    set(&storage, "a", "k", "v").await;
    fs::rename(&path, &away).unwrap();
    for another in [false, true] {
        if another {
            drop(open(&path));
        }
        let error = storage.set(&owner, "k", "lost".into(), NO_QUOTA).await;
        let expected = "the file was removed, replaced or cut short while it is open: put it back, \
                        or restart";
        assert_eq!(error, Err(StorageError::Io(expected.to_owned())));
        assert_eq!(storage.get(&owner, "k").await, Ok(Some("v".into())));
    }
    fs::rename(&away, &path).unwrap();
    set(&storage, "a", "k", "new").await;
    let told = told(&path);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("the file was removed, replaced or cut short"),
        "{told:?}"
    );
    drop(storage);
    assert_eq!(open(&path).get(&owner, "k").await, Ok(Some("new".into())));
}

/// As by a process that was killed while it made a store.
#[tokio::test]
async fn what_is_left_of_a_store_that_was_being_made_is_removed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    let names = || {
        let entries = fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let made = |name: &str, age: Duration| {
        let mut options = OpenOptions::new();
        let file = options
            .create(true)
            .append(true)
            .open(folder.path().join(name));
        let set = file.unwrap().set_modified(SystemTime::now() - age);
        set.unwrap();
    };
    let hour = Duration::from_secs(3_600);
    let draft = StoreDraft::new(&path).unwrap();
    let in_use = names()[0].to_str().unwrap().to_owned();
    made(&in_use, hour);
    made(".store.0123456789abcdef.new", hour);
    made(".store.0123456789abcdee.new", Duration::ZERO);
    made(".store.x.new", hour);
    made(".another.0123456789abcdef.new", hour);
    drop(open(&path));
    let mut expected = [
        ".another.0123456789abcdef.new",
        ".store.0123456789abcdee.new",
        ".store.x.new",
        &in_use,
        "store",
    ];
    expected.sort_unstable();
    assert_eq!(names(), expected);
    drop(draft);
    assert_eq!(names().len(), 4);
}

/// Where nothing has to be read, only the length of the file tells.
#[cfg(unix)]
#[tokio::test]
async fn a_file_that_is_cut_short_takes_no_writes() {
    for length in [0, 4_096] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("store");
        let storage = open(&path);
        set(&storage, "a", "k", "v").await;
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(length).unwrap();
        for _ in 0..2 {
            let error = storage.set(&id("a"), "k", "lost".into(), NO_QUOTA).await;
            let Err(StorageError::Io(text)) = error else {
                panic!("a write to a file of {length}B succeeded");
            };
            assert!(text.contains("cut short"), "{text}");
        }
        assert!(storage.close().await.is_err(), "nothing was lost");
    }
}

/// A store that is emptied becomes shorter, and is written on.
#[tokio::test]
async fn a_file_that_its_store_makes_shorter_is_written_on() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    let storage = open(&path);
    let mut lengths = Vec::new();
    for _ in 0..2 {
        for n in 0..40 {
            set(&storage, "a", &n.to_string(), vec![7; 100_000]).await;
        }
        lengths.push(fs::metadata(&path).unwrap().len());
        for n in 0..40 {
            assert_eq!(storage.delete(&id("a"), &n.to_string()).await, Ok(()));
        }
        for _ in 0..10 {
            set(&storage, "a", "k", "v").await;
        }
        // Time for it to be written down in a quiet moment.
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        lengths.push(fs::metadata(&path).unwrap().len());
    }
    let becomes_shorter = lengths.windows(2).any(|pair| pair[1] < pair[0]);
    assert!(becomes_shorter, "{lengths:?}");
    assert_eq!(storage.close().await, Ok(()));
}

#[tokio::test]
async fn a_file_that_is_truncated_is_told_and_no_folder_is_shown() {
    log();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    let storage = open(&path);
    let owner = id("a");
    for n in 0..50 {
        set(&storage, "a", &n.to_string(), vec![7; 20_000]).await;
    }
    drop(storage);
    // Nothing of it is in a cache.
    let storage = open(&path);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(8_192).unwrap();
    let mut errors = Vec::new();
    for n in 0..50 {
        let key = n.to_string();
        errors.extend(storage.get(&owner, &key).await.err());
        errors.extend(storage.set(&owner, &key, "v".into(), NO_QUOTA).await.err());
    }
    assert!(!errors.is_empty(), "a store without its pages goes on");
    for error in &errors {
        let StorageError::Io(text) = error else {
            panic!("{error}");
        };
        let shown = text.contains(&*folder.path().to_string_lossy());
        assert!(!shown && !text.contains("is gone"), "{text}");
    }
    let told = told(&path);
    assert!((1..=17).contains(&told.len()), "{told:?}");
}

/// What a file takes of the disk: redb doubles its length when it is full, but what was
/// never written takes nothing.
fn taken(path: &Path) -> u64 {
    let metadata = fs::metadata(path).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;

        metadata.blocks() * 512
    }
    #[cfg(not(unix))]
    {
        metadata.len() / 2
    }
}

/// Keys, values and owners of all lengths: the file takes at most about twice what the
/// owners are charged, besides what an empty one takes.
#[tokio::test]
async fn the_file_takes_about_twice_what_is_charged() {
    let folder = TempDir::new().unwrap();
    let long = "x".repeat(ComponentId::MAX_SEGMENT_BYTES);
    let lengths = [
        ("short".to_owned(), 0, 2 << 20),
        ("short".to_owned(), 1, 2 << 20),
        (long.clone(), 1, 2 << 20),
        (long, 100, 2 << 20),
        ("short".to_owned(), 1_000, 8 << 20),
        ("short".to_owned(), 5_000, 16 << 20),
    ];
    for (name, value_bytes, quota) in lengths {
        let path = folder.path().join("store");
        let storage = open(&path);
        let empty = taken(&path);
        let owner = ComponentId::new(&name, &name, &name).unwrap();
        let mut next = 0;
        let full = loop {
            let keys: Vec<String> = (next..next + 500).map(|n| format!("{n:x}")).collect();
            next += 500;
            let value = Bytes::from(vec![7; value_bytes]);
            let writes = keys
                .iter()
                .map(|key| storage.set(&owner, key, value.clone(), quota));
            let outcomes = unconstrained(all_at_once(writes)).await;
            if let Some(error) = outcomes.into_iter().find_map(Result::err) {
                break error;
            }
        };
        assert_eq!(full, StorageError::QuotaExceeded);
        let usage = storage.usage(&owner).await.unwrap();
        drop(storage);
        let taken = taken(&path).saturating_sub(empty);
        let ratio = taken as f64 / usage.used_bytes as f64;
        eprintln!(
            "{} keys of {name}, values of {value_bytes}: {ratio:.2}",
            usage.key_count
        );
        // Twice, and what the pages of the batches take that are not free again yet.
        assert!(ratio <= 3.0, "{taken} for {usage:?}");
        fs::remove_file(&path).unwrap();
    }
}

/// What others do on threads for blocking work, as guests' file operations do, is not
/// waited for.
#[test]
fn it_needs_no_thread_of_the_runtime() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (release, gate) = mpsc::channel::<()>();
    runtime.block_on(async {
        let storage = open(&path);
        let held = spawn_blocking(move || gate.recv());
        let owner = id("a");
        let used = async {
            set(&storage, "a", "k", "v").await;
            assert_eq!(storage.get(&owner, "k").await, Ok(Some("v".into())));
            assert_eq!(storage.exists(&owner, "k").await, Ok(true));
            assert_eq!(storage.usage(&owner).await, Ok(StorageUsage::of(2, 1)));
            let keys = storage.list_keys(&owner, "", None, 9).await;
            assert_eq!(keys, Ok(vec!["k".to_owned()]));
            assert_eq!(storage.delete(&owner, "k").await, Ok(()));
        };
        let in_time = timeout(Duration::from_secs(60), used).await;
        release.send(()).unwrap();
        assert_eq!(in_time, Ok(()));
        held.await.unwrap().unwrap();
    });
}

#[derive(Debug, Clone)]
enum Step {
    Set {
        owner: &'static str,
        key: String,
        value: Bytes,
        quota_bytes: u64,
    },
    Delete {
        owner: &'static str,
        key: String,
    },
    List {
        owner: &'static str,
        prefix: String,
        after: Option<String>,
        limit: usize,
    },
    Reopen,
}

fn steps() -> impl Strategy<Value = Step> {
    let owner = || select(&["demo/a/main", "demo/a/main.", "demo/a/mai", "demo/b/main"][..]);
    // Few enough to meet again, and some that begin like others or like an id.
    let key = || prop_oneof!["[ab]{0,3}", "demo/a/main[ab]?", r"[a\x00é\u{10FFFF}]{0,2}"];
    let length = prop_oneof![8 => 0..40_usize, 1 => 0..20_000_usize];
    let quota = prop_oneof![Just(NO_QUOTA), 0..1_500_u64];
    prop_oneof![
        6 => (owner(), key(), (length, any::<u8>()), quota).prop_map(
            |(owner, key, (length, byte), quota_bytes)| Step::Set {
                owner,
                key,
                value: vec![byte; length].into(),
                quota_bytes,
            }
        ),
        3 => (owner(), key()).prop_map(|(owner, key)| Step::Delete { owner, key }),
        3 => (owner(), key(), proptest::option::of(key()), 0..6_usize).prop_map(
            |(owner, prefix, after, limit)| Step::List {
                owner,
                prefix,
                after,
                limit,
            }
        ),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn it_answers_like_the_storage_in_memory(steps in vec(steps(), 1..60)) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("store");
        let runtime = runtime();
        let model = MemoryStorage::new();
        let mut storage = open(&path);
        for step in steps {
            match step {
                Step::Set { owner, key, value, quota_bytes } => {
                    let owner: ComponentId = owner.parse().unwrap();
                    let expected = model.set(&owner, &key, value.clone(), quota_bytes);
                    let found = storage.set(&owner, &key, value, quota_bytes);
                    prop_assert_eq!(runtime.block_on(found), runtime.block_on(expected));
                    let expected = runtime.block_on(model.get(&owner, &key));
                    prop_assert_eq!(runtime.block_on(storage.get(&owner, &key)), expected);
                }
                Step::Delete { owner, key } => {
                    let owner: ComponentId = owner.parse().unwrap();
                    let expected = runtime.block_on(model.delete(&owner, &key));
                    prop_assert_eq!(runtime.block_on(storage.delete(&owner, &key)), expected);
                    prop_assert_eq!(runtime.block_on(storage.exists(&owner, &key)), Ok(false));
                }
                Step::List { owner, prefix, after, limit } => {
                    let owner: ComponentId = owner.parse().unwrap();
                    let expected = model.list_keys(&owner, &prefix, after.as_deref(), limit);
                    let found = storage.list_keys(&owner, &prefix, after.as_deref(), limit);
                    prop_assert_eq!(runtime.block_on(found), runtime.block_on(expected));
                }
                Step::Reopen => {
                    drop(storage);
                    storage = open(&path);
                }
            }
            for owner in ["demo/a/main", "demo/a/main.", "demo/a/mai", "demo/b/main"] {
                let owner: ComponentId = owner.parse().unwrap();
                let expected = runtime.block_on(model.usage(&owner));
                prop_assert_eq!(runtime.block_on(storage.usage(&owner)), expected);
                let expected = runtime.block_on(model.list_keys(&owner, "", None, usize::MAX));
                let found = runtime.block_on(storage.list_keys(&owner, "", None, usize::MAX));
                prop_assert_eq!(found, expected);
            }
        }
    }
}
