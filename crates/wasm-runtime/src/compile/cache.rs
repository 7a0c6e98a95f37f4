//! What is compiled already, and the turns of what is to be.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread;

use bytes::Bytes;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, Semaphore, oneshot};
use tokio::task::spawn_blocking;
use wasmtime::Engine;
use wasmtime::component::Linker;

use wasm_core::{Cause, ComponentId, WasmError};

use super::disk::{DiskCache, Source};
use super::imports::{self, ImportAudit};
use super::{Compiled, compile, component_of, not_compiled, shipped};
use crate::call::{Caller, CallerWatch};
use crate::compiler::Compilation;
use crate::config::EngineConfig;
use crate::instance::state::HostState;

/// Compiles the same bytes once: for as long as they are loaded or prepared, and where the
/// engine has a cache on disk, for good.
pub(crate) struct CompileCache<T: 'static> {
    entries: Arc<CacheEntries<T>>,
    compiling: Arc<Compiling>,
}

/// What compiling needs besides the component.
struct Compiling {
    config: EngineConfig,
    /// MiB of memory that compilations may take together.
    memory: Arc<Semaphore>,
}

struct CacheEntries<T: 'static> {
    known: Mutex<Known<T>>,
}

/// Entries by the digest of their bytes, which nobody can make two components have, and by
/// where their bytes are: bytes that lie where those of an entry do are the same, and need no
/// digest.
struct Known<T: 'static> {
    by_digest: HashMap<blake3::Hash, Weak<CacheEntry<T>>>,
    by_place: HashMap<Place, Weak<CacheEntry<T>>>,
}

/// Address and length.
type Place = (usize, usize);

fn place(bytes: &Bytes) -> Place {
    (bytes.as_ptr() as usize, bytes.len())
}

/// What more bytes than this take to digest, other tasks should not wait for: a millisecond
/// on a slow machine.
const QUICKLY_DIGESTED_BYTES: usize = 1 << 20;

fn unfinished(id: &ComponentId, error: Cause) -> WasmError {
    let reason = format!("the compiler did not finish: {error}");
    not_compiled(id, reason, Some(error))
}

/// Holding it keeps the compiled component in the cache.
pub(crate) struct CacheEntry<T: 'static> {
    digest: blake3::Hash,
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
        let Some(entries) = self.entries.upgrade() else {
            return;
        };
        let mut known = entries.lock();
        // Another entry of the same bytes may have taken its place.
        let is_gone =
            |entry: Option<&Weak<_>>| entry.is_some_and(|entry| entry.strong_count() == 0);
        if is_gone(known.by_digest.get(&self.digest)) {
            known.by_digest.remove(&self.digest);
        }
        let place = place(&self.bytes);
        if is_gone(known.by_place.get(&place)) {
            known.by_place.remove(&place);
        }
    }
}

