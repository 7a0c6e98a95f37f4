//! A component with what it is to be loaded with: from a manifest, from flags, or deployed.

mod granted;
pub(crate) mod manifest;
pub(crate) mod problem;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::spawn_blocking;

use wasm_core::manifest::{ComponentManifest, ConfigSource, ManifestErrors};
use wasm_core::text::{Escaped, PathText as _};
use wasm_core::units::{format_bytes, format_count, format_duration};
use wasm_core::{
    ComponentConfig, ComponentId, Defect, HostServices, HttpRoute, InstancePolicy, LimitsError,
    MessagePayload, Resource, ResourceLimits, Secret, Supervision, WasiGrant, WasmError,
};
use wasm_host::{Component, ComponentFiles, HostError, Separation, read_secrets, timers_owner};
use wasm_nats::Part;
use wasm_runtime::{EngineConfig, WasmtimeEngine};

use self::granted::check_granted;
use self::manifest::ReadManifest;
use self::problem::{at_line, more, told};
use crate::input::anatomy::{Names, exports_handler};
use crate::input::files::{Unread, not_loaded, read_file, read_regular, unreadable};
use crate::input::flags::{Flags, Fuel};
use crate::input::sources::Sources;
use crate::output::report::{Problems, Report};

pub(crate) const MANIFEST_NAME: &str = "Component.toml";

/// Who the messages come from that `up` sends, as the components see it.
pub(crate) fn program_id() -> ComponentId {
    ComponentId::new("local", "airssys-wasm", "up").expect("these are segments")
}

/// One component has one instance, and another when it is restarted.
const INSTANCES: u32 = 4;

/// How many requests a component answers at a time where its manifest does not say, each in an
/// instance of its own: who never finishes a request costs the others nothing but time, and all
/// of the instances count towards the memory of the host.
const HANDLER_CONCURRENCY: u32 = 8;

/// Enough to see where a guest was, also in a recursion that never ends.
const SHOWN_FRAMES: usize = 16;

/// What a PATH on the command line leads to.
#[derive(Debug)]
pub(crate) enum Place {
    /// A `Component.toml`.
    Manifest(PathBuf),
    /// A component without one.
    Bare(PathBuf),
}

impl Place {
    /// A folder stands for the manifest in it; another file than one ending in
    /// `.toml` is taken for a component.
    pub(crate) fn of(path: &Path) -> Result<Self, Report> {
        let metadata = fs::metadata(path)
            // A link to nothing is told when it is read.
            .or_else(|error| fs::symlink_metadata(path).map_err(|_| error))
            .map_err(|error| unreadable(path, &error))?;
        // A folder of that name is none that holds a manifest.
        if !metadata.is_dir() || path.file_name().is_some_and(|name| name == MANIFEST_NAME) {
            let is_manifest = path
                .extension()
                .is_some_and(|extension| extension == "toml");
            return Ok(if is_manifest {
                Self::Manifest(path.to_owned())
            } else {
                Self::Bare(path.to_owned())
            });
        }
        let manifest = path.join(MANIFEST_NAME);
        // Whatever it is: reading it tells.
        match fs::symlink_metadata(&manifest) {
            Ok(_) => Ok(Self::Manifest(manifest)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(no_manifest(path)),
            Err(error) => Err(unreadable(&manifest, &error)),
        }
    }
}

fn no_manifest(folder: &Path) -> Report {
    let report = Report::error(format!("{} has no {MANIFEST_NAME}", folder.escaped()));
    match component_in(folder) {
        Some(component) => report.with_help(way_to_begin(&component)),
        None => report,
    }
}

/// The first component in a folder.
pub(crate) fn component_in(folder: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = files.map(|entry| entry.path());
    let is_component = |path: &PathBuf| path.extension().is_some_and(|it| it == "wasm");
    files.filter(is_component).min()
}

/// How a component without a manifest comes by one.
pub(crate) fn way_to_begin(component: &Path) -> String {
    let component = component.escaped();
    format!("`airssys-wasm inspect --manifest {component}` prints one to begin with")
}

/// A component with what it is to be loaded with.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) id: ComponentId,
    /// The component's file.
    pub(crate) file: PathBuf,
    pub(crate) bytes: Bytes,
    pub(crate) config: ComponentConfig,
    /// The requests that it answers.
    pub(crate) http: Option<HttpRoute>,
    supervision: Supervision,
    version: Option<String>,
    manifest: Option<ReadManifest>,
    flags: Flags,
}

