//! A connection to NATS, and what is asked of its streams.

use std::collections::hash_map::RandomState;
use std::error::Error as _;
use std::hash::BuildHasher as _;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::header::{HeaderMap, HeaderValue};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{LastRawMessageError, LastRawMessageErrorKind, Stream};
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{Client, Message, Request, RequestErrorKind};
use bytes::Bytes;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout_at};

/// How long one attempt waits for its answer.
const ATTEMPT: Duration = Duration::from_secs(1);

/// Between the first two attempts, and between later ones at most.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Of a message besides its payload: its subject, its headers and its envelope.
const ENVELOPE_BYTES: usize = 8 << 10;

#[derive(Debug, Clone)]
pub(crate) struct Wire {
    pub(crate) client: Client,
    /// How long a call tries before it ends in an error.
    pub(crate) patience: Duration,
}

/// What is waited between attempts: each time twice as long, and not by all nodes alike.
#[derive(Debug)]
pub(crate) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Pause {
    /// Waits until the next attempt.
    pub(crate) async fn wait(&mut self) {
        sleep(self.next()).await;
    }

    fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (2 * pause).min(LONGEST_PAUSE);
        // From half of it to all of it.
        let half = pause / 2;
        half + half.mul_f64(f64::from(RandomState::new().hash_one(()) as u32) / f64::from(u32::MAX))
    }
}

/// Why something is not stored.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum PublishError {
    /// The condition did not hold: somebody else has written.
    #[error("another node has written")]
    Outdated,
    #[error("the stream has no room for more messages, of this subject or of all")]
    Full,
    #[error("{bytes} bytes; the server takes {limit} in a message (`max_payload`)")]
    TooLarge { bytes: usize, limit: usize },
    /// The server says why.
    #[error("NATS refuses it: {0}")]
    Refused(String),
    /// It was not stored.
    #[error("NATS cannot be reached")]
    Away,
    /// It may have been stored.
    #[error("NATS has not answered in time")]
    Unconfirmed,
}

impl Wire {
    /// Bytes of a payload that fit into a message.
    pub(crate) fn max_payload(&self) -> usize {
        self.client.max_payload().saturating_sub(ENVELOPE_BYTES)
    }

    /// Refuses what the server would not take.
    pub(crate) fn check_size(&self, payload: usize) -> Result<(), PublishError> {
        let limit = self.max_payload();
        if payload <= limit {
            return Ok(());
        }
        Err(PublishError::TooLarge {
            bytes: payload,
            limit,
        })
    }

    /// Whether there is a connection, or will be in time.
    pub(crate) async fn is_there(&self, until: Instant) -> bool {
        let mut pause = Pause::default();
        while self.client.connection_state() != State::Connected {
            if Instant::now() >= until {
                return false;
            }
            pause.wait().await;
        }
        true
    }

