//! `wasi:keyvalue` over the storage of a component: of one bucket, which has two names.
//!
//! There are two drafts in use, which differ in the types of a cursor and of a number that is
//! added. Numbers are kept as text, such as `42`.

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
const BUCKETS: [&str; 2] = ["", "default"];

/// Keys in one answer.
const KEYS_OF_A_PAGE: usize = 1_000;

/// How far a cursor that is a number may lead: the keys before it are read each time.
const MAX_NUMBERED_KEYS: usize = 100_000;

/// Keys of one batch.
const MAX_BATCH: usize = 1_024;

/// The storage of the component itself.
struct Bucket;

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
    pages_by_number(&mut linker.instance(&format!("wasi:keyvalue/store@{first}"))?)?;
    pages_by_key(&mut linker.instance(&format!("wasi:keyvalue/store@{second}"))?)?;
    increments_of::<T, u64>(&mut linker.instance(&format!("wasi:keyvalue/atomics@{first}"))?)?;
    let mut atomics = linker.instance(&format!("wasi:keyvalue/atomics@{second}"))?;
    increments_of::<T, i64>(&mut atomics)?;
    swaps(&mut atomics)
}

/// Defines an async host function whose body sees the guest as `$guest`, and ends in a result
/// of the draft.
///
/// The guest is shared into the future, so that no future borrows the store.
macro_rules! define {
    ($interface:ident, $name:literal, |$guest:ident, ($($arg:ident: $ty:ty),*)| $body:expr) => {
        $interface.func_wrap_async($name, |caller: Caller<'_, T>, ($($arg,)*): ($($ty,)*)| {
            let guest = Arc::clone(&caller.data().guest);
            Box::new(async move {
                let $guest = &*guest;
                let ended: Result<_, Error> = async { $body }.await;
                Ok((ended,))
            })
        })?
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
        if !BUCKETS.contains(&name.as_str()) {
            return Ok((Err(Error::NoSuchStore),));
        }
        if state.guest.calls.check(Capability::Storage).is_err() {
            return Ok((Err(Error::AccessDenied),));
        }
        let bucket = state.view().table.push(Bucket)?;
        Ok((Ok(bucket),))
    })?;
    define!(interface, "[method]bucket.get", |guest, (_bucket: OfBucket, key: String)| {
        Ok(guest.calls.get(&key).await?)
    });
    define!(interface, "[method]bucket.set", |guest, (_bucket: OfBucket, key: String, value: Bytes)| {
        set(guest, &key, value).await
    });
    define!(interface, "[method]bucket.delete", |guest, (_bucket: OfBucket, key: String)| {
        delete(guest, &key).await
    });
    define!(interface, "[method]bucket.exists", |guest, (_bucket: OfBucket, key: String)| {
        Ok(guest.calls.exists(&key).await?)
    });
    Ok(())
}

/// A value is not written while a number is added to it, or while it is compared.
async fn set(guest: &Guest, key: &str, value: Bytes) -> Result<(), Error> {
    let _shared = guest.wasi.values.read().await;
    Ok(guest.calls.set(key, value).await?)
}

async fn delete(guest: &Guest, key: &str) -> Result<(), Error> {
    let _shared = guest.wasi.values.read().await;
    Ok(guest.calls.delete(key).await?)
}

fn batch<T: Send + 'static>(interface: &mut Interface<'_, T>) -> wasmtime::Result<()> {
    define!(interface, "get-many", |guest, (_bucket: OfBucket, keys: Vec<String>)| {
        get_many(guest, keys).await
    });
    define!(interface, "set-many", |guest, (_bucket: OfBucket, entries: Vec<(String, Bytes)>)| {
        check_batch(entries.len())?;
        for (key, value) in entries {
            set(guest, &key, value).await?;
        }
        Ok(())
    });
    define!(interface, "delete-many", |guest, (_bucket: OfBucket, keys: Vec<String>)| {
        check_batch(keys.len())?;
        for key in keys {
            delete(guest, &key).await?;
        }
        Ok(())
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
async fn get_many(guest: &Guest, keys: Vec<String>) -> Result<Vec<Option<(String, Bytes)>>, Error> {
    check_batch(keys.len())?;
    let most = guest.config().limits.memory_bytes();
    let mut held = 0;
    let mut entries = Vec::with_capacity(keys.len());
    for key in keys {
        let value = guest.calls.get(&key).await?;
        held += value.as_ref().map_or(0, Bytes::len) as u64;
        if held > most {
            let most = format_bytes(most);
            let reason = format!("the values are more than {most}, which the component may hold");
            return Err(Error::Other(reason));
        }
        entries.push(value.map(|value| (key, value)));
    }
    Ok(entries)
}

/// A cursor is the number of keys before it.
fn pages_by_number<T: Send + 'static>(interface: &mut Interface<'_, T>) -> wasmtime::Result<()> {
    define!(interface, "[method]bucket.list-keys", |guest, (_bucket: OfBucket, cursor: Option<u64>)| {
        let before = usize::try_from(cursor.unwrap_or(0)).unwrap_or(usize::MAX);
        if before > MAX_NUMBERED_KEYS {
            let most = format_count(MAX_NUMBERED_KEYS as u64);
            return Err(Error::Other(format!("a cursor leads to key {most} at the most")));
        }
        let mut after = None;
        let mut passed = 0;
        while passed < before {
            let count = KEYS_OF_A_PAGE.min(before - passed);
            let keys = guest.calls.list_keys_after(after.as_deref(), count).await?;
            passed += keys.len();
            after = match keys.into_iter().next_back() {
                Some(last) => Some(last),
                None => return Ok(Page { keys: Vec::new(), cursor: None }),
            };
        }
        let keys = guest.calls.list_keys_after(after.as_deref(), KEYS_OF_A_PAGE).await?;
        let is_full = keys.len() == KEYS_OF_A_PAGE;
        let cursor = is_full.then(|| (before + keys.len()) as u64);
        Ok(Page { keys, cursor })
    });
    Ok(())
}

/// A cursor is the last key before it.
fn pages_by_key<T: Send + 'static>(interface: &mut Interface<'_, T>) -> wasmtime::Result<()> {
    define!(interface, "[method]bucket.list-keys", |guest, (_bucket: OfBucket, cursor: Option<String>)| {
        let keys = guest.calls.list_keys_after(cursor.as_deref(), KEYS_OF_A_PAGE).await?;
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
    define!(interface, "increment", |guest, (_bucket: OfBucket, key: String, delta: N)| {
        let _alone = guest.wasi.values.write().await;
        let before = guest.calls.get(&key).await?;
        let sum = number_in(before.as_ref())?.checked_add(delta.into());
        let too_large = || Error::Other("the number would be too large".to_owned());
        let sum = sum.ok_or_else(too_large)?;
        let counted = N::try_from(sum).map_err(|_| too_large())?;
        guest.calls.set(&key, sum.to_string().into()).await?;
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
        |mut caller: Caller<'_, T>, (_bucket, key): (OfBucket, String)| {
            Box::new(async move {
                let guest = Arc::clone(&caller.data().guest);
                match guest.calls.get(&key).await {
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
