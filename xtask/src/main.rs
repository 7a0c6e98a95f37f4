//! Chores of this repository, run as `cargo xtask <chore>`.

mod bounds;
mod fixtures;
mod performance;

use std::env;
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask fixtures            compile the fixtures of crates/wasm-fixtures
       cargo xtask fixtures --check    tell whether sources, binaries, table and tests agree
       cargo xtask bounds              make the table of bounds in SECURITY.md from the source
       cargo xtask bounds --check      tell whether it is of the source as it is
       cargo xtask bounds --raise TREE make a copy one whose bounds can be raised, for scripts/bounds.sh
       cargo xtask performance         run the benchmarks and write their tables into docs/performance.md
       cargo xtask performance --peers do the same for bench/peers alone, which compiles a second wasmtime";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    // Of the workspace that cargo was called in: copies share what was compiled.
    let home = env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    let root = Path::new(&home)
        .parent()
        .expect("xtask is a folder of the workspace");
    let outcome = match args.as_slice() {
        ["fixtures"] => fixtures::write(root),
        ["fixtures", "--check"] => fixtures::check(root),
        ["bounds"] => bounds::write(root),
        ["bounds", "--check"] => bounds::check(root),
        ["bounds", "--raise", tree] => bounds::raise(root, tree),
        ["performance"] => performance::run(root),
        ["performance", "--peers"] => performance::peers(root),
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
