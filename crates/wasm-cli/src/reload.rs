use std::collections::BTreeSet;
use std::future::Future;
use std::mem;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::time::timeout;

use wasm_core::ComponentId;
use wasm_host::{Host, HostError};
use wasm_runtime::WasmtimeEngine;

use crate::application::{Application, same_id};
use crate::conversation::{SLOW, compiling, explain};
use crate::flags::Flags;
use crate::report::{Problems, Report, aside};
use crate::source::{ReadManifest, Source};
use crate::watch::Change;

/// Makes the components of a host what their files say.
pub(crate) struct Reload {
    host: Host<WasmtimeEngine>,
    application: Arc<Application>,
    flags: Flags,
    /// Manifests that another component was in the way of: by its id, or by what one of
    /// them may write.
    clashing: BTreeSet<PathBuf>,
}

impl Reload {
    pub(crate) fn new(
        host: Host<WasmtimeEngine>,
        application: Arc<Application>,
        flags: Flags,
    ) -> Self {
        Self {
            host,
            application,
            flags,
            clashing: BTreeSet::new(),
        }
    }

    /// One change after the other, until no more come.
    pub(crate) async fn follow(mut self, mut changes: mpsc::Receiver<Change>) {
        while let Some(change) = changes.recv().await {
            if let Change::LeftOut(text) = change {
                Report::warning(text).print();
                continue;
            }
            let mut clashing = mem::take(&mut self.clashing);
            match change {
                Change::LeftOut(_) => {}
                Change::Changed(manifest) => {
                    clashing.remove(&manifest);
                    self.changed(&manifest).await;
                }
                Change::Gone(manifest) => {
                    clashing.remove(&manifest);
                    if let Some(source) = self.application.of_manifest(&manifest) {
                        self.unload(&source.id).await;
                    }
                }
            }
            // What was in the way may be gone.
            for manifest in clashing {
                self.changed(&manifest).await;
            }
        }
    }

    async fn changed(&mut self, manifest: &Path) {
        let before = self.application.of_manifest(manifest);
        let id = before.as_ref().map(|source| &source.id);
        if let Err(problems) = self.load(manifest, id).await {
            problems.print();
            if let Some(id) = id
                && self.host.component(id).await.is_some()
            {
                Report::note(format!("{id} goes on as it was")).print();
            }
        }
    }

    /// In the place of `before`, which stays if this fails.
    async fn load(
        &mut self,
        manifest: &Path,
        before: Option<&ComponentId>,
    ) -> Result<(), Problems> {
        let folder = self.application.folder();
        let read = ReadManifest::read(manifest.to_owned(), &self.flags, folder).await?;
        if let Some(other) = self.application.source(read.id())
            && other.named_by() != manifest
        {
            self.clashing.insert(manifest.to_owned());
            return Err(same_id(&other, manifest).into());
        }
        // Before any of its files is opened: they may be a component's.
        if let Err(report) = self.application.admit(read.named_by(), read.files()) {
            self.clashing.insert(manifest.to_owned());
            return Err(report.into());
        }
        let source = Source::of_manifest(read, &self.flags).await?;
        let component = source.component();
        if before == Some(&source.id) {
            let loaded = self.application.source(&source.id);
            if loaded.is_some_and(|loaded| loaded.is_same_component(&source))
                && self.host.component(&source.id).await.is_some()
            {
                // Its lines may be others.
                self.application.insert(source);
                return Ok(());
            }
            let swapped = announced(&source, self.host.swap(component)).await;
            swapped.map_err(|error| match error {
                HostError::Budget { .. } => {
                    explain(&source, &error).with_note("until it is replaced, there are both")
                }
                error => explain(&source, &error),
            })?;
            self.application.insert(source);
            return Ok(());
        }
        // Known before anybody hears that it is loaded, and asks for it.
        let source = self.application.insert(source);
        if let Err(error) = announced(&source, self.host.load(component)).await {
            self.application.remove(&source.id);
            return Err(explain(&source, &error).into());
        }
        if let Some(before) = before {
            self.unload(before).await;
        }
        Ok(())
    }

    async fn unload(&self, id: &ComponentId) {
        self.application.remove(id);
        // A shutdown that failed is told as an event, and it is gone all the same.
        let _ = self.host.unload(id).await;
    }
}

/// Says so when compiling takes its time.
async fn announced<T>(source: &Source, work: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let mut work = pin!(work);
    if let Ok(outcome) = timeout(SLOW, &mut work).await {
        return outcome;
    }
    aside(compiling(source));
    let outcome = work.await;
    aside(format!("{} took {:.1?}", source.id, began.elapsed()));
    outcome
}
