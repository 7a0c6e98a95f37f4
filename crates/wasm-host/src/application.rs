//! From a folder of manifests to components.

mod files;
mod path;
mod problem;
mod regular;
mod search;
mod separation;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use wasm_core::manifest::{ComponentManifest, ManifestSpans};
use wasm_core::{ComponentId, DirAccess, ResourceLimits, WasiGrant};

use crate::component::Component;

use files::{GrantedDir, Named};
use path::Trace;
use search::Search;

pub use files::{ComponentFiles, ManifestLine, ManifestText};
pub use problem::{ApplicationErrors, ApplicationProblem, Overlap};
pub use regular::open_regular_file;
pub use search::{Found, LeftOut};
pub use separation::{GrantedFile, Separation, check_own_file, written_through};

/// Of a component and of its configuration. Engines have limits of their own; this
/// keeps a file that is something else from being read into memory.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// The folder of an application, in which everything lies that it is read from and that
/// is granted to its components.
///
/// Paths are looked at as they turn out: links and `..` are followed first. What lies
/// elsewhere is refused unless [`allow_outside`](Self::allow_outside) names it.
#[derive(Debug, Clone)]
pub struct ApplicationFolder {
    /// As it was named.
    folder: PathBuf,
    /// Without links and `..`.
    real: PathBuf,
    /// Where component files may lie, if that is more.
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

    /// Every `Component.toml` in the folder or below. Blocks while it looks.
    ///
    /// Folders that are hidden or called `target` hold what tools keep for themselves and
    /// are not looked through; nor is what is more than 16 levels down, which is named as
    /// left out if a manifest is there, nor a folder that cannot be read, nor one that
    /// a component may write: one below the folder of the manifest that grants it. Links
    /// to folders are followed where they stay in the application, each folder once, by
    /// its own name if that is in reach.
    ///
    /// # Errors
    /// [`ApplicationProblem::Unreadable`] for the folder itself,
    /// [`ApplicationProblem::TooManyFolders`].
    pub fn find_manifests(&self) -> Result<Found, ApplicationProblem> {
        let search = Search {
            application: self,
            separation: &Separation::new(),
            reads_grants: true,
        };
        search.run()
    }

    /// As [`find_manifests`](Self::find_manifests), while components run: no folder is
    /// looked through that any of these may write.
    ///
    /// # Errors
    /// As those of [`find_manifests`](Self::find_manifests).
    pub fn find_more_manifests(
        &self,
        separation: &Separation,
    ) -> Result<Found, ApplicationProblem> {
        let search = Search {
            application: self,
            separation,
            reads_grants: false,
        };
        search.run()
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
        let mut problems: Vec<_> = inner
            .filter(|named| !self.contains(&named.trace))
            .map(|named| outside(named, &self.folder))
            .collect();
        let wasm = &files.wasm;
        if !wasm.trace.ends_in(&self.real_of_wasm) && !self.contains(&wasm.trace) {
            problems.push(outside(wasm, &self.folder));
        }
        match problems.is_empty() {
            true => Ok(files),
            false => Err(ApplicationErrors(problems)),
        }
    }

    fn contains(&self, trace: &Trace) -> bool {
        let mut allowed = self.outside.iter().chain([&self.real]);
        allowed.any(|folder| trace.ends_in(folder))
    }

