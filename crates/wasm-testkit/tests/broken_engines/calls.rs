//! Engines that go wrong in calls.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Mutex as AsyncMutex, oneshot};
use tokio::time::{Instant, sleep, timeout};

use wasm_core::{
    Clock, ComponentConfig, ComponentHandle, ComponentId, ComponentMessage, ComponentMetadata,
    ComponentState, ComponentUsage, HealthStatus, HostServices, MessagePayload, Resource,
    ResourceLimits, Trap, WasmError,
};
use wasm_fixtures::{BROADCAST_STORM, GROW_SURVIVES, SENDER, TABLE_BOMB};

use crate::wrapper::{Defect, Inner, Reply};

type Limits = Mutex<HashMap<ComponentHandle, ResourceLimits>>;

async fn load_noting_limits(
    limits: &Limits,
    inner: &Inner,
    id: &ComponentId,
    bytes: Bytes,
    config: ComponentConfig,
) -> Result<ComponentHandle, WasmError> {
    let of = config.limits;
    let handle = inner.load_component(id, bytes, config).await?;
    limits.lock().unwrap().insert(handle.clone(), of);
    Ok(handle)
}

fn out_of_time(handle: &ComponentHandle, limit: Duration) -> WasmError {
    WasmError::Timeout {
        component: handle.id().clone(),
        export: "handle-message".into(),
        limit,
        fuel_consumed: 0,
        frames: Box::default(),
    }
}

fn trapped(handle: &ComponentHandle) -> WasmError {
    WasmError::Trapped {
        component: handle.id().clone(),
        export: "handle-message".into(),
        trap: Trap::Unreachable,
        frames: Box::default(),
        fuel_consumed: 0,
        source: None,
    }
}

fn failed(handle: &ComponentHandle, cause: WasmError) -> WasmError {
    WasmError::ComponentFailed {
        component: handle.id().clone(),
        source: Arc::new(cause),
    }
}

/// Takes the fuel of a call from the budget of the next one.
#[derive(Default)]
pub(crate) struct LeaksFuel {
    limits: Limits,
}

#[async_trait]
impl Defect for LeaksFuel {
    async fn load(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        load_noting_limits(&self.limits, inner, id, bytes, config).await
    }

    async fn message(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Reply {
        let reply = inner.call_handle_message(handle, message).await?;
        let limits = self.limits.lock().unwrap().get(handle).copied();
        let Some(limit) = limits.and_then(|limits| limits.fuel()) else {
            return Ok(reply);
        };
        if inner.usage(handle).await?.total_fuel <= limit {
            return Ok(reply);
        }
        Err(WasmError::ResourceLimitExceeded {
            component: handle.id().clone(),
            export: "handle-message".into(),
            resource: Resource::Fuel,
            limit,
            requested: None,
            fuel_consumed: limit,
            frames: Box::default(),
            source: None,
        })
    }
}

/// Gives a component its time once, for all its calls.
#[derive(Default)]
pub(crate) struct AddsUpTime {
    limits: Limits,
    spent: Mutex<HashMap<ComponentHandle, Duration>>,
}

#[async_trait]
impl Defect for AddsUpTime {
    async fn load(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        load_noting_limits(&self.limits, inner, id, bytes, config).await
    }

    async fn message(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Reply {
        let start = Instant::now();
        let reply = inner.call_handle_message(handle, message).await?;
        let limits = self.limits.lock().unwrap().get(handle).copied();
        let mut spent = self.spent.lock().unwrap();
        let spent = spent.entry(handle.clone()).or_default();
        *spent += start.elapsed();
        match limits {
            Some(limits) if *spent > limits.timeout() => Err(out_of_time(handle, limits.timeout())),
            _ => Ok(reply),
        }
    }
}

/// Lets the time of a call run from when it is made.
#[derive(Default)]
pub(crate) struct CountsTimeWhileWaiting {
    limits: Limits,
}

#[async_trait]
impl Defect for CountsTimeWhileWaiting {
    async fn load(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        load_noting_limits(&self.limits, inner, id, bytes, config).await
    }

