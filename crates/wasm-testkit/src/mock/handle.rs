use std::collections::VecDeque;
use std::future::Future;
use std::mem;
use std::panic::Location;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::{Call, lock};

/// How long a test waits for a call unless it says so.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the calls of a [`MockEngine`](super::MockEngine) arrive, in the order in which
/// their futures were first polled.
///
/// What waits here does so by tokio's clock: in paused time, a call that does not come
/// costs no time.
#[derive(Debug)]
pub struct MockHandle {
    calls: Arc<Calls>,
}

/// The calls between an engine and its handle.
///
/// A channel would keep a call that is made while the handle is dropped for as long as the engine
/// is there, and whoever made the call would wait as long.
#[derive(Debug, Default)]
pub(super) struct Calls {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Call>,
    is_engine_gone: bool,
    is_handle_gone: bool,
}

impl Calls {
    /// Without a handle the call is dropped, and its responder with it.
    pub(super) fn put(&self, call: Call) {
        let mut state = lock(&self.state);
        if state.is_handle_gone {
            drop(state);
            return drop(call);
        }
        state.waiting.push_back(call);
        drop(state);
        self.changed.notify_one();
    }

    /// No further call is made.
    pub(super) fn end(&self) {
        lock(&self.state).is_engine_gone = true;
        self.changed.notify_one();
    }

    fn take(&self) -> Option<Call> {
        lock(&self.state).waiting.pop_front()
    }

    /// Whether nothing waits and nothing comes.
    fn is_over(&self) -> bool {
        let state = lock(&self.state);
        state.waiting.is_empty() && state.is_engine_gone
    }

    /// The next call; `None` if there is no engine any more to make one.
    async fn next(&self) -> Option<Call> {
        loop {
            let changed = self.changed.notified();
            let next = self.take();
            if next.is_some() || self.is_over() {
                return next;
            }
            changed.await;
        }
    }
}

impl Drop for MockHandle {
    fn drop(&mut self) {
        let left = {
            let mut state = lock(&self.calls.state);
            state.is_handle_gone = true;
            mem::take(&mut state.waiting)
        };
        // Whoever made one of these is told without the lock.
        drop(left);
    }
}

impl MockHandle {
    pub(super) fn new(calls: Arc<Calls>) -> Self {
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
            let Ok(call) = timeout(PATIENCE, self.calls.next()).await else {
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
        timeout(limit, self.calls.next()).await.ok().flatten()
    }

    /// The next call, if there is one already.
    pub fn try_next_call(&mut self) -> Option<Call> {
        self.calls.take()
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
