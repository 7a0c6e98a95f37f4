//! One partition from the claim on until its components are gone: they come, are served, and go.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::header::HeaderMap;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::sync::{RwLock, oneshot};
use tokio::time::{sleep, timeout};

use wasm_core::{ComponentId, RuntimeEngine};
use wasm_host::Host;

use crate::claim::Claim;
use crate::connect::Connection;
use crate::inbox::{Inbox, OpenInbox, consumer_name};
use crate::protocol::desk::Desk;
use crate::shared::Shared;
use crate::tenants::Tenants;
use crate::view::OwnerRecord;
use crate::wire::PublishError;

/// How long it waits until what the host has handled is acknowledged, when a partition is given
/// back.
const FINISH: Duration = Duration::from_secs(1);

/// After so long it is tried again to read timers.
const AGAIN: Duration = Duration::from_millis(100);

/// What the node has left that had a partition before.
pub(crate) struct Former {
    /// The name of its consumer.
    pub(crate) consumer: Option<String>,
    pub(crate) left: Desk,
}

/// How the components of a partition go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Going {
    /// Their calls have ended, and nobody else has them before.
    GivenBack,
    /// Another node may have them by now.
    Lost,
}

/// A partition that this node has claimed.
pub(crate) struct Partition<E: RuntimeEngine + ?Sized> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) host: Host<E>,
    pub(crate) tenants: Arc<dyn Tenants>,
    pub(crate) changing: Arc<RwLock<()>>,
    pub(crate) leaving: Arc<Mutex<BTreeSet<u16>>>,
    pub(crate) claim: Arc<Claim>,
}

impl<E: RuntimeEngine + ?Sized + 'static> Partition<E> {
    /// Until its components are gone, which they are told to by `goes`.
    pub(crate) async fn stay(self, former: Former, goes: oneshot::Receiver<Going>) {
        // Also where the tenants panic.
        let _leaves = Leaves(&self);
        let consumer = former.consumer.clone();
        let inbox = match self.come().await {
            true => Some(self.inbox(former).open()),
            false => None,
        };
        // Nobody but whoever ends the node drops it.
        let how = goes.await.unwrap_or(Going::Lost);
        self.go(inbox, consumer, how).await;
    }

    /// Reads what is known of the components and loads them; `false` if the claim is over first.
    async fn come(&self) -> bool {
        let storage = &self.shared.connection.storage;
        if let Err(error) = storage.read_ahead(&self.claim).await {
            // Whoever needs it reads it then.
            tracing::warn!("keys are not read ahead: {error}");
        }
        self.shared
            .connection
            .claims
            .insert(Arc::clone(&self.claim));
        let is_mine = |id: &ComponentId| self.has(id);
        while let Err(error) = self.host.adopt_timers(is_mine).await {
            if self.claim.is_over() {
                break;
            }
            tracing::warn!("timers cannot be read: {error}");
            sleep(AGAIN).await;
        }
        let _turn = self.changing.read().await;
        if self.claim.is_over() {
            return false;
        }
        self.tenants.load(self.ids()).await;
        true
    }

    fn inbox(&self, former: Former) -> Inbox<E> {
        let connection = &self.shared.connection;
        Inbox {
            host: self.host.clone(),
            tenants: Arc::clone(&self.tenants),
            watched: Arc::clone(&self.shared.watched),
            claim: Arc::clone(&self.claim),
            wire: connection.wire.clone(),
            names: connection.names.clone(),
            stream: connection.mail.clone(),
            arrived: Arc::clone(&connection.arrived),
            room: connection.room.clone(),
            node: connection.node.clone(),
            former_consumer: former.consumer,
            left: former.left,
        }
    }

    /// Unloads the components, and says that the partition is given back if it is.
    async fn go(&self, mut inbox: Option<OpenInbox>, former: Option<String>, how: Going) {
        if let Some(inbox) = &mut inbox {
            inbox.stop();
        }
        if how == Going::Lost {
            // Nothing more begins and nothing more is written.
            self.claim.end();
        }
        // Otherwise they were never loaded.
        if inbox.is_some() {
            let ids = self.ids().into_iter();
            join_all(ids.map(|id| self.unload(id))).await;
        }
        let has_consumer = inbox.is_some();
        if let Some(inbox) = inbox
            && how == Going::GivenBack
        {
            // What is not acknowledged by then is on the desk.
            let _ = timeout(FINISH, inbox.finish()).await;
        }
        let is_lost = self.claim.is_over();
        self.let_go();
        if how == Going::GivenBack && !is_lost {
            let consumer = match has_consumer {
                true => Some(consumer_name(&self.claim)),
                false => former,
            };
            self.give_back(consumer).await;
        }
    }

    /// A panic over one component keeps no other here. The one goes on to be loaded, and is given
    /// nothing more.
    async fn unload(&self, id: ComponentId) {
        let unload = AssertUnwindSafe(self.tenants.unload(vec![id.clone()]));
        if unload.catch_unwind().await.is_err() {
            tracing::error!(component = %id, "it is not unloaded: whoever has it panicked");
        }
    }

    /// From now on nothing is written or handled for the partition, and nothing is known of it.
    fn let_go(&self) {
        self.claim.end();
        self.host.release_timers(|id| self.has(id));
        let connection = &self.shared.connection;
        connection.claims.remove(&self.claim);
        connection.storage.forget(self.claim.partition);
    }

    async fn give_back(&self, consumer: Option<String>) {
        let record = OwnerRecord {
            consumer,
            ..OwnerRecord::default()
        };
        let Claim {
            partition, fence, ..
        } = *self.claim;
        let given_back = write_owner(&self.shared, partition, fence, &record).await;
        if let Err(error) = given_back {
            tracing::warn!(partition, "it is not given back: {error}");
        }
    }

    fn has(&self, id: &ComponentId) -> bool {
        let claims = &self.shared.connection.claims;
        claims.partition_of(id) == self.claim.partition
    }

    fn ids(&self) -> Vec<ComponentId> {
        self.shared.connection.roster.of(|id| self.has(id))
    }
}

