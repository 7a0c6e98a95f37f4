//! The messages of one partition on their way from the stream to the host, in the order of the
//! stream for each recipient.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream::consumer::{self, AckPolicy, Consumer};
use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{self, AckKind};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use wasm_core::{AfterCrash, ComponentId, RuntimeEngine};
use wasm_host::{Arrival, DeadLetterCause, Host, NotTaken, Phase, ReplyTo};

use crate::answers::Elsewhere;
use crate::book::Book;
use crate::carrier::Arrived;
use crate::claim::Claim;
use crate::dead::Kept;
use crate::envelope::{SentAs, open_message};
use crate::mail::{Mail, MailReceipt, Told};
use crate::name::{Names, is_incarnation};
use crate::protocol::desk::{Desk, Left};
use crate::room::{Place, Room};
use crate::tenants::Tenants;
use crate::view::Watched;
use crate::wire::{At, Wire};

/// Messages that the host has of one recipient at a time, unless it handles more than half as many
/// at a time.
const AT_HOST: usize = 32;

/// So many as there are may be given to this node and not be acknowledged: a bound would let
/// recipients that are slow keep messages from all others of a partition.
const UNBOUNDED: i64 = -1;

/// Asked for at a time.
const BATCH: usize = 256;

/// The server sends again what it has not heard of for so long. It is known then, unless it got
/// lost between servers and nothing has come after it, by which that would have been noticed.
const ACK_WAIT: Duration = Duration::from_secs(120);

/// How often it is looked whether the connection is another one.
const LOOK: Duration = Duration::from_secs(1);

/// Acknowledged messages that are remembered, in case that the server was about to send them
/// again.
const REMEMBERED: usize = 16_384;

/// Messages that are over and not acknowledged yet, each with what is kept of it if it is a dead
/// letter, of up to 64 KiB: with so many nothing more is handed over.
const OVER: usize = 1_024;

/// How long a component may be missing that is being loaded, or deployed on one node earlier than
/// on another.
const MISSING: Duration = Duration::from_secs(5);

/// What is not accepted is tried again after so long, or when the recipient has handled
/// something.
const RETRY: Duration = Duration::from_millis(50);

/// The longest that it takes until what has found no room is tried again.
const LATEST_RETRY: Duration = Duration::from_secs(1);

/// What an inbox is made from.
pub(crate) struct Inbox<E: RuntimeEngine + ?Sized> {
    pub(crate) host: Host<E>,
    pub(crate) tenants: Arc<dyn Tenants>,
    pub(crate) watched: Arc<Watched>,
    pub(crate) claim: Arc<Claim>,
    pub(crate) wire: Wire,
    pub(crate) names: Names,
    pub(crate) stream: Stream<()>,
    pub(crate) arrived: Arc<Arrived>,
    pub(crate) room: Room,
    pub(crate) node: String,
    /// Of the node that had the partition before.
    pub(crate) former_consumer: Option<String>,
    /// What it has left on its desk.
    pub(crate) left: Desk,
}

/// An inbox at work.
#[derive(Debug)]
pub(crate) struct OpenInbox {
    stop: Option<oneshot::Sender<()>>,
    finish: Option<oneshot::Sender<()>>,
    done: Option<oneshot::Receiver<()>>,
}

impl OpenInbox {
    /// Nothing more is handed to the host.
    pub(crate) fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Waits until all that the host has handled is acknowledged.
    pub(crate) async fn finish(mut self) {
        self.stop();
        if let Some(finish) = self.finish.take() {
            let _ = finish.send(());
        }
        if let Some(done) = self.done.take() {
            let _ = done.await;
        }
    }
}

/// The name of the consumer of a partition under a claim: what an earlier owner acknowledges
/// late goes to another one, which is gone.
pub(crate) fn consumer_name(claim: &Claim) -> String {
    format!("p{}-{}", claim.partition, claim.fence)
}

