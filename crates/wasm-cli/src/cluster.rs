//! The same application on several machines: where NATS is, and what of the application this
//! process has.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clap::{Args, ValueHint, value_parser};

use wasm_core::units::parse_duration;
use wasm_core::{AfterCrash, ComponentId};
use wasm_host::{Host, HostError};
use wasm_nats::{Connection, NatsConfig, NatsError, Node, Tenants};
use wasm_runtime::WasmtimeEngine;

use crate::application::Application;
use crate::report::Report;

/// Where NATS is, and what this node is called there.
#[derive(Debug, Args)]
#[command(next_help_heading = "Many machines")]
pub(crate) struct Cluster {
    /// Share the components of FOLDER with other nodes, over NATS with JetStream
    ///
    /// Addresses of servers, with commas between them, such as nats://10.0.0.1:4222. Every
    /// node has the same FOLDER and a name of its own.
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

    /// Name of the application on NATS, with which its streams, buckets and subjects begin
    #[arg(long, value_name = "NAME", default_value = "wasm", requires = "nats")]
    app: String,

    /// File with the credentials of a user of NATS
    #[arg(long, value_name = "FILE", requires = "nats", value_hint = ValueHint::FilePath)]
    creds: Option<PathBuf>,

    /// File with the certificates, in PEM, of whoever signed those of the servers
    #[arg(long, value_name = "FILE", requires = "nats", value_hint = ValueHint::FilePath)]
    nats_ca: Option<PathBuf>,

    /// How long a node may not be heard of before others take over its components
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "5s",
        value_parser = parse_duration,
        requires = "nats"
    )]
    lease: Duration,

    /// On how many servers of NATS everything is stored, when the first node starts
    #[arg(
        long,
        value_name = "COUNT",
        default_value = "1",
        value_parser = value_parser!(u8).range(1..=5),
        requires = "nats"
    )]
    replicas: u8,
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
        let mut config = NatsConfig::new(url, node);
        config.app.clone_from(&self.app);
        config.credentials.clone_from(&self.creds);
        config.tls_ca.clone_from(&self.nats_ca);
        config.lease = self.lease;
        config.replicas = self.replicas.into();
        let opened = Connection::open(config).await;
        opened.map(Some).map_err(|error| told(&error))
    }
}

fn told(error: &NatsError) -> Report {
    let report = Report::error(error.to_string());
    match error {
        NatsError::Name(_) => report.with_help("--node and --app say what they are called"),
        NatsError::Connect { .. } => {
            report.with_help("a server with JetStream is started by `nats-server -js`")
        }
        _ => report,
    }
}

/// Makes a host one of several, with the components of this application.
pub(crate) async fn join(
    connection: Connection,
    host: &Host<WasmtimeEngine>,
    application: &Arc<Application>,
) -> Result<Arc<Node>, Report> {
    let tenants = Tenancy {
        host: host.clone(),
        application: Arc::clone(application),
    };
    let node = Node::start(connection, host.clone(), Arc::new(tenants)).await;
    node.map(Arc::new).map_err(|error| told(&error))
}

/// The components of a folder, of which this node has those in its partitions.
struct Tenancy {
    host: Host<WasmtimeEngine>,
    application: Arc<Application>,
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
        // What cannot be loaded is told as an event.
        let _ = self.host.load_all(components).await;
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
