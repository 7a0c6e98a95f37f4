//! Applications that are deployed: what their components are is kept by NATS, and every node
//! loads from there what it owns.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::header::HeaderMap;
use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{self, DeliverPolicy};
use async_nats::jetstream::object_store::{self, ObjectStore};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use wasm_core::ComponentId;

use crate::connect::{Connection, NatsError};
use crate::protocol::lease::Terms;
use crate::view::NodeRecord;
use crate::wire::{PublishError, is_deleted};

/// How long an object may take.
const TRANSFER: Duration = Duration::from_secs(60);

/// How often it is looked whether all nodes have said what came of a release.
const LOOK: Duration = Duration::from_millis(50);

/// A component that is to be deployed.
#[derive(Debug, Clone)]
pub struct Part {
    /// Who it is.
    pub id: ComponentId,
    /// Its `Component.toml`.
    pub manifest: String,
    /// The component's binary.
    pub wasm: Bytes,
    /// What the file has that the manifest names as its configuration.
    pub config: Option<Bytes>,
}

/// A component of a release. Its bytes are fetched by their digests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReleasePart {
    /// Its `Component.toml`.
    pub manifest: String,
    /// Of its binary, by BLAKE3.
    pub wasm: String,
    /// Of its configuration, if that is a file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub config: Option<String>,
}

/// What an application is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Release {
    /// Larger than those of all before it.
    pub number: u64,
    /// By the ids of the components.
    pub parts: BTreeMap<ComponentId, ReleasePart>,
}

/// What came of a release on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Applied {
    /// Of the release.
    pub number: u64,
    /// What is wrong with which component, of which the version before goes on there.
    pub problems: BTreeMap<String, String>,
}

impl Applied {
    /// Of a release.
    pub fn new(number: u64) -> Self {
        Self {
            number,
            problems: BTreeMap::new(),
        }
    }
}

/// Where the bytes of what is deployed are.
#[derive(Debug, Clone)]
pub struct Objects {
    context: Context,
    bucket: String,
    replicas: usize,
}

impl Objects {
    /// What has this digest.
    ///
    /// # Errors
    /// [`NatsError::Stream`] when it is not there, or is something else.
    pub async fn fetch(&self, digest: &str) -> Result<Bytes, NatsError> {
        let store = self.store().await?;
        let fetched = timeout(TRANSFER, async {
            let mut object = store
                .get(digest)
                .await
                .map_err(|error| self.failed(&error))?;
            let mut bytes = Vec::new();
            let read = object.read_to_end(&mut bytes).await;
            read.map_err(|error| self.failed(&error))?;
            Ok::<_, NatsError>(Bytes::from(bytes))
        });
        let bytes = fetched.await.map_err(|error| self.failed(&error))??;
        if digest_of(&bytes) != digest {
            return Err(self.failed(&format!("what is called {digest} is something else")));
        }
        Ok(bytes)
    }

    async fn store(&self) -> Result<ObjectStore, NatsError> {
        if let Ok(store) = self.context.get_object_store(&self.bucket).await {
            return Ok(store);
        }
        let made = self.context.create_object_store(object_store::Config {
            bucket: self.bucket.clone(),
            num_replicas: self.replicas,
            ..Default::default()
        });
        made.await.map_err(|error| self.failed(&error))
    }

    fn failed(&self, reason: &dyn ToString) -> NatsError {
        NatsError::Stream {
            name: self.bucket.clone(),
            reason: reason.to_string(),
        }
    }
}

/// Where the release is that counts, and that before it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Pointer {
    number: u64,
    list: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    before: Option<String>,
    /// Of who has pointed: it is known by this whether that was stored which was not confirmed.
    #[serde(default)]
    by: String,
}

impl Connection {
    /// Deploys these components in place of all that there are: their number, once NATS has
    /// everything. What a node makes of it, [`outcome`](Self::outcome) tells.
    ///
    /// # Errors
    /// [`NatsError::Stream`] when something is not stored; then nothing has changed. So it is
    /// when somebody else deploys at the same time.
    pub async fn deploy(&self, parts: Vec<Part>) -> Result<u64, NatsError> {
        let store = self.objects().store().await?;
        let mut list = BTreeMap::new();
        for part in parts {
            let wasm = self.put(&store, &part.wasm).await?;
            let config = match &part.config {
                Some(bytes) => Some(self.put(&store, bytes).await?),
                None => None,
            };
            let manifest = part.manifest;
            let stored = ReleasePart {
                manifest,
                wasm,
                config,
            };
            list.insert(part.id.to_string(), stored);
        }
        let list = serde_json::to_vec(&list).map_err(|error| self.failed(&error))?;
        let list = self.put(&store, &list.into()).await?;
        let (sequence, pointer) = self.pointer().await?;
        let pointer = Pointer {
            number: pointer.number + 1,
            list,
            before: Some(pointer.list).filter(|it| !it.is_empty()),
            by: self.incarnation.clone(),
        };
        self.point(sequence, &pointer).await
    }

