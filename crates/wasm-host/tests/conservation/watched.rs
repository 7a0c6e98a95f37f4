//! An engine and a router that write down what they are called with, and let some
//! calls not go well.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::sleep;

use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentId, ComponentMessage, ComponentMetadata,
    ComponentUsage, CorrelationId, HealthStatus, MessagePayload, MessageRouter, MessagingError,
    Preparation, RuntimeEngine, TIMER_TYPE, Trap, WasmError,
};
use wasm_host::LetterKind;

use super::ledger::{Accepted, Ledger, Outcome, timestamp};
use super::plan::Faults;
use super::random::Random;

/// Draws the faults of an application until it is told to stop.
pub(crate) struct Weather {
    random: Mutex<Random>,
    pub(crate) faults: Faults,
    scale: Duration,
    is_calm: AtomicBool,
}

impl Weather {
    pub(crate) fn new(seed: u64, faults: Faults, scale: Duration) -> Self {
        Self {
            random: Mutex::new(Random::new(!seed)),
            faults,
            scale,
            is_calm: AtomicBool::new(false),
        }
    }

    /// From now on all goes well.
    pub(crate) fn calms_down(&self) {
        self.is_calm.store(true, Ordering::Relaxed);
    }

    pub(crate) fn strikes(&self, percent: u64) -> bool {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        random.chance(percent) && !self.is_calm.load(Ordering::Relaxed)
    }

    async fn delays(&self, percent: u64) {
        if self.strikes(percent) {
            let by = {
                let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
                random.pick(&[0, 1, 10, 40])
            };
            sleep(self.scale * by).await;
        }
    }
}

pub(crate) struct WatchedEngine {
    pub(crate) inner: Arc<dyn RuntimeEngine>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) weather: Arc<Weather>,
}

fn trapped(component: &ComponentId, export: &'static str) -> WasmError {
    WasmError::Trapped {
        component: component.clone(),
        export: export.into(),
        trap: Trap::Unreachable,
        frames: Box::default(),
        fuel_consumed: 0,
        source: None,
        last_words: None,
    }
}

/// Unloaded behind the host's back, which it learns from a delivery.
fn is_unknown(error: &WasmError) -> bool {
    matches!(error, WasmError::ComponentNotFound { .. })
}

impl WatchedEngine {
    async fn call<T>(
        &self,
        handle: &ComponentHandle,
        export: &'static str,
        call: impl Future<Output = Result<T, WasmError>>,
    ) -> Result<T, WasmError> {
        let outcome = self.attempt(handle, export, call).await;
        if let Err(error) = &outcome {
            let had_failed = matches!(error, WasmError::ComponentFailed { .. });
            match error.fails_instance() {
                true if self.ledger.is_renewed(handle) && !had_failed => {
                    self.ledger.count("renewed");
                }
                true => self.ledger.dies(handle),
                false if is_unknown(error) => self.ledger.dies(handle),
                false => {}
            }
        }
        outcome
    }

    async fn attempt<T>(
        &self,
        handle: &ComponentHandle,
        export: &'static str,
        call: impl Future<Output = Result<T, WasmError>>,
    ) -> Result<T, WasmError> {
        let faults = &self.weather.faults;
        self.weather.delays(faults.delay).await;
        if self.ledger.is_broken(handle) {
            return Err(WasmError::ComponentFailed {
                component: handle.id().clone(),
                source: Arc::new(trapped(handle.id(), "(unknown)")),
            });
        }
        let trap_before = self.weather.strikes(faults.trap / 2);
        let mut outcome = match trap_before {
            true => Err(trapped(handle.id(), export)),
            false => call.await,
        };
        if outcome.is_ok() && self.weather.strikes(faults.trap) {
            outcome = Err(trapped(handle.id(), export));
        }
        if let Err(error) = &outcome
            && error.fails_instance()
            && !self.ledger.is_renewed(handle)
        {
            self.ledger.breaks(handle);
        }
        self.weather.delays(faults.delay / 2).await;
        outcome
    }
}

#[async_trait]
impl RuntimeEngine for WatchedEngine {
    async fn prepare_component(
        &self,
        id: &ComponentId,
        bytes: Bytes,
        config: &ComponentConfig,
    ) -> Result<Preparation, WasmError> {
        let faults = &self.weather.faults;
        self.weather.delays(faults.delay).await;
        if self.weather.strikes(faults.trap) {
            return Err(trapped(id, "instantiate"));
        }
        self.inner.prepare_component(id, bytes, config).await
    }

    async fn load_component(
        &self,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        let faults = &self.weather.faults;
        self.weather.delays(faults.delay).await;
        if self.weather.strikes(faults.trap) {
            return Err(trapped(id, "initialize"));
        }
        let loaded = self
            .inner
            .load_component(id, bytes, config.clone())
            .await
            .inspect(|handle| self.ledger.is_configured(handle, &config));
        match &loaded {
            // As if it had trapped at the end of its `initialize`.
            Ok(handle) if self.weather.strikes(faults.trap) => {
                self.ledger.is_stillborn(id);
                self.ledger.breaks(handle);
                // Whatever its shutdown says.
                let _ = self.inner.unload_component(handle).await;
                return Err(trapped(id, "initialize"));
            }
            Ok(handle) => self.ledger.lives(handle),
            Err(_) => self.ledger.is_stillborn(id),
        }
        loaded
    }

    async fn unload_component(&self, handle: &ComponentHandle) -> Result<(), WasmError> {
        let _entered = self.ledger.enters(handle, "unload");
        self.weather.delays(self.weather.faults.delay).await;
        let outcome = self.inner.unload_component(handle).await;
        self.ledger.dies(handle);
        outcome
    }

