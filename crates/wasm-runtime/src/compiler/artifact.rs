//! What a compiler hands over, and how it becomes code that runs.

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
    Sealed(std::fs::File, u64),
}

impl Artifact {
    pub(crate) fn in_memory(code: Vec<u8>) -> Self {
        Self(Content::Memory(code))
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn sealed(file: std::fs::File, bytes: u64) -> Self {
        Self(Content::Sealed(file, bytes))
    }

    pub(crate) fn bytes(&self) -> u64 {
        match &self.0 {
            Content::Memory(code) => code.len() as u64,
            #[cfg(target_os = "linux")]
            Content::Sealed(_, bytes) => *bytes,
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
            // `Engine::precompile_component` and be as it made them. They do: artifacts are
            // made in two places only. One is a vector that `compiler::compile` returned in
            // this process. The other is a file in memory that was created empty by
            // `compiler::process`, written by the one process that it started from a program
            // that the embedder named, and sealed against every change once that process had
            // ended well. That process reads a component as its only input, runs none of it
            // and can write nowhere else. A flaw in the compiler that a component can use to
            // take over the compiler would have reached this process too if it had compiled
            // by itself; it is no worse off. Release and configuration are compared by
            // wasmtime.
            Content::Memory(code) => unsafe { Component::deserialize(engine, code) },
            #[cfg(target_os = "linux")]
            // SAFETY: as above.
            Content::Sealed(file, _) => unsafe {
                use std::os::fd::AsRawFd;
                let path = format!("/proc/self/fd/{}", file.as_raw_fd());
                Component::deserialize_file(engine, path)
            },
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
