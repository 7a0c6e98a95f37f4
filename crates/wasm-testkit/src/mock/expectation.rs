use std::fmt::{self, Debug, Display};
use std::future::pending;
use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};
use std::panic::Location;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentId, ComponentMessage, ComponentMetadata,
    ComponentUsage, HealthStatus, MessagePayload, Preparation, WasmError,
};

use super::call::{
    Call, Responder, of_component, of_instance, with_bytes, with_config, with_correlation_id,
    with_message_type, with_payload, with_reply_to, with_sender,
};
use super::methods::each_method;
use crate::Method;
use crate::lock::lock;

/// How often a call is expected: a number, or a range such as `1..` or `2..=3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    pub(super) least: usize,
    pub(super) most: usize,
}

impl From<usize> for Times {
    fn from(count: usize) -> Self {
        (count..=count).into()
    }
}

impl From<RangeInclusive<usize>> for Times {
    fn from(range: RangeInclusive<usize>) -> Self {
        let (least, most) = range.into_inner();
        Self { least, most }
    }
}

impl From<Range<usize>> for Times {
    fn from(range: Range<usize>) -> Self {
        match range.end.checked_sub(1) {
            Some(most) => (range.start..=most).into(),
            // As empty as the range is.
            None => Self { least: 1, most: 0 },
        }
    }
}

impl From<RangeFrom<usize>> for Times {
    fn from(range: RangeFrom<usize>) -> Self {
        (range.start..=usize::MAX).into()
    }
}

impl From<RangeTo<usize>> for Times {
    fn from(range: RangeTo<usize>) -> Self {
        (0..range.end).into()
    }
}

impl From<RangeToInclusive<usize>> for Times {
    fn from(range: RangeToInclusive<usize>) -> Self {
        (0..=range.end).into()
    }
}

impl From<RangeFull> for Times {
    fn from(_: RangeFull) -> Self {
        (0..).into()
    }
}

impl Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.least, self.most) {
            (_, 0) => f.write_str("never"),
            (1, 1) => f.write_str("once"),
            (least, most) if least == most => write!(f, "{least} times"),
            (0, usize::MAX) => f.write_str("any number of times"),
            (least, usize::MAX) => write!(f, "{least} times or more"),
            (least, most) => write!(f, "{least} to {most} times"),
        }
    }
}

/// Something that is said of a call.
struct Matcher {
    /// In the words in which calls are printed.
    text: String,
    fits: Box<dyn Fn(&Call) -> bool + Send>,
}

/// An [`Expectation`] that still lacks its answer, of calls with the arguments `A` that
/// end in a `T`.
///
/// It stands for one call of the method, whatever is not said of it.
#[must_use]
pub struct Expect<A, T> {
    expected: Expected,
    delay: Duration,
    arguments: fn(&Call) -> Option<&A>,
    split: fn(Call) -> Option<(A, Responder<T>)>,
}

/// What is said of the calls.
pub(super) struct Expected {
    method: Method,
    matchers: Vec<Matcher>,
    pub(super) times: Times,
    /// Where the test says so.
    pub(super) place: &'static Location<'static>,
}

/// A call that a script expects, with its answer.
pub struct Expectation {
    pub(super) expected: Expected,
    pub(super) behaviour: Behaviour,
}

type Answer = dyn FnMut(Call) + Send;

/// What becomes of a call.
#[derive(Clone)]
pub(super) struct Behaviour {
    delay: Duration,
    /// None of a call that hangs.
    answer: Option<Arc<Mutex<Answer>>>,
}

impl Behaviour {
    /// Answers the call, and returns when its caller may see the answer.
    pub(super) async fn answer(self, call: Call) {
        match self.answer {
            Some(answer) => lock(&answer)(call),
            None => pending().await,
        }
        if !self.delay.is_zero() {
            sleep(self.delay).await;
        }
    }
}

/// Defines what expects a call: a line for each method of an engine.
macro_rules! expectations {
    ($($method:ident, $name:literal: $variant:ident, $expected:ident, $expect:ident, ($($field:ident: $type:ty),+) -> $answer:ty;)+) => {
        impl Expectation {
            $(
                #[doc = concat!("A call of `", $name, "`.")]
                #[track_caller]
                pub fn $expected() -> Expect<($($type),+), $answer> {
                    Expect::new(
                        Method::$method,
                        |call| match call {
                            Call::$variant(arguments, _) => Some(arguments),
                            _ => None,
                        },
                        |call| match call {
                            Call::$variant(arguments, answer) => Some((arguments, answer)),
                            _ => None,
                        },
                    )
                }
            )+
        }
    };
}

each_method!(expectations);

impl<A: 'static, T: Send + 'static> Expect<A, T> {
    #[track_caller]
    pub(super) fn new(
        method: Method,
        arguments: fn(&Call) -> Option<&A>,
        split: fn(Call) -> Option<(A, Responder<T>)>,
    ) -> Self {
        Self {
            expected: Expected {
                method,
                matchers: Vec::new(),
                times: 1.into(),
                place: Location::caller(),
            },
            delay: Duration::ZERO,
            arguments,
            split,
        }
    }

    fn matching(mut self, text: String, fits: impl Fn(&Call) -> bool + Send + 'static) -> Self {
        let fits = Box::new(fits);
        self.expected.matchers.push(Matcher { text, fits });
        self
    }

