//! For every [`ComponentStorage`].

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use tokio::task::{JoinSet, yield_now};

use wasm_core::{ComponentId, ComponentStorage, StorageError, StorageUsage};

use super::id;
use crate::suite::{Case, cases};

/// A storage in which nothing is kept yet.
pub type Subject = Arc<dyn ComponentStorage>;

/// Every case.
pub fn cases() -> Vec<Case<Subject, Infallible>> {
    cases!["storage":
        "`None` when there is no such key." => [
            what_was_never_stored_is_none,
        ],
        "Whether there is such a key." => [
            a_key_exists_from_when_it_is_set_until_it_is_deleted,
        ],
        "Creates or replaces." => [
            what_is_stored_is_what_was_set,
            the_latest_value_counts,
            values_are_bytes_of_any_kind_and_length,
            keys_are_texts_of_any_kind,
            writes_at_once_are_all_done,
        ],
        "The quota counts the bytes of all keys and values of the owner; checking and writing \
         are one step." => [
            the_quota_counts_keys_and_values,
            what_is_replaced_no_longer_counts,
            what_is_deleted_no_longer_counts,
            a_quota_is_not_exceeded_by_writing_at_once,
        ],
        "It counts `StorageUsage::KEY_BYTES` for each key besides, which bounds how many keys \
         there are." => [
            every_key_counts_besides_its_bytes,
            a_quota_is_one_of_keys_too,
        ],
        "`StorageError::QuotaExceeded` when the owner would have more than `quota_bytes`; the \
         store is then as before." => [
            a_refused_write_changes_nothing,
            under_a_lowered_quota_a_store_can_only_shrink,
            every_owner_has_a_quota_of_its_own,
        ],
        "Deleting what is not there is fine." => [
            deleting_what_is_not_there_changes_nothing,
        ],
        "At most `limit` keys that start with `prefix` and come after `after`, in ascending \
         order of bytes." => [
            keys_are_listed_in_order_of_bytes,
            keys_are_listed_by_prefix,
            a_prefix_is_no_pattern,
            what_was_deleted_is_not_listed,
            keys_are_listed_after_another,
            no_more_keys_are_listed_than_asked_for,
            pages_hold_every_key_once,
        ],
        "What the owner keeps, counted as for the quota." => [
            usage_is_what_the_quota_counts,
        ],
        "Keeps the data of components; each sees only what is its own." => [
            owners_do_not_see_each_other,
            ids_that_look_alike_are_different_owners,
            no_key_reaches_another_owner,
        ],
        "Instances that share an id share their data." => [
            equal_ids_are_the_same_owner,
        ],
        "Every method may be cancelled by dropping its future: a write is then done whole or \
         not at all." => [
            a_dropped_write_is_done_whole_or_not_at_all,
            a_write_that_was_never_polled_is_not_done,
        ],
    ]
}

const NO_QUOTA: u64 = u64::MAX;

fn a() -> ComponentId {
    id("demo/a/main")
}

fn b() -> ComponentId {
    id("demo/b/main")
}

async fn set(storage: &Subject, owner: &ComponentId, key: &str, value: impl Into<Bytes>) {
    let outcome = storage.set(owner, key, value.into(), NO_QUOTA).await;
    assert_eq!(outcome, Ok(()), "setting {key:?}");
}

async fn holds(storage: &Subject, owner: &ComponentId, key: &str, value: Option<&str>) {
    let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
    let exists = value.is_some();
    assert_eq!(
        storage.get(owner, key).await,
        Ok(value),
        "{key:?} of {owner}"
    );
    assert_eq!(
        storage.exists(owner, key).await,
        Ok(exists),
        "{key:?} of {owner}"
    );
}

/// So many bytes of keys and values.
async fn uses(storage: &Subject, owner: &ComponentId, bytes: u64, key_count: u64) {
    let expected = StorageUsage::of(bytes, key_count);
    assert_eq!(storage.usage(owner).await, Ok(expected), "usage of {owner}");
}

async fn keys(storage: &Subject, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
    match storage.list_keys(&a(), prefix, after, limit).await {
        Ok(keys) => keys,
        Err(error) => panic!("keys {prefix:?} after {after:?}: {error}"),
    }
}

async fn what_was_never_stored_is_none(storage: Subject) {
    holds(&storage, &a(), "k", None).await;
    set(&storage, &a(), "k", "v").await;
    holds(&storage, &a(), "K", None).await;
    holds(&storage, &a(), "k ", None).await;
    uses(&storage, &b(), 0, 0).await;
    assert_eq!(storage.list_keys(&b(), "", None, 9).await, Ok(Vec::new()));
}

