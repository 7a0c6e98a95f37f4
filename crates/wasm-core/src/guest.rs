//! What every engine does the same way when a guest calls its host: what the call has
//! left, whether the component may, and which service is asked, in this order.
//!
//! An engine makes a [`Guest`] for each loaded component, or for each of its instances where
//! several may be in a call at a time, tells it of each instance, call and message that begins,
//! and calls one method for each function of the contract that a guest can import. It only
//! lifts the arguments and lowers the result.

mod budget;
mod directory;
mod guest_log;
mod log;
mod messaging;
mod storage;
mod timers;

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::{
    Capability, CapabilityDenied, ComponentConfig, ComponentHandle, ComponentId, HostServices,
    Timestamp,
};

use budget::Budget;
pub use guest_log::{GuestLog, MAX_LINE_BYTES};

/// An instance of a loaded component, as its host knows it. The next instance has another.
pub struct Guest {
    handle: ComponentHandle,
    config: Arc<ComponentConfig>,
    services: HostServices,
    log: Box<dyn GuestLog>,
    budget: Budget,
    /// Of the message that is being handled.
    hops: AtomicU32,
    /// Of the message that the instance was made for.
    hops_before: AtomicU32,
    is_shutting_down: AtomicBool,
}

impl Guest {
    /// `log` takes what the component logs and what it was denied.
    pub fn new(
        handle: ComponentHandle,
        config: impl Into<Arc<ComponentConfig>>,
        services: HostServices,
        log: impl GuestLog + 'static,
    ) -> Self {
        Self {
            handle,
            config: config.into(),
            services,
            log: Box::new(log),
            budget: Budget::default(),
            hops: AtomicU32::new(0),
            hops_before: AtomicU32::new(0),
            is_shutting_down: AtomicBool::new(false),
        }
    }

    /// The handle that the engine gave it.
    pub fn handle(&self) -> &ComponentHandle {
        &self.handle
    }

    /// The component's id, which is the sender of all it sends; `self-id` of the contract.
    pub fn id(&self) -> &ComponentId {
        self.handle.id()
    }

    /// What it was loaded with.
    pub fn config(&self) -> &ComponentConfig {
        &self.config
    }

    /// The same, for another instance of the component.
    pub fn shared_config(&self) -> &Arc<ComponentConfig> {
        &self.config
    }

    /// What the engine was given to serve it with.
    pub fn services(&self) -> &HostServices {
        &self.services
    }

    /// Gives the call that begins its full budgets, whichever export it calls.
    pub fn begin_call(&self) {
        self.budget.refill();
        let hops = self.hops_before.load(Ordering::Relaxed);
        self.hops.store(hops, Ordering::Relaxed);
    }

    /// From now on, calls that are about no message are due to one of so many
    /// [hops](crate::ComponentMessage::hops), for which the instance was made; with 0, to none.
    pub fn due_to(&self, hops: u32) {
        self.hops_before.store(hops, Ordering::Relaxed);
    }

    /// The call that has begun is about a message or a callback of so many
    /// [hops](crate::ComponentMessage::hops): what is sent in it has one more.
    pub fn begin_message(&self, hops: u32) {
        self.hops.store(hops, Ordering::Relaxed);
    }

    /// The next call of the instance is its last, `shutdown`, in which it makes no requests.
    pub fn begin_shutdown(&self) {
        self.is_shutting_down.store(true, Ordering::Relaxed);
    }

    /// `current-time` of the contract; nothing has to be granted for it.
    pub fn now(&self) -> Timestamp {
        self.services.clock.now()
    }

    /// Whether the component may do something: whether it was granted when it was loaded,
    /// and then, whether the validator has not taken it back. A denial is told to the
    /// validator and to the log.
    ///
    /// # Errors
    /// [`CapabilityDenied`] with the reason.
    pub fn check(&self, capability: Capability) -> Result<(), CapabilityDenied> {
        let validator = &self.services.validator;
        let checked = if self.config.permissions.allows(&capability) {
            validator.validate(&self.handle, &capability)
        } else {
            Err(CapabilityDenied::not_granted(capability))
        };
        checked.inspect_err(|denied| {
            validator.denied(&self.handle, denied);
            self.log.denied(denied);
        })
    }
}

impl Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest")
            .field("handle", &self.handle)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
