//! A component that has a task, as everyone but that task sees it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use wasm_core::{
    Capability, CapabilityDenied, ComponentHandle, ComponentId, ComponentState, ComponentUsage,
    HealthStatus, Permissions, WasmError,
};

use crate::component::denials::Denials;
use crate::component::dormant::{Counts, Dormant};
use crate::component::orders::{Command, Leaving, Orders};
use crate::component::port::Port;
use crate::component::recipe::Recipe;
use crate::component::restarts::Restarts;
use crate::component::status::{Phase, summed};
use crate::component::swap::Swaps;
use crate::error::HostError;
use crate::lock::lock;
use crate::post::mailbox::Mailbox;
use crate::post::office::Office;
use crate::watch::metrics::Meters;

/// What a task begins with.
#[derive(Debug)]
pub(crate) struct Assignment {
    pub(crate) resident: Arc<Resident>,
    pub(crate) recipe: Arc<Recipe>,
    pub(crate) restarts: Restarts,
}

pub(crate) struct Resident {
    pub(crate) id: ComponentId,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) orders: Orders,
    pub(crate) swaps: Swaps,
    pub(crate) denials: Denials,
    /// Whether it is to sleep if it has nothing to do.
    pub(crate) drowsy: Drowsiness,
    pub(crate) progress: Progress,
    office: Arc<Office>,
    meters: OnceLock<Meters>,
    instances: Mutex<Instances>,
    record: Mutex<Record>,
}

/// The instances of a component.
#[derive(Debug)]
struct Instances {
    serving: Option<Arc<Port>>,
    /// Being made.
    starting: Option<Arc<Port>>,
    /// The engine's number of the latest one that served; it is none of a new one.
    former: Option<u64>,
    /// What the component was loaded with.
    loaded_with: Arc<Permissions>,
    in_force: Arc<Permissions>,
    /// How often permissions were replaced.
    permissions_set: u64,
}

/// Since when a component that may sleep has had nothing to do.
#[derive(Debug, Default)]
pub(crate) struct Drowsiness(AtomicU64);

/// What is told about the component and changes with each message: written by its task alone,
/// and therefore without a lock.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    handled: AtomicU64,
    is_busy: AtomicBool,
}

/// What is told about the component.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) handle: Option<ComponentHandle>,
    pub(crate) phase: Phase,
    pub(crate) version: Option<String>,
    pub(crate) health: HealthStatus,
    pub(crate) counts: Counts,
    /// By the instances that were there before the one of `handle`.
    pub(crate) used: Option<Box<ComponentUsage>>,
    /// Of the latest failure.
    pub(crate) cause: Option<Arc<WasmError>>,
}

impl Resident {
    /// What the task of a component begins with that had none.
    pub(crate) fn wake(dormant: Dormant, office: &Arc<Office>) -> Assignment {
        let permissions = dormant.permissions();
        let recipe = dormant.recipe;
        let mailbox = Mailbox::new(recipe.supervision.mailbox, office.limits.mailbox_bytes);
        let resident = Self {
            id: dormant.id,
            mailbox: Arc::new(mailbox),
            orders: Orders::new(),
            swaps: Swaps::default(),
            denials: Denials::default(),
            drowsy: Drowsiness::default(),
            progress: Progress {
                handled: AtomicU64::new(dormant.counts.handled),
                is_busy: AtomicBool::new(false),
            },
            office: Arc::clone(office),
            meters: OnceLock::new(),
            instances: Mutex::new(Instances {
                serving: None,
                starting: None,
                former: None,
                loaded_with: Arc::clone(&recipe.permissions),
                in_force: permissions,
                permissions_set: 0,
            }),
            record: Mutex::new(Record {
                handle: None,
                phase: Phase::Starting,
                version: recipe.version.clone(),
                health: dormant.health,
                counts: dormant.counts,
                used: dormant.used,
                cause: dormant.cause,
            }),
        };
        Assignment {
            resident: Arc::new(resident),
            recipe,
            restarts: dormant.restarts.map_or_else(Restarts::default, |it| *it),
        }
    }

    /// What is left of it once it sleeps.
    pub(crate) fn dormant(&self, recipe: &Arc<Recipe>, restarts: Restarts) -> Dormant {
        let Record {
            health,
            counts,
            used,
            cause,
            ..
        } = self.record();
        let in_force = self.permissions();
        Dormant {
            id: self.id.clone(),
            permissions: (!Arc::ptr_eq(&in_force, &recipe.permissions)).then_some(in_force),
            recipe: Arc::clone(recipe),
            counts,
            used,
            health,
            cause,
            restarts: restarts.count_some().then(|| Box::new(restarts)),
        }
    }

