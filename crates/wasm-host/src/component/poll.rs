//! One poll of a future.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

/// What the future ends in if that is at its first poll.
pub(crate) async fn now_or_never<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}
