//! What is asked of an `up` that runs elsewhere.

mod address;
pub(crate) mod client;
pub(crate) mod components;
pub(crate) mod messages;
pub(crate) mod watching;
