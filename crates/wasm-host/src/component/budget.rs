//! What is given to the components that have an instance.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use wasm_core::KeptMemory;

use crate::limits::{BudgetExceeded, HostLimits};
use crate::lock::lock;

#[derive(Debug)]
pub(crate) struct Budget {
    components: u64,
    memory_bytes: u64,
    kept_bytes: u64,
    used: Mutex<Used>,
    /// Something was given back.
    freed: Notify,
    /// How many wait for room.
    waiting: AtomicUsize,
}

#[derive(Debug, Default)]
struct Used {
    components: u64,
    memory_bytes: u64,
    kept_bytes: u64,
    /// How many share what is kept, by its number.
    sharers: HashMap<u64, u64>,
}

impl Used {
    /// What is kept that nobody has been charged for yet.
    fn uncharged(&self, kept: KeptMemory) -> u64 {
        match self.sharers.contains_key(&kept.shared_as) {
            true => 0,
            false => kept.bytes,
        }
    }

    fn charge(&mut self, kept: KeptMemory) {
        self.kept_bytes += self.uncharged(kept);
        if kept.shared_as != 0 {
            *self.sharers.entry(kept.shared_as).or_default() += 1;
        }
    }

    fn give_back(&mut self, kept: KeptMemory) {
        if let Some(sharers) = self.sharers.get_mut(&kept.shared_as) {
            *sharers -= 1;
            if *sharers > 0 {
                return;
            }
            self.sharers.remove(&kept.shared_as);
        }
        self.kept_bytes -= kept.bytes;
    }
}

/// The share of one instance, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    memory_bytes: u64,
    kept: Option<KeptShare>,
}

/// What the engine keeps for one component or for what is prepared of it, given back when
/// this is dropped.
#[derive(Debug)]
pub(crate) struct KeptShare {
    budget: Arc<Budget>,
    kept: KeptMemory,
}

impl Budget {
    pub(crate) fn new(limits: &HostLimits) -> Arc<Self> {
        Arc::new(Self {
            components: limits.components,
            memory_bytes: limits.memory_bytes,
            kept_bytes: limits.kept_bytes,
            used: Mutex::default(),
            freed: Notify::new(),
            waiting: AtomicUsize::new(0),
        })
    }

    pub(crate) fn reserve(
        self: &Arc<Self>,
        memory_bytes: u64,
    ) -> Result<Reservation, BudgetExceeded> {
        let mut used = lock(&self.used);
        if used.components >= self.components {
            let limit = self.components;
            return Err(BudgetExceeded::Components { limit });
        }
        used.memory_bytes = self.with_memory(used.memory_bytes, memory_bytes)?;
        used.components += 1;
        Ok(Reservation {
            budget: Arc::clone(self),
            memory_bytes,
            kept: None,
        })
    }

    /// Whether there could be room for it, if nobody else was there.
    pub(crate) fn has_so_much(&self, memory_bytes: u64) -> Result<(), BudgetExceeded> {
        self.with_memory(0, memory_bytes).map(drop)
    }

    /// [`reserve`](Self::reserve) once there is room, which `make_room` asks others for. May be
    /// cancelled by dropping the future.
    pub(crate) async fn room(
        self: &Arc<Self>,
        memory_bytes: u64,
        make_room: impl Fn(),
    ) -> Reservation {
        let _waiting = Waiting::new(&self.waiting);
        loop {
            let mut freed = pin!(self.freed.notified());
            freed.as_mut().enable();
            if let Ok(reservation) = self.reserve(memory_bytes) {
                // What was given back may be enough for another.
                self.freed.notify_one();
                return reservation;
            }
            make_room();
            freed.await;
        }
    }

    /// How many reservations there are.
    pub(crate) fn components(&self) -> u64 {
        lock(&self.used).components
    }

