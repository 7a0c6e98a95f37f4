//! Traces, logs and metrics, sent to a collector that speaks OTLP over HTTP.

mod client;
mod collector;
mod context;
mod counted;
mod environment;
mod gauges;
mod logs;
mod metrics;
mod sending;
mod signal;
mod traces;

use std::error::Error;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ::metrics::set_global_recorder;
use clap::Args;
use metrics_util::layers::FanoutBuilder;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

use wasm_gateway::{GatewayBuilder, Metrics, RecorderTaken};
use wasm_host::Host;
use wasm_runtime::{EngineConfig, WasmtimeEngine};

use self::client::Client;
use self::collector::Collector;
use self::counted::Counts;
use self::gauges::Watched;
use self::metrics::Recorder;
use self::signal::Signal;
use crate::output::report::Report;

/// For what is left when the program ends.
const FINISH_TIME: Duration = Duration::from_secs(5);

/// Where traces, logs and metrics are sent.
#[derive(Debug, Clone, Args)]
pub(crate) struct OtlpFlags {
    /// Send traces, logs and metrics to a collector of OpenTelemetry, such as http://127.0.0.1:4318
    ///
    /// It speaks OTLP over HTTP, and takes them at /v1/traces, /v1/logs and /v1/metrics below
    /// URL. A request over HTTP is one trace with the messages and callbacks that it sets going
    /// and the requests that components send; `traceparent` is taken from it, and sent with
    /// them. Logs are what RUST_LOG lets through to standard error, and metrics those of
    /// /metrics. While the collector is away, spans and log records are dropped and counted. The
    /// variables OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER,
    /// OTEL_METRIC_EXPORT_INTERVAL and OTEL_EXPORTER_OTLP_HEADERS count as elsewhere, and so
    /// does `none` in OTEL_TRACES_EXPORTER, OTEL_LOGS_EXPORTER and OTEL_METRICS_EXPORTER.
    #[arg(long, value_name = "URL")]
    otlp: Option<Collector>,
}

impl OtlpFlags {
    /// Begins to send what is traced and logged from now on, once it is
    /// [watched](Telemetry::traced).
    pub(crate) fn begin(&self) -> Result<Option<Telemetry>, Report> {
        self.otlp.as_ref().map(Telemetry::begin).transpose()
    }

    /// Takes in what is measured from now on, for a collector and for Prometheus as far as they
    /// are there; to be called before a host is started.
    pub(crate) fn record(&self, is_scraped: bool) -> Result<Option<Metrics>, Report> {
        let recorded = match (self.sends_metrics(), is_scraped) {
            (false, false) => Ok(None),
            (false, true) => Metrics::install().map(Some),
            (true, false) => set_global_recorder(Recorder::new())
                .map(|()| None)
                .map_err(|_| RecorderTaken),
            (true, true) => {
                let (metrics, prometheus) = Metrics::with_recorder();
                let both = FanoutBuilder::default()
                    .add_recorder(prometheus)
                    .add_recorder(Recorder::new());
                set_global_recorder(both.build())
                    .map(|()| Some(metrics))
                    .map_err(|_| RecorderTaken)
            }
        };
        recorded.map_err(|error| Report::error(error.to_string()))
    }

    /// What is known of the components without measuring is sent too, for as long as the
    /// answer is there.
    pub(crate) fn watch(&self, host: &Host<WasmtimeEngine>) -> Option<Watched> {
        self.sends_metrics().then(|| gauges::watch(host))
    }

    fn sends_metrics(&self) -> bool {
        self.otlp.is_some() && Signal::Metrics.is_wanted()
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

/// What is on its way to a collector.
#[derive(Default)]
pub(crate) struct Telemetry {
    collector: String,
    counts: Vec<Arc<Counts>>,
    traces: Option<SdkTracerProvider>,
    logs: Option<SdkLoggerProvider>,
    metrics: Option<SdkMeterProvider>,
}

impl Telemetry {
    fn begin(collector: &Collector) -> Result<Self, Report> {
        let mut telemetry = Self {
            collector: collector.to_string(),
            ..Self::default()
        };
        for signal in Signal::ALL.into_iter().filter(|signal| signal.is_wanted()) {
            telemetry.send(signal, collector).map_err(|error| {
                Report::error(format!("{signal} cannot be sent to {collector}: {error}"))
                    .with_note("--otlp says so")
            })?;
        }
        Ok(telemetry)
    }

    fn send(&mut self, signal: Signal, collector: &Collector) -> Result<(), Box<dyn Error>> {
        let counts = Arc::new(Counts::new(signal, collector.to_string()));
        let client = Client::new(Arc::clone(&counts))?;
        let url = collector.place_of(signal);
        match signal {
            Signal::Traces => self.traces = Some(traces::begin(client, url, &counts)?),
            Signal::Logs => self.logs = Some(logs::begin(client, url, &counts)?),
            Signal::Metrics => self.metrics = Some(metrics::begin(client, url, &counts)?),
        }
        self.counts.push(counts);
        Ok(())
    }

    /// Warns of what the environment says of it and is not understood.
    pub(crate) fn check_environment(&self) {
        environment::check();
    }

    /// What watches spans.
    pub(crate) fn traced<S>(&self) -> Option<impl Layer<S> + use<S>>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        self.traces.as_ref().map(traces::layer)
    }

    /// What watches the events that are shown.
    pub(crate) fn logged<S, F>(&self, is_shown: F) -> Option<impl Layer<S> + use<S, F>>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
        F: Fn(&Metadata<'_>) -> bool + Send + Sync + 'static,
    {
        let logs = self.logs.as_ref()?;
        Some(logs::layer(logs, is_shown))
    }

    /// Sends what is left, if that takes no longer than a few seconds.
    pub(crate) fn finish(self) {
        // What does not go well is counted. None waits for another.
        thread::scope(|scope| {
            if let Some(traces) = &self.traces {
                scope.spawn(|| traces.shutdown_with_timeout(FINISH_TIME));
            }
            if let Some(logs) = &self.logs {
                scope.spawn(|| logs.shutdown_with_timeout(FINISH_TIME));
            }
            if let Some(metrics) = &self.metrics {
                scope.spawn(|| metrics.shutdown_with_timeout(FINISH_TIME));
            }
        });
        let lost: Vec<_> = self.counts.iter().filter_map(|it| it.lost()).collect();
        if !lost.is_empty() {
            let (lost, collector) = (lost.join(", "), &self.collector);
            Report::warning(format!("{lost} have not reached {collector}")).print();
        }
    }
}
