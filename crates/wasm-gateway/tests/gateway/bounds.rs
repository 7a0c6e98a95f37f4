//! What one client cannot take from the others.

use std::time::Duration;

use axum::body::Body;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use wasm_gateway::{GatewayBuilder, GatewayLimits};
use wasm_testkit::wasm_fixtures::ECHO;

use crate::support::{HANGS, SECOND, Served, answer, ask, component, host, request, rest, until};

const ECHO_PATH: &str = "/components/demo/echo/main";
const ALIVE: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

async fn served(limits: GatewayLimits) -> Served {
    Served::new(&[component("echo", ECHO)], limits).await
}

#[tokio::test]
async fn a_payload_has_a_largest_size() {
    let limits = GatewayLimits::default().with_body_bytes(1_000);
    let builder = GatewayBuilder::new().with_limits(limits.clone());
    let router = builder
        .build(host(&[component("echo", ECHO)]).await)
        .router();
    let fits = ask(&router, "POST", ECHO_PATH, &"x".repeat(1_000)).await;
    assert_eq!((fits.status.as_u16(), fits.body.len()), (200, 1_000));
    for path in [ECHO_PATH, "/components/demo/echo/main/messages"] {
        let refused = ask(&router, "POST", path, &"x".repeat(1_001)).await;
        assert_eq!(
            (refused.status.as_u16(), refused.problem().as_str()),
            (413, "too-large")
        );
    }
    let served = served(limits).await;
    // One that does not say how long it is, and one that says so and does not come.
    let chunk = format!("3e9\r\n{}\r\n0\r\n\r\n", "x".repeat(1_001));
    for (length, body) in [
        ("Transfer-Encoding: chunked", chunk.as_str()),
        ("Content-Length: 1001", ""),
    ] {
        let text =
            format!("POST {ECHO_PATH} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n\r\n{body}");
        let refused = served.exchange(text.as_bytes()).await;
        assert!(refused.starts_with("HTTP/1.1 413 "), "{refused}");
    }
}

#[tokio::test]
async fn a_head_has_a_largest_size() {
    let served = served(GatewayLimits::default()).await;
    let long = "x".repeat(64 << 10);
    let many = "x: y\r\n".repeat(1_000);
    for text in [
        format!("GET /healthz?{long} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nx: {long}\r\n\r\n"),
        format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"),
        format!("{long} / HTTP/1.1\r\n\r\n"),
    ] {
        let mut stream = served.connect().await;
        // It may be closed before all is written.
        let _ = stream.write_all(text.as_bytes()).await;
        let refused = rest(&mut stream).await;
        assert!(!refused.contains("alive"), "{refused}");
    }
    assert!(served.exchange(ALIVE).await.contains("alive"));
}

#[tokio::test]
async fn a_head_that_does_not_come_is_not_waited_for() {
    let limits = GatewayLimits::default().with_header_time(SECOND / 5);
    let served = served(limits).await;
    for text in [
        "",
        "GET /healthz HT",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\n",
    ] {
        let began = Instant::now();
        served.exchange(text.as_bytes()).await;
        assert!(began.elapsed() < HANGS / 2, "{text}");
    }
    // Nor is the next one on a connection that is kept.
    let text = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let answered = served.exchange(text.as_bytes()).await;
    assert!(answered.ends_with("alive\n"), "{answered}");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let limits = GatewayLimits::default().with_body_time(SECOND / 5);
    let served = served(limits).await;
    let text =
        format!("POST {ECHO_PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx");
    let answered = served.exchange(text.as_bytes()).await;
    assert!(answered.starts_with("HTTP/1.1 408 "), "{answered}");
}

#[tokio::test]
async fn a_client_that_goes_away_in_the_middle_harms_nobody() {
    let served = served(GatewayLimits::default()).await;
    for _ in 0..100 {
        let mut stream = served.connect().await;
        let text =
            format!("POST {ECHO_PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx");
        stream.write_all(text.as_bytes()).await.unwrap();
    }
    assert!(served.exchange(ALIVE).await.contains("alive"));
}

