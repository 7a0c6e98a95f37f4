//! From the grants of a component to what its instance has of WASI.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use cap_primitives::ambient_authority;
use cap_primitives::fs::open_ambient_dir;
use tokio::sync::RwLock;
use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};
use wasmtime_wasi_http::WasiHttpCtx;

use wasm_core::guest::Guest;
use wasm_core::text::PathText as _;
use wasm_core::{Capability, ComponentId, WasiGrant};

use super::account::HostAccount;
use super::clocks::{CoarseMonotonicClock, CoarseWallClock};
use super::descriptors::{Descriptors, PlacedDir};
use super::files::Files;
use super::http::Http;
use super::http::names::{HostNames, Names};
use super::http::outgoing::HttpCaller;
use super::http::trace::TraceContext;
use super::operations::Operations;
use super::output::{GuestOutput, LastWords, OutputHandle};
use super::sockets::SocketPlaces;
use crate::lines::Lines;

/// What a language runtime draws to seed its own generator is far below; each
/// byte costs the host, not the guest.
const MAX_RANDOM_BYTES: u64 = 64 << 10;

/// What the instances of a component share of WASI, one after the other.
pub(crate) struct WasiShare {
    operations: Arc<Operations>,
    pub(crate) descriptors: Arc<Descriptors>,
    pub(crate) account: HostAccount,
    pub(crate) names: Names,
    pub(crate) trace_context: TraceContext,
    /// Whoever replaces a value of the component's storage, depending on what it was, has it
    /// alone.
    pub(crate) values: RwLock<()>,
    /// What `wasi:config` tells, once somebody asks.
    pub(crate) settings: OnceLock<Arc<BTreeMap<String, String>>>,
    /// Folders that no component may come near, such as the cache of compiled code.
    guarded: Box<[PathBuf]>,
    /// Folders that were granted, by their paths.
    folders: Mutex<HashMap<PathBuf, Folder>>,
}

/// A folder that was granted, opened when the first instance was made: whatever its path
/// leads to later, a component has the same one as long as it is there.
struct Folder {
    /// Without links.
    real: PathBuf,
    dir: Arc<PlacedDir>,
}

impl WasiShare {
    pub(crate) fn new(
        component: &ComponentId,
        account: HostAccount,
        guarded: &[PathBuf],
        names: &Arc<HostNames>,
        trace_context: &TraceContext,
    ) -> Self {
        Self {
            operations: Arc::new(Operations::new(component.clone())),
            descriptors: Arc::new(Descriptors::new(component.clone())),
            account,
            names: Names::new(names),
            trace_context: trace_context.clone(),
            values: RwLock::default(),
            settings: OnceLock::new(),
            guarded: guarded.into(),
            folders: Mutex::default(),
        }
    }

    fn folder(&self, host: &Path) -> io::Result<Arc<PlacedDir>> {
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        let known = folders.get(host);
        if let Some(folder) = known.filter(|folder| !is_removed(&folder.dir)) {
            return Ok(Arc::clone(&folder.dir));
        }
        let place = self.descriptors.take().ok_or_else(|| {
            io::Error::other("there are too many files open for another (`ulimit -n`)")
        })?;
        let dir = open_ambient_dir(host, ambient_authority())?;
        let real = host.canonicalize()?;
        if let Some(cache) = self.guarded.iter().find(|one| overlaps(&dir, &real, one)) {
            return Err(io::Error::other(format!(
                "it has to do with the cache of compiled code in {}, whose key would let the \
                 component run what it likes; keep the cache elsewhere (AIRSSYS_WASM_CACHE, \
                 `with_cache` in EngineConfig)",
                cache.escaped()
            )));
        }
        // One that was removed can be replaced by another in its place, and by nothing that
        // lies elsewhere: that nobody has granted.
        let moved = known.filter(|folder| folder.real != real || !is_at(&dir, &folder.real));
        if let Some(folder) = moved {
            return Err(io::Error::other(format!(
                "it was removed, and what is in its place now is not the folder {} that was \
                 granted when the component was loaded",
                folder.real.escaped()
            )));
        }
        let dir = Arc::new(PlacedDir::new(dir, place));
        let folder = Folder {
            real,
            dir: Arc::clone(&dir),
        };
        folders.insert(host.to_owned(), folder);
        Ok(dir)
    }
}

/// Whether an open folder is another one, or lies in it, or has it anywhere in it.
fn overlaps(dir: &File, real: &Path, other: &Path) -> bool {
    // Of one that is not there yet, all that it will lie in.
    let there = other
        .ancestors()
        .find_map(|above| above.canonicalize().ok());
    let Some(there) = there else {
        return false;
    };
    // By what they are: a folder can have several places.
    let is_within = there.ancestors().any(|above| is_at(dir, above));
    is_within || (other.exists() && real.starts_with(&there))
}

/// Whether an open folder is what lies at this path, and no link does.
fn is_at(dir: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (dir.metadata(), path.symlink_metadata()) {
        (Ok(dir), Ok(there)) => {
            there.is_dir() && (dir.dev(), dir.ino()) == (there.dev(), there.ino())
        }
        _ => false,
    }
}

fn is_removed(folder: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    folder
        .metadata()
        .is_ok_and(|metadata| metadata.nlink() == 0)
}

