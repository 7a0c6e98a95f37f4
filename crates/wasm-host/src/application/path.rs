use std::collections::{HashSet, VecDeque};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// As many as Linux follows.
const MAX_LINKS: usize = 40;

/// Deeper than anything lies that a manifest names. All of them are kept for each entry of it.
const MAX_FOLDERS: usize = 128;

/// A file or folder, by whatever name it is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct FileId {
    #[cfg(unix)]
    device: u64,
    #[cfg(unix)]
    inode: u64,
    #[cfg(not(unix))]
    path: PathBuf,
}

impl FileId {
    /// Of what is there, links followed.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        Self::of_metadata(path, &fs::metadata(path)?)
    }

    #[cfg(unix)]
    pub(super) fn of_metadata(_: &Path, metadata: &Metadata) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }

    #[cfg(not(unix))]
    pub(super) fn of_metadata(path: &Path, _: &Metadata) -> io::Result<Self> {
        let path = path.canonicalize()?;
        Ok(Self { path })
    }
}

/// How many names a file has, as far as the system tells.
#[cfg(unix)]
pub(super) fn links(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(metadata)
}

#[cfg(not(unix))]
pub(super) fn links(_: &Metadata) -> u64 {
    1
}

/// Where a path leads, and every folder that has a say in it.
#[derive(Debug, Clone)]
pub(super) struct Trace {
    /// Absolute, without links and `..`. Where something is missing, the rest is as it
    /// was written.
    pub(super) path: PathBuf,
    /// Whether something is there.
    pub(super) exists: bool,
    /// The folders in which a name of the path was looked up, from the root on, those of
    /// links on the way included. Who may write one of them decides where the path
    /// leads; so does who may write a folder above, which is why all of them are here.
    pub(super) folders: Vec<(Arc<Path>, FileId)>,
}

impl Trace {
    /// Follows a path name by name, as the system does.
    ///
    /// # Errors
    /// Those of the system but for [`ErrorKind::NotFound`]: what is not there has been
    /// looked for somewhere; that there are too many links or folders on the way.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let mut rest = steps(&std::path::absolute(path)?);
        let mut trace = Self {
            path: PathBuf::new(),
            exists: true,
            folders: Vec::new(),
        };
        let mut links = 0;
        // Of the folder that the trace has come to, if it is known.
        let mut here = None;
        while let Some(step) = rest.pop_front() {
            let name = match step {
                Step::Start(start) => {
                    trace.path.push(start);
                    here = None;
                    continue;
                }
                Step::Up => {
                    trace.enter(here.take())?;
                    trace.path.pop();
                    continue;
                }
                Step::Down(name) => name,
            };
            trace.enter(here.take())?;
            let next = trace.path.join(name);
            let metadata = match fs::symlink_metadata(&next) {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    trace.path = next;
                    for step in rest {
                        trace.path.push(match step {
                            Step::Start(name) | Step::Down(name) => name,
                            Step::Up => "..".into(),
                        });
                    }
                    trace.exists = false;
                    return Ok(trace);
                }
                Err(error) => return Err(error),
            };
            if !metadata.is_symlink() {
                here = Some(FileId::of_metadata(&next, &metadata)?);
                trace.path = next;
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(io::Error::other("too many links lead to one another"));
            }
            let mut target = steps(&fs::read_link(&next)?);
            target.append(&mut rest);
            rest = target;
        }
        Ok(trace)
    }

    /// Something is looked up in the folder that the trace has come to.
    fn enter(&mut self, id: Option<FileId>) -> io::Result<()> {
        if !self.folders.iter().any(|(path, _)| **path == *self.path) {
            if self.folders.len() == MAX_FOLDERS {
                let told = format!("more than {MAX_FOLDERS} folders lead to it");
                return Err(io::Error::other(told));
            }
            let id = match id {
                Some(id) => id,
                None => FileId::of(&self.path)?,
            };
            self.folders.push((self.path.as_path().into(), id));
        }
        Ok(())
    }

    /// Keeps the folders that others have passed, too, once for all of them.
    pub(super) fn share(&mut self, known: &mut HashSet<Arc<Path>>) {
        for (path, _) in &mut self.folders {
            match known.get(&**path) {
                Some(known) => *path = Arc::clone(known),
                None => drop(known.insert(Arc::clone(path))),
            }
        }
    }

    /// Whether the path leads into this folder, or to it.
    pub(super) fn ends_in(&self, folder: &Path) -> bool {
        let climbs = self.path.components().any(|c| c == Component::ParentDir);
        self.path.starts_with(folder) && !climbs
    }
}

