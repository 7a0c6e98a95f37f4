//! The port of one instance: what it may do, the requests that it has made, and on whose
//! behalf it calls its host.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::time::Instant;
use tracing::Span;

use wasm_core::{
    Capability, CapabilityDenied, ComponentId, ComponentMessage, CorrelationId, MessagingError,
    Permissions,
};

use crate::lock::{lock, read, write};
use crate::post::answer::{Outcome, as_callback};
use crate::post::correlation::unguessable;
use crate::post::letter::{LetterKind, message_bytes};
use crate::post::mailbox::{Closed, Mailbox};
use crate::post::office::Office;
use crate::post::reply::{Asker, ReplyTo};
use crate::post::seats::{Seat, Seats};
use crate::post::waits::Waits;
use crate::post::way::{Way, span};
use crate::watch::dead_letter::DeadLetterCause;
use crate::watch::event::WithdrawnBecause;

/// Nobody waits longer for an answer; more would only keep a place occupied.
pub(crate) const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// An answer is delivered however much waits elsewhere if it is no larger than an error
/// may be, which would take its place.
const SMALL_ANSWER_BYTES: usize = 4 << 10;

/// Counts the instances of all components, so that what belongs to one is never taken
/// for another's, be it of a component that was loaded again.
static INCARNATIONS: AtomicU64 = AtomicU64::new(1);

pub(crate) struct Port {
    pub(crate) id: ComponentId,
    pub(crate) incarnation: u64,
    pub(crate) seats: Arc<Seats>,
    /// The number that the engine gave the instance, once it is known.
    number: Mutex<Option<u64>>,
    permissions: RwLock<Arc<Permissions>>,
    /// What is being handled, if that is one thing.
    handling: Mutex<Option<Span>>,
    requests: Mutex<Requests>,
    /// Of the component.
    mailbox: Arc<Mailbox>,
    office: Arc<Office>,
}

/// Requests that are not answered yet. Whoever takes one out answers it, and nobody else
/// can.
#[derive(Debug, Default)]
struct Requests {
    /// By ids that the host has drawn, so that nobody can choose some that collide.
    open: HashMap<CorrelationId, Open, RandomState>,
    /// The instance has ended.
    is_closed: bool,
}

#[derive(Debug)]
struct Open {
    target: ComponentId,
    hops: u32,
    span: Span,
    seat: Seat,
    /// Where it waits, as long as it does.
    waits: Option<Waits>,
}

