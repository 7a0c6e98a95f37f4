//! What wakes the task of a component.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;

/// A bell that any number may ring and one task hears. Rung several times before that listens, it
/// has rung once.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    has_rung: AtomicBool,
    listener: AtomicWaker,
}

impl Bell {
    /// Wakes the task, unless somebody is about to who rang before and was not heard yet.
    pub(crate) fn ring(&self) {
        if !self.has_rung.swap(true, Ordering::AcqRel) {
            self.listener.wake();
        }
    }

    /// Ends when the bell rings, or has rung since this ended the last time. May be cancelled by
    /// dropping the future.
    pub(crate) async fn rung(&self) {
        poll_fn(|cx| self.poll_rung(cx)).await;
    }

    fn poll_rung(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.hear() {
            return Poll::Ready(());
        }
        self.listener.register(cx.waker());
        // Whoever rang meanwhile may have found nobody to wake.
        match self.hear() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    fn hear(&self) -> bool {
        self.has_rung.load(Ordering::Acquire) && self.has_rung.swap(false, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    use tokio::runtime::Builder;

    use super::*;
    use crate::component::poll::now_or_never;

    #[tokio::test]
    async fn however_often_it_is_rung_it_is_heard_once() {
        let bell = Bell::default();
        let hears = async || now_or_never(std::pin::pin!(bell.rung())).await.is_some();
        assert!(!hears().await);
        bell.ring();
        bell.ring();
        assert!(hears().await);
        assert!(!hears().await);
    }

    /// What is put down before the bell is rung is found by who hears it, however the two meet.
    #[test]
    fn nobody_rings_in_vain() {
        const ROUNDS: usize = 50_000;
        let (bell, given) = (Arc::new(Bell::default()), Arc::new(AtomicUsize::new(0)));
        let ringing = [(); 2].map(|()| {
            let (bell, given) = (Arc::clone(&bell), Arc::clone(&given));
            thread::spawn(move || {
                for _ in 0..ROUNDS {
                    given.fetch_add(1, Ordering::Relaxed);
                    bell.ring();
                }
            })
        });
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            while given.load(Ordering::Relaxed) < 2 * ROUNDS {
                bell.rung().await;
            }
        });
        for thread in ringing {
            thread.join().unwrap();
        }
    }
}
