use std::error::Error as StdError;
use std::fmt::{self, Display};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::import::write_unmet;
use crate::text::{Escaped, EscapedPath, Quoted};
use crate::units::{format_bytes, format_count, format_duration};
use crate::{ComponentHandle, ComponentId, Defect, LimitsError, Unmet};

/// The error below a [`WasmError`], shared so that clones of it are cheap. What keeps
/// an error for long keeps a short text instead, see [`WasmError::kept`].
pub type Cause = Arc<dyn StdError + Send + Sync>;

/// What an engine's library says may quote the component, and at length.
const REASON_CHARS: usize = 1000;

/// What an engine or a loader answers when it cannot do as asked.
///
/// The message names the component, what was found, what is allowed and the
/// manifest key that changes it. Texts that come from a component are escaped and
/// shortened in the message; the fields hold them whole, until an error is
/// [kept](Self::kept).
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum WasmError {
    /// The engine could not be set up.
    #[error("the engine could not be set up: {reason}")]
    EngineInitialization {
        /// What failed.
        reason: String,
        /// As the engine's library said it.
        source: Option<Cause>,
    },
    /// The handle was never given out, or its component is unloaded.
    #[error("no component is loaded as {handle}")]
    ComponentNotFound {
        /// Who was called.
        handle: ComponentHandle,
    },
    /// The bytes of a component could not be had.
    #[error("{} could not be loaded: {reason}", EscapedPath(path))]
    LoadFailed {
        /// Where they should be.
        path: PathBuf,
        /// What is wrong.
        reason: String,
        /// As the operating system said it.
        source: Option<Cause>,
    },
    /// The bytes are not a component that can be run here.
    #[error("{component} is not a component that can be run: {defect}")]
    InvalidComponent {
        /// Which.
        component: ComponentId,
        /// What is wrong with them.
        defect: Defect,
        /// As the engine's parser said it.
        source: Option<Cause>,
    },
    /// The limits in its configuration cannot be granted.
    #[error("{component} cannot be given its limits: {source}")]
    InvalidLimits {
        /// Whose.
        component: ComponentId,
        /// Which limit, and what is allowed.
        source: LimitsError,
    },
    /// A component imports what the host does not provide.
    #[error("{component} imports {}", UnmetImports(import, reason, *others, *or_more))]
    ImportNotFound {
        /// Which.
        component: ComponentId,
        /// The first import that is not met, by the name that
        /// [`UnmetImport::name`](crate::UnmetImport::name) describes.
        import: String,
        /// Why it is not met.
        reason: Unmet,
        /// How many more imports are not met, as far as they were examined.
        others: usize,
        /// Whether some were not examined, and it may be even more.
        or_more: bool,
        /// What differs, as the engine's linker said it.
        source: Option<Cause>,
    },
    /// A call of something the component does not export.
    #[error("{component} does not export `{}`", Escaped::new(export))]
    ExportNotFound {
        /// Which.
        component: ComponentId,
        /// What was called.
        export: Box<str>,
    },
    /// An instance could not be made, for another reason than the ones above.
    #[error(
        "{component} could not be instantiated: {}",
        Escaped::up_to(REASON_CHARS, reason)
    )]
    InstantiationFailed {
        /// Which.
        component: ComponentId,
        /// What failed.
        reason: String,
        /// As the engine's library said it.
        source: Option<Cause>,
    },
    /// Its `initialize` answered with an error.
    #[error("{component} did not initialize: {error}")]
    InitializationFailed {
        /// Which.
        component: ComponentId,
        /// As the component said it.
        error: LifecycleError,
    },
    /// The guest did what WebAssembly forbids, or a host function panicked.
    #[error("{component} trapped in `{}`: {trap}{}", Escaped::new(export), LastWords(last_words.as_deref()))]
    Trapped {
        /// Which.
        component: ComponentId,
        /// What was called.
        export: Box<str>,
        /// What happened.
        trap: Trap,
        /// The guest's call stack, innermost first; empty when there is none.
        frames: Box<[WasmFrame]>,
        /// Up to the trap.
        fuel_consumed: u64,
        /// As the engine's library said it.
        source: Option<Cause>,
        /// What the guest wrote to its standard error in the same call, of more than 1 KiB
        /// the end, if it gave up by itself: the message of a panic or of an assertion, in
        /// the guest's own words.
        last_words: Option<Box<str>>,
    },
    /// A call was stopped at its deadline.
    #[error(
        "{component} was stopped in `{}`: not done within {}, having consumed {} fuel \
         (`timeout` in [resources])",
        Escaped::new(export), format_duration(*limit), format_count(*fuel_consumed)
    )]
    Timeout {
        /// Which.
        component: ComponentId,
        /// What was called.
        export: Box<str>,
        /// The wall-clock time it had.
        limit: Duration,
        /// Up to the deadline.
        fuel_consumed: u64,
        /// Where the guest was when it was stopped, innermost first; empty when it
        /// waited in a host function.
        frames: Box<[WasmFrame]>,
    },
    /// A call needed more of something than its limit.
    #[error("{component} was stopped in `{}`: {}", Escaped::new(export), Excess(*resource, *limit, *requested, *charged_ahead))]
    ResourceLimitExceeded {
        /// Which.
        component: ComponentId,
        /// What was called; `instantiate` when there is no instance yet.
        export: Box<str>,
        /// Of what.
        resource: Resource,
        /// The limit, in the resource's unit.
        limit: u64,
        /// What it would have had in total, in the resource's unit; `None` where a
        /// need has no known end, as with fuel.
        requested: Option<u64>,
        /// Whether fuel ended at an instruction such as `memory.fill`, which an engine may
        /// charge for its length before it looks at its bounds. If it is out of bounds, no
        /// fuel is enough.
        charged_ahead: bool,
        /// Up to then.
        fuel_consumed: u64,
        /// The guest's call stack, innermost first.
        frames: Box<[WasmFrame]>,
        /// As the engine's library said it.
        source: Option<Cause>,
    },
    /// It failed in an earlier call and was not restarted since.
    #[error("{component} has failed and must be restarted; it failed because {source}")]
    ComponentFailed {
        /// Which.
        component: ComponentId,
        /// The error of that call.
        source: Arc<WasmError>,
    },
    /// The guest answered with an error; it is ready for the next call.
    #[error("{component} answered with an error: {error}")]
    GuestError {
        /// Which.
        component: ComponentId,
        /// As the component said it.
        error: GuestError,
    },
    /// Its `shutdown` answered with an error; it is unloaded all the same.
    #[error("{component} was unloaded, but its shutdown answered with an error: {error}")]
    ShutdownFailed {
        /// Which.
        component: ComponentId,
        /// As the component said it.
        error: LifecycleError,
    },
    /// Arguments of a call that do not fit the export.
    #[error(
        "{component} cannot be called: `{}` {}",
        Escaped::new(export),
        Escaped::up_to(REASON_CHARS, reason)
    )]
    InvalidArguments {
        /// Which.
        component: ComponentId,
        /// What was called.
        export: Box<str>,
        /// What is expected and what was given.
        reason: String,
    },
    /// This engine does not do that.
    #[error("not supported by this engine: {what}")]
    Unsupported {
        /// What was asked for.
        what: String,
    },
}