    /// Tells the task something; whether it will hear of it.
    pub(crate) async fn command(&self, command: Command) -> bool {
        let is_sent = self.orders.command(command).await;
        self.mailbox.ring();
        is_sent
    }

    /// Tells the task to end; whether it will hear of it.
    pub(crate) fn leave(&self, leaving: Leaving) -> bool {
        let is_sent = self.orders.leave(leaving);
        self.mailbox.ring();
        is_sent
    }

    /// Those of a component that never has anything to do are never made.
    pub(crate) fn meters(&self) -> &Meters {
        self.meters.get_or_init(|| Meters::new(&self.id))
    }

    /// From now on, host calls of an instance that does not serve are those of a new
    /// one that is being made. Its number is known if it takes the place of another.
    pub(crate) fn begin_instance(&self, number: Option<u64>) {
        let mut instances = lock(&self.instances);
        let permissions = Arc::clone(&instances.in_force);
        instances.starting = Some(self.port(number, permissions));
    }

    /// The same of a new version, with permissions of its own, up to those that have been set
    /// since they had been set so often.
    pub(crate) fn begin_version(&self, recipe: &Recipe, permissions_set: u64) {
        let mut instances = lock(&self.instances);
        let loaded_with = Arc::clone(&recipe.permissions);
        let permissions = match instances.permissions_set == permissions_set {
            true => loaded_with,
            false => {
                let set = Permissions::clone(&instances.in_force);
                Arc::new(set.narrowed_to(&loaded_with))
            }
        };
        instances.starting = Some(self.port(None, permissions));
    }

    fn port(&self, number: Option<u64>, permissions: Arc<Permissions>) -> Arc<Port> {
        Port::new(&self.id, number, permissions, &self.mailbox, &self.office)
    }

    /// The instance that was being made did not come to be.
    pub(crate) fn drop_starting(&self) -> Option<Arc<Port>> {
        lock(&self.instances).starting.take()
    }

    /// The instance that was being made serves under this number of the engine, with the
    /// permissions that it has by now.
    pub(crate) fn begin_serving(&self, number: u64, recipe: &Recipe) -> Option<Arc<Port>> {
        let mut instances = lock(&self.instances);
        let port = instances.starting.take()?;
        port.set_number(number);
        instances.former = Some(number);
        instances.loaded_with = Arc::clone(&recipe.permissions);
        instances.in_force = port.permissions();
        instances.serving = Some(Arc::clone(&port));
        Some(port)
    }

    /// There is no instance any more.
    pub(crate) fn drop_serving(&self) -> Option<Arc<Port>> {
        lock(&self.instances).serving.take()
    }

    /// The instance that calls its host under this number of the engine; `None` for one that
    /// is not this host's.
    pub(crate) fn port_of(&self, handle: &ComponentHandle) -> Option<Arc<Port>> {
        let instances = lock(&self.instances);
        let number = handle.handle_id();
        let serving = instances.serving.as_ref();
        if let Some(port) = serving.filter(|port| port.claim(number)) {
            return Some(Arc::clone(port));
        }
        let starting = instances.starting.as_ref()?;
        let may_be = starting.has_number() || instances.former != Some(number);
        (may_be && starting.claim(number)).then(|| Arc::clone(starting))
    }

    /// What the instance that serves was loaded with.
    pub(crate) fn loaded_with(&self) -> Arc<Permissions> {
        Arc::clone(&lock(&self.instances).loaded_with)
    }

    /// Replaces what the component may do, which is never more than it was loaded with. That
    /// holds for an instance that is being made, too.
    pub(crate) fn set_permissions(&self, permissions: Permissions) -> Result<(), HostError> {
        let mut instances = lock(&self.instances);
        HostError::check_narrower(&self.id, &permissions, &instances.loaded_with)?;
        let permissions = Arc::new(permissions.narrowed_to(&instances.loaded_with));
        for port in instances.starting.iter().chain(&instances.serving) {
            port.set_permissions(Arc::clone(&permissions));
        }
        instances.in_force = permissions;
        instances.permissions_set += 1;
        Ok(())
    }

    /// How often they were replaced.
    pub(crate) fn permissions_set(&self) -> u64 {
        lock(&self.instances).permissions_set
    }

