//! Who a component is.

use std::error::Error;
use std::fmt::{self, Display};
use std::str::FromStr;

/// Who a component is: `namespace/name/instance`.
///
/// ```
/// use wasm_guest::ComponentId;
///
/// let id: ComponentId = "demo/counter/main".parse().unwrap();
/// assert_eq!((&*id.namespace, &*id.name, &*id.instance), ("demo", "counter", "main"));
/// assert_eq!(id.to_string(), "demo/counter/main");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComponentId {
    /// The first segment.
    pub namespace: String,
    /// The second segment.
    pub name: String,
    /// The third segment.
    pub instance: String,
}

impl FromStr for ComponentId {
    type Err = InvalidComponentId;

    /// Takes the text apart; which characters a segment may have is checked by the host.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut segments = text.split('/').map(str::to_owned);
        match (
            segments.next(),
            segments.next(),
            segments.next(),
            segments.next(),
        ) {
            (Some(namespace), Some(name), Some(instance), None) => Ok(Self {
                namespace,
                name,
                instance,
            }),
            _ => Err(InvalidComponentId(text.to_owned())),
        }
    }
}

impl Display for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.name, self.instance)
    }
}

/// A text that is not three segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidComponentId(String);

impl Display for InvalidComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is no component id; an id is `namespace/name/instance`",
            self.0
        )
    }
}

impl Error for InvalidComponentId {}

/// What can name the recipient of a message: an id, or its text.
///
/// ```
/// use wasm_guest::{ComponentId, Target};
///
/// let id: ComponentId = "demo/counter/main".parse().unwrap();
/// assert_eq!("demo/counter/main".id(), Ok(id.clone()));
/// assert_eq!((&id).id(), Ok(id.clone()));
/// assert_eq!("demo/counter/main".to_owned().id(), Ok(id.clone()));
/// // As an iterator over a list of them has it.
/// assert_eq!((&"demo/counter/main").id(), Ok(id));
/// ```
pub trait Target {
    /// The id.
    ///
    /// # Errors
    /// [`InvalidComponentId`] for a text that is none.
    fn id(self) -> Result<ComponentId, InvalidComponentId>;
}

impl Target for ComponentId {
    fn id(self) -> Result<ComponentId, InvalidComponentId> {
        Ok(self)
    }
}

impl Target for &ComponentId {
    fn id(self) -> Result<ComponentId, InvalidComponentId> {
        Ok(self.clone())
    }
}

impl Target for &str {
    fn id(self) -> Result<ComponentId, InvalidComponentId> {
        self.parse()
    }
}

impl Target for &&str {
    fn id(self) -> Result<ComponentId, InvalidComponentId> {
        self.parse()
    }
}

impl Target for String {
    fn id(self) -> Result<ComponentId, InvalidComponentId> {
        self.parse()
    }
}

impl Target for &String {
    fn id(self) -> Result<ComponentId, InvalidComponentId> {
        self.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_three_segments() {
        for text in ["", "a", "a/b", "a/b/c/d"] {
            let refused = text.parse::<ComponentId>().unwrap_err();
            assert_eq!(
                refused.to_string(),
                format!("`{text}` is no component id; an id is `namespace/name/instance`")
            );
        }
        assert_eq!("a/b/c".parse::<ComponentId>().unwrap().to_string(), "a/b/c");
    }
}
