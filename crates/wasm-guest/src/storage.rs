//! What a component keeps: values by keys, which only it can see and which outlive its
//! instances.
//!
//! It needs `storage` in `[permissions]`, with a quota. A key has 1 to 1,024 bytes and counts
//! 256 bytes more than itself and its value.
//!
//! ```
//! use wasm_guest::{storage, testing::Host};
//!
//! let host = Host::new("demo/shop/main").with_storage(1 << 20);
//! host.within(|| {
//!     storage::set("price/soup", &7u64)?;
//!     storage::set("price/cake", &4u64)?;
//!     let mut total = 0;
//!     for entry in storage::entries::<u64>("price/")? {
//!         total += entry?.1;
//!     }
//!     assert_eq!(total, 11);
//!     Ok::<(), storage::StorageError>(())
//! })
//! .unwrap();
//! ```

mod error;
mod usage;

use std::str::from_utf8;

use crate::host;
use crate::payload::Payload;

pub use error::StorageError;
pub use usage::StorageUsage;

/// What can be stored: bytes, texts, numbers and booleans, the last two as people write them;
/// with the feature `json`, everything that serde knows, in a `Json`.
///
/// ```
/// use wasm_guest::storage::Value;
///
/// assert_eq!(42u64.to_bytes(), Ok(b"42".to_vec()));
/// assert_eq!(u64::from_bytes(b"42".to_vec()), Ok(42));
/// assert!(u64::from_bytes(b"many".to_vec()).is_err());
/// ```
pub trait Value: Sized {
    /// The bytes that are stored.
    ///
    /// # Errors
    /// The reason, for what cannot be bytes.
    fn to_bytes(&self) -> Result<Vec<u8>, String>;

    /// The value of which these are the bytes.
    ///
    /// # Errors
    /// What is wrong with them.
    fn from_bytes(bytes: Vec<u8>) -> Result<Self, String>;
}

impl Value for Vec<u8> {
    fn to_bytes(&self) -> Result<Vec<u8>, String> {
        Ok(self.clone())
    }

    fn from_bytes(bytes: Vec<u8>) -> Result<Self, String> {
        Ok(bytes)
    }
}

impl Value for Payload {
    fn to_bytes(&self) -> Result<Vec<u8>, String> {
        Ok(self.as_bytes().to_owned())
    }

    fn from_bytes(bytes: Vec<u8>) -> Result<Self, String> {
        Ok(bytes.into())
    }
}

impl Value for String {
    fn to_bytes(&self) -> Result<Vec<u8>, String> {
        Ok(self.as_bytes().to_owned())
    }

    fn from_bytes(bytes: Vec<u8>) -> Result<Self, String> {
        Self::from_utf8(bytes).map_err(|error| error.to_string())
    }
}

macro_rules! as_written {
    ($($type:ty),*) => {$(
        impl Value for $type {
            fn to_bytes(&self) -> Result<Vec<u8>, String> {
                Ok(self.to_string().into_bytes())
            }

            fn from_bytes(bytes: Vec<u8>) -> Result<Self, String> {
                let text = from_utf8(&bytes).map_err(|error| error.to_string())?;
                text.parse::<$type>().map_err(|error| error.to_string())
            }
        }
    )*};
}

as_written!(
    u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, f32, f64, bool, char
);

/// A value that is stored as JSON.
///
/// ```
/// use wasm_guest::storage::{self, Json};
/// use wasm_guest::testing::Host;
///
/// let host = Host::new("demo/shop/main").with_storage(1 << 20);
/// host.within(|| storage::set("prices", &Json(vec![7, 4]))).unwrap();
/// let Json(prices) = host.within(|| storage::get::<Json<Vec<u8>>>("prices")).unwrap().unwrap();
/// assert_eq!(prices, [7, 4]);
/// ```
#[cfg(feature = "json")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Json<T>(
    /// The value itself.
    pub T,
);

#[cfg(feature = "json")]
impl<T: serde::Serialize + serde::de::DeserializeOwned> Value for Json<T> {
    fn to_bytes(&self) -> Result<Vec<u8>, String> {
        serde_json::to_vec(&self.0).map_err(|error| error.to_string())
    }

    fn from_bytes(bytes: Vec<u8>) -> Result<Self, String> {
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| error.to_string())
    }
}

/// The value of a key, or `None` if it has none.
///
/// # Errors
/// [`StorageError::Io`] if storage is not permitted or fails, [`StorageError::InvalidKey`] as
/// it says, and [`StorageError::Unreadable`] if the value is of another type.
///
/// ```
/// use wasm_guest::{storage, testing::Host};
///
/// let host = Host::new("demo/shop/main").with_storage(1 << 20);
/// host.store("count", "3");
/// assert_eq!(host.within(|| storage::get::<u64>("count")), Ok(Some(3)));
/// assert_eq!(host.within(|| storage::get::<u64>("other")), Ok(None));
/// ```
pub fn get<T: Value>(key: &str) -> Result<Option<T>, StorageError> {
    let Some(bytes) = host::get(key)? else {
        return Ok(None);
    };
    let read = T::from_bytes(bytes).map_err(|reason| StorageError::Unreadable {
        key: key.to_owned(),
        reason,
    })?;
    Ok(Some(read))
}

