//! For every [`MessageRouter`].

use std::collections::HashSet;
use std::fmt::{self, Debug};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep};

use wasm_core::{
    ComponentHandle, ComponentId, ComponentMessage, CorrelationId, MessageRouter, MessagingError,
};

use super::id;
use crate::suite::{Case, cases};

/// A router and what lies around it.
#[async_trait]
pub trait RouterBench: Send + Sync {
    /// What is tried.
    fn router(&self) -> &dyn MessageRouter;

    /// Makes sure that a component is there, and gives the handle with which it sends.
    async fn join(&self, id: &ComponentId) -> ComponentHandle;

    /// What was accepted for a component and was not taken before, requests included.
    async fn take(&self, recipient: &ComponentId) -> Vec<ComponentMessage>;

    /// The callbacks that have come to a component, in order. Asked for only where
    /// [`Feature::Callbacks`] is declared.
    async fn callbacks(&self, of: &ComponentHandle) -> Vec<ComponentMessage>;

    /// Lets the recipient answer a request that was taken, with whatever. Asked for only
    /// where [`Feature::Callbacks`] is declared; nothing to do, as by default, where
    /// taking a request answers it.
    async fn answer(&self, _request: &ComponentMessage) {}
}

/// What not every router can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Feature {
    /// Knows which components there are.
    KnowsWhoIsThere,
    /// Has mailboxes that are full at some time.
    BoundedMailboxes,
    /// Knows which components there are, and delivers callbacks to them.
    Callbacks,
}

/// A router with which nobody has sent anything.
#[derive(Clone)]
pub struct Subject(Arc<dyn RouterBench>);

impl Subject {
    /// Of a bench on which nothing has happened.
    pub fn new(bench: impl RouterBench + 'static) -> Self {
        Self(Arc::new(bench))
    }
}

impl Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").finish_non_exhaustive()
    }
}

/// Every case.
pub fn cases() -> Vec<Case<Subject, Feature>> {
    cases!["router":
        "Puts the message into the mailbox of `message.recipient`." => [
            a_message_arrives_as_it_was_sent,
            a_message_arrives_at_its_recipient_only,
            messages_sent_at_once_all_arrive,
        ],
        "Nothing here waits for the recipient to handle anything, so components that message \
         each other in a circle cannot lock each other up." => [
            nobody_handles_anything_and_nobody_waits,
            a_component_may_message_itself,
        ],
        "`MessagingError::QueueFull` when the mailbox is full, at once: a sender is never made \
         to wait for room." => [
            a_full_mailbox_says_so needs Feature::BoundedMailboxes,
            a_full_mailbox_takes_no_requests_either needs Feature::BoundedMailboxes,
            there_is_room_again_once_messages_were_taken needs Feature::BoundedMailboxes,
        ],
        "No such component is loaded." => [
            who_is_not_there_is_not_found needs Feature::KnowsWhoIsThere,
        ],
        "Sends a message whose answer, error or timeout (wall clock, from now) comes to `from` \
         as exactly one callback with the returned id." => [
            a_request_arrives_like_a_message,
            requests_have_ids_of_their_own,
            a_request_that_is_not_answered_times_out_once needs Feature::Callbacks,
            a_request_that_is_answered_has_one_callback needs Feature::Callbacks,
        ],
        "As `send`; then there will be no callback." => [
            a_request_that_is_refused_has_no_callback needs Feature::Callbacks,
        ],
        "Gives up a request of `from`: its callback will not come." => [
            a_request_is_given_up,
            a_request_that_was_given_up_has_no_callback needs Feature::Callbacks,
        ],
        "`MessagingError::InvalidMessage` when `from` has no such open request." => [
            a_request_is_given_up_once,
            a_request_of_another_component_is_not_given_up,
            a_request_that_was_never_made_is_not_given_up,
        ],
        "Sends each of the messages, which share their payload; on an error the others are sent \
         all the same." => [
            a_broadcast_arrives_at_all,
            a_broadcast_to_nobody_is_fine,
            who_is_not_there_keeps_no_broadcast_from_the_others needs Feature::KnowsWhoIsThere,
        ],
        "Every method may be cancelled by dropping its future: the message is then accepted \
         whole or not at all." => [
            what_was_never_polled_is_not_sent,
            what_is_dropped_on_its_way_arrives_whole_or_not_at_all,
        ],
    ]
}

fn a() -> ComponentId {
    id("demo/a/main")
}

fn b() -> ComponentId {
    id("demo/b/main")
}

fn message(to: &ComponentId, text: &str) -> ComponentMessage {
    ComponentMessage::new(a(), to.clone(), text.to_owned())
}

