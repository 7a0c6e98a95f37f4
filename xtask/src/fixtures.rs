//! `cargo xtask fixtures`: from WAT and WIT to the components of wasm-fixtures.
//!
//! Every `wat/<name>.wat` becomes `wasm/<name>.wasm`. Comments in its first lines
//! say how:
//!
//! ```text
//! ;; world: runtime-host        fields of a core module that implements this world
//! ;; wit: other.wit             the world is in wit/other.wit, or in one of several files
//!                               parted by spaces, instead of those of the contract
//!                               and wit/worlds.wit
//! ;; include: lifecycle.wat     append the items of include/lifecycle.wat, without
//!                               those that the fixture defines itself and without
//!                               functions that nothing mentions
//! ;; first half of: echo        no text at all: echo.wasm, cut in the middle
//! ```
//!
//! Without a world the text is assembled as it stands, a component or a module.
//!
//! `wasm/sources.txt` keeps a hash of every source, so that an edit is noticed that
//! leaves the binary as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use wasmparser::Validator;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, WorldId};

/// Where the contract is written, and its files; the copies in wasm-fixtures keep that crate
/// free of dependencies.
const CONTRACT: &str = "crates/wasm-core/wit";
const CONTRACT_FILES: [&str; 2] = ["core.wit", "timers.wit"];
const FIXTURES: &str = "crates/wasm-fixtures";
const SOURCES: &str = "wasm/sources.txt";
const MEND: &str = "cargo xtask fixtures";

/// Compiles all fixtures, removes compiled files without a source, and renews the
/// copy of the contract. Returns what it did, for the reader of a terminal.
pub(crate) fn write(root: &Path) -> Result<String> {
    let home = root.join(FIXTURES);
    let mut changes = Vec::new();
    for file in CONTRACT_FILES {
        let contract = read(&root.join(CONTRACT).join(file))?;
        let copy = home.join("wit").join(file);
        if fs::read_to_string(&copy).ok().as_ref() != Some(&contract) {
            write_file(&copy, contract.as_bytes())?;
            changes.push(format!("copied wit/{file}"));
        }
    }

    let compiled = compile_all(&home)?;
    for (name, bytes) in &compiled {
        let path = home.join("wasm").join(format!("{name}.wasm"));
        if fs::read(&path).ok().as_ref() != Some(bytes) {
            write_file(&path, bytes)?;
            changes.push(format!("wrote wasm/{name}.wasm, {} bytes", bytes.len()));
        }
    }
    for name in names_in(&home.join("wasm"), "wasm")? {
        if !compiled.contains_key(&name) {
            let path = home.join("wasm").join(format!("{name}.wasm"));
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            changes.push(format!("removed wasm/{name}.wasm"));
        }
    }
    let (path, sources) = (home.join(SOURCES), sources(&home)?);
    if fs::read_to_string(&path).ok().as_ref() != Some(&sources) {
        write_file(&path, sources.as_bytes())?;
        changes.push(format!("wrote {SOURCES}"));
    }
    changes.push(format!("{} fixtures are up to date", compiled.len()));
    Ok(changes.join("\n"))
}

/// Compares without writing. The error lists everything that is wrong, each with
/// what mends it.
pub(crate) fn check(root: &Path) -> Result<String> {
    let (checked, problems) = problems(root)?;
    if problems.is_empty() {
        return Ok(format!("{checked} fixtures are as they should be"));
    }
    let mut report = format!("{} problems with the fixtures:", problems.len());
    for problem in &problems {
        report.push_str(&format!("\n  {problem}"));
    }
    if problems.iter().any(Problem::is_mended_by_writing) {
        report.push_str(&format!("\nto mend what can be compiled or copied: {MEND}"));
    }
    bail!(report);
}

