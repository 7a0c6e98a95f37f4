//! WASI 0.2: every interface is linked, so that components of the usual
//! toolchains load, and grants nothing but what the permissions say.

mod clocks;
mod grants;
mod http;
mod output;

pub(crate) use grants::{UnreadableDir, WasiGrants};
pub(crate) use http::NoHttp;
pub(crate) use output::GuestOutput;

/// The release of the interfaces that wasmtime-wasi links; others of 0.2 are
/// matched to it.
pub(crate) const WASI_VERSION: &str = "0.2.12";
