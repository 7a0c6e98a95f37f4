//! Hosts that break the property, each in its way: it must be seen.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::yield_now;

use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentId, ComponentMessage, ComponentMetadata,
    ComponentStorage, ComponentTimers, ComponentUsage, CorrelationId, HealthStatus, MessagePayload,
    MessageRouter, MessagingError, Preparation, RuntimeEngine, StorageError, StorageUsage,
    TIMER_TYPE, TimerError, Timestamp, WasmError,
};

/// What is wrong with a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RouterFlaw {
    SendsTwice,
    Loses,
    RefusesWhatItTakes,
    SwapsTwo,
    AltersThePayload,
    CancelsNothing,
    CancelsWhatIsOver,
}

/// What is wrong with how a host calls its engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EngineFlaw {
    LosesMessages,
    LosesCallbacks,
    RepeatsMessages,
    RepeatsCallbacks,
    RepeatsOldCallbacks,
    TriesAgain,
    Overlaps,
    Hangs,
    StopsLate,
    LeavesATask,
    /// The message for which a component wakes is gone.
    LosesWhatWakes,
    /// Two instances are made, and one is forgotten.
    WakesTwice,
    /// An instance ends with its requests open, and the next is told.
    SleepsOverRequests,
    /// One of several that are handled at a time is gone.
    LosesBesideOthers,
    /// One is told what another was answered.
    MixesAnswers,
    /// What is delivered again is delivered twice.
    RepeatsRedelivered,
    RepeatsTimers,
    LosesTimers,
}

/// What is wrong with timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimersFlaw {
    Loses,
    SetsTwo,
    ComesEarly,
    CancelsNothing,
}

/// Between a host's router and the ledger. Every fifth call has the flaw.
pub(crate) struct BrokenRouter {
    pub(crate) inner: Arc<dyn MessageRouter>,
    pub(crate) flaw: RouterFlaw,
    calls: AtomicU64,
    held: Mutex<Option<(ComponentHandle, ComponentMessage)>>,
}

/// Between a host and the ledger's engine.
pub(crate) struct BrokenEngine {
    pub(crate) inner: Arc<dyn RuntimeEngine>,
    pub(crate) flaw: EngineFlaw,
    calls: AtomicU64,
    callback: Mutex<Option<ComponentMessage>>,
    seen: Mutex<Seen>,
}

/// What an engine was asked for.
#[derive(Default)]
struct Seen {
    loaded: HashSet<ComponentId>,
    /// Those that woke for a message which has not come yet.
    woken: HashSet<u64>,
    /// How many messages each handles.
    running: HashMap<u64, u32>,
    stamps: HashSet<Timestamp>,
    answer: Option<MessagePayload>,
}

fn is_due(calls: &AtomicU64) -> bool {
    calls.fetch_add(1, Ordering::Relaxed) % 5 == 4
}

impl BrokenRouter {
    pub(crate) fn new(inner: Arc<dyn MessageRouter>, flaw: RouterFlaw) -> Self {
        Self {
            inner,
            flaw,
            calls: AtomicU64::new(0),
            held: Mutex::default(),
        }
    }

