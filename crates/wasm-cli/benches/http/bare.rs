//! The same component on wasmtime, and nothing around it but hyper.

use std::convert::Infallible;
use std::net::SocketAddr;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use tokio::sync::oneshot;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::{
    Error as HttpError, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks,
    WasiHttpView,
};

use wasm_fixtures::WEB;
use wasm_runtime::wasmtime::component::{Component, Linker, ResourceTable};
use wasm_runtime::wasmtime::{Engine, Store};
use wasm_runtime::wasmtime_wasi::{self, WasiCtx, WasiCtxView, WasiView};

use crate::{alone, config};

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
pub(crate) async fn serve() -> SocketAddr {
    let engine = Engine::new(&config().wasmtime_config()).expect("it can be set up");
    let component = Component::from_binary(&engine, WEB.wasm).expect("it compiles");
    let mut linker: Linker<State> = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)
        .and_then(|()| wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker))
        .expect("it links");
    let pre = linker.instantiate_pre(&component).and_then(ProxyPre::new);
    let pre = pre.expect("it fits");
    alone::serve(service_fn(move |request| answer(pre.clone(), request))).await
}

async fn answer(
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
