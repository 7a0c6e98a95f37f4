//! A file that redb may write to without changing it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Bound;
use std::sync::{PoisonError, RwLock};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

const BLOCK_BYTES: usize = 4_096;

/// What is written stays in memory and goes with it: redb writes a few pages whenever it opens,
/// repairs or closes a file, and nothing else does.
///
/// The file is locked as one that others may read, but not open as a store.
#[derive(Debug)]
pub(super) struct Unchanged {
    file: FileBackend,
    written: RwLock<Written>,
}

#[derive(Debug)]
struct Written {
    length: u64,
    /// How much of the file itself is still part of it.
    kept: u64,
    /// By their numbers.
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl Unchanged {
    pub(super) fn new(file: File) -> Result<Self, redb::Error> {
        let file = FileBackend::new(file)?;
        let length = file.len().map_err(redb::Error::Io)?;
        let written = RwLock::new(Written {
            length,
            kept: length,
            blocks: BTreeMap::new(),
        });
        Ok(Self { file, written })
    }

    fn read_into(&self, written: &Written, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let kept = written.kept.saturating_sub(offset).min(out.len() as u64) as usize;
        let (from_file, beyond) = out.split_at_mut(kept);
        if !from_file.is_empty() {
            self.file.read(offset, from_file)?;
        }
        beyond.fill(0);
        let end = offset + out.len() as u64;
        let numbers = offset / BLOCK_BYTES as u64..end.div_ceil(BLOCK_BYTES as u64);
        for (number, block) in written.blocks.range(numbers) {
            let start = number * BLOCK_BYTES as u64;
            let (from, to) = (start.max(offset), (start + BLOCK_BYTES as u64).min(end));
            let part = &block[(from - start) as usize..(to - start) as usize];
            out[(from - offset) as usize..(to - offset) as usize].copy_from_slice(part);
        }
        Ok(())
    }

    fn write_from(
        &self,
        written: &mut Written,
        mut offset: u64,
        mut data: &[u8],
    ) -> io::Result<()> {
        while !data.is_empty() {
            let number = offset / BLOCK_BYTES as u64;
            let start = number * BLOCK_BYTES as u64;
            let at = (offset - start) as usize;
            if !written.blocks.contains_key(&number) {
                let mut block = vec![0; BLOCK_BYTES];
                self.read_into(written, start, &mut block)?;
                written.blocks.insert(number, block);
            }
            let (part, rest) = data.split_at(data.len().min(BLOCK_BYTES - at));
            if let Some(block) = written.blocks.get_mut(&number) {
                block[at..at + part.len()].copy_from_slice(part);
            }
            offset += part.len() as u64;
            data = rest;
        }
        Ok(())
    }
}

/// What lies beyond the end of the file is no part of it.
fn within(written: &Written, offset: u64, bytes: usize) -> io::Result<()> {
    match offset.checked_add(bytes as u64) {
        Some(end) if end <= written.length => Ok(()),
        _ => Err(ErrorKind::UnexpectedEof.into()),
    }
}

impl StorageBackend for Unchanged {
    fn len(&self) -> io::Result<u64> {
        let written = self.written.read().unwrap_or_else(PoisonError::into_inner);
        Ok(written.length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written.read().unwrap_or_else(PoisonError::into_inner);
        within(&written, offset, out.len())?;
        self.read_into(&written, offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut written = self.written.write().unwrap_or_else(PoisonError::into_inner);
        written.length = length;
        written.kept = written.kept.min(length);
        let last = length / BLOCK_BYTES as u64;
        written.blocks.retain(|number, _| *number <= last);
        if let Some(block) = written.blocks.get_mut(&last) {
            block[(length % BLOCK_BYTES as u64) as usize..].fill(0);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written.write().unwrap_or_else(PoisonError::into_inner);
        within(&written, offset, data.len())?;
        self.write_from(&mut written, offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    // Whoever only reads may not lock it otherwise, and need not.
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

    use super::*;

    #[test]
    fn it_reads_as_if_it_were_written_and_the_file_stays() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("file");
        let before = vec![7; 10_000];
        std::fs::write(&path, &before).unwrap();
        let unchanged = Unchanged::new(File::open(&path).unwrap()).unwrap();
        let mut expected = before.clone();
        let write = |expected: &mut Vec<u8>, offset: usize, data: &[u8]| {
            unchanged.write(offset as u64, data).unwrap();
            expected[offset..offset + data.len()].copy_from_slice(data);
        };
        write(&mut expected, 4_000, &[1; 5_000]);
        write(&mut expected, 9_990, &[2; 10]);
        for length in [20_000, 6_000, 4_096, 100, 12_000] {
            unchanged.set_len(length).unwrap();
            expected.resize(length as usize, 0);
            for (offset, bytes) in [(0, 100), (50, 40), (0, length as usize)] {
                let mut out = vec![9; bytes];
                unchanged.read(offset, &mut out).unwrap();
                assert_eq!(out, expected[offset as usize..][..bytes], "of {length}");
            }
            let mut beyond = [0; 2];
            assert!(unchanged.read(length - 1, &mut beyond).is_err());
            assert!(unchanged.write(length - 1, &beyond).is_err());
        }
        write(&mut expected, 11_000, &[3; 1_000]);
        let mut out = vec![9; 12_000];
        unchanged.read(0, &mut out).unwrap();
        assert_eq!(out, expected);
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}
