//! A copy of the source in which one bound or another can be raised when it runs, so that
//! it is built once for all of them.

use std::fmt::Write;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::list::{Bound, read, sources, value_length};

/// Names the bound to raise, as `FILE ITEM`.
const VARIABLE: &str = "AIRSSYS_WASM_RAISED_BOUND";

/// Where every crate and every test finds what raises.
const HOME: &str = "crates/wasm-core/src";

const RAISED: &str = r#"
use std::sync::LazyLock;
use std::time::Duration;

static WHICH: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("VARIABLE").ok());

pub trait Raise {
    fn raised(self) -> Self;
}

impl Raise for u32 {
    fn raised(self) -> Self {
        1 << 30
    }
}

impl Raise for usize {
    fn raised(self) -> Self {
        1 << 30
    }
}

impl Raise for u64 {
    fn raised(self) -> Self {
        1 << 40
    }
}

impl Raise for Duration {
    fn raised(self) -> Self {
        Duration::from_secs(1 << 20)
    }
}

pub fn raised<T: Raise>(bound: &str, value: T) -> T {
    match &*WHICH {
        Some(which) if which == bound => value.raised(),
        _ => value,
    }
}

pub fn leaked<T: Raise>(bound: &str, value: T) -> &'static T {
    Box::leak(Box::new(raised(bound, value)))
}
"#;

const RAISED_LIMIT: &str = "
impl ::wasm_core::raised::Raise for Limit {
    fn raised(self) -> Self {
        Self { most: 1 << 60, ..self }
    }
}
";

