//! The entries of a folder, a page at a time.

use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use cap_primitives::fs::{OpenOptions, open};
use wasmtime_wasi::p2::bindings::filesystem::types::{DirectoryEntry, ErrorCode};

use super::kind::descriptor_type;
use crate::wasi::descriptors::DescriptorPlace;

/// What the kernel is asked for at a time: some hundred short names.
const PAGE_BYTES: usize = 8 << 10;

/// A page of the shortest names, as the entries and texts that it is made into.
const LISTING_BYTES: usize = 32 << 10;

type Entry = Result<DirectoryEntry, ErrorCode>;

/// A listing that a guest is reading.
pub(crate) struct Listing {
    source: Arc<Source>,
    page: VecDeque<Entry>,
}

/// Where the pages come from. Its descriptor has a position of its own.
pub(super) struct Source {
    dir: File,
    _place: DescriptorPlace,
}

impl Source {
    pub(super) fn open(dir: &File, place: DescriptorPlace) -> Result<Self, ErrorCode> {
        let dir = open(dir, Path::new("."), OpenOptions::new().read(true))?;
        Ok(Self { dir, _place: place })
    }

    /// The next entries; none at the end.
    #[cfg(target_os = "linux")]
    pub(super) fn next_page(&self) -> Result<VecDeque<Entry>, ErrorCode> {
        use rustix::fs::RawDir;

        let mut page = VecDeque::new();
        let mut buffer = Vec::with_capacity(PAGE_BYTES);
        // A page may have nothing but the folder itself and the one above.
        while page.is_empty() {
            let mut entries = RawDir::new(&self.dir, buffer.spare_capacity_mut());
            loop {
                let Some(entry) = entries.next() else {
                    return Ok(page);
                };
                let entry = entry.map_err(std::io::Error::from)?;
                let name = entry.file_name().to_bytes();
                if name != b"." && name != b".." {
                    page.push_back(self.entry(name));
                }
                if entries.is_buffer_empty() {
                    break;
                }
            }
        }
        Ok(page)
    }

    #[cfg(target_os = "linux")]
    fn entry(&self, name: &[u8]) -> Entry {
        use cap_primitives::fs::{FollowSymlinks, stat};

        let name = std::str::from_utf8(name).map_err(|_| ErrorCode::IllegalByteSequence)?;
        let metadata = stat(&self.dir, Path::new(name), FollowSymlinks::No)?;
        Ok(DirectoryEntry {
            type_: descriptor_type(metadata.file_type()),
            name: name.to_owned(),
        })
    }
}

impl Listing {
    pub(super) fn new(source: Source) -> Self {
        Self {
            source: Arc::new(source),
            page: VecDeque::new(),
        }
    }

    /// What it may take of the host's memory.
    pub(crate) fn max_bytes(&self) -> usize {
        LISTING_BYTES
    }

    pub(super) fn pop(&mut self) -> Option<Entry> {
        self.page.pop_front()
    }

    pub(super) fn source(&self) -> Arc<Source> {
        Arc::clone(&self.source)
    }

    pub(super) fn turn_to(&mut self, page: VecDeque<Entry>) {
        self.page = page;
    }
}
