//! The figures and pictures of `docs/performance.md`, from what the benchmarks measured.

mod plot;
mod table;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use self::plot::Plot;
use self::table::rows;

/// Where a benchmark's table stands in the document: between two lines that name it.
struct Section {
    name: &'static str,
    chore: &'static str,
    cargo: &'static [&'static str],
}

const RATIOS: Section = Section {
    name: "ratios",
    chore: "performance",
    cargo: &["bench", "--workspace", "--bench", "ratios"],
};

const HOST: Section = Section {
    name: "host",
    chore: "performance",
    cargo: &["bench", "--workspace", "--bench", "host"],
};

const PEERS: Section = Section {
    name: "peers",
    chore: "performance --peers",
    cargo: &[
        "run",
        "--release",
        "--manifest-path",
        "bench/peers/Cargo.toml",
    ],
};

/// Runs the benchmarks and writes what they print into the document, with pictures beside it.
pub(crate) fn run(root: &Path) -> Result<String> {
    record(root, &[RATIOS, HOST])
}

/// The same for the comparison with peers, which nothing else of the repository compiles.
pub(crate) fn peers(root: &Path) -> Result<String> {
    record(root, &[PEERS])
}

fn record(root: &Path, sections: &[Section]) -> Result<String> {
    let file = root.join("docs/performance.md");
    let mut printed = String::new();
    for section in sections {
        let table = section.measure(root)?;
        let document =
            fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let document = section.write(&document, &table)?;
        fs::write(&file, document).with_context(|| format!("writing {}", file.display()))?;
        if section.name == RATIOS.name {
            draw(root, &table)?;
        }
        printed.push_str(&table);
        printed.push('\n');
    }
    Ok(printed)
}

fn draw(root: &Path, table: &str) -> Result<()> {
    let rows = rows(table)?;
    let payloads = Plot::of_rows("A call, by its payload", &rows, &[("a call with ", "", "")]);
    let residents = Plot::of_rows(
        "One call each, by how many there are",
        &rows,
        &[
            ("one call each of ", " residents", ""),
            ("one call each of ", " residents, dense", ", dense"),
        ],
    );
    let compiled = Plot::of_rows(
        "From bytes to first answer, compiled",
        &rows,
        &[("bytes to first answer, compiled, ", "", "")],
    );
    let kept = Plot::of_rows(
        "From bytes to first answer, compiled before",
        &rows,
        &[("bytes to first answer, compiled before, ", "", "")],
    );
    let folder = root.join("docs/performance");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    payloads.draw(&folder.join("payloads.svg"))?;
    compiled.draw(&folder.join("compiled.svg"))?;
    kept.draw(&folder.join("kept.svg"))?;
    residents.draw(&folder.join("residents.svg"))
}

impl Section {
    fn lines(&self) -> [String; 2] {
        let Self { name, chore, .. } = self;
        [
            format!("<!-- {name}: measured by `cargo xtask {chore}` -->"),
            format!("<!-- {name}: end of what was measured -->"),
        ]
    }

    fn measure(&self, root: &Path) -> Result<String> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(self.cargo)
            .current_dir(root)
            .stderr(Stdio::inherit())
            .output()
            .context("cargo could not be started")?;
        ensure!(output.status.success(), "cargo {:?} failed", self.cargo);
        let text = String::from_utf8(output.stdout).context("what it printed is no text")?;
        let table: Vec<_> = text.lines().filter(|line| line.starts_with('|')).collect();
        ensure!(table.len() > 2, "cargo {:?} printed no table", self.cargo);
        Ok(table.join("\n") + "\n")
    }

    fn write(&self, document: &str, table: &str) -> Result<String> {
        let [begin, end] = self.lines();
        let around = document.split_once(&begin).and_then(|(before, rest)| {
            let (_, after) = rest.split_once(&end)?;
            Some((before, after))
        });
        let (before, after) = around
            .with_context(|| format!("docs/performance.md lacks the lines {begin} and {end}"))?;
        Ok(format!("{before}{begin}\n\n{table}\n{end}{after}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_measured_is_replaced() {
        let [begin, end] = HOST.lines();
        let document = format!("before\n{begin}\nold\n{end}\nafter\n");
        let written = HOST.write(&document, "new\n").unwrap();
        assert_eq!(written, format!("before\n{begin}\n\nnew\n\n{end}\nafter\n"));
        let error = RATIOS.write(&document, "new\n").unwrap_err();
        assert!(error.to_string().contains("<!-- ratios: "), "{error}");
        let [begin, _] = PEERS.lines();
        assert!(
            begin.contains("`cargo xtask performance --peers`"),
            "{begin}"
        );
    }

    #[test]
    fn a_picture_has_a_line_for_each_way() {
        let table = "| what | engine | bare wasmtime | ratio |\n|---|---|---|---|\n\
                     | a call with 0 B | 2 µs | 1 µs | 2 |\n\
                     | a call with 64 B | 3 µs | 2 µs | 1.5 |\n\
                     | a restart | 3 µs | 2 µs | 1.5 |\n";
        let rows = rows(table).unwrap();
        let plot = Plot::of_rows("Calls", &rows, &[("a call with ", "", "")]);
        assert_eq!(plot.points, ["0 B", "64 B"]);
        let line = |name: &str, times: [f64; 2]| (name.to_owned(), times.to_vec());
        assert_eq!(
            plot.lines,
            [
                line("engine", [2e3, 3e3]),
                line("bare wasmtime", [1e3, 2e3])
            ]
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("calls.svg");
        plot.draw(&file).unwrap();
        let drawn = fs::read_to_string(file).unwrap();
        for part in ["Calls", "64 B", "bare wasmtime", "<polyline"] {
            assert!(drawn.contains(part), "{part} is not in {drawn}");
        }
    }
}
