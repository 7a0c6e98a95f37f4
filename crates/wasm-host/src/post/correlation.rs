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
    let bits = RANDOM.with_borrow_mut(|(random, used)| {
        if *used == random.len() {
            getrandom::fill(random)?;
            *used = 0;
        }
        let mut bits = [0; BYTES];
        bits.copy_from_slice(&random[*used..*used + BYTES]);
        *used += BYTES;
        Ok(u128::from_ne_bytes(bits))
    });
    let bits = bits.map_err(|error: getrandom::Error| {
        MessagingError::DeliveryFailed(format!("no random numbers for a correlation id: {error}"))
    })?;
    let text = hexadecimal(bits);
    let text = std::str::from_utf8(&text).expect("these are digits");
    Ok(text.into())
}

fn hexadecimal(bits: u128) -> [u8; 2 * BYTES] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 2 * BYTES];
    for (place, digit) in text.iter_mut().rev().enumerate() {
        *digit = DIGITS[(bits >> (4 * place)) as usize & 15];
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
        let bits = 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210;
        assert_eq!(&hexadecimal(bits), b"0123456789abcdeffedcba9876543210");
    }
}
