use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use wasm_host::{ApplicationProblem, Found, LeftOut};

use crate::input::application::{Application, some_of, tell};
use crate::input::source::manifest::files_of;
use crate::output::report::Report;

/// Files are looked at, not subscribed to: editors and build tools replace files in
/// many ways, each of which the notifications of each system tell differently, while
/// what a file is always tells. A look at some files costs microseconds.
pub(crate) const POLL: Duration = Duration::from_millis(300);
/// Folders are looked through for new manifests less often: there may be thousands.
const POLLS_PER_SEARCH: u32 = 4;
/// With a search at the first of them, and whatever that finds settled at the last.
const LOOKS_WHEN_ASKED: u32 = 2 * POLLS_PER_SEARCH;

/// Somebody wants everything to be read again, and knows that this has ended once it is dropped.
pub(crate) type Asked = oneshot::Sender<()>;

/// What became of a manifest, or of a file that it names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is new or says something else, or its component or configuration does.
    Changed(PathBuf),
    Gone(PathBuf),
    /// Somebody asked to look at the files again, and nothing was found of these manifests.
    Asked(Vec<PathBuf>),
    /// Something is not watched, as this says.
    LeftOut(Report),
}

/// The files of an application, as they were last seen.
#[derive(Debug)]
pub(crate) struct Watch {
    manifests: BTreeMap<PathBuf, Watched>,
    /// What is left out and was told, and how.
    told: BTreeMap<Subject, Report>,
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
    /// At which look they were last reported.
    reported: u32,
}

/// What a file is, without a look into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stamp {
    Absent,
    /// Something is there, and this keeps it from being looked at.
    Unreadable(ErrorKind),
    There(Identity),
}

/// What differs between two files, and between a file and what was written over it. A time
/// and a size do not: tools that make the same file twice give it the same time.
#[cfg(unix)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
    /// Of the last change of the file or of what is known about it, which no tool can set.
    changed: (i64, i64),
    modified: (i64, i64),
    size: u64,
    /// Whether it is a file, a folder or something else, and its permissions.
    mode: u32,
}

#[cfg(unix)]
impl From<fs::Metadata> for Identity {
    fn from(metadata: fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            size: metadata.size(),
            mode: metadata.mode(),
        }
    }
}

/// What every system tells.
#[cfg(not(unix))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    created: Option<std::time::SystemTime>,
    modified: Option<std::time::SystemTime>,
    size: u64,
    is_file: bool,
}

#[cfg(not(unix))]
impl From<fs::Metadata> for Identity {
    fn from(metadata: fs::Metadata) -> Self {
        Self {
            created: metadata.created().ok(),
            modified: metadata.modified().ok(),
            size: metadata.len(),
            is_file: metadata.is_file(),
        }
    }
}

impl Stamp {
    /// Links are followed: it is what they lead to that is read. One that leads nowhere is
    /// there all the same.
    fn of(file: &Path) -> Self {
        match fs::metadata(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Self::known(fs::symlink_metadata(file))
            }
            followed => Self::known(followed),
        }
    }

    fn known(metadata: io::Result<fs::Metadata>) -> Self {
        match metadata {
            Ok(metadata) => Self::There(metadata.into()),
            Err(error) => match error.kind() {
                // Its folder may have become a file.
                ErrorKind::NotFound | ErrorKind::NotADirectory => Self::Absent,
                kind => Self::Unreadable(kind),
            },
        }
    }
}

impl Watch {
    /// From how things are now: what is read afterwards is not older. What was left out
    /// has been told.
    pub(crate) fn new(found: &Found) -> Self {
        let watched = |manifest: &PathBuf| {
            let files = files_of(manifest);
            Watched {
                known: stamps(&files),
                files,
                seen: None,
                reported: 0,
            }
        };
        Self {
            manifests: found
                .manifests
                .iter()
                .map(|manifest| (manifest.clone(), watched(manifest)))
                .collect(),
            told: found.left_out.iter().map(Subject::of).collect(),
            polls: 0,
        }
    }

    /// This was found to be left out, and has been told.
    pub(crate) fn leave_out(&mut self, left_out: &LeftOut) {
        self.manifests.remove(left_out.path());
        self.told.extend([Subject::of(left_out)]);
    }

    /// Looks again and again on a thread of its own, until nobody wants to know.
    pub(crate) fn start(
        self,
        application: Arc<Application>,
        asked: Option<Receiver<Asked>>,
    ) -> mpsc::Receiver<Change> {
        let mut looks = 0;
        let mut under_way = None;
        self.look(application, move || {
            if looks == 0 {
                drop(under_way.take());
                under_way = asked.as_ref().and_then(|asked| asked.try_recv().ok());
                looks = under_way.as_ref().map_or(0, |_| LOOKS_WHEN_ASKED);
            }
            thread::sleep(POLL);
            let is_last = looks == 1;
            looks = looks.saturating_sub(1);
            Some(is_last)
        })
    }

