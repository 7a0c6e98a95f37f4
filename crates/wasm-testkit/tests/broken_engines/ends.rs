//! Engines that go wrong when something ends: a call that is dropped, a restart, an
//! unload.

use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::sleep;

use wasm_core::{
    Capability, CapabilityDenied, ComponentConfig, ComponentHandle, ComponentId, ComponentMessage,
    ComponentState, ComponentStorage, ComponentUsage, HealthStatus, HostServices, LifecycleError,
    MessagePayload, MessageRouter, SecurityValidator, WasmError,
};
use wasm_fixtures::{Fixture, SHUTDOWN_FAILS, SHUTDOWN_REQUESTS};

use crate::wrapper::{Defect, Inner, Reply};

/// Does something when it is dropped, unless it was disarmed.
struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(act) = self.0.take() {
            act();
        }
    }
}

/// Gives a component whose call was dropped a fresh instance.
pub(crate) struct StartsOverWhenDropped;

#[async_trait]
impl Defect for StartsOverWhenDropped {
    async fn message(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Reply {
        let (engine, to) = (inner.clone(), handle.clone());
        let mut guard = OnDrop(Some(move || {
            tokio::spawn(async move { engine.restart_component(&to).await });
        }));
        let reply = inner.call_handle_message(handle, message).await;
        guard.0 = None;
        reply
    }
}

/// Leaves a component whose call was dropped inside of that call.
#[derive(Default)]
pub(crate) struct StopsWhenDropped {
    stopped: Arc<Mutex<Vec<ComponentHandle>>>,
}

#[async_trait]
impl Defect for StopsWhenDropped {
    async fn message(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Reply {
        if self.stopped.lock().unwrap().contains(handle) {
            return pending().await;
        }
        let (stopped, to) = (Arc::clone(&self.stopped), handle.clone());
        let mut guard = OnDrop(Some(move || stopped.lock().unwrap().push(to)));
        let reply = inner.call_handle_message(handle, message).await;
        guard.0 = None;
        reply
    }

    async fn usage(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
    ) -> Result<ComponentUsage, WasmError> {
        let mut usage = inner.usage(handle).await?;
        if self.stopped.lock().unwrap().contains(handle) {
            usage.state = ComponentState::Busy;
        }
        Ok(usage)
    }
}

/// Makes every call that was ever polled.
pub(crate) struct WithdrawsNothing;

#[async_trait]
impl Defect for WithdrawsNothing {
    async fn message(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Reply {
        let (inner, handle) = (inner.clone(), handle.clone());
        let call = tokio::spawn(async move { inner.call_handle_message(&handle, message).await });
        call.await.unwrap()
    }
}

type Left = Arc<Mutex<HashMap<ComponentHandle, Option<MessagePayload>>>>;

/// Answers a call with what a dropped one was answered.
#[derive(Default)]
pub(crate) struct MixesUpAnswers {
    left: Left,
}

/// A call whose answer is left to the next one when it is dropped.
struct Leaving {
    call: Option<JoinHandle<Reply>>,
    of: ComponentHandle,
    left: Left,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let (of, left) = (self.of.clone(), Arc::clone(&self.left));
        if let Some(call) = self.call.take() {
            tokio::spawn(async move {
                if let Ok(Ok(reply)) = call.await {
                    left.lock().unwrap().insert(of, reply);
                }
            });
        }
    }
}

#[async_trait]
impl Defect for MixesUpAnswers {
    async fn message(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Reply {
        let (engine, to) = (inner.clone(), handle.clone());
        let call = tokio::spawn(async move { engine.call_handle_message(&to, message).await });
        let mut leaving = Leaving {
            call: Some(call),
            of: handle.clone(),
            left: Arc::clone(&self.left),
        };
        let reply = leaving.call.as_mut().unwrap().await.unwrap();
        leaving.call = None;
        match self.left.lock().unwrap().remove(handle) {
            Some(other) => Ok(other),
            None => reply,
        }
    }
}

/// Does a restart or an unload only as long as somebody waits for it.
pub(crate) struct GivesUpWhenDropped;

async fn until_idle(inner: &Inner, handle: &ComponentHandle) {
    yield_now().await;
    while let Ok(usage) = inner.usage(handle).await
        && usage.state == ComponentState::Busy
    {
        sleep(Duration::from_millis(1)).await;
    }
}

#[async_trait]
impl Defect for GivesUpWhenDropped {
    async fn restart(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        yield_now().await;
        inner.restart_component(handle).await
    }
}

/// Unloads when the component is idle, and until then answers calls.
pub(crate) struct UnloadsLater;

#[async_trait]
impl Defect for UnloadsLater {
    async fn unload(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        until_idle(inner, handle).await;
        inner.unload_component(handle).await
    }
}

/// Says at once that it is done, and goes on.
pub(crate) struct Hurries {
    pub(crate) restarts: bool,
}

#[async_trait]
impl Defect for Hurries {
    async fn restart(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        if !self.restarts {
            return inner.restart_component(handle).await;
        }
        inner.usage(handle).await?;
        let (inner, handle) = (inner.clone(), handle.clone());
        tokio::spawn(async move { inner.restart_component(&handle).await });
        Ok(())
    }