async fn a_key_exists_from_when_it_is_set_until_it_is_deleted(storage: Subject) {
    for _ in 0..2 {
        assert_eq!(storage.exists(&a(), "k").await, Ok(false));
        set(&storage, &a(), "k", "").await;
        assert_eq!(storage.exists(&a(), "k").await, Ok(true));
        assert_eq!(storage.delete(&a(), "k").await, Ok(()));
    }
    holds(&storage, &a(), "k", None).await;
}

async fn what_is_stored_is_what_was_set(storage: Subject) {
    for (key, value) in [("one", "1"), ("two", "2"), ("three", "")] {
        set(&storage, &a(), key, value).await;
    }
    holds(&storage, &a(), "one", Some("1")).await;
    holds(&storage, &a(), "two", Some("2")).await;
    holds(&storage, &a(), "three", Some("")).await;
}

async fn the_latest_value_counts(storage: Subject) {
    for value in ["first", "second, and longer", ""] {
        set(&storage, &a(), "k", value).await;
        holds(&storage, &a(), "k", Some(value)).await;
    }
    uses(&storage, &a(), 1, 1).await;
}

async fn values_are_bytes_of_any_kind_and_length(storage: Subject) {
    for length in [0, 1, 255, 4_096, 100_000] {
        let value: Bytes = (0..=255).cycle().take(length).collect();
        set(&storage, &a(), "k", value.clone()).await;
        assert_eq!(storage.get(&a(), "k").await, Ok(Some(value)));
    }
}

/// As long as an engine lets a key be, and what else a component may come up with.
fn odd_keys() -> Vec<String> {
    let odd = [
        "é",
        "e\u{301}",
        "日本語",
        "a b",
        "a/b",
        "../a",
        ".",
        "a\nb",
        "a\0b",
        "\0",
        "%00",
        "'--",
        "*",
        "A",
        "a",
    ];
    let mut keys: Vec<String> = odd.map(str::to_owned).to_vec();
    keys.push("k".repeat(1024));
    keys
}

async fn keys_are_texts_of_any_kind(storage: Subject) {
    let odd = odd_keys();
    for (n, key) in odd.iter().enumerate() {
        set(&storage, &a(), key, n.to_string()).await;
    }
    for (n, key) in odd.iter().enumerate() {
        holds(&storage, &a(), key, Some(&n.to_string())).await;
    }
    let mut sorted = odd;
    sorted.sort();
    assert_eq!(keys(&storage, "", None, usize::MAX).await, sorted);
}

/// A quota for so many bytes of keys and values in so many keys.
fn quota(bytes: u64, keys: u64) -> u64 {
    StorageUsage::of(bytes, keys).used_bytes
}

async fn set_within(storage: &Subject, key: &str, bytes: usize, quota: u64) -> bool {
    match storage.set(&a(), key, vec![0; bytes].into(), quota).await {
        Ok(()) => true,
        Err(StorageError::QuotaExceeded) => false,
        Err(error) => panic!("{error}"),
    }
}

async fn the_quota_counts_keys_and_values(storage: Subject) {
    let [one, two, three] = [1, 2, 3].map(|keys| quota(10, keys));
    assert!(!set_within(&storage, "key", 8, one).await, "11 of 10 bytes");
    assert!(set_within(&storage, "key", 6, one).await, "9 of 10 bytes");
    assert!(!set_within(&storage, "xx", 0, two).await, "11 of 10 bytes");
    assert!(set_within(&storage, "x", 0, two).await, "10 of 10 bytes");
    assert!(!set_within(&storage, "y", 0, three).await, "11 of 10 bytes");
    // A character is not always a byte.
    let (less, enough) = (quota(11, 3), quota(12, 3));
    assert!(!set_within(&storage, "é", 0, less).await, "12 of 11 bytes");
    assert!(set_within(&storage, "é", 0, enough).await, "12 of 12 bytes");
}

async fn every_key_counts_besides_its_bytes(storage: Subject) {
    let empty = StorageUsage::KEY_BYTES;
    assert!(!set_within(&storage, "", 0, empty - 1).await, "one key");
    assert!(set_within(&storage, "", 0, empty).await, "one key");
    // What is there already counts once.
    assert!(set_within(&storage, "", 1, empty + 1).await, "one key");
    assert!(!set_within(&storage, "x", 0, 2 * empty + 1).await, "2 keys");
    assert!(set_within(&storage, "x", 0, 2 * empty + 2).await, "2 keys");
    // What is gone does not.
    assert_eq!(storage.delete(&a(), "").await, Ok(()));
    assert!(!set_within(&storage, "y", 0, 2 * empty + 1).await, "2 keys");
    assert!(set_within(&storage, "y", 0, 2 * empty + 2).await, "2 keys");
    uses(&storage, &a(), 2, 2).await;
}