/// What an instance has of WASI.
pub(crate) struct WasiState {
    pub(crate) context: WasiCtx,
    pub(crate) sockets: SocketPlaces,
    pub(crate) http: WasiHttpCtx,
    pub(crate) http_hooks: Http,
    outputs: Vec<Arc<GuestOutput>>,
    pub(crate) last_words: Arc<LastWords>,
}

/// A directory that was granted but cannot be opened.
pub(crate) struct UnreadableDir {
    pub(crate) path: PathBuf,
    pub(crate) error: io::Error,
}

/// The folders that an instance was granted, opened.
pub(crate) fn granted_files(guest: &Guest, share: &WasiShare) -> Result<Files, UnreadableDir> {
    let mut files = Files::new(share.account, &share.operations, &share.descriptors);
    let component = guest.id();
    for grant in &guest.config().permissions.wasi {
        if let WasiGrant::Dir {
            guest,
            host,
            access,
            quota,
        } = grant
        {
            share
                .folder(host)
                .and_then(|dir| files.grant(component, guest, dir, *access, *quota))
                .map_err(|error| UnreadableDir {
                    path: host.clone(),
                    error,
                })?;
        }
    }
    Ok(files)
}

impl WasiState {
    pub(crate) fn new(guest: &Guest, lines: &Arc<Lines>, caller: Arc<dyn HttpCaller>) -> Self {
        let (config, services) = (guest.config(), guest.services());
        let mut outputs = Vec::new();
        let mut connects = false;
        let mut builder = WasiCtxBuilder::new();
        builder
            .max_random_size(MAX_RANDOM_BYTES)
            .wall_clock(CoarseWallClock(Arc::clone(&services.clock)))
            .monotonic_clock(CoarseMonotonicClock(Instant::now()))
            .allow_ip_name_lookup(false)
            .allow_udp(false)
            .allow_tcp(false);
        let mut output = |stream| {
            let output = Arc::new(GuestOutput::new(lines, stream));
            outputs.push(Arc::clone(&output));
            output
        };
        let last_words = Arc::new(LastWords::default());
        let mut stderr = OutputHandle {
            output: None,
            last_words: Some(Arc::clone(&last_words)),
        };
        for grant in &config.permissions.wasi {
            match grant {
                WasiGrant::Stdout => {
                    builder.stdout(OutputHandle {
                        output: Some(output("stdout")),
                        last_words: None,
                    });
                }
                WasiGrant::Stderr => {
                    stderr.output = Some(output("stderr"));
                }
                WasiGrant::Env => {
                    for (name, value) in config.variables() {
                        builder.env(name, value);
                    }
                }
                WasiGrant::Connect(_) => connects = true,
                // Folders are among the files; a grant that this engine does not know grants
                // nothing.
                _ => {}
            }
        }
        builder.stderr(stderr);
        if connects {
            let caller = Arc::clone(&caller);
            builder
                .allow_tcp(true)
                .socket_addr_check(move |address, usage| {
                    let granted = match usage {
                        SocketAddrUse::TcpConnect => {
                            caller.check(Capability::Connect(address)).is_ok()
                        }
                        // Binding to any port of one's own comes with connecting.
                        SocketAddrUse::TcpBind => {
                            (address.ip().is_unspecified() && address.port() == 0)
                                || caller.check(Capability::Bind(address)).is_ok()
                        }
                        _ => caller.check(Capability::Bind(address)).is_ok(),
                    };
                    Box::pin(async move { granted })
                });
        }
        Self {
            context: builder.build(),
            sockets: SocketPlaces::new(),
            http: Http::context(),
            http_hooks: Http::new(caller),
            outputs,
            last_words,
        }
    }

    /// Writes what was printed and has no line end yet, as at the end of a call.
    pub(crate) fn end_lines(&self) {
        for output in &self.outputs {
            output.end_line();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tempfile::tempdir;

    use super::*;

    #[test]
    fn a_folder_is_where_it_lies_and_not_where_a_link_does() {
        let house = tempdir().unwrap();
        let path = |name: &str| house.path().join(name);
        fs::create_dir(path("one")).unwrap();
        fs::create_dir(path("other")).unwrap();
        fs::write(path("file"), "").unwrap();
        symlink("one", path("link")).unwrap();
        let one = File::open(path("one")).unwrap();
        assert!(is_at(&one, &path("one")));
        for elsewhere in ["other", "file", "link", "nowhere"] {
            assert!(!is_at(&one, &path(elsewhere)), "{elsewhere}");
        }
        assert!(!is_at(&File::open(path("file")).unwrap(), &path("file")));
        assert!(!is_removed(&one));
        fs::remove_dir(path("one")).unwrap();
        assert!(is_removed(&one));
    }

    #[test]
    fn folders_overlap_when_one_is_within_the_other() {
        let house = tempdir().unwrap();
        let house = house.path().canonicalize().unwrap();
        fs::create_dir_all(house.join("a/b/c")).unwrap();
        fs::create_dir(house.join("d")).unwrap();
        let real = house.join("a/b");
        let granted = File::open(&real).unwrap();
        for (other, expected) in [
            ("a/b", true),
            ("a/b/c", true),
            ("a", true),
            ("", true),
            ("d", false),
            ("a/later", false),
            // It is not there yet, and will lie in it.
            ("a/b/later", true),
            ("a/b/c/later/still", true),
        ] {
            assert_eq!(
                overlaps(&granted, &real, &house.join(other)),
                expected,
                "{other}"
            );
        }
    }
}
