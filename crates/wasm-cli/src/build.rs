//! Sources become components.

mod c;
mod go;
mod javascript;
mod python;
mod rust;
pub(crate) mod sources;
mod tool;
mod world;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use clap::{Args, ValueHint};
use tokio::task::block_in_place;

use wasm_core::manifest::ComponentManifest;
use wasm_core::text::PathText as _;
use wasm_core::units::parse_bytes;

use crate::application::manifests_at;
use crate::build::sources::{Language, Sources, unusable};
use crate::check::Check;
use crate::compiler::CompilerFlags;
use crate::encode::{encode, imports};
use crate::flags::{Flags, parse_ceiling};
use crate::outcome::{Stop, block_on};
use crate::output;
use crate::report::{Report, size};
use crate::source::manifest_at;

const EXAMPLES: &str = "\
Examples:
  airssys-wasm build
  airssys-wasm build examples/greeter-rust
  airssys-wasm build shop";

const DETAILS: &str = "\
Every Component.toml in PATH, or below if there is none in it, is built where it
lies: by the line of a shell that is `command` in its [build], or by the tool of
the language whose sources are beside it or in the folders that `sources` names:

  Cargo.toml    cargo, for wasm32-unknown-unknown
  *.c           clang, with the bindings of component.h
  package.json  componentize-qjs, from the module that is `main`
  app.py        componentize-py
  go.mod        go

A folder `wit` beside the manifest has the world, if it is not the contract's. A
core module that comes of it is encoded as a component, which is written to
`wasm` of the manifest and checked as by `check`.

Exit codes:
  0  all components were built
  2  one was not";

/// Build components from their sources
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DETAILS}"))]
pub(crate) struct Build {
    /// Folder with a Component.toml, in it or below
    #[arg(value_name = "PATH", default_value = ".", value_hint = ValueHint::AnyPath)]
    path: PathBuf,

    /// Largest memory limit of a manifest
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "4MiB",
        value_parser = parse_ceiling
    )]
    memory_ceiling: u64,

    /// Largest file that may come of it
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "64MiB",
        value_parser = parse_bytes,
        hide_short_help = true
    )]
    max_size: u64,

    #[command(flatten)]
    compiler: CompilerFlags,
}

impl Build {
    pub(crate) fn execute(self) -> Result<ExitCode, Stop> {
        block_on(self.run())
    }

    async fn run(self) -> Result<ExitCode, Stop> {
        let files = manifests_at(&self.path)?;
        for file in &files {
            let manifest = manifest_at(file.clone(), self.memory_ceiling).await?;
            let built = block_in_place(|| build(file, &manifest, self.max_size))?;
            output::print(built).await?;
        }
        let flags = Flags::of_many(self.memory_ceiling, self.compiler);
        Check::of(files, flags).run().await
    }
}

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
    let before = fs::read(&component).ok();
    let made = match &manifest.build_command {
        Some(line) => {
            run_line(line, &sources.folder)?;
            component.clone()
        }
        None => match sources.language()? {
            Some(language) => make(language, &sources)?,
            None => return Err(no_way(file)),
        },
    };
    let bytes = read(&made, max_size)?;
    let encoded = encode(bytes).map_err(|problem| {
        Report::error(format!("{} is no component: {problem}", made.escaped()))
    })?;
    fs::write(&component, &encoded).map_err(|error| unusable(&component, &error))?;
    Ok(told(&component, &encoded, before.as_deref()))
}

fn read(made: &Path, max_size: u64) -> Result<Vec<u8>, Report> {
    let length = fs::metadata(made)
        .map_err(|error| unusable(made, &error))?
        .len();
    if length > max_size {
        let told = format!("{} has {}", made.escaped(), size(length));
        return Err(Report::error(told).with_help("--max-size allows more"));
    }
    fs::read(made).map_err(|error| unusable(made, &error))
}

/// Has the tool of a language build; the file that it made.
fn make(language: Language, sources: &Sources) -> Result<PathBuf, Report> {
    match language {
        Language::Rust => rust::build(sources.folders.first().unwrap_or(&sources.folder)),
        Language::C => c::build(sources),
        Language::JavaScript => javascript::build(sources),
        Language::Python => python::build(sources),
        Language::Go => go::build(sources),
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
            .map(|name| format!("  imports    {name}\n"))
            .collect();
        return format!("{shown}: {length}\n{names}");
    };
    let was_there = imports(before);
    let change = |mark, names: &BTreeSet<String>, others: &BTreeSet<String>| -> String {
        let names = names.difference(others);
        names
            .map(|name| format!("  imports    {mark} {name}\n"))
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

fn no_way(file: &Path) -> Report {
    let told = format!("how {} is built is not known", file.escaped());
    Report::error(told)
        .with_note("there is no Cargo.toml, go.mod, package.json, app.py or *.c beside it")
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
