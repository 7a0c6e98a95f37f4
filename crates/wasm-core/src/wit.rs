//! The contract as components see it.

/// The interfaces between component and host, in the component model's own
/// language: what a component author generates bindings from.
pub const WIT: &str = include_str!("../wit/core.wit");

/// What the contract gained in its version 1.1, in the same language.
pub const TIMERS_WIT: &str = include_str!("../wit/timers.wit");

/// The interface that a component imports to be sent a message by itself, later.
pub const TIMERS_INTERFACE: &str = "airssys:core/host-timers@1.1.0";

/// The interface that a component exports to receive messages.
pub const LIFECYCLE_INTERFACE: &str = "airssys:core/component-lifecycle@1.0.0";
