//! What the letter of a timer carries: how far it has come is written down.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use wasm_core::ComponentId;

/// Where it is written down how far timers have come.
#[async_trait]
pub(crate) trait TimerBook: Debug + Send + Sync {
    /// Writes down that a timer begins to be handled; `false` if it must not, because it was
    /// cancelled or this cannot be kept.
    async fn begin(&self, of: &ComponentId, timer: u64) -> bool;

    /// It was not handled, and comes again.
    fn put_back(&self, of: &ComponentId, timer: u64);

    /// It was handled or is a dead letter.
    fn end(&self, of: &ComponentId, timer: u64);
}

/// Of one timer, from when it is due to when it is over. If it is dropped before the timer has
/// begun to be handled, the timer comes again.
#[derive(Debug)]
pub(crate) struct Ticket {
    book: Arc<dyn TimerBook>,
    of: ComponentId,
    timer: u64,
    has_begun: AtomicBool,
}

impl Ticket {
    pub(crate) fn new(book: Arc<dyn TimerBook>, of: ComponentId, timer: u64) -> Self {
        Self {
            book,
            of,
            timer,
            has_begun: AtomicBool::new(false),
        }
    }

    /// Whether it may be handled now, which is never asked a second time after that was so.
    pub(crate) async fn begin(&self) -> bool {
        let begins = self.book.begin(&self.of, self.timer).await;
        self.has_begun.store(begins, Ordering::Relaxed);
        begins
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Relaxed)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        match self.has_begun() {
            true => self.book.end(&self.of, self.timer),
            false => self.book.put_back(&self.of, self.timer),
        }
    }
}
