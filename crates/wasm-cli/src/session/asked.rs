use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use wasm_core::{ComponentId, MessagePayload};
use wasm_host::{HostError, RequestError};

use crate::input::source::Source;
use crate::session::call::Called;

/// What lines asked for and have not got yet, the oldest first.
#[derive(Default)]
pub(crate) struct Asked {
    questions: Vec<Question>,
    latest: Number,
}

/// Which question.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number(u64);

struct Question {
    number: Number,
    source: Arc<Source>,
    line: String,
    is_late: bool,
    work: Pin<Box<dyn Future<Output = Outcome> + Send>>,
    outcome: Option<Outcome>,
}

pub(crate) struct Answer {
    /// Whose.
    pub(crate) source: Arc<Source>,
    pub(crate) line: String,
    /// Other lines came before it.
    pub(crate) is_late: bool,
    pub(crate) outcome: Outcome,
}

pub(crate) enum Outcome {
    Replied(Result<Option<MessagePayload>, RequestError>),
    /// Or not in time.
    Called(Option<Result<Called, RequestError>>),
    /// Or not in time.
    Restarted(Option<Result<(), HostError>>),
}

impl Asked {
    /// The work begins with the next call of [`next`](Self::next).
    pub(crate) fn begin(
        &mut self,
        source: Arc<Source>,
        line: String,
        work: impl Future<Output = Outcome> + Send + 'static,
    ) -> Number {
        self.latest.0 += 1;
        self.questions.push(Question {
            number: self.latest,
            source,
            line,
            is_late: false,
            work: Box::pin(work),
            outcome: None,
        });
        self.latest
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.questions.is_empty()
    }

    pub(crate) fn is_waiting(&self, number: Number) -> bool {
        self.questions
            .iter()
            .any(|question| question.number == number)
    }

    pub(crate) fn is_about(&self, component: &ComponentId) -> bool {
        self.questions
            .iter()
            .any(|question| question.source.id == *component)
    }

    /// Other lines come before its answer. Whom it waits for, if it still does.
    pub(crate) fn is_late(&mut self, number: Number) -> Option<&ComponentId> {
        let mut questions = self.questions.iter_mut();
        let question = questions.find(|question| question.number == number)?;
        question.is_late = true;
        Some(&question.source.id)
    }

    /// Forgets all of them; whom they waited for.
    pub(crate) fn abandon(&mut self) -> Vec<ComponentId> {
        let questions = self.questions.drain(..);
        questions
            .map(|question| question.source.id.clone())
            .collect()
    }

    /// `None` if nothing is awaited. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> Option<Answer> {
        if self.questions.is_empty() {
            return None;
        }
        let place = poll_fn(|cx| {
            // All of them, in the order of their lines: what is asked is sent by then.
            for question in &mut self.questions {
                if question.outcome.is_none()
                    && let Poll::Ready(outcome) = question.work.as_mut().poll(cx)
                {
                    question.outcome = Some(outcome);
                }
            }
            let mut questions = self.questions.iter();
            let answered = questions.position(|question| question.outcome.is_some());
            answered.map_or(Poll::Pending, Poll::Ready)
        })
        .await;
        let question = self.questions.remove(place);
        Some(Answer {
            source: question.source,
            line: question.line,
            is_late: question.is_late,
            outcome: question.outcome?,
        })
    }
}
