//! A host that runs until it is stopped: what goes on beside its components.

pub(crate) mod asked;
pub(crate) mod call;
pub(crate) mod connections;
pub(crate) mod conversation;
pub(crate) mod everywhere;
pub(crate) mod nodes;
pub(crate) mod reach;
pub(crate) mod rebuild;
pub(crate) mod reload;
pub(crate) mod service;
pub(crate) mod tenancy;
pub(crate) mod watch;