async fn a_quota_is_one_of_keys_too(storage: Subject) {
    let quota = 10 * StorageUsage::KEY_BYTES;
    let mut keys = 0;
    while set_within(&storage, &keys.to_string(), 0, quota).await {
        keys += 1;
        assert!(keys < 10, "{keys} keys in {quota} bytes");
    }
    assert_eq!(keys, 9, "keys in {quota} bytes");
}

async fn what_is_replaced_no_longer_counts(storage: Subject) {
    let (one, two) = (quota(10, 1), quota(10, 2));
    assert!(set_within(&storage, "key", 7, one).await, "10 of 10 bytes");
    assert!(set_within(&storage, "key", 7, one).await, "the same again");
    assert!(set_within(&storage, "key", 3, one).await, "6 of 10 bytes");
    assert!(set_within(&storage, "four", 0, two).await, "10 of 10 bytes");
    assert!(!set_within(&storage, "key", 4, two).await, "11 of 10 bytes");
}

async fn what_is_deleted_no_longer_counts(storage: Subject) {
    let (one, two) = (quota(10, 1), quota(10, 2));
    assert!(set_within(&storage, "one", 7, one).await, "10 of 10 bytes");
    assert!(!set_within(&storage, "two", 7, two).await, "20 of 10 bytes");
    assert_eq!(storage.delete(&a(), "one").await, Ok(()));
    assert!(set_within(&storage, "two", 7, one).await, "10 of 10 bytes");
}

async fn a_quota_is_not_exceeded_by_writing_at_once(storage: Subject) {
    let mut writes = JoinSet::new();
    for n in 10..60 {
        let storage = Arc::clone(&storage);
        let quota = quota(105, 10);
        writes.spawn(async move { set_within(&storage, &n.to_string(), 8, quota).await });
    }
    let done = writes.join_all().await.into_iter().filter(|done| *done);
    assert_eq!(done.count(), 10, "writes of 10 bytes within 105");
    uses(&storage, &a(), 100, 10).await;
}

async fn a_refused_write_changes_nothing(storage: Subject) {
    let (one, two) = (quota(10, 1), quota(10, 2));
    assert!(set_within(&storage, "key", 0, one).await);
    set(&storage, &a(), "key", "old").await;
    assert!(!set_within(&storage, "key", 8, one).await, "11 of 10 bytes");
    assert!(
        !set_within(&storage, "other", 9, two).await,
        "20 of 10 bytes"
    );
    holds(&storage, &a(), "key", Some("old")).await;
    holds(&storage, &a(), "other", None).await;
    uses(&storage, &a(), 6, 1).await;
    assert_eq!(keys(&storage, "", None, 9).await, ["key"]);
}

async fn under_a_lowered_quota_a_store_can_only_shrink(storage: Subject) {
    let (high, low) = (quota(100, 1), quota(50, 1));
    assert!(
        set_within(&storage, "k", 99, high).await,
        "100 of 100 bytes"
    );
    assert!(!set_within(&storage, "k", 50, low).await, "51 of 50 bytes");
    assert!(set_within(&storage, "k", 49, low).await, "50 of 50 bytes");
    uses(&storage, &a(), 50, 1).await;
}

async fn every_owner_has_a_quota_of_its_own(storage: Subject) {
    let one = quota(10, 1);
    assert!(set_within(&storage, "key", 7, one).await, "10 of 10 bytes");
    let other = storage.set(&b(), "key", Bytes::from(vec![0; 7]), one).await;
    assert_eq!(other, Ok(()));
    uses(&storage, &a(), 10, 1).await;
    uses(&storage, &b(), 10, 1).await;
}

async fn deleting_what_is_not_there_changes_nothing(storage: Subject) {
    assert_eq!(storage.delete(&a(), "k").await, Ok(()));
    set(&storage, &a(), "k", "v").await;
    assert_eq!(storage.delete(&a(), "other").await, Ok(()));
    assert_eq!(storage.delete(&b(), "k").await, Ok(()));
    holds(&storage, &a(), "k", Some("v")).await;
    uses(&storage, &a(), 2, 1).await;
}