    async fn message(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Reply {
        let limits = self.limits.lock().unwrap().get(handle).copied();
        let call = inner.call_handle_message(handle, message);
        let Some(limits) = limits else {
            return call.await;
        };
        match timeout(limits.timeout() + Duration::from_millis(1), call).await {
            Ok(reply) => reply,
            Err(_) => Err(out_of_time(handle, limits.timeout())),
        }
    }
}

/// Measures the time of a call on the clock that components are shown.
pub(crate) struct FollowsTheClock {
    clock: Arc<dyn Clock>,
    limits: Limits,
}

impl FollowsTheClock {
    pub(crate) fn new(services: &HostServices) -> Self {
        Self {
            clock: Arc::clone(&services.clock),
            limits: Limits::default(),
        }
    }
}

#[async_trait]
impl Defect for FollowsTheClock {
    async fn load(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        load_noting_limits(&self.limits, inner, id, bytes, config).await
    }

    async fn message(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Reply {
        let start = self.clock.now().as_millis();
        let reply = inner.call_handle_message(handle, message).await?;
        let millis = self.clock.now().as_millis().saturating_sub(start);
        let limits = self.limits.lock().unwrap().get(handle).copied();
        match limits {
            Some(limits) if u128::from(millis) > limits.timeout().as_millis() => {
                Err(out_of_time(handle, limits.timeout()))
            }
            _ => Ok(reply),
        }
    }
}

/// Does not count table elements: a guest is denied them by what its own type says.
pub(crate) struct CountsNoTables;

#[async_trait]
impl Defect for CountsNoTables {
    async fn message(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Reply {
        let reply = inner.call_handle_message(handle, message).await;
        match reply {
            Err(WasmError::ResourceLimitExceeded { .. })
                if handle.id().name() == TABLE_BOMB.name =>
            {
                Err(trapped(handle))
            }
            reply => reply,
        }
    }
}

/// Ends a guest whose growth was denied, whether it could live with that or not.
pub(crate) struct KillsWhomItDenies;

#[async_trait]
impl Defect for KillsWhomItDenies {
    async fn message(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Reply {
        let reply = inner.call_handle_message(handle, message).await?;
        if handle.id().name() == GROW_SURVIVES.name {
            return Err(trapped(handle));
        }
        Ok(reply)
    }
}

/// Restarts a failed component when it is called.
pub(crate) struct LetsFailedAnswer;

#[async_trait]
impl Defect for LetsFailedAnswer {
    async fn message(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Reply {
        match inner.call_handle_message(handle, message.clone()).await {
            Err(WasmError::ComponentFailed { .. }) => {
                inner.restart_component(handle).await?;
                inner.call_handle_message(handle, message).await
            }
            reply => reply,
        }
    }
}

/// Runs a component as two instances, so that it can be in two calls at once.
#[derive(Default)]
pub(crate) struct TwoAtOnce {
    twins: Mutex<HashMap<ComponentHandle, ComponentHandle>>,
    turn: AtomicU64,
}

#[async_trait]
impl Defect for TwoAtOnce {
    async fn load(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        let twin = inner
            .load_component(id, bytes.clone(), config.clone())
            .await?;
        let handle = inner.load_component(id, bytes, config).await?;
        self.twins.lock().unwrap().insert(handle.clone(), twin);
        Ok(handle)
    }

    async fn message(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Reply {
        let twin = self.twins.lock().unwrap().get(handle).cloned();
        let odd = self.turn.fetch_add(1, Ordering::Relaxed) % 2 == 1;
        let to = twin.filter(|_| odd).unwrap_or_else(|| handle.clone());
        inner.call_handle_message(&to, message).await
    }
}

/// Takes the last of the waiting calls first.
#[derive(Default)]
pub(crate) struct LosesOrder {
    queues: Mutex<HashMap<ComponentHandle, Stack>>,
}

#[derive(Default)]
struct Stack {
    busy: bool,
    waiting: Vec<oneshot::Sender<()>>,
}

impl LosesOrder {
    fn next(&self, handle: &ComponentHandle) {
        let mut queues = self.queues.lock().unwrap();
        let stack = queues.entry(handle.clone()).or_default();
        while let Some(next) = stack.waiting.pop() {
            if next.send(()).is_ok() {
                return;
            }
        }
        stack.busy = false;
    }
}

#[async_trait]
impl Defect for LosesOrder {
    async fn message(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Reply {
        let turn = {
            let mut queues = self.queues.lock().unwrap();
            let stack = queues.entry(handle.clone()).or_default();
            if stack.busy {
                let (give, turn) = oneshot::channel();
                stack.waiting.push(give);
                Some(turn)
            } else {
                stack.busy = true;
                None
            }
        };
        if let Some(turn) = turn {
            turn.await.unwrap();
        }
        let reply = inner.call_handle_message(handle, message).await;
        self.next(handle);
        reply
    }
}

/// Holds a lock across a call, one for all handles that `key` does not tell apart.
pub(crate) struct Locks<K> {
    key: fn(&ComponentHandle) -> K,
    locks: Mutex<Vec<(K, Arc<AsyncMutex<()>>)>>,
    also_for_usage: bool,
}

impl<K: PartialEq> Locks<K> {
    pub(crate) fn by(key: fn(&ComponentHandle) -> K) -> Self {
        Self {
            key,
            locks: Mutex::default(),
            also_for_usage: false,
        }
    }

