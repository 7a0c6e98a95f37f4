//! One instance of a component: made, called and given up.

pub(crate) mod bounded;
mod bulk;
mod failure;
mod frames;
pub(crate) mod limiter;
pub(crate) mod meters;
pub(crate) mod state;
mod store;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt::{self, Display};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use wasmtime::component::{
    ComponentExportIndex, Instance as Exports, InstancePre, ResourceAny, ResourceType, Val,
};
use wasmtime::{Store, StoreContextMut};

use wasm_core::{Cause, ComponentConfig, ComponentId, WasmError};

use self::bounded::{Interrupted, bounded, panic_message};
use self::failure::FailedCall;
use self::meters::Meters;
use self::state::{Guest, HostState};
use self::store::{Budget, begin_call, end_call, new_store};
use crate::compile::exports::{FOREIGN_RESOURCE, Passed, check_arguments, passed, resources_in};
use crate::error::chain;

/// Instances of all engines of the process.
static NEXT_INSTANCE: AtomicU64 = AtomicU64::new(1);

/// Makes an embedder's data of an instance.
pub(crate) type MakeData<T> =
    Arc<dyn Fn(&ComponentId, &ComponentConfig) -> Result<T, Cause> + Send + Sync>;

/// What is called in an instance, found once for each instance: the typed exports that
/// `bindgen!` generates for a world.
///
/// An embedder implements it for those, which takes one line:
///
/// ```ignore
/// impl Bindings<Shop> for Plugin {
///     fn bind(store: &mut Store<HostState<Shop>>, instance: &Instance) -> wasmtime::Result<Self> {
///         Plugin::new(store, instance)
///     }
/// }
/// ```
pub trait Bindings<T: 'static>: Send + Sync + Sized + 'static {
    /// Looks the exports up.
    ///
    /// # Errors
    /// An export is missing, or of another type. The call that needs the bindings then fails
    /// with [`WasmError::ExportNotFound`], and costs no instance.
    fn bind(store: &mut Store<HostState<T>>, instance: &Exports) -> wasmtime::Result<Self>;

    /// What is said of a call whose bindings cannot be made: the call and the reason.
    #[doc(hidden)]
    fn missing(export: &str, error: &wasmtime::Error) -> String {
        format!("{export} ({})", chain(error))
    }
}

/// What a call of typed exports works with.
#[non_exhaustive]
pub struct GuestCall<'a, T: 'static, B> {
    /// The store of the instance, which generated functions take.
    pub store: StoreContextMut<'a, HostState<T>>,
    /// The exports of the instance.
    pub bindings: &'a B,
    instance: u64,
}

impl<T, B> GuestCall<'_, T, B> {
    /// Keeps a resource that the component exports for later calls. It is gone with the
    /// instance.
    pub fn keep(&self, resource: ResourceAny) -> GuestResource {
        GuestResource {
            resource,
            instance: self.instance,
        }
    }

    /// The resource that was kept, for a generated function to take.
    ///
    /// # Errors
    /// It is of another instance, as after a restart: the call then ends as
    /// [`WasmError::InvalidArguments`], which costs no instance.
    pub fn resource(&self, kept: GuestResource) -> wasmtime::Result<ResourceAny> {
        if kept.instance == self.instance {
            Ok(kept.resource)
        } else {
            Err(wasmtime::Error::new(ForeignResource))
        }
    }
}

/// A resource that a component exports, kept between calls: see [`GuestCall::keep`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestResource {
    resource: ResourceAny,
    instance: u64,
}

/// A resource that was kept belongs to another instance.
#[derive(Debug)]
struct ForeignResource;

impl Display for ForeignResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "is given {FOREIGN_RESOURCE}")
    }
}

impl StdError for ForeignResource {}

/// The end of a call of a guest, still to come.
pub type GuestFuture<'a, R> = Pin<Box<dyn Future<Output = wasmtime::Result<R>> + Send + 'a>>;

/// One store, what is instantiated in it, and its state.
///
/// After an error for which [`WasmError::fails_instance`] holds it must be
/// dropped: wasmtime does not enter such a store again.
pub(crate) struct Instance<T: 'static> {
    store: Store<HostState<T>>,
    exports: Exports,
    number: u64,
    /// Those that were needed so far, by their types.
    bindings: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
    /// Those that [`call_export`](Self::call_export) returned and that are still there.
    resources: Vec<ResourceAny>,
    /// Of which types those are and were.
    resource_types: Vec<ResourceType>,
    /// Of the component, shared.
    bytes: Bytes,
    meters: Arc<Meters>,
}

