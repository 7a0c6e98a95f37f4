use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use wasm_core::ComponentId;
use wasm_core::text::PathText as _;
use wasm_host::{
    ApplicationFolder, ApplicationProblem, ComponentFiles, Found, LeftOut, Separation,
    check_own_file,
};

use crate::input::flags::Flags;
use crate::input::source::manifest::ReadManifest;
use crate::input::source::problem::{all_told, told, widened};
use crate::input::source::{Place, Source, component_in, way_to_begin};
use crate::input::sources::Sources;
use crate::output::report::{Problems, Report};

/// Where there is more that was left out, a few show what it is about.
const SHOWN_LEFT_OUT: usize = 16;

/// Every manifest in a folder or below. What was left out is told.
pub(crate) fn find_manifests(folder: &ApplicationFolder) -> Result<Found, Problems> {
    let found = folder.find_manifests().map_err(|problem| told(&problem))?;
    if found.manifests.is_empty() {
        let empty = ApplicationProblem::Empty {
            folder: folder.path().to_owned(),
            left_out: Vec::new(),
        };
        let report = Report::error(empty.to_string())
            .with_note("folders that are hidden or called `target` are not looked through");
        let shown = found.left_out.iter().take(SHOWN_LEFT_OUT);
        let report = shown.fold(report, |report, left_out| {
            let report = report.with_note(left_out.to_string());
            match left_out {
                LeftOut::LinkOutside { leads_to, .. } => report.with_help(allow(leads_to)),
                _ => report,
            }
        });
        let component = component_in(folder.path()).unwrap_or_else(|| "FILE.wasm".into());
        return Err(report.with_help(way_to_begin(&component)).into());
    }
    let left_out = found.left_out.iter().map(tell).collect();
    some_of(left_out).iter().for_each(Report::print);
    Ok(found)
}

/// The folder of an application, with what `--allow-outside` allows.
pub(crate) fn open(path: &Path, outside: &[PathBuf]) -> Result<ApplicationFolder, Report> {
    let folder = ApplicationFolder::open(path).map_err(|problem| told(&problem))?;
    widened(folder, outside)
}

/// The manifests that a path stands for, with the folder in which what they name lies: itself,
/// that in the folder, or those below, and in what `--allow-outside` allows.
pub(crate) fn manifests_at(
    path: &Path,
    outside: &[PathBuf],
) -> Result<(ApplicationFolder, Vec<PathBuf>), Problems> {
    match Place::of(path) {
        Ok(Place::Manifest(file)) => {
            let folder = ApplicationFolder::of_component(&file);
            let folder = widened(folder.map_err(|problem| told(&problem))?, outside)?;
            Ok((folder, vec![file]))
        }
        Err(_) if path.is_dir() => {
            let folder = open(path, outside)?;
            let found = find_manifests(&folder)?;
            Ok((folder, found.manifests))
        }
        Ok(Place::Bare(file)) => {
            let told = format!("{} is no manifest", file.escaped());
            let help = "name a folder with a Component.toml, or a Component.toml itself";
            Err(Report::error(told).with_help(help).into())
        }
        Err(report) => Err(report.into()),
    }
}

/// Of what was left out, a few and how many more there are.
pub(crate) fn some_of(mut left_out: Vec<Report>) -> Vec<Report> {
    let more = left_out.len().saturating_sub(SHOWN_LEFT_OUT);
    left_out.truncate(SHOWN_LEFT_OUT);
    if more > 0 {
        let text = format!("{more} more links, folders or manifests are left out");
        left_out.push(Report::note(text));
    }
    left_out
}

/// What was left out of an application.
pub(crate) fn tell(left_out: &LeftOut) -> Report {
    let text = left_out.to_string();
    match left_out {
        LeftOut::LinkOutside { leads_to, .. } => Report::note(text).with_help(allow(leads_to)),
        LeftOut::BrokenLink { .. } => Report::note(text),
        LeftOut::Unreadable { .. } => Report::warning(text),
        LeftOut::InData { .. } => Report::warning(text).with_note(
            "what a component can write is data: no component is loaded from there, whoever \
             put it there",
        ),
        LeftOut::TooDeep { .. } => Report::note(text),
        _ => Report::warning(text),
    }
}

