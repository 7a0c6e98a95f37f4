//! Sources become components.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use clap::{Args, ValueHint};
use serde_json::Value;
use tokio::task::block_in_place;

use wasm_core::manifest::ComponentManifest;
use wasm_core::text::PathText as _;
use wasm_core::units::parse_bytes;

use crate::application::manifests_at;
use crate::check::Check;
use crate::compiler::CompilerFlags;
use crate::encode::{encode, imports};
use crate::flags::{Flags, parse_ceiling};
use crate::outcome::{Stop, block_on};
use crate::output;
use crate::report::{Report, size};
use crate::source::manifest_at;

const TARGET: &str = "wasm32-unknown-unknown";

const EXAMPLES: &str = "\
Examples:
  airssys-wasm build
  airssys-wasm build examples/greeter-rust
  airssys-wasm build shop";

const DETAILS: &str = "\
Every Component.toml in PATH, or below if there is none in it, is built where it
lies: by the line of a shell that is `command` in its [build], or with a
Cargo.toml beside it, by cargo for wasm32-unknown-unknown. A core module that
comes of it is encoded as a component, which is written to `wasm` of the
manifest and checked as by `check`.

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
            let built = block_in_place(|| self.build(file, &manifest))?;
            output::print(built).await?;
        }
        let flags = Flags::of_many(self.memory_ceiling, self.compiler);
        Check::of(files, flags).run().await
    }

    /// Writes the component of one manifest; what is to be said of it.
    fn build(&self, file: &Path, manifest: &ComponentManifest) -> Result<String, Report> {
        let folder = match file.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let component = folder.join(&manifest.wasm);
        let before = fs::read(&component).ok();
        let made = match &manifest.build_command {
            Some(line) => {
                run_line(line, folder)?;
                component.clone()
            }
            None if folder.join("Cargo.toml").is_file() => run_cargo(folder)?,
            None => return Err(no_way(file)),
        };
        let bytes = self.read(&made)?;
        let encoded = encode(bytes).map_err(|problem| {
            Report::error(format!("{} is no component: {problem}", made.escaped()))
        })?;
        fs::write(&component, &encoded).map_err(|error| unusable(&component, &error))?;
        Ok(told(&component, &encoded, before.as_deref()))
    }

    fn read(&self, made: &Path) -> Result<Vec<u8>, Report> {
        let length = fs::metadata(made)
            .map_err(|error| unusable(made, &error))?
            .len();
        if length > self.max_size {
            let told = format!("{} has {}", made.escaped(), size(length));
            return Err(Report::error(told).with_help("--max-size allows more"));
        }
        fs::read(made).map_err(|error| unusable(made, &error))
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
        .with_note("there is no Cargo.toml beside it")
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
    let status = command.status().map_err(|error| missing(shell, &error))?;
    match status.success() {
        true => Ok(()),
        false => Err(Report::error(format!("`{line}` failed: {status}"))
            .at(folder.escaped())
            .with_note("it is `command` in [build]")),
    }
}

/// Has cargo build the crate of a folder; the module that it made.
fn run_cargo(folder: &Path) -> Result<PathBuf, Report> {
    check_target(folder)?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    command
        .args(["build", "--release", "--target", TARGET])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let output = command.output().map_err(|error| missing("cargo", &error))?;
    if !output.status.success() {
        return Err(Report::error(format!("cargo failed: {}", output.status)).at(folder.escaped()));
    }
    let crate_manifest = folder.join("Cargo.toml").canonicalize();
    let crate_manifest = crate_manifest.map_err(|error| unusable(folder, &error))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let lines = said
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let mut modules = lines.filter_map(|line: Value| module_of(&line, &crate_manifest));
    modules.next().ok_or_else(|| {
        Report::error("cargo made no WebAssembly of this crate")
            .at(folder.join("Cargo.toml").escaped())
            .with_help("`crate-type = [\"cdylib\"]` in [lib] has it make some")
    })
}

/// The module that a line of cargo's tells of, if it is one of this crate.
fn module_of(line: &Value, crate_manifest: &Path) -> Option<PathBuf> {
    let of_crate = line.get("manifest_path")?.as_str()?;
    if Path::new(of_crate) != crate_manifest {
        return None;
    }
    let mut files = line
        .get("filenames")?
        .as_array()?
        .iter()
        .filter_map(Value::as_str);
    files
        .find(|file| Path::new(file).extension() == Some(OsStr::new("wasm")))
        .map(PathBuf::from)
}

/// cargo would say it at length, and not how to mend it.
fn check_target(folder: &Path) -> Result<(), Report> {
    let mut command = Command::new("rustc");
    command
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(folder);
    let output = command.output().map_err(|error| missing("rustc", &error))?;
    let library = String::from_utf8_lossy(&output.stdout);
    if Path::new(library.trim()).is_dir() {
        return Ok(());
    }
    Err(
        Report::error(format!("the Rust target {TARGET} is not installed"))
            .with_help(format!("`rustup target add {TARGET}` installs it")),
    )
}

fn missing(tool: &str, error: &std::io::Error) -> Report {
    let report = Report::error(format!("{tool} cannot be started: {error}"));
    match (tool, error.kind()) {
        ("cargo" | "rustc", ErrorKind::NotFound) => {
            report.with_help("Rust is installed as https://rustup.rs says")
        }
        _ => report,
    }
}

fn unusable(file: &Path, error: &std::io::Error) -> Report {
    Report::error(format!("{} cannot be used: {error}", file.escaped()))
}