impl WasmError {
    /// An [`InvalidComponent`](Self::InvalidComponent) that the host itself found.
    pub fn invalid_component(component: &ComponentId, defect: Defect) -> Self {
        Self::InvalidComponent {
            component: component.clone(),
            defect,
            source: None,
        }
    }

    /// A [`LoadFailed`](Self::LoadFailed) with the operating system's reason.
    pub fn unreadable(path: &Path, error: std::io::Error) -> Self {
        Self::LoadFailed {
            path: path.to_owned(),
            reason: error.to_string(),
            source: Some(Arc::new(error)),
        }
    }

    /// The component never came to be: what was given to the engine must change.
    pub fn is_load_error(&self) -> bool {
        matches!(
            self,
            Self::LoadFailed { .. }
                | Self::InvalidComponent { .. }
                | Self::InvalidLimits { .. }
                | Self::ImportNotFound { .. }
                | Self::InstantiationFailed { .. }
                | Self::InitializationFailed { .. }
        )
    }

    /// A limit of `[resources]` ended the call.
    pub fn is_limit_error(&self) -> bool {
        matches!(
            self,
            Self::Timeout { .. } | Self::ResourceLimitExceeded { .. }
        )
    }

    /// The instance is gone: until it is restarted every call ends in
    /// [`ComponentFailed`](Self::ComponentFailed).
    pub fn fails_instance(&self) -> bool {
        self.is_limit_error() || matches!(self, Self::Trapped { .. } | Self::ComponentFailed { .. })
    }

