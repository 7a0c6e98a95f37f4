mod component;
mod whole;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use wasm_host::{ApplicationFolder, Separation};

use crate::input::flags::Flags;
use crate::input::source::manifest::ReadManifest;
use crate::input::source::{Place, Source};
use crate::output;
use crate::output::outcome::{BAD_INPUT, Stop, block_on};
use crate::output::report::Problems;

const EXAMPLES: &str = "\
Examples:
  airssys-wasm check examples/echo
  airssys-wasm check examples/cafe
  airssys-wasm check echo.wasm";

const DETAILS: &str = "\
A manifest is checked for typos, types and ranges, and for the files and folders
that it names; several manifests are also checked for what one component could
write that decides over another. A component is checked for being valid,
complete and of the contract, for imports that this host provides, and for an
initial memory within its limit. It is compiled, and none of it is run. An
import that [permissions] grants and this program does not have is noted: it is
for the host that embeds the component.

A folder with several manifests is an application, which is read as `up FOLDER`
reads it: each id once, no component that could change another. It is told which
permissions to send reach nobody, and what would be too much for `up`.

Exit codes:
  0  everything can be loaded, here or by the host that embeds it
  2  something cannot";

/// Check manifests and components without running anything
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DETAILS}"))]
pub(crate) struct Check {
    /// Folders with Component.tomls, manifests, or bare .wasm files
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
        let mut is_well = true;
        let separation = self.separation().await;
        for path in &self.paths {
            is_well &= match whole::folder_at(path, &self.flags.allow_outside) {
                Ok(Some(folder)) => self.check_whole(folder, path).await?,
                Ok(None) => self.check_one(path, &separation).await?,
                Err(report) => {
                    report.tell().await;
                    false
                }
            };
        }
        Ok(match is_well {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(BAD_INPUT),
        })
    }

    /// Whether an application is in order, which is told.
    async fn check_whole(&self, folder: ApplicationFolder, path: &Path) -> Result<bool, Stop> {
        match whole::check(folder, path, &self.flags).await {
            Err(Stop::BadInput(problems)) => {
                problems.tell().await;
                Ok(false)
            }
            outcome => outcome,
        }
    }

    /// Whether a component is in order, which is told.
    async fn check_one(&self, path: &Path, separation: &Separation) -> Result<bool, Stop> {
        match self.check(path, separation).await {
            Ok(checked) => {
                output::print(checked).await?;
                Ok(true)
            }
            Err(problems) => {
                problems.tell().await;
                Ok(false)
            }
        }
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
        let mut checked = component::check(&source, &source.engine()?).await?.text;
        if !source.has_manifest() && !self.flags.missing_limits().is_empty() {
            checked += "  limits     none given: nothing to check\n";
        }
        Ok(checked)
    }
}
