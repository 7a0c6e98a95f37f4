//! Routers that each break a sentence, around one that does not.

use std::collections::HashMap;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::yield_now;
use tokio::time::sleep;

use wasm_core::{
    ComponentHandle, ComponentId, ComponentMessage, CorrelationId, MessageRouter, MessagingError,
};
use wasm_testkit::suites::router::{RouterBench, Subject};

/// How a router goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Routing {
    AsItShould,
    LosesTheType,
    ReachesEverybody,
    KeepsTheLatest,
    WaitsForTheRecipient,
    IsOneMailboxForAll,
    WaitsForRoom,
    HasRoomForAll,
    HasRoomForRequests,
    StaysFull,
    KnowsEverybody,
    NamesRequestsAlike,
    TimesOutTwice,
    TimesOutAtOnce,
    TimesOutElsewhere,
    LosesAnswers,
    AnswersAndTimesOut,
    ForgetsWhatIsAnswered,
    RefusesAndCallsBack,
    GivesUpAnything,
    GivesUpNothing,
    GivesUpForAnybody,
    CallsBackWhatWasGivenUp,
    StopsAtTheFirstError,
    SendsInTwoSteps,
}

use Routing::{
    AnswersAndTimesOut, CallsBackWhatWasGivenUp, ForgetsWhatIsAnswered, GivesUpAnything,
    GivesUpForAnybody, GivesUpNothing, HasRoomForAll, HasRoomForRequests, IsOneMailboxForAll,
    KeepsTheLatest, KnowsEverybody, LosesAnswers, LosesTheType, NamesRequestsAlike,
    ReachesEverybody, RefusesAndCallsBack, SendsInTwoSteps, StaysFull, StopsAtTheFirstError,
    TimesOutAtOnce, TimesOutElsewhere, TimesOutTwice, WaitsForRoom, WaitsForTheRecipient,
};

/// What must be said of each.
pub(crate) const ROUTERS: &[(Routing, &[&str])] = &[
    (LosesTheType, &["a_message_arrives_as_it_was_sent"]),
    (
        ReachesEverybody,
        &["a_message_arrives_at_its_recipient_only"],
    ),
    (KeepsTheLatest, &["messages_sent_at_once_all_arrive"]),
    (
        WaitsForTheRecipient,
        &[
            "nobody_handles_anything_and_nobody_waits",
            "a_component_may_message_itself",
            "a_request_arrives_like_a_message",
        ],
    ),
    (IsOneMailboxForAll, &["a_broadcast_arrives_at_all"]),
    (WaitsForRoom, &["a_full_mailbox_says_so"]),
    (HasRoomForAll, &["a_full_mailbox_says_so"]),
    (
        HasRoomForRequests,
        &["a_full_mailbox_takes_no_requests_either"],
    ),
    (StaysFull, &["there_is_room_again_once_messages_were_taken"]),
    (KnowsEverybody, &["who_is_not_there_is_not_found"]),
    (NamesRequestsAlike, &["requests_have_ids_of_their_own"]),
    (
        TimesOutTwice,
        &["a_request_that_is_not_answered_times_out_once"],
    ),
    (
        TimesOutAtOnce,
        &["a_request_that_is_not_answered_times_out_once"],
    ),
    (
        TimesOutElsewhere,
        &["a_request_that_is_not_answered_times_out_once"],
    ),
    (
        LosesAnswers,
        &["a_request_that_is_answered_has_one_callback"],
    ),
    (
        AnswersAndTimesOut,
        &["a_request_that_is_answered_has_one_callback"],
    ),
    (
        ForgetsWhatIsAnswered,
        &["a_request_that_is_answered_has_one_callback"],
    ),
    (
        RefusesAndCallsBack,
        &["a_request_that_is_refused_has_no_callback"],
    ),
    (
        GivesUpAnything,
        &[
            "a_request_is_given_up_once",
            "a_request_that_was_never_made_is_not_given_up",
        ],
    ),
    (
        GivesUpForAnybody,
        &["a_request_of_another_component_is_not_given_up"],
    ),
    (
        CallsBackWhatWasGivenUp,
        &["a_request_that_was_given_up_has_no_callback"],
    ),
    (GivesUpNothing, &["a_request_is_given_up"]),
    (
        StopsAtTheFirstError,
        &["who_is_not_there_keeps_no_broadcast_from_the_others"],
    ),
    (
        SendsInTwoSteps,
        &["what_is_dropped_on_its_way_arrives_whole_or_not_at_all"],
    ),
];