    /// The guest did its part and said no; calling again is fine.
    pub fn is_guest_error(&self) -> bool {
        matches!(self, Self::GuestError { .. })
    }

    /// Where the guest was, innermost first; empty when that is not known.
    ///
    /// For a failed component, where it was when it failed.
    pub fn frames(&self) -> &[WasmFrame] {
        match self {
            Self::Trapped { frames, .. }
            | Self::Timeout { frames, .. }
            | Self::ResourceLimitExceeded { frames, .. } => frames,
            Self::ComponentFailed { source, .. } => source.frames(),
            _ => &[],
        }
    }

    /// The component at fault, when it is known by then.
    pub fn component(&self) -> Option<&ComponentId> {
        match self {
            Self::EngineInitialization { .. }
            | Self::LoadFailed { .. }
            | Self::Unsupported { .. } => None,
            Self::ComponentNotFound { handle } => Some(handle.id()),
            Self::InvalidComponent { component, .. }
            | Self::InvalidLimits { component, .. }
            | Self::ImportNotFound { component, .. }
            | Self::ExportNotFound { component, .. }
            | Self::InstantiationFailed { component, .. }
            | Self::InitializationFailed { component, .. }
            | Self::Trapped { component, .. }
            | Self::Timeout { component, .. }
            | Self::ResourceLimitExceeded { component, .. }
            | Self::ComponentFailed { component, .. }
            | Self::GuestError { component, .. }
            | Self::ShutdownFailed { component, .. }
            | Self::InvalidArguments { component, .. } => Some(component),
        }
    }
}

struct UnmetImports<'a>(&'a str, &'a Unmet, usize, bool);

impl Display for UnmetImports<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(import, reason, others, or_more) = self;
        write_unmet(f, import, reason)?;
        let at_least = if *or_more { "at least " } else { "" };
        match others {
            0 => Ok(()),
            1 => write!(f, "; {at_least}one more of its imports is not met either"),
            _ => write!(
                f,
                "; {at_least}{others} more of its imports are not met either"
            ),
        }
    }
}

/// Of what a guest wrote last, the end is shown: there is the message of a panic.
const LAST_WORDS_CHARS: usize = 400;

struct LastWords<'a>(Option<&'a str>);

impl Display for LastWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(words) = self.0 else {
            return Ok(());
        };
        let begin = words.char_indices().rev().nth(LAST_WORDS_CHARS - 1);
        let shown = begin.map_or(words, |(begin, _)| &words[begin..]);
        let cut = if shown.len() < words.len() { "…" } else { "" };
        f.write_str("; its last words: \"")?;
        f.write_str(cut)?;
        let lines = shown.lines().map(str::trim).filter(|line| !line.is_empty());
        for (n, line) in lines.enumerate() {
            let parted = if n == 0 { "" } else { " / " };
            let line = line.replace('\t', " ").replace('"', "'");
            write!(f, "{parted}{}", Escaped::prose(LAST_WORDS_CHARS, &line))?;
        }
        f.write_str("\"")
    }
}

struct Excess(Resource, u64, Option<u64>, bool);

impl Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(resource, limit, requested, charged_ahead) = self;
        match (resource, requested) {
            (Resource::Fuel, _) => {
                write!(
                    f,
                    "out of fuel, having consumed all of its {} (`fuel` in [resources])",
                    format_count(*limit)
                )?;
                if *charged_ahead {
                    f.write_str(
                        "; it was at an instruction that is charged for its length before its \
                         bounds are looked at, and if that is out of bounds, no fuel is enough",
                    )?;
                }
                Ok(())
            }
            (Resource::Memory, Some(requested)) => write!(
                f,
                "memory limit reached: asked for {} of at most {} in all memories and tables \
                 (`memory` in [resources])",
                format_bytes(*requested),
                format_bytes(*limit)
            ),
            (Resource::Memory, None) => write!(
                f,
                "memory limit of {} reached (`memory` in [resources])",
                format_bytes(*limit)
            ),
            (Resource::HostMemory { item }, Some(requested)) => write!(
                f,
                "with {item} the host would hold {} for it outside of its memory, of at most {} \
                 (`--max-held`)",
                format_bytes(*requested),
                format_bytes(*limit)
            ),
            (Resource::HostMemory { item }, None) => write!(
                f,
                "with {item} the host would hold more than {} for it outside of its memory \
                 (`--max-held`)",
                format_bytes(*limit)
            ),
        }
    }
}

