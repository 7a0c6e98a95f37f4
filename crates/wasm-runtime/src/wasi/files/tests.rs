use std::fs;
use std::os::unix::fs::symlink;

use bytes::Bytes;
use tempfile::{TempDir, tempdir};
use types::{Advice, HostDescriptor, HostDirectoryEntryStream as _, NewTimestamp};
use wasmtime_wasi::p2::StreamError;

use super::*;

/// Also where the system would take longer ones.
#[test]
fn a_path_has_so_many_bytes() {
    check_path(&"a".repeat(4095)).unwrap();
    let refused = check_path(&"a".repeat(4096)).unwrap_err();
    let code = refused.downcast().unwrap();
    assert!(matches!(code, ErrorCode::NameTooLong), "{code:?}");
}

/// A guest that was granted a folder.
struct Guest {
    files: Files,
    table: ResourceTable,
    folder: TempDir,
}

type Handle = Resource<Descriptor>;

impl Guest {
    /// In the folder are `file` of five bytes, `inside` and `outside`, which lead to it and out
    /// of the folder, and the folder `sub`.
    fn new(access: DirAccess) -> Self {
        let folder = tempdir().unwrap();
        fs::write(folder.path().join("file"), "hello").unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        symlink("file", folder.path().join("inside")).unwrap();
        symlink("/etc/passwd", folder.path().join("outside")).unwrap();
        let component = ComponentId::new("demo", "files", "main").unwrap();
        let operations = Arc::new(Operations::new(component.clone()));
        let descriptors = Arc::new(Descriptors::new(component.clone()));
        let mut files = Files::new(HostAccount::new(1 << 20), &operations, &descriptors);
        let place = descriptors.take().unwrap();
        let opened = fs::File::open(folder.path()).unwrap();
        let dir = Arc::new(PlacedDir::new(opened, place));
        files.grant(&component, "/", dir, access, None).unwrap();
        Self {
            files,
            table: ResourceTable::new(),
            folder,
        }
    }

    fn view(&mut self) -> FilesView<'_> {
        FilesView {
            files: &mut self.files,
            table: &mut self.table,
        }
    }

    /// The folder, once more.
    fn root(&mut self) -> Handle {
        let granted = preopens::Host::get_directories(&mut self.view()).unwrap();
        granted.into_iter().next().unwrap().0
    }

    async fn open(&mut self, path: &str, flags: DescriptorFlags) -> Result<Handle, ErrorCode> {
        let root = self.root();
        let (plain, opening) = (PathFlags::empty(), OpenFlags::empty());
        let mut view = self.view();
        let opened = view.open_at(root, plain, path.to_owned(), opening, flags);
        opened.await.map_err(code)
    }

    async fn file(&mut self) -> Handle {
        self.open("file", DescriptorFlags::READ).await.unwrap()
    }
}

/// No trap of the guest.
fn code(error: FsError) -> ErrorCode {
    error.downcast().unwrap()
}

fn same(handle: &Handle) -> Handle {
    Resource::new_borrow(handle.rep())
}

fn at(seconds: u64) -> NewTimestamp {
    NewTimestamp::Timestamp(Datetime {
        seconds,
        nanoseconds: 7,
    })
}

#[tokio::test]
async fn what_is_there_is_told_and_what_is_outside_is_not() {
    let mut guest = Guest::new(DirAccess::Read);
    let (root, file) = (guest.root(), guest.file().await);
    let stat = guest.view().stat(same(&file)).await.unwrap();
    assert_eq!((stat.type_, stat.size), (DescriptorType::RegularFile, 5));
    let stat = guest.view().stat(same(&root)).await.unwrap();
    assert_eq!(stat.type_, DescriptorType::Directory);
    let name = guest.folder.path().file_name().unwrap();
    let out_and_in = format!("../{}/file", name.to_str().unwrap());
    for (path, flags, expected) in [
        (
            "inside",
            PathFlags::empty(),
            Ok(DescriptorType::SymbolicLink),
        ),
        (
            "inside",
            PathFlags::SYMLINK_FOLLOW,
            Ok(DescriptorType::RegularFile),
        ),
        (
            "outside",
            PathFlags::empty(),
            Ok(DescriptorType::SymbolicLink),
        ),
        (
            "outside",
            PathFlags::SYMLINK_FOLLOW,
            Err(ErrorCode::NotPermitted),
        ),
        (
            &out_and_in,
            PathFlags::empty(),
            Err(ErrorCode::NotPermitted),
        ),
        ("nothing", PathFlags::empty(), Err(ErrorCode::NoEntry)),
    ] {
        let mut view = guest.view();
        let stat = view.stat_at(same(&root), flags, path.to_owned()).await;
        let stat = stat.map(|it| it.type_).map_err(code);
        assert_eq!(stat, expected, "{path}, {flags:?}");
        let hash = view.metadata_hash_at(same(&root), flags, path.to_owned());
        let refused = hash.await.err().map(code);
        assert_eq!(refused, expected.err(), "{path}, {flags:?}");
    }
    let mut view = guest.view();
    let link = view.readlink_at(same(&root), "inside".to_owned());
    assert_eq!(link.await.unwrap(), "file");
    // Where a link leads that leads out is not told.
    let link = view.readlink_at(same(&root), "outside".to_owned());
    assert_eq!(code(link.await.unwrap_err()), ErrorCode::NotPermitted);
    let flags = guest.view().get_flags(same(&root)).await.unwrap();
    assert_eq!(flags, DescriptorFlags::READ);
    let advised = guest.view().advise(file, 0, 5, Advice::Random).await;
    advised.unwrap();
    let refused = guest.view().advise(root, 0, 5, Advice::Random).await;
    assert_eq!(code(refused.unwrap_err()), ErrorCode::BadDescriptor);
}

