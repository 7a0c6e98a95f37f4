//! What a component may import, besides WASI: one function for each function of the
//! contract. Each lifts its arguments, calls the host as a [guest](wasm_core::guest) of any
//! engine does, and lowers the result.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use wasm_core::TIMERS_INTERFACE;

use super::abi::{
    WitComponentError, WitComponentId, WitComponentInfo, WitLogLevel, WitMessagingError,
    WitStorageError, WitStorageUsage, WitTimerError, WitTimestamp,
};
use crate::instance::state::HostState;

const MESSAGING: &str = "airssys:core/host-messaging@1.0.0";
const SERVICES: &str = "airssys:core/host-services@1.0.0";
const STORAGE: &str = "airssys:core/storage@1.0.0";

type Caller<'a, T> = StoreContextMut<'a, HostState<T>>;

/// Adds the imports of the contract to `linker`.
pub(crate) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<HostState<T>>,
) -> wasmtime::Result<()> {
    host_messaging(linker)?;
    host_services(linker)?;
    storage(linker)?;
    host_timers(linker)
}

/// Defines an async host function whose body sees the calls of the guest as `$guest`.
///
/// The guest is shared into the future, so that no future borrows the store.
macro_rules! define {
    ($interface:ident, $name:literal, |$guest:ident, ($($arg:ident: $ty:ty),*)| $body:expr) => {
        $interface.func_wrap_async($name, |caller: Caller<'_, T>, ($($arg,)*): ($($ty,)*)| {
            let $guest = Arc::clone(&caller.data().guest);
            Box::new(async move {
                let $guest = &$guest.calls;
                Ok(($body,))
            })
        })?
    };
}

fn host_messaging<T: Send + 'static>(linker: &mut Linker<HostState<T>>) -> wasmtime::Result<()> {
    let mut interface = linker.instance(MESSAGING)?;
    define!(interface, "send", |guest, (target: WitComponentId, payload: Bytes)| {
        guest.send(target, payload).await.map_err(WitMessagingError::from)
    });
    define!(interface, "request", |guest, (target: WitComponentId, payload: Bytes, ms: u64)| {
        let sent = guest.request(target, payload, Duration::from_millis(ms)).await;
        sent.map(<Arc<str>>::from).map_err(WitMessagingError::from)
    });
    define!(interface, "cancel-request", |guest, (request: String)| {
        guest.cancel_request(&request.into()).await.map_err(WitMessagingError::from)
    });
    define!(interface, "broadcast", |guest, (targets: Vec<WitComponentId>, payload: Bytes)| {
        guest.broadcast(targets, payload).await.map_err(WitMessagingError::from)
    });
    interface.func_wrap("self-id", |caller: Caller<'_, T>, (): ()| {
        Ok((WitComponentId::from(caller.data().guest.id()),))
    })
}

type LogArguments = (WitLogLevel, String, Option<Vec<(String, String)>>);

fn host_services<T: Send + 'static>(linker: &mut Linker<HostState<T>>) -> wasmtime::Result<()> {
    let mut interface = linker.instance(SERVICES)?;
    interface.func_wrap(
        "log",
        |caller: Caller<'_, T>, (level, message, context): LogArguments| {
            let guest = &caller.data().guest.calls;
            guest.log(level.into(), &message, &context.unwrap_or_default());
            Ok(())
        },
    )?;
    interface.func_wrap("current-time", |caller: Caller<'_, T>, (): ()| {
        Ok((WitTimestamp::from(caller.data().guest.calls.now()),))
    })?;
    interface.func_wrap("current-time-millis", |caller: Caller<'_, T>, (): ()| {
        Ok((caller.data().guest.calls.now().as_millis(),))
    })?;
    interface.func_wrap_async("sleep-millis", |_: Caller<'_, T>, (millis,): (u64,)| {
        Box::new(async move {
            // However long, the call's deadline ends it.
            tokio::time::sleep(Duration::from_millis(millis)).await;
            Ok(())
        })
    })?;
    define!(interface, "list-components", |guest, ()| {
        let visible = guest.list_components().await;
        visible.iter().map(WitComponentId::from).collect::<Vec<_>>()
    });
    define!(interface, "get-component-metadata", |guest, (id: WitComponentId)| {
        let info = guest.component_info(id).await;
        info.map(WitComponentInfo::from).map_err(WitComponentError::InvalidState)
    });
    Ok(())
}

fn storage<T: Send + 'static>(linker: &mut Linker<HostState<T>>) -> wasmtime::Result<()> {
    let mut interface = linker.instance(STORAGE)?;
    define!(interface, "get", |guest, (key: String)| {
        guest.get(&key).await.map_err(WitStorageError::from)
    });
    define!(interface, "set", |guest, (key: String, value: Bytes)| {
        guest.set(&key, value).await.map_err(WitStorageError::from)
    });
    define!(interface, "delete", |guest, (key: String)| {
        guest.delete(&key).await.map_err(WitStorageError::from)
    });
    define!(interface, "exists", |guest, (key: String)| {
        guest.exists(&key).await.map_err(WitStorageError::from)
    });
    define!(interface, "list-keys", |guest, (prefix: Option<String>)| {
        let prefix = prefix.unwrap_or_default();
        guest.list_keys(&prefix).await.map_err(WitStorageError::from)
    });
    define!(interface, "usage", |guest, ()| {
        let usage = guest.storage_usage().await.map_err(WitStorageError::from);
        usage.map(|(usage, quota_bytes)| WitStorageUsage {
            used_bytes: usage.used_bytes,
            quota_bytes,
            key_count: usage.key_count,
        })
    });
    Ok(())
}

fn host_timers<T: Send + 'static>(linker: &mut Linker<HostState<T>>) -> wasmtime::Result<()> {
    let mut interface = linker.instance(TIMERS_INTERFACE)?;
    define!(interface, "set-timer", |guest, (ms: u64, payload: Bytes)| {
        let set = guest.set_timer(Duration::from_millis(ms), payload).await;
        set.map_err(WitTimerError::from)
    });
    define!(interface, "cancel-timer", |guest, (timer: u64)| {
        guest.cancel_timer(timer).await.map_err(WitTimerError::from)
    });
    Ok(())
}
