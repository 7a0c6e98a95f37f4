//! What the host does for a component: the functions that the contract imports, in types of
//! this crate. In a component they are imports, in a test those of [`crate::testing`].

#[cfg(not(target_family = "wasm"))]
mod native;
#[cfg(target_family = "wasm")]
mod wasm;

#[cfg(not(target_family = "wasm"))]
pub(crate) use native::*;
#[cfg(target_family = "wasm")]
pub(crate) use wasm::*;
