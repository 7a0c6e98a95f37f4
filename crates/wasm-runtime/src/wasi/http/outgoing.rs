//! Requests that components send: where they may, to the very address that was looked at, and
//! within bounds of the call that sends them.
//!
//! A redirect is an answer like any other. A component that follows it sends another request,
//! of which everything is checked anew.

use std::future::{Future, ready};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::uri::Scheme;
use http::{Request, Response, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{timeout, timeout_at};
use tracing::field::Empty;
use tracing::{Instrument as _, Span, info_span};
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error as HttpError, RequestOptions, WasiBody};

use wasm_core::{Capability, CapabilityDenied, HttpOrigin};

use super::body::{BodyTime, Charged};
use super::budget::HttpBudget;
use super::names::Names;
use super::tls;
use super::trace::TraceContext;
use crate::wasi::descriptors::{DescriptorPlace, Descriptors};

/// Until a connection stands, its address and its TLS included, where the component does not
/// say.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// The head of a response, in bytes and in headers.
const MAX_HEAD_BYTES: usize = 64 << 10;
const MAX_HEADERS: usize = 100;

/// Of a method, in a span, which is kept until it is sent: there is none of that length.
const METHOD_BYTES: usize = 32;

/// The end of an exchange, with which its connection is closed.
pub(super) type HttpEnd = Box<dyn Future<Output = Result<(), HttpError>> + Send>;
pub(super) type HttpExchange = Result<(Response<WasiBody>, HttpEnd), HttpError>;

/// The call that sends a request.
pub(crate) trait HttpCaller: Send + Sync {
    /// Whether it may; a denial is told.
    ///
    /// # Errors
    /// The denial.
    fn check(&self, capability: Capability) -> Result<(), CapabilityDenied>;

    /// When the call has to end.
    fn deadline(&self) -> Instant;

    /// What it has sent and received so far.
    fn budget(&self) -> &Arc<HttpBudget>;

    /// What its component has open.
    fn descriptors(&self) -> &Arc<Descriptors>;

    /// How its component finds hosts.
    fn names(&self) -> &Names;

    /// What its requests say of the trace that they are parts of.
    fn trace_context(&self) -> &TraceContext;
}

/// A request that may be sent, as far as its name tells.
pub(super) struct Outgoing {
    request: Request<WasiBody>,
    way: Way,
    span: Span,
}

/// How it gets there.
struct Way {
    origin: HttpOrigin,
    connect_time: Duration,
    first_byte_time: Option<Duration>,
    between_bytes_time: Option<Duration>,
    caller: Arc<dyn HttpCaller>,
}

/// A request that may not be sent.
pub(super) struct Refused {
    error: HttpError,
    body: WasiBody,
    deadline: Instant,
}

impl Refused {
    /// Why. The component can write its body to the end all the same, which goes nowhere: many
    /// do so before they ask what came of the request, and would hear of a connection that was
    /// lost instead.
    pub(super) fn into_error(self) -> HttpError {
        let Self {
            error,
            mut body,
            deadline,
        } = self;
        // Ends with the body, which ends with the instance at the latest.
        tokio::spawn(timeout_at(deadline.into(), async move {
            while let Some(Ok(_)) = body.frame().await {}
        }));
        error
    }
}

impl Outgoing {
    /// # Errors
    /// It may not be sent, as far as that is known at once.
    pub(super) fn new(
        mut request: Request<WasiBody>,
        options: Option<&RequestOptions>,
        caller: Arc<dyn HttpCaller>,
    ) -> Result<Self, Refused> {
        let origin = match admitted(&request, &*caller) {
            Ok(origin) => origin,
            Err(error) => {
                return Err(Refused {
                    error,
                    body: request.into_body(),
                    deadline: caller.deadline(),
                });
            }
        };
        let span = span(&request, &origin);
        span.in_scope(|| caller.trace_context().write(request.headers_mut()));
        let connect_time = options.and_then(|options| options.connect_timeout);
        let way = Way {
            origin,
            connect_time: connect_time.map_or(CONNECT_TIME, |time| time.min(CONNECT_TIME)),
            first_byte_time: options.and_then(|options| options.first_byte_timeout),
            between_bytes_time: options.and_then(|options| options.between_bytes_timeout),
            caller,
        };
        Ok(Self { request, way, span })
    }

