//! Where an engine puts what its guests log.

use std::sync::Arc;

use crate::{CapabilityDenied, LogLevel};

/// Where a line is cut, of a log and of a standard stream, in bytes as the component wrote
/// it. Escaped, each may take ten times the room.
pub const MAX_LINE_BYTES: usize = 2048;

/// Where an engine puts what a component logs and what is said about it.
pub trait GuestLog: Send + Sync {
    /// Takes a line that the component was permitted to log. `line` makes its text: one
    /// line, of bounded length, with control characters spelled out.
    fn write(&self, level: LogLevel, line: &dyn Fn() -> String);

    /// Tells the operator, who cannot see what a component makes of a refusal.
    fn denied(&self, denied: &CapabilityDenied);
}

/// For engines that keep no log.
impl GuestLog for () {
    fn write(&self, _: LogLevel, _: &dyn Fn() -> String) {}

    fn denied(&self, _: &CapabilityDenied) {}
}

/// For a log that the engine writes to as well.
impl<L: GuestLog + ?Sized> GuestLog for Arc<L> {
    fn write(&self, level: LogLevel, line: &dyn Fn() -> String) {
        (**self).write(level, line);
    }

    fn denied(&self, denied: &CapabilityDenied) {
        (**self).denied(denied);
    }
}
