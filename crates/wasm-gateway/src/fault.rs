//! Which problem each error of a host is.

use std::time::Duration;

use axum::http::StatusCode;

use wasm_core::{ComponentId, GuestError, MessagingError, WasmError};
use wasm_host::{Host, HostError, Phase, RequestError};

use crate::problem::Problem;

/// A queue that is full has room again soon, or its component is too slow.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What became of a message or a request for `to`.
pub(crate) async fn of_request<E: wasm_core::RuntimeEngine + ?Sized + 'static>(
    host: &Host<E>,
    to: &ComponentId,
    error: RequestError,
) -> Problem {
    match error {
        RequestError::Component(error) => of_component(to, &error),
        RequestError::Messaging(error) => of_messaging(host, to, &error).await,
        error => failed(to, error.to_string()),
    }
}

/// Why a message for `to` was not accepted, or got lost.
pub(crate) async fn of_messaging<E: wasm_core::RuntimeEngine + ?Sized + 'static>(
    host: &Host<E>,
    to: &ComponentId,
    error: &MessagingError,
) -> Problem {
    match error {
        MessagingError::DeliveryFailed(_) => {
            let status = host.component(to).await;
            if let Some(status) = status.filter(|status| status.phase == Phase::Quarantined) {
                return quarantined(to, status.cause.as_deref());
            }
            Problem::unavailable("not-delivered", error.to_string()).about(to)
        }
        error => of_refusal(to, error),
    }
}

/// The same, as far as it can be told from the error alone.
fn of_refusal(to: &ComponentId, error: &MessagingError) -> Problem {
    let detail = error.to_string();
    match error {
        MessagingError::TargetNotFound(_) => Problem::not_found(detail).about(to),
        MessagingError::QueueFull => Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "queue-full",
            "The component has no room for another message",
            format!("{to} has no room for another message (`mailbox` in [supervision])"),
        )
        .about(to)
        .retry_after(RETRY_AFTER),
        MessagingError::CorrelationTimeout(_) => {
            timed_out(to, format!("{to} has not answered in time"))
        }
        MessagingError::InvalidMessage(_) => Problem::bad_request(detail).about(to),
        _ => Problem::unavailable("not-delivered", detail).about(to),
    }
}

fn of_component(to: &ComponentId, error: &WasmError) -> Problem {
    match error {
        WasmError::GuestError { error, .. } => {
            let text = error.text().unwrap_or_default();
            Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "component-error",
                "The component answered with an error",
                text,
            )
            .about(to)
            .with_case(case_of(error))
        }
        WasmError::Timeout { .. } => timed_out(to, error.to_string()).of_the_inside(),
        WasmError::ComponentFailed { .. } => quarantined(to, Some(error)),
        error => failed(to, error.to_string()),
    }
}

fn case_of(error: &GuestError) -> &'static str {
    match error {
        GuestError::ComponentNotFound(_) => "component-not-found",
        GuestError::InstantiationFailed(_) => "instantiation-failed",
        GuestError::ExportNotFound(_) => "export-not-found",
        GuestError::Timeout => "timeout",
        GuestError::ResourceLimitExceeded(_) => "resource-limit-exceeded",
        GuestError::InvalidComponent(_) => "invalid-component",
        GuestError::RuntimeError(_) => "runtime-error",
    }
}

pub(crate) fn timed_out(to: &ComponentId, detail: String) -> Problem {
    Problem::new(
        StatusCode::GATEWAY_TIMEOUT,
        "timed-out",
        "The component has not answered in time",
        detail,
    )
    .about(to)
}

/// Over this very request.
fn failed(to: &ComponentId, detail: String) -> Problem {
    Problem::new(
        StatusCode::BAD_GATEWAY,
        "component-failed",
        "The component failed over the request",
        detail,
    )
    .about(to)
    .of_the_inside()
}

fn quarantined(to: &ComponentId, cause: Option<&WasmError>) -> Problem {
    let because = cause.map_or_else(String::new, |cause| format!(": {cause}"));
    let detail = format!("{to} has failed and is not restarted until an operator does{because}");
    Problem::unavailable("quarantined", detail)
        .about(to)
        .of_the_inside()
}

/// What a host could not do with a component.
pub(crate) fn of_host(error: &HostError) -> Problem {
    let detail = error.to_string();
    match error {
        HostError::NotLoaded(id) => Problem::not_found(detail).about(id),
        HostError::NoDeadLetter(_) => Problem::not_found(detail),
        HostError::AlreadyLoaded(id) | HostError::Superseded(id) => conflict(detail).about(id),
        HostError::NotRedeliverable { .. } => conflict(detail),
        HostError::NotRedelivered { source, .. } => match source {
            MessagingError::QueueFull => Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "queue-full",
                "The component has no room for another message",
                detail,
            )
            .retry_after(RETRY_AFTER),
            _ => Problem::unavailable("not-delivered", detail),
        },
        HostError::Reserved(id) => Problem::forbidden(detail).about(id),
        HostError::Widened { component, .. } => Problem::forbidden(detail).about(component),
        HostError::Budget { component, .. } => {
            Problem::unavailable("no-room", detail).about(component)
        }
        HostError::Engine(error) => unprocessable(error),
        _ => Problem::unavailable("stopped", detail),
    }
}

fn conflict(detail: String) -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "conflict",
        "Something else is there",
        detail,
    )
}

/// What was loaded, or started again, does not start.
fn unprocessable(error: &WasmError) -> Problem {
    let problem = Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "not-started",
        "The component does not start",
        error.to_string(),
    );
    match error.component() {
        Some(id) => problem.about(id),
        None => problem,
    }
}
