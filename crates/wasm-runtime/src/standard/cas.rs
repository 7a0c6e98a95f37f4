//! What a component was told of a value that it is about to replace.

use bytes::Bytes;

/// A value as it was when a component looked at it, to be replaced unless it has changed.
#[derive(Debug)]
pub(crate) struct Cas {
    /// In the storage of the component.
    pub(super) key: String,
    pub(super) seen: Option<Bytes>,
}

impl Cas {
    /// What the host holds for it, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.key.len() + self.seen.as_ref().map_or(0, Bytes::len)
    }
}
