//! Components that answer HTTP requests.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Empty};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentState, InstancePolicy, Resource, ResourceLimits,
    WasmError,
};
use wasm_fixtures::{ECHO, WEB};
use wasm_runtime::{HttpOutcome, HttpScheme, WasmtimeEngine, http_exchange};

use crate::support::{HANG, config, engine, fuelled, load, timed, within};

type Outcome = Result<HttpOutcome, WasmError>;

fn request(path: &str) -> Request<Empty<Bytes>> {
    let request = Request::get(path).header("host", "localhost");
    request.body(Empty::new()).unwrap()
}

/// A body that comes in pieces, and ends well or in an error.
struct Pieces(mpsc::Receiver<Result<Bytes, &'static str>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        let piece = self.0.poll_recv(cx);
        piece.map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

fn echo(pieces: mpsc::Receiver<Result<Bytes, &'static str>>) -> Request<Pieces> {
    let request = Request::post("/echo").header("host", "localhost");
    request.body(Pieces(pieces)).unwrap()
}

fn per_message(config: ComponentConfig) -> ComponentConfig {
    config
        .with_instances(InstancePolicy::PerMessage)
        .with_concurrency(4)
}

/// What the call ended with, and the whole response as it came.
async fn answer(
    engine: &WasmtimeEngine,
    handle: &ComponentHandle,
    path: &str,
) -> (Outcome, Option<Result<(StatusCode, String), String>>) {
    let (responder, pending) = http_exchange();
    let call = engine.answer_http(handle, request(path), HttpScheme::Http, responder);
    let reading = async {
        match pending.response(&Method::GET).await? {
            Ok(response) => {
                let status = response.status();
                let read = response.into_body().collect().await;
                Some(match read {
                    Ok(body) => {
                        let body = body.to_bytes().to_vec();
                        Ok((status, String::from_utf8(body).unwrap()))
                    }
                    Err(incomplete) => Err(incomplete.to_string()),
                })
            }
            Err(code) => Some(Err(code)),
        }
    };
    within(async { tokio::join!(call, reading) }).await
}

fn hello() -> Option<Result<(StatusCode, String), String>> {
    Some(Ok((StatusCode::OK, "hello".to_owned())))
}

const INCOMPLETE: &str = "the component has not come to the end of the response";

#[tokio::test]
async fn a_request_is_answered() {
    let engine = engine();
    let web = load(&engine, WEB, config()).await;
    let (outcome, answer) = answer(&engine, &web, "/").await;
    assert_eq!(outcome.unwrap(), HttpOutcome::Ended);
    assert_eq!(answer, hello());
    let usage = engine.usage(&web).unwrap();
    assert_eq!((usage.state, usage.calls), (ComponentState::Ready, 1));
    assert!(usage.last_call_fuel > 0);
}

#[tokio::test]
async fn a_fresh_instance_answers_once_and_a_resident_one_again_and_again() {
    let engine = engine();
    let resident = load(&engine, WEB, config()).await;
    let fresh = load(&engine, WEB, per_message(config())).await;
    for n in ["1", "2", "3"] {
        let (_, counted) = answer(&engine, &resident, "/count").await;
        assert_eq!(counted, Some(Ok((StatusCode::OK, n.to_owned()))));
        let (_, counted) = answer(&engine, &fresh, "/count").await;
        assert_eq!(counted, Some(Ok((StatusCode::OK, "1".to_owned()))));
    }
}

/// Each piece is there before the next is sent.
#[tokio::test]
async fn bodies_go_both_ways_while_the_call_goes_on() {
    let engine = engine();
    let web = load(&engine, WEB, config()).await;
    let (sender, pieces) = mpsc::channel(1);
    let (responder, pending) = http_exchange();
    let call = engine.answer_http(&web, echo(pieces), HttpScheme::Https, responder);
    let talk = async {
        let response = pending.response(&Method::POST).await.unwrap().unwrap();
        let mut body = response.into_body();
        for piece in ["one", "two", "three"] {
            sender.send(Ok(piece.into())).await.unwrap();
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), piece);
        }
        drop(sender);
        assert!(body.frame().await.is_none());
    };
    let (outcome, ()) = within(async { tokio::join!(call, talk) }).await;
    assert_eq!(outcome.unwrap(), HttpOutcome::Ended);
}

