use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use wasm_core::manifest::{
    ComponentManifest, ConfigSource, ManifestProblem, ManifestSpans, SecretSource,
};
use wasm_core::text::{Escaped, PathText as _, without_mark};
use wasm_core::units::{format_bytes, format_count, format_duration};
use wasm_core::{
    ComponentConfig, ComponentId, Defect, DirAccess, HostServices, HttpRoute, InstancePolicy,
    LimitsError, MessagePayload, Resource, ResourceLimits, Secret, Supervision, WasiGrant,
    WasmError,
};
use wasm_host::{
    ApplicationErrors, ApplicationFolder, ApplicationProblem, Component, ComponentFiles,
    ManifestLine, ManifestText, Separation, open_regular_file, read_secrets, written_through,
};
use wasm_nats::Part;
use wasm_runtime::{EngineConfig, WasmtimeEngine};

use crate::anatomy::{Anatomy, exports_handler};
use crate::build::sources::Sources;
use crate::flags::{Allow, Flags, Fuel};
use crate::report::{Excerpt, Problems, Report};

pub(crate) const MANIFEST_NAME: &str = "Component.toml";

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
        let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        if !metadata.is_dir() {
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
        match fs::metadata(&manifest) {
            Ok(_) => Ok(Self::Manifest(manifest)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(no_manifest(path)),
            Err(error) => Err(unreadable(&manifest, &error)),
        }
    }
}

fn no_manifest(folder: &Path) -> Report {
    let report = Report::error(format!("{} has no {MANIFEST_NAME}", folder.escaped()));
    let components = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut components: Vec<PathBuf> = components
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "wasm")
        })
        .collect();
    components.sort();
    match components.first() {
        Some(component) => report.with_help(format!(
            "`airssys-wasm inspect --manifest {}` prints one to begin with",
            component.escaped()
        )),
        None => report,
    }
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

/// The text of a manifest.
#[derive(Debug)]
struct ManifestFile {
    file: PathBuf,
    text: String,
}

/// A manifest, and where what it names is. Nothing of that is opened yet.
#[derive(Debug)]
pub(crate) struct ReadManifest {
    file: ManifestFile,
    says: ComponentManifest,
    spans: ManifestSpans,
    files: ComponentFiles,
}

/// What a manifest says, whether or not the files that it names are there.
pub(crate) async fn manifest_at(
    file: PathBuf,
    memory_ceiling: u64,
) -> Result<ComponentManifest, Problems> {
    let (says, _) = ManifestFile::read(file).await?.parse(memory_ceiling)?;
    Ok(says)
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
                Some(without_mark(content))
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
        let missing = manifest.files.missing_dirs().map(|(line, dir)| {
            let message = format!("{} is granted and is no folder", dir.escaped());
            at_line(Report::error(message), line)
        });
        let missing: Vec<Report> = missing.collect();
        if !missing.is_empty() {
            return Err(missing.into_iter().collect());
        }
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
            && self.config == other.config
            && self.supervision == other.supervision
            && self.version == other.version
    }

    /// Whether messages can be sent to it; `None` where its bytes do not tell. Takes as long
    /// as reading them all.
    pub(crate) fn takes_messages(&self, engine: &WasmtimeEngine) -> Option<bool> {
        let anatomy = Anatomy::of(&self.bytes).ok()?;
        Some(anatomy.takes_messages(engine))
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

impl ManifestFile {
    async fn read(file: PathBuf) -> Result<Self, Report> {
        let max_bytes = ComponentManifest::MAX_BYTES;
        let bytes = read_regular(&file, max_bytes).await;
        let bytes = bytes.map_err(|error| not_loaded(&file, max_bytes, error))?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self { file, text }),
            Err(error) => {
                let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
                Err(Report::error("a manifest is UTF-8 text, and this is not")
                    .at(format!("{}:{line}", file.escaped())))
            }
        }
    }

    fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new(""))
    }

    fn parse(
        &self,
        memory_ceiling_bytes: u64,
    ) -> Result<(ComponentManifest, ManifestSpans), Problems> {
        let parsed = ComponentManifest::parse_spanned(&self.text, &self.file, memory_ceiling_bytes);
        parsed.map_err(|errors| {
            let problems = errors.problems().iter();
            problems.map(|problem| self.report(problem)).collect()
        })
    }

    fn report(&self, problem: &ManifestProblem) -> Report {
        let marked = self.text.get(problem.span.clone()).unwrap_or_default();
        let marked = marked.lines().next().unwrap_or_default();
        let (line, column) = (problem.line, problem.column);
        let length = marked.chars().count();
        let report = self.excerpt(Report::error(problem.message()), line, column, length);
        let Some(help) = &problem.help else {
            return report;
        };
        let report = report.with_help(help.clone());
        if problem.key.as_deref() == Some("resources.memory") {
            return report.with_help("--memory-ceiling SIZE raises the ceiling");
        }
        report
    }

    fn excerpt(&self, report: Report, line: usize, column: usize, length: usize) -> Report {
        let text = self.text.trim_start_matches('\u{feff}');
        report
            .at(format!("{}:{line}:{column}", self.file.escaped()))
            .with_excerpt(Excerpt {
                line: text.lines().nth(line - 1).unwrap_or_default().to_owned(),
                number: Some(line),
                start: column - 1,
                length,
                label: String::new(),
            })
    }
}

