//! A message that arrives from another host.

use std::sync::Arc;

use wasm_core::{ComponentMessage, MessagingError};

use crate::post::receipt::Receipt;
use crate::post::reply::ReplyTo;
use crate::watch::dead_letter::DeadLetterCause;

/// A message from another host, given to [`Host::post`](crate::Host::post). Its sender, its
/// hops and its correlation id are those that the other host saw to.
#[derive(Debug)]
pub struct Arrival {
    /// What arrives.
    pub message: ComponentMessage,
    /// How it is answered, if it is a request.
    pub reply: Option<ReplyTo>,
    /// Whoever keeps it until it was handled.
    pub receipt: Arc<dyn Receipt>,
}

/// Why a host does not take a message in that arrives from another. It was put back then.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum NotTaken {
    /// Its recipient is not here.
    NotHere,
    /// There is no room for it now.
    Full,
    /// There is no room for it here at all, or it has come too far: it is a dead letter of this
    /// cause once it is [buried](crate::Host::bury).
    Never(DeadLetterCause),
    /// Its recipient is quarantined, or this host takes in nothing any more, as this says.
    NotNow(MessagingError),
}

impl From<MessagingError> for NotTaken {
    fn from(error: MessagingError) -> Self {
        match error {
            MessagingError::TargetNotFound(_) => Self::NotHere,
            MessagingError::QueueFull => Self::Full,
            error => Self::NotNow(error),
        }
    }
}
