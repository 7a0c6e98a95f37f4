//! A component of a host, as everyone but its delivery task sees it.

use std::mem;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::Span;

use wasm_core::{
    Capability, CapabilityDenied, ComponentHandle, ComponentId, HealthStatus, Permissions,
    Supervision, WasmError,
};

use crate::component::Component;
use crate::error::HostError;
use crate::limits::Reservation;
use crate::lock::{lock, read, write};
use crate::mailbox::Mailbox;
use crate::metrics::Meters;
use crate::status::Phase;

/// What a delivery task is told between two messages.
#[derive(Debug)]
pub(crate) enum Command {
    Unload(Leaving, oneshot::Sender<Result<(), HostError>>),
    Restart(oneshot::Sender<Result<(), HostError>>),
    Swap(
        Box<Component>,
        Reservation,
        oneshot::Sender<Result<(), HostError>>,
    ),
    Health(oneshot::Sender<Result<HealthStatus, HostError>>),
    /// The host is gone.
    Abandon,
}

/// Why a component goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaving {
    Unloaded,
    Stopped,
}

#[derive(Debug)]
pub(crate) struct Resident {
    pub(crate) id: ComponentId,
    pub(crate) mailbox: Mailbox,
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) meters: Meters,
    instances: Mutex<Instances>,
    permissions: RwLock<Permissions>,
    record: Mutex<Record>,
    denials: Mutex<Denials>,
}

/// Denials told of a component within a second at the most: enough to see what it is
/// about, too few to drive other events out of their readers' sight.
const DENIALS_PER_SECOND: u32 = 16;

/// Which instance a host call comes from, and on whose behalf.
///
/// Instances are counted: what belongs to one is not taken for the next one's.
#[derive(Debug, Default)]
struct Instances {
    incarnation: u64,
    serving: Option<Serving>,
    /// Being made: its number in the engine is not known yet, if it will have one.
    starting: Option<Starting>,
}

#[derive(Debug)]
struct Serving {
    handle_id: u64,
    incarnation: u64,
    hops: u32,
    span: Span,
}

#[derive(Debug)]
struct Starting {
    incarnation: u64,
    permissions: Arc<Permissions>,
}

#[derive(Debug, Default)]
struct Denials {
    /// When the second began.
    since: Option<Instant>,
    told: u32,
    left_out: u64,
}

/// Where a host call comes from.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) incarnation: u64,
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
    pub(crate) fn new(
        component: &Component,
        mailbox_bytes: u64,
        commands: mpsc::UnboundedSender<Command>,
    ) -> Self {
        let Supervision { mailbox, .. } = component.supervision;
        Self {
            id: component.id.clone(),
            mailbox: Mailbox::new(mailbox, mailbox_bytes),
            commands,
            meters: Meters::new(&component.id),
            instances: Mutex::default(),
            permissions: RwLock::new(component.config.permissions.clone()),
            denials: Mutex::default(),
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
        }
    }

    /// From now on, host calls of an instance that does not serve are those of a new
    /// one that is being made with these permissions. Its number.
    pub(crate) fn starts(&self, permissions: &Permissions) -> u64 {
        let mut instances = lock(&self.instances);
        instances.incarnation += 1;
        let incarnation = instances.incarnation;
        instances.starting = Some(Starting {
            incarnation,
            permissions: Arc::new(permissions.clone()),
        });
        incarnation
    }

    /// The instance that was being made did not come to be.
    pub(crate) fn did_not_start(&self) {
        lock(&self.instances).starting = None;
    }

    /// The instance that was being made serves under this number of the engine.
    pub(crate) fn serves(&self, handle_id: u64) {
        let mut instances = lock(&self.instances);
        instances.serving = instances.starting.take().map(|starting| Serving {
            handle_id,
            incarnation: starting.incarnation,
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
                hops: serving.hops,
                span: serving.span.clone(),
            });
        }
        instances.starting.as_ref().map(|starting| Origin {
            incarnation: starting.incarnation,
            hops: 0,
            span: Span::none(),
        })
    }

    /// Replaces what the component may do; it never gets more than it was loaded with.
    pub(crate) fn set_permissions(&self, permissions: Permissions) {
        *write(&self.permissions) = permissions;
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

    /// `None` when enough were told for now, or else how many were left out since.
    pub(crate) fn may_tell_denial(&self) -> Option<u64> {
        let now = Instant::now();
        let mut denials = lock(&self.denials);
        if denials
            .since
            .is_none_or(|since| now - since >= Duration::from_secs(1))
        {
            (denials.since, denials.told) = (Some(now), 0);
        }
        if denials.told == DENIALS_PER_SECOND {
            denials.left_out += 1;
            return None;
        }
        denials.told += 1;
        Some(mem::take(&mut denials.left_out))
    }

    pub(crate) fn record(&self) -> Record {
        lock(&self.record).clone()
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Record)) {
        change(&mut lock(&self.record));
    }
}
