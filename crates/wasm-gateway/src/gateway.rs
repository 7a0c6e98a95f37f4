//! A host with what reaches it from outside.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tracing::Span;

use wasm_core::{ComponentId, HttpRoute, ResourceLimits, RuntimeEngine};
use wasm_host::Host;

use crate::access::role::Role;
use crate::access::tokens::Tokens;
use crate::access::{Access, origin};
use crate::cluster::Cluster;
use crate::events::EventRing;
use crate::limits::GatewayLimits;
use crate::metrics::Metrics;
use crate::openapi;
use crate::page;
use crate::problem::Problem;
use crate::routes::{Route, routes};
use crate::shared::{RECEIVED_UNIT, Shared};
use crate::sites::answer;
use crate::sites::handler::HttpHandler;
use crate::sites::table::{PathTaken, Site, SiteKind, Sites};
use crate::sites::unanswered::Unanswered;
use crate::trace::TraceContext;

/// How many may ask all hosts of a cluster at a time: an answer may be as long as all components of
/// all of them make it, and one that is down is waited for.
const ASKING: usize = 4;

/// Puts a [`Gateway`] together.
#[derive(Default)]
pub struct GatewayBuilder {
    limits: GatewayLimits,
    tokens: Option<Tokens>,
    names: BTreeSet<String>,
    metrics: Option<Metrics>,
    memory_ceiling_bytes: Option<u64>,
    cluster: Option<Arc<dyn Cluster>>,
    trace_context: Option<TraceContext>,
}

impl GatewayBuilder {
    /// Without tokens, names and measurements.
    pub fn new() -> Self {
        Self::default()
    }

    /// What those who reach the host may use together.
    #[must_use]
    pub fn with_limits(mut self, limits: GatewayLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Asks for one of these tokens from everybody. Without, everybody may do everything who
    /// can connect.
    #[must_use]
    pub fn with_tokens(mut self, tokens: Tokens) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// A name of this machine, under which it is reached besides its addresses and
    /// `localhost`. Requests for other names are refused, whoever sends them.
    #[must_use]
    pub fn with_name(mut self, name: &str) -> Self {
        self.names.insert(name.to_ascii_lowercase());
        self
    }

    /// Tells what is measured at `/metrics`, besides what the host knows of its components.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Tells at `/nodes` of all hosts of which this is one. Without, this one is alone.
    #[must_use]
    pub fn with_cluster(mut self, cluster: Arc<dyn Cluster>) -> Self {
        self.cluster = Some(cluster);
        self
    }

    /// The largest memory limit that an uploaded manifest may set, in bytes; by default
    /// [`ResourceLimits::DEFAULT_MEMORY_CEILING_BYTES`].
    #[must_use]
    pub fn with_memory_ceiling(mut self, bytes: u64) -> Self {
        self.memory_ceiling_bytes = Some(bytes);
        self
    }

    /// Makes requests to components parts of traces that began elsewhere. Each has a
    /// [span](tracing::Span) within which it is handled, with all that it sets going; `join` is
    /// called with the headers of the request and this span before anything happens in it, and
    /// gives it the parent that headers such as `traceparent` name. It must not block.
    ///
    /// Whoever may send a request may say which trace it is a part of.
    #[must_use]
    pub fn with_trace_context(
        mut self,
        join: impl Fn(&HeaderMap, &Span) + Send + Sync + 'static,
    ) -> Self {
        self.trace_context = Some(Arc::new(join));
        self
    }

    /// Reads the events of the host from now on.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn build<E: RuntimeEngine + ?Sized + 'static>(self, host: Host<E>) -> Gateway<E> {
        self.build_any(host, None)
    }

    /// The same, with how components answer requests that do so themselves.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn build_with_http<E: RuntimeEngine + ?Sized + 'static>(
        self,
        host: Host<E>,
        handler: Arc<dyn HttpHandler<E>>,
    ) -> Gateway<E> {
        self.build_any(host, Some(handler))
    }

    fn build_any<E: RuntimeEngine + ?Sized + 'static>(
        self,
        host: Host<E>,
        handler: Option<Arc<dyn HttpHandler<E>>>,
    ) -> Gateway<E> {
        let happening = host.events();
        let events = Arc::new(EventRing::new(happening.message_switch()));
        let unanswered = Arc::<Unanswered>::default();
        let tasks = vec![
            tokio::spawn(Arc::clone(&events).keep(happening)),
            tokio::spawn(Arc::clone(&unanswered).tell_what_was_left_out()),
        ];
        let limits = self.limits;
        let shared = Shared {
            host,
            access: Arc::new(Access::new(self.tokens, self.names)),
            events,
            metrics: self.metrics,
            cluster: self.cluster,
            asking: Semaphore::new(ASKING),
            sites: Arc::default(),
            handler,
            unanswered,
            trace_context: self.trace_context,
            received: Semaphore::new(limits.received_bytes / RECEIVED_UNIT),
            uploads: Arc::new(Semaphore::new(1)),
            event_streams: Arc::new(Semaphore::new(limits.event_streams)),
            memory_ceiling_bytes: self
                .memory_ceiling_bytes
                .unwrap_or(ResourceLimits::DEFAULT_MEMORY_CEILING_BYTES),
            draining: watch::Sender::new(false),
            limits,
        };
        Gateway {
            shared: Arc::new(shared),
            tasks: Arc::new(Tasks(tasks)),
        }
    }
}

