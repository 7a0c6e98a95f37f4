//! Compiles one component for an engine that was told to have that done in a process of
//! its own, and ends.

use std::process::ExitCode;

fn main() -> ExitCode {
    wasm_runtime::compile_for_parent(std::env::args_os().skip(1))
}
