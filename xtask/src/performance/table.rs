//! What a benchmark has printed: a table with a row for each thing that was done in two ways.

use anyhow::{Context, Result, bail};

/// A row of the table.
#[derive(Debug, PartialEq)]
pub(super) struct Row {
    pub(super) what: String,
    /// Nanoseconds of both ways.
    pub(super) times: [f64; 2],
}

/// The rows of a table whose figures are times; others are passed over.
pub(super) fn rows(table: &str) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for line in table.lines().skip(2).filter(|line| line.starts_with('|')) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [what, ours, other, _] = cells[..] else {
            bail!("this is no row of four cells: {line}");
        };
        if !ours.contains(' ') {
            continue;
        }
        let times = [nanos(ours)?, nanos(other)?];
        let what = what.to_owned();
        rows.push(Row { what, times });
    }
    Ok(rows)
}

fn nanos(shown: &str) -> Result<f64> {
    let time = shown.split_once(' ').and_then(|(number, unit)| {
        let of_unit = match unit {
            "ns" => 1.0,
            "µs" => 1e3,
            "ms" => 1e6,
            _ => return None,
        };
        Some(number.parse::<f64>().ok()? * of_unit)
    });
    time.with_context(|| format!("{shown:?} is no time in ns, µs or ms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_the_unit_in_which_they_are_shown() {
        let table = "| what | ours | other | ratio |\n|---|---|---|---|\n\
                     | a | 764 ns | 1.5 µs | 0.51 |\n\
                     | calls a second | 200 | 100 | 2.00 |\n\
                     | b | 2.00 ms | 3 µs | 667 |\n";
        let row = |what: &str, times| Row {
            what: what.to_owned(),
            times,
        };
        assert_eq!(
            rows(table).unwrap(),
            [row("a", [764.0, 1.5e3]), row("b", [2e6, 3e3])]
        );
        for wrong in ["| a | 7 min | 1 ns | 1 |", "| a | 7 ns | 1 |"] {
            let table = format!("head\n---\n{wrong}\n");
            assert!(rows(&table).is_err(), "{wrong}");
        }
    }
}
