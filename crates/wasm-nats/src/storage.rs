//! What components store, in a key-value bucket.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Debug};
use std::ops::Bound;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_nats::header::HeaderMap;
use async_nats::jetstream::consumer::{self, AckPolicy, DeliverPolicy};
use async_nats::jetstream::stream::Stream;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout_at};

use wasm_core::{ComponentId, ComponentStorage, StorageError, StorageUsage};
use wasm_host::{component_of_timer, timers_owner};

use crate::claim::{Claim, Claims};
use crate::name::{Names, id_of_tokens, key_of_token, key_token};
use crate::wire::{Pause, PublishError, Wire, is_deleted, size_of};

/// Keys that are asked for at a time.
const PAGE: usize = 1_000;

/// How long a key that was deleted is still known to have been.
const MARKER: &str = "60s";

/// The server forgets a list of keys that nobody reads any more.
const FORGET: Duration = Duration::from_secs(30);

/// Keeps the data of components whose partitions this node owns. Each write is stored only if
/// that is still so.
pub(crate) struct NatsStorage {
    wire: Wire,
    names: Names,
    stream: Stream<()>,
    claims: Arc<Claims>,
    indices: std::sync::Mutex<Indices>,
}

#[derive(Debug, Default)]
struct Indices {
    of: HashMap<(u16, ComponentId), Arc<Index>>,
    /// Under which claim a partition was read as a whole: what has no index then has no keys.
    whole: HashMap<u16, u64>,
}

type MutexGuardOf<'a> = std::sync::MutexGuard<'a, Indices>;

/// What is known of the keys of one owner in a partition.
#[derive(Debug)]
struct Index {
    /// Of the claim under which it was read.
    fence: u64,
    /// `None` before they were read, and when it is not certain what was written.
    entries: Mutex<Option<Entries>>,
}

/// Sizes by keys, all that a quota is about.
#[derive(Debug, Default)]
struct Entries {
    sizes: BTreeMap<String, u64>,
    /// Of keys and values.
    bytes: u64,
}

impl Entries {
    fn insert(&mut self, key: &str, value_bytes: u64) {
        self.remove(key);
        self.bytes += key.len() as u64 + value_bytes;
        self.sizes.insert(key.to_owned(), value_bytes);
    }

    fn remove(&mut self, key: &str) {
        if let Some(value_bytes) = self.sizes.remove(key) {
            self.bytes -= key.len() as u64 + value_bytes;
        }
    }

    fn usage(&self) -> StorageUsage {
        StorageUsage::of(self.bytes, self.sizes.len() as u64)
    }

    /// With this key besides or in place of what it has.
    fn usage_with(&self, key: &str, value_bytes: u64) -> StorageUsage {
        let replaced = self.sizes.get(key).map(|old| key.len() as u64 + old);
        let others = self.bytes - replaced.unwrap_or(0);
        let keys = self.sizes.len() as u64 + u64::from(replaced.is_none());
        StorageUsage::of(others + key.len() as u64 + value_bytes, keys)
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let keys = self.sizes.range::<str, _>((start, Bound::Unbounded));
        let keys = keys.map(|(key, _)| key);
        keys.take_while(|key| key.starts_with(prefix))
            .take(limit)
            .cloned()
            .collect()
    }
}

impl NatsStorage {
    pub(crate) fn new(
        wire: Wire,
        names: Names,
        stream: Stream<()>,
        claims: Arc<Claims>,
    ) -> Arc<Self> {
        Arc::new(Self {
            wire,
            names,
            stream,
            claims,
            indices: std::sync::Mutex::default(),
        })
    }

    /// Forgets what is known of a partition.
    pub(crate) fn forget(&self, partition: u16) {
        let mut indices = self.indices();
        indices.of.retain(|(of, _), _| *of != partition);
        indices.whole.remove(&partition);
    }

    fn indices(&self) -> MutexGuardOf<'_> {
        self.indices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the keys of all owners in a partition, so that no component has to wait for that.
    pub(crate) async fn read_ahead(&self, claim: &Claim) -> Result<(), PublishError> {
        let data = self.names.data_of_partition(claim.partition);
        let keys = self.read(claim, &data).await?;
        let mut owners: HashMap<ComponentId, Entries> = HashMap::new();
        for (subject, bytes) in keys {
            if let Some((owner, key)) = subject.rsplit_once('.')
                && let (Some(owner), Some(key)) = (id_of_tokens(owner), key_of_token(key))
            {
                owners.entry(owner).or_default().insert(&key, bytes);
            }
        }
        let mut indices = self.indices();
        for (owner, entries) in owners {
            let index = Index {
                fence: claim.fence,
                entries: Mutex::new(Some(entries)),
            };
            let place = (claim.partition, owner);
            // One that is in use already knows more.
            if indices
                .of
                .get(&place)
                .is_none_or(|it| it.fence != claim.fence)
            {
                indices.of.insert(place, Arc::new(index));
            }
        }
        indices.whole.insert(claim.partition, claim.fence);
        Ok(())
    }

