//! Who carries messages to components that may be on another host.

use std::fmt::Debug;

use async_trait::async_trait;

use wasm_core::{ComponentId, ComponentMessage, MessagingError};

use crate::post::reply::ReplyTo;

/// Carries messages between hosts, set with
/// [`HostBuilder::with_carrier`](crate::HostBuilder::with_carrier).
///
/// It is given what components and the program send, once permissions and hops are checked.
/// What it accepts arrives at the host of the recipient, which is given it with
/// [`Host::post`](crate::Host::post).
#[async_trait]
pub trait Carrier: Send + Sync {
    /// Whether it carries this message, whose recipient is a component of this host or not.
    /// What it does not carry is put straight into the mailbox of its recipient here.
    fn carries(&self, message: &ComponentMessage, is_request: bool, is_here: bool) -> bool;

    /// Whether a component that is loaded here may be given anything: `false` from the moment on
    /// in which another host may have it, be it that this one has not unloaded it yet. What
    /// waits for it is given up then as when it is unloaded. Asked before each message; it must
    /// not block, and a panic counts as `false`.
    fn may_handle(&self, id: &ComponentId) -> bool {
        let _ = id;
        true
    }

    /// Accepts a message: once this has ended well, it is kept until it was handled. A future
    /// that is dropped leaves it accepted whole or not at all.
    ///
    /// # Errors
    /// As [`MessageRouter::send`](wasm_core::MessageRouter::send).
    async fn send(&self, message: ComponentMessage) -> Result<(), MessagingError>;

    /// Accepts a request, which has a correlation id, and answers it by `reply`, at its
    /// deadline at the latest. What is returned is dropped when nobody waits any more.
    ///
    /// # Errors
    /// As [`send`](Self::send); `reply` is [forgotten](ReplyTo::forget) then.
    async fn request(
        &self,
        message: ComponentMessage,
        reply: ReplyTo,
    ) -> Result<Box<dyn Carried>, MessagingError>;
}

/// An open request on its way to another host; to drop it is to give it up.
pub trait Carried: Debug + Send + Sync {}
