use std::fmt::{self, Display};

use anstyle::{AnsiColor, Style};

use wasm_core::text::{Escaped, is_invisible};
use wasm_core::units::format_bytes;

use crate::output;

const ERROR: Style = AnsiColor::BrightRed.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const NOTE: Style = AnsiColor::BrightCyan.on_default().bold();
const GUTTER: Style = AnsiColor::BrightBlue.on_default().bold();
const BOLD: Style = Style::new().bold();
const DIMMED: Style = Style::new().dimmed();

/// Longer lines do not help to find a place, they hide it.
const SHOWN_LINE_CHARS: usize = 160;
/// An operator may name a file as they like; a component's texts are cut earlier.
pub(super) const SHOWN_MESSAGE_CHARS: usize = 4096;

const NOTE_KIND: &str = "note";

/// Something to tell the user, in the manner of a compiler: what, where, why and
/// what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    severity: Severity,
    message: String,
    place: Option<String>,
    excerpt: Option<Box<Excerpt>>,
    remarks: Vec<(&'static str, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    Error,
    Warning,
    Note,
}

/// A line of a text and what on it is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excerpt {
    /// Without its end of line.
    pub(crate) line: String,
    /// Counted from 1; `None` for a text of one line, such as an argument.
    pub(crate) number: Option<usize>,
    /// Where the marked part begins, in characters.
    pub(crate) start: usize,
    /// How many characters are marked; at least one is.
    pub(crate) length: usize,
    /// Said beside the mark.
    pub(crate) label: String,
}

impl Report {
    pub(crate) fn error(message: impl Into<String>) -> Self {
        Self::new(Severity::Error, message)
    }

    pub(crate) fn warning(message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, message)
    }

    pub(crate) fn note(message: impl Into<String>) -> Self {
        Self::new(Severity::Note, message)
    }

    fn new(severity: Severity, message: impl Into<String>) -> Self {
        Self {
            severity,
            message: message.into(),
            place: None,
            excerpt: None,
            remarks: Vec::new(),
        }
    }

    /// Where it is: a file, with line and column if they are known.
    #[must_use]
    pub(crate) fn at(mut self, place: impl Display) -> Self {
        self.place = Some(place.to_string());
        self
    }

    /// A line that is too long to be shown is not kept either.
    #[must_use]
    pub(crate) fn with_excerpt(mut self, excerpt: Excerpt) -> Self {
        self.excerpt = excerpt.is_short().then(|| Box::new(excerpt));
        self
    }

    /// May have several lines.
    #[must_use]
    pub(crate) fn with_note(mut self, note: impl Into<String>) -> Self {
        self.remarks.push((NOTE_KIND, note.into()));
        self
    }

    #[must_use]
    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.remarks.push(("help", help.into()));
        self
    }

    /// Prints to standard error, in colours if that is a terminal that wants them. If
    /// nobody reads it, it may be dropped.
    pub(crate) fn print(&self) {
        output::note(self.to_string());
    }

    /// [`print`](Self::print) of what must not be lost, as the last that the program does.
    pub(crate) fn print_last(&self) {
        output::complain_last(self.to_string());
    }

    /// [`print`](Self::print) of what must not be lost: waits until it is written.
    pub(crate) async fn tell(&self) {
        output::complain(self.to_string()).await;
    }
}