#[derive(Debug, PartialEq, Eq)]
enum Problem {
    ContractDiffers(&'static str),
    NotCompiled(String),
    Stale(String),
    Edited(String),
    WasmWithoutWat(String),
    WatWithoutConstant(String),
    ConstantWithoutWat(String),
    Misnamed { constant: String, name: String },
    Unused(String),
    NeverIncluded(String),
}

impl Problem {
    fn is_mended_by_writing(&self) -> bool {
        matches!(
            self,
            Problem::ContractDiffers(_)
                | Problem::NotCompiled(_)
                | Problem::Stale(_)
                | Problem::Edited(_)
                | Problem::WasmWithoutWat(_)
        )
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::ContractDiffers(file) => {
                write!(
                    f,
                    "{FIXTURES}/wit/{file} differs from {CONTRACT}/{file}: {MEND}"
                )
            }
            Problem::NotCompiled(name) => {
                write!(f, "wat/{name}.wat has no wasm/{name}.wasm: {MEND}")
            }
            Problem::Stale(name) => {
                write!(
                    f,
                    "wasm/{name}.wasm is not what wat/{name}.wat compiles to: {MEND}"
                )
            }
            Problem::Edited(file) => {
                write!(f, "{file} is not the one that {SOURCES} knows: {MEND}")
            }
            Problem::WasmWithoutWat(name) => {
                write!(f, "wasm/{name}.wasm has no wat/{name}.wat: {MEND}")
            }
            Problem::WatWithoutConstant(name) => write!(
                f,
                "wat/{name}.wat has no constant: add {} to src/lib.rs",
                constant_name(name)
            ),
            Problem::ConstantWithoutWat(name) => write!(
                f,
                "src/lib.rs has {} but there is no wat/{name}.wat: write it or remove the constant",
                constant_name(name)
            ),
            Problem::Misnamed { constant, name } => write!(
                f,
                "src/lib.rs calls the fixture {name:?} {constant}: rename it {}",
                constant_name(name)
            ),
            Problem::Unused(name) => write!(
                f,
                "no test uses {}: write one, or remove wat/{name}.wat and the constant",
                constant_name(name)
            ),
            Problem::NeverIncluded(file) => {
                write!(f, "no fixture mentions {file}: remove it")
            }
        }
    }
}

/// How many fixtures there are, and what is wrong with them.
fn problems(root: &Path) -> Result<(usize, Vec<Problem>)> {
    let home = root.join(FIXTURES);
    let mut found = Vec::new();
    for file in CONTRACT_FILES {
        if read(&root.join(CONTRACT).join(file))? != read(&home.join("wit").join(file))? {
            found.push(Problem::ContractDiffers(file));
        }
    }

    let compiled = compile_all(&home)?;
    for (name, bytes) in &compiled {
        match fs::read(home.join("wasm").join(format!("{name}.wasm"))) {
            Ok(committed) if committed == *bytes => {}
            Ok(_) => found.push(Problem::Stale(name.clone())),
            Err(_) => found.push(Problem::NotCompiled(name.clone())),
        }
    }
    let is_outdated =
        |problem: &Problem| matches!(problem, Problem::Stale(_) | Problem::NotCompiled(_));
    if !found.iter().any(is_outdated) {
        let known = fs::read_to_string(home.join(SOURCES)).unwrap_or_default();
        found.extend(edited(&known, &sources(&home)?));
    }
    for name in names_in(&home.join("wasm"), "wasm")? {
        if !compiled.contains_key(&name) {
            found.push(Problem::WasmWithoutWat(name));
        }
    }

    let table = read(&home.join("src/lib.rs"))?;
    let constants: BTreeMap<&str, &str> = constants(&table).collect();
    for name in compiled.keys() {
        if !constants.contains_key(name.as_str()) {
            found.push(Problem::WatWithoutConstant(name.clone()));
        }
    }
    let uses = Uses::collect(root)?;
    for (&name, &constant) in &constants {
        if !compiled.contains_key(name) {
            found.push(Problem::ConstantWithoutWat(name.to_owned()));
        } else if constant != constant_name(name) {
            found.push(Problem::Misnamed {
                constant: constant.to_owned(),
                name: name.to_owned(),
            });
        } else if !uses.mention(constant) {
            found.push(Problem::Unused(name.to_owned()));
        }
    }

    found.extend(never_included(&home)?);
    Ok((compiled.len(), found))
}

