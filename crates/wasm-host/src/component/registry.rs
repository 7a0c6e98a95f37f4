//! Who is there: every component of a host, with a task or asleep.

use std::cmp::Reverse;
use std::collections::btree_map::Range;
use std::collections::{BTreeMap, BinaryHeap};
use std::hash::BuildHasher;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, RwLock};

use foldhash::fast::RandomState;

use wasm_core::ComponentId;

use crate::component::dormant::Dormant;
use crate::component::resident::{Assignment, Resident};
use crate::error::HostError;
use crate::limits::BudgetExceeded;
use crate::lock::{read, write};
use crate::post::office::Office;

/// Parts of the registry, each with a lock of its own, so that messages of different
/// components do not wait for the same one.
const SHARDS: usize = 64;

type Begin = Box<dyn Fn(Assignment) + Send + Sync>;

pub(crate) struct Registry {
    shards: Box<[RwLock<Shard>]>,
    /// Only chooses the part, within which ids are in order: whoever picked ids that meet in one
    /// would make that busier and no search longer.
    hasher: RandomState,
    components: AtomicU64,
    office: Arc<Office>,
    /// Begins the task of a component that is woken.
    begin: OnceLock<Begin>,
}

#[derive(Default)]
struct Shard {
    places: BTreeMap<ComponentId, There>,
    /// Nobody falls asleep or wakes any more, and nobody comes.
    is_closed: bool,
}

/// How a component is there.
pub(crate) enum There {
    Awake(Arc<Resident>),
    Asleep(Box<Dormant>),
}