    async fn unload(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        if self.restarts {
            return inner.unload_component(handle).await;
        }
        let (inner, handle) = (inner.clone(), handle.clone());
        tokio::spawn(async move { inner.unload_component(&handle).await });
        Ok(())
    }
}

/// Never calls `shutdown` before a restart: it lets the instance fail first.
#[derive(Default)]
pub(crate) struct RestartsWithoutShutdown {
    own: Mutex<HashMap<ComponentHandle, u64>>,
}

#[async_trait]
impl Defect for RestartsWithoutShutdown {
    async fn restart(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        let too_much = vec![0; 8 << 20];
        let message = ComponentMessage::new(handle.id().clone(), handle.id().clone(), too_much);
        let reply = inner.call_handle_message(handle, message).await;
        if matches!(reply, Err(WasmError::ResourceLimitExceeded { .. })) {
            *self.own.lock().unwrap().entry(handle.clone()).or_default() += 1;
        }
        inner.restart_component(handle).await
    }

    async fn usage(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
    ) -> Result<ComponentUsage, WasmError> {
        let mut usage = inner.usage(handle).await?;
        let own = self.own.lock().unwrap().get(handle).copied().unwrap_or(0);
        usage.calls -= own;
        usage.traps -= own;
        Ok(usage)
    }
}

/// Restarts only what has failed.
#[derive(Default)]
pub(crate) struct KeepsState {
    skipped: Mutex<HashMap<ComponentHandle, u64>>,
}

#[async_trait]
impl Defect for KeepsState {
    async fn restart(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        if inner.usage(handle).await?.state == ComponentState::Failed {
            return inner.restart_component(handle).await;
        }
        *self
            .skipped
            .lock()
            .unwrap()
            .entry(handle.clone())
            .or_default() += 1;
        Ok(())
    }

    async fn usage(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
    ) -> Result<ComponentUsage, WasmError> {
        let mut usage = inner.usage(handle).await?;
        usage.restarts += self
            .skipped
            .lock()
            .unwrap()
            .get(handle)
            .copied()
            .unwrap_or(0);
        Ok(usage)
    }
}

/// Restarts nothing that is well.
pub(crate) struct RestartsOnlyFailed;

#[async_trait]
impl Defect for RestartsOnlyFailed {
    async fn restart(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        match inner.usage(handle).await?.state {
            ComponentState::Failed => inner.restart_component(handle).await,
            _ => Err(WasmError::Unsupported {
                what: "restarting a component that is well".to_owned(),
            }),
        }
    }
}

/// Stops where `shutdown` answers with an error.
pub(crate) struct HeedsShutdown;

#[async_trait]
impl Defect for HeedsShutdown {
    async fn unload(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        // The only fixture whose shutdown answers with an error stays loaded.
        if handle.id().name() == SHUTDOWN_FAILS.name && inner.usage(handle).await.is_ok() {
            return Err(WasmError::ShutdownFailed {
                component: handle.id().clone(),
                error: LifecycleError::ShutdownFailed("still busy".to_owned()),
            });
        }
        inner.unload_component(handle).await
    }
}

/// Lets a component make a request in its `shutdown`.
pub(crate) struct TakesLastRequests {
    router: Arc<dyn MessageRouter>,
}

impl TakesLastRequests {
    pub(crate) fn new(services: &HostServices) -> Self {
        Self {
            router: Arc::clone(&services.router),
        }
    }