impl ReadManifest {
    /// What a manifest says, and where in an application that is.
    pub(crate) async fn read(
        file: PathBuf,
        flags: &Flags,
        folder: &ApplicationFolder,
    ) -> Result<Self, Problems> {
        Self::of(ManifestFile::read(file).await?, flags, folder)
    }

    /// Of a component that is an application of its own.
    pub(crate) async fn alone(file: PathBuf, flags: &Flags) -> Result<Self, Problems> {
        // A manifest that cannot be read says so better than its folder.
        let text = ManifestFile::read(file).await?;
        let folder = ApplicationFolder::of_component(&text.file);
        let folder = widened(
            folder.map_err(|problem| told(&problem))?,
            &flags.allow_outside,
        )?;
        Self::of(text, flags, &folder)
    }

    fn of(file: ManifestFile, flags: &Flags, folder: &ApplicationFolder) -> Result<Self, Problems> {
        let (says, spans) = file.parse(flags.memory_ceiling)?;
        let text = ManifestText::new(&file.file, &file.text, &says, &spans);
        let files = folder.files_of(text).map_err(|errors| all_told(&errors))?;
        Ok(Self {
            file,
            says,
            spans,
            files,
        })
    }

    pub(crate) fn id(&self) -> &ComponentId {
        &self.says.id
    }

    pub(crate) fn named_by(&self) -> &Path {
        &self.file.file
    }

    pub(crate) fn says(&self) -> &ComponentManifest {
        &self.says
    }

    pub(crate) fn files(&self) -> &ComponentFiles {
        &self.files
    }

    fn line(&self, key: &str) -> Option<ManifestLine> {
        ManifestLine::of(&self.file.file, &self.file.text, &self.spans, key)
    }

    /// Points at the line of a key, as far as it is known.
    fn at_key(&self, report: Report, key: &str) -> Report {
        match self.line(key) {
            Some(line) => at_line(report, &line),
            None => report.at(self.file.file.escaped()),
        }
    }
}

/// Whether what `--allow` grants for writing holds what decides over the component itself, as
/// no grant of a manifest may either; and whether one of the manifest holds what flags name.
fn check_granted(
    flags: &Flags,
    manifest: Option<&ReadManifest>,
    bare: Option<&Path>,
) -> Result<(), Report> {
    let mut own: Vec<(&str, &Path)> = Vec::new();
    let mut flagged: Vec<(&str, &Path)> = Vec::new();
    let (mut written, mut written_by_flags) = (Vec::new(), Vec::new());
    own.extend(bare.map(|file| ("component", file)));
    if let Some(ReadManifest { file, files, .. }) = manifest {
        own.extend([("manifest", &*file.file), ("component", files.wasm())]);
        if flags.config.is_none() {
            own.extend(files.config().map(|file| ("configuration", file)));
        }
        own.extend(files.secrets().map(|file| ("secret", file)));
        for (folder, access) in files.dirs() {
            own.push(("granted folder", folder));
            if access == DirAccess::Write {
                written.push(folder);
            }
        }
    }
    flagged.extend(flags.config.as_deref().map(|file| ("configuration", file)));
    for allow in &flags.allow {
        if let Allow::Wasi(WasiGrant::Dir { host, access, .. }) = allow {
            flagged.push(("granted folder", host));
            if *access == DirAccess::Write {
                written_by_flags.push(host.as_path());
            }
        }
    }
    // What is of the manifest alone has been compared.
    let by_flags = written_by_flags.iter().flat_map(|folder| {
        let all = own.iter().chain(&flagged);
        all.map(move |input| (*folder, *input))
    });
    let by_manifest = written.iter().flat_map(|folder| {
        let flagged = flagged.iter();
        flagged.map(move |input| (*folder, *input))
    });
    for (folder, (what, path)) in by_flags.chain(by_manifest) {
        let through = written_through(folder, path);
        if let Some(through) = through.map_err(|error| unreadable(path, &error))? {
            return Err(grants_itself(folder, what, path, &through));
        }
    }
    Ok(())
}

