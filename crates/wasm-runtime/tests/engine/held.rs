//! What a guest makes the host hold or block through WASI, and what bounds it.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use tempfile::{TempDir, tempdir};

use wasm_core::{
    Capability, ComponentConfig, ComponentHandle, DirAccess, HostServices, Permissions, Resource,
    ResourceLimits, WasiGrant, WasmError,
};
use wasm_runtime::wasmtime::component::Val;
use wasm_runtime::{EngineConfig, WasmtimeEngine};
use wasm_testkit::RecordingValidator;

use crate::support::{Transcript, engine, engine_with, id, within};

/// The component of remote.wat, which does with WASI what it is told.
static REMOTE: LazyLock<Bytes> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine/remote.wat");
    wat::parse_file(path).unwrap().into()
});

/// The smallest memory that a component may have.
const KIB_512: u64 = 512 << 10;

struct Remote<'a> {
    engine: &'a WasmtimeEngine,
    handle: ComponentHandle,
}

impl<'a> Remote<'a> {
    async fn load(
        engine: &'a WasmtimeEngine,
        name: &str,
        grants: impl IntoIterator<Item = WasiGrant>,
    ) -> Self {
        let limits = ResourceLimits::new(KIB_512, Duration::from_secs(30), None).unwrap();
        let mut permissions = Permissions::default();
        permissions.wasi.extend(grants);
        let config = ComponentConfig::new(limits).with_permissions(permissions);
        let id = id(&format!("demo/remote/{name}"));
        let loaded = engine.load_component(&id, REMOTE.clone(), config).await;
        Self {
            engine,
            handle: loaded.unwrap(),
        }
    }

    async fn try_call(&self, function: &str, args: &[Val]) -> Result<u32, WasmError> {
        let called = self.engine.call_export(&self.handle, function, args);
        match within(called).await?.as_slice() {
            [Val::U32(answer)] => Ok(*answer),
            other => panic!("{function} answered {other:?}"),
        }
    }

    async fn call(&self, function: &str, args: &[Val]) -> u32 {
        let answer = self.try_call(function, args).await;
        answer.unwrap_or_else(|error| panic!("{function}: {error}"))
    }

    async fn open(&self, path: &str, how: u32, flags: u32) -> u32 {
        let args = [Val::U32(FOLLOW), text(path), Val::U32(how), Val::U32(flags)];
        self.call("open", &args).await
    }

    async fn write(&self, bytes: &[u8], offset: u64) -> u32 {
        self.call("write", &[list(bytes), Val::U64(offset)]).await
    }

    async fn http(&self, kind: u32, length: u32) -> Result<u32, WasmError> {
        self.try_call("http", &[Val::U32(kind), Val::U32(length)])
            .await
    }
}

const FOLLOW: u32 = 1;
const CREATE: u32 = 1;
const EXCLUSIVE: u32 = 4;
const TRUNCATE: u32 = 8;
const READ: u32 = 1;
const WRITE: u32 = 2;

/// Cases of `wasi:filesystem/types.error-code`, from 1 as the component counts them.
const QUOTA: u32 = 7;
const NO_ENTRY: u32 = 21;
const INSUFFICIENT_MEMORY: u32 = 23;
const UNSUPPORTED: u32 = 28;
const NAME_TOO_LONG: u32 = 19;
const CROSS_DEVICE: u32 = 37;
/// The same of `wasi:sockets/network.error-code`.
const ACCESS_DENIED: u32 = 2;
const NEW_SOCKET_LIMIT: u32 = 11;

fn text(text: &str) -> Val {
    Val::String(text.to_owned())
}

fn list(bytes: &[u8]) -> Val {
    Val::List(bytes.iter().copied().map(Val::U8).collect())
}

fn dir(host: impl Into<PathBuf>, access: DirAccess, quota: Option<u64>) -> WasiGrant {
    WasiGrant::Dir {
        guest: "data".to_owned(),
        host: host.into(),
        access,
        quota,
    }
}

fn writable(house: &TempDir, quota: u64) -> WasiGrant {
    dir(house.path(), DirAccess::Write, Some(quota))
}