#[tokio::test]
async fn two_names_of_one_file_are_the_same_object() {
    let mut guest = Guest::new(DirAccess::Write);
    let (root, file) = (guest.root(), guest.file().await);
    let (from, to) = (same(&root), same(&root));
    let mut view = guest.view();
    let name = || "name".to_owned();
    let flags = PathFlags::SYMLINK_FOLLOW;
    let followed = view.link_at(same(&root), flags, "file".to_owned(), same(&root), name());
    assert_eq!(code(followed.await.unwrap_err()), ErrorCode::Invalid);
    let linked = view.link_at(from, PathFlags::empty(), "file".to_owned(), to, name());
    linked.await.unwrap();
    let other = guest.open("name", DescriptorFlags::READ).await.unwrap();
    let sub = guest.open("sub", DescriptorFlags::READ).await.unwrap();
    let mut view = guest.view();
    assert!(
        view.is_same_object(same(&file), same(&other))
            .await
            .unwrap()
    );
    assert!(!view.is_same_object(same(&file), same(&sub)).await.unwrap());
    let mut hash = async |handle| {
        let hash = view.metadata_hash(same(handle)).await.unwrap();
        (hash.lower, hash.upper)
    };
    let (one, two, three) = (hash(&file).await, hash(&other).await, hash(&sub).await);
    assert!(one == two && one != three);
    let stat = view.stat(file).await.unwrap();
    assert_eq!(stat.link_count, 2);
}

#[tokio::test]
async fn times_are_set_where_writing_is_granted() {
    for (access, expected) in [
        (DirAccess::Read, Some(ErrorCode::NotPermitted)),
        (DirAccess::Write, None),
    ] {
        let mut guest = Guest::new(access);
        let (root, file) = (guest.root(), guest.file().await);
        let path = |path: &str| path.to_owned();
        let (plain, follow) = (PathFlags::empty(), PathFlags::SYMLINK_FOLLOW);
        let mut view = guest.view();
        let (no, now) = (|| NewTimestamp::NoChange, || NewTimestamp::Now);
        let outcomes = [
            view.set_times(file, now(), at(1_000)).await,
            view.set_times(same(&root), no(), at(2_000)).await,
            view.set_times_at(same(&root), plain, path("sub"), at(3_000), no())
                .await,
            view.set_times_at(same(&root), follow, path("inside"), at(4_000), no())
                .await,
        ];
        for outcome in outcomes {
            assert_eq!(outcome.err().map(code), expected);
        }
        let late = view.set_times_at(same(&root), plain, path("sub"), at(u64::MAX), no());
        assert_eq!(code(late.await.unwrap_err()), ErrorCode::Overflow);
        let out = view.set_times_at(same(&root), follow, path("outside"), at(5_000), no());
        assert_eq!(code(out.await.unwrap_err()), ErrorCode::NotPermitted);
        if expected.is_some() {
            continue;
        }
        let told = view
            .stat_at(same(&root), follow, path("file"))
            .await
            .unwrap();
        let times = |name: &str| fs::metadata(guest.folder.path().join(name)).unwrap();
        let seconds = |time: io::Result<SystemTime>| {
            let since = time.unwrap().duration_since(UNIX_EPOCH).unwrap();
            (since.as_secs(), since.subsec_nanos())
        };
        let modified = told.data_modification_timestamp.unwrap();
        assert_eq!((modified.seconds, modified.nanoseconds), (1_000, 7));
        let accessed = told.data_access_timestamp.unwrap();
        assert_eq!((accessed.seconds, accessed.nanoseconds), (4_000, 7));
        assert_eq!(seconds(times("file").modified()), (1_000, 7));
        assert_eq!(seconds(times(".").modified()), (2_000, 7));
        assert_eq!(seconds(times("sub").accessed()), (3_000, 7));
        assert_eq!(seconds(times("file").accessed()), (4_000, 7));
    }
}

