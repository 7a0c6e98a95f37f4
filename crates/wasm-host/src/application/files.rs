use std::cell::RefCell;
use std::fmt::{self, Display};
use std::io;
use std::path::{Path, PathBuf};

use wasm_core::manifest::{ComponentManifest, ConfigSource, ManifestSpans, Place, SecretSource};
use wasm_core::text::PathText as _;
use wasm_core::{ComponentId, DirAccess, Permissions, WasiGrant};

use super::path::{FileId, Trace};

/// The key of a manifest that names folders with sources.
pub(super) const SOURCES: &str = "build.sources";

/// Where tools of languages are installed, configured, or write and read besides sources.
const OF_TOOLS: [&str; 5] = [".cargo", ".venv", "node_modules", "target", "wit"];

/// Of a line of a manifest: for each file or folder that is named on it, this much is kept, and a
/// manifest may be a single line.
const MAX_LINE_BYTES: usize = 1024;

/// A place in a manifest, with its line.
///
/// Prints as `Component.toml:7:10`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ManifestLine {
    /// The manifest, as it was named.
    pub file: PathBuf,
    /// What stands there, with its section, as in `component.wasm`.
    pub key: String,
    /// Line and column.
    pub place: Place,
    /// The line without its end; of a long one, its first 1,024 bytes.
    pub text: String,
    /// How many characters of the line belong to it, at most to the end of the line.
    pub length: usize,
}

impl ManifestLine {
    /// Where a key of a manifest stands; `None` if the text does not have it.
    pub fn of(file: &Path, text: &str, spans: &ManifestSpans, key: &str) -> Option<Self> {
        let span = spans.span(key)?;
        let place = Place::of(text, span.start);
        let before = &text[..text.floor_char_boundary(span.start)];
        let marked = text.get(span).unwrap_or_default();
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let line = text[start..].lines().next().unwrap_or_default();
        let line = line.trim_start_matches('\u{feff}');
        Some(Self {
            file: file.to_owned(),
            key: key.to_owned(),
            place,
            text: line[..line.floor_char_boundary(MAX_LINE_BYTES)].to_owned(),
            length: marked.lines().next().unwrap_or_default().chars().count(),
        })
    }
}

impl Display for ManifestLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { line, column } = self.place;
        write!(f, "{}:{line}:{column}", self.file.escaped())
    }
}

/// A manifest that was read.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ManifestText<'a> {
    /// Where it lies, as it was named.
    pub file: &'a Path,
    /// Its text.
    pub text: &'a str,
    /// What it says.
    pub manifest: &'a ComponentManifest,
    /// Where it says so.
    pub spans: &'a ManifestSpans,
}

impl<'a> ManifestText<'a> {
    /// The text that lies at `file`, as [`ComponentManifest::parse_spanned`] read it.
    pub fn new(
        file: &'a Path,
        text: &'a str,
        manifest: &'a ComponentManifest,
        spans: &'a ManifestSpans,
    ) -> Self {
        Self {
            file,
            text,
            manifest,
            spans,
        }
    }

    /// The line of a key that every manifest has, or that is known to be there.
    pub(super) fn line(&self, key: &str) -> ManifestLine {
        ManifestLine::of(self.file, self.text, self.spans, key).unwrap_or_else(|| ManifestLine {
            file: self.file.to_owned(),
            key: key.to_owned(),
            place: Place { line: 1, column: 1 },
            text: String::new(),
            length: 0,
        })
    }
}

/// A file or folder that a manifest names, or the manifest itself.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) line: ManifestLine,
    /// As it is written, joined with the manifest's folder.
    pub(super) path: PathBuf,
    pub(super) trace: Trace,
}

/// A folder that is granted to a component.
#[derive(Debug, Clone)]
pub(super) struct GrantedDir {
    pub(super) named: Named,
    pub(super) access: DirAccess,
    pub(super) to: ComponentId,
    /// `None` where there is nothing yet.
    pub(super) id: Option<FileId>,
    /// Which of the manifest's grants of WASI it is.
    index: usize,
}

/// A variable whose value the manifest does not say.
#[derive(Debug, Clone)]
pub(super) struct SecretPlace {
    pub(super) name: String,
    pub(super) line: ManifestLine,
    pub(super) place: PlacedSecret,
}

