//! Applications on NATS, for nodes that run without a folder of their own.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueHint};

use wasm_core::text::Escaped;
use wasm_core::units::parse_duration;
use wasm_nats::{Connection, Part};

use crate::input::application::{Application, find_manifests, open};
use crate::input::cluster::{Nats, told};
use crate::input::compiler::CompilerFlags;
use crate::input::flags::{Flags, parse_ceiling};
use crate::output;
use crate::output::outcome::{FAILED, Stop, block_on};
use crate::output::report::{Problems, Report, aside};
use crate::session::nodes::{PATIENCE, homeless};

/// Where NATS is, and how long nodes may take.
#[derive(Debug, Args)]
struct Target {
    /// Addresses of servers of NATS, with commas between them
    #[arg(long, value_name = "URL")]
    nats: String,

    /// How long the nodes may take to say what came of it
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "60s",
        value_parser = parse_duration
    )]
    timeout: Duration,

    #[command(flatten)]
    options: Nats,
}

/// Replace the components of all nodes by those of a folder
///
/// For nodes that were started with --nats and without a folder. Each replaces what it has
/// while messages arrive; a version that does not start leaves the one before running, and is
/// told of with its node.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  airssys-wasm deploy examples/cafe --nats nats://127.0.0.1:4222
  airssys-wasm deploy shop --nats tls://nats.example --creds shop.creds")]
pub(crate) struct Deploy {
    /// Folder with a Component.toml for each component, in it or below
    #[arg(value_hint = ValueHint::DirPath)]
    folder: PathBuf,

    /// Largest memory limit that a manifest may set
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "4MiB",
        value_parser = parse_ceiling
    )]
    memory_ceiling: u64,

    /// Folder or file outside of FOLDER that manifests may name (repeatable)
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    allow_outside: Vec<PathBuf>,

    #[command(flatten)]
    target: Target,

    #[command(flatten)]
    compiler: CompilerFlags,
}

/// Take back the latest deployment: what was deployed before runs again
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  airssys-wasm rollback --nats nats://127.0.0.1:4222")]
pub(crate) struct Rollback {
    #[command(flatten)]
    target: Target,
}

/// Unload all components that are deployed; what they store stays
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  airssys-wasm undeploy --nats nats://127.0.0.1:4222")]
pub(crate) struct Undeploy {
    #[command(flatten)]
    target: Target,
}

impl Deploy {
    pub(crate) fn execute(self) -> Result<ExitCode, Stop> {
        block_on(self.run())
    }

    async fn run(self) -> Result<ExitCode, Stop> {
        let mut flags = Flags::of_many(self.memory_ceiling, self.compiler.clone());
        flags.allow_outside.clone_from(&self.allow_outside);
        let folder = open(&self.folder, &self.allow_outside)?;
        let found = find_manifests(&folder)?;
        let read = Application::read(folder, &found.manifests, None, &flags);
        let (application, _, unread) = read.await?;
        if let Some(problems) = unread {
            return Err(problems.into());
        }
        let sources = application.sources();
        let (parts, refused): (Vec<_>, Vec<_>) =
            sources.iter().map(|it| it.part()).partition(Result::is_ok);
        let refused: Vec<Report> = refused.into_iter().filter_map(Result::err).collect();
        if !refused.is_empty() {
            return Err(Problems::from_iter(refused).into());
        }
        let parts: Vec<Part> = parts.into_iter().filter_map(Result::ok).collect();
        let connection = self.target.options.connect_first(&self.target.nats).await?;
        let count = parts.len();
        let number = connection.deploy(parts).await;
        let number = number.map_err(|error| told(&error))?;
        let what = format!("release {number} has {count} components");
        self.target.tell(&connection, number, &what).await
    }
}

impl Rollback {
    pub(crate) fn execute(self) -> Result<ExitCode, Stop> {
        block_on(self.run())
    }

    async fn run(self) -> Result<ExitCode, Stop> {
        let connection = self.target.options.connect(&self.target.nats).await?;
        let number = connection.roll_back().await.map_err(|error| told(&error))?;
        let Some(number) = number else {
            let report = Report::error("nothing was deployed before".to_owned());
            return Err(report
                .with_help("`undeploy` unloads what is deployed")
                .into());
        };
        let what = format!("release {number} is the one before the latest");
        self.target.tell(&connection, number, &what).await
    }
}

impl Undeploy {
    pub(crate) fn execute(self) -> Result<ExitCode, Stop> {
        block_on(self.run())
    }

    async fn run(self) -> Result<ExitCode, Stop> {
        let connection = self.target.options.connect(&self.target.nats).await?;
        let number = connection.deploy(Vec::new()).await;
        let number = number.map_err(|error| told(&error))?;
        let what = format!("release {number} has no components");
        self.target.tell(&connection, number, &what).await
    }
}

impl Target {
    /// Waits until the nodes have said what came of it, and tells that.
    async fn tell(
        &self,
        connection: &Connection,
        number: u64,
        what: &str,
    ) -> Result<ExitCode, Stop> {
        output::print(format!("{what}\n")).await?;
        let outcome = connection.outcome(number, self.timeout).await;
        let outcome = outcome.map_err(|error| told(&error))?;
        if outcome.is_empty() {
            aside("there are no nodes; those that come will have it");
        }
        let mut is_fine = true;
        for (node, applied) in outcome {
            let Some(applied) = applied else {
                is_fine = false;
                Report::error(format!("node {node} has not answered")).print();
                continue;
            };
            if applied.problems.is_empty() {
                output::print(format!("node {node} has it\n")).await?;
            }
            for (id, problem) in applied.problems {
                is_fine = false;
                let report = Report::error(Escaped::new(&problem).to_string());
                let note = format!("on node {node}, where the version of {id} before goes on");
                report.with_note(note).print();
            }
        }
        let nodes = connection.nodes(PATIENCE).await;
        let nodes = nodes.map_err(|error| told(&error))?;
        if let Some(report) = homeless(&nodes) {
            report.print();
        }
        Ok(match is_fine {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(FAILED),
        })
    }
}