    /// On behalf of the only fixture that does so.
    async fn request(&self, inner: &Inner, handle: &ComponentHandle) {
        if handle.id().name() == SHUTDOWN_REQUESTS.name && inner.usage(handle).await.is_ok() {
            let sink = ComponentId::new("demo", "sink", "main").unwrap();
            let bye = ComponentMessage::new(handle.id().clone(), sink, "bye");
            let request = self.router.request(handle, bye, Duration::from_secs(1));
            request.await.unwrap();
        }
    }
}

#[async_trait]
impl Defect for TakesLastRequests {
    async fn unload(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        self.request(inner, handle).await;
        match inner.unload_component(handle).await {
            Err(WasmError::ShutdownFailed { .. })
                if handle.id().name() == SHUTDOWN_REQUESTS.name =>
            {
                Ok(())
            }
            outcome => outcome,
        }
    }

    async fn restart(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        self.request(inner, handle).await;
        inner.restart_component(handle).await
    }
}

/// Undoes what a component stores in its `shutdown`.
pub(crate) struct ForgetsTheEnd {
    storage: Arc<dyn ComponentStorage>,
}

impl ForgetsTheEnd {
    pub(crate) fn new(services: &HostServices) -> Self {
        Self {
            storage: Arc::clone(&services.storage),
        }
    }
}

#[async_trait]
impl Defect for ForgetsTheEnd {
    async fn unload(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        let unloaded = inner.unload_component(handle).await;
        // Under the key of the only fixture that does so.
        self.storage.delete(handle.id(), "ended").await.unwrap();
        unloaded
    }
}

/// Refuses a component everything while it shuts down, in a restart or else in an unload.
pub(crate) struct TakesNoLastWord {
    from: Fixture,
    in_restart: bool,
    ending: Arc<Mutex<HashSet<ComponentHandle>>>,
}

impl TakesNoLastWord {
    pub(crate) fn new(
        services: HostServices,
        from: Fixture,
        in_restart: bool,
    ) -> (HostServices, Self) {
        let ending = Arc::new(Mutex::default());
        let validator = Arc::new(Hurried {
            real: services.validator.clone(),
            ending: Arc::clone(&ending),
        });
        let defect = Self {
            from,
            in_restart,
            ending,
        };
        (services.with_validator(validator), defect)
    }
}

#[async_trait]
impl Defect for TakesNoLastWord {
    async fn unload(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        if !self.in_restart && handle.id().name() == self.from.name {
            self.ending.lock().unwrap().insert(handle.clone());
        }
        inner.unload_component(handle).await
    }

