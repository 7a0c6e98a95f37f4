//! The world of components that take messages: the first user of typed calls.

pub(crate) mod abi;
pub(crate) mod exports;
pub(crate) mod host;

use std::pin::pin;
use std::sync::OnceLock;

use wasmtime::component::{
    ComponentExportIndex, ComponentNamedList, Instance as Exports, Lift, Lower, TypedFunc,
};
use wasmtime::{AsContextMut, Store};

use wasm_core::{LIFECYCLE_INTERFACE, WasmError};

use self::abi::WitConfig;
use self::exports::{
    CallbackResults, HealthResults, InitializeParams, InitializeResults, LifecycleExports,
    MessageParams, MetadataResults, ReplyResults, ShutdownResults,
};
use crate::error::Failure;
use crate::instance::state::HostState;
use crate::instance::{Bindings, Instance, Work};

/// Names an export of `component-lifecycle` in full, as errors show it.
fn full_name(function: &str) -> String {
    format!("{LIFECYCLE_INTERFACE}#{function}")
}

/// A function of the lifecycle in an instance.
pub(crate) struct Export<P, R> {
    index: ComponentExportIndex,
    /// Looked up when it is first called, because its types are compared then, and most
    /// instances are never asked for their metadata or health.
    function: OnceLock<TypedFunc<P, R>>,
}

impl<P, R> Export<P, R>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    fn new(index: ComponentExportIndex) -> Self {
        Self {
            index,
            function: OnceLock::new(),
        }
    }

    fn function(
        &self,
        store: impl AsContextMut,
        instance: &Exports,
    ) -> wasmtime::Result<TypedFunc<P, R>> {
        if let Some(function) = self.function.get() {
            return Ok(*function);
        }
        let function = instance.get_typed_func(store, self.index)?;
        Ok(*self.function.get_or_init(|| function))
    }
}

/// The exports of an instance that takes messages.
pub(crate) struct Lifecycle {
    instance: Exports,
    pub(crate) initialize: Export<InitializeParams, InitializeResults>,
    pub(crate) handle_message: Export<MessageParams, ReplyResults>,
    pub(crate) handle_callback: Export<MessageParams, CallbackResults>,
    pub(crate) metadata: Export<(), MetadataResults>,
    pub(crate) health: Export<(), HealthResults>,
    pub(crate) shutdown: Export<(), ShutdownResults>,
}

impl Lifecycle {
    fn new(found: &LifecycleExports, instance: Exports) -> Self {
        Self {
            instance,
            initialize: Export::new(found.initialize),
            handle_message: Export::new(found.handle_message),
            handle_callback: Export::new(found.handle_callback),
            metadata: Export::new(found.metadata),
            health: Export::new(found.health),
            shutdown: Export::new(found.shutdown),
        }
    }
}

/// They are found with the component, once for all its instances; an instance that was not
/// given them has none.
impl<T: 'static> Bindings<T> for Lifecycle {
    fn bind(_: &mut Store<HostState<T>>, _: &Exports) -> wasmtime::Result<Self> {
        Err(wasmtime::Error::msg("it takes no messages"))
    }

    fn missing(export: &str, _: &wasmtime::Error) -> String {
        full_name(export)
    }
}

/// A call of a function of the lifecycle.
pub(crate) struct LifecycleCall<P, R> {
    pub(crate) export: &'static str,
    pub(crate) function: fn(&Lifecycle) -> &Export<P, R>,
    pub(crate) params: P,
    /// Of the message that it is about; 0 for a call that is about none.
    pub(crate) hops: u32,
}

impl<T, P, R> Work<T> for LifecycleCall<P, (R,)>
where
    T: Send + 'static,
    P: ComponentNamedList + Lower + Send + Sync + 'static,
    R: Send + Sync + 'static,
    (R,): ComponentNamedList + Lift,
{
    type Output = R;

    fn hops(&self) -> u32 {
        self.hops
    }

    async fn perform(self, instance: &mut Instance<T>) -> Result<R, Failure> {
        let (mut call, bounds) = instance.begin::<Lifecycle>(self.export)?;
        let export = (self.function)(call.bindings);
        let function = export.function(&mut call.store, &call.bindings.instance);
        let guest = &call.store.data().guest;
        let function = function.map_err(|_| WasmError::ExportNotFound {
            component: guest.id().clone(),
            export: full_name(self.export).into(),
        })?;
        if self.hops > 0 {
            guest.calls.begin_message(self.hops);
        }
        let call = function.call_async(call.store, self.params);
        let outcome = bounds.run(pin!(Some(call))).await;
        let (result,) = instance.finish(self.export, outcome)?;
        Ok(result)
    }
}

/// Gives a new instance its bindings and initializes it. A component that takes no messages
/// has nothing to initialize.
pub(crate) async fn initialize<T: Send + 'static>(
    instance: &mut Instance<T>,
    found: Option<&LifecycleExports>,
) -> Result<(), Failure> {
    let Some(found) = found else {
        return Ok(());
    };
    instance.bind(|exports| Lifecycle::new(found, exports));
    let call = LifecycleCall {
        export: "initialize",
        function: |lifecycle| &lifecycle.initialize,
        params: (WitConfig::from(instance.guest().config()),),
        hops: 0,
    };
    let outcome = call.perform(instance).await?;
    outcome.map_err(|error| {
        Box::new(WasmError::InitializationFailed {
            component: instance.guest().id().clone(),
            error: error.into(),
        })
    })
}

/// A component that takes no messages has nothing to shut down.
pub(crate) async fn shut_down<T: Send + 'static>(
    instance: &mut Instance<T>,
    found: Option<&LifecycleExports>,
) -> Result<(), Failure> {
    if found.is_none() {
        return Ok(());
    }
    instance.guest().calls.begin_shutdown();
    let call = LifecycleCall {
        export: "shutdown",
        function: |lifecycle| &lifecycle.shutdown,
        params: (),
        hops: 0,
    };
    let outcome = call.perform(instance).await?;
    outcome.map_err(|error| {
        Box::new(WasmError::ShutdownFailed {
            component: instance.guest().id().clone(),
            error: error.into(),
        })
    })
}
