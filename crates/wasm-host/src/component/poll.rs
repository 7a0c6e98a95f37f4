//! Futures that are polled once, or many at a time, and what comes of those that were spawned.

use std::future::poll_fn;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::task::Poll;

use tokio::task::JoinError;

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

/// Takes out those that have ended, once some have: never, where there are none.
pub(crate) async fn some_ended<F: Future>(futures: &mut Vec<Pin<Box<F>>>) {
    poll_fn(|cx| {
        let before = futures.len();
        futures.retain_mut(|it| it.as_mut().poll(cx).is_pending());
        match futures.len() < before {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}

/// A panic of the engine ends the task, wherever it was; `None` of a runtime that is gone.
pub(crate) fn unpanicked<T>(joined: Result<T, JoinError>) -> Option<T> {
    match joined {
        Ok(ended) => Some(ended),
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        Err(_) => None,
    }
}
