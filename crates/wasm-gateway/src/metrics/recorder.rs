//! Takes in what is measured in this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use crate::metrics::series::Series;
use crate::metrics::text::{Text, metric_name};
use crate::metrics::value::Value;

/// Keeps what is measured in this process once it is [installed](metrics::set_global_recorder);
/// clones are the same. Of a name and labels that are those of a counter, nothing is measured as a
/// gauge or a histogram, and so on.
#[derive(Clone, Default)]
pub struct PrometheusRecorder(Arc<Kept>);

#[derive(Default)]
struct Kept {
    series: Series,
    /// What is said about metrics, by their names.
    descriptions: Mutex<HashMap<String, SharedString>>,
}

impl PrometheusRecorder {
    /// In the text format of Prometheus. `is_there` says whether there is a component of this id:
    /// what was measured of others is forgotten after a while.
    pub(crate) fn render(&self, is_there: impl Fn(&str) -> bool, now: Instant) -> String {
        let mut text = Text::default();
        self.0.series.write(&mut text, is_there, now);
        let descriptions = &self.0.descriptions;
        text.finish(&descriptions.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The first description of a name is shown.
    fn describe(&self, name: &KeyName, description: SharedString) {
        let descriptions = &self.0.descriptions;
        let mut descriptions = descriptions.lock().unwrap_or_else(PoisonError::into_inner);
        let name = metric_name(name.as_str());
        descriptions.entry(name).or_insert(description);
    }

    fn value(&self, key: &Key, make: fn(&str) -> Value) -> Value {
        self.0.series.value(key, make, Instant::now())
    }
}

impl Recorder for PrometheusRecorder {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, description: SharedString) {
        self.describe(&name, description);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, description: SharedString) {
        self.describe(&name, description);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, description: SharedString) {
        self.describe(&name, description);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        match self.value(key, Value::counter) {
            Value::Counter(count) => Counter::from_arc(count),
            _ => Counter::noop(),
        }
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        match self.value(key, Value::gauge) {
            Value::Gauge(bits) => Gauge::from_arc(bits),
            _ => Gauge::noop(),
        }
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        match self.value(key, Value::histogram) {
            Value::Histogram(buckets) => Histogram::from_arc(buckets),
            _ => Histogram::noop(),
        }
    }
}
