mod host;

use std::collections::{BTreeMap, HashSet};
use std::fmt::{self, Display, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use bytes::Bytes;
use clap::Args;

use wasm_core::manifest::ComponentManifest;
use wasm_core::text::{Escaped, PathText as _};
use wasm_core::units::format_bytes;
use wasm_core::{
    ComponentConfig, Defect, HostServices, KeptMemory, LogLevel, Permissions, ResourceLimits,
    Unmet, UnmetImport, WasmError,
};
use wasm_runtime::{ComponentNeeds, ImportAudit, WasmtimeEngine};

use crate::command::inspect::host::{Access, access, path_of};
use crate::input::anatomy::{Anatomy, Item, Names};
use crate::input::compiler::CompilerFlags;
use crate::input::source::manifest::wasm_of_manifest;
use crate::input::source::{Place, id_of_file, invalid, read};
use crate::input::wit::{Content, MAX_DESCRIPTION_BYTES};
use crate::output;
use crate::output::outcome::{Stop, block_on};
use crate::output::report::{Report, size};
use crate::session::call::exports::SHOWN_TYPE_CHARS;

const EXAMPLES: &str = "\
Examples:
  airssys-wasm inspect echo.wasm
  airssys-wasm inspect examples/echo --types
  airssys-wasm inspect echo.wasm --manifest > Component.toml

It is compiled, and none of it is run. Of one that the compiler refuses only the
names of what it imports and exports are shown. One that the engine refuses for
another reason than its imports is shown without a manifest, and ends with exit
code 2.";

const TITLE: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::BrightRed.on_default().bold();
const DIM: Style = Style::new().dimmed();

const NOT_KNOWN: &str = "not known whether it is provided";

/// Names that are longer do not push the column beside them away.
const MAX_COLUMN: usize = 60;

/// Comments of a manifest on what is not provided.
const SHOWN_UNMET: usize = 20;

/// Fuel and time of a manifest to begin with: enough for a small task, not for a
/// loop without end.
const FUEL: u64 = 10_000_000;
const TIMEOUT: Duration = Duration::from_millis(250);
const STORAGE_BYTES: u64 = 1 << 20;
/// Memory limits are suggested in steps of this.
const MEMORY_STEP_BYTES: u64 = 512 << 10;

/// Show what a component imports, exports and needs, and a manifest that would run it
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Inspect {
    /// Component, or a folder or manifest that names one
    #[arg(value_name = "FILE")]
    path: PathBuf,

    /// Print only a Component.toml, to be saved beside the component
    #[arg(long, conflicts_with = "types")]
    manifest: bool,

    /// Show also the types that the functions use, in WIT
    #[arg(long)]
    types: bool,

    #[command(flatten)]
    compiler: CompilerFlags,
}

impl Inspect {
    pub(crate) fn execute(self) -> Result<ExitCode, Stop> {
        block_on(self.run())
    }

    async fn run(self) -> Result<ExitCode, Stop> {
        let (file, has_manifest) = match Place::of(&self.path)? {
            Place::Bare(file) => (file, false),
            Place::Manifest(manifest) => (wasm_of_manifest(manifest).await?, true),
        };
        let bytes = read(&file).await?;
        Defect::check_header(&bytes)
            .map_err(|defect| invalid(&id_of_file(&file), &file, defect))?;
        let config = self
            .compiler
            .engine_config(ResourceLimits::DEFAULT_MEMORY_CEILING_BYTES, 1)?;
        let engine = WasmtimeEngine::new(config, HostServices::default())
            .map_err(|error| Report::error(error.to_string()))?;
        let prepared = prepare(&engine, &file, &bytes).await?;
        let anatomy = prepared.anatomy(&file, &bytes)?;
        let audit = engine
            .audit_imports(&id_of_file(&file), bytes.clone(), &Permissions::default())
            .await;
        let host = Answers {
            takes_messages: Names::of(&bytes).is_ok_and(|names| names.takes_messages(&engine)),
            audit,
        };
        let mut unsuggested = prepared.refused(&file);
        if let (Err(error), None) = (&host.audit, &unsuggested) {
            Report::warning(format!("what it imports could not be looked up: {error}"))
                .at(file.escaped())
                .print();
        }
        if self.manifest {
            if let Some(report) = unsuggested {
                return Err(report.into());
            }
            let text = own_manifest(&file, &anatomy, &host).await?;
            output::print_styled(text).await?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut text = Description {
            file: &file,
            bytes: bytes.len() as u64,
            anatomy: &anatomy,
            host: &host,
            kept: prepared.kept(),
            types: self.types,
        }
        .to_string();
        if !has_manifest && unsuggested.is_none() {
            match suggested_manifest(&file, &anatomy, &host) {
                Ok(manifest) => text += &titled(&manifest),
                Err(report) => unsuggested = Some(report),
            }
        }
        output::print_styled(text).await?;
        match unsuggested {
            Some(report) => Err(report.into()),
            None => Ok(ExitCode::SUCCESS),
        }
    }
}

/// A manifest, on its own, with a warning where it is not enough.
async fn own_manifest(file: &Path, anatomy: &Anatomy, host: &Answers) -> Result<String, Report> {
    if host.unmet().next().is_some() {
        Report::warning("this host does not provide everything that it imports")
            .at(file.escaped())
            .tell()
            .await;
    }
    suggested_manifest(file, anatomy, host)
}

/// What the engine would keep of a component, or why it would not load it.
struct Prepared(Result<KeptMemory, WasmError>);

async fn prepare(engine: &WasmtimeEngine, file: &Path, bytes: &Bytes) -> Result<Prepared, Report> {
    let ceiling = ResourceLimits::DEFAULT_MEMORY_CEILING_BYTES;
    let limits = ResourceLimits::new(ceiling, TIMEOUT, Some(FUEL));
    let limits = limits.map_err(|error| Report::error(error.to_string()))?;
    let config = ComponentConfig::new(limits);
    let id = id_of_file(file);
    let prepared = engine.prepare_component(&id, bytes.clone(), &config);
    Ok(Prepared(prepared.await.map(|prepared| prepared.kept())))
}

impl Prepared {
    fn kept(&self) -> Option<KeptMemory> {
        self.0.as_ref().ok().copied()
    }

    /// Whether the compiler took it, whatever came of it then.
    fn is_compiled(&self) -> bool {
        match &self.0 {
            Ok(_) | Err(WasmError::ResourceLimitExceeded { .. }) => true,
            // Below it is what the compiler said, where that is what it was refused for.
            Err(WasmError::ImportNotFound { source, .. }) => {
                let source = source.as_deref();
                source.is_none_or(|source| source.downcast_ref::<WasmError>().is_none())
            }
            Err(WasmError::InvalidComponent { defect, .. }) => matches!(
                defect,
                Defect::OtherLifecycle { .. }
                    | Defect::IncompleteLifecycle { .. }
                    | Defect::WrongExportType { .. }
            ),
            Err(_) => false,
        }
    }

    fn anatomy(&self, file: &Path, bytes: &[u8]) -> Result<Anatomy, Report> {
        let anatomy = match self.is_compiled() {
            true => Anatomy::of_compiled(bytes),
            false => Anatomy::of_any(bytes),
        };
        anatomy.map_err(|defect| {
            let refused = self.refused(file);
            refused.unwrap_or_else(|| invalid(&id_of_file(file), file, defect))
        })
    }

    /// Why no host like this one loads it, imports aside, which another may provide.
    fn refused(&self, file: &Path) -> Option<Report> {
        match &self.0 {
            Ok(_) | Err(WasmError::ImportNotFound { .. }) => None,
            Err(error) => Some(Report::error(error.to_string()).at(file.escaped())),
        }
    }
}

/// Below what there is to say of the component.
fn titled(manifest: &str) -> String {
    let mut text = format!("\n{TITLE}a Component.toml to begin with{TITLE:#}\n");
    for line in manifest.lines() {
        text += format!("  {line}").trim_end();
        text.push('\n');
    }
    text
}

/// What the engine says of a component.
struct Answers {
    takes_messages: bool,
    audit: Result<ImportAudit, WasmError>,
}

/// What becomes of an import.
enum Standing<'a> {
    Provided,
    InPart(Part<'a>),
    Unmet(&'a UnmetImport),
    Unknown,
}

/// What is not provided of an interface, or may not be.
#[derive(Default)]
struct Part<'a> {
    unmet: Vec<(&'a str, &'a Unmet)>,
    unexamined: HashSet<&'a str>,
}

impl Answers {
    fn is_partial(&self) -> bool {
        let audit = self.audit.as_ref();
        audit.is_ok_and(|audit| audit.examined.is_some())
    }

    fn unmet(&self) -> impl Iterator<Item = &UnmetImport> {
        self.audit.iter().flat_map(|audit| &audit.unmet)
    }

    /// Of the import at this place of the component.
    fn standing(&self, place: usize, import: &Item) -> Standing<'_> {
        let Ok(audit) = &self.audit else {
            return Standing::Unknown;
        };
        if let Some(whole) = self.unmet().find(|unmet| unmet.name == import.name) {
            return Standing::Unmet(whole);
        }
        let unmet: Vec<_> = self
            .unmet()
            .filter_map(|unmet| {
                let rest = unmet.name.strip_prefix(&import.name)?;
                Some((rest.strip_prefix('#')?, &unmet.reason))
            })
            .collect();
        if !unmet.is_empty() {
            let unexamined = match audit.examined {
                Some(examined) if place == examined => audit.unexamined.as_slice(),
                _ => &[],
            };
            return Standing::InPart(Part {
                unmet,
                unexamined: unexamined.iter().map(String::as_str).collect(),
            });
        }
        match audit.examined {
            Some(examined) if place >= examined => Standing::Unknown,
            _ => Standing::Provided,
        }
    }
}

impl Anatomy {
    fn imports_function(&self, interface: &str, function: &str) -> bool {
        self.imports
            .iter()
            .filter(|import| import.name == interface)
            .any(|import| match &import.content {
                Content::Interface { functions, .. } => {
                    functions.iter().any(|(name, _)| name == function)
                }
                _ => false,
            })
    }
}

/// What is printed of a component.
struct Description<'a> {
    file: &'a Path,
    bytes: u64,
    anatomy: &'a Anatomy,
    host: &'a Answers,
    kept: Option<KeptMemory>,
    types: bool,
}