/// The files that a line of only one of the two lists names.
fn edited(known: &str, current: &str) -> Vec<Problem> {
    let (known, current): (BTreeSet<_>, BTreeSet<_>) =
        (known.lines().collect(), current.lines().collect());
    let files: BTreeSet<&str> = known
        .symmetric_difference(&current)
        .filter_map(|line| Some(line.split_once(' ')?.1))
        .collect();
    files
        .into_iter()
        .map(|file| Problem::Edited(file.to_owned()))
        .collect()
}

/// One line, hash and file, for everything that fixtures are compiled from.
fn sources(home: &Path) -> Result<String> {
    let mut files = mentioned(home)?;
    for name in names_in(&home.join("wat"), "wat")? {
        files.insert(format!("wat/{name}.wat"));
    }
    let mut lines = String::new();
    for file in files {
        let text = read(&home.join(&file))?;
        lines.push_str(&format!("{:016x} {file}\n", fnv(text.as_bytes())));
    }
    Ok(lines)
}

/// FNV-1a: the same on every machine and with every toolchain.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn never_included(home: &Path) -> Result<Vec<Problem>> {
    let mentioned = mentioned(home)?;
    let mut found = Vec::new();
    for (folder, extension) in [("include", "wat"), ("wit", "wit")] {
        for name in names_in(&home.join(folder), extension)? {
            let file = format!("{folder}/{name}.{extension}");
            if !mentioned.contains(&file) {
                found.push(Problem::NeverIncluded(file));
            }
        }
    }
    Ok(found)
}

/// The shared files that fixtures ask for, and those that worlds come from.
fn mentioned(home: &Path) -> Result<BTreeSet<String>> {
    let mut mentioned =
        BTreeSet::from(["core.wit", "timers.wit", "worlds.wit"].map(|file| format!("wit/{file}")));
    for name in names_in(&home.join("wat"), "wat")? {
        let recipe = Recipe::read(home, &name)?;
        mentioned.extend(recipe.include.map(|file| format!("include/{file}")));
        let wit = recipe.wit.unwrap_or_default();
        mentioned.extend(wit.split_whitespace().map(|file| format!("wit/{file}")));
    }
    Ok(mentioned)
}

/// Every fixture's bytes by its name, or all errors at once.
fn compile_all(home: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut compiled = BTreeMap::new();
    let mut failures = Vec::new();
    for name in names_in(&home.join("wat"), "wat")? {
        match compile(home, &name) {
            Ok(bytes) => {
                compiled.insert(name, bytes);
            }
            Err(failure) => failures.push(format!("{failure:#}")),
        }
    }
    if failures.is_empty() {
        Ok(compiled)
    } else {
        bail!(failures.join("\n"));
    }
}

fn compile(home: &Path, name: &str) -> Result<Vec<u8>> {
    let recipe = Recipe::read(home, name)?;
    let at = || recipe.path.display().to_string();
    if let Some(whole) = &recipe.first_half_of {
        if Recipe::read(home, whole)
            .with_context(at)?
            .first_half_of
            .is_some()
        {
            bail!("{}: {whole} is itself a half", at());
        }
        let mut bytes = compile(home, whole).with_context(at)?;
        bytes.truncate(bytes.len() / 2);
        return Ok(bytes);
    }

    if recipe.world.is_none() && !recipe.is_whole() {
        bail!(
            "{}: neither a (component …) nor a (module …), and no line `;; world: …`",
            at()
        );
    }
    let text = match &recipe.include {
        None => recipe.text.clone(),
        Some(file) => {
            let path = home.join("include").join(file);
            let shared = read(&path).with_context(at)?;
            // On its own first: an error in it then carries its own lines.
            assemble(&path, &shared)?;
            with_defaults(&recipe.text, &shared)
        }
    };
    let mut bytes = assemble(&recipe.path, &text)?;
    if let Some(world) = &recipe.world {
        let (resolve, world) = find_world(home, recipe.wit.as_deref(), world).with_context(at)?;
        embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8)
            .with_context(at)?;
        bytes = ComponentEncoder::default()
            .validate(true)
            .module(&bytes)
            .and_then(|mut encoder| encoder.encode())
            .with_context(at)?;
    }
    Validator::new().validate_all(&bytes).with_context(at)?;
    Ok(bytes)
}

fn assemble(path: &Path, text: &str) -> Result<Vec<u8>> {
    wat::Parser::new()
        .parse_str(Some(path), text)
        .map_err(|error| anyhow!("{error}"))
}

