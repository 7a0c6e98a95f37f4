use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::files::{ComponentFiles, GrantedDir, Named};
use super::path::{FileId, Trace, links};
use super::problem::{ApplicationProblem, GrantedFile, LeftOut, Overlap};

/// In folders that components may write nothing is loaded from, so they are looked
/// through only to tell of manifests that an operator may have put there by mistake. Who
/// fills them is a component, and this many entries take milliseconds.
pub(super) const MAX_DATA_ENTRIES: usize = 4096;

/// A folder with more files is not looked through for hard links: that would take
/// seconds, and who fills it is a component.
const MAX_LOOKED_AT: usize = 50_000;

/// Folders, and files of several names, that were seen in folders that components may write.
/// Of more, the latest are known.
const MAX_SEEN: usize = 16_384;

/// Holds components apart: which folders any of them may write, or could at some time,
/// and whether something else depends on what is in them.
///
/// A component that was granted a folder may have left anything in it. So what was once
/// added is not forgotten.
#[derive(Debug, Clone, Default)]
pub struct Separation {
    dirs: Vec<GrantedDir>,
    by_id: HashMap<FileId, usize>,
    by_path: HashMap<PathBuf, usize>,
    /// Of all that were cloned from one.
    seen: Arc<Mutex<Seen>>,
}

/// What was seen in folders that components may write, wherever it is by now.
#[derive(Debug, Default)]
struct Seen {
    known: HashMap<Birth, (Arc<GrantedDir>, OsString)>,
    /// The latest last.
    order: VecDeque<Birth>,
}

/// A file or folder for good: a file system gives the numbers of those that are gone to new
/// ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Birth(FileId, SystemTime);

impl Birth {
    /// `None` where the file system does not tell.
    fn of(path: &Path, metadata: &Metadata) -> Option<Self> {
        let id = FileId::of_metadata(path, metadata).ok()?;
        Some(Self(id, metadata.created().ok()?))
    }
}

impl Seen {
    fn add(&mut self, birth: Birth, dir: &Arc<GrantedDir>, name: OsString) {
        if self.known.contains_key(&birth) {
            return;
        }
        if self.order.len() == MAX_SEEN
            && let Some(first) = self.order.pop_front()
        {
            self.known.remove(&first);
        }
        self.order.push_back(birth.clone());
        self.known.insert(birth, (Arc::clone(dir), name));
    }

    fn find(&self, path: &Path) -> Option<&(Arc<GrantedDir>, OsString)> {
        let metadata = fs::metadata(path).ok()?;
        self.known.get(&Birth::of(path, &metadata)?)
    }
}