impl Display for Description<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut listing = Listing::default();
        let is_whole = self.list(&mut listing).is_ok() && !self.anatomy.is_cut;
        f.write_str(&listing.0)?;
        if !is_whole {
            let most = size(MAX_DESCRIPTION_BYTES as u64);
            writeln!(
                f,
                "  … and more, which is not shown: {most} of text is the most that is"
            )?;
        }
        write_needs(f, &self.anatomy.needs, self.kept)
    }
}

impl Description<'_> {
    fn list(&self, f: &mut Listing) -> fmt::Result {
        let Self {
            file,
            bytes,
            anatomy,
            host,
            types,
            ..
        } = self;
        let file = file.escaped().to_string();
        let messages = if host.takes_messages {
            "takes messages"
        } else {
            "takes no messages"
        };
        writeln!(
            f,
            "{TITLE}{}{TITLE:#}: a component of {}, {messages}",
            Escaped::new(&file),
            size(*bytes)
        )?;

        writeln!(f, "\n{TITLE}imports{TITLE:#}")?;
        let width = anatomy.imports.iter().map(|import| import.name.len()).max();
        let width = width.unwrap_or_default().min(MAX_COLUMN);
        for (place, import) in anatomy.imports.iter().enumerate() {
            write_import(f, import, &host.standing(place, import), width, *types)?;
        }
        if anatomy.imports.is_empty() {
            writeln!(f, "  nothing")?;
        }

        writeln!(f, "\n{TITLE}exports{TITLE:#}")?;
        for export in &anatomy.exports {
            write_export(f, export, *types)?;
        }
        if anatomy.exports.is_empty() {
            writeln!(f, "  nothing")?;
        }
        Ok(())
    }
}

