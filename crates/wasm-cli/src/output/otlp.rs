//! Traces, sent to a collector that speaks OTLP over HTTP.

mod client;
mod collector;
mod context;
mod counted;

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider,
};
use tracing::{Level, Metadata, Subscriber};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

use wasm_gateway::GatewayBuilder;
use wasm_runtime::EngineConfig;

use self::client::{Client, SEND_TIME};
use self::collector::Collector;
use self::counted::{Counted, Counts, MAX_WAITING};
use crate::output::report::Report;

/// For what is left when the program ends.
const FINISH_TIME: Duration = Duration::from_secs(5);

/// The name of this program where the environment gives it none.
const SERVICE: &str = "airssys-wasm";
const SERVICE_NAME: &str = "service.name";
const SERVICE_VERSION: &str = "service.version";

/// What the targets of our own spans begin with.
const OUR_TARGETS: &str = "wasm_";

/// Where traces are sent.
#[derive(Debug, Clone, Args)]
pub(crate) struct OtlpFlags {
    /// Send traces to a collector of OpenTelemetry, such as http://127.0.0.1:4318
    ///
    /// It speaks OTLP over HTTP, and takes traces at /v1/traces below URL. A request over HTTP
    /// is one trace with the messages and callbacks that it sets going and the requests that
    /// components send; `traceparent` is taken from it, and sent with them. While the
    /// collector is away, spans are dropped and counted. The variables OTEL_SERVICE_NAME,
    /// OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER and OTEL_EXPORTER_OTLP_HEADERS count as
    /// elsewhere.
    #[arg(long, value_name = "URL")]
    otlp: Option<Collector>,
}

impl OtlpFlags {
    /// Begins to send what is traced from now on, once it is [watched](Traces::layer).
    pub(crate) fn begin(&self) -> Result<Option<Traces>, Report> {
        self.otlp.as_ref().map(Traces::begin).transpose()
    }

    /// Requests of components say which trace they are parts of.
    pub(crate) fn in_engine(&self, config: EngineConfig) -> EngineConfig {
        match self.otlp {
            Some(_) => config.with_trace_context(context::write),
            None => config,
        }
    }

    /// Requests to components are parts of the traces that they say.
    pub(crate) fn in_gateway(&self, builder: GatewayBuilder) -> GatewayBuilder {
        match self.otlp {
            Some(_) => builder.with_trace_context(context::join),
            None => builder,
        }
    }
}

/// Spans on their way to a collector.
pub(crate) struct Traces {
    provider: SdkTracerProvider,
    counts: Arc<Counts>,
}

impl Traces {
    fn begin(collector: &Collector) -> Result<Self, Report> {
        let cannot = |error: &dyn std::fmt::Display| {
            Report::error(format!("traces cannot be sent to {collector}: {error}"))
                .with_note("--otlp says so")
        };
        let counts = Arc::new(Counts::new(collector.to_string()));
        let client = Client::new(Arc::clone(&counts)).map_err(|error| cannot(&error))?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(collector.traces())
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(SEND_TIME)
            .build()
            .map_err(|error| cannot(&error))?;
        // As many as are let in: nothing is dropped there that is not counted here.
        let config = BatchConfigBuilder::default().with_max_queue_size(MAX_WAITING);
        let exporter = Counted::new(exporter, Arc::clone(&counts));
        let processor = BatchSpanProcessor::builder(exporter)
            .with_batch_config(config.build())
            .build();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource())
            .with_span_processor(Counted::new(processor, Arc::clone(&counts)))
            .build();
        Ok(Self { provider, counts })
    }

    /// What watches spans.
    pub(crate) fn layer<S>(&self) -> OpenTelemetryLayer<S, SdkTracer>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        OpenTelemetryLayer::new(self.provider.tracer(SERVICE))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
    }

    /// Sends what is left, if that takes no longer than a few seconds.
    pub(crate) fn finish(self) {
        // What did not go well is counted.
        let _ = self.provider.shutdown_with_timeout(FINISH_TIME);
        self.counts.tell_end();
    }
}

/// What libraries trace is theirs, and what components log is no span.
pub(crate) fn is_traced(metadata: &Metadata<'_>) -> bool {
    metadata.is_span()
        && *metadata.level() <= Level::INFO
        && metadata.target().starts_with(OUR_TARGETS)
}

/// Who sends the traces, as the environment and this program say.
fn resource() -> Resource {
    let version = KeyValue::new(SERVICE_VERSION, env!("CARGO_PKG_VERSION"));
    let resource = || Resource::builder().with_attribute(version.clone());
    let found = resource().build();
    let name = found.get(&Key::new(SERVICE_NAME));
    // As the specification has it of a program that nobody has named.
    match name.is_none_or(|name| name.as_str().starts_with("unknown_service")) {
        true => resource().with_service_name(SERVICE).build(),
        false => found,
    }
}
