//! Denials of a component, of which not all are told.

use std::mem;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use wasm_core::Capability;

use crate::lock::lock;

/// Different denials told of a component within a second: enough to see what it is
/// about, too few to drive other events out of their readers' sight.
const DENIALS_PER_SECOND: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct Denials {
    second: Mutex<Second>,
    /// Whether one has begun: asked for each message, of components most of which are denied
    /// nothing. It is changed under the lock.
    has_begun: AtomicBool,
}

#[derive(Debug, Default)]
struct Second {
    /// When it ends; `None` before the first denial.
    until: Option<Instant>,
    told: Vec<Capability>,
    left_out: u64,
}

impl Denials {
    /// Whether to tell of this denial: once in a second, and not of too many. The others
    /// are counted, and told of when the second is over.
    pub(crate) fn add(&self, capability: &Capability) -> bool {
        let mut second = lock(&self.second);
        let until = Instant::now() + Duration::from_secs(1);
        second.until.get_or_insert(until);
        self.has_begun.store(true, Ordering::Release);
        let is_told = second.told.contains(capability);
        if is_told || second.told.len() == DENIALS_PER_SECOND {
            second.left_out += 1;
            return false;
        }
        second.told.push(capability.clone());
        true
    }

    /// When the second is over.
    pub(crate) fn due(&self) -> Option<Instant> {
        let has_begun = self.has_begun.load(Ordering::Acquire);
        has_begun.then(|| lock(&self.second).until)?
    }

    /// How many were left out; the next second begins with the next denial.
    pub(crate) fn take(&self) -> u64 {
        let mut second = lock(&self.second);
        self.has_begun.store(false, Ordering::Release);
        mem::take(&mut *second).left_out
    }
}
