use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use thiserror::Error;

use crate::ComponentId;
use crate::text::Escaped;

/// Keeps the data of components; each sees only what is its own.
///
/// `owner` is stamped by the engine, never by the guest. Instances that share an
/// id share their data. Every method may be cancelled by dropping its future: a
/// write is then done whole or not at all.
#[async_trait]
pub trait ComponentStorage: Send + Sync {
    /// `None` when there is no such key.
    ///
    /// # Errors
    /// [`StorageError::Io`] when the store cannot be read.
    async fn get(&self, owner: &ComponentId, key: &str) -> Result<Option<Bytes>, StorageError>;

    /// Creates or replaces. The quota counts the bytes of all keys and values of
    /// the owner; checking and writing are one step. It counts
    /// [`StorageUsage::KEY_BYTES`] for each key besides, which bounds how many keys
    /// there are.
    ///
    /// # Errors
    /// [`StorageError::QuotaExceeded`] when the owner would have more than
    /// `quota_bytes`; the store is then as before.
    async fn set(
        &self,
        owner: &ComponentId,
        key: &str,
        value: Bytes,
        quota_bytes: u64,
    ) -> Result<(), StorageError>;

    /// Deleting what is not there is fine.
    ///
    /// # Errors
    /// [`StorageError::Io`] when the store cannot be written.
    async fn delete(&self, owner: &ComponentId, key: &str) -> Result<(), StorageError>;

    /// Whether there is such a key.
    ///
    /// # Errors
    /// [`StorageError::Io`] when the store cannot be read.
    async fn exists(&self, owner: &ComponentId, key: &str) -> Result<bool, StorageError> {
        Ok(self.get(owner, key).await?.is_some())
    }

    /// At most `limit` keys that start with `prefix` and come after `after`, in
    /// ascending order of bytes.
    ///
    /// # Errors
    /// [`StorageError::Io`] when the store cannot be read.
    async fn list_keys(
        &self,
        owner: &ComponentId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StorageError>;

    /// What the owner keeps, counted as for the quota.
    ///
    /// # Errors
    /// [`StorageError::Io`] when the store cannot be read.
    async fn usage(&self, owner: &ComponentId) -> Result<StorageUsage, StorageError>;
}

/// What one component keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StorageUsage {
    /// Of all keys and values, with [`KEY_BYTES`](Self::KEY_BYTES) for each key.
    pub used_bytes: u64,
    /// How many keys.
    pub key_count: u64,
}

impl StorageUsage {
    /// What each key takes of the quota besides its bytes and those of its value: a store
    /// has to tell keys and owners apart and to find them, which takes more room than
    /// the shortest keys and values. A quota has room for fewer keys than its bytes
    /// divided by this: 4,095 in 1 MiB.
    ///
    /// A database keeps the id of the owner, up to 194 bytes, with each key, in pages that
    /// are half full: for a key of one byte, redb takes 70 to 520 bytes.
    pub const KEY_BYTES: u64 = 256;

    /// Of keys and values that have `bytes` in all, as the quota counts them.
    pub fn of(bytes: u64, key_count: u64) -> Self {
        let overhead = key_count.saturating_mul(Self::KEY_BYTES);
        Self {
            used_bytes: bytes.saturating_add(overhead),
            key_count,
        }
    }
}

/// The cases of the contract's `storage-error`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StorageError {
    /// What must be there is not.
    #[error("{} is not in the store", Escaped::new(.0))]
    NotFound(String),
    /// What must not be there is.
    #[error("{} is already in the store", Escaped::new(.0))]
    AlreadyExists(String),
    /// The owner would keep more than its quota.
    #[error("quota exceeded")]
    QuotaExceeded,
    /// Empty, too long or otherwise unfit.
    #[error("invalid key: {}", Escaped::new(.0))]
    InvalidKey(String),
    /// The store itself failed, or refused.
    #[error("storage failed: {}", Escaped::new(.0))]
    Io(String),
}

/// A store that lasts as long as the process.
#[derive(Debug, Default)]
pub struct MemoryStorage {
    owners: Mutex<HashMap<ComponentId, Entries>>,
}

#[derive(Debug, Default)]
struct Entries {
    values: BTreeMap<String, Bytes>,
    /// Of keys and values.
    bytes: u64,
}

impl Entries {
    fn usage(&self) -> StorageUsage {
        StorageUsage::of(self.bytes, self.values.len() as u64)
    }
}

