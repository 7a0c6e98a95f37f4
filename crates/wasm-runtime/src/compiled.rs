//! From bytes to something that can be instantiated: everything that can be said
//! of a component without running any of it.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread;

use bytes::Bytes;
use tokio::sync::{Mutex as AsyncMutex, Semaphore, oneshot};
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentNamedList, InstancePre, Lift, Linker, Lower,
};
use wasmtime::{Engine, Error};

use wasm_core::{Cause, ComponentId, Defect, KeptMemory, LIFECYCLE_INTERFACE, WasmError};

use crate::call::Caller;
use crate::compiler::Failure;
use crate::config::EngineConfig;
use crate::error::{cause, chain};
use crate::imports::{self, ImportAudit};
use crate::store::{
    CallbackFunc, HandleFunc, HealthFunc, HostState, InitializeFunc, MetadataFunc, ShutdownFunc,
};

/// The type of an export, written as a pair of tuples.
pub(crate) trait Signature {
    type Params: ComponentNamedList + Lower;
    type Results: ComponentNamedList + Lift;
}

impl<P: ComponentNamedList + Lower, R: ComponentNamedList + Lift> Signature
    for wasmtime::component::TypedFunc<P, R>
{
    type Params = P;
    type Results = R;
}

/// Where the functions of `component-lifecycle` are among a component's exports.
pub(crate) struct LifecycleExports {
    pub(crate) initialize: ComponentExportIndex,
    pub(crate) handle_message: ComponentExportIndex,
    pub(crate) handle_callback: ComponentExportIndex,
    pub(crate) metadata: ComponentExportIndex,
    pub(crate) health: ComponentExportIndex,
    pub(crate) shutdown: ComponentExportIndex,
}

/// A component that is compiled, linked and known to fit the contract.
pub(crate) struct Compiled {
    pub(crate) pre: InstancePre<HostState>,
    /// `None` for a component that takes no messages.
    pub(crate) lifecycle: Option<LifecycleExports>,
    pub(crate) kept: KeptMemory,
    /// Shared with the cache, to look up where a guest was.
    pub(crate) bytes: Bytes,
}

/// What is shared is shared within one engine only.
static NEXT_COMPILED: AtomicU64 = AtomicU64::new(1);

impl Compiled {
    /// Compiling takes the CPU for milliseconds to seconds: not for an async thread.
    fn new(
        id: &ComponentId,
        bytes: &Bytes,
        linker: &Linker<HostState>,
        config: &EngineConfig,
    ) -> Result<Self, WasmError> {
        let (component, host_bytes) = component_of(id, bytes, linker.engine(), config)
            .map_err(|error| imports::explain(id, bytes, error))?;
        let pre = imports::link(id, &component, linker)?;
        let lifecycle = lifecycle_exports(id, &component, &pre)?;
        Ok(Self {
            pre,
            lifecycle,
            kept: KeptMemory {
                bytes: host_bytes,
                shared_as: NEXT_COMPILED.fetch_add(1, Ordering::Relaxed),
            },
            bytes: bytes.clone(),
        })
    }

    pub(crate) fn component(&self) -> &Component {
        self.pre.component()
    }
}

/// A component, not linked yet, and the host memory that it keeps.
fn component_of(
    id: &ComponentId,
    bytes: &[u8],
    engine: &Engine,
    config: &EngineConfig,
) -> Result<(Component, u64), WasmError> {
    let host_limit = config.max_host_bytes();
    let compilation = config
        .compiler()
        .compile(engine, bytes, host_limit)
        .map_err(|failure| uncompiled(id, failure))?;
    let host_bytes = compilation.host_bytes().saturating_add(bytes.len() as u64);
    if host_bytes > host_limit {
        let defect = Defect::HostMemory {
            bytes: Some(host_bytes),
            limit: host_limit,
        };
        return Err(WasmError::invalid_component(id, defect));
    }
    let component = compilation.artifact.load(engine).map_err(|error| {
        let reason = format!("what the compiler made cannot be loaded: {}", chain(&error));
        not_compiled(id, reason, Some(cause(error)))
    })?;
    Ok((component, host_bytes))
}

fn invalid(id: &ComponentId, defect: Defect, source: Option<Error>) -> WasmError {
    WasmError::InvalidComponent {
        component: id.clone(),
        defect,
        source: source.map(cause),
    }
}

fn uncompiled(id: &ComponentId, failure: Failure) -> WasmError {
    match failure {
        Failure::Component(defect) => WasmError::invalid_component(id, defect),
        Failure::OutOfMemory => not_compiled(id, "there is no memory to compile it", None),
        Failure::Compiler(reason) => not_compiled(id, reason, None),
    }
}

