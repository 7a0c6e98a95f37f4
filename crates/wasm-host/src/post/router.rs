//! How messages reach their recipients: the services that a host gives its engine.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use wasm_core::{
    Capability, CapabilityDenied, ComponentDirectory, ComponentHandle, ComponentId, ComponentInfo,
    ComponentMessage, ComponentPattern, CorrelationId, MessageRouter, MessagingError, Permissions,
    SecurityValidator,
};

use crate::component::port::{MAX_TIMEOUT, Port};
use crate::component::registry::{Registry, There};
use crate::component::resident::Resident;
use crate::error::HostError;
use crate::post::answer::Outcome;
use crate::post::arrival::{Arrival, NotTaken};
use crate::post::call::Call;
use crate::post::carrier::Carrier;
use crate::post::correlation::unguessable;
use crate::post::letter::{LetterKind, message_bytes};
use crate::post::mailbox::{Closed, Refusal};
use crate::post::office::Office;
use crate::post::receipt::Ticket;
use crate::post::reply::{Caller, ReplyTo};
use crate::post::traffic::InFlight;
use crate::post::waits::Waits;
use crate::post::way::{Way, span};
use crate::watch::dead_letter::{DeadLetter, DeadLetterCause};
use crate::watch::event::{Event, EventClass, WithdrawnBecause};
use crate::watch::metrics;

pub(crate) struct Router {
    pub(crate) office: Arc<Office>,
    pub(crate) registry: Arc<Registry>,
    /// Of the embedder; asked after the host's own.
    validator: Arc<dyn SecurityValidator>,
}

/// A request of the program that was accepted.
pub(crate) struct Asking {
    caller: Arc<Caller>,
    waits: Waits,
    office: Arc<Office>,
    /// There is no answer yet.
    is_open: bool,
}

impl Asking {
    /// What came of it by its deadline.
    pub(crate) async fn answered(mut self) -> Outcome {
        let outcome = self.caller.answered().await;
        self.is_open = false;
        outcome
    }
}

impl Drop for Asking {
    /// Whoever asked is gone.
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        self.caller.give_up();
        if let Some(letter) = self.waits.withdraw() {
            self.office.withdraw(&letter, WithdrawnBecause::GivenUp);
        }
    }
}

impl Router {
    pub(crate) fn new(
        office: &Arc<Office>,
        registry: &Arc<Registry>,
        validator: Arc<dyn SecurityValidator>,
    ) -> Arc<Self> {
        Arc::new(Self {
            office: Arc::clone(office),
            registry: Arc::clone(registry),
            validator,
        })
    }

    /// Who carries this message, unless it goes straight to a component of this host.
    fn carrier_of(&self, message: &ComponentMessage, is_request: bool) -> Option<&dyn Carrier> {
        let carrier = self.office.carrier.as_deref()?;
        let is_here = self.registry.contains(&message.recipient);
        carrier
            .carries(message, is_request, is_here)
            .then_some(carrier)
    }

    /// Accepts a message of the program, wherever its recipient is.
    pub(crate) async fn dispatch_from_program(
        &self,
        message: ComponentMessage,
    ) -> Result<(), MessagingError> {
        self.office.check_running()?;
        match self.carrier_of(&message, false) {
            Some(carrier) => {
                self.check_hops(&message)?;
                carrier.send(message).await
            }
            None => self.send_from_program(message),
        }
    }

    /// Accepts a message from another host.
    pub(crate) fn take_in(&self, arrival: Arrival) -> Result<(), NotTaken> {
        self.office.check_running().map_err(NotTaken::from)?;
        if let Some(cause) = self.never_fits(&arrival.message) {
            // Whoever asked is told once it is a dead letter.
            if let Some(reply) = arrival.reply {
                reply.forget();
            }
            drop(Ticket::new(arrival.receipt));
            return Err(NotTaken::Never(cause));
        }
        let kind = kind_of(&arrival);
        let way = Way {
            reply: arrival.reply,
            ticket: Some(Ticket::new(arrival.receipt)),
            ..Way::begin(&arrival.message, kind)
        };
        let accepted = self.accept(arrival.message, kind, way);
        accepted.map(drop).map_err(NotTaken::from)
    }

