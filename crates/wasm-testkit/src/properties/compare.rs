//! Running a sequence on two engines at a time.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::{self, Display};
use std::future::poll_fn;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

use wasm_core::{
    ComponentHandle, ComponentId, ComponentMessage, ComponentState, ComponentUsage, CorrelationId,
    Defect, HostServices, MessagePayload, RuntimeEngine, Trap, WasmError,
};
use wasm_fixtures::Behaviour;

use super::sequence::{Call, Operation, SLOTS, Sequence};
use super::services::Services;
use crate::conformance::{Harness, Settings};
use crate::{ManualClock, ModelEngine, RouterCall, Time};

/// An operation that takes longer has not ended: what waits is stopped long before.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long it may take until as many are held up as in the model.
const STANDSTILL: Duration = Duration::from_secs(10);

/// How many bytes of an answer are shown.
const SHOWN_BYTES: usize = 120;

/// An operation of which an engine does not make what the model does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// As in the sequence, from 1; one more than there are for the usage at the end.
    pub place: usize,
    /// The operation, as in the printed sequence.
    pub operation: String,
    /// What the model made of it.
    pub expected: String,
    /// What the engine made of it.
    pub found: String,
}

impl Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            operation,
            expected,
            found,
        } = self;
        write!(
            f,
            "operation {place}, `{operation}`\n    expected: {expected}\n    found:    {found}"
        )
    }
}

impl Sequence {
    /// Runs it on a fresh engine of `harness` and on a model.
    ///
    /// # Errors
    /// The first operation of which they do not make the same.
    pub fn compare<H: Harness>(&self, harness: &H) -> Result<(), Difference> {
        self.compare_in(Time::Real, harness)
    }

    /// [`compare`](Self::compare), with the engine on this clock.
    ///
    /// # Errors
    /// The first operation of which they do not make the same.
    pub fn compare_in<H: Harness>(&self, time: Time, harness: &H) -> Result<(), Difference> {
        compare(self, harness, time)
    }

    /// [`compare`](Self::compare) for a test.
    ///
    /// # Panics
    /// With the difference, if there is one.
    pub fn check<H: Harness>(&self, harness: &H) {
        if let Err(difference) = self.compare(harness) {
            panic!("the engine is not like the model: {difference}");
        }
    }
}

fn compare<H: Harness>(sequence: &Sequence, harness: &H, time: Time) -> Result<(), Difference> {
    let usages: Vec<Operation> = (0..SLOTS).map(Operation::Usage).collect();
    let operations: Vec<&Operation> = sequence.operations().iter().chain(&usages).collect();
    // Nobody needs to wait for what hangs in the model.
    let (expected, standstills) = runtime(Time::Paused).block_on(async {
        let mut model = Subject::new(|services| Arc::new(ModelEngine::new(services)));
        let mut outcomes = Vec::new();
        for operation in &operations {
            outcomes.push(model.run(operation).await);
        }
        (outcomes, model.found)
    });
    let runtime = runtime(time);
    let outcome = runtime.block_on(async {
        let mut engine = Subject::new(|services| harness.engine(services, Settings::default()));
        engine.expected = Some(standstills.into());
        for (place, (operation, expected)) in operations.iter().zip(expected).enumerate() {
            let found = engine.run(operation).await;
            if expected != found {
                return Err(Difference {
                    place: place + 1,
                    operation: operation.to_string(),
                    expected,
                    found,
                });
            }
        }
        Ok(())
    });
    // What an engine left waiting is not waited for.
    runtime.shutdown_background();
    outcome
}

fn runtime(time: Time) -> Runtime {
    let mut builder = Builder::new_current_thread();
    let paused = time == Time::Paused;
    let runtime = builder.enable_all().start_paused(paused).build();
    runtime.expect("an async runtime can be made")
}