/// In no order; `é` is above all ASCII letters, `B` below the small ones.
async fn with_keys(storage: &Subject) {
    for key in ["b/2", "a", "b/1", "b", "b/10", "c", "é", "B"] {
        set(storage, &a(), key, "v").await;
    }
}

async fn keys_are_listed_in_order_of_bytes(storage: Subject) {
    with_keys(&storage).await;
    let all = keys(&storage, "", None, usize::MAX).await;
    assert_eq!(all, ["B", "a", "b", "b/1", "b/10", "b/2", "c", "é"]);
}

async fn keys_are_listed_by_prefix(storage: Subject) {
    with_keys(&storage).await;
    for (prefix, expected) in [
        ("b", &["b", "b/1", "b/10", "b/2"][..]),
        ("b/", &["b/1", "b/10", "b/2"]),
        ("b/1", &["b/1", "b/10"]),
        ("b/3", &[]),
        ("é", &["é"]),
        ("x", &[]),
    ] {
        let found = keys(&storage, prefix, None, 9).await;
        assert_eq!(found, expected, "keys {prefix:?}");
    }
}

async fn a_prefix_is_no_pattern(storage: Subject) {
    // What databases, shells and expressions take for something else.
    let odd = ["a%b", "a*b", "a.b", "a?b", "a[b", "a\\b", "a_b"];
    for key in odd.iter().chain(&["aab", "ab"]) {
        set(&storage, &a(), key, "v").await;
    }
    for key in odd {
        let prefix = &key[..2];
        assert_eq!(keys(&storage, prefix, None, 99).await, [key], "{prefix:?}");
    }
    // Nor is it compared without its case.
    assert_eq!(keys(&storage, "A", None, 99).await, [""; 0]);
}

async fn what_was_deleted_is_not_listed(storage: Subject) {
    with_keys(&storage).await;
    for key in ["b/1", "é", "B"] {
        assert_eq!(storage.delete(&a(), key).await, Ok(()));
    }
    let left = ["a", "b", "b/10", "b/2", "c"];
    assert_eq!(keys(&storage, "", None, 9).await, left);
    // Nor does it take the place of one that is.
    assert_eq!(keys(&storage, "", None, 2).await, left[..2]);
    assert_eq!(keys(&storage, "b/", None, 9).await, ["b/10", "b/2"]);
}

async fn keys_are_listed_after_another(storage: Subject) {
    with_keys(&storage).await;
    for (prefix, after, expected) in [
        ("", "b/1", &["b/10", "b/2", "c", "é"][..]),
        // It need not be there itself.
        ("", "b/11", &["b/2", "c", "é"]),
        ("", "é", &[]),
        ("b/", "b/1", &["b/10", "b/2"]),
        ("b/", "a", &["b/1", "b/10", "b/2"]),
        ("b/", "b/2", &[]),
        ("b/", "c", &[]),
    ] {
        let found = keys(&storage, prefix, Some(after), 9).await;
        assert_eq!(found, expected, "keys {prefix:?} after {after:?}");
    }
}

async fn no_more_keys_are_listed_than_asked_for(storage: Subject) {
    with_keys(&storage).await;
    assert_eq!(keys(&storage, "", None, 0).await, [""; 0]);
    assert_eq!(keys(&storage, "", None, 1).await, ["B"]);
    assert_eq!(keys(&storage, "b/", None, 2).await, ["b/1", "b/10"]);
    assert_eq!(keys(&storage, "b/", Some("b/10"), 2).await, ["b/2"]);
}

async fn pages_hold_every_key_once(storage: Subject) {
    let expected: Vec<String> = (0..100).map(|n| format!("key-{n:03}")).collect();
    for key in expected.iter().rev() {
        set(&storage, &a(), key, "v").await;
    }
    for size in [1, 7, 100, 101] {
        let mut found: Vec<String> = Vec::new();
        loop {
            let after = found.last().map(String::as_str);
            let page = keys(&storage, "key-", after, size).await;
            assert!(page.len() <= size, "{} keys of {size}", page.len());
            if page.is_empty() {
                break;
            }
            found.extend(page);
            let count = found.len();
            assert!(count <= expected.len(), "{count} in pages of {size}");
        }
        assert_eq!(found, expected, "in pages of {size}");
    }
}

async fn usage_is_what_the_quota_counts(storage: Subject) {
    uses(&storage, &a(), 0, 0).await;
    set(&storage, &a(), "key", "value").await;
    uses(&storage, &a(), 8, 1).await;
    set(&storage, &a(), "é", "").await;
    uses(&storage, &a(), 10, 2).await;
    set(&storage, &a(), "key", "v").await;
    uses(&storage, &a(), 6, 2).await;
    assert_eq!(storage.delete(&a(), "é").await, Ok(()));
    uses(&storage, &a(), 4, 1).await;
    assert_eq!(storage.delete(&a(), "key").await, Ok(()));
    uses(&storage, &a(), 0, 0).await;
}

