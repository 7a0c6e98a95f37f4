//! Manifests as they are read, and where what they name is.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use wasm_core::manifest::{
    ComponentManifest, ConfigSource, ManifestProblem, ManifestSpans, SecretSource,
};
use wasm_core::text::PathText as _;
use wasm_core::{ComponentId, ResourceLimits};
use wasm_host::{ApplicationFolder, ComponentFiles, ManifestLine, ManifestText, open_regular_file};

use crate::input::files::{not_loaded, read_regular};
use crate::input::flags::Flags;
use crate::input::source::problem::{all_told, at_line, more, told, widened};
use crate::output::report::{Excerpt, Problems, Report};

/// The text of a manifest.
#[derive(Debug)]
pub(super) struct ManifestFile {
    pub(super) file: PathBuf,
    text: String,
}

/// A manifest, and where what it names is. Nothing of that is opened yet.
#[derive(Debug)]
pub(crate) struct ReadManifest {
    pub(super) file: ManifestFile,
    pub(super) says: ComponentManifest,
    spans: ManifestSpans,
    pub(super) files: ComponentFiles,
}

/// What a manifest says, whether or not the files that it names are there.
pub(crate) async fn manifest_at(
    file: PathBuf,
    memory_ceiling: u64,
) -> Result<ComponentManifest, Problems> {
    let (says, _) = ManifestFile::read(file).await?.parse(memory_ceiling)?;
    Ok(says)
}

/// The file of the component that a manifest is about, whatever its limits.
pub(crate) async fn wasm_of_manifest(file: PathBuf) -> Result<PathBuf, Problems> {
    let manifest = ManifestFile::read(file).await?;
    let (parsed, _) = manifest.parse(ResourceLimits::MAX_MEMORY_BYTES)?;
    Ok(manifest.folder().join(parsed.wasm))
}

/// The files that a component is read from: its manifest and, as far as that can be
/// read, what it names, there or not.
pub(crate) fn files_of(manifest: &Path) -> Vec<PathBuf> {
    let mut files = vec![manifest.to_owned()];
    let mut text = String::new();
    let read = open_regular_file(manifest).and_then(|file| {
        let mut file = file.take(ComponentManifest::MAX_BYTES);
        file.read_to_string(&mut text)
    });
    if read.is_ok()
        && let Ok(parsed) =
            ComponentManifest::parse(&text, manifest, ResourceLimits::MAX_MEMORY_BYTES)
    {
        files.push(manifest.with_file_name(&parsed.wasm));
        if let ConfigSource::File(data) = &parsed.config {
            files.push(manifest.with_file_name(data));
        }
        for (_, source) in &parsed.secrets {
            if let SecretSource::File(file) = source {
                files.push(manifest.with_file_name(file));
            }
        }
    }
    files
}

impl ManifestFile {
    async fn read(file: PathBuf) -> Result<Self, Report> {
        let max_bytes = ComponentManifest::MAX_BYTES;
        let bytes = read_regular(&file, max_bytes).await;
        let bytes = bytes.map_err(|error| not_loaded(&file, max_bytes, error))?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self { file, text }),
            Err(error) => {
                let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
                Err(Report::error("a manifest is UTF-8 text, and this is not")
                    .at(format!("{}:{line}", file.escaped())))
            }
        }
    }

    pub(super) fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new(""))
    }

    fn parse(
        &self,
        memory_ceiling_bytes: u64,
    ) -> Result<(ComponentManifest, ManifestSpans), Problems> {
        let parsed = ComponentManifest::parse_spanned(&self.text, &self.file, memory_ceiling_bytes);
        parsed.map_err(|errors| {
            let problems = errors.problems().iter();
            let problems = problems.map(|problem| self.report(problem));
            let more = more(&self.file, errors.omitted());
            problems.chain(more).collect()
        })
    }

    fn report(&self, problem: &ManifestProblem) -> Report {
        let marked = self.text.get(problem.span.clone()).unwrap_or_default();
        let marked = marked.lines().next().unwrap_or_default();
        let (line, column) = (problem.line, problem.column);
        let length = marked.chars().count();
        let report = self.excerpt(Report::error(problem.message()), line, column, length);
        let Some(help) = &problem.help else {
            return report;
        };
        let report = report.with_help(help.clone());
        if problem.key.as_deref() == Some("resources.memory") {
            return report.with_help("--memory-ceiling SIZE raises the ceiling");
        }
        report
    }

    fn excerpt(&self, report: Report, line: usize, column: usize, length: usize) -> Report {
        let text = self.text.trim_start_matches('\u{feff}');
        report
            .at(format!("{}:{line}:{column}", self.file.escaped()))
            .with_excerpt(Excerpt {
                line: text.lines().nth(line - 1).unwrap_or_default().to_owned(),
                number: Some(line),
                start: column - 1,
                length,
                label: String::new(),
            })
    }
}

impl ReadManifest {
    /// What a manifest says, and where in an application that is.
    pub(crate) async fn read(
        file: PathBuf,
        flags: &Flags,
        folder: &ApplicationFolder,
    ) -> Result<Self, Problems> {
        Self::of(ManifestFile::read(file).await?, flags, folder)
    }

    /// Of a component that is an application of its own.
    pub(crate) async fn alone(file: PathBuf, flags: &Flags) -> Result<Self, Problems> {
        // A manifest that cannot be read says so better than its folder.
        let text = ManifestFile::read(file).await?;
        let folder = ApplicationFolder::of_component(&text.file);
        let folder = widened(
            folder.map_err(|problem| told(&problem))?,
            &flags.allow_outside,
        )?;
        Self::of(text, flags, &folder)
    }

    fn of(file: ManifestFile, flags: &Flags, folder: &ApplicationFolder) -> Result<Self, Problems> {
        let (says, spans) = file.parse(flags.memory_ceiling)?;
        let text = ManifestText::new(&file.file, &file.text, &says, &spans);
        let files = folder.files_of(text).map_err(|errors| all_told(&errors))?;
        Ok(Self {
            file,
            says,
            spans,
            files,
        })
    }

    pub(crate) fn id(&self) -> &ComponentId {
        &self.says.id
    }

    pub(crate) fn named_by(&self) -> &Path {
        &self.file.file
    }

    pub(crate) fn says(&self) -> &ComponentManifest {
        &self.says
    }

    pub(crate) fn files(&self) -> &ComponentFiles {
        &self.files
    }

    pub(super) fn line(&self, key: &str) -> Option<ManifestLine> {
        ManifestLine::of(&self.file.file, &self.file.text, &self.spans, key)
    }

    /// Points at the line of a key, as far as it is known.
    pub(super) fn at_key(&self, report: Report, key: &str) -> Report {
        match self.line(key) {
            Some(line) => at_line(report, &line),
            None => report.at(self.file.file.escaped()),
        }
    }
}
