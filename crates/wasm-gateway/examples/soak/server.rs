//! The process that serves.

use std::alloc::System;
use std::env;
use std::fmt::{self, Display};
use std::io::{BufRead as _, BufReader, Write as _, stdin};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
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

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// It ends with this value.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// What a process has of memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// What it was given and has not given back.
    pub(crate) in_use_kib: u64,
    /// What of that it has written to, and what its allocator keeps for later.
    pub(crate) resident_kib: u64,
}

impl Server {
    pub(crate) fn start(crowd: usize) -> Outcome<Self> {
        let mut process = Command::new(env::current_exe()?)
            .args([ROLE, &crowd.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = process.stdin.take().ok_or("it has an input")?;
        let output = process.stdout.take().ok_or("it has an output")?;
        let mut output = BufReader::new(output);
        let mut line = String::new();
        output.read_line(&mut line)?;
        Ok(Self {
            address: line.trim().parse()?,
            process,
            input,
            output,
        })
    }

    pub(crate) fn memory(&mut self) -> Outcome<Memory> {
        self.input.write_all(b"\n")?;
        let mut in_use = String::new();
        self.output.read_line(&mut in_use)?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        Ok(Memory {
            in_use_kib: in_use.trim().parse::<u64>()? >> 10,
            resident_kib: number.ok_or("the server has ended")?.parse()?,
        })
    }
}

impl Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |kib: u64| kib as f64 / 1024.0;
        let (resident, in_use) = (mib(self.resident_kib), mib(self.in_use_kib));
        write!(f, "{resident:.1} MiB | {in_use:.1} MiB")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The end of its input ends it, too.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Until the end of standard input, each line of which asks how many bytes are in use.
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
        let answer = || {
            for _ in stdin().lines() {
                let counted = ALLOCATOR.stats();
                let in_use = counted
                    .bytes_allocated
                    .saturating_sub(counted.bytes_deallocated);
                println!("{in_use}");
            }
        };
        let _ = spawn_blocking(answer).await;
    };
    gateway.serve(listener, ended).await;
    Ok(())
}