/// For reasons that are not the component's.
fn not_compiled(id: &ComponentId, reason: impl Into<String>, source: Option<Cause>) -> WasmError {
    WasmError::InstantiationFailed {
        component: id.clone(),
        reason: reason.into(),
        source,
    }
}

fn lifecycle_exports(
    id: &ComponentId,
    component: &Component,
    pre: &InstancePre<HostState>,
) -> Result<Option<LifecycleExports>, WasmError> {
    let Some(interface) = component.get_export_index(None, LIFECYCLE_INTERFACE) else {
        return Ok(None);
    };
    let mut finder = ExportFinder {
        component,
        pre,
        interface,
        missing: Vec::new(),
        mistyped: None,
    };
    let found = (
        finder.find::<InitializeFunc>("initialize"),
        finder.find::<HandleFunc>("handle-message"),
        finder.find::<CallbackFunc>("handle-callback"),
        finder.find::<MetadataFunc>("metadata"),
        finder.find::<HealthFunc>("health"),
        finder.find::<ShutdownFunc>("shutdown"),
    );
    if let Some((export, error)) = finder.mistyped {
        let reason = chain(&error);
        let export = export.to_owned();
        return Err(invalid(
            id,
            Defect::WrongExportType { export, reason },
            Some(error),
        ));
    }
    let (
        Some(initialize),
        Some(handle_message),
        Some(handle_callback),
        Some(metadata),
        Some(health),
        Some(shutdown),
    ) = found
    else {
        let missing = finder.missing;
        return Err(invalid(id, Defect::IncompleteLifecycle { missing }, None));
    };
    Ok(Some(LifecycleExports {
        initialize,
        handle_message,
        handle_callback,
        metadata,
        health,
        shutdown,
    }))
}

struct ExportFinder<'a> {
    component: &'a Component,
    pre: &'a InstancePre<HostState>,
    interface: ComponentExportIndex,
    missing: Vec<String>,
    mistyped: Option<(&'static str, Error)>,
}

impl ExportFinder<'_> {
    fn find<S: Signature>(&mut self, function: &'static str) -> Option<ComponentExportIndex> {
        let found = self.component.get_export(Some(&self.interface), function);
        let Some((ComponentItem::ComponentFunc(ty), index)) = found else {
            self.missing.push(function.to_owned());
            return None;
        };
        match ty.typecheck::<S::Params, S::Results>(&self.pre.instance_type()) {
            Ok(()) => Some(index),
            Err(error) => {
                self.mistyped.get_or_insert((function, error));
                None
            }
        }
    }
}

/// Compiles the same bytes once for as long as they are loaded or prepared.
///
/// The bytes themselves are compared, because a digest short enough to be quick could be
/// made to collide by the author of a component; while nobody waits for the lock.
pub(crate) struct CompileCache {
    entries: Arc<CacheEntries>,
    config: EngineConfig,
    /// As many as may be compiled at a time.
    permits: Arc<Semaphore>,
}

#[derive(Default)]
struct CacheEntries {
    by_hash: Mutex<HashMap<u64, Vec<Weak<CacheEntry>>>>,
    hasher: RandomState,
}

/// What more bytes than this take to hash and to compare, other tasks should not wait for:
/// a millisecond on a slow machine.
const QUICKLY_COMPARED_BYTES: usize = 1 << 20;

fn unfinished(id: &ComponentId, error: Cause) -> WasmError {
    let reason = format!("the compiler did not finish: {error}");
    not_compiled(id, reason, Some(error))
}

/// Holding it keeps the compiled component in the cache.
pub(crate) struct CacheEntry {
    hash: u64,
    bytes: Bytes,
    compiled: OnceLock<Compiled>,
    /// Held while the bytes are compiled, so that others wait for that.
    compiling: Arc<AsyncMutex<()>>,
    entries: Weak<CacheEntries>,
}

impl CacheEntry {
    /// `None` until the entry was returned by [`CompileCache::compiled`].
    pub(crate) fn get(&self) -> Option<&Compiled> {
        self.compiled.get()
    }
}

/// Lets go of the bytes of what is neither loaded nor prepared any more.
impl Drop for CacheEntry {
    fn drop(&mut self) {
        if let Some(entries) = self.entries.upgrade() {
            let mut by_hash = entries.lock();
            if let Some(alike) = by_hash.get_mut(&self.hash) {
                alike.retain(|entry| entry.strong_count() > 0);
                if alike.is_empty() {
                    by_hash.remove(&self.hash);
                }
            }
        }
    }
}

