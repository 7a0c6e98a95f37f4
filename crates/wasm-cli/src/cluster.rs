//! The same application on several machines: where NATS is, and what of the application this
//! process has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use clap::{Args, ValueHint, value_parser};
use tokio::sync::watch;
use tokio::time::sleep;

use wasm_core::units::{parse_bytes, parse_duration};
use wasm_core::{AfterCrash, ComponentId, ComponentPattern};
use wasm_host::{Host, HostError};
use wasm_nats::{
    Applied, Connection, InvalidPins, NatsConfig, NatsError, Node, Release, ReleasePart, Tenants,
};
use wasm_runtime::WasmtimeEngine;

use crate::application::Application;
use crate::flags::Flags;
use crate::report::Report;
use crate::source::Source;

/// After so long it is tried again to have what could not be had of a release, and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Where NATS is, and what the application is called there.
#[derive(Debug, Args)]
pub(crate) struct Nats {
    /// Name of the application on NATS, with which its streams, buckets and subjects begin
    #[arg(long, value_name = "NAME", default_value = "wasm", requires = "nats")]
    app: String,

    /// File with the credentials of a user of NATS
    #[arg(long, value_name = "FILE", requires = "nats", value_hint = ValueHint::FilePath)]
    creds: Option<PathBuf>,

    /// File with the certificates, in PEM, of whoever signed those of the servers
    #[arg(long, value_name = "FILE", requires = "nats", value_hint = ValueHint::FilePath)]
    nats_ca: Option<PathBuf>,

    /// On how many servers of NATS everything is stored, when it is used first [default: 1]
    #[arg(
        long,
        value_name = "COUNT",
        value_parser = value_parser!(u8).range(1..=5),
        requires = "nats"
    )]
    replicas: Option<u8>,

    /// Into how many parts components are divided, of which each node has some, when it is
    /// used first [default: 64]
    #[arg(
        long,
        value_name = "COUNT",
        value_parser = value_parser!(u16).range(1..=4096),
        requires = "nats"
    )]
    partitions: Option<u16>,

    /// Components that nodes may be there for alone (--only), when it is used first: a pattern
    /// (repeatable)
    #[arg(long, value_name = "PATTERN", requires = "nats")]
    pinned: Vec<ComponentPattern>,

    /// Room for messages that wait, which the servers keep free, when it is used first
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "256MiB",
        value_parser = parse_waiting,
        requires = "nats"
    )]
    max_waiting: u64,
}

impl Nats {
    fn config(&self, url: &str, node: &str) -> NatsConfig {
        let mut config = NatsConfig::new(url, node);
        config.app.clone_from(&self.app);
        config.credentials.clone_from(&self.creds);
        config.tls_ca.clone_from(&self.nats_ca);
        config.replicas = self.replicas.map_or(config.replicas, usize::from);
        config.partitions = self.partitions.unwrap_or(config.partitions);
        config.pinned.clone_from(&self.pinned);
        config.max_waiting_bytes = i64::try_from(self.max_waiting).unwrap_or(i64::MAX);
        config
    }

    async fn open(&self, config: NatsConfig) -> Result<Connection, Report> {
        let opened = Connection::open(config).await;
        let connection = opened.map_err(|error| told(&error))?;
        let was_first = "as whoever was first has said";
        let (replicas, partitions) = (connection.replicas(), connection.partitions());
        if self.replicas.is_some_and(|it| usize::from(it) != replicas) {
            let text = format!("everything is stored on {replicas} servers, {was_first}");
            let help = "`nats stream edit --replicas` changes that of each stream";
            Report::warning(text).with_help(help).print();
        }
        if self.partitions.is_some_and(|it| it != partitions) {
            let text = format!("components are divided into {partitions} parts, {was_first}");
            Report::warning(text).print();
        }
        for pattern in &self.pinned {
            if !connection.pinned().contains(pattern) {
                let text = format!("{pattern} has no partitions of its own, {was_first}");
                Report::warning(text).with_help(PINNED_FIRST).print();
            }
        }
        Ok(connection)
    }

    /// Connects as somebody who has no components, and makes nothing.
    pub(crate) async fn connect(&self, url: &str) -> Result<Connection, Report> {
        let mut config = self.config(url, "program");
        config.is_making = false;
        self.open(config).await
    }

    /// Connects as somebody who has no components, and makes what is not there for those who
    /// will have some.
    pub(crate) async fn connect_first(&self, url: &str) -> Result<Connection, Report> {
        self.open(self.config(url, "program")).await
    }
}

