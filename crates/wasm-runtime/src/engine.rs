use std::borrow::Cow;
use std::fmt::{self, Debug};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use wasmtime::Engine;
use wasmtime::component::types::ComponentFunc;
use wasmtime::component::{Linker, ResourceAny, Val};

use wasm_core::units::format_count;
use wasm_core::{
    Capability, Cause, ComponentConfig, ComponentHandle, ComponentId, ComponentMessage,
    ComponentMetadata, ComponentUsage, Defect, HealthStatus, HostServices, ImportPattern,
    KeptMemory, LIFECYCLE_INTERFACE, MessagePayload, Permissions, Preparation, RuntimeEngine,
    Unmet, UnmetImport, WasmError,
};

use crate::compile::cache::{CacheEntry, CompileCache};
use crate::compile::exports::{check_arguments, find_function, function_names};
use crate::compile::imports::{ImportAudit, exports_interface, not_met};
use crate::compile::versions::name_version;
use crate::config::{Allocation, EngineConfig};
use crate::error::{cause, chain};
use crate::http::{
    HTTP_EXPORT, HttpCall, HttpOutcome, HttpResponder, HttpScheme, INCOMING_HANDLER, has_authority,
};
use crate::instance::state::{Guest, HostState};
use crate::instance::{
    Bindings, GuestCall, GuestFuture, MakeData, ResourceDrop, TypedCall, ValueCall, Work,
};
use crate::interface::{HostInterface, granted};
use crate::lifecycle::abi::WitWasmError;
use crate::lifecycle::{self, LifecycleCall};
use crate::lines::LineBuckets;
use crate::registry::Registry;
use crate::standard;
use crate::ticker::start_ticker;
use crate::turn::{self, Lasting, Slot, async_runtime};
use crate::wasi::{self, HostAccount, WasiShare};

/// Counts for all engines of the process, so that a handle of one is unknown to
/// another.
static NEXT_HANDLE: AtomicU64 = AtomicU64::new(1);

/// Runs components on wasmtime.
///
/// Fuel and epochs are always on. Needs a tokio runtime with its timer enabled; calls
/// may be made from any of its tasks. Without the timer, a call that waits panics.
/// In a program built with `panic = "abort"`, a host function that panics ends the
/// program instead of the instance.
///
/// `T` is the embedder's data, made for each instance, which the embedder's own
/// [interfaces](HostInterface) work with.
pub struct WasmtimeEngine<T: 'static = ()> {
    config: EngineConfig,
    linker: Arc<Linker<HostState<T>>>,
    /// Names of the embedder's interfaces.
    interfaces: Vec<&'static str>,
    make_data: MakeData<T>,
    services: HostServices,
    compiled: CompileCache<T>,
    line_buckets: LineBuckets,
    slots: Registry<T>,
}

impl WasmtimeEngine {
    /// An engine whose embedder has no data of its own.
    ///
    /// # Errors
    /// [`WasmError::EngineInitialization`] when wasmtime refuses this machine or no
    /// thread can be started.
    pub fn new(config: EngineConfig, services: HostServices) -> Result<Self, WasmError> {
        Self::with_data(config, services, |_, _| Ok(()))
    }
}

