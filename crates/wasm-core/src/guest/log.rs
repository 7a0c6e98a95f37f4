//! `log` of the contract.

use super::Guest;
use super::guest_log::MAX_LINE_BYTES;
use crate::text::{Escaped, Quoted};
use crate::{Capability, LogLevel};

/// Pairs of context that a log line keeps.
const MAX_PAIRS: usize = 16;

impl Guest {
    /// `log`: what may not be logged is dropped, which the component is not told. Of the
    /// message 2,048 bytes are kept, and 16 pairs of the context.
    pub fn log(&self, level: LogLevel, message: &str, context: &[(String, String)]) {
        if self.check(Capability::Log(level)).is_err() {
            return;
        }
        self.log.write(level, &|| {
            let kept = &message[..message.floor_char_boundary(MAX_LINE_BYTES)];
            let mut line = Escaped::prose(MAX_LINE_BYTES, kept).to_string();
            if kept.len() < message.len() {
                line.push('…');
            }
            for (key, value) in context.iter().take(MAX_PAIRS) {
                // Quoted, so that no text of the component passes for another pair.
                line.push_str(&format!(" {}={}", Quoted::prose(key), Quoted::prose(value)));
            }
            line
        });
    }
}
