//! What `up FOLDER` would find, read in the same way, and none of it run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use wasm_core::text::EscapedPath;
use wasm_core::units::{format_bytes, format_count};
use wasm_core::{ComponentId, StartPolicy};
use wasm_host::{ApplicationFolder, HostLimits};

use super::component::{self, Checked};
use crate::input::application::{Application, find_manifests, open};
use crate::input::flags::Flags;
use crate::input::source::{Place, Source};
use crate::output;
use crate::output::outcome::Stop;
use crate::output::report::{Problems, Report};

/// The folder of an application, unless all that there is in it or below is a manifest of its own.
pub(super) fn folder_at(
    path: &Path,
    outside: &[PathBuf],
) -> Result<Option<ApplicationFolder>, Report> {
    let own = match Place::of(path) {
        Ok(Place::Manifest(own)) => Some(own),
        Ok(Place::Bare(_)) => return Ok(None),
        Err(_) if path.is_dir() => None,
        Err(report) => return Err(report),
    };
    let Some(own) = own else {
        return open(path, outside).map(Some);
    };
    if own == path {
        return Ok(None);
    }
    let folder = open(path, outside)?;
    // What is wrong with it is no matter of its own manifest.
    let found = folder.find_manifests().unwrap_or_default();
    let is_own = |manifest: &PathBuf| {
        let same = |path: &Path| path.canonicalize().ok();
        same(manifest) == same(&own)
    };
    Ok((!found.manifests.iter().all(is_own)).then_some(folder))
}

/// Prints what was checked of each component; whether all of it is in order.
pub(super) async fn check(
    folder: ApplicationFolder,
    named: &Path,
    flags: &Flags,
) -> Result<bool, Stop> {
    let found = find_manifests(&folder)?;
    let (application, _, unread) = Application::read(folder, &found.manifests, None, flags).await?;
    let mut is_well = unread.is_none();
    if let Some(problems) = unread {
        problems.tell().await;
    }
    let sources = application.sources();
    let mut receivers = Vec::new();
    if let Some(first) = sources.first() {
        let engine = first.engine()?;
        for source in &sources {
            match component::check(source, &engine).await {
                Ok(Checked {
                    text,
                    takes_messages,
                }) => {
                    output::print(text).await?;
                    receivers.push((&source.id, takes_messages));
                }
                Err(problems) => {
                    problems.tell().await;
                    is_well = false;
                }
            }
        }
    }
    if !is_well {
        return Ok(false);
    }
    for source in &sources {
        for warning in routes(source, &receivers) {
            warning.tell().await;
        }
    }
    let memory_bytes = memory_at_once(&sources);
    too_much(&sources, memory_bytes).tell().await;
    let summary = format!(
        "{}: ok, {} components with up to {} of memory\n",
        EscapedPath(named),
        format_count(sources.len() as u64),
        format_bytes(memory_bytes),
    );
    output::print(summary).await?;
    Ok(true)
}

/// Permissions to reach somebody who is not there, or takes no messages.
fn routes(source: &Source, receivers: &[(&ComponentId, bool)]) -> Vec<Report> {
    let permissions = &source.config.permissions;
    let granted = [
        ("send", &permissions.send),
        ("request", &permissions.request),
        ("broadcast", &permissions.broadcast),
    ];
    let mut reports = Vec::new();
    for (key, patterns) in granted {
        for pattern in patterns {
            let reached = receivers.iter().filter(|(id, _)| pattern.matches(id));
            let reached: Vec<_> = reached.collect();
            let what = match reached.is_empty() {
                true => "matches no component here",
                false if !reached.iter().any(|(_, takes_messages)| *takes_messages) => {
                    "matches only components that take no messages"
                }
                false => continue,
            };
            reports.push(component::in_vain(source, key, pattern, what));
        }
    }
    reports
}

/// The memory of those that have an instance from the beginning on.
fn memory_at_once(sources: &[Arc<Source>]) -> u64 {
    let at_once = sources
        .iter()
        .filter(|source| source.component().supervision.start == StartPolicy::AtOnce);
    let bytes = at_once.map(|source| source.config.most_memory_bytes());
    bytes.fold(0, u64::saturating_add)
}

/// What a host does not have by default.
fn too_much(sources: &[Arc<Source>], memory_bytes: u64) -> Problems {
    let limits = HostLimits::default();
    let mut reports = Vec::new();
    if memory_bytes > limits.memory_bytes {
        let (found, limit) = (
            format_bytes(memory_bytes),
            format_bytes(limits.memory_bytes),
        );
        reports.push(
            Report::warning(format!(
                "the memory limits of all components add up to {found}, and `up` has {limit}"
            ))
            .with_help("`up --max-memory` has more"),
        );
    }
    // Of the others, one at a time has to fit.
    let too_large = sources.iter().filter(|source| {
        source.component().supervision.start == StartPolicy::OnMessage
            && source.config.most_memory_bytes() > limits.memory_bytes
    });
    reports.extend(too_large.map(|source| {
        let found = format_bytes(source.config.most_memory_bytes());
        let limit = format_bytes(limits.memory_bytes);
        Report::warning(format!(
            "the memory limits of {} add up to {found}, and `up` has {limit}",
            source.id
        ))
        .with_help("`up --max-memory` has more")
    }));
    let components = sources.len() as u64;
    if components > limits.components {
        let (found, limit) = (format_count(components), format_count(limits.components));
        reports.push(
            Report::warning(format!(
                "there are {found} components, of which `up` lets {limit} have an instance at \
                 a time"
            ))
            .with_help("`up --max-components` lets more"),
        );
    }
    reports.into_iter().collect()
}
