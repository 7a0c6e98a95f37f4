//! From what wasmtime says to what the contract says: typed, never by reading
//! messages.

use std::error::Error as StdError;
use std::fmt::{self, Display};
use std::sync::Arc;

use wasmtime::{Error, Trap as WasmtimeTrap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use wasm_core::text::shortened;
use wasm_core::{Cause, ComponentId, Resource, ResourceLimits, Trap, WasmError, WasmFrame};

use crate::bulk::out_of_bounds;
use crate::call::Interrupted;
use crate::frames::frames;
use crate::wasi::HeldTooMuch;

/// What was going on when a call did not end well.
pub(crate) struct FailedCall<'a> {
    pub(crate) component: &'a ComponentId,
    /// The component's.
    pub(crate) bytes: &'a [u8],
    pub(crate) export: &'a str,
    pub(crate) limits: &'a ResourceLimits,
    pub(crate) ended: EndedCall,
}

/// What is known of a call that has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EndedCall {
    pub(crate) fuel_consumed: u64,
    /// What it had consumed for certain when its epoch ended last.
    pub(crate) fuel_seen: u64,
    /// The fuel that it can have consumed without a bulk instruction out of bounds.
    pub(crate) most_in_bounds: u64,
    /// The memory total that was denied during this call.
    pub(crate) denied: Option<u64>,
}

impl FailedCall<'_> {
    pub(crate) fn interrupted(&self, interrupted: Interrupted) -> WasmError {
        match interrupted {
            Interrupted::Deadline => self.timeout(Box::default()),
            Interrupted::Panic(message) => {
                self.trapped(Trap::HostPanic(message), Box::default(), None)
            }
        }
    }

    /// The error of a call of an export.
    pub(crate) fn error(&self, error: Error) -> WasmError {
        let frames = frames(&error);
        if let Some(excess) = error.downcast_ref::<HeldTooMuch>() {
            return self.held_too_much(excess, frames);
        }
        let trap = match error.downcast_ref::<WasmtimeTrap>() {
            Some(WasmtimeTrap::Interrupt) => return self.timeout(frames),
            Some(WasmtimeTrap::OutOfFuel) => match self.charged_out_of_bounds(&frames) {
                Some(trap) => trap,
                None => return self.out_of_fuel(frames, error),
            },
            Some(trap) => describe(*trap),
            None => match error.downcast_ref::<I32Exit>() {
                Some(I32Exit(status)) => Trap::Other(format!("it exited with status {status}")),
                None => Trap::RefusedByHost(shortened(MAX_SAID_BYTES, error.root_cause())),
            },
        };
        match (self.ended.denied, &trap) {
            // Toolchains abort when an allocation fails, or hand the host a pointer to
            // nothing. Other traps have causes of their own, whatever was denied before.
            (Some(requested), Trap::Unreachable | Trap::RefusedByHost(_)) => {
                self.out_of_memory(requested, frames, error)
            }
            _ => self.trapped(trap, frames, Some(cause(error))),
        }
    }

    /// The error of an instantiation, which may have run start functions.
    pub(crate) fn instantiation(&self, error: Error) -> WasmError {
        if error.is::<WasmtimeTrap>() || error.is::<HeldTooMuch>() {
            return self.error(error);
        }
        if let Some(requested) = self.ended.denied {
            return self.out_of_memory(requested, Box::default(), error);
        }
        WasmError::InstantiationFailed {
            component: self.component.clone(),
            reason: chain(&error),
            source: Some(cause(error)),
        }
    }

    /// The trap of the bulk instruction that the guest was at, if it was charged more than
    /// it can have been in bounds.
    fn charged_out_of_bounds(&self, frames: &[WasmFrame]) -> Option<Trap> {
        let offset = frames.first()?.offset?;
        let is_out_of_bounds = self.ended.fuel_consumed > self.ended.most_in_bounds;
        is_out_of_bounds.then(|| out_of_bounds(self.bytes, offset))?
    }

    /// Without what an instruction was charged that did nothing.
    fn fuel_consumed(&self, trap: &Trap, frames: &[WasmFrame]) -> u64 {
        match trap {
            Trap::MemoryOutOfBounds | Trap::TableOutOfBounds
                if self.charged_out_of_bounds(frames).is_some() =>
            {
                self.ended.fuel_seen.min(self.ended.most_in_bounds)
            }
            _ => self.ended.fuel_consumed,
        }
    }

    fn timeout(&self, frames: Box<[WasmFrame]>) -> WasmError {
        WasmError::Timeout {
            component: self.component.clone(),
            export: self.export.into(),
            limit: self.limits.timeout(),
            fuel_consumed: self.ended.fuel_consumed,
            frames,
        }
    }

    fn trapped(&self, trap: Trap, frames: Box<[WasmFrame]>, source: Option<Cause>) -> WasmError {
        WasmError::Trapped {
            component: self.component.clone(),
            export: self.export.into(),
            fuel_consumed: self.fuel_consumed(&trap, &frames),
            trap,
            frames,
            source,
        }
    }

    fn out_of_fuel(&self, frames: Box<[WasmFrame]>, error: Error) -> WasmError {
        WasmError::ResourceLimitExceeded {
            component: self.component.clone(),
            export: self.export.into(),
            resource: Resource::Fuel,
            limit: self.limits.fuel().unwrap_or(u64::MAX),
            requested: None,
            fuel_consumed: self.ended.fuel_consumed,
            frames,
            source: Some(cause(error)),
        }
    }

    fn out_of_memory(&self, requested: u64, frames: Box<[WasmFrame]>, error: Error) -> WasmError {
        WasmError::ResourceLimitExceeded {
            component: self.component.clone(),
            export: self.export.into(),
            resource: Resource::Memory,
            limit: self.limits.memory_bytes(),
            requested: Some(requested),
            fuel_consumed: self.ended.fuel_consumed,
            frames,
            source: Some(cause(error)),
        }
    }

    fn held_too_much(&self, excess: &HeldTooMuch, frames: Box<[WasmFrame]>) -> WasmError {
        WasmError::ResourceLimitExceeded {
            component: self.component.clone(),
            export: self.export.into(),
            resource: Resource::HostMemory { item: excess.item },
            limit: excess.limit,
            requested: Some(excess.held),
            fuel_consumed: self.ended.fuel_consumed,
            frames,
            source: None,
        }
    }
}

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
const MAX_SAID_BYTES: usize = 4 << 10;

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
        if text.len() > MAX_SAID_BYTES {
            text.truncate(text.floor_char_boundary(MAX_SAID_BYTES));
            break;
        }
    }
    text
}

fn describe(trap: WasmtimeTrap) -> Trap {
    match trap {
        WasmtimeTrap::UnreachableCodeReached => Trap::Unreachable,
        WasmtimeTrap::MemoryOutOfBounds => Trap::MemoryOutOfBounds,
        WasmtimeTrap::TableOutOfBounds => Trap::TableOutOfBounds,
        WasmtimeTrap::IndirectCallToNull => Trap::IndirectCallToNull,
        WasmtimeTrap::BadSignature => Trap::BadSignature,
        WasmtimeTrap::IntegerOverflow => Trap::IntegerOverflow,
        WasmtimeTrap::IntegerDivisionByZero => Trap::IntegerDivisionByZero,
        WasmtimeTrap::BadConversionToInteger => Trap::BadConversionToInteger,
        WasmtimeTrap::StackOverflow => Trap::StackOverflow,
        other => Trap::Other(other.to_string()),
    }
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
    }
}
