use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::{self, Display};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::spans::Place;
use crate::text::{Escaped, EscapedPath};

/// Everything that is wrong with one manifest, in the order of the text; never
/// nothing.
///
/// Prints one problem per line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestErrors {
    problems: Vec<ManifestProblem>,
    omitted: usize,
}

/// Those that are told of, in the end the first of the text; of the others, how many there are.
#[derive(Debug, Default)]
pub(super) struct Problems {
    kept: Vec<ManifestProblem>,
    omitted: usize,
}

impl Problems {
    pub(super) fn add(&mut self, problem: ManifestProblem) -> &mut ManifestProblem {
        if self.kept.len() >= 2 * ManifestErrors::MAX_PROBLEMS {
            self.omit();
        }
        self.kept.push_mut(problem)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    fn omit(&mut self) {
        self.kept.sort_by_key(|problem| problem.span.start);
        let most = ManifestErrors::MAX_PROBLEMS;
        self.omitted += self.kept.len().saturating_sub(most);
        self.kept.truncate(most);
    }
}

impl ManifestErrors {
    /// So many are told of one manifest: a file with more is none.
    pub const MAX_PROBLEMS: usize = 100;

    pub(super) fn new(mut problems: Problems, source: &str, file: &Path) -> Self {
        problems.omit();
        for problem in &mut problems.kept {
            problem.locate(source, file);
        }
        // A parser says of each of many brackets that nothing closes it.
        let mut told = BTreeSet::new();
        problems.kept.retain(|problem| match &problem.found {
            Found::NotToml(complaint) => told.insert((problem.line, complaint.clone())),
            _ => true,
        });
        Self {
            problems: problems.kept,
            omitted: problems.omitted,
        }
    }

    /// Each of them, up to 100.
    pub fn problems(&self) -> &[ManifestProblem] {
        &self.problems
    }

    /// How many more there are.
    pub fn omitted(&self) -> usize {
        self.omitted
    }
}

impl Display for ManifestErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            let separator = if i == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        if self.omitted > 0 {
            write!(f, "\nand {} more", self.omitted)?;
        }
        Ok(())
    }
}

impl Error for ManifestErrors {}

/// One thing that is wrong with a manifest.
///
/// Prints on one line, place first: `Component.toml:7:10: ...`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ManifestProblem {
    /// The manifest, as it was named to the parser.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What in the text to point at, in bytes from its start and on characters'
    /// boundaries; empty where something is missing at the end.
    pub span: Range<usize>,
    /// With its sections, as in `resources.memory`; `None` for a text that is not
    /// TOML.
    pub key: Option<String>,
    /// What is there.
    pub found: Found,
    /// What should be there instead; empty for a text that is not TOML.
    pub allowed: String,
    /// What would probably mend it.
    pub help: Option<String>,
}

/// What is there where a manifest is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Found {
    /// A value of the wrong type or out of range, as it should be shown.
    Value(String),
    /// A key that nobody reads.
    UnknownKey,
    /// A key that was there before.
    DuplicateKey,
    /// Nothing, although the key is required.
    Nothing,
    /// What the parser says about a text that is not TOML.
    NotToml(String),
}

impl Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => write!(f, "found {value}"),
            Self::UnknownKey => f.write_str("unknown key"),
            Self::DuplicateKey => f.write_str("duplicate key"),
            Self::Nothing => f.write_str("missing"),
            Self::NotToml(complaint) => write!(f, "not TOML: {}", Escaped::new(complaint)),
        }
    }
}

impl ManifestProblem {
    pub(super) fn new(
        span: Range<usize>,
        key: Option<String>,
        found: Found,
        allowed: impl Into<String>,
    ) -> Self {
        Self {
            file: PathBuf::new(),
            line: 0,
            column: 0,
            span,
            key,
            found,
            allowed: allowed.into(),
            help: None,
        }
    }

    fn locate(&mut self, source: &str, file: &Path) {
        let start = source.floor_char_boundary(self.span.start);
        let end = source.ceil_char_boundary(self.span.end.max(start));
        let place = Place::of(source, start);
        self.file = file.to_owned();
        self.line = place.line;
        self.column = place.column;
        self.span = start..end;
    }

    /// What is wrong, without the place and the help.
    pub fn message(&self) -> String {
        let mut message = String::new();
        if let Some(key) = &self.key {
            message = format!("`{key}`: ");
        }
        message += &self.found.to_string();
        if !self.allowed.is_empty() {
            message += "; allowed: ";
            message += &self.allowed;
        }
        message
    }
}

impl Display for ManifestProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, message) = (EscapedPath(&self.file), self.message());
        write!(f, "{file}:{}:{}: {message}", self.line, self.column)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

/// The candidate that `found` is most likely a slip of, if any.
pub(super) fn closest<'c>(found: &str, candidates: &[&'c str]) -> Option<&'c str> {
    // Longer than any candidate could be mistyped into.
    if found.len() > 40 {
        return None;
    }
    let plain = |text: &str| text.to_ascii_lowercase().replace('_', "-");
    let found = plain(found);
    candidates
        .iter()
        .map(|candidate| (edit_distance(&found, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that lead from one
/// text to the other.
fn edit_distance(from: &str, to: &str) -> usize {
    let (from, to) = (from.as_bytes(), to.as_bytes());
    let mut rows = vec![vec![0; to.len() + 1]; from.len() + 1];
    rows[0] = (0..=to.len()).collect();
    for i in 1..=from.len() {
        rows[i][0] = i;
        for j in 1..=to.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            let swap = i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1];
            rows[i][j] = if swap {
                best.min(rows[i - 2][j - 2] + 1)
            } else {
                best
            };
        }
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{every, snapshot};

    #[test]
    fn what_is_found_is_said_on_one_line() {
        let found = every!(
            Found,
            Value("integer 5".to_owned()),
            UnknownKey,
            DuplicateKey,
            Nothing,
            NotToml("expected\nnothing".to_owned()),
        );
        snapshot("manifest-found", found);
    }

    #[test]
    fn distances_count_single_slips() {
        for (from, to, distance) in [
            ("", "", 0),
            ("", "abc", 3),
            ("memory", "memory", 0),
            ("memmory", "memory", 1),
            ("memry", "memory", 1),
            ("nemory", "memory", 1),
            ("mmeory", "memory", 1),
            ("emmory", "memory", 1),
            ("memoyr", "memory", 1),
            ("emmoyr", "memory", 2),
            ("fuel", "memory", 6),
        ] {
            assert_eq!(edit_distance(from, to), distance, "{from} {to}");
            assert_eq!(edit_distance(to, from), distance, "{to} {from}");
        }
    }

    #[test]
    fn a_slip_finds_what_was_meant() {
        let keys = ["memory", "fuel", "timeout", "max-restarts", "env"];
        for (found, meant) in [
            ("memmory", Some("memory")),
            ("Memory", Some("memory")),
            ("mmemmory", Some("memory")),
            ("mmmemmory", None),
            ("time-out", Some("timeout")),
            ("max_restarts", Some("max-restarts")),
            ("evn", Some("env")),
            ("cpu", None),
            ("", None),
            ("größe", None),
        ] {
            assert_eq!(closest(found, &keys), meant, "{found}");
        }
        assert_eq!(closest(&"m".repeat(1 << 20), &keys), None);
    }

    #[test]
    fn nothing_is_a_slip_that_is_longer_than_any_key() {
        for (length, meant) in [(40, true), (41, false), (42, false)] {
            let key = "m".repeat(length);
            let candidates = [&*key];
            let found = closest(&key, &candidates);
            assert_eq!(found, meant.then_some(&*key), "{length}");
        }
    }
}
