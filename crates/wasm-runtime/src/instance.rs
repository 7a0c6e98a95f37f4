//! One instance of a component: made, called and given up.

mod bounded;
mod bulk;
pub(crate) mod deadline;
mod failure;
mod frames;
pub(crate) mod limiter;
pub(crate) mod meters;
pub(crate) mod state;
mod store;

use std::any::Any;
use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt::{self, Display};
use std::future::Future;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use smallvec::SmallVec;
use wasmtime::component::{
    ComponentExportIndex, Instance as Exports, InstancePre, ResourceAny, ResourceType, Val,
};
use wasmtime::{Store, StoreContextMut};

use wasm_core::{Cause, ComponentConfig, ComponentId, WasmError};

use self::bounded::{Interrupted, bounded, panic_message};
use self::deadline::Deadline;
use self::failure::{EndedCall, FailedCall};
use self::meters::Meters;
use self::state::{Guest, HostState};
use self::store::{Budget, begin_call, end_call, ended, new_store};
use crate::compile::exports::{FOREIGN_RESOURCE, Passed, check_arguments, passed, resources_in};
use crate::error::{Failure, chain};
use crate::wasi::LastWords;

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

/// What is done with an instance in a call of it.
pub(crate) trait Work<T: 'static>: Send + 'static {
    type Output: Send + 'static;

    /// Of the message that it is about.
    fn hops(&self) -> u32 {
        0
    }

    /// Whether the instance was left in the middle of a call that is no failure, and is not to
    /// be entered again: only where instances are renewed.
    fn ends_instance(_output: &Self::Output) -> bool {
        false
    }

    fn perform(
        self,
        instance: &mut Instance<T>,
    ) -> impl Future<Output = Result<Self::Output, Failure>> + Send;
}

/// A call of typed exports, by the name that errors give it.
pub(crate) struct TypedCall<B, F> {
    name: Cow<'static, str>,
    call: F,
    bindings: PhantomData<fn() -> B>,
}

impl<B, F> TypedCall<B, F> {
    pub(crate) fn new(name: Cow<'static, str>, call: F) -> Self {
        Self {
            name,
            call,
            bindings: PhantomData,
        }
    }
}

impl<T, B, R, F> Work<T> for TypedCall<B, F>
where
    T: Send + 'static,
    B: Bindings<T>,
    R: Send + 'static,
    F: for<'a> FnOnce(GuestCall<'a, T, B>) -> GuestFuture<'a, R> + Send + 'static,
{
    type Output = R;

    async fn perform(self, instance: &mut Instance<T>) -> Result<R, Failure> {
        let (call, bounds) = instance.begin::<B>(&self.name)?;
        // Whatever panics in it panics where that is caught.
        let outcome = bounds
            .run(pin!(Some(async move { (self.call)(call).await })))
            .await;
        instance.finish(&self.name, outcome)
    }
}

/// A call of any export with values.
pub(crate) struct ValueCall {
    pub(crate) export: String,
    pub(crate) index: ComponentExportIndex,
    pub(crate) args: Vec<Val>,
}

impl<T: Send + 'static> Work<T> for ValueCall {
    type Output = Vec<Val>;

    async fn perform(self, instance: &mut Instance<T>) -> Result<Vec<Val>, Failure> {
        instance
            .call_export(&self.export, &self.index, &self.args)
            .await
    }
}

/// The end of a resource that a call of an export returned.
pub(crate) struct ResourceDrop(pub(crate) ResourceAny);

impl<T: Send + 'static> Work<T> for ResourceDrop {
    type Output = ();

    async fn perform(self, instance: &mut Instance<T>) -> Result<(), Failure> {
        instance.drop_resource(self.0).await
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
    guest: Arc<Guest>,
    /// Those that were needed so far, one of each type.
    bindings: SmallVec<[Box<dyn Any + Send + Sync>; 1]>,
    /// Those that [`call_export`](Self::call_export) returned and that are still there.
    resources: Vec<ResourceAny>,
    /// Of which types those are and were.
    resource_types: Vec<ResourceType>,
    /// Of the component, shared.
    bytes: Bytes,
    meters: Arc<Meters>,
}

