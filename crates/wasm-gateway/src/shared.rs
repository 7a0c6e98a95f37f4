//! What all requests share.

use std::sync::Arc;

use axum::http::HeaderMap;
use tokio::sync::{Semaphore, watch};
use tracing::Span;

use wasm_core::RuntimeEngine;
use wasm_host::Host;

use crate::access::Access;
use crate::cluster::Cluster;
use crate::events::EventRing;
use crate::limits::GatewayLimits;
use crate::metrics::Metrics;
use crate::sites::handler::HttpHandler;
use crate::sites::table::Sites;
use crate::sites::unanswered::Unanswered;
use crate::trace::TraceContext;

/// The unit in which [`Shared::received`] counts, in bytes.
pub(crate) const RECEIVED_UNIT: usize = 1 << 10;

pub(crate) struct Shared<E: RuntimeEngine + ?Sized> {
    pub(crate) host: Host<E>,
    pub(crate) limits: GatewayLimits,
    pub(crate) access: Arc<Access>,
    pub(crate) events: Arc<EventRing>,
    pub(crate) metrics: Option<Metrics>,
    /// All hosts, where this one is one of several.
    pub(crate) cluster: Option<Arc<dyn Cluster>>,
    /// Whose turn it is to ask them.
    pub(crate) asking: Semaphore,
    /// Components that answer requests of their own.
    pub(crate) sites: Arc<Sites>,
    /// Has those answer that do so themselves.
    pub(crate) handler: Option<Arc<dyn HttpHandler<E>>>,
    pub(crate) unanswered: Arc<Unanswered>,
    pub(crate) trace_context: Option<TraceContext>,
    /// Room for payloads that are being received.
    pub(crate) received: Semaphore,
    /// Whose turn it is to upload.
    pub(crate) uploads: Arc<Semaphore>,
    pub(crate) event_streams: Arc<Semaphore>,
    /// The largest memory limit that a manifest may set that is uploaded, in bytes.
    pub(crate) memory_ceiling_bytes: u64,
    /// Whether it is about to end.
    pub(crate) draining: watch::Sender<bool>,
}

impl<E: RuntimeEngine + ?Sized> Shared<E> {
    /// The span of a request with these headers, in the trace that they name.
    pub(crate) fn in_trace(&self, headers: &HeaderMap, span: Span) -> Span {
        if let Some(join) = &self.trace_context {
            join(headers, &span);
        }
        span
    }
}

pub(crate) type App<E> = Arc<Shared<E>>;
