use std::time::Duration;

use bytes::Bytes;
use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentId, ComponentMessage, HostServices, MessagePayload,
    ResourceLimits, WasmError,
};
use wasm_fixtures::Fixture;
use wasm_runtime::{EngineConfig, WasmtimeEngine};

pub fn id(text: &str) -> ComponentId {
    text.parse().unwrap()
}

/// Ample for every fixture that is meant to end.
pub fn limits() -> ResourceLimits {
    ResourceLimits::new(2 << 20, Duration::from_secs(10), Some(100_000_000)).unwrap()
}

pub fn config() -> ComponentConfig {
    ComponentConfig::new(limits())
}

pub fn engine() -> WasmtimeEngine {
    engine_with(HostServices::default())
}

pub fn engine_with(services: HostServices) -> WasmtimeEngine {
    WasmtimeEngine::new(EngineConfig::default(), services).unwrap()
}

pub fn bytes(fixture: Fixture) -> Bytes {
    Bytes::from_static(fixture.wasm)
}

pub async fn load(engine: &WasmtimeEngine, fixture: Fixture, config: ComponentConfig) -> ComponentHandle {
    try_load(engine, fixture, config).await.unwrap()
}

pub async fn try_load(
    engine: &WasmtimeEngine,
    fixture: Fixture,
    config: ComponentConfig,
) -> Result<ComponentHandle, WasmError> {
    let id = ComponentId::new("demo", fixture.name, "main").unwrap();
    engine.load_component(&id, bytes(fixture), config).await
}

pub fn message(to: &ComponentHandle, payload: impl Into<MessagePayload>) -> ComponentMessage {
    ComponentMessage::new(id("test/sender/main"), to.id().clone(), payload)
}

/// Sends and reads the reply as text.
pub async fn send(
    engine: &WasmtimeEngine,
    to: &ComponentHandle,
    payload: impl Into<MessagePayload>,
) -> Result<Option<String>, WasmError> {
    let reply = engine.call_handle_message(to, message(to, payload)).await?;
    Ok(reply.map(|reply| String::from_utf8(reply.as_bytes().to_vec()).unwrap()))
}
