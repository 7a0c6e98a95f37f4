//! `storage` of the contract.

use bytes::Bytes;

use super::Guest;
use crate::{Capability, ComponentStorage, StorageError, StorageUsage};

/// Keys that are listed; where more match, it is an error, because a list cut short would
/// look complete.
const MAX_LISTED_KEYS: usize = 4096;

/// As long as a path on common file systems may be.
const MAX_KEY_BYTES: usize = 1024;

/// Each checks the permission, then the key, and asks the component's own part of the store.
///
/// # Errors
/// [`StorageError::Io`] for what is not permitted, [`StorageError::InvalidKey`] for a key
/// that is empty or longer than 1024 bytes, else the store's.
impl Guest {
    /// `get`; `None` for a key that has no value.
    ///
    /// # Errors
    /// As for all of storage.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, StorageError> {
        let storage = self.storage_with(key)?;
        storage.get(self.id(), key).await
    }

    /// `set`, within the quota that was granted.
    ///
    /// # Errors
    /// As for all of storage, and [`StorageError::QuotaExceeded`].
    pub async fn set(&self, key: &str, value: Bytes) -> Result<(), StorageError> {
        let storage = self.storage_with(key)?;
        storage.set(self.id(), key, value, self.quota_bytes()).await
    }

    /// `delete`, whether or not there is a value.
    ///
    /// # Errors
    /// As for all of storage.
    pub async fn delete(&self, key: &str) -> Result<(), StorageError> {
        let storage = self.storage_with(key)?;
        storage.delete(self.id(), key).await
    }

    /// `exists`.
    ///
    /// # Errors
    /// As for all of storage.
    pub async fn exists(&self, key: &str) -> Result<bool, StorageError> {
        let storage = self.storage_with(key)?;
        storage.exists(self.id(), key).await
    }

    /// `list-keys`: all keys that begin with `prefix`, in order.
    ///
    /// # Errors
    /// [`StorageError::Io`] for what is not permitted, and where more than 4,096 keys match;
    /// else the store's.
    pub async fn list_keys(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let storage = self.storage()?;
        let limit = MAX_LISTED_KEYS + 1;
        let keys = storage.list_keys(self.id(), prefix, None, limit).await?;
        if keys.len() > MAX_LISTED_KEYS {
            let reason = format!("more than {MAX_LISTED_KEYS} keys match; ask for a longer prefix");
            return Err(StorageError::Io(reason));
        }
        Ok(keys)
    }

    /// At most `limit` keys that begin with `prefix` and come after this one, in order: for a
    /// component that asks for them page by page.
    ///
    /// # Errors
    /// As for all of storage.
    pub async fn list_keys_after(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StorageError> {
        let storage = self.storage()?;
        storage.list_keys(self.id(), prefix, after, limit).await
    }

    /// `usage`, with the quota in bytes.
    ///
    /// # Errors
    /// [`StorageError::Io`] for what is not permitted; else the store's.
    pub async fn storage_usage(&self) -> Result<(StorageUsage, u64), StorageError> {
        let storage = self.storage()?;
        let usage = storage.usage(self.id()).await?;
        Ok((usage, self.quota_bytes()))
    }

    fn storage(&self) -> Result<&dyn ComponentStorage, StorageError> {
        self.check(Capability::Storage)
            .map_err(|denied| StorageError::Io(denied.to_string()))?;
        Ok(&*self.services.storage)
    }

    fn storage_with(&self, key: &str) -> Result<&dyn ComponentStorage, StorageError> {
        let storage = self.storage()?;
        if (1..=MAX_KEY_BYTES).contains(&key.len()) {
            return Ok(storage);
        }
        let length = key.len();
        let reason = format!("it has {length} bytes; a key has 1 to {MAX_KEY_BYTES}");
        Err(StorageError::InvalidKey(reason))
    }

    fn quota_bytes(&self) -> u64 {
        self.config.permissions.storage.unwrap_or(0)
    }
}
