//! Into which partitions components are divided. It is said once, by whoever is first: what is
//! stored for a component has the number of its partition in its name.

use std::collections::BTreeSet;
use std::ops::Range;

use thiserror::Error;

use wasm_core::{ComponentId, ComponentPattern};

use crate::name::partition_of;

/// How many patterns may have partitions of their own.
pub const MOST_PINNED: usize = 16;

/// Why components are not divided like this.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidPins {
    /// A component could be in the partitions of both.
    #[error(
        "the patterns {one} and {other} may both match one component; those of --only and \
         --pinned must be equal or have nothing in common"
    )]
    Overlap {
        /// One pattern.
        one: String,
        /// The other.
        other: String,
    },
    /// There are too many.
    #[error(
        "{found} patterns are to have partitions of their own; there may be {MOST_PINNED} \
         (--only and --pinned)"
    )]
    TooMany {
        /// How many there are.
        found: usize,
    },
    /// A node is to own only what has no partitions of its own.
    #[error(
        "components that match {found} have no partitions of their own, which --only {found} \
         needs; {}", allowed(.pinned)
    )]
    NotPinned {
        /// What the node is to own.
        found: String,
        /// What has partitions of its own.
        pinned: Vec<String>,
    },
}

fn allowed(pinned: &[String]) -> String {
    match pinned.is_empty() {
        true => "nothing has".to_owned(),
        false => format!("these have: {}", pinned.join(", ")),
    }
}

/// Partitions, and patterns whose components have others of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Division {
    /// Of components that match no pattern.
    pub(crate) partitions: u16,
    pub(crate) pinned: Vec<ComponentPattern>,
}

impl Division {
    /// Into so many, with a quarter of that for each pattern besides.
    pub(crate) fn new(partitions: u16, pinned: Vec<ComponentPattern>) -> Self {
        Self { partitions, pinned }
    }

    fn of_a_pattern(&self) -> u16 {
        (self.partitions / 4).max(1)
    }

    /// How many partitions there are in all.
    pub(crate) fn count(&self) -> u16 {
        // At most 4,096 and four times that.
        self.partitions + self.pinned.len() as u16 * self.of_a_pattern()
    }

    /// The partitions of components that match no pattern, and then those of each pattern.
    pub(crate) fn pools(&self) -> Vec<Range<u16>> {
        let of_all = std::iter::once(0..self.partitions);
        let pinned = (0..self.pinned.len() as u16).map(|place| {
            let begin = self.partitions + place * self.of_a_pattern();
            begin..begin + self.of_a_pattern()
        });
        of_all.chain(pinned).collect()
    }

    /// In which of the pools a component is.
    pub(crate) fn pool_of(&self, id: &ComponentId) -> usize {
        let pinned = self.pinned.iter().position(|it| it.matches(id));
        pinned.map_or(0, |it| it + 1)
    }

    pub(crate) fn partition_of(&self, id: &ComponentId) -> u16 {
        match self.pool_of(id) {
            0 => partition_of(id, self.partitions),
            pool => {
                let before = (pool as u16 - 1) * self.of_a_pattern();
                self.partitions + before + partition_of(id, self.of_a_pattern())
            }
        }
    }

    /// The pools of these patterns, as another node says them.
    pub(crate) fn pools_of<'a>(
        &self,
        patterns: impl IntoIterator<Item = &'a String>,
    ) -> BTreeSet<usize> {
        let pool = |text: &String| {
            let place = self.pinned.iter().position(|it| it.to_string() == *text);
            place.map(|it| it + 1)
        };
        patterns.into_iter().filter_map(pool).collect()
    }

    /// Whether a node may own only components of these patterns.
    pub(crate) fn check_only(&self, only: &[ComponentPattern]) -> Result<(), InvalidPins> {
        let unknown = only.iter().find(|it| !self.pinned.contains(it));
        unknown.map_or(Ok(()), |found| {
            Err(InvalidPins::NotPinned {
                found: found.to_string(),
                pinned: self.pinned.iter().map(ToString::to_string).collect(),
            })
        })
    }
}

/// Each of these once, if no component can match two of them.
pub(crate) fn apart<'a>(
    patterns: impl IntoIterator<Item = &'a ComponentPattern>,
) -> Result<Vec<ComponentPattern>, InvalidPins> {
    let mut apart: Vec<ComponentPattern> = Vec::new();
    for pattern in patterns {
        if apart.contains(pattern) {
            continue;
        }
        if let Some(other) = apart.iter().find(|it| overlap(it, pattern)) {
            let (one, other) = (other.to_string(), pattern.to_string());
            return Err(InvalidPins::Overlap { one, other });
        }
        apart.push(pattern.clone());
    }
    match apart.len() {
        found if found > MOST_PINNED => Err(InvalidPins::TooMany { found }),
        _ => Ok(apart),
    }
}

