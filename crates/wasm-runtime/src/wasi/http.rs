//! WASI HTTP: linked so that components load, and every request is refused.

use std::future::{Future, ready};

use http::{Request, Response};
use wasmtime_wasi_http::{
    Error as HttpError, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpHooks,
};

/// Refuses every outgoing request, as an error that the guest can handle.
pub(crate) struct NoHttp;

type HttpEnd = Box<dyn Future<Output = Result<(), HttpError>> + Send>;
type HttpExchange = Result<(Response<WasiBody>, HttpEnd), HttpError>;

/// What a body that will never be sent may buffer, and its headers: each handle may
/// hold as much, outside of the guest's memory.
const HTTP_BUFFER_BYTES: usize = 1024;

impl NoHttp {
    pub(crate) fn context() -> WasiHttpCtx {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(4 * HTTP_BUFFER_BYTES);
        context
    }
}

impl WasiHttpHooks for NoHttp {
    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        1
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        HTTP_BUFFER_BYTES
    }

    fn send_request(
        &mut self,
        _: Request<WasiBody>,
        _: Option<RequestOptions>,
        _: HttpEnd,
    ) -> Box<dyn Future<Output = HttpExchange> + Send> {
        Box::new(ready(Err(HttpError::HttpRequestDenied)))
    }
}
