//! Who is there, and how messages reach them: the services that a host gives its
//! engine.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use tracing::{Span, info_span};

use wasm_core::{
    Capability, CapabilityDenied, Clock, ComponentDirectory, ComponentHandle, ComponentId,
    ComponentInfo, ComponentMessage, ComponentPattern, CorrelationId, MessageRouter,
    MessagingError, Permissions, SecurityValidator, Timestamp, WasmError,
};

use crate::component::resident::{Origin, Resident};
use crate::error::{HostError, kept};
use crate::limits::HostLimits;
use crate::lock::{read, write};
use crate::post::answer::{Outcome, RequestError, as_callback};
use crate::post::call::Call;
use crate::post::letter::{Letter, LetterKind, message_bytes};
use crate::post::mailbox::{Closed, Refusal};
use crate::post::requests::{Open, Requester, Requests};
use crate::post::traffic::{InFlight, Traffic};
use crate::watch::dead_letter::{DeadLetter, DeadLetterCause, DeadLetters};
use crate::watch::event::Event;
use crate::watch::event_log::EventLog;
use crate::watch::events::{Events, KEPT_EVENTS};

/// An answer is delivered however much waits elsewhere if it is no larger than an error
/// may be, which would take its place.
const SMALL_ANSWER_BYTES: usize = 4 << 10;

pub(crate) struct Switchboard {
    /// As whom the program around the host sends.
    pub(crate) program: ComponentId,
    pub(crate) limits: HostLimits,
    pub(crate) requests: Requests,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) dead_letters: DeadLetters,
    clock: Arc<dyn Clock>,
    /// Of the embedder; asked after the host's own.
    validator: Arc<dyn SecurityValidator>,
    residents: RwLock<BTreeMap<ComponentId, Arc<Resident>>>,
    events: EventLog,
    /// The program sends nothing more, and nothing is loaded.
    stopping: AtomicBool,
    /// The last event was told.
    stopped: AtomicBool,
}

impl Switchboard {
    pub(crate) fn new(
        program: ComponentId,
        limits: HostLimits,
        clock: Arc<dyn Clock>,
        validator: Arc<dyn SecurityValidator>,
    ) -> Arc<Self> {
        Arc::new(Self {
            program,
            requests: Requests::new(),
            traffic: Traffic::new(limits.queued_bytes),
            dead_letters: DeadLetters::new(limits.dead_letters, limits.dead_letter_bytes),
            events: EventLog::new(KEPT_EVENTS, limits.event_bytes),
            limits,
            clock,
            validator,
            residents: RwLock::default(),
            stopping: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        })
    }

    /// By the embedder's clock. One that panics must not take along whoever asks: the
    /// task that ends overdue requests, or one that is ending already.
    pub(crate) fn now(&self) -> Timestamp {
        let now = catch_unwind(AssertUnwindSafe(|| self.clock.now()));
        now.unwrap_or_default()
    }

    pub(crate) fn resident(&self, id: &ComponentId) -> Option<Arc<Resident>> {
        read(&self.residents).get(id).cloned()
    }

    pub(crate) fn residents(&self) -> Vec<Arc<Resident>> {
        read(&self.residents).values().cloned().collect()
    }

    /// Takes a component in, unless one of its id is there.
    pub(crate) fn admit(&self, resident: Arc<Resident>) -> Result<(), HostError> {
        let mut residents = write(&self.residents);
        // Looked at under the lock: whoever stops sees what came before.
        if self.is_stopping() {
            return Err(HostError::Stopped);
        }
        let id = resident.id.clone();
        if residents.contains_key(&id) {
            return Err(HostError::AlreadyLoaded(id));
        }
        residents.insert(id, resident);
        Ok(())
    }

    /// Unless another has taken its place.
    pub(crate) fn remove(&self, resident: &Arc<Resident>) {
        let mut residents = write(&self.residents);
        if residents
            .get(&resident.id)
            .is_some_and(|there| Arc::ptr_eq(there, resident))
        {
            residents.remove(&resident.id);
        }
    }

    pub(crate) fn stop(&self) {
        let _no_admission = write(&self.residents);
        self.stopping.store(true, Ordering::Release);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn events(&self) -> Events {
        Events::new(self.events.reader(), self.stopped.load(Ordering::Acquire))
    }

    /// Tells of the end once, however often a host is stopped.
    pub(crate) fn tell_stopped(&self) {
        if !self.stopped.swap(true, Ordering::AcqRel) {
            self.tell(|| Event::Stopped);
        }
    }

    /// Makes an event only when somebody reads them.
    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        self.events.tell(event);
    }

