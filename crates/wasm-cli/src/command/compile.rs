use std::env;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, ValueHint};

use wasm_core::text::EscapedPath;
use wasm_core::units::format_bytes;
use wasm_host::Separation;

use crate::input::compiler::{CACHE_VARIABLE, cache_folder};
use crate::input::files::Draft;
use crate::input::flags::Flags;
use crate::input::source::{Place, Source};
use crate::output;
use crate::output::outcome::{BAD_INPUT, Stop, block_on};
use crate::output::report::{Problems, Report};

const EXAMPLES: &str = "\
Examples:
  airssys-wasm compile examples/echo
  airssys-wasm compile *.wasm
  airssys-wasm compile examples/echo --output echo.code";

const DETAILS: &str = "\
What components are compiled to is kept in the cache of compiled code, where
run, up, call and check find it (`airssys-wasm cache`). None of them is run.

Exit codes:
  0  everything is compiled
  2  something cannot be";

/// Compile components ahead of their first use
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DETAILS}"))]
pub(crate) struct Compile {
    /// Folders with a Component.toml, manifests, or bare .wasm files
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// Write what one component is compiled to also to a file, for `cache --add` on machines
    /// that are not to compile it
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,

    #[command(flatten)]
    flags: Flags,
}

impl Compile {
    pub(crate) fn execute(self) -> Result<ExitCode, Stop> {
        block_on(self.run())
    }

    async fn run(self) -> Result<ExitCode, Stop> {
        if !self.flags.compiler.keeps_compiled() {
            return Err(no_cache().into());
        }
        if self.output.is_some() && self.paths.len() > 1 {
            return Err(Report::error("--output is for one component")
                .with_help("compile each of them with a file of its own")
                .into());
        }
        let mut code = ExitCode::SUCCESS;
        for path in &self.paths {
            match self.compile(path).await {
                Ok(compiled) => output::print(compiled).await?,
                Err(problems) => {
                    problems.tell().await;
                    code = ExitCode::from(BAD_INPUT);
                }
            }
        }
        Ok(code)
    }

    async fn compile(&self, path: &Path) -> Result<String, Problems> {
        let source =
            Source::read_unlimited(Place::of(path)?, &self.flags, &Separation::new()).await?;
        let engine = source.engine()?;
        let began = Instant::now();
        let prepared = engine
            .prepare_component(&source.id, source.bytes.clone(), &source.config)
            .await
            .map_err(|error| source.explain(&error))?;
        let kept = engine.check_kept(source.bytes.clone()).await;
        kept.map_err(|error| not_kept(&source.file, &error))?;
        let mut told = format!(
            "{}: {} of WebAssembly, {} of host memory when loaded, ready in {:.1?}\n",
            EscapedPath(&source.file),
            format_bytes(source.bytes.len() as u64),
            format_bytes(prepared.kept().bytes),
            began.elapsed(),
        );
        if let Some(output) = &self.output {
            let unwritable = |error| {
                let output = EscapedPath(output);
                Report::error(format!("{output} cannot be written: {error}"))
            };
            // The file that a link leads to: whoever runs this has named it.
            let file = output.canonicalize().unwrap_or_else(|_| output.clone());
            if is_read(&file, &Place::of(path)?, &source) {
                return Err(Report::error(format!(
                    "{} is what is compiled, and stays as it is",
                    EscapedPath(output)
                ))
                .with_help("--output names another file")
                .into());
            }
            let draft = Draft::of(&file).map_err(unwritable)?;
            let written = engine.write_compiled(source.bytes.clone(), draft.path());
            let code_bytes = written.await.map_err(unwritable)?;
            draft.finish().map_err(unwritable)?;
            let size = format_bytes(code_bytes);
            let _ = writeln!(told, "{}: {size} of compiled code", EscapedPath(output));
        }
        Ok(told)
    }
}

/// Whether a file, found without links, is the component or its manifest.
fn is_read(file: &Path, place: &Place, source: &Source) -> bool {
    let (Place::Manifest(named) | Place::Bare(named)) = place;
    let mut read = [named, &source.file].into_iter();
    read.any(|read| read.canonicalize().is_ok_and(|read| read == file))
}

fn not_kept(file: &Path, error: &io::Error) -> Report {
    let folder = cache_folder().unwrap_or_default();
    let (file, folder) = (EscapedPath(file), EscapedPath(&folder));
    Report::error(format!(
        "{file} is compiled, but not kept in {folder}: {error}"
    ))
    .with_help(format!(
        "{CACHE_VARIABLE} names another folder, and --cache-size how much may be kept there"
    ))
}

/// Why there is no folder to keep anything in.
fn no_cache() -> Report {
    let variable = CACHE_VARIABLE;
    if cache_folder().is_some() {
        return Report::error("there is no cache to compile into: --no-cache uses none");
    }
    let reason = match env::var_os(variable) {
        Some(folder) if folder.is_empty() => format!("{variable} is empty"),
        Some(folder) => {
            let folder = EscapedPath(Path::new(&folder));
            format!("{folder}, which {variable} names, is not an absolute path")
        }
        None => "nobody says where it is".to_owned(),
    };
    Report::error(format!("there is no cache to compile into: {reason}")).with_help(format!(
        "{variable} names a folder by its absolute path; without it, XDG_CACHE_HOME or HOME does"
    ))
}
