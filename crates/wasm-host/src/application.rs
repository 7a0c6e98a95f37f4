//! From a folder of manifests to components.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use thiserror::Error;

use wasm_core::ComponentId;
use wasm_core::manifest::{ComponentManifest, ConfigSource, ManifestErrors};
use wasm_core::units::format_bytes;

use crate::component::Component;

const MANIFEST_NAME: &str = "Component.toml";

/// Folders within folders; whoever has more has a loop.
const MAX_DEPTH: usize = 16;

/// A manifest is written by hand.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;

/// Of a component and of its configuration. Engines have limits of their own; this
/// keeps a file that is something else from being read into memory.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// What keeps an application from being read.
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
    /// There is nothing to run.
    #[error("there is no {MANIFEST_NAME} in {} or below", folder.display())]
    Empty {
        /// Where was looked.
        folder: PathBuf,
    },
}

/// Reads every component that has a `Component.toml` in a folder or below, in the order
/// of their paths. Links to folders are not followed; folders whose names begin with a
/// dot are left out.
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
) -> Result<Vec<Component>, Vec<ApplicationProblem>> {
    let mut problems = Vec::new();
    let mut manifests = Vec::new();
    find(folder, MAX_DEPTH, &mut manifests, &mut problems);
    manifests.sort();
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
    if components.is_empty() && problems.is_empty() {
        let folder = folder.to_owned();
        problems.push(ApplicationProblem::Empty { folder });
    }
    if problems.is_empty() {
        Ok(components)
    } else {
        Err(problems)
    }
}

fn find(
    folder: &Path,
    depth: usize,
    manifests: &mut Vec<PathBuf>,
    problems: &mut Vec<ApplicationProblem>,
) {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(source) => return problems.push(unreadable(folder, source)),
    };
    for entry in entries {
        let (path, kind) = match entry.and_then(|entry| Ok((entry.path(), entry.file_type()?))) {
            Ok(entry) => entry,
            Err(source) => return problems.push(unreadable(folder, source)),
        };
        let name = path.file_name().unwrap_or_default();
        if kind.is_dir() {
            let is_hidden = name.as_encoded_bytes().starts_with(b".");
            if depth > 0 && !is_hidden {
                find(&path, depth - 1, manifests, problems);
            }
        } else if name == MANIFEST_NAME {
            manifests.push(path);
        }
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
