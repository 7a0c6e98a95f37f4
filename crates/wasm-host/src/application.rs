//! From a folder of manifests to components.

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsStr;
use std::fmt::{self, Display};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use thiserror::Error;

use wasm_core::ComponentId;
use wasm_core::manifest::{ComponentManifest, ConfigSource, ManifestErrors};
use wasm_core::units::format_bytes;

use crate::component::Component;

const MANIFEST_NAME: &str = "Component.toml";

/// Deeper than any application is laid out.
const MAX_DEPTH: usize = 16;

/// Someone who names `/` has made a mistake, and hears of it within seconds. Ten thousand
/// components in a folder each are an application.
const MAX_FOLDERS: usize = 50_000;

/// A manifest is written by hand.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;

/// Of a component and of its configuration. Engines have limits of their own; this
/// keeps a file that is something else from being read into memory.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// Everything that keeps an application from being read; never nothing. Prints one
/// problem per line.
#[derive(Debug)]
pub struct ApplicationErrors(Vec<ApplicationProblem>);

impl ApplicationErrors {
    /// Each of them.
    pub fn problems(&self) -> &[ApplicationProblem] {
        &self.0
    }
}

impl From<ApplicationProblem> for ApplicationErrors {
    fn from(problem: ApplicationProblem) -> Self {
        Self(vec![problem])
    }
}

impl Display for ApplicationErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl Error for ApplicationErrors {}

/// One thing that keeps an application from being read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ApplicationProblem {
    /// A file or folder that is needed.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// As the operating system said it.
        source: io::Error,
    },
    /// A file that is larger than anything that belongs there.
    #[error("{} is larger than {}", path.display(), format_bytes(*limit))]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// In bytes.
        limit: u64,
    },
    /// What is wrong in a manifest.
    #[error("{0}")]
    Manifest(ManifestErrors),
    /// A manifest that is not text.
    #[error("{} is not UTF-8 text", path.display())]
    NotText {
        /// Which.
        path: PathBuf,
    },
    /// Two manifests that name the same component.
    #[error(
        "{} and {} are both {id}: give one of them another `id` in [component]",
        first.display(), second.display()
    )]
    Duplicate {
        /// Which.
        id: ComponentId,
        /// The one manifest.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// Something else than a folder.
    #[error("{} is no folder", path.display())]
    NotAFolder {
        /// Which.
        path: PathBuf,
    },
    /// More than an application has.
    #[error(
        "{} has more than {MAX_FOLDERS} folders, which is more than an application has: a \
         folder further down may be what was meant",
        folder.display()
    )]
    TooManyFolders {
        /// Where was looked.
        folder: PathBuf,
    },
    /// There is nothing to run.
    #[error("there is no {MANIFEST_NAME} in {} or below", folder.display())]
    Empty {
        /// Where was looked.
        folder: PathBuf,
    },
}

/// Every `Component.toml` in a folder or below, in the order of their paths. Folders
/// that are hidden or called `target` hold what tools keep for themselves; links to
/// folders are not followed, so that none can lead in a circle, and what is more than 16
/// levels down is not looked for. Blocks while it looks.
///
/// # Errors
/// [`ApplicationProblem::Unreadable`], [`ApplicationProblem::NotAFolder`],
/// [`ApplicationProblem::TooManyFolders`], [`ApplicationProblem::Empty`].
pub fn find_manifests(folder: &Path) -> Result<Vec<PathBuf>, ApplicationProblem> {
    let metadata = fs::metadata(folder).map_err(|source| unreadable(folder, source))?;
    if !metadata.is_dir() {
        let path = folder.to_owned();
        return Err(ApplicationProblem::NotAFolder { path });
    }
    let mut manifests = Vec::new();
    let mut folders = vec![(folder.to_owned(), 0)];
    let mut looked_through = 0;
    while let Some((inner, depth)) = folders.pop() {
        looked_through += 1;
        if looked_through > MAX_FOLDERS {
            let folder = folder.to_owned();
            return Err(ApplicationProblem::TooManyFolders { folder });
        }
        let entries = match fs::read_dir(&inner) {
            Ok(entries) => entries,
            // Gone since it was found.
            Err(error) if depth > 0 && error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(unreadable(&inner, error)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(&inner, error))?;
            let name = entry.file_name();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if depth < MAX_DEPTH && !is_skipped(&name) {
                    folders.push((entry.path(), depth + 1));
                }
            } else if name == MANIFEST_NAME {
                manifests.push(entry.path());
            }
        }
    }
    if manifests.is_empty() {
        let folder = folder.to_owned();
        return Err(ApplicationProblem::Empty { folder });
    }
    manifests.sort();
    Ok(manifests)
}