    async fn restart(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        // It has no other word than its last.
        if self.in_restart && handle.id().name() == self.from.name {
            self.ending.lock().unwrap().insert(handle.clone());
        }
        let restarted = inner.restart_component(handle).await;
        self.ending.lock().unwrap().remove(handle);
        restarted
    }
}

/// The validator of [`TakesNoLastWord`].
struct Hurried {
    real: Arc<dyn SecurityValidator>,
    ending: Arc<Mutex<HashSet<ComponentHandle>>>,
}

impl SecurityValidator for Hurried {
    fn validate(
        &self,
        component: &ComponentHandle,
        capability: &Capability,
    ) -> Result<(), CapabilityDenied> {
        let is_ending = self.ending.lock().unwrap().contains(component);
        if is_ending {
            return Err(CapabilityDenied::not_granted(capability.clone()));
        }
        self.real.validate(component, capability)
    }
}

/// Makes the calls that wait before it unloads.
#[derive(Default)]
pub(crate) struct UnloadsLast {
    calls: Mutex<HashMap<ComponentHandle, usize>>,
    ended: Notify,
}

#[async_trait]
impl Defect for UnloadsLast {
    async fn message(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Reply {
        *self
            .calls
            .lock()
            .unwrap()
            .entry(handle.clone())
            .or_default() += 1;
        let reply = inner.call_handle_message(handle, message).await;
        *self
            .calls
            .lock()
            .unwrap()
            .entry(handle.clone())
            .or_default() -= 1;
        self.ended.notify_waiters();
        reply
    }

    async fn unload(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        loop {
            let ended = self.ended.notified();
            let calls = self.calls.lock().unwrap().get(handle).copied();
            if calls.unwrap_or(0) == 0 {
                break;
            }
            ended.await;
        }
        inner.unload_component(handle).await
    }
}

/// Unloads what is left when it is dropped.
#[derive(Default)]
pub(crate) struct ShutsDownWhenDropped {
    loaded: Mutex<Vec<(Inner, ComponentHandle)>>,
}

#[async_trait]
impl Defect for ShutsDownWhenDropped {
    async fn load(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        let handle = inner.load_component(id, bytes, config).await?;
        let loaded = (inner.clone(), handle.clone());
        self.loaded.lock().unwrap().push(loaded);
        Ok(handle)
    }
}

impl Drop for ShutsDownWhenDropped {
    fn drop(&mut self) {
        for (inner, handle) in self.loaded.lock().unwrap().drain(..) {
            tokio::spawn(async move { inner.unload_component(&handle).await });
        }
    }
}

/// Objects to a handle that it does not know.
pub(crate) struct UnloadsOnlyWhatIsThere;

#[async_trait]
impl Defect for UnloadsOnlyWhatIsThere {
    async fn unload(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        inner.usage(handle).await?;
        inner.unload_component(handle).await
    }
}

/// Keeps the services of what it unloads.
pub(crate) struct FreesNothing {
    services: HostServices,
    kept: Mutex<Vec<HostServices>>,
}

impl FreesNothing {
    pub(crate) fn new(services: HostServices) -> Self {
        Self {
            services,
            kept: Mutex::default(),
        }
    }
}

#[async_trait]
impl Defect for FreesNothing {
    async fn unload(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        self.kept.lock().unwrap().push(self.services.clone());
        inner.unload_component(handle).await
    }
}

/// Reports other figures than it should.
pub(crate) struct Misreports {
    pub(crate) usage: fn(&mut ComponentUsage),
}

#[async_trait]
impl Defect for Misreports {
    async fn usage(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
    ) -> Result<ComponentUsage, WasmError> {
        let mut usage = inner.usage(handle).await?;
        (self.usage)(&mut usage);
        Ok(usage)
    }
}

/// Counts from zero after every restart.
#[derive(Default)]
pub(crate) struct CountsAnew {
    before: Mutex<HashMap<ComponentHandle, ComponentUsage>>,
}

#[async_trait]
impl Defect for CountsAnew {
    async fn restart(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        let usage = inner.usage(handle).await?;
        self.before.lock().unwrap().insert(handle.clone(), usage);
        inner.restart_component(handle).await
    }

    async fn usage(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
    ) -> Result<ComponentUsage, WasmError> {
        let mut usage = inner.usage(handle).await?;
        if let Some(before) = self.before.lock().unwrap().get(handle) {
            usage.calls -= before.calls;
            usage.traps -= before.traps;
            usage.total_fuel -= before.total_fuel;
        }
        Ok(usage)
    }
}

/// Says of a restart that failed in `initialize` that all went well.
pub(crate) struct HidesFailedRestarts;

#[async_trait]
impl Defect for HidesFailedRestarts {
    async fn restart(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        match inner.restart_component(handle).await {
            Err(WasmError::InitializationFailed { .. }) => Ok(()),
            outcome => outcome,
        }
    }
}

/// Restarts nothing that it once could not restart.
#[derive(Default)]
pub(crate) struct GivesUpRestarting {
    failed: Mutex<HashMap<ComponentHandle, WasmError>>,
}

#[async_trait]
impl Defect for GivesUpRestarting {
    async fn restart(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        if let Some(error) = self.failed.lock().unwrap().get(handle) {
            return Err(error.clone());
        }
        let outcome = inner.restart_component(handle).await;
        if let Err(error) = &outcome {
            let mut failed = self.failed.lock().unwrap();
            failed.insert(handle.clone(), error.clone());
        }
        outcome
    }
}

/// Counts calls that no guest has seen.
#[derive(Default)]
pub(crate) struct CountsAttempts {
    failed: Mutex<HashMap<ComponentHandle, u64>>,
}

#[async_trait]
impl Defect for CountsAttempts {
    async fn message(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Reply {
        let reply = inner.call_handle_message(handle, message).await;
        if matches!(reply, Err(WasmError::ComponentFailed { .. })) {
            *self
                .failed
                .lock()
                .unwrap()
                .entry(handle.clone())
                .or_default() += 1;
        }
        reply
    }

    async fn usage(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
    ) -> Result<ComponentUsage, WasmError> {
        let mut usage = inner.usage(handle).await?;
        usage.calls += self
            .failed
            .lock()
            .unwrap()
            .get(handle)
            .copied()
            .unwrap_or(0);
        Ok(usage)
    }
}

/// Gives a component a fresh instance when nobody waits for its health any more.
pub(crate) struct StartsOverWhenHealthIsDropped;

#[async_trait]
impl Defect for StartsOverWhenHealthIsDropped {
    async fn health(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
    ) -> Result<HealthStatus, WasmError> {
        let (engine, to) = (inner.clone(), handle.clone());
        let mut guard = OnDrop(Some(move || {
            let mut restart = Box::pin(async move { engine.restart_component(&to).await });
            // Before whatever comes next.
            let polled = restart
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            drop(polled);
        }));
        let health = inner.health(handle).await;
        guard.0 = None;
        health
    }
}

/// Makes every callback that was ever polled.
pub(crate) struct WithdrawsNoCallback;

#[async_trait]
impl Defect for WithdrawsNoCallback {
    async fn callback(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), WasmError> {
        let (inner, handle) = (inner.clone(), handle.clone());
        let call = tokio::spawn(async move { inner.call_handle_callback(&handle, message).await });
        call.await.unwrap()
    }
}

/// Holds a lock across a restart, and goes on with it only while it is polled.
#[derive(Default)]
pub(crate) struct RestartsWhilePolled {
    lock: AsyncMutex<()>,
}

#[async_trait]
impl Defect for RestartsWhilePolled {
    async fn restart(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        let _held = self.lock.lock().await;
        inner.restart_component(handle).await
    }