    /// Sends it, and has the response once its head is there.
    pub(super) async fn send(self) -> HttpExchange {
        let Self { request, way, span } = self;
        let deadline = way.caller.deadline().into();
        let sent = timeout_at(deadline, way.exchange(request)).instrument(span.clone());
        let sent = sent.await.unwrap_or(Err(HttpError::ConnectionReadTimeout));
        match &sent {
            // Signed, as integers are that collectors understand.
            Ok((response, _)) => {
                let status = i64::from(response.status().as_u16());
                span.record("http.response.status_code", status);
            }
            Err(error) => {
                span.record("otel.status_description", error.to_string());
            }
        }
        sent
    }
}

impl Way {
    async fn exchange(&self, request: Request<WasiBody>) -> HttpExchange {
        let descriptors = self.caller.descriptors();
        let place = descriptors
            .take()
            .ok_or(HttpError::ConnectionLimitReached)?;
        let connected = timeout(self.connect_time, self.connect()).await;
        match connected.unwrap_or(Err(HttpError::ConnectionTimeout))? {
            Connection::Plain(stream) => self.over(stream, place, request).await,
            Connection::Secure(stream) => self.over(stream, place, request).await,
        }
    }

    async fn connect(&self) -> Result<Connection, HttpError> {
        // One after the other: that a name has an address does not say that it is reached there.
        let addresses = self.addresses().await?;
        let stream = TcpStream::connect(&*addresses).await;
        let stream = stream.map_err(HttpError::Connect)?;
        // Requests are written whole; without this, some wait for nothing.
        let _ = stream.set_nodelay(true);
        if !self.origin.is_secure() {
            return Ok(Connection::Plain(stream));
        }
        let stream = tls::connect(&self.origin, stream).await;
        let stream = stream.map_err(HttpError::Tls)?;
        Ok(Connection::Secure(Box::new(stream)))
    }

    /// Those that the component may connect to. Nobody resolves the name again.
    async fn addresses(&self) -> Result<Vec<SocketAddr>, HttpError> {
        let (host, port) = (self.origin.host(), self.origin.port());
        let addresses = match self.origin.address() {
            Some(address) => vec![SocketAddr::new(address, port)],
            None => {
                let found = self.caller.names().resolve(&host, port).await;
                found.map_err(|error| unresolved(&error))?
            }
        };
        if addresses.is_empty() {
            return Err(HttpError::DestinationNotFound);
        }
        let may_reach = |address: &SocketAddr| {
            let capability = Capability::HttpAddress(self.origin.clone(), address.ip());
            self.caller.check(capability).is_ok()
        };
        let mut reachable = addresses;
        reachable.retain(may_reach);
        if reachable.is_empty() {
            return Err(HttpError::DestinationIpProhibited);
        }
        Ok(reachable)
    }

    async fn over<S>(
        &self,
        stream: S,
        place: DescriptorPlace,
        request: Request<WasiBody>,
    ) -> HttpExchange
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut builder = http1::Builder::new();
        builder
            .max_buf_size(MAX_HEAD_BYTES)
            .max_headers(MAX_HEADERS);
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        // What was in use for the connection is in use until it is closed.
        let mut connection = Box::pin(async move {
            let ended = connection.await;
            drop(place);
            ended.map_err(HttpError::from)
        });
        let first_byte_time = self.first_byte_time.unwrap_or(Duration::MAX);
        let sending = timeout(first_byte_time, sender.send_request(self.prepared(request)));
        let mut sending = pin!(sending);
        let (response, is_over) = tokio::select! {
            biased;
            response = &mut sending => (response, false),
            // What came before is there; else whoever sends has an error, which says more.
            _ = &mut connection => (sending.await, true),
        };
        let response = response.map_err(|_| HttpError::ConnectionReadTimeout)??;
        let response = response.map(|body| self.received(body));
        let end: HttpEnd = match is_over {
            true => Box::new(ready(Ok(()))),
            false => Box::new(connection),
        };
        Ok((response, end))
    }

    fn received(&self, body: Incoming) -> WasiBody {
        let charged = Charged {
            inner: body.map_err(HttpError::from).boxed_unsync(),
            budget: Arc::clone(self.caller.budget()),
            time: Some(BodyTime::new(
                self.caller.deadline().into(),
                self.between_bytes_time,
            )),
            excess: || HttpError::HttpResponseBodySize(None),
        };
        charged.boxed_unsync()
    }

    /// As it is sent to the host itself: what it is to it is in `Host` already.
    fn prepared(&self, request: Request<WasiBody>) -> Request<WasiBody> {
        let budget = Arc::clone(self.caller.budget());
        let (mut head, inner) = request.into_parts();
        let path = head.uri.into_parts().path_and_query;
        head.uri = path.map_or_else(|| Uri::from_static("/"), Uri::from);
        let body = Charged {
            inner,
            budget,
            time: None,
            excess: || HttpError::HttpRequestBodySize(None),
        };
        Request::from_parts(head, body.boxed_unsync())
    }
}

