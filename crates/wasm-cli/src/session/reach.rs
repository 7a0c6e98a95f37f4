//! What is reached of the program from outside.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use clap::{ArgGroup, Args, ValueHint};
use tokio::select;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, spawn_blocking};

use wasm_core::text::Quoted;
use wasm_core::{Capability, HttpOrigin, Permissions};
use wasm_gateway::{Gateway, GatewayBuilder, ListenAddress, Listener, Tls, Tokens};
use wasm_host::Host;
use wasm_nats::Node;
use wasm_runtime::WasmtimeEngine;

use crate::input::sites::{OnWasmtime, Sites};
use crate::input::source::Source;
use crate::output::otlp::OtlpFlags;
use crate::output::report::{Report, aside};
use crate::output::signals::Hangups;
use crate::session::connections::ConnectionFlags;
use crate::session::everywhere::Everywhere;
use crate::session::service;
use crate::session::watch::Asked;

/// Where others reach it, and who they are.
#[derive(Debug, Args)]
#[command(next_help_heading = "Reached from outside")]
#[command(group(ArgGroup::new("address").args(["listen", "http"]).multiple(true)))]
#[command(group(
    ArgGroup::new("bounds")
        .args(["connections", "connections_of_address"])
        .multiple(true)
        .requires("address")
))]
pub(crate) struct Reach {
    /// Serve HTTP at this address, and go on after the end of standard input (repeatable)
    ///
    /// An IP address with a port, such as 127.0.0.1:7070, or unix:PATH, to which only its
    /// owner may connect. An address that other machines reach needs --token-file.
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<ListenAddress>,

    /// Serve the components that answer HTTP requests at this address, and nothing else (repeatable)
    ///
    /// An IP address with a port, or unix:PATH. Whoever can connect is answered; tokens are for
    /// --listen.
    #[arg(long, value_name = "ADDRESS")]
    http: Vec<ListenAddress>,

    /// File with the tokens of those who may get in, a line each: ROLES TOKEN
    ///
    /// Roles are read, message and administer, parted by commas. Only the file's owner may
    /// be able to read it. Without it, whoever can connect may do everything.
    #[arg(long, value_name = "FILE", requires = "listen", value_hint = ValueHint::FilePath)]
    token_file: Option<PathBuf>,

    /// File with the certificate for TLS, in PEM, which is read again when it changes
    ///
    /// It is spoken at every address of the network, and not at a unix:PATH.
    #[arg(
        long,
        value_name = "FILE",
        requires = "address",
        requires = "tls_key",
        value_hint = ValueHint::FilePath
    )]
    tls_cert: Option<PathBuf>,

    /// File with the key of the certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert", value_hint = ValueHint::FilePath)]
    tls_key: Option<PathBuf>,

    /// Name of this machine under which it is reached, besides addresses and localhost
    /// (repeatable)
    #[arg(long, value_name = "NAME", requires = "listen", value_parser = host_name)]
    name: Vec<String>,

    #[command(flatten)]
    connections: ConnectionFlags,

    #[arg(skip)]
    hangups: Option<Hangups>,
}

/// A name as `Host` has it, without a port: any other would be that of no request.
fn host_name(text: &str) -> Result<String, String> {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    match !text.is_empty() && text.bytes().all(is_of_name) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "{} is no name of a machine: write it as between `https://` and the port or the path \
             of a URL, such as shop.example",
            Quoted::new(text)
        )),
    }
}

impl Reach {
    pub(crate) fn is_wanted(&self) -> bool {
        !self.listen.is_empty() || !self.http.is_empty()
    }

    /// From now on, SIGHUP ends nothing: those that come before others are let in are one reading.
    pub(crate) fn hear_hangups(&mut self) {
        self.hangups = self.is_wanted().then(Hangups::new);
    }

