//! A component of a host: what it is loaded with; in the files below, what becomes of it.

pub(crate) mod alarm;
pub(crate) mod budget;
pub(crate) mod delivery;
pub(crate) mod denials;
pub(crate) mod dormant;
pub(crate) mod handled;
pub(crate) mod instance;
pub(crate) mod orders;
pub(crate) mod poll;
pub(crate) mod port;
pub(crate) mod recipe;
pub(crate) mod registry;
pub(crate) mod resident;
pub(crate) mod restarts;
pub(crate) mod sleepers;
pub(crate) mod status;
pub(crate) mod swap;
pub(crate) mod task;

use bytes::Bytes;

use wasm_core::{ComponentConfig, ComponentId, Supervision};

/// A component to be loaded.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Component {
    /// Who it is; a host has one of each id.
    pub id: ComponentId,
    /// The component's binary.
    pub bytes: Bytes,
    /// What it may use and do.
    pub config: ComponentConfig,
    /// What becomes of it when it fails, and how much may wait for it.
    pub supervision: Supervision,
    /// What others are told when they ask for it.
    pub version: Option<String>,
}

impl Component {
    /// One that is not restarted, with room for 1,024 messages and no version.
    pub fn new(id: ComponentId, bytes: impl Into<Bytes>, config: ComponentConfig) -> Self {
        Self {
            id,
            bytes: bytes.into(),
            config,
            supervision: Supervision::default(),
            version: None,
        }
    }

    /// Sets [`supervision`](Self::supervision).
    #[must_use]
    pub fn with_supervision(mut self, supervision: Supervision) -> Self {
        self.supervision = supervision;
        self
    }

    /// Sets [`version`](Self::version).
    #[must_use]
    pub fn with_version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }
}