async fn owners_do_not_see_each_other(storage: Subject) {
    set(&storage, &a(), "k", "of a").await;
    set(&storage, &b(), "k", "of b").await;
    set(&storage, &b(), "other", "").await;
    holds(&storage, &a(), "k", Some("of a")).await;
    holds(&storage, &a(), "other", None).await;
    assert_eq!(keys(&storage, "", None, 9).await, ["k"]);
    assert_eq!(storage.delete(&a(), "k").await, Ok(()));
    holds(&storage, &b(), "k", Some("of b")).await;
    uses(&storage, &a(), 0, 0).await;
    uses(&storage, &b(), 10, 2).await;
}

async fn ids_that_look_alike_are_different_owners(storage: Subject) {
    let alike = [
        "demo/a/main",
        "demo/a/Main",
        "demo/a/main.",
        "demo/a/main-",
        "demo/a.main/a",
        "demo/a-/main",
        "dem/oa/main",
        "demo.a/main/x",
        "demo/a/m",
        "main/a/demo",
    ];
    for owner in alike {
        holds(&storage, &id(owner), "k", None).await;
        set(&storage, &id(owner), "k", owner).await;
    }
    for owner in alike {
        holds(&storage, &id(owner), "k", Some(owner)).await;
    }
}

async fn no_key_reaches_another_owner(storage: Subject) {
    set(&storage, &b(), "k", "of b").await;
    for key in [
        "demo/b/main/k",
        "../../b/main/k",
        "/k",
        "b/main/k",
        "demo/b/main\0k",
    ] {
        holds(&storage, &a(), key, None).await;
        set(&storage, &a(), key, "of a").await;
    }
    holds(&storage, &b(), "k", Some("of b")).await;
    uses(&storage, &b(), 5, 1).await;
    let listed = storage.list_keys(&b(), "", None, 9).await;
    assert_eq!(listed, Ok(vec!["k".to_owned()]));
}

async fn equal_ids_are_the_same_owner(storage: Subject) {
    set(&storage, &id("demo/a/main"), "k", "v").await;
    let Ok(again) = ComponentId::new("demo", "a", "main") else {
        panic!("demo/a/main is an id");
    };
    holds(&storage, &again, "k", Some("v")).await;
}

async fn a_dropped_write_is_done_whole_or_not_at_all(storage: Subject) {
    let owner = a();
    set(&storage, &owner, "k", "old").await;
    for polls in 0..5 {
        let mut write = storage.set(&owner, "k", Bytes::from_static(b"new, longer"), NO_QUOTA);
        for _ in 0..polls {
            let done = poll_fn(|cx| Poll::Ready(write.as_mut().poll(cx).is_ready())).await;
            if done {
                break;
            }
            yield_now().await;
        }
        drop(write);
        let value = storage.get(&a(), "k").await;
        let Ok(Some(value)) = value else {
            panic!("after {polls} polls: {value:?}");
        };
        assert!(
            [&b"old"[..], b"new, longer"].contains(&&*value),
            "{value:?}"
        );
        uses(&storage, &a(), 1 + value.len() as u64, 1).await;
        set(&storage, &a(), "k", "old").await;
    }
}

async fn a_write_that_was_never_polled_is_not_done(storage: Subject) {
    drop(storage.set(&a(), "k", Bytes::new(), NO_QUOTA));
    holds(&storage, &a(), "k", None).await;
    set(&storage, &a(), "k", "v").await;
    drop(storage.delete(&a(), "k"));
    holds(&storage, &a(), "k", Some("v")).await;
}

async fn writes_at_once_are_all_done(storage: Subject) {
    let mut writes = JoinSet::new();
    for n in 0..100 {
        let storage = Arc::clone(&storage);
        writes.spawn(async move {
            let owner = if n % 2 == 0 { a() } else { b() };
            set(&storage, &owner, &format!("{n:02}"), "v").await;
        });
    }
    writes.join_all().await;
    for owner in [a(), b()] {
        uses(&storage, &owner, 150, 50).await;
    }
    let even: Vec<String> = (0..50).map(|n| format!("{:02}", 2 * n)).collect();
    assert_eq!(keys(&storage, "", None, usize::MAX).await, even);
}
