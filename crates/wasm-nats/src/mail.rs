//! A message that waits in the stream, or is at the host: what is known of it, and what the host
//! tells of it.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;

use wasm_core::ComponentMessage;
use wasm_host::Receipt;

use crate::book::Book;
use crate::envelope::{Envelope, SentAs};
use crate::room::Place;

#[derive(Debug, Clone)]
pub(crate) struct Mail {
    /// In the stream: later ones have higher places.
    pub(crate) place: u64,
    /// When the server had stored it, in nanoseconds of its clock.
    pub(crate) published: i128,
    pub(crate) envelope: Envelope,
    pub(crate) message: ComponentMessage,
    /// Where it is acknowledged.
    pub(crate) acknowledge: String,
    /// Was being handled when the node ended that had it before.
    pub(crate) is_interrupted: bool,
}

/// What becomes of the messages at the host.
#[derive(Debug)]
pub(crate) enum Told {
    PutBack {
        place: u64,
        attempt: u64,
    },
    Over {
        place: u64,
        dead: Option<Dead>,
    },
    /// One whose turn has come, with when it was stored; `None` if it is not in the stream.
    Fetched {
        place: u64,
        found: Option<(Bytes, i128, Place)>,
    },
    /// It is not in the stream any more.
    Acknowledged {
        place: u64,
    },
}

/// Why a message is a dead letter.
#[derive(Debug, Clone)]
pub(crate) struct Dead {
    pub(crate) cause: &'static str,
    pub(crate) reason: String,
}

/// Given to the host with a message.
#[derive(Debug)]
pub(crate) struct MailReceipt {
    pub(crate) place: u64,
    pub(crate) sent_as: SentAs,
    /// The host may be given a message again that it has put back.
    pub(crate) attempt: u64,
    pub(crate) book: Arc<Book>,
    pub(crate) told: UnboundedSender<Told>,
    pub(crate) dead: Mutex<Option<Dead>>,
}

#[async_trait]
impl Receipt for MailReceipt {
    async fn begin(&self) -> bool {
        self.book.begin(self.place, &self.sent_as).await
    }

    fn put_back(&self) {
        let (place, attempt) = (self.place, self.attempt);
        // Nobody listens any more once the partition is another node's.
        let _ = self.told.send(Told::PutBack { place, attempt });
    }

    fn bury(&self, cause: &'static str, reason: &str) {
        let dead = Dead {
            cause,
            reason: reason.to_owned(),
        };
        *self.dead.lock().unwrap_or_else(PoisonError::into_inner) = Some(dead);
    }

    fn end(&self) {
        let dead = self
            .dead
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let place = self.place;
        let _ = self.told.send(Told::Over { place, dead });
    }
}
