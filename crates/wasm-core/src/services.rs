use std::fmt::{self, Debug};
use std::sync::Arc;

use crate::{
    Clock, ComponentDirectory, ComponentStorage, MemoryStorage, MessageRouter, NoOtherComponents,
    PermissionsOnly, SecurityValidator, SystemClock,
};

/// What an engine calls when a component calls its host.
///
/// The default is a component on its own: no other components, storage in
/// memory, the system's clock, and the permissions it was loaded with.
#[derive(Clone)]
#[non_exhaustive]
pub struct HostServices {
    /// Takes what components send.
    pub router: Arc<dyn MessageRouter>,
    /// Keeps what components store.
    pub storage: Arc<dyn ComponentStorage>,
    /// Can take permissions back.
    pub validator: Arc<dyn SecurityValidator>,
    /// Knows who is there.
    pub directory: Arc<dyn ComponentDirectory>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

impl Default for HostServices {
    fn default() -> Self {
        Self {
            router: Arc::new(NoOtherComponents),
            storage: Arc::new(MemoryStorage::new()),
            validator: Arc::new(PermissionsOnly),
            directory: Arc::new(NoOtherComponents),
            clock: Arc::new(SystemClock),
        }
    }
}

impl HostServices {
    /// Replaces [`router`](Self::router).
    #[must_use]
    pub fn with_router(mut self, router: Arc<dyn MessageRouter>) -> Self {
        self.router = router;
        self
    }

    /// Replaces [`storage`](Self::storage).
    #[must_use]
    pub fn with_storage(mut self, storage: Arc<dyn ComponentStorage>) -> Self {
        self.storage = storage;
        self
    }

    /// Replaces [`validator`](Self::validator).
    #[must_use]
    pub fn with_validator(mut self, validator: Arc<dyn SecurityValidator>) -> Self {
        self.validator = validator;
        self
    }

    /// Replaces [`directory`](Self::directory).
    #[must_use]
    pub fn with_directory(mut self, directory: Arc<dyn ComponentDirectory>) -> Self {
        self.directory = directory;
        self
    }

    /// Replaces [`clock`](Self::clock).
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
}

impl Debug for HostServices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostServices").finish_non_exhaustive()
    }
}
