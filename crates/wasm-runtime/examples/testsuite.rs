//! What becomes of components of the component model's own tests:
//! `cargo run --example testsuite -- FOLDER...`, below which `*.wast` files are looked for, such
//! as in `tests/misc_testsuite` of wasmtime. `scripts/testsuite.sh` builds and runs it.
//!
//! Each component either is loaded, or is refused for a reason of the right kind: what it
//! uses that the engine does not run, an import that nobody provides, a limit; what the test
//! says is invalid, as damaged. Fails otherwise.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::timeout;
use wast::parser::{self, ParseBuffer};
use wast::{QuoteWat, Wast, WastDirective, Wat};

use wasm_core::{
    ComponentConfig, ComponentId, Defect, HostServices, Permissions, ResourceLimits, WasmError,
};
use wasm_runtime::{EngineConfig, WasmtimeEngine};

/// Some compile for seconds; none takes a minute.
const HANG: Duration = Duration::from_secs(60);

type Failure = Box<dyn Error>;

#[tokio::main]
async fn main() -> Result<ExitCode, Failure> {
    let mut files = Vec::new();
    for folder in env::args().skip(1) {
        let folder = PathBuf::from(folder);
        let above = folder.parent().unwrap_or(&folder).to_owned();
        let mut found = Vec::new();
        find(&folder, &mut found)?;
        found.sort();
        files.extend(found.into_iter().map(|file| (above.clone(), file)));
    }
    if files.is_empty() {
        return Err("usage: testsuite FOLDER...".into());
    }
    let engine = WasmtimeEngine::new(EngineConfig::default(), HostServices::default())?;
    println!("| file | components | what becomes of them | |");
    println!("|---|--:|---|---|");
    let (mut components, mut wrong) = (0, 0);
    for (above, file) in &files {
        let name = file.strip_prefix(above)?.display();
        let text = fs::read_to_string(file)?;
        let found = match components_of(&text) {
            Ok(found) => found,
            Err(error) => {
                let error = error.to_string();
                let error = error.lines().next().unwrap_or_default();
                println!("| {name} | | cannot be parsed: {error} | |");
                continue;
            }
        };
        let mut outcomes: BTreeMap<String, u32> = BTreeMap::new();
        let mut is_wrong = false;
        for (bytes, expected) in &found {
            components += 1;
            let (outcome, fits) = outcome(&engine, bytes, *expected).await;
            *outcomes.entry(outcome).or_default() += 1;
            is_wrong |= !fits;
        }
        wrong += u32::from(is_wrong);
        let outcomes: Vec<String> = outcomes
            .into_iter()
            .map(|(outcome, count)| format!("{count} {outcome}"))
            .collect();
        let mark = if is_wrong { "WRONG" } else { "ok" };
        println!(
            "| {name} | {} | {} | {mark} |",
            found.len(),
            outcomes.join("; ")
        );
    }
    println!(
        "\n{components} components of {} files, {wrong} files wrong",
        files.len()
    );
    Ok(ExitCode::from(u8::from(wrong > 0 || components == 0)))
}

/// What the file says of a component.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Valid,
    Invalid,
    /// It cannot be instantiated, or traps in its start.
    Unlinkable,
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "wast")
        {
            files.push(path);
        }
    }
    Ok(())
}

fn components_of(text: &str) -> Result<Vec<(Vec<u8>, Expected)>, Failure> {
    let buffer = ParseBuffer::new(text)?;
    let wast = parser::parse::<Wast<'_>>(&buffer)?;
    let mut found = Vec::new();
    for directive in wast.directives {
        let (mut module, expected) = match directive {
            WastDirective::Module(module) | WastDirective::ModuleDefinition(module) => {
                (module, Expected::Valid)
            }
            WastDirective::AssertMalformed { module, .. }
            | WastDirective::AssertInvalid { module, .. } => (module, Expected::Invalid),
            WastDirective::AssertUnlinkable { module, .. } => {
                (QuoteWat::Wat(module), Expected::Unlinkable)
            }
            _ => continue,
        };
        let is_component = matches!(
            module,
            QuoteWat::Wat(Wat::Component(_)) | QuoteWat::QuoteComponent(..)
        );
        if !is_component {
            continue;
        }
        // What is no text of a component has no bytes to load.
        match module.encode() {
            Ok(bytes) => found.push((bytes, expected)),
            Err(_) if expected == Expected::Invalid => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

/// What is said of it, and whether that is of the right kind.
async fn outcome(engine: &WasmtimeEngine, bytes: &[u8], expected: Expected) -> (String, bool) {
    let id = ComponentId::new("suite", "component", "main").expect("these are segments");
    let limits = ResourceLimits::new(4 << 20, Duration::from_secs(5), None);
    let config = ComponentConfig::new(limits.expect("limits above zero"))
        .with_permissions(Permissions::default());
    let load = engine.load_component(&id, bytes.to_vec().into(), config);
    let Ok(loaded) = timeout(HANG, load).await else {
        return ("hang".to_owned(), false);
    };
    let is_valid = expected != Expected::Invalid;
    match loaded {
        Ok(handle) => {
            // How it ends is not asked.
            let _ = engine.unload_component(&handle).await;
            // Who runs the tests has functions that are not here, or other limits.
            ("loaded".to_owned(), expected != Expected::Invalid)
        }
        Err(WasmError::InvalidComponent {
            defect: Defect::Unsupported { proposals, .. },
            ..
        }) => (format!("unsupported ({})", proposals.join(", ")), true),
        Err(WasmError::InvalidComponent {
            defect: Defect::TooComplex { what, .. },
            ..
        }) => (format!("too complex ({what})"), true),
        Err(WasmError::InvalidComponent { defect, .. }) => match is_valid {
            true => (format!("DAMAGED: {defect}"), false),
            false => ("invalid".to_owned(), true),
        },
        // Components can be imported within another only, which is how they are invalid.
        Err(WasmError::ImportNotFound { .. }) => ("import named".to_owned(), true),
        Err(error @ WasmError::Trapped { .. }) => (
            "traps when it starts".to_owned(),
            error.frames().len() < 100,
        ),
        Err(WasmError::ResourceLimitExceeded { resource, .. }) => {
            (format!("limit of {resource:?}"), is_valid)
        }
        Err(error) => (format!("OTHER: {error}"), false),
    }
}
