//! Components that come with their manifests.

use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::multipart::MultipartError;
use axum::extract::{DefaultBodyLimit, FromRequest as _, Multipart, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_blocking;

use wasm_core::manifest::{ComponentManifest, ConfigSource};
use wasm_core::text::Escaped;
use wasm_core::{ComponentId, HttpRoute, RuntimeEngine, WasiGrant};
use wasm_host::{Component, HostError};

use crate::api::components::done;
use crate::api::target::Target;
use crate::problem::Problem;
use crate::receive;
use crate::shared::{App, Shared};
use crate::sites::table::{PathTaken, Site, SiteKind};

/// Loads the component, or replaces the one that is there while messages arrive. That goes on
/// without whoever uploaded it, and the next has to wait for it: nothing stops a compiler.
pub(crate) async fn put<E: RuntimeEngine + ?Sized + 'static>(
    State(app): State<App<E>>,
    Target(id): Target,
    request: Request,
) -> Result<Response, Problem> {
    let turn = Arc::clone(&app.uploads).try_acquire_owned();
    let turn = turn.map_err(|_| {
        Problem::unavailable("no-room", "another component is being uploaded")
            .retry_after(app.limits.body_time)
            .ending_connection()
    })?;
    let parts = Parts::read(&app, request).await?;
    let (component, route) = parts.component(&app, &id)?;
    match tokio::spawn(install(app, component, route, turn)).await {
        Ok(outcome) => outcome,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => Err(Problem::unavailable("ending", "this host is ending")),
        },
    }
}

/// All that an upload sets going, in its turn.
async fn install<E: RuntimeEngine + ?Sized + 'static>(
    app: App<E>,
    component: Component,
    route: Option<HttpRoute>,
    _turn: OwnedSemaphorePermit,
) -> Result<Response, Problem> {
    let (id, bytes) = (component.id.clone(), component.bytes.clone());
    let outcome = match app.host.permissions(&id) {
        Some(_) => done("swapped", app.host.swap(component).await).into_response(),
        None => load(&app, component).await,
    };
    if !outcome.status().is_success() {
        return Ok(outcome);
    }
    match route {
        Some(route) => {
            let site = site_of(&app, id, bytes, route).await;
            app.sites.put(site).map_err(|taken| conflict(&taken))?;
        }
        None => app.sites.remove(&id),
    }
    Ok(outcome)
}

/// The requests that a component of these bytes answers, which was loaded, and how.
async fn site_of<E: RuntimeEngine + ?Sized + 'static>(
    app: &App<E>,
    component: ComponentId,
    bytes: Bytes,
    route: HttpRoute,
) -> Site {
    let app = Arc::clone(app);
    let is_handler = spawn_blocking(move || {
        let handler = app.handler.as_ref();
        handler.is_some_and(|handler| handler.is_handler(app.host.engine(), &bytes))
    });
    let kind = match is_handler.await {
        Ok(true) => SiteKind::Handler,
        _ => SiteKind::Messages,
    };
    Site {
        component,
        route,
        kind,
    }
}

/// It is loaded, and not reached by requests.
fn conflict(taken: &PathTaken) -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "path-taken",
        "The path is another component's",
        format!("the component is loaded, and {taken}"),
    )
    .about(&taken.component)
}

async fn load<E: RuntimeEngine + ?Sized + 'static>(
    app: &Shared<E>,
    component: Component,
) -> Response {
    let loaded: Result<(), HostError> = app.host.load(component).await.map(drop);
    match done("loaded", loaded) {
        Ok(done) => (StatusCode::CREATED, done).into_response(),
        Err(problem) => problem.into_response(),
    }
}

/// The parts of an upload, each there once.
#[derive(Default)]
struct Parts {
    /// `manifest`: the text of a `Component.toml`.
    manifest: Option<Bytes>,
    /// `component`: its binary, in place of the file that the manifest names.
    component: Option<Bytes>,
    /// `config`: in place of the configuration file that it names.
    config: Option<Bytes>,
}