fn find_world(home: &Path, wit: Option<&str>, name: &str) -> Result<(Resolve, WorldId)> {
    let files = wit.unwrap_or("core.wit timers.wit worlds.wit");
    let mut resolve = Resolve::default();
    for file in files.split_whitespace() {
        let path = home.join("wit").join(file);
        let text = read(&path)?;
        resolve
            .push_source(&path.display().to_string(), &text)
            .map_err(|error| anyhow!(resolve.render_error(&error)))?;
    }
    let world = resolve
        .worlds
        .iter()
        .find(|(_, world)| world.name == name)
        .map(|(id, _)| id)
        .ok_or_else(|| anyhow!("no world {name} in its WIT files"))?;
    Ok((resolve, world))
}

/// A fixture's source, and what its first lines say about it.
#[derive(Debug, Default)]
struct Recipe {
    path: PathBuf,
    text: String,
    world: Option<String>,
    wit: Option<String>,
    include: Option<String>,
    first_half_of: Option<String>,
}

impl Recipe {
    fn read(home: &Path, name: &str) -> Result<Recipe> {
        let path = home.join("wat").join(format!("{name}.wat"));
        let text = read(&path)?;
        let mut recipe = Recipe::default();
        for line in text.lines() {
            let Some((key, value)) = line
                .strip_prefix(";; ")
                .and_then(|comment| comment.split_once(": "))
            else {
                break;
            };
            let entry = match key {
                "world" => &mut recipe.world,
                "wit" => &mut recipe.wit,
                "include" => &mut recipe.include,
                "first half of" => &mut recipe.first_half_of,
                _ => break,
            };
            *entry = Some(value.trim().to_owned());
        }
        if recipe.world.is_none() && (recipe.wit.is_some() || recipe.include.is_some()) {
            bail!("{}: `wit` and `include` need a `world`", path.display());
        }
        Ok(Recipe {
            path,
            text,
            ..recipe
        })
    }

    /// Whether the text stands on its own: it is not mere fields of a module.
    fn is_whole(&self) -> bool {
        let start = self.text.lines().find(|line| line.starts_with('('));
        start.is_some_and(|line| line.starts_with("(component") || line.starts_with("(module"))
    }
}

/// The fixture followed by those items of `shared` that it needs: not what it
/// defines itself, and no function that nothing mentions. The fixture comes first
/// so that errors carry its lines, and because imports must precede definitions.
fn with_defaults(fixture: &str, shared: &str) -> String {
    let own: BTreeSet<&str> = items(fixture).into_iter().filter_map(key).collect();
    let mut rest = items(shared);
    rest.retain(|item| key(item).is_none_or(|key| !own.contains(key)));
    let (mut missing, mut taken): (Vec<&str>, Vec<&str>) =
        rest.iter().partition(|item| item.starts_with("(func $"));
    let mut text = fixture.to_owned();
    while !taken.is_empty() {
        text.extend(taken);
        let mentioned: BTreeSet<&str> = text.split([' ', '(', ')', '\n']).collect();
        (taken, missing) = missing.into_iter().partition(|item| {
            key(item).is_some_and(|key| mentioned.contains(key.trim_start_matches("(func ")))
        });
    }
    text
}

/// What begins in the first column of `text`, each with the lines that follow it
/// up to the next; comments between items are left out.
fn items(text: &str) -> Vec<&str> {
    let starts = |line: &&str| line.starts_with('(') || line.starts_with(";;");
    let mut found = Vec::new();
    let mut begin = 0;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if starts(&line) {
            found.push(&text[begin..at]);
            begin = at;
        }
        at += line.len();
    }
    found.push(&text[begin..]);
    found.retain(|item| item.starts_with('('));
    found
}

/// `(func $name`, `(global $name`, `(memory $name` of an item that has a name.
fn key(item: &str) -> Option<&str> {
    let (keyword, rest) = item.split_once(" $")?;
    let name = rest.split([' ', '(', ')', '\n']).next()?;
    keyword[1..]
        .chars()
        .all(|c| c.is_ascii_lowercase())
        .then(|| &item[..keyword.len() + 2 + name.len()])
}

