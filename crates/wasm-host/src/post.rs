//! The stations of a message on its way, and what travels with it.

pub(crate) mod answer;
pub(crate) mod call;
pub(crate) mod letter;
pub(crate) mod mailbox;
pub(crate) mod requests;
pub(crate) mod router;
pub(crate) mod traffic;
