//! Requests that components answer: the export `wasi:http/incoming-handler`.
//!
//! A request is a call like any other, and its response begins before the call ends. The call
//! goes on with the body, within its fuel, memory and time; a body that it does not come to
//! the end of ends with an error, so that nobody takes a part for the whole.

mod body;

use std::any::Any;
use std::fmt::Display;
use std::future::pending;
use std::mem;
use std::pin::pin;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Method, Request, Response};
use http_body::Body;
use http_body_util::BodyExt as _;
use tokio::select;
use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime::component::{Instance as Exports, Resource, TypedFunc};
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::{HostOutgoingBody, HyperOutgoingBody, StreamContext};
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};
use wasmtime_wasi_http::{Error as HttpError, WasiBody, WasiHttpView as _};

use wasm_core::text::shortened;

use crate::error::{Failure, MAX_SAID_BYTES};
use crate::instance::state::HostState;
use crate::instance::{Bindings, Instance, Work};
use crate::wasi::HasAccount as _;

use body::Call;
pub use body::{HttpBody, Incomplete};

/// The interface, in the release that this engine has; a component may export any 0.2 of it.
pub(crate) const INCOMING_HANDLER: &str = "wasi:http/incoming-handler@0.2.12";
pub(crate) const HTTP_EXPORT: &str = "wasi:http/incoming-handler#handle";

type HandleFunc = TypedFunc<
    (
        Resource<HostIncomingRequest>,
        Resource<HostResponseOutparam>,
    ),
    (),
>;

/// The export of a component that answers requests.
pub(crate) struct IncomingHandler(HandleFunc);

impl<T: Send + 'static> Bindings<T> for IncomingHandler {
    fn bind(store: &mut Store<HostState<T>>, instance: &Exports) -> wasmtime::Result<Self> {
        let missing = || wasmtime::Error::msg("it does not export it");
        let interface = instance.get_export_index(&mut *store, None, INCOMING_HANDLER);
        let interface = interface.ok_or_else(missing)?;
        let handle = instance.get_export_index(&mut *store, Some(&interface), "handle");
        let handle = handle.ok_or_else(missing)?;
        Ok(Self(instance.get_typed_func(store, handle)?))
    }
}

/// How a request came to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpScheme {
    /// As it is.
    Http,
    /// Over TLS.
    Https,
}

/// What a component made of a request, once its call has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpOutcome {
    /// It has returned. If it gave no response, nobody gets one.
    Ended,
    /// Nobody waited for it any more, and its instance was given up in the middle of the call.
    GivenUp,
}

/// The two ends of a response: one for the engine, and one for whoever waits for it.
pub fn http_exchange() -> (HttpResponder, HttpPending) {
    let (give, response) = oneshot::channel();
    let (presence, gone) = oneshot::channel();
    let (lasting, over) = oneshot::channel();
    let failed = Arc::new(OnceLock::new());
    let responder = HttpResponder {
        give,
        gone,
        failed: Arc::clone(&failed),
        lasting,
    };
    let pending = HttpPending {
        response,
        presence,
        failed,
        over,
    };
    (responder, pending)
}

/// The engine's end of a response.
#[derive(Debug)]
pub struct HttpResponder {
    give: oneshot::Sender<Result<Response<HyperOutgoingBody>, ErrorCode>>,
    /// Ends in an error when nobody is there any more, and well once they have all they need.
    gone: oneshot::Receiver<()>,
    /// Set before the body of a call that failed ends.
    failed: Arc<OnceLock<()>>,
    /// Dropped when the call has ended.
    lasting: oneshot::Sender<()>,
}

/// The end of whoever waits for a response. Dropping it, or the body of the response before its
/// end, gives the request up.
#[derive(Debug)]
pub struct HttpPending {
    response: oneshot::Receiver<Result<Response<HyperOutgoingBody>, ErrorCode>>,
    presence: oneshot::Sender<()>,
    failed: Arc<OnceLock<()>>,
    /// Ends in an error when the call has ended.
    over: oneshot::Receiver<()>,
}

