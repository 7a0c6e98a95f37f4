//! The answers to requests of this node: who waits for one, and how those are told who wait on
//! other nodes.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::task::AbortHandle;
use tokio::time::sleep_until;

use wasm_core::{CorrelationId, MessagePayload, MessagingError};
use wasm_host::{Asker, Carried, Outcome, ReplyTo, RequestError};

use crate::envelope::{open, seal};
use crate::name::Names;
use crate::wire::Wire;

/// The longest text of an error that travels, in characters.
const REASON_CHARS: usize = 1_000;

/// What became of a request, as it travels before the payload of the reply.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    correlation: String,
    outcome: Told,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Told {
    Reply,
    /// It was handled, and there is no reply.
    Nothing,
    TimedOut,
    Failed(String),
}

/// Requests of this node that others answer.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    open: Mutex<HashMap<CorrelationId, Open>>,
    /// How many there were.
    expected: AtomicU64,
}

#[derive(Debug)]
struct Open {
    /// An id may be used again once its request was answered.
    number: u64,
    reply: ReplyTo,
    /// Tells at the deadline that the time is up.
    alarm: AbortHandle,
}

impl Answers {
    fn open(&self) -> MutexGuard<'_, HashMap<CorrelationId, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the answer to a request until its deadline, or until what is returned is
    /// dropped. An answer says no more of its request than the id, so one id is of one request at
    /// a time: the reply comes back if another one waits under this id.
    pub(crate) fn expect(
        self: &Arc<Self>,
        id: CorrelationId,
        reply: ReplyTo,
    ) -> Result<Waiting, ReplyTo> {
        let deadline = reply.deadline();
        // The alarm waits for this if its time has come already.
        let mut open = self.open();
        if open.contains_key(&id) {
            return Err(reply);
        }
        let number = self.expected.fetch_add(1, Ordering::Relaxed);
        let alarm = {
            let (answers, id) = (Arc::downgrade(self), id.clone());
            tokio::spawn(async move {
                sleep_until(deadline).await;
                let taken = answers.upgrade().and_then(|it| it.take(&id, number));
                if let Some(open) = taken {
                    open.reply.time_out(&id);
                    open.reply.forget();
                }
            })
        };
        let alarm = alarm.abort_handle();
        let it = Open {
            number,
            reply,
            alarm,
        };
        open.insert(id.clone(), it);
        Ok(Waiting {
            answers: Arc::downgrade(self),
            id,
            number,
        })
    }

    /// Takes this very request out, if it still waits.
    fn take(&self, id: &CorrelationId, number: u64) -> Option<Open> {
        let mut open = self.open();
        let is_there = open.get(id).is_some_and(|it| it.number == number);
        is_there.then(|| open.remove(id))?
    }

    fn take_in(&self, bytes: Bytes) {
        let Some((answer, payload)) = open::<Answer>(bytes) else {
            return;
        };
        let id = CorrelationId::from(answer.correlation);
        let taken = self.open().remove(&id);
        // One that comes late is not waited for any more.
        let Some(open) = taken else {
            return;
        };
        open.alarm.abort();
        let outcome = match answer.outcome {
            Told::Reply => Ok(Some(payload.into())),
            Told::Nothing => Ok(None),
            Told::TimedOut => Err(MessagingError::CorrelationTimeout(id).into()),
            Told::Failed(reason) => Err(MessagingError::DeliveryFailed(reason).into()),
        };
        open.reply.answer(outcome);
    }

    /// Takes in answers for as long as it is polled.
    pub(crate) async fn listen(self: Arc<Self>, mut answers: async_nats::Subscriber) {
        while let Some(answer) = answers.next().await {
            self.take_in(answer.payload);
        }
    }
}

/// A request that waits for its answer.
pub(crate) struct Waiting {
    answers: Weak<Answers>,
    id: CorrelationId,
    number: u64,
}

impl Carried for Waiting {}

impl Drop for Waiting {
    fn drop(&mut self) {
        let answers = self.answers.upgrade();
        if let Some(open) = answers.and_then(|it| it.take(&self.id, self.number)) {
            open.alarm.abort();
            open.reply.forget();
        }
    }
}

impl Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Waiting").field(&self.id).finish()
    }
}

