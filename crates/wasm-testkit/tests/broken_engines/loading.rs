//! Engines that load what they should not, or otherwise than they should.

use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::yield_now;
use tokio::time::sleep;

use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentId, ComponentMessage, ComponentUsage, HostServices,
    MessagePayload, Permissions, Preparation, ResourceLimits, Trap, WasmError,
};
use wasm_fixtures::{COUNTER, ECHO, HELLO, MANY_MEMORIES, MINIMAL};

use crate::permissions;
use crate::wrapper::{Defect, Inner, Reply};

/// Gives the number of what was unloaded to what is loaded next.
#[derive(Default)]
pub(crate) struct ReusesNumbers {
    free: Mutex<Vec<u64>>,
    aliases: Mutex<HashMap<ComponentHandle, ComponentHandle>>,
}

impl ReusesNumbers {
    fn meant(&self, handle: &ComponentHandle) -> ComponentHandle {
        let aliases = self.aliases.lock().unwrap();
        aliases.get(handle).unwrap_or(handle).clone()
    }
}

#[async_trait]
impl Defect for ReusesNumbers {
    async fn load(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        let handle = inner.load_component(id, bytes, config).await?;
        let Some(number) = self.free.lock().unwrap().pop() else {
            return Ok(handle);
        };
        let alias = ComponentHandle::new(id.clone(), number);
        self.aliases.lock().unwrap().insert(alias.clone(), handle);
        Ok(alias)
    }

    async fn unload(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        let meant = self.meant(handle);
        if inner.usage(&meant).await.is_ok() {
            self.free.lock().unwrap().push(handle.handle_id());
        }
        inner.unload_component(&meant).await
    }

    async fn message(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Reply {
        inner
            .call_handle_message(&self.meant(handle), message)
            .await
    }

    async fn restart(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        inner.restart_component(&self.meant(handle)).await
    }

    async fn usage(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
    ) -> Result<ComponentUsage, WasmError> {
        inner.usage(&self.meant(handle)).await
    }
}

/// Loads an id once.
#[derive(Default)]
pub(crate) struct LoadsAnIdOnce {
    loaded: Mutex<HashSet<ComponentId>>,
}

#[async_trait]
impl Defect for LoadsAnIdOnce {
    async fn load(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        let handle = inner.load_component(id, bytes, config).await?;
        if self.loaded.lock().unwrap().insert(id.clone()) {
            return Ok(handle);
        }
        inner.unload_component(&handle).await?;
        Err(instantiation_failed(id, "it is loaded already"))
    }
}

fn instantiation_failed(id: &ComponentId, reason: &str) -> WasmError {
    WasmError::InstantiationFailed {
        component: id.clone(),
        reason: reason.to_owned(),
        source: None,
    }
}

/// Looks up a handle by its number only.
#[derive(Default)]
pub(crate) struct IgnoresIdsOfHandles {
    loaded: Mutex<HashMap<u64, ComponentHandle>>,
}

impl IgnoresIdsOfHandles {
    fn meant(&self, handle: &ComponentHandle) -> ComponentHandle {
        let loaded = self.loaded.lock().unwrap();
        loaded.get(&handle.handle_id()).unwrap_or(handle).clone()
    }
}

#[async_trait]
impl Defect for IgnoresIdsOfHandles {
    async fn load(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        let handle = inner.load_component(id, bytes, config).await?;
        let mut loaded = self.loaded.lock().unwrap();
        loaded.insert(handle.handle_id(), handle.clone());
        Ok(handle)
    }

