//! A component that sets timers, and what can be seen of them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use wasm_core::{
    ComponentHandle, ComponentId, ComponentStorage, ComponentTimers, HostServices, StorageError,
    StorageUsage, TIMER_TYPE, TimerError,
};
use wasm_testkit::{ModelEngine, OwnAnswer};

use super::ledger::Ledger;
use super::watched::Weather;

/// Who sets them.
pub(crate) fn alarm() -> ComponentId {
    ComponentId::new("demo", "alarm", "main").unwrap()
}

#[allow(
    dead_code,
    reason = "only some of those who include this file run on the model"
)]
/// A model whose [`alarm`] sets a timer for `timer MICROS`, and takes the latest one back for
/// `untimer`.
pub(crate) fn model(services: HostServices) -> ModelEngine {
    let latest = Arc::new(Mutex::new(None));
    ModelEngine::new(services).with_host(&alarm(), move |host, message| {
        let latest = Arc::clone(&latest);
        Box::pin(async move {
            let text = String::from_utf8_lossy(message.payload.as_bytes()).into_owned();
            let latest = || latest.lock().unwrap_or_else(PoisonError::into_inner);
            if message.message_type.as_deref() == Some(TIMER_TYPE) {
                return Ok(None);
            }
            if let Some(micros) = text.strip_prefix("timer ") {
                let delay = Duration::from_micros(micros.parse().unwrap());
                // It may be refused.
                if let Ok(timer) = host.set_timer(delay, Bytes::from_static(b"tick")).await {
                    *latest() = Some(timer);
                }
            } else if text == "untimer" {
                let timer = latest().take();
                if let Some(timer) = timer {
                    // Whether it was there is written down elsewhere.
                    let _ = host.cancel_timer(timer).await;
                }
            }
            Ok(None)
        }) as OwnAnswer
    })
}

/// Between the engine and the host's timers.
pub(crate) struct WatchedTimers {
    pub(crate) inner: Arc<dyn ComponentTimers>,
    pub(crate) ledger: Arc<Ledger>,
}

#[async_trait]
impl ComponentTimers for WatchedTimers {
    async fn set(
        &self,
        of: &ComponentHandle,
        delay: Duration,
        payload: Bytes,
    ) -> Result<u64, TimerError> {
        let due = Instant::now() + delay;
        let set = self.inner.set(of, delay, payload).await;
        match &set {
            Ok(timer) => self.ledger.sets(*timer, due),
            Err(_) => self.ledger.count("timer: refused"),
        }
        set
    }

    async fn cancel(&self, of: &ComponentHandle, timer: u64) -> Result<bool, TimerError> {
        let cancelled = self.inner.cancel(of, timer).await;
        self.ledger.unsets(timer, cancelled.as_ref().ok().copied());
        cancelled
    }
}

/// A store of which some writes fail.
pub(crate) struct FailingStorage {
    pub(crate) inner: Arc<dyn ComponentStorage>,
    pub(crate) weather: Arc<Weather>,
}

impl FailingStorage {
    fn strike(&self) -> Result<(), StorageError> {
        match self.weather.strikes(self.weather.faults.storage) {
            true => Err(StorageError::Io("no space".to_owned())),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl ComponentStorage for FailingStorage {
    async fn get(&self, owner: &ComponentId, key: &str) -> Result<Option<Bytes>, StorageError> {
        self.inner.get(owner, key).await
    }

    async fn set(
        &self,
        owner: &ComponentId,
        key: &str,
        value: Bytes,
        quota_bytes: u64,
    ) -> Result<(), StorageError> {
        self.strike()?;
        self.inner.set(owner, key, value, quota_bytes).await?;
        // What was written may be told to have failed.
        self.strike()
    }

    async fn delete(&self, owner: &ComponentId, key: &str) -> Result<(), StorageError> {
        self.strike()?;
        self.inner.delete(owner, key).await
    }

    async fn exists(&self, owner: &ComponentId, key: &str) -> Result<bool, StorageError> {
        self.inner.exists(owner, key).await
    }

    async fn list_keys(
        &self,
        owner: &ComponentId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StorageError> {
        self.inner.list_keys(owner, prefix, after, limit).await
    }

    async fn usage(&self, owner: &ComponentId) -> Result<StorageUsage, StorageError> {
        self.inner.usage(owner).await
    }
}
