//! From what wasmtime says to what the contract says: typed, never by reading
//! messages.

use std::error::Error as StdError;
use std::sync::Arc;

use wasmtime::{Error, Trap as WasmtimeTrap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use wasm_core::{Cause, ComponentId, Resource, ResourceLimits, Trap, WasmError, WasmFrame};

use crate::call::Interrupted;
use crate::wasi::HeldTooMuch;

/// What was going on when a call did not end well.
pub(crate) struct FailedCall<'a> {
    pub(crate) component: &'a ComponentId,
    pub(crate) export: &'a str,
    pub(crate) limits: &'a ResourceLimits,
    pub(crate) fuel_consumed: u64,
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
            Some(WasmtimeTrap::OutOfFuel) => return self.out_of_fuel(frames, error),
            Some(trap) => describe(*trap),
            None => match error.downcast_ref::<I32Exit>() {
                Some(I32Exit(status)) => Trap::Other(format!("it exited with status {status}")),
                None => Trap::RefusedByHost(error.root_cause().to_string()),
            },
        };
        match (self.denied, &trap) {
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
        if let Some(requested) = self.denied {
            return self.out_of_memory(requested, Box::default(), error);
        }
        WasmError::InstantiationFailed {
            component: self.component.clone(),
            reason: chain(&error),
            source: Some(cause(error)),
        }
    }

    fn timeout(&self, frames: Box<[WasmFrame]>) -> WasmError {
        WasmError::Timeout {
            component: self.component.clone(),
            export: self.export.into(),
            limit: self.limits.timeout(),
            fuel_consumed: self.fuel_consumed,
            frames,
        }
    }

    fn trapped(&self, trap: Trap, frames: Box<[WasmFrame]>, source: Option<Cause>) -> WasmError {
        WasmError::Trapped {
            component: self.component.clone(),
            export: self.export.into(),
            trap,
            frames,
            fuel_consumed: self.fuel_consumed,
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
            fuel_consumed: self.fuel_consumed,
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
            fuel_consumed: self.fuel_consumed,
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
            fuel_consumed: self.fuel_consumed,
            frames,
            source: None,
        }
    }
}

pub(crate) fn cause(error: Error) -> Cause {
    Arc::from(Box::<dyn StdError + Send + Sync>::from(error))
}

/// Every layer of an error on one line; `Display` alone is the outermost only.
pub(crate) fn chain(error: &Error) -> String {
    let layers: Vec<String> = error.chain().map(ToString::to_string).collect();
    layers.join(": ")
}

fn frames(error: &Error) -> Box<[WasmFrame]> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return Box::default();
    };
    let frame = |frame: &wasmtime::FrameInfo| {
        WasmFrame::new(
            frame.module().name().map(str::to_owned),
            frame.func_name().map(str::to_owned),
            frame.func_index(),
            frame.module_offset().map(|offset| offset as u64),
        )
    };
    backtrace.frames().iter().map(frame).collect()
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