    /// Deploys what was deployed before the release that counts; `None` if nothing was.
    ///
    /// # Errors
    /// As [`deploy`](Self::deploy).
    pub async fn roll_back(&self) -> Result<Option<u64>, NatsError> {
        let (sequence, pointer) = self.pointer().await?;
        let Some(before) = pointer.before else {
            return Ok(None);
        };
        let pointer = Pointer {
            number: pointer.number + 1,
            list: before,
            before: Some(pointer.list),
            by: self.incarnation.clone(),
        };
        self.point(sequence, &pointer).await.map(Some)
    }

    /// The release that counts; without components before anything was deployed.
    ///
    /// # Errors
    /// [`NatsError::Stream`] when it cannot be read.
    pub async fn release(&self) -> Result<Release, NatsError> {
        let (_, pointer) = self.pointer().await?;
        self.read_release(pointer.number, &pointer.list).await
    }

    /// The one before it, from which a node takes what it cannot have of the other.
    ///
    /// # Errors
    /// [`NatsError::Stream`] when it cannot be read.
    pub async fn release_before(&self) -> Result<Release, NatsError> {
        let (_, pointer) = self.pointer().await?;
        let before = pointer.before.unwrap_or_default();
        self.read_release(pointer.number.saturating_sub(1), &before)
            .await
    }

    async fn read_release(&self, number: u64, list: &str) -> Result<Release, NatsError> {
        if list.is_empty() {
            return Ok(Release::default());
        }
        let list = self.objects().fetch(list).await?;
        let list: BTreeMap<String, ReleasePart> =
            serde_json::from_slice(&list).map_err(|error| self.failed(&error))?;
        let parts = list.into_iter();
        let parts = parts.filter_map(|(id, part)| Some((id.parse().ok()?, part)));
        Ok(Release {
            number,
            parts: parts.collect(),
        })
    }

    /// Where what is deployed is fetched from, for those who do so at any time.
    pub fn objects(&self) -> Objects {
        Objects {
            context: self.context.clone(),
            bucket: self.names.code_bucket(),
            replicas: self.replicas,
        }
    }

    /// Tells the number of the release that counts whenever it is another, until what is
    /// returned is dropped.
    pub fn releases(&self) -> watch::Receiver<u64> {
        let (tell, told) = watch::channel(0);
        let (stream, subject) = (self.data.clone(), self.names.release());
        tokio::spawn(async move {
            while !tell.is_closed() {
                let consumer = stream.create_consumer(consumer::pull::OrderedConfig {
                    deliver_policy: DeliverPolicy::LastPerSubject,
                    filter_subject: subject.clone(),
                    ..Default::default()
                });
                if let Ok(consumer) = consumer.await
                    && let Ok(mut messages) = consumer.messages().await
                {
                    loop {
                        let message = tokio::select! {
                            message = messages.next() => message,
                            () = tell.closed() => return,
                        };
                        let Some(Ok(message)) = message else {
                            break;
                        };
                        if let Ok(pointer) = serde_json::from_slice::<Pointer>(&message.payload) {
                            tell.send_replace(pointer.number);
                        }
                    }
                }
                sleep(LOOK).await;
            }
        });
        told
    }

    /// Says what came of a release on this node.
    ///
    /// # Errors
    /// [`NatsError::Stream`] when this is not stored.
    pub async fn say_applied(&self, applied: &Applied) -> Result<(), NatsError> {
        let text = serde_json::to_vec(applied).map_err(|error| self.failed(&error))?;
        let subject = self.names.applied(&self.node);
        let mut headers = HeaderMap::new();
        // One that is confirmed late does not take the place of what was said since.
        let number = self.said.fetch_add(1, Ordering::Relaxed);
        let id = format!("applied-{}-{number}", self.incarnation);
        headers.insert("Nats-Msg-Id", id.as_str());
        let said = self.wire.publish(&subject, headers, text.into()).await;
        said.map(drop).map_err(|error| self.failed(&error))
    }