#[track_caller]
fn held_too_much(error: &WasmError, expected: &str) {
    let WasmError::ResourceLimitExceeded {
        resource: Resource::HostMemory { item },
        limit,
        requested: Some(requested),
        ..
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!((*item, *limit), (expected, 2 << 20));
    assert!(requested > limit, "{requested}");
}

/// Does something until it fails, and says how often it went well.
async fn until_it_fails(remote: &Remote<'_>, function: &str, args: &[Val]) -> (u32, WasmError) {
    for times in 0..5000 {
        if let Err(error) = remote.try_call(function, args).await {
            return (times, error);
        }
    }
    panic!("{function} can be called for ever");
}

#[tokio::test]
async fn everything_of_wasi_http_is_charged_whatever_holds_it() {
    let engine = engine();
    // What is made, of how many letters, and how often at the most.
    for (kind, length, most) in [
        (0, 3000, 121),
        (1, 90, 121),
        (2, 0, 61),
        (3, 0, 256),
        (4, 1024, 50),
        (5, 100_000, 20),
        (6, 60_000, 34),
        (7, 64, 121),
        (8, 100_000, 20),
        (9, 0, 61),
        (10, 0, 60),
    ] {
        let remote = Remote::load(&engine, "http", []).await;
        let args = [Val::U32(kind), Val::U32(length)];
        let (times, error) = until_it_fails(&remote, "http", &args).await;
        assert!((10..=most).contains(&times), "kind {kind}: {times}");
        match kind {
            // So small that the number of resources is what bounds them.
            3 => assert!(matches!(error, WasmError::Trapped { .. }), "{error:?}"),
            _ => held_too_much(&error, "a part of WASI HTTP"),
        }
        engine.unload_component(&remote.handle).await.unwrap();
    }
}

#[tokio::test]
async fn one_large_string_of_wasi_http_is_charged_at_once() {
    let config = EngineConfig::default().with_max_held_bytes(64 << 10);
    let engine = WasmtimeEngine::new(config, HostServices::default()).unwrap();
    for kind in [5, 8] {
        let remote = Remote::load(&engine, "http", []).await;
        assert_eq!(remote.http(kind, 1000).await.unwrap(), 0);
        let error = remote.http(kind, 300_000).await.unwrap_err();
        assert!(
            matches!(
                &error,
                WasmError::ResourceLimitExceeded {
                    resource: Resource::HostMemory { .. },
                    limit: 65_536,
                    ..
                }
            ),
            "{error:?}"
        );
        let text = error.to_string();
        assert!(
            text.contains("64KiB") && text.contains("WASI HTTP"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn fields_of_wasi_http_have_so_many_bytes() {
    let engine = engine();
    let remote = Remote::load(&engine, "http", []).await;
    assert_eq!(remote.http(0, 4_000).await.unwrap(), 0);
    let refused = remote.http(0, 4_096).await;
    assert_ne!(refused.as_ref().ok(), Some(&0), "{refused:?}");
}

#[tokio::test]
async fn listings_come_in_pages_and_each_is_charged() {
    let house = tempdir().unwrap();
    for number in 0..3000 {
        fs::write(
            house.path().join(format!("{}{number}", "n".repeat(200))),
            "",
        )
        .unwrap();
    }
    let engine = engine();
    let remote = Remote::load(&engine, "lists", [dir(house.path(), DirAccess::Read, None)]).await;
    assert_eq!(remote.call("count-entries", &[]).await, 3000);
    let (times, error) = until_it_fails(&remote, "read-some-entries", &[]).await;
    assert!((50..=62).contains(&times), "{times}");
    held_too_much(&error, "a listing of a folder");

    let empty = tempdir().unwrap();
    let remote = Remote::load(&engine, "empty", [dir(empty.path(), DirAccess::Read, None)]).await;
    assert_eq!(remote.call("count-entries", &[]).await, 0);
}

#[tokio::test]
async fn each_stream_of_a_file_is_charged_with_what_it_may_hold() {
    let house = tempdir().unwrap();
    fs::write(house.path().join("file"), vec![7; 100_000]).unwrap();
    let engine = engine();
    for function in ["read-ahead", "open-output"] {
        let remote = Remote::load(&engine, "streams", [writable(&house, 1 << 20)]).await;
        assert_eq!(remote.open("file", 0, READ | WRITE).await, 0);
        let args: &[Val] = match function {
            "open-output" => &[Val::U32(1)],
            _ => &[],
        };
        let (times, error) = until_it_fails(&remote, function, args).await;
        assert!((100..=121).contains(&times), "{function}: {times}");
        held_too_much(&error, "a stream of a file");
        engine.unload_component(&remote.handle).await.unwrap();
    }
}

#[tokio::test]
async fn pollables_are_bounded_by_their_number() {
    let house = tempdir().unwrap();
    fs::write(house.path().join("file"), "x").unwrap();
    let engine = engine();
    let remote = Remote::load(&engine, "polls", [dir(house.path(), DirAccess::Read, None)]).await;
    assert_eq!(remote.open("file", 0, READ).await, 0);
    assert_eq!(remote.call("first-byte", &[]).await, u32::from(b'x'));
    let (times, error) = until_it_fails(&remote, "subscribe", &[]).await;
    assert!(times < 256, "{times}");
    let told = error.to_string();
    assert!(told.contains("256 resources of the host"), "{told}");
}

#[tokio::test]
async fn what_is_written_to_a_stream_is_in_the_file() {
    let house = tempdir().unwrap();
    let engine = engine();
    let remote = Remote::load(&engine, "writes", [writable(&house, 1 << 20)]).await;
    assert_eq!(remote.open("file", CREATE, WRITE).await, 0);
    for append in [0, 1] {
        assert_eq!(remote.call("open-output", &[Val::U32(append)]).await, 0);
        assert_eq!(remote.call("permit", &[]).await, 16 << 10);
        assert_eq!(remote.call("put", &[list(b"one ")]).await, 0);
        // Closed with something still to be written.
        assert_eq!(remote.call("close-output", &[]).await, 0);
    }
    assert_eq!(remote.call("open-output", &[Val::U32(1)]).await, 0);
    for word in ["two ", "three"] {
        let written = remote.call("put-and-flush", &[list(word.as_bytes())]).await;
        assert_eq!(written, 0);
    }
    let content = fs::read_to_string(house.path().join("file")).unwrap();
    assert_eq!(content, "one one two three");
    // More than was permitted is no way to have the host hold it.
    let too_much = remote.try_call("put", &[list(&[0; (16 << 10) + 1])]).await;
    let error = too_much.unwrap_err();
    assert!(error.to_string().contains("check-write permits"), "{error}");
}

/// A FIFO, a socket, a device, and links to them.
fn special_files(house: &Path) -> Vec<&'static str> {
    let made = std::process::Command::new("mkfifo")
        .arg(house.join("fifo"))
        .status()
        .unwrap();
    assert!(made.success());
    // What is bound stays there when nobody listens any more.
    drop(std::os::unix::net::UnixListener::bind(house.join("socket")).unwrap());
    symlink("fifo", house.join("link")).unwrap();
    symlink("link", house.join("link-to-link")).unwrap();
    symlink("socket", house.join("link-to-socket")).unwrap();
    fs::create_dir(house.join("folder")).unwrap();
    symlink("../fifo", house.join("folder/up")).unwrap();
    fs::hard_link(house.join("fifo"), house.join("second-name")).unwrap();
    let mut names = vec![
        "fifo",
        "socket",
        "link",
        "link-to-link",
        "link-to-socket",
        "folder/up",
        "second-name",
        "./folder/../fifo",
    ];
    // Only root may make one.
    let device = std::process::Command::new("mknod")
        .arg(house.join("device"))
        .args(["c", "1", "3"])
        .status();
    if device.is_ok_and(|status| status.success()) {
        names.push("device");
    }
    names
}

#[tokio::test]
async fn what_is_neither_file_nor_folder_is_not_opened_and_nothing_waits() {
    let house = tempdir().unwrap();
    let names = special_files(house.path());
    let engine = engine();
    for access in [DirAccess::Read, DirAccess::Write] {
        let quota = Some(1 << 20);
        let remote = Remote::load(&engine, "special", [dir(house.path(), access, quota)]).await;
        let ways: &[(u32, u32)] = match access {
            DirAccess::Read => &[(0, READ)],
            DirAccess::Write => &[
                (0, READ),
                (0, WRITE),
                (0, READ | WRITE),
                (CREATE, WRITE),
                (TRUNCATE, WRITE),
                (CREATE | TRUNCATE, READ | WRITE),
            ],
        };
        for name in &names {
            for (how, flags) in ways {
                let opened = remote.open(name, *how, *flags).await;
                assert_eq!(opened, UNSUPPORTED, "{name} {how} {flags}");
            }
        }
        // Other things are, afterwards as before.
        assert_eq!(remote.open("folder", 0, READ).await, 0);
        engine.unload_component(&remote.handle).await.unwrap();
    }
}

#[tokio::test]
async fn a_fifo_swapped_in_by_renaming_is_not_waited_for() {
    let house = tempdir().unwrap();
    special_files(house.path());
    fs::write(house.path().join("file"), "").unwrap();
    let engine = engine();
    let remote = Remote::load(&engine, "swaps", [writable(&house, 1 << 20)]).await;
    // Another program changes what stands under the name all the time.
    let path = house.path().to_owned();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let swapper = std::thread::spawn(move || {
        let (fifo, file, name) = (path.join("fifo"), path.join("file"), path.join("name"));
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            for one in [&fifo, &file] {
                fs::rename(one, &name).unwrap();
                fs::rename(&name, one).unwrap();
            }
        }
    });
    let mut opened = 0;
    for _ in 0..2000 {
        match remote.open("name", 0, READ).await {
            0 => {
                opened += 1;
                remote.call("close", &[]).await;
            }
            code => assert!([UNSUPPORTED, NO_ENTRY].contains(&code), "{code}"),
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    swapper.join().unwrap();
    assert!(opened < 2000);
}

/// What a folder counts: sizes, and 4 KiB for each entry.
fn counted(folder: &Path) -> u64 {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        bytes += 4096;
        if metadata.is_dir() {
            bytes += counted(&entry.path());
        } else if metadata.is_file() {
            bytes += metadata.len();
        }
    }
    bytes
}

#[tokio::test]
async fn a_folder_has_its_quota_however_it_is_filled() {
    const LIMIT: u64 = 64 << 10;
    let engine = engine();
    let house = tempdir().unwrap();
    let remote = Remote::load(&engine, "fills", [writable(&house, LIMIT)]).await;
    assert_eq!(remote.open("file", CREATE, WRITE).await, 0);

    // By size alone: it need not take any room to count.
    assert_eq!(remote.call("set-size", &[Val::U64(8 << 40)]).await, QUOTA);
    assert_eq!(remote.call("set-size", &[Val::U64(LIMIT)]).await, QUOTA);
    assert_eq!(remote.call("set-size", &[Val::U64(LIMIT - 4096)]).await, 0);
    assert_eq!(remote.call("set-size", &[Val::U64(0)]).await, 0);

    // By writing, far from the start, too.
    assert_eq!(remote.write(b"x", 1 << 40).await, QUOTA);
    assert_eq!(remote.write(&[1; 10_000], 0).await, 0);
    assert_eq!(remote.write(&[1; 10_000], LIMIT - 4096).await, QUOTA);
    // Over what is there already nothing is added.
    for _ in 0..20 {
        assert_eq!(remote.write(&[2; 10_000], 0).await, 0);
    }
    assert_eq!(counted(house.path()), 14_096);

    // By streams; a stream that fails is closed.
    assert_eq!(remote.call("open-output", &[Val::U32(1)]).await, 0);
    let mut written = 0;
    while remote.call("put-and-flush", &[list(&[3; 4096])]).await == 0 {
        written += 1;
        assert!(written < 100);
    }
    assert_eq!(written, (LIMIT - 14_096) / 4096);
    assert!(counted(house.path()) <= LIMIT);

    // What is cut off is room again; so is what is opened to be written anew.
    assert_eq!(remote.open("file", TRUNCATE, WRITE).await, 0);
    assert_eq!(counted(house.path()), 4096);

    // By many small things with long names.
    let mut made = 0;
    loop {
        let name = format!("{}{made}", "n".repeat(240));
        let code = match made % 4 {
            0 => remote.open(&name, CREATE | EXCLUSIVE, WRITE).await,
            1 => remote.call("create-directory", &[text(&name)]).await,
            2 => remote.call("symlink", &[text("file"), text(&name)]).await,
            _ => remote.call("link", &[text("file"), text(&name)]).await,
        };
        if code != 0 {
            assert_eq!(code, QUOTA);
            break;
        }
        made += 1;
        assert!(made < 100);
    }
    assert_eq!(made, LIMIT / 4096 - 1);
    assert_eq!(counted(house.path()), LIMIT);
    // A name that is there already needs no room.
    assert_eq!(remote.open("file", CREATE, WRITE).await, 0);
    assert_eq!(remote.write(b"", 0).await, 0);
}

#[tokio::test]
async fn what_is_removed_is_room_again_but_not_before_it_is_gone() {
    const LIMIT: u64 = 64 << 10;
    let engine = engine();
    let house = tempdir().unwrap();
    let remote = Remote::load(&engine, "removes", [writable(&house, LIMIT)]).await;
    let big = Val::U64(LIMIT / 2);
    let full = Val::U64(LIMIT - 4096);

    // Removed and still open, it takes its room; closed, it does not.
    assert_eq!(remote.open("file", CREATE, WRITE).await, 0);
    assert_eq!(remote.call("set-size", std::slice::from_ref(&big)).await, 0);
    assert_eq!(remote.call("unlink", &[text("file")]).await, 0);
    assert_eq!(remote.call("set-size", &[Val::U64(LIMIT + 1)]).await, QUOTA);
    assert_eq!(remote.call("set-size", std::slice::from_ref(&big)).await, 0);
    assert_eq!(remote.call("close", &[]).await, 0);
    assert_eq!(remote.open("file", CREATE, WRITE).await, 0);
    assert_eq!(
        remote.call("set-size", std::slice::from_ref(&full)).await,
        0
    );
    assert_eq!(remote.call("set-size", std::slice::from_ref(&big)).await, 0);

    // With a second name it is not gone with the first.
    assert_eq!(
        remote.call("link", &[text("file"), text("second")]).await,
        0
    );
    assert_eq!(remote.call("close", &[]).await, 0);
    assert_eq!(remote.call("unlink", &[text("file")]).await, 0);
    assert_eq!(remote.open("other", CREATE, WRITE).await, 0);
    assert_eq!(
        remote.call("set-size", std::slice::from_ref(&big)).await,
        QUOTA
    );

    // What another takes the place of is gone.
    assert_eq!(
        remote
            .call("rename", &[text("other"), text("second")])
            .await,
        0
    );
    assert_eq!(remote.call("set-size", &[full]).await, 0);
    assert_eq!(counted(house.path()), LIMIT);

    assert_eq!(remote.call("set-size", &[Val::U64(0)]).await, 0);
    assert_eq!(remote.call("create-directory", &[text("folder")]).await, 0);
    assert_eq!(remote.call("remove-directory", &[text("folder")]).await, 0);
    assert_eq!(remote.call("set-size", &[Val::U64(LIMIT - 4096)]).await, 0);
}

#[tokio::test]
async fn what_is_in_a_folder_when_it_is_granted_counts_and_so_do_its_neighbours() {
    const LIMIT: u64 = 64 << 10;
    let (transcript, _guard) = Transcript::start();
    let engine = engine();
    let house = tempdir().unwrap();
    fs::create_dir(house.path().join("folder")).unwrap();
    fs::write(house.path().join("folder/old"), vec![0; 30_000]).unwrap();
    let one = Remote::load(&engine, "one", [writable(&house, LIMIT)]).await;
    let other = Remote::load(&engine, "other", [writable(&house, LIMIT)]).await;
    assert_eq!(one.open("one", CREATE, WRITE).await, 0);
    assert_eq!(other.open("other", CREATE, WRITE).await, 0);
    let left = LIMIT - counted(house.path());
    assert_eq!(one.call("set-size", &[Val::U64(left)]).await, 0);
    assert_eq!(transcript.take_messages(), [""; 0]);
    for _ in 0..3 {
        assert_eq!(other.write(b"x", 0).await, QUOTA);
    }
    // The operator is told once.
    let lines = transcript.take_messages();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("\"data\" has no room for 1B more: 64KiB of 64KiB")
            && lines[0].contains("`quota`"),
        "{lines:?}"
    );
    // After a restart the folder is measured again.
    engine.restart_component(&other.handle).await.unwrap();
    assert_eq!(other.open("other", 0, WRITE).await, 0);
    assert_eq!(other.write(b"x", 0).await, QUOTA);
    assert!(counted(house.path()) <= LIMIT);
}

#[tokio::test]
async fn what_lies_under_two_quotas_is_on_two_devices() {
    let engine = engine();
    let (one, other) = (tempdir().unwrap(), tempdir().unwrap());
    let second = |quota| WasiGrant::Dir {
        guest: "second".to_owned(),
        host: other.path().to_owned(),
        access: DirAccess::Write,
        quota,
    };
    fs::write(one.path().join("file"), vec![0; 100_000]).unwrap();
    let grants = [writable(&one, 1 << 20), second(Some(8192))];
    let remote = Remote::load(&engine, "two", grants).await;
    for over in ["move-over", "link-over"] {
        let paths = [text("file"), text("mine")];
        assert_eq!(remote.call(over, &paths).await, CROSS_DEVICE);
    }
    // Without quotas it is a matter of the disks.
    let grants = [dir(one.path(), DirAccess::Write, None), second(None)];
    let remote = Remote::load(&engine, "none", grants).await;
    let moved = remote
        .call("move-over", &[text("file"), text("mine")])
        .await;
    assert_eq!(moved, 0);
    assert_eq!(fs::read(other.path().join("mine")).unwrap().len(), 100_000);
}

/// Folders within each other, made one by one as a component would: the path to the
/// innermost is longer than the system takes.
fn nest(house: &Path, levels: usize) {
    use std::os::fd::OwnedFd;

    use rustix::fs::{Mode, OFlags, mkdirat, open, openat};

    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut at: OwnedFd = open(house, flags, Mode::empty()).unwrap();
    for _ in 0..levels {
        let name = "d".repeat(250);
        mkdirat(&at, &name, Mode::RWXU).unwrap();
        at = openat(&at, &name, flags, Mode::empty()).unwrap();
    }
    let file = openat(&at, "file", OFlags::WRONLY | OFlags::CREATE, Mode::RUSR).unwrap();
    fs::File::from(file).set_len(100_000).unwrap();
}

#[tokio::test]
async fn a_folder_is_measured_however_deep_it_is() {
    let engine = engine();
    // Beyond the longest path.
    for (levels, room, code) in [(30, 100_000, 0), (30, 90_000, QUOTA), (1000, 100_000, 0)] {
        let house = tempdir().unwrap();
        nest(house.path(), levels);
        // The folders, the file in the innermost, and the one that is made.
        let used = (levels as u64 + 2) * 4096;
        let remote = Remote::load(&engine, "deep", [writable(&house, used + room)]).await;
        let made = remote.open("new", CREATE, WRITE).await;
        assert_eq!(made, code, "{levels} levels");
        // Its path is too long for what removes a folder otherwise.
        let emptied = std::process::Command::new("rm")
            .arg("-rf")
            .arg(house.path())
            .status();
        assert!(emptied.unwrap().success());
    }
}

#[tokio::test]
#[ignore = "makes 30,000 folders"]
async fn what_cannot_be_measured_is_full_until_it_can_be() {
    let (transcript, _guard) = Transcript::start();
    let engine = engine();
    let house = tempdir().unwrap();
    let wide = house.path().join("wide");
    fs::create_dir(&wide).unwrap();
    for number in 0..30_000 {
        fs::create_dir(wide.join(format!("{}{number:05}", "d".repeat(245)))).unwrap();
    }
    let remote = Remote::load(&engine, "wide", [writable(&house, 1 << 40)]).await;
    assert_eq!(remote.open("new", CREATE, WRITE).await, QUOTA);
    let told = transcript.take_messages();
    let expected = "its folder \"data\" counts as full, because it cannot be measured: \"wide\": \
                    it has too many folders beside each other";
    assert!(
        told.iter().any(|line| line.starts_with(expected)),
        "{told:?}"
    );
    fs::remove_dir_all(&wide).unwrap();
    assert_eq!(remote.open("new", CREATE, WRITE).await, 0);
}

#[tokio::test]
async fn those_who_share_a_folder_share_its_count_whatever_their_quotas() {
    let engine = engine();
    let house = tempdir().unwrap();
    fs::write(house.path().join("there"), vec![0; 500_000]).unwrap();
    let small = Remote::load(&engine, "small", [writable(&house, 8 << 10)]).await;
    let large = Remote::load(&engine, "large", [writable(&house, 1 << 20)]).await;
    // Whoever measures first measures all of it.
    assert_eq!(small.open("mine", CREATE, WRITE).await, QUOTA);
    assert_eq!(large.open("mine", CREATE, WRITE).await, 0);
    let full = Val::U64((1 << 20) - 500_000 - 2 * 4096);
    assert_eq!(large.call("set-size", std::slice::from_ref(&full)).await, 0);
    assert_eq!(large.open("one-more", CREATE, WRITE).await, QUOTA);
}

#[tokio::test]
async fn folders_count_with_what_their_names_take() {
    const QUOTA_BYTES: u64 = 2 << 20;
    let engine = engine();
    let house = tempdir().unwrap();
    let remote = Remote::load(&engine, "names", [writable(&house, QUOTA_BYTES)]).await;
    // Each in a way of its own to make a name. Where a file system keeps the room that names
    // took, it is counted.
    let mut taken = 0;
    for folder in ["by-opening", "by-a-link", "by-moving"] {
        assert_eq!(remote.call("create-directory", &[text(folder)]).await, 0);
        let mut made = Vec::new();
        for number in 0..150 {
            let name = format!("{folder}/{}{number}", "n".repeat(240));
            let opened = match folder {
                "by-opening" => &name,
                "by-a-link" => {
                    let linked = remote.call("symlink", &[text(&name), text("new")]).await;
                    assert_eq!(linked, 0);
                    "new"
                }
                _ => "new",
            };
            assert_eq!(remote.open(opened, CREATE, WRITE).await, 0);
            assert_eq!(remote.call("close", &[]).await, 0);
            match folder {
                "by-opening" => {}
                "by-a-link" => assert_eq!(remote.call("unlink", &[text("new")]).await, 0),
                _ => {
                    let moved = remote.call("rename", &[text("new"), text(&name)]).await;
                    assert_eq!(moved, 0);
                }
            }
            made.push(name);
        }
        for name in made {
            assert_eq!(remote.call("unlink", &[text(&name)]).await, 0);
        }
        taken += fs::metadata(house.path().join(folder))
            .unwrap()
            .len()
            .max(4096);
    }
    assert_eq!(remote.open("rest", CREATE, WRITE).await, 0);
    let own = fs::metadata(house.path()).unwrap().len().max(4096) - 4096;
    let rest = QUOTA_BYTES - own - taken - 4096;
    assert_eq!(remote.call("set-size", &[Val::U64(rest + 1)]).await, QUOTA);
    assert_eq!(remote.call("set-size", &[Val::U64(rest)]).await, 0);
    // Measured anew, it is the same.
    engine.restart_component(&remote.handle).await.unwrap();
    assert_eq!(remote.open("rest", 0, WRITE).await, 0);
    assert_eq!(remote.call("set-size", &[Val::U64(rest + 1)]).await, QUOTA);
    // With the folders, what they took is gone.
    for folder in ["by-opening", "by-a-link", "by-moving"] {
        assert_eq!(remote.call("remove-directory", &[text(folder)]).await, 0);
    }
    let all = QUOTA_BYTES - own - 4096;
    assert_eq!(remote.call("set-size", &[Val::U64(all + 1)]).await, QUOTA);
    assert_eq!(remote.call("set-size", &[Val::U64(all)]).await, 0);
}

#[tokio::test]
async fn a_granted_folder_stays_the_same_as_long_as_its_component_is_loaded() {
    let engine = engine();
    let place = tempdir().unwrap();
    let (data, other) = (place.path().join("data"), place.path().join("other"));
    for folder in [&data, &other] {
        fs::create_dir(folder).unwrap();
    }
    let grant = dir(&data, DirAccess::Write, Some(1 << 20));
    let remote = Remote::load(&engine, "swapped", [grant]).await;
    fs::rename(&data, place.path().join("old")).unwrap();
    symlink(&other, &data).unwrap();
    engine.restart_component(&remote.handle).await.unwrap();
    assert_eq!(remote.open("file", CREATE, WRITE).await, 0);
    assert!(place.path().join("old/file").exists());
    assert!(!other.join("file").exists());
}

/// What is granted is a place, and what lies there: not what somebody puts a link to.
#[tokio::test]
async fn in_place_of_a_granted_folder_that_was_removed_no_other_is_granted() {
    let engine = engine();
    let place = tempdir().unwrap();
    let (data, other) = (place.path().join("data"), place.path().join("other"));
    for folder in [&data, &other] {
        fs::create_dir(folder).unwrap();
    }
    let grant = dir(&data, DirAccess::Write, Some(1 << 20));
    let remote = Remote::load(&engine, "removed", [grant]).await;
    fs::remove_dir(&data).unwrap();
    for target in [&other, place.path()] {
        symlink(target, &data).unwrap();
        let error = engine.restart_component(&remote.handle).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("what is in its place now is not the folder"),
            "{text}"
        );
        fs::remove_file(&data).unwrap();
    }
    // One of its own, it may have.
    fs::create_dir(&data).unwrap();
    engine.restart_component(&remote.handle).await.unwrap();
    assert_eq!(remote.open("file", CREATE, WRITE).await, 0);
    assert!(data.join("file").exists());
}

#[tokio::test]
async fn an_unbounded_folder_has_no_quota() {
    let engine = engine();
    let house = tempdir().unwrap();
    let grant = dir(house.path(), DirAccess::Write, None);
    let remote = Remote::load(&engine, "unbounded", [grant]).await;
    assert_eq!(remote.open("file", CREATE, WRITE).await, 0);
    assert_eq!(remote.call("set-size", &[Val::U64(1 << 30)]).await, 0);
}

#[tokio::test]
async fn paths_are_no_longer_than_a_file_system_takes() {
    let engine = engine();
    let house = tempdir().unwrap();
    let remote = Remote::load(&engine, "paths", [writable(&house, 1 << 20)]).await;
    for length in [4096, 200_000] {
        assert_eq!(
            remote.open(&"a".repeat(length), CREATE, WRITE).await,
            NAME_TOO_LONG
        );
    }
    let target = "b/".repeat(2048);
    let linked = remote.call("symlink", &[text(&target), text("link")]).await;
    assert_eq!(linked, NAME_TOO_LONG);
    assert_eq!(counted(house.path()), 0);
}

#[tokio::test]
async fn a_component_has_so_many_files_folders_and_sockets_open() {
    let (transcript, _guard) = Transcript::start();
    let engine = engine();
    let house = tempdir().unwrap();
    fs::write(house.path().join("file"), "x").unwrap();
    let grants = || {
        let address = "127.0.0.1:9".parse().unwrap();
        [
            dir(house.path(), DirAccess::Read, None),
            WasiGrant::Connect(address),
        ]
    };
    let remote = Remote::load(&engine, "opens", grants()).await;
    // The granted folder is one of the 64.
    for number in 0..63 {
        let opened = match number % 2 {
            0 => remote.open("file", 0, READ).await,
            _ => remote.call("tcp-socket", &[Val::U32(0)]).await,
        };
        assert_eq!(opened, 0, "{number}");
    }
    assert_eq!(remote.open("file", 0, READ).await, INSUFFICIENT_MEMORY);
    assert_eq!(remote.call("begin-listing", &[]).await, INSUFFICIENT_MEMORY);
    assert_eq!(
        remote.call("tcp-socket", &[Val::U32(1)]).await,
        NEW_SOCKET_LIMIT
    );
    let lines = transcript.take_messages();
    assert_eq!(
        lines,
        ["it has 64 files, folders and sockets open, and may have no more"]
    );
    // What is closed can be opened again; nobody else is concerned.
    assert_eq!(remote.call("close-socket", &[]).await, 0);
    assert_eq!(remote.open("file", 0, READ).await, 0);
    let other = Remote::load(&engine, "others", grants()).await;
    assert_eq!(other.open("file", 0, READ).await, 0);
    engine.restart_component(&remote.handle).await.unwrap();
    for _ in 0..63 {
        assert_eq!(remote.open("file", 0, READ).await, 0);
    }
}

#[tokio::test]
async fn streams_of_sockets_take_no_larger_chunks_than_others_and_are_charged() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Whom nobody reads from has a chunk waiting in the host.
    let accepted = std::thread::spawn(move || -> Vec<_> { listener.incoming().take(60).collect() });
    let config = EngineConfig::default().with_max_held_bytes(1 << 20);
    let engine = WasmtimeEngine::new(config, HostServices::default()).unwrap();
    let grant = WasiGrant::Connect(address);
    let remote = Remote::load(&engine, "connects", [grant]).await;
    let port = [Val::U32(address.port().into())];
    assert_eq!(remote.call("connect", &port).await, 0);
    assert_eq!(remote.call("permit", &[]).await, 16 << 10);
    assert!(remote.call("put-all", &[]).await >= 16 << 10);
    // Two streams, each with its socket: 35 KiB.
    let (times, error) = until_it_fails(&remote, "connect", &port).await;
    assert!((20..=29).contains(&times), "{times}");
    let WasmError::ResourceLimitExceeded { resource, .. } = &error else {
        panic!("{error:?}");
    };
    let item = "the streams of a socket";
    assert_eq!(*resource, Resource::HostMemory { item });
    for _ in times + 2..60 {
        TcpStream::connect(address).unwrap();
    }
    drop(accepted.join().unwrap());
}

#[tokio::test]
async fn sockets_are_not_made_without_a_grant_and_never_for_udp() {
    let validator = Arc::new(RecordingValidator::new());
    let services = HostServices::default().with_validator(Arc::clone(&validator) as _);
    let engine = engine_with(services);
    let remote = Remote::load(&engine, "sockets", []).await;
    for _ in 0..100 {
        let made = remote.call("tcp-socket", &[Val::U32(0)]).await;
        assert_eq!(made, ACCESS_DENIED);
    }
    let grant = WasiGrant::Connect("127.0.0.1:9".parse().unwrap());
    let remote = Remote::load(&engine, "connects", [grant]).await;
    assert_eq!(remote.call("tcp-socket", &[Val::U32(0)]).await, 0);
    for _ in 0..100 {
        let made = remote.call("udp-socket", &[Val::U32(0)]).await;
        assert_eq!(made, ACCESS_DENIED);
    }
    let denials = validator.take_denials().into_iter();
    let denials: Vec<_> = denials.map(|(_, denied)| denied.capability).collect();
    let told = [Capability::TcpSocket, Capability::UdpSocket].map(|it| vec![it; 100]);
    assert_eq!(denials, told.concat());
}

/// What the process has in memory, in KiB.
fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.unwrap().parse().unwrap()
}