struct Run<E: RuntimeEngine + ?Sized> {
    inbox: Inbox<E>,
    book: Arc<Book>,
    tell: mpsc::UnboundedSender<Told>,
    recipients: HashMap<ComponentId, Recipient>,
    /// Whose each message is that is not acknowledged.
    known: HashMap<u64, ComponentId>,
    /// Not at the host yet, or again.
    waiting: BTreeSet<u64>,
    /// Being acknowledged, with whose it is and its number where it was taken up.
    over: BTreeMap<u64, Option<SentAs>>,
    acknowledged: Recent,
    latest: u64,
    is_caught_up: bool,
    /// How many the consumer has given: the next must have the next number, or something that
    /// came before it has got lost.
    given: u64,
    /// How often a connection had been made when it was read from last.
    connects: u64,
    attempt: u64,
    retry: Option<Instant>,
    is_stopping: bool,
    /// Asks for what is on the desk and has not come.
    tidying: Option<AbortHandle>,
}

#[derive(Default)]
struct Recipient {
    waiting: BTreeMap<u64, Waiting>,
    at_host: BTreeMap<u64, (u64, Mail)>,
    /// Since when it is not there.
    missing: Option<Instant>,
    /// When what was not accepted is tried again, and how long it had to wait for that.
    again: Option<Instant>,
    pause: Duration,
}

/// A message that was handled, or could not be.
struct TakenUp {
    sent_as: SentAs,
    dead: Option<Kept>,
}

/// A message that is not at the host.
enum Waiting {
    Here(Box<Mail>, Place),
    /// It is fetched when its turn has come; where it is acknowledged.
    InStream(String),
    Fetching(String),
}

/// Places of messages, of which the oldest are forgotten.
#[derive(Default)]
struct Recent {
    places: BTreeSet<u64>,
    order: VecDeque<u64>,
}

impl Recent {
    fn insert(&mut self, place: u64) {
        if self.places.insert(place) {
            self.order.push_back(place);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.places.remove(&oldest);
        }
    }
}

impl<E: RuntimeEngine + ?Sized + 'static> Inbox<E> {
    /// Begins to hand over what there is. It ends with the claim.
    pub(crate) fn open(self) -> OpenInbox {
        let (stop, stopped) = oneshot::channel();
        let (finish, finished) = oneshot::channel();
        let (is_done, done) = oneshot::channel();
        let (tell, told) = mpsc::unbounded_channel();
        let book = Book::open(&self.wire, &self.names, &self.claim, self.left.clone());
        let run = Run {
            book,
            tell,
            inbox: self,
            recipients: HashMap::new(),
            known: HashMap::new(),
            waiting: BTreeSet::new(),
            over: BTreeMap::new(),
            acknowledged: Recent::default(),
            latest: 0,
            is_caught_up: false,
            given: 0,
            connects: 0,
            attempt: 0,
            retry: None,
            is_stopping: false,
            tidying: None,
        };
        tokio::spawn(async move {
            run.run(told, stopped, finished).await;
            let _ = is_done.send(());
        });
        OpenInbox {
            stop: Some(stop),
            finish: Some(finish),
            done: Some(done),
        }
    }

    /// A consumer of its own, which has given nothing yet, in place of that of the node that had
    /// the partition before, or of one by which something got lost.
    async fn consumer(&self) -> Option<Consumer<consumer::pull::Config>> {
        let name = consumer_name(&self.claim);
        while !self.claim.is_over() {
            if let Some(former) = &self.former_consumer {
                // It may be gone, or have been made never.
                let _ = self.stream.delete_consumer(former).await;
            }
            let _ = self.stream.delete_consumer(&name).await;
            let made = self.stream.create_consumer(consumer::pull::Config {
                durable_name: Some(name.clone()),
                ack_policy: AckPolicy::Explicit,
                ack_wait: ACK_WAIT,
                max_ack_pending: UNBOUNDED,
                filter_subject: self.names.mail_of_partition(self.claim.partition),
                ..Default::default()
            });
            match made.await {
                Ok(consumer) if consumer.cached_info().delivered.consumer_sequence == 0 => {
                    return Some(consumer);
                }
                // It was not deleted.
                Ok(_) => {}
                Err(error) => {
                    let partition = self.claim.partition;
                    tracing::debug!(partition, "no consumer yet: {error}");
                    self.delete_earlier().await;
                }
            }
            sleep(RETRY).await;
        }
        None
    }

    /// Deletes consumers that are in the way, of nodes that died before they said which they
    /// have. Those of later claims are left alone.
    async fn delete_earlier(&self) {
        let prefix = format!("p{}-", self.claim.partition);
        let mut names = self.stream.consumer_names();
        while let Some(Ok(name)) = names.next().await {
            let fence = name.strip_prefix(&prefix).map(str::parse::<u64>);
            if fence.is_some_and(|fence| fence.is_ok_and(|it| it < self.claim.fence)) {
                let _ = self.stream.delete_consumer(&name).await;
            }
        }
    }
}