impl Source {
    /// To be run: a bare component needs its limits.
    pub(crate) async fn read(place: Place, flags: &Flags) -> Result<Self, Problems> {
        match place {
            Place::Manifest(file) => Self::with_manifest(file, flags, Separation::new()).await,
            Place::Bare(file) => Ok(Self::bare(file, flags, None).await?),
        }
    }

    /// To be looked at only, beside components that may write what is in `separation`: where a
    /// bare component has no limits, the widest do.
    pub(crate) async fn read_unlimited(
        place: Place,
        flags: &Flags,
        separation: &Separation,
    ) -> Result<Self, Problems> {
        match place {
            Place::Manifest(file) => Self::with_manifest(file, flags, separation.clone()).await,
            Place::Bare(file) => {
                let widest = (
                    flags.memory_ceiling,
                    ResourceLimits::MAX_TIMEOUT,
                    Fuel(None),
                );
                Ok(Self::bare(file, flags, Some(widest)).await?)
            }
        }
    }

    /// Of a component that is an application of its own.
    async fn with_manifest(
        file: PathBuf,
        flags: &Flags,
        mut separation: Separation,
    ) -> Result<Self, Problems> {
        let manifest = ReadManifest::alone(file, flags).await?;
        separation.add(&manifest.files);
        let checked = separation.check(&manifest.files);
        checked.map_err(|problem| told(&problem))?;
        check_granted(flags, Some(&manifest), None)?;
        Self::of_manifest(manifest, flags).await
    }

    /// Reads the files that a manifest names.
    pub(crate) async fn of_manifest(
        manifest: ReadManifest,
        flags: &Flags,
    ) -> Result<Self, Problems> {
        let parsed = manifest.says.clone();
        if flags.id.is_none() && [program_id(), timers_owner()].contains(&parsed.id) {
            let report = Report::error(HostError::Reserved(parsed.id).to_string());
            return Err(manifest.at_key(report, "component.id").into());
        }
        let limits = ResourceLimits::new(
            flags.memory.unwrap_or(parsed.limits.memory_bytes()),
            flags.timeout.unwrap_or(parsed.limits.timeout()),
            flags.fuel.map_or(parsed.limits.fuel(), |fuel| fuel.0),
        );
        let limits = checked_limits(limits, flags)?;
        let folder = manifest.file.folder();
        let data = match (&parsed.config, manifest.files.config()) {
            (ConfigSource::File(data), Some(file)) if flags.config.is_none() => {
                let memory_bytes = limits.memory_bytes();
                let content = read_regular(file, memory_bytes).await.map_err(|error| {
                    let report = not_given(&folder.join(data), memory_bytes, flags, error);
                    manifest.at_key(report, "config.file")
                })?;
                Some(content)
            }
            _ => None,
        };
        let mut config = parsed.config(data.map(Bytes::from));
        manifest.files.resolve_dirs(&mut config.permissions);
        config.limits = limits;
        config.secrets = secrets_of(&manifest).await?;
        warn_of_unread_variables(&manifest).await;
        let file = folder.join(&parsed.wasm);
        let bytes = read_named(&manifest, &file).await?;
        check_dirs(&manifest)?;
        let mut config = with_flags(config, flags).await?;
        if parsed.http.is_some() && exports_handler(&bytes) {
            if manifest.line("resources.instance").is_none() {
                config.instances = InstancePolicy::PerMessage;
            }
            if manifest.line("resources.concurrency").is_none() {
                config = config.with_concurrency(HANDLER_CONCURRENCY);
            }
        }
        Ok(Self {
            id: flags.id.clone().unwrap_or(parsed.id),
            bytes: bytes.into(),
            file,
            config,
            http: parsed.http,
            supervision: parsed.supervision,
            version: parsed.version,
            manifest: Some(manifest),
            flags: flags.clone(),
        })
    }

