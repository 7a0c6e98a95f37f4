//! A type that is a component becomes the component of its crate.

use crate::component::Component;

/// What `Cargo.toml` says of a component's crate.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct Package {
    pub name: &'static str,
    pub version: &'static str,
    pub description: &'static str,
    /// With colons in between, as Cargo has them.
    pub authors: &'static str,
    pub license: &'static str,
}

/// A component whose crate is known; written by [`export!`](crate::export!).
pub trait Packaged: Component {
    /// What `Cargo.toml` says.
    const PACKAGE: Package;
}

#[cfg(target_family = "wasm")]
pub use glue::Exported;

#[cfg(target_family = "wasm")]
mod glue {
    use std::any::Any;
    use std::cell::RefCell;
    use std::marker::PhantomData;

    use super::Packaged;
    use crate::bindings::airssys::core::errors::{ComponentError, WasmError};
    use crate::bindings::airssys::core::types;
    use crate::bindings::exports::airssys::core::component_lifecycle::{ComponentMetadata, Guest};
    use crate::call::Running;
    use crate::config::Config;
    use crate::error::{Error, Result};
    use crate::health::HealthStatus;
    use crate::message::Answer;
    use crate::payload::Payload;

    /// The exports of the contract, for the one component of a module.
    pub struct Exported<C>(PhantomData<C>);

    thread_local! {
        /// The [`Running`] of the module's component; a static has no type parameter.
        static RUNNING: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
    }

    /// Has something done by the instance. It is not called while it is called.
    fn run<C: Packaged, R>(act: impl FnOnce(&mut Running<C>) -> Result<R>) -> Result<R> {
        RUNNING.with_borrow_mut(|running| {
            match running.as_mut().and_then(|running| running.downcast_mut()) {
                Some(running) => act(running),
                None => Err(Error::new("the component is not initialized")),
            }
        })
    }

    impl<C: Packaged> Guest for Exported<C> {
        fn initialize(config: types::ComponentConfig) -> Result<(), ComponentError> {
            tell_panics();
            let config = Config {
                data: config.config_data.map(Into::into),
                variables: config.env_vars,
            };
            let running = Running::<C>::start(&config)
                .map_err(|error| ComponentError::InitializationFailed(error.into_text()))?;
            RUNNING.set(Some(Box::new(running)));
            Ok(())
        }

        fn handle_message(message: types::ComponentMessage) -> Result<Option<Vec<u8>>, WasmError> {
            let reply = run::<C, _>(|running| running.handle(message.into()));
            let reply = reply.map_err(|error| WasmError::RuntimeError(error.into_text()))?;
            Ok(reply.map(Payload::into_bytes))
        }

        fn handle_callback(callback: types::ComponentMessage) -> Result<(), WasmError> {
            run::<C, _>(|running| running.answer(Answer::of(callback.into())))
                .map_err(|error| WasmError::RuntimeError(error.into_text()))
        }

        fn metadata() -> ComponentMetadata {
            let package = C::PACKAGE;
            ComponentMetadata {
                name: package.name.to_owned(),
                version: package.version.to_owned(),
                description: package.description.to_owned(),
                author: package.authors.to_owned(),
                license: package.license.to_owned(),
                supported_operations: C::OPERATIONS
                    .iter()
                    .map(|name| (*name).to_owned())
                    .collect(),
                stateful: C::STATEFUL,
            }
        }

        fn health() -> types::HealthStatus {
            match run::<C, _>(|running| Ok(running.health())) {
                Ok(HealthStatus::Healthy) => types::HealthStatus::Healthy,
                Ok(HealthStatus::Degraded) => types::HealthStatus::Degraded,
                Ok(HealthStatus::Unhealthy) => types::HealthStatus::Unhealthy,
                Ok(HealthStatus::Unknown) | Err(_) => types::HealthStatus::Unknown,
            }
        }

        fn shutdown() -> Result<(), ComponentError> {
            run::<C, _>(Running::shutdown)
                .map_err(|error| ComponentError::ShutdownFailed(error.into_text()))
        }
    }

    /// Without standard error, the log is the only place for a panic's message: what follows
    /// is a trap that says nothing.
    fn tell_panics() {
        #[cfg(target_os = "unknown")]
        std::panic::set_hook(Box::new(|panic| {
            crate::log!(error, "{panic}");
        }));
    }
}