/// Where the value is.
#[derive(Debug, Clone)]
pub(super) enum PlacedSecret {
    File(Named),
    /// In the variable of this name of the process's environment.
    Environment(String),
}

/// What a component is read from and what it is granted of the file system, resolved
/// and within its application.
#[derive(Debug, Clone)]
pub struct ComponentFiles {
    pub(super) id: ComponentId,
    pub(super) manifest: Named,
    pub(super) wasm: Named,
    pub(super) config: Option<Named>,
    pub(super) secrets: Vec<SecretPlace>,
    pub(super) dirs: Vec<GrantedDir>,
    /// Folders with what it is built from, as far as the manifest names them.
    pub(super) sources: Vec<Named>,
}

/// A path that cannot be followed.
pub(super) struct Untraceable {
    pub(super) path: PathBuf,
    pub(super) error: io::Error,
}

impl ComponentFiles {
    pub(super) fn of(read: ManifestText<'_>) -> Result<Self, Untraceable> {
        let passed = RefCell::default();
        let named = |key: &str, path: &Path| {
            let path = path.to_owned();
            match Trace::of(&path) {
                Ok(mut trace) => {
                    trace.share(&mut passed.borrow_mut());
                    let line = read.line(key);
                    Ok(Named { line, path, trace })
                }
                Err(error) => Err(Untraceable { path, error }),
            }
        };
        let folder = read.file.parent().unwrap_or(Path::new(""));
        let manifest = read.manifest;
        let mut dirs = Vec::new();
        for (index, grant) in manifest.permissions.wasi.iter().enumerate() {
            if let WasiGrant::Dir { host, access, .. } = grant {
                let named = named(&format!("permissions.wasi[{index}]"), host)?;
                let id = match named.trace.exists {
                    true => FileId::of(&named.trace.path).ok(),
                    false => None,
                };
                dirs.push(GrantedDir {
                    id,
                    named,
                    access: *access,
                    to: manifest.id.clone(),
                    index,
                });
            }
        }
        let secrets = manifest.secrets.iter();
        let secrets = secrets.map(|(name, source)| {
            let key = format!("env.{name}");
            let place = match source {
                SecretSource::File(file) => PlacedSecret::File(named(&key, &folder.join(file))?),
                SecretSource::Environment(variable) => PlacedSecret::Environment(variable.clone()),
                _ => return Ok(None),
            };
            let (name, line) = (name.clone(), read.line(&key));
            Ok(Some(SecretPlace { name, line, place }))
        });
        let secrets = secrets.filter_map(Result::transpose);
        let sources = manifest.build_sources.iter().enumerate();
        let sources = sources.map(|(index, source)| {
            let key = format!("{SOURCES}[{index}]");
            named(&key, &folder.join(source))
        });
        Ok(Self {
            id: manifest.id.clone(),
            manifest: named("component.id", read.file)?,
            wasm: named("component.wasm", &folder.join(&manifest.wasm))?,
            config: match &manifest.config {
                ConfigSource::File(file) => Some(named("config.file", &folder.join(file))?),
                _ => None,
            },
            secrets: secrets.collect::<Result<_, _>>()?,
            dirs,
            sources: sources.collect::<Result<_, _>>()?,
        })
    }

    /// The component's file, without links and `..`.
    pub fn wasm(&self) -> &Path {
        &self.wasm.trace.path
    }

    /// The file with its configuration data, without links and `..`.
    pub fn config(&self) -> Option<&Path> {
        self.config.as_ref().map(|named| named.trace.path.as_path())
    }

    /// The files with values of variables, without links and `..`.
    pub fn secrets(&self) -> impl Iterator<Item = &Path> {
        self.secret_files().map(|named| named.trace.path.as_path())
    }

    pub(super) fn secret_files(&self) -> impl Iterator<Item = &Named> {
        let secrets = self.secrets.iter();
        secrets.filter_map(|secret| match &secret.place {
            PlacedSecret::File(named) => Some(named),
            PlacedSecret::Environment(_) => None,
        })
    }

    /// Folders that are granted and are not there or no folders, each with the line that
    /// grants it, as it is written, joined with the manifest's folder. Blocks while it
    /// looks.
    pub fn missing_dirs(&self) -> impl Iterator<Item = (&ManifestLine, &Path)> {
        let missing = |dir: &&GrantedDir| !dir.named.trace.path.is_dir();
        let dirs = self.dirs.iter().filter(missing);
        dirs.map(|dir| (&dir.named.line, dir.named.path.as_path()))
    }

