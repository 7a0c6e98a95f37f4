//! Requests that are not answered yet.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, sleep_until};
use tracing::Span;

use wasm_core::{ComponentId, CorrelationId, MessagingError};

use crate::component::resident::Resident;
use crate::lock::lock;
use crate::post::answer::Outcome;

/// Nobody waits longer for an answer; more would only keep a place occupied.
pub(crate) const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// Who waits for the answer.
#[derive(Debug)]
pub(crate) enum Requester {
    /// A component, as long as this is its instance.
    Component {
        resident: Arc<Resident>,
        incarnation: u64,
        seat: OwnedSemaphorePermit,
    },
    /// The program around the host.
    Program(oneshot::Sender<Outcome>),
}

/// A request that is not answered yet.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) requester: Requester,
    pub(crate) target: ComponentId,
    pub(crate) hops: u32,
    pub(crate) span: Span,
    deadline: Instant,
}

/// All open requests. Whoever takes one out answers it, and nobody else can.
#[derive(Debug)]
pub(crate) struct Requests {
    state: Mutex<State>,
    /// A deadline earlier than all others was added.
    sooner: Notify,
}

#[derive(Debug, Default)]
struct State {
    open: HashMap<CorrelationId, Open>,
    deadlines: BTreeSet<(Instant, CorrelationId)>,
    by_instance: HashMap<(ComponentId, u64), HashSet<CorrelationId>>,
}

impl Requests {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::default(),
            sooner: Notify::new(),
        }
    }

    /// Opens a request and has `accept` put it on its way: a request is open before
    /// its target can see it, and one that is not accepted never was.
    pub(crate) fn open(
        &self,
        requester: Requester,
        target: ComponentId,
        timeout: Duration,
        (hops, span): (u32, Span),
        accept: impl FnOnce(CorrelationId) -> Result<(), MessagingError>,
    ) -> Result<CorrelationId, MessagingError> {
        let id = unguessable()?;
        let deadline = Instant::now() + timeout.min(MAX_TIMEOUT);
        let mut state = lock(&self.state);
        accept(id.clone())?;
        if let Some(instance) = requester.instance() {
            let ids = state.by_instance.entry(instance).or_default();
            ids.insert(id.clone());
        }
        let open = Open {
            requester,
            target,
            hops,
            span,
            deadline,
        };
        state.open.insert(id.clone(), open);
        state.deadlines.insert((deadline, id.clone()));
        let sooner = state
            .deadlines
            .first()
            .is_some_and(|(_, first)| *first == id);
        drop(state);
        if sooner {
            self.sooner.notify_one();
        }
        Ok(id)
    }

    /// Takes a request out, to be answered.
    pub(crate) fn close(&self, id: &CorrelationId) -> Option<Open> {
        lock(&self.state).close(id)
    }

    /// Takes a request out if this instance made it.
    pub(crate) fn cancel(&self, id: &CorrelationId, instance: (&ComponentId, u64)) -> bool {
        let mut state = lock(&self.state);
        let made_by = |open: &Open| {
            let found = open.requester.instance();
            found.is_some_and(|(who, incarnation)| (&who, incarnation) == instance)
        };
        state.open.get(id).is_some_and(made_by) && state.close(id).is_some()
    }

    /// Takes out all that an instance made: there is no one to answer any more.
    pub(crate) fn abandon(&self, component: &ComponentId, incarnation: u64) {
        let mut state = lock(&self.state);
        let ids = state.by_instance.remove(&(component.clone(), incarnation));
        for id in ids.into_iter().flatten() {
            state.close(&id);
        }
    }

    /// The next request whose time is up, once there is one.
    pub(crate) async fn overdue(&self) -> (CorrelationId, Open) {
        loop {
            let first = {
                let mut state = lock(&self.state);
                let first = state.deadlines.first().cloned();
                match first {
                    Some((deadline, id)) if deadline <= Instant::now() => {
                        if let Some(open) = state.close(&id) {
                            return (id, open);
                        }
                        continue;
                    }
                    first => first.map(|(deadline, _)| deadline),
                }
            };
            match first {
                Some(deadline) => tokio::select! {
                    () = sleep_until(deadline) => {}
                    () = self.sooner.notified() => {}
                },
                None => self.sooner.notified().await,
            }
        }
    }
}

impl State {
    fn close(&mut self, id: &CorrelationId) -> Option<Open> {
        let open = self.open.remove(id)?;
        self.deadlines.remove(&(open.deadline, id.clone()));
        if let Some(instance) = open.requester.instance()
            && let Some(ids) = self.by_instance.get_mut(&instance)
        {
            ids.remove(id);
            if ids.is_empty() {
                self.by_instance.remove(&instance);
            }
        }
        Some(open)
    }
}

impl Requester {
    fn instance(&self) -> Option<(ComponentId, u64)> {
        match self {
            Self::Component {
                resident,
                incarnation,
                ..
            } => Some((resident.id.clone(), *incarnation)),
            Self::Program(_) => None,
        }
    }
}

/// 128 bits from the operating system: whoever has not been told an id does not find
/// one.
fn unguessable() -> Result<CorrelationId, MessagingError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        MessagingError::DeliveryFailed(format!("no random numbers for a correlation id: {error}"))
    })?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_a_day() {
        let requests = Requests::new();
        let target = ComponentId::new("demo", "a", "main").unwrap();
        let (caller, _answer) = oneshot::channel();
        let way = (0, Span::none());
        let began = Instant::now();
        let requester = Requester::Program(caller);
        requests
            .open(requester, target, Duration::MAX, way, |_| Ok(()))
            .unwrap();
        requests.overdue().await;
        let day = Duration::from_secs(86_400);
        assert!((day..2 * day).contains(&began.elapsed()));
    }
}
