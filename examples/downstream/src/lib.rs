//! A pool of components that do the same work.
//!
//! It knows an engine only as [`RuntimeEngine`]: the program that uses it brings one,
//! and its tests (`tests/pool.rs`) need none.

use std::error::Error as StdError;
use std::fmt::{self, Display};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasm_core::{
    ComponentHandle, ComponentId, ComponentMessage, MessagePayload, RuntimeEngine, WasmError,
};

/// How often a piece of work is given to workers that turn out to have failed before
/// they saw it.
const ATTEMPTS: u32 = 3;

/// Gives each piece of work to the worker that has the least to do, and restarts the
/// workers that fail.
pub struct Pool<E: ?Sized> {
    engine: Arc<E>,
    id: ComponentId,
    /// Each is held once here and once by every piece of work that it has, so that
    /// work whose future is dropped no longer counts.
    workers: Mutex<Vec<Arc<ComponentHandle>>>,
}

impl<E: RuntimeEngine + ?Sized> Pool<E> {
    /// Of components that `engine` has loaded; `id` is who sends them their work.
    pub fn new(
        engine: Arc<E>,
        id: ComponentId,
        workers: impl IntoIterator<Item = ComponentHandle>,
    ) -> Self {
        let workers = workers.into_iter().map(Arc::new).collect();
        Self {
            engine,
            id,
            workers: Mutex::new(workers),
        }
    }

    /// How many workers there are.
    pub fn size(&self) -> usize {
        self.workers().len()
    }

    /// Has a worker do it, and gives its answer.
    ///
    /// # Errors
    /// What became of the work. It is not given to another worker when it failed the
    /// first: it would fail that one too.
    pub async fn submit(
        &self,
        work: impl Into<MessagePayload>,
    ) -> Result<Option<MessagePayload>, PoolError> {
        let work = work.into();
        let mut attempt = 1;
        loop {
            let worker = self.least_busy().ok_or(PoolError::NoWorkerLeft)?;
            let message = ComponentMessage::new(self.id.clone(), worker.id().clone(), work.clone());
            let outcome = self.engine.call_handle_message(&worker, message).await;
            if outcome.as_ref().is_err_and(WasmError::fails_instance) {
                self.restart(&worker).await;
            }
            match outcome {
                Err(WasmError::ComponentFailed { .. }) if attempt < ATTEMPTS => attempt += 1,
                outcome => return outcome.map_err(PoolError::Work),
            }
        }
    }

    /// A worker that cannot be restarted leaves the pool.
    async fn restart(&self, worker: &Arc<ComponentHandle>) {
        if self.engine.restart_component(worker).await.is_ok() {
            return;
        }
        self.workers().retain(|other| !Arc::ptr_eq(other, worker));
        // It has failed, so there is no `shutdown` that could.
        let _ = self.engine.unload_component(worker).await;
    }

    fn least_busy(&self) -> Option<Arc<ComponentHandle>> {
        let workers = self.workers();
        workers
            .iter()
            .min_by_key(|worker| Arc::strong_count(worker))
            .cloned()
    }

    fn workers(&self) -> MutexGuard<'_, Vec<Arc<ComponentHandle>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why there is no answer.
#[derive(Debug, Clone)]
pub enum PoolError {
    /// What the work ended in.
    Work(WasmError),
    /// Every worker has failed and could not be restarted.
    NoWorkerLeft,
}

impl Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Work(_) => "the work was not done",
            Self::NoWorkerLeft => "no worker is left",
        })
    }
}

impl StdError for PoolError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Work(error) => Some(error),
            Self::NoWorkerLeft => None,
        }
    }
}