impl<T: Send + 'static> Instance<T> {
    /// Makes the embedder's data and instantiates, which runs start functions.
    pub(crate) async fn new(
        pre: &InstancePre<HostState<T>>,
        bytes: &Bytes,
        guest: &Arc<Guest>,
        meters: &Arc<Meters>,
        make_data: &MakeData<T>,
    ) -> Result<Self, WasmError> {
        let data = made_data(guest, make_data)?;
        let mut store = new_store(pre.engine(), guest, &meters.memory, data)?;
        guest.calls.begin_instance();
        let budget = begin_call(&mut store);
        let mut pauses = 0;
        let instantiating = pre.instantiate_async(&mut store);
        let outcome = bounded(budget.deadline, &mut pauses, instantiating).await;
        let ended = end_call(&mut store, budget, pauses);
        let failed = FailedCall {
            component: guest.id(),
            bytes,
            export: "instantiate",
            limits: &guest.config().limits,
            ended,
            last_words: &store.data().wasi.last_words,
        };
        let error = match outcome {
            Ok(Ok(exports)) => {
                meters.fuel(ended.fuel_consumed);
                return Ok(Self {
                    store,
                    exports,
                    number: NEXT_INSTANCE.fetch_add(1, Ordering::Relaxed),
                    bindings: HashMap::new(),
                    resources: Vec::new(),
                    resource_types: Vec::new(),
                    bytes: bytes.clone(),
                    meters: Arc::clone(meters),
                });
            }
            Ok(Err(error)) => failed.instantiation(error),
            Err(interrupted) => failed.interrupted(interrupted),
        };
        meters.failure(&error, ended);
        Err(error)
    }

    pub(crate) fn guest(&self) -> &Guest {
        &self.store.data().guest
    }

    /// Calls typed exports. `export` names the call in errors.
    pub(crate) async fn call<B, R, F>(&mut self, export: &str, call: F) -> Result<R, WasmError>
    where
        B: Bindings<T>,
        F: for<'a> FnOnce(GuestCall<'a, T, B>) -> GuestFuture<'a, R>,
    {
        let bindings = self.bindings::<B>(export)?;
        let instance = self.number;
        let budget = begin_call(&mut self.store);
        let mut pauses = 0;
        let call = call(GuestCall {
            store: (&mut self.store).into(),
            bindings: &*bindings,
            instance,
        });
        let outcome = bounded(budget.deadline, &mut pauses, call).await;
        self.finish(export, budget, pauses, outcome)
    }

    /// Calls any export with values.
    pub(crate) async fn call_export(
        &mut self,
        export: &str,
        index: &ComponentExportIndex,
        args: &[Val],
    ) -> Result<Vec<Val>, WasmError> {
        let Some(function) = self.exports.get_func(&mut self.store, index) else {
            return Err(self.export_not_found(export));
        };
        let ty = function.ty(&self.store);
        check_arguments(&ty, args).map_err(|reason| self.invalid_arguments(export, reason))?;
        let passed = passed(&ty, args);
        self.check_resources(&passed)
            .map_err(|reason| self.invalid_arguments(export, reason))?;
        let mut values = vec![Val::Bool(false); ty.results().len()];
        let budget = begin_call(&mut self.store);
        let mut pauses = 0;
        let call = function.call_async(&mut self.store, args, &mut values);
        let outcome = bounded(budget.deadline, &mut pauses, call).await;
        self.finish(export, budget, pauses, outcome)?;
        for given in passed.iter().filter(|passed| !passed.is_lent) {
            take(&mut self.resources, given.resource);
        }
        for resource in values.iter().flat_map(resources_in) {
            if !self.resource_types.contains(&resource.ty()) {
                self.resource_types.push(resource.ty());
            }
            self.resources.push(resource);
        }
        Ok(values)
    }

    /// That all are this instance's and still there, and that none is used once more by a call
    /// that takes it away.
    fn check_resources(&self, passed: &[Passed]) -> Result<(), String> {
        for (n, this) in passed.iter().enumerate() {
            let (resource, place) = (this.resource, &this.place);
            if resource.ty() != this.ty {
                return Err(format!("is given {FOREIGN_RESOURCE}, as {place}"));
            }
            let is_known = self.resource_types.contains(&this.ty);
            if is_known && !self.resources.contains(&resource) {
                return Err(format!(
                    "is given a resource that was given away or dropped, as {place}"
                ));
            }
            let mut others = passed[..n]
                .iter()
                .filter(|other| other.resource == resource);
            if others.any(|other| !(other.is_lent && this.is_lent)) {
                return Err(format!(
                    "is given a resource twice, and takes it away, as {place}"
                ));
            }
        }
        Ok(())
    }

    /// One that was given back, dropped or is another instance's is gone already. An error is
    /// the destructor's.
    pub(crate) async fn drop_resource(&mut self, resource: ResourceAny) -> Result<(), WasmError> {
        if !take(&mut self.resources, resource) {
            return Ok(());
        }
        let budget = begin_call(&mut self.store);
        let mut pauses = 0;
        let drop = resource.resource_drop_async(&mut self.store);
        let outcome = bounded(budget.deadline, &mut pauses, drop).await;
        self.finish("[resource-drop]", budget, pauses, outcome)
    }

    /// What a call comes to: counted and, if it failed, told.
    fn finish<R>(
        &mut self,
        export: &str,
        budget: Budget,
        pauses: u64,
        outcome: Result<wasmtime::Result<R>, Interrupted>,
    ) -> Result<R, WasmError> {
        let ended = end_call(&mut self.store, budget, pauses);
        let guest = &self.store.data().guest;
        let failed = FailedCall {
            component: guest.id(),
            bytes: &self.bytes,
            export,
            limits: &guest.config().limits,
            ended,
            last_words: &self.store.data().wasi.last_words,
        };
        let error = match outcome {
            Ok(Ok(result)) => {
                self.meters.fuel(ended.fuel_consumed);
                return Ok(result);
            }
            Ok(Err(error)) => match error.downcast_ref::<ForeignResource>() {
                Some(foreign) => {
                    self.meters.fuel(ended.fuel_consumed);
                    return Err(self.invalid_arguments(export, foreign.to_string()));
                }
                None => failed.error(error),
            },
            Err(interrupted) => failed.interrupted(interrupted),
        };
        self.meters.failure(&error, ended);
        Err(error)
    }

    /// Those of an instance are found once.
    fn bindings<B: Bindings<T>>(&mut self, export: &str) -> Result<Arc<B>, WasmError> {
        let key = TypeId::of::<B>();
        if let Some(known) = self.bindings.get(&key)
            && let Ok(known) = Arc::clone(known).downcast::<B>()
        {
            return Ok(known);
        }
        let bound = B::bind(&mut self.store, &self.exports);
        let bound = bound.map_err(|error| self.export_not_found(&B::missing(export, &error)))?;
        Ok(self.insert_bindings(bound))
    }

    /// Bindings that were made in another way.
    pub(crate) fn bind<B: Bindings<T>>(
        &mut self,
        make: impl FnOnce(&mut Store<HostState<T>>, &Exports) -> wasmtime::Result<B>,
    ) -> wasmtime::Result<()> {
        let bound = make(&mut self.store, &self.exports)?;
        self.insert_bindings(bound);
        Ok(())
    }

    fn insert_bindings<B: Bindings<T>>(&mut self, bound: B) -> Arc<B> {
        let bound = Arc::new(bound);
        self.bindings
            .insert(TypeId::of::<B>(), Arc::clone(&bound) as _);
        bound
    }

    fn invalid_arguments(&self, export: &str, reason: String) -> WasmError {
        WasmError::InvalidArguments {
            component: self.guest().id().clone(),
            export: export.into(),
            reason,
        }
    }

    fn export_not_found(&self, export: &str) -> WasmError {
        WasmError::ExportNotFound {
            component: self.guest().id().clone(),
            export: export.into(),
        }
    }
}

/// Whether it was among them.
fn take(resources: &mut Vec<ResourceAny>, resource: ResourceAny) -> bool {
    let place = resources.iter().position(|other| *other == resource);
    place.is_some_and(|place| {
        resources.swap_remove(place);
        true
    })
}

/// The embedder's data, or how making it failed.
fn made_data<T>(guest: &Guest, make_data: &MakeData<T>) -> Result<T, WasmError> {
    let made = catch_unwind(AssertUnwindSafe(|| make_data(guest.id(), guest.config())));
    let failed = |reason: String, source| WasmError::InstantiationFailed {
        component: guest.id().clone(),
        reason: format!("the host's data for it could not be made: {reason}"),
        source,
    };
    match made {
        Ok(Ok(data)) => Ok(data),
        Ok(Err(error)) => Err(failed(error.to_string(), Some(error))),
        Err(panic) => Err(failed(
            format!("it panicked: {}", panic_message(&*panic)),
            None,
        )),
    }
}