/// Lines, as many as there is room for: names and types may be used again and again.
#[derive(Default)]
struct Listing(String);

impl fmt::Write for Listing {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if self.0.len() + part.len() > MAX_DESCRIPTION_BYTES {
            self.0.truncate(self.0.rfind('\n').map_or(0, |end| end + 1));
            return Err(fmt::Error);
        }
        self.0.push_str(part);
        Ok(())
    }
}

fn write_needs(
    f: &mut fmt::Formatter<'_>,
    needs: &ComponentNeeds,
    kept: Option<KeptMemory>,
) -> fmt::Result {
    writeln!(f, "\n{TITLE}needs at the least{TITLE:#}")?;
    writeln!(
        f,
        "  memory     {} (memories {}, tables {})",
        size(needs.bytes()),
        size(needs.memory_bytes),
        size(needs.table_bytes)
    )?;
    writeln!(
        f,
        "  instances  {}, of {}",
        count(needs.core_instances, "core instance"),
        count(needs.core_modules, "core module")
    )?;
    if needs.and_more {
        writeln!(f, "  and what is instantiated from its imports")?;
    }
    if let Some(kept) = kept {
        writeln!(
            f,
            "  host       {} outside of its memory: code, types and names",
            size(kept.bytes)
        )?;
    }
    Ok(())
}

