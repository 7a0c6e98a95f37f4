//! Calls of exports that take their turn among the messages of a component.

use std::fmt::{self, Debug};
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use wasm_core::{ComponentHandle, MessagingError, WasmError};

use crate::caught::caught_future;
use crate::error::HostError;
use crate::lock::lock;
use crate::post::answer::RequestError;

type Begin = Box<dyn FnOnce(ComponentHandle) -> CallFuture + Send>;

/// A call of the program that runs.
pub(crate) type CallFuture = Pin<Box<dyn Future<Output = Result<(), WasmError>> + Send>>;

/// A call of the program that waits for its turn.
pub(crate) struct Call {
    /// `None` once it has begun. The lock is for no other reason than that letters are shared
    /// with whoever watches them.
    begin: Mutex<Option<Begin>>,
    answer: oneshot::Sender<Result<(), RequestError>>,
    is_released: Arc<AtomicBool>,
}

impl Call {
    /// A call whose result is handed over before the answer that it has ended.
    pub(crate) fn new<F, R>(
        call: impl FnOnce(ComponentHandle) -> F + Send + 'static,
    ) -> (Self, PendingCall<R>)
    where
        F: Future<Output = Result<R, WasmError>> + Send + 'static,
        R: Send + 'static,
    {
        let (mut give, result) = oneshot::channel();
        let (answer, ended) = oneshot::channel();
        let is_released = Arc::new(AtomicBool::new(false));
        let goes_on = Arc::clone(&is_released);
        let begin = |handle| -> CallFuture {
            Box::pin(async move {
                // A panic harms no component, and is told to whoever called.
                let call = caught_future(async { call(handle).await });
                let result = tokio::select! {
                    biased;
                    ended = call => match ended {
                        Ok(ended) => Ok(ended?),
                        Err(panic) => Err(panic),
                    },
                    // Nobody waits for it: it holds up no message.
                    () = given_up(&mut give, &goes_on) => return Ok(()),
                };
                // Whoever called may have gone since.
                let _ = give.send(result);
                Ok(())
            })
        };
        let begin: Begin = Box::new(begin);
        let begin = Mutex::new(Some(begin));
        let call = Self {
            begin,
            answer,
            is_released: Arc::clone(&is_released),
        };
        let pending = PendingCall {
            ended,
            result,
            is_released,
        };
        (call, pending)
    }

    /// Whether anybody waits for what comes of it, or let it go on alone.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.answer.is_closed() || self.is_released.load(Ordering::Acquire)
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

/// A call that was accepted: see [`Host::submit_call`](crate::Host::submit_call). Dropping it
/// withdraws a call that has not begun, and ends one that has at its next wait.
#[derive(Debug)]
#[must_use = "a call that is dropped is withdrawn; `release` lets it go on"]
pub struct PendingCall<R> {
    ended: oneshot::Receiver<Result<(), RequestError>>,
    result: oneshot::Receiver<Result<R, String>>,
    is_released: Arc<AtomicBool>,
}

impl<R> PendingCall<R> {
    /// Lets the call go on, though nobody waits for it any more.
    pub fn release(self) {
        self.is_released.store(true, Ordering::Release);
    }

    /// Waits until it has ended. Dropping the future changes nothing.
    ///
    /// # Errors
    /// As those of [`Host::call`](crate::Host::call); and when it is called again after it has
    /// told how the call ended.
    pub async fn ended(&mut self) -> Result<R, RequestError> {
        let stopped = || MessagingError::DeliveryFailed(HostError::Stopped.to_string());
        let told = || MessagingError::DeliveryFailed("how the call ended was told before".into());
        if self.result.is_terminated() {
            return Err(told().into());
        }
        // Whoever waited before may have gone between this and the result.
        if !self.ended.is_terminated() {
            // Dropped without an answer, as by the end of the host.
            (&mut self.ended).await.map_err(|_| stopped())??;
        }
        let result = (&mut self.result).await.map_err(|_| told())?;
        result.map_err(|panic| {
            let reason = format!("the call panicked: {panic}");
            MessagingError::DeliveryFailed(reason).into()
        })
    }
}

/// Ends when nobody waits for what is to be given, unless the call was released by then.
async fn given_up<T>(give: &mut oneshot::Sender<T>, is_released: &AtomicBool) {
    give.closed().await;
    if is_released.load(Ordering::Acquire) {
        pending::<()>().await;
    }
}
