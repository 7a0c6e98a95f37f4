//! Telling an out-of-bounds bulk instruction from one that is too expensive.
//!
//! wasmtime 48 charges the length of `memory.fill` and its like before it looks at the
//! bounds: a memset of -1 bytes ends out of fuel, and whoever looks for the fault raises
//! the fuel in vain. What the instruction was charged is not known afterwards, but what
//! it can have been charged in bounds is. Where that is more than the limit, the error says
//! that it may have been out of bounds.

use wasmparser::{BinaryReader, Operator, OperatorsReader};

use wasm_core::Trap;

/// What a guest may have been charged between two looks at its fuel besides a bulk
/// instruction: what it runs without a loop or a call. Code that people write or compile
/// stays far below.
const STRAIGHT_LINE_FUEL: u64 = 1_000_000;

/// Bytes of an instruction that are looked at: two of the operator and two indices.
const OPERATOR_BYTES: usize = 16;

/// The most fuel that a call can have consumed without a bulk instruction out of bounds.
///
/// Its fuel was looked at `yields` times because another `interval` was consumed. Since
/// the look before, and since the last one, it consumed less than that, what was
/// executed in a straight line, and one bulk instruction: a unit for each byte of at most
/// `memory_bytes`, or for each element of tables, which are larger than a byte.
pub(crate) fn most_in_bounds(yields: u64, interval: u64, memory_bytes: u64) -> u64 {
    let step = interval
        .saturating_add(STRAIGHT_LINE_FUEL)
        .saturating_add(memory_bytes);
    yields.saturating_add(1).saturating_mul(step)
}

/// What it is to be out of bounds at this offset of a component, if there is a bulk
/// instruction that can be.
pub(crate) fn out_of_bounds(component: &[u8], offset: u64) -> Option<Trap> {
    match operator(component, offset)? {
        Operator::MemoryFill { .. } | Operator::MemoryCopy { .. } | Operator::MemoryInit { .. } => {
            Some(Trap::MemoryOutOfBounds)
        }
        Operator::TableFill { .. } | Operator::TableCopy { .. } | Operator::TableInit { .. } => {
            Some(Trap::TableOutOfBounds)
        }
        // Not `table.grow`: out of bounds it is no trap.
        _ => None,
    }
}

/// Whether what stands at this offset of a component is charged for its length before it is
/// known whether it can be done.
pub(crate) fn charges_length(component: &[u8], offset: u64) -> bool {
    let grows = |operator| matches!(operator, Operator::TableGrow { .. });
    out_of_bounds(component, offset).is_some() || operator(component, offset).is_some_and(grows)
}

fn operator(component: &[u8], offset: u64) -> Option<Operator<'_>> {
    let at = usize::try_from(offset).ok()?;
    let rest = component.get(at..)?;
    let reader = BinaryReader::new(&rest[..rest.len().min(OPERATOR_BYTES)], at);
    OperatorsReader::new(reader).read().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bulk_instructions_are_out_of_bounds() {
        for (bytes, trap) in [
            (&[0xfc, 0x08, 0, 0][..], Some(Trap::MemoryOutOfBounds)),
            (&[0xfc, 0x0a, 0, 0], Some(Trap::MemoryOutOfBounds)),
            (&[0xfc, 0x0b, 0], Some(Trap::MemoryOutOfBounds)),
            (&[0xfc, 0x0c, 0, 0], Some(Trap::TableOutOfBounds)),
            (&[0xfc, 0x0e, 0, 0], Some(Trap::TableOutOfBounds)),
            (&[0xfc, 0x11, 0], Some(Trap::TableOutOfBounds)),
            // table.grow, loop, nothing.
            (&[0xfc, 0x0f, 0], None),
            (&[0x03, 0x40], None),
            (&[], None),
        ] {
            let component = [&[0; 9], bytes].concat();
            assert_eq!(out_of_bounds(&component, 9), trap, "{bytes:x?}");
            let grows = bytes.starts_with(&[0xfc, 0x0f]);
            assert_eq!(charges_length(&component, 9), trap.is_some() || grows);
        }
        assert_eq!(out_of_bounds(&[], u64::MAX), None);
    }

    #[test]
    fn what_is_in_bounds_is_bounded_by_what_was_seen() {
        let most = |yields| most_in_bounds(yields, 1_000_000, 1 << 20);
        assert_eq!(most(0), 2_000_000 + (1 << 20));
        assert_eq!(most(9), 10 * most(0));
        assert_eq!(most(u64::MAX), u64::MAX);
    }
}
