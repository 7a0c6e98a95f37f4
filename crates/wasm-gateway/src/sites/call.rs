//! Requests to components that export `wasi:http/incoming-handler`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;
use tokio::time::timeout;

use wasm_core::units::format_duration;
use wasm_core::{ComponentId, RuntimeEngine};
use wasm_host::PendingCall;

use crate::fault;
use crate::problem::Problem;
use crate::shared::App;
use crate::sites::body::unless_it_pauses;
use crate::sites::handler::HttpHandler;
use crate::sites::unanswered::Asked;

/// A call that fails over its response has ended by then.
const SOON: Duration = Duration::from_millis(100);

/// Has a component answer a request in its turn.
pub(crate) async fn answer<E: RuntimeEngine + ?Sized + 'static>(
    app: &App<E>,
    handler: Arc<dyn HttpHandler<E>>,
    to: &ComponentId,
    request: Request<Body>,
    is_secure: bool,
) -> Result<Response<Body>, Problem> {
    let (responder, response) = oneshot::channel();
    let pause_time = app.limits.pause_time;
    let asked = Asked::new(&request);
    let request = request.map(|body| unless_it_pauses(body, pause_time));
    // What events and dead letters call it. What follows the path may be a secret.
    let name = format!("{} {}", request.method(), request.uri().path());
    let call = app.host.submit_call(to, &name, move |engine, component| {
        handler.answer(engine, component, request, is_secure, responder)
    });
    let mut call = match call {
        Ok(call) => call,
        Err(error) => return Err(fault::of_request(&app.host, to, error).await),
    };
    // A component that gives none may go on for as long as it is allowed to.
    let begun = timeout(app.limits.request_time, async {
        match response.await {
            Ok(response) => Ok(response),
            Err(_) => Err(call.ended().await),
        }
    });
    match begun.await {
        Ok(Ok(Ok(response))) => {
            let call = Released(Some(call));
            let response = final_response(to, response)?;
            Ok(told_if_cut_off(app, to, asked, call, response))
        }
        // One that failed over its response says more.
        Ok(Ok(Err(code))) => match timeout(SOON, call.ended()).await {
            Ok(Err(error)) => Err(fault::of_request(&app.host, to, error).await),
            _ => {
                call.release();
                Err(refused(to, &code))
            }
        },
        Ok(Err(Ok(()))) => Err(unanswered(to)),
        Ok(Err(Err(error))) => Err(fault::of_request(&app.host, to, error).await),
        Err(_) => {
            let within = format_duration(app.limits.request_time);
            let detail = format!("{to} has not begun to answer within {within}");
            Err(fault::timed_out(to, detail))
        }
    }
}

/// What a client may take for the end of its request, as RFC 9110 has it.
fn final_response(
    to: &ComponentId,
    mut response: Response<Body>,
) -> Result<Response<Body>, Problem> {
    let status = response.status();
    if status.is_informational() {
        // Somebody in between would wait for another, and take the connection for a tunnel after
        // a 101.
        let status = status.as_u16();
        let detail = format!("{to} has answered with the status {status}, which ends no request");
        return Err(no_response(to, detail));
    }
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT) {
        // Neither has content (RFC 9110, 15.3.5 and 15.3.6). Who is told a length takes the next
        // response for it.
        response.headers_mut().remove(CONTENT_LENGTH);
        return Ok(response.map(|_| Body::empty()));
    }
    Ok(response)
}

/// A client sees that the connection ends, and nobody else would know.
fn told_if_cut_off<E: RuntimeEngine + ?Sized + 'static>(
    app: &App<E>,
    to: &ComponentId,
    asked: Asked,
    call: Released,
    response: Response<Body>,
) -> Response<Body> {
    let (app, to) = (Arc::clone(app), to.clone());
    let mut untold = Some((asked, call));
    response.map(|body| {
        Body::new(body.map_err(move |error| {
            if let Some((asked, call)) = untold.take() {
                let (app, to, why) = (Arc::clone(&app), to.clone(), error.to_string());
                tokio::spawn(async move {
                    let why = call.failure().await.unwrap_or(why);
                    let what = "has not come to the end of its answer to";
                    app.unanswered.tell(&to, what, &asked, &why);
                });
            }
            error
        }))
    })
}

/// A call that goes on when nobody waits for it any more.
struct Released(Option<PendingCall<()>>);

impl Released {
    /// Why it failed, if it did, once it has ended.
    async fn failure(mut self) -> Option<String> {
        let ended = self.0.as_mut()?.ended().await;
        ended.err().map(|error| error.to_string())
    }
}

impl Drop for Released {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call.release();
        }
    }
}

fn unanswered(to: &ComponentId) -> Problem {
    no_response(to, format!("{to} has returned without a response"))
}

fn no_response(to: &ComponentId, detail: String) -> Problem {
    Problem::new(
        StatusCode::BAD_GATEWAY,
        "no-response",
        "The component gave no response",
        detail,
    )
    .about(to)
}

fn refused(to: &ComponentId, code: &str) -> Problem {
    Problem::new(
        StatusCode::BAD_GATEWAY,
        "component-error",
        "The component answered with an error",
        code,
    )
    .about(to)
}
