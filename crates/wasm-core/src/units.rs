//! Sizes and durations as people write them in a manifest or on a command line.

use std::time::Duration;

use thiserror::Error;

use crate::text::Quoted;

const BYTE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

const TIME_UNITS: [(&str, u64); 6] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("min", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// A text that is not a size or a duration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{} is not a {expected}", Quoted::new(found))]
pub struct UnitError {
    found: String,
    expected: &'static str,
}

/// Reads a size such as `2MiB`, `512 KiB`, `1_000_000B` or `1.5MiB`.
///
/// # Errors
/// When the unit is missing or unknown, or the size is not a whole number of
/// bytes below 2^64.
pub fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    parse(
        text,
        &BYTE_UNITS,
        "size such as \"512KiB\" or \"2MiB\", in B, kB, KiB, MB, MiB, GB or GiB",
    )
}

/// Reads a duration such as `250ms`, `5s` or `1.5s`.
///
/// # Errors
/// When the unit is missing or unknown, or the duration is not a whole number of
/// nanoseconds below 2^64.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    parse(
        text,
        &TIME_UNITS,
        "duration such as \"250ms\" or \"5s\", in ns, us, ms, s, min or h",
    )
    .map(Duration::from_nanos)
}

fn parse(text: &str, units: &[(&str, u64)], expected: &'static str) -> Result<u64, UnitError> {
    let error = || UnitError {
        found: text.to_owned(),
        expected,
    };
    let trimmed = text.trim();
    let split = trimmed
        .find(|c: char| c.is_ascii_alphabetic())
        .ok_or_else(error)?;
    let (number, unit) = trimmed.split_at(split);
    let factor = units
        .iter()
        .find_map(|(name, factor)| (*name == unit).then_some(*factor))
        .ok_or_else(error)?;
    scale(number.trim_end(), factor).ok_or_else(error)
}

/// `number * factor`, exactly: in integers, digit by digit, because a limit must
/// be what was written.
fn scale(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = match number.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (number, ""),
    };
    let digits = |text: &str| -> Option<String> {
        let digits: String = text.chars().filter(|c| *c != '_').collect();
        digits.bytes().all(|b| b.is_ascii_digit()).then_some(digits)
    };
    let whole = digits(whole)?;
    let fraction = digits(fraction)?;
    let scaled = whole.parse::<u128>().ok()?.checked_mul(factor.into())?;
    let (part, divisor) = match fraction.len() {
        0 => (0, 1),
        places => (
            fraction.parse::<u128>().ok()?.checked_mul(factor.into())?,
            10u128.checked_pow(places.try_into().ok()?)?,
        ),
    };
    if part % divisor != 0 {
        return None;
    }
    scaled.checked_add(part / divisor)?.try_into().ok()
}

/// Prints a size as [`parse_bytes`] reads it, in the largest unit that keeps it exact.
pub fn format_bytes(bytes: u64) -> String {
    let (name, factor) = BYTE_UNITS[..4]
        .iter()
        .find(|(_, factor)| bytes != 0 && bytes.is_multiple_of(*factor))
        .unwrap_or(&("B", 1));
    format!("{}{name}", bytes / factor)
}

/// Prints a duration as [`parse_duration`] reads it, in the largest unit that keeps it exact.
pub fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let (name, factor) = TIME_UNITS
        .iter()
        .rev()
        .find(|(_, factor)| nanos != 0 && nanos.is_multiple_of(u128::from(*factor)))
        .unwrap_or(&("ns", 1));
    format!("{}{name}", nanos / u128::from(*factor))
}

/// Prints a count with `_` between groups of three digits, as a manifest may.
pub fn format_count(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push('_');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::snapshot;

    #[test]
    fn sizes_as_people_write_them() {
        for (text, bytes) in [
            ("512KiB", 524_288),
            ("2MiB", 2_097_152),
            (" 2 MiB ", 2_097_152),
            ("1.5MiB", 1_572_864),
            ("1_000B", 1_000),
            ("0B", 0),
            ("1kB", 1_000),
            ("1TiB", 1 << 40),
            ("18446744073709551615B", u64::MAX),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text:?}");
        }
    }

    #[test]
    fn durations_as_people_write_them() {
        for (text, nanos) in [
            ("250ms", 250_000_000),
            ("0.5s", 500_000_000),
            ("2min", 120_000_000_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_nanos(nanos)),
                "{text:?}"
            );
        }
    }

    #[test]
    fn refuses_what_it_cannot_hold_exactly() {
        for text in [
            "",
            "MiB",
            "2",
            "2mib",
            "2 M iB",
            "-1MiB",
            "1.MiB",
            "1..5MiB",
            "0.3B",
            "2MiB!",
            "1e3B",
            "18446744073709551616B",
            "17179869184GiB",
            "٣MiB",
            "1.000000000000000000000000000000000000000000000000001KiB",
        ] {
            let error = parse_bytes(text).unwrap_err();
            assert_eq!(error.found, text);
        }
        let errors = [
            ("parse_bytes", parse_bytes("2\n").unwrap_err()),
            ("parse_duration", parse_duration("5 parsecs").unwrap_err()),
        ];
        snapshot("unit-error", errors);
    }

    #[test]
    fn prints_what_it_reads() {
        for bytes in [0, 1, 1023, 1024, 524_288, 3 << 20, 1 << 40, u64::MAX] {
            assert_eq!(parse_bytes(&format_bytes(bytes)), Ok(bytes));
        }
        for millis in [0, 1, 100, 1500, 60_000, 3_600_000] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
        assert_eq!(format_bytes(524_288), "512KiB");
        assert_eq!(format_bytes(1 << 40), "1TiB");
        assert_eq!(format_duration(Duration::from_millis(1500)), "1500ms");
        assert_eq!(format_count(0), "0");
        assert_eq!(format_count(999), "999");
        assert_eq!(format_count(1_234_567), "1_234_567");
    }
}
