use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::files::{GrantedDir, ManifestLine};
use super::folder::ApplicationFolder;
use super::path::{FileId, Trace};
use super::problem::{ApplicationProblem, LeftOut, MANIFEST_NAME, MAX_DEPTH, MAX_FOLDERS};
use super::separation::{MAX_DATA_ENTRIES, Separation};

/// What is too deep is looked through for the same reason, in all as far.
const MAX_DEEP_ENTRIES: usize = 4096;

/// The manifests of an application, and what else its folder has that may have been meant
/// as one.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Found {
    /// Every manifest, in the order of their paths.
    pub manifests: Vec<PathBuf>,
    /// What was not looked into, or is not loaded, in the order of their paths.
    pub left_out: Vec<LeftOut>,
}

/// A folder to be looked through.
struct Folder {
    path: PathBuf,
    depth: usize,
}

pub(super) struct Search<'a> {
    pub(super) application: &'a ApplicationFolder,
    /// Folders that are known to be written by components.
    pub(super) separation: &'a Separation,
    /// Whether a manifest that is found tells which folders below it are data.
    pub(super) reads_grants: bool,
}

/// What is found so far, and what is still to be looked through.
#[derive(Default)]
struct State {
    found: Found,
    data: Vec<GrantedDir>,
    written: BTreeMap<PathBuf, ManifestLine>,
    seen: HashSet<FileId>,
    folders: Vec<Folder>,
    /// In the order of their paths: which of several names a folder gets must not change from
    /// one search to the next.
    links: BTreeMap<PathBuf, usize>,
    deep: Vec<PathBuf>,
}

