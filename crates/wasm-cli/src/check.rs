use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use wasm_core::WasiGrant;
use wasm_core::text::{EscapedPath, PathText as _};
use wasm_core::units::format_bytes;
use wasm_host::Separation;

use crate::anatomy::Anatomy;
use crate::flags::Flags;
use crate::outcome::{BAD_INPUT, Stop, block_on};
use crate::output;
use crate::report::{Problems, Report, size};
use crate::source::{Place, ReadManifest, Source};

const EXAMPLES: &str = "\
Examples:
  airssys-wasm check examples/echo
  airssys-wasm check examples/*/Component.toml
  airssys-wasm check echo.wasm";

const DETAILS: &str = "\
A manifest is checked for typos, types and ranges, and for the files and folders
that it names; several manifests are also checked for what one component could
write that decides over another. A component is checked for being valid,
complete and of the contract, for imports that this host provides, and for an
initial memory within its limit. It is compiled, and none of it is run.

Exit codes:
  0  everything can be loaded
  2  something cannot";

/// Check manifests and components without running anything
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DETAILS}"))]
pub(crate) struct Check {
    /// Folders with a Component.toml, manifests, or bare .wasm files
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    #[command(flatten)]
    flags: Flags,
}

impl Check {
    pub(crate) fn of(paths: Vec<PathBuf>, flags: Flags) -> Self {
        Self { paths, flags }
    }

    pub(crate) fn execute(self) -> Result<ExitCode, Stop> {
        block_on(self.run())
    }

    pub(crate) async fn run(self) -> Result<ExitCode, Stop> {
        let mut code = ExitCode::SUCCESS;
        let separation = self.separation().await;
        for path in &self.paths {
            match self.check(path, &separation).await {
                Ok(checked) => {
                    output::print(checked).await?;
                }
                Err(problems) => {
                    problems.tell().await;
                    code = ExitCode::from(BAD_INPUT);
                }
            }
        }
        Ok(code)
    }

    /// What all of them may write: they may be of one application.
    async fn separation(&self) -> Separation {
        let mut separation = Separation::new();
        for path in &self.paths {
            // What is wrong with one is told when it is checked.
            if let Ok(Place::Manifest(file)) = Place::of(path)
                && let Ok(manifest) = ReadManifest::alone(file, &self.flags).await
            {
                separation.add(manifest.files());
            }
        }
        separation
    }

    /// What was checked, on one or more lines.
    async fn check(&self, path: &Path, separation: &Separation) -> Result<String, Problems> {
        let place = Place::of(path)?;
        let source = Source::read_unlimited(place, &self.flags, separation).await?;
        let engine = source.engine()?;
        let _prepared = engine
            .prepare_component(&source.id, source.bytes.clone(), &source.config)
            .await
            .map_err(|error| source.explain(&error))?;
        for grant in &source.config.permissions.wasi {
            if let WasiGrant::Dir { host, .. } = grant
                && !host.is_dir()
            {
                let message = format!("{} is granted and is no folder", EscapedPath(host));
                return Err(Report::error(message)
                    .at(source.named_by().escaped())
                    .into());
            }
        }
        let anatomy = Anatomy::of(&source.bytes).map_err(|defect| source.invalid(defect))?;
        let needs = anatomy.needs.bytes();
        let memory_limit = source.config.limits.memory_bytes();
        if needs > memory_limit {
            return Err(source.starts_too_large(needs).into());
        }

        let mut checked = format!("{}: ok\n", EscapedPath(source.named_by()));
        if source.has_manifest() {
            checked += &format!("  manifest   {}, {}\n", source.id, source.limits());
        }
        let messages = if anatomy.takes_messages(&engine) {
            "takes messages"
        } else {
            "takes no messages, has exports to call"
        };
        checked += &format!(
            "  component  {}, {}, {messages}\n",
            EscapedPath(&source.file),
            size(source.bytes.len() as u64),
        );
        checked += &match anatomy.imports.len() {
            0 => "  imports    nothing\n".to_owned(),
            imports => format!("  imports    {imports}, all provided\n"),
        };
        checked += &format!(
            "  memory     starts with {} of {}\n",
            size(needs),
            format_bytes(memory_limit),
        );
        if !source.has_manifest() && !self.flags.missing_limits().is_empty() {
            checked += "  limits     none given: nothing to check\n";
        }
        Ok(checked)
    }
}
