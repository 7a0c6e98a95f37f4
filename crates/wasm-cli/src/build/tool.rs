//! The programs that build components: where they are, and how they end.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use wasm_core::text::PathText as _;

use crate::output::report::Report;

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

    /// The program beside the sources or above them, up to the first folder that belongs to
    /// somebody else than the sources do: what lies there, others may have put.
    pub(crate) fn beside(&self, folder: &Path) -> Option<PathBuf> {
        let within = self.beside?;
        let whole = folder.canonicalize().ok()?;
        let owner = owner(&whole);
        let own = whole
            .ancestors()
            .take_while(|above| self::owner(above) == owner);
        let mut places = own.map(|above| above.join(within));
        places.find_map(|place| {
            let file = place.join(self.name);
            let is_own = is_of(owner, &place) && is_of(owner, &file);
            (file.is_file() && is_own).then_some(file)
        })
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

/// Whether a file or folder belongs to this owner, or to who owns the system.
fn is_of(owner: Option<u32>, path: &Path) -> bool {
    let found = self::owner(path);
    found == owner || found == Some(0)
}

#[cfg(unix)]
fn owner(path: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;

    path.metadata().ok().map(|metadata| metadata.uid())
}

#[cfg(not(unix))]
fn owner(_: &Path) -> Option<u32> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::chown;

    use tempfile::tempdir;

    use super::*;

    const TOOL: Tool = Tool {
        name: "tool",
        beside: Some(".venv/bin"),
        install: "",
    };

    #[test]
    fn a_tool_is_found_beside_sources_and_above() {
        let folder = tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let inner = root.join("a/b");
        fs::create_dir_all(&inner).unwrap();
        let place = |at: &Path| {
            fs::create_dir_all(at.join(".venv/bin")).unwrap();
            let tool = at.join(".venv/bin/tool");
            fs::write(&tool, "").unwrap();
            tool
        };
        assert_eq!(TOOL.beside(&inner), None);
        let above = place(&root);
        assert_eq!(TOOL.beside(&inner), Some(above.clone()));
        let beside = place(&inner);
        assert_eq!(TOOL.beside(&inner), Some(beside.clone()));
        fs::remove_file(&beside).unwrap();
        // Only root gives something to others.
        if chown(root.join("a"), Some(4711), None).is_err() {
            return;
        }
        assert_eq!(TOOL.beside(&inner), None);
        assert_eq!(TOOL.beside(&root), Some(above.clone()));
        for other in [&above, &root.join(".venv/bin")] {
            chown(other, Some(4711), None).unwrap();
            assert_eq!(TOOL.beside(&root), None);
            chown(other, Some(0), None).unwrap();
        }
    }
}