/// The components of a partition are gone when this is dropped, or are given nothing more.
struct Leaves<'a, E: RuntimeEngine + ?Sized + 'static>(&'a Partition<E>);

impl<E: RuntimeEngine + ?Sized + 'static> Drop for Leaves<'_, E> {
    fn drop(&mut self) {
        self.0.let_go();
        let mut leaving = self
            .0
            .leaving
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        leaving.remove(&self.0.claim.partition);
        drop(leaving);
        self.0.shared.watched.changed.notify_one();
    }
}

/// Says who owns a partition, in place of what was said before.
pub(crate) async fn write_owner(
    shared: &Shared,
    partition: u16,
    before: u64,
    record: &OwnerRecord,
) -> Result<u64, PublishError> {
    let Connection {
        wire, names, terms, ..
    } = &shared.connection;
    let mut headers = HeaderMap::new();
    headers.insert(
        "Nats-Expected-Last-Subject-Sequence",
        before.to_string().as_str(),
    );
    let text = serde_json::to_vec(record).unwrap_or_default();
    let subject = names.owner(partition);
    let sequence = match wire.publish(&subject, headers, text.into()).await {
        // It may be this that was stored, and nobody was told.
        Err(PublishError::Outdated) => stored(shared, &subject, before, record).await?,
        written => written?,
    };
    let now = shared.now();
    let heard = ((partition, sequence), record.clone());
    shared.watched.set_owner(heard.0, heard.1, *terms, now);
    Ok(sequence)
}

/// Where this is the last record of a partition.
async fn stored(
    shared: &Shared,
    subject: &str,
    before: u64,
    record: &OwnerRecord,
) -> Result<u64, PublishError> {
    let Connection { wire, data, .. } = &shared.connection;
    let last = wire.last(data, subject).await?;
    let last = last.filter(|last| {
        last.sequence > before
            && serde_json::from_slice::<OwnerRecord>(&last.payload)
                .is_ok_and(|last| last == *record)
    });
    last.map(|last| last.sequence).ok_or(PublishError::Outdated)
}