/// The fixtures of the table, by name: each line `CONSTANT = "name" => …`.
fn constants(table: &str) -> impl Iterator<Item = (&str, &str)> {
    table.lines().filter_map(|line| {
        let (constant, rest) = line.trim().split_once(" = \"")?;
        let (name, _) = rest.split_once("\" =>")?;
        constant
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
            .then_some((name, constant))
    })
}

fn constant_name(fixture: &str) -> String {
    fixture.to_uppercase().replace('-', "_")
}

/// The code in which a fixture may be used: of all crates but wasm-fixtures, the
/// files that name that crate.
struct Uses {
    files: Vec<String>,
}

impl Uses {
    fn collect(root: &Path) -> Result<Uses> {
        let mut files = Vec::new();
        for krate in entries(&root.join("crates"))? {
            if krate.ends_with("wasm-fixtures") {
                continue;
            }
            for folder in ["tests", "benches", "src"] {
                collect_rust(&krate.join(folder), &mut files)?;
            }
        }
        files.retain(|text| text.contains("wasm_fixtures"));
        Ok(Uses { files })
    }

    fn mention(&self, constant: &str) -> bool {
        self.files.iter().any(|text| {
            text.lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .any(|line| {
                    line.split(|c: char| !c.is_alphanumeric() && c != '_')
                        .any(|word| word == constant)
                })
        })
    }
}

fn collect_rust(folder: &Path, files: &mut Vec<String>) -> Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for path in entries(folder)? {
        if path.is_dir() {
            collect_rust(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(read(&path)?);
        }
    }
    Ok(())
}