impl Registry {
    pub(crate) fn new(office: &Arc<Office>) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            hasher: RandomState::default(),
            components: AtomicU64::new(0),
            office: Arc::clone(office),
            begin: OnceLock::new(),
        }
    }

    /// What begins the task of a component that is woken, said once.
    pub(crate) fn wake_with(&self, begin: impl Fn(Assignment) + Send + Sync + 'static) {
        // A host says it when it starts, and nobody else does.
        let _ = self.begin.set(Box::new(begin));
    }

    fn shard(&self, id: &ComponentId) -> &RwLock<Shard> {
        let hash = self.hasher.hash_one(id);
        &self.shards[hash as usize % SHARDS]
    }

    /// Takes in a component that gets its task at once, unless one of its id is there.
    pub(crate) fn admit(&self, dormant: Dormant) -> Result<Assignment, HostError> {
        let assignment = Resident::wake(dormant, &self.office);
        let resident = Arc::clone(&assignment.resident);
        self.insert(&assignment.resident.id, There::Awake(resident))?;
        Ok(assignment)
    }

    /// Takes in a component that sleeps, unless one of its id is there.
    pub(crate) fn admit_asleep(&self, dormant: Dormant) -> Result<(), HostError> {
        let id = dormant.id.clone();
        self.insert(&id, There::Asleep(Box::new(dormant)))
    }

    fn insert(&self, id: &ComponentId, place: There) -> Result<(), HostError> {
        let mut shard = write(self.shard(id));
        // Looked at under the lock: whoever stops sees what came before.
        if shard.is_closed || self.office.is_stopping() {
            return Err(HostError::Stopped);
        }
        if shard.places.contains_key(id) {
            return Err(HostError::AlreadyLoaded(id.clone()));
        }
        let limit = self.office.limits.registered;
        let one_more = |there: u64| (there < limit).then_some(there + 1);
        let counted = self
            .components
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        if counted.is_err() {
            return Err(HostError::Budget {
                component: id.clone(),
                source: BudgetExceeded::Registered { limit },
            });
        }
        shard.places.insert(id.clone(), place);
        Ok(())
    }

    pub(crate) fn contains(&self, id: &ComponentId) -> bool {
        read(self.shard(id)).places.contains_key(id)
    }

    /// One that has a task.
    pub(crate) fn resident(&self, id: &ComponentId) -> Option<Arc<Resident>> {
        match read(self.shard(id)).places.get(id)? {
            There::Awake(resident) => Some(Arc::clone(resident)),
            There::Asleep(_) => None,
        }
    }

    /// What `look` sees of a component.
    pub(crate) fn with<T>(&self, id: &ComponentId, look: impl FnOnce(&There) -> T) -> Option<T> {
        read(self.shard(id)).places.get(id).map(look)
    }

    /// Changes a component that sleeps, or gives the one that is awake.
    pub(crate) fn change<T>(
        &self,
        id: &ComponentId,
        change: impl FnOnce(&mut Dormant) -> T,
    ) -> Option<Result<T, Arc<Resident>>> {
        match write(self.shard(id)).places.get_mut(id)? {
            There::Awake(resident) => Some(Err(Arc::clone(resident))),
            There::Asleep(dormant) => Some(Ok(change(dormant))),
        }
    }

    /// A component with a task, which it gets if it sleeps, once what is returned is dropped:
    /// whoever rouses it gives it something to do first. It has no instance yet then, and
    /// sleeps again if there is nothing for it to do.
    pub(crate) fn rouse(&self, id: &ComponentId) -> Option<Roused<'_>> {
        let awake = |resident| Roused {
            resident,
            assignment: None,
            registry: self,
        };
        if let Some(resident) = self.resident(id) {
            return Some(awake(resident));
        }
        let assignment = {
            let mut shard = write(self.shard(id));
            let dormant = match shard.places.remove(id)? {
                There::Asleep(dormant) => *dormant,
                There::Awake(resident) => {
                    let place = There::Awake(Arc::clone(&resident));
                    shard.places.insert(id.clone(), place);
                    return Some(awake(resident));
                }
            };
            let assignment = Resident::wake(dormant, &self.office);
            let place = There::Awake(Arc::clone(&assignment.resident));
            shard.places.insert(id.clone(), place);
            assignment
        };
        Some(Roused {
            resident: Arc::clone(&assignment.resident),
            assignment: Some(assignment),
            registry: self,
        })
    }

    /// Puts a component to sleep whose task is about to end; whether it could be.
    pub(crate) fn put_to_sleep(&self, resident: &Arc<Resident>, dormant: Dormant) -> bool {
        let mut shard = write(self.shard(&resident.id));
        if shard.is_closed {
            return false;
        }
        let Some(place) = shard.places.get_mut(&resident.id) else {
            return false;
        };
        if !is_place_of(place, resident) || !resident.retire() {
            return false;
        }
        *place = There::Asleep(Box::new(dormant));
        true
    }

    /// Unless another has taken its place.
    pub(crate) fn remove(&self, resident: &Arc<Resident>) {
        let mut shard = write(self.shard(&resident.id));
        let place = shard.places.get(&resident.id);
        if place.is_some_and(|place| is_place_of(place, resident)) {
            shard.places.remove(&resident.id);
            self.components.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Takes a component out that sleeps, or gives the one that is awake.
    pub(crate) fn remove_asleep(&self, id: &ComponentId) -> Option<Result<(), Arc<Resident>>> {
        let mut shard = write(self.shard(id));
        if let There::Awake(resident) = shard.places.get(id)? {
            return Some(Err(Arc::clone(resident)));
        }
        shard.places.remove(id);
        self.components.fetch_sub(1, Ordering::AcqRel);
        Some(Ok(()))
    }

    /// From now on nobody comes, wakes or falls asleep; takes out all that sleep.
    pub(crate) fn close(&self) -> Vec<ComponentId> {
        let mut asleep = Vec::new();
        for shard in &self.shards {
            let mut shard = write(shard);
            shard.is_closed = true;
            shard.places.retain(|id, place| match place {
                There::Awake(_) => true,
                There::Asleep(_) => {
                    asleep.push(id.clone());
                    false
                }
            });
        }
        asleep
    }

    /// Nobody is taken in any more.
    pub(crate) fn stop(&self) {
        for shard in &self.shards {
            let _no_admission = write(shard);
            self.office.begin_stop();
        }
    }

    /// Every component with a task.
    pub(crate) fn residents(&self) -> Vec<Arc<Resident>> {
        let mut residents = Vec::new();
        for shard in &self.shards {
            for place in read(shard).places.values() {
                if let There::Awake(resident) = place {
                    residents.push(Arc::clone(resident));
                }
            }
        }
        residents
    }

    /// Up to so many ids after this one, in order.
    pub(crate) fn list(&self, after: Option<&ComponentId>, limit: usize) -> Vec<ComponentId> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let shards: Vec<_> = self.shards.iter().map(read).collect();
        let mut parts: Vec<_> = shards
            .iter()
            .map(|shard| {
                shard
                    .places
                    .range::<ComponentId, _>((after, Bound::Unbounded))
            })
            .collect();
        let mut firsts: BinaryHeap<_> = parts.iter_mut().enumerate().filter_map(first).collect();
        let mut listed = Vec::new();
        while listed.len() < limit
            && let Some(Reverse((id, part))) = firsts.pop()
        {
            listed.push(id.clone());
            firsts.extend(first((part, &mut parts[part])));
        }
        listed
    }
}

/// A component that is awake, or will be when this is dropped.
pub(crate) struct Roused<'a> {
    pub(crate) resident: Arc<Resident>,
    assignment: Option<Assignment>,
    registry: &'a Registry,
}

impl Drop for Roused<'_> {
    fn drop(&mut self) {
        // Without `begin`, no host has started yet, and there is nobody to wake.
        if let Some((assignment, begin)) = self.assignment.take().zip(self.registry.begin.get()) {
            begin(assignment);
        }
    }
}

/// A part of the registry, in order.
type Ids<'a> = Range<'a, ComponentId, There>;

/// The first of a part that is not listed yet, with the part; the smallest id comes first.
fn first<'a>((part, ids): (usize, &mut Ids<'a>)) -> Option<Reverse<(&'a ComponentId, usize)>> {
    Some(Reverse((ids.next()?.0, part)))
}

fn is_place_of(place: &There, resident: &Arc<Resident>) -> bool {
    matches!(place, There::Awake(there) if Arc::ptr_eq(there, resident))
}
