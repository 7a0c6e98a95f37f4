//! A node's connection: the streams and buckets of its application, which are made if they are
//! not there, and what a host is put together with.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Debug};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{self, DiscardPolicy, RetentionPolicy, Stream};
use async_nats::jetstream::{self, Context, ErrorCode};
use async_nats::{Client, ConnectOptions};
use thiserror::Error;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use wasm_core::text::{EscapedPath, MARK, without_mark};
use wasm_core::{ComponentId, ComponentPattern, ComponentStorage};
use wasm_host::{Carrier, HostBuilder, open_regular_file, read_bounded};

use crate::address;
use crate::answers::Answers;
use crate::carrier::{Arrived, NatsCarrier};
use crate::claim::Claims;
use crate::division::{Division, InvalidPins, apart};
use crate::heard::Listeners;
use crate::name::{InvalidName, Names, check_name};
use crate::protocol::lease::{LENGTHS, Terms};
use crate::room::Room;
use crate::roster::{Everyone, Roster};
use crate::sent::Sent;
use crate::storage::NatsStorage;
use crate::tenure::Tenure;
use crate::view::OwnerRecord;
use crate::wire::Wire;

/// How long a server may take to answer at the beginning.
const BEGINNING: Duration = Duration::from_secs(10);

/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(200);

/// How long the streams know a message that they are given a second time, and at least how long
/// an owner does.
pub(crate) const DUPLICATES: Duration = Duration::from_secs(120);

/// Where the stream of the data says into how many partitions components are divided.
const PARTITIONS: &str = "partitions";

/// Where it says which patterns have partitions of their own, with spaces between them.
const PINNED: &str = "pinned";

/// A file of credentials or certificates that has more is something else.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Dead letters that are kept of one recipient, and of all.
const DEAD_OF_ONE: i64 = 1_000;
const DEAD: i64 = 100_000;

/// Where NATS is and what a node is called there.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NatsConfig {
    /// Addresses of servers, with commas between them; who logs in is named as in
    /// `nats://user:password@host`, unless there are credentials.
    pub url: String,
    /// The name of this node, which no other has.
    pub node: String,
    /// With which all streams, buckets and subjects begin: applications of different names know
    /// nothing of each other.
    pub app: String,
    /// A file with a user's credentials.
    pub credentials: Option<PathBuf>,
    /// Certificates of whoever signed those of the servers, in place of the system's.
    pub tls_ca: Option<PathBuf>,
    /// Into how many parts the components are divided, which must be more than there are nodes;
    /// as the first node says, whatever others do.
    pub partitions: u16,
    /// The components that a node may be there for alone, which have partitions of their own, a
    /// quarter as many for each pattern: when it is used first, like the number of partitions.
    /// No component may match two patterns.
    pub pinned: Vec<ComponentPattern>,
    /// Patterns, of those above, whose components this node owns, and no others; any components
    /// if there are none. Nodes that name a pattern come before those that do not.
    pub only: Vec<ComponentPattern>,
    /// How long a node may not be heard of before others take over: from 1 second to 5 minutes.
    pub lease: Duration,
    /// On how many servers everything is stored.
    pub replicas: usize,
    /// How many messages may wait for one component in the stream.
    pub max_waiting: i64,
    /// How many bytes all messages that wait may have in the stream, which the servers keep free
    /// for them; dead letters have a quarter of that besides, of which older ones go.
    pub max_waiting_bytes: i64,
    /// Whether streams and buckets that are not there are made.
    pub is_making: bool,
    /// How long sends and storage calls try while NATS does not answer.
    pub patience: Duration,
}

impl NatsConfig {
    /// Of the application `wasm`, in 64 partitions on one server each, with a lease of 5 s, room
    /// for 1,024 waiting messages of a component and 256 MiB of all, and a patience of 3 s.
    pub fn new(url: impl Into<String>, node: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            node: node.into(),
            app: "wasm".to_owned(),
            credentials: None,
            tls_ca: None,
            partitions: 64,
            pinned: Vec::new(),
            only: Vec::new(),
            lease: Duration::from_secs(5),
            replicas: 1,
            max_waiting: 1_024,
            max_waiting_bytes: 256 << 20,
            is_making: true,
            patience: Duration::from_secs(3),
        }
    }

    /// Checks what needs no connection.
    ///
    /// # Errors
    /// [`NatsError::Name`], [`NatsError::Pins`], [`NatsError::Lease`].
    pub fn check(&self) -> Result<(), NatsError> {
        check_name("the node", &self.node)?;
        check_name("the application", &self.app)?;
        self.all_pinned()?;
        match LENGTHS.contains(&self.lease) {
            true => Ok(()),
            false => Err(NatsError::Lease { found: self.lease }),
        }
    }

    /// What has partitions of its own if this is used first.
    fn all_pinned(&self) -> Result<Vec<ComponentPattern>, InvalidPins> {
        apart(self.pinned.iter().chain(&self.only))
    }
}

