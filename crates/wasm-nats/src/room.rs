//! How much of what waits in the stream a node has in memory.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Kibibytes of messages that wait at a node; what is more stays in the stream until its turn.
const WAITING_KIB: usize = 64 << 10;

/// Messages that are fetched at their turn at a time.
const FETCHED: usize = 16;

/// The room of a node.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    waiting: Arc<Semaphore>,
    fetched: Arc<Semaphore>,
}

/// Is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place(#[expect(dead_code, reason = "it is dropped")] OwnedSemaphorePermit);

impl Default for Room {
    fn default() -> Self {
        Self {
            waiting: Arc::new(Semaphore::new(WAITING_KIB)),
            fetched: Arc::new(Semaphore::new(FETCHED)),
        }
    }
}

impl Room {
    /// For a message that waits, if there is room.
    pub(crate) fn take(&self, bytes: usize) -> Option<Place> {
        let kib = u32::try_from(bytes.div_ceil(1 << 10).max(1)).ok()?;
        let taken = Arc::clone(&self.waiting).try_acquire_many_owned(kib);
        taken.ok().map(Place)
    }

    /// For a message whose turn has come.
    pub(crate) async fn fetch(&self) -> Option<Place> {
        // It is never closed.
        let taken = Arc::clone(&self.fetched).acquire_owned().await;
        taken.ok().map(Place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_waits_elsewhere() {
        let room = Room::default();
        let half = (WAITING_KIB << 10) / 2;
        let left = || room.waiting.available_permits() << 10;
        let (first, second) = (room.take(half), room.take(half));
        assert_eq!(left(), 0);
        assert!(room.take(0).is_none());
        drop(first);
        assert_eq!(left(), half);
        assert!(room.take(half + 1).is_none());
        let third = room.take(half);
        assert_eq!(left(), 0);
        drop((second, third));
        assert_eq!(left(), 2 * half);
    }
}
