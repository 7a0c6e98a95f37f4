//! From bytes to something that can be instantiated: everything that can be said
//! of a component without running any of it.

pub(crate) mod cache;
pub(crate) mod disk;
pub(crate) mod exports;
pub(crate) mod imports;
pub(crate) mod shipped;
pub(crate) mod versions;

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre, Linker};

use wasm_core::{Cause, ComponentId, Defect, KeptMemory, Resource, WasmError};

use crate::compiler::{Compilation, Failure};
use crate::config::{EngineConfig, Profile};
use crate::error::{cause, chain};
use crate::instance::state::HostState;
use crate::lifecycle::exports::LifecycleExports;
use crate::survey;

/// A component that is compiled, linked and known to fit the contract.
pub(crate) struct Compiled<T: 'static> {
    pub(crate) pre: InstancePre<HostState<T>>,
    /// `None` for a component that takes no messages.
    pub(crate) lifecycle: Option<LifecycleExports>,
    pub(crate) kept: KeptMemory,
    /// The names of all that it imports.
    pub(crate) imports: Vec<Box<str>>,
    /// Shared with the cache, to look up where a guest was.
    pub(crate) bytes: Bytes,
}

/// What is shared is shared within one engine only.
static NEXT_COMPILED: AtomicU64 = AtomicU64::new(1);

impl<T: Send + 'static> Compiled<T> {
    /// Loads and links code, which takes the CPU for up to milliseconds: not for an async
    /// thread.
    fn new(
        id: &ComponentId,
        bytes: &Bytes,
        compilation: &Compilation,
        linker: &Linker<HostState<T>>,
        config: &EngineConfig,
    ) -> Result<Self, WasmError> {
        let (component, host_bytes) = load(id, bytes, compilation, linker.engine(), config)
            .map_err(|error| imports::explain(id, bytes, error))?;
        let pre = imports::link(id, &component, linker)?;
        let lifecycle = LifecycleExports::find(id, &component, &pre)?;
        Ok(Self {
            imports: imports::names(&component),
            pre,
            lifecycle,
            kept: KeptMemory {
                bytes: host_bytes,
                shared_as: NEXT_COMPILED.fetch_add(1, Ordering::Relaxed),
            },
            bytes: bytes.clone(),
        })
    }

    pub(crate) fn component(&self) -> &Component {
        self.pre.component()
    }
}

/// A component, not linked yet, and the host memory that it keeps.
fn component_of(
    id: &ComponentId,
    bytes: &[u8],
    engine: &Engine,
    config: &EngineConfig,
) -> Result<(Component, u64), WasmError> {
    load(
        id,
        bytes,
        &compile(id, bytes, engine, config)?,
        engine,
        config,
    )
}

/// Takes the CPU for milliseconds to seconds: not for an async thread.
fn compile(
    id: &ComponentId,
    bytes: &[u8],
    engine: &Engine,
    config: &EngineConfig,
) -> Result<Compilation, WasmError> {
    let compiler = config.compiler();
    compiler
        .compile(engine, config.code(), bytes, config.max_host_bytes())
        .map_err(|failure| uncompiled(id, failure))
}

fn load(
    id: &ComponentId,
    bytes: &[u8],
    compilation: &Compilation,
    engine: &Engine,
    config: &EngineConfig,
) -> Result<(Component, u64), WasmError> {
    let host_limit = config.max_host_bytes();
    let host_bytes = compilation.host_bytes().saturating_add(bytes.len() as u64);
    if host_bytes > host_limit {
        let defect = Defect::HostMemory {
            bytes: Some(host_bytes),
            limit: host_limit,
        };
        return Err(WasmError::invalid_component(id, defect));
    }
    check_memories(id, bytes, config)?;
    let component = compilation.artifact.load(engine).map_err(|error| {
        let reason = format!("what the compiler made cannot be loaded: {}", chain(&error));
        not_compiled(id, reason, Some(cause(error)))
    })?;
    Ok((component, host_bytes))
}

/// Memories that begin larger than all that is reserved for one could not be linked, and
/// wasmtime would not say so in words for people.
fn check_memories(id: &ComponentId, bytes: &[u8], config: &EngineConfig) -> Result<(), WasmError> {
    let ceiling = config.memory_ceiling_bytes();
    if config.profile() == Profile::Speed {
        return Ok(());
    }
    match survey::count(bytes) {
        Ok(counted) if counted.needs.memory_bytes > ceiling => {
            Err(WasmError::ResourceLimitExceeded {
                component: id.clone(),
                export: "instantiate".into(),
                resource: Resource::Memory,
                limit: ceiling,
                requested: Some(counted.needs.memory_bytes),
                charged_ahead: false,
                fuel_consumed: 0,
                frames: Box::default(),
                source: None,
            })
        }
        _ => Ok(()),
    }
}

fn uncompiled(id: &ComponentId, failure: Failure) -> WasmError {
    match failure {
        Failure::Component(defect) => WasmError::invalid_component(id, defect),
        Failure::OutOfMemory => not_compiled(id, "there is no memory to compile it", None),
        Failure::Compiler(reason) => not_compiled(id, reason, None),
    }
}

/// For reasons that are not the component's.
fn not_compiled(id: &ComponentId, reason: impl Into<String>, source: Option<Cause>) -> WasmError {
    WasmError::InstantiationFailed {
        component: id.clone(),
        reason: reason.into(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_begin_within_what_is_reserved_for_them() {
        let id = "demo/large/main".parse().unwrap();
        let component = |pages: u32| {
            let text = format!(
                "(component (core module $m (memory {pages})) (core instance (instantiate $m)))"
            );
            wat::parse_str(text).unwrap()
        };
        let requested = |profile, pages| {
            let config = EngineConfig::default()
                .with_profile(profile)
                .with_memory_ceiling_bytes(16 << 16);
            match check_memories(&id, &component(pages), &config) {
                Ok(()) => None,
                Err(WasmError::ResourceLimitExceeded { requested, .. }) => requested,
                Err(other) => panic!("{other}"),
            }
        };
        assert_eq!(requested(Profile::Density, 16), None);
        assert_eq!(requested(Profile::Density, 15), None);
        assert_eq!(requested(Profile::Density, 17), Some(17 << 16));
        // Each has 4 GiB there.
        assert_eq!(requested(Profile::Speed, 17), None);
    }
}