/// Why there is no node.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NatsError {
    /// A name that cannot be a part of a subject.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// Components cannot be divided between nodes like this.
    #[error(transparent)]
    Pins(#[from] InvalidPins),
    /// A lease that is too short to be renewed, or too long to wait for.
    #[error("a lease of {found:?}; it may be from 1 s to 5 min long (`--lease`)")]
    Lease {
        /// How long it should be.
        found: Duration,
    },
    /// The file of credentials cannot be read or has none.
    #[error("the credentials in {}: {reason} (`--creds`)", EscapedPath(path))]
    Credentials {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file of certificates cannot be read or has none.
    #[error("the certificates in {}: {reason} (`--nats-ca`)", EscapedPath(path))]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No server answers, or it refuses.
    #[error("no connection to NATS at {url}: {reason}")]
    Connect {
        /// Where.
        url: String,
        /// Why not.
        reason: String,
    },
    /// A stream or bucket is not as it must be, or may not be made.
    #[error("{name} on NATS: {reason}")]
    Stream {
        /// Which.
        name: String,
        /// Why not.
        reason: String,
    },
    /// Another process with this name is alive.
    #[error("a node {node} is running already; each has a name of its own (`--node`)")]
    NodeIsRunning {
        /// Its name.
        node: String,
    },
}

/// What a host is put together with, before it is one of several.
pub struct Connection {
    pub(crate) wire: Wire,
    pub(crate) context: Context,
    pub(crate) replicas: usize,
    pub(crate) names: Names,
    pub(crate) node: String,
    pub(crate) incarnation: String,
    pub(crate) terms: Terms,
    /// The patterns of which this node owns components, unless it owns whatever there is.
    pub(crate) only: Vec<String>,
    pub(crate) room: Room,
    /// How often this node has said what came of a release.
    pub(crate) said: AtomicU64,
    pub(crate) claims: Arc<Claims>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) arrived: Arc<Arrived>,
    pub(crate) storage: Arc<NatsStorage>,
    pub(crate) mail: Stream<()>,
    pub(crate) data: Stream<()>,
    pub(crate) nodes: Stream<()>,
    pub(crate) dead: Stream<()>,
    pub(crate) listeners: Listeners,
    carrier: Arc<NatsCarrier>,
}

impl Connection {
    /// Connects, and makes the streams and buckets that are not there.
    ///
    /// # Errors
    /// [`NatsError`], within ten seconds for each thing that a server is asked for.
    pub async fn open(config: NatsConfig) -> Result<Self, NatsError> {
        config.check()?;
        let pinned = config.all_pinned()?;
        let names = Names::new(&config.app)?;
        let client = connect(&config, &names).await?;
        let context = jetstream::new(client.clone());
        let is_making = config.is_making;
        let mail = have(&context, mail_stream(&names, &config), is_making).await?;
        let data = have(&context, data_stream(&names, &config, &pinned), is_making).await?;
        let nodes = have(&context, nodes_stream(&names, &config), is_making).await?;
        let dead = have(&context, dead_stream(&names, &config), is_making).await?;
        let wire = Wire {
            client: client.clone(),
            patience: config.patience,
        };
        let incarnation = unique(&client);
        let (division, replicas) = as_made(&data, &config, pinned).await?;
        division.check_only(&config.only)?;
        let terms = Terms {
            length: config.lease,
        };
        let claims = Arc::new(Claims::new(division, Tenure::new(terms)));
        let answers = Arc::new(Answers::default());
        let subject = names.answers(&incarnation);
        let listening = client.subscribe(subject).await;
        let listening = listening.map_err(|error| not_connected(&config.url, &error))?;
        tokio::spawn(Arc::clone(&answers).listen(listening));
        let (roster, arrived) = (Arc::new(Roster::default()), Arc::new(Arrived::default()));
        let carrier = Arc::new(NatsCarrier {
            wire: wire.clone(),
            names: names.clone(),
            incarnation: incarnation.clone(),
            claims: Arc::clone(&claims),
            answers,
            roster: Arc::clone(&roster),
            sent: Sent::default(),
            arrived: Arc::clone(&arrived),
            numbers: Mutex::default(),
        });
        let storage = NatsStorage::new(
            wire.clone(),
            names.clone(),
            data.clone(),
            Arc::clone(&claims),
        );
        Ok(Self {
            wire,
            context,
            replicas,
            names,
            node: config.node,
            incarnation,
            terms,
            only: config.only.iter().map(ToString::to_string).collect(),
            room: Room::default(),
            said: AtomicU64::new(0),
            claims,
            roster,
            arrived,
            storage,
            mail,
            data,
            nodes,
            dead,
            listeners: Listeners::default(),
            carrier,
        })
    }

