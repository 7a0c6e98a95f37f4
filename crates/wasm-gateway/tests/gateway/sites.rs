//! Components that answer HTTP requests of their own.

use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, Response};
use futures_util::stream;
use tempfile::NamedTempFile;
use tokio::sync::oneshot;
use tokio::time::timeout;

use wasm_core::{ComponentHandle, HttpRoute};
use wasm_gateway::{
    Gateway, GatewayBuilder, GatewayLimits, HttpCall, HttpHandler, HttpResponder, SiteKind, Tokens,
};
use wasm_testkit::ModelEngine;
use wasm_testkit::wasm_fixtures::{ECHO, ENVELOPE, HELLO};

use crate::support::{Answer, HANGS, Served, answer, ask, component, demo, host, request};

const TOKEN: &str = "mmmmmmmmmmmmmmmmmmmm";

/// In place of an engine: what a path does is in its last segment.
#[derive(Default)]
struct Fake {
    /// Of the latest request.
    headers: Mutex<HeaderMap>,
    /// Told when a call that never ends is given up.
    given_up: Mutex<Option<oneshot::Sender<()>>>,
}

impl HttpHandler<ModelEngine> for Fake {
    fn is_handler(&self, _: &ModelEngine, bytes: &[u8]) -> bool {
        bytes == HELLO.wasm
    }

    fn answer(
        &self,
        _: Arc<ModelEngine>,
        component: ComponentHandle,
        request: Request<Body>,
        is_secure: bool,
        responder: HttpResponder,
    ) -> HttpCall {
        *self.headers.lock().unwrap() = request.headers().clone();
        let told = self.given_up.lock().unwrap().take();
        Box::pin(async move {
            let text = format!("{} {} {is_secure}", component.id(), request.uri());
            let answer = match request.uri().path().rsplit('/').next().unwrap() {
                "none" => return Ok(()),
                "refuses" => {
                    drop(responder);
                    return pending().await;
                }
                "error" => Err("it has no soup".to_owned()),
                "wait" => {
                    let _held = (responder, told);
                    return pending().await;
                }
                "empty" => Ok(Response::new(Body::empty())),
                status if status.parse::<u16>().is_ok() => {
                    let response = Response::builder().status(status);
                    let response = response.header("content-length", "5");
                    let content = Ok::<_, Infallible>(Bytes::from("moved"));
                    let content = stream::iter([content]);
                    Ok(response.body(Body::from_stream(content)).unwrap())
                }
                "says" => {
                    let response = Response::builder().header("content-length", "1234");
                    Ok(response.body(Body::empty()).unwrap())
                }
                _ => {
                    let response = Response::builder().status(201).header("x-of", "fake");
                    Ok(response.body(Body::from(text)).unwrap())
                }
            };
            responder.send(answer).unwrap();
            Ok(())
        })
    }
}

fn route(path: &str) -> HttpRoute {
    HttpRoute::new(path.parse().unwrap())
}

async fn built(builder: GatewayBuilder) -> (Gateway<ModelEngine>, Arc<Fake>) {
    let fake = Arc::new(Fake::default());
    let components = [component("hello", HELLO), component("envelope", ENVELOPE)];
    let gateway = builder.build_with_http(host(&components).await, Arc::clone(&fake) as _);
    let sites = [
        ("hello", route("/hello/*"), SiteKind::Handler),
        (
            "envelope",
            route("/shop/*").with_reply_type("text/plain"),
            SiteKind::Messages,
        ),
    ];
    for (name, route, kind) in sites {
        gateway.add_site(demo(name), route, kind).unwrap();
    }
    (gateway, fake)
}

fn with_token() -> GatewayBuilder {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("message {TOKEN}\n")).unwrap();
    GatewayBuilder::new().with_tokens(Tokens::read(file.path()).unwrap())
}

async fn with(router: &Router, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(router, request.body(Body::empty()).unwrap()).await
}

/// What one request over a connection of its own is answered.
async fn visit(sites: &Served, method: &str, path: &str) -> String {
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    sites.exchange(request.as_bytes()).await
}

/// Somebody in between would take a success of CONNECT for a tunnel.
#[tokio::test]
async fn no_component_is_asked_with_what_is_about_the_connection() {
    let (gateway, _) = built(GatewayBuilder::new()).await;
    let sites = Served::sites_of(gateway.clone()).await;
    let beside = Served::of(gateway).await;
    for served in [&sites, &beside] {
        for method in ["CONNECT", "TRACE"] {
            for path in ["/hello/a", "/shop/soup"] {
                let refused = visit(served, method, path).await;
                assert!(refused.starts_with("HTTP/1.1 501 "), "{refused}");
                assert!(refused.contains("application/problem+json"), "{refused}");
                assert!(refused.contains(method), "{refused}");
            }
        }
        // Others are the component's to answer, whatever they are called.
        let got = visit(served, "BREW", "/hello/a").await;
        assert!(got.starts_with("HTTP/1.1 201 "), "{got}");
    }
    let tunnel = b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n";
    let refused = sites.exchange(tunnel).await;
    assert!(refused.starts_with("HTTP/1.1 501 "), "{refused}");
}

