//! The stations of a message on its way, and what travels with it.

pub(crate) mod answer;
pub(crate) mod call;
pub(crate) mod correlation;
pub(crate) mod letter;
pub(crate) mod mailbox;
pub(crate) mod office;
pub(crate) mod reply;
pub(crate) mod router;
pub(crate) mod seats;
pub(crate) mod ticket;
pub(crate) mod timers;
pub(crate) mod traffic;
pub(crate) mod way;
