//! One manifest and what it names, read.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use wasm_core::manifest::{ComponentManifest, ManifestSpans};

use super::files::{ComponentFiles, ManifestText, Named};
use super::problem::{ApplicationProblem, unreadable};
use super::regular::{open_regular_file, read_bounded};
use super::secrets::read_secrets;
use crate::component::Component;

/// Of a component and of its configuration. Engines have limits of their own; this
/// keeps a file that is something else from being read into memory.
const MAX_FILE_BYTES: u64 = 64 << 20;

pub(super) struct ReadManifest {
    pub(super) file: PathBuf,
    text: String,
    pub(super) manifest: ComponentManifest,
    spans: ManifestSpans,
}

impl ReadManifest {
    pub(super) fn read(file: &Path, memory_ceiling_bytes: u64) -> Result<Self, ApplicationProblem> {
        let text = read(file, file, ComponentManifest::MAX_BYTES)?;
        let text = String::from_utf8(text).map_err(|_| ApplicationProblem::NotText {
            path: file.to_owned(),
        })?;
        let (manifest, spans) = ComponentManifest::parse_spanned(&text, file, memory_ceiling_bytes)
            .map_err(ApplicationProblem::Manifest)?;
        Ok(Self {
            file: file.to_owned(),
            text,
            manifest,
            spans,
        })
    }

    pub(super) fn as_text(&self) -> ManifestText<'_> {
        ManifestText::new(&self.file, &self.text, &self.manifest, &self.spans)
    }

    pub(super) fn component(self, files: &ComponentFiles) -> Result<Component, ApplicationProblem> {
        let content = |named: &Named| {
            let read = read(&named.trace.path, &named.path, MAX_FILE_BYTES);
            read.map_err(|problem| ApplicationProblem::Named {
                line: Box::new(named.line.clone()),
                problem: Box::new(problem),
            })
        };
        let data = files.config.as_ref().map(content).transpose()?;
        let mut config = self.manifest.config(data.map(Bytes::from));
        files.resolve_dirs(&mut config.permissions);
        config.secrets = read_secrets(files)?;
        let bytes = content(&files.wasm)?;
        let manifest = self.manifest;
        let mut component =
            Component::new(manifest.id, bytes, config).with_supervision(manifest.supervision);
        component.version = manifest.version;
        Ok(component)
    }
}

/// `named` is how the file is called in errors.
fn read(path: &Path, named: &Path, limit: u64) -> Result<Vec<u8>, ApplicationProblem> {
    let read = open_regular_file(path).and_then(|file| read_bounded(file, limit));
    read.map_err(|source| match source.kind() {
        ErrorKind::FileTooLarge => ApplicationProblem::TooLarge {
            path: named.to_owned(),
            limit,
        },
        _ => unreadable(named, source),
    })
}
