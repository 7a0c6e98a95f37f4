//! What a compiler hands over, and how it becomes code that runs.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::PathBuf;

use object::{Object, ObjectSection};
use wasmtime::Engine;
use wasmtime::component::Component;

/// Compiled code as wasmtime serializes it: an ELF file.
pub(crate) struct Artifact(Content);

enum Content {
    Memory(Vec<u8>),
    /// A file in memory that nobody can change any more, which is mapped rather than read,
    /// so that only what is used of it is in memory.
    #[cfg(target_os = "linux")]
    Sealed(File, u64),
    /// A file that `compile::disk` has found to be as it was written.
    Cached {
        file: File,
        #[cfg_attr(
            target_os = "linux",
            expect(dead_code, reason = "the open file is found")
        )]
        path: PathBuf,
        bytes: u64,
    },
}

impl Artifact {
    pub(crate) fn in_memory(code: Vec<u8>) -> Self {
        Self(Content::Memory(code))
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn sealed(file: File, bytes: u64) -> Self {
        Self(Content::Sealed(file, bytes))
    }

    pub(crate) fn cached(file: File, path: PathBuf, bytes: u64) -> Self {
        Self(Content::Cached { file, path, bytes })
    }

    /// Writes all of it to a file that is empty.
    pub(crate) fn write_to(&self, file: &mut File) -> io::Result<()> {
        let copy = |mut from: &File, file: &mut File| {
            from.rewind()?;
            io::copy(&mut from, file).map(drop)
        };
        match &self.0 {
            Content::Memory(code) => file.write_all(code),
            #[cfg(target_os = "linux")]
            Content::Sealed(from, _) => copy(from, file),
            Content::Cached { file: from, .. } => copy(from, file),
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        match &self.0 {
            Content::Memory(code) => code.len() as u64,
            #[cfg(target_os = "linux")]
            Content::Sealed(_, bytes) => *bytes,
            Content::Cached { bytes, .. } => *bytes,
        }
    }

    /// # Errors
    /// The artifact is of another release or configuration of wasmtime, or there is no
    /// memory for it.
    #[expect(
        unsafe_code,
        reason = "code that was compiled elsewhere is taken back here and nowhere else"
    )]
    pub(crate) fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        let load = || match &self.0 {
            // SAFETY: wasmtime runs what it is given here, so the bytes must come from
            // `Engine::precompile_component` and be as it made them. They do: artifacts come
            // from three places only. One is a vector that `compiler::compile` returned in
            // this process. The other is a file in memory that was created empty by
            // `compiler::process`, written by the one process that it started from a program
            // that the embedder named, and sealed against every change once that process had
            // ended well. That process reads a component as its only input, runs none of it
            // and can write nowhere else. A flaw in the compiler that a component can use to
            // take over the compiler would have reached this process too if it had compiled
            // by itself; it is no worse off. The third is a file that an engine of this user
            // wrote when it had one of the other two: `compile::disk` has compared a digest of
            // all of it, under a key that no other user can read, and it is replaced as a
            // whole but never changed. Release and configuration are compared by wasmtime.
            Content::Memory(code) => unsafe { Component::deserialize(engine, code) },
            #[cfg(target_os = "linux")]
            // SAFETY: as above.
            Content::Sealed(file, _) | Content::Cached { file, .. } => unsafe {
                use std::os::fd::AsRawFd;
                let path = format!("/proc/self/fd/{}", file.as_raw_fd());
                Component::deserialize_file(engine, path)
            },
            #[cfg(not(target_os = "linux"))]
            // SAFETY: as above.
            Content::Cached { path, .. } => unsafe { Component::deserialize_file(engine, path) },
        };
        load()
    }
}

/// Where wasmtime keeps types, exports and names within an artifact.
const METADATA_SECTION: &str = ".wasmtime.info";

/// Size of the metadata of an artifact; of all of it if that cannot be told.
pub(crate) fn metadata_bytes(code: &[u8]) -> u64 {
    let section = object::File::parse(code)
        .ok()
        .and_then(|file| Some(file.section_by_name(METADATA_SECTION)?.size()));
    section.unwrap_or(code.len() as u64)
}