/// Whoever waits on another node.
#[derive(Debug)]
pub(crate) struct Elsewhere {
    wire: Wire,
    subject: String,
    id: CorrelationId,
    is_answered: AtomicBool,
}

impl Elsewhere {
    /// The node that this incarnation is of.
    pub(crate) fn new(wire: &Wire, names: &Names, incarnation: &str, id: CorrelationId) -> Self {
        Self {
            wire: wire.clone(),
            subject: names.answers(incarnation),
            id,
            is_answered: AtomicBool::new(false),
        }
    }
}

impl Asker for Elsewhere {
    fn answer(&self, outcome: Outcome) {
        if self.is_answered.swap(true, Ordering::AcqRel) {
            return;
        }
        let (outcome, payload) = told(outcome, self.wire.max_payload());
        let correlation = self.id.as_str().to_owned();
        let answer = Answer {
            correlation,
            outcome,
        };
        let Ok(bytes) = seal(&answer, payload.as_bytes()) else {
            return;
        };
        let (client, subject) = (self.wire.client.clone(), self.subject.clone());
        // Whoever waits is told that the time is up if it is lost.
        tokio::spawn(async move { client.publish(subject, bytes).await });
    }

    fn is_waiting(&self) -> bool {
        !self.is_answered.load(Ordering::Acquire)
    }
}

/// An outcome as it travels, with the payload of the reply.
fn told(outcome: Outcome, max_payload: usize) -> (Told, MessagePayload) {
    let failed = |reason: String| {
        let reason = reason.chars().take(REASON_CHARS).collect();
        (Told::Failed(reason), MessagePayload::empty())
    };
    match outcome {
        Ok(Some(reply)) if reply.len() > max_payload => failed(format!(
            "the answer has {} bytes; the server of NATS takes {max_payload} in a message \
             (`max_payload`)",
            reply.len()
        )),
        Ok(Some(reply)) => (Told::Reply, reply),
        Ok(None) => (Told::Nothing, MessagePayload::empty()),
        Err(RequestError::Messaging(MessagingError::CorrelationTimeout(_))) => {
            (Told::TimedOut, MessagePayload::empty())
        }
        Err(RequestError::Messaging(MessagingError::DeliveryFailed(reason))) => failed(reason),
        Err(error) => failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    #[derive(Debug, Default)]
    struct Told(Mutex<Vec<Outcome>>);

    impl Asker for Told {
        fn answer(&self, outcome: Outcome) {
            self.0.lock().unwrap().push(outcome);
        }

        fn is_waiting(&self) -> bool {
            self.0.lock().unwrap().is_empty()
        }
    }

    fn reply(seconds: u64) -> (Arc<Told>, ReplyTo) {
        let told = Arc::new(Told::default());
        let deadline = Instant::now() + Duration::from_secs(seconds);
        let reply = ReplyTo::new(Arc::clone(&told) as Arc<_>, deadline);
        (told, reply)
    }

    fn answer(answers: &Answers, id: &CorrelationId) {
        let answer = Answer {
            correlation: id.as_str().to_owned(),
            outcome: super::Told::Nothing,
        };
        answers.take_in(seal(&answer, &[]).unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn an_id_is_of_one_request_at_a_time() {
        let answers = Arc::new(Answers::default());
        let id = CorrelationId::from("mine".to_owned());
        let (first, to_first) = reply(10);
        let first_waits = answers.expect(id.clone(), to_first).unwrap();
        let (_, to_second) = reply(10);
        answers.expect(id.clone(), to_second).unwrap_err().forget();
        answer(&answers, &id);
        assert!(matches!(first.0.lock().unwrap()[..], [Ok(None)]));
        // Whoever waits under an id that is used again is forgotten by nobody else.
        let (second, to_second) = reply(20);
        let _second_waits = answers.expect(id.clone(), to_second).unwrap();
        drop(first_waits);
        tokio::time::sleep(Duration::from_secs(15)).await;
        assert!(second.is_waiting());
        tokio::time::sleep(Duration::from_secs(10)).await;
        let second = second.0.lock().unwrap();
        let late = |it: &Outcome| {
            matches!(
                it,
                Err(RequestError::Messaging(MessagingError::CorrelationTimeout(
                    _
                )))
            )
        };
        assert!(second.len() == 1 && late(&second[0]), "{second:?}");
    }
}
