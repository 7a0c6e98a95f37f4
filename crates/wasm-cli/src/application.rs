use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use wasm_core::ComponentId;

use crate::flags::Flags;
use crate::report::{Problems, Report};
use crate::source::{MANIFEST_NAME, Place, Source, unreadable};

/// Deeper than any application is laid out.
const MAX_DEPTH: usize = 16;
/// Someone who names `/` has made a mistake, and hears of it within seconds.
const MAX_FOLDERS: usize = 10_000;

/// Every manifest below a folder, in the order of their paths. Folders that are hidden
/// or called `target` hold what tools keep for themselves; links to folders are not
/// followed, so that none can lead in a circle.
pub(crate) fn find_manifests(folder: &Path) -> Result<Vec<PathBuf>, Report> {
    let metadata = fs::metadata(folder).map_err(|error| unreadable(folder, &error))?;
    if !metadata.is_dir() {
        return Err(
            Report::error(format!("{} is no folder", folder.display())).with_help(format!(
                "`up` takes the folder of an application, with a {MANIFEST_NAME} in it or below"
            )),
        );
    }
    let mut manifests = Vec::new();
    let mut folders = vec![(folder.to_owned(), 0)];
    let mut looked_through = 0;
    while let Some((inner, depth)) = folders.pop() {
        looked_through += 1;
        if looked_through > MAX_FOLDERS {
            return Err(Report::error(format!(
                "{} has more than {MAX_FOLDERS} folders, which is more than an application has",
                folder.display()
            ))
            .with_help("a folder further down may be what was meant"));
        }
        let entries = match fs::read_dir(&inner) {
            Ok(entries) => entries,
            // Gone since it was found.
            Err(error) if depth > 0 && error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(unreadable(&inner, &error)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(&inner, &error))?;
            let name = entry.file_name();
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder {
                if depth < MAX_DEPTH && !is_skipped(&name) {
                    folders.push((entry.path(), depth + 1));
                }
            } else if name == MANIFEST_NAME {
                manifests.push(entry.path());
            }
        }
    }
    manifests.sort();
    Ok(manifests)
}

fn is_skipped(folder: &OsStr) -> bool {
    folder == "target" || folder.as_encoded_bytes().starts_with(b".")
}

/// The components of an application, with what they were loaded from.
#[derive(Debug, Default)]
pub(crate) struct Application {
    sources: RwLock<BTreeMap<ComponentId, Arc<Source>>>,
}

impl Application {
    /// Reads them all before it complains about any.
    pub(crate) async fn read(
        folder: &Path,
        manifests: &[PathBuf],
        flags: &Flags,
    ) -> Result<Self, Problems> {
        if manifests.is_empty() {
            return Err(no_manifests(folder).into());
        }
        let application = Self::default();
        let mut problems: Option<Problems> = None;
        for manifest in manifests {
            let source = match Source::read(Place::Manifest(manifest.clone()), flags).await {
                Ok(source) => source,
                Err(found) => {
                    add(&mut problems, found);
                    continue;
                }
            };
            match application.source(&source.id) {
                Some(other) => add(&mut problems, same_id(&other, &source).into()),
                None => drop(application.insert(source)),
            }
        }
        match problems {
            Some(problems) => Err(problems),
            None => Ok(application),
        }
    }

    pub(crate) fn sources(&self) -> Vec<Arc<Source>> {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        sources.values().cloned().collect()
    }

    pub(crate) fn source(&self, id: &ComponentId) -> Option<Arc<Source>> {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        sources.get(id).cloned()
    }

    /// The component that was loaded from this manifest.
    pub(crate) fn of_manifest(&self, manifest: &Path) -> Option<Arc<Source>> {
        let mut sources = self.sources().into_iter();
        sources.find(|source| source.named_by() == manifest)
    }

    pub(crate) fn insert(&self, source: Source) -> Arc<Source> {
        let source = Arc::new(source);
        let mut sources = self.sources.write().unwrap_or_else(PoisonError::into_inner);
        sources.insert(source.id.clone(), Arc::clone(&source));
        source
    }

    pub(crate) fn remove(&self, id: &ComponentId) {
        let mut sources = self.sources.write().unwrap_or_else(PoisonError::into_inner);
        sources.remove(id);
    }
}

fn add(problems: &mut Option<Problems>, found: Problems) {
    match problems {
        Some(problems) => problems.extend(found),
        None => *problems = Some(found),
    }
}

fn no_manifests(folder: &Path) -> Report {
    Report::error(format!(
        "there is no {MANIFEST_NAME} in {} or below",
        folder.display()
    ))
    .with_note(format!(
        "folders that are hidden, called `target` or more than {MAX_DEPTH} deep are not looked \
         through"
    ))
    .with_help("`airssys-wasm inspect --manifest FILE.wasm` prints one to begin with")
}

/// Two manifests say the same id.
pub(crate) fn same_id(first: &Source, second: &Source) -> Report {
    Report::error(format!("two components have the id {}", first.id))
        .at(second.named_by().display())
        .with_note(format!("the other is {}", first.named_by().display()))
        .with_help("give one of them another `id` in [component]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(root: &Path, files: &[&str]) {
        for file in files {
            let file = root.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
    }

    fn found(root: &Path) -> Vec<String> {
        let manifests = find_manifests(root).unwrap();
        let below = manifests
            .iter()
            .map(|file| file.strip_prefix(root).unwrap());
        below.map(|file| file.display().to_string()).collect()
    }

    #[test]
    fn manifests_are_found_where_people_put_them() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        touch(
            root,
            &[
                "b/Component.toml",
                "a/deep/er/Component.toml",
                "Component.toml",
                "target/x/Component.toml",
                ".git/Component.toml",
                "a/component.toml",
                "a/Cargo.toml",
            ],
        );
        let expected = [
            "Component.toml",
            "a/deep/er/Component.toml",
            "b/Component.toml",
        ];
        assert_eq!(found(root), expected);
        // A folder that is named is looked through, whatever it is called.
        assert_eq!(found(&root.join("target")), ["x/Component.toml"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_lead_to_files_but_not_in_circles() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        touch(root, &["a/Component.toml", "b/x"]);
        std::os::unix::fs::symlink(root, root.join("a/circle")).unwrap();
        std::os::unix::fs::symlink("../a/Component.toml", root.join("b/Component.toml")).unwrap();
        assert_eq!(found(root), ["a/Component.toml", "b/Component.toml"]);
    }

    #[test]
    fn there_is_an_end_to_looking() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let deep = |depth| format!("{}Component.toml", "d/".repeat(depth));
        touch(root, &[&deep(MAX_DEPTH), &deep(MAX_DEPTH + 1)]);
        assert_eq!(found(root), [deep(MAX_DEPTH)]);

        let file = root.join("file");
        fs::write(&file, "").unwrap();
        for (wrong, part) in [
            (&file, "is no folder"),
            (&root.join("nowhere"), "cannot be read"),
        ] {
            let report = find_manifests(wrong).unwrap_err().to_string();
            assert!(report.contains(part), "{report}");
        }
    }
}
