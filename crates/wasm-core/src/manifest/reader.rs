use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use super::component::ComponentManifest;
use super::problem::{Found, ManifestProblem, Problems, closest};
use super::value::{Refusal, duration, shown, shown_key, string, whole_number};
use crate::text::Escaped;
use crate::units::{format_count, format_duration};

/// Every section with its keys; those of `env` are free.
const SECTIONS: [(&str, &[&str]); 9] = [
    (
        "component",
        &["id", "wasm", "version", "description", "authors", "license"],
    ),
    (
        "resources",
        &["memory", "fuel", "timeout", "instance", "concurrency"],
    ),
    ("env", &[]),
    ("config", &["file", "text"]),
    (
        "permissions",
        &[
            "send",
            "request",
            "broadcast",
            "storage",
            "log",
            "http",
            "wasi",
            "imports",
        ],
    ),
    (
        "supervision",
        &[
            "restart",
            "max-restarts",
            "within",
            "backoff",
            "mailbox",
            "start",
            "idle",
            "health",
            "swap",
        ],
    ),
    ("delivery", &["after-crash"]),
    ("http", &["path", "reply-type"]),
    ("build", &["command", "sources"]),
];

/// Collects what is wrong while a manifest is read.
pub(super) struct Reader<'a> {
    /// Where the manifest lies.
    pub(super) folder: &'a Path,
    pub(super) problems: Problems,
}

/// A table whose keys are known.
pub(super) struct Section<'t, 'i> {
    pub(super) path: &'static str,
    pub(super) table: &'t DeTable<'i>,
    /// Its header, to point at when a key is missing.
    pub(super) span: Range<usize>,
    /// Keys that are there, but misspelled.
    pub(super) misspelled: Vec<&'static str>,
}

impl Section<'_, '_> {
    /// The whole name of one of its keys.
    pub(super) fn dotted(&self, key: &str) -> String {
        format!("{}.{}", self.path, shown_key(key))
    }
}