    pub(crate) fn and_usage(mut self) -> Self {
        self.also_for_usage = true;
        self
    }

    fn lock(&self, handle: &ComponentHandle) -> Arc<AsyncMutex<()>> {
        let key = (self.key)(handle);
        let mut locks = self.locks.lock().unwrap();
        if let Some((_, lock)) = locks.iter().find(|(known, _)| *known == key) {
            return Arc::clone(lock);
        }
        let lock = Arc::default();
        locks.push((key, Arc::clone(&lock)));
        lock
    }
}

#[async_trait]
impl<K: PartialEq + Send + 'static> Defect for Locks<K> {
    async fn message(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Reply {
        let lock = self.lock(handle);
        let _held = lock.lock().await;
        inner.call_handle_message(handle, message).await
    }

    async fn usage(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
    ) -> Result<ComponentUsage, WasmError> {
        if !self.also_for_usage {
            return inner.usage(handle).await;
        }
        let lock = self.lock(handle);
        let _held = lock.lock().await;
        inner.usage(handle).await
    }
}

/// Delivers to whom a message names, where it knows one of that name.
#[derive(Default)]
pub(crate) struct DeliversByRecipient {
    known: Mutex<HashMap<ComponentId, ComponentHandle>>,
}

#[async_trait]
impl Defect for DeliversByRecipient {
    async fn load(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        let handle = inner.load_component(id, bytes, config).await?;
        self.known
            .lock()
            .unwrap()
            .insert(id.clone(), handle.clone());
        Ok(handle)
    }

    async fn message(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Reply {
        let named = self.known.lock().unwrap().get(&message.recipient).cloned();
        let to = named.filter(|named| named.id() != handle.id());
        inner
            .call_handle_message(to.as_ref().unwrap_or(handle), message)
            .await
    }
}

/// Delivers twice what it is not sure to have delivered.
pub(crate) struct Repeats {
    pub(crate) messages: bool,
}

#[async_trait]
impl Defect for Repeats {
    async fn message(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Reply {
        if self.messages {
            inner.call_handle_message(handle, message.clone()).await?;
        }
        inner.call_handle_message(handle, message).await
    }

    async fn callback(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), WasmError> {
        if !self.messages {
            inner.call_handle_callback(handle, message.clone()).await?;
        }
        inner.call_handle_callback(handle, message).await
    }
}

/// Delivers other messages than it was given.
pub(crate) struct Alters {
    pub(crate) message: fn(&mut ComponentMessage),
}

#[async_trait]
impl Defect for Alters {
    async fn message(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        mut message: ComponentMessage,
    ) -> Reply {
        (self.message)(&mut message);
        inner.call_handle_message(handle, message).await
    }

