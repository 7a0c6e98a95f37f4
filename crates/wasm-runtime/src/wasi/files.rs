//! Files and folders. The interface is wasmtime's, what stands behind it is not: each
//! operation runs on threads that nobody else needs, opens nothing that could wait for
//! ever, lists folders a page at a time, and keeps to the quota of its grant.

mod kind;
pub(super) mod listing;
mod node;
mod streams;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cap_primitives::fs::{Metadata, MetadataExt};
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::filesystem::{preopens, types};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, FsError, FsResult, IoError, ReaddirIterator,
};

use wasm_core::{ComponentId, DirAccess};

use self::kind::descriptor_type;
use self::listing::Listing;
use self::node::{Grant, Node, OpenDir, Opening, Position, Times};
use self::streams::{FileInput, FileOutput};
use super::account::{HostAccount, STREAM_BYTES};
use super::descriptors::{DescriptorPlace, Descriptors, PlacedDir};
use super::operations::Operations;
use super::quota::Quota;
use types::{DescriptorFlags, DescriptorType, ErrorCode, OpenFlags, PathFlags};

/// The longest path that Linux takes.
const MAX_PATH_BYTES: usize = 4096;

/// What an instance may do with files, and how much.
pub(crate) struct Files {
    account: HostAccount,
    operations: Arc<Operations>,
    descriptors: Arc<Descriptors>,
    granted: Vec<(Node, String)>,
}

impl Files {
    pub(super) fn new(
        account: HostAccount,
        operations: &Arc<Operations>,
        descriptors: &Arc<Descriptors>,
    ) -> Self {
        Self {
            account,
            operations: Arc::clone(operations),
            descriptors: Arc::clone(descriptors),
            granted: Vec::new(),
        }
    }

    /// Lets the guest see the folder `dir` under the path `guest`.
    pub(super) fn grant(
        &mut self,
        component: &ComponentId,
        guest: &str,
        dir: Arc<PlacedDir>,
        access: DirAccess,
        quota: Option<u64>,
    ) -> io::Result<()> {
        let quota = match (access, quota) {
            (DirAccess::Write, Some(limit)) => Some(Quota::new(component, guest, limit, &dir)?),
            _ => None,
        };
        let dir = OpenDir {
            dir,
            write: access == DirAccess::Write,
            grant: Arc::new(Grant { access, quota }),
        };
        let node = Node::Dir(Arc::new(dir));
        self.granted.push((node, guest.to_owned()));
        Ok(())
    }
}

/// Files, together with the table in which a guest has them.
pub(crate) struct FilesView<'a> {
    pub(crate) files: &'a mut Files,
    pub(crate) table: &'a mut ResourceTable,
}

/// A store's data that has files.
pub(crate) trait HasFiles: Send + 'static {
    fn files(&mut self) -> FilesView<'_>;
}

struct FilesData;

impl HasData for FilesData {
    type Data<'a> = FilesView<'a>;
}

/// Takes the place of what wasmtime has linked.
pub(super) fn add_to_linker<S: HasFiles>(linker: &mut Linker<S>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    types::add_to_linker::<S, FilesData>(linker, S::files)?;
    preopens::add_to_linker::<S, FilesData>(linker, S::files)?;
    linker.allow_shadowing(false);
    Ok(())
}

impl FilesView<'_> {
    /// The types of the interface are wasmtime's; in the table are our own, under the
    /// same numbers.
    fn node(&self, descriptor: &Resource<Descriptor>) -> FsResult<Node> {
        let node = Resource::<Node>::new_borrow(descriptor.rep());
        Ok(self.table.get(&node)?.clone())
    }

    fn file(&self, descriptor: &Resource<Descriptor>) -> FsResult<Arc<node::OpenFile>> {
        Ok(Arc::clone(self.node(descriptor)?.file()?))
    }

    fn dir(&self, descriptor: &Resource<Descriptor>) -> FsResult<Arc<OpenDir>> {
        Ok(Arc::clone(self.node(descriptor)?.dir()?))
    }

    fn push_node(&mut self, node: Node) -> wasmtime::Result<Resource<Descriptor>> {
        let node = self.table.push(node)?;
        self.settle("a file or folder")?;
        Ok(Resource::new_own(node.rep()))
    }

    fn settle(&mut self, item: &'static str) -> wasmtime::Result<()> {
        self.files.account.settle(self.table, item)
    }

    fn place(&self) -> FsResult<DescriptorPlace> {
        let place = self.files.descriptors.take();
        Ok(place.ok_or(ErrorCode::InsufficientMemory)?)
    }

    /// Does `operation` where it may block.
    async fn run<R: Send + 'static>(
        &mut self,
        operation: impl FnOnce() -> Result<R, ErrorCode> + Send + 'static,
    ) -> FsResult<R> {
        let ended = self.files.operations.run(operation).await;
        Ok(ended.map_err(FsError::trap)??)
    }
}

