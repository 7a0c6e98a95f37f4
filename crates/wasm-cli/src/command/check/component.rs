//! One component, which is compiled and not run.

use std::fmt::Display;

use wasm_core::text::{EscapedPath, PathText as _};
use wasm_core::units::format_bytes;
use wasm_core::{Defect, ImportPattern, Unmet, UnmetImport, WasiGrant, WasmError};
use wasm_runtime::{WasmtimeEngine, count_component};

use crate::input::anatomy::Names;
use crate::input::sites::{answers_none, kind_in};
use crate::input::source::Source;
use crate::output::report::{Problems, Report, size};

/// More would hide what there is besides.
const SHOWN_IMPORTS: usize = 30;

/// A component that can be loaded, here or by the host that it is for.
pub(super) struct Checked {
    /// What was checked, on one or more lines.
    pub(super) text: String,
    pub(super) takes_messages: bool,
}

pub(super) async fn check(source: &Source, engine: &WasmtimeEngine) -> Result<Checked, Problems> {
    for warning in unimported(source) {
        warning.tell().await;
    }
    let elsewhere = prepare(source, engine).await?;
    for grant in &source.config.permissions.wasi {
        if let WasiGrant::Dir { host, .. } = grant
            && !host.is_dir()
        {
            let message = format!("{} is granted and is no folder", EscapedPath(host));
            let report = Report::error(message).at(source.named_by().escaped());
            return Err(report.into());
        }
    }
    let needs = count_component(&source.bytes).map_err(|defect| source.invalid(defect))?;
    let names = Names::of(&source.bytes).map_err(|error| {
        source.invalid(Defect::Malformed {
            reason: error.to_string(),
        })
    })?;
    if source.http.is_some() && kind_in(&names, engine).is_none() {
        return Err(answers_none(source).into());
    }
    let needs = needs.bytes();
    if needs > source.config.limits.memory_bytes() {
        return Err(source.starts_too_large(needs).into());
    }
    Ok(Checked {
        text: describe(source, needs, &names, elsewhere.len(), engine),
        takes_messages: names.takes_messages(engine),
    })
}

/// Compiles it. What it is granted and this program does not have is for another host that
/// embeds it: its names, which are told.
async fn prepare(source: &Source, engine: &WasmtimeEngine) -> Result<Vec<String>, Report> {
    let (id, bytes) = (&source.id, &source.bytes);
    let prepared = engine.prepare_component(id, bytes.clone(), &source.config);
    let Err(error) = prepared.await else {
        return Ok(Vec::new());
    };
    let WasmError::ImportNotFound { source: cause, .. } = &error else {
        return Err(source.explain(&error));
    };
    let permissions = &source.config.permissions;
    let Ok(audit) = engine.audit_imports(id, bytes.clone(), permissions).await else {
        return Err(source.explain(&error));
    };
    let is_elsewhere = |unmet: &UnmetImport| {
        let mut granted = permissions.imports.iter();
        unmet.reason == Unmet::Missing && granted.any(|grant| grant.matches(&unmet.name))
    };
    let (elsewhere, rest): (Vec<_>, Vec<_>) = audit.unmet.into_iter().partition(is_elsewhere);
    let or_more = audit.examined.is_some();
    match rest.first() {
        None if !or_more => {
            let names = elsewhere.into_iter().map(|unmet| unmet.name);
            let names: Vec<_> = names.collect();
            provided_elsewhere(source, &names).tell().await;
            Ok(names)
        }
        None => Err(source.explain(&error)),
        Some(first) => {
            let error = WasmError::ImportNotFound {
                component: id.clone(),
                import: first.name.clone(),
                reason: first.reason.clone(),
                others: rest.len() - 1,
                or_more,
                source: cause.clone(),
            };
            let report = source.explain(&error);
            let Some(grant) = grant_of(first) else {
                return Err(report);
            };
            let key = match source.has_manifest() {
                true => format!("`imports = [\"{grant}\"]` in [permissions]"),
                false => format!("--allow imports={grant}"),
            };
            Err(report.with_help(format!(
                "{key} grants it, if the host that embeds the component provides it"
            )))
        }
    }
}

/// The permission that an interface takes which a host of another world may provide.
fn grant_of(unmet: &UnmetImport) -> Option<ImportPattern> {
    let path = unmet.name.split('@').next()?;
    let is_standard = path.starts_with("wasi:") || path.starts_with("airssys:");
    let is_missing = unmet.reason == Unmet::Missing && !is_standard;
    is_missing.then(|| path.parse().ok()).flatten()
}

fn provided_elsewhere(source: &Source, names: &[String]) -> Report {
    let shown = names.iter().take(SHOWN_IMPORTS);
    let mut lines = vec!["`imports` in [permissions] grants".to_owned()];
    lines.extend(shown.map(|name| format!("  {name}")));
    if let more @ 1.. = names.len().saturating_sub(SHOWN_IMPORTS) {
        lines.push(format!("  and {more} more"));
    }
    let report = Report::note(format!(
        "{} is for a host that embeds it: that must provide what this program does not",
        source.id
    ));
    source
        .at_key(report, "permissions.imports")
        .with_note(lines.join("\n"))
}

/// Permissions to import what the component does not. Whether it can be read is found out
/// elsewhere.
fn unimported(source: &Source) -> Vec<Report> {
    let names = Names::of(&source.bytes).unwrap_or_default();
    let granted = source.config.permissions.imports.iter();
    let unused = granted.filter(|grant| !names.imports.iter().any(|name| grant.matches(name)));
    let reports =
        unused.map(|grant| in_vain(source, "imports", grant, "matches nothing that it imports"));
    reports.collect()
}

/// A permission that permits nothing.
pub(super) fn in_vain(source: &Source, key: &str, pattern: impl Display, what: &str) -> Report {
    let message = format!("`{pattern}` in `permissions.{key}` of {} {what}", source.id);
    Report::warning(message).at(source.named_by().escaped())
}

fn describe(
    source: &Source,
    needs: u64,
    names: &Names<'_>,
    elsewhere: usize,
    engine: &WasmtimeEngine,
) -> String {
    let mut checked = format!("{}: ok\n", EscapedPath(source.named_by()));
    if source.has_manifest() {
        checked += &format!("  manifest   {}, {}\n", source.id, source.limits());
    }
    let messages = if names.takes_messages(engine) {
        "takes messages"
    } else if names.answers_http(engine) {
        "answers HTTP requests"
    } else if names.exports.is_empty() {
        "takes no messages, has no exports to call"
    } else {
        "takes no messages, has exports to call"
    };
    checked += &format!(
        "  component  {}, {}, {messages}\n",
        EscapedPath(&source.file),
        size(source.bytes.len() as u64),
    );
    checked += &match names.imports.len() {
        0 => "  imports    nothing\n".to_owned(),
        imports if elsewhere == 0 => format!("  imports    {imports}, all provided\n"),
        imports => {
            format!(
                "  imports    {imports}, {elsewhere} of which the embedding host must provide\n"
            )
        }
    };
    checked += &format!(
        "  memory     starts with {} of {}\n",
        size(needs),
        format_bytes(source.config.limits.memory_bytes()),
    );
    checked
}
