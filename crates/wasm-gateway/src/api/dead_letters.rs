//! Messages that could not be handled.

use axum::body::Body;
use axum::extract::{RawPathParams, State};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;

use wasm_core::RuntimeEngine;

use crate::api::components::done;
use crate::api::messages::keep_harmless;
use crate::json::Json;
use crate::problem::Problem;
use crate::shared::App;
use crate::views::{DeadLetterList, DeadLetterView, Done};

pub(crate) async fn list<E: RuntimeEngine + ?Sized + 'static>(
    State(app): State<App<E>>,
) -> Json<DeadLetterList> {
    let letters = app.host.dead_letters();
    let dead_letters = letters.iter().map(DeadLetterView::new).collect();
    Json(DeadLetterList { dead_letters })
}

/// What one of them said.
pub(crate) async fn payload<E: RuntimeEngine + ?Sized + 'static>(
    State(app): State<App<E>>,
    params: RawPathParams,
) -> Result<Response, Problem> {
    let number = number_of(&params)?;
    let mut letters = app.host.dead_letters().into_iter();
    let letter = letters.find(|letter| letter.number == number);
    let letter = letter.ok_or_else(|| absent(number))?;
    let mut response = Response::new(Body::from(letter.message.payload.into_bytes()));
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    keep_harmless(headers);
    Ok(response)
}

pub(crate) async fn redeliver<E: RuntimeEngine + ?Sized + 'static>(
    State(app): State<App<E>>,
    params: RawPathParams,
) -> Result<Json<Done>, Problem> {
    done("redelivered", app.host.redeliver(number_of(&params)?))
}

fn number_of(params: &RawPathParams) -> Result<u64, Problem> {
    let (_, text) = params.iter().next().unwrap_or_default();
    text.parse()
        .map_err(|_| Problem::not_found("dead letters have numbers"))
}

fn absent(number: u64) -> Problem {
    Problem::not_found(format!("there is no dead letter {number}"))
}