    /// One that was deployed, of which there are no files here.
    pub(crate) fn deployed(
        manifest: &str,
        bytes: Bytes,
        config: Option<Bytes>,
        flags: &Flags,
    ) -> Result<Self, Report> {
        let named = Path::new(MANIFEST_NAME);
        let parsed = ComponentManifest::parse(manifest, named, flags.memory_ceiling);
        let parsed = parsed.map_err(|errors| Report::error(errors.to_string()))?;
        no_secrets(&parsed).map_err(|(_, report)| report)?;
        Ok(Self {
            file: parsed.wasm.clone(),
            config: parsed.config(config),
            id: parsed.id,
            bytes,
            http: parsed.http,
            supervision: parsed.supervision,
            version: parsed.version,
            manifest: None,
            flags: flags.clone(),
        })
    }

    /// As it is deployed to other machines, where nothing of this one's folders is.
    pub(crate) fn part(&self) -> Result<Part, Report> {
        let grants = &self.config.permissions.wasi;
        if grants.iter().any(|it| matches!(it, WasiGrant::Dir { .. })) {
            let report = Report::error(format!("{} is granted a folder of this machine", self.id));
            return Err(report
                .with_note("on other machines there is no such folder")
                .with_help("`storage` in [permissions] keeps data that moves with a component"));
        }
        let Some(manifest) = &self.manifest else {
            return Err(Report::error(format!("{} has no manifest", self.id)));
        };
        no_secrets(&manifest.says).map_err(|(key, report)| manifest.at_key(report, &key))?;
        let data = self.config.config_data.clone();
        let is_file = matches!(manifest.says.config, ConfigSource::File(_));
        Ok(Part {
            id: self.id.clone(),
            manifest: manifest.says.to_string(),
            wasm: self.bytes.clone(),
            config: data.filter(|_| is_file).map(MessagePayload::into_bytes),
        })
    }

    async fn bare(
        file: PathBuf,
        flags: &Flags,
        otherwise: Option<(u64, Duration, Fuel)>,
    ) -> Result<Self, Report> {
        check_granted(flags, None, Some(&file))?;
        let bytes = read(&file).await?;
        let id = flags.id.clone().unwrap_or_else(|| id_of_file(&file));
        // What is no component at all needs no limits.
        Defect::check_header(&bytes).map_err(|defect| invalid(&id, &file, defect))?;
        let (Some(memory), Some(timeout), Some(fuel)) = (
            flags.memory.or(otherwise.map(|limits| limits.0)),
            flags.timeout.or(otherwise.map(|limits| limits.1)),
            flags.fuel.or(otherwise.map(|limits| limits.2)),
        ) else {
            return Err(no_limits(&file, &flags.missing_limits()));
        };
        let limits = checked_limits(ResourceLimits::new(memory, timeout, fuel.0), flags)?;
        Ok(Self {
            id,
            file,
            bytes,
            config: with_flags(ComponentConfig::new(limits), flags).await?,
            http: None,
            supervision: Supervision::default(),
            version: None,
            manifest: None,
            flags: flags.clone(),
        })
    }

    /// An engine that may give the component its limits.
    pub(crate) fn engine(&self) -> Result<WasmtimeEngine, Report> {
        let ceiling = self.flags.memory_ceiling;
        let config = self.flags.compiler.engine_config(ceiling, INSTANCES)?;
        let config = config.with_max_held_bytes(self.flags.max_held);
        WasmtimeEngine::new(config, HostServices::default())
            .map_err(|error| Report::error(error.to_string()))
    }

