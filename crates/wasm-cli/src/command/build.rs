//! Sources become components.

mod c;
mod encode;
mod go;
mod javascript;
mod python;
mod rust;
pub(crate) mod sources;
mod tool;
mod world;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use clap::{Args, ValueHint};
use tokio::task::block_in_place;

use wasm_core::manifest::ComponentManifest;
use wasm_core::text::{Escaped, PathText as _};
use wasm_core::units::parse_bytes;

use crate::command::build::encode::{encode, imports};
use crate::command::build::sources::{Language, Sources, unusable};
use crate::command::check::Check;
use crate::input::application::{Application, manifests_at};
use crate::input::files::{read_up_to, replace};
use crate::input::flags::{Flags, parse_ceiling};
use crate::input::source::problem::widened;
use crate::output;
use crate::output::outcome::{Stop, block_on};
use crate::output::report::{Problems, Report, size};
use crate::session::compiler::CompilerFlags;

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
`wasm` of the manifest and checked as by `check`. Of several components, those
that have neither a command nor sources are left as they are.

This runs programs: `command`, the compilers, what Cargo.toml and package.json
have them run, and tools in .venv/bin and node_modules/.bin of the folder and of
those above that belong to the same owner. Build only what you would run. What a
component may write is never built: no folder that is granted for writing may
lie in one of `sources`, in a src beside the manifest, or in a .cargo, .venv,
node_modules, target or wit there or above. Sources lie in PATH, or for a single
component in a folder beside its own, or in what --allow-outside names.

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

    /// Folder or file outside of PATH that manifests may name (repeatable)
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    allow_outside: Vec<PathBuf>,

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
        let (folder, mut files) = manifests_at(&self.path)?;
        let folder = widened(folder, &self.allow_outside)?;
        let mut flags = Flags::of_many(self.memory_ceiling, self.compiler);
        flags.allow_outside = self.allow_outside;
        let found = Application::to_build(&folder, &files, None, &flags).await?;
        let mut unbuilt = found.problems;
        for manifest in found.built {
            let file = manifest.named_by().to_owned();
            match block_in_place(|| build(&file, manifest.says(), self.max_size)) {
                Ok(text) => output::print(text).await?,
                Err(report) => unbuilt.push((file, report.into())),
            }
        }
        let is_alone = files.len() == 1;
        for manifest in found.without_sources {
            let file = manifest.named_by();
            let sources = Sources::of(file, manifest.says());
            if is_alone || !manifest.files().wasm().exists() {
                unbuilt.push((file.to_owned(), no_way(file, &sources).into()));
            }
        }
        files.retain(|file| !unbuilt.iter().any(|(other, _)| other == file));
        // What is wrong with one is no reason not to tell what the others are.
        let checked = match files.is_empty() {
            true => ExitCode::SUCCESS,
            false => Check::of(files, flags).run().await?,
        };
        match unbuilt.is_empty() {
            true => Ok(checked),
            false => {
                let problems = unbuilt.into_iter().flat_map(|(_, found)| found);
                Err(problems.collect::<Problems>().into())
            }
        }
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
            ErrorKind::FileTooLarge => report.with_help("--max-size allows more"),
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

fn no_way(file: &Path, sources: &Sources) -> Report {
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
