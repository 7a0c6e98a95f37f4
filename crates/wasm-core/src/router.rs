use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;

use crate::text::Escaped;
use crate::{ComponentHandle, ComponentId, ComponentMessage, CorrelationId};

/// Carries messages between components.
///
/// An engine calls it from inside the sender's guest call, after it has checked
/// the sender's permissions; `message.sender` is always the id of `from`. `from` is
/// the handle that loading returns, already while `initialize` runs. Nothing here
/// waits for the recipient to handle anything, so components that message each
/// other in a circle cannot lock each other up. Every method may be cancelled by
/// dropping its future: the message is then accepted whole or not at all.
#[async_trait]
pub trait MessageRouter: Send + Sync {
    /// Puts the message into the mailbox of `message.recipient`.
    ///
    /// # Errors
    /// [`MessagingError::QueueFull`] when the mailbox is full, at once: a sender is
    /// never made to wait for room.
    async fn send(
        &self,
        from: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), MessagingError>;

    /// Sends a message whose answer, error or timeout (wall clock, from now) comes
    /// to `from` as exactly one callback with the returned id.
    ///
    /// # Errors
    /// As [`send`](Self::send); then there will be no callback.
    async fn request(
        &self,
        from: &ComponentHandle,
        message: ComponentMessage,
        timeout: Duration,
    ) -> Result<CorrelationId, MessagingError>;

    /// Gives up a request of `from`: its callback will not come.
    ///
    /// # Errors
    /// [`MessagingError::InvalidMessage`] when `from` has no such open request.
    async fn cancel_request(
        &self,
        from: &ComponentHandle,
        request: &CorrelationId,
    ) -> Result<(), MessagingError>;

    /// Sends each of the messages, which share their payload; on an error the
    /// others are sent all the same.
    ///
    /// # Errors
    /// The first error of any recipient.
    async fn broadcast(
        &self,
        from: &ComponentHandle,
        messages: Vec<ComponentMessage>,
    ) -> Result<(), MessagingError> {
        let mut outcome = Ok(());
        for message in messages {
            outcome = outcome.and(self.send(from, message).await);
        }
        outcome
    }
}

/// Why a message was not accepted; the cases of the contract's `messaging-error`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MessagingError {
    /// Refused or lost on the way.
    #[error("delivery failed: {}", Escaped::new(.0))]
    DeliveryFailed(String),
    /// The answer did not come in time.
    #[error("request {0} was not answered in time")]
    CorrelationTimeout(CorrelationId),
    /// The message or the request it names makes no sense.
    #[error("invalid message: {}", Escaped::new(.0))]
    InvalidMessage(String),
    /// No room in the recipient's mailbox, or none left in the sender's budget.
    #[error("queue full")]
    QueueFull,
    /// No such component is loaded.
    #[error("no component {0} is loaded")]
    TargetNotFound(ComponentId),
}

/// The router of a component that is alone: there is no one to send to.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoOtherComponents;

#[async_trait]
impl MessageRouter for NoOtherComponents {
    async fn send(
        &self,
        _: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), MessagingError> {
        Err(MessagingError::TargetNotFound(message.recipient))
    }

    async fn request(
        &self,
        _: &ComponentHandle,
        message: ComponentMessage,
        _: Duration,
    ) -> Result<CorrelationId, MessagingError> {
        Err(MessagingError::TargetNotFound(message.recipient))
    }

    async fn cancel_request(
        &self,
        _: &ComponentHandle,
        request: &CorrelationId,
    ) -> Result<(), MessagingError> {
        Err(MessagingError::InvalidMessage(format!(
            "no open request {request}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::catalogue::{every, snapshot};
    use crate::poll::now;

    fn id(name: &str) -> ComponentId {
        ComponentId::new("demo", name, "main").unwrap()
    }

    fn message(to: &str) -> ComponentMessage {
        ComponentMessage::new(id("a"), id(to), "hi")
    }

    #[test]
    fn alone_there_is_no_one_to_send_to() {
        let from = ComponentHandle::new(id("a"), 1);
        let nobody = MessagingError::TargetNotFound(id("b"));
        let router = NoOtherComponents;
        assert_eq!(now(router.send(&from, message("b"))), Err(nobody.clone()));
        assert_eq!(
            now(router.request(&from, message("b"), Duration::from_secs(1))),
            Err(nobody.clone())
        );
        assert_eq!(
            now(router.broadcast(&from, vec![message("b"), message("c")])),
            Err(nobody)
        );
        assert_eq!(now(router.broadcast(&from, Vec::new())), Ok(()));
        assert_eq!(
            now(router.cancel_request(&from, &CorrelationId::from("c-1"))),
            Err(MessagingError::InvalidMessage(
                "no open request c-1".to_owned()
            ))
        );
    }

    /// Has room for everyone but `b`.
    #[derive(Default)]
    struct FullMailbox(Mutex<Vec<ComponentId>>);

    #[async_trait]
    impl MessageRouter for FullMailbox {
        async fn send(
            &self,
            _: &ComponentHandle,
            message: ComponentMessage,
        ) -> Result<(), MessagingError> {
            if message.recipient == id("b") {
                return Err(MessagingError::QueueFull);
            }
            self.0.lock().unwrap().push(message.recipient);
            Ok(())
        }

        async fn request(
            &self,
            _: &ComponentHandle,
            message: ComponentMessage,
            _: Duration,
        ) -> Result<CorrelationId, MessagingError> {
            Err(MessagingError::TargetNotFound(message.recipient))
        }

        async fn cancel_request(
            &self,
            _: &ComponentHandle,
            request: &CorrelationId,
        ) -> Result<(), MessagingError> {
            Err(MessagingError::CorrelationTimeout(request.clone()))
        }
    }

    #[test]
    fn a_broadcast_reaches_the_others_when_one_is_full() {
        let from = ComponentHandle::new(id("a"), 1);
        let router = FullMailbox::default();
        let messages = ["c", "b", "d"].map(message).to_vec();
        assert_eq!(
            now(router.broadcast(&from, messages)),
            Err(MessagingError::QueueFull)
        );
        assert_eq!(*router.0.lock().unwrap(), [id("c"), id("d")]);
    }

    #[test]
    fn errors_say_what_happened_on_one_line() {
        let errors = every!(
            MessagingError,
            DeliveryFailed("line 1\nline 2".to_owned()),
            CorrelationTimeout(CorrelationId::from("c-\n1")),
            InvalidMessage("too\nlarge".to_owned()),
            QueueFull,
            TargetNotFound(id("b")),
        );
        snapshot("messaging-error", errors);
    }
}