    /// For [`HostBuilder::with_carrier`](wasm_host::HostBuilder::with_carrier).
    pub fn carrier(&self) -> Arc<dyn Carrier> {
        Arc::clone(&self.carrier) as Arc<_>
    }

    /// Into how many parts the components are divided, as whoever was first has said; without
    /// those of patterns.
    pub fn partitions(&self) -> u16 {
        self.claims.division.partitions
    }

    /// The patterns whose components have partitions of their own, as whoever was first has said.
    pub fn pinned(&self) -> &[ComponentPattern] {
        &self.claims.division.pinned
    }

    /// On how many servers everything is stored, as whoever was first has said.
    pub fn replicas(&self) -> usize {
        self.replicas
    }

    pub(crate) fn lease_millis(&self) -> u64 {
        u64::try_from(self.terms.length.as_millis()).unwrap_or(u64::MAX)
    }

    /// Says which components there are, for a host that sends to them and has none itself.
    pub fn know(&self, ids: impl IntoIterator<Item = ComponentId>) {
        self.roster.set(ids);
    }

    /// The names of the nodes that own partitions.
    ///
    /// # Errors
    /// [`NatsError::Stream`] when this cannot be read.
    pub async fn owners(&self) -> Result<BTreeMap<u16, String>, NatsError> {
        let mut owners = BTreeMap::new();
        for partition in 0..self.claims.division.count() {
            let last = self
                .wire
                .last(&self.data, &self.names.owner(partition))
                .await;
            let last = last.map_err(|error| NatsError::Stream {
                name: self.names.data_bucket(),
                reason: error.to_string(),
            })?;
            let record =
                last.and_then(|it| serde_json::from_slice::<OwnerRecord>(&it.payload).ok());
            if let Some(node) = record.and_then(|record| record.node) {
                owners.insert(partition, node);
            }
        }
        Ok(owners)
    }

    /// A host that is put together with what this connection gives it.
    #[must_use]
    pub fn build(&self, builder: HostBuilder) -> HostBuilder {
        let roster = Arc::clone(&self.roster);
        builder
            .with_carrier(self.carrier())
            .with_storage(self.storage())
            .with_directory(|here| Arc::new(Everyone { roster, here }))
    }

    /// For [`HostBuilder::with_storage`](wasm_host::HostBuilder::with_storage).
    pub fn storage(&self) -> Arc<dyn ComponentStorage> {
        Arc::clone(&self.storage) as Arc<_>
    }
}

async fn connect(config: &NatsConfig, names: &Names) -> Result<Client, NatsError> {
    let url = &config.url;
    let addresses = address::parse(url).map_err(|error| not_connected(url, &error))?;
    let mut options = ConnectOptions::new()
        .name(format!("airssys-wasm {}/{}", config.app, config.node))
        .custom_inbox_prefix(names.inboxes())
        .request_timeout(Some(config.patience));
    options = match &config.credentials {
        Some(path) => {
            with_credentials(options, path)
                .await
                .map_err(|reason| NatsError::Credentials {
                    path: path.clone(),
                    reason,
                })?
        }
        None => address::log_in(options, &addresses),
    };
    if let Some(path) = &config.tls_ca {
        check_certificates(path)
            .await
            .map_err(|reason| NatsError::Certificates {
                path: path.clone(),
                reason,
            })?;
        options = options
            .add_root_certificates(path.clone())
            .require_tls(true);
    }
    match timeout(BEGINNING, options.connect(addresses)).await {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(error)) => Err(not_connected(url, &error)),
        Err(_) => Err(not_connected(url, &"it does not answer")),
    }
}

