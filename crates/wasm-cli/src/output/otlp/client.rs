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
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::counted::Counts;
use crate::connect::connect;

/// For one attempt to send something, from the connection to the end of the answer.
pub(super) const SEND_TIME: Duration = Duration::from_secs(10);
/// What a collector answers with is a few bytes.
const ANSWER_BYTES: usize = 1 << 20;
const PAGE: &str = "it answered with a page for people (text/html)";
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
            Ok(Ok(response)) if is_page(&response) => Err(PAGE.into()),
            Ok(response) => response,
            Err(elapsed) => Err(elapsed.into()),
        };
        let failure = match &response {
            Ok(response) if response.status().is_success() => {
                self.look_for_refused(response.body());
                None
            }
            Ok(response) => Some(format!("it answered {}", response.status())),
            Err(error) => Some(error.to_string()),
        };
        self.counts.attempted(failure);
        response
    }
}

impl Client {
    /// Of what it was sent, a collector may take a part (OTLP, partial success), and says so in
    /// the same way of each signal.
    fn look_for_refused(&self, answer: &[u8]) {
        let answer = ExportTraceServiceResponse::decode(answer).unwrap_or_default();
        let Some(partial) = answer.partial_success else {
            return;
        };
        if let Ok(items @ 1..) = u64::try_from(partial.rejected_spans) {
            self.counts.refused(items, &partial.error_message);
        }
    }
}

/// Of a server that answers everything with one, and is no collector.
fn is_page(response: &Response<Bytes>) -> bool {
    let of_type = response.headers().get(header::CONTENT_TYPE);
    let is_html = of_type.is_some_and(|it| it.as_bytes().starts_with(b"text/html"));
    is_html && response.status().is_success()
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
