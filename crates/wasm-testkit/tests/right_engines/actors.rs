//! An engine of another make than the model: a task and a queue for each component,
//! and a model of its own in each of them. Where the contract leaves an engine its
//! freedom, [`Habits`] say what it makes of it.

use std::collections::HashMap;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{Mutex as FairMutex, mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::sleep;

use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentId, ComponentMessage, ComponentMetadata,
    ComponentUsage, HealthStatus, HostServices, MessagePayload, Preparation, ResourceLimits,
    RuntimeEngine, WasmError,
};
use wasm_testkit::ModelEngine;
use wasm_testkit::conformance::Settings;
use wasm_testkit::wasm_fixtures::{
    ALL, Behaviour, Lifecycle, OnHealth, OnMessage, OnShutdown, Otherwise,
};

/// What an engine may do as it likes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Habits {
    /// Before anything is done.
    pub(crate) before: Pause,
    /// Before anything that was done is told.
    pub(crate) after: Pause,
    /// What becomes of the count of a handle.
    pub(crate) numbers: fn(u64) -> u64,
    /// Looks at bytes before it looks at limits.
    pub(crate) bytes_first: bool,
    /// Has something to do ahead of time.
    pub(crate) prepares: bool,
    /// How long it takes to free a component.
    pub(crate) frees_within: Duration,
    /// Lets nobody run beside a guest that computes.
    pub(crate) one_thread: bool,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            before: Pause::None,
            after: Pause::None,
            numbers: |count| count,
            bytes_first: false,
            prepares: true,
            frees_within: Duration::ZERO,
            one_thread: false,
        }
    }
}

/// How long others go first.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pause {
    None,
    /// So many times.
    Yields(u32),
    /// Up to so many milliseconds, at random.
    UpTo(u64),
    /// So many milliseconds.
    Millis(u64),
}

impl Pause {
    async fn pass(self) {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        match self {
            Self::None => {}
            Self::Yields(times) => {
                for _ in 0..times {
                    yield_now().await;
                }
            }
            Self::UpTo(millis) => {
                let count = COUNT.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(scattered(count) % (millis + 1))).await;
            }
            Self::Millis(millis) => sleep(Duration::from_millis(millis)).await,
        }
    }
}

