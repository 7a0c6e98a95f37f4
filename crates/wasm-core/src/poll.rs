//! For tests of futures that never wait.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// What the future answers when it is polled once.
#[track_caller]
pub(crate) fn now<F: Future>(future: F) -> F::Output {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future waits"),
    }
}