    /// Has a stream store this, which is tried again until it is known or the time is up: it
    /// must be harmless to store it twice.
    pub(crate) async fn publish(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<u64, PublishError> {
        let until = Instant::now() + self.patience;
        self.publish_until(until, subject, headers, payload).await
    }

    /// The same, tried until this time, and once at least where there is a connection.
    pub(crate) async fn publish_until(
        &self,
        until: Instant,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<u64, PublishError> {
        let mut pause = Pause::default();
        let mut may_be_stored = false;
        loop {
            let failed = |may_be_stored| match may_be_stored {
                true => PublishError::Unconfirmed,
                false => PublishError::Away,
            };
            // What is not sent is not stored later either.
            if !self.is_there(until).await {
                return Err(failed(may_be_stored));
            }
            match self
                .attempt(subject, headers.clone(), payload.clone())
                .await
            {
                Ok(outcome) => return outcome,
                Err(Again::NotStored) => {}
                Err(Again::MaybeStored) => may_be_stored = true,
            }
            if Instant::now() >= until {
                return Err(failed(may_be_stored));
            }
            pause.wait().await;
        }
    }

    async fn attempt(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<Result<u64, PublishError>, Again> {
        let bytes = payload.len();
        let request = Request::new()
            .headers(headers)
            .payload(payload)
            .timeout(Some(ATTEMPT));
        let answer = self.client.send_request(subject.to_owned(), request).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.unanswered(error.kind(), subject, bytes).map(Err),
        };
        let Ok(answer) = serde_json::from_slice::<Response<PublishAck>>(&answer.payload) else {
            let text = String::from_utf8_lossy(&answer.payload).into_owned();
            return Ok(Err(PublishError::Refused(text)));
        };
        match answer {
            Response::Ok(ack) => Ok(Ok(ack.sequence)),
            Response::Err { error } => refusal(&error).map(Err),
        }
    }

    /// What it means that there is no answer.
    fn unanswered(
        &self,
        kind: RequestErrorKind,
        subject: &str,
        bytes: usize,
    ) -> Result<PublishError, Again> {
        match kind {
            // No server leads the stream right now.
            RequestErrorKind::NoResponders => Err(Again::NotStored),
            RequestErrorKind::MaxPayloadExceeded => Ok(PublishError::TooLarge {
                bytes,
                limit: self.max_payload(),
            }),
            RequestErrorKind::InvalidSubject => {
                Ok(PublishError::Refused(format!("`{subject}` is no subject")))
            }
            RequestErrorKind::TimedOut | RequestErrorKind::Other => Err(Again::MaybeStored),
        }
    }

    /// The last message of a subject, as the leader of the stream has it.
    pub(crate) async fn last(
        &self,
        stream: &Stream<()>,
        subject: &str,
    ) -> Result<Option<StreamMessage>, PublishError> {
        self.read(|| stream.get_last_raw_message_by_subject(subject))
            .await
    }

    /// The first message of these subjects from this place of the stream on.
    pub(crate) async fn next(
        &self,
        stream: &Stream<()>,
        subjects: &str,
        from: u64,
    ) -> Result<Option<StreamMessage>, PublishError> {
        let next = || {
            let next = stream.raw_message_builder().sequence(from);
            next.next_by_subject(subjects).send()
        };
        self.read(next).await
    }

    /// What is at this place of the stream, whose subjects these are. A server that leads no
    /// longer, and does not know that yet, may not have what others have: only one that has
    /// something later knows that there is nothing here.
    pub(crate) async fn at(
        &self,
        stream: &Stream<()>,
        subjects: &str,
        place: u64,
    ) -> Result<At, PublishError> {
        Ok(match self.next(stream, subjects, place).await? {
            Some(next) if next.sequence == place => At::Found(Box::new(next)),
            Some(_) => At::Gone,
            None => At::Unknown,
        })
    }

    async fn read<F>(&self, attempt: impl Fn() -> F) -> Result<Option<StreamMessage>, PublishError>
    where
        F: Future<Output = Result<StreamMessage, LastRawMessageError>>,
    {
        let until = Instant::now() + self.patience;
        let mut pause = Pause::default();
        loop {
            if !self.is_there(until).await {
                return Err(PublishError::Away);
            }
            match timeout_at(until, attempt()).await {
                Ok(Ok(message)) => return Ok(Some(message)),
                Ok(Err(error)) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {
                    return Ok(None);
                }
                Ok(Err(error)) => {
                    if Instant::now() >= until {
                        return Err(PublishError::Refused(error.to_string()));
                    }
                    pause.wait().await;
                }
                Err(_) => return Err(PublishError::Unconfirmed),
            }
        }
    }

    /// Acknowledges a message of a consumer; whether that is confirmed.
    pub(crate) async fn acknowledge(&self, reply: &str) -> bool {
        let request = Request::new()
            .payload(Bytes::from_static(b"+ACK"))
            .timeout(Some(ATTEMPT));
        let answer = self.client.send_request(reply.to_owned(), request).await;
        answer.is_ok()
    }
}

/// What there is at a place of a stream.
pub(crate) enum At {
    Found(Box<StreamMessage>),
    /// There was something, which was removed.
    Gone,
    /// Nothing, as far as whoever answers knows.
    Unknown,
}

/// It is to be tried again.
enum Again {
    NotStored,
    MaybeStored,
}

/// What a server's error means.
fn refusal(error: &jetstream::Error) -> Result<PublishError, Again> {
    let code = error.error_code();
    if code == ErrorCode::STREAM_WRONG_LAST_SEQUENCE {
        return Ok(PublishError::Outdated);
    }
    // Another write under the same condition is under way: this one was not looked at. Or the
    // same message is, or there is no leader.
    let is_undecided = [
        ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT,
        ErrorCode::CLUSTER_NOT_LEADER,
        ErrorCode::CLUSTER_NOT_AVAILABLE,
    ]
    .contains(&code)
        || code == DUPLICATE_UNDER_WAY;
    if is_undecided {
        return Err(Again::NotStored);
    }
    let text = error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string);
    let is_full = [
        "maximum messages per subject exceeded",
        "maximum bytes exceeded",
    ];
    if is_full.iter().any(|it| text.contains(it)) {
        return Ok(PublishError::Full);
    }
    Ok(PublishError::Refused(text))
}

/// "duplicate message id is in process"
const DUPLICATE_UNDER_WAY: ErrorCode = ErrorCode::STREAM_DUPLICATE_MESSAGE_CONFLICT;

/// Whether a message says that there is no such key any more.
pub(crate) fn is_deleted(headers: &HeaderMap) -> bool {
    let operation = headers.get("KV-Operation").map(HeaderValue::as_str);
    matches!(operation, Some("DEL" | "PURGE")) || headers.get("Nats-Marker-Reason").is_some()
}

/// The size that a consumer of headers only tells.
pub(crate) fn size_of(message: &Message) -> u64 {
    let headers = message.headers.as_ref();
    let size = headers.and_then(|it| it.get("Nats-Msg-Size"));
    size.and_then(|it| it.as_str().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_no_two_alike() {
        let mut pause = Pause::default();
        for longest in [5, 10, 20, 40, 80, 160, 250, 250] {
            let (next, longest) = (pause.next(), Duration::from_millis(longest));
            assert!(
                next >= longest / 2 && next <= longest,
                "{next:?} {longest:?}"
            );
        }
        let (mut one, mut other) = (Pause::default(), Pause::default());
        assert!((0..8).any(|_| one.next() != other.next()));
    }
}
