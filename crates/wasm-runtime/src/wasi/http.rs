//! WASI HTTP: linked so that components load. Where a request may be sent is granted by
//! permission, and what may not is refused as an error that the guest can handle.
//!
//! A guest can make fields, requests and responses. Each function through which the host
//! comes to hold more is defined a second time here, around wasmtime's, and settles the
//! account.

mod body;
pub(crate) mod budget;
pub(crate) mod names;
pub(crate) mod outgoing;
mod tls;
pub(crate) mod trace;

use std::future::{Future, ready};
use std::io;
use std::sync::Arc;

use http::Request;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::p2::HeaderResult;
use wasmtime_wasi_http::p2::bindings::http::types::{
    self, ErrorCode, Host, HostFields, HostOutgoingBody, HostOutgoingRequest, HostOutgoingResponse,
    HostRequestOptions, Method, Scheme,
};
use wasmtime_wasi_http::{
    FieldMap, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use self::outgoing::{HttpCaller, HttpEnd, HttpExchange, Outgoing};

use super::account::{BODY_CHUNK_BYTES, FIELDS_SIZE_LIMIT, HasAccount};

/// A store's data that has WASI HTTP and an account of it.
pub(super) trait HasHttp: WasiHttpView + HasAccount + 'static {}

impl<S: WasiHttpView + HasAccount + 'static> HasHttp for S {}

type Caller<'a, S> = StoreContextMut<'a, S>;
type OutgoingRequest = Resource<types::OutgoingRequest>;
type OutgoingResponse = Resource<types::OutgoingResponse>;
type Fields = Resource<FieldMap>;

/// What an instance does over HTTP.
pub(crate) struct Http(Arc<dyn HttpCaller>);

impl Http {
    pub(crate) fn new(caller: Arc<dyn HttpCaller>) -> Self {
        Self(caller)
    }

    pub(crate) fn context() -> WasiHttpCtx {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(FIELDS_SIZE_LIMIT);
        context
    }
}

impl WasiHttpHooks for Http {
    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        1
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: HttpEnd,
    ) -> Box<dyn Future<Output = HttpExchange> + Send> {
        match Outgoing::new(request, options.as_ref(), Arc::clone(&self.0)) {
            Ok(outgoing) => Box::new(outgoing.send()),
            Err(refused) => Box::new(ready(Err(refused.into_error()))),
        }
    }

    // What goes wrong with a connection is told to the component, and no news for others.

    fn p2_error_from_hyper(&mut self, error: &hyper::Error) -> ErrorCode {
        if error.is_timeout() {
            ErrorCode::HttpResponseTimeout
        } else if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
            ErrorCode::ConnectionTerminated
        } else {
            ErrorCode::HttpProtocolError
        }
    }

    fn p2_error_from_connect(&mut self, error: &io::Error) -> ErrorCode {
        not_connected(error)
    }

    fn p2_error_from_tls(&mut self, error: &io::Error) -> ErrorCode {
        not_secured(error)
    }
}

fn not_connected(error: &io::Error) -> ErrorCode {
    match error.kind() {
        io::ErrorKind::TimedOut => ErrorCode::ConnectionTimeout,
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            ErrorCode::DestinationUnavailable
        }
        _ => ErrorCode::ConnectionRefused,
    }
}

fn not_secured(error: &io::Error) -> ErrorCode {
    let inner = error
        .get_ref()
        .and_then(|it| it.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(_)) => ErrorCode::TlsCertificateError,
        _ => ErrorCode::TlsProtocolError,
    }
}

/// Does what `act` does, then settles the account.
fn settled<S: HasHttp, R>(
    mut caller: Caller<'_, S>,
    act: impl FnOnce(&mut WasiHttpCtxView<'_>) -> wasmtime::Result<R>,
) -> wasmtime::Result<(R,)> {
    let state = caller.data_mut();
    let result = act(&mut state.http())?;
    state.settle("a part of WASI HTTP")?;
    Ok((result,))
}

fn header_result<R>(
    http: &mut WasiHttpCtxView<'_>,
    result: HeaderResult<R>,
) -> wasmtime::Result<Result<R, types::HeaderError>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) => http.convert_header_error(error).map(Err),
    }
}

pub(super) fn add_to_linker<S: HasHttp>(linker: &mut Linker<S>) -> wasmtime::Result<()> {
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    linker.allow_shadowing(true);
    fields(linker)?;
    requests(linker)?;
    responses(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}

const TYPES: &str = "wasi:http/types@0.2.12";

fn fields<S: HasHttp>(linker: &mut Linker<S>) -> wasmtime::Result<()> {
    let mut http = linker.instance(TYPES)?;
    http.func_wrap("[constructor]fields", |caller: Caller<'_, S>, (): ()| {
        settled(caller, |http| HostFields::new(http))
    })?;
    http.func_wrap(
        "[static]fields.from-list",
        |caller: Caller<'_, S>, (entries,): (Vec<(String, Vec<u8>)>,)| {
            settled(caller, |http| {
                let made = HostFields::from_list(http, entries);
                header_result(http, made)
            })
        },
    )?;
    http.func_wrap(
        "[method]fields.set",
        |caller: Caller<'_, S>, (fields, name, values): (Fields, String, Vec<Vec<u8>>)| {
            settled(caller, |http| {
                let set = HostFields::set(http, fields, name, values);
                header_result(http, set)
            })
        },
    )?;
    http.func_wrap(
        "[method]fields.append",
        |caller: Caller<'_, S>, (fields, name, value): (Fields, String, Vec<u8>)| {
            settled(caller, |http| {
                let appended = HostFields::append(http, fields, name, value);
                header_result(http, appended)
            })
        },
    )?;
    http.func_wrap(
        "[method]fields.clone",
        |caller: Caller<'_, S>, (fields,): (Fields,)| {
            settled(caller, |http| HostFields::clone(http, fields))
        },
    )
}