    async fn message(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Reply {
        inner
            .call_handle_message(&self.meant(handle), message)
            .await
    }

    async fn unload(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        inner.unload_component(&self.meant(handle)).await
    }
}

/// Keeps the services of what it could not load.
pub(crate) struct LeavesFailedLoadsBehind {
    services: HostServices,
    left: Mutex<Vec<HostServices>>,
}

impl LeavesFailedLoadsBehind {
    pub(crate) fn new(services: HostServices) -> Self {
        Self {
            services,
            left: Mutex::default(),
        }
    }
}

#[async_trait]
impl Defect for LeavesFailedLoadsBehind {
    async fn load(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        let loaded = inner.load_component(id, bytes, config).await;
        if loaded.is_err() {
            self.left.lock().unwrap().push(self.services.clone());
        }
        loaded
    }
}

/// Goes on loading when nobody waits for it any more.
pub(crate) struct LoadsOnWhenDropped;

#[async_trait]
impl Defect for LoadsOnWhenDropped {
    async fn load(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        let (inner, id) = (inner.clone(), id.clone());
        let load = tokio::spawn(async move { inner.load_component(&id, bytes, config).await });
        load.await.unwrap()
    }
}

/// Loads something else in place of bytes that are refused for a reason.
pub(crate) struct Accepts {
    pub(crate) refused: fn(&WasmError) -> bool,
}

#[async_trait]
impl Defect for Accepts {
    async fn load(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        match inner.load_component(id, bytes, config.clone()).await {
            Err(error) if (self.refused)(&error) => {
                let other = Bytes::from_static(COUNTER.wasm);
                inner.load_component(id, other, config).await
            }
            outcome => outcome,
        }
    }
}

/// Refuses everything with the same words.
pub(crate) struct VagueRefusals;

#[async_trait]
impl Defect for VagueRefusals {
    async fn load(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        let loaded = inner.load_component(id, bytes, config).await;
        loaded.map_err(|_| instantiation_failed(id, "something went wrong"))
    }
}

/// Refuses components that take no messages.
pub(crate) struct InsistsOnALifecycle;

#[async_trait]
impl Defect for InsistsOnALifecycle {
    async fn load(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        if [HELLO.wasm, MINIMAL.wasm].contains(&&*bytes) {
            return Err(instantiation_failed(id, "it has no lifecycle"));
        }
        inner.load_component(id, bytes, config).await
    }
}

/// Loads with a configuration other than it was given.
pub(crate) struct Configures {
    pub(crate) otherwise: fn(ComponentConfig, &[u8]) -> ComponentConfig,
}

#[async_trait]
impl Defect for Configures {
    async fn load(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        let config = (self.otherwise)(config, &bytes);
        inner.load_component(id, bytes, config).await
    }
}

fn with_limits(
    mut config: ComponentConfig,
    memory_bytes: u64,
    timeout: Duration,
    fuel: Option<u64>,
) -> ComponentConfig {
    config.limits = ResourceLimits::new(memory_bytes, timeout, fuel).unwrap();
    config
}

/// Gives each memory what all of them may have together.
pub(crate) fn limits_each_memory(config: ComponentConfig, bytes: &[u8]) -> ComponentConfig {
    let limits = config.limits;
    let memories = if *bytes == *MANY_MEMORIES.wasm { 4 } else { 1 };
    let memory_bytes = (limits.memory_bytes() * memories).min(4 << 20);
    with_limits(config, memory_bytes, limits.timeout(), limits.fuel())
}

pub(crate) fn knows_no_deadline(config: ComponentConfig, _: &[u8]) -> ComponentConfig {
    let limits = config.limits;
    let day = ResourceLimits::MAX_TIMEOUT;
    with_limits(config, limits.memory_bytes(), day, limits.fuel())
}

pub(crate) fn counts_no_fuel(config: ComponentConfig, _: &[u8]) -> ComponentConfig {
    let limits = config.limits;
    with_limits(config, limits.memory_bytes(), limits.timeout(), None)
}

pub(crate) fn grants_more_memory(config: ComponentConfig, _: &[u8]) -> ComponentConfig {
    let limits = config.limits;
    let memory_bytes = (4 * limits.memory_bytes())
        .min(4 << 20)
        .max(limits.memory_bytes());
    with_limits(config, memory_bytes, limits.timeout(), limits.fuel())
}

/// Takes "unmetered" for a default.
pub(crate) fn meters_everybody(config: ComponentConfig, _: &[u8]) -> ComponentConfig {
    let limits = config.limits;
    let fuel = limits.fuel().unwrap_or(5_000);
    with_limits(config, limits.memory_bytes(), limits.timeout(), Some(fuel))
}

/// Rounds a memory limit up to whole pages.
pub(crate) fn rounds_memory_up(config: ComponentConfig, _: &[u8]) -> ComponentConfig {
    let limits = config.limits;
    let whole = limits.memory_bytes().next_multiple_of(64 << 10);
    with_limits(config, whole, limits.timeout(), limits.fuel())
}

pub(crate) fn sorts_the_environment(mut config: ComponentConfig, _: &[u8]) -> ComponentConfig {
    config.env.sort();
    config
}

pub(crate) fn keeps_no_empty_data(mut config: ComponentConfig, _: &[u8]) -> ComponentConfig {
    config.config_data = config
        .config_data
        .filter(|data| *data != MessagePayload::empty());
    config
}

pub(crate) fn grants_everything(config: ComponentConfig, _: &[u8]) -> ComponentConfig {
    config.with_permissions(permissions())
}

/// Knows no capital letters.
pub(crate) struct LowersIds;

#[async_trait]
impl Defect for LowersIds {
    async fn load(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        let lower = id.to_string().to_lowercase().parse().unwrap();
        inner.load_component(&lower, bytes, config).await
    }
}

/// Lets the panic of a service through while it loads.
pub(crate) struct PanicsWhileLoading;

#[async_trait]
impl Defect for PanicsWhileLoading {
    async fn load(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        match inner.load_component(id, bytes, config).await {
            Err(WasmError::Trapped {
                trap: Trap::HostPanic(message),
                ..
            }) => panic!("{message}"),
            outcome => outcome,
        }
    }
}

/// Prepares a component by loading it, in secret.
pub(crate) struct PreparesByLoading {
    /// Whether it is unloaded again.
    pub(crate) unloads: bool,
    /// Whether it has the permissions that it will be loaded with.
    pub(crate) permits: bool,
}

#[async_trait]
impl Defect for PreparesByLoading {
    async fn prepare(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: &ComponentConfig,
    ) -> Result<Preparation, WasmError> {
        let mut config = config.clone();
        if !self.permits {
            config.permissions = Permissions::default();
        }
        // What cannot be run is said to be prepared all the same.
        if let Ok(handle) = inner.load_component(id, bytes, config).await
            && self.unloads
        {
            inner.unload_component(&handle).await?;
        }
        Ok(Preparation::default())
    }
}

/// Refuses for good what it refused once.
#[derive(Default)]
pub(crate) struct RefusesForGood {
    refused: Mutex<HashSet<Bytes>>,
}

#[async_trait]
impl Defect for RefusesForGood {
    async fn prepare(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: &ComponentConfig,
    ) -> Result<Preparation, WasmError> {
        let prepared = inner.prepare_component(id, bytes.clone(), config).await;
        if prepared.is_err() {
            self.refused.lock().unwrap().insert(bytes);
        }
        prepared
    }

