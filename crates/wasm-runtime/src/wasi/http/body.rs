//! Bodies of requests and responses, as much of them and for as long as the call may have.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep_until};
use wasmtime_wasi_http::{Error as HttpError, WasiBody};

use super::budget::HttpBudget;

/// A body that is charged to a call.
pub(super) struct Charged {
    pub(super) inner: WasiBody,
    pub(super) budget: Arc<HttpBudget>,
    /// How long it may take; for one that is sent, whoever sends it knows.
    pub(super) time: Option<BodyTime>,
    /// What it ends with when there is too much of it.
    pub(super) excess: fn() -> HttpError,
}

/// How long a body may take.
pub(super) struct BodyTime {
    deadline: Instant,
    between_bytes: Option<Duration>,
    /// Until when its next bytes may come.
    next: Pin<Box<Sleep>>,
}

impl BodyTime {
    /// The time between bytes begins now.
    pub(super) fn new(deadline: Instant, between_bytes: Option<Duration>) -> Self {
        let next = Box::pin(sleep_until(next(deadline, between_bytes).into()));
        Self {
            deadline,
            between_bytes,
            next,
        }
    }

    /// Bytes have come.
    fn renew(&mut self) {
        if self.between_bytes.is_some() {
            let next = next(self.deadline, self.between_bytes);
            self.next.as_mut().reset(next.into());
        }
    }
}

fn next(deadline: Instant, between_bytes: Option<Duration>) -> Instant {
    let next = between_bytes.and_then(|time| Instant::now().checked_add(time));
    next.map_or(deadline, |next| next.min(deadline))
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
                if let Some(time) = &mut self.time {
                    time.renew();
                }
                let frame = match self.budget.take_bytes(bytes) {
                    true => Ok(frame),
                    false => Err((self.excess)()),
                };
                Poll::Ready(Some(frame))
            }
            Poll::Pending => match &mut self.time {
                Some(time) => time
                    .next
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
