//! What commands share that run a host or ask one: for `up` and `serve`, what goes on beside
//! its components until it is stopped; for others, calls and the nodes of a cluster.

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