    /// What must be known before anything else is begun.
    pub(crate) async fn prepare(&mut self, otlp: &OtlpFlags) -> Result<Option<Prepared>, Report> {
        if !self.is_wanted() {
            otlp.record(false)?;
            return Ok(None);
        }
        let is_of_network = |it: &ListenAddress| matches!(it, ListenAddress::Tcp(_));
        if self.tls_cert.is_some() && !self.listen.iter().chain(&self.http).any(is_of_network) {
            let told = "--tls-cert has no effect: nothing listens at an address of the network";
            Report::warning(told).tell().await;
        }
        let tokens = self.tokens()?;
        let mut listeners = Vec::new();
        for address in &self.listen {
            listeners.push(self.listener(address, tokens.is_some()).await?);
        }
        let mut http_listeners = Vec::new();
        for address in &self.http {
            // Nothing is reached there but components that are meant to be.
            http_listeners.push(self.listener(address, true).await?);
        }
        let builder = GatewayBuilder::new().with_limits(self.connections.limits());
        let mut builder = otlp.in_gateway(builder);
        if let Some(metrics) = otlp.record(true)? {
            builder = builder.with_metrics(metrics);
        }
        for name in &self.name {
            builder = builder.with_name(name);
        }
        if let Some(tokens) = tokens {
            builder = builder.with_tokens(tokens);
        }
        Ok(Some(Prepared {
            listeners,
            http_listeners,
            builder,
            hangups: self.hangups.take().unwrap_or_else(Hangups::new),
        }))
    }

    async fn listener(
        &self,
        address: &ListenAddress,
        has_tokens: bool,
    ) -> Result<Listener, Report> {
        let listener = Listener::bind(address.clone(), has_tokens).await;
        let listener = listener.map_err(|error| Report::error(error.to_string()))?;
        let (Some(certificate), Some(key), ListenAddress::Tcp(_)) =
            (&self.tls_cert, &self.tls_key, address)
        else {
            return Ok(listener);
        };
        let tls = Tls::read(certificate, key).map_err(|error| Report::error(error.to_string()))?;
        Ok(listener.with_tls(tls))
    }

    fn tokens(&self) -> Result<Option<Tokens>, Report> {
        let tokens = self.token_file.as_deref().map(Tokens::read).transpose();
        tokens.map_err(|error| Report::error(error.to_string()))
    }

    /// Components answer the requests that their manifests name; the problems of those that do
    /// not.
    pub(crate) async fn admit(
        &self,
        prepared: Prepared,
        host: Host<WasmtimeEngine>,
        memory_ceiling: u64,
        sources: &[Arc<Source>],
    ) -> (Admitted, Vec<Report>) {
        let builder = prepared.builder.with_memory_ceiling(memory_ceiling);
        let gateway = builder.build_with_http(host, Arc::new(OnWasmtime));
        if !gateway.asks_for_tokens() {
            for warning in operators(&prepared.listeners, sources) {
                warning.tell().await;
            }
        }
        let sites = Sites::new(gateway.clone());
        let mut problems = Vec::new();
        for source in sources {
            problems.extend(sites.put(source).await.err());
        }
        let admitted = Admitted {
            listeners: prepared.listeners,
            http_listeners: prepared.http_listeners,
            hangups: prepared.hangups,
            gateway,
            sites,
        };
        (admitted, problems)
    }

    /// Lets others in.
    pub(crate) fn open(&self, admitted: Admitted) -> Reached {
        let Admitted {
            listeners,
            http_listeners,
            hangups,
            gateway,
            sites,
        } = admitted;
        let stopping = watch::Sender::new(false);
        let mut serving = Vec::new();
        for listener in listeners {
            aside(format!("listening at {listener}"));
            serving.push(tokio::spawn(serve(
                gateway.clone(),
                listener,
                stopping.subscribe(),
            )));
        }
        for listener in http_listeners {
            aside(format!("components answer requests at {listener}"));
            serving.push(tokio::spawn(serve_sites(
                gateway.clone(),
                listener,
                stopping.subscribe(),
            )));
        }
        let (asking, asked) = channel();
        let hangups = tokio::spawn(follow(hangups, gateway, self.token_file.clone(), asking));
        service::notify("READY=1");
        Reached {
            stopping,
            serving,
            hangups,
            asked: Some(asked),
            sites,
        }
    }
}

/// A warning of each component that may send requests to where everybody may do everything.
fn operators(listeners: &[Listener], sources: &[Arc<Source>]) -> impl Iterator<Item = Report> {
    sources.iter().filter_map(|source| {
        let permissions = &source.config.permissions;
        let listener = listeners
            .iter()
            .find(|it| reaches(permissions, it.address()))?;
        let warning = Report::warning(format!(
            "{} may send requests to {listener}, where it may do what an operator may",
            source.id
        ));
        let warning = warning
            .with_help("--token-file lets in nobody without a token, nor does --listen unix:PATH");
        Some(source.at_key(warning, "permissions.http"))
    })
}