/// Where to, if it may be sent there and there may be one more in the call.
fn admitted(request: &Request<WasiBody>, caller: &dyn HttpCaller) -> Result<HttpOrigin, HttpError> {
    let origin = origin_of(request.uri()).ok_or(HttpError::HttpRequestUriInvalid)?;
    let checked = caller.check(Capability::Http(origin.clone()));
    checked.map_err(|_| HttpError::HttpRequestDenied)?;
    match caller.budget().take_request() {
        true => Ok(origin),
        false => Err(HttpError::ConnectionLimitReached),
    }
}

/// Of the exchange, up to the head of the response.
fn span(request: &Request<WasiBody>, origin: &HttpOrigin) -> Span {
    let method = request.method().as_str();
    info_span!(
        "outgoing http request",
        otel.kind = "client",
        otel.status_description = Empty,
        %origin,
        http.request.method = method.get(..METHOD_BYTES).unwrap_or(method),
        http.response.status_code = Empty,
    )
}

enum Connection {
    Plain(TcpStream),
    Secure(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

/// `None` for a URI that names nobody, or says who asks.
fn origin_of(uri: &Uri) -> Option<HttpOrigin> {
    let is_secure = *uri.scheme()? == Scheme::HTTPS;
    let authority = uri.authority()?;
    if authority.as_str().contains('@') {
        return None;
    }
    // A port that there cannot be is none of the authority's, and would be the usual one.
    let after_host = authority.as_str().strip_prefix(authority.host())?;
    let port = match after_host.strip_prefix(':') {
        None | Some("") => None,
        Some(port) => Some(port.parse().ok()?),
    };
    HttpOrigin::new(is_secure, authority.host(), port)
}

fn unresolved(error: &io::Error) -> HttpError {
    HttpError::DnsError {
        rcode: Some(error.kind().to_string()),
        info_code: None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::sync::mpsc;

    use super::super::body::tests::Parts;
    use super::*;

    #[test]
    fn a_request_goes_to_the_origin_of_its_uri() {
        let origin = |uri: &str| origin_of(&uri.parse().unwrap());
        for (uri, is_secure, port) in [
            ("http://a.example/x?y", false, None),
            ("https://a.example", true, None),
            ("https://a.example:/", true, None),
            ("https://a.example:8443/", true, Some(8443)),
        ] {
            let expected = HttpOrigin::new(is_secure, "a.example", port).unwrap();
            assert_eq!(origin(uri), Some(expected), "{uri}");
        }
        for uri in [
            "/x",
            "a.example:80",
            "http://user@a.example/",
            "http://a.example:99999/",
        ] {
            assert_eq!(origin(uri), None, "{uri}");
        }
    }

    #[tokio::test]
    async fn the_body_of_what_is_refused_can_be_written_to_its_end() {
        let (writer, body) = mpsc::channel(1);
        let refused = Refused {
            error: HttpError::HttpRequestDenied,
            body: Parts(body).boxed_unsync(),
            deadline: Instant::now() + Duration::from_secs(60),
        };
        assert!(matches!(refused.into_error(), HttpError::HttpRequestDenied));
        for _ in 0..3 {
            writer.send(Bytes::from_static(b"more")).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_body_that_is_not_ended_is_let_go_of_with_its_call() {
        let (writer, body) = mpsc::channel(1);
        let refused = Refused {
            error: HttpError::HttpRequestDenied,
            body: Parts(body).boxed_unsync(),
            deadline: Instant::now() + Duration::from_millis(10),
        };
        refused.into_error();
        timeout(Duration::from_secs(60), writer.closed())
            .await
            .unwrap();
    }
}