/// Every method reports what is wrong and goes on; a result is `None` only for
/// what is absent or was reported.
impl Reader<'_> {
    pub(super) fn count(
        &mut self,
        section: &Section<'_, '_>,
        key: &str,
        range: RangeInclusive<u32>,
    ) -> Option<u32> {
        let (least, most) = (*range.start(), *range.end());
        let allowed = format!(
            "a whole number from {least} to {}",
            format_count(most.into())
        );
        self.optional(section, key, &allowed, |value| {
            let number = whole_number(value, least.into()..=most.into())?;
            u32::try_from(number).map_err(|_| None)
        })
    }

    pub(super) fn duration(
        &mut self,
        section: &Section<'_, '_>,
        key: &str,
        most: Duration,
    ) -> Option<Duration> {
        let least = Duration::from_millis(1);
        let allowed = format!(
            "a duration such as \"50ms\", from {} to {}",
            format_duration(least),
            format_duration(most)
        );
        self.optional(section, key, &allowed, |value| {
            duration(value, least..=most)
        })
    }

    pub(super) fn string(
        &mut self,
        section: &Section<'_, '_>,
        key: &str,
        allowed: &str,
    ) -> Option<String> {
        self.optional(section, key, allowed, string)
    }

    /// `read` is called for each item and reports what is wrong with it.
    pub(super) fn list<T>(
        &mut self,
        section: &Section<'_, '_>,
        key: &str,
        allowed: &str,
        mut read: impl FnMut(&mut Self, &Spanned<DeValue<'_>>) -> Option<T>,
    ) -> Vec<T> {
        let Some(value) = section.table.get(key) else {
            return Vec::new();
        };
        match value.get_ref() {
            DeValue::Array(items) if items.len() > ComponentManifest::MAX_ENTRIES => {
                self.too_many(value.span(), section.dotted(key), items.len());
                Vec::new()
            }
            DeValue::Array(items) => items.iter().filter_map(|item| read(self, item)).collect(),
            other => {
                let found = Found::Value(shown(other));
                self.report(value.span(), section.dotted(key), found, allowed);
                Vec::new()
            }
        }
    }

    /// Reports a list or a section that has too many entries to look at each.
    pub(super) fn too_many(&mut self, span: Range<usize>, key: String, entries: usize) {
        let found = Found::Value(format!("{} entries", format_count(entries as u64)));
        let most = format_count(ComponentManifest::MAX_ENTRIES as u64);
        self.report(span, key, found, format!("up to {most} entries"));
    }

    pub(super) fn required<T>(
        &mut self,
        section: &Section<'_, '_>,
        key: &str,
        allowed: &str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, Refusal>,
    ) -> Option<T> {
        if !section.table.contains_key(key) && !section.misspelled.contains(&key) {
            self.report(
                section.span.clone(),
                section.dotted(key),
                Found::Nothing,
                allowed,
            );
        }
        self.optional(section, key, allowed, read)
    }

    pub(super) fn optional<T>(
        &mut self,
        section: &Section<'_, '_>,
        key: &str,
        allowed: &str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, Refusal>,
    ) -> Option<T> {
        let value = section.table.get(key)?;
        self.item(section, key, value, allowed, read)
    }

    /// Reads a value that stands under `key`, itself or in a list.
    pub(super) fn item<T>(
        &mut self,
        section: &Section<'_, '_>,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        allowed: &str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, Refusal>,
    ) -> Option<T> {
        match read(value.get_ref()) {
            Ok(read) => Some(read),
            Err(help) => {
                let found = Found::Value(shown(value.get_ref()));
                let problem = self.report(value.span(), section.dotted(key), found, allowed);
                problem.help = help;
                None
            }
        }
    }

    /// A section of the file, its unknown keys reported.
    pub(super) fn section<'t, 'i>(
        &mut self,
        root: &'t DeTable<'i>,
        name: &'static str,
    ) -> Option<Section<'t, 'i>> {
        let value = root.get(name)?;
        let DeValue::Table(table) = value.get_ref() else {
            let found = Found::Value(shown(value.get_ref()));
            let allowed = format!("a section [{name}]");
            self.report(value.span(), name.to_owned(), found, allowed);
            return None;
        };
        let mut section = Section {
            path: name,
            table,
            span: value.span(),
            misspelled: Vec::new(),
        };
        let keys = SECTIONS.iter().find(|(section, _)| *section == name);
        if let Some((_, keys)) = keys.filter(|(_, keys)| !keys.is_empty()) {
            self.unknown_keys(&mut section, keys);
        }
        Some(section)
    }

    /// Reports the keys that are not in `keys`.
    pub(super) fn unknown_keys(&mut self, section: &mut Section<'_, '_>, keys: &[&'static str]) {
        for key in section.table.keys() {
            let name = key.get_ref().as_ref();
            if keys.contains(&name) {
                continue;
            }
            let meant = closest(name, keys);
            let dotted = section.dotted(name);
            let problem = self.report(key.span(), dotted, Found::UnknownKey, keys.join(", "));
            problem.help = meant
                .map(|meant| format!("did you mean `{meant}`?"))
                .or_else(|| belongs_to(name));
            section.misspelled.extend(meant);
        }
    }

    /// Reports what is none of the sections; what was probably meant is returned.
    pub(super) fn unknown_sections(&mut self, root: &DeTable<'_>) -> Vec<&'static str> {
        let names = SECTIONS.map(|(name, _)| name);
        let mut misspelled = Vec::new();
        for key in root.keys() {
            let name = key.get_ref().as_ref();
            if names.contains(&name) {
                continue;
            }
            let meant = closest(name, &names);
            let allowed = names.map(|name| format!("[{name}]")).join(", ");
            let problem = self.report(key.span(), shown_key(name), Found::UnknownKey, allowed);
            problem.help = meant
                .map(|meant| format!("did you mean [{meant}]?"))
                .or_else(|| belongs_to(name));
            misspelled.extend(meant);
        }
        misspelled
    }

    /// Reports what the parser says.
    pub(super) fn not_toml(&mut self, source: &str, complaint: &Error) {
        let span = complaint.span().unwrap_or(0..0);
        let at = source.get(span.clone()).unwrap_or_default();
        let shown = Escaped::up_to(40, at).to_string();
        let message = complaint.message();
        if message == "duplicate key" {
            self.report(span, shown, Found::DuplicateKey, "each key once");
            return;
        }
        let found = Found::NotToml(if at.trim().is_empty() {
            message.to_owned()
        } else {
            format!("`{shown}`: {message}")
        });
        self.problems
            .add(ManifestProblem::new(span, None, found, String::new()));
    }

    pub(super) fn report(
        &mut self,
        span: Range<usize>,
        key: String,
        found: Found,
        allowed: impl Into<String>,
    ) -> &mut ManifestProblem {
        self.problems
            .add(ManifestProblem::new(span, Some(key), found, allowed))
    }
}

fn belongs_to(key: &str) -> Option<String> {
    SECTIONS
        .iter()
        .find(|(_, keys)| keys.contains(&key))
        .map(|(section, _)| format!("`{key}` belongs in [{section}]"))
}