fn allow(path: &Path) -> String {
    format!("--allow-outside {} allows it", path.escaped())
}

/// The components of an application, with what they were loaded from.
#[derive(Debug)]
pub(crate) struct Application {
    folder: ApplicationFolder,
    /// Where what components store is kept.
    data: Option<PathBuf>,
    /// What any component may write, or could.
    separation: RwLock<Separation>,
    sources: RwLock<BTreeMap<ComponentId, Arc<Source>>>,
    /// What is coming or going, and may be none of the sources.
    moving: Mutex<Vec<Arc<Moving>>>,
    /// One is admitted after the other.
    admission: Mutex<()>,
}

/// A component that is being loaded, replaced or unloaded.
#[derive(Debug)]
struct Moving {
    id: ComponentId,
    manifest: PathBuf,
    files: Option<ComponentFiles>,
}

impl Moving {
    fn parts(&self) -> (&ComponentId, &Path, Option<&ComponentFiles>) {
        (&self.id, &self.manifest, self.files.as_ref())
    }
}

/// As long as it is held, nothing else is given the id of a component, or lies where it may
/// write.
#[derive(Debug)]
pub(crate) struct Hold {
    application: Arc<Application>,
    moving: Arc<Moving>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut all = self.application.moving();
        all.retain(|moving| !Arc::ptr_eq(moving, &self.moving));
    }
}

/// Why a component is not admitted, for now.
#[derive(Debug)]
pub(crate) struct InTheWay {
    pub(crate) report: Report,
    /// The manifest of the other, if that has the same id.
    pub(crate) other: Option<PathBuf>,
}

impl Application {
    /// Reads them all before it complains about any: the application of those that can be
    /// read, what was left out, which is told, and what is wrong with the others. What a
    /// component may have left is left out.
    ///
    /// # Errors
    /// A component could write the file of the data.
    pub(crate) async fn read(
        folder: ApplicationFolder,
        manifests: &[PathBuf],
        data: Option<PathBuf>,
        flags: &Flags,
    ) -> Result<(Self, Vec<LeftOut>, Option<Problems>), Problems> {
        let All { read, separation } =
            All::read(&folder, manifests, data.as_deref(), flags).await?;
        let application = Self {
            folder,
            data,
            separation: RwLock::default(),
            sources: RwLock::default(),
            moving: Mutex::default(),
            admission: Mutex::default(),
        };
        let (mut problems, mut left_out) = (Vec::new(), Vec::new());
        for (file, manifest) in read {
            if manifest.is_err()
                && let Some(other) = separation.may_have_left(file)
            {
                left_out.push(other);
            } else if let Err(found) = application.take_in(manifest, &separation, flags).await {
                problems.extend(found);
            }
        }
        application.keep(separation);
        some_of(left_out.iter().map(tell).collect())
            .iter()
            .for_each(Report::print);
        let problems = (!problems.is_empty()).then(|| problems.into_iter().collect());
        Ok((application, left_out, problems))
    }

    /// What may be built, without a look at what is built already.
    ///
    /// # Errors
    /// A component could write the file of the data.
    pub(crate) async fn to_build(
        folder: &ApplicationFolder,
        manifests: &[PathBuf],
        data: Option<&Path>,
        flags: &Flags,
    ) -> Result<ToBuild, Problems> {
        let All { read, separation } = All::read(folder, manifests, data, flags).await?;
        let mut found = ToBuild::default();
        for (file, manifest) in read {
            match manifest {
                Ok(manifest) => match check_built(&manifest, folder, &separation) {
                    Ok(true) => found.built.push(manifest),
                    Ok(false) => found.without_sources.push(manifest),
                    Err(problems) => found.problems.push((file.clone(), problems)),
                },
                // That it is left out is told when it is loaded.
                Err(_) if separation.may_have_left(file).is_some() => {}
                Err(problems) => found.problems.push((file.clone(), problems)),
            }
        }
        found.separation = separation;
        Ok(found)
    }

