//! What is known of all hosts, where this one is one of several.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use bytes::Bytes;
use tokio::time::timeout;

use wasm_core::RuntimeEngine;

use crate::api::event_stream::{FOLLOW, Source, room, told};
use crate::api::query::Query;
use crate::cluster::{Cluster, ClusterError, ClusterEvents};
use crate::events::sse;
use crate::json::Json;
use crate::problem::Problem;
use crate::shared::{App, Shared};
use crate::views::{NodeDeadLetterList, NodeList, without_query};

/// Dead letters that are told: the latest. Each may be read from far away with all that it said.
const LATEST: usize = 100;

pub(crate) async fn list<E: RuntimeEngine + ?Sized + 'static>(
    State(app): State<App<E>>,
) -> Result<Json<NodeList>, Problem> {
    let cluster = cluster(&app)?;
    let nodes = ask(&app, cluster.nodes()).await?;
    Ok(Json(NodeList { nodes }))
}

pub(crate) async fn dead_letters<E: RuntimeEngine + ?Sized + 'static>(
    State(app): State<App<E>>,
) -> Result<Json<NodeDeadLetterList>, Problem> {
    let cluster = cluster(&app)?;
    let mut dead_letters = ask(&app, cluster.dead_letters(LATEST)).await?;
    for letter in &mut dead_letters {
        letter.message_type = letter.message_type.as_deref().map(without_query);
    }
    Ok(Json(NodeDeadLetterList { dead_letters }))
}

/// Events of all hosts from now on.
pub(crate) async fn events<E: RuntimeEngine + ?Sized + 'static>(
    State(app): State<App<E>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let cluster = cluster(&app)?;
    let room = room(&app)?;
    let events = timeout(app.limits.request_time, cluster.events()).await;
    let events = events.map_err(|_| silent(&app))?;
    let events = events.map_err(|error| unknown(&error))?;
    let first_words = Bytes::from_static(FOLLOW);
    Ok(told(&app, headers, room, first_words, Everywhere(events)))
}

struct Everywhere(Box<dyn ClusterEvents>);

impl Source for Everywhere {
    async fn next(&mut self) -> Option<Bytes> {
        let event = self.0.next().await?;
        Some(sse(None, word(&event.kind), &event))
    }
}

/// What is no word would end the line that it is in.
fn word(kind: &str) -> &str {
    let is_word = kind
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    match is_word && !kind.is_empty() {
        true => kind,
        false => "other",
    }
}

fn cluster<E: RuntimeEngine + ?Sized>(app: &Shared<E>) -> Result<Arc<dyn Cluster>, Problem> {
    app.cluster
        .clone()
        .ok_or_else(|| Problem::not_found("this host is alone: it is not one of several nodes"))
}

/// Few ask at a time; the others wait for as long as a request may take.
async fn ask<E: RuntimeEngine + ?Sized, T>(
    app: &Shared<E>,
    asking: impl Future<Output = Result<T, ClusterError>>,
) -> Result<T, Problem> {
    let answer = async {
        // It is never closed.
        let _turn = app.asking.acquire().await;
        asking.await
    };
    let answer = timeout(app.limits.request_time, answer).await;
    answer
        .map_err(|_| silent(app))?
        .map_err(|error| unknown(&error))
}

fn silent<E: RuntimeEngine + ?Sized>(app: &Shared<E>) -> Problem {
    let detail = format!(
        "the nodes have not answered within {:?}",
        app.limits.request_time
    );
    Problem::unavailable("cluster", detail)
}

fn unknown(error: &ClusterError) -> Problem {
    Problem::unavailable("cluster", error.to_string())
}