/// What a limit is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// Memories and tables of an instance, in bytes.
    Memory,
    /// Fuel of one call.
    Fuel,
    /// What the host holds for an instance outside of its memory, in bytes.
    HostMemory {
        /// What came to it when the limit was reached, such as "a stream of a file".
        item: &'static str,
    },
}

/// How a guest broke the rules of WebAssembly.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trap {
    /// It ran an `unreachable`, as toolchains do for a panic or an abort.
    Unreachable,
    /// It touched memory that it does not have.
    MemoryOutOfBounds,
    /// It touched a table element that is not there.
    TableOutOfBounds,
    /// It called a null function reference.
    IndirectCallToNull,
    /// It called a function as another type.
    BadSignature,
    /// It overflowed in a division.
    IntegerOverflow,
    /// It divided an integer by zero.
    IntegerDivisionByZero,
    /// It converted a number that does not fit.
    BadConversionToInteger,
    /// It called itself too deeply.
    StackOverflow,
    /// The host function it called panicked, with this message.
    HostPanic(String),
    /// The host refused what the guest handed over or asked for: a text that is not
    /// UTF-8, memory that the guest does not have, a host function's own error.
    RefusedByHost(String),
    /// Something else, as the engine describes it.
    Other(String),
}

impl Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "`unreachable` was executed",
            Self::MemoryOutOfBounds => "memory access out of bounds",
            Self::TableOutOfBounds => "table access out of bounds",
            Self::IndirectCallToNull => "call of a null function reference",
            Self::BadSignature => "indirect call with the wrong type",
            Self::IntegerOverflow => "integer overflow",
            Self::IntegerDivisionByZero => "integer division by zero",
            Self::BadConversionToInteger => "number does not fit the integer",
            Self::StackOverflow => "call stack exhausted",
            Self::HostPanic(message) => {
                return write!(f, "host function panicked: {}", Escaped::new(message));
            }
            Self::RefusedByHost(reason) => {
                return write!(f, "refused by the host: {}", Escaped::new(reason));
            }
            Self::Other(description) => return write!(f, "{}", Escaped::new(description)),
        })
    }
}

/// One entry of a guest's call stack.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WasmFrame {
    /// The core module's name, where its name section has one.
    pub module: Option<String>,
    /// The function's name, demangled, where the name section has one.
    pub function: Option<String>,
    /// The function's index in its module.
    pub function_index: u32,
    /// Offset of the instruction from the start of the component, in bytes.
    pub offset: Option<u64>,
}

impl WasmFrame {
    /// What is kept of a name, in bytes: a component chooses its names, and an error may be
    /// kept for long.
    pub const MAX_NAME_BYTES: usize = 256;

    /// For engines. Of a name, the first 256 bytes are kept: fewer are ever shown. A
    /// function's name is to be demangled before, see [`WasmFrame::function`].
    pub fn new(
        module: Option<String>,
        function: Option<String>,
        function_index: u32,
        offset: Option<u64>,
    ) -> Self {
        let short = |mut name: String| {
            name.truncate(name.floor_char_boundary(Self::MAX_NAME_BYTES));
            name.shrink_to_fit();
            name
        };
        Self {
            module: module.map(short),
            function: function.map(short),
            function_index,
            offset,
        }
    }
}

impl Display for WasmFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let module = self.module.as_deref().unwrap_or("<unnamed>");
        write!(f, "{}!", Escaped::new(module))?;
        match &self.function {
            Some(name) => write!(f, "{}", Escaped::new(name))?,
            None => write!(f, "<function {}>", self.function_index)?,
        }
        self.offset
            .map_or(Ok(()), |offset| write!(f, " @ {offset:#x}"))
    }
}

/// What a guest answers a message with instead of a reply; the cases of the
/// contract's `wasm-error`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the cases are those of the contract")]
pub enum GuestError {
    ComponentNotFound(String),
    InstantiationFailed(String),
    ExportNotFound(String),
    Timeout,
    ResourceLimitExceeded(String),
    InvalidComponent(String),
    RuntimeError(String),
}

