//! Bodies of requests and responses, as much of them and for as long as the call may have.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;
use wasmtime_wasi_http::{Error as HttpError, WasiBody};

use super::budget::HttpBudget;

/// A body that is charged to a call.
pub(super) struct Charged {
    pub(super) inner: WasiBody,
    pub(super) budget: Arc<HttpBudget>,
    /// Until when it may come; for one that is sent, whoever sends it knows.
    pub(super) until: Option<Pin<Box<Sleep>>>,
    /// What it ends with when there is too much of it.
    pub(super) excess: fn() -> HttpError,
}

impl Body for Charged {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                let frame = match self.budget.take_bytes(bytes) {
                    true => Ok(frame),
                    false => Err((self.excess)()),
                };
                Poll::Ready(Some(frame))
            }
            Poll::Pending => match &mut self.until {
                Some(until) => until
                    .as_mut()
                    .poll(cx)
                    .map(|()| Some(Err(HttpError::ConnectionReadTimeout))),
                None => Poll::Pending,
            },
            ended => ended,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
