//! What a component may import, besides WASI: one function for each interface of
//! the contract. Each checks what the guest says, then the permissions, then calls
//! a service.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use wasm_core::text::{Escaped, Quoted};
use wasm_core::{
    Capability, CapabilityDenied, ComponentId, ComponentInfo, ComponentMessage, ComponentStorage,
    CorrelationId, HealthStatus, LogLevel, MessagingError, StorageError,
};

use crate::abi::{
    WitComponentError, WitComponentId, WitComponentInfo, WitLogLevel, WitMessagingError,
    WitStorageError, WitStorageUsage, WitTimestamp,
};
use crate::lines::MAX_LINE_BYTES;
use crate::store::{Guest, HostState};
use crate::wasi;

const MESSAGING: &str = "airssys:core/host-messaging@1.0.0";
const SERVICES: &str = "airssys:core/host-services@1.0.0";
const STORAGE: &str = "airssys:core/storage@1.0.0";

/// Components that `list-components` names; a guest that may see more is shown the
/// first in order of their ids.
const MAX_LISTED_COMPONENTS: usize = 1024;

/// Entries asked of a directory at a time.
const DIRECTORY_PAGE: usize = 256;

/// Keys that `list-keys` returns; where more match, it is an error, because a list
/// cut short would look complete.
const MAX_LISTED_KEYS: usize = 4096;

/// As long as a path on common file systems may be.
const MAX_KEY_BYTES: usize = 1024;

/// Pairs of context that a log line keeps.
const MAX_LOG_PAIRS: usize = 16;

type Caller<'a> = StoreContextMut<'a, HostState>;

/// Adds the imports of the contract and of WASI to `linker`.
pub(crate) fn register_host_functions(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    wasi::add_to_linker(linker)?;
    host_messaging(linker)?;
    host_services(linker)?;
    storage(linker)
}

impl Guest {
    fn check(&self, capability: Capability) -> Result<(), CapabilityDenied> {
        let checked = if self.config.permissions.allows(&capability) {
            self.services.validator.validate(&self.handle, &capability)
        } else {
            Err(CapabilityDenied::not_granted(capability))
        };
        checked.inspect_err(|denied| {
            self.services.validator.denied(&self.handle, denied);
            self.report(denied);
        })
    }

    /// Tells the operator, who cannot see what a component makes of a refusal. A line
    /// that is not kept is no news.
    fn report(&self, denied: &CapabilityDenied) {
        if matches!(denied.capability, Capability::Log(_)) {
            return;
        }
        let component = self.id();
        if let Some(line) = self.lines.admit(|| denied.to_string()) {
            tracing::warn!(target: crate::COMPONENT_TARGET, %component, level = "warn", "{line}");
        }
    }

    /// The message as it goes to the router, if the component may send it.
    fn outgoing(
        &self,
        target: WitComponentId,
        payload: Bytes,
        capability: fn(ComponentId) -> Capability,
    ) -> Result<ComponentMessage, MessagingError> {
        let target = ComponentId::try_from(target)
            .map_err(|error| MessagingError::InvalidMessage(error.to_string()))?;
        self.check(capability(target.clone()))
            .map_err(|denied| MessagingError::DeliveryFailed(denied.to_string()))?;
        let message = ComponentMessage::new(self.id().clone(), target, payload);
        Ok(message.with_timestamp(self.services.clock.now()))
    }

    /// Takes messages from the call's budget.
    fn take_budget(&self, recipients: usize, payload: &Bytes) -> Result<(), MessagingError> {
        if self.take_messages(recipients, payload.len()) {
            Ok(())
        } else {
            Err(MessagingError::QueueFull)
        }
    }

    async fn send(&self, target: WitComponentId, payload: Bytes) -> Result<(), MessagingError> {
        self.take_budget(1, &payload)?;
        let message = self.outgoing(target, payload, Capability::Send)?;
        self.services.router.send(&self.handle, message).await
    }