/// What is to be done about a pattern that comes too late.
const PINNED_FIRST: &str = "\
    what --pinned and --only say counts when the application is used first; another one begins \
    with an --app of its own";

/// The least that may wait: a message of the size that servers take by default.
const LEAST_WAITING: u64 = 1 << 20;

fn parse_waiting(text: &str) -> Result<u64, String> {
    let bytes = parse_bytes(text).map_err(|error| error.to_string())?;
    match bytes >= LEAST_WAITING {
        true => Ok(bytes),
        false => Err("at least 1MiB".to_owned()),
    }
}

/// What this node is called, and how long it may be silent.
#[derive(Debug, Args)]
#[command(next_help_heading = "Many machines")]
pub(crate) struct Cluster {
    /// Share the components of FOLDER with other nodes, over NATS with JetStream
    ///
    /// Addresses of servers, with commas between them, such as nats://10.0.0.1:4222. Every
    /// node has the same FOLDER and a name of its own. Without FOLDER, the components are
    /// those that `deploy` has put there.
    #[arg(
        long,
        value_name = "URL",
        requires = "node",
        conflicts_with_all = ["data", "watch"]
    )]
    nats: Option<String>,

    /// Name of this node, which no other has: up to 32 of [A-Za-z0-9_-]
    #[arg(long, value_name = "NAME", requires = "nats")]
    node: Option<String>,

    /// How long a node may not be heard of before others take over its components
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "5s",
        value_parser = parse_duration,
        requires = "nats"
    )]
    lease: Duration,

    /// Own only components that match, such as 'shop/*/*' (repeatable)
    ///
    /// Nodes with --only come first for what they name; those without own everything else, and
    /// that for which no such node is there. Each PATTERN is one that the first node or `deploy`
    /// has named, with --pinned or --only.
    #[arg(long, value_name = "PATTERN", requires = "nats")]
    only: Vec<ComponentPattern>,

    #[command(flatten)]
    nats_options: Nats,
}

impl Cluster {
    pub(crate) fn is_wanted(&self) -> bool {
        self.nats.is_some()
    }

    /// Connects, if there is something to connect to.
    pub(crate) async fn connect(&self) -> Result<Option<Connection>, Report> {
        let (Some(url), Some(node)) = (&self.nats, &self.node) else {
            return Ok(None);
        };
        let mut config = self.nats_options.config(url, node);
        config.lease = self.lease;
        config.only.clone_from(&self.only);
        self.nats_options.open(config).await.map(Some)
    }
}

pub(crate) fn told(error: &NatsError) -> Report {
    let report = Report::error(error.to_string());
    match error {
        NatsError::Name(_) => report.with_help("--node and --app say what they are called"),
        NatsError::Pins(InvalidPins::NotPinned { .. }) => report.with_help(PINNED_FIRST),
        NatsError::Stream { reason, .. } if reason.contains("insufficient storage") => {
            report.with_help("--max-waiting says how much the servers keep free for messages")
        }
        NatsError::Connect { .. } => {
            report.with_help("a server with JetStream is started by `nats-server -js`")
        }
        _ => report,
    }
}

/// Makes a host one of several, with the components of this application, or with those that are
/// deployed.
pub(crate) async fn join(
    connection: Connection,
    host: &Host<WasmtimeEngine>,
    application: &Arc<Application>,
    deployed: Option<Flags>,
) -> Result<Arc<Node>, Report> {
    let deployed = deployed.map(|flags| Deployed::new(&connection, flags));
    let tenancy = Arc::new(Tenancy {
        host: host.clone(),
        application: Arc::clone(application),
        deployed,
    });
    if let Some(deployed) = &tenancy.deployed {
        for release in [
            connection.release_before().await,
            connection.release().await,
        ] {
            let release = release.map_err(|error| told(&error))?;
            tenancy.prepare(&connection, &release, deployed).await;
        }
    }
    let tenants = Arc::clone(&tenancy) as Arc<dyn Tenants>;
    let node = Node::start(connection, host.clone(), tenants).await;
    let node = node.map(Arc::new).map_err(|error| told(&error))?;
    if tenancy.deployed.is_some() {
        tokio::spawn(tenancy.follow(Arc::downgrade(&node)));
    }
    Ok(node)
}

/// The components of an application, of which this node has those in its partitions.
struct Tenancy {
    host: Host<WasmtimeEngine>,
    application: Arc<Application>,
    deployed: Option<Deployed>,
}