    /// Tells that an instance could not be made; of what.
    pub(crate) fn tell_not_loaded(&self, resident: &Resident, error: WasmError) -> Arc<WasmError> {
        let error = kept(error);
        self.tell(|| Event::NotLoaded {
            component: resident.id.clone(),
            error: Arc::clone(&error),
        });
        error
    }

    /// Accepts a message of the program.
    pub(crate) fn send_from_program(
        &self,
        message: ComponentMessage,
    ) -> Result<(), MessagingError> {
        self.check_running()?;
        let way = Way::begin(&message, LetterKind::Message, &Span::current());
        self.accept(message, LetterKind::Message, way)
    }

    /// Accepts a request of the program.
    pub(crate) fn request_from_program(
        &self,
        message: ComponentMessage,
        requester: Requester,
        timeout: Duration,
    ) -> Result<CorrelationId, MessagingError> {
        self.check_running()?;
        let way = Way::begin(&message, LetterKind::Request, &Span::current());
        self.open(requester, message, timeout, way)
    }

    /// Accepts a call of the program.
    pub(crate) fn call_from_program(
        &self,
        message: ComponentMessage,
        call: Call,
    ) -> Result<(), MessagingError> {
        self.check_running()?;
        let way = Way {
            call: Some(call),
            ..Way::begin(&message, LetterKind::Call, &Span::current())
        };
        self.accept(message, LetterKind::Call, way)
    }

    fn check_running(&self) -> Result<(), MessagingError> {
        if self.is_stopping() {
            return Err(MessagingError::DeliveryFailed(
                HostError::Stopped.to_string(),
            ));
        }
        Ok(())
    }

    fn open(
        &self,
        requester: Requester,
        message: ComponentMessage,
        timeout: Duration,
        way: Way,
    ) -> Result<CorrelationId, MessagingError> {
        let target = message.recipient.clone();
        let on_its_way = (way.hops, way.span.clone());
        self.requests
            .open(requester, target, timeout, on_its_way, |id| {
                let message = message.with_correlation_id(id);
                self.accept(message, LetterKind::Request, way)
            })
    }

    /// Puts a message into the mailbox of its recipient.
    fn accept(
        &self,
        message: ComponentMessage,
        kind: LetterKind,
        way: Way,
    ) -> Result<(), MessagingError> {
        let id = message.recipient.clone();
        let Some(resident) = self.resident(&id) else {
            return Err(MessagingError::TargetNotFound(id));
        };
        let bytes = message_bytes(&message);
        let admitted = self.traffic.admit(bytes).or_else(|| {
            let mailbox = &resident.mailbox;
            let own = mailbox.has_room_of_its_own(bytes);
            own.then(|| self.traffic.admit_always(bytes))
        });
        let full = |reason| {
            resident.meters.refused(reason);
            MessagingError::QueueFull
        };
        let in_flight = admitted.ok_or_else(|| full("queued-bytes"))?;
        let letter = way.letter(message, kind, in_flight);
        resident
            .mailbox
            .push(letter)
            .map_err(|refusal| match refusal {
                Refusal::TooManyMessages => full("mailbox-messages"),
                Refusal::TooManyBytes => full("mailbox-bytes"),
                Refusal::Closed(Closed::Unloaded) => MessagingError::TargetNotFound(id),
                Refusal::Closed(Closed::Quarantined) => MessagingError::DeliveryFailed(format!(
                    "{id} is quarantined: it has failed and is not restarted"
                )),
                Refusal::Closed(Closed::Stopped) => {
                    MessagingError::DeliveryFailed(HostError::Stopped.to_string())
                }
            })
    }

    /// Tells who waits for it what came of a request, unless somebody has.
    pub(crate) fn settle(&self, request: &CorrelationId, outcome: Outcome) {
        if let Some(open) = self.requests.close(request) {
            self.answer(request.clone(), open, outcome);
        }
    }