/// With the codes for colours, and with the end of the last line.
impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (style, severity) = match self.severity {
            Severity::Error => (ERROR, "error"),
            Severity::Warning => (WARNING, "warning"),
            Severity::Note => (NOTE, "note"),
        };
        let message = Escaped::up_to(SHOWN_MESSAGE_CHARS, &self.message);
        writeln!(f, "{style}{severity}{style:#}{BOLD}: {message}{BOLD:#}")?;

        let number = self.excerpt.as_ref().and_then(|e| e.number);
        let margin = number.map_or(1, |n| n.to_string().len());
        if let Some(place) = &self.place {
            let place = Escaped::up_to(SHOWN_MESSAGE_CHARS, place);
            writeln!(f, "{:margin$}{GUTTER}-->{GUTTER:#} {place}", "")?;
        }
        if let Some(excerpt) = &self.excerpt {
            excerpt.write(f, margin, style)?;
        }
        // What to do comes last, wherever it was added.
        let notes = self.remarks.iter().filter(|(kind, _)| *kind == NOTE_KIND);
        let helps = self.remarks.iter().filter(|(kind, _)| *kind != NOTE_KIND);
        for (kind, text) in notes.chain(helps) {
            write!(
                f,
                "{:margin$} {GUTTER}={GUTTER:#} {BOLD}{kind}{BOLD:#}: ",
                ""
            )?;
            // "= note: " is what the further lines align with.
            let indent = margin + " = : ".len() + kind.len();
            for (i, line) in text.lines().enumerate() {
                let indent = if i == 0 { 0 } else { indent };
                let line = Escaped::up_to(SHOWN_MESSAGE_CHARS, line);
                writeln!(f, "{:indent$}{line}", "")?;
            }
        }
        Ok(())
    }
}

/// Everything that keeps a command from beginning; a manifest can be wrong in
/// several places.
#[derive(Debug)]
pub(crate) struct Problems(Vec<Report>);

impl Problems {
    pub(crate) fn print(&self) {
        self.0.iter().for_each(Report::print);
    }

    pub(crate) fn print_last(&self) {
        self.0.iter().for_each(Report::print_last);
    }

    pub(crate) async fn tell(&self) {
        for report in &self.0 {
            report.tell().await;
        }
    }
}

impl From<Report> for Problems {
    fn from(report: Report) -> Self {
        Self(vec![report])
    }
}

impl FromIterator<Report> for Problems {
    fn from_iter<I: IntoIterator<Item = Report>>(reports: I) -> Self {
        Self(reports.into_iter().collect())
    }
}

impl Extend<Report> for Problems {
    fn extend<I: IntoIterator<Item = Report>>(&mut self, reports: I) {
        self.0.extend(reports);
    }
}

