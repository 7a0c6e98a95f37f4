//! Spans, on their way to a collector.

use std::sync::Arc;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider,
};
use tracing::{Level, Metadata, Subscriber};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use super::client::Client;
use super::counted::{Counted, Counts, MAX_WAITING};
use super::sending::{SERVICE, aimed, resource};

/// What the targets of our own spans begin with.
const OUR_TARGETS: &str = "wasm_";

pub(super) fn begin(
    client: Client,
    url: String,
    counts: &Arc<Counts>,
) -> Result<SdkTracerProvider, ExporterBuildError> {
    let exporter = aimed(SpanExporter::builder().with_http(), client, url).build()?;
    // As many as are let in: nothing is dropped there that is not counted here.
    let config = BatchConfigBuilder::default().with_max_queue_size(MAX_WAITING);
    let processor = BatchSpanProcessor::builder(Counted::new(exporter, Arc::clone(counts)))
        .with_batch_config(config.build())
        .build();
    Ok(SdkTracerProvider::builder()
        .with_resource(resource())
        .with_span_processor(Counted::new(processor, Arc::clone(counts)))
        .build())
}

/// What watches spans.
pub(super) fn layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let layer: OpenTelemetryLayer<S, SdkTracer> = OpenTelemetryLayer::new(provider.tracer(SERVICE));
    layer
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_filter(filter_fn(is_traced))
}

/// What libraries trace is theirs, and what components log is no span.
fn is_traced(metadata: &Metadata<'_>) -> bool {
    metadata.is_span()
        && *metadata.level() <= Level::INFO
        && metadata.target().starts_with(OUR_TARGETS)
}
