//! Requests as spans of a trace that may have begun elsewhere.

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode};
use tracing::Span;

/// Makes a span a part of the trace that the headers of its request name.
pub(crate) type TraceContext = Arc<dyn Fn(&HeaderMap, &Span) + Send + Sync>;

/// Says in the span of a request what was answered. What the client did wrong is no error of
/// this span.
pub(crate) fn record(span: &Span, status: StatusCode) {
    // Signed, as integers are that collectors understand.
    span.record("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}
