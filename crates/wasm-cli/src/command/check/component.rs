//! One component, which is compiled and not run.

use std::fmt::Display;

use wasm_core::text::{EscapedPath, PathText as _};
use wasm_core::units::format_bytes;
use wasm_core::{Defect, WasiGrant};
use wasm_runtime::{WasmtimeEngine, count_component};

use crate::input::anatomy::Names;
use crate::input::sites::{answers_none, kind_in};
use crate::input::source::Source;
use crate::output::report::{Problems, Report, size};

/// A component that can be loaded.
pub(super) struct Checked {
    /// What was checked, on one or more lines.
    pub(super) text: String,
    pub(super) takes_messages: bool,
}

pub(super) async fn check(source: &Source, engine: &WasmtimeEngine) -> Result<Checked, Problems> {
    for warning in unimported(source) {
        warning.tell().await;
    }
    let _prepared = engine
        .prepare_component(&source.id, source.bytes.clone(), &source.config)
        .await
        .map_err(|error| source.explain(&error))?;
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
        text: describe(source, needs, &names, engine),
        takes_messages: names.takes_messages(engine),
    })
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

fn describe(source: &Source, needs: u64, names: &Names<'_>, engine: &WasmtimeEngine) -> String {
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
        imports => format!("  imports    {imports}, all provided\n"),
    };
    checked += &format!(
        "  memory     starts with {} of {}\n",
        size(needs),
        format_bytes(source.config.limits.memory_bytes()),
    );
    checked
}
