use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
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

/// Reads a regular file of up to `max_bytes` bytes. Dropping the future does not stop the
/// reading, of which nothing is kept then.
///
/// # Errors
/// [`WasmError::LoadFailed`] with the path, when it cannot be read, is not a
/// regular file or is larger.
pub async fn read_component(path: &Path, max_bytes: u64) -> Result<Bytes, WasmError> {
    let refused = |reason: String| WasmError::LoadFailed {
        path: path.to_owned(),
        reason,
        source: None,
    };
    let owned_path = path.to_owned();
    let read = spawn_blocking(move || read(&owned_path, max_bytes)).await;
    match read.map_err(io::Error::other).flatten() {
        Ok(Ok(bytes)) => Ok(bytes.into()),
        Ok(Err(bytes)) => Err(refused(format!(
            "it has {}, more than the {} that are accepted (`max_bytes` of the loader, and \
             `max_component_bytes` in EngineConfig)",
            format_bytes(bytes),
            format_bytes(max_bytes)
        ))),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            Err(refused(error.to_string()))
        }
        Err(error) => Err(WasmError::unreadable(path, error)),
    }
}

/// What a file has; how many bytes, if those are too many.
fn read(path: &Path, max_bytes: u64) -> io::Result<Result<Vec<u8>, u64>> {
    let file = open_regular(path, File::options().read(true))?;
    let bytes = file.metadata()?.len();
    if bytes > max_bytes {
        return Ok(Err(bytes));
    }
    let mut content = Vec::with_capacity(bytes as usize);
    // The file may have grown since.
    let mut file = file.take(max_bytes.saturating_add(1));
    let read = file.read_to_end(&mut content)? as u64;
    Ok(if read > max_bytes {
        Err(read)
    } else {
        Ok(content)
    })
}
