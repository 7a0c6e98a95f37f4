//! What is measured, on its way to a collector.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{CounterFn, GaugeFn, HistogramFn, Key, KeyName, Metadata, SharedString, Unit};
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter};
use opentelemetry::{KeyValue, global};
use opentelemetry_otlp::{ExporterBuildError, MetricExporter};
use opentelemetry_sdk::metrics::{Instrument, PeriodicReader, SdkMeterProvider, Stream};

use wasm_gateway::DURATION_BUCKETS;

use super::client::Client;
use super::counted::{Counted, Counts};
use super::sending::{SERVICE, aimed, resource};

/// Combinations of labels of one metric; what more there are is counted together.
const SERIES: usize = 100_000;

/// What is measured from now on by [`Recorder`] and by instruments of [`meter`] is sent.
pub(super) fn begin(
    client: Client,
    url: String,
    counts: &Arc<Counts>,
) -> Result<SdkMeterProvider, ExporterBuildError> {
    let exporter = aimed(MetricExporter::builder().with_http(), client, url).build()?;
    let reader = PeriodicReader::builder(Counted::new(exporter, Arc::clone(counts))).build();
    let bounded = |_: &Instrument| {
        Stream::builder()
            .with_cardinality_limit(SERIES)
            .build()
            .ok()
    };
    let provider = SdkMeterProvider::builder()
        .with_resource(resource())
        .with_reader(reader)
        .with_view(bounded)
        .build();
    global::set_meter_provider(provider.clone());
    Ok(provider)
}

/// What makes instruments.
pub(super) fn meter() -> Meter {
    global::meter(SERVICE)
}

/// Hands what is measured through the facade `metrics` on to instruments of the same names.
pub(super) struct Recorder {
    meter: Meter,
    counters: Mutex<HashMap<String, Counter<u64>>>,
    gauges: Mutex<HashMap<String, Gauge<f64>>>,
    histograms: Mutex<HashMap<String, Histogram<f64>>>,
}

impl Recorder {
    pub(super) fn new() -> Self {
        Self {
            meter: meter(),
            counters: Mutex::default(),
            gauges: Mutex::default(),
            histograms: Mutex::default(),
        }
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> metrics::Counter {
        let build = |name: String| self.meter.u64_counter(name).build();
        let instrument = instrument(&self.counters, key, build);
        metrics::Counter::from_arc(Arc::new(Labelled::new(instrument, key)))
    }

    /// What a host knows without measuring is [observed](super::gauges).
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> metrics::Gauge {
        let build = |name: String| self.meter.f64_gauge(name).build();
        let instrument = instrument(&self.gauges, key, build);
        metrics::Gauge::from_arc(Arc::new(Labelled::new(instrument, key)))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> metrics::Histogram {
        let build = |name: String| {
            let histogram = self.meter.f64_histogram(name);
            histogram.with_boundaries(DURATION_BUCKETS.to_vec()).build()
        };
        let instrument = instrument(&self.histograms, key, build);
        metrics::Histogram::from_arc(Arc::new(Labelled::new(instrument, key)))
    }
}

/// That of this name, which is made once.
fn instrument<I: Clone>(
    known: &Mutex<HashMap<String, I>>,
    key: &Key,
    build: impl FnOnce(String) -> I,
) -> I {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(instrument) = known.get(key.name()) {
        return instrument.clone();
    }
    let instrument = build(key.name().to_owned());
    known.insert(key.name().to_owned(), instrument.clone());
    instrument
}

struct Labelled<I> {
    instrument: I,
    labels: Vec<KeyValue>,
}

impl<I> Labelled<I> {
    fn new(instrument: I, key: &Key) -> Self {
        let label = |label: &metrics::Label| {
            KeyValue::new(label.key().to_owned(), label.value().to_owned())
        };
        let mut labels: Vec<_> = key.labels().map(label).collect();
        // As they are looked up.
        labels.sort_by(|a, b| a.key.cmp(&b.key));
        Self { instrument, labels }
    }
}

impl CounterFn for Labelled<Counter<u64>> {
    fn increment(&self, value: u64) {
        self.instrument.add(value, &self.labels);
    }

    /// Nothing is counted so.
    fn absolute(&self, _: u64) {}
}

impl GaugeFn for Labelled<Gauge<f64>> {
    /// Nothing is measured so.
    fn increment(&self, _: f64) {}

    /// Nothing is measured so.
    fn decrement(&self, _: f64) {}

    fn set(&self, value: f64) {
        self.instrument.record(value, &self.labels);
    }
}

impl HistogramFn for Labelled<Histogram<f64>> {
    fn record(&self, value: f64) {
        self.instrument.record(value, &self.labels);
    }
}
