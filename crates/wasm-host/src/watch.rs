//! What is told of a host: events, dead letters, metrics.

pub(crate) mod dead_letter;
pub(crate) mod event;
pub(crate) mod event_log;
pub(crate) mod events;
pub(crate) mod metrics;
