//! The programs that build components: where they are, and how they end.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use wasm_core::text::PathText as _;

use crate::report::Report;

/// A program that builds components, and how it is installed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    /// Where package managers put it, in the folder of a project or above.
    pub(crate) beside: Option<&'static str>,
    pub(crate) install: &'static str,
}

impl Tool {
    /// The program, beside the sources or else where the system looks for programs.
    pub(crate) fn command(&self, folder: &Path) -> Command {
        Command::new(self.beside(folder).unwrap_or_else(|| self.name.into()))
    }

    fn beside(&self, folder: &Path) -> Option<PathBuf> {
        let within = self.beside?;
        let whole = folder.canonicalize().ok()?;
        let found = whole
            .ancestors()
            .map(|above| above.join(within).join(self.name));
        found.into_iter().find(|file| file.is_file())
    }

    /// Has it run. What it prints is no reply of ours; what it complains about is shown.
    ///
    /// # Errors
    /// If it is not there, or fails.
    pub(crate) fn run(&self, command: &mut Command, folder: &Path) -> Result<(), Report> {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let status = command.status().map_err(|error| self.missing(&error))?;
        match status.success() {
            true => Ok(()),
            false => Err(self.failed(&status, folder)),
        }
    }

    /// Has it run for what it prints.
    ///
    /// # Errors
    /// If it is not there, or fails.
    pub(crate) fn ask(&self, command: &mut Command, folder: &Path) -> Result<Output, Report> {
        command.stdin(Stdio::null()).stderr(Stdio::inherit());
        let output = command.output().map_err(|error| self.missing(&error))?;
        match output.status.success() {
            true => Ok(output),
            false => Err(self.failed(&output.status, folder)),
        }
    }

    pub(crate) fn missing(&self, error: &std::io::Error) -> Report {
        match error.kind() {
            ErrorKind::NotFound => self.lacks(self.name),
            _ => Report::error(format!("{} cannot be started: {error}", self.name)),
        }
    }

    /// The tool, or something that it needs, is not installed.
    pub(crate) fn lacks(&self, what: &str) -> Report {
        Report::error(format!("{what} is not installed"))
            .with_help(format!("`{}` installs it", self.install))
    }

    fn failed(&self, status: &std::process::ExitStatus, folder: &Path) -> Report {
        Report::error(format!("{} failed: {status}", self.name)).at(folder.escaped())
    }
}