    /// As a host loads it.
    pub(crate) fn component(&self) -> Component {
        let component = Component::new(self.id.clone(), self.bytes.clone(), self.config.clone())
            .with_supervision(self.supervision);
        match &self.version {
            Some(version) => component.with_version(version),
            None => component,
        }
    }

    /// What it may use, on one line.
    pub(crate) fn limits(&self) -> String {
        let limits = self.config.limits;
        format!(
            "memory {}, fuel {}, timeout {}",
            format_bytes(limits.memory_bytes()),
            limits.fuel().map_or("unmetered".to_owned(), format_count),
            format_duration(limits.timeout()),
        )
    }

    /// The manifest, if there is one, else the component's file.
    pub(crate) fn named_by(&self) -> &Path {
        self.manifest.as_ref().map_or(&self.file, |m| &m.file.file)
    }

    /// What its manifest names, if there is one.
    pub(crate) fn files(&self) -> Option<&ComponentFiles> {
        self.manifest.as_ref().map(|manifest| &manifest.files)
    }

    /// Whether a component that was loaded from the one is what the other says, too.
    pub(crate) fn is_same_component(&self, other: &Self) -> bool {
        self.id == other.id
            && self.bytes == other.bytes
            && is_same_config(&self.config, &other.config)
            && self.supervision == other.supervision
            && self.version == other.version
    }

    /// Whether messages can be sent to it, if it can be loaded; `None` where its bytes do not
    /// tell. Takes as long as reading them all.
    pub(crate) fn takes_messages(&self, engine: &WasmtimeEngine) -> Option<bool> {
        let names = Names::of(&self.bytes).ok()?;
        Some(names.takes_messages(engine))
    }

    /// Whether its manifest has this key.
    pub(crate) fn says(&self, key: &str) -> bool {
        let manifest = self.manifest.as_ref();
        manifest.is_some_and(|manifest| manifest.line(key).is_some())
    }

    /// What is wrong with what a key of its manifest says.
    pub(crate) fn at_key(&self, report: Report, key: &str) -> Report {
        match &self.manifest {
            Some(manifest) => manifest.at_key(report, key),
            None => report.at(self.file.escaped()),
        }
    }

    pub(crate) fn has_manifest(&self) -> bool {
        self.manifest.is_some()
    }

    /// An error of the engine about this component, with the line or the flag that
    /// would change it.
    pub(crate) fn explain(&self, error: &WasmError) -> Report {
        let report = Report::error(error.to_string());
        let report = match error {
            WasmError::Timeout { .. } => {
                self.point_at_limit(report, "timeout", self.flags.timeout.is_some())
            }
            WasmError::ResourceLimitExceeded {
                resource: Resource::Fuel,
                ..
            } => self.point_at_limit(report, "fuel", self.flags.fuel.is_some()),
            WasmError::ResourceLimitExceeded {
                resource: Resource::Memory,
                requested,
                ..
            } => self.explain_memory(report, *requested),
            WasmError::ImportNotFound { .. } => report.at(self.file.escaped()).with_help(format!(
                "`airssys-wasm inspect {}` lists what it imports and what this host provides",
                self.file.escaped()
            )),
            _ => report.at(self.file.escaped()),
        };
        with_frames(report, error)
    }

    /// A component that the engine took and another look did not.
    pub(crate) fn invalid(&self, defect: Defect) -> Report {
        invalid(&self.id, &self.file, defect)
    }

    /// A component that starts with more memory than it may have.
    pub(crate) fn starts_too_large(&self, bytes: u64) -> Report {
        let limit = format_bytes(self.config.limits.memory_bytes());
        let report = Report::error(format!(
            "{} starts with {} of memories and tables, more than its limit of {limit}",
            self.id,
            format_bytes(bytes),
        ));
        self.explain_memory(report, Some(bytes))
    }

