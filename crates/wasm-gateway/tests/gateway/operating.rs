//! Which components there are, and what is done with them.

use axum::body::Body;
use serde_json::json;

use wasm_gateway::GatewayBuilder;
use wasm_host::Phase;
use wasm_testkit::wasm_fixtures::{COUNTER, ECHO, SENDER, SHUTDOWN_FAILS, SLEEPER, TRAP};

use crate::support::{SECOND, answer, ask, component, demo, gateway, host, request};

#[tokio::test]
async fn components_are_listed_page_by_page() {
    let components: Vec<_> = ["a", "b", "c", "d", "e"]
        .map(|name| component(name, ECHO))
        .into();
    let router = gateway(&components).await.router();
    let ids = |page: &serde_json::Value| {
        let components = page["components"].as_array().unwrap().iter();
        components
            .map(|it| it["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let page = ask(&router, "GET", "/components?limit=2", "").await.json();
    assert_eq!(ids(&page), ["demo/a/main", "demo/b/main"]);
    assert_eq!(page["next"], "demo/b/main");
    let page = ask(&router, "GET", "/components?limit=3&after=demo/b/main", "")
        .await
        .json();
    assert_eq!(ids(&page), ["demo/c/main", "demo/d/main", "demo/e/main"]);
    assert_eq!(page["next"], json!(null));
    for wrong in [
        "?limit=0",
        "?limit=1001",
        "?limit=x",
        "?after=a",
        "?other=1",
        "?limit=1&limit=2",
    ] {
        let refused = ask(&router, "GET", &format!("/components{wrong}"), "").await;
        assert_eq!(
            (refused.status.as_u16(), refused.problem().as_str()),
            (400, "bad-request")
        );
    }
}

#[tokio::test]
async fn a_component_is_shown_with_what_it_used_and_may_do() {
    let router = gateway(&[component("counter", COUNTER).with_version("1.2.3")])
        .await
        .router();
    ask(&router, "POST", "/components/demo/counter/main", "").await;
    let shown = ask(&router, "GET", "/components/demo/counter/main", "")
        .await
        .json();
    assert_eq!(shown["id"], "demo/counter/main");
    assert_eq!(
        (&shown["version"], &shown["phase"]),
        (&json!("1.2.3"), &json!("ready"))
    );
    assert_eq!(
        (&shown["handled"], &shown["usage"]["calls"]),
        (&json!(1), &json!(1))
    );
    assert!(shown["usage"]["memory_bytes"].as_u64().unwrap() > 0);
    assert_eq!(shown["permissions"]["send"], json!(["*/*/*"]));
    assert_eq!(
        ask(&router, "GET", "/components/demo/nobody/main", "")
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn a_quarantined_component_is_given_a_fresh_start() {
    let host = host(&[component("trap", TRAP)]).await;
    let router = GatewayBuilder::new().build(host.clone()).router();
    ask(&router, "POST", "/components/demo/trap/main", "").await;
    assert_eq!(
        host.component(&demo("trap")).await.unwrap().phase,
        Phase::Quarantined
    );
    let shown = ask(&router, "GET", "/components/demo/trap/main", "")
        .await
        .json();
    assert!(
        shown["cause"].as_str().unwrap().contains("trapped"),
        "{shown}"
    );
    let restarted = ask(&router, "POST", "/components/demo/trap/main/restart", "").await;
    assert_eq!(
        (restarted.status.as_u16(), restarted.json()),
        (200, json!({"done": "restarted"}))
    );
    assert_eq!(
        host.component(&demo("trap")).await.unwrap().phase,
        Phase::Ready
    );
    let nobody = ask(&router, "POST", "/components/demo/nobody/main/restart", "").await;
    assert_eq!(nobody.problem(), "not-found");
}

#[tokio::test]
async fn a_busy_component_is_not_waited_for_without_end() {
    let host = host(&[component("sleeper", SLEEPER)]).await;
    let router = GatewayBuilder::new().build(host.clone()).router();
    host.send(&demo("sleeper"), "900").unwrap();
    tokio::time::sleep(SECOND / 20).await;
    let restart = request("POST", "/components/demo/sleeper/main/restart");
    let restart = restart
        .header("request-timeout", "50ms")
        .body(Body::empty());
    let late = answer(&router, restart.unwrap()).await;
    assert_eq!(
        (late.status.as_u16(), late.problem().as_str()),
        (504, "timed-out")
    );
}

#[tokio::test]
async fn an_unloaded_component_is_gone() {
    let components = [component("echo", ECHO), component("bad", SHUTDOWN_FAILS)];
    let router = gateway(&components).await.router();
    let gone = ask(&router, "DELETE", "/components/demo/echo/main", "").await;
    assert_eq!(
        (gone.status.as_u16(), gone.json()),
        (200, json!({"done": "unloaded"}))
    );
    let again = ask(&router, "DELETE", "/components/demo/echo/main", "").await;
    assert_eq!(again.problem(), "not-found");
    let gone = ask(&router, "DELETE", "/components/demo/bad/main", "")
        .await
        .json();
    assert!(
        gone["warning"].as_str().unwrap().contains("shutdown"),
        "{gone}"
    );
}

#[tokio::test]
async fn permissions_are_taken_back_and_given_back_but_no_more() {
    let host = host(&[component("sender", SENDER), component("sink", COUNTER)]).await;
    let router = GatewayBuilder::new().build(host.clone()).router();
    let path = "/components/demo/sender/main/permissions";
    let all = ask(&router, "GET", path, "").await;
    assert_eq!(all.json()["send"], json!(["*/*/*"]));
    assert_eq!(
        host.permissions(&demo("sender")).unwrap().storage,
        Some(1 << 16)
    );
    let none = ask(&router, "PUT", path, "{}").await;
    assert_eq!(none.json(), json!({"done": "permissions-changed"}));
    let denied = ask(
        &router,
        "POST",
        "/components/demo/sender/main",
        "demo/sink/main hi",
    )
    .await;
    assert_eq!(denied.problem(), "component-error");
    let mut again = all.json();
    again.as_object_mut().unwrap().remove("wasi");
    let given_back = ask(&router, "PUT", path, &again.to_string()).await;
    assert_eq!(given_back.status, 200);
    let sent = ask(
        &router,
        "POST",
        "/components/demo/sender/main",
        "demo/sink/main hi",
    )
    .await;
    assert!(sent.status.is_success(), "{sent:?}");
    for (body, status, kind) in [
        ("{\"imports\":[\"acme:shop/*\"]}", 403, "forbidden"),
        ("{\"storage\":1000000}", 403, "forbidden"),
        ("{\"send\":[\"everyone\"]}", 400, "bad-request"),
        ("{\"sent\":[]}", 400, "bad-request"),
        ("{\"wasi\":7}", 400, "bad-request"),
        ("[", 400, "bad-request"),
        ("", 400, "bad-request"),
    ] {
        let refused = ask(&router, "PUT", path, body).await;
        assert_eq!(
            (refused.status.as_u16(), refused.problem().as_str()),
            (status, kind),
            "{body}"
        );
    }
}

#[tokio::test]
async fn what_watches_it_learns_that_it_ends() {
    let gateway = gateway(&[component("echo", ECHO)]).await;
    let router = gateway.router();
    assert_eq!(ask(&router, "GET", "/healthz", "").await.text(), "alive\n");
    assert_eq!(ask(&router, "GET", "/readyz", "").await.text(), "ready\n");
    gateway.drain();
    assert_eq!(ask(&router, "GET", "/healthz", "").await.status, 200);
    assert_eq!(ask(&router, "GET", "/readyz", "").await.status, 503);
}

#[tokio::test]
async fn gauges_are_those_of_the_moment() {
    let router = gateway(&[component("echo", ECHO), component("trap", TRAP)])
        .await
        .router();
    ask(&router, "POST", "/components/demo/trap/main", "").await;
    let scraped = ask(&router, "GET", "/metrics", "").await;
    assert_eq!(
        scraped.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    for line in [
        "wasm_components{phase=\"ready\"} 1",
        "wasm_components{phase=\"quarantined\"} 1",
        "wasm_mailbox_messages{component=\"demo/echo/main\"} 0",
        "wasm_fuel_total{component=\"demo/trap/main\"} ",
    ] {
        assert!(scraped.text().contains(line), "{line}: {}", scraped.text());
    }
}