impl Separation {
    /// Nobody may write anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nobody may write anything, nor has.
    fn is_empty(&self) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        self.dirs.is_empty() && seen.known.is_empty()
    }

    /// The folders that this component may write are no place for anything else.
    pub fn add(&mut self, files: &ComponentFiles) {
        for dir in files.writable() {
            let index = self.dirs.len();
            let path = dir.named.trace.path.clone();
            let known = self.by_path.contains_key(&path);
            let known_id = dir.id.as_ref().is_none_or(|id| self.by_id.contains_key(id));
            if known && known_id {
                continue;
            }
            if let Some(id) = &dir.id {
                self.by_id.insert(id.clone(), index);
            }
            self.by_path.insert(path, index);
            self.dirs.push(dir.clone());
        }
    }

    /// Whether a component may write what this one is read from or is granted.
    /// Blocks while it looks.
    ///
    /// Two components may be granted the same folder: what they share is data.
    ///
    /// # Errors
    /// [`ApplicationProblem::Overlap`], also where a file has several names and a folder cannot
    /// be looked through for them; [`ApplicationProblem::Unreadable`].
    pub fn check(&self, files: &ComponentFiles) -> Result<(), ApplicationProblem> {
        if self.is_empty() {
            // As of most components: no file is looked at.
            return Ok(());
        }
        let overlap = |dir: &GrantedDir, named: &Named, hard_link| {
            ApplicationProblem::Overlap(Box::new(Overlap {
                writer: dir.to.clone(),
                grant: dir.named.line.clone(),
                folder: dir.named.trace.path.clone(),
                component: files.id.clone(),
                line: named.line.clone(),
                path: named.path.clone(),
                hard_link,
                moved: None,
                is_around: false,
            }))
        };
        for named in files.inputs() {
            if let Some(dir) = self.passed(&named.trace) {
                return Err(overlap(dir, named, None));
            }
        }
        self.within(files.source_folders(), files)?;
        for named in files.files() {
            if let Some((dir, name)) = self.hard_link(&named.trace.path)? {
                return Err(overlap(dir, named, Some(name)));
            }
        }
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.known.is_empty() {
            return Ok(());
        }
        for named in files.inputs() {
            let folders = named.trace.folders.iter().map(|(path, _)| &**path);
            let own = (!named.trace.path.is_dir()).then_some(named.trace.path.as_path());
            if let Some((dir, name)) = folders.chain(own).find_map(|path| seen.find(path)) {
                let mut problem = overlap(dir, named, None);
                if let ApplicationProblem::Overlap(overlap) = &mut problem {
                    overlap.moved = Some(name.into());
                }
                return Err(problem);
            }
        }
        Ok(())
    }

    /// Whether a component may write where the tools of languages look, beside the manifest and
    /// the folders with sources of this one or above: `src`, `wit`, `target` and those in which
    /// tools are installed and configured. What is to be built is to be checked so, besides
    /// [`check`](Self::check).
    ///
    /// # Errors
    /// [`ApplicationProblem::Overlap`].
    pub fn check_sources(&self, files: &ComponentFiles) -> Result<(), ApplicationProblem> {
        self.within(&files.tool_folders(), files)
    }

    /// Whether a component may write something in these folders.
    fn within<'f>(
        &self,
        folders: impl IntoIterator<Item = &'f Named>,
        files: &ComponentFiles,
    ) -> Result<(), ApplicationProblem> {
        for named in folders {
            let around = &named.trace.path;
            let id = FileId::of(around).ok();
            let lies_in = |dir: &&GrantedDir| {
                dir.named.trace.path.starts_with(around) || (id.is_some() && dir.id == id)
            };
            if let Some(dir) = self.dirs.iter().find(lies_in) {
                return Err(ApplicationProblem::Overlap(Box::new(Overlap {
                    writer: dir.to.clone(),
                    grant: dir.named.line.clone(),
                    folder: dir.named.trace.path.clone(),
                    component: files.id.clone(),
                    line: named.line.clone(),
                    path: named.path.clone(),
                    hard_link: None,
                    moved: None,
                    is_around: true,
                })));
            }
        }
        Ok(())
    }

    /// Remembers what is in the folders that components may write, as far as they are looked
    /// through: 4,096 files and folders each time. What is moved out of there, and a file that
    /// had a name there, is not trusted later. Blocks while it looks.
    pub(super) fn look_below(&self) {
        let mut entries_left = MAX_DATA_ENTRIES;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for dir in self.dirs.iter().filter(|dir| dir.id.is_some()) {
            let mut folders = vec![dir.named.trace.path.clone()];
            let dir = Arc::new(dir.clone());
            while let Some(folder) = folders.pop() {
                for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                    if entries_left == 0 {
                        return;
                    }
                    entries_left -= 1;
                    // That of the entry itself, a link not followed.
                    let Ok(metadata) = entry.metadata() else {
                        continue;
                    };
                    let path = entry.path();
                    let is_shared = metadata.is_file() && links(&metadata) > 1;
                    if (metadata.is_dir() || is_shared)
                        && let Some(birth) = Birth::of(&path, &metadata)
                    {
                        seen.add(birth, &dir, entry.file_name());
                    }
                    if metadata.is_dir() {
                        folders.push(path);
                    }
                }
            }
        }
    }

    /// Whether a component may have left a manifest where it lies, in a folder that it may
    /// write. One that cannot be read is then no mistake of the operator's. Blocks while it
    /// looks.
    pub fn may_have_left(&self, manifest: &Path) -> Option<LeftOut> {
        let trace = Trace::of(manifest).ok()?;
        let dir = self.passed(&trace)?;
        Some(LeftOut::InData {
            path: manifest.to_owned(),
            grant: Box::new(dir.named.line.clone()),
        })
    }

    /// The first granted folder in which a name of the path is looked up.
    fn passed(&self, trace: &Trace) -> Option<&GrantedDir> {
        let mut folders = trace.folders.iter();
        folders.find_map(|(path, id)| self.holds(path, id))
    }

    /// The grant of this folder, if a component may write it.
    pub(super) fn holds(&self, path: &Path, id: &FileId) -> Option<&GrantedDir> {
        let index = self.by_id.get(id).or_else(|| self.by_path.get(path));
        index.and_then(|index| self.dirs.get(*index))
    }

    /// Another name of a file, in a folder that a component may write.
    fn hard_link(&self, file: &Path) -> Result<Option<(&GrantedDir, PathBuf)>, ApplicationProblem> {
        let Ok(metadata) = fs::metadata(file) else {
            // Reading it says so.
            return Ok(None);
        };
        if !metadata.is_file() || links(&metadata) < 2 {
            return Ok(None);
        }
        let unreadable = |path: &Path, source| ApplicationProblem::Unreadable {
            path: path.to_owned(),
            source,
        };
        let id = FileId::of_metadata(file, &metadata).map_err(|error| unreadable(file, error))?;
        let dirs = self.dirs.iter().filter(|dir| dir.id.is_some());
        Ok(dirs
            .filter_map(|dir| Some((dir, other_name(&dir.named.trace.path, &id)?)))
            .next())
    }
}

