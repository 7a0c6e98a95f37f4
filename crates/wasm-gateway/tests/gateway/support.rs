use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tower::ServiceExt as _;

use wasm_core::{
    ComponentConfig, ComponentId, ComponentPattern, HostServices, Permissions, ResourceLimits,
};
use wasm_gateway::{Gateway, GatewayBuilder, GatewayLimits, ListenAddress, Listener, Tls};
use wasm_host::{Component, Host, HostBuilder};
use wasm_testkit::ModelEngine;
use wasm_testkit::wasm_fixtures::Fixture;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// What takes longer hangs.
pub(crate) const HANGS: Duration = Duration::from_secs(60);

pub(crate) fn demo(name: &str) -> ComponentId {
    ComponentId::new("demo", name, "main").unwrap()
}

/// As `demo/NAME/main`, which may message everyone.
pub(crate) fn component(name: &str, fixture: Fixture) -> Component {
    let limits = ResourceLimits::new(1 << 20, SECOND, Some(1_000_000)).unwrap();
    let everyone: Vec<ComponentPattern> = vec!["*/*/*".parse().unwrap()];
    let mut permissions = Permissions::default();
    permissions.send.clone_from(&everyone);
    permissions.request = everyone;
    permissions.storage = Some(1 << 16);
    let config = ComponentConfig::new(limits).with_permissions(permissions);
    Component::new(demo(name), fixture.wasm, config)
}

pub(crate) async fn host(components: &[Component]) -> Host<ModelEngine> {
    let model = |services: HostServices| Ok::<_, String>(Arc::new(ModelEngine::new(services)));
    let host = HostBuilder::new().start(model).unwrap();
    for component in components {
        host.load(component.clone()).await.unwrap();
    }
    host
}

pub(crate) async fn gateway(components: &[Component]) -> Gateway<ModelEngine> {
    GatewayBuilder::new().build(host(components).await)
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The end of the type of a problem document.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16());
        let kind = problem["type"].as_str().unwrap();
        kind.strip_prefix("urn:airssys-wasm:problem:")
            .unwrap()
            .to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

/// A request as a client of this machine sends it.
pub(crate) fn request(method: &str, path: &str) -> axum::http::request::Builder {
    let method: Method = method.parse().unwrap();
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
}

pub(crate) async fn answer(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Answer {
        status: head.status,
        headers: head.headers,
        body,
    }
}

pub(crate) async fn ask(router: &Router, method: &str, path: &str, body: &str) -> Answer {
    let request = request(method, path).body(Body::from(body.to_owned()));
    answer(router, request.unwrap()).await
}

type Ends = Pin<Box<dyn Future<Output = ()> + Send>>;

type Serve = fn(Gateway<ModelEngine>, Listener, Ends) -> Ends;

/// A gateway that listens on this machine.
pub(crate) struct Served {
    pub(crate) gateway: Gateway<ModelEngine>,
    pub(crate) address: ListenAddress,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl Served {
    pub(crate) async fn new(components: &[Component], limits: GatewayLimits) -> Self {
        let builder = GatewayBuilder::new().with_limits(limits);
        Self::of(builder.build(host(components).await)).await
    }

    pub(crate) async fn of(gateway: Gateway<ModelEngine>) -> Self {
        Self::at(gateway, Self::listener().await)
    }

    pub(crate) async fn over_tls(gateway: Gateway<ModelEngine>, tls: Tls) -> Self {
        Self::at(gateway, Self::listener().await.with_tls(tls))
    }

    async fn listener() -> Listener {
        let address = "127.0.0.1:0".parse().unwrap();
        Listener::bind(address, false).await.unwrap()
    }

    /// What visitors reach.
    pub(crate) async fn sites_of(gateway: Gateway<ModelEngine>) -> Self {
        let listener = Self::listener().await;
        Self::with(gateway, listener, |gateway, listener, stopped| {
            Box::pin(async move { gateway.serve_sites(listener, stopped).await })
        })
    }

    fn at(gateway: Gateway<ModelEngine>, listener: Listener) -> Self {
        Self::with(gateway, listener, |gateway, listener, stopped| {
            Box::pin(async move { gateway.serve(listener, stopped).await })
        })
    }

    fn with(gateway: Gateway<ModelEngine>, listener: Listener, serve: Serve) -> Self {
        let address = listener.address().clone();
        let (stop, stopped) = oneshot::channel();
        let stopped: Ends = Box::pin(async { drop(stopped.await) });
        let serving = tokio::spawn(serve(gateway.clone(), listener, stopped));
        Self {
            gateway,
            address,
            stop: Some(stop),
            serving,
        }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        let ListenAddress::Tcp(address) = &self.address else {
            panic!("{}", self.address);
        };
        TcpStream::connect(address).await.unwrap()
    }

    /// From another address of this machine.
    pub(crate) async fn connect_from(&self, own: &str) -> TcpStream {
        let ListenAddress::Tcp(address) = &self.address else {
            panic!("{}", self.address);
        };
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{own}:0").parse().unwrap()).unwrap();
        socket.connect(*address).await.unwrap()
    }

    /// Everything that comes back for these bytes until the connection is closed.
    pub(crate) async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        rest(&mut stream).await
    }

    pub(crate) fn begin_stop(&mut self) {
        drop(self.stop.take());
    }

    pub(crate) async fn stopped(self) {
        drop(self.stop);
        timeout(HANGS, self.serving).await.unwrap().unwrap();
    }
}

/// What comes until the other side closes the connection, or resets it.
pub(crate) async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = timeout(HANGS, stream.read_to_end(&mut bytes))
        .await
        .unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What comes up to this text.
pub(crate) async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut bytes = Vec::new();
    let read = async {
        while !String::from_utf8_lossy(&bytes).contains(end) {
            let byte = stream.read_u8().await;
            let Ok(byte) = byte else {
                panic!("no {end:?} in {:?}", String::from_utf8_lossy(&bytes));
            };
            bytes.push(byte);
        }
    };
    timeout(HANGS, read).await.unwrap();
    String::from_utf8(bytes).unwrap()
}