impl CompileCache {
    pub(crate) fn new(config: EngineConfig) -> Self {
        let permits = Semaphore::new(config.compiler().processes());
        Self {
            entries: Arc::default(),
            config,
            permits: Arc::new(permits),
        }
    }

    /// Loads of the same bytes at the same time wait for one compilation. One that has
    /// begun cannot be stopped: it goes on without whoever asked for it, for the next
    /// to ask.
    pub(crate) async fn compiled(
        &self,
        id: &ComponentId,
        bytes: Bytes,
        linker: &Arc<Linker<HostState>>,
    ) -> Result<Arc<CacheEntry>, WasmError> {
        let entry = if bytes.len() > QUICKLY_COMPARED_BYTES {
            let (entries, bytes) = (Arc::clone(&self.entries), bytes.clone());
            on_thread(id, move || entries.entry(bytes)).await?
        } else {
            self.entries.entry(bytes.clone())
        };
        if entry.get().is_some() {
            return Ok(entry);
        }
        let caller = Caller::default();
        let watch = caller.watch();
        let (permits, config) = (Arc::clone(&self.permits), self.config.clone());
        let (owned_id, linker, filled) = (id.clone(), Arc::clone(linker), Arc::clone(&entry));
        // A task of its own, because a load that is kept without being polled would
        // keep the compiler from everyone else once its turn came.
        let task_id = id.clone();
        let compilation = tokio::spawn(async move {
            let turn = Arc::clone(&filled.compiling).lock_owned().await;
            let permit = permits.acquire_owned().await;
            if filled.get().is_some() || watch.is_gone() {
                return Ok(());
            }
            let compile = move || {
                // Until the processors and the memory are free again, whatever became
                // of who waits for it and of the runtime on which it does.
                let _held = (turn, permit);
                let compiled = Compiled::new(&owned_id, &bytes, &linker, &config)?;
                // Nobody else had the turn.
                drop(filled.compiled.set(compiled));
                Ok(())
            };
            on_thread(&task_id, compile).await?
        });
        compilation
            .await
            .unwrap_or_else(|error| Err(unfinished(id, Arc::new(error))))?;
        Ok(entry)
    }

    /// Asks the linker about the imports of a component; its code is not compiled.
    pub(crate) async fn audit(
        &self,
        id: &ComponentId,
        bytes: Bytes,
        linker: &Arc<Linker<HostState>>,
    ) -> Result<ImportAudit, WasmError> {
        let _permit = self.permits.acquire().await;
        let (owned_id, config, linker) = (id.clone(), self.config.clone(), Arc::clone(linker));
        let audit = move || {
            let bytes = imports::imports_only(&bytes);
            match component_of(&owned_id, bytes, linker.engine(), &config) {
                Ok((component, _)) => Ok(imports::audit(&component, &linker)),
                Err(error) => imports::audit_of_uncompiled(bytes).ok_or(error),
            }
        };
        on_thread(id, audit).await?
    }

    pub(crate) fn clear(&self) {
        self.entries.lock().clear();
    }
}

