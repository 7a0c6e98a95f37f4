use std::fmt::{self, Debug, Display};
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use crate::text::Quoted;

/// Who a component is: `namespace/name/instance`.
///
/// A segment is 1 to 64 bytes of `[A-Za-z0-9._-]` and not `.` or `..`, so that an
/// id is safe as a file path, as a storage key and in a log line. Cloning shares
/// the texts.
#[derive(Clone)]
pub struct ComponentId(Arc<Texts>);

struct Texts {
    whole: Box<str>,
    segments: [Arc<str>; 3],
}

impl ComponentId {
    /// The longest segment, in bytes.
    pub const MAX_SEGMENT_BYTES: usize = 64;

    /// # Errors
    /// [`InvalidComponentId`] names the segment at fault.
    pub fn new(namespace: &str, name: &str, instance: &str) -> Result<Self, InvalidComponentId> {
        check_segment("namespace", namespace)?;
        check_segment("name", name)?;
        check_segment("instance", instance)?;
        Ok(Self(Arc::new(Texts {
            whole: format!("{namespace}/{name}/{instance}").into(),
            segments: [namespace.into(), name.into(), instance.into()],
        })))
    }

    /// The first segment.
    pub fn namespace(&self) -> &str {
        &self.0.segments[0]
    }

    /// The second segment.
    pub fn name(&self) -> &str {
        &self.0.segments[1]
    }

    /// The third segment.
    pub fn instance(&self) -> &str {
        &self.0.segments[2]
    }

    /// Namespace, name and instance, to be shared where they must be owned.
    pub fn segments(&self) -> &[Arc<str>; 3] {
        &self.0.segments
    }

    /// The whole id, as [`Display`] prints it and [`FromStr`] reads it.
    pub fn as_str(&self) -> &str {
        &self.0.whole
    }
}

fn check_segment(segment: &'static str, text: &str) -> Result<(), InvalidComponentId> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let fits = (1..=ComponentId::MAX_SEGMENT_BYTES).contains(&text.len());
    if fits && text != "." && text != ".." && text.bytes().all(allowed) {
        return Ok(());
    }
    Err(InvalidComponentId::Segment {
        segment,
        found: text.to_owned(),
    })
}

impl FromStr for ComponentId {
    type Err = InvalidComponentId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut segments = text.split('/');
        match (
            segments.next(),
            segments.next(),
            segments.next(),
            segments.next(),
        ) {
            (Some(namespace), Some(name), Some(instance), None) => {
                Self::new(namespace, name, instance)
            }
            _ => Err(InvalidComponentId::Segments {
                found: text.to_owned(),
                count: text.split('/').count(),
            }),
        }
    }
}

impl Display for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Debug for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ComponentId({self})")
    }
}

impl PartialEq for ComponentId {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.as_str() == other.as_str()
    }
}

impl Eq for ComponentId {}

impl PartialOrd for ComponentId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ComponentId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for ComponentId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

/// Why a text is not a [`ComponentId`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidComponentId {
    /// Not three segments.
    Segments {
        /// The whole text.
        found: String,
        /// How many segments it has.
        count: usize,
    },
    /// A segment that is empty, too long, `.`, `..` or has a character that is not allowed.
    Segment {
        /// `namespace`, `name` or `instance`.
        segment: &'static str,
        /// The segment's text.
        found: String,
    },
}

impl Display for InvalidComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segments { found, count } => write!(
                f,
                "component id {} has {count} segment{}; an id is `namespace/name/instance`",
                Quoted::new(found),
                if *count == 1 { "" } else { "s" },
            ),
            Self::Segment { segment, found } => write!(
                f,
                "the {segment} {} of a component id is not allowed; a segment is 1 to {} of the \
                 characters [A-Za-z0-9._-], and not \".\" or \"..\"",
                Quoted::new(found),
                ComponentId::MAX_SEGMENT_BYTES,
            ),
        }
    }
}

impl std::error::Error for InvalidComponentId {}

/// One loaded component of one engine.
///
/// The number tells apart instances that share an id. An engine never gives the
/// same number twice.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ComponentHandle {
    id: ComponentId,
    handle_id: u64,
}

impl ComponentHandle {
    /// For engines: everyone else is given handles by an engine.
    pub fn new(id: ComponentId, handle_id: u64) -> Self {
        Self { id, handle_id }
    }

