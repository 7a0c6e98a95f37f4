//! Requests and messages to components.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use tokio::time::sleep;

use wasm_core::{HttpRoute, MessagePayload, Supervision};
use wasm_gateway::{GatewayBuilder, GatewayLimits, SiteKind};
use wasm_testkit::wasm_fixtures::{COUNTER, ECHO, GUEST_ERROR, SLEEPER, SPIN, TRAP};

use crate::support::{SECOND, Served, answer, ask, component, demo, gateway, host, request};

const ECHO_PATH: &str = "/components/demo/echo/main";

#[tokio::test]
async fn a_reply_has_the_type_of_its_message() {
    let router = gateway(&[component("echo", ECHO)]).await.router();
    let asked = request("POST", ECHO_PATH)
        .header("content-type", "application/json")
        .header("correlation-id", "order-17")
        .body(Body::from("{\"hello\":1}"));
    let replied = answer(&router, asked.unwrap()).await;
    assert_eq!(
        (replied.status.as_u16(), replied.text()),
        (200, "{\"hello\":1}")
    );
    assert_eq!(replied.header("content-type"), "application/json");
    assert_eq!(replied.header("correlation-id"), "order-17");
    assert_eq!(replied.header("x-content-type-options"), "nosniff");
    assert_eq!(
        replied.header("content-security-policy"),
        "default-src 'none'; sandbox"
    );
}

#[tokio::test]
async fn without_a_type_a_reply_is_bytes_and_a_correlation_id_is_made() {
    let router = gateway(&[component("echo", ECHO)]).await.router();
    let [one, other] = [
        ask(&router, "POST", ECHO_PATH, "a").await,
        ask(&router, "POST", ECHO_PATH, "b").await,
    ];
    assert_eq!(one.header("content-type"), "application/octet-stream");
    assert_eq!(one.header("correlation-id").len(), 32);
    assert_ne!(one.header("correlation-id"), other.header("correlation-id"));
}

/// Also of what nobody waits for, and of a component that answers at a path of its own.
#[tokio::test]
async fn the_headers_of_a_request_say_which_trace_it_is_a_part_of() {
    let joined = Arc::new(Mutex::new(Vec::new()));
    let joining = Arc::clone(&joined);
    let builder = GatewayBuilder::new().with_trace_context(move |headers, _| {
        let parent = headers["traceparent"].to_str().unwrap();
        joining.lock().unwrap().push(parent.to_owned());
    });
    let gateway = builder.build(host(&[component("echo", ECHO)]).await);
    let route = HttpRoute::new("/shop/*".parse().unwrap());
    let kind = SiteKind::Messages;
    gateway.add_site(demo("echo"), route, kind).unwrap();
    let router = gateway.router();
    let sent = format!("{ECHO_PATH}/messages");
    for path in [ECHO_PATH, &sent, "/shop/soup"] {
        let asked = request("POST", path).header("traceparent", path);
        let replied = answer(&router, asked.body(Body::from("x")).unwrap()).await;
        assert!(replied.status.is_success(), "{path}: {}", replied.status);
    }
    assert_eq!(*joined.lock().unwrap(), [ECHO_PATH, &sent, "/shop/soup"]);
}

#[tokio::test]
async fn a_component_without_a_reply_has_no_content() {
    let router = gateway(&[component("sleeper", SLEEPER), component("counter", COUNTER)])
        .await
        .router();
    let counted = ask(&router, "POST", "/components/demo/counter/main", "").await;
    assert_eq!((counted.status.as_u16(), counted.text()), (200, "1"));
}

#[tokio::test]
async fn each_failure_has_its_status() {
    let components = [
        component("error", GUEST_ERROR),
        component("trap", TRAP),
        component("spin", SPIN),
        component("sleeper", SLEEPER),
    ];
    let router = gateway(&components).await.router();
    for (path, body, status, kind) in [
        ("/components/demo/nobody/main", "", 404, "not-found"),
        ("/components/demo/nobody", "", 404, "not-found"),
        ("/components/demo/error/main", "", 422, "component-error"),
        ("/components/demo/trap/main", "", 502, "component-failed"),
        ("/components/demo/trap/main", "", 503, "quarantined"),
        (
            "/components/demo/spin/main",
            "loop",
            502,
            "component-failed",
        ),
    ] {
        let answered = ask(&router, "POST", path, body).await;
        assert_eq!(
            (answered.status.as_u16(), answered.problem().as_str()),
            (status, kind),
            "{path}"
        );
    }
    let late = request("POST", "/components/demo/sleeper/main").header("request-timeout", "20ms");
    let late = answer(&router, late.body(Body::from("900")).unwrap()).await;
    assert_eq!(
        (late.status.as_u16(), late.problem().as_str()),
        (504, "timed-out")
    );
    assert_eq!(late.json()["component"], "demo/sleeper/main");
}

