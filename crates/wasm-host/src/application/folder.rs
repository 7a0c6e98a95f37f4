//! The folder of an application, and what may lie in it.

use std::fs;
use std::path::{Path, PathBuf};

use wasm_core::{DirAccess, ResourceLimits, WasiGrant};

use super::files::{ComponentFiles, GrantedDir, ManifestText, Named};
use super::path::Trace;
use super::problem::{ApplicationErrors, ApplicationProblem, unreadable};
use super::read::ReadManifest;

/// The folder of an application, in which everything lies that it is read from and that
/// is granted to its components.
///
/// Paths are looked at as they turn out: links and `..` are followed first, and so is the name
/// of the folder, which may lead to another one later. What lies
/// elsewhere is refused unless [`allow_outside`](Self::allow_outside) names it.
#[derive(Debug, Clone)]
pub struct ApplicationFolder {
    /// As it was named.
    pub(super) folder: PathBuf,
    /// Without links and `..`.
    real: PathBuf,
    /// Where component files and sources may lie, if that is more.
    real_of_wasm: PathBuf,
    /// Whether the manifests have to lie in it, too.
    holds_manifests: bool,
    outside: Vec<PathBuf>,
}

impl ApplicationFolder {
    /// Of an application with any number of manifests, in `folder` or below.
    ///
    /// # Errors
    /// [`ApplicationProblem::Unreadable`], [`ApplicationProblem::NotAFolder`].
    pub fn open(folder: &Path) -> Result<Self, ApplicationProblem> {
        let metadata = fs::metadata(folder).map_err(|source| unreadable(folder, source))?;
        if !metadata.is_dir() {
            let path = folder.to_owned();
            return Err(ApplicationProblem::NotAFolder { path });
        }
        let real = Trace::of(folder).map_err(|source| unreadable(folder, source))?;
        Ok(Self {
            folder: folder.to_owned(),
            real_of_wasm: real.path.clone(),
            real: real.path,
            holds_manifests: true,
            outside: Vec::new(),
        })
    }

    /// Of a single component, whose manifest was named: the folder of that manifest. The
    /// component's file may lie in a folder beside that one, as where components of an
    /// application share one.
    ///
    /// # Errors
    /// [`ApplicationProblem::Unreadable`], [`ApplicationProblem::NotAFolder`].
    pub fn of_component(manifest: &Path) -> Result<Self, ApplicationProblem> {
        let folder = match manifest.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let mut opened = Self::open(folder)?;
        if let Some(beside) = opened.real.parent() {
            opened.real_of_wasm = beside.to_owned();
        }
        opened.holds_manifests = false;
        Ok(opened)
    }

    /// Allows what lies at this path, or below it.
    ///
    /// # Errors
    /// [`ApplicationProblem::Unreadable`]: what is allowed must be there.
    pub fn allow_outside(mut self, path: &Path) -> Result<Self, ApplicationProblem> {
        let real = path.canonicalize();
        self.outside
            .push(real.map_err(|source| unreadable(path, source))?);
        Ok(self)
    }

    /// As it was named.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Finds the files and folders that a manifest names, there or not. Blocks while it
    /// looks.
    ///
    /// # Errors
    /// [`ApplicationProblem::Outside`] for each that is outside of the application;
    /// [`ApplicationProblem::Unreadable`].
    pub fn files_of(&self, read: ManifestText<'_>) -> Result<ComponentFiles, ApplicationErrors> {
        let files =
            ComponentFiles::of(read).map_err(|found| unreadable(&found.path, found.error))?;
        let manifest = self.holds_manifests.then_some(&files.manifest);
        let inner = manifest.into_iter().chain(&files.config);
        let inner = inner.chain(files.dirs.iter().map(|dir| &dir.named));
        let inner = inner.chain(files.secret_files());
        let inner = inner.filter(|named| !self.contains(&named.trace));
        let wasm = Some(&files.wasm).filter(|named| self.is_too_far(named));
        let problems = inner.chain(wasm).map(|named| outside(named, &self.folder));
        ApplicationErrors::check(read.file, problems)?;
        Ok(files)
    }

    /// Whether what a component is built from lies in the application, or, of a single
    /// component, in a folder beside that of the manifest. What only runs needs no sources.
    ///
    /// # Errors
    /// [`ApplicationProblem::Outside`] for each folder that is outside.
    pub fn check_sources(&self, files: &ComponentFiles) -> Result<(), ApplicationErrors> {
        let problems = files.sources.iter().filter(|named| self.is_too_far(named));
        let problems = problems.map(|named| outside(named, &self.folder));
        ApplicationErrors::check(&files.manifest.path, problems)
    }

    /// Whether something lies where no component file and no sources may.
    fn is_too_far(&self, named: &Named) -> bool {
        !named.trace.ends_in(&self.real_of_wasm) && !self.contains(&named.trace)
    }

    pub(super) fn contains(&self, trace: &Trace) -> bool {
        let mut allowed = self.outside.iter().chain([&self.real]);
        allowed.any(|folder| trace.ends_in(folder)) || self.is_where_it_leads_now(trace)
    }

    /// Whether something lies where the name of the folder leads by now: it may be a link that
    /// leads to one release of an application after the other.
    fn is_where_it_leads_now(&self, trace: &Trace) -> bool {
        let now = || Trace::of(&self.folder).ok();
        self.holds_manifests && now().is_some_and(|now| trace.ends_in(&now.path))
    }

    /// The folders below that of a manifest that it grants for writing.
    pub(super) fn data_below(&self, manifest: &Path) -> Vec<GrantedDir> {
        // What is wrong with it is told when it is read in earnest.
        let Ok(read) = ReadManifest::read(manifest, ResourceLimits::MAX_MEMORY_BYTES) else {
            return Vec::new();
        };
        let grants = &read.manifest.permissions.wasi;
        let writes = |grant: &WasiGrant| matches!(grant, WasiGrant::Dir { access, .. } if *access == DirAccess::Write);
        if !grants.iter().any(writes) {
            return Vec::new();
        }
        let Ok(files) = ComponentFiles::of(read.as_text()) else {
            return Vec::new();
        };
        let folders = &files.manifest.trace.folders;
        let Some((own, _)) = folders.last() else {
            return Vec::new();
        };
        let below = |dir: &&GrantedDir| {
            let path = &dir.named.trace.path;
            **path != **own && dir.named.trace.ends_in(own)
        };
        files.writable().filter(below).cloned().collect()
    }
}

fn outside(named: &Named, folder: &Path) -> ApplicationProblem {
    ApplicationProblem::Outside {
        line: Box::new(named.line.clone()),
        path: named.path.clone(),
        leads_to: named.trace.path.clone(),
        folder: folder.to_owned(),
    }
}
