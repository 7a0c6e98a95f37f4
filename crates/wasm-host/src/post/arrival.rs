//! A message that arrives from another host.

use std::sync::Arc;

use wasm_core::ComponentMessage;

use crate::post::receipt::Receipt;
use crate::post::reply::ReplyTo;

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
