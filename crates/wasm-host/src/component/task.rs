//! The task of one component: delivers what waits for it, one message after the other or as
//! many at a time as its manifest says, and does what operators, failures and the time ask for
//! while it handles none.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, timeout_at};

use wasm_core::{ComponentHandle, RuntimeEngine};

use crate::component::alarm::Alarm;
use crate::component::budget::{Budget, Reservation};
use crate::component::handled::{Ended, Handled};
use crate::component::orders::{Command, Leaving, Order};
use crate::component::poll::{now_or_never, unpanicked};
use crate::component::port::Port;
use crate::component::recipe::Recipe;
use crate::component::registry::Registry;
use crate::component::resident::{Assignment, Resident};
use crate::component::restarts::Restarts;
use crate::component::sleepers::Sleepers;
use crate::component::swap::{Prepared, Swap};
use crate::error::HostError;
use crate::limits::BudgetExceeded;
use crate::post::letter::Letter;
use crate::post::mailbox::Closed;
use crate::post::office::Office;
use crate::watch::dead_letter::DeadLetterCause;
use crate::watch::event::Event;

/// How long a message waits for room for its recipient's instance.
pub(crate) const ROOM_PATIENCE: Duration = Duration::from_secs(10);

/// Letters that are delivered one upon the other without a look at what is due. Each of them ends
/// within two ticks of the engine, or what is due is looked at meanwhile.
const LETTERS_BETWEEN_LOOKS: u32 = 16;

/// What the tasks of all components share.
pub(crate) struct Shared<E: ?Sized> {
    pub(crate) engine: Arc<E>,
    pub(crate) office: Arc<Office>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) sleepers: Arc<Sleepers>,
}

pub(crate) struct Task<E: ?Sized> {
    pub(crate) shared: Shared<E>,
    pub(crate) resident: Arc<Resident>,
    pub(crate) recipe: Arc<Recipe>,
    pub(crate) restarts: Restarts,
    pub(crate) state: State,
    /// In the engine; `None` before there is an instance, and while the component sleeps.
    pub(crate) handle: Option<ComponentHandle>,
    /// Given back before anyone can see that the component is gone.
    pub(crate) reservation: Option<Reservation>,
    /// What the component handles right now.
    pub(crate) handled: Handled,
    /// The calls for it that nobody awaits, of a component that handles several at a time.
    pub(crate) running: JoinSet<Ended>,
    /// Of the instance that serves.
    pub(crate) port: Option<Arc<Port>>,
    pub(crate) alarm: Alarm,
    /// Since the task last looked whether something is due.
    pub(crate) letters_since: u32,
    /// When the component last had something to do.
    pub(crate) active: Instant,
    /// When it was last asked how it is.
    pub(crate) examined: Instant,
    /// How often in a row it said that it is unhealthy.
    pub(crate) unhealthy_answers: u32,
}

/// What a component is doing.
#[derive(Debug, Clone, Copy)]
pub(crate) enum State {
    Serving,
    /// Without an instance, until there is something to do.
    Asleep,
    /// Failed, and restarted at this time.
    Waiting(Instant),
    /// Failed for good.
    Quarantined,
}

/// What comes next.
enum Next {
    Leave(Leaving),
    Obey(Command),
    Deliver(Box<Letter>),
    /// A call has ended, unless the runtime is gone.
    End(Option<Ended>),
    Swap(Box<Swap>, Prepared),
    Wake(Result<Reservation, BudgetExceeded>),
    /// It may be time for something.
    LookAround,
    /// Something may have come.
    LookAgain,
    /// Nothing: the component sleeps.
    Rest,
}

