//! Bodies of requests and responses, as much of them and for as long as the call may have.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
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
        let next = Box::pin(sleep_until(next(deadline, between_bytes)));
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
            self.next.as_mut().reset(next);
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

#[cfg(test)]
pub(super) mod tests {
    use std::future::pending;

    use http_body_util::{BodyExt as _, Full};
    use tokio::sync::mpsc;
    use tokio::time::sleep;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A body that somebody else writes.
    pub(in super::super) struct Parts(pub(in super::super) mpsc::Receiver<Bytes>);

    impl Body for Parts {
        type Data = Bytes;
        type Error = HttpError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
            let part = self.0.poll_recv(cx);
            part.map(|part| part.map(|part| Ok(Frame::data(part))))
        }
    }

    /// So many parts, each after a second, and no end.
    fn endless(parts: usize) -> WasiBody {
        let (sender, received) = mpsc::channel(1);
        tokio::spawn(async move {
            for _ in 0..parts {
                sleep(SECOND).await;
                // Nobody may wait for it any more.
                let _ = sender.send(Bytes::from_static(b"x")).await;
            }
            pending::<()>().await;
        });
        Parts(received).boxed_unsync()
    }

    /// What came of it, and after how long it ended.
    async fn ended(inner: WasiBody, deadline: Duration, between: Duration) -> (usize, Duration) {
        let began = Instant::now();
        let deadline = began + deadline;
        let mut body = Charged {
            inner,
            budget: Arc::default(),
            time: Some(BodyTime::new(deadline, Some(between))),
            excess: || HttpError::HttpResponseBodySize(None),
        };
        let mut parts = 0;
        loop {
            match body.frame().await {
                Some(Ok(_)) => parts += 1,
                Some(Err(HttpError::ConnectionReadTimeout)) => return (parts, began.elapsed()),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_body_is_as_long_as_what_is_charged_for() {
        for (data, length) in [("", 0), ("hello", 5)] {
            let body = Charged {
                inner: Full::new(Bytes::from(data))
                    .map_err(|never| match never {})
                    .boxed_unsync(),
                budget: Arc::default(),
                time: None,
                excess: || HttpError::HttpResponseBodySize(None),
            };
            assert_eq!(body.size_hint().exact(), Some(length));
            assert_eq!(body.is_end_stream(), data.is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_come_in_time_or_not_at_all() {
        let often = endless(3);
        let (parts, after) = ended(often, 60 * SECOND, 2 * SECOND).await;
        assert_eq!((parts, after.as_secs()), (3, 5));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_call_ends_them_all() {
        let often = endless(10);
        let (parts, after) = ended(often, 4 * SECOND + SECOND / 2, 2 * SECOND).await;
        assert_eq!((parts, after.as_secs()), (4, 4));
    }
}
