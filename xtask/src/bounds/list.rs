//! The list of bounds, and where each is in the source.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

pub(super) const LIST: &str = "xtask/bounds.txt";

/// A line of the list.
pub(super) struct Bound<'a> {
    pub(super) file: &'a str,
    pub(super) item: &'a str,
    pub(super) what: &'a str,
    pub(super) setting: &'a str,
    pub(super) binary: &'a str,
    pub(super) test: &'a str,
    pub(super) said: &'a str,
}

impl<'a> Bound<'a> {
    pub(super) fn read(line: &'a str) -> Result<Self> {
        let fields: Vec<&str> = line.split(" | ").map(str::trim).collect();
        let [file, item, what, setting, binary, test, said] = fields[..] else {
            bail!("there are seven fields, and this has {}", fields.len());
        };
        Ok(Self {
            file,
            item,
            what,
            setting,
            binary,
            test,
            said,
        })
    }

    /// Where in the source the value stands.
    pub(super) fn place(&self, source: &str) -> Result<std::ops::Range<usize>> {
        let missing = || format!("{} has no {}", self.file, self.item);
        let (start, end) = match self.item.strip_prefix('.') {
            Some(field) => {
                let default = source.find("fn default() -> Self").with_context(missing)?;
                let key = format!(" {field}: ");
                let start = source[default..].find(&key).with_context(missing)?;
                (default + start + key.len(), ',')
            }
            None => {
                let key = format!("const {}: ", self.item);
                let declared = source.find(&key).with_context(missing)?;
                let equals = source[declared..].find('=').with_context(missing)?;
                (declared + equals + 1, ';')
            }
        };
        let length = value_length(&source[start..], end).with_context(missing)?;
        Ok(start..start + length)
    }

    /// The value as the source says it, on one line; of a `Limit` only the number.
    pub(super) fn value(&self, source: &str) -> Result<String> {
        let value = &source[self.place(source)?];
        let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
        let limit = value
            .strip_prefix("Limit::of(")
            .and_then(|rest| rest.rsplit_once(", "));
        Ok(match limit {
            Some((_, number)) => number.trim_end_matches([')', ',']).to_owned(),
            None => value,
        })
    }
}

/// Up to a delimiter that is not within brackets of any kind.
pub(super) fn value_length(text: &str, end: char) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ if c == end && depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

pub(super) fn bounds(list: &str) -> Result<Vec<Bound<'_>>> {
    list.lines()
        .enumerate()
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(at, line)| Bound::read(line).with_context(|| format!("{LIST}:{}", at + 1)))
        .collect()
}

/// Every source below a folder.
pub(super) fn sources(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// A source without comments and without its tests.
pub(super) fn code(source: &str) -> String {
    let lines = source.lines();
    let lines = lines.take_while(|line| *line != "mod tests {");
    let lines = lines.filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// A source with the texts on one line that go on at the next.
pub(super) fn joined(source: &str) -> String {
    let mut pieces = source.split("\\\n");
    let first = pieces.next().unwrap_or_default();
    pieces.fold(first.to_owned(), |text, piece| text + piece.trim_start())
}

pub(super) fn read(root: &Path, file: &str) -> Result<String> {
    fs::read_to_string(root.join(file)).with_context(|| file.to_owned())
}
