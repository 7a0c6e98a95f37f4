//! Components that answer HTTP requests: which do, at which paths, and how the engine has them
//! do it.

use std::sync::Arc;

use tokio::select;
use tokio::sync::oneshot::Sender;
use tokio::task::spawn_blocking;

use wasm_core::{ComponentHandle, ComponentId, LIFECYCLE_INTERFACE};
use wasm_gateway::http::{Method, Request, Response};
use wasm_gateway::{Body, Gateway, HttpCall, HttpHandler, HttpResponder, SiteKind};
use wasm_runtime::{HttpPending, HttpScheme, WasmtimeEngine, http_exchange};

use crate::input::anatomy::Names;
use crate::input::source::Source;
use crate::output::report::Report;

/// How wasmtime has components answer requests.
pub(crate) struct OnWasmtime;

impl HttpHandler<WasmtimeEngine> for OnWasmtime {
    fn is_handler(&self, engine: &WasmtimeEngine, bytes: &[u8]) -> bool {
        Names::of(bytes).is_ok_and(|names| names.answers_http(engine))
    }

    fn answer(
        &self,
        engine: Arc<WasmtimeEngine>,
        component: ComponentHandle,
        request: Request<Body>,
        is_secure: bool,
        responder: HttpResponder,
    ) -> HttpCall {
        Box::pin(async move {
            let scheme = match is_secure {
                true => HttpScheme::Https,
                false => HttpScheme::Http,
            };
            let method = request.method().clone();
            let (given, pending) = http_exchange();
            let call = engine.answer_http(&component, request, scheme, given);
            let (outcome, ()) = tokio::join!(call, hand_on(pending, &method, responder));
            outcome.map(drop)
        })
    }
}

/// The response, once it begins, unless nobody waits for it any more.
async fn hand_on(
    pending: HttpPending,
    method: &Method,
    mut responder: Sender<Result<Response<Body>, String>>,
) {
    let response = select! {
        response = pending.response(method) => response,
        () = responder.closed() => None,
    };
    if let Some(response) = response {
        // Whoever waited may have gone since, which the body tells.
        let _ = responder.send(response.map(|response| response.map(Body::new)));
    }
}

/// The requests that components of a running host answer.
#[derive(Clone)]
pub(crate) struct Sites(Gateway<WasmtimeEngine>);

impl Sites {
    pub(crate) fn new(gateway: Gateway<WasmtimeEngine>) -> Self {
        Self(gateway)
    }

    /// What the manifest of a component says that was loaded.
    pub(crate) async fn put(&self, source: &Arc<Source>) -> Result<(), Report> {
        let Some(route) = source.http.clone() else {
            self.remove(&source.id);
            return Ok(());
        };
        let kind = kind_of(source, self.0.host().engine()).await?;
        let put = self.0.add_site(source.id.clone(), route, kind);
        put.map_err(|taken| source.at_key(Report::error(taken.to_string()), "http.path"))
    }

    pub(crate) fn remove(&self, id: &ComponentId) {
        self.0.remove_site(id);
    }
}

/// How a component that is loaded answers requests, which the names of its exports tell.
pub(crate) async fn kind_of(
    source: &Arc<Source>,
    engine: &Arc<WasmtimeEngine>,
) -> Result<SiteKind, Report> {
    let (looked_at, engine) = (Arc::clone(source), Arc::clone(engine));
    let kind = spawn_blocking(move || {
        // What has no names is not loaded either.
        let names = Names::of(&looked_at.bytes).ok()?;
        kind_in(&names, &engine)
    });
    let kind = kind.await.ok().flatten();
    kind.ok_or_else(|| answers_none(source))
}

/// The same of one with exports of these names.
pub(crate) fn kind_in(names: &Names<'_>, engine: &WasmtimeEngine) -> Option<SiteKind> {
    match (names.answers_http(engine), names.takes_messages(engine)) {
        (true, _) => Some(SiteKind::Handler),
        (false, true) => Some(SiteKind::Messages),
        (false, false) => None,
    }
}

pub(crate) fn answers_none(source: &Source) -> Report {
    let report = Report::error(format!(
        "{} answers no requests: it exports neither `wasi:http/incoming-handler@0.2` nor \
         `{LIFECYCLE_INTERFACE}`",
        source.id
    ));
    source.at_key(report, "http.path")
}

#[cfg(test)]
mod tests {
    use wasm_core::HostServices;
    use wasm_runtime::EngineConfig;

    use super::*;

    /// Nothing bounds what a validator makes of a few bytes, and it would not take these.
    #[test]
    fn what_answers_requests_is_not_validated_for_that() {
        let engine = WasmtimeEngine::new(EngineConfig::default(), HostServices::default()).unwrap();
        let text = "(component
            (component (import \"i\" (instance (type 99))) (instance (instantiate 98)))
            (core module (func i32.add drop))
            (export \"wasi:http/incoming-handler@0.2.0\" (instance 97)))";
        let bytes = wat::parse_str(text).unwrap();
        assert!(OnWasmtime.is_handler(&engine, &bytes));
        assert!(!OnWasmtime.is_handler(&engine, &bytes[..bytes.len() - 1]));
    }
}
