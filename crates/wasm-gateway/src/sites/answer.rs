//! A request to a component, from where it comes to what answers it.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{Extension, State};
use axum::http::header::{AUTHORIZATION, CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method, Request, Response, StatusCode};
use axum::response::IntoResponse as _;
use futures_util::stream;
use tracing::field::Empty;
use tracing::{Instrument as _, info_span};

use wasm_core::RuntimeEngine;

use crate::access::origin;
use crate::access::role::Role;
use crate::problem::Problem;
use crate::shared::App;
use crate::sites::table::{Site, SiteKind};
use crate::sites::unanswered::Asked;
use crate::sites::{call, message};
use crate::trace;

/// What a component answers with at the address of operators is of another origin to a
/// browser: a script of it must not do there what the page may.
const FOREIGN: &str = "sandbox allow-forms allow-popups allow-scripts";

/// Of a method, in a span, which is kept until it is sent: there is none of that length.
const METHOD_BYTES: usize = 32;

/// Whether the connection is one of TLS.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IsSecure(pub(crate) bool);

/// Where operators get in, too: with the same checks and tokens.
pub(crate) async fn beside_gateway<E: RuntimeEngine + ?Sized + 'static>(
    State(app): State<App<E>>,
    secure: Option<Extension<IsSecure>>,
    mut request: Request<Body>,
) -> Result<Response<Body>, Problem> {
    let is_secure = is_secure(secure);
    let site = find(&app, &request)?;
    app.access.authorize(request.headers(), Role::Message)?;
    if app.access.asks_for_tokens() {
        // It was for the gateway, and is none of the component's business.
        request.headers_mut().remove(AUTHORIZATION);
    }
    let mut response = answer(&app, &site, request, is_secure).await?;
    let foreign = HeaderValue::from_static(FOREIGN);
    let headers = response.headers_mut();
    headers.append(CONTENT_SECURITY_POLICY, foreign);
    Ok(response)
}

/// What [`visited`] does, for the router of an embedder.
pub(crate) async fn alone<E: RuntimeEngine + ?Sized + 'static>(
    State(app): State<App<E>>,
    secure: Option<Extension<IsSecure>>,
    request: Request<Body>,
) -> Response<Body> {
    visited(&app, request, is_secure(secure)).await
}

/// What a visitor is answered, whatever is wrong with the request.
pub(crate) async fn visited<E: RuntimeEngine + ?Sized + 'static>(
    app: &App<E>,
    request: Request<Body>,
    is_secure: IsSecure,
) -> Response<Body> {
    let answered = async {
        origin::check_request(request.uri(), request.headers())
            .map_err(Problem::ending_connection)?;
        let site = find(app, &request)?;
        answer(app, &site, request, is_secure).await
    };
    let answered = answered.await;
    answered.unwrap_or_else(|problem| {
        let mut response = problem.for_visitors().into_response();
        let nosniff = HeaderValue::from_static("nosniff");
        response
            .headers_mut()
            .insert(X_CONTENT_TYPE_OPTIONS, nosniff);
        response
    })
}

/// As the server says; one of an embedder's own may not.
fn is_secure(secure: Option<Extension<IsSecure>>) -> IsSecure {
    secure.map_or(IsSecure(false), |Extension(secure)| secure)
}

fn find<E: RuntimeEngine + ?Sized>(
    app: &App<E>,
    request: &Request<Body>,
) -> Result<Arc<Site>, Problem> {
    check_method(request.method())?;
    let site = app.sites.find(request.uri().path());
    site.ok_or_else(|| Problem::not_found("there is nothing at this path"))
}

/// What is about the connection is no component's to answer: somebody in between would take a
/// success of CONNECT for a tunnel, and TRACE asks to be sent back what others have added
/// (RFC 9110, 9.3.6 and 9.3.8).
fn check_method(method: &Method) -> Result<(), Problem> {
    if !matches!(*method, Method::CONNECT | Method::TRACE) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::NOT_IMPLEMENTED,
        "not-implemented",
        "This is done nowhere here",
        format!("no component is asked with {method}; every other method is for it to answer"),
    )
    .ending_connection())
}

async fn answer<E: RuntimeEngine + ?Sized + 'static>(
    app: &App<E>,
    site: &Site,
    request: Request<Body>,
    IsSecure(is_secure): IsSecure,
) -> Result<Response<Body>, Problem> {
    let is_head = request.method() == Method::HEAD;
    let method = request.method().as_str();
    let span = info_span!(
        "http request",
        otel.kind = "server",
        otel.status_code = Empty,
        http.response.status_code = Empty,
        to = %site.component,
        http.request.method = method.get(..METHOD_BYTES).unwrap_or(method),
    );
    let span = app.in_trace(request.headers(), span);
    let asked = Asked::new(&request);
    let answering = async {
        match (site.kind, app.handler.clone()) {
            (SiteKind::Handler, Some(handler)) => {
                call::answer(app, handler, &site.component, request, is_secure).await
            }
            _ => message::answer(app, site, request).await,
        }
    };
    let answered = answering.instrument(span.clone()).await;
    let status = answered
        .as_ref()
        .map_or_else(Problem::status, Response::status);
    trace::record(&span, status);
    if let Some(why) = answered.as_ref().err().and_then(Problem::of_component) {
        let of = &site.component;
        app.unanswered.tell(of, "has not answered", &asked, why);
    }
    answered.map(|response| match is_head {
        true => without_length_of_nothing(response),
        false => response,
    })
}

/// A component may answer HEAD without the body that it would answer GET with, and how long that
/// would be, only its own `content-length` says (RFC 9110, 8.6). A router would say 0 of a body
/// that it knows to be empty.
fn without_length_of_nothing(response: Response<Body>) -> Response<Body> {
    match response.body().size_hint().exact() {
        Some(0) => {
            response.map(|_| Body::from_stream(stream::empty::<Result<Bytes, Infallible>>()))
        }
        _ => response,
    }
}