/// Changes the sources below `tree`, a copy. A line for each bound: the variable's value,
/// the folder of the test's crate, the test binary or `lib`, and the test.
pub(crate) fn raise(tree: &Path, bounds: &[Bound<'_>]) -> Result<String> {
    let mut files = Vec::new();
    sources(&tree.join("crates"), &mut files)?;
    for bound in bounds {
        let found = raise_one(tree, bound, &files)?;
        ensure!(
            found > 0,
            "{} of {} is used in constants only, which cannot be raised at run time",
            bound.item,
            bound.file
        );
    }
    let root = tree.join(HOME).join("lib.rs");
    let lib = fs::read_to_string(&root)?;
    // After the inner attributes and documentation, at the end.
    let lib = format!(
        "{lib}\nextern crate self as wasm_core;\n#[allow(missing_docs)]\npub mod raised;\n"
    );
    fs::write(root, lib)?;
    fs::write(
        tree.join(HOME).join("raised.rs"),
        RAISED.replace("VARIABLE", VARIABLE),
    )?;
    let process = tree.join("crates/wasm-runtime/src/compiler/process.rs");
    let source = fs::read_to_string(&process)?;
    let cleared = ".env_clear()";
    ensure!(
        source.contains(cleared),
        "a compiler is started without its environment"
    );
    let kept = format!(
        ".env_clear().envs(std::env::var_os({VARIABLE:?}).map(|bound| ({VARIABLE:?}, bound)))"
    );
    fs::write(&process, source.replace(cleared, &kept))?;
    let mut lines = String::new();
    for bound in bounds {
        let package = package(tree, bound)?;
        writeln!(
            lines,
            "{}\t{package}\t{}\t{}",
            key(bound),
            bound.binary,
            bound.test
        )?;
    }
    Ok(lines.trim_end().to_owned())
}

fn key(bound: &Bound<'_>) -> String {
    format!("{} {}", bound.file, bound.item)
}

/// The crate that has the test: that of the bound, or the one that has a test binary of
/// that name.
fn package(tree: &Path, bound: &Bound<'_>) -> Result<String> {
    let mut own = bound.file.split('/').skip(1);
    let own = own.next().unwrap_or_default().to_owned();
    let has = |package: &str| {
        let tests = tree.join("crates").join(package).join("tests");
        tests.join(bound.binary).join("main.rs").exists()
            || tests.join(format!("{}.rs", bound.binary)).exists()
    };
    if bound.binary == "lib" || has(&own) {
        return Ok(own);
    }
    for entry in fs::read_dir(tree.join("crates"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if has(&name) {
            return Ok(name);
        }
    }
    bail!("no crate has a test binary {}", bound.binary)
}

fn raise_one(tree: &Path, bound: &Bound<'_>, files: &[PathBuf]) -> Result<usize> {
    let path = tree.join(bound.file);
    let source = read(tree, bound.file)?;
    let key = key(bound);
    if let Some(field) = bound.item.strip_prefix('.') {
        let place = bound.place(&source)?;
        let mut changed = source.clone();
        changed.replace_range(place.clone(), &call("raised", &key, &source[place]));
        // Tests of a setting choose its value.
        let set = format!("self.{field} = ");
        let mut from = 0;
        while let Some(at) = changed[from..].find(&set) {
            let start = from + at + set.len();
            let end = start + changed[start..].find(';').context("a setter ends")?;
            let raised = call("raised", &key, &changed[start..end]);
            changed.replace_range(start..end, &raised);
            from = start + raised.len();
        }
        fs::write(path, changed)?;
        return Ok(1);
    }
    let declared = source
        .find(&format!("const {}: ", bound.item))
        .with_context(|| format!("{} has no {}", bound.file, bound.item))?;
    let line = source[..declared].rfind('\n').map_or(0, |at| at + 1);
    let visibility = source[line..declared].trim();
    let is_limit = source[declared..].starts_with(&format!("const {}: Limit", bound.item));
    let (_, rest) = bound.file.split_once('/').context("a file of a crate")?;
    let (package, _) = rest.split_once('/').context("a file of a crate")?;
    let package = tree.join("crates").join(package);
    let declares = format!("const {}:", bound.item);
    let mut found = 0;
    for file in files {
        let is_seen = match visibility {
            "" => *file == path,
            "pub" => true,
            _ => file.starts_with(&package),
        };
        if !is_seen {
            continue;
        }
        let mut text = fs::read_to_string(file)?;
        if *file != path && text.contains(&declares) {
            continue;
        }
        let places = uses(&text, bound.item);
        if places.is_empty() {
            if is_limit && *file == path && !text.contains(RAISED_LIMIT) {
                text.push_str(RAISED_LIMIT);
                fs::write(file, text)?;
            }
            continue;
        }
        found += places.len();
        for place in places.into_iter().rev() {
            let value = text[place.clone()].to_owned();
            let value = match is_limit {
                true => format!("(*{})", call("leaked", &key, &value)),
                false => call("raised", &key, &value),
            };
            text.replace_range(place, &value);
        }
        if is_limit && *file == path && !text.contains(RAISED_LIMIT) {
            text.push_str(RAISED_LIMIT);
        }
        fs::write(file, text)?;
    }
    Ok(found)
}

fn call(function: &str, key: &str, value: &str) -> String {
    format!("::wasm_core::raised::{function}({key:?}, {value})")
}

/// Where a constant is used, with the path before its name, except where its value has to
/// be known to the compiler: in constants, and in what is imported.
fn uses(text: &str, name: &str) -> Vec<Range<usize>> {
    let mut places = Vec::new();
    // Up to where all is constant.
    let mut constant = 0;
    for word in (Words { text, at: 0 }) {
        let rest = text[word.end..].trim_start();
        let is_item = match &text[word.clone()] {
            "use" => true,
            "const" | "static" => rest.starts_with(|c: char| c.is_ascii_uppercase() || c == '_'),
            _ => false,
        };
        if is_item && word.start >= constant {
            let item = &text[word.start..];
            let end = value_length(item, ';').unwrap_or(item.len());
            // A closure is run later.
            constant = word.start + item[..end].find("||").unwrap_or(end);
        }
        if &text[word.clone()] != name || word.start < constant || rest.starts_with("::") {
            continue;
        }
        let mut start = word.start;
        while let Some(before) = text[..start].strip_suffix("::") {
            let segment = before.trim_end_matches(|c: char| c.is_alphanumeric() || c == '_');
            start = segment.len();
        }
        places.push(start..word.end);
    }
    places
}

/// The words of a source that are code.
struct Words<'a> {
    text: &'a str,
    at: usize,
}

impl Iterator for Words<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        loop {
            let rest = &self.text[self.at..];
            let first = rest.chars().next()?;
            if rest.starts_with("//") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if first == '"' {
                self.at += 1 + string_length(&rest[1..]);
            } else if first == '\'' {
                self.at += quote_length(rest);
            } else if is_word(first) {
                let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                let word = self.at..self.at + length;
                self.at = word.end;
                let after = &rest[length..];
                let hashes = after.len() - after.trim_start_matches('#').len();
                if let "r" | "br" = &rest[..length]
                    && after[hashes..].starts_with('"')
                {
                    let end = format!("\"{}", "#".repeat(hashes));
                    let raw = &after[hashes + 1..];
                    self.at += hashes + 1 + raw.find(&end).map_or(raw.len(), |at| at + end.len());
                    continue;
                }
                return Some(word);
            } else {
                self.at += first.len_utf8();
            }
        }
    }
}

/// Up to and with the closing quote.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Of a character, or of the quote of a lifetime.
fn quote_length(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => {
            let end = text[3..].find('\'').unwrap_or(0);
            3 + end + 1
        }
        Some(_) => match chars.next() {
            Some((at, '\'')) => at + 1,
            _ => 1,
        },
        None => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_are_those_that_run() {
        let text = r##"
use a::LIMIT;
const LIMIT: usize = 1;
const OTHER: usize = LIMIT + 1;
static ALL: [&usize; 1] = [&LIMIT];
static LATER: L = L::new(|| f(LIMIT));
/// LIMIT
fn f<'a>() {
    // LIMIT
    let c = '"'; let d = '\''; let e = "LIMIT \" LIMIT"; let g = r#"" LIMIT"#;
    let h = x < super::b::LIMIT && LIMIT::no() && LIMIT_OF && [Self::LIMIT];
}
"##;
        let found: Vec<&str> = uses(text, "LIMIT")
            .into_iter()
            .map(|at| &text[at])
            .collect();
        assert_eq!(found, ["LIMIT", "super::b::LIMIT", "Self::LIMIT"]);
    }
}
