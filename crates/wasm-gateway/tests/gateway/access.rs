//! Who must not get in: one row for each.

use axum::Router;
use axum::body::Body;
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt as _;

use wasm_gateway::{Gateway, GatewayBuilder, GatewayLimits, Tokens};
use wasm_testkit::ModelEngine;
use wasm_testkit::wasm_fixtures::{COUNTER, ECHO};

use crate::support::{
    Answer, SECOND, Served, answer, ask, component, demo, gateway, host, request, until,
};

const READ: &str = "rrrrrrrrrrrrrrrrrrrr";
const MESSAGE: &str = "mmmmmmmmmmmmmmmmmmmm";
const ADMINISTER: &str = "aaaaaaaaaaaaaaaaaaaa";

fn tokens(text: &str) -> Tokens {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    Tokens::read(file.path()).unwrap()
}

async fn guarded() -> Gateway<ModelEngine> {
    let text = format!("read {READ}\nmessage {MESSAGE}\nadminister {ADMINISTER}\n");
    let builder = GatewayBuilder::new().with_tokens(tokens(&text));
    builder.build(host(&[component("counter", COUNTER)]).await)
}

async fn with(router: &Router, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = request(method, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(router, request.body(Body::empty()).unwrap()).await
}

const COUNTER_PATH: &str = "/components/demo/counter/main";

/// Everything that takes a token, and the only roles with which it goes.
const GUARDED: [(&str, &str, &[&str]); 16] = [
    ("GET", "/components", &[READ, ADMINISTER]),
    ("GET", "/components/demo/counter/main", &[READ, ADMINISTER]),
    (
        "POST",
        "/components/demo/counter/main",
        &[MESSAGE, ADMINISTER],
    ),
    (
        "POST",
        "/components/demo/counter/main/messages",
        &[MESSAGE, ADMINISTER],
    ),
    ("PUT", "/components/demo/counter/main", &[ADMINISTER]),
    ("DELETE", "/components/demo/nobody/main", &[ADMINISTER]),
    (
        "POST",
        "/components/demo/counter/main/restart",
        &[ADMINISTER],
    ),
    (
        "GET",
        "/components/demo/counter/main/permissions",
        &[READ, ADMINISTER],
    ),
    (
        "PUT",
        "/components/demo/counter/main/permissions",
        &[ADMINISTER],
    ),
    ("GET", "/dead-letters", &[READ, ADMINISTER]),
    ("GET", "/dead-letters/1/payload", &[ADMINISTER]),
    ("POST", "/dead-letters/1/redeliver", &[ADMINISTER]),
    ("GET", "/metrics", &[READ, ADMINISTER]),
    ("GET", "/nodes", &[READ, ADMINISTER]),
    ("GET", "/nodes/dead-letters", &[READ, ADMINISTER]),
    ("GET", "/nodes/events", &[READ, ADMINISTER]),
];

#[tokio::test]
async fn no_token_and_a_wrong_one_get_nobody_in() {
    let router = guarded().await.router();
    let almost = format!("Bearer {}b", &ADMINISTER[1..]);
    let shorter = format!("Bearer {}", &ADMINISTER[1..]);
    let longer = format!("Bearer {ADMINISTER}a");
    let two = format!("Bearer {ADMINISTER} {ADMINISTER}");
    let basic = format!("Basic {ADMINISTER}");
    let huge = format!("Bearer {}", "a".repeat(10_000));
    let wrong = [
        "",
        "Bearer",
        "Bearer ",
        ADMINISTER,
        &almost,
        &shorter,
        &longer,
        &two,
        &basic,
        &huge,
        "Bearer é",
    ];
    for (method, path, _) in GUARDED
        .into_iter()
        .chain([("GET", "/events", [].as_slice())])
    {
        let refused = with(&router, method, path, &[]).await;
        assert_eq!(
            (refused.status.as_u16(), refused.problem().as_str()),
            (401, "unauthorized")
        );
        assert_eq!(refused.header("www-authenticate"), "Bearer");
        for token in wrong {
            let refused = with(&router, method, path, &[("authorization", token)]).await;
            assert_eq!(refused.status, 401, "{method} {path} {token}");
        }
    }
}

#[tokio::test]
async fn two_tokens_are_none() {
    let router = guarded().await.router();
    let (good, bad) = (format!("Bearer {ADMINISTER}"), "Bearer nonenonenonenone");
    for both in [
        [good.as_str(), bad],
        [bad, good.as_str()],
        [good.as_str(), good.as_str()],
    ] {
        let both = both.map(|token| ("authorization", token));
        assert_eq!(with(&router, "GET", "/components", &both).await.status, 401);
    }
    // Nor is a token anywhere else.
    for elsewhere in [
        format!("/components?token={ADMINISTER}"),
        format!("/metrics?access_token={ADMINISTER}"),
    ] {
        assert_eq!(with(&router, "GET", &elsewhere, &[]).await.status, 401);
    }
    let cookie = format!("token={ADMINISTER}");
    assert_eq!(
        with(&router, "GET", "/components", &[("cookie", &cookie)])
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn a_token_does_what_its_role_permits_and_no_more() {
    let router = guarded().await.router();
    for (method, path, permitted) in GUARDED {
        for token in [READ, MESSAGE, ADMINISTER] {
            let bearer = format!("bearer {token}");
            let answered = with(&router, method, path, &[("authorization", &bearer)]).await;
            let is_in = answered.status != 401 && answered.status != 403;
            assert_eq!(
                is_in,
                permitted.contains(&token),
                "{method} {path} {token}: {answered:?}"
            );
        }
    }
}

/// Who has lost its token does not go on reading.
#[tokio::test]
async fn a_stream_of_events_ends_with_its_token() {
    let gateway = guarded().await;
    let served = Served::of(gateway.clone()).await;
    let follow = async |token: &str| {
        let mut stream = served.connect().await;
        let text = format!(
            "GET /events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(text.as_bytes()).await.unwrap();
        until(&mut stream, "events follow").await;
        stream
    };
    let (mut lost, mut kept) = (follow(READ).await, follow(ADMINISTER).await);
    gateway.set_tokens(tokens(&format!("administer {ADMINISTER}")));
    until(&mut lost, "0\r\n\r\n").await;
    gateway.host().restart(&demo("counter")).await.unwrap();
    until(&mut kept, "event: restarted\n").await;
}

#[tokio::test]
async fn who_watches_whether_it_lives_needs_no_token() {
    let router = guarded().await.router();
    for path in ["/healthz", "/readyz", "/openapi.json"] {
        assert_eq!(with(&router, "GET", path, &[]).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_body_is_not_read_of_somebody_who_has_no_token() {
    let served = Served::of(guarded().await).await;
    // It would not come for long; the answer does.
    let refused = served
        .exchange(
            b"PUT /components/demo/counter/main HTTP/1.1\r\nHost: localhost\r\n\
              Content-Length: 60000000\r\nConnection: close\r\n\r\n",
        )
        .await;
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
}

#[tokio::test]
async fn tokens_are_replaced_while_it_runs() {
    let gateway = guarded().await;
    let router = gateway.router();
    let (old, new) = (format!("Bearer {READ}"), "Bearer nnnnnnnnnnnnnnnnnnnn");
    gateway.set_tokens(tokens("read nnnnnnnnnnnnnnnnnnnn"));
    assert_eq!(
        with(&router, "GET", "/components", &[("authorization", &old)])
            .await
            .status,
        401
    );
    assert_eq!(
        with(&router, "GET", "/components", &[("authorization", new)])
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_name_that_is_made_to_lead_here_does_not() {
    let builder = GatewayBuilder::new().with_name("Shop.Example");
    let router = builder
        .build(host(&[component("counter", COUNTER)]).await)
        .router();
    for (name, is_in) in [
        ("localhost", true),
        ("LOCALHOST:7070", true),
        ("127.0.0.1", true),
        ("127.0.0.1:7070", true),
        ("[::1]:7070", true),
        ("10.1.2.3", true),
        ("shop.example", true),
        ("SHOP.example:443", true),
        ("evil.example", false),
        ("localhost.evil.example", false),
        ("127.0.0.1.evil.example", false),
        ("127.0.0.1.nip.io", false),
        ("evil.example:7070", false),
        ("shop.example.evil.example", false),
        ("evil.example@localhost", false),
        ("localhost@evil.example", false),
        ("localhost/", false),
        ("localhost#", false),
        ("localhost:x", false),
        ("", false),
        ("0x7f000001", false),
        ("2130706433", false),
    ] {
        let request = axum::http::Request::builder()
            .method("POST")
            .uri(COUNTER_PATH);
        let request = request.header("host", name).body(Body::empty()).unwrap();
        let status = answer(&router, request).await.status.as_u16();
        assert_eq!(status == 200, is_in, "{name}: {status}");
        assert!(is_in || status == 403 || status == 400, "{name}: {status}");
    }
}

#[tokio::test]
async fn one_host_is_named_and_the_same_in_both_places() {
    let router = gateway(&[component("counter", COUNTER)]).await.router();
    let none = axum::http::Request::get("/components")
        .body(Body::empty())
        .unwrap();
    assert_eq!(answer(&router, none).await.status, 400);
    let two = with(&router, "GET", "/components", &[("host", "evil.example")]).await;
    assert_eq!(two.status, 400);
    let whole = axum::http::Request::get("http://evil.example/components");
    let whole = whole
        .header("host", "localhost")
        .body(Body::empty())
        .unwrap();
    assert_eq!(answer(&router, whole).await.status, 400);
}

#[tokio::test]
async fn a_page_of_another_site_does_not_get_in() {
    let router = gateway(&[component("counter", COUNTER)]).await.router();
    for (headers, is_in) in [
        (
            [
                ("origin", "http://localhost"),
                ("sec-fetch-site", "same-origin"),
            ],
            true,
        ),
        ([("origin", "https://localhost"), ("accept", "*/*")], true),
        ([("accept", "*/*"), ("sec-fetch-site", "none")], true),
        (
            [("origin", "http://evil.example"), ("accept", "*/*")],
            false,
        ),
        ([("origin", "null"), ("accept", "*/*")], false),
        ([("origin", ""), ("accept", "*/*")], false),
        (
            [("origin", "http://localhost:81"), ("accept", "*/*")],
            false,
        ),
        (
            [
                ("origin", "http://localhost.evil.example"),
                ("accept", "*/*"),
            ],
            false,
        ),
        ([("origin", "file://localhost"), ("accept", "*/*")], false),
        (
            [
                ("origin", "http://localhost"),
                ("origin", "http://evil.example"),
            ],
            false,
        ),
        ([("accept", "*/*"), ("sec-fetch-site", "cross-site")], false),
        ([("accept", "*/*"), ("sec-fetch-site", "same-site")], false),
        (
            [
                ("origin", "http://localhost"),
                ("sec-fetch-site", "cross-site"),
            ],
            false,
        ),
    ] {
        let answered = with(&router, "POST", COUNTER_PATH, &headers).await;
        assert_eq!(answered.status == 200, is_in, "{headers:?}: {answered:?}");
        assert!(is_in || answered.problem() == "forbidden", "{headers:?}");
        // Nobody is told that they may.
        assert!(!answered.headers.contains_key("access-control-allow-origin"));
    }
    let preflight = with(
        &router,
        "OPTIONS",
        COUNTER_PATH,
        &[
            ("origin", "http://evil.example"),
            ("access-control-request-method", "POST"),
        ],
    );
    assert_eq!(preflight.await.status, 403);
}

#[tokio::test]
async fn paths_are_read_in_one_way_only() {
    let router = gateway(&[component("counter", COUNTER)]).await.router();
    for path in [
        "/components/demo%2Fcounter/main/x",
        "/components/demo/counter%2Fmain",
        "/components/%64emo/counter/main",
        "/components/demo/counter/main%00",
        "/components/demo/counter/..%2fmain",
        "/components/./demo/counter/main",
        "/components/../components/demo/counter/main",
        "/components/demo/counter/main/../main",
        "/components/demo/../counter/main",
        "/components/demo/counter/main;x=1",
        "/components/demo/counter/main%3fx",
        "/components/demo\\counter/main",
    ] {
        let uri = path.parse::<axum::http::Uri>();
        let Ok(uri) = uri else { continue };
        let request = axum::http::Request::post(uri).header("host", "localhost");
        let refused = answer(&router, request.body(Body::empty()).unwrap()).await;
        assert_eq!(
            (refused.status.as_u16(), refused.problem().as_str()),
            (400, "bad-request"),
            "{path}"
        );
    }
    let long = "x".repeat(65);
    for path in [
        "/components/demo/counter",
        "/components/demo//main",
        "//components/demo/counter/main",
        "/components//demo/counter/main",
        "/components/demo/counter/main/",
        "/components/demo/counter/main/messages/",
        "/Components/demo/counter/main",
        &format!("/components/demo/{long}/main"),
    ] {
        let refused = ask(&router, "POST", path, "").await;
        assert_eq!(refused.status, 404, "{path}");
    }
}

/// In a server of somebody else, which leaves it to the gateway.
#[tokio::test]
async fn a_length_that_is_told_twice_is_refused_wherever_it_is_mounted() {
    let router = gateway(&[component("counter", COUNTER)]).await.router();
    for headers in [
        [("content-length", "0"), ("content-length", "0")],
        [("content-length", "0"), ("transfer-encoding", "chunked")],
        [
            ("transfer-encoding", "chunked"),
            ("transfer-encoding", "chunked"),
        ],
    ] {
        let refused = with(&router, "POST", COUNTER_PATH, &headers).await;
        assert_eq!(refused.problem(), "bad-request");
        assert_eq!(refused.header("connection"), "close");
    }
}

/// The coding counts then, and nothing after the body is taken for a request, as RFC 9112 has
/// it.
#[tokio::test]
async fn after_a_body_whose_length_is_told_twice_nothing_is_read() {
    let served = Served::new(&[component("echo", ECHO)], GatewayLimits::default()).await;
    for headers in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 500\r\n",
    ] {
        let text = format!(
            "POST /components/demo/echo/main HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\
             2\r\nab\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        );
        let answered = served.exchange(text.as_bytes()).await;
        assert_eq!(answered.matches("HTTP/1.1 ").count(), 1, "{answered}");
        assert!(answered.contains("connection: close\r\n"), "{answered}");
        assert!(answered.ends_with("\r\n\r\nab"), "{answered}");
    }
}

/// What a proxy in between may read as two requests, or as another one.
#[tokio::test]
async fn a_request_has_one_end() {
    let served = Served::new(&[component("counter", COUNTER)], GatewayLimits::default()).await;
    let second = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for headers in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length : 5\r\n",
        " Content-Length: 5\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Host: evil.example\r\n",
        "X: a\0b\r\n",
        "X: a\rb\r\n",
        "X\r\n",
    ] {
        let text = format!(
            "POST {COUNTER_PATH} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n0\r\n\r\n{second}"
        );
        let answered = served.exchange(text.as_bytes()).await;
        let status = answered.get(9..12).unwrap_or_default();
        assert!(
            ["400", "413", "501", ""].contains(&status),
            "{headers:?}: {answered}"
        );
        let answers = answered.matches("HTTP/1.1 ").count();
        assert!(answers <= 1, "{headers:?}: {answered}");
    }
    let count = served
        .gateway
        .host()
        .request(&demo("counter"), "", SECOND)
        .await
        .unwrap();
    assert_eq!(count, Some("1".into()), "none of them was handled");
}

#[tokio::test]
async fn what_is_no_http_1_1_is_not_answered_as_if_it_were() {
    let served = Served::new(&[component("echo", ECHO)], GatewayLimits::default()).await;
    for bytes in [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /healthz\r\n\r\n",
        b"GET /healthz HTTP/3.0\r\nHost: localhost\r\n\r\n",
        b"GET  /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
    ] {
        let answered = served.exchange(bytes).await;
        assert!(!answered.contains("alive"), "{answered}");
    }
}
