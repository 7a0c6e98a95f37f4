//! Components in C: clang makes a core module, with bindings that are made here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use wit_bindgen_c::Opts;
use wit_bindgen_core::Files;

use wasm_core::text::PathText as _;

use crate::build::tool::Tool;
use crate::build::world::World;
use crate::input::sources::{Sources, files, unusable};
use crate::output::report::Report;

/// The names under which Debian has clang, the newest first.
const COMPILERS: [&str; 6] = [
    "clang-22", "clang-21", "clang-20", "clang-19", "clang-18", "clang",
];

const CLANG: Tool = Tool {
    name: "clang",
    beside: None,
    install: "apt-get install clang-22 lld-22 libclang-rt-22-dev-wasm32 wasi-libc",
};

/// What the bindings are called, which sources include as `component.h`.
const BINDINGS: &str = "component";

const TARGET: &str = "--target=wasm32-wasi";

/// In bytes. The stack comes first, so that overflowing it traps in place of writing over
/// data. The component starts with that and its data, and grows as malloc asks for more.
const STACK: u32 = 64 * 1024;

/// Compiles every `*.c` of the folders with the bindings; the module.
///
/// # Errors
/// If the compiler or a part of it is not there, or does not compile.
pub(crate) fn build(sources: &Sources) -> Result<PathBuf, Report> {
    let compiler = compiler()?;
    let world = World::of(sources)?;
    let bindings = bindings(sources, world)?;
    let module = sources.work("c")?.join("core.wasm");
    let mut command = Command::new(&compiler);
    command
        .args([TARGET, "-Wno-deprecated", "-mexec-model=reactor"])
        .args(["-std=gnu11", "-Os", "-Wall", "-Wextra"])
        .arg("-I")
        .arg(&bindings);
    for folder in &sources.folders {
        command.arg("-I").arg(folder).args(files(folder, "c")?);
    }
    command
        .args(files(&bindings, "c")?)
        .args(files(&bindings, "o")?)
        .args(["-Wl,--strip-debug", "-Wl,--stack-first"])
        .arg(format!("-Wl,-z,stack-size={STACK}"))
        .arg("-o")
        .arg(&module);
    CLANG.run(&mut command, &sources.folder)?;
    Ok(module)
}

/// Writes the bindings of a world, and the file that has its types; the folder with them.
fn bindings(sources: &Sources, mut world: World) -> Result<PathBuf, Report> {
    let folder = sources.work("bindings")?;
    let mut generated = Files::default();
    let mut generator = Opts {
        rename_world: Some(BINDINGS.to_owned()),
        rename: names_of_contract(&world),
        ..Opts::default()
    }
    .build();
    let outcome = generator.generate(&mut world.resolve, world.id, &mut generated);
    outcome.map_err(|error| {
        Report::error(format!(
            "there are no bindings in C for the world `{}`: {error:#}",
            world.name()
        ))
    })?;
    for (name, content) in generated.iter() {
        let file = folder.join(name);
        fs::write(&file, content).map_err(|error| unusable(&file, &error))?;
    }
    Ok(folder)
}

/// The contract's interfaces are called the same however many versions of it a world has.
fn names_of_contract(world: &World) -> Vec<(String, String)> {
    let resolve = &world.resolve;
    let here = &resolve.worlds[world.id];
    let keys = here.imports.keys().chain(here.exports.keys());
    let names = keys.map(|key| resolve.name_world_key(key));
    names
        .filter_map(|name| {
            let interface = name.strip_prefix("airssys:core/")?.split('@').next()?;
            let short = format!("airssys_core_{}", interface.replace('-', "_"));
            Some((name, short))
        })
        .collect()
}

/// A clang that has all that it needs for WebAssembly, by the variable `CLANG` or by its name.
fn compiler() -> Result<PathBuf, Report> {
    let named = std::env::var_os("CLANG").map(PathBuf::from);
    let mut candidates = match &named {
        Some(named) => vec![named.clone()],
        None => COMPILERS.map(PathBuf::from).to_vec(),
    };
    candidates.retain(|candidate| said(candidate, &["--version"]).is_some());
    let Some(found) = candidates.first() else {
        return Err(match named {
            Some(named) => {
                let told = format!("{} cannot be run", named.escaped());
                Report::error(told).with_note("the variable CLANG names it as the compiler")
            }
            None => CLANG.lacks("clang"),
        });
    };
    let targets = said(found, &["-print-targets"]).unwrap_or_default();
    if !targets
        .lines()
        .any(|line| line.trim().starts_with("wasm32 "))
    {
        return Err(CLANG.lacks("wasm32 for clang"));
    }
    let linker = asked(found, "-print-prog-name=wasm-ld");
    if said(Path::new(&linker), &["--version"]).is_none() {
        return Err(CLANG.lacks("wasm-ld, the linker,"));
    }
    let library = asked(found, "-print-libgcc-file-name");
    if !Path::new(&library).is_file() {
        return Err(CLANG.lacks("compiler-rt for wasm32"));
    }
    let header = Path::new(&asked(found, "-print-file-name=crt1-reactor.o")).is_file();
    if !header {
        return Err(CLANG.lacks("wasi-libc, the C library,"));
    }
    Ok(found.clone())
}

fn asked(compiler: &Path, question: &str) -> String {
    let answer = said(compiler, &[TARGET, "-Wno-deprecated", question]);
    answer.unwrap_or_default().trim().to_owned()
}

/// What a program prints; `None` if it is not there or fails.
fn said(program: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let output = command.output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(text)
}
