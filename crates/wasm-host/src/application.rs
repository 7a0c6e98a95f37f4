//! From a folder of manifests to components.

mod files;
mod folder;
mod path;
mod problem;
mod read;
mod regular;
mod search;
mod secrets;
mod separation;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use wasm_core::ComponentId;

use crate::component::Component;

use read::ReadManifest;
use search::Search;

pub use files::{ComponentFiles, ManifestLine, ManifestText};
pub use folder::ApplicationFolder;
pub use problem::{ApplicationErrors, ApplicationProblem, GrantedFile, LeftOut, Overlap};
pub use regular::{open_regular_file, read_bounded};
pub use search::Found;
pub use secrets::read_secrets;
pub use separation::{Separation, check_own_file, written_through};

impl ApplicationFolder {
    /// Every `Component.toml` in the folder or below, also where that is no file, which is told
    /// when it is read. Blocks while it looks.
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

    /// Reads the components of all manifests. Blocks while it reads.
    ///
    /// `memory_ceiling_bytes` is the largest memory limit that a manifest may set, by
    /// default
    /// [`ResourceLimits::DEFAULT_MEMORY_CEILING_BYTES`](wasm_core::ResourceLimits::DEFAULT_MEMORY_CEILING_BYTES).
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
        let mut taken = Taken::default();
        for (file, manifest) in read {
            if manifest.is_err()
                && let Some(other) = separation.may_have_left(file)
            {
                left_out.push(other);
            } else if let Err(found) = taken.take_in(manifest, &separation) {
                problems.extend(found.0);
            }
        }
        if taken.components.is_empty() && problems.is_empty() {
            let folder = self.folder.clone();
            return Err(ApplicationProblem::Empty { folder, left_out }.into());
        }
        for other in left_out {
            tracing::warn!("{other}");
        }
        match problems.is_empty() {
            true => Ok(taken.components),
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

/// The components of an application that are read so far, and the manifests of their ids.
#[derive(Default)]
struct Taken {
    components: Vec<Component>,
    known: BTreeMap<ComponentId, PathBuf>,
}

impl Taken {
    /// Takes in one that was read, if its id is its own and it leaves the others alone.
    fn take_in(
        &mut self,
        read: Result<(ReadManifest, ComponentFiles), ApplicationErrors>,
        separation: &Separation,
    ) -> Result<(), ApplicationErrors> {
        let (manifest, files) = read?;
        let id = manifest.manifest.id.clone();
        if let Some(first) = self.known.get(&id) {
            let first = first.clone();
            let second = manifest.file;
            return Err(ApplicationProblem::Duplicate { id, first, second }.into());
        }
        self.known.insert(id, manifest.file.clone());
        separation.check(&files)?;
        self.components.push(manifest.component(&files)?);
        Ok(())
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

#[cfg(test)]
mod tests {
    use std::fs;

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
    #[ignore = "makes 50,000 folders"]
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
