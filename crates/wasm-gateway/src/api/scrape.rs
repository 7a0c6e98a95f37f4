//! What watches a host asks for again and again.

use std::time::Instant;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;

use wasm_core::RuntimeEngine;

use crate::metrics::gauges::Gauges;
use crate::problem::Problem;
use crate::shared::App;

/// Components of which there are gauges; of more there are only the measurements.
const GAUGED: usize = 10_000;

pub(crate) async fn metrics<E: RuntimeEngine + ?Sized + 'static>(
    State(app): State<App<E>>,
) -> Response {
    let mut gauges = Gauges::default();
    for id in app.host.ids(None, GAUGED) {
        if let Some(status) = app.host.component(&id).await {
            gauges.add(&status);
        }
    }
    let mut text = gauges.render();
    if let Some(metrics) = &app.metrics {
        text.push_str(&metrics.render(&app.host, Instant::now()));
    }
    plain(text, "text/plain; version=0.0.4; charset=utf-8")
}

/// The process answers.
pub(crate) async fn alive() -> Response {
    plain("alive\n".to_owned(), "text/plain; charset=utf-8")
}

/// It takes messages.
pub(crate) async fn ready<E: RuntimeEngine + ?Sized + 'static>(
    State(app): State<App<E>>,
) -> Result<Response, Problem> {
    match *app.draining.borrow() {
        true => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "stopped",
            "This cannot be done now",
            "it is about to end",
        )),
        false => Ok(plain("ready\n".to_owned(), "text/plain; charset=utf-8")),
    }
}

fn plain(text: String, content_type: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