fn texts(messages: &[ComponentMessage]) -> Vec<String> {
    let text = |message: &ComponentMessage| {
        String::from_utf8_lossy(message.payload.as_bytes()).into_owned()
    };
    messages.iter().map(text).collect()
}

const SECOND: Duration = Duration::from_secs(1);

/// More messages than any mailbox should have room for.
const MANY: usize = 100_000;

impl Subject {
    async fn take_and_answer(&self) {
        for request in self.0.take(&b()).await {
            self.0.answer(&request).await;
        }
    }

    async fn joined(&self) -> ComponentHandle {
        self.0.join(&b()).await;
        self.0.join(&a()).await
    }

    async fn send(&self, from: &ComponentHandle, message: ComponentMessage) {
        let outcome = self.0.router().send(from, message).await;
        assert_eq!(outcome, Ok(()));
    }

    async fn request(&self, from: &ComponentHandle, timeout: Duration) -> CorrelationId {
        let message = message(&b(), "question");
        match self.0.router().request(from, message, timeout).await {
            Ok(id) => id,
            Err(error) => panic!("{error}"),
        }
    }

    /// Sends `0`, `1`, `2` and so on to [`b`] until there is no room, and says how many.
    async fn fill(&self, from: &ComponentHandle) -> usize {
        let mut accepted = 0;
        let mut was_full = false;
        while accepted < MANY {
            let sent = message(&b(), &accepted.to_string());
            match self.0.router().send(from, sent).await {
                Ok(()) => {
                    accepted += 1;
                    was_full = false;
                }
                Err(MessagingError::QueueFull) if was_full => return accepted,
                Err(MessagingError::QueueFull) => {
                    // The recipient may be about to take the first one out.
                    sleep(Duration::from_millis(20)).await;
                    was_full = true;
                }
                Err(error) => panic!("{error}"),
            }
        }
        panic!("there was room for {MANY} messages");
    }

    async fn callback(&self, to: &ComponentHandle) -> ComponentMessage {
        // Less and less often, so that a hang is found out soon where time is paused.
        let mut pause = Duration::from_millis(5);
        loop {
            if let Some(callback) = self.0.callbacks(to).await.pop() {
                return callback;
            }
            sleep(pause).await;
            pause *= 2;
        }
    }

    async fn is_no_request(&self, from: &ComponentHandle, request: &CorrelationId) {
        let outcome = self.0.router().cancel_request(from, request).await;
        assert!(
            matches!(outcome, Err(MessagingError::InvalidMessage(_))),
            "{request} of {from}: {outcome:?}"
        );
    }
}

async fn a_message_arrives_as_it_was_sent(subject: Subject) {
    let from = subject.joined().await;
    let sent = message(&b(), "hello")
        .with_message_type("text/plain")
        .with_reply_to(id("demo/c/main"));
    subject.send(&from, sent.clone()).await;
    assert_eq!(subject.0.take(&b()).await, [sent]);
    assert_eq!(subject.0.take(&b()).await, []);
}

async fn a_message_arrives_at_its_recipient_only(subject: Subject) {
    let from = subject.joined().await;
    subject.send(&from, message(&b(), "hello")).await;
    assert_eq!(subject.0.take(&a()).await, []);
    assert_eq!(subject.0.take(&b()).await.len(), 1);
}

async fn messages_sent_at_once_all_arrive(subject: Subject) {
    let from = subject.joined().await;
    let mut sends = JoinSet::new();
    for n in 0..20 {
        let (subject, from) = (subject.clone(), from.clone());
        sends.spawn(async move { subject.send(&from, message(&b(), &format!("{n:02}"))).await });
    }
    sends.join_all().await;
    let mut arrived = texts(&subject.0.take(&b()).await);
    arrived.sort();
    let expected: Vec<String> = (0..20).map(|n| format!("{n:02}")).collect();
    assert_eq!(arrived, expected);
}

async fn nobody_handles_anything_and_nobody_waits(subject: Subject) {
    let from = subject.joined().await;
    let back = subject.0.join(&b()).await;
    for _ in 0..10 {
        subject.send(&from, message(&b(), "there")).await;
        let reply = ComponentMessage::new(b(), a(), "and back");
        subject.send(&back, reply).await;
    }
    assert_eq!(subject.0.take(&a()).await.len(), 10);
    assert_eq!(subject.0.take(&b()).await.len(), 10);
}

async fn a_component_may_message_itself(subject: Subject) {
    let from = subject.joined().await;
    subject.send(&from, message(&a(), "note to self")).await;
    assert_eq!(texts(&subject.0.take(&a()).await), ["note to self"]);
}

