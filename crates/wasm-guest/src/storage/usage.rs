//! How much is kept.

/// How much a component keeps, and may keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StorageUsage {
    /// Bytes of all keys and values, with 256 more for each key.
    pub used_bytes: u64,
    /// Bytes that it may have.
    pub quota_bytes: u64,
    /// How many keys there are.
    pub key_count: u64,
}