    fn answer(&self, request: CorrelationId, open: Open, outcome: Outcome) {
        match open.requester {
            Requester::Program(caller) => {
                // A caller that has gone wants no answer.
                let _ = caller.send(outcome);
            }
            Requester::Component {
                resident,
                incarnation,
                seat,
            } => {
                let envelope = ComponentMessage::new(open.target, resident.id.clone(), "")
                    .with_correlation_id(request)
                    .with_timestamp(self.now());
                let mut callback = match outcome {
                    Ok(reply) => as_callback(envelope, Ok(reply)),
                    Err(error) => as_callback(envelope, Err(&error)),
                };
                let in_flight = self
                    .traffic
                    .admit(message_bytes(&callback))
                    .unwrap_or_else(|| {
                        if callback.payload.len() > SMALL_ANSWER_BYTES {
                            let reason = "the host has no room for the answer".to_owned();
                            let error = MessagingError::DeliveryFailed(reason).into();
                            callback = as_callback(callback.clone(), Err(&error));
                        }
                        self.traffic.admit_always(message_bytes(&callback))
                    });
                let span = span(&callback, LetterKind::Callback, &open.span);
                // A callback continues what the request began.
                let way = Way {
                    hops: open.hops.saturating_add(1),
                    span,
                    call: None,
                };
                let mut letter = way.letter(callback, LetterKind::Callback, in_flight);
                (letter.incarnation, letter.seat) = (Some(incarnation), Some(seat));
                if let Err(returned) = resident.mailbox.push_callback(letter) {
                    let (letter, closed) = *returned;
                    let cause = match closed {
                        Closed::Stopped => DeadLetterCause::Stopped,
                        Closed::Unloaded | Closed::Quarantined => DeadLetterCause::RequesterGone,
                    };
                    self.give_up(&resident, letter, cause);
                }
            }
        }
    }

    /// Answers the requests whose time is up, for as long as it is polled.
    pub(crate) async fn expire(&self) {
        loop {
            let (request, open) = self.requests.overdue().await;
            let late = MessagingError::CorrelationTimeout(request.clone());
            self.answer(request, open, Err(late.into()));
        }
    }

    /// A message becomes a dead letter; who waits for its answer is told.
    pub(crate) fn give_up(&self, resident: &Resident, mut letter: Letter, cause: DeadLetterCause) {
        let error = || match &cause {
            DeadLetterCause::Failed(error) => RequestError::Component(Arc::clone(error)),
            cause => MessagingError::DeliveryFailed(cause.to_string()).into(),
        };
        if let (LetterKind::Request, Some(request)) = (letter.kind, &letter.message.correlation_id)
        {
            self.settle(request, Err(error()));
        }
        if let Some(call) = letter.call.take() {
            call.answer(Err(error()));
        }
        resident.meters.dead_letter(&cause);
        self.tell(|| Event::DeadLetter {
            from: letter.message.sender.clone(),
            to: letter.message.recipient.clone(),
            kind: letter.kind,
            call: letter.call_name(),
            bytes: letter.message.payload.len(),
            cause: cause.clone(),
        });
        let timestamp = self.now();
        let dead = DeadLetter::new(letter.message, letter.kind, cause, timestamp);
        self.dead_letters.add(dead);
    }

    /// Tells of the denials that were not told one by one.
    pub(crate) fn tell_denials(&self, resident: &Resident) {
        let denials = resident.take_denials();
        if denials > 0 {
            let component = resident.id.clone();
            self.tell(|| Event::DenialsLeftOut { component, denials });
        }
    }

    /// Where a host call comes from.
    fn origin(&self, from: &ComponentHandle) -> Result<(Arc<Resident>, Origin), MessagingError> {
        let resident = self.resident(from.id());
        resident
            .and_then(|resident| {
                let origin = resident.origin(from)?;
                Some((resident, origin))
            })
            .ok_or_else(|| {
                MessagingError::InvalidMessage(format!("{from} is not a component of this host"))
            })
    }

    /// The way of a message that a component sends: one hop further than what it
    /// handles.
    fn way(
        &self,
        message: &ComponentMessage,
        kind: LetterKind,
        origin: &Origin,
    ) -> Result<Way, MessagingError> {
        let limit = self.limits.hops;
        if origin.hops >= limit {
            return Err(MessagingError::DeliveryFailed(format!(
                "hop limit of {limit} reached: messages seem to go in a circle \
                 (`hops` in HostLimits, `--max-hops`)"
            )));
        }
        Ok(Way {
            hops: origin.hops + 1,
            span: span(message, kind, &origin.span),
            call: None,
        })
    }
}

/// What a message carries with it on its way.
struct Way {
    hops: u32,
    span: Span,
    call: Option<Call>,
}

