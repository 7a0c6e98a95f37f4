//! The contract as components see it.

/// The interfaces between component and host, in the component model's own
/// language: what a component author generates bindings from.
pub const WIT: &str = include_str!("../wit/core.wit");

/// The interface that a component exports to receive messages.
pub const LIFECYCLE_INTERFACE: &str = "airssys:core/component-lifecycle@1.0.0";
