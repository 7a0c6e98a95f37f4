mod allocation;
mod code;
mod metering;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderMap;
use wasmtime::Config;

use wasm_core::ResourceLimits;

use self::allocation::pool;
pub use self::allocation::{Allocation, Profile};
pub(crate) use self::code::CodeSettings;
use self::code::{WASM_PAGE_BYTES, WHOLE_MEMORY_BYTES};
pub use self::metering::Metering;
use crate::compiler::Compiler;
use crate::wasi::{HostNames, TraceContext};

/// As it is from where the process is now.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// Twenty interpreters of Python.
const CACHE_BYTES: u64 = 1 << 30;

/// Where compiled code is kept, and how much of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CacheConfig {
    pub(crate) folder: PathBuf,
    pub(crate) max_bytes: u64,
}

impl CacheConfig {
    pub(crate) fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: absolute(folder.into()),
            max_bytes: CACHE_BYTES,
        }
    }
}

/// How an engine is set up; the same for all components it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    memory_ceiling_bytes: u64,
    max_component_bytes: u64,
    max_host_bytes: u64,
    max_held_bytes: u64,
    compiler: Compiler,
    log_rate: LogRate,
    allocation: Allocation,
    profile: Profile,
    metering: Metering,
    cache: Option<CacheConfig>,
    guarded: Vec<PathBuf>,
    names: Arc<HostNames>,
    trace_context: TraceContext,
}

impl Default for EngineConfig {
    /// Room for 1,000 instances, reserved in advance, with a profile for speed; a memory
    /// ceiling of 4 MiB; components of up to 32 MiB, half as much again as one that
    /// carries a whole Python interpreter; 256 MiB of host memory for each, three times
    /// what that keeps, and 2 MiB for what each instance makes the host hold, such as 120
    /// streams with full buffers; compiled in this process; 1,000 lines and 256 KiB of log a
    /// second.
    fn default() -> Self {
        Self {
            memory_ceiling_bytes: ResourceLimits::DEFAULT_MEMORY_CEILING_BYTES,
            max_component_bytes: 32 << 20,
            max_host_bytes: 256 << 20,
            max_held_bytes: 2 << 20,
            compiler: Compiler::default(),
            log_rate: LogRate::default(),
            allocation: Allocation::default(),
            profile: Profile::default(),
            metering: Metering::default(),
            cache: None,
            guarded: Vec::new(),
            names: Arc::default(),
            trace_context: TraceContext::default(),
        }
    }
}

impl EngineConfig {
    /// Where instances have their memory.
    #[must_use]
    pub fn with_allocation(mut self, allocation: Allocation) -> Self {
        self.allocation = allocation;
        self
    }

    /// Keeps compiled code in this folder, which is made if there is none, for all engines of
    /// this user that run the same release with the same settings: what is found there is not
    /// compiled again. By default nothing is kept.
    ///
    /// The folder must be this user's alone (mode 0700). Entries are used only if they are as
    /// an engine wrote them, which a key in the folder tells. If the folder cannot be used, or
    /// an entry not be written, a warning says so once and components are compiled.
    #[must_use]
    pub fn with_cache(mut self, folder: impl Into<PathBuf>) -> Self {
        let cache = CacheConfig::new(folder);
        let folder = cache.folder.clone();
        self.cache = Some(cache);
        self.with_guarded(folder)
    }

    /// Keeps components away from a folder, whether or not it is there yet: one that is
    /// granted it, anything in it or anything around it is not loaded. For the cache of other
    /// engines of this user; that of this one is guarded anyway.
    #[must_use]
    pub fn with_guarded(mut self, folder: impl Into<PathBuf>) -> Self {
        self.guarded.push(absolute(folder.into()));
        self
    }

    /// How much the [cache](Self::with_cache) may take on disk, in bytes; 1 GiB by default.
    /// What was used least recently is removed first.
    #[must_use]
    pub fn with_cache_bytes(mut self, bytes: u64) -> Self {
        if let Some(cache) = &mut self.cache {
            cache.max_bytes = bytes;
        }
        self
    }

    /// Whether components compute quickly or many of them fit.
    #[must_use]
    pub fn with_profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// By what a guest that does not end is stopped.
    #[must_use]
    pub fn with_metering(mut self, metering: Metering) -> Self {
        self.metering = metering;
        self
    }

    /// The largest memory limit with which a component may be loaded, in bytes.
    #[must_use]
    pub fn with_memory_ceiling_bytes(mut self, bytes: u64) -> Self {
        self.memory_ceiling_bytes = bytes;
        self
    }

