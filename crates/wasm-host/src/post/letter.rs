//! A message on its way, and how much of it counts.

use std::fmt::{self, Display};
use std::sync::Arc;

use tokio::time::Instant;
use tracing::Span;
use tracing::field::display;

use wasm_core::ComponentMessage;

use crate::post::call::Call;
use crate::post::receipt::Ticket;
use crate::post::reply::ReplyTo;
use crate::post::seats::Seat;
use crate::post::traffic::InFlight;

/// The correlation ids that a host makes.
const CORRELATION_ID_BYTES: usize = 32;

/// Of what a message holds at any length: its payload, its type, and a correlation id
/// that is longer than those that a host makes.
pub(crate) fn message_bytes(message: &ComponentMessage) -> usize {
    let type_bytes = message.message_type.as_ref().map_or(0, |text| text.len());
    let id_bytes = message.correlation_id.as_ref().map_or(0, |id| {
        id.as_str().len().saturating_sub(CORRELATION_ID_BYTES)
    });
    message.payload.len() + type_bytes + id_bytes
}

/// What is delivered to a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LetterKind {
    /// A message that nobody waits for.
    Message,
    /// A message whose sender waits for an answer.
    Request,
    /// The answer to a request.
    Callback,
    /// A message of a component to itself that a timer sends.
    Timer,
    /// A call of exports by the program, see [`Host::call`](crate::Host::call): its message
    /// has the name of the call as type, and no payload.
    Call,
}

impl LetterKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Request => "request",
            Self::Callback => "callback",
            Self::Timer => "timer",
            Self::Call => "call",
        }
    }
}

impl Display for LetterKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A message on its way.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) message: ComponentMessage,
    pub(crate) kind: LetterKind,
    /// In its mailbox, also once it was taken out to be handled.
    pub(crate) place: u64,
    /// The instance that made the request, on a callback.
    pub(crate) incarnation: Option<u64>,
    /// How often it was a dead letter and is delivered again.
    pub(crate) redeliveries: u32,
    /// From acceptance to the end of the call.
    pub(crate) span: Span,
    pub(crate) accepted: Instant,
    /// Counted for as long as the letter is somewhere.
    pub(crate) in_flight: InFlight,
    /// What a request is answered through.
    pub(crate) reply: Option<ReplyTo>,
    /// Of the request that a callback answers: it counts as open until its callback
    /// is delivered.
    pub(crate) seat: Option<Seat>,
    /// Of what is kept elsewhere until it was handled.
    pub(crate) ticket: Option<Ticket>,
    /// What is done in place of delivering the message, for a call.
    pub(crate) call: Option<Call>,
}

impl Letter {
    /// Of a call, its name.
    pub(crate) fn call_name(&self) -> Option<Arc<str>> {
        match self.kind {
            LetterKind::Call => self.message.message_type.clone(),
            _ => None,
        }
    }

    /// Whether there is a reason to deliver it: of a request or a call, that somebody waits
    /// for what comes of it.
    pub(crate) fn is_wanted(&self, now: Instant) -> bool {
        let reply = self.reply.as_ref();
        reply.is_none_or(|reply| reply.is_wanted(now))
            && self.call.as_ref().is_none_or(Call::is_wanted)
    }

    /// When whoever waits for the answer to a request is to be told that the time is up, if
    /// somebody still waits.
    pub(crate) fn wanted_until(&self) -> Option<Instant> {
        let reply = self.reply.as_ref().filter(|reply| reply.is_waited_for());
        reply.map(ReplyTo::deadline)
    }

    /// The span says why. That of a message that went well says nothing.
    pub(crate) fn has_gone_wrong(&self, why: &dyn Display) {
        self.span.record("otel.status_description", display(why));
    }

    /// Tells whoever made a request that its time is up.
    pub(crate) fn time_out(&self) {
        if let Some((reply, request)) = self
            .reply
            .as_ref()
            .zip(self.message.correlation_id.as_ref())
        {
            reply.time_out(request);
        }
    }

    /// Whoever waits for the answer is told otherwise, or when it comes again.
    pub(crate) fn forget_reply(&mut self) {
        if let Some(reply) = self.reply.take() {
            reply.forget();
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        message_bytes(&self.message) as u64
    }
}