    /// Whether somebody waits for room.
    pub(crate) fn is_short(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Something was given back, for which somebody may wait.
    fn tell_freed(&self) {
        if self.is_short() {
            self.freed.notify_one();
        }
    }

    /// Charges what the engine keeps.
    pub(crate) fn keep(self: &Arc<Self>, kept: KeptMemory) -> Result<KeptShare, BudgetExceeded> {
        let mut used = lock(&self.used);
        let (requested, in_use) = (used.uncharged(kept), used.kept_bytes);
        let limit = self.kept_bytes;
        if requested > limit.saturating_sub(in_use) {
            return Err(BudgetExceeded::Kept {
                requested,
                in_use,
                limit,
            });
        }
        used.charge(kept);
        Ok(KeptShare {
            budget: Arc::clone(self),
            kept,
        })
    }

    fn with_memory(&self, in_use: u64, requested: u64) -> Result<u64, BudgetExceeded> {
        let limit = self.memory_bytes;
        if requested > limit.saturating_sub(in_use) {
            return Err(BudgetExceeded::Memory {
                requested,
                in_use,
                limit,
            });
        }
        Ok(in_use + requested)
    }
}

/// Counts one who waits for as long as it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Reservation {
    /// The same share with another memory; on an error it is as it was.
    pub(crate) fn resize(&mut self, memory_bytes: u64) -> Result<(), BudgetExceeded> {
        let mut used = lock(&self.budget.used);
        let in_use = used.memory_bytes - self.memory_bytes;
        used.memory_bytes = self.budget.with_memory(in_use, memory_bytes)?;
        let is_less = memory_bytes < self.memory_bytes;
        self.memory_bytes = memory_bytes;
        drop(used);
        if is_less {
            self.budget.tell_freed();
        }
        Ok(())
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// The engine keeps nothing for the component any more.
    pub(crate) fn keep_nothing(&mut self) {
        self.kept = None;
    }

    /// Adds what the engine keeps for the component, which is known once it is loaded; on an
    /// error it is as it was.
    pub(crate) fn keep(&mut self, kept: KeptMemory) -> Result<(), BudgetExceeded> {
        self.kept = Some(self.budget.keep(kept)?);
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        {
            let mut used = lock(&self.budget.used);
            used.components -= 1;
            used.memory_bytes -= self.memory_bytes;
        }
        self.budget.tell_freed();
    }
}

impl Drop for KeptShare {
    fn drop(&mut self) {
        lock(&self.budget.used).give_back(self.kept);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[test]
    fn a_budget_is_given_out_once_and_taken_back() {
        let limits = HostLimits::default()
            .with_components(2)
            .with_memory_bytes(3 << 20);
        let budget = Budget::new(&limits);
        let first = budget.reserve(2 << 20).unwrap();
        let error = budget.reserve(2 << 20).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a memory limit of 2MiB does not fit: 2MiB of 3MiB are given to the components that \
             are loaded (`memory_bytes` in HostLimits, `--max-memory`)"
        );
        let second = budget.reserve(1 << 20).unwrap();
        let error = budget.reserve(0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "2 components are loaded, as many as this host may have (`components` in HostLimits, \
             `--max-components`)"
        );
        drop(first);
        let third = budget.reserve(2 << 20).unwrap();
        drop((second, third));
        assert_eq!(lock(&budget.used).components, 0);
        assert_eq!(lock(&budget.used).memory_bytes, 0);
    }

    #[tokio::test]
    async fn whoever_waits_asks_others_each_time_and_hears_of_smaller_shares() {
        let budget = Budget::new(&HostLimits::default().with_memory_bytes(4));
        let mut given = budget.reserve(4).unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let waiting = {
            let (budget, asked) = (Arc::clone(&budget), Arc::clone(&asked));
            let make_room = move || {
                assert!(budget.is_short(), "whoever asks counts as one who waits");
                asked.fetch_add(1, Ordering::Relaxed);
            };
            let budget = Arc::clone(&given.budget);
            tokio::spawn(async move { budget.room(2, make_room).await.memory_bytes() })
        };
        for (memory_bytes, expected) in [(4, 1), (3, 2)] {
            given.resize(memory_bytes).unwrap();
            tokio::task::yield_now().await;
            assert_eq!(asked.load(Ordering::Relaxed), expected);
            assert!(!waiting.is_finished());
        }
        given.resize(2).unwrap();
        let found = timeout(Duration::from_secs(10), waiting).await;
        assert_eq!(found.unwrap().unwrap(), 2);
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn what_is_kept_is_charged_once_for_all_that_share_it() {
        let limits = HostLimits::default().with_kept_bytes(70);
        let budget = Budget::new(&limits);
        let kept = |bytes, shared_as| KeptMemory { bytes, shared_as };
        let in_use = || lock(&budget.used).kept_bytes;
        let mut first = budget.reserve(10).unwrap();
        let mut second = budget.reserve(10).unwrap();
        first.keep(kept(30, 7)).unwrap();
        second.keep(kept(30, 7)).unwrap();
        assert_eq!(in_use(), 30);
        let mut third = budget.reserve(10).unwrap();
        let error = third.keep(kept(41, 8)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the 41B that are kept for its code and types do not fit: 30B of 70B are kept for \
             the components that are loaded (`kept_bytes` in HostLimits, `--max-kept`)"
        );
        third.keep(kept(20, 0)).unwrap();
        let mut fourth = budget.reserve(0).unwrap();
        fourth.keep(kept(20, 0)).unwrap();
        assert_eq!(in_use(), 70, "what has no number is not shared");
        drop((first, third, fourth));
        assert_eq!(in_use(), 30, "the second one still has it");
        drop(second);
        assert_eq!(in_use(), 0);
    }

    #[tokio::test]
    async fn whoever_waits_for_room_gets_it_when_it_is_given_back() {
        let budget = Budget::new(&HostLimits::default().with_components(2));
        let given = [budget.reserve(1), budget.reserve(1)].map(Result::unwrap);
        assert!(!budget.is_short());
        let waiting = [1, 2].map(|memory_bytes| {
            let budget = Arc::clone(&budget);
            tokio::spawn(async move { budget.room(memory_bytes, || {}).await })
        });
        tokio::task::yield_now().await;
        assert!(budget.is_short());
        drop(given);
        for waiting in waiting {
            waiting.await.unwrap();
        }
        assert!(!budget.is_short());
        assert_eq!(lock(&budget.used).components, 0);
    }
}
