use std::fmt::{self, Debug};
use std::sync::Arc;

use wasm_core::{
    Clock, ComponentDirectory, ComponentId, ComponentLoader, ComponentStorage, HostServices,
    MemoryStorage, MessageRouter, PermissionsOnly, RuntimeEngine, SecurityValidator, SystemClock,
};

use crate::component::registry::Registry;
use crate::host::Host;
use crate::limits::HostLimits;
use crate::post::carrier::Carrier;
use crate::post::office::Office;
use crate::post::router::Router;
use crate::post::timers::Timers;
use crate::watch::metrics;

type Wrap<T> = Box<dyn FnOnce(Arc<T>) -> Arc<T> + Send>;

/// Puts a [`Host`] together.
///
/// By default, storage lasts as long as the host, the clock is the system's, and the
/// permissions of components alone decide what they may do.
pub struct HostBuilder {
    limits: HostLimits,
    storage: Arc<dyn ComponentStorage>,
    validator: Arc<dyn SecurityValidator>,
    clock: Arc<dyn Clock>,
    loader: Option<Arc<dyn ComponentLoader>>,
    program: Option<ComponentId>,
    wrap: Option<Wrap<dyn MessageRouter>>,
    carrier: Option<Arc<dyn Carrier>>,
    directory: Option<Wrap<dyn ComponentDirectory>>,
}

impl Default for HostBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl HostBuilder {
    /// With the defaults.
    pub fn new() -> Self {
        Self {
            limits: HostLimits::default(),
            storage: Arc::new(MemoryStorage::new()),
            validator: Arc::new(PermissionsOnly),
            clock: Arc::new(SystemClock),
            loader: None,
            program: None,
            wrap: None,
            carrier: None,
            directory: None,
        }
    }

    /// What all components may use together.
    #[must_use]
    pub fn with_limits(mut self, limits: HostLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Keeps what components store; see [`RedbStorage`](crate::RedbStorage).
    #[must_use]
    pub fn with_storage(mut self, storage: Arc<dyn ComponentStorage>) -> Self {
        self.storage = storage;
        self
    }

    /// Is asked after the permissions of a component have allowed something.
    #[must_use]
    pub fn with_validator(mut self, validator: Arc<dyn SecurityValidator>) -> Self {
        self.validator = validator;
        self
    }

    /// Tells components the time, and stamps messages.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// For [`Host::load_by_id`].
    #[must_use]
    pub fn with_loader(mut self, loader: Arc<dyn ComponentLoader>) -> Self {
        self.loader = Some(loader);
        self
    }

    /// Puts a router between the components and the host's own, which `wrap` is given: one
    /// that counts, one that looks at what is sent.
    #[must_use]
    pub fn with_router(
        mut self,
        wrap: impl FnOnce(Arc<dyn MessageRouter>) -> Arc<dyn MessageRouter> + Send + 'static,
    ) -> Self {
        self.wrap = Some(Box::new(wrap));
        self
    }

    /// Makes this host one of several: what this carries reaches components of the others.
    #[must_use]
    pub fn with_carrier(mut self, carrier: Arc<dyn Carrier>) -> Self {
        self.carrier = Some(carrier);
        self
    }

    /// Puts a directory between the components and the host's own, which `wrap` is given: one
    /// that knows the components of other hosts, too.
    #[must_use]
    pub fn with_directory(
        mut self,
        wrap: impl FnOnce(Arc<dyn ComponentDirectory>) -> Arc<dyn ComponentDirectory> + Send + 'static,
    ) -> Self {
        self.directory = Some(Box::new(wrap));
        self
    }

    /// As whom the program sends, by default `host/program/main`.
    #[must_use]
    pub fn with_program_id(mut self, id: ComponentId) -> Self {
        self.program = Some(id);
        self
    }

    /// Starts a host around the engine that `engine` makes with these services. Its tasks
    /// run on this tokio runtime, which must have its timer enabled, whoever asks for them.
    ///
    /// # Errors
    /// That of `engine`.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start<E, X>(
        self,
        engine: impl FnOnce(HostServices) -> Result<Arc<E>, X>,
    ) -> Result<Host<E>, X>
    where
        E: RuntimeEngine + ?Sized + 'static,
    {
        metrics::describe();
        let program = self.program.unwrap_or_else(default_program);
        let office = Office::new(program, self.limits, Arc::clone(&self.clock));
        let office = Arc::new(office.with_carrier(self.carrier));
        let registry = Arc::new(Registry::new(&office));
        let timers = Timers::new(Arc::clone(&self.storage), &office);
        let own = Router::new(&office, &registry, self.validator);
        let router = Arc::clone(&own) as Arc<dyn MessageRouter>;
        let directory = Arc::clone(&own) as Arc<dyn ComponentDirectory>;
        let services = HostServices::default()
            .with_router(match self.wrap {
                Some(wrap) => wrap(router),
                None => router,
            })
            .with_timers(Arc::clone(&timers) as Arc<_>)
            .with_storage(self.storage)
            .with_validator(Arc::clone(&own) as Arc<dyn SecurityValidator>)
            .with_directory(match self.directory {
                Some(wrap) => wrap(directory),
                None => directory,
            })
            .with_clock(self.clock);
        let engine = engine(services.clone())?;
        Ok(Host::start(engine, own, timers, services, self.loader))
    }
}

fn default_program() -> ComponentId {
    match ComponentId::new("host", "program", "main") {
        Ok(id) => id,
        Err(_) => unreachable!("each segment is a word"),
    }
}

impl Debug for HostBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostBuilder")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