    async fn message(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Reply {
        drop(self.lock.lock().await);
        inner.call_handle_message(handle, message).await
    }
}

/// Knows no deadline in a restart.
pub(crate) struct RestartsForever;

#[async_trait]
impl Defect for RestartsForever {
    async fn restart(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        match inner.restart_component(handle).await {
            Err(WasmError::Timeout { .. }) => pending().await,
            outcome => outcome,
        }
    }
}

/// Takes a restart that waits for one of the calls that the failure ends.
pub(crate) struct FailsWaitingRestarts;

#[async_trait]
impl Defect for FailsWaitingRestarts {
    async fn restart(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        if inner.usage(handle).await?.state == ComponentState::Busy {
            until_idle(inner, handle).await;
            if inner.usage(handle).await?.state == ComponentState::Failed {
                inner.health(handle).await?;
            }
        }
        inner.restart_component(handle).await
    }
}

/// Does not wait for calls that nobody else waits for.
#[derive(Default)]
pub(crate) struct UnloadsBesideDroppedCalls {
    dropped: Arc<Mutex<Vec<ComponentHandle>>>,
}

#[async_trait]
impl Defect for UnloadsBesideDroppedCalls {
    async fn message(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Reply {
        let (dropped, to) = (Arc::clone(&self.dropped), handle.clone());
        let mut guard = OnDrop(Some(move || dropped.lock().unwrap().push(to)));
        let reply = inner.call_handle_message(handle, message).await;
        guard.0 = None;
        reply
    }

    async fn unload(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        if !self.dropped.lock().unwrap().contains(handle) {
            return inner.unload_component(handle).await;
        }
        let (inner, handle) = (inner.clone(), handle.clone());
        tokio::spawn(async move { inner.unload_component(&handle).await });
        Ok(())
    }
}

/// Does not count what `shutdown` consumes.
#[derive(Default)]
pub(crate) struct ShutsDownForFree {
    consumed: Mutex<HashMap<ComponentHandle, u64>>,
}

#[async_trait]
impl Defect for ShutsDownForFree {
    async fn restart(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        let before = inner.usage(handle).await?;
        inner.restart_component(handle).await?;
        let after = inner.usage(handle).await?;
        let by_shutdown = after.total_fuel - before.total_fuel - after.last_call_fuel;
        let mut consumed = self.consumed.lock().unwrap();
        *consumed.entry(handle.clone()).or_default() += by_shutdown;
        Ok(())
    }

    async fn usage(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
    ) -> Result<ComponentUsage, WasmError> {
        let mut usage = inner.usage(handle).await?;
        usage.total_fuel -= self.consumed.lock().unwrap().get(handle).unwrap_or(&0);
        Ok(usage)
    }
}