    /// Whether the component of a manifest may be built while the others run; one that has
    /// neither a command nor sources of a language is not.
    pub(crate) fn builds(&self, manifest: &ReadManifest) -> Result<bool, Problems> {
        let mut separation = self.separation();
        separation.add(manifest.files());
        check_built(manifest, &self.folder, &separation)
    }

    /// Takes in a component that was read, if it leaves the others alone and has an id of its
    /// own.
    async fn take_in(
        &self,
        manifest: Result<ReadManifest, Problems>,
        separation: &Separation,
        flags: &Flags,
    ) -> Result<(), Problems> {
        let manifest = manifest?;
        let apart = separation.check(manifest.files());
        apart.map_err(|problem| told(&problem))?;
        let source = Source::of_manifest(manifest, flags).await?;
        if let Some(other) = self.source(&source.id) {
            return Err(same_id(&source.id, other.named_by(), source.named_by()).into());
        }
        self.insert(Arc::new(source));
        Ok(())
    }

    /// One without components so far, none of which come from files.
    pub(crate) fn without_files() -> Result<Self, Report> {
        let folder = ApplicationFolder::open(Path::new("."));
        Ok(Self {
            folder: folder.map_err(|problem| told(&problem))?,
            data: None,
            separation: RwLock::default(),
            sources: RwLock::default(),
            moving: Mutex::default(),
            admission: Mutex::default(),
        })
    }

    pub(crate) fn folder(&self) -> &ApplicationFolder {
        &self.folder
    }

    /// What any component may write, or could.
    pub(crate) fn separation(&self) -> Separation {
        let separation = self.separation.read();
        separation.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, separation: Separation) {
        let kept = self.separation.write();
        *kept.unwrap_or_else(PoisonError::into_inner) = separation;
    }

    /// Makes sure that a component that is about to be read has an id of its own, leaves the
    /// others alone, and is left alone by them. From then on its folders are no place for
    /// anything else. Blocks while it looks.
    pub(crate) fn admit(self: &Arc<Self>, read: &ReadManifest) -> Result<Hold, InTheWay> {
        let (id, manifest, files) = (read.id(), read.named_by(), read.files());
        let _admission = self.admission.lock();
        let (sources, moving) = {
            // What is in neither is not there: while something moves, it is among the moving.
            let moving = self.moving();
            (self.sources(), moving.clone())
        };
        let sources = sources
            .iter()
            .map(|source| (&source.id, source.named_by(), source.files()));
        let moving = moving.iter().map(|moving| moving.parts());
        let others: Vec<_> = sources
            .chain(moving)
            .filter(|(_, other, _)| *other != manifest)
            .collect();
        if let Some((_, other, _)) = others.iter().find(|(other, ..)| *other == id) {
            return Err(InTheWay {
                report: same_id(id, other, manifest),
                other: Some((*other).to_owned()),
            });
        }
        let others = others.iter().filter_map(|(.., files)| *files);
        self.hold_apart(files, others).map_err(|report| InTheWay {
            report,
            other: None,
        })?;
        let admitted = Arc::new(Moving {
            id: id.clone(),
            manifest: manifest.to_owned(),
            files: Some(files.clone()),
        });
        self.moving().push(Arc::clone(&admitted));
        Ok(Hold {
            application: Arc::clone(self),
            moving: admitted,
        })
    }

