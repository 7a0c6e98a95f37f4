//! Lines of the log, on their way to a collector.

use std::sync::Arc;

use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{ExporterBuildError, LogExporter};
use opentelemetry_sdk::logs::{BatchConfigBuilder, BatchLogProcessor, SdkLoggerProvider};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use super::client::Client;
use super::counted::{Counted, Counts, MAX_WAITING};
use super::sending::{aimed, resource};

/// What the targets of those begin with who send: what they say of it would be sent again.
const SENDING_TARGETS: &str = "opentelemetry";

pub(super) fn begin(
    client: Client,
    url: String,
    counts: &Arc<Counts>,
) -> Result<SdkLoggerProvider, ExporterBuildError> {
    let exporter = aimed(LogExporter::builder().with_http(), client, url).build()?;
    // As many as are let in: nothing is dropped there that is not counted here.
    let config = BatchConfigBuilder::default().with_max_queue_size(MAX_WAITING);
    let processor = BatchLogProcessor::builder(Counted::new(exporter, Arc::clone(counts)))
        .with_batch_config(config.build())
        .build();
    Ok(SdkLoggerProvider::builder()
        .with_resource(resource())
        .with_log_processor(Counted::new(processor, Arc::clone(counts)))
        .build())
}

/// What watches the events that are shown. Those of the threads that send are left out by
/// OpenTelemetry itself.
pub(super) fn layer<S, F>(provider: &SdkLoggerProvider, is_shown: F) -> impl Layer<S> + use<S, F>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    F: Fn(&Metadata<'_>) -> bool + Send + Sync + 'static,
{
    let is_sent = move |metadata: &Metadata<'_>| {
        is_shown(metadata) && !metadata.target().starts_with(SENDING_TARGETS)
    };
    OpenTelemetryTracingBridge::new(provider).with_filter(filter_fn(is_sent))
}