/// An engine and what is loaded in it.
struct Subject<E: ?Sized> {
    engine: Arc<E>,
    clock: Arc<ManualClock>,
    services: Arc<Services>,
    slots: [Slot; SLOTS],
    undelivered: Vec<Letter>,
    /// What the model came to, one for each batch that was held.
    expected: Option<VecDeque<Standstill>>,
    found: Vec<Standstill>,
}

/// What closed services bring a batch to.
#[derive(Debug, Clone)]
struct Standstill {
    /// Who is inside a service, in order.
    held: Vec<ComponentId>,
    /// Which of the calls are not done.
    waits: Vec<bool>,
}

#[derive(Clone)]
struct Slot {
    handle: ComponentHandle,
    /// The model has no memory for components that take no messages.
    memory_is_known: bool,
    /// How many it made.
    requests: u64,
}

/// What a component sent to one other.
struct Letter {
    from: ComponentHandle,
    message: ComponentMessage,
    request: Option<CorrelationId>,
}

type Ending<'a> = Pin<Box<dyn Future<Output = String> + Send + 'a>>;

impl<E: RuntimeEngine + ?Sized> Subject<E> {
    fn new(make: impl FnOnce(HostServices) -> Arc<E>) -> Self {
        let nobody = "demo/nobody/main".parse().expect("it is an id");
        let nobody = Slot {
            handle: ComponentHandle::new(nobody, u64::MAX),
            memory_is_known: true,
            requests: 0,
        };
        let (clock, services) = (Arc::new(ManualClock::new()), Services::new());
        Self {
            engine: make(services.with_clock(&clock)),
            clock,
            services,
            slots: [(); SLOTS].map(|()| nobody.clone()),
            undelivered: Vec::new(),
            expected: None,
            found: Vec::new(),
        }
    }

    /// What comes of it, and what components sent meanwhile.
    async fn run(&mut self, operation: &Operation) -> String {
        let ended = timeout(PATIENCE, self.outcome(operation)).await;
        let mut outcome = ended.unwrap_or_else(|_| "it does not end".to_owned());
        for place in 0..SLOTS {
            for call in self.services.router_of(self.handle(place)).take_calls() {
                outcome += &format!("; {place} {}", sent(&call));
                self.keep(place, call);
            }
        }
        outcome
    }

    fn keep(&mut self, place: usize, call: RouterCall) {
        let (messages, request) = match call {
            RouterCall::Send { message, .. } => (vec![message], None),
            RouterCall::Broadcast { messages, .. } => (messages, None),
            RouterCall::Cancel { .. } => return,
            RouterCall::Request { message, .. } => {
                // As the router numbers them.
                self.slots[place].requests += 1;
                let request = format!("request-{}", self.slots[place].requests);
                (vec![message], Some(request.into()))
            }
        };
        let from = self.handle(place).clone();
        self.undelivered
            .extend(messages.into_iter().map(|message| Letter {
                from: from.clone(),
                message,
                request: request.clone(),
            }));
    }

