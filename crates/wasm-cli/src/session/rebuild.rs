//! Components are built anew when their sources change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use tokio::runtime::Handle;
use tokio::task::block_in_place;

use wasm_core::manifest::ComponentManifest;
use wasm_core::text::PathText as _;
use wasm_host::Separation;

use crate::build::build;
use crate::input::application::Application;
use crate::input::flags::Flags;
use crate::input::source::manifest::{ReadManifest, manifest_at};
use crate::input::source::{MANIFEST_NAME, max_component_bytes};
use crate::input::sources::Sources;
use crate::output::report::{Problems, Report, aside};
use crate::session::watch::{POLL, Stamp, stamps};

/// New manifests are looked for less often than sources.
const POLLS_PER_SEARCH: u32 = 4;

/// The sources of components, as they were when these were built.
#[derive(Debug)]
pub(crate) struct Rebuild {
    flags: Flags,
    /// Where what components store is kept.
    data: Option<PathBuf>,
    seen: BTreeMap<PathBuf, Seen>,
}

type Files = Vec<(PathBuf, Stamp)>;

#[derive(Debug)]
struct Seen {
    /// When they were built.
    built: Files,
    /// At the last look, if that was another way: someone may be in the middle of writing.
    changed: Option<Files>,
    /// They changed while they were built, and are built once more.
    is_built_again: bool,
}

impl Rebuild {
    pub(crate) fn new(flags: Flags, data: Option<PathBuf>) -> Self {
        Self {
            flags,
            data,
            seen: BTreeMap::new(),
        }
    }

    /// Builds the component of a manifest, which may be, and says what came of it.
    ///
    /// # Errors
    /// If it cannot be built.
    pub(crate) fn build(
        &mut self,
        manifest: &ReadManifest,
        separation: &Separation,
    ) -> Result<(), Report> {
        let (file, says) = (manifest.named_by(), manifest.says());
        let before = self.stamped(file, says, separation);
        let built = block_in_place(|| build(file, says, max_component_bytes()));
        let after = self.stamped(file, says, separation);
        // What was written meanwhile is built next, unless that happens each time: then it is
        // the build that writes it.
        let was_built_again = self.seen.get(file).is_some_and(|seen| seen.is_built_again);
        let is_built_again = before != after && !was_built_again;
        let seen = Seen {
            built: if is_built_again { before } else { after },
            changed: None,
            is_built_again,
        };
        self.seen.insert(file.to_owned(), seen);
        built?.lines().for_each(aside);
        Ok(())
    }

    /// A component that is not built, until its sources change.
    pub(crate) fn pass_over(&mut self, manifest: &ReadManifest, separation: &Separation) {
        let file = manifest.named_by();
        let seen = Seen {
            built: self.stamped(file, manifest.says(), separation),
            changed: None,
            is_built_again: false,
        };
        self.seen.insert(file.to_owned(), seen);
    }

    /// Looks again and again on a thread of its own, as long as the application is there. What
    /// it builds is found by those who watch the components.
    pub(crate) fn start(mut self, application: &Arc<Application>) {
        let application = Arc::downgrade(application);
        let runtime = Handle::current();
        // Not a task: it blocks, and it is no work that the end must wait for.
        thread::spawn(move || {
            for polls in 0_u32.. {
                thread::sleep(POLL);
                let Some(application) = application.upgrade() else {
                    return;
                };
                let searches = polls.is_multiple_of(POLLS_PER_SEARCH);
                for manifest in self.manifests(&application, searches) {
                    let looked = runtime.block_on(self.look(&manifest, &application));
                    if let Err(problems) = looked {
                        problems.print();
                        Report::note(format!("{} was not built", manifest.escaped())).print();
                    }
                }
            }
        });
    }

    /// Those that are known, or those that are found.
    fn manifests(&self, application: &Application, searches: bool) -> Vec<PathBuf> {
        if searches {
            let separation = application.separation();
            // What keeps them from being found is told by those who watch.
            if let Ok(found) = application.folder().find_more_manifests(&separation) {
                return found.manifests;
            }
        }
        self.seen.keys().cloned().collect()
    }

    /// Builds what has changed and was the same at two looks.
    async fn look(&mut self, file: &Path, application: &Application) -> Result<(), Problems> {
        // What is wrong with a manifest is told by those who load it.
        let Ok(manifest) = manifest_at(file.to_owned(), self.flags.memory_ceiling).await else {
            return Ok(());
        };
        let separation = application.separation();
        let now = self.stamped(file, &manifest, &separation);
        match self.seen.get_mut(file) {
            Some(seen) if seen.built == now => {
                seen.changed = None;
                return Ok(());
            }
            Some(seen) if seen.changed.as_ref() != Some(&now) => {
                seen.changed = Some(now);
                return Ok(());
            }
            _ => {}
        }
        let read = ReadManifest::read(file.to_owned(), &self.flags, application.folder()).await;
        let Ok(manifest) = read else {
            return Ok(());
        };
        let is_built = application.builds(&manifest);
        if let Ok(true) = is_built {
            return Ok(self.build(&manifest, &separation)?);
        }
        self.pass_over(&manifest, &separation);
        is_built.map(drop)
    }

    /// The sources of a component as they are now, which no component may write.
    fn stamped(&self, manifest: &Path, says: &ComponentManifest, separation: &Separation) -> Files {
        let is_written = |folder: &Path| {
            let inner = folder.join(MANIFEST_NAME);
            separation.may_have_left(&inner).is_some()
        };
        let mut files = Sources::of(manifest, says).all_files(is_written);
        files.retain(|file| file != manifest && !self.is_data(file));
        let stamps = stamps(&files);
        files.into_iter().zip(stamps).collect()
    }

    /// Whether it is the file that changes with every message that something is stored for.
    fn is_data(&self, file: &Path) -> bool {
        let same = |data: &PathBuf| {
            let real = |path: &Path| path.canonicalize().ok();
            file.file_name() == data.file_name() && real(file) == real(data)
        };
        self.data.as_ref().is_some_and(same)
    }
}
