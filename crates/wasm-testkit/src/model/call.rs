//! Driving the future of a call: bounded in time, safe from panics, and not lost
//! when its caller goes away.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, sleep_until};

use wasm_core::Trap;

/// How a guest's call ends when it does not return.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Trap(Trap),
    OutOfFuel,
    Deadline,
}

/// What comes of running a guest.
pub(super) type Run<T> = Result<T, Stop>;

/// Polls `call` until it ends, its deadline passes or it panics.
pub(super) async fn bounded<T>(deadline: Instant, call: impl Future<Output = Run<T>>) -> Run<T> {
    let mut call = pin!(call);
    // A call that ends at once needs no timer.
    let mut timer = pin!(None);
    poll_fn(move |cx| {
        match catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx))) {
            Err(panic) => return Poll::Ready(Err(Stop::Trap(host_panic(&*panic)))),
            Ok(Poll::Ready(outcome)) => return Poll::Ready(outcome),
            Ok(Poll::Pending) => {}
        }
        if timer.is_none() {
            timer.set(Some(sleep_until(deadline)));
        }
        match timer.as_mut().as_pin_mut() {
            Some(timer) => timer.poll(cx).map(|()| Err(Stop::Deadline)),
            None => Poll::Pending,
        }
    })
    .await
}

fn host_panic(panic: &(dyn Any + Send)) -> Trap {
    let message = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "(no message)".to_owned(),
    };
    Trap::HostPanic(message)
}

/// A call that does not depend on its caller once it has begun to wait: whoever drops
/// the future, or keeps it without polling it, holds nobody up.
pub(super) struct Detached<F: Future> {
    call: Option<Pin<Box<F>>>,
    task: Option<JoinHandle<F::Output>>,
    runtime: Handle,
}

impl<F> Detached<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    pub(super) fn new(runtime: Handle, call: F) -> Self {
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
            // One that ends at once needs no task.
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
