//! Interfaces of WASI that are drafts, which components of other hosts use: what they do, the
//! contract has too, under the same permissions.

pub(crate) mod cas;
mod config;
mod keyvalue;

use wasmtime::component::Linker;

use crate::instance::state::HostState;

/// Adds them to `linker`.
pub(crate) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<HostState<T>>,
) -> wasmtime::Result<()> {
    config::add_to_linker(linker)?;
    keyvalue::add_to_linker(linker)
}