impl HttpPending {
    /// The response to a request of this method, once it begins; `None` if the call ends
    /// without one.
    ///
    /// # Errors
    /// The error code that the component gave in place of a response, or why the response that
    /// it gave is known already not to come to its end.
    pub async fn response(self, method: &Method) -> Option<Result<Response<HttpBody>, String>> {
        let Self {
            mut response,
            presence,
            failed,
            mut over,
        } = self;
        let given = select! {
            biased;
            given = &mut response => given.ok()?,
            // A guest may keep what it was to respond through for longer than its call.
            _ = &mut over => response.try_recv().ok()?,
        };
        match given {
            Ok(response) => {
                let (head, body) = response.into_parts();
                let call = Call { failed, over };
                let mut body = HttpBody::new(body, &head, method, presence, call);
                body.read_ahead().await;
                Some(match body.known_incomplete() {
                    Some(incomplete) => Err(incomplete.to_string()),
                    None => Ok(Response::from_parts(head, body)),
                })
            }
            Err(code) => {
                // The call may go on.
                let _ = presence.send(());
                Some(Err(shortened(MAX_SAID_BYTES, &code)))
            }
        }
    }
}

/// A request for a component.
pub(crate) struct HttpCall {
    request: Request<WasiBody>,
    scheme: Scheme,
    responder: HttpResponder,
}

impl HttpCall {
    pub(crate) fn new<B>(request: Request<B>, scheme: HttpScheme, responder: HttpResponder) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Display,
    {
        let unreadable = |error: B::Error| HttpError::InternalError(Some(error.to_string()));
        Self {
            request: request.map(|body| body.map_err(unreadable).boxed_unsync()),
            scheme: match scheme {
                HttpScheme::Http => Scheme::Http,
                HttpScheme::Https => Scheme::Https,
            },
            responder,
        }
    }
}

impl<T: Send + 'static> Work<T> for HttpCall {
    type Output = HttpOutcome;

    fn ends_instance(output: &HttpOutcome) -> bool {
        *output == HttpOutcome::GivenUp
    }

    async fn perform(self, instance: &mut Instance<T>) -> Result<HttpOutcome, Failure> {
        let HttpResponder {
            give,
            gone,
            failed,
            lasting: _lasting,
        } = self.responder;
        // An instance that is there for others, too, is not ended for one of them.
        let may_give_up = instance.guest().config().renews_instances();
        let (request, scheme) = (self.request, self.scheme);
        let (mut call, bounds) = instance.begin::<IncomingHandler>(HTTP_EXPORT)?;
        let answering = async move {
            let (request, outparam) = enter(call.store.data_mut(), scheme, request, give)?;
            let handle = &call.bindings.0;
            let handling = handle.call_async(&mut call.store, (request, outparam));
            select! {
                biased;
                handled = handling => handled?,
                () = given_up(gone), if may_give_up => return Ok(HttpOutcome::GivenUp),
            }
            leave(call.store.data_mut());
            Ok(HttpOutcome::Ended)
        };
        let outcome = bounds.run(pin!(Some(answering))).await;
        let outcome = instance.finish(HTTP_EXPORT, outcome);
        if !matches!(outcome, Ok(HttpOutcome::Ended)) {
            let _ = failed.set(());
        }
        outcome
    }
}

/// Hands the request over.
fn enter<T: Send + 'static>(
    state: &mut HostState<T>,
    scheme: Scheme,
    request: Request<WasiBody>,
    give: oneshot::Sender<Result<Response<HyperOutgoingBody>, ErrorCode>>,
) -> wasmtime::Result<(
    Resource<HostIncomingRequest>,
    Resource<HostResponseOutparam>,
)> {
    let mut http = state.http();
    let request = http.new_incoming_request(scheme, request)?;
    let outparam = http.new_response_outparam(give)?;
    state.settle("a request")?;
    Ok((request, outparam))
}

/// Gives up the bodies that the guest has not finished: it cannot after its call.
fn leave<T: Send + 'static>(state: &mut HostState<T>) {
    for entry in state.http().table.iter_mut() {
        if let Some(body) = (entry as &mut dyn Any).downcast_mut::<HostOutgoingBody>() {
            let (given_up, _) = HostOutgoingBody::new(StreamContext::Response, None, 1, 1);
            mem::replace(body, given_up).abort();
        }
    }
}

/// Whether a component can be told which host a request was sent to.
pub(crate) fn has_authority<B>(request: &Request<B>) -> bool {
    let host = || request.headers().get(HOST).map(HeaderValue::to_str);
    request.uri().authority().is_some() || matches!(host(), Some(Ok(_)))
}