impl<E: RuntimeEngine + ?Sized + 'static> Task<E> {
    /// That of a component without an instance.
    pub(crate) fn new(shared: Shared<E>, assignment: Assignment) -> Self {
        let now = Instant::now();
        Self {
            shared,
            resident: assignment.resident,
            recipe: assignment.recipe,
            restarts: assignment.restarts,
            state: State::Asleep,
            handle: None,
            reservation: None,
            handled: Handled::default(),
            running: JoinSet::new(),
            port: None,
            alarm: Alarm::default(),
            letters_since: 0,
            active: now,
            examined: now,
            unhealthy_answers: 0,
        }
    }

    /// Makes the component's first instance and serves it until it is unloaded or sleeps.
    pub(crate) async fn load(
        mut self,
        reservation: Reservation,
        loaded: oneshot::Sender<Result<Option<ComponentHandle>, HostError>>,
    ) {
        self.reservation = Some(reservation);
        self.resident.begin_instance(None);
        if let Err(error) = self.make_first().await {
            let cause = match &error {
                HostError::Engine(error) => DeadLetterCause::NotLoaded(Arc::clone(error)),
                _ => DeadLetterCause::Unloaded,
            };
            self.close(Closed::Unloaded, &cause);
            let swap = self.resident.swaps.close().await;
            // Whoever is told finds room for another.
            drop(self);
            drop(swap);
            // Whoever loaded it may be gone; there is nobody else to tell.
            let _ = loaded.send(Err(error));
            return;
        }
        let component = self.resident.id.clone();
        self.shared.office.tell(|| Event::Loaded { component });
        let _ = loaded.send(Ok(self.handle.clone()));
        self.run().await;
    }

    /// Until the component is unloaded or sleeps.
    pub(crate) async fn run(mut self) {
        loop {
            // Whoever asked for something may have gone since.
            match self.next().await {
                Next::Leave(Leaving::Unloaded(reply)) => {
                    let outcome = self
                        .unload(Closed::Unloaded, DeadLetterCause::Unloaded)
                        .await;
                    let _ = reply.send(outcome);
                    return;
                }
                Next::Leave(Leaving::Stopped(reply)) => {
                    let outcome = self.unload(Closed::Stopped, DeadLetterCause::Stopped).await;
                    let _ = reply.send(outcome);
                    return;
                }
                Next::Leave(Leaving::Abandoned) => {
                    self.settle().await;
                    return self.end_instance();
                }
                Next::Obey(command) => self.obey(command).await,
                Next::Deliver(letter) => {
                    self.deliver(letter).await;
                    // A mailbox that never runs empty must not keep others waiting.
                    consume_budget().await;
                }
                Next::End(Some(ended)) => self.end(ended).await,
                Next::End(None) => {}
                Next::Swap(swap, prepared) => self.swap(*swap, prepared).await,
                Next::Wake(Ok(reservation)) => self.wake(reservation).await,
                Next::Wake(Err(exceeded)) => self.stay_asleep(&exceeded),
                Next::LookAround => self.look_around().await,
                Next::LookAgain => {}
                Next::Rest => return,
            }
        }
    }

    /// Leaving overtakes everything, commands overtake messages.
    async fn next(&mut self) -> Next {
        let is_swapping = self.resident.swaps.are_under_way();
        let comes_first = self.letters_since < LETTERS_BETWEEN_LOOKS;
        if comes_first && let Some(next) = self.next_at_once(is_swapping) {
            self.letters_since += 1;
            return next;
        }
        self.letters_since = 0;
        let due = self.due();
        if due.is_some_and(|due| due <= self.active) {
            return Next::LookAround;
        }
        if !comes_first && let Some(next) = self.next_at_once(is_swapping) {
            return next;
        }
        if self.try_to_rest() {
            return Next::Rest;
        }
        if self.is_idle() {
            // Whoever needs room counts as one who waits for it before looking who is idle, so one
            // of the two sees the other.
            let sleepers = &self.shared.sleepers;
            sleepers.begin_idling(&self.resident, self.active);
            if self.shared.budget.is_short() {
                self.resident.drowsy.end();
                return Next::LookAround;
            }
        }
        let memory_bytes = self.recipe.memory_bytes();
        let resident = &self.resident;
        // Else it has looked whether there is one, and the bell rings for the next.
        let takes_letters = self.takes_letters() && is_swapping;
        let is_handling = !self.running.is_empty();
        let needs_room = matches!(self.state, State::Asleep) && resident.mailbox.len() > 0;
        let next = tokio::select! {
            biased;
            (swap, prepared) = resident.swaps.prepared(&resident.id),
                if resident.swaps.are_under_way() => Next::Swap(Box::new(swap), prepared),
            Some(ended) = self.running.join_next(), if is_handling => {
                Next::End(unpanicked(ended))
            }
            () = self.alarm.until(due) => Next::LookAround,
            room = find_room(&self.shared, memory_bytes, self.active), if needs_room => {
                Next::Wake(room)
            }
            letter = resident.mailbox.next(), if takes_letters => {
                letter.map_or(Next::LookAgain, Next::Deliver)
            }
            () = resident.mailbox.rung(), if !takes_letters => Next::LookAgain,
        };
        resident.drowsy.end();
        next
    }

    /// What there is to do without waiting for anything. A new version that is prepared is not
    /// held up by messages that never end.
    fn next_at_once(&mut self, is_swapping: bool) -> Option<Next> {
        if !self.running.is_empty()
            && let Some(ended) = self.running.try_join_next()
        {
            return Some(Next::End(unpanicked(ended)));
        }
        match self.resident.orders.next() {
            Some(Order::Leave(leaving)) => return Some(Next::Leave(leaving)),
            Some(Order::Obey(command)) => return Some(Next::Obey(command)),
            None => {}
        }
        let takes_letters = self.takes_letters() && !is_swapping;
        let letter = takes_letters.then(|| self.resident.mailbox.pop());
        letter.flatten().map(Next::Deliver)
    }

    pub(crate) fn is_serving(&self) -> bool {
        matches!(self.state, State::Serving)
    }

    /// Whether another letter may be handled.
    fn takes_letters(&self) -> bool {
        self.is_serving() && self.handled.len() < self.recipe.config.concurrency() as usize
    }

    /// Leaves the component asleep if there is nothing to do for it; whether this task ends.
    fn try_to_rest(&mut self) -> bool {
        let is_free = matches!(self.state, State::Asleep)
            && self.resident.orders.are_empty()
            && self.resident.mailbox.len() == 0;
        if !is_free {
            return false;
        }
        self.shared
            .office
            .tell_denials(&self.resident.id, self.resident.denials.take());
        let dormant = self.resident.dormant(&self.recipe, self.restarts.clone());
        self.shared.registry.put_to_sleep(&self.resident, dormant)
    }

    /// Whether it could sleep right now.
    fn is_idle(&self) -> bool {
        self.recipe.supervision.idle.is_some()
            && self.is_serving()
            && self.handled.is_empty()
            && self.resident.mailbox.len() == 0
            && self.port.as_ref().is_some_and(|port| port.seats.are_free())
    }

    /// When there is something to do next that nobody asks for.
    fn due(&self) -> Option<Instant> {
        let supervision = &self.recipe.supervision;
        let idle = supervision.idle.filter(|_| self.is_idle());
        let health = supervision
            .health
            .filter(|_| matches!(self.state, State::Serving));
        let restart = match self.state {
            State::Waiting(until) => Some(until),
            _ => None,
        };
        [
            self.resident.denials.due(),
            idle.map(|idle| self.active + idle),
            health.map(|interval| self.examined + interval),
            restart,
            self.resident.mailbox.deadline(),
            self.handled.wanted_until(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what is due.
    async fn look_around(&mut self) {
        let now = Instant::now();
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        self.time_out();
        if is_due(self.resident.denials.due()) {
            let denials = self.resident.denials.take();
            self.shared.office.tell_denials(&self.resident.id, denials);
        }
        let supervision = self.recipe.supervision;
        match self.state {
            State::Waiting(until) if until <= now => {
                self.settle().await;
                // A failure of it is told.
                drop(self.restart().await);
            }
            State::Serving => {
                let idle = supervision.idle.map(|idle| self.active + idle);
                if self.is_idle() && (is_due(idle) || self.shared.budget.is_short()) {
                    self.fall_asleep().await;
                } else if is_due(supervision.health.map(|interval| self.examined + interval)) {
                    self.examine().await;
                }
            }
            _ => {}
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Restart(reply) if !reply.is_closed() => {
                let _ = reply.send(self.restart_by_hand().await);
            }
            Command::Health(reply) if !reply.is_closed() => {
                let _ = reply.send(self.health().await);
            }
            Command::Restart(_) | Command::Health(_) => {}
        }
    }

    /// Waits for a call of the engine, and meanwhile tells whoever waits for this component
    /// when their time is up.
    pub(crate) async fn attend<T>(&mut self, call: impl Future<Output = T>) -> T {
        let mut call = pin!(call);
        // Most calls end at once.
        if let Some(ended) = now_or_never(call.as_mut()).await {
            return ended;
        }
        loop {
            let waiting = self.resident.mailbox.deadline();
            let due = [self.handled.wanted_until(), waiting];
            let due = due.into_iter().flatten().min();
            tokio::select! {
                biased;
                ended = &mut call => return ended,
                () = self.resident.mailbox.rung() => {}
                () = self.alarm.until(due) => self.time_out(),
            }
        }
    }

    /// Tells whoever waits for this component and has waited long enough.
    fn time_out(&self) {
        self.handled.time_out();
        for letter in self.resident.mailbox.withdraw_late() {
            self.shared.office.withdraw_unwanted(&letter);
        }
    }

    /// What waits becomes dead letters, and nothing more is taken.
    pub(crate) fn close(&self, why: Closed, cause: &DeadLetterCause) {
        for letter in self.resident.mailbox.close(why) {
            self.shared.office.give_up(letter, cause.clone());
        }
    }
}

/// Waits for room for an instance.
async fn find_room<E: ?Sized>(
    shared: &Shared<E>,
    memory_bytes: u64,
    since: Instant,
) -> Result<Reservation, BudgetExceeded> {
    let budget = &shared.budget;
    // Whoever waits already comes first.
    if !budget.is_short()
        && let Ok(reservation) = budget.reserve(memory_bytes)
    {
        return Ok(reservation);
    }
    let room = budget.room(memory_bytes, || shared.sleepers.make_room());
    let room = timeout_at(since + ROOM_PATIENCE, room).await;
    room.or_else(|_| budget.reserve(memory_bytes))
}

/// Whatever ends the task, a panic of the engine included, nobody waits for it in vain.
impl<E: ?Sized> Drop for Task<E> {
    fn drop(&mut self) {
        let resident = &self.resident;
        let office = &self.shared.office;
        let _swap = resident.swaps.close_now();
        let waiting = resident.mailbox.close(Closed::Unloaded);
        let instances = [resident.drop_serving(), resident.drop_starting()];
        if instances.iter().any(Option::is_some) {
            let component = resident.id.clone();
            office.tell(|| Event::Abandoned { component });
        }
        for port in instances.into_iter().flatten() {
            self.shared.sleepers.remove(port.incarnation);
            port.close();
        }
        for letter in self.handled.take_all().chain(waiting) {
            office.give_up(letter, DeadLetterCause::Abandoned);
        }
        office.tell_denials(&resident.id, resident.denials.take());
        self.reservation = None;
        self.shared.registry.remove(resident);
        // Whoever waits for it looks whether it is there.
        resident.orders.close();
    }
}
