//! What a crowd costs: so many streams of events that nothing happens on, as many connections
//! that say nothing, readers that take nothing, and then so many requests; and the memory of
//! the process before and after.
//!
//! ```sh
//! ulimit -n 65536
//! cargo run --release -p airssys-wasm-gateway --example crowd -- 10000 1000000
//! ```
//!
//! Each connection has both its ends in this process, so that a stream takes twice what it
//! takes of a server.

use std::env;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use wasm_core::{ComponentConfig, ComponentId, HostServices, ResourceLimits};
use wasm_gateway::{GatewayBuilder, GatewayLimits, ListenAddress, Listener};
use wasm_host::{Component, Host, HostBuilder};
use wasm_testkit::ModelEngine;
use wasm_testkit::wasm_fixtures::ECHO;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const CLIENTS: usize = 16;
const STEPS: usize = 5;

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut arguments = env::args().skip(1);
    let crowd: usize = arguments.next().map_or(Ok(1_000), |text| text.parse())?;
    let requests: usize = arguments.next().map_or(Ok(100_000), |text| text.parse())?;
    let (host, address) = serve(crowd).await?;
    println!(
        "at the beginning                  {:>6} KiB",
        resident_kib()
    );

    let mut streams = Vec::new();
    for _ in 0..crowd {
        let mut stream = TcpStream::connect(address).await?;
        stream
            .write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await?;
        read_until(&mut stream, b"events follow\n\n").await?;
        streams.push(stream);
    }
    println!(
        "with {crowd:>6} streams of events     {:>6} KiB",
        resident_kib()
    );
    let mut silent = Vec::new();
    for _ in 0..crowd {
        let mut stream = TcpStream::connect(address).await?;
        stream
            .write_all(b"POST /components/demo/echo/main HTTP/1.1\r\n")
            .await?;
        silent.push(stream);
    }
    println!(
        "with {crowd:>6} that are half said     {:>6} KiB",
        resident_kib()
    );

    for step in 1..=STEPS {
        let began = Instant::now();
        let times = ask(address, requests / STEPS).await?;
        let rate = times.len() as f64 / began.elapsed().as_secs_f64();
        let p99 = times[times.len() * 99 / 100].as_micros();
        println!(
            "after {:>7} requests            {:>7} KiB  {rate:>7.0} per second, p99 {p99} us",
            step * requests / STEPS,
            resident_kib(),
        );
    }
    let id: ComponentId = "demo/echo/main".parse()?;
    let handled = host.component(&id).await.ok_or("it is gone")?.handled;
    println!("{handled} of {requests} were handled");

    let began = Instant::now();
    host.restart(&id).await?;
    let mut told = 0;
    for stream in &mut streams {
        read_until(stream, b"event: restarted").await?;
        told += 1;
    }
    println!("an event was told to {told} in {:.0?}", began.elapsed());
    drop((streams, silent));
    Ok(())
}

async fn serve(crowd: usize) -> Outcome<(Host<ModelEngine>, SocketAddr)> {
    let model = |services: HostServices| Ok::<_, String>(Arc::new(ModelEngine::new(services)));
    let host = HostBuilder::new().start(model)?;
    let limits = ResourceLimits::new(1 << 20, Duration::from_secs(1), Some(1_000_000))?;
    let id = ComponentId::new("demo", "echo", "main")?;
    host.load(Component::new(id, ECHO.wasm, ComponentConfig::new(limits)))
        .await?;
    let limits = GatewayLimits::default()
        .with_connections(2 * crowd + 2 * CLIENTS)
        .with_event_streams(crowd)
        .with_header_time(Duration::from_secs(3600));
    let gateway = GatewayBuilder::new()
        .with_limits(limits)
        .build(host.clone());
    let listener = Listener::bind("127.0.0.1:0".parse()?, false).await?;
    let ListenAddress::Tcp(address) = *listener.address() else {
        return Err("not an address of the network".into());
    };
    tokio::spawn(async move { gateway.serve(listener, std::future::pending()).await });
    Ok((host, address))
}

/// How long each took, the shortest first.
async fn ask(address: SocketAddr, requests: usize) -> Outcome<Vec<Duration>> {
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(async move {
            let mut stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let mut times = Vec::new();
            for _ in 0..requests / CLIENTS {
                let began = Instant::now();
                let text = b"POST /components/demo/echo/main HTTP/1.1\r\nHost: localhost\r\n\
                             Content-Length: 5\r\n\r\nhello";
                stream.write_all(text).await?;
                read_until(&mut stream, b"\r\n\r\nhello").await?;
                times.push(began.elapsed());
            }
            Outcome::Ok(times)
        });
    }
    let mut times = Vec::new();
    while let Some(client) = clients.join_next().await {
        times.extend(client??);
    }
    times.sort_unstable();
    Ok(times)
}

async fn read_until(stream: &mut TcpStream, end: &[u8]) -> Outcome<()> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 1024];
    while !bytes.windows(end.len()).any(|window| window == end) {
        match stream.read(&mut buffer).await? {
            0 => return Err(format!("ended after {}", String::from_utf8_lossy(&bytes)).into()),
            length => bytes.extend_from_slice(&buffer[..length]),
        }
    }
    Ok(())
}

/// Of this process, where the system tells.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or_default()
}
