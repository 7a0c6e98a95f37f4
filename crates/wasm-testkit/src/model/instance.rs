//! An instance of a fixture: what it remembers, and the fuel, memory and time that it has
//! for a call.

use std::future::pending;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::time::Instant;

use wasm_core::guest::Guest as GuestCalls;
use wasm_core::{
    ComponentConfig, ComponentId, ComponentMessage, ComponentUsage, GuestError, HealthStatus,
    MessagePayload, Trap,
};
use wasm_fixtures::Lifecycle;

use super::call::{Run, Stop};
use super::memory::{Denied, Memory};

/// Fuel of an allocation, the growth that it may need included.
pub(super) const ALLOCATION_FUEL: u64 = 30;

/// Fuel of a function that calls itself.
const RECURSION_FUEL: u64 = 10;

/// How deep a function may call itself; the deepest that any test should need is
/// far below, and what should use up the stack far above.
const STACK_DEPTH: u64 = 10_000;

/// Whom an instance belongs to. What is counted for each call is the instance's own.
pub(super) struct Guest {
    pub(super) calls: Arc<GuestCalls>,
    /// `None` for a component that takes no messages.
    pub(super) lifecycle: Option<Lifecycle>,
    /// What it does about a message, if a test has written that.
    pub(super) own: Option<OnOwnMessage>,
    pub(super) usage: Arc<Mutex<ComponentUsage>>,
}

impl Guest {
    /// The same component, for another instance of it.
    fn sibling(&self) -> Self {
        let (handle, config) = (self.calls.handle(), self.calls.shared_config());
        let services = self.calls.services().clone();
        Self {
            // Who may log is all there is to see: what is logged goes nowhere.
            calls: Arc::new(GuestCalls::new(
                handle.clone(),
                Arc::clone(config),
                services,
                (),
            )),
            lifecycle: self.lifecycle,
            own: self.own.clone(),
            usage: Arc::clone(&self.usage),
        }
    }

    pub(super) fn id(&self) -> &ComponentId {
        self.calls.id()
    }

    pub(super) fn config(&self) -> &ComponentConfig {
        self.calls.config()
    }
}

/// What a guest answers a message with.
pub(super) type Answer = Result<Option<MessagePayload>, GuestError>;

/// What a component that a test has written answers a message with, once it has called its
/// host.
pub type OwnAnswer =
    Pin<Box<dyn Future<Output = Result<Option<MessagePayload>, GuestError>> + Send>>;

/// What a component that a test has written does about a message.
pub(super) type OnOwnMessage =
    Arc<dyn Fn(Arc<GuestCalls>, ComponentMessage) -> OwnAnswer + Send + Sync>;

/// An instance of a fixture: what it remembers, and what its running call has left.
pub(super) struct Instance {
    pub(super) guest: Arc<Guest>,
    pub(super) deadline: Instant,
    fuel_consumed: u64,
    pub(super) memory: Memory,
    pub(super) messages: u64,
    pub(super) told: HealthStatus,
    pub(super) last_callback: Option<Bytes>,
}

impl Instance {
    /// Before it is instantiated.
    pub(super) fn new(component: &Guest) -> Self {
        let guest = Arc::new(component.sibling());
        let limit = guest.config().limits.memory_bytes();
        Self {
            deadline: Instant::now(),
            fuel_consumed: 0,
            memory: Memory::new(limit, Arc::clone(&guest.usage)),
            guest,
            messages: 0,
            told: HealthStatus::Healthy,
            last_callback: None,
        }
    }

    /// Gives the call its full budgets and returns its deadline.
    pub(super) fn begin_call(&mut self) -> Instant {
        self.deadline = Instant::now() + self.guest.config().limits.timeout();
        self.guest.calls.begin_call();
        self.fuel_consumed = 0;
        self.memory.take_denied();
        self.deadline
    }

    /// Fuel consumed and memory denied in the call that ends.
    pub(super) fn end_call(&mut self) -> (u64, Option<u64>) {
        self.memory.free();
        (self.fuel_consumed, self.memory.take_denied())
    }

    pub(super) fn consume(&mut self, fuel: u64) -> Run<()> {
        let budget = self.guest.config().limits.fuel().unwrap_or(u64::MAX);
        let consumed = self.fuel_consumed.saturating_add(fuel);
        self.fuel_consumed = consumed.min(budget);
        match budget.checked_sub(consumed) {
            Some(_) => Ok(()),
            None => Err(Stop::OutOfFuel),
        }
    }

    /// Consumes a unit of fuel in a nanosecond. What is left of the budget is gone at
    /// once, as far as the time would do for it; if not, the deadline comes first.
    pub(super) async fn spin(&mut self) -> Stop {
        let limits = &self.guest.config().limits;
        let nanos = u64::try_from(limits.timeout().as_nanos()).unwrap_or(u64::MAX);
        if limits.fuel().is_some_and(|budget| budget <= nanos) {
            let budget = limits.fuel().unwrap_or(u64::MAX);
            self.fuel_consumed = budget;
            return Stop::OutOfFuel;
        }
        self.fuel_consumed = self.fuel_consumed.max(nanos);
        pending().await
    }

    pub(super) fn recurse(&mut self, depth: u64) -> Run<()> {
        self.consume(depth.min(STACK_DEPTH) * RECURSION_FUEL)?;
        match STACK_DEPTH.checked_sub(depth) {
            Some(_) => Ok(()),
            None => Err(Stop::Trap(Trap::StackOverflow)),
        }
    }

    /// Without the memory for it, the guest gives up.
    pub(super) fn allocate(&mut self, align: u64, size: usize) -> Run<()> {
        self.consume(ALLOCATION_FUEL)?;
        self.memory.allocate(align, size as u64)?;
        Ok(())
    }

    pub(super) fn lower_id(&mut self, id: &ComponentId) -> Run<()> {
        id.segments()
            .iter()
            .try_for_each(|segment| self.allocate(1, segment.len()))
    }
}

impl From<Denied> for Stop {
    /// All fixtures but those that say otherwise do not survive it.
    fn from(Denied: Denied) -> Self {
        unreachable()
    }
}

pub(super) fn unreachable() -> Stop {
    Stop::Trap(Trap::Unreachable)
}

pub(super) fn refused(why: &str) -> Stop {
    Stop::Trap(Trap::RefusedByHost(why.to_owned()))
}

pub(super) fn bad_utf8() -> Stop {
    refused("invalid utf-8 sequence")
}