fn count(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn write_import(
    f: &mut Listing,
    import: &Item,
    standing: &Standing<'_>,
    width: usize,
    types: bool,
) -> fmt::Result {
    write!(f, "  {:width$}  ", Escaped::new(&import.name).to_string())?;
    match standing {
        Standing::Provided => match access(&import.name) {
            Access::Free => writeln!(f, "{GOOD}provided{GOOD:#}")?,
            Access::Granted(keys) => {
                writeln!(f, "{GOOD}provided{GOOD:#}, permission: {keys}")?;
            }
        },
        Standing::InPart(_) => writeln!(f, "{BAD}provided in part{BAD:#}")?,
        Standing::Unmet(unmet) => write_unmet(f, &unmet.reason)?,
        Standing::Unknown => writeln!(f, "{NOT_KNOWN}")?,
    }
    let whole = Part::default();
    let part = match standing {
        Standing::InPart(part) => part,
        _ => &whole,
    };
    match &import.content {
        Content::Interface { .. } => {
            // What WASI's interfaces have is known, and much.
            let shown = types || !import.name.starts_with("wasi:");
            write_members(f, &import.content, types, shown, part)
        }
        Content::Function(text) | Content::Type(text) => {
            writeln!(f, "    {DIM}{}{DIM:#}", shown(text))
        }
        Content::Other(kind) => writeln!(f, "    {DIM}{kind}{DIM:#}"),
        Content::Untold => Ok(()),
    }
}

fn write_unmet(f: &mut Listing, reason: &Unmet) -> fmt::Result {
    match reason {
        Unmet::OtherType {
            provided: Some(provided),
            ..
        } => {
            let provided = shown(provided);
            writeln!(
                f,
                "{BAD}another type:{BAD:#} this host has {DIM}{provided}{DIM:#}"
            )
        }
        Unmet::OtherType { .. } => writeln!(f, "{BAD}another type than this host has{BAD:#}"),
        _ => writeln!(f, "{BAD}not provided by this host{BAD:#}"),
    }
}

fn write_export(f: &mut Listing, export: &Item, types: bool) -> fmt::Result {
    let name = Escaped::new(&export.name);
    match &export.content {
        Content::Interface { .. } => {
            writeln!(f, "  {name}")?;
            write_members(f, &export.content, types, true, &Part::default())
        }
        Content::Function(text) | Content::Type(text) => {
            writeln!(f, "  {name}: {DIM}{}{DIM:#}", shown(text))
        }
        Content::Other(kind) => writeln!(f, "  {name}: {DIM}{kind}{DIM:#}"),
        Content::Untold => writeln!(f, "  {name}"),
    }
}

/// The members of an interface, or only those that are not provided for certain.
fn write_members(
    f: &mut Listing,
    interface: &Content,
    with_types: bool,
    all: bool,
    part: &Part<'_>,
) -> fmt::Result {
    let Content::Interface { types, functions } = interface else {
        return Ok(());
    };
    let reason = |member: &str| {
        let found = part.unmet.iter().find(|(unmet, _)| *unmet == member);
        found.map(|(_, reason)| *reason)
    };
    let is_unknown = |member: &str| part.unexamined.contains(member);
    // A type that is only used here is defined elsewhere under the same name.
    let types = types.iter().filter(|(name, definition)| {
        with_types && name != definition || reason(name).is_some() || is_unknown(name)
    });
    for (name, text) in types.chain(functions) {
        let reason = reason(name);
        let is_unknown = is_unknown(name);
        if !all && reason.is_none() && !is_unknown {
            continue;
        }
        write!(f, "    {}: {DIM}{}{DIM:#}", Escaped::new(name), shown(text))?;
        match reason {
            None if is_unknown => writeln!(f, "  {NOT_KNOWN}")?,
            None => writeln!(f)?,
            Some(reason) => {
                f.write_str("  ")?;
                write_unmet(f, reason)?;
            }
        }
    }
    let is_shown = |member: &str| {
        let mut shown = interface.members();
        shown.any(|name| name == member)
    };
    // Such as a core module within an interface.
    for (member, reason) in part.unmet.iter().filter(|(member, _)| !is_shown(member)) {
        write!(f, "    {}  ", Escaped::new(member))?;
        write_unmet(f, reason)?;
    }
    Ok(())
}

/// A type or a name, unless it is endless.
fn shown(text: &str) -> Escaped<'_> {
    Escaped::up_to(SHOWN_TYPE_CHARS, text)
}

