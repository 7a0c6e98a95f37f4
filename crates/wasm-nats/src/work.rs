//! What a node decides again and again: which partitions it claims and which it gives back.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_nats::header::HeaderMap;
use futures_util::future::join_all;
use tokio::sync::{RwLock, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use wasm_core::{ComponentId, RuntimeEngine};
use wasm_host::Host;

use crate::claim::Claim;
use crate::connect::Connection;
use crate::homeless::Homeless;
use crate::partition::{Former, Going, Partition, write_owner};
use crate::protocol::balance::Plan;
use crate::protocol::desk::Desk;
use crate::shared::Shared;
use crate::tenants::Tenants;
use crate::view::OwnerRecord;
use crate::wire::PublishError;

/// How often a node looks whether there is something to decide.
const LOOK: Duration = Duration::from_millis(100);

/// Partitions that are claimed or given back at a time.
const AT_A_TIME: usize = 16;

/// After so long it is tried again to claim a partition that could not be.
const AGAIN: Duration = Duration::from_secs(1);

/// What became of a claim; `None` if another was first.
type Claimed = Result<Option<(Arc<Claim>, Former)>, PublishError>;

pub(crate) struct Work<E: RuntimeEngine + ?Sized> {
    shared: Arc<Shared>,
    host: Host<E>,
    tenants: Arc<dyn Tenants>,
    held: HashMap<u16, Held>,
    /// Those that it owned, as long as not all of their components are unloaded.
    leaving: Arc<std::sync::Mutex<BTreeSet<u16>>>,
    /// What becomes of each partition, one task for each.
    stays: JoinSet<()>,
    /// Held by whoever changes which components there are, against those that load them.
    changing: Arc<RwLock<()>>,
    /// Not to be claimed before.
    refused: HashMap<u16, Instant>,
    refreshed: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
    homeless: Homeless,
}

struct Held {
    claim: Arc<Claim>,
    go: oneshot::Sender<Going>,
}

impl<E: RuntimeEngine + ?Sized + 'static> Work<E> {
    pub(crate) fn new(
        shared: Arc<Shared>,
        host: Host<E>,
        tenants: Arc<dyn Tenants>,
        refreshed: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
    ) -> Self {
        Self {
            shared,
            host,
            tenants,
            held: HashMap::new(),
            leaving: Arc::default(),
            stays: JoinSet::new(),
            changing: Arc::default(),
            refused: HashMap::new(),
            refreshed,
            homeless: Homeless::default(),
        }
    }

    /// Until it is to leave; ends once everything is given back.
    pub(crate) async fn run(mut self, mut left: oneshot::Receiver<()>) {
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
            // One that has panicked is done, too.
            while self.stays.try_join_next().is_some() {}
            self.give_up_lost();
            if !self.shared.tenure().is_held() {
                continue;
            }
            let plan = self.plan();
            self.disown(&plan.release).await;
            self.send_off(&plan.release, Going::GivenBack);
            self.claim(&plan.claim).await;
        }
        let all: Vec<_> = self.held.keys().copied().collect();
        self.send_off(&all, Going::GivenBack);
        while self.stays.join_next().await.is_some() {}
    }

    /// What is to be done now, without what is under way.
    fn plan(&mut self) -> Plan {
        let connection = &self.shared.connection;
        let view = connection.view(&self.shared.watched);
        self.homeless.look(&view, connection, self.shared.now());
        let leaving = self
            .leaving
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let has = |it| self.held.contains_key(&it) || leaving.contains(&it);
        let mut plan = view.plan_with(&connection.incarnation, has);
        let now = Instant::now();
        self.refused.retain(|_, until| *until > now);
        plan.release.retain(|it| !leaving.contains(it));
        plan.claim
            .retain(|it| !leaving.contains(it) && !self.refused.contains_key(it));
        plan.release.truncate(AT_A_TIME);
        plan.claim.truncate(AT_A_TIME);
        plan
    }

    /// Loads what is new, and unloads what is gone.
    async fn refresh(&mut self) {
        let changing = Arc::clone(&self.changing);
        let _turn = changing.write().await;
        let connection = &self.shared.connection;
        let is_owned = |id: &ComponentId| {
            let partition = connection.claims.partition_of(id);
            self.held.contains_key(&partition)
        };
        let before: HashSet<_> = connection.roster.of(is_owned).into_iter().collect();
        let ids = self.tenants.ids();
        let now: HashSet<_> = ids.iter().filter(|id| is_owned(id)).cloned().collect();
        let mut new: HashSet<_> = now.difference(&before).cloned().collect();
        let missing = self.tenants.missing().into_iter();
        new.extend(missing.filter(|id| now.contains(id)));
        let new = new.into_iter().collect();
        self.tenants.load(new).await;
        connection.roster.set(ids);
        let gone = before.difference(&now);
        let gone = gone.map(|id| self.tenants.unload(vec![id.clone()]));
        join_all(gone).await;
    }

    /// Claims these, and has their components come.
    async fn claim(&mut self, partitions: &[u16]) {
        if partitions.is_empty() {
            return;
        }
        let since = self.shared.now();
        let claims = partitions.iter().map(|it| self.claim_one(*it, since));
        let outcomes = join_all(claims).await;
        for (partition, outcome) in partitions.iter().zip(outcomes) {
            match outcome {
                // Others may have taken over what was claimed. It is claimed again.
                Ok(Some((claim, _))) if claim.is_over() => {}
                Ok(Some((claim, former))) => self.begin(claim, former),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(partition, "it is not claimed: {error}");
                    self.refused.insert(*partition, Instant::now() + AGAIN);
                }
            }
        }
    }

    fn begin(&mut self, claim: Arc<Claim>, former: Former) {
        let (go, goes) = oneshot::channel();
        let partition = Partition {
            shared: Arc::clone(&self.shared),
            host: self.host.clone(),
            tenants: Arc::clone(&self.tenants),
            changing: Arc::clone(&self.changing),
            leaving: Arc::clone(&self.leaving),
            claim: Arc::clone(&claim),
        };
        self.stays.spawn(partition.stay(former, goes));
        self.held.insert(claim.partition, Held { claim, go });
    }

    /// A claim of a partition, with what whoever had it before has left; `None` if another was
    /// first.
    async fn claim_one(&self, partition: u16, since: Duration) -> Claimed {
        let connection = &self.shared.connection;
        let Connection {
            wire,
            names,
            data,
            claims,
            ..
        } = connection;
        let (before, former) = self.shared.watched.owner(partition);
        let record = OwnerRecord {
            node: Some(connection.node.clone()),
            incarnation: Some(connection.incarnation.clone()),
            lease_millis: connection.lease_millis(),
            consumer: former.consumer.clone(),
        };
        let claimed = write_owner(&self.shared, partition, before, &record).await;
        let fence = match claimed {
            Err(PublishError::Outdated) => return Ok(None),
            claimed => claimed?,
        };
        let claim = Claim::new(partition, fence, &claims.tenure, since);
        let subject = names.desk(partition);
        let last = wire.last(data, &subject).await?;
        let left = match &last {
            // What it says began to be handled must not be handled again.
            Some(last) => Desk::parse(&last.payload).ok_or_else(|| {
                PublishError::Refused(format!(
                    "`{subject}` is no list of places; whoever has written it must write it anew"
                ))
            })?,
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
        let consumer = former.consumer;
        Ok(Some((claim, Former { consumer, left })))
    }

    /// Gives back those of these that it is said to own and has not.
    async fn disown(&self, partitions: &[u16]) {
        let not_held = partitions.iter().filter(|it| !self.held.contains_key(it));
        let disowned = not_held.map(async |partition| {
            let (before, former) = self.shared.watched.owner(*partition);
            let record = OwnerRecord {
                consumer: former.consumer,
                ..OwnerRecord::default()
            };
            let given_back = write_owner(&self.shared, *partition, before, &record).await;
            if let Err(error) = given_back {
                tracing::warn!(partition, "it is not given back: {error}");
            }
        });
        join_all(disowned).await;
    }

    /// Has the components of these go, which nobody waits for here.
    fn send_off(&mut self, partitions: &[u16], how: Going) {
        for partition in partitions {
            if let Some(held) = self.held.remove(partition) {
                let mut leaving = self
                    .leaving
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                leaving.insert(*partition);
                // One whose task has panicked has nothing to do any more.
                if held.go.send(how).is_err() {
                    leaving.remove(partition);
                }
            }
        }
    }

    /// Lets go of what another node owns by now, or may own.
    fn give_up_lost(&mut self) {
        for (partition, held) in &self.held {
            let (last, _) = self.shared.watched.owner(*partition);
            if last > held.claim.fence && !held.claim.is_over() {
                tracing::warn!(
                    partition,
                    "it is another node's, which has written that it is"
                );
                held.claim.end();
            }
        }
        // A task that has panicked, over a component of the program, has nothing to go on with.
        for held in self.held.values().filter(|held| held.go.is_closed()) {
            held.claim.end();
            self.shared.connection.claims.remove(&held.claim);
        }
        let over = self.held.iter().filter(|(_, held)| held.claim.is_over());
        let lost: Vec<_> = over.map(|(partition, _)| *partition).collect();
        if !lost.is_empty() && !self.shared.tenure().is_held() {
            let partitions = lost.len();
            tracing::error!(
                partitions,
                "the lease is not renewed: components are given nothing more, and unloaded"
            );
        }
        self.send_off(&lost, Going::Lost);
    }
}
