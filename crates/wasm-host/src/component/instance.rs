//! What a task does with instances: makes them, restarts and replaces them, puts them to sleep
//! and wakes them, asks how they are, and ends them.

use std::mem;
use std::sync::Arc;

use tokio::time::Instant;

use wasm_core::{
    ComponentHandle, ComponentId, ComponentState, HealthStatus, RuntimeEngine, StartPolicy,
    Supervision, WasmError,
};

use crate::component::budget::Reservation;
use crate::component::recipe::Recipe;
use crate::component::resident::Record;
use crate::component::status::Phase;
use crate::component::swap::{Prepared, Swap};
use crate::component::task::{State, Task};
use crate::error::{HostError, kept};
use crate::limits::BudgetExceeded;
use crate::post::mailbox::Closed;
use crate::watch::dead_letter::DeadLetterCause;
use crate::watch::event::Event;

impl<E: RuntimeEngine + ?Sized + 'static> Task<E> {
    /// Loads an instance that nothing is delivered to yet, and charges the reservation with
    /// what the engine keeps for it.
    async fn make(
        &mut self,
        recipe: &Recipe,
        reservation: &mut Reservation,
    ) -> Result<ComponentHandle, HostError> {
        let id = &self.resident.id.clone();
        let engine = &Arc::clone(&self.shared.engine);
        let load = engine.load_component(id, recipe.bytes.clone(), recipe.config.clone());
        let handle = self
            .attend(load)
            .await
            .map_err(|error| HostError::Engine(self.not_made(error)))?;
        let usage = engine.usage(&handle).await;
        let kept = usage.map(|usage| usage.kept).unwrap_or_default();
        if let Err(source) = reservation.keep(kept) {
            // Why is known already.
            let _ = engine.unload_component(&handle).await;
            self.end_starting();
            return Err(HostError::Budget {
                component: id.clone(),
                source,
            });
        }
        Ok(handle)
    }

    /// Makes an instance where there is none, which serves then. It has [begun
    /// before](crate::component::resident::Resident::begin_instance).
    pub(crate) async fn make_first(&mut self) -> Result<(), HostError> {
        let recipe = Arc::clone(&self.recipe);
        let mut reservation = match self.reservation.take() {
            Some(reservation) => reservation,
            None => self.reserve()?,
        };
        let made = self.make(&recipe, &mut reservation).await;
        self.reservation = Some(reservation);
        self.handle = Some(made?);
        self.serve();
        Ok(())
    }

    fn reserve(&self) -> Result<Reservation, HostError> {
        let reserved = self.shared.budget.reserve(self.recipe.memory_bytes());
        reserved.map_err(|source| {
            self.end_starting();
            HostError::Budget {
                component: self.resident.id.clone(),
                source,
            }
        })
    }

    /// From now on messages are delivered to the instance that was made.
    fn serve(&mut self) {
        let Some(handle) = self.handle.clone() else {
            return;
        };
        let number = handle.handle_id();
        self.port = self.resident.begin_serving(number, &self.recipe);
        self.resident.update(|record| {
            record.handle = Some(handle);
            record.phase = Phase::Ready;
        });
        let now = Instant::now();
        (self.active, self.examined) = (now, now);
        self.restarts.serves(now);
        self.unhealthy_answers = 0;
        self.state = State::Serving;
        if self.recipe.supervision.idle.is_some()
            && let Some(port) = &self.port
        {
            let sleepers = &self.shared.sleepers;
            sleepers.add(&self.resident, port.incarnation);
        }
    }

    /// There is no instance any more.
    pub(crate) fn end_instance(&mut self) {
        self.port = None;
        if let Some(port) = self.resident.drop_serving() {
            self.shared.sleepers.remove(port.incarnation);
            port.close();
        }
    }

    /// Has the engine end an instance, and keeps what it has counted of it.
    async fn unload_instance(&mut self, handle: &ComponentHandle) -> Result<(), WasmError> {
        let engine = &Arc::clone(&self.shared.engine);
        if let Ok(usage) = engine.usage(handle).await {
            self.resident.update(|record| record.end_instance(usage));
        }
        self.attend(engine.unload_component(handle)).await
    }

    /// The instance that was being made did not come to be.
    fn end_starting(&self) {
        if let Some(port) = self.resident.drop_starting() {
            port.close();
        }
    }

    /// The same, and it is told of.
    fn not_made(&self, error: WasmError) -> Arc<WasmError> {
        self.end_starting();
        let office = &self.shared.office;
        office.tell_not_loaded(&self.resident.id, error)
    }

    /// Makes an instance for what waits.
    pub(crate) async fn wake(&mut self, reservation: Reservation) {
        self.reservation = Some(reservation);
        // A start that fails is a failure like any other, of which is told.
        let _ = self.start().await;
    }

    /// Makes an instance of a component that has none. One that cannot be made is a failure
    /// like any other; without room there is none to be made.
    async fn start(&mut self) -> Result<(), HostError> {
        let slept = matches!(self.state, State::Asleep);
        self.resident
            .update(|record| record.phase = Phase::Starting);
        self.resident.begin_instance(None);
        match self.make_first().await {
            Ok(()) => {
                let component = self.resident.id.clone();
                let event = match slept {
                    true => {
                        self.resident.meters().wake();
                        Event::Woke { component }
                    }
                    false => {
                        self.resident.meters().restart();
                        // For the engine it is the first instance.
                        self.resident.update(Record::count_restart);
                        Event::Restarted { component }
                    }
                };
                self.shared.office.tell(|| event);
                Ok(())
            }
            Err(HostError::Engine(error)) => {
                self.fail(Arc::clone(&error));
                Err(HostError::Engine(error))
            }
            Err(error) => {
                self.reservation = None;
                self.lie_down();
                Err(error)
            }
        }
    }

    /// What waits for a component for which there is no room is given up.
    pub(crate) fn stay_asleep(&mut self, exceeded: &BudgetExceeded) {
        self.active = Instant::now();
        let cause = DeadLetterCause::NoRoom(exceeded.clone());
        for letter in self.resident.mailbox.take_all() {
            self.shared.office.give_up(letter, cause.clone());
        }
    }

    /// Without an instance from now on.
    fn lie_down(&mut self) {
        self.handle = None;
        self.state = State::Asleep;
        self.active = Instant::now();
        self.resident.update(|record| {
            record.handle = None;
            record.phase = Phase::Asleep;
        });
    }

    /// Ends the instance, to be made anew when there is something to do.
    pub(crate) async fn fall_asleep(&mut self) {
        let Some(handle) = self.handle.take() else {
            return;
        };
        self.resident.update(|record| record.phase = Phase::Asleep);
        let engine = &Arc::clone(&self.shared.engine);
        let (id, recipe) = (self.resident.id.clone(), Arc::clone(&self.recipe));
        let budget = Arc::clone(&self.shared.budget);
        // Without it, the next instance takes longer to make.
        let _ = self.attend(recipe.prepare(&**engine, &id, &budget)).await;
        let shutdown = self.unload_instance(&handle).await;
        self.end_instance();
        self.reservation = None;
        self.lie_down();
        let (component, error) = (self.resident.id.clone(), shutdown.err().map(kept));
        self.shared
            .office
            .tell(|| Event::Slept { component, error });
    }

    /// Ends the instance of a version that replaced a sleeping one, if nothing waits for it and
    /// it starts on a message. It was made to know that it starts.
    async fn sleep_on(&mut self) {
        let starts_on_message = self.recipe.supervision.start == StartPolicy::OnMessage;
        if starts_on_message && self.resident.mailbox.len() == 0 {
            self.fall_asleep().await;
        }
    }

    /// The instance is gone, and its open requests with it.
    pub(crate) fn fail(&mut self, error: Arc<WasmError>) {
        let resident = Arc::clone(&self.resident);
        self.end_instance();
        resident.meters().failure();
        let backoff = self.restarts.next(&self.recipe.supervision, Instant::now());
        resident.update(|record| {
            record.counts.failures += 1;
            record.cause = Some(Arc::clone(&error));
            record.health = HealthStatus::Unhealthy;
            record.phase = match backoff {
                Some(_) => Phase::Restarting,
                None => Phase::Quarantined,
            };
        });
        let component = resident.id.clone();
        let cause = Arc::clone(&error);
        self.shared.office.tell(|| Event::Failed {
            component,
            error: cause,
        });
        self.state = match backoff {
            Some(backoff) => State::Waiting(Instant::now() + backoff),
            None => {
                self.quarantine(error);
                State::Quarantined
            }
        };
    }

    /// An error of a call may have cost its instance, or the component all it had. Where
    /// instances are renewed, one that failed harms nothing else.
    pub(crate) fn lose(&mut self, error: &Arc<WasmError>) {
        let is_gone = matches!(
            **error,
            WasmError::ComponentNotFound { .. } | WasmError::ComponentFailed { .. }
        );
        let is_renewed = self.recipe.config.renews_instances() && !is_gone;
        if !self.is_serving() || !(is_gone || error.fails_instance()) {
            return;
        }
        if !is_renewed {
            return self.fail(Arc::clone(error));
        }
        self.resident.meters().failure();
        self.resident.update(|record| {
            record.counts.failures += 1;
            record.cause = Some(Arc::clone(error));
        });
        let (component, error) = (self.resident.id.clone(), Arc::clone(error));
        self.shared
            .office
            .tell(|| Event::Failed { component, error });
    }

    /// The engine says that the component has failed before. Other calls may have ended in that
    /// already.
    pub(crate) fn fail_again(&mut self, error: Arc<WasmError>) {
        match self.state {
            State::Serving => self.fail(error),
            State::Quarantined => {
                let cause = DeadLetterCause::Quarantined(error);
                self.close(Closed::Quarantined, &cause);
            }
            State::Waiting(_) | State::Asleep => {}
        }
    }

    fn quarantine(&mut self, error: Arc<WasmError>) {
        let cause = DeadLetterCause::Quarantined(Arc::clone(&error));
        self.close(Closed::Quarantined, &cause);
        if self.handle.is_none() {
            // The engine holds nothing of it.
            self.reservation = None;
        }
        let component = self.resident.id.clone();
        let event = || Event::Quarantined { component, error };
        self.shared.office.tell(event);
    }

    /// Gives the component a fresh instance, whatever became of the one before, once [all has
    /// ended](Self::settle) that is handled.
    pub(crate) async fn restart(&mut self) -> Result<(), HostError> {
        let Some(handle) = self.handle.clone() else {
            return self.start().await;
        };
        // An instance that has not failed ends here.
        self.end_instance();
        self.resident.begin_instance(Some(handle.handle_id()));
        let engine = &Arc::clone(&self.shared.engine);
        match self.attend(engine.restart_component(&handle)).await {
            Ok(()) => {
                self.serve();
                self.resident.meters().restart();
                self.resident
                    .update(|record| record.health = HealthStatus::Unknown);
                let component = self.resident.id.clone();
                self.shared.office.tell(|| Event::Restarted { component });
                Ok(())
            }
            Err(error) => {
                let error = self.not_made(error);
                self.fail(Arc::clone(&error));
                Err(HostError::Engine(error))
            }
        }
    }

    /// On behalf of an operator.
    pub(crate) async fn restart_by_hand(&mut self) -> Result<(), HostError> {
        // What comes of that may close the mailbox.
        self.settle().await;
        self.restarts.forget();
        self.resident
            .update(|record| record.phase = Phase::Restarting);
        let mailbox = self.recipe.supervision.mailbox;
        self.resident.mailbox.open(mailbox);
        self.restart().await
    }

    pub(crate) async fn swap(&mut self, swap: Swap, prepared: Prepared) {
        match prepared {
            Ok(_prepared) => {
                self.settle().await;
                let slept = matches!(self.state, State::Asleep);
                let set = swap.permissions_set;
                let replaced = match swap.reservation {
                    Some(reservation) => self.replace(swap.recipe, set, reservation).await,
                    None => self.replace_ended(swap.recipe, set).await,
                };
                if slept && replaced.is_ok() {
                    self.sleep_on().await;
                }
                let _ = swap.reply.send(replaced);
            }
            Err(error) => {
                let office = &self.shared.office;
                let error = office.tell_not_loaded(&self.resident.id, error);
                swap.fail(HostError::Engine(error));
            }
        }
    }

    /// The old instance has ended its call and is idle while the new one is made. Until
    /// that is done, it can go on.
    async fn replace(
        &mut self,
        recipe: Arc<Recipe>,
        permissions_set: u64,
        mut reservation: Reservation,
    ) -> Result<(), HostError> {
        let resident = Arc::clone(&self.resident);
        let mut before = Phase::Swapping;
        resident.update(|record| mem::swap(&mut record.phase, &mut before));
        resident.begin_version(&recipe, permissions_set);
        let made = self.make(&recipe, &mut reservation).await;
        let handle = made.inspect_err(|_| {
            resident.update(|record| record.phase = before);
        })?;
        let old = self.handle.replace(handle);
        // Its last words are said as the old one, with the old one's permissions.
        let shutdown = match &old {
            Some(old) => self.unload_instance(old).await,
            None => Ok(()),
        };
        self.end_instance();
        if let Err(error) = shutdown {
            tracing::warn!(component = %resident.id, "replaced: {error}");
        }
        self.become_version(recipe, reservation);
        Ok(())
    }

    /// The same where there is no room for both: the old one ends first, and gives its share to
    /// the new one. If that does not start, the old version is started anew.
    async fn replace_ended(
        &mut self,
        recipe: Arc<Recipe>,
        permissions_set: u64,
    ) -> Result<(), HostError> {
        let resident = Arc::clone(&self.resident);
        let (old_bytes, new_bytes) = (self.recipe.memory_bytes(), recipe.memory_bytes());
        let mut reservation = match self.reservation.take() {
            Some(reservation) => reservation,
            None => self
                .shared
                .budget
                .reserve(new_bytes)
                .map_err(no_room(&resident.id))?,
        };
        if let Err(source) = reservation.resize(old_bytes.max(new_bytes)) {
            self.reservation = Some(reservation);
            return Err(no_room(&resident.id)(source));
        }
        resident.update(|record| record.phase = Phase::Swapping);
        if let Some(old) = self.handle.take()
            && let Err(error) = self.unload_instance(&old).await
        {
            tracing::warn!(component = %resident.id, "ended to be replaced: {error}");
        }
        self.end_instance();
        reservation.keep_nothing();
        resident.begin_version(&recipe, permissions_set);
        let made = self.make(&recipe, &mut reservation).await;
        let kept_bytes = match &made {
            Ok(_) => new_bytes,
            Err(_) => old_bytes,
        };
        // There is room for the smaller one, too.
        let _ = reservation.resize(kept_bytes);
        match made {
            Ok(handle) => {
                self.handle = Some(handle);
                self.become_version(recipe, reservation);
                Ok(())
            }
            Err(error) => {
                self.reservation = Some(reservation);
                self.go_on_without().await;
                Err(error)
            }
        }
    }

    /// The instance was ended for a new version that did not start.
    async fn go_on_without(&mut self) {
        match self.state {
            State::Serving => {
                self.state = State::Waiting(Instant::now());
                // What comes of it is told.
                let _ = self.start().await;
            }
            State::Waiting(_) => {
                let restarting = |record: &mut Record| record.phase = Phase::Restarting;
                self.resident.update(restarting);
            }
            State::Asleep => {
                self.reservation = None;
                self.lie_down();
            }
            State::Quarantined => {
                self.reservation = None;
                let quarantined = |record: &mut Record| record.phase = Phase::Quarantined;
                self.resident.update(quarantined);
            }
        }
    }

    /// Serves as another version from now on, an instance of which is there.
    fn become_version(&mut self, recipe: Arc<Recipe>, reservation: Reservation) {
        let resident = Arc::clone(&self.resident);
        self.recipe = recipe;
        self.reservation = Some(reservation);
        self.serve();
        resident.mailbox.open(self.recipe.supervision.mailbox);
        resident.update(|record| {
            record.version.clone_from(&self.recipe.version);
            record.health = HealthStatus::Unknown;
            record.counts.swaps += 1;
        });
        self.restarts.forget();
        let component = resident.id.clone();
        self.shared.office.tell(|| Event::Swapped { component });
    }

    /// On behalf of an operator, for whom one that sleeps is woken.
    pub(crate) async fn health(&mut self) -> Result<HealthStatus, HostError> {
        if matches!(self.state, State::Asleep) {
            self.start().await?;
        }
        self.ask_health().await
    }

    async fn ask_health(&mut self) -> Result<HealthStatus, HostError> {
        self.find_turn().await;
        let Some(handle) = self.handle.clone() else {
            let cause = self.resident.record().cause;
            let not_there = || HostError::NotLoaded(self.resident.id.clone());
            return Err(cause.map_or_else(not_there, HostError::Engine));
        };
        let engine = &Arc::clone(&self.shared.engine);
        let asked = self.attend(engine.health(&handle)).await;
        self.examined = Instant::now();
        match asked {
            Ok(health) => {
                self.resident.update(|record| record.health = health);
                Ok(health)
            }
            Err(error) => {
                let error = kept(error);
                self.lose(&error);
                Err(HostError::Engine(error))
            }
        }
    }

    /// Asks the component how it is, because its manifest says so, and restarts it if it has
    /// been unhealthy for long enough.
    pub(crate) async fn examine(&mut self) {
        // An error is a failure, of which is told.
        let Ok(health) = self.ask_health().await else {
            return;
        };
        if health != HealthStatus::Unhealthy {
            self.unhealthy_answers = 0;
            return;
        }
        self.unhealthy_answers += 1;
        let answers = self.unhealthy_answers;
        if answers < Supervision::UNHEALTHY_ANSWERS {
            return;
        }
        let component = self.resident.id.clone();
        self.shared
            .office
            .tell(|| Event::Unhealthy { component, answers });
        self.settle().await;
        if !self.is_serving() {
            // It has failed meanwhile.
            return;
        }
        self.resident
            .update(|record| record.phase = Phase::Restarting);
        let rest = self.restarts.rest(&self.recipe.supervision, Instant::now());
        // What comes of it is told.
        let _ = self.restart().await;
        // One that stays unhealthy is not restarted all the time.
        self.examined = Instant::now() + rest;
    }

    /// Why the instance is gone, if it is.
    pub(crate) async fn failure(&self) -> Option<Arc<WasmError>> {
        let engine = &self.shared.engine;
        let handle = self.handle.as_ref()?;
        match engine.usage(handle).await {
            Ok(usage) if usage.state != ComponentState::Failed => None,
            // One that has failed says why without being called.
            Ok(_) => match engine.health(handle).await {
                Err(WasmError::ComponentFailed { source, .. }) => {
                    Some(kept(WasmError::clone(&source)))
                }
                Err(error) if error.fails_instance() => Some(kept(error)),
                _ => None,
            },
            Err(error) => matches!(error, WasmError::ComponentNotFound { .. }).then(|| kept(error)),
        }
    }

    pub(crate) async fn unload(
        mut self,
        closed: Closed,
        cause: DeadLetterCause,
    ) -> Result<(), HostError> {
        let resident = Arc::clone(&self.resident);
        resident.update(|record| record.phase = Phase::Unloading);
        self.close(closed, &cause);
        let swap = resident.swaps.close().await;
        self.settle().await;
        let shutdown = match self.handle.take() {
            Some(handle) => self.shared.engine.unload_component(&handle).await,
            None => Ok(()),
        };
        self.end_instance();
        let error = shutdown.err().map(kept);
        let office = Arc::clone(&self.shared.office);
        office.tell_denials(&resident.id, resident.denials.take());
        office.tell(|| Event::Unloaded {
            component: resident.id.clone(),
            error: error.clone(),
        });
        // Whoever is told finds room for another.
        drop(self);
        drop(swap);
        error.map_or(Ok(()), |error| Err(HostError::Engine(error)))
    }
}

/// For the new version of a component, the old one of which has no share to give.
fn no_room(component: &ComponentId) -> impl Fn(BudgetExceeded) -> HostError + use<> {
    let component = component.clone();
    move |source| HostError::Budget {
        component: component.clone(),
        source,
    }
}