fn is_skipped(folder: &OsStr) -> bool {
    folder == "target" || folder.as_encoded_bytes().starts_with(b".")
}

/// Reads the components of all manifests that [`find_manifests`] finds.
///
/// `memory_ceiling_bytes` is the largest memory limit that a manifest may set, by
/// default
/// [`ResourceLimits::DEFAULT_MEMORY_CEILING_BYTES`](wasm_core::ResourceLimits::DEFAULT_MEMORY_CEILING_BYTES).
/// Blocks while it reads.
///
/// # Errors
/// Every problem of every manifest.
pub fn read_application(
    folder: &Path,
    memory_ceiling_bytes: u64,
) -> Result<Vec<Component>, ApplicationErrors> {
    let manifests = find_manifests(folder)?;
    let mut problems = Vec::new();
    let mut components = Vec::new();
    let mut known: BTreeMap<ComponentId, PathBuf> = BTreeMap::new();
    for file in manifests {
        match read_component(&file, memory_ceiling_bytes) {
            Ok(component) => {
                let id = component.id.clone();
                if let Some(first) = known.get(&id) {
                    problems.push(ApplicationProblem::Duplicate {
                        id,
                        first: first.clone(),
                        second: file,
                    });
                    continue;
                }
                known.insert(id, file);
                components.push(component);
            }
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        Ok(components)
    } else {
        Err(ApplicationErrors(problems))
    }
}

fn read_component(file: &Path, memory_ceiling_bytes: u64) -> Result<Component, ApplicationProblem> {
    let text = read(file, MAX_MANIFEST_BYTES)?;
    let text = String::from_utf8(text).map_err(|_| ApplicationProblem::NotText {
        path: file.to_owned(),
    })?;
    let manifest = ComponentManifest::parse(&text, file, memory_ceiling_bytes)
        .map_err(ApplicationProblem::Manifest)?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let data = match &manifest.config {
        ConfigSource::File(data) => Some(read(&folder.join(data), MAX_FILE_BYTES)?),
        _ => None,
    };
    let config = manifest.config(data.map(Bytes::from));
    let bytes = read(&folder.join(&manifest.wasm), MAX_FILE_BYTES)?;
    let mut component =
        Component::new(manifest.id, bytes, config).with_supervision(manifest.supervision);
    component.version = manifest.version;
    Ok(component)
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, ApplicationProblem> {
    let mut bytes = Vec::new();
    // Opening a pipe or a device would wait, so the kind is looked at first.
    fs::metadata(path)
        .and_then(|metadata| match metadata.is_file() {
            true => File::open(path),
            false => Err(io::Error::other("it is not a regular file")),
        })
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(|source| unreadable(path, source))?;
    if bytes.len() as u64 > limit {
        let path = path.to_owned();
        return Err(ApplicationProblem::TooLarge { path, limit });
    }
    Ok(bytes)
}

fn unreadable(path: &Path, source: io::Error) -> ApplicationProblem {
    ApplicationProblem::Unreadable {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

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
        let folder = tempdir().unwrap();
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
        let folder = tempdir().unwrap();
        let root = folder.path();
        touch(root, &["a/Component.toml", "b/x"]);
        std::os::unix::fs::symlink(root, root.join("a/circle")).unwrap();
        std::os::unix::fs::symlink("../a/Component.toml", root.join("b/Component.toml")).unwrap();
        assert_eq!(found(root), ["a/Component.toml", "b/Component.toml"]);
    }

    #[test]
    fn there_is_an_end_to_looking() {
        let folder = tempdir().unwrap();
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
