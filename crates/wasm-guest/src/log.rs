//! The component's log.

mod level;

use crate::host;

pub use level::LogLevel;

/// What [`log!`](crate::log!) calls.
pub fn log(level: LogLevel, text: &str, context: &[(&str, String)]) {
    host::log(level, text, context);
}
