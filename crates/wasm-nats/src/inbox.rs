//! The messages of one partition on their way from the stream to the host, in the order of the
//! stream for each recipient.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_nats::jetstream::consumer::{self, AckPolicy, Consumer};
use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{self, AckKind};
use futures_util::StreamExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use wasm_core::{AfterCrash, ComponentId, MessagingError, RuntimeEngine};
use wasm_host::{Arrival, DeadLetterCause, Host, Phase, ReplyTo};

use crate::answers::Elsewhere;
use crate::book::Book;
use crate::carrier::Arrived;
use crate::claim::Claim;
use crate::dead::Kept;
use crate::envelope::open_message;
use crate::mail::{Mail, MailReceipt, Told};
use crate::name::Names;
use crate::protocol::desk::{Desk, Left};
use crate::tenants::Tenants;
use crate::wire::Wire;

/// Messages that the host has of one recipient at a time.
const AT_HOST: usize = 32;

/// Messages that this node has of one partition at a time.
const HELD: i64 = 2_048;

/// Asked for at a time.
const BATCH: usize = 256;

/// The server sends again what it has not heard of for so long. It is known then, unless it got
/// lost with a connection.
const ACK_WAIT: Duration = Duration::from_secs(30);

/// Acknowledged messages that are remembered, in case that the server was about to send them
/// again.
const REMEMBERED: usize = 16_384;

/// How long a component may be missing that is being loaded, or deployed on one node earlier than
/// on another.
const MISSING: Duration = Duration::from_secs(5);

/// What is not accepted is tried again after so long, or when the recipient has handled
/// something.
const RETRY: Duration = Duration::from_millis(50);

/// What an inbox is made from.
pub(crate) struct Inbox<E: RuntimeEngine + ?Sized> {
    pub(crate) host: Host<E>,
    pub(crate) tenants: Arc<dyn Tenants>,
    pub(crate) claim: Arc<Claim>,
    pub(crate) wire: Wire,
    pub(crate) names: Names,
    pub(crate) stream: Stream<()>,
    pub(crate) arrived: Arc<Arrived>,
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
    /// Being acknowledged.
    over: BTreeSet<u64>,
    acknowledged: Recent,
    latest: u64,
    is_caught_up: bool,
    attempt: u64,
    retry: Option<Instant>,
    is_stopping: bool,
}

#[derive(Default)]
struct Recipient {
    waiting: BTreeMap<u64, Mail>,
    at_host: BTreeMap<u64, (u64, Mail)>,
    /// Since when it is not there.
    missing: Option<Instant>,
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
            over: BTreeSet::new(),
            acknowledged: Recent::default(),
            latest: 0,
            is_caught_up: false,
            attempt: 0,
            retry: None,
            is_stopping: false,
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

