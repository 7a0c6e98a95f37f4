use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::task::{Id, JoinSet, spawn_blocking};
use tokio::time::timeout;

use wasm_core::text::PathText as _;
use wasm_core::{ComponentHandle, LIFECYCLE_INTERFACE};
use wasm_host::{ComponentStatus, Host};
use wasm_runtime::WasmtimeEngine;

use crate::input::application::{Application, Hold, InTheWay};
use crate::input::flags::Flags;
use crate::input::sites::Sites;
use crate::input::source::Source;
use crate::input::source::manifest::ReadManifest;
use crate::output::report::{Problems, Report, aside};
use crate::session::conversation::{SLOW, compiling, explain};
use crate::session::watch::Change;

/// Components of which files are read at a time.
const READ_AT_A_TIME: usize = 16;

/// Makes the components of a host what their files say, each in a task of its own: one
/// that takes long to compile holds up no other.
pub(crate) struct Reload {
    work: Work,
    tasks: JoinSet<Ended>,
    /// The manifest of each task, and what had moved when it began.
    manifests: HashMap<Id, (PathBuf, u64)>,
    /// How often something was changed.
    moves: u64,
    /// Manifests that a task is about, and what has become of them meanwhile: a component
    /// is changed in one way after the other.
    busy: BTreeMap<PathBuf, Option<What>>,
    /// Manifests that another component is in the way of, by its id or by what one of them
    /// may write.
    waiting: BTreeMap<PathBuf, Waiting>,
    /// How often a component was unloaded.
    unloads: u64,
    /// Manifests whose component is not what they say, because that failed, and how many were
    /// unloaded by then.
    failed: BTreeMap<PathBuf, u64>,
    /// Manifests that somebody asked to look at again, once nothing else is under way: what
    /// failed for want of room may have some then.
    asked: Option<BTreeSet<PathBuf>>,
}

/// What is to be done about a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Load,
    Unload,
}

/// What came of it.
enum Ended {
    /// Whatever it was in the way of may be tried again.
    Moved,
    /// The same: what it was is gone.
    Unloaded,
    /// The same, and it is not what its files say.
    Failed,
    /// Nothing was changed, because they do not say what it should be.
    NotRead,
    NotAdmitted(InTheWay),
}

impl Reload {
    pub(crate) fn new(
        host: Host<WasmtimeEngine>,
        application: Arc<Application>,
        flags: Flags,
        sites: Option<Sites>,
    ) -> Self {
        Self {
            work: Work {
                host,
                application,
                flags,
                sites,
                reading: Arc::new(Semaphore::new(READ_AT_A_TIME)),
                admission: Arc::default(),
            },
            tasks: JoinSet::new(),
            manifests: HashMap::new(),
            moves: 0,
            busy: BTreeMap::new(),
            waiting: BTreeMap::new(),
            unloads: 0,
            failed: BTreeMap::new(),
            asked: None,
        }
    }

    /// Until no more changes come. What is under way when this is dropped is given up.
    pub(crate) async fn follow(mut self, mut changes: mpsc::Receiver<Change>) {
        loop {
            tokio::select! {
                change = changes.recv() => match change {
                    Some(Change::LeftOut(report)) => report.print(),
                    Some(Change::Changed(manifest)) => self.change(manifest, What::Load),
                    Some(Change::Gone(manifest)) => self.change(manifest, What::Unload),
                    Some(Change::Asked(manifests)) => {
                        self.asked.get_or_insert_default().extend(manifests);
                    }
                    None => return,
                },
                Some(ended) = self.tasks.join_next_with_id() => {
                    let (task, ended) = match ended {
                        Ok((task, ended)) => (task, ended),
                        // It panicked, which has been printed.
                        Err(error) => (error.id(), Ended::Failed),
                    };
                    if let Some((manifest, began)) = self.manifests.remove(&task) {
                        self.ended(manifest, began, ended);
                    }
                }
            }
            if self.busy.is_empty() {
                self.look_again();
            }
        }
    }

