//! A host around the model, with time that is paused.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod calls;
mod concurrency;
mod engines;
mod lifecycle;
mod loops;
mod messaging;
mod permissions;
mod several;
mod sleep;
mod supervision;
mod support;
mod swap;
mod timers;
mod watching;