/// Gives a key a value, in place of any that it has.
///
/// # Errors
/// [`StorageError::QuotaExceeded`], [`StorageError::InvalidKey`] and [`StorageError::Io`] as
/// they say; what was there is then as before. [`StorageError::Unreadable`] for what cannot be
/// bytes.
///
/// ```
/// use wasm_guest::{storage, testing::Host};
///
/// let host = Host::new("demo/shop/main").with_storage(1 << 20);
/// host.within(|| storage::set("name", &"soup".to_owned())).unwrap();
/// assert_eq!(host.stored("name"), Some("soup".into()));
/// ```
pub fn set<T: Value>(key: &str, value: &T) -> Result<(), StorageError> {
    let bytes = value
        .to_bytes()
        .map_err(|reason| StorageError::Unreadable {
            key: key.to_owned(),
            reason,
        })?;
    host::set(key, bytes)
}

/// Takes a key away, with its value. That there is none is fine.
///
/// # Errors
/// [`StorageError::InvalidKey`] and [`StorageError::Io`] as they say.
///
/// ```
/// use wasm_guest::{storage, testing::Host};
///
/// let host = Host::new("demo/shop/main").with_storage(1 << 20);
/// host.store("name", "soup");
/// host.within(|| storage::delete("name")).unwrap();
/// assert_eq!(host.stored("name"), None);
/// ```
pub fn delete(key: &str) -> Result<(), StorageError> {
    host::delete(key)
}

/// Whether a key has a value.
///
/// # Errors
/// As for [`delete`].
///
/// ```
/// use wasm_guest::{storage, testing::Host};
///
/// let host = Host::new("demo/shop/main").with_storage(1 << 20);
/// host.store("name", "soup");
/// assert_eq!(host.within(|| storage::exists("name")), Ok(true));
/// ```
pub fn exists(key: &str) -> Result<bool, StorageError> {
    host::exists(key)
}

/// The keys that begin with `prefix`, in order; all of them for `""`.
///
/// # Errors
/// [`StorageError::Io`] if storage is not permitted or fails, and where more than 4,096 keys
/// begin with it.
///
/// ```
/// use wasm_guest::{storage, testing::Host};
///
/// let host = Host::new("demo/shop/main").with_storage(1 << 20);
/// host.store("a/1", "");
/// host.store("b/1", "");
/// assert_eq!(host.within(|| storage::keys("a/")), Ok(vec!["a/1".to_owned()]));
/// ```
pub fn keys(prefix: &str) -> Result<Vec<String>, StorageError> {
    host::keys(prefix)
}

/// The keys that begin with `prefix`, in order, each with its value, which is read when its
/// turn comes. One that is deleted before that is passed over.
///
/// # Errors
/// As for [`keys`]; each entry as for [`get`].
///
/// ```
/// use wasm_guest::{storage, testing::Host};
///
/// let host = Host::new("demo/shop/main").with_storage(1 << 20);
/// host.store("price/soup", "7");
/// let prices = host.within(|| storage::entries::<u64>("price/")?.collect::<Result<Vec<_>, _>>());
/// assert_eq!(prices, Ok(vec![("price/soup".to_owned(), 7)]));
/// ```
pub fn entries<T: Value>(
    prefix: &str,
) -> Result<impl Iterator<Item = Result<(String, T), StorageError>>, StorageError> {
    let keys = host::keys(prefix)?;
    Ok(keys.into_iter().filter_map(|key| match get(&key) {
        Ok(Some(value)) => Some(Ok((key, value))),
        Ok(None) => None,
        Err(error) => Some(Err(error)),
    }))
}

/// How much the component keeps, and may keep.
///
/// # Errors
/// [`StorageError::Io`] if storage is not permitted or fails.
///
/// ```
/// use wasm_guest::{storage, testing::Host};
///
/// let host = Host::new("demo/shop/main").with_storage(1 << 20);
/// host.store("name", "soup");
/// let usage = host.within(storage::usage).unwrap();
/// assert_eq!((usage.used_bytes, usage.quota_bytes, usage.key_count), (264, 1 << 20, 1));
/// ```
pub fn usage() -> Result<StorageUsage, StorageError> {
    host::storage_usage()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_reads_as_what_was_stored() {
        fn same<T: Value + PartialEq + std::fmt::Debug>(value: &T) {
            let bytes = value.to_bytes().unwrap();
            assert_eq!(T::from_bytes(bytes).unwrap(), *value);
        }
        same(&vec![0xffu8, 0]);
        same(&Payload::from("a"));
        same(&"grüß".to_owned());
        same(&u128::MAX);
        same(&i64::MIN);
        same(&0.1f64);
        same(&true);
        same(&'ü');
        assert!(String::from_bytes(vec![0xff]).is_err());
        assert!(bool::from_bytes(b"1".to_vec()).is_err());
        assert!(u8::from_bytes(vec![0xff]).is_err());
    }
}
