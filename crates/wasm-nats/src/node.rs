//! One of several hosts: keeps its lease, claims partitions and gives them back, and has the
//! components of those that it owns.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::header::HeaderMap;
use async_nats::jetstream::consumer::{self, DeliverPolicy};
use async_nats::jetstream::stream::Stream;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use wasm_core::{ComponentId, RuntimeEngine};
use wasm_host::Host;

use crate::claim::Claim;
use crate::connect::{Connection, NatsError};
use crate::inbox::{Inbox, OpenInbox, consumer_name};
use crate::protocol::desk::Desk;
use crate::protocol::lease::Lease;
use crate::tenants::Tenants;
use crate::view::{NodeRecord, OwnerRecord, Watched};
use crate::wire::{PublishError, is_deleted};

/// How often a node looks whether there is something to decide.
const LOOK: Duration = Duration::from_millis(100);

/// How long it waits until what the host has handled is acknowledged, when it gives a partition
/// back.
const FINISH: Duration = Duration::from_secs(1);

/// How often it is tried to take the name of a node, while servers have just been started.
const PATIENCE: usize = 3;

/// Partitions that are claimed or given back at a time.
const AT_A_TIME: usize = 16;

/// A host that is one of several.
#[derive(Debug)]
pub struct Node {
    shared: Arc<Shared>,
    work: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
    refresh: mpsc::UnboundedSender<oneshot::Sender<()>>,
    watching: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    connection: Connection,
    watched: Watched,
    lease: Mutex<Lease>,
    /// From which points in time are counted.
    beginning: Instant,
    /// Of the latest renewal.
    renewed: Mutex<u64>,
}

struct Work<E: RuntimeEngine + ?Sized> {
    shared: Arc<Shared>,
    host: Host<E>,
    tenants: Arc<dyn Tenants>,
    inboxes: HashMap<u16, (Arc<Claim>, OpenInbox)>,
    refreshed: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
}

impl Node {
    /// Makes the host, which was put together with this connection, one of several: it begins to
    /// own partitions, and to load what is in them.
    ///
    /// # Errors
    /// [`NatsError::NodeIsRunning`]; [`NatsError::Stream`] when NATS refuses what a node needs.
    pub async fn start<E: RuntimeEngine + ?Sized + 'static>(
        connection: Connection,
        host: Host<E>,
        tenants: Arc<dyn Tenants>,
    ) -> Result<Self, NatsError> {
        connection.roster.set(tenants.ids());
        let lease = Mutex::new(Lease::new(connection.terms));
        let shared = Arc::new(Shared {
            connection,
            watched: Watched::default(),
            lease,
            beginning: Instant::now(),
            renewed: Mutex::new(0),
        });
        shared.enter().await?;
        let mut watching = Vec::new();
        watching.push(tokio::spawn(Arc::clone(&shared).renew()));
        for what in [What::Nodes, What::Owners] {
            watching.push(tokio::spawn(Arc::clone(&shared).watch(what)));
        }
        let (telling, told) = (Arc::clone(&shared), host.clone());
        let tell = async move { telling.connection.tell_status(told).await };
        watching.push(tokio::spawn(tell));
        let (leave, left) = oneshot::channel();
        let (refresh, refreshed) = mpsc::unbounded_channel();
        let work = Work {
            shared: Arc::clone(&shared),
            host,
            tenants,
            inboxes: HashMap::new(),
            refreshed,
        };
        Ok(Self {
            shared,
            refresh,
            work: Mutex::new(Some((leave, tokio::spawn(work.run(left))))),
            watching,
        })
    }

    /// With which it was started.
    pub fn connection(&self) -> &Connection {
        &self.shared.connection
    }

    /// The partitions that it owns.
    pub fn owned(&self) -> Vec<u16> {
        let claims = self.shared.connection.claims.all();
        let held = claims.iter().filter(|claim| !claim.is_over());
        held.map(|claim| claim.partition).collect()
    }

    /// The name of the node that owns the partition of this component, if one does.
    pub fn place_of(&self, id: &ComponentId) -> Option<String> {
        let partition = self.shared.connection.claims.partition_of(id);
        self.shared.watched.places().remove(&partition)
    }

    /// Looks again which components there are: loads those that are new and in its partitions, and
    /// unloads those that are not there any more. Ends when this is done.
    pub async fn refresh(&self) {
        let (done, is_done) = oneshot::channel();
        // One that has left has nothing to do.
        if self.refresh.send(done).is_ok() {
            let _ = is_done.await;
        }
    }

    /// Gives back all partitions, once running calls have ended and what was handled is
    /// acknowledged, and leaves: the others need not wait until its lease is over.
    pub async fn leave(&self) {
        let work = self
            .work
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some((leave, work)) = work else {
            return;
        };
        let _ = leave.send(());
        // It panics if a component of the program does, which has been told of then.
        let _ = work.await;
        self.watching.iter().for_each(JoinHandle::abort);
        self.shared.exit().await;
    }
}

