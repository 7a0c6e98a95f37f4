use wasm_core::ResourceLimits;

/// How an engine is set up; the same for all components it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    memory_ceiling_bytes: u64,
    max_component_bytes: u64,
}

impl Default for EngineConfig {
    /// A memory ceiling of 4 MiB and components of up to 64 MiB, three times a
    /// component that carries a whole Python interpreter.
    fn default() -> Self {
        Self {
            memory_ceiling_bytes: ResourceLimits::DEFAULT_MEMORY_CEILING_BYTES,
            max_component_bytes: 64 << 20,
        }
    }
}

impl EngineConfig {
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

    /// The largest memory limit with which a component may be loaded, in bytes.
    pub fn memory_ceiling_bytes(&self) -> u64 {
        self.memory_ceiling_bytes
    }

    /// The largest component that is parsed and compiled, in bytes.
    pub fn max_component_bytes(&self) -> u64 {
        self.max_component_bytes
    }
}