/// Functions to be called with these arguments, over and over.
type Steps = Vec<(&'static str, Vec<Val>)>;

/// Calls one function after the other, over and over, as long as it goes well and at the
/// most `times`.
async fn do_the_worst(remote: &Remote<'_>, steps: &Steps, times: Option<u32>) -> u32 {
    let mut done = 0;
    loop {
        for (function, args) in steps {
            if times == Some(done) {
                return done;
            }
            match remote.try_call(function, args).await {
                Ok(_) => done += 1,
                Err(_) => return done,
            }
        }
        // Refused without being charged, as what has a budget of its own.
        if done > 1000 {
            return done;
        }
    }
}

/// Which row of the table a process measures.
const ROW: &str = "HELD_ROW";

/// Prints a table, each row from a process of its own: memory that was freed before would
/// hide what is taken.
#[test]
#[ignore = "takes a while"]
fn the_host_holds_at_most_8_mib_for_a_guest_of_512_kib_doing_its_worst() {
    println!("| permission | what it piles up | calls | held by the host, each |");
    println!("|---|---|---|---|");
    for row in 0..rows(Path::new(""), 0).len() {
        let measured = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--ignored",
                "--nocapture",
                "--exact",
                "held::a_row_of_the_table",
            ])
            .env(ROW, row.to_string())
            .output()
            .unwrap();
        let said = String::from_utf8(measured.stdout).unwrap();
        assert!(measured.status.success(), "{said}");
        println!(
            "{}",
            said.lines().find(|line| line.starts_with('|')).unwrap()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures its process; run by the test above"]
async fn a_row_of_the_table() {
    const INSTANCES: u64 = 16;
    let Ok(row) = std::env::var(ROW) else {
        return;
    };
    let house = tempdir().unwrap();
    for number in 0..2000 {
        fs::write(
            house.path().join(format!("{}{number}", "n".repeat(200))),
            "",
        )
        .unwrap();
    }
    fs::write(house.path().join("file"), vec![7; 100_000]).unwrap();
    // Somebody who accepts every connection, and reads nothing.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut accepted = Vec::new();
        while let Ok((stream, _)) = listener.accept() {
            accepted.push(stream);
        }
    });
    let row = rows(house.path(), port).swap_remove(row.parse().unwrap());
    let engine = engine();
    let scout = Remote::load(&engine, "scout", row.grants.clone()).await;
    let times = do_the_worst(&scout, &row.steps, None).await;
    engine.unload_component(&scout.handle).await.unwrap();
    let before = resident_kib();
    let mut remotes = Vec::new();
    for number in 0..INSTANCES {
        let name = number.to_string();
        remotes.push(Remote::load(&engine, &name, row.grants.clone()).await);
    }
    for remote in &remotes {
        assert_eq!(do_the_worst(remote, &row.steps, Some(times)).await, times);
    }
    let kib = resident_kib().saturating_sub(before) / INSTANCES;
    let (permission, what) = (row.permission, row.what);
    println!("\n| {permission} | {what} | {times} | {kib} KiB |");
    assert!(kib <= 8 << 10, "{kib} KiB");
}