fn grants_itself(folder: &Path, what: &str, path: &Path, through: &Path) -> Report {
    let report = Report::error(format!(
        "the component may write {}, and so change its own {what}",
        folder.escaped()
    ));
    let path = path.escaped();
    let way = if through.is_dir() {
        format!("{path} is looked for in that folder, or may be")
    } else {
        format!(
            "{path} is the same file as {} (a hard link)",
            through.escaped()
        )
    };
    report.with_note(way).with_help(
        "grant a folder for writing that holds data only, and keep manifests, components, \
         configuration and other granted folders out of it",
    )
}

/// Points at a line of a manifest.
fn at_line(report: Report, line: &ManifestLine) -> Report {
    report.at(line).with_excerpt(Excerpt {
        line: line.text.clone(),
        number: Some(line.place.line),
        start: line.place.column - 1,
        length: line.length,
        label: String::new(),
    })
}

/// With what `--allow-outside` allows.
pub(crate) fn widened(
    folder: ApplicationFolder,
    outside: &[PathBuf],
) -> Result<ApplicationFolder, Report> {
    outside.iter().try_fold(folder, |folder, path| {
        let widened = folder.allow_outside(path);
        widened.map_err(|problem| told(&problem).with_note("it was named by --allow-outside"))
    })
}

pub(crate) fn all_told(errors: &ApplicationErrors) -> Problems {
    errors.problems().iter().map(told).collect()
}

