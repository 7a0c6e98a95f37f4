//! Where NATS is, and what an application and its nodes are called there.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint, value_parser};

use wasm_core::ComponentPattern;
use wasm_core::units::{parse_bytes, parse_duration};
use wasm_nats::{Connection, InvalidPins, NatsConfig, NatsError};

use crate::output::report::Report;

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