    /// About this component, in whichever instance.
    pub fn of(self, component: &ComponentId) -> Self {
        let id = component.clone();
        self.matching(of_component(component), move |call| *call.component() == id)
    }

    /// To this instance; no load or preparation is.
    pub fn to(self, handle: &ComponentHandle) -> Self {
        let wanted = handle.clone();
        self.matching(of_instance(handle), move |call| {
            call.handle() == Some(&wanted)
        })
    }

    /// With arguments for which `predicate` holds: those of the method, without `self`, in
    /// a tuple if there are several.
    #[track_caller]
    pub fn withf(self, predicate: impl Fn(&A) -> bool + Send + 'static) -> Self {
        let arguments = self.arguments;
        let text = format!("the predicate at {}", Location::caller());
        self.matching(text, move |call| arguments(call).is_some_and(&predicate))
    }

    /// So often: a number, or a range such as `1..` or `2..=3`.
    ///
    /// # Panics
    /// If the range is empty.
    #[track_caller]
    pub fn times(mut self, times: impl Into<Times>) -> Self {
        let times = times.into();
        assert!(
            times.least <= times.most,
            "no number of calls is in an empty range"
        );
        self.expected.times = times;
        self
    }

    /// Lets the caller wait so long for the answer, by tokio's clock.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// What each of the calls ends in.
    pub fn answers(self, outcome: Result<T, WasmError>) -> Expectation
    where
        T: Clone,
    {
        self.answers_with(move |_| outcome.clone())
    }

    /// Computes what each of the calls ends in from its arguments, one call at a time.
    pub fn answers_with(
        self,
        mut outcome: impl FnMut(A) -> Result<T, WasmError> + Send + 'static,
    ) -> Expectation {
        let split = self.split;
        let answer = move |call| {
            if let Some((arguments, responder)) = split(call) {
                responder.answer(outcome(arguments));
            }
        };
        Expectation {
            expected: self.expected,
            behaviour: Behaviour {
                delay: self.delay,
                answer: Some(Arc::new(Mutex::new(answer))),
            },
        }
    }

    /// Lets the calls never end; their callers can only give up.
    pub fn hangs(self) -> Expectation {
        Expectation {
            expected: self.expected,
            behaviour: Behaviour {
                delay: self.delay,
                answer: None,
            },
        }
    }

    /// A call that fails the test whenever it comes, also in a [`scripted`] engine and
    /// before other expectations that it fits.
    ///
    /// [`scripted`]: super::scripted
    pub fn never(self) -> Expectation {
        self.times(0).hangs()
    }
}

impl<T: Send + 'static> Expect<(ComponentHandle, ComponentMessage), T> {
    fn message(
        self,
        text: String,
        fits: impl Fn(&ComponentMessage) -> bool + Send + 'static,
    ) -> Self {
        self.matching(text, move |call| call.message().is_some_and(&fits))
    }

    /// With this payload.
    pub fn payload(self, payload: impl Into<MessagePayload>) -> Self {
        let payload = payload.into();
        self.message(with_payload(&payload), move |message| {
            message.payload == payload
        })
    }

    /// From this component.
    pub fn sender(self, sender: &ComponentId) -> Self {
        let id = sender.clone();
        self.message(with_sender(sender), move |message| message.sender == id)
    }

    /// With this correlation id.
    pub fn correlation_id(self, id: &str) -> Self {
        let wanted = Some(id.into());
        self.message(with_correlation_id(id), move |message| {
            message.correlation_id == wanted
        })
    }

    /// To be answered to this component.
    pub fn reply_to(self, id: &ComponentId) -> Self {
        let wanted = Some(id.clone());
        self.message(with_reply_to(id), move |message| message.reply_to == wanted)
    }

    /// With this message type.
    pub fn message_type(self, message_type: &str) -> Self {
        let wanted = message_type.to_owned();
        self.message(with_message_type(message_type), move |message| {
            message.message_type.as_deref() == Some(&wanted)
        })
    }
}

impl<T: Send + 'static> Expect<(ComponentId, Bytes, ComponentConfig), T> {
    /// Of these bytes.
    pub fn bytes(self, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        self.matching(with_bytes(&bytes), move |call| {
            call.source().is_some_and(|(found, _)| *found == bytes)
        })
    }

    /// With exactly this configuration.
    pub fn config(self, config: &ComponentConfig) -> Self {
        let wanted = config.clone();
        self.matching(with_config(config), move |call| {
            call.source().is_some_and(|(_, found)| *found == wanted)
        })
    }
}

impl Expected {
    pub(super) fn is_met_by(&self, call: &Call) -> bool {
        self.method == call.method() && self.unmet_by(call).next().is_none()
    }

    /// What is said here and not so of a call of the same method.
    pub(super) fn unmet_by(&self, call: &Call) -> impl Iterator<Item = &str> {
        let unmet = self.matchers.iter().filter(|matcher| !(matcher.fits)(call));
        unmet.map(|matcher| &*matcher.text)
    }

    pub(super) fn method(&self) -> Method {
        self.method
    }
}

/// The method and what is said of its arguments.
impl Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.method)?;
        self.matchers.iter().try_for_each(|matcher| {
            let before = if matcher.text.starts_with("of ") {
                ""
            } else {
                ","
            };
            write!(f, "{before} {}", matcher.text)
        })
    }
}

impl Debug for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expectation({}, {})", self.expected, self.expected.times)
    }
}

impl<A, T> Debug for Expect<A, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expect({}, {})", self.expected, self.expected.times)
    }
}