async fn with_credentials(options: ConnectOptions, path: &Path) -> Result<ConnectOptions, String> {
    let text = String::from_utf8(without_mark(read(path).await?));
    let text = text.map_err(|_| "it is not UTF-8 text")?;
    options
        .credentials(&text)
        .map_err(|error| error.to_string())
}

/// The client reads them itself whenever it connects, whatever is there and however much, and
/// finds none behind a byte order mark.
async fn check_certificates(path: &Path) -> Result<(), String> {
    let content = read(path).await?;
    if content.starts_with(MARK) {
        return Err("there is a byte order mark before them, which is to be taken out".to_owned());
    }
    let mut lines = content.split(|byte| b"\r\n".contains(byte));
    match lines.any(|line| line.starts_with(b"-----BEGIN CERTIFICATE-----")) {
        true => Ok(()),
        false => Err("there is no certificate in PEM in it".to_owned()),
    }
}

/// A regular file; nothing else is waited for.
async fn read(path: &Path) -> Result<Vec<u8>, String> {
    let path = path.to_owned();
    let read = spawn_blocking(move || {
        open_regular_file(&path).and_then(|file| read_bounded(file, MAX_FILE_BYTES))
    });
    let content = read.await.map_err(|error| error.to_string())?;
    content.map_err(|error| error.to_string())
}

fn not_connected(url: &str, reason: &dyn ToString) -> NatsError {
    NatsError::Connect {
        url: address::shown(url),
        reason: reason.to_string(),
    }
}

/// Into how many parts components are divided and on how many servers everything is, as the first
/// node has said.
async fn as_made(
    data: &Stream<()>,
    config: &NatsConfig,
    pinned: Vec<ComponentPattern>,
) -> Result<(Division, usize), NatsError> {
    let info = data.get_info().await.map_err(|error| NatsError::Stream {
        name: config.app.clone(),
        reason: error.to_string(),
    })?;
    let metadata = &info.config.metadata;
    let said = metadata.get(PARTITIONS).and_then(|said| said.parse().ok());
    let division = match said {
        Some(partitions) => Division::new(partitions, said_pinned(metadata, config)?),
        None => Division::new(config.partitions, pinned),
    };
    Ok((division, info.config.num_replicas))
}

/// The patterns that have partitions of their own. One that cannot be read is not left out: its
/// components would be in other partitions than for other nodes.
fn said_pinned(
    metadata: &HashMap<String, String>,
    config: &NatsConfig,
) -> Result<Vec<ComponentPattern>, NatsError> {
    let said = metadata.get(PINNED).map_or("", String::as_str);
    let patterns = said.split_ascii_whitespace().map(str::parse);
    patterns
        .collect::<Result<_, wasm_core::InvalidPattern>>()
        .map_err(|error| NatsError::Stream {
            name: config.app.clone(),
            reason: error.to_string(),
        })
}

/// A text that nothing else is called.
fn unique(client: &Client) -> String {
    let inbox = client.new_inbox();
    inbox.rsplit('.').next().unwrap_or_default().to_owned()
}

/// A stream, which is made if it is not there and may be made.
async fn have(
    context: &Context,
    config: stream::Config,
    is_making: bool,
) -> Result<Stream<()>, NatsError> {
    let name = config.name.clone();
    let failed = |reason: String| NatsError::Stream {
        name: name.clone(),
        reason,
    };
    let until = Instant::now() + BEGINNING;
    // Servers that were just started have no leader yet.
    while let Err(error) = have_once(context, &config, is_making).await {
        if let Problem::NotThere = error {
            let reason = "there is no such stream; the first node makes it, or `deploy`";
            return Err(failed(reason.to_owned()));
        }
        if Instant::now() >= until {
            return Err(failed(error.to_string()));
        }
        sleep(AGAIN).await;
    }
    let stream = context.get_stream_no_info(&name).await;
    stream.map_err(|error| failed(error.to_string()))
}

/// Why there is no stream.
#[derive(Debug, Error)]
enum Problem {
    #[error("it is not there")]
    NotThere,
    #[error("{0}")]
    Other(String),
}