    /// Tries once more what failed, if somebody asked to: what was not tried since, and what may
    /// have failed for want of the room of others that were unloaded since.
    fn look_again(&mut self) {
        let Some(mut again) = self.asked.take() else {
            return;
        };
        let sources = self.work.application.sources();
        let loaded: HashSet<&Path> = sources.iter().map(|source| source.named_by()).collect();
        // At the start of the program, others have tried.
        again.retain(|it| self.failed.contains_key(it) || !loaded.contains(it.as_path()));
        let had_no_room = self
            .failed
            .iter()
            .filter(|(_, by_then)| **by_then < self.unloads);
        again.extend(had_no_room.map(|(manifest, _)| manifest.clone()));
        for manifest in again {
            if !self.waiting.contains_key(&manifest) {
                self.begin(manifest, What::Load);
            }
        }
    }

    fn change(&mut self, manifest: PathBuf, what: What) {
        // It is news, and so is what is in its way now.
        self.waiting.remove(&manifest);
        self.failed.remove(&manifest);
        if let Some(asked) = &mut self.asked {
            asked.remove(&manifest);
        }
        self.begin(manifest, what);
    }

    fn begin(&mut self, manifest: PathBuf, what: What) {
        if let Some(next) = self.busy.get_mut(&manifest) {
            *next = Some(what);
            return;
        }
        let task = self.work.clone().apply(manifest.clone(), what);
        let task = self.tasks.spawn(task).id();
        let began = (manifest.clone(), self.moves);
        self.manifests.insert(task, began);
        self.busy.insert(manifest, None);
    }

    fn ended(&mut self, manifest: PathBuf, began: u64, ended: Ended) {
        let mut next = self.busy.remove(&manifest).flatten();
        self.failed.remove(&manifest);
        match ended {
            Ended::Moved | Ended::Unloaded => {
                self.moves += 1;
                self.unloads += u64::from(matches!(ended, Ended::Unloaded));
                self.waiting.remove(&manifest);
            }
            Ended::Failed => {
                self.moves += 1;
                self.waiting.remove(&manifest);
                self.failed.insert(manifest.clone(), self.unloads);
            }
            Ended::NotRead => {
                self.waiting.remove(&manifest);
                self.failed.insert(manifest.clone(), u64::MAX);
            }
            // There is another look at it already.
            Ended::NotAdmitted(_) if next.is_some() => {}
            // What was in its way may have gone since.
            Ended::NotAdmitted(_) if began != self.moves => next = Some(What::Load),
            Ended::NotAdmitted(in_the_way) => self.wait(&manifest, in_the_way),
        }
        self.try_again();
        if let Some(what) = next {
            self.begin(manifest, what);
        }
    }

    /// Tells what is in the way, once, unless that may be about to go.
    fn wait(&mut self, manifest: &Path, in_the_way: InTheWay) {
        let InTheWay { report, other } = in_the_way;
        let on = match self.outlook(manifest, other.as_deref()) {
            Outlook::Stays => None,
            Outlook::MayGo(on) => Some(on),
            Outlook::Circle => {
                // Of those that exchange their ids one begins, by giving up its own.
                self.begin(manifest.to_owned(), What::Unload);
                return self.begin(manifest.to_owned(), What::Load);
            }
        };
        let told = self.waiting.remove(manifest).and_then(|told| told.told);
        let told = match told {
            told if on.is_some() => told,
            Some(told) if told == report => Some(told),
            _ => {
                report.print();
                self.work.goes_on(manifest);
                Some(report)
            }
        };
        let since = self.moves;
        let waiting = Waiting {
            since,
            other,
            on,
            told,
        };
        self.waiting.insert(manifest.to_owned(), waiting);
    }

    /// What may become of the one that has the id, which may wait for another's itself.
    fn outlook<'a>(&'a self, manifest: &Path, mut other: Option<&'a Path>) -> Outlook {
        for _ in 0..=self.waiting.len() {
            match other {
                None => break,
                Some(other) if other == manifest => return Outlook::Circle,
                Some(other) if self.busy.contains_key(other) => {
                    return Outlook::MayGo(other.to_owned());
                }
                Some(next) => other = self.waiting.get(next).and_then(|it| it.other.as_deref()),
            }
        }
        Outlook::Stays
    }

    /// What was in the way may be gone, or is known to stay.
    fn try_again(&mut self) {
        let may_go_on = |waiting: &Waiting| {
            let other = waiting.on.as_ref();
            waiting.since != self.moves || other.is_some_and(|other| !self.busy.contains_key(other))
        };
        let waiting = self.waiting.iter();
        let waiting = waiting
            .filter(|(manifest, waiting)| may_go_on(waiting) && !self.busy.contains_key(*manifest));
        let waiting: Vec<PathBuf> = waiting.map(|(manifest, _)| manifest.clone()).collect();
        for manifest in waiting {
            self.begin(manifest, What::Load);
        }
    }
}

