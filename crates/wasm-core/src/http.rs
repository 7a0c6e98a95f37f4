//! HTTP of components: which requests they answer, and where they may send some.

mod address;
mod origin;
mod route;

pub use origin::{HttpOrigin, HttpPattern, InvalidHttpPattern};
pub use route::{HttpPath, HttpRoute, InvalidHttpPath};
