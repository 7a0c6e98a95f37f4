//! When a store that failed is tried again, and what it answers until then.

use std::time::{Duration, Instant};

use wasm_core::StorageError;

/// What failed. Writes that succeed say nothing of reads: they may be of other pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    Reading,
    Writing,
}

/// After a file was opened again it is left alone for so long, and each time that comes before
/// a write has succeeded for twice as long: opening may mean to read all of it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// But not for longer: whoever has made room waits no longer than this.
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// The file is opened again at once after the first failure, so that a disk that is full can
/// be read; not again before the pause is over, and as long as writes are what failed, none
/// is tried before.
#[derive(Debug)]
pub(super) struct Retry {
    /// Since a write has succeeded.
    failure: Option<(Work, StorageError)>,
    /// When the pause is over.
    next: Option<Instant>,
    pause: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            failure: None,
            next: None,
            pause: FIRST_PAUSE,
        }
    }
}

impl Retry {
    pub(super) fn failed(&mut self, what: Work, error: StorageError) {
        // A read that fails is no reason to try a write.
        let writes_fail = matches!(self.failure, Some((Work::Writing, _)));
        if what == Work::Writing || !writes_fail {
            self.failure = Some((what, error));
        }
    }

    /// A write is on the disk.
    pub(super) fn succeeded(&mut self) {
        self.failure = None;
        self.pause = FIRST_PAUSE;
    }

    /// The file was opened again, or could not be.
    pub(super) fn opened(&mut self, now: Instant) {
        self.next = Some(now + self.pause);
        self.pause = (self.pause * 2).min(LAST_PAUSE);
    }

    /// What made the store fail.
    pub(super) fn failure(&self) -> Option<StorageError> {
        self.failure.as_ref().map(|(_, error)| error.clone())
    }

    /// Why the file is not opened again now.
    pub(super) fn refuses_to_open(&self, now: Instant) -> Option<StorageError> {
        self.failure().filter(|_| self.is_pausing(now))
    }

    /// Why nothing is written now.
    pub(super) fn refuses_to_write(&self, now: Instant) -> Option<StorageError> {
        match &self.failure {
            Some((Work::Writing, error)) if self.is_pausing(now) => Some(error.clone()),
            _ => None,
        }
    }

    fn is_pausing(&self, now: Instant) -> bool {
        self.next.is_some_and(|next| now < next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> StorageError {
        StorageError::Io(text.to_owned())
    }

    #[test]
    fn pauses_double_up_to_half_a_minute_and_begin_anew_after_a_write() {
        let mut now = Instant::now();
        let mut retry = Retry::default();
        for _ in 0..2 {
            retry.failed(Work::Writing, error("full"));
            assert_eq!(retry.refuses_to_open(now), None, "the first is at once");
            for seconds in [1, 2, 4, 8, 16, 30, 30] {
                retry.opened(now);
                now += Duration::from_secs(seconds);
                let before = now - Duration::from_millis(1);
                assert_eq!(retry.refuses_to_open(before), Some(error("full")));
                assert_eq!(retry.refuses_to_open(now), None, "after {seconds} s");
            }
            retry.succeeded();
        }
    }

    #[test]
    fn writes_wait_only_for_writes() {
        let now = Instant::now();
        let mut retry = Retry::default();
        retry.failed(Work::Reading, error("unreadable"));
        retry.opened(now);
        assert_eq!(retry.refuses_to_write(now), None);
        assert_eq!(retry.refuses_to_open(now), Some(error("unreadable")));
        retry.failed(Work::Writing, error("full"));
        retry.failed(Work::Reading, error("unreadable"));
        assert_eq!(retry.refuses_to_write(now), Some(error("full")));
        retry.succeeded();
        assert_eq!(retry.refuses_to_write(now), None);
    }
}