    async fn callback(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        mut message: ComponentMessage,
    ) -> Result<(), WasmError> {
        (self.message)(&mut message);
        inner.call_handle_callback(handle, message).await
    }
}

/// Answers otherwise than the guest.
pub(crate) struct Answers {
    pub(crate) otherwise: fn(&ComponentHandle, Reply) -> Reply,
}

#[async_trait]
impl Defect for Answers {
    async fn message(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Reply {
        let reply = inner.call_handle_message(handle, message).await;
        (self.otherwise)(handle, reply)
    }
}

pub(crate) fn empty_for_none(_: &ComponentHandle, reply: Reply) -> Reply {
    Ok(reply?.filter(|reply| !reply.is_empty()))
}

pub(crate) fn without_umlauts(_: &ComponentHandle, reply: Reply) -> Reply {
    let whole = reply?;
    Ok(
        whole.map(|whole| match std::str::from_utf8(whole.as_bytes()) {
            Ok(text) => text.replace('ü', "u").into(),
            Err(_) => whole,
        }),
    )
}

pub(crate) fn up_to_a_zero(_: &ComponentHandle, reply: Reply) -> Reply {
    let whole = reply?;
    Ok(whole.map(|whole| {
        let text = whole.as_bytes().split(|byte| *byte == 0).next();
        MessagePayload::from(text.unwrap_or_default().to_vec())
    }))
}

/// Says that a component has failed, but not why.
pub(crate) fn no_cause(handle: &ComponentHandle, reply: Reply) -> Reply {
    match reply {
        Err(WasmError::ComponentFailed { .. }) => Err(failed(handle, trapped(handle))),
        reply => reply,
    }
}

/// Takes a component that is gone for one that has failed.
pub(crate) fn gone_is_failed(handle: &ComponentHandle, reply: Reply) -> Reply {
    match reply {
        Err(error @ WasmError::ComponentNotFound { .. }) => Err(failed(handle, error)),
        reply => reply,
    }
}

/// Does not catch what a service throws.
pub(crate) fn passes_panics_on(_: &ComponentHandle, reply: Reply) -> Reply {
    match reply {
        Err(WasmError::Trapped {
            trap: Trap::HostPanic(message),
            ..
        }) => panic!("{message}"),
        reply => reply,
    }
}

/// Takes a broadcast for one message, however many it reaches.
pub(crate) fn counts_broadcasts_once(handle: &ComponentHandle, reply: Reply) -> Reply {
    if handle.id().name() == BROADCAST_STORM.name && reply.is_err() {
        return Ok(None);
    }
    reply
}

/// Takes a stack that is used up for something else.
pub(crate) fn mixes_up_traps(_: &ComponentHandle, reply: Reply) -> Reply {
    let mut reply = reply;
    if let Err(WasmError::Trapped { trap, .. }) = &mut reply {
        *trap = Trap::Other("wasm trap".to_owned());
    }
    reply
}

/// Fails others than whom it should.
pub(crate) struct Poisons {
    /// Whether the component is failed by how its call ended.
    pub(crate) by: fn(&WasmError) -> bool,
    pub(crate) everybody: bool,
    pub(crate) poisoned: Mutex<HashSet<ComponentHandle>>,
    pub(crate) known: Mutex<HashSet<ComponentHandle>>,
}

impl Poisons {
    pub(crate) fn new(by: fn(&WasmError) -> bool, everybody: bool) -> Self {
        Self {
            by,
            everybody,
            poisoned: Mutex::default(),
            known: Mutex::default(),
        }
    }
}

#[async_trait]
impl Defect for Poisons {
    async fn load(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        let handle = inner.load_component(id, bytes, config).await?;
        self.known.lock().unwrap().insert(handle.clone());
        Ok(handle)
    }

    async fn message(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Reply {
        if self.poisoned.lock().unwrap().contains(handle) {
            return Err(failed(handle, trapped(handle)));
        }
        let reply = inner.call_handle_message(handle, message).await;
        if let Err(error) = &reply
            && (self.by)(error)
        {
            let mut poisoned = self.poisoned.lock().unwrap();
            if self.everybody {
                poisoned.extend(self.known.lock().unwrap().iter().cloned());
                poisoned.remove(handle);
            } else {
                poisoned.insert(handle.clone());
            }
        }
        reply
    }

    async fn restart(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        self.poisoned.lock().unwrap().remove(handle);
        inner.restart_component(handle).await
    }
}

/// Knows how everybody is without asking.
pub(crate) struct GuessesHealth;

#[async_trait]
impl Defect for GuessesHealth {
    async fn health(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
    ) -> Result<HealthStatus, WasmError> {
        match inner.usage(handle).await?.state {
            ComponentState::Failed => inner.health(handle).await,
            _ => Ok(HealthStatus::Healthy),
        }
    }
}

/// Takes every component for stateless.
pub(crate) struct GuessesMetadata;

#[async_trait]
impl Defect for GuessesMetadata {
    async fn metadata(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
    ) -> Result<ComponentMetadata, WasmError> {
        let mut metadata = inner.metadata(handle).await?;
        metadata.stateful = false;
        Ok(metadata)
    }
}

/// Does not listen to what a callback answers.
pub(crate) struct IgnoresCallbacks;

#[async_trait]
impl Defect for IgnoresCallbacks {
    async fn callback(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), WasmError> {
        match inner.call_handle_callback(handle, message).await {
            Err(WasmError::GuestError { .. }) => Ok(()),
            outcome => outcome,
        }
    }
}

/// Does not count the memory limit among the traps.
#[derive(Default)]
pub(crate) struct SparesTheGreedy {
    spared: Mutex<HashMap<ComponentHandle, u64>>,
}

#[async_trait]
impl Defect for SparesTheGreedy {
    async fn message(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Reply {
        let reply = inner.call_handle_message(handle, message).await;
        if let Err(WasmError::ResourceLimitExceeded { resource, .. }) = &reply
            && *resource == Resource::Memory
        {
            let mut spared = self.spared.lock().unwrap();
            *spared.entry(handle.clone()).or_default() += 1;
        }
        reply
    }

    async fn usage(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
    ) -> Result<ComponentUsage, WasmError> {
        let mut usage = inner.usage(handle).await?;
        usage.traps -= self.spared.lock().unwrap().get(handle).unwrap_or(&0);
        Ok(usage)
    }
}

/// Does one thing at a time: nobody is sent a message while another is loaded, or
/// unloaded.
pub(crate) struct OneThingAtATime {
    loads: bool,
    lock: AsyncMutex<()>,
}

impl OneThingAtATime {
    pub(crate) fn new(loads: bool) -> Self {
        let lock = AsyncMutex::default();
        Self { loads, lock }
    }
}

#[async_trait]
impl Defect for OneThingAtATime {
    async fn load(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        let held = self.lock.lock().await;
        if !self.loads {
            drop(held);
            return inner.load_component(id, bytes, config).await;
        }
        inner.load_component(id, bytes, config).await
    }