    /// The folders that are granted, without links and `..`, there or not.
    pub fn dirs(&self) -> impl Iterator<Item = (&Path, DirAccess)> {
        let dirs = self.dirs.iter();
        dirs.map(|dir| (dir.named.trace.path.as_path(), dir.access))
    }

    /// Puts the resolved folders into the manifest's permissions, so that what is granted
    /// is what was looked at, whatever becomes of links.
    pub fn resolve_dirs(&self, permissions: &mut Permissions) {
        for dir in self.dirs.iter().filter(|dir| dir.named.trace.exists) {
            if let Some(WasiGrant::Dir { host, .. }) = permissions.wasi.get_mut(dir.index) {
                host.clone_from(&dir.named.trace.path);
            }
        }
    }

    /// Everything that decides what the component is and may do.
    pub(super) fn inputs(&self) -> impl Iterator<Item = &Named> {
        let files = self.files().chain(&self.sources);
        files.chain(self.dirs.iter().map(|dir| &dir.named))
    }

    /// Folders that are sources through and through: those that are named, but for one in
    /// which the manifest lies, as data may lie beside that.
    pub(super) fn source_folders(&self) -> impl Iterator<Item = &Named> {
        let manifest = &self.manifest.trace.path;
        let sources = self.sources.iter();
        sources.filter(|named| !manifest.starts_with(&named.trace.path))
    }

    /// Folders that tools of languages look into by themselves, there or not: beside the
    /// sources and the manifest, and mostly above, too.
    pub(super) fn tool_folders(&self) -> Vec<Named> {
        let sources = self.sources.iter();
        let own = self.manifest.trace.folders.last().map(|(path, _)| &**path);
        let beside = sources
            .clone()
            .map(|named| named.trace.path.as_path())
            .chain(own);
        let above = sources.chain([&self.manifest]);
        let above = above.flat_map(|named| &named.trace.folders);
        let mut places: Vec<&Path> = above.map(|(path, _)| &**path).collect();
        places.extend(beside.clone());
        places.sort();
        places.dedup();
        let of_tools = places
            .into_iter()
            .flat_map(|place| OF_TOOLS.map(|name| place.join(name)));
        let of_tools = of_tools.chain(beside.map(|place| place.join("src")));
        of_tools
            .filter(|folder| !self.manifest.trace.path.starts_with(folder))
            .map(|folder| self.of_sources(folder))
            .collect()
    }

    /// A folder that no manifest names, as one of the sources.
    fn of_sources(&self, path: PathBuf) -> Named {
        let mut line = self.manifest.line.clone();
        line.key = SOURCES.to_owned();
        Named {
            line,
            trace: Trace {
                exists: path.exists(),
                path: path.clone(),
                folders: Vec::new(),
            },
            path,
        }
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &Named> {
        let secrets = self.secret_files();
        let files = [&self.manifest, &self.wasm].into_iter();
        files.chain(&self.config).chain(secrets)
    }

    pub(super) fn writable(&self) -> impl Iterator<Item = &GrantedDir> {
        self.dirs
            .iter()
            .filter(|dir| dir.access == DirAccess::Write)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_line_so_much_is_kept() {
        let sources = vec!["\"é\""; 500].join(", ");
        let text = format!(
            "[component]\nid = \"a/b/c\"\nwasm = \"é.wasm\" # {}\n[resources]\nmemory = \"1MiB\"\n\
             fuel = 1\ntimeout = \"1s\"\n[build]\nsources = [{sources}]\n",
            "é".repeat(1000)
        );
        let file = Path::new("Component.toml");
        let (_, spans) = ComponentManifest::parse_spanned(&text, file, 1 << 20).unwrap();
        let line = |key: &str| ManifestLine::of(file, &text, &spans, key).unwrap();
        let wasm = line("component.wasm");
        assert_eq!((wasm.place.line, wasm.text.len()), (3, 1023));
        assert!(text.lines().nth(2).unwrap().starts_with(&wasm.text));
        let last = line("build.sources[499]");
        assert_eq!((last.place.line, last.place.column), (9, 2507));
        assert_eq!((last.text.len(), last.length), (1024, 3));
    }
}
