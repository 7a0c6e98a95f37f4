//! What can be seen from outside of the host: what was accepted, and what the engine
//! was called with.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use wasm_core::{
    Clock, ComponentConfig, ComponentHandle, ComponentId, ComponentMessage, CorrelationId,
    MessagePayload, Timestamp, WasmError,
};
use wasm_host::{DeadLetter, LetterKind, RequestError};

/// A moment in the order of things. It is the timestamp of messages too, so that no
/// two messages have the same: what a message is known by.
pub(crate) type Moment = u64;

#[derive(Default)]
pub(crate) struct Ledger {
    moment: AtomicU64,
    book: Mutex<Book>,
}

#[derive(Default)]
pub(crate) struct Book {
    /// Messages and requests, by their timestamps.
    pub(crate) letters: BTreeMap<Moment, Sent>,
    /// Those of components that were accepted.
    pub(crate) requests: HashMap<CorrelationId, Asked>,
    /// The same, in order.
    pub(crate) asked: Vec<CorrelationId>,
    /// Those of the program, refused ones included.
    pub(crate) answers: Vec<Awaited>,
    pub(crate) calls: Vec<Call>,
    pub(crate) lives: Vec<Life>,
    pub(crate) dead: Vec<DeadLetter>,
    /// Those that were delivered once more.
    pub(crate) redelivered: Vec<DeadLetter>,
    /// By their numbers.
    pub(crate) timers: BTreeMap<u64, Set>,
    pub(crate) rings: Vec<Ring>,
    /// Timers that are in the store at the end.
    pub(crate) kept: HashSet<u64>,
    /// What was wrong at once.
    pub(crate) wrong: Vec<String>,
    /// How often something happened.
    pub(crate) tally: BTreeMap<String, u64>,
    handles: HashMap<ComponentId, ComponentHandle>,
    /// By number of the engine.
    living: HashMap<u64, usize>,
    /// What instances asked in their `initialize`, until that ends.
    first_asked: HashMap<ComponentHandle, Vec<CorrelationId>>,
    busy: HashMap<u64, Vec<&'static str>>,
    /// How each is to be called, by number of the engine.
    configs: HashMap<u64, ComponentConfig>,
    /// Those that handled several at a time, now or before: their messages end in any order.
    pub(crate) unordered: HashSet<ComponentId>,
    broken: HashSet<u64>,
}

