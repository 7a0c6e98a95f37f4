//! Calls that are not lost when their callers go away.

use std::cell::OnceCell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio::task::coop::consume_budget;
use tokio::task::{JoinError, JoinHandle};
use tracing::Instrument as _;

/// A call that does not depend on its caller once it has begun to wait: whoever drops
/// the future, or keeps it without polling it, holds nobody up.
///
/// A call that ends at its first poll is never handed to the runtime. A task that makes such
/// calls without a break leaves its thread to others now and then.
pub(crate) struct Detached<R> {
    call: Option<BoxedCall<R>>,
    task: Option<JoinHandle<R>>,
    /// Of a call that has ended, when its caller is to leave the thread to others.
    output: Option<R>,
    runtime: Handle,
}

/// A call in one place of the heap, from where it can be handed to the runtime.
pub(crate) type BoxedCall<R> = Pin<Box<dyn Future<Output = R> + Send>>;

impl<R: Send + 'static> Detached<R> {
    pub(crate) fn new(runtime: Handle, call: BoxedCall<R>) -> Self {
        Self {
            call: Some(call),
            task: None,
            output: None,
            runtime,
        }
    }
}

/// It is polled wherever it lies: the call is in a place of its own.
impl<R> Unpin for Detached<R> {}

impl<R: Send + 'static> Future for Detached<R> {
    /// The error is that of a runtime that was shut down.
    type Output = Result<R, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(mut call) = self.call.take() {
            match call.as_mut().poll(cx) {
                Poll::Ready(output) => {
                    if pin!(consume_budget()).poll(cx).is_ready() {
                        return Poll::Ready(Ok(output));
                    }
                    self.output = Some(output);
                    return Poll::Pending;
                }
                // It goes on in the span in which it began.
                Poll::Pending => self.task = Some(self.runtime.spawn(call.in_current_span())),
            }
        }
        if let Some(task) = &mut self.task {
            return Pin::new(task).poll(cx);
        }
        match self.output.take() {
            Some(output) => Poll::Ready(Ok(output)),
            None => Poll::Pending,
        }
    }
}

/// Lets a call that waits for its turn know whether anyone still wants it. One that need not
/// wait never asks.
#[derive(Debug, Default)]
pub(crate) struct Caller(OnceCell<Arc<()>>);

/// The other end of a [`Caller`].
#[derive(Debug)]
pub(crate) struct CallerWatch(Weak<()>);

impl Caller {
    pub(crate) fn watch(&self) -> CallerWatch {
        CallerWatch(Arc::downgrade(self.0.get_or_init(Arc::default)))
    }
}

impl CallerWatch {
    pub(crate) fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::future::{poll_fn, ready};

    use tokio::sync::oneshot;
    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn a_dropped_call_goes_on() {
        let (go, gate) = oneshot::channel();
        let (done, result) = oneshot::channel();
        let mut call = Detached::new(
            Handle::current(),
            Box::pin(async move {
                gate.await.unwrap();
                done.send(7).unwrap();
            }),
        );
        poll_fn(|cx| {
            assert!(Pin::new(&mut call).poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        drop(call);
        go.send(()).unwrap();
        assert_eq!(result.await, Ok(7));
    }

    #[tokio::test]
    async fn a_call_that_is_not_polled_goes_on() {
        let (done, result) = oneshot::channel();
        let mut call = Detached::new(
            Handle::current(),
            Box::pin(async move {
                yield_now().await;
                done.send(7).unwrap();
                8
            }),
        );
        poll_fn(|cx| {
            assert!(Pin::new(&mut call).poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(result.await, Ok(7));
        assert_eq!(call.await.unwrap(), 8);
    }

    #[tokio::test]
    async fn a_call_that_ends_at_once_gives_its_result() {
        let call = Detached::new(Handle::current(), Box::pin(ready(1)));
        assert_eq!(call.await.unwrap(), 1);
    }

    #[tokio::test]
    async fn who_calls_without_a_break_leaves_its_thread_to_others() {
        let other = tokio::spawn(async {});
        for number in 0..10_000 {
            let call = Detached::new(Handle::current(), Box::pin(ready(number)));
            assert_eq!(call.await.unwrap(), number);
        }
        assert!(other.is_finished());
    }

    #[test]
    fn a_caller_is_gone_when_it_is_dropped() {
        let caller = Caller::default();
        let watch = caller.watch();
        assert!(!watch.is_gone());
        drop(caller);
        assert!(watch.is_gone());
    }
}
