use serde::Deserialize;

use wasm_core::ComponentUsage;
use wasm_core::text::Escaped;
use wasm_core::units::format_count;
use wasm_host::ComponentStatus;

/// Of a terminal that is not wide.
const WIDTH: usize = 80;
/// What an id should have, whatever the other columns need.
const MIN_ID: usize = 16;
/// Versions are short unless someone is joking.
const MAX_VERSION: usize = 40;
const COLUMNS: usize = 8;

const HEADER: [&str; COLUMNS] = [
    "COMPONENT",
    "STATE",
    "HEALTH",
    "HANDLED",
    "WAIT",
    "FAIL",
    "FUEL",
    "MEMORY",
];
/// Texts, which begin on the left; numbers end on the right.
const TEXTS: usize = 3;

/// What a line tells of a component: of one in this process, or of one in another that tells
/// it as JSON.
#[derive(Debug, Deserialize)]
pub(crate) struct Entry {
    pub(crate) id: String,
    phase: String,
    health: String,
    handled: u64,
    waiting: u64,
    failures: u64,
    usage: Option<Used>,
}

#[derive(Debug, Deserialize)]
struct Used {
    total_fuel: u64,
    memory_bytes: u64,
}

impl Entry {
    /// Of id, phase and health; of messages that were handled and that wait, and failures; of
    /// fuel and memory, if there is an instance.
    pub(crate) fn new(texts: [&String; 3], counts: [u64; 3], usage: Option<(u64, u64)>) -> Self {
        let [id, phase, health] = texts.map(String::clone);
        let [handled, waiting, failures] = counts;
        let usage = usage.map(|(total_fuel, memory_bytes)| Used {
            total_fuel,
            memory_bytes,
        });
        Self {
            id,
            phase,
            health,
            handled,
            waiting,
            failures,
            usage,
        }
    }
}

impl From<&ComponentStatus> for Entry {
    fn from(status: &ComponentStatus) -> Self {
        let usage = status.usage.as_ref().map(|usage| Used {
            total_fuel: usage.total_fuel,
            memory_bytes: usage.memory_bytes,
        });
        Self {
            id: status.id.to_string(),
            phase: status.phase.to_string(),
            health: status.health.to_string(),
            handled: status.handled,
            waiting: status.waiting as u64,
            failures: status.failures,
            usage,
        }
    }
}

/// Components at one moment, one on a line. FUEL is that of all calls, MEMORY that of now.
pub(crate) fn components(entries: impl IntoIterator<Item = impl Into<Entry>>) -> String {
    let entries = entries.into_iter().map(Into::into);
    let rows: Vec<[String; COLUMNS]> = entries.map(|entry| row(&entry)).collect();
    table(&rows)
}

fn row(status: &Entry) -> [String; COLUMNS] {
    let usage = status.usage.as_ref();
    [
        Escaped::new(&status.id).to_string(),
        Escaped::new(&status.phase).to_string(),
        health(&status.health),
        short_count(status.handled),
        short_count(status.waiting),
        short_count(status.failures),
        or_none(usage.map(|usage| short_count(usage.total_fuel))),
        or_none(usage.map(|usage| short_size(usage.memory_bytes))),
    ]
}

/// All that is known of a component, one thing on a line.
pub(crate) fn component(status: &ComponentStatus) -> String {
    let usage = status.usage.as_ref();
    let count =
        |of: fn(&ComponentUsage) -> u64| or_none(usage.map(|usage| format_count(of(usage))));
    let size = |of: fn(&ComponentUsage) -> u64| or_none(usage.map(|usage| short_size(of(usage))));
    let version = status.version.as_deref();
    let cause = status.cause.as_ref();
    let lines = [
        ("component", status.id.to_string()),
        (
            "version",
            or_none(version.map(|version| Escaped::up_to(MAX_VERSION, version).to_string())),
        ),
        ("state", status.phase.to_string()),
        ("health", health(&status.health.to_string())),
        ("handled", format_count(status.handled)),
        ("waiting", format_count(status.waiting as u64)),
        ("failures", format_count(status.failures)),
        ("restarts", count(|usage| usage.restarts)),
        ("swaps", format_count(status.swaps)),
        ("fuel of all calls", count(|usage| usage.total_fuel)),
        ("fuel of the last", count(|usage| usage.last_call_fuel)),
        ("memory now", size(|usage| usage.memory_bytes)),
        ("memory at most", size(|usage| usage.peak_memory_bytes)),
        ("kept by the host", size(|usage| usage.kept.bytes)),
        ("last failure", or_none(cause.map(ToString::to_string))),
    ];
    let mut text = String::new();
    for (name, value) in lines {
        text += &format!("{name:<18}{value}\n");
    }
    text
}

/// As it was last told; `-` of one that was not asked, or could not tell.
fn health(told: &str) -> String {
    match told {
        "unknown" => or_none(None),
        told => Escaped::new(told).to_string(),
    }
}