    async fn outcome(&mut self, operation: &Operation) -> String {
        match operation {
            Operation::Load(load) => {
                let wasm = Bytes::from_static(load.fixture.wasm);
                let config = load.config.clone();
                let mut prepared = None;
                if load.prepared {
                    let wasm = wasm.clone();
                    let preparing = self.engine.prepare_component(&load.id, wasm, &config);
                    prepared = Some(preparing.await.map_err(|error| kind(&error)));
                }
                let loaded = match self.engine.load_component(&load.id, wasm, config).await {
                    Ok(handle) => {
                        let loaded = format!("loaded as {}", handle.id());
                        let behaviour = load.fixture.behaviour;
                        self.slots[load.slot] = Slot {
                            handle,
                            memory_is_known: matches!(behaviour, Behaviour::Component(_)),
                            requests: 0,
                        };
                        loaded
                    }
                    Err(error) => kind(&error),
                };
                match prepared {
                    // Not all is known before it is run, but what is known is true.
                    Some(Err(error)) if error != loaded => {
                        format!("{loaded}, but prepared as {error}")
                    }
                    _ => loaded,
                }
            }
            Operation::Unload(slot) => {
                let unloaded = self.engine.unload_component(self.handle(*slot)).await;
                ended(unloaded, |()| "unloaded".to_owned())
            }
            Operation::Usage(slot) => {
                let usage = self.engine.usage(self.handle(*slot)).await;
                let memory_is_known = self.slots[*slot].memory_is_known;
                ended(usage, |usage| comparable(&usage, memory_is_known))
            }
            Operation::DropMessage(slot, message) => {
                let call = self.call(&Call::Message(*slot, message.clone()));
                tokio::select! {
                    biased;
                    // Whatever it answers: nobody is told.
                    _ = call => {}
                    () = self.begun(*slot) => {}
                }
                self.call(&Call::Health(*slot)).await
            }
            Operation::Deliver => {
                let mut outcomes = vec!["delivered".to_owned()];
                for letter in mem::take(&mut self.undelivered) {
                    for slot in &self.slots {
                        if *slot.handle.id() == letter.message.recipient {
                            outcomes.push(self.deliver(&letter, &slot.handle).await);
                        }
                    }
                }
                outcomes.join("; ")
            }
            Operation::SetClock(now) => {
                self.clock.set(*now);
                "set".to_owned()
            }
            Operation::Batch(calls) => {
                let calls = calls.iter().map(|call| self.call(call)).collect();
                all(calls).await.join("; ")
            }
            Operation::Held(calls, dropped) => self.held(calls, dropped).await,
            Operation::Troubled(trouble, call) => {
                self.services.prepare(*trouble);
                let outcome = self.call(call).await;
                self.services.calm();
                outcome
            }
            Operation::Call(call) => self.call(call).await,
        }
    }

    /// Makes calls while the services are closed, drops some of those that wait, and
    /// opens the services.
    async fn held(&mut self, calls: &[Call], dropped: &[usize]) -> String {
        let expected = self.expected.as_mut().and_then(VecDeque::pop_front);
        self.services.close();
        let mut running: Vec<_> = calls.iter().map(|call| Some(self.call(call))).collect();
        let mut outcomes = vec![None; calls.len()];
        tokio::select! {
            biased;
            () = finish(&mut running, &mut outcomes) => {}
            () = self.come_to_a_standstill(expected.as_ref()) => {}
        }
        let mut held = self.services.held();
        held.sort_unstable();
        let found = Standstill {
            held,
            waits: outcomes.iter().map(Option::is_none).collect(),
        };
        let shown = format!("held {:?}", found.held);
        let expected = expected.as_ref().unwrap_or(&found);
        let mut to_wait_for = BTreeSet::new();
        for place in dropped {
            let Some(call) = calls.get(*place) else {
                continue;
            };
            // One that is not behind closed services may have ended.
            if expected.waits[*place] && self.is_held(call.slot(), calls, expected) {
                outcomes[*place].get_or_insert_with(|| "dropped".to_owned());
                running[*place] = None;
                to_wait_for.insert(call.slot());
            }
        }
        self.services.open();
        finish(&mut running, &mut outcomes).await;
        drop(running);
        let mut outcomes: Vec<_> = outcomes.into_iter().flatten().collect();
        for slot in to_wait_for {
            outcomes.push(self.call(&Call::Health(slot)).await);
        }
        self.found.push(found);
        format!("{shown}; {}", outcomes.join("; "))
    }

    /// As the model did, which is given time until nobody does anything any more.
    async fn come_to_a_standstill(&self, expected: Option<&Standstill>) {
        let count = expected.map_or(0, |expected| expected.held.len());
        let all_are_held = async {
            while self.services.held().len() < count {
                sleep(Duration::from_millis(1)).await;
            }
        };
        // If they never are, that is the difference.
        let _ = timeout(STANDSTILL, all_are_held).await;
        sleep(Duration::from_millis(1)).await;
    }