fn check_path(path: &str) -> FsResult<()> {
    if path.len() >= MAX_PATH_BYTES {
        return Err(ErrorCode::NameTooLong.into());
    }
    Ok(())
}

fn follows(flags: PathFlags) -> bool {
    flags.contains(PathFlags::SYMLINK_FOLLOW)
}

fn time(stamp: types::NewTimestamp) -> FsResult<Option<SystemTime>> {
    Ok(match stamp {
        types::NewTimestamp::NoChange => None,
        types::NewTimestamp::Now => Some(SystemTime::now()),
        types::NewTimestamp::Timestamp(Datetime {
            seconds,
            nanoseconds,
        }) => {
            let time = UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds));
            Some(time.ok_or(ErrorCode::Overflow)?)
        }
    })
}

fn times(accessed: types::NewTimestamp, modified: types::NewTimestamp) -> FsResult<Times> {
    Ok(Times {
        accessed: time(accessed)?,
        modified: time(modified)?,
    })
}

/// Times before 1970 are left out.
fn datetime(time: io::Result<cap_primitives::time::SystemTime>) -> Option<Datetime> {
    let since = time.ok()?.into_std().duration_since(UNIX_EPOCH).ok()?;
    Some(Datetime {
        seconds: since.as_secs(),
        nanoseconds: since.subsec_nanos(),
    })
}

fn descriptor_stat(metadata: &Metadata) -> types::DescriptorStat {
    types::DescriptorStat {
        type_: descriptor_type(metadata.file_type()),
        link_count: metadata.nlink(),
        size: metadata.len(),
        data_access_timestamp: datetime(metadata.accessed()),
        data_modification_timestamp: datetime(metadata.modified()),
        status_change_timestamp: datetime(metadata.created()),
    }
}

/// Tells files apart, without saying where they lie.
fn metadata_hash(metadata: &Metadata) -> types::MetadataHashValue {
    let half = |salt: u64| {
        let mut hasher = DefaultHasher::new();
        (salt, metadata.dev(), metadata.ino()).hash(&mut hasher);
        hasher.finish()
    };
    types::MetadataHashValue {
        lower: half(0),
        upper: half(1),
    }
}

impl preopens::Host for FilesView<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        let granted = self.files.granted.clone();
        granted
            .into_iter()
            .map(|(node, path)| Ok((self.push_node(node)?, path)))
            .collect()
    }
}

impl types::Host for FilesView<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn filesystem_error_code(
        &mut self,
        error: Resource<IoError>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        Ok(self.table.get(&error)?.downcast_ref().copied())
    }
}

