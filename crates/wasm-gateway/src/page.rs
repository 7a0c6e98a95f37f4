//! The page to look at: a few files that are part of the program, and ask for what everybody
//! may ask for. Nothing comes from elsewhere, and nothing that a component says is taken for a
//! part of it.

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'";

/// Path, content type and content of each.
const FILES: [(&str, &str, &str); 8] = [
    ("/", "text/html", include_str!("page/index.html")),
    ("/page/page.css", "text/css", include_str!("page/page.css")),
    (
        "/page/icon.svg",
        "image/svg+xml",
        include_str!("page/icon.svg"),
    ),
    (
        "/page/page.js",
        "text/javascript",
        include_str!("page/page.js"),
    ),
    (
        "/page/host.js",
        "text/javascript",
        include_str!("page/host.js"),
    ),
    (
        "/page/history.js",
        "text/javascript",
        include_str!("page/history.js"),
    ),
    (
        "/page/show.js",
        "text/javascript",
        include_str!("page/show.js"),
    ),
    (
        "/page/component.js",
        "text/javascript",
        include_str!("page/component.js"),
    ),
];

pub(crate) fn router() -> Router {
    FILES
        .into_iter()
        .fold(Router::new(), |router, (path, content_type, text)| {
            router.route(path, get(move || async move { file(content_type, text) }))
        })
}

fn file(content_type: &'static str, text: &'static str) -> Response {
    let content_type = format!("{content_type}; charset=utf-8");
    let mut response = text.into_response();
    let headers = response.headers_mut();
    if let Ok(content_type) = HeaderValue::from_str(&content_type) {
        headers.insert(CONTENT_TYPE, content_type);
    }
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    // Another release of the program has another page.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
