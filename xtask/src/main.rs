//! Chores of this repository, run as `cargo xtask <chore>`.

mod fixtures;

use std::env;
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask fixtures            compile crates/wasm-fixtures/wat into crates/wasm-fixtures/wasm
       cargo xtask fixtures --check    tell whether sources, compiled files, table and tests agree";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is a folder of the workspace");
    let outcome = match args.as_slice() {
        ["fixtures"] => fixtures::write(root),
        ["fixtures", "--check"] => fixtures::check(root),
        ["--help" | "-h" | "help"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
