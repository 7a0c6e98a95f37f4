//! Messages that components send themselves later. Each is kept in the store until it was
//! handled, so that it outlives whatever becomes of the component and of the process.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt::{self, Debug};
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::{Notify, RwLock};
use tokio::time::{Instant, sleep_until};

use wasm_core::{
    ComponentHandle, ComponentId, ComponentMessage, ComponentStorage, ComponentTimers,
    MessagingError, StorageError, TIMER_TYPE, TimerError,
};

use crate::caught::isolated_future;
use crate::component::poll::some_ended;
use crate::lock::lock;
use crate::post::letter::LetterKind;
use crate::post::office::Office;
use crate::post::receipt::{Receipt, Ticket};
use crate::watch::dead_letter::DeadLetterCause;

/// Timers that a component has at a time.
const MAX_TIMERS: usize = 64;

/// What was not accepted, or could not be written down, is tried again after so long.
const RETRY: Duration = Duration::from_secs(1);

/// Timers that are over and are removed from the store at a time: enough that many share one
/// commit of a file, or wait for a server together, few enough that the writes of components,
/// of which 256 may wait, find room between them.
const REMOVALS: usize = 64;

/// Keys that are read at a time when a host starts.
const PAGE: usize = 1_024;

/// In the store, a timer waits, or it has begun to be handled.
const WAITS: u8 = b'w';
const BEGUN: u8 = b'b';

pub(crate) struct Timers {
    storage: Arc<dyn ComponentStorage>,
    office: Arc<Office>,
    /// Whose they are in the store.
    owner: ComponentId,
    state: Mutex<State>,
    /// Something else may be due next.
    changed: Notify,
    /// Something is to be removed from the store.
    ended: Notify,
    /// Read by who removes what is over from the store, written by who reads what is there:
    /// nobody takes what is being removed for what another process has left behind.
    tidying: RwLock<()>,
    /// It was told that timers wait for the store, and none has begun to be handled since.
    is_stalled: AtomicBool,
}

#[derive(Default)]
struct State {
    of: HashMap<ComponentId, BTreeMap<u64, Timer>>,
    /// When the clerk looks at which of those that wait.
    due: BTreeSet<(Instant, ComponentId, u64)>,
    /// Of those that are over, what is still in the store.
    over: HashSet<String>,
    /// Of these, what nobody removes yet.
    to_remove: VecDeque<String>,
    latest: u64,
}

struct Timer {
    /// By the host's clock, in milliseconds, as it is in the store.
    due_millis: u64,
    payload: Bytes,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Not kept yet.
    BeingSet,
    /// The clerk looks at it at this time.
    Waits(Instant),
    /// In the mailbox of its component.
    UnderWay,
    /// Being handled.
    Begun,
}

/// Whose timers are read.
type Wanted<'a> = dyn Fn(&ComponentId) -> bool + Send + Sync + 'a;

impl Timers {
    pub(crate) fn new(storage: Arc<dyn ComponentStorage>, office: &Arc<Office>) -> Arc<Self> {
        Arc::new(Self {
            storage,
            office: Arc::clone(office),
            owner: timers_owner(),
            state: Mutex::default(),
            changed: Notify::new(),
            ended: Notify::new(),
            tidying: RwLock::default(),
            is_stalled: AtomicBool::new(false),
        })
    }

    /// Reads what an earlier process has left behind, and then has `deliver` put what is due
    /// into mailboxes, for as long as it is polled.
    pub(crate) async fn run(
        self: Arc<Self>,
        deliver: impl Fn(ComponentMessage, Ticket) -> Result<(), MessagingError>,
    ) {
        let mut was_told = false;
        while let Err(error) = self.recover(&|_| true).await {
            if !was_told {
                tracing::warn!("timers cannot be read: {error}");
                was_told = true;
            }
            tokio::time::sleep(RETRY).await;
        }
        // What is due does not wait for what is removed.
        tokio::join!(self.deliver(&deliver), self.tidy());
    }

    async fn deliver(
        self: &Arc<Self>,
        deliver: &impl Fn(ComponentMessage, Ticket) -> Result<(), MessagingError>,
    ) {
        loop {
            let next = lock(&self.state).due.first().map(|(due, ..)| *due);
            tokio::select! {
                () = self.changed.notified() => {}
                () = until(next) => {}
            }
            self.deliver_due(deliver);
        }
    }