/// Names without extension of the files in `folder` that have this extension,
/// sorted; none when there is no such folder.
fn names_in(folder: &Path, extension: &str) -> Result<Vec<String>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    Ok(entries(folder)?
        .iter()
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let context = || format!("cannot list {}", folder.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).with_context(context)? {
        paths.push(entry.with_context(context)?.path());
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const WIT: &str = "package a:b; world one { export f: func() -> u32; }";
    const TIMERS_WIT: &str = "package a:b@1.1.0;";
    const HELLO: &str = "\
;; world: one
;; include: shared.wat
;; Says 1.
(func $f (result i32)
  (i32.const 1))
";
    const SHARED: &str = "\
;; Shared.
(export \"f\" (func $f))

(func $f (result i32)
  (call $zero))

(func $zero (result i32)
  (i32.const 0))
";

    /// A workspace in which all is well, until a test changes it.
    struct Workspace(TempDir);

    impl Workspace {
        fn new() -> Workspace {
            let workspace = Workspace(TempDir::new().unwrap());
            workspace.put("crates/wasm-core/wit/core.wit", WIT);
            workspace.put("crates/wasm-fixtures/wit/core.wit", WIT);
            for folder in ["crates/wasm-core/wit", "crates/wasm-fixtures/wit"] {
                workspace.put(&format!("{folder}/timers.wit"), TIMERS_WIT);
            }
            workspace.put("crates/wasm-fixtures/wit/worlds.wit", "package c:d;");
            workspace.put("crates/wasm-fixtures/include/shared.wat", SHARED);
            workspace.put("crates/wasm-fixtures/wat/hello.wat", HELLO);
            workspace.put(
                "crates/wasm-fixtures/src/lib.rs",
                "    HELLO = \"hello\" => Exports(&[]);\n",
            );
            workspace.put(
                "crates/wasm-runtime/tests/load.rs",
                "use wasm_fixtures::HELLO;\n",
            );
            write(workspace.0.path()).unwrap();
            workspace
        }

        fn path(&self, file: &str) -> PathBuf {
            self.0.path().join(file)
        }

        fn put(&self, file: &str, text: &str) {
            write_file(&self.path(file), text.as_bytes()).unwrap();
        }

        fn remove(&self, file: &str) {
            fs::remove_file(self.path(file)).unwrap();
        }

        fn problems(&self) -> Vec<Problem> {
            problems(self.0.path()).unwrap().1
        }

        /// The problems before and after `cargo xtask fixtures`.
        fn mended(&self) -> (Vec<Problem>, Vec<Problem>) {
            let before = self.problems();
            write(self.0.path()).unwrap();
            (before, self.problems())
        }

        fn error(&self) -> String {
            format!("{:#}", check(self.0.path()).unwrap_err())
        }
    }

    #[test]
    fn nothing_is_wrong_with_what_was_just_written() {
        let workspace = Workspace::new();
        assert_eq!(workspace.problems(), []);
        assert_eq!(
            check(workspace.0.path()).unwrap(),
            "1 fixtures are as they should be"
        );
    }

    #[test]
    fn an_edited_source_is_stale_until_compiled() {
        let workspace = Workspace::new();
        workspace.put(
            "crates/wasm-fixtures/wat/hello.wat",
            &HELLO.replace("const 1", "const 2"),
        );
        assert!(workspace.error().contains(MEND), "{}", workspace.error());
        assert_eq!(
            workspace.mended(),
            (vec![Problem::Stale("hello".into())], vec![])
        );
    }

    #[test]
    fn an_edited_include_makes_its_users_stale() {
        let workspace = Workspace::new();
        workspace.put(
            "crates/wasm-fixtures/include/shared.wat",
            &SHARED.replace("(export", "(global i32 (i32.const 0))\n(export"),
        );
        assert_eq!(workspace.problems(), [Problem::Stale("hello".into())]);
    }

    #[test]
    fn an_edit_that_leaves_the_binary_as_it_is_counts_too() {
        let workspace = Workspace::new();
        for (file, text) in [("wat/hello.wat", HELLO), ("include/shared.wat", SHARED)] {
            let path = format!("crates/wasm-fixtures/{file}");
            workspace.put(&path, &format!("{text}\n;; More.\n"));
            assert!(workspace.error().contains(MEND), "{}", workspace.error());
            assert_eq!(
                workspace.mended(),
                (vec![Problem::Edited(file.into())], vec![])
            );
        }
    }

    #[test]
    fn a_source_that_went_away_is_forgotten() {
        let workspace = Workspace::new();
        workspace.put("crates/wasm-fixtures/wat/old.wat", "(module)");
        write(workspace.0.path()).unwrap();
        workspace.remove("crates/wasm-fixtures/wat/old.wat");
        workspace.remove("crates/wasm-fixtures/wasm/old.wasm");
        assert_eq!(
            workspace.mended(),
            (vec![Problem::Edited("wat/old.wat".into())], vec![])
        );
    }

    #[test]
    fn a_missing_binary_is_written() {
        let workspace = Workspace::new();
        workspace.remove("crates/wasm-fixtures/wasm/hello.wasm");
        assert_eq!(
            workspace.mended(),
            (vec![Problem::NotCompiled("hello".into())], vec![])
        );
    }

    #[test]
    fn a_binary_without_source_is_removed() {
        let workspace = Workspace::new();
        workspace.put("crates/wasm-fixtures/wasm/old.wasm", "");
        assert_eq!(
            workspace.mended(),
            (vec![Problem::WasmWithoutWat("old".into())], vec![])
        );
    }

    #[test]
    fn a_changed_contract_is_copied() {
        let workspace = Workspace::new();
        workspace.put("crates/wasm-core/wit/core.wit", &format!("// New.\n{WIT}"));
        assert_eq!(
            workspace.mended(),
            (vec![Problem::ContractDiffers("core.wit")], vec![])
        );
    }

    #[test]
    fn a_source_needs_a_constant_and_a_constant_a_source() {
        let workspace = Workspace::new();
        workspace.put(
            "crates/wasm-fixtures/src/lib.rs",
            "    GOOD_BYE = \"good-bye\" => Exports(&[]);\n",
        );
        assert_eq!(
            workspace.problems(),
            [
                Problem::WatWithoutConstant("hello".into()),
                Problem::ConstantWithoutWat("good-bye".into()),
            ]
        );
    }

    #[test]
    fn a_constant_is_named_after_its_file() {
        let workspace = Workspace::new();
        workspace.put(
            "crates/wasm-fixtures/src/lib.rs",
            "    HALLO = \"hello\" => Exports(&[]);\n",
        );
        let misnamed = Problem::Misnamed {
            constant: "HALLO".into(),
            name: "hello".into(),
        };
        assert!(misnamed.to_string().ends_with("rename it HELLO"));
        assert_eq!(workspace.problems(), [misnamed]);
    }

    #[test]
    fn a_fixture_is_used_by_code_that_names_the_constant_and_the_crate() {
        let unused = [Problem::Unused("hello".into())];
        let workspace = Workspace::new();
        for text in [
            "use wasm_fixtures::HELLO_WORLD;",
            "// wasm_fixtures::HELLO",
            "const HELLO: &str = \"hello\";",
        ] {
            workspace.put("crates/wasm-runtime/tests/load.rs", text);
            assert_eq!(workspace.problems(), unused, "{text}");
        }
        workspace.put(
            "crates/wasm-testkit/src/suite/load.rs",
            "fn hello() { load(&wasm_fixtures::HELLO) }",
        );
        assert_eq!(workspace.problems(), []);
    }

    #[test]
    fn a_shared_file_needs_a_fixture_that_mentions_it() {
        let workspace = Workspace::new();
        workspace.put("crates/wasm-fixtures/include/other.wat", "");
        workspace.put("crates/wasm-fixtures/wit/other.wit", "");
        assert_eq!(
            workspace.problems(),
            [
                Problem::NeverIncluded("include/other.wat".into()),
                Problem::NeverIncluded("wit/other.wit".into()),
            ]
        );
    }

    #[test]
    fn an_error_tells_file_and_line() {
        let workspace = Workspace::new();
        workspace.put(
            "crates/wasm-fixtures/wat/hello.wat",
            &HELLO.replace("i32.const 1", "i32.konst 1"),
        );
        let error = workspace.error();
        assert!(error.contains("wat/hello.wat:5:4"), "{error}");

        workspace.put("crates/wasm-fixtures/wat/hello.wat", HELLO);
        workspace.put(
            "crates/wasm-fixtures/include/shared.wat",
            &SHARED.replace("i32.const 0", "i32.konst 0"),
        );
        let error = workspace.error();
        assert!(error.contains("include/shared.wat:8:4"), "{error}");
    }

    #[test]
    fn a_recipe_that_makes_no_sense_is_an_error() {
        let workspace = Workspace::new();
        for (text, complaint) in [
            (";; world: none\n(func $f)\n", "no world none"),
            (";; wrold: one\n(func $f)\n", "no line `;; world: …`"),
            (";; include: shared.wat\n", "need a `world`"),
            (";; first half of: hello\n", "hello is itself a half"),
            (";; first half of: absent\n", "cannot read"),
            (";; world: one\n(func $f (export \"f\"))\n", "type mismatch"),
        ] {
            workspace.put("crates/wasm-fixtures/wat/hello.wat", text);
            let error = workspace.error();
            assert!(error.contains(complaint), "{text}{error}");
            assert!(error.contains("wat/hello.wat"), "{text}{error}");
        }
    }

    #[test]
    fn half_a_fixture_is_half_its_bytes() {
        let workspace = Workspace::new();
        workspace.put(
            "crates/wasm-fixtures/wat/cut.wat",
            ";; first half of: hello\n",
        );
        write(workspace.0.path()).unwrap();
        let whole = fs::read(workspace.path("crates/wasm-fixtures/wasm/hello.wasm")).unwrap();
        let half = fs::read(workspace.path("crates/wasm-fixtures/wasm/cut.wasm")).unwrap();
        assert_eq!(half, whole[..whole.len() / 2]);
    }

    #[test]
    fn a_fixture_gets_the_defaults_that_it_lacks_and_reaches() {
        let export = "(export \"f\" (func $f))\n\n";
        assert_eq!(with_defaults(HELLO, SHARED), format!("{HELLO}{export}"));

        let default = "(func $f (result i32)\n  (call $zero))\n\n";
        let zero = "(func $zero (result i32)\n  (i32.const 0))\n";
        assert_eq!(
            with_defaults(";; Nothing.\n", SHARED),
            format!(";; Nothing.\n{export}{default}{zero}")
        );

        let own = "(func $zero (result i32)\n  (i32.const 7))\n";
        assert_eq!(
            with_defaults(own, SHARED),
            format!("{own}{export}{default}")
        );
    }
}