    /// Why no component of this host can ever be given a message, by its limits.
    fn never_fits(&self, message: &ComponentMessage) -> Option<DeadLetterCause> {
        if let Err(error) = self.check_hops(message) {
            return Some(DeadLetterCause::Undeliverable(error.to_string().into()));
        }
        let limits = &self.office.limits;
        let (bytes, limit) = (message_bytes(message) as u64, limits.mailbox_bytes);
        (bytes > limit).then(|| {
            let reason = format!(
                "it has {bytes} bytes, and a mailbox here takes {limit} \
                 (`mailbox_bytes` in HostLimits)"
            );
            DeadLetterCause::Undeliverable(reason.into())
        })
    }

    /// Makes a message from another host a dead letter, without its recipient.
    pub(crate) fn bury(&self, arrival: Arrival, cause: DeadLetterCause) {
        let kind = kind_of(&arrival);
        let bytes = message_bytes(&arrival.message);
        let way = Way {
            reply: arrival.reply,
            ticket: Some(Ticket::new(arrival.receipt)),
            ..Way::begin(&arrival.message, kind)
        };
        let in_flight = self.office.traffic.admit_always(bytes);
        let letter = way.letter(arrival.message, kind, in_flight);
        self.office.give_up_for_good(letter, cause);
    }

    /// Accepts a message of the program.
    pub(crate) fn send_from_program(
        &self,
        message: ComponentMessage,
    ) -> Result<(), MessagingError> {
        self.office.check_running()?;
        let way = Way::begin(&message, LetterKind::Message);
        self.accept(message, LetterKind::Message, way).map(drop)
    }

    /// Accepts a request of the program.
    pub(crate) async fn request_from_program(
        &self,
        message: ComponentMessage,
        timeout: Duration,
    ) -> Result<Asking, MessagingError> {
        self.office.check_running()?;
        let mut way = Way::begin(&message, LetterKind::Request);
        let deadline = way.began + timeout.min(MAX_TIMEOUT);
        let caller = Arc::new(Caller::new());
        way.reply = Some(ReplyTo::new(Arc::clone(&caller) as Arc<_>, deadline));
        let id = message
            .correlation_id
            .clone()
            .map_or_else(unguessable, Ok)?;
        let message = message.with_correlation_id(id);
        let waits = self.accept_request(message, way).await?;
        Ok(Asking {
            caller,
            waits,
            office: Arc::clone(&self.office),
            is_open: true,
        })
    }

    /// Accepts a message that was a dead letter, as one that nobody waits for; its sender is
    /// who it was.
    pub(crate) fn redeliver(&self, dead: &DeadLetter) -> Result<(), MessagingError> {
        self.office.check_running()?;
        let mut message = dead.message.clone();
        (message.correlation_id, message.hops) = (None, 0);
        let way = Way {
            redeliveries: dead.redeliveries + 1,
            ..Way::begin(&message, LetterKind::Message)
        };
        self.accept(message, LetterKind::Message, way).map(drop)
    }

    /// Accepts the message of a timer that is due.
    pub(crate) fn send_from_timer(
        &self,
        message: ComponentMessage,
        ticket: Ticket,
    ) -> Result<(), MessagingError> {
        let way = Way {
            ticket: Some(ticket),
            ..Way::begin(&message, LetterKind::Timer)
        };
        self.accept(message, LetterKind::Timer, way).map(drop)
    }

    /// Accepts a call of the program.
    pub(crate) fn call_from_program(
        &self,
        message: ComponentMessage,
        call: Call,
    ) -> Result<(), MessagingError> {
        self.office.check_running()?;
        let way = Way {
            call: Some(call),
            ..Way::begin(&message, LetterKind::Call)
        };
        self.accept(message, LetterKind::Call, way).map(drop)
    }

