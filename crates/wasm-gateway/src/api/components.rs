//! Which components there are, and what an operator does with them.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use tokio::time::timeout;

use wasm_core::units::format_duration;
use wasm_core::{ComponentId, RuntimeEngine};
use wasm_host::HostError;

use crate::api::messages::time_of;
use crate::api::query::Query;
use crate::api::target::Target;
use crate::fault;
use crate::json::{self, Json};
use crate::problem::Problem;
use crate::receive;
use crate::shared::App;
use crate::views::{ComponentList, ComponentView, Done, PermissionsView};

/// Components in one answer, if nothing else is asked for, and at the most.
pub(crate) const LISTED: usize = 100;
pub(crate) const MOST_LISTED: usize = 1_000;

pub(crate) async fn list<E: RuntimeEngine + ?Sized + 'static>(
    State(app): State<App<E>>,
    uri: Uri,
) -> Result<Json<ComponentList>, Problem> {
    let query = Query::read(&uri, &["after", "limit"])?;
    let after = query
        .value("after")
        .map(str::parse::<ComponentId>)
        .transpose();
    let after = after.map_err(|error| Problem::bad_request(error.to_string()))?;
    let limit = query.value("limit").map_or(Ok(LISTED), str::parse);
    let limit = limit.ok().filter(|limit| (1..=MOST_LISTED).contains(limit));
    let limit = limit.ok_or_else(|| {
        Problem::bad_request(format!("`limit` is a number from 1 to {MOST_LISTED}"))
    })?;
    let mut ids = app.host.ids(after.as_ref(), limit + 1);
    let has_more = ids.len() > limit;
    ids.truncate(limit);
    let next = ids.last().filter(|_| has_more).map(ToString::to_string);
    let mut components = Vec::with_capacity(ids.len());
    for id in &ids {
        let status = app.host.component(id).await;
        components.extend(status.map(|status| ComponentView::new(&status)));
    }
    Ok(Json(ComponentList { components, next }))
}

pub(crate) async fn show<E: RuntimeEngine + ?Sized + 'static>(
    State(app): State<App<E>>,
    Target(id): Target,
) -> Result<Json<ComponentView>, Problem> {
    let status = app.host.component(&id).await.ok_or_else(|| absent(&id))?;
    let (in_force, granted) = (app.host.permissions(&id), app.host.granted(&id));
    let view = ComponentView::new(&status);
    Ok(Json(
        view.with_permissions(in_force.as_ref(), granted.as_ref()),
    ))
}

pub(crate) async fn restart<E: RuntimeEngine + ?Sized + 'static>(
    State(app): State<App<E>>,
    Target(id): Target,
    headers: HeaderMap,
) -> Result<Json<Done>, Problem> {
    let within = time_of(&headers, &app)?;
    match timeout(within, app.host.restart(&id)).await {
        Ok(restarted) => done("restarted", restarted),
        Err(_) => Err(busy(&id, within)),
    }
}

pub(crate) async fn unload<E: RuntimeEngine + ?Sized + 'static>(
    State(app): State<App<E>>,
    Target(id): Target,
    headers: HeaderMap,
) -> Result<Json<Done>, Problem> {
    let within = time_of(&headers, &app)?;
    let warning = match timeout(within, app.host.unload(&id)).await {
        Ok(Ok(())) => None,
        // Of its shutdown; it is gone all the same.
        Ok(Err(HostError::Engine(error))) => Some(error.to_string()),
        Ok(Err(error)) => return Err(fault::of_host(&error)),
        Err(_) => return Err(busy(&id, within)),
    };
    app.sites.remove(&id);
    let done = "unloaded";
    Ok(Json(Done { done, warning }))
}

pub(crate) async fn permissions<E: RuntimeEngine + ?Sized + 'static>(
    State(app): State<App<E>>,
    Target(id): Target,
) -> Result<Json<PermissionsView>, Problem> {
    let permissions = app.host.permissions(&id).ok_or_else(|| absent(&id))?;
    Ok(Json(PermissionsView::new(&permissions)))
}

pub(crate) async fn set_permissions<E: RuntimeEngine + ?Sized + 'static>(
    State(app): State<App<E>>,
    Target(id): Target,
    body: Body,
) -> Result<Json<Done>, Problem> {
    let body = receive::payload(&app, body).await?;
    let wanted: PermissionsView = json::read(&body)?;
    let in_force = app.host.permissions(&id).ok_or_else(|| absent(&id))?;
    let permissions = wanted.into_permissions(&in_force);
    let permissions = permissions.map_err(|error| Problem::bad_request(error).about(&id))?;
    done(
        "permissions-changed",
        app.host.set_permissions(&id, permissions),
    )
}

pub(crate) fn done(
    done: &'static str,
    outcome: Result<(), HostError>,
) -> Result<Json<Done>, Problem> {
    let warning = None;
    match outcome {
        Ok(()) => Ok(Json(Done { done, warning })),
        Err(error) => Err(fault::of_host(&error)),
    }
}

fn absent(id: &ComponentId) -> Problem {
    Problem::not_found(format!("no component {id} is loaded")).about(id)
}

/// What was asked for is done once its call has ended.
fn busy(id: &ComponentId, within: std::time::Duration) -> Problem {
    let within = format_duration(within);
    let detail = format!("{id} is busy, and that was not done within {within}; it may be later");
    Problem::new(
        axum::http::StatusCode::GATEWAY_TIMEOUT,
        "timed-out",
        "The component has not answered in time",
        detail,
    )
    .about(id)
}
