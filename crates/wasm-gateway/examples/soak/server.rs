//! The process that serves.

use std::env;
use std::io::{BufRead as _, BufReader, Read as _, stdin};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;

use wasm_core::{ComponentConfig, ComponentId, HostServices, ResourceLimits};
use wasm_gateway::{GatewayBuilder, GatewayLimits, ListenAddress, Listener};
use wasm_host::{Component, HostBuilder};
use wasm_testkit::ModelEngine;
use wasm_testkit::wasm_fixtures::{COUNTER, ECHO};

use crate::client::Outcome;

/// The first argument of a process that serves.
pub(crate) const ROLE: &str = "serve";

/// How long a connection may be without a request.
pub(crate) const HEAD_TIME: Duration = Duration::from_secs(30);

/// How long a body may take, and how long a client may take nothing.
pub(crate) const BODY_TIME: Duration = Duration::from_secs(5);

/// Connections that are not of the crowd.
const OTHERS: usize = 400;

/// It ends with this value.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    process: Child,
}

impl Server {
    pub(crate) fn start(crowd: usize) -> Outcome<Self> {
        let mut process = Command::new(env::current_exe()?)
            .args([ROLE, &crowd.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().ok_or("it has an output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim().parse()?;
        Ok(Self { address, process })
    }

    pub(crate) fn resident_kib(&self) -> Outcome<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        Ok(number.ok_or("the server has ended")?.parse()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The end of its input ends it, too.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Until the end of standard input.
pub(crate) async fn serve(crowd: usize) -> Outcome<()> {
    let model = |services: HostServices| Ok::<_, String>(Arc::new(ModelEngine::new(services)));
    let host = HostBuilder::new().start(model)?;
    let limits = ResourceLimits::new(1 << 20, Duration::from_secs(1), Some(1_000_000))?;
    for (name, fixture) in [("echo", ECHO), ("counter", COUNTER), ("idler", ECHO)] {
        let id = ComponentId::new("demo", name, "main")?;
        host.load(Component::new(
            id,
            fixture.wasm,
            ComponentConfig::new(limits),
        ))
        .await?;
    }
    let limits = GatewayLimits::default()
        .with_connections(crowd + OTHERS)
        .with_connections_of_address(crowd + OTHERS)
        .with_event_streams(crowd)
        .with_header_time(HEAD_TIME)
        .with_body_time(BODY_TIME)
        .with_stall_time(BODY_TIME);
    let gateway = GatewayBuilder::new().with_limits(limits).build(host);
    let listener = Listener::bind("127.0.0.1:0".parse()?, false).await?;
    let ListenAddress::Tcp(address) = *listener.address() else {
        return Err("not an address of the network".into());
    };
    println!("{address}");
    let ended = async {
        let wait = || stdin().lock().read_to_end(&mut Vec::new());
        let _ = spawn_blocking(wait).await;
    };
    gateway.serve(listener, ended).await;
    Ok(())
}
