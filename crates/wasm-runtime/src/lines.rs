//! How many lines a component may write, over its log and its standard streams.

use std::sync::atomic::{AtomicU32, Ordering};

use wasm_core::ComponentId;

/// Lines that one call may write to its log and its standard streams together.
const LINES_PER_CALL: u32 = 256;

/// Where a line is cut. Escaped, each byte may take ten times the room.
pub(crate) const MAX_LINE_BYTES: usize = 2048;

/// Counts the lines of a call, so that a flood of them costs the guest its fuel
/// and the operator nothing.
#[derive(Debug, Default)]
pub(crate) struct LineBudget {
    written: AtomicU32,
}

/// Whether a line may be written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Write,
    /// The first one too many, to be reported.
    Last,
    Drop,
}

impl LineBudget {
    pub(crate) fn reset(&self) {
        self.written.store(0, Ordering::Relaxed);
    }

    pub(crate) fn next(&self) -> Line {
        // Saturates in practice: 2^32 lines take longer than any deadline.
        match self.written.fetch_add(1, Ordering::Relaxed) {
            n if n < LINES_PER_CALL => Line::Write,
            LINES_PER_CALL => Line::Last,
            _ => Line::Drop,
        }
    }
}

pub(crate) fn report_flood(component: &ComponentId) {
    tracing::warn!(
        target: crate::COMPONENT_TARGET, %component,
        "more than {LINES_PER_CALL} lines in one call; the rest is dropped"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_so_many_lines() {
        let budget = LineBudget::default();
        for _ in 0..LINES_PER_CALL {
            assert_eq!(budget.next(), Line::Write);
        }
        assert_eq!(budget.next(), Line::Last);
        assert_eq!(budget.next(), Line::Drop);
        budget.reset();
        assert_eq!(budget.next(), Line::Write);
    }
}
