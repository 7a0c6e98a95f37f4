//! The table of `docs/performance.md`, from what the benchmarks measured.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Between these lines the document is written by this command.
const BEGIN: &str = "<!-- measured by `cargo xtask performance` -->";
const END: &str = "<!-- end of what was measured -->";

/// What is measured beside what.
struct Table {
    /// What its figures are of, and what they are compared with.
    columns: [&'static str; 2],
    /// What a row says, and where criterion keeps its two figures.
    rows: &'static [(&'static str, &'static str, &'static str)],
}

const TABLES: [Table; 2] = [
    Table {
        columns: ["engine", "bare wasmtime"],
        rows: &[
            (
                "bytes to first answer (compile, instantiate, call)",
                "cold/engine",
                "cold/bare",
            ),
            (
                "fresh instance of a compiled component",
                "instantiate/engine",
                "instantiate/bare",
            ),
            (
                "first call of an instance",
                "first-call/engine",
                "first-call/bare",
            ),
            ("later calls, 0 B", "call/engine/0", "call/bare/0"),
            ("later calls, 64 B", "call/engine/64", "call/bare/64"),
            (
                "later calls, 64 KiB",
                "call/engine/65536",
                "call/bare/65536",
            ),
        ],
    },
    Table {
        columns: ["host", "engine alone"],
        rows: &[
            ("a request and its answer", "request/host", "request/engine"),
            ("1,000 messages", "messages/host", "messages/engine"),
        ],
    },
];

/// Runs the benchmarks, writes the table and returns it.
pub(crate) fn run(root: &Path) -> Result<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args([
            "bench",
            "--workspace",
            "--bench",
            "engine",
            "--bench",
            "host",
        ])
        .current_dir(root)
        .status()
        .context("cargo bench could not be started")?;
    ensure!(status.success(), "cargo bench failed");

    let measured = root.join("target/criterion");
    let mut tables = Vec::new();
    for Table { columns, rows } in TABLES {
        let [ours, other] = columns;
        let mut table = format!("| what | {ours} | {other} | ratio |\n|---|---|---|---|\n");
        for (what, ours, other) in rows {
            let (ours, other) = (median(&measured, ours)?, median(&measured, other)?);
            let (shown_ours, shown_other) = (duration(ours), duration(other));
            let ratio = ours / other;
            table.push_str(&format!(
                "| {what} | {shown_ours} | {shown_other} | {ratio:.2} |\n"
            ));
        }
        tables.push(table);
    }
    let tables = tables.join("\n");

    let file = root.join("docs/performance.md");
    let document =
        fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let written = replace_between(&document, &tables)
        .with_context(|| format!("{} lacks the lines {BEGIN} and {END}", file.display()))?;
    fs::write(&file, written).with_context(|| format!("writing {}", file.display()))?;
    Ok(tables)
}

fn median(measured: &Path, name: &str) -> Result<f64> {
    let file = measured.join(name).join("new/estimates.json");
    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let estimates: Value = serde_json::from_str(&text).context("criterion's estimates")?;
    estimates["median"]["point_estimate"]
        .as_f64()
        .with_context(|| format!("{} has no median", file.display()))
}

fn duration(nanos: f64) -> String {
    match nanos {
        n if n < 1e3 => format!("{n:.0} ns"),
        n if n < 1e6 => format!("{:.1} µs", n / 1e3),
        n => format!("{:.1} ms", n / 1e6),
    }
}

fn replace_between(document: &str, table: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{table}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_measured_is_replaced() {
        let document = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let written = replace_between(&document, "new\n").unwrap();
        assert_eq!(written, format!("before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"));
        assert_eq!(replace_between("nothing here", "new\n"), None);
    }

    #[test]
    fn figures_are_shown_in_a_fitting_unit() {
        assert_eq!(duration(712.4), "712 ns");
        assert_eq!(duration(9_140.0), "9.1 µs");
        assert_eq!(duration(6_500_000.0), "6.5 ms");
    }
}