#[tokio::test]
async fn visitors_reach_components_and_nothing_else() {
    let (gateway, _) = built(with_token()).await;
    let sites = Served::sites_of(gateway).await;
    let got = visit(&sites, "GET", "/hello/a?b").await;
    let body = "demo/hello/main /hello/a?b false";
    assert!(got.starts_with("HTTP/1.1 201 "), "{got}");
    assert!(got.ends_with(&format!("\r\n\r\n{body}")), "{got}");
    let length = format!("content-length: {}\r\n", body.len());
    assert!(got.contains(&length), "{got}");
    // The same without the body.
    let head = visit(&sites, "HEAD", "/hello/a?b").await;
    assert!(
        head.starts_with("HTTP/1.1 201 ") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    assert!(head.contains(&length), "{head}");
    for (path, status) in [("/healthz", "404"), ("/hello/../healthz", "400")] {
        let refused = visit(&sites, "GET", path).await;
        assert!(
            refused.starts_with(&format!("HTTP/1.1 {status} ")),
            "{refused}"
        );
        assert!(
            refused.contains("x-content-type-options: nosniff\r\n"),
            "{refused}"
        );
    }
    sites.stopped().await;
}

/// Only the component knows how long its answer to GET would be.
#[tokio::test]
async fn an_empty_answer_to_head_has_no_length_but_that_of_the_component() {
    let (gateway, _) = built(GatewayBuilder::new()).await;
    let router = gateway.sites_router();
    let beside = Served::of(gateway.clone()).await;
    let alone = Served::sites_of(gateway).await;
    for (method, path, length) in [
        ("HEAD", "/hello/empty", None),
        ("HEAD", "/hello/says", Some("1234")),
        ("HEAD", "/hello/a", Some("30")),
        ("GET", "/hello/empty", Some("0")),
        ("GET", "/hello/a", Some("30")),
    ] {
        for served in [&beside, &alone] {
            let got = visit(served, method, path).await;
            let head = got.split("\r\n\r\n").next().unwrap();
            let mut lines = head.lines();
            let said = lines.find_map(|line| line.strip_prefix("content-length: "));
            assert_eq!(said, length, "{method} {path}: {got}");
            let is_empty = got.len() == head.len() + 4;
            assert_eq!(is_empty, method == "HEAD" || length == Some("0"), "{got}");
        }
        let answered = ask(&router, method, path, "").await;
        let said = answered.headers.get("content-length");
        let said = said.map(|length| length.to_str().unwrap());
        assert_eq!(said, length, "{method} {path}");
    }
    beside.stopped().await;
    alone.stopped().await;
}

/// Who waits for another response, or for a body, takes the next one for it.
#[tokio::test]
async fn a_response_ends_its_request() {
    let (gateway, _) = built(GatewayBuilder::new()).await;
    let beside = Served::of(gateway.clone()).await;
    let alone = Served::sites_of(gateway).await;
    for served in [&beside, &alone] {
        for status in ["100", "101", "103", "199"] {
            let got = visit(served, "GET", &format!("/hello/{status}")).await;
            assert!(got.starts_with("HTTP/1.1 502 "), "{got}");
            let told = format!("has answered with the status {status}, which ends no request");
            assert!(got.contains(&told), "{got}");
        }
        for (status, length) in [("204", None), ("205", Some("0")), ("304", Some("5"))] {
            let got = visit(served, "GET", &format!("/hello/{status}")).await;
            assert!(got.starts_with(&format!("HTTP/1.1 {status} ")), "{got}");
            let mut lines = got.lines();
            let said = lines.find_map(|line| line.strip_prefix("content-length: "));
            assert_eq!(said, length, "{got}");
            assert!(got.ends_with("\r\n\r\n"), "{got}");
        }
    }
    beside.stopped().await;
    alone.stopped().await;
}

#[tokio::test]
async fn a_component_that_answers_requests_does_so_itself() {
    let (gateway, _) = built(GatewayBuilder::new()).await;
    for router in [gateway.router(), gateway.sites_router()] {
        let answered = ask(&router, "GET", "/hello/a%20b?c=d", "").await;
        assert_eq!(answered.status, 201);
        assert_eq!(answered.header("x-of"), "fake");
        assert!(answered.text().ends_with("/hello/a%20b?c=d false"));
        let none = ask(&router, "GET", "/nothing", "").await;
        assert_eq!(
            (none.status.as_u16(), none.problem()),
            (404, "not-found".into())
        );
    }
}

/// A component that answers everything else does not open what is the gateway's own.
#[tokio::test]
async fn a_path_of_the_gateway_is_checked_whatever_components_answer() {
    let (gateway, _) = built(GatewayBuilder::new()).await;
    let everything = gateway.add_site(demo("hello"), route("/*"), SiteKind::Handler);
    everything.unwrap();
    let router = gateway.router();
    let own = ask(&router, "GET", "/components/demo%2f/hello/main", "").await;
    assert_eq!(
        (own.status.as_u16(), own.problem()),
        (400, "bad-request".into())
    );
    let other = ask(&router, "GET", "/elsewhere%2f", "").await;
    assert_eq!(other.status, 201);
}

/// The path is what was asked for, and the reply of the type that the manifest says.
#[tokio::test]
async fn a_component_that_takes_messages_is_sent_the_request_as_one() {
    let (gateway, _) = built(GatewayBuilder::new()).await;
    let router = gateway.sites_router();
    let answered = ask(&router, "POST", "/shop/soup?size=2", "hot").await;
    assert_eq!(answered.status, 200, "{}", answered.text());
    assert_eq!(answered.header("content-type"), "text/plain");
    let text = answered.text();
    assert!(text.contains("POST /shop/soup?size=2"), "{text}");
    let long = format!("/shop/{}", "a".repeat(5_000));
    let refused = ask(&router, "GET", &long, "").await;
    assert_eq!(
        (refused.status.as_u16(), refused.problem()),
        (414, "too-long".into())
    );
}

#[tokio::test]
async fn what_comes_of_a_component_that_does_not_answer() {
    let limits = GatewayLimits::default().with_request_time(std::time::Duration::from_millis(50));
    let (gateway, _) = built(GatewayBuilder::new().with_limits(limits)).await;
    let router = gateway.sites_router();
    for (path, status, problem, detail) in [
        ("/hello/none", 502, "no-response", "without a response"),
        ("/hello/error", 502, "component-error", "it has no soup"),
        ("/hello/wait", 504, "timed-out", "within 50ms"),
        ("/hello/refuses", 504, "timed-out", "within 50ms"),
    ] {
        let answered = ask(&router, "GET", path, "").await;
        assert_eq!(answered.status, status, "{path}");
        assert_eq!(answered.problem(), problem);
        assert!(answered.text().contains(detail), "{}", answered.text());
        assert_eq!(answered.header("x-content-type-options"), "nosniff");
    }
}

#[tokio::test]
async fn a_call_is_given_up_with_whoever_waits_for_it() {
    let (gateway, fake) = built(GatewayBuilder::new()).await;
    let router = gateway.sites_router();
    let (told, given_up) = oneshot::channel();
    *fake.given_up.lock().unwrap() = Some(told);
    let asking = tokio::spawn(async move { ask(&router, "GET", "/hello/wait", "").await });
    while fake.given_up.lock().unwrap().is_some() {
        tokio::task::yield_now().await;
    }
    asking.abort();
    // Its end is dropped with the call.
    assert!(timeout(HANGS, given_up).await.unwrap().is_err());
}

/// At the address of operators, what a component says is nobody's but its own.
#[tokio::test]
async fn beside_the_gateway_a_token_is_needed_and_not_handed_on() {
    let (gateway, fake) = built(with_token()).await;
    let router = gateway.router();
    let bearer = format!("Bearer {TOKEN}");
    for path in ["/hello/a", "/shop/a"] {
        let refused = with(&router, path, &[("host", "localhost")]).await;
        assert_eq!(
            (refused.status.as_u16(), refused.problem()),
            (401, "unauthorized".into())
        );
        let headers = [("host", "localhost"), ("authorization", &bearer)];
        let answered = with(&router, path, &headers).await;
        assert!(answered.status.is_success(), "{}", answered.text());
        let policy = answered.header("content-security-policy");
        assert_eq!(policy, "sandbox allow-forms allow-popups allow-scripts");
    }
    assert!(!fake.headers.lock().unwrap().contains_key("authorization"));
    for (name, value) in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let headers = [
            ("host", "localhost"),
            ("authorization", &bearer),
            (name, value),
        ];
        let refused = with(&router, "/hello/a", &headers).await;
        assert_eq!(
            (refused.status.as_u16(), refused.problem()),
            (403, "forbidden".into())
        );
    }
    let headers = [("host", "evil.example"), ("authorization", &bearer)];
    assert_eq!(with(&router, "/hello/a", &headers).await.status, 403);
}

