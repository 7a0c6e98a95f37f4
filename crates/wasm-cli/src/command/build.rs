use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{Args, ValueHint};
use tokio::task::block_in_place;

use wasm_core::units::{format_bytes, parse_bytes};

use crate::build::{build, no_way};
use crate::command::check::Check;
use crate::input::application::{Application, manifests_at};
use crate::input::compiler::CompilerFlags;
use crate::input::flags::{Flags, parse_ceiling};
use crate::input::source::max_component_bytes;
use crate::input::sources::Sources;
use crate::output;
use crate::output::outcome::{Stop, block_on};
use crate::output::report::Problems;

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

/// As large as a component may be that is loaded.
static MAX_SIZE: LazyLock<String> = LazyLock::new(|| format_bytes(max_component_bytes()));

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
        default_value = MAX_SIZE.as_str(),
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
        let (folder, mut files) = manifests_at(&self.path, &self.allow_outside)?;
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