    /// Under which claim an owner's key is kept. The timers of a component are kept with its
    /// data, whoever owns them on this node.
    fn claim(&self, owner: &ComponentId, key: &str) -> Result<Arc<Claim>, StorageError> {
        let of = match *owner == timers_owner() {
            true => component_of_timer(key),
            false => Some(owner.clone()),
        };
        let of = of.ok_or_else(|| StorageError::InvalidKey(key.to_owned()))?;
        self.claims.of_component(&of).ok_or_else(|| not_owned(&of))
    }

    fn index(&self, claim: &Claim, owner: &ComponentId) -> Arc<Index> {
        let mut indices = self.indices();
        let place = (claim.partition, owner.clone());
        if let Some(index) = indices.of.get(&place)
            && index.fence == claim.fence
        {
            return Arc::clone(index);
        }
        let is_whole = indices.whole.get(&claim.partition) == Some(&claim.fence);
        let index = Arc::new(Index {
            fence: claim.fence,
            entries: Mutex::new(is_whole.then(Entries::default)),
        });
        indices.of.insert(place, Arc::clone(&index));
        index
    }

    /// What an owner has, which is `Some`.
    async fn entries<'i>(
        &self,
        index: &'i Index,
        claim: &Claim,
        owner: &ComponentId,
    ) -> Result<MutexGuard<'i, Option<Entries>>, StorageError> {
        let mut entries = index.entries.lock().await;
        if entries.is_none() {
            let data = self.names.data(claim.partition, owner);
            let keys = self.read(claim, &data).await;
            let keys = keys.map_err(|error| io(owner, &error))?;
            let mut read = Entries::default();
            for (token, bytes) in keys {
                if let Some(key) = key_of_token(&token) {
                    read.insert(&key, bytes);
                }
            }
            *entries = Some(read);
        }
        Ok(entries)
    }

    /// What comes after this in the subjects of a partition's data, and how many bytes each
    /// value has: all that was written before, by whatever node.
    async fn read(&self, claim: &Claim, data: &str) -> Result<Vec<(String, u64)>, PublishError> {
        let mark = self.names.mark(claim.partition);
        let marked = claim.write(
            &self.wire,
            &self.names,
            &mark,
            HeaderMap::new(),
            Bytes::new(),
        );
        let marked = marked.await?;
        let until = Instant::now() + self.wire.patience;
        let mut pause = Pause::default();
        loop {
            // A server that has not got that far is asked again.
            match timeout_at(until, self.read_once(data, &mark, marked)).await {
                Ok(Ok(Some(keys))) => return Ok(keys),
                Ok(Err(error)) if Instant::now() >= until => {
                    return Err(PublishError::Refused(error.to_string()));
                }
                Ok(Ok(None) | Err(_)) => {}
                Err(_) => return Err(PublishError::Unconfirmed),
            }
            pause.wait().await;
        }
    }

    /// `None` if the server that answers has not got as far as to the mark.
    async fn read_once(
        &self,
        data: &str,
        mark: &str,
        marked: u64,
    ) -> Result<Option<Vec<(String, u64)>>, async_nats::Error> {
        let consumer = self.stream.create_consumer(consumer::pull::Config {
            deliver_policy: DeliverPolicy::LastPerSubject,
            ack_policy: AckPolicy::None,
            filter_subjects: vec![mark.to_owned(), format!("{data}>")],
            headers_only: true,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: FORGET,
            ..Default::default()
        });
        let consumer = consumer.await?;
        let info = consumer.cached_info();
        let (name, mut left) = (info.name.clone(), info.num_pending as usize);
        let mut keys = Vec::new();
        let mut is_recent = false;
        while left > 0 {
            let page = consumer.fetch().max_messages(left.min(PAGE));
            let mut messages = page.messages().await?;
            let before = left;
            while let Some(message) = messages.next().await {
                let message = message?;
                left -= 1;
                let subject = message.subject.as_str();
                if subject == mark {
                    is_recent |= message.info()?.stream_sequence >= marked;
                } else if !message.headers.as_ref().is_some_and(is_deleted)
                    && let Some(key) = subject.strip_prefix(data)
                {
                    keys.push((key.to_owned(), size_of(&message)));
                }
            }
            if left == before {
                break;
            }
        }
        let stream = self.stream.clone();
        // It would be forgotten by itself, later.
        tokio::spawn(async move { stream.delete_consumer(&name).await });
        Ok((is_recent && left == 0).then_some(keys))
    }

    async fn write(
        &self,
        claim: &Claim,
        owner: &ComponentId,
        key: &str,
        headers: HeaderMap,
        value: Bytes,
    ) -> Result<(), PublishError> {
        let subject = self.names.data(claim.partition, owner) + &key_token(key);
        let written = claim.write(&self.wire, &self.names, &subject, headers, value);
        written.await.map(drop)
    }
}

