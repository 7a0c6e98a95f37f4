//! Requests to a collector, over the same HTTP and TLS as others.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::handshake;
use hyper::header::{HOST, HeaderValue};
use hyper::http::uri::{Authority, Scheme};
use hyper::{Uri, header};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::counted::Counts;
use crate::connect::connect;

/// For one attempt to send something, from the connection to the end of the answer.
pub(super) const SEND_TIME: Duration = Duration::from_secs(10);
/// What a collector answers with is a few bytes.
const ANSWER_BYTES: usize = 1 << 20;
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// Sends from a thread that may wait, and does nothing else.
#[derive(Debug)]
pub(super) struct Client {
    runtime: Runtime,
    counts: Arc<Counts>,
}

impl Client {
    pub(super) fn new(counts: Arc<Counts>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, counts })
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let exchange = async { timeout(SEND_TIME, exchange(request)).await };
        let response = match self.runtime.block_on(exchange) {
            Ok(response) => response,
            Err(elapsed) => Err(elapsed.into()),
        };
        let failure = match &response {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("it answered {}", response.status())),
            Err(error) => Some(error.to_string()),
        };
        self.counts.attempted(failure);
        response
    }
}

/// On a connection of its own.
async fn exchange(request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let (mut head, body) = request.into_parts();
    let authority = head.uri.authority().cloned().ok_or("it names no host")?;
    let is_secure = head.uri.scheme() == Some(&Scheme::HTTPS);
    let (host, port) = place(&authority, is_secure);
    let stream = connect(host, port, is_secure).await?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let host = HeaderValue::from_str(authority.as_str())?;
    head.headers.insert(HOST, host);
    let close = HeaderValue::from_static("close");
    head.headers.insert(header::CONNECTION, close);
    let path = head.uri.path_and_query().cloned();
    head.uri = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    let request = Request::from_parts(head, Full::new(body));
    let answered = async move {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES).collect().await?;
        Ok(Response::from_parts(head, body.to_bytes()))
    };
    // What goes wrong with the connection goes wrong with the answer.
    let (answer, _) = tokio::join!(answered, connection);
    answer
}

/// The host, an address as it is connected to, and the port.
fn place(authority: &Authority, is_secure: bool) -> (&str, u16) {
    let host = authority.host();
    let address = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let otherwise = if is_secure { HTTPS_PORT } else { HTTP_PORT };
    let port = authority.port_u16().unwrap_or(otherwise);
    (address.unwrap_or(host), port)
}