fn or_none(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

fn table(rows: &[[String; COLUMNS]]) -> String {
    let mut widths = HEADER.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let others: usize = widths[1..].iter().sum();
    let left = |gap| WIDTH.saturating_sub(others + gap * (COLUMNS - 1));
    // Columns that stand close can be read, an id without its middle hardly.
    let gap = if left(2) < widths[0] { 1 } else { 2 };
    widths[0] = widths[0].min(left(gap).max(MIN_ID));
    let mut text = line(&HEADER.map(str::to_owned), &widths, gap);
    for row in rows {
        text += &line(row, &widths, gap);
    }
    text
}

fn line(cells: &[String; COLUMNS], widths: &[usize; COLUMNS], gap: usize) -> String {
    let mut line = elided(&cells[0], widths[0]);
    // The gap belongs to the column after it, and what is missing before it to the last.
    let mut missing = widths[0] - line.chars().count();
    for (i, (cell, width)) in cells.iter().zip(widths).enumerate().skip(1) {
        let padding = width - cell.chars().count();
        let (before, after) = if i < TEXTS {
            (0, padding)
        } else {
            (padding, 0)
        };
        line += &" ".repeat(missing + gap + before);
        line += cell;
        missing = after;
    }
    line.push('\n');
    line
}

/// Without its middle, if it is longer: the beginning and the end of an id tell more.
fn elided(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let head = kept.div_ceil(2);
    let (start, end): (String, String) = (
        text.chars().take(head).collect(),
        text.chars().skip(length - (kept - head)).collect(),
    );
    format!("{start}…{end}")
}

/// A count in six characters.
fn short_count(count: u64) -> String {
    if count < 10_000 {
        return format_count(count).replace('_', "");
    }
    let mut scaled = count as f64;
    for unit in ["k", "M", "G", "T", "P"] {
        scaled /= 1000.0;
        // What would be rounded to 1000.0 is one of the next.
        if scaled < 999.95 {
            return format!("{scaled:.1}{unit}");
        }
    }
    format!("{:.1}E", scaled / 1000.0)
}

/// A size in seven characters; what is below a page of memory does not count.
fn short_size(bytes: u64) -> String {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    if bytes < MIB {
        return format!("{}KiB", bytes / KIB);
    }
    format!("{:.1}MiB", bytes as f64 / MIB as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(id: &str, rest: [&str; COLUMNS - 1]) -> [String; COLUMNS] {
        let mut cells: [String; COLUMNS] = Default::default();
        cells[0] = id.to_owned();
        for (cell, text) in cells[1..].iter_mut().zip(rest) {
            *cell = text.to_owned();
        }
        cells
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [
            cells(
                "demo/counter/main",
                ["ready", "healthy", "3", "0", "0", "1204", "64KiB"],
            ),
            cells(
                "demo/t/main",
                ["quarantined", "-", "12.3M", "17", "1", "1.2G", "0KiB"],
            ),
        ];
        assert_eq!(
            table(&rows),
            "\
COMPONENT          STATE        HEALTH   HANDLED  WAIT  FAIL  FUEL  MEMORY
demo/counter/main  ready        healthy        3     0     0  1204   64KiB
demo/t/main        quarantined  -          12.3M    17     1  1.2G    0KiB
"
        );
    }

    #[test]
    fn an_endless_id_loses_its_middle() {
        let id = format!("{}/{}/main", "n".repeat(64), "x".repeat(64));
        let wide = [
            "quarantined",
            "unhealthy",
            "999.9k",
            "10.0k",
            "10.0k",
            "999.9k",
            "4096.0MiB",
        ];
        let narrow = ["ready", "-", "1", "0", "0", "1", "64KiB"];
        for rest in [narrow, wide] {
            let text = table(&[cells(&id, rest)]);
            let last = text.lines().last().unwrap();
            assert!(last.starts_with("nnnnnn") && last.contains("…") && last.contains("/main "));
            let longest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(longest <= WIDTH, "{longest}: {text}");
        }
        assert_eq!(elided("abcdefgh", 5), "ab…gh");
        assert_eq!(elided("abcdefgh", 8), "abcdefgh");
    }

    #[test]
    fn counts_are_short() {
        for (count, text) in [
            (0, "0"),
            (9_999, "9999"),
            (10_000, "10.0k"),
            (999_949, "999.9k"),
            (999_950, "1.0M"),
            (272_000_000, "272.0M"),
            (u64::MAX, "18.4E"),
        ] {
            assert_eq!(short_count(count), text);
            assert!(text.len() <= 6);
        }
    }

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0KiB"),
            ((64 << 10) + 16, "64KiB"),
            ((1 << 20) - 1, "1023KiB"),
            (1 << 20, "1.0MiB"),
            (3_500_000, "3.3MiB"),
        ] {
            assert_eq!(short_size(bytes), text);
        }
    }
}