    /// Whether the component is inside a closed service: all of the batch are that have
    /// its id.
    fn is_held(&self, slot: usize, calls: &[Call], standstill: &Standstill) -> bool {
        let id = self.handle(slot).id();
        let slots: BTreeSet<usize> = calls.iter().map(Call::slot).collect();
        let twins = slots.iter().filter(|slot| self.handle(**slot).id() == id);
        let held = standstill.held.iter().filter(|held| *held == id);
        held.count() == twins.count()
    }

    /// Until a guest has been entered.
    async fn begun(&self, slot: usize) {
        let busy = |usage: &ComponentUsage| usage.state == ComponentState::Busy;
        while !(self.engine.usage(self.handle(slot)).await).is_ok_and(|usage| busy(&usage)) {
            sleep(Duration::from_millis(1)).await;
        }
    }

    fn call(&self, call: &Call) -> Ending<'_> {
        let engine = &self.engine;
        match call.clone() {
            Call::Message(slot, message) => Box::pin(async move {
                let answer = engine.call_handle_message(self.handle(slot), message);
                answered(answer.await)
            }),
            Call::Callback(slot, message) => Box::pin(async move {
                let taken = engine.call_handle_callback(self.handle(slot), message);
                called_back(taken.await)
            }),
            Call::Restart(slot) => Box::pin(async move {
                let restarted = engine.restart_component(self.handle(slot)).await;
                ended(restarted, |()| "restarted".to_owned())
            }),
            Call::Health(slot) => Box::pin(async move {
                let health = engine.health(self.handle(slot)).await;
                ended(health, |health| health.to_string())
            }),
            Call::Metadata(slot) => Box::pin(async move {
                let metadata = engine.metadata(self.handle(slot)).await;
                ended(metadata, |metadata| format!("{metadata:?}"))
            }),
        }
    }

    /// The answer to a request goes back at once.
    async fn deliver(&self, letter: &Letter, to: &ComponentHandle) -> String {
        let message = letter.message.clone();
        let (sender, recipient) = (message.sender.clone(), message.recipient.clone());
        let answer = self.engine.call_handle_message(to, message).await;
        let outcome = answered(answer.clone());
        let (Ok(Some(payload)), Some(request)) = (answer, &letter.request) else {
            return outcome;
        };
        let reply = ComponentMessage::new(recipient, sender, payload);
        let reply = reply.with_correlation_id(request.clone());
        let taken = self.engine.call_handle_callback(&letter.from, reply).await;
        format!("{outcome}, who asked {}", called_back(taken))
    }

    fn handle(&self, slot: usize) -> &ComponentHandle {
        &self.slots[slot].handle
    }
}

async fn all(calls: Vec<Ending<'_>>) -> Vec<String> {
    let mut outcomes = vec![None; calls.len()];
    let mut calls: Vec<_> = calls.into_iter().map(Some).collect();
    finish(&mut calls, &mut outcomes).await;
    outcomes.into_iter().flatten().collect()
}