impl<T: Send + 'static> WasmtimeEngine<T> {
    /// An engine that has `make_data` make the embedder's data of each instance, from the
    /// component's id and configuration: when it is loaded, and anew at each restart. If that
    /// fails or panics, loading or restarting fails with
    /// [`WasmError::InstantiationFailed`], which says so. Data that panics when it is dropped
    /// has ended with its instance all the same.
    ///
    /// # Errors
    /// [`WasmError::EngineInitialization`] when wasmtime refuses this machine or no
    /// thread can be started.
    pub fn with_data(
        config: EngineConfig,
        services: HostServices,
        make_data: impl Fn(&ComponentId, &ComponentConfig) -> Result<T, Cause> + Send + Sync + 'static,
    ) -> Result<Self, WasmError> {
        let engine =
            Engine::new(&config.wasmtime_config()).map_err(|error| refused(&config, error))?;
        start_ticker(&engine)?;
        let mut linker = Linker::new(&engine);
        wasi::add_to_linker(&mut linker)
            .and_then(|()| standard::add_to_linker(&mut linker))
            .and_then(|()| lifecycle::host::add_to_linker(&mut linker))
            .map_err(|error| initialization("the host functions could not be linked", error))?;
        Ok(Self {
            compiled: CompileCache::new(config.clone()),
            line_buckets: LineBuckets::new(config.log_rate()),
            config,
            linker: Arc::new(linker),
            interfaces: Vec::new(),
            make_data: Arc::new(make_data),
            services,
            slots: Registry::new(),
        })
    }

    /// Provides an interface of the embedder to components that are granted it by `imports` in
    /// `[permissions]`. To be called before anything is loaded: what is loaded already keeps
    /// the imports it was linked with.
    ///
    /// A component that is not granted an interface that it imports cannot be loaded. One
    /// whose grant the [validator](wasm_core::SecurityValidator) takes back while it runs is
    /// stopped when it next calls one of the functions, with
    /// [`Trap::RefusedByHost`](wasm_core::Trap::RefusedByHost).
    ///
    /// # Errors
    /// [`WasmError::EngineInitialization`] for an interface that was added before, or that the
    /// engine itself provides; for a name that cannot be granted, or that nothing was linked
    /// under.
    pub fn add_interface<I: HostInterface<T>>(&mut self) -> Result<(), WasmError> {
        let name = I::NAME;
        let refused = |why: &str| {
            Err(WasmError::EngineInitialization {
                reason: format!("the interface {name} {why}"),
                source: None,
            })
        };
        if self.interfaces.contains(&name) {
            return refused("is added twice");
        }
        let unversioned = name.split('@').next().unwrap_or_default();
        if unversioned.parse::<ImportPattern>().is_err() {
            return refused("has no name that can be granted, as `acme:shop/catalog@1.0.0`");
        }
        if has(&self.linker, name) {
            return refused("is provided by the engine itself");
        }
        let mut linker = Linker::clone(&self.linker);
        I::add_to_linker(&mut linker, granted::<T, I>).map_err(|error| {
            let what = format!("the interface {name} cannot be added to what the engine provides");
            initialization(&what, error)
        })?;
        if !has(&linker, name) {
            return refused("is not what its `add_to_linker` links: nothing has this name");
        }
        self.compiled.clear();
        self.linker = Arc::new(linker);
        self.interfaces.push(name);
        Ok(())
    }

    /// The engine below, for making types and values that belong to it.
    pub fn engine(&self) -> &Engine {
        self.linker.engine()
    }

    /// What components can import.
    pub fn linker(&self) -> &Linker<HostState<T>> {
        &self.linker
    }

    /// For host functions that every component may use, before anything is loaded: what is
    /// loaded already keeps the imports it was linked with. Those that have to be granted are
    /// added by [`add_interface`](Self::add_interface).
    pub fn linker_mut(&mut self) -> &mut Linker<HostState<T>> {
        self.compiled.clear();
        // While a compilation is still using the linker, it keeps the one it has.
        Arc::make_mut(&mut self.linker)
    }

    /// Tells which imports of a component this engine does not provide to one with
    /// these permissions. The [`linker`](Self::linker) is asked, as it is when the component is
    /// loaded; the component's code is not compiled.
    ///
    /// # Errors
    /// [`WasmError::InvalidComponent`] if the part of the component that imports cannot
    /// be read, or needs too much; [`WasmError::InstantiationFailed`] if the compiler
    /// fails.
    pub async fn audit_imports(
        &self,
        id: &ComponentId,
        bytes: Bytes,
        permissions: &Permissions,
    ) -> Result<ImportAudit, WasmError> {
        self.check_bytes(id, &bytes)?;
        let audited = self.compiled.audit(id, bytes, &self.linker).await?;
        let (mut audit, imports) = audited;
        for unmet in &mut audit.unmet {
            name_version(unmet, &self.interfaces);
        }
        audit.unmet.extend(self.not_granted(&imports, permissions));
        Ok(audit)
    }

    /// Those of the embedder's interfaces that a component imports without being granted them.
    fn not_granted(&self, imports: &[Box<str>], permissions: &Permissions) -> Vec<UnmetImport> {
        let base = |name: &str| name.split('@').next().map(str::to_owned);
        let interfaces: Vec<_> = self.interfaces.iter().map(|name| base(name)).collect();
        imports
            .iter()
            .filter(|name| interfaces.contains(&base(name)))
            .filter(|name| !permissions.allows(&Capability::Import(name.to_string())))
            .map(|name| UnmetImport {
                name: name.to_string(),
                reason: Unmet::NotGranted,
            })
            .collect()
    }

    /// Whether a component with exports of these names takes messages: whether one of
    /// them is a release of [`LIFECYCLE_INTERFACE`](wasm_core::LIFECYCLE_INTERFACE)
    /// that this engine finds.
    pub fn takes_messages<'a>(&self, exports: impl IntoIterator<Item = &'a str>) -> bool {
        exports_interface(self.engine(), LIFECYCLE_INTERFACE, exports.into_iter())
    }

    /// Whether a component with exports of these names answers HTTP requests: whether one of
    /// them is a release of `wasi:http/incoming-handler` that this engine finds.
    pub fn answers_http<'a>(&self, exports: impl IntoIterator<Item = &'a str>) -> bool {
        exports_interface(self.engine(), INCOMING_HANDLER, exports.into_iter())
    }

    /// See [`RuntimeEngine::prepare_component`].
    ///
    /// # Errors
    /// As documented there: all but those of instantiation and `initialize` are known.
    pub async fn prepare_component(
        &self,
        id: &ComponentId,
        bytes: Bytes,
        config: &ComponentConfig,
    ) -> Result<Preparation, WasmError> {
        let compiled = self.compile(id, bytes, config).await?;
        let kept = compiled
            .get()
            .map_or_else(KeptMemory::default, |known| known.kept);
        Ok(Preparation::new(compiled).with_kept(kept))
    }

    /// Checks that the [cache](EngineConfig::with_cache) has what these bytes were compiled to,
    /// which is not said by an error of what compiled them: they run without it.
    ///
    /// # Errors
    /// There is no cache, it cannot be used, or it does not have the code.
    pub async fn check_kept(&self, bytes: Bytes) -> io::Result<()> {
        let engine = self.engine().clone();
        self.compiled.check_kept(bytes, engine).await
    }

    /// Writes what these bytes were compiled to, which the
    /// [cache](EngineConfig::with_cache) has once they were prepared or loaded, to a file for
    /// [`add_compiled`](crate::add_compiled) on another machine. A file that is there is
    /// replaced. Returns how many bytes of code there are. Dropping the future does not stop
    /// the writing.
    ///
    /// # Errors
    /// There is no cache, it does not have the code, or the file cannot be written.
    pub async fn write_compiled(&self, bytes: Bytes, to: impl Into<PathBuf>) -> io::Result<u64> {
        let engine = self.engine().clone();
        self.compiled.ship(bytes, to.into(), engine).await
    }

    /// See [`RuntimeEngine::load_component`].
    ///
    /// # Errors
    /// As documented there.
    pub async fn load_component(
        &self,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        let compiled = self.compile(id, bytes, &config).await?;
        let number = NEXT_HANDLE.fetch_add(1, Ordering::Relaxed);
        let handle = ComponentHandle::new(id.clone(), number);
        let account = HostAccount::new(self.config.max_held_bytes());
        let (guarded, names) = (self.config.guarded(), self.config.names());
        let trace_context = self.config.trace_context();
        let wasi = WasiShare::new(id, account, guarded, names, trace_context);
        let lines = self.line_buckets.of(id);
        let services = self.services.clone();
        let guest = Guest::new(handle.clone(), Arc::new(config), services, wasi, lines);
        let slot = Slot::load(guest, compiled, Arc::clone(&self.make_data));
        let slot = slot.await.map_err(|error| *error)?;
        self.slots.insert(slot);
        Ok(handle)
    }

    /// See [`RuntimeEngine::unload_component`].
    ///
    /// # Errors
    /// As documented there.
    pub async fn unload_component(&self, handle: &ComponentHandle) -> Result<(), WasmError> {
        async_runtime()?;
        match self.slots.remove(handle) {
            Some(slot) => slot.unload().await,
            None => Ok(()),
        }
    }

    /// See [`RuntimeEngine::call_handle_message`].
    ///
    /// # Errors
    /// As documented there.
    pub async fn call_handle_message(
        &self,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<Option<MessagePayload>, WasmError> {
        let call = LifecycleCall {
            export: "handle-message",
            function: |lifecycle| &lifecycle.handle_message,
            hops: message.hops,
            params: (Box::new(message.into()),),
        };
        let outcome = self
            .take_turn(handle, call)?
            .await
            .map_err(|error| *error)?;
        let reply = outcome.map_err(|error| guest_error(handle, error))?;
        Ok(reply.map(MessagePayload::from))
    }

    /// See [`RuntimeEngine::call_handle_callback`].
    ///
    /// # Errors
    /// As documented there.
    pub async fn call_handle_callback(
        &self,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), WasmError> {
        let call = LifecycleCall {
            export: "handle-callback",
            function: |lifecycle| &lifecycle.handle_callback,
            hops: message.hops,
            params: (Box::new(message.into()),),
        };
        let outcome = self
            .take_turn(handle, call)?
            .await
            .map_err(|error| *error)?;
        outcome.map_err(|error| guest_error(handle, error))
    }

    /// See [`RuntimeEngine::restart_component`].
    ///
    /// # Errors
    /// As documented there.
    pub async fn restart_component(&self, handle: &ComponentHandle) -> Result<(), WasmError> {
        turn::restart(self.slots.find(handle)?).await
    }

    /// See [`RuntimeEngine::health`].
    ///
    /// # Errors
    /// As documented there.
    pub async fn health(&self, handle: &ComponentHandle) -> Result<HealthStatus, WasmError> {
        let call = LifecycleCall {
            export: "health",
            function: |lifecycle| &lifecycle.health,
            params: (),
            hops: 0,
        };
        Ok(self
            .take_turn(handle, call)?
            .await
            .map_err(|error| *error)?
            .into())
    }

    /// See [`RuntimeEngine::metadata`].
    ///
    /// # Errors
    /// As documented there.
    pub async fn metadata(&self, handle: &ComponentHandle) -> Result<ComponentMetadata, WasmError> {
        let call = LifecycleCall {
            export: "metadata",
            function: |lifecycle| &lifecycle.metadata,
            params: (),
            hops: 0,
        };
        Ok(self
            .take_turn(handle, call)?
            .await
            .map_err(|error| *error)?
            .into())
    }

    /// See [`RuntimeEngine::usage`]; here it needs no waiting.
    ///
    /// # Errors
    /// [`WasmError::ComponentNotFound`].
    pub fn usage(&self, handle: &ComponentHandle) -> Result<ComponentUsage, WasmError> {
        self.slots.find(handle)?.usage()
    }

    /// Full names of the functions that a component exports: `function` or
    /// `interface#function`, as [`call_export`](Self::call_export) takes them.
    ///
    /// # Errors
    /// [`WasmError::ComponentNotFound`].
    pub fn exports(&self, handle: &ComponentHandle) -> Result<Vec<String>, WasmError> {
        let slot = self.slots.find(handle)?;
        Ok(function_names(slot.compiled()?.component(), self.engine()))
    }

    /// The parameters and results of an export.
    ///
    /// # Errors
    /// [`WasmError::ComponentNotFound`] or [`WasmError::ExportNotFound`].
    pub fn export_type(
        &self,
        handle: &ComponentHandle,
        export: &str,
    ) -> Result<ComponentFunc, WasmError> {
        let slot = self.slots.find(handle)?;
        let found = find_function(slot.compiled()?.component(), export);
        found
            .map(|(ty, _)| ty)
            .ok_or_else(|| slot.export_not_found(export))
    }

    /// Calls any export by its full name, as a call like any other: under the
    /// limits, in order, with the same consequences.
    ///
    /// A resource that the component returns is kept by its instance until it is given back to
    /// an export that takes it, or [dropped](Self::drop_resource).
    ///
    /// # Errors
    /// [`WasmError::ExportNotFound`]; [`WasmError::InvalidArguments`], without
    /// calling the guest, also for a resource of an instance that is gone; else as
    /// [`call_handle_message`](RuntimeEngine::call_handle_message).
    pub async fn call_export(
        &self,
        handle: &ComponentHandle,
        export: &str,
        args: &[Val],
    ) -> Result<Vec<Val>, WasmError> {
        let slot = self.slots.find(handle)?;
        let Some((ty, index)) = find_function(slot.compiled()?.component(), export) else {
            return Err(slot.export_not_found(export));
        };
        check_arguments(&ty, args).map_err(|reason| WasmError::InvalidArguments {
            component: handle.id().clone(),
            export: export.into(),
            reason,
        })?;
        let call = ValueCall {
            export: export.to_owned(),
            index,
            args: args.to_vec(),
        };
        turn::call(handle, slot, call)?
            .await
            .map_err(|error| *error)
    }

    /// Drops a resource that [`call_export`](Self::call_export) returned, as a call like any
    /// other: the component may have a destructor. One of an instance that is gone is gone
    /// with it.
    ///
    /// # Errors
    /// As [`call_export`](Self::call_export).
    pub async fn drop_resource(
        &self,
        handle: &ComponentHandle,
        resource: ResourceAny,
    ) -> Result<(), WasmError> {
        let drop = self.take_turn(handle, ResourceDrop(resource))?;
        drop.await.map_err(|error| *error)
    }

    /// Calls typed exports, as a call like any other: under the limits, in order, with the
    /// same consequences. `name` is what errors call it. The [bindings](Bindings) are made at
    /// the first call of an instance; `call` may call several of their functions, which share
    /// the budgets of one call, and once it has begun it ends whatever becomes of this future.
    ///
    /// ```ignore
    /// let price = engine
    ///     .call(&handle, "price", |call: GuestCall<'_, Shop, Plugin>| {
    ///         Box::pin(async move { call.bindings.call_price(call.store, "tea").await })
    ///     })
    ///     .await?;
    /// ```
    ///
    /// # Errors
    /// [`WasmError::ExportNotFound`] if the bindings do not fit the component;
    /// [`WasmError::InvalidArguments`] for a [resource](GuestCall::resource) of an instance
    /// that is gone, neither of which costs the instance anything; else as
    /// [`call_handle_message`](RuntimeEngine::call_handle_message). An error that `call` itself
    /// returns ends the instance too, because nobody can tell what the guest was at: errors
    /// that are results belong into `R`. An error of a generated function is to be passed on: one
    /// that `call` keeps to itself leaves an instance behind that may have trapped, and a `call`
    /// that then tries again without end holds up its thread, because nothing in it waits.
    pub async fn call<B, R, F>(
        &self,
        handle: &ComponentHandle,
        name: impl Into<Cow<'static, str>>,
        call: F,
    ) -> Result<R, WasmError>
    where
        B: Bindings<T>,
        R: Send + 'static,
        F: for<'a> FnOnce(GuestCall<'a, T, B>) -> GuestFuture<'a, R> + Send + 'static,
    {
        let call = TypedCall::<B, F>::new(name.into(), call);
        self.take_turn(handle, call)?.await.map_err(|error| *error)
    }

    /// Has a component answer an HTTP request that exports `wasi:http/incoming-handler`, as a
    /// call like any other: under the limits, in order, with the same consequences. What is
    /// returned has ended when the call has; the response is given to the other end of
    /// `responder` as soon as the component has begun it, and its body goes on with the call.
    ///
    /// If the call fails by then, the body ends with [`Incomplete`](crate::Incomplete). When the
    /// response or the rest of it is not waited for any more, the call is ended at once where
    /// [instances are renewed](ComponentConfig::renews_instances); else it goes on, and what
    /// the component writes is refused, so that the instance stays for others.
    ///
    /// The request has an authority in its URI or in `Host`. A body that ends in an error is
    /// one to the component, too.
    ///
    /// # Errors
    /// [`WasmError::ExportNotFound`] if the component answers no requests; else as
    /// [`call_handle_message`](RuntimeEngine::call_handle_message).
    pub async fn answer_http<B>(
        &self,
        handle: &ComponentHandle,
        request: ::http::Request<B>,
        scheme: HttpScheme,
        responder: HttpResponder,
    ) -> Result<HttpOutcome, WasmError>
    where
        B: ::http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: fmt::Display,
    {
        if !has_authority(&request) {
            return Err(WasmError::InvalidArguments {
                component: handle.id().clone(),
                export: HTTP_EXPORT.into(),
                reason: "is given a request that names no host".to_owned(),
            });
        }
        let call = HttpCall::new(request, scheme, responder);
        self.take_turn(handle, call)?.await.map_err(|error| *error)
    }

    async fn compile(
        &self,
        id: &ComponentId,
        bytes: Bytes,
        config: &ComponentConfig,
    ) -> Result<Arc<CacheEntry<T>>, WasmError> {
        let ceiling = self.config.memory_ceiling_bytes();
        let checked = config.limits.check_ceiling(ceiling);
        let checked = checked.and_then(|()| self.config.metering().check(&config.limits));
        checked.map_err(|source| WasmError::InvalidLimits {
            component: id.clone(),
            source,
        })?;
        self.check_bytes(id, &bytes)?;
        let compiled = self.compiled.compiled(id, bytes, &self.linker).await;
        let entry = compiled.map_err(|error| match error {
            // Found by what it is compiled for, before it is loaded for anybody.
            WasmError::ResourceLimitExceeded { .. } => with_limit(error, config),
            error => self.with_version(error),
        })?;
        if let Some(compiled) = entry.get() {
            let unmet = self.not_granted(&compiled.imports, &config.permissions);
            if let Some(error) = not_met(id, unmet, None) {
                return Err(error);
            }
        }
        Ok(entry)
    }

    /// Of an import that is missing, the version that there is.
    fn with_version(&self, mut error: WasmError) -> WasmError {
        if let WasmError::ImportNotFound { import, reason, .. } = &mut error {
            let mut unmet = UnmetImport {
                name: import.clone(),
                reason: reason.clone(),
            };
            name_version(&mut unmet, &self.interfaces);
            *reason = unmet.reason;
        }
        error
    }

    /// What can be told at once.
    fn check_bytes(&self, id: &ComponentId, bytes: &[u8]) -> Result<(), WasmError> {
        let limit = self.config.max_component_bytes();
        let length = bytes.len() as u64;
        let header = if length > limit {
            Err(Defect::TooLarge {
                bytes: length,
                limit,
            })
        } else {
            Defect::check_header(bytes)
        };
        header.map_err(|defect| WasmError::invalid_component(id, defect))?;
        async_runtime().map(drop)
    }

    fn take_turn<'a, W: Work<T>>(
        &self,
        handle: &'a ComponentHandle,
        work: W,
    ) -> Result<Lasting<'a, W::Output>, WasmError> {
        turn::call(handle, self.slots.find(handle)?, work)
    }
}

