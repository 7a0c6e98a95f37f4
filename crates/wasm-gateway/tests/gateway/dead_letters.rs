//! Messages that could not be handled.

use serde_json::json;

use wasm_core::HttpRoute;
use wasm_gateway::{GatewayBuilder, SiteKind};
use wasm_testkit::wasm_fixtures::{ECHO, TRAP};

use crate::support::{SECOND, ask, component, demo, host};

#[tokio::test]
async fn a_dead_letter_is_listed_read_and_delivered_again_once() {
    let host = host(&[component("trap", TRAP)]).await;
    let router = GatewayBuilder::new().build(host.clone()).router();
    host.send(&demo("trap"), "a secret").unwrap();
    host.drain(SECOND).await.unwrap();
    let list = ask(&router, "GET", "/dead-letters", "").await;
    assert!(!list.text().contains("secret"), "{}", list.text());
    let letter = list.json()["dead_letters"][0].clone();
    assert_eq!(
        (&letter["number"], &letter["to"]),
        (&json!(1), &json!("demo/trap/main"))
    );
    assert_eq!(
        (&letter["cause"], &letter["bytes"]),
        (&json!("failed"), &json!(8))
    );
    let read = ask(&router, "GET", "/dead-letters/1/payload", "").await;
    assert_eq!(read.text(), "a secret");
    assert_eq!(read.header("content-type"), "application/octet-stream");
    assert_eq!(
        read.header("content-security-policy"),
        "default-src 'none'; sandbox"
    );

    host.swap(component("trap", ECHO)).await.unwrap();
    let again = ask(&router, "POST", "/dead-letters/1/redeliver", "").await;
    assert_eq!(again.json(), json!({"done": "redelivered"}));
    let again = ask(&router, "POST", "/dead-letters/1/redeliver", "").await;
    assert_eq!(
        (again.status.as_u16(), again.problem().as_str()),
        (404, "not-found")
    );
    host.drain(SECOND).await.unwrap();
    let list = ask(&router, "GET", "/dead-letters", "").await.json();
    assert_eq!(list, json!({"dead_letters": []}));
}

#[tokio::test]
async fn what_a_request_was_asked_with_is_not_listed() {
    let host = host(&[component("trap", TRAP)]).await;
    let gateway = GatewayBuilder::new().build(host.clone());
    let route = HttpRoute::new("/shop".parse().unwrap());
    let site = gateway.add_site(demo("trap"), route, SiteKind::Messages);
    site.unwrap();
    let router = gateway.router();
    ask(&router, "GET", "/shop?key=secret", "").await;
    host.drain(SECOND).await.unwrap();
    let list = ask(&router, "GET", "/dead-letters", "").await.json();
    assert_eq!(list["dead_letters"][0]["message_type"], "GET /shop");
}

#[tokio::test]
async fn one_that_failed_again_is_not_delivered_a_third_time() {
    let host = host(&[component("trap", TRAP)]).await;
    let router = GatewayBuilder::new().build(host.clone()).router();
    host.send(&demo("trap"), "x").unwrap();
    host.drain(SECOND).await.unwrap();
    host.restart(&demo("trap")).await.unwrap();
    assert_eq!(
        ask(&router, "POST", "/dead-letters/1/redeliver", "")
            .await
            .status,
        200
    );
    host.drain(SECOND).await.unwrap();
    let refused = ask(&router, "POST", "/dead-letters/2/redeliver", "").await;
    assert_eq!(
        (refused.status.as_u16(), refused.problem().as_str()),
        (409, "conflict")
    );
    for number in ["0", "3", "x", "-1", "18446744073709551616"] {
        let path = format!("/dead-letters/{number}/redeliver");
        assert_eq!(
            ask(&router, "POST", &path, "").await.problem(),
            "not-found",
            "{number}"
        );
    }
}
