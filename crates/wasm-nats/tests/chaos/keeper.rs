//! Components that keep what they have handled.

use std::time::Duration;

use tokio::time::sleep;

use wasm_core::{ComponentId, GuestError, HostServices};
use wasm_host::Component;
use wasm_testkit::ModelEngine;

use crate::member::{component, demo};

pub(crate) const KEEPERS: u64 = 16;

pub(crate) fn keeper(number: u64) -> ComponentId {
    demo(&format!("keeper{number}"))
}

pub(crate) fn components() -> Vec<Component> {
    (0..KEEPERS).map(|it| component(keeper(it), b"")).collect()
}

/// Each stores under the text of a message how often it has handled it, and is busy for a while
/// before and after.
pub(crate) fn engine(services: HostServices) -> ModelEngine {
    (0..KEEPERS).fold(ModelEngine::new(services), |engine, number| {
        engine.with_host(&keeper(number), |host, message| {
            Box::pin(async move {
                let text = String::from_utf8_lossy(message.payload.as_bytes()).into_owned();
                if text == "probe" {
                    return Ok(Some("here".into()));
                }
                let failed =
                    |error: wasm_core::StorageError| GuestError::RuntimeError(error.to_string());
                sleep(Duration::from_micros(500)).await;
                let before = host.get(&text).await.map_err(failed)?;
                let count = before.map_or(0, |it| it.len()) + 1;
                host.set(&text, vec![b'x'; count].into())
                    .await
                    .map_err(failed)?;
                sleep(Duration::from_micros(500)).await;
                Ok(None)
            })
        })
    })
}
