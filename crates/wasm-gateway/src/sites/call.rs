//! Requests to components that export `wasi:http/incoming-handler`.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::Instrument as _;

use wasm_core::units::format_duration;
use wasm_core::{ComponentId, RuntimeEngine};
use wasm_host::RequestError;

use crate::fault;
use crate::problem::Problem;
use crate::shared::App;
use crate::sites::body::unless_it_pauses;
use crate::sites::handler::HttpHandler;

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
    let request = request.map(|body| unless_it_pauses(body, pause_time));
    let (host, id) = (app.host.clone(), to.clone());
    // What events and dead letters call it. What follows the path may be a secret.
    let name = format!("{} {}", request.method(), request.uri().path());
    let call = async move {
        let answer = move |engine, component| async move {
            handler
                .answer(engine, component, request, is_secure, responder)
                .await
        };
        host.call(&id, &name, answer).await
    };
    let mut call = Call(Some(tokio::spawn(call.in_current_span())));
    // A component that gives none may go on for as long as it is allowed to.
    let begun = timeout(app.limits.request_time, async {
        match response.await {
            Ok(response) => Ok(response),
            Err(_) => Err(call.ended().await),
        }
    });
    match begun.await {
        Ok(Ok(Ok(response))) => {
            call.goes_on();
            Ok(response)
        }
        Ok(Ok(Err(code))) => {
            call.goes_on();
            Err(refused(to, &code))
        }
        Ok(Err(ended)) => Err(match ended {
            Some(Ok(())) => unanswered(to),
            Some(Err(error)) => fault::of_request(&app.host, to, error).await,
            None => Problem::unavailable("not-delivered", "the call was lost").about(to),
        }),
        Err(_) => {
            let within = format_duration(app.limits.request_time);
            let detail = format!("{to} has not begun to answer within {within}");
            Err(fault::timed_out(to, detail))
        }
    }
}

/// A call that is given up with whoever waits for its response to begin.
struct Call(Option<JoinHandle<Result<(), RequestError>>>);

impl Call {
    /// Until it ends: whoever reads the body is waited for in another way.
    fn goes_on(&mut self) {
        self.0 = None;
    }

    /// How it ended; `None` if it panicked.
    async fn ended(&mut self) -> Option<Result<(), RequestError>> {
        let ended = self.0.as_mut()?.await;
        self.0 = None;
        ended.ok()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(call) = &self.0 {
            call.abort();
        }
    }
}

fn unanswered(to: &ComponentId) -> Problem {
    Problem::new(
        StatusCode::BAD_GATEWAY,
        "no-response",
        "The component gave no response",
        format!("{to} has returned without a response"),
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
