//! The stations of a message on its way, and what travels with it.

pub(crate) mod answer;
pub(crate) mod arrival;
pub(crate) mod bell;
pub(crate) mod call;
pub(crate) mod carrier;
pub(crate) mod correlation;
pub(crate) mod letter;
pub(crate) mod mailbox;
pub(crate) mod office;
pub(crate) mod receipt;
pub(crate) mod reply;
pub(crate) mod router;
pub(crate) mod seats;
pub(crate) mod timers;
pub(crate) mod traffic;
pub(crate) mod waits;
pub(crate) mod way;
