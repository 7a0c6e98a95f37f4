//! `wasi:keyvalue` over the storage of a component, which is the bucket `default`. Others are
//! the parts of it whose keys begin with the name of the bucket and a slash.
//!
//! There are two drafts in use, which differ in the types of a cursor, of a number that is
//! added and of values that are read together. Numbers are kept as text, such as `42`.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::StoreContextMut;
use wasmtime::component::{
    ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType,
};

use wasm_core::units::{format_bytes, format_count};
use wasm_core::{Capability, StorageError};

use super::cas::Cas;
use crate::instance::state::{Guest, HostState};
use crate::wasi::HasAccount as _;

/// Of wasmCloud and wasmtime, and of Spin.
const DRAFTS: [&str; 2] = ["0.2.0-draft", "0.2.0-draft2"];

/// What components of other hosts call the one that needs no name.
const WHOLE: [&str; 2] = ["", "default"];

/// The name of a bucket, in bytes.
const MAX_NAME: usize = 64;

/// Keys in one answer.
const KEYS_OF_A_PAGE: usize = 1_000;

/// How far a cursor that is a number may lead: the keys before it are read each time.
const MAX_NUMBERED_KEYS: usize = 100_000;

/// Keys of one batch.
const MAX_BATCH: usize = 1_024;

/// What a handle stands for.
struct Bucket {
    prefix: Arc<str>,
}

/// A bucket while a function of it runs.
struct Store {
    guest: Arc<Guest>,
    /// That of its keys in the storage of the component.
    prefix: Arc<str>,
}

impl Store {
    /// In the storage. No bucket has a key without a name.
    fn key(&self, key: &str) -> String {
        match key {
            "" => String::new(),
            _ => format!("{}{key}", self.prefix),
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StorageError> {
        self.guest.calls.get(&self.key(key)).await
    }

    /// A value is not written while a number is added to it, or while it is compared.
    async fn set(&self, key: &str, value: Bytes) -> Result<(), StorageError> {
        let _shared = self.guest.wasi.values.read().await;
        self.guest.calls.set(&self.key(key), value).await
    }

    async fn delete(&self, key: &str) -> Result<(), StorageError> {
        let _shared = self.guest.wasi.values.read().await;
        self.guest.calls.delete(&self.key(key)).await
    }

    /// At most so many, as they are called in the bucket.
    async fn keys_after(
        &self,
        key: Option<&str>,
        most: usize,
    ) -> Result<Vec<String>, StorageError> {
        let after = key.map(|key| format!("{}{key}", self.prefix));
        let calls = &self.guest.calls;
        let keys = calls.list_keys_after(&self.prefix, after.as_deref(), most);
        let mut keys = keys.await?;
        for key in &mut keys {
            key.drain(..self.prefix.len());
        }
        Ok(keys)
    }
}

#[derive(Debug, Clone, ComponentType, Lift, Lower)]
#[component(variant)]
enum Error {
    #[component(name = "no-such-store")]
    NoSuchStore,
    #[component(name = "access-denied")]
    AccessDenied,
    #[component(name = "other")]
    Other(String),
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        Self::Other(error.to_string())
    }
}

#[derive(ComponentType, Lower)]
#[component(variant)]
enum CasError {
    #[component(name = "store-error")]
    Store(Error),
    #[component(name = "cas-failed")]
    Failed(Resource<Cas>),
}

#[derive(Debug, Clone, ComponentType, Lower)]
#[component(record)]
struct Page<C> {
    keys: Vec<String>,
    cursor: Option<C>,
}

type Caller<'a, T> = StoreContextMut<'a, HostState<T>>;
type Interface<'a, T> = LinkerInstance<'a, HostState<T>>;
type OfBucket = Resource<Bucket>;

pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<HostState<T>>,
) -> wasmtime::Result<()> {
    for draft in DRAFTS {
        store(&mut linker.instance(&format!("wasi:keyvalue/store@{draft}"))?)?;
        batch(&mut linker.instance(&format!("wasi:keyvalue/batch@{draft}"))?)?;
    }
    let [first, second] = DRAFTS;
    reads_entries(&mut linker.instance(&format!("wasi:keyvalue/batch@{first}"))?)?;
    reads_values(&mut linker.instance(&format!("wasi:keyvalue/batch@{second}"))?)?;
    pages_by_number(&mut linker.instance(&format!("wasi:keyvalue/store@{first}"))?)?;
    pages_by_key(&mut linker.instance(&format!("wasi:keyvalue/store@{second}"))?)?;
    increments_of::<T, u64>(&mut linker.instance(&format!("wasi:keyvalue/atomics@{first}"))?)?;
    let mut atomics = linker.instance(&format!("wasi:keyvalue/atomics@{second}"))?;
    increments_of::<T, i64>(&mut atomics)?;
    swaps(&mut atomics)
}

