//! Wrong engines as values: the model, with closures in place of what is done otherwise.

use std::any::Any;
use std::collections::HashMap;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentId, ComponentMessage, ComponentMetadata,
    ComponentUsage, HealthStatus, HostServices, MessagePayload, Preparation, Resource,
    ResourceLimits, RuntimeEngine, Trap, WasmError,
};
use wasm_testkit::ModelEngine;
use wasm_testkit::conformance::Settings;

pub(crate) type Reply = Result<Option<MessagePayload>, WasmError>;

/// What is held while a call is made.
pub(crate) type Guard = Option<Box<dyn Any + Send>>;

/// Something that is known of each handle.
pub(crate) struct Kept<T>(Mutex<HashMap<ComponentHandle, T>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone + Default> Kept<T> {
    pub(crate) fn get(&self, handle: &ComponentHandle) -> T {
        self.change(handle, |kept| kept.clone())
    }

    pub(crate) fn set(&self, handle: &ComponentHandle, value: T) {
        self.change(handle, |kept| *kept = value);
    }

    pub(crate) fn change<R>(
        &self,
        handle: &ComponentHandle,
        change: impl FnOnce(&mut T) -> R,
    ) -> R {
        change(self.0.lock().unwrap().entry(handle.clone()).or_default())
    }
}

/// The right engine inside of a wrong one, and what that one remembers.
pub(crate) struct Right<S> {
    pub(crate) engine: Arc<dyn RuntimeEngine>,
    pub(crate) services: HostServices,
    pub(crate) kept: Arc<S>,
    loaded: Arc<Kept<Option<(Bytes, ResourceLimits)>>>,
}

impl<S> Clone for Right<S> {
    fn clone(&self) -> Self {
        Self {
            engine: self.engine.clone(),
            services: self.services.clone(),
            kept: self.kept.clone(),
            loaded: self.loaded.clone(),
        }
    }
}

impl<S> Deref for Right<S> {
    type Target = dyn RuntimeEngine;

    fn deref(&self) -> &Self::Target {
        &*self.engine
    }
}

impl<S> Right<S> {
    /// With which the component was loaded.
    pub(crate) fn limits(&self, handle: &ComponentHandle) -> Option<ResourceLimits> {
        self.loaded.get(handle).map(|(_, limits)| limits)
    }

    pub(crate) fn timeout(&self, handle: &ComponentHandle) -> Duration {
        let limits = self.limits(handle);
        limits.map_or(ResourceLimits::MAX_TIMEOUT, |limits| limits.timeout())
    }

    pub(crate) fn is(&self, handle: &ComponentHandle, wasm: &[u8]) -> bool {
        self.loaded
            .get(handle)
            .is_some_and(|(bytes, _)| bytes == wasm)
    }
}

type Future<T> = Pin<Box<dyn std::future::Future<Output = T> + Send>>;

/// Defines the builder and the engine that it builds: a method of the trait, the closure
/// that may stand in its place, and what that is given.
macro_rules! engine {
    ($($field:ident: $on:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*) => {
        /// A wrong engine, as long as it is described.
        pub(crate) struct Wrong<S = ()> {
            services: HostServices,
            serving: HostServices,
            settings: Settings,
            kept: Arc<S>,
            hooks: Hooks<S>,
        }

        struct Hooks<S> {
            $($field: Option<Box<dyn Fn(Right<S>, $($type),*) -> Future<$answer> + Send + Sync>>,)*
        }

        impl<S> Default for Hooks<S> {
            fn default() -> Self {
                Self { $($field: None,)* }
            }
        }

        impl<S: Send + Sync + 'static> Wrong<S> {
            $(pub(crate) fn $on<F, R>(mut self, act: F) -> Self
            where
                F: Fn(Right<S>, $($type),*) -> R + Send + Sync + 'static,
                R: std::future::Future<Output = $answer> + Send + 'static,
            {
                self.hooks.$field = Some(Box::new(move |right, $($arg),*| {
                    Box::pin(act(right, $($arg),*))
                }));
                self
            })*
        }
    };
}

engine! {
    prepare: on_prepare(id: ComponentId, bytes: Bytes, config: ComponentConfig)
        -> Result<Preparation, WasmError>;
    load: on_load(id: ComponentId, bytes: Bytes, config: ComponentConfig)
        -> Result<ComponentHandle, WasmError>;
    unload: on_unload(handle: ComponentHandle) -> Result<(), WasmError>;
    message: on_message(handle: ComponentHandle, message: ComponentMessage) -> Reply;
    callback: on_callback(handle: ComponentHandle, message: ComponentMessage)
        -> Result<(), WasmError>;
    restart: on_restart(handle: ComponentHandle) -> Result<(), WasmError>;
    health: on_health(handle: ComponentHandle) -> Result<HealthStatus, WasmError>;
    metadata: on_metadata(handle: ComponentHandle) -> Result<ComponentMetadata, WasmError>;
    usage: on_usage(handle: ComponentHandle) -> Result<ComponentUsage, WasmError>;
    before: before_calls(handle: ComponentHandle, export: &'static str)
        -> Result<Guard, WasmError>;
    after: after_calls(handle: ComponentHandle, export: &'static str, outcome: Result<(), WasmError>)
        -> Result<(), WasmError>;
}

impl Wrong {
    pub(crate) fn around_the_model(services: HostServices, settings: Settings) -> Self {
        Self {
            serving: services.clone(),
            services,
            settings,
            kept: Arc::default(),
            hooks: Hooks::default(),
        }
    }

    /// What it remembers. Comes before the closures, which are given it.
    pub(crate) fn keeping<S>(self, kept: S) -> Wrong<S> {
        self.sharing(Arc::new(kept))
    }

    /// What it remembers, and the services between it and its components with it.
    pub(crate) fn sharing<S>(self, kept: Arc<S>) -> Wrong<S> {
        Wrong {
            services: self.services,
            serving: self.serving,
            settings: self.settings,
            kept,
            hooks: Hooks::default(),
        }
    }
}

impl<S: Send + Sync + 'static> Wrong<S> {
    /// Has components served by others than those that it was given.
    pub(crate) fn serving(mut self, change: impl FnOnce(HostServices) -> HostServices) -> Self {
        self.serving = change(self.serving);
        self
    }

    pub(crate) fn granting(mut self, memory_ceiling_bytes: u64) -> Self {
        self.settings.memory_ceiling_bytes = memory_ceiling_bytes;
        self
    }

    /// Loads with another configuration.
    pub(crate) fn configuring(
        self,
        change: impl Fn(&mut ComponentConfig, &[u8]) + Send + Sync + 'static,
    ) -> Self {
        self.on_load(move |right, id, bytes, mut config| {
            change(&mut config, &bytes);
            async move { right.load_component(&id, bytes, config).await }
        })
    }

    /// Answers messages otherwise.
    pub(crate) fn answering(
        self,
        change: impl Fn(&Right<S>, &ComponentHandle, Reply) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let change = Arc::new(change);
        self.on_message(move |right, handle, message| {
            let change = change.clone();
            async move {
                let reply = right.call_handle_message(&handle, message).await;
                change(&right, &handle, reply)
            }
        })
    }

    /// Reports other figures.
    pub(crate) fn reporting(
        self,
        change: impl Fn(&S, &ComponentHandle, &mut ComponentUsage) + Send + Sync + 'static,
    ) -> Self {
        let change = Arc::new(change);
        self.on_usage(move |right, handle| {
            let change = change.clone();
            async move {
                let mut usage = right.usage(&handle).await?;
                change(&right.kept, &handle, &mut usage);
                Ok(usage)
            }
        })
    }

    pub(crate) fn build(self) -> Arc<dyn RuntimeEngine> {
        let engine = ModelEngine::new(self.serving)
            .with_memory_ceiling_bytes(self.settings.memory_ceiling_bytes);
        Arc::new(Engine {
            right: Right {
                engine: Arc::new(engine),
                services: self.services,
                kept: self.kept,
                loaded: Arc::default(),
            },
            hooks: self.hooks,
        })
    }
}

struct Engine<S> {
    right: Right<S>,
    hooks: Hooks<S>,
}

impl<S: Send + Sync + 'static> Engine<S> {
    /// A call with what comes before and after it.
    async fn call<T>(
        &self,
        handle: &ComponentHandle,
        export: &'static str,
        call: impl std::future::Future<Output = Result<T, WasmError>>,
    ) -> Result<T, WasmError> {
        let (right, handle) = (self.right.clone(), handle.clone());
        let guard = match &self.hooks.before {
            Some(before) => before(right.clone(), handle.clone(), export).await?,
            None => None,
        };
        let outcome = call.await;
        drop(guard);
        if let Some(after) = &self.hooks.after {
            let ended = outcome.as_ref().map(drop).map_err(Clone::clone);
            after(right, handle, export, ended).await?;
        }
        outcome
    }
}

#[async_trait]
impl<S: Send + Sync + 'static> RuntimeEngine for Engine<S> {
    async fn prepare_component(
        &self,
        id: &ComponentId,
        bytes: Bytes,
        config: &ComponentConfig,
    ) -> Result<Preparation, WasmError> {
        match &self.hooks.prepare {
            Some(act) => act(self.right.clone(), id.clone(), bytes, config.clone()).await,
            None => self.right.prepare_component(id, bytes, config).await,
        }
    }

    async fn load_component(
        &self,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        let known = (bytes.clone(), config.limits);
        let handle = match &self.hooks.load {
            Some(act) => act(self.right.clone(), id.clone(), bytes, config).await?,
            None => self.right.load_component(id, bytes, config).await?,
        };
        self.right.loaded.set(&handle, Some(known));
        Ok(handle)
    }

    async fn unload_component(&self, handle: &ComponentHandle) -> Result<(), WasmError> {
        match &self.hooks.unload {
            Some(act) => act(self.right.clone(), handle.clone()).await,
            None => self.right.unload_component(handle).await,
        }
    }

    async fn call_handle_message(
        &self,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Reply {
        let call = async {
            match &self.hooks.message {
                Some(act) => act(self.right.clone(), handle.clone(), message).await,
                None => self.right.call_handle_message(handle, message).await,
            }
        };
        self.call(handle, "handle-message", call).await
    }

    async fn call_handle_callback(
        &self,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), WasmError> {
        let call = async {
            match &self.hooks.callback {
                Some(act) => act(self.right.clone(), handle.clone(), message).await,
                None => self.right.call_handle_callback(handle, message).await,
            }
        };
        self.call(handle, "handle-callback", call).await
    }

    async fn restart_component(&self, handle: &ComponentHandle) -> Result<(), WasmError> {
        let call = async {
            match &self.hooks.restart {
                Some(act) => act(self.right.clone(), handle.clone()).await,
                None => self.right.restart_component(handle).await,
            }
        };
        self.call(handle, "initialize", call).await
    }

    async fn health(&self, handle: &ComponentHandle) -> Result<HealthStatus, WasmError> {
        let call = async {
            match &self.hooks.health {
                Some(act) => act(self.right.clone(), handle.clone()).await,
                None => self.right.health(handle).await,
            }
        };
        self.call(handle, "health", call).await
    }

    async fn metadata(&self, handle: &ComponentHandle) -> Result<ComponentMetadata, WasmError> {
        let call = async {
            match &self.hooks.metadata {
                Some(act) => act(self.right.clone(), handle.clone()).await,
                None => self.right.metadata(handle).await,
            }
        };
        self.call(handle, "metadata", call).await
    }

    async fn usage(&self, handle: &ComponentHandle) -> Result<ComponentUsage, WasmError> {
        match &self.hooks.usage {
            Some(act) => act(self.right.clone(), handle.clone()).await,
            None => self.right.usage(handle).await,
        }
    }
}

pub(crate) fn out_of_time(handle: &ComponentHandle, export: &str, limit: Duration) -> WasmError {
    WasmError::Timeout {
        component: handle.id().clone(),
        export: export.into(),
        limit,
        fuel_consumed: 0,
        frames: Box::default(),
    }
}

pub(crate) fn out_of_fuel(handle: &ComponentHandle, export: &str, limit: u64) -> WasmError {
    WasmError::ResourceLimitExceeded {
        component: handle.id().clone(),
        export: export.into(),
        resource: Resource::Fuel,
        limit,
        requested: None,
        charged_ahead: false,
        fuel_consumed: limit,
        frames: Box::default(),
        source: None,
    }
}

pub(crate) fn trapped(handle: &ComponentHandle, export: &str) -> WasmError {
    WasmError::Trapped {
        component: handle.id().clone(),
        export: export.into(),
        trap: Trap::Unreachable,
        frames: Box::default(),
        fuel_consumed: 0,
        source: None,
        last_words: None,
    }
}

pub(crate) fn failed(handle: &ComponentHandle, cause: WasmError) -> WasmError {
    WasmError::ComponentFailed {
        component: handle.id().clone(),
        source: Arc::new(cause),
    }
}

pub(crate) fn not_instantiated(id: &ComponentId, reason: &str) -> WasmError {
    WasmError::InstantiationFailed {
        component: id.clone(),
        reason: reason.to_owned(),
        source: None,
    }
}

/// Does something when it is dropped, unless it was disarmed.
pub(crate) struct OnDrop<F: FnOnce()>(pub(crate) Option<F>);

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(act) = self.0.take() {
            act();
        }
    }
}
