use std::future::Future;
use std::panic::Location;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Call;

/// How long a test waits for a call unless it says so.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the calls of a [`MockEngine`](super::MockEngine) arrive, in the order in which
/// their futures were first polled.
///
/// What waits here does so by tokio's clock: in paused time, a call that does not come
/// costs no time.
#[derive(Debug)]
pub struct MockHandle {
    calls: mpsc::UnboundedReceiver<Call>,
}

impl MockHandle {
    pub(super) fn new(calls: mpsc::UnboundedReceiver<Call>) -> Self {
        Self { calls }
    }

    /// The next call, for which it waits 10 s at the most. Dropping the future loses no
    /// call.
    ///
    /// # Panics
    /// If none comes within that time, or can come because the engine is gone.
    #[track_caller]
    pub fn next_call(&mut self) -> impl Future<Output = Call> {
        let place = Location::caller();
        async move {
            let Ok(call) = timeout(PATIENCE, self.calls.recv()).await else {
                panic!("no call came within {PATIENCE:?} to the mock engine, awaited at {place}");
            };
            call.unwrap_or_else(|| {
                panic!("the mock engine is gone, and a call of it awaited at {place}")
            })
        }
    }

    /// The next call, if it comes within `limit`; `None` if it does not, or cannot
    /// because the engine is gone. Dropping the future loses no call.
    pub async fn next_call_within(&mut self, limit: Duration) -> Option<Call> {
        timeout(limit, self.calls.recv()).await.ok().flatten()
    }

    /// The next call, if there is one already.
    pub fn try_next_call(&mut self) -> Option<Call> {
        self.calls.try_recv().ok()
    }

    /// Waits for `time`, in which no call may come.
    ///
    /// # Panics
    /// If one comes, or has come before and was not taken.
    #[track_caller]
    pub fn expect_no_call(&mut self, time: Duration) -> impl Future<Output = ()> {
        let place = Location::caller();
        async move {
            if let Some(call) = self.next_call_within(time).await {
                let from = call.from();
                panic!("no call was expected at {place}, but came {call}, called {from}");
            }
        }
    }
}
