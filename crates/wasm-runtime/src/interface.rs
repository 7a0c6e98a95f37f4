//! Interfaces of the embedder.

use std::marker::PhantomData;
use std::panic::resume_unwind;

use wasmtime::component::{HasData, Linker};

use wasm_core::Capability;

use crate::instance::state::{HostState, HostView};

/// An interface that an embedder's components can import, if they are granted it.
///
/// `T` is the embedder's data of an instance. The host functions are those that `bindgen!`
/// generates a trait for, implemented for [`HostView<'_, T>`](HostView); they may be async,
/// and may hand out resources, which the [table](HostView::table) keeps.
///
/// A host function that waits is dropped when the call's time is up. One that panics ends the
/// call as [`Trap::HostPanic`](wasm_core::Trap::HostPanic), and with it the instance. One that
/// blocks its thread cannot be stopped by anyone: it holds up its thread, and its component,
/// until it returns.
///
/// ```ignore
/// struct Catalog;
///
/// impl HostInterface<Shop> for Catalog {
///     const NAME: &'static str = "acme:shop/catalog@1.0.0";
///
///     fn add_to_linker(linker: &mut Linker<HostState<Shop>>, view: View<Shop>) -> wasmtime::Result<()> {
///         acme::shop::catalog::add_to_linker::<_, HasView<Shop>>(linker, view)
///     }
/// }
/// ```
pub trait HostInterface<T: 'static>: 'static {
    /// Its full name, as in WIT: `namespace:package/name@version`, under which it is linked.
    const NAME: &'static str;

    /// Links the functions, each of which is given `view`.
    ///
    /// # Errors
    /// A function is linked already.
    fn add_to_linker(linker: &mut Linker<HostState<T>>, view: View<T>) -> wasmtime::Result<()>;
}

/// How a host function comes to what it works with.
pub type View<T> = for<'a> fn(&'a mut HostState<T>) -> HostView<'a, T>;

/// For the type parameter of generated functions: host functions are given a [`HostView`].
pub struct HasView<T>(PhantomData<T>);

impl<T: 'static> HasData for HasView<T> {
    type Data<'a> = HostView<'a, T>;
}

/// The view of a component that is still permitted to use the interface. Generated code has
/// no way to be told that it is not, so the call is ended as by a panic, which no panic hook
/// is told of.
pub(crate) fn granted<T: 'static, I: HostInterface<T>>(
    state: &mut HostState<T>,
) -> HostView<'_, T> {
    let capability = Capability::Import(I::NAME.to_owned());
    match state.guest.calls.check(capability) {
        Ok(()) => state.view(),
        Err(denied) => resume_unwind(Box::new(denied)),
    }
}