    async fn call_handle_message(
        &self,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<Option<MessagePayload>, WasmError> {
        let _entered = self.ledger.enters(handle, "handle-message");
        if message.message_type.as_deref() == Some(TIMER_TYPE) {
            let ring = self.ledger.rings(&message);
            let call = self.inner.call_handle_message(handle, message);
            let outcome = self.call(handle, "handle-message", call).await;
            self.ledger.rang(ring, Outcome::of(&outcome));
            return outcome;
        }
        let delivery = self.ledger.delivers(handle, &message, false);
        let call = self.inner.call_handle_message(handle, message);
        let outcome = self.call(handle, "handle-message", call).await;
        self.ledger.delivered(delivery, Outcome::of(&outcome));
        outcome
    }

    async fn call_handle_callback(
        &self,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), WasmError> {
        let _entered = self.ledger.enters(handle, "handle-callback");
        let delivery = self.ledger.delivers(handle, &message, true);
        let call = self.inner.call_handle_callback(handle, message);
        let outcome = self
            .call(handle, "handle-callback", call)
            .await
            .map(|()| None);
        self.ledger.delivered(delivery, Outcome::of(&outcome));
        outcome.map(|_| ())
    }

    async fn restart_component(&self, handle: &ComponentHandle) -> Result<(), WasmError> {
        let _entered = self.ledger.enters(handle, "restart");
        // One that has not failed ends here.
        self.ledger.dies(handle);
        self.ledger.breaks(handle);
        let faults = &self.weather.faults;
        self.weather.delays(faults.delay).await;
        if self.weather.strikes(faults.trap) {
            return Err(trapped(handle.id(), "initialize"));
        }
        let restarted = self.inner.restart_component(handle).await;
        match &restarted {
            Ok(()) if self.weather.strikes(faults.trap) => {
                self.ledger.is_stillborn(handle.id());
                return Err(trapped(handle.id(), "initialize"));
            }
            Ok(()) => {
                self.ledger.lives(handle);
                self.ledger.count("restarted");
            }
            Err(_) => self.ledger.is_stillborn(handle.id()),
        }
        restarted
    }

    async fn health(&self, handle: &ComponentHandle) -> Result<HealthStatus, WasmError> {
        let _entered = self.ledger.enters(handle, "health");
        self.call(handle, "health", self.inner.health(handle)).await
    }

    async fn metadata(&self, handle: &ComponentHandle) -> Result<ComponentMetadata, WasmError> {
        self.inner.metadata(handle).await
    }

    async fn usage(&self, handle: &ComponentHandle) -> Result<ComponentUsage, WasmError> {
        self.inner.usage(handle).await
    }
}

pub(crate) struct WatchedRouter {
    pub(crate) inner: Arc<dyn MessageRouter>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) weather: Arc<Weather>,
}

#[async_trait]
impl MessageRouter for WatchedRouter {
    async fn send(
        &self,
        from: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), MessagingError> {
        let delay = self.weather.faults.router_delay;
        self.weather.delays(delay).await;
        let letter = self.ledger.next();
        let message = message.with_timestamp(timestamp(letter));
        self.ledger.offers(letter, &message, LetterKind::Message);
        let outcome = self.inner.send(from, message).await;
        self.ledger.settles(letter, accepted(&outcome));
        self.weather.delays(delay).await;
        outcome
    }

    async fn request(
        &self,
        from: &ComponentHandle,
        message: ComponentMessage,
        timeout: Duration,
    ) -> Result<CorrelationId, MessagingError> {
        let delay = self.weather.faults.router_delay;
        self.weather.delays(delay).await;
        let letter = self.ledger.next();
        let message = message.with_timestamp(timestamp(letter));
        self.ledger.offers(letter, &message, LetterKind::Request);
        let outcome = self.inner.request(from, message, timeout).await;
        self.ledger.settles(letter, accepted(&outcome));
        if let Ok(request) = &outcome {
            self.ledger.asks(from, letter, request, timeout);
        }
        self.weather.delays(delay).await;
        outcome
    }

    async fn cancel_request(
        &self,
        from: &ComponentHandle,
        request: &CorrelationId,
    ) -> Result<(), MessagingError> {
        let delay = self.weather.faults.router_delay;
        self.weather.delays(delay).await;
        let outcome = self.inner.cancel_request(from, request).await;
        self.ledger.cancels(from, request, outcome.is_ok());
        self.weather.delays(delay).await;
        outcome
    }

    async fn broadcast(
        &self,
        from: &ComponentHandle,
        mut messages: Vec<ComponentMessage>,
    ) -> Result<(), MessagingError> {
        let delay = self.weather.faults.router_delay;
        self.weather.delays(delay).await;
        let mut letters = Vec::with_capacity(messages.len());
        for message in &mut messages {
            let letter = self.ledger.next();
            message.timestamp = timestamp(letter);
            self.ledger.offers(letter, message, LetterKind::Message);
            letters.push(letter);
        }
        let outcome = self.inner.broadcast(from, messages).await;
        // On an error, some may have been accepted all the same.
        if outcome.is_ok() || letters.len() == 1 {
            for letter in letters {
                self.ledger.settles(letter, accepted(&outcome));
            }
        }
        self.weather.delays(delay).await;
        outcome
    }
}

fn accepted<T>(outcome: &Result<T, MessagingError>) -> Accepted {
    match outcome {
        Ok(_) => Accepted::Yes,
        Err(_) => Accepted::No,
    }
}
