//! What this node owns: partitions, each with the fencing token of everything that is written
//! for it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_nats::header::HeaderMap;
use bytes::Bytes;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep, sleep_until};

use wasm_core::ComponentId;

use crate::division::Division;
use crate::name::Names;
use crate::tenure::Tenure;
use crate::wire::{PublishError, Wire};

/// How often it is looked whether a lease that is not held is held again.
const LOOK: Duration = Duration::from_millis(100);

/// A partition that this node owns, or owned.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) partition: u16,
    /// Of the message that says who owns it: nobody else's is the last of its subject as long as
    /// this node does.
    pub(crate) fence: u64,
    tenure: Arc<Tenure>,
    /// Before it was asked for.
    since: Duration,
    is_over: watch::Sender<bool>,
    /// What has been written under it.
    written: AtomicU64,
    /// One write after the other: a cluster refuses those that overlap under one condition.
    writes: Mutex<()>,
}

impl Claim {
    /// One that was asked for at this time.
    pub(crate) fn new(
        partition: u16,
        fence: u64,
        tenure: &Arc<Tenure>,
        since: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            partition,
            fence,
            tenure: Arc::clone(tenure),
            since,
            written: AtomicU64::new(0),
            is_over: watch::Sender::new(false),
            writes: Mutex::default(),
        })
    }

    /// Nothing more is written under it.
    pub(crate) fn end(&self) {
        self.is_over.send_replace(true);
    }

    /// Whether another node may own the partition by now: since the lease was not held for a
    /// moment, whether anyone has noticed that or not.
    pub(crate) fn is_over(&self) -> bool {
        *self.is_over.borrow() || !self.tenure.is_held_since(self.since)
    }

    /// By the clock of this node.
    pub(crate) fn now(&self) -> Duration {
        self.tenure.now()
    }

    /// Waits until it is over. It may be so a moment before.
    pub(crate) async fn ended(&self) {
        // The sender is this.
        let _ = self.is_over.subscribe().wait_for(|it| *it).await;
    }

    /// Stores something if this node still owns the partition, by what the stream says.
    pub(crate) async fn write(
        &self,
        wire: &Wire,
        names: &Names,
        subject: &str,
        mut headers: HeaderMap,
        payload: Bytes,
    ) -> Result<u64, PublishError> {
        headers.insert(
            "Nats-Expected-Last-Subject-Sequence",
            self.fence.to_string().as_str(),
        );
        headers.insert(
            "Nats-Expected-Last-Subject-Sequence-Subject",
            names.owner(self.partition).as_str(),
        );
        // However often it is tried, it is stored once: one that comes late does not take the place
        // of what was written since.
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let id = format!("p{}-{}-{number}", self.partition, self.fence);
        headers.insert("Nats-Msg-Id", id.as_str());
        // To wait for its turn takes of the same patience: what is behind others that are not
        // answered is not tried for as long as they were.
        let until = Instant::now() + wire.patience;
        let _turn = self.writes.lock().await;
        if self.is_over() {
            return Err(PublishError::Outdated);
        }
        let written = wire.publish_until(until, subject, headers, payload);
        let written = written.await;
        if written == Err(PublishError::Outdated) {
            tracing::warn!(
                partition = self.partition,
                "a write is refused: another node owns it"
            );
            self.end();
        }
        written
    }
}

/// All partitions that this node owns.
#[derive(Debug)]
pub(crate) struct Claims {
    pub(crate) division: Division,
    pub(crate) tenure: Arc<Tenure>,
    held: RwLock<HashMap<u16, Arc<Claim>>>,
}

impl Claims {
    pub(crate) fn new(division: Division, tenure: Tenure) -> Self {
        Self {
            division,
            tenure: Arc::new(tenure),
            held: RwLock::default(),
        }
    }

    pub(crate) fn partition_of(&self, id: &ComponentId) -> u16 {
        self.division.partition_of(id)
    }

    /// Under which data of this component is written.
    pub(crate) fn of_component(&self, id: &ComponentId) -> Option<Arc<Claim>> {
        self.of(self.partition_of(id))
    }

    pub(crate) fn of(&self, partition: u16) -> Option<Arc<Claim>> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let claim = held.get(&partition)?;
        (!claim.is_over()).then(|| Arc::clone(claim))
    }

    /// Those that are not over, in the order of their partitions.
    pub(crate) fn all(&self) -> Vec<Arc<Claim>> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let held = held.values().filter(|claim| !claim.is_over());
        let mut all: Vec<_> = held.cloned().collect();
        all.sort_by_key(|claim| claim.partition);
        all
    }

    pub(crate) fn insert(&self, claim: Arc<Claim>) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        held.insert(claim.partition, claim);
    }

    /// Whether data of this component may be written.
    pub(crate) fn has(&self, id: &ComponentId) -> bool {
        self.of_component(id).is_some()
    }

    /// Ends all claims when the lease is over that they depend on, for as long as it is polled:
    /// whatever else this node is waiting for.
    pub(crate) async fn watch_lease(&self) {
        loop {
            match self.tenure.stops() {
                Some(stops) => tokio::select! {
                    () = sleep_until(stops) => {}
                    () = self.tenure.ended.notified() => {}
                },
                None => sleep(LOOK).await,
            }
            let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
            let over = held.values().filter(|claim| claim.is_over());
            over.for_each(|claim| claim.end());
        }
    }

    /// Unless another claim has taken its place.
    pub(crate) fn remove(&self, claim: &Arc<Claim>) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        if held
            .get(&claim.partition)
            .is_some_and(|it| Arc::ptr_eq(it, claim))
        {
            held.remove(&claim.partition);
        }
    }
}
