//! Where the sources of a component are, and what they are written in.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use wasm_core::manifest::ComponentManifest;
use wasm_core::text::PathText as _;

use crate::output::report::Report;

/// The file by which the tool that builds a folder is known, in the order in which they are
/// looked for. C has none: a file of it is enough.
const MARKS: [(&str, Language); 4] = [
    ("Cargo.toml", Language::Rust),
    ("go.mod", Language::Go),
    ("package.json", Language::JavaScript),
    (APP, Language::Python),
];

/// What tools write themselves, and what no component is made of.
const NO_SOURCES: [&str; 7] = [
    "target",
    "tests",
    "node_modules",
    "__pycache__",
    "Cargo.lock",
    "package-lock.json",
    "go.sum",
];

/// Sources are written by hand.
const MAX_FILES: usize = 10_000;
const MAX_DEPTH: usize = 16;

/// Beside the manifest.
pub(crate) const WIT: &str = "wit";

/// The module of a component in Python.
const APP: &str = "app.py";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    Rust,
    C,
    JavaScript,
    Python,
    Go,
}

/// The folders of one component.
#[derive(Debug)]
pub(crate) struct Sources {
    /// That of the manifest.
    pub(crate) folder: PathBuf,
    /// Those with sources; one has the file by which the language is known.
    pub(crate) folders: Vec<PathBuf>,
}

impl Sources {
    pub(crate) fn of(manifest_file: &Path, manifest: &ComponentManifest) -> Self {
        let folder = match manifest_file.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let folders = match manifest.build_sources.as_slice() {
            [] => vec![folder.clone()],
            named => named.iter().map(|named| folder.join(named)).collect(),
        };
        Self { folder, folders }
    }

    /// The language, by the files that are there, and the folder that has them.
    ///
    /// # Errors
    /// If a folder is none.
    pub(crate) fn language(&self) -> Result<Option<(Language, PathBuf)>, Report> {
        for folder in &self.folders {
            if !folder.is_dir() {
                return Err(Report::error(format!("{} is no folder", folder.escaped()))
                    .with_note("`sources` in [build] names it"));
            }
        }
        for folder in &self.folders {
            let marked = MARKS.iter().find(|(name, _)| folder.join(name).is_file());
            if let Some((_, language)) = marked {
                return Ok(Some((*language, folder.clone())));
            }
            if !files(folder, "c")?.is_empty() {
                return Ok(Some((Language::C, folder.clone())));
            }
        }
        Ok(None)
    }

    /// All files that may be sources, and those of the world, in order of their names: not what
    /// is made of them, nor what package managers install, nor folders of data.
    pub(crate) fn all_files(&self, is_data: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for folder in self.folders.iter().chain([&self.folder.join(WIT)]) {
            gather(folder, MAX_DEPTH, &is_data, &mut files);
        }
        files.sort();
        files.dedup();
        files
    }

    /// An empty folder for what is made of the sources, which can be deleted at any time.
    ///
    /// # Errors
    /// If it cannot be made, or leads elsewhere, where something else would be deleted.
    pub(crate) fn work(&self, name: &str) -> Result<PathBuf, Report> {
        let target = self.folder.join("target");
        let ours = target.join("airssys-wasm");
        for folder in [&target, &ours] {
            if fs::symlink_metadata(folder).is_ok_and(|metadata| metadata.is_symlink()) {
                return Err(Report::error(format!("{} is a link", folder.escaped()))
                    .with_help("remove it: `build` deletes and writes files there"));
            }
        }
        let work = ours.join(name);
        match fs::remove_dir_all(&work) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(unusable(&work, &error));
            }
            _ => {}
        }
        fs::create_dir_all(&work).map_err(|error| unusable(&work, &error))?;
        Ok(work)
    }
}

/// Adds the files of a folder and of those in it. What cannot be read now may be later.
fn gather(folder: &Path, depth: usize, is_data: &impl Fn(&Path) -> bool, files: &mut Vec<PathBuf>) {
    if is_data(folder) {
        return;
    }
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_no_source = NO_SOURCES.iter().any(|other| name == *other);
        if is_no_source || name.as_encoded_bytes().starts_with(b".") || files.len() >= MAX_FILES {
            continue;
        }
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 => {
                gather(&path, depth - 1, is_data, files);
            }
            Ok(kind) if kind.is_dir() => {}
            _ if path.extension() == Some(OsStr::new("wasm")) => {}
            _ => files.push(path),
        }
    }
}

/// The files of a folder with an extension, in order of their names.
///
/// # Errors
/// If the folder cannot be read.
pub(crate) fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, Report> {
    let entries = fs::read_dir(folder).map_err(|error| unusable(folder, &error))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut files: Vec<_> = paths
        .filter(|path| path.extension() == Some(OsStr::new(extension)))
        .collect();
    files.sort();
    Ok(files)
}

pub(crate) fn unusable(path: &Path, error: &std::io::Error) -> Report {
    Report::error(format!("{} cannot be used: {error}", path.escaped()))
}
