//! Compiled code in a file of its own, for machines that are not to compile it.
//!
//! Loading native code is running it, so no engine loads such a file: whoever operates a
//! machine adds it to the cache there, and vouches for it by that.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use blake3::{Hash, Hasher};

use super::disk::{DiskCache, Source};
use crate::compiler::Compilation;
use crate::compiler::artifact::Artifact;
use crate::config::CacheConfig;
use crate::regular::open_regular;

/// How such a file begins.
const MAGIC: &[u8; 24] = b"airssys-wasm compiled 1\n";

/// What it was compiled from, the size of its metadata, and the digest of the code.
const HEAD_BYTES: usize = 32 + 8 + 32;

/// Writes what a cache has of this source, and tells how many bytes of code that are.
pub(crate) fn write(cache: &DiskCache, source: Source, to: &Path) -> io::Result<u64> {
    let Some(compilation) = cache.read(source) else {
        return Err(not_there());
    };
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(to)?;
    file.write_all(MAGIC)?;
    file.write_all(&[0; HEAD_BYTES])?;
    compilation.artifact.write_to(&mut file)?;
    let digest = digest_of_code(&mut file)?;
    file.seek(SeekFrom::Start(MAGIC.len() as u64))?;
    file.write_all(source.as_bytes())?;
    file.write_all(&compilation.metadata_bytes.to_le_bytes())?;
    file.write_all(digest.as_bytes())?;
    file.sync_all()?;
    Ok(compilation.artifact.bytes())
}

pub(crate) fn not_there() -> io::Error {
    io::Error::other("the cache of compiled code does not have it")
}

/// Adds compiled code that [`WasmtimeEngine::write_compiled`] wrote to the folder of a cache,
/// from where engines of this user load it: **it runs outside of any sandbox**, so the file
/// must come from somebody who may do anything with this user's account. Engines of another
/// release or on another kind of processor do not use it, and compile by themselves. Returns
/// how many bytes of code there are.
///
/// [`WasmtimeEngine::write_compiled`]: crate::WasmtimeEngine::write_compiled
///
/// # Errors
/// The file cannot be read, is none of these or is damaged; or the folder cannot be used, as
/// when others may write it.
pub fn add_compiled(file: &Path, folder: &Path) -> io::Result<u64> {
    let mut file = open_regular(file, File::options().read(true))?;
    let mut magic = [0; MAGIC.len()];
    let mut head = [0; HEAD_BYTES];
    let read = file.read_exact(&mut magic);
    if read.is_err() || magic != *MAGIC || file.read_exact(&mut head).is_err() {
        return Err(io::Error::other(
            "it is no file that `compile --output` wrote",
        ));
    }
    let (source, metadata_bytes, digest) = parts_of(&head);
    if Hash::from_bytes(digest) != digest_of_code(&mut file)? {
        return Err(io::Error::other("it is damaged"));
    }
    let mut code = Vec::new();
    file.seek(SeekFrom::Start((MAGIC.len() + HEAD_BYTES) as u64))?;
    file.read_to_end(&mut code)?;
    let compilation = Compilation {
        artifact: Artifact::in_memory(code),
        metadata_bytes,
    };
    let cache = DiskCache::try_open(&CacheConfig::new(folder))?;
    cache.keep(source, &compilation)?;
    Ok(compilation.artifact.bytes())
}

fn parts_of(head: &[u8; HEAD_BYTES]) -> (Source, u64, [u8; 32]) {
    let (mut source, mut metadata_bytes, mut digest) = ([0; 32], [0; 8], [0; 32]);
    source.copy_from_slice(&head[..32]);
    metadata_bytes.copy_from_slice(&head[32..40]);
    digest.copy_from_slice(&head[40..]);
    let source = Source::from_bytes(source);
    (source, u64::from_le_bytes(metadata_bytes), digest)
}

/// Of all that follows the head.
fn digest_of_code(file: &mut File) -> io::Result<Hash> {
    file.seek(SeekFrom::Start((MAGIC.len() + HEAD_BYTES) as u64))?;
    let mut hasher = Hasher::new();
    hasher.update_reader(file)?;
    Ok(hasher.finalize())
}
