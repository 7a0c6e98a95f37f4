//! Suites for services: what an engine relies on, whoever provides it.
//!
//! Each module has `cases`, to be given to
//! [`Runner::suite`](crate::Runner::suite) with a function that makes what they try:
//! the service itself where its trait is enough to try it, and else a bench that can
//! also do what no component may, such as adding an entry to a directory.
//!
//! ```no_run,standalone_crate
//! use std::process::ExitCode;
//! use std::sync::Arc;
//!
//! use wasm_testkit::{MemoryStorage, Runner, suites};
//!
//! fn main() -> ExitCode {
//!     Runner::from_args()
//!         .suite("memory", suites::storage::cases(), &[], || {
//!             Arc::new(MemoryStorage::new()) as suites::storage::Subject
//!         })
//!         .run()
//! }
//! ```

pub mod clock;
pub mod directory;
pub mod loader;
pub mod router;
pub mod storage;
pub mod validator;

use wasm_core::ComponentId;

fn id(text: &str) -> ComponentId {
    match text.parse() {
        Ok(id) => id,
        Err(error) => panic!("{error}"),
    }
}
