//! Requests to components that take messages.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Request, Response, StatusCode};
use axum::response::IntoResponse as _;

use wasm_core::{ComponentMessage, HttpRoute, RuntimeEngine};

use crate::fault;
use crate::problem::Problem;
use crate::receive;
use crate::shared::App;
use crate::sites::table::Site;

/// A method, and a path with its query.
const MAX_TYPE_BYTES: usize = 4 << 10;

/// Has a component answer a request as a message.
pub(crate) async fn answer<E: RuntimeEngine + ?Sized + 'static>(
    app: &App<E>,
    site: &Site,
    request: Request<Body>,
) -> Result<Response<Body>, Problem> {
    let (head, body) = request.into_parts();
    let target = head.uri.path_and_query().map_or("/", |it| it.as_str());
    let message_type = format!("{} {target}", head.method);
    if message_type.len() > MAX_TYPE_BYTES {
        return Err(Problem::new(
            StatusCode::URI_TOO_LONG,
            "too-long",
            "The path is too long",
            format!("a path and its query have at most {MAX_TYPE_BYTES} bytes"),
        ));
    }
    let to = &site.component;
    let payload = receive::payload(app, body).await?;
    let message = ComponentMessage::new(app.host.program_id().clone(), to.clone(), payload)
        .with_message_type(message_type.as_str());
    let within = app.limits.request_time;
    match app.host.request_message(message, within).await {
        Ok(Some(reply)) => Ok(response(&site.route, reply.into_bytes())),
        Ok(None) => Ok(StatusCode::NO_CONTENT.into_response()),
        Err(error) => Err(fault::of_request(&app.host, to, error).await),
    }
}

/// A reply has no type of its own in the contract.
fn response(route: &HttpRoute, body: bytes::Bytes) -> Response<Body> {
    let reply_type = route.reply_type.as_deref();
    let reply_type = reply_type.unwrap_or(HttpRoute::DEFAULT_REPLY_TYPE);
    let mut response = Response::new(Body::from(body));
    if let Ok(reply_type) = HeaderValue::from_str(reply_type) {
        response.headers_mut().insert(CONTENT_TYPE, reply_type);
    }
    response
}