/// Nothing for what cannot be the name of a bucket.
fn prefix_of(name: &str) -> Option<Arc<str>> {
    if WHOLE.contains(&name) {
        return Some("".into());
    }
    let is_name = name.len() <= MAX_NAME && !name.contains('/');
    is_name.then(|| format!("{name}/").into())
}

/// The bucket of a handle.
fn store_of<T: Send + 'static>(
    caller: &mut Caller<'_, T>,
    bucket: &OfBucket,
) -> wasmtime::Result<Store> {
    let state = caller.data_mut();
    Ok(Store {
        prefix: Arc::clone(&state.view().table.get(bucket)?.prefix),
        guest: Arc::clone(&state.guest),
    })
}

/// Defines an async host function of a bucket, which its body sees as `$store`. It ends in a
/// result of the draft.
///
/// The guest is shared into the future, so that no future borrows the store.
macro_rules! define {
    ($interface:ident, $name:literal, |$store:ident, ($($arg:ident: $ty:ty),*)| $body:expr) => {
        $interface.func_wrap_async(
            $name,
            |mut caller: Caller<'_, T>, (bucket, $($arg,)*): (OfBucket, $($ty,)*)| {
                let store = store_of(&mut caller, &bucket);
                Box::new(async move {
                    let $store = &store?;
                    let ended: Result<_, Error> = async { $body }.await;
                    Ok((ended,))
                })
            },
        )?
    };
}

fn store<T: Send + 'static>(interface: &mut Interface<'_, T>) -> wasmtime::Result<()> {
    let drop_bucket = |mut caller: Caller<'_, T>, number| {
        let bucket: Resource<Bucket> = Resource::new_own(number);
        caller.data_mut().view().table.delete(bucket)?;
        Ok(())
    };
    interface.resource("bucket", ResourceType::host::<Bucket>(), drop_bucket)?;
    interface.func_wrap("open", |mut caller: Caller<'_, T>, (name,): (String,)| {
        let state = caller.data_mut();
        let Some(prefix) = prefix_of(&name) else {
            return Ok((Err(Error::NoSuchStore),));
        };
        if state.guest.calls.check(Capability::Storage).is_err() {
            return Ok((Err(Error::AccessDenied),));
        }
        let bucket = state.view().table.push(Bucket { prefix })?;
        state.settle("a bucket")?;
        Ok((Ok(bucket),))
    })?;
    define!(interface, "[method]bucket.get", |store, (key: String)| {
        Ok(store.get(&key).await?)
    });
    define!(interface, "[method]bucket.set", |store, (key: String, value: Bytes)| {
        Ok(store.set(&key, value).await?)
    });
    define!(interface, "[method]bucket.delete", |store, (key: String)| {
        Ok(store.delete(&key).await?)
    });
    define!(interface, "[method]bucket.exists", |store, (key: String)| {
        Ok(store.guest.calls.exists(&store.key(&key)).await?)
    });
    Ok(())
}

fn batch<T: Send + 'static>(interface: &mut Interface<'_, T>) -> wasmtime::Result<()> {
    define!(interface, "set-many", |store, (entries: Vec<(String, Bytes)>)| {
        check_batch(entries.len())?;
        for (key, value) in entries {
            store.set(&key, value).await?;
        }
        Ok(())
    });
    define!(interface, "delete-many", |store, (keys: Vec<String>)| {
        check_batch(keys.len())?;
        for key in keys {
            store.delete(&key).await?;
        }
        Ok(())
    });
    Ok(())
}

/// What is not there is nothing in the list.
fn reads_entries<T: Send + 'static>(interface: &mut Interface<'_, T>) -> wasmtime::Result<()> {
    define!(interface, "get-many", |store, (keys: Vec<String>)| {
        let entries = get_many(store, keys).await?.into_iter();
        Ok(entries
            .map(|(key, value)| value.map(|value| (key, value)))
            .collect::<Vec<_>>())
    });
    Ok(())
}

