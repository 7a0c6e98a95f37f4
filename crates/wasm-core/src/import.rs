use std::fmt::{self, Display};

use crate::text::Escaped;

/// A name may be long, and its part after `#` is what tells it from others.
const NAME_CHARS: usize = 300;
/// Enough of a type to see what is different.
const TYPE_CHARS: usize = 500;

/// An import that a host does not meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnmetImport {
    /// The interface, as `acme:db/query@1.0.0`; with the function or the resource, as
    /// `acme:db/query@1.0.0#run`, where the host has the interface and not that; or
    /// what stands for itself.
    pub name: String,
    /// Why it is not met.
    pub reason: Unmet,
}

/// Why an import is not met.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unmet {
    /// The host has nothing of that name.
    Missing,
    /// The host has what it is a part of in another version, without it.
    OtherVersion {
        /// The host's, as `1.0.0`.
        provided: String,
    },
    /// The host has nothing of that name, nor of that kind.
    NoSuchKind {
        /// What it is, with its article, as `a core module`.
        kind: &'static str,
    },
    /// The host has it for those that it is granted to.
    NotGranted,
    /// The host has something of that name, of another type.
    OtherType {
        /// What the component takes it for, in WIT.
        wanted: String,
        /// What the host has, in WIT; `None` where the engine cannot tell.
        provided: Option<String>,
    },
}

impl Display for UnmetImport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_unmet(f, &self.name, &self.reason)
    }
}

/// What stands after `imports`.
pub(crate) fn write_unmet(f: &mut fmt::Formatter<'_>, name: &str, reason: &Unmet) -> fmt::Result {
    write!(f, "`{}`", Escaped::up_to(NAME_CHARS, name))?;
    match reason {
        Unmet::Missing => f.write_str(", which this host does not provide"),
        Unmet::OtherVersion { provided } => write!(
            f,
            ", which this host does not provide: it has version {}",
            Escaped::new(provided)
        ),
        Unmet::NoSuchKind { kind } => write!(f, ", {kind}, which this host does not provide"),
        Unmet::NotGranted => f.write_str(", which is not granted by `imports` in [permissions]"),
        Unmet::OtherType { wanted, provided } => {
            let wanted = Escaped::up_to(TYPE_CHARS, wanted);
            write!(f, " with another type: it wants {wanted}, ")?;
            match provided {
                Some(provided) => {
                    write!(f, "this host has {}", Escaped::up_to(TYPE_CHARS, provided))
                }
                None => f.write_str("which is not what this host has under that name"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_a_clause() {
        let said = |reason| {
            let name = "acme:db/query@1.0.0#run".to_owned();
            UnmetImport { name, reason }.to_string()
        };
        assert_eq!(
            said(Unmet::Missing),
            "`acme:db/query@1.0.0#run`, which this host does not provide"
        );
        assert_eq!(
            said(Unmet::OtherVersion {
                provided: "0.9.0".into()
            }),
            "`acme:db/query@1.0.0#run`, which this host does not provide: it has version 0.9.0"
        );
        assert_eq!(
            said(Unmet::NoSuchKind {
                kind: "a core module"
            }),
            "`acme:db/query@1.0.0#run`, a core module, which this host does not provide"
        );
        assert_eq!(
            said(Unmet::NotGranted),
            "`acme:db/query@1.0.0#run`, which is not granted by `imports` in [permissions]"
        );
        assert_eq!(
            said(Unmet::OtherType {
                wanted: "bool".into(),
                provided: Some("u8".into()),
            }),
            "`acme:db/query@1.0.0#run` with another type: it wants bool, this host has u8"
        );
        let long = said(Unmet::OtherType {
            wanted: "x".repeat(10_000),
            provided: None,
        });
        assert_eq!(long.matches('x').count(), 500);
        let long = UnmetImport {
            name: "x".repeat(10_000),
            reason: Unmet::Missing,
        };
        assert_eq!(long.to_string().matches('x').count(), 300);
    }
}