    /// Accepts a request, wherever its recipient is.
    async fn accept_request(
        &self,
        message: ComponentMessage,
        mut way: Way,
    ) -> Result<Waits, MessagingError> {
        let Some(carrier) = self.carrier_of(&message, true) else {
            return self.accept(message, LetterKind::Request, way);
        };
        let Some(reply) = way.reply.take() else {
            return self.accept(message, LetterKind::Request, way);
        };
        if let Err(error) = self.check_hops(&message) {
            reply.forget();
            return Err(error);
        }
        let carried = carrier.request(message, reply).await?;
        Ok(Waits::on_its_way(carried))
    }

    /// Puts a message into the mailbox of its recipient, which is woken for it; where it lies
    /// there.
    fn accept(
        &self,
        message: ComponentMessage,
        kind: LetterKind,
        way: Way,
    ) -> Result<Waits, MessagingError> {
        let refused = |error, reply: Option<ReplyTo>| {
            // Whoever asked is told by the error.
            if let Some(reply) = reply {
                reply.forget();
            }
            Err(error)
        };
        if let Err(error) = self.check_hops(&message) {
            return refused(error, way.reply);
        }
        let id = &message.recipient;
        if !self.office.may_handle(id) {
            let reason = format!("{id} is leaving this host for another");
            return refused(MessagingError::DeliveryFailed(reason), way.reply);
        }
        let Some(mut roused) = self.registry.rouse(id) else {
            return refused(MessagingError::TargetNotFound(id.clone()), way.reply);
        };
        let Some(in_flight) = self.admit(&roused.resident, message_bytes(&message)) else {
            metrics::refused(id, "queued-bytes");
            return refused(MessagingError::QueueFull, way.reply);
        };
        let mut letter = way.letter(message, kind, in_flight);
        loop {
            let mailbox = &roused.resident.mailbox;
            let (returned, refusal) = match mailbox.push(letter) {
                Ok(place) => return Ok(Waits::Here(Arc::clone(mailbox), place)),
                Err(returned) => returned,
            };
            letter = returned;
            let id = &letter.message.recipient;
            if refusal != Refusal::Closed(Closed::Asleep) {
                return refused(why(refusal, id.clone()), letter.reply);
            }
            // It has fallen asleep in this moment.
            roused = match self.registry.rouse(id) {
                Some(roused) => roused,
                None => return refused(MessagingError::TargetNotFound(id.clone()), letter.reply),
            };
        }
    }

    /// Counts a message, if there is room for it in the host or, for a mailbox that has few,
    /// in that.
    fn admit(&self, resident: &Resident, bytes: usize) -> Option<InFlight> {
        let traffic = &self.office.traffic;
        traffic.admit(bytes).or_else(|| {
            let own = resident.mailbox.has_room_of_its_own(bytes);
            own.then(|| traffic.admit_always(bytes))
        })
    }

    /// Where a host call comes from.
    fn port(&self, from: &ComponentHandle) -> Result<Arc<Port>, MessagingError> {
        let resident = self.registry.resident(from.id());
        resident
            .and_then(|resident| resident.port_of(from))
            .ok_or_else(|| {
                MessagingError::InvalidMessage(format!("{from} is not a component of this host"))
            })
    }

    /// Refuses what has come too far.
    fn check_hops(&self, message: &ComponentMessage) -> Result<(), MessagingError> {
        let limit = self.office.limits.hops;
        if message.hops <= limit {
            return Ok(());
        }
        Err(MessagingError::DeliveryFailed(format!(
            "hop limit of {limit} reached: messages seem to go in a circle \
             (`hops` in HostLimits, `--max-hops`)"
        )))
    }
}

