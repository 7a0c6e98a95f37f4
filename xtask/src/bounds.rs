//! The bounds of what a component can make a host do or hold: a table of them in
//! `SECURITY.md`, made from `xtask/bounds.txt` and the source.

mod list;
mod raise;

use std::fmt::Write;
use std::fs;
use std::path::{Component, Path};

use anyhow::{Context, Result, ensure};

use list::{LIST, bounds, code, joined, read, sources};

const DOCUMENT: &str = "SECURITY.md";
const BEGIN: &str = "<!-- Made by `cargo xtask bounds`. -->\n";
const END: &str = "<!-- End of what was made. -->\n";

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

/// Makes a copy of the workspace one in which each bound can be raised when it runs.
pub(crate) fn raise(root: &Path, tree: &str) -> Result<String> {
    let list = read(root, LIST)?;
    raise::raise(Path::new(tree), &bounds(&list)?)
}

fn document(root: &Path) -> Result<(usize, String)> {
    let list = read(root, LIST)?;
    let bounds = bounds(&list)?;
    let (mut said, mut tests) = (String::new(), String::new());
    let mut files = Vec::new();
    sources(&root.join("crates"), &mut files)?;
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        tests += &text;
        let parts = || file.components().map(Component::as_os_str);
        if parts().any(|part| part == "src")
            && parts().all(|part| part != "tests" && part != "tests.rs")
        {
            said += &joined(&code(&text));
        }
    }
    let mut table = String::from(
        "| bounded | default | setting | what is said | in | test |\n|---|---|---|---|---|---|\n",
    );
    for bound in &bounds {
        let value = bound.value(&read(root, bound.file)?)?;
        let (_, name) = bound.test.rsplit_once("::").unwrap_or(("", bound.test));
        ensure!(
            tests.contains(&format!("fn {name}")),
            "{} is to be tested by {}, and there is no such test",
            bound.item,
            bound.test
        );
        let text = match bound.said.strip_prefix("- ") {
            Some(reason) => format!("nothing: {reason}"),
            None => {
                ensure!(
                    said.contains(bound.said),
                    "{} is to be told of as `{}`, which stands nowhere in the source",
                    bound.item,
                    bound.said
                );
                format!("`{}`", bound.said)
            }
        };
        let setting = if bound.setting == "-" {
            ""
        } else {
            bound.setting
        };
        let item = bound.item.trim_start_matches('.');
        let file = bound.file.trim_start_matches("crates/");
        writeln!(
            table,
            "| {} | `{value}` | {setting} | {text} | `{item}`, {file} | `{name}` |",
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

#[cfg(test)]
mod tests {
    use super::list::Bound;
    use super::*;

    fn value(item: &str, source: &str) -> Result<String, String> {
        let line = format!("a.rs | {item} | things | - | lib | test | -");
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
    fn what_is_said_is_said_by_code() {
        let source = "a\n    // b\nc\n#[cfg(test)]\nmod tests {\n    d\n}\n";
        assert_eq!(code(source), "a\nc\n#[cfg(test)]\n");
    }

    #[test]
    fn a_text_is_read_over_the_ends_of_lines() {
        assert_eq!(joined("a \\\n    b \\\n c\nd"), "a b c\nd");
    }

    #[test]
    fn a_line_has_seven_fields() {
        let error = Bound::read("a | b").err().map(|error| error.to_string());
        assert_eq!(
            error.as_deref(),
            Some("there are seven fields, and this has 2")
        );
    }
}
