//! Ids of requests.

use std::cell::RefCell;

use wasm_core::{CorrelationId, MessagingError};

/// Ids for which random numbers are fetched at a time.
const FETCHED: usize = 64;

/// Of an id.
const BYTES: usize = 16;

thread_local! {
    /// Random bytes of the operating system, and how many of them are used.
    static RANDOM: RefCell<([u8; FETCHED * BYTES], usize)> =
        const { RefCell::new(([0; FETCHED * BYTES], FETCHED * BYTES)) };
}

/// 128 bits from the operating system: whoever has not been told an id does not find
/// one.
pub(crate) fn unguessable() -> Result<CorrelationId, MessagingError> {
    let bytes = RANDOM.with_borrow_mut(|(random, used)| {
        if *used == random.len() {
            getrandom::fill(random)?;
            *used = 0;
        }
        let mut bytes = [0; BYTES];
        bytes.copy_from_slice(&random[*used..*used + BYTES]);
        *used += BYTES;
        Ok(bytes)
    });
    let bytes = bytes.map_err(|error: getrandom::Error| {
        MessagingError::DeliveryFailed(format!("no random numbers for a correlation id: {error}"))
    })?;
    let text = hexadecimal(bytes);
    let text = std::str::from_utf8(&text).expect("these are digits");
    Ok(text.into())
}

fn hexadecimal(bytes: [u8; BYTES]) -> [u8; 2 * BYTES] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 2 * BYTES];
    for (byte, digits) in bytes.into_iter().zip(text.chunks_exact_mut(2)) {
        digits[0] = DIGITS[usize::from(byte >> 4)];
        digits[1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_id_is_given_twice() {
        let ids: HashSet<_> = (0..1_000).map(|_| unguessable().unwrap()).collect();
        assert_eq!(ids.len(), 1_000);
        assert!(ids.iter().all(|id| id.as_str().len() == 32));
    }

    #[test]
    fn an_id_is_written_in_hexadecimal() {
        let bits: u128 = 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210;
        assert_eq!(
            &hexadecimal(bits.to_be_bytes()),
            b"0123456789abcdeffedcba9876543210"
        );
    }
}
