//! What a test needs of a `Component.toml`.

use std::fs::read_to_string;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::grants::{Grants, Pattern, check_id};
use crate::config::Config;
use crate::id::ComponentId;
use crate::log::LogLevel;
use crate::payload::Payload;

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

const LEVELS: [LogLevel; 5] = [
    LogLevel::Trace,
    LogLevel::Debug,
    LogLevel::Info,
    LogLevel::Warn,
    LogLevel::Error,
];

/// Who the component is, what it may do and what it is started with.
pub(crate) struct Manifest {
    pub(crate) id: ComponentId,
    pub(crate) grants: Grants,
    pub(crate) config: Config,
}

impl Manifest {
    /// # Errors
    /// What is wrong, with the key. Keys that do not matter to a test are not looked at.
    pub(crate) fn read(file: &Path) -> Result<Self, String> {
        let text = read_to_string(file).map_err(|error| error.to_string())?;
        let root = DeTable::parse(&text).map_err(|error| error.to_string())?;
        let root = root.get_ref();
        let id = text_of(root, "component", "id")?.ok_or("`component.id` is missing")?;
        let id: ComponentId = id.parse().map_err(at("component.id"))?;
        check_id(&id).map_err(at("component.id"))?;
        let permissions = section(root, "permissions")?;
        let grants = permissions.map(grants).transpose()?;
        Ok(Self {
            id,
            grants: grants.unwrap_or_default(),
            config: Config {
                data: data(root, file)?,
                variables: variables(root)?,
            },
        })
    }
}

fn grants(permissions: &DeTable<'_>) -> Result<Grants, String> {
    let patterns = |key| -> Result<Vec<Pattern>, String> {
        let Some(value) = permissions.get(key) else {
            return Ok(Vec::new());
        };
        let read = match value.get_ref() {
            DeValue::Array(patterns) => texts(patterns).map(|text| Pattern::read(text?)).collect(),
            _ => Err("it is no list".to_owned()),
        };
        read.map_err(at(&format!("permissions.{key}")))
    };
    let text = |key: &str| match permissions.get(key) {
        None => Ok(None),
        Some(value) => text(value)
            .map(Some)
            .map_err(at(&format!("permissions.{key}"))),
    };
    let level = |text: &str| {
        let level = LEVELS.into_iter().find(|level| level.as_str() == text);
        level.ok_or_else(|| format!("{text:?} is none of trace, debug, info, warn, error"))
    };
    Ok(Grants {
        send: patterns("send")?,
        request: patterns("request")?,
        broadcast: patterns("broadcast")?,
        storage: text("storage")?
            .map(|text| bytes(text).ok_or_else(|| format!("{text:?} is no size such as \"1MiB\"")))
            .transpose()
            .map_err(at("permissions.storage"))?,
        log: text("log")?
            .map(level)
            .transpose()
            .map_err(at("permissions.log"))?,
    })
}

fn data(root: &DeTable<'_>, file: &Path) -> Result<Option<Payload>, String> {
    if let Some(text) = text_of(root, "config", "text")? {
        return Ok(Some(text.into()));
    }
    let Some(name) = text_of(root, "config", "file")? else {
        return Ok(None);
    };
    let folder = file.parent().unwrap_or(Path::new(""));
    let content = std::fs::read(folder.join(name)).map_err(at("config.file"))?;
    Ok(Some(content.into()))
}

fn variables(root: &DeTable<'_>) -> Result<Vec<(String, String)>, String> {
    let Some(env) = section(root, "env")? else {
        return Ok(Vec::new());
    };
    // In the order of the file.
    let mut entries: Vec<_> = env.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    // What is secret is not there when a test runs.
    let is_secret = |value: &Spanned<DeValue<'_>>| matches!(value.get_ref(), DeValue::Table(_));
    entries.retain(|(_, value)| !is_secret(value));
    let variable = |(name, value): (&Spanned<_>, _)| {
        let name: &std::borrow::Cow<'_, str> = name.get_ref();
        let value = text(value).map_err(at(&format!("env.{name}")))?;
        Ok((name.clone().into_owned(), value.to_owned()))
    };
    entries.into_iter().map(variable).collect()
}

fn section<'t, 'i>(root: &'t DeTable<'i>, name: &str) -> Result<Option<&'t DeTable<'i>>, String> {
    match root.get(name).map(Spanned::get_ref) {
        None => Ok(None),
        Some(DeValue::Table(table)) => Ok(Some(table)),
        Some(_) => Err(format!("`{name}` is no section")),
    }
}

fn text_of<'t>(root: &'t DeTable<'_>, name: &str, key: &str) -> Result<Option<&'t str>, String> {
    let value = section(root, name)?.and_then(|section| section.get(key));
    value
        .map(text)
        .transpose()
        .map_err(at(&format!("{name}.{key}")))
}

fn text<'t>(value: &'t Spanned<DeValue<'_>>) -> Result<&'t str, &'static str> {
    value.get_ref().as_str().ok_or("it is no string")
}

fn texts<'t>(list: &'t DeArray<'_>) -> impl Iterator<Item = Result<&'t str, String>> {
    list.iter()
        .map(|item| text(item).map_err(|problem| format!("an item: {problem}")))
}

fn at<E: ToString>(key: &str) -> impl Fn(E) -> String {
    let key = key.to_owned();
    move |problem| format!("`{key}`: {}", problem.to_string())
}

/// A size such as `1.5MiB`, if it is a whole number of bytes.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let (_, factor) = BYTE_UNITS.into_iter().find(|(name, _)| *name == unit)?;
    let number = number.trim_end().replace('_', "");
    let (whole, fraction) = number.split_once('.').unwrap_or((&number, "0"));
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let scale = 10u128.checked_pow(fraction.len().try_into().ok()?)?;
    let part = fraction.parse::<u128>().ok()?.checked_mul(factor.into())?;
    let whole = whole.parse::<u128>().ok()?.checked_mul(factor.into())?;
    let exact = part.is_multiple_of(scale);
    exact.then(|| u64::try_from(whole + part / scale).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_exact() {
        for (text, size) in [
            ("1MiB", Some(1 << 20)),
            ("1.5 KiB", Some(1536)),
            ("1_000kB", Some(1_000_000)),
            ("0.1B", None),
            ("1", None),
            ("MiB", None),
            ("1.MiB", None),
            ("-1B", None),
        ] {
            assert_eq!(bytes(text), size, "{text}");
        }
    }
}