    async fn load(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        if self.refused.lock().unwrap().contains(&bytes) {
            return Err(instantiation_failed(id, "it was refused before"));
        }
        inner.load_component(id, bytes, config).await
    }
}

/// Does nothing else while it prepares a component.
#[derive(Default)]
pub(crate) struct StopsTheWorld {
    preparing: AsyncMutex<()>,
}

#[async_trait]
impl Defect for StopsTheWorld {
    async fn prepare(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: &ComponentConfig,
    ) -> Result<Preparation, WasmError> {
        let _alone = self.preparing.lock().await;
        sleep(Duration::from_millis(1)).await;
        inner.prepare_component(id, bytes, config).await
    }

    async fn message(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Reply {
        let _alone = self.preparing.lock().await;
        inner.call_handle_message(handle, message).await
    }
}

/// Loads nothing any more when the preparation of it was dropped.
#[derive(Default)]
pub(crate) struct WaitsForWhatWasDropped {
    preparing: AtomicUsize,
}

#[async_trait]
impl Defect for WaitsForWhatWasDropped {
    async fn prepare(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: &ComponentConfig,
    ) -> Result<Preparation, WasmError> {
        self.preparing.fetch_add(1, Ordering::SeqCst);
        yield_now().await;
        let prepared = inner.prepare_component(id, bytes, config).await;
        self.preparing.fetch_sub(1, Ordering::SeqCst);
        prepared
    }

    async fn load(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        if bytes == ECHO.wasm && self.preparing.load(Ordering::SeqCst) > 0 {
            pending::<()>().await;
        }
        inner.load_component(id, bytes, config).await
    }
}

/// Runs `initialize` ahead of time, and refuses what does not come through it.
pub(crate) struct InitializesAheadOfTime;

#[async_trait]
impl Defect for InitializesAheadOfTime {
    async fn prepare(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: &ComponentConfig,
    ) -> Result<Preparation, WasmError> {
        let handle = inner.load_component(id, bytes, config.clone()).await?;
        inner.unload_component(&handle).await?;
        Ok(Preparation::default())
    }
}

/// Loads with the configuration with which the bytes were prepared.
#[derive(Default)]
pub(crate) struct ConfiguresWhatIsPrepared {
    prepared: Mutex<HashMap<Bytes, ComponentConfig>>,
}

#[async_trait]
impl Defect for ConfiguresWhatIsPrepared {
    async fn prepare(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: &ComponentConfig,
    ) -> Result<Preparation, WasmError> {
        let (key, then) = (bytes.clone(), config.clone());
        self.prepared.lock().unwrap().insert(key, then);
        inner.prepare_component(id, bytes, config).await
    }

    async fn load(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        let prepared = self.prepared.lock().unwrap().get(&bytes).cloned();
        let config = prepared.unwrap_or(config);
        inner.load_component(id, bytes, config).await
    }
}

/// Refuses to prepare what it refuses, in words of its own.
pub(crate) struct PreparesVaguely;

#[async_trait]
impl Defect for PreparesVaguely {
    async fn prepare(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: &ComponentConfig,
    ) -> Result<Preparation, WasmError> {
        let prepared = inner.prepare_component(id, bytes, config).await;
        prepared.map_err(|_| instantiation_failed(id, "it was not prepared"))
    }
}

/// Tells everyone what it told the first who asked for the same bytes.
#[derive(Default)]
pub(crate) struct RepeatsRefusals {
    refused: Mutex<HashMap<Bytes, WasmError>>,
}

#[async_trait]
impl Defect for RepeatsRefusals {
    async fn prepare(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: &ComponentConfig,
    ) -> Result<Preparation, WasmError> {
        if let Some(refusal) = self.refused.lock().unwrap().get(&bytes) {
            return Err(refusal.clone());
        }
        let prepared = inner.prepare_component(id, bytes.clone(), config).await;
        prepared.inspect_err(|refusal| {
            self.refused.lock().unwrap().insert(bytes, refusal.clone());
        })
    }
}