impl Way {
    fn begin(message: &ComponentMessage, kind: LetterKind, parent: &Span) -> Self {
        Self {
            hops: 0,
            span: span(message, kind, parent),
            call: None,
        }
    }

    fn letter(self, message: ComponentMessage, kind: LetterKind, in_flight: InFlight) -> Letter {
        Letter {
            message,
            kind,
            incarnation: None,
            hops: self.hops,
            span: self.span,
            accepted: Instant::now(),
            in_flight,
            seat: None,
            call: self.call,
        }
    }
}

/// From acceptance to the end of the call; what the call sends begins within.
fn span(message: &ComponentMessage, kind: LetterKind, parent: &Span) -> Span {
    info_span!(
        parent: parent,
        "message",
        kind = kind.as_str(),
        from = %message.sender,
        to = %message.recipient,
        bytes = message.payload.len(),
    )
}

#[async_trait]
impl MessageRouter for Switchboard {
    async fn send(
        &self,
        from: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), MessagingError> {
        let (_, origin) = self.origin(from)?;
        let way = self.way(&message, LetterKind::Message, &origin)?;
        self.accept(message, LetterKind::Message, way)
    }

    async fn request(
        &self,
        from: &ComponentHandle,
        message: ComponentMessage,
        timeout: Duration,
    ) -> Result<CorrelationId, MessagingError> {
        let (resident, origin) = self.origin(from)?;
        let way = self.way(&message, LetterKind::Request, &origin)?;
        let seat = origin.seats.try_acquire_owned().map_err(|_| {
            resident.meters.refused("open-requests");
            MessagingError::QueueFull
        })?;
        let requester = Requester::Component {
            resident,
            incarnation: origin.incarnation,
            seat,
        };
        self.open(requester, message, timeout, way)
    }

    async fn cancel_request(
        &self,
        from: &ComponentHandle,
        request: &CorrelationId,
    ) -> Result<(), MessagingError> {
        let (resident, origin) = self.origin(from)?;
        if self
            .requests
            .cancel(request, (&resident.id, origin.incarnation))
        {
            return Ok(());
        }
        Err(MessagingError::InvalidMessage(format!(
            "no open request {request}"
        )))
    }
}

impl SecurityValidator for Switchboard {
    fn validate(
        &self,
        component: &ComponentHandle,
        capability: &Capability,
    ) -> Result<(), CapabilityDenied> {
        let Some(resident) = self.resident(component.id()) else {
            return Err(CapabilityDenied {
                capability: capability.clone(),
                reason: format!("{component} is not a component of this host"),
            });
        };
        resident.validate(component, capability)?;
        self.validator.validate(component, capability)
    }

    fn denied(&self, component: &ComponentHandle, denied: &CapabilityDenied) {
        self.validator.denied(component, denied);
        let Some(resident) = self.resident(component.id()) else {
            return;
        };
        // A log line that is not kept is what the level is for.
        if matches!(denied.capability, Capability::Log(_)) {
            return;
        }
        resident.meters.denied(denied.capability.manifest_key());
        if resident.may_tell_denial(&denied.capability) {
            self.tell(|| Event::Denied {
                component: component.id().clone(),
                granted: granted(&resident.permissions(), &denied.capability),
                capability: denied.capability.clone(),
                reason: denied.reason.clone(),
            });
        }
    }
}

/// Whom the component may reach in the way it asked for.
fn granted(permissions: &Permissions, capability: &Capability) -> Vec<ComponentPattern> {
    match capability {
        Capability::Send(_) => permissions.send.clone(),
        Capability::Request(_) => permissions.request.clone(),
        Capability::Broadcast(_) => permissions.broadcast.clone(),
        _ => Vec::new(),
    }
}

#[async_trait]
impl ComponentDirectory for Switchboard {
    async fn list(&self, after: Option<&ComponentId>, limit: usize) -> Vec<ComponentId> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let residents = read(&self.residents);
        let rest = residents.range::<ComponentId, _>((after, Bound::Unbounded));
        rest.take(limit).map(|(id, _)| id.clone()).collect()
    }

    async fn info(&self, id: &ComponentId) -> Option<ComponentInfo> {
        let record = self.resident(id)?.record();
        Some(ComponentInfo {
            id: id.clone(),
            name: id.name().to_owned(),
            version: record.version.unwrap_or_default(),
            health: record.health,
        })
    }
}
