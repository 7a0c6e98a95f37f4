use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use wasm_core::ComponentId;
use wasm_core::text::PathText as _;
use wasm_host::{
    ApplicationFolder, ApplicationProblem, ComponentFiles, Found, LeftOut, Separation,
    check_own_file,
};

use crate::flags::Flags;
use crate::report::{Problems, Report};
use crate::source::{ReadManifest, Source, told};

/// Where there is more that was left out, a few show what it is about.
const SHOWN_LEFT_OUT: usize = 16;

/// Every manifest in a folder or below.
///
/// What was left out is told, but for what cannot be read, which is an error: there may be
/// a component in it.
pub(crate) fn find_manifests(folder: &ApplicationFolder) -> Result<Found, Problems> {
    let found = folder.find_manifests().map_err(|problem| told(&problem))?;
    let (errors, rest): (Vec<_>, Vec<_>) = found
        .left_out
        .iter()
        .map(|left_out| (matches!(left_out, LeftOut::Unreadable { .. }), left_out))
        .partition(|(is_error, _)| *is_error);
    if !errors.is_empty() {
        let errors = errors.into_iter();
        let reports = errors.map(|(_, left_out)| Report::error(left_out.to_string()));
        return Err(reports.collect());
    }
    if found.manifests.is_empty() {
        let empty = ApplicationProblem::Empty {
            folder: folder.path().to_owned(),
            left_out: Vec::new(),
        };
        let report = Report::error(empty.to_string())
            .with_note("folders that are hidden or called `target` are not looked through");
        let shown = rest.iter().take(SHOWN_LEFT_OUT);
        let report = shown.fold(report, |report, (_, left_out)| {
            let report = report.with_note(left_out.to_string());
            match left_out {
                LeftOut::LinkOutside { leads_to, .. } => report.with_help(allow(leads_to)),
                _ => report,
            }
        });
        let help = "`airssys-wasm inspect --manifest FILE.wasm` prints one to begin with";
        return Err(report.with_help(help).into());
    }
    let more = rest.len().saturating_sub(SHOWN_LEFT_OUT);
    for (_, left_out) in rest.into_iter().take(SHOWN_LEFT_OUT) {
        tell(left_out).print();
    }
    if more > 0 {
        Report::note(format!("{more} more links or manifests are left out")).print();
    }
    Ok(found)
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
}

impl Application {
    /// Reads them all before it complains about any. What a component may have left is left
    /// out, and told.
    pub(crate) async fn read(
        folder: ApplicationFolder,
        manifests: &[PathBuf],
        data: Option<PathBuf>,
        flags: &Flags,
    ) -> Result<(Self, Vec<LeftOut>), Problems> {
        let mut read = Vec::new();
        for manifest in manifests {
            let found = ReadManifest::read(manifest.clone(), flags, &folder).await;
            read.push((manifest, found));
        }
        // Each must be known before one is trusted.
        let known = read.iter().filter_map(|(_, read)| read.as_ref().ok());
        let known: Vec<_> = known.map(ReadManifest::files).collect();
        let separation = Separation::of(known.iter().copied());
        let known = known
            .into_iter()
            .filter(|files| separation.left_out(files).is_none());
        let mut problems = Vec::new();
        let mut left_out = Vec::new();
        if let Some(file) = &data
            && let Err(problem) = check_own_file(file, known)
        {
            problems.push(told(&problem));
        }
        let application = Self {
            folder,
            data,
            separation: RwLock::default(),
            sources: RwLock::default(),
        };
        for (file, manifest) in read {
            let other = match &manifest {
                Ok(manifest) => separation.left_out(manifest.files()),
                Err(_) => separation.may_have_left(file),
            };
            if let Some(other) = other {
                left_out.push(other);
                continue;
            }
            let source = match manifest {
                Ok(manifest) => match separation.check(manifest.files()) {
                    Ok(()) => Source::of_manifest(manifest, flags).await,
                    Err(problem) => Err(told(&problem).into()),
                },
                Err(found) => Err(found),
            };
            match source {
                Ok(source) => match application.source(&source.id) {
                    Some(other) => problems.push(same_id(&other, source.named_by())),
                    None => drop(application.insert(source)),
                },
                Err(found) => problems.extend(found),
            }
        }
        application.keep(separation);
        for other in left_out.iter().take(SHOWN_LEFT_OUT) {
            tell(other).print();
        }
        if let more @ 1.. = left_out.len().saturating_sub(SHOWN_LEFT_OUT) {
            Report::note(format!("{more} more manifests are left out")).print();
        }
        match problems.is_empty() {
            true => Ok((application, left_out)),
            false => Err(problems.into_iter().collect()),
        }
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

    /// Makes sure that a component that is about to be read leaves the others alone, and
    /// is left alone by them. From then on its folders are no place for anything else.
    pub(crate) fn admit(&self, manifest: &Path, files: &ComponentFiles) -> Result<(), Report> {
        let told = |problem: ApplicationProblem| told(&problem);
        let mut all = self.separation();
        if let Some(left_out) = all.left_out(files) {
            return Err(tell(&left_out));
        }
        all.add(files);
        all.check(files).map_err(told)?;
        let mut this = Separation::new();
        this.add(files);
        for other in self.sources() {
            if let Some(others) = other.files()
                && other.named_by() != manifest
            {
                this.check(others).map_err(told)?;
            }
        }
        if let Some(file) = &self.data {
            check_own_file(file, [files]).map_err(told)?;
        }
        self.keep(all);
        Ok(())
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

/// Two manifests say the same id.
pub(crate) fn same_id(first: &Source, second: &Path) -> Report {
    Report::error(format!("two components have the id {}", first.id))
        .at(second.escaped())
        .with_note(format!("the other is {}", first.named_by().escaped()))
        .with_help("give one of them another `id` in [component]")
}