/// Everybody is answered there, and whatever they say is the component's business.
#[tokio::test]
async fn alone_a_component_is_told_everything() {
    let (gateway, fake) = built(with_token()).await;
    let router = gateway.sites_router();
    let headers = [
        ("host", "shop.example"),
        ("origin", "http://other.example"),
        ("authorization", "Basic abc"),
    ];
    let answered = with(&router, "/hello/a", &headers).await;
    assert_eq!(answered.status, 201);
    assert!(!answered.headers.contains_key("content-security-policy"));
    assert_eq!(fake.headers.lock().unwrap()["authorization"], "Basic abc");
    for path in [
        "/components",
        "/events",
        "/metrics",
        "/healthz",
        "/",
        "/openapi.json",
    ] {
        assert_eq!(with(&router, path, &headers).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn what_no_honest_client_sends_is_refused() {
    let (gateway, fake) = built(GatewayBuilder::new()).await;
    let local = ("host", "localhost");
    for router in [gateway.router(), gateway.sites_router()] {
        for (path, headers) in [
            ("/hello/a", &[][..]),
            ("/hello/a", &[local, ("host", "other")]),
            ("/hello/a", &[("host", "user@localhost")]),
            ("/hello/a", &[("host", "")]),
            ("/hello/../shop/a", &[local]),
            ("/hello/%2e%2E/shop/a", &[local]),
            ("/hello/.%2e", &[local]),
            ("/hello/./a", &[local]),
            ("http://other/hello/a", &[local]),
            (
                "/hello/a",
                &[
                    local,
                    ("content-length", "0"),
                    ("transfer-encoding", "chunked"),
                ],
            ),
        ] {
            let refused = with(&router, path, headers).await;
            assert_eq!(refused.status, 400, "{path} {headers:?}");
            assert_eq!(refused.problem(), "bad-request");
            assert_eq!(refused.header("connection"), "close");
        }
    }
    assert!(fake.headers.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_paths_of_the_gateway_stay_its_own() {
    let (gateway, _) = built(GatewayBuilder::new()).await;
    let all = route("/*");
    gateway
        .add_site(demo("hello"), all, SiteKind::Handler)
        .unwrap();
    let router = gateway.router();
    assert!(ask(&router, "GET", "/", "").await.text().contains("<html"));
    assert_eq!(ask(&router, "GET", "/healthz", "").await.status, 200);
    assert_eq!(ask(&router, "GET", "/components", "").await.status, 200);
    assert_eq!(ask(&router, "GET", "/anything/else", "").await.status, 201);
    let router = gateway.sites_router();
    assert_eq!(ask(&router, "GET", "/components", "").await.status, 201);
}

fn upload(path: &str, wasm: &[u8]) -> Request<Body> {
    let manifest = format!(
        "[component]\nid = \"demo/it/main\"\nwasm = \"it.wasm\"\n[resources]\nmemory = \"1MiB\"\n\
         fuel = 1_000_000\ntimeout = \"1s\"\n{path}"
    );
    let mut form = Vec::new();
    for (name, content) in [("manifest", manifest.as_bytes()), ("component", wasm)] {
        let head = format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
        form.extend_from_slice(head.as_bytes());
        form.extend_from_slice(content);
        form.extend_from_slice(b"\r\n");
    }
    form.extend_from_slice(b"--edge--\r\n");
    request("PUT", "/components/demo/it/main")
        .header("content-type", "multipart/form-data; boundary=edge")
        .body(Body::from(form))
        .unwrap()
}

#[tokio::test]
async fn what_is_uploaded_answers_at_the_path_of_its_manifest_until_it_goes() {
    let (gateway, _) = built(GatewayBuilder::new()).await;
    let router = gateway.router();
    let put = |path, wasm| answer(&router, upload(path, wasm));
    assert_eq!(put("[http]\npath = \"/it\"", HELLO.wasm).await.status, 201);
    assert_eq!(ask(&router, "GET", "/it", "").await.status, 201);
    // Another version takes messages, at another path.
    assert_eq!(
        put("[http]\npath = \"/other\"", ECHO.wasm).await.status,
        200
    );
    assert_eq!(ask(&router, "GET", "/it", "").await.status, 404);
    assert_eq!(ask(&router, "POST", "/other", "x").await.text(), "x");
    let taken = put("[http]\npath = \"/hello/*\"", ECHO.wasm).await;
    assert_eq!(
        (taken.status.as_u16(), taken.problem()),
        (409, "path-taken".into())
    );
    assert_eq!(ask(&router, "POST", "/other", "x").await.status, 404);
    assert_eq!(
        put("[http]\npath = \"/other\"", ECHO.wasm).await.status,
        200
    );
    let wrong = put("[http]\npath = \"other\"", ECHO.wasm).await;
    assert_eq!(
        (wrong.status.as_u16(), wrong.problem()),
        (422, "bad-manifest".into())
    );
    assert_eq!(ask(&router, "POST", "/other", "x").await.text(), "x");
    ask(&router, "DELETE", "/components/demo/it/main", "").await;
    assert_eq!(ask(&router, "POST", "/other", "x").await.status, 404);
}