    /// The folders below that of a manifest that it grants for writing.
    fn data_below(&self, manifest: &Path) -> Vec<GrantedDir> {
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
            path != own && dir.named.trace.ends_in(own)
        };
        files.writable().filter(below).cloned().collect()
    }

    /// Reads the components of all manifests. Blocks while it reads.
    ///
    /// `memory_ceiling_bytes` is the largest memory limit that a manifest may set, by
    /// default [`ResourceLimits::DEFAULT_MEMORY_CEILING_BYTES`].
    ///
    /// # Errors
    /// Every problem of every manifest; [`ApplicationProblem::Empty`] if there is none.
    pub fn read(&self, memory_ceiling_bytes: u64) -> Result<Vec<Component>, ApplicationErrors> {
        let found = self.find_manifests()?;
        let Found {
            manifests,
            mut left_out,
        } = found;
        if manifests.is_empty() {
            let folder = self.folder.clone();
            return Err(ApplicationProblem::Empty { folder, left_out }.into());
        }
        let mut problems = Vec::new();
        let read: Vec<_> = manifests
            .iter()
            .map(|file| (file, self.read_manifest(file, memory_ceiling_bytes)))
            .collect();
        // Each must be known before one is trusted.
        let mut separation = Separation::new();
        for (_, files) in read.iter().filter_map(|(_, read)| read.as_ref().ok()) {
            separation.add(files);
        }
        let mut components = Vec::new();
        let mut known: BTreeMap<ComponentId, PathBuf> = BTreeMap::new();
        for (file, manifest) in read {
            let (manifest, files) = match manifest {
                Ok(read) => read,
                Err(found) => {
                    match separation.may_have_left(file) {
                        Some(other) => left_out.push(other),
                        None => problems.extend(found.0),
                    }
                    continue;
                }
            };
            let id = manifest.manifest.id.clone();
            if let Some(first) = known.get(&id) {
                problems.push(ApplicationProblem::Duplicate {
                    id,
                    first: first.clone(),
                    second: manifest.file,
                });
                continue;
            }
            known.insert(id, manifest.file.clone());
            let component = separation
                .check(&files)
                .and_then(|()| manifest.component(&files));
            match component {
                Ok(component) => components.push(component),
                Err(problem) => problems.push(problem),
            }
        }
        if components.is_empty() && problems.is_empty() {
            let folder = self.folder.clone();
            return Err(ApplicationProblem::Empty { folder, left_out }.into());
        }
        for other in left_out {
            tracing::warn!("{other}");
        }
        match problems.is_empty() {
            true => Ok(components),
            false => Err(ApplicationErrors(problems)),
        }
    }

    fn read_manifest(
        &self,
        file: &Path,
        memory_ceiling_bytes: u64,
    ) -> Result<(ReadManifest, ComponentFiles), ApplicationErrors> {
        let manifest = ReadManifest::read(file, memory_ceiling_bytes)?;
        let files = self.files_of(manifest.as_text())?;
        Ok((manifest, files))
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

/// Reads the components of an application; see [`ApplicationFolder`], which this opens
/// and reads with nothing allowed outside.
///
/// # Errors
/// As those of [`ApplicationFolder::read`].
pub fn read_application(
    folder: &Path,
    memory_ceiling_bytes: u64,
) -> Result<Vec<Component>, ApplicationErrors> {
    ApplicationFolder::open(folder)?.read(memory_ceiling_bytes)
}

struct ReadManifest {
    file: PathBuf,
    text: String,
    manifest: ComponentManifest,
    spans: ManifestSpans,
}

impl ReadManifest {
    fn read(file: &Path, memory_ceiling_bytes: u64) -> Result<Self, ApplicationProblem> {
        let text = read(file, file, ComponentManifest::MAX_BYTES)?;
        let text = String::from_utf8(text).map_err(|_| ApplicationProblem::NotText {
            path: file.to_owned(),
        })?;
        let (manifest, spans) = ComponentManifest::parse_spanned(&text, file, memory_ceiling_bytes)
            .map_err(ApplicationProblem::Manifest)?;
        Ok(Self {
            file: file.to_owned(),
            text,
            manifest,
            spans,
        })
    }

    fn as_text(&self) -> ManifestText<'_> {
        ManifestText::new(&self.file, &self.text, &self.manifest, &self.spans)
    }

    fn component(self, files: &ComponentFiles) -> Result<Component, ApplicationProblem> {
        let content = |named: &Named| {
            let read = read(&named.trace.path, &named.path, MAX_FILE_BYTES);
            read.map_err(|problem| ApplicationProblem::Named {
                line: Box::new(named.line.clone()),
                problem: Box::new(problem),
            })
        };
        let data = files.config.as_ref().map(content).transpose()?;
        let mut config = self.manifest.config(data.map(Bytes::from));
        files.resolve_dirs(&mut config.permissions);
        let bytes = content(&files.wasm)?;
        let manifest = self.manifest;
        let mut component =
            Component::new(manifest.id, bytes, config).with_supervision(manifest.supervision);
        component.version = manifest.version;
        Ok(component)
    }
}

