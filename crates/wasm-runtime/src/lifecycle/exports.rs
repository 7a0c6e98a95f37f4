//! Where the functions of `component-lifecycle` are in a component, and of which types.

use bytes::Bytes;
use wasmtime::Error;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentNamedList, InstancePre, Lift, Lower,
};

use wasm_core::{ComponentId, Defect, LIFECYCLE_INTERFACE, WasmError};

use super::abi::{WitComponentError, WitConfig, WitHealth, WitMessage, WitMetadata, WitWasmError};
use crate::error::{cause, chain};

pub(crate) type InitializeParams = (WitConfig,);
pub(crate) type InitializeResults = (Result<(), WitComponentError>,);
/// The message is in a box, because wasmtime moves what it is given several times.
pub(crate) type MessageParams = (Box<WitMessage>,);
pub(crate) type ReplyResults = (Result<Option<Bytes>, WitWasmError>,);
pub(crate) type CallbackResults = (Result<(), WitWasmError>,);
pub(crate) type MetadataResults = (WitMetadata,);
pub(crate) type HealthResults = (WitHealth,);
pub(crate) type ShutdownResults = (Result<(), WitComponentError>,);

/// Where the functions of `component-lifecycle` are among a component's exports.
pub(crate) struct LifecycleExports {
    pub(crate) initialize: ComponentExportIndex,
    pub(crate) handle_message: ComponentExportIndex,
    pub(crate) handle_callback: ComponentExportIndex,
    pub(crate) metadata: ComponentExportIndex,
    pub(crate) health: ComponentExportIndex,
    pub(crate) shutdown: ComponentExportIndex,
}

impl LifecycleExports {
    /// `None` for a component that takes no messages.
    ///
    /// # Errors
    /// [`Defect::OtherLifecycle`], [`Defect::IncompleteLifecycle`] and [`Defect::WrongExportType`].
    pub(crate) fn find<S: 'static>(
        id: &ComponentId,
        component: &Component,
        pre: &InstancePre<S>,
    ) -> Result<Option<Self>, WasmError> {
        let Some(interface) = component.get_export_index(None, LIFECYCLE_INTERFACE) else {
            return match other_release(component) {
                Some(exported) => Err(invalid(id, Defect::OtherLifecycle { exported }, None)),
                None => Ok(None),
            };
        };
        let mut finder = ExportFinder {
            component,
            pre,
            interface,
            missing: Vec::new(),
            mistyped: None,
        };
        let found = (
            finder.find::<InitializeParams, InitializeResults>("initialize"),
            finder.find::<MessageParams, ReplyResults>("handle-message"),
            finder.find::<MessageParams, CallbackResults>("handle-callback"),
            finder.find::<(), MetadataResults>("metadata"),
            finder.find::<(), HealthResults>("health"),
            finder.find::<(), ShutdownResults>("shutdown"),
        );
        if let Some((export, error)) = finder.mistyped {
            let reason = chain(&error);
            let export = export.to_owned();
            return Err(invalid(
                id,
                Defect::WrongExportType { export, reason },
                Some(error),
            ));
        }
        let (
            Some(initialize),
            Some(handle_message),
            Some(handle_callback),
            Some(metadata),
            Some(health),
            Some(shutdown),
        ) = found
        else {
            let missing = finder.missing;
            return Err(invalid(id, Defect::IncompleteLifecycle { missing }, None));
        };
        Ok(Some(Self {
            initialize,
            handle_message,
            handle_callback,
            metadata,
            health,
            shutdown,
        }))
    }
}

/// What a component exports for hosts of another major version.
fn other_release(component: &Component) -> Option<String> {
    let (path, _) = LIFECYCLE_INTERFACE.split_once('@')?;
    let ty = component.component_type();
    let mut names = ty.exports(component.engine()).map(|(name, _)| name);
    let exported = names.find(|name| name.split('@').next() == Some(path));
    exported.map(str::to_owned)
}

fn invalid(id: &ComponentId, defect: Defect, source: Option<Error>) -> WasmError {
    WasmError::InvalidComponent {
        component: id.clone(),
        defect,
        source: source.map(cause),
    }
}

struct ExportFinder<'a, S: 'static> {
    component: &'a Component,
    pre: &'a InstancePre<S>,
    interface: ComponentExportIndex,
    missing: Vec<String>,
    mistyped: Option<(&'static str, Error)>,
}

impl<S: 'static> ExportFinder<'_, S> {
    fn find<P, R>(&mut self, function: &'static str) -> Option<ComponentExportIndex>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        let found = self.component.get_export(Some(&self.interface), function);
        let Some((ComponentItem::ComponentFunc(ty), index)) = found else {
            self.missing.push(function.to_owned());
            return None;
        };
        match ty.typecheck::<P, R>(&self.pre.instance_type()) {
            Ok(()) => Some(index),
            Err(error) => {
                self.mistyped.get_or_insert((function, error));
                None
            }
        }
    }
}