    /// The largest component that is parsed and compiled, in bytes. What compiling
    /// one takes grows with it; components that would take much more than others of
    /// their size are refused as too complex.
    #[must_use]
    pub fn with_max_component_bytes(mut self, bytes: u64) -> Self {
        self.max_component_bytes = bytes;
        self
    }

    /// The most host memory that a component may keep as long as it is loaded, in bytes:
    /// the component itself, its compiled code and data, and what is known of its types,
    /// exports and names. What its instances take is limited by the memory limit.
    #[must_use]
    pub fn with_max_host_bytes(mut self, bytes: u64) -> Self {
        self.max_host_bytes = bytes;
        self
    }

    /// Where components are compiled. Whoever loads components that nobody vouches for
    /// chooses [`Compiler::Process`].
    #[must_use]
    pub fn with_compiler(mut self, compiler: Compiler) -> Self {
        self.compiler = compiler;
        self
    }

    /// The most that the host holds for one instance outside of its memory, in bytes:
    /// streams, listings, files, sockets and the strings of WASI HTTP. A call with
    /// which it would hold more fails with
    /// [`Resource::HostMemory`](wasm_core::Resource::HostMemory).
    #[must_use]
    pub fn with_max_held_bytes(mut self, bytes: u64) -> Self {
        self.max_held_bytes = bytes;
        self
    }

    /// What each component may write to its log and its standard streams in a second,
    /// however often it is called and restarted.
    #[must_use]
    pub fn with_log_rate(mut self, rate: LogRate) -> Self {
        self.log_rate = rate;
        self
    }

    /// The addresses of a host's name, in place of those that the system finds, for HTTP
    /// requests that components send. Like those they must be public, unless a permission
    /// grants them as they are.
    #[must_use]
    pub fn with_host_name(
        mut self,
        name: &str,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Self {
        let names = Arc::make_mut(&mut self.names);
        names.insert(name.to_ascii_lowercase(), addresses.into_iter().collect());
        self
    }

    /// Makes HTTP requests that components send parts of the traces in which they are sent.
    /// Each has a span of `tracing` within that of the call that sends it; `write` is called
    /// within this span, with the headers of the request, and names it in them, such as by
    /// `traceparent`, in place of what the component may have written there. It must not block.
    /// By default requests have the headers that the component gave them.
    #[must_use]
    pub fn with_trace_context(
        mut self,
        write: impl Fn(&mut HeaderMap) + Send + Sync + 'static,
    ) -> Self {
        self.trace_context = TraceContext::new(write);
        self
    }

    /// See [`with_trace_context`](Self::with_trace_context).
    pub(crate) fn trace_context(&self) -> &TraceContext {
        &self.trace_context
    }

    /// See [`with_host_name`](Self::with_host_name).
    pub(crate) fn names(&self) -> &Arc<HostNames> {
        &self.names
    }

    /// The largest memory limit with which a component may be loaded, in bytes.
    pub fn memory_ceiling_bytes(&self) -> u64 {
        self.memory_ceiling_bytes
    }

    /// The most that the host holds for one instance outside of its memory, in bytes.
    pub fn max_held_bytes(&self) -> u64 {
        self.max_held_bytes
    }

    /// The largest component that is parsed and compiled, in bytes.
    pub fn max_component_bytes(&self) -> u64 {
        self.max_component_bytes
    }

    /// The most host memory that a component may keep as long as it is loaded, in bytes.
    pub fn max_host_bytes(&self) -> u64 {
        self.max_host_bytes
    }

    /// Where components are compiled.
    pub fn compiler(&self) -> &Compiler {
        &self.compiler
    }

    /// See [`with_allocation`](Self::with_allocation).
    pub fn allocation(&self) -> Allocation {
        self.allocation
    }

    /// See [`with_profile`](Self::with_profile).
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// See [`with_metering`](Self::with_metering).
    pub fn metering(&self) -> Metering {
        self.metering
    }

    /// See [`with_guarded`](Self::with_guarded).
    pub(crate) fn guarded(&self) -> &[PathBuf] {
        &self.guarded
    }

    /// See [`with_cache`](Self::with_cache).
    pub(crate) fn cache(&self) -> Option<&CacheConfig> {
        self.cache.as_ref()
    }

    /// The settings of wasmtime that an engine of this configuration has, for whoever
    /// compiles for it or measures beside it.
    pub fn wasmtime_config(&self) -> Config {
        let mut config = self.code().wasmtime_config();
        if let Allocation::Pooled { instances } = self.allocation {
            config.allocation_strategy(pool(instances, self.reservation_bytes()));
        }
        config
    }

    /// What compiled code depends on.
    pub(crate) fn code(&self) -> CodeSettings {
        CodeSettings {
            reservation_bytes: self.reservation_bytes(),
            counts_fuel: self.metering == Metering::FuelAndTime,
        }
    }

    fn reservation_bytes(&self) -> u64 {
        match self.profile {
            Profile::Speed => WHOLE_MEMORY_BYTES,
            Profile::Density => {
                let ceiling = self.memory_ceiling_bytes.min(WHOLE_MEMORY_BYTES);
                ceiling.next_multiple_of(WASM_PAGE_BYTES)
            }
        }
    }

    /// What each component may write to its log and its standard streams in a second.
    pub fn log_rate(&self) -> LogRate {
        self.log_rate
    }
}

/// Lines and bytes that a component may write in a second, to its log and its standard
/// streams together; what it was denied and other warnings about it count too. What is
/// more is dropped, and told with how many lines it was, at most once a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRate {
    lines: u32,
    bytes: u64,
}

