use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, ValueHint};
use tokio::sync::watch;

use wasm_core::text::PathText as _;
use wasm_core::{ComponentConfig, HttpPath, HttpRoute, InstancePolicy};
use wasm_gateway::{Gateway, GatewayBuilder, ListenAddress, Listener, Tls};
use wasm_host::{Event, Events, HandledMessages, Host, HostBuilder, HostLimits};
use wasm_runtime::WasmtimeEngine;

use crate::input::flags::Flags;
use crate::input::sites::{OnWasmtime, kind_of};
use crate::input::source::{Place, Source};
use crate::output::guest_log::LogFormat;
use crate::output::otlp::OtlpFlags;
use crate::output::outcome::{Stop, block_on, threads, unless_interrupted};
use crate::output::report::{Report, aside};
use crate::session::connections::ConnectionFlags;
use crate::session::conversation::explain;
use crate::session::service;

const EXAMPLES: &str = "\
Examples:
  airssys-wasm serve shop --listen 127.0.0.1:8080
  airssys-wasm serve hello.wasm --memory 4MiB --fuel 100_000_000 --timeout 10s
  airssys-wasm serve shop --listen 0.0.0.0:443 --tls-cert a.pem --tls-key b.pem";

const DETAILS: &str = "\
The component exports wasi:http/incoming-handler@0.2, or takes messages and is
sent each request as one, whose type is the method and the path, such as
`GET /soup`.

Each request is a call with the fuel and the time of [resources], and its
response begins before the call ends: bodies are handed on piece by piece in
both directions. Unless the manifest or a flag says otherwise, each request has
a fresh instance, and 32 are answered at a time, or more where there are more
processors. With an [http], only requests to its path are answered.

Whoever can connect is answered. `up --listen` has tokens, and `up --http`
serves many components, each at the path that its [http] names.

Exit codes:
  0    ended by Ctrl-C or SIGTERM
  2    bad input: nothing was served
  130  ended by Ctrl-C or SIGTERM while it was starting or stopping";

/// Requests that are answered at a time, unless it is said or there are more threads.
const CONCURRENCY: u32 = 32;

/// For the version that is being made when all others are in calls.
const SPARE_INSTANCES: u32 = 4;

/// Serve a component that answers HTTP requests
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DETAILS}"))]
pub(crate) struct Serve {
    /// Folder with a Component.toml, a manifest, or a bare .wasm with its limits as flags
    path: PathBuf,

    /// Where it is reached: an IP address with a port, or unix:PATH
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: ListenAddress,

    /// How long an instance is there: per-message or resident [default: the manifest's, or
    /// per-message]
    #[arg(long, value_name = "POLICY", value_parser = parse_policy)]
    instance: Option<InstancePolicy>,

    /// Requests that are answered at a time [default: the manifest's, or 32 and at least one for
    /// each thread]
    #[arg(
        long,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(ComponentConfig::MAX_CONCURRENCY))
    )]
    concurrency: Option<u32>,

    /// File with the certificate for TLS, in PEM, which is read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key", value_hint = ValueHint::FilePath)]
    tls_cert: Option<PathBuf>,

    /// File with the key of the certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert", value_hint = ValueHint::FilePath)]
    tls_key: Option<PathBuf>,

    #[command(flatten)]
    connections: ConnectionFlags,

    /// How standard error is written: text for people, or json, an object on each line
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "text",
        hide_possible_values = true
    )]
    log_format: LogFormat,

    #[command(flatten)]
    pub(crate) otlp: OtlpFlags,

    #[command(flatten)]
    flags: Flags,
}

fn parse_policy(text: &str) -> Result<InstancePolicy, String> {
    let mut policies = InstancePolicy::ALL.into_iter();
    policies
        .find(|policy| policy.as_str() == text)
        .ok_or_else(|| "write per-message or resident".to_owned())
}

impl Serve {
    pub(crate) fn log_format(&self) -> LogFormat {
        self.log_format
    }

    pub(crate) fn execute(self) -> Result<ExitCode, Stop> {
        block_on(self.run())
    }

