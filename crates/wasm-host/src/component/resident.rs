//! A component of a host, as everyone but its delivery task sees it.

use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tracing::Span;

use wasm_core::{
    Capability, CapabilityDenied, ComponentHandle, ComponentId, HealthStatus, Permissions,
    Supervision, WasmError,
};

use crate::component::Component;
use crate::component::status::Phase;
use crate::component::swap::Swaps;
use crate::error::HostError;
use crate::limits::HostLimits;
use crate::lock::{lock, read, write};
use crate::post::mailbox::Mailbox;
use crate::watch::metrics::Meters;

/// What a delivery task is told between two messages. One that nobody waits for any more
/// when its turn comes is not done.
#[derive(Debug)]
pub(crate) enum Command {
    Restart(oneshot::Sender<Result<(), HostError>>),
    Health(oneshot::Sender<Result<HealthStatus, HostError>>),
}

/// What ends a delivery task, before all commands that still wait.
#[derive(Debug)]
pub(crate) enum Leaving {
    Unloaded(oneshot::Sender<Result<(), HostError>>),
    Stopped(oneshot::Sender<Result<(), HostError>>),
    /// The host is gone.
    Abandoned,
}

/// Commands that wait for a component; who gives more waits with them.
const WAITING_COMMANDS: usize = 16;

/// Where the task of a component is told what to do.
#[derive(Debug)]
pub(crate) struct Orders {
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) leaving: mpsc::UnboundedReceiver<Leaving>,
}

#[derive(Debug)]
pub(crate) struct Resident {
    pub(crate) id: ComponentId,
    pub(crate) mailbox: Mailbox,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) leaving: mpsc::UnboundedSender<Leaving>,
    pub(crate) swaps: Swaps,
    pub(crate) meters: Meters,
    instances: Mutex<Instances>,
    permissions: RwLock<Permissions>,
    record: Mutex<Record>,
    denials: Mutex<Denials>,
    open_requests: usize,
}

/// Different denials told of a component within a second: enough to see what it is
/// about, too few to drive other events out of their readers' sight.
const DENIALS_PER_SECOND: usize = 16;

/// Counts the instances of all components, so that what belongs to one is never taken
/// for another's, be it of a component that was loaded again.
static INCARNATIONS: AtomicU64 = AtomicU64::new(1);

/// Which instance a host call comes from, and on whose behalf.
#[derive(Debug, Default)]
struct Instances {
    serving: Option<Serving>,
    /// Being made: its number in the engine is not known yet, if it will have one.
    starting: Option<Starting>,
    /// How often permissions were replaced.
    permissions_set: u64,
}

#[derive(Debug)]
struct Serving {
    handle_id: u64,
    incarnation: u64,
    seats: Arc<Semaphore>,
    hops: u32,
    span: Span,
}

#[derive(Debug)]
struct Starting {
    incarnation: u64,
    seats: Arc<Semaphore>,
    permissions: Arc<Permissions>,
}

#[derive(Debug, Default)]
struct Denials {
    /// When the second ends in which no more than so many are told.
    until: Option<Instant>,
    told: Vec<Capability>,
    left_out: u64,
}

/// Where a host call comes from.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) incarnation: u64,
    /// One for each request that may be open.
    pub(crate) seats: Arc<Semaphore>,
    /// Of the message that is being handled.
    pub(crate) hops: u32,
    pub(crate) span: Span,
}

/// What is told about the component.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) handle: Option<ComponentHandle>,
    pub(crate) phase: Phase,
    pub(crate) version: Option<String>,
    pub(crate) health: HealthStatus,
    pub(crate) handled: u64,
    pub(crate) failures: u64,
    pub(crate) swaps: u64,
    /// Of the latest failure.
    pub(crate) cause: Option<Arc<WasmError>>,
}

impl Resident {
    pub(crate) fn new(component: &Component, limits: &HostLimits) -> (Arc<Self>, Orders) {
        let Supervision { mailbox, .. } = component.supervision;
        let (command, commands) = mpsc::channel(WAITING_COMMANDS);
        let (leave, leaving) = mpsc::unbounded_channel();
        let resident = Self {
            id: component.id.clone(),
            mailbox: Mailbox::new(mailbox, limits.mailbox_bytes),
            commands: command,
            leaving: leave,
            swaps: Swaps::default(),
            meters: Meters::new(&component.id),
            instances: Mutex::default(),
            permissions: RwLock::new(component.config.permissions.clone()),
            denials: Mutex::default(),
            open_requests: limits.open_requests.min(Semaphore::MAX_PERMITS),
            record: Mutex::new(Record {
                handle: None,
                phase: Phase::Starting,
                version: component.version.clone(),
                health: HealthStatus::Unknown,
                handled: 0,
                failures: 0,
                swaps: 0,
                cause: None,
            }),
        };
        (Arc::new(resident), Orders { commands, leaving })
    }

    /// From now on, host calls of an instance that does not serve are those of a new
    /// one that is being made.
    pub(crate) fn starts(&self) {
        let mut instances = lock(&self.instances);
        instances.starting = Some(self.starting(self.permissions()));
    }

    /// The same of a new version, with permissions of its own unless others have been
    /// set since they had been set so often.
    pub(crate) fn starts_as(&self, permissions: &Permissions, permissions_set: u64) {
        let mut instances = lock(&self.instances);
        let permissions = match instances.permissions_set == permissions_set {
            true => permissions.clone(),
            false => self.permissions(),
        };
        instances.starting = Some(self.starting(permissions));
    }