    /// Removes what is over from the store.
    async fn tidy(&self) {
        let mut removals = Vec::new();
        loop {
            while removals.len() < REMOVALS
                && let Some(key) = lock(&self.state).to_remove.pop_front()
            {
                removals.push(Box::pin(self.remove_or_put_back(key)));
            }
            tokio::select! {
                () = self.ended.notified() => {}
                () = some_ended(&mut removals) => {}
            }
        }
    }

    async fn remove_or_put_back(&self, key: String) {
        if self.remove(&key).await {
            return;
        }
        tokio::time::sleep(RETRY).await;
        let mut state = lock(&self.state);
        // One that was released is another host's by now.
        if state.over.contains(&key) {
            state.to_remove.push_back(key);
        }
    }

    /// Whether it is gone.
    async fn remove(&self, key: &str) -> bool {
        let _tidying = self.tidying.read().await;
        let removed = stored(self.storage.delete(&self.owner, key)).await.is_ok();
        if removed {
            lock(&self.state).over.remove(key);
        }
        removed
    }

    /// Removes from the store what is over, each once, whoever else does.
    pub(crate) async fn remove_over(&self) {
        let over: Vec<_> = lock(&self.state).over.iter().cloned().collect();
        let mut over = over.iter();
        let mut removals = Vec::new();
        loop {
            let room = REMOVALS - removals.len();
            removals.extend(
                over.by_ref()
                    .take(room)
                    .map(|key| Box::pin(self.remove(key))),
            );
            if removals.is_empty() {
                return;
            }
            some_ended(&mut removals).await;
        }
    }

    /// Puts what is due into the mailboxes; what is not accepted is tried again later.
    fn deliver_due(
        self: &Arc<Self>,
        deliver: &impl Fn(ComponentMessage, Ticket) -> Result<(), MessagingError>,
    ) {
        loop {
            let Some((of, timer, payload)) = lock(&self.state).take_due() else {
                return;
            };
            let message = ComponentMessage::new(of.clone(), of.clone(), payload)
                .with_message_type(TIMER_TYPE)
                .with_correlation_id(timer.to_string())
                .with_timestamp(self.office.now());
            let timers = Arc::clone(self);
            let due = DueTimer { timers, of, timer };
            // One that is refused is put back when its ticket is dropped.
            let _ = deliver(message, Ticket::new(Arc::new(due)));
        }
    }

    /// Reads what other hosts have left behind of components that come to this one.
    pub(crate) async fn adopt(&self, come: &Wanted<'_>) -> Result<(), StorageError> {
        self.recover(come).await?;
        self.changed.notify_one();
        Ok(())
    }

    /// Forgets the timers of components that leave this host; they stay in the store.
    pub(crate) fn release(&self, leaves: &dyn Fn(&ComponentId) -> bool) {
        let mut state = lock(&self.state);
        state.of.retain(|of, _| !leaves(of));
        state.due.retain(|(_, of, _)| !leaves(of));
        let belongs = |key: &String| parse_key(key).is_some_and(|(of, _)| leaves(&of));
        state.over.retain(|key| !belongs(key));
        state.to_remove.retain(|key| !belongs(key));
    }

    /// What waits goes on waiting; what had begun to be handled when the process ended may
    /// have been handled, and is not handled again.
    async fn recover(&self, is_wanted: &Wanted<'_>) -> Result<(), StorageError> {
        let _tidying = self.tidying.write().await;
        let mut after: Option<String> = None;
        loop {
            let page = self
                .storage
                .list_keys(&self.owner, "", after.as_deref(), PAGE);
            let page = stored(page).await?;
            let wanted = |key: &&String| parse_key(key).is_some_and(|(of, _)| is_wanted(&of));
            for key in page.iter().filter(wanted) {
                if let Some(kept) = stored(self.storage.get(&self.owner, key)).await? {
                    self.recover_one(key, &kept);
                }
            }
            if page.len() < PAGE {
                return Ok(());
            }
            after = page.last().cloned();
        }
    }

