use std::collections::VecDeque;
use std::mem;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;

use wasm_core::{ComponentHandle, ComponentMessage, CorrelationId, MessageRouter, MessagingError};

use crate::lock::lock;

/// A router that delivers nothing and remembers everything.
///
/// Every call is accepted, unless [`fail_next`](Self::fail_next) says otherwise.
/// Requests are given the ids `request-1`, `request-2` and so on; a test answers
/// one by calling its engine back with that id.
#[derive(Debug, Default)]
pub struct RecordingRouter {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    calls: Vec<RouterCall>,
    failures: VecDeque<MessagingError>,
    requests: u64,
    open: Vec<(ComponentHandle, CorrelationId)>,
}

/// One call that a [`RecordingRouter`] was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouterCall {
    /// A message to one component.
    Send {
        /// Whose call it was.
        from: ComponentHandle,
        /// As it was handed over.
        message: ComponentMessage,
    },
    /// A message that wants an answer.
    Request {
        /// Whose call it was.
        from: ComponentHandle,
        /// As it was handed over.
        message: ComponentMessage,
        /// How long the answer may take.
        timeout: Duration,
    },
    /// A request given up.
    Cancel {
        /// Whose call it was.
        from: ComponentHandle,
        /// Which.
        request: CorrelationId,
    },
    /// A message to many, in one call.
    Broadcast {
        /// Whose call it was.
        from: ComponentHandle,
        /// One for each recipient.
        messages: Vec<ComponentMessage>,
    },
}

impl RecordingRouter {
    /// Nothing recorded, nothing to fail.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every call since the last [`take_calls`](Self::take_calls), in the order they
    /// came, refused ones included.
    pub fn calls(&self) -> Vec<RouterCall> {
        lock(&self.state).calls.clone()
    }

    /// The same, and forgets them. Open requests stay open.
    pub fn take_calls(&self) -> Vec<RouterCall> {
        mem::take(&mut lock(&self.state).calls)
    }

    /// Lets the next call end in `error`; told several times, one call each, in
    /// this order.
    pub fn fail_next(&self, error: MessagingError) {
        lock(&self.state).failures.push_back(error);
    }
}

impl State {
    fn record(&mut self, call: RouterCall) -> Result<(), MessagingError> {
        self.calls.push(call);
        self.failures.pop_front().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl MessageRouter for RecordingRouter {
    async fn send(
        &self,
        from: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), MessagingError> {
        let from = from.clone();
        lock(&self.state).record(RouterCall::Send { from, message })
    }

    async fn request(
        &self,
        from: &ComponentHandle,
        message: ComponentMessage,
        timeout: Duration,
    ) -> Result<CorrelationId, MessagingError> {
        let mut state = lock(&self.state);
        state.record(RouterCall::Request {
            from: from.clone(),
            message,
            timeout,
        })?;
        state.requests += 1;
        let id = CorrelationId::from(format!("request-{}", state.requests));
        state.open.push((from.clone(), id.clone()));
        Ok(id)
    }

    async fn cancel_request(
        &self,
        from: &ComponentHandle,
        request: &CorrelationId,
    ) -> Result<(), MessagingError> {
        let mut state = lock(&self.state);
        state.record(RouterCall::Cancel {
            from: from.clone(),
            request: request.clone(),
        })?;
        let open = |(who, id): &(ComponentHandle, CorrelationId)| who == from && id == request;
        match state.open.iter().position(open) {
            Some(at) => {
                state.open.remove(at);
                Ok(())
            }
            None => Err(MessagingError::InvalidMessage(format!(
                "no open request {request}"
            ))),
        }
    }

    async fn broadcast(
        &self,
        from: &ComponentHandle,
        messages: Vec<ComponentMessage>,
    ) -> Result<(), MessagingError> {
        let from = from.clone();
        lock(&self.state).record(RouterCall::Broadcast { from, messages })
    }
}

#[cfg(test)]
mod tests {
    use wasm_core::ComponentId;

    use super::*;
    use crate::poll::now;

    const SECOND: Duration = Duration::from_secs(1);

    fn handle(number: u64) -> ComponentHandle {
        ComponentHandle::new(ComponentId::new("demo", "a", "main").unwrap(), number)
    }

    fn message(text: &'static str) -> ComponentMessage {
        let to = ComponentId::new("demo", "b", "main").unwrap();
        ComponentMessage::new(handle(1).id().clone(), to, text)
    }

    #[test]
    fn every_call_is_recorded_with_who_made_it() {
        let router = RecordingRouter::new();
        now(router.send(&handle(1), message("one"))).unwrap();
        let request = now(router.request(&handle(2), message("two"), SECOND)).unwrap();
        now(router.broadcast(&handle(1), vec![message("three"), message("four")])).unwrap();
        now(router.cancel_request(&handle(2), &request)).unwrap();
        let calls = [
            RouterCall::Send {
                from: handle(1),
                message: message("one"),
            },
            RouterCall::Request {
                from: handle(2),
                message: message("two"),
                timeout: SECOND,
            },
            RouterCall::Broadcast {
                from: handle(1),
                messages: vec![message("three"), message("four")],
            },
            RouterCall::Cancel {
                from: handle(2),
                request,
            },
        ];
        assert_eq!(router.calls(), calls);
        assert_eq!(router.take_calls(), calls);
        assert_eq!(router.calls(), []);
    }

    #[test]
    fn failures_come_in_the_order_they_were_told_one_for_each_call() {
        let router = RecordingRouter::new();
        router.fail_next(MessagingError::QueueFull);
        router.fail_next(MessagingError::DeliveryFailed("lost".to_owned()));
        assert_eq!(
            now(router.send(&handle(1), message("one"))),
            Err(MessagingError::QueueFull)
        );
        assert_eq!(
            now(router.request(&handle(1), message("two"), SECOND)),
            Err(MessagingError::DeliveryFailed("lost".to_owned()))
        );
        assert_eq!(now(router.broadcast(&handle(1), Vec::new())), Ok(()));
        assert_eq!(router.calls().len(), 3);
    }

    #[test]
    fn a_refused_request_takes_no_id() {
        let router = RecordingRouter::new();
        let request = || now(router.request(&handle(1), message("hi"), SECOND));
        assert_eq!(request(), Ok(CorrelationId::from("request-1")));
        router.fail_next(MessagingError::QueueFull);
        assert_eq!(request(), Err(MessagingError::QueueFull));
        assert_eq!(request(), Ok(CorrelationId::from("request-2")));
    }

    #[test]
    fn only_who_made_a_request_cancels_it_and_once() {
        let router = RecordingRouter::new();
        let request = now(router.request(&handle(1), message("hi"), SECOND)).unwrap();
        let no_such = Err(MessagingError::InvalidMessage(
            "no open request request-1".to_owned(),
        ));
        assert_eq!(now(router.cancel_request(&handle(2), &request)), no_such);
        router.take_calls();
        assert_eq!(now(router.cancel_request(&handle(1), &request)), Ok(()));
        assert_eq!(now(router.cancel_request(&handle(1), &request)), no_such);
        assert_eq!(router.calls().len(), 2);
    }
}
