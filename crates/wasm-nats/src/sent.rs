//! What this node has sent to components and has not come back to it yet: as long as there is
//! something, what it sends to a component of its own must not overtake that.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use wasm_core::ComponentId;

#[derive(Debug, Default)]
pub(crate) struct Sent {
    to: Mutex<HashMap<ComponentId, OnItsWay>>,
    /// With how many recipients it is tidied next.
    tidied_at: AtomicUsize,
}

#[derive(Debug, Default)]
struct OnItsWay {
    /// Not stored yet, or not known to be.
    leaving: usize,
    /// The place of the last that was stored.
    last: u64,
}

/// Recipients of which something is remembered, after which what has arrived is forgotten.
const REMEMBERED: usize = 4_096;

impl Sent {
    fn to(&self) -> MutexGuard<'_, HashMap<ComponentId, OnItsWay>> {
        self.to.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is about to be stored; what becomes of it is told to what is returned.
    pub(crate) fn leave(&self, to: &ComponentId) -> Leaving<'_> {
        self.to().entry(to.clone()).or_default().leaving += 1;
        Leaving {
            sent: self,
            to: to.clone(),
            stored: 0,
        }
    }

    /// Whether all that was sent to this recipient has arrived, if what is stored has up to a
    /// place of its partition.
    pub(crate) fn has_arrived(&self, to: &ComponentId, arrived: impl FnOnce() -> u64) -> bool {
        let mut all = self.to();
        let Some(on_its_way) = all.get(to) else {
            return true;
        };
        let has_arrived = on_its_way.leaving == 0 && on_its_way.last <= arrived();
        if has_arrived {
            all.remove(to);
        }
        has_arrived
    }

    /// Forgets what has arrived for sure, or is too long ago to be overtaken.
    fn tidy(&self, oldest: u64) {
        let mut all = self.to();
        if all.len() <= self.tidied_at.load(Ordering::Relaxed).max(REMEMBERED) {
            return;
        }
        all.retain(|_, it| it.leaving > 0 || it.last > oldest);
        // Not again at each that comes to many that stay.
        self.tidied_at.store(2 * all.len(), Ordering::Relaxed);
    }
}

pub(crate) struct Leaving<'a> {
    sent: &'a Sent,
    to: ComponentId,
    stored: u64,
}

impl Leaving<'_> {
    /// It is stored at this place.
    pub(crate) fn stored(mut self, place: u64) {
        self.stored = place;
        // The place is one of all partitions: so far behind, all of one node have arrived.
        self.sent.tidy(place.saturating_sub(1 << 20));
    }
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let mut all = self.sent.to();
        if let Some(it) = all.get_mut(&self.to) {
            it.leaving -= 1;
            it.last = it.last.max(self.stored);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_overtakes_what_is_on_its_way() {
        let (sent, to) = (Sent::default(), "a/b/c".parse().unwrap());
        assert!(sent.has_arrived(&to, || 0));
        let (first, second) = (sent.leave(&to), sent.leave(&to));
        assert!(!sent.has_arrived(&to, || u64::MAX));
        first.stored(7);
        assert!(!sent.has_arrived(&to, || u64::MAX));
        drop(second);
        assert!(!sent.has_arrived(&to, || 6));
        assert!(sent.has_arrived(&to, || 7));
        assert!(sent.has_arrived(&to, || 0));
    }
}