impl<T: Send + 'static> Instance<T> {
    /// Makes the embedder's data and instantiates, which runs start functions, for a message
    /// of so many hops.
    pub(crate) async fn new(
        pre: &InstancePre<HostState<T>>,
        bytes: &Bytes,
        component: &Guest,
        meters: &Arc<Meters>,
        make_data: &MakeData<T>,
        hops: u32,
    ) -> Result<Self, Failure> {
        let guest = Arc::new(component.sibling());
        guest.calls.due_to(hops);
        let data = made_data(&guest, make_data)?;
        let mut store = new_store(pre.engine(), &guest, &meters.memory, data)?;
        let budget = begin_call(&mut store);
        let mut pauses = 0;
        let instantiating = pre.instantiate_async(&mut store);
        let outcome = bounded(&guest.deadline, &mut pauses, pin!(Some(instantiating))).await;
        let fuel_consumed = end_call(&mut store, budget);
        let cause = match outcome {
            Ok(Ok(exports)) => {
                meters.fuel(fuel_consumed);
                return Ok(Self {
                    store,
                    exports,
                    number: NEXT_INSTANCE.fetch_add(1, Ordering::Relaxed),
                    guest,
                    bindings: SmallVec::new(),
                    resources: Vec::new(),
                    resource_types: Vec::new(),
                    bytes: bytes.clone(),
                    meters: Arc::clone(meters),
                });
            }
            Ok(Err(error)) => Ok(error),
            Err(interrupted) => Err(interrupted),
        };
        let ended = ended(&mut store, budget, fuel_consumed, pauses);
        let failed = FailedCall {
            component: guest.id(),
            bytes,
            export: "instantiate",
            limits: &guest.config().limits,
            ended,
            last_words: last_words(&store),
        };
        let error = match cause {
            Ok(error) => failed.instantiation(error),
            Err(interrupted) => failed.interrupted(interrupted),
        };
        meters.failure(&error, ended);
        Err(Box::new(error))
    }

    pub(crate) fn guest(&self) -> &Guest {
        &self.guest
    }

    /// Gives a call of typed exports its budgets. It is to be [run](Bounds::run) within its
    /// bounds, and what that comes to, to be [finished](Self::finish).
    pub(crate) fn begin<B: Bindings<T>>(
        &mut self,
        export: &str,
    ) -> Result<(GuestCall<'_, T, B>, Bounds<'_>), Failure> {
        let budget = begin_call(&mut self.store);
        let place = match self.bindings.iter().position(|known| known.is::<B>()) {
            Some(place) => place,
            None => {
                let bind = || B::bind(&mut self.store, &self.exports);
                let bound = match catch_unwind(AssertUnwindSafe(bind)) {
                    Ok(bound) => bound,
                    Err(panic) => {
                        let panic = Interrupted::Panic(panic_message(&*panic));
                        return Err(self.failed_at_once(export, budget, panic));
                    }
                };
                let bound =
                    bound.map_err(|error| self.export_not_found(&B::missing(export, &error)))?;
                self.bindings.push(Box::new(bound));
                self.bindings.len() - 1
            }
        };
        let bindings = self.bindings[place].downcast_ref::<B>();
        let call = GuestCall {
            store: (&mut self.store).into(),
            bindings: bindings.expect("what is in its place is of this type"),
            instance: self.number,
        };
        let deadline = &self.guest.deadline;
        Ok((call, Bounds { deadline, budget }))
    }

    /// Calls any export with values.
    async fn call_export(
        &mut self,
        export: &str,
        index: &ComponentExportIndex,
        args: &[Val],
    ) -> Result<Vec<Val>, Failure> {
        let Some(function) = self.exports.get_func(&mut self.store, index) else {
            return Err(self.export_not_found(export).into());
        };
        let ty = function.ty(&self.store);
        check_arguments(&ty, args).map_err(|reason| self.invalid_arguments(export, reason))?;
        let passed = passed(&ty, args);
        self.check_resources(&passed)
            .map_err(|reason| self.invalid_arguments(export, reason))?;
        let mut values = vec![Val::Bool(false); ty.results().len()];
        let budget = begin_call(&mut self.store);
        let deadline = &self.guest.deadline;
        let call = function.call_async(&mut self.store, args, &mut values);
        let outcome = Bounds { deadline, budget }.run(pin!(Some(call))).await;
        self.finish(export, outcome)?;
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
    async fn drop_resource(&mut self, resource: ResourceAny) -> Result<(), Failure> {
        if !take(&mut self.resources, resource) {
            return Ok(());
        }
        let budget = begin_call(&mut self.store);
        let deadline = &self.guest.deadline;
        let drop = resource.resource_drop_async(&mut self.store);
        let outcome = Bounds { deadline, budget }.run(pin!(Some(drop))).await;
        self.finish("[resource-drop]", outcome)
    }

    /// What a call comes to: counted and, if it failed, told.
    pub(crate) fn finish<R>(&mut self, export: &str, outcome: Outcome<R>) -> Result<R, Failure> {
        let fuel_consumed = end_call(&mut self.store, outcome.budget);
        let cause = match outcome.result {
            Ok(Ok(result)) => {
                self.meters.fuel(fuel_consumed);
                return Ok(result);
            }
            Ok(Err(error)) => Ok(error),
            Err(interrupted) => Err(interrupted),
        };
        let ended = ended(
            &mut self.store,
            outcome.budget,
            fuel_consumed,
            outcome.pauses,
        );
        Err(self.failed(export, ended, cause))
    }

    /// Before the guest was called.
    #[cold]
    fn failed_at_once(&mut self, export: &str, budget: Budget, why: Interrupted) -> Failure {
        let fuel_consumed = end_call(&mut self.store, budget);
        let ended = ended(&mut self.store, budget, fuel_consumed, 0);
        self.failed(export, ended, Err(why))
    }

    #[cold]
    fn failed(
        &self,
        export: &str,
        ended: EndedCall,
        cause: Result<wasmtime::Error, Interrupted>,
    ) -> Failure {
        let failed = FailedCall {
            component: self.guest.id(),
            bytes: &self.bytes,
            export,
            limits: &self.guest.config().limits,
            ended,
            last_words: last_words(&self.store),
        };
        let error = match cause {
            Ok(error) => match error.downcast_ref::<ForeignResource>() {
                Some(foreign) => {
                    self.meters.fuel(ended.fuel_consumed);
                    return Box::new(self.invalid_arguments(export, foreign.to_string()));
                }
                None => failed.error(error),
            },
            Err(interrupted) => failed.interrupted(interrupted),
        };
        self.meters.failure(&error, ended);
        Box::new(error)
    }

    /// Bindings that are made in another way.
    pub(crate) fn bind<B: Bindings<T>>(&mut self, make: impl FnOnce(Exports) -> B) {
        self.bindings.push(Box::new(make(self.exports)));
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

/// What bounds a call that was given its budgets.
pub(crate) struct Bounds<'a> {
    deadline: &'a Deadline,
    budget: Budget,
}

impl Bounds<'_> {
    pub(crate) async fn run<R>(
        self,
        call: Pin<&mut Option<impl Future<Output = wasmtime::Result<R>>>>,
    ) -> Outcome<R> {
        let mut pauses = 0;
        let result = bounded(self.deadline, &mut pauses, call).await;
        Outcome {
            result,
            pauses,
            budget: self.budget,
        }
    }
}

/// What became of a call, not looked into yet.
pub(crate) struct Outcome<R> {
    result: Result<wasmtime::Result<R>, Interrupted>,
    /// How often it gave way or had to wait.
    pauses: u64,
    budget: Budget,
}

fn last_words<T>(store: &Store<HostState<T>>) -> Option<&LastWords> {
    store.data().wasi.as_deref().map(|wasi| &*wasi.last_words)
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
