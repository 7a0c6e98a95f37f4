//! A gateway around a host with the model engine: what is asked for, who gets in, and what
//! it costs nobody else.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

mod access;
mod bounds;
mod dead_letters;
mod description;
mod events;
mod listening;
mod measured;
mod messages;
mod nodes;
mod operating;
mod sites;
mod uploads;
