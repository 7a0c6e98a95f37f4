//! What a gateway costs: an echo through it beside the same answer of axum alone, by turns in
//! one process, with as many connections each.
//!
//! ```sh
//! cargo run --release -p airssys-wasm-gateway --example load -- 16 20000
//! ```
//!
//! The engine is a model that answers at once, so that what is measured is HTTP, the gateway,
//! the mailbox and the task of the component. With the address of an `airssys-wasm up
//! --listen` as a third argument, and the path of a component of it that answers with what it
//! was told, that is measured, too; it runs WebAssembly. Numbers are requests per second and
//! microseconds.

use std::env;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use wasm_core::{ComponentConfig, ComponentId, HostServices, ResourceLimits};
use wasm_gateway::{GatewayBuilder, GatewayLimits, ListenAddress, Listener};
use wasm_host::{Component, HostBuilder};
use wasm_testkit::ModelEngine;
use wasm_testkit::wasm_fixtures::ECHO;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const ROUNDS: usize = 5;
const PATH: &str = "/components/demo/echo/main";

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut arguments = env::args().skip(1);
    let connections = arguments.next().map_or(Ok(16), |text| text.parse())?;
    let requests = arguments.next().map_or(Ok(20_000), |text| text.parse())?;
    let other = arguments.next();
    let other_path = arguments.next().unwrap_or_else(|| PATH.to_owned());

    let mut targets = vec![
        ("axum alone", alone().await?, PATH.to_owned()),
        (
            "gateway, model engine",
            gateway(connections).await?,
            PATH.to_owned(),
        ),
    ];
    if let Some(address) = other {
        targets.push(("airssys-wasm up", address.parse()?, other_path));
    }
    println!("{connections} connections, {requests} requests each round, {ROUNDS} rounds by turns");
    println!(
        "{:24} {:>10} {:>8} {:>8} {:>8}",
        "", "per second", "p50", "p99", "p99.9"
    );
    let mut measured = vec![Vec::new(); targets.len()];
    for _ in 0..ROUNDS {
        for ((_, address, path), measured) in targets.iter().zip(&mut measured) {
            measured.push(round(*address, path, connections, requests).await?);
        }
    }
    for ((name, _, _), mut rounds) in targets.into_iter().zip(measured) {
        rounds.sort_by(|one, other| one.rate.total_cmp(&other.rate));
        let Measured { rate, percentiles } = rounds[ROUNDS / 2];
        let [p50, p99, p999] = percentiles.map(|it| it.as_micros());
        println!("{name:24} {rate:>10.0} {p50:>8} {p99:>8} {p999:>8}");
    }
    Ok(())
}

/// The same answer without anything around it.
async fn alone() -> Outcome<SocketAddr> {
    let echo = post(|headers: HeaderMap, body: Bytes| async move {
        let content_type = headers.get(CONTENT_TYPE).cloned();
        (content_type.map(|it| [(CONTENT_TYPE, it)]), body)
    });
    let router = Router::new().route(PATH, echo);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        use hyper_util::rt::{TokioIo, TokioTimer};
        use hyper_util::service::TowerToHyperService;

        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let service = TowerToHyperService::new(router.clone());
            let mut server = hyper::server::conn::http1::Builder::new();
            let serving = server
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(serving);
        }
    });
    Ok(address)
}

async fn gateway(connections: usize) -> Outcome<SocketAddr> {
    let model = |services: HostServices| Ok::<_, String>(Arc::new(ModelEngine::new(services)));
    let host = HostBuilder::new().start(model)?;
    let limits = ResourceLimits::new(1 << 20, Duration::from_secs(1), Some(1_000_000))?;
    let id = ComponentId::new("demo", "echo", "main")?;
    let echo = Component::new(id, ECHO.wasm, ComponentConfig::new(limits));
    host.load(echo).await?;
    let limits = GatewayLimits::default().with_connections(connections + 1);
    let gateway = GatewayBuilder::new().with_limits(limits).build(host);
    let listener = Listener::bind("127.0.0.1:0".parse()?, false).await?;
    let ListenAddress::Tcp(address) = *listener.address() else {
        return Err("not an address of the network".into());
    };
    tokio::spawn(async move { gateway.serve(listener, std::future::pending()).await });
    Ok(address)
}

#[derive(Clone, Copy)]
struct Measured {
    rate: f64,
    percentiles: [Duration; 3],
}

async fn round(
    address: SocketAddr,
    path: &str,
    connections: usize,
    requests: usize,
) -> Outcome<Measured> {
    let each = requests / connections;
    let request: Arc<[u8]> = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n\
         Content-Length: 5\r\n\r\nhello"
    )
    .into_bytes()
    .into();
    let mut clients = JoinSet::new();
    let began = Instant::now();
    for _ in 0..connections {
        clients.spawn(client(address, Arc::clone(&request), each));
    }
    let mut times = Vec::with_capacity(requests);
    while let Some(client) = clients.join_next().await {
        times.extend(client??);
    }
    let rate = times.len() as f64 / began.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    Ok(Measured {
        rate,
        percentiles: [at(0.5), at(0.99), at(0.999)],
    })
}

/// One request after the other.
async fn client(
    address: SocketAddr,
    request: Arc<[u8]>,
    requests: usize,
) -> Outcome<Vec<Duration>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 4096];
    let mut times = Vec::with_capacity(requests);
    for _ in 0..requests {
        let began = Instant::now();
        stream.write_all(&request).await?;
        let mut length = 0;
        while !buffer[..length].ends_with(b"\r\n\r\nhello") {
            match stream.read(&mut buffer[length..]).await? {
                0 => return Err("the connection was closed".into()),
                more => length += more,
            }
        }
        if !buffer.starts_with(b"HTTP/1.1 200 ") {
            return Err(String::from_utf8_lossy(&buffer[..length]).into());
        }
        times.push(began.elapsed());
    }
    Ok(times)
}
