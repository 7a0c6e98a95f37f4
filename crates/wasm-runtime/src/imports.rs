//! Whether the linker provides what a component imports.

use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, InstancePre, Linker};

use wasm_core::{ComponentId, WasmError};

use crate::error::{cause, chain};
use crate::store::HostState;
use crate::wasi::WASI_VERSION;

/// Gives a component its imports.
///
/// # Errors
/// [`WasmError::ImportNotFound`].
pub(crate) fn link(
    id: &ComponentId,
    component: &Component,
    linker: &Linker<HostState>,
) -> Result<InstancePre<HostState>, WasmError> {
    linker
        .instantiate_pre(component)
        .map_err(|error| WasmError::ImportNotFound {
            component: id.clone(),
            import: missing_import(component, linker).unwrap_or_else(|| chain(&error)),
            source: Some(cause(error)),
        })
}

/// The first import that the linker has nothing for.
///
/// A linker does not tell what it has, but refuses to define a thing twice.
fn missing_import(component: &Component, linker: &Linker<HostState>) -> Option<String> {
    let engine = linker.engine();
    let mut probe = linker.clone();
    probe.allow_shadowing(false);
    let undefined = |_: wasmtime::StoreContextMut<'_, HostState>,
                     _: ComponentFunc,
                     _: &[wasmtime::component::Val],
                     _: &mut [wasmtime::component::Val]| Ok(());
    for (name, import) in component.component_type().imports(engine) {
        match import.ty {
            ComponentItem::ComponentFunc(_) if probe.root().func_new(name, undefined).is_ok() => {
                return Some(name.to_owned());
            }
            ComponentItem::ComponentInstance(interface) => {
                let Ok(mut instance) = probe.instance(&linked_name(name)) else {
                    return Some(name.to_owned());
                };
                let functions: Vec<&str> = interface
                    .exports(engine)
                    .filter(|(_, item)| matches!(item.ty, ComponentItem::ComponentFunc(_)))
                    .map(|(function, _)| function)
                    .collect();
                let missing: Vec<&str> = functions
                    .iter()
                    .copied()
                    .filter(|function| instance.func_new(function, undefined).is_ok())
                    .collect();
                if let Some(first) = missing.first() {
                    let whole = missing.len() == functions.len();
                    return Some(if whole {
                        name.to_owned()
                    } else {
                        format!("{name}#{first}")
                    });
                }
            }
            _ => {}
        }
    }
    None
}

/// The release under which the linker holds an interface that an import of another,
/// compatible release is matched to.
fn linked_name(import: &str) -> String {
    match import.split_once("@0.2.") {
        Some((interface, _)) if interface.starts_with("wasi:") => {
            format!("{interface}@{WASI_VERSION}")
        }
        _ => import.to_owned(),
    }
}
