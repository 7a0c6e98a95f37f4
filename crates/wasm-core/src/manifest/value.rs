use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Component, PathBuf};
use std::time::Duration;

use toml::de::DeValue;

use super::problem::closest;
use crate::text::{Escaped, Quoted};
use crate::units::{parse_bytes, parse_duration};

/// A value is not what is allowed; with a hint, if there is one.
pub(super) type Refusal = Option<String>;

pub(super) fn string(value: &DeValue<'_>) -> Result<String, Refusal> {
    value.as_str().map(str::to_owned).ok_or(None)
}

pub(super) fn size(value: &DeValue<'_>) -> Result<u64, Refusal> {
    let text = value.as_str().ok_or(None)?;
    parse_bytes(text).map_err(|_| None)
}

pub(super) fn duration(
    value: &DeValue<'_>,
    range: RangeInclusive<Duration>,
) -> Result<Duration, Refusal> {
    let text = value.as_str().ok_or(None)?;
    parse_duration(text)
        .ok()
        .filter(|duration| range.contains(duration))
        .ok_or(None)
}

pub(super) fn whole_number(
    value: &DeValue<'_>,
    range: RangeInclusive<u64>,
) -> Result<u64, Refusal> {
    let integer = value.as_integer().ok_or(None)?;
    u64::from_str_radix(integer.as_str(), integer.radix())
        .ok()
        .filter(|number| range.contains(number))
        .ok_or(None)
}

/// Not empty, without NUL characters, and not absolute; it may climb with `..`.
pub(super) fn relative_path(value: &DeValue<'_>) -> Result<PathBuf, Refusal> {
    let path = PathBuf::from(value.as_str().ok_or(None)?);
    let text = path.as_os_str();
    if text.is_empty() || text.as_encoded_bytes().contains(&0) {
        return Err(None);
    }
    match path.components().next() {
        Some(Component::RootDir | Component::Prefix(_)) => {
            Err(Some("this path is absolute".to_owned()))
        }
        _ => Ok(path),
    }
}

pub(super) fn choice<T: Clone>(value: &DeValue<'_>, choices: &[(&str, T)]) -> Result<T, Refusal> {
    let text = value.as_str().ok_or(None)?;
    let chosen = choices.iter().find(|(name, _)| *name == text);
    chosen.map(|(_, choice)| choice.clone()).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        closest(text, &names).map(did_you_mean)
    })
}

/// `"a", "b" or "c"`
pub(super) fn one_of<T>(choices: &[(&str, T)]) -> String {
    let names: Vec<String> = choices
        .iter()
        .map(|(name, _)| format!("\"{name}\""))
        .collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

fn did_you_mean(value: &str) -> String {
    format!("did you mean \"{value}\"?")
}

/// As it would be written in TOML, on one line.
pub(super) fn shown_key(key: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if !key.is_empty() && key.bytes().all(bare) && key.len() <= 200 {
        key.to_owned()
    } else {
        Quoted::new(key).to_string()
    }
}

pub(super) fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => Quoted::new(text).to_string(),
        DeValue::Integer(integer) => format!("integer {}", shown_number(integer)),
        DeValue::Float(float) => format!("float {}", shown_number(float)),
        DeValue::Boolean(boolean) => format!("boolean {boolean}"),
        DeValue::Datetime(date) => format!("date {date}"),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// TOML sets no bound to a number's digits.
fn shown_number(number: &impl Display) -> String {
    Escaped::up_to(40, &number.to_string()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_read_as_a_sentence() {
        for (names, sentence) in [
            ([].as_slice(), ""),
            (&["a"], "\"a\""),
            (&["a", "b"], "\"a\" or \"b\""),
            (&["a", "b", "c"], "\"a\", \"b\" or \"c\""),
        ] {
            let choices: Vec<_> = names.iter().map(|name| (*name, ())).collect();
            assert_eq!(one_of(&choices), sentence);
        }
    }
}