impl Search<'_> {
    pub(super) fn run(self) -> Result<Found, ApplicationProblem> {
        self.separation.look_below();
        let root = &self.application.folder;
        let mut state = State::default();
        state.folders.push(Folder {
            path: root.clone(),
            depth: 0,
        });
        let mut looked_through = 0;
        while let Some(folder) = self.next(&mut state) {
            let depth = folder.depth;
            if let Err((path, error)) = self.look_through(&mut state, folder, &mut looked_through) {
                match depth > 0 {
                    true => left_unreadable(&mut state.found, path, error),
                    false => return Err(unreadable(&path, error)),
                }
            }
            if looked_through > MAX_FOLDERS {
                let folder = root.clone();
                return Err(ApplicationProblem::TooManyFolders { folder });
            }
        }
        let State {
            mut found,
            data,
            written,
            seen,
            deep,
            ..
        } = state;
        self.leave_out_written(&mut found, &data);
        tell_written(&mut found, written);
        self.tell_deep(&mut found, deep, &data, &seen);
        found.manifests.sort();
        found.left_out.sort_by(|a, b| a.path().cmp(b.path()));
        Ok(found)
    }

    /// Real folders come first, so that what is reached in two ways has its own name. By then
    /// every folder is known that a component may write.
    fn next(&self, state: &mut State) -> Option<Folder> {
        if let Some(folder) = state.folders.pop() {
            return Some(folder);
        }
        loop {
            let (path, depth) = state.links.pop_first()?;
            if self.follows(&mut state.found, &state.data, &path) {
                return Some(Folder { path, depth });
            }
        }
    }

    /// Looks through one folder, unless that was done or a component may write it. The error is
    /// that of what cannot be read.
    fn look_through(
        &self,
        state: &mut State,
        folder: Folder,
        looked_through: &mut usize,
    ) -> Result<(), (PathBuf, io::Error)> {
        let Folder { path: inner, depth } = folder;
        let id = FileId::of(&inner).map_err(|error| (inner.clone(), error))?;
        if !state.seen.insert(id.clone()) {
            return Ok(());
        }
        if let Some(dir) = self.writable(&state.data, &inner, &id) {
            let line = dir.named.line.clone();
            state.written.insert(inner, line);
            return Ok(());
        }
        *looked_through += 1;
        if *looked_through > MAX_FOLDERS {
            return Ok(());
        }
        let entries = fs::read_dir(&inner).map_err(|error| (inner.clone(), error))?;
        for entry in entries {
            let entry = entry.map_err(|error| (inner.clone(), error))?;
            // Gone since it was listed.
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            let (name, path) = (entry.file_name(), entry.path());
            let is_link = kind.is_symlink() && !path.is_file();
            if name == MANIFEST_NAME {
                // Whatever it is: reading it tells.
                if self.reads_grants {
                    state.data.extend(self.application.data_below(&path));
                }
                state.found.manifests.push(path);
            } else if kind.is_dir() || is_link {
                match depth < MAX_DEPTH {
                    _ if is_skipped(&name) => {}
                    true if is_link => drop(state.links.insert(path, depth + 1)),
                    true => state.folders.push(Folder {
                        path,
                        depth: depth + 1,
                    }),
                    false => state.deep.push(path),
                }
            }
        }
        Ok(())
    }

    fn writable<'s>(
        &'s self,
        data: &'s [GrantedDir],
        path: &Path,
        id: &FileId,
    ) -> Option<&'s GrantedDir> {
        let known = self.separation.holds(path, id);
        known.or_else(|| data.iter().find(|dir| dir.id.as_ref() == Some(id)))
    }

    /// A manifest that is a link may lead into a folder that a component may write.
    fn leave_out_written(&self, found: &mut Found, data: &[GrantedDir]) {
        let mut left_out = Vec::new();
        found.manifests.retain(|manifest| {
            let is_link = fs::symlink_metadata(manifest).is_ok_and(|kind| kind.is_symlink());
            let Some(trace) = is_link.then(|| Trace::of(manifest).ok()).flatten() else {
                return true;
            };
            let Some(dir) = self.passed(data, &trace) else {
                return true;
            };
            left_out.push(LeftOut::InData {
                path: manifest.clone(),
                grant: Box::new(dir.named.line.clone()),
            });
            false
        });
        found.left_out.append(&mut left_out);
    }

    /// Tells of manifests that are too deep, one for each folder that is the first to be, and
    /// of the first such folder with too much in it to tell.
    fn tell_deep(
        &self,
        found: &mut Found,
        deep: Vec<PathBuf>,
        data: &[GrantedDir],
        seen: &HashSet<FileId>,
    ) {
        let mut entries_left = MAX_DEEP_ENTRIES;
        let mut is_told = false;
        for top in deep {
            let mut folders = vec![top.clone()];
            'top: while let Some(folder) = folders.pop() {
                let Ok(id) = FileId::of(&folder) else {
                    continue;
                };
                // Looked through by another name, or a component's.
                if seen.contains(&id) || self.writable(data, &folder, &id).is_some() {
                    continue;
                }
                let path = folder.join(MANIFEST_NAME);
                if fs::symlink_metadata(&path).is_ok() {
                    found.left_out.push(LeftOut::TooDeep { path });
                    break;
                }
                for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                    if entries_left == 0 {
                        if !is_told {
                            found.left_out.push(LeftOut::TooDeep { path: top });
                        }
                        is_told = true;
                        break 'top;
                    }
                    entries_left -= 1;
                    let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
                    if is_dir && !is_skipped(&entry.file_name()) {
                        folders.push(entry.path());
                    }
                }
            }
        }
    }

    fn passed<'s>(&'s self, data: &'s [GrantedDir], trace: &Trace) -> Option<&'s GrantedDir> {
        let mut folders = trace.folders.iter();
        folders.find_map(|(path, id)| self.writable(data, path, id))
    }

    /// Whether a link leads to a folder that is to be looked through.
    fn follows(&self, found: &mut Found, data: &[GrantedDir], link: &Path) -> bool {
        let link = link.to_owned();
        let broken = |source| LeftOut::BrokenLink {
            link: link.clone(),
            source,
        };
        let trace = match Trace::of(&link) {
            Ok(trace) if trace.exists => trace,
            Ok(nowhere) => {
                let what = format!("there is nothing at {}", nowhere.path.display());
                let source = io::Error::new(ErrorKind::NotFound, what);
                found.left_out.push(broken(source));
                return false;
            }
            Err(error) => {
                found.left_out.push(broken(error));
                return false;
            }
        };
        if !trace.path.is_dir() {
            return false;
        }
        if let Some(dir) = self.passed(data, &trace) {
            found.left_out.push(LeftOut::InData {
                path: link,
                grant: Box::new(dir.named.line.clone()),
            });
            return false;
        }
        if !self.application.contains(&trace) {
            found.left_out.push(LeftOut::LinkOutside {
                link,
                leads_to: trace.path,
            });
            return false;
        }
        true
    }
}

fn left_unreadable(found: &mut Found, folder: PathBuf, source: io::Error) {
    // Gone, or something else, since it was found.
    if !matches!(
        source.kind(),
        ErrorKind::NotFound | ErrorKind::NotADirectory
    ) {
        found.left_out.push(LeftOut::Unreadable { folder, source });
    }
}

/// Tells of manifests in folders that are data, one for each: there may be as many as a
/// component likes.
fn tell_written(found: &mut Found, written: BTreeMap<PathBuf, ManifestLine>) {
    let mut entries_left = MAX_DATA_ENTRIES;
    for (folder, grant) in written {
        let mut folders = vec![folder];
        'folder: while let Some(folder) = folders.pop() {
            // One that is put there directly is told, however full the folder is.
            let manifest = folder.join(MANIFEST_NAME);
            if fs::symlink_metadata(&manifest).is_ok() {
                found.left_out.push(LeftOut::InData {
                    path: manifest,
                    grant: Box::new(grant),
                });
                break;
            }
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                if entries_left == 0 {
                    break 'folder;
                }
                entries_left -= 1;
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(entry.path());
                }
            }
        }
    }
}

fn unreadable(path: &Path, source: io::Error) -> ApplicationProblem {
    ApplicationProblem::Unreadable {
        path: path.to_owned(),
        source,
    }
}

fn is_skipped(folder: &OsStr) -> bool {
    folder == "target" || folder.as_encoded_bytes().starts_with(b".")
}
