//! Components in Rust: cargo makes a core module.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use wasm_core::text::PathText as _;

use crate::build::tool::Tool;
use crate::input::sources::unusable;
use crate::output::report::Report;

const TARGET: &str = "wasm32-unknown-unknown";

const CARGO: Tool = Tool {
    name: "cargo",
    beside: None,
    install: "curl https://sh.rustup.rs -sSf | sh",
};

const RUSTC: Tool = Tool {
    name: "rustc",
    ..CARGO
};

/// Has cargo build the crate of a folder; the module that it made.
///
/// # Errors
/// If Rust or its target is not there, or the crate does not build or makes no module.
pub(crate) fn build(folder: &Path) -> Result<PathBuf, Report> {
    check_target(folder)?;
    let mut command = match std::env::var_os("CARGO") {
        Some(cargo) => Command::new(cargo),
        None => CARGO.command(folder),
    };
    command
        .args(["build", "--release", "--target", TARGET])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(folder);
    let output = CARGO.ask(&mut command, folder)?;
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
    let mut command = RUSTC.command(folder);
    command
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(folder);
    let output = RUSTC.ask(&mut command, folder)?;
    let library = String::from_utf8_lossy(&output.stdout);
    if Path::new(library.trim()).is_dir() {
        return Ok(());
    }
    Err(
        Report::error(format!("the Rust target {TARGET} is not installed"))
            .with_help(format!("`rustup target add {TARGET}` installs it")),
    )
}