/// Whether there is something of exactly this name, beside which nothing else can be.
fn has<T: 'static>(linker: &Linker<T>, name: &str) -> bool {
    let mut linker = Linker::clone(linker);
    let other = linker.root().func_wrap(name, |_, (): ()| Ok(()));
    other.is_err()
}

/// What a component that was not loaded was limited to.
fn with_limit(mut error: WasmError, config: &ComponentConfig) -> WasmError {
    if let WasmError::ResourceLimitExceeded { limit, .. } = &mut error {
        *limit = config.limits.memory_bytes();
    }
    error
}

fn guest_error(handle: &ComponentHandle, error: WitWasmError) -> WasmError {
    WasmError::GuestError {
        component: handle.id().clone(),
        error: error.into(),
    }
}

/// Reserving the pool is what most probably fails.
fn refused(config: &EngineConfig, error: wasmtime::Error) -> WasmError {
    match config.allocation() {
        Allocation::Pooled { instances } => {
            let what = format!(
                "the pool of {} instances could not be reserved (`with_allocation` and \
                 `with_profile` in EngineConfig; `ulimit -v`)",
                format_count(u64::from(instances))
            );
            initialization(&what, error)
        }
        Allocation::OnDemand => initialization("wasmtime refused its configuration", error),
    }
}