/// What a message from another host is.
fn kind_of(arrival: &Arrival) -> LetterKind {
    match arrival.reply {
        Some(_) => LetterKind::Request,
        None => LetterKind::Message,
    }
}

/// The way of a message that a component sends.
fn way(message: &ComponentMessage, kind: LetterKind, port: &Port) -> Way {
    Way {
        began: Instant::now(),
        redeliveries: 0,
        span: span(message, kind, || port.span()),
        reply: None,
        ticket: None,
        call: None,
    }
}

/// What the sender of a message is told that a mailbox has refused.
fn why(refusal: Refusal, id: ComponentId) -> MessagingError {
    match refusal {
        Refusal::TooManyMessages => {
            metrics::refused(&id, "mailbox-messages");
            MessagingError::QueueFull
        }
        Refusal::TooManyBytes => {
            metrics::refused(&id, "mailbox-bytes");
            MessagingError::QueueFull
        }
        Refusal::Closed(Closed::Unloaded | Closed::Asleep) => MessagingError::TargetNotFound(id),
        Refusal::Closed(Closed::Quarantined) => MessagingError::DeliveryFailed(format!(
            "{id} is quarantined: it has failed and is not restarted"
        )),
        Refusal::Closed(Closed::Stopped) => {
            MessagingError::DeliveryFailed(HostError::Stopped.to_string())
        }
    }
}

#[async_trait]
impl MessageRouter for Router {
    async fn send(
        &self,
        from: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), MessagingError> {
        let port = self.port(from)?;
        if let Some(carrier) = self.carrier_of(&message, false) {
            self.check_hops(&message)?;
            return carrier.send(message).await;
        }
        let way = way(&message, LetterKind::Message, &port);
        self.accept(message, LetterKind::Message, way).map(drop)
    }

    async fn request(
        &self,
        from: &ComponentHandle,
        message: ComponentMessage,
        timeout: Duration,
    ) -> Result<CorrelationId, MessagingError> {
        let port = self.port(from)?;
        let way = way(&message, LetterKind::Request, &port);
        let seat = port.seats.take().ok_or_else(|| {
            metrics::refused(&port.id, "open-requests");
            MessagingError::QueueFull
        })?;
        let accept = |message, way| self.accept_request(message, way);
        port.request(seat, message, timeout, way, accept).await
    }

    async fn cancel_request(
        &self,
        from: &ComponentHandle,
        request: &CorrelationId,
    ) -> Result<(), MessagingError> {
        if self.port(from)?.cancel(request) {
            return Ok(());
        }
        Err(MessagingError::InvalidMessage(format!(
            "no open request {request}"
        )))
    }
}

impl SecurityValidator for Router {
    fn validate(
        &self,
        component: &ComponentHandle,
        capability: &Capability,
    ) -> Result<(), CapabilityDenied> {
        let Some(resident) = self.registry.resident(component.id()) else {
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
        let Some(resident) = self.registry.resident(component.id()) else {
            return;
        };
        // A log line that is not kept is what the level is for.
        if matches!(denied.capability, Capability::Log(_)) {
            return;
        }
        metrics::denied(component.id(), denied.capability.manifest_key());
        if resident.denials.add(&denied.capability) {
            self.office
                .tell_many(EventClass::Refused, || Event::Denied {
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
impl ComponentDirectory for Router {
    async fn list(&self, after: Option<&ComponentId>, limit: usize) -> Vec<ComponentId> {
        self.registry.list(after, limit)
    }

    async fn info(&self, id: &ComponentId) -> Option<ComponentInfo> {
        let (version, health) = self.registry.with(id, |there| match there {
            There::Awake(resident) => {
                let record = resident.record();
                (record.version, record.health)
            }
            There::Asleep(dormant) => (dormant.recipe.version.clone(), dormant.health),
        })?;
        Some(ComponentInfo {
            id: id.clone(),
            name: id.name().to_owned(),
            version: version.unwrap_or_default(),
            health,
        })
    }
}