#[tokio::test]
async fn what_is_written_can_be_synced_and_nothing_is_opened_synchronously() {
    let mut guest = Guest::new(DirAccess::Write);
    let (root, file) = (guest.root(), guest.file().await);
    for handle in [&root, &file] {
        let mut view = guest.view();
        view.sync(same(handle)).await.unwrap();
        view.sync_data(same(handle)).await.unwrap();
    }
    for flags in [
        DescriptorFlags::FILE_INTEGRITY_SYNC,
        DescriptorFlags::DATA_INTEGRITY_SYNC,
        DescriptorFlags::REQUESTED_WRITE_SYNC,
    ] {
        let refused = guest.open("file", flags | DescriptorFlags::WRITE).await;
        assert_eq!(refused.unwrap_err(), ErrorCode::Unsupported);
    }
    let (plain, read) = (PathFlags::empty(), DescriptorFlags::READ);
    let mut view = guest.view();
    // A folder is opened as it is.
    for also in [OpenFlags::CREATE, OpenFlags::EXCLUSIVE, OpenFlags::TRUNCATE] {
        let opening = OpenFlags::DIRECTORY | also;
        let made = view.open_at(same(&root), plain, "new".to_owned(), opening, read);
        assert_eq!(code(made.await.unwrap_err()), ErrorCode::Invalid);
    }
    let (start, at_end) = view.read(same(&file), 3, 0).await.unwrap();
    assert_eq!((start.as_slice(), at_end), (&b"hel"[..], false));
    let (rest, at_end) = view.read(same(&file), 3, 5).await.unwrap();
    assert_eq!((rest.as_slice(), at_end), (&b""[..], true));
    let sub = guest.open("sub", DescriptorFlags::READ).await.unwrap();
    let stream = guest.view().read_via_stream(sub, 0);
    assert_eq!(code(stream.unwrap_err()), ErrorCode::IsDirectory);
    guest.view().read_via_stream(file, 0).unwrap();
}

#[tokio::test]
async fn a_file_is_read_to_its_end() {
    let mut guest = Guest::new(DirAccess::Read);
    let long: Vec<u8> = (0..40_000_u32).map(|n| n as u8).collect();
    fs::write(guest.folder.path().join("long"), &long).unwrap();
    let file = guest.open("long", DescriptorFlags::READ).await.unwrap();
    // As long as nobody has said how much is wanted, 4 KiB are read ahead.
    let stream = guest.view().read_via_stream(same(&file), 1).unwrap();
    let mut stream = guest.table.delete(stream).unwrap();
    // Nothing is said by wanting nothing.
    assert_eq!(stream.read(0).unwrap(), "");
    assert_eq!(stream.blocking_read(0).await.unwrap(), "");
    assert_eq!(stream.read(20_000).unwrap(), long[1..4_097]);
    let stream = guest.view().read_via_stream(file, 3).unwrap();
    let mut stream = guest.table.delete(stream).unwrap();
    // As much as is wanted, up to what a stream holds; so much is read ahead.
    assert_eq!(stream.blocking_read(10_000).await.unwrap(), long[3..10_003]);
    assert_eq!(stream.blocking_read(5).await.unwrap(), long[10_003..10_008]);
    assert_eq!(stream.read(20_000).unwrap(), "");
    stream.ready().await;
    assert_eq!(stream.read(4).unwrap(), long[10_008..10_012]);
    let rest = stream.read(20_000).unwrap();
    assert_eq!(rest, long[10_012..10_008 + (16 << 10)]);
    let last = stream.blocking_read(20_000).await.unwrap();
    assert_eq!(last, long[10_008 + (16 << 10)..]);
    let end = stream.blocking_read(1).await;
    assert!(matches!(end, Err(StreamError::Closed)), "{end:?}");
    let end = stream.read(1);
    assert!(matches!(end, Err(StreamError::Closed)), "{end:?}");
}

#[tokio::test]
async fn a_chunk_is_written_after_the_other() {
    let mut guest = Guest::new(DirAccess::Write);
    let file = guest.open("file", DescriptorFlags::WRITE).await.unwrap();
    let stream = guest.view().write_via_stream(file, 1).unwrap();
    let mut stream = guest.table.delete(stream).unwrap();
    assert_eq!(stream.check_write().unwrap(), 16 << 10);
    // Nothing is written, and nothing waits to be.
    stream.write(Bytes::new()).unwrap();
    assert_eq!(stream.check_write().unwrap(), 16 << 10);
    stream.write(vec![b'x'; 16 << 10].into()).unwrap();
    assert_eq!(stream.check_write().unwrap(), 0);
    let early = stream.write("y".into());
    assert!(matches!(early, Err(StreamError::Trap(_))), "{early:?}");
    stream.ready().await;
    assert_eq!(stream.check_write().unwrap(), 16 << 10);
    let large = stream.write(vec![b'x'; (16 << 10) + 1].into());
    assert!(matches!(large, Err(StreamError::Trap(_))), "{large:?}");
    stream.write("y".into()).unwrap();
    stream.cancel().await;
    let written = fs::read(guest.folder.path().join("file")).unwrap();
    assert_eq!(written.len(), 1 + (16 << 10) + 1);
    assert_eq!((written[0], written[1]), (b'h', b'x'));
    assert_eq!(written.last(), Some(&b'y'));
}

