use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;

use crate::application::find_manifests;
use crate::source::files_of;

/// Files are looked at, not subscribed to: editors and build tools replace files in
/// many ways, each of which the notifications of each system tell differently, while a
/// time and a size always tell. A look at some files costs microseconds.
const POLL: Duration = Duration::from_millis(300);
/// Folders are looked through for new manifests less often: there may be thousands.
const POLLS_PER_SEARCH: u32 = 4;

/// What became of a manifest, or of a file that it names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is new or says something else, or its component or configuration does.
    Changed(PathBuf),
    Gone(PathBuf),
}

/// The files of an application, as they were last seen.
#[derive(Debug)]
pub(crate) struct Watch {
    folder: PathBuf,
    manifests: BTreeMap<PathBuf, Watched>,
    polls: u32,
}

#[derive(Debug, Default)]
struct Watched {
    /// The manifest first.
    files: Vec<PathBuf>,
    /// As they were when they were last reported.
    known: Vec<Stamp>,
    /// As they were at the last look, if that was another way.
    seen: Option<Vec<Stamp>>,
}

/// `None` for a file that is not there.
type Stamp = Option<(SystemTime, u64)>;

impl Watch {
    /// From how things are now: what is read afterwards is not older.
    pub(crate) fn new(folder: &Path, manifests: &[PathBuf]) -> Self {
        let watched = |manifest: &PathBuf| {
            let files = files_of(manifest);
            Watched {
                known: stamps(&files),
                files,
                seen: None,
            }
        };
        Self {
            folder: folder.to_owned(),
            manifests: manifests
                .iter()
                .map(|manifest| (manifest.clone(), watched(manifest)))
                .collect(),
            polls: 0,
        }
    }

    /// Looks again and again on a thread of its own, until nobody wants to know.
    pub(crate) fn start(mut self) -> mpsc::Receiver<Change> {
        let (sender, changes) = mpsc::channel(1);
        // Not a task: it blocks, and it is no work that the end must wait for.
        thread::spawn(move || {
            loop {
                thread::sleep(POLL);
                for change in self.poll() {
                    if sender.blocking_send(change).is_err() {
                        return;
                    }
                }
                if sender.is_closed() {
                    return;
                }
            }
        });
        changes
    }

    /// What has changed and was the same at two looks: before that, someone may be in
    /// the middle of writing.
    fn poll(&mut self) -> Vec<Change> {
        if self.polls.is_multiple_of(POLLS_PER_SEARCH) {
            // What cannot be looked through now may be at the next search.
            for manifest in find_manifests(&self.folder).unwrap_or_default() {
                let files = vec![manifest.clone()];
                self.manifests.entry(manifest).or_insert(Watched {
                    files,
                    ..Watched::default()
                });
            }
        }
        self.polls = self.polls.wrapping_add(1);
        let mut changes = Vec::new();
        self.manifests.retain(|manifest, watched| {
            let stamps = stamps(&watched.files);
            if stamps == watched.known {
                watched.seen = None;
                return true;
            }
            if watched.seen.as_ref() != Some(&stamps) {
                watched.seen = Some(stamps);
                return true;
            }
            let is_gone = stamps.first().is_none_or(Option::is_none);
            if is_gone {
                changes.push(Change::Gone(manifest.clone()));
                return false;
            }
            watched.known = stamps;
            watched.seen = None;
            let files = files_of(manifest);
            if files != watched.files {
                watched.known = self::stamps(&files);
                watched.files = files;
            }
            changes.push(Change::Changed(manifest.clone()));
            true
        });
        // A folder that was renamed has gone before it comes with the same id.
        changes.sort_by_key(|change| matches!(change, Change::Changed(_)));
        changes
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |file: &PathBuf| {
        let metadata = fs::metadata(file).ok()?;
        // A system that does not tell the time has the size left.
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        Some((modified, metadata.len()))
    };
    files.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[component]\nid = \"demo/a/main\"\nwasm = \"a.wasm\"\n\
                            [resources]\nmemory = \"1MiB\"\nfuel = 1\ntimeout = \"1s\"\n\
                            [config]\nfile = \"a.json\"\n";

    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Self {
            let files = Self(tempfile::tempdir().unwrap());
            files.write("a/Component.toml", MANIFEST);
            files.write("a/a.wasm", "1");
            files
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn watch(&self) -> Watch {
            Watch::new(self.0.path(), &find_manifests(self.0.path()).unwrap())
        }

        fn changed(&self, manifest: &str) -> Vec<Change> {
            vec![Change::Changed(self.path(manifest))]
        }
    }

    /// What is told within a search for new manifests.
    fn polls(watch: &mut Watch) -> Vec<Change> {
        (0..2 * POLLS_PER_SEARCH)
            .flat_map(|_| watch.poll())
            .collect()
    }

    #[test]
    fn every_file_of_a_component_counts() {
        let files = Files::new();
        let mut watch = files.watch();
        assert_eq!(polls(&mut watch), []);
        files.write("a/a.wasm", "12");
        assert_eq!(polls(&mut watch), files.changed("a/Component.toml"));
        // Named and not there yet.
        files.write("a/a.json", "{}");
        assert_eq!(polls(&mut watch), files.changed("a/Component.toml"));
        files.write("a/Component.toml", &MANIFEST.replace("a.wasm", "b.wasm"));
        assert_eq!(polls(&mut watch), files.changed("a/Component.toml"));
        files.write("a/a.wasm", "123");
        assert_eq!(polls(&mut watch), []);
        files.write("a/b.wasm", "1");
        assert_eq!(polls(&mut watch), files.changed("a/Component.toml"));
        files.write("a/README", "1");
        assert_eq!(polls(&mut watch), []);
    }

    #[test]
    fn a_change_is_told_once_it_has_settled() {
        let files = Files::new();
        let mut watch = files.watch();
        for size in 2..10 {
            files.write("a/a.wasm", &"x".repeat(size));
            assert_eq!(watch.poll(), []);
        }
        assert_eq!(watch.poll(), files.changed("a/Component.toml"));
        assert_eq!(watch.poll(), []);
        // Gone and back, as an editor does it.
        fs::remove_file(files.path("a/Component.toml")).unwrap();
        assert_eq!(watch.poll(), []);
        files.write("a/Component.toml", &format!("{MANIFEST}\n"));
        assert_eq!(watch.poll(), []);
        assert_eq!(watch.poll(), files.changed("a/Component.toml"));
    }

    #[test]
    fn manifests_come_and_go() {
        let files = Files::new();
        let mut watch = files.watch();
        files.write("b/c/Component.toml", "not yet");
        assert_eq!(polls(&mut watch), files.changed("b/c/Component.toml"));
        fs::remove_dir_all(files.path("a")).unwrap();
        assert_eq!(
            polls(&mut watch),
            [Change::Gone(files.path("a/Component.toml"))]
        );
        files.write("a/Component.toml", MANIFEST);
        assert_eq!(polls(&mut watch), files.changed("a/Component.toml"));
        // Whichever comes first by name.
        for (from, to) in [("a", "x"), ("x", "a")] {
            fs::rename(files.path(from), files.path(to)).unwrap();
            let gone = files.path(from).join("Component.toml");
            let changed = files.path(to).join("Component.toml");
            let expected = [Change::Gone(gone), Change::Changed(changed)];
            assert_eq!(polls(&mut watch), expected);
        }
    }
}