async fn a_full_mailbox_says_so(subject: Subject) {
    let from = subject.joined().await;
    let accepted = subject.fill(&from).await;
    let arrived = texts(&subject.0.take(&b()).await);
    let expected: Vec<String> = (0..accepted).map(|n| n.to_string()).collect();
    assert_eq!(arrived, expected, "what was accepted before it was full");
}

async fn a_full_mailbox_takes_no_requests_either(subject: Subject) {
    let from = subject.joined().await;
    let accepted = subject.fill(&from).await;
    let router = subject.0.router();
    let requested = router.request(&from, message(&b(), "too much"), SECOND);
    assert_eq!(requested.await, Err(MessagingError::QueueFull));
    let messages = vec![message(&b(), "too much"), message(&a(), "hello")];
    let broadcast = router.broadcast(&from, messages).await;
    assert_eq!(broadcast, Err(MessagingError::QueueFull));
    assert_eq!(subject.0.take(&b()).await.len(), accepted);
    assert_eq!(texts(&subject.0.take(&a()).await), ["hello"]);
}

async fn there_is_room_again_once_messages_were_taken(subject: Subject) {
    let from = subject.joined().await;
    for _ in 0..2 {
        let accepted = subject.fill(&from).await;
        assert_ne!(accepted, 0, "messages that there was room for");
        assert_eq!(subject.0.take(&b()).await.len(), accepted);
    }
    subject.send(&from, message(&b(), "hello")).await;
}

async fn who_is_not_there_is_not_found(subject: Subject) {
    let from = subject.joined().await;
    let nobody = id("demo/nobody/main");
    let expected = MessagingError::TargetNotFound(nobody.clone());
    let router = subject.0.router();
    let sent = router.send(&from, message(&nobody, "hello")).await;
    assert_eq!(sent, Err(expected.clone()));
    let requested = router
        .request(&from, message(&nobody, "hello"), SECOND)
        .await;
    assert_eq!(requested, Err(expected));
}

async fn a_request_arrives_like_a_message(subject: Subject) {
    let from = subject.joined().await;
    subject.request(&from, SECOND).await;
    let arrived = subject.0.take(&b()).await;
    assert_eq!(texts(&arrived), ["question"]);
    assert_eq!(arrived[0].sender, a());
}

async fn requests_have_ids_of_their_own(subject: Subject) {
    let from = subject.joined().await;
    let other = subject.0.join(&b()).await;
    let mut ids = HashSet::new();
    for _ in 0..20 {
        for from in [&from, &other] {
            let request = subject.request(from, SECOND).await;
            let cancelled = subject.0.router().cancel_request(from, &request).await;
            assert_eq!(cancelled, Ok(()));
            assert!(ids.insert(request.clone()), "{request} was given before");
            subject.0.take(&b()).await;
        }
    }
}

async fn a_request_that_is_not_answered_times_out_once(subject: Subject) {
    let from = subject.joined().await;
    let other = subject.0.join(&b()).await;
    let (start, timeout) = (Instant::now(), Duration::from_millis(20));
    let request = subject.request(&from, timeout).await;
    subject.callback(&from).await;
    assert!(start.elapsed() >= timeout, "it had {timeout:?}");
    sleep(Duration::from_millis(60)).await;
    let callbacks = subject.0.callbacks(&from).await;
    assert_eq!(callbacks.len(), 1, "{callbacks:?}");
    assert_eq!(callbacks[0].correlation_id.as_ref(), Some(&request));
    assert_eq!(subject.0.callbacks(&other).await, []);
    subject.is_no_request(&from, &request).await;
}

async fn a_request_that_is_answered_has_one_callback(subject: Subject) {
    let from = subject.joined().await;
    let (start, timeout) = (Instant::now(), Duration::from_secs(40));
    let patient = subject.request(&from, timeout).await;
    subject.take_and_answer().await;
    let callback = subject.callback(&from).await;
    assert!(start.elapsed() < timeout, "it came with the timeout");
    assert_eq!(callback.correlation_id.as_ref(), Some(&patient));
    subject.is_no_request(&from, &patient).await;
    // What came is not followed by what would have come otherwise.
    let hasty = subject.request(&from, Duration::from_millis(50)).await;
    subject.take_and_answer().await;
    sleep(Duration::from_millis(150)).await;
    let callbacks = subject.0.callbacks(&from).await;
    let requests: Vec<_> = (callbacks.iter())
        .map(|callback| callback.correlation_id.as_ref())
        .collect();
    assert_eq!(requests, [Some(&patient), Some(&hasty)]);
}