    fn explain_memory(&self, report: Report, requested: Option<u64>) -> Report {
        let report = self.point_at_limit(report, "memory", self.flags.memory.is_some());
        let ceiling = self.flags.memory_ceiling;
        match requested {
            Some(bytes) if (ceiling..ResourceLimits::MAX_MEMORY_BYTES).contains(&bytes) => report
                .with_help(format!(
                    "that is above the ceiling of {}, which --memory-ceiling raises",
                    format_bytes(ceiling)
                )),
            _ => report,
        }
    }

    fn point_at_limit(&self, report: Report, key: &str, by_flag: bool) -> Report {
        match &self.manifest {
            Some(manifest) if !by_flag => {
                let report = manifest.at_key(report, &format!("resources.{key}"));
                if self.flags.replace_limits {
                    report.with_help(format!("--{key} replaces it for one run"))
                } else {
                    report
                }
            }
            _ if by_flag => report
                .at(self.file.escaped())
                .with_note(format!("the limit was given by --{key}")),
            _ => report.at(self.file.escaped()),
        }
    }
}

/// In whatever order permissions are written.
fn is_same_config(one: &ComponentConfig, other: &ComponentConfig) -> bool {
    let (mine, theirs) = (&one.permissions, &other.permissions);
    let is_no_other = mine.excess(theirs).is_none() && theirs.excess(mine).is_none();
    let mut rest = one.clone();
    rest.permissions.clone_from(theirs);
    is_no_other && rest == *other
}

pub(crate) fn invalid(id: &ComponentId, file: &Path, defect: Defect) -> Report {
    Report::error(WasmError::invalid_component(id, defect).to_string()).at(file.escaped())
}

fn with_frames(report: Report, error: &WasmError) -> Report {
    let frames = error.frames();
    if frames.is_empty() {
        return report;
    }
    let mut shown: Vec<String> = frames
        .iter()
        .take(SHOWN_FRAMES)
        .enumerate()
        .map(|(i, frame)| format!("{i:2}: {frame}"))
        .collect();
    if frames.len() > SHOWN_FRAMES {
        shown.push(format!("    and {} more", frames.len() - SHOWN_FRAMES));
    }
    report.with_note(format!(
        "where it was, innermost first\n{}",
        shown.join("\n")
    ))
}

/// Whether the granted folders are there.
fn check_dirs(manifest: &ReadManifest) -> Result<(), Problems> {
    let mut missing = manifest.files.missing_dirs();
    let first = missing.by_ref().take(ManifestErrors::MAX_PROBLEMS);
    let mut problems: Vec<Report> = first
        .map(|(line, dir)| {
            let message = format!("{} is granted and is no folder", dir.escaped());
            at_line(Report::error(message), line)
        })
        .collect();
    problems.extend(more(manifest.named_by(), missing.count()));
    match problems.is_empty() {
        true => Ok(()),
        false => Err(problems.into_iter().collect()),
    }
}

/// Reads the component of a manifest; in errors it is called `file`.
async fn read_named(manifest: &ReadManifest, file: &Path) -> Result<Vec<u8>, Report> {
    let bytes = read_regular(manifest.files.wasm(), max_component_bytes()).await;
    bytes.map_err(|error| {
        let is_missing = error.is_missing();
        let report = component_not_loaded(file, error);
        let report = manifest.at_key(report, "component.wasm");
        match is_missing {
            true => with_way_to_build(report, manifest),
            false => report,
        }
    })
}

/// What makes a component's file where there is none, if it has sources.
fn with_way_to_build(report: Report, manifest: &ReadManifest) -> Report {
    let sources = Sources::of(manifest.named_by(), &manifest.says);
    let has_command = manifest.says.build_command.is_some();
    if !has_command && !matches!(sources.language(), Ok(Some(_))) {
        return report;
    }
    let folder = sources.folder.escaped();
    report.with_help(format!("`airssys-wasm build {folder}` makes it"))
}