    fn recover_one(&self, key: &str, kept: &Bytes) {
        let Some((of, timer)) = parse_key(key) else {
            return;
        };
        let Some((stage, due_millis, payload)) = parse(kept) else {
            return;
        };
        let now = self.office.now();
        {
            // What this process knows already is its own.
            let mut state = lock(&self.state);
            if state.timer(&of, timer).is_some() || state.over.contains(key) {
                return;
            }
        }
        if stage == BEGUN {
            let message = ComponentMessage::new(of.clone(), of, payload)
                .with_message_type(TIMER_TYPE)
                .with_correlation_id(timer.to_string())
                .with_timestamp(now);
            let cause = DeadLetterCause::Interrupted;
            self.office.bury(message, LetterKind::Timer, cause);
            lock(&self.state).end(key.to_owned());
            self.ended.notify_one();
            return;
        }
        let left = due_millis.saturating_sub(now.as_millis());
        let due = Instant::now() + Duration::from_millis(left);
        let mut state = lock(&self.state);
        state.latest = state.latest.max(timer);
        // One that was set since is there already.
        if state.timer(&of, timer).is_none() {
            let timers = state.of.entry(of.clone()).or_default();
            timers.insert(
                timer,
                Timer {
                    due_millis,
                    payload,
                    stage: Stage::Waits(due),
                },
            );
            state.due.insert((due, of, timer));
        }
    }

    async fn keep(
        &self,
        key: &str,
        stage: u8,
        due_millis: u64,
        payload: &Bytes,
    ) -> Result<(), StorageError> {
        let mut kept = BytesMut::with_capacity(9 + payload.len());
        kept.put_u8(stage);
        kept.put_u64(due_millis);
        kept.put_slice(payload);
        let storage = &self.storage;
        stored(storage.set(&self.owner, key, kept.freeze(), u64::MAX)).await
    }
}

/// A panic of the embedder's store is an error of it, after which whoever asked goes on.
async fn stored<T>(work: impl Future<Output = Result<T, StorageError>>) -> Result<T, StorageError> {
    let outcome = isolated_future("component storage", work).await;
    outcome.unwrap_or_else(|| Err(StorageError::Io("the store panicked".to_owned())))
}

impl State {
    /// A place for a timer that is being set.
    fn reserve(&mut self, of: &ComponentId, now_millis: u64, timer: Timer) -> Option<u64> {
        // There is none after the largest, which the store has only if somebody put it there.
        let next = self.latest.checked_add(1)?;
        let timers = self.of.entry(of.clone()).or_default();
        if timers.len() >= MAX_TIMERS {
            return None;
        }
        // Larger than any of an earlier process, too.
        self.latest = now_millis.max(next);
        timers.insert(self.latest, timer);
        Some(self.latest)
    }

    fn timer(&mut self, of: &ComponentId, timer: u64) -> Option<&mut Timer> {
        self.of.get_mut(of)?.get_mut(&timer)
    }

    fn wait(&mut self, of: &ComponentId, timer: u64, due: Instant) {
        if let Some(found) = self.timer(of, timer) {
            found.stage = Stage::Waits(due);
            self.due.insert((due, of.clone(), timer));
        }
    }

    fn remove(&mut self, of: &ComponentId, timer: u64) -> Option<Timer> {
        let timers = self.of.get_mut(of)?;
        let removed = timers.remove(&timer)?;
        if timers.is_empty() {
            self.of.remove(of);
        }
        if let Stage::Waits(due) = removed.stage {
            self.due.remove(&(due, of.clone(), timer));
        }
        Some(removed)
    }

    /// It is over, and to be removed from the store.
    fn end(&mut self, key: String) {
        if self.over.insert(key.clone()) {
            self.to_remove.push_back(key);
        }
    }

    fn take_due(&mut self) -> Option<(ComponentId, u64, Bytes)> {
        let (due, ..) = self.due.first()?;
        if *due > Instant::now() {
            return None;
        }
        let (_, of, timer) = self.due.pop_first()?;
        let found = self.timer(&of, timer)?;
        found.stage = Stage::UnderWay;
        let payload = found.payload.clone();
        Some((of, timer, payload))
    }
}

#[async_trait]
impl ComponentTimers for Timers {
    async fn set(
        &self,
        of: &ComponentHandle,
        delay: Duration,
        payload: Bytes,
    ) -> Result<u64, TimerError> {
        let of = of.id();
        let due = Instant::now() + delay;
        let now_millis = self.office.now().as_millis();
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        let due_millis = now_millis.saturating_add(millis);
        let timer = Timer {
            due_millis,
            payload: payload.clone(),
            stage: Stage::BeingSet,
        };
        let number = lock(&self.state).reserve(of, now_millis, timer);
        let number = number.ok_or(TimerError::TooMany)?;
        let setting = Setting {
            timers: self,
            of,
            number,
        };
        let kept = self
            .keep(&key(of, number), WAITS, due_millis, &payload)
            .await;
        kept.map_err(|error| TimerError::NotSet(error.to_string()))?;
        mem::forget(setting);
        lock(&self.state).wait(of, number, due);
        self.changed.notify_one();
        Ok(number)
    }