/// Looks like chance, and gives no two counts the same number: each step can be undone.
pub(crate) fn scattered(count: u64) -> u64 {
    let mixed = (count ^ (count >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

pub(crate) struct Actors {
    habits: Habits,
    services: HostServices,
    settings: Settings,
    components: Mutex<HashMap<ComponentHandle, Component>>,
    /// Held by a guest that computes, where there is one thread.
    thread: Arc<FairMutex<()>>,
}

struct Component {
    engine: Arc<Lingering>,
    computes: bool,
    unloaded: Arc<AtomicBool>,
    work: mpsc::UnboundedSender<Work>,
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A model that is freed later than it could be.
struct Lingering {
    engine: Option<ModelEngine>,
    within: Duration,
}

impl Deref for Lingering {
    type Target = ModelEngine;

    fn deref(&self) -> &ModelEngine {
        self.engine
            .as_ref()
            .expect("it is there until it is dropped")
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let (engine, within) = (self.engine.take(), self.within);
        if within.is_zero() {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            drop(runtime.spawn(async move {
                sleep(within).await;
                drop(engine);
            }));
        }
    }
}

impl Actors {
    pub(crate) fn new(habits: Habits, services: HostServices, settings: Settings) -> Self {
        Self {
            habits,
            services,
            settings,
            components: Mutex::default(),
            thread: Arc::default(),
        }
    }

    fn model(&self) -> Lingering {
        let ceiling = self.settings.memory_ceiling_bytes;
        let engine = ModelEngine::new(self.services.clone())
            .with_memory_ceiling_bytes(ceiling)
            .with_numbers(self.habits.numbers);
        Lingering {
            engine: Some(engine),
            within: self.habits.frees_within,
        }
    }

    /// What is wrong with a component before it is run.
    async fn check(
        &self,
        model: &Lingering,
        id: &ComponentId,
        bytes: &Bytes,
        config: &ComponentConfig,
    ) -> Result<(), WasmError> {
        if self.habits.bytes_first {
            let mut modest = config.clone();
            modest.limits = ResourceLimits::new(
                ResourceLimits::MIN_MEMORY_BYTES,
                config.limits.timeout(),
                config.limits.fuel(),
            )
            .expect("they are in range");
            drop(model.prepare_component(id, bytes.clone(), &modest).await?);
        }
        drop(model.prepare_component(id, bytes.clone(), config).await?);
        Ok(())
    }

    /// Leaves `work` in the queue of a component at the first poll, and waits for it.
    async fn queue<R, F>(
        &self,
        component: Result<Queued, WasmError>,
        handle: &ComponentHandle,
        kind: Kind,
        work: impl FnOnce(Arc<Lingering>, ComponentHandle) -> F + Send + 'static,
    ) -> Result<R, WasmError>
    where
        R: Send + 'static,
        F: Future<Output = Result<R, WasmError>> + Send + 'static,
    {
        let Queued {
            engine,
            computes,
            unloaded,
            queue,
        } = component?;
        let (answer, answered) = oneshot::channel();
        let Habits {
            before,
            after,
            one_thread,
            ..
        } = self.habits;
        let (handle, thread) = (handle.clone(), Arc::clone(&self.thread));
        let not_found = WasmError::ComponentNotFound {
            handle: handle.clone(),
        };
        let lost = not_found.clone();
        // Only an engine that is dropped, of which nobody waits for an answer, lets
        // nobody take it.
        let _ = queue.send(Box::pin(async move {
            before.pass().await;
            let alone = if one_thread {
                Some(thread.lock_owned().await)
            } else {
                None
            };
            if kind != Kind::Unload && unloaded.load(Ordering::SeqCst) {
                let _ = answer.send(Err(not_found));
                return;
            }
            if kind == Kind::Call && answer.is_closed() {
                return;
            }
            let alone = alone.filter(|_| computes);
            let outcome = work(engine, handle).await;
            drop(alone);
            after.pass().await;
            let _ = answer.send(outcome);
        }));
        answered.await.unwrap_or(Err(lost))
    }

    fn find(&self, handle: &ComponentHandle) -> Result<Queued, WasmError> {
        let components = self.components.lock().unwrap();
        let component = components.get(handle);
        let component = component.ok_or_else(|| WasmError::ComponentNotFound {
            handle: handle.clone(),
        })?;
        Ok(component.queued())
    }
}

/// What is taken of a component to queue for it.
struct Queued {
    engine: Arc<Lingering>,
    computes: bool,
    unloaded: Arc<AtomicBool>,
    queue: mpsc::UnboundedSender<Work>,
}

impl Component {
    fn queued(&self) -> Queued {
        Queued {
            engine: Arc::clone(&self.engine),
            computes: self.computes,
            unloaded: Arc::clone(&self.unloaded),
            queue: self.work.clone(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Withdrawn when nobody waits for it.
    Call,
    Restart,
    Unload,
}

async fn work_through(mut queue: mpsc::UnboundedReceiver<Work>) {
    while let Some(work) = queue.recv().await {
        work.await;
    }
}

fn computes(bytes: &[u8]) -> bool {
    let fixture = ALL.iter().find(|fixture| fixture.wasm == bytes);
    let Some(Behaviour::Component(Lifecycle {
        message,
        health,
        shutdown,
        ..
    })) = fixture.map(|fixture| fixture.behaviour)
    else {
        return false;
    };
    health == OnHealth::Spin
        || shutdown == OnShutdown::Spin
        || matches!(
            message,
            OnMessage::SpinInRealloc
                | OnMessage::OkOr(
                    Otherwise::Spin | Otherwise::SpinAfterEcho | Otherwise::GrowForever
                )
        )
}

#[async_trait]
impl RuntimeEngine for Actors {
    async fn prepare_component(
        &self,
        id: &ComponentId,
        bytes: Bytes,
        config: &ComponentConfig,
    ) -> Result<Preparation, WasmError> {
        if self.habits.prepares {
            self.habits.before.pass().await;
            self.check(&self.model(), id, &bytes, config).await?;
            self.habits.after.pass().await;
        }
        Ok(Preparation::default())
    }

    async fn load_component(
        &self,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        self.habits.before.pass().await;
        let engine = Arc::new(self.model());
        self.check(&engine, id, &bytes, &config).await?;
        let computes = computes(&bytes);
        let handle = engine.load_component(id, bytes, config).await?;
        self.habits.after.pass().await;
        let (work, queue) = mpsc::unbounded_channel();
        tokio::spawn(work_through(queue));
        let component = Component {
            engine,
            computes,
            unloaded: Arc::default(),
            work,
        };
        self.components
            .lock()
            .unwrap()
            .insert(handle.clone(), component);
        Ok(handle)
    }

    async fn unload_component(&self, handle: &ComponentHandle) -> Result<(), WasmError> {
        let Some(component) = self.components.lock().unwrap().remove(handle) else {
            return Ok(());
        };
        component.unloaded.store(true, Ordering::SeqCst);
        let queued = component.queued();
        drop(component);
        self.queue(
            Ok(queued),
            handle,
            Kind::Unload,
            |engine, handle| async move { engine.unload_component(&handle).await },
        )
        .await
    }

    async fn call_handle_message(
        &self,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<Option<MessagePayload>, WasmError> {
        self.queue(
            self.find(handle),
            handle,
            Kind::Call,
            |engine, handle| async move { engine.call_handle_message(&handle, message).await },
        )
        .await
    }

    async fn call_handle_callback(
        &self,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), WasmError> {
        self.queue(
            self.find(handle),
            handle,
            Kind::Call,
            |engine, handle| async move { engine.call_handle_callback(&handle, message).await },
        )
        .await
    }

    async fn restart_component(&self, handle: &ComponentHandle) -> Result<(), WasmError> {
        self.queue(
            self.find(handle),
            handle,
            Kind::Restart,
            |engine, handle| async move { engine.restart_component(&handle).await },
        )
        .await
    }

    async fn health(&self, handle: &ComponentHandle) -> Result<HealthStatus, WasmError> {
        self.queue(
            self.find(handle),
            handle,
            Kind::Call,
            |engine, handle| async move { engine.health(&handle).await },
        )
        .await
    }

    async fn metadata(&self, handle: &ComponentHandle) -> Result<ComponentMetadata, WasmError> {
        self.queue(
            self.find(handle),
            handle,
            Kind::Call,
            |engine, handle| async move { engine.metadata(&handle).await },
        )
        .await
    }

    async fn usage(&self, handle: &ComponentHandle) -> Result<ComponentUsage, WasmError> {
        let engine = self.find(handle)?.engine;
        self.habits.before.pass().await;
        engine.usage(handle).await
    }
}