/// Messages that a mailbox has room for.
const ROOM: usize = 32;

pub(crate) fn subject(routing: Routing) -> Subject {
    Subject::new(Office {
        routing,
        state: Arc::default(),
    })
}

/// A mailbox for each component that joined; nobody handles anything.
struct Office {
    routing: Routing,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    mailboxes: HashMap<ComponentId, Mailbox>,
    callbacks: HashMap<ComponentHandle, Vec<ComponentMessage>>,
    open: HashMap<CorrelationId, ComponentHandle>,
    requests: u64,
}

struct Mailbox {
    owner: ComponentHandle,
    waiting: Vec<ComponentMessage>,
    was_full: bool,
}

impl State {
    fn mailbox(&mut self, of: &ComponentId) -> Result<&mut Mailbox, MessagingError> {
        let nobody = || MessagingError::TargetNotFound(of.clone());
        self.mailboxes.get_mut(of).ok_or_else(nobody)
    }

    fn call_back(&mut self, whom: &ComponentHandle, request: &CorrelationId) {
        let id = whom.id().clone();
        let callback = ComponentMessage::new(id.clone(), id, "");
        let callback = callback.with_correlation_id(request.clone());
        self.callbacks
            .entry(whom.clone())
            .or_default()
            .push(callback);
    }
}

impl Office {
    fn accept(
        &self,
        mut message: ComponentMessage,
        is_request: bool,
    ) -> Result<(), MessagingError> {
        let mut state = self.state.lock().unwrap();
        if self.routing == LosesTheType {
            message.message_type = None;
        }
        if self.routing == ReachesEverybody {
            for mailbox in state.mailboxes.values_mut() {
                mailbox.waiting.push(message.clone());
            }
            return Ok(());
        }
        let mailbox = match state.mailbox(&message.recipient) {
            Err(_) if self.routing == KnowsEverybody => return Ok(()),
            found => found?,
        };
        let boundless = match self.routing {
            HasRoomForAll => true,
            HasRoomForRequests => is_request,
            _ => false,
        };
        let full = mailbox.waiting.len() >= ROOM && !boundless;
        mailbox.was_full |= full;
        if full || mailbox.was_full && self.routing == StaysFull {
            return Err(MessagingError::QueueFull);
        }
        if self.routing == KeepsTheLatest {
            mailbox.waiting.clear();
        }
        mailbox.waiting.push(message);
        Ok(())
    }

    async fn deliver(
        &self,
        message: ComponentMessage,
        is_request: bool,
    ) -> Result<(), MessagingError> {
        if self.routing == SendsInTwoSteps {
            let recipient = message.recipient.clone();
            let mut begun = message.clone();
            begun.payload = Default::default();
            self.accept(begun, is_request)?;
            yield_now().await;
            self.state
                .lock()
                .unwrap()
                .mailbox(&recipient)?
                .waiting
                .pop();
        }
        let accepted = self.accept(message, is_request);
        match self.routing {
            WaitsForRoom if accepted == Err(MessagingError::QueueFull) => pending().await,
            WaitsForTheRecipient => pending().await,
            _ => accepted,
        }
    }
}

#[async_trait]
impl MessageRouter for Office {
    async fn send(
        &self,
        _: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), MessagingError> {
        self.deliver(message, false).await
    }

