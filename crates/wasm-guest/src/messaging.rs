//! Talking to other components.

mod error;

use std::time::Duration;

use crate::error::Result as GuestResult;
use crate::host;
use crate::id::Target;
use crate::message::{Answer, CorrelationId};
use crate::payload::Payload;
use crate::pending::{await_answer, forget};

pub use error::MessagingError;

/// Sends a message, and does not wait for it to arrive.
///
/// It needs `send` in `[permissions]`, with a pattern that the recipient matches.
///
/// # Errors
/// [`MessagingError::DeliveryFailed`] if it is not permitted,
/// [`MessagingError::TargetNotFound`] and [`MessagingError::QueueFull`] as they say, and
/// [`MessagingError::InvalidMessage`] for what is no id. A call sends 1,024 messages and 8 MiB
/// at the most; more is [`MessagingError::QueueFull`].
///
/// ```
/// use wasm_guest::{send, testing::Host};
///
/// let host = Host::new("demo/waiter/main").with_send("demo/*/main");
/// host.within(|| send("demo/kitchen/main", "one soup")).unwrap();
///
/// let sent = host.sent();
/// assert_eq!(sent[0].to.name, "kitchen");
/// assert_eq!(sent[0].payload, "one soup");
/// ```
pub fn send(to: impl Target, payload: impl Into<Payload>) -> Result<(), MessagingError> {
    host::send(to.id()?, payload.into())
}

/// Sends one message to several components: to all of them, or where one is at fault, to
/// none.
///
/// It needs `broadcast` in `[permissions]`, with patterns that all recipients match.
///
/// # Errors
/// As for [`send`]; each recipient counts as a message.
///
/// ```
/// use wasm_guest::{broadcast, testing::Host};
///
/// let host = Host::new("demo/boss/main").with_broadcast("demo/*/main");
/// host.within(|| broadcast(["demo/ann/main", "demo/ben/main"], "closing")).unwrap();
/// assert_eq!(host.sent().len(), 2);
/// ```
pub fn broadcast<T: Target>(
    to: impl IntoIterator<Item = T>,
    payload: impl Into<Payload>,
) -> Result<(), MessagingError> {
    let to = to.into_iter().map(T::id).collect::<Result<Vec<_>, _>>()?;
    host::broadcast(to, &payload.into())
}

/// Asks a component, whose answer comes as a call of its own once this one has ended: to what
/// is given to [`then`](Request::then), else to
/// [`Component::answered`](crate::Component::answered). It comes exactly once, be it the reply,
/// an error, or that there was none within `timeout`.
///
/// It needs `request` in `[permissions]`, with a pattern that the recipient matches.
///
/// # Errors
/// As for [`send`], and then there will be no answer. A component has 256 open requests at the
/// most; more is [`MessagingError::QueueFull`]. In
/// [`Component::shutdown`](crate::Component::shutdown) no requests are made.
///
/// ```
/// use std::time::Duration;
/// use wasm_guest::{Answer, Component, Message, Payload, Result, request, testing::Host};
///
/// #[derive(Default)]
/// struct Waiter { price: u64 }
///
/// impl Waiter {
///     fn priced(&mut self, answer: Answer) -> Result<()> {
///         self.price = answer.outcome?.text()?.parse()?;
///         Ok(())
///     }
/// }
///
/// impl Component for Waiter {
///     fn handle(&mut self, message: Message) -> Result<Option<Payload>> {
///         let timeout = Duration::from_secs(1);
///         request("demo/till/main", message.payload, timeout)?.then(Self::priced);
///         Ok(None)
///     }
/// }
///
/// let host = Host::new("demo/waiter/main").with_request("demo/till/main");
/// let mut waiter = host.start::<Waiter>().unwrap();
/// waiter.handle("soup").unwrap();
/// let asked = host.requests();
/// assert_eq!(asked[0].payload, "soup");
/// waiter.answer(&asked[0], "7").unwrap();
/// assert_eq!(waiter.state().price, 7);
/// ```
pub fn request(
    to: impl Target,
    payload: impl Into<Payload>,
    timeout: Duration,
) -> Result<Request, MessagingError> {
    let id = host::request(to.id()?, payload.into(), timeout)?;
    Ok(Request { id })
}

/// A request that was made.
#[derive(Debug)]
pub struct Request {
    id: CorrelationId,
}

impl Request {
    /// The id, by which it can be [cancelled](cancel) and its answer is known.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wasm_guest::{request, testing::Host};
    ///
    /// let host = Host::new("demo/waiter/main").with_request("demo/*/*");
    /// let asked = host.within(|| request("demo/till/main", "soup", Duration::from_secs(1)));
    /// assert_eq!(asked.unwrap().id(), host.requests()[0].id);
    /// ```
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Has `answered` called once, with the component as it is then, when the answer is there.
    /// A method fits, and a closure that names the type: `|state: &mut Self, answer| ..`.
    /// Returns the request's id.
    ///
    /// What it fails with is logged by the host.
    ///
    /// # Panics
    /// When the call ends, if `C` is not the component that runs.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wasm_guest::{Component, Message, Payload, Result, request, testing::Host};
    ///
    /// #[derive(Default)]
    /// struct Waiter { asked: u64, told: Vec<String> }
    ///
    /// impl Component for Waiter {
    ///     fn handle(&mut self, message: Message) -> Result<Option<Payload>> {
    ///         self.asked += 1;
    ///         let number = self.asked;
    ///         request("demo/till/main", message.payload, Duration::from_secs(1))?.then(
    ///             move |waiter: &mut Self, answer| {
    ///                 waiter.told.push(format!("{number}: {:?}", answer.outcome));
    ///                 Ok(())
    ///             },
    ///         );
    ///         Ok(None)
    ///     }
    /// }
    ///
    /// let host = Host::new("demo/waiter/main").with_request("demo/till/main");
    /// let mut waiter = host.start::<Waiter>().unwrap();
    /// waiter.handle("soup").unwrap();
    /// waiter.advance(Duration::from_secs(1)).unwrap();
    /// assert_eq!(waiter.state().told, ["1: Err(TimedOut)"]);
    /// ```
    pub fn then<C: 'static>(
        self,
        answered: impl FnOnce(&mut C, Answer) -> GuestResult<()> + 'static,
    ) -> CorrelationId {
        await_answer(self.id.clone(), answered);
        self.id
    }
}

/// Gives a request up: its answer will not come.
///
/// # Errors
/// [`MessagingError::InvalidMessage`] if this instance has no such open request, be it that it
/// is answered already.
///
/// ```
/// use std::time::Duration;
/// use wasm_guest::{MessagingError, cancel, request, testing::Host};
///
/// let host = Host::new("demo/waiter/main").with_request("demo/*/*");
/// host.within(|| {
///     let asked = request("demo/till/main", "soup", Duration::from_secs(1)).unwrap();
///     assert_eq!(cancel(asked.id()), Ok(()));
///     let again = cancel(asked.id());
///     assert!(matches!(again, Err(MessagingError::InvalidMessage(_))), "{again:?}");
/// });
/// ```
pub fn cancel(request: &str) -> Result<(), MessagingError> {
    host::cancel(request)?;
    forget(request);
    Ok(())
}
