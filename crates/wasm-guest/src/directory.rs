//! Who is there.

mod info;

use crate::error::{Error, Result};
use crate::host;
use crate::id::{ComponentId, Target};

pub use info::ComponentInfo;

/// The component's own id, as its manifest has it.
///
/// ```
/// use wasm_guest::{own_id, testing::Host};
///
/// let host = Host::new("demo/waiter/main");
/// assert_eq!(host.within(own_id).to_string(), "demo/waiter/main");
/// ```
pub fn own_id() -> ComponentId {
    host::own_id()
}

/// The components that are loaded, in order of their ids: this one, and those that it may send
/// to, ask or reach by broadcast. Others are not shown.
///
/// ```
/// use wasm_guest::{components, testing::Host};
///
/// let host = Host::new("demo/waiter/main")
///     .with_send("demo/*/main")
///     .with_component("demo/kitchen/main")
///     .with_component("other/kitchen/main");
/// let seen = host.within(components);
/// assert_eq!(seen.iter().map(|id| &*id.name).collect::<Vec<_>>(), ["kitchen", "waiter"]);
/// ```
pub fn components() -> Vec<ComponentId> {
    host::components()
}

/// What is known of a component that [`components`] lists.
///
/// # Errors
/// For what is not there, which looks the same as what is not shown.
///
/// ```
/// use wasm_guest::{component_info, testing::Host};
///
/// let host = Host::new("demo/waiter/main")
///     .with_send("demo/*/main")
///     .with_component("demo/kitchen/main");
/// assert_eq!(host.within(|| component_info("demo/kitchen/main")).unwrap().name, "kitchen");
/// assert!(host.within(|| component_info("demo/till/main")).is_err());
/// ```
pub fn component_info(id: impl Target) -> Result<ComponentInfo> {
    host::component_info(id.id()?).map_err(Error::new)
}