impl types::HostDescriptor for FilesView<'_> {
    async fn advise(
        &mut self,
        file: Resource<Descriptor>,
        _: types::Filesize,
        _: types::Filesize,
        _: types::Advice,
    ) -> FsResult<()> {
        // It may be ignored, and is: reading ahead is the host's memory.
        self.file(&file).map(drop)
    }

    async fn sync_data(&mut self, descriptor: Resource<Descriptor>) -> FsResult<()> {
        let node = self.node(&descriptor)?;
        self.run(move || node.sync(true)).await
    }

    async fn get_flags(&mut self, descriptor: Resource<Descriptor>) -> FsResult<DescriptorFlags> {
        let (read, write) = match self.node(&descriptor)? {
            Node::File(file) => (file.read, file.write.then_some(DescriptorFlags::WRITE)),
            Node::Dir(dir) => (true, dir.write.then_some(DescriptorFlags::MUTATE_DIRECTORY)),
        };
        let mut flags = write.unwrap_or(DescriptorFlags::empty());
        if read {
            flags |= DescriptorFlags::READ;
        }
        Ok(flags)
    }

    async fn get_type(&mut self, descriptor: Resource<Descriptor>) -> FsResult<DescriptorType> {
        Ok(match self.node(&descriptor)? {
            Node::File(_) => DescriptorType::RegularFile,
            Node::Dir(_) => DescriptorType::Directory,
        })
    }

    async fn set_size(
        &mut self,
        descriptor: Resource<Descriptor>,
        size: types::Filesize,
    ) -> FsResult<()> {
        let file = self.file(&descriptor)?;
        file.grant.check_write()?;
        self.run(move || file.set_size(size)).await
    }

    async fn set_times(
        &mut self,
        descriptor: Resource<Descriptor>,
        accessed: types::NewTimestamp,
        modified: types::NewTimestamp,
    ) -> FsResult<()> {
        let node = self.node(&descriptor)?;
        let times = times(accessed, modified)?;
        self.run(move || node.set_times(times)).await
    }

    async fn read(
        &mut self,
        descriptor: Resource<Descriptor>,
        length: types::Filesize,
        offset: types::Filesize,
    ) -> FsResult<(Vec<u8>, bool)> {
        let file = self.file(&descriptor)?;
        let length = usize::try_from(length).map_or(STREAM_BYTES, |n| n.min(STREAM_BYTES));
        let data = self.run(move || file.read(length, offset)).await?;
        let at_end = data.is_empty();
        Ok((data, at_end))
    }

    async fn write(
        &mut self,
        descriptor: Resource<Descriptor>,
        mut data: Vec<u8>,
        offset: types::Filesize,
    ) -> FsResult<types::Filesize> {
        let file = self.file(&descriptor)?;
        file.grant.check_write()?;
        // An operation that hangs keeps no more than this; a guest goes on from there.
        data.truncate(STREAM_BYTES);
        data.shrink_to_fit();
        self.run(move || file.write(&data, Position::At(offset)))
            .await
    }

    async fn read_directory(
        &mut self,
        descriptor: Resource<Descriptor>,
    ) -> FsResult<Resource<ReaddirIterator>> {
        let dir = self.dir(&descriptor)?;
        let place = self.place()?;
        let source = self
            .run(move || listing::Source::open(&dir.dir, place))
            .await?;
        let listing = self.table.push(Listing::new(source))?;
        self.settle("a listing of a folder")
            .map_err(FsError::trap)?;
        Ok(Resource::new_own(listing.rep()))
    }

    async fn sync(&mut self, descriptor: Resource<Descriptor>) -> FsResult<()> {
        let node = self.node(&descriptor)?;
        self.run(move || node.sync(false)).await
    }

    async fn create_directory_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        path: String,
    ) -> FsResult<()> {
        check_path(&path)?;
        let dir = self.dir(&descriptor)?;
        self.run(move || dir.create_directory_at(&path)).await
    }

    async fn stat(&mut self, descriptor: Resource<Descriptor>) -> FsResult<types::DescriptorStat> {
        let node = self.node(&descriptor)?;
        let metadata = self.run(move || node.metadata()).await?;
        Ok(descriptor_stat(&metadata))
    }

    async fn stat_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> FsResult<types::DescriptorStat> {
        check_path(&path)?;
        let dir = self.dir(&descriptor)?;
        let metadata = self.run(move || dir.stat_at(&path, follows(flags))).await?;
        Ok(descriptor_stat(&metadata))
    }

    async fn set_times_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
        accessed: types::NewTimestamp,
        modified: types::NewTimestamp,
    ) -> FsResult<()> {
        check_path(&path)?;
        let dir = self.dir(&descriptor)?;
        let times = times(accessed, modified)?;
        self.run(move || dir.set_times_at(&path, follows(flags), times))
            .await
    }

    async fn link_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
        new_descriptor: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        check_path(&path)?;
        check_path(&new_path)?;
        let (dir, new_dir) = (self.dir(&descriptor)?, self.dir(&new_descriptor)?);
        if follows(flags) {
            return Err(ErrorCode::Invalid.into());
        }
        self.run(move || dir.link_at(&path, &new_dir, &new_path))
            .await
    }

    async fn open_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        check_path(&path)?;
        let dir = self.dir(&descriptor)?;
        let synchronous = DescriptorFlags::FILE_INTEGRITY_SYNC
            | DescriptorFlags::DATA_INTEGRITY_SYNC
            | DescriptorFlags::REQUESTED_WRITE_SYNC;
        if flags.intersects(synchronous) {
            return Err(ErrorCode::Unsupported.into());
        }
        let opening = Opening {
            follow: follows(path_flags),
            create: open_flags.contains(OpenFlags::CREATE),
            exclusive: open_flags.contains(OpenFlags::EXCLUSIVE),
            truncate: open_flags.contains(OpenFlags::TRUNCATE),
            directory: open_flags.contains(OpenFlags::DIRECTORY),
            read: flags.contains(DescriptorFlags::READ),
            write: flags.contains(DescriptorFlags::WRITE),
        };
        if opening.directory && (opening.create || opening.exclusive || opening.truncate) {
            return Err(ErrorCode::Invalid.into());
        }
        if opening.writes() {
            dir.grant.check_write()?;
        }
        let place = self.place()?;
        let node = self.run(move || dir.open_at(&path, opening, place)).await?;
        self.push_node(node).map_err(FsError::trap)
    }

    fn drop(&mut self, descriptor: Resource<Descriptor>) -> wasmtime::Result<()> {
        self.table
            .delete(Resource::<Node>::new_own(descriptor.rep()))?;
        Ok(())
    }

    async fn readlink_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        path: String,
    ) -> FsResult<String> {
        check_path(&path)?;
        let dir = self.dir(&descriptor)?;
        self.run(move || dir.readlink_at(&path)).await
    }

    async fn remove_directory_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        path: String,
    ) -> FsResult<()> {
        check_path(&path)?;
        let dir = self.dir(&descriptor)?;
        self.run(move || dir.remove_directory_at(&path)).await
    }

    async fn rename_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        path: String,
        new_descriptor: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        check_path(&path)?;
        check_path(&new_path)?;
        let (dir, new_dir) = (self.dir(&descriptor)?, self.dir(&new_descriptor)?);
        self.run(move || dir.rename_at(&path, &new_dir, &new_path))
            .await
    }

    async fn symlink_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        target: String,
        path: String,
    ) -> FsResult<()> {
        check_path(&target)?;
        check_path(&path)?;
        let dir = self.dir(&descriptor)?;
        self.run(move || dir.symlink_at(&target, &path)).await
    }

    async fn unlink_file_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        path: String,
    ) -> FsResult<()> {
        check_path(&path)?;
        let dir = self.dir(&descriptor)?;
        self.run(move || dir.unlink_file_at(&path)).await
    }

    fn read_via_stream(
        &mut self,
        descriptor: Resource<Descriptor>,
        offset: types::Filesize,
    ) -> FsResult<Resource<DynInputStream>> {
        let Node::File(file) = self.node(&descriptor)? else {
            return Err(ErrorCode::IsDirectory.into());
        };
        let stream = FileInput::new(file, Arc::clone(&self.files.operations), offset);
        let stream: DynInputStream = Box::new(stream);
        let stream = self.table.push(stream)?;
        self.settle("a stream of a file").map_err(FsError::trap)?;
        Ok(stream)
    }

    fn write_via_stream(
        &mut self,
        descriptor: Resource<Descriptor>,
        offset: types::Filesize,
    ) -> FsResult<Resource<DynOutputStream>> {
        self.output(&descriptor, Position::At(offset))
    }

    fn append_via_stream(
        &mut self,
        descriptor: Resource<Descriptor>,
    ) -> FsResult<Resource<DynOutputStream>> {
        self.output(&descriptor, Position::End)
    }

    async fn is_same_object(
        &mut self,
        one: Resource<Descriptor>,
        other: Resource<Descriptor>,
    ) -> wasmtime::Result<bool> {
        let mut identity = async |descriptor: Resource<Descriptor>| -> FsResult<(u64, u64)> {
            let node = self.node(&descriptor)?;
            let metadata = self.run(move || node.metadata()).await?;
            Ok((metadata.dev(), metadata.ino()))
        };
        match (identity(one).await, identity(other).await) {
            (Ok(one), Ok(other)) => Ok(one == other),
            (Err(error), _) | (_, Err(error)) => match error.downcast() {
                Ok(code) => Err(code.into()),
                Err(trap) => Err(trap),
            },
        }
    }

    async fn metadata_hash(
        &mut self,
        descriptor: Resource<Descriptor>,
    ) -> FsResult<types::MetadataHashValue> {
        let node = self.node(&descriptor)?;
        let metadata = self.run(move || node.metadata()).await?;
        Ok(metadata_hash(&metadata))
    }

    async fn metadata_hash_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> FsResult<types::MetadataHashValue> {
        check_path(&path)?;
        let dir = self.dir(&descriptor)?;
        let metadata = self.run(move || dir.stat_at(&path, follows(flags))).await?;
        Ok(metadata_hash(&metadata))
    }
}