    fn starting(&self, permissions: Permissions) -> Starting {
        Starting {
            incarnation: INCARNATIONS.fetch_add(1, Ordering::Relaxed),
            seats: Arc::new(Semaphore::new(self.open_requests)),
            permissions: Arc::new(permissions),
        }
    }

    /// The instance that was being made did not come to be; which it was.
    pub(crate) fn did_not_start(&self) -> Option<u64> {
        let starting = lock(&self.instances).starting.take();
        starting.map(|starting| starting.incarnation)
    }

    /// The instance that was being made serves under this number of the engine, with the
    /// permissions that it has by now.
    pub(crate) fn serves(&self, handle_id: u64) {
        let mut instances = lock(&self.instances);
        let Some(starting) = instances.starting.take() else {
            return;
        };
        *write(&self.permissions) = Permissions::clone(&starting.permissions);
        instances.serving = Some(Serving {
            handle_id,
            incarnation: starting.incarnation,
            seats: starting.seats,
            hops: 0,
            span: Span::none(),
        });
    }

    /// There is no instance any more; which it was.
    pub(crate) fn is_gone(&self) -> Option<u64> {
        let serving = lock(&self.instances).serving.take();
        serving.map(|serving| serving.incarnation)
    }

    pub(crate) fn serving(&self) -> Option<u64> {
        let instances = lock(&self.instances);
        instances
            .serving
            .as_ref()
            .map(|serving| serving.incarnation)
    }

    /// What is handled until [`handled`](Self::handled).
    pub(crate) fn handles(&self, hops: u32, span: Span) {
        if let Some(serving) = &mut lock(&self.instances).serving {
            (serving.hops, serving.span) = (hops, span);
        }
    }

    /// From now on, host calls are not about a message.
    pub(crate) fn handled(&self) {
        self.handles(0, Span::none());
    }

    /// `None` for an instance that is not this host's.
    pub(crate) fn origin(&self, handle: &ComponentHandle) -> Option<Origin> {
        let instances = lock(&self.instances);
        if let Some(serving) = &instances.serving
            && serving.handle_id == handle.handle_id()
        {
            return Some(Origin {
                incarnation: serving.incarnation,
                seats: Arc::clone(&serving.seats),
                hops: serving.hops,
                span: serving.span.clone(),
            });
        }
        instances.starting.as_ref().map(|starting| Origin {
            incarnation: starting.incarnation,
            seats: Arc::clone(&starting.seats),
            hops: 0,
            span: Span::none(),
        })
    }

    /// Replaces what the component may do; it never gets more than it was loaded with.
    /// That holds for an instance that is being made, too.
    pub(crate) fn set_permissions(&self, permissions: Permissions) {
        let mut instances = lock(&self.instances);
        if let Some(starting) = &mut instances.starting {
            starting.permissions = Arc::new(permissions.clone());
        }
        *write(&self.permissions) = permissions;
        instances.permissions_set += 1;
    }

    /// How often they were replaced.
    pub(crate) fn permissions_set(&self) -> u64 {
        lock(&self.instances).permissions_set
    }

    pub(crate) fn permissions(&self) -> Permissions {
        read(&self.permissions).clone()
    }

    pub(crate) fn validate(
        &self,
        handle: &ComponentHandle,
        capability: &Capability,
    ) -> Result<(), CapabilityDenied> {
        let starting = {
            let instances = lock(&self.instances);
            let serves = instances.serving.as_ref();
            let starting = instances.starting.as_ref();
            match serves.is_some_and(|serving| serving.handle_id == handle.handle_id()) {
                true => None,
                false => starting.map(|starting| Arc::clone(&starting.permissions)),
            }
        };
        let allowed = match starting {
            Some(permissions) => permissions.allows(capability),
            None => read(&self.permissions).allows(capability),
        };
        if allowed {
            return Ok(());
        }
        Err(CapabilityDenied {
            capability: capability.clone(),
            reason: format!("`{}` was revoked", capability.manifest_key()),
        })
    }

    /// Whether to tell of this denial: once in a second, and not of too many. The others
    /// are counted, and told of when the second is over.
    pub(crate) fn may_tell_denial(&self, capability: &Capability) -> bool {
        let mut denials = lock(&self.denials);
        let until = Instant::now() + Duration::from_secs(1);
        denials.until.get_or_insert(until);
        let is_told = denials.told.contains(capability);
        if is_told || denials.told.len() == DENIALS_PER_SECOND {
            denials.left_out += 1;
            return false;
        }
        denials.told.push(capability.clone());
        true
    }

    /// When the second is over.
    pub(crate) fn denials_due(&self) -> Option<Instant> {
        lock(&self.denials).until
    }

    /// How many were left out; the next second begins with the next denial.
    pub(crate) fn take_denials(&self) -> u64 {
        mem::take(&mut *lock(&self.denials)).left_out
    }

    pub(crate) fn record(&self) -> Record {
        lock(&self.record).clone()
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Record)) {
        change(&mut lock(&self.record));
    }
}

#[cfg(test)]
mod tests {
    use wasm_core::{ComponentConfig, ResourceLimits};

    use super::*;

    #[test]
    fn so_many_commands_wait() {
        let limits = ResourceLimits::new(1 << 20, Duration::from_secs(1), None).unwrap();
        let id = ComponentId::new("demo", "a", "main").unwrap();
        let component = Component::new(id, "", ComponentConfig::new(limits));
        let (resident, _orders) = Resident::new(&component, &HostLimits::default());
        for waiting in 0..100 {
            let (answer, _) = oneshot::channel();
            let given = resident.commands.try_send(Command::Restart(answer));
            assert_eq!(given.is_ok(), waiting < 16, "{waiting}");
        }
    }
}
