//! The greeter on nothing but wit-bindgen, as any component is written that knows the WIT.

use std::sync::Mutex;

use airssys::core::errors::{ComponentError, StorageError, WasmError};
use airssys::core::host_services::log;
use airssys::core::storage;
use airssys::core::types::{ComponentConfig, ComponentMessage, HealthStatus, LogLevel};
use exports::airssys::core::component_lifecycle::{ComponentMetadata, Guest};

wit_bindgen::generate!({
    world: "runtime-host",
    path: "../../crates/wasm-core/wit/core.wit",
});

static GREETING: Mutex<String> = Mutex::new(String::new());

struct Greeter;

fn text(bytes: Vec<u8>) -> Result<String, WasmError> {
    String::from_utf8(bytes).map_err(|error| WasmError::RuntimeError(error.to_string()))
}

fn failed(error: &StorageError) -> WasmError {
    WasmError::RuntimeError(format!("{error:?}"))
}

impl Guest for Greeter {
    fn initialize(config: ComponentConfig) -> Result<(), ComponentError> {
        let data = config.config_data.unwrap_or_else(|| b"hello".to_vec());
        let greeting = String::from_utf8(data)
            .map_err(|error| ComponentError::InitializationFailed(error.to_string()))?;
        if let Ok(mut kept) = GREETING.lock() {
            *kept = greeting;
        }
        Ok(())
    }

    fn handle_message(message: ComponentMessage) -> Result<Option<Vec<u8>>, WasmError> {
        let name = text(message.payload)?;
        let count = match storage::get(&name).map_err(|error| failed(&error))? {
            Some(stored) => text(stored)?
                .parse::<u64>()
                .map_err(|error| WasmError::RuntimeError(error.to_string()))?,
            None => 0,
        };
        let count = count + 1;
        storage::set(&name, count.to_string().as_bytes()).map_err(|error| failed(&error))?;
        log(
            LogLevel::Info,
            &format!("{name} was greeted {count} times"),
            None,
        );
        let greeting = GREETING.lock().map(|kept| kept.clone()).unwrap_or_default();
        Ok(Some(format!("{greeting} {name}").into_bytes()))
    }

    fn handle_callback(_: ComponentMessage) -> Result<(), WasmError> {
        Ok(())
    }

    fn metadata() -> ComponentMetadata {
        ComponentMetadata {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
            author: String::new(),
            license: env!("CARGO_PKG_LICENSE").to_owned(),
            supported_operations: Vec::new(),
            stateful: true,
        }
    }

    fn health() -> HealthStatus {
        HealthStatus::Healthy
    }

    fn shutdown() -> Result<(), ComponentError> {
        Ok(())
    }
}

export!(Greeter);
