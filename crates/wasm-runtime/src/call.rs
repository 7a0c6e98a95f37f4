//! Driving the future of a guest call: bounded in time, safe from panics, and
//! not lost when its caller goes away.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::time::sleep_until;

/// Why a call has no result of its own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Interrupted {
    /// It was waiting when its time was up.
    Deadline,
    /// A host function panicked with this message.
    Panic(String),
}

/// What a computing guest is given to be stopped by the epoch, which tells where it
/// was; the timer could only tell that it was not done.
const GRACE: Duration = Duration::from_millis(5);

/// Polls `call` until it ends, its deadline passes or it panics.
///
/// Epochs stop a guest that computes; this stops one that waits, in whichever
/// host function. The timer is made only when the call first has to wait, so a
/// call that ends at once does not pay for it.
pub(crate) async fn bounded<T>(
    deadline: Instant,
    call: impl Future<Output = T>,
) -> Result<T, Interrupted> {
    let mut call = pin!(call);
    let mut timer = pin!(None);
    poll_fn(move |cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx)));
        match polled {
            Err(panic) => Poll::Ready(Err(Interrupted::Panic(panic_message(&*panic)))),
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => {
                if timer.is_none() {
                    timer.set(Some(sleep_until((deadline + GRACE).into())));
                }
                match timer.as_mut().as_pin_mut() {
                    Some(timer) => timer.poll(cx).map(|()| Err(Interrupted::Deadline)),
                    None => Poll::Pending,
                }
            }
        }
    })
    .await
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "(no message)".to_owned()
    }
}

/// A call that goes on in the background when its caller stops waiting for it.
pub(crate) struct Detached<F: Future + Send + 'static>
where
    F::Output: Send,
{
    call: Option<Pin<Box<F>>>,
    runtime: Handle,
}

impl<F: Future + Send + 'static> Detached<F>
where
    F::Output: Send,
{
    pub(crate) fn new(runtime: Handle, call: F) -> Self {
        Self {
            call: Some(Box::pin(call)),
            runtime,
        }
    }
}

impl<F: Future + Send + 'static> Future for Detached<F>
where
    F::Output: Send,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(call) = self.call.as_mut() else {
            return Poll::Pending;
        };
        let polled = call.as_mut().poll(cx);
        if polled.is_ready() {
            self.call = None;
        }
        polled
    }
}

impl<F: Future + Send + 'static> Drop for Detached<F>
where
    F::Output: Send,
{
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            self.runtime.spawn(call);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::sync::oneshot;
    use tokio::task::yield_now;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    #[tokio::test]
    async fn a_call_that_ends_gives_its_result() {
        assert_eq!(bounded(Instant::now(), ready(1)).await, Ok(1));
        assert_eq!(
            bounded(soon(), async {
                yield_now().await;
                2
            })
            .await,
            Ok(2)
        );
    }

    #[tokio::test]
    async fn a_call_that_waits_is_stopped() {
        assert_eq!(
            bounded(soon(), pending::<()>()).await,
            Err(Interrupted::Deadline)
        );
        let busy = async {
            loop {
                yield_now().await;
            }
        };
        assert_eq!(
            bounded::<()>(soon(), busy).await,
            Err(Interrupted::Deadline)
        );
    }

    #[tokio::test]
    async fn a_panic_is_caught_with_its_message() {
        let text = bounded::<()>(soon(), async { panic!("plain") }).await;
        assert_eq!(text, Err(Interrupted::Panic("plain".into())));
        let formatted = bounded::<()>(soon(), async { panic!("with {}", 1) }).await;
        assert_eq!(formatted, Err(Interrupted::Panic("with 1".into())));
        let other = bounded::<()>(soon(), async { std::panic::panic_any(7) }).await;
        assert_eq!(other, Err(Interrupted::Panic("(no message)".into())));
    }

    #[tokio::test]
    async fn a_dropped_call_goes_on() {
        let (go, gate) = oneshot::channel();
        let (done, result) = oneshot::channel();
        let mut call = Detached::new(Handle::current(), async move {
            gate.await.unwrap();
            done.send(7).unwrap();
        });
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
    async fn a_finished_call_is_not_run_again() {
        let mut call = Detached::new(Handle::current(), ready(1));
        assert_eq!((&mut call).await, 1);
        drop(call);
    }
}