    async fn request(
        &self,
        target: WitComponentId,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<CorrelationId, MessagingError> {
        if self.shuts_down() {
            // The answer would come to nobody, or to the instance after a restart.
            let reason = "a component that shuts down is not there for the answer";
            return Err(MessagingError::InvalidMessage(reason.to_owned()));
        }
        self.take_budget(1, &payload)?;
        let message = self.outgoing(target, payload, Capability::Request)?;
        let router = &self.services.router;
        router.request(&self.handle, message, timeout).await
    }

    /// Checks all before it sends any. Each recipient counts, before anything is
    /// done for it.
    async fn broadcast(
        &self,
        targets: Vec<WitComponentId>,
        payload: Bytes,
    ) -> Result<(), MessagingError> {
        self.take_budget(targets.len(), &payload)?;
        let messages = targets
            .into_iter()
            .map(|target| self.outgoing(target, payload.clone(), Capability::Broadcast))
            .collect::<Result<Vec<_>, _>>()?;
        self.services.router.broadcast(&self.handle, messages).await
    }

    fn log(&self, level: LogLevel, message: &str, context: &[(String, String)]) {
        if self.check(Capability::Log(level)).is_err() {
            return;
        }
        let component = self.id();
        let text = || {
            let mut line = Escaped::up_to(MAX_LINE_BYTES, message).to_string();
            for (key, value) in context.iter().take(MAX_LOG_PAIRS) {
                // Quoted, so that no text of the component passes for another pair.
                line.push_str(&format!(" {}={}", Quoted::new(key), Quoted::new(value)));
            }
            line
        };
        let Some(line) = self.lines.admit(text) else {
            return;
        };
        macro_rules! event {
            ($macro:ident) => {
                tracing::$macro!(target: crate::COMPONENT_TARGET, %component, level = %level, "{line}")
            };
        }
        match level {
            LogLevel::Trace => event!(trace),
            LogLevel::Debug => event!(debug),
            LogLevel::Info => event!(info),
            LogLevel::Warn => event!(warn),
            LogLevel::Error => event!(error),
        }
    }

    /// Itself and whom it may message: that someone exists is not for everyone to
    /// know.
    fn may_see(&self, id: &ComponentId) -> bool {
        id == self.id() || self.config.permissions.reaches(id)
    }

    async fn visible_components(&self) -> Vec<ComponentId> {
        let mut visible = Vec::new();
        let mut after: Option<ComponentId> = None;
        while visible.len() < MAX_LISTED_COMPONENTS {
            let directory = &self.services.directory;
            let page = directory.list(after.as_ref(), DIRECTORY_PAGE).await;
            let Some(last) = page.last() else { break };
            after = Some(last.clone());
            visible.extend(page.into_iter().filter(|id| self.may_see(id)));
        }
        visible.truncate(MAX_LISTED_COMPONENTS);
        if let Err(place) = visible.binary_search(self.id()) {
            visible.insert(place, self.id().clone());
        }
        visible
    }

    async fn component_info(&self, id: WitComponentId) -> Result<ComponentInfo, String> {
        let id = ComponentId::try_from(id).map_err(|error| error.to_string())?;
        // Not there and not to be seen look the same.
        let not_found = || format!("no component {id} is loaded");
        if !self.may_see(&id) {
            return Err(not_found());
        }
        if let Some(info) = self.services.directory.info(&id).await {
            return Ok(info);
        }
        if id != *self.id() {
            return Err(not_found());
        }
        Ok(ComponentInfo {
            name: id.name().to_owned(),
            version: String::new(),
            health: HealthStatus::Unknown,
            id,
        })
    }

    /// The store and the quota, if the component may use storage.
    fn storage(&self) -> Result<(&dyn ComponentStorage, u64), StorageError> {
        self.check(Capability::Storage)
            .map_err(|denied| StorageError::Io(denied.to_string()))?;
        let quota = self.config.permissions.storage.unwrap_or(0);
        Ok((&*self.services.storage, quota))
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StorageError> {
        let (storage, _) = self.storage()?;
        check_key(key)?;
        storage.get(self.id(), key).await
    }

    async fn set(&self, key: &str, value: Bytes) -> Result<(), StorageError> {
        let (storage, quota) = self.storage()?;
        check_key(key)?;
        storage.set(self.id(), key, value, quota).await
    }

    async fn delete(&self, key: &str) -> Result<(), StorageError> {
        let (storage, _) = self.storage()?;
        check_key(key)?;
        storage.delete(self.id(), key).await
    }

    async fn exists(&self, key: &str) -> Result<bool, StorageError> {
        let (storage, _) = self.storage()?;
        check_key(key)?;
        storage.exists(self.id(), key).await
    }

    async fn list_keys(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let (storage, _) = self.storage()?;
        let limit = MAX_LISTED_KEYS + 1;
        let keys = storage.list_keys(self.id(), prefix, None, limit).await?;
        if keys.len() > MAX_LISTED_KEYS {
            let reason = format!("more than {MAX_LISTED_KEYS} keys match; ask for a longer prefix");
            return Err(StorageError::Io(reason));
        }
        Ok(keys)
    }

    async fn storage_usage(&self) -> Result<WitStorageUsage, StorageError> {
        let (storage, quota_bytes) = self.storage()?;
        let usage = storage.usage(self.id()).await?;
        Ok(WitStorageUsage {
            used_bytes: usage.used_bytes,
            quota_bytes,
            key_count: usage.key_count,
        })
    }
}

fn check_key(key: &str) -> Result<(), StorageError> {
    if (1..=MAX_KEY_BYTES).contains(&key.len()) {
        return Ok(());
    }
    let length = key.len();
    let reason = format!("it has {length} bytes; a key has 1 to {MAX_KEY_BYTES}");
    Err(StorageError::InvalidKey(reason))
}

/// Defines an async host function whose body sees the calling guest as `$guest`.
///
/// The guest is shared into the future, so that no future borrows the store.
macro_rules! define {
    ($interface:ident, $name:literal, |$guest:ident, ($($arg:ident: $ty:ty),*)| $body:expr) => {
        $interface.func_wrap_async($name, |caller: Caller<'_>, ($($arg,)*): ($($ty,)*)| {
            let $guest = Arc::clone(&caller.data().guest);
            Box::new(async move { Ok(($body,)) })
        })?
    };
}

fn host_messaging(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    let mut interface = linker.instance(MESSAGING)?;
    define!(interface, "send", |guest, (target: WitComponentId, payload: Bytes)| {
        guest.send(target, payload).await.map_err(WitMessagingError::from)
    });
    define!(interface, "request", |guest, (target: WitComponentId, payload: Bytes, ms: u64)| {
        let sent = guest.request(target, payload, Duration::from_millis(ms)).await;
        sent.map(<Arc<str>>::from).map_err(WitMessagingError::from)
    });
    define!(interface, "cancel-request", |guest, (request: String)| {
        let router = &guest.services.router;
        let cancelled = router.cancel_request(&guest.handle, &request.into()).await;
        cancelled.map_err(WitMessagingError::from)
    });
    define!(interface, "broadcast", |guest, (targets: Vec<WitComponentId>, payload: Bytes)| {
        guest.broadcast(targets, payload).await.map_err(WitMessagingError::from)
    });
    interface.func_wrap("self-id", |caller: Caller<'_>, (): ()| {
        Ok((WitComponentId::from(caller.data().guest.id()),))
    })
}

