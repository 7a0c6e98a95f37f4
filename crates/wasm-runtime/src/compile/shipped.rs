//! Compiled code in a file of its own, for machines that are not to compile it.
//!
//! Loading native code is running it, so no engine loads such a file: whoever operates a
//! machine adds it to the cache there, and vouches for it by that.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use blake3::{Hash, Hasher};

use wasm_core::units::format_bytes;
use wasmtime::Engine;

use super::disk::{DiskCache, Source};
use crate::compiler::Compilation;
use crate::compiler::artifact::Artifact;
use crate::config::{CacheConfig, EngineConfig};
use crate::regular::open_regular;

/// How such a file begins.
const MAGIC: &[u8; 24] = b"airssys-wasm compiled 2\n";

/// The same, of any release.
const COMMON_MAGIC: &[u8] = b"airssys-wasm compiled ";

/// What engine made it, what it was compiled from, and the size of its metadata.
const DESCRIPTION_BYTES: usize = 32 + 32 + 8;

/// Before the code: all that, and a digest of it and the code.
const HEAD_BYTES: usize = MAGIC.len() + DESCRIPTION_BYTES + 32;

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
    file.write_all(&[0; HEAD_BYTES])?;
    compilation.artifact.write_to(&mut file)?;
    let mut description = [0; DESCRIPTION_BYTES];
    description[..32].copy_from_slice(maker()?.as_bytes());
    description[32..64].copy_from_slice(source.as_bytes());
    description[64..].copy_from_slice(&compilation.metadata_bytes.to_le_bytes());
    let digest = digest_of(&description, &mut file)?;
    file.rewind()?;
    file.write_all(MAGIC)?;
    file.write_all(&description)?;
    file.write_all(digest.as_bytes())?;
    file.sync_all()?;
    Ok(compilation.artifact.bytes())
}

pub(crate) fn not_there() -> io::Error {
    io::Error::other("the cache of compiled code does not have it")
}

/// Adds compiled code that [`WasmtimeEngine::write_compiled`] wrote to the folder of a cache,
/// from where engines of this user load it: **it runs outside of any sandbox**, so the file
/// must come from somebody who may do anything with this user's account. Returns how many bytes
/// of code there are.
///
/// [`WasmtimeEngine::write_compiled`]: crate::WasmtimeEngine::write_compiled
///
/// # Errors
/// The file cannot be read, is none of these, is damaged, was made by another release or for
/// another kind of processor, or has more code than a cache keeps; or the folder cannot be used,
/// as when others may write it.
pub fn add_compiled(file: &Path, folder: &Path) -> io::Result<u64> {
    let mut file = open_regular(file, File::options().read(true))?;
    let mut head = [0; HEAD_BYTES];
    if file.read_exact(&mut head).is_err() || !head.starts_with(COMMON_MAGIC) {
        return Err(io::Error::other(
            "it is no file that `compile --output` wrote",
        ));
    }
    if !head.starts_with(MAGIC) {
        return Err(of_no_use());
    }
    let config = CacheConfig::new(folder);
    let code_bytes = file.metadata()?.len().saturating_sub(HEAD_BYTES as u64);
    if code_bytes > config.max_bytes {
        return Err(io::Error::other(format!(
            "it has {} of code, more than the {} that a cache keeps",
            format_bytes(code_bytes),
            format_bytes(config.max_bytes)
        )));
    }
    let (description, digest) = head[MAGIC.len()..].split_at(DESCRIPTION_BYTES);
    if digest_of(description, &mut file)? != *digest {
        return Err(io::Error::other("it is damaged"));
    }
    let (made_by, source, metadata_bytes) = parts_of(description);
    if maker()?.as_bytes() != &made_by {
        return Err(of_no_use());
    }
    let mut code = Vec::new();
    file.seek(SeekFrom::Start(HEAD_BYTES as u64))?;
    file.read_to_end(&mut code)?;
    let compilation = Compilation {
        artifact: Artifact::in_memory(code),
        metadata_bytes,
    };
    let cache = DiskCache::try_open(&config)?;
    cache.keep(source, &compilation)?;
    Ok(compilation.artifact.bytes())
}

fn of_no_use() -> io::Error {
    io::Error::other(
        "it was made by another release or for another kind of processor, and would not be used \
         here",
    )
}

/// What is the same for all settings of engines that can run each other's code: what a component
/// without a byte would be compiled to by one with those that are the default.
fn maker() -> io::Result<Source> {
    let engine = Engine::new(&EngineConfig::default().code().wasmtime_config());
    let engine = engine.map_err(io::Error::other)?;
    Ok(Source::new(&blake3::hash(&[]), &engine))
}

fn parts_of(description: &[u8]) -> ([u8; 32], Source, u64) {
    let (mut made_by, mut source, mut metadata_bytes) = ([0; 32], [0; 32], [0; 8]);
    made_by.copy_from_slice(&description[..32]);
    source.copy_from_slice(&description[32..64]);
    metadata_bytes.copy_from_slice(&description[64..]);
    let source = Source::from_bytes(source);
    (made_by, source, u64::from_le_bytes(metadata_bytes))
}

/// Of what describes the code, and of the code.
fn digest_of(description: &[u8], file: &mut File) -> io::Result<Hash> {
    file.seek(SeekFrom::Start(HEAD_BYTES as u64))?;
    let mut hasher = Hasher::new();
    hasher.update(description);
    hasher.update_reader(file)?;
    Ok(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_another_release_made_is_not_added() {
        let other = "it was made by another release or for another kind of processor, and would \
                     not be used here";
        let house = tempfile::tempdir().unwrap();
        let (here, there) = (house.path().join("here"), house.path().join("there"));
        let cache = DiskCache::try_open(&CacheConfig::new(&here)).unwrap();
        let source = maker().unwrap();
        let compilation = Compilation {
            artifact: Artifact::in_memory(vec![7; 100]),
            metadata_bytes: 1,
        };
        cache.keep(source, &compilation).unwrap();
        let shipped = house.path().join("shipped");
        assert_eq!(write(&cache, source, &shipped).unwrap(), 100);
        assert_eq!(add_compiled(&shipped, &there).unwrap(), 100);
        let mut bytes = fs::read(&shipped).unwrap();
        let (head, code) = bytes.split_at_mut(HEAD_BYTES);
        let (description, digest) = head[MAGIC.len()..].split_at_mut(DESCRIPTION_BYTES);
        description[0] ^= 1;
        let anew = Hasher::new().update(description).update(code).finalize();
        digest.copy_from_slice(anew.as_bytes());
        for file in [
            bytes.clone(),
            [b"airssys-wasm compiled 1\n", &bytes[24..]].concat(),
        ] {
            fs::write(&shipped, file).unwrap();
            let error = add_compiled(&shipped, &there).unwrap_err();
            assert_eq!(error.to_string(), other);
        }
    }
}
