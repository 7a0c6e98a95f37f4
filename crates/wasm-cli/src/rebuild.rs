//! Components are built anew when their sources change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread;

use tokio::runtime::Handle;

use wasm_core::text::PathText as _;

use crate::application::Application;
use crate::build::build;
use crate::build::sources::Sources;
use crate::report::{Problems, Report, aside};
use crate::source::manifest_at;
use crate::watch::{POLL, Stamp, stamps};

/// Above it, what was built is something else than a component.
const MAX_SIZE: u64 = 64 << 20;

/// New manifests are looked for less often than sources.
const POLLS_PER_SEARCH: u32 = 4;

/// The sources of components, as they were when these were built.
#[derive(Debug)]
pub(crate) struct Rebuild {
    memory_ceiling: u64,
    seen: BTreeMap<PathBuf, Seen>,
}

type Files = Vec<(PathBuf, Stamp)>;

#[derive(Debug)]
struct Seen {
    /// When they were built.
    built: Files,
    /// At the last look, if that was another way: someone may be in the middle of writing.
    changed: Option<Files>,
}

impl Rebuild {
    pub(crate) fn new(memory_ceiling: u64) -> Self {
        Self {
            memory_ceiling,
            seen: BTreeMap::new(),
        }
    }

    /// Builds the component of a manifest, and says what came of it. One without sources is
    /// left as it is.
    ///
    /// # Errors
    /// If it cannot be built.
    pub(crate) async fn build(&mut self, file: &Path) -> Result<(), Problems> {
        let manifest = manifest_at(file.to_owned(), self.memory_ceiling).await?;
        let sources = Sources::of(file, &manifest);
        // As they are before: what is written meanwhile is built next.
        let seen = Seen {
            built: stamped(&sources, file),
            changed: None,
        };
        self.seen.insert(file.to_owned(), seen);
        if manifest.build_command.is_none() && sources.language()?.is_none() {
            return Ok(());
        }
        let built = build(file, &manifest, MAX_SIZE)?;
        built.lines().for_each(aside);
        Ok(())
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
                let searches = polls.is_multiple_of(POLLS_PER_SEARCH);
                let Some(manifests) = self.manifests(&application, searches) else {
                    return;
                };
                for manifest in manifests {
                    runtime.block_on(self.look(&manifest));
                }
            }
        });
    }

    /// Those that are known, with those that are found; `None` at the end of the application.
    fn manifests(&self, application: &Weak<Application>, searches: bool) -> Option<Vec<PathBuf>> {
        let application = application.upgrade()?;
        if searches {
            let separation = application.separation();
            // What keeps them from being found is told by those who watch.
            if let Ok(found) = application.folder().find_more_manifests(&separation) {
                return Some(found.manifests);
            }
        }
        Some(self.seen.keys().cloned().collect())
    }

    /// Builds what has changed and was the same at two looks.
    async fn look(&mut self, file: &Path) {
        // What is wrong with a manifest is told by those who load it.
        let Ok(manifest) = manifest_at(file.to_owned(), self.memory_ceiling).await else {
            return;
        };
        let now = stamped(&Sources::of(file, &manifest), file);
        match self.seen.get_mut(file) {
            Some(seen) if seen.built == now => {
                seen.changed = None;
                return;
            }
            Some(seen) if seen.changed.as_ref() != Some(&now) => {
                seen.changed = Some(now);
                return;
            }
            _ => {}
        }
        if let Err(problems) = self.build(file).await {
            problems.print();
            Report::note(format!("{} was not built", file.escaped())).print();
        }
    }
}

fn stamped(sources: &Sources, manifest: &Path) -> Files {
    let mut files = sources.all_files();
    files.retain(|path| path != manifest);
    let stamps = stamps(&files);
    files.into_iter().zip(stamps).collect()
}