impl<T: Send + 'static> CompileCache<T> {
    pub(crate) fn new(config: EngineConfig) -> Self {
        // That nothing can be kept is known from the start.
        drop(config.cache().and_then(DiskCache::open));
        Self {
            entries: Arc::new(CacheEntries {
                known: Mutex::new(Known {
                    by_digest: HashMap::new(),
                    by_place: HashMap::new(),
                }),
            }),
            compiling: Arc::new(Compiling {
                memory: Arc::new(Semaphore::new(all_memory(&config) as usize)),
                config,
            }),
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
        let entry = if let Some(known) = self.entries.in_place(&bytes) {
            known
        } else if bytes.len() > QUICKLY_DIGESTED_BYTES {
            let (entries, bytes) = (Arc::clone(&self.entries), bytes.clone());
            on_thread(id, move || entries.entry(bytes)).await?
        } else {
            self.entries.entry(bytes)
        };
        if entry.get().is_some() {
            return Ok(entry);
        }
        let caller = Caller::default();
        let filling = Filling {
            id: id.clone(),
            entry: Arc::clone(&entry),
            linker: Arc::clone(linker),
            compiling: Arc::clone(&self.compiling),
        };
        // A task of its own, because a load that is kept without being polled would
        // keep the compiler from everyone else once its turn came.
        let filled = tokio::spawn(filling.fill(caller.watch()));
        filled
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
        let needed = needed_memory(&self.compiling.config, bytes.len());
        let _permit = self.compiling.memory.acquire_many(needed).await;
        let (owned_id, linker) = (id.clone(), Arc::clone(linker));
        let compiling = Arc::clone(&self.compiling);
        let audit = move || {
            let bytes = imports::imports_only(&bytes);
            match component_of(&owned_id, bytes, linker.engine(), &compiling.config) {
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

    /// That the cache on disk has what was compiled of these bytes.
    pub(crate) async fn check_kept(&self, bytes: Bytes, engine: Engine) -> io::Result<()> {
        let compiling = Arc::clone(&self.compiling);
        let check = move || {
            let config = compiling.config.cache();
            let config = config.ok_or_else(|| io::Error::other("no cache is configured"))?;
            let source = Source::new(&digest(&bytes), &engine);
            match DiskCache::try_open(config)?.read(source) {
                Some(_) => Ok(()),
                None => Err(shipped::not_there()),
            }
        };
        spawn_blocking(check).await.map_err(io::Error::other)?
    }

    /// Writes what was compiled of these bytes to a file.
    pub(crate) async fn ship(&self, bytes: Bytes, to: PathBuf, engine: Engine) -> io::Result<u64> {
        let compiling = Arc::clone(&self.compiling);
        let ship = move || {
            let disk = compiling
                .disk()
                .ok_or_else(|| io::Error::other("there is no cache of compiled code"))?;
            let source = Source::new(&digest(&bytes), &engine);
            shipped::write(&disk, source, &to)
        };
        spawn_blocking(ship).await.map_err(io::Error::other)?
    }

    pub(crate) fn clear(&self) {
        let mut known = self.entries.lock();
        known.by_digest.clear();
        known.by_place.clear();
    }
}

impl Compiling {
    /// Each time as it is by now: its folder may have been removed, and be another's.
    fn disk(&self) -> Option<DiskCache> {
        self.config.cache().and_then(DiskCache::open)
    }
}

/// An entry that is to be filled.
struct Filling<T: 'static> {
    id: ComponentId,
    entry: Arc<CacheEntry<T>>,
    linker: Arc<Linker<HostState<T>>>,
    compiling: Arc<Compiling>,
}

impl<T: Send + 'static> Filling<T> {
    async fn fill(self, watch: CallerWatch) -> Result<(), WasmError> {
        let turn = Arc::clone(&self.entry.compiling).lock_owned().await;
        if self.entry.get().is_some() || watch.is_gone() {
            return Ok(());
        }
        let id = self.id.clone();
        if self.compiling.config.cache().is_some() {
            let (filling, turn) = on_thread(&id, move || self.read_from_disk(turn)).await?;
            if filling.entry.get().is_some() {
                return Ok(());
            }
            return filling.compile_in_turn(turn, watch).await;
        }
        self.compile_in_turn(turn, watch).await
    }

    /// What is on disk waits for no other compilation.
    fn read_from_disk(self, turn: OwnedMutexGuard<()>) -> (Self, OwnedMutexGuard<()>) {
        if let Some(disk) = self.compiling.disk() {
            // What is wrong with it is told before it is compiled.
            self.take(disk.try_read(self.source()).ok());
        }
        (self, turn)
    }

    async fn compile_in_turn(
        self,
        turn: OwnedMutexGuard<()>,
        watch: CallerWatch,
    ) -> Result<(), WasmError> {
        let needed = needed_memory(&self.compiling.config, self.entry.bytes.len());
        let memory = Arc::clone(&self.compiling.memory);
        let permit = memory.acquire_many_owned(needed).await;
        if watch.is_gone() {
            return Ok(());
        }
        let id = self.id.clone();
        let compile = move || {
            // Until the processors and the memory are free again, whatever became
            // of who waits for it and of the runtime on which it does.
            let _held = (turn, permit);
            self.compile()
        };
        on_thread(&id, compile).await?
    }

    fn compile(&self) -> Result<(), WasmError> {
        let (id, bytes, engine) = (&self.id, &self.entry.bytes, self.linker.engine());
        let disk = self.compiling.disk().map(|disk| (disk, self.source()));
        // Another process may be compiling it.
        let _lock = disk.as_ref().map(|(disk, source)| disk.lock(*source));
        if let Some((disk, source)) = &disk
            && self.take(disk.read(*source))
        {
            return Ok(());
        }
        let compilation = compile(id, bytes, engine, &self.compiling.config)
            .map_err(|error| imports::explain(id, bytes, error))?;
        self.set(self.link(&compilation)?);
        if let Some((disk, source)) = disk {
            disk.write(source, &compilation);
        }
        Ok(())
    }

    fn source(&self) -> Source {
        Source::new(&self.entry.digest, self.linker.engine())
    }

    /// Whether it was on disk. What is there but cannot be loaded or linked is compiled anew,
    /// which says why.
    fn take(&self, known: Option<Compilation>) -> bool {
        let Some(compiled) = known.and_then(|known| self.link(&known).ok()) else {
            return false;
        };
        self.set(compiled);
        true
    }

    fn link(&self, compilation: &Compilation) -> Result<Compiled<T>, WasmError> {
        let (bytes, config) = (&self.entry.bytes, &self.compiling.config);
        Compiled::new(&self.id, bytes, compilation, &self.linker, config)
    }

    fn set(&self, compiled: Compiled<T>) {
        // Nobody else has the turn.
        drop(self.entry.compiled.set(compiled));
    }
}

impl<T: 'static> CacheEntries<T> {
    /// The entry that has these very bytes.
    fn in_place(&self, bytes: &Bytes) -> Option<Arc<CacheEntry<T>>> {
        // The bytes of an entry are there as long as it is.
        self.lock().by_place.get(&place(bytes))?.upgrade()
    }

    /// The entry of these bytes, which is made if there is none.
    fn entry(self: &Arc<Self>, bytes: Bytes) -> Arc<CacheEntry<T>> {
        let digest = digest(&bytes);
        let mut known = self.lock();
        if let Some(entry) = known.by_digest.get(&digest).and_then(Weak::upgrade) {
            return entry;
        }
        let place = place(&bytes);
        let entry = Arc::new(CacheEntry {
            digest,
            bytes,
            compiled: OnceLock::new(),
            compiling: Arc::default(),
            entries: Arc::downgrade(self),
        });
        known.by_digest.insert(digest, Arc::downgrade(&entry));
        known.by_place.insert(place, Arc::downgrade(&entry));
        entry
    }

    fn lock(&self) -> MutexGuard<'_, Known<T>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of what takes long, by all processors.
fn digest(bytes: &[u8]) -> blake3::Hash {
    if bytes.len() <= QUICKLY_DIGESTED_BYTES {
        return blake3::hash(bytes);
    }
    blake3::Hasher::new().update_rayon(bytes).finalize()
}

/// What compiling takes of memory for each byte of a component: JavaScript's interpreter 37,
/// Python's 22.
const MEMORY_GROWTH: usize = 40;

/// What as many compilations as may run at a time may take together, in MiB: half a GiB each,
/// which is what one of the largest takes.
fn all_memory(config: &EngineConfig) -> u32 {
    let compilations = u32::try_from(config.compiler().processes()).unwrap_or(1 << 20);
    compilations.min(1 << 20) * MEMORY_EACH
}

const MEMORY_EACH: u32 = 512;

/// What compiling a component of so many bytes takes of that: at least one share.
fn needed_memory(config: &EngineConfig, bytes: usize) -> u32 {
    let needed = u32::try_from((bytes * MEMORY_GROWTH) >> 20).unwrap_or(u32::MAX);
    needed.max(MEMORY_EACH).min(all_memory(config))
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
    use crate::compiler::{Compiler, CompilerProcess};

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

        fn all(&self) -> usize {
            all_memory(&EngineConfig::default()) as usize
        }

        fn free(&self) -> usize {
            self.cache.compiling.memory.available_permits()
        }

        fn entry(&self) -> Arc<CacheEntry<()>> {
            let known = self.cache.entries.lock();
            known.by_digest.values().find_map(Weak::upgrade).unwrap()
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
            while entry.get().is_none() && setting.free() == setting.all() {
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
        // Nor are the same bytes digested again.
        assert!(setting.cache.entries.in_place(&setting.bytes).is_some());
        assert!(Weak::ptr_eq(
            &entry,
            &Arc::downgrade(&setting.compiled().await)
        ));
        drop(prepared);
        assert!(entry.upgrade().is_none(), "what nobody holds is let go of");
        assert_eq!(setting.cache.entries.lock().by_digest.len(), 0);
        assert_eq!(setting.cache.entries.lock().by_place.len(), 0);
    }

    #[test]
    fn a_compilation_takes_as_much_memory_as_its_component_is_large() {
        let config = |processes| {
            let process = CompilerProcess::new("compiler").with_processes(processes);
            EngineConfig::default().with_compiler(Compiler::Process(process))
        };
        assert_eq!(all_memory(&config(3)), 3 * 512);
        assert_eq!(all_memory(&config(usize::MAX)), 512 << 20);
        let four = config(4);
        for (mebibytes, needed) in [
            (0, 512),
            (12, 512),
            // Forty times as much.
            (13, 520),
            (20, 800),
            (51, 2040),
            // All there is.
            (52, 2048),
            (1000, 2048),
        ] {
            assert_eq!(needed_memory(&four, mebibytes << 20), needed, "{mebibytes}");
        }
    }

    #[tokio::test]
    async fn compilations_wait_for_each_other() {
        let setting = Setting::new();
        let others = setting
            .cache
            .compiling
            .memory
            .acquire_many(setting.all() as u32);
        let other = others.await.unwrap();
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