struct Row {
    permission: &'static str,
    what: &'static str,
    grants: Vec<WasiGrant>,
    steps: Steps,
}

fn rows(house: &Path, port: u16) -> Vec<Row> {
    let number = |number: u32| Val::U32(number);
    let http = |kind, length| ("http", vec![number(kind), number(length)]);
    let open = |flags| {
        let args = vec![number(1), text("file"), number(0), number(flags)];
        ("open", args)
    };
    let nothing = |function| (function, Vec::new());
    let chunk = list(&[7; 16 << 10]);
    let read = dir(house, DirAccess::Read, None);
    let write = dir(house, DirAccess::Write, None);
    let connect = WasiGrant::Connect(([127, 0, 0, 1], port).into());
    let listing: Steps = vec![nothing("read-some-entries")];
    let reading: Steps = vec![open(READ), nothing("read-ahead"), nothing("read-ahead")];
    let putting: Steps = vec![
        open(WRITE),
        ("open-output", vec![number(1)]),
        ("put", vec![chunk.clone()]),
        ("open-output", vec![number(1)]),
        ("put", vec![chunk]),
    ];
    let sockets: Steps = vec![("connect", vec![number(port.into())]), nothing("put-all")];
    let streams = vec![WasiGrant::Stdout, WasiGrant::Stderr, WasiGrant::Env];
    let all = [streams.clone(), vec![write.clone(), connect.clone()]].concat();
    let everything = [
        listing.clone(),
        reading.clone(),
        putting.clone(),
        sockets.clone(),
        vec![http(8, 20_000)],
    ];
    let row = |permission, what, grants: &[WasiGrant], steps| Row {
        permission,
        what,
        grants: grants.to_vec(),
        steps,
    };
    vec![
        row("none", "fields", &[], vec![http(0, 3000)]),
        row("none", "fields of many values", &[], vec![http(1, 90)]),
        row("none", "copies of fields", &[], vec![http(2, 0)]),
        row("none", "options of requests", &[], vec![http(3, 0)]),
        row("none", "bodies of responses", &[], vec![http(4, 1024)]),
        row("none", "methods", &[], vec![http(5, 100_000)]),
        row("none", "paths", &[], vec![http(6, 60_000)]),
        row("none", "authorities", &[], vec![http(8, 400_000)]),
        row("none", "bodies of requests", &[], vec![http(10, 0)]),
        row(
            "stdout, stderr, env",
            "authorities",
            &streams,
            vec![http(8, 100_000)],
        ),
        row(
            "dir, read",
            "listings",
            std::slice::from_ref(&read),
            listing,
        ),
        row("dir, read", "files read ahead", &[read], reading),
        row("dir, write", "files to be written", &[write], putting),
        row("connect", "sockets", &[connect], sockets),
        row("all", "everything in turn", &all, everything.concat()),
    ]
}