/// What a node without a folder knows of the releases.
struct Deployed {
    flags: Flags,
    /// Of the release that counts.
    latest: watch::Receiver<u64>,
    state: Mutex<Releases>,
}

#[derive(Default)]
struct Releases {
    /// The release of which this node has what it could have.
    number: Option<u64>,
    /// What the components of this node are made from.
    has: BTreeMap<ComponentId, ReleasePart>,
    /// Of those that were deployed anew, the versions before.
    former: BTreeMap<ComponentId, Arc<Source>>,
    /// What was fetched for the release that counts, by its digest.
    fetched: BTreeMap<String, Bytes>,
    problems: BTreeMap<ComponentId, Trouble>,
}

/// What is wrong with a component of a release.
#[derive(Clone)]
struct Trouble {
    part: ReleasePart,
    text: String,
    /// It may be better the next time: it could not be fetched.
    passes: bool,
}

impl Deployed {
    fn new(connection: &Connection, flags: Flags) -> Self {
        Self {
            flags,
            latest: connection.releases(),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, Releases> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this node does not have all of the release that counts, and may have it soon.
    fn is_behind(&self) -> bool {
        let state = self.state();
        state
            .number
            .is_none_or(|number| number < *self.latest.borrow())
            || state.problems.values().any(|problem| problem.passes)
    }

    fn source_of(&self, part: &ReleasePart, fetched: Fetched) -> Result<Source, String> {
        let (bytes, config) = fetched;
        let source = Source::deployed(&part.manifest, bytes, config, &self.flags);
        source.map_err(|report| report.to_string())
    }

    async fn fetch(&self, connection: &Connection, part: &ReleasePart) -> Result<Fetched, String> {
        let one = async |digest: &String| {
            let known = self.state().fetched.get(digest).cloned();
            if let Some(known) = known {
                return Ok(known);
            }
            let fetched = connection.fetch(digest).await;
            let fetched = fetched.map_err(|error| error.to_string())?;
            let mut state = self.state();
            state.fetched.insert(digest.clone(), fetched.clone());
            Ok::<_, String>(fetched)
        };
        let bytes = one(&part.wasm).await?;
        let config = match &part.config {
            Some(digest) => Some(one(digest).await?),
            None => None,
        };
        Ok((bytes, config))
    }
}

/// The bytes of a component, and of its configuration if that is a file.
type Fetched = (Bytes, Option<Bytes>);

impl Tenancy {
    /// Makes each release that counts the application, for as long as there is the node. What
    /// could not be had is tried again.
    async fn follow(self: Arc<Self>, node: Weak<Node>) {
        let Some(deployed) = &self.deployed else {
            return;
        };
        let mut latest = deployed.latest.clone();
        let mut pause = FIRST_PAUSE;
        let mut said = None;
        loop {
            tokio::select! {
                changed = latest.changed() => match changed {
                    Ok(()) => pause = FIRST_PAUSE,
                    Err(_) => return,
                },
                () = sleep(pause), if said.is_none() || deployed.is_behind() => {
                    pause = (2 * pause).min(LONGEST_PAUSE);
                }
            }
            let Some(node) = node.upgrade() else {
                return;
            };
            let applied = match self.catch_up(&node, deployed).await {
                Ok(applied) => Some(applied),
                Err(error) => {
                    told(&error).print();
                    said = None;
                    None
                }
            };
            if let Some(applied) = applied.filter(|it| said.as_ref() != Some(it)) {
                match node.connection().say_applied(&applied).await {
                    Ok(()) => said = Some(applied),
                    Err(error) => told(&error).print(),
                }
            }
        }
    }

    /// What came of the release that counts.
    async fn catch_up(&self, node: &Node, deployed: &Deployed) -> Result<Applied, NatsError> {
        let release = node.connection().release().await?;
        self.prepare(node.connection(), &release, deployed).await;
        node.refresh().await;
        let mut applied = Applied::new(release.number);
        let problems = deployed.state().problems.clone();
        let problems = problems.into_iter();
        applied.problems = problems.map(|(id, it)| (id.to_string(), it.text)).collect();
        Ok(applied)
    }

    /// Makes a release the application: what this node has of it is replaced while messages
    /// arrive, and stays where the new version does not start.
    async fn prepare(&self, connection: &Connection, release: &Release, deployed: &Deployed) {
        for source in self.application.sources() {
            if !release.parts.contains_key(&source.id) {
                self.application.remove(&source.id);
            }
        }
        {
            let mut state = deployed.state();
            let is_there = |id: &ComponentId| release.parts.contains_key(id);
            state.has.retain(|id, _| is_there(id));
            state.former.retain(|id, _| is_there(id));
            let counts = |id: &ComponentId, it: &Trouble| release.parts.get(id) == Some(&it.part);
            state.problems.retain(|id, it| counts(id, it));
            let parts = release.parts.values();
            let digests = parts.flat_map(|it| [Some(&it.wasm), it.config.as_ref()]);
            let digests: BTreeSet<_> = digests.flatten().collect();
            state.fetched.retain(|digest, _| digests.contains(digest));
        }
        for (id, part) in &release.parts {
            {
                let state = deployed.state();
                let problem = state.problems.get(id);
                let is_hopeless = problem.is_some_and(|it| !it.passes);
                if is_hopeless || problem.is_none() && state.has.get(id) == Some(part) {
                    continue;
                }
            }
            let replaced = self.replace(connection, id, part, deployed).await;
            let mut state = deployed.state();
            match replaced {
                Ok(()) => {
                    state.problems.remove(id);
                    state.has.insert(id.clone(), part.clone());
                }
                Err((text, passes)) => {
                    let part = part.clone();
                    let trouble = Trouble { part, text, passes };
                    state.problems.insert(id.clone(), trouble);
                }
            }
        }
        deployed.state().number = Some(release.number);
    }

    /// What is wrong, and whether that may pass.
    async fn replace(
        &self,
        connection: &Connection,
        id: &ComponentId,
        part: &ReleasePart,
        deployed: &Deployed,
    ) -> Result<(), (String, bool)> {
        let fetched = deployed.fetch(connection, part).await;
        let fetched = fetched.map_err(|error| (error, true))?;
        let source = deployed.source_of(part, fetched);
        let source = source.map_err(|error| (error, false))?;
        let before = self.application.source(id);
        if before
            .as_ref()
            .is_some_and(|it| it.is_same_component(&source))
        {
            return Ok(());
        }
        match self.host.swap(source.component()).await {
            // It is another node's, or of none so far.
            Ok(()) | Err(HostError::NotLoaded(_)) => {}
            Err(error) => return Err((error.to_string(), false)),
        }
        if let Some(before) = before {
            deployed.state().former.insert(id.clone(), before);
        }
        self.application.insert(Arc::new(source));
        Ok(())
    }

    /// Loads the version before of a component of which the new one does not start.
    async fn load_former(&self, id: &ComponentId, error: &HostError) {
        let Some(deployed) = &self.deployed else {
            return;
        };
        let former = {
            let mut state = deployed.state();
            if let Some(part) = state.has.get(id).cloned() {
                let trouble = Trouble {
                    part,
                    text: error.to_string(),
                    passes: false,
                };
                state.problems.insert(id.clone(), trouble);
            }
            state.former.get(id).cloned()
        };
        if let Some(former) = former {
            // What that ends in is told as an event, too.
            let _ = self.host.load(former.component()).await;
        }
    }
}

#[async_trait]
impl Tenants for Tenancy {
    fn ids(&self) -> Vec<ComponentId> {
        let sources = self.application.sources();
        sources.iter().map(|source| source.id.clone()).collect()
    }

    async fn load(&self, ids: Vec<ComponentId>) {
        let sources = ids.iter().filter_map(|id| self.application.source(id));
        let components: Vec<_> = sources.map(|source| source.component()).collect();
        let ids: Vec<_> = components.iter().map(|it| it.id.clone()).collect();
        let loaded = self.host.load_all(components).await;
        for (id, loaded) in ids.iter().zip(loaded) {
            match loaded {
                Ok(_) | Err(HostError::AlreadyLoaded(_)) => {}
                // It is told as an event.
                Err(error) => self.load_former(id, &error).await,
            }
        }
    }

    async fn unload(&self, ids: Vec<ComponentId>) {
        for id in ids {
            match self.host.unload(&id).await {
                // What its `shutdown` ends in is told as an event.
                Ok(()) | Err(HostError::NotLoaded(_) | HostError::Engine(_)) => {}
                Err(error) => Report::warning(error.to_string()).print(),
            }
        }
    }

    fn is_changing(&self) -> bool {
        self.deployed.as_ref().is_some_and(Deployed::is_behind)
    }

    fn after_crash(&self, id: &ComponentId) -> AfterCrash {
        let source = self.application.source(id);
        source.map_or_else(AfterCrash::default, |it| {
            it.component().supervision.after_crash
        })
    }
}