/// What is not there has no value in the list.
fn reads_values<T: Send + 'static>(interface: &mut Interface<'_, T>) -> wasmtime::Result<()> {
    define!(interface, "get-many", |store, (keys: Vec<String>)| {
        get_many(store, keys).await
    });
    Ok(())
}

fn check_batch(keys: usize) -> Result<(), Error> {
    match keys <= MAX_BATCH {
        true => Ok(()),
        false => {
            let most = format_count(MAX_BATCH as u64);
            Err(Error::Other(format!("a batch has at most {most} keys")))
        }
    }
}

/// No more than the component can hold.
async fn get_many(store: &Store, keys: Vec<String>) -> Result<Vec<(String, Option<Bytes>)>, Error> {
    check_batch(keys.len())?;
    let most = store.guest.config().limits.memory_bytes();
    let mut held = 0;
    let mut entries = Vec::with_capacity(keys.len());
    for key in keys {
        let value = store.get(&key).await?;
        held += value.as_ref().map_or(0, Bytes::len) as u64;
        if held > most {
            let most = format_bytes(most);
            let reason = format!("the values are more than {most}, which the component may hold");
            return Err(Error::Other(reason));
        }
        entries.push((key, value));
    }
    Ok(entries)
}

/// A cursor is the number of keys before it.
fn pages_by_number<T: Send + 'static>(interface: &mut Interface<'_, T>) -> wasmtime::Result<()> {
    define!(interface, "[method]bucket.list-keys", |store, (cursor: Option<u64>)| {
        let before = usize::try_from(cursor.unwrap_or(0)).unwrap_or(usize::MAX);
        if before > MAX_NUMBERED_KEYS {
            let most = format_count(MAX_NUMBERED_KEYS as u64);
            return Err(Error::Other(format!("a cursor leads to key {most} at the most")));
        }
        let mut after = None;
        let mut passed = 0;
        while passed < before {
            let count = KEYS_OF_A_PAGE.min(before - passed);
            let keys = store.keys_after(after.as_deref(), count).await?;
            passed += keys.len();
            after = match keys.into_iter().next_back() {
                Some(last) => Some(last),
                None => return Ok(Page { keys: Vec::new(), cursor: None }),
            };
        }
        let keys = store.keys_after(after.as_deref(), KEYS_OF_A_PAGE).await?;
        let is_full = keys.len() == KEYS_OF_A_PAGE;
        let cursor = is_full.then(|| (before + keys.len()) as u64);
        Ok(Page { keys, cursor })
    });
    Ok(())
}

/// A cursor is the last key before it.
fn pages_by_key<T: Send + 'static>(interface: &mut Interface<'_, T>) -> wasmtime::Result<()> {
    define!(interface, "[method]bucket.list-keys", |store, (cursor: Option<String>)| {
        let keys = store.keys_after(cursor.as_deref(), KEYS_OF_A_PAGE).await?;
        let is_full = keys.len() == KEYS_OF_A_PAGE;
        let cursor = keys.last().filter(|_| is_full).cloned();
        Ok(Page { keys, cursor })
    });
    Ok(())
}