/// What is deployed goes where files and variables of this machine are not: otherwise the key
/// that asks for one, and what is wrong with it.
fn no_secrets(manifest: &ComponentManifest) -> Result<(), (String, Report)> {
    let Some((name, _)) = manifest.secrets.first() else {
        return Ok(());
    };
    let message = format!(
        "{} is given a secret of this machine (`{}` in [env])",
        manifest.id,
        Escaped::new(name)
    );
    let report = Report::error(message)
        .with_note("on other machines there is no such file or variable")
        .with_help("a text in [env] or [config] is deployed with the component");
    Err((format!("env.{name}"), report))
}

/// The values of variables that the manifest does not say.
async fn secrets_of(manifest: &ReadManifest) -> Result<Vec<(String, Secret)>, Report> {
    let files = manifest.files.clone();
    let read = spawn_blocking(move || read_secrets(&files)).await;
    let read = read.map_err(|error| Report::error(format!("secrets cannot be read: {error}")))?;
    read.map_err(|problem| told(&problem))
}

/// Nothing is put in the place of a name in a text, as a shell would.
async fn warn_of_unread_variables(manifest: &ReadManifest) {
    for (name, value) in &manifest.says.env {
        let Some(variable) = variable_in(value) else {
            continue;
        };
        let message = format!("the component is given `${{{variable}}}` as it is written");
        let report = manifest.at_key(Report::warning(message), &format!("env.{name}"));
        let help = format!(
            "`{{ environment = \"{variable}\" }}` is the value of that variable, and \
             `{{ file = \"...\" }}` the content of a file"
        );
        report.with_help(help).tell().await;
    }
}

/// The first name in `${NAME}`.
fn variable_in(text: &str) -> Option<&str> {
    let is_name = |name: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        !name.is_empty() && name.bytes().all(allowed)
    };
    let mut parts = text.split("${").skip(1);
    parts.find_map(|part| Some(part.split_once('}')?.0).filter(|name| is_name(name)))
}

/// Reads a component's file.
pub(crate) async fn read(file: &Path) -> Result<Bytes, Report> {
    let bytes = read_regular(file, max_component_bytes()).await;
    let bytes = bytes.map_err(|error| component_not_loaded(file, error))?;
    Ok(bytes.into())
}

fn component_not_loaded(file: &Path, error: Unread) -> Report {
    let is_too_large = matches!(error, Unread::TooLarge(_));
    let report = not_loaded(file, max_component_bytes(), error);
    match is_too_large {
        true => report.with_help(
            "no flag changes that; it is smaller without debug information (`wasm-tools strip`)",
        ),
        false => report,
    }
}

/// Of what this program loads.
pub(crate) fn max_component_bytes() -> u64 {
    EngineConfig::default().max_component_bytes()
}

/// Content that a component cannot be given.
fn not_given(file: &Path, memory_bytes: u64, flags: &Flags, error: Unread) -> Report {
    let bytes = match error {
        Unread::Failed(error) => return unreadable(file, &error),
        Unread::TooLarge(bytes) => bytes,
    };
    let report = Report::error(format!(
        "{} has {}, more than the {} of memory that the component may have",
        file.escaped(),
        format_bytes(bytes),
        format_bytes(memory_bytes)
    ));
    flags.with_memory_limit(report)
}

fn no_limits(file: &Path, missing: &[&str]) -> Report {
    let (last, rest) = missing.split_last().unwrap_or((&"", &[]));
    let missing = match rest {
        [] => format!("{last} is missing"),
        rest => format!("{} and {last} are missing", rest.join(", ")),
    };
    let report = Report::error(format!("a bare component needs its limits: {missing}"))
        .at(file.escaped())
        .with_help("for example --memory 2MiB --fuel 10_000_000 --timeout 250ms");
    let manifest = file.with_file_name(MANIFEST_NAME);
    report.with_help(if manifest.is_file() {
        format!("the manifest beside it has limits: {}", manifest.escaped())
    } else {
        format!(
            "`airssys-wasm inspect --manifest {}` prints a Component.toml to keep them in",
            file.escaped()
        )
    })
}