/// When nobody waits for the response or the rest of it.
async fn given_up(gone: oneshot::Receiver<()>) {
    if gone.await.is_ok() {
        pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future as _, poll_fn};
    use std::task::Poll;
    use std::time::Duration;

    use http::header::CONTENT_LENGTH;
    use http_body_util::{Empty, Full};
    use tokio::sync::oneshot::error::TryRecvError;
    use tokio::time::timeout;

    use super::*;

    #[test]
    fn a_request_names_its_host_in_the_uri_or_in_a_header() {
        let request = |uri: &str| Request::get(uri);
        assert!(has_authority(
            &request("http://a.example/").body(()).unwrap()
        ));
        let named = request("/").header(HOST, "a.example");
        assert!(has_authority(&named.body(()).unwrap()));
        assert!(!has_authority(&request("/").body(()).unwrap()));
        let unreadable = request("/").header(HOST, HeaderValue::from_bytes(b"\xff").unwrap());
        assert!(!has_authority(&unreadable.body(()).unwrap()));
    }

    /// A call that has ended, with what it was given to respond through: a guest may keep that.
    fn ended(responder: HttpResponder) -> impl Sized {
        drop(responder.lasting);
        responder.give
    }

    #[tokio::test]
    async fn a_response_that_is_kept_for_longer_than_its_call_is_none() {
        let (responder, pending) = http_exchange();
        let _kept = ended(responder);
        let response = timeout(Duration::from_secs(10), pending.response(&Method::GET));
        assert!(response.await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_is_written_right_after_the_head_is_there_with_it() {
        let (responder, pending) = http_exchange();
        let HttpResponder { give, lasting, .. } = responder;
        let (mut body, read) = HostOutgoingBody::new(StreamContext::Response, None, 1, 1 << 10);
        give.send(Ok(Response::new(read))).unwrap();
        tokio::spawn(async move {
            let mut stream = body.take_output_stream().unwrap();
            stream.write(Bytes::from_static(b"hello")).unwrap();
            drop(stream);
            body.finish(None).unwrap();
            drop(lasting);
        });
        let response = pending.response(&Method::GET).await.unwrap();
        let mut whole = pin!(response.unwrap().into_body().collect());
        let whole = poll_fn(|cx| Poll::Ready(whole.as_mut().poll(cx))).await;
        let Poll::Ready(Ok(whole)) = whole else {
            panic!("it is waited for: {whole:?}");
        };
        assert_eq!(whole.to_bytes(), "hello");
    }

    /// What comes of a response whose `content-length` is `declared` and that has so many bytes,
    /// or no body at all.
    async fn declared(
        method: Method,
        status: u16,
        declared: u64,
        written: Option<usize>,
    ) -> Result<Bytes, String> {
        let (responder, pending) = http_exchange();
        let HttpResponder { give, lasting, .. } = responder;
        let head = Response::builder()
            .status(status)
            .header("content-length", declared);
        let Some(written) = written else {
            let nothing = Empty::new().map_err(|never| match never {});
            give.send(Ok(head.body(nothing.boxed_unsync()).unwrap()))
                .unwrap();
            drop(lasting);
            return whole(pending.response(&method).await).await;
        };
        let length = Some(declared);
        let (mut body, read) = HostOutgoingBody::new(StreamContext::Response, length, 1, 1 << 10);
        give.send(Ok(head.body(read).unwrap())).unwrap();
        let mut stream = body.take_output_stream().unwrap();
        // A guest may do as if there was no error.
        let _ = stream.write(vec![b'x'; written].into());
        drop(stream);
        let _ = body.finish(None);
        drop(lasting);
        whole(pending.response(&method).await).await
    }

    async fn whole(response: Option<Result<Response<HttpBody>, String>>) -> Result<Bytes, String> {
        let body = response.unwrap()?.into_body();
        Ok(body.collect().await.unwrap().to_bytes())
    }

    #[tokio::test]
    async fn a_response_of_another_length_than_it_says_is_none() {
        for (length, written) in [(10, Some(5)), (3, Some(5)), (0, Some(5)), (5, None)] {
            let wrong = declared(Method::GET, 200, length, written).await;
            let bytes = written.unwrap_or(0);
            let expected = format!(
                "the component has written {bytes} bytes of a response whose `content-length` is \
                 {length}"
            );
            assert_eq!(wrong, Err(expected));
        }
        let right = declared(Method::GET, 200, 5, Some(5)).await;
        assert_eq!(right.unwrap(), "xxxxx");
        // Whether or not it is ended as well.
        let (responder, pending) = http_exchange();
        let (mut body, read) = HostOutgoingBody::new(StreamContext::Response, None, 1, 1 << 10);
        let head = Response::builder().header("content-length", 5);
        let given = responder.give.send(Ok(head.body(read).unwrap()));
        given.unwrap();
        let mut stream = body.take_output_stream().unwrap();
        stream.write(Bytes::from_static(b"hello")).unwrap();
        drop(stream);
        body.abort();
        let right = whole(pending.response(&Method::GET).await).await;
        assert_eq!(right.unwrap(), "hello");
        let empty = declared(Method::GET, 200, 0, None).await;
        assert_eq!(empty.unwrap(), "");
        // How long it would be.
        for (method, status) in [(Method::HEAD, 200), (Method::GET, 304), (Method::GET, 204)] {
            let unread = declared(method, status, 5, None).await;
            assert_eq!(unread.unwrap(), "");
        }
    }

    #[tokio::test]
    async fn a_response_that_is_longer_than_it_says_is_cut_off_where_that_is_seen() {
        let (responder, pending) = http_exchange();
        let HttpResponder { give, lasting, .. } = responder;
        let (mut body, read) = HostOutgoingBody::new(StreamContext::Response, None, 1, 1 << 10);
        let head = Response::builder().header("content-length", 8);
        give.send(Ok(head.body(read).unwrap())).unwrap();
        let mut stream = body.take_output_stream().unwrap();
        stream.write(Bytes::from_static(b"hello")).unwrap();
        let response = pending.response(&Method::GET).await.unwrap().unwrap();
        let mut read = response.into_body();
        let first = read.frame().await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "hello");
        stream.write(Bytes::from_static(b"hello")).unwrap();
        let error = read.frame().await.unwrap().unwrap_err();
        let (declared, written) = (8, 10);
        assert_eq!(error, Incomplete::Length { declared, written });
        drop(lasting);
    }

    #[tokio::test]
    async fn a_body_that_was_read_ahead_has_what_it_had() {
        let (mut responder, pending) = http_exchange();
        let whole = Full::new(Bytes::from_static(b"hello"));
        let whole = whole.map_err(|never| match never {}).boxed_unsync();
        let response = Response::builder().header(CONTENT_LENGTH, 5).body(whole);
        responder.give.send(Ok(response.unwrap())).unwrap();
        let response = pending.response(&Method::GET).await.unwrap();
        let mut body = response.unwrap().into_body();
        // Until then, whoever waits for it is there.
        assert_eq!(responder.gone.try_recv(), Err(TryRecvError::Empty));
        let size = body.size_hint();
        assert_eq!((size.lower(), size.upper()), (5, Some(5)));
        assert!(!body.is_end_stream());
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "hello");
        // It is as long as was said: whoever has it may go.
        assert_eq!(responder.gone.try_recv(), Ok(()));
        assert!(body.frame().await.is_none());
        assert!(body.is_end_stream());
        assert_eq!(body.size_hint().upper(), Some(0));
    }

    #[tokio::test]
    async fn a_response_that_is_given_before_the_call_ends_is_one() {
        let (responder, pending) = http_exchange();
        let HttpResponder { give, lasting, .. } = responder;
        give.send(Err(ErrorCode::ConfigurationError)).unwrap();
        drop(lasting);
        let response = pending.response(&Method::GET).await.unwrap();
        let code = response.map(drop).unwrap_err();
        assert_eq!(code, ErrorCode::ConfigurationError.to_string());
    }

    #[tokio::test]
    async fn no_error_code_is_told_however_long_it_is() {
        let (responder, pending) = http_exchange();
        let HttpResponder { give, lasting, .. } = responder;
        let long = "\n".repeat(1 << 20);
        give.send(Err(ErrorCode::InternalError(Some(long))))
            .unwrap();
        drop(lasting);
        let response = pending.response(&Method::GET).await.unwrap();
        let code = response.map(drop).unwrap_err();
        assert!(code.contains(r"\n\n"), "{code}");
        assert_eq!(code.chars().count(), MAX_SAID_BYTES + 1);
    }
}
