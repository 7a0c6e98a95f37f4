//! Values of variables that are not written in a manifest.

use std::env::{self, VarError};
use std::io::Read as _;
use std::path::Path;

use wasm_core::Secret;
use wasm_core::text::{PathText as _, Quoted};

use super::files::{ComponentFiles, PlacedSecret, SecretPlace};
use super::problem::ApplicationProblem;
use super::regular::open_regular_file;

/// Reads the secrets of a component, by the names of its variables, from files and from the
/// environment of this process. It blocks.
///
/// # Errors
/// [`ApplicationProblem::Secret`] for the first that cannot be read, with its line.
pub fn read_secrets(files: &ComponentFiles) -> Result<Vec<(String, Secret)>, ApplicationProblem> {
    let secrets = files.secrets.iter();
    let read = secrets.map(|SecretPlace { name, line, place }| {
        let secret = match place {
            PlacedSecret::File(named) => of_file(&named.trace.path, &named.path),
            PlacedSecret::Environment(variable) => of_environment(variable),
        };
        let secret = secret.map_err(|reason| ApplicationProblem::Secret {
            line: Box::new(line.clone()),
            reason,
        })?;
        Ok((name.clone(), secret))
    });
    read.collect()
}

/// `named` is how the file is called in errors.
fn of_file(path: &Path, named: &Path) -> Result<Secret, String> {
    let unusable = |reason: String| format!("{} cannot be handed over: {reason}", named.escaped());
    let mut content = Vec::new();
    // One byte more than it may have tells that there is more.
    let read = open_regular_file(path)
        .and_then(|file| file.take(Secret::MAX_BYTES + 2).read_to_end(&mut content));
    read.map_err(|error| unusable(error.to_string()))?;
    Secret::from_file_content(content).map_err(|reason| unusable(reason.to_owned()))
}

fn of_environment(variable: &str) -> Result<Secret, String> {
    let unusable = |reason: &str| {
        let variable = Quoted::new(variable);
        format!("the variable {variable} of the environment cannot be handed over: {reason}")
    };
    match env::var(variable) {
        Ok(text) => Secret::from_text(&text).map_err(unusable),
        Err(VarError::NotPresent) => Err(unusable("it is not set")),
        Err(VarError::NotUnicode(_)) => Err(unusable("it is no text in UTF-8")),
    }
}