    /// What came of a release, by the names of the nodes that are there; waits for those that
    /// have not said so yet, for so long. `None` for those that have not by then.
    ///
    /// # Errors
    /// [`NatsError::Stream`] when this cannot be read.
    pub async fn outcome(
        &self,
        number: u64,
        within: Duration,
    ) -> Result<BTreeMap<String, Option<Applied>>, NatsError> {
        let until = Instant::now() + within;
        let mut heard: BTreeMap<String, (u64, Instant)> = BTreeMap::new();
        loop {
            let mut outcome = BTreeMap::new();
            for (node, renewed, terms) in self.leases().await? {
                let last = self.wire.last(&self.data, &self.names.applied(&node)).await;
                let last = last.map_err(|error| self.failed(&error))?;
                let applied = last.and_then(|it| serde_json::from_slice(&it.payload).ok());
                let applied = applied.filter(|it: &Applied| it.number >= number);
                let known = heard
                    .entry(node.clone())
                    .or_insert((renewed, Instant::now()));
                if known.0 != renewed {
                    *known = (renewed, Instant::now());
                }
                // One that has died is not waited for.
                if applied.is_some() || known.1.elapsed() < terms.silence() {
                    outcome.insert(node, applied);
                }
            }
            if outcome.values().all(Option::is_some) || Instant::now() >= until {
                return Ok(outcome);
            }
            sleep(LOOK).await;
        }
    }

    /// The names of nodes that have not left; some may have died.
    pub(crate) async fn nodes_there(&self) -> Result<Vec<String>, NatsError> {
        let leases = self.leases().await?;
        Ok(leases.into_iter().map(|(node, ..)| node).collect())
    }

    /// The nodes that have not left, with where the latest renewal of each is and how long its
    /// lease is.
    async fn leases(&self) -> Result<Vec<(String, u64, Terms)>, NatsError> {
        let subjects = self.names.node_subjects();
        let (mut nodes, mut from) = (Vec::new(), 1);
        loop {
            let next = self.wire.next(&self.nodes, &subjects, from).await;
            let Some(next) = next.map_err(|error| self.failed(&error))? else {
                return Ok(nodes);
            };
            from = next.sequence + 1;
            if let Ok(record) = serde_json::from_slice::<NodeRecord>(&next.payload)
                && !is_deleted(&next.headers)
                && let Some(node) = next.subject.rsplit('.').next()
            {
                nodes.push((node.to_owned(), next.sequence, record.terms(self.terms)));
            }
        }
    }

    /// Stores this under its digest, unless it is there.
    async fn put(&self, store: &ObjectStore, bytes: &Bytes) -> Result<String, NatsError> {
        let digest = digest_of(bytes);
        if store.info(&digest).await.is_ok_and(|info| !info.deleted) {
            return Ok(digest);
        }
        let put = timeout(TRANSFER, store.put(digest.as_str(), &mut bytes.as_ref())).await;
        let put = put.map_err(|error| self.failed(&error))?;
        put.map_err(|error| self.failed(&error))?;
        Ok(digest)
    }

    async fn pointer(&self) -> Result<(u64, Pointer), NatsError> {
        let last = self.wire.last(&self.data, &self.names.release()).await;
        let last = last.map_err(|error| self.failed(&error))?;
        let pointer = last.map(|last| {
            let pointer = serde_json::from_slice(&last.payload);
            // What cannot be read does not count as nothing, which would unload everything.
            let reason = |error| format!("`{}`: {error}", self.names.release());
            let pointer = pointer.map_err(|error| self.failed(&reason(error)))?;
            Ok::<_, NatsError>((last.sequence, pointer))
        });
        Ok(pointer.transpose()?.unwrap_or_default())
    }

    async fn point(&self, before: u64, pointer: &Pointer) -> Result<u64, NatsError> {
        let mut headers = HeaderMap::new();
        headers.insert(
            "Nats-Expected-Last-Subject-Sequence",
            before.to_string().as_str(),
        );
        let text = serde_json::to_vec(pointer).map_err(|error| self.failed(&error))?;
        let subject = self.names.release();
        match self.wire.publish(&subject, headers, text.into()).await {
            Ok(_) => Ok(pointer.number),
            Err(PublishError::Outdated) => {
                // It may be this that was stored, and nobody was told.
                let (_, last) = self.pointer().await?;
                if (&last.by, last.number) == (&pointer.by, pointer.number) {
                    return Ok(pointer.number);
                }
                Err(self.failed(&"somebody else deploys at the same time"))
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn failed(&self, reason: &dyn ToString) -> NatsError {
        NatsError::Stream {
            name: self.names.code_bucket(),
            reason: reason.to_string(),
        }
    }
}

fn digest_of(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}