#[tokio::test]
async fn what_is_appended_comes_after_all_there_is() {
    let mut guest = Guest::new(DirAccess::Write);
    let file = guest.open("file", DescriptorFlags::WRITE).await.unwrap();
    let stream = guest.view().append_via_stream(file).unwrap();
    let mut stream = guest.table.delete(stream).unwrap();
    for chunk in [", ", "world"] {
        stream.write(chunk.into()).unwrap();
        stream.ready().await;
        stream.flush().unwrap();
    }
    let written = fs::read_to_string(guest.folder.path().join("file")).unwrap();
    assert_eq!(written, "hello, world");
}

/// As a stream tells it, whose last operation has failed.
#[tokio::test]
async fn the_code_of_an_error_is_told() {
    let mut guest = Guest::new(DirAccess::Read);
    let busy = guest.table.push(ErrorCode::Busy.into()).unwrap();
    let other = IoError::msg("of another kind");
    let other = guest.table.push(other).unwrap();
    let mut view = guest.view();
    let found = types::Host::filesystem_error_code(&mut view, busy).unwrap();
    assert_eq!(found, Some(ErrorCode::Busy));
    assert_eq!(
        types::Host::filesystem_error_code(&mut view, other).unwrap(),
        None
    );
}

#[tokio::test]
async fn a_file_is_made_or_opened_as_the_flags_say() {
    let mut guest = Guest::new(DirAccess::Write);
    let both = DescriptorFlags::READ | DescriptorFlags::WRITE;
    let (create, exclusive) = (OpenFlags::CREATE, OpenFlags::EXCLUSIVE);
    for (path, opening, expected) in [
        ("file", OpenFlags::empty(), None),
        ("file", create, None),
        ("file", create | exclusive, Some(ErrorCode::Exist)),
        ("new", OpenFlags::empty(), Some(ErrorCode::NoEntry)),
        ("new", exclusive, Some(ErrorCode::NoEntry)),
        ("new", create | exclusive, None),
        ("other", create, None),
        ("sub", OpenFlags::DIRECTORY, None),
        ("file", OpenFlags::DIRECTORY, Some(ErrorCode::NotDirectory)),
    ] {
        let root = guest.root();
        let flags = match opening == OpenFlags::DIRECTORY {
            true => DescriptorFlags::READ,
            false => both,
        };
        let mut view = guest.view();
        let opened = view.open_at(root, PathFlags::empty(), path.to_owned(), opening, flags);
        let opened = opened.await;
        assert_eq!(
            opened.as_ref().err().map(|_| ()),
            expected.map(|_| ()),
            "{path} {opening:?}"
        );
        match opened {
            Err(error) => assert_eq!(Some(code(error)), expected, "{path} {opening:?}"),
            Ok(file) if path == "file" => {
                let (read, _) = view.read(file, 5, 0).await.unwrap();
                assert_eq!(read, b"hello");
            }
            Ok(_) => {}
        }
    }
    let root = guest.root();
    let truncate = OpenFlags::TRUNCATE;
    let mut view = guest.view();
    let file = view.open_at(root, PathFlags::empty(), "file".to_owned(), truncate, both);
    let file = file.await.unwrap();
    assert_eq!(view.stat(file).await.unwrap().size, 0);
}

#[tokio::test]
async fn a_listing_is_read_to_its_end_and_let_go_of() {
    let mut guest = Guest::new(DirAccess::Read);
    let root = guest.root();
    let mut view = guest.view();
    let listing = view.read_directory(root).await.unwrap();
    let again = Resource::new_borrow(listing.rep());
    let mut names = Vec::new();
    while let Some(entry) = {
        let listing = Resource::new_borrow(listing.rep());
        view.read_directory_entry(listing).await.unwrap()
    } {
        names.push(entry.name);
    }
    names.sort_unstable();
    assert_eq!(names, ["file", "inside", "outside", "sub"]);
    types::HostDirectoryEntryStream::drop(&mut view, listing).unwrap();
    let gone = view.read_directory_entry(again).await;
    assert!(gone.is_err_and(|error| error.downcast_ref().is_none()));
}
