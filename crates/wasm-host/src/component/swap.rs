//! The new version of a component, which the engine prepares while the old one serves.

use std::future::poll_fn;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::{Id, JoinError, JoinSet};

use wasm_core::{ComponentId, Preparation, RuntimeEngine, SwapPolicy, WasmError};

use crate::component::budget::{Budget, Reservation};
use crate::component::recipe::Recipe;
use crate::error::HostError;
use crate::lock::lock;

pub(crate) type Prepared = Result<Preparation, WasmError>;

#[derive(Debug)]
pub(crate) struct Swap {
    pub(crate) recipe: Arc<Recipe>,
    /// How often permissions had been set when it was asked for.
    pub(crate) permissions_set: u64,
    /// Until it is in its place, there are both; `None` if there is no room for that, and the
    /// old one ends first.
    pub(crate) reservation: Option<Reservation>,
    pub(crate) reply: oneshot::Sender<Result<(), HostError>>,
    preparation: Id,
}

impl Swap {
    pub(crate) fn fail(self, error: HostError) {
        // Whoever is told finds room for another.
        drop(self.reservation);
        // Unless nobody waits for it any more.
        let _ = self.reply.send(Err(error));
    }

    fn supersede(self, id: &ComponentId) -> Option<Reservation> {
        let superseded = HostError::Superseded(id.clone());
        let _ = self.reply.send(Err(superseded));
        self.reservation
    }
}

/// The swaps of one component, of which the latest counts.
#[derive(Debug, Default)]
pub(crate) struct Swaps {
    slot: Mutex<Slot>,
    /// Set and cleared under the lock of the slot.
    under_way: AtomicBool,
}

#[derive(Debug, Default)]
struct Slot {
    latest: Option<Swap>,
    /// Of the latest one, and of earlier ones as long as they take to end.
    preparations: JoinSet<Prepared>,
    is_closed: bool,
}

impl Swaps {
    /// Puts a swap in the place of an earlier one, together with its reservation; if
    /// that is too small, there is no room for more and the old version is not to end first, the
    /// earlier one stays. The task of the component is to be nudged then.
    pub(crate) fn begin<E: RuntimeEngine + ?Sized + 'static>(
        &self,
        id: &ComponentId,
        recipe: &Arc<Recipe>,
        permissions_set: u64,
        budget: &Arc<Budget>,
        engine: Arc<E>,
        runtime: &Handle,
    ) -> Result<oneshot::Receiver<Result<(), HostError>>, HostError> {
        let memory_bytes = recipe.memory_bytes();
        let mut slot = lock(&self.slot);
        if slot.is_closed {
            return Err(HostError::NotLoaded(id.clone()));
        }
        let mut reserved = match &mut slot.latest {
            Some(Swap {
                reservation: Some(earlier),
                ..
            }) => earlier.resize(memory_bytes).map(|()| None),
            _ => budget.reserve(memory_bytes).map(Some),
        };
        if recipe.supervision.swap == SwapPolicy::Pause && reserved.is_err() {
            reserved = Ok(None);
        }
        let reservation = reserved.map_err(|source| HostError::NoRoomForBoth {
            component: id.clone(),
            source,
        })?;
        let earlier = slot.latest.take().and_then(|earlier| {
            slot.preparations.abort_all();
            earlier.supersede(id)
        });
        let fits = |it: &Reservation| it.memory_bytes() == memory_bytes;
        let reservation = reservation.or(earlier.filter(fits));
        let prepare = {
            let (id, recipe) = (id.clone(), Arc::clone(recipe));
            async move {
                let bytes = recipe.bytes.clone();
                engine.prepare_component(&id, bytes, &recipe.config).await
            }
        };
        let preparation = slot.preparations.spawn_on(prepare, runtime).id();
        let (reply, answer) = oneshot::channel();
        slot.latest = Some(Swap {
            recipe: Arc::clone(recipe),
            permissions_set,
            reservation,
            reply,
            preparation,
        });
        self.under_way.store(true, Ordering::Release);
        Ok(answer)
    }

    /// Waits for the latest one to be prepared, or for what that ends in, while some [are under
    /// way](Self::are_under_way). Nothing is lost when the future is dropped.
    pub(crate) async fn prepared(&self, id: &ComponentId) -> (Swap, Prepared) {
        poll_fn(|cx| self.poll_prepared(id, cx)).await
    }

    fn poll_prepared(&self, id: &ComponentId, cx: &mut Context<'_>) -> Poll<(Swap, Prepared)> {
        let mut slot = lock(&self.slot);
        while let Some(ended) = ready!(slot.preparations.poll_join_next_with_id(cx)) {
            let task = match &ended {
                Ok((task, _)) => *task,
                Err(error) => error.id(),
            };
            let latest = slot.latest.take_if(|latest| latest.preparation == task);
            if let Some(swap) = latest {
                let prepared = match ended {
                    Ok((_, prepared)) => prepared,
                    Err(error) => Err(unfinished(id, error)),
                };
                return Poll::Ready((swap, prepared));
            }
        }
        self.under_way.store(false, Ordering::Release);
        Poll::Pending
    }

    /// Takes no more of them, and waits until nothing is prepared any more; the one that
    /// will not take place, whose asker is told when it is dropped.
    pub(crate) async fn close(&self) -> Option<Swap> {
        let (latest, mut preparations) = self.close_now();
        preparations.shutdown().await;
        latest
    }

    /// The same without waiting.
    pub(crate) fn close_now(&self) -> (Option<Swap>, JoinSet<Prepared>) {
        let mut slot = lock(&self.slot);
        slot.is_closed = true;
        (slot.latest.take(), mem::take(&mut slot.preparations))
    }

    /// Takes no more of them if none is under way; whether that is so.
    pub(crate) fn close_if_idle(&self) -> bool {
        let mut slot = lock(&self.slot);
        let is_idle = slot.latest.is_none() && !slot.is_closed;
        slot.is_closed |= is_idle;
        is_idle
    }

    /// Whether something is being prepared.
    pub(crate) fn are_under_way(&self) -> bool {
        self.under_way.load(Ordering::Acquire)
    }
}

/// By a panic of the engine.
fn unfinished(component: &ComponentId, error: JoinError) -> WasmError {
    WasmError::InstantiationFailed {
        component: component.clone(),
        reason: format!("the engine did not finish preparing it: {error}"),
        source: Some(Arc::new(error)),
    }
}