impl Parts {
    async fn read<E: RuntimeEngine + ?Sized>(
        app: &Shared<E>,
        request: Request,
    ) -> Result<Self, Problem> {
        let (head, body) = request.into_parts();
        let limits = &app.limits;
        let whole = receive::whole(body, limits.upload_bytes, limits.upload_time).await?;
        let mut request = Request::new(Body::from(whole));
        if let Some(content_type) = head.headers.get(CONTENT_TYPE) {
            request
                .headers_mut()
                .insert(CONTENT_TYPE, content_type.clone());
        }
        // It is bounded already.
        DefaultBodyLimit::disable().apply(&mut request);
        let multipart = Multipart::from_request(request, &()).await;
        let mut multipart = multipart.map_err(|_| {
            Problem::bad_request(
                "an upload is `multipart/form-data` with the parts `manifest` and `component`, \
                 and `config` if the manifest names a configuration file",
            )
        })?;
        let mut parts = Self::default();
        while let Some(field) = multipart
            .next_field()
            .await
            .map_err(|error| malformed(&error))?
        {
            let name = field.name().unwrap_or_default().to_owned();
            let slot = match name.as_str() {
                "manifest" => &mut parts.manifest,
                "component" => &mut parts.component,
                "config" => &mut parts.config,
                _ => return Err(other_part()),
            };
            if slot.is_some() {
                return Err(other_part());
            }
            *slot = Some(field.bytes().await.map_err(|error| malformed(&error))?);
        }
        Ok(parts)
    }

    fn component<E: RuntimeEngine + ?Sized>(
        self,
        app: &Shared<E>,
        id: &ComponentId,
    ) -> Result<(Component, Option<HttpRoute>), Problem> {
        let missing = |name| Problem::bad_request(format!("the part `{name}` is not there"));
        let text = self.manifest.ok_or_else(|| missing("manifest"))?;
        let bytes = self.component.ok_or_else(|| missing("component"))?;
        let manifest = manifest(&text, app.memory_ceiling_bytes)?;
        check(&manifest, id)?;
        let config = match (&manifest.config, self.config) {
            (ConfigSource::File(_), None) => return Err(missing("config")),
            (ConfigSource::File(_), config) => config,
            (_, Some(_)) => {
                return Err(Problem::bad_request(
                    "there is a part `config`, and the manifest names no configuration file",
                ));
            }
            (_, None) => None,
        };
        let config = manifest.config(config);
        let mut component =
            Component::new(manifest.id, bytes, config).with_supervision(manifest.supervision);
        component.version = manifest.version;
        Ok((component, manifest.http))
    }
}

fn manifest(text: &[u8], memory_ceiling_bytes: u64) -> Result<ComponentManifest, Problem> {
    if text.len() as u64 > ComponentManifest::MAX_BYTES {
        return Err(Problem::bad_request(
            "the part `manifest` is too large to be one",
        ));
    }
    let text = std::str::from_utf8(text)
        .map_err(|_| Problem::bad_request("the part `manifest` is no text in UTF-8"))?;
    let file = Path::new("Component.toml");
    ComponentManifest::parse(text, file, memory_ceiling_bytes)
        .map_err(|errors| unprocessable(errors.to_string()))
}

/// What a manifest may not say that has no folder.
fn check(manifest: &ComponentManifest, id: &ComponentId) -> Result<(), Problem> {
    if manifest.id != *id {
        let detail = format!(
            "the manifest is that of {}, and the path names {id}",
            manifest.id
        );
        return Err(unprocessable(detail).about(id));
    }
    let is_dir = |grant: &WasiGrant| matches!(grant, WasiGrant::Dir { .. });
    if manifest.permissions.wasi.iter().any(is_dir) {
        return Err(unprocessable(
            "an uploaded component has no folder, and is granted none of this machine (`dir` in \
             `wasi` of [permissions])",
        )
        .about(id));
    }
    if let Some((name, _)) = manifest.secrets.first() {
        let detail = format!(
            "an uploaded component is given no file and no variable of this machine (`{}` in \
             [env])",
            Escaped::new(name)
        );
        return Err(unprocessable(detail).about(id));
    }
    Ok(())
}

fn unprocessable(detail: impl Into<String>) -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "bad-manifest",
        "The manifest cannot be used",
        detail,
    )
}

fn malformed(error: &MultipartError) -> Problem {
    Problem::bad_request(format!(
        "the parts cannot be told apart: {}",
        error.body_text()
    ))
}

fn other_part() -> Problem {
    Problem::bad_request("the parts are `manifest`, `component` and `config`, each once")
}