/// Nobody takes a part for the whole.
#[tokio::test]
async fn a_body_that_the_component_fails_over_does_not_end_well() {
    let engine = engine();
    let web = load(&engine, WEB, per_message(fuelled(1_000_000))).await;
    for path in ["/later", "/broken", "/part"] {
        let (outcome, answer) = answer(&engine, &web, path).await;
        assert_eq!(answer, Some(Err(INCOMPLETE.to_owned())), "{path}");
        match (path, outcome) {
            ("/later", Err(WasmError::ResourceLimitExceeded { resource, .. })) => {
                assert_eq!(resource, Resource::Fuel);
            }
            ("/broken", Err(WasmError::Trapped { .. })) => {}
            ("/part", Ok(HttpOutcome::Ended)) => {}
            (path, outcome) => panic!("{path}: {outcome:?}"),
        }
    }
    let (_, answer) = answer(&engine, &web, "/").await;
    assert_eq!(answer, hello());
}

/// Not even where the instance is there for the next request.
#[tokio::test]
async fn a_body_that_the_component_leaves_unfinished_does_not_end_well() {
    let engine = engine();
    let fresh = load(&engine, WEB, per_message(config())).await;
    let resident = load(&engine, WEB, config()).await;
    for web in [&fresh, &resident] {
        for path in ["/open", "/shut"] {
            let (outcome, unfinished) = answer(&engine, web, path).await;
            assert_eq!(unfinished, Some(Err(INCOMPLETE.to_owned())), "{path}");
            assert_eq!(outcome.unwrap(), HttpOutcome::Ended, "{path}");
            let (_, next) = answer(&engine, web, "/").await;
            assert_eq!(next, hello(), "{path}");
        }
    }
}

#[tokio::test]
async fn who_computes_grows_or_gives_up_answers_nothing() {
    let engine = engine();
    let web = load(&engine, WEB, per_message(fuelled(1_000_000))).await;
    for path in ["/spin", "/grow", "/trap"] {
        let (outcome, answer) = answer(&engine, &web, path).await;
        assert_eq!(answer, None, "{path}");
        let error = outcome.unwrap_err();
        assert!(error.fails_instance(), "{path}: {error}");
    }
    let (outcome, answer) = answer(&engine, &web, "/none").await;
    assert_eq!((outcome.unwrap(), answer), (HttpOutcome::Ended, None));
}

#[tokio::test]
async fn an_error_code_takes_the_place_of_a_response() {
    let engine = engine();
    let web = load(&engine, WEB, config()).await;
    let (outcome, answer) = answer(&engine, &web, "/error").await;
    assert_eq!(outcome.unwrap(), HttpOutcome::Ended);
    let code = answer.unwrap().unwrap_err();
    assert!(code.contains("HttpRequestDenied"), "{code}");
}

#[tokio::test]
async fn the_time_of_a_call_ends_its_response() {
    let engine = engine();
    let web = load(&engine, WEB, per_message(timed(Duration::from_millis(50)))).await;
    for path in ["/wait", "/later", "/flow"] {
        let (responder, pending) = http_exchange();
        let call = engine.answer_http(&web, request(path), HttpScheme::Http, responder);
        let reading = async {
            let response = pending.response(&Method::GET).await.unwrap().unwrap();
            let mut body = response.into_body();
            while let Some(Ok(_)) = body.frame().await {}
        };
        let (outcome, ()) = within(async { tokio::join!(call, reading) }).await;
        let error = outcome.unwrap_err();
        assert!(
            matches!(error, WasmError::Timeout { .. }),
            "{path}: {error}"
        );
    }
}

/// When whoever asked is gone before the response, and in the middle of its body.
#[tokio::test]
async fn a_call_that_nobody_waits_for_is_ended_where_instances_are_renewed() {
    let engine = engine();
    let web = load(&engine, WEB, per_message(timed(HANG))).await;
    for (path, reads) in [("/spin", false), ("/wait", true), ("/flow", true)] {
        let (responder, pending) = http_exchange();
        let call = engine.answer_http(&web, request(path), HttpScheme::Http, responder);
        let leaving = async {
            if reads {
                let response = pending.response(&Method::GET).await.unwrap().unwrap();
                let mut body = response.into_body();
                body.frame().await.unwrap().unwrap();
            }
        };
        let (outcome, ()) = within(async { tokio::join!(call, leaving) }).await;
        let outcome = outcome.unwrap();
        // One that writes may be told first.
        let is_told = path == "/flow" && outcome == HttpOutcome::Ended;
        assert!(
            outcome == HttpOutcome::GivenUp || is_told,
            "{path}: {outcome:?}"
        );
        let usage = engine.usage(&web).unwrap();
        assert_eq!(usage.state, ComponentState::Ready, "{path}");
        assert_eq!((usage.traps, usage.timeouts), (0, 0), "{path}");
    }
    let (_, answer) = answer(&engine, &web, "/").await;
    assert_eq!(answer, hello());
}

