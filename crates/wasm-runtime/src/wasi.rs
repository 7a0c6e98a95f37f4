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
use wasmtime_wasi::WasiView;
use wasmtime_wasi_http::WasiHttpView;

pub(crate) use account::{HasAccount, HeldTooMuch, HostAccount, READ_AHEAD};
pub(crate) use descriptors::Descriptors;
pub(crate) use files::{Files, FilesView, HasFiles};
pub(crate) use grants::{UnreadableDir, WasiShare, WasiState, granted_files};
pub(crate) use http::budget::HttpBudget;
pub(crate) use http::names::{HostNames, Names};
pub(crate) use http::outgoing::HttpCaller;
pub(crate) use http::trace::TraceContext;
pub(crate) use output::LastWords;
pub(crate) use sockets::{HasSockets, SocketPlaces};

/// Adds every interface of WASI to `linker`.
pub(crate) fn add_to_linker<S>(linker: &mut Linker<S>) -> wasmtime::Result<()>
where
    S: WasiView + WasiHttpView + HasFiles + HasSockets + 'static,
{
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    files::add_to_linker(linker)?;
    sockets::add_to_linker(linker)?;
    http::add_to_linker(linker)
}