fn checked_limits(
    limits: Result<ResourceLimits, LimitsError>,
    flags: &Flags,
) -> Result<ResourceLimits, Report> {
    let ceiling = flags.memory_ceiling;
    // The largest possible memory is not what the user can ask for.
    let limits = limits
        .map_err(|error| match error {
            LimitsError::Memory { found, .. } => LimitsError::Memory { found, ceiling },
            other => other,
        })
        .and_then(|limits| limits.check_ceiling(ceiling).map(|()| limits));
    // A manifest's own limits have been checked where they stand.
    limits.map_err(|error| {
        let report = Report::error(error.to_string());
        match error {
            LimitsError::Memory { found, ceiling } => {
                let report = report.with_note("the limit was given by --memory");
                if (ceiling..=ResourceLimits::MAX_MEMORY_BYTES).contains(&found) {
                    let found = format_bytes(found);
                    return report.with_help(format!("--memory-ceiling {found} allows it"));
                }
                report
            }
            LimitsError::Timeout { .. } => report.with_note("the limit was given by --timeout"),
            _ => report.with_note("the limit was given by --fuel"),
        }
    })
}

async fn with_flags(mut config: ComponentConfig, flags: &Flags) -> Result<ComponentConfig, Report> {
    for allow in &flags.allow {
        allow.clone().add_to(&mut config.permissions);
    }
    for (name, value) in &flags.env {
        config.secrets.retain(|(known, _)| known != name);
        match config.env.iter_mut().find(|(known, _)| known == name) {
            Some((_, replaced)) => replaced.clone_from(value),
            None => config.env.push((name.clone(), value.clone())),
        }
    }
    if let Some(file) = &flags.config {
        let memory_bytes = config.limits.memory_bytes();
        let too_large = || flags.too_large(file, memory_bytes);
        let data = read_file(file, memory_bytes, too_large).await?;
        config.config_data = Some(data.into());
    }
    Ok(config)
}

/// `local/<name of the file>/main`, with what an id cannot have replaced by `-`.
pub(crate) fn id_of_file(file: &Path) -> ComponentId {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name: String = stem
        .chars()
        .map(|c| if allowed(c) { c } else { '-' })
        .take(ComponentId::MAX_SEGMENT_BYTES)
        .collect();
    ComponentId::new("local", &name, "main").unwrap_or_else(|_| unnamed())
}

fn unnamed() -> ComponentId {
    ComponentId::new("local", "component", "main").expect("these are segments")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_a_name_in_braces() {
        for (text, found) in [
            ("${HOME}", Some("HOME")),
            ("a ${} ${b c} ${D_1}", Some("D_1")),
            ("$HOME", None),
            ("${HOME", None),
            ("{HOME}", None),
            ("", None),
        ] {
            assert_eq!(variable_in(text), found, "{text}");
        }
    }

    #[test]
    fn a_file_gives_its_name_to_a_component() {
        for (file, id) in [
            ("echo.wasm", "local/echo/main"),
            ("/tmp/my component (1).wasm", "local/my-component--1-/main"),
            ("größe", "local/gr--e/main"),
            ("..wasm", "local/component/main"),
            ("/", "local/component/main"),
        ] {
            assert_eq!(id_of_file(Path::new(file)).to_string(), id, "{file}");
        }
        let long = format!("{}.wasm", "x".repeat(200));
        assert_eq!(id_of_file(Path::new(&long)).name().len(), 64);
    }

    #[test]
    fn the_missing_flags_are_named() {
        let report = no_limits(Path::new("x.wasm"), &["--memory", "--fuel", "--timeout"]);
        assert!(
            report
                .to_string()
                .contains("--memory, --fuel and --timeout are missing"),
            "{report}"
        );
        let report = no_limits(Path::new("x.wasm"), &["--fuel"]);
        assert!(report.to_string().contains("--fuel is missing"), "{report}");
    }
}
