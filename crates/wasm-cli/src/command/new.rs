//! Folders to begin with.

mod templates;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum, ValueHint};
use serde_json::Value;

use wasm_core::text::{PathText as _, Quoted};

use crate::input::files::Begun;
use crate::output;
use crate::output::outcome::{Stop, block_on};
use crate::output::report::Report;

use templates::{C, File, GO, JAVASCRIPT, PYTHON, RUST, RUST_APP};

const EXAMPLES: &str = "\
Examples:
  airssys-wasm new greeter
  airssys-wasm new greeter --lang python
  airssys-wasm new shop --app
  airssys-wasm new greeter --sdk ~/airssys-wasm/crates/wasm-guest";

/// The longest name: a segment of an id.
const MAX_NAME_BYTES: usize = 64;

/// Make a folder with a component that builds, is tested and runs
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct New {
    /// Folder to make; its name becomes that of the component
    #[arg(value_name = "NAME", value_hint = ValueHint::DirPath)]
    folder: PathBuf,

    /// Language to write it in
    #[arg(long, value_enum, default_value = "rust")]
    lang: Language,

    /// Make an application: two components in Rust that talk
    #[arg(long)]
    app: bool,

    /// In Rust, folder of the crate airssys-wasm-guest to depend on
    #[arg(long, value_name = "PATH", value_hint = ValueHint::DirPath)]
    sdk: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    Rust,
    C,
    Js,
    Python,
    Go,
}

impl Language {
    fn files(self) -> &'static [File] {
        match self {
            Self::Rust => RUST,
            Self::C => C,
            Self::Js => JAVASCRIPT,
            Self::Python => PYTHON,
            Self::Go => GO,
        }
    }

    /// What is typed in the folder of a component, one line each.
    fn next(self) -> &'static str {
        match self {
            Self::Rust => {
                "  cargo test\n  airssys-wasm build\n  airssys-wasm run . --message ann\n"
            }
            Self::C => "  airssys-wasm build\n  airssys-wasm run . --message ann\n",
            Self::Js => "  npm install\n  airssys-wasm build\n  airssys-wasm run . --message ann\n",
            Self::Python => {
                "  python3 -m venv .venv\n  .venv/bin/pip install -r requirements.txt\n  \
                 airssys-wasm build --memory-ceiling 16MiB\n  \
                 airssys-wasm run . --memory-ceiling 16MiB --message ann\n"
            }
            Self::Go => {
                "  airssys-wasm build --memory-ceiling 8MiB\n  \
                 airssys-wasm run . --memory-ceiling 8MiB --message ann\n"
            }
        }
    }
}

impl New {
    pub(crate) fn execute(self) -> Result<ExitCode, Stop> {
        block_on(self.run())
    }

    async fn run(self) -> Result<ExitCode, Stop> {
        let name = name(&self.folder)?;
        let sdk = self.sdk()?;
        let (files, next) = match (self.lang, self.app) {
            (Language::Rust, true) => (
                RUST_APP,
                "  cargo test\n  airssys-wasm build\n  airssys-wasm up .\n",
            ),
            (_, true) => return Err(rust_only("--app makes an application").into()),
            (lang, false) => (lang.files(), lang.next()),
        };
        let begun =
            Begun::folder(&self.folder).map_err(|error| unwritable(&self.folder, &error))?;
        for (path, text) in files {
            let path = self.folder.join(path);
            let text = text.replace("@NAME@", &name).replace("@SDK@", &sdk);
            write(&path, &text).map_err(|error| unwritable(&path, &error))?;
        }
        begun.finish();
        let folder = self.folder.escaped().to_string();
        let count = files.len();
        output::print(format!(
            "{folder}: {count} files; next:\n  cd {folder}\n{next}"
        ))
        .await?;
        if self.lang == Language::Rust && self.sdk.is_none() {
            Report::note("its Cargo.toml asks for airssys-wasm-guest, which is not published yet")
                .with_help("with --sdk crates/wasm-guest of the repository it asks for that folder")
                .tell()
                .await;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The dependency as `Cargo.toml` has it.
    fn sdk(&self) -> Result<String, Report> {
        let version = env!("CARGO_PKG_VERSION");
        let Some(path) = &self.sdk else {
            return Ok(format!("\"{version}\""));
        };
        if self.lang != Language::Rust {
            return Err(rust_only("--sdk names a crate"));
        }
        let whole = path.canonicalize().ok();
        let found = whole.filter(|path| path.join("Cargo.toml").is_file());
        let Some(found) = found.as_ref().and_then(|path| path.to_str()) else {
            return Err(Report::error(format!("{} is no crate", path.escaped()))
                .with_help("--sdk names the folder crates/wasm-guest of airssys-wasm"));
        };
        // What JSON escapes, TOML escapes the same way, and one character besides.
        let found = Value::from(found).to_string().replace('\u{7f}', "\\u007f");
        Ok(format!("{{ version = \"{version}\", path = {found} }}"))
    }
}

/// The name of the component and of its crate: the last part of the path.
fn name(folder: &Path) -> Result<String, Report> {
    let name = folder.file_name().unwrap_or(folder.as_os_str());
    let name = name.to_string_lossy().into_owned();
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    if begins && name.len() <= MAX_NAME_BYTES && name.bytes().all(allowed) {
        return Ok(name);
    }
    Err(Report::error(format!(
        "{} is no name of a component: it begins with one of a-z, and has up to \
         {MAX_NAME_BYTES} of a-z, 0-9 and -",
        Quoted::new(&name)
    ))
    .with_help("`airssys-wasm new greeter` makes a folder `greeter`"))
}

fn rust_only(told: &str) -> Report {
    Report::error(format!("{told}, which is in Rust"))
        .with_help("leave it out, or leave out --lang")
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, text)
}

fn unwritable(path: &Path, error: &std::io::Error) -> Report {
    let shown = path.escaped();
    match error.kind() {
        ErrorKind::AlreadyExists => Report::error(format!("{shown} exists already"))
            .with_help("name a folder that does not"),
        _ => Report::error(format!("{shown} cannot be written: {error}")),
    }
}
