//! Components that have an instance and may be without one, when others need the room.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::time::Instant;

use crate::component::resident::Resident;
use crate::lock::lock;

/// Of those that have nothing to do, one of so many is put to sleep when there is no room: a
/// few at a time, so that not everyone who needs room has to look at all.
const PART: usize = 16;

#[derive(Debug)]
pub(crate) struct Sleepers {
    began: Instant,
    /// By the number of the instance.
    awake: Mutex<HashMap<u64, Arc<Resident>>>,
}

impl Sleepers {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            awake: Mutex::default(),
        }
    }

    pub(crate) fn add(&self, resident: &Arc<Resident>, incarnation: u64) {
        lock(&self.awake).insert(incarnation, Arc::clone(resident));
    }

    pub(crate) fn remove(&self, incarnation: u64) {
        lock(&self.awake).remove(&incarnation);
    }

    /// This one has had nothing to do since this moment.
    pub(crate) fn begin_idling(&self, resident: &Resident, since: Instant) {
        let millis = (since - self.began).as_millis();
        let millis = u64::try_from(millis).unwrap_or(u64::MAX - 1);
        resident.drowsy.begin(millis);
    }

    /// Wakes the tasks of those that have had nothing to do for the longest time, which sleep
    /// if there still is no room.
    pub(crate) fn make_room(&self) {
        let mut idle: Vec<_> = {
            let awake = lock(&self.awake);
            let since = |resident: &Arc<Resident>| {
                let since = resident.drowsy.since()?;
                Some((since, Arc::clone(resident)))
            };
            awake.values().filter_map(since).collect()
        };
        idle.sort_unstable_by_key(|(since, _)| *since);
        for (_, resident) in idle.iter().take(idle.len().div_ceil(PART)) {
            // Whoever needs room next looks for others.
            resident.drowsy.end();
            resident.mailbox.ring();
        }
    }
}