/// A component that was not admitted.
struct Waiting {
    /// What had moved by then.
    since: u64,
    /// The manifest of what has its id.
    other: Option<PathBuf>,
    /// What a task is about that may end this.
    on: Option<PathBuf>,
    told: Option<Report>,
}

/// Whether a component that is in the way of another will stay there.
enum Outlook {
    Stays,
    /// Once the task about this manifest has ended.
    MayGo(PathBuf),
    /// It waits for the id of the other, or for that of one that does: none would ever have what
    /// its manifest says.
    Circle,
}

/// What a task needs.
#[derive(Clone)]
struct Work {
    host: Host<WasmtimeEngine>,
    application: Arc<Application>,
    flags: Flags,
    sites: Option<Sites>,
    /// Who reads files takes a thread, of which others want some, too.
    reading: Arc<Semaphore>,
    /// And so does who is admitted, one after the other.
    admission: Arc<Mutex<()>>,
}

/// Why a component is not what its files say.
enum Failure {
    NotAdmitted(InTheWay),
    /// Before it was admitted, or afterwards.
    Told(Problems),
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Told(problems)
    }
}

impl From<Report> for Failure {
    fn from(report: Report) -> Self {
        Self::Told(report.into())
    }
}

impl Work {
    async fn apply(self, manifest: PathBuf, what: What) -> Ended {
        let before = self.application.of_manifest(&manifest);
        if what == What::Unload {
            if let Some(before) = &before {
                self.unload(before).await;
            }
            return Ended::Unloaded;
        }
        let read = match self.read(&manifest).await {
            Ok(read) => read,
            Err(problems) => {
                problems.print();
                self.goes_on(&manifest);
                return Ended::NotRead;
            }
        };
        let old = self.status(before.as_deref()).await;
        match self.load(read, before.as_deref()).await {
            Ok(()) => Ended::Moved,
            Err(Failure::NotAdmitted(in_the_way)) => Ended::NotAdmitted(in_the_way),
            Err(Failure::Told(problems)) => {
                problems.print();
                let new = self.status(before.as_deref()).await;
                match (old, new) {
                    (Some(old), Some(new)) => goes_on_after(&old, &new),
                    _ => self.goes_on(&manifest),
                }
                Ended::Failed
            }
        }
    }

    async fn status(&self, source: Option<&Source>) -> Option<ComponentStatus> {
        self.host.component(&source?.id).await
    }

    /// Says so of what was loaded from the manifest, and is still there.
    fn goes_on(&self, manifest: &Path) {
        if let Some(source) = self.application.of_manifest(manifest)
            && self.host.permissions(&source.id).is_some()
        {
            Report::note(format!("{} goes on as it was", source.id)).print();
        }
    }

    async fn read(&self, manifest: &Path) -> Result<ReadManifest, Problems> {
        let _turn = self.reading.acquire().await;
        let folder = self.application.folder();
        ReadManifest::read(manifest.to_owned(), &self.flags, folder).await
    }

    /// In the place of `before`, which stays if this fails.
    async fn load(&self, read: ReadManifest, before: Option<&Source>) -> Result<(), Failure> {
        // Before any of its files is opened: they may be a component's.
        let (read, hold) = self.admit(read).await?;
        let turn = self.reading.acquire().await;
        let source = Source::of_manifest(read, &self.flags).await?;
        drop(turn);
        let source = Arc::new(source);
        match before {
            Some(before) if before.id == source.id => self.swap(&source).await?,
            _ => {
                // Known before anybody hears that it is loaded, and asks for it.
                self.application.insert(Arc::clone(&source));
                let loading = self.host.load(source.component());
                if let Err(error) = announced(&source, loading).await {
                    self.application.remove(&source.id);
                    return Err(explain(&source, &error).into());
                }
                if let Some(before) = before {
                    self.unload(before).await;
                }
            }
        }
        drop(hold);
        if let Some(sites) = &self.sites {
            // It is loaded all the same.
            sites
                .put(&source)
                .await
                .inspect_err(|_| sites.remove(&source.id))?;
        }
        Ok(())
    }