impl FilesView<'_> {
    fn output(
        &mut self,
        descriptor: &Resource<Descriptor>,
        position: Position,
    ) -> FsResult<Resource<DynOutputStream>> {
        let file = self.file(descriptor)?;
        file.grant.check_write()?;
        let stream = FileOutput::new(file, Arc::clone(&self.files.operations), position);
        let stream: DynOutputStream = Box::new(stream);
        let stream = self.table.push(stream)?;
        self.settle("a stream of a file").map_err(FsError::trap)?;
        Ok(stream)
    }
}

impl types::HostDirectoryEntryStream for FilesView<'_> {
    async fn read_directory_entry(
        &mut self,
        stream: Resource<ReaddirIterator>,
    ) -> FsResult<Option<types::DirectoryEntry>> {
        let listing = Resource::<Listing>::new_borrow(stream.rep());
        if let Some(entry) = self.table.get_mut(&listing)?.pop() {
            return Ok(Some(entry?));
        }
        let source = self.table.get(&listing)?.source();
        let page = self.run(move || source.next_page()).await?;
        let listing = self.table.get_mut(&listing)?;
        listing.turn_to(page);
        Ok(listing.pop().transpose()?)
    }

    fn drop(&mut self, stream: Resource<ReaddirIterator>) -> wasmtime::Result<()> {
        self.table
            .delete(Resource::<Listing>::new_own(stream.rep()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
