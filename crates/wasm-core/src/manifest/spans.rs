use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// Where in the text of a manifest its keys stand, as the parser saw it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ManifestSpans {
    keys: BTreeMap<String, Range<usize>>,
}

impl ManifestSpans {
    pub(super) fn of(root: &DeTable<'_>) -> Self {
        let mut keys = BTreeMap::new();
        for (section, table) in root {
            let DeValue::Table(table) = table.get_ref() else {
                continue;
            };
            for (key, value) in table {
                let dotted = format!("{}.{}", section.get_ref(), key.get_ref());
                if let DeValue::Array(items) = value.get_ref() {
                    for (i, item) in items.iter().enumerate() {
                        keys.insert(format!("{dotted}[{i}]"), item.span());
                    }
                }
                keys.insert(dotted, key.span().start..value.span().end);
            }
        }
        Self { keys }
    }

    /// In bytes from the start of the text, from the key to the end of its value.
    ///
    /// A key is named with its section, as in `resources.timeout`, and an item of a
    /// list with its number, from 0, as in `permissions.wasi[0]`. `None` for one that
    /// the text does not have.
    pub fn span(&self, key: &str) -> Option<Range<usize>> {
        self.keys.get(key).cloned()
    }
}

/// A place in a text, as people count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// From 1, in characters. A byte order mark at the start of the text is none.
    pub column: usize,
}

impl Place {
    /// That of a byte of the text, or of the character that it belongs to.
    pub fn of(text: &str, byte: usize) -> Self {
        let before = &text[..text.floor_char_boundary(byte)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let in_line = before[line_start..].trim_start_matches('\u{feff}');
        Self {
            line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: in_line.chars().count() + 1,
        }
    }
}