fn initialization(what: &str, error: wasmtime::Error) -> WasmError {
    WasmError::EngineInitialization {
        reason: format!("{what}: {}", chain(&error)),
        source: Some(cause(error)),
    }
}

impl<T> Debug for WasmtimeEngine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmtimeEngine")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl<T: Send + 'static> RuntimeEngine for WasmtimeEngine<T> {
    async fn prepare_component(
        &self,
        id: &ComponentId,
        bytes: Bytes,
        config: &ComponentConfig,
    ) -> Result<Preparation, WasmError> {
        Self::prepare_component(self, id, bytes, config).await
    }

    async fn load_component(
        &self,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        Self::load_component(self, id, bytes, config).await
    }

    async fn unload_component(&self, handle: &ComponentHandle) -> Result<(), WasmError> {
        Self::unload_component(self, handle).await
    }

    async fn call_handle_message(
        &self,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<Option<MessagePayload>, WasmError> {
        Self::call_handle_message(self, handle, message).await
    }

    async fn call_handle_callback(
        &self,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), WasmError> {
        Self::call_handle_callback(self, handle, message).await
    }

    async fn restart_component(&self, handle: &ComponentHandle) -> Result<(), WasmError> {
        Self::restart_component(self, handle).await
    }

    async fn health(&self, handle: &ComponentHandle) -> Result<HealthStatus, WasmError> {
        Self::health(self, handle).await
    }

    async fn metadata(&self, handle: &ComponentHandle) -> Result<ComponentMetadata, WasmError> {
        Self::metadata(self, handle).await
    }

    async fn usage(&self, handle: &ComponentHandle) -> Result<ComponentUsage, WasmError> {
        Self::usage(self, handle)
    }
}