impl<E: RuntimeEngine + ?Sized + 'static> Run<E> {
    async fn run(
        mut self,
        mut told: mpsc::UnboundedReceiver<Told>,
        mut stopped: oneshot::Receiver<()>,
        mut finished: oneshot::Receiver<()>,
    ) {
        let claim = Arc::clone(&self.inbox.claim);
        let mut messages = None;
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if messages.is_none() && !self.is_stopping {
                messages = self.begin_reading().await;
                if messages.is_none() {
                    break;
                }
            }
            let next = async {
                match &mut messages {
                    Some(messages) if !self.is_stopping => messages.next().await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = claim.ended() => break,
                _ = &mut stopped, if !self.is_stopping => {
                    self.is_stopping = true;
                    messages = None;
                }
                Some(told) = told.recv() => self.hear(told).await,
                // All that the host has told is heard by now.
                _ = &mut finished, if self.is_stopping && self.over.is_empty() => break,
                () = until(self.retry) => self.pump_all().await,
                // What was on its way over the one before is lost.
                _ = looks.tick(), if self.connects != self.connects_now() => messages = None,
                message = next => match message {
                    Some(Ok(message)) if self.is_next(&message) => self.take_in(message).await,
                    Some(Ok(_)) => {
                        tracing::debug!("a message got lost on its way: they are read again");
                        self.is_caught_up = false;
                        self.tell_arrived();
                        messages = None;
                    }
                    // The connection was lost, or the consumer: it is asked for again.
                    Some(Err(_)) | None => {
                        messages = None;
                        sleep(RETRY).await;
                    }
                },
            }
        }
        self.inbox.arrived.set(claim.partition, None);
    }

    fn connects_now(&self) -> u64 {
        let statistics = self.inbox.wire.client.statistics();
        statistics.connects.load(Ordering::Relaxed)
    }

    /// Whether nothing was to come before it. What is no message of the consumer is looked at
    /// where it is taken in.
    fn is_next(&mut self, message: &jetstream::Message) -> bool {
        let Ok(info) = message.info() else {
            return true;
        };
        let is_next = info.consumer_sequence == self.given + 1;
        self.given = info.consumer_sequence;
        is_next
    }

    /// Everything that is not acknowledged comes again.
    async fn begin_reading(&mut self) -> Option<consumer::pull::Stream> {
        loop {
            self.connects = self.connects_now();
            let before = self.inbox.stream.get_info().await;
            let consumer = self.inbox.consumer().await?;
            self.given = 0;
            if let Ok(before) = before
                && consumer.cached_info().num_pending == 0
                && consumer.cached_info().num_ack_pending == 0
                && self.is_stream_empty().await
            {
                self.catch_up(before.state.last_sequence);
            }
            // The server must be able to send the largest message that there may be.
            let max_bytes = 2 * self.inbox.wire.client.max_payload();
            let messages = consumer.stream().max_messages_per_batch(BATCH);
            let messages = messages.max_bytes_per_batch(max_bytes);
            match messages.messages().await {
                Ok(messages) => return Some(messages),
                Err(_) if self.inbox.claim.is_over() => return None,
                Err(_) => sleep(RETRY).await,
            }
        }
    }

    /// Whether no message of the partition is in the stream, as whoever leads it says: the server
    /// that has the consumer may be behind.
    async fn is_stream_empty(&self) -> bool {
        let Inbox {
            wire,
            stream,
            names,
            claim,
            ..
        } = &self.inbox;
        let subjects = names.mail_of_partition(claim.partition);
        matches!(wire.last(stream, &subjects).await, Ok(None))
    }

    fn catch_up(&mut self, place: u64) {
        self.latest = self.latest.max(place);
        self.is_caught_up = true;
        self.tidy_the_desk();
        self.tell_arrived();
    }

    /// Messages on the desk that have not come were acknowledged by a node that had the partition
    /// before, unless the server that has this consumer is behind the others. So whoever leads the
    /// stream is asked: a message that is off the desk and still in the stream would be thrown
    /// away as one that comes again.
    fn tidy_the_desk(&mut self) {
        let mut doubtful = self.book.begun();
        doubtful.retain(|place| !self.known.contains_key(place));
        let Inbox {
            wire,
            stream,
            names,
            claim,
            ..
        } = &self.inbox;
        let (wire, stream, book) = (wire.clone(), stream.clone(), Arc::clone(&self.book));
        let (subjects, claim) = (names.mail_subjects(), Arc::clone(claim));
        let tidying = tokio::spawn(async move {
            for place in doubtful {
                match wire.at(&stream, &subjects, place).await {
                    Ok(At::Gone) => book.acknowledged(place),
                    // It stays, and costs a few bytes.
                    Ok(At::Found(_) | At::Unknown) => {}
                    Err(_) => return,
                }
                if claim.is_over() {
                    return;
                }
            }
        });
        if let Some(earlier) = self.tidying.replace(tidying.abort_handle()) {
            earlier.abort();
        }
    }

    /// Up to where everything has been handed to the host.
    fn tell_arrived(&self) {
        let first = self.waiting.first().map_or(self.latest, |place| place - 1);
        let place = self.is_caught_up.then_some(first);
        self.inbox.arrived.set(self.inbox.claim.partition, place);
    }

    async fn take_in(&mut self, message: jetstream::Message) {
        let Ok(info) = message.info() else {
            return;
        };
        let (place, is_last) = (info.stream_sequence, info.pending == 0);
        let acknowledge = message.reply.as_ref().map(ToString::to_string);
        if self.acknowledged.places.contains(&place) {
            // It was acknowledged to a consumer that is gone.
            let _ = message.ack().await;
            return;
        }
        if self.known.contains_key(&place) {
            // The server only wants to know whether it is still here.
            let _ = message.ack_with(AckKind::Progress).await;
            return;
        }
        let recipient = self.inbox.names.recipient(&message.subject);
        let Some((recipient, acknowledge)) = recipient.zip(acknowledge) else {
            return throw_away(&message).await;
        };
        let waiting = match self.inbox.room.take(message.payload.len()) {
            None => Waiting::InStream(acknowledge),
            Some(room) => {
                let published = info.published.unix_timestamp_nanos();
                let payload = message.payload.clone();
                let opened = self.open(&recipient, (place, published), payload, acknowledge);
                let Some(mail) = opened else {
                    return throw_away(&message).await;
                };
                Waiting::Here(Box::new(mail), room)
            }
        };
        self.known.insert(place, recipient.clone());
        self.waiting.insert(place);
        let its = self.recipients.entry(recipient.clone()).or_default();
        its.waiting.insert(place, waiting);
        self.latest = self.latest.max(place);
        if is_last && !self.is_caught_up {
            self.is_caught_up = true;
            self.tidy_the_desk();
        }
        self.pump(&recipient).await;
        self.tell_arrived();
    }

    /// A message, unless it is nothing that a node has sent to this recipient.
    fn open(
        &self,
        recipient: &ComponentId,
        (place, published): (u64, i128),
        bytes: Bytes,
        acknowledge: String,
    ) -> Option<Mail> {
        let (envelope, message) = open_message(bytes)?;
        if message.recipient != *recipient || !is_incarnation(&envelope.sent_as.origin) {
            return None;
        }
        Some(Mail {
            place,
            published,
            envelope,
            message,
            acknowledge,
            is_interrupted: self.inbox.left.left(place) == Left::Interrupted,
        })
    }

    async fn hear(&mut self, told: Told) {
        match told {
            Told::PutBack { place, attempt } => {
                let Some(id) = self.known.get(&place).cloned() else {
                    return;
                };
                let its = self.recipients.entry(id.clone()).or_default();
                if its.at_host.get(&place).is_some_and(|it| it.0 == attempt) {
                    self.put_back(&id, place);
                    self.retry_later(&id, RETRY);
                }
            }
            Told::Fetched { place, found } => self.take_fetched(place, found).await,
            Told::Over { place, dead } => {
                let Some(id) = self.known.get(&place).cloned() else {
                    return;
                };
                let its = self.recipients.entry(id.clone()).or_default();
                let Some((_, mail)) = its.at_host.remove(&place) else {
                    return;
                };
                self.over.insert(place, Some(mail.envelope.sent_as.clone()));
                let record = dead.and_then(|dead| Kept::new(&mail, &dead, &self.inbox.node));
                let sent_as = mail.envelope.sent_as;
                let taken_up = TakenUp {
                    sent_as,
                    dead: record,
                };
                self.acknowledge(place, mail.acknowledge, Some(taken_up));
                self.pump(&id).await;
            }
            Told::Acknowledged { place } => {
                self.over.remove(&place);
                self.book.acknowledged(place);
                self.acknowledged.insert(place);
                if let Some(id) = self.known.remove(&place)
                    && self
                        .recipients
                        .get(&id)
                        .is_some_and(|it| it.waiting.is_empty() && it.at_host.is_empty())
                {
                    self.recipients.remove(&id);
                }
            }
        }
        self.tell_arrived();
    }

    /// Acknowledges a message. One that was taken up is on the desk before, whether it could be
    /// handled or not, so that it is known if it comes again. A dead letter is stored before.
    fn acknowledge(&self, place: u64, reply: String, taken_up: Option<TakenUp>) {
        let (wire, names) = (self.inbox.wire.clone(), self.inbox.names.clone());
        let (claim, tell) = (Arc::clone(&self.inbox.claim), self.tell.clone());
        let book = Arc::clone(&self.book);
        tokio::spawn(async move {
            if let Some(TakenUp { sent_as, .. }) = &taken_up
                && !book.has_begun(place)
                && !book.begin(place, sent_as).await
            {
                return;
            }
            while let Some(TakenUp {
                dead: Some(dead), ..
            }) = &taken_up
            {
                if claim.is_over() {
                    return;
                }
                if dead.store(&wire, &names).await {
                    break;
                }
                sleep(RETRY).await;
            }
            // What was handled when the claim was over could store nothing: it is for the next owner,
            // who finds it on the desk.
            while !claim.is_over() {
                if wire.acknowledge(&reply).await {
                    let _ = tell.send(Told::Acknowledged { place });
                    return;
                }
                sleep(RETRY).await;
            }
        });
    }

    /// What waits for this recipient is tried again, at once if it handles something first.
    fn retry_later(&mut self, id: &ComponentId, pause: Duration) {
        let again = Instant::now() + pause;
        if let Some(its) = self.recipients.get_mut(id) {
            (its.pause, its.again) = (pause, Some(again));
        }
        self.retry = Some(self.retry.map_or(again, |it| it.min(again)));
    }

    async fn pump_all(&mut self) {
        self.retry = None;
        let now = Instant::now();
        let (mut due, mut next) = (Vec::new(), None::<Instant>);
        for (id, its) in self.recipients.iter().filter(|it| !it.1.waiting.is_empty()) {
            match its.again {
                Some(again) if again <= now => due.push(id.clone()),
                Some(again) => next = Some(next.map_or(again, |it| it.min(again))),
                None => {}
            }
        }
        self.retry = next;
        for id in due {
            self.pump(&id).await;
        }
        self.tell_arrived();
    }

    /// Hands the host what it may have of one recipient.
    async fn pump(&mut self, id: &ComponentId) {
        // As many as are handled, and as many for when those are.
        let most = AT_HOST.max(2 * self.inbox.tenants.concurrency(id) as usize);
        while !self.is_stopping
            && let Some(its) = self.recipients.get_mut(id)
            && its.at_host.len() < most
            && let Some((place, waiting)) = its.waiting.pop_first()
        {
            if self.over.len() >= OVER {
                its.waiting.insert(place, waiting);
                return self.retry_later(id, RETRY);
            }
            its.again = None;
            let (mail, _room) = match waiting {
                Waiting::Here(mail, room) => (mail, room),
                Waiting::InStream(acknowledge) => return self.fetch(id, place, acknowledge),
                fetching @ Waiting::Fetching(_) => {
                    its.waiting.insert(place, fetching);
                    return;
                }
            };
            self.waiting.remove(&place);
            let sent_as = &mail.envelope.sent_as;
            // Of what is at the host, or over in this moment, the desk need not know yet. What
            // nobody has counted is the same as nothing.
            let at_host = its.at_host.values().map(|(_, mail)| &mail.envelope.sent_as);
            let over = self.over.values().flatten();
            let is_here = sent_as.number != 0 && at_host.chain(over).any(|it| it == sent_as);
            // What is interrupted is the one that was taken up.
            if !mail.is_interrupted && (is_here || self.book.is_again(place, sent_as)) {
                tracing::info!(place, "a second copy of a message is thrown away");
                self.over.insert(place, None);
                self.acknowledge(place, mail.acknowledge, None);
                continue;
            }
            self.attempt += 1;
            its.at_host
                .insert(place, (self.attempt, Mail::clone(&mail)));
            let arrival = self.arrival(&mail);
            if mail.is_interrupted && self.inbox.tenants.after_crash(id) == AfterCrash::DeadLetter {
                let cause = DeadLetterCause::Interrupted;
                self.inbox.host.bury(arrival, cause);
                continue;
            }
            let Err(refused) = self.inbox.host.post(arrival) else {
                if let Some(its) = self.recipients.get_mut(id) {
                    (its.missing, its.pause) = (None, Duration::ZERO);
                }
                continue;
            };
            match self.hopeless(id, &refused).await {
                Some(cause) => {
                    let again = self.arrival(&mail);
                    self.inbox.host.bury(again, cause);
                }
                None => {
                    self.put_back(id, place);
                    let before = self.recipients.get(id).map_or(RETRY, |it| it.pause);
                    let pause = match refused {
                        NotTaken::Full => (2 * before).clamp(RETRY, LATEST_RETRY),
                        _ => RETRY,
                    };
                    return self.retry_later(id, pause);
                }
            }
        }
    }

    /// Fetches the message that is this recipient's next, for which there was no room.
    fn fetch(&mut self, id: &ComponentId, place: u64, acknowledge: String) {
        if let Some(its) = self.recipients.get_mut(id) {
            its.waiting.insert(place, Waiting::Fetching(acknowledge));
        }
        let Inbox {
            wire,
            stream,
            claim,
            room,
            names,
            ..
        } = &self.inbox;
        let (wire, stream, claim) = (wire.clone(), stream.clone(), Arc::clone(claim));
        let subjects = names.mail_subjects();
        let (room, tell) = (room.clone(), self.tell.clone());
        tokio::spawn(async move {
            let Some(room) = room.fetch().await else {
                return;
            };
            let mut pause = RETRY;
            while !claim.is_over() {
                let found = match wire.at(&stream, &subjects, place).await {
                    Ok(At::Found(it)) => Some((it.payload, it.time.unix_timestamp_nanos(), room)),
                    Ok(At::Gone) => None,
                    Ok(At::Unknown) | Err(_) => {
                        sleep(pause).await;
                        pause = (2 * pause).min(LATEST_RETRY);
                        continue;
                    }
                };
                let _ = tell.send(Told::Fetched { place, found });
                return;
            }
        });
    }

    async fn take_fetched(&mut self, place: u64, found: Option<(Bytes, i128, Place)>) {
        let Some(id) = self.known.get(&place).cloned() else {
            return;
        };
        let its = self.recipients.entry(id.clone()).or_default();
        let Some(Waiting::Fetching(acknowledge)) = its.waiting.remove(&place) else {
            return;
        };
        if self.is_stopping {
            // Whoever owns the partition next reads it again; others need the room.
            its.waiting.insert(place, Waiting::InStream(acknowledge));
            return;
        }
        let opened = found.and_then(|(bytes, published, room)| {
            let mail = self.open(&id, (place, published), bytes, acknowledge.clone())?;
            Some(Waiting::Here(Box::new(mail), room))
        });
        match opened {
            Some(mail) => {
                let its = self.recipients.entry(id.clone()).or_default();
                its.waiting.insert(place, mail);
            }
            None => {
                tracing::warn!(place, "what is no message, or not there, is thrown away");
                self.waiting.remove(&place);
                self.over.insert(place, None);
                self.acknowledge(place, acknowledge, None);
            }
        }
        self.pump(&id).await;
    }

    fn put_back(&mut self, id: &ComponentId, place: u64) {
        let its = self.recipients.entry(id.clone()).or_default();
        if let Some((_, mail)) = its.at_host.remove(&place) {
            let waiting = match self.inbox.room.take(mail.message.payload.len()) {
                Some(room) => Waiting::Here(Box::new(mail), room),
                None => Waiting::InStream(mail.acknowledge),
            };
            its.waiting.insert(place, waiting);
            self.waiting.insert(place);
        }
    }

    /// Why a message that was not accepted never will be, if that is so.
    async fn hopeless(&mut self, id: &ComponentId, refused: &NotTaken) -> Option<DeadLetterCause> {
        match refused {
            NotTaken::Never(cause) => Some(cause.clone()),
            NotTaken::NotHere => {
                let is_changing = self.inbox.tenants.is_changing();
                let its = self.recipients.get_mut(id)?;
                if is_changing {
                    its.missing = None;
                    return None;
                }
                let since = *its.missing.get_or_insert_with(Instant::now);
                (since.elapsed() >= MISSING).then_some(DeadLetterCause::Unloaded)
            }
            NotTaken::NotNow(_) => {
                let status = self.inbox.host.component(id).await?;
                let cause = status.cause.filter(|_| status.phase == Phase::Quarantined);
                cause.map(DeadLetterCause::Quarantined)
            }
            _ => None,
        }
    }

    fn arrival(&mut self, mail: &Mail) -> Arrival {
        // What the host has put back by itself is told under an earlier number.
        self.attempt += 1;
        if let Some(its) = self.recipients.get_mut(&mail.message.recipient)
            && let Some(at_host) = its.at_host.get_mut(&mail.place)
        {
            at_host.0 = self.attempt;
        }
        let receipt = MailReceipt {
            place: mail.place,
            sent_as: mail.envelope.sent_as.clone(),
            attempt: self.attempt,
            book: Arc::clone(&self.book),
            told: self.tell.clone(),
            dead: Mutex::default(),
        };
        Arrival {
            reply: self.reply(mail),
            message: mail.message.clone(),
            receipt: Arc::new(receipt),
        }
    }

    /// How a request is answered.
    fn reply(&self, mail: &Mail) -> Option<ReplyTo> {
        let asks = mail.envelope.asks.as_ref()?;
        let id = mail.message.correlation_id.clone()?;
        let Inbox { wire, names, .. } = &self.inbox;
        let asker = Elsewhere::new(wire, names, &mail.envelope.sent_as.origin, id);
        // Whoever asked goes by its own clock; this counts from when the server had stored it.
        let Inbox { watched, claim, .. } = &self.inbox;
        let passed = watched.age(mail.published, claim.now());
        let left = Duration::from_millis(asks.millis).saturating_sub(passed);
        Some(ReplyTo::new(Arc::new(asker), Instant::now() + left))
    }
}

async fn throw_away(message: &jetstream::Message) {
    tracing::warn!(subject = %message.subject, "what is no message is thrown away");
    let _ = message.ack_with(AckKind::Term).await;
}

/// Never, without a time.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
