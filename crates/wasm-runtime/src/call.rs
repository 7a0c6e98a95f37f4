//! Driving the future of a guest call: bounded in time, safe from panics, and
//! not lost when its caller goes away.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle};
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
/// call that ends at once does not pay for it. `pauses` counts how often the call gave
/// way or had to wait.
pub(crate) async fn bounded<T>(
    deadline: Instant,
    pauses: &mut u64,
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
                *pauses += 1;
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

/// A call that does not depend on its caller once it has begun to wait: whoever drops
/// the future, or keeps it without polling it, holds nobody up.
///
/// A call that ends at its first poll is never handed to the runtime.
pub(crate) struct Detached<F: Future> {
    call: Option<Pin<Box<F>>>,
    task: Option<JoinHandle<F::Output>>,
    runtime: Handle,
}

impl<F> Detached<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    pub(crate) fn new(runtime: Handle, call: F) -> Self {
        Self {
            call: Some(Box::pin(call)),
            task: None,
            runtime,
        }
    }
}

impl<F> Future for Detached<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    /// The error is that of a runtime that was shut down.
    type Output = Result<F::Output, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(mut call) = self.call.take() {
            if let Poll::Ready(output) = call.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            self.task = Some(self.runtime.spawn(call));
        }
        match &mut self.task {
            Some(task) => Pin::new(task).poll(cx),
            None => Poll::Pending,
        }
    }
}

/// Lets a call that waits for its turn know whether anyone still wants it.
#[derive(Debug, Default)]
pub(crate) struct Caller(Arc<()>);

/// The other end of a [`Caller`].
#[derive(Debug)]
pub(crate) struct CallerWatch(Weak<()>);

impl Caller {
    pub(crate) fn watch(&self) -> CallerWatch {
        CallerWatch(Arc::downgrade(&self.0))
    }
}

impl CallerWatch {
    pub(crate) fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
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
        let mut pauses = 0;
        assert_eq!(bounded(Instant::now(), &mut 0, ready(1)).await, Ok(1));
        assert_eq!(
            bounded(soon(), &mut pauses, async {
                yield_now().await;
                2
            })
            .await,
            Ok(2)
        );
        assert_eq!(pauses, 1);
    }

    #[tokio::test]
    async fn a_call_that_waits_is_stopped() {
        assert_eq!(
            bounded(soon(), &mut 0, pending::<()>()).await,
            Err(Interrupted::Deadline)
        );
        let busy = async {
            loop {
                yield_now().await;
            }
        };
        assert_eq!(
            bounded::<()>(soon(), &mut 0, busy).await,
            Err(Interrupted::Deadline)
        );
    }

    #[tokio::test]
    async fn a_panic_is_caught_with_its_message() {
        let text = bounded::<()>(soon(), &mut 0, async { panic!("plain") }).await;
        assert_eq!(text, Err(Interrupted::Panic("plain".into())));
        let formatted = bounded::<()>(soon(), &mut 0, async { panic!("with {}", 1) }).await;
        assert_eq!(formatted, Err(Interrupted::Panic("with 1".into())));
        let other = bounded::<()>(soon(), &mut 0, async { std::panic::panic_any(7) }).await;
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
    async fn a_call_that_is_not_polled_goes_on() {
        let (done, result) = oneshot::channel();
        let mut call = Detached::new(Handle::current(), async move {
            yield_now().await;
            done.send(7).unwrap();
            8
        });
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
        assert_eq!(Detached::new(Handle::current(), ready(1)).await.unwrap(), 1);
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