impl MemoryStorage {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    fn owners(&self) -> MutexGuard<'_, HashMap<ComponentId, Entries>> {
        // No code that could panic runs between two related changes.
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entry_bytes(key: &str, value: &Bytes) -> u64 {
    (key.len() + value.len()) as u64
}

#[async_trait]
impl ComponentStorage for MemoryStorage {
    async fn get(&self, owner: &ComponentId, key: &str) -> Result<Option<Bytes>, StorageError> {
        let owners = self.owners();
        Ok(owners.get(owner).and_then(|e| e.values.get(key)).cloned())
    }

    async fn set(
        &self,
        owner: &ComponentId,
        key: &str,
        value: Bytes,
        quota_bytes: u64,
    ) -> Result<(), StorageError> {
        let mut owners = self.owners();
        let entries = owners.entry(owner.clone()).or_default();
        let replaced = entries.values.get(key).map(|old| entry_bytes(key, old));
        let others = entries.bytes - replaced.unwrap_or(0);
        let bytes = others + entry_bytes(key, &value);
        let keys = entries.values.len() as u64 + u64::from(replaced.is_none());
        if StorageUsage::of(bytes, keys).used_bytes > quota_bytes {
            return Err(StorageError::QuotaExceeded);
        }
        entries.values.insert(key.to_owned(), value);
        entries.bytes = bytes;
        Ok(())
    }

    async fn delete(&self, owner: &ComponentId, key: &str) -> Result<(), StorageError> {
        if let Some(entries) = self.owners().get_mut(owner)
            && let Some(old) = entries.values.remove(key)
        {
            entries.bytes -= entry_bytes(key, &old);
        }
        Ok(())
    }

    async fn list_keys(
        &self,
        owner: &ComponentId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StorageError> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let owners = self.owners();
        let Some(entries) = owners.get(owner) else {
            return Ok(Vec::new());
        };
        Ok(entries
            .values
            .range::<str, _>((start, Bound::Unbounded))
            .map(|(key, _)| key)
            .take_while(|key| key.starts_with(prefix))
            .take(limit)
            .cloned()
            .collect())
    }