#[async_trait]
impl ComponentStorage for NatsStorage {
    async fn get(&self, owner: &ComponentId, key: &str) -> Result<Option<Bytes>, StorageError> {
        let claim = self.claim(owner, key)?;
        let index = self.index(&claim, owner);
        {
            // Nothing that was written before is still on its way once the keys are known.
            let entries = self.entries(&index, &claim, owner).await?;
            if entries
                .as_ref()
                .is_some_and(|its| !its.sizes.contains_key(key))
            {
                return Ok(None);
            }
        }
        let subject = self.names.data(claim.partition, owner) + &key_token(key);
        let last = self.wire.last(&self.stream, &subject).await;
        let last = last.map_err(|error| io(owner, &error))?;
        Ok(last
            .filter(|message| !is_deleted(&message.headers))
            .map(|message| message.payload))
    }

    async fn set(
        &self,
        owner: &ComponentId,
        key: &str,
        value: Bytes,
        quota_bytes: u64,
    ) -> Result<(), StorageError> {
        let claim = self.claim(owner, key)?;
        let index = self.index(&claim, owner);
        let mut entries = self.entries(&index, &claim, owner).await?;
        let bytes = value.len() as u64;
        let fits = entries
            .as_ref()
            .is_some_and(|its| its.usage_with(key, bytes).used_bytes <= quota_bytes);
        if !fits {
            return Err(StorageError::QuotaExceeded);
        }
        let fits = self.wire.check_size(value.len());
        fits.map_err(|error| io(owner, &error))?;
        // Until this is known to be written or not, the entries are not known.
        let mut known = entries.take().unwrap_or_default();
        let written = self
            .write(&claim, owner, key, HeaderMap::new(), value)
            .await;
        match &written {
            Ok(()) => known.insert(key, bytes),
            Err(PublishError::Unconfirmed) => return written.map_err(|error| io(owner, &error)),
            Err(_) => {}
        }
        *entries = Some(known);
        written.map_err(|error| io(owner, &error))
    }

    async fn delete(&self, owner: &ComponentId, key: &str) -> Result<(), StorageError> {
        let claim = self.claim(owner, key)?;
        let index = self.index(&claim, owner);
        let mut entries = self.entries(&index, &claim, owner).await?;
        if entries
            .as_ref()
            .is_some_and(|its| !its.sizes.contains_key(key))
        {
            return Ok(());
        }
        let mut headers = HeaderMap::new();
        headers.insert("KV-Operation", "DEL");
        headers.insert("Nats-TTL", MARKER);
        let mut known = entries.take().unwrap_or_default();
        let written = self.write(&claim, owner, key, headers, Bytes::new()).await;
        match &written {
            Ok(()) => known.remove(key),
            Err(PublishError::Unconfirmed) => return written.map_err(|error| io(owner, &error)),
            Err(_) => {}
        }
        *entries = Some(known);
        written.map_err(|error| io(owner, &error))
    }

    async fn list_keys(
        &self,
        owner: &ComponentId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StorageError> {
        // The timers of all components of this node are in all of its partitions.
        let claims = match *owner == timers_owner() {
            true => self.claims.all(),
            false => vec![self.claim(owner, prefix)?],
        };
        let mut listed = Vec::new();
        for claim in claims {
            let index = self.index(&claim, owner);
            let entries = match self.entries(&index, &claim, owner).await {
                Ok(entries) => entries,
                // They have left this node meanwhile.
                Err(_) if *owner == timers_owner() && claim.is_over() => continue,
                Err(error) => return Err(error),
            };
            if let Some(entries) = entries.as_ref() {
                listed.extend(entries.list(prefix, after, limit));
            }
        }
        listed.sort();
        listed.truncate(limit);
        Ok(listed)
    }

    async fn usage(&self, owner: &ComponentId) -> Result<StorageUsage, StorageError> {
        let claim = self.claim(owner, "")?;
        let index = self.index(&claim, owner);
        let entries = self.entries(&index, &claim, owner).await?;
        Ok(entries.as_ref().map(Entries::usage).unwrap_or_default())
    }
}

fn not_owned(id: &ComponentId) -> StorageError {
    StorageError::Io(format!("this node does not own the data of {id}"))
}

fn io(owner: &ComponentId, error: &PublishError) -> StorageError {
    match error {
        PublishError::Outdated => not_owned(owner),
        error => StorageError::Io(error.to_string()),
    }
}

impl Debug for NatsStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsStorage").finish_non_exhaustive()
    }
}