type LogArguments = (WitLogLevel, String, Option<Vec<(String, String)>>);

fn host_services(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    let mut interface = linker.instance(SERVICES)?;
    interface.func_wrap(
        "log",
        |caller: Caller<'_>, (level, message, context): LogArguments| {
            let guest = &caller.data().guest;
            guest.log(level.into(), &message, &context.unwrap_or_default());
            Ok(())
        },
    )?;
    interface.func_wrap("current-time", |caller: Caller<'_>, (): ()| {
        let now = caller.data().services().clock.now();
        Ok((WitTimestamp::from(now),))
    })?;
    interface.func_wrap("current-time-millis", |caller: Caller<'_>, (): ()| {
        Ok((caller.data().services().clock.now().as_millis(),))
    })?;
    interface.func_wrap_async("sleep-millis", |_: Caller<'_>, (millis,): (u64,)| {
        Box::new(async move {
            // However long, the call's deadline ends it.
            tokio::time::sleep(Duration::from_millis(millis)).await;
            Ok(())
        })
    })?;
    define!(interface, "list-components", |guest, ()| {
        let visible = guest.visible_components().await;
        visible.iter().map(WitComponentId::from).collect::<Vec<_>>()
    });
    define!(interface, "get-component-metadata", |guest, (id: WitComponentId)| {
        let info = guest.component_info(id).await;
        info.map(WitComponentInfo::from).map_err(WitComponentError::InvalidState)
    });
    Ok(())
}

fn storage(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
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
        guest.storage_usage().await.map_err(WitStorageError::from)
    });
    Ok(())
}