impl Display for GuestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (case, text) = match self {
            Self::ComponentNotFound(text) => ("component-not-found", text),
            Self::InstantiationFailed(text) => ("instantiation-failed", text),
            Self::ExportNotFound(text) => ("export-not-found", text),
            Self::Timeout => return f.write_str("timeout"),
            Self::ResourceLimitExceeded(text) => ("resource-limit-exceeded", text),
            Self::InvalidComponent(text) => ("invalid-component", text),
            Self::RuntimeError(text) => ("runtime-error", text),
        };
        write!(f, "{case} {}", Quoted::prose(text))
    }
}

/// What a guest answers `initialize` or `shutdown` with; the cases of the
/// contract's `component-error`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the cases are those of the contract")]
pub enum LifecycleError {
    InitializationFailed(String),
    AlreadyInitialized,
    NotInitialized,
    ShutdownFailed(String),
    InvalidState(String),
}

impl Display for LifecycleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (case, text) = match self {
            Self::InitializationFailed(text) => ("initialization-failed", text),
            Self::AlreadyInitialized => return f.write_str("already-initialized"),
            Self::NotInitialized => return f.write_str("not-initialized"),
            Self::ShutdownFailed(text) => ("shutdown-failed", text),
            Self::InvalidState(text) => ("invalid-state", text),
        };
        write!(f, "{case} {}", Quoted::prose(text))
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::catalogue::{every, snapshot};

    fn id() -> ComponentId {
        ComponentId::new("demo", "a", "main").unwrap()
    }

    fn cause() -> Option<Cause> {
        Some(Arc::new(io::Error::other("the cause")))
    }

    fn frames() -> Box<[WasmFrame]> {
        let inner = WasmFrame::new(Some("core".into()), Some("run".into()), 3, Some(0x1f));
        Box::new([inner, WasmFrame::new(None, None, 7, None)])
    }

    /// One of each kind at least, with its name.
    fn all() -> Vec<(&'static str, WasmError)> {
        every!(
            WasmError,
            EngineInitialization {
                reason: "no memory left to reserve".into(),
                source: cause(),
            },
            ComponentNotFound {
                handle: ComponentHandle::new(id(), 9),
            },
            LoadFailed {
                path: "demo/a/main.wasm".into(),
                reason: "permission denied".into(),
                source: cause(),
            },
            InvalidComponent {
                component: id(),
                defect: Defect::Empty,
                source: None,
            },
            InvalidLimits {
                component: id(),
                source: LimitsError::NoFuel,
            },
            ImportNotFound {
                component: id(),
                import: "acme:gpu/draw\u{1b}[2J".into(),
                reason: Unmet::Missing,
                others: 0,
                or_more: false,
                source: cause(),
            },
            ImportNotFound {
                component: id(),
                import: "m".into(),
                reason: Unmet::NoSuchKind {
                    kind: "a core module",
                },
                others: 1,
                or_more: false,
                source: None,
            },
            ImportNotFound {
                component: id(),
                import: "airssys:core/storage@1.0.0#exists".into(),
                reason: Unmet::OtherType {
                    wanted: "bool".into(),
                    provided: Some("result<bool, storage-error>".into()),
                },
                others: 2,
                or_more: true,
                source: None,
            },
            ExportNotFound {
                component: id(),
                export: "run\u{1b}[2J".into(),
            },
            InstantiationFailed {
                component: id(),
                reason: "too many\ninstances".into(),
                source: cause(),
            },
            InitializationFailed {
                component: id(),
                error: LifecycleError::InitializationFailed("no \nconfig".into()),
            },
            Trapped {
                component: id(),
                export: "handle-\nmessage".into(),
                trap: Trap::Unreachable,
                frames: frames(),
                fuel_consumed: 12,
                source: cause(),
                last_words: None,
            },
            Timeout {
                component: id(),
                export: "handle-\nmessage".into(),
                limit: Duration::from_millis(100),
                fuel_consumed: 1_234_567,
                frames: frames(),
            },
            ResourceLimitExceeded {
                component: id(),
                export: "handle-\nmessage".into(),
                resource: Resource::Fuel,
                limit: 1 << 20,
                requested: None,
                charged_ahead: false,
                fuel_consumed: 1 << 20,
                frames: frames(),
                source: cause(),
            },
            ResourceLimitExceeded {
                component: id(),
                export: "instantiate".into(),
                resource: Resource::Memory,
                limit: 1 << 20,
                requested: None,
                charged_ahead: false,
                fuel_consumed: 12,
                frames: frames(),
                source: cause(),
            },
            ResourceLimitExceeded {
                component: id(),
                export: "instantiate".into(),
                resource: Resource::Memory,
                limit: 1 << 20,
                requested: Some((1 << 20) + 1),
                charged_ahead: false,
                fuel_consumed: 12,
                frames: frames(),
                source: cause(),
            },
            ResourceLimitExceeded {
                component: id(),
                export: "handle-message".into(),
                resource: Resource::HostMemory {
                    item: "a stream of a file",
                },
                limit: 2 << 20,
                requested: Some((2 << 20) + 1),
                charged_ahead: false,
                fuel_consumed: 12,
                frames: frames(),
                source: None,
            },
            ComponentFailed {
                component: id(),
                source: Arc::new(WasmError::Timeout {
                    component: id(),
                    export: "health".into(),
                    limit: Duration::from_secs(1),
                    fuel_consumed: 5,
                    frames: frames(),
                }),
            },
            GuestError {
                component: id(),
                error: GuestError::RuntimeError("no".into()),
            },
            ShutdownFailed {
                component: id(),
                error: LifecycleError::NotInitialized,
            },
            InvalidArguments {
                component: id(),
                export: "a\ndd".into(),
                reason: "takes 2 arguments,\nnot 1".into(),
            },
            Unsupported {
                what: "snapshots".into(),
            },
        )
        .into()
    }

    fn kinds_with(question: impl Fn(&WasmError) -> bool) -> Vec<&'static str> {
        let asked = all().into_iter().filter(|(_, error)| question(error));
        let mut kinds: Vec<_> = asked.map(|(kind, _)| kind).collect();
        kinds.dedup();
        kinds
    }

    #[test]
    fn messages_name_component_place_and_key() {
        let with_cause = all().into_iter().map(|(kind, error)| {
            let cause = error.source().map(|cause| format!("\n    cause: {cause}"));
            (kind, format!("{error}{}", cause.unwrap_or_default()))
        });
        snapshot("wasm-error", with_cause);
    }

    #[test]
    fn each_question_is_about_its_kinds() {
        assert_eq!(
            kinds_with(WasmError::is_load_error),
            [
                "LoadFailed",
                "InvalidComponent",
                "InvalidLimits",
                "ImportNotFound",
                "InstantiationFailed",
                "InitializationFailed",
            ]
        );
        assert_eq!(
            kinds_with(WasmError::is_limit_error),
            ["Timeout", "ResourceLimitExceeded"]
        );
        assert_eq!(
            kinds_with(WasmError::fails_instance),
            [
                "Trapped",
                "Timeout",
                "ResourceLimitExceeded",
                "ComponentFailed",
            ]
        );
        assert_eq!(kinds_with(WasmError::is_guest_error), ["GuestError"]);
        assert_eq!(
            kinds_with(|error| error.component().is_none()),
            ["EngineInitialization", "LoadFailed", "Unsupported"]
        );
        assert_eq!(
            kinds_with(|error| !error.frames().is_empty()),
            [
                "Trapped",
                "Timeout",
                "ResourceLimitExceeded",
                "ComponentFailed",
            ]
        );
    }

    #[test]
    fn last_words_are_on_one_line_and_bounded() {
        let trapped = |words: &str| {
            let error = WasmError::Trapped {
                component: "demo/a/main".parse().unwrap(),
                export: "f".into(),
                trap: Trap::Unreachable,
                frames: Box::default(),
                fuel_consumed: 0,
                source: None,
                last_words: Some(words.into()),
            };
            error.to_string()
        };
        assert_eq!(
            trapped("thread 'main' panicked at src/lib.rs:3:5:\nno \u{1b}[31m\"tea\""),
            "demo/a/main trapped in `f`: `unreachable` was executed; its last words: \
             \"thread 'main' panicked at src/lib.rs:3:5: / no \\u{1b}[31m'tea'\""
        );
        let long = trapped(&"ü".repeat(401));
        assert_eq!(long.matches('ü').count(), 400, "{long}");
        assert!(long.contains("\"…ü"), "{long}");
    }

    #[test]
    fn the_component_at_fault_is_known() {
        for (_, error) in all() {
            assert_eq!(*error.component().unwrap_or(&id()), id());
        }
    }

    #[test]
    fn frames_are_those_of_the_failure() {
        for (_, error) in all() {
            assert!(error.frames().is_empty() || *error.frames() == *frames());
        }
    }

    #[test]
    fn a_failed_component_leads_to_what_the_engine_said() {
        let trapped = WasmError::Trapped {
            component: id(),
            export: "f".into(),
            trap: Trap::StackOverflow,
            frames: frames(),
            fuel_consumed: 0,
            source: cause(),
            last_words: None,
        };
        let failed = WasmError::ComponentFailed {
            component: id(),
            source: Arc::new(trapped),
        };
        let mut chain = vec![failed.to_string()];
        let mut below = failed.source();
        while let Some(error) = below {
            chain.push(error.to_string());
            below = error.source();
        }
        assert_eq!(
            chain,
            [
                "demo/a/main has failed and must be restarted; it failed because demo/a/main \
                 trapped in `f`: call stack exhausted",
                "demo/a/main trapped in `f`: call stack exhausted",
                "the cause",
            ]
        );
    }

    #[test]
    fn an_io_error_can_be_had_back() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = WasmError::unreadable(Path::new("a.wasm"), denied);
        assert_eq!(
            error.to_string(),
            "a.wasm could not be loaded: permission denied"
        );
        // `source()` gives the shared pointer; the field gives what it points to.
        let WasmError::LoadFailed {
            source: Some(cause),
            ..
        } = error
        else {
            panic!("{error}")
        };
        assert_eq!(
            cause.downcast_ref().map(io::Error::kind),
            Some(io::ErrorKind::PermissionDenied)
        );
    }

    #[test]
    fn traps_in_words() {
        let traps = every!(
            Trap,
            Unreachable,
            MemoryOutOfBounds,
            TableOutOfBounds,
            IndirectCallToNull,
            BadSignature,
            IntegerOverflow,
            IntegerDivisionByZero,
            BadConversionToInteger,
            StackOverflow,
            HostPanic("index 1\n".into()),
            RefusedByHost("not\nUTF-8".into()),
            Other("o\ndd".into()),
        );
        snapshot("trap", traps);
    }

    #[test]
    fn frames_print_like_in_a_stack_trace() {
        let printed: Vec<String> = frames().iter().map(WasmFrame::to_string).collect();
        assert_eq!(printed, ["core!run @ 0x1f", "<unnamed>!<function 7>"]);
        let odd = WasmFrame::new(Some("\u{7}".into()), Some("\u{202e}".into()), 0, None);
        assert_eq!(odd.to_string(), "\\u{7}!\\u{202e}");
    }

    #[test]
    fn what_a_guest_answers_is_named_as_in_the_contract() {
        let text = || "a\nb".to_owned();
        let answers = every!(
            GuestError,
            ComponentNotFound(text()),
            InstantiationFailed(text()),
            ExportNotFound(text()),
            Timeout,
            ResourceLimitExceeded(text()),
            InvalidComponent(text()),
            RuntimeError(text()),
        );
        snapshot("guest-error", answers);
        let answers = every!(
            LifecycleError,
            InitializationFailed(text()),
            AlreadyInitialized,
            NotInitialized,
            ShutdownFailed(text()),
            InvalidState(text()),
        );
        snapshot("lifecycle-error", answers);
    }

    #[test]
    fn what_a_component_says_is_quoted_and_kept_in_part() {
        let long = "x".repeat(10_000);
        let failed = WasmError::InstantiationFailed {
            component: id(),
            reason: long.clone(),
            source: None,
        };
        assert_eq!(failed.to_string().matches('x').count(), 1000);
        let frame = WasmFrame::new(Some(long.clone()), Some(long), 0, None);
        for name in [&frame.module, &frame.function] {
            assert_eq!(name.as_ref().map(String::len), Some(256));
        }
    }

    #[test]
    fn results_stay_small() {
        assert!(size_of::<WasmError>() <= 128, "{}", size_of::<WasmError>());
    }
}