fn reaches(permissions: &Permissions, address: &ListenAddress) -> bool {
    let ListenAddress::Tcp(address) = address else {
        return false;
    };
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let allows = |is_secure, host| {
        let origin = HttpOrigin::new(is_secure, host, Some(address.port()));
        origin.is_some_and(|origin| {
            permissions.allows(&Capability::Http(origin.clone()))
                && permissions.allows(&Capability::HttpAddress(origin, address.ip()))
        })
    };
    let hosts = ["localhost", ip.as_str()];
    hosts
        .into_iter()
        .any(|host| allows(false, host) || allows(true, host))
}

async fn serve(
    gateway: Gateway<WasmtimeEngine>,
    listener: Listener,
    mut stopping: watch::Receiver<bool>,
) {
    let stopped = async { drop(stopping.wait_for(|is_stopping| *is_stopping).await) };
    gateway.serve(listener, stopped).await;
}

async fn serve_sites(
    gateway: Gateway<WasmtimeEngine>,
    listener: Listener,
    mut stopping: watch::Receiver<bool>,
) {
    let stopped = async { drop(stopping.wait_for(|is_stopping| *is_stopping).await) };
    gateway.serve_sites(listener, stopped).await;
}

/// The addresses are taken, and nobody is let in yet.
pub(crate) struct Prepared {
    listeners: Vec<Listener>,
    http_listeners: Vec<Listener>,
    builder: GatewayBuilder,
    hangups: Hangups,
}

impl Prepared {
    /// The host is one of several nodes, and all of them are told of.
    pub(crate) fn with_node(mut self, node: &Arc<Node>) -> Self {
        let everywhere = Everywhere(Arc::clone(node));
        self.builder = self.builder.with_cluster(Arc::new(everywhere));
        self
    }
}

/// It is known who answers what, and nobody is let in yet.
pub(crate) struct Admitted {
    listeners: Vec<Listener>,
    http_listeners: Vec<Listener>,
    hangups: Hangups,
    gateway: Gateway<WasmtimeEngine>,
    sites: Sites,
}

/// Others are let in.
pub(crate) struct Reached {
    stopping: watch::Sender<bool>,
    serving: Vec<JoinHandle<()>>,
    hangups: JoinHandle<()>,
    asked: Option<Receiver<Asked>>,
    sites: Sites,
}

impl Reached {
    /// Which components answer which requests.
    pub(crate) fn sites(&self) -> &Sites {
        &self.sites
    }

    /// Says when the folder is to be read again.
    pub(crate) fn take_asked(&mut self) -> Option<Receiver<Asked>> {
        self.asked.take()
    }

    /// Lets nobody in any more, and waits for the requests that are being answered.
    pub(crate) async fn close(self) {
        service::notify("STOPPING=1");
        self.hangups.abort();
        self.stopping.send_replace(true);
        for serving in self.serving {
            // If it panicked, that has been printed.
            let _ = serving.await;
        }
    }
}

/// With each of them the tokens are read again, whatever becomes of the folder: one may have been
/// taken from somebody. Those that come while the folder is read are one more reading of it.
async fn follow(
    mut hangups: Hangups,
    gateway: Gateway<WasmtimeEngine>,
    token_file: Option<PathBuf>,
    asking: Sender<Asked>,
) {
    let mut under_way = None;
    let mut is_asked = false;
    loop {
        select! {
            () = hangups.next() => {
                is_asked = true;
                if let Some(file) = token_file.clone() {
                    read_tokens(&gateway, file).await;
                }
            }
            () = ended(&mut under_way), if under_way.is_some() => under_way = None,
        }
        if is_asked && under_way.is_none() {
            is_asked = false;
            aside("reading the folder again");
            let (reading, ended) = oneshot::channel();
            // Nobody looks at the files of a node.
            let _ = asking.send(reading);
            under_way = Some(ended);
        }
    }
}

async fn ended(reading: &mut Option<oneshot::Receiver<()>>) {
    if let Some(reading) = reading {
        let _ = reading.await;
    }
}

async fn read_tokens(gateway: &Gateway<WasmtimeEngine>, file: PathBuf) {
    match spawn_blocking(move || Tokens::read(&file)).await {
        Ok(Ok(tokens)) => gateway.set_tokens(tokens),
        Ok(Err(error)) => Report::error(error.to_string())
            .with_note("the tokens that were read before stay")
            .print(),
        Err(_) => {}
    }
}