/// So many connections, with the beginning of a request each.
async fn begin_requests(served: &Served, count: usize) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..count {
        let mut stream = served.connect().await;
        stream.write_all(&ALIVE[..10]).await.unwrap();
        held.push(stream);
    }
    held
}

#[tokio::test]
async fn connections_are_so_many() {
    let limits = GatewayLimits::default()
        .with_connections(4)
        .with_header_time(HANGS);
    let served = served(limits).await;
    let mut held = begin_requests(&served, 4).await;
    sleep(Duration::from_millis(200)).await;
    let refused = served.exchange(b"").await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.contains("Retry-After: 1"), "{refused}");
    held.pop();
    let began = Instant::now();
    while !served.exchange(ALIVE).await.contains("alive") {
        assert!(began.elapsed() < HANGS);
        sleep(Duration::from_millis(20)).await;
    }
}

/// Another address gets in meanwhile.
#[tokio::test]
async fn connections_of_one_address_are_so_many() {
    let limits = GatewayLimits::default()
        .with_connections_of_address(4)
        .with_header_time(HANGS);
    let served = served(limits).await;
    let mut held = begin_requests(&served, 4).await;
    let refused = served.exchange(b"").await;
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    assert!(
        refused.contains("your address has 4 connections open"),
        "{refused}"
    );
    let mut other = served.connect_from("127.0.0.2").await;
    other.write_all(ALIVE).await.unwrap();
    assert!(rest(&mut other).await.contains("alive"));
    held.pop();
    let began = Instant::now();
    while !served.exchange(ALIVE).await.contains("alive") {
        assert!(began.elapsed() < HANGS);
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn payloads_that_are_received_have_so_much_room() {
    let limits = GatewayLimits::default()
        .with_body_bytes(64 << 10)
        .with_received_bytes(128 << 10)
        .with_body_time(HANGS);
    let served = served(limits).await;
    let head = |length: usize| {
        format!("POST {ECHO_PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n")
    };
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = served.connect().await;
        stream.write_all(head(64 << 10).as_bytes()).await.unwrap();
        held.push(stream);
    }
    sleep(Duration::from_millis(200)).await;
    let refused = served.exchange(format!("{}x", head(1)).as_bytes()).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    // One that has come leaves its room to others.
    held[0].write_all(&vec![b'x'; 64 << 10]).await.unwrap();
    until(&mut held[0], "HTTP/1.1 200 OK").await;
    let text = head(1).replace("Host", "Connection: close\r\nHost");
    let answered = served.exchange(format!("{text}x").as_bytes()).await;
    assert!(answered.starts_with("HTTP/1.1 200 "), "{answered}");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_given_up() {
    let limits = GatewayLimits::default()
        .with_body_bytes(700 << 10)
        .with_stall_time(SECOND / 5)
        .with_connections(1);
    let served = served(limits).await;
    let mut stream = served.connect().await;
    let payload = vec![b'x'; 600 << 10];
    let head = format!(
        "POST {ECHO_PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        payload.len()
    );
    // More replies than the buffers of the system take, none of which is read.
    let writing = tokio::spawn(async move {
        for _ in 0..64 {
            let written = stream.write_all(head.as_bytes()).await;
            if written.is_err() || stream.write_all(&payload).await.is_err() {
                break;
            }
        }
        stream
    });
    let began = Instant::now();
    while !served.exchange(ALIVE).await.contains("alive") {
        assert!(began.elapsed() < HANGS);
        sleep(Duration::from_millis(50)).await;
    }
    writing.abort();
}

#[tokio::test]
async fn a_body_of_no_length_takes_no_room() {
    let limits = GatewayLimits::default().with_received_bytes(0);
    let builder = GatewayBuilder::new().with_limits(limits);
    let router = builder
        .build(host(&[component("echo", ECHO)]).await)
        .router();
    let empty = request("POST", ECHO_PATH).body(Body::empty()).unwrap();
    assert_eq!(answer(&router, empty).await.status, 200);
    assert_eq!(ask(&router, "POST", ECHO_PATH, "x").await.status, 503);
}