    fn take_held(&self) -> Option<(ComponentHandle, ComponentMessage)> {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

#[async_trait]
impl MessageRouter for BrokenRouter {
    async fn send(
        &self,
        from: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), MessagingError> {
        if self.flaw == RouterFlaw::SwapsTwo {
            let Some((held_from, held)) = self.take_held() else {
                let mut place = self.held.lock().unwrap_or_else(PoisonError::into_inner);
                *place = Some((from.clone(), message));
                return Ok(());
            };
            let outcome = self.inner.send(from, message).await;
            // As if it had been accepted, which it was said to be.
            let _ = self.inner.send(&held_from, held).await;
            return outcome;
        }
        if !is_due(&self.calls) {
            return self.inner.send(from, message).await;
        }
        match self.flaw {
            RouterFlaw::SendsTwice => {
                let outcome = self.inner.send(from, message.clone()).await;
                // It need not be accepted a second time.
                let _ = self.inner.send(from, message).await;
                outcome
            }
            RouterFlaw::Loses => Ok(()),
            RouterFlaw::RefusesWhatItTakes => {
                // Whatever came of it.
                let _ = self.inner.send(from, message).await;
                Err(MessagingError::QueueFull)
            }
            RouterFlaw::AltersThePayload => {
                let mut altered = message;
                altered.payload = "altered".into();
                self.inner.send(from, altered).await
            }
            _ => self.inner.send(from, message).await,
        }
    }

    async fn request(
        &self,
        from: &ComponentHandle,
        message: ComponentMessage,
        timeout: Duration,
    ) -> Result<CorrelationId, MessagingError> {
        if is_due(&self.calls) {
            match self.flaw {
                RouterFlaw::Loses => return Ok("lost".into()),
                RouterFlaw::RefusesWhatItTakes => {
                    // Whatever came of it.
                    let _ = self.inner.request(from, message, timeout).await;
                    return Err(MessagingError::QueueFull);
                }
                _ => {}
            }
        }
        self.inner.request(from, message, timeout).await
    }

    async fn cancel_request(
        &self,
        from: &ComponentHandle,
        request: &CorrelationId,
    ) -> Result<(), MessagingError> {
        match self.flaw {
            RouterFlaw::CancelsNothing => Ok(()),
            RouterFlaw::CancelsWhatIsOver => {
                // Whether there was something to cancel or not.
                let _ = self.inner.cancel_request(from, request).await;
                Ok(())
            }
            _ => self.inner.cancel_request(from, request).await,
        }
    }
}

impl BrokenEngine {
    pub(crate) fn new(inner: Arc<dyn RuntimeEngine>, flaw: EngineFlaw) -> Self {
        Self {
            inner,
            flaw,
            calls: AtomicU64::new(0),
            callback: Mutex::default(),
            seen: Mutex::default(),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is answered in place of calling the component, if that is the flaw.
    fn answers_itself(&self, handle: &ComponentHandle, message: &ComponentMessage) -> bool {
        let mut seen = self.seen();
        let number = handle.handle_id();
        let is_timer = message.message_type.as_deref() == Some(TIMER_TYPE);
        match self.flaw {
            EngineFlaw::LosesWhatWakes => seen.woken.remove(&number),
            EngineFlaw::LosesBesideOthers => seen.running.get(&number).is_some_and(|it| *it > 1),
            EngineFlaw::LosesTimers => is_timer,
            _ => false,
        }
    }

    /// Whether a message is delivered twice.
    fn repeats(&self, message: &ComponentMessage) -> bool {
        let is_timer = message.message_type.as_deref() == Some(TIMER_TYPE);
        match self.flaw {
            EngineFlaw::RepeatsTimers => is_timer,
            EngineFlaw::RepeatsRedelivered => {
                !is_timer && !self.seen().stamps.insert(message.timestamp)
            }
            _ => false,
        }
    }

    async fn handle_message(
        &self,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<Option<MessagePayload>, WasmError> {
        if self.answers_itself(handle, &message) {
            return Ok(None);
        }
        if self.repeats(&message) {
            // Whatever comes of it.
            let _ = self
                .inner
                .call_handle_message(handle, message.clone())
                .await;
        }
        let answer = self.inner.call_handle_message(handle, message).await;
        if self.flaw == EngineFlaw::SleepsOverRequests && answer.is_ok() && is_due(&self.calls) {
            // Whether it starts again or not.
            let _ = self.inner.restart_component(handle).await;
        }
        match answer {
            Ok(Some(own)) if self.flaw == EngineFlaw::MixesAnswers => {
                Ok(self.seen().answer.replace(own))
            }
            answer => answer,
        }
    }
}

#[async_trait]
impl RuntimeEngine for BrokenEngine {
    async fn prepare_component(
        &self,
        id: &ComponentId,
        bytes: Bytes,
        config: &ComponentConfig,
    ) -> Result<Preparation, WasmError> {
        self.inner.prepare_component(id, bytes, config).await
    }

    async fn load_component(
        &self,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        let woke = !self.seen().loaded.insert(id.clone());
        if woke && self.flaw == EngineFlaw::WakesTwice {
            let (bytes, config) = (bytes.clone(), config.clone());
            // Whatever comes of it.
            let _ = self.inner.load_component(id, bytes, config).await;
        }
        let handle = self.inner.load_component(id, bytes, config).await?;
        if woke {
            self.seen().woken.insert(handle.handle_id());
        }
        Ok(handle)
    }

    async fn unload_component(&self, handle: &ComponentHandle) -> Result<(), WasmError> {
        if self.flaw == EngineFlaw::StopsLate {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        self.inner.unload_component(handle).await
    }

    async fn call_handle_message(
        &self,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<Option<MessagePayload>, WasmError> {
        if self.flaw as u32 >= EngineFlaw::LosesWhatWakes as u32 {
            let number = handle.handle_id();
            *self.seen().running.entry(number).or_default() += 1;
            let answer = self.handle_message(handle, message).await;
            *self.seen().running.entry(number).or_default() -= 1;
            return answer;
        }
        let call = || self.inner.call_handle_message(handle, message.clone());
        if !is_due(&self.calls) {
            return call().await;
        }
        match self.flaw {
            EngineFlaw::LosesMessages => return Ok(None),
            EngineFlaw::RepeatsMessages => drop(call().await),
            EngineFlaw::Overlaps => return tokio::join!(call(), self.inner.health(handle)).0,
            EngineFlaw::Hangs => std::future::pending().await,
            EngineFlaw::LeavesATask => {
                let (inner, handle) = (Arc::clone(&self.inner), handle.clone());
                tokio::spawn(async move {
                    loop {
                        // For ever.
                        let _ = inner.usage(&handle).await;
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                });
            }
            EngineFlaw::TriesAgain => {
                let first = call().await;
                if first.as_ref().is_err_and(WasmError::fails_instance)
                    && self.inner.restart_component(handle).await.is_ok()
                {
                    return call().await;
                }
                return first;
            }
            _ => {}
        }
        call().await
    }

    async fn call_handle_callback(
        &self,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), WasmError> {
        match self.flaw {
            EngineFlaw::LosesCallbacks => return Ok(()),
            EngineFlaw::RepeatsCallbacks => {
                // Whatever comes of it.
                let _ = self
                    .inner
                    .call_handle_callback(handle, message.clone())
                    .await;
                yield_now().await;
            }
            EngineFlaw::RepeatsOldCallbacks => {
                let mut place = self.callback.lock().unwrap_or_else(PoisonError::into_inner);
                *place = Some(message.clone());
            }
            _ => {}
        }
        self.inner.call_handle_callback(handle, message).await
    }

    async fn restart_component(&self, handle: &ComponentHandle) -> Result<(), WasmError> {
        self.inner.restart_component(handle).await?;
        let old = {
            let mut place = self.callback.lock().unwrap_or_else(PoisonError::into_inner);
            place.take()
        };
        if let Some(old) = old {
            // Whatever comes of it.
            let _ = self.inner.call_handle_callback(handle, old).await;
        }
        Ok(())
    }

    async fn health(&self, handle: &ComponentHandle) -> Result<HealthStatus, WasmError> {
        self.inner.health(handle).await
    }

    async fn metadata(&self, handle: &ComponentHandle) -> Result<ComponentMetadata, WasmError> {
        self.inner.metadata(handle).await
    }

    async fn usage(&self, handle: &ComponentHandle) -> Result<ComponentUsage, WasmError> {
        self.inner.usage(handle).await
    }
}

/// Between a host's timers and the ledger. Every fifth call has the flaw.
pub(crate) struct BrokenTimers {
    inner: Arc<dyn ComponentTimers>,
    flaw: TimersFlaw,
    calls: AtomicU64,
}

impl BrokenTimers {
    pub(crate) fn new(inner: Arc<dyn ComponentTimers>, flaw: TimersFlaw) -> Self {
        Self {
            inner,
            flaw,
            calls: AtomicU64::new(0),
        }
    }
}

#[async_trait]
impl ComponentTimers for BrokenTimers {
    async fn set(
        &self,
        of: &ComponentHandle,
        delay: Duration,
        payload: Bytes,
    ) -> Result<u64, TimerError> {
        if !is_due(&self.calls) {
            return self.inner.set(of, delay, payload).await;
        }
        match self.flaw {
            TimersFlaw::Loses => Ok(self.calls.load(Ordering::Relaxed)),
            TimersFlaw::SetsTwo => {
                // Nobody is told of this one.
                let _ = self.inner.set(of, delay, payload.clone()).await;
                self.inner.set(of, delay, payload).await
            }
            TimersFlaw::ComesEarly => self.inner.set(of, delay / 2, payload).await,
            TimersFlaw::CancelsNothing => self.inner.set(of, delay, payload).await,
        }
    }

    async fn cancel(&self, of: &ComponentHandle, timer: u64) -> Result<bool, TimerError> {
        match self.flaw {
            TimersFlaw::CancelsNothing => Ok(true),
            _ => self.inner.cancel(of, timer).await,
        }
    }
}

/// Says that it has written what it has not.
pub(crate) struct BrokenStorage(pub(crate) Arc<dyn ComponentStorage>);

#[async_trait]
impl ComponentStorage for BrokenStorage {
    async fn get(&self, owner: &ComponentId, key: &str) -> Result<Option<Bytes>, StorageError> {
        self.0.get(owner, key).await
    }

    async fn set(&self, _: &ComponentId, _: &str, _: Bytes, _: u64) -> Result<(), StorageError> {
        Ok(())
    }

    async fn delete(&self, owner: &ComponentId, key: &str) -> Result<(), StorageError> {
        self.0.delete(owner, key).await
    }

    async fn exists(&self, owner: &ComponentId, key: &str) -> Result<bool, StorageError> {
        self.0.exists(owner, key).await
    }

    async fn list_keys(
        &self,
        owner: &ComponentId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StorageError> {
        self.0.list_keys(owner, prefix, after, limit).await
    }

    async fn usage(&self, owner: &ComponentId) -> Result<StorageUsage, StorageError> {
        self.0.usage(owner).await
    }
}
