use std::fmt::{self, Debug};
use std::sync::Arc;

use crate::{
    Clock, ComponentDirectory, ComponentStorage, ComponentTimers, MemoryStorage, MessageRouter,
    NoOtherComponents, NoTimers, PermissionsOnly, SecurityValidator, SystemClock,
};

/// What an engine calls when a component calls its host.
///
/// The default is a component on its own: no other components, no timers, storage in
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
    /// Sends components messages of their own, later.
    pub timers: Arc<dyn ComponentTimers>,
}

impl Default for HostServices {
    fn default() -> Self {
        Self {
            router: Arc::new(NoOtherComponents),
            storage: Arc::new(MemoryStorage::new()),
            validator: Arc::new(PermissionsOnly),
            directory: Arc::new(NoOtherComponents),
            clock: Arc::new(SystemClock),
            timers: Arc::new(NoTimers),
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

    /// Replaces [`timers`](Self::timers).
    #[must_use]
    pub fn with_timers(mut self, timers: Arc<dyn ComponentTimers>) -> Self {
        self.timers = timers;
        self
    }
}

impl Debug for HostServices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostServices").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::poll::now;
    use crate::{
        Capability, CapabilityDenied, ComponentHandle, ComponentId, ComponentMessage,
        MessagingError, Timestamp,
    };

    #[test]
    fn by_default_a_component_is_on_its_own() {
        let services = HostServices::default();
        let id = ComponentId::new("demo", "a", "main").unwrap();
        let handle = ComponentHandle::new(id.clone(), 1);
        let message = ComponentMessage::new(id.clone(), id.clone(), "hi");
        assert_eq!(
            now(services.router.send(&handle, message)),
            Err(MessagingError::TargetNotFound(id.clone()))
        );
        assert_eq!(now(services.directory.info(&id)), None);
        assert_eq!(now(services.storage.get(&id, "k")), Ok(None));
        assert_eq!(
            services.validator.validate(&handle, &Capability::Storage),
            Ok(())
        );
        assert_ne!(services.clock.now(), Timestamp::default());
        assert_eq!(format!("{services:?}"), "HostServices { .. }");
    }

    #[test]
    fn each_service_can_be_replaced() {
        struct Stopped;

        impl Clock for Stopped {
            fn now(&self) -> Timestamp {
                Timestamp::default()
            }
        }

        impl SecurityValidator for Stopped {
            fn validate(
                &self,
                _: &ComponentHandle,
                capability: &Capability,
            ) -> Result<(), CapabilityDenied> {
                Err(CapabilityDenied::not_granted(capability.clone()))
            }
        }

        let storage = Arc::new(MemoryStorage::new());
        let router: Arc<dyn MessageRouter> = Arc::new(NoOtherComponents);
        let directory: Arc<dyn ComponentDirectory> = Arc::new(NoOtherComponents);
        let timers: Arc<dyn ComponentTimers> = Arc::new(NoTimers);
        let services = HostServices::default()
            .with_timers(timers.clone())
            .with_router(router.clone())
            .with_storage(storage.clone())
            .with_validator(Arc::new(Stopped))
            .with_directory(directory.clone())
            .with_clock(Arc::new(Stopped))
            .clone();
        assert!(Arc::ptr_eq(&services.router, &router));
        assert!(Arc::ptr_eq(&services.directory, &directory));
        assert!(Arc::ptr_eq(&services.timers, &timers));
        assert_eq!(services.clock.now(), Timestamp::default());
        let id = ComponentId::new("demo", "a", "main").unwrap();
        now(services.storage.set(&id, "k", Bytes::from("v"), u64::MAX)).unwrap();
        assert_eq!(now(storage.get(&id, "k")), Ok(Some(Bytes::from("v"))));
        let handle = ComponentHandle::new(id, 1);
        assert_eq!(
            services.validator.validate(&handle, &Capability::Storage),
            Err(CapabilityDenied::not_granted(Capability::Storage))
        );
    }
}