/// A message or request that a host was given.
pub(crate) struct Sent {
    pub(crate) kind: LetterKind,
    pub(crate) sender: ComponentId,
    pub(crate) recipient: ComponentId,
    pub(crate) payload: MessagePayload,
    pub(crate) accepted: Accepted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accepted {
    Yes,
    /// One of a broadcast of which some were refused, or one that nobody waited for.
    Maybe,
    No,
}

/// A request of a component.
pub(crate) struct Asked {
    pub(crate) letter: Moment,
    pub(crate) of: ComponentId,
    pub(crate) requester: ComponentId,
    /// The life in which it was made, for which its `initialize` counts.
    pub(crate) life: Option<usize>,
    pub(crate) deadline: Instant,
    pub(crate) cancelled: Option<Moment>,
    /// When this instance was told that there is nothing to cancel.
    pub(crate) not_cancelled: Vec<(Moment, Instant)>,
}

/// A timer that was set.
pub(crate) struct Set {
    pub(crate) due: Instant,
    /// Whether it was taken back, where that was asked for; `None` where it is not known.
    pub(crate) cancelled: Vec<(Moment, Option<bool>)>,
}

/// A delivery of a timer.
pub(crate) struct Ring {
    pub(crate) timer: Option<u64>,
    pub(crate) began: (Moment, Instant),
    pub(crate) outcome: Option<Outcome>,
}

/// The number of a timer, as its message has it.
pub(crate) fn timer_of(message: &ComponentMessage) -> Option<u64> {
    message.correlation_id.as_ref()?.as_str().parse().ok()
}

/// A request of the program.
pub(crate) struct Awaited {
    pub(crate) letter: Moment,
    pub(crate) asked: Instant,
    pub(crate) timeout: Duration,
    pub(crate) given_up: bool,
    pub(crate) outcome: Option<(Instant, Result<Option<MessagePayload>, RequestError>)>,
}

/// A delivery.
pub(crate) struct Call {
    pub(crate) handle: ComponentHandle,
    pub(crate) life: Option<usize>,
    pub(crate) is_callback: bool,
    pub(crate) message: ComponentMessage,
    pub(crate) ended: Option<(Moment, Instant, Outcome)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answered(Option<MessagePayload>),
    GuestError,
    /// The instance had failed before.
    NotReached,
    Failed,
}

/// An instance, from its `initialize` to its end as the host can know it.
pub(crate) struct Life {
    pub(crate) ended: Option<(Moment, Instant)>,
}

thread_local! {
    /// What the clock told this thread, for who stamps messages on it.
    static TOLD: RefCell<Vec<Moment>> = const { RefCell::new(Vec::new()) };
}

/// What the clock has told this thread since the last time.
pub(crate) fn told() -> Vec<Moment> {
    TOLD.with_borrow_mut(mem::take)
}

/// The moment of a message or a dead letter.
pub(crate) fn moment_of(timestamp: Timestamp) -> Moment {
    timestamp.seconds
}

impl Clock for Ledger {
    fn now(&self) -> Timestamp {
        let moment = self.next();
        TOLD.with_borrow_mut(|told| told.push(moment));
        timestamp(moment)
    }
}

pub(crate) fn timestamp(moment: Moment) -> Timestamp {
    Timestamp {
        seconds: moment,
        nanoseconds: 0,
    }
}

impl Ledger {
    pub(crate) fn next(&self) -> Moment {
        self.moment.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(&self, what: &str) {
        self.book().count(what);
    }

    /// An instance is there.
    pub(crate) fn lives(&self, handle: &ComponentHandle) {
        let mut book = self.book();
        book.lives.push(Life { ended: None });
        let life = book.lives.len() - 1;
        book.living.insert(handle.handle_id(), life);
        for request in book.first_asked(handle) {
            book.count("request: in initialize");
            if let Some(asked) = book.requests.get_mut(&request) {
                asked.life = Some(life);
            }
        }
        book.handles.insert(handle.id().clone(), handle.clone());
        book.broken.remove(&handle.handle_id());
    }

    /// An instance that was to be made ended in its `initialize`.
    pub(crate) fn is_stillborn(&self, id: &ComponentId) {
        let ended = Some((self.next(), Instant::now()));
        let mut book = self.book();
        book.lives.push(Life { ended });
        let life = book.lives.len() - 1;
        let (its, others) = mem::take(&mut book.first_asked)
            .into_iter()
            .partition(|(of, _)| of.id() == id);
        book.first_asked = others;
        for request in HashMap::into_values(its).flatten() {
            book.count("request: in a failed initialize");
            if let Some(asked) = book.requests.get_mut(&request) {
                asked.life = Some(life);
            }
        }
    }

    /// It is gone.
    pub(crate) fn dies(&self, handle: &ComponentHandle) {
        let ended = Some((self.next(), Instant::now()));
        let mut book = self.book();
        book.first_asked(handle);
        if let Some(life) = book.living.remove(&handle.handle_id()) {
            book.lives[life].ended = ended;
        }
    }

    /// The engine's number of the one that was loaded last.
    pub(crate) fn handle(&self, id: &ComponentId) -> Option<ComponentHandle> {
        self.book().handles.get(id).cloned()
    }

    /// From now on, calls do not reach the instance.
    pub(crate) fn breaks(&self, handle: &ComponentHandle) {
        self.book().broken.insert(handle.handle_id());
    }

    pub(crate) fn is_broken(&self, handle: &ComponentHandle) -> bool {
        self.book().broken.contains(&handle.handle_id())
    }

    /// How the component is to be called that was loaded under this handle.
    pub(crate) fn is_configured(&self, handle: &ComponentHandle, config: &ComponentConfig) {
        let mut book = self.book();
        if config.concurrency() > 1 {
            book.unordered.insert(handle.id().clone());
        }
        book.configs.insert(handle.handle_id(), config.clone());
    }

    /// Whether one of its instances may fail without the others.
    pub(crate) fn is_renewed(&self, handle: &ComponentHandle) -> bool {
        let book = self.book();
        let config = book.configs.get(&handle.handle_id());
        config.is_some_and(ComponentConfig::renews_instances)
    }

    /// A host makes as many calls of a component at a time as are allowed, and none beside what
    /// ends them all.
    pub(crate) fn enters(
        self: &Arc<Self>,
        handle: &ComponentHandle,
        what: &'static str,
    ) -> Entered {
        let number = handle.handle_id();
        let mut book = self.book();
        let config = book.configs.get(&number);
        let allowed = config.map_or(1, ComponentConfig::concurrency) as usize;
        let others = book.busy.entry(number).or_default();
        let ends_all = |what: &&str| ["restart", "unload"].contains(what);
        let is_alone = ends_all(&what) || others.iter().any(ends_all);
        let too_many = others.len() >= allowed || is_alone && !others.is_empty();
        let wrong =
            too_many.then(|| format!("{what} of {handle} during its {}", others.join(", ")));
        others.push(what);
        let is_beside = others.len() > 1;
        book.wrong.extend(wrong);
        if is_beside {
            book.count("several at a time");
        }
        Entered {
            ledger: Arc::clone(self),
            handle: handle.clone(),
            what,
        }
    }

    pub(crate) fn delivers(
        &self,
        handle: &ComponentHandle,
        message: &ComponentMessage,
        is_callback: bool,
    ) -> usize {
        let mut book = self.book();
        let life = book.living.get(&handle.handle_id()).copied();
        book.calls.push(Call {
            handle: handle.clone(),
            life,
            is_callback,
            message: message.clone(),
            ended: None,
        });
        book.calls.len() - 1
    }

    pub(crate) fn delivered(&self, call: usize, outcome: Outcome) {
        let ended = Some((self.next(), Instant::now(), outcome));
        self.book().calls[call].ended = ended;
    }

    /// A timer was set.
    pub(crate) fn sets(&self, timer: u64, due: Instant) {
        let set = Set {
            due,
            cancelled: Vec::new(),
        };
        if self.book().timers.insert(timer, set).is_some() {
            let wrong = format!("timer {timer} is set twice");
            self.book().wrong.push(wrong);
        }
    }

    /// A timer was to be taken back.
    pub(crate) fn unsets(&self, timer: u64, done: Option<bool>) {
        let moment = self.next();
        if let Some(set) = self.book().timers.get_mut(&timer) {
            set.cancelled.push((moment, done));
        }
    }

    /// A timer is delivered.
    pub(crate) fn rings(&self, message: &ComponentMessage) -> usize {
        let ring = Ring {
            timer: timer_of(message),
            began: (self.next(), Instant::now()),
            outcome: None,
        };
        let mut book = self.book();
        book.rings.push(ring);
        book.rings.len() - 1
    }

    pub(crate) fn rang(&self, ring: usize, outcome: Outcome) {
        self.book().rings[ring].outcome = Some(outcome);
    }

    /// Before a host is given a message. What becomes of it is not known for one that is
    /// dropped meanwhile.
    pub(crate) fn offers(&self, letter: Moment, message: &ComponentMessage, kind: LetterKind) {
        let sent = Sent {
            kind,
            sender: message.sender.clone(),
            recipient: message.recipient.clone(),
            payload: message.payload.clone(),
            accepted: Accepted::Maybe,
        };
        self.book().letters.insert(letter, sent);
    }

    pub(crate) fn settles(&self, letter: Moment, accepted: Accepted) {
        let mut book = self.book();
        if let Some(sent) = book.letters.get_mut(&letter) {
            sent.accepted = accepted;
        }
    }

    /// A request of a component was accepted.
    pub(crate) fn asks(
        &self,
        from: &ComponentHandle,
        letter: Moment,
        request: &CorrelationId,
        timeout: Duration,
    ) {
        let mut book = self.book();
        let asked = Asked {
            letter,
            of: book.letters[&letter].recipient.clone(),
            requester: from.id().clone(),
            life: book.living.get(&from.handle_id()).copied(),
            deadline: Instant::now() + timeout,
            cancelled: None,
            not_cancelled: Vec::new(),
        };
        if asked.life.is_none() {
            let first = book.first_asked.entry(from.clone()).or_default();
            first.push(request.clone());
        }
        if book.requests.insert(request.clone(), asked).is_some() {
            book.wrong.push(format!("{request} is given twice"));
        }
        book.asked.push(request.clone());
    }

    /// A component was told what came of giving up a request.
    pub(crate) fn cancels(&self, from: &ComponentHandle, request: &CorrelationId, done: bool) {
        let moment = self.next();
        let mut book = self.book();
        book.count(if done { "cancelled" } else { "not cancelled" });
        let life = book.living.get(&from.handle_id()).copied();
        let Some(asked) = book.requests.get_mut(request) else {
            if done {
                book.wrong
                    .push(format!("{from} could cancel {request}, which is none"));
            }
            return;
        };
        let is_its_own = asked.life == life && asked.requester == *from.id();
        match (done, is_its_own) {
            (true, true) if asked.cancelled.is_none() => asked.cancelled = Some(moment),
            (true, _) => book.wrong.push(format!("{from} could cancel {request}")),
            (false, true) => asked.not_cancelled.push((moment, Instant::now())),
            (false, false) => {}
        }
    }
}

impl Call {
    pub(crate) fn was_handled(&self) -> bool {
        let outcome = self.ended.as_ref().map(|(_, _, outcome)| outcome);
        matches!(outcome, Some(Outcome::Answered(_) | Outcome::GuestError))
    }
}

impl Book {
    fn first_asked(&mut self, of: &ComponentHandle) -> Vec<CorrelationId> {
        self.first_asked.remove(of).unwrap_or_default()
    }

    pub(crate) fn count(&mut self, what: &str) {
        *self.tally.entry(what.to_owned()).or_default() += 1;
    }
}

/// As long as a call is made.
pub(crate) struct Entered {
    ledger: Arc<Ledger>,
    handle: ComponentHandle,
    what: &'static str,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut book = self.ledger.book();
        let running = book.busy.entry(self.handle.handle_id()).or_default();
        if let Some(place) = running.iter().position(|what| *what == self.what) {
            running.swap_remove(place);
        }
    }
}

impl Outcome {
    pub(crate) fn of(outcome: &Result<Option<MessagePayload>, WasmError>) -> Self {
        match outcome {
            Ok(reply) => Self::Answered(reply.clone()),
            Err(WasmError::GuestError { .. }) => Self::GuestError,
            Err(WasmError::ComponentFailed { .. }) => Self::NotReached,
            Err(_) => Self::Failed,
        }
    }
}