    async fn request(
        &self,
        from: &ComponentHandle,
        message: ComponentMessage,
        timeout: Duration,
    ) -> Result<CorrelationId, MessagingError> {
        let routing = self.routing;
        let recipient = message.recipient.clone();
        let request = {
            let mut state = self.state.lock().unwrap();
            state.requests += u64::from(routing != NamesRequestsAlike);
            CorrelationId::from(format!("{}", state.requests))
        };
        let message = message.with_correlation_id(request.clone());
        if let Err(error) = self.deliver(message, true).await {
            if routing == RefusesAndCallsBack {
                self.state.lock().unwrap().call_back(from, &request);
            }
            return Err(error);
        }
        let whom = {
            let mut state = self.state.lock().unwrap();
            state.open.insert(request.clone(), from.clone());
            match routing {
                TimesOutElsewhere => state.mailbox(&recipient)?.owner.clone(),
                _ => from.clone(),
            }
        };
        let (state, id) = (Arc::clone(&self.state), request.clone());
        tokio::spawn(async move {
            if routing != TimesOutAtOnce {
                sleep(timeout).await;
            }
            let mut state = state.lock().unwrap();
            let is_open = state.open.remove(&id).is_some();
            if is_open || matches!(routing, CallsBackWhatWasGivenUp | AnswersAndTimesOut) {
                state.call_back(&whom, &id);
            }
            if routing == TimesOutTwice {
                state.call_back(&whom, &id);
            }
        });
        Ok(request)
    }

    async fn cancel_request(
        &self,
        from: &ComponentHandle,
        request: &CorrelationId,
    ) -> Result<(), MessagingError> {
        let mut state = self.state.lock().unwrap();
        let of = state.open.get(request);
        let given_up = match self.routing {
            GivesUpAnything => true,
            GivesUpNothing => false,
            GivesUpForAnybody => of.is_some(),
            _ => of == Some(from),
        };
        if !given_up {
            let reason = format!("no open request {request}");
            return Err(MessagingError::InvalidMessage(reason));
        }
        state.open.remove(request);
        Ok(())
    }

    async fn broadcast(
        &self,
        _: &ComponentHandle,
        messages: Vec<ComponentMessage>,
    ) -> Result<(), MessagingError> {
        let mut outcome = Ok(());
        for mut message in messages {
            if self.routing == IsOneMailboxForAll {
                message.recipient = message.sender.clone();
            }
            let sent = self.deliver(message, false).await;
            if self.routing == StopsAtTheFirstError {
                sent?;
                continue;
            }
            outcome = outcome.and(sent);
        }
        outcome
    }
}

#[async_trait]
impl RouterBench for Office {
    fn router(&self) -> &dyn MessageRouter {
        self
    }

    async fn join(&self, id: &ComponentId) -> ComponentHandle {
        let mut state = self.state.lock().unwrap();
        let number = state.mailboxes.len() as u64;
        let mailbox = state.mailboxes.entry(id.clone());
        let mailbox = mailbox.or_insert_with(|| Mailbox {
            owner: ComponentHandle::new(id.clone(), number),
            waiting: Vec::new(),
            was_full: false,
        });
        mailbox.owner.clone()
    }

    async fn take(&self, recipient: &ComponentId) -> Vec<ComponentMessage> {
        let mut state = self.state.lock().unwrap();
        let mailbox = state.mailbox(recipient).unwrap();
        mailbox.waiting.drain(..).collect()
    }

    async fn callbacks(&self, of: &ComponentHandle) -> Vec<ComponentMessage> {
        let state = self.state.lock().unwrap();
        state.callbacks.get(of).cloned().unwrap_or_default()
    }

    async fn answer(&self, request: &ComponentMessage) {
        if self.routing == LosesAnswers {
            return;
        }
        let mut state = self.state.lock().unwrap();
        let request = request.correlation_id.clone().unwrap();
        let whom = match self.routing {
            ForgetsWhatIsAnswered => state.open.get(&request).cloned(),
            _ => state.open.remove(&request),
        };
        if let Some(whom) = whom {
            state.call_back(&whom, &request);
        }
    }
}
