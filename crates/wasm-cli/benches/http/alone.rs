//! Servers that answer the same without any component.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Incoming};
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;

use crate::{ECHOED, WEB_PAGE};

/// Answers with what [`WEB_PAGE`] must.
pub(crate) async fn hyper_page() -> SocketAddr {
    serve(service_fn(|_: Request<Incoming>| async {
        let response = Response::builder().header("content-type", "text/plain");
        let response = response.body(Body::from(WEB_PAGE.answer));
        Ok::<_, Infallible>(response.expect("it is a response"))
    }))
    .await
}

/// Answers with what it is sent, at the path of [`ECHOED`].
pub(crate) async fn axum_echo() -> SocketAddr {
    let echo = post(|headers: HeaderMap, body: Bytes| async move {
        let content_type = headers.get(CONTENT_TYPE).cloned();
        (content_type.map(|it| [(CONTENT_TYPE, it)]), body)
    });
    let router = Router::new().route(ECHOED.path, echo);
    serve(TowerToHyperService::new(router)).await
}

/// Takes whatever it is sent, as a collector of OpenTelemetry does.
pub(crate) async fn collector() -> SocketAddr {
    serve(service_fn(|request: Request<Incoming>| async {
        request.into_body().collect().await?;
        Ok::<_, hyper::Error>(Response::new(Body::empty()))
    }))
    .await
}

/// Where connections are served, one request after the other.
pub(crate) async fn serve<S>(service: S) -> SocketAddr
where
    S: HttpService<Incoming> + Clone + Send + 'static,
    S::ResBody: Send + 'static,
    <S::ResBody as HttpBody>::Data: Send,
    <S::ResBody as HttpBody>::Error: Into<Box<dyn Error + Send + Sync>>,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port is free");
    let address = listener.local_addr().expect("it has one");
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("it listens");
            stream.set_nodelay(true).expect("it is a socket");
            let serving =
                http1::Builder::new().serve_connection(TokioIo::new(stream), service.clone());
            // A client that has gone is its own affair.
            tokio::spawn(async move { drop(serving.await) });
        }
    });
    address
}