    /// Which component this is an instance of.
    pub fn id(&self) -> &ComponentId {
        &self.id
    }

    /// Unique for the life of the engine that gave it.
    pub fn handle_id(&self) -> u64 {
        self.handle_id
    }
}

impl Display for ComponentHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.id, self.handle_id)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

    use super::*;
    use crate::catalogue::{every, snapshot};

    #[test]
    fn reads_what_it_prints() {
        let id = ComponentId::new("demo", "greeter-2", "main.v1").unwrap();
        assert_eq!(id.to_string(), "demo/greeter-2/main.v1");
        assert_eq!(id.to_string().parse(), Ok(id.clone()));
        assert_eq!(
            (id.namespace(), id.name(), id.instance()),
            ("demo", "greeter-2", "main.v1")
        );
    }

    #[test]
    fn longest_segments_keep_their_borders() {
        let (a, b, c) = ("a".repeat(64), "b".repeat(64), "c".repeat(64));
        let id = ComponentId::new(&a, &b, &c).unwrap();
        assert_eq!((id.namespace(), id.name(), id.instance()), (&*a, &*b, &*c));
    }

    #[test]
    fn refuses_what_could_leave_a_directory_or_garble_a_log() {
        let long = "x".repeat(65);
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a\\b",
            "a b",
            "a\n",
            "\u{1b}[2J",
            "é",
            "a\0",
            &long,
        ] {
            let expected = Err(InvalidComponentId::Segment {
                segment: "name",
                found: bad.to_owned(),
            });
            assert_eq!(ComponentId::new("demo", bad, "main"), expected, "{bad:?}");
        }
    }

    #[test]
    fn needs_three_segments() {
        for (text, count) in [("", 1), ("demo", 1), ("demo/a", 2), ("demo/a/b/c", 4)] {
            let expected = Err(InvalidComponentId::Segments {
                found: text.to_owned(),
                count,
            });
            assert_eq!(text.parse::<ComponentId>(), expected, "{text:?}");
        }
        let expected = ComponentId::new("demo", "", "main");
        assert_eq!("demo//main".parse(), expected);
    }

    #[test]
    fn errors_say_what_is_allowed_without_control_characters() {
        let errors = every!(
            InvalidComponentId,
            Segments {
                found: "demo\u{1b}[31m".to_owned(),
                count: 1
            },
            Segments {
                found: "a/b/c/d".to_owned(),
                count: 4
            },
            Segment {
                segment: "name",
                found: "\u{1b}[31m".to_owned()
            },
        );
        snapshot("invalid-component-id", errors);
    }

    #[test]
    fn handles_of_the_same_id_differ_by_number() {
        let id = ComponentId::new("demo", "a", "b").unwrap();
        let (one, two) = (
            ComponentHandle::new(id.clone(), 1),
            ComponentHandle::new(id, 2),
        );
        assert_ne!(one, two);
        assert_eq!((one.id(), one.handle_id()), (two.id(), 1));
        assert_eq!(two.handle_id(), 2);
        assert_eq!(two.to_string(), "demo/a/b#2");
    }

    #[test]
    fn ids_are_equal_hashed_and_shown_by_their_text() {
        let hasher = BuildHasherDefault::<DefaultHasher>::new();
        let [id, same, other] = ["demo/a/main", "demo/a/main", "demo/a/main-2"]
            .map(|text| text.parse::<ComponentId>().unwrap());
        assert_eq!(id, same);
        assert_eq!(hasher.hash_one(&id), hasher.hash_one(&same));
        assert_ne!(id, other);
        assert_ne!(hasher.hash_one(&id), hasher.hash_one(&other));
        assert_eq!(format!("{id:?}"), "ComponentId(demo/a/main)");
    }

    #[test]
    fn ids_sort_like_their_text() {
        let mut ids = ["b/a/a", "a/b/a", "a/a/b", "a/a/a", "a-b/a/a", "B/a/a"]
            .map(|text| text.parse::<ComponentId>().unwrap());
        ids.sort();
        assert_eq!(
            ids.each_ref().map(ComponentId::as_str),
            ["B/a/a", "a-b/a/a", "a/a/a", "a/a/b", "a/b/a", "b/a/a"]
        );
    }
}
