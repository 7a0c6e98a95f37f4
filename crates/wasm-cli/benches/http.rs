//! Requests a second, taking turns in one run: a component that answers HTTP requests behind
//! the gateway and the host, with all that bounds it; the same component on bare wasmtime with
//! pooled instances behind hyper, as `wasmtime serve` has it; and hyper alone answering the same.
//! Each request has a fresh instance.
//!
//! `cargo bench --workspace --bench http` prints a table.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::{
    Error as HttpError, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks,
    WasiHttpView,
};

use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentId, HttpRoute, InstancePolicy, ResourceLimits,
};
use wasm_fixtures::WEB;
use wasm_gateway::{
    Body, Gateway, GatewayBuilder, HttpCall, HttpHandler, HttpResponder, Listener, SiteKind,
};
use wasm_host::{Component, HostBuilder};
use wasm_runtime::wasmtime::component::{Component as Compiled, Linker, ResourceTable};
use wasm_runtime::wasmtime::{Engine, Store};
use wasm_runtime::wasmtime_wasi::{self, WasiCtx, WasiCtxView, WasiView};
use wasm_runtime::{Allocation, EngineConfig, HttpScheme, WasmtimeEngine, http_exchange};

/// Rounds of each; odd, so that there is a median.
const ROUNDS: usize = 11;
/// How long a round takes.
const ROUND: Duration = Duration::from_secs(1);
/// Connections, with one request each at a time.
const CONNECTIONS: usize = 32;
const TIMEOUT: Duration = Duration::from_secs(10);

fn main() {
    // A bench that is tested runs nothing.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let servers = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a thread is to be had");
    let clients = Builder::new_current_thread().enable_all().build();
    let clients = clients.expect("this thread is to be had");
    let sides = [
        ("host, gateway", servers.block_on(ours())),
        ("bare wasmtime, hyper", servers.block_on(bare())),
        ("hyper alone", servers.block_on(hyper_alone())),
    ];
    let mut rates = [const { Vec::new() }; 3];
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        for (side, (_, address)) in sides.iter().enumerate() {
            let (rate, mut taken) = round(&clients, *address);
            rates[side].push(rate);
            times[side].append(&mut taken);
        }
    }
    let median = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let medians = rates.each_mut().map(median);
    println!("| {CONNECTIONS} connections | requests/s | of bare | p50 | p99 | p99.9 |");
    println!("|---|---|---|---|---|---|");
    for (side, (name, _)) in sides.iter().enumerate() {
        let taken = &mut times[side];
        taken.sort();
        let at = |share: f64| taken[((taken.len() - 1) as f64 * share) as usize];
        let of_bare = medians[side] / medians[1];
        println!(
            "| {name} | {:.0} | {of_bare:.2} | {:.0?} | {:.0?} | {:.0?} |",
            medians[side],
            at(0.5),
            at(0.99),
            at(0.999)
        );
    }
}

/// Requests a second, and how long each took.
fn round(clients: &Runtime, address: SocketAddr) -> (f64, Vec<Duration>) {
    clients.block_on(async {
        let began = Instant::now();
        let mut connections = tokio::task::JoinSet::new();
        for _ in 0..CONNECTIONS {
            connections.spawn(async move { requests(address, began + ROUND).await });
        }
        let mut all = Vec::new();
        while let Some(taken) = connections.join_next().await {
            all.append(&mut taken.expect("a client does not panic"));
        }
        (all.len() as f64 / began.elapsed().as_secs_f64(), all)
    })
}

async fn requests(address: SocketAddr, until: Instant) -> Vec<Duration> {
    let stream = TcpStream::connect(address).await.expect("it listens");
    stream.set_nodelay(true).expect("it is a socket");
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.expect("it speaks HTTP");
    let connection = tokio::spawn(connection);
    let mut taken = Vec::new();
    while Instant::now() < until {
        let began = Instant::now();
        let request = Request::get("/").header("host", "localhost");
        let request = request
            .body(Empty::<Bytes>::new())
            .expect("it is a request");
        let response = sender.send_request(request).await.expect("it answers");
        assert!(response.status().is_success());
        let body = response.into_body().collect().await.expect("it ends");
        assert_eq!(body.to_bytes(), "hello");
        taken.push(began.elapsed());
    }
    connection.abort();
    taken
}

fn config() -> EngineConfig {
    let instances = CONNECTIONS as u32 + 16;
    EngineConfig::default().with_allocation(Allocation::Pooled { instances })
}

struct OnWasmtime;

impl HttpHandler<WasmtimeEngine> for OnWasmtime {
    fn is_handler(&self, _: &WasmtimeEngine, _: &[u8]) -> bool {
        true
    }