impl IntoIterator for Problems {
    type Item = Report;
    type IntoIter = std::vec::IntoIter<Report>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Prints a line for who watches to standard error: what happens, not what to do. If
/// nobody reads it, it may be dropped.
pub(crate) fn aside(text: impl Display) {
    let text = text.to_string();
    let text = Escaped::up_to(SHOWN_MESSAGE_CHARS, &text);
    output::note(format!("{DIMMED}{text}{DIMMED:#}\n"));
}

impl Excerpt {
    fn is_short(&self) -> bool {
        self.line.chars().nth(SHOWN_LINE_CHARS).is_none()
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, margin: usize, style: Style) -> fmt::Result {
        // What cannot be seen takes the columns that it is spelled out in, so that the mark
        // is below what it means.
        let mut shown = String::new();
        let (mut start, mut length) = (0, 0);
        for (place, c) in self.line.chars().enumerate() {
            let spelled = match c {
                '\t' => " ".to_owned(),
                c if is_invisible(c) => c.escape_unicode().to_string(),
                c => c.to_string(),
            };
            let columns = spelled.chars().count();
            if place < self.start {
                start += columns;
            } else if place < self.start + self.length {
                length += columns;
            }
            shown += &spelled;
        }
        // Behind the end of the line.
        start += self.start.saturating_sub(self.line.chars().count());
        let number = self.number.map(|n| n.to_string()).unwrap_or_default();
        let mark = "^".repeat(length.max(1));
        let label = Escaped::new(&self.label);
        writeln!(f, "{:margin$} {GUTTER}|{GUTTER:#}", "")?;
        writeln!(f, "{GUTTER}{number:margin$} |{GUTTER:#} {shown}")?;
        let separator = if self.label.is_empty() { "" } else { " " };
        writeln!(
            f,
            "{:margin$} {GUTTER}|{GUTTER:#} {:start$}{style}{mark}{separator}{label}{style:#}",
            "", ""
        )
    }
}

/// A size for people: exact where that is short.
pub(crate) fn size(bytes: u64) -> String {
    const KIB: f64 = 1024.0;
    if bytes < 1024 || bytes.is_multiple_of(1024) {
        return format_bytes(bytes);
    }
    let bytes = bytes as f64;
    if bytes < KIB * KIB {
        format!("{:.1}KiB", bytes / KIB)
    } else {
        format!("{:.1}MiB", bytes / KIB / KIB)
    }
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;

    use super::*;

    fn plain(report: &Report) -> String {
        let text = report.to_string();
        strip_str(&text).to_string()
    }

    #[test]
    fn looks_like_a_compilers() {
        let report = Report::error("unknown key `memry`")
            .at("Component.toml:12:3")
            .with_excerpt(Excerpt {
                line: "\tmemry = \"2MiB\"".into(),
                number: Some(12),
                start: 1,
                length: 5,
                label: "here".into(),
            })
            .with_note("first\nsecond")
            .with_help("did you mean `memory`?");
        assert_eq!(
            plain(&report),
            "error: unknown key `memry`
  --> Component.toml:12:3
   |
12 |  memry = \"2MiB\"
   |  ^^^^^ here
   = note: first
           second
   = help: did you mean `memory`?
"
        );
    }

    #[test]
    fn an_argument_has_no_line_number() {
        let report = Report::warning("odd").with_excerpt(Excerpt {
            line: "f(1)".into(),
            number: None,
            start: 2,
            length: 0,
            label: "a number".into(),
        });
        assert_eq!(
            plain(&report),
            "warning: odd\n  |\n  | f(1)\n  |   ^ a number\n"
        );
    }

    #[test]
    fn what_is_long_is_shown_in_part_and_a_long_line_not_at_all() {
        let excerpt = |chars: usize| Excerpt {
            line: "l".repeat(chars),
            number: None,
            start: 0,
            length: 1,
            label: "here".into(),
        };
        let long = "x".repeat(10_000);
        let report = Report::error(&long).at(&long).with_help(&long);
        let text = plain(&report.with_excerpt(excerpt(161)));
        assert_eq!(text.matches('x').count(), 3 * 4096);
        assert!(!text.contains("ll"), "{text}");
        let text = plain(&Report::error("").with_excerpt(excerpt(160)));
        assert!(text.contains("ll"), "{text}");
    }

    #[test]
    fn nobody_elses_control_characters_reach_the_terminal() {
        let report = Report::note("a\u{1b}[2Jb\nc\u{200b}")
            .at("x\u{7}.toml")
            .with_excerpt(Excerpt {
                line: "k\u{1b}".into(),
                number: Some(1),
                start: 0,
                length: 1,
                label: "\u{1b}".into(),
            })
            .with_help("\u{1b}");
        let text = plain(&report);
        assert!(!text.contains(['\u{1b}', '\u{7}']), "{text:?}");
        assert!(
            text.starts_with("note: a\\u{1b}[2Jb\\u{a}c\\u{200b}\n"),
            "{text}"
        );
    }

    #[test]
    fn what_cannot_be_seen_is_spelled_out_in_a_line_and_the_mark_stays_below() {
        let report = |line: &str, start, length| {
            let line = line.to_owned();
            plain(&Report::error("odd").with_excerpt(Excerpt {
                line,
                number: None,
                start,
                length,
                label: String::new(),
            }))
        };
        assert_eq!(
            report("a\u{200b} = 1\u{ad}2 # é", 5, 3),
            "error: odd\n  |\n  | a\\u{200b} = 1\\u{ad}2 # é\n  |             ^^^^^^^^\n"
        );
        assert_eq!(report("ab", 2, 0), "error: odd\n  |\n  | ab\n  |   ^\n");
    }

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (64 << 10, "64KiB"),
            ((64 << 10) + 16, "64.0KiB"),
            (9255, "9.0KiB"),
            (3_500_000, "3.3MiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn an_endless_line_is_not_shown() {
        let report = Report::error("long").with_excerpt(Excerpt {
            line: "x".repeat(1000),
            number: Some(1),
            start: 999,
            length: 1,
            label: String::new(),
        });
        assert_eq!(plain(&report), "error: long\n");
    }
}
