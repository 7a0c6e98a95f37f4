//! From a component's bytes to code that can be loaded, where and within which limits
//! the engine was told to.

pub(crate) mod artifact;
pub(crate) mod child;
mod process;
#[cfg(target_os = "linux")]
mod sandbox;
mod settings;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use wasmtime::{Engine, Error, OutOfMemory};

use wasm_core::Defect;
use wasm_core::text::shortened;

use crate::compiler::artifact::Artifact;
use crate::config::CodeSettings;
use crate::error::{MAX_SAID_BYTES, chain};
use crate::survey::{self, Rejection};

/// Where components are compiled.
///
/// Nothing that a component is limited to holds while it is compiled, and neither the
/// time nor the memory that this takes is known in advance. A process of its own has
/// limits that the operating system enforces.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Compiler {
    /// In the engine's process, as many components at a time as there are processors. A component that would take
    /// much more than others of its size is refused by counting what it has, which
    /// leaves it seconds of a processor and hundreds of megabytes.
    #[default]
    InProcess,
    /// In a process that is started for each component and ended with it.
    Process(CompilerProcess),
}

/// A program that compiles one component and ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompilerProcess {
    program: PathBuf,
    arguments: Vec<OsString>,
    limits: CompilerLimits,
    processes: usize,
}

impl CompilerProcess {
    /// Starts `program`, which has to be `airssys-wasm-compiler` of the same release as
    /// this crate, or another program that calls [`compile_for_parent`] first of all.
    ///
    /// [`compile_for_parent`]: crate::compile_for_parent
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Self {
            program: program.into(),
            arguments: Vec::new(),
            limits: CompilerLimits::default(),
            processes: processors.max(MIN_PROCESSES),
        }
    }

    /// Starts the running program once more, which has to call [`compile_for_parent`]
    /// when `argument` is its first.
    ///
    /// [`compile_for_parent`]: crate::compile_for_parent
    ///
    /// # Errors
    /// The operating system does not tell which program is running.
    pub fn of_this_program(argument: impl Into<OsString>) -> io::Result<Self> {
        // On Linux this is the file that is running, also if another one has its name by
        // now, and the compiler has to be of the same release.
        let program = if cfg!(target_os = "linux") {
            PathBuf::from("/proc/self/exe")
        } else {
            std::env::current_exe()?
        };
        Ok(Self::new(program).with_argument(argument))
    }

    /// Adds an argument before those that the engine gives the program.
    #[must_use]
    pub fn with_argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Replaces the limits of each process.
    #[must_use]
    pub fn with_limits(mut self, limits: CompilerLimits) -> Self {
        self.limits = limits;
        self
    }

    /// How many components are compiled at a time; others wait for their turn. By default
    /// as many as there are processors, and four at the least, so that three that take
    /// long hold up nobody else.
    #[must_use]
    pub fn with_processes(mut self, processes: usize) -> Self {
        self.processes = processes.max(1);
        self
    }

    /// The limits of each process.
    pub fn limits(&self) -> &CompilerLimits {
        &self.limits
    }
}

/// See [`CompilerProcess::with_processes`].
const MIN_PROCESSES: usize = 4;

/// What compiling one component may take.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompilerLimits {
    /// Memory of the process, in bytes, as Linux counts `RLIMIT_DATA`.
    pub memory_bytes: u64,
    /// Processor time of all its threads, rounded up to whole seconds (`RLIMIT_CPU`).
    pub cpu: Duration,
    /// Time that passes from its start to its end; waiting for its turn not counted.
    pub timeout: Duration,
}

impl Default for CompilerLimits {
    /// 1 GiB, 60 s of processor time and 5 min in all. A Python interpreter of 19 MB, the
    /// largest component measured, takes 0.4 GiB and, on a slow machine, 24 s.
    fn default() -> Self {
        Self {
            memory_bytes: 1 << 30,
            cpu: Duration::from_secs(60),
            timeout: Duration::from_secs(300),
        }
    }
}

impl CompilerLimits {
    /// Replaces [`memory_bytes`](Self::memory_bytes).
    #[must_use]
    pub fn with_memory_bytes(mut self, bytes: u64) -> Self {
        self.memory_bytes = bytes;
        self
    }

    /// Replaces [`cpu`](Self::cpu).
    #[must_use]
    pub fn with_cpu(mut self, cpu: Duration) -> Self {
        self.cpu = cpu;
        self
    }

    /// Replaces [`timeout`](Self::timeout).
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

/// What a compiler made.
pub(crate) struct Compilation {
    pub(crate) artifact: Artifact,
    /// Size of the part of the artifact that is turned into tables of types, exports and
    /// names when it is loaded; the rest is used as it is.
    pub(crate) metadata_bytes: u64,
}

/// How much larger metadata is in memory than in an artifact, where a name and two numbers
/// take as many bytes as they have digits, and in memory an entry of a hash map each.
const METADATA_GROWTH: u64 = 32;

impl Compilation {
    /// Host memory that it takes when it is loaded, in bytes.
    pub(crate) fn host_bytes(&self) -> u64 {
        let metadata = self.metadata_bytes.saturating_mul(METADATA_GROWTH);
        self.artifact.bytes().saturating_add(metadata)
    }
}

/// Why there is nothing compiled.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The component is at fault.
    Component(Defect),
    /// There was not enough memory.
    OutOfMemory,
    /// The compiler is at fault.
    Compiler(String),
}