/// One step of a path.
enum Step {
    /// From a root, or a drive of Windows.
    Start(OsString),
    Up,
    Down(OsString),
}

fn steps(path: &Path) -> VecDeque<Step> {
    let step = |component: Component<'_>| match component {
        Component::CurDir => None,
        Component::ParentDir => Some(Step::Up),
        Component::Normal(name) => Some(Step::Down(name.to_owned())),
        Component::RootDir | Component::Prefix(_) => {
            Some(Step::Start(component.as_os_str().to_owned()))
        }
    };
    path.components().filter_map(step).collect()
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::tempdir;

    use super::*;

    #[test]
    fn a_path_leads_where_the_system_says() {
        let folder = tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/file"), "").unwrap();
        symlink("../a/b", root.join("a/up")).unwrap();
        symlink(root.join("a/up/file"), root.join("a/far")).unwrap();
        symlink("nowhere", root.join("a/broken")).unwrap();
        symlink("circle", root.join("a/circle")).unwrap();
        for path in [
            "a/b/file",
            "a/b/../b/./file",
            "a/up/file",
            "a/far",
            "a/up/../far",
            "",
        ] {
            let path = root.join(path);
            let trace = Trace::of(&path).unwrap();
            assert_eq!(trace.path, path.canonicalize().unwrap());
            assert!(trace.exists);
        }
        let broken = Trace::of(&root.join("a/broken/x/../y")).unwrap();
        assert_eq!(broken.path, root.join("a/nowhere/x/../y"));
        assert!(!broken.exists);
        // Whether it is within cannot be known, so it is not.
        assert!(!broken.ends_in(&root));
        let error = Trace::of(&root.join("a/circle")).unwrap_err();
        assert!(error.to_string().contains("too many links"), "{error}");
    }

    #[test]
    fn so_many_links_are_followed() {
        let folder = tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::write(root.join("0"), "").unwrap();
        for link in 1..=41 {
            symlink((link - 1).to_string(), root.join(link.to_string())).unwrap();
        }
        assert_eq!(Trace::of(&root.join("40")).unwrap().path, root.join("0"));
        let error = Trace::of(&root.join("41")).unwrap_err();
        assert!(error.to_string().contains("too many links"), "{error}");
    }

    #[test]
    fn so_many_folders_lead_to_something_and_are_kept_once() {
        let folder = tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let above = root.ancestors().count();
        let deep = root.join(vec!["d"; 128 - above].join("/"));
        fs::create_dir_all(deep.join("d")).unwrap();
        let mut known = HashSet::new();
        let traces = ["a", "b"].map(|name| {
            let mut trace = Trace::of(&deep.join(name)).unwrap();
            trace.share(&mut known);
            trace
        });
        let [a, b] = traces.each_ref().map(|trace| trace.folders.iter());
        assert_eq!((a.len(), known.len()), (128, 128));
        assert!(a.zip(b).all(|((a, _), (b, _))| Arc::ptr_eq(a, b)));
        let error = Trace::of(&deep.join("d/a")).unwrap_err().to_string();
        assert_eq!(error, "more than 128 folders lead to it");
    }

    #[test]
    fn every_folder_on_the_way_counts() {
        let folder = tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for inner in ["a/data/in", "b", "c"] {
            fs::create_dir_all(root.join(inner)).unwrap();
        }
        fs::write(root.join("c/file"), "").unwrap();
        symlink(root.join("c"), root.join("a/data/link")).unwrap();
        symlink("../a/data/link/file", root.join("b/file")).unwrap();
        let data = FileId::of(&root.join("a/data")).unwrap();
        for (path, passes) in [
            ("b/file", true),
            ("a/data/in/../../../c/file", true),
            ("a/data/../../c/file", true),
            ("a/data/none", true),
            ("a/data", false),
            ("a/none", false),
            ("c/file", false),
        ] {
            let trace = Trace::of(&root.join(path)).unwrap();
            let passed = trace.folders.iter().any(|(_, id)| *id == data);
            assert_eq!(passed, passes, "{path}");
        }
    }
}