/// `N` is the type of numbers.
fn increments_of<T, N>(interface: &mut Interface<'_, T>) -> wasmtime::Result<()>
where
    T: Send + 'static,
    N: ComponentType + Lift + Lower + Into<i128> + TryFrom<i128> + Send + Sync + 'static,
{
    define!(interface, "increment", |store, (key: String, delta: N)| {
        let _alone = store.guest.wasi.values.write().await;
        let before = store.get(&key).await?;
        let sum = number_in(before.as_ref())?.checked_add(delta.into());
        let too_large = || Error::Other("the number would be too large".to_owned());
        let sum = sum.ok_or_else(too_large)?;
        let counted = N::try_from(sum).map_err(|_| too_large())?;
        store.guest.calls.set(&store.key(&key), sum.to_string().into()).await?;
        Ok(counted)
    });
    Ok(())
}

/// What is not there is 0.
fn number_in(value: Option<&Bytes>) -> Result<i128, Error> {
    let Some(value) = value else {
        return Ok(0);
    };
    let text = std::str::from_utf8(value).ok();
    let number = text.and_then(|text| text.parse::<i64>().ok().map(i128::from));
    let number = number.or_else(|| text?.parse::<u64>().ok().map(i128::from));
    number.ok_or_else(|| Error::Other("the value is no number as text, such as 42".to_owned()))
}

fn swaps<T: Send + 'static>(interface: &mut Interface<'_, T>) -> wasmtime::Result<()> {
    let drop_cas = |mut caller: Caller<'_, T>, number| {
        let cas: Resource<Cas> = Resource::new_own(number);
        caller.data_mut().view().table.delete(cas)?;
        Ok(())
    };
    interface.resource("cas", ResourceType::host::<Cas>(), drop_cas)?;
    interface.func_wrap_async(
        "[static]cas.new",
        |mut caller: Caller<'_, T>, (bucket, key): (OfBucket, String)| {
            Box::new(async move {
                let store = store_of(&mut caller, &bucket)?;
                let key = store.key(&key);
                match store.guest.calls.get(&key).await {
                    Ok(seen) => Ok((Ok(keep(&mut caller, Cas { key, seen })?),)),
                    Err(error) => Ok((Err(Error::from(error)),)),
                }
            })
        },
    )?;
    interface.func_wrap(
        "[method]cas.current",
        |mut caller: Caller<'_, T>, (cas,): (Resource<Cas>,)| {
            let seen = caller.data_mut().view().table.get(&cas)?.seen.clone();
            Ok((Ok::<_, Error>(seen),))
        },
    )?;
    interface.func_wrap_async(
        "swap",
        |mut caller: Caller<'_, T>, (cas, value): (Resource<Cas>, Bytes)| {
            Box::new(async move {
                let cas = caller.data_mut().view().table.delete(cas)?;
                let guest = Arc::clone(&caller.data().guest);
                Ok((match swap(&guest, &cas, value).await {
                    Ok(None) => Ok(()),
                    Ok(Some(latest)) => Err(CasError::Failed(keep(&mut caller, latest)?)),
                    Err(error) => Err(CasError::Store(error)),
                },))
            })
        },
    )
}

/// What the value is now, if it is another than it was.
async fn swap(guest: &Guest, cas: &Cas, value: Bytes) -> Result<Option<Cas>, Error> {
    let _alone = guest.wasi.values.write().await;
    let now = guest.calls.get(&cas.key).await?;
    if now != cas.seen {
        let key = cas.key.clone();
        return Ok(Some(Cas { key, seen: now }));
    }
    guest.calls.set(&cas.key, value).await?;
    Ok(None)
}

fn keep<T: Send + 'static>(
    caller: &mut Caller<'_, T>,
    cas: Cas,
) -> wasmtime::Result<Resource<Cas>> {
    let state = caller.data_mut();
    let kept = state.view().table.push(cas)?;
    state.settle("a value to be swapped")?;
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_the_keys_that_begin_with_its_name() {
        let long = "x".repeat(64);
        for (name, prefix) in [
            ("", Some("")),
            ("default", Some("")),
            ("carts", Some("carts/")),
            (&long, Some(&*format!("{long}/"))),
            (&format!("{long}x"), None),
            ("a/b", None),
        ] {
            assert_eq!(prefix_of(name).as_deref(), prefix, "{name}");
        }
    }

    #[test]
    fn a_batch_has_so_many_keys() {
        assert!(check_batch(1024).is_ok());
        let Err(Error::Other(reason)) = check_batch(1025) else {
            panic!("it has more");
        };
        assert_eq!(reason, "a batch has at most 1_024 keys");
    }

    #[test]
    fn numbers_are_text() {
        let number = |text: &str| number_in(Some(&Bytes::copy_from_slice(text.as_bytes())));
        for (text, value) in [
            ("42", 42),
            ("-7", -7),
            ("18446744073709551615", i128::from(u64::MAX)),
            ("-9223372036854775808", i128::from(i64::MIN)),
        ] {
            assert_eq!(number(text).ok(), Some(value), "{text}");
        }
        for text in [
            "",
            "x",
            "1.5",
            "18446744073709551616",
            "-9223372036854775809",
        ] {
            assert!(number(text).is_err(), "{text}");
        }
        assert_eq!(number_in(None).ok(), Some(0));
        assert!(number_in(Some(&Bytes::from_static(&[0xff]))).is_err());
    }
}
