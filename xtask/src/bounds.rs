//! The bounds of what a component can make a host do or hold: a table of them in
//! `SECURITY.md`, made from `xtask/bounds.txt` and the source.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

const LIST: &str = "xtask/bounds.txt";
const DOCUMENT: &str = "SECURITY.md";
const BEGIN: &str = "<!-- Made by `cargo xtask bounds`. -->\n";
const END: &str = "<!-- End of what was made. -->\n";

/// A line of the list.
struct Bound<'a> {
    file: &'a str,
    item: &'a str,
    what: &'a str,
    setting: &'a str,
    binary: &'a str,
    test: &'a str,
}

impl<'a> Bound<'a> {
    fn read(line: &'a str) -> Result<Self> {
        let fields: Vec<&str> = line.split(" | ").map(str::trim).collect();
        let [file, item, what, setting, binary, test] = fields[..] else {
            bail!("there are six fields, and this has {}", fields.len());
        };
        Ok(Self {
            file,
            item,
            what,
            setting,
            binary,
            test,
        })
    }

    /// Where in the source the value stands.
    fn place(&self, source: &str) -> Result<std::ops::Range<usize>> {
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
    fn value(&self, source: &str) -> Result<String> {
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

/// Up to a delimiter that is not within parentheses.
fn value_length(text: &str, end: char) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if c == end && depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

/// Puts the table into `SECURITY.md`.
pub(crate) fn write(root: &Path) -> Result<String> {
    let (count, document) = document(root)?;
    fs::write(root.join(DOCUMENT), document).with_context(|| DOCUMENT)?;
    Ok(format!("{count} bounds in {DOCUMENT}"))
}

/// Whether what is there is what would be written.
pub(crate) fn check(root: &Path) -> Result<String> {
    let (count, document) = document(root)?;
    ensure!(
        read(root, DOCUMENT)? == document,
        "the table in {DOCUMENT} is not of the source as it is: `cargo xtask bounds` writes it"
    );
    Ok(format!("{count} bounds, each with its test"))
}

/// For a script: a line for each, `FILE ITEM START END BINARY TEST`, where its value
/// stands in bytes.
pub(crate) fn list(root: &Path) -> Result<String> {
    let mut lines = String::new();
    let list = read(root, LIST)?;
    for bound in bounds(&list)? {
        let place = bound.place(&read(root, bound.file)?)?;
        writeln!(
            lines,
            "{} {} {} {} {} {}",
            bound.file, bound.item, place.start, place.end, bound.binary, bound.test
        )?;
    }
    Ok(lines.trim_end().to_owned())
}

fn bounds(list: &str) -> Result<Vec<Bound<'_>>> {
    list.lines()
        .enumerate()
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(at, line)| Bound::read(line).with_context(|| format!("{LIST}:{}", at + 1)))
        .collect()
}

fn document(root: &Path) -> Result<(usize, String)> {
    let list = read(root, LIST)?;
    let bounds = bounds(&list)?;
    let mut tests = String::new();
    collect(&root.join("crates"), &mut tests)?;
    let mut table =
        String::from("| bounded | default | setting | in | test |\n|---|---|---|---|---|\n");
    for bound in &bounds {
        let value = bound.value(&read(root, bound.file)?)?;
        let (_, name) = bound.test.rsplit_once("::").unwrap_or(("", bound.test));
        ensure!(
            tests.contains(&format!("fn {name}")),
            "{} is to be tested by {}, and there is no such test",
            bound.item,
            bound.test
        );
        let setting = if bound.setting == "-" {
            ""
        } else {
            bound.setting
        };
        let item = bound.item.trim_start_matches('.');
        let file = bound.file.trim_start_matches("crates/");
        writeln!(
            table,
            "| {} | `{value}` | {setting} | `{item}`, {file} | `{name}` |",
            bound.what
        )?;
    }
    let document = read(root, DOCUMENT)?;
    let (before, rest) = document
        .split_once(BEGIN)
        .with_context(|| format!("{DOCUMENT} has no line `{}`", BEGIN.trim_end()))?;
    let (_, after) = rest
        .split_once(END)
        .with_context(|| format!("{DOCUMENT} has no line `{}`", END.trim_end()))?;
    Ok((
        bounds.len(),
        format!("{before}{BEGIN}\n{table}\n{END}{after}"),
    ))
}

/// The text of every source below a folder.
fn collect(folder: &Path, texts: &mut String) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, texts)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            *texts += &fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

fn read(root: &Path, file: &str) -> Result<String> {
    fs::read_to_string(root.join(file)).with_context(|| file.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(item: &str, source: &str) -> Result<String, String> {
        let line = format!("a.rs | {item} | things | - | lib | test");
        let bound = Bound::read(&line).unwrap();
        bound.value(source).map_err(|error| error.to_string())
    }

    #[test]
    fn a_value_is_read_where_it_is_declared() {
        let source = "const A: u64 = 1 << 4;\nconst B: Limit =\n    Limit::of(\"things\", 1 << 5);\n\
            fn default() -> Self { Self { c: f(1, 2), d: 3, } }";
        assert_eq!(value("A", source).as_deref(), Ok("1 << 4"));
        assert_eq!(value("B", source).as_deref(), Ok("1 << 5"));
        assert_eq!(value(".c", source).as_deref(), Ok("f(1, 2)"));
        assert_eq!(value(".d", source).as_deref(), Ok("3"));
        assert_eq!(value("E", source), Err("a.rs has no E".to_owned()));
    }

    #[test]
    fn a_line_has_six_fields() {
        let error = Bound::read("a | b").err().map(|error| error.to_string());
        assert_eq!(
            error.as_deref(),
            Some("there are six fields, and this has 2")
        );
    }
}