    async fn usage(&self, owner: &ComponentId) -> Result<StorageUsage, StorageError> {
        let owners = self.owners();
        Ok(owners.get(owner).map(Entries::usage).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{every, snapshot};
    use crate::poll::now;

    const NO_QUOTA: u64 = u64::MAX;

    fn id(name: &str) -> ComponentId {
        ComponentId::new("demo", name, "main").unwrap()
    }

    fn storage_with(keys: &[&str]) -> MemoryStorage {
        let storage = MemoryStorage::new();
        for key in keys {
            now(storage.set(&id("a"), key, Bytes::from("v"), NO_QUOTA)).unwrap();
        }
        storage
    }

    /// Of keys and values, without what each key takes besides.
    fn usage(storage: &MemoryStorage, name: &str) -> (u64, u64) {
        let usage = now(storage.usage(&id(name))).unwrap();
        (
            usage.used_bytes - with_keys(0, usage.key_count),
            usage.key_count,
        )
    }

    /// A quota for so many bytes in so many keys.
    fn with_keys(bytes: u64, keys: u64) -> u64 {
        bytes + keys * StorageUsage::KEY_BYTES
    }

    #[test]
    fn each_owner_sees_its_own() {
        let storage = storage_with(&["k"]);
        now(storage.set(&id("b"), "k", Bytes::from("other"), NO_QUOTA)).unwrap();
        assert_eq!(now(storage.get(&id("a"), "k")), Ok(Some(Bytes::from("v"))));
        now(storage.delete(&id("a"), "k")).unwrap();
        assert_eq!(now(storage.get(&id("a"), "k")), Ok(None));
        assert_eq!(now(storage.exists(&id("a"), "k")), Ok(false));
        assert_eq!(now(storage.exists(&id("b"), "k")), Ok(true));
        assert_eq!(now(storage.get(&id("c"), "k")), Ok(None));
        assert_eq!(usage(&storage, "a"), (0, 0));
        assert_eq!(usage(&storage, "b"), (6, 1));
        assert_eq!(usage(&storage, "c"), (0, 0));
    }

    #[test]
    fn deleting_what_is_not_there_is_fine() {
        let storage = storage_with(&["k"]);
        for (owner, key) in [("a", "other"), ("b", "k")] {
            assert_eq!(now(storage.delete(&id(owner), key)), Ok(()));
        }
        assert_eq!(usage(&storage, "a"), (2, 1));
    }

    #[test]
    fn the_quota_counts_keys_and_values() {
        let storage = MemoryStorage::new();
        let owner = id("a");
        let set = |key: &str, bytes: usize, quota: u64| {
            now(storage.set(&owner, key, Bytes::from(vec![0; bytes]), quota))
        };
        let (one, two) = (with_keys(10, 1), with_keys(10, 2));
        assert_eq!(set("key", 8, one), Err(StorageError::QuotaExceeded));
        assert_eq!(usage(&storage, "a"), (0, 0));
        assert_eq!(set("key", 7, one), Ok(()));
        assert_eq!(set("", 0, two - 1), Err(StorageError::QuotaExceeded));
        assert_eq!(set("", 0, two), Ok(()));
        let three = with_keys(10, 3);
        assert_eq!(set("x", 0, three), Err(StorageError::QuotaExceeded));
        assert_eq!(now(storage.exists(&owner, "x")), Ok(false));
        // What is replaced no longer counts.
        assert_eq!(set("key", 3, two), Ok(()));
        assert_eq!(usage(&storage, "a"), (6, 2));
        assert_eq!(set("key", 8, two), Err(StorageError::QuotaExceeded));
        assert_eq!(now(storage.get(&owner, "key")).unwrap().unwrap().len(), 3);
        // Another owner has a quota of its own.
        let outcome = now(storage.set(&id("b"), "key", Bytes::from(vec![0; 7]), one));
        assert_eq!(outcome, Ok(()));
    }

    #[test]
    fn a_quota_is_one_of_keys_too() {
        let storage = MemoryStorage::new();
        let quota = 1 << 20;
        let set = |n: u64| now(storage.set(&id("a"), &n.to_string(), Bytes::new(), quota));
        let taken = (0..).take_while(|n| set(*n).is_ok()).count() as u64;
        assert!((4_000..4_096).contains(&taken), "{taken} keys");
        assert_eq!(set(taken), Err(StorageError::QuotaExceeded));
        assert_eq!(usage(&storage, "a").1, taken);
    }

    #[test]
    fn shrinking_is_possible_under_a_lowered_quota_only_below_it() {
        let storage = MemoryStorage::new();
        let owner = id("a");
        let set = |bytes: usize, quota: u64| {
            let value = Bytes::from(vec![0; bytes]);
            now(storage.set(&owner, "k", value, with_keys(quota, 1)))
        };
        assert_eq!(set(99, 100), Ok(()));
        assert_eq!(set(50, 50), Err(StorageError::QuotaExceeded));
        assert_eq!(set(49, 50), Ok(()));
        assert_eq!(usage(&storage, "a"), (50, 1));
    }

    #[test]
    fn keys_come_in_pages_in_order_of_bytes() {
        let storage = storage_with(&["b/2", "a", "b/1", "b", "b/10", "c", "é", "B"]);
        let owner = id("a");
        let list = |prefix: &str, after: Option<&str>, limit: usize| {
            now(storage.list_keys(&owner, prefix, after, limit)).unwrap()
        };
        assert_eq!(
            list("", None, usize::MAX),
            ["B", "a", "b", "b/1", "b/10", "b/2", "c", "é"]
        );
        assert_eq!(list("b/", None, 2), ["b/1", "b/10"]);
        assert_eq!(list("b/", Some("b/10"), 2), ["b/2"]);
        assert_eq!(list("b/", Some("a"), 9), ["b/1", "b/10", "b/2"]);
        assert_eq!(list("b/", Some("c"), 9), [""; 0]);
        assert_eq!(list("", Some("b/11"), 1), ["b/2"]);
        assert_eq!(list("", None, 0), [""; 0]);
        assert_eq!(list("x", None, 9), [""; 0]);
        assert_eq!(now(storage.list_keys(&id("b"), "", None, 9)), Ok(vec![]));
    }

    #[test]
    fn errors_say_what_happened_on_one_line() {
        let text = || "a\nb".to_owned();
        let errors = every!(
            StorageError,
            NotFound(text()),
            AlreadyExists(text()),
            QuotaExceeded,
            InvalidKey(text()),
            Io(text()),
        );
        snapshot("storage-error", errors);
    }
}