/// Reads the component of a manifest; in errors it is called `file`.
async fn read_named(manifest: &ReadManifest, file: &Path) -> Result<Vec<u8>, Report> {
    let bytes = read_regular(manifest.files.wasm(), max_component_bytes()).await;
    bytes.map_err(|error| {
        let is_missing = error.is_missing();
        let report = not_loaded(file, max_component_bytes(), error);
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

/// What is wrong with an application, with the lines of its manifests.
pub(crate) fn told(problem: &ApplicationProblem) -> Report {
    match problem {
        ApplicationProblem::Outside {
            line,
            path,
            leads_to,
            folder,
        } => {
            let path = path.escaped();
            let report = Report::error(format!(
                "{path} is outside of {}, the folder of the application",
                folder.escaped()
            ));
            let wider = match leads_to.parent() {
                Some(parent) if leads_to.is_file() => parent,
                _ => leads_to,
            };
            at_line(report, line)
                .with_note(format!("it leads to {}", leads_to.escaped()))
                .with_help(format!("--allow-outside {} allows it", wider.escaped()))
        }
        ApplicationProblem::Secret { line, reason } => at_line(Report::error(reason.clone()), line),
        ApplicationProblem::Overlap(overlap) => {
            let line = &overlap.line;
            let other = format!("{}\n{line}: {}", overlap.way(), line.text.trim());
            let report = at_line(Report::error(overlap.message()), &overlap.grant);
            report.with_note(other).with_help(match &overlap.hard_link {
                Some(_) => {
                    "give the file a single name, by copying it where it is linked, or empty the \
                     granted folder"
                }
                None => {
                    "grant a folder for writing that holds data only, and keep manifests, \
                     components, configuration and other granted folders out of it"
                }
            })
        }
        ApplicationProblem::GrantedFile(granted) => {
            let report = Report::error(format!(
                "{} lies in {}, which is granted to {}",
                granted.file.escaped(),
                granted.folder.escaped(),
                granted.component
            ));
            at_line(report, &granted.grant)
                .with_note("the file was given by --data, and has what all components store")
                .with_help("keep it in a folder that is granted to no component")
        }
        ApplicationProblem::NotAFolder { .. } => Report::error(problem.to_string()).with_help(
            "`up` takes the folder of an application, with a Component.toml in it or below",
        ),
        _ => Report::error(problem.to_string()),
    }
}

/// The files that a component is read from: its manifest and, as far as that can be
/// read, what it names, there or not.
pub(crate) fn files_of(manifest: &Path) -> Vec<PathBuf> {
    let mut files = vec![manifest.to_owned()];
    let mut text = String::new();
    let read = open_regular_file(manifest).and_then(|file| {
        let mut file = file.take(ComponentManifest::MAX_BYTES);
        file.read_to_string(&mut text)
    });
    if read.is_ok()
        && let Ok(parsed) =
            ComponentManifest::parse(&text, manifest, ResourceLimits::MAX_MEMORY_BYTES)
    {
        files.push(manifest.with_file_name(&parsed.wasm));
        if let ConfigSource::File(data) = &parsed.config {
            files.push(manifest.with_file_name(data));
        }
        for (_, source) in &parsed.secrets {
            if let SecretSource::File(file) = source {
                files.push(manifest.with_file_name(file));
            }
        }
    }
    files
}

/// The file of the component that a manifest is about, whatever its limits.
pub(crate) async fn wasm_of_manifest(file: PathBuf) -> Result<PathBuf, Problems> {
    let manifest = ManifestFile::read(file).await?;
    let (parsed, _) = manifest.parse(ResourceLimits::MAX_MEMORY_BYTES)?;
    Ok(manifest.folder().join(parsed.wasm))
}

/// Reads a component's file.
pub(crate) async fn read(file: &Path) -> Result<Bytes, Report> {
    let max_bytes = max_component_bytes();
    let bytes = read_regular(file, max_bytes).await;
    let bytes = bytes.map_err(|error| not_loaded(file, max_bytes, error))?;
    Ok(bytes.into())
}

fn max_component_bytes() -> u64 {
    EngineConfig::default().max_component_bytes()
}

/// Why a file was not read.
enum Unread {
    Failed(io::Error),
    /// It has so many bytes, or more.
    TooLarge(u64),
}

impl Unread {
    fn is_missing(&self) -> bool {
        matches!(self, Self::Failed(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// Reads a manifest or what one names, which is a regular file.
async fn read_regular(file: &Path, max_bytes: u64) -> Result<Vec<u8>, Unread> {
    let file = file.to_owned();
    let read = spawn_blocking(move || {
        let file = open_regular_file(&file)?;
        let bytes = file.metadata()?.len();
        if bytes > max_bytes {
            return Err(Unread::TooLarge(bytes));
        }
        let mut content = Vec::with_capacity(bytes as usize);
        // It may have grown since.
        let mut file = file.take(max_bytes.saturating_add(1));
        match file.read_to_end(&mut content)? as u64 {
            bytes if bytes > max_bytes => Err(Unread::TooLarge(bytes)),
            _ => Ok(content),
        }
    });
    read.await.map_err(io::Error::other)?
}

/// A manifest or component, with its size if that is what is wrong.
fn not_loaded(file: &Path, max_bytes: u64, error: Unread) -> Report {
    let error = match error {
        Unread::Failed(error) => WasmError::unreadable(file, error),
        Unread::TooLarge(bytes) => WasmError::LoadFailed {
            path: file.to_owned(),
            reason: format!(
                "it has {}, more than the {} that are accepted",
                format_bytes(bytes),
                format_bytes(max_bytes)
            ),
            source: None,
        },
    };
    Report::error(error.to_string())
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
    match (flags.memory, flags.replace_limits) {
        (Some(_), _) => report.with_note("the limit was given by --memory"),
        (None, true) => report.with_help(
            "`memory` in [resources] is that limit, which --memory replaces for one run",
        ),
        (None, false) => report.with_help("`memory` in [resources] is that limit"),
    }
}

/// Reads a file that was named on the command line, whose content the component is given,
/// and which it therefore must be able to hold; a pipe will do. A byte order mark before a text is no part of it.
/// That may take as long as somebody does to write into it, so it is read on a thread of
/// its own, which is left alone when nobody waits for it any more.
pub(crate) async fn read_file(file: &Path, memory_bytes: u64) -> Result<Vec<u8>, Report> {
    let (sender, content) = oneshot::channel();
    let path = file.to_owned();
    let reader = thread::Builder::new().name("file".to_owned());
    let started = reader.spawn(move || {
        // Whoever asked may have gone.
        let _ = sender.send(read_now(&path, memory_bytes));
    });
    started.map_err(|error| unreadable(file, &error))?;
    let gone = |_| unreadable(file, &io::Error::other("the thread that read it is gone"));
    content.await.map_err(gone)?
}

fn read_now(file: &Path, memory_bytes: u64) -> Result<Vec<u8>, Report> {
    let mut content = Vec::new();
    let read =
        File::open(file).and_then(|opened| opened.take(memory_bytes + 1).read_to_end(&mut content));
    match read {
        Ok(read) if read as u64 <= memory_bytes => Ok(without_mark(content)),
        Ok(_) => Err(Report::error(format!(
            "{} is larger than the {} of memory that the component may have",
            file.escaped(),
            format_bytes(memory_bytes)
        ))),
        Err(error) => Err(unreadable(file, &error)),
    }
}

pub(crate) fn unreadable(file: &Path, error: &io::Error) -> Report {
    Report::error(format!("{} cannot be read: {error}", file.escaped()))
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
        let data = read_file(file, config.limits.memory_bytes()).await?;
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
