//! Components in JavaScript: componentize-qjs puts the modules beside an engine.

use std::path::{Path, PathBuf};

use serde_json::Value;
use wit_parser::WorldKey;

use wasm_core::text::PathText as _;

use crate::build::tool::Tool;
use crate::build::world::World;
use crate::input::files::read_text;
use crate::input::sources::{Sources, unusable};
use crate::output::report::Report;

const COMPONENTIZE: Tool = Tool {
    name: "componentize-qjs",
    beside: Some("node_modules/.bin"),
    install: "npm install --save-dev componentize-qjs@0.4.5",
};

/// Makes a component of the module that package.json of a folder calls `main`.
///
/// # Errors
/// If the tool or the module is not there, or it makes no component of it.
pub(crate) fn build(folder: &Path, sources: &Sources) -> Result<PathBuf, Report> {
    let package = folder.join("package.json");
    let text = read_text(&package).map_err(|error| unusable(&package, &error))?;
    let read: Value = serde_json::from_str(&text)
        .map_err(|error| Report::error(format!("{} is no JSON: {error}", package.escaped())))?;
    let Some(main) = read.get("main").and_then(Value::as_str) else {
        return Err(
            Report::error(format!("{} has no `main`", package.escaped()))
                .with_help("`\"main\": \"greeter.js\"` names the module to begin with"),
        );
    };
    let world = World::of(sources)?;
    let module = folder.join(main);
    check_exports(&world, &module)?;
    let made = sources.work("javascript")?.join("component.wasm");
    let mut command = COMPONENTIZE.command(&sources.folder);
    command
        // What is asynchronous in a component needs a host that has it.
        .arg("--sync")
        .arg("--wit")
        .arg(&world.folder)
        .args(["--world", world.name()])
        .arg("--js")
        .arg(whole(&module)?)
        .arg("--module-root")
        .arg(root(sources)?)
        .arg("--output")
        .arg(&made);
    COMPONENTIZE.run(&mut command, &sources.folder)?;
    Ok(made)
}

/// The tool makes a component of a module that lacks what its world exports, and that one traps
/// in its first call. A module exports what it names, or all of another.
fn check_exports(world: &World, module: &Path) -> Result<(), Report> {
    let text = read_text(module).map_err(|error| unusable(module, &error))?;
    let exports = &world.resolve.worlds[world.id].exports;
    let mut after_export = text.split("export").skip(1);
    if after_export.any(|rest| rest.trim_start().starts_with('*')) {
        return Ok(());
    }
    let missing = exports.keys().find_map(|key| {
        let name = match key {
            WorldKey::Name(name) => name,
            WorldKey::Interface(id) => world.resolve.interfaces[*id].name.as_ref()?,
        };
        let named = names_of(name).iter().any(|name| text.contains(name));
        (!named).then_some((key, name))
    });
    let Some((key, name)) = missing else {
        return Ok(());
    };
    let [_, in_script] = names_of(name);
    let (world_name, key) = (world.name(), world.resolve.name_world_key(key));
    Err(
        Report::error(format!("{} exports no `{in_script}`", module.escaped()))
            .with_note(format!("the world `{world_name}` exports `{key}`")),
    )
}

/// What an export is called in WIT, and in a script.
fn names_of(name: &str) -> [String; 2] {
    let mut words = name.split('-');
    let mut joined = words.next().unwrap_or_default().to_lowercase();
    for word in words {
        let (first, rest) = word.split_at(word.len().min(1));
        joined += &(first.to_uppercase() + &rest.to_lowercase());
    }
    [name.to_owned(), joined]
}

/// The folder that has all sources: modules import each other from within.
fn root(sources: &Sources) -> Result<PathBuf, Report> {
    let mut root = whole(&sources.folder)?;
    for folder in &sources.folders {
        let folder = whole(folder)?;
        while !folder.starts_with(&root) && root.pop() {}
    }
    Ok(root)
}

fn whole(path: &Path) -> Result<PathBuf, Report> {
    path.canonicalize().map_err(|error| unusable(path, &error))
}