async fn have_once(
    context: &Context,
    config: &stream::Config,
    is_making: bool,
) -> Result<(), Problem> {
    if is_making {
        let made = context.get_or_create_stream(config.clone()).await;
        return made
            .map(drop)
            .map_err(|error| Problem::Other(error.to_string()));
    }
    let Err(error) = context.get_stream(&config.name).await else {
        return Ok(());
    };
    match error.kind() {
        GetStreamErrorKind::JetStream(error)
            if error.error_code() == ErrorCode::STREAM_NOT_FOUND =>
        {
            Err(Problem::NotThere)
        }
        _ => Err(Problem::Other(error.to_string())),
    }
}

/// What was stored is acknowledged once it was handled, and is gone then.
fn mail_stream(names: &Names, config: &NatsConfig) -> stream::Config {
    stream::Config {
        name: names.mail_stream(),
        subjects: vec![names.mail_subjects()],
        retention: RetentionPolicy::WorkQueue,
        discard: DiscardPolicy::New,
        discard_new_per_subject: true,
        max_messages_per_subject: config.max_waiting,
        max_bytes: config.max_waiting_bytes,
        duplicate_window: DUPLICATES,
        num_replicas: config.replicas,
        ..Default::default()
    }
}

/// A key-value bucket, as other tools know one. It is read from the leader only: others may not
/// have what was just written.
fn data_stream(names: &Names, config: &NatsConfig, pinned: &[ComponentPattern]) -> stream::Config {
    let mut metadata = HashMap::from([(PARTITIONS.to_owned(), config.partitions.to_string())]);
    if !pinned.is_empty() {
        let pinned: Vec<_> = pinned.iter().map(ToString::to_string).collect();
        metadata.insert(PINNED.to_owned(), pinned.join(" "));
    }
    stream::Config {
        name: names.data_stream(),
        subjects: vec![names.data_subjects()],
        max_messages_per_subject: 1,
        discard: DiscardPolicy::New,
        deny_delete: true,
        allow_rollup: true,
        allow_message_ttl: true,
        duplicate_window: DUPLICATES,
        num_replicas: config.replicas,
        metadata,
        ..Default::default()
    }
}

/// A bucket that nobody needs after all have stopped.
fn nodes_stream(names: &Names, config: &NatsConfig) -> stream::Config {
    stream::Config {
        name: names.nodes_stream(),
        subjects: vec![names.node_subjects()],
        max_messages_per_subject: 1,
        discard: DiscardPolicy::New,
        allow_rollup: true,
        max_age: Duration::from_secs(60 * 60),
        num_replicas: config.replicas,
        ..Default::default()
    }
}

fn dead_stream(names: &Names, config: &NatsConfig) -> stream::Config {
    stream::Config {
        name: names.dead_stream(),
        subjects: vec![names.dead_subjects()],
        max_messages_per_subject: DEAD_OF_ONE,
        max_messages: DEAD,
        max_bytes: config.max_waiting_bytes / 4,
        discard: DiscardPolicy::Old,
        duplicate_window: DUPLICATES,
        num_replicas: config.replicas,
        ..Default::default()
    }
}

impl Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("node", &self.node)
            .field("incarnation", &self.incarnation)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::process::Command;

    use tempfile::tempdir;

    use super::*;

    /// Before any server is asked, and within a minute.
    #[tokio::test]
    async fn files_are_read_only_if_they_have_an_end() {
        let folder = tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let made = Command::new("mkfifo").arg(at("pipe")).status().unwrap();
        assert!(made.success());
        fs::write(at("large"), vec![b'x'; MAX_FILE_BYTES as usize + 1]).unwrap();
        fs::write(at("empty"), "").unwrap();
        for (path, told) in [
            (at("pipe"), "it is not a regular file"),
            ("/dev/zero".into(), "it is not a regular file"),
            (at("large"), "it has 1048577B, more than the 1MiB"),
            (at("empty"), ""),
        ] {
            for (flag, none) in [("--creds", "cannot parse"), ("--nats-ca", "no certificate")] {
                let mut config = NatsConfig::new("nats://127.0.0.1:1", "a");
                match flag {
                    "--creds" => config.credentials = Some(path.clone()),
                    _ => config.tls_ca = Some(path.clone()),
                }
                let opened = timeout(Duration::from_secs(60), Connection::open(config));
                let error = opened.await.unwrap().unwrap_err().to_string();
                let parts = [path.to_str().unwrap(), flag];
                let told = if told.is_empty() { none } else { told };
                for part in parts.into_iter().chain([told]) {
                    assert!(error.contains(part), "{error}");
                }
            }
        }
    }
}
