//! Events as they come.

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use wasm_gateway::GatewayLimits;
use wasm_testkit::wasm_fixtures::{COUNTER, ECHO, TRAP};

use crate::support::{SECOND, Served, component, demo, rest, until};

async fn follow(served: &Served, query: &str, headers: &str) -> TcpStream {
    let mut stream = served.connect().await;
    let text = format!("GET /events{query} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// Follows events up to a restart; the id of that.
async fn after_a_restart(served: &Served) -> (TcpStream, String) {
    let mut stream = follow(served, "", "").await;
    until(&mut stream, "events follow").await;
    served.gateway.host().restart(&demo("echo")).await.unwrap();
    let told = until(&mut stream, "event: restarted\n").await;
    let id = told.rsplit("id: ").next().unwrap();
    let id = id.lines().next().unwrap().to_owned();
    (stream, id)
}

#[tokio::test]
async fn what_happens_is_told_as_it_happens() {
    let components = [component("trap", TRAP), component("echo", ECHO)];
    let served = Served::new(&components, GatewayLimits::default()).await;
    let mut stream = follow(&served, "", "").await;
    let head = until(&mut stream, ": events follow\n\n").await;
    assert!(
        head.contains("content-type: text/event-stream\r\n"),
        "{head}"
    );
    let host = served.gateway.host().clone();
    host.request(&demo("echo"), "x", SECOND).await.unwrap();
    host.send(&demo("trap"), "x").unwrap();
    let told = until(&mut stream, "event: quarantined\n").await;
    assert!(told.contains("event: failed\n"), "{told}");
    assert!(told.contains("\"component\":\"demo/trap/main\""), "{told}");
    // Messages that were handled are told only to who asks for them.
    assert!(!told.contains("demo/echo/main"), "{told}");
}

#[tokio::test]
async fn messages_are_told_to_who_asks_for_them() {
    let served = Served::new(&[component("echo", ECHO)], GatewayLimits::default()).await;
    let mut stream = follow(&served, "?messages=true", "").await;
    until(&mut stream, "events follow").await;
    served
        .gateway
        .host()
        .request(&demo("echo"), "hello", SECOND)
        .await
        .unwrap();
    let told = until(&mut stream, "\"took_us\"").await;
    assert!(
        told.contains("\"kind\":\"request\",\"bytes\":5,\"reply\":\"bytes\""),
        "{told}"
    );
}

#[tokio::test]
async fn who_comes_back_goes_on_where_it_was() {
    let served = Served::new(&[component("echo", ECHO)], GatewayLimits::default()).await;
    let host = served.gateway.host().clone();
    let (_, id) = after_a_restart(&served).await;
    host.load(component("late", COUNTER)).await.unwrap();
    let mut stream = follow(&served, "", &format!("Last-Event-ID: {id}\r\n")).await;
    let resumed = until(&mut stream, "event: loaded\n").await;
    assert!(!resumed.contains("event: restarted"), "{resumed}");
    assert!(!resumed.contains("event: missed"), "{resumed}");
}

/// Messages are told only while somebody asks for them.
#[tokio::test]
async fn who_asks_for_earlier_messages_is_told_that_some_are_missing() {
    let served = Served::new(&[component("echo", ECHO)], GatewayLimits::default()).await;
    let host = served.gateway.host().clone();
    let (mut stream, id) = after_a_restart(&served).await;
    host.request(&demo("echo"), "x", SECOND).await.unwrap();
    host.load(component("late", COUNTER)).await.unwrap();
    let again = format!("Last-Event-ID: {id}\r\n");
    until(&mut stream, "event: loaded\n").await;
    let mut stream = follow(&served, "?messages=true", &again).await;
    let resumed = until(&mut stream, "event: missed\n").await;
    assert!(!resumed.contains("event: message\n"), "{resumed}");
    host.request(&demo("echo"), "x", SECOND).await.unwrap();
    until(&mut stream, "event: message\n").await;
}

#[tokio::test]
async fn who_comes_from_another_process_is_told_that_something_is_missing() {
    let served = Served::new(&[component("echo", ECHO)], GatewayLimits::default()).await;
    served.gateway.host().restart(&demo("echo")).await.unwrap();
    for query in ["", "?messages=true"] {
        for id in ["1-1", "x", "-", "", "zz-1", "1-99999999999999999999"] {
            let mut stream = follow(&served, query, &format!("Last-Event-ID: {id}\r\n")).await;
            let told = until(&mut stream, "event: restarted\n").await;
            assert_eq!(told.matches("event: missed\n").count(), 1, "{id}: {told}");
        }
    }
}

#[tokio::test]
async fn only_what_is_about_a_component_if_it_is_named() {
    let components = [component("a", ECHO), component("b", ECHO)];
    let served = Served::new(&components, GatewayLimits::default()).await;
    let mut stream = follow(&served, "?component=demo/b/main", "").await;
    until(&mut stream, "events follow").await;
    for name in ["a", "b"] {
        served.gateway.host().restart(&demo(name)).await.unwrap();
    }
    let told = until(&mut stream, "event: restarted\n").await;
    assert!(!told.contains("demo/a/main"), "{told}");
    for wrong in ["?component=x", "?messages=yes", "?all=true"] {
        let refused = rest(&mut {
            let mut stream = follow(&served, wrong, "Connection: close\r\n").await;
            stream.flush().await.unwrap();
            stream
        })
        .await;
        assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
    }
}

#[tokio::test]
async fn streams_are_so_many_and_end_with_the_server() {
    let limits = GatewayLimits::default().with_event_streams(2);
    let served = Served::new(&[component("echo", ECHO)], limits).await;
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut stream = follow(&served, "", "").await;
        until(&mut stream, "events follow").await;
        streams.push(stream);
    }
    let mut refused = follow(&served, "", "Connection: close\r\n").await;
    let refused = rest(&mut refused).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.contains("retry-after: 15"), "{refused}");
    served.stopped().await;
    for mut stream in streams {
        rest(&mut stream).await;
    }
}
