//! The WIT that a component is built for.

use std::fs;
use std::path::{Path, PathBuf};

use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, WorldId};

use wasm_core::text::PathText as _;
use wasm_core::{TIMERS_INTERFACE, TIMERS_WIT, WIT};

use crate::input::files::read_text;
use crate::input::sources::{Sources, WIT as WIT_FOLDER, files, unusable};
use crate::output::report::{Report, size};

/// What the contract's package is called where it is declared.
const PACKAGE: &str = "package airssys:core@1.0.0;";
const TIMERS_PACKAGE: &str = "package airssys:core@1.1.0;";

/// What their files are called, so that none of the component's own is in the way.
const FILE: &str = "airssys-core-1.0.0.wit";
const TIMERS_FILE: &str = "airssys-core-1.1.0.wit";

/// How deep folders of WIT may lie in each other.
const MAX_DEPTH: usize = 8;

/// Of all of a component's WIT; that of all of WASI 0.2 has less than a hundredth.
const MAX_BYTES: usize = 16 << 20;

/// The world that the component of a folder is built for: that of its folder `wit`, or the
/// contract's where that has none but in `deps`.
pub(crate) struct World {
    /// A copy of the WIT in which nothing is missing, for tools.
    pub(crate) folder: PathBuf,
    pub(crate) resolve: Resolve,
    pub(crate) id: WorldId,
}

impl World {
    /// Copies the WIT of a component, adds the contract if it is not there, and reads it.
    ///
    /// # Errors
    /// If it cannot be copied or read, or is for a component that nobody can call.
    pub(crate) fn of(sources: &Sources) -> Result<Self, Report> {
        let own = sources.folder.join(WIT_FOLDER);
        let folder = sources.work("wit")?;
        let has_world = own.is_dir() && !files(&own, "wit")?.is_empty();
        if has_world {
            let mut said = String::new();
            copy(&own, &folder, MAX_DEPTH, &mut said)?;
            let deps = folder.join("deps");
            if !said.contains(PACKAGE) {
                write(&deps, FILE, WIT)?;
            }
            if said.contains(TIMERS_INTERFACE) && !said.contains(TIMERS_PACKAGE) {
                write(&deps, TIMERS_FILE, TIMERS_WIT)?;
            }
        } else {
            write(&folder, "core.wit", WIT)?;
        }
        let shown = match has_world {
            true => own,
            false => folder.clone(),
        };
        let mut resolve = Resolve::default();
        let read = resolve.push_dir(&folder).and_then(|(package, _)| {
            let id = resolve.select_world(&[package], None)?;
            Ok(id)
        });
        let id = read.map_err(|error| {
            let why = resolve.render_error(&error);
            // A copy is no place to mend anything in.
            let (copied, own) = (folder.display().to_string(), shown.display().to_string());
            let why = why.replace(&copied, &own);
            let is_of_contract = why.contains("'airssys:core@");
            let report = Report::error(format!("the WIT in {} cannot be used", shown.escaped()))
                .with_note(why);
            match is_of_contract {
                true => report.with_help(
                    "this program has airssys:core@1.0.0, and of 1.1.0 the interface host-timers",
                ),
                false => report,
            }
        })?;
        let world = Self {
            folder,
            resolve,
            id,
        };
        world.check(&shown)?;
        Ok(world)
    }

    pub(crate) fn name(&self) -> &str {
        &self.resolve.worlds[self.id].name
    }

    /// Puts the types of the world into a core module, from which a component can be made.
    ///
    /// # Errors
    /// If it is no module.
    pub(crate) fn embed(&self, module: &mut Vec<u8>) -> Result<(), Report> {
        let encoding = StringEncoding::UTF8;
        embed_component_metadata(module, &self.resolve, self.id, encoding)
            .map_err(|error| Report::error(format!("what was compiled cannot be used: {error:#}")))
    }

    /// Nobody can call a component that exports nothing.
    fn check(&self, shown: &Path) -> Result<(), Report> {
        let world = &self.resolve.worlds[self.id];
        if !world.exports.is_empty() {
            return Ok(());
        }
        let told = format!(
            "the world `{}` in {} exports nothing",
            world.name,
            shown.escaped()
        );
        let help = "`include airssys:core/runtime-host@1.0.0;` in the world has it take messages";
        Err(Report::error(told).with_help(help))
    }
}

/// Copies files of WIT; adds what they say.
fn copy(from: &Path, to: &Path, depth: usize, said: &mut String) -> Result<(), Report> {
    let entries = fs::read_dir(from).map_err(|error| unusable(from, &error))?;
    for entry in entries {
        let entry = entry.map_err(|error| unusable(from, &error))?;
        let path = entry.path();
        let name = entry.file_name();
        let kind = entry.file_type();
        let kind = kind.map_err(|error| unusable(&path, &error))?;
        if kind.is_dir() && depth > 0 {
            copy(&path, &to.join(&name), depth - 1, said)?;
        } else if kind.is_symlink() && path.is_dir() {
            // It may lead to a folder with this one in it.
            let told = format!("{} is a link to a folder", path.escaped());
            return Err(Report::error(told).with_help("copy the folder there"));
        } else if path.extension().is_some_and(|extension| extension == "wit") {
            let text = read_text(&path).map_err(|error| unusable(&path, &error))?;
            write(to, &name.to_string_lossy(), &text)?;
            *said += &text;
        }
        if said.len() > MAX_BYTES {
            let told = format!(
                "the WIT in {} has more than {}",
                from.escaped(),
                size(MAX_BYTES as u64)
            );
            return Err(Report::error(told).with_help("leave in it what the world needs"));
        }
    }
    Ok(())
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), Report> {
    let file = folder.join(name);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&file, text))
        .map_err(|error| unusable(&file, &error))
}
