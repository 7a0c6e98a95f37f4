//! Calls of exports that take their turn among the messages of a component.

use std::fmt::{self, Debug};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Mutex;
use std::task::Poll;

use tokio::sync::oneshot;

use wasm_core::{ComponentHandle, MessagingError, WasmError};

use crate::caught::caught;
use crate::lock::lock;
use crate::post::answer::RequestError;

type Begin = Box<dyn FnOnce(ComponentHandle) -> CallFuture + Send>;

type CallFuture = Pin<Box<dyn Future<Output = Result<(), WasmError>> + Send>>;

/// A call of the program that waits for its turn.
pub(crate) struct Call {
    /// `None` once it has begun. The lock is for no other reason than that letters are shared
    /// with whoever watches them.
    begin: Mutex<Option<Begin>>,
    answer: oneshot::Sender<Result<(), RequestError>>,
}

impl Call {
    /// A call whose result is handed over before the answer that it has ended.
    pub(crate) fn new<F, R>(
        call: impl FnOnce(ComponentHandle) -> F + Send + 'static,
    ) -> (Self, Answer<R>)
    where
        F: Future<Output = Result<R, WasmError>> + Send + 'static,
        R: Send + 'static,
    {
        let (mut give, result) = oneshot::channel();
        let (answer, ended) = oneshot::channel();
        let begin = |handle| -> CallFuture {
            Box::pin(async move {
                let call = unpanicked(async { call(handle).await });
                let result = tokio::select! {
                    biased;
                    ended = call => match ended {
                        Ok(ended) => Ok(ended?),
                        Err(panic) => Err(panic),
                    },
                    // Nobody waits for it: it holds up no message.
                    () = give.closed() => return Ok(()),
                };
                // Whoever called may have gone since.
                let _ = give.send(result);
                Ok(())
            })
        };
        let begin: Begin = Box::new(begin);
        let begin = Mutex::new(Some(begin));
        (Self { begin, answer }, Answer { ended, result })
    }

    /// Whether anybody waits for what comes of it.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.answer.is_closed()
    }

    /// `None` for one that has begun before.
    pub(crate) fn begin(&self, handle: ComponentHandle) -> Option<CallFuture> {
        let begin = lock(&self.begin).take()?;
        Some(begin(handle))
    }

    /// Tells whoever called that it has ended, or why there was none.
    pub(crate) fn answer(self, outcome: Result<(), RequestError>) {
        // Whoever called may have gone since.
        let _ = self.answer.send(outcome);
    }
}

impl Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("has_begun", &lock(&self.begin).is_none())
            .finish_non_exhaustive()
    }
}

/// What comes of a [`Call`].
pub(crate) struct Answer<R> {
    ended: oneshot::Receiver<Result<(), RequestError>>,
    result: oneshot::Receiver<Result<R, String>>,
}

impl<R> Answer<R> {
    /// `None` if the call was dropped without an answer, as by the end of the host.
    pub(crate) async fn get(self) -> Option<Result<R, RequestError>> {
        match self.ended.await.ok()? {
            Ok(()) => Some(self.result.await.ok()?.map_err(|panic| {
                let reason = format!("the call panicked: {panic}");
                MessagingError::DeliveryFailed(reason).into()
            })),
            Err(error) => Some(Err(error)),
        }
    }
}

/// What `call` ends with, or what it panicked with: that harms no component, and is told to
/// whoever called.
async fn unpanicked<T>(call: impl Future<Output = T>) -> Result<T, String> {
    let mut call = pin!(call);
    poll_fn(|cx| match caught(|| call.as_mut().poll(cx)) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}