#[tokio::test]
async fn a_resident_instance_stays_when_nobody_waits_for_it() {
    let engine = engine();
    let web = load(&engine, WEB, config()).await;
    let (responder, pending) = http_exchange();
    let call = engine.answer_http(&web, request("/flow"), HttpScheme::Http, responder);
    let leaving = async {
        let response = pending.response(&Method::GET).await.unwrap().unwrap();
        drop(response);
    };
    // What it writes is refused, and it ends.
    let (outcome, ()) = within(async { tokio::join!(call, leaving) }).await;
    assert_eq!(outcome.unwrap(), HttpOutcome::Ended);
    let (_, counted) = answer(&engine, &web, "/count").await;
    assert_eq!(counted, Some(Ok((StatusCode::OK, "2".to_owned()))));
}

/// Such as that to HEAD, of which nobody reads a body.
#[tokio::test]
async fn who_has_all_of_a_response_may_leave() {
    let engine = engine();
    let web = load(&engine, WEB, per_message(config())).await;
    let (responder, pending) = http_exchange();
    let call = engine.answer_http(&web, request("/"), HttpScheme::Http, responder);
    let leaving = async { drop(pending.response(&Method::HEAD).await) };
    let (outcome, ()) = within(async { tokio::join!(call, leaving) }).await;
    assert_eq!(outcome.unwrap(), HttpOutcome::Ended);
}

#[tokio::test]
async fn a_body_that_ends_early_is_an_end_to_the_component() {
    let engine = engine();
    let web = load(&engine, WEB, config()).await;
    let (sender, pieces) = mpsc::channel(1);
    let (responder, pending) = http_exchange();
    let call = engine.answer_http(&web, echo(pieces), HttpScheme::Http, responder);
    let talk = async {
        let response = pending.response(&Method::POST).await.unwrap().unwrap();
        sender.send(Ok("one".into())).await.unwrap();
        sender.send(Err("gone")).await.unwrap();
        response.into_body().collect().await.unwrap().to_bytes()
    };
    let (outcome, read) = within(async { tokio::join!(call, talk) }).await;
    assert_eq!(outcome.unwrap(), HttpOutcome::Ended);
    assert_eq!(read, "one");
}

#[tokio::test]
async fn who_answers_no_requests_says_so_and_lives_on() {
    let engine = engine();
    let echo = load(&engine, ECHO, config()).await;
    let (outcome, answer) = answer(&engine, &echo, "/").await;
    assert_eq!(answer, None);
    let error = outcome.unwrap_err();
    assert!(matches!(error, WasmError::ExportNotFound { .. }), "{error}");
    assert!(error.to_string().contains("incoming-handler"), "{error}");
    assert_eq!(engine.usage(&echo).unwrap().state, ComponentState::Ready);
}

#[tokio::test]
async fn a_request_to_nobody_costs_nothing() {
    let engine = engine();
    let web = load(&engine, WEB, config()).await;
    let (responder, _pending) = http_exchange();
    let request = Request::get("/").body(Empty::<Bytes>::new()).unwrap();
    let call = engine.answer_http(&web, request, HttpScheme::Http, responder);
    let error = call.await.unwrap_err();
    assert!(
        matches!(error, WasmError::InvalidArguments { .. }),
        "{error}"
    );
    assert_eq!(engine.usage(&web).unwrap().state, ComponentState::Ready);
}

#[tokio::test]
async fn a_component_is_known_by_any_release_of_what_it_exports() {
    let engine = engine();
    for (export, answers) in [
        ("wasi:http/incoming-handler@0.2.0", true),
        ("wasi:http/incoming-handler@0.2.12", true),
        ("wasi:http/incoming-handler@0.3.0", false),
        ("wasi:http/outgoing-handler@0.2.0", false),
        ("handle", false),
    ] {
        assert_eq!(engine.answers_http([export]), answers, "{export}");
    }
}

#[tokio::test]
async fn requests_are_answered_at_a_time_and_share_nothing() {
    const REQUESTS: usize = 200;
    let engine = Arc::new(engine());
    let limits = ResourceLimits::new(1 << 20, HANG, Some(100_000_000)).unwrap();
    let web = load(&engine, WEB, per_message(ComponentConfig::new(limits))).await;
    let mut all = JoinSet::new();
    for _ in 0..REQUESTS {
        let (engine, web) = (Arc::clone(&engine), web.clone());
        all.spawn(async move { answer(&engine, &web, "/count").await });
    }
    while let Some(answered) = all.join_next().await {
        let (outcome, answer) = answered.unwrap();
        assert_eq!(outcome.unwrap(), HttpOutcome::Ended);
        assert_eq!(answer, Some(Ok((StatusCode::OK, "1".to_owned()))));
    }
}
