//! An engine around another one, with a defect where they meet.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentId, ComponentMessage, ComponentMetadata,
    ComponentUsage, HealthStatus, MessagePayload, Preparation, RuntimeEngine, WasmError,
};

pub(crate) type Inner = Arc<dyn RuntimeEngine>;
pub(crate) type Reply = Result<Option<MessagePayload>, WasmError>;

/// What a broken engine does otherwise; whatever is not overridden is done right.
#[async_trait]
pub(crate) trait Defect: Send + Sync + 'static {
    async fn prepare(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: &ComponentConfig,
    ) -> Result<Preparation, WasmError> {
        inner.prepare_component(id, bytes, config).await
    }

    async fn load(
        &self,
        inner: &Inner,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        inner.load_component(id, bytes, config).await
    }

    async fn unload(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        inner.unload_component(handle).await
    }

    async fn message(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Reply {
        inner.call_handle_message(handle, message).await
    }

    async fn callback(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), WasmError> {
        inner.call_handle_callback(handle, message).await
    }

    async fn restart(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        inner.restart_component(handle).await
    }

    async fn health(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
    ) -> Result<HealthStatus, WasmError> {
        inner.health(handle).await
    }

    async fn metadata(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
    ) -> Result<ComponentMetadata, WasmError> {
        inner.metadata(handle).await
    }

    async fn usage(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
    ) -> Result<ComponentUsage, WasmError> {
        inner.usage(handle).await
    }
}

pub(crate) struct With<D> {
    pub(crate) inner: Inner,
    pub(crate) defect: D,
}

#[async_trait]
impl<D: Defect> RuntimeEngine for With<D> {
    async fn prepare_component(
        &self,
        id: &ComponentId,
        bytes: Bytes,
        config: &ComponentConfig,
    ) -> Result<Preparation, WasmError> {
        self.defect.prepare(&self.inner, id, bytes, config).await
    }

    async fn load_component(
        &self,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        self.defect.load(&self.inner, id, bytes, config).await
    }

    async fn unload_component(&self, handle: &ComponentHandle) -> Result<(), WasmError> {
        self.defect.unload(&self.inner, handle).await
    }

    async fn call_handle_message(
        &self,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Reply {
        self.defect.message(&self.inner, handle, message).await
    }

    async fn call_handle_callback(
        &self,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), WasmError> {
        self.defect.callback(&self.inner, handle, message).await
    }

    async fn restart_component(&self, handle: &ComponentHandle) -> Result<(), WasmError> {
        self.defect.restart(&self.inner, handle).await
    }

    async fn health(&self, handle: &ComponentHandle) -> Result<HealthStatus, WasmError> {
        self.defect.health(&self.inner, handle).await
    }

    async fn metadata(&self, handle: &ComponentHandle) -> Result<ComponentMetadata, WasmError> {
        self.defect.metadata(&self.inner, handle).await
    }

    async fn usage(&self, handle: &ComponentHandle) -> Result<ComponentUsage, WasmError> {
        self.defect.usage(&self.inner, handle).await
    }
}