/// A manifest with which the component loads. What it cannot do without is granted;
/// what reaches out of it is left to whoever runs it.
fn suggested_manifest(file: &Path, anatomy: &Anatomy, host: &Answers) -> Result<String, Report> {
    let needs = anatomy.needs.bytes();
    let too_large = || {
        Report::error(format!(
            "no memory limit would do: it starts with {}, and {} is the most there can be",
            format_bytes(needs),
            format_bytes(ResourceLimits::MAX_MEMORY_BYTES)
        ))
        .at(file.escaped())
    };
    let memory = suggested_memory(needs).ok_or_else(too_large)?;
    let limits = ResourceLimits::new(memory, TIMEOUT, Some(FUEL)).map_err(|_| too_large())?;
    let wasm = file.file_name().unwrap_or_default();
    if wasm.to_str().is_none() {
        let what = "a manifest is UTF-8 text, and cannot name a file whose name is not";
        return Err(Report::error(what)
            .at(file.escaped())
            .with_help("rename it"));
    }
    let mut manifest = ComponentManifest::new(id_of_file(file), wasm, limits);
    let open = grant_needed(&mut manifest, anatomy, host);
    let mut text = unmet_comments(host);
    if memory > ResourceLimits::DEFAULT_MEMORY_CEILING_BYTES {
        let memory = format_bytes(memory);
        let _ = writeln!(text, "# Runs only with --memory-ceiling {memory} or more.");
    }
    let _ = write!(text, "{manifest}");
    text += &open_comments(open);
    Ok(text)
}

/// Grants what the component cannot do without; what it imports besides, by the keys that grant
/// it.
fn grant_needed<'a>(
    manifest: &mut ComponentManifest,
    anatomy: &'a Anatomy,
    host: &Answers,
) -> BTreeMap<&'static str, Vec<&'a str>> {
    let mut open: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (place, import) in anatomy.imports.iter().enumerate() {
        if !matches!(host.standing(place, import), Standing::Provided) {
            continue;
        }
        match path_of(&import.name) {
            "airssys:core/storage" => manifest.permissions.storage = Some(STORAGE_BYTES),
            "airssys:core/host-services" => {
                if anatomy.imports_function(&import.name, "log") {
                    manifest.permissions.log = Some(LogLevel::Info);
                }
            }
            _ => {
                if let Access::Granted(keys) = access(&import.name) {
                    open.entry(keys).or_default().push(import.name.as_str());
                }
            }
        }
    }
    open
}

/// What this host does not provide.
fn unmet_comments(host: &Answers) -> String {
    let mut text = String::new();
    for unmet in host.unmet().take(SHOWN_UNMET) {
        let name = shown(&unmet.name);
        let _ = match unmet.reason {
            Unmet::OtherType { .. } => {
                writeln!(text, "# This host provides {name} with another type.")
            }
            _ => writeln!(text, "# This host does not provide {name}."),
        };
    }
    if let more @ 1.. = host.unmet().count().saturating_sub(SHOWN_UNMET) {
        let at_least = if host.is_partial() { "at least " } else { "" };
        let _ = writeln!(
            text,
            "# This host does not provide {at_least}{more} more of its imports."
        );
    } else if host.is_partial() {
        let _ = writeln!(text, "# There are others that were not looked up.");
    }
    text
}

