//! The same application on several machines: where NATS is, and what of the application this
//! process has.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use clap::{Args, ValueHint, value_parser};
use tokio::sync::watch;

use wasm_core::units::parse_duration;
use wasm_core::{AfterCrash, ComponentId};
use wasm_host::{Host, HostError};
use wasm_nats::{Applied, Connection, NatsConfig, NatsError, Node, Release, ReleasePart, Tenants};
use wasm_runtime::WasmtimeEngine;

use crate::application::Application;
use crate::flags::Flags;
use crate::report::Report;
use crate::source::Source;

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

    /// On how many servers of NATS everything is stored, when it is used first
    #[arg(
        long,
        value_name = "COUNT",
        default_value = "1",
        value_parser = value_parser!(u8).range(1..=5),
        requires = "nats"
    )]
    replicas: u8,

    /// Into how many parts components are divided, of which each node has some, when it is
    /// used first
    #[arg(
        long,
        value_name = "COUNT",
        default_value = "64",
        value_parser = value_parser!(u16).range(1..=4096),
        requires = "nats"
    )]
    partitions: u16,
}

impl Nats {
    fn config(&self, url: &str, node: &str) -> NatsConfig {
        let mut config = NatsConfig::new(url, node);
        config.app.clone_from(&self.app);
        config.credentials.clone_from(&self.creds);
        config.tls_ca.clone_from(&self.nats_ca);
        config.replicas = self.replicas.into();
        config.partitions = self.partitions;
        config
    }

    /// Connects as somebody who has no components.
    pub(crate) async fn connect(&self, url: &str) -> Result<Connection, Report> {
        let opened = Connection::open(self.config(url, "program")).await;
        opened.map_err(|error| told(&error))
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
        let opened = Connection::open(config).await;
        opened.map(Some).map_err(|error| told(&error))
    }
}

pub(crate) fn told(error: &NatsError) -> Report {
    let report = Report::error(error.to_string());
    match error {
        NatsError::Name(_) => report.with_help("--node and --app say what they are called"),
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
    let releases = deployed.is_some().then(|| connection.releases());
    let tenancy = Arc::new(Tenancy {
        host: host.clone(),
        application: Arc::clone(application),
        former: Mutex::default(),
        problems: Mutex::default(),
    });
    if let Some(flags) = &deployed {
        let release = connection.release_before().await;
        let release = release.map_err(|error| told(&error))?;
        tenancy.prepare(&connection, &release, flags).await;
        let release = connection.release().await.map_err(|error| told(&error))?;
        tenancy.prepare(&connection, &release, flags).await;
    }
    let tenants = Arc::clone(&tenancy) as Arc<dyn Tenants>;
    let node = Node::start(connection, host.clone(), tenants).await;
    let node = node.map(Arc::new).map_err(|error| told(&error))?;
    if let Some((flags, releases)) = deployed.zip(releases) {
        let follow = tenancy.follow(Arc::downgrade(&node), releases, flags);
        tokio::spawn(follow);
    }
    Ok(node)
}

/// The components of an application, of which this node has those in its partitions.
struct Tenancy {
    host: Host<WasmtimeEngine>,
    application: Arc<Application>,
    /// Of those that were deployed anew, the versions before.
    former: Mutex<BTreeMap<ComponentId, Arc<Source>>>,
    /// What is wrong with which component of the release that counts.
    problems: Mutex<BTreeMap<String, String>>,
}

impl Tenancy {
    fn former(&self) -> MutexGuard<'_, BTreeMap<ComponentId, Arc<Source>>> {
        self.former.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn problems(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes each release that counts the application, for as long as there is the node.
    async fn follow(
        self: Arc<Self>,
        node: Weak<Node>,
        mut releases: watch::Receiver<u64>,
        flags: Flags,
    ) {
        while releases.changed().await.is_ok() {
            let Some(node) = node.upgrade() else {
                return;
            };
            let release = node.connection().release().await;
            let Ok(release) = release.inspect_err(|error| told(error).print()) else {
                continue;
            };
            self.problems().clear();
            self.prepare(node.connection(), &release, &flags).await;
            node.refresh().await;
            let mut applied = Applied::new(release.number);
            applied.problems = self.problems().clone();
            if let Err(error) = node.connection().say_applied(&applied).await {
                told(&error).print();
            }
        }
    }

    /// Makes a release the application: what this node has of it is replaced while messages
    /// arrive, and stays where the new version does not start.
    async fn prepare(&self, connection: &Connection, release: &Release, flags: &Flags) {
        for source in self.application.sources() {
            if !release.parts.contains_key(&source.id) {
                self.application.remove(&source.id);
                self.former().remove(&source.id);
            }
        }
        for (id, part) in &release.parts {
            if let Err(problem) = self.replace(connection, id, part, flags).await {
                self.problems().insert(id.to_string(), problem);
            }
        }
    }

    async fn replace(
        &self,
        connection: &Connection,
        id: &ComponentId,
        part: &ReleasePart,
        flags: &Flags,
    ) -> Result<(), String> {
        let source = read(connection, part, flags).await?;
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
            Err(error) => return Err(error.to_string()),
        }
        if let Some(before) = before {
            self.former().insert(id.clone(), before);
        }
        self.application.insert(Arc::new(source));
        Ok(())
    }

    /// Loads the version before of a component of which the new one does not start.
    async fn load_former(&self, id: &ComponentId, error: &HostError) {
        self.problems().insert(id.to_string(), error.to_string());
        let former = self.former().get(id).cloned();
        if let Some(former) = former {
            // What that ends in is told as an event, too.
            let _ = self.host.load(former.component()).await;
        }
    }
}

async fn read(
    connection: &Connection,
    part: &ReleasePart,
    flags: &Flags,
) -> Result<Source, String> {
    let fetch = async |digest: &str| {
        let fetched = connection.fetch(digest).await;
        fetched.map_err(|error| error.to_string())
    };
    let bytes = fetch(&part.wasm).await?;
    let config = match &part.config {
        Some(digest) => Some(fetch(digest).await?),
        None => None,
    };
    let source = Source::deployed(&part.manifest, bytes, config, flags);
    source.map_err(|report| report.to_string())
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

    fn after_crash(&self, id: &ComponentId) -> AfterCrash {
        let source = self.application.source(id);
        source.map_or_else(AfterCrash::default, |it| {
            it.component().supervision.after_crash
        })
    }
}
