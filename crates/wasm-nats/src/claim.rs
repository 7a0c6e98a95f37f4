//! What this node owns: partitions, each with the fencing token of everything that is written
//! for it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use async_nats::header::HeaderMap;
use bytes::Bytes;
use tokio::sync::{Mutex, watch};

use wasm_core::ComponentId;

use crate::name::{Names, partition_of};
use crate::wire::{PublishError, Wire};

/// A partition that this node owns, or owned.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) partition: u16,
    /// Of the message that says who owns it: nobody else's is the last of its subject as long as
    /// this node does.
    pub(crate) fence: u64,
    is_over: watch::Sender<bool>,
    /// One write after the other: a cluster refuses those that overlap under one condition.
    writes: Mutex<()>,
}

impl Claim {
    pub(crate) fn new(partition: u16, fence: u64) -> Arc<Self> {
        Arc::new(Self {
            partition,
            fence,
            is_over: watch::Sender::new(false),
            writes: Mutex::default(),
        })
    }

    /// Nothing more is written under it.
    pub(crate) fn end(&self) {
        self.is_over.send_replace(true);
    }

    pub(crate) fn is_over(&self) -> bool {
        *self.is_over.borrow()
    }

    /// Waits until it is over.
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
        let _turn = self.writes.lock().await;
        if self.is_over() {
            return Err(PublishError::Outdated);
        }
        let written = wire.publish(subject, headers, payload).await;
        if written == Err(PublishError::Outdated) {
            tracing::warn!(partition = self.partition, "another node owns it");
            self.end();
        }
        written
    }
}

/// All partitions that this node owns.
#[derive(Debug)]
pub(crate) struct Claims {
    /// How many there are in all.
    pub(crate) partitions: u16,
    held: RwLock<HashMap<u16, Arc<Claim>>>,
}

impl Claims {
    pub(crate) fn new(partitions: u16) -> Self {
        Self {
            partitions,
            held: RwLock::default(),
        }
    }

    pub(crate) fn partition_of(&self, id: &ComponentId) -> u16 {
        partition_of(id, self.partitions)
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

    /// In the order of their partitions.
    pub(crate) fn all(&self) -> Vec<Arc<Claim>> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = held.values().cloned().collect();
        all.sort_by_key(|claim| claim.partition);
        all
    }

    pub(crate) fn insert(&self, claim: Arc<Claim>) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        held.insert(claim.partition, claim);
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
