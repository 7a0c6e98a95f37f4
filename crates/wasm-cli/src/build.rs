//! Sources become components.

mod c;
mod encode;
mod go;
mod javascript;
mod python;
mod rust;
mod tool;
mod world;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use wasm_core::manifest::ComponentManifest;
use wasm_core::text::{Escaped, PathText as _};

use crate::build::encode::{encode, imports};
use crate::input::files::{read_up_to, replace};
use crate::input::source::max_component_bytes;
use crate::input::sources::{Language, Sources, unusable};
use crate::output::report::{Report, size};

/// Writes the component of one manifest, which has up to `max_size` bytes; what is to be said
/// of it.
///
/// # Errors
/// If its sources are not known or do not build, or what comes of them is no component.
pub(crate) fn build(
    file: &Path,
    manifest: &ComponentManifest,
    max_size: u64,
) -> Result<String, Report> {
    let sources = Sources::of(file, manifest);
    let component = sources.folder.join(&manifest.wasm);
    let before = read_up_to(&component, max_size).ok();
    let made = match &manifest.build_command {
        Some(line) => {
            run_line(line, &sources.folder)?;
            component.clone()
        }
        None => match sources.language()? {
            Some((language, folder)) => make(language, &folder, &sources)?,
            None => return Err(no_way(file, &sources)),
        },
    };
    let bytes = read_up_to(&made, max_size).map_err(|error| {
        let report = unusable(&made, &error);
        match error.kind() {
            ErrorKind::FileTooLarge => report.with_help(format!(
                "it is smaller without debug information; --max-size allows more, for a host that \
                 loads more than the {} that this program does",
                size(max_component_bytes())
            )),
            _ => report,
        }
    })?;
    let is_there = made == component;
    let encoded = encode(bytes.clone()).map_err(|problem| {
        Report::error(format!("{} is no component: {problem}", made.escaped()))
    })?;
    if !is_there || encoded != bytes {
        replace(&component, &encoded).map_err(|error| {
            unusable(&component, &error).with_note("`wasm` in [component] names it")
        })?;
    }
    Ok(told(&component, &encoded, before.as_deref()))
}

/// Has the tool of a language build what is in a folder; the file that it made.
fn make(language: Language, folder: &Path, sources: &Sources) -> Result<PathBuf, Report> {
    match language {
        Language::Rust => rust::build(folder),
        Language::C => c::build(sources),
        Language::JavaScript => javascript::build(folder, sources),
        Language::Python => python::build(sources),
        Language::Go => go::build(folder, sources),
    }
}

/// Size and imports, and what of them changed.
fn told(component: &Path, now: &[u8], before: Option<&[u8]>) -> String {
    let shown = component.escaped();
    let length = size(now.len() as u64);
    let is_there = imports(now);
    let Some(before) = before else {
        let names: String = is_there
            .iter()
            .map(|name| format!("  imports    {}\n", Escaped::new(name)))
            .collect();
        return format!("{shown}: {length}\n{names}");
    };
    let was_there = imports(before);
    let change = |mark, names: &BTreeSet<String>, others: &BTreeSet<String>| -> String {
        let names = names.difference(others);
        names
            .map(|name| format!("  imports    {mark} {}\n", Escaped::new(name)))
            .collect()
    };
    let was = match before == now {
        true => "as before".to_owned(),
        false => format!("{} before", size(before.len() as u64)),
    };
    let more = change('+', &is_there, &was_there);
    let less = change('-', &was_there, &is_there);
    format!("{shown}: {length}, {was}\n{more}{less}")
}

/// What is said of a component whose sources nobody knows how to build.
pub(crate) fn no_way(file: &Path, sources: &Sources) -> Report {
    let told = format!("how {} is built is not known", file.escaped());
    let folders = sources.folders.iter();
    let folders: Vec<_> = folders.map(|folder| folder.escaped().to_string()).collect();
    let searched = folders.join(" or ");
    Report::error(told)
        .with_note(format!(
            "there is no Cargo.toml, go.mod, package.json, app.py or *.c in {searched}"
        ))
        .with_help("`command` in [build] names the line of a shell that makes the file of `wasm`")
}

fn run_line(line: &str, folder: &Path) -> Result<(), Report> {
    let (shell, option) = match cfg!(windows) {
        true => ("cmd", "/C"),
        false => ("sh", "-c"),
    };
    let mut command = Command::new(shell);
    command
        .arg(option)
        .arg(line)
        .current_dir(folder)
        .stdin(Stdio::null());
    // What it prints is no reply of ours.
    command.stdout(Stdio::null());
    let status = command.status();
    let status =
        status.map_err(|error| Report::error(format!("{shell} cannot be started: {error}")))?;
    match status.success() {
        true => Ok(()),
        false => Err(Report::error(format!("`{line}` failed: {status}"))
            .at(folder.escaped())
            .with_note("it is `command` in [build]")),
    }
}