    /// Looks when it is asked to, as often as it takes to know what has settled.
    pub(crate) fn start_when_asked(
        self,
        application: Arc<Application>,
        asked: Receiver<Asked>,
    ) -> mpsc::Receiver<Change> {
        let mut looks = 0;
        let mut under_way = None;
        self.look(application, move || {
            if looks == 0 {
                drop(under_way.take());
                under_way = Some(asked.recv().ok()?);
                looks = LOOKS_WHEN_ASKED;
            }
            thread::sleep(POLL);
            looks -= 1;
            Some(looks == 0)
        })
    }

    /// On a thread of its own, each time after `wait`, which says whether that is the last look
    /// of those that somebody asked for, or nothing once nobody looks any more.
    fn look(
        mut self,
        application: Arc<Application>,
        mut wait: impl FnMut() -> Option<bool> + Send + 'static,
    ) -> mpsc::Receiver<Change> {
        let (sender, changes) = mpsc::channel(1);
        let search = move || {
            let separation = application.separation();
            application.folder().find_more_manifests(&separation)
        };
        // Not a task: it blocks, and it is no work that the end must wait for.
        thread::spawn(move || {
            while let Some(is_last_asked) = wait() {
                let mut changes = self.poll(&search);
                if is_last_asked {
                    changes.push(Change::Asked(self.unreported()));
                }
                for change in changes {
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

    /// Manifests of which nothing was reported since somebody asked.
    fn unreported(&self) -> Vec<PathBuf> {
        let manifests = self.manifests.iter().filter(|(_, watched)| {
            let looks_since = self.polls.wrapping_sub(watched.reported);
            watched.seen.is_none() && looks_since >= LOOKS_WHEN_ASKED
        });
        manifests.map(|(manifest, _)| manifest.clone()).collect()
    }

    /// What has changed and was the same at two looks: before that, someone may be in
    /// the middle of writing.
    fn poll(&mut self, search: &impl Fn() -> Result<Found, ApplicationProblem>) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.polls.is_multiple_of(POLLS_PER_SEARCH) {
            changes = self.take_in(search());
        }
        self.polls = self.polls.wrapping_add(1);
        let polls = self.polls;
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
            let is_gone = stamps.first().is_none_or(|stamp| *stamp == Stamp::Absent);
            if is_gone {
                changes.push(Change::Gone(manifest.clone()));
                return false;
            }
            watched.known = stamps;
            watched.seen = None;
            watched.reported = polls;
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

    /// Watches what is new. What cannot be looked through now may be at the next search, and
    /// what is watched goes on being.
    fn take_in(&mut self, found: Result<Found, ApplicationProblem>) -> Vec<Change> {
        let (manifests, left_out) = match found {
            Ok(found) => {
                let left_out = found.left_out.iter().map(Subject::of).collect();
                (found.manifests, left_out)
            }
            Err(problem) => {
                let told = (Subject::Search, Report::warning(problem.to_string()));
                (Vec::new(), BTreeMap::from([told]))
            }
        };
        for manifest in manifests {
            let files = vec![manifest.clone()];
            self.manifests.entry(manifest).or_insert(Watched {
                files,
                ..Watched::default()
            });
        }
        let is_news = |(subject, report): &(&Subject, &Report)| match self.told.get(subject) {
            Some(_) if matches!(subject, Subject::Grant(_)) => false,
            told => told != Some(report),
        };
        let news = left_out.iter().filter(is_news);
        let news = some_of(news.map(|(_, report)| report.clone()).collect());
        let changes = news.into_iter().map(Change::LeftOut).collect();
        // What comes back is told again, but for what components do.
        self.told.retain(|subject, _| {
            left_out.contains_key(subject) || matches!(subject, Subject::Grant(_))
        });
        self.told.extend(left_out);
        changes
    }
}

/// What something that is left out is about.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    /// The whole folder.
    Search,
    Path(PathBuf),
    /// The grant of a folder. A component may write as many manifests there as it likes, and
    /// is told of once.
    Grant(String),
}

impl Subject {
    fn of(left_out: &LeftOut) -> (Self, Report) {
        let subject = match left_out {
            LeftOut::InData { grant, .. } => Self::Grant(grant.to_string()),
            left_out => Self::Path(left_out.path().to_owned()),
        };
        (subject, tell(left_out))
    }
}

pub(crate) fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    files.iter().map(|file| Stamp::of(file)).collect()
}

#[cfg(test)]
mod tests {
    use wasm_host::{ApplicationFolder, Separation};

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

        fn search(&self) -> Result<Found, ApplicationProblem> {
            ApplicationFolder::open(self.0.path())?.find_more_manifests(&Separation::new())
        }

        fn watch(&self) -> Watch {
            Watch::new(&self.search().unwrap())
        }

        fn changed(&self, manifest: &str) -> Vec<Change> {
            vec![Change::Changed(self.path(manifest))]
        }
    }

    /// What is told within a search for new manifests.
    fn polls(watch: &mut Watch, files: &Files) -> Vec<Change> {
        polls_with(watch, || files.search())
    }

    fn polls_with(
        watch: &mut Watch,
        search: impl Fn() -> Result<Found, ApplicationProblem>,
    ) -> Vec<Change> {
        let polls = 0..2 * POLLS_PER_SEARCH;
        polls.flat_map(|_| watch.poll(&search)).collect()
    }

    #[test]
    fn every_file_of_a_component_counts() {
        let files = Files::new();
        let mut watch = files.watch();
        assert_eq!(polls(&mut watch, &files), []);
        files.write("a/a.wasm", "12");
        assert_eq!(polls(&mut watch, &files), files.changed("a/Component.toml"));
        // Named and not there yet.
        files.write("a/a.json", "{}");
        assert_eq!(polls(&mut watch, &files), files.changed("a/Component.toml"));
        files.write("a/Component.toml", &MANIFEST.replace("a.wasm", "b.wasm"));
        assert_eq!(polls(&mut watch, &files), files.changed("a/Component.toml"));
        files.write("a/a.wasm", "123");
        assert_eq!(polls(&mut watch, &files), []);
        files.write("a/b.wasm", "1");
        assert_eq!(polls(&mut watch, &files), files.changed("a/Component.toml"));
        files.write("a/README", "1");
        assert_eq!(polls(&mut watch, &files), []);
    }

    #[test]
    fn what_was_not_reported_is_tried_again_when_somebody_asks() {
        let files = Files::new();
        files.write("b/Component.toml", MANIFEST);
        let mut watch = files.watch();
        let both = [
            files.path("a/Component.toml"),
            files.path("b/Component.toml"),
        ];
        assert_eq!(polls(&mut watch, &files), []);
        assert_eq!(watch.unreported(), both);
        files.write("a/a.wasm", "12");
        assert_eq!(polls(&mut watch, &files), files.changed("a/Component.toml"));
        assert_eq!(watch.unreported(), both[1..]);
        assert_eq!(polls(&mut watch, &files), []);
        assert_eq!(watch.unreported(), both);
        // It may be in the middle of being written.
        files.write("a/a.wasm", "123");
        assert_eq!(watch.poll(&|| files.search()), []);
        assert_eq!(watch.unreported(), both[1..]);
    }

    #[test]
    fn a_change_is_told_once_it_has_settled() {
        let files = Files::new();
        let mut watch = files.watch();
        for size in 2..10 {
            files.write("a/a.wasm", &"x".repeat(size));
            assert_eq!(watch.poll(&|| files.search()), []);
        }
        assert_eq!(
            watch.poll(&|| files.search()),
            files.changed("a/Component.toml")
        );
        assert_eq!(watch.poll(&|| files.search()), []);
        // Gone and back, as an editor does it.
        fs::remove_file(files.path("a/Component.toml")).unwrap();
        assert_eq!(watch.poll(&|| files.search()), []);
        files.write("a/Component.toml", &format!("{MANIFEST}\n"));
        assert_eq!(watch.poll(&|| files.search()), []);
        assert_eq!(
            watch.poll(&|| files.search()),
            files.changed("a/Component.toml")
        );
    }

    #[test]
    fn manifests_come_and_go() {
        let files = Files::new();
        let mut watch = files.watch();
        files.write("b/c/Component.toml", "not yet");
        assert_eq!(
            polls(&mut watch, &files),
            files.changed("b/c/Component.toml")
        );
        fs::remove_dir_all(files.path("a")).unwrap();
        assert_eq!(
            polls(&mut watch, &files),
            [Change::Gone(files.path("a/Component.toml"))]
        );
        files.write("a/Component.toml", MANIFEST);
        assert_eq!(polls(&mut watch, &files), files.changed("a/Component.toml"));
        // Whichever comes first by name.
        for (from, to) in [("a", "x"), ("x", "a")] {
            fs::rename(files.path(from), files.path(to)).unwrap();
            let gone = files.path(from).join("Component.toml");
            let changed = files.path(to).join("Component.toml");
            let expected = [Change::Gone(gone), Change::Changed(changed)];
            assert_eq!(polls(&mut watch, &files), expected);
        }
    }

    fn left_out(problem: &impl ToString) -> Change {
        Change::LeftOut(Report::warning(problem.to_string()))
    }

    /// A folder that cannot be read is injected: root reads everything.
    #[test]
    fn what_is_left_out_is_told_once_and_ends_nothing() {
        let files = Files::new();
        let mut watch = files.watch();
        let denied = || LeftOut::Unreadable {
            folder: files.path("locked"),
            source: ErrorKind::PermissionDenied.into(),
        };
        let locked = || {
            let mut found = files.search()?;
            found.left_out.push(denied());
            Ok(found)
        };
        assert_eq!(polls_with(&mut watch, locked), [left_out(&denied())]);
        files.write("b/Component.toml", "not yet");
        let changed = files.changed("b/Component.toml");
        assert_eq!(polls_with(&mut watch, locked), changed);
        // Unlocked and locked again.
        assert_eq!(polls(&mut watch, &files), []);
        assert_eq!(polls_with(&mut watch, locked), [left_out(&denied())]);

        // The folder itself.
        let gone = || {
            let folder = files.path("");
            Err(ApplicationProblem::TooManyFolders { folder })
        };
        let told = polls_with(&mut watch, gone);
        assert_eq!(told, [left_out(&gone().unwrap_err())]);
        files.write("a/a.wasm", "12");
        let changed = files.changed("a/Component.toml");
        assert_eq!(polls_with(&mut watch, gone), changed);
    }

    /// As at the start, a few are told of each search, and what allows them.
    #[cfg(unix)]
    #[test]
    fn of_many_links_that_appear_a_few_are_told() {
        use std::os::unix::fs::symlink;

        let files = Files::new();
        let outside = tempfile::tempdir().unwrap();
        let mut watch = files.watch();
        for n in 10..40 {
            symlink(outside.path(), files.path(&n.to_string())).unwrap();
        }
        let told: Vec<String> = polls(&mut watch, &files)
            .into_iter()
            .map(|change| match change {
                Change::LeftOut(report) => report.to_string(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(told.len(), 17, "{told:?}");
        for (n, told) in (10..26).zip(&told) {
            assert!(told.contains(&format!("/{n} is a link to ")), "{told}");
            assert!(told.contains("--allow-outside "), "{told}");
        }
        assert!(told[16].contains("14 more links"), "{told:?}");
        assert_eq!(polls(&mut watch, &files), []);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_is_told_from_another_of_its_size_and_time() {
        let files = Files::new();
        let set = |name: &str, text: &str| {
            files.write(name, text);
            let file = fs::File::options().write(true).open(files.path(name));
            let times = fs::FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH);
            file.unwrap().set_times(times).unwrap();
        };
        set("a/a.wasm", "1");
        let mut watch = files.watch();
        set("a/new", "2");
        fs::rename(files.path("a/new"), files.path("a/a.wasm")).unwrap();
        let changed = files.changed("a/Component.toml");
        assert_eq!(polls(&mut watch, &files), changed);
        set("a/a.wasm", "3");
        assert_eq!(polls(&mut watch, &files), changed);
        assert_eq!(polls(&mut watch, &files), []);
    }

    #[cfg(unix)]
    #[test]
    fn a_manifest_that_is_something_else_has_changed_and_one_out_of_reach_has_gone() {
        use std::os::unix::fs::symlink;

        let files = Files::new();
        let manifest = files.path("a/Component.toml");
        let mut watch = files.watch();
        let changed = files.changed("a/Component.toml");
        fs::remove_file(&manifest).unwrap();
        fs::create_dir(&manifest).unwrap();
        assert_eq!(polls(&mut watch, &files), changed);
        fs::remove_dir(&manifest).unwrap();
        symlink("nowhere", &manifest).unwrap();
        assert_eq!(polls(&mut watch, &files), changed);
        fs::remove_dir_all(files.path("a")).unwrap();
        files.write("a", "a file");
        assert_eq!(polls(&mut watch, &files), [Change::Gone(manifest)]);
    }

    #[test]
    fn what_keeps_a_file_from_being_looked_at_does_not_take_it_away() {
        let kinds = [
            (ErrorKind::NotFound, Stamp::Absent),
            (ErrorKind::NotADirectory, Stamp::Absent),
            (
                ErrorKind::PermissionDenied,
                Stamp::Unreadable(ErrorKind::PermissionDenied),
            ),
            (ErrorKind::TimedOut, Stamp::Unreadable(ErrorKind::TimedOut)),
        ];
        for (kind, stamp) in kinds {
            assert_eq!(Stamp::known(Err(kind.into())), stamp);
        }
    }
}