async fn a_request_that_is_refused_has_no_callback(subject: Subject) {
    let from = subject.joined().await;
    let nobody = message(&id("demo/nobody/main"), "question");
    let timeout = Duration::from_millis(10);
    match subject.0.router().request(&from, nobody, timeout).await {
        Ok(request) => panic!("a request of nobody was made as {request}"),
        Err(MessagingError::TargetNotFound(_)) => {}
        Err(error) => panic!("{error}"),
    }
    sleep(Duration::from_millis(50)).await;
    assert_eq!(subject.0.callbacks(&from).await, []);
}

async fn a_request_is_given_up(subject: Subject) {
    let from = subject.joined().await;
    let request = subject.request(&from, SECOND).await;
    let cancelled = subject.0.router().cancel_request(&from, &request).await;
    assert_eq!(cancelled, Ok(()));
}

async fn a_request_that_was_given_up_has_no_callback(subject: Subject) {
    let from = subject.joined().await;
    let request = subject.request(&from, Duration::from_millis(20)).await;
    let cancelled = subject.0.router().cancel_request(&from, &request).await;
    assert_eq!(cancelled, Ok(()));
    sleep(Duration::from_millis(80)).await;
    assert_eq!(subject.0.callbacks(&from).await, []);
}

async fn a_request_is_given_up_once(subject: Subject) {
    let from = subject.joined().await;
    let one = subject.request(&from, SECOND).await;
    let two = subject.request(&from, SECOND).await;
    let cancelled = subject.0.router().cancel_request(&from, &one).await;
    assert_eq!(cancelled, Ok(()));
    subject.is_no_request(&from, &one).await;
    let cancelled = subject.0.router().cancel_request(&from, &two).await;
    assert_eq!(cancelled, Ok(()));
}

async fn a_request_of_another_component_is_not_given_up(subject: Subject) {
    let from = subject.joined().await;
    let other = subject.0.join(&b()).await;
    let request = subject.request(&from, SECOND).await;
    subject.is_no_request(&other, &request).await;
    let cancelled = subject.0.router().cancel_request(&from, &request).await;
    assert_eq!(cancelled, Ok(()));
}

async fn a_request_that_was_never_made_is_not_given_up(subject: Subject) {
    let from = subject.joined().await;
    for made_up in ["", "request-1", "00000000-0000-0000-0000-000000000000"] {
        subject.is_no_request(&from, &made_up.into()).await;
    }
}

async fn a_broadcast_arrives_at_all(subject: Subject) {
    let from = subject.joined().await;
    let messages = vec![message(&b(), "hello"), message(&a(), "hello")];
    let outcome = subject.0.router().broadcast(&from, messages).await;
    assert_eq!(outcome, Ok(()));
    for recipient in [a(), b()] {
        assert_eq!(texts(&subject.0.take(&recipient).await), ["hello"]);
    }
}

async fn a_broadcast_to_nobody_is_fine(subject: Subject) {
    let from = subject.joined().await;
    let outcome = subject.0.router().broadcast(&from, Vec::new()).await;
    assert_eq!(outcome, Ok(()));
}

async fn who_is_not_there_keeps_no_broadcast_from_the_others(subject: Subject) {
    let from = subject.joined().await;
    let nobody = id("demo/nobody/main");
    let messages = vec![message(&nobody, "hello"), message(&b(), "hello")];
    let outcome = subject.0.router().broadcast(&from, messages).await;
    assert_eq!(outcome, Err(MessagingError::TargetNotFound(nobody)));
    assert_eq!(texts(&subject.0.take(&b()).await), ["hello"]);
}

async fn what_was_never_polled_is_not_sent(subject: Subject) {
    let from = subject.joined().await;
    let router = subject.0.router();
    drop(router.send(&from, message(&b(), "hello")));
    drop(router.request(&from, message(&b(), "hello"), SECOND));
    drop(router.broadcast(&from, vec![message(&b(), "hello")]));
    assert_eq!(subject.0.take(&b()).await, []);
}

async fn what_is_dropped_on_its_way_arrives_whole_or_not_at_all(subject: Subject) {
    let from = subject.joined().await;
    let sent = message(&b(), "hello").with_message_type("text/plain");
    for polls in 0..5 {
        let mut send = subject.0.router().send(&from, sent.clone());
        for _ in 0..polls {
            let done = poll_fn(|cx| Poll::Ready(send.as_mut().poll(cx).is_ready())).await;
            if done {
                break;
            }
            yield_now().await;
        }
        drop(send);
        let arrived = subject.0.take(&b()).await;
        assert!(
            arrived.is_empty() || arrived == [sent.clone()],
            "after {polls} polls: {arrived:?}"
        );
    }
}
