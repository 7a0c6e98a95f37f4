//! Files and folders that a guest has open, and what is done to them on a thread that
//! may block.

use std::fs::{File, FileTimes};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path};
use std::sync::Arc;
use std::time::SystemTime;

use cap_primitives::fs::{
    DirOptions, FollowSymlinks, Metadata, MetadataExt, OpenOptions, SystemTimeSpec, canonicalize,
    create_dir, hard_link, open, read_link, remove_dir, remove_file, rename, set_times_nofollow,
    stat, symlink,
};
use cap_primitives::time::SystemTime as CapSystemTime;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;

use wasm_core::DirAccess;

use crate::wasi::descriptors::{DescriptorPlace, PlacedDir};
use crate::wasi::operations::do_aside;
use crate::wasi::quota::{Count, ENTRY_BYTES, Quota, Removed};

/// Where is written to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Position {
    At(u64),
    End,
}

/// Under which grant something was opened.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) access: DirAccess,
    /// Of a grant for writing, unless it is unbounded.
    pub(super) quota: Option<Quota>,
}

impl Grant {
    pub(super) fn check_write(&self) -> Result<(), ErrorCode> {
        match self.access {
            DirAccess::Write => Ok(()),
            DirAccess::Read => Err(ErrorCode::NotPermitted),
        }
    }

    fn count(&self) -> Option<Count<'_>> {
        self.quota.as_ref().map(Quota::count)
    }
}

/// An open file or folder.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    File(Arc<OpenFile>),
    Dir(Arc<OpenDir>),
}

impl Node {
    pub(super) fn file(&self) -> Result<&Arc<OpenFile>, ErrorCode> {
        match self {
            Self::File(file) => Ok(file),
            Self::Dir(_) => Err(ErrorCode::BadDescriptor),
        }
    }

    pub(super) fn dir(&self) -> Result<&Arc<OpenDir>, ErrorCode> {
        match self {
            Self::Dir(dir) => Ok(dir),
            Self::File(_) => Err(ErrorCode::NotDirectory),
        }
    }

    pub(super) fn metadata(&self) -> Result<Metadata, ErrorCode> {
        Ok(match self {
            Self::File(file) => Metadata::from_file(file.file()?)?,
            Self::Dir(dir) => Metadata::from_file(&dir.dir)?,
        })
    }

    pub(super) fn sync(&self, data_only: bool) -> Result<(), ErrorCode> {
        let opened;
        let file = match self {
            Self::File(file) => file.file()?,
            // A folder may have been opened as a mere place.
            Self::Dir(dir) => {
                opened = open(
                    &dir.dir,
                    Component::CurDir.as_ref(),
                    OpenOptions::new().read(true),
                )?;
                &opened
            }
        };
        let synced = if data_only {
            file.sync_data()
        } else {
            file.sync_all()
        };
        Ok(synced?)
    }

    pub(super) fn set_times(&self, times: Times) -> Result<(), ErrorCode> {
        match self {
            Self::File(file) => {
                file.grant.check_write()?;
                Ok(file.file()?.set_times(times.of_file())?)
            }
            Self::Dir(dir) => dir.set_times_at(".", false, times),
        }
    }
}

/// When something was read and changed; `None` leaves it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) accessed: Option<SystemTime>,
    pub(super) modified: Option<SystemTime>,
}

impl Times {
    fn of_file(self) -> FileTimes {
        let times = FileTimes::new();
        let times = self
            .accessed
            .map_or(times, |accessed| times.set_accessed(accessed));
        self.modified
            .map_or(times, |modified| times.set_modified(modified))
    }
}

#[derive(Debug)]
pub(crate) struct OpenFile {
    /// Taken when this is dropped.
    file: Option<File>,
    pub(super) grant: Arc<Grant>,
    pub(super) read: bool,
    pub(super) write: bool,
    place: Option<DescriptorPlace>,
}

impl OpenFile {
    fn file(&self) -> Result<&File, ErrorCode> {
        self.file.as_ref().ok_or(ErrorCode::BadDescriptor)
    }

