//! How components are compiled: by this program once more, in a process for each.

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use wasm_core::units::{parse_bytes, parse_duration};
use wasm_runtime::{
    Allocation, Compiler, CompilerLimits, CompilerProcess, EngineConfig, compile_for_parent,
};

use crate::output::report::Report;

/// The first argument of a process that compiles. Nobody types it.
const COMPILER: &str = "compile-for-parent";

/// Where compiled code is kept, if not where the user's caches are. Empty, or no absolute path: nowhere.
pub(crate) const CACHE_VARIABLE: &str = "AIRSSYS_WASM_CACHE";

/// Where compiled code is kept; `None` for a user without a home.
pub(crate) fn cache_folder() -> Option<PathBuf> {
    if let Some(folder) = env::var_os(CACHE_VARIABLE) {
        // From where the program is, a stranger's folder could bring a key of its own.
        let folder = PathBuf::from(folder);
        return folder.is_absolute().then_some(folder);
    }
    let absolute = |name: &str| {
        let path = PathBuf::from(env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    caches.map(|caches| caches.join("airssys-wasm"))
}

/// Ends what was started to compile a component; `None` for what a user started.
pub(crate) fn compile_if_asked() -> Option<ExitCode> {
    let mut arguments = env::args_os().skip(1);
    let is_compiler = arguments.next().as_deref() == Some(OsStr::new(COMPILER));
    is_compiler.then(|| compile_for_parent(arguments))
}

/// What compiling one component may take, and what it may keep.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Compiling")]
pub(crate) struct CompilerFlags {
    /// Memory that compiling one component may take
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "1GiB",
        value_parser = parse_bytes,
        hide_short_help = true
    )]
    compile_memory: u64,

    /// Processor time that compiling one component may take
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "60s",
        value_parser = parse_duration,
        hide_short_help = true
    )]
    compile_cpu: Duration,

    /// Time after which the compiler of one component is ended
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "5min",
        value_parser = parse_duration,
        hide_short_help = true
    )]
    compile_timeout: Duration,

    /// Compile in this process, without these three limits
    #[arg(long, hide_short_help = true)]
    compile_in_process: bool,

    /// Keep nothing that was compiled, and use nothing that was kept
    #[arg(long, hide_short_help = true)]
    no_cache: bool,

    /// Most compiled code that is kept on disk; what was not used for longest is removed first
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "1GiB",
        value_parser = parse_bytes,
        conflicts_with = "no_cache",
        hide_short_help = true
    )]
    cache_size: u64,

    /// Host memory that one component may keep while it is loaded: code, types, names
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "256MiB",
        value_parser = parse_bytes,
        hide_short_help = true
    )]
    max_host_memory: u64,
}

impl CompilerFlags {
    /// For an engine with room for so many instances at a time.
    pub(crate) fn engine_config(
        &self,
        memory_ceiling: u64,
        instances: u32,
    ) -> Result<EngineConfig, Report> {
        let config = EngineConfig::default()
            .with_allocation(Allocation::Pooled { instances })
            .with_memory_ceiling_bytes(memory_ceiling)
            .with_max_host_bytes(self.max_host_memory)
            .with_compiler(self.compiler()?);
        // Also where it is not used this time: the next time it may be.
        let config = match cache_folder() {
            Some(folder) => config.with_guarded(folder),
            None => config,
        };
        Ok(match self.cache() {
            Some(folder) => config.with_cache(folder).with_cache_bytes(self.cache_size),
            None => config,
        })
    }

    /// Whether what is compiled is kept.
    pub(crate) fn keeps_compiled(&self) -> bool {
        self.cache().is_some()
    }

    fn cache(&self) -> Option<PathBuf> {
        if self.no_cache { None } else { cache_folder() }
    }

    fn compiler(&self) -> Result<Compiler, Report> {
        if self.compile_in_process {
            return Ok(Compiler::InProcess);
        }
        let process = CompilerProcess::of_this_program(COMPILER).map_err(|error| {
            Report::error(format!("this program cannot be found: {error}"))
                .with_help("--compile-in-process does without it")
        })?;
        let limits = CompilerLimits::default()
            .with_memory_bytes(self.compile_memory)
            .with_cpu(self.compile_cpu)
            .with_timeout(self.compile_timeout);
        Ok(Compiler::Process(process.with_limits(limits)))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        flags: CompilerFlags,
    }

    #[test]
    fn the_defaults_are_those_of_an_engine() {
        let flags = Program::try_parse_from(["x"]).unwrap().flags;
        let config = flags.engine_config(4 << 20, 10).unwrap();
        let Compiler::Process(process) = config.compiler() else {
            panic!("{config:?}");
        };
        assert_eq!(*process.limits(), CompilerLimits::default());
        let defaults = EngineConfig::default();
        assert_eq!(config.max_host_bytes(), defaults.max_host_bytes());
        assert_eq!(
            config.memory_ceiling_bytes(),
            defaults.memory_ceiling_bytes()
        );
    }
}
