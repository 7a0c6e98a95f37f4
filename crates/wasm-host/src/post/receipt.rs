//! What a message carries that is kept elsewhere until it was handled: how far it has come is
//! written down there.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use crate::caught::{isolated, isolated_future};

/// As what it is told of that one panicked.
const RECEIPT: &str = "the receipt of a message";

/// Whoever keeps a message until it was handled: a timer's store, a stream of other nodes.
///
/// For each message, [`begin`](Self::begin) is asked until it says yes, then
/// [`end`](Self::end) is called once, after [`bury`](Self::bury) for a dead letter. As long
/// as it has not begun it may be [put back](Self::put_back) instead. Nothing here may block. A
/// panic is told to the operator; one of `begin` counts as no.
#[async_trait]
pub trait Receipt: Debug + Send + Sync {
    /// Writes down that the message begins to be handled; `false` if it must not be, because it
    /// was taken back or this cannot be written down. Its future is not dropped before it ends.
    async fn begin(&self) -> bool;

    /// Whether a message that has not begun comes again whatever is in its way. Otherwise that
    /// is so only where its recipient leaves this host, and it is a dead letter where the
    /// recipient is quarantined or cannot be loaded.
    fn always_comes_again(&self) -> bool {
        false
    }

    /// It was not handled, and comes again, here or elsewhere.
    fn put_back(&self);

    /// It is a dead letter for this cause, as
    /// [`DeadLetterCause::as_str`](crate::DeadLetterCause::as_str) and its text.
    fn bury(&self, cause: &'static str, reason: &str) {
        let _ = (cause, reason);
    }

    /// It was handled, is a dead letter, or nobody waits for it any more.
    fn end(&self);
}

/// The receipt of one letter, which is put back if the letter is dropped before it has begun
/// to be handled.
#[derive(Debug)]
pub(crate) struct Ticket {
    receipt: Arc<dyn Receipt>,
    is_over: AtomicBool,
}

impl Ticket {
    pub(crate) fn new(receipt: Arc<dyn Receipt>) -> Self {
        Self {
            receipt,
            is_over: AtomicBool::new(false),
        }
    }

    /// Whether it may be handled now, which is never asked a second time after that was so.
    pub(crate) async fn begin(&self) -> bool {
        let begins = isolated_future(RECEIPT, self.receipt.begin()).await;
        let begins = begins.unwrap_or(false);
        self.is_over.store(begins, Ordering::Relaxed);
        begins
    }

    /// It is not handled, and does not come again.
    pub(crate) fn give_up(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Whether its letter comes again that is given up, where its recipient leaves this host
    /// or for another reason.
    pub(crate) fn comes_again(&self, leaves: bool) -> bool {
        let is_over = self.is_over.load(Ordering::Relaxed);
        let always = || isolated(RECEIPT, || self.receipt.always_comes_again());
        !is_over && (leaves || always().unwrap_or(false))
    }

    pub(crate) fn bury(&self, cause: &'static str, reason: &str) {
        self.give_up();
        isolated(RECEIPT, || self.receipt.bury(cause, reason));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let is_over = self.is_over.load(Ordering::Relaxed);
        isolated(RECEIPT, || match is_over {
            true => self.receipt.end(),
            false => self.receipt.put_back(),
        });
    }
}