impl From<Defect> for Failure {
    fn from(defect: Defect) -> Self {
        Self::Component(defect)
    }
}

impl Compiler {
    /// How many components may be compiled at a time.
    pub(crate) fn processes(&self) -> usize {
        match self {
            // A large component takes all of them by itself, small ones one each.
            Self::InProcess => thread::available_parallelism().map_or(1, usize::from),
            Self::Process(process) => process.processes,
        }
    }

    /// Blocks its thread until the component is compiled. `max_artifact_bytes` bounds what
    /// a compiler may hand over.
    pub(crate) fn compile(
        &self,
        engine: &Engine,
        code: CodeSettings,
        bytes: &[u8],
        max_artifact_bytes: u64,
    ) -> Result<Compilation, Failure> {
        match self {
            Self::InProcess => {
                let (code, metadata_bytes) = compile(engine, bytes)?;
                let artifact = Artifact::in_memory(code);
                Ok(Compilation {
                    artifact,
                    metadata_bytes,
                })
            }
            Self::Process(process) => process.compile(bytes, code, max_artifact_bytes),
        }
    }
}

/// Counts, validates and compiles; the code with the size of its metadata.
fn compile(engine: &Engine, bytes: &[u8]) -> Result<(Vec<u8>, u64), Failure> {
    survey::check(bytes).map_err(defect)?;
    let compiled = engine.precompile_component(bytes);
    let code = compiled.map_err(|error| match is_out_of_memory(&error) {
        true => Failure::OutOfMemory,
        false => unsupported(bytes, &error).into(),
    })?;
    let metadata_bytes = artifact::metadata_bytes(&code);
    Ok((code, metadata_bytes))
}

/// Counts what a component has, in one pass that takes next to no memory, for whoever wants
/// to look into one that no engine has accepted: what passes costs a parser little.
///
/// # Errors
/// [`Defect::TooComplex`] as an engine would say it, [`Defect::Malformed`] for what is no
/// component at all.
pub fn count_component(bytes: &[u8]) -> Result<survey::ComponentNeeds, Defect> {
    survey::count(bytes)
        .map(|counted| counted.needs)
        .map_err(defect)
}

fn defect(rejection: Rejection) -> Defect {
    match rejection {
        Rejection::Invalid(error) => malformed(&error.into()),
        Rejection::TooComplex(defect) => defect,
    }
}

/// What the engine refuses although it is valid.
fn unsupported(bytes: &[u8], error: &Error) -> Defect {
    match survey::proposals::used(bytes) {
        // Around its cause, it says that parsing failed, which it did not.
        (proposals, _) if proposals.is_empty() => Defect::Malformed {
            reason: shortened(MAX_SAID_BYTES, error.root_cause()),
        },
        (proposals, advice) => Defect::Unsupported { proposals, advice },
    }
}

fn malformed(error: &Error) -> Defect {
    Defect::Malformed {
        reason: chain(error),
    }
}

fn is_out_of_memory(error: &Error) -> bool {
    error.is::<OutOfMemory>()
        || error
            .chain()
            .filter_map(|layer| layer.downcast_ref::<io::Error>())
            .any(|error| error.kind() == io::ErrorKind::OutOfMemory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiler_has_the_limits_that_it_is_given() {
        let limits = CompilerLimits::default()
            .with_memory_bytes(1)
            .with_cpu(Duration::from_secs(2))
            .with_timeout(Duration::from_secs(3));
        let process = CompilerProcess::new("compiler").with_limits(limits.clone());
        assert_eq!(process.limits(), &limits);
        assert_ne!(limits, CompilerLimits::default());
        assert_eq!(process.clone().with_processes(9).processes, 9);
        // One has to be compiled at least.
        assert_eq!(process.with_processes(0).processes, 1);
    }

    #[test]
    fn what_a_component_has_is_counted_without_an_engine() {
        let text = "(component (core module $m (memory 1)) (core instance (instantiate $m)))";
        let needs = count_component(&wat::parse_str(text).unwrap()).unwrap();
        assert_eq!((needs.core_modules, needs.memory_bytes), (1, 64 << 10));
        let error = count_component(b"no component").unwrap_err();
        assert!(matches!(error, Defect::Malformed { .. }), "{error:?}");
    }

    #[test]
    fn no_memory_is_told_apart_from_other_errors() {
        let of_kind = |kind| Error::from(io::Error::from(kind)).context("compiling");
        assert!(is_out_of_memory(&of_kind(io::ErrorKind::OutOfMemory)));
        assert!(!is_out_of_memory(&of_kind(io::ErrorKind::NotFound)));
        assert!(!is_out_of_memory(&Error::msg("out of memory")));
    }

    #[test]
    fn so_many_compile_at_a_time() {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let process = CompilerProcess::new("compiler");
        assert_eq!(process.processes, processors.max(4));
        assert_eq!(Compiler::InProcess.processes(), processors);
    }
}