    async fn unload(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        if self.loads {
            return inner.unload_component(handle).await;
        }
        let _held = self.lock.lock().await;
        inner.unload_component(handle).await
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

/// Lets the time for `health` run from when it is asked for.
#[derive(Default)]
pub(crate) struct CountsTimeWhileHealthWaits {
    limits: Limits,
}

#[async_trait]
impl Defect for CountsTimeWhileHealthWaits {
    async fn load(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        load_noting_limits(&self.limits, inner, id, bytes, config).await
    }

    async fn health(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
    ) -> Result<HealthStatus, WasmError> {
        let limits = self.limits.lock().unwrap().get(handle).copied();
        let health = inner.health(handle);
        let Some(limits) = limits else {
            return health.await;
        };
        match timeout(limits.timeout() + Duration::from_millis(1), health).await {
            Ok(health) => health,
            Err(_) => Err(out_of_time(handle, limits.timeout())),
        }
    }
}

/// Looks at the time now and then.
pub(crate) struct StopsLate;

#[async_trait]
impl Defect for StopsLate {
    async fn message(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Reply {
        let reply = inner.call_handle_message(handle, message).await;
        if let Err(WasmError::Timeout { limit, .. }) = &reply {
            sleep(*limit * 30).await;
        }
        reply
    }
}

/// Reads metadata as it can.
pub(crate) struct MakesMetadataUp;

#[async_trait]
impl Defect for MakesMetadataUp {
    async fn metadata(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
    ) -> Result<ComponentMetadata, WasmError> {
        match inner.metadata(handle).await {
            Err(WasmError::Trapped { .. }) => Ok(ComponentMetadata::default()),
            outcome => outcome,
        }
    }
}

/// Catches what a router throws, and no other service.
pub(crate) fn passes_panics_of_others_on(handle: &ComponentHandle, reply: Reply) -> Reply {
    match reply {
        Err(WasmError::Trapped {
            trap: Trap::HostPanic(message),
            ..
        }) if handle.id().name() != SENDER.name => panic!("{message}"),
        reply => reply,
    }
}

/// Counts how messages end, and nothing else.
#[derive(Default)]
pub(crate) struct CountsMessagesOnly {
    others: Mutex<HashMap<ComponentHandle, (u64, u64)>>,
}

impl CountsMessagesOnly {
    fn ended<T>(&self, handle: &ComponentHandle, outcome: &Result<T, WasmError>) {
        let mut others = self.others.lock().unwrap();
        let (traps, timeouts) = others.entry(handle.clone()).or_default();
        match outcome {
            Err(WasmError::Timeout { .. }) => *timeouts += 1,
            Err(WasmError::Trapped { .. }) => *traps += 1,
            _ => {}
        }
    }
}

#[async_trait]
impl Defect for CountsMessagesOnly {
    async fn callback(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), WasmError> {
        let outcome = inner.call_handle_callback(handle, message).await;
        self.ended(handle, &outcome);
        outcome
    }

    async fn restart(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        let outcome = inner.restart_component(handle).await;
        self.ended(handle, &outcome);
        outcome
    }

    async fn usage(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
    ) -> Result<ComponentUsage, WasmError> {
        let mut usage = inner.usage(handle).await?;
        if let Some((traps, timeouts)) = self.others.lock().unwrap().get(handle) {
            usage.traps -= traps;
            usage.timeouts -= timeouts;
        }
        Ok(usage)
    }
}