impl CacheEntries {
    /// The entry of these bytes, which is made if there is none.
    fn entry(self: &Arc<Self>, bytes: Bytes) -> Arc<CacheEntry> {
        let hash = self.hasher.hash_one(&bytes);
        let mut others: Vec<Arc<CacheEntry>> = Vec::new();
        loop {
            let mut by_hash = self.lock();
            let alike = by_hash.entry(hash).or_default();
            let is_other = |entry: &Arc<_>| others.iter().any(|other| Arc::ptr_eq(entry, other));
            let candidates: Vec<_> = alike
                .iter()
                .filter_map(Weak::upgrade)
                .filter(|entry| !is_other(entry))
                .collect();
            if candidates.is_empty() {
                let entry = Arc::new(CacheEntry {
                    hash,
                    bytes,
                    compiled: OnceLock::new(),
                    compiling: Arc::default(),
                    entries: Arc::downgrade(self),
                });
                alike.push(Arc::downgrade(&entry));
                return entry;
            }
            drop(by_hash);
            others.extend(candidates);
            if let Some(entry) = others.iter().find(|entry| entry.bytes == bytes) {
                return Arc::clone(entry);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Vec<Weak<CacheEntry>>>> {
        self.by_hash.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does what takes the processor for long on a thread of its own: those that a runtime has
/// for what blocks may all be taken, and a compiler is ended with the thread that started
/// it. It goes on when nobody waits for it any more.
async fn on_thread<R: Send + 'static>(
    id: &ComponentId,
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, WasmError> {
    let (done, result) = oneshot::channel();
    let work = move || {
        // Unless nobody waits for it any more.
        let _ = done.send(work());
    };
    thread::Builder::new()
        .name("wasm-compile".to_owned())
        .spawn(work)
        .map_err(|error| unfinished(id, Arc::new(error)))?;
    result
        .await
        .map_err(|error| unfinished(id, Arc::new(error)))
}

/// The item that an export's full name stands for: `function` or
/// `interface#function`.
pub(crate) fn find_function(
    component: &Component,
    export: &str,
) -> Option<(ComponentFunc, ComponentExportIndex)> {
    let (interface, function) = match export.split_once('#') {
        Some((interface, function)) => {
            (Some(component.get_export_index(None, interface)?), function)
        }
        None => (None, export),
    };
    match component.get_export(interface.as_ref(), function)? {
        (ComponentItem::ComponentFunc(ty), index) => Some((ty, index)),
        _ => None,
    }
}

/// Full names of all functions that a component exports, in order.
pub(crate) fn function_names(component: &Component, engine: &Engine) -> Vec<String> {
    let mut names = Vec::new();
    for (name, item) in component.component_type().exports(engine) {
        match item.ty {
            ComponentItem::ComponentFunc(_) => names.push(name.to_owned()),
            ComponentItem::ComponentInstance(interface) => names.extend(
                interface
                    .exports(engine)
                    .filter(|(_, item)| matches!(item.ty, ComponentItem::ComponentFunc(_)))
                    .map(|(function, _)| format!("{name}#{function}")),
            ),
            _ => {}
        }
    }
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use std::task::Poll;
    use std::time::Duration;

    use tokio::time::sleep;
    use wasm_core::Preparation;
    use wasm_fixtures::HELLO;

    use super::*;
    use crate::engine::wasmtime_config;

    struct Setting {
        cache: CompileCache,
        linker: Arc<Linker<HostState>>,
        bytes: Bytes,
    }

    impl Setting {
        fn new() -> Self {
            Self {
                cache: CompileCache::new(EngineConfig::default()),
                linker: Arc::new(Linker::new(&Engine::new(&wasmtime_config()).unwrap())),
                bytes: Bytes::from_static(HELLO.wasm),
            }
        }

        async fn compiled(&self) -> Arc<CacheEntry> {
            let id = "demo/hello/main".parse().unwrap();
            let (bytes, linker) = (self.bytes.clone(), &self.linker);
            self.cache.compiled(&id, bytes, linker).await.unwrap()
        }

        fn entry(&self) -> Arc<CacheEntry> {
            let entries = self.cache.entries.lock();
            entries.values().flatten().find_map(Weak::upgrade).unwrap()
        }
    }

    #[tokio::test]
    async fn an_abandoned_compilation_is_of_use() {
        let setting = Setting::new();
        let entry = {
            let mut abandoned = std::pin::pin!(setting.compiled());
            let first = std::future::poll_fn(|cx| Poll::Ready(abandoned.as_mut().poll(cx)));
            assert!(first.await.is_pending());
            let entry = setting.entry();
            while entry.get().is_none() && setting.cache.permits.available_permits() == 1 {
                sleep(Duration::from_millis(1)).await;
            }
            entry
        };
        while entry.get().is_none() {
            sleep(Duration::from_millis(1)).await;
        }
        assert!(Arc::ptr_eq(&setting.compiled().await, &entry));
    }

    #[tokio::test]
    async fn what_is_held_is_not_compiled_again() {
        let setting = Setting::new();
        let prepared = Preparation::new(setting.compiled().await);
        let entry = Arc::downgrade(&setting.entry());
        assert!(Weak::ptr_eq(
            &entry,
            &Arc::downgrade(&setting.compiled().await)
        ));
        drop(prepared);
        assert!(entry.upgrade().is_none(), "what nobody holds is let go of");
        assert_eq!(setting.cache.entries.lock().len(), 0);
    }

    #[tokio::test]
    async fn compilations_wait_for_each_other() {
        let setting = Setting::new();
        let other = setting.cache.permits.acquire().await.unwrap();
        let mut waiting = std::pin::pin!(setting.compiled());
        tokio::select! {
            biased;
            _ = &mut waiting => panic!("it was compiled out of turn"),
            () = sleep(Duration::from_millis(20)) => assert!(setting.entry().get().is_none()),
        }
        drop(other);
        assert_eq!(
            waiting.await.get().map(|c| c.lifecycle.is_some()),
            Some(false)
        );
    }
}