    /// A consumer of its own, in place of that of the node that had the partition before.
    async fn consumer(&self) -> Option<Consumer<consumer::pull::Config>> {
        let name = consumer_name(&self.claim);
        while !self.claim.is_over() {
            if let Some(former) = &self.former_consumer {
                // It may be gone, or have been made never.
                let _ = self.stream.delete_consumer(former).await;
            }
            let made = self.stream.create_consumer(consumer::pull::Config {
                durable_name: Some(name.clone()),
                ack_policy: AckPolicy::Explicit,
                ack_wait: ACK_WAIT,
                max_ack_pending: HELD,
                filter_subject: self.names.mail_of_partition(self.claim.partition),
                ..Default::default()
            });
            match made.await {
                Ok(consumer) => return Some(consumer),
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
                message = next => match message {
                    Some(Ok(message)) => self.take_in(message).await,
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

    async fn begin_reading(&mut self) -> Option<consumer::pull::Stream> {
        loop {
            let before = self.inbox.stream.get_info().await;
            let consumer = self.inbox.consumer().await?;
            if let Ok(before) = before
                && consumer.cached_info().num_pending == 0
                && consumer.cached_info().num_ack_pending == 0
            {
                self.catch_up(before.state.last_sequence);
            }
            let messages = consumer.stream().max_messages_per_batch(BATCH);
            match messages.messages().await {
                Ok(messages) => return Some(messages),
                Err(_) if self.inbox.claim.is_over() => return None,
                Err(_) => sleep(RETRY).await,
            }
        }
    }

    fn catch_up(&mut self, place: u64) {
        self.latest = self.latest.max(place);
        self.is_caught_up = true;
        self.tell_arrived();
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
        let opened = open_message(message.payload.clone());
        let Some(((envelope, content), acknowledge)) = opened.zip(acknowledge) else {
            tracing::warn!(subject = %message.subject, "what is no message is thrown away");
            let _ = message.ack_with(AckKind::Term).await;
            return;
        };
        let recipient = content.recipient.clone();
        let is_interrupted = self.inbox.left.left(place) == Left::Interrupted;
        let mail = Mail {
            place,
            envelope,
            message: content,
            acknowledge,
            is_interrupted,
        };
        self.known.insert(place, recipient.clone());
        self.waiting.insert(place);
        let its = self.recipients.entry(recipient.clone()).or_default();
        its.waiting.insert(place, mail);
        self.latest = self.latest.max(place);
        self.is_caught_up |= is_last;
        self.pump(&recipient).await;
        self.tell_arrived();
    }

    async fn hear(&mut self, told: Told) {
        match told {
            Told::PutBack { place, attempt } => {
                let Some(id) = self.known.get(&place).cloned() else {
                    return;
                };
                let its = self.recipients.entry(id).or_default();
                if its.at_host.get(&place).is_some_and(|it| it.0 == attempt)
                    && let Some((_, mail)) = its.at_host.remove(&place)
                {
                    its.waiting.insert(place, mail);
                    self.waiting.insert(place);
                    self.retry_later();
                }
            }
            Told::Over { place, dead } => {
                let Some(id) = self.known.get(&place).cloned() else {
                    return;
                };
                let its = self.recipients.entry(id.clone()).or_default();
                let Some((_, mail)) = its.at_host.remove(&place) else {
                    return;
                };
                self.over.insert(place);
                let record = dead.and_then(|dead| Kept::new(&mail, &dead, &self.inbox.node));
                self.acknowledge(mail, record);
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

    /// Acknowledges a message, once it is kept as a dead letter if it is one.
    fn acknowledge(&self, mail: Mail, record: Option<Kept>) {
        let (wire, names) = (self.inbox.wire.clone(), self.inbox.names.clone());
        let (claim, tell) = (Arc::clone(&self.inbox.claim), self.tell.clone());
        tokio::spawn(async move {
            while let Some(record) = &record
                && !record.store(&wire, &names).await
            {
                if claim.is_over() {
                    return;
                }
                sleep(RETRY).await;
            }
            while !wire.acknowledge(&mail.acknowledge).await {
                if claim.is_over() {
                    return;
                }
                sleep(RETRY).await;
            }
            let _ = tell.send(Told::Acknowledged { place: mail.place });
        });
    }

    fn retry_later(&mut self) {
        self.retry.get_or_insert(Instant::now() + RETRY);
    }

    async fn pump_all(&mut self) {
        self.retry = None;
        let waiting = self.recipients.iter();
        let waiting = waiting.filter(|(_, it)| !it.waiting.is_empty());
        let ids: Vec<_> = waiting.map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.pump(&id).await;
        }
        self.tell_arrived();
    }

    /// Hands the host what it may have of one recipient.
    async fn pump(&mut self, id: &ComponentId) {
        while !self.is_stopping
            && let Some(its) = self.recipients.get_mut(id)
            && its.at_host.len() < AT_HOST
            && let Some((place, mail)) = its.waiting.pop_first()
        {
            self.waiting.remove(&place);
            self.attempt += 1;
            its.at_host.insert(place, (self.attempt, mail.clone()));
            let arrival = self.arrival(&mail);
            if mail.is_interrupted && self.inbox.tenants.after_crash(id) == AfterCrash::DeadLetter {
                let cause = DeadLetterCause::Interrupted;
                self.inbox.host.bury(arrival, cause);
                continue;
            }
            let Err(error) = self.inbox.host.post(arrival) else {
                if let Some(its) = self.recipients.get_mut(id) {
                    its.missing = None;
                }
                continue;
            };
            match self.hopeless(id, &error).await {
                Some(cause) => {
                    let again = self.arrival(&mail);
                    self.inbox.host.bury(again, cause);
                }
                None => {
                    self.put_back(id, place);
                    self.retry_later();
                    return;
                }
            }
        }
    }

    fn put_back(&mut self, id: &ComponentId, place: u64) {
        let its = self.recipients.entry(id.clone()).or_default();
        if let Some((_, mail)) = its.at_host.remove(&place) {
            its.waiting.insert(place, mail);
            self.waiting.insert(place);
        }
    }

    /// Why a message that was not accepted never will be, if that is so.
    async fn hopeless(
        &mut self,
        id: &ComponentId,
        error: &MessagingError,
    ) -> Option<DeadLetterCause> {
        match error {
            MessagingError::TargetNotFound(_) => {
                let its = self.recipients.get_mut(id)?;
                let since = *its.missing.get_or_insert_with(Instant::now);
                (since.elapsed() >= MISSING).then_some(DeadLetterCause::Unloaded)
            }
            MessagingError::DeliveryFailed(_) => {
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
        let asker = Elsewhere::new(wire, names, &mail.envelope.origin, id);
        // By the clocks of two nodes: whoever asked goes by its own.
        let sent = Duration::new(
            mail.message.timestamp.seconds,
            mail.message.timestamp.nanoseconds,
        );
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let passed = now.unwrap_or_default().saturating_sub(sent);
        let left = Duration::from_millis(asks.millis).saturating_sub(passed);
        Some(ReplyTo::new(Arc::new(asker), Instant::now() + left))
    }
}

/// Never, without a time.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
