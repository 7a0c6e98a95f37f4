//! The world of components that take messages: the first user of typed calls.

pub(crate) mod abi;
pub(crate) mod exports;
pub(crate) mod host;

use wasmtime::Store;
use wasmtime::component::{ComponentNamedList, Instance as Exports, Lift, Lower, TypedFunc};

use wasm_core::{LIFECYCLE_INTERFACE, WasmError};

use self::abi::WitConfig;
use self::exports::{
    CallbackFunc, HandleFunc, HealthFunc, InitializeFunc, LifecycleExports, MetadataFunc,
    ShutdownFunc,
};
use crate::error::{cause, chain};
use crate::instance::state::HostState;
use crate::instance::{Bindings, Instance, Work};

/// Names an export of `component-lifecycle` in full, as errors show it.
fn full_name(function: &str) -> String {
    format!("{LIFECYCLE_INTERFACE}#{function}")
}

/// The exports of a component that takes messages.
pub(crate) struct Lifecycle {
    pub(crate) initialize: InitializeFunc,
    pub(crate) handle_message: HandleFunc,
    pub(crate) handle_callback: CallbackFunc,
    pub(crate) metadata: MetadataFunc,
    pub(crate) health: HealthFunc,
    pub(crate) shutdown: ShutdownFunc,
}

impl Lifecycle {
    fn of<T: 'static>(
        found: &LifecycleExports,
        store: &mut Store<HostState<T>>,
        instance: &Exports,
    ) -> wasmtime::Result<Self> {
        Ok(Self {
            initialize: instance.get_typed_func(&mut *store, found.initialize)?,
            handle_message: instance.get_typed_func(&mut *store, found.handle_message)?,
            handle_callback: instance.get_typed_func(&mut *store, found.handle_callback)?,
            metadata: instance.get_typed_func(&mut *store, found.metadata)?,
            health: instance.get_typed_func(&mut *store, found.health)?,
            shutdown: instance.get_typed_func(&mut *store, found.shutdown)?,
        })
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
    pub(crate) function: fn(&Lifecycle) -> &TypedFunc<P, R>,
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

    async fn perform(self, instance: &mut Instance<T>) -> Result<R, WasmError> {
        let begun = instance.begin::<Lifecycle>(self.export)?;
        let call = begun.run(|call| {
            if self.hops > 0 {
                call.store.data().guest.calls.begin_message(self.hops);
            }
            (self.function)(call.bindings).call_async(call.store, self.params)
        });
        let outcome = call.await;
        let (result,) = instance.finish(self.export, outcome)?;
        Ok(result)
    }
}

/// Gives a new instance its bindings and initializes it. A component that takes no messages
/// has nothing to initialize.
pub(crate) async fn initialize<T: Send + 'static>(
    instance: &mut Instance<T>,
    found: Option<&LifecycleExports>,
) -> Result<(), WasmError> {
    let Some(found) = found else {
        return Ok(());
    };
    let component = instance.guest().id().clone();
    let bound = instance.bind(|store, exports| Lifecycle::of(found, store, exports));
    bound.map_err(|error| WasmError::InstantiationFailed {
        component: component.clone(),
        reason: chain(&error),
        source: Some(cause(error)),
    })?;
    let call = LifecycleCall {
        export: "initialize",
        function: |lifecycle| &lifecycle.initialize,
        params: (WitConfig::from(instance.guest().config()),),
        hops: 0,
    };
    let outcome = call.perform(instance).await?;
    outcome.map_err(|error| WasmError::InitializationFailed {
        component,
        error: error.into(),
    })
}

/// A component that takes no messages has nothing to shut down.
pub(crate) async fn shut_down<T: Send + 'static>(
    instance: &mut Instance<T>,
    found: Option<&LifecycleExports>,
) -> Result<(), WasmError> {
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
    outcome.map_err(|error| WasmError::ShutdownFailed {
        component: instance.guest().id().clone(),
        error: error.into(),
    })
}