/// `named` is how the file is called in errors.
fn read(path: &Path, named: &Path, limit: u64) -> Result<Vec<u8>, ApplicationProblem> {
    let mut bytes = Vec::new();
    open_regular_file(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(|source| unreadable(named, source))?;
    if bytes.len() as u64 > limit {
        let path = named.to_owned();
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

    fn find(root: &Path) -> Found {
        let application = ApplicationFolder::open(root).unwrap();
        application.find_manifests().unwrap()
    }

    fn found(root: &Path) -> Vec<String> {
        let found = find(root);
        assert!(found.left_out.is_empty(), "{:?}", found.left_out);
        let below = found.manifests.iter();
        let below = below.map(|file| file.strip_prefix(root).unwrap());
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
                "b/Component.TOML",
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
    fn links_are_followed_but_not_in_circles() {
        use std::os::unix::fs::symlink;

        let folder = tempdir().unwrap();
        let root = folder.path();
        touch(
            root,
            &["a/Component.toml", "b/x", ".store/v1/Component.toml"],
        );
        symlink(root, root.join("a/circle")).unwrap();
        symlink("../a/Component.toml", root.join("b/Component.toml")).unwrap();
        // By its own name, though that of the link comes first.
        symlink("a", root.join("0")).unwrap();
        for link in ["c", "d"] {
            symlink(".store/v1", root.join(link)).unwrap();
        }
        let expected = ["a/Component.toml", "b/Component.toml", "c/Component.toml"];
        assert_eq!(found(root), expected);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_is_not_followed_is_named() {
        use std::os::unix::fs::symlink;

        let (folder, other) = (tempdir().unwrap(), tempdir().unwrap());
        let root = folder.path();
        touch(root, &["a/Component.toml", "file"]);
        touch(other.path(), &["Component.toml", "b/Component.toml"]);
        symlink(other.path(), root.join("out")).unwrap();
        symlink("nowhere", root.join("broken")).unwrap();
        symlink("circle", root.join("circle")).unwrap();
        symlink("file", root.join("to-a-file")).unwrap();
        symlink("nowhere", root.join(".hidden")).unwrap();
        let left_out = find(root).left_out;
        let told: Vec<String> = left_out.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 3, "{told:#?}");
        for (told, part) in told.iter().zip([
            "broken is a link that cannot be followed: there is nothing at ",
            "circle is a link that cannot be followed: too many links",
            "outside of the application, and is not followed",
        ]) {
            assert!(told.contains(part), "{told}");
        }
        let application = ApplicationFolder::open(root).unwrap();
        let wider = application.allow_outside(other.path()).unwrap();
        let manifests = wider.find_manifests().unwrap().manifests;
        let expected = ["a", "out", "out/b"].map(|at| root.join(at).join("Component.toml"));
        assert_eq!(manifests, expected);
    }

    #[test]
    fn a_folder_of_more_folders_than_an_application_has_is_refused() {
        let folder = tempdir().unwrap();
        let root = folder.path();
        // With the folder itself and the two that hold them.
        for (number, outer) in ["a", "b"].into_iter().enumerate() {
            for inner in 0..24_999 - number {
                fs::create_dir_all(root.join(outer).join(inner.to_string())).unwrap();
            }
        }
        assert_eq!(found(root), [""; 0]);
        fs::create_dir(root.join("c")).unwrap();
        let application = ApplicationFolder::open(root).unwrap();
        let error = application.find_manifests().unwrap_err().to_string();
        assert!(error.contains("more than 50000 folders"), "{error}");
    }

    #[test]
    fn there_is_an_end_to_looking() {
        let folder = tempdir().unwrap();
        let root = folder.path();
        let deep = |depth| format!("{}Component.toml", "d/".repeat(depth));
        touch(root, &[&deep(16), &deep(17), &deep(20)]);
        touch(root, &["d/e/Component.toml", "d/d/.hidden/Component.toml"]);
        let Found {
            manifests,
            left_out,
        } = find(root);
        assert_eq!(
            manifests,
            [deep(16), "d/e/Component.toml".into()].map(|file| root.join(file))
        );
        let left_out: Vec<String> = left_out.iter().map(ToString::to_string).collect();
        let expected = format!(
            "{} is left out: it is more than 16 folders down",
            root.join(deep(17)).display()
        );
        assert_eq!(left_out, [expected]);
        // The next is named where the first is not.
        fs::remove_file(root.join(deep(17))).unwrap();
        let left_out = find(root).left_out;
        assert_eq!(left_out[0].path(), root.join(deep(20)));
        // Too much to be looked through: the folder that was not is.
        fs::remove_file(root.join(deep(20))).unwrap();
        assert!(find(root).left_out.is_empty());
        for number in 0..5000 {
            let file = format!("{}{number}", "d/".repeat(17));
            fs::write(root.join(file), "").unwrap();
        }
        let left_out = find(root).left_out;
        assert_eq!(left_out.len(), 1, "{left_out:?}");
        assert_eq!(left_out[0].path(), root.join("d/".repeat(17)));

        let file = root.join("file");
        fs::write(&file, "").unwrap();
        for (wrong, part) in [
            (&file, "is no folder"),
            (&root.join("nowhere"), "cannot be read"),
        ] {
            let report = ApplicationFolder::open(wrong).unwrap_err().to_string();
            assert!(report.contains(part), "{report}");
        }
    }
}