    fn answer(
        &self,
        engine: Arc<WasmtimeEngine>,
        component: ComponentHandle,
        request: Request<Body>,
        _: bool,
        responder: HttpResponder,
    ) -> HttpCall {
        Box::pin(async move {
            let method = request.method().clone();
            let (given, pending) = http_exchange();
            let call = engine.answer_http(&component, request, HttpScheme::Http, given);
            let hand_on = async {
                if let Some(response) = pending.response(&method).await {
                    let response = response.map(|response| response.map(Body::new));
                    let _ = responder.send(response);
                }
            };
            tokio::join!(call, hand_on).0.map(drop)
        })
    }
}

async fn ours() -> SocketAddr {
    let engine = |services| WasmtimeEngine::new(config(), services).map(Arc::new);
    let host = HostBuilder::new().start(engine).expect("it can be set up");
    let id = ComponentId::new("bench", "web", "main").expect("it is an id");
    let limits = ResourceLimits::new(1 << 20, TIMEOUT, Some(100_000_000));
    let config = ComponentConfig::new(limits.expect("they are in range"))
        .with_instances(InstancePolicy::PerMessage)
        .with_concurrency(CONNECTIONS as u32);
    let web = Component::new(id.clone(), WEB.wasm, config);
    host.load(web).await.expect("it loads");
    let gateway: Gateway<WasmtimeEngine> =
        GatewayBuilder::new().build_with_http(host, Arc::new(OnWasmtime));
    let route = HttpRoute::new("/*".parse().expect("it is a path"));
    let added = gateway.add_site(id, route, SiteKind::Handler);
    added.expect("there is no other");
    let listener = Listener::bind("127.0.0.1:0".parse().expect("it is an address"), true);
    let listener = listener.await.expect("a port is free");
    let wasm_gateway::ListenAddress::Tcp(address) = listener.address().clone() else {
        unreachable!("it was one of the network");
    };
    tokio::spawn(async move { gateway.serve_sites(listener, std::future::pending()).await });
    address
}

/// What a guest of bare wasmtime has.
struct State {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    hooks: SendsNothing,
}

/// The component that is measured sends no requests.
struct SendsNothing;

type End = Box<dyn Future<Output = Result<(), HttpError>> + Send>;
type Sent = Result<(Response<WasiBody>, End), HttpError>;

impl WasiHttpHooks for SendsNothing {
    fn send_request(
        &mut self,
        _: Request<WasiBody>,
        _: Option<RequestOptions>,
        _: End,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        Box::new(std::future::ready(Err(HttpError::HttpRequestDenied)))
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.hooks,
        }
    }
}

/// The same code, compiled with the same settings, without any bound.
async fn bare() -> SocketAddr {
    let engine = Engine::new(&config().wasmtime_config()).expect("it can be set up");
    let component = Compiled::from_binary(&engine, WEB.wasm).expect("it compiles");
    let mut linker: Linker<State> = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)
        .and_then(|()| wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker))
        .expect("it links");
    let pre = linker.instantiate_pre(&component).and_then(ProxyPre::new);
    let pre = pre.expect("it fits");
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port is free");
    let address = listener.local_addr().expect("it has one");
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("it listens");
            stream.set_nodelay(true).expect("it is a socket");
            let pre = pre.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| bare_answer(pre.clone(), request));
                let serving = server::Builder::new();
                // Its client has gone.
                let _ = serving
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    address
}

async fn bare_answer(
    pre: ProxyPre<State>,
    request: Request<Incoming>,
) -> Result<Response<HyperOutgoingBody>, Infallible> {
    let mut store = Store::new(
        pre.engine(),
        State {
            wasi: WasiCtx::builder().build(),
            http: WasiHttpCtx::new(),
            table: ResourceTable::new(),
            hooks: SendsNothing,
        },
    );
    // Both are counted by the code.
    store.set_fuel(u64::MAX).expect("fuel is counted");
    store.set_epoch_deadline(u64::MAX / 2);
    let (give, response) = oneshot::channel();
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(Scheme::Http, request);
    let request = request.expect("it names a host");
    let outparam = http.new_response_outparam(give).expect("there is room");
    tokio::spawn(async move {
        let proxy = pre.instantiate_async(&mut store).await.expect("it starts");
        let handler = proxy.wasi_http_incoming_handler();
        let handled = handler.call_handle(store, request, outparam);
        handled.await.expect("it answers");
    });
    let response = response.await.expect("there is a response");
    Ok(response.expect("it is no error"))
}

async fn hyper_alone() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port is free");
    let address = listener.local_addr().expect("it has one");
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("it listens");
            stream.set_nodelay(true).expect("it is a socket");
            tokio::spawn(async move {
                let service = service_fn(|_: Request<Incoming>| async {
                    let response = Response::builder().header("content-type", "text/plain");
                    let response = response.body(Body::from("hello"));
                    Ok::<_, Infallible>(response.expect("it is a response"))
                });
                let serving = server::Builder::new();
                // Its client has gone.
                let _ = serving
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    address
}
