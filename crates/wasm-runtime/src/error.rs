//! What wasmtime says, as causes of the contract's errors.

use std::error::Error as StdError;
use std::fmt::{self, Display};
use std::sync::Arc;

use wasmtime::{Error, WasmBacktrace};

use wasm_core::text::shortened;
use wasm_core::{Cause, WasmError};

/// An error on its way out of a call. In a box, because what a call comes to is handed on many
/// times, and is small without it.
pub(crate) type Failure = Box<WasmError>;

/// What wasmtime said, as an error that keeps nothing alive: wasmtime's own has the
/// whole backtrace with it, in which names are as long as the component likes.
#[derive(Debug)]
struct Said(Box<str>);

impl Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Said {}

/// Of what wasmtime said. It may quote the component, as a parser does.
pub(crate) const MAX_SAID_BYTES: usize = 4 << 10;

/// Layers of an error that are told; wasmtime's have two or three.
const MAX_LAYERS: usize = 8;

#[expect(
    clippy::needless_pass_by_value,
    reason = "the error ends here, and its backtrace with it"
)]
pub(crate) fn cause(error: Error) -> Cause {
    Arc::new(Said(chain(&error).into()))
}

/// Every layer of an error on one line, except for the backtrace, which is told as
/// frames. `Display` alone is the outermost only.
pub(crate) fn chain(error: &Error) -> String {
    let backtrace = error.downcast_ref::<WasmBacktrace>().is_some();
    let layers = error.chain().skip(usize::from(backtrace));
    let mut text = String::new();
    for layer in layers.take(MAX_LAYERS) {
        let separator = if text.is_empty() { "" } else { ": " };
        text.push_str(&shortened(
            MAX_SAID_BYTES,
            format_args!("{separator}{layer}"),
        ));
    }
    text.truncate(text.floor_char_boundary(MAX_SAID_BYTES));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_is_said_so_much_is_kept() {
        let long = Error::msg("x".repeat(100_000));
        assert_eq!(chain(&long).len(), 4 << 10);
        let layers = (0..20).fold(Error::msg("x"), |error, _| error.context("x"));
        assert_eq!(chain(&layers), ["x"; 8].join(": "));
        // As much as is kept, and what comes after it is not.
        let inner = Error::msg("y").context("x".repeat(MAX_SAID_BYTES));
        assert_eq!(chain(&inner), "x".repeat(MAX_SAID_BYTES));
        let shorter = Error::msg("yz").context("x".repeat(MAX_SAID_BYTES - 3));
        assert!(chain(&shorter).ends_with("x: y"), "{}", chain(&shorter));
        assert_eq!(cause(shorter).to_string().len(), MAX_SAID_BYTES);
    }
}
