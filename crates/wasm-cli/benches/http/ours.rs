//! The host, with a component that answers requests and one that answers messages.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;

use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentId, HttpRoute, InstancePolicy, ResourceLimits,
};
use wasm_fixtures::{ECHO, WEB};
use wasm_gateway::{
    Body, Gateway, GatewayBuilder, HttpCall, HttpHandler, HttpResponder, ListenAddress, Listener,
    SiteKind,
};
use wasm_host::{Component, HostBuilder};
use wasm_runtime::{HttpScheme, WasmtimeEngine, http_exchange};

use crate::clients::CONNECTIONS;
use crate::config;

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

/// Where the sites are, and where the gateway is.
pub(crate) async fn serve() -> (SocketAddr, SocketAddr) {
    let engine = |services| WasmtimeEngine::new(config(), services).map(Arc::new);
    let host = HostBuilder::new().start(engine).expect("it can be set up");
    let id = |name| ComponentId::new("bench", name, "main").expect("it is an id");
    let limits = ResourceLimits::new(1 << 20, Duration::from_secs(10), Some(100_000_000));
    let resident = ComponentConfig::new(limits.expect("they are in range"));
    let fresh = resident.clone().with_instances(InstancePolicy::PerMessage);
    let fresh = fresh.with_concurrency(CONNECTIONS as u32);
    let web = Component::new(id("web"), WEB.wasm, fresh);
    let echo = Component::new(id("echo"), ECHO.wasm, resident);
    for component in [web, echo] {
        host.load(component).await.expect("it loads");
    }
    let gateway: Gateway<WasmtimeEngine> =
        GatewayBuilder::new().build_with_http(host, Arc::new(OnWasmtime));
    let route = HttpRoute::new("/*".parse().expect("it is a path"));
    let added = gateway.add_site(id("web"), route, SiteKind::Handler);
    added.expect("there is no other");
    let (sites, sites_at) = listener().await;
    let (operators, operators_at) = listener().await;
    let for_sites = gateway.clone();
    tokio::spawn(async move { for_sites.serve_sites(sites, pending()).await });
    tokio::spawn(async move { gateway.serve(operators, pending()).await });
    (sites_at, operators_at)
}

async fn listener() -> (Listener, SocketAddr) {
    let listener = Listener::bind("127.0.0.1:0".parse().expect("it is an address"), true);
    let listener = listener.await.expect("a port is free");
    let ListenAddress::Tcp(address) = *listener.address() else {
        unreachable!("it was one of the network");
    };
    (listener, address)
}