fn requests<S: HasHttp>(linker: &mut Linker<S>) -> wasmtime::Result<()> {
    let mut http = linker.instance(TYPES)?;
    http.func_wrap(
        "[constructor]outgoing-request",
        |caller: Caller<'_, S>, (headers,): (Fields,)| {
            settled(caller, |http| HostOutgoingRequest::new(http, headers))
        },
    )?;
    http.func_wrap(
        "[method]outgoing-request.set-method",
        |caller: Caller<'_, S>, (request, method): (OutgoingRequest, Method)| {
            settled(caller, |http| http.set_method(request, method))
        },
    )?;
    http.func_wrap(
        "[method]outgoing-request.set-path-with-query",
        |caller: Caller<'_, S>, (request, path): (OutgoingRequest, Option<String>)| {
            settled(caller, |http| http.set_path_with_query(request, path))
        },
    )?;
    http.func_wrap(
        "[method]outgoing-request.set-scheme",
        |caller: Caller<'_, S>, (request, scheme): (OutgoingRequest, Option<Scheme>)| {
            settled(caller, |http| http.set_scheme(request, scheme))
        },
    )?;
    http.func_wrap(
        "[method]outgoing-request.set-authority",
        |caller: Caller<'_, S>, (request, authority): (OutgoingRequest, Option<String>)| {
            settled(caller, |http| http.set_authority(request, authority))
        },
    )?;
    http.func_wrap(
        "[method]outgoing-request.headers",
        |caller: Caller<'_, S>, (request,): (OutgoingRequest,)| {
            settled(caller, |http| HostOutgoingRequest::headers(http, request))
        },
    )?;
    http.func_wrap(
        "[method]outgoing-request.body",
        |caller: Caller<'_, S>, (request,): (OutgoingRequest,)| {
            settled(caller, |http| HostOutgoingRequest::body(http, request))
        },
    )?;
    http.func_wrap(
        "[constructor]request-options",
        |caller: Caller<'_, S>, (): ()| settled(caller, |http| HostRequestOptions::new(http)),
    )
}

fn responses<S: HasHttp>(linker: &mut Linker<S>) -> wasmtime::Result<()> {
    let mut http = linker.instance(TYPES)?;
    http.func_wrap(
        "[constructor]outgoing-response",
        |caller: Caller<'_, S>, (headers,): (Fields,)| {
            settled(caller, |http| HostOutgoingResponse::new(http, headers))
        },
    )?;
    http.func_wrap(
        "[method]outgoing-response.headers",
        |caller: Caller<'_, S>, (response,): (OutgoingResponse,)| {
            settled(caller, |http| HostOutgoingResponse::headers(http, response))
        },
    )?;
    http.func_wrap(
        "[method]outgoing-response.body",
        |caller: Caller<'_, S>, (response,): (OutgoingResponse,)| {
            settled(caller, |http| HostOutgoingResponse::body(http, response))
        },
    )?;
    http.func_wrap(
        "[method]outgoing-body.write",
        |caller: Caller<'_, S>, (body,): (Resource<types::OutgoingBody>,)| {
            settled(caller, |http| HostOutgoingBody::write(http, body))
        },
    )
}

#[cfg(test)]
mod tests {
    use rustls::CertificateError;

    use super::*;

    #[test]
    fn a_component_is_told_why_there_is_no_connection() {
        for (kind, code) in [
            (io::ErrorKind::TimedOut, "ConnectionTimeout"),
            (io::ErrorKind::NetworkUnreachable, "DestinationUnavailable"),
            (io::ErrorKind::HostUnreachable, "DestinationUnavailable"),
            (io::ErrorKind::ConnectionRefused, "ConnectionRefused"),
            (io::ErrorKind::ConnectionReset, "ConnectionRefused"),
        ] {
            let found = not_connected(&kind.into());
            assert!(format!("{found:?}").contains(code), "{kind}: {found:?}");
        }
        for (error, code) in [
            (
                rustls::Error::InvalidCertificate(CertificateError::Expired),
                "TlsCertificateError",
            ),
            (rustls::Error::HandshakeNotComplete, "TlsProtocolError"),
        ] {
            let found = not_secured(&io::Error::other(error));
            assert!(format!("{found:?}").contains(code), "{found:?}");
        }
        let other = not_secured(&io::ErrorKind::UnexpectedEof.into());
        assert!(
            format!("{other:?}").contains("TlsProtocolError"),
            "{other:?}"
        );
    }
}