    async fn cancel(&self, of: &ComponentHandle, timer: u64) -> Result<bool, TimerError> {
        let of = of.id();
        let taken = {
            let mut state = lock(&self.state);
            match state.timer(of, timer).map(|it| it.stage) {
                Some(Stage::Waits(_) | Stage::UnderWay) => state.remove(of, timer),
                Some(Stage::BeingSet | Stage::Begun) | None => None,
            }
        };
        if taken.is_none() {
            return Ok(false);
        }
        let key = key(of, timer);
        if let Err(error) = stored(self.storage.delete(&self.owner, &key)).await {
            // It is tried again, and in this process the timer does not come any more.
            lock(&self.state).end(key);
            self.ended.notify_one();
            return Err(TimerError::NotSet(error.to_string()));
        }
        Ok(true)
    }
}

/// Gives the place of a timer back that is not set after all.
struct Setting<'a> {
    timers: &'a Timers,
    of: &'a ComponentId,
    number: u64,
}

impl Drop for Setting<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.timers.state);
        state.remove(self.of, self.number);
        // It may be in the store all the same.
        state.end(key(self.of, self.number));
        drop(state);
        self.timers.ended.notify_one();
    }
}

/// One that is due: if it is not handled, it comes again.
#[derive(Debug)]
struct DueTimer {
    timers: Arc<Timers>,
    of: ComponentId,
    timer: u64,
}

#[async_trait]
impl Receipt for DueTimer {
    async fn begin(&self) -> bool {
        let (of, timer) = (&self.of, self.timer);
        let (due_millis, payload) = {
            let mut state = lock(&self.timers.state);
            let Some(found) = state.timer(of, timer) else {
                return false;
            };
            found.stage = Stage::Begun;
            (found.due_millis, found.payload.clone())
        };
        let key = key(of, timer);
        let kept = self.timers.keep(&key, BEGUN, due_millis, &payload).await;
        // Each that is due is tried again every second.
        let was_stalled = self
            .timers
            .is_stalled
            .swap(kept.is_err(), Ordering::Relaxed);
        if let Err(error) = &kept
            && !was_stalled
        {
            tracing::warn!(component = %of, "timers that are due wait for the store: {error}");
        }
        kept.is_ok()
    }

    fn always_comes_again(&self) -> bool {
        true
    }

    fn put_back(&self) {
        lock(&self.timers.state).wait(&self.of, self.timer, Instant::now() + RETRY);
        self.timers.changed.notify_one();
    }

    fn end(&self) {
        let mut state = lock(&self.timers.state);
        // One that was released is another host's by now.
        if state.remove(&self.of, self.timer).is_some() {
            state.end(key(&self.of, self.timer));
        }
        drop(state);
        self.timers.ended.notify_one();
    }
}

/// Whose the timers of all components are in the store. No component can be loaded under this
/// id.
pub fn timers_owner() -> ComponentId {
    ComponentId::new("host", "timers", "main").expect("each segment is a word")
}

fn key(of: &ComponentId, timer: u64) -> String {
    format!("{of}/{timer:016x}")
}

/// Whose timer is kept under this key of [`timers_owner`].
pub fn component_of_timer(key: &str) -> Option<ComponentId> {
    parse_key(key).map(|(of, _)| of)
}

fn parse_key(key: &str) -> Option<(ComponentId, u64)> {
    let (of, timer) = key.rsplit_once('/')?;
    Some((of.parse().ok()?, u64::from_str_radix(timer, 16).ok()?))
}

/// Stage, time and payload.
fn parse(kept: &Bytes) -> Option<(u8, u64, Bytes)> {
    let (stage, rest) = kept.split_first()?;
    let due = rest.first_chunk::<8>()?;
    Some((*stage, u64::from_be_bytes(*due), kept.slice(9..)))
}

/// Never, without a time.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

impl Debug for Timers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timers").finish_non_exhaustive()
    }
}
