//! Components that come with their manifests.

use axum::Router;
use axum::body::Body;
use serde_json::json;

use wasm_gateway::{GatewayBuilder, GatewayLimits};
use wasm_testkit::wasm_fixtures::{CORE_MODULE, COUNTER, ECHO, INIT_CONFIG, INIT_FAILS};

use crate::support::{Answer, answer, ask, gateway, host, request};

const PATH: &str = "/components/demo/it/main";

fn manifest(more: &str) -> Vec<u8> {
    format!(
        "[component]\nid = \"demo/it/main\"\nwasm = \"it.wasm\"\nversion = \"2\"\n\
         [resources]\nmemory = \"1MiB\"\nfuel = 1_000_000\ntimeout = \"1s\"\n{more}"
    )
    .into_bytes()
}

fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut form = Vec::new();
    for (name, content) in parts {
        let head = format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
        form.extend_from_slice(head.as_bytes());
        form.extend_from_slice(content);
        form.extend_from_slice(b"\r\n");
    }
    form.extend_from_slice(b"--edge--\r\n");
    form
}

async fn put(router: &Router, parts: &[(&str, &[u8])]) -> Answer {
    let put = request("PUT", PATH).header("content-type", "multipart/form-data; boundary=edge");
    answer(router, put.body(Body::from(form(parts))).unwrap()).await
}

#[tokio::test]
async fn a_component_is_loaded_and_replaced_by_what_is_uploaded() {
    let host = host(&[]).await;
    let router = GatewayBuilder::new().build(host.clone()).router();
    let loaded = put(
        &router,
        &[("manifest", &manifest("")), ("component", COUNTER.wasm)],
    )
    .await;
    assert_eq!(
        (loaded.status.as_u16(), loaded.json()),
        (201, json!({"done": "loaded"}))
    );
    assert_eq!(ask(&router, "POST", PATH, "x").await.text(), "1");
    let swapped = put(
        &router,
        &[("manifest", &manifest("")), ("component", ECHO.wasm)],
    )
    .await;
    assert_eq!(
        (swapped.status.as_u16(), swapped.json()),
        (200, json!({"done": "swapped"}))
    );
    assert_eq!(ask(&router, "POST", PATH, "x").await.text(), "x");
    let shown = ask(&router, "GET", PATH, "").await.json();
    assert_eq!(
        (&shown["version"], &shown["swaps"]),
        (&json!("2"), &json!(1))
    );
}

#[tokio::test]
async fn what_cannot_be_loaded_leaves_the_old_one() {
    let router = gateway(&[]).await.router();
    put(
        &router,
        &[("manifest", &manifest("")), ("component", ECHO.wasm)],
    )
    .await;
    for wasm in [
        CORE_MODULE.wasm,
        INIT_FAILS.wasm,
        b"text".as_slice(),
        b"".as_slice(),
    ] {
        let refused = put(&router, &[("manifest", &manifest("")), ("component", wasm)]).await;
        assert_eq!(
            (refused.status.as_u16(), refused.problem().as_str()),
            (422, "not-started")
        );
        assert_eq!(ask(&router, "POST", PATH, "x").await.text(), "x");
    }
}

#[tokio::test]
async fn a_configuration_comes_with_it() {
    let router = gateway(&[]).await.router();
    let text = manifest("[config]\nfile = \"it.json\"\n");
    let missing = put(
        &router,
        &[("manifest", &text), ("component", INIT_CONFIG.wasm)],
    )
    .await;
    assert_eq!(
        (missing.status.as_u16(), missing.problem().as_str()),
        (400, "bad-request")
    );
    let parts = [
        ("config", b"{\"a\":1}".as_slice()),
        ("manifest", &text),
        ("component", INIT_CONFIG.wasm),
    ];
    assert_eq!(put(&router, &parts).await.status, 201);
    let shown = ask(&router, "POST", PATH, "").await;
    assert!(shown.text().contains("{\"a\":1}"), "{}", shown.text());
}

#[tokio::test]
async fn a_manifest_is_held_to_what_it_may_say() {
    let router = gateway(&[]).await.router();
    let folder = manifest("[permissions]\nwasi = [{ dir = \"data\", access = \"read\" }]\n");
    let other = String::from_utf8(manifest(""))
        .unwrap()
        .replace("demo/it/", "demo/other/");
    let large = String::from_utf8(manifest(""))
        .unwrap()
        .replace("1MiB", "8MiB");
    for (text, part) in [
        (folder.as_slice(), "no folder"),
        (other.as_bytes(), "demo/other/main"),
        (large.as_bytes(), "memory"),
        (b"", "component"),
        (b"[component", "Component.toml"),
    ] {
        let refused = put(&router, &[("manifest", text), ("component", ECHO.wasm)]).await;
        assert_eq!(
            (refused.status.as_u16(), refused.problem().as_str()),
            (422, "bad-manifest")
        );
        assert!(refused.text().contains(part), "{}", refused.text());
    }
}

#[tokio::test]
async fn parts_are_there_once_and_no_others() {
    let router = gateway(&[]).await.router();
    let text = manifest("");
    let (manifest, wasm) = (("manifest", text.as_slice()), ("component", ECHO.wasm));
    for parts in [
        vec![],
        vec![manifest],
        vec![wasm],
        vec![manifest, wasm, wasm],
        vec![manifest, wasm, ("other", b"")],
        vec![manifest, wasm, ("config", b"")],
        vec![("manifest", b"\xff"), wasm],
    ] {
        let refused = put(&router, &parts).await;
        assert_eq!(
            (refused.status.as_u16(), refused.problem().as_str()),
            (400, "bad-request")
        );
    }
    for content_type in [
        "application/json",
        "multipart/form-data",
        "multipart/form-data; boundary=",
    ] {
        let put = request("PUT", PATH).header("content-type", content_type);
        let refused = answer(&router, put.body(Body::from("--\r\n")).unwrap()).await;
        assert_eq!(refused.status, 400, "{content_type}");
    }
}

#[tokio::test]
async fn an_upload_has_a_largest_size() {
    let limits = GatewayLimits::default().with_upload_bytes(1_000);
    let router = GatewayBuilder::new()
        .with_limits(limits)
        .build(host(&[]).await)
        .router();
    let large = vec![0; 1_001];
    let refused = put(
        &router,
        &[("manifest", &manifest("")), ("component", &large)],
    )
    .await;
    assert_eq!(
        (refused.status.as_u16(), refused.problem().as_str()),
        (413, "too-large")
    );
}
