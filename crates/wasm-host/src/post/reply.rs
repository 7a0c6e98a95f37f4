//! The answer to a request on its way: it travels with the letter, is given once, and is an
//! error when the letter is lost.

use std::fmt::Debug;
use std::future::poll_fn;
use std::mem;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use tokio::time::Instant;

use wasm_core::{CorrelationId, MessagingError};

use crate::caught::isolated;
use crate::lock::lock;
use crate::post::answer::Outcome;

/// Who waits for an answer. A panic is told to the operator; one of `is_waiting` counts as no.
pub trait Asker: Debug + Send + Sync {
    /// Is told what came of the request, unless it was told before or has given up.
    fn answer(&self, outcome: Outcome);

    /// Whether it was not told, and has not given up.
    fn is_waiting(&self) -> bool;
}

/// As what it is told of that one panicked.
const ASKER: &str = "who waits for an answer";

/// What a request is answered through, once. When it is dropped, that is the answer: that the
/// request was lost.
#[derive(Debug)]
pub struct ReplyTo {
    asker: Option<Arc<dyn Asker>>,
    deadline: Instant,
}

impl ReplyTo {
    /// Whoever waits is answered through `asker`, and waits until `deadline`.
    pub fn new(asker: Arc<dyn Asker>, deadline: Instant) -> Self {
        Self {
            asker: Some(asker),
            deadline,
        }
    }

    /// Tells whoever waits what came of the request.
    pub fn answer(mut self, outcome: Outcome) {
        if let Some(asker) = self.asker.take() {
            tell(&*asker, outcome);
        }
    }

    /// The request was not accepted, and whoever made it is told otherwise.
    pub fn forget(mut self) {
        self.asker = None;
    }

    /// Whether somebody waits, and still has time to.
    pub(crate) fn is_wanted(&self, now: Instant) -> bool {
        self.deadline > now && self.is_waited_for()
    }

    /// Whether somebody waits, whether or not the time is up.
    pub fn is_waited_for(&self) -> bool {
        let asker = self.asker.as_ref();
        let waiting = asker.and_then(|asker| isolated(ASKER, || asker.is_waiting()));
        waiting.unwrap_or(false)
    }

    /// Until when somebody waits for it.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether its time is up.
    pub(crate) fn is_late(&self) -> bool {
        self.deadline <= Instant::now()
    }

    /// Tells the asker that its time is up. Whatever it is told later it does not hear.
    pub fn time_out(&self, request: &CorrelationId) {
        if let Some(asker) = &self.asker {
            let late = MessagingError::CorrelationTimeout(request.clone());
            tell(&**asker, Err(late.into()));
        }
    }
}

impl Drop for ReplyTo {
    fn drop(&mut self) {
        if let Some(asker) = self.asker.take() {
            let lost = MessagingError::DeliveryFailed("the request was lost".to_owned());
            tell(&*asker, Err(lost.into()));
        }
    }
}

fn tell(asker: &dyn Asker, outcome: Outcome) {
    isolated(ASKER, || asker.answer(outcome));
}

/// The program around the host, waiting for the answer to one request.
#[derive(Debug)]
pub(crate) struct Caller(Mutex<Waiting>);

#[derive(Debug)]
enum Waiting {
    /// With whom to wake.
    Open(Option<Waker>),
    Answered(Outcome),
    Over,
}

impl Caller {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Waiting::Open(None)))
    }

    /// What came of the request, once; it never ends afterwards.
    pub(crate) async fn answered(&self) -> Outcome {
        poll_fn(|cx| self.poll_answered(cx)).await
    }

    fn poll_answered(&self, cx: &mut Context<'_>) -> Poll<Outcome> {
        let mut waiting = lock(&self.0);
        match mem::replace(&mut *waiting, Waiting::Over) {
            Waiting::Answered(outcome) => return Poll::Ready(outcome),
            Waiting::Open(_) => *waiting = Waiting::Open(Some(cx.waker().clone())),
            Waiting::Over => {}
        }
        Poll::Pending
    }

    /// Waits no longer.
    pub(crate) fn give_up(&self) {
        *lock(&self.0) = Waiting::Over;
    }
}

impl Asker for Caller {
    fn answer(&self, outcome: Outcome) {
        let waker = {
            let mut waiting = lock(&self.0);
            let Waiting::Open(waker) = &mut *waiting else {
                return;
            };
            let waker = waker.take();
            *waiting = Waiting::Answered(outcome);
            waker
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn is_waiting(&self) -> bool {
        matches!(*lock(&self.0), Waiting::Open(_))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn asked() -> (Arc<Caller>, ReplyTo) {
        let caller = Arc::new(Caller::new());
        let deadline = Instant::now() + Duration::from_secs(1);
        let reply = ReplyTo::new(Arc::clone(&caller) as Arc<_>, deadline);
        (caller, reply)
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_is_given_once() {
        let (caller, reply) = asked();
        assert!(reply.is_wanted(Instant::now()));
        let waiting = tokio::spawn({
            let caller = Arc::clone(&caller);
            async move { caller.answered().await }
        });
        tokio::task::yield_now().await;
        reply.answer(Ok(Some("yes".into())));
        assert_eq!(waiting.await.unwrap().unwrap(), Some("yes".into()));
        caller.answer(Ok(None));
        assert!(!caller.is_waiting());
        tokio::select! {
            again = caller.answered() => panic!("answered twice: {again:?}"),
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }

    #[tokio::test]
    async fn a_reply_that_is_dropped_is_an_error() {
        let (caller, reply) = asked();
        drop(reply);
        let error = caller.answered().await.unwrap_err();
        assert_eq!(error.to_string(), "delivery failed: the request was lost");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_wants_what_is_given_up_or_late() {
        let (caller, reply) = asked();
        caller.give_up();
        assert!(!reply.is_wanted(Instant::now()));
        let (caller, reply) = asked();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(caller.is_waiting() && !reply.is_wanted(Instant::now()));
        reply.time_out(&"c-1".into());
        let error = caller.answered().await.unwrap_err();
        assert_eq!(error.to_string(), "request c-1 was not answered in time");
    }
}