/// Polls them in this order, so that they have their places in it.
async fn finish(calls: &mut [Option<Ending<'_>>], outcomes: &mut [Option<String>]) {
    poll_fn(|context| {
        for (call, outcome) in calls.iter_mut().zip(&mut *outcomes) {
            if let Some(running) = call
                && let Poll::Ready(ended) = running.as_mut().poll(context)
            {
                *outcome = Some(ended);
                *call = None;
            }
        }
        if calls.iter().all(Option::is_none) {
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
}

fn ended<T>(outcome: Result<T, WasmError>, show: impl FnOnce(T) -> String) -> String {
    outcome.map_or_else(|error| kind(&error), show)
}

fn answered(answer: Result<Option<MessagePayload>, WasmError>) -> String {
    ended(answer, |answer| match answer {
        Some(payload) => format!("answered {}", shown(&payload)),
        None => "answered nothing".to_owned(),
    })
}

fn called_back(taken: Result<(), WasmError>) -> String {
    ended(taken, |()| "took the callback".to_owned())
}

/// Without the handle, whose number is the engine's own.
fn sent(call: &RouterCall) -> String {
    // A payload shows no more of itself than its length.
    let whole = |message: &ComponentMessage| format!("{message:?} {}", shown(&message.payload));
    match call {
        RouterCall::Send { message, .. } => format!("sent {}", whole(message)),
        RouterCall::Request {
            message, timeout, ..
        } => format!("requested within {timeout:?} {}", whole(message)),
        RouterCall::Cancel { request, .. } => format!("cancelled {request:?}"),
        RouterCall::Broadcast { messages, .. } => {
            let messages: Vec<String> = messages.iter().map(whole).collect();
            format!("broadcast {}", messages.join(", "))
        }
    }
}

/// All of it, or as much as can be read and what tells the rest from others.
fn shown(payload: &MessagePayload) -> String {
    let bytes = payload.as_bytes();
    let Some(beginning) = bytes.get(..SHOWN_BYTES) else {
        return format!("\"{}\"", bytes.escape_ascii());
    };
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!(
        "\"{}…\" ({} bytes, hash {:x})",
        beginning.escape_ascii(),
        bytes.len(),
        hasher.finish()
    )
}

/// Without the fuel, which is the engine's own.
fn comparable(usage: &ComponentUsage, memory_is_known: bool) -> String {
    let (state, calls, restarts) = (usage.state, usage.calls, usage.restarts);
    let (traps, timeouts) = (usage.traps, usage.timeouts);
    let counted =
        format!("{state}, calls {calls}, traps {traps}, timeouts {timeouts}, restarts {restarts}");
    if !memory_is_known {
        return counted;
    }
    let (now, peak) = (usage.memory_bytes, usage.peak_memory_bytes);
    format!("{counted}, memory {now}, at peak {peak}")
}

/// Everything in which engines must agree: no texts of an engine or its libraries,
/// no fuel, no frames.
fn kind(error: &WasmError) -> String {
    match error {
        WasmError::ComponentNotFound { handle } => format!("ComponentNotFound {}", handle.id()),
        WasmError::InvalidComponent {
            component, defect, ..
        } => format!("InvalidComponent {component}: {}", defect_kind(defect)),
        WasmError::ImportNotFound {
            component, import, ..
        } => format!("ImportNotFound {component}: {import}"),
        WasmError::InstantiationFailed { component, .. } => {
            format!("InstantiationFailed {component}")
        }
        WasmError::Trapped {
            component,
            export,
            trap,
            ..
        } => format!("Trapped {component} in {export}: {}", trap_kind(trap)),
        WasmError::ResourceLimitExceeded {
            component,
            export,
            resource,
            limit,
            requested,
            ..
        } => format!(
            "ResourceLimitExceeded {component} in {export}: {resource:?}, limit {limit}, \
             requested {requested:?}"
        ),
        WasmError::Timeout {
            component,
            export,
            limit,
            ..
        } => format!("Timeout {component} in {export}: limit {limit:?}"),
        WasmError::ComponentFailed { component, source } => {
            format!("ComponentFailed {component}, because of {}", kind(source))
        }
        // The rest has nothing that may differ.
        other => format!("{other:?}"),
    }
}

fn defect_kind(defect: &Defect) -> String {
    match defect {
        Defect::Malformed { .. } => "Malformed".to_owned(),
        Defect::WrongExportType { export, .. } => format!("WrongExportType {export}"),
        Defect::TooComplex { .. } => "TooComplex".to_owned(),
        Defect::Unsupported { .. } => "Unsupported".to_owned(),
        other => format!("{other:?}"),
    }
}

fn trap_kind(trap: &Trap) -> String {
    match trap {
        Trap::RefusedByHost(_) => "RefusedByHost".to_owned(),
        Trap::Other(_) => "Other".to_owned(),
        other => format!("{other:?}"),
    }
}
