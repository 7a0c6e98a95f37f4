//! WASI 0.2: every interface is linked, so that components of the usual
//! toolchains load, and grants nothing but what the permissions say.

mod account;
mod clocks;
mod descriptors;
mod files;
mod grants;
mod http;
mod operations;
mod output;
mod quota;
mod sockets;

use wasmtime::component::Linker;

use crate::store::HostState;

pub(crate) use account::{HeldTooMuch, HostAccount};
pub(crate) use descriptors::Descriptors;
pub(crate) use files::{Files, FilesView};
pub(crate) use grants::{UnreadableDir, WasiGrants};
pub(crate) use http::NoHttp;
pub(crate) use operations::Operations;
pub(crate) use output::GuestOutput;
pub(crate) use sockets::Sockets;

/// Adds every interface of WASI to `linker`.
pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    files::add_to_linker(linker)?;
    sockets::add_to_linker(linker)?;
    http::add_to_linker(linker)
}
