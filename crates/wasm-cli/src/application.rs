use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use wasm_core::ComponentId;
use wasm_host::ApplicationProblem;

use crate::flags::Flags;
use crate::report::{Problems, Report};
use crate::source::{Place, Source};

/// Every manifest in a folder or below.
pub(crate) fn find_manifests(folder: &Path) -> Result<Vec<PathBuf>, Report> {
    wasm_host::find_manifests(folder).map_err(|problem| {
        let report = Report::error(problem.to_string());
        match problem {
            ApplicationProblem::Empty { .. } => report
                .with_note("folders that are hidden or called `target` are not looked through")
                .with_help("`airssys-wasm inspect --manifest FILE.wasm` prints one to begin with"),
            ApplicationProblem::NotAFolder { .. } => report.with_help(
                "`up` takes the folder of an application, with a Component.toml in it or below",
            ),
            _ => report,
        }
    })
}

/// The components of an application, with what they were loaded from.
#[derive(Debug, Default)]
pub(crate) struct Application {
    sources: RwLock<BTreeMap<ComponentId, Arc<Source>>>,
}

impl Application {
    /// Reads them all before it complains about any.
    pub(crate) async fn read(manifests: &[PathBuf], flags: &Flags) -> Result<Self, Problems> {
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

/// Two manifests say the same id.
pub(crate) fn same_id(first: &Source, second: &Source) -> Report {
    Report::error(format!("two components have the id {}", first.id))
        .at(second.named_by().display())
        .with_note(format!("the other is {}", first.named_by().display()))
        .with_help("give one of them another `id` in [component]")
}