/// The name of a file in a folder or below, or the folder itself where that cannot be told:
/// there are too many files, or what a component left there cannot be looked through.
fn other_name(folder: &Path, id: &FileId) -> Option<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    let mut looked_at = 0;
    while let Some(inner) = folders.pop() {
        let entries = match fs::read_dir(&inner) {
            Ok(entries) => entries,
            // Gone since it was found or granted.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(_) => return Some(folder.to_owned()),
        };
        for entry in entries {
            let Ok(entry) = entry else {
                return Some(folder.to_owned());
            };
            looked_at += 1;
            if looked_at > MAX_LOOKED_AT {
                return Some(folder.to_owned());
            }
            // That of the entry itself, a link not followed.
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            let path = entry.path();
            if metadata.is_dir() {
                folders.push(path);
            } else if metadata.is_file()
                && FileId::of_metadata(&path, &metadata).is_ok_and(|other| other == *id)
            {
                return Some(path);
            }
        }
    }
    None
}

/// How whoever may write a folder can change what a path leads to: the folder itself, if a
/// name of the path is looked up in it, or another name of the file there. `None` if they
/// cannot. Neither has to be there yet. Blocks while it looks.
///
/// This is for folders and files that no manifest names; [`Separation`] is for those.
///
/// # Errors
/// A path cannot be followed.
pub fn written_through(folder: &Path, path: &Path) -> io::Result<Option<PathBuf>> {
    let (folder, trace) = (Trace::of(folder)?, Trace::of(path)?);
    let id = FileId::of(&folder.path).ok();
    let mut folders = trace.folders.iter();
    if folders.any(|(path, other)| **path == *folder.path || id.as_ref() == Some(other)) {
        return Ok(Some(folder.path));
    }
    let metadata = fs::metadata(&trace.path);
    let file = metadata
        .ok()
        .filter(|file| file.is_file() && links(file) > 1);
    let (Some(file), Some(_)) = (file, id) else {
        return Ok(None);
    };
    let file = FileId::of_metadata(&trace.path, &file)?;
    Ok(other_name(&folder.path, &file))
}

/// Whether a file of the host, such as that of a store, lies where a component may read or
/// write it. It need not be there yet. Blocks while it looks.
///
/// # Errors
/// [`ApplicationProblem::GrantedFile`], and [`ApplicationProblem::Unreadable`] where the
/// path cannot be followed.
pub fn check_own_file<'f>(
    file: &Path,
    components: impl IntoIterator<Item = &'f ComponentFiles>,
) -> Result<(), ApplicationProblem> {
    let unreadable = |path: &Path, source| ApplicationProblem::Unreadable {
        path: path.to_owned(),
        source,
    };
    let trace = Trace::of(file).map_err(|error| unreadable(file, error))?;
    let metadata = fs::metadata(&trace.path).ok();
    let id = metadata
        .filter(|metadata| metadata.is_file() && links(metadata) > 1)
        .and_then(|metadata| FileId::of_metadata(&trace.path, &metadata).ok());
    for dir in components.into_iter().flat_map(|files| &files.dirs) {
        let folder = &dir.named.trace.path;
        let mut granted = trace
            .folders
            .iter()
            .any(|(path, id)| **path == **folder || dir.id.as_ref() == Some(id));
        if let (false, Some(id), true) = (granted, &id, dir.id.is_some()) {
            granted = other_name(folder, id).is_some();
        }
        if granted {
            return Err(ApplicationProblem::GrantedFile(Box::new(GrantedFile {
                component: dir.to.clone(),
                grant: dir.named.line.clone(),
                folder: folder.clone(),
                file: file.to_owned(),
            })));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tempfile::tempdir;

    use super::super::read::ReadManifest;
    use super::*;

    fn files_of(folder: &Path, name: &str, dir: &str) -> ComponentFiles {
        let file = folder.join(name).join("Component.toml");
        fs::create_dir_all(folder.join(name)).unwrap();
        let text = format!(
            "[component]\nid = \"demo/{name}/main\"\nwasm = \"a.wasm\"\n[resources]\n\
             memory = \"1MiB\"\nfuel = 1\ntimeout = \"1s\"\n[permissions]\n\
             wasi = [{{ dir = \"{dir}\", access = \"write\" }}]\n"
        );
        fs::write(&file, text).unwrap();
        let read = ReadManifest::read(&file, 1 << 20).unwrap();
        ComponentFiles::of(read.as_text()).ok().unwrap()
    }

    #[test]
    fn of_what_was_seen_the_latest_is_known() {
        let folder = tempdir().unwrap();
        let files = files_of(folder.path(), "a", "data");
        let dir = Arc::new(files.dirs[0].clone());
        let id = FileId::of(folder.path()).unwrap();
        let birth = |number: usize| {
            let age = Duration::from_secs(number.try_into().unwrap());
            Birth(id.clone(), SystemTime::UNIX_EPOCH + age)
        };
        let mut seen = Seen::default();
        for number in (0..=MAX_SEEN).chain([5]) {
            seen.add(birth(number), &dir, OsString::new());
        }
        assert_eq!((seen.known.len(), seen.order.len()), (16_384, 16_384));
        assert!(!seen.known.contains_key(&birth(0)));
        assert!(seen.known.contains_key(&birth(1)));
    }
}
