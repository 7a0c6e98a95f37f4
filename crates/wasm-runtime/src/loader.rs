use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::task::spawn_blocking;

use wasm_core::units::format_bytes;
use wasm_core::{ComponentId, ComponentLoader, WasmError};

use crate::EngineConfig;
use crate::regular::open_regular;

/// Finds a component at `<base>/<namespace>/<name>/<instance>.wasm`.
#[derive(Debug, Clone)]
pub struct FileComponentLoader {
    base: PathBuf,
    max_bytes: u64,
}

impl FileComponentLoader {
    /// Reads files of up to the size that an engine takes by default.
    pub fn new(base: impl Into<PathBuf>) -> Self {
        Self {
            base: base.into(),
            max_bytes: EngineConfig::default().max_component_bytes(),
        }
    }

    /// Refuses larger files, without reading them.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Where the component should be.
    pub fn path(&self, id: &ComponentId) -> PathBuf {
        // The segments of an id cannot leave the directory they are put in.
        let mut path = self.base.join(id.namespace()).join(id.name());
        path.push(format!("{}.wasm", id.instance()));
        path
    }
}

#[async_trait]
impl ComponentLoader for FileComponentLoader {
    async fn load_bytes(&self, id: &ComponentId) -> Result<Bytes, WasmError> {
        read_component(&self.path(id), self.max_bytes).await
    }
}

/// Reads a regular file of up to `max_bytes` bytes.
///
/// # Errors
/// [`WasmError::LoadFailed`] with the path, when it cannot be read, is not a
/// regular file or is larger.
pub async fn read_component(path: &Path, max_bytes: u64) -> Result<Bytes, WasmError> {
    let unreadable = |error: io::Error| WasmError::unreadable(path, error);
    let refused = |reason: String| WasmError::LoadFailed {
        path: path.to_owned(),
        reason,
        source: None,
    };
    let owned_path = path.to_owned();
    let opening = move || -> io::Result<_> {
        let file = open_regular(&owned_path, fs::File::options().read(true))?;
        Ok((file.metadata()?, file))
    };
    let opened = spawn_blocking(opening).await.map_err(io::Error::other);
    let (metadata, file) = opened.flatten().map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => refused(error.to_string()),
        _ => unreadable(error),
    })?;
    let too_large = |bytes: u64| {
        refused(format!(
            "it has {}, more than the {} that are accepted (`max_bytes` of the loader, and \
             `max_component_bytes` in EngineConfig)",
            format_bytes(bytes),
            format_bytes(max_bytes)
        ))
    };
    if metadata.len() > max_bytes {
        return Err(too_large(metadata.len()));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    // The file may have grown since.
    let read = File::from_std(file)
        .take(max_bytes.saturating_add(1))
        .read_to_end(&mut bytes)
        .await
        .map_err(unreadable)?;
    if read as u64 > max_bytes {
        return Err(too_large(read as u64));
    }
    Ok(bytes.into())
}