    async fn run(self) -> Result<ExitCode, Stop> {
        let source = Source::read(Place::of(&self.path)?, &self.flags).await?;
        let source = Arc::new(self.with_policies(source)?);
        let listener = self.listener().await?;
        self.otlp.record(false)?;
        let host = self.host(&source)?;
        let _watched = self.otlp.watch(&host);
        let events = host.events().with_messages(HandledMessages::None);
        let loading = async { Ok(host.load(source.component()).await) };
        if let Err(error) = unless_interrupted(loading).await? {
            return Err(explain(&source, &error).into());
        }
        let kind = kind_of(&source, host.engine()).await?;
        let gateway = GatewayBuilder::new().with_limits(self.connections.limits());
        let gateway = self.otlp.in_gateway(gateway);
        let gateway = gateway.build_with_http(host.clone(), Arc::new(OnWasmtime));
        let everything = || HttpRoute::new("/*".parse::<HttpPath>().expect("this is a path"));
        let route = source.http.clone().unwrap_or_else(everything);
        aside(format!("{} answers requests to {}", source.id, route.path));
        // There is no other.
        let _ = gateway.add_site(source.id.clone(), route, kind);
        aside(format!("listening at {listener}"));
        service::notify("READY=1");
        serve(gateway, listener, events).await;
        unless_interrupted(async {
            host.stop().await;
            Ok(())
        })
        .await?;
        Ok(ExitCode::SUCCESS)
    }

    /// One that was made to answer requests seldom expects to be asked twice.
    fn with_policies(&self, mut source: Source) -> Result<Source, Report> {
        let otherwise = InstancePolicy::PerMessage;
        let policy = (!source.says("resources.instance")).then_some(otherwise);
        if let Some(policy) = self.instance.or(policy) {
            source.config.instances = policy;
        }
        let concurrency = match self.concurrency {
            None if source.says("resources.concurrency") => None,
            None => Some(CONCURRENCY.max(threads()? as u32)),
            said => said,
        };
        if let Some(concurrency) = concurrency {
            source.config = source.config.with_concurrency(concurrency);
        }
        Ok(source)
    }

    async fn listener(&self) -> Result<Listener, Report> {
        // Nothing is reached there but the component.
        let listener = Listener::bind(self.listen.clone(), true).await;
        let listener = listener.map_err(|error| Report::error(error.to_string()))?;
        let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) else {
            return Ok(listener);
        };
        let tls = Tls::read(certificate, key).map_err(|error| Report::error(error.to_string()))?;
        Ok(listener.with_tls(tls))
    }

    fn host(&self, source: &Source) -> Result<Host<WasmtimeEngine>, Report> {
        let instances = source.config.concurrency() + SPARE_INSTANCES;
        let config = self
            .flags
            .compiler
            .engine_config(self.flags.memory_ceiling, instances)?;
        let config = self
            .otlp
            .in_engine(config.with_max_held_bytes(self.flags.max_held));
        let limits = HostLimits::default().with_memory_bytes(source.config.most_memory_bytes());
        HostBuilder::new()
            .with_limits(limits)
            .start(|services| WasmtimeEngine::new(config, services).map(Arc::new))
            .map_err(|error| Report::error(error.to_string()).at(source.named_by().escaped()))
    }
}

/// Until Ctrl-C or SIGTERM, and then as long as what was asked is being answered.
async fn serve(gateway: Gateway<WasmtimeEngine>, listener: Listener, events: Events) {
    let telling = tokio::spawn(tell_failures(events));
    let stopping = watch::Sender::new(false);
    let mut stopped = stopping.subscribe();
    let serving = async move {
        let stopped = async { drop(stopped.wait_for(|is_stopping| *is_stopping).await) };
        gateway.serve_sites(listener, stopped).await;
    };
    let serving = tokio::spawn(serving);
    let _ = unless_interrupted(async { std::future::pending::<Result<(), Stop>>().await }).await;
    aside("stopping; Ctrl-C again does not wait for it");
    service::notify("STOPPING=1");
    stopping.send_replace(true);
    // Ctrl-C again: what is being answered is not answered to the end.
    let ended = async {
        // If it panicked, that has been printed.
        let _ = serving.await;
        Ok(())
    };
    let _ = unless_interrupted(ended).await;
    telling.abort();
}

/// What goes wrong beside single requests, of which the gateway tells.
async fn tell_failures(mut events: Events) {
    while let Some(event) = events.next().await {
        match event {
            Event::Failed { .. } | Event::Quarantined { .. } | Event::Denied { .. } => {
                Report::warning(event.to_string()).print();
            }
            Event::Missed { .. } => {
                let note = "more happened at a time than is kept until it is told here";
                Report::warning(event.to_string()).with_note(note).print();
            }
            _ => {}
        }
    }
}
