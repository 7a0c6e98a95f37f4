//! Bodies of requests, within bounds of their size and time.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body as _;
use tokio::time::timeout;

use wasm_core::RuntimeEngine;
use wasm_core::units::{format_bytes, format_duration};

use crate::problem::Problem;
use crate::shared::{RECEIVED_UNIT, Shared};

/// The payload of a message.
pub(crate) async fn payload<E: RuntimeEngine + ?Sized>(
    shared: &Shared<E>,
    body: Body,
) -> Result<Bytes, Problem> {
    let limit = shared.limits.body_bytes;
    let most = check_announced(&body, limit)?;
    if most == 0 {
        return Ok(Bytes::new());
    }
    let units = u32::try_from(most.div_ceil(RECEIVED_UNIT)).unwrap_or(u32::MAX);
    let room = shared.received.try_acquire_many(units).map_err(|_| {
        let limit = format_bytes(shared.limits.received_bytes as u64);
        let detail = format!("{limit} are being received already, as much as may be at a time");
        Problem::unavailable("no-room", detail)
            .retry_after(shared.limits.body_time)
            .ending_connection()
    })?;
    let payload = whole(body, limit, shared.limits.body_time).await;
    drop(room);
    payload
}

/// All of a body, of at most `limit` bytes.
pub(crate) async fn whole(body: Body, limit: usize, within: Duration) -> Result<Bytes, Problem> {
    check_announced(&body, limit)?;
    let collected = timeout(within, Limited::new(body, limit).collect());
    match collected.await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(limit)),
        Ok(Err(_)) => {
            Err(Problem::bad_request("the body ended before its end").ending_connection())
        }
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "too-slow",
            "The request took too long to arrive",
            format!("the body was not there within {}", format_duration(within)),
        )
        .ending_connection()),
    }
}

/// How large it is at the most.
fn check_announced(body: &Body, limit: usize) -> Result<usize, Problem> {
    let size = body.size_hint();
    match size.lower() > limit as u64 {
        true => Err(too_large(limit)),
        false => Ok(size
            .upper()
            .map_or(limit, |upper| limit.min(upper as usize))),
    }
}

fn too_large(limit: usize) -> Problem {
    let limit = format_bytes(limit as u64);
    Problem::too_large(format!("at most {limit} are taken here"))
}
