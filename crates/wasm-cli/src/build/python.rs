//! Components in Python: componentize-py puts the modules beside an interpreter.

use std::path::PathBuf;

use crate::build::tool::Tool;
use crate::build::world::World;
use crate::input::sources::Sources;
use crate::output::report::Report;

const COMPONENTIZE: Tool = Tool {
    name: "componentize-py",
    beside: Some(".venv/bin"),
    install: "python3 -m venv .venv && .venv/bin/pip install componentize-py==0.25.1",
};

/// Makes a component of the module `app`.
///
/// # Errors
/// If the tool is not there, or makes no component of it.
pub(crate) fn build(sources: &Sources) -> Result<PathBuf, Report> {
    let world = World::of(sources)?;
    let made = sources.work("python")?.join("component.wasm");
    let mut command = COMPONENTIZE.command(&sources.folder);
    command
        .arg("--quiet")
        .arg("--wit-path")
        .arg(&world.folder)
        .args(["--world", world.name(), "componentize", "app"]);
    for folder in &sources.folders {
        command.arg("--python-path").arg(folder);
    }
    command.arg("--output").arg(&made);
    COMPONENTIZE.run(&mut command, &sources.folder)?;
    Ok(made)
}