impl Port {
    pub(crate) fn new(
        id: &ComponentId,
        number: Option<u64>,
        permissions: Arc<Permissions>,
        mailbox: &Arc<Mailbox>,
        office: &Arc<Office>,
    ) -> Arc<Self> {
        let incarnation = INCARNATIONS.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            id: id.clone(),
            incarnation,
            seats: Seats::new(office.limits.open_requests),
            number: Mutex::new(number),
            permissions: RwLock::new(permissions),
            handling: Mutex::default(),
            requests: Mutex::default(),
            mailbox: Arc::clone(mailbox),
            office: Arc::clone(office),
        })
    }

    /// Whether host calls under this number of the engine are those of this instance. The
    /// number of one that is being made is not known until the first of them, which claims it,
    /// or until it is there.
    pub(crate) fn claim(&self, number: u64) -> bool {
        *lock(&self.number).get_or_insert(number) == number
    }

    /// Whether its number is known.
    pub(crate) fn has_number(&self) -> bool {
        lock(&self.number).is_some()
    }

    /// Its number, now that it is known for sure.
    pub(crate) fn set_number(&self, number: u64) {
        *lock(&self.number) = Some(number);
    }

    pub(crate) fn permissions(&self) -> Arc<Permissions> {
        Arc::clone(&read(&self.permissions))
    }

    pub(crate) fn set_permissions(&self, permissions: Arc<Permissions>) {
        *write(&self.permissions) = permissions;
    }

    pub(crate) fn check(&self, capability: &Capability) -> Result<(), CapabilityDenied> {
        if read(&self.permissions).allows(capability) {
            return Ok(());
        }
        Err(CapabilityDenied {
            capability: capability.clone(),
            reason: format!("`{}` was revoked", capability.manifest_key()),
        })
    }

    /// From now on, what it sends is sent within this span.
    pub(crate) fn begin_handling(&self, span: Span) {
        *lock(&self.handling) = Some(span);
    }

    /// From now on, host calls are not about a message.
    pub(crate) fn end_handling(&self) {
        let handled = lock(&self.handling).take();
        // Whoever watches spans is not called under the lock.
        drop(handled);
    }

    /// Within which it sends. Where several messages are handled at a time, that is the span
    /// in which the engine calls its host.
    pub(crate) fn span(&self) -> Span {
        let handled = lock(&self.handling).clone();
        handled.unwrap_or_else(Span::current)
    }

    /// Makes a request, which `accept` puts on its way: it is open before its target can
    /// see it, and one that is not accepted never was.
    pub(crate) async fn request<F>(
        self: &Arc<Self>,
        seat: Seat,
        message: ComponentMessage,
        timeout: Duration,
        way: Way,
        accept: impl FnOnce(ComponentMessage, Way) -> F + Send,
    ) -> Result<CorrelationId, MessagingError>
    where
        F: Future<Output = Result<Waits, MessagingError>> + Send,
    {
        let id = unguessable()?;
        let deadline = way.began + timeout.min(MAX_TIMEOUT);
        let open = Open {
            target: message.recipient.clone(),
            hops: message.hops,
            span: way.span.clone(),
            seat,
            waits: None,
        };
        {
            let mut requests = lock(&self.requests);
            if requests.is_closed {
                let gone = format!("the instance of {} has ended", self.id);
                return Err(MessagingError::DeliveryFailed(gone));
            }
            requests.open.insert(id.clone(), open);
        }
        let asker = Arc::new(Asked {
            port: Arc::clone(self),
            id: id.clone(),
        });
        let way = Way {
            reply: Some(ReplyTo::new(asker, deadline)),
            ..way
        };
        let unaccepted = Unaccepted {
            port: self,
            id: &id,
        };
        let waits = accept(message.with_correlation_id(id.clone()), way).await?;
        mem::forget(unaccepted);
        let mut waits = Some(waits);
        if let Some(open) = lock(&self.requests).open.get_mut(&id) {
            open.waits = waits.take();
        }
        // Nobody waits any more for one that is not open.
        drop(waits);
        Ok(id)
    }

    /// Gives a request up; whether it was open.
    pub(crate) fn cancel(&self, id: &CorrelationId) -> bool {
        let taken = lock(&self.requests).open.remove(id);
        taken.is_some_and(|open| {
            self.withdraw(&open);
            true
        })
    }

    /// The instance has ended: there is no one to answer any more.
    pub(crate) fn close(&self) {
        let open = {
            let mut requests = lock(&self.requests);
            requests.is_closed = true;
            mem::take(&mut requests.open)
        };
        for open in open.into_values() {
            self.withdraw(&open);
        }
    }

    /// Takes a request that waits out of the mailbox of its target.
    fn withdraw(&self, open: &Open) {
        if let Some(letter) = open.waits.as_ref().and_then(Waits::withdraw) {
            self.office.withdraw(&letter, WithdrawnBecause::GivenUp);
        }
    }

    /// Tells the component what came of a request.
    fn call_back(&self, id: CorrelationId, open: Open, outcome: Outcome) {
        let envelope = ComponentMessage::new(open.target, self.id.clone(), "")
            .with_correlation_id(id)
            .with_timestamp(self.office.now())
            // A callback continues what the request began.
            .with_hops(open.hops.saturating_add(1));
        let mut callback = match outcome {
            Ok(reply) => as_callback(envelope, Ok(reply)),
            Err(error) => as_callback(envelope, Err(&error)),
        };
        let traffic = &self.office.traffic;
        let in_flight = traffic.admit(message_bytes(&callback)).unwrap_or_else(|| {
            if callback.payload.len() > SMALL_ANSWER_BYTES {
                let reason = "the host has no room for the answer".to_owned();
                let error = MessagingError::DeliveryFailed(reason).into();
                callback = as_callback(callback.clone(), Err(&error));
            }
            traffic.admit_always(message_bytes(&callback))
        });
        let way = Way {
            began: Instant::now(),
            redeliveries: 0,
            span: span(&callback, LetterKind::Callback, || open.span.clone()),
            reply: None,
            ticket: None,
            call: None,
        };
        let mut letter = way.letter(callback, LetterKind::Callback, in_flight);
        letter.incarnation = Some(self.incarnation);
        letter.seat = Some(open.seat);
        if let Err(returned) = self.mailbox.push_callback(letter) {
            let (letter, closed) = returned;
            let cause = match closed {
                Closed::Stopped => DeadLetterCause::Stopped,
                Closed::Unloaded | Closed::Quarantined | Closed::Asleep => {
                    DeadLetterCause::RequesterGone
                }
            };
            self.office.give_up(letter, cause);
        }
    }
}

impl Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port")
            .field("id", &self.id)
            .field("incarnation", &self.incarnation)
            .finish_non_exhaustive()
    }
}

/// A request that is not accepted yet, and never was if it is not, or if nobody waits for that.
struct Unaccepted<'a> {
    port: &'a Port,
    id: &'a CorrelationId,
}

impl Drop for Unaccepted<'_> {
    fn drop(&mut self) {
        let open = lock(&self.port.requests).open.remove(self.id);
        // What it held is given back outside of the lock.
        drop(open);
    }
}

/// An instance that waits for the answer to one request.
#[derive(Debug)]
struct Asked {
    port: Arc<Port>,
    id: CorrelationId,
}

impl Asker for Asked {
    fn answer(&self, outcome: Outcome) {
        let taken = lock(&self.port.requests).open.remove(&self.id);
        if let Some(open) = taken {
            self.port.call_back(self.id.clone(), open, outcome);
        }
    }

    fn is_waiting(&self) -> bool {
        lock(&self.port.requests).open.contains_key(&self.id)
    }
}