fn overlap(one: &ComponentPattern, other: &ComponentPattern) -> bool {
    let (one, other) = (one.to_string(), other.to_string());
    let mut segments = one.split('/').zip(other.split('/'));
    segments.all(|(one, other)| globs_overlap(one.as_bytes(), other.as_bytes()))
}

/// Whether there is a text that both match: of each pair of their ends, from the shortest on.
fn globs_overlap(one: &[u8], other: &[u8]) -> bool {
    let mut ends = vec![vec![false; other.len() + 1]; one.len() + 1];
    for i in (0..=one.len()).rev() {
        for j in (0..=other.len()).rev() {
            let (a, b) = (one.get(i), other.get(j));
            ends[i][j] = match (a, b) {
                (None, None) => true,
                (Some(b'*'), _) if ends[i + 1][j] => true,
                (_, Some(b'*')) if ends[i][j + 1] => true,
                (Some(b'*'), Some(_)) => ends[i][j + 1],
                (Some(_), Some(b'*')) => ends[i + 1][j],
                (a, b) => a.is_some() && a == b && ends[i + 1][j + 1],
            };
        }
    }
    ends[0][0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> ComponentPattern {
        text.parse().unwrap()
    }

    fn id(text: &str) -> ComponentId {
        text.parse().unwrap()
    }

    #[test]
    fn patterns_are_apart_or_equal() {
        let patterns = ["shop/*/*", "demo/a*/*", "shop/*/*", "demo/b*/main"].map(pattern);
        assert_eq!(apart(&patterns).unwrap().len(), 3);
        for (one, other) in [
            ("shop/*/*", "*/*/*"),
            ("*/cart/*", "shop/*/main"),
            ("a*c/x/x", "*bc/x/x"),
            ("a*/x/x", "*b/x/x"),
            ("a**/x/x", "a/x/x"),
            ("a*b*c/x/x", "ab*bc/x/x"),
        ] {
            let found = apart(&[pattern(one), pattern(other)]);
            assert!(matches!(found, Err(InvalidPins::Overlap { .. })), "{one}");
            assert_eq!(
                apart(&[pattern(other), pattern(one)]).is_ok(),
                found.is_ok()
            );
        }
        for (one, other) in [
            ("shop/*/*", "shop2/*/*"),
            ("a*c/x/x", "a*d/x/x"),
            ("a*bb/x/x", "ab/x/x"),
            ("x/x/a", "x/*/b"),
        ] {
            assert!(apart(&[pattern(one), pattern(other)]).is_ok(), "{one}");
        }
        let many: Vec<_> = (0..17).map(|n| pattern(&format!("n{n}/*/*"))).collect();
        assert_eq!(apart(&many), Err(InvalidPins::TooMany { found: 17 }));
    }

    #[test]
    fn what_is_pinned_has_partitions_of_its_own_and_all_else_stays_where_it_is() {
        let division = Division::new(64, vec![pattern("shop/*/*"), pattern("gpu/*/*")]);
        assert_eq!(division.pools(), [0..64, 64..80, 80..96]);
        assert_eq!(division.count(), 96);
        let echo = id("demo/echo/main");
        assert_eq!(division.partition_of(&echo), partition_of(&echo, 64));
        let mut seen = BTreeSet::new();
        for n in 0..1_000 {
            let pinned = id(&format!("gpu/c/{n}"));
            assert_eq!(division.pool_of(&pinned), 2);
            seen.insert(division.partition_of(&pinned));
        }
        assert_eq!(seen, (80..96).collect());
        let least = Division::new(1, vec![pattern("shop/*/*")]);
        assert_eq!(least.partition_of(&id("shop/a/b")), 1);
    }

    #[test]
    fn a_node_owns_only_what_has_partitions_of_its_own() {
        let division = Division::new(64, vec![pattern("shop/*/*")]);
        assert_eq!(division.check_only(&[pattern("shop/*/*")]), Ok(()));
        let error = division.check_only(&[pattern("shop/cart/*")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "components that match shop/cart/* have no partitions of their own, which --only \
             shop/cart/* needs; these have: shop/*/*"
        );
        let said = ["shop/*/*".to_owned(), "other/*/*".to_owned()];
        assert_eq!(division.pools_of(&said), BTreeSet::from([1]));
    }
}
