//! What is asked of an `up` that runs elsewhere.

pub(crate) mod client;
pub(crate) mod components;
pub(crate) mod messages;
pub(crate) mod watching;
