//! From what wasmtime says to what the contract says: typed, never by reading
//! messages.

use std::sync::Arc;
use std::{fs, io};

use rustix::io::Errno;
use wasmtime::component::ResourceTableError;
use wasmtime::{Error, PoolConcurrencyLimitError, Trap as WasmtimeTrap};
use wasmtime_wasi::I32Exit;

use wasm_core::text::shortened;
use wasm_core::units::format_count;
use wasm_core::{Cause, ComponentId, Resource, ResourceLimits, Trap, WasmError, WasmFrame};

use super::bounded::Interrupted;
use super::bulk::{charges_length, out_of_bounds};
use super::frames::frames;
use super::limiter::MAX_HOST_RESOURCES;
use crate::error::{MAX_SAID_BYTES, cause, chain};
use crate::wasi::{HeldTooMuch, LastWords};

/// What of the host's there is no more of, and what raises it.
fn exhausted(error: &Error) -> Option<String> {
    if let Some(limit) = error.downcast_ref::<PoolConcurrencyLimitError>() {
        return Some(format!(
            "the engine's pool has no room for another instance: {limit} (`instances` of \
             `with_allocation` in EngineConfig)"
        ));
    }
    let most: usize = fs::read_to_string("/proc/sys/vm/max_map_count")
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let now = fs::read_to_string("/proc/self/maps").ok()?.lines().count();
    (is_out_of_memory(error) && has_no_room(now, most)).then(|| {
        format!(
            "the process has {} of the {} memory mappings that it may have \
             (`sysctl vm.max_map_count`)",
            format_count(now as u64),
            format_count(most as u64)
        )
    })
}

/// What a host function ended in, its own error or that of the table of resources, which does
/// not say how many it has.
fn refusal(error: &Error) -> String {
    match error.downcast_ref::<ResourceTableError>() {
        Some(ResourceTableError::Full) => {
            format!("it has {MAX_HOST_RESOURCES} resources of the host, as many as it may")
        }
        _ => shortened(MAX_SAID_BYTES, error.root_cause()),
    }
}

/// What the system says where it maps no more memory.
fn is_out_of_memory(error: &Error) -> bool {
    error.chain().any(|layer| {
        let error = layer.downcast_ref::<io::Error>();
        let errno = layer.downcast_ref::<Errno>();
        error.is_some_and(|error| error.kind() == io::ErrorKind::OutOfMemory)
            || errno == Some(&Errno::NOMEM)
    })
}

/// An instance needs several at once.
fn has_no_room(mappings: usize, most: usize) -> bool {
    mappings + MAPPINGS_OF_AN_INSTANCE > most
}

/// Memory, guard, table and stack, and as much again.
const MAPPINGS_OF_AN_INSTANCE: usize = 16;

/// What was going on when a call did not end well.
pub(crate) struct FailedCall<'a> {
    pub(crate) component: &'a ComponentId,
    /// The component's.
    pub(crate) bytes: &'a [u8],
    pub(crate) export: &'a str,
    pub(crate) limits: &'a ResourceLimits,
    pub(crate) ended: EndedCall,
    /// If it has written any.
    pub(crate) last_words: Option<&'a LastWords>,
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
            Interrupted::Denied(denied) => {
                let trap = Trap::RefusedByHost(denied.to_string());
                self.trapped(trap, Box::default(), Some(Arc::new(*denied)))
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
                None => Trap::RefusedByHost(refusal(&error)),
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
        let reason = match exhausted(&error) {
            Some(exhausted) => exhausted,
            None => chain(&error),
        };
        WasmError::InstantiationFailed {
            component: self.component.clone(),
            reason,
            source: Some(cause(error)),
        }
    }

    /// The trap of the bulk instruction that the guest was at, if it was charged more than
    /// it can have been in bounds.
    fn charged_out_of_bounds(&self, frames: &[WasmFrame]) -> Option<Trap> {
        let offset = offset_of(frames)?;
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
            // Other traps, nobody saw coming.
            last_words: match trap {
                Trap::Unreachable | Trap::Other(_) => self.last_words.and_then(LastWords::get),
                _ => None,
            },
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
            charged_ahead: offset_of(&frames)
                .is_some_and(|offset| charges_length(self.bytes, offset)),
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
            charged_ahead: false,
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
            charged_ahead: false,
            fuel_consumed: self.ended.fuel_consumed,
            frames,
            source: None,
        }
    }
}