#[derive(Debug, Clone, Copy)]
enum What {
    Nodes,
    Owners,
}

impl Shared {
    fn now(&self) -> Duration {
        self.beginning.elapsed()
    }

    fn lease(&self) -> MutexGuard<'_, Lease> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn renewed(&self) -> MutexGuard<'_, u64> {
        self.renewed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the name of this node. If a process has it, it must have been silent for as long as
    /// a lease takes to be over.
    async fn enter(&self) -> Result<(), NatsError> {
        let Connection {
            wire,
            names,
            nodes,
            node,
            terms,
            ..
        } = &self.connection;
        let failed = |reason: String| NatsError::Stream {
            name: names.nodes_bucket(),
            reason,
        };
        let subject = names.node(node);
        let last = || async {
            let mut last = wire.last(nodes, &subject).await;
            for _ in 0..PATIENCE {
                if last.is_ok() {
                    break;
                }
                last = wire.last(nodes, &subject).await;
            }
            let last = last.map_err(|error| failed(error.to_string()))?;
            let last = last.map(|it| (it.sequence, is_deleted(&it.headers)));
            Ok::<_, NatsError>(last.unwrap_or((0, true)))
        };
        let (mut sequence, is_free) = last().await?;
        if !is_free {
            sleep(terms.silence()).await;
            let (later, is_free) = last().await?;
            if later != sequence && !is_free {
                return Err(NatsError::NodeIsRunning { node: node.clone() });
            }
            sequence = later;
        }
        *self.renewed() = sequence;
        let mut entered = self.renew_once().await;
        for _ in 0..PATIENCE {
            // One that is not confirmed may have been stored.
            if !matches!(entered, Err(PublishError::Away | PublishError::Unconfirmed)) {
                break;
            }
            self.catch_up().await;
            entered = self.renew_once().await;
        }
        match entered {
            Ok(()) => Ok(()),
            Err(PublishError::Outdated) => Err(NatsError::NodeIsRunning { node: node.clone() }),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    async fn renew_once(&self) -> Result<(), PublishError> {
        let Connection {
            wire,
            names,
            node,
            incarnation,
            ..
        } = &self.connection;
        let record = NodeRecord {
            incarnation: incarnation.clone(),
        };
        let record = serde_json::to_vec(&record).unwrap_or_default();
        let expected = *self.renewed();
        let mut headers = HeaderMap::new();
        headers.insert(
            "Nats-Expected-Last-Subject-Sequence",
            expected.to_string().as_str(),
        );
        let asked = self.now();
        let subject = names.node(node);
        let sequence = wire.publish(&subject, headers, record.into()).await?;
        *self.renewed() = sequence;
        self.lease().grant(asked);
        Ok(())
    }

    /// Renews the lease for as long as it is polled.
    async fn renew(self: Arc<Self>) {
        let terms = self.connection.terms;
        loop {
            sleep(terms.renewal()).await;
            match self.renew_once().await {
                Ok(()) => {}
                // A renewal of its own may have been stored without an answer.
                Err(PublishError::Outdated) => self.catch_up().await,
                Err(error) => tracing::warn!("the lease is not renewed: {error}"),
            }
        }
    }

    /// Learns which of its renewals was the last to be stored, unless another process has taken
    /// the name of this node.
    async fn catch_up(&self) {
        let Connection {
            wire,
            names,
            nodes,
            node,
            incarnation,
            ..
        } = &self.connection;
        let Ok(last) = wire.last(nodes, &names.node(node)).await else {
            return;
        };
        let Some(last) = last else {
            *self.renewed() = 0;
            return;
        };
        let record = serde_json::from_slice::<NodeRecord>(&last.payload);
        if record.is_ok_and(|record| record.incarnation == *incarnation) {
            *self.renewed() = last.sequence;
        } else {
            self.lease().end();
            tracing::error!("another process is the node {node} by now");
        }
    }

    /// Says that this node is gone.
    async fn exit(&self) {
        let Connection {
            wire, names, node, ..
        } = &self.connection;
        let mut headers = HeaderMap::new();
        headers.insert("KV-Operation", "DEL");
        headers.insert(
            "Nats-Expected-Last-Subject-Sequence",
            self.renewed().to_string().as_str(),
        );
        // Otherwise the others wait until its lease is over.
        let _ = wire.publish(&names.node(node), headers, Bytes::new()).await;
        let _ = timeout(FINISH, wire.client.flush()).await;
    }

    /// Follows what the others say, for as long as it is polled.
    async fn watch(self: Arc<Self>, what: What) {
        loop {
            if let Err(error) = self.watch_once(what).await {
                tracing::debug!("{what:?} cannot be watched: {error}");
            }
            sleep(LOOK).await;
        }
    }

    async fn watch_once(&self, what: What) -> Result<(), async_nats::Error> {
        let names = &self.connection.names;
        let (stream, filter): (&Stream<()>, _) = match what {
            What::Nodes => (&self.connection.nodes, names.node_subjects()),
            What::Owners => (&self.connection.data, names.owners()),
        };
        let consumer = stream.create_consumer(consumer::pull::OrderedConfig {
            deliver_policy: DeliverPolicy::LastPerSubject,
            filter_subject: filter,
            ..Default::default()
        });
        let mut messages = consumer.await?.messages().await?;
        // What a server has that is gone by now never comes. Of nodes, those are silent that do
        // not even tell of this one; of owners, all are told of again.
        let silence = match what {
            What::Nodes => self.connection.terms.length,
            What::Owners => 2 * self.connection.terms.length,
        };
        while let Ok(Some(message)) = timeout(silence, messages.next()).await {
            let message = message?;
            match what {
                What::Nodes => {
                    let Connection {
                        incarnation, terms, ..
                    } = &self.connection;
                    let now = self.now();
                    self.watched
                        .hear_of_node(&message, incarnation, *terms, now);
                }
                What::Owners => self.watched.hear_of_owner(&message, self.now()),
            }
        }
        Ok(())
    }
}

impl<E: RuntimeEngine + ?Sized + 'static> Work<E> {
    async fn run(mut self, mut left: oneshot::Receiver<()>) {
        loop {
            tokio::select! {
                _ = &mut left => break,
                Some(done) = self.refreshed.recv() => {
                    self.refresh().await;
                    let _ = done.send(());
                }
                () = self.shared.watched.changed.notified() => {}
                () = sleep(LOOK) => {}
            }
            self.give_up_lost().await;
            let (lease, now) = (*self.shared.lease(), self.shared.now());
            if !lease.is_held(now) {
                self.give_up_all().await;
                continue;
            }
            let Connection {
                claims,
                incarnation,
                terms,
                ..
            } = &self.shared.connection;
            let watched = &self.shared.watched;
            let view = watched.view(claims.partitions, incarnation, *terms, now);
            let mut plan = view.plan_with(incarnation, |it| self.inboxes.contains_key(&it));
            plan.release.truncate(AT_A_TIME);
            plan.claim.truncate(AT_A_TIME);
            self.disown(&plan.release).await;
            self.release(&plan.release).await;
            self.claim(&plan.claim).await;
        }
        let all: Vec<_> = self.inboxes.keys().copied().collect();
        self.release(&all).await;
    }

    /// Loads what is new, and unloads what is gone.
    async fn refresh(&mut self) {
        let connection = &self.shared.connection;
        let owned: Vec<_> = self.inboxes.keys().copied().collect();
        let is_owned = |it: u16| owned.contains(&it);
        let before = self.ids_in(is_owned);
        let ids = self.tenants.ids();
        let is_here = |id: &&ComponentId| is_owned(connection.claims.partition_of(id));
        let now: Vec<_> = ids.iter().filter(is_here).cloned().collect();
        let new = now.iter().filter(|id| !before.contains(id)).cloned();
        self.tenants.load(new.collect()).await;
        connection.roster.set(ids);
        let gone = before.into_iter().filter(|id| !now.contains(id));
        self.tenants.unload(gone.collect()).await;
    }

    /// Claims these, reads the timers in them, and loads and serves their components.
    async fn claim(&mut self, partitions: &[u16]) {
        if partitions.is_empty() {
            return;
        }
        let began = self.shared.now();
        let claims = partitions.iter().map(|it| self.claim_one(*it));
        let mut claimed = Vec::new();
        let outcomes = join_all(claims).await;
        let lease = *self.shared.lease();
        if !lease.is_held_since(began, self.shared.now()) {
            // Others may have taken over what was claimed. It is claimed again.
            return;
        }
        for outcome in outcomes {
            match outcome {
                Ok(Some(found)) => claimed.push(found),
                Ok(None) => {}
                Err(error) => tracing::warn!("a partition is not claimed: {error}"),
            }
        }
        if claimed.is_empty() {
            return;
        }
        let storage = &self.shared.connection.storage;
        let read = join_all(claimed.iter().map(|it| storage.read_ahead(&it.0))).await;
        if let Some(error) = read.into_iter().find_map(Result::err) {
            // Whoever needs it reads it then.
            tracing::warn!("keys are not read ahead: {error}");
        }
        for (claim, ..) in &claimed {
            self.shared.connection.claims.insert(Arc::clone(claim));
        }
        while let Err(error) = self.host.adopt_timers().await {
            tracing::warn!("timers cannot be read: {error}");
            if !self.shared.lease().is_held(self.shared.now()) {
                break;
            }
            sleep(LOOK).await;
        }
        let ids = self.ids_in(|partition| claimed.iter().any(|it| it.0.partition == partition));
        self.tenants.load(ids).await;
        for (claim, former_consumer, left) in claimed {
            let inbox = self.inbox(&claim, former_consumer, left).open();
            self.inboxes.insert(claim.partition, (claim, inbox));
        }
    }

    fn inbox(&self, claim: &Arc<Claim>, former_consumer: Option<String>, left: Desk) -> Inbox<E> {
        let connection = &self.shared.connection;
        Inbox {
            host: self.host.clone(),
            tenants: Arc::clone(&self.tenants),
            claim: Arc::clone(claim),
            wire: connection.wire.clone(),
            names: connection.names.clone(),
            stream: connection.mail.clone(),
            arrived: Arc::clone(&connection.arrived),
            node: connection.node.clone(),
            former_consumer,
            left,
        }
    }

    /// A claim of a partition, with the consumer and the desk of whoever had it before; `None`
    /// if another was first.
    async fn claim_one(
        &self,
        partition: u16,
    ) -> Result<Option<(Arc<Claim>, Option<String>, Desk)>, PublishError> {
        let connection = &self.shared.connection;
        let Connection {
            wire, names, data, ..
        } = connection;
        let (before, former) = self.shared.watched.owner(partition);
        let record = OwnerRecord {
            node: Some(connection.node.clone()),
            incarnation: Some(connection.incarnation.clone()),
            consumer: former.consumer.clone(),
        };
        let claimed = self.write_owner(partition, before, &record).await;
        let fence = match claimed {
            Err(PublishError::Outdated) => return Ok(None),
            claimed => claimed?,
        };
        let claim = Claim::new(partition, fence);
        let subject = names.desk(partition);
        let last = wire.last(data, &subject).await?;
        let left = last.as_ref().map(|it| it.payload.clone());
        let left = match left {
            Some(text) => Desk::parse(&text).unwrap_or_default(),
            None => Desk::default(),
        };
        // It is the last that anyone has written, or this fails: what answers may not know yet
        // what another server does.
        let mut headers = HeaderMap::new();
        let sequence = last.map_or(0, |it| it.sequence);
        headers.insert(
            "Nats-Expected-Last-Subject-Sequence",
            sequence.to_string().as_str(),
        );
        wire.publish(&subject, headers, left.as_text().into())
            .await?;
        Ok(Some((claim, former.consumer, left)))
    }

    async fn write_owner(
        &self,
        partition: u16,
        before: u64,
        record: &OwnerRecord,
    ) -> Result<u64, PublishError> {
        let Connection { wire, names, .. } = &self.shared.connection;
        let mut headers = HeaderMap::new();
        headers.insert(
            "Nats-Expected-Last-Subject-Sequence",
            before.to_string().as_str(),
        );
        let text = serde_json::to_vec(record).unwrap_or_default();
        let subject = names.owner(partition);
        let sequence = match wire.publish(&subject, headers, text.into()).await {
            // It may be this that was stored, and nobody was told.
            Err(PublishError::Outdated) => self.stored(&subject, before, record).await?,
            written => written?,
        };
        let (watched, now) = (&self.shared.watched, self.shared.now());
        watched.set_owner(partition, sequence, record.clone(), now);
        Ok(sequence)
    }

    /// Where this is the last record of a partition.
    async fn stored(
        &self,
        subject: &str,
        before: u64,
        record: &OwnerRecord,
    ) -> Result<u64, PublishError> {
        let Connection { wire, data, .. } = &self.shared.connection;
        let last = wire.last(data, subject).await?;
        let last = last.filter(|last| {
            last.sequence > before
                && serde_json::from_slice::<OwnerRecord>(&last.payload)
                    .is_ok_and(|last| last == *record)
        });
        last.map(|last| last.sequence).ok_or(PublishError::Outdated)
    }

    /// Gives back those of these that it is said to own and has not.
    async fn disown(&self, partitions: &[u16]) {
        for partition in partitions {
            if self.inboxes.contains_key(partition) {
                continue;
            }
            let (before, former) = self.shared.watched.owner(*partition);
            let record = OwnerRecord {
                consumer: former.consumer,
                ..OwnerRecord::default()
            };
            if let Err(error) = self.write_owner(*partition, before, &record).await {
                tracing::warn!(partition, "it is not given back: {error}");
            }
        }
    }

    /// Gives these back: unloads their components, has acknowledged what they handled, and says
    /// so.
    async fn release(&mut self, partitions: &[u16]) {
        let taken: Vec<_> = partitions
            .iter()
            .filter_map(|it| self.inboxes.remove(it))
            .collect();
        if taken.is_empty() {
            return;
        }
        let mut taken = taken;
        for (_, inbox) in &mut taken {
            inbox.stop();
        }
        let leaving = |partition| taken.iter().any(|it| it.0.partition == partition);
        self.unload(leaving).await;
        let mut claims = Vec::new();
        for (claim, inbox) in taken {
            // What is not acknowledged by then is on the desk.
            let _ = timeout(FINISH, inbox.finish()).await;
            claims.push(claim);
        }
        for claim in claims {
            claim.end();
            self.forget(&claim);
            let record = OwnerRecord {
                consumer: Some(consumer_name(&claim)),
                ..OwnerRecord::default()
            };
            let given_back = self
                .write_owner(claim.partition, claim.fence, &record)
                .await;
            if let Err(error) = given_back {
                let partition = claim.partition;
                tracing::warn!(partition, "it is not given back: {error}");
            }
        }
    }

    /// Lets go of what another node owns by now.
    async fn give_up_lost(&mut self) {
        for (partition, (claim, _)) in &self.inboxes {
            if self.shared.watched.owner(*partition).0 > claim.fence {
                tracing::warn!(partition, "another node owns it");
                claim.end();
            }
        }
        let lost: Vec<_> = self
            .inboxes
            .iter()
            .filter(|(_, (claim, _))| claim.is_over())
            .map(|(partition, _)| *partition)
            .collect();
        self.give_up(&lost).await;
    }

    /// The lease is over: others may own everything.
    async fn give_up_all(&mut self) {
        let all: Vec<_> = self.inboxes.keys().copied().collect();
        if !all.is_empty() {
            tracing::error!("the lease is not renewed: all components are stopped");
        }
        self.give_up(&all).await;
    }

    async fn give_up(&mut self, partitions: &[u16]) {
        if partitions.is_empty() {
            return;
        }
        let mut claims = Vec::new();
        for partition in partitions {
            if let Some((claim, _)) = self.inboxes.remove(partition) {
                // Nothing more begins and nothing more is written.
                claim.end();
                claims.push(claim);
            }
        }
        self.unload(|partition| partitions.contains(&partition))
            .await;
        claims.iter().for_each(|claim| self.forget(claim));
    }

    fn forget(&self, claim: &Arc<Claim>) {
        let connection = &self.shared.connection;
        connection.claims.remove(claim);
        connection.storage.forget(claim.partition);
    }

    async fn unload(&self, leaves: impl Fn(u16) -> bool) {
        let claims = &self.shared.connection.claims;
        let ids = self.ids_in(&leaves);
        self.tenants.unload(ids).await;
        let has_left = |id: &ComponentId| leaves(claims.partition_of(id));
        self.host.release_timers(has_left);
    }

    fn ids_in(&self, is_in: impl Fn(u16) -> bool) -> Vec<ComponentId> {
        let connection = &self.shared.connection;
        let roster = &connection.roster;
        roster.of(|id| is_in(connection.claims.partition_of(id)))
    }
}
