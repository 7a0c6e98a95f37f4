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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_holds_the_key_and_what_was_seen() {
        let cas = |seen| Cas {
            key: "carts/7".to_owned(),
            seen,
        };
        assert_eq!(cas(None).bytes(), 7);
        assert_eq!(cas(Some(Bytes::from_static(b"three"))).bytes(), 7 + 5);
    }
}
