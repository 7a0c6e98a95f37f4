//! One of several hosts: keeps its name and its lease, and follows what the others say.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::header::HeaderMap;
use async_nats::jetstream::consumer::{self, DeliverPolicy};
use async_nats::jetstream::stream::Stream;
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use wasm_core::{ComponentId, RuntimeEngine};
use wasm_host::Host;

use crate::connect::{Connection, NatsError};
use crate::shared::Shared;
use crate::tenants::Tenants;
use crate::view::NodeRecord;
use crate::wire::{PublishError, is_deleted};
use crate::work::Work;

/// After so long it is tried again to follow the others.
const AGAIN: Duration = Duration::from_millis(100);

/// How long it takes at most to say that a node leaves.
const LEAVE: Duration = Duration::from_secs(1);

/// How often it is tried to take the name of a node, while servers have just been started.
const PATIENCE: usize = 3;

/// A host that is one of several.
#[derive(Debug)]
pub struct Node {
    shared: Arc<Shared>,
    work: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
    refresh: mpsc::UnboundedSender<oneshot::Sender<()>>,
    watching: Vec<JoinHandle<()>>,
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
        let shared = Arc::new(Shared {
            connection,
            watched: Arc::default(),
            renewed: Mutex::new(0),
            is_leaving: AtomicBool::new(false),
            is_replaced: watch::Sender::new(false),
        });
        shared.enter().await?;
        let mut watching = Vec::new();
        watching.push(tokio::spawn(Arc::clone(&shared).renew()));
        let claims = Arc::clone(&shared.connection.claims);
        watching.push(tokio::spawn(async move { claims.watch_lease().await }));
        for what in [What::Nodes, What::Owners] {
            watching.push(tokio::spawn(Arc::clone(&shared).watch(what)));
        }
        let (telling, told) = (Arc::clone(&shared), host.clone());
        let tell = async move { telling.connection.tell_status(told, &telling.watched).await };
        watching.push(tokio::spawn(tell));
        let (telling, events) = (Arc::clone(&shared), host.events());
        let tell = async move { telling.connection.tell_events(events).await };
        watching.push(tokio::spawn(tell));
        let (leave, left) = oneshot::channel();
        let (refresh, refreshed) = mpsc::unbounded_channel();
        let work = Work::new(Arc::clone(&shared), host, tenants, refreshed);
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
        claims.iter().map(|claim| claim.partition).collect()
    }

    /// Whether it owns the partition of this component.
    pub fn owns(&self, id: &ComponentId) -> bool {
        self.shared.connection.claims.has(id)
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
        if self.refresh.send(done).is_err() {
            return;
        }
        tokio::select! {
            _ = is_done => {}
            // What is sent in the moment in which it leaves is never looked at.
            () = self.refresh.closed() => {}
        }
    }

    /// Waits until another process has taken the name of this node, which may be because this one
    /// was stopped for longer than its lease. It owns nothing from then on, and should leave.
    pub async fn replaced(&self) {
        // The sender is this.
        let _ = self.shared.is_replaced.subscribe().wait_for(|it| *it).await;
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
        self.shared.is_leaving.store(true, Ordering::Relaxed);
        let _ = leave.send(());
        // Whoever does not hear of it hears of the next renewal.
        let _ = timeout(LEAVE, self.shared.say_that_it_leaves()).await;
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
            let Some(last) = last else {
                return Ok((0, None));
            };
            if is_deleted(&last.headers) {
                return Ok((last.sequence, None));
            }
            let record = serde_json::from_slice::<NodeRecord>(&last.payload);
            let its = record.map_or(*terms, |record| record.terms(*terms));
            Ok::<_, NatsError>((last.sequence, Some(its)))
        };
        let (mut sequence, former) = last().await?;
        if let Some(its) = former {
            sleep(its.silence()).await;
            let (later, former) = last().await?;
            if later != sequence && former.is_some() {
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
            lease_millis: self.connection.lease_millis(),
            is_leaving: self.is_leaving.load(Ordering::Relaxed),
            only: self.connection.only.clone(),
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
        self.tenure().grant(asked);
        Ok(())
    }

    /// Renews the lease for as long as it is polled.
    async fn renew(self: Arc<Self>) {
        let terms = self.connection.terms;
        while !*self.is_replaced.borrow() {
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
            self.tenure().end();
            tracing::error!("another process is the node {node} by now; this one owns nothing");
            self.is_replaced.send_replace(true);
        }
    }

    /// The others count on this node no more.
    async fn say_that_it_leaves(&self) {
        // A renewal that is under way at the same time may not say so.
        if self.renew_once().await == Err(PublishError::Outdated) {
            self.catch_up().await;
            let _ = self.renew_once().await;
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
        let _ = timeout(LEAVE, wire.client.flush()).await;
    }

    /// Follows what the others say, for as long as it is polled.
    async fn watch(self: Arc<Self>, what: What) {
        loop {
            if let Err(error) = self.watch_once(what).await {
                tracing::debug!("{what:?} cannot be watched: {error}");
            }
            sleep(AGAIN).await;
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
                What::Owners => {
                    let terms = self.connection.terms;
                    self.watched.hear_of_owner(&message, terms, self.now());
                }
            }
        }
        Ok(())
    }
}
