//! How components are called that export `wasi:http/incoming-handler`: an engine's affair,
//! which this crate knows nothing of.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, Response};
use tokio::sync::oneshot;

use wasm_core::{ComponentHandle, RuntimeEngine, WasmError};

/// Where a response is given to: the response itself, or the error that the component gave in
/// its place. It is not wanted any more once the other end is closed; so is the rest of a body
/// that is dropped.
pub type HttpResponder = oneshot::Sender<Result<Response<Body>, String>>;

/// A call of a component that answers a request, until it has ended.
pub type HttpCall = Pin<Box<dyn Future<Output = Result<(), WasmError>> + Send>>;

/// How the engine of a host has components answer requests that export
/// `wasi:http/incoming-handler`.
pub trait HttpHandler<E: RuntimeEngine + ?Sized>: Send + Sync + 'static {
    /// Whether a component of these bytes does, which the engine loaded. May block as long as
    /// reading them all takes.
    fn is_handler(&self, engine: &E, bytes: &[u8]) -> bool;

    /// Has it answer a request, as a call like any other. The response is given as soon as it
    /// begins; its body goes on with the call. Dropping the future gives the request up.
    fn answer(
        &self,
        engine: Arc<E>,
        component: ComponentHandle,
        request: Request<Body>,
        is_secure: bool,
        responder: HttpResponder,
    ) -> HttpCall;
}
