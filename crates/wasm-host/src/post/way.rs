//! What a message carries with it on its way, from whoever sends it to its letter.

use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Span, info_span};

use wasm_core::ComponentMessage;

use crate::post::call::Call;
use crate::post::letter::{Letter, LetterKind};
use crate::post::receipt::Ticket;
use crate::post::reply::ReplyTo;
use crate::post::traffic::InFlight;

#[derive(Debug)]
pub(crate) struct Way {
    /// When it began.
    pub(crate) began: Instant,
    pub(crate) redeliveries: u32,
    pub(crate) span: Span,
    pub(crate) reply: Option<ReplyTo>,
    pub(crate) ticket: Option<Ticket>,
    pub(crate) call: Option<Call>,
}

impl Way {
    /// Of what begins here.
    pub(crate) fn begin(message: &ComponentMessage, kind: LetterKind) -> Self {
        Self {
            began: Instant::now(),
            redeliveries: 0,
            span: span(message, kind, Span::current),
            reply: None,
            ticket: None,
            call: None,
        }
    }

    pub(crate) fn letter(
        self,
        message: ComponentMessage,
        kind: LetterKind,
        in_flight: InFlight,
    ) -> Box<Letter> {
        Box::new(Letter {
            message,
            kind,
            place: 0,
            incarnation: None,
            redeliveries: self.redeliveries,
            span: self.span,
            accepted: self.began,
            in_flight,
            reply: self.reply,
            seat: None,
            ticket: self.ticket,
            call: self.call,
        })
    }
}

/// From acceptance to the end of the call; what the call sends begins within. Who its parent is
/// is asked only if somebody listens.
pub(crate) fn span(
    message: &ComponentMessage,
    kind: LetterKind,
    parent: impl FnOnce() -> Span,
) -> Span {
    info_span!(
        parent: &parent(),
        "message",
        kind = kind.as_str(),
        from = %message.sender,
        to = %message.recipient,
        bytes = message.payload.len(),
        otel.status_description = Empty,
    )
}
