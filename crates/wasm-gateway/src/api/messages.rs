//! Messages to components.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use tracing::field::Empty;
use tracing::{Instrument as _, Span, info_span};

use wasm_core::units::{format_duration, parse_duration};
use wasm_core::{ComponentId, ComponentMessage, CorrelationId, MessagePayload, RuntimeEngine};

use crate::api::target::Target;
use crate::fault;
use crate::problem::Problem;
use crate::receive;
use crate::shared::{App, Shared};
use crate::trace;

/// By which a request is found again in logs. One is made for a request that has none.
pub(crate) const CORRELATION_ID: HeaderName = HeaderName::from_static("correlation-id");
/// How long a request may wait for its answer, such as `250ms`.
pub(crate) const REQUEST_TIMEOUT: HeaderName = HeaderName::from_static("request-timeout");

const MAX_CORRELATION_ID_BYTES: usize = 128;
const MAX_TYPE_BYTES: usize = 256;
/// Of what a component answers with, and of payloads whose sender did not say.
const UNKNOWN_TYPE: &str = "application/octet-stream";

/// Has a component answer a message.
pub(crate) async fn request<E: RuntimeEngine + ?Sized + 'static>(
    State(app): State<App<E>>,
    Target(to): Target,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let within = time_of(&headers, &app)?;
    let envelope = Envelope::read(&headers)?;
    let payload = receive::payload(&app, body).await?;
    let message = envelope.message(&app, &to, payload);
    let asked = app.host.request_message(message, within);
    let span = envelope.span(&app, &headers, &to);
    let mut response = match asked.instrument(span.clone()).await {
        Ok(Some(reply)) => envelope.reply(reply),
        Ok(None) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => fault::of_request(&app.host, &to, error)
            .await
            .into_response(),
    };
    trace::record(&span, response.status());
    envelope.mark(&mut response);
    Ok(response)
}

/// Has a component handle a message that nobody waits for.
pub(crate) async fn send<E: RuntimeEngine + ?Sized + 'static>(
    State(app): State<App<E>>,
    Target(to): Target,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let envelope = Envelope::read(&headers)?;
    let payload = receive::payload(&app, body).await?;
    let message = envelope.message(&app, &to, payload);
    let span = envelope.span(&app, &headers, &to);
    let sent = app.host.dispatch(message).instrument(span.clone()).await;
    let mut response = match sent {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(error) => fault::of_messaging(&app.host, &to, &error)
            .await
            .into_response(),
    };
    trace::record(&span, response.status());
    envelope.mark(&mut response);
    Ok(response)
}

/// What headers say of a message.
struct Envelope {
    message_type: Option<String>,
    correlation_id: CorrelationId,
}

impl Envelope {
    fn read(headers: &HeaderMap) -> Result<Self, Problem> {
        let message_type = text_of(headers, &CONTENT_TYPE, MAX_TYPE_BYTES)?;
        let given = text_of(headers, &CORRELATION_ID, MAX_CORRELATION_ID_BYTES)?;
        Ok(Self {
            message_type: message_type.map(str::to_owned),
            correlation_id: match given {
                Some(id) => id.into(),
                None => made_id()?,
            },
        })
    }

    /// Within which the message is handled.
    fn span<E: RuntimeEngine + ?Sized>(
        &self,
        app: &Shared<E>,
        headers: &HeaderMap,
        to: &ComponentId,
    ) -> Span {
        let span = info_span!(
            "http request",
            otel.kind = "server",
            otel.status_code = Empty,
            http.response.status_code = Empty,
            %to,
            correlation_id = %self.correlation_id,
        );
        app.in_trace(headers, span)
    }

    fn message<E: RuntimeEngine + ?Sized + 'static>(
        &self,
        app: &Shared<E>,
        to: &ComponentId,
        payload: bytes::Bytes,
    ) -> ComponentMessage {
        let message = ComponentMessage::new(app.host.program_id().clone(), to.clone(), payload)
            .with_correlation_id(self.correlation_id.clone());
        match &self.message_type {
            Some(message_type) => message.with_message_type(message_type.as_str()),
            None => message,
        }
    }

    /// A reply has no type of its own in the contract: it is taken for one of the message's.
    /// Whatever it is, a browser runs nothing of it.
    fn reply(&self, payload: MessagePayload) -> Response {
        let mut response = Response::new(Body::from(payload.into_bytes()));
        let message_type = self.message_type.as_deref().unwrap_or(UNKNOWN_TYPE);
        let headers = response.headers_mut();
        if let Ok(message_type) = HeaderValue::from_str(message_type) {
            headers.insert(CONTENT_TYPE, message_type);
        }
        keep_harmless(headers);
        response
    }

    fn mark(&self, response: &mut Response) {
        if let Ok(id) = HeaderValue::from_str(self.correlation_id.as_str()) {
            response.headers_mut().insert(CORRELATION_ID, id);
        }
    }
}

/// For what a component chose the bytes of.
pub(crate) fn keep_harmless(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let nothing = HeaderValue::from_static("default-src 'none'; sandbox");
    headers.insert(CONTENT_SECURITY_POLICY, nothing);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

/// The text of a header that is there once at the most.
fn text_of<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    max_bytes: usize,
) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value.to_str().ok(),
        (Some(_), Some(_)) => None,
    };
    match value.filter(|value| !value.is_empty() && value.len() <= max_bytes) {
        Some(value) => Ok(Some(value)),
        None => Err(Problem::bad_request(format!(
            "`{name}` is to be there once, with 1 to {max_bytes} visible characters of ASCII"
        ))),
    }
}

/// How long a request waits for its answer.
pub(crate) fn time_of<E: RuntimeEngine + ?Sized>(
    headers: &HeaderMap,
    app: &Shared<E>,
) -> Result<Duration, Problem> {
    let most = app.limits.max_request_time;
    let Some(text) = text_of(headers, &REQUEST_TIMEOUT, 32)? else {
        return Ok(app.limits.request_time.min(most));
    };
    let time = parse_duration(text).ok();
    time.filter(|time| *time <= most).ok_or_else(|| {
        let most = format_duration(most);
        Problem::bad_request(format!(
            "`{REQUEST_TIMEOUT}` is a number with a unit, such as 250ms or 5s, and at most {most}"
        ))
    })
}

/// 128 bits that nobody can guess.
fn made_id() -> Result<CorrelationId, Problem> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits)
        .map_err(|error| Problem::unavailable("no-random-numbers", error.to_string()))?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bits)).into())
}
