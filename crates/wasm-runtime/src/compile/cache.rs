//! What is compiled already, and the turns of what is to be.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread;

use bytes::Bytes;
use tokio::sync::{Mutex as AsyncMutex, Semaphore, oneshot};
use wasmtime::component::Linker;

use wasm_core::{Cause, ComponentId, WasmError};

use super::imports::{self, ImportAudit};
use super::{Compiled, component_of, not_compiled};
use crate::call::Caller;
use crate::config::EngineConfig;
use crate::instance::state::HostState;

/// Compiles the same bytes once for as long as they are loaded or prepared.
///
/// The bytes themselves are compared, because a digest short enough to be quick could be
/// made to collide by the author of a component; while nobody waits for the lock.
pub(crate) struct CompileCache<T: 'static> {
    entries: Arc<CacheEntries<T>>,
    config: EngineConfig,
    /// As many as may be compiled at a time.
    permits: Arc<Semaphore>,
}

struct CacheEntries<T: 'static> {
    by_hash: Mutex<HashMap<u64, Vec<Weak<CacheEntry<T>>>>>,
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
pub(crate) struct CacheEntry<T: 'static> {
    hash: u64,
    bytes: Bytes,
    compiled: OnceLock<Compiled<T>>,
    /// Held while the bytes are compiled, so that others wait for that.
    compiling: Arc<AsyncMutex<()>>,
    entries: Weak<CacheEntries<T>>,
}

impl<T: 'static> CacheEntry<T> {
    /// `None` until the entry was returned by [`CompileCache::compiled`].
    pub(crate) fn get(&self) -> Option<&Compiled<T>> {
        self.compiled.get()
    }
}

/// Lets go of the bytes of what is neither loaded nor prepared any more.
impl<T: 'static> Drop for CacheEntry<T> {
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

impl<T: Send + 'static> CompileCache<T> {
    pub(crate) fn new(config: EngineConfig) -> Self {
        let permits = Semaphore::new(config.compiler().processes());
        Self {
            entries: Arc::new(CacheEntries {
                by_hash: Mutex::default(),
                hasher: RandomState::new(),
            }),
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
        linker: &Arc<Linker<HostState<T>>>,
    ) -> Result<Arc<CacheEntry<T>>, WasmError> {
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

    /// Asks the linker about the imports of a component, whose names come with the answer;
    /// its code is not compiled.
    pub(crate) async fn audit(
        &self,
        id: &ComponentId,
        bytes: Bytes,
        linker: &Arc<Linker<HostState<T>>>,
    ) -> Result<(ImportAudit, Vec<Box<str>>), WasmError> {
        let _permit = self.permits.acquire().await;
        let (owned_id, config, linker) = (id.clone(), self.config.clone(), Arc::clone(linker));
        let audit = move || {
            let bytes = imports::imports_only(&bytes);
            match component_of(&owned_id, bytes, linker.engine(), &config) {
                Ok((component, _)) => {
                    let names = imports::names(&component);
                    Ok((imports::audit(&component, &linker), names))
                }
                Err(error) => {
                    let audit = imports::audit_of_uncompiled(bytes).ok_or(error)?;
                    Ok((audit, Vec::new()))
                }
            }
        };
        on_thread(id, audit).await?
    }

    pub(crate) fn clear(&self) {
        self.entries.lock().clear();
    }
}

impl<T: 'static> CacheEntries<T> {
    /// The entry of these bytes, which is made if there is none.
    fn entry(self: &Arc<Self>, bytes: Bytes) -> Arc<CacheEntry<T>> {
        let hash = self.hasher.hash_one(&bytes);
        let mut others: Vec<Arc<CacheEntry<T>>> = Vec::new();
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

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Vec<Weak<CacheEntry<T>>>>> {
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

#[cfg(test)]
mod tests {
    use std::task::Poll;
    use std::time::Duration;

    use tokio::time::sleep;
    use wasm_core::Preparation;
    use wasm_fixtures::HELLO;
    use wasmtime::Engine;

    use super::*;

    struct Setting {
        cache: CompileCache<()>,
        linker: Arc<Linker<HostState>>,
        bytes: Bytes,
    }

    impl Setting {
        fn new() -> Self {
            Self {
                cache: CompileCache::new(EngineConfig::default()),
                linker: Arc::new(Linker::new(
                    &Engine::new(&EngineConfig::default().wasmtime_config()).unwrap(),
                )),
                bytes: Bytes::from_static(HELLO.wasm),
            }
        }

        async fn compiled(&self) -> Arc<CacheEntry<()>> {
            let id = "demo/hello/main".parse().unwrap();
            let (bytes, linker) = (self.bytes.clone(), &self.linker);
            self.cache.compiled(&id, bytes, linker).await.unwrap()
        }

        fn entry(&self) -> Arc<CacheEntry<()>> {
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