/// Of the instruction that the guest was at.
fn offset_of(frames: &[WasmFrame]) -> Option<u64> {
    frames.first()?.offset
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
    use std::sync::LazyLock;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_process_has_no_room_for_an_instance_whose_mappings_are_too_many() {
        assert!(!has_no_room(65_530 - 16, 65_530));
        assert!(has_no_room(65_530 - 15, 65_530));
        assert!(has_no_room(65_530, 65_530));
    }

    #[test]
    fn the_system_has_several_words_for_no_memory() {
        let of_kind = |kind| Error::from(io::Error::from(kind)).context("mapping a memory");
        assert!(is_out_of_memory(&of_kind(io::ErrorKind::OutOfMemory)));
        assert!(is_out_of_memory(
            &Error::from(Errno::NOMEM).context("mprotect")
        ));
        assert!(!is_out_of_memory(&of_kind(io::ErrorKind::PermissionDenied)));
        assert!(!is_out_of_memory(&Error::from(Errno::ACCESS)));
        assert!(!is_out_of_memory(&Error::msg("out of memory")));
    }

    /// A call that has ended at a `memory.fill`, of which so much is known.
    fn ended(fuel_consumed: u64) -> FailedCall<'static> {
        static COMPONENT: LazyLock<ComponentId> =
            LazyLock::new(|| "demo/fill/main".parse().unwrap());
        static LIMITS: LazyLock<ResourceLimits> = LazyLock::new(|| {
            ResourceLimits::new(1 << 20, Duration::from_secs(1), Some(9)).unwrap()
        });
        FailedCall {
            component: &COMPONENT,
            bytes: &[0xfc, 0x0b, 0],
            export: "f",
            limits: &LIMITS,
            ended: EndedCall {
                fuel_consumed,
                fuel_seen: 300,
                most_in_bounds: 1000,
                denied: None,
            },
            last_words: None,
        }
    }

    /// It is charged for its length before anybody knows whether that is in bounds.
    #[test]
    fn a_bulk_instruction_that_cost_more_than_it_can_was_out_of_bounds() {
        let at_fill = [WasmFrame::new(None, None, 0, Some(0))];
        let elsewhere = [WasmFrame::new(None, None, 0, Some(1))];
        let (in_bounds, beyond) = (ended(1000), ended(1001));
        assert_eq!(in_bounds.charged_out_of_bounds(&at_fill), None);
        assert_eq!(beyond.charged_out_of_bounds(&elsewhere), None);
        assert_eq!(beyond.charged_out_of_bounds(&[]), None);
        let trap = Trap::MemoryOutOfBounds;
        assert_eq!(beyond.charged_out_of_bounds(&at_fill), Some(trap.clone()));
        // What it was charged for nothing is not told.
        assert_eq!(beyond.fuel_consumed(&trap, &at_fill), 300);
        assert_eq!(in_bounds.fuel_consumed(&trap, &at_fill), 1000);
        assert_eq!(beyond.fuel_consumed(&trap, &elsewhere), 1001);
        assert_eq!(beyond.fuel_consumed(&Trap::Unreachable, &at_fill), 1001);
    }

    /// This process has few mappings: there is no memory, and nothing of the host's to raise.
    #[test]
    fn a_limit_of_the_host_is_named_only_where_it_is_reached() {
        let no_memory = io::Error::from(io::ErrorKind::OutOfMemory);
        assert_eq!(exhausted(&no_memory.into()), None);
        assert_eq!(exhausted(&Error::msg("of another kind")), None);
    }
}