    fn hold_apart<'f>(
        &self,
        files: &ComponentFiles,
        others: impl Iterator<Item = &'f ComponentFiles>,
    ) -> Result<(), Report> {
        let mut all = self.separation();
        all.add(files);
        all.check(files).map_err(|problem| told(&problem))?;
        let mut this = Separation::new();
        this.add(files);
        for other in others {
            this.check(other).map_err(|problem| told(&problem))?;
        }
        if let Some(file) = &self.data {
            check_own_file(file, [files]).map_err(|problem| told(&problem))?;
        }
        self.keep(all);
        Ok(())
    }

    /// Takes a component out that is about to be unloaded, and whose id is its own until then.
    pub(crate) fn take_out(self: &Arc<Self>, source: &Source) -> Hold {
        let leaving = Arc::new(Moving {
            id: source.id.clone(),
            manifest: source.named_by().to_owned(),
            files: source.files().cloned(),
        });
        self.moving().push(Arc::clone(&leaving));
        self.remove(&source.id);
        Hold {
            application: Arc::clone(self),
            moving: leaving,
        }
    }

    fn moving(&self) -> MutexGuard<'_, Vec<Arc<Moving>>> {
        self.moving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn sources(&self) -> Vec<Arc<Source>> {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        sources.values().cloned().collect()
    }

    /// Of its components.
    pub(crate) fn ids(&self) -> Vec<String> {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        sources.keys().map(ComponentId::to_string).collect()
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

    pub(crate) fn insert(&self, source: Arc<Source>) {
        let mut sources = self.sources.write().unwrap_or_else(PoisonError::into_inner);
        sources.insert(source.id.clone(), source);
    }

    pub(crate) fn remove(&self, id: &ComponentId) {
        let mut sources = self.sources.write().unwrap_or_else(PoisonError::into_inner);
        sources.remove(id);
    }
}

/// The components of an application by how they come to be.
#[derive(Debug, Default)]
pub(crate) struct ToBuild {
    /// By a command, or from sources of a language, which nobody may write.
    pub(crate) built: Vec<ReadManifest>,
    /// Their files are what they are.
    pub(crate) without_sources: Vec<ReadManifest>,
    /// Those that must not be built, or cannot be read, and why.
    pub(crate) problems: Vec<(PathBuf, Problems)>,
    /// What any of them may write.
    pub(crate) separation: Separation,
}

/// Manifests of an application as far as they can be read, and what their components may write:
/// each must be known before one is trusted.
struct All<'m> {
    read: Vec<(&'m PathBuf, Result<ReadManifest, Problems>)>,
    separation: Separation,
}

impl<'m> All<'m> {
    async fn read(
        folder: &ApplicationFolder,
        manifests: &'m [PathBuf],
        data: Option<&Path>,
        flags: &Flags,
    ) -> Result<Self, Problems> {
        let mut read = Vec::new();
        for manifest in manifests {
            let found = ReadManifest::read(manifest.clone(), flags, folder).await;
            read.push((manifest, found));
        }
        let known = read.iter().filter_map(|(_, read)| read.as_ref().ok());
        let known: Vec<_> = known.map(ReadManifest::files).collect();
        let mut separation = Separation::new();
        known.iter().for_each(|files| separation.add(files));
        if let Some(file) = data {
            check_own_file(file, known).map_err(|problem| told(&problem))?;
        }
        Ok(Self { read, separation })
    }
}

/// Whether a component is built, and nobody may write what it is built by and from.
fn check_built(
    manifest: &ReadManifest,
    folder: &ApplicationFolder,
    separation: &Separation,
) -> Result<bool, Problems> {
    let files = manifest.files();
    let apart = separation.check(files);
    apart.map_err(|problem| told(&problem))?;
    let within = folder.check_sources(files);
    within.map_err(|errors| all_told(&errors))?;
    let sources = Sources::of(manifest.named_by(), manifest.says());
    if manifest.says().build_command.is_none() && sources.language()?.is_none() {
        return Ok(false);
    }
    let apart = separation.check_sources(files);
    apart.map_err(|problem| told(&problem))?;
    Ok(true)
}

/// Two manifests say the same id.
fn same_id(id: &ComponentId, first: &Path, second: &Path) -> Report {
    Report::error(format!("two components have the id {id}"))
        .at(second.escaped())
        .with_note(format!("the other is {}", first.escaped()))
        .with_help("give one of them another `id` in [component]")
}