    /// Up to `length` bytes; none at the end of the file.
    pub(super) fn read(&self, length: usize, position: u64) -> Result<Vec<u8>, ErrorCode> {
        let file = self.file()?;
        let mut buffer = vec![0; length];
        let read = loop {
            match file.read_at(&mut buffer, position) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        buffer.truncate(read);
        // A short read of a long buffer would be kept at its full size.
        buffer.shrink_to_fit();
        Ok(buffer)
    }

    pub(super) fn write_all(&self, mut bytes: &[u8], position: Position) -> Result<u64, ErrorCode> {
        let mut total = 0;
        while !bytes.is_empty() {
            let at = match position {
                Position::At(start) => Position::At(start + total),
                Position::End => Position::End,
            };
            let written = self.write(bytes, at)?;
            total += written;
            let written = usize::try_from(written).map_err(|_| ErrorCode::Overflow)?;
            bytes = bytes.get(written..).ok_or(ErrorCode::Io)?;
        }
        Ok(total)
    }

    pub(super) fn write(&self, bytes: &[u8], position: Position) -> Result<u64, ErrorCode> {
        let file = self.file()?;
        let Some(mut count) = self.grant.count() else {
            return Ok(write_some(file, bytes, position)? as u64);
        };
        let before = file.metadata()?.len();
        let start = match position {
            Position::At(start) => start,
            Position::End => before,
        };
        let end = |length: u64| start.checked_add(length).ok_or(ErrorCode::FileTooLarge);
        count.check(end(bytes.len() as u64)?.saturating_sub(before))?;
        let written = write_some(file, bytes, position)? as u64;
        count.resize(before, before.max(end(written)?));
        Ok(written)
    }

    pub(super) fn set_size(&self, size: u64) -> Result<(), ErrorCode> {
        let file = self.file()?;
        let Some(mut count) = self.grant.count() else {
            return Ok(file.set_len(size)?);
        };
        let before = file.metadata()?.len();
        count.check(size.saturating_sub(before))?;
        file.set_len(size)?;
        count.resize(before, size);
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn write_some(file: &File, bytes: &[u8], position: Position) -> io::Result<usize> {
    use rustix::io::{Errno, ReadWriteFlags, pwritev2};

    match position {
        Position::At(start) => file.write_at(bytes, start),
        Position::End => {
            let slices = [io::IoSlice::new(bytes)];
            match pwritev2(file, &slices, 0, ReadWriteFlags::APPEND) {
                Err(Errno::NOSYS | Errno::NOTSUP) => append(file, bytes),
                written => Ok(written?),
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn write_some(file: &File, bytes: &[u8], position: Position) -> io::Result<usize> {
    match position {
        Position::At(start) => file.write_at(bytes, start),
        Position::End => append(file, bytes),
    }
}

fn append(file: &File, bytes: &[u8]) -> io::Result<usize> {
    file.write_at(bytes, file.metadata()?.len())
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        let (Some(file), Some(quota)) = (self.file.take(), &self.grant.quota) else {
            return;
        };
        if quota.try_close(&file) {
            return;
        }
        // An operation is going on in the folder; this may not be a thread to wait on.
        let (grant, place) = (Arc::clone(&self.grant), self.place.take());
        do_aside(move || {
            if let Some(quota) = &grant.quota {
                quota.close(&file);
            }
            drop((file, place));
        });
    }
}

#[derive(Debug)]
pub(crate) struct OpenDir {
    pub(super) dir: Arc<PlacedDir>,
    pub(super) grant: Arc<Grant>,
    pub(super) write: bool,
}

/// How something is to be opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opening {
    pub(super) follow: bool,
    pub(super) create: bool,
    pub(super) exclusive: bool,
    pub(super) truncate: bool,
    pub(super) directory: bool,
    pub(super) read: bool,
    pub(super) write: bool,
}

impl OpenDir {
    /// Opens a file or a folder, and nothing else: opening a FIFO or a device may wait
    /// for ever. What stands under the name may change at any time, so the question is
    /// asked again of what was opened, and opening itself never waits.
    pub(super) fn open_at(
        &self,
        path: &str,
        opening: Opening,
        place: DescriptorPlace,
    ) -> Result<Node, ErrorCode> {
        let path = Path::new(path);
        let mut count = self.grant.count();
        let before = match stat(&self.dir, path, follow(opening.follow)) {
            Ok(metadata) if is_special(&metadata) => return Err(ErrorCode::Unsupported),
            Ok(metadata) => Some(metadata),
            Err(_) => None,
        };
        let creates = opening.create && before.is_none();
        if let (true, Some(count)) = (creates, &mut count) {
            count.check(ENTRY_BYTES)?;
        }
        let file = open(&self.dir, path, &opening.options())?;
        let metadata = Metadata::from_file(&file)?;
        if is_special(&metadata) {
            return Err(ErrorCode::Unsupported);
        }
        if metadata.is_dir() {
            return Ok(Node::Dir(Arc::new(Self {
                dir: Arc::new(PlacedDir::new(file, place)),
                grant: Arc::clone(&self.grant),
                write: opening.write,
            })));
        }
        if opening.directory {
            return Err(ErrorCode::NotDirectory);
        }
        if let Some(count) = &mut count {
            if creates {
                count.add_entry();
                // A link may have led to where it was made.
                let made = opening.follow.then(|| canonicalize(&self.dir, path).ok());
                self.look_at_parent(count, made.flatten().as_deref().unwrap_or(path));
            }
            count.open(&file)?;
        }
        // From here on it is closed in good order.
        let opened = OpenFile {
            file: Some(file),
            grant: Arc::clone(&self.grant),
            read: opening.read || !opening.write,
            write: opening.writes(),
            place: Some(place),
        };
        if opening.truncate {
            opened.file()?.set_len(0)?;
            if let Some(count) = &mut count {
                count.resize(metadata.len(), 0);
            }
        }
        drop(count);
        Ok(Node::File(Arc::new(opened)))
    }

    pub(super) fn stat_at(&self, path: &str, follows: bool) -> Result<Metadata, ErrorCode> {
        Ok(stat(&self.dir, Path::new(path), follow(follows))?)
    }

    pub(super) fn set_times_at(
        &self,
        path: &str,
        follows: bool,
        times: Times,
    ) -> Result<(), ErrorCode> {
        self.grant.check_write()?;
        let path = Path::new(path);
        if !follows {
            let spec = |time: Option<SystemTime>| {
                time.map(|time| SystemTimeSpec::Absolute(CapSystemTime::from_std(time)))
            };
            return Ok(set_times_nofollow(
                &self.dir,
                path,
                spec(times.accessed),
                spec(times.modified),
            )?);
        }
        if is_special(&stat(&self.dir, path, FollowSymlinks::Yes)?) {
            return Err(ErrorCode::Unsupported);
        }
        // Either kind of access will do.
        let options = |write: bool| {
            let mut options = OpenOptions::new();
            options.read(!write).write(write)._cap_fs_ext_nonblock(true);
            options
        };
        let file = match open(&self.dir, path, &options(false)) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                open(&self.dir, path, &options(true))?
            }
            other => other?,
        };
        if is_special(&Metadata::from_file(&file)?) {
            return Err(ErrorCode::Unsupported);
        }
        Ok(file.set_times(times.of_file())?)
    }

    pub(super) fn create_directory_at(&self, path: &str) -> Result<(), ErrorCode> {
        self.grant.check_write()?;
        self.make(path, || {
            create_dir(&self.dir, Path::new(path), &DirOptions::new())
        })
    }

    pub(super) fn symlink_at(&self, target: &str, path: &str) -> Result<(), ErrorCode> {
        self.grant.check_write()?;
        self.make(path, || {
            symlink(Path::new(target), &self.dir, Path::new(path))
        })
    }

    pub(super) fn link_at(&self, path: &str, to: &Self, new_path: &str) -> Result<(), ErrorCode> {
        self.check_same_folder(to)?;
        to.make(new_path, || {
            hard_link(&self.dir, Path::new(path), &to.dir, Path::new(new_path))
        })
    }

    pub(super) fn rename_at(&self, path: &str, to: &Self, new_path: &str) -> Result<(), ErrorCode> {
        self.check_same_folder(to)?;
        let (path, new_path) = (Path::new(path), Path::new(new_path));
        let mut count = self.grant.count();
        let replaced = removed(&to.dir, new_path);
        let moved = removed(&self.dir, path);
        if let (Some(count), None) = (&mut count, &replaced) {
            // A name in another folder may make that one larger.
            count.check(1)?;
        }
        rename(&self.dir, path, &to.dir, new_path)?;
        if let Some(count) = &mut count {
            if let Some(replaced) = replaced
                // Two names of one file: nothing happens.
                && moved.is_none_or(|moved| moved.identity != replaced.identity)
            {
                count.remove_entry(&replaced);
            }
            to.look_at_parent(count, new_path);
        }
        Ok(())
    }

    pub(super) fn remove_directory_at(&self, path: &str) -> Result<(), ErrorCode> {
        self.remove(path, remove_dir)
    }

    pub(super) fn unlink_file_at(&self, path: &str) -> Result<(), ErrorCode> {
        self.remove(path, remove_file)
    }

    pub(super) fn readlink_at(&self, path: &str) -> Result<String, ErrorCode> {
        let link = read_link(&self.dir, Path::new(path))?;
        link.into_os_string()
            .into_string()
            .map_err(|_| ErrorCode::IllegalByteSequence)
    }

    /// What lies under two quotas is on two devices, as far as a guest can tell.
    fn check_same_folder(&self, to: &Self) -> Result<(), ErrorCode> {
        self.grant.check_write()?;
        to.grant.check_write()?;
        match (&self.grant.quota, &to.grant.quota) {
            (None, None) => Ok(()),
            (Some(one), Some(other)) if one.shares_folder(other) => Ok(()),
            _ => Err(ErrorCode::CrossDevice),
        }
    }

    /// Makes a new entry at `path`.
    fn make(&self, path: &str, make: impl FnOnce() -> io::Result<()>) -> Result<(), ErrorCode> {
        let Some(mut count) = self.grant.count() else {
            return Ok(make()?);
        };
        count.check(ENTRY_BYTES)?;
        make()?;
        count.add_entry();
        self.look_at_parent(&mut count, Path::new(path));
        Ok(())
    }

    /// The folder in which a name was made may have become larger for it.
    fn look_at_parent(&self, count: &mut Count<'_>, path: &Path) {
        let parent = path.parent().filter(|parent| *parent != Path::new(""));
        let parent = parent.unwrap_or(Path::new("."));
        if let Ok(metadata) = stat(&self.dir, parent, FollowSymlinks::Yes) {
            count.resize_folder((metadata.dev(), metadata.ino()), metadata.len());
        }
    }

    fn remove(
        &self,
        path: &str,
        remove: impl FnOnce(&File, &Path) -> io::Result<()>,
    ) -> Result<(), ErrorCode> {
        self.grant.check_write()?;
        let path = Path::new(path);
        let count = self.grant.count();
        let before = removed(&self.dir, path);
        remove(&self.dir, path)?;
        if let (Some(mut count), Some(before)) = (count, before) {
            count.remove_entry(&before);
        }
        Ok(())
    }
}

impl Opening {
    pub(super) fn writes(self) -> bool {
        self.write || self.create || self.truncate
    }

    fn options(self) -> OpenOptions {
        let mut options = OpenOptions::new();
        options
            .read(self.read || !self.write)
            .write(self.writes())
            .create(self.create && !self.exclusive)
            .create_new(self.create && self.exclusive)
            ._cap_fs_ext_nonblock(true)
            ._cap_fs_ext_follow(follow(self.follow));
        options
    }
}

fn follow(follows: bool) -> FollowSymlinks {
    if follows {
        FollowSymlinks::Yes
    } else {
        FollowSymlinks::No
    }
}

/// Neither file nor folder, nor a link that is not followed.
fn is_special(metadata: &Metadata) -> bool {
    !(metadata.is_file() || metadata.is_dir() || metadata.is_symlink())
}

fn removed(dir: &File, path: &Path) -> Option<Removed> {
    let metadata = stat(dir, path, FollowSymlinks::No).ok()?;
    let is_file = metadata.is_file();
    Some(Removed {
        identity: (metadata.dev(), metadata.ino()),
        bytes: if is_file { metadata.len() } else { 0 },
        was_last_name: is_file && metadata.nlink() == 1,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Where the kernel cannot do so by itself.
    #[test]
    fn what_is_appended_comes_after_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "hello").unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        assert_eq!(append(&file, b", world").unwrap(), 7);
        assert_eq!(fs::read_to_string(&path).unwrap(), "hello, world");
    }
}
