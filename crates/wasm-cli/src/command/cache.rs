//! Compiled code that is kept between runs of the program.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueHint};

use wasm_core::text::PathText as _;
use wasm_core::units::{format_bytes, format_count};
use wasm_runtime::{CacheUsage, add_compiled};

use crate::input::compiler::{CACHE_VARIABLE, cache_folder};
use crate::output;
use crate::output::outcome::{Stop, block_on};
use crate::output::report::Report;

const EXAMPLES: &str = "\
Examples:
  airssys-wasm cache
  airssys-wasm cache --clear
  airssys-wasm cache --add echo.code";

const DETAILS: &str = "\
What a component was compiled to is kept for the next time: in the user's
folder of caches, or in the one that the variable AIRSSYS_WASM_CACHE names,
and nowhere if that is empty. Entries are sealed with a key that only this
user can read; one that was changed is compiled anew. At most 1 GiB is kept;
the least recently used goes first.";

/// Show how much compiled code is kept, or remove it
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DETAILS}"))]
pub(crate) struct Cache {
    /// Remove all of it
    #[arg(long)]
    clear: bool,

    /// Take in compiled code that `compile --output` wrote
    ///
    /// It runs as it is, outside of any sandbox: take it from somebody only who may do
    /// anything with your account.
    #[arg(
        long,
        value_name = "FILE",
        num_args = 1..,
        conflicts_with = "clear",
        value_hint = ValueHint::FilePath
    )]
    add: Vec<PathBuf>,
}

impl Cache {
    pub(crate) fn execute(self) -> Result<ExitCode, Stop> {
        block_on(async {
            output::print(self.told()?).await?;
            Ok(ExitCode::SUCCESS)
        })
    }

    fn told(&self) -> Result<String, Report> {
        let Some(folder) = cache_folder() else {
            return Ok(format!(
                "nothing is kept: {CACHE_VARIABLE} is no absolute path, or there is no home folder\n"
            ));
        };
        if !self.add.is_empty() {
            return self.added(&folder);
        }
        let usage = if self.clear {
            CacheUsage::clear(&folder)
        } else {
            CacheUsage::of(&folder)
        };
        let usage = usage.map_err(|error| {
            let message = format!("{} cannot be read: {error}", folder.escaped());
            Report::error(message).with_help(format!("{CACHE_VARIABLE} names another folder"))
        })?;
        Ok(told(&folder, usage, self.clear))
    }

    fn added(&self, folder: &Path) -> Result<String, Report> {
        let mut told = String::new();
        for file in &self.add {
            let added = add_compiled(file, folder).map_err(|error| {
                Report::error(format!("{} is not added: {error}", file.escaped()))
            })?;
            let size = format_bytes(added);
            let _ = writeln!(told, "{}: added {size} of compiled code", file.escaped());
        }
        Ok(told)
    }
}

fn told(folder: &Path, usage: CacheUsage, is_cleared: bool) -> String {
    format!(
        "{}: {}{} compiled component{}, {}\n",
        folder.escaped(),
        if is_cleared { "removed " } else { "" },
        format_count(usage.entries),
        if usage.entries == 1 { "" } else { "s" },
        format_bytes(usage.bytes),
    )
}
