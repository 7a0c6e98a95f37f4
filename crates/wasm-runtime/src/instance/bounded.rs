//! Driving the future of a guest call: bounded in time and safe from panics.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Sleep, sleep_until};

use wasm_core::CapabilityDenied;

use super::deadline::Deadline;
use crate::ticker::guest_runs;

/// Why a call has no result of its own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Interrupted {
    /// It was waiting when its time was up.
    Deadline,
    /// A host function panicked with this message.
    Panic(String),
    /// It called a host function that it is not permitted to.
    Denied(Box<CapabilityDenied>),
}

/// What a computing guest is given to be stopped by the epoch, which tells where it
/// was; the timer could only tell that it was not done.
const GRACE: Duration = Duration::from_millis(5);

/// Polls `call` until it ends, its deadline passes or it panics; then it is gone.
///
/// Epochs stop a guest that computes; this stops one that waits, in whichever
/// host function. `pauses` counts how often the call gave way or had to wait.
pub(crate) async fn bounded<T>(
    deadline: &Deadline,
    pauses: &mut u64,
    mut call: Pin<&mut Option<impl Future<Output = T>>>,
) -> Result<T, Interrupted> {
    // Made only when the call first has to wait, so that one that ends at once does not pay
    // for it, and in a place of its own, so that every call is small.
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    let ended = poll_fn(|cx| {
        if let Some(ended) = poll_caught(call.as_mut(), cx) {
            return Poll::Ready(ended);
        }
        *pauses += 1;
        let timer =
            timer.get_or_insert_with(|| Box::pin(sleep_until((deadline.at() + GRACE).into())));
        ready!(timer.as_mut().poll(cx));
        // On a machine with much else to do, a guest that computes may have given way just
        // before its time was up: once more, and it tells where it was.
        let last = poll_caught(call.as_mut(), cx);
        Poll::Ready(last.unwrap_or(Err(Interrupted::Deadline)))
    })
    .await;
    if ended.is_err() {
        // Host functions that did not end are dropped with it, and what they have.
        contained(|| call.set(None));
    }
    ended
}

/// Ends something of the embedder's: why the call ended has been decided, and a panic here,
/// which the panic hook was told of, harms nobody else.
pub(super) fn contained(end: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(end));
}

/// `None` if it does not end yet.
fn poll_caught<T>(
    call: Pin<&mut Option<impl Future<Output = T>>>,
    cx: &mut Context<'_>,
) -> Option<Result<T, Interrupted>> {
    let call = call.as_pin_mut()?;
    guest_runs();
    match catch_unwind(AssertUnwindSafe(|| call.poll(cx))) {
        Ok(Poll::Ready(output)) => Some(Ok(output)),
        Ok(Poll::Pending) => None,
        Err(panic) => Some(Err(of_panic(panic))),
    }
}

fn of_panic(panic: Box<dyn Any + Send>) -> Interrupted {
    match panic.downcast::<CapabilityDenied>() {
        Ok(denied) => Interrupted::Denied(denied),
        Err(panic) => Interrupted::Panic(panic_message(&*panic)),
    }
}

pub(super) fn panic_message(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "(no message)".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;

    use tokio::task::yield_now;

    use super::*;

    fn soon() -> Deadline {
        Deadline::new(Duration::from_millis(20))
    }

    #[tokio::test]
    async fn a_call_that_ends_gives_its_result() {
        let mut pauses = 0;
        assert_eq!(
            bounded(&Deadline::new(Duration::ZERO), &mut 0, pin!(Some(ready(1)))).await,
            Ok(1)
        );
        assert_eq!(
            bounded(
                &soon(),
                &mut pauses,
                pin!(Some(async {
                    yield_now().await;
                    2
                }))
            )
            .await,
            Ok(2)
        );
        assert_eq!(pauses, 1);
    }

    #[tokio::test]
    async fn a_call_that_waits_is_stopped() {
        assert_eq!(
            bounded(&soon(), &mut 0, pin!(Some(pending::<()>()))).await,
            Err(Interrupted::Deadline)
        );
        let busy = async {
            loop {
                yield_now().await;
            }
        };
        assert_eq!(
            bounded::<()>(&soon(), &mut 0, pin!(Some(busy))).await,
            Err(Interrupted::Deadline)
        );
    }

    #[tokio::test]
    async fn what_panics_when_it_is_dropped_changes_nothing() {
        struct Bomb;

        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("on purpose");
            }
        }

        let waits = async {
            let _bomb = Bomb;
            pending::<()>().await;
        };
        assert_eq!(
            bounded(&soon(), &mut 0, pin!(Some(waits))).await,
            Err(Interrupted::Deadline)
        );
    }

    #[tokio::test]
    async fn a_panic_is_caught_with_its_message() {
        let text = bounded::<()>(&soon(), &mut 0, pin!(Some(async { panic!("plain") }))).await;
        assert_eq!(text, Err(Interrupted::Panic("plain".into())));
        let formatted =
            bounded::<()>(&soon(), &mut 0, pin!(Some(async { panic!("with {}", 1) }))).await;
        assert_eq!(formatted, Err(Interrupted::Panic("with 1".into())));
        let other = bounded::<()>(
            &soon(),
            &mut 0,
            pin!(Some(async { std::panic::panic_any(7) })),
        )
        .await;
        assert_eq!(other, Err(Interrupted::Panic("(no message)".into())));
    }
}
