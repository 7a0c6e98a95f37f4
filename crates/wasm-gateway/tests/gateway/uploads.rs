//! Components that come with their manifests.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::timeout;

use wasm_core::ComponentHandle;
use wasm_gateway::{GatewayBuilder, GatewayLimits, HttpCall, HttpHandler, HttpResponder};
use wasm_testkit::ModelEngine;
use wasm_testkit::wasm_fixtures::{CORE_MODULE, COUNTER, ECHO, INIT_CONFIG, INIT_FAILS};

use crate::support::{Answer, HANGS, answer, ask, gateway, host, request};

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

/// Looks at the first component for as long as it is told to.
struct Slow(Mutex<Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>>);

impl HttpHandler<ModelEngine> for Slow {
    fn is_handler(&self, _: &ModelEngine, _: &[u8]) -> bool {
        if let Some((began, may_end)) = self.0.lock().unwrap().take() {
            began.send(()).unwrap();
            may_end.blocking_recv().unwrap();
        }
        false
    }

    fn answer(
        &self,
        _: Arc<ModelEngine>,
        _: ComponentHandle,
        _: Request<Body>,
        _: bool,
        _: HttpResponder,
    ) -> HttpCall {
        unreachable!("nothing is asked of it")
    }
}

#[tokio::test]
async fn an_upload_keeps_its_turn_after_its_client_is_gone() {
    let (began, has_begun) = oneshot::channel();
    let (end, may_end) = oneshot::channel();
    let slow = Slow(Mutex::new(Some((began, may_end))));
    let host = host(&[]).await;
    let router = GatewayBuilder::new()
        .build_with_http(host.clone(), Arc::new(slow))
        .router();
    let text = manifest("[http]\npath = \"/it/*\"\n");
    let upload = {
        let (router, text) = (router.clone(), text.clone());
        async move { put(&router, &[("manifest", &text), ("component", ECHO.wasm)]).await }
    };
    let client = tokio::spawn(upload);
    timeout(HANGS, has_begun).await.unwrap().unwrap();
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    let parts = [("manifest", text.as_slice()), ("component", ECHO.wasm)];
    let refused = put(&router, &parts).await;
    assert_eq!(
        (refused.status.as_u16(), refused.problem().as_str()),
        (503, "no-room")
    );
    end.send(()).unwrap();
    // What it began has been done, and others have their turn.
    let next = async {
        loop {
            let answer = put(&router, &parts).await;
            if answer.status != 503 {
                return answer;
            }
            yield_now().await;
        }
    };
    let next = timeout(HANGS, next).await.unwrap();
    assert_eq!(next.json(), json!({"done": "swapped"}), "{}", next.text());
}
