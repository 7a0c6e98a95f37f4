//! The desk of a partition, kept in the stream of its data: what begins to be handled is written
//! down there first. What begins meanwhile is written down together.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::header::HeaderMap;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use crate::claim::Claim;
use crate::connect::DUPLICATES;
use crate::envelope::SentAs;
use crate::name::Names;
use crate::protocol::desk::Desk;
use crate::protocol::taken::Taken;
use crate::wire::{PublishError, Wire};

/// Between two attempts to write while NATS is away.
const PAUSE: Duration = Duration::from_millis(50);

/// Written down at a time.
const TOGETHER: usize = 1_024;

#[derive(Debug)]
pub(crate) struct Book {
    claim: Arc<Claim>,
    desk: Mutex<Desk>,
    begins: mpsc::UnboundedSender<Begins>,
}

#[derive(Debug)]
struct Begins {
    place: u64,
    sent_as: SentAs,
    is_written: oneshot::Sender<bool>,
}

impl Book {
    /// That of a partition, where a node that owned it before has left this. It is kept until
    /// the claim is over.
    pub(crate) fn open(wire: &Wire, names: &Names, claim: &Arc<Claim>, left: Desk) -> Arc<Self> {
        let (begins, begun) = mpsc::unbounded_channel();
        let book = Arc::new(Self {
            claim: Arc::clone(claim),
            desk: Mutex::new(left),
            begins,
        });
        let writer = Writer {
            wire: wire.clone(),
            subject: names.desk(claim.partition),
            names: names.clone(),
            begun,
        };
        tokio::spawn(writer.run(Arc::clone(&book)));
        book
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a message may be handled now, because it is written down that it is; `false` once
    /// this node does not own the partition any more. It waits while NATS is away.
    pub(crate) async fn begin(&self, place: u64, sent_as: &SentAs) -> bool {
        let (is_written, written) = oneshot::channel();
        let begins = Begins {
            place,
            sent_as: sent_as.clone(),
            is_written,
        };
        if self.begins.send(begins).is_err() {
            return false;
        }
        tokio::select! {
            written = written => written.unwrap_or(false) && !self.claim.is_over(),
            () = self.claim.ended() => false,
        }
    }

    /// Whether this is a message that was taken up at another place.
    pub(crate) fn is_again(&self, place: u64, sent_as: &SentAs) -> bool {
        self.desk().is_again(place, sent_as.as_pair())
    }

    /// The places of all that has begun, here or on a node that had the partition before.
    pub(crate) fn begun(&self) -> Vec<u64> {
        self.desk().begun().collect()
    }

    /// It is confirmed that a message is not in the stream any more.
    pub(crate) fn acknowledged(&self, place: u64) {
        self.desk().acknowledged(place);
    }

    /// Whether it is on the desk that a message has begun.
    pub(crate) fn has_begun(&self, place: u64) -> bool {
        self.desk().has_begun(place)
    }
}

struct Writer {
    wire: Wire,
    names: Names,
    subject: String,
    begun: mpsc::UnboundedReceiver<Begins>,
}

impl Writer {
    async fn run(mut self, book: Arc<Book>) {
        let mut periods = interval_at(Instant::now() + DUPLICATES, DUPLICATES);
        periods.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut together = Vec::new();
            tokio::select! {
                read = self.begun.recv_many(&mut together, TOGETHER) => {
                    if read == 0 {
                        return;
                    }
                }
                _ = periods.tick() => {
                    book.desk().taken.forget_earlier();
                    continue;
                }
                () = book.claim.ended() => return,
            }
            {
                let mut desk = book.desk();
                for begins in &together {
                    desk.begin(begins.place, begins.sent_as.as_pair());
                }
            }
            let is_written = self.write(&book).await;
            for begins in together {
                // Whoever asked may be gone.
                let _ = begins.is_written.send(is_written);
            }
            if !is_written {
                return;
            }
        }
    }

    async fn write(&self, book: &Book) -> bool {
        loop {
            let text = book.desk().as_text();
            let claim = &book.claim;
            let written = claim.write(
                &self.wire,
                &self.names,
                &self.subject,
                HeaderMap::new(),
                text.into(),
            );
            match written.await {
                Ok(_) => return true,
                Err(PublishError::Outdated) => return false,
                Err(error @ PublishError::TooLarge { .. })
                    if book.desk().taken != Taken::default() =>
                {
                    let partition = claim.partition;
                    tracing::warn!(partition, "what was taken up lately is forgotten: {error}");
                    book.desk().taken = Taken::default();
                }
                Err(error) => {
                    let partition = claim.partition;
                    tracing::debug!(partition, "what begins cannot be written down: {error}");
                }
            }
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = claim.ended() => return false,
            }
        }
    }
}
