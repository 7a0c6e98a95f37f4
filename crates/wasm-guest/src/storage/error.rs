//! Why nothing was read or kept.

use std::fmt::{self, Display};

/// Why nothing was read or kept: the cases of the contract's `storage-error`, and one for
/// what does not read as the type that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StorageError {
    /// What must be there is not.
    NotFound(String),
    /// What must not be there is.
    AlreadyExists(String),
    /// It would be more than the quota that `storage` in `[permissions]` grants.
    QuotaExceeded,
    /// The key is empty or too long; the reason.
    InvalidKey(String),
    /// Storage is not permitted, or failed; the reason.
    Io(String),
    /// The value of a key is not of the type that was asked for.
    Unreadable {
        /// Whose value it is.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound(key) => write!(f, "{key} is not in the store"),
            Self::AlreadyExists(key) => write!(f, "{key} is already in the store"),
            Self::QuotaExceeded => f.write_str("quota exceeded"),
            Self::InvalidKey(reason) => write!(f, "invalid key: {reason}"),
            Self::Io(reason) => write!(f, "storage failed: {reason}"),
            Self::Unreadable { key, reason } => {
                write!(f, "what is stored under `{key}` does not read: {reason}")
            }
        }
    }
}

impl std::error::Error for StorageError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_says_what_it_is() {
        let unreadable = StorageError::Unreadable {
            key: "k".to_owned(),
            reason: "no number".to_owned(),
        };
        for (error, text) in [
            (
                StorageError::NotFound("k".to_owned()),
                "k is not in the store",
            ),
            (
                StorageError::AlreadyExists("k".to_owned()),
                "k is already in the store",
            ),
            (StorageError::QuotaExceeded, "quota exceeded"),
            (
                StorageError::InvalidKey("why".to_owned()),
                "invalid key: why",
            ),
            (StorageError::Io("why".to_owned()), "storage failed: why"),
            (
                unreadable,
                "what is stored under `k` does not read: no number",
            ),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }
}
