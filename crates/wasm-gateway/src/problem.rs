//! What is answered instead of what was asked for: problem documents, RFC 9457.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use wasm_core::ComponentId;

/// The content type of a problem document.
pub(crate) const PROBLEM_TYPE: &str = "application/problem+json";

/// The problem documents of this program have types that begin like this.
const TYPE_PREFIX: &str = "urn:airssys-wasm:problem:";

/// Why a request was not answered as it asked.
#[derive(Debug, Clone)]
pub(crate) struct Problem(Box<Document>);

/// The same as it is written.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(crate) struct Document {
    /// What kind of problem it is.
    #[serde(rename = "type")]
    kind: String,
    /// The same for people, alike for all of a kind.
    title: &'static str,
    /// The status of the response.
    status: u16,
    /// What happened this time, and what mends it.
    detail: String,
    /// The component that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<String>,
    /// Of an error that a component answered with, its case in the contract.
    #[serde(skip_serializing_if = "Option::is_none")]
    case: Option<&'static str>,
    /// After how many seconds it may be tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    /// What is left of the request is not read.
    #[serde(skip)]
    ends_connection: bool,
    /// The detail is of the inside of a component.
    #[serde(skip)]
    is_internal: bool,
}

/// In place of what is of the inside of a component, which may have written anything there.
const FOR_VISITORS: &str = "whoever operates it is told why";

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self(Box::new(Document {
            kind: format!("{TYPE_PREFIX}{kind}"),
            title,
            status: status.as_u16(),
            detail: detail.into(),
            component: None,
            case: None,
            retry_after: None,
            ends_connection: false,
            is_internal: false,
        }))
    }

    /// A request that cannot be understood.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "bad-request",
            "The request cannot be understood",
            detail,
        )
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not-found",
            "There is no such thing",
            detail,
        )
    }

    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "This must not be done",
            detail,
        )
    }

    pub(crate) fn too_large(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "The request is too large",
            detail,
        )
        .ending_connection()
    }

    /// Something that is only so much of is used up for now.
    pub(crate) fn unavailable(kind: &'static str, detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            kind,
            "This cannot be done now",
            detail,
        )
    }

    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub(crate) fn about(mut self, component: &ComponentId) -> Self {
        self.0.component = Some(component.to_string());
        self
    }

    pub(crate) fn with_case(mut self, case: &'static str) -> Self {
        self.0.case = Some(case);
        self
    }

    pub(crate) fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait.as_secs().max(1));
        self
    }

    /// Its detail is for those who operate the component.
    pub(crate) fn of_the_inside(mut self) -> Self {
        self.0.is_internal = true;
        self
    }

    /// What its component has done wrong, if that is what happened.
    pub(crate) fn of_component(&self) -> Option<&str> {
        let is_its_own = matches!(
            self.status(),
            StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT
        );
        (is_its_own || self.0.is_internal).then_some(&self.0.detail)
    }

    /// For somebody of whom nothing is known.
    pub(crate) fn for_visitors(mut self) -> Self {
        if self.0.is_internal {
            self.0.detail = FOR_VISITORS.to_owned();
        }
        self
    }

    /// For a request that may be a part of another, or of which something is not read.
    pub(crate) fn ending_connection(mut self) -> Self {
        self.0.ends_connection = true;
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let text = serde_json::to_vec(&*self.0).unwrap_or_default();
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_TYPE));
        if let Some(seconds) = self.0.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.0.status == StatusCode::UNAUTHORIZED.as_u16() {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.0.ends_connection {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