/// A host with what reaches it from outside; clones are the same. Events are kept as long as
/// there is one.
pub struct Gateway<E: RuntimeEngine + ?Sized> {
    pub(crate) shared: Arc<Shared<E>>,
    tasks: Arc<Tasks>,
}

struct Tasks(Vec<JoinHandle<()>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

impl<E: RuntimeEngine + ?Sized> Clone for Gateway<E> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            tasks: Arc::clone(&self.tasks),
        }
    }
}

impl<E: RuntimeEngine + ?Sized + 'static> Gateway<E> {
    /// The host that is reached.
    pub fn host(&self) -> &Host<E> {
        &self.shared.host
    }

    /// Replaces the tokens, from the next request on.
    pub fn set_tokens(&self, tokens: Tokens) {
        self.shared.access.set_tokens(tokens);
    }

    /// Whether everybody needs a token.
    pub fn asks_for_tokens(&self) -> bool {
        self.shared.access.asks_for_tokens()
    }

    /// Has a component of the host answer requests to these paths, in place of those that it
    /// answered before. Those at which the gateway itself answers are not among them where it
    /// does.
    ///
    /// # Errors
    /// [`PathTaken`], and the component answers none.
    pub fn add_site(
        &self,
        component: ComponentId,
        route: HttpRoute,
        kind: SiteKind,
    ) -> Result<(), PathTaken> {
        self.shared.sites.put(Site {
            component,
            route,
            kind,
        })
    }

    /// Lets it answer none any more.
    pub fn remove_site(&self, component: &ComponentId) {
        self.shared.sites.remove(component);
    }

    /// Ends streams of events, and says at `/readyz` that no more is to be sent.
    pub fn drain(&self) {
        self.shared.draining.send_replace(true);
    }

    /// Everything that can be asked for, to be mounted in a server of one's own at its root.
    ///
    /// That server bounds how many connections there are and how long they may take; bodies,
    /// tokens, origins and streams are looked after here. [`serve`](Self::serve) is such a
    /// server.
    pub fn router(&self) -> Router {
        let routes = routes::<E>();
        let operations = routes.iter().map(|route| &route.operation);
        let description = openapi::document(operations).to_string();
        let mut router = Router::new();
        for Route {
            operation,
            answering,
        } in routes
        {
            let answering = match operation.role {
                Some(role) => {
                    let access = Arc::clone(&self.shared.access);
                    answering.route_layer(from_fn_with_state((access, role), authorize))
                }
                None => answering,
            };
            router = router.route(operation.path, answering);
        }
        let access = || Arc::clone(&self.shared.access);
        let own = router
            .with_state(Arc::clone(&self.shared))
            .route("/openapi.json", get(|| async { as_json(description) }))
            .merge(page::router())
            .method_not_allowed_fallback(not_allowed)
            .layer(from_fn_with_state((access(), None), guard));
        let sites = Some(Arc::clone(&self.shared.sites));
        let others = Router::new()
            .fallback(answer::beside_gateway::<E>)
            .with_state(Arc::clone(&self.shared))
            .layer(from_fn_with_state((access(), sites), guard));
        own.merge(others)
    }

    /// Only what [components](Self::add_site) answer, to be mounted in a server of one's own:
    /// for everybody who gets as far as this, whatever tokens there are.
    /// [`serve_sites`](Self::serve_sites) does the same without a router.
    pub fn sites_router(&self) -> Router {
        Router::new()
            .fallback(answer::alone::<E>)
            .with_state(Arc::clone(&self.shared))
    }
}

fn as_json(text: String) -> Response {
    let content_type = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, content_type)], Bytes::from(text)).into_response()
}

async fn not_allowed(method: Method) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "This is not done here",
        format!("{method} is not for this path"),
    )
}

/// Before anything else. At the paths of the gateway itself there are no sites.
async fn guard(
    State((access, sites)): State<(Arc<Access>, Option<Arc<Sites>>)>,
    request: Request,
    next: Next,
) -> Response {
    let (method, uri) = (request.method(), request.uri());
    let is_component = sites.is_some_and(|sites| sites.find(uri.path()).is_some());
    let checked = origin::check(method, uri, request.headers(), &access.names, is_component);
    let mut response = match checked {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.ending_connection().into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// Before the body is read.
async fn authorize(
    State((access, role)): State<(Arc<Access>, Role)>,
    request: Request,
    next: Next,
) -> Response {
    match access.authorize(request.headers(), role) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}
