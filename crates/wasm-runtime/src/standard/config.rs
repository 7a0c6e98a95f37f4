//! `wasi:config`: the variables of a component, and the members of its configuration data if
//! that is an object of JSON. They are its own, and need no permission.

use std::collections::BTreeMap;
use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Linker, Lower};

use crate::instance::state::HostState;

/// As it is named by the draft, by an earlier one of it, and by those of Spin and of
/// wasmtime: they differ in nothing else.
const NAMES: [&str; 4] = [
    "wasi:config/store@0.2.0-draft",
    "wasi:config/runtime@0.2.0-draft",
    "wasi:config/store@0.2.0-draft-2024-09-27",
    "wasi:config/store@0.2.0-rc.1",
];

/// What nothing goes wrong with here.
#[derive(Debug, Clone, ComponentType, Lower)]
#[component(variant)]
#[expect(dead_code, reason = "it is a part of the type")]
enum Error {
    #[component(name = "upstream")]
    Upstream(String),
    #[component(name = "io")]
    Io(String),
}

type Caller<'a, T> = StoreContextMut<'a, HostState<T>>;

pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<HostState<T>>,
) -> wasmtime::Result<()> {
    for name in NAMES {
        let mut interface = linker.instance(name)?;
        interface.func_wrap("get", |caller: Caller<'_, T>, (key,): (String,)| {
            let value = settings(&caller).get(&key).cloned();
            Ok((Ok::<_, Error>(value),))
        })?;
        interface.func_wrap("get-all", |caller: Caller<'_, T>, (): ()| {
            let all: Vec<(String, String)> = settings(&caller)
                .iter()
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            Ok((Ok::<_, Error>(all),))
        })?;
    }
    Ok(())
}

/// Read once for all instances of the component.
fn settings<T>(caller: &Caller<'_, T>) -> Arc<BTreeMap<String, String>> {
    let guest = &caller.data().guest;
    let settings = &guest.wasi.settings;
    Arc::clone(settings.get_or_init(|| Arc::new(guest.config().settings())))
}