    pub(crate) fn permissions(&self) -> Arc<Permissions> {
        Arc::clone(&lock(&self.instances).in_force)
    }

    pub(crate) fn validate(
        &self,
        handle: &ComponentHandle,
        capability: &Capability,
    ) -> Result<(), CapabilityDenied> {
        match self.port_of(handle) {
            Some(port) => port.check(capability),
            None => Err(CapabilityDenied {
                capability: capability.clone(),
                reason: format!("{handle} is not a component of this host"),
            }),
        }
    }

    /// Takes nothing more, so that the component can sleep; whether nothing is there to be
    /// done. The mailbox is closed first: a message or a swap that is refused looks whether it
    /// is asleep, and is tried again then.
    pub(crate) fn retire(&self) -> bool {
        if !self.mailbox.close_if_empty() {
            return false;
        }
        let is_retired = self.swaps.close_if_idle();
        if !is_retired {
            self.mailbox.reopen();
        }
        is_retired
    }

    /// Whether it has an instance.
    pub(crate) fn is_there(&self) -> bool {
        lock(&self.record).handle.is_some()
    }

    pub(crate) fn record(&self) -> Record {
        let mut record = lock(&self.record).clone();
        record.counts.handled = self.progress.handled.load(Ordering::Relaxed);
        if record.phase == Phase::Ready && self.progress.is_busy.load(Ordering::Relaxed) {
            record.phase = Phase::Busy;
        }
        record
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Record)) {
        change(&mut lock(&self.record));
    }
}

impl Record {
    /// The instance is about to end, which has used so much.
    pub(crate) fn end_instance(&mut self, mut usage: ComponentUsage) {
        usage.state = ComponentState::Ready;
        usage.memory_bytes = 0;
        let sum = summed(usage, self.used.as_deref());
        self.used = Some(Box::new(sum));
        self.handle = None;
    }

    /// Another instance took the place of one that the engine does not know any more.
    pub(crate) fn count_restart(&mut self) {
        let none = || Box::new(ComponentUsage::new(ComponentState::Ready));
        self.used.get_or_insert_with(none).restarts += 1;
    }
}

impl Progress {
    /// Whether it handles something right now.
    pub(crate) fn set_busy(&self, is_busy: bool) {
        self.is_busy.store(is_busy, Ordering::Relaxed);
    }

    /// One more message was handled.
    pub(crate) fn count_handled(&self) {
        let handled = self.handled.load(Ordering::Relaxed);
        self.handled.store(handled + 1, Ordering::Relaxed);
    }
}

impl Drowsiness {
    /// It has nothing to do since this moment, in milliseconds from some beginning on.
    pub(crate) fn begin(&self, millis: u64) {
        self.0.store(millis + 1, Ordering::SeqCst);
    }

    /// It has something to do.
    pub(crate) fn end(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Since when; `None` while it has something to do.
    pub(crate) fn since(&self) -> Option<u64> {
        self.0.load(Ordering::SeqCst).checked_sub(1)
    }
}

impl std::fmt::Debug for Resident {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resident")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::runtime::Handle;

    use wasm_core::{ComponentConfig, HostServices, ResourceLimits, SystemClock};
    use wasm_testkit::ModelEngine;

    use super::*;
    use crate::component::Component;
    use crate::component::budget::Budget;
    use crate::component::recipe::Recipes;
    use crate::limits::HostLimits;

    #[tokio::test]
    async fn what_is_to_be_swapped_does_not_sleep() {
        let limits = ResourceLimits::new(1 << 20, Duration::from_secs(1), None).unwrap();
        let id = ComponentId::new("demo", "a", "main").unwrap();
        let limits_of_host = HostLimits::default();
        let budget = Budget::new(&limits_of_host);
        let office = Arc::new(Office::new(
            id.clone(),
            limits_of_host,
            Arc::new(SystemClock),
        ));
        let component = Component::new(id, "", ComponentConfig::new(limits));
        let (id, recipe) = Recipes::default().share(component);
        let dormant = Dormant::new(id.clone(), Arc::clone(&recipe));
        let resident = Resident::wake(dormant, &office).resident;
        let engine = Arc::new(ModelEngine::new(HostServices::default()));
        let swap = resident
            .swaps
            .begin(&id, &recipe, 0, &budget, engine, &Handle::current());
        let _swapped = swap.unwrap();
        assert!(!resident.retire() && !resident.mailbox.is_asleep());
        drop(resident.swaps.prepared(&id).await);
        assert!(resident.retire() && resident.mailbox.is_asleep());
    }
}