#[tokio::test]
async fn an_error_of_a_component_is_told_with_its_case() {
    let router = gateway(&[component("error", GUEST_ERROR)]).await.router();
    let answered = ask(&router, "POST", "/components/demo/error/main", "x").await;
    let problem = answered.json();
    assert_eq!(problem["title"], "The component answered with an error");
    assert_eq!(problem["component"], "demo/error/main");
    assert!(
        problem["case"].is_string() && problem["detail"].is_string(),
        "{problem}"
    );
}

#[tokio::test]
async fn a_full_mailbox_says_when_to_come_again() {
    let mut supervision = Supervision::default();
    supervision.mailbox = 1;
    let sleeper = component("sleeper", SLEEPER).with_supervision(supervision);
    let host = host(&[sleeper]).await;
    let router = GatewayBuilder::new().build(host.clone()).router();
    let path = "/components/demo/sleeper/main/messages";
    let mut statuses = Vec::new();
    for _ in 0..8 {
        let sent = ask(&router, "POST", path, "300").await;
        if sent.status == 429 {
            assert_eq!(sent.problem(), "queue-full");
            assert_eq!(sent.header("retry-after"), "1");
        }
        statuses.push(sent.status.as_u16());
    }
    assert_eq!(statuses[0], 202);
    assert!(statuses.contains(&429), "{statuses:?}");
    host.drain(60 * SECOND).await.unwrap();
    assert_eq!(ask(&router, "POST", path, "1").await.status, 202);
}

#[tokio::test]
async fn a_message_is_accepted_without_waiting() {
    let host = host(&[component("counter", COUNTER)]).await;
    let router = GatewayBuilder::new().build(host.clone()).router();
    for _ in 0..3 {
        let sent = ask(
            &router,
            "POST",
            "/components/demo/counter/main/messages",
            "",
        )
        .await;
        assert_eq!((sent.status.as_u16(), sent.body.len()), (202, 0));
        assert_eq!(sent.header("correlation-id").len(), 32);
    }
    host.drain(SECOND).await.unwrap();
    let count = host.request(&demo("counter"), "", SECOND).await.unwrap();
    assert_eq!(count, Some(MessagePayload::from("4")));
}

#[tokio::test]
async fn headers_are_what_they_may_be() {
    let router = gateway(&[component("echo", ECHO)]).await.router();
    let long = "x".repeat(129);
    for (name, value) in [
        ("request-timeout", "soon"),
        ("request-timeout", "0"),
        ("request-timeout", "11m"),
        ("request-timeout", "-1s"),
        ("correlation-id", ""),
        ("correlation-id", "é"),
        ("correlation-id", long.as_str()),
        ("content-type", ""),
    ] {
        let asked = request("POST", ECHO_PATH)
            .header(name, value)
            .body(Body::empty());
        let refused = answer(&router, asked.unwrap()).await;
        assert_eq!(
            (refused.status.as_u16(), refused.problem().as_str()),
            (400, "bad-request")
        );
        let detail = refused.json()["detail"].to_string();
        assert!(detail.contains(name), "{detail}");
    }
    let twice = request("POST", ECHO_PATH)
        .header("correlation-id", "a")
        .header("correlation-id", "b");
    let refused = answer(&router, twice.body(Body::empty()).unwrap()).await;
    assert_eq!(refused.status, 400);
}

#[tokio::test]
async fn what_was_accepted_is_answered_although_the_server_ends() {
    let mut served = Served::new(&[component("sleeper", SLEEPER)], GatewayLimits::default()).await;
    let mut stream = served.connect().await;
    let text = "POST /components/demo/sleeper/main HTTP/1.1\r\nHost: localhost\r\n\
                Content-Length: 3\r\n\r\n400";
    tokio::io::AsyncWriteExt::write_all(&mut stream, text.as_bytes())
        .await
        .unwrap();
    sleep(Duration::from_millis(100)).await;
    served.begin_stop();
    let answered = crate::support::rest(&mut stream).await;
    assert!(answered.starts_with("HTTP/1.1 200 OK\r\n"), "{answered}");
    assert!(answered.ends_with("awake"), "{answered}");
    served.stopped().await;
}