fn open_comments(open: BTreeMap<&str, Vec<&str>>) -> String {
    let mut text = String::new();
    if !open.is_empty() {
        text += "\n# Imported, and denied unless [permissions] grants it:\n";
    }
    let width = open.keys().map(|keys| keys.len()).max().unwrap_or_default();
    for (keys, names) in open {
        let first = shown(names[0]);
        let _ = write!(text, "#   {keys:width$}  for {first}");
        let _ = match names.len() - 1 {
            0 => writeln!(text),
            more => writeln!(text, " and {more} more"),
        };
    }
    text
}

/// Half as much again as it starts with, so that it can also work; `None` if that
/// is more than any limit allows.
fn suggested_memory(needs: u64) -> Option<u64> {
    if needs > ResourceLimits::MAX_MEMORY_BYTES {
        return None;
    }
    let usual = ResourceLimits::DEFAULT_MEMORY_CEILING_BYTES;
    let ceiling = if needs <= usual {
        usual
    } else {
        ResourceLimits::MAX_MEMORY_BYTES
    };
    let wanted = (needs + needs / 2).next_multiple_of(MEMORY_STEP_BYTES);
    Some(wanted.clamp(ResourceLimits::MIN_MEMORY_BYTES, ceiling))
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;
    use wasm_runtime::EngineConfig;

    use super::*;

    #[test]
    fn memory_is_suggested_with_room_to_work() {
        for (needs, suggested) in [
            (0, Some(512 << 10)),
            (64 << 10, Some(512 << 10)),
            (1_114_112, Some(2 << 20)),
            (3 << 20, Some(4 << 20)),
            (4 << 20, Some(4 << 20)),
            ((4 << 20) + 1, Some((6 << 20) + (512 << 10))),
            (64 << 20, Some(96 << 20)),
            (4 << 30, Some(4 << 30)),
            ((4 << 30) + 1, None),
            (u64::MAX, None),
        ] {
            assert_eq!(suggested_memory(needs), suggested, "{needs}");
        }
    }

    #[tokio::test]
    async fn of_many_unmet_imports_some_are_named() {
        let imports: String = (0..30)
            .map(|number| format!("(import \"run{number}\" (func))"))
            .collect();
        let bytes = wat::parse_str(format!("(component {imports})")).unwrap();
        let engine = WasmtimeEngine::new(EngineConfig::default(), HostServices::default()).unwrap();
        let anatomy = Anatomy::of_compiled(&bytes).unwrap();
        let file = Path::new("it.wasm");
        let host = Answers {
            takes_messages: false,
            audit: engine
                .audit_imports(&id_of_file(file), bytes.into(), &Permissions::default())
                .await,
        };
        let text = suggested_manifest(file, &anatomy, &host).unwrap();
        assert!(text.contains("does not provide run19."), "{text}");
        assert!(!text.contains("does not provide run20."), "{text}");
        assert!(text.contains("10 more of its imports"), "{text}");
    }

    #[tokio::test]
    async fn what_was_not_looked_up_is_not_taken_for_provided() {
        let functions: String = (0..5000)
            .map(|number| format!("(export \"run{number}\" (func))"))
            .collect();
        let import = "airssys:core/storage@1.0.0";
        let text = format!(
            "(component (import \"{import}\" (instance {functions})) (import \"g\" (func)))"
        );
        let bytes = wat::parse_str(text).unwrap();
        let engine = WasmtimeEngine::new(EngineConfig::default(), HostServices::default()).unwrap();
        let anatomy = Anatomy::of_compiled(&bytes).unwrap();
        let file = Path::new("it.wasm");
        let size = bytes.len() as u64;
        let host = Answers {
            takes_messages: false,
            audit: engine
                .audit_imports(&id_of_file(file), bytes.into(), &Permissions::default())
                .await,
        };
        let unmet = host.unmet().count();
        let manifest = suggested_manifest(file, &anatomy, &host).unwrap();
        let more = format!("not provide at least {} more of its imports.", unmet - 20);
        assert!(manifest.contains(&more), "{manifest}");
        let description = Description {
            file,
            bytes: size,
            anatomy: &anatomy,
            host: &host,
            kept: None,
            types: false,
        };
        let shown = strip_str(&description.to_string()).to_string();
        let line = |start: &str| shown.lines().find(|line| line.trim().starts_with(start));
        for (member, end) in [
            (0, "not provided by this host"),
            (unmet - 1, "not provided by this host"),
            (unmet, NOT_KNOWN),
            (4999, NOT_KNOWN),
        ] {
            let line = line(&format!("run{member}:")).unwrap();
            assert!(line.ends_with(end), "{line}");
        }
        assert!(line("g ").unwrap().ends_with(NOT_KNOWN), "{shown}");
    }

    #[test]
    fn what_is_printed_is_cut_after_a_whole_line() {
        let name = "n".repeat(100);
        let item = || Item {
            name: name.clone(),
            content: Content::Untold,
        };
        let anatomy = Anatomy {
            needs: ComponentNeeds::default(),
            imports: (0..20_000).map(|_| item()).collect(),
            exports: Vec::new(),
            is_cut: false,
        };
        let host = Answers {
            takes_messages: false,
            audit: Ok(ImportAudit::default()),
        };
        let description = Description {
            file: Path::new("it.wasm"),
            bytes: 1,
            anatomy: &anatomy,
            host: &host,
            kept: None,
            types: false,
        };
        let shown = strip_str(&description.to_string()).to_string();
        assert!(
            (900_000..1_100_000).contains(&shown.len()),
            "{}",
            shown.len()
        );
        let after = shown.lines().filter(|line| !line.contains("nnn"));
        let after: Vec<&str> = after.skip(3).collect();
        assert!(
            after[0].starts_with("  … and more, which is not shown: 1"),
            "{after:?}"
        );
        assert!(after.contains(&"needs at the least"), "{after:?}");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_manifest_cannot_name_what_has_no_name_in_utf_8() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;

        let file = Path::new(OsStr::from_bytes(b"e\xff.wasm"));
        let anatomy = Anatomy::of_compiled(wasm_fixtures::ECHO.wasm).unwrap();
        let host = Answers {
            takes_messages: true,
            audit: Ok(ImportAudit::default()),
        };
        let report = suggested_manifest(file, &anatomy, &host).unwrap_err();
        let said = report.to_string();
        assert!(said.contains("a manifest is UTF-8 text"), "{said}");
    }

    #[tokio::test]
    async fn the_suggestion_is_a_manifest() {
        let engine = WasmtimeEngine::new(EngineConfig::default(), HostServices::default()).unwrap();
        for fixture in [
            wasm_fixtures::ECHO,
            wasm_fixtures::STORED_COUNTER,
            wasm_fixtures::LOGGER,
            wasm_fixtures::UNKNOWN_IMPORT,
            wasm_fixtures::BIG_INITIAL_MEMORY,
        ] {
            let anatomy = Anatomy::of_compiled(fixture.wasm).unwrap();
            let file = Path::new("folder").join(format!("{}.wasm", fixture.name));
            let bytes = Bytes::from_static(fixture.wasm);
            let host = Answers {
                takes_messages: false,
                audit: engine
                    .audit_imports(&id_of_file(&file), bytes, &Permissions::default())
                    .await,
            };
            let text = suggested_manifest(&file, &anatomy, &host).unwrap();
            let manifest = ComponentManifest::parse(
                &text,
                Path::new("Component.toml"),
                ResourceLimits::MAX_MEMORY_BYTES,
            )
            .unwrap();
            assert_eq!(manifest.wasm, Path::new(file.file_name().unwrap()));
            assert_eq!(
                manifest.permissions.storage.is_some(),
                fixture.name == "stored-counter"
            );
            assert_eq!(manifest.permissions.log.is_some(), fixture.name == "logger");
            assert_eq!(
                text.contains("does not provide acme:db/query@1.0.0"),
                fixture.name == "unknown-import"
            );
            assert_eq!(
                text.contains("--memory-ceiling 96MiB"),
                fixture.name == "big-initial-memory"
            );
        }
    }
}