    /// Files are looked for, which blocks.
    async fn admit(&self, read: ReadManifest) -> Result<(ReadManifest, Hold), Failure> {
        let _turn = self.admission.lock().await;
        let application = Arc::clone(&self.application);
        let admitted = spawn_blocking(move || {
            let admitted = application.admit(&read);
            admitted.map(|hold| (read, hold))
        });
        let admitted = admitted.await.map_err(|error| {
            Report::error(format!("it is not known what may be loaded: {error}"))
        })?;
        admitted.map_err(Failure::NotAdmitted)
    }

    async fn swap(&self, source: &Arc<Source>) -> Result<(), Report> {
        let loaded = self.application.source(&source.id);
        if let Some(loaded) = loaded {
            if loaded.is_same_component(source) && self.host.component(&source.id).await.is_some() {
                // Its lines may be others.
                self.application.insert(Arc::clone(source));
                return Ok(());
            }
            self.keep_messages(loaded, source).await?;
        }
        let swapped = announced(source, self.host.swap(source.component())).await;
        swapped.map_err(|error| explain(source, &error))?;
        self.application.insert(Arc::clone(source));
        Ok(())
    }

    /// Whoever sends to a component that takes messages would send in vain to one that does
    /// not.
    async fn keep_messages(&self, old: Arc<Source>, new: &Arc<Source>) -> Result<(), Report> {
        let (engine, source) = (Arc::clone(self.host.engine()), Arc::clone(new));
        let loses_them = spawn_blocking(move || {
            let takes = |source: &Source| source.takes_messages(&engine);
            takes(&source) == Some(false) && takes(&old) == Some(true)
        });
        // What cannot be told is left to the engine.
        if !loses_them.await.unwrap_or(false) {
            return Ok(());
        }
        // What it could not be loaded for at all comes first.
        let engine = self.host.engine();
        let prepared = engine.prepare_component(&new.id, new.bytes.clone(), &new.config);
        let _prepared = prepared.await.map_err(|error| new.explain(&error))?;
        let message = format!(
            "{} takes messages, and what would replace it takes none",
            new.id
        );
        Err(Report::error(message)
            .at(new.file.escaped())
            .with_help(format!(
                "it would have to export {LIFECYCLE_INTERFACE}; with an `id` of its own it is \
                 loaded beside the other"
            )))
    }

    async fn unload(&self, source: &Source) {
        let _hold = self.application.take_out(source);
        if let Some(sites) = &self.sites {
            sites.remove(&source.id);
        }
        // A shutdown that failed is told as an event, and it is gone all the same.
        let _ = self.host.unload(&source.id).await;
    }
}

/// Says what became of a component that another version could not replace: it may have ended
/// first, to make room, and then it was started anew.
fn goes_on_after(old: &ComponentStatus, new: &ComponentStatus) {
    let id = &new.id;
    let number = |status: &ComponentStatus| status.handle.as_ref().map(ComponentHandle::handle_id);
    if new.failures > old.failures {
        // That is told already.
        return;
    }
    let (old_number, new_number) = (number(old), number(new));
    let note = match old_number.is_some() && new_number.is_some() && old_number != new_number {
        true => format!("{id} goes on in its old version, without what it had in memory"),
        false => format!("{id} goes on as it was"),
    };
    Report::note(note).print();
}

/// Says so when compiling takes its time.
async fn announced<T, E>(
    source: &Source,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let began = Instant::now();
    let mut work = pin!(work);
    if let Ok(outcome) = timeout(SLOW, &mut work).await {
        return outcome;
    }
    aside(compiling(source));
    let outcome = work.await;
    if outcome.is_ok() {
        aside(format!("{} took {:.1?}", source.id, began.elapsed()));
    }
    outcome
}