impl LogRate {
    /// So many lines and so many bytes a second, as they are written: with control
    /// characters spelled out. A line that begins within the bytes is written whole.
    pub const fn new(lines: u32, bytes: u64) -> Self {
        Self { lines, bytes }
    }

    /// Lines a second.
    pub const fn lines(self) -> u32 {
        self.lines
    }

    /// Bytes a second.
    pub const fn bytes(self) -> u64 {
        self.bytes
    }
}

/// Four times what one call may write, and less than anybody reads.
const LINES_PER_SECOND: u32 = 1000;
const LINE_BYTES_PER_SECOND: u64 = 256 << 10;

impl Default for LogRate {
    /// 1,000 lines and 256 KiB.
    fn default() -> Self {
        Self::new(LINES_PER_SECOND, LINE_BYTES_PER_SECOND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_set_up_as_it_is_told() {
        let by_default = EngineConfig::default();
        assert_eq!(by_default.max_component_bytes(), 32 << 20);
        assert_eq!(by_default.max_host_bytes(), 256 << 20);
        assert_eq!(by_default.max_held_bytes(), 2 << 20);
        assert_eq!(
            by_default.allocation(),
            Allocation::Pooled { instances: 1000 }
        );
        assert_eq!(by_default.profile(), Profile::Speed);
        assert_eq!(by_default.metering(), Metering::FuelAndTime);
        assert_eq!(by_default.cache(), None);
        let config = EngineConfig::default()
            .with_allocation(Allocation::OnDemand)
            .with_profile(Profile::Density)
            .with_metering(Metering::Time)
            .with_memory_ceiling_bytes(1)
            .with_max_component_bytes(2)
            .with_max_host_bytes(3)
            .with_max_held_bytes(4)
            .with_log_rate(LogRate::new(5, 6))
            .with_cache("/code")
            .with_cache_bytes(7)
            .with_guarded("/others");
        assert_eq!(config.allocation(), Allocation::OnDemand);
        assert_eq!(config.profile(), Profile::Density);
        assert_eq!(config.metering(), Metering::Time);
        assert_eq!(config.memory_ceiling_bytes(), 1);
        assert_eq!(config.max_component_bytes(), 2);
        assert_eq!(config.max_host_bytes(), 3);
        assert_eq!(config.max_held_bytes(), 4);
        assert_eq!(
            (config.log_rate().lines(), config.log_rate().bytes()),
            (5, 6)
        );
        let cache = config.cache().unwrap();
        assert_eq!(
            (cache.folder.as_path(), cache.max_bytes),
            ("/code".as_ref(), 7)
        );
        assert_eq!(config.guarded(), [PathBuf::from("/code"), "/others".into()]);
        assert_eq!(config.clone(), config);
        assert_ne!(config, by_default);
    }

    /// Where there is no cache, there is nothing to bound.
    #[test]
    fn a_bound_alone_makes_no_cache() {
        assert_eq!(EngineConfig::default().with_cache_bytes(7).cache(), None);
    }

    #[test]
    fn memories_have_the_address_space_of_the_profile() {
        let reserved = |profile, ceiling| {
            let config = EngineConfig::default()
                .with_profile(profile)
                .with_memory_ceiling_bytes(ceiling);
            config.code().reservation_bytes
        };
        assert_eq!(reserved(Profile::Speed, 1), 4 << 30);
        assert_eq!(reserved(Profile::Density, 1), 64 << 10);
        assert_eq!(reserved(Profile::Density, (64 << 10) + 1), 128 << 10);
        assert_eq!(reserved(Profile::Density, u64::MAX), 4 << 30);
    }
}
